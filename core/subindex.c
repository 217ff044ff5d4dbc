/* SPDX-License-Identifier: Apache-2.0 */

/* The writers of the subscription index (subindex.h); the readers are in subindex_match.c.
 *
 * Two structures, both read without locks:
 *   exact   a set of nodes by their filter: filters without wildcards that are not shared
 *   edges   the tree for all others, kept in one set: a branch is a level, found by the hash of its
 *           path. A filter is a leaf in the list of the branch of its last level; `#` has no branch
 *           of its own, its leaf hangs at the level before with NODE_BELOW set.
 * Ids lead to nodes by a two-level table, so that a reference can be resolved, and a reused id told
 * from its earlier owner by the generation.
 *
 * Writers hold the mutex. What they unlink goes into `collecting`; at the end of the call that
 * becomes `waiting` and one call_rcu() is made, unless one is under way: then the reclaimer makes
 * the next. So a burst of releases costs one grace period, and unlinking never needs memory.
 *
 * Invariants: a node is reachable by readers if and only if its id is ID_LIVE, and then it has a
 * worker (but for the moment of its making); a branch other than the root has a leaf or a child; a
 * reference (id, generation) is given out once in 2^32.
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

static size_t branch_bytes(size_t len)
{
    return offsetof(struct branch, level) + len;
}

static size_t turns_bytes(const struct pg_subindex *index)
{
    return sizeof(struct turns) + index->workers * sizeof(((struct turns *)NULL)->members[0]);
}

static void *node_memory(struct node *node)
{
    if ((node->flags & NODE_SHARED) != 0)
        return shared_leaf_of(node);
    return (node->flags & NODE_IN_TREE) != 0 ? (void *)leaf_of(node) : (void *)node;
}

static size_t node_bytes(uint8_t flags, size_t len)
{
    size_t bytes = offsetof(struct node, bytes) + len;

    if ((flags & NODE_IN_TREE) != 0)
        bytes += offsetof(struct leaf, node);
    if ((flags & NODE_SHARED) != 0)
        bytes += offsetof(struct shared_leaf, leaf);
    return bytes;
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

static void bury_branch(struct pg_subindex *index, struct branch *branch)
{
    atomic_store_explicit(&branch->leaves, (uintptr_t)index->collecting.branches | 1,
                          memory_order_release);
    index->collecting.branches = branch;
}

static void bury_node(struct pg_subindex *index, struct node *node)
{
    id_set(index, node->id, (uintptr_t)node, ID_DEAD);
    atomic_store_explicit(&node->generation, index->collecting.nodes, memory_order_relaxed);
    index->collecting.nodes = node->id;
}

static void node_free(struct pg_subindex *index, struct node *node)
{
    size_t bytes = node_bytes(node->flags, node->len);

    if ((node->flags & NODE_SHARED) != 0) {
        index->bytes_other -= turns_bytes(index);
        free(shared_leaf_of(node)->turns);
    }
    small_free(index, node_memory(node), bytes);
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
    if (grave->branches != NULL) {
        struct branch *branch = grave->branches;

        grave->branches =
            (struct branch *)(atomic_load_explicit(&branch->leaves, memory_order_relaxed) &
                              ~(uintptr_t)1);
        small_free(index, branch, branch_bytes(branch->len));
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

    if (index->grace_pending || (c->nodes == 0 && c->branches == NULL && c->tables == NULL))
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

/* ---- the tree -------------------------------------------------------------------------------- */

static uint64_t exact_hash(const void *item)
{
    const struct node *node = item;

    return pg_hash((struct pg_bytes){.data = node->bytes, .len = node->len});
}

static uint64_t branch_hash(const void *item)
{
    return ((const struct branch *)item)->path;
}

static struct branch *branch_find(struct pg_subindex *index, const struct branch *parent,
                                  struct pg_bytes level, uint64_t path)
{
    struct pg_tagset_probe probe;
    struct branch *branch = pg_tagset_first(&index->edges, path, &probe);

