/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_FENCE_H
#define PG_FENCE_H

/* A fence: wait until every worker has finished the turn that it is in, and has sent off the
 * batches of that turn. What a worker matched before is then in the mailboxes of those whom it
 * concerns, and what it matches later sees what was published before the fence. takeover.c stands
 * on it.
 *
 * Waits of one worker share rounds: those that come while a round is under way are served by the
 * next one, so that a storm of them costs few tasks. */

#include "polygate.h"
#include "worker.h"

/* The waiter embeds it. */
struct pg_fence_wait {
    struct pg_fence_wait *next;
    void (*fn)(struct pg_fence_wait *wait); /* on the waiting worker, in a task of its own */
};

struct pg_fence_round;

/* A worker's part; fence.c owns it. */
struct pg_fence_part {
    struct pg_fence_wait *collecting; /* for the next round */
    struct pg_fence_wait *running;    /* of the round under way */
    struct pg_fence_round *round;     /* reused; made with the worker */
    struct pg_task *after_flush;      /* others' fences that wait for the end of this turn */
};

/* false: out of memory. */
bool pg_fence_init(struct pg_fence_part *part, unsigned workers);
void pg_fence_free(struct pg_fence_part *part);
/* Call wait->fn when every worker has passed. On this worker. */
void pg_fence(struct pg_worker *worker, struct pg_fence_wait *wait,
              void (*fn)(struct pg_fence_wait *wait));
/* The batches of this turn have been sent off. */
void pg_fence_passed(struct pg_worker *worker);

#endif
