/* SPDX-License-Identifier: Apache-2.0 */

/* Between a stream and a connection of the core, with nothing in between; see net_link.h.
 *
 * Reads go straight into the room that the core offers; a turn ends after a short read, or after a
 * bounded number of bytes (the loop is level-triggered and comes back).
 *
 * Thread: everything here runs on the connection's worker. After each call into the core the link
 * is looked at again: it may have been closed, but its memory lives until the end of the turn. */

#include "net_link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "conn.h"
#include "net.h"

void net_conn_ends(struct pg_conn *conn, const struct net_trouble *trouble)
{
    if (trouble->text)
        pg_conn_close(conn, PG_NETWORK_ERROR, "%s", trouble->text);
    else if (trouble->error_number != 0)
        pg_conn_broken(conn, trouble->error_number);
    else
        pg_conn_eof(conn);
}

void net_conn_refused(struct pg_conn *conn, const struct net_trouble *trouble)
{
    if (trouble->text)
        pg_conn_close(conn, PG_HANDSHAKE_FAILED, "%s", trouble->text);
    else
        net_conn_ends(conn, trouble);
}

void net_conn_secured(struct pg_conn *conn, struct pg_bytes identity)
{
    if (!pg_conn_handshaken(conn, identity))
        pg_conn_close(conn, PG_NO_MEMORY, "after the handshake");
}

static struct pg_conn *conn_of(struct net_stream *stream)
{
    return pg_conn_of_link(stream, sizeof(*stream));
}

static void read_bytes(struct net_stream *stream)
{
    struct pg_conn *conn = conn_of(stream);
    size_t total = 0, room;
    for (ssize_t n;; total += (size_t)n) {
        if (stream->state != NET_STREAM_OPEN || stream->held || !pg_conn_wants_bytes(conn))
            return;
        struct net_trouble trouble = {0};
        uint8_t *buffer = pg_conn_read_room(conn, &room);
        n = net_stream_read(stream, buffer, room, &trouble);
        if (n < 0)
            net_conn_ends(conn, &trouble);
        if (n <= 0)
            return;
        pg_conn_received(conn, (size_t)n);
        if (stream->state != NET_STREAM_OPEN ||
            !net_stream_reads_on(stream, (size_t)n, room, total + (size_t)n))
            return;
    }
}

static void on_ready(struct net_stream *stream, int events)
{
    if (events & EV_WRITE)
        pg_conn_writable(conn_of(stream));
    if (events & EV_READ)
        read_bytes(stream);
}

static void on_secured(struct net_stream *stream, struct pg_bytes identity)
{
    net_conn_secured(conn_of(stream), identity);
}

static void on_failed(struct net_stream *stream, const struct net_trouble *trouble)
{
    net_conn_refused(conn_of(stream), trouble);
}

static void on_drained(struct net_stream *stream)
{
    pg_conn_eof(conn_of(stream));
}

static const struct net_owner link_owner = {
    .ready = on_ready,
    .secured = on_secured,
    .failed = on_failed,
    .drained = on_drained,
};

struct net_stream *net_link_begin(struct pg_conn *conn, const struct net_guest *guest)
{
    struct net_stream *stream = pg_conn_link(conn);
    if (!net_stream_begin(stream, pg_conn_worker(conn), guest->fd, &link_owner)) {
        pg_conn_broken(conn, errno);
        return NULL;
    }
    if (guest->identity.data && !pg_conn_identify(conn, guest->identity))
        pg_conn_close(conn, PG_NO_MEMORY, "before the first byte");
    return stream;
}

void net_link_adopt(struct pg_conn *conn, struct net_stream *from, struct pg_bytes identity,
                    struct pg_bytes head)
{
    net_stream_move(pg_conn_link(conn), from, &link_owner);
    net_conn_secured(conn, identity);
    size_t room;
    uint8_t *buffer = pg_conn_read_room(conn, &room);
    assert(head.len <= room);
    if (head.len > 0) {
        memcpy(buffer, head.data, head.len);
        pg_conn_received(conn, head.len);
    }
}

ssize_t net_link_writev(void *link, const struct iovec *iov, int count)
{
    return net_stream_write(link, iov, count);
}

void net_link_want_write(void *link, bool on)
{
    net_stream_block(link, on);
}

void net_link_want_read(void *link, bool on)
{
    net_stream_hold(link, !on);
}

void net_link_shutdown(void *link)
{
    net_stream_finish(link);
}

void net_link_close(void *link)
{
    net_stream_close(link);
}
