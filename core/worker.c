/* SPDX-License-Identifier: Apache-2.0 */

/* Workers: threads that each run one libev loop; see worker.h for what a turn is.
 *
 * The mailbox is a lock-free stack: a sender pushes with compare-and-swap, the worker takes the
 * whole stack at once and reverses it, so that work runs in the order in which it was pushed. A
 * sender wakes the loop only when it pushed on to an empty stack; a worker that leaves work behind
 * wakes itself. Between polls the thread is online for RCU, during a poll it is offline, which is
 * the quiescent state that the subscription index waits for. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "client.h"
#include "conn.h"
#include "message.h"
#include "server.h"
#include "worker_parts.h"

/* Rounds of end-of-turn work before the loop looks at its descriptors again. */
#define ROUNDS_PER_TURN 16

unsigned pg_worker_index(const struct pg_worker *worker)
{
    return worker->index;
}

struct ev_loop *pg_worker_loop(const struct pg_worker *worker)
{
    return worker->loop;
}

struct pg_counter_set *pg_worker_counters(struct pg_worker *worker)
{
    return &worker->counters;
}

void pg_worker_post(struct pg_worker *worker, struct pg_task *task)
{
    struct ev_loop *loop = worker->loop;
    struct pg_task *head = atomic_load_explicit(&worker->mailbox, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(&worker->mailbox, &head, task,
                                                  memory_order_release, memory_order_relaxed));
    /* From here on the task is the worker's, and may be gone. */
    if (!head)
        ev_async_send(loop, &worker->wake);
}

void pg_worker_later(struct pg_worker *worker, struct pg_task *task)
{
    task->next = NULL;
    *worker->later_end = task;
    worker->later_end = &task->next;
}

void pg_worker_wake(struct pg_worker *worker)
{
    ev_async_send(worker->loop, &worker->wake);
}

static void run_tasks(struct pg_worker *worker, struct pg_task *task)
{
    while (task) {
        struct pg_task *next = task->next;
        task->run(task, worker);
        task = next;
    }
}

static struct pg_task *take_mailbox(struct pg_worker *worker)
{
    struct pg_task *newest_first =
        atomic_exchange_explicit(&worker->mailbox, NULL, memory_order_acquire);
    struct pg_task *oldest_first = NULL;
    while (newest_first) {
        struct pg_task *next = newest_first->next;
        newest_first->next = oldest_first;
        oldest_first = newest_first;
        newest_first = next;
    }
    return oldest_first;
}

static struct pg_task *take_later(struct pg_worker *worker)
{
    struct pg_task *tasks = worker->later;
    worker->later = NULL;
    worker->later_end = &worker->later;
    return tasks;
}

static bool has_work(const struct pg_worker *worker)
{
    return worker->later || atomic_load_explicit(&worker->mailbox, memory_order_relaxed) ||
           pg_sessions_ready(&worker->sessions) || pg_conns_dirty(&worker->conns);
}

/* Leave the loop when draining is over: every connection is gone and every will has its permission, or
 * the time is up. */
static void check_drained(struct pg_worker *worker)
{
    if (worker->drain_deadline_ms == PG_NEVER || worker->stopped)
        return;
    bool busy = pg_conns_count(&worker->conns) > 0 || worker->sessions.will_questions;
    if (busy && worker->now_ms < worker->drain_deadline_ms)
        return;
    worker->stopped = true;
    ev_break(worker->loop, EVBREAK_ALL);
}

/* All end-of-turn work, before the loop may block. */
static void end_of_turn(struct ev_loop *loop, struct ev_prepare *watcher, int events)
{
    (void)events;
    struct pg_worker *worker = watcher->data;
    int rounds = 0;
    do {
        run_tasks(worker, take_mailbox(worker));
        run_tasks(worker, take_later(worker));
        pg_conns_release_held(worker);
        pg_conns_put_off(worker); /* messages leave before the answers to their publishers */
        /* Other workers have what was published before this one is busy with its own deliveries, and
         * before the publisher reads its acknowledgement: whoever asks them then finds it. */
        pg_router_flush(worker);
        pg_sessions_deliver(worker);
        pg_router_flush(worker);
        pg_conns_flush(worker);
    } while (has_work(worker) && ++rounds < ROUNDS_PER_TURN);
    pg_router_flush(worker); /* what connections that broke while writing left: their wills */
    pg_fence_passed(worker);
    pg_conns_reap(worker);
    check_drained(worker);
    if (has_work(worker))
        ev_async_send(loop, &worker->wake);

    bool timers = worker->wheel.running > 0 || worker->drain_deadline_ms != PG_NEVER;
    if (timers && !ev_is_active(&worker->tick))
        ev_timer_again(loop, &worker->tick);
    else if (!timers && ev_is_active(&worker->tick))
        ev_timer_stop(loop, &worker->tick);
}

static void on_tick(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct pg_worker *worker = watcher->data;
    pg_wheel_run(&worker->wheel, worker->now_ms);
}

static void on_wake(struct ev_loop *loop, struct ev_async *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events; /* the mailbox is taken at the end of the turn */
}

static void poll_begins(struct ev_loop *loop) EV_NOEXCEPT
{
    (void)loop;
    rcu_thread_offline();
}

static void poll_ended(struct ev_loop *loop) EV_NOEXCEPT
{
    rcu_thread_online();
    struct pg_worker *worker = ev_userdata(loop);
    worker->now_ms = pg_clock_ms(CLOCK_MONOTONIC);
    worker->now_wall_ms = pg_clock_ms(CLOCK_REALTIME);
}

