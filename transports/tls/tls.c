/* SPDX-License-Identifier: Apache-2.0 */

/* The TLS transport: OpenSSL on the sockets of the worker's libev loop.
 *
 *   TLS_LINK_NEW --begin--> TLS_LINK_HANDSHAKE --done--> TLS_LINK_OPEN --shutdown--> TLS_LINK_PARTING
 *                                 |                                                      |
 *                                 +----------------shutdown------> TLS_LINK_DRAIN <------+
 *                                      any of them --close--> TLS_LINK_CLOSED
 *
 * A step of a handshake may cost a private-key operation, which is the longest that a worker ever
 * computes. Links with something to do for their handshake wait in a line, of which one is served
 * per turn of the loop; everybody else's bytes are served between two of them.
 *
 * Reads go into the room that the core offers. What OpenSSL has decrypted and the core did not take
 * yet does not make the socket readable, so it is looked for whenever reading is wanted again.
 * Writes gather small chunks into records of RECORD_MAX bytes, and are repeated from the same byte
 * when the kernel is full, as OpenSSL demands.
 *
 * Ending sends close_notify and our FIN (RFC 8446, 6.1), gives OpenSSL's memory back, and throws away
 * what the peer still sends, undeciphered, for the reasons given in ../tcp/tcp.c.
 *
 * Thread: everything here runs on the connection's worker, or, after all threads have ended, on the
 * one that joined them. After each call into the core the link is looked at again: it may have been
 * closed, but its memory lives until the end of the turn. */

#include "tls.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <openssl/err.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "conn.h"
#include "counter.h"
#include "tls_parts.h"
#include "worker.h"

/* Most that one connection may read per wake-up; the rest of a record that was begun is read. */
#define BYTES_PER_TURN (256u * 1024)
#define RECORD_MAX     SSL3_RT_MAX_PLAIN_LENGTH

enum tls_link_state {
    TLS_LINK_NEW,       /* zeroed by the core; no socket yet; want_read is remembered */
    TLS_LINK_HANDSHAKE, /* counted by its worker; waits for the peer, or in the line */
    TLS_LINK_OPEN,      /* bytes go both ways */
    TLS_LINK_PARTING,   /* the kernel had no room for our close_notify */
    TLS_LINK_DRAIN,  /* our side is shut, ssl is gone; what comes is thrown away, up to a bound */
    TLS_LINK_CLOSED, /* no watcher, no socket */
};

/* The transport's state of one connection; all zero is TLS_LINK_NEW. */
struct tls_link {
    struct ev_io io; /* the only watcher; io.data is the struct pg_conn */
    SSL *ssl;
    const struct tls_conf *conf; /* shared with the connection's configuration */
    uint8_t state;               /* enum tls_link_state */
    uint8_t events;              /* libev's bits that are to be looked at this turn */
    bool held : 1;               /* the core does not want bytes now */
    bool blocked : 1;            /* the core waits for room to write */
    bool at_eof : 1;             /* the peer's last byte has been read */
    bool stalled : 1;            /* OpenSSL wants to write before it goes on (handshake, read) */
    bool is_ready : 1;           /* among those that have events */
    bool broken : 1;             /* OpenSSL has failed: not even close_notify may be sent */
    bool in_line : 1;            /* waits for its turn to go on with the handshake */
    uint32_t thrown_away;        /* bytes discarded in TLS_LINK_DRAIN */
    struct tls_link *next;       /* of those that have events */
    struct tls_link *next_in_line, *prev_in_line;
};

/* A worker's part; only its own thread touches it. */
struct tls_worker {
    alignas(64) struct tls_link *ready; /* the one that the kernel named first in front */
    struct pg_task serve;
    struct tls_link *first, *last; /* the line; both NULL if nobody waits */
    size_t handshakes;             /* links in TLS_LINK_HANDSHAKE */
    struct ev_check step;          /* active while somebody is in the line, as the next */
    struct ev_idle stay;           /* keeps the loop from sleeping */
    struct ev_loop *loop;
};
static struct tls_worker workers[PG_WORKERS_MAX];

