/* SPDX-License-Identifier: Apache-2.0 */

/* The client registry: open-addressing tables of session pointers, one mutex each. A removal moves
 * the entries behind it up, so that there are no tombstones. */

#include "registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "hash.h"
#include "session.h"

#define SHARD_BITS 6
#define SHARDS     (1u << SHARD_BITS)
#define FIRST_SIZE 16u

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct pg_session **slots; /* power of two of them; NULL is free */
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

static uint64_t hash_of(const struct pg_session *session)
{
    return pg_hash(pg_session_id(session));
}

/* The slot that holds `client_id`, or the free one where it belongs. The table is not full. */
static size_t probe(const struct shard *shard, uint64_t hash, struct pg_bytes client_id)
{
    size_t at = (size_t)hash & (shard->size - 1);
    while (shard->slots[at] && !pg_bytes_equal(pg_session_id(shard->slots[at]), client_id))
        at = (at + 1) & (shard->size - 1);
    return at;
}

static bool grow(struct shard *shard)
{
    if ((shard->count + 1) * 4 <= shard->size * 3)
        return true;
    struct shard bigger = {.size = shard->size ? shard->size * 2 : FIRST_SIZE};
    bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < shard->size; i++) {
        struct pg_session *session = shard->slots[i];
        if (session)
            bigger.slots[probe(&bigger, hash_of(session), pg_session_id(session))] = session;
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
        found.session = shard->slots[probe(shard, hash, client_id)];
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
    uint64_t hash = hash_of(session);
    struct shard *shard = shard_of(registry, hash);
    struct pg_registered found = {.owner = PG_NO_OWNER};
    pthread_mutex_lock(&shard->lock);
    if (grow(shard)) {
        struct pg_session **slot = &shard->slots[probe(shard, hash, pg_session_id(session))];
        if (!*slot && count_up(registry, most)) {
            *slot = session;
            shard->count++;
        }
        found.session = *slot;
        found.full = !*slot;
        if (*slot)
            found.owner = pg_session_owner(*slot);
    }
    pthread_mutex_unlock(&shard->lock);
    return found;
}

void pg_registry_replace(struct pg_registry *registry, struct pg_session *before,
                         struct pg_session *now)
{
    uint64_t hash = hash_of(before);
    struct shard *shard = shard_of(registry, hash);
    pthread_mutex_lock(&shard->lock);
    size_t at = probe(shard, hash, pg_session_id(before));
    if (shard->slots[at] == before)
        shard->slots[at] = now;
    pthread_mutex_unlock(&shard->lock);
}

void pg_registry_remove(struct pg_registry *registry, struct pg_session *session)
{
    uint64_t hash = hash_of(session);
    struct shard *shard = shard_of(registry, hash);
    pthread_mutex_lock(&shard->lock);
    size_t hole = shard->size > 0 ? probe(shard, hash, pg_session_id(session)) : 0;
    if (shard->size > 0 && shard->slots[hole] == session) {
        size_t mask = shard->size - 1;
        shard->slots[hole] = NULL;
        shard->count--;
        atomic_fetch_sub(&registry->count, 1);
        /* Move up whoever would no longer be found past the hole. */
        for (size_t at = (hole + 1) & mask; shard->slots[at]; at = (at + 1) & mask) {
            size_t home = (size_t)hash_of(shard->slots[at]) & mask;
            if (((at - home) & mask) >= ((at - hole) & mask)) {
                shard->slots[hole] = shard->slots[at];
                shard->slots[at] = NULL;
                hole = at;
            }
        }
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
            struct pg_session *session = shard->slots[k];
            if (!session || pg_session_owner(session) != owner)
                continue;
            if (take_out)
                shard->slots[k] = NULL;
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
