/* SPDX-License-Identifier: Apache-2.0 */

/* All of an embedded store, out of it and into a new one (store_disk_copy.h).
 *
 * The way out: what restoring gives back, then the messages. Entries know where their message is,
 * so that all of them, sorted by that, give each message with its entries. The way in: requests of
 * the maps in groups, then records of the log in batches, read back into the index as a recovery
 * reads them, because entries of a session may come in any order. */

#include "store_disk_copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "store_disk_parts.h"

#define GROUP_REQUESTS 4096u
#define BATCH_BYTES    ((size_t)1024 * 1024)
/* Addresses, not memory, of the maps of an imported store: the gateway's own limit is not known
 * here, and this is room for more than one machine serves, in what sanitizers leave of the address
 * space. */
#define IMPORT_MAP_BYTES ((size_t)64 << 30)

static const struct pg_store_disk_options defaults = {.fsync = PG_SEGLOG_ALWAYS,
                                                      .retention_s = PG_DISK_NEVER};

static bool fail(struct pg_error *error, const char *dir, int rc)
{
    pg_error_set(error, "%s: %s", dir, rc < -1000 ? mdb_strerror(rc) : strerror(-rc));
    return false;
}

/* ---- out ------------------------------------------------------------------------------------ */

/* An entry, or with `receipt` the receipt of an unrouted message. */
struct reference {
    uint32_t segment, offset, size;
    uint32_t index; /* of the entry or receipt in its session, which does not change here */
    struct pg_store_session *session;
    bool receipt;
};

static int compare_references(const void *a, const void *b)
{
    const struct reference *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static size_t collect_session(struct pg_store_session *session, struct reference *to)
{
    size_t count = 0;
    uint32_t now = pg_disk_now_s();
    for (uint32_t i = session->head; i < session->tail; i++) {
        const struct pg_disk_entry *e = &session->entries[i];
        if (!(e->flags & PG_DISK_DEAD) && e->expires > now)
            to[count++] = (struct reference){e->segment, e->offset, e->size, i, session, false};
    }
    for (uint32_t i = 0; i < session->receipt_count; i++) {
        const struct pg_disk_receipt *r = &session->receipts[i];
        if (!r->routed)
            to[count++] = (struct reference){
                r->place.segment, r->place.offset, r->place.size, i, session, true};
    }
    return count;
}

static struct reference *collect(struct pg_disk *disk, size_t *count)
{
    struct reference *list = calloc((size_t)disk->stats.queued + disk->unrouted + 1, sizeof(*list));
    *count = 0;
    for (uint32_t i = 0; list && i < disk->bucket_count; i++) {
        for (struct pg_store_session *s = disk->buckets[i]; s; s = s->next)
            *count += collect_session(s, list + *count);
    }
    if (list)
        qsort(list, *count, sizeof(*list), compare_references);
    return list;
}

static struct pg_bytes client_of(const struct pg_store_session *session)
{
    return (struct pg_bytes){.data = session->client_id, .len = session->client_id_len};
}

/* `ids` has room for all of the entry's identifiers. */
static void describe_entry(const struct reference *from, uint32_t *ids, struct pg_store_queued *to)
{
    struct pg_store_session *session = from->session;
    const struct pg_disk_entry *entry = &session->entries[from->index];
    *to = (struct pg_store_queued){
        .client_id = client_of(session),
        .entry = {.number = pg_disk_full_number(session, entry->number),
                  .qos = entry->flags & PG_DISK_QOS,
                  .retain = (entry->flags & PG_DISK_RETAIN) != 0,
                  .direct = (entry->flags & PG_DISK_DIRECT) != 0},
        .expires_wall_s = entry->expires,
    };
    const struct pg_disk_out *out = pg_disk_out_find(session, to->entry.number);
    if (out) {
        to->sent = true;
        to->received = out->received;
        to->packet_id = out->packet_id;
        to->order = out->order;
    }
    if (entry->via == 0)
        return;
    const struct pg_disk_via *via = &session->vias[entry->via - 1];
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = via->data, .len = via->id_count * 4u});
    for (uint16_t i = 0; i < via->id_count; i++)
        ids[i] = pg_disk_get_u32(&reader);
    to->entry.ids = ids;
    to->entry.id_count = via->id_count;
    to->entry.share =
        (struct pg_bytes){.data = via->data + via->id_count * 4u, .len = via->share_len};
}

static uint32_t ids_of(const struct reference *from)
{
    const struct pg_disk_entry *entry = &from->session->entries[from->index];
    return from->receipt || entry->via == 0 ? 0 : from->session->vias[entry->via - 1].id_count;
}

