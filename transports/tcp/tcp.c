/* SPDX-License-Identifier: Apache-2.0 */

/* The TCP transport: one socket per connection on the worker's libev loop.
 *
 * A link has one watcher. It waits for bytes to read while the core wants them, and for room to
 * write only after the kernel took less than it was given. Reads go straight into the room that
 * the core offers; a wake-up ends after a short read, or after a bounded number of bytes, so that
 * one busy peer does not starve the others (the loop is level-triggered and comes back).
 *
 *   TCP_LINK_NEW --begin--> TCP_LINK_OPEN --shutdown--> TCP_LINK_DRAIN --close--> TCP_LINK_CLOSED
 *                                 +------------------------close------------------------^
 *
 * libev calls the watchers of one wake-up in the reverse order of the kernel's. Peers are to be
 * served in the order in which their bytes came, so a watcher only puts its link in front of a list,
 * which is gone through at the end of the turn, before anything is written.
 *
 * Shutting down sends our FIN and throws away what the peer still sends, because a socket that is
 * closed with unread bytes sends a reset, and a reset can overtake our last words (RFC 1122,
 * 4.2.2.13). The peer's end is reported to the core, which closes; the core's linger deadline
 * closes if it does not come.
 *
 * Thread: everything here runs on the connection's worker. After each call into the core the link
 * is looked at again: it may have been closed, but its memory lives until the end of the turn. */

#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/net.h"
#include "conn.h"
#include "worker.h"

enum tcp_link_state {
    TCP_LINK_NEW,   /* zeroed by the core; no socket yet; want_read and want_write are remembered */
    TCP_LINK_OPEN,  /* bytes go both ways */
    TCP_LINK_DRAIN, /* our side is shut; what comes is thrown away, up to a bound */
    TCP_LINK_CLOSED, /* no watcher, no socket */
};

/* The transport's state of one connection; all zero is TCP_LINK_NEW. */
struct tcp_link {
    struct ev_io io;       /* the only watcher; io.data is the struct pg_conn */
    uint8_t state;         /* enum tcp_link_state */
    bool held : 1;         /* the core does not want bytes now */
    bool blocked : 1;      /* the core waits for room to write */
    bool at_eof : 1;       /* the peer's last byte has been read: nothing more to wait for */
    uint8_t events;        /* libev's bits that are to be looked at this turn */
    uint32_t thrown_away;  /* bytes discarded in TCP_LINK_DRAIN */
    struct tcp_link *next; /* of those that have events */
};

/* Most that one connection may read per wake-up. */
#define READS_PER_TURN 4
#define BYTES_PER_TURN (256u * 1024)

/* The one place where the watcher is started, changed and stopped. */
static void watch(struct tcp_link *link)
{
    int events = 0;
    switch ((enum tcp_link_state)link->state) {
    case TCP_LINK_OPEN:
        events = (link->held || link->at_eof ? 0 : EV_READ) | (link->blocked ? EV_WRITE : 0);
        break;
    case TCP_LINK_DRAIN:
        events = EV_READ;
        break;
    case TCP_LINK_NEW:
        return;
    case TCP_LINK_CLOSED:
        break;
    }
    net_watch(pg_worker_loop(pg_conn_worker(link->io.data)), &link->io, events);
}

/* ---- from the socket to the core ------------------------------------------------------------- */

static void read_bytes(struct tcp_link *link)
{
    struct pg_conn *conn = link->io.data;
    size_t total = 0;
    for (int reads = 0; reads < READS_PER_TURN && total < BYTES_PER_TURN; reads++) {
        if (link->state != TCP_LINK_OPEN || link->held || !pg_conn_wants_bytes(conn))
            return;
        size_t room;
        uint8_t *buffer = pg_conn_read_room(conn, &room);
        ssize_t n = net_recv(conn, link->io.fd, buffer, room);
        if (n < 0)
            return;
        if (n == 0) {
            link->at_eof = true;
            watch(link);
            pg_conn_eof(conn);
            return;
        }
        total += (size_t)n;
        pg_conn_received(conn, (size_t)n);
        if ((size_t)n < room)
            return;
    }
}

/* Read once without keeping anything. */
static void throw_away(struct tcp_link *link)
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

static void serve(struct tcp_link *link, int events)
{
    if ((events & EV_WRITE) && link->state == TCP_LINK_OPEN)
        pg_conn_writable(link->io.data);
    if (!(events & EV_READ))
        return;
    if (link->state == TCP_LINK_OPEN)
        read_bytes(link);
    else if (link->state == TCP_LINK_DRAIN)
        throw_away(link);
}

/* The links that have events, the one that the kernel named first in front. A link that is closed
 * meanwhile is still there: it is freed at the end of the turn, behind this. */
static _Thread_local struct tcp_link *ready;
static _Thread_local struct pg_task serve_task;

static void serve_ready(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    (void)worker;
    while (ready) {
        struct tcp_link *link = ready;
        ready = link->next;
        serve(link, link->events);
    }
}

static void on_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    struct tcp_link *link = (struct tcp_link *)watcher;
    if (!ready) {
        serve_task.run = serve_ready;
        pg_worker_later(pg_conn_worker(watcher->data), &serve_task);
    }
    link->events = (uint8_t)events;
    link->next = ready;
    ready = link;
}

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    (void)listening;
    struct pg_conn *conn = pg_conn_open(worker, conf, guest->peer);
    if (!conn) {
        close(guest->fd);
        return;
    }
    /* The core may have said already what it wants. */
    struct tcp_link *link = pg_conn_link(conn);
    assert(link->state == TCP_LINK_NEW);
    ev_io_init(&link->io, on_ready, guest->fd, 0);
    link->io.data = conn;
    link->state = TCP_LINK_OPEN;
    if (guest->identity.data && !pg_conn_identify(conn, guest->identity))
        pg_conn_close(conn, PG_NO_MEMORY, "before the first byte");
    watch(link);
}

static struct pg_listening *start_listening(const struct pg_listener_conf *conf, unsigned workers,
                                            struct pg_error *error)
{
    return net_listen(conf, workers, take, error);
}

/* ---- from the core to the socket ------------------------------------------------------------- */

static ssize_t link_writev(void *state, const struct iovec *iov, int count)
{
    struct tcp_link *link = state;
    if (link->state != TCP_LINK_OPEN)
        return 0;
    return net_send(link->io.fd, iov, (size_t)count);
}

static void link_want_write(void *state, bool on)
{
    struct tcp_link *link = state;
    link->blocked = on;
    watch(link);
}

static void link_want_read(void *state, bool on)
{
    struct tcp_link *link = state;
    link->held = !on;
    watch(link);
}

static void link_shutdown(void *state)
{
    struct tcp_link *link = state;
    assert(link->state != TCP_LINK_NEW);
    if (link->state != TCP_LINK_OPEN)
        return;
    shutdown(link->io.fd, SHUT_WR); /* should it fail, the next read tells why */
    link->state = TCP_LINK_DRAIN;
    watch(link);
}

static void link_close(void *state)
{
    struct tcp_link *link = state;
    assert(link->state != TCP_LINK_NEW);
    if (link->state == TCP_LINK_CLOSED)
        return;
    link->state = TCP_LINK_CLOSED;
    watch(link);
    close(link->io.fd);
}

static const struct pg_option tcp_options[] = {
    NET_OPTION_ROWS,
    {.name = NULL},
};

const struct pg_transport tcp_transport = {
    .name = "tcp",
    .options = tcp_options,
    .conf_size = sizeof(struct net_conf),
    .link_size = sizeof(struct tcp_link),

    .check = net_check,
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
