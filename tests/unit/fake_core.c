/* SPDX-License-Identifier: Apache-2.0 */

/* A test double of the core (fake_core.h): connections, clients and turns; its sessions are in
 * fake_session.c. Straight lists, no speed. */

#include "fake_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_core fake;

enum pg_reason (*fake_login)(const struct pg_login *login);
bool fake_hold_admissions;
enum pg_reason fake_publish_result;
enum pg_reason fake_subscribe_result;
enum pg_reason fake_unsubscribe_result;
uint32_t fake_session_expiry_max;
struct pg_bytes fake_method_data;

struct pg_bytes fake_keep(struct pg_bytes bytes)
{
    if (!bytes.data) {
        return bytes;
    }
    uint8_t *copy = malloc(bytes.len + 1);
    fake.kept = realloc(fake.kept, (fake.kept_count + 1) * sizeof(*fake.kept));
    assert(copy && fake.kept);
    memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = '\0';
    fake.kept[fake.kept_count++] = copy;
    return (struct pg_bytes){.data = copy, .len = bytes.len};
}

static void record(struct pg_msg *msg, const struct pg_client *client, uint64_t token)
{
    struct fake_message *grown = realloc(fake.messages, (fake.message_count + 1) * sizeof(*grown));

    assert(grown);
    fake.messages = grown;
    struct fake_message *m = &grown[fake.message_count++];
    memset(m, 0, sizeof(*m));
    m->msg = msg;
    m->announced = client == NULL;
    m->token = token;
    if (client) {
        (void)snprintf(m->publisher, sizeof(m->publisher), "%s", client->session->id);
    }
}

size_t fake_message_count(void)
{
    return fake.message_count;
}

const struct fake_message *fake_message(size_t index)
{
    return index < fake.message_count ? &fake.messages[index] : NULL;
}

size_t fake_count_on(const char *topic, const struct fake_message **last)
{
    size_t count = 0;

    for (size_t i = 0; i < fake.message_count; i++) {
        if (pg_bytes_equal(fake.messages[i].msg->topic, pg_bytes_str(topic))) {
            count++;
            if (last) {
                *last = &fake.messages[i];
            }
        }
    }
    return count;
}

void fake_forget_messages(void)
{
    for (size_t i = 0; i < fake.message_count; i++) {
        pg_msg_unref(&fake.messages[i].msg);
    }
    free(fake.messages);
    fake.messages = NULL;
    fake.message_count = 0;
}

int64_t pg_now_ms(void)
{
    return fake.now_ms;
}

/* ---- timers --------------------------------------------------------------------------------- */

void pg_timer_stop(struct pg_timer *timer)
{
    if (timer->link) {
        *timer->link = timer->next;
        if (timer->next) {
            timer->next->link = timer->link;
        }
        timer->next = NULL;
        timer->link = NULL;
    }
}

void pg_timer_start(struct pg_timer *timer, int64_t delay_ms, void (*fn)(struct pg_timer *timer))
{
    pg_timer_stop(timer);
    timer->deadline_ms = fake.now_ms + (delay_ms > 0 ? delay_ms : 0);
    timer->fn = fn;
    timer->next = fake.timers;
    timer->link = &fake.timers;
    if (fake.timers) {
        fake.timers->link = &timer->next;
    }
    fake.timers = timer;
}

static struct pg_timer *due_timer(void)
{
    struct pg_timer *due = NULL;

    for (struct pg_timer *t = fake.timers; t; t = t->next) {
        if (t->deadline_ms <= fake.now_ms && (!due || t->deadline_ms < due->deadline_ms)) {
            due = t;
        }
    }
    return due;
}

/* ---- connections ---------------------------------------------------------------------------- */

void *pg_conn_state(struct pg_conn *conn)
{
    return conn->state;
}

struct pg_conn *pg_conn_of_state(void *state)
{
    for (struct pg_conn *c = fake.conns; c; c = c->next) {
        if (c->state == state) {
            return c;
        }
    }
    abort();
}

const void *pg_conn_conf(const struct pg_conn *conn)
{
    (void)conn;
    return fake.conf;
}

const char *pg_conn_peer(const struct pg_conn *conn)
{
    (void)conn;
    return "127.0.0.1:40112";
}

const char *pg_conn_listener(const struct pg_conn *conn)
{
    (void)conn;
    return "test";
}

const char *pg_conn_assigned_id_prefix(const struct pg_conn *conn)
{
    (void)conn;
    return fake.protocol->calls ? "calls/block" : "";
}

