/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the embedded store's maps: a group's are one transaction.
 *
 * When a transaction fails, each of its requests that somebody waits for is answered so. A change
 * that nobody waits for, such as that a will is not to be sent any more, is owed: it is kept here,
 * a later one of the same thing in its place, and goes in front of each transaction until one
 * succeeds. Dropping a session is always owed, for its handle is given back at once.
 *
 * When the maps have reached their own limit, each change is tried by itself, so that only what
 * does not fit is refused. What gives room back may exceed the limit for a moment: LMDB deletes by
 * writing. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Owed changes may take so much memory: more than that is only met when the disk has been full for
 * long. */
#define OWED_BYTES_MAX ((size_t)64 * 1024 * 1024)
/* How far deletions may exceed the limit, in steps. */
#define GROW_BYTES ((size_t)4 * 1024 * 1024)
#define GROW_STEPS 4

static bool is_will(const struct pg_disk_request *r)
{
    return r->ask == PG_ASK_WILL_PUT || r->ask == PG_ASK_WILL_DROP;
}

static bool is_chosen(const struct pg_disk_request *r, unsigned which)
{
    if (r->ask >= PG_ASK_ENQUEUE)
        return false;
    return (which & (is_will(r) ? PG_DISK_WILL_CHANGES : PG_DISK_OTHER_CHANGES)) != 0;
}

/* The session's number: one that is owed has no handle any more. */
static uint32_t id_of(const struct pg_disk_request *r)
{
    if (!r->session)
        return r->new_id;
    return r->session->id != 0 ? r->session->id : r->session->pending_id;
}

/* ---- one change ----------------------------------------------------------------------------- */

