/* SPDX-License-Identifier: Apache-2.0 */

/* A WebSocket connection (RFC 6455), from the end of its opening handshake on.
 *
 *   WS_LINK_NEW --begin--> WS_LINK_OPEN --shutdown: close frame--> WS_LINK_CLOSING --> WS_LINK_CLOSED
 *                             +---- the peer's close frame, answered; close ------------^
 *
 * To the frontend a connection is a stream of bytes: frames may be cut and joined anyhow, and what
 * the core writes in one turn leaves as one binary message. A message's length is announced, so the
 * core's bytes that are offered first after a short write always are those of the message begun:
 * `frame_left` says how many. Control frames leave between messages; of pongs that wait for room
 * only the newest is kept (5.5.3), so that a peer that never reads costs nothing.
 *
 * Close codes (7.4) come from the reason for which the core closes, or from what was wrong with the
 * frames. After our close frame the peer's is awaited, up to limits.linger; the socket is closed
 * then. After a broken stream nothing can be awaited, and our end is shut at once.
 *
 * Thread: everything runs on the connection's worker. After each call into the core the link is
 * looked at again: it may have been closed. */

#include "ws_link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "../net/net_link.h"
#include "conn.h"
#include "conn_client.h"

#define IOVS_MAX 256
/* A peer that sends so much after our close frame instead of its own is cut off. */
#define THROW_AWAY_MAX (1024u * 1024)

enum ws_link_state {
    WS_LINK_NEW,     /* zeroed by the core; what it wants is remembered */
    WS_LINK_OPEN,    /* bytes go both ways */
    WS_LINK_CLOSING, /* our close frame is on its way or sent; the peer's is awaited */
    WS_LINK_CLOSED,
};

static struct pg_conn *conn_of(struct ws_link *link)
{
    return pg_conn_of_link(link, sizeof(*link));
}

/* Whether bytes of our own, and not the core's, wait for room. */
static bool has_own(const struct ws_link *link)
{
    return link->frame_left == 0 && (link->out_at < link->out_len || link->control_len > 0);
}

