/* SPDX-License-Identifier: Apache-2.0 */

/* The writers of the subscription index (subindex.h); the readers are in subindex_match.c.
 *
 * Two sets, both read without locks:
 *   exact   nodes by their filter: filters without wildcards that are not shared
 *   tree    all others. A path is the hash of some levels, one after the other; '+' is a level like
 *           any other there (no topic has a level of that name), '#' is not one: the node of `a/#`
 *           has the path `a`. A node is kept at the path of its whole filter, or early: at a
 *           beginning of it where few others are, so that a device's handful of filters lies in one
 *           place and needs nothing else. Where filters go on to places further down there is a
 *           branch, which counts them, and whose marks tell readers how they go on.
 * Nothing but paths holds the tree together, and no slot but that of a node leads to anything that a
 * reader has to look at; what it finds there is the text of a filter, which decides. Of nodes that
 * differ in their group alone the first is in the set, and leads to the others.
 *
 * Ids lead to nodes by a two-level table, so that a reference can be resolved, and a reused id told
 * from its earlier owner by the generation.
 *
 * Writers hold the mutex. What they unlink goes into `collecting`; at the end of the call that
 * becomes `waiting` and one call_rcu() is made, unless one is under way: then the reclaimer makes
 * the next. So a burst of releases costs one grace period, and unlinking never needs memory.
 *
 * Invariants: a node is reachable by readers if and only if its id is ID_LIVE, and then it has a
 * worker (but for the moment of its making); each place before that of a node has a branch, and each
 * branch a node further down: so the search for a filter ends where there is no branch; a node is
 * never moved; a reference (id, generation) is given out once in 2^32.
 *
 * Lock order: the mutex is the innermost lock; no callback but that of walk runs under it. */

#include "subindex.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "subindex_parts.h"

/* How much the reclaimer frees before it lets writers in again. */
#define RECLAIM_SLICE 256u

/* How many filters are kept early at one place: of a match that comes by, each may be one more node
 * to look at in vain. */
#define EARLY_MAX 4u

/* ---- memory ---------------------------------------------------------------------------------- */

static void *small_new(struct pg_subindex *index, size_t bytes)
{
    size_t class = (bytes + SMALL_STEP - 1) / SMALL_STEP;
    void *memory;

    if (class <= SMALL_CLASSES)
        return pg_slab_new(&index->small[class - 1]);
    memory = calloc(1, bytes);
    if (memory != NULL)
        index->bytes_other += bytes;
    return memory;
}

static void small_free(struct pg_subindex *index, void *memory, size_t bytes)
{
    size_t class = (bytes + SMALL_STEP - 1) / SMALL_STEP;

    if (class <= SMALL_CLASSES) {
        pg_slab_free(&index->small[class - 1], memory);
    } else {
        index->bytes_other -= bytes;
        free(memory);
    }
}

static size_t turns_bytes(const struct pg_subindex *index)
{
    return sizeof(struct turns) + index->workers * sizeof(((struct turns *)NULL)->members[0]);
}

static size_t node_bytes(bool shared, size_t len)
{
    return offsetof(struct node, text) + len + (shared ? offsetof(struct share, node) : 0);
}

/* ---- ids ------------------------------------------------------------------------------------- */

static _Atomic uintptr_t *id_entry(struct pg_subindex *index, uint32_t id)
{
    return &atomic_load_explicit(&index->ids[id / ID_CHUNK], memory_order_relaxed)[id % ID_CHUNK];
}

static void id_set(struct pg_subindex *index, uint32_t id, uintptr_t what, unsigned kind)
{
    atomic_store_explicit(id_entry(index, id), what | kind, memory_order_release);
}

/* What an id stands for, without its kind. */
static uintptr_t id_get(struct pg_subindex *index, uint32_t id)
{
    return atomic_load_explicit(id_entry(index, id), memory_order_relaxed) & ~(uintptr_t)3;
}

