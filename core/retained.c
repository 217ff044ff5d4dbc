/* SPDX-License-Identifier: Apache-2.0 */

/* Retained messages in memory (retained.h).
 *
 * A tree of levels. A place knows its parent and its children (a list in which '+' and '#' walk),
 * and is found by its parent and its text in one set of edges, so that a topic costs one probe a
 * level. A message hangs at the place of its last level. Messages that expire are also in a heap,
 * the next one due at its top. Everything is under one reader-writer lock that prefers writers;
 * messages are given up after it was released.
 *
 * A walk stands at a place between two calls. It pins that place, which keeps it (and so its way up
 * and its neighbours) in the tree even when its message goes; pins are counted by readers, so
 * atomically.
 *
 * Invariant: a place other than the root has a message, a child or a pin; whoever takes the last of
 * these away (under the lock for writing) takes the place away, and its parents as far as that
 * makes them bare. No recursion: topics come from peers, and may have PG_TOPIC_LEVELS_MAX
 * levels. */

#include "retained.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "message.h"
#include "tagset.h"
#include "topic.h"

/* Places that one call of a walk looks at: what a '#' over a million messages may hold up
 * others. */
#define WALK_SLICE 1024u
/* Messages that a sweep forgets before it lets others in. */
#define BATCH 64u

struct place {
    struct place *parent;
    struct place *child;       /* the first one */
    struct place *next, *prev; /* its neighbours below the same parent */
    struct pg_msg *msg;        /* NULL: only on the way to others */
    size_t heap_at;            /* 1 + index in the heap; 0 when the message does not expire */
    _Atomic uint32_t pins;     /* walks that stand here */
    uint16_t len;
    uint8_t level[];
};

struct pg_retained {
    pthread_rwlock_t lock;
    struct pg_retained_limits limits;
    struct place *root;
    struct pg_tagset edges;
    size_t messages, bytes, places;
    struct place **heap; /* by expiry, the next one due first */
    size_t heap_count, heap_capacity;
    _Atomic int64_t next_due_ms; /* of the top of the heap, PG_NEVER when it is empty */
};

static size_t place_bytes(size_t len)
{
    return offsetof(struct place, level) + len;
}

/* ---- the heap of expiries -------------------------------------------------------------------- */

static int64_t due_ms(const struct pg_retained *r, size_t at)
{
    return r->heap[at]->msg->expires_ms;
}

static void heap_put(struct pg_retained *r, size_t at, struct place *place)
{
    r->heap[at] = place;
    place->heap_at = at + 1;
}

