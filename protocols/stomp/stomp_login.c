/* SPDX-License-Identifier: Apache-2.0 */

/* CONNECT and STOMP, CONNECTED, DISCONNECT, and the heart-beats that CONNECT agrees on: how a
 * client comes and goes.
 *
 * CONNECT is judged in this order: version, heart-beat, host, identifier; then the core is asked
 * for admission with login and passcode, and nothing more is read. A client that gives an
 * identifier may have durable subscriptions: if its session is still there, it is taken up again.
 *
 * What is sent to a client that wants heart-beats leaves a quarter of the interval early, so that
 * the timer's resolution, a busy loop and the way do not make it late; silence of the client is
 * borne for twice what was agreed, and for stomp.heartbeat_grace at least.
 *
 * Worker of the connection. Standard: STOMP 1.2, Connecting, Protocol Negotiation, Heart-beating,
 * DISCONNECT; 1.1 and 1.0, the same. */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "stomp_conn.h"

/* The least that heart-beats leave early, and never less than half of the interval apart. */
#define EARLY_MS 200u

/* ---- heart-beats ----------------------------------------------------------------------------- */

static int64_t heartbeat_due(const struct stomp_conn *m)
{
    uint32_t early = m->heartbeat_ms / 4;
    if (early < EARLY_MS) {
        early = m->heartbeat_ms / 2 < EARLY_MS ? m->heartbeat_ms / 2 : EARLY_MS;
    }
    return m->heartbeat_ms - early;
}

static void on_heartbeat(struct pg_timer *timer)
{
    struct stomp_conn *m =
        (struct stomp_conn *)(void *)((uint8_t *)timer - offsetof(struct stomp_conn, heartbeat));
    struct pg_conn *conn = pg_conn_of_state(m);
    if (m->state == STOMP_CLOSED) {
        return;
    }
    int64_t left = heartbeat_due(m) - (pg_now_ms() - m->sent_ms);
    if (left <= 0) {
        stomp_write_heartbeat(conn, m);
        left = heartbeat_due(m);
    }
    pg_timer_start(timer, left, on_heartbeat);
}

static uint32_t longer(uint32_t a, int64_t b)
{
    return a > b ? a : (uint32_t)b;
}

/* The interval in each direction is the longer of what one side can and the other wants; none, if
 * either is 0. */
static void start_heartbeats(struct pg_conn *conn, struct stomp_conn *m)
{
    const struct stomp_conf *conf = stomp_conf_of(conn);
    int64_t silence = 0;
    if (m->peer_sends_ms > 0 && conf->heartbeat_want > 0) {
        silence = 2 * (int64_t)longer(m->peer_sends_ms, conf->heartbeat_want);
        if (silence < conf->heartbeat_grace) {
            silence = conf->heartbeat_grace;
        }
    }
    pg_conn_set_idle(conn, silence, PG_KEEPALIVE_TIMEOUT);
    if (m->peer_wants_ms > 0 && conf->heartbeat_send > 0) {
        m->heartbeat_ms = longer(m->peer_wants_ms, conf->heartbeat_send);
        pg_timer_start(&m->heartbeat, heartbeat_due(m), on_heartbeat);
    }
}

/* ---- CONNECT --------------------------------------------------------------------------------- */

/* An identifier for a client that has none: a random number, unique by chance alone. */
struct made_id {
    char text[64 + 32 + 1];
};

static bool make_id(struct made_id *out, const char *prefix)
{
    uint64_t r[2];
    if (getrandom(r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r)) {
        return false;
    }
    (void)snprintf(out->text, sizeof(out->text), "%s%016llx%016llx", prefix,
                   (unsigned long long)r[0], (unsigned long long)r[1]);
    return true;
}

static bool negotiate(struct pg_conn *conn, struct stomp_conn *m,
                      const struct stomp_request *request)
{
    const unsigned served = 1u << STOMP_V10 | 1u << STOMP_V11 | 1u << STOMP_V12;
    struct pg_bytes accept = stomp_value(request->frame, STOMP_H_ACCEPT_VERSION, request->texts);
    enum stomp_version version = accept.data == NULL ? STOMP_V10 : stomp_negotiate(accept, served);
    if (version == STOMP_V_UNKNOWN) {
        stomp_fail(conn, request, PG_VERSION_UNSUPPORTED,
                   "no version in accept-version is served, which are 1.0, 1.1 and 1.2 "
                   "(STOMP, Protocol Negotiation)");
        return false;
    }
    m->version = (uint8_t)version;
    request->texts->version = version;
    return true;
}

