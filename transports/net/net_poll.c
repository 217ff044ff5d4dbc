/* SPDX-License-Identifier: Apache-2.0 */

/* One epoll descriptor in another: see net_poll.h.
 *
 * The inner descriptor is level-triggered, as the loop's: that it has something is a reason to look,
 * and what was not taken is found again in the next turn. It is asked at the end of the turn, and up
 * to BATCH sockets are served then, before anything is written. A socket that waits for nothing stays
 * registered, edge-triggered and without events, so that its end, of which epoll always tells, does
 * not keep the loop awake.
 *
 * The descriptor is there while its worker has sockets. Thread: the worker's own. */

#include "net_poll.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "worker.h"

/* Most that are served in one turn; a batch that is large saves writes (what several publishers send
 * to one subscriber leaves in one piece), and calls. */
#define BATCH 1024

/* A worker's part; only its own thread touches it. */
struct net_poll {
    alignas(64) struct ev_io io; /* of the epoll descriptor, while there are sockets */
    struct pg_task serve;
    struct pg_worker *worker;
    net_poll_ready ready;
    size_t sockets;
    int at, count;      /* events [at, count) are still to be served */
    const void *served; /* the socket whose events are being served: it has no others; or NULL */
    struct epoll_event events[BATCH];
};
static struct net_poll polls[PG_WORKERS_MAX];

struct pg_worker *net_poll_worker(unsigned worker)
{
    return polls[worker].worker;
}

static int events_of(uint32_t bits)
{
    int events = 0;
    if (bits & (EPOLLIN | EPOLLERR | EPOLLHUP))
        events |= EV_READ;
    if (bits & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        events |= EV_WRITE;
    return events;
}

static void serve(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct net_poll *poll = &polls[pg_worker_index(worker)];
    if (poll->sockets == 0)
        return;
    poll->count = epoll_wait(poll->io.fd, poll->events, BATCH, 0);
    for (poll->at = 0; poll->at < poll->count;) {
        const struct epoll_event *event = &poll->events[poll->at++];
        poll->served = event->data.ptr;
        if (event->data.ptr)
            poll->ready(event->data.ptr, events_of(event->events));
    }
    poll->at = poll->count = 0;
    poll->served = NULL;
}

static void on_ready(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct net_poll *poll = watcher->data;
    pg_worker_later(poll->worker, &poll->serve);
}

static bool open_poll(struct net_poll *poll, struct pg_worker *worker, net_poll_ready ready)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return false;
    poll->serve.run = serve;
    poll->worker = worker;
    poll->ready = ready;
    ev_io_init(&poll->io, on_ready, fd, EV_READ);
    poll->io.data = poll;
    ev_io_start(pg_worker_loop(worker), &poll->io);
    return true;
}

static void close_poll(struct net_poll *poll)
{
    ev_io_stop(pg_worker_loop(poll->worker), &poll->io);
    close(poll->io.fd);
}

bool net_poll_add(struct pg_worker *worker, int fd, void *socket, net_poll_ready ready)
{
    struct net_poll *poll = &polls[pg_worker_index(worker)];
    struct epoll_event event = {.events = EPOLLET, .data.ptr = socket};
    if (poll->sockets == 0 && !open_poll(poll, worker, ready))
        return false;
    poll->sockets++;
    if (epoll_ctl(poll->io.fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return true;
    int error_number = errno;
    if (--poll->sockets == 0)
        close_poll(poll);
    errno = error_number;
    return false;
}

void net_poll_wait(unsigned worker, int fd, void *socket, int events)
{
    struct epoll_event event = {
        .events = (events & EV_READ ? EPOLLIN : 0u) | (events & EV_WRITE ? EPOLLOUT : 0u) |
                  (events == 0 ? EPOLLET : 0u),
        .data.ptr = socket,
    };
    int result = epoll_ctl(polls[worker].io.fd, EPOLL_CTL_MOD, fd, &event);
    assert(result == 0); /* it is registered, and a change needs no memory */
    (void)result;
}

void net_poll_forget(unsigned worker, const void *socket)
{
    struct net_poll *poll = &polls[worker];
    for (int i = poll->at; i < poll->count && socket != poll->served; i++)
        if (poll->events[i].data.ptr == socket)
            poll->events[i].data.ptr = NULL;
}

void net_poll_remove(unsigned worker, int fd, const void *socket)
{
    struct net_poll *poll = &polls[worker];
    int result = epoll_ctl(poll->io.fd, EPOLL_CTL_DEL, fd, NULL);
    assert(result == 0); /* it is registered */
    (void)result;
    net_poll_forget(worker, socket);
    if (--poll->sockets == 0)
        close_poll(poll);
}
