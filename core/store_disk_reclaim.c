/* SPDX-License-Identifier: Apache-2.0 */

/* Giving space back: entries whose time is over, and the log's oldest segments.
 *
 * Segments go strictly from the oldest, so that a SETTLE is never gone before the entry that it
 * settles. The oldest goes when nothing in it lives. If little lives in all of the log, or all of the
 * oldest has outlived its time, what lives in the oldest is first written anew at the end, with the
 * state of its deliveries. A message that is not routed yet holds its segment. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BATCH  (1024u * 1024)
#define SWEEP_EVERY 10 /* s */

void pg_disk_drop_noted(struct pg_disk *disk, const struct pg_store_session *session,
                        enum pg_reason reason, uint64_t number)
{
    if (reason == PG_EXPIRED)
        disk->stats.expired++;
    else
        disk->stats.dropped++;
    struct pg_bytes client = {.data = session->client_id, .len = session->client_id_len};
    PG_LOG(PG_WARN, "store_dropped", PG_F_BYTES("client", client), PG_F_REASON(reason),
           PG_F_INT("number", number));
}

/* The index forgets what has expired; a recovery sees the same clock and does so too. */
static void expire_session(struct pg_disk *disk, struct pg_store_session *session, uint32_t now)
{
    uint32_t i = session->head;
    while (i < session->tail) {
        struct pg_disk_entry *entry = &session->entries[i];
        if ((entry->flags & PG_DISK_DEAD) || entry->expires > now) {
            i++;
            continue;
        }
        uint64_t number = pg_disk_full_number(session, entry->number);
        pg_disk_drop_noted(disk, session, PG_EXPIRED, number);
        pg_disk_kill(disk, session, i);
        i = pg_disk_lower_bound(session, number + 1); /* the vector may have been pushed together */
    }
}

void pg_disk_sweep(struct pg_disk *disk)
{
    uint32_t now = pg_disk_now_s();
    if ((int64_t)now - disk->swept_s < SWEEP_EVERY)
        return;
    disk->swept_s = now;
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; s; s = s->next) {
            if (s->live > 0)
                expire_session(disk, s, now);
        }
    }
}

/* ---- copying forward ----------------------------------------------------------------------------- */

/* A live entry of the oldest segment. */
struct survivor {
    struct pg_disk_place place;
    struct pg_store_session *session;
    uint64_t number;
};

static int compare_survivors(const void *a, const void *b)
{
    const struct survivor *x = a, *y = b;
    return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

static size_t collect(struct pg_disk *disk, uint32_t segment, struct survivor *to, size_t room)
{
    size_t count = 0;
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; s; s = s->next) {
            for (uint32_t k = s->head; k < s->tail && count < room; k++) {
                const struct pg_disk_entry *e = &s->entries[k];
                if (e->segment == segment && !(e->flags & PG_DISK_DEAD))
                    to[count++] = (struct survivor){
                        .place = {e->segment, e->offset, e->size},
                        .session = s,
                        .number = pg_disk_full_number(s, e->number),
                    };
            }
        }
    }
    return count;
}

static void put_entry(struct pg_disk *disk, const struct survivor *from, uint32_t offset)
{
    struct pg_store_session *session = from->session;
    const struct pg_disk_entry *entry =
        &session->entries[pg_disk_find(disk, session, from->number)];
    struct pg_disk_step step = {
        .type = PG_DISK_ENTRY,
        .session = session->id,
        .number = from->number,
        .flags = entry->flags,
        .expires = entry->expires,
        .place = {.offset = offset, .size = entry->size},
    };
    if (entry->via > 0) {
        const struct pg_disk_via *via = &session->vias[entry->via - 1];
        step.flags |= PG_DISK_VIA;
        step.id_count = via->id_count;
        step.ids = (struct pg_bytes){.data = via->data, .len = via->id_count * 4u};
        step.share = (struct pg_bytes){.data = via->data + step.ids.len, .len = via->share_len};
    }
    pg_disk_put_step(&disk->batch, &step);
    struct pg_disk_out *out = pg_disk_out_find(session, from->number);
    if (!out)
        return;
    step = (struct pg_disk_step){.type = PG_DISK_SEND,
                                 .session = session->id,
                                 .number = from->number,
                                 .packet_id = out->packet_id,
                                 .order = out->order};
    pg_disk_put_step(&disk->batch, &step);
    step.type = PG_DISK_RECEIVED;
    if (out->received)
        pg_disk_put_step(&disk->batch, &step);
}

