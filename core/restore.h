/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_RESTORE_H
#define PG_RESTORE_H

/* What a store gives back at start, put where it belongs. */

#include "server.h"

/* What can only go on when all sessions are there: wills, and messages of QoS 2 that a former
 * process received and did not bring to everybody. */
struct pg_unfinished;

/* Read what server->store has: sessions go to workers, without clients, their expiry running on;
 * retained messages are there again. The workers run, and no listener is open yet. Waits until all
 * is in its place. false with error->text. *unfinished is set in any case, and given. Main
 * thread. */
bool pg_restore(struct pg_server *server, struct pg_unfinished **unfinished,
                struct pg_error *error) PG_CHECKED;
/* Then, when the access rules can be asked: send what is due, and go on waiting with what is not.
 * Frees and nulls *unfinished. */
bool pg_restore_finish(struct pg_server *server, struct pg_unfinished **unfinished,
                       struct pg_error *error) PG_CHECKED;
/* Instead. NULL is fine. */
void pg_unfinished_free(struct pg_unfinished **unfinished);

#endif
