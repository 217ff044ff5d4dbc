/* SPDX-License-Identifier: Apache-2.0 */

/* Limits by listener and by address; see guard.h.
 *
 * What is counted hangs on three kinds of entries in one hash table: a listener (by its name, so that
 * it outlives reloads), an address on a listener, and an address that offends, on whichever listener.
 * An address is what counts as one peer (pg_address_peer()). An entry stays while connections hold
 * it; behind the last one it is remembered, since its buckets are not full again at once, until it
 * has been unused for a while and others want the room.
 *
 * A rate is the time at which its bucket will be full again. It moves by what one costs; a bucket
 * that is full later than one period from now has been emptied. For connections that is a refusal.
 * For bytes and messages, which have been read already, it is the time to wait.
 *
 * The table is under one lock, which is taken once for each connection that comes or goes on a
 * listener that has limits. Rates are atomics: connections of one address may be on several workers.
 * A meter belongs to the worker of its connection. */

#include "guard.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "ban.h"
#include "counter.h"
#include "hash.h"
#include "server.h"
#include "worker_parts.h"

#define SLOTS       65536u
#define ENTRIES_MAX 262144u /* some 50 MB; a flood from more addresses has the oldest forgotten */
#define UNUSED_MS   120000  /* longer than any period: the buckets are full again */
#define SECOND_NS   INT64_C(1000000000)
#define MINUTE_NS   (60 * SECOND_NS)
/* A connection that is over its rate is not read for about so long at a time. */
#define MOMENT_MS  250
#define READ_LEAST 1024u

enum entry_kind { LISTENER, ADDRESS, OFFENDER };

struct entry_key {
    uint8_t kind; /* enum entry_kind */
    uint8_t name_len;
    uint8_t name[PG_LISTENER_NAME_MAX]; /* of the listener */
    uint8_t bits;                       /* of the address */
    uint8_t address[sizeof(struct pg_address)];
};

