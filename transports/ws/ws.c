/* SPDX-License-Identifier: Apache-2.0 */

/* The WebSocket transport: RFC 6455 over TCP, on the worker's libev loop.
 *
 * An accepted socket first belongs to an opening handshake (struct opening), which has a deadline
 * and a bounded buffer; there is no connection of the core yet, since only the path tells which
 * frontend serves. Granted, the socket becomes the link of a connection:
 *
 *   WS_LINK_NEW --101--> WS_LINK_OPEN --shutdown: close frame--> WS_LINK_CLOSING --> WS_LINK_CLOSED
 *                             +---- the peer's close frame, answered; close ------------^
 *
 * To the frontend a connection is a stream of bytes: frames may be cut and joined anyhow, and what
 * the core writes in one turn leaves as one binary message. A message's length is announced, so the
 * core's bytes that are offered first after a short write always are those of the message begun:
 * `frame_left` says how many. Control frames leave between messages; of pongs that wait for room
 * only the newest is kept (5.5.3), so that a peer that never reads costs nothing.
 *
 * Close codes (7.4) come from the reason for which the core closes, or from what was wrong with the
 * frames. After our close frame the peer's is awaited, up to limits.linger; TCP is closed then. After
 * a broken stream nothing can be awaited, and our end is shut at once.
 *
 * Thread: everything runs on the connection's worker, except ws_check() and ws_listen(). After each
 * call into the core the link is looked at again: it may have been closed. */

#include "ws.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/net.h"
#include "conn.h"
#include "conn_client.h"
#include "counter.h"
#include "pool.h"
#include "worker.h"
#include "ws_frame.h"
#include "ws_upgrade.h"

/* Most that one connection may read per wake-up. */
#define READS_PER_TURN 4
#define BYTES_PER_TURN (256u * 1024)
/* Opening handshakes that may be under way per worker: each holds a descriptor and up to
 * WS_REQUEST_MAX bytes, and limits.connections does not count them yet. */
#define OPENINGS_MAX 4096u
#define IOVS_MAX     256

struct ws_conf {
    struct net_conf net; /* first, for ../net */
    struct pg_strings paths;
    struct pg_strings origins;
    struct ws_route *routes; /* of `paths`; in the configuration's pool */
    size_t route_count;
    struct pg_listener_conf *served; /* for each route: the block with the route's frontend */
};
_Static_assert(offsetof(struct ws_conf, net) == 0, "../net looks for its values there");

static const struct pg_option ws_options[] = {
    NET_OPTION_ROWS,
    {.name = "paths",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct ws_conf, paths),
     .fallback = "",
     .reloadable = true,
     .sentence = "what is served below which path of the URL, as in {\"/a\", \"/b=NAME\"}: the "
                 "frontend of `protocol`, or the one named. By default the block's frontend below "
                 "its own name, and nothing else."},
    {.name = "origins",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct ws_conf, origins),
     .fallback = "",
     .reloadable = true,
     .sentence = "sites whose pages may connect from a browser, as in {\"https://example.com\"}; "
                 "clients that are no browsers send no origin and pass. Empty by default: any, "
                 "since who connects has to log in all the same."},
    {.name = NULL},
};

enum ws_link_state {
    WS_LINK_NEW,     /* zeroed by the core; no socket yet; what it wants is remembered */
    WS_LINK_OPEN,    /* bytes go both ways */
    WS_LINK_CLOSING, /* our close frame is on its way or sent; the peer's is awaited */
    WS_LINK_CLOSED,  /* no watcher, no socket */
};

/* The transport's state of one connection; all zero is WS_LINK_NEW. */
struct ws_link {
    struct ev_io io;      /* the only watcher; io.data is the struct pg_conn */
    uint8_t state;        /* enum ws_link_state */
    bool held : 1;        /* the core does not want bytes now */
    bool blocked : 1;     /* the core waits for room to write */
    bool at_eof : 1;      /* nothing more is to be read */
    bool close_made : 1;  /* our close frame is queued or sent: nothing may follow */
    bool failed : 1;      /* the frames are broken: what comes is thrown away */
    uint8_t events;       /* libev's bits that are to be looked at this turn */
    uint16_t fail_code;   /* failed: the status to close with */
    uint32_t thrown_away; /* bytes discarded in WS_LINK_CLOSING */
    struct ws_link *next; /* of those that have events */
    size_t frame_left;    /* of the message begun: bytes that the core has still to give */
    uint8_t out_at, out_len, control_len;
    uint8_t out[2 + WS_CONTROL_MAX];     /* a header or control frame that is leaving */
    uint8_t control[2 + WS_CONTROL_MAX]; /* a control frame that waits for its turn */
    struct ws_reader in;
};

