/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TAKEOVER_H
#define PG_TAKEOVER_H

/* How a client gets its session, wherever that is now. */

#include "session.h"

/* Get the session for `client` on its worker: a new one, or the one that exists, from whichever
 * worker owns it; a client that has it is put out with PG_TAKEN_OVER. Answers by
 * pg_client_joined() or pg_client_join_failed(), perhaps before this returns. */
void pg_session_join(struct pg_client *client, struct pg_bytes client_id, bool clean_start);
/* The client goes away while it waits; `session` is the joining one. */
void pg_session_join_cancelled(struct pg_session *session);
/* The joining session of a client that waits, set by pg_session_join. */
void pg_client_set_joining(struct pg_client *client, struct pg_session *session);

#endif
