/* SPDX-License-Identifier: Apache-2.0 */

/* Clients: admission, what they may do, and how they end.
 *
 *  CLIENT_ASKING --allowed--> CLIENT_JOINING --session there--> CLIENT_ADMITTED --> CLIENT_ENDED
 *     |    access decision        |   takeover.c                  |  `admitted` told     ^
 *     +------- refused -----------+-------------------------------+----------------------+
 *
 * A question that is out (an access decision, a store commit) belongs to the client and is
 * cancelled or let go when the client ends; its answer never finds a client that is gone. The
 * frontend is told of admissions, results and endings from the worker's end-of-turn work, never
 * from inside its own calls. */

#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "conn_client.h"
#include "mount.h"
#include "router.h"
#include "server.h"
#include "subscription.h"
#include "takeover.h"
#include "ticket.h"
#include "topic.h"
#include "why.h"
#include "worker_parts.h"

#define CLIENT_MAGIC 0x7067636cu

enum client_state {
    CLIENT_ASKING,   /* an access decision is out */
    CLIENT_JOINING,  /* allowed; its session is being fetched */
    CLIENT_ADMITTED, /* attached to its session */
    CLIENT_ENDED,    /* detached; `client_ended` is due if it was ever announced */
};

/* What a client has only while it logs in, or has a question out. */
struct pending {
    bool login; /* until the frontend was told of the admission, with what is needed for it: */
    bool clean_start;
    bool session_present;
    uint32_t window;
    struct pg_will *will; /* until it is handed to the session */
    uint8_t *method_data; /* last words of an exchange */
    size_t method_data_len;

    struct pg_access_request *request; /* login, will or exchange that is out */
    struct pg_question *questions;     /* of publications and subscriptions */
    struct pg_ticket *tickets;
    uint32_t rechecks; /* subscriptions of a resumed session that are being looked at again */
};

/* Its size matters: it exists once per connection, also of those that are silent. */
struct pg_client {
    uint32_t magic;
    uint8_t state;      /* enum client_state */
    uint8_t reason;     /* enum pg_reason: of the refusal or the end */
    bool announced : 1; /* the frontend was told of the admission */
    bool due : 1;       /* on the worker's list of those to be told of */
    bool unlinked : 1;  /* no longer on its connection's list: freed when it comes to its turn */
    bool has_username : 1;
    bool has_cookie : 1; /* in `text`; else it is the frontend's state of the connection */
    uint32_t expiry_s;
    uint32_t since_wall_s;
    struct pg_conn *conn;
    struct pg_client *next, **link; /* on the connection */
    struct pg_session *session;     /* attached, or the joining one */
    struct pending *pending;        /* NULL: nothing */
    struct pg_client *next_due;
    uint16_t id_len, username_len;
    uint8_t text[]; /* identifier, user name, cookie */
};
_Static_assert(offsetof(struct pg_client, text) <= 68, "a client is small");

/* An access decision on a publication or subscription that is out. */
struct pg_question {
    struct pg_question *next, **link;
    struct pg_client *client;
    struct pg_access_request *request;
    enum { ASK_PUBLISH, ASK_SEND, ASK_SUBSCRIBE, ASK_RESUME } kind;
    uint64_t token;
    struct pg_msg *msg;         /* publish, send */
    struct pg_subscription sub; /* subscribe; filter in `text` */
    size_t text_len;
    uint8_t text[]; /* filter, or target of send */
};

static struct pg_worker *worker_of(const struct pg_client *client)
{
    return pg_conn_worker(client->conn);
}

static struct pg_config *current_config(const struct pg_worker *worker)
{
    return atomic_load_explicit(&worker->server->config, memory_order_acquire);
}

static const struct pg_protocol *protocol_of(const struct pg_client *client)
{
    return pg_conn_protocol(client->conn);
}

static void count(const struct pg_client *client, size_t counter)
{
    pg_worker_count(worker_of(client), counter, 1);
}

/* ---- accessors ------------------------------------------------------------------------------- */

struct pg_conn *pg_client_conn(const struct pg_client *client)
{
    return client->conn;
}

struct pg_bytes pg_client_id(const struct pg_client *client)
{
    return (struct pg_bytes){.data = client->text, .len = client->id_len};
}

struct pg_bytes pg_client_username(const struct pg_client *client)
{
    if (!client->has_username)
        return PG_BYTES_NONE;
    return (struct pg_bytes){.data = client->text + client->id_len, .len = client->username_len};
}

void *pg_client_cookie(const struct pg_client *client)
{
    void *cookie;
    if (!client->has_cookie)
        return pg_conn_state(client->conn);
    memcpy(&cookie, client->text + client->id_len + client->username_len, sizeof(cookie));
    return cookie;
}

