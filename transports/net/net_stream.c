/* SPDX-License-Identifier: Apache-2.0 */

/* Byte streams over sockets, on the worker's libev loop; see net_stream.h.
 *
 *   NEW --begin--> OPEN --finish-->[PARTING]--> DRAIN
 *                  |  ^                           ^
 *               secure secured                    |
 *                  v  |                           |
 *                SECURING ---------finish---------+        any of them --close--> CLOSED
 *
 * A stream waits (net_poll.h) for bytes while the owner wants them, and for room to write only when
 * somebody asked for it. What a security layer has read and the owner did not take does not make the
 * socket readable; it is looked for whenever bytes are wanted again, and such streams are on a list of
 * their own, which is served at the end of the turn, too.
 *
 * Thread: a stream's worker. */

#include "net_stream.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_poll.h"
#include "worker.h"

/* Most that one stream may give per wake-up. No option: it is a few reads, so that a busy peer makes
 * the others wait for a fraction of a millisecond, and how much a peer may send is what the limits of
 * listeners are for. */
#define BYTES_PER_TURN (256u * 1024)

/* A worker's part; only its own thread touches it. */
struct net_part {
    alignas(64) struct net_security *ready; /* of streams whose layer holds bytes that are wanted */
    struct net_security *serving;           /* those whose turn it is */
    struct pg_task serve;
    bool is_due; /* serve is to run */
};
static struct net_part parts[PG_WORKERS_MAX];

struct pg_worker *net_stream_worker(const struct net_stream *stream)
{
    return net_poll_worker(stream->worker);
}

/* The owners that there are, by number: a number is shorter than an address. Each is entered by
 * whoever is first to have a stream of it, on any thread, and stays. */
#define OWNERS_MAX 16u
static const struct net_owner *_Atomic owners[OWNERS_MAX];

static uint8_t number_of(const struct net_owner *owner)
{
    for (uint8_t i = 0;; i++) {
        assert(i < OWNERS_MAX);
        const struct net_owner *there = NULL;
        if (atomic_compare_exchange_strong(&owners[i], &there, owner) || there == owner)
            return i;
    }
}

const struct net_owner *net_stream_owner(const struct net_stream *stream)
{
    return atomic_load_explicit(&owners[stream->owner], memory_order_relaxed);
}

/* NULL: none, or none any more. */
static struct net_security *security_of(const struct net_stream *stream)
{
    bool drained = stream->state == NET_STREAM_DRAIN || stream->state == NET_STREAM_CLOSED;
    return drained ? NULL : stream->security;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static unsigned wanted(const struct net_stream *stream)
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
    case NET_STREAM_DIALING:
    case NET_STREAM_LOST:
    case NET_STREAM_CLOSED:
        break;
    }
    return 0;
}

/* The one place where what is waited for changes. */
void net_stream_watch(struct net_stream *stream)
{
    unsigned events = wanted(stream);
    if (events == stream->watched)
        return;
    stream->watched = events & 3u;
    net_poll_wait(stream->worker, stream->fd, stream, (int)events);
}

static void serve_ready(struct pg_task *task, struct pg_worker *worker);

/* Its layer holds bytes that are wanted now. */
static void make_ready(struct net_stream *stream)
{
    struct net_part *part = &parts[stream->worker];
    if (stream->is_ready)
        return;
    if (!part->is_due) {
        part->is_due = true;
        part->serve.run = serve_ready;
        pg_worker_later(net_stream_worker(stream), &part->serve);
    }
    stream->is_ready = true;
    stream->security->next_ready = part->ready;
    part->ready = stream->security;
}

static bool take_off(struct net_security **at, const struct net_stream *stream)
{
    while (*at && (*at)->stream != stream)
        at = &(*at)->next_ready;
    if (!*at)
        return false;
    *at = (*at)->next_ready;
    return true;
}

/* A stream can be closed, and its memory freed, between its events and the end of the turn. */
static void leave_ready(struct net_stream *stream)
{
    struct net_part *part = &parts[stream->worker];
    net_poll_forget(stream->worker, stream);
    if (stream->is_ready && !take_off(&part->ready, stream))
        (void)take_off(&part->serving, stream);
    stream->is_ready = false;
}

static bool has_pending(const struct net_stream *stream)
{
    const struct net_security *security = security_of(stream);
    return security && security->layer->pending(security);
}

void net_stream_hold(struct net_stream *stream, bool on)
{
    bool resumes = stream->held && !on;
    stream->held = on;
    net_stream_watch(stream);
    if (resumes && stream->state == NET_STREAM_OPEN && has_pending(stream))
        make_ready(stream);
}

