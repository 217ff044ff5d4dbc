/* SPDX-License-Identifier: Apache-2.0 */

/* The readers of the subscription index (subindex.h): match and pick.
 *
 * Run on any registered reader, beside writers, with no lock. A match is one probe of the set of
 * exact filters plus a walk of the tree: from each branch that matched so far go to the child that
 * is named as the topic's next level, and to the child '+'. A branch is reached by one way only, so
 * the walk takes at most one step per branch of the tree whose path matches; what is still to be
 * visited fits on a stack of one entry per level. Levels of the topic are split and hashed when
 * they are first needed.
 *
 * With a million filters nearly everything that is looked at has to come from memory. So the cache is
 * asked early for what the walk will need: the slots of grandchildren, known by the hashes of their
 * paths, before the children are there; both children of a branch at a time; and leaves, and the
 * exact filter, while the walk goes on without them.
 *
 * The order of writers' stores does not matter to a match that runs at the same time; what an
 * acquire published before it returned is seen by every match that begins after. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "subindex_parts.h"

/* Branches whose leaves wait to be looked at. */
#define DUE_MAX 16u

struct topic_levels {
    struct pg_bytes rest;
    unsigned known;
    struct {
        struct pg_bytes text;
        uint64_t hash;
    } at[PG_TOPIC_LEVELS_MAX];
};

/* Whether the topic has a level of this number; levels are asked for in order. */
static bool level_known(struct topic_levels *levels, unsigned depth)
{
    struct pg_bytes level;

    if (depth < levels->known)
        return true;
    if (depth == PG_TOPIC_LEVELS_MAX || !pg_topic_level_next(&levels->rest, &level))
        return false;
    levels->at[depth].text = level;
    levels->at[depth].hash = pg_hash(level);
    levels->known = depth + 1;
    return true;
}

static bool hits_grow(struct pg_match *out)
{
    size_t capacity = out->capacity == 0 ? 16 : out->capacity * 2;
    struct pg_match_hit *hits = realloc(out->hits, capacity * sizeof(*hits));

    if (hits == NULL) {
        out->out_of_memory = true;
        return false;
    }
    out->hits = hits;
    out->capacity = capacity;
    return true;
}

static void hit(struct pg_match *out, const struct node *node)
{
    uint64_t workers = atomic_load_explicit(&node->workers, memory_order_acquire);
    bool shared = (node->flags & NODE_SHARED) != 0;

    if (workers == 0 || (out->count == out->capacity && !hits_grow(out)))
        return;
    out->hits[out->count++] = (struct pg_match_hit){
        .ref = node_ref(node),
        .workers = workers,
        .shared = shared,
    };
    if (shared)
        out->shared_count++;
    else
        out->workers |= workers;
}

/* A match that is under way. */
struct walk {
    const struct pg_subindex *index;
    struct pg_match *out;
    struct topic_levels levels;
    struct {
        const struct leaf *leaf; /* the first of a branch that matched */
        bool topic_ends;         /* at that branch */
    } due[DUE_MAX];
    unsigned due_count;
};

/* The leaves that are due: those that end where the topic does, and those of '#' in any case. */
static void hit_due(struct walk *walk)
{
    for (unsigned i = 0; i < walk->due_count; i++) {
        const struct leaf *leaf = walk->due[i].leaf;

        for (; leaf != NULL; leaf = atomic_load_explicit(&leaf->next, memory_order_acquire)) {
            if (walk->due[i].topic_ends || (leaf->node.flags & NODE_BELOW) != 0)
                hit(walk->out, &leaf->node);
        }
    }
    walk->due_count = 0;
}

/* Have the cache fetch a struct's first byte and its last, which may lie in the next line. */
static void prefetch_both(const void *first, const void *last)
{
    __builtin_prefetch(first);
    __builtin_prefetch(last);
}