static struct tls_worker *worker_of(const struct tls_link *link)
{
    return &workers[pg_worker_index(pg_conn_worker(link->io.data))];
}

/* The one place where the watcher is started, changed and stopped. */
static void watch(struct tls_link *link)
{
    int events = 0;
    switch ((enum tls_link_state)link->state) {
    case TLS_LINK_HANDSHAKE:
        events = link->in_line ? 0 : link->stalled ? EV_WRITE : EV_READ;
        break;
    case TLS_LINK_OPEN:
        events = (link->held || link->at_eof ? 0 : EV_READ) |
                 (link->blocked || link->stalled ? EV_WRITE : 0);
        break;
    case TLS_LINK_PARTING:
        events = EV_WRITE;
        break;
    case TLS_LINK_DRAIN:
        events = EV_READ;
        break;
    case TLS_LINK_NEW:
        return;
    case TLS_LINK_CLOSED:
        break;
    }
    net_watch(pg_worker_loop(pg_conn_worker(link->io.data)), &link->io, events);
}

/* ---- handshakes ------------------------------------------------------------------------------ */

static void step_next(struct ev_loop *loop, struct ev_check *watcher, int events);

static void stay_awake(struct ev_loop *loop, struct ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void stand_in_line(struct tls_link *link)
{
    struct tls_worker *w = worker_of(link);
    link->in_line = true;
    link->prev_in_line = w->last;
    link->next_in_line = NULL;
    if (w->last) {
        w->last->next_in_line = link;
    } else {
        w->first = link;
        w->loop = pg_worker_loop(pg_conn_worker(link->io.data));
        ev_check_init(&w->step, step_next);
        ev_idle_init(&w->stay, stay_awake);
        ev_check_start(w->loop, &w->step);
        ev_idle_start(w->loop, &w->stay);
    }
    w->last = link;
    watch(link);
}

static void leave_line(struct tls_link *link)
{
    struct tls_worker *w = worker_of(link);
    if (!link->in_line)
        return;
    link->in_line = false;
    *(link->prev_in_line ? &link->prev_in_line->next_in_line : &w->first) = link->next_in_line;
    *(link->next_in_line ? &link->next_in_line->prev_in_line : &w->last) = link->prev_in_line;
    if (!w->first) {
        ev_check_stop(w->loop, &w->step);
        ev_idle_stop(w->loop, &w->stay);
    }
}

/* No handshake is under way any more. */
static void end_handshake(struct tls_link *link, enum tls_link_state next)
{
    leave_line(link);
    worker_of(link)->handshakes--;
    link->state = (uint8_t)next;
    link->stalled = false;
}

static void succeed(struct tls_link *link)
{
    struct pg_conn *conn = link->io.data;
    char name[TLS_IDENTITY_MAX + 1];
    end_handshake(link, TLS_LINK_OPEN);
    watch(link);
    if (!tls_identity_of(link->ssl, link->conf, name)) {
        pg_conn_close(conn, PG_HANDSHAKE_FAILED,
                      "the certificate has no usable name; see identity of the listener");
        return;
    }
    struct pg_bytes identity = name[0] != '\0' ? pg_bytes_str(name) : PG_BYTES_NONE;
    if (!pg_conn_handshaken(conn, identity))
        pg_conn_close(conn, PG_NO_MEMORY, "after the handshake");
}

/* What OpenSSL did not like, said by the core's line with the peer's address. */
static void fail(struct tls_link *link, int error, int error_number)
{
    struct pg_conn *conn = link->io.data;
    long verdict = SSL_get_verify_result(link->ssl);
    if (error == SSL_ERROR_SSL && verdict != X509_V_OK)
        pg_conn_close(conn, PG_HANDSHAKE_FAILED, "%s: %s", tls_why(),
                      X509_verify_cert_error_string(verdict));
    else if (error == SSL_ERROR_SSL)
        pg_conn_close(conn, PG_HANDSHAKE_FAILED, "%s", tls_why());
    else
        pg_conn_broken(conn, error_number != 0 ? error_number : ECONNRESET);
}

static void step(struct tls_link *link)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_accept(link->ssl);
    int error_number = errno;
    int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(link->ssl, result);
    switch (error) {
    case SSL_ERROR_NONE:
        succeed(link);
        break;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        link->stalled = error == SSL_ERROR_WANT_WRITE;
        watch(link);
        break;
    case SSL_ERROR_ZERO_RETURN:
        pg_conn_eof(link->io.data);
        break;
    default:
        fail(link, error, error_number);
        break;
    }
}

