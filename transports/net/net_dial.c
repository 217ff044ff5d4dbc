/* SPDX-License-Identifier: Apache-2.0 */

/* Calling out, for every transport over streams; see net_dial.h.
 *
 *    a name: look-up ---> addresses ---> connect(), in turn ---> `dialed`
 *
 * A numeric address needs no look-up. Each address but the last has an equal share of connect_timeout, so
 * that one which swallows packets leaves time for the next (as RFC 8305 wants, in sequence). Whoever
 * calls has few calls under way, so that they are in a list. Keep-alive probes are sent by the kernel's
 * own numbers: they find a dead peer that the frontend says nothing to.
 *
 * Thread: the connection's worker, or, after all threads have ended, the one that joined them. */

#include "net_dial.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "net_address.h"
#include "net_lookup.h"
#include "net_stream.h"
#include "worker.h"

struct dial {
    struct dial *next, **link; /* of its worker */
    struct net_stream *stream;
    struct pg_conn *conn;
    const struct pg_listener_conf *conf;
    net_dialed dialed;
    struct net_lookup *lookup; /* under way, or NULL */
    struct net_address addresses[NET_LOOKUP_MAX];
    size_t count, at;
    int error_number; /* of the address before */
    struct ev_io io;  /* fd is -1: no socket */
    struct ev_timer share;
};

/* By worker; only its own thread touches it. */
static struct dial *dials[PG_WORKERS_MAX];

/* ---- addresses ------------------------------------------------------------------------------- */

#define EXPECTED                                                                                   \
    "expected HOST:PORT, such as 192.0.2.7:32960, [2001:db8::7]:32960 or platform.example.org:"    \
    "32960, or unix:/PATH"

/* Host and port of a name, which net_address_parse() does not read. */
static bool split_name(const char *to, struct pg_bytes *host, uint16_t *port)
{
    static const char name_bytes[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *colon = strrchr(to, ':');
    size_t len = strspn(to, name_bytes);
    struct net_address any[NET_ADDRESS_MAX];
    struct pg_error why;
    /* What stands behind the colon is a port if any address may stand before it. */
    if (!colon || len == 0 || len > 255 || to + len != colon ||
        net_address_parse(colon, any, &why) == 0)
        return false;
    *host = (struct pg_bytes){.data = (const uint8_t *)to, .len = len};
    *port = net_address_port(&any[0]);
    return *port != 0;
}

/* One that is numeric. */
static bool is_numeric(const char *to, struct net_address *out)
{
    struct net_address found[NET_ADDRESS_MAX];
    struct pg_error why;
    if (net_address_parse(to, found, &why) != 1 ||
        (found[0].sa.any.sa_family != AF_UNIX && net_address_port(&found[0]) == 0))
        return false;
    *out = found[0];
    return true;
}

bool net_dial_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct net_address address;
    struct pg_bytes host;
    uint16_t port;
    const char *to = conf->call->to;
    if (is_numeric(to, &address) || split_name(to, &host, &port))
        return true;
    pg_error_set(error, "found \"%.100s\", " EXPECTED, to);
    return false;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void drop_socket(struct dial *dial)
{
    struct ev_loop *loop = pg_worker_loop(pg_conn_worker(dial->conn));
    ev_timer_stop(loop, &dial->share);
    if (dial->io.fd < 0)
        return;
    ev_io_stop(loop, &dial->io);
    close(dial->io.fd);
    dial->io.fd = -1;
}

static void free_dial(struct dial *dial)
{
    drop_socket(dial);
    if (dial->lookup)
        net_lookup_cancel(&dial->lookup);
    *dial->link = dial->next;
    if (dial->next)
        dial->next->link = dial->link;
    free(dial);
}

void net_dial_stop(struct net_stream *stream)
{
    if (stream->state != NET_STREAM_DIALING)
        return;
    struct dial *dial = dials[stream->worker];
    while (dial && dial->stream != stream)
        dial = dial->next;
    if (dial)
        free_dial(dial);
    stream->fd = -1;
    stream->state = NET_STREAM_CLOSED;
}

static void give_up(struct dial *dial, const char *what, const char *why)
{
    struct pg_conn *conn = dial->conn;
    pg_conn_close(conn, PG_NETWORK_ERROR, "%s: %s", what, why);
    pg_conn_broken(conn, 0); /* stops the dial */
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void try_addresses(struct dial *dial);

static void connected(struct dial *dial)
{
    struct net_stream *stream = dial->stream;
    struct pg_conn *conn = dial->conn;
    const struct pg_listener_conf *conf = dial->conf;
    net_dialed dialed = dial->dialed;
    int fd = dial->io.fd;
    ev_io_stop(pg_worker_loop(pg_conn_worker(conn)), &dial->io);
    dial->io.fd = -1;
    free_dial(dial);
    stream->state = NET_STREAM_NEW;
    dialed(conn, conf, fd);
}

static void next_address(struct dial *dial, int error_number)
{
    dial->error_number = error_number;
    drop_socket(dial);
    dial->at++;
    try_addresses(dial);
}

static void on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    (void)loop, (void)events;
    struct dial *dial = io->data;
    int error_number = 0;
    socklen_t len = sizeof(error_number);
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error_number, &len) != 0)
        error_number = errno;
    if (error_number != 0)
        next_address(dial, error_number);
    else
        connected(dial);
}