/* References to one message. */
static bool export_message(struct pg_disk *disk, struct pg_store_exporter *exporter,
                           const struct reference *list, size_t count, struct pg_error *error)
{
    int rc;
    size_t id_count = 1;
    for (size_t i = 0; i < count; i++)
        id_count += ids_of(&list[i]);
    struct pg_disk_place place = {list[0].segment, list[0].offset, list[0].size};
    struct pg_store_queued *entries = calloc(count, sizeof(*entries));
    uint32_t *ids = calloc(id_count, sizeof(*ids)), *next = ids;
    struct pg_store_message message = {.msg = pg_disk_read_msg(disk, place, &rc),
                                       .entries = entries};
    bool ok = entries && ids && message.msg;
    for (size_t i = 0; ok && i < count; i++) {
        if (list[i].receipt) {
            message.receiver = client_of(list[i].session);
            message.packet_id = list[i].session->receipts[list[i].index].packet_id;
            continue;
        }
        describe_entry(&list[i], next, &entries[message.count++]);
        next += ids_of(&list[i]);
    }
    if (!ok)
        fail(error, disk->dir, message.msg ? -ENOMEM : rc);
    else
        ok = exporter->message(exporter, &message);
    pg_msg_unref(&message.msg);
    free(entries);
    free(ids);
    return ok;
}

static bool export_messages(struct pg_disk *disk, struct pg_store_exporter *exporter,
                            struct pg_error *error)
{
    size_t count;
    struct reference *list = collect(disk, &count);
    if (!list)
        return fail(error, disk->dir, -ENOMEM);
    bool ok = true;
    for (size_t i = 0, end; ok && i < count; i = end) {
        for (end = i + 1; end < count && compare_references(&list[i], &list[end]) == 0; end++)
            ;
        ok = export_message(disk, exporter, list + i, end - i, error);
    }
    free(list);
    return ok;
}

static bool exists(const char *dir, const char *name)
{
    char path[4096];
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return len > 0 && (size_t)len < sizeof(path) && access(path, F_OK) == 0;
}

bool pg_store_disk_export(const char *dir, struct pg_store_exporter *exporter,
                          struct pg_store_stats *stats, struct pg_error *error)
{
    struct pg_store_disk_options options = defaults;
    options.dir = dir;
    if (!exists(dir, "data.mdb")) {
        pg_error_set(error, "%s: there is no store", dir);
        return false;
    }
    struct pg_disk *disk = pg_disk_open(&options, error);
    if (!disk)
        return false;
    bool ok = pg_disk_restore(disk, &exporter->base, error);
    if (ok && stats)
        *stats = disk->stats;
    ok = ok && (!exporter->message || export_messages(disk, exporter, error));
    pg_disk_close(&disk);
    return ok;
}

/* ---- in ------------------------------------------------------------------------------------- */

struct pg_store_import {
    struct pg_disk *disk;
    char *dir;
    struct pg_disk_request *list, **list_end; /* of the maps, to be committed */
    unsigned list_count;
    enum pg_reason result; /* of the last group: the first that failed */
    struct pg_store_done done;
    struct pg_store_session **sessions; /* by their identifiers: a hash */
    uint32_t session_count, session_cap;
    bool messages; /* have begun */
};

static struct pg_store_import *of_done(struct pg_store_done *done)
{
    return (struct pg_store_import *)((uint8_t *)done - offsetof(struct pg_store_import, done));
}

static void on_done(struct pg_store_done *done, enum pg_reason result)
{
    struct pg_store_import *import = of_done(done);
    if (import->result == PG_OK)
        import->result = result;
}

static bool nothing_restored(struct pg_store_restorer *restorer,
                             const struct pg_restored_session *session)
{
    (void)restorer, (void)session;
    return false;
}

struct pg_store_import *pg_store_disk_import(const char *dir, bool *began, struct pg_error *error)
{
    *began = false;
    struct pg_store_disk_options options = defaults;
    struct pg_store_restorer none = {.session = nothing_restored};
    if (exists(dir, "data.mdb") || exists(dir, "log")) {
        pg_error_set(error, "%s: there is a store already", dir);
        return NULL;
    }
    struct pg_store_import *import = calloc(1, sizeof(*import));
    options.dir = dir;
    options.map_bytes = IMPORT_MAP_BYTES;
    if (!import || !(import->dir = strdup(dir))) {
        free(import);
        fail(error, dir, -ENOMEM);
        return NULL;
    }
    import->list_end = &import->list;
    import->done.fn = on_done;
    *began = true;
    import->disk = pg_disk_open(&options, error);
    if (!import->disk || !pg_disk_restore(import->disk, &none, error)) {
        pg_disk_close(&import->disk);
        free(import->dir);
        free(import);
        return NULL;
    }
    return import;
}

