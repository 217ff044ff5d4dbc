/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_RETAINED_H
#define PG_RETAINED_H

/* Retained messages: the last message of each topic that was published with retain, in memory.
 *
 * A tree of levels under one reader-writer lock, any thread. A message without retain never comes
 * here. Nodes exist only on the way to a message: clearing or expiring it takes them away.
 * MQTT 5.0, 3.3.1.3 (RETAIN), 3.3.2.3.3 (expiry). */

#include "polygate.h"

struct pg_retained;

struct pg_retained_limits {
    size_t messages; /* at most so many messages */
    /* And at most so many bytes: topics, payloads, properties, tree nodes. A peer that publishes
     * many different or very deep topics pays for its nodes here. */
    size_t bytes;
};

struct pg_retained_stats {
    size_t messages;
    size_t bytes; /* counted as in the limits */
    size_t nodes; /* of the tree */
};

/* NULL when memory is out. `limits` is copied. */
struct pg_retained *pg_retained_new(const struct pg_retained_limits *limits) PG_CHECKED;
/* Gives up every message. No walk may be open. Nulls the pointer. */
void pg_retained_free(struct pg_retained **retained);
/* New limits (reload). What is above them stays; nothing is added until there is room. */
void pg_retained_set_limits(struct pg_retained *retained, const struct pg_retained_limits *limits);

/* Keep this message as the one of its topic, instead of the one that was there. `msg` is shared (a
 * reference is taken when the answer is PG_OK). Its topic must be valid.
 * PG_OK; PG_QUOTA_EXCEEDED at a limit; PG_NO_MEMORY. Upon refusal the old message stays. */
enum pg_reason pg_retained_set(struct pg_retained *retained, struct pg_msg *msg) PG_CHECKED;
/* Forget the message of this topic. false: there was none. */
bool pg_retained_clear(struct pg_retained *retained, struct pg_bytes topic);
/* The message of this topic with a reference for the caller; NULL when there is none, or it has
 * expired. */
struct pg_msg *pg_retained_get(struct pg_retained *retained, struct pg_bytes topic) PG_CHECKED;

/* A walk over the messages that match a filter: takes them a few at a time, as the subscriber's
 * queue has room, and never holds the lock for long, however many there are. The place in the tree
 * is kept while others set and clear. Messages set or cleared after the walk began may or may not
 * be seen; all others are seen once. */
struct pg_retained_walk;

/* Begin. `plain_filter` must be valid and without `$share/group/`; it is copied. NULL when memory
 * is out. */
struct pg_retained_walk *pg_retained_walk_open(struct pg_retained *retained,
                                               struct pg_bytes plain_filter) PG_CHECKED;
/* Up to `room` messages, each with a reference for the caller, in `out`; returns how many. It may
 * be fewer (even none) before the end, since one call looks at a bounded number of nodes; *more
 * tells whether to call again. Expired messages are passed over. */
size_t pg_retained_walk_next(struct pg_retained_walk *walk, struct pg_msg **out, size_t room,
                             bool *more);
/* Before or after the end. Nulls the pointer. */
void pg_retained_walk_close(struct pg_retained_walk **walk);

/* Forget messages whose expiry has passed, at most `limit` of them. Returns how many went: fewer
 * than `limit` means that none is left now. Costs nothing when none is due; call it about once a
 * second. */
size_t pg_retained_sweep(struct pg_retained *retained, int64_t now_ms, size_t limit);

void pg_retained_count(struct pg_retained *retained, struct pg_retained_stats *out);

#endif
