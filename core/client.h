/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CLIENT_H
#define PG_CLIENT_H

/* Clients: identities admitted on connections. The frontend's side is in polygate.h; this is what
 * the rest of the core sees. Everything on the client's worker. */

#include "config.h"
#include "polygate.h"
#include "session.h"

struct pg_ticket;
struct pg_worker;

/* The list of a connection. */
struct pg_client *pg_client_next(const struct pg_client *client);
/* Its session while it is attached, else NULL. */
struct pg_session *pg_client_session(const struct pg_client *client);
int64_t pg_client_since_wall_ms(const struct pg_client *client);

void pg_client_make_ready(struct pg_client *client);
void pg_client_deliver(struct pg_client *client);
/* false: out of memory. */
bool pg_client_link_ticket(struct pg_client *client, struct pg_ticket *ticket);
void pg_client_unlink_ticket(struct pg_ticket *ticket);

/* The connection is closing: end all of its clients now, with its reason. */
void pg_clients_conn_closed(struct pg_conn *conn);
/* Put a client out (taken over, kicked): the frontend tells the peer, the connection closes unless
 * the frontend can go on without this client. Its session must have been detached, or is now. */
void pg_client_evict(struct pg_client *client, enum pg_reason reason);

/* The session that it waited for is there: attach it, or the refusal. For takeover.c. */
void pg_client_joined(struct pg_client *client, struct pg_session *session, bool present);
void pg_client_join_failed(struct pg_client *client, enum pg_reason reason);

/* A live session loses its client, which ended for `reason`: the will, then the expiry. `resumed`:
 * another client goes on with the session at once. The session may be gone afterwards, unless
 * `resumed`. */
void pg_session_detach(struct pg_session *session, enum pg_reason reason, bool resumed);

/* A session came from the store, without a client since `detached_wall_s` (0: its client was there
 * when the process ended, and the expiry begins now). It may be gone afterwards. false: memory is
 * out, and it stays without an end. */
bool pg_session_restored(struct pg_session *session, uint32_t detached_wall_s);

/* ---- wills (will.c) ---- */

/* Copy a will; NULL when memory is out. */
struct pg_will *pg_will_new(const struct pg_login *login, const char *protocol);
/* One that the store had. The record is lent. NULL when memory is out. */
struct pg_will *pg_will_restored(const struct pg_will_record *record);
/* In memory alone. */
void pg_will_free(struct pg_will **will);
/* Have the session's will in the store, if there is one, to be sent at `due_wall_s` (0: its client
 * is there). The ticket (or NULL) waits. */
void pg_will_keep(struct pg_session *session, uint32_t due_wall_s, struct pg_ticket *ticket);
/* The session's will is not to be sent: it is gone from the store, too. */
void pg_will_forget(struct pg_session *session);
/* The client has gone: the session's will is sent after so many seconds. */
void pg_will_delay(struct pg_session *session, uint32_t seconds);
/* Publish, if the access rules still allow it, and free it. `client_id` is lent. */
void pg_will_publish(struct pg_worker *worker, struct pg_will **will, struct pg_bytes client_id);
/* The worker is to end: without a store nothing comes after it, so that wills whose delay has not
 * passed are due now. With one they are sent after the next start. */
void pg_wills_drain(struct pg_worker *worker);
/* The worker ends: forget those whose permission is still being asked for. */
void pg_wills_cancel(struct pg_worker *worker);

#endif