uint64_t pg_conn_id(const struct pg_conn *conn)
{
    return (uint64_t)(uintptr_t)conn;
}

bool pg_conn_closing(const struct pg_conn *conn)
{
    return conn->closing;
}

void pg_conn_set_frame_limit(struct pg_conn *conn, size_t bytes)
{
    conn->frame_limit = bytes;
}

void pg_conn_expect(struct pg_conn *conn, size_t bytes)
{
    conn->expect = bytes;
}

void pg_conn_pause(struct pg_conn *conn)
{
    conn->pauses++;
}

void pg_conn_resume(struct pg_conn *conn)
{
    assert(conn->pauses > 0);
    conn->reoffer = --conn->pauses == 0;
}

void pg_conn_set_idle(struct pg_conn *conn, int64_t ms, enum pg_reason reason)
{
    conn->idle_ms = ms;
    conn->idle_reason = reason;
    conn->alive_ms = fake.now_ms;
}

void pg_conn_alive(struct pg_conn *conn)
{
    conn->alive_ms = fake.now_ms;
}

void pg_conn_append(struct pg_conn *conn, struct pg_bytes bytes)
{
    if (conn->dead || bytes.len == 0) {
        return;
    }
    conn->out = realloc(conn->out, conn->out_len + bytes.len);
    assert(conn->out);
    memcpy(conn->out + conn->out_len, bytes.data, bytes.len);
    conn->out_len += bytes.len;
}

void pg_conn_append_msg(struct pg_conn *conn, struct pg_msg *msg, struct pg_bytes bytes)
{
    (void)msg;
    pg_conn_append(conn, bytes);
}

uint8_t *pg_conn_reserve(struct pg_conn *conn, size_t n)
{
    assert(n <= PG_RESERVE_MAX);
    conn->reserved = n;
    return conn->reserve;
}

void pg_conn_commit(struct pg_conn *conn, size_t used)
{
    assert(used <= conn->reserved);
    pg_conn_append(conn, (struct pg_bytes){.data = conn->reserve, .len = used});
}

bool pg_conn_has_room(const struct pg_conn *conn)
{
    return !conn->full;
}

size_t pg_conn_queued_bytes(const struct pg_conn *conn)
{
    return conn->out_len;
}

void pg_conn_close(struct pg_conn *conn, enum pg_reason reason, const char *detail, ...)
{
    if (!conn->closing) {
        conn->closing = true;
        conn->reason = reason;
        if (detail) {
            va_list args;
            va_start(args, detail);
            (void)vsnprintf(conn->detail, sizeof(conn->detail), detail, args);
            va_end(args);
        }
        if (fake.protocol->goodbye && reason != PG_PEER_CLOSED && reason != PG_NETWORK_ERROR) {
            fake.protocol->goodbye(conn, reason);
        }
    }
}

void pg_client_refuse(struct pg_conn *conn, struct pg_bytes client_id, enum pg_reason reason,
                      const char *detail)
{
    (void)conn, (void)client_id, (void)reason, (void)detail;
}

void pg_conn_count(struct pg_conn *conn, size_t index, uint64_t n)
{
    (void)conn;
    assert(index < MAX_COUNTERS);
    fake.counters[index] += n;
}

uint64_t fake_counter(const char *name)
{
    for (size_t i = 0; fake.protocol->counters[i].name; i++) {
        if (strcmp(fake.protocol->counters[i].name, name) == 0) {
            return fake.counters[i];
        }
    }
    abort();
}

struct pg_conn *fake_connect(void)
{
    struct pg_conn *conn = calloc(1, sizeof(*conn));

    assert(conn);
    conn->state = calloc(1, fake.protocol->conn_size);
    conn->alive_ms = fake.now_ms;
    conn->idle_ms = 10000;
    conn->idle_reason = PG_LOGIN_TIMEOUT;
    conn->frame_limit = 256;
    conn->next = fake.conns;
    fake.conns = conn;
    fake.protocol->open(conn);
    fake_turn();
    return conn;
}

static void offer(struct pg_conn *conn)
{
    conn->reoffer = false;
    if (conn->pauses > 0 || conn->closing || conn->in_len == 0) {
        return;
    }
    /* An exact copy, so that a read past the end is seen. */
    uint8_t *exact = malloc(conn->in_len);
    assert(exact);
    memcpy(exact, conn->in, conn->in_len);
    conn->expect = 0;
    size_t used = fake.protocol->bytes(conn, (struct pg_bytes){.data = exact, .len = conn->in_len});
    free(exact);
    assert(used <= conn->in_len);
    memmove(conn->in, conn->in + used, conn->in_len - used);
    conn->in_len -= used;
    if (conn->in_len > conn->frame_limit && conn->pauses == 0) {
        pg_conn_close(conn, PG_TOO_LARGE, NULL);
    }
}

