/* SPDX-License-Identifier: Apache-2.0 */

/* Byte streams over sockets, on the worker's libev loop; see net_stream.h.
 *
 *   NEW --begin--> OPEN --finish-->[PARTING]--> DRAIN
 *                  |  ^                           ^
 *               secure secured                    |
 *                  v  |                           |
 *                SECURING ---------finish---------+        any of them --close--> CLOSED
 *
 * A stream has one watcher. It waits for bytes while the owner wants them, and for room to write
 * only when somebody asked for it. libev calls the watchers of one wake-up in the reverse order of
 * the kernel's. Peers are to be served in the order in which their bytes came, so a watcher only
 * puts its stream in front of a list, which is gone through at the end of the turn.
 *
 * What a security layer has deciphered and the owner did not take does not make the socket readable;
 * it is looked for whenever bytes are wanted again.
 *
 * Thread: a stream's worker. */

#include "net_stream.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker.h"

/* Most that one stream may give per wake-up; what a layer holds by then is read in any case. */
#define BYTES_PER_TURN (256u * 1024)
/* A peer that goes on sending this many bytes after we said goodbye is reset: the goodbye has had
 * its chance, and throwing bytes away is work. */
#define THROW_AWAY_MAX (1024u * 1024)

/* A worker's part; only its own thread touches it. */
struct net_part {
    alignas(64) struct net_stream *ready; /* the one that the kernel named first in front */
    struct pg_task serve;
    bool is_due; /* serve is to run, or running */
    struct pg_worker *worker;
};
static struct net_part parts[PG_WORKERS_MAX];

struct pg_worker *net_stream_worker(const struct net_stream *stream)
{
    return parts[stream->worker].worker;
}

static struct ev_loop *loop_of(const struct net_stream *stream)
{
    return pg_worker_loop(net_stream_worker(stream));
}

/* ---- waiting --------------------------------------------------------------------------------- */

static int wanted(const struct net_stream *stream)
{
    switch ((enum net_stream_state)stream->state) {
    case NET_STREAM_SECURING:
        return stream->waits ? 0 : (stream->stalled ? EV_WRITE : EV_READ);
    case NET_STREAM_OPEN:
        return (stream->held || stream->at_eof ? 0 : EV_READ) |
               (stream->blocked || stream->stalled ? EV_WRITE : 0);
    case NET_STREAM_PARTING:
        return EV_WRITE;
    case NET_STREAM_DRAIN:
        return EV_READ;
    case NET_STREAM_NEW:
    case NET_STREAM_CLOSED:
        break;
    }
    return 0;
}

/* The one place where the watcher is started, changed and stopped. */
void net_stream_watch(struct net_stream *stream)
{
    int events = wanted(stream);
    struct ev_io *io = &stream->io;
    if (stream->state == NET_STREAM_NEW || events == (ev_is_active(io) ? io->events : 0))
        return;
    ev_io_stop(loop_of(stream), io);
    ev_io_modify(io, events);
    if (events != 0)
        ev_io_start(loop_of(stream), io);
}

static void serve_ready(struct pg_task *task, struct pg_worker *worker);

static void make_ready(struct net_stream *stream, int events)
{
    struct net_part *part = &parts[stream->worker];
    if (stream->is_ready) {
        stream->events |= (uint8_t)events;
        return;
    }
    if (!part->is_due) {
        part->is_due = true;
        part->serve.run = serve_ready;
        pg_worker_later(part->worker, &part->serve);
    }
    stream->is_ready = true;
    stream->events = (uint8_t)events;
    stream->next = part->ready;
    part->ready = stream;
}

/* A stream can be closed, and its memory freed, between its events and the end of the turn. */
static void leave_ready(struct net_stream *stream)
{
    if (!stream->is_ready)
        return;
    struct net_stream **at = &parts[stream->worker].ready;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    stream->is_ready = false;
}

static void on_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    make_ready((struct net_stream *)watcher, events);
}

static bool has_pending(const struct net_stream *stream)
{
    return stream->security && stream->security->layer->pending(stream->security);
}

void net_stream_hold(struct net_stream *stream, bool on)
{
    bool resumes = stream->held && !on;
    stream->held = on;
    net_stream_watch(stream);
    if (resumes && stream->state == NET_STREAM_OPEN && has_pending(stream))
        make_ready(stream, EV_READ);
}

