/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONN_H
#define PG_CONN_H

/* The transport's and the worker's side of a connection. The frontend's side is in polygate.h. */

#include "config.h"
#include "polygate.h"
#include "transport.h"

struct pg_worker;

/* Make a connection for an accepted link and call the frontend's `open`. The transport's state is
 * at pg_conn_link(). NULL if a limit of connections is reached or memory is out: the transport
 * then closes the socket (counted and logged here). `peer` is copied; the
 * configuration that the listener is part of is shared. On the worker's thread. */
struct pg_conn *pg_conn_open(struct pg_worker *worker, const struct pg_listener_conf *listener,
                             const char *peer);
/* For a transport that waits for a place, or has to hear something before it knows which frontend
 * serves: try to take a place for a link to come, within the limits of the process and of the
 * listener. PG_OK, or why there is none (as pg_guard_admit()), which is neither counted nor logged:
 * trying again is up to the transport. Any thread. */
struct pg_place {
    struct pg_meter *meter; /* guard.h */
    bool within_process;    /* it is not limits.connections that was reached */
};
#define PG_PLACE_NONE ((struct pg_place){.meter = NULL, .within_process = true})
enum pg_reason pg_conn_try_place(struct pg_worker *worker, const struct pg_listener_conf *listener,
                                 const char *peer, struct pg_place *place) PG_CHECKED;
/* None was found, `why` and `place` are of the last try: counted and logged; the transport then
 * closes the socket. On the worker's thread. */
void pg_conn_no_place(struct pg_worker *worker, const struct pg_listener_conf *listener,
                      const char *peer, enum pg_reason why, const struct pg_place *place);
/* Nothing came of it. */
void pg_conn_give_place(struct pg_worker *worker, struct pg_place *place);
/* As pg_conn_open(), in a place that was taken. NULL if memory is out (counted and logged); the
 * place is still taken then. */
struct pg_conn *pg_conn_open_in_place(struct pg_worker *worker,
                                      const struct pg_listener_conf *listener, const char *peer,
                                      struct pg_place *place);
/* No connection comes of a link, for a reason of the transport's: counted, and logged, at most one
 * line a second for each reason. On the worker's thread. */
void pg_conn_refused(struct pg_worker *worker, const struct pg_listener_conf *listener,
                     const char *peer, enum pg_reason why, const char *detail);
/* Whether another connection would be refused now. Any thread. */
bool pg_conn_limit_reached(const struct pg_worker *worker, const struct pg_config *config);
void *pg_conn_link(struct pg_conn *conn);
/* The connection of a link of a transport with that link_size. */
struct pg_conn *pg_conn_of_link(void *link, size_t link_size);
struct pg_worker *pg_conn_worker(const struct pg_conn *conn);

/* The transport begins a handshake that must end within `ms`: until pg_conn_handshaken() neither
 * first_byte_timeout nor login_timeout runs. Right after pg_conn_open(). */
void pg_conn_expect_handshake(struct pg_conn *conn, int64_t ms);
/* It is done, or, of a connection that the gateway makes, the other side reached: bytes can flow.
 * `identity` has been proven by it; data == NULL: none. false: out of memory. Once. */
bool pg_conn_handshaken(struct pg_conn *conn, struct pg_bytes identity) PG_CHECKED;
/* `identity` (copied) has been proven, here or to a proxy that is trusted, and is the user name of
 * whoever is admitted; it replaces an earlier one. false: out of memory. */
bool pg_conn_identify(struct pg_conn *conn, struct pg_bytes identity) PG_CHECKED;
/* data == NULL: none. Lent, as long as the connection. */
struct pg_bytes pg_conn_identity(const struct pg_conn *conn);
/* Prefixes of its listener, empty without one. Lent, as long as the connection. */
struct pg_bytes pg_conn_topic_prefix(const struct pg_conn *conn);
struct pg_bytes pg_conn_client_id_prefix(const struct pg_conn *conn);

/* Where the next bytes should be read to; at least 4 KiB. Lent until the next call for any
 * connection of this worker. */
uint8_t *pg_conn_read_room(struct pg_conn *conn, size_t *room);
/* `n` bytes were put there: hand them to the frontend. Afterwards the connection may be closing;
 * it is not freed before the end of the turn. */
void pg_conn_received(struct pg_conn *conn, size_t n);
/* Whether the transport should go on reading now. */
bool pg_conn_wants_bytes(const struct pg_conn *conn);
void pg_conn_eof(struct pg_conn *conn);                      /* the peer sent its last byte */
void pg_conn_broken(struct pg_conn *conn, int error_number); /* errno of the failed call */
void pg_conn_writable(struct pg_conn *conn);

#endif
