/* SPDX-License-Identifier: Apache-2.0 */

/* The index of the queues: where each queued message is, in memory, 24 bytes each.
 *
 * A session has one vector of entries in the order of numbers. Those that are done with at the
 * front are cut off, others are marked; when it is full and a quarter of it is marked or cut off it
 * is pushed together, else it grows by a quarter, so that with what is spare it stays below 32
 * bytes per entry. Segments know how many of their entries live.
 *
 * The index is changed by records alone: after a batch was appended it is read as it is at
 * recovery, so that there is one meaning of each record. At recovery entries may come a second time
 * and in another order, because the oldest segment was copied forward: a session notes that and is
 * sorted before it is next searched, where the later one of two with one number holds. */

#include "store_disk_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- sessions ------------------------------------------------------------------------------- */

struct pg_store_session *pg_disk_session_new(struct pg_bytes client_id)
{
    struct pg_store_session *session = calloc(1, sizeof(*session) + client_id.len);
    if (!session)
        return NULL;
    session->next_number = 1;
    session->client_id_len = client_id.len;
    if (client_id.len > 0)
        memcpy(session->client_id, client_id.data, client_id.len);
    return session;
}

void pg_disk_session_free(struct pg_store_session **where)
{
    struct pg_store_session *session = *where;
    *where = NULL;
    if (!session)
        return;
    for (uint32_t i = 0; i < session->via_count; i++)
        free(session->vias[i].data);
    free(session->vias);
    free(session->entries);
    free(session->outs);
    free(session->receipts);
    free(session);
}

static bool grow_buckets(struct pg_disk *disk)
{
    uint32_t count = disk->bucket_count ? disk->bucket_count * 2 : 64;
    struct pg_store_session **buckets = calloc(count, sizeof(*buckets));
    if (!buckets)
        return disk->bucket_count > 0; /* longer chains will do */
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        while (disk->buckets[i]) {
            struct pg_store_session *session = disk->buckets[i];
            disk->buckets[i] = session->next;
            session->next = buckets[session->id & (count - 1)];
            buckets[session->id & (count - 1)] = session;
        }
    }
    free(disk->buckets);
    disk->buckets = buckets;
    disk->bucket_count = count;
    return true;
}

bool pg_disk_session_add(struct pg_disk *disk, struct pg_store_session *session)
{
    if (disk->session_count >= disk->bucket_count && !grow_buckets(disk))
        return false;
    struct pg_store_session **bucket = &disk->buckets[session->id & (disk->bucket_count - 1)];
    session->next = *bucket;
    *bucket = session;
    disk->stats.sessions = ++disk->session_count;
    return true;
}

struct pg_store_session *pg_disk_session_find(struct pg_disk *disk, uint32_t id)
{
    if (id == 0 || disk->bucket_count == 0)
        return NULL;
    struct pg_store_session *session = disk->buckets[id & (disk->bucket_count - 1)];
    while (session && session->id != id)
        session = session->next;
    return session;
}

/* ---- segments ------------------------------------------------------------------------------- */

/* NULL: a segment that is not there any more, or out of memory. */
struct pg_disk_segment *pg_disk_segment(struct pg_disk *disk, uint32_t number)
{
    if (number < disk->first_segment || number == 0)
        return NULL;
    if (disk->first_segment == 0)
        disk->first_segment = number;
    uint32_t index = number - disk->first_segment;
    if (index >= disk->segment_count) {
        struct pg_disk_segment *segments =
            realloc(disk->segments, ((size_t)index + 1) * sizeof(*segments));
        if (!segments) {
            disk->no_memory = true;
            return NULL;
        }
        memset(segments + disk->segment_count, 0,
               (index + 1 - disk->segment_count) * sizeof(*segments));
        disk->segments = segments;
        disk->segment_count = index + 1;
    }
    return &disk->segments[index];
}

/* ---- the way an entry came ------------------------------------------------------------------ */

static bool via_equal(const struct pg_disk_via *via, const struct pg_disk_step *step)
{
    return via->refs > 0 && via->id_count == step->id_count && via->share_len == step->share.len &&
           (step->ids.len == 0 || memcmp(via->data, step->ids.data, step->ids.len) == 0) &&
           (step->share.len == 0 ||
            memcmp(via->data + step->ids.len, step->share.data, step->share.len) == 0);
}

