/* SPDX-License-Identifier: Apache-2.0 */

/* The readers of the subscription index (subindex.h): match and pick.
 *
 * Run on any registered reader, beside writers, with no lock. A match is one probe of the set of
 * exact filters plus a walk of the tree: from each path that matched so far go on with the topic's
 * next level, and with '+', where the marks of a branch say that filters do. A path is come to by
 * one way only, so the walk takes at most one step for each path that has a branch and matches.
 * Levels of the topic are split and hashed when they are first needed.
 *
 * With a million filters nearly everything that is looked at has to come from memory, which takes
 * longer than all else. So the walk looks at slots alone, asks the cache for those of a path when it
 * first knows of it, and goes breadth first, which leaves the most time until they are needed; nodes
 * are asked for likewise, and looked at when the walk is over. A match waits for memory about twice,
 * once more for each level that many filters have in common, however many hits there are.
 *
 * Slots tell by 16 bits of a hash, so the walk may find what does not match; whether a node's filter
 * does is decided by its text.
 *
 * The order of writers' stores does not matter to a match that runs at the same time; what an
 * acquire published before it returned is seen by every match that begins after. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "subindex_parts.h"

/* Nodes that wait to be looked at. */
#define DUE_MAX 16u

/* The walk goes breadth first while fewer paths than TODO_FEW wait, and depth first while more do:
 * then at most one more waits for each level. */
#define TODO_FEW 16u
#define TODO_MAX 512u
_Static_assert(TODO_MAX > TODO_FEW + PG_TOPIC_LEVELS_MAX + 1, "all that can wait has room");

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
    bool shared = node->shared;

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
    struct pg_bytes topic;
    struct topic_levels levels;
    const struct node *due[DUE_MAX];
    unsigned due_count;
    struct {
        uint64_t path;
        unsigned depth; /* levels of the topic that are behind it */
    } todo[TODO_MAX];
    unsigned todo_first, todo_end; /* they count on, and are taken modulo TODO_MAX */
};

/* Look at the nodes that are due, each with the other groups of its filter. */
static void hit_due(struct walk *walk)
{
    for (unsigned i = 0; i < walk->due_count; i++) {
        const struct node *node = walk->due[i];

        if (!pg_topic_matches(node_plain(node), walk->topic))
            continue;
        hit(walk->out, node);
        while (node->shared &&
               (node = atomic_load_explicit(&share_of(node)->next, memory_order_acquire)) != NULL)
            hit(walk->out, node);
    }
    walk->due_count = 0;
}

/* Have the cache fetch a node with its text. */
static void prefetch_node(const struct node *node, size_t text_len)
{
    __builtin_prefetch(node);
    __builtin_prefetch((const void *)((uintptr_t)node->text + text_len - 1));
}

/* Look at a node later, when the cache has had the time to fetch it. */
static void put_due(struct walk *walk, const struct node *node)
{
    prefetch_node(node, walk->topic.len);
    if (walk->due_count == DUE_MAX)
        hit_due(walk);
    walk->due[walk->due_count++] = node;
}

/* Visit a path later, when the cache has had the time to fetch its slots. */
static void put_todo(struct walk *walk, uint64_t path, unsigned depth)
{
    unsigned at = walk->todo_end++ % TODO_MAX;

    assert(walk->todo_end - walk->todo_first <= TODO_MAX);
    pg_tagset_prefetch(&walk->index->tree, path);
    walk->todo[at].path = path;
    walk->todo[at].depth = depth;
}

/* Take what is at this path, and go on from it. */
static void visit(struct walk *walk, uint64_t path, unsigned depth)
{
    bool topic_ends = !level_known(&walk->levels, depth);
    uint64_t named = topic_ends ? path : path_add(path, walk->levels.at[depth].hash);
    uint64_t plus = topic_ends ? path : path_add(path, walk->index->plus_hash);
    struct pg_tagset_probe probe;
    unsigned ways = 0;

    for (const void *item = pg_tagset_any_first(&walk->index->tree, path, &probe); item != NULL;
         item = pg_tagset_any_next(&probe)) {
        if ((probe.marks & MARK_FILTER) == 0) {
            if (probe.tag == probe.wanted)
                ways |= probe.marks;
        } else if ((probe.marks & MARK_EARLY) != 0) {
            if (!topic_ends &&
                (probe.tag == pg_tagset_tag(named) || probe.tag == pg_tagset_tag(plus)))
                put_due(walk, item);
        } else if (probe.tag == probe.wanted && (topic_ends || (probe.marks & MARK_BELOW) != 0)) {
            put_due(walk, item);
        }
    }
    if (topic_ends)
        return;
    if ((ways & MARK_NAMED) != 0)
        put_todo(walk, named, depth + 1);
    if ((ways & MARK_PLUS) != 0)
        put_todo(walk, plus, depth + 1);
}

static void match_tree(struct walk *walk)
{
    unsigned waiting;

    visit(walk, PATH_NONE, 0);
    while ((waiting = walk->todo_end - walk->todo_first) > 0) {
        unsigned at = waiting < TODO_FEW ? walk->todo_first++ : --walk->todo_end;

        at %= TODO_MAX;
        visit(walk, walk->todo[at].path, walk->todo[at].depth);
    }
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
    walk.topic = topic;
    walk.levels.rest = topic;
    walk.levels.known = 0;
    walk.due_count = 0;
    walk.todo_first = walk.todo_end = 0;
    match_tree(&walk);
    exact = pg_tagset_first(&index->exact, hash, &probe);
    if (exact != NULL)
        prefetch_node(exact, topic.len);
    hit_due(&walk);
    while (exact != NULL && !pg_bytes_equal(node_text(exact), topic))
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

    if (node != NULL && node->shared) {
        struct turns *turns = share_of(node)->turns;
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