/* Whether bytes of our own, and not the core's, wait for room. */
static bool has_own(const struct ws_link *link)
{
    return link->frame_left == 0 && (link->out_at < link->out_len || link->control_len > 0);
}

/* The one place where the watcher is started, changed and stopped. */
static void watch(struct ws_link *link)
{
    int events = 0;
    if (link->state == WS_LINK_NEW)
        return;
    if (link->state == WS_LINK_OPEN)
        events = (link->held || link->at_eof ? 0 : EV_READ) |
                 (link->blocked || has_own(link) ? EV_WRITE : 0);
    if (link->state == WS_LINK_CLOSING)
        events = EV_READ | (has_own(link) ? EV_WRITE : 0);
    net_watch(pg_worker_loop(pg_conn_worker(link->io.data)), &link->io, events);
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
        ssize_t n = net_send(link->io.fd, &iov, 1);
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

static ssize_t link_writev(void *state, const struct iovec *iov, int count)
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
    ssize_t sent = net_send(link->io.fd, parts, n);
    if (sent < 0)
        return -1;
    size_t of_head = (size_t)sent < head ? (size_t)sent : head;
    link->out_at = (uint8_t)(link->out_at + of_head);
    link->frame_left -= (size_t)sent - of_head;
    return sent - (ssize_t)of_head;
}

static void link_want_write(void *state, bool on)
{
    struct ws_link *link = state;
    link->blocked = on;
    watch(link);
}

static void link_want_read(void *state, bool on)
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
        shutdown(link->io.fd, SHUT_WR); /* should it fail, the next read tells why */
}

static void link_shutdown(void *state)
{
    struct ws_link *link = state;
    assert(link->state != WS_LINK_NEW);
    if (link->state != WS_LINK_OPEN)
        return;
    link->state = WS_LINK_CLOSING;
    enum pg_reason reason = pg_conn_close_reason(link->io.data);
    send_close(link, link->failed ? (enum ws_code)link->fail_code : code_of(reason),
               pg_reason_name(reason));
    shut_if_failed(link);
    watch(link);
}

static void link_close(void *state)
{
    struct ws_link *link = state;
    assert(link->state != WS_LINK_NEW);
    if (link->state == WS_LINK_CLOSED)
        return;
    link->state = WS_LINK_CLOSED;
    watch(link);
    close(link->io.fd);
}