static void step_next(struct ev_loop *loop, struct ev_check *watcher, int events)
{
    (void)loop;
    (void)events;
    struct tls_worker *w =
        (struct tls_worker *)(void *)((char *)watcher - offsetof(struct tls_worker, step));
    struct tls_link *link = w->first;
    leave_line(link);
    step(link);
}

/* ---- from the socket to the core ------------------------------------------------------------- */

/* SSL_read did not give bytes. */
static void no_bytes(struct tls_link *link, int result, int error_number)
{
    struct pg_conn *conn = link->io.data;
    switch (SSL_get_error(link->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_WANT_WRITE:
        link->stalled = true;
        watch(link);
        break;
    case SSL_ERROR_ZERO_RETURN:
        link->at_eof = true;
        watch(link);
        pg_conn_eof(conn);
        break;
    case SSL_ERROR_SYSCALL:
        link->broken = true;
        pg_conn_broken(conn, error_number != 0 ? error_number : ECONNRESET);
        break;
    default:
        link->broken = true;
        pg_conn_close(conn, PG_NETWORK_ERROR, "TLS: %s", tls_why());
        break;
    }
}

static void read_bytes(struct tls_link *link)
{
    struct pg_conn *conn = link->io.data;
    for (size_t total = 0; total < BYTES_PER_TURN || SSL_pending(link->ssl) > 0;) {
        if (link->state != TLS_LINK_OPEN || link->held || link->at_eof ||
            !pg_conn_wants_bytes(conn))
            return;
        size_t room;
        uint8_t *buffer = pg_conn_read_room(conn, &room);
        ERR_clear_error();
        errno = 0;
        int n = SSL_read(link->ssl, buffer, (int)(room < INT32_MAX ? room : INT32_MAX));
        if (n <= 0) {
            no_bytes(link, n, errno);
            return;
        }
        total += (size_t)n;
        pg_conn_received(conn, (size_t)n);
        if (link->state != TLS_LINK_OPEN)
            return;
    }
}

/* Read once without keeping anything. */
static void throw_away(struct tls_link *link)
{
    struct pg_conn *conn = link->io.data;
    size_t room;
    uint8_t *buffer = pg_conn_read_room(conn, &room);
    ssize_t n = net_recv(conn, link->io.fd, buffer, room);
    if (n < 0)
        return;
    link->thrown_away += (uint32_t)n;
    if (n == 0 || link->thrown_away >= NET_THROW_AWAY_MAX)
        pg_conn_eof(conn);
}

static void part(struct tls_link *link);

static void serve(struct tls_link *link, int events)
{
    switch ((enum tls_link_state)link->state) {
    case TLS_LINK_HANDSHAKE:
        if (!link->in_line)
            stand_in_line(link);
        break;
    case TLS_LINK_OPEN:
        if ((events & EV_WRITE) && link->stalled) {
            link->stalled = false;
            watch(link);
            events |= EV_READ;
        }
        if ((events & EV_WRITE) && link->blocked)
            pg_conn_writable(link->io.data);
        if (events & EV_READ)
            read_bytes(link);
        break;
    case TLS_LINK_PARTING:
        part(link);
        break;
    case TLS_LINK_DRAIN:
        throw_away(link);
        break;
    case TLS_LINK_NEW:
    case TLS_LINK_CLOSED:
        break;
    }
}

static void serve_ready(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct tls_worker *w = &workers[pg_worker_index(worker)];
    while (w->ready) {
        struct tls_link *link = w->ready;
        w->ready = link->next;
        link->is_ready = false;
        serve(link, link->events);
    }
}

static void make_ready(struct tls_link *link, int events)
{
    struct tls_worker *w = worker_of(link);
    if (link->is_ready) {
        link->events |= (uint8_t)events;
        return;
    }
    if (!w->ready) {
        w->serve.run = serve_ready;
        pg_worker_later(pg_conn_worker(link->io.data), &w->serve);
    }
    link->is_ready = true;
    link->events = (uint8_t)events;
    link->next = w->ready;
    w->ready = link;
}

/* What was made ready at the end of a turn can be freed in it, before it is served. */
static void leave_ready(struct tls_link *link)
{
    if (!link->is_ready)
        return;
    struct tls_link **at = &worker_of(link)->ready;
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    link->is_ready = false;
}

static void on_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    make_ready((struct tls_link *)watcher, events);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void turn_away(struct pg_worker *worker, const struct pg_listener_conf *conf, int fd,
                      const char *peer)
{
    struct pg_counter_set *counters = pg_worker_counters(worker);
    close(fd);
    pg_counter_add(counters, PG_COUNT_CONNECTIONS_REFUSED, 1);
    pg_counter_add(counters, PG_COUNTER_REFUSE(PG_BUSY), 1);
    PG_LOG(PG_WARN, "connection_refused", PG_F_TEXT("peer", peer),
           PG_F_TEXT("listener", conf->name), PG_F_REASON(PG_BUSY),
           PG_F_TEXT("detail", "see handshakes of the listener"));
}

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    (void)listening;
    const struct tls_conf *c = conf->transport_conf;
    struct tls_worker *w = &workers[pg_worker_index(worker)];
    if (w->handshakes >= (size_t)c->handshakes) {
        turn_away(worker, conf, guest->fd, guest->peer);
        return;
    }
    struct pg_conn *conn = pg_conn_open(worker, conf, guest->peer);
    if (!conn) {
        close(guest->fd);
        return;
    }
    struct tls_link *link = pg_conn_link(conn);
    assert(link->state == TLS_LINK_NEW);
    ev_io_init(&link->io, on_ready, guest->fd, 0);
    link->io.data = conn;
    link->conf = c;
    link->state = TLS_LINK_HANDSHAKE;
    w->handshakes++;
    pg_conn_expect_handshake(conn, c->handshake_timeout_ms);
    link->ssl = SSL_new(tls_context(c->set, pg_worker_index(worker)));
    if (!link->ssl || SSL_set_fd(link->ssl, guest->fd) != 1 ||
        (guest->identity.data && !pg_conn_identify(conn, guest->identity))) {
        ERR_clear_error();
        pg_conn_close(conn, PG_NO_MEMORY, "before the handshake");
    }
    watch(link);
}

