/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store's engine: carries out groups of requests, on one thread.
 *
 * A group goes in four steps. The requests that belong to the maps are one transaction of LMDB. The
 * others become records of one batch (a very long group: several), appended to the log and synced.
 * The batch is then read back into the index. At last the answers run, in the order of the requests.
 * The maps are ahead of the log for a moment: a process that dies in between has a session without
 * the message that came just before, which nobody was told is kept.
 *
 * When the disk does not take a batch, nothing of it counts and its requests fail, but for what is
 * already a fact: that entries are settled and messages routed. These records are owed: the index
 * has them at once, and they go in front of the next batch. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_SOFT_MAX (8u * 1024 * 1024)

/* ---- requests ------------------------------------------------------------------------------------ */

struct pg_disk_request *pg_disk_request_new(enum pg_disk_ask ask, struct pg_bytes name,
                                            struct pg_bytes value)
{
    struct pg_disk_request *request = malloc(sizeof(*request) + name.len + value.len);
    if (!request)
        return NULL;
    *request = (struct pg_disk_request){
        .ask = ask,
        .name = {.data = request->data, .len = name.len},
        .value = {.data = request->data + name.len, .len = value.len},
    };
    if (name.len > 0)
        memcpy(request->data, name.data, name.len);
    if (value.len > 0)
        memcpy(request->data + name.len, value.data, value.len);
    return request;
}

void pg_disk_request_free(struct pg_disk_request **where)
{
    struct pg_disk_request *request = *where;
    *where = NULL;
    if (!request)
        return;
    pg_msg_unref(&request->msg);
    free(request);
}

/* ---- health -------------------------------------------------------------------------------------- */

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

/* ---- where messages are -------------------------------------------------------------------------- */

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

/* The place of the message, written into the batch unless it is known. */
static struct pg_disk_place place_of(struct pg_disk *disk, const struct pg_msg *msg,
                                     uint32_t *expires)
{
    struct pg_disk_unrouted *unrouted = *unrouted_find(disk, msg->id);
    if (unrouted) {
        *expires = unrouted->deadline;
        return unrouted->place;
    }
    uint32_t slot = mix(msg->id, PG_DISK_RECENT);
    struct pg_disk_recent *recent = &disk->recent[slot];
    bool in_batch = recent->msg_id != 0 && recent->place.segment == 0;
    if (recent->msg_id == msg->id && (in_batch || recent->place.segment >= disk->first_segment)) {
        *expires = recent->expires;
        return recent->place;
    }
    size_t start = disk->batch.len;
    *expires = deadline_of(disk, msg);
    pg_disk_put_u8(&disk->batch, PG_DISK_MESSAGE);
    pg_disk_put_u32(&disk->batch, 0);
    pg_disk_put_msg(&disk->batch, msg, pg_disk_msg_deadline(msg));
    struct pg_disk_place place = {.offset = (uint32_t)start,
                                  .size = (uint32_t)(disk->batch.len - start)};
    if (disk->batch.failed)
        return place;
    for (unsigned i = 0; i < 4; i++)
        disk->batch.data[start + 1 + i] = (uint8_t)(place.size >> (8 * i));
    disk->stats.message_bytes += place.size;
    if (!in_batch)
        disk->recent_new[disk->recent_new_count++] = slot;
    *recent = (struct pg_disk_recent){.msg_id = msg->id, .place = place, .expires = *expires};
    return place;
}

/* ---- the batch ----------------------------------------------------------------------------------- */

