/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_LINK_H
#define PG_NET_LINK_H

/* Links of connections whose bytes are the stream's own: the state of a link is a struct net_stream,
 * plain or secured. On the connection's worker. */

#include "net_stream.h"
#include "transport.h"

struct pg_conn;

/* Begin on a connected, non-blocking socket (given), right after pg_conn_open(). Lent, as long as
 * the connection. */
struct net_stream *net_link_begin(struct pg_conn *conn, int fd);

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