static int copy_message(struct pg_disk *disk, struct pg_disk_place place)
{
    uint8_t *data = malloc(place.size);
    if (!data)
        return -ENOMEM;
    struct pg_log_position position = {.segment = place.segment, .offset = place.offset};
    int rc = pg_seglog_read(disk->log, position, data, place.size);
    if (rc == 0)
        pg_disk_put_raw(&disk->batch, (struct pg_bytes){.data = data, .len = place.size});
    free(data);
    return rc;
}

static int copy_survivors(struct pg_disk *disk, const struct survivor *list, size_t count)
{
    uint32_t offset = 0;
    int rc = 0;
    pg_disk_begin_batch(disk);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (i == 0 || list[i].place.offset != list[i - 1].place.offset) {
            if (disk->batch.len > COPY_BATCH) {
                rc = pg_disk_append(disk);
                pg_disk_begin_batch(disk);
            }
            offset = (uint32_t)disk->batch.len;
            if (rc == 0)
                rc = copy_message(disk, list[i].place);
        }
        if (rc == 0)
            put_entry(disk, &list[i], offset);
    }
    if (rc == 0 && disk->batch.len > 1)
        rc = pg_disk_append(disk);
    return rc;
}

static int copy_receipts(struct pg_disk *disk, uint32_t segment)
{
    pg_disk_begin_batch(disk);
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; s; s = s->next) {
            for (uint32_t k = 0; k < s->receipt_count; k++) {
                const struct pg_disk_receipt *receipt = &s->receipts[k];
                if (receipt->segment == segment)
                    pg_disk_put_step(
                        &disk->batch,
                        &(struct pg_disk_step){
                            .type = PG_DISK_RECEIVE,
                            .session = s->id,
                            .packet_id = receipt->packet_id,
                            .place = receipt->routed ? (struct pg_disk_place){0} : receipt->place,
                        });
            }
        }
    }
    return disk->batch.len > 1 ? pg_disk_append(disk) : 0;
}

static int copy_forward(struct pg_disk *disk, uint32_t number)
{
    struct pg_disk_segment *segment = pg_disk_segment(disk, number);
    int rc = 0;
    if (segment->live > 0) {
        size_t room = segment->live;
        struct survivor *list = calloc(room, sizeof(*list));
        if (!list)
            return -ENOMEM;
        size_t count = collect(disk, number, list, room);
        qsort(list, count, sizeof(*list), compare_survivors);
        rc = copy_survivors(disk, list, count);
        free(list);
    }
    segment = pg_disk_segment(disk, number);
    if (rc == 0 && segment->receipts > 0)
        rc = copy_receipts(disk, number);
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

static void forget_segment(struct pg_disk *disk, uint32_t number)
{
    if (number == disk->first_segment && disk->segment_count > 0) {
        disk->segment_count--;
        memmove(disk->segments, disk->segments + 1, disk->segment_count * sizeof(*disk->segments));
    }
    disk->first_segment = number + 1;
}

static void count_disk(struct pg_disk *disk)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < pg_seglog_segment_count(disk->log); i++)
        bytes += pg_seglog_segment_at(disk->log, i).bytes_file;
    disk->stats.disk_bytes = bytes;
    disk->stats.sessions = disk->session_count;
}

void pg_disk_reclaim(struct pg_disk *disk)
{
    if (!disk->log)
        return;
    while (pg_seglog_segment_count(disk->log) > 1) {
        uint32_t number = pg_seglog_segment_at(disk->log, 0).number;
        struct pg_disk_segment *segment = pg_disk_segment(disk, number);
        if (segment && segment->pins > 0)
            break;
        if (segment && (segment->live > 0 || segment->receipts > 0)) {
            if (disk->stats.health != PG_OK || (segment->live > 0 && !sparse(disk)) ||
                copy_forward(disk, number) != 0)
                break;
            segment = pg_disk_segment(disk, number);
            if (segment && (segment->live > 0 || segment->receipts > 0))
                break;
        }
        if (pg_seglog_drop_oldest(disk->log) != 0)
            break;
        forget_segment(disk, number);
    }
    count_disk(disk);
}
