/* SPDX-License-Identifier: Apache-2.0 */

/* Changing what is listened on; see listener.h.
 *
 * One task goes to each worker. It starts, moves and stops in that order, so that an address never
 * has a moment without a socket. The last worker to finish says so, and only then does the main
 * thread free what nobody accepts on any more. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "listener.h"
#include "server.h"
#include "transport.h"
#include "worker.h"

#define ADDRESSES_MAX 16 /* of one listener, in the log */

/* One address. */
struct listener {
    struct listener *next;
    const struct pg_transport *transport;
    char *bind;                             /* as in the configuration */
    char name[PG_LISTENER_NAME_MAX + 1];    /* likewise */
    const struct pg_protocol *protocol;     /* for the log */
    struct pg_listening *listening;         /* the transport's */
    const struct pg_listener_conf *planned; /* in a change: what it will serve; NULL: it goes */
};

struct pg_listeners {
    struct listener *first;
};

struct worker_task {
    struct pg_task task; /* first */
    struct pg_change *change;
};

struct pg_change {
    struct pg_server *server;
    struct pg_listeners *listeners;
    struct pg_config *config;   /* a reference; NULL: everything stops */
    struct pg_calls *calls;     /* its blocks that call out */
    struct listener *opened;    /* new ones, until the change begins */
    _Atomic unsigned remaining; /* workers that have not done their part */
    void (*done)(void *arg);
    void *arg;
    struct worker_task tasks[]; /* one per worker */
};

struct pg_listeners *pg_listeners_new(void)
{
    return calloc(1, sizeof(struct pg_listeners));
}

void pg_listeners_free(struct pg_listeners **listeners)
{
    free(*listeners);
    *listeners = NULL;
}

/* ---- preparing ------------------------------------------------------------------------------- */

static void free_listener(struct listener *l)
{
    if (l->listening)
        l->transport->close_listening(&l->listening);
    free(l->bind);
    free(l);
}

static struct listener *open_listener(const struct pg_listener_conf *conf, unsigned workers,
                                      struct pg_error *error)
{
    struct listener *l = calloc(1, sizeof(*l));
    char *bind = strdup(conf->bind.items[0]);
    if (!l || !bind) {
        pg_error_set(error, "listener \"%s\": out of memory", conf->name);
        free(bind);
        free(l);
        return NULL;
    }
    *l = (struct listener){.transport = conf->transport, .bind = bind, .planned = conf};
    l->listening = conf->transport->listen(conf, workers, error);
    if (l->listening)
        return l;
    free_listener(l);
    return NULL;
}

/* Whether this is the address of that block. Port 0 stands for whatever port was free, so there it
 * takes the same name, too. */
static bool is_same(const struct listener *l, const struct pg_listener_conf *conf)
{
    const char *bind = conf->bind.items[0], *colon = strrchr(bind, ':');
    bool picks_port = colon && strcmp(colon, ":0") == 0;
    return l->transport == conf->transport && strcmp(l->bind, bind) == 0 &&
           (!picks_port || strcmp(l->name, conf->name) == 0);
}

/* The listener of now that has this address and is not planned for another block. */
static struct listener *find_kept(struct pg_listeners *listeners,
                                  const struct pg_listener_conf *conf)
{
    struct listener *l = listeners->first;
    while (l && (l->planned || !is_same(l, conf)))
        l = l->next;
    return l;
}

struct pg_change *pg_change_prepare(struct pg_server *server, struct pg_listeners *listeners,
                                    struct pg_config *config, struct pg_error *error)
{
    if (config && !pg_config_prepare_transports(config, server->worker_count, error))
        return NULL;
    struct pg_change *change =
        calloc(1, sizeof(*change) + server->worker_count * sizeof(change->tasks[0]));
    if (!change) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    change->server = server;
    change->listeners = listeners;
    change->config = config ? pg_config_ref(config) : NULL;
    change->calls = pg_calls_prepare(config, server->worker_count);
    if (!change->calls) {
        pg_error_set(error, "out of memory");
        pg_change_abandon(&change);
        return NULL;
    }
    for (struct listener *l = listeners->first; l; l = l->next)
        l->planned = NULL;
    for (size_t i = 0; config && i < config->listener_count; i++) {
        const struct pg_listener_conf *conf = &config->listeners[i];
        struct listener *l = find_kept(listeners, conf);
        if (l) {
            l->planned = conf;
            continue;
        }
        l = open_listener(conf, server->worker_count, error);
        if (!l) {
            pg_change_abandon(&change);
            return NULL;
        }
        l->next = change->opened;
        change->opened = l;
    }
    return change;
}

void pg_change_abandon(struct pg_change **change)
{
    struct pg_change *c = *change;
    *change = NULL;
    while (c->opened) {
        struct listener *l = c->opened;
        c->opened = l->next;
        free_listener(l);
    }
    if (c->calls)
        pg_calls_abandon(&c->calls);
    pg_config_unref(&c->config);
    free(c);
}

/* ---- carrying out ---------------------------------------------------------------------------- */