/* Have the stream wait for what is to be waited for. */
static void watch(struct ws_link *link)
{
    bool is_open = link->state == WS_LINK_OPEN;
    if (!is_open && link->state != WS_LINK_CLOSING)
        return;
    net_stream_hold(&link->stream, link->at_eof || (is_open && link->held));
    net_stream_block(&link->stream, has_own(link) || (is_open && link->blocked));
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Send what is our own, as far as no message is under way; false with errno when that failed. */
static bool send_own(struct ws_link *link)
{
    while (has_own(link)) {
        if (link->out_at == link->out_len) {
            memcpy(link->out, link->control, link->control_len);
            link->out_at = 0;
            link->out_len = link->control_len;
            link->control_len = 0;
        }
        struct iovec iov = {.iov_base = link->out + link->out_at,
                            .iov_len = (size_t)(link->out_len - link->out_at)};
        ssize_t n = net_stream_write(&link->stream, &iov, 1);
        if (n <= 0)
            return n == 0;
        link->out_at = (uint8_t)(link->out_at + n);
    }
    return true;
}

/* Queue a control frame in the place of one that still waits, and try to send it. An error shows
 * with the next read. */
static void control(struct ws_link *link, enum ws_opcode opcode, const void *data, size_t len)
{
    if (link->close_made)
        return;
    assert(len <= WS_CONTROL_MAX);
    size_t head = ws_head(link->control, opcode, len);
    memcpy(link->control + head, data, len);
    link->control_len = (uint8_t)(head + len);
    link->close_made = opcode == WS_CLOSE;
    (void)send_own(link);
    watch(link);
}

static void send_close(struct ws_link *link, enum ws_code code, const char *text)
{
    uint8_t payload[WS_CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t len = strnlen(text, sizeof(payload) - 2);
    memcpy(payload + 2, text, len);
    control(link, WS_CLOSE, payload, len + 2);
}

/* Begin a message of all that is offered. */
static void begin_message(struct ws_link *link, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        link->frame_left += iov[i].iov_len;
    link->out_at = 0;
    link->out_len = (uint8_t)ws_head(link->out, WS_BINARY, link->frame_left);
}

ssize_t ws_link_writev(void *state, const struct iovec *iov, int count)
{
    struct ws_link *link = state;
    if (link->state != WS_LINK_OPEN)
        return 0;
    if (count > IOVS_MAX)
        count = IOVS_MAX;
    if (link->close_made) { /* in answer to the peer's: it looks at nothing more (5.5.1) */
        ssize_t dropped = 0;
        for (int i = 0; i < count; i++)
            dropped += (ssize_t)iov[i].iov_len;
        return dropped;
    }
    if (link->frame_left == 0) {
        if (!send_own(link))
            return -1;
        if (has_own(link))
            return 0;
        begin_message(link, iov, count);
    }
    struct iovec parts[IOVS_MAX + 1];
    size_t head = (size_t)(link->out_len - link->out_at), n = 0, left = link->frame_left;
    if (head > 0)
        parts[n++] = (struct iovec){.iov_base = link->out + link->out_at, .iov_len = head};
    for (int i = 0; i < count && left > 0; i++) {
        size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;
        parts[n++] = (struct iovec){.iov_base = iov[i].iov_base, .iov_len = len};
        left -= len;
    }
    ssize_t sent = net_stream_write(&link->stream, parts, (int)n);
    if (sent < 0)
        return -1;
    size_t of_head = (size_t)sent < head ? (size_t)sent : head;
    link->out_at = (uint8_t)(link->out_at + of_head);
    link->frame_left -= (size_t)sent - of_head;
    return sent - (ssize_t)of_head;
}

void ws_link_want_write(void *state, bool on)
{
    struct ws_link *link = state;
    link->blocked = on;
    watch(link);
}

void ws_link_want_read(void *state, bool on)
{
    struct ws_link *link = state;
    link->held = !on;
    watch(link);
}

/* ---- closing --------------------------------------------------------------------------------- */

static enum ws_code code_of(enum pg_reason reason)
{
    switch (reason) {
    case PG_OK:
    case PG_CLIENT_CLOSED:
    case PG_PEER_CLOSED:
    case PG_UNREGISTERED:
        return WS_NORMAL;
    case PG_DRAINING:
    case PG_LISTENER_REMOVED:
        return WS_GOING_AWAY;
    case PG_MALFORMED:
    case PG_PROTOCOL_ERROR:
    case PG_BAD_FRAMES:
        return WS_PROTOCOL_ERROR;
    case PG_UNSUPPORTED:
    case PG_VERSION_UNSUPPORTED:
        return WS_UNSUPPORTED;
    case PG_TOO_LARGE:
        return WS_TOO_BIG;
    case PG_NO_MEMORY:
    case PG_INTERNAL:
    case PG_STORE_FAILED:
        return WS_INTERNAL;
    case PG_BUSY:
    case PG_CONNECTION_LIMIT:
        return WS_TRY_LATER;
    default:
        return WS_POLICY;
    }
}

/* After a broken stream our end is shut as soon as the close frame has left. */
static void shut_if_failed(struct ws_link *link)
{
    if (link->state == WS_LINK_CLOSING && link->failed && !has_own(link))
        net_stream_finish(&link->stream);
}

void ws_link_shutdown(void *state)
{
    struct ws_link *link = state;
    assert(link->state != WS_LINK_NEW);
    if (link->state != WS_LINK_OPEN)
        return;
    link->state = WS_LINK_CLOSING;
    enum pg_reason reason = pg_conn_close_reason(conn_of(link));
    send_close(link, link->failed ? (enum ws_code)link->fail_code : code_of(reason),
               pg_reason_name(reason));
    shut_if_failed(link);
    watch(link);
}

void ws_link_close(void *state)
{
    struct ws_link *link = state;
    assert(link->state != WS_LINK_NEW);
    if (link->state == WS_LINK_CLOSED)
        return;
    link->state = WS_LINK_CLOSED;
    net_stream_close(&link->stream);
}

static void fail(struct ws_link *link, enum ws_code code, const char *why)
{
    link->failed = true;
    link->fail_code = (uint16_t)code;
    pg_conn_close(conn_of(link), code == WS_UNSUPPORTED ? PG_UNSUPPORTED : PG_PROTOCOL_ERROR, "%s",
                  why);
}

/* The peer's close frame: answer with its status (5.5.1), and that is the end. */
static void on_close_frame(struct ws_link *link)
{
    const struct ws_reader *in = &link->in;
    struct pg_bytes reason = {.data = in->control + 2, .len = in->control_len};
    unsigned code = (unsigned)in->control[0] << 8 | in->control[1];
    if (in->control_len == 1 || (in->control_len > 1 && !ws_code_allowed(code))) {
        fail(link, WS_PROTOCOL_ERROR, "a close frame with a wrong status");
        return;
    }
    reason.len = in->control_len > 2 ? in->control_len - 2u : 0;
    if (!pg_utf8_valid(reason)) {
        fail(link, WS_INVALID_PAYLOAD, "a close frame whose text is not UTF-8");
        return;
    }
    control(link, WS_CLOSE, in->control, in->control_len > 1 ? 2 : 0);
    /* A socket that is closed with unread bytes sends a reset, which can overtake our answer. */
    uint8_t rest[4096];
    struct net_trouble trouble;
    for (int i = 0; i < 64 && net_stream_read(&link->stream, rest, sizeof(rest), &trouble) > 0; i++)
        ;
    link->at_eof = true;
    watch(link);
    pg_conn_eof(conn_of(link));
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Hand `n` bytes to the core, which are where it wants them. */
static void deliver(struct ws_link *link, size_t n)
{
    if (n > 0)
        pg_conn_received(conn_of(link), n);
}

/* `n` bytes of frames are where the core wants payload: take the frames off in place. */
static void take_frames(struct ws_link *link, uint8_t *buffer, size_t n)
{
    size_t at = 0, payload = 0;
    while (at < n && !link->failed) {
        struct ws_step step = ws_read(&link->in, buffer + at, n - at, buffer + payload);
        at += step.used;
        payload += step.payload;
        if (step.event == WS_MORE)
            break;
        if (step.event == WS_CONTROL && step.opcode == WS_PING)
            control(link, WS_PONG, link->in.control, link->in.control_len);
        if (step.event == WS_CONTROL && step.opcode != WS_CLOSE)
            continue;
        deliver(link, payload);
        if (link->state == WS_LINK_CLOSED)
            return;
        if (step.event == WS_FAIL)
            fail(link, step.code, step.why);
        else
            on_close_frame(link);
        return;
    }
    deliver(link, payload);
}

static void read_bytes(struct ws_link *link)
{
    struct pg_conn *conn = conn_of(link);
    size_t total = 0, room;
    for (ssize_t n;; total += (size_t)n) {
        if (link->at_eof || link->stream.state != NET_STREAM_OPEN ||
            (link->state == WS_LINK_OPEN && (link->held || !pg_conn_wants_bytes(conn))))
            return;
        struct net_trouble trouble = {0};
        uint8_t *buffer = pg_conn_read_room(conn, &room);
        n = net_stream_read(&link->stream, buffer, room, &trouble);
        if (n < 0)
            net_conn_ends(conn, &trouble);
        if (n <= 0)
            return;
        if (link->state == WS_LINK_CLOSING)
            link->thrown_away += (uint32_t)n;
        if (link->thrown_away >= THROW_AWAY_MAX) {
            link->at_eof = true;
            watch(link);
            pg_conn_eof(conn);
            return;
        }
        take_frames(link, buffer, (size_t)n);
        if (link->state == WS_LINK_CLOSED ||
            !net_stream_reads_on(&link->stream, (size_t)n, room, total + (size_t)n))
            return;
    }
}

static void write_bytes(struct ws_link *link)
{
    if (!send_own(link)) {
        pg_conn_broken(conn_of(link), errno);
        return;
    }
    shut_if_failed(link);
    if (link->blocked)
        pg_conn_writable(conn_of(link));
    watch(link);
}

static void on_ready(struct net_stream *stream, int events)
{
    struct ws_link *link = (struct ws_link *)stream;
    if (events & EV_WRITE)
        write_bytes(link);
    if ((events & EV_READ) && link->state != WS_LINK_CLOSED)
        read_bytes(link);
}

static void on_drained(struct net_stream *stream)
{
    pg_conn_eof(conn_of((struct ws_link *)stream));
}

static const struct net_owner link_owner = {.ready = on_ready, .drained = on_drained};

void ws_link_begin(struct pg_conn *conn, struct net_stream *from, struct pg_bytes rest)
{
    struct ws_link *link = pg_conn_link(conn);
    assert(link->state == WS_LINK_NEW);
    link->state = WS_LINK_OPEN;
    net_stream_move(&link->stream, from, &link_owner);
    watch(link);
    size_t room;
    uint8_t *buffer = pg_conn_read_room(conn, &room);
    assert(rest.len <= room);
    if (rest.len > 0) {
        memcpy(buffer, rest.data, rest.len);
        take_frames(link, buffer, rest.len);
    }
}