static struct pg_listening *start_listening(const struct pg_listener_conf *conf, unsigned count,
                                            struct pg_error *error)
{
    return net_listen(conf, count, take, error);
}

/* ---- from the core to the socket ------------------------------------------------------------- */

/* Where to read on in an iovec array. */
struct place {
    const struct iovec *iov;
    int left;
    size_t offset;
};

/* The next record's bytes: in place if the chunk is large enough, else gathered in `room`. They are
 * the same, or more, when the same output is offered again. */
static const uint8_t *next_record(struct place place, uint8_t room[RECORD_MAX], size_t *len)
{
    const uint8_t *first = (const uint8_t *)place.iov->iov_base + place.offset;
    size_t first_len = place.iov->iov_len - place.offset;
    if (first_len >= RECORD_MAX || place.left == 1) {
        *len = first_len < RECORD_MAX ? first_len : RECORD_MAX;
        return first;
    }
    *len = 0;
    while (place.left > 0 && *len < RECORD_MAX) {
        size_t n = place.iov->iov_len - place.offset;
        if (n > RECORD_MAX - *len)
            n = RECORD_MAX - *len;
        memcpy(room + *len, (const uint8_t *)place.iov->iov_base + place.offset, n);
        *len += n;
        place.iov++;
        place.left--;
        place.offset = 0;
    }
    return room;
}