void fake_feed(struct pg_conn *conn, struct pg_bytes bytes)
{
    if (!conn->closing && bytes.len > 0) {
        conn->in = realloc(conn->in, conn->in_len + bytes.len);
        assert(conn->in);
        memcpy(conn->in + conn->in_len, bytes.data, bytes.len);
        conn->in_len += bytes.len;
        offer(conn);
    }
    fake_turn();
}

void fake_break(struct pg_conn *conn)
{
    pg_conn_close(conn, PG_PEER_CLOSED, NULL);
    fake_turn();
}

struct pg_bytes fake_written(struct pg_conn *conn)
{
    return (struct pg_bytes){.data = conn->out, .len = conn->out_len};
}

void fake_taken(struct pg_conn *conn, size_t len)
{
    assert(len <= conn->out_len);
    if (len > 0) {
        memmove(conn->out, conn->out + len, conn->out_len - len);
        conn->out_len -= len;
    }
}

bool fake_is_closed(struct pg_conn *conn, enum pg_reason *reason)
{
    if (conn->closing && reason) {
        *reason = conn->reason;
    }
    return conn->closing;
}

void fake_full(struct pg_conn *conn, bool full)
{
    conn->full = full;
    fake_turn();
}

size_t fake_kept(struct pg_conn *conn)
{
    return conn->in_len;
}

bool fake_is_paused(struct pg_conn *conn)
{
    return conn->pauses > 0;
}

struct fake_view fake_view(const struct pg_conn *conn)
{
    return (struct fake_view){conn->frame_limit, conn->expect, conn->idle_ms, conn->detail};
}

struct pg_client *pg_conn_client(const struct pg_conn *conn)
{
    struct pg_client *client = fake.clients;

    while (client && (client->conn != conn || client->ended)) {
        client = client->next;
    }
    return client;
}

struct pg_client *fake_client(struct pg_conn *conn)
{
    return pg_conn_client(conn);
}

/* ---- clients and sessions ------------------------------------------------------------------- */

void pg_client_admit(struct pg_conn *conn, const struct pg_login *login, void *cookie)
{
    struct admission *a = calloc(1, sizeof(*a));

    assert(a && login->client_id.len > 0);
    fake.login = *login;
    fake.login.will = NULL;
    fake.login.client_id = fake_keep(login->client_id);
    fake.login.username = fake_keep(login->username);
    fake.login.password = fake_keep(login->password);
    fake.login.method = fake_keep(login->method);
    fake.login.method_data = fake_keep(login->method_data);
    fake.login_count++;
    assert(login->window >= 1 && login->window <= 65535);
    a->conn = conn;
    a->cookie = cookie;
    a->reason = fake_login ? fake_login(login) : PG_OK;
    if (login->client_id.len < sizeof(a->id)) {
        memcpy(a->id, login->client_id.data, login->client_id.len);
    } else {
        a->reason = PG_CLIENT_ID_INVALID;
    }
    a->clean = login->clean_start;
    a->will = login->will ? pg_msg_new(login->will) : NULL;
    a->expiry_s = login->session_expiry_s < fake_session_expiry_max ? login->session_expiry_s
                                                                    : fake_session_expiry_max;
    a->window = login->window;
    struct admission **end = &fake.admissions;
    while (*end) {
        end = &(*end)->next;
    }
    *end = a;
}

static void end_client(struct pg_client *client, enum pg_reason reason)
{
    struct fake_session *s = client->session;

    if (client->ended) {
        return;
    }
    fake.protocol->client_ended(client, reason);
    client->ended = true;
    if (client->will) {
        record(client->will, client, 0);
        fake.messages[fake.message_count - 1].will = true;
        client->will = NULL;
    }
    for (struct fake_delivery *d = s->deliveries; d; d = d->next) {
        d->redelivered |= d->out;
        d->out = false;
    }
    if (s->client == client) {
        s->client = NULL;
    }
}