static bool take_heartbeat(struct pg_conn *conn, struct stomp_conn *m,
                           const struct stomp_request *request)
{
    struct pg_bytes text = stomp_value(request->frame, STOMP_H_HEART_BEAT, request->texts);
    if (text.data == NULL || m->version == STOMP_V10 ||
        stomp_heart_beat(text, &m->peer_sends_ms, &m->peer_wants_ms)) {
        return true;
    }
    stomp_fail(conn, request, PG_MALFORMED,
               "heart-beat is not two numbers with a comma between (STOMP, Heart-beating)");
    return false;
}

static bool host_served(const struct stomp_conf *conf, struct pg_bytes host)
{
    for (size_t i = 0; i < conf->hosts.count; i++) {
        if (strcmp(conf->hosts.items[i], "*") == 0 ||
            pg_bytes_equal(pg_bytes_str(conf->hosts.items[i]), host)) {
            return true;
        }
    }
    return conf->hosts.count == 0;
}

static bool check_host(struct pg_conn *conn, const struct stomp_conn *m,
                       const struct stomp_request *request)
{
    struct pg_bytes host = stomp_value(request->frame, STOMP_H_HOST, request->texts);
    if (host.data == NULL) {
        pg_conn_count(conn, STOMP_COUNT_WITHOUT_HOST, m->version != STOMP_V10);
        return true;
    }
    if (host_served(stomp_conf_of(conn), host)) {
        return true;
    }
    stomp_fail(conn, request, PG_NOT_AUTHORIZED, "the host \"%.*s\" is not served; see stomp.hosts",
               host.len > 64 ? 64 : (int)host.len, host.data);
    return false;
}

/* Logs, rules and other protocols repeat identifiers. */
static bool is_plain(struct pg_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return false;
        }
    }
    return text.len <= UINT16_MAX;
}

static void ask_admission(struct pg_conn *conn, struct stomp_conn *m,
                          const struct stomp_request *request)
{
    const struct stomp_conf *conf = stomp_conf_of(conn);
    struct made_id made;
    struct pg_bytes id = stomp_value(request->frame, STOMP_H_CLIENT_ID, request->texts);
    m->named = id.len > 0;
    if (!m->named) {
        if (!make_id(&made, conf->client_id_prefix)) {
            stomp_fail(conn, request, PG_BUSY, "no random numbers for a client identifier");
            return;
        }
        id = pg_bytes_str(made.text);
    } else if (!is_plain(id)) {
        stomp_fail(conn, request, PG_CLIENT_ID_INVALID,
                   "client-id has a control character, or more than 65535 bytes");
        return;
    }
    const struct pg_login login = {
        .client_id = id,
        .username = stomp_value(request->frame, STOMP_H_LOGIN, request->texts),
        .password = stomp_value(request->frame, STOMP_H_PASSCODE, request->texts),
        .clean_start = !m->named,
        .session_expiry_s = m->named ? (uint32_t)(conf->durable_expiry / 1000) : 0,
        .window = (uint32_t)conf->prefetch,
    };
    pg_conn_pause(conn);
    pg_client_admit(conn, &login, m);
}

void stomp_on_connect(struct pg_conn *conn, struct stomp_conn *m,
                      const struct stomp_request *request)
{
    m->state = STOMP_CONNECTING;
    if (negotiate(conn, m, request) && take_heartbeat(conn, m, request) &&
        check_host(conn, m, request)) {
        ask_admission(conn, m, request);
    }
}

void stomp_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    struct stomp_conn *m = cookie;
    const struct stomp_conf *conf = stomp_conf_of(conn);
    if (admission->reason != PG_OK) {
        stomp_fail(conn, NULL, admission->reason, "CONNECT: %s",
                   admission->server_reason != NULL ? admission->server_reason
                                                    : pg_reason_sentence(admission->reason));
        return;
    }
    m->client = admission->client;
    if (m->named && !admission->session_present) {
        /* It lasts until a durable subscription is made. */
        pg_client_set_session_expiry(m->client, 0);
    }
    m->state = STOMP_ONLINE;
    stomp_write_connected(conn, m);
    pg_conn_set_frame_limit(conn, (size_t)(conf->header_size + conf->body_size + 1));
    start_heartbeats(conn, m);
    pg_conn_resume(conn);
}

/* ---- DISCONNECT ------------------------------------------------------------------------------ */

void stomp_on_disconnect(struct pg_conn *conn, struct stomp_conn *m,
                         const struct stomp_request *request)
{
    /* What it sent is not lost: its results are waited for, then the receipt is told. */
    m->state = STOMP_LEAVING;
    (void)stomp_due(conn, m, STOMP_DUE_DISCONNECT, request->receipt, PG_OK);
    if (!pg_conn_closing(conn)) {
        pg_conn_pause(conn);
    }
}
