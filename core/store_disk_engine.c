/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store's engine: carries out groups of requests, on one thread.
 *
 * A group goes in five steps. The requests that belong to the maps are one transaction of LMDB. The
 * others become records of one batch (a very long group: several), appended to the log and synced.
 * The batch is then read back into the index. Changes of wills are a second transaction if there
 * was a batch: a will that was sent is forgotten only when the sessions have the message. At last
 * the answers run, in the order of the requests. The maps are ahead of the log for a moment: a
 * process that dies in between has a session without the message that came just before, which
 * nobody was told is kept.
 *
 * A group in which nobody waits for the disk (that a client has settled what it was sent, mostly)
 * has no batch of its own: its records are owed, as below, and written with the first group in
 * which somebody waits, or when they are a moment old or many. Else a long queue that is being read
 * would cost a sync for every page of it. What a process that dies takes with it then is delivered
 * once more, as is what was settled on the wire alone.
 *
 * When the disk does not take a batch, nothing of it counts and its requests fail, but for what is
 * already a fact: that entries are settled, messages routed, and deliveries received. These records
 * are owed: the index has them at once, and they go in front of the next batch. So are the entries
 * of a message that was received with QoS 2 and is not routed: the log has it, and a process that
 * dies before it has the entries as well gives it to those sessions at its next start. Were they
 * refused instead, its publisher would send it again, and the sessions that have it would get it
 * twice. After a failed sync the log is mended first, without the batch that was refused. Where an
 * attempt is dear, requests fail without one for a moment. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_SOFT_MAX (8u * 1024 * 1024)
#define RETRY_MS       10 /* and four times what the last attempt took */
#define RETRY_OWED     (1024u * 1024)
#define SWEEP_EVERY_S  10
#define DEFER_MS       20
#define DEFER_BYTES    (64u * 1024)
/* A group that takes longer is a disk that an operator should know of. */
#define SLOW_MS 1000

/* ---- health --------------------------------------------------------------------------------- */

void pg_disk_health(struct pg_disk *disk, enum pg_disk_part part, int error, const char *what)
{
    struct pg_store_stats *stats = &disk->stats;
    if (error == 0) {
        disk->failing &= ~(unsigned)part;
        if (disk->failing != 0)
            return;
        if (stats->health != PG_OK)
            PG_LOG(PG_INFO, "store_works", PG_F_TEXT("dir", disk->dir));
        stats->health = PG_OK;
        stats->detail[0] = '\0';
        return;
    }
    disk->failing |= (unsigned)part;
    char text[sizeof(stats->detail)];
    snprintf(text, sizeof(text), "%s: %s", what,
             error < -1000 ? mdb_strerror(error) : strerror(-error));
    if (stats->health == PG_OK)
        PG_LOG(PG_ERROR, "store_failed", PG_F_TEXT("dir", disk->dir), PG_F_TEXT("detail", text));
    stats->health = PG_STORE_FAILED;
    memcpy(stats->detail, text, sizeof(text));
}

/* ---- where messages are --------------------------------------------------------------------- */