/* Of an id that was given out. */
static unsigned id_kind(struct pg_subindex *index, uint32_t id)
{
    return atomic_load_explicit(id_entry(index, id), memory_order_relaxed) % 4;
}

/* An id that nobody has; 0: none left, or memory is out. It stays free until id_set(). */
static uint32_t id_peek(struct pg_subindex *index)
{
    uint32_t id = index->ids_used;
    _Atomic uintptr_t *chunk;

    if (index->ids_free != 0)
        return index->ids_free;
    if (id == ID_CHUNK * ID_CHUNKS)
        return 0;
    chunk = atomic_load_explicit(&index->ids[id / ID_CHUNK], memory_order_relaxed);
    if (chunk == NULL) {
        chunk = calloc(ID_CHUNK, sizeof(*chunk));
        if (chunk == NULL)
            return 0;
        index->bytes_other += ID_CHUNK * sizeof(*chunk);
        atomic_store_explicit(&index->ids[id / ID_CHUNK], chunk, memory_order_release);
    }
    return id;
}

/* Give the id of id_peek() to this node. */
static void id_take(struct pg_subindex *index, uint32_t id, struct node *node)
{
    if (id == index->ids_free)
        index->ids_free = (uint32_t)(id_get(index, id) / 4);
    else
        index->ids_used++;
    if (++index->generation == 0)
        index->generation = 1;
    node->id = id;
    atomic_store_explicit(&node->generation, index->generation, memory_order_relaxed);
    id_set(index, id, (uintptr_t)node, ID_LIVE);
}

static void id_give_back(struct pg_subindex *index, uint32_t id)
{
    id_set(index, id, (uintptr_t)index->ids_free * 4, ID_FREE);
    index->ids_free = id;
}

/* ---- the grave ------------------------------------------------------------------------------- */

static void bury_table(void *arg, struct pg_tagset_table *table)
{
    struct pg_subindex *index = arg;

    index->bytes_other += pg_tagset_table_bytes(table);
    table->next = index->collecting.tables;
    index->collecting.tables = table;
}

static void bury_node(struct pg_subindex *index, struct node *node)
{
    id_set(index, node->id, (uintptr_t)node, ID_DEAD);
    atomic_store_explicit(&node->generation, index->collecting.nodes, memory_order_relaxed);
    index->collecting.nodes = node->id;
}

static void node_free(struct pg_subindex *index, struct node *node)
{
    size_t bytes = node_bytes(node->shared, node->len);
    void *memory = node;

    if (node->shared) {
        memory = share_of(node);
        index->bytes_other -= turns_bytes(index);
        free(share_of(node)->turns);
    }
    small_free(index, memory, bytes);
}

/* Free one thing that has waited long enough; false: nothing is left. */
static bool reclaim_one(struct pg_subindex *index)
{
    struct grave *grave = &index->waiting;

    if (grave->nodes != 0) {
        uint32_t id = grave->nodes;
        struct node *node = (struct node *)id_get(index, id);

        grave->nodes = atomic_load_explicit(&node->generation, memory_order_relaxed);
        node_free(index, node);
        id_give_back(index, id);
        return true;
    }
    if (grave->tables != NULL) {
        struct pg_tagset_table *table = grave->tables;

        grave->tables = table->next;
        index->bytes_other -= pg_tagset_table_bytes(table);
        free(table);
        return true;
    }
    return false;
}

static void reclaim(struct rcu_head *head);

/* Let a grace period begin for what was collected. */
static void grave_close(struct pg_subindex *index)
{
    const struct grave *c = &index->collecting;

    if (index->grace_pending || (c->nodes == 0 && c->tables == NULL))
        return;
    index->waiting = index->collecting;
    index->collecting = (struct grave){0};
    index->grace_pending = true;
    BEFORE_GRACE(index);
    call_rcu(&index->rcu, reclaim);
}

