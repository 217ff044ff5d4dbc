/* SPDX-License-Identifier: Apache-2.0 */

/* The client registry: open-addressing tables of session pointers, one mutex each. A removal moves
 * the entries behind it up, so that there are no tombstones.
 *
 * A slot holds a pointer in its low 48 bits and 16 bits of the hash above, which also say where it
 * belongs: so sessions are looked at only when they are very likely the right one, and never when a
 * table grows or entries move up. */

#include "registry.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "hash.h"
#include "session.h"

#define SHARD_BITS 6
#define SHARDS     (1u << SHARD_BITS)
#define FIRST_SIZE 16u

#define TAG_BITS     16
#define POINTER_MASK ((UINT64_C(1) << 48) - 1)

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    uint64_t *slots; /* 0 is free */
    size_t size, count;
};

struct pg_registry {
    _Atomic size_t count; /* of all shards */
    struct shard shards[SHARDS];
};

struct pg_registry *pg_registry_new(void)
{
    struct pg_registry *registry = NULL;
    if (posix_memalign((void **)&registry, 64, sizeof(*registry)) != 0)
        return NULL;
    atomic_init(&registry->count, 0);
    for (size_t i = 0; i < SHARDS; i++) {
        registry->shards[i] = (struct shard){.slots = NULL};
        pthread_mutex_init(&registry->shards[i].lock, NULL);
    }
    return registry;
}

void pg_registry_free(struct pg_registry **where)
{
    struct pg_registry *registry = *where;
    *where = NULL;
    if (!registry)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&registry->shards[i].lock);
        free(registry->shards[i].slots);
    }
    free(registry);
}

/* The shard is chosen by the top bits of the hash, the slot by the bottom ones. */
static struct shard *shard_of(struct pg_registry *registry, uint64_t hash)
{
    return &registry->shards[hash >> (64 - SHARD_BITS)];
}

/* Promised by every Linux that does not ask for addresses above 47 bits. */
static uint64_t slot_of(uint64_t hash, const struct pg_session *session)
{
    uint64_t pointer = (uint64_t)(uintptr_t)session;
    assert((pointer & ~POINTER_MASK) == 0);
    return hash << (64 - TAG_BITS) | pointer;
}

static struct pg_session *session_of(uint64_t slot)
{
    return (struct pg_session *)(uintptr_t)(slot & POINTER_MASK);
}

/* Where an entry belongs in a table of `size`: its tag is a fraction of that. */
static size_t home_of(uint64_t slot, size_t size)
{
    return (size_t)((slot >> (64 - TAG_BITS)) * size >> TAG_BITS);
}

static size_t next_to(const struct shard *shard, size_t at)
{
    return at + 1 == shard->size ? 0 : at + 1;
}

/* How many steps from one place to another. */
static size_t steps(const struct shard *shard, size_t from, size_t to)
{
    return to >= from ? to - from : to + shard->size - from;
}

static bool is_of(uint64_t slot, uint64_t hash, struct pg_bytes client_id)
{
    return slot >> (64 - TAG_BITS) == (hash & ((1u << TAG_BITS) - 1)) &&
           pg_bytes_equal(pg_session_id(session_of(slot)), client_id);
}

/* The slot that holds `client_id`, or the free one where it belongs. The table is not full. */
static size_t probe(const struct shard *shard, uint64_t hash, struct pg_bytes client_id)
{
    size_t at = home_of(slot_of(hash, NULL), shard->size);
    while (shard->slots[at] && !is_of(shard->slots[at], hash, client_id))
        at = next_to(shard, at);
    return at;
}

static bool grow(struct shard *shard)
{
    if ((shard->count + 1) * 4 <= shard->size * 3)
        return true;
    struct shard bigger = {.size = shard->size ? shard->size + shard->size / 2 : FIRST_SIZE};
    bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < shard->size; i++) {
        if (!shard->slots[i])
            continue;
        size_t at = home_of(shard->slots[i], bigger.size);
        while (bigger.slots[at])
            at = next_to(&bigger, at);
        bigger.slots[at] = shard->slots[i];
    }
    free(shard->slots);
    shard->slots = bigger.slots;
    shard->size = bigger.size;
    return true;
}