static bool commit_list(struct pg_store_import *import, struct pg_error *error)
{
    struct pg_disk_request *list = import->list;
    import->list = NULL;
    import->list_end = &import->list;
    import->list_count = 0;
    import->result = PG_OK;
    if (list) {
        pg_disk_commit(import->disk, list);
        pg_disk_answer(import->disk, list);
    }
    if (import->result == PG_OK)
        return true;
    pg_error_set(error, "%s: %s", import->dir,
                 import->disk->stats.health != PG_OK ? import->disk->stats.detail
                                                     : pg_reason_sentence(import->result));
    return false;
}

static bool ask(struct pg_store_import *import, struct pg_disk_request *request,
                struct pg_error *error)
{
    if (!request)
        return fail(error, import->dir, -ENOMEM);
    request->done = &import->done;
    *import->list_end = request;
    import->list_end = &request->next;
    return ++import->list_count < GROUP_REQUESTS || commit_list(import, error);
}

static struct pg_store_session **session_slot(struct pg_store_session **table, uint32_t cap,
                                              struct pg_bytes client_id)
{
    uint32_t i = (uint32_t)pg_hash(client_id) & (cap - 1);
    while (table[i] && !pg_bytes_equal(client_of(table[i]), client_id))
        i = (i + 1) & (cap - 1);
    return &table[i];
}

static bool grow_sessions(struct pg_store_import *import)
{
    uint32_t cap = import->session_cap ? import->session_cap * 2 : 64;
    if (import->session_count < import->session_cap / 2)
        return true;
    struct pg_store_session **table = calloc(cap, sizeof(*table));
    if (!table)
        return false;
    for (uint32_t i = 0; i < import->session_cap; i++) {
        if (import->sessions[i])
            *session_slot(table, cap, client_of(import->sessions[i])) = import->sessions[i];
    }
    free(import->sessions);
    import->sessions = table;
    import->session_cap = cap;
    return true;
}

static struct pg_store_session *find_session(struct pg_store_import *import,
                                             struct pg_bytes client_id)
{
    return import->session_cap == 0
               ? NULL
               : *session_slot(import->sessions, import->session_cap, client_id);
}

static int append(struct pg_store_import *import)
{
    int rc = import->disk->batch.len > 0 || import->disk->batch.failed
                 ? pg_disk_append(import->disk)
                 : 0;
    pg_disk_begin_batch(import->disk);
    return rc;
}

bool pg_store_import_session(struct pg_store_import *import, const struct pg_restored_session *from,
                             struct pg_error *error)
{
    if (find_session(import, from->record.client_id)) {
        pg_error_set(error, "the session is there twice");
        return false;
    }
    struct pg_store_session *session = pg_disk_session_new(from->record.client_id);
    if (!session || !grow_sessions(import)) {
        pg_disk_session_free(&session);
        return fail(error, import->dir, -ENOMEM);
    }
    *session_slot(import->sessions, import->session_cap, from->record.client_id) = session;
    import->session_count++;
    bool ok = ask(import, pg_disk_ask_session(session, &from->record), error);
    for (size_t i = 0; ok && i < from->sub_count; i++)
        ok = ask(import, pg_disk_ask_subscription(session, &from->subs[i]), error);
    if (!ok || from->receipt_count == 0)
        return ok;
    if (!commit_list(import, error)) /* the session has its number now */
        return false;
    pg_disk_begin_batch(import->disk);
    for (size_t i = 0; i < from->receipt_count; i++)
        pg_disk_put_step(&import->disk->batch,
                         &(struct pg_disk_step){.type = PG_DISK_RECEIVE,
                                                .session = session->id,
                                                .packet_id = from->receipts[i]});
    int rc = append(import);
    return rc == 0 || fail(error, import->dir, rc);
}

bool pg_store_import_retained(struct pg_store_import *import, struct pg_msg *msg,
                              struct pg_error *error)
{
    struct pg_disk_request *request =
        pg_disk_ask(PG_ASK_RETAIN, NULL, PG_BYTES_NONE, PG_BYTES_NONE);
    if (request)
        request->msg = pg_msg_ref(msg);
    return ask(import, request, error);
}

bool pg_store_import_will(struct pg_store_import *import, const struct pg_will_record *will,
                          struct pg_error *error)
{
    return ask(import, pg_disk_ask_will(will), error);
}