/* liburcu's call_rcu thread: no reader can see index->waiting any more. */
static void reclaim(struct rcu_head *head)
{
    struct pg_subindex *index =
        (struct pg_subindex *)((uint8_t *)head - offsetof(struct pg_subindex, rcu));
    bool more = true;

    AFTER_GRACE(index);
    while (more) {
        pthread_mutex_lock(&index->mutex);
        for (unsigned i = 0; more && i < RECLAIM_SLICE; i++)
            more = reclaim_one(index);
        if (!more) {
            index->grace_pending = false;
            grave_close(index);
        }
        pthread_mutex_unlock(&index->mutex);
    }
}

#ifdef SUBINDEX_TSAN
/* liburcu hands blocks of its own between threads by means that ThreadSanitizer does not see: what
 * it calls itself is not looked at. The reclaimer's own calls are. */
PG_API const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liburcu-qsbr.so\n";
}
#endif

/* ---- routes and branches --------------------------------------------------------------------- */

/* The way of a plain filter through the tree: what its first `depth` levels are, for each depth. */
struct route {
    unsigned levels;                        /* all of them, without '#' */
    uint64_t path[PG_TOPIC_LEVELS_MAX + 1]; /* by depth */
    uint16_t end[PG_TOPIC_LEVELS_MAX + 1];  /* by depth, in bytes, without a '/' behind the last */
};

static void route_plan(struct route *route, struct pg_bytes plain)
{
    struct pg_bytes rest = plain, level;
    unsigned depth = 0;

    route->path[0] = PATH_NONE;
    route->end[0] = 0;
    while (pg_topic_level_next(&rest, &level) && !(level.len == 1 && level.data[0] == '#')) {
        route->path[depth + 1] = path_add(route->path[depth], pg_hash(level));
        route->end[++depth] = (uint16_t)(level.data + level.len - plain.data);
    }
    route->levels = depth;
}

/* The hash of a filter that is kept at this depth. */
static uint64_t route_hash(const struct route *route, unsigned depth)
{
    return depth == route->levels ? route->path[depth]
                                  : path_early(route->path[depth], route->path[depth + 1]);
}

static struct branch *branch_find(const struct pg_subindex *index, uint64_t path)
{
    struct pg_tagset_probe probe;
    void *item = pg_tagset_first(&index->tree, path, &probe);

    while (item != NULL &&
           ((probe.marks & MARK_FILTER) != 0 || ((struct branch *)item)->path != path))
        item = pg_tagset_next(&probe);
    return item;
}

static unsigned branch_marks(const struct branch *branch)
{
    return (branch->plus > 0 ? MARK_PLUS : 0u) | (branch->named > 0 ? MARK_NAMED : 0u);
}

/* Of a route's branch at this depth, the count that the route is in. */
static uint32_t *branch_count(const struct pg_subindex *index, struct branch *branch,
                              const struct route *route, unsigned depth)
{
    uint64_t plus = path_add(route->path[depth], index->plus_hash);

    return route->path[depth + 1] == plus ? &branch->plus : &branch->named;
}

/* One more filter goes on from here. false: memory is out. */
static bool branch_enter(struct pg_subindex *index, const struct route *route, unsigned depth)
{
    uint64_t path = route->path[depth];
    struct branch *branch = branch_find(index, path);

    if (branch == NULL) {
        branch = small_new(index, sizeof(*branch));
        if (branch == NULL)
            return false;
        branch->path = path;
        if (!pg_tagset_add(&index->tree, path, branch, 0)) {
            small_free(index, branch, sizeof(*branch));
            return false;
        }
        index->count_branches++;
    }
    if ((*branch_count(index, branch, route, depth))++ == 0)
        pg_tagset_change(&index->tree, path, branch, branch, branch_marks(branch));
    return true;
}

/* One filter less does. */
static void branch_leave(struct pg_subindex *index, const struct route *route, unsigned depth)
{
    uint64_t path = route->path[depth];
    struct branch *branch = branch_find(index, path);

    if (--*branch_count(index, branch, route, depth) > 0)
        return;
    if (branch_marks(branch) != 0) {
        pg_tagset_change(&index->tree, path, branch, branch, branch_marks(branch));
        return;
    }
    pg_tagset_remove(&index->tree, path, branch);
    small_free(index, branch, sizeof(*branch)); /* at once: no reader looks into it */
    index->count_branches--;
}

