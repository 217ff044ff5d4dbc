/* SPDX-License-Identifier: Apache-2.0 */

/* What clients ask for: publications, receipts of QoS 2, subscriptions.
 *
 *   asked --access rules--> allowed --> done in memory --store--> answered
 *
 * Either of the two may answer later: a question is out at the access rules, a ticket at the store.
 * Both belong to the client and are let go when it ends; an answer never finds a client that is
 * gone. A frontend is told a result only when the store has what was promised with it.
 *
 * Standard behind the rules: MQTT 5.0 3.3.4 and 4.3 (publishing), 3.8 and 3.10 (subscribing). On
 * the client's worker. */

#include <stdlib.h>
#include <string.h>

#include "client_inside.h"
#include "message.h"
#include "mount.h"
#include "receipt.h"
#include "router.h"
#include "session_flow.h"
#include "store.h"
#include "subscription.h"
#include "ticket.h"
#include "why.h"

/* ---- questions and tickets ------------------------------------------------------------------- */

static void free_question(struct pg_question *q)
{
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    pg_client_settle_pending(q->client);
    pg_access_cancel(&q->request);
    pg_msg_unref(&q->msg);
    free(q);
}

void pg_client_cancel_requests(struct pg_client *client)
{
    if (client->pending)
        pg_access_cancel(&client->pending->request);
    while (client->pending && client->pending->questions) {
        struct pg_question *q = client->pending->questions;
        /* What was not published does not hold its identifier. */
        if (q->receipt != 0 && client->session)
            (void)pg_receipt_remove(client->session, q->receipt);
        free_question(q);
    }
    while (client->pending && client->pending->tickets)
        pg_client_unlink_ticket(client->pending->tickets);
    pg_client_settle_pending(client);
}

bool pg_client_link_ticket(struct pg_client *client, struct pg_ticket *ticket)
{
    struct pg_client_pending *p = pg_client_pending(client);
    if (!p)
        return false;
    ticket->client = client;
    ticket->next = p->tickets;
    if (ticket->next)
        ticket->next->link = &ticket->next;
    ticket->link = &p->tickets;
    p->tickets = ticket;
    return true;
}

void pg_client_unlink_ticket(struct pg_ticket *ticket)
{
    *ticket->link = ticket->next;
    if (ticket->next)
        ticket->next->link = ticket->link;
    pg_client_settle_pending(ticket->client);
    ticket->client = NULL;
}

/* ---- publish --------------------------------------------------------------------------------- */

static void count_publication(struct pg_client *client, enum pg_reason reason,
                              struct pg_bytes topic)
{
    if (reason == PG_OK || reason == PG_NO_SUBSCRIBERS) {
        client_count(client, PG_COUNT_MESSAGES_PUBLISHED);
        return;
    }
    client_count(client, PG_COUNT_MESSAGES_REFUSED);
    client_count(client, PG_COUNTER_REFUSE(reason));
    pg_why_note_bytes(pg_client_id(client), PG_WHY_REFUSED, reason, topic);
    PG_LOG(PG_WARN, "publish_refused", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_client_id(client)), PG_F_BYTES("topic", topic));
}

static void tell_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    if (client_listens(client))
        client_protocol(client)->published(client, token, reason);
}

static void published(struct pg_client *client, const struct pg_ticket *ticket,
                      enum pg_reason reason)
{
    if (ticket->receipt != 0 && pg_reason_is_error(reason))
        pg_receipt_refused(client->session, ticket->receipt);
    tell_published(client, ticket->token, reason);
}

/* What is published: by topic, or to `target`, or with QoS 2 under `receipt`. */
struct publication {
    struct pg_bytes target; /* data == NULL: by topic */
    struct pg_msg *msg;     /* lent */
    uint64_t token;
    uint16_t receipt;
    bool whether; /* it is not published: only whether it may be is asked */
    bool allowed; /* that has been asked, and it may */
};

static enum pg_reason route_allowed(struct pg_client *client, const struct publication *p,
                                    struct pg_ticket *ticket)
{
    struct pg_worker *worker = client_worker(client);
    if (p->target.data)
        return pg_router_send(worker, p->target, p->msg, ticket);
    if (p->receipt == 0 || !client->session->kept)
        return pg_router_publish(worker, p->msg, ticket);
    return pg_receipt_publish(client->session, p->receipt, p->msg, ticket) ? PG_OK : PG_NO_MEMORY;
}