bool pg_store_import_fact(struct pg_store_import *import, struct pg_bytes space,
                          struct pg_bytes key, struct pg_bytes value, uint32_t expires_wall_s,
                          struct pg_error *error)
{
    return ask(import, pg_disk_ask_fact(space, key, value, expires_wall_s), error);
}

static bool put_queued(struct pg_store_import *import, const struct pg_store_queued *queued,
                       struct pg_disk_place place)
{
    struct pg_disk *disk = import->disk;
    struct pg_store_session *session = find_session(import, queued->client_id);
    if (!session)
        return false;
    uint16_t id_count = queued->entry.id_count;
    struct pg_disk_buffer ids = {0};
    for (uint16_t i = 0; i < id_count; i++)
        pg_disk_put_u32(&ids, queued->entry.ids[i]);
    disk->batch.failed |= ids.failed;
    struct pg_disk_step step = {.type = PG_DISK_ENTRY,
                                .session = session->id,
                                .number = queued->entry.number,
                                .flags = pg_disk_entry_flags(&queued->entry),
                                .share = queued->entry.share,
                                .ids = {.data = ids.data, .len = ids.len},
                                .id_count = id_count,
                                .expires = queued->expires_wall_s,
                                .place = place};
    pg_disk_put_step(&disk->batch, &step);
    free(ids.data);
    step = (struct pg_disk_step){.type = PG_DISK_SEND,
                                 .session = session->id,
                                 .number = queued->entry.number,
                                 .packet_id = queued->packet_id,
                                 .order = queued->order};
    if (queued->sent)
        pg_disk_put_step(&disk->batch, &step);
    step.type = PG_DISK_RECEIVED;
    if (queued->sent && queued->received)
        pg_disk_put_step(&disk->batch, &step);
    return true;
}

bool pg_store_import_message(struct pg_store_import *import, const struct pg_store_message *message,
                             struct pg_error *error)
{
    struct pg_disk *disk = import->disk;
    if (!import->messages && !commit_list(import, error))
        return false;
    import->messages = disk->replaying = true;
    struct pg_disk_place place = pg_disk_put_message(disk, message->msg);
    bool known = true;
    for (size_t i = 0; known && i < message->count; i++)
        known = put_queued(import, &message->entries[i], place);
    if (message->receiver.data) {
        struct pg_store_session *session = find_session(import, message->receiver);
        known = known && session;
        pg_disk_put_step(&disk->batch, &(struct pg_disk_step){.type = PG_DISK_RECEIVE,
                                                              .session = session ? session->id : 0,
                                                              .packet_id = message->packet_id,
                                                              .place = place});
    }
    if (!known) {
        pg_error_set(error, "an entry of a session that is not there");
        return false;
    }
    int rc = disk->batch.failed || disk->batch.len >= BATCH_BYTES ? append(import) : 0;
    return rc == 0 || fail(error, import->dir, rc);
}

bool pg_store_import_end(struct pg_store_import **where, bool keep, struct pg_error *error)
{
    struct pg_store_import *import = *where;
    *where = NULL;
    if (!import)
        return true;
    bool ok = !keep || commit_list(import, error);
    int rc = keep && ok ? append(import) : 0;
    if (rc != 0)
        ok = fail(error, import->dir, rc);
    if (import->list) /* not kept */
        ok = commit_list(import, error) && ok;
    for (uint32_t i = 0; i < import->session_cap; i++) {
        if (import->sessions[i] && import->sessions[i]->id == 0)
            pg_disk_session_free(&import->sessions[i]);
    }
    pg_disk_close(&import->disk);
    free(import->sessions);
    free(import->dir);
    free(import);
    return ok;
}

/* ---- maps and log --------------------------------------------------------------------------- */

bool pg_store_disk_pair(const char *dir, bool accept, bool *differs, struct pg_error *error)
{
    const struct pg_store_disk_options options = {.dir = dir};
    const struct pg_seglog_options plain = {.fsync = PG_SEGLOG_ALWAYS};
    struct pg_disk *disk = pg_disk_open(&options, error);
    *differs = false;
    if (!disk)
        return false;
    int rc = pg_seglog_open(disk->log_dir, &plain, &disk->log, error);
    bool ok = rc == 0;
    if (ok) {
        uint32_t salt = pg_seglog_salt(disk->log);
        *differs = disk->bound_to != 0 && disk->bound_to != salt;
        rc = *differs && accept ? pg_disk_map_bind(disk, salt) : 0;
        ok = rc == 0 || fail(error, dir, rc);
    }
    pg_disk_close(&disk);
    return ok;
}
