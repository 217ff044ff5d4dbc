/* SPDX-License-Identifier: Apache-2.0 */

/* What the embedded store gives back at start: sessions out of the maps, then every batch of the
 * log in its order into the index, then the callbacks: sessions, retained messages, wills, facts,
 * and messages that were received and perhaps not routed. Main thread. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_session(void *arg, uint32_t id, struct pg_bytes name, struct pg_bytes value)
{
    struct pg_disk *disk = arg;
    struct pg_disk_reader reader = pg_disk_reader(value);
    struct pg_store_session *session = pg_disk_session_new(name);
    if (!session)
        return -ENOMEM;
    session->id = id;
    session->expiry_s = pg_disk_get_u32(&reader);
    session->detached_wall_s = pg_disk_get_u32(&reader);
    if (!pg_disk_session_add(disk, session)) {
        pg_disk_session_free(&session);
        return -ENOMEM;
    }
    return reader.failed ? MDB_CORRUPTED : 0;
}

static int apply_batch(void *context, struct pg_log_position position, uint64_t sequence,
                       struct pg_bytes body)
{
    (void)sequence;
    struct pg_disk *disk = context;
    disk->stats.commits++; /* for read_log(); from zero afterwards */
    if (disk->first_segment == 0)
        disk->first_segment = position.segment;
    (void)pg_disk_segment(disk, position.segment);
    if (!pg_disk_apply(disk, position, body))
        return -EBADMSG;
    return disk->no_memory ? -ENOMEM : 0;
}

static void log_note(void *context, const char *file, uint64_t bytes, const char *text)
{
    (void)context;
    PG_LOG(PG_WARN, "store_note", PG_F_TEXT("file", file), PG_F_INT("bytes", bytes),
           PG_F_TEXT("detail", text));
}

/* Sessions and queues belong together: a log of another store would be read as queues of sessions
 * that happen to have the same numbers, and one that is missing as queues that are empty. */
static bool check_pair(struct pg_disk *disk, struct pg_error *error)
{
    uint32_t salt = pg_seglog_salt(disk->log);
    uint64_t batches = disk->stats.commits;
    disk->stats.commits = 0;
    if (disk->fresh && batches > 0) {
        pg_error_set(error,
                     "%s: there is a log, but no data.mdb, without which nobody knows whose queues "
                     "are in it; put it back, or move the log away",
                     disk->dir);
        return false;
    }
    if (disk->bound_to != 0 && disk->bound_to != salt) {
        pg_error_set(error,
                     "%s: the log is not the one that belongs to data.mdb; put back the one that "
                     "does, or `polygatectl store repair %s` gives up the queues",
                     disk->dir, disk->dir);
        return false;
    }
    int rc = disk->bound_to == salt ? 0 : pg_disk_map_bind(disk, salt);
    if (rc != 0)
        pg_error_set(error, "%s/data.mdb: %s", disk->dir,
                     rc < -1000 ? mdb_strerror(rc) : strerror(-rc));
    return rc == 0;
}

static bool read_log(struct pg_disk *disk, struct pg_error *error)
{
    struct pg_seglog_options options = {
        .segment_bytes = disk->options.segment_bytes,
        .fsync = disk->options.fsync,
        .interval_ms = disk->options.interval_ms,
        .batch = apply_batch,
        .note = log_note,
        .context = disk,
    };
    disk->replaying = true;
    int rc = pg_seglog_open(disk->log_dir, &options, &disk->log, error);
    if (rc == -EBADMSG)
        pg_error_set(error,
                     "%s: a batch of a format that this program does not know; start the newer "
                     "version of the program that wrote it",
                     disk->log_dir);
    if (rc == 0)
        pg_disk_settle_down(disk);
    return rc == 0 && check_pair(disk, error);
}

/* ---- the callbacks -------------------------------------------------------------------------- */

struct subs {
    struct pg_subscription *items;
    size_t count, cap;
    struct pg_disk_buffer text; /* the filters, behind each other */
};

static int add_sub(void *arg, uint32_t session, struct pg_bytes name, struct pg_bytes value)
{
    (void)session;
    struct subs *subs = arg;
    if (subs->count == subs->cap) {
        size_t cap = subs->cap * 2 + 8;
        struct pg_subscription *items = realloc(subs->items, cap * sizeof(*items));
        if (!items)
            return -ENOMEM;
        subs->items = items;
        subs->cap = cap;
    }
    struct pg_disk_reader reader = pg_disk_reader(value);
    uint8_t qos = pg_disk_get_u8(&reader), handling = pg_disk_get_u8(&reader);
    uint8_t flags = pg_disk_get_u8(&reader);
    subs->items[subs->count++] = (struct pg_subscription){
        .filter.len = name.len,
        .qos = qos,
        .retain_handling = handling,
        .no_local = (flags & 1) != 0,
        .retain_as_published = (flags & 2) != 0,
        .internal = (flags & 4) != 0,
        .id = pg_disk_get_u32(&reader),
    };
    pg_disk_put_raw(&subs->text, name);
    return reader.failed ? MDB_CORRUPTED : subs->text.failed ? -ENOMEM : 0;
}