static int put_session(struct pg_disk *disk, MDB_txn *txn, struct pg_disk_request *r,
                       uint32_t *next)
{
    uint32_t id = id_of(r);
    if (id == 0)
        id = r->new_id = r->session->pending_id = (*next)++;
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

static int put_retained(struct pg_disk *disk, MDB_txn *txn, const struct pg_msg *msg)
{
    if (msg->payload.len == 0)
        return pg_disk_map_put(disk, txn, PG_DISK_RETAINED, 0, msg->topic, PG_BYTES_NONE);
    struct pg_disk_buffer value = {0};
    pg_disk_put_msg(&value, msg, pg_disk_msg_deadline(msg));
    int rc = value.failed
                 ? -ENOMEM
                 : pg_disk_map_put(disk, txn, PG_DISK_RETAINED, 0, msg->topic,
                                   (struct pg_bytes){.data = value.data, .len = value.len});
    free(value.data);
    return rc;
}

static int make_change(struct pg_disk *disk, MDB_txn *txn, struct pg_disk_request *r,
                       uint32_t *next)
{
    uint32_t id;
    switch (r->ask) {
    case PG_ASK_SESSION_PUT:
        return put_session(disk, txn, r, next);
    case PG_ASK_SESSION_DROP:
        id = id_of(r);
        return id == 0 ? 0 : pg_disk_map_drop_session(disk, txn, id);
    case PG_ASK_SUB_PUT:
    case PG_ASK_SUB_DROP:
        id = id_of(r);
        if (id != 0)
            return pg_disk_map_put(disk, txn, PG_DISK_SUBS, id, r->name, r->value);
        r->result = PG_STORE_FAILED; /* its session could not be put */
        return 0;
    case PG_ASK_RETAIN:
        return put_retained(disk, txn, r->msg);
    case PG_ASK_WILL_PUT:
    case PG_ASK_WILL_DROP:
        return pg_disk_map_put(disk, txn, PG_DISK_WILLS, 0, r->name, r->value);
    case PG_ASK_FACT_PUT:
        return pg_disk_map_put(disk, txn, PG_DISK_FACTS, 0, r->name, r->value);
    default:
        return 0;
    }
}

/* Whether it makes the maps smaller. */
static bool gives_room(const struct pg_disk_request *r)
{
    switch (r->ask) {
    case PG_ASK_SESSION_DROP:
    case PG_ASK_SUB_DROP:
    case PG_ASK_WILL_DROP:
        return true;
    case PG_ASK_RETAIN:
        return r->msg->payload.len == 0;
    default:
        return r->ask == PG_ASK_FACT_PUT && r->value.len == 0;
    }
}

/* ---- what is owed --------------------------------------------------------------------------- */

static size_t size_of(const struct pg_disk_request *r)
{
    return sizeof(*r) + r->name.len + r->value.len + (r->msg ? r->msg->payload.len : 0);
}

/* What the change is about: a later one of the same replaces it. */
static unsigned kind_of(const struct pg_disk_request *r)
{
    switch (r->ask) {
    case PG_ASK_SUB_DROP:
        return PG_ASK_SUB_PUT;
    case PG_ASK_WILL_DROP:
        return PG_ASK_WILL_PUT;
    default:
        return r->ask;
    }
}

static struct pg_bytes name_of(const struct pg_disk_request *r)
{
    if (r->msg)
        return r->msg->topic;
    /* Of a session there is one record, whatever its name. */
    return r->ask == PG_ASK_SESSION_PUT || r->ask == PG_ASK_SESSION_DROP ? PG_BYTES_NONE : r->name;
}

static struct pg_disk_request **find_owed(struct pg_disk *disk, const struct pg_disk_request *r)
{
    struct pg_bytes name = name_of(r);
    uint32_t id = id_of(r);
    uint64_t hash = pg_hash(name) + id * 0x9e3779b1u + kind_of(r);
    struct pg_disk_request **at = &disk->owed_changes[hash % PG_DISK_OWED];
    while (*at && !(kind_of(*at) == kind_of(r) && (*at)->new_id == id &&
                    pg_bytes_equal(name_of(*at), name)))
        at = &(*at)->next;
    return at;
}

static void forget_owed(struct pg_disk *disk, struct pg_disk_request **at)
{
    struct pg_disk_request *r = *at;
    *at = r->next;
    disk->owed_count--;
    disk->owed_bytes -= size_of(r);
    pg_disk_request_free(&r);
}

static void owe(struct pg_disk *disk, const struct pg_disk_request *r)
{
    struct pg_disk_request **at = find_owed(disk, r), *copy = NULL;
    if (disk->owed_bytes + size_of(r) <= OWED_BYTES_MAX)
        copy = pg_disk_request_new(r->ask, r->name, r->value);
    if (!copy) {
        PG_LOG(PG_ERROR, "store_change_lost", PG_F_BYTES("name", name_of(r)),
               PG_F_REASON(PG_NO_MEMORY));
        return;
    }
    copy->new_id = id_of(r);
    copy->expiry_s = r->expiry_s;
    copy->detached_wall_s = r->detached_wall_s;
    copy->msg = r->msg ? pg_msg_ref(r->msg) : NULL;
    if (*at)
        forget_owed(disk, at);
    copy->next = *at;
    *at = copy;
    disk->owed_count++;
    disk->owed_bytes += size_of(copy);
}

void pg_disk_owed_free(struct pg_disk *disk)
{
    for (unsigned i = 0; i < PG_DISK_OWED; i++) {
        while (disk->owed_changes[i])
            forget_owed(disk, &disk->owed_changes[i]);
    }
}

/* Sessions are dropped last: nothing of theirs is put anew behind that. */
static int make_owed(struct pg_disk *disk, MDB_txn *txn, uint32_t *next)
{
    int rc = 0;
    if (disk->owed_count == 0)
        return 0;
    for (int drops = 0; drops < 2; drops++) {
        for (unsigned i = 0; rc == 0 && i < PG_DISK_OWED; i++) {
            for (struct pg_disk_request *r = disk->owed_changes[i]; rc == 0 && r; r = r->next) {
                if ((r->ask == PG_ASK_SESSION_DROP) == drops)
                    rc = make_change(disk, txn, r, next);
            }
        }
    }
    return rc;
}

/* ---- transactions --------------------------------------------------------------------------- */

static int begin(struct pg_disk *disk, MDB_txn **txn)
{
    int rc = disk->env ? 0 : pg_disk_map_reopen(disk);
    if (rc == 0)
        rc = mdb_txn_begin(disk->env, NULL, 0, txn);
    if (rc == MDB_PANIC) {
        rc = pg_disk_map_reopen(disk);
        if (rc == 0)
            rc = mdb_txn_begin(disk->env, NULL, 0, txn);
    }
    disk->retained_change = 0;
    return rc > 0 ? -rc : rc;
}

/* Commit if `rc` is 0; else abort and return it. */
static int end(struct pg_disk *disk, MDB_txn *txn, int rc, uint32_t next, bool probe)
{
    if (rc == 0 && (probe || next != disk->next_session))
        rc = pg_disk_map_put_next_session(disk, txn, next);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0) {
        disk->next_session = next;
        disk->stats.retained += (uint64_t)disk->retained_change;
    }
    return rc > 0 ? -rc : rc;
}

