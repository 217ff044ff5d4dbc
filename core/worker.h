/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WORKER_H
#define PG_WORKER_H

/* A worker: one thread, one libev loop, and all connections, clients and sessions that it owns.
 *
 * A loop turn: read every ready connection (frontends parse and publish), then, before the loop
 * blocks again: take the mailbox, let sessions deliver, splice the batches for other workers, flush
 * dirty connections with one gathered write each, free what was closed. A worker passes through
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
/* This worker's counters (counter.h); written by its own thread alone. */
struct pg_counter_set *pg_worker_counters(struct pg_worker *worker);
/* Any thread. */
void pg_worker_post(struct pg_worker *worker, struct pg_task *task);
/* Run a task at the end of this turn, before anything is written; own thread only. */
void pg_worker_later(struct pg_worker *worker, struct pg_task *task);
/* Have it go through a turn, without a task. Any thread. */
void pg_worker_wake(struct pg_worker *worker);

/* ---- for the server's main thread ---- */

/* Make worker number `index` of server->worker_count, with its loop, not yet running. NULL when
 * memory or descriptors are out. */
struct pg_worker *pg_worker_new(struct pg_server *server, unsigned index);
/* Start its thread (signals blocked in it). false: errno tells. */
bool pg_worker_start(struct pg_worker *worker);
/* Close every connection with PG_DRAINING (frontends say goodbye) and leave the loop when all are
 * gone or `timeout_ms` has passed. Listeners must have been stopped. Any thread. */
void pg_worker_drain(struct pg_worker *worker, int64_t timeout_ms);
/* Wait for all threads of server->workers to end, settle what they had posted to each other, then
 * free the workers with their connections and sessions. Main thread. */
void pg_workers_join(struct pg_server *server);

#endif