static int compare_outs(const void *a, const void *b)
{
    const struct pg_disk_out *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
}

static bool give_session(struct pg_disk *disk, struct pg_store_session *session,
                         struct pg_store_restorer *restorer, struct subs *subs)
{
    subs->count = 0;
    subs->text.len = 0;
    if (pg_disk_map_each(disk, PG_DISK_SUBS, session->id, add_sub, subs) != 0)
        return false;
    const uint8_t *text = subs->text.data;
    for (size_t i = 0; i < subs->count; i++) {
        subs->items[i].filter.data = text;
        text += subs->items[i].filter.len;
    }
    if (session->out_count > 1)
        qsort(session->outs, session->out_count, sizeof(*session->outs), compare_outs);
    struct pg_store_out *outs = malloc((session->out_count + 1) * sizeof(*outs));
    uint16_t *receipts = malloc((session->receipt_count + 1) * sizeof(*receipts));
    bool ok = outs && receipts;
    for (uint32_t i = 0; ok && i < session->out_count; i++)
        outs[i] = (struct pg_store_out){.number = session->outs[i].number,
                                        .packet_id = session->outs[i].packet_id,
                                        .received = session->outs[i].received};
    for (uint32_t i = 0; ok && i < session->receipt_count; i++)
        receipts[i] = session->receipts[i].packet_id;
    struct pg_restored_session out = {
        .record = {.client_id = {.data = session->client_id, .len = session->client_id_len},
                   .expiry_s = session->expiry_s,
                   .detached_wall_s = session->detached_wall_s},
        .handle = session,
        .subs = subs->items,
        .sub_count = subs->count,
        .outs = outs,
        .out_count = session->out_count,
        .receipts = receipts,
        .receipt_count = session->receipt_count,
        .first_number = session->live > 0
                            ? pg_disk_full_number(session, session->entries[session->head].number)
                            : session->next_number,
        .next_number = session->next_number,
    };
    ok = ok && (!restorer->session || restorer->session(restorer, &out));
    free(outs);
    free(receipts);
    return ok;
}

struct giving {
    struct pg_disk *disk;
    struct pg_store_restorer *restorer;
};

static int give_retained(void *arg, uint32_t session, struct pg_bytes name, struct pg_bytes value)
{
    (void)session, (void)name;
    struct giving *giving = arg;
    struct pg_disk_reader reader = pg_disk_reader(value);
    struct pg_msg *msg = pg_disk_get_msg(&reader);
    if (!msg)
        return reader.failed ? MDB_CORRUPTED : -ENOMEM;
    bool ok = pg_msg_expired(msg) || !giving->restorer->retained ||
              giving->restorer->retained(giving->restorer, msg);
    giving->disk->stats.retained++;
    pg_msg_unref(&msg);
    return ok ? 0 : -ENOMEM;
}

static int give_will(void *arg, uint32_t session, struct pg_bytes name, struct pg_bytes value)
{
    (void)session;
    struct giving *giving = arg;
    struct pg_disk_reader reader = pg_disk_reader(value);
    struct pg_will_record will = {.client_id = name, .expiry_s = pg_disk_get_u32(&reader)};
    will.delay_s = pg_disk_get_u32(&reader);
    will.due_wall_s = pg_disk_get_u32(&reader);
    will.expires = pg_disk_get_u8(&reader) != 0;
    will.username = pg_disk_get_bytes(&reader);
    will.msg = pg_disk_get_msg(&reader);
    if (!will.msg)
        return reader.failed ? MDB_CORRUPTED : -ENOMEM;
    bool ok = !giving->restorer->will || giving->restorer->will(giving->restorer, &will);
    pg_msg_unref(&will.msg);
    return ok ? 0 : -ENOMEM;
}

/* A fact's name is the length of its space, u32, the space, and the key. */
static int give_fact(void *arg, uint32_t session, struct pg_bytes name, struct pg_bytes value)
{
    (void)session;
    struct giving *giving = arg;
    struct pg_disk_reader names = pg_disk_reader(name), reader = pg_disk_reader(value);
    struct pg_bytes space = pg_disk_get_bytes(&names);
    struct pg_bytes key = {.data = names.at, .len = (size_t)(names.end - names.at)};
    uint32_t expires = pg_disk_get_u32(&reader);
    struct pg_bytes rest = {.data = reader.at, .len = (size_t)(reader.end - reader.at)};
    if (names.failed || reader.failed)
        return MDB_CORRUPTED;
    if (expires != 0 && expires <= pg_disk_now_s())
        return 0;
    bool ok = !giving->restorer->fact ||
              giving->restorer->fact(giving->restorer, space, key, rest, expires);
    return ok ? 0 : -ENOMEM;
}

