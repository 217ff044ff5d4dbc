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

/* The marks of an item in the tree, which its slot shows to readers. */
enum {
    MARK_FILTER = 1, /* a node; else a branch */

    MARK_BELOW = 2, /* of a node: the last level of the filter is '#' */
    MARK_EARLY = 4, /* ... its path goes on from where it is kept */

    MARK_PLUS = 2,  /* of a branch: filters go on with '+' */
    MARK_NAMED = 4, /* ... with a level that is not '+' */
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
    uint16_t len;       /* of the text */
    uint8_t marks : 3;  /* as in its slot; 0 in the set of exact filters */
    uint8_t shared : 1; /* of `$share/group/...`; in the tree, also without wildcards */
    uint8_t early_at;   /* MARK_EARLY: how many levels it has before where it is kept */
    uint8_t text[];     /* the whole filter, with `$share/group/` */
};

/* Who takes part in a shared subscription. Each worker writes its own count, under the mutex. */
struct turns {
    _Atomic uint32_t turn;
    _Atomic uint32_t members[]; /* by worker */
};

/* The node of a shared subscription, and what only these have. */
struct share {
    struct turns *turns;
    _Atomic(struct node *) next; /* another group's, of the same plain filter; NULL ends */
    uint16_t plain_at;           /* where the plain filter begins in the text */
    struct node node;
};

/* That filters go on from a path. Only writers look into it; readers go by the marks in its slot.
 * Were two beginnings of filters to have one path, they would share a branch, and readers would go
 * further than they need. */
struct branch {
    uint64_t path;
    uint32_t plus, named; /* filters that go on with '+', and with another level */
};

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
    struct pg_tagset_table *tables;
};

#define SMALL_STEP    8u
#define SMALL_CLASSES 32u

struct pg_subindex {
    struct pg_tagset exact; /* nodes by filter */
    struct pg_tagset tree;  /* branches, and nodes, by path */
    uint64_t plus_hash;     /* of the level "+" */
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
    struct pg_slab small[SMALL_CLASSES]; /* nodes and branches by size */
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

static inline struct share *share_of(const struct node *node)
{
    return (struct share *)((uintptr_t)node - offsetof(struct share, node));
}

/* A path: the hash of some levels, one after the other. */
#define PATH_NONE UINT64_C(0)

/* The path with one more level, whose (keyed) hash is given. */
static inline uint64_t path_add(uint64_t path, uint64_t level_hash)
{
    uint64_t x = (path ^ level_hash) * UINT64_C(0x9e3779b97f4a7c15);

    return x ^ x >> 32;
}

/* Where a node is kept whose path goes on: with what is at the path so far, under the tag of the
 * next one. So a reader passes over those of other next levels. */
static inline uint64_t path_early(uint64_t path, uint64_t next)
{
    return (path & ~PG_TAGSET_TAG_MASK) | (next & PG_TAGSET_TAG_MASK);
}

/* The whole filter of a node. */
static inline struct pg_bytes node_text(const struct node *node)
{
    return (struct pg_bytes){.data = node->text, .len = node->len};
}

/* ... without `$share/group/`. */
static inline struct pg_bytes node_plain(const struct node *node)
{
    size_t at = node->shared ? share_of(node)->plain_at : 0;

    return (struct pg_bytes){.data = node->text + at, .len = node->len - at};
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
