/* SPDX-License-Identifier: Apache-2.0 */

/* Giving space back: entries whose time is over, and the log's oldest segments. All of it in steps
 * that are bounded by what they look at, write and unlink, so that requests wait for none of them
 * longer than for one another.
 *
 * Segments go strictly from the oldest, so that a SETTLE is never gone before the entry that it
 * settles. The oldest goes when nothing in it lives. If little lives in all of the log, what lives
 * in the oldest is first written anew at the end, with the state of its deliveries: a walk through
 * all sessions' entries, in which a message is copied with the first entry that needs it. A message
 * that is not routed yet holds its segment. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BATCH    (256u * 1024) /* bytes written in one step */
#define COPY_ENTRIES  65536u        /* entries looked at in one step */
#define SWEEP_ENTRIES 32768u        /* likewise; one that expires counts for more */
#define SWEEP_KILL    8u
#define DROP_SEGMENTS 2u /* unlinked in one step */

/* ---- lines of the log ----------------------------------------------------------------------- */

void pg_disk_drop_noted(struct pg_disk *disk, struct pg_store_session *session,
                        enum pg_reason reason, uint64_t number)
{
    bool expired = reason == PG_EXPIRED;
    struct pg_disk_note *notes = session->notes;
    struct pg_disk_note *note = &notes[expired ? PG_DISK_NOTE_EXPIRED : PG_DISK_NOTE_FULL];
    if (expired)
        disk->stats.expired++;
    else
        disk->stats.dropped++;
    if (notes[PG_DISK_NOTE_FULL].count == 0 && notes[PG_DISK_NOTE_EXPIRED].count == 0) {
        session->noted_next = disk->noted;
        disk->noted = session;
    }
    if (note->count++ == 0)
        note->first = number;
}

static void write_note(const struct pg_store_session *session, unsigned kind)
{
    const struct pg_disk_note *note = &session->notes[kind];
    struct pg_bytes client = {.data = session->client_id, .len = session->client_id_len};
    if (note->count == 0)
        return;
    PG_LOG(PG_WARN, "store_dropped", PG_F_BYTES("client", client),
           PG_F_REASON(kind == PG_DISK_NOTE_EXPIRED ? PG_EXPIRED : PG_QUEUE_FULL),
           PG_F_INT("count", note->count), PG_F_INT("number", note->first));
}

void pg_disk_write_notes(struct pg_disk *disk)
{
    while (disk->noted) {
        struct pg_store_session *session = disk->noted;
        disk->noted = session->noted_next;
        for (unsigned kind = 0; kind < PG_DISK_NOTES; kind++) {
            write_note(session, kind);
            session->notes[kind].count = 0;
        }
    }
}

/* ---- a walk in steps ------------------------------------------------------------------------ */

/* The session at which the walk stands; NULL: it is at its end. */
static struct pg_store_session *standing(struct pg_disk *disk, struct pg_disk_cursor *at)
{
    if (at->bucket_count != disk->bucket_count)
        *at = (struct pg_disk_cursor){.bucket_count = disk->bucket_count};
    struct pg_store_session *session = pg_disk_session_find(disk, at->session);
    while (!session && at->bucket < disk->bucket_count) {
        session = disk->buckets[at->bucket];
        at->number = 0;
        if (session)
            at->session = session->id;
        else
            at->bucket++;
    }
    return session;
}

static void go_on(struct pg_disk_cursor *at, const struct pg_store_session *session)
{
    at->number = 0;
    at->session = session->next ? session->next->id : 0;
    at->bucket += !session->next;
}

/* ---- expiry --------------------------------------------------------------------------------- */

/* false: the budget is used up. The index forgets what has expired; a recovery sees the same clock
 * and does so too. */