struct pg_client *pg_client_next(const struct pg_client *client)
{
    return client->next;
}

struct pg_session *pg_client_session(const struct pg_client *client)
{
    /* NULL also between being put out of its session and its end. */
    return client->state == CLIENT_ADMITTED ? client->session : NULL;
}

int64_t pg_client_since_wall_ms(const struct pg_client *client)
{
    return (int64_t)client->since_wall_s * 1000;
}

static uint32_t within_expiry_max(const struct pg_client *client, uint32_t seconds)
{
    int64_t most_ms = current_config(worker_of(client))->settings.session.expiry_max;
    int64_t most = most_ms / 1000;
    return most < PG_FOREVER && (int64_t)seconds > most ? (uint32_t)most : seconds;
}

void pg_client_set_session_expiry(struct pg_client *client, uint32_t seconds)
{
    struct pg_session *session = pg_client_session(client);
    client->expiry_s = within_expiry_max(client, seconds);
    if (!session)
        return;
    session->expiry_s = client->expiry_s;
    if (session->expiry_s == 0)
        pg_session_keep_no_more(session);
    else if (!pg_session_keep_from_now(session))
        pg_conn_close(client->conn, PG_NO_MEMORY, "its session could not be kept");
}

uint32_t pg_client_session_expiry(const struct pg_client *client)
{
    return client->expiry_s;
}

void pg_client_set_window(struct pg_client *client, uint32_t window)
{
    if (pg_client_session(client))
        pg_session_set_window(client->session, window);
}

void pg_client_drop_will(struct pg_client *client)
{
    if (client->pending)
        pg_will_free(&client->pending->will);
    if (pg_client_session(client))
        pg_will_free(&client->session->will);
}

void pg_client_make_ready(struct pg_client *client)
{
    if (pg_client_session(client))
        pg_session_make_ready(client->session);
}

void pg_client_deliver(struct pg_client *client)
{
    bool rechecks = client->pending && client->pending->rechecks > 0;
    if (pg_client_session(client) && client->announced && !rechecks &&
        !pg_conn_closing(client->conn))
        protocol_of(client)->deliver(client);
}

/* ---- telling the frontend -------------------------------------------------------------------- */

/* The client's, made if it has none; NULL: out of memory. */
static struct pending *pending_of(struct pg_client *client)
{
    if (!client->pending)
        client->pending = calloc(1, sizeof(*client->pending));
    return client->pending;
}

static void free_pending(struct pg_client *client)
{
    if (!client->pending)
        return;
    pg_will_free(&client->pending->will);
    free(client->pending->method_data);
    free(client->pending);
    client->pending = NULL;
}

/* Let go of it, if nothing is left in it. */
static void settle_pending(struct pg_client *client)
{
    const struct pending *p = client->pending;
    if (p && !p->login && !p->request && !p->questions && !p->tickets)
        free_pending(client);
}

static size_t client_size(size_t id_len, size_t username_len, bool has_cookie)
{
    size_t text_len = id_len + username_len + (has_cookie ? sizeof(void *) : 0);
    return offsetof(struct pg_client, text) + text_len;
}

/* Its connection may be gone. */
static void free_client(struct pg_client *client, struct pg_worker *worker)
{
    free_pending(client);
    client->magic = 0;
    pg_slab_set_free(&worker->small, client,
                     client_size(client->id_len, client->username_len, client->has_cookie));
}

static void unlink_client(struct pg_client *client)
{
    if (client->unlinked)
        return;
    client->unlinked = true;
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    pg_conn_count_client(client->conn, false);
}

/* The client is over for everybody: tell the frontend, if it knows of it, and free. */
static void bury(struct pg_client *client)
{
    if (client->announced && !client->unlinked)
        protocol_of(client)->client_ended(client, (enum pg_reason)client->reason);
    unlink_client(client);
    if (!client->due)
        free_client(client, worker_of(client));
}

static void announce_refusal(struct pg_client *client)
{
    struct pg_conn *conn = client->conn;
    struct pg_admission admission = {.reason = (enum pg_reason)client->reason};
    void *cookie = pg_client_cookie(client);
    bury(client);
    if (!pg_conn_closing(conn))
        pg_conn_protocol(conn)->admitted(conn, &admission, cookie);
}

static void announce_admission(struct pg_client *client)
{
    struct pending *p = client->pending;
    struct pg_admission admission = {
        .reason = PG_OK,
        .client = client,
        .session_present = p->session_present,
        .method_data = {.data = p->method_data, .len = p->method_data_len},
    };
    client->announced = true;
    protocol_of(client)->admitted(client->conn, &admission, pg_client_cookie(client));
    p->login = false;
    settle_pending(client);
    pg_client_make_ready(client);
}

