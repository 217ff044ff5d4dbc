/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WORKER_H
#define PG_WORKER_H

/* A worker: one thread, one libev loop, and all connections, clients and sessions that it owns.
 *
 * A loop turn: read every ready connection (frontends parse and publish), then, before the loop
 * blocks again: take the mailbox, let sessions deliver, flush dirty connections with one gathered
 * write each, splice the batches for other workers, free what was closed. A worker passes through
 * an RCU quiescent state only after all that (subindex.h relies on it). */

#include <ev.h>

#include "polygate.h"

#define PG_WORKERS_MAX 64u

struct pg_server;
struct pg_worker;

/* A piece of work sent to a worker: embed it, set `run`. It runs once, on that worker, in the
 * order of posting per sender. The callee owns it from then on. */
struct pg_task {
    struct pg_task *next;
    void (*run)(struct pg_task *task, struct pg_worker *worker);
};

/* The worker whose thread this is; NULL elsewhere. */
struct pg_worker *pg_worker_current(void);
unsigned pg_worker_index(const struct pg_worker *worker);
struct ev_loop *pg_worker_loop(const struct pg_worker *worker);
struct pg_server *pg_worker_server(const struct pg_worker *worker);
/* Any thread. */
void pg_worker_post(struct pg_worker *worker, struct pg_task *task);

#endif
