/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H

/* A store in memory that completes when a test tells it to: requests are carried out at once, in
 * order, and their completions wait. */

#include "store.h"

enum fake_request {
    FAKE_SESSION_PUT,
    FAKE_SESSION_DROP,
    FAKE_SUBSCRIPTION_PUT,
    FAKE_ENQUEUE,
    FAKE_FETCH,
    FAKE_SEND,
    FAKE_RECEIVED,
    FAKE_RECEIVE,
    FAKE_ROUTED,
    FAKE_RELEASE,
    FAKE_RETAIN,
    FAKE_WILL_PUT,
    FAKE_WILL_DROP,
    FAKE_OTHER,
    FAKE_REQUESTS
};

/* Freed by its ops->free. `holds`: completions wait for fake_store_complete(); else they come at
 * once. */
struct pg_store *fake_store_new(bool holds);
void fake_store_hold(struct pg_store *store, bool holds);
/* Pages alone wait. */
void fake_store_hold_pages(struct pg_store *store, bool holds);
/* Complete everything that waits with `result`; pages are given when it is PG_OK. How many. */
size_t fake_store_complete(struct pg_store *store, enum pg_reason result);
/* How many requests of a kind there have been; how many completions wait. */
size_t fake_store_requests(struct pg_store *store, enum fake_request kind);
size_t fake_store_waiting(struct pg_store *store);
/* At the next start, a session with a subscription to "t" (QoS 1) and `count` messages "0", "1",
 * ... is given back, without a client since `detached_wall_s`. */
void fake_store_had(struct pg_store *store, const char *client_id, uint32_t expiry_s,
                    uint32_t detached_wall_s, unsigned count);
/* And it was sending `count` of them, from number `first` on (1: the oldest), under packet
 * identifiers from 11 on; of those, the first `received` wait for their release. It holds the
 * receipt 5. */
void fake_store_had_out(struct pg_store *store, unsigned first, unsigned count, unsigned received);
/* And this message, of the topic "t" with QoS 2, was received and has reached nobody. */
void fake_store_had_unrouted(struct pg_store *store, const char *payload);
/* And a will of this client to "will", whose client was there. */
void fake_store_had_will(struct pg_store *store, const char *client_id, uint32_t delay_s);
/* Entries in all queues. */
size_t fake_store_queued(struct pg_store *store);
/* The largest page that was given. */
size_t fake_store_largest_page(struct pg_store *store);

#endif
