/* SPDX-License-Identifier: Apache-2.0 */

/* Restoring at start; see restore.h. The store lends what it reads for the call, so that it is
 * copied into a task for the worker that is to have it: sessions by a hash of their identifiers,
 * messages to the first worker. The main thread waits until every task has run. Queues stay in the
 * store; see session_store.c.
 *
 * Wills, and messages that a former process had received and not brought to everybody, wait until
 * every session is there and the access rules can be asked. */

#include "restore.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "client.h"
#include "fact.h"
#include "hash.h"
#include "message.h"
#include "registry.h"
#include "router.h"
#include "session_flow.h"
#include "store.h"
#include "subscription.h"
#include "ticket.h"

struct restoring {
    struct pg_store_restorer restorer; /* first */
    struct pg_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t waiting; /* tasks that have not run */
    bool failed;    /* memory is out */
    struct pg_unfinished *unfinished;
};

struct will_task {
    struct pg_task task; /* first */
    struct restoring *restoring;
    struct will_task *next;
    struct pg_will *will;
    uint32_t due_wall_s;
    size_t client_id_len;
    uint8_t client_id[];
};

struct rest_task {
    struct pg_task task; /* first */
    struct rest *rest;
};

/* A message, and whom it has reached. */
struct rest {
    struct rest *next;
    struct restoring *restoring;
    struct pg_msg *msg;
    struct pg_ticket *ticket;
    struct pg_router_reached reached;
    struct rest_task tasks[PG_WORKERS_MAX];
    struct pg_bytes names[]; /* client identifiers, shares; then their bytes */
};

struct pg_unfinished {
    struct will_task *wills;
    struct rest *rests, **rests_end;
};

struct session_task {
    struct pg_task task; /* first */
    struct restoring *restoring;
    struct pg_restored_session session;
    struct pg_subscription *subs;
    struct pg_store_out *outs;
    uint16_t *receipts;
    uint8_t text[]; /* the client identifier and the filters */
};

struct retained_task {
    struct pg_task task; /* first */
    struct restoring *restoring;
    struct pg_msg *msg;
};

static void begin(struct restoring *r)
{
    pthread_mutex_lock(&r->lock);
    r->waiting++;
    pthread_mutex_unlock(&r->lock);
}