struct pg_registered pg_registry_find(struct pg_registry *registry, struct pg_bytes client_id)
{
    uint64_t hash = pg_hash(client_id);
    struct shard *shard = shard_of(registry, hash);
    struct pg_registered found = {.owner = PG_NO_OWNER};
    pthread_mutex_lock(&shard->lock);
    if (shard->size > 0)
        found.session = session_of(shard->slots[probe(shard, hash, client_id)]);
    if (found.session)
        found.owner = pg_session_owner(found.session);
    pthread_mutex_unlock(&shard->lock);
    return found;
}

/* Count one more, unless there are `most`. */
static bool count_up(struct pg_registry *registry, size_t most)
{
    if (atomic_fetch_add(&registry->count, 1) < most || most == 0)
        return true;
    atomic_fetch_sub(&registry->count, 1);
    return false;
}

struct pg_registered pg_registry_enter(struct pg_registry *registry, struct pg_session *session,
                                       size_t most)
{
    uint64_t hash = pg_hash(pg_session_id(session));
    struct shard *shard = shard_of(registry, hash);
    struct pg_registered found = {.owner = PG_NO_OWNER};
    pthread_mutex_lock(&shard->lock);
    if (grow(shard)) {
        uint64_t *slot = &shard->slots[probe(shard, hash, pg_session_id(session))];
        if (!*slot && count_up(registry, most)) {
            *slot = slot_of(hash, session);
            shard->count++;
        }
        found.session = session_of(*slot);
        found.full = !*slot;
        if (*slot)
            found.owner = pg_session_owner(found.session);
    }
    pthread_mutex_unlock(&shard->lock);
    return found;
}

void pg_registry_replace(struct pg_registry *registry, struct pg_session *before,
                         struct pg_session *now)
{
    uint64_t hash = pg_hash(pg_session_id(before));
    struct shard *shard = shard_of(registry, hash);
    pthread_mutex_lock(&shard->lock);
    size_t at = probe(shard, hash, pg_session_id(before));
    if (session_of(shard->slots[at]) == before)
        shard->slots[at] = slot_of(hash, now);
    pthread_mutex_unlock(&shard->lock);
}

/* Free a slot, and move up whoever would no longer be found past it. */
static void clear_slot(struct shard *shard, size_t hole)
{
    shard->slots[hole] = 0;
    for (size_t at = next_to(shard, hole); shard->slots[at]; at = next_to(shard, at)) {
        size_t home = home_of(shard->slots[at], shard->size);
        if (steps(shard, home, at) >= steps(shard, hole, at)) {
            shard->slots[hole] = shard->slots[at];
            shard->slots[at] = 0;
            hole = at;
        }
    }
}

void pg_registry_remove(struct pg_registry *registry, struct pg_session *session)
{
    uint64_t hash = pg_hash(pg_session_id(session));
    struct shard *shard = shard_of(registry, hash);
    pthread_mutex_lock(&shard->lock);
    size_t at = shard->size > 0 ? probe(shard, hash, pg_session_id(session)) : 0;
    if (shard->size > 0 && session_of(shard->slots[at]) == session) {
        clear_slot(shard, at);
        shard->count--;
        atomic_fetch_sub(&registry->count, 1);
    }
    pthread_mutex_unlock(&shard->lock);
}

size_t pg_registry_count(struct pg_registry *registry)
{
    return atomic_load(&registry->count);
}

typedef void session_fn(void *arg, struct pg_session *session);

static void each(struct pg_registry *registry, unsigned owner, session_fn *fn, void *arg,
                 bool take_out)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &registry->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (size_t k = 0; k < shard->size; k++) {
            struct pg_session *session = session_of(shard->slots[k]);
            if (!session || pg_session_owner(session) != owner)
                continue;
            if (take_out)
                shard->slots[k] = 0;
            fn(arg, session);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

void pg_registry_each(struct pg_registry *registry, unsigned owner,
                      void (*fn)(void *arg, struct pg_session *session), void *arg)
{
    each(registry, owner, fn, arg, false);
}

void pg_registry_clear(struct pg_registry *registry, unsigned owner,
                       void (*fn)(void *arg, struct pg_session *session), void *arg)
{
    each(registry, owner, fn, arg, true);
}