static void branches_leave(struct pg_subindex *index, const struct route *route, unsigned depth)
{
    while (depth > 0)
        branch_leave(index, route, --depth);
}

/* A filter that is kept at `depth` enters the branches before. false: memory is out, and nothing is
 * changed. */
static bool branches_enter(struct pg_subindex *index, const struct route *route, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++) {
        if (!branch_enter(index, route, i)) {
            branches_leave(index, route, i);
            return false;
        }
    }
    return true;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static uint64_t exact_hash(const void *item, unsigned marks)
{
    (void)marks;
    return pg_hash(node_text(item));
}

static unsigned depth_of(const struct node *node, const struct route *route)
{
    return (node->marks & MARK_EARLY) != 0 ? node->early_at : route->levels;
}

static uint64_t tree_hash(const void *item, unsigned marks)
{
    struct route route;

    if ((marks & MARK_FILTER) == 0)
        return ((const struct branch *)item)->path;
    route_plan(&route, node_plain(item));
    return route_hash(&route, depth_of(item, &route));
}

/* The whole text of a filter, as it was before it was taken apart. */
static struct pg_bytes whole_text(const struct pg_filter *filter)
{
    static const size_t share_len = sizeof("$share/") - 1;
    const uint8_t *begin = filter->plain.data;

    if (filter->group.data != NULL)
        begin = filter->group.data - share_len;
    return (struct pg_bytes){
        .data = begin,
        .len = (size_t)(filter->plain.data + filter->plain.len - begin),
    };
}

/* A node that is not published yet, with its id; NULL when memory is out. */
static struct node *node_new(struct pg_subindex *index, const struct pg_filter *filter,
                             unsigned worker)
{
    bool shared = filter->group.data != NULL;
    struct pg_bytes text = whole_text(filter);
    uint32_t id = id_peek(index);
    struct turns *turns = NULL;
    struct node *node;
    void *memory;

    if (id == 0)
        return NULL;
    if (shared) {
        turns = calloc(1, turns_bytes(index));
        if (turns == NULL)
            return NULL;
        index->bytes_other += turns_bytes(index);
    }
    memory = small_new(index, node_bytes(shared, text.len));
    if (memory == NULL) {
        if (turns != NULL)
            index->bytes_other -= turns_bytes(index);
        free(turns);
        return NULL;
    }
    node = memory;
    if (shared) {
        struct share *share = memory;

        share->turns = turns;
        share->plain_at = (uint16_t)(filter->plain.data - text.data);
        node = &share->node;
    }
    node->shared = shared;
    node->len = (uint16_t)text.len; /* a filter has at most 65,535 bytes */
    memcpy(node->text, text.data, text.len);
    atomic_store_explicit(&node->workers, UINT64_C(1) << worker, memory_order_relaxed);
    id_take(index, id, node);
    return node;
}

static size_t *count_of(struct pg_subindex *index, const struct node *node)
{
    if (node->shared)
        return &index->count_shared;
    return node->marks != 0 ? &index->count_wildcard : &index->count_exact;
}

static void worker_add(struct node *node, unsigned worker)
{
    atomic_fetch_or_explicit(&node->workers, UINT64_C(1) << worker, memory_order_release);
}

static struct node *acquire_exact(struct pg_subindex *index, const struct pg_filter *filter,
                                  unsigned worker)
{
    uint64_t hash = pg_hash(filter->plain);
    struct pg_tagset_probe probe;
    struct node *node = pg_tagset_first(&index->exact, hash, &probe);

    while (node != NULL && !pg_bytes_equal(node_text(node), filter->plain))
        node = pg_tagset_next(&probe);
    if (node != NULL) {
        worker_add(node, worker);
        return node;
    }
    node = node_new(index, filter, worker);
    if (node == NULL)
        return NULL;
    if (!pg_tagset_add(&index->exact, hash, node, 0)) {
        bury_node(index, node); /* not freed at once: a late reference to its id may be looked up */
        return NULL;
    }
    index->count_exact++;
    return node;
}