static uint32_t mix(uint64_t id, uint32_t size)
{
    return (uint32_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (size - 1);
}

static uint32_t deadline_of(const struct pg_disk *disk, const struct pg_msg *msg)
{
    uint32_t deadline = pg_disk_msg_deadline(msg), now = pg_disk_now_s();
    uint32_t kept = disk->options.retention_s < PG_DISK_NEVER - now
                        ? now + disk->options.retention_s
                        : PG_DISK_NEVER;
    return deadline < kept ? deadline : kept;
}

static struct pg_disk_unrouted **unrouted_find(struct pg_disk *disk, uint64_t msg_id)
{
    struct pg_disk_unrouted **at = &disk->unrouted_msgs[mix(msg_id, PG_DISK_UNROUTED)];
    while (*at && (*at)->msg_id != msg_id)
        at = &(*at)->next;
    return at;
}

bool pg_disk_unrouted_add(struct pg_disk *disk, const struct pg_msg *msg, uint32_t session,
                          const struct pg_disk_receipt *receipt)
{
    struct pg_disk_unrouted *node = malloc(sizeof(*node)), **at = unrouted_find(disk, msg->id);
    if (!node)
        return false;
    *node = (struct pg_disk_unrouted){
        .next = *at,
        .msg_id = msg->id,
        .session = session,
        .deadline = deadline_of(disk, msg),
        .packet_id = receipt->packet_id,
        .place = receipt->place,
    };
    *at = node;
    return true;
}

/* Whether the log still has it. What is in the batch that is being made is there, too. */
static bool is_there(const struct pg_disk *disk, struct pg_disk_place place)
{
    return place.segment == 0 || place.segment >= disk->first_segment;
}

uint32_t pg_disk_batch_offset(const struct pg_disk *disk)
{
    return (uint32_t)((disk->owed.len > 0 ? disk->owed.len : 1) + disk->batch.len);
}

struct pg_disk_place pg_disk_put_message(struct pg_disk *disk, const struct pg_msg *msg)
{
    size_t start = disk->batch.len;
    struct pg_disk_place place = {.offset = pg_disk_batch_offset(disk)};
    pg_disk_put_u8(&disk->batch, PG_DISK_MESSAGE);
    pg_disk_put_u32(&disk->batch, 0);
    pg_disk_put_msg(&disk->batch, msg, pg_disk_msg_deadline(msg));
    place.size = (uint32_t)(disk->batch.len - start);
    if (disk->batch.failed)
        return place;
    for (unsigned i = 0; i < 4; i++)
        disk->batch.data[start + 1 + i] = (uint8_t)(place.size >> (8 * i));
    disk->stats.message_bytes += place.size;
    return place;
}

/* The place of the message, written into the batch unless it is known. */
static struct pg_disk_place place_of(struct pg_disk *disk, const struct pg_msg *msg,
                                     uint32_t *expires)
{
    struct pg_disk_unrouted *unrouted = *unrouted_find(disk, msg->id);
    if (unrouted && is_there(disk, unrouted->place)) {
        *expires = unrouted->deadline;
        return unrouted->place;
    }
    uint32_t slot = mix(msg->id, PG_DISK_RECENT);
    struct pg_disk_recent *recent = &disk->recent[slot];
    bool in_batch = recent->msg_id != 0 && recent->place.segment == 0;
    if (recent->msg_id == msg->id && is_there(disk, recent->place)) {
        *expires = recent->expires;
        return recent->place;
    }
    *expires = deadline_of(disk, msg);
    struct pg_disk_place place = pg_disk_put_message(disk, msg);
    if (disk->batch.failed)
        return place;
    if (!in_batch)
        disk->recent_new[disk->recent_new_count++] = slot;
    *recent = (struct pg_disk_recent){.msg_id = msg->id, .place = place, .expires = *expires};
    return place;
}

/* ---- the batch ------------------------------------------------------------------------------ */

void pg_disk_begin_batch(struct pg_disk *disk)
{
    disk->group++;
    disk->group_entries = disk->group_bytes = 0;
    disk->batch.len = 0;
    disk->batch.failed = false;
}

static void recents_placed(struct pg_disk *disk, struct pg_log_position position, bool kept)
{
    for (uint32_t i = 0; i < disk->recent_new_count; i++) {
        struct pg_disk_recent *recent = &disk->recent[disk->recent_new[i]];
        if (!kept)
            recent->msg_id = 0;
        recent->place.segment = position.segment;
        recent->place.offset += position.offset;
    }
    disk->recent_new_count = 0;
}

static int mend(struct pg_disk *disk)
{
    int rc = pg_seglog_mend(disk->log, disk->log_undo);
    disk->log_broken = rc != 0;
    if (rc == 0)
        disk->log_undo = false;
    return rc;
}

static int write_batch(struct pg_disk *disk, struct pg_log_position *position)
{
    static uint8_t version[1] = {PG_DISK_BATCH_VERSION};
    struct iovec ranges[2] = {{.iov_base = version, .iov_len = 1},
                              {.iov_base = disk->batch.data, .iov_len = disk->batch.len}};
    if (disk->batch.failed)
        return -ENOMEM;
    if (disk->owed.len > 0)
        ranges[0] = (struct iovec){.iov_base = disk->owed.data, .iov_len = disk->owed.len};
    int rc = disk->log_broken ? mend(disk) : 0;
    if (rc == 0)
        rc = pg_seglog_append(disk->log, ranges, disk->batch.len > 0 ? 2 : 1, position);
    if (rc == 0) {
        rc = pg_seglog_sync(disk->log);
        disk->log_broken = disk->log_undo = rc != 0;
    } else if (rc == -ENOTRECOVERABLE || pg_seglog_failed(disk->log)) {
        disk->log_broken = true;
    }
    return rc;
}

int pg_disk_append(struct pg_disk *disk)
{
    struct pg_log_position position;
    return pg_disk_append_at(disk, &position);
}

int pg_disk_append_at(struct pg_disk *disk, struct pg_log_position *where)
{
    struct pg_log_position position = {0};
    bool dear = disk->log_broken || disk->owed.len > RETRY_OWED;
    bool wait = dear && disk->log_error != 0 && pg_now_ms() < disk->log_retry_ms;
    int64_t began_ms = pg_now_ms();
    int rc = wait ? disk->log_error : write_batch(disk, &position);
    *where = position;
    recents_placed(disk, position, rc == 0);
    disk->log_error = rc;
    if (rc != 0 && !wait)
        disk->log_retry_ms = pg_now_ms() + RETRY_MS + 4 * (pg_now_ms() - began_ms);
    pg_disk_health(disk, PG_DISK_LOG, rc, "the log");
    if (rc != 0)
        return rc;
    disk->stats.commits++;
    disk->stats.written_bytes +=
        disk->batch.len + (disk->owed.len > 0 ? disk->owed.len : 1) + PG_SEGLOG_BATCH_OVERHEAD;
    disk->owed.len = 0;
    disk->deferred_ms = 0;
    if (!pg_disk_apply_records(
            disk, position, (struct pg_bytes){.data = disk->batch.data, .len = disk->batch.len}) ||
        disk->no_memory) {
        disk->no_memory = false;
        pg_disk_health(disk, PG_DISK_LOG, -ENOMEM, "the index");
        return -ENOMEM;
    }
    return 0;
}

/* The ENTRY record of a request that was staged. */
static struct pg_disk_step entry_step(const struct pg_disk_request *r)
{
    return (struct pg_disk_step){
        .type = PG_DISK_ENTRY,
        .session = r->session->id,
        .number = r->number,
        .flags = r->flags,
        .share = r->name,
        .ids = r->value,
        .id_count = r->id_count,
    };
}

/* Whether the batch that was not kept brought an entry of a message that the log has, and will give
 * to this session in any case. */
static bool is_owed_entry(struct pg_disk *disk, const struct pg_disk_request *r)
{
    if (r->ask != PG_ASK_ENQUEUE || !r->staged)
        return false;
    const struct pg_disk_unrouted *unrouted = *unrouted_find(disk, r->msg->id);
    return unrouted && is_there(disk, unrouted->place);
}

/* Records are to be owed: where they begin. */
static size_t owe(struct pg_disk *disk)
{
    disk->owed.failed = false;
    if (disk->owed.len == 0)
        pg_disk_put_u8(&disk->owed, PG_DISK_BATCH_VERSION);
    return disk->owed.len;
}

/* The index has those from there on. false: there was no memory for all of them. */
static bool owe_since(struct pg_disk *disk, size_t before)
{
    /* Behind all that there is, as what refers to a message has to be. */
    static const struct pg_log_position later = {.segment = UINT32_MAX};
    bool applied = pg_disk_apply_records(
        disk, later,
        (struct pg_bytes){.data = disk->owed.data + before, .len = disk->owed.len - before});
    if (disk->owed.len == 1)
        disk->owed.len = 0;
    bool all = applied && !disk->owed.failed && !disk->no_memory;
    disk->no_memory = false;
    return all;
}

/* What is a fact although the batch was not kept; of the requests from `from` up to and without
 * `to`. false: there was no memory for all of it. */
static bool keep_owed(struct pg_disk *disk, const struct pg_disk_request *from,
                      const struct pg_disk_request *to)
{
    if (disk->batch.failed)
        return false; /* these records are lost, and what they settle comes once more */
    size_t before = owe(disk);
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = disk->batch.data, .len = disk->batch.len});
    struct pg_disk_step step;
    while (pg_disk_get_step(&reader, disk->batch.data, &step)) {
        if (step.type == PG_DISK_SETTLE || step.type == PG_DISK_ROUTED ||
            step.type == PG_DISK_RECEIVED)
            pg_disk_put_raw(&disk->owed, step.whole);
    }
    for (const struct pg_disk_request *r = from; r != to; r = r->next) {
        if (!is_owed_entry(disk, r))
            continue;
        step = entry_step(r);
        step.place = place_of(disk, r->msg, &step.expires);
        pg_disk_put_step(&disk->owed, &step);
    }
    return owe_since(disk, before);
}