void pg_disk_begin_batch(struct pg_disk *disk)
{
    disk->group++;
    disk->group_entries = disk->group_bytes = 0;
    disk->batch.len = 0;
    disk->batch.failed = false;
    if (disk->owed.len > 0)
        pg_disk_put_raw(&disk->batch,
                        (struct pg_bytes){.data = disk->owed.data, .len = disk->owed.len});
    else
        pg_disk_put_u8(&disk->batch, PG_DISK_BATCH_VERSION);
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

static int open_again(struct pg_disk *disk)
{
    struct pg_error error;
    struct pg_seglog_options options = {.segment_bytes = disk->options.segment_bytes,
                                        .fsync = disk->options.fsync,
                                        .interval_ms = disk->options.interval_ms};
    if (disk->log)
        (void)pg_seglog_close(&disk->log); /* it was the failure that is being repaired */
    int rc = pg_seglog_open(disk->log_dir, &options, &disk->log, &error);
    disk->log_broken = rc != 0;
    return rc;
}

int pg_disk_append(struct pg_disk *disk)
{
    struct pg_log_position position = {0};
    struct iovec range = {.iov_base = disk->batch.data, .iov_len = disk->batch.len};
    int rc = disk->batch.failed ? -ENOMEM : 0;
    if (rc == 0 && disk->log_broken)
        rc = open_again(disk);
    if (rc == 0)
        rc = pg_seglog_append(disk->log, &range, 1, &position);
    if (rc == 0)
        rc = pg_seglog_sync(disk->log);
    if (rc == -ENOTRECOVERABLE || (rc != 0 && position.segment != 0))
        disk->log_broken = true;
    recents_placed(disk, position, rc == 0);
    pg_disk_health(disk, PG_DISK_LOG, rc, "the log");
    if (rc != 0)
        return rc;
    disk->stats.commits++;
    disk->stats.written_bytes += disk->batch.len;
    disk->owed.len = 0;
    if (!pg_disk_apply(disk, position,
                       (struct pg_bytes){.data = disk->batch.data, .len = disk->batch.len}) ||
        disk->no_memory) {
        disk->no_memory = false;
        pg_disk_health(disk, PG_DISK_LOG, -ENOMEM, "the index");
        return -ENOMEM;
    }
    return 0;
}

/* What is a fact although the batch was not kept. */
static void keep_owed(struct pg_disk *disk)
{
    if (disk->batch.failed)
        return; /* no memory: these records are lost, and what they settle comes once more */
    disk->owed.len = 0;
    pg_disk_put_u8(&disk->owed, PG_DISK_BATCH_VERSION);
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = disk->batch.data + 1, .len = disk->batch.len - 1});
    struct pg_disk_step step;
    while (pg_disk_get_step(&reader, disk->batch.data, &step)) {
        if (step.type == PG_DISK_SETTLE || step.type == PG_DISK_ROUTED)
            pg_disk_put_raw(&disk->owed, step.whole);
    }
    disk->owed.failed = false;
    struct pg_log_position nowhere = {0};
    (void)pg_disk_apply(disk, nowhere,
                        (struct pg_bytes){.data = disk->owed.data, .len = disk->owed.len});
}

/* Everything from `from` up to and without `to` is in the batch. */
static void flush(struct pg_disk *disk, struct pg_disk_request *from, struct pg_disk_request *to)
{
    if (disk->batch.len <= 1 && !disk->batch.failed)
        return;
    int rc = pg_disk_append(disk);
    if (rc != 0)
        keep_owed(disk);
    for (struct pg_disk_request *r = from; r != to; r = r->next) {
        if (r->ask < PG_ASK_ENQUEUE || r->ask == PG_ASK_FETCH || r->ask == PG_ASK_STOP)
            continue;
        if (rc != 0)
            r->result = PG_STORE_FAILED;
        struct pg_disk_receipt *receipt = r->ask == PG_ASK_RECEIVE && r->result == PG_OK
                                              ? pg_disk_receipt_find(r->session, r->packet_id)
                                              : NULL;
        if (receipt && !pg_disk_unrouted_add(disk, r->msg, r->session->id, receipt))
            r->result = PG_NO_MEMORY;
    }
    pg_disk_begin_batch(disk);
}

