/* SPDX-License-Identifier: Apache-2.0 */

/* Sessions find their clients: creation, resumption, take-over, also from another worker.
 *
 * A client that was allowed makes a *joining* session on its own worker and enters it in the
 * registry. If the identifier is free, that is all. If a session has it, its owner is asked with a
 * `move` (perhaps the same worker, in the same turn); nobody reaches into another worker's objects.
 *
 * The owner puts out the client that it has, and then
 *   - clean start: destroys the session and enters the joining one in its place, in one step;
 *   - resumption: hands the session over. With the client on the same worker it just changes hands.
 *     Between workers no message may be lost or come twice, while publishers anywhere go on:
 *
 *     new worker                               old worker
 *       |------------- move ---------------------->|  LIVE -> LEAVING, still takes deliveries
 *       |<------------ prepare: subscriptions -----|
 *       | subscribes; deliveries are held apart    |
 *       | fence: every publisher that matched      |
 *       | before has sent its batches              |
 *       |------------- ready --------------------->|  those batches lie before this in its mailbox
 *       |                                          |  leaves the index; registry: the new one instead
 *       |                                          |  `seen`: the last message of each worker
 *       |                                          |  fence: what is in `seen` has reached the
 *       |                                          |  mailbox of the new worker as well
 *       |<------------ granted: the session -------|
 *       | adopts queue, deliveries, receipts; of what it held, only what the old one had not seen
 *       | attaches the client
 *       |------------- adopted ------------------->|  frees what is left
 *
 * Messages of one worker reach each other worker in the order of their numbers (router.c), so
 * `seen` tells exactly which held deliveries the old worker had queued as well.
 *
 * Moves that arrive for a session that is joining or leaving wait with it, and follow it. */

#include "takeover.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "conn.h"
#include "fence.h"
#include "registry.h"
#include "server.h"
#include "subscription.h"
#include "worker_parts.h"

/* A subscription on its way. */
struct moved_sub {
    struct moved_sub *next;
    struct pg_subscription sub;
    uint8_t filter[];
};

/* One request for a session, from the joining one's worker to the owner and back. */
struct pg_move {
    struct pg_task task;  /* first */
    struct pg_move *next; /* waiting with a session */
    struct pg_fence_wait fence;
    struct pg_worker *home;    /* of `to` */
    struct pg_worker *owner;   /* of `from` */
    struct pg_session *to;     /* the joining session */
    struct pg_session *from;   /* granted: to be adopted; NULL: nothing is handed over */
    struct pg_store_done done; /* of dropping the old session from the store */
    enum pg_reason drop_result;
    bool clean;
    bool failed; /* a subscription could not be made at home: memory is out */
    bool full;   /* the session that was there has ended, and the limit allows no new one */
    struct moved_sub *subs;
    uint64_t seen[]; /* one per worker */
};

static void dropped(struct pg_store_done *done, enum pg_reason result);
static void on_asked(struct pg_task *task, struct pg_worker *worker);
static void on_prepare(struct pg_task *task, struct pg_worker *worker);
static void on_ready(struct pg_task *task, struct pg_worker *worker);
static void on_granted(struct pg_task *task, struct pg_worker *worker);

static struct pg_registry *registry_of(const struct pg_worker *worker)
{
    return worker->server->registry;
}

static void free_move(struct pg_move *move)
{
    while (move->subs) {
        struct moved_sub *sub = move->subs;
        move->subs = sub->next;
        free(sub);
    }
    free(move);
}

static void post(struct pg_move *move, struct pg_worker *to,
                 void (*run)(struct pg_task *task, struct pg_worker *worker))
{
    move->task.run = run;
    pg_worker_post(to, &move->task);
}

/* ---- at home: asking ------------------------------------------------------------------------- */

static struct pg_registered enter(struct pg_worker *worker, struct pg_session *session)
{
    const struct pg_config *config =
        atomic_load_explicit(&worker->server->config, memory_order_acquire);
    return pg_registry_enter(registry_of(worker), session,
                             (size_t)config->settings.limits.sessions);
}

static void fail_join(struct pg_session *session, bool full)
{
    struct pg_client *client = session->client;
    session->client = NULL;
    pg_session_free(&session);
    if (client)
        pg_client_join_failed(client, full ? PG_QUOTA_EXCEEDED : PG_NO_MEMORY);
}

