/* SPDX-License-Identifier: Apache-2.0 */

/* Clients: how they are admitted, and how they end. What they ask for in between is in
 * client_requests.c.
 *
 *  CLIENT_ASKING --allowed--> CLIENT_JOINING --session there--> CLIENT_ADMITTED --> CLIENT_ENDED
 *     |    access decision        |   takeover.c                  |  `admitted` told     ^
 *     +------- refused -----------+-------------------------------+----------------------+
 *
 * A question that is out (an access decision, a store commit) belongs to the client and is
 * cancelled or let go when the client ends; its answer never finds a client that is gone. The
 * frontend is told of admissions, results and endings from the worker's end-of-turn work, never
 * from inside its own calls. */

#include "client_inside.h"

#include <stdlib.h>
#include <string.h>

#include "ban.h"
#include "mount.h"
#include "takeover.h"
#include "ticket.h"
#include "why.h"

#define CLIENT_MAGIC 0x7067636cu

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
    int64_t most_ms = client_config(client_worker(client))->settings.session.expiry_max;
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
        pg_will_forget(client->session);
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
        client_protocol(client)->deliver(client);
}

/* ---- telling the frontend -------------------------------------------------------------------- */

struct pg_client_pending *pg_client_pending(struct pg_client *client)
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

void pg_client_settle_pending(struct pg_client *client)
{
    const struct pg_client_pending *p = client->pending;
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
        client_protocol(client)->client_ended(client, (enum pg_reason)client->reason);
    unlink_client(client);
    if (!client->due)
        free_client(client, client_worker(client));
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
    struct pg_client_pending *p = client->pending;
    struct pg_admission admission = {
        .reason = PG_OK,
        .client = client,
        .session_present = p->session_present,
        .method_data = {.data = p->method_data, .len = p->method_data_len},
    };
    client->announced = true;
    client_protocol(client)->admitted(client->conn, &admission, pg_client_cookie(client));
    p->login = false;
    pg_client_settle_pending(client);
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
    struct pg_worker *worker = client_worker(client);
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

/* Out of its session, whatever the state; what the frontend is told comes later. */
static void end(struct pg_client *client, enum pg_reason reason)
{
    if (client->state == CLIENT_ENDED)
        return;
    struct pg_session *session = client->session;
    bool was_admitted = client->state == CLIENT_ADMITTED,
         was_joining = client->state == CLIENT_JOINING;
    pg_client_cancel_requests(client);
    client->state = CLIENT_ENDED;
    client->reason = (uint8_t)reason;
    client->session = NULL;
    if (was_admitted) {
        client_count(client, PG_COUNT_CLIENTS_ENDED);
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
            client_protocol(client)->client_ended(client, reason);
            client->announced = false; /* once */
        }
        end(client, reason);
        bury(client);
    }
}