    while (branch != NULL && (branch->parent != parent || branch->len != level.len ||
                              memcmp(branch->level, level.data, level.len) != 0))
        branch = pg_tagset_next(&probe);
    return branch;
}

static bool is_plus(const struct branch *branch)
{
    return branch->len == 1 && branch->level[0] == '+';
}

static struct branch *branch_add(struct pg_subindex *index, struct branch *parent,
                                 struct pg_bytes level, uint64_t path)
{
    struct branch *branch = small_new(index, branch_bytes(level.len));

    if (branch == NULL)
        return NULL;
    branch->parent = parent;
    branch->path = path;
    branch->len = (uint16_t)level.len; /* a filter has at most 65,535 bytes */
    if (level.len > 0)
        memcpy(branch->level, level.data, level.len);
    if (!pg_tagset_add(&index->edges, path, branch)) {
        small_free(index, branch, branch_bytes(level.len));
        return NULL;
    }
    index->count_branches++;
    if (is_plus(branch))
        atomic_store_explicit(&parent->has_plus, 1, memory_order_release);
    else
        atomic_fetch_add_explicit(&parent->named, 1, memory_order_release);
    return branch;
}

/* Take away a branch that nothing hangs on, and its parents as far as that makes them bare. */
static void branch_prune(struct pg_subindex *index, struct branch *branch)
{
    while (branch != index->root && branch_is_bare(branch)) {
        struct branch *parent = (struct branch *)(uintptr_t)branch->parent;

        pg_tagset_remove(&index->edges, branch_hash(branch), branch);
        if (is_plus(branch))
            atomic_store_explicit(&parent->has_plus, 0, memory_order_release);
        else
            atomic_fetch_sub_explicit(&parent->named, 1, memory_order_release);
        index->count_branches--;
        bury_branch(index, branch);
        branch = parent;
    }
}

/* The branch at which a filter ends, made if need be; *below tells of a last level '#'. NULL when
 * memory is out: nothing is changed. */
static struct branch *branch_reach(struct pg_subindex *index, struct pg_bytes plain, bool *below)
{
    struct branch *branch = index->root;
    struct pg_bytes level;

    *below = false;
    while (pg_topic_level_next(&plain, &level)) {
        uint64_t path;
        struct branch *next;

        if (level.len == 1 && level.data[0] == '#') {
            *below = true;
            break;
        }
        path = pg_tagset_edge_hash(branch->path, pg_hash(level));
        next = branch_find(index, branch, level, path);
        if (next == NULL)
            next = branch_add(index, branch, level, path);
        if (next == NULL) {
            branch_prune(index, branch);
            return NULL;
        }
        branch = next;
    }
    return branch;
}

