/* SPDX-License-Identifier: Apache-2.0 */

/* From an accepted socket to what is to serve it.
 *
 *   accepted --> first byte --is TLS--> handshake --> first byte, ciphered --+
 *                    |                                                       |
 *                    +--------------> more, until it can be told <-----------+
 *                                          |
 *        a frontend's: the connection's link;   HTTP: an opening handshake, which answers;
 *        a request for a policy file: answered;   nothing that is served: closed
 *
 * The first byte is looked at in the kernel's buffer, since TLS reads the socket by itself. Inside
 * TLS the same is told by the same bytes, so that clients that offer no protocol in their
 * ClientHello (RFC 7301) are served as well. There is no connection of the core before it is known
 * which frontend serves; a newcomer holds a place among limits.connections all the same. It has
 * limits.first_byte_timeout, then limits.login_timeout until it is told, and AUTO_SNIFF_MAX bytes.
 * There is no other bound on their number, as there is none on connections before their login: a
 * fleet that comes back all at once is here before its first bytes are, and those who only connect
 * and are silent must not keep it out.
 *
 * Thread: a worker's newcomers are its own. */

#include "auto_newcomer.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../net/net_address.h"
#include "../net/net_link.h"
#include "../net/net_stream.h"
#include "../tls/tls_stream.h"
#include "../ws/ws_opening.h"
#include "auto_conf.h"
#include "auto_sniff.h"
#include "conn.h"
#include "guard.h"
#include "worker.h"

struct newcomer {
    struct net_stream stream; /* first */
    struct ev_timer timer;
    struct newcomer *next, **link; /* all of the worker */
    struct pg_listening *listening;
    struct pg_worker *worker;
    const struct pg_listener_conf *conf;
    struct pg_config *config; /* shared; conf is part of it */
    char *identity;           /* proven to a proxy or by TLS; NULL: none */
    enum pg_reason late;      /* why it ends when the timer does; PG_OK: it was answered already */
    struct pg_place place;
    uint16_t len;
    uint8_t head[AUTO_SNIFF_MAX];
    char peer[];
};

static _Thread_local struct newcomer *newcomers;

static const struct auto_conf *conf_of(const struct newcomer *newcomer)
{
    return newcomer->conf->transport_conf;
}

static struct pg_bytes identity_of(const struct newcomer *newcomer)
{
    return newcomer->identity ? pg_bytes_str(newcomer->identity) : PG_BYTES_NONE;
}

static struct pg_bytes head_of(const struct newcomer *newcomer)
{
    return (struct pg_bytes){.data = newcomer->head, .len = newcomer->len};
}

/* Free it, with its stream and its place unless that has moved. */
static void end_newcomer(struct newcomer *newcomer)
{
    ev_timer_stop(pg_worker_loop(newcomer->worker), &newcomer->timer);
    if (newcomer->stream.state != NET_STREAM_NEW) {
        net_stream_close(&newcomer->stream);
        pg_conn_give_place(newcomer->worker, &newcomer->place);
    }
    *newcomer->link = newcomer->next;
    if (newcomer->next)
        newcomer->next->link = newcomer->link;
    pg_config_unref(&newcomer->config);
    free(newcomer->identity);
    free(newcomer);
}

static void give_up(struct newcomer *newcomer, enum pg_reason reason, const char *detail)
{
    pg_conn_refused(newcomer->worker, newcomer->conf, newcomer->peer, reason, detail);
    pg_guard_offence(newcomer->worker, newcomer->peer, reason);
    end_newcomer(newcomer);
}

/* From now on it has `ms`, or it ends for `late`. */
static void set_deadline(struct newcomer *newcomer, int64_t ms, enum pg_reason late)
{
    struct ev_loop *loop = pg_worker_loop(newcomer->worker);
    newcomer->late = late;
    ev_timer_stop(loop, &newcomer->timer);
    ev_timer_set(&newcomer->timer, (double)ms / 1000., 0.);
    ev_timer_start(loop, &newcomer->timer);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct newcomer *newcomer = watcher->data;
    if (newcomer->late == PG_OK)
        end_newcomer(newcomer);
    else
        give_up(newcomer, newcomer->late,
                newcomer->late == PG_HANDSHAKE_TIMEOUT    ? "see handshake_timeout of the listener"
                : newcomer->late == PG_FIRST_BYTE_TIMEOUT ? "see limits.first_byte_timeout"
                                                          : "see limits.login_timeout");
}

