/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WORKER_PARTS_H
#define PG_WORKER_PARTS_H

/* The inside of a worker, for the modules of the core that keep a part of their state in it. Each
 * part is declared by the module that owns it, and touched by that module alone. */

#include <pthread.h>
#include <time.h>

#include "call.h"
#include "client_parts.h"
#include "conn_parts.h"
#include "counter.h"
#include "fence.h"
#include "router_parts.h"
#include "session_parts.h"
#include "slab.h"
#include "wheel.h"
#include "worker.h"

/* All is the worker's own thread's but the last three, which other threads write. */
struct pg_worker {
    unsigned index;
    struct pg_server *server;
    struct ev_loop *loop;
    pthread_t thread;
    int64_t now_ms; /* monotonic, as of the last return of the poll */
    int64_t now_wall_ms;
    struct ev_prepare before_poll;
    struct ev_timer tick; /* runs while the wheel holds timers */
    struct pg_wheel wheel;
    struct pg_counter_set counters;
    struct pg_slab_set
        small; /* connections, clients, sessions and subscriptions: none changes hands */

    struct pg_task *later, **later_end; /* own work for the end of this turn */

    int64_t drain_deadline_ms; /* PG_NEVER unless draining */
    bool stopped;

    struct pg_conn_part conns;       /* conn.c */
    struct pg_call_part calls;       /* call.c */
    struct pg_client_part clients;   /* client.c */
    struct pg_session_part sessions; /* session.c */
    struct pg_router_part router;    /* router.c */
    struct pg_fence_part fence;      /* fence.c */

    /* Written by other threads. */
    _Alignas(64) _Atomic(struct pg_task *) mailbox; /* newest first */
    _Atomic unsigned batches_waiting; /* batches posted and not yet taken (router.c) */
    struct ev_async wake;
};

static inline void pg_worker_count(struct pg_worker *worker, size_t counter, uint64_t n)
{
    pg_counter_add(&worker->counters, counter, n);
}

/* Whose thread this is; NULL: no worker's (clock.c). */
extern _Thread_local struct pg_worker *pg_this_worker;
int64_t pg_clock_ms(clockid_t clock); /* what the system says */

#endif