static void tell(struct pg_client *client, struct pg_worker *worker)
{
    client->due = false;
    if (client->unlinked)
        free_client(client, worker);
    else if (client->state == CLIENT_ENDED && (client->announced || pg_conn_closing(client->conn)))
        bury(client);
    else if (client->state == CLIENT_ENDED)
        announce_refusal(client);
    else if (client->state == CLIENT_ADMITTED && !client->announced)
        announce_admission(client);
}

static void tell_later(struct pg_client *client)
{
    if (client->due)
        return;
    struct pg_worker *worker = worker_of(client);
    struct pg_client_part *part = &worker->clients;
    if (!part->due)
        pg_worker_later(worker, &part->task);
    client->due = true;
    client->next_due = NULL;
    *part->due_end = client;
    part->due_end = &client->next_due;
}

static void tell_all(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct pg_client_part *part = &worker->clients;
    struct pg_client *client = part->due;
    pg_clients_init(part); /* those that come meanwhile are told of later */
    while (client) {
        struct pg_client *next = client->next_due;
        tell(client, worker);
        client = next;
    }
}

void pg_clients_init(struct pg_client_part *part)
{
    *part = (struct pg_client_part){.task.run = tell_all, .due_end = &part->due};
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void free_question(struct pg_question *q)
{
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    settle_pending(q->client);
    pg_access_cancel(&q->request);
    pg_msg_unref(&q->msg);
    free(q);
}

/* Let go of everything that could still answer. */
static void cancel_questions(struct pg_client *client)
{
    if (client->pending)
        pg_access_cancel(&client->pending->request);
    while (client->pending && client->pending->questions)
        free_question(client->pending->questions);
    while (client->pending && client->pending->tickets)
        pg_client_unlink_ticket(client->pending->tickets);
    settle_pending(client);
}

/* Out of its session, whatever the state; what the frontend is told comes later. */
static void end(struct pg_client *client, enum pg_reason reason)
{
    if (client->state == CLIENT_ENDED)
        return;
    struct pg_session *session = client->session;
    bool was_admitted = client->state == CLIENT_ADMITTED,
         was_joining = client->state == CLIENT_JOINING;
    cancel_questions(client);
    client->state = CLIENT_ENDED;
    client->reason = (uint8_t)reason;
    client->session = NULL;
    if (was_admitted) {
        count(client, PG_COUNT_CLIENTS_ENDED);
        if (session)
            pg_session_detach(session, reason, false);
    } else if (was_joining && session) {
        pg_session_join_cancelled(session);
    }
}

void pg_client_end(struct pg_client *client, enum pg_reason reason)
{
    if (client->state == CLIENT_ENDED)
        return;
    pg_why_note(pg_client_id(client), PG_WHY_CLOSED, reason, pg_conn_peer(client->conn));
    end(client, reason);
    tell_later(client);
}

/* The frontend is told while the client still has its session, so that it can settle what the peer
 * will not answer any more. */
void pg_clients_conn_closed(struct pg_conn *conn)
{
    struct pg_client **clients = pg_conn_clients(conn);
    enum pg_reason reason = pg_conn_close_reason(conn);
    while (*clients) {
        struct pg_client *client = *clients;
        if (client->state == CLIENT_ADMITTED && client->announced) {
            protocol_of(client)->client_ended(client, reason);
            client->announced = false; /* once */
        }
        end(client, reason);
        bury(client);
    }
}

void pg_client_evict(struct pg_client *client, enum pg_reason reason)
{
    const struct pg_protocol *protocol = protocol_of(client);
    bool lives_on = client->announced && protocol->evict && protocol->evict(client, reason);
    if (lives_on)
        pg_client_end(client, reason);
    else
        pg_conn_close(client->conn, reason, NULL);
}

/* Its will is due at the latest when it ends: MQTT 5.0 3.1.2.5. */
static void end_session(struct pg_session *session, enum pg_reason reason)
{
    if (session->will)
        pg_will_publish(session->worker, &session->will, pg_session_id(session));
    pg_session_destroy(session, reason);
}

static void detach_expired(struct pg_timer *timer)
{
    struct pg_session *session = ((struct pg_absence *)timer)->session;
    end_session(session, PG_SESSION_EXPIRED);
}

static void will_due(struct pg_timer *timer)
{
    struct pg_session *session = ((struct pg_will *)timer)->session;
    pg_will_publish(session->worker, &session->will, pg_session_id(session));
}

void pg_session_detach(struct pg_session *session, enum pg_reason reason, bool resumed)
{
    struct pg_client *client = session->client;
    pg_session_forget_client(session);
    if (client) {
        cancel_questions(client);
        client->session = NULL;
    }

    bool suppressed = reason == PG_DRAINING || reason == PG_BANNED;
    if (session->will && suppressed)
        pg_will_free(&session->will);
    bool ends = session->expiry_s == 0 && !resumed;
    if (session->will && (session->will->delay_s == 0 || ends))
        pg_will_publish(session->worker, &session->will, pg_session_id(session));
    else if (session->will) {
        session->will->session = session;
        pg_timer_start(&session->will->timer, (int64_t)session->will->delay_s * 1000, will_due);
    }

    if (resumed)
        return;
    if (ends)
        pg_session_destroy(session, reason);
    else if (!pg_session_begin_absence(session, pg_wall_ms(), detach_expired))
        end_session(session, PG_NO_MEMORY);
    else if (session->kept)
        pg_session_put(session, NULL);
}

bool pg_session_restored(struct pg_session *session, uint32_t detached_wall_s)
{
    int64_t now_ms = pg_wall_ms();
    int64_t since_ms = detached_wall_s != 0 ? (int64_t)detached_wall_s * 1000 : now_ms;
    bool over =
        session->expiry_s != PG_FOREVER && since_ms + (int64_t)session->expiry_s * 1000 <= now_ms;
    if (over) {
        pg_session_destroy(session, PG_SESSION_EXPIRED);
        return true;
    }
    if (!pg_session_begin_absence(session, since_ms, detach_expired))
        return false;
    if (detached_wall_s == 0)
        pg_session_put(session, NULL);
    return true;
}

/* ---- admission ------------------------------------------------------------------------------- */

static struct pg_identity identity_of(const struct pg_client *client)
{
    return (struct pg_identity){
        .client_id = pg_client_id(client),
        .username = pg_client_username(client),
        .peer = pg_conn_peer(client->conn),
        .listener = pg_conn_listener(client->conn),
        .protocol = protocol_of(client)->name,
    };
}

static void note_refusal(struct pg_conn *conn, struct pg_bytes client_id, struct pg_bytes username,
                         enum pg_reason reason, const char *detail)
{
    struct pg_worker *worker = pg_conn_worker(conn);
    pg_worker_count(worker, PG_COUNT_CLIENTS_REFUSED, 1);
    pg_worker_count(worker, PG_COUNTER_REFUSE(reason), 1);
    pg_why_note(client_id, PG_WHY_REFUSED, reason, detail);
    PG_LOG(PG_WARN, "refused", PG_F_REASON(reason), PG_F_BYTES("client", client_id),
           PG_F_BYTES("user", username), PG_F_TEXT("peer", pg_conn_peer(conn)),
           PG_F_TEXT("listener", pg_conn_listener(conn)), PG_F_TEXT("detail", detail));
}

void pg_client_refuse(struct pg_conn *conn, struct pg_bytes client_id, enum pg_reason reason,
                      const char *detail)
{
    note_refusal(conn, client_id, PG_BYTES_NONE, reason, detail);
}

static void refuse(struct pg_client *client, enum pg_reason reason, const char *detail)
{
    note_refusal(client->conn, pg_client_id(client), pg_client_username(client), reason, detail);
    end(client, reason);
    tell_later(client);
}

static void check_will(struct pg_client *client);

static void join(struct pg_client *client)
{
    client->state = CLIENT_JOINING;
    pg_session_join(client, pg_client_id(client), client->pending->clean_start);
}

static void will_decided(void *arg, enum pg_reason reason)
{
    struct pg_client *client = arg;
    client->pending->request = NULL;
    if (reason == PG_OK)
        join(client);
    else
        refuse(client, reason, "its will may not be published to that topic");
}

/* A name or filter that is valid but for its levels: whether it has more than may be. What has
 * fewer bytes than that has not. */
static bool too_deep(const struct pg_config *config, struct pg_bytes topic)
{
    int64_t most = config->settings.limits.topic_levels;
    if (most > (int64_t)PG_TOPIC_LEVELS_MAX)
        most = PG_TOPIC_LEVELS_MAX;
    return topic.len >= (size_t)most && pg_topic_levels(topic) > (unsigned)most;
}

static void check_will(struct pg_client *client)
{
    const struct pg_will *will = client->pending->will;
    if (!will) {
        join(client);
        return;
    }
    struct pg_bytes topic = will->msg->topic;
    struct pg_worker *worker = worker_of(client);
    if ((!will->msg->topic_valid && pg_topic_name_valid(topic) != PG_OK) ||
        too_deep(current_config(worker), topic)) {
        refuse(client, PG_TOPIC_INVALID, "the topic of its will is not valid");
        return;
    }
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    enum pg_reason reason;
    if (prefix.len > 0) {
        struct pg_will *mine = client->pending->will;
        mine->msg = pg_mount_enter(prefix, mine->msg, &reason);
        if (!mine->msg) {
            refuse(client, reason, "the topic of its will, with topic_prefix in front of it");
            return;
        }
        topic = mine->msg->topic;
    }
    struct pg_identity who = identity_of(client);
    reason = pg_access_check(worker, current_config(worker), &who, PG_ACTION_PUBLISH, topic,
                             will_decided, client, &client->pending->request);
    if (reason != PG_PENDING)
        will_decided(client, reason);
}

static void login_decided(void *arg, enum pg_reason reason)
{
    struct pg_client *client = arg;
    client->pending->request = NULL;
    if (reason == PG_OK)
        check_will(client);
    else
        refuse(client, reason, pg_reason_sentence(reason));
}

/* ---- exchanges --------------------------------------------------------------------------------
 */

/* A round of an exchange ended, of a login or of a client that is in. */
static void round_done(void *arg, enum pg_reason reason, struct pg_bytes data)
{
    struct pg_client *client = arg;
    if (reason != PG_PENDING) {
        client->pending->request = NULL;
        settle_pending(client);
    }
    if (pg_conn_closing(client->conn))
        return;
    if (reason == PG_PENDING) {
        protocol_of(client)->challenge(client->conn, data, pg_client_cookie(client));
        return;
    }
    if (client->state == CLIENT_ADMITTED) {
        protocol_of(client)->reauthenticated(client, reason, data);
        return;
    }
    if (reason == PG_OK && data.data) {
        struct pending *p = client->pending;
        p->method_data = malloc(data.len > 0 ? data.len : 1);
        if (!p->method_data)
            reason = PG_NO_MEMORY;
        else if (data.len > 0)
            memcpy(p->method_data, data.data, data.len);
        p->method_data_len = data.len;
    }
    login_decided(client, reason);
}

static enum pg_reason begin_exchange(struct pg_client *client, struct pg_bytes method,
                                     struct pg_bytes data)
{
    struct pg_worker *worker = worker_of(client);
    struct pg_identity who = identity_of(client);
    if (!protocol_of(client)->challenge)
        return PG_UNSUPPORTED;
    struct pending *p = pending_of(client);
    if (!p)
        return PG_NO_MEMORY;
    enum pg_reason reason = pg_access_exchange(worker, current_config(worker), &who, method, data,
                                               round_done, client, &p->request);
    if (reason != PG_PENDING)
        settle_pending(client);
    return reason;
}

bool pg_client_answer(struct pg_conn *conn, void *cookie, struct pg_bytes data)
{
    for (struct pg_client *client = *pg_conn_clients(conn); client; client = client->next) {
        const struct pending *p = client->pending;
        if (pg_client_cookie(client) != cookie || !p || !pg_access_waits(p->request))
            continue;
        if (!pg_access_continue(p->request, data))
            pg_conn_close(conn, PG_NO_MEMORY, "in an authentication exchange");
        return true;
    }
    return false;
}

bool pg_client_reauthenticate(struct pg_client *client, struct pg_bytes method,
                              struct pg_bytes data)
{
    if (!pg_client_session(client) || (client->pending && client->pending->request))
        return false;
    enum pg_reason reason = begin_exchange(client, method, data);
    if (reason != PG_PENDING)
        pg_conn_close(client->conn, reason, "reauthentication");
    return true;
}

static struct pg_client *new_client(struct pg_conn *conn, const struct pg_login *login,
                                    void *cookie)
{
    if (login->client_id.len > UINT16_MAX || login->username.len > UINT16_MAX)
        return NULL;
    struct pg_worker *worker = pg_conn_worker(conn);
    bool has_cookie = cookie != pg_conn_state(conn);
    size_t size = client_size(login->client_id.len, login->username.len, has_cookie);
    struct pg_client *client = pg_slab_set_new(&worker->small, size);
    struct pending *pending = client ? pending_of(client) : NULL;
    if (!pending) {
        pg_slab_set_free(&worker->small, client, size);
        return NULL;
    }
    pending->login = true;
    pending->clean_start = login->clean_start;
    pending->window = login->window;
    client->magic = CLIENT_MAGIC;
    client->state = CLIENT_ASKING;
    client->conn = conn;
    client->since_wall_s = (uint32_t)(pg_wall_ms() / 1000);
    client->id_len = (uint16_t)login->client_id.len;
    memcpy(client->text, login->client_id.data, login->client_id.len);
    client->has_username = login->username.data != NULL;
    client->username_len = (uint16_t)login->username.len;
    if (login->username.len > 0)
        memcpy(client->text + client->id_len, login->username.data, login->username.len);
    client->has_cookie = has_cookie;
    if (has_cookie)
        memcpy(client->text + client->id_len + client->username_len, &cookie, sizeof(cookie));
    client->expiry_s = within_expiry_max(client, login->session_expiry_s);
    if (login->will) {
        pending->will = pg_will_new(login, pg_conn_protocol(conn)->name);
        if (!pending->will) {
            free_client(client, worker);
            return NULL;
        }
    }
    struct pg_client **head = pg_conn_clients(conn);
    client->next = *head;
    if (client->next)
        client->next->link = &client->next;
    client->link = head;
    *head = client;
    pg_conn_count_client(conn, true);
    return client;
}

void pg_client_admit(struct pg_conn *conn, const struct pg_login *asked, void *cookie)
{
    struct pg_login proven = *asked;
    const struct pg_login *login = &proven;
    struct pg_bytes identity = pg_conn_identity(conn);
    if (identity.data) {
        proven.username = identity;
        proven.trusted = true;
    }
    struct pg_client *client = new_client(conn, login, cookie);
    if (!client) {
        pg_conn_close(conn, PG_NO_MEMORY, "while admitting a client");
        return;
    }
    struct pg_worker *worker = worker_of(client);
    struct pg_config *config = current_config(worker);
    if (pg_conn_client_count(conn) > (uint64_t)config->settings.limits.clients_per_connection) {
        refuse(client, PG_QUOTA_EXCEEDED, "see limits.clients_per_connection");
        return;
    }
    struct pg_bytes prefix = pg_conn_client_id_prefix(conn);
    if (prefix.len > 0 && (login->client_id.len < prefix.len ||
                           memcmp(login->client_id.data, prefix.data, prefix.len) != 0)) {
        refuse(client, PG_CLIENT_ID_INVALID, "see client_id_prefix of the listener");
        return;
    }
    enum pg_reason reason = PG_OK;
    if (login->method.data) {
        reason = begin_exchange(client, login->method, login->method_data);
    } else if (!login->trusted) {
        struct pg_identity who = identity_of(client);
        who.password = login->password;
        reason =
            pg_access_login(worker, config, &who, login_decided, client, &client->pending->request);
    }
    if (reason != PG_PENDING)
        login_decided(client, reason);
}

void pg_client_set_joining(struct pg_client *client, struct pg_session *session)
{
    client->session = session;
}

void pg_client_join_failed(struct pg_client *client, enum pg_reason reason)
{
    client->session = NULL;
    refuse(client, reason,
           reason == PG_QUOTA_EXCEEDED ? "see limits.sessions"
                                       : "its session could not be made ready");
}

/* Permissions may have changed while the client was away: look at every subscription again. */
static void recheck_subscriptions(struct pg_client *client);

/* The session is safe, or cannot be kept: only now is the client told. */
static void session_kept(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)token;
    if (client->state != CLIENT_ADMITTED)
        return;
    if (pg_reason_is_error(reason)) {
        refuse(client, reason, "its session could not be kept");
        return;
    }
    tell_later(client);
}