/* ---- requests of the log ------------------------------------------------------------------------- */

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
    while (over_quota(disk, r->session, size)) {
        if (disk->options.policy == PG_DISK_REJECT)
            return PG_QUEUE_FULL;
        if (disk->options.policy == PG_DISK_DROP_NEWEST || !drop_oldest(disk, r->session)) {
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
    struct pg_disk_step step = {
        .type = PG_DISK_ENTRY,
        .session = r->session->id,
        .number = r->number,
        .flags = r->flags,
        .share = r->name,
        .ids = r->value,
        .id_count = r->id_count,
    };
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

static void commit_log(struct pg_disk *disk, struct pg_disk_request *list)
{
    pg_disk_begin_batch(disk);
    struct pg_disk_request *from = list;
    for (struct pg_disk_request *r = list; r; r = r->next) {
        if (r->ask < PG_ASK_ENQUEUE || r->ask == PG_ASK_FETCH || r->ask == PG_ASK_STOP)
            continue;
        if (disk->batch.len > BATCH_SOFT_MAX) {
            flush(disk, from, r);
            from = r;
        }
        stage(disk, r);
    }
    flush(disk, from, NULL);
}

/* ---- requests of the maps ------------------------------------------------------------------------ */

static bool owe_drop(struct pg_disk *disk, uint32_t session)
{
    if (disk->owed_drop_count == disk->owed_drop_cap) {
        uint32_t cap = disk->owed_drop_cap * 2 + 16;
        uint32_t *drops = realloc(disk->owed_drops, cap * sizeof(*drops));
        if (!drops)
            return false;
        disk->owed_drops = drops;
        disk->owed_drop_cap = cap;
    }
    disk->owed_drops[disk->owed_drop_count++] = session;
    return true;
}

static uint32_t id_in_group(const struct pg_disk_request *list, const struct pg_disk_request *r)
{
    if (r->session->id != 0)
        return r->session->id;
    for (; list != r; list = list->next) {
        if (list->session == r->session && list->new_id != 0)
            return list->new_id;
    }
    return 0;
}

static int put_session(struct pg_disk *disk, MDB_txn *txn, struct pg_disk_request *list,
                       struct pg_disk_request *r, uint32_t *next)
{
    uint32_t id = id_in_group(list, r);
    if (id == 0)
        id = r->new_id = (*next)++;
    struct pg_disk_buffer value = {0};
    pg_disk_put_u32(&value, r->expiry_s);
    pg_disk_put_u32(&value, r->detached_wall_s);
    int rc = value.failed
                 ? -ENOMEM
                 : pg_disk_map_put(disk, txn, PG_DISK_SESSIONS, id, r->name,
                                   (struct pg_bytes){.data = value.data, .len = value.len});
    free(value.data);
    return rc;
}

static int map_request(struct pg_disk *disk, MDB_txn *txn, struct pg_disk_request *list,
                       struct pg_disk_request *r, uint32_t *next)
{
    uint32_t id;
    switch (r->ask) {
    case PG_ASK_SESSION_PUT:
        return put_session(disk, txn, list, r, next);
    case PG_ASK_SESSION_DROP:
        id = id_in_group(list, r);
        return id == 0 ? 0 : pg_disk_map_drop_session(disk, txn, id);
    case PG_ASK_SUB_PUT:
    case PG_ASK_SUB_DROP:
        id = id_in_group(list, r);
        return id == 0 ? -ENOENT : pg_disk_map_put(disk, txn, PG_DISK_SUBS, id, r->name, r->value);
    case PG_ASK_RETAIN: {
        if (r->msg->payload.len == 0)
            return pg_disk_map_put(disk, txn, PG_DISK_RETAINED, 0, r->msg->topic, PG_BYTES_NONE);
        struct pg_disk_buffer value = {0};
        pg_disk_put_msg(&value, r->msg, pg_disk_msg_deadline(r->msg));
        int rc = value.failed
                     ? -ENOMEM
                     : pg_disk_map_put(disk, txn, PG_DISK_RETAINED, 0, r->msg->topic,
                                       (struct pg_bytes){.data = value.data, .len = value.len});
        free(value.data);
        return rc;
    }
    case PG_ASK_WILL_PUT:
    case PG_ASK_WILL_DROP:
        return pg_disk_map_put(disk, txn, PG_DISK_WILLS, 0, r->name, r->value);
    case PG_ASK_FACT_PUT:
        return pg_disk_map_put(disk, txn, PG_DISK_FACTS, 0, r->name, r->value);
    default:
        return 0;
    }
}

static int map_transaction(struct pg_disk *disk, struct pg_disk_request *list, uint32_t *next)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(disk->env, NULL, 0, &txn);
    if (rc != 0)
        return rc > 0 ? -rc : rc;
    for (uint32_t i = 0; rc == 0 && i < disk->owed_drop_count; i++)
        rc = pg_disk_map_drop_session(disk, txn, disk->owed_drops[i]);
    for (struct pg_disk_request *r = list; rc == 0 && r; r = r->next)
        rc = map_request(disk, txn, list, r, next);
    if (rc == 0 && *next != disk->next_session)
        rc = pg_disk_map_put_next_session(disk, txn, *next);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc > 0 ? -rc : rc;
}

static void commit_maps(struct pg_disk *disk, struct pg_disk_request *list)
{
    uint32_t next = disk->next_session;
    int rc = map_transaction(disk, list, &next);
    if (rc == 0) {
        disk->next_session = next;
        disk->owed_drop_count = 0;
    }
    pg_disk_health(disk, PG_DISK_MAPS, rc, "the maps");
    for (struct pg_disk_request *r = list; r; r = r->next) {
        if (r->ask >= PG_ASK_ENQUEUE)
            continue;
        if (rc != 0) {
            r->result = PG_STORE_FAILED;
            if (r->ask == PG_ASK_SESSION_DROP && r->session->id != 0 &&
                !owe_drop(disk, r->session->id))
                PG_LOG(PG_ERROR, "store_session_stays", PG_F_REASON(PG_NO_MEMORY));
        } else if (r->new_id != 0) {
            r->session->id = r->new_id;
            if (!pg_disk_session_add(disk, r->session)) {
                r->session->id = 0;
                r->result = PG_NO_MEMORY;
            }
        }
    }
}

/* ---- fetch --------------------------------------------------------------------------------------- */

struct pg_msg *pg_disk_read_msg(struct pg_disk *disk, struct pg_disk_place place)
{
    disk->scratch.len = 0;
    if (disk->scratch.cap < place.size) {
        uint8_t *data = realloc(disk->scratch.data, place.size);
        if (!data)
            return NULL;
        disk->scratch.data = data;
        disk->scratch.cap = place.size;
    }
    struct pg_log_position position = {.segment = place.segment, .offset = place.offset};
    if (disk->log_broken && !disk->log)
        return NULL;
    int rc = pg_seglog_read(disk->log, position, disk->scratch.data, place.size);
    if (rc != 0) {
        pg_disk_health(disk, PG_DISK_LOG, rc, "reading the log");
        return NULL;
    }
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = disk->scratch.data, .len = place.size});
    if (pg_disk_get_u8(&reader) == PG_DISK_MESSAGE && pg_disk_get_u32(&reader) == place.size)
        return pg_disk_get_msg(&reader);
    return NULL;
}

