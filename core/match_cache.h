/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_MATCH_CACHE_H
#define PG_MATCH_CACHE_H

/* What topics matched lately. Most publishers come again with the few topics that they have, and
 * between two messages of one topic mostly no subscription changes that could match it: so a worker
 * remembers what pg_subindex_match() found, with the state of the subscriptions that it was found in.
 *
 * Changes are counted for all workers together: those of filters with wildcards, and of shared ones,
 * by one number, those of exact filters, which matter to one topic alone, by many. */

#include <stdatomic.h>
#include <stdint.h>

#include "subindex.h"

#define PG_MATCH_PARTS 256u

/* How often something changed; zero at first. */
struct pg_match_changes {
    _Atomic uint64_t wide;
    _Atomic uint64_t exact[PG_MATCH_PARTS]; /* by the topic's hash */
};

/* The part of `exact` that a node counts in; PG_MATCH_PARTS: it counts in `wide`. While it is acquired. */
unsigned pg_match_part(const struct pg_subindex *index, pg_node_ref node);
/* A worker has just acquired a node of that part, or released it. Whoever is told afterwards that it did
 * can rely on it. Any thread. */
void pg_match_changed(struct pg_match_changes *changes, unsigned part);

/* One worker's; zero at first. */
struct pg_match_cache {
    struct match_slot *slots; /* NULL: nothing was asked for yet */
};

/* As pg_subindex_match(), but what is found may be as old as the last of `changes`. `out` must be the same
 * in all calls for one cache; it may be changed in between. */
void pg_match_find(struct pg_match_cache *cache, const struct pg_match_changes *changes,
                   const struct pg_subindex *index, struct pg_bytes topic, struct pg_match *out);
void pg_match_cache_free(struct pg_match_cache *cache);

#endif