static bool is_for_log(const struct pg_disk_request *r)
{
    return r->ask >= PG_ASK_ENQUEUE && r->ask != PG_ASK_FETCH && r->ask != PG_ASK_STOP;
}

/* Everything from `from` up to and without `to` is in the batch. */
static void flush(struct pg_disk *disk, struct pg_disk_request *from, struct pg_disk_request *to)
{
    if (disk->batch.len == 0 && disk->owed.len == 0 && !disk->batch.failed)
        return;
    int rc = pg_disk_append(disk);
    bool owed = rc != 0 && keep_owed(disk, from, to);
    for (struct pg_disk_request *r = from; r != to; r = r->next) {
        if (!is_for_log(r))
            continue;
        if (rc != 0 && !(owed && is_owed_entry(disk, r)))
            r->result = PG_STORE_FAILED;
        struct pg_disk_receipt *receipt = r->ask == PG_ASK_RECEIVE && r->result == PG_OK
                                              ? pg_disk_receipt_find(r->session, r->packet_id)
                                              : NULL;
        if (receipt && !pg_disk_unrouted_add(disk, r->msg, r->session->id, receipt))
            r->result = PG_NO_MEMORY;
    }
    pg_disk_begin_batch(disk);
}

/* ---- requests of the log -------------------------------------------------------------------- */