/* Look at the leaves of a branch later, when the cache has had the time to fetch them. */
static void put_due(struct walk *walk, const struct branch *branch, bool topic_ends)
{
    const struct leaf *leaf = branch_leaves(branch);

    if (leaf == NULL)
        return;
    prefetch_both(leaf, &leaf->node.flags);
    if (walk->due_count == DUE_MAX)
        hit_due(walk);
    walk->due[walk->due_count].leaf = leaf;
    walk->due[walk->due_count++].topic_ends = topic_ends;
}

/* Have the cache fetch the slots of the children of the branch with this path, at `depth` levels of the
 * topic. */
static void prefetch_children(struct walk *walk, uint64_t path, unsigned depth)
{
    const struct pg_tagset *edges = &walk->index->edges;

    if (!level_known(&walk->levels, depth))
        return;
    pg_tagset_prefetch(edges, pg_tagset_edge_hash(path, walk->levels.at[depth].hash));
    pg_tagset_prefetch(edges, pg_tagset_edge_hash(path, walk->index->plus_hash));
}

/* The search for a child, in two steps: so that two can be fetched at the same time. */
struct search {
    uint64_t path;
    struct branch *found; /* it may be another one; NULL: there is none */
    struct pg_tagset_probe probe;
};

static void search_begin(struct walk *walk, struct search *search, uint64_t path, unsigned depth)
{
    search->path = path;
    prefetch_children(walk, path, depth);
    search->found = pg_tagset_first(&walk->index->edges, path, &search->probe);
    if (search->found != NULL)
        prefetch_both(search->found, search->found->level);
}

static const struct branch *search_end(struct search *search, const struct branch *parent,
                                       struct pg_bytes level)
{
    const struct branch *branch = search->found;

    while (branch != NULL && (branch->parent != parent || branch->len != level.len ||
                              memcmp(branch->level, level.data, level.len) != 0))
        branch = pg_tagset_next(&search->probe);
    return branch;
}

static void match_tree(struct walk *walk, struct pg_bytes topic)
{
    static const struct pg_bytes plus = {.data = (const uint8_t *)"+", .len = 1};
    struct visit {
        const struct branch *branch;
        uint64_t path;
        unsigned depth; /* levels of the topic that are behind it */
    } todo[PG_TOPIC_LEVELS_MAX + 1];
    struct topic_levels *levels = &walk->levels;
    unsigned todo_count = 0;
    /* 4.7.2: no wildcard matches a first level that begins with '$'. */
    bool dollar = topic.data[0] == '$';

    todo[todo_count++] = (struct visit){.branch = walk->index->root};
    while (todo_count > 0) {
        const struct visit at = todo[--todo_count];
        const struct branch *next;
        struct search named = {.found = NULL}, any = {.found = NULL};
        bool wild_allowed = at.depth > 0 || !dollar;
        bool topic_ends = !level_known(levels, at.depth);

        if (wild_allowed)
            put_due(walk, at.branch, topic_ends);
        if (topic_ends)
            continue;
        assert(todo_count + 2 <= sizeof(todo) / sizeof(todo[0]));
        if (atomic_load_explicit(&at.branch->named, memory_order_acquire) != 0)
            search_begin(walk, &named, pg_tagset_edge_hash(at.path, levels->at[at.depth].hash),
                         at.depth + 1);
        if (wild_allowed && atomic_load_explicit(&at.branch->has_plus, memory_order_acquire) != 0)
            search_begin(walk, &any, pg_tagset_edge_hash(at.path, walk->index->plus_hash),
                         at.depth + 1);
        if ((next = search_end(&any, at.branch, plus)) != NULL)
            todo[todo_count++] = (struct visit){next, any.path, at.depth + 1};
        if ((next = search_end(&named, at.branch, levels->at[at.depth].text)) != NULL)
            todo[todo_count++] = (struct visit){next, named.path, at.depth + 1};
    }
    hit_due(walk);
}

size_t pg_subindex_match(const struct pg_subindex *index, struct pg_bytes topic,
                         struct pg_match *out)
{
    struct walk walk; /* not all of it is touched */
    struct pg_tagset_probe probe;
    uint64_t hash = pg_hash(topic);
    const struct node *exact;