static void advance(struct place *place, size_t n)
{
    while (place->left > 0 && n >= place->iov->iov_len - place->offset) {
        n -= place->iov->iov_len - place->offset;
        place->iov++;
        place->left--;
        place->offset = 0;
    }
    place->offset += n;
}

static ssize_t link_writev(void *state, const struct iovec *iov, int count)
{
    static _Thread_local uint8_t room[RECORD_MAX];
    struct tls_link *link = state;
    struct place place = {.iov = iov, .left = count};
    size_t total = 0;
    while (link->state == TLS_LINK_OPEN && place.left > 0) {
        size_t len;
        const uint8_t *record = next_record(place, room, &len);
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(link->ssl, record, (int)len);
        if (n > 0) {
            total += (size_t)n;
            advance(&place, (size_t)n);
            continue;
        }
        int error_number = errno;
        int error = SSL_get_error(link->ssl, n);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
            break;
        ERR_clear_error();
        link->broken = true;
        errno = error == SSL_ERROR_SYSCALL && error_number != 0 ? error_number : EPROTO;
        return -1;
    }
    return (ssize_t)total;
}

static void link_want_write(void *state, bool on)
{
    struct tls_link *link = state;
    link->blocked = on;
    watch(link);
}

static void link_want_read(void *state, bool on)
{
    struct tls_link *link = state;
    bool resumes = link->held && on;
    link->held = !on;
    watch(link);
    if (resumes && link->state == TLS_LINK_OPEN && SSL_pending(link->ssl) > 0)
        make_ready(link, EV_READ);
}

static void free_ssl(struct tls_link *link)
{
    SSL_free(link->ssl);
    link->ssl = NULL;
}

static void drain(struct tls_link *link)
{
    free_ssl(link);
    shutdown(link->io.fd, SHUT_WR); /* should it fail, the next read tells why */
    link->state = TLS_LINK_DRAIN;
    watch(link);
}

/* Say close_notify; only if the kernel has no room for it, later. */
static void part(struct tls_link *link)
{
    ERR_clear_error();
    int result = link->broken ? 0 : SSL_shutdown(link->ssl);
    if (result < 0 && SSL_get_error(link->ssl, result) == SSL_ERROR_WANT_WRITE) {
        link->state = TLS_LINK_PARTING;
        watch(link);
        return;
    }
    ERR_clear_error();
    drain(link);
}

static void link_shutdown(void *state)
{
    struct tls_link *link = state;
    assert(link->state != TLS_LINK_NEW);
    if (link->state == TLS_LINK_HANDSHAKE) {
        end_handshake(link, TLS_LINK_DRAIN);
        drain(link);
    } else if (link->state == TLS_LINK_OPEN) {
        part(link);
    }
}

static void link_close(void *state)
{
    struct tls_link *link = state;
    assert(link->state != TLS_LINK_NEW);
    if (link->state == TLS_LINK_CLOSED)
        return;
    if (link->state == TLS_LINK_HANDSHAKE)
        end_handshake(link, TLS_LINK_CLOSED);
    else if (link->state == TLS_LINK_OPEN && !link->broken)
        (void)SSL_shutdown(link->ssl); /* as far as the kernel has room */
    ERR_clear_error();
    leave_ready(link);
    link->state = TLS_LINK_CLOSED;
    watch(link);
    free_ssl(link);
    close(link->io.fd);
}

const struct pg_transport tls_transport = {
    .name = "tls",
    .options = tls_options,
    .conf_size = sizeof(struct tls_conf),
    .link_size = sizeof(struct tls_link),

    .check = net_check,
    .prepare = tls_prepare,
    .release = tls_release,
    .listen = start_listening,
    .addresses = net_addresses,
    .start = net_start,
    .stop = net_stop,
    .close_listening = net_close_listening,

    .writev = link_writev,
    .want_write = link_want_write,
    .want_read = link_want_read,
    .shutdown = link_shutdown,
    .close = link_close,
};
