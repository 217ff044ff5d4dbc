/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_RESTORE_H
#define PG_RESTORE_H

/* What a store gives back at start, put where it belongs. */

#include "server.h"

/* Read what server->store has: sessions go to workers, without clients, their expiry running on;
 * retained messages are there again. The workers run, and no listener is open yet. Waits until all
 * is in its place. false with error->text. Main thread. */
bool pg_restore(struct pg_server *server, struct pg_error *error);

#endif