static void await_first_byte(struct newcomer *newcomer)
{
    set_deadline(newcomer, newcomer->config->settings.limits.first_byte_timeout,
                 PG_FIRST_BYTE_TIMEOUT);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Say `text` (data == NULL: nothing), and wait a while for the peer to close. */
static void part(struct newcomer *newcomer, struct pg_bytes text)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text.data, .iov_len = text.len};
    if (text.data && net_stream_write(&newcomer->stream, &iov, 1) != (ssize_t)text.len) {
        end_newcomer(newcomer);
        return;
    }
    set_deadline(newcomer, newcomer->config->settings.limits.linger, PG_OK);
    net_stream_finish(&newcomer->stream);
}

static void turn_away(struct newcomer *newcomer, const char *detail, struct pg_bytes text)
{
    pg_conn_refused(newcomer->worker, newcomer->conf, newcomer->peer, PG_UNKNOWN_PROTOCOL, detail);
    pg_guard_offence(newcomer->worker, newcomer->peer, PG_UNKNOWN_PROTOCOL);
    part(newcomer, text);
}

/* The policy for the port that it has come to, so that no other port is opened by it. */
static void answer_policy(struct newcomer *newcomer)
{
    const struct pg_strings *sites = &conf_of(newcomer)->flash_policy;
    struct net_address address = {.len = sizeof(address.sa)};
    char text[4096];
    if (sites->count == 0 || getsockname(newcomer->stream.fd, &address.sa.any, &address.len) != 0) {
        turn_away(newcomer, "a question for a socket-policy file; see flash_policy", PG_BYTES_NONE);
        return;
    }
    int len = snprintf(text, sizeof(text), "<?xml version=\"1.0\"?>\n<cross-domain-policy>\n");
    for (size_t i = 0; i < sites->count && (size_t)len < sizeof(text); i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "<allow-access-from domain=\"%s\" to-ports=\"%u\"/>\n", sites->items[i],
                        net_address_port(&address));
    if ((size_t)len < sizeof(text))
        len += snprintf(text + len, sizeof(text) - (size_t)len, "</cross-domain-policy>\n");
    if ((size_t)len >= sizeof(text)) {
        turn_away(newcomer, "flash_policy makes a file longer than 4 KiB", PG_BYTES_NONE);
        return;
    }
    part(newcomer, (struct pg_bytes){.data = (const uint8_t *)text, .len = (size_t)len + 1});
}

/* The stream becomes the link of a connection. */
static void become_connection(struct newcomer *newcomer, size_t frontend)
{
    const struct auto_conf *c = conf_of(newcomer);
    bool secured = newcomer->stream.security != NULL;
    const struct pg_listener_conf *served = secured ? &c->secured[frontend] : &c->direct[frontend];
    struct pg_conn *conn =
        pg_conn_open_in_place(newcomer->worker, served, newcomer->peer, &newcomer->place);
    if (conn)
        net_link_adopt(conn, &newcomer->stream, identity_of(newcomer), head_of(newcomer));
    end_newcomer(newcomer);
}