static void join_group(struct pg_disk *disk, struct pg_store_session *session)
{
    if (session->group == disk->group)
        return;
    session->group = disk->group;
    session->group_entries = session->group_drops = 0;
    session->group_bytes = 0;
    session->group_cursor = session->head;
}

static bool over(uint64_t used, uint64_t more, uint64_t quota)
{
    return quota > 0 && used + more > quota;
}

static bool over_quota(const struct pg_disk *disk, const struct pg_store_session *session,
                       uint32_t size)
{
    const struct pg_store_disk_options *o = &disk->options;
    return over(session->live + session->group_entries - session->group_drops, 1,
                o->session_count) ||
           over(session->live_bytes + session->group_bytes, size, o->session_bytes) ||
           over(disk->stats.queued + disk->group_entries, 1, o->total_count) ||
           over(disk->stats.queued_bytes + disk->group_bytes, size, o->total_bytes);
}

/* Give up the session's oldest entry. false: it has none but what this batch brings. Those that are
 * under way to the client are left alone. */
static bool drop_oldest(struct pg_disk *disk, struct pg_store_session *session)
{
    while (session->group_cursor < session->tail) {
        const struct pg_disk_entry *entry = &session->entries[session->group_cursor++];
        uint64_t number = pg_disk_full_number(session, entry->number);
        if ((entry->flags & PG_DISK_DEAD) || pg_disk_out_find(session, number))
            continue;
        pg_disk_put_step(
            &disk->batch,
            &(struct pg_disk_step){.type = PG_DISK_DROP, .session = session->id, .number = number});
        session->group_drops++;
        session->group_bytes -= entry->size; /* the sums wrap, and come out right */
        disk->group_entries--;
        disk->group_bytes -= entry->size;
        return true;
    }
    return false;
}