struct pg_guard_entry {
    struct pg_guard_entry *next; /* in its slot */
    struct entry_key key;
    int64_t connections;
    int64_t unused_since_ms; /* while there are none */
    _Atomic int64_t connects_full_ns, bytes_full_ns, messages_full_ns;
    int64_t offences_since_ms;
    int64_t offences;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pg_guard_entry *slots[SLOTS];
static size_t entry_count;
static size_t sweep_at; /* the slot that is looked through next for entries to forget */

/* ---- rates ----------------------------------------------------------------------------------- */

static int64_t now_ns(void)
{
    return pg_now_ms() * (SECOND_NS / 1000);
}

/* The time when a bucket will be full, after `n` are taken that fill in at `rate` a period. */
static int64_t taken(int64_t full_ns, int64_t now, size_t n, int64_t rate, int64_t period_ns)
{
    int64_t from = full_ns > now ? full_ns : now;
    return from + (int64_t)(n < INT32_MAX ? n : INT32_MAX) * period_ns / rate;
}

/* Take one if it is there. */
static bool take_one(_Atomic int64_t *full_ns, int64_t rate, int64_t period_ns)
{
    if (rate == 0)
        return true;
    int64_t now = now_ns(), seen = atomic_load_explicit(full_ns, memory_order_relaxed), after;
    do {
        after = taken(seen, now, 1, rate, period_ns);
        if (after > now + period_ns)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(full_ns, &seen, after, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Take what has come already; the nanoseconds until the bucket is not overdrawn any more. */
static int64_t overdraw(_Atomic int64_t *full_ns, size_t n, int64_t rate)
{
    if (rate == 0)
        return 0;
    int64_t now = now_ns(), seen = atomic_load_explicit(full_ns, memory_order_relaxed), after;
    do
        after = taken(seen, now, n, rate, SECOND_NS);
    while (!atomic_compare_exchange_weak_explicit(full_ns, &seen, after, memory_order_relaxed,
                                                  memory_order_relaxed));
    return after - (now + SECOND_NS);
}

static int64_t overdraw_own(int64_t *full_ns, size_t n, int64_t rate)
{
    if (rate == 0)
        return 0;
    int64_t now = now_ns();
    *full_ns = taken(*full_ns, now, n, rate, SECOND_NS);
    return *full_ns - (now + SECOND_NS);
}

/* ---- entries (under the lock) ---------------------------------------------------------------- */

static struct entry_key key_of(enum entry_kind kind, const char *listener,
                               const struct pg_address *address)
{
    struct entry_key key;
    memset(&key, 0, sizeof(key)); /* it is compared whole */
    key.kind = (uint8_t)kind;
    if (listener) {
        key.name_len = (uint8_t)strlen(listener);
        memcpy(key.name, listener, key.name_len);
    }
    if (address) {
        struct pg_range peer = pg_address_peer(address);
        memcpy(key.address, peer.address.bytes, sizeof(key.address));
        key.bits = peer.bits;
    }
    return key;
}

static struct pg_guard_entry **slot_of(const struct entry_key *key)
{
    struct pg_bytes bytes = {.data = (const uint8_t *)key, .len = sizeof(*key)};
    return &slots[pg_hash(bytes) % SLOTS];
}

static struct pg_guard_entry *find(const struct entry_key *key)
{
    struct pg_guard_entry *e = *slot_of(key);
    while (e && memcmp(&e->key, key, sizeof(*key)) != 0)
        e = e->next;
    return e;
}

/* Forget what has been unused for so long in the next few slots. */
static void sweep(int64_t unused_ms, size_t slot_count)
{
    int64_t before = pg_now_ms() - unused_ms;
    for (size_t i = 0; i < slot_count; i++, sweep_at++) {
        struct pg_guard_entry **at = &slots[sweep_at % SLOTS];
        while (*at) {
            struct pg_guard_entry *e = *at;
            if (e->connections > 0 || e->unused_since_ms > before) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            free(e);
            entry_count--;
        }
    }
}

/* Found, or made; NULL when memory is out or there are too many in use. */
static struct pg_guard_entry *entry_for(const struct entry_key *key)
{
    struct pg_guard_entry *e = find(key);
    if (e)
        return e;
    sweep(UNUSED_MS, 2); /* two for each that is made: the table is gone through all the time */
    if (entry_count >= ENTRIES_MAX)
        sweep(0, SLOTS / 64);
    if (entry_count >= ENTRIES_MAX)
        return NULL;
    e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->key = *key;
    e->unused_since_ms = pg_now_ms();
    struct pg_guard_entry **slot = slot_of(key);
    e->next = *slot;
    *slot = e;
    entry_count++;
    return e;
}

static void release(struct pg_guard_entry *e)
{
    if (e && --e->connections == 0)
        e->unused_since_ms = pg_now_ms();
}

/* ---- admission ------------------------------------------------------------------------------- */

static bool has_address_limits(const struct pg_guard_conf *limits)
{
    return limits->address_connections > 0 || limits->address_connects_per_minute > 0 ||
           limits->address_bytes_per_second > 0 || limits->address_messages_per_second > 0;
}

static bool has_limits(const struct pg_guard_conf *limits)
{
    return limits->connections > 0 || limits->connects_per_second > 0 ||
           limits->bytes_per_second > 0 || limits->messages_per_second > 0 ||
           limits->connection_bytes_per_second > 0 || limits->connection_messages_per_second > 0 ||
           has_address_limits(limits);
}

/* Whether one more may come; it is counted then. The address goes first, so that one that knocks
 * all the time does not use up the listener's rate. Under the lock. */
static enum pg_reason enter(struct pg_guard_entry *listener, struct pg_guard_entry *address,
                            const struct pg_guard_conf *limits)
{
    if (address && limits->address_connections > 0 &&
        address->connections >= limits->address_connections)
        return PG_CONNECTION_LIMIT;
    if (limits->connections > 0 && listener->connections >= limits->connections)
        return PG_CONNECTION_LIMIT;
    if (address &&
        !take_one(&address->connects_full_ns, limits->address_connects_per_minute, MINUTE_NS))
        return PG_CONNECTION_RATE;
    if (!take_one(&listener->connects_full_ns, limits->connects_per_second, SECOND_NS))
        return PG_CONNECTION_RATE;
    listener->connections++;
    if (address)
        address->connections++;
    return PG_OK;
}

enum pg_reason pg_guard_admit(const struct pg_listener_conf *listener, const char *peer,
                              struct pg_meter **meter)
{
    *meter = NULL;
    const struct pg_guard_conf *limits = &listener->guard;
    struct pg_address address;
    bool has_address = pg_address_of_peer(peer, &address);
    if (has_address && pg_ban_has_address(&address))
        return PG_BANNED;
    if (!has_limits(limits))
        return PG_OK;
    struct pg_meter *m = calloc(1, sizeof(*m));
    if (!m)
        return PG_NO_MEMORY;
    m->limits = limits;
    struct entry_key of_listener = key_of(LISTENER, listener->name, NULL);
    pthread_mutex_lock(&lock);
    enum pg_reason reason = PG_NO_MEMORY;
    m->listener = entry_for(&of_listener);
    if (m->listener && has_address && has_address_limits(limits)) {
        struct entry_key of_address = key_of(ADDRESS, listener->name, &address);
        m->listener->connections++; /* so that making room does not forget it */
        m->address = entry_for(&of_address);
        m->listener->connections--;
    }
    /* When more addresses are connected than are remembered, one more is let in uncounted. */
    if (m->listener)
        reason = enter(m->listener, m->address, limits);
    pthread_mutex_unlock(&lock);
    if (reason == PG_OK)
        *meter = m;
    else
        free(m);
    return reason;
}

void pg_guard_leave(struct pg_meter **where)
{
    struct pg_meter *meter = *where;
    *where = NULL;
    if (!meter)
        return;
    pthread_mutex_lock(&lock);
    release(meter->address);
    release(meter->listener);
    pthread_mutex_unlock(&lock);
    free(meter);
}

bool pg_guard_full(const struct pg_listener_conf *listener)
{
    int64_t most = listener->guard.connections;
    if (most == 0)
        return false;
    struct entry_key key = key_of(LISTENER, listener->name, NULL);
    pthread_mutex_lock(&lock);
    const struct pg_guard_entry *e = find(&key);
    bool full = e && e->connections >= most;
    pthread_mutex_unlock(&lock);
    return full;
}

/* ---- what comes ------------------------------------------------------------------------------ */

static int64_t longer(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* In milliseconds, rounded up. */
static int64_t to_wait(int64_t ns)
{
    return ns <= 0 ? 0 : (ns + SECOND_NS / 1000 - 1) / (SECOND_NS / 1000);
}

int64_t pg_meter_bytes(struct pg_meter *meter, size_t n)
{
    const struct pg_guard_conf *l = meter->limits;
    int64_t ns = overdraw_own(&meter->bytes_full_ns, n, l->connection_bytes_per_second);
    if (meter->address)
        ns = longer(ns, overdraw(&meter->address->bytes_full_ns, n, l->address_bytes_per_second));
    return to_wait(longer(ns, overdraw(&meter->listener->bytes_full_ns, n, l->bytes_per_second)));
}

int64_t pg_meter_message(struct pg_meter *meter)
{
    const struct pg_guard_conf *l = meter->limits;
    int64_t ns = overdraw_own(&meter->messages_full_ns, 1, l->connection_messages_per_second);
    if (meter->address)
        ns = longer(ns,
                    overdraw(&meter->address->messages_full_ns, 1, l->address_messages_per_second));
    return to_wait(
        longer(ns, overdraw(&meter->listener->messages_full_ns, 1, l->messages_per_second)));
}

/* The lower of two limits, of which 0 is none. */
static int64_t lower(int64_t a, int64_t b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

size_t pg_meter_read_max(const struct pg_meter *meter, size_t room)
{
    const struct pg_guard_conf *l = meter->limits;
    int64_t bytes = lower(lower(l->connection_bytes_per_second, l->address_bytes_per_second),
                          l->bytes_per_second);
    int64_t messages =
        lower(lower(l->connection_messages_per_second, l->address_messages_per_second),
              l->messages_per_second);
    size_t most = room;
    if (bytes > 0 && bytes < (int64_t)room * 1000 / MOMENT_MS)
        most = (size_t)(bytes * MOMENT_MS / 1000);
    if (messages > 0 && most > READ_LEAST * 4)
        most = READ_LEAST * 4; /* a message may be a few bytes long */
    if (most < READ_LEAST)
        most = READ_LEAST;
    return most < room ? most : room;
}

/* ---- offences -------------------------------------------------------------------------------- */

static bool is_offence(enum pg_reason reason)
{
    switch (reason) {
    case PG_NOT_AUTHORIZED:
    case PG_BAD_CREDENTIAL:
    case PG_CLIENT_ID_INVALID:
    case PG_VERSION_UNSUPPORTED:
    case PG_MALFORMED:
    case PG_PROTOCOL_ERROR:
    case PG_BAD_FRAMES:
    case PG_TOO_LARGE:
    case PG_FIRST_BYTE_TIMEOUT:
    case PG_HANDSHAKE_TIMEOUT:
    case PG_HANDSHAKE_FAILED:
    case PG_LOGIN_TIMEOUT:
    case PG_STALLED:
    case PG_UNKNOWN_PROTOCOL:
    case PG_CONNECTION_RATE:
        return true;
    default:
        return false;
    }
}

static bool is_exempt(const struct pg_strings *exempt, const struct pg_address *address)
{
    for (size_t i = 0; i < exempt->count; i++) {
        struct pg_range range;
        if (pg_range_parse(pg_bytes_str(exempt->items[i]), &range) && pg_range_has(&range, address))
            return true;
    }
    return false;
}

/* Whether that was one too many; counting begins anew then. */
static bool count_offence(const struct pg_address *address, int64_t after, int64_t within_ms)
{
    struct entry_key key = key_of(OFFENDER, NULL, address);
    bool enough = false;
    pthread_mutex_lock(&lock);
    struct pg_guard_entry *e = entry_for(&key);
    if (e) {
        int64_t now = pg_now_ms();
        if (e->offences == 0 || now - e->offences_since_ms > within_ms) {
            e->offences_since_ms = now;
            e->offences = 0;
        }
        e->unused_since_ms = now + within_ms;
        enough = ++e->offences >= after;
        if (enough)
            e->offences = 0;
    }
    pthread_mutex_unlock(&lock);
    return enough;
}

void pg_guard_offence(struct pg_worker *worker, const char *peer, enum pg_reason reason)
{
    const struct pg_settings *s =
        &atomic_load_explicit(&worker->server->config, memory_order_acquire)->settings;
    struct pg_address address;
    if (s->bans.after == 0 || !is_offence(reason) || !pg_address_of_peer(peer, &address) ||
        is_exempt(&s->bans.exempt, &address) ||
        !count_offence(&address, s->bans.after, s->bans.within))
        return;
    struct pg_range range = pg_address_peer(&address);
    char who[PG_ADDRESS_TEXT];
    struct pg_error error;
    pg_range_text(&range, who);
    if (!pg_ban_add(pg_bytes_str(who), (uint32_t)(s->bans.time / 1000), pg_reason_name(reason),
                    &error))
        return;
    pg_worker_count(worker, PG_COUNT_BANS_ADDED, 1);
    static struct pg_log_site site = {.limit = 1};
    PG_LOG_SITE(PG_WARN, "banned", &site, PG_F_TEXT("address", who), PG_F_REASON(reason),
                PG_F_INT("offences", s->bans.after), PG_F_INT("seconds", s->bans.time / 1000));
}

void pg_guard_free(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < SLOTS; i++)
        while (slots[i]) {
            struct pg_guard_entry *e = slots[i];
            slots[i] = e->next;
            free(e);
        }
    entry_count = 0;
    pthread_mutex_unlock(&lock);
}