static void become_opening(struct newcomer *newcomer)
{
    const struct auto_conf *c = conf_of(newcomer);
    if (c->require_tls && !newcomer->stream.security) {
        struct ws_answer answer;
        ws_refuse(&answer, 400, "", "This port is for TLS: try https:// or wss://.");
        turn_away(newcomer, "HTTP without TLS; see require_tls",
                  (struct pg_bytes){.data = (const uint8_t *)answer.response,
                                    .len = answer.response_len});
        return;
    }
    const struct net_guest guest = {
        .fd = -1, .peer = newcomer->peer, .identity = identity_of(newcomer)};
    ws_opening_adopt(newcomer->listening, newcomer->worker, c->web, &guest, &newcomer->stream,
                     &newcomer->place, head_of(newcomer));
    end_newcomer(newcomer);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Whether more is awaited; if not, the newcomer may be gone. */
static bool is_unknown(struct newcomer *newcomer)
{
    const struct auto_conf *c = conf_of(newcomer);
    size_t frontend;
    switch (auto_sniff(c->direct, c->frontend_count, head_of(newcomer), &frontend)) {
    case AUTO_MORE:
        return true;
    case AUTO_HTTP:
        become_opening(newcomer);
        break;
    case AUTO_POLICY:
        answer_policy(newcomer);
        break;
    case AUTO_FRONTEND:
        if (c->require_tls && !newcomer->stream.security)
            turn_away(newcomer, "a frontend without TLS; see require_tls", PG_BYTES_NONE);
        else
            become_connection(newcomer, frontend);
        break;
    case AUTO_NOTHING:
        turn_away(newcomer, "nothing that is served here begins like this", PG_BYTES_NONE);
        break;
    }
    return false;
}

/* Read until it is known what it is, or there is nothing more to read. */
static void read_head(struct newcomer *newcomer)
{
    size_t room;
    ssize_t n;
    do {
        struct net_trouble trouble = {0};
        room = sizeof(newcomer->head) - newcomer->len;
        n = net_stream_read(&newcomer->stream, newcomer->head + newcomer->len, room, &trouble);
        if (n < 0)
            end_newcomer(newcomer); /* port probes and health checks */
        if (n <= 0)
            return;
        if (newcomer->len == 0)
            set_deadline(newcomer, newcomer->config->settings.limits.login_timeout,
                         PG_LOGIN_TIMEOUT);
        newcomer->len = (uint16_t)(newcomer->len + n);
    } while (is_unknown(newcomer) &&
             net_stream_reads_on(&newcomer->stream, (size_t)n, room, newcomer->len));
}

static void begin_tls(struct newcomer *newcomer)
{
    const struct tls_conf *tls = &conf_of(newcomer)->ws.tls;
    if (!tls->set)
        turn_away(newcomer, "TLS, and the listener has no certificates", PG_BYTES_NONE);
    else if (!tls_has_room(newcomer->worker, tls))
        give_up(newcomer, PG_BUSY, "see handshakes of the listener");
    else if (!tls_begin(&newcomer->stream, tls))
        give_up(newcomer, PG_NO_MEMORY, "before the handshake");
    else
        set_deadline(newcomer, tls->handshake_timeout_ms, PG_HANDSHAKE_TIMEOUT);
}

static void on_ready(struct net_stream *stream, int events)
{
    (void)events;
    struct newcomer *newcomer = (struct newcomer *)stream;
    uint8_t first;
    bool is_first = newcomer->len == 0 && !stream->security;
    if (is_first && recv(stream->fd, &first, 1, MSG_PEEK) == 1 && auto_is_tls(first))
        begin_tls(newcomer);
    else
        read_head(newcomer);
}

static void on_secured(struct net_stream *stream, struct pg_bytes identity)
{
    struct newcomer *newcomer = (struct newcomer *)stream;
    if (identity.data) {
        free(newcomer->identity);
        newcomer->identity = strndup((const char *)identity.data, identity.len);
        if (!newcomer->identity) {
            give_up(newcomer, PG_NO_MEMORY, "after the handshake");
            return;
        }
    }
    await_first_byte(newcomer);
}

static void on_failed(struct net_stream *stream, const struct net_trouble *trouble)
{
    struct newcomer *newcomer = (struct newcomer *)stream;
    if (trouble->text)
        give_up(newcomer, PG_HANDSHAKE_FAILED, trouble->text);
    else
        end_newcomer(newcomer);
}

static void on_drained(struct net_stream *stream)
{
    end_newcomer((struct newcomer *)stream);
}

static const struct net_owner newcomer_owner = {
    .ready = on_ready,
    .secured = on_secured,
    .failed = on_failed,
    .drained = on_drained,
};

/* ---- beginning ------------------------------------------------------------------------------- */

static struct newcomer *new_newcomer(const struct pg_listener_conf *conf,
                                     const struct net_guest *guest)
{
    size_t peer_size = strlen(guest->peer) + 1;
    struct newcomer *newcomer = calloc(1, sizeof(*newcomer) + peer_size);
    if (!newcomer)
        return NULL;
    memcpy(newcomer->peer, guest->peer, peer_size);
    if (guest->identity.data) {
        newcomer->identity = strndup((const char *)guest->identity.data, guest->identity.len);
        if (!newcomer->identity) {
            free(newcomer);
            return NULL;
        }
    }
    newcomer->conf = conf;
    newcomer->config = pg_config_ref(conf->config);
    newcomer->next = newcomers;
    if (newcomer->next)
        newcomer->next->link = &newcomer->next;
    newcomer->link = &newcomers;
    newcomers = newcomer;
    ev_timer_init(&newcomer->timer, on_deadline, 0., 0.);
    newcomer->timer.data = newcomer;
    return newcomer;
}

void auto_newcomer_begin(struct pg_listening *listening, struct pg_worker *worker,
                         const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    struct newcomer *newcomer = new_newcomer(conf, guest);
    if (!newcomer) {
        pg_conn_refused(worker, conf, guest->peer, PG_NO_MEMORY, "");
        net_turn_away(worker, guest);
        return;
    }
    newcomer->listening = listening;
    newcomer->worker = worker;
    newcomer->place = *guest->place;
    if (net_stream_begin(&newcomer->stream, worker, guest->fd, &newcomer_owner))
        await_first_byte(newcomer);
    else
        give_up(newcomer, PG_NO_MEMORY, "before the first byte");
}

void auto_newcomers_end(const struct pg_listening *listening)
{
    for (struct newcomer *n = newcomers, *next; n; n = next) {
        next = n->next;
        if (n->listening == listening)
            end_newcomer(n);
    }
}
