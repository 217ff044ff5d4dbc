/* SPDX-License-Identifier: Apache-2.0 */

/* The readers of the subscription index (subindex.h): match and pick.
 *
 * Run on any registered reader, beside writers, with no lock. A match is one probe of the set of
 * exact filters plus a walk of the tree: from each branch that matched so far go to the child that
 * is named as the topic's next level, and to the child '+'. A branch is reached by one way only, so
 * the walk takes at most one step per branch of the tree whose path matches; what is still to be
 * visited fits on a stack of one entry per level. Levels of the topic are split and hashed when
 * they are first needed: a topic whose first level nobody named costs one hash.
 *
 * The order of writers' stores does not matter to a match that runs at the same time; what an
 * acquire published before it returned is seen by every match that begins after. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "subindex_parts.h"

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

/* The leaves of a branch: those that end here when the topic does, and those of '#' in any case. */
static void hit_leaves(struct pg_match *out, const struct branch *branch, bool topic_ends)
{
    const struct leaf *leaf = branch_leaves(branch);

    for (; leaf != NULL; leaf = atomic_load_explicit(&leaf->next, memory_order_acquire)) {
        if (topic_ends || (leaf->node.flags & NODE_BELOW) != 0)
            hit(out, &leaf->node);
    }
}

/* Have the cache fetch what the visit of a branch will look at: the branch, and the slots of its
 * children. Their addresses follow from that of the branch, so the three need not wait for each
 * other; with a million filters each would. */
static void prefetch_branch(const struct pg_subindex *index, const struct branch *branch,
                            struct topic_levels *levels, unsigned depth)
{
    __builtin_prefetch(branch);
    if (!level_known(levels, depth))
        return;
    pg_tagset_prefetch(&index->edges, pg_tagset_edge_hash(branch, levels->at[depth].hash));
    pg_tagset_prefetch(&index->edges, pg_tagset_edge_hash(branch, index->plus_hash));
}

/* The child of this name, at `depth` levels of the topic. */
static const struct branch *child(const struct pg_subindex *index, const struct branch *parent,
                                  struct pg_bytes level, uint64_t level_hash,
                                  struct topic_levels *levels, unsigned depth)
{
    struct pg_tagset_probe probe;
    const struct branch *branch =
        pg_tagset_first(&index->edges, pg_tagset_edge_hash(parent, level_hash), &probe);

    if (branch != NULL)
        prefetch_branch(index, branch, levels, depth);
    while (branch != NULL && (branch->parent != parent || branch->len != level.len ||
                              memcmp(branch->level, level.data, level.len) != 0))
        branch = pg_tagset_next(&probe);
    return branch;
}

static void match_tree(const struct pg_subindex *index, struct pg_bytes topic, struct pg_match *out)
{
    static const struct pg_bytes plus = {.data = (const uint8_t *)"+", .len = 1};
    struct {
        const struct branch *branch;
        unsigned depth; /* levels of the topic that are behind it */
    } todo[PG_TOPIC_LEVELS_MAX + 1];
    struct topic_levels levels;
    unsigned todo_count = 0;
    /* 4.7.2: no wildcard matches a first level that begins with '$'. */
    bool dollar = topic.data[0] == '$';

    levels.rest = topic;
    levels.known = 0;
    todo[todo_count].branch = index->root;
    todo[todo_count++].depth = 0;
    while (todo_count > 0) {
        const struct branch *branch = todo[--todo_count].branch;
        const struct branch *next;
        unsigned depth = todo[todo_count].depth;
        bool wild_allowed = depth > 0 || !dollar;
        bool topic_ends = !level_known(&levels, depth);

        if (wild_allowed)
            hit_leaves(out, branch, topic_ends);
        if (topic_ends)
            continue;
        assert(todo_count + 2 <= sizeof(todo) / sizeof(todo[0]));
        if (wild_allowed && atomic_load_explicit(&branch->has_plus, memory_order_acquire) != 0 &&
            (next = child(index, branch, plus, index->plus_hash, &levels, depth + 1)) != NULL) {
            todo[todo_count].branch = next;
            todo[todo_count++].depth = depth + 1;
        }
        if (atomic_load_explicit(&branch->named, memory_order_acquire) != 0 &&
            (next = child(index, branch, levels.at[depth].text, levels.at[depth].hash, &levels,
                          depth + 1)) != NULL) {
            todo[todo_count].branch = next;
            todo[todo_count++].depth = depth + 1;
        }
    }
}

static void match_exact(const struct pg_subindex *index, struct pg_bytes topic, uint64_t hash,
                        struct pg_match *out)
{
    struct pg_tagset_probe probe;
    const struct node *node = pg_tagset_first(&index->exact, hash, &probe);

    for (; node != NULL; node = pg_tagset_next(&probe)) {
        if (node->len == topic.len && memcmp(node->bytes, topic.data, topic.len) == 0) {
            hit(out, node);
            return;
        }
    }
}

size_t pg_subindex_match(const struct pg_subindex *index, struct pg_bytes topic,
                         struct pg_match *out)
{
    uint64_t hash = pg_hash(topic);

    out->count = 0;
    out->shared_count = 0;
    out->workers = 0;
    out->out_of_memory = false;
    pg_tagset_prefetch(&index->exact, hash);
    if (!branch_is_bare(index->root))
        match_tree(index, topic, out);
    match_exact(index, topic, hash, out);
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
