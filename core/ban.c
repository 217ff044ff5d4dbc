/* SPDX-License-Identifier: Apache-2.0 */

/* The list of bans: one hash table, of ranges by prefix and length, and of client identifiers. An
 * address is looked up once for each length of prefix that is in use, so the number of bans does
 * not matter. An expired ban is taken out when it is met, and all of them when the list is full.
 *
 * Everything is under one lock. It is not taken while there are no bans, which a counter tells. */

#include "ban.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "store.h"

#define SLOTS       4096u
#define CLIENT_MARK "client:"

/* What a ban is found by: a range, or a client identifier. */
struct key {
    struct pg_bytes bytes;
    bool is_client;
    uint8_t room[17]; /* of a range: bits and address */
};

struct entry {
    struct entry *next; /* in its slot */
    struct pg_ban ban;
    bool is_client;
    struct pg_range range;     /* of an address */
    struct pg_bytes client_id; /* in ban.who */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *slots[SLOTS];
static uint32_t lengths[PG_ADDRESS_BITS + 1]; /* ranges of so many bits */
static _Atomic size_t addresses, clients;
static struct pg_store *kept;

static struct key key_of_range(const struct pg_range *range)
{
    struct key key = {.is_client = false};
    key.room[0] = range->bits;
    memcpy(key.room + 1, range->address.bytes, sizeof(range->address.bytes));
    return key;
}

static struct pg_bytes key_bytes(const struct key *key)
{
    if (key->is_client)
        return key->bytes;
    return (struct pg_bytes){.data = key->room, .len = sizeof(key->room)};
}

static struct entry **slot_of(const struct key *key)
{
    return &slots[pg_hash(key_bytes(key)) % SLOTS];
}

static bool is_for(const struct entry *e, const struct key *key)
{
    if (e->is_client != key->is_client)
        return false;
    if (e->is_client)
        return pg_bytes_equal(e->client_id, key->bytes);
    struct key own = key_of_range(&e->range);
    return memcmp(own.room, key->room, sizeof(own.room)) == 0;
}

static void take_out(struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    if (e->is_client) {
        atomic_fetch_sub(&clients, 1);
    } else {
        lengths[e->range.bits]--;
        atomic_fetch_sub(&addresses, 1);
    }
    free(e);
}

/* The link to the entry that is for the key and has not expired; NULL: none. Under the lock. */
static struct entry **find(const struct key *key)
{
    for (struct entry **at = slot_of(key); *at; at = &(*at)->next) {
        if (!is_for(*at, key))
            continue;
        if ((*at)->ban.until_wall_ms > pg_wall_ms())
            return at;
        take_out(at);
        return NULL;
    }
    return NULL;
}

static void drop_expired(void)
{
    int64_t now = pg_wall_ms();
    for (size_t i = 0; i < SLOTS; i++)
        for (struct entry **at = &slots[i]; *at;)
            if ((*at)->ban.until_wall_ms <= now)
                take_out(at);
            else
                at = &(*at)->next;
}

struct pg_bytes pg_ban_client(struct pg_bytes who)
{
    static const size_t mark = sizeof(CLIENT_MARK) - 1;
    if (who.len <= mark || memcmp(who.data, CLIENT_MARK, mark) != 0)
        return PG_BYTES_NONE;
    return (struct pg_bytes){.data = who.data + mark, .len = who.len - mark};
}

/* Read the text into an entry; false if it is none. */
static bool fill(struct entry *e, struct pg_bytes who)
{
    if (who.len == 0 || who.len > PG_BAN_WHO_MAX)
        return false;
    struct pg_bytes id = pg_ban_client(who);
    e->is_client = id.data != NULL;
    if (!e->is_client) {
        if (!pg_range_parse(who, &e->range))
            return false;
        pg_range_text(&e->range, e->ban.who);
        return true;
    }
    if (!pg_utf8_valid(id))
        return false;
    memcpy(e->ban.who, who.data, who.len);
    e->ban.who[who.len] = '\0';
    e->client_id = pg_ban_client((struct pg_bytes){.data = (uint8_t *)e->ban.who, .len = who.len});
    return true;
}

static struct key key_of(const struct entry *e)
{
    if (!e->is_client)
        return key_of_range(&e->range);
    return (struct key){.is_client = true, .bytes = e->client_id};
}

/* The entry is given. False: there are too many. */
static bool put(struct entry *e)
{
    struct key key = key_of(e);
    pthread_mutex_lock(&lock);
    struct entry **known = find(&key);
    if (known)
        take_out(known);
    if (atomic_load(&addresses) + atomic_load(&clients) >= PG_BANS_MAX)
        drop_expired();
    bool fits = atomic_load(&addresses) + atomic_load(&clients) < PG_BANS_MAX;
    if (fits) {
        struct entry **slot = slot_of(&key);
        e->next = *slot;
        *slot = e;
        if (e->is_client) {
            atomic_fetch_add(&clients, 1);
        } else {
            lengths[e->range.bits]++;
            atomic_fetch_add(&addresses, 1);
        }
    }
    pthread_mutex_unlock(&lock);
    if (!fits)
        free(e);
    return fits;
}

/* An empty value forgets. */
static void remember(const char *who, const char *detail, uint32_t until_wall_s)
{
    if (kept)
        kept->ops->fact_put(kept, PG_BANS_SPACE, pg_bytes_str(who), pg_bytes_str(detail),
                            until_wall_s, NULL);
}

void pg_bans_use_store(struct pg_store *store)
{
    kept = store;
}

bool pg_ban_add(struct pg_bytes who, uint32_t seconds, const char *detail, struct pg_error *error)
{
    struct entry *e = calloc(1, sizeof(*e));
    if (!e) {
        pg_error_set(error, "out of memory");
        return false;
    }
    if (!fill(e, who)) {
        free(e);
        pg_error_set(error, "expected an address, a range as 10.0.0.0/8, or client:ID");
        return false;
    }
    char name[PG_BAN_WHO_MAX + 1];
    memcpy(name, e->ban.who, sizeof(name));
    /* What is not said is said, since an empty value is a ban that is lifted. */
    snprintf(e->ban.detail, sizeof(e->ban.detail), "%s", detail[0] != '\0' ? detail : "by hand");
    e->ban.since_wall_ms = pg_wall_ms();
    e->ban.until_wall_ms =
        seconds == PG_FOREVER ? PG_NEVER : e->ban.since_wall_ms + (int64_t)seconds * 1000;
    uint32_t until_s = seconds == PG_FOREVER ? 0 : (uint32_t)(e->ban.until_wall_ms / 1000);
    if (!put(e)) {
        pg_error_set(error, "there are %u bans already", PG_BANS_MAX);
        return false;
    }
    remember(name, detail[0] != '\0' ? detail : "by hand", until_s);
    return true;
}

bool pg_ban_restore(struct pg_bytes who, struct pg_bytes detail, uint32_t until_wall_s)
{
    struct entry *e = calloc(1, sizeof(*e));
    if (!e)
        return false;
    if (!fill(e, who)) {
        free(e); /* of another version; it expires in the store */
        return true;
    }
    size_t len = detail.len < PG_BAN_DETAIL_MAX ? detail.len : PG_BAN_DETAIL_MAX;
    memcpy(e->ban.detail, detail.data, len);
    e->ban.since_wall_ms = pg_wall_ms();
    e->ban.until_wall_ms = until_wall_s == 0 ? PG_NEVER : (int64_t)until_wall_s * 1000;
    (void)put(e);
    return true;
}

bool pg_ban_lift(struct pg_bytes who)
{
    struct entry named = {.next = NULL};
    if (!fill(&named, who))
        return false;
    struct key key = key_of(&named);
    pthread_mutex_lock(&lock);
    struct entry **at = find(&key);
    if (at)
        take_out(at);
    pthread_mutex_unlock(&lock);
    if (at)
        remember(named.ban.who, "", 0);
    return at != NULL;
}

bool pg_ban_has_address(const struct pg_address *address)
{
    if (atomic_load_explicit(&addresses, memory_order_relaxed) == 0)
        return false;
    bool found = false;
    pthread_mutex_lock(&lock);
    for (unsigned bits = 0; bits <= PG_ADDRESS_BITS && !found; bits++) {
        if (lengths[bits] == 0)
            continue;
        struct pg_range range = pg_range_of(address, bits);
        struct key key = key_of_range(&range);
        struct entry **at = find(&key);
        found = at != NULL;
        if (found)
            (*at)->ban.hits++;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

bool pg_ban_has_client(struct pg_bytes client_id)
{
    if (atomic_load_explicit(&clients, memory_order_relaxed) == 0)
        return false;
    struct key key = {.is_client = true, .bytes = client_id};
    pthread_mutex_lock(&lock);
    struct entry **at = find(&key);
    if (at)
        (*at)->ban.hits++;
    pthread_mutex_unlock(&lock);
    return at != NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct pg_ban *)a)->who, ((const struct pg_ban *)b)->who);
}

size_t pg_bans_list(struct pg_ban *out, size_t room)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    drop_expired();
    for (size_t i = 0; i < SLOTS; i++)
        for (const struct entry *e = slots[i]; e; e = e->next)
            if (count++ < room)
                out[count - 1] = e->ban;
    pthread_mutex_unlock(&lock);
    qsort(out, count < room ? count : room, sizeof(*out), by_text);
    return count;
}

void pg_bans_free(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < SLOTS; i++)
        while (slots[i])
            take_out(&slots[i]);
    kept = NULL;
    pthread_mutex_unlock(&lock);
}
