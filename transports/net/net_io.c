/* SPDX-License-Identifier: Apache-2.0 */

/* What links over TCP do with their sockets in the same way; see net.h. */

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "conn.h"
#include "net.h"

void net_watch(struct ev_loop *loop, struct ev_io *io, int events)
{
    if (events == (ev_is_active(io) ? io->events : 0))
        return;
    ev_io_stop(loop, io);
    ev_io_modify(io, events);
    if (events != 0)
        ev_io_start(loop, io);
}

ssize_t net_recv(struct pg_conn *conn, int fd, uint8_t *buffer, size_t room)
{
    ssize_t n;
    do
        n = recv(fd, buffer, room, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        pg_conn_broken(conn, errno);
    return n;
}

ssize_t net_send(int fd, const struct iovec *iov, size_t count)
{
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = count < IOV_MAX ? count : IOV_MAX,
    };
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}