/* Put `place` where it belongs, starting from the free place `at`. */
static void heap_settle(struct pg_retained *r, size_t at, struct place *place)
{
    int64_t due = place->msg->expires_ms;

    while (at > 0 && due_ms(r, (at - 1) / 2) > due) {
        heap_put(r, at, r->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t low = at * 2 + 1;

        if (low + 1 < r->heap_count && due_ms(r, low + 1) < due_ms(r, low))
            low++;
        if (low >= r->heap_count || due_ms(r, low) >= due)
            break;
        heap_put(r, at, r->heap[low]);
        at = low;
    }
    heap_put(r, at, place);
}

static void next_due_update(struct pg_retained *r)
{
    atomic_store_explicit(&r->next_due_ms, r->heap_count > 0 ? due_ms(r, 0) : PG_NEVER,
                          memory_order_relaxed);
}

static bool heap_reserve(struct pg_retained *r)
{
    size_t capacity = r->heap_capacity == 0 ? 64 : r->heap_capacity * 2;
    struct place **heap;

    if (r->heap_count < r->heap_capacity)
        return true;
    heap = realloc(r->heap, capacity * sizeof(struct place *));
    if (heap == NULL)
        return false;
    r->heap = heap;
    r->heap_capacity = capacity;
    return true;
}

/* The place has its (expiring) message; there is room. */
static void heap_add(struct pg_retained *r, struct place *place)
{
    r->heap_count++;
    r->heap[r->heap_count - 1] = place;
    heap_settle(r, r->heap_count - 1, place);
    next_due_update(r);
}

/* Before the place loses its message. */
static void heap_remove(struct pg_retained *r, struct place *place)
{
    size_t at = place->heap_at;
    struct place *last;

    if (at == 0)
        return;
    place->heap_at = 0;
    last = r->heap[--r->heap_count];
    if (last != place)
        heap_settle(r, at - 1, last);
    next_due_update(r);
}

/* ---- the tree -------------------------------------------------------------------------------- */

static uint64_t place_hash(const struct place *place)
{
    struct pg_bytes level = {.data = place->level, .len = place->len};

    return pg_tagset_edge_hash((uintptr_t)place->parent, pg_hash(level));
}

static uint64_t item_hash(const void *item, unsigned marks)
{
    (void)marks;
    return place_hash(item);
}

static struct place *place_child(const struct pg_retained *r, const struct place *parent,
                                 struct pg_bytes level, uint64_t hash)
{
    struct pg_tagset_probe probe;
    struct place *place = pg_tagset_first(&r->edges, hash, &probe);

    while (place != NULL && (place->parent != parent || place->len != level.len ||
                             memcmp(place->level, level.data, level.len) != 0))
        place = pg_tagset_next(&probe);
    return place;
}

/* Go down from the root as far as there are places. `rest` is left as what has none. */
static struct place *place_descend(const struct pg_retained *r, struct pg_bytes *rest)
{
    struct place *place = r->root;
    struct pg_bytes level, behind = *rest;

    while (pg_topic_level_next(&behind, &level)) {
        struct place *child =
            place_child(r, place, level, pg_tagset_edge_hash((uintptr_t)place, pg_hash(level)));

        if (child == NULL)
            break;
        place = child;
        *rest = behind;
    }
    return place;
}

static struct place *place_find(const struct pg_retained *r, struct pg_bytes topic)
{
    struct place *place = place_descend(r, &topic);

    return topic.data == NULL ? place : NULL;
}

static struct place *place_add(struct pg_retained *r, struct place *parent, struct pg_bytes level)
{
    struct place *place = calloc(1, place_bytes(level.len));

    if (place == NULL)
        return NULL;
    place->parent = parent;
    place->len = (uint16_t)level.len; /* a topic has at most 65,535 bytes */
    if (level.len > 0)
        memcpy(place->level, level.data, level.len);
    if (!pg_tagset_add(&r->edges, place_hash(place), place, 0)) {
        free(place);
        return NULL;
    }
    place->next = parent->child;
    if (parent->child != NULL)
        parent->child->prev = place;
    parent->child = place;
    r->places++;
    r->bytes += place_bytes(level.len);
    return place;
}

/* Take away a bare place, and its parents as far as that makes them bare. */
static void place_prune(struct pg_retained *r, struct place *place)
{
    while (place != r->root && place->msg == NULL && place->child == NULL &&
           atomic_load_explicit(&place->pins, memory_order_relaxed) == 0) {
        struct place *parent = place->parent;

        pg_tagset_remove(&r->edges, place_hash(place), place);
        if (place->prev != NULL)
            place->prev->next = place->next;
        else
            parent->child = place->next;
        if (place->next != NULL)
            place->next->prev = place->prev;
        r->places--;
        r->bytes -= place_bytes(place->len);
        free(place);
        place = parent;
    }
}

/* Take the message off a place, and the place with it if that leaves it bare. */
static struct pg_msg *message_take(struct pg_retained *r, struct place *place)
{
    struct pg_msg *msg = place->msg;

    heap_remove(r, place);
    place->msg = NULL;
    r->messages--;
    r->bytes -= pg_msg_size(msg);
    place_prune(r, place);
    return msg;
}

/* ---- set, clear, get ------------------------------------------------------------------------- */

struct pg_retained *pg_retained_new(const struct pg_retained_limits *limits)
{
    struct pg_retained *r = calloc(1, sizeof(*r));
    pthread_rwlockattr_t attributes;

    if (r == NULL)
        return NULL;
    r->root = calloc(1, place_bytes(0));
    if (r->root == NULL) {
        free(r);
        return NULL;
    }
    r->limits = *limits;
    atomic_store_explicit(&r->next_due_ms, PG_NEVER, memory_order_relaxed);
    pg_tagset_init(&r->edges, PG_TAGSET_TIGHT, item_hash, pg_tagset_retire_now, NULL);
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&r->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return r;
}

void pg_retained_free(struct pg_retained **retained)
{
    struct pg_retained *r = *retained;
    struct place *place, *parent;

    if (r == NULL)
        return;
    *retained = NULL;
    for (place = r->root; place != NULL; place = parent) {
        while (place->child != NULL)
            place = place->child;
        parent = place->parent;
        if (parent != NULL)
            parent->child = place->next;
        if (place->msg != NULL)
            pg_msg_unref(&place->msg);
        free(place);
    }
    pg_tagset_fini(&r->edges);
    pthread_rwlock_destroy(&r->lock);
    free(r->heap);
    free(r);
}

void pg_retained_set_limits(struct pg_retained *retained, const struct pg_retained_limits *limits)
{
    pthread_rwlock_wrlock(&retained->lock);
    retained->limits = *limits;
    pthread_rwlock_unlock(&retained->lock);
}

/* Whether the limits allow `msg`, with places for the levels in `rest`, instead of `old`. What
 * makes neither number grow is always allowed. */
static bool fits(const struct pg_retained *r, const struct pg_msg *msg, const struct pg_msg *old,
                 struct pg_bytes rest)
{
    size_t bytes = pg_msg_size(msg);
    struct pg_bytes level;

    while (pg_topic_level_next(&rest, &level))
        bytes += place_bytes(level.len);
    if (old != NULL)
        return bytes <= pg_msg_size(old) || r->bytes - pg_msg_size(old) + bytes <= r->limits.bytes;
    return r->messages < r->limits.messages && r->bytes + bytes <= r->limits.bytes;
}

static enum pg_reason set_locked(struct pg_retained *r, struct pg_msg *msg, struct pg_msg **old)
{
    struct pg_bytes level, rest = msg->topic;
    struct place *place = place_descend(r, &rest);
    struct pg_msg *before = rest.data == NULL ? place->msg : NULL;
    bool expires = msg->expires_ms != PG_NEVER;

    if (!fits(r, msg, before, rest))
        return PG_QUOTA_EXCEEDED;
    if (expires && !heap_reserve(r))
        return PG_NO_MEMORY;
    while (pg_topic_level_next(&rest, &level)) {
        struct place *child = place_add(r, place, level);

        if (child == NULL) {
            place_prune(r, place);
            return PG_NO_MEMORY;
        }
        place = child;
    }

    if (before != NULL) {
        heap_remove(r, place);
        r->bytes -= pg_msg_size(before);
    } else {
        r->messages++;
    }
    *old = before;
    place->msg = pg_msg_ref(msg);
    r->bytes += pg_msg_size(msg);
    if (expires)
        heap_add(r, place);
    return PG_OK;
}

enum pg_reason pg_retained_set(struct pg_retained *retained, struct pg_msg *msg)
{
    struct pg_msg *old = NULL;
    enum pg_reason reason;

    pthread_rwlock_wrlock(&retained->lock);
    reason = set_locked(retained, msg, &old);
    pthread_rwlock_unlock(&retained->lock);
    if (old != NULL)
        pg_msg_unref(&old);
    return reason;
}

bool pg_retained_clear(struct pg_retained *retained, struct pg_bytes topic)
{
    struct pg_msg *msg = NULL;
    struct place *place;

    pthread_rwlock_wrlock(&retained->lock);
    place = place_find(retained, topic);
    if (place != NULL && place->msg != NULL)
        msg = message_take(retained, place);
    pthread_rwlock_unlock(&retained->lock);
    if (msg == NULL)
        return false;
    pg_msg_unref(&msg);
    return true;
}

struct pg_msg *pg_retained_get(struct pg_retained *retained, struct pg_bytes topic)
{
    struct pg_msg *msg = NULL;
    struct place *place;

    pthread_rwlock_rdlock(&retained->lock);
    place = place_find(retained, topic);
    if (place != NULL && place->msg != NULL && !pg_msg_expired(place->msg))
        msg = pg_msg_ref(place->msg);
    pthread_rwlock_unlock(&retained->lock);
    return msg;
}

size_t pg_retained_sweep(struct pg_retained *retained, int64_t now_ms, size_t limit)
{
    struct pg_msg *gone[BATCH];
    size_t swept = 0, count;

    if (now_ms < atomic_load_explicit(&retained->next_due_ms, memory_order_relaxed))
        return 0;
    do {
        pthread_rwlock_wrlock(&retained->lock);
        for (count = 0; count < BATCH && swept < limit && retained->heap_count > 0 &&
                        due_ms(retained, 0) <= now_ms;
             count++, swept++)
            gone[count] = message_take(retained, retained->heap[0]);
        pthread_rwlock_unlock(&retained->lock);
        for (size_t i = 0; i < count; i++)
            pg_msg_unref(&gone[i]);
    } while (count == BATCH);
    return swept;
}

void pg_retained_count(struct pg_retained *retained, struct pg_retained_stats *out)
{
    pthread_rwlock_rdlock(&retained->lock);
    *out = (struct pg_retained_stats){
        .messages = retained->messages,
        .bytes = retained->bytes,
        .nodes = retained->places,
    };
    pthread_rwlock_unlock(&retained->lock);
}

/* ---- walks ----------------------------------------------------------------------------------- */

struct pg_retained_walk {
    struct pg_retained *retained;
    struct place *at; /* the last place that was looked at, pinned; NULL at the end */
    unsigned depth;   /* of `at`; the root has 0 */
    unsigned count;   /* levels of the filter without a last '#' */
    bool below;       /* the filter ends with '#' */
    struct {
        struct pg_bytes text;
        uint64_t hash;
        bool plus;
    } level[];
};

struct pg_retained_walk *pg_retained_walk_open(struct pg_retained *retained,
                                               struct pg_bytes plain_filter)
{
    unsigned levels = pg_topic_levels(plain_filter);
    struct pg_retained_walk *walk;
    struct pg_bytes rest, level;
    size_t head = sizeof(*walk) + levels * sizeof(walk->level[0]);
    uint8_t *copy;

    walk = calloc(1, head + plain_filter.len);
    if (walk == NULL)
        return NULL;
    copy = (uint8_t *)walk + head;
    memcpy(copy, plain_filter.data, plain_filter.len);
    walk->retained = retained;
    rest = (struct pg_bytes){.data = copy, .len = plain_filter.len};
    while (pg_topic_level_next(&rest, &level)) {
        walk->below = level.len == 1 && level.data[0] == '#';
        if (walk->below)
            break;
        walk->level[walk->count].text = level;
        walk->level[walk->count].hash = pg_hash(level);
        walk->level[walk->count].plus = level.len == 1 && level.data[0] == '+';
        walk->count++;
    }
    walk->at = retained->root;
    atomic_fetch_add_explicit(&walk->at->pins, 1, memory_order_relaxed);
    return walk;
}

/* Whether the children of a place at `depth` all go on matching. */
static bool any_child(const struct pg_retained_walk *walk, unsigned depth)
{
    return depth < walk->count ? walk->level[depth].plus : walk->below;
}

/* The first of these neighbours that a wildcard may match: in the first level not those that begin
 * with '$' (4.7.2). */
static struct place *wild(struct place *place, unsigned depth)
{
    while (place != NULL && depth == 1 && place->len > 0 && place->level[0] == '$')
        place = place->next;
    return place;
}

/* Move to the next place whose path the filter matches as far as it goes; false: there is none. */
static bool step(struct pg_retained_walk *walk)
{
    struct place *at = walk->at, *to = NULL;
    unsigned depth = walk->depth;

    if (any_child(walk, depth))
        to = wild(at->child, depth + 1);
    else if (depth < walk->count)
        to = place_child(walk->retained, at, walk->level[depth].text,
                         pg_tagset_edge_hash((uintptr_t)at, walk->level[depth].hash));
    if (to != NULL) {
        walk->at = to;
        walk->depth = depth + 1;
        return true;
    }
    for (; at->parent != NULL; at = at->parent, depth--) {
        to = any_child(walk, depth - 1) ? wild(at->next, depth) : NULL;
        if (to != NULL) {
            walk->at = to;
            walk->depth = depth;
            return true;
        }
    }
    walk->at = NULL;
    return false;
}

/* Give up a pin under the lock for reading, if nothing else has to be done for it. */
static bool unpin_shared(struct place *place)
{
    if (place->msg == NULL && place->child == NULL)
        return false;
    atomic_fetch_sub_explicit(&place->pins, 1, memory_order_relaxed);
    return true;
}

/* Give up a pin and take the place away if it was the last thing there. No lock is held. */
static void unpin(struct pg_retained *r, struct place *place)
{
    pthread_rwlock_wrlock(&r->lock);
    atomic_fetch_sub_explicit(&place->pins, 1, memory_order_relaxed);
    place_prune(r, place);
    pthread_rwlock_unlock(&r->lock);
}

size_t pg_retained_walk_next(struct pg_retained_walk *walk, struct pg_msg **out, size_t room,
                             bool *more)
{
    struct pg_retained *r = walk->retained;
    struct place *from = walk->at;
    unsigned looked = 0;
    size_t count = 0;
    bool unpinned;

    if (from == NULL || room == 0) {
        *more = from != NULL;
        return 0;
    }
    pthread_rwlock_rdlock(&r->lock);
    while (count < room && looked++ < WALK_SLICE && step(walk)) {
        bool ends = walk->below ? walk->depth >= walk->count : walk->depth == walk->count;

        if (ends && walk->at->msg != NULL && !pg_msg_expired(walk->at->msg))
            out[count++] = pg_msg_ref(walk->at->msg);
    }
    if (walk->at != NULL)
        atomic_fetch_add_explicit(&walk->at->pins, 1, memory_order_relaxed);
    unpinned = unpin_shared(from);
    pthread_rwlock_unlock(&r->lock);
    if (!unpinned)
        unpin(r, from);
    *more = walk->at != NULL;
    return count;
}

void pg_retained_walk_close(struct pg_retained_walk **walk)
{
    if (*walk == NULL)
        return;
    if ((*walk)->at != NULL)
        unpin((*walk)->retained, (*walk)->at);
    free(*walk);
    *walk = NULL;
}
