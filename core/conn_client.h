/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONN_CLIENT_H
#define PG_CONN_CLIENT_H

/* Between connections (conn.c) and the clients admitted on them (client.c). */

#include "conn.h"

struct pg_client;

/* The head of the connection's list of clients; client.c links and unlinks. */
struct pg_client **pg_conn_clients(struct pg_conn *conn);
/* How many clients are on the list: at most PG_CONN_CLIENTS_MAX. */
unsigned pg_conn_client_count(const struct pg_conn *conn);
void pg_conn_count_client(struct pg_conn *conn, bool more);
#define PG_CONN_CLIENTS_MAX 1000001u /* limits.clients_per_connection, and one that is refused */
const struct pg_protocol *pg_conn_protocol(const struct pg_conn *conn);
enum pg_reason pg_conn_close_reason(const struct pg_conn *conn);
/* The next one of the worker's connections; NULL: the last. */
struct pg_conn *pg_conn_next(const struct pg_conn *conn);
/* A client was admitted: the login deadline no longer holds. */
void pg_conn_logged_in(struct pg_conn *conn);

/* A client on it publishes: counts against the limits of the listener. */
void pg_conn_meter_message(struct pg_conn *conn);

#endif
