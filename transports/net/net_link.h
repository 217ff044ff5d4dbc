/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_LINK_H
#define PG_NET_LINK_H

/* Links of connections whose bytes are the stream's own: the state of a link is a struct net_stream,
 * plain or secured. On the connection's worker. */

#include "net_stream.h"
#include "transport.h"

struct net_guest;
struct pg_conn;

/* Begin with an accepted socket, right after pg_conn_open(); the connection may be closing then.
 * Lent, as long as the connection. NULL: descriptors or memory are out, and the connection is dead. */
struct net_stream *net_link_begin(struct pg_conn *conn, const struct net_guest *guest);
/* Begin with a stream that is under way: `from` becomes the link. `identity` (lent; data == NULL:
 * none) has been proven on it, and `head` (lent, at most 4 KiB) been read from it. */
void net_link_adopt(struct pg_conn *conn, struct net_stream *from, struct pg_bytes identity,
                    struct pg_bytes head);

/* The operations of a transport's table; see transport.h. */
ssize_t net_link_writev(void *link, const struct iovec *iov, int count);
void net_link_want_write(void *link, bool on);
void net_link_want_read(void *link, bool on);
void net_link_shutdown(void *link);
void net_link_close(void *link);

/* What ended a connection's stream, to the core. */
void net_conn_ends(struct pg_conn *conn, const struct net_trouble *trouble);
/* What ended its handshake. */
void net_conn_refused(struct pg_conn *conn, const struct net_trouble *trouble);
/* Its handshake is done. */
void net_conn_secured(struct pg_conn *conn, struct pg_bytes identity);

#endif