/* The node with this hash of a plain filter; of shared ones the first. */
static struct node *tree_find(const struct pg_subindex *index, uint64_t hash, struct pg_bytes plain,
                              bool shared)
{
    struct pg_tagset_probe probe;
    struct node *node = pg_tagset_first(&index->tree, hash, &probe);

    while (node != NULL && ((probe.marks & MARK_FILTER) == 0 || node->shared != shared ||
                            !pg_bytes_equal(node_plain(node), plain)))
        node = pg_tagset_next(&probe);
    return node;
}

/* Whether a filter that goes on from this depth is to be kept early there: there is no branch, and
 * there are few others, which all have another next level (a match that goes on with one's next
 * level does not look at the others). Never before the first level: nobody is alone there. */
static bool early_here(const struct pg_subindex *index, const struct route *route, unsigned depth,
                       struct pg_bytes plain)
{
    uint64_t path = route->path[depth];
    uint16_t next_tag = pg_tagset_tag(route->path[depth + 1]);
    size_t len = route->end[depth] + 1u; /* with the '/' */
    struct pg_tagset_probe probe;
    unsigned others = 0;

    if (depth == 0 || branch_find(index, path) != NULL)
        return false;
    for (const struct node *node = pg_tagset_any_first(&index->tree, path, &probe); node != NULL;
         node = pg_tagset_any_next(&probe)) {
        if ((probe.marks & (MARK_FILTER | MARK_EARLY)) != (MARK_FILTER | MARK_EARLY) ||
            node->early_at != depth || node_plain(node).len < len ||
            memcmp(node_plain(node).data, plain.data, len) != 0)
            continue;
        if (probe.tag == next_tag || ++others == EARLY_MAX)
            return false;
    }
    return true;
}

/* Look for a filter along its route. *depth becomes where it is kept, or, when there is none, where
 * it is to be put. */
static struct node *tree_look(const struct pg_subindex *index, const struct route *route,
                              struct pg_bytes plain, bool shared, unsigned *depth)
{
    for (unsigned i = 1; i <= route->levels; i++)
        pg_tagset_prefetch(&index->tree, route->path[i]);

    for (*depth = 0;; ++*depth) {
        struct node *node = tree_find(index, route_hash(route, *depth), plain, shared);

        if (node != NULL || *depth == route->levels || early_here(index, route, *depth, plain))
            return node;
    }
}

static struct node *next_group(const struct node *node)
{
    return node->shared ? atomic_load_explicit(&share_of(node)->next, memory_order_relaxed) : NULL;
}

/* Put in a node; `first` of its filter is there already, or NULL. false: memory is out, and nothing
 * is changed. */
static bool tree_add(struct pg_subindex *index, const struct route *route, unsigned depth,
                     struct node *first, struct node *node)
{
    struct pg_bytes plain = node_plain(node);
    unsigned marks = MARK_FILTER;

    if (depth < route->levels)
        marks |= MARK_EARLY;
    if (plain.data[plain.len - 1] == '#')
        marks |= MARK_BELOW;
    node->marks = marks & PG_TAGSET_MARKS;
    node->early_at = depth < route->levels ? (uint8_t)depth : 0;
    if (!branches_enter(index, route, depth))
        return false;
    if (first != NULL) { /* of another group: the new one comes second */
        atomic_store_explicit(&share_of(node)->next, next_group(first), memory_order_relaxed);
        atomic_store_explicit(&share_of(first)->next, node, memory_order_release);
    } else if (!pg_tagset_add(&index->tree, route_hash(route, depth), node, marks)) {
        branches_leave(index, route, depth);
        return false;
    }
    return true;
}