struct pg_disk_chosen {
    uint32_t count;
    size_t text;
    uint32_t end;
};

static struct pg_disk_chosen choose(struct pg_store_session *session,
                                    const struct pg_disk_request *r, uint32_t from, uint32_t now)
{
    struct pg_disk_chosen chosen = {.end = from};
    size_t bytes = 0;
    for (; chosen.end < session->tail; chosen.end++) {
        const struct pg_disk_entry *entry = &session->entries[chosen.end];
        if ((entry->flags & PG_DISK_DEAD) || entry->expires <= now)
            continue;
        if (chosen.count == r->count || (bytes >= r->bytes && chosen.count > 0))
            break;
        if (entry->via > 0) {
            const struct pg_disk_via *via = &session->vias[entry->via - 1];
            chosen.text += via->id_count * 4u + via->share_len + 4u;
        }
        bytes += entry->size;
        chosen.count++;
    }
    return chosen;
}

/* Room for `text` is behind the entries; identifiers are kept aligned. */
static uint8_t *fill_entry(struct pg_store_entry *out, struct pg_store_session *session,
                           const struct pg_disk_entry *entry, uint8_t *text)
{
    *out = (struct pg_store_entry){
        .number = pg_disk_full_number(session, entry->number),
        .qos = entry->flags & PG_DISK_QOS,
        .retain = (entry->flags & PG_DISK_RETAIN) != 0,
        .direct = (entry->flags & PG_DISK_DIRECT) != 0,
    };
    if (entry->via == 0)
        return text;
    const struct pg_disk_via *via = &session->vias[entry->via - 1];
    uint32_t *ids = (uint32_t *)(void *)text;
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = via->data, .len = via->id_count * 4u});
    for (uint16_t i = 0; i < via->id_count; i++)
        ids[i] = pg_disk_get_u32(&reader);
    out->ids = ids;
    out->id_count = via->id_count;
    text += via->id_count * 4u;
    if (via->share_len > 0)
        memcpy(text, via->data + via->id_count * 4u, via->share_len);
    out->share = (struct pg_bytes){.data = text, .len = via->share_len};
    return text + (via->share_len + 3u) / 4u * 4u;
}