static uint16_t via_take(struct pg_disk *disk, struct pg_store_session *session,
                         const struct pg_disk_step *step)
{
    if (!(step->flags & PG_DISK_VIA))
        return 0;
    uint32_t place = UINT32_MAX;
    for (uint32_t i = 0; i < session->via_count; i++) {
        if (via_equal(&session->vias[i], step)) {
            session->vias[i].refs++;
            return (uint16_t)(i + 1);
        }
        if (session->vias[i].refs == 0)
            place = i;
    }
    uint8_t *data = malloc(step->ids.len + step->share.len + 1);
    if (place == UINT32_MAX && session->via_count < UINT16_MAX) {
        struct pg_disk_via *vias =
            realloc(session->vias, (session->via_count + 1) * sizeof(*session->vias));
        if (vias) {
            session->vias = vias;
            place = session->via_count++;
            vias[place] = (struct pg_disk_via){0};
        }
    }
    if (!data || place == UINT32_MAX) {
        free(data);
        disk->no_memory = true;
        return 0;
    }
    if (step->ids.len > 0)
        memcpy(data, step->ids.data, step->ids.len);
    if (step->share.len > 0)
        memcpy(data + step->ids.len, step->share.data, step->share.len);
    session->vias[place] = (struct pg_disk_via){
        .refs = 1,
        .id_count = step->id_count,
        .share_len = (uint16_t)step->share.len,
        .data = data,
    };
    return (uint16_t)(place + 1);
}

static void via_release(struct pg_store_session *session, uint16_t via)
{
    if (via == 0 || --session->vias[via - 1].refs > 0)
        return;
    free(session->vias[via - 1].data);
    session->vias[via - 1].data = NULL;
}

/* ---- entries -------------------------------------------------------------------------------- */

uint64_t pg_disk_full_number(const struct pg_store_session *session, uint32_t low)
{
    return session->next_number - (uint32_t)((uint32_t)session->next_number - low);
}

/* How far a number lies behind the newest: compares numbers whose low halves have wrapped. */
static uint32_t age(const struct pg_store_session *session, uint32_t low)
{
    return (uint32_t)session->next_number - low;
}

/* qsort has no context; the vector is sorted by one thread at a time. */
static _Thread_local const struct pg_store_session *sorting;