/* Route what was allowed. With a store, a ticket collects its answers. */
static enum pg_reason publish_allowed(struct pg_client *client, const struct publication *p)
{
    struct pg_ticket *ticket = NULL;
    if (p->whether)
        return PG_OK;
    if (p->msg->qos > 0 && client_worker(client)->server->store) {
        ticket = pg_ticket_new(client, p->token, PG_BYTES_NONE, published);
        if (!ticket)
            return PG_NO_MEMORY;
        ticket->receipt = p->receipt;
    }
    enum pg_reason reason = route_allowed(client, p, ticket);
    count_publication(client, reason, p->msg->topic);
    bool stores = p->msg->retain || (ticket && pg_ticket_waits(ticket));
    pg_conns_hold_if_congested(client->conn, stores);
    if (!ticket)
        return reason;
    pg_ticket_done(ticket, reason);
    return PG_PENDING;
}

/* The end of one that is not PG_PENDING: a refusal gives the identifier back. */
static enum pg_reason concluded(struct pg_client *client, const struct publication *p,
                                enum pg_reason reason)
{
    if (p->receipt != 0 && pg_reason_is_error(reason))
        (void)pg_receipt_remove(client->session, p->receipt);
    return reason;
}

static struct pg_question *new_question(struct pg_client *client, struct pg_bytes text)
{
    struct pg_client_pending *p = pg_client_pending(client);
    struct pg_question *q = p ? calloc(1, sizeof(*q) + text.len) : NULL;
    if (!q) {
        pg_client_settle_pending(client);
        return NULL;
    }
    q->client = client;
    q->text_len = text.len;
    if (text.len > 0)
        memcpy(q->text, text.data, text.len);
    q->next = p->questions;
    if (q->next)
        q->next->link = &q->next;
    q->link = &p->questions;
    p->questions = q;
    return q;
}

static struct pg_bytes question_text(const struct pg_question *q)
{
    return (struct pg_bytes){.data = q->text, .len = q->text_len};
}

static void publish_decided(void *arg, enum pg_reason reason)
{
    struct pg_question *q = arg;
    struct pg_client *client = q->client;
    const struct publication p = {
        .target = q->kind == ASK_SEND ? question_text(q) : PG_BYTES_NONE,
        .msg = q->msg,
        .token = q->token,
        .receipt = q->receipt,
        .whether = q->kind == ASK_WHETHER,
    };
    q->request = NULL;
    if (reason == PG_OK)
        reason = publish_allowed(client, &p);
    else
        count_publication(client, reason, p.msg->topic);
    if (reason != PG_PENDING)
        (void)concluded(client, &p, reason);
    free_question(q);
    if (reason != PG_PENDING)
        tell_published(client, p.token, reason);
}

static enum pg_reason publishable(struct pg_client *client, const struct pg_msg *msg)
{
    enum pg_reason reason = msg->topic_valid ? PG_OK : pg_topic_name_valid(msg->topic);
    if (reason == PG_OK && client_too_deep(client_config(client_worker(client)), msg->topic))
        reason = PG_TOPIC_INVALID;
    if (reason == PG_OK && client_reserved_topic(msg->topic))
        reason = PG_NOT_AUTHORIZED;
    return reason == PG_OK && !pg_client_session(client) ? PG_NOT_AUTHORIZED : reason;
}

/* Ask whether it is allowed, and if so, publish. */
static enum pg_reason ask_and_publish(struct pg_client *client, const struct publication *p)
{
    struct pg_worker *worker = client_worker(client);
    struct pg_config *config = client_config(worker);
    if (p->allowed || !pg_access_checks_actions(config))
        return publish_allowed(client, p);
    struct pg_question *q = new_question(client, p->target);
    if (!q)
        return PG_NO_MEMORY;
    q->kind = p->whether ? ASK_WHETHER : p->target.data ? ASK_SEND : ASK_PUBLISH;
    q->token = p->token;
    q->msg = pg_msg_ref(p->msg);
    q->receipt = p->receipt;
    struct pg_identity who = client_identity(client);
    enum pg_reason reason = pg_access_check(worker, config, &who, PG_ACTION_PUBLISH, p->msg->topic,
                                            publish_decided, q, &q->request);
    if (reason == PG_PENDING)
        return reason;
    if (reason == PG_OK)
        reason = publish_allowed(client, p);
    else
        count_publication(client, reason, p->msg->topic);
    free_question(q);
    return reason;
}

