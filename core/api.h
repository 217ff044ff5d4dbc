/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_API_H
#define PG_API_H

/* The management API: commands as rows, JSON in, JSON out. pg_api_call() in polygate.h is how
 * plugins (the control socket; later HTTP) reach it. */

#include "polygate.h"

struct pg_server;

/* Open for calls. Before this and after pg_api_stop() a call is answered with an error. Main
 * thread, when server->workers are made and before plugins are started. */
void pg_api_start(struct pg_server *server);
/* Refuse new calls and wait until those that are out are answered: the workers must still run.
 * Main thread; before the workers are drained. */
void pg_api_stop(void);

#endif
