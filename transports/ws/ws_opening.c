/* SPDX-License-Identifier: Apache-2.0 */

/* From an accepted socket to a connection: the TLS handshake, if the listener has one, and the
 * opening handshake (RFC 6455, 4.2). There is no connection of the core yet, since only the path
 * tells which frontend serves; an opening holds a place among limits.connections all the same.
 *
 *   accepted --[TLS]--> first byte awaited --> request awaited --granted--> the connection's link
 *                                                    +--refused: answered, peer's end awaited
 *
 * Each step has a deadline, and a request may be `request_size` long; its buffer grows with what has
 * come.
 *
 * Thread: a worker's openings are its own. */

#include "ws_opening.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../net/net_stream.h"
#include "../tls/tls_stream.h"
#include "conn.h"
#include "guard.h"
#include "worker.h"
#include "ws_conf.h"
#include "ws_link.h"

#define FIRST_ROOM 1024u /* for a request; most fit */

struct opening {
    struct net_stream stream; /* first */
    struct ev_timer timer;
    struct opening *next, **link; /* all of the worker */
    const struct pg_listening *listening;
    struct pg_worker *worker;
    const struct pg_listener_conf *conf;
    struct pg_config *config; /* shared; conf is part of it */
    struct ws_request request;
    uint8_t *bytes; /* NULL: nothing has come */
    size_t len, size;
    char *identity;      /* proven by TLS or to a proxy; NULL: none */
    enum pg_reason late; /* why it ends when the timer does; PG_OK: it was refused already */
    struct pg_place place;
    char peer[];
};

static _Thread_local struct opening *openings;
static _Thread_local int64_t opening_count;

static const struct ws_conf *conf_of(const struct opening *opening)
{
    return opening->conf->transport_conf;
}

/* Free it, with its stream unless that has moved. */
static void end_opening(struct opening *opening)
{
    ev_timer_stop(pg_worker_loop(opening->worker), &opening->timer);
    if (opening->stream.state != NET_STREAM_NEW) {
        net_stream_close(&opening->stream);
        pg_conn_give_place(opening->worker, &opening->place);
    }
    *opening->link = opening->next;
    if (opening->next)
        opening->next->link = opening->link;
    opening_count--;
    pg_config_unref(&opening->config);
    free(opening->identity);
    free(opening->bytes);
    free(opening);
}

static void give_up(struct opening *opening, enum pg_reason reason, const char *detail)
{
    pg_conn_refused(opening->worker, opening->conf, opening->peer, reason, detail);
    pg_guard_offence(opening->worker, opening->peer, reason);
    end_opening(opening);
}

/* From now on it has `ms`, or it ends for `late`. */
static void set_deadline(struct opening *opening, int64_t ms, enum pg_reason late)
{
    struct ev_loop *loop = pg_worker_loop(opening->worker);
    opening->late = late;
    ev_timer_stop(loop, &opening->timer);
    ev_timer_set(&opening->timer, (double)ms / 1000., 0.);
    ev_timer_start(loop, &opening->timer);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct opening *opening = watcher->data;
    if (opening->late == PG_OK)
        end_opening(opening);
    else
        give_up(opening, opening->late,
                opening->late == PG_HANDSHAKE_TIMEOUT    ? "see handshake_timeout of the listener"
                : opening->late == PG_FIRST_BYTE_TIMEOUT ? "see limits.first_byte_timeout"
                                                         : "see limits.login_timeout");
}

static void await_first_byte(struct opening *opening)
{
    set_deadline(opening, opening->config->settings.limits.first_byte_timeout,
                 PG_FIRST_BYTE_TIMEOUT);
}

/* ---- the request ----------------------------------------------------------------------------- */

static bool send_response(struct opening *opening, const struct ws_answer *answer)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)answer->response,
                        .iov_len = answer->response_len};
    return net_stream_write(&opening->stream, &iov, 1) == (ssize_t)answer->response_len;
}