static struct node *acquire_tree(struct pg_subindex *index, const struct pg_filter *filter,
                                 unsigned worker)
{
    struct route route;
    struct node *first, *node;
    unsigned depth;

    route_plan(&route, filter->plain);
    first = tree_look(index, &route, filter->plain, filter->group.data != NULL, &depth);
    for (node = first; node != NULL && !pg_bytes_equal(node_text(node), whole_text(filter));)
        node = next_group(node);
    if (node != NULL) {
        worker_add(node, worker);
        return node;
    }
    node = node_new(index, filter, worker);
    if (node == NULL)
        return NULL;
    if (!tree_add(index, &route, depth, first, node)) {
        bury_node(index, node);
        return NULL;
    }
    (*count_of(index, node))++;
    return node;
}

static void tree_remove(struct pg_subindex *index, struct node *node)
{
    struct node *before, *next = next_group(node);
    struct route route;
    uint64_t hash;

    route_plan(&route, node_plain(node));
    hash = route_hash(&route, depth_of(node, &route));
    before = tree_find(index, hash, node_plain(node), node->shared);
    if (before == node && next == NULL) {
        pg_tagset_remove(&index->tree, hash, node);
    } else if (before == node) {
        pg_tagset_change(&index->tree, hash, node, next, node->marks);
    } else {
        while (next_group(before) != node)
            before = next_group(before);
        atomic_store_explicit(&share_of(before)->next, next, memory_order_release);
    }
    branches_leave(index, &route, depth_of(node, &route));
}

static void node_remove(struct pg_subindex *index, struct node *node)
{
    if (node->marks != 0)
        tree_remove(index, node);
    else
        pg_tagset_remove(&index->exact, exact_hash(node, 0), node);
    (*count_of(index, node))--;
    bury_node(index, node);
}

/* ---- the interface --------------------------------------------------------------------------- */

struct pg_subindex *pg_subindex_new(unsigned workers)
{
    struct pg_subindex *index;

    assert(workers > 0 && workers <= PG_SUBINDEX_WORKERS_MAX);
    index = calloc(1, sizeof(*index));
    if (index == NULL)
        return NULL;
    for (size_t i = 0; i < SMALL_CLASSES; i++)
        pg_slab_init(&index->small[i], (i + 1) * SMALL_STEP, 1);
    pthread_mutex_init(&index->mutex, NULL);
    pg_tagset_init(&index->exact, PG_TAGSET_TIGHT, exact_hash, bury_table, index);
    pg_tagset_init(&index->tree, PG_TAGSET_ROOMY, tree_hash, bury_table, index);
    index->plus_hash = pg_hash(PG_BYTES_OF("+"));
    index->workers = workers;
    index->ids_used = 1;
    return index;
}

static bool grace_pending(struct pg_subindex *index)
{
    bool pending;

    pthread_mutex_lock(&index->mutex);
    pending = index->grace_pending;
    pthread_mutex_unlock(&index->mutex);
    return pending;
}

void pg_subindex_free(struct pg_subindex **index_at)
{
    struct pg_subindex *index = *index_at;
    bool pending;

    if (index == NULL)
        return;
    *index_at = NULL;
    do { /* once more than needed, so that the last reclaimer has also left */
        pending = grace_pending(index);
        rcu_barrier();
    } while (pending);
    for (uint32_t id = 1; id < index->ids_used; id++) {
        if (id_kind(index, id) == ID_LIVE)
            node_remove(index, (struct node *)id_get(index, id));
    }
    index->waiting = index->collecting; /* no reader is left: nothing to wait for */
    while (reclaim_one(index))
        ;
    pg_tagset_fini(&index->exact);
    pg_tagset_fini(&index->tree);
    for (size_t i = 0; i < SMALL_CLASSES; i++)
        pg_slab_fini(&index->small[i]);
    for (size_t i = 0; i < ID_CHUNKS; i++)
        free(atomic_load_explicit(&index->ids[i], memory_order_relaxed));
    pthread_mutex_destroy(&index->mutex);
    free(index);
}

