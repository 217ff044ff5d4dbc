/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_COUNTER_H
#define PG_COUNTER_H

/* Counters: one array per worker, written by that worker alone with relaxed stores, summed by
 * whoever asks. The core's own come first, then each frontend's rows from its counter_base. A
 * reason has a counter of its own for closes and one for refusals and drops. */

#include "polygate.h"

/* X(NAME, "when it moves") */
#define PG_COUNTERS(X)                                                                             \
    X(CONNECTIONS_OPENED, "a connection was accepted")                                             \
    X(CONNECTIONS_CLOSED, "a connection's link was closed")                                        \
    X(CONNECTIONS_REFUSED, "a connection was refused for a limit or want of memory")               \
    X(BYTES_RECEIVED, "bytes read from peers")                                                     \
    X(BYTES_SENT, "bytes written to peers")                                                        \
    X(READS, "read calls that gave bytes")                                                         \
    X(WRITES, "gathered write calls")                                                              \
    X(CLIENTS_ADMITTED, "a client was admitted")                                                   \
    X(CLIENTS_REFUSED, "a client was refused admission")                                           \
    X(CLIENTS_ENDED, "an admitted client ended")                                                   \
    X(SESSIONS_CREATED, "a session was created")                                                   \
    X(SESSIONS_RESUMED, "a client resumed an earlier session")                                     \
    X(SESSIONS_DESTROYED, "a session ended")                                                       \
    X(TAKEOVERS, "a client was taken over by another connection")                                  \
    X(SUBSCRIPTIONS_ADDED, "a subscription was made")                                              \
    X(SUBSCRIPTIONS_REMOVED, "a subscription ended")                                               \
    X(MESSAGES_PUBLISHED, "a client published a message that was accepted")                        \
    X(MESSAGES_REFUSED, "a publication was refused")                                               \
    X(MESSAGES_UNMATCHED, "an accepted message matched nobody")                                    \
    X(MESSAGES_QUEUED, "a message was queued for a session")                                       \
    X(MESSAGES_DELIVERED, "a delivery was handed to a frontend for the first time")                \
    X(MESSAGES_REDELIVERED, "a delivery was handed to a frontend again")                           \
    X(MESSAGES_DROPPED, "a queued message was dropped (the reasons tell why)")                     \
    X(DELIVERIES_SETTLED, "a QoS 1 or 2 delivery was settled")                                     \
    X(DELIVERIES_FAILED, "a delivery was settled as failed")                                       \
    X(DELIVERIES_RETURNED, "a delivery was returned, for another member or to be had again")       \
    X(RETAINED_STORED, "a retained message was stored or replaced")                                \
    X(RETAINED_CLEARED, "a retained message was cleared")                                          \
    X(WILLS_PUBLISHED, "a will was published")                                                     \
    X(BATCHES_SENT, "a batch of messages went to another worker")                                  \
    X(PUBLISHERS_HELD,                                                                             \
      "a publisher's connection was not read for a while, because the store lagged behind")        \
    X(READS_PAUSED, "a connection was not read for a while, for a limit on bytes or messages")     \
    X(BANS_ADDED, "an address was banned for what came from it")                                   \
    X(RELOADS_DONE, "the configuration was reloaded")                                              \
    X(RELOADS_FAILED, "a reload failed, and what was there stayed at work")

enum pg_core_counter {
#define PG_COUNTER_ENUM(NAME, sentence) PG_COUNT_##NAME,
    PG_COUNTERS(PG_COUNTER_ENUM)
#undef PG_COUNTER_ENUM
        PG_COUNT_CORE
};

struct pg_worker;

/* Layout of the table: core counters, then closes by reason, then refusals and drops by reason,
 * then the frontends' own. Fixed before the workers start.
 *
 * Give `rows` (up to name == NULL; NULL: none) their place under `prefix`; both must live as long
 * as the process. Returns the base: the same one for the same rows again; 0 for no rows; SIZE_MAX
 * when the table is closed because arrays have been made, or full. Main thread. */
size_t pg_counter_register(const char *prefix, const struct pg_counter *rows);
size_t pg_counter_total(void);
struct pg_counter_row {
    const char *prefix; /* "core", "close", "refuse", or the frontend's name */
    const char *name;
    const char *sentence;
};
struct pg_counter_row pg_counter_row(size_t index); /* any thread */

/* A worker's own array of pg_counter_total() entries. Init closes the table; false when memory is
 * out. */
struct pg_counter_set {
    _Atomic uint64_t *values;
};
bool pg_counter_set_init(struct pg_counter_set *set);
void pg_counter_set_free(struct pg_counter_set *set);

/* By the owning worker alone: no read-modify-write cycle is paid. */
static inline void pg_counter_add(struct pg_counter_set *set, size_t index, uint64_t n)
{
    uint64_t now = atomic_load_explicit(&set->values[index], memory_order_relaxed);
    atomic_store_explicit(&set->values[index], now + n, memory_order_relaxed);
}
static inline uint64_t pg_counter_get(const struct pg_counter_set *set, size_t index)
{
    return atomic_load_explicit(&set->values[index], memory_order_relaxed);
}

#define PG_COUNTER_CLOSE(reason)  ((size_t)PG_COUNT_CORE + (size_t)(reason))
#define PG_COUNTER_REFUSE(reason) ((size_t)PG_COUNT_CORE + PG_REASON_COUNT + (size_t)(reason))

#endif
