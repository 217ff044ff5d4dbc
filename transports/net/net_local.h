/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_LOCAL_H
#define PG_NET_LOCAL_H

/* Listening sockets in the file system (unix(7)). Main thread, except where noted. */

#include <sys/stat.h>
#include <sys/un.h>

#include "net_address.h"

/* Which file we made; all zero: none. */
struct net_local_file {
    dev_t device;
    ino_t number;
};

/* A socket that listens at the path, with `mode` for its file whatever the umask is. A socket that
 * was left there is replaced if nobody listens on it. -1 with errno: EADDRINUSE if somebody does,
 * EEXIST if it is no socket. */
int net_local_listen(const struct sockaddr_un *address, mode_t mode, int backlog,
                     struct net_local_file *file);
/* Remove the file, if it still is ours. */
void net_local_remove(const struct sockaddr_un *address, struct net_local_file *file);
/* Who is at the other end: "unix:pid=42,uid=1000", or "unix" if the kernel does not tell. Any
 * thread. */
void net_local_peer(int fd, char out[NET_ADDRESS_TEXT]);

#endif