pg_node_ref pg_subindex_acquire(struct pg_subindex *index, const struct pg_filter *filter,
                                unsigned worker)
{
    struct node *node;
    pg_node_ref ref = PG_NODE_NONE;

    assert(worker < index->workers);
    pthread_mutex_lock(&index->mutex);
    if (filter->wildcard || filter->group.data != NULL)
        node = acquire_tree(index, filter, worker);
    else
        node = acquire_exact(index, filter, worker);
    if (node != NULL)
        ref = node_ref(node);
    grave_close(index);
    pthread_mutex_unlock(&index->mutex);
    return ref;
}

struct pg_bytes pg_subindex_filter(const struct pg_subindex *index, pg_node_ref ref)
{
    const struct node *node = pg_subindex_resolve(index, ref);

    return node != NULL ? node_text(node) : PG_BYTES_NONE;
}

void pg_subindex_release(struct pg_subindex *index, pg_node_ref ref, unsigned worker)
{
    uint64_t bit = UINT64_C(1) << worker;
    struct node *node;

    assert(worker < index->workers);
    pthread_mutex_lock(&index->mutex);
    node = pg_subindex_resolve(index, ref);
    if (node != NULL &&
        (atomic_fetch_and_explicit(&node->workers, ~bit, memory_order_release) & bit) != 0) {
        if (node->shared)
            atomic_store_explicit(&share_of(node)->turns->members[worker], 0, memory_order_relaxed);
        if (atomic_load_explicit(&node->workers, memory_order_relaxed) == 0)
            node_remove(index, node);
    }
    grave_close(index);
    pthread_mutex_unlock(&index->mutex);
}

void pg_subindex_members(struct pg_subindex *index, pg_node_ref ref, unsigned worker, int delta)
{
    struct node *node;

    assert(worker < index->workers);
    pthread_mutex_lock(&index->mutex);
    node = pg_subindex_resolve(index, ref);
    if (node != NULL && node->shared) {
        _Atomic uint32_t *members = &share_of(node)->turns->members[worker];
        int64_t now = (int64_t)atomic_load_explicit(members, memory_order_relaxed) + delta;

        assert(now >= 0 && now <= UINT32_MAX);
        atomic_store_explicit(members, (uint32_t)now, memory_order_relaxed);
    }
    pthread_mutex_unlock(&index->mutex);
}

void pg_subindex_count(struct pg_subindex *index, struct pg_subindex_stats *out)
{
    pthread_mutex_lock(&index->mutex);
    *out = (struct pg_subindex_stats){
        .exact = index->count_exact,
        .wildcard = index->count_wildcard,
        .shared = index->count_shared,
        .tree_nodes = index->count_branches,
        .bytes = sizeof(*index) + index->exact.bytes + index->tree.bytes + index->bytes_other,
    };
    for (size_t i = 0; i < SMALL_CLASSES; i++) {
        struct pg_slab_stats stats;

        pg_slab_count(&index->small[i], &stats);
        out->bytes += stats.bytes;
    }
    pthread_mutex_unlock(&index->mutex);
}

bool pg_subindex_walk(struct pg_subindex *index, uint32_t *cursor, size_t limit,
                      pg_subindex_walk_fn fn, void *arg)
{
    uint32_t id = *cursor == 0 ? 1 : *cursor;
    bool more;

    pthread_mutex_lock(&index->mutex);
    for (; limit > 0 && id < index->ids_used; id++) {
        struct node *node;

        if (id_kind(index, id) != ID_LIVE)
            continue;
        node = (struct node *)id_get(index, id);
        fn(arg, node_text(node), node_ref(node),
           atomic_load_explicit(&node->workers, memory_order_relaxed));
        limit--;
    }
    more = id < index->ids_used;
    pthread_mutex_unlock(&index->mutex);
    *cursor = id;
    return more;
}
