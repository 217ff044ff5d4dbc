/* SPDX-License-Identifier: Apache-2.0 */

/* What frontends and plugins have to remember by name: one hash table, which doubles as it fills,
 * and a copy in the store if there is one. An expired fact is taken out when it is met, and all of
 * them when the table is full; the store forgets them by itself.
 *
 * Everything is under one lock, also the call to the store, so that it has what was set last. The
 * store does not block, and calls nobody who sets facts. */

#include "fact.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "client.h"
#include "client_inside.h"
#include "hash.h"
#include "store.h"
#include "ticket.h"

#define FIRST_SLOTS 256u

struct fact {
    struct fact *next; /* in its slot */
    uint64_t hash;
    uint32_t expires_wall_s; /* 0: never */
    uint16_t space_len, key_len, value_len;
    uint8_t bytes[]; /* space, key, value */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fact **slots; /* made by the first fact */
static size_t slot_count, fact_count;
static struct pg_store *kept;

static uint64_t hash_of(struct pg_bytes space, struct pg_bytes key)
{
    return pg_hash(space) * 31 + pg_hash(key);
}

static bool is_for(const struct fact *fact, uint64_t hash, struct pg_bytes space,
                   struct pg_bytes key)
{
    return fact->hash == hash && fact->space_len == space.len && fact->key_len == key.len &&
           memcmp(fact->bytes, space.data, space.len) == 0 &&
           memcmp(fact->bytes + space.len, key.data, key.len) == 0;
}

static bool has_expired(const struct fact *fact)
{
    return fact->expires_wall_s != 0 && (int64_t)fact->expires_wall_s * 1000 <= pg_wall_ms();
}

static void take_out(struct fact **at)
{
    struct fact *fact = *at;
    *at = fact->next;
    fact_count--;
    free(fact);
}

/* The link to it; NULL: there is none. Under the lock, as all below. */
static struct fact **find(uint64_t hash, struct pg_bytes space, struct pg_bytes key)
{
    if (slot_count == 0)
        return NULL;
    for (struct fact **at = &slots[hash & (slot_count - 1)]; *at; at = &(*at)->next) {
        if (!is_for(*at, hash, space, key))
            continue;
        if (!has_expired(*at))
            return at;
        take_out(at);
        return NULL;
    }
    return NULL;
}

static void drop_expired(void)
{
    for (size_t i = 0; i < slot_count; i++)
        for (struct fact **at = &slots[i]; *at;)
            if (has_expired(*at))
                take_out(at);
            else
                at = &(*at)->next;
}

/* false: there are no slots, and no memory for them. More of them are a matter of speed alone. */
static bool grow(void)
{
    if (slot_count > fact_count)
        return true;
    size_t size = slot_count > 0 ? slot_count * 2 : FIRST_SLOTS;
    struct fact **larger = calloc(size, sizeof(struct fact *));
    if (!larger)
        return slot_count > 0;
    for (size_t i = 0; i < slot_count; i++)
        while (slots[i]) {
            struct fact *fact = slots[i];
            slots[i] = fact->next;
            fact->next = larger[fact->hash & (size - 1)];
            larger[fact->hash & (size - 1)] = fact;
        }
    free(slots);
    slots = larger;
    slot_count = size;
    return true;
}

static struct fact *new_fact(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                             uint32_t expires_wall_s)
{
    struct fact *fact = malloc(sizeof(*fact) + space.len + key.len + value.len);
    if (!fact)
        return NULL;
    *fact = (struct fact){
        .hash = hash_of(space, key),
        .expires_wall_s = expires_wall_s,
        .space_len = (uint16_t)space.len,
        .key_len = (uint16_t)key.len,
        .value_len = (uint16_t)value.len,
    };
    memcpy(fact->bytes, space.data, space.len);
    memcpy(fact->bytes + space.len, key.data, key.len);
    memcpy(fact->bytes + space.len + key.len, value.data, value.len);
    return fact;
}

/* Put it in in place of an older one; an empty value takes that out. */
static enum pg_reason put(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                          uint32_t expires_wall_s)
{
    struct fact **known = find(hash_of(space, key), space, key);
    if (value.len == 0) {
        if (known)
            take_out(known);
        return PG_OK;
    }
    if (!known && fact_count >= PG_FACTS_MAX)
        drop_expired();
    if (!known && fact_count >= PG_FACTS_MAX)
        return PG_QUOTA_EXCEEDED;
    struct fact *fact = grow() ? new_fact(space, key, value, expires_wall_s) : NULL;
    if (!fact)
        return PG_NO_MEMORY;
    known = find(fact->hash, space, key); /* it may have moved */
    if (known)
        take_out(known);
    struct fact **slot = &slots[fact->hash & (slot_count - 1)];
    fact->next = *slot;
    *slot = fact;
    fact_count++;
    return PG_OK;
}

static bool is_valid(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value)
{
    return space.len > 0 && space.len <= PG_FACT_SPACE_MAX && key.len > 0 &&
           key.len <= PG_FACT_KEY_MAX && value.len <= PG_FACT_VALUE_MAX &&
           !pg_bytes_equal(space, PG_BANS_SPACE);
}

static void remembered(struct pg_client *client, const struct pg_ticket *ticket,
                       enum pg_reason reason)
{
    if (client_listens(client) && client_protocol(client)->remembered)
        client_protocol(client)->remembered(client, ticket->token, reason);
}

enum pg_reason pg_fact_set(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                           uint32_t expiry_s, struct pg_client *client, uint64_t token)
{
    if (!is_valid(space, key, value))
        return PG_TOO_LARGE;
    uint32_t now_s = (uint32_t)(pg_wall_ms() / 1000);
    uint32_t expires = expiry_s < PG_FOREVER - now_s ? now_s + expiry_s : 0;
    struct pg_ticket *ticket = NULL;
    if (client && kept) {
        ticket = pg_ticket_new(client, token, PG_BYTES_NONE, remembered);
        if (!ticket)
            return PG_NO_MEMORY;
    }
    pthread_mutex_lock(&lock);
    enum pg_reason reason = put(space, key, value, expires);
    if (reason == PG_OK && kept)
        kept->ops->fact_put(kept, space, key, value, expires, pg_ticket_for_store(ticket));
    pthread_mutex_unlock(&lock);
    if (!ticket)
        return reason;
    pg_ticket_done(ticket, reason);
    return PG_PENDING;
}

size_t pg_fact_get(struct pg_bytes space, struct pg_bytes key, uint8_t *value, size_t room)
{
    size_t len = 0;
    pthread_mutex_lock(&lock);
    struct fact **at = find(hash_of(space, key), space, key);
    if (at) {
        const struct fact *fact = *at;
        len = fact->value_len;
        memcpy(value, fact->bytes + fact->space_len + fact->key_len, len < room ? len : room);
    }
    pthread_mutex_unlock(&lock);
    return len;
}

void pg_facts_use_store(struct pg_store *store)
{
    kept = store;
}

bool pg_fact_restore(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                     uint32_t expires_wall_s)
{
    if (!is_valid(space, key, value))
        return true;
    pthread_mutex_lock(&lock);
    enum pg_reason reason = put(space, key, value, expires_wall_s);
    pthread_mutex_unlock(&lock);
    return reason != PG_NO_MEMORY;
}

void pg_facts_free(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < slot_count; i++)
        while (slots[i])
            take_out(&slots[i]);
    free(slots);
    slots = NULL;
    slot_count = 0;
    kept = NULL;
    pthread_mutex_unlock(&lock);
}
