/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store: an append-only log of segments for queued messages and LMDB for what is a
 * map, behind the operations of store.h, on a thread of its own.
 *
 * A worker's call makes a request and pushes it on to a list, without a lock; it never waits. The
 * thread takes the whole list, turns it to the order of pushing, and carries it out as one group:
 * what piles up while one group is written to the disk is the next one. Order holds between two
 * threads of which one told the other in between, because a push is one atomic exchange of the
 * list's head.
 *
 * When there is no memory for a request it is answered where it was made. So it is when those that
 * wait for a slow disk take too much memory: requests that bring a message are refused then. All
 * else is taken, for it makes the store smaller or is bounded by the number of clients. Before it
 * comes to that, at half of it, the store is busy: publishers are held off until half of what waits
 * is through. What is refused is what others than publishers bring, and what was on its way when
 * they were. */

#include "store_disk_parts.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS       1000
#define BACKLOG_BYTES ((size_t)64 * 1024 * 1024)
#define JOIN_US       500
/* A group's answers come when all of it is safe: so much makes a sync worth while, and not more. */
#define GROUP_REQUESTS 4096u
#define GROUP_BYTES    ((size_t)2 * 1024 * 1024)

struct disk_store {
    struct pg_store base; /* first */
    struct pg_disk *disk;
    pthread_t thread;
    bool running;
    int64_t last_us;                           /* the thread's: what the last group took */
    size_t last_requests;                      /* and how many it had */
    _Atomic(struct pg_disk_request *) mailbox; /* the newest first */
    size_t backlog_max;
    _Atomic size_t backlog, backlog_bytes; /* requests that are not completed */
    _Atomic uint64_t refused;
    sem_t wake;
    pthread_mutex_t lock; /* of `shared` */
    struct pg_store_stats shared;
};

static struct disk_store *of(struct pg_store *store)
{
    return (struct disk_store *)store;
}

/* true: it was empty, so that the thread may have to be woken. */
static bool push(struct disk_store *store, struct pg_disk_request *request)
{
    struct pg_disk_request *before = atomic_load_explicit(&store->mailbox, memory_order_relaxed);
    do
        request->next = before;
    while (!atomic_compare_exchange_weak_explicit(&store->mailbox, &before, request,
                                                  memory_order_release, memory_order_relaxed));
    return !before; /* the request may be answered and freed by now */
}

static size_t cost_of(const struct pg_disk_request *request)
{
    size_t cost = sizeof(*request) + request->name.len + request->value.len;
    if (request->msg) {
        /* Shared by all who have a reference; two of them, the publisher's and that of the entry
         * which is being made, are gone before the request is carried out. */
        size_t refs = atomic_load_explicit(&request->msg->refs, memory_order_relaxed);
        cost += (request->msg->topic.len + request->msg->payload.len) / (refs > 2 ? refs - 2 : 1);
    }
    return cost;
}

static bool brings_message(const struct pg_disk_request *request)
{
    return request->ask == PG_ASK_ENQUEUE || request->ask == PG_ASK_RECEIVE ||
           (request->ask == PG_ASK_RETAIN && request->msg->payload.len > 0);
}

/* Too many wait already. */
static bool refuses(struct disk_store *store, const struct pg_disk_request *request)
{
    if (!brings_message(request) ||
        atomic_load_explicit(&store->backlog_bytes, memory_order_relaxed) + request->cost <=
            store->backlog_max)
        return false;
    atomic_fetch_add_explicit(&store->refused, 1, memory_order_relaxed);
    return true;
}

/* No longer busy, if enough is through. */
static void ease(struct disk_store *store)
{
    size_t bytes = atomic_load(&store->backlog_bytes);
    if (!atomic_load(&store->base.busy) || bytes > store->backlog_max / 4 ||
        !atomic_exchange(&store->base.busy, false))
        return;
    PG_LOG(PG_INFO, "store_eased", PG_F_INT("bytes", bytes));
    if (store->base.eased)
        store->base.eased(store->base.eased_arg);
}

/* So many bytes wait now. The thread may have carried them out before they make the store busy:
 * each of both looks at what the other has changed after its own change. */
static void note_backlog(struct disk_store *store, size_t bytes)
{
    if (bytes <= store->backlog_max / 2 || atomic_exchange(&store->base.busy, true))
        return;
    PG_LOG(PG_WARN, "store_congested", PG_F_INT("bytes", bytes));
    ease(store);
}