/* After its transaction: a new session is in the store, or not. */
static void session_ended(struct pg_disk *disk, struct pg_disk_request *r, bool kept)
{
    if (r->ask != PG_ASK_SESSION_PUT || r->new_id == 0 || !r->session)
        return;
    r->session->pending_id = 0;
    if (!kept)
        return;
    r->session->id = r->new_id;
    if (!pg_disk_session_add(disk, r->session)) {
        r->session->id = 0;
        r->result = PG_NO_MEMORY;
    }
}

static void refuse(struct pg_disk *disk, struct pg_disk_request *r)
{
    session_ended(disk, r, false);
    r->result = PG_STORE_FAILED;
    if (id_of(r) == 0 && r->session)
        return; /* nothing of this session is in the maps */
    if (!r->done || r->ask == PG_ASK_SESSION_DROP)
        owe(disk, r);
}

static int all_together(struct pg_disk *disk, struct pg_disk_request *list, unsigned which)
{
    MDB_txn *txn;
    uint32_t next = disk->next_session;
    int rc = begin(disk, &txn);
    if (rc != 0)
        return rc;
    rc = make_owed(disk, txn, &next);
    for (struct pg_disk_request *r = list; rc == 0 && r; r = r->next) {
        if (is_chosen(r, which))
            rc = make_change(disk, txn, r, &next);
    }
    return end(disk, txn, rc, next, !list);
}

static int alone_once(struct pg_disk *disk, struct pg_disk_request *r)
{
    MDB_txn *txn;
    uint32_t next = disk->next_session;
    int rc = begin(disk, &txn);
    return rc != 0 ? rc : end(disk, txn, make_change(disk, txn, r, &next), next, false);
}

static int alone(struct pg_disk *disk, struct pg_disk_request *r)
{
    int rc = alone_once(disk, r);
    for (unsigned i = 1; rc == MDB_MAP_FULL && gives_room(r) && i <= GROW_STEPS; i++) {
        rc = mdb_env_set_mapsize(disk->env, disk->options.map_bytes + i * GROW_BYTES);
        rc = rc != 0 ? -rc : alone_once(disk, r);
    }
    return rc;
}

/* The first error, or 0. */
static int one_by_one(struct pg_disk *disk, struct pg_disk_request *list, unsigned which)
{
    int first = 0;
    for (unsigned i = 0; i < PG_DISK_OWED; i++) {
        struct pg_disk_request **at = &disk->owed_changes[i];
        while (*at) {
            int rc = alone(disk, *at);
            first = first ? first : rc;
            if (rc == 0)
                forget_owed(disk, at);
            else
                at = &(*at)->next;
        }
    }
    for (struct pg_disk_request *r = list; r; r = r->next) {
        if (!is_chosen(r, which))
            continue;
        int rc = alone(disk, r);
        first = first ? first : rc;
        if (rc == 0)
            session_ended(disk, r, true);
        else
            refuse(disk, r);
    }
    /* The limit again, or what is in use by now if that is more. */
    (void)mdb_env_set_mapsize(disk->env, disk->options.map_bytes);
    return first;
}

void pg_disk_commit_maps(struct pg_disk *disk, struct pg_disk_request *list, unsigned which)
{
    int rc = all_together(disk, list, which);
    if (rc == MDB_MAP_FULL) {
        for (struct pg_disk_request *r = list; r; r = r->next) {
            if (is_chosen(r, which))
                session_ended(disk, r, false);
            r->new_id = 0;
        }
        rc = one_by_one(disk, list, which);
        disk->map_full = rc == MDB_MAP_FULL;
    } else {
        for (struct pg_disk_request *r = list; r; r = r->next) {
            if (is_chosen(r, which) && rc == 0)
                session_ended(disk, r, true);
            else if (is_chosen(r, which))
                refuse(disk, r);
        }
        if (rc == 0) {
            pg_disk_owed_free(disk);
            disk->map_full = false;
        }
    }
    pg_disk_health(disk, PG_DISK_MAPS, rc, "the maps");
}
