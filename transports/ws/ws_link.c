/* SPDX-License-Identifier: Apache-2.0 */

/* A WebSocket connection (RFC 6455), from the end of its opening handshake on.
 *
 *   WS_LINK_NEW --begin--> WS_LINK_OPEN --shutdown: close frame--> WS_LINK_CLOSING --> WS_LINK_CLOSED
 *                             +---- the peer's close frame, answered; close ------------^
 *
 * To the frontend a connection is a stream of bytes: frames may be cut and joined anyhow, and what
 * the core writes in one turn leaves as one message, text where the frontend can do with it and it is
 * UTF-8, else binary. A message's length is announced, so the
 * core's bytes that are offered first after a short write always are those of the message begun:
 * `frame_left` says how many. Control frames leave between messages; of pongs that wait for room
 * only the newest is kept (5.5.3), so that a peer that never reads costs nothing.
 *
 * Where frames are the core's own bytes (PG_MEDIA_FRAMES) they pass as they are, and what has left is
 * followed from header to header, so that `frame_left` says the same.
 *
 * Close codes (7.4) come from the reason for which the core closes, or from what was wrong with the
 * frames. After our close frame the peer's is awaited, up to limits.linger; the socket is closed
 * then. After a broken stream nothing can be awaited, and our end is shut at once.
 *
 * With compression (RFC 7692) what is sent leaves in frames of up to WS_DEFLATE_PIECE bytes of the
 * core's, of which what the kernel does not take is kept here. What comes can be a thousand times as
 * long as its frames: it is decompressed only while the core wants bytes, and what has been read by
 * then waits here, in its order.
 *
 * Thread: everything runs on the connection's worker. After each call into the core the link is
 * looked at again: it may have been closed. */

#include "ws_link.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "../net/net_link.h"
#include "conn.h"
#include "conn_client.h"
#include "worker.h"

#define IOVS_MAX 256

enum ws_link_state {
    WS_LINK_NEW,     /* zeroed by the core; what it wants is remembered */
    WS_LINK_OPEN,    /* bytes go both ways */
    WS_LINK_CLOSING, /* our close frame is on its way or sent; the peer's is awaited */
    WS_LINK_CLOSED,
};

/* What a link with compression has besides. */
struct ws_zip {
    struct ws_deflate *deflate;
    int64_t budget;      /* bytes that may still be decompressed before others have their turn */
    int64_t message_max; /* bytes of a message that comes, decompressed */
    int64_t message_len; /* of the present one, so far */
    struct ws_utf8 utf8; /* likewise, if it is text */
    enum ws_opcode type; /* of the next frame that is sent */
    uint8_t *out;        /* of a frame that is leaving: what the kernel had no room for */
    size_t out_at, out_len;
    uint8_t *held;       /* what came and waits; NULL: nothing */
    size_t held_payload; /* of it, the payload of `step` */
    size_t held_raw;     /* behind it, bytes that are not looked at yet */
    struct ws_step step; /* that comes behind the payload */
    struct ws_link *link;
    struct ws_zip *next; /* in the worker's line */
    bool in_line;
};

/* The links of a worker that are to go on with what was held back, once others have had their turn. */
struct zip_line {
    alignas(64) struct ws_zip *first;
    struct ws_zip *serving; /* those whose turn it is */
    struct pg_task task;
    bool is_due;
};
static struct zip_line lines[PG_WORKERS_MAX];
/* Bytes of frames that are read at a time, and bytes that they may become before others have their
 * turn, and what they lead to is delivered. */
#define ZIP_READ   (16u * 1024)
#define ZIP_BUDGET (256 * 1024)

static struct pg_conn *conn_of(const struct ws_link *link)
{
    return pg_conn_of_link((void *)(uintptr_t)link, sizeof(*link));
}

/* Whether bytes of our own, and not the core's, wait for room. */
static bool has_own(const struct ws_link *link)
{
    return (link->zip && link->zip->out) ||
           (link->frame_left == 0 && (link->out_at < link->out_len || link->control_len > 0));
}

/* Have the stream wait for what is to be waited for. */
static void watch(struct ws_link *link)
{
    bool is_open = link->state == WS_LINK_OPEN;
    if (!is_open && link->state != WS_LINK_CLOSING)
        return;
    net_stream_hold(&link->stream,
                    link->at_eof || (is_open && (link->held || (link->zip && link->zip->held))));
    net_stream_block(&link->stream, has_own(link) || (is_open && link->blocked));
}

