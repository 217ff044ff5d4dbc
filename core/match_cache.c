/* SPDX-License-Identifier: Apache-2.0 */

/* What topics matched lately; see match_cache.h.
 *
 * A topic has its place in one set of WAYS slots, by its hash, which is keyed: nobody outside can aim
 * at one set. Where the set is full, it is remembered when it was asked for twice with no other in
 * between that its slot refused: topics that come only once cost a look, and push little out. Long
 * topics and long lists of hits are left to the index.
 *
 * The numbers of changes are read before the index is asked. So what is remembered may already hold a
 * change that they do not count yet, and is then asked for once more than necessary; it never lacks one
 * that they count. What was released meanwhile and is remembered still is what pg_subindex_match()
 * could have found a moment earlier: references stay meaningful as numbers.
 *
 * The numbers are shared, all else belongs to one worker's thread. */

#include "match_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define SETS      2048u
#define WAYS      2u
#define HITS_MAX  16u
#define TOPIC_MAX 256u

struct version {
    uint64_t wide, exact;
};

struct remembered {
    struct version version;
    uint64_t workers;
    uint32_t count, shared_count;
    uint32_t topic_len;
    struct pg_match_hit hits[]; /* then the topic */
};

struct match_slot {
    uint64_t hash;   /* of what is remembered */
    uint64_t missed; /* of the topic that was asked for last and not found */
    struct remembered *what;
};

static unsigned part_of(uint64_t hash)
{
    return (unsigned)(hash % PG_MATCH_PARTS);
}

unsigned pg_match_part(const struct pg_subindex *index, pg_node_ref node)
{
    if (!pg_subindex_is_exact(index, node))
        return PG_MATCH_PARTS;
    return part_of(pg_hash(pg_subindex_filter(index, node)));
}

void pg_match_changed(struct pg_match_changes *changes, unsigned part)
{
    _Atomic uint64_t *number = part < PG_MATCH_PARTS ? &changes->exact[part] : &changes->wide;
    atomic_fetch_add_explicit(number, 1, memory_order_acq_rel);
}

static struct version version_of(const struct pg_match_changes *changes, uint64_t hash)
{
    return (struct version){
        .wide = atomic_load_explicit(&changes->wide, memory_order_acquire),
        .exact = atomic_load_explicit(&changes->exact[part_of(hash)], memory_order_acquire),
    };
}

static uint8_t *topic_of(const struct remembered *what)
{
    return (uint8_t *)(uintptr_t)(what->hits + what->count);
}

static bool is_same(const struct version *a, const struct version *b)
{
    return a->wide == b->wide && a->exact == b->exact;
}

/* What the set has for a topic, however old; NULL: nothing. */
static struct match_slot *slot_of(struct match_slot *set, uint64_t hash, struct pg_bytes topic)
{
    for (unsigned i = 0; i < WAYS; i++) {
        const struct remembered *what = set[i].what;
        if (what && set[i].hash == hash && what->topic_len == topic.len &&
            memcmp(topic_of(what), topic.data, topic.len) == 0)
            return &set[i];
    }
    return NULL;
}

static void recall(const struct remembered *what, struct pg_match *out)
{
    assert(out->capacity >= what->count); /* they were once found with it */
    out->count = what->count;
    out->shared_count = what->shared_count;
    out->workers = what->workers;
    out->out_of_memory = false;
    for (uint32_t i = 0; i < what->count; i++)
        out->hits[i] = what->hits[i];
}

/* In a slot that is the topic's already, or that it takes. Without memory the slot stays as it is, and is
 * found to be old. */
static void remember(struct match_slot *slot, uint64_t hash, const struct version *version,
                     struct pg_bytes topic, const struct pg_match *found)
{
    size_t hits_size = found->count * sizeof(found->hits[0]);
    struct remembered *what = realloc(slot->what, sizeof(*what) + hits_size + topic.len);
    if (!what)
        return;
    *what = (struct remembered){
        .version = *version,
        .workers = found->workers,
        .count = (uint32_t)found->count,
        .shared_count = (uint32_t)found->shared_count,
        .topic_len = (uint32_t)topic.len,
    };
    for (size_t i = 0; i < found->count; i++)
        what->hits[i] = found->hits[i];
    memcpy(topic_of(what), topic.data, topic.len);
    slot->hash = hash;
    slot->what = what;
}

/* The slot that a topic may take, after it was missed there before; NULL: it was not. */
static struct match_slot *slot_to_take(struct match_slot *set, uint64_t hash)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (!set[i].what)
            return &set[i];
    struct match_slot *slot = &set[(hash >> 32) % WAYS];
    if (slot->missed == hash)
        return slot;
    slot->missed = hash;
    return NULL;
}

void pg_match_find(struct pg_match_cache *cache, const struct pg_match_changes *changes,
                   const struct pg_subindex *index, struct pg_bytes topic, struct pg_match *out)
{
    if (!cache->slots)
        cache->slots = calloc(SETS * WAYS, sizeof(*cache->slots));
    if (!cache->slots || topic.len > TOPIC_MAX) {
        pg_subindex_match(index, topic, out);
        return;
    }
    uint64_t hash = pg_hash(topic);
    struct version version = version_of(changes, hash);
    struct match_slot *set = &cache->slots[(hash / PG_MATCH_PARTS) % SETS * WAYS];
    struct match_slot *slot = slot_of(set, hash, topic);
    if (slot && is_same(&slot->what->version, &version)) {
        recall(slot->what, out);
        return;
    }
    pg_subindex_match(index, topic, out);
    if (!slot)
        slot = slot_to_take(set, hash);
    if (slot && !out->out_of_memory && out->count <= HITS_MAX)
        remember(slot, hash, &version, topic, out);
}

void pg_match_cache_free(struct pg_match_cache *cache)
{
    for (size_t i = 0; cache->slots && i < (size_t)SETS * WAYS; i++)
        free(cache->slots[i].what);
    free(cache->slots);
    cache->slots = NULL;
}
