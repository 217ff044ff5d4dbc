/* SPDX-License-Identifier: Apache-2.0 */

/* Wills: a message that is published when a client ends without a goodbye (MQTT 5.0 3.1.2.5). The
 * access rules are asked when the client is admitted (client.c) and again here, when it is sent:
 * the gateway publishes it, but on the client's account.
 *
 * A client that the gateway puts out has not said goodbye, not even when the gateway stops: its will is
 * sent then, while sessions still take messages and the store still keeps them. One with a delay stays
 * in the store with the time at which it is due, and is sent after the next start (restore.c) unless
 * its client has come back; so is one of a process that died. */

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "client.h"
#include "registry.h"
#include "router.h"
#include "server.h"
#include "store.h"
#include "ticket.h"
#include "why.h"
#include "worker_parts.h"

struct pg_will *pg_will_new(const struct pg_login *login, const char *protocol)
{
    struct pg_will *will = calloc(1, sizeof(*will) + login->username.len);
    if (!will)
        return NULL;
    struct pg_msg_spec spec = *login->will;
    will->expires = spec.expires;
    will->expiry_s = spec.expiry_s;
    spec.expires = false; /* counts from publication */
    spec.publisher = login->client_id;
    spec.protocol = protocol;
    will->msg = pg_msg_new(&spec);
    if (!will->msg) {
        free(will);
        return NULL;
    }
    will->delay_s = login->will_delay_s;
    will->protocol = protocol;
    if (login->username.data) {
        if (login->username.len > 0)
            memcpy(will->text, login->username.data, login->username.len);
        will->username = (struct pg_bytes){.data = will->text, .len = login->username.len};
    }
    return will;
}

void pg_will_free(struct pg_will **where)
{
    struct pg_will *will = *where;
    *where = NULL;
    if (!will)
        return;
    pg_timer_stop(&will->timer);
    pg_msg_unref(&will->msg);
    free(will);
}

static void send_will(struct pg_worker *worker, struct pg_will *will)
{
    const struct pg_msg *kept = will->msg;
    struct pg_msg_spec spec = {
        .topic = kept->topic,
        .payload = kept->payload,
        .qos = kept->qos,
        .retain = kept->retain,
        .topic_valid = kept->topic_valid,
        .expires = will->expires,
        .expiry_s = will->expiry_s,
        .publisher = kept->publisher,
        .protocol = kept->protocol,
    };
    if (kept->props)
        spec.props = *kept->props;
    struct pg_msg *msg = pg_msg_new(&spec);
    if (!msg)
        return;
    (void)pg_router_publish(worker, msg, NULL);
    pg_worker_count(worker, PG_COUNT_WILLS_PUBLISHED, 1);
    pg_msg_unref(&msg);
}

/* ---- in the store ---------------------------------------------------------------------------- */

struct pg_will *pg_will_restored(const struct pg_will_record *record)
{
    size_t username_len = record->username.data ? record->username.len : 0;
    struct pg_will *will = calloc(1, sizeof(*will) + username_len);
    if (!will)
        return NULL;
    will->msg = pg_msg_ref(record->msg);
    will->expires = record->expires;
    will->expiry_s = record->expiry_s;
    will->delay_s = record->delay_s;
    will->protocol = record->msg->protocol;
    will->kept = true;
    if (record->username.data) {
        if (username_len > 0)
            memcpy(will->text, record->username.data, username_len);
        will->username = (struct pg_bytes){.data = will->text, .len = username_len};
    }
    return will;
}

void pg_will_keep(struct pg_session *session, uint32_t due_wall_s, struct pg_ticket *ticket)
{
    struct pg_store *store = session->worker->server->store;
    struct pg_will *will = session->will;
    if (!store)
        return;
    struct pg_will_record record = {
        .client_id = pg_session_id(session),
        .username = will->username,
        .msg = will->msg,
        .expires = will->expires,
        .expiry_s = will->expiry_s,
        .delay_s = will->delay_s,
        .due_wall_s = due_wall_s,
    };
    store->ops->will_put(store, &record, pg_ticket_for_store(ticket));
    will->kept = true;
}