struct pg_worker *pg_worker_new(struct pg_server *server, unsigned index)
{
    struct pg_worker *worker = NULL;
    if (posix_memalign((void **)&worker, 64, sizeof(*worker)) != 0)
        return NULL;
    *worker = (struct pg_worker){
        .index = index,
        .server = server,
        .drain_deadline_ms = PG_NEVER,
        .now_ms = pg_clock_ms(CLOCK_MONOTONIC),
        .now_wall_ms = pg_clock_ms(CLOCK_REALTIME),
    };
    worker->later_end = &worker->later;
    pg_slab_set_init(&worker->small);
    if (!pg_counter_set_init(&worker->counters))
        goto no_counters;
    if (!pg_conns_init(&worker->conns))
        goto no_conns;
    pg_router_init(&worker->router);
    if (!pg_fence_init(&worker->fence, server->worker_count))
        goto no_fence;
    pg_clients_init(&worker->clients);
    pg_sessions_init(&worker->sessions);
    worker->loop = ev_loop_new(EVFLAG_AUTO);
    if (!worker->loop)
        goto no_loop;

    ev_set_userdata(worker->loop, worker);
    ev_set_loop_release_cb(worker->loop, poll_begins, poll_ended);
    ev_prepare_init(&worker->before_poll, end_of_turn);
    ev_set_priority(&worker->before_poll, EV_MINPRI); /* after everybody else's */
    worker->before_poll.data = worker;
    ev_prepare_start(worker->loop, &worker->before_poll);
    ev_timer_init(&worker->tick, on_tick, 0., PG_WHEEL_TICK_MS / 1000.);
    worker->tick.data = worker;
    ev_async_init(&worker->wake, on_wake);
    ev_async_start(worker->loop, &worker->wake);
    pg_wheel_init(&worker->wheel, worker->now_ms);
    return worker;

no_loop:
    pg_fence_free(&worker->fence);
no_fence:
    pg_router_free(&worker->router);
    pg_conns_free(&worker->conns);
no_conns:
    pg_counter_set_free(&worker->counters);
no_counters:
    free(worker);
    return NULL;
}

static void *run(void *arg)
{
    struct pg_worker *worker = arg;
    pg_this_worker = worker;
    rcu_register_thread();
    pg_messages_keep(true);
    ev_run(worker->loop, 0);
    pg_messages_keep(false);
    rcu_unregister_thread();
    return NULL;
}

bool pg_worker_start(struct pg_worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0;
}

struct drain_task {
    struct pg_task task;
    int64_t timeout_ms;
};

static void drain(struct pg_task *task, struct pg_worker *worker)
{
    struct drain_task *d = (struct drain_task *)task;
    worker->drain_deadline_ms = worker->now_ms + d->timeout_ms;
    free(d);
    pg_wills_drain(worker);
    pg_conns_drain(worker);
}

void pg_worker_drain(struct pg_worker *worker, int64_t timeout_ms)
{
    struct drain_task *d = malloc(sizeof(*d));
    if (!d)
        abort(); /* at shutdown, with a few bytes asked for: nothing better can be done */
    *d = (struct drain_task){.task.run = drain, .timeout_ms = timeout_ms};
    pg_worker_post(worker, &d->task);
}

static void free_worker(struct pg_worker *worker)
{
    ev_loop_destroy(worker->loop);
    pg_fence_free(&worker->fence);
    pg_router_free(&worker->router);
    pg_conns_free(&worker->conns);
    pg_counter_set_free(&worker->counters);
    pg_slab_set_fini(&worker->small);
    free(worker);
}

/* One round of end-of-turn work without a poll. */
static void settle(struct pg_worker *worker)
{
    pg_this_worker = worker;
    run_tasks(worker, take_mailbox(worker));
    run_tasks(worker, take_later(worker));
    pg_router_flush(worker);
    pg_fence_passed(worker);
    pg_conns_reap(worker);
}

/* With every thread gone, this one stands in for each worker in turn: what they posted to each
 * other at the last moment still runs, and frees what it carries. */
void pg_workers_join(struct pg_server *server)
{
    struct pg_worker **workers = server->workers;
    unsigned count = server->worker_count;
    for (unsigned i = 0; i < count; i++)
        pthread_join(workers[i]->thread, NULL);

    rcu_register_thread();
    for (unsigned i = 0; i < count; i++) {
        pg_this_worker = workers[i];
        pg_conns_close_all(workers[i]);
    }
    bool work = true;
    while (work) {
        work = false;
        for (unsigned i = 0; i < count; i++)
            settle(workers[i]);
        /* Nobody is there any more to whom a store could answer later. */
        if (server->store)
            server->store->ops->drain(server->store);
        for (unsigned i = 0; i < count; i++)
            work = work || workers[i]->later ||
                   atomic_load_explicit(&workers[i]->mailbox, memory_order_relaxed);
    }
    for (unsigned i = 0; i < count; i++) {
        pg_this_worker = workers[i];
        pg_calls_free(workers[i]);
        pg_sessions_free(workers[i]);
    }
    pg_this_worker = NULL;
    rcu_unregister_thread();
    rcu_barrier();
    for (unsigned i = 0; i < count; i++) {
        free_worker(workers[i]);
        workers[i] = NULL;
    }
}

void pg_timer_start(struct pg_timer *timer, int64_t delay_ms, void (*fn)(struct pg_timer *timer))
{
    struct pg_worker *worker = pg_this_worker;
    pg_wheel_start(&worker->wheel, timer, worker->now_ms + delay_ms, fn);
}

void pg_timer_stop(struct pg_timer *timer)
{
    if (timer->link)
        pg_wheel_stop(&pg_this_worker->wheel, timer);
}