/* ---- output ---------------------------------------------------------------------------------- */

static void serve_line(struct pg_task *task, struct pg_worker *worker);

static struct zip_line *line_of(const struct ws_link *link)
{
    return &lines[pg_worker_index(pg_conn_worker(conn_of(link)))];
}

static void stand_in_line(struct ws_link *link)
{
    struct zip_line *line = line_of(link);
    if (link->zip->in_line)
        return;
    link->zip->in_line = true;
    link->zip->next = line->first;
    line->first = link->zip;
    if (line->is_due)
        return;
    line->is_due = true;
    line->task.run = serve_line;
    pg_worker_later(pg_conn_worker(conn_of(link)), &line->task);
}

static void leave_line(struct ws_link *link)
{
    if (!link->zip->in_line)
        return;
    struct ws_zip **at = &line_of(link)->serving;
    while (*at && *at != link->zip)
        at = &(*at)->next;
    if (!*at)
        at = &line_of(link)->first;
    while (*at != link->zip)
        at = &(*at)->next;
    *at = link->zip->next;
    link->zip->in_line = false;
}

/* Send of a compressed frame what has not left; 0: there is no room, -1: errno. */
static ssize_t send_compressed(struct ws_link *link)
{
    struct ws_zip *zip = link->zip;
    struct iovec iov = {.iov_base = zip->out + zip->out_at, .iov_len = zip->out_len - zip->out_at};
    ssize_t n = net_stream_write(&link->stream, &iov, 1);
    if (n > 0)
        zip->out_at += (size_t)n;
    if (zip->out_at == zip->out_len) {
        free(zip->out);
        zip->out = NULL;
    }
    return n;
}