/* PG_PENDING: session_kept() follows. */
static enum pg_reason keep_session(struct pg_client *client)
{
    if (!worker_of(client)->server->store || !pg_session_keep(client->session))
        return pg_session_wants_store(client->session) ? PG_NO_MEMORY : PG_OK;
    struct pg_ticket *ticket = pg_ticket_new(client, 0, session_kept);
    if (!ticket)
        return PG_NO_MEMORY;
    pg_session_put(client->session, ticket);
    pg_ticket_done(ticket, PG_OK);
    return PG_PENDING;
}

void pg_client_joined(struct pg_client *client, struct pg_session *session, bool present)
{
    client->session = session;
    client->state = CLIENT_ADMITTED;
    client->pending->session_present = present;
    session->expiry_s = client->expiry_s;
    pg_will_free(&session->will);
    session->will = client->pending->will;
    client->pending->will = NULL;
    pg_session_attach(session, client, client->pending->window);
    enum pg_reason kept = keep_session(client);
    pg_conn_logged_in(client->conn);
    if (present)
        recheck_subscriptions(client);
    count(client, PG_COUNT_CLIENTS_ADMITTED);
    count(client, present ? PG_COUNT_SESSIONS_RESUMED : PG_COUNT_SESSIONS_CREATED);
    PG_LOG(PG_INFO, "admitted", PG_F_BYTES("client", pg_client_id(client)),
           PG_F_BYTES("user", pg_client_username(client)),
           PG_F_TEXT("protocol", protocol_of(client)->name),
           PG_F_TEXT("peer", pg_conn_peer(client->conn)),
           PG_F_TEXT("listener", pg_conn_listener(client->conn)),
           PG_F_TEXT("session", present ? "resumed" : "new"));
    if (kept != PG_PENDING)
        session_kept(client, 0, kept);
}