void net_stream_block(struct net_stream *stream, bool on)
{
    stream->blocked = on;
    net_stream_watch(stream);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void serve(void *socket, int events);

bool net_stream_begin(struct net_stream *stream, struct pg_worker *worker, int fd,
                      const struct net_owner *owner)
{
    assert(stream->state == NET_STREAM_NEW);
    stream->worker = (uint8_t)pg_worker_index(worker);
    stream->state = NET_STREAM_OPEN;
    stream->fd = fd;
    stream->owner = number_of(owner);
    if (!net_poll_add(worker, fd, stream, serve)) {
        stream->state = NET_STREAM_LOST;
        return false;
    }
    net_stream_watch(stream);
    return true;
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
    if (!stream->held && has_pending(stream))
        make_ready(stream);
}

void net_stream_move(struct net_stream *to, struct net_stream *from, const struct net_owner *owner)
{
    assert(to->state == NET_STREAM_NEW && from->state == NET_STREAM_OPEN);
    bool held = to->held, blocked = to->blocked;
    leave_ready(from);
    *to = *from;
    memset(from, 0, sizeof(*from));
    to->held = held;
    to->blocked = blocked;
    to->owner = number_of(owner);
    if (to->security)
        to->security->stream = to;
    to->watched = wanted(to) & 3u;
    net_poll_wait(to->worker, to->fd, to, to->watched);
    if (!held && has_pending(to))
        make_ready(to);
}

/* ---- reading and writing --------------------------------------------------------------------- */

static ssize_t read_plain(struct net_stream *stream, uint8_t *buffer, size_t room,
                          struct net_trouble *trouble)
{
    ssize_t n;
    do
        n = recv(stream->fd, buffer, room, 0);
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
    struct net_security *security = security_of(stream);
    ssize_t n = security ? security->layer->read(security, buffer, room, trouble)
                         : read_plain(stream, buffer, room, trouble);
    stream->at_eof = n == NET_END;
    if (n <= 0)
        net_stream_watch(stream);
    return n;
}

bool net_stream_reads_on(struct net_stream *stream, size_t n, size_t room, size_t total)
{
    if (!(stream->security ? has_pending(stream) : n == room))
        return false;
    if (total < BYTES_PER_TURN)
        return true;
    if (stream->security)
        make_ready(stream); /* the socket need not tell of it */
    return false;
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
    do /* one range, as nearly all writes have, without the kernel's check of header and vector */
        n = count == 1 ? send(stream->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                       : sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void free_security(struct net_stream *stream)
{
    if (security_of(stream))
        stream->security->layer->free(&stream->security);
}

static void drain(struct net_stream *stream)
{
    leave_ready(stream);
    free_security(stream);
    shutdown(stream->fd, SHUT_WR); /* should it fail, the next read tells why */
    stream->state = NET_STREAM_DRAIN;
    stream->thrown_away = 0;
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
    leave_ready(stream);
    free_security(stream);
    if (stream->state != NET_STREAM_LOST)
        net_poll_remove(stream->worker, stream->fd, stream);
    stream->state = NET_STREAM_CLOSED;
    close(stream->fd);
}

/* Read once without keeping anything. */
static void throw_away(struct net_stream *stream)
{
    uint8_t nowhere[16 * 1024];
    struct net_trouble trouble;
    ssize_t n = read_plain(stream, nowhere, sizeof(nowhere), &trouble);
    if (n > 0)
        stream->thrown_away += (uint64_t)n;
    if (n < 0 || stream->thrown_away >= NET_THROW_AWAY_MAX)
        net_stream_owner(stream)->drained(stream);
}

/* ---- the end of the turn --------------------------------------------------------------------- */

static void serve_open(struct net_stream *stream, int events)
{
    if ((events & EV_WRITE) && stream->stalled) {
        stream->stalled = false;
        net_stream_watch(stream);
        events |= EV_READ;
    }
    if (!stream->blocked)
        events &= ~EV_WRITE;
    net_stream_owner(stream)->ready(stream, events);
}

static void serve(void *socket, int events)
{
    struct net_stream *stream = socket;
    events &= stream->watched;
    if (events == 0)
        return;
    switch ((enum net_stream_state)stream->state) {
    case NET_STREAM_SECURING:
        stream->security->layer->handshake(stream->security);
        break;
    case NET_STREAM_OPEN:
        serve_open(stream, events);
        break;
    case NET_STREAM_PARTING:
        part(stream);
        break;
    case NET_STREAM_DRAIN:
        throw_away(stream);
        break;
    case NET_STREAM_NEW:
    case NET_STREAM_DIALING:
    case NET_STREAM_LOST:
    case NET_STREAM_CLOSED:
        break;
    }
}

/* One round: a stream that is ready again has its turn after what has come of it is delivered. */
static void serve_ready(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct net_part *part = &parts[pg_worker_index(worker)];
    part->is_due = false;
    part->serving = part->ready;
    part->ready = NULL;
    while (part->serving) {
        struct net_stream *stream = part->serving->stream;
        part->serving = part->serving->next_ready;
        stream->is_ready = false;
        if (stream->state == NET_STREAM_OPEN)
            serve_open(stream, EV_READ);
    }
}