static void on_worker(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_change *change = ((struct worker_task *)task)->change;
    /* First: who sends to them finds their sessions. */
    pg_calls_change(worker, change->calls);
    for (struct listener *l = change->listeners->first; l; l = l->next)
        if (l->planned)
            l->transport->start(l->listening, worker, change->config, l->planned);
    for (struct listener *l = change->listeners->first; l; l = l->next)
        if (!l->planned)
            l->transport->stop(l->listening, worker);
    void (*done)(void *) = change->done;
    void *arg = change->arg;
    /* The change may be freed from here on. */
    if (atomic_fetch_sub_explicit(&change->remaining, 1, memory_order_acq_rel) == 1)
        done(arg);
}

/* One line for each address, however many there are. */
static void log_addresses(const struct listener *l, const char *event)
{
    struct pg_listening_info info[ADDRESSES_MAX];
    size_t count = l->transport->addresses(l->listening, info, ADDRESSES_MAX);
    for (size_t i = 0; i < count && i < ADDRESSES_MAX; i++) {
        struct pg_log_site site = {0};
        const struct pg_field fields[] = {
            PG_F_TEXT("name", l->name),
            PG_F_TEXT("address", info[i].address),
            PG_F_TEXT("transport", l->transport->name),
            PG_F_TEXT("protocol", l->protocol->name),
        };
        pg_log_write(&site, PG_INFO, event, fields, sizeof(fields) / sizeof(fields[0]));
    }
}

/* What other threads are told: a copy, made anew after each change. */
static pthread_mutex_t rows_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pg_listener_row rows[PG_LISTENER_ROWS_MAX]; /* under rows_lock, with the next */
static size_t row_count;

static void add_rows(const struct listener *l)
{
    struct pg_listening_info info[ADDRESSES_MAX];
    size_t count = l->transport->addresses(l->listening, info, ADDRESSES_MAX);
    for (size_t i = 0; i < count && i < ADDRESSES_MAX && row_count < PG_LISTENER_ROWS_MAX; i++) {
        struct pg_listener_row *row = &rows[row_count++];
        *row = (struct pg_listener_row){.transport = l->transport->name,
                                        .protocol = l->protocol->name};
        snprintf(row->name, sizeof(row->name), "%s", l->name);
        _Static_assert(sizeof(row->address) == sizeof(info[i].address),
                       "one is copied to the other");
        memcpy(row->address, info[i].address, sizeof(row->address));
    }
}

static void renew_rows(const struct pg_listeners *listeners)
{
    pthread_mutex_lock(&rows_lock);
    row_count = 0;
    for (const struct listener *l = listeners->first; l; l = l->next)
        add_rows(l);
    pthread_mutex_unlock(&rows_lock);
}

size_t pg_listener_rows_now(struct pg_listener_row *out, size_t room)
{
    pthread_mutex_lock(&rows_lock);
    size_t count = row_count < room ? row_count : room;
    memcpy(out, rows, count * sizeof(*out));
    pthread_mutex_unlock(&rows_lock);
    return count;
}

/* Keep what the log says of a listener, as of the block that it serves. */
static void name_listener(struct listener *l)
{
    l->protocol = l->planned->protocol;
    snprintf(l->name, sizeof(l->name), "%s", l->planned->name);
}

/* The new ones are collected newest first: hang them in, in the order of the file. */
static void hang_in(struct pg_change *change)
{
    struct listener *in_order = NULL;
    while (change->opened) {
        struct listener *l = change->opened;
        change->opened = l->next;
        l->next = in_order;
        in_order = l;
    }
    for (struct listener *l = in_order; l; l = l->next) {
        name_listener(l);
        log_addresses(l, "listening");
    }
    struct listener **tail = &change->listeners->first;
    while (*tail)
        tail = &(*tail)->next;
    *tail = in_order;
    renew_rows(change->listeners);
}

void pg_change_begin(struct pg_change *change, void (*done)(void *arg), void *arg)
{
    struct pg_server *server = change->server;
    unsigned count = server->worker_count;
    change->done = done;
    change->arg = arg;
    atomic_store(&change->remaining, count);
    hang_in(change);
    for (unsigned i = 0; i < count; i++)
        change->tasks[i] = (struct worker_task){.task.run = on_worker, .change = change};
    struct worker_task *tasks = change->tasks;
    for (unsigned i = 0; i < count; i++)
        pg_worker_post(server->workers[i], &tasks[i].task);
}

void pg_change_complete(struct pg_change **change)
{
    struct pg_change *c = *change;
    *change = NULL;
    for (struct listener **p = &c->listeners->first; *p;) {
        struct listener *l = *p;
        if (l->planned) {
            bool is_news =
                l->protocol != l->planned->protocol || strcmp(l->name, l->planned->name) != 0;
            name_listener(l);
            if (is_news)
                log_addresses(l, "listening");
            p = &l->next;
            continue;
        }
        log_addresses(l, "listener_closed");
        *p = l->next;
        free_listener(l);
    }
    renew_rows(c->listeners);
    pg_calls_changed(&c->calls);
    pg_config_unref(&c->config);
    free(c);
}