/* ---- publish --------------------------------------------------------------------------------- */

bool pg_client_link_ticket(struct pg_client *client, struct pg_ticket *ticket)
{
    struct pending *p = pending_of(client);
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
    settle_pending(ticket->client);
    ticket->client = NULL;
}

static void count_publication(struct pg_client *client, enum pg_reason reason,
                              struct pg_bytes topic)
{
    if (reason == PG_OK || reason == PG_NO_SUBSCRIBERS) {
        count(client, PG_COUNT_MESSAGES_PUBLISHED);
        return;
    }
    count(client, PG_COUNT_MESSAGES_REFUSED);
    count(client, PG_COUNTER_REFUSE(reason));
    pg_why_note_bytes(pg_client_id(client), PG_WHY_REFUSED, reason, topic);
    PG_LOG(PG_WARN, "publish_refused", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_client_id(client)), PG_F_BYTES("topic", topic));
}

void pg_client_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    if (client->state == CLIENT_ADMITTED && client->announced && !pg_conn_closing(client->conn))
        protocol_of(client)->published(client, token, reason);
}

/* Route what was allowed. With a store that answers later, a ticket collects its answers. */
static enum pg_reason publish_allowed(struct pg_client *client, struct pg_bytes target,
                                      struct pg_msg *msg, uint64_t token)
{
    struct pg_worker *worker = worker_of(client);
    struct pg_ticket *ticket = NULL;
    if (msg->qos > 0 && worker->server->store) {
        ticket = pg_ticket_new(client, token, pg_client_published);
        if (!ticket)
            return PG_NO_MEMORY;
    }
    enum pg_reason reason = target.data ? pg_router_send(worker, target, msg, ticket)
                                        : pg_router_publish(worker, msg, ticket);
    count_publication(client, reason, msg->topic);
    pg_conns_hold_if_congested(client->conn);
    if (!ticket)
        return reason;
    pg_ticket_done(ticket, reason);
    return PG_PENDING;
}

