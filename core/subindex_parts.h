/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SUBINDEX_PARTS_H
#define PG_SUBINDEX_PARTS_H

/* The structures of the subscription index, shared by its writers (subindex.c) and its readers
 * (subindex_match.c). Nobody else includes this. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <urcu-qsbr.h>

#include "slab.h"
#include "subindex.h"
#include "tagset.h"

enum {
    NODE_IN_TREE = 1, /* a leaf of the tree; else an entry of the set of exact filters */
    NODE_SHARED = 2,  /* of `$share/group/...`; in the tree, also without wildcards */
    NODE_BELOW = 4,   /* the last level of the filter is '#' */
};

/* What every filter has. Immutable once published but for `workers`, until it is buried. Its size
 * matters: it exists once per filter. */
struct node {
    _Atomic uint64_t workers; /* 0: on its way out */
    uint32_t id;
    /* Once unlinked, the id of the next node that waits for a grace period; 0 ends. A reader that
     * still comes across it takes that for a generation: of a node that is gone, since generations
     * are given out upwards and ids are never above them. */
    _Atomic uint32_t generation;
    uint16_t len; /* of bytes */
    uint8_t flags;
    uint8_t bytes[]; /* exact: the filter; shared: the group; else nothing */
};

/* A filter that ends at a branch (or, NODE_BELOW, just below it). */
struct leaf {
    struct branch *place; /* writers only */
    _Atomic(struct leaf *) next;
    struct node node;
};

/* Who takes part in a shared subscription. Each worker writes its own count, under the mutex. */
struct turns {
    _Atomic uint32_t turn;
    _Atomic uint32_t members[]; /* by worker */
};

struct shared_leaf {
    struct turns *turns;
    struct leaf leaf;
};

/* A level of the tree, found by the hash of its path in the set of edges ('+' is a level like any
 * other there: no topic has a level of that name). The hash of a path follows from that of its
 * beginning: so a match knows where it will look before it has been there. */
struct branch {
    const struct branch *parent;
    uint64_t path; /* its hash; of the root 0 */
    _Atomic uintptr_t
        leaves;             /* the first leaf; once unlinked the next branch in the grave, plus 1 */
    _Atomic uint32_t named; /* children other than '+' */
    uint16_t len;
    _Atomic uint8_t has_plus;
    uint8_t level[];
};

static inline struct leaf *branch_leaves(const struct branch *branch)
{
    uintptr_t leaves = atomic_load_explicit(&branch->leaves, memory_order_acquire);

    return leaves % 2 == 0 ? (struct leaf *)leaves : NULL;
}

/* Whether nothing hangs on it. */
static inline bool branch_is_bare(const struct branch *branch)
{
    return atomic_load_explicit(&branch->named, memory_order_acquire) == 0 &&
           atomic_load_explicit(&branch->has_plus, memory_order_acquire) == 0 &&
           branch_leaves(branch) == NULL;
}

enum {
    ID_LIVE = 0, /* a pointer to the node */
    ID_DEAD = 1, /* a pointer to the node that waits for its grace period */
    ID_FREE = 2, /* four times the next free id */
};
#define ID_CHUNK  8192u
#define ID_CHUNKS (PG_NODE_IDS / ID_CHUNK)

/* What waits until no reader can see it. */
struct grave {
    uint32_t nodes; /* chained by id */
    struct branch *branches;
    struct pg_tagset_table *tables;
};

#define SMALL_STEP    8u
#define SMALL_CLASSES 32u

struct pg_subindex {
    struct pg_tagset exact; /* nodes by filter */
    struct pg_tagset edges; /* branches by parent and level */
    struct branch *root;
    uint64_t plus_hash; /* of the level "+" */
    unsigned workers;

    /* By id, what it stands for: a pointer or number with an ID_* in its low bits; 0 if it was
     * never given out. Chunks are made on demand and stay. */
    _Atomic(_Atomic uintptr_t *) ids[ID_CHUNKS];

    /* All below belongs to the writers. */
    pthread_mutex_t mutex;
    uint32_t ids_used; /* ids below this were given out before; 0 is never */
    uint32_t ids_free; /* the first id that may be used again; 0: none */
    uint32_t generation;
    size_t count_exact, count_wildcard, count_shared, count_branches;
    size_t bytes_other;                  /* memory that is neither in slabs nor in tables in use */
    struct pg_slab small[SMALL_CLASSES]; /* nodes, leaves and branches by size */
    struct grave collecting;             /* unlinked since the last grace period began */
    struct grave waiting;                /* the reclaimer's while grace_pending */
    bool grace_pending;
    struct rcu_head rcu;
};

static inline pg_node_ref node_ref(const struct node *node)
{
    uint32_t generation = atomic_load_explicit(&node->generation, memory_order_relaxed);

    return (pg_node_ref)generation << 32 | node->id;
}

static inline struct leaf *leaf_of(struct node *node)
{
    return (struct leaf *)((uint8_t *)node - offsetof(struct leaf, node));
}

static inline struct shared_leaf *shared_leaf_of(struct node *node)
{
    return (struct shared_leaf *)((uint8_t *)leaf_of(node) - offsetof(struct shared_leaf, leaf));
}

/* The live node of a reference; NULL when it is gone. Readers and writers. */
struct node *pg_subindex_resolve(const struct pg_subindex *index, pg_node_ref ref);

/* ThreadSanitizer does not know liburcu's grace periods. Tell it the facts that they establish:
 * what a reader did before the end of a match, and a writer before call_rcu(), comes before what
 * the reclaimer does. A reader inside a match, or a writer without the mutex, is still seen as a
 * race. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SUBINDEX_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define SUBINDEX_TSAN 1
#endif

#ifdef SUBINDEX_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define BEFORE_GRACE(index) __tsan_release((void *)(uintptr_t) & (index)->rcu)
#define AFTER_GRACE(index)  __tsan_acquire((void *)(uintptr_t) & (index)->rcu)
#else
#define BEFORE_GRACE(index) ((void)(index))
#define AFTER_GRACE(index)  ((void)(index))
#endif

#endif