static bool expire_session(struct pg_disk *disk, struct pg_store_session *session, uint32_t now,
                           uint32_t *budget)
{
    struct pg_disk_cursor *at = &disk->sweep;
    uint32_t i = pg_disk_lower_bound(session, at->number);
    while (i < session->tail) {
        struct pg_disk_entry *entry = &session->entries[i];
        uint64_t number = pg_disk_full_number(session, entry->number);
        if (*budget < SWEEP_KILL) {
            at->number = number;
            return false;
        }
        (*budget)--;
        if ((entry->flags & PG_DISK_DEAD) || entry->expires > now) {
            i++;
            continue;
        }
        *budget -= SWEEP_KILL - 1;
        pg_disk_drop_noted(disk, session, PG_EXPIRED, number);
        pg_disk_kill(disk, session, i);
        i = pg_disk_lower_bound(session, number + 1); /* the vector may have been pushed together */
    }
    return true;
}

bool pg_disk_sweep(struct pg_disk *disk)
{
    uint32_t now = pg_disk_now_s(), budget = SWEEP_ENTRIES;
    struct pg_store_session *session;
    while ((session = standing(disk, &disk->sweep)) != NULL) {
        if (budget < SWEEP_KILL)
            return true;
        budget--;
        if (session->live > 0 && !expire_session(disk, session, now, &budget))
            return true;
        go_on(&disk->sweep, session);
    }
    disk->sweep = (struct pg_disk_cursor){0};
    return false;
}

/* ---- copying forward ------------------------------------------------------------------------ */

/* A message of the oldest segment that is at the end of the log as well. */
struct pg_disk_moved {
    uint32_t from; /* its offset; 0: free */
    struct pg_disk_place to;
};

void pg_disk_copying_end(struct pg_disk *disk)
{
    free(disk->copying.moved);
    free(disk->copying.fresh);
    disk->copying = (struct pg_disk_copying){0};
}

static struct pg_disk_moved *moved_slot(struct pg_disk_moved *table, uint32_t cap, uint32_t from)
{
    uint32_t i = (uint32_t)(((uint64_t)from * 0x9e3779b97f4a7c15u) >> 32) & (cap - 1);
    while (table[i].from != 0 && table[i].from != from)
        i = (i + 1) & (cap - 1);
    return &table[i];
}

/* Room for one message more. Only between batches: the slots of `fresh` change. */
static bool moved_grow(struct pg_disk_copying *c)
{
    uint32_t cap = c->moved_cap ? c->moved_cap * 2 : 1024;
    struct pg_disk_moved *table = calloc(cap, sizeof(*table));
    if (!table)
        return false;
    for (uint32_t i = 0; i < c->moved_cap; i++) {
        if (c->moved[i].from != 0)
            *moved_slot(table, cap, c->moved[i].from) = c->moved[i];
    }
    free(c->moved);
    c->moved = table;
    c->moved_cap = cap;
    return true;
}

static int copy_message(struct pg_disk *disk, const struct pg_disk_entry *entry,
                        struct pg_disk_place *to)
{
    struct pg_disk_copying *c = &disk->copying;
    struct pg_disk_moved *slot = moved_slot(c->moved, c->moved_cap, entry->offset);
    if (slot->from != 0) {
        *to = slot->to;
        return 0;
    }
    if (c->fresh_count == c->fresh_cap) {
        uint32_t cap = c->fresh_cap * 2 + 256, *fresh = realloc(c->fresh, cap * sizeof(*fresh));
        if (!fresh)
            return -ENOMEM;
        c->fresh = fresh;
        c->fresh_cap = cap;
    }
    *to = (struct pg_disk_place){
        .offset = pg_disk_batch_offset(disk),
        .size = entry->size,
    };
    uint8_t *data = malloc(entry->size);
    if (!data)
        return -ENOMEM;
    struct pg_log_position position = {.segment = entry->segment, .offset = entry->offset};
    int rc = pg_seglog_read(disk->log, position, data, entry->size);
    if (rc == 0)
        pg_disk_put_raw(&disk->batch, (struct pg_bytes){.data = data, .len = entry->size});
    free(data);
    if (rc != 0)
        return rc;
    *slot = (struct pg_disk_moved){.from = entry->offset, .to = *to};
    c->fresh[c->fresh_count++] = (uint32_t)(slot - c->moved);
    c->moved_count++;
    return 0;
}