static enum pg_reason make_room(struct pg_disk *disk, struct pg_disk_request *r, uint32_t size)
{
    const struct pg_store_disk_options *o = &disk->options;
    bool never = over(0, size, o->session_bytes) || over(0, size, o->total_bytes);
    while (over_quota(disk, r->session, size)) {
        if (o->policy == PG_DISK_REJECT)
            return PG_QUEUE_FULL;
        if (never || o->policy == PG_DISK_DROP_NEWEST || !drop_oldest(disk, r->session)) {
            pg_disk_drop_noted(disk, r->session, PG_QUEUE_FULL, r->number);
            return PG_OK;
        }
    }
    return PG_PENDING; /* to be queued */
}

static enum pg_reason stage_enqueue(struct pg_disk *disk, struct pg_disk_request *r)
{
    join_group(disk, r->session);
    uint32_t size = (uint32_t)(r->msg->topic.len + r->msg->payload.len);
    enum pg_reason room = make_room(disk, r, size);
    if (room != PG_PENDING)
        return room;
    r->staged = true;
    struct pg_disk_step step = entry_step(r);
    step.place = place_of(disk, r->msg, &step.expires);
    pg_disk_put_step(&disk->batch, &step);
    r->session->group_entries++;
    r->session->group_bytes += step.place.size;
    disk->group_entries++;
    disk->group_bytes += step.place.size;
    return PG_OK;
}

static void stage_routed(struct pg_disk *disk, struct pg_disk_request *r)
{
    struct pg_disk_unrouted **at = unrouted_find(disk, r->msg->id), *node = *at;
    if (!node)
        return;
    struct pg_store_session *session = pg_disk_session_find(disk, node->session);
    const struct pg_disk_receipt *receipt =
        session ? pg_disk_receipt_find(session, node->packet_id) : NULL;
    /* The identifier may have been released since, and have a new message. */
    if (receipt && receipt->place.segment == node->place.segment &&
        receipt->place.offset == node->place.offset)
        pg_disk_put_step(&disk->batch, &(struct pg_disk_step){.type = PG_DISK_ROUTED,
                                                              .session = node->session,
                                                              .packet_id = node->packet_id});
    *at = node->next;
    free(node);
}

static void stage(struct pg_disk *disk, struct pg_disk_request *r)
{
    if (r->ask == PG_ASK_ROUTED) {
        stage_routed(disk, r);
        return;
    }
    if (r->session->id == 0) {
        r->result = PG_STORE_FAILED; /* it could not be put */
        return;
    }
    struct pg_disk_step step = {
        .session = r->session->id, .number = r->number, .packet_id = r->packet_id};
    switch (r->ask) {
    case PG_ASK_ENQUEUE:
        r->result = stage_enqueue(disk, r);
        return;
    case PG_ASK_SETTLE:
        step.type = PG_DISK_SETTLE;
        break;
    case PG_ASK_SEND:
        step.type = PG_DISK_SEND;
        step.order = disk->next_order++;
        break;
    case PG_ASK_RECEIVED:
        step.type = PG_DISK_RECEIVED;
        break;
    case PG_ASK_RELEASE:
        step.type = PG_DISK_RELEASE;
        break;
    case PG_ASK_RECEIVE: {
        uint32_t expires;
        step.type = PG_DISK_RECEIVE;
        step.place = place_of(disk, r->msg, &expires);
        break;
    }
    default:
        return;
    }
    pg_disk_put_step(&disk->batch, &step);
}

/* Whether nobody minds if a crash forgets it. */
static bool can_wait(const struct pg_disk_request *r)
{
    return !r->done &&
           (r->ask == PG_ASK_SETTLE || r->ask == PG_ASK_ROUTED || r->ask == PG_ASK_SEND);
}