/* Answer, and wait a while for the peer to close. */
static void refuse(struct opening *opening, const struct ws_answer *answer)
{
    char detail[128];
    snprintf(detail, sizeof(detail), "%u: %s", answer->status, answer->why);
    pg_conn_refused(opening->worker, opening->conf, opening->peer, PG_PROTOCOL_ERROR, detail);
    pg_guard_offence(opening->worker, opening->peer, PG_PROTOCOL_ERROR);
    if (!send_response(opening, answer)) {
        end_opening(opening);
        return;
    }
    set_deadline(opening, opening->config->settings.limits.linger, PG_OK);
    net_stream_finish(&opening->stream);
}

/* The stream becomes the link of a connection, and the opening ends. */
static void grant(struct opening *opening, struct ws_answer *answer)
{
    struct ws_deflate *deflate = NULL;
    const struct pg_listener_conf *served = &conf_of(opening)->served[answer->route];
    if (answer->deflate.on && served->protocol->media != PG_MEDIA_FRAMES)
        deflate = ws_deflate_new(&answer->deflate, conf_of(opening)->deflate_connections);
    if (deflate)
        ws_answer_deflate(answer);
    struct pg_conn *conn = NULL;
    if (send_response(opening, answer))
        conn = pg_conn_open_in_place(opening->worker, served, opening->peer, &opening->place);
    if (!conn) {
        ws_deflate_free(&deflate);
        end_opening(opening);
        return;
    }
    struct pg_bytes identity = opening->identity ? pg_bytes_str(opening->identity) : PG_BYTES_NONE;
    bool known = pg_conn_handshaken(conn, identity);
    ws_link_begin(conn, conf_of(opening), &opening->stream, deflate,
                  (struct pg_bytes){.data = opening->bytes + answer->used,
                                    .len = opening->len - answer->used});
    if (!known)
        pg_conn_close(conn, PG_NO_MEMORY, "after the handshake");
    end_opening(opening);
}

/* Whether more of the request is awaited; if not, the opening may be gone. */
static bool is_unfinished(struct opening *opening)
{
    struct ws_answer answer;
    if (!ws_request_read(&opening->request, &conf_of(opening)->service,
                         (struct pg_bytes){.data = opening->bytes, .len = opening->len}, &answer))
        return true;
    if (answer.granted)
        grant(opening, &answer);
    else
        refuse(opening, &answer);
    return false;
}

/* Room for more of the request, which grows with what has come. */
static bool has_room(struct opening *opening)
{
    if (opening->len < opening->size)
        return true;
    size_t most = (size_t)conf_of(opening)->request_size;
    size_t size = opening->size == 0 ? FIRST_ROOM : opening->size * 2;
    if (size > most)
        size = most;
    uint8_t *grown = size > opening->size ? realloc(opening->bytes, size) : NULL;
    if (!grown)
        return false;
    opening->bytes = grown;
    opening->size = size;
    return true;
}

static void on_ready(struct net_stream *stream, int events)
{
    (void)events;
    struct opening *opening = (struct opening *)stream;
    size_t room;
    ssize_t n;
    do {
        if (!has_room(opening)) {
            give_up(opening, PG_NO_MEMORY, "for the request");
            return;
        }
        struct net_trouble trouble = {0};
        room = opening->size - opening->len;
        n = net_stream_read(stream, opening->bytes + opening->len, room, &trouble);
        if (n < 0)
            end_opening(opening);
        if (n <= 0)
            return;
        if (opening->len == 0)
            set_deadline(opening, opening->config->settings.limits.login_timeout, PG_LOGIN_TIMEOUT);
        opening->len += (size_t)n;
    } while (is_unfinished(opening) && net_stream_reads_on(stream, (size_t)n, room, 0));
}

static void on_drained(struct net_stream *stream)
{
    end_opening((struct opening *)stream);
}

/* `identity` has been proven; data == NULL: none, and an earlier one stays. */
static bool identify(struct opening *opening, struct pg_bytes identity)
{
    if (!identity.data)
        return true;
    free(opening->identity);
    opening->identity = strndup((const char *)identity.data, identity.len);
    return opening->identity != NULL;
}

/* ---- before it ------------------------------------------------------------------------------- */