static struct pg_question *new_question(struct pg_client *client, struct pg_bytes text)
{
    struct pending *p = pending_of(client);
    struct pg_question *q = p ? calloc(1, sizeof(*q) + text.len) : NULL;
    if (!q) {
        settle_pending(client);
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
    uint64_t token = q->token;
    q->request = NULL;
    if (reason == PG_OK)
        reason = publish_allowed(client, q->kind == ASK_SEND ? question_text(q) : PG_BYTES_NONE,
                                 q->msg, token);
    else
        count_publication(client, reason, q->msg->topic);
    free_question(q);
    if (reason != PG_PENDING)
        pg_client_published(client, token, reason);
}

/* Topics below $SYS are the gateway's own. */
static bool reserved_topic(struct pg_bytes topic)
{
    static const char reserved[] = "$SYS/";
    return topic.len >= sizeof(reserved) - 1 &&
           memcmp(topic.data, reserved, sizeof(reserved) - 1) == 0;
}

/* `target` with data == NULL: by topic. `msg` is given. */
static enum pg_reason publish(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                              uint64_t token)
{
    struct pg_worker *worker = worker_of(client);
    struct pg_config *config = current_config(worker);
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    enum pg_reason reason = msg->topic_valid ? PG_OK : pg_topic_name_valid(msg->topic);
    if (reason == PG_OK && prefix.len > 0) {
        msg = pg_mount_enter(prefix, msg, &reason);
        if (!msg) {
            count_publication(client, reason, prefix);
            return reason;
        }
        reason = PG_OK;
    }
    if (reason == PG_OK && too_deep(config, msg->topic))
        reason = PG_TOPIC_INVALID;
    if (reason == PG_OK && reserved_topic(msg->topic))
        reason = PG_NOT_AUTHORIZED;
    if (reason == PG_OK && !pg_client_session(client))
        reason = PG_NOT_AUTHORIZED;
    if (reason != PG_OK) {
        count_publication(client, reason, msg->topic);
        pg_msg_unref(&msg);
        return reason;
    }
    if (!pg_access_checks_actions(config)) {
        reason = publish_allowed(client, target, msg, token);
        pg_msg_unref(&msg);
        return reason;
    }