/* The joining session is the registered one: attach its client, or keep it for later. */
static void complete(struct pg_session *session, bool present)
{
    struct pg_move *waiting = session->waiting;
    session->waiting = NULL;
    session->state = SESSION_LIVE;
    struct pg_worker *worker = session->worker;
    if (session->client)
        pg_client_joined(session->client, session, present);
    else
        pg_session_detach(session, PG_PEER_CLOSED, false);
    while (waiting) {
        struct pg_move *move = waiting;
        waiting = move->next;
        post(move, worker, on_asked);
    }
}

void pg_session_join(struct pg_client *client, struct pg_bytes client_id, bool clean_start)
{
    struct pg_worker *worker = pg_conn_worker(pg_client_conn(client));
    struct pg_session *session = pg_session_new(worker, client_id);
    if (!session) {
        pg_client_join_failed(client, PG_NO_MEMORY);
        return;
    }
    session->client = client;
    pg_client_set_joining(client, session);

    struct pg_registered found = enter(worker, session);
    if (found.session == session) {
        complete(session, false);
        return;
    }
    unsigned workers = worker->server->worker_count;
    struct pg_move *move = found.owner == PG_NO_OWNER
                               ? NULL
                               : calloc(1, sizeof(*move) + workers * sizeof(move->seen[0]));
    if (!move) {
        fail_join(session, found.full);
        return;
    }
    move->home = worker;
    move->to = session;
    move->clean = clean_start;
    move->done.fn = dropped;
    move->drop_result = PG_OK;
    post(move, worker->server->workers[found.owner], on_asked);
}

void pg_session_join_cancelled(struct pg_session *session)
{
    session->client = NULL; /* complete() keeps or ends it */
}

/* ---- at the owner ---------------------------------------------------------------------------- */

static void wait_with(struct pg_session *session, struct pg_move *move)
{
    struct pg_move **end = &session->waiting;
    while (*end)
        end = &(*end)->next;
    move->next = NULL;
    *end = move;
}

/* The client that has the session ends; the session stays, without it. */
static void put_out(struct pg_session *session, bool resumed)
{
    struct pg_client *client = session->client;
    pg_session_end_absence(session);
    /* A delayed will is dropped only if the session goes on in time: MQTT 5.0 3.1.3.2.2. */
    if (session->will && (!resumed || session->will->delay_s == 0))
        pg_will_publish(session->worker, &session->will, pg_session_id(session));
    pg_will_forget(session);
    if (!client)
        return;
    pg_worker_count(session->worker, PG_COUNT_TAKEOVERS, 1);
    pg_session_detach(session, PG_TAKEN_OVER, true);
    pg_client_evict(client, PG_TAKEN_OVER);
}

/* On the store's thread: the old session is no more there either. */
static void dropped(struct pg_store_done *done, enum pg_reason result)
{
    struct pg_move *move = (struct pg_move *)((uint8_t *)done - offsetof(struct pg_move, done));
    move->drop_result = result;
    post(move, move->home, on_granted);
}

/* Nothing is kept of the old session; the new one's client waits until that is safe. */
static void grant_clean(struct pg_session *session, struct pg_move *move)
{
    struct pg_worker *worker = session->worker;
    struct pg_store *store = worker->server->store;
    put_out(session, false);
    struct pg_store_session *handle = pg_session_let_go(session);
    pg_registry_replace(registry_of(worker), session, move->to);
    pg_worker_count(worker, PG_COUNT_SESSIONS_DESTROYED, 1);
    pg_session_free(&session);
    if (handle)
        store->ops->session_drop(store, handle, &move->done);
    else
        post(move, move->home, on_granted);
}

/* The client is on this worker: it takes the session as it is, and the joining one goes. */
static void grant_here(struct pg_session *session, struct pg_move *move)
{
    struct pg_session *joining = move->to;
    struct pg_client *client = joining->client;
    joining->client = NULL;
    put_out(session, true);
    pg_session_free(&joining);
    free_move(move);
    if (client)
        pg_client_joined(client, session, true);
    else
        pg_session_detach(session, PG_PEER_CLOSED, false);
}

static void copy_sub(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    struct pg_move *move = arg;
    struct pg_bytes filter = pg_sub_filter(session, sub);
    struct moved_sub *copy = calloc(1, sizeof(*copy) + filter.len);
    if (!copy) {
        move->failed = true;
        return;
    }
    memcpy(copy->filter, filter.data, filter.len);
    copy->sub = (struct pg_subscription){
        .filter = {.data = copy->filter, .len = filter.len},
        .qos = sub->qos,
        .no_local = sub->no_local,
        .retain_as_published = sub->retain_as_published,
        .id = sub->id,
        .internal = sub->internal,
    };
    copy->next = move->subs;
    move->subs = copy;
}