/* Behind a listener with a prefix of topics, with it. The message is given and replaced; NULL with
 * *reason: it cannot be published. */
static void enter_mount(struct pg_client *client, struct publication *p, enum pg_reason *reason)
{
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    if (prefix.len > 0 && (p->msg->topic_valid || pg_topic_name_valid(p->msg->topic) == PG_OK))
        p->msg = pg_mount_enter(prefix, p->msg, reason);
}

/* The message is given. */
static enum pg_reason publish(struct pg_client *client, struct publication *p)
{
    enum pg_reason reason;
    if (!p->whether)
        pg_conn_meter_message(client->conn);
    enter_mount(client, p, &reason);
    if (!p->msg) {
        count_publication(client, reason, pg_conn_topic_prefix(client->conn));
        return concluded(client, p, reason);
    }
    reason = publishable(client, p->msg);
    if (reason != PG_OK) {
        count_publication(client, reason, p->msg->topic);
        (void)concluded(client, p, reason);
    } else {
        reason = ask_and_publish(client, p);
        if (reason != PG_PENDING)
            (void)concluded(client, p, reason);
    }
    pg_msg_unref(&p->msg);
    return reason;
}

enum pg_reason pg_publish(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    return publish(client, &(struct publication){.msg = msg, .token = token});
}

enum pg_reason pg_may_publish(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    return publish(client,
                   &(struct publication){.msg = pg_msg_ref(msg), .token = token, .whether = true});
}

enum pg_reason pg_publish_allowed(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    return publish(client, &(struct publication){.msg = msg, .token = token, .allowed = true});
}

enum pg_reason pg_send(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                       uint64_t token)
{
    return publish(client, &(struct publication){.target = target, .msg = msg, .token = token});
}

enum pg_reason pg_hand_on(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                          uint64_t token)
{
    const struct publication p = {.target = target, .msg = msg, .token = token};
    enum pg_reason reason = publishable(client, msg);
    if (reason == PG_OK)
        reason = publish_allowed(client, &p);
    else
        count_publication(client, reason, msg->topic);
    pg_msg_unref(&msg);
    return reason;
}

enum pg_reason pg_publish_once(struct pg_client *client, uint16_t id, struct pg_msg *msg,
                               uint64_t token)
{
    struct pg_session *session = pg_client_session(client);
    enum pg_reason reason = PG_INTERNAL;
    if (session && id != 0) {
        size_t most = (size_t)client_config(client_worker(client))->settings.session.receipts;
        bool full = pg_receipt_count(client) >= most && !pg_receipt_held(session, id);
        reason = full ? PG_QUOTA_EXCEEDED : pg_receipt_put(session, id);
    }
    if (reason == PG_OK)
        return publish(client, &(struct publication){.msg = msg, .token = token, .receipt = id});
    pg_msg_unref(&msg);
    return reason;
}

static void released(struct pg_client *client, const struct pg_ticket *ticket,
                     enum pg_reason reason)
{
    if (!pg_reason_is_error(reason))
        (void)pg_receipt_remove(client->session, ticket->receipt);
    if (client_listens(client) && client_protocol(client)->released)
        client_protocol(client)->released(client, ticket->token, reason);
}

enum pg_reason pg_receipt_end(struct pg_client *client, uint16_t id, uint64_t token)
{
    struct pg_session *session = pg_client_session(client);
    if (!session || !pg_receipt_held(session, id))
        return PG_DUPLICATE;
    if (!session->kept) {
        (void)pg_receipt_remove(session, id);
        return PG_OK;
    }
    struct pg_ticket *ticket = pg_ticket_new(client, token, PG_BYTES_NONE, released);
    if (!ticket)
        return PG_NO_MEMORY;
    ticket->receipt = id;
    struct pg_store *store = session->worker->server->store;
    store->ops->release(store, session->kept->handle, id, pg_ticket_for_store(ticket));
    pg_ticket_done(ticket, PG_OK);
    return PG_PENDING;
}

/* ---- subscribe ------------------------------------------------------------------------------- */

static void tell_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    if (client_listens(client))
        client_protocol(client)->subscribed(client, token, reason);
}