/* At once, so that it cannot take a later will of the same client with it. */
static void drop_kept(struct pg_worker *worker, struct pg_will *will, struct pg_bytes client_id)
{
    struct pg_store *store = worker->server->store;
    if (will->kept)
        store->ops->will_drop(store, client_id);
    will->kept = false;
}

void pg_will_forget(struct pg_session *session)
{
    if (!session->will)
        return;
    drop_kept(session->worker, session->will, pg_session_id(session));
    pg_will_free(&session->will);
}

static void due(struct pg_timer *timer)
{
    struct pg_session *session = ((struct pg_will *)timer)->session;
    pg_will_publish(session->worker, &session->will, pg_session_id(session));
}

void pg_will_delay(struct pg_session *session, uint32_t seconds)
{
    session->will->session = session;
    pg_will_keep(session, (uint32_t)(pg_wall_ms() / 1000) + seconds, NULL);
    pg_timer_start(&session->will->timer, (int64_t)seconds * 1000, due);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* A will whose permission is being asked for; the client and its session may be gone. */
struct pg_will_question {
    struct pg_worker *worker;
    struct pg_will *will;
    struct pg_access_request *request;
    struct pg_will_question *next, **link; /* those of the worker */
};

static void free_question(struct pg_will_question *q)
{
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    pg_access_cancel(&q->request);
    pg_will_free(&q->will);
    free(q);
}

void pg_wills_cancel(struct pg_worker *worker)
{
    while (worker->sessions.will_questions)
        free_question(worker->sessions.will_questions);
}

static void decided(void *arg, enum pg_reason reason)
{
    struct pg_will_question *q = arg;
    q->request = NULL;
    if (reason == PG_OK) {
        send_will(q->worker, q->will);
    } else {
        const struct pg_msg *msg = q->will->msg;
        pg_worker_count(q->worker, PG_COUNTER_REFUSE(reason), 1);
        pg_why_note_bytes(msg->publisher, PG_WHY_REFUSED, reason, msg->topic);
        PG_LOG(PG_WARN, "will_refused", PG_F_REASON(reason), PG_F_BYTES("client", msg->publisher),
               PG_F_BYTES("topic", msg->topic));
    }
    free_question(q);
}

void pg_will_publish(struct pg_worker *worker, struct pg_will **where, struct pg_bytes client_id)
{
    struct pg_will *will = *where;
    *where = NULL;
    pg_timer_stop(&will->timer);
    struct pg_config *config = atomic_load_explicit(&worker->server->config, memory_order_acquire);
    struct pg_will_question *q = calloc(1, sizeof(*q));
    if (!q) {
        pg_will_free(&will);
        return;
    }
    struct pg_will_question **head = &worker->sessions.will_questions;
    *q = (struct pg_will_question){.worker = worker, .will = will, .next = *head, .link = head};
    if (q->next)
        q->next->link = &q->next;
    *head = q;
    struct pg_identity who = {
        .client_id = client_id,
        .username = will->username,
        .peer = "",
        .listener = "",
        .protocol = will->protocol,
    };
    enum pg_reason reason = pg_access_check(worker, config, &who, PG_ACTION_PUBLISH,
                                            will->msg->topic, decided, q, &q->request);
    /* What it is for is in the store before it goes; only if the rules answer later, after. */
    if (reason == PG_OK)
        send_will(worker, will);
    drop_kept(worker, will, client_id);
    if (reason == PG_OK)
        free_question(q);
    else if (reason != PG_PENDING)
        decided(q, reason);
}

/* ---- the end of the worker ------------------------------------------------------------------- */

/* The registry may not be asked for anything meanwhile, which sending would do. */
static void collect_delayed(void *arg, struct pg_session *session)
{
    struct pg_will **found = arg;
    if (!session->will || session->client)
        return;
    session->will->next = *found;
    *found = session->will;
}

void pg_wills_drain(struct pg_worker *worker)
{
    struct pg_will *found = NULL;
    if (worker->server->store)
        return;
    pg_registry_each(worker->server->registry, worker->index, collect_delayed, &found);
    while (found) {
        struct pg_session *session = found->session;
        found = found->next;
        pg_will_publish(worker, &session->will, pg_session_id(session));
    }
}