static int compare_entries(const void *a, const void *b)
{
    const struct pg_disk_entry *x = a, *y = b;
    uint32_t age_x = age(sorting, x->number), age_y = age(sorting, y->number);
    if (age_x != age_y)
        return age_x > age_y ? -1 : 1;
    /* Of two with one number the one with the later place is the copy. */
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void uncount(struct pg_disk *disk, struct pg_store_session *session,
                    struct pg_disk_entry *entry)
{
    struct pg_disk_segment *segment = pg_disk_segment(disk, entry->segment);
    if (segment)
        segment->live--;
    session->live--;
    session->live_bytes -= entry->size;
    disk->stats.queued--;
    disk->stats.queued_bytes -= entry->size;
    via_release(session, entry->via);
    entry->flags |= PG_DISK_DEAD;
}

static void sort_if_due(struct pg_disk *disk, struct pg_store_session *session)
{
    if (!session->sort_due)
        return;
    session->sort_due = false;
    sorting = session;
    qsort(session->entries + session->head, session->tail - session->head,
          sizeof(*session->entries), compare_entries);
    for (uint32_t i = session->head; i + 1 < session->tail; i++) {
        struct pg_disk_entry *entry = &session->entries[i];
        if (entry->number == entry[1].number && !(entry->flags & PG_DISK_DEAD))
            uncount(disk, session, entry);
    }
}

uint32_t pg_disk_lower_bound(struct pg_store_session *session, uint64_t number)
{
    if (number >= session->next_number)
        return session->tail;
    uint64_t wanted = session->next_number - number;
    uint32_t low = session->head, high = session->tail;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (age(session, session->entries[middle].number) > wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The live entry with this number; tail when there is none. */
uint32_t pg_disk_find(struct pg_disk *disk, struct pg_store_session *session, uint64_t number)
{
    sort_if_due(disk, session);
    for (uint32_t i = pg_disk_lower_bound(session, number);
         i < session->tail && session->entries[i].number == (uint32_t)number; i++) {
        if (!(session->entries[i].flags & PG_DISK_DEAD))
            return i;
    }
    return session->tail;
}

static bool resize(struct pg_disk *disk, struct pg_store_session *session, uint32_t cap)
{
    struct pg_disk_entry *entries = realloc(session->entries, cap * sizeof(*entries));
    if (!entries)
        return false;
    disk->stats.index_bytes += cap * sizeof(*entries);
    disk->stats.index_bytes -= session->cap * sizeof(*entries);
    session->entries = entries;
    session->cap = cap;
    return true;
}

static void push_together(struct pg_store_session *session)
{
    uint32_t to = 0;
    for (uint32_t i = session->head; i < session->tail; i++) {
        if (!(session->entries[i].flags & PG_DISK_DEAD))
            session->entries[to++] = session->entries[i];
    }
    session->head = 0;
    session->tail = to;
}

static void release_front(struct pg_disk *disk, struct pg_store_session *session)
{
    while (session->head < session->tail && (session->entries[session->head].flags & PG_DISK_DEAD))
        session->head++;
    if (session->live == 0) {
        disk->stats.index_bytes -= session->cap * sizeof(*session->entries);
        free(session->entries);
        session->entries = NULL;
        session->head = session->tail = session->cap = 0;
    } else if (session->cap > 64 && session->live < session->cap / 4) {
        push_together(session);
        (void)resize(disk, session, session->cap / 2); /* a vector that stays large is no harm */
    }
}

struct pg_disk_out *pg_disk_out_find(struct pg_store_session *session, uint64_t number)
{
    for (uint32_t i = 0; i < session->out_count; i++) {
        if (session->outs[i].number == number)
            return &session->outs[i];
    }
    return NULL;
}

void pg_disk_kill(struct pg_disk *disk, struct pg_store_session *session, uint32_t index)
{
    struct pg_disk_out *out =
        pg_disk_out_find(session, pg_disk_full_number(session, session->entries[index].number));
    if (out) {
        session->out_count--;
        memmove(out, out + 1, (size_t)(session->outs + session->out_count - out) * sizeof(*out));
    }
    uncount(disk, session, &session->entries[index]);
    if (!session->sort_due)
        release_front(disk, session);
}

/* A copy at run time: the entry is there, and has a new place. */
static bool move_entry(struct pg_disk *disk, struct pg_store_session *session,
                       const struct pg_disk_step *step)
{
    uint32_t index = pg_disk_find(disk, session, step->number);
    if (index == session->tail)
        return false;
    struct pg_disk_entry *entry = &session->entries[index];
    struct pg_disk_segment *from = pg_disk_segment(disk, entry->segment);
    if (from)
        from->live--;
    entry->segment = step->place.segment;
    entry->offset = step->place.offset;
    return true;
}

static void count_in_segment(struct pg_disk *disk, const struct pg_disk_step *step)
{
    struct pg_disk_segment *segment = pg_disk_segment(disk, step->place.segment);
    if (!segment)
        return;
    segment->total++;
    segment->live++;
}

/* Numbers that no session gives: they would not have an order any more. */
static bool is_strange(const struct pg_store_session *session, uint64_t number)
{
    uint64_t far = (uint64_t)1 << 31;
    if (number == 0 || number >= UINT64_MAX - far)
        return true;
    return session->tail > session->head &&
           (number + far < session->next_number || number > session->next_number + far);
}

static void apply_entry(struct pg_disk *disk, struct pg_store_session *session,
                        const struct pg_disk_step *step)
{
    if (is_strange(session, step->number)) {
        disk->strange = true;
        return;
    }
    bool late = step->number < session->next_number;
    if (late && !disk->replaying) {
        if (move_entry(disk, session, step))
            count_in_segment(disk, step);
        return;
    }
    if (session->tail == session->cap) {
        if (!session->sort_due && session->cap > 0 &&
            session->tail - session->live >= session->cap / 4)
            push_together(session);
        else if (!resize(disk, session, session->cap + session->cap / 4 + 4)) {
            disk->no_memory = true;
            return;
        }
    }
    struct pg_disk_entry *entry = &session->entries[session->tail++];
    *entry = (struct pg_disk_entry){
        .number = (uint32_t)step->number,
        .segment = step->place.segment,
        .offset = step->place.offset,
        .size = step->place.size,
        .expires = step->expires,
        .via = via_take(disk, session, step),
        .flags = step->flags & (PG_DISK_QOS | PG_DISK_RETAIN | PG_DISK_DIRECT),
    };
    if (late)
        session->sort_due = true;
    else
        session->next_number = step->number + 1;
    session->live++;
    session->live_bytes += entry->size;
    disk->stats.queued++;
    disk->stats.queued_bytes += entry->size;
    count_in_segment(disk, step);
}

/* ---- state of deliveries and receipts ------------------------------------------------------- */

static void apply_send(struct pg_disk *disk, struct pg_store_session *session,
                       const struct pg_disk_step *step)
{
    if (step->order >= disk->next_order)
        disk->next_order = step->order + 1;
    if (pg_disk_find(disk, session, step->number) == session->tail)
        return;
    struct pg_disk_out *out = pg_disk_out_find(session, step->number);
    if (!out) {
        if (session->out_count == session->out_cap) {
            uint32_t cap = session->out_cap * 2 + 4;
            struct pg_disk_out *outs = realloc(session->outs, cap * sizeof(*outs));
            if (!outs) {
                disk->no_memory = true;
                return;
            }
            session->outs = outs;
            session->out_cap = cap;
        }
        out = &session->outs[session->out_count++];
        *out = (struct pg_disk_out){.number = step->number};
    }
    out->packet_id = step->packet_id;
    out->order = step->order;
}

struct pg_disk_receipt *pg_disk_receipt_find(struct pg_store_session *session, uint16_t packet_id)
{
    for (uint32_t i = 0; i < session->receipt_count; i++) {
        if (session->receipts[i].packet_id == packet_id)
            return &session->receipts[i];
    }
    return NULL;
}

static void uncount_receipt(struct pg_disk *disk, struct pg_disk_receipt *receipt)
{
    struct pg_disk_segment *segment = pg_disk_segment(disk, receipt->segment);
    if (segment)
        segment->receipts--;
    segment = receipt->routed ? NULL : pg_disk_segment(disk, receipt->place.segment);
    if (segment)
        segment->pins--;
    disk->unrouted -= !receipt->routed;
}

/* Nobody needs to know any more who got which message. */
static void forget_got(struct pg_disk *disk)
{
    if (disk->unrouted > 0)
        return;
    disk->got_count = 0;
    disk->got_text.len = 0;
}

static void apply_receive(struct pg_disk *disk, struct pg_store_session *session, uint32_t segment,
                          const struct pg_disk_step *step)
{
    struct pg_disk_receipt *receipt = pg_disk_receipt_find(session, step->packet_id);
    if (receipt) {
        uncount_receipt(disk, receipt);
    } else {
        if (session->receipt_count == session->receipt_cap) {
            uint32_t cap = session->receipt_cap * 2 + 4;
            struct pg_disk_receipt *receipts = realloc(session->receipts, cap * sizeof(*receipts));
            if (!receipts) {
                disk->no_memory = true;
                return;
            }
            session->receipts = receipts;
            session->receipt_cap = cap;
        }
        receipt = &session->receipts[session->receipt_count++];
    }
    *receipt = (struct pg_disk_receipt){
        .packet_id = step->packet_id,
        .routed = step->place.size == 0,
        .segment = segment,
        .place = step->place,
    };
    struct pg_disk_segment *holder = pg_disk_segment(disk, segment);
    if (holder)
        holder->receipts++;
    holder = receipt->routed ? NULL : pg_disk_segment(disk, step->place.segment);
    if (holder)
        holder->pins++;
    disk->unrouted += !receipt->routed;
}

static void apply_routed(struct pg_disk *disk, struct pg_store_session *session,
                         const struct pg_disk_step *step)
{
    struct pg_disk_receipt *receipt = pg_disk_receipt_find(session, step->packet_id);
    if (!receipt || receipt->routed)
        return;
    struct pg_disk_segment *segment = pg_disk_segment(disk, receipt->place.segment);
    if (segment)
        segment->pins--;
    receipt->routed = true;
    disk->unrouted--;
    forget_got(disk);
}

static void apply_release(struct pg_disk *disk, struct pg_store_session *session,
                          const struct pg_disk_step *step)
{
    struct pg_disk_receipt *receipt = pg_disk_receipt_find(session, step->packet_id);
    if (!receipt)
        return;
    uncount_receipt(disk, receipt);
    *receipt = session->receipts[--session->receipt_count];
    forget_got(disk);
}

/* While recovering: who got what. Only those of unrouted messages are looked at in the end, and
 * these are among the last. */
static void note_got(struct pg_disk *disk, const struct pg_disk_step *step)
{
    if (disk->got_count == disk->got_cap) {
        size_t cap = disk->got_cap * 2 + 64;
        struct pg_disk_got *got = realloc(disk->got, cap * sizeof(*got));
        if (!got) {
            disk->no_memory = true;
            return;
        }
        disk->got = got;
        disk->got_cap = cap;
    }
    disk->got[disk->got_count++] = (struct pg_disk_got){
        .place = step->place,
        .session = step->session,
        .share_at = disk->got_text.len,
        .share_len = step->share.len,
    };
    pg_disk_put_raw(&disk->got_text, step->share);
}

static void apply_step(struct pg_disk *disk, uint32_t segment, const struct pg_disk_step *step)
{
    struct pg_store_session *session = pg_disk_session_find(disk, step->session);
    if (!session)
        return;
    switch (step->type) {
    case PG_DISK_ENTRY:
        if (disk->replaying && disk->unrouted > 0)
            note_got(disk, step);
        apply_entry(disk, session, step);
        break;
    case PG_DISK_SETTLE:
    case PG_DISK_DROP: {
        uint32_t index = pg_disk_find(disk, session, step->number);
        if (index == session->tail)
            break;
        if (step->type == PG_DISK_DROP && !disk->replaying)
            pg_disk_drop_noted(disk, session, PG_QUEUE_FULL, step->number);
        pg_disk_kill(disk, session, index);
        break;
    }
    case PG_DISK_SEND:
        apply_send(disk, session, step);
        break;
    case PG_DISK_RECEIVED: {
        struct pg_disk_out *out = pg_disk_out_find(session, step->number);
        if (out)
            out->received = true;
        break;
    }
    case PG_DISK_RECEIVE:
        apply_receive(disk, session, segment, step);
        break;
    case PG_DISK_ROUTED:
        apply_routed(disk, session, step);
        break;
    case PG_DISK_RELEASE:
        apply_release(disk, session, step);
        break;
    case PG_DISK_MESSAGE:
    case PG_DISK_NOTE:
        break;
    }
}

bool pg_disk_apply_records(struct pg_disk *disk, struct pg_log_position position,
                           struct pg_bytes records)
{
    struct pg_disk_reader reader = pg_disk_reader(records);
    struct pg_disk_step step;
    while (pg_disk_get_step(&reader, records.data, &step)) {
        if (step.place.segment == 0 && step.place.size > 0) {
            step.place.segment = position.segment;
            step.place.offset += position.offset;
        }
        /* A message is never behind what refers to it. */
        if (step.place.segment > position.segment)
            return false;
        apply_step(disk, position.segment, &step);
    }
    bool strange = disk->strange;
    disk->strange = false;
    return !reader.failed && !strange;
}

bool pg_disk_apply(struct pg_disk *disk, struct pg_log_position position, struct pg_bytes body)
{
    if (body.len == 0 || body.data[0] != PG_DISK_BATCH_VERSION)
        return false;
    return pg_disk_apply_records(disk, position,
                                 (struct pg_bytes){.data = body.data + 1, .len = body.len - 1});
}

void pg_disk_settle_down(struct pg_disk *disk)
{
    disk->replaying = false;
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; s; s = s->next) {
            sort_if_due(disk, s);
            /* What lay in a segment that is gone and was not copied had been given up. */
            for (uint32_t k = s->head; k < s->tail; k++) {
                struct pg_disk_entry *entry = &s->entries[k];
                if (entry->segment < disk->first_segment && !(entry->flags & PG_DISK_DEAD))
                    uncount(disk, s, entry);
            }
            for (uint32_t k = 0; k < s->out_count;) {
                if (pg_disk_find(disk, s, s->outs[k].number) == s->tail)
                    s->outs[k] = s->outs[--s->out_count];
                else
                    k++;
            }
            release_front(disk, s);
        }
    }
}

void pg_disk_session_remove(struct pg_disk *disk, struct pg_store_session *session)
{
    struct pg_store_session **at = &disk->buckets[session->id & (disk->bucket_count - 1)];
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    disk->stats.sessions = --disk->session_count;
    for (uint32_t i = session->head; i < session->tail; i++) {
        if (!(session->entries[i].flags & PG_DISK_DEAD))
            uncount(disk, session, &session->entries[i]);
    }
    for (uint32_t i = 0; i < session->receipt_count; i++)
        uncount_receipt(disk, &session->receipts[i]);
    forget_got(disk);
    pg_disk_write_notes(disk); /* the session may be among those that have some */
    disk->stats.index_bytes -= session->cap * sizeof(*session->entries);
}

void pg_disk_index_free(struct pg_disk *disk)
{
    for (uint32_t i = 0; i < disk->bucket_count; i++) {
        while (disk->buckets[i]) {
            struct pg_store_session *session = disk->buckets[i];
            disk->buckets[i] = session->next;
            pg_disk_session_free(&session);
        }
    }
    free(disk->buckets);
    free(disk->segments);
    free(disk->got);
    free(disk->got_text.data);
}