void net_stream_block(struct net_stream *stream, bool on)
{
    stream->blocked = on;
    net_stream_watch(stream);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void watch_for(struct net_stream *stream, int fd, const struct net_owner *owner, void *data)
{
    ev_io_init(&stream->io, on_ready, fd, 0);
    stream->io.data = data;
    stream->owner = owner;
    net_stream_watch(stream);
}

void net_stream_begin(struct net_stream *stream, struct pg_worker *worker, int fd,
                      const struct net_owner *owner, void *data)
{
    assert(stream->state == NET_STREAM_NEW);
    stream->worker = (uint8_t)pg_worker_index(worker);
    parts[stream->worker].worker = worker;
    stream->state = NET_STREAM_OPEN;
    watch_for(stream, fd, owner, data);
}

void net_stream_secure(struct net_stream *stream, struct net_security *security)
{
    assert(stream->state == NET_STREAM_OPEN && !stream->security);
    security->stream = stream;
    stream->security = security;
    stream->state = NET_STREAM_SECURING;
    net_stream_watch(stream);
}

void net_stream_handshake_ends(struct net_stream *stream)
{
    assert(stream->state == NET_STREAM_SECURING);
    stream->state = NET_STREAM_OPEN;
    stream->stalled = false;
    stream->waits = false;
    net_stream_watch(stream);
}

void net_stream_move(struct net_stream *to, struct net_stream *from, const struct net_owner *owner,
                     void *data)
{
    assert(to->state == NET_STREAM_NEW && from->state == NET_STREAM_OPEN);
    bool held = to->held, blocked = to->blocked;
    leave_ready(from);
    ev_io_stop(loop_of(from), &from->io);
    int fd = from->io.fd;
    *to = *from;
    memset(from, 0, sizeof(*from));
    to->held = held;
    to->blocked = blocked;
    if (to->security)
        to->security->stream = to;
    watch_for(to, fd, owner, data);
    if (!held && has_pending(to))
        make_ready(to, EV_READ);
}

/* ---- reading and writing --------------------------------------------------------------------- */

static ssize_t read_plain(struct net_stream *stream, uint8_t *buffer, size_t room,
                          struct net_trouble *trouble)
{
    ssize_t n;
    do
        n = recv(stream->io.fd, buffer, room, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    if (n == 0)
        return NET_END;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return 0;
    *trouble = (struct net_trouble){.error_number = errno};
    return NET_BROKEN;
}

ssize_t net_stream_read(struct net_stream *stream, uint8_t *buffer, size_t room,
                        struct net_trouble *trouble)
{
    struct net_security *security = stream->security;
    ssize_t n = security ? security->layer->read(security, buffer, room, trouble)
                         : read_plain(stream, buffer, room, trouble);
    stream->at_eof = n == NET_END;
    if (n <= 0)
        net_stream_watch(stream);
    return n;
}

bool net_stream_reads_on(const struct net_stream *stream, size_t n, size_t room, size_t total)
{
    if (!stream->security)
        return n == room && total < BYTES_PER_TURN;
    return total < BYTES_PER_TURN || has_pending(stream);
}

ssize_t net_stream_write(struct net_stream *stream, const struct iovec *iov, int count)
{
    if (stream->state != NET_STREAM_OPEN)
        return 0;
    if (stream->security)
        return stream->security->layer->write(stream->security, iov, count);
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX),
    };
    ssize_t n;
    do
        n = sendmsg(stream->io.fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void free_security(struct net_stream *stream)
{
    if (stream->security)
        stream->security->layer->free(&stream->security);
}

static void drain(struct net_stream *stream)
{
    free_security(stream);
    shutdown(stream->io.fd, SHUT_WR); /* should it fail, the next read tells why */
    stream->state = NET_STREAM_DRAIN;
    net_stream_watch(stream);
}

/* Say the layer's goodbye, and if there is no room for it, wait for some. */
static void part(struct net_stream *stream)
{
    if (!stream->security || stream->security->layer->finish(stream->security)) {
        drain(stream);
        return;
    }
    stream->state = NET_STREAM_PARTING;
    net_stream_watch(stream);
}

void net_stream_finish(struct net_stream *stream)
{
    assert(stream->state != NET_STREAM_NEW);
    if (stream->state == NET_STREAM_SECURING)
        drain(stream);
    else if (stream->state == NET_STREAM_OPEN)
        part(stream);
}

void net_stream_close(struct net_stream *stream)
{
    assert(stream->state != NET_STREAM_NEW);
    if (stream->state == NET_STREAM_CLOSED)
        return;
    if (stream->state == NET_STREAM_OPEN && stream->security)
        (void)stream->security->layer->finish(stream->security); /* as far as there is room */
    free_security(stream);
    leave_ready(stream);
    stream->state = NET_STREAM_CLOSED;
    net_stream_watch(stream);
    close(stream->io.fd);
}

/* Read once without keeping anything. */
static void throw_away(struct net_stream *stream)
{
    uint8_t nowhere[16 * 1024];
    struct net_trouble trouble;
    ssize_t n = read_plain(stream, nowhere, sizeof(nowhere), &trouble);
    if (n > 0)
        stream->thrown_away += (uint32_t)n;
    if (n < 0 || stream->thrown_away >= THROW_AWAY_MAX)
        stream->owner->drained(stream);
}

/* ---- the end of the turn --------------------------------------------------------------------- */

static void serve(struct net_stream *stream, int events)
{
    switch ((enum net_stream_state)stream->state) {
    case NET_STREAM_SECURING:
        stream->security->layer->handshake(stream->security);
        break;
    case NET_STREAM_OPEN:
        if ((events & EV_WRITE) && stream->stalled) {
            stream->stalled = false;
            net_stream_watch(stream);
            events |= EV_READ;
        }
        if (!stream->blocked)
            events &= ~EV_WRITE;
        stream->owner->ready(stream, events);
        break;
    case NET_STREAM_PARTING:
        part(stream);
        break;
    case NET_STREAM_DRAIN:
        throw_away(stream);
        break;
    case NET_STREAM_NEW:
    case NET_STREAM_CLOSED:
        break;
    }
}

static void serve_ready(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct net_part *part = &parts[pg_worker_index(worker)];
    while (part->ready) {
        struct net_stream *stream = part->ready;
        part->ready = stream->next;
        stream->is_ready = false;
        serve(stream, stream->events);
    }
    part->is_due = false;
}
