/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SUBINDEX_H
#define PG_SUBINDEX_H

/* The subscription index: which workers have subscribers at which filters. One for the process.
 *
 * It knows filters and workers, never sessions: the subscribers of a filter are listed in each
 * worker, by the filter's node, and touched by that worker alone. So only the first subscriber of a
 * filter in a worker, and the last, change anything that is shared; a publisher matches once, and
 * sends one entry to each worker concerned.
 *
 * Writers (acquire, release, members, walk) take one mutex, any thread. Readers (match, pick) take
 * no lock and write nothing shared, the turn counter of a shared subscription apart: they must be
 * registered with liburcu's qsbr flavour (rcu_register_thread() of urcu-qsbr.h), must not be
 * offline, and must pass through rcu_quiescent_state() between messages, or freed memory is never
 * given back. Writers, too, must be registered threads. */

#include <stddef.h>
#include <stdint.h>

#include "polygate.h"
#include "topic.h"

/* The node of a filter, as a number that can be kept and sent about: the id in the low 32 bits is a
 * small number that is used again once the node is gone (an index into a worker's array), the
 * generation in the high 32 bits tells a late reference from the node that has the id now. */
typedef uint64_t pg_node_ref;
#define PG_NODE_NONE ((pg_node_ref)0)
/* Ids are below this. */
#define PG_NODE_IDS (1u << 26)

static inline uint32_t pg_node_id(pg_node_ref ref)
{
    return (uint32_t)ref;
}
static inline uint32_t pg_node_generation(pg_node_ref ref)
{
    return (uint32_t)(ref >> 32);
}

/* Bits of a bitmap of workers: as many workers as the index can tell apart. */
#define PG_SUBINDEX_WORKERS_MAX 64u
#define PG_SUBINDEX_NO_WORKER   UINT32_MAX

struct pg_subindex;

/* NULL when memory is out. `workers`: 1 to PG_SUBINDEX_WORKERS_MAX. */
struct pg_subindex *pg_subindex_new(unsigned workers) PG_CHECKED;
/* When no thread uses it any more. The caller must be a registered thread, or not be one at all; it
 * waits for what was left to the grace period. Nulls the pointer. */
void pg_subindex_free(struct pg_subindex **index);

/* `worker` has a first subscriber at this filter (`filter` must be the outcome of
 * pg_topic_filter_check()). Doing so twice is the same as once. `a/b` and `$share/g/a/b` are
 * different nodes, and so is each group. Returns the node, or PG_NODE_NONE when memory (or the 2^26
 * ids) is out; nothing is changed then. */
pg_node_ref pg_subindex_acquire(struct pg_subindex *index, const struct pg_filter *filter,
                                unsigned worker) PG_CHECKED;

/* The whole text of a filter, with `$share/group/`; its data is NULL when the node is gone. Lent: it
 * stays while a worker that has acquired the node has not released it. A registered reader, or
 * nobody else uses the index. */
struct pg_bytes pg_subindex_filter(const struct pg_subindex *index, pg_node_ref ref);

/* `worker` has no subscriber left there. The node goes when no worker has. A reference that is not
 * (or no longer) valid changes nothing. */
void pg_subindex_release(struct pg_subindex *index, pg_node_ref ref, unsigned worker);

/* The number of members of a shared subscription in `worker` that have a client changes by `delta`.
 * Its worker calls this between acquire and release. */
void pg_subindex_members(struct pg_subindex *index, pg_node_ref ref, unsigned worker, int delta);

struct pg_match_hit {
    pg_node_ref ref;
    uint64_t workers; /* bit n: worker n has subscribers; never 0 */
    bool shared;      /* one member of the group takes the message: pg_subindex_pick() */
};

/* What a topic matched. Zero-initialise once, use for any number of matches, then
 * pg_match_release(). The owner is one thread. */
struct pg_match {
    struct pg_match_hit *hits;
    size_t count;
    size_t capacity;
    size_t shared_count; /* how many of the hits are shared */
    uint64_t workers;    /* the union of the workers of the hits that are not shared */
    bool out_of_memory;  /* hits are missing: refuse the message */
};

/* Find every filter that matches a valid topic name. Replaces what `out` held; allocates only when
 * there are more hits than ever before. Takes one probe for the exact filter, and one step for each
 * branch of the tree of wildcards that can match; no recursion. Returns out->count. A registered
 * reader; the references stay meaningful afterwards, as numbers. */
size_t pg_subindex_match(const struct pg_subindex *index, struct pg_bytes topic,
                         struct pg_match *out);
void pg_match_release(struct pg_match *match);

/* Whose turn it is at a shared subscription: over any run of picks each worker is chosen in
 * proportion to its members that have a client; when nobody has one, each worker with subscribers
 * in turn. PG_SUBINDEX_NO_WORKER when the subscription is gone, or is not a shared one. A
 * registered reader. */
unsigned pg_subindex_pick(const struct pg_subindex *index, pg_node_ref ref);

struct pg_subindex_stats {
    size_t exact;      /* filters without wildcards, not shared */
    size_t wildcard;   /* filters with wildcards, not shared */
    size_t shared;     /* pairs of group and filter */
    size_t tree_nodes; /* branches of the tree of wildcard and shared filters */
    size_t bytes;      /* memory held, also that which waits for a grace period */
};
void pg_subindex_count(struct pg_subindex *index, struct pg_subindex_stats *out);

/* One filter of a walk: its whole text (with `$share/group/`), lent. */
typedef void (*pg_subindex_walk_fn)(void *arg, struct pg_bytes filter, pg_node_ref ref,
                                    uint64_t workers);
/* Show up to `limit` filters, in the order of ids, starting with *cursor (0 at first), and move
 * *cursor behind them. Holds the writers' mutex: keep `limit` small, and do not call the index from
 * inside. Returns whether there may be more. */
bool pg_subindex_walk(struct pg_subindex *index, uint32_t *cursor, size_t limit,
                      pg_subindex_walk_fn fn, void *arg);

#endif
