/* SPDX-License-Identifier: Apache-2.0 */

/* Restoring at start; see restore.h. The store lends what it reads for the call, so that it is
 * copied into a task for the worker that is to have it: sessions by a hash of their identifiers,
 * messages to the first worker. The main thread waits until every task has run. Queues stay in the
 * store; see session_store.c. */

#include "restore.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "client.h"
#include "hash.h"
#include "registry.h"
#include "session_flow.h"
#include "store.h"
#include "subscription.h"

struct restoring {
    struct pg_store_restorer restorer; /* first */
    struct pg_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t waiting; /* tasks that have not run */
    bool failed;    /* memory is out */
};

struct session_task {
    struct pg_task task; /* first */
    struct restoring *restoring;
    struct pg_restored_session session;
    struct pg_subscription *subs;
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
    for (size_t i = 0; i < from->sub_count; i++) {
        bool added;
        enum pg_reason reason;
        complete = pg_subscription_put(session, &task->subs[i], &added, &reason) && complete;
    }
    return pg_session_restored(session, from->record.detached_wall_s) && complete;
}

static void run_session(struct pg_task *t, struct pg_worker *worker)
{
    struct session_task *task = (struct session_task *)t;
    struct restoring *r = task->restoring;
    bool placed = place(worker, task);
    free(task->subs);
    free(task);
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
    struct session_task *task = malloc(sizeof(*task) + size);
    struct pg_subscription *subs = calloc(from->sub_count + 1, sizeof(*subs));
    if (!task || !subs) {
        free(task);
        free(subs);
        return false;
    }
    task->task.run = run_session;
    task->restoring = r;
    task->session = *from;
    task->subs = subs;
    uint8_t *at = task->text;
    task->session.record.client_id = copy_bytes(&at, from->record.client_id);
    for (size_t i = 0; i < from->sub_count; i++) {
        subs[i] = from->subs[i];
        subs[i].filter = copy_bytes(&at, from->subs[i].filter);
    }
    uint32_t hash = (uint32_t)pg_hash(from->record.client_id);
    begin(r);
    pg_worker_post(r->server->workers[hash % r->server->worker_count], &task->task);
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

static bool take_fact(struct pg_store_restorer *restorer, struct pg_bytes space,
                      struct pg_bytes key, struct pg_bytes value, uint32_t expires_wall_s)
{
    (void)restorer;
    return !pg_bytes_equal(space, PG_BYTES_OF("bans")) ||
           pg_ban_restore(key, value, expires_wall_s);
}

bool pg_restore(struct pg_server *server, struct pg_error *error)
{
    struct restoring r = {
        .restorer = {.session = take_session, .retained = take_retained, .fact = take_fact},
        .server = server,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    int64_t began_ms = pg_now_ms();
    bool read = server->store->ops->restore(server->store, &r.restorer, error);
    pthread_mutex_lock(&r.lock);
    while (r.waiting > 0)
        pthread_cond_wait(&r.changed, &r.lock);
    pthread_mutex_unlock(&r.lock);
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