/* Send what is our own, as far as no message is under way; false with errno when that failed. */
static bool send_own(struct ws_link *link)
{
    while (has_own(link)) {
        if (link->zip && link->zip->out) {
            ssize_t sent = send_compressed(link);
            if (sent <= 0)
                return sent == 0;
            continue;
        }
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
    size_t head = ws_head(link->control, WS_FIN, opcode, len);
    if (len > 0)
        memcpy(link->control + head, data, len);
    link->control_len = (uint8_t)(head + len);
    link->close_made = opcode == WS_CLOSE;
    if (link->close_made && link->zip)
        link->frame_left = 0; /* the message that is leaving ends with the frame that is (5.4) */
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

/* The type of a message of these bytes. */
static enum ws_opcode type_of(const struct ws_link *link, const struct iovec *iov, int count)
{
    struct ws_utf8 utf8 = {.left = 0};
    if (!link->in.takes_text)
        return WS_BINARY;
    for (int i = 0; i < count; i++)
        if (ws_utf8_take(&utf8, iov[i].iov_base, iov[i].iov_len) < iov[i].iov_len)
            return WS_BINARY;
    return utf8.left == 0 ? WS_TEXT : WS_BINARY;
}

/* Begin a message of all that is offered. */
static void begin_message(struct ws_link *link, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        link->frame_left += iov[i].iov_len;
    link->out_at = 0;
    link->out_len =
        (uint8_t)ws_head(link->out, WS_FIN, type_of(link, iov, count), link->frame_left);
}

/* Send a frame that is whole in `parts`, and keep what the kernel does not take; false with errno. */
static bool send_or_keep(struct ws_link *link, const struct iovec parts[2])
{
    struct ws_zip *zip = link->zip;
    size_t total = parts[0].iov_len + parts[1].iov_len;
    ssize_t sent = net_stream_write(&link->stream, parts, 2);
    if (sent < 0 || (size_t)sent == total)
        return sent >= 0;
    zip->out = malloc(total);
    if (!zip->out) {
        errno = ENOMEM;
        return false;
    }
    memcpy(zip->out, parts[0].iov_base, parts[0].iov_len);
    memcpy(zip->out + parts[0].iov_len, parts[1].iov_base, parts[1].iov_len);
    zip->out_at = (size_t)sent;
    zip->out_len = total;
    return true;
}

/* The core's bytes, compressed: how many were taken, or -1 with errno. */
static ssize_t write_compressed(struct ws_link *link, const struct iovec *iov, int count)
{
    static _Thread_local uint8_t room[WS_DEFLATE_ROOM];
    struct ws_zip *zip = link->zip;
    size_t taken = 0;
    if (!send_own(link))
        return -1;
    if (link->frame_left == 0 && !has_own(link)) {
        zip->type = type_of(link, iov, count);
        for (int i = 0; i < count; i++)
            link->frame_left += iov[i].iov_len;
    }
    while (link->frame_left > 0 && !zip->out) {
        size_t len = link->frame_left < WS_DEFLATE_PIECE ? link->frame_left : WS_DEFLATE_PIECE;
        bool ends = len == link->frame_left;
        ssize_t made = ws_deflate(zip->deflate, iov, taken, len, ends, room);
        if (made < 0) {
            errno = ENOMEM;
            return -1;
        }
        uint8_t head[WS_HEAD_MAX];
        unsigned flags = (ends ? WS_FIN : 0u) | (zip->type == WS_CONTINUATION ? 0u : WS_RSV1);
        const struct iovec parts[2] = {
            {.iov_base = head, .iov_len = ws_head(head, flags, zip->type, (uint64_t)made)},
            {.iov_base = room, .iov_len = (size_t)made},
        };
        if (!send_or_keep(link, parts))
            return -1;
        zip->type = WS_CONTINUATION;
        link->frame_left -= len;
        taken += len;
    }
    return (ssize_t)taken;
}

/* `sent` bytes of the core's frames have left: see where that ended. Within a header, `frame_left` is
 * 1: there is more of the frame. */
static void follow_frames(struct ws_link *link, const struct iovec *iov, size_t sent)
{
    for (; sent > 0; iov++) {
        const uint8_t *at = iov->iov_base;
        const uint8_t *end = at + (iov->iov_len < sent ? iov->iov_len : sent);
        sent -= (size_t)(end - at);
        while (at < end) {
            size_t in_payload = link->out_len == 0 ? link->frame_left : 0;
            if (in_payload > 0) {
                size_t n = (size_t)(end - at) < in_payload ? (size_t)(end - at) : in_payload;
                link->frame_left -= n;
                at += n;
                continue;
            }
            uint64_t payload = 1;
            link->out[link->out_len++] = *at++;
            if (ws_head_length(link->out, link->out_len, &payload) > 0)
                link->out_len = 0;
            link->frame_left = (size_t)payload;
            link->out_at = link->out_len;
        }
    }
}

/* The core's frames; if a control frame waits, no more than the one that is leaving. */
static ssize_t write_frames(struct ws_link *link, const struct iovec *iov, int count)
{
    if (!send_own(link))
        return -1;
    if (has_own(link))
        return 0;
    if (link->frame_left == 0)
        link->out_at = link->out_len = 0; /* of a control frame that has left */
    size_t left = link->control_len > 0 ? link->frame_left : SIZE_MAX;
    struct iovec parts[IOVS_MAX];
    int n = 0;
    for (; n < count && left > 0; n++) {
        size_t len = iov[n].iov_len < left ? iov[n].iov_len : left;
        parts[n] = (struct iovec){.iov_base = iov[n].iov_base, .iov_len = len};
        left -= len;
    }
    ssize_t sent = net_stream_write(&link->stream, parts, n);
    if (sent > 0)
        follow_frames(link, parts, (size_t)sent);
    return sent;
}

ssize_t ws_link_writev(void *state, const struct iovec *iov, int count)
{
    struct ws_link *link = state;
    if (link->state != WS_LINK_OPEN)
        return 0;
    if (count > IOVS_MAX)
        count = IOVS_MAX;
    /* A close frame answers the peer's, which looks at nothing behind it (5.5.1). The frame that is
     * leaving has told its length, and goes on. */
    if (link->close_made && link->frame_left == 0) {
        ssize_t dropped = 0;
        for (int i = 0; i < count; i++)
            dropped += (ssize_t)iov[i].iov_len;
        return dropped;
    }
    if (link->zip)
        return write_compressed(link, iov, count);
    if (link->frames)
        return write_frames(link, iov, count);
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
    if (on && link->zip && link->zip->held)
        stand_in_line(link);
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

static void free_zip(struct ws_link *link)
{
    struct ws_zip *zip = link->zip;
    if (!zip)
        return;
    leave_line(link);
    ws_deflate_free(&zip->deflate);
    free(zip->out);
    free(zip->held);
    free(zip);
    link->zip = NULL;
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

bool ws_link_owes(const void *state)
{
    const struct ws_link *link = state;
    return link->close_made && has_own(link);
}

void ws_link_close(void *state)
{
    struct ws_link *link = state;
    assert(link->state != WS_LINK_NEW);
    if (link->state == WS_LINK_CLOSED)
        return;
    link->state = WS_LINK_CLOSED;
    pg_timer_stop(&link->pinger);
    free_zip(link);
    net_stream_close(&link->stream);
}

static void fail(struct ws_link *link, enum ws_code code, const char *why)
{
    link->failed = true;
    link->fail_code = (uint16_t)code;
    enum pg_reason reason = PG_PROTOCOL_ERROR;
    if (code == WS_UNSUPPORTED)
        reason = PG_UNSUPPORTED;
    else if (code == WS_TOO_BIG)
        reason = PG_TOO_LARGE;
    pg_conn_close(conn_of(link), reason, "%s", why);
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

/* ---- compressed input ------------------------------------------------------------------------ */

/* Whether the core takes bytes now. */
static bool takes_bytes(const struct ws_link *link)
{
    return link->state == WS_LINK_OPEN && !link->held && !link->failed && link->zip->budget > 0 &&
           pg_conn_wants_bytes(conn_of(link));
}

/* Decompressed bytes of the present message are in the core's room. */
static void take_inflated(struct ws_link *link, const uint8_t *bytes, size_t n)
{
    struct ws_zip *zip = link->zip;
    zip->message_len += (int64_t)n;
    zip->budget -= (int64_t)n;
    if (zip->message_len > zip->message_max)
        fail(link, WS_TOO_BIG, "a message is too long; see deflate_message_size of the listener");
    else if (link->in.is_text && ws_utf8_take(&zip->utf8, bytes, n) < n)
        fail(link, WS_INVALID_PAYLOAD, "a text message that is not UTF-8");
    else
        deliver(link, n);
}

/* The end of a compressed message. */
static void end_inflated(struct ws_link *link)
{
    struct ws_zip *zip = link->zip;
    if (link->in.is_text && zip->utf8.left > 0)
        fail(link, WS_INVALID_PAYLOAD, "a text message that is not UTF-8");
    zip->message_len = 0;
    zip->utf8 = (struct ws_utf8){.left = 0};
}

/* Payload of a compressed message to the core, as far as it wants it: how many bytes of it were used.
 * *over says whether nothing of it is left. */
static size_t pass_inflated(struct ws_link *link, const uint8_t *payload, size_t len, bool ends,
                            bool *over)
{
    size_t at = 0, used, room;
    *over = false;
    while (!*over && takes_bytes(link)) {
        uint8_t *buffer = pg_conn_read_room(conn_of(link), &room);
        ssize_t n =
            ws_inflate(link->zip->deflate, payload + at, len - at, ends, &used, buffer, room);
        if (n < 0) {
            fail(link, n == WS_DEFLATE_BROKEN ? WS_INVALID_PAYLOAD : WS_INTERNAL,
                 n == WS_DEFLATE_BROKEN ? "a message that cannot be decompressed"
                                        : "out of memory for a compressed message");
            break;
        }
        at += used;
        *over = at == len && (size_t)n < room;
        if (n > 0)
            take_inflated(link, buffer, (size_t)n);
    }
    if (*over && ends && link->state == WS_LINK_OPEN && !link->failed)
        end_inflated(link);
    return at;
}

/* The same of one that is not compressed. */
static size_t pass_plain(struct ws_link *link, const uint8_t *payload, size_t len, bool *over)
{
    size_t at = 0, room;
    while (at < len && takes_bytes(link)) {
        uint8_t *buffer = pg_conn_read_room(conn_of(link), &room);
        size_t n = len - at < room ? len - at : room;
        memcpy(buffer, payload + at, n);
        at += n;
        deliver(link, n);
    }
    *over = at == len;
    return at;
}

/* What a step found: its payload, then what stands behind it. Whether all of it is dealt with; if
 * not, *used bytes of the payload are. */
static bool take_step(struct ws_link *link, const struct ws_step *step, const uint8_t *payload,
                      size_t len, size_t *used)
{
    bool ends = step->event == WS_MESSAGE, over = len == 0;
    *used = 0;
    if (link->in.is_deflated && (len > 0 || ends))
        *used = pass_inflated(link, payload, len, ends, &over);
    else if (len > 0)
        *used = pass_plain(link, payload, len, &over);
    if (link->state == WS_LINK_CLOSED || link->failed)
        return true; /* nobody wants the rest */
    if (link->state == WS_LINK_OPEN && !over)
        return false;
    if (step->event == WS_CONTROL && step->opcode == WS_PING)
        control(link, WS_PONG, link->in.control, link->in.control_len);
    else if (step->event == WS_CONTROL && step->opcode == WS_CLOSE)
        on_close_frame(link);
    else if (step->event == WS_FAIL)
        fail(link, step->code, step->why);
    return true;
}

/* Keep what came until the core wants bytes. */
static void hold_back(struct ws_link *link, const struct ws_step *step, struct pg_bytes payload,
                      struct pg_bytes raw)
{
    struct ws_zip *zip = link->zip;
    zip->held = malloc(payload.len + raw.len + 1);
    if (!zip->held) {
        fail(link, WS_INTERNAL, "out of memory for a compressed message");
        return;
    }
    if (payload.len > 0)
        memcpy(zip->held, payload.data, payload.len);
    if (raw.len > 0)
        memcpy(zip->held + payload.len, raw.data, raw.len);
    zip->held_payload = payload.len;
    zip->held_raw = raw.len;
    zip->step = *step;
    watch(link);
    if (zip->budget <= 0)
        stand_in_line(link);
}

/* `n` bytes of frames at `bytes`, which are overwritten. */
static void take_compressed(struct ws_link *link, uint8_t *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && !link->failed && !link->at_eof) {
        uint8_t *payload = bytes + at;
        size_t used;
        struct ws_step step = ws_read(&link->in, payload, n - at, payload);
        at += step.used;
        bool done = take_step(link, &step, payload, step.payload, &used);
        if (link->state == WS_LINK_CLOSED)
            return;
        if (!done) {
            hold_back(link, &step,
                      (struct pg_bytes){.data = payload + used, .len = step.payload - used},
                      (struct pg_bytes){.data = bytes + at, .len = n - at});
            return;
        }
    }
}

/* The core wants bytes: go on with what was held back. */
static void take_held(struct ws_link *link)
{
    struct ws_zip *zip = link->zip;
    uint8_t *bytes = zip->held;
    size_t payload = zip->held_payload, raw = zip->held_raw, used;
    struct ws_step step = zip->step;
    zip->held = NULL;
    bool done = take_step(link, &step, bytes, payload, &used);
    if (link->state != WS_LINK_CLOSED && done)
        take_compressed(link, bytes + payload, raw);
    else if (link->state != WS_LINK_CLOSED)
        hold_back(link, &step, (struct pg_bytes){.data = bytes + used, .len = payload - used},
                  (struct pg_bytes){.data = bytes + payload, .len = raw});
    watch(link);
    free(bytes);
}

/* ---- from the socket ------------------------------------------------------------------------- */

static bool is_held_back(const struct ws_link *link)
{
    return link->zip && link->zip->held;
}

/* Where the next bytes of frames are read to. */
static uint8_t *read_room(struct ws_link *link, size_t *room)
{
    static _Thread_local uint8_t frames[ZIP_READ];
    if (!link->zip)
        return pg_conn_read_room(conn_of(link), room);
    *room = sizeof(frames);
    return frames;
}

static void take_bytes(struct ws_link *link, uint8_t *bytes, size_t n)
{
    if (link->zip)
        take_compressed(link, bytes, n);
    else
        take_frames(link, bytes, n);
}

static void read_bytes(struct ws_link *link)
{
    if (link->zip)
        link->zip->budget = ZIP_BUDGET;
    if (is_held_back(link) && (link->state == WS_LINK_CLOSING || takes_bytes(link)))
        take_held(link);

    struct pg_conn *conn = conn_of(link);
    size_t total = 0, room;
    for (ssize_t n;; total += (size_t)n) {
        if (link->at_eof || link->stream.state != NET_STREAM_OPEN ||
            (link->state == WS_LINK_OPEN &&
             (link->held || is_held_back(link) || !pg_conn_wants_bytes(conn))))
            return;
        struct net_trouble trouble = {0};
        uint8_t *buffer = read_room(link, &room);
        n = net_stream_read(&link->stream, buffer, room, &trouble);
        if (n < 0)
            net_conn_ends(conn, &trouble);
        if (n <= 0)
            return;
        link->heard = true;
        if (link->state == WS_LINK_CLOSING)
            link->thrown_away += (uint32_t)n;
        if (link->thrown_away >= NET_THROW_AWAY_MAX) {
            link->at_eof = true;
            watch(link);
            pg_conn_eof(conn);
            return;
        }
        take_bytes(link, buffer, (size_t)n);
        if (link->state == WS_LINK_CLOSED ||
            !net_stream_reads_on(&link->stream, (size_t)n, room, total + (size_t)n))
            return;
    }
}

/* One round: who stands in line again has his turn after what has come of it is delivered. */
static void serve_line(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct zip_line *line = &lines[pg_worker_index(worker)];
    line->is_due = false;
    line->serving = line->first;
    line->first = NULL;
    while (line->serving) {
        struct ws_link *link = line->serving->link;
        leave_line(link);
        read_bytes(link);
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
    if (link->state == WS_LINK_CLOSING && link->at_eof && !has_own(link))
        pg_conn_eof(conn_of(link));
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

/* ---- pings ------------------------------------------------------------------------------------ */

static void on_ping_time(struct pg_timer *timer)
{
    struct ws_link *link =
        (struct ws_link *)(void *)((char *)timer - offsetof(struct ws_link, pinger));
    if (link->state != WS_LINK_OPEN)
        return;
    /* While we do not read, we cannot know. */
    if (!link->heard && !link->held) {
        pg_conn_close(conn_of(link), PG_KEEPALIVE_TIMEOUT,
                      "no answer to a ping; see ping_interval of the listener");
        return;
    }
    link->heard = false;
    control(link, WS_PING, NULL, 0);
    pg_timer_start(timer, link->ping_interval_ms, on_ping_time);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static bool add_zip(struct ws_link *link, const struct ws_conf *conf, struct ws_deflate *deflate)
{
    link->zip = calloc(1, sizeof(*link->zip));
    if (!link->zip) {
        ws_deflate_free(&deflate);
        return false;
    }
    link->zip->link = link;
    link->zip->deflate = deflate;
    link->zip->budget = ZIP_BUDGET;
    link->zip->message_max = conf->deflate_message_size;
    link->in.takes_deflated = true;
    return true;
}

/* What came behind the request; all of it has to be taken at once. */
static void take_rest(struct ws_link *link, struct pg_bytes rest)
{
    size_t room;
    uint8_t *buffer = pg_conn_read_room(conn_of(link), &room);
    assert(rest.len <= room);
    if (rest.len == 0)
        return;
    if (!link->zip) {
        memcpy(buffer, rest.data, rest.len);
        take_frames(link, buffer, rest.len);
        return;
    }
    uint8_t *frames = malloc(rest.len);
    if (frames) {
        memcpy(frames, rest.data, rest.len);
        take_compressed(link, frames, rest.len);
        free(frames);
    } else {
        fail(link, WS_INTERNAL, "out of memory for a compressed message");
    }
}

void ws_link_begin(struct pg_conn *conn, const struct ws_conf *conf, struct net_stream *from,
                   struct ws_deflate *deflate, struct pg_bytes rest)
{
    struct ws_link *link = pg_conn_link(conn);
    enum pg_media media = pg_conn_protocol(conn)->media;
    assert(link->state == WS_LINK_NEW);
    link->state = WS_LINK_OPEN;
    link->in.takes_text = media != PG_MEDIA_BINARY;
    link->in.takes_binary = media != PG_MEDIA_TEXT;
    link->in.keeps_heads = link->frames = media == PG_MEDIA_FRAMES;
    link->ping_interval_ms = (uint32_t)conf->ping_interval_ms;
    link->heard = true;
    if (link->ping_interval_ms > 0)
        pg_timer_start(&link->pinger, link->ping_interval_ms, on_ping_time);
    net_stream_move(&link->stream, from, &link_owner);
    watch(link);
    if (!deflate || add_zip(link, conf, deflate))
        take_rest(link, rest);
    else
        fail(link, WS_INTERNAL, "out of memory for compression");
}