    struct pg_question *q = new_question(client, target);
    if (!q) {
        pg_msg_unref(&msg);
        return PG_NO_MEMORY;
    }
    q->kind = target.data ? ASK_SEND : ASK_PUBLISH;
    q->token = token;
    q->msg = msg;
    struct pg_identity who = identity_of(client);
    reason = pg_access_check(worker, config, &who, PG_ACTION_PUBLISH, msg->topic, publish_decided,
                             q, &q->request);
    if (reason == PG_PENDING)
        return reason;
    if (reason == PG_OK)
        reason = publish_allowed(client, target, msg, token);
    else
        count_publication(client, reason, msg->topic);
    free_question(q);
    return reason;
}

enum pg_reason pg_publish(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    return publish(client, PG_BYTES_NONE, msg, token);
}

enum pg_reason pg_send(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                       uint64_t token)
{
    return publish(client, target, msg, token);
}

/* ---- subscribe ------------------------------------------------------------------------------- */

static void tell_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    if (client->announced && client->state == CLIENT_ADMITTED && !pg_conn_closing(client->conn))
        protocol_of(client)->subscribed(client, token, reason);
}

/* PG_PENDING: tell_subscribed() follows, when the store has it. Frontends do not wait for their own
 * subscriptions. */
static enum pg_reason store_subscription(struct pg_client *client,
                                         const struct pg_subscription *sub, uint64_t token)
{
    struct pg_store *store = worker_of(client)->server->store;
    struct pg_kept *kept = client->session->kept;
    if (!kept)
        return PG_OK;
    struct pg_ticket *ticket = NULL;
    if (!sub->internal) {
        ticket = pg_ticket_new(client, token, tell_subscribed);
        if (!ticket)
            return PG_NO_MEMORY;
    }
    store->ops->subscription_put(store, kept->handle, sub, pg_ticket_for_store(ticket));
    if (!ticket)
        return PG_OK;
    pg_ticket_done(ticket, PG_OK);
    return PG_PENDING;
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
    reason = store_subscription(client, sub, token);
    struct pg_filter filter;
    bool valid = pg_topic_filter_check(sub->filter, &filter) == PG_TOPIC_NONE;
    bool wanted = sub->retain_handling == 0 || (sub->retain_handling == 1 && added);
    if (valid && wanted && !made->shared) /* none for shared ones: MQTT 5.0 4.8.2 */
        pg_session_walk_retained(session, made, filter.plain);
    return reason;
}

