/* SPDX-License-Identifier: Apache-2.0 */

/* The notes behind `polygatectl why CLIENT`.
 *
 * A fixed table of sets: the hash of the identifier names the set, each set has a few records, one
 * per identifier, and a lock of its own. A record keeps the latest notes in a ring. When a set is
 * full the record that has been silent longest is given to the new identifier. So whoever invents
 * identifiers can push out the notes of others (nothing can be remembered of everybody in bounded
 * memory), but one client that fails in a loop cannot: it only turns its own ring, and equal notes
 * in a row take one place.
 *
 * An identifier is kept up to ID_KEPT bytes; longer ones are told apart by length and hash. */

#include "why.h"

#include <pthread.h>
#include <string.h>

#include "hash.h"

#define SET_RECORDS 8u
#define SETS        (PG_WHY_CLIENTS / SET_RECORDS)
#define ID_KEPT     40u

_Static_assert((SETS & (SETS - 1)) == 0, "the set is taken from the low bits of the hash");

struct record {
    uint64_t hash;
    size_t id_len; /* 0: free */
    uint8_t id[ID_KEPT];
    int64_t last_ms;
    unsigned newest; /* index in notes */
    unsigned count;  /* notes in use */
    struct pg_why notes[PG_WHY_NOTES];
};

struct set {
    pthread_mutex_t lock;
    struct record records[SET_RECORDS];
};

/* Pages are touched only when there is something to remember. */
static struct set sets[SETS] = {[0 ... SETS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static bool is_of(const struct record *record, struct pg_bytes id, uint64_t hash)
{
    size_t kept = id.len < ID_KEPT ? id.len : ID_KEPT;
    return record->id_len == id.len && record->hash == hash &&
           memcmp(record->id, id.data, kept) == 0;
}

static struct record *find_record(struct set *set, struct pg_bytes id, uint64_t hash)
{
    for (size_t i = 0; i < SET_RECORDS; i++) {
        if (is_of(&set->records[i], id, hash))
            return &set->records[i];
    }
    return NULL;
}

/* The free record of the set, or the one that has been silent longest, for this identifier. */
static struct record *claim_record(struct set *set, struct pg_bytes id, uint64_t hash)
{
    struct record *best = &set->records[0];
    for (size_t i = 1; i < SET_RECORDS && best->id_len > 0; i++) {
        struct record *record = &set->records[i];
        if (record->id_len == 0 || record->last_ms < best->last_ms)
            best = record;
    }
    best->hash = hash;
    best->id_len = id.len;
    memcpy(best->id, id.data, id.len < ID_KEPT ? id.len : ID_KEPT);
    best->count = 0;
    best->newest = 0;
    return best;
}

static void copy_detail(char *out, struct pg_bytes detail)
{
    size_t len = detail.len < PG_WHY_DETAIL - 1 ? detail.len : PG_WHY_DETAIL - 1;
    if (len < detail.len) {
        while (len > 0 && (detail.data[len] & 0xc0) == 0x80)
            len--; /* not in the middle of a character */
    }
    if (len > 0)
        memcpy(out, detail.data, len);
    out[len] = '\0';
}

static void add_note(struct record *record, enum pg_why_kind kind, enum pg_reason reason,
                     struct pg_bytes detail, int64_t now)
{
    struct pg_why *newest = &record->notes[record->newest];
    if (record->count > 0 && newest->kind == kind && newest->reason == reason) {
        if (newest->count < UINT32_MAX)
            newest->count++;
    } else {
        if (record->count > 0)
            record->newest = (record->newest + 1) % PG_WHY_NOTES;
        if (record->count < PG_WHY_NOTES)
            record->count++;
        newest = &record->notes[record->newest];
        *newest = (struct pg_why){.kind = kind, .reason = reason, .count = 1, .first_ms = now};
    }
    newest->last_ms = now;
    record->last_ms = now;
    copy_detail(newest->detail, detail);
}

void pg_why_note_bytes(struct pg_bytes client_id, enum pg_why_kind kind, enum pg_reason reason,
                       struct pg_bytes detail)
{
    if (client_id.len == 0)
        return;
    int64_t now = pg_wall_ms();
    uint64_t hash = pg_hash(client_id);
    struct set *set = &sets[hash & (SETS - 1)];
    pthread_mutex_lock(&set->lock);
    struct record *record = find_record(set, client_id, hash);
    if (!record)
        record = claim_record(set, client_id, hash);
    add_note(record, kind, reason, detail, now);
    pthread_mutex_unlock(&set->lock);
}

void pg_why_note(struct pg_bytes client_id, enum pg_why_kind kind, enum pg_reason reason,
                 const char *detail)
{
    pg_why_note_bytes(client_id, kind, reason, detail ? pg_bytes_str(detail) : PG_BYTES_NONE);
}

size_t pg_why_list(struct pg_bytes client_id, struct pg_why out[PG_WHY_NOTES])
{
    if (client_id.len == 0)
        return 0;
    uint64_t hash = pg_hash(client_id);
    struct set *set = &sets[hash & (SETS - 1)];
    size_t count = 0;
    pthread_mutex_lock(&set->lock);
    const struct record *record = find_record(set, client_id, hash);
    if (record) {
        for (; count < record->count; count++)
            out[count] = record->notes[(record->newest + PG_WHY_NOTES - count) % PG_WHY_NOTES];
    }
    pthread_mutex_unlock(&set->lock);
    return count;
}

const char *pg_why_kind_name(enum pg_why_kind kind)
{
    static const char *const names[] = {
        [PG_WHY_REFUSED] = "refused",
        [PG_WHY_DROPPED] = "dropped",
        [PG_WHY_CLOSED] = "closed",
    };
    return names[kind];
}