void pg_client_evict(struct pg_client *client, enum pg_reason reason)
{
    const struct pg_protocol *protocol = client_protocol(client);
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

void pg_session_detach(struct pg_session *session, enum pg_reason reason, bool resumed)
{
    struct pg_client *client = session->client;
    pg_session_forget_client(session);
    if (client) {
        pg_client_cancel_requests(client);
        client->session = NULL;
    }

    bool ends = session->expiry_s == 0 && !resumed;
    /* When the gateway stops, a session that is not in the store ends with it. */
    bool last = ends || (reason == PG_DRAINING && !session->worker->server->store);
    if (session->will && (session->will->delay_s == 0 || last))
        pg_will_publish(session->worker, &session->will, pg_session_id(session));
    else if (session->will)
        pg_will_delay(session, session->will->delay_s);

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

/* A client that may come in may still have a will that it may not publish. */
static void check_will(struct pg_client *client)
{
    const struct pg_will *will = client->pending->will;
    if (!will) {
        join(client);
        return;
    }
    struct pg_bytes topic = will->msg->topic;
    struct pg_worker *worker = client_worker(client);
    if ((!will->msg->topic_valid && pg_topic_name_valid(topic) != PG_OK) ||
        client_too_deep(client_config(worker), topic)) {
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
    if (client_reserved_topic(topic)) {
        refuse(client, PG_NOT_AUTHORIZED, "its will may not be published to that topic");
        return;
    }
    struct pg_identity who = client_identity(client);
    reason = pg_access_check(worker, client_config(worker), &who, PG_ACTION_PUBLISH, topic,
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

/* ---- exchanges ------------------------------------------------------------------------------- */

/* A round of an exchange ended, of a login or of a client that is in. */
static void round_done(void *arg, enum pg_reason reason, struct pg_bytes data)
{
    struct pg_client *client = arg;
    if (reason != PG_PENDING) {
        client->pending->request = NULL;
        pg_client_settle_pending(client);
    }
    if (pg_conn_closing(client->conn))
        return;
    if (reason == PG_PENDING) {
        client_protocol(client)->challenge(client->conn, data, pg_client_cookie(client));
        return;
    }
    if (client->state == CLIENT_ADMITTED) {
        client_protocol(client)->reauthenticated(client, reason, data);
        return;
    }
    if (reason == PG_OK && data.data) {
        struct pg_client_pending *p = client->pending;
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
    struct pg_worker *worker = client_worker(client);
    struct pg_identity who = client_identity(client);
    if (!client_protocol(client)->challenge)
        return PG_UNSUPPORTED;
    struct pg_client_pending *p = pg_client_pending(client);
    if (!p)
        return PG_NO_MEMORY;
    enum pg_reason reason = pg_access_exchange(worker, client_config(worker), &who, method, data,
                                               round_done, client, &p->request);
    if (reason != PG_PENDING)
        pg_client_settle_pending(client);
    return reason;
}

bool pg_client_answer(struct pg_conn *conn, void *cookie, struct pg_bytes data)
{
    for (struct pg_client *client = *pg_conn_clients(conn); client; client = client->next) {
        const struct pg_client_pending *p = client->pending;
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
    struct pg_client_pending *pending = client ? pg_client_pending(client) : NULL;
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
    struct pg_worker *worker = client_worker(client);
    struct pg_config *config = client_config(worker);
    if (pg_conn_client_count(conn) > (uint64_t)config->settings.limits.clients_per_connection) {
        refuse(client, PG_QUOTA_EXCEEDED, "see limits.clients_per_connection");
        return;
    }
    if (pg_ban_has_client(login->client_id)) {
        refuse(client, PG_BANNED, "see polygatectl bans");
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
        struct pg_identity who = client_identity(client);
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

/* The session is safe, or cannot be kept: only now is the client told. */
static void session_safe(struct pg_client *client, enum pg_reason reason)
{
    if (client->state != CLIENT_ADMITTED)
        return;
    if (!pg_reason_is_error(reason)) {
        tell_later(client);
        return;
    }
    /* It was never there: neither its will nor a session that is new stay. */
    pg_client_drop_will(client);
    if (!client->pending->session_present)
        client->session->expiry_s = 0;
    refuse(client, reason, "its session could not be kept");
}

static void session_kept(struct pg_client *client, const struct pg_ticket *ticket,
                         enum pg_reason reason)
{
    (void)ticket;
    session_safe(client, reason);
}

/* PG_PENDING: session_kept() follows. */
static enum pg_reason keep_session(struct pg_client *client)
{
    struct pg_session *session = client->session;
    if (!client_worker(client)->server->store)
        return PG_OK;
    if (!pg_session_keep(session) && pg_session_wants_store(session))
        return PG_NO_MEMORY;
    if (!session->kept && !session->will)
        return PG_OK;
    struct pg_ticket *ticket = pg_ticket_new(client, 0, PG_BYTES_NONE, session_kept);
    if (!ticket)
        return PG_NO_MEMORY;
    if (session->kept)
        pg_session_put(session, ticket);
    if (session->will)
        pg_will_keep(session, 0, ticket);
    pg_ticket_done(ticket, PG_OK);
    return PG_PENDING;
}

void pg_client_joined(struct pg_client *client, struct pg_session *session, bool present)
{
    client->session = session;
    client->state = CLIENT_ADMITTED;
    client->pending->session_present = present;
    session->expiry_s = client->expiry_s;
    pg_will_forget(session);
    session->will = client->pending->will;
    client->pending->will = NULL;
    pg_session_attach(session, client, client->pending->window);
    enum pg_reason kept = keep_session(client);
    pg_conn_logged_in(client->conn);
    if (present)
        pg_client_recheck(client);
    client_count(client, PG_COUNT_CLIENTS_ADMITTED);
    client_count(client, present ? PG_COUNT_SESSIONS_RESUMED : PG_COUNT_SESSIONS_CREATED);
    PG_LOG(PG_INFO, "admitted", PG_F_BYTES("client", pg_client_id(client)),
           PG_F_BYTES("user", pg_client_username(client)),
           PG_F_TEXT("protocol", client_protocol(client)->name),
           PG_F_TEXT("peer", pg_conn_peer(client->conn)),
           PG_F_TEXT("listener", pg_conn_listener(client->conn)),
           PG_F_TEXT("session", present ? "resumed" : "new"));
    if (kept != PG_PENDING)
        session_safe(client, kept);
}