static void fetch(struct pg_disk *disk, struct pg_disk_request *r)
{
    struct pg_store_session *session = r->session;
    uint32_t now = pg_disk_now_s(), from = pg_disk_lower_bound(session, r->number);
    struct pg_disk_chosen chosen = choose(session, r, from, now);
    struct pg_store_page *page =
        malloc(sizeof(*page) + chosen.count * sizeof(struct pg_store_entry) + chosen.text);
    if (!page) {
        r->fetch->fn(r->fetch, NULL, PG_NO_MEMORY);
        return;
    }
    *page = (struct pg_store_page){
        .entries = (struct pg_store_entry *)(page + 1),
        .at_end = chosen.end == session->tail,
        .next = chosen.end == session->tail
                    ? session->next_number
                    : pg_disk_full_number(session, session->entries[chosen.end].number),
    };
    if (page->next < r->number)
        page->next = r->number;
    uint8_t *text = (uint8_t *)(page->entries + chosen.count);
    for (uint32_t i = from; i < chosen.end; i++) {
        const struct pg_disk_entry *entry = &session->entries[i];
        if ((entry->flags & PG_DISK_DEAD) || entry->expires <= now)
            continue;
        struct pg_store_entry *out = &page->entries[page->count];
        text = fill_entry(out, session, entry, text);
        struct pg_disk_place place = {entry->segment, entry->offset, entry->size};
        out->msg = pg_disk_read_msg(disk, place);
        if (!out->msg) {
            pg_store_page_free(&page);
            r->fetch->fn(r->fetch, NULL, PG_STORE_FAILED);
            return;
        }
        page->count++;
    }
    r->fetch->fn(r->fetch, page, PG_OK);
}

/* ---- groups -------------------------------------------------------------------------------------- */

void pg_disk_commit(struct pg_disk *disk, struct pg_disk_request *list)
{
    bool maps = false, log = false;
    for (struct pg_disk_request *r = list; r; r = r->next) {
        maps |= r->ask < PG_ASK_ENQUEUE;
        log |= r->ask >= PG_ASK_ENQUEUE && r->ask < PG_ASK_FETCH;
    }
    if (maps)
        commit_maps(disk, list);
    if (log)
        commit_log(disk, list);
    while (list) {
        struct pg_disk_request *r = list;
        list = r->next;
        if (r->ask == PG_ASK_FETCH)
            fetch(disk, r);
        if (r->ask == PG_ASK_SESSION_DROP) {
            if (r->session->id != 0)
                pg_disk_session_remove(disk, r->session);
            pg_disk_session_free(&r->session);
        }
        if (r->done)
            r->done->fn(r->done, r->result);
        pg_disk_request_free(&r);
    }
    pg_disk_reclaim(disk);
}

void pg_disk_tick(struct pg_disk *disk)
{
    pg_disk_sweep(disk);
    pg_disk_begin_batch(disk);
    if (disk->stats.health != PG_OK || disk->owed.len > 0) {
        pg_disk_put_step(&disk->batch, &(struct pg_disk_step){.type = PG_DISK_NOTE});
        flush(disk, NULL, NULL);
    } else {
        pg_disk_health(disk, PG_DISK_LOG, pg_seglog_sync(disk->log), "the log");
    }
    if (disk->owed_drop_count > 0 || (disk->failing & PG_DISK_MAPS))
        commit_maps(disk, NULL);
    pg_disk_reclaim(disk);
}

/* ---- start and end ------------------------------------------------------------------------------- */

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
    free(disk->owed_drops);
    free(disk->recent);
    free(disk->recent_new);
    free(disk->batch.data);
    free(disk->owed.data);
    free(disk->scratch.data);
    free(disk->dir);
    free(disk->log_dir);
    free(disk);
}