static void note_refused_subscription(struct pg_client *client, enum pg_reason reason,
                                      struct pg_bytes filter)
{
    client_count(client, PG_COUNTER_REFUSE(reason));
    pg_why_note_bytes(pg_client_id(client), PG_WHY_REFUSED, reason, filter);
    PG_LOG(PG_WARN, "subscribe_refused", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_client_id(client)), PG_F_BYTES("filter", filter));
}

static void forget_subscription(struct pg_session *session, struct pg_bytes filter,
                                struct pg_ticket *ticket)
{
    struct pg_store *store = session->worker->server->store;
    if (session->kept)
        store->ops->subscription_drop(store, session->kept->handle, filter,
                                      pg_ticket_for_store(ticket));
}

/* The store has it, or not: then it is not there. Retained messages follow the answer. */
static void subscription_kept(struct pg_client *client, const struct pg_ticket *ticket,
                              enum pg_reason reason)
{
    struct pg_session *session = client->session;
    struct pg_bytes about = pg_ticket_about(ticket);
    struct pg_sub *sub = pg_subscription_find(session, about);
    struct pg_filter filter;
    bool refused = pg_reason_is_error(reason);
    if (refused)
        note_refused_subscription(client, reason, about);
    if (refused && ticket->added && pg_subscription_drop(session, about))
        forget_subscription(session, about, NULL);
    else if (!refused && sub && ticket->retained &&
             pg_topic_filter_check(about, &filter) == PG_TOPIC_NONE)
        pg_session_walk_retained(session, sub, filter.plain);
    tell_subscribed(client, ticket->token, reason);
}

static enum pg_reason subscribe_allowed(struct pg_client *client, const struct pg_subscription *sub,
                                        uint64_t token)
{
    struct pg_session *session = client->session;
    bool added;
    enum pg_reason reason;
    struct pg_sub *made = pg_subscription_put(session, sub, &added, &reason);
    if (!made)
        return reason;
    /* None for shared ones: MQTT 5.0 4.8.2. */
    bool retained =
        !made->shared && (sub->retain_handling == 0 || (sub->retain_handling == 1 && added));
    struct pg_store *store = client_worker(client)->server->store;
    if (session->kept && !sub->internal) {
        struct pg_ticket *ticket = pg_ticket_new(client, token, sub->filter, subscription_kept);
        if (!ticket)
            return PG_NO_MEMORY;
        ticket->added = added;
        ticket->retained = retained;
        store->ops->subscription_put(store, session->kept->handle, sub,
                                     pg_ticket_for_store(ticket));
        pg_ticket_done(ticket, PG_OK);
        return PG_PENDING;
    }
    if (session->kept) /* frontends do not wait for their own */
        store->ops->subscription_put(store, session->kept->handle, sub, NULL);
    struct pg_filter filter;
    if (retained && pg_topic_filter_check(sub->filter, &filter) == PG_TOPIC_NONE)
        pg_session_walk_retained(session, made, filter.plain);
    return PG_OK;
}

static void subscribe_decided(void *arg, enum pg_reason reason)
{
    struct pg_question *q = arg;
    struct pg_client *client = q->client;
    uint64_t token = q->token;
    q->request = NULL;
    q->sub.filter = question_text(q);
    if (reason == PG_OK)
        reason = subscribe_allowed(client, &q->sub, token);
    if (reason != PG_OK && reason != PG_PENDING)
        note_refused_subscription(client, reason, q->sub.filter);
    free_question(q);
    if (reason != PG_PENDING)
        tell_subscribed(client, token, reason);
}

/* With the filter as the core knows it. */
static enum pg_reason subscribe(struct pg_client *client, const struct pg_subscription *sub,
                                uint64_t token)
{
    struct pg_worker *worker = client_worker(client);
    struct pg_config *config = client_config(worker);
    enum pg_reason reason = pg_topic_filter_valid(sub->filter);
    if (reason == PG_OK && client_too_deep(config, sub->filter))
        reason = PG_FILTER_INVALID;
    if (reason == PG_OK && sub->id > PG_SUBSCRIPTION_ID_MAX)
        reason = PG_UNSUPPORTED;
    if (reason == PG_OK && !pg_client_session(client))
        reason = PG_NOT_AUTHORIZED;
    if (reason == PG_OK && (sub->internal || !pg_access_checks_actions(config)))
        reason = subscribe_allowed(client, sub, token);
    else if (reason == PG_OK) {
        struct pg_question *q = new_question(client, sub->filter);
        if (!q)
            return PG_NO_MEMORY;
        q->kind = ASK_SUBSCRIBE;
        q->token = token;
        q->sub = *sub;
        struct pg_identity who = client_identity(client);
        reason = pg_access_check(worker, config, &who, PG_ACTION_SUBSCRIBE, sub->filter,
                                 subscribe_decided, q, &q->request);
        if (reason == PG_PENDING)
            return reason;
        free_question(q);
        if (reason == PG_OK)
            reason = subscribe_allowed(client, sub, token);
    }
    if (reason != PG_OK && reason != PG_PENDING)
        note_refused_subscription(client, reason, sub->filter);
    return reason;
}