static void leaf_unlink(struct leaf *leaf)
{
    struct leaf *next = atomic_load_explicit(&leaf->next, memory_order_relaxed);
    struct leaf *before = branch_leaves(leaf->place);

    if (before == leaf) {
        atomic_store_explicit(&leaf->place->leaves, (uintptr_t)next, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&before->next, memory_order_relaxed) != leaf)
        before = atomic_load_explicit(&before->next, memory_order_relaxed);
    atomic_store_explicit(&before->next, next, memory_order_release);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A node that is not published yet, with its id; NULL when memory is out. */
static struct node *node_new(struct pg_subindex *index, uint8_t flags, struct pg_bytes bytes,
                             unsigned worker)
{
    uint32_t id = id_peek(index);
    struct turns *turns = NULL;
    uint8_t *memory;
    struct node *node;

    if (id == 0)
        return NULL;
    if ((flags & NODE_SHARED) != 0) {
        turns = calloc(1, turns_bytes(index));
        if (turns == NULL)
            return NULL;
        index->bytes_other += turns_bytes(index);
    }
    memory = small_new(index, node_bytes(flags, bytes.len));
    if (memory == NULL) {
        if (turns != NULL)
            index->bytes_other -= turns_bytes(index);
        free(turns);
        return NULL;
    }
    if ((flags & NODE_SHARED) != 0) {
        ((struct shared_leaf *)memory)->turns = turns;
        memory += offsetof(struct shared_leaf, leaf);
    }
    if ((flags & NODE_IN_TREE) != 0)
        memory += offsetof(struct leaf, node);
    node = (struct node *)memory;
    node->flags = flags;
    node->len = (uint16_t)bytes.len; /* a filter has at most 65,535 bytes */
    if (bytes.len > 0)
        memcpy(node->bytes, bytes.data, bytes.len);
    atomic_store_explicit(&node->workers, UINT64_C(1) << worker, memory_order_relaxed);
    id_take(index, id, node);
    return node;
}

static size_t *count_of(struct pg_subindex *index, const struct node *node)
{
    if ((node->flags & NODE_SHARED) != 0)
        return &index->count_shared;
    return (node->flags & NODE_IN_TREE) != 0 ? &index->count_wildcard : &index->count_exact;
}

static void worker_add(struct node *node, unsigned worker)
{
    atomic_fetch_or_explicit(&node->workers, UINT64_C(1) << worker, memory_order_release);
}

static struct node *acquire_exact(struct pg_subindex *index, struct pg_bytes filter,
                                  unsigned worker)
{
    uint64_t hash = pg_hash(filter);
    struct pg_tagset_probe probe;
    struct node *node = pg_tagset_first(&index->exact, hash, &probe);

    while (node != NULL &&
           (node->len != filter.len || memcmp(node->bytes, filter.data, filter.len) != 0))
        node = pg_tagset_next(&probe);
    if (node != NULL) {
        worker_add(node, worker);
        return node;
    }
    node = node_new(index, 0, filter, worker);
    if (node == NULL)
        return NULL;
    if (!pg_tagset_add(&index->exact, hash, node)) {
        bury_node(index, node); /* not freed at once: a late reference to its id may be looked up */
        return NULL;
    }
    index->count_exact++;
    return node;
}

static struct node *acquire_tree(struct pg_subindex *index, const struct pg_filter *filter,
                                 unsigned worker)
{
    uint8_t flags = filter->group.data != NULL ? NODE_IN_TREE | NODE_SHARED : NODE_IN_TREE;
    struct branch *place;
    struct leaf *leaf;
    struct node *node;
    bool below;

    place = branch_reach(index, filter->plain, &below);
    if (place == NULL)
        return NULL;
    if (below)
        flags |= NODE_BELOW;
    for (leaf = branch_leaves(place); leaf != NULL;
         leaf = atomic_load_explicit(&leaf->next, memory_order_relaxed)) {
        node = &leaf->node;
        if (node->flags == flags && node->len == filter->group.len &&
            (node->len == 0 || memcmp(node->bytes, filter->group.data, node->len) == 0)) {
            worker_add(node, worker);
            return node;
        }
    }
    node = node_new(index, flags, filter->group, worker);
    if (node == NULL) {
        branch_prune(index, place);
        return NULL;
    }
    leaf = leaf_of(node);
    leaf->place = place;
    atomic_store_explicit(&leaf->next, branch_leaves(place), memory_order_relaxed);
    atomic_store_explicit(&place->leaves, (uintptr_t)leaf, memory_order_release);
    (*count_of(index, node))++;
    return node;
}

static void node_remove(struct pg_subindex *index, struct node *node)
{
    if ((node->flags & NODE_IN_TREE) != 0) {
        leaf_unlink(leaf_of(node));
        branch_prune(index, leaf_of(node)->place);
    } else {
        pg_tagset_remove(&index->exact, exact_hash(node), node);
    }
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
    index->root = small_new(index, branch_bytes(0));
    if (index->root == NULL) {
        free(index);
        return NULL;
    }
    pthread_mutex_init(&index->mutex, NULL);
    pg_tagset_init(&index->exact, exact_hash, bury_table, index);
    pg_tagset_init(&index->edges, branch_hash, bury_table, index);
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
    pg_tagset_fini(&index->edges);
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
        node = acquire_exact(index, filter->plain, worker);
    if (node != NULL)
        ref = node_ref(node);
    grave_close(index);
    pthread_mutex_unlock(&index->mutex);
    return ref;
}

struct pg_bytes pg_subindex_exact_filter(const struct pg_subindex *index, pg_node_ref ref)
{
    const struct node *node = pg_subindex_resolve(index, ref);

    if (node == NULL || (node->flags & NODE_IN_TREE) != 0)
        return PG_BYTES_NONE;
    return (struct pg_bytes){.data = node->bytes, .len = node->len};
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
        if ((node->flags & NODE_SHARED) != 0)
            atomic_store_explicit(&shared_leaf_of(node)->turns->members[worker], 0,
                                  memory_order_relaxed);
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
    if (node != NULL && (node->flags & NODE_SHARED) != 0) {
        _Atomic uint32_t *members = &shared_leaf_of(node)->turns->members[worker];
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
        .bytes = sizeof(*index) + index->exact.bytes + index->edges.bytes + index->bytes_other,
    };
    for (size_t i = 0; i < SMALL_CLASSES; i++) {
        struct pg_slab_stats stats;

        pg_slab_count(&index->small[i], &stats);
        out->bytes += stats.bytes;
    }
    pthread_mutex_unlock(&index->mutex);
}

/* A filter's text, written from the end of a buffer towards its beginning. */
struct text_back {
    uint8_t *at;
    uint8_t *begin;
};

static void put_back(struct text_back *text, struct pg_bytes bytes)
{
    assert(bytes.len <= (size_t)(text->at - text->begin));
    text->at -= bytes.len;
    if (bytes.len > 0)
        memcpy(text->at, bytes.data, bytes.len);
}

/* The whole text of a filter; of one in the tree it is made in `buffer`. */
static struct pg_bytes filter_text(const struct pg_subindex *index, struct node *node,
                                   uint8_t *buffer)
{
    struct text_back text = {.at = buffer + PG_TOPIC_BYTES_MAX, .begin = buffer};
    struct pg_bytes bytes = {.data = node->bytes, .len = node->len};
    bool behind = (node->flags & NODE_BELOW) != 0;
    const struct branch *branch;

    if ((node->flags & NODE_IN_TREE) == 0)
        return bytes;
    if (behind)
        put_back(&text, PG_BYTES_OF("#"));
    for (branch = leaf_of(node)->place; branch != index->root; branch = branch->parent) {
        if (behind)
            put_back(&text, PG_BYTES_OF("/"));
        put_back(&text, (struct pg_bytes){.data = branch->level, .len = branch->len});
        behind = true;
    }
    if ((node->flags & NODE_SHARED) != 0) {
        put_back(&text, PG_BYTES_OF("/"));
        put_back(&text, bytes);
        put_back(&text, PG_BYTES_OF("$share/"));
    }
    return (struct pg_bytes){
        .data = text.at,
        .len = (size_t)(buffer + PG_TOPIC_BYTES_MAX - text.at),
    };
}

bool pg_subindex_walk(struct pg_subindex *index, uint32_t *cursor, size_t limit,
                      pg_subindex_walk_fn fn, void *arg)
{
    uint8_t *buffer = malloc(PG_TOPIC_BYTES_MAX);
    uint32_t id = *cursor == 0 ? 1 : *cursor;
    bool more;

    if (buffer == NULL)
        return false;
    pthread_mutex_lock(&index->mutex);
    for (; limit > 0 && id < index->ids_used; id++) {
        struct node *node;

        if (id_kind(index, id) != ID_LIVE)
            continue;
        node = (struct node *)id_get(index, id);
        fn(arg, filter_text(index, node, buffer), node_ref(node),
           atomic_load_explicit(&node->workers, memory_order_relaxed));
        limit--;
    }
    more = id < index->ids_used;
    pthread_mutex_unlock(&index->mutex);
    free(buffer);
    *cursor = id;
    return more;
}