static void fail(struct ws_link *link, enum ws_code code, const char *why)
{
    link->failed = true;
    link->fail_code = (uint16_t)code;
    pg_conn_close(link->io.data, code == WS_UNSUPPORTED ? PG_UNSUPPORTED : PG_PROTOCOL_ERROR, "%s",
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
    for (int i = 0; i < 64 && recv(link->io.fd, rest, sizeof(rest), 0) > 0; i++)
        ;
    link->at_eof = true;
    watch(link);
    pg_conn_eof(link->io.data);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Hand `n` bytes to the core, which are where it wants them. */
static void deliver(struct ws_link *link, size_t n)
{
    if (n > 0)
        pg_conn_received(link->io.data, n);
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
    struct pg_conn *conn = link->io.data;
    size_t total = 0;
    for (int reads = 0; reads < READS_PER_TURN && total < BYTES_PER_TURN; reads++) {
        if (link->at_eof || link->state == WS_LINK_CLOSED ||
            (link->state == WS_LINK_OPEN && (link->held || !pg_conn_wants_bytes(conn))))
            return;
        size_t room;
        uint8_t *buffer = pg_conn_read_room(conn, &room);
        ssize_t n = net_recv(conn, link->io.fd, buffer, room);
        if (n < 0)
            return;
        if (link->state == WS_LINK_CLOSING)
            link->thrown_away += (uint32_t)n;
        if (n == 0 || link->thrown_away >= NET_THROW_AWAY_MAX) {
            link->at_eof = true;
            watch(link);
            pg_conn_eof(conn);
            return;
        }
        total += (size_t)n;
        take_frames(link, buffer, (size_t)n);
        if ((size_t)n < room)
            return;
    }
}

static void write_bytes(struct ws_link *link)
{
    if (!send_own(link)) {
        pg_conn_broken(link->io.data, errno);
        return;
    }
    shut_if_failed(link);
    if (link->blocked)
        pg_conn_writable(link->io.data);
    watch(link);
}

/* libev calls watchers in the reverse order of the kernel's; the links are served in the order in
 * which their bytes came, at the end of the turn. One that is closed meanwhile is still there: it is
 * freed behind this. */
static _Thread_local struct ws_link *ready;
static _Thread_local struct pg_task serve_task;

static void serve_ready(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    (void)worker;
    while (ready) {
        struct ws_link *link = ready;
        ready = link->next;
        if ((link->events & EV_WRITE) && link->state != WS_LINK_CLOSED)
            write_bytes(link);
        if ((link->events & EV_READ) && link->state != WS_LINK_CLOSED)
            read_bytes(link);
    }
}

static void on_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    struct ws_link *link = (struct ws_link *)watcher;
    if (!ready) {
        serve_task.run = serve_ready;
        pg_worker_later(pg_conn_worker(watcher->data), &serve_task);
    }
    link->events = (uint8_t)events;
    link->next = ready;
    ready = link;
}

/* ---- the opening handshake ------------------------------------------------------------------- */

struct opening {
    struct ev_io io;
    struct ev_timer timer;
    struct opening *next, **link; /* all of the worker */
    struct pg_listening *listening;
    struct pg_worker *worker;
    const struct pg_listener_conf *conf;
    struct pg_config *config; /* shared; conf is part of it */
    uint8_t *request;         /* NULL: nothing has come */
    size_t len, size;
    uint32_t thrown_away;
    bool refused;   /* answered; the peer's end is awaited */
    char *identity; /* proven to a proxy; NULL: none */
    char peer[];
};

static _Thread_local struct opening *openings;
static _Thread_local unsigned opening_count;

/* Free it, with its socket unless that is -1. */
static void end_opening(struct opening *opening)
{
    struct ev_loop *loop = pg_worker_loop(opening->worker);
    ev_io_stop(loop, &opening->io);
    ev_timer_stop(loop, &opening->timer);
    if (opening->io.fd >= 0)
        close(opening->io.fd);
    *opening->link = opening->next;
    if (opening->next)
        opening->next->link = opening->link;
    opening_count--;
    pg_config_unref(&opening->config);
    free(opening->request);
    free(opening->identity);
    free(opening);
}

static void count_refusal(struct pg_worker *worker, enum pg_reason reason)
{
    struct pg_counter_set *counters = pg_worker_counters(worker);
    pg_counter_add(counters, PG_COUNT_CONNECTIONS_REFUSED, 1);
    pg_counter_add(counters, PG_COUNTER_REFUSE(reason), 1);
}

static void set_deadline(struct opening *opening, int64_t ms)
{
    ev_timer_set(&opening->timer, (double)ms / 1000., 0.);
    ev_timer_start(pg_worker_loop(opening->worker), &opening->timer);
}

static bool send_response(struct opening *opening, const struct ws_upgrade *answer)
{
    return send(opening->io.fd, answer->response, answer->response_len, MSG_NOSIGNAL) ==
           (ssize_t)answer->response_len;
}

/* Answer, and wait a while for the peer to close. */
static void refuse(struct opening *opening, const struct ws_upgrade *answer)
{
    count_refusal(opening->worker, PG_PROTOCOL_ERROR);
    PG_LOG(PG_INFO, "connection_refused", PG_F_TEXT("peer", opening->peer),
           PG_F_TEXT("listener", opening->conf->name), PG_F_REASON(PG_PROTOCOL_ERROR),
           PG_F_INT("status", answer->status), PG_F_TEXT("detail", answer->why));
    if (!send_response(opening, answer) || shutdown(opening->io.fd, SHUT_WR) != 0) {
        end_opening(opening);
        return;
    }
    opening->refused = true;
    ev_timer_stop(pg_worker_loop(opening->worker), &opening->timer);
    set_deadline(opening, opening->config->settings.limits.linger);
}

/* The socket becomes the link of a connection, and the opening ends. */
static void grant(struct opening *opening, const struct ws_upgrade *answer)
{
    const struct ws_conf *ws = opening->conf->transport_conf;
    struct pg_conn *conn = pg_conn_open(opening->worker, &ws->served[answer->route], opening->peer);
    if (!conn || !send_response(opening, answer)) {
        end_opening(opening);
        return;
    }
    ev_io_stop(pg_worker_loop(opening->worker), &opening->io);
    struct ws_link *link = pg_conn_link(conn);
    ev_io_init(&link->io, on_ready, opening->io.fd, 0);
    link->io.data = conn;
    link->state = WS_LINK_OPEN;
    opening->io.fd = -1;
    if (opening->identity && !pg_conn_identify(conn, pg_bytes_str(opening->identity)))
        pg_conn_close(conn, PG_NO_MEMORY, "before the first byte");
    watch(link);
    size_t room, more = opening->len - answer->used;
    uint8_t *buffer = pg_conn_read_room(conn, &room);
    assert(more <= room);
    memcpy(buffer, opening->request + answer->used, more);
    end_opening(opening);
    if (more > 0)
        take_frames(link, buffer, more);
}

static void judge(struct opening *opening)
{
    const struct ws_conf *ws = opening->conf->transport_conf;
    struct ws_upgrade answer;
    ws_upgrade((struct pg_bytes){.data = opening->request, .len = opening->len}, ws->routes,
               ws->route_count, &ws->origins, &answer);
    if (answer.used == 0)
        return;
    if (answer.granted)
        grant(opening, &answer);
    else
        refuse(opening, &answer);
}

/* Room for more of the request, which grows with what has come. */
static bool has_room(struct opening *opening)
{
    if (opening->len < opening->size)
        return true;
    size_t size = opening->size == 0 ? 1024 : opening->size * 2;
    uint8_t *grown = size <= WS_REQUEST_MAX ? realloc(opening->request, size) : NULL;
    if (!grown)
        return false;
    opening->request = grown;
    opening->size = size;
    return true;
}

static void on_request(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct opening *opening = watcher->data;
    uint8_t nowhere[4096];
    bool keep = !opening->refused;
    if (keep && !has_room(opening)) {
        count_refusal(opening->worker, PG_NO_MEMORY);
        end_opening(opening);
        return;
    }
    ssize_t n = recv(watcher->fd, keep ? opening->request + opening->len : nowhere,
                     keep ? opening->size - opening->len : sizeof(nowhere), 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (!keep && n > 0)
        opening->thrown_away += (uint32_t)n;
    if (n <= 0 || opening->thrown_away >= NET_THROW_AWAY_MAX) {
        end_opening(opening);
        return;
    }
    if (!keep)
        return;
    if (opening->len == 0) {
        ev_timer_stop(loop, &opening->timer);
        set_deadline(opening, opening->config->settings.limits.login_timeout);
    }
    opening->len += (size_t)n;
    judge(opening);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct opening *opening = watcher->data;
    if (!opening->refused)
        count_refusal(opening->worker,
                      opening->len == 0 ? PG_FIRST_BYTE_TIMEOUT : PG_LOGIN_TIMEOUT);
    end_opening(opening);
}

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    size_t peer_size = strlen(guest->peer) + 1;
    bool full = opening_count >= OPENINGS_MAX;
    struct opening *opening = full ? NULL : calloc(1, sizeof(*opening) + peer_size);
    if (opening && guest->identity.data &&
        !(opening->identity = strndup((const char *)guest->identity.data, guest->identity.len))) {
        free(opening);
        opening = NULL;
    }
    if (!opening) {
        count_refusal(worker, full ? PG_CONNECTION_LIMIT : PG_NO_MEMORY);
        close(guest->fd);
        return;
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
    ev_io_init(&opening->io, on_request, guest->fd, EV_READ);
    opening->io.data = opening;
    ev_io_start(pg_worker_loop(worker), &opening->io);
    ev_timer_init(&opening->timer, on_deadline, 0., 0.);
    opening->timer.data = opening;
    set_deadline(opening, opening->config->settings.limits.first_byte_timeout);
}

/* ---- listeners ------------------------------------------------------------------------------- */

/* The frontend of that name; false: there is none. */
static bool find_frontend(const struct pg_config *config, const char *name,
                          struct pg_listener_conf *served)
{
    for (size_t i = 0; i < config->protocol_count; i++) {
        if (strcmp(config->protocols[i].protocol->name, name) != 0)
            continue;
        served->protocol = config->protocols[i].protocol;
        served->protocol_index = i;
        return true;
    }
    return false;
}

/* Read "/path" or "/path=frontend" into one more route. */
static bool add_route(struct ws_conf *ws, const struct pg_listener_conf *conf, const char *text,
                      struct pg_error *error)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    struct pg_listener_conf served = *conf;
    if (text[0] != '/' || strcspn(text, " ?#") < len) {
        pg_error_set(error, "paths: found \"%.64s\", expected \"/PATH\" or \"/PATH=PROTOCOL\"",
                     text);
        return false;
    }
    if (equals && !find_frontend(conf->config, equals + 1, &served)) {
        pg_error_set(error, "paths: \"%.64s\" names no protocol that there is", text);
        return false;
    }
    char *path = pg_conf_pool_text(conf->config->pool, text, len);
    if (!path) {
        pg_error_set(error, "out of memory");
        return false;
    }
    ws->routes[ws->route_count] =
        (struct ws_route){.path = path, .subprotocols = served.protocol->subprotocols};
    ws->served[ws->route_count++] = served;
    return true;
}

/* Besides looking at the values, this keeps what the routes are, for as long as they live. */
static bool ws_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct ws_conf *ws = conf->transport_conf;
    if (!net_check(conf, error))
        return false;
    if (ws->routes) /* by another address of the block */
        return true;
    struct pg_conf_pool *pool = conf->config->pool;
    size_t count = ws->paths.count > 0 ? ws->paths.count : 1;
    ws->routes = pg_conf_pool_alloc(pool, count * sizeof(*ws->routes));
    ws->served = pg_conf_pool_alloc(pool, count * sizeof(*ws->served));
    size_t name_len = strlen(conf->protocol->name);
    char *own = pg_conf_pool_alloc(pool, name_len + 2);
    if (!ws->routes || !ws->served || !own) {
        pg_error_set(error, "out of memory");
        return false;
    }
    own[0] = '/';
    memcpy(own + 1, conf->protocol->name, name_len + 1);
    if (ws->paths.count == 0)
        return add_route(ws, conf, own, error);
    for (size_t i = 0; i < ws->paths.count; i++)
        if (!add_route(ws, conf, ws->paths.items[i], error))
            return false;
    return true;
}

static struct pg_listening *ws_listen(const struct pg_listener_conf *conf, unsigned workers,
                                      struct pg_error *error)
{
    return net_listen(conf, workers, take, error);
}

static void ws_stop(struct pg_listening *listening, struct pg_worker *worker)
{
    for (struct opening *o = openings, *next; o; o = next) {
        next = o->next;
        if (o->listening == listening)
            end_opening(o);
    }
    net_stop(listening, worker);
}

const struct pg_transport ws_transport = {
    .name = "ws",
    .options = ws_options,
    .conf_size = sizeof(struct ws_conf),
    .link_size = sizeof(struct ws_link),

    .check = ws_check,
    .listen = ws_listen,
    .addresses = net_addresses,
    .start = net_start,
    .stop = ws_stop,
    .close_listening = net_close_listening,

    .writev = link_writev,
    .want_write = link_want_write,
    .want_read = link_want_read,
    .shutdown = link_shutdown,
    .close = link_close,
};