static void put_entry(struct pg_disk *disk, struct pg_store_session *session,
                      const struct pg_disk_entry *entry, struct pg_disk_place place)
{
    struct pg_disk_step step = {
        .type = PG_DISK_ENTRY,
        .session = session->id,
        .number = pg_disk_full_number(session, entry->number),
        .flags = entry->flags,
        .expires = entry->expires,
        .place = place,
    };
    if (entry->via > 0) {
        const struct pg_disk_via *via = &session->vias[entry->via - 1];
        step.flags |= PG_DISK_VIA;
        step.id_count = via->id_count;
        step.ids = (struct pg_bytes){.data = via->data, .len = via->id_count * 4u};
        step.share = (struct pg_bytes){.data = via->data + step.ids.len, .len = via->share_len};
    }
    pg_disk_put_step(&disk->batch, &step);
    struct pg_disk_out *out = pg_disk_out_find(session, step.number);
    if (!out)
        return;
    step = (struct pg_disk_step){.type = PG_DISK_SEND,
                                 .session = session->id,
                                 .number = out->number,
                                 .packet_id = out->packet_id,
                                 .order = out->order};
    pg_disk_put_step(&disk->batch, &step);
    step.type = PG_DISK_RECEIVED;
    if (out->received)
        pg_disk_put_step(&disk->batch, &step);
}

static void put_receipts(struct pg_disk *disk, struct pg_store_session *session)
{
    for (uint32_t k = 0; k < session->receipt_count; k++) {
        const struct pg_disk_receipt *receipt = &session->receipts[k];
        if (receipt->segment != disk->copying.segment)
            continue;
        pg_disk_put_step(&disk->batch,
                         &(struct pg_disk_step){
                             .type = PG_DISK_RECEIVE,
                             .session = session->id,
                             .packet_id = receipt->packet_id,
                             .place = receipt->routed ? (struct pg_disk_place){0} : receipt->place,
                         });
        disk->copying.copied++;
    }
}

/* 0: the session is done; 1: the step is full; else an error. */
static int copy_session(struct pg_disk *disk, struct pg_store_session *session, uint32_t *budget)
{
    struct pg_disk_copying *c = &disk->copying;
    uint32_t i = pg_disk_lower_bound(session, c->cursor.number);
    for (; i < session->tail; i++) {
        const struct pg_disk_entry *entry = &session->entries[i];
        if (*budget == 0 || disk->batch.len >= COPY_BATCH ||
            c->moved_count + c->moved_count / 2 >= c->moved_cap) {
            c->cursor.number = pg_disk_full_number(session, entry->number);
            return 1;
        }
        (*budget)--;
        if (entry->segment != c->segment || (entry->flags & PG_DISK_DEAD))
            continue;
        struct pg_disk_place place;
        int rc = copy_message(disk, entry, &place);
        if (rc != 0)
            return rc;
        put_entry(disk, session, entry, place);
        c->copied++;
    }
    put_receipts(disk, session);
    return 0;
}

static void place_moved(struct pg_disk_copying *c, uint32_t segment, uint32_t offset)
{
    for (uint32_t i = 0; i < c->fresh_count; i++) {
        struct pg_disk_place *to = &c->moved[c->fresh[i]].to;
        to->segment = segment;
        to->offset += offset;
    }
    c->fresh_count = 0;
}