    out->count = 0;
    out->shared_count = 0;
    out->workers = 0;
    out->out_of_memory = false;
    pg_tagset_prefetch(&index->exact, hash);
    walk.index = index;
    walk.out = out;
    walk.levels.rest = topic;
    walk.levels.known = 0;
    walk.due_count = 0;
    exact = pg_tagset_first(&index->exact, hash, &probe);
    if (exact != NULL)
        prefetch_both(exact, exact->bytes + topic.len - 1);
    if (!branch_is_bare(index->root))
        match_tree(&walk, topic);
    while (exact != NULL &&
           (exact->len != topic.len || memcmp(exact->bytes, topic.data, topic.len) != 0))
        exact = pg_tagset_next(&probe);
    if (exact != NULL)
        hit(out, exact);
    BEFORE_GRACE(index);
    return out->count;
}

void pg_match_release(struct pg_match *match)
{
    free(match->hits);
    *match = (struct pg_match){0};
}

struct node *pg_subindex_resolve(const struct pg_subindex *index, pg_node_ref ref)
{
    uint32_t id = pg_node_id(ref);
    _Atomic uintptr_t *chunk;
    uintptr_t entry;
    struct node *node;

    if (id / ID_CHUNK >= ID_CHUNKS)
        return NULL;
    chunk = atomic_load_explicit(&index->ids[id / ID_CHUNK], memory_order_acquire);
    if (chunk == NULL)
        return NULL;
    entry = atomic_load_explicit(&chunk[id % ID_CHUNK], memory_order_acquire);
    if (entry == 0 || entry % 4 != ID_LIVE)
        return NULL;
    node = (struct node *)entry;
    return node_ref(node) == ref ? node : NULL;
}

/* Member number `turn` of all members, counted through the workers. Counts may change on the way:
 * then the turn may fall behind the last one. */
static unsigned worker_of_turn(const struct turns *turns, unsigned workers, uint64_t turn)
{
    for (unsigned i = 0; i < workers; i++) {
        uint32_t members = atomic_load_explicit(&turns->members[i], memory_order_relaxed);

        if (turn < members)
            return i;
        turn -= members;
    }
    return PG_SUBINDEX_NO_WORKER;
}

/* One of the workers that have subscribers at all, in turn; they are all away. */
static unsigned any_worker(const struct node *node, uint32_t turn)
{
    uint64_t workers = atomic_load_explicit(&node->workers, memory_order_relaxed);
    unsigned count = (unsigned)__builtin_popcountll(workers);

    if (count == 0)
        return PG_SUBINDEX_NO_WORKER;
    for (unsigned skip = turn % count; skip > 0; skip--)
        workers &= workers - 1;
    return (unsigned)__builtin_ctzll(workers);
}

unsigned pg_subindex_pick(const struct pg_subindex *index, pg_node_ref ref)
{
    struct node *node = pg_subindex_resolve(index, ref);
    unsigned picked = PG_SUBINDEX_NO_WORKER;

    if (node != NULL && (node->flags & NODE_SHARED) != 0) {
        struct turns *turns = shared_leaf_of(node)->turns;
        uint32_t turn = atomic_fetch_add_explicit(&turns->turn, 1, memory_order_relaxed);
        uint64_t total = 0;

        for (unsigned i = 0; i < index->workers; i++)
            total += atomic_load_explicit(&turns->members[i], memory_order_relaxed);
        if (total > 0)
            picked = worker_of_turn(turns, index->workers, turn % total);
        /* A member left in between: whoever comes first. */
        if (picked == PG_SUBINDEX_NO_WORKER)
            picked = worker_of_turn(turns, index->workers, 0);
        if (picked == PG_SUBINDEX_NO_WORKER)
            picked = any_worker(node, turn);
    }
    BEFORE_GRACE(index);
    return picked;
}