static bool admit_one(void)
{
    struct admission *a = fake.admissions;

    if (!a || fake_hold_admissions) {
        return false;
    }
    fake.admissions = a->next;
    if (!a->conn->closing) {
        struct pg_admission result = {.reason = a->reason, .method_data = fake_method_data};
        if (a->reason == PG_OK) {
            struct fake_session *s = fake_session_of(a->id);
            result.session_present =
                !a->clean && (s->client != NULL || s->deliveries != NULL || s->expiry_s > 0);
            if (s->client) {
                struct pg_client *old = s->client;
                bool lives = fake.protocol->evict && fake.protocol->evict(old, PG_TAKEN_OVER);
                end_client(old, PG_TAKEN_OVER);
                if (!lives) {
                    pg_conn_close(old->conn, PG_TAKEN_OVER, NULL);
                }
            }
            struct pg_client *client = calloc(1, sizeof(*client));
            assert(client);
            if (a->clean) {
                fake_session_clear(s);
            }
            client->will = a->will;
            a->will = NULL;
            client->conn = a->conn;
            client->session = s;
            client->cookie = a->cookie;
            client->window = a->window;
            client->next = fake.clients;
            fake.clients = client;
            s->client = client;
            s->expiry_s = a->expiry_s;
            result.client = client;
        }
        fake.protocol->admitted(a->conn, &result, a->cookie);
    }
    pg_msg_unref(&a->will);
    free(a);
    return true;
}

void fake_admit_held(void)
{
    fake_hold_admissions = false;
    fake_turn();
}

struct pg_conn *pg_client_conn(const struct pg_client *client)
{
    return client->conn;
}

struct pg_bytes pg_client_id(const struct pg_client *client)
{
    return pg_bytes_str(client->session->id);
}

struct pg_bytes pg_client_username(const struct pg_client *client)
{
    (void)client;
    return PG_BYTES_NONE;
}

void *pg_client_cookie(const struct pg_client *client)
{
    assert(!client->ended);
    return client->cookie;
}

void pg_client_set_session_expiry(struct pg_client *client, uint32_t seconds)
{
    client->session->expiry_s = seconds;
}

void pg_client_set_window(struct pg_client *client, uint32_t window)
{
    assert(window >= 1);
    client->window = window;
}

uint32_t pg_client_session_expiry(const struct pg_client *client)
{
    return client->session->expiry_s;
}

void pg_client_drop_will(struct pg_client *client)
{
    pg_msg_unref(&client->will);
}

void pg_client_end(struct pg_client *client, enum pg_reason reason)
{
    assert(!client->ended);
    client->ending = true;
    client->end_reason = reason;
}

void fake_kick(const char *client_id, enum pg_reason reason)
{
    struct pg_client *client = fake_session_of(client_id)->client;

    assert(client);
    bool lives = fake.protocol->evict && fake.protocol->evict(client, reason);
    end_client(client, reason);
    if (!lives) {
        pg_conn_close(client->conn, reason, NULL);
    }
    fake_turn();
}

/* ---- publish and subscribe ------------------------------------------------------------------ */

enum pg_reason pg_publish(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    assert(!client->ended);
    bool valid = pg_topic_name_valid(msg->topic) == PG_OK;
    assert(valid || !msg->topic_valid); /* a claim that does not hold */
    if (!valid) {
        pg_msg_unref(&msg);
        return PG_TOPIC_INVALID;
    }
    if (fake_publish_result == PG_OK || fake_publish_result == PG_PENDING) {
        record(msg, client, token);
    } else {
        pg_msg_unref(&msg);
    }
    return fake_publish_result;
}

enum pg_reason pg_send(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                       uint64_t token)
{
    (void)target;
    return pg_publish(client, msg, token);
}

void pg_announce(struct pg_msg *msg)
{
    assert(pg_topic_name_valid(msg->topic) == PG_OK);
    record(msg, NULL, 0);
}

void fake_decide(uint64_t token, enum pg_reason reason)
{
    assert(fake.decision_count < 64);
    fake.decisions[fake.decision_count++] = (struct decision){token, reason};
    fake_turn();
}

void fake_decide_subscription(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    fake.protocol->subscribed(client, token, reason);
    fake_turn();
}

const struct pg_login *fake_last_login(size_t *count)
{
    *count = fake.login_count;
    return &fake.login;
}

/* ---- turns ---------------------------------------------------------------------------------- */

static bool decide_one(void)
{
    if (fake.decision_count == 0) {
        return false;
    }
    struct decision d = fake.decisions[0];
    memmove(fake.decisions, fake.decisions + 1, --fake.decision_count * sizeof(d));
    for (size_t i = 0; i < fake.message_count; i++) {
        struct fake_session *s = fake_session_of(fake.messages[i].publisher);
        if (fake.messages[i].token == d.token && s->client) {
            fake_receipt_decided(s->client, d.token, d.reason);
            fake.protocol->published(s->client, d.token, d.reason);
            break;
        }
    }
    return true;
}