/* What is in the batch is written with the next one, or by pg_disk_write_deferred(). */
static void defer(struct pg_disk *disk)
{
    size_t before = owe(disk);
    pg_disk_put_raw(&disk->owed,
                    (struct pg_bytes){.data = disk->batch.data, .len = disk->batch.len});
    (void)owe_since(disk, before); /* what is lost for want of memory comes once more */
    if (disk->owed.len > 0 && disk->deferred_ms == 0)
        disk->deferred_ms = pg_now_ms() + DEFER_MS;
    pg_disk_begin_batch(disk);
}

int64_t pg_disk_deferred_until(const struct pg_disk *disk)
{
    if (disk->deferred_ms == 0)
        return PG_NEVER;
    return disk->owed.len > DEFER_BYTES ? 0 : disk->deferred_ms;
}

void pg_disk_write_deferred(struct pg_disk *disk)
{
    pg_disk_begin_batch(disk);
    flush(disk, NULL, NULL);
    disk->deferred_ms = 0; /* if that failed, they are owed as all others are */
}

static void commit_log(struct pg_disk *disk, struct pg_disk_request *list)
{
    bool wait = disk->options.fsync == PG_SEGLOG_ALWAYS;
    pg_disk_begin_batch(disk);
    struct pg_disk_request *from = list;
    for (struct pg_disk_request *r = list; r; r = r->next) {
        if (!is_for_log(r))
            continue;
        wait = wait && can_wait(r);
        if (disk->batch.len > BATCH_SOFT_MAX) {
            flush(disk, from, r);
            from = r;
        }
        stage(disk, r);
    }
    if (wait && from == list && !disk->batch.failed)
        defer(disk);
    else
        flush(disk, from, NULL);
}

/* ---- groups --------------------------------------------------------------------------------- */

static void carry_out(struct pg_disk *disk, struct pg_disk_request *list)
{
    bool wills = false, others = false, log = false, awaited = false;
    for (struct pg_disk_request *r = list; r; r = r->next) {
        bool will = r->ask == PG_ASK_WILL_PUT || r->ask == PG_ASK_WILL_DROP;
        wills |= will;
        others |= r->ask < PG_ASK_ENQUEUE && !will;
        log |= r->ask >= PG_ASK_ENQUEUE && r->ask < PG_ASK_FETCH;
        awaited |= r->done != NULL;
    }
    unsigned first = others ? PG_DISK_OTHER_CHANGES : 0;
    if (wills && !log)
        first |= PG_DISK_WILL_CHANGES;
    if (first != 0)
        pg_disk_commit_maps(disk, list, first);
    if (log)
        commit_log(disk, list);
    if (wills && log)
        pg_disk_commit_maps(disk, list, PG_DISK_WILL_CHANGES);
    if (awaited && disk->deferred_ms != 0)
        pg_disk_write_deferred(disk);
}

void pg_disk_commit(struct pg_disk *disk, struct pg_disk_request *list)
{
    int64_t began_ms = pg_now_ms();
    carry_out(disk, list);
    int64_t took_ms = pg_now_ms() - began_ms;
    if ((uint64_t)took_ms > disk->stats.slowest_ms)
        disk->stats.slowest_ms = (uint64_t)took_ms;
    if (took_ms < SLOW_MS)
        return;
    disk->stats.stalls++;
    PG_LOG(PG_WARN, "store_slow", PG_F_INT("ms", took_ms));
}

void pg_disk_answer(struct pg_disk *disk, struct pg_disk_request *list)
{
    while (list) {
        struct pg_disk_request *r = list;
        list = r->next;
        if (r->ask == PG_ASK_FETCH)
            pg_disk_fetch(disk, r);
        if (r->ask == PG_ASK_SESSION_DROP) {
            if (r->session->id != 0)
                pg_disk_session_remove(disk, r->session);
            pg_disk_session_free(&r->session);
        }
        if (r->done)
            r->done->fn(r->done, r->result);
        pg_disk_request_free(&r);
    }
}

/* What the log has not been told, or whether it takes anything. */
static void try_log(struct pg_disk *disk)
{
    if (disk->log_error == 0 && disk->owed.len == 0 && !(disk->failing & PG_DISK_LOG)) {
        int rc = pg_seglog_sync(disk->log);
        disk->log_broken |= rc != 0;
        disk->log_error = rc;
        pg_disk_health(disk, PG_DISK_LOG, rc, "the log");
        return;
    }
    pg_disk_begin_batch(disk);
    pg_disk_put_step(&disk->batch, &(struct pg_disk_step){.type = PG_DISK_NOTE});
    flush(disk, NULL, NULL);
}