static void note_refused_subscription(struct pg_client *client, enum pg_reason reason,
                                      struct pg_bytes filter)
{
    count(client, PG_COUNTER_REFUSE(reason));
    pg_why_note_bytes(pg_client_id(client), PG_WHY_REFUSED, reason, filter);
    PG_LOG(PG_WARN, "subscribe_refused", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_client_id(client)), PG_F_BYTES("filter", filter));
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
    struct pg_worker *worker = worker_of(client);
    struct pg_config *config = current_config(worker);
    enum pg_reason reason = pg_topic_filter_valid(sub->filter);
    if (reason == PG_OK && too_deep(config, sub->filter))
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
        struct pg_identity who = identity_of(client);
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

static enum pg_reason unsubscribe(struct pg_client *client, struct pg_bytes filter)
{
    struct pg_session *session = pg_client_session(client);
    if (!session || !pg_subscription_drop(session, filter))
        return PG_NO_SUBSCRIPTION;
    struct pg_store *store = session->worker->server->store;
    if (session->kept)
        store->ops->subscription_drop(store, session->kept->handle, filter, NULL);
    return PG_OK;
}

enum pg_reason pg_unsubscribe(struct pg_client *client, struct pg_bytes filter)
{
    struct pg_bytes prefix = pg_conn_topic_prefix(client->conn);
    if (prefix.len == 0)
        return unsubscribe(client, filter);
    enum pg_reason reason;
    size_t len;
    uint8_t *under = pg_mount_filter(prefix, filter, &len, &reason);
    if (!under)
        return PG_NO_SUBSCRIPTION;
    reason = unsubscribe(client, (struct pg_bytes){.data = under, .len = len});
    free(under);
    return reason;
}

/* ---- permissions after resuming -------------------------------------------------------------- */

static void drop_forbidden(struct pg_client *client, struct pg_bytes filter, enum pg_reason reason)
{
    note_refused_subscription(client, reason, filter);
    (void)pg_unsubscribe(client, filter);
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
    struct pg_identity who = identity_of(client);
    enum pg_reason reason =
        pg_access_check(worker, current_config(worker), &who, PG_ACTION_SUBSCRIBE, question_text(q),
                        resume_decided, q, &q->request);
    if (reason != PG_PENDING)
        resume_decided(q, reason);
}

static void recheck_subscriptions(struct pg_client *client)
{
    if (pg_access_checks_actions(current_config(worker_of(client))))
        pg_subscriptions_each(client->session, recheck, client);
}