static void on_share_over(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop, (void)events;
    next_address(timer->data, ETIMEDOUT);
}

/* Its socket, on the way; -1 with errno. */
static int connecting_socket(const struct net_address *address)
{
    int on = 1, family = address->sa.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if ((family == AF_UNIX || (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
                               setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0)) &&
        (connect(fd, &address->sa.any, address->len) == 0 || errno == EINPROGRESS))
        return fd;
    int error_number = errno;
    close(fd);
    errno = error_number;
    return -1;
}

static void try_addresses(struct dial *dial)
{
    struct ev_loop *loop = pg_worker_loop(pg_conn_worker(dial->conn));
    int fd = -1;
    char text[NET_ADDRESS_TEXT] = "", why[128];
    for (; dial->at < dial->count; dial->at++) {
        fd = connecting_socket(&dial->addresses[dial->at]);
        if (fd >= 0)
            break;
        dial->error_number = errno;
    }
    if (fd < 0) {
        net_address_text(&dial->addresses[dial->count - 1], text);
        give_up(dial, text, strerror_r(dial->error_number, why, sizeof(why)));
        return;
    }
    ev_io_set(&dial->io, fd, EV_WRITE);
    ev_io_start(loop, &dial->io);
    if (dial->at + 1 < dial->count) {
        double s = (double)dial->conf->call->connect_timeout_ms / 1000. / (double)dial->count;
        ev_timer_set(&dial->share, s, 0.);
        ev_timer_start(loop, &dial->share);
    }
}

static void looked_up(void *arg, const struct net_address *found, size_t count, const char *why)
{
    struct dial *dial = arg;
    dial->lookup = NULL;
    if (count == 0) {
        give_up(dial, dial->conf->call->to, why);
        return;
    }
    memcpy(dial->addresses, found, count * sizeof(*found));
    dial->count = count;
    try_addresses(dial);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static struct dial *new_dial(struct pg_conn *conn, struct net_stream *stream)
{
    struct dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return NULL;
    struct dial **first = &dials[stream->worker];
    dial->next = *first;
    if (dial->next)
        dial->next->link = &dial->next;
    dial->link = first;
    *first = dial;
    dial->stream = stream;
    dial->conn = conn;
    ev_io_init(&dial->io, on_writable, -1, EV_WRITE);
    ev_init(&dial->share, on_share_over);
    dial->io.data = dial->share.data = dial;
    return dial;
}

void net_dial(struct pg_conn *conn, const struct pg_listener_conf *conf, net_dialed dialed)
{
    struct pg_worker *worker = pg_conn_worker(conn);
    struct net_stream *stream = pg_conn_link(conn);
    struct pg_bytes host;
    uint16_t port;
    assert(stream->state == NET_STREAM_NEW);
    stream->worker = (uint8_t)pg_worker_index(worker);
    stream->state = NET_STREAM_DIALING;
    pg_conn_expect_handshake(conn, conf->call->connect_timeout_ms);
    struct dial *dial = new_dial(conn, stream);
    if (!dial) {
        pg_conn_close(conn, PG_NO_MEMORY, "before the call");
        pg_conn_broken(conn, 0);
        return;
    }
    dial->conf = conf;
    dial->dialed = dialed;
    if (is_numeric(conf->call->to, &dial->addresses[0])) {
        dial->count = 1;
        try_addresses(dial);
        return;
    }
    if (split_name(conf->call->to, &host, &port))
        dial->lookup = net_lookup_begin(worker, host, port, looked_up, dial);
    if (!dial->lookup)
        give_up(dial, conf->call->to, "memory or threads are out");
}
