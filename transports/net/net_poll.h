/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_POLL_H
#define PG_NET_POLL_H

/* Waiting for the sockets of streams: one epoll descriptor for each worker, which is a single watcher
 * in the worker's libev loop. A watcher of libev for each socket would cost 48 bytes in its stream,
 * and 16 to 32 in libev's tables.
 *
 * Every function here is called on the worker whose number it gets, or, after all threads have ended,
 * on the one that joined them. Events are EV_READ and EV_WRITE of libev. */

#include <stdbool.h>

struct pg_worker;

/* What is called for each socket with events that it waits for, at the end of the turn, in the
 * kernel's order: peers are served in the order in which their bytes came. A broken socket has all
 * events. */
typedef void (*net_poll_ready)(void *socket, int events);

/* Let `socket` (lent until net_poll_remove()) be known by its descriptor; it waits for nothing yet.
 * All sockets of a worker give the same `ready`. false with errno: descriptors or memory are out. */
bool net_poll_add(struct pg_worker *worker, int fd, void *socket, net_poll_ready ready);
/* Wait for exactly these events; `socket` may be another one than before. */
void net_poll_wait(unsigned worker, int fd, void *socket, int events);
/* What is ready and not served yet is let go of. */
void net_poll_forget(unsigned worker, const void *socket);
/* It ends, before its descriptor is closed: closing takes it out of the kernel's list only if no other
 * process has the descriptor, too, as a child between fork() and exec() has. */
void net_poll_remove(unsigned worker, int fd, const void *socket);
/* The worker of that number, once it has had a socket. */
struct pg_worker *net_poll_worker(unsigned worker);

#endif
