/* SPDX-License-Identifier: Apache-2.0 */

/* Fences between workers; see fence.h.
 *
 * A round is one task for each worker, the own one included. A worker that gets it keeps it until
 * it has sent off its batches, and then counts itself out; the last one sends the round home. */

#include "fence.h"

#include <stdlib.h>

#include "server.h"
#include "worker_parts.h"

struct token {
    struct pg_task task; /* first */
    struct pg_fence_round *round;
};

struct pg_fence_round {
    struct pg_task home_task; /* first */
    struct pg_worker *home;
    _Atomic unsigned left; /* workers that have not passed */
    unsigned workers;
    struct token tokens[];
};

bool pg_fence_init(struct pg_fence_part *part, unsigned workers)
{
    *part = (struct pg_fence_part){.collecting = NULL};
    part->round = calloc(1, sizeof(*part->round) + workers * sizeof(struct token));
    if (!part->round)
        return false;
    part->round->workers = workers;
    for (unsigned i = 0; i < workers; i++)
        part->round->tokens[i].round = part->round;
    return true;
}

void pg_fence_free(struct pg_fence_part *part)
{
    free(part->round);
    part->round = NULL;
}

static void wait_for_flush(struct pg_task *task, struct pg_worker *worker)
{
    task->next = worker->fence.after_flush;
    worker->fence.after_flush = task;
}

static void begin_round(struct pg_worker *worker)
{
    struct pg_fence_part *part = &worker->fence;
    struct pg_fence_round *round = part->round;
    part->running = part->collecting;
    part->collecting = NULL;
    round->home = worker;
    atomic_store_explicit(&round->left, round->workers, memory_order_relaxed);
    for (unsigned i = 0; i < round->workers; i++) {
        round->tokens[i].task.run = wait_for_flush;
        pg_worker_post(worker->server->workers[i], &round->tokens[i].task);
    }
}

static void round_done(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    struct pg_fence_part *part = &worker->fence;
    struct pg_fence_wait *wait = part->running;
    part->running = NULL;
    if (part->collecting)
        begin_round(worker);
    while (wait) {
        struct pg_fence_wait *next = wait->next;
        wait->fn(wait);
        wait = next;
    }
}

void pg_fence_passed(struct pg_worker *worker)
{
    struct pg_task *task = worker->fence.after_flush;
    worker->fence.after_flush = NULL;
    while (task) {
        struct pg_fence_round *round = ((struct token *)task)->round;
        task = task->next; /* the token is its round's again once it is counted out */
        if (atomic_fetch_sub_explicit(&round->left, 1, memory_order_acq_rel) != 1)
            continue;
        round->home_task.run = round_done;
        pg_worker_post(round->home, &round->home_task);
    }
}

void pg_fence(struct pg_worker *worker, struct pg_fence_wait *wait,
              void (*fn)(struct pg_fence_wait *wait))
{
    struct pg_fence_part *part = &worker->fence;
    wait->fn = fn;
    wait->next = part->collecting;
    part->collecting = wait;
    if (!part->running)
        begin_round(worker);
}