enum pg_reason pg_subscribe(struct pg_client *client, const struct pg_subscription *sub,
                            uint64_t token)
{
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    if (prefix.len == 0)
        return subscribe(client, sub, token);
    enum pg_reason reason;
    struct pg_subscription under = *sub;
    uint8_t *filter = pg_mount_filter(prefix, sub->filter, &under.filter.len, &reason);
    if (!filter) {
        note_refused_subscription(client, reason, sub->filter);
        return reason;
    }
    under.filter.data = filter;
    reason = subscribe(client, &under, token);
    free(filter);
    return reason;
}

static void unsubscription_kept(struct pg_client *client, const struct pg_ticket *ticket,
                                enum pg_reason reason)
{
    if (client_listens(client) && client_protocol(client)->unsubscribed)
        client_protocol(client)->unsubscribed(client, ticket->token, reason);
}

static enum pg_reason unsubscribe(struct pg_client *client, struct pg_bytes filter, uint64_t token)
{
    struct pg_session *session = pg_client_session(client);
    if (!session || !pg_subscription_drop(session, filter))
        return PG_NO_SUBSCRIPTION;
    if (!session->kept)
        return PG_OK;
    struct pg_ticket *ticket = pg_ticket_new(client, token, PG_BYTES_NONE, unsubscription_kept);
    if (!ticket)
        return PG_NO_MEMORY;
    forget_subscription(session, filter, ticket);
    pg_ticket_done(ticket, PG_OK);
    return PG_PENDING;
}

enum pg_reason pg_unsubscribe(struct pg_client *client, struct pg_bytes filter, uint64_t token)
{
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    if (prefix.len == 0)
        return unsubscribe(client, filter, token);
    enum pg_reason reason;
    size_t len;
    uint8_t *under = pg_mount_filter(prefix, filter, &len, &reason);
    if (!under)
        return PG_NO_SUBSCRIPTION;
    reason = unsubscribe(client, (struct pg_bytes){.data = under, .len = len}, token);
    free(under);
    return reason;
}

/* ---- permissions after resuming -------------------------------------------------------------- */

static void drop_forbidden(struct pg_client *client, struct pg_bytes filter, enum pg_reason reason)
{
    note_refused_subscription(client, reason, filter);
    if (pg_subscription_drop(client->session, filter))
        forget_subscription(client->session, filter, NULL);
    pg_session_drop_unwanted(client->session, reason);
}

static void resume_decided(void *arg, enum pg_reason reason)
{
    struct pg_question *q = arg;
    struct pg_client *client = q->client;
    q->request = NULL;
    if (reason != PG_OK)
        drop_forbidden(client, question_text(q), reason);
    bool last = --client->pending->rechecks == 0;
    free_question(q);
    if (last)
        pg_client_make_ready(client);
}

static void recheck(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    struct pg_client *client = arg;
    struct pg_worker *worker = session->worker;
    if (sub->internal)
        return;
    struct pg_question *q = new_question(client, pg_sub_filter(session, sub));
    if (!q)
        return; /* the check at delivery is not there to fall back on: keep what was allowed */
    q->kind = ASK_RESUME;
    client->pending->rechecks++;
    struct pg_identity who = client_identity(client);
    enum pg_reason reason =
        pg_access_check(worker, client_config(worker), &who, PG_ACTION_SUBSCRIBE, question_text(q),
                        resume_decided, q, &q->request);
    if (reason != PG_PENDING)
        resume_decided(q, reason);
}

void pg_client_recheck(struct pg_client *client)
{
    if (pg_access_checks_actions(client_config(client_worker(client))))
        pg_subscriptions_each(client->session, recheck, client);
}