/* One step; 0: the walk has ended; 1: it goes on; else an error. */
static int copy_step(struct pg_disk *disk)
{
    struct pg_disk_copying *c = &disk->copying;
    uint32_t budget = COPY_ENTRIES;
    struct pg_store_session *session;
    int rc = 0;
    if (c->moved_count + c->moved_count / 2 >= c->moved_cap && !moved_grow(c))
        return -ENOMEM;
    pg_disk_begin_batch(disk);
    while (rc == 0 && (session = standing(disk, &c->cursor)) != NULL) {
        if (budget == 0 || disk->batch.len >= COPY_BATCH) {
            rc = 1;
            break;
        }
        budget--;
        rc = copy_session(disk, session, &budget);
        if (rc == 0)
            go_on(&c->cursor, session);
    }
    if (rc < 0 || disk->batch.len == 0)
        return rc;
    struct pg_log_position at;
    int appended = pg_disk_append_at(disk, &at);
    if (appended != 0)
        return appended;
    place_moved(c, at.segment, at.offset);
    return rc;
}

/* Live bytes are what the live share of each segment's entries makes of its bytes. */
static bool sparse(struct pg_disk *disk)
{
    uint64_t used = 0, live = 0;
    uint32_t count = pg_seglog_segment_count(disk->log);
    for (uint32_t i = 0; i < count; i++) {
        struct pg_seglog_segment file = pg_seglog_segment_at(disk->log, i);
        const struct pg_disk_segment *segment = pg_disk_segment(disk, file.number);
        used += file.bytes_used;
        if (i + 1 == count)
            live += file.bytes_used;
        else if (segment && segment->total > 0)
            live += (uint64_t)file.bytes_used * segment->live / segment->total;
    }
    return live * 2 < used;
}

static void forget_segments(struct pg_disk *disk)
{
    uint32_t first = pg_seglog_segment_at(disk->log, 0).number;
    while (disk->first_segment < first) {
        if (disk->segment_count > 0) {
            disk->segment_count--;
            memmove(disk->segments, disk->segments + 1,
                    disk->segment_count * sizeof(*disk->segments));
        }
        disk->first_segment++;
    }
}

/* Whether anything is needed of the oldest segment, which is not the one that is written. */
static bool lives(const struct pg_disk_segment *segment)
{
    return segment && (segment->live > 0 || segment->receipts > 0 || segment->pins > 0);
}

static bool drop_dead(struct pg_disk *disk)
{
    for (unsigned i = 0; i < DROP_SEGMENTS; i++) {
        if (pg_seglog_segment_count(disk->log) < 2)
            return false;
        uint32_t number = pg_seglog_segment_at(disk->log, 0).number;
        if (lives(pg_disk_segment(disk, number)))
            return false;
        /* On error it may be gone or not; it is tried again with the next group. */
        int rc = pg_seglog_drop_oldest(disk->log);
        forget_segments(disk);
        if (rc != 0)
            return false;
    }
    return true;
}

/* Whether the oldest segment is to be copied forward. */
static bool is_due(struct pg_disk *disk)
{
    if (disk->stats.health != PG_OK || pg_seglog_segment_count(disk->log) < 2)
        return false;
    uint32_t number = pg_seglog_segment_at(disk->log, 0).number;
    const struct pg_disk_segment *segment = pg_disk_segment(disk, number);
    if (!lives(segment) || segment->pins > 0 || number == disk->stuck_segment)
        return false;
    return segment->live == 0 || sparse(disk);
}

bool pg_disk_reclaim(struct pg_disk *disk)
{
    struct pg_disk_copying *c = &disk->copying;
    if (drop_dead(disk))
        return true;
    if (c->segment == 0 && !is_due(disk))
        return false;
    if (c->segment == 0)
        c->segment = pg_seglog_segment_at(disk->log, 0).number;
    if (c->segment != pg_seglog_segment_at(disk->log, 0).number) {
        pg_disk_copying_end(disk); /* nothing lived in it any more */
        return true;
    }
    int rc = copy_step(disk);
    if (rc > 0)
        return true;
    const struct pg_disk_segment *segment = pg_disk_segment(disk, c->segment);
    if (rc == 0 && c->copied == 0 && lives(segment) && segment->pins == 0) {
        disk->stuck_segment = c->segment;
        PG_LOG(PG_ERROR, "store_segment_stays", PG_F_INT("segment", c->segment));
    }
    pg_disk_copying_end(disk);
    return rc == 0;
}