static void finish(struct restoring *r, bool failed)
{
    pthread_mutex_lock(&r->lock);
    r->failed = r->failed || failed;
    r->waiting--;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static struct restoring *restoring_of(struct pg_store_restorer *restorer)
{
    return (struct restoring *)restorer;
}

static void wait_for_all(struct restoring *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->waiting > 0)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static struct pg_worker *home_of(const struct restoring *r, struct pg_bytes client_id)
{
    return r->server->workers[(uint32_t)pg_hash(client_id) % r->server->worker_count];
}

/* ---- sessions -------------------------------------------------------------------------------- */

static bool place(struct pg_worker *worker, const struct session_task *task)
{
    const struct pg_restored_session *from = &task->session;
    struct pg_session *session = pg_session_new(worker, from->record.client_id);
    if (!session)
        return false;
    if (!pg_session_keep_restored(session, from->handle, from->first_number, from->next_number) ||
        pg_registry_enter(worker->server->registry, session, 0).session != session) {
        pg_session_free(&session);
        return false;
    }
    session->state = SESSION_LIVE;
    session->expiry_s = from->record.expiry_s;
    bool complete = true;
    for (size_t i = 0; i < from->out_count; i++)
        complete = pg_session_put_absent(session, &task->outs[i]) && complete;
    for (size_t i = 0; i < from->receipt_count; i++)
        complete = pg_receipt_put(session, task->receipts[i]) != PG_NO_MEMORY && complete;
    for (size_t i = 0; i < from->sub_count; i++) {
        bool added;
        enum pg_reason reason;
        complete = pg_subscription_put(session, &task->subs[i], &added, &reason) && complete;
    }
    return pg_session_restored(session, from->record.detached_wall_s) && complete;
}

static void free_session_task(struct session_task *task)
{
    free(task->subs);
    free(task->outs);
    free(task->receipts);
    free(task);
}

static void run_session(struct pg_task *t, struct pg_worker *worker)
{
    struct session_task *task = (struct session_task *)t;
    struct restoring *r = task->restoring;
    bool placed = place(worker, task);
    free_session_task(task);
    finish(r, !placed);
}

static struct pg_bytes copy_bytes(uint8_t **at, struct pg_bytes from)
{
    struct pg_bytes copy = {.data = *at, .len = from.len};
    if (from.len > 0)
        memcpy(*at, from.data, from.len);
    *at += from.len;
    return copy;
}

static bool take_session(struct pg_store_restorer *restorer, const struct pg_restored_session *from)
{
    struct restoring *r = restoring_of(restorer);
    size_t size = from->record.client_id.len;
    for (size_t i = 0; i < from->sub_count; i++)
        size += from->subs[i].filter.len;
    struct session_task *task = calloc(1, sizeof(*task) + size);
    if (!task)
        return false;
    task->subs = calloc(from->sub_count + 1, sizeof(*task->subs));
    task->outs = calloc(from->out_count + 1, sizeof(*task->outs));
    task->receipts = calloc(from->receipt_count + 1, sizeof(*task->receipts));
    if (!task->subs || !task->outs || !task->receipts) {
        free_session_task(task);
        return false;
    }
    for (size_t i = 0; i < from->out_count; i++)
        task->outs[i] = from->outs[i];
    for (size_t i = 0; i < from->receipt_count; i++)
        task->receipts[i] = from->receipts[i];
    task->task.run = run_session;
    task->restoring = r;
    task->session = *from;
    uint8_t *at = task->text;
    task->session.record.client_id = copy_bytes(&at, from->record.client_id);
    for (size_t i = 0; i < from->sub_count; i++) {
        task->subs[i] = from->subs[i];
        task->subs[i].filter = copy_bytes(&at, from->subs[i].filter);
    }
    begin(r);
    pg_worker_post(home_of(r, from->record.client_id), &task->task);
    return true;
}

/* ---- retained messages ----------------------------------------------------------------------- */

static void run_retained(struct pg_task *t, struct pg_worker *worker)
{
    struct retained_task *task = (struct retained_task *)t;
    struct restoring *r = task->restoring;
    enum pg_reason reason = pg_retained_set(worker->server->retained, task->msg);
    pg_msg_unref(&task->msg);
    free(task);
    finish(r, reason == PG_NO_MEMORY);
}

static bool take_retained(struct pg_store_restorer *restorer, struct pg_msg *msg)
{
    struct restoring *r = restoring_of(restorer);
    struct retained_task *task = malloc(sizeof(*task));
    if (!task)
        return false;
    *task = (struct retained_task){
        .task.run = run_retained,
        .restoring = r,
        .msg = pg_msg_ref(msg),
    };
    begin(r);
    pg_worker_post(r->server->workers[0], &task->task);
    return true;
}

/* ---- facts ----------------------------------------------------------------------------------- */

static bool take_fact(struct pg_store_restorer *restorer, struct pg_bytes space,
                      struct pg_bytes key, struct pg_bytes value, uint32_t expires_wall_s)
{
    (void)restorer;
    if (pg_bytes_equal(space, PG_BANS_SPACE))
        return pg_ban_restore(key, value, expires_wall_s);
    return pg_fact_restore(space, key, value, expires_wall_s);
}

/* ---- wills ----------------------------------------------------------------------------------- */

static bool take_will(struct pg_store_restorer *restorer, const struct pg_will_record *record)
{
    struct restoring *r = restoring_of(restorer);
    struct will_task *task = calloc(1, sizeof(*task) + record->client_id.len);
    struct pg_will *will = pg_will_restored(record);
    if (!task || !will) {
        free(task);
        pg_will_free(&will);
        return false;
    }
    task->will = will;
    task->due_wall_s = record->due_wall_s;
    task->client_id_len = record->client_id.len;
    if (record->client_id.len > 0)
        memcpy(task->client_id, record->client_id.data, record->client_id.len);
    task->next = r->unfinished->wills;
    r->unfinished->wills = task;
    return true;
}

/* Where its session is, or would be. The delay of a client that was there begins now. */
static void run_will(struct pg_task *t, struct pg_worker *worker)
{
    struct will_task *task = (struct will_task *)t;
    struct restoring *r = task->restoring;
    struct pg_bytes client_id = {.data = task->client_id, .len = task->client_id_len};
    uint32_t now_s = (uint32_t)(pg_wall_ms() / 1000), left_s = task->will->delay_s;
    if (task->due_wall_s != 0)
        left_s = task->due_wall_s > now_s ? task->due_wall_s - now_s : 0;
    struct pg_registered found = pg_registry_find(worker->server->registry, client_id);
    if (found.owner == worker->index && left_s > 0) {
        found.session->will = task->will;
        pg_will_delay(found.session, left_s);
    } else {
        pg_will_publish(worker, &task->will, client_id);
    }
    free(task);
    finish(r, false);
}

/* ---- messages that have not reached everybody ------------------------------------------------ */

static size_t names_size(const struct pg_bytes *names, size_t count)
{
    size_t size = count * sizeof(*names);
    for (size_t i = 0; i < count; i++)
        size += names[i].len;
    return size;
}

static bool take_unrouted(struct pg_store_restorer *restorer, struct pg_msg *msg,
                          const struct pg_bytes *client_ids, size_t count,
                          const struct pg_bytes *shares, size_t share_count)
{
    struct restoring *r = restoring_of(restorer);
    struct rest *rest =
        calloc(1, sizeof(*rest) + names_size(client_ids, count) + names_size(shares, share_count));
    if (!rest)
        return false;
    uint8_t *at = (uint8_t *)&rest->names[count + share_count];
    for (size_t i = 0; i < count; i++)
        rest->names[i] = copy_bytes(&at, client_ids[i]);
    for (size_t i = 0; i < share_count; i++)
        rest->names[count + i] = copy_bytes(&at, shares[i]);
    rest->reached = (struct pg_router_reached){
        .client_ids = rest->names,
        .count = count,
        .shares = rest->names + count,
        .share_count = share_count,
    };
    rest->msg = pg_msg_ref(msg);
    *r->unfinished->rests_end = rest;
    r->unfinished->rests_end = &rest->next;
    return true;
}

static void run_rest(struct pg_task *t, struct pg_worker *worker)
{
    struct rest *rest = ((struct rest_task *)t)->rest;
    pg_router_publish_rest(worker, rest->msg, &rest->reached, rest->ticket);
    pg_ticket_done(rest->ticket, PG_OK);
    finish(rest->restoring, false);
}

/* One after the other, so that each session has them in their order. */
static bool route_rest(struct restoring *r, struct rest *rest)
{
    struct pg_server *server = r->server;
    rest->restoring = r;
    rest->ticket = pg_ticket_of_nobody(server->workers[0], rest->msg);
    if (!rest->ticket)
        return false;
    for (unsigned i = 0; i < server->worker_count; i++) {
        rest->tasks[i] = (struct rest_task){.task.run = run_rest, .rest = rest};
        pg_ticket_hold(rest->ticket);
        begin(r);
        pg_worker_post(server->workers[i], &rest->tasks[i].task);
    }
    pg_ticket_done(rest->ticket, PG_OK);
    return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

void pg_unfinished_free(struct pg_unfinished **where)
{
    struct pg_unfinished *u = *where;
    *where = NULL;
    if (!u)
        return;
    while (u->wills) {
        struct will_task *task = u->wills;
        u->wills = task->next;
        pg_will_free(&task->will);
        free(task);
    }
    while (u->rests) {
        struct rest *rest = u->rests;
        u->rests = rest->next;
        pg_msg_unref(&rest->msg);
        free(rest);
    }
    free(u);
}

/* The store has caught up: those that were held off for it go on, at the end of a turn. */
static void store_eased(void *arg)
{
    struct pg_server *server = arg;
    for (unsigned i = 0; i < server->worker_count; i++)
        pg_worker_wake(server->workers[i]);
}

bool pg_restore(struct pg_server *server, struct pg_unfinished **unfinished, struct pg_error *error)
{
    struct restoring r = {
        .restorer = {.session = take_session,
                     .retained = take_retained,
                     .will = take_will,
                     .fact = take_fact,
                     .unrouted = take_unrouted},
        .server = server,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .unfinished = calloc(1, sizeof(struct pg_unfinished)),
    };
    *unfinished = r.unfinished;
    if (!r.unfinished) {
        pg_error_set(error, "out of memory");
        return false;
    }
    r.unfinished->rests_end = &r.unfinished->rests;
    server->store->eased = store_eased;
    server->store->eased_arg = server;
    int64_t began_ms = pg_now_ms();
    bool read = server->store->ops->restore(server->store, &r.restorer, error);
    wait_for_all(&r);
    if (read && r.failed)
        pg_error_set(error, "out of memory while restoring sessions");
    if (!read || r.failed)
        return false;
    struct pg_store_stats stats;
    server->store->ops->stats(server->store, &stats);
    PG_LOG(PG_INFO, "restored", PG_F_INT("sessions", stats.sessions),
           PG_F_INT("queued", stats.queued), PG_F_INT("retained", stats.retained),
           PG_F_INT("ms", pg_now_ms() - began_ms));
    return true;
}

bool pg_restore_finish(struct pg_server *server, struct pg_unfinished **where,
                       struct pg_error *error)
{
    struct pg_unfinished *u = *where;
    struct restoring r = {
        .server = server,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    bool ok = true;
    for (struct rest *rest = u->rests; ok && rest; rest = rest->next) {
        ok = route_rest(&r, rest);
        wait_for_all(&r);
    }
    while (ok && u->wills) {
        struct will_task *task = u->wills;
        u->wills = task->next;
        task->task.run = run_will;
        task->restoring = &r;
        begin(&r);
        pg_worker_post(
            home_of(&r, (struct pg_bytes){.data = task->client_id, .len = task->client_id_len}),
            &task->task);
    }
    wait_for_all(&r);
    pg_unfinished_free(where);
    if (!ok)
        pg_error_set(error, "out of memory while restoring messages");
    return ok;
}
