/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_LISTENER_H
#define PG_LISTENER_H

/* The addresses that the process listens on, and the blocks by which it calls others (call.h), and
 * how they change: at start, reload and stop.
 *
 * A change is prepared (everything that can fail: sockets bound and listening, memory), then either
 * given up with nothing changed, or carried out on every worker, which cannot fail. An address that
 * is in the old and in the new configuration keeps its sockets; what connects to it from then on is
 * served under the new one. Connections are not touched. Main thread, except where noted. */

#include "config.h"
#include "polygate.h"

struct pg_server;
struct pg_listeners; /* what is listened on now */
struct pg_change;    /* a change under way */

/* None yet; NULL when memory is out. */
struct pg_listeners *pg_listeners_new(void) PG_CHECKED;
/* After the change to nothing was completed. */
void pg_listeners_free(struct pg_listeners **listeners);

/* Prepare the change to what `config` (shared) says; NULL: to nothing, which fails only for want of
 * memory. NULL with error->text when something cannot be opened. */
struct pg_change *pg_change_prepare(struct pg_server *server, struct pg_listeners *listeners,
                                    struct pg_config *config, struct pg_error *error) PG_CHECKED;
/* Give it up: whatever was opened for it is closed. */
void pg_change_abandon(struct pg_change **change);
/* Carry it out: every worker starts what is new, takes over what stays, stops what goes. `done` is
 * called on the worker that is last, and should have pg_change_complete() called on the main
 * thread. Logs event=listening for each new address. */
void pg_change_begin(struct pg_change *change, void (*done)(void *arg), void *arg);
/* Free what has gone; the change is over. */
void pg_change_complete(struct pg_change **change);

/* One address that is listened on, for the API. */
struct pg_listener_row {
    char name[PG_LISTENER_NAME_MAX + 1]; /* of its block */
    const char *transport;               /* names of descriptors */
    const char *protocol;
    char address[120]; /* with the real port */
};
#define PG_LISTENER_ROWS_MAX 256u
/* Copy out up to `room` rows; how many. More than PG_LISTENER_ROWS_MAX are not remembered. Any
 * thread. */
size_t pg_listener_rows_now(struct pg_listener_row *out, size_t room);

#endif