static bool end_one(void)
{
    for (struct pg_client *c = fake.clients; c; c = c->next) {
        if (!c->ended && (c->ending || c->conn->closing)) {
            end_client(c, c->ending ? c->end_reason : c->conn->reason);
            return true;
        }
    }
    return false;
}

static bool deliver_some(void)
{
    bool any = false;

    for (struct fake_session *s = fake.sessions; s; s = s->next) {
        size_t before = fake_session_out(s) + fake.settled + fake.returned;
        if (s->client && s->deliveries && !s->client->conn->closing && !s->client->conn->full) {
            fake.protocol->deliver(s->client);
            any |= fake_session_out(s) + fake.settled + fake.returned != before;
        }
    }
    return any;
}

static bool offer_some(void)
{
    for (struct pg_conn *c = fake.conns; c; c = c->next) {
        if (c->reoffer && !c->closing) {
            offer(c);
            return true;
        }
    }
    return false;
}

void fake_turn(void)
{
    if (fake.in_call) {
        return;
    }
    fake.in_call = true;
    for (;;) {
        struct pg_timer *timer = due_timer();
        if (timer) {
            pg_timer_stop(timer);
            timer->fn(timer);
        } else if (!end_one() && !admit_one() && !decide_one() && !deliver_some() &&
                   !offer_some()) {
            break;
        }
    }
    for (struct pg_conn *c = fake.conns; c; c = c->next) {
        if (c->closing && !c->dead) {
            c->dead = true;
            if (fake.protocol->closed) {
                fake.protocol->closed(c);
            }
        }
    }
    fake.in_call = false;
}

void fake_advance(int64_t ms)
{
    int64_t end = fake.now_ms + ms;

    while (fake.now_ms < end) {
        fake.now_ms = fake.now_ms + 100 < end ? fake.now_ms + 100 : end;
        for (struct pg_conn *c = fake.conns; c; c = c->next) {
            if (!c->closing && c->idle_ms > 0 && fake.now_ms - c->alive_ms >= c->idle_ms) {
                pg_conn_close(c, c->idle_reason, NULL);
            }
        }
        fake_turn();
    }
}

/* ---- configuration -------------------------------------------------------------------------- */

void *fake_conf(void)
{
    return fake.conf;
}

void fake_begin(const struct pg_protocol *protocol)
{
    struct pg_error error;

    memset(&fake, 0, sizeof(fake));
    fake_login = NULL;
    fake_hold_admissions = false;
    fake_publish_result = PG_OK;
    fake_subscribe_result = PG_OK;
    fake_unsubscribe_result = PG_OK;
    fake_session_expiry_max = PG_FOREVER;
    fake_method_data = PG_BYTES_NONE;
    fake.protocol = protocol;
    fake.now_ms = 1000;
    fake.conf = calloc(1, protocol->conf_size);
    assert(fake.conf);
    for (size_t i = 0; protocol->options[i].name; i++) {
        fake_set_default(&protocol->options[i], fake.conf);
    }
    /* A block that calls needs values of its own. */
    assert(protocol->calls || !protocol->check || protocol->check(fake.conf, &error));
}

void fake_end(void)
{
    struct pg_delivery none;

    for (struct pg_conn *c = fake.conns; c; c = c->next) {
        pg_conn_close(c, PG_DRAINING, NULL);
    }
    fake_hold_admissions = false;
    fake_turn();
    /* Let go of the message that was lent last. */
    struct fake_session empty = {.id = "none"};
    struct pg_client nobody = {.session = &empty, .window = 1};
    bool any = pg_delivery_next(&nobody, &none);
    assert(!any);
    while (fake.sessions) {
        struct fake_session *s = fake.sessions;
        fake.sessions = s->next;
        fake_session_clear(s);
        free(s);
    }
    while (fake.clients) {
        struct pg_client *c = fake.clients;
        fake.clients = c->next;
        free(c);
    }
    while (fake.conns) {
        struct pg_conn *c = fake.conns;
        fake.conns = c->next;
        free(c->state);
        free(c->in);
        free(c->out);
        free(c);
    }
    fake_forget_messages();
    free(fake.conf);
    free(fake.subscriptions);
    for (size_t i = 0; i < fake.kept_count; i++) {
        free(fake.kept[i]);
    }
    free(fake.kept);
    assert(fake_live_messages() == 0);
    assert(fake.timers == NULL);
}