void pg_disk_measure(struct pg_disk *disk)
{
    uint64_t bytes = pg_disk_map_bytes(disk);
    for (uint32_t i = 0; i < pg_seglog_segment_count(disk->log); i++)
        bytes += pg_seglog_segment_at(disk->log, i).bytes_file;
    disk->stats.disk_bytes = bytes;
}

void pg_disk_tick(struct pg_disk *disk)
{
    pg_disk_write_notes(disk);
    try_log(disk);
    if (disk->owed_count > 0 || ((disk->failing & PG_DISK_MAPS) && !disk->map_full))
        pg_disk_commit_maps(disk, NULL, 0);
    if (disk->env && !(disk->failing & PG_DISK_MAPS)) {
        int rc = pg_disk_map_sweep(disk);
        if (rc == 0 && disk->options.fsync == PG_SEGLOG_INTERVAL)
            rc = -mdb_env_sync(disk->env, 1);
        if (rc != 0)
            pg_disk_health(disk, PG_DISK_MAPS, rc, "the maps");
    }
    pg_disk_measure(disk);
    if (!disk->sweeping && (int64_t)pg_disk_now_s() - disk->swept_s >= SWEEP_EVERY_S) {
        disk->sweeping = true;
        disk->swept_s = pg_disk_now_s();
    }
}

bool pg_disk_maintain(struct pg_disk *disk)
{
    bool more = disk->sweeping && pg_disk_sweep(disk);
    disk->sweeping = more;
    return pg_disk_reclaim(disk) || more;
}

/* ---- start and end -------------------------------------------------------------------------- */

static char *joined(const char *dir, const char *name)
{
    char *path;
    return asprintf(&path, "%s%s", dir, name) < 0 ? NULL : path;
}

struct pg_disk *pg_disk_open(const struct pg_store_disk_options *options, struct pg_error *error)
{
    struct pg_disk *disk = calloc(1, sizeof(*disk));
    if (disk) {
        disk->options = *options;
        disk->dir = joined(options->dir, "");
        disk->log_dir = joined(options->dir, "/log");
        disk->recent = calloc(PG_DISK_RECENT, sizeof(*disk->recent));
        disk->recent_new = calloc(PG_DISK_RECENT, sizeof(*disk->recent_new));
        disk->next_order = 1;
    }
    if (!disk || !disk->dir || !disk->log_dir || !disk->recent || !disk->recent_new) {
        pg_error_set(error, "out of memory");
        pg_disk_close(&disk);
        return NULL;
    }
    if (mkdir(disk->dir, 0700) != 0 && errno != EEXIST) {
        pg_error_set(error, "%s: %s", disk->dir, strerror(errno));
        pg_disk_close(&disk);
    } else if (!pg_disk_map_open(disk, error)) {
        pg_disk_close(&disk);
    }
    return disk;
}

void pg_disk_close(struct pg_disk **where)
{
    struct pg_disk *disk = *where;
    *where = NULL;
    if (!disk)
        return;
    if (disk->log)
        (void)pg_seglog_close(&disk->log); /* everything answered was synced as the policy says */
    if (disk->env)
        mdb_env_close(disk->env);
    pg_disk_index_free(disk);
    for (uint32_t i = 0; i < PG_DISK_UNROUTED; i++) {
        while (disk->unrouted_msgs[i]) {
            struct pg_disk_unrouted *node = disk->unrouted_msgs[i];
            disk->unrouted_msgs[i] = node->next;
            free(node);
        }
    }
    pg_disk_owed_free(disk);
    pg_disk_copying_end(disk);
    free(disk->recent);
    free(disk->recent_new);
    free(disk->batch.data);
    free(disk->owed.data);
    free(disk->scratch.data);
    free(disk->dir);
    free(disk->log_dir);
    free(disk);
}