static void post(struct disk_store *store, struct pg_disk_request *request,
                 struct pg_store_done *done)
{
    if (!request) {
        if (done)
            done->fn(done, PG_NO_MEMORY);
        else
            PG_LOG(PG_ERROR, "store_request_lost", PG_F_REASON(PG_NO_MEMORY));
        return;
    }
    request->done = done;
    request->cost = cost_of(request);
    if (refuses(store, request)) {
        pg_disk_request_free(&request);
        if (done)
            done->fn(done, PG_STORE_FAILED);
        return;
    }
    atomic_fetch_add_explicit(&store->backlog, 1, memory_order_relaxed);
    size_t cost = request->cost; /* once it is pushed it may be freed */
    size_t before = atomic_fetch_add(&store->backlog_bytes, cost);
    if (push(store, request))
        sem_post(&store->wake);
    note_backlog(store, before + cost);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static struct pg_disk_request *take(struct disk_store *store)
{
    struct pg_disk_request *newest =
        atomic_exchange_explicit(&store->mailbox, NULL, memory_order_acquire);
    struct pg_disk_request *list = NULL;
    while (newest) {
        struct pg_disk_request *next = newest->next;
        newest->next = list;
        list = newest;
        newest = next;
    }
    return list;
}

static void share_stats(struct disk_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->shared = store->disk->stats;
    pthread_mutex_unlock(&store->lock);
}

/* Until something is there, or `wait_ms` have passed. */
static void wait_for_work(struct disk_store *store, int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += wait_ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (sem_clockwait(&store->wake, CLOCK_MONOTONIC, &until) != 0)
        return;
    while (sem_trywait(&store->wake) == 0)
        ; /* one look at the mailbox answers all of them */
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Cut the list behind its first requests, as many as make a good group, and carry them out. Returns
 * the rest. */
static struct pg_disk_request *carry_out_some(struct disk_store *store,
                                              struct pg_disk_request *list, bool *stop)
{
    struct pg_disk_request *last = list;
    size_t count = 1, bytes = list->cost;
    *stop |= list->ask == PG_ASK_STOP;
    while (last->next && count < GROUP_REQUESTS && bytes < GROUP_BYTES) {
        last = last->next;
        count++;
        bytes += last->cost;
        *stop |= last->ask == PG_ASK_STOP;
    }
    struct pg_disk_request *rest = last->next;
    last->next = NULL;
    int64_t began_us = now_us();
    pg_disk_commit(store->disk, list);
    store->last_us = now_us() - began_us;
    store->last_requests = count;
    /* Before the answers: whoever gets one sees what has changed, and may be gone after the
     * last. */
    share_stats(store);
    atomic_fetch_sub_explicit(&store->backlog, count, memory_order_relaxed);
    atomic_fetch_sub(&store->backlog_bytes, bytes);
    ease(store);
    pg_disk_answer(store->disk, list);
    return rest;
}

/* Whoever was answered last is about to ask again, and the first of them has woken the thread: a
 * moment, short beside what the disk needs, lets the others join the group. */
static void let_others_join(const struct disk_store *store)
{
    if (store->last_requests < 2)
        return;
    int64_t moment_us = store->last_us / 8 < JOIN_US ? store->last_us / 8 : JOIN_US;
    struct timespec pause = {.tv_nsec = moment_us * 1000};
    nanosleep(&pause, NULL);
}

static void *run(void *arg)
{
    struct disk_store *store = arg;
    struct pg_disk_request *list = NULL;
    int64_t ticked_ms = pg_now_ms();
    bool more = false;
    for (bool stop = false; !stop;) {
        if (!list)
            list = take(store);
        int64_t until_ms = ticked_ms + TICK_MS, deferred_ms = pg_disk_deferred_until(store->disk);
        int64_t wait_ms = (deferred_ms < until_ms ? deferred_ms : until_ms) - pg_now_ms();
        if (!list && !more && wait_ms > 0) {
            wait_for_work(store, wait_ms);
            let_others_join(store);
        }
        if (list)
            list = carry_out_some(store, list, &stop);
        if (pg_disk_deferred_until(store->disk) <= pg_now_ms())
            pg_disk_write_deferred(store->disk);
        if (pg_now_ms() - ticked_ms >= TICK_MS) {
            ticked_ms = pg_now_ms();
            pg_disk_tick(store->disk);
        }
        more = pg_disk_maintain(store->disk);
        share_stats(store);
    }
    pg_disk_tick(store->disk); /* what is owed, if the disk takes it by now */
    return NULL;
}

static bool start(struct disk_store *store, struct pg_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&store->thread, NULL, run, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    store->running = rc == 0;
    if (rc != 0)
        pg_error_set(error, "the store's thread: %s", strerror(rc));
    return rc == 0;
}

/* ---- operations ----------------------------------------------------------------------------- */

static bool disk_restore(struct pg_store *base, struct pg_store_restorer *restorer,
                         struct pg_error *error)
{
    struct disk_store *store = of(base);
    if (!pg_disk_restore(store->disk, restorer, error))
        return false;
    share_stats(store);
    return start(store, error);
}

static struct pg_store_session *disk_session_open(struct pg_store *base, struct pg_bytes client_id)
{
    (void)base;
    return pg_disk_session_new(client_id);
}

static void disk_session_put(struct pg_store *base, struct pg_store_session *session,
                             const struct pg_session_record *record, struct pg_store_done *done)
{
    post(of(base), pg_disk_ask_session(session, record), done);
}

static void disk_session_drop(struct pg_store *base, struct pg_store_session *session,
                              struct pg_store_done *done)
{
    post(of(base), pg_disk_ask(PG_ASK_SESSION_DROP, session, PG_BYTES_NONE, PG_BYTES_NONE), done);
}

static void disk_subscription_put(struct pg_store *base, struct pg_store_session *session,
                                  const struct pg_subscription *sub, struct pg_store_done *done)
{
    post(of(base), pg_disk_ask_subscription(session, sub), done);
}

static void disk_subscription_drop(struct pg_store *base, struct pg_store_session *session,
                                   struct pg_bytes filter, struct pg_store_done *done)
{
    post(of(base), pg_disk_ask(PG_ASK_SUB_DROP, session, filter, PG_BYTES_NONE), done);
}

static void disk_enqueue(struct pg_store *base, struct pg_store_session *session,
                         const struct pg_store_entry *entry, struct pg_store_done *done)
{
    post(of(base), pg_disk_ask_enqueue(session, entry), done);
}

static void about_number(struct pg_store *base, enum pg_disk_ask ask,
                         struct pg_store_session *session, uint64_t number, uint16_t packet_id,
                         struct pg_msg *msg, struct pg_store_done *done)
{
    struct pg_disk_request *request = pg_disk_ask(ask, session, PG_BYTES_NONE, PG_BYTES_NONE);
    if (request) {
        request->number = number;
        request->packet_id = packet_id;
        request->msg = msg ? pg_msg_ref(msg) : NULL;
    }
    post(of(base), request, done);
}

static void disk_settle(struct pg_store *base, struct pg_store_session *session, uint64_t number)
{
    about_number(base, PG_ASK_SETTLE, session, number, 0, NULL, NULL);
}

static void disk_fetch(struct pg_store *base, struct pg_store_session *session, uint64_t number,
                       uint32_t count, size_t bytes, struct pg_store_fetch *fetch)
{
    struct pg_disk_request *request =
        pg_disk_ask(PG_ASK_FETCH, session, PG_BYTES_NONE, PG_BYTES_NONE);
    if (!request) {
        fetch->fn(fetch, NULL, PG_NO_MEMORY);
        return;
    }
    request->number = number;
    request->count = count;
    request->bytes = bytes;
    request->fetch = fetch;
    post(of(base), request, NULL);
}

static void disk_send(struct pg_store *base, struct pg_store_session *session, uint64_t number,
                      uint16_t packet_id, struct pg_store_done *done)
{
    about_number(base, PG_ASK_SEND, session, number, packet_id, NULL, done);
}

static void disk_received(struct pg_store *base, struct pg_store_session *session, uint64_t number,
                          struct pg_store_done *done)
{
    about_number(base, PG_ASK_RECEIVED, session, number, 0, NULL, done);
}

static void disk_receive(struct pg_store *base, struct pg_store_session *session,
                         uint16_t packet_id, struct pg_msg *msg, struct pg_store_done *done)
{
    about_number(base, PG_ASK_RECEIVE, session, 0, packet_id, msg, done);
}

static void disk_routed(struct pg_store *base, struct pg_msg *msg)
{
    about_number(base, PG_ASK_ROUTED, NULL, 0, 0, msg, NULL);
}

static void disk_release(struct pg_store *base, struct pg_store_session *session,
                         uint16_t packet_id, struct pg_store_done *done)
{
    about_number(base, PG_ASK_RELEASE, session, 0, packet_id, NULL, done);
}

static void disk_retain(struct pg_store *base, struct pg_msg *msg, struct pg_store_done *done)
{
    about_number(base, PG_ASK_RETAIN, NULL, 0, 0, msg, done);
}

static void disk_will_put(struct pg_store *base, const struct pg_will_record *will,
                          struct pg_store_done *done)
{
    post(of(base), pg_disk_ask_will(will), done);
}

static void disk_will_drop(struct pg_store *base, struct pg_bytes client_id)
{
    post(of(base), pg_disk_ask(PG_ASK_WILL_DROP, NULL, client_id, PG_BYTES_NONE), NULL);
}

static void disk_fact_put(struct pg_store *base, struct pg_bytes space, struct pg_bytes key,
                          struct pg_bytes value, uint32_t expires_wall_s,
                          struct pg_store_done *done)
{
    post(of(base), pg_disk_ask_fact(space, key, value, expires_wall_s), done);
}

static void disk_stats(struct pg_store *base, struct pg_store_stats *out)
{
    struct disk_store *store = of(base);
    pthread_mutex_lock(&store->lock);
    *out = store->shared;
    pthread_mutex_unlock(&store->lock);
    out->backlog = atomic_load_explicit(&store->backlog, memory_order_relaxed);
    out->backlog_bytes = atomic_load_explicit(&store->backlog_bytes, memory_order_relaxed);
    out->refused = atomic_load_explicit(&store->refused, memory_order_relaxed);
    if (out->health == PG_OK && pg_store_busy(base)) {
        out->health = PG_BUSY;
        snprintf(out->detail, sizeof(out->detail),
                 "the disk is slow: %zu bytes of requests wait, and publishers are held off",
                 atomic_load_explicit(&store->backlog_bytes, memory_order_relaxed));
    }
}

struct draining {
    struct pg_store_done done; /* first */
    sem_t reached;
};

static void drained(struct pg_store_done *done, enum pg_reason result)
{
    (void)result;
    sem_post(&((struct draining *)done)->reached);
}

/* A request without a name or value; NULL only when the thread does not run. Where memory is out it
 * waits: the thread gives some back with each answer. */
static struct pg_disk_request *request_when_possible(struct disk_store *store, enum pg_disk_ask ask)
{
    static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    struct pg_disk_request *request = NULL;
    while (store->running && !request) {
        request = pg_disk_request_new(ask, PG_BYTES_NONE, PG_BYTES_NONE);
        if (!request)
            nanosleep(&pause, NULL);
    }
    return request;
}

/* A request that changes nothing is completed after all before it. */
static void disk_drain(struct pg_store *base)
{
    struct disk_store *store = of(base);
    struct draining draining = {.done.fn = drained};
    struct pg_disk_request *request = request_when_possible(store, PG_ASK_WILL_DROP);
    if (!request)
        return;
    sem_init(&draining.reached, 0, 0);
    post(store, request, &draining.done);
    while (sem_wait(&draining.reached) != 0)
        continue;
    sem_destroy(&draining.reached);
}

static void disk_free(struct pg_store *base)
{
    struct disk_store *store = of(base);
    struct pg_disk_request *stop = request_when_possible(store, PG_ASK_STOP);
    if (stop) {
        post(store, stop, NULL);
        pthread_join(store->thread, NULL);
    }
    pg_disk_close(&store->disk);
    sem_destroy(&store->wake);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct pg_store_ops disk_ops = {
    .name = "disk",
    .restore = disk_restore,
    .session_open = disk_session_open,
    .session_put = disk_session_put,
    .session_drop = disk_session_drop,
    .subscription_put = disk_subscription_put,
    .subscription_drop = disk_subscription_drop,
    .enqueue = disk_enqueue,
    .settle = disk_settle,
    .fetch = disk_fetch,
    .send = disk_send,
    .received = disk_received,
    .receive = disk_receive,
    .routed = disk_routed,
    .release = disk_release,
    .retain = disk_retain,
    .will_put = disk_will_put,
    .will_drop = disk_will_drop,
    .fact_put = disk_fact_put,
    .stats = disk_stats,
    .drain = disk_drain,
    .free = disk_free,
};

struct pg_store *pg_store_disk_open(const struct pg_store_disk_options *options,
                                    struct pg_error *error)
{
    struct disk_store *store = calloc(1, sizeof(*store));
    if (!store) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    store->base.ops = &disk_ops;
    store->backlog_max = options->backlog_bytes > 0 ? options->backlog_bytes : BACKLOG_BYTES;
    store->disk = pg_disk_open(options, error);
    if (!store->disk) {
        free(store);
        return NULL;
    }
    sem_init(&store->wake, 0, 0);
    pthread_mutex_init(&store->lock, NULL);
    return &store->base;
}