/* First half of handing over to another worker. */
static void leave(struct pg_session *session, struct pg_move *move)
{
    put_out(session, true);
    session->state = SESSION_LEAVING;
    move->owner = session->worker;
    move->from = session;
    pg_subscriptions_each(session, copy_sub, move);
    post(move, move->home, on_prepare);
}

/* A session that ends with its client does not outlive a take-over either. */
static bool starts_clean(const struct pg_session *session, const struct pg_move *move)
{
    return move->clean || (session->client && session->expiry_s == 0);
}

static void on_asked(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_move *move = (struct pg_move *)task;
    struct pg_registered found = enter(worker, move->to);
    if (found.session == move->to) {
        post(move, move->home, on_granted); /* the old one has ended meanwhile */
        return;
    }
    if (found.owner == PG_NO_OWNER) {
        move->failed = true;
        move->full = found.full;
        post(move, move->home, on_granted);
        return;
    }
    if (found.owner != worker->index) {
        post(move, worker->server->workers[found.owner], on_asked); /* it has moved on */
        return;
    }
    struct pg_session *session = found.session;
    if (session->state != SESSION_LIVE)
        wait_with(session, move);
    else if (starts_clean(session, move))
        grant_clean(session, move);
    else if (move->home == worker)
        grant_here(session, move);
    else
        leave(session, move);
}

/* ---- between workers ------------------------------------------------------------------------- */

static struct pg_move *fenced(struct pg_fence_wait *wait)
{
    return (struct pg_move *)((uint8_t *)wait - offsetof(struct pg_move, fence));
}

static void after_first_fence(struct pg_fence_wait *wait)
{
    struct pg_move *move = fenced(wait);
    post(move, move->owner, on_ready);
}

static void after_second_fence(struct pg_fence_wait *wait)
{
    struct pg_move *move = fenced(wait);
    post(move, move->home, on_granted);
}

/* At home: subscribe as the leaving session does, and hold what comes. */
static void on_prepare(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_move *move = (struct pg_move *)task;
    for (struct moved_sub *s = move->subs; s; s = s->next) {
        bool added;
        enum pg_reason reason;
        if (!pg_subscription_put(move->to, &s->sub, &added, &reason))
            move->failed = true;
    }
    pg_fence(worker, &move->fence, after_first_fence);
}

/* At the owner: everything matched before the new subscriptions were seen has been taken. */
static void on_ready(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_move *move = (struct pg_move *)task;
    struct pg_session *session = move->from;
    unsigned workers = worker->server->worker_count;
    memcpy(move->seen, worker->router.seen, workers * sizeof(move->seen[0]));
    pg_subscriptions_drop_all(session);
    pg_session_release(session);
    struct pg_move *waiting = session->waiting;
    session->waiting = NULL;
    pg_registry_replace(registry_of(worker), session, move->to);
    struct pg_worker *home = move->home;
    pg_fence(worker, &move->fence, after_second_fence);
    while (waiting) {
        struct pg_move *next = waiting->next;
        post(waiting, home, on_asked);
        waiting = next;
    }
}

/* At the owner: what is left of the session that was adopted. */
static void on_adopted(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_move *move = (struct pg_move *)task;
    pg_session_free_shell(&move->from);
    free_move(move);
}

/* At home: the joining session is the registered one. */
static void on_granted(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_move *move = (struct pg_move *)task;
    struct pg_session *session = move->to, *from = move->from;
    if (move->failed && !from) {
        fail_join(session, move->full);
        free_move(move);
        return;
    }
    if (move->drop_result != PG_OK && session->client) {
        /* The old state may come back after a crash: nobody is told that it is gone. */
        struct pg_client *client = session->client;
        session->client = NULL;
        pg_client_join_failed(client, move->drop_result);
    }
    if (!session->client && from)
        session->expiry_s = from->expiry_s; /* nobody came for it: it waits on as before */
    if (move->failed)
        PG_LOG(PG_ERROR, "subscriptions_lost", PG_F_REASON(PG_NO_MEMORY),
               PG_F_BYTES("client", pg_session_id(session)));
    pg_session_adopt(session, from, move->seen);
    complete(session, from != NULL);
    if (from)
        post(move, move->owner, on_adopted);
    else
        free_move(move);
}