static bool same_place(struct pg_disk_place a, struct pg_disk_place b)
{
    return a.segment == b.segment && a.offset == b.offset;
}

static bool give_unrouted(struct pg_disk *disk, struct pg_store_session *session,
                          struct pg_disk_receipt *receipt, struct pg_store_restorer *restorer)
{
    int error;
    struct pg_msg *msg = pg_disk_read_msg(disk, receipt->place, &error);
    if (!msg && error != -ENOMEM) {
        struct pg_bytes client = {.data = session->client_id, .len = session->client_id_len};
        disk->stats.unreadable++;
        PG_LOG(PG_ERROR, "store_unreadable", PG_F_BYTES("client", client),
               PG_F_INT("packet_id", receipt->packet_id), PG_F_INT("segment", receipt->segment),
               PG_F_TEXT("detail", strerror(-error)));
        return true; /* the rest of the store is worth a start */
    }
    struct pg_bytes *ids = calloc(disk->got_count + 1, sizeof(*ids));
    struct pg_bytes *shares = calloc(disk->got_count + 1, sizeof(*shares));
    size_t count = 0, share_count = 0;
    bool ok = msg && ids && shares;
    for (size_t i = 0; ok && i < disk->got_count; i++) {
        const struct pg_disk_got *got = &disk->got[i];
        const struct pg_store_session *who = pg_disk_session_find(disk, got->session);
        if (!same_place(got->place, receipt->place) || !who)
            continue;
        if (got->share_len > 0)
            shares[share_count++] = (struct pg_bytes){.data = disk->got_text.data + got->share_at,
                                                      .len = got->share_len};
        else
            ids[count++] = (struct pg_bytes){.data = who->client_id, .len = who->client_id_len};
    }
    ok =
        ok && pg_disk_unrouted_add(disk, msg, session->id, receipt) &&
        (!restorer->unrouted || restorer->unrouted(restorer, msg, ids, count, shares, share_count));
    free(ids);
    free(shares);
    pg_msg_unref(&msg);
    return ok;
}

/* In the order in which they were received. */
static int compare_receipts(const void *a, const void *b)
{
    const struct pg_disk_receipt *x = a, *y = b;
    if (x->place.segment != y->place.segment)
        return x->place.segment < y->place.segment ? -1 : 1;
    return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

static bool give_all(struct pg_disk *disk, struct pg_store_restorer *restorer)
{
    struct subs subs = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; ok && s; s = s->next)
            ok = give_session(disk, s, restorer, &subs);
    }
    free(subs.items);
    free(subs.text.data);
    struct giving giving = {.disk = disk, .restorer = restorer};
    ok = ok && pg_disk_map_each(disk, PG_DISK_RETAINED, 0, give_retained, &giving) == 0 &&
         pg_disk_map_each(disk, PG_DISK_WILLS, 0, give_will, &giving) == 0 &&
         pg_disk_map_each(disk, PG_DISK_FACTS, 0, give_fact, &giving) == 0;
    for (uint32_t i = 0; ok && i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; ok && s; s = s->next) {
            if (s->receipt_count > 1)
                qsort(s->receipts, s->receipt_count, sizeof(*s->receipts), compare_receipts);
            for (uint32_t k = 0; ok && k < s->receipt_count; k++)
                ok = s->receipts[k].routed || give_unrouted(disk, s, &s->receipts[k], restorer);
        }
    }
    return ok;
}

bool pg_disk_restore(struct pg_disk *disk, struct pg_store_restorer *restorer,
                     struct pg_error *error)
{
    int rc = pg_disk_map_each(disk, PG_DISK_SESSIONS, 0, add_session, disk);
    if (rc != 0) {
        pg_error_set(error, "%s/data.mdb: %s", disk->dir,
                     rc < -1000 ? mdb_strerror(rc) : strerror(-rc));
        return false;
    }
    if (!read_log(disk, error))
        return false;
    if (!give_all(disk, restorer)) {
        pg_error_set(error, "%s: cannot be restored: out of memory, or a damaged record",
                     disk->dir);
        return false;
    }
    free(disk->got);
    disk->got = NULL;
    disk->got_count = disk->got_cap = 0;
    pg_disk_measure(disk);
    return true;
}
