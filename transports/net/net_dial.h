/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_DIAL_H
#define PG_NET_DIAL_H

/* The calling half of every transport over stream sockets: from the address that a block names to a
 * connected socket. What becomes of it is the transport's. On the connection's worker. */

#include "transport.h"

struct net_stream;

/* The entry of a transport's table. */
bool net_dial_check(const struct pg_listener_conf *conf, struct pg_error *error);

/* A socket is connected: non-blocking, given. */
typedef void (*net_dialed)(struct pg_conn *conn, const struct pg_listener_conf *conf, int fd);

/* Call conf->call->to for a connection whose link, a struct net_stream, is NET_STREAM_NEW: it is
 * NET_STREAM_DIALING until `dialed`, where it is NET_STREAM_NEW again, or until the connection ends. The
 * look-up and connecting have what pg_conn_expect_handshake() is told of: connect_timeout. */
void net_dial(struct pg_conn *conn, const struct pg_listener_conf *conf, net_dialed dialed);
/* The link is to be closed: it is dialing no more, if it was. */
void net_dial_stop(struct net_stream *stream);

#endif