static void on_secured(struct net_stream *stream, struct pg_bytes identity)
{
    struct opening *opening = (struct opening *)stream;
    if (!identify(opening, identity))
        give_up(opening, PG_NO_MEMORY, "after the handshake");
    else
        await_first_byte(opening);
}

static void on_failed(struct net_stream *stream, const struct net_trouble *trouble)
{
    struct opening *opening = (struct opening *)stream;
    if (trouble->text)
        give_up(opening, PG_HANDSHAKE_FAILED, trouble->text);
    else
        end_opening(opening); /* the peer has gone: port probes and health checks */
}

static const struct net_owner opening_owner = {
    .ready = on_ready,
    .secured = on_secured,
    .failed = on_failed,
    .drained = on_drained,
};

/* NULL: memory is out; counted and logged. */
static struct opening *new_opening(struct pg_listening *listening, struct pg_worker *worker,
                                   const struct pg_listener_conf *conf,
                                   const struct net_guest *guest)
{
    size_t peer_size = strlen(guest->peer) + 1;
    struct opening *opening = calloc(1, sizeof(*opening) + peer_size);
    if (!opening || !identify(opening, guest->identity)) {
        pg_conn_refused(worker, conf, guest->peer, PG_NO_MEMORY, "");
        free(opening);
        return NULL;
    }
    opening->listening = listening;
    opening->worker = worker;
    opening->conf = conf;
    opening->config = pg_config_ref(conf->config);
    memcpy(opening->peer, guest->peer, peer_size);
    opening->next = openings;
    if (opening->next)
        opening->next->link = &opening->next;
    opening->link = &openings;
    openings = opening;
    opening_count++;
    ev_timer_init(&opening->timer, on_deadline, 0., 0.);
    opening->timer.data = opening;
    return opening;
}

void ws_opening_begin(struct pg_listening *listening, struct pg_worker *worker,
                      const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    const struct ws_conf *ws = conf->transport_conf;
    bool secure = ws->tls.set != NULL;
    const char *full = opening_count >= ws->openings ? "see openings of the listener" : NULL;
    if (!full && secure && !tls_has_room(worker, &ws->tls))
        full = "see handshakes of the listener";
    if (full)
        pg_conn_refused(worker, conf, guest->peer, PG_BUSY, full);
    struct opening *opening = full ? NULL : new_opening(listening, worker, conf, guest);
    if (!opening) {
        net_turn_away(worker, guest);
        return;
    }
    opening->place = *guest->place;
    if (!net_stream_begin(&opening->stream, worker, guest->fd, &opening_owner))
        give_up(opening, PG_NO_MEMORY, "before the first byte");
    else if (!secure)
        await_first_byte(opening);
    else if (tls_begin(&opening->stream, &ws->tls))
        set_deadline(opening, ws->tls.handshake_timeout_ms, PG_HANDSHAKE_TIMEOUT);
    else
        give_up(opening, PG_NO_MEMORY, "before the handshake");
}

void ws_opening_adopt(struct pg_listening *listening, struct pg_worker *worker,
                      const struct pg_listener_conf *conf, const struct net_guest *guest,
                      struct net_stream *from, struct pg_place *place, struct pg_bytes head)
{
    const struct ws_conf *ws = conf->transport_conf;
    bool full = opening_count >= ws->openings;
    if (full)
        pg_conn_refused(worker, conf, guest->peer, PG_BUSY, "see openings of the listener");
    struct opening *opening = full ? NULL : new_opening(listening, worker, conf, guest);
    if (!opening)
        return;
    net_stream_move(&opening->stream, from, &opening_owner);
    opening->place = *place;
    if (!has_room(opening)) {
        give_up(opening, PG_NO_MEMORY, "for the request");
        return;
    }
    assert(head.len <= opening->size);
    memcpy(opening->bytes, head.data, head.len);
    opening->len = head.len;
    set_deadline(opening, opening->config->settings.limits.login_timeout, PG_LOGIN_TIMEOUT);
    (void)is_unfinished(opening);
}

void ws_openings_end(const struct pg_listening *listening)
{
    for (struct opening *o = openings, *next; o; o = next) {
        next = o->next;
        if (o->listening == listening)
            end_opening(o);
    }
}
