/* SPDX-License-Identifier: Apache-2.0 */

/* Connections that the gateway makes; see call.h and struct pg_protocol, `calls`.
 *
 *            timer                  pg_conn_handshaken()      pg_call_welcomed()
 *   WAITING --------> CALLING ------------------------> CONNECTED ------------> WELCOMED
 *      ^                 |                                  |                       |
 *      +--- its end -----+----------------------------------+-----------------------+
 *
 * The connection is opened before the other side is called: its frontend admits the client with
 * which it takes deliveries, so that there is a session for what is to go there, whether it can be
 * reached or not. The wait is `retry`, doubled for each call since one was welcomed, at most
 * `retry_max`; of that, up to a half is left out by chance. What the frontend asked for
 * (pg_call_rest()) takes its place.
 *
 * A block stays on the worker that its name gives, over reloads as well: its state is not
 * shared. */

#include "call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "conn_client.h"
#include "hash.h"
#include "server.h"
#include "transport.h"
#include "worker_parts.h"

struct pg_call {
    struct pg_timer timer; /* of the next call; first */
    struct pg_call *next;
    struct pg_worker *worker; /* NULL until it is taken */
    struct pg_config *config; /* shared: that of conf */
    const struct pg_listener_conf *conf;
    struct pg_conn *conn; /* NULL: none */
    struct pg_call_view view;
    int64_t rest_ms; /* -1: the frontend has not asked for one */
    bool gone;       /* the block is there no more: to be freed when the connection is */
    uint64_t *counted;
    uint64_t state[]; /* the frontend's */
};

struct pg_calls {
    size_t count;
    struct {
        struct pg_call *call; /* taken by its worker, which others must not look into */
        unsigned worker;
    } items[];
};

/* ---- blocks ---------------------------------------------------------------------------------- */

static size_t counter_count(const struct pg_protocol *protocol)
{
    size_t n = 0;
    while (protocol->counters && protocol->counters[n].name)
        n++;
    return n;
}

static void free_call(struct pg_call *call)
{
    struct pg_config *config = call->config;
    free(call->counted);
    free(call);
    pg_config_unref(&config);
}

static struct pg_call *new_call(const struct pg_listener_conf *conf)
{
    struct pg_call *call = calloc(1, sizeof(*call) + (conf->protocol->call_size + 7) / 8 * 8);
    uint64_t *counted = calloc(counter_count(conf->protocol) + 1, sizeof(*counted));
    if (!call || !counted) {
        free(call);
        free(counted);
        return NULL;
    }
    call->config = pg_config_ref(conf->config);
    call->conf = conf;
    call->counted = counted;
    call->rest_ms = -1;
    return call;
}

struct pg_calls *pg_calls_prepare(struct pg_config *config, unsigned workers)
{
    size_t count = config ? config->call_count : 0;
    struct pg_calls *calls = calloc(1, sizeof(*calls) + count * sizeof(calls->items[0]));
    for (size_t i = 0; calls && i < count; i++) {
        struct pg_bytes id = pg_bytes_str(config->calls[i].assigned_id_prefix);
        calls->items[i].worker = (unsigned)(pg_hash(id) % workers);
        calls->items[i].call = new_call(&config->calls[i]);
        calls->count = i + 1;
        if (!calls->items[i].call)
            pg_calls_abandon(&calls);
    }
    return calls;
}

void pg_calls_abandon(struct pg_calls **calls)
{
    for (size_t i = 0; i < (*calls)->count; i++)
        if ((*calls)->items[i].call)
            free_call((*calls)->items[i].call);
    pg_calls_changed(calls);
}

void pg_calls_changed(struct pg_calls **calls)
{
    free(*calls);
    *calls = NULL;
}

/* ---- calling --------------------------------------------------------------------------------- */

static void enter(struct pg_call *call, enum pg_call_stage state)
{
    call->view.state = state;
    call->view.since_ms = pg_now_ms();
}

static void on_timer(struct pg_timer *timer);

/* `ms` less up to a half by chance. */
static int64_t by_chance(int64_t ms, const struct pg_call *call)
{
    const int64_t seed[] = {pg_now_ms(), (int64_t)call->view.tries, (int64_t)(uintptr_t)call};
    uint64_t hash = pg_hash((struct pg_bytes){.data = (const uint8_t *)seed, .len = sizeof(seed)});
    return ms - (int64_t)(hash % (uint64_t)(ms / 2 + 1));
}

static void await_next(struct pg_call *call)
{
    const struct pg_call_conf *c = call->conf->call;
    int64_t ms = call->rest_ms;
    if (ms < 0) {
        ms = c->retry_ms;
        for (uint64_t i = 1; i < call->view.tries && ms < c->retry_max_ms; i++)
            ms *= 2;
        ms = by_chance(ms < c->retry_max_ms ? ms : c->retry_max_ms, call);
    }
    call->rest_ms = -1;
    enter(call, PG_CALL_WAITING);
    call->view.next_ms = pg_now_ms() + ms;
    pg_timer_start(&call->timer, ms, on_timer);
}

static void begin(struct pg_call *call)
{
    const struct pg_listener_conf *conf = call->conf;
    call->view.tries++;
    enter(call, PG_CALL_CALLING);
    call->conn = NULL;
    /* `open` may want what is kept here, so that the connection has to be found before it
     * returns. */
    call->worker->calls.opening = call;
    struct pg_conn *conn = pg_conn_open(call->worker, conf, conf->call->to);
    call->worker->calls.opening = NULL;
    if (!conn) {
        await_next(call); /* why is in the log */
        return;
    }
    call->conn = conn;
    conf->transport->dial(conn, conf);
}

static void on_timer(struct pg_timer *timer)
{
    struct pg_call *call = (struct pg_call *)timer;
    if (!atomic_load(&call->worker->server->draining))
        begin(call);
}

static struct pg_call *call_of(const struct pg_conn *conn)
{
    const struct pg_call_part *part = &pg_conn_worker(conn)->calls;
    struct pg_call *call = part->first;
    while (call && call->conn != conn)
        call = call->next;
    assert(call || part->opening);
    return call ? call : part->opening;
}

void pg_call_ended(struct pg_conn *conn)
{
    struct pg_call *call = call_of(conn);
    struct pg_call_part *part = &call->worker->calls;
    call->view.reason = pg_conn_close_reason(conn);
    call->conn = NULL;
    if (!call->gone) {
        await_next(call);
        return;
    }
    struct pg_call **at = &part->first;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    free_call(call);
}

void pg_call_connected(struct pg_conn *conn)
{
    const struct pg_protocol *protocol = pg_conn_protocol(conn);
    enter(call_of(conn), PG_CALL_CONNECTED);
    if (protocol->connected && !pg_conn_closing(conn))
        protocol->connected(conn);
}

void pg_call_count(struct pg_conn *conn, size_t index, uint64_t n)
{
    call_of(conn)->counted[index] += n;
}

/* ---- changes --------------------------------------------------------------------------------- */

static bool is_same(const struct pg_call *a, const struct pg_call *b)
{
    return strcmp(a->conf->assigned_id_prefix, b->conf->assigned_id_prefix) == 0 &&
           a->conf->protocol == b->conf->protocol && a->conf->transport == b->conf->transport &&
           strcmp(a->conf->call->to, b->conf->call->to) == 0;
}

/* `call` goes on by the block of `fresh`, which is freed. */
static void go_on(struct pg_call *call, struct pg_call *fresh)
{
    struct pg_config *before = call->config;
    call->config = pg_config_ref(fresh->config);
    call->conf = fresh->conf;
    call->gone = false;
    free_call(fresh);
    pg_config_unref(&before);
}

static void take(struct pg_worker *worker, struct pg_call *fresh)
{
    struct pg_call **at = &worker->calls.first;
    while (*at && !((*at)->gone && is_same(*at, fresh)))
        at = &(*at)->next;
    if (*at) {
        go_on(*at, fresh);
        return;
    }
    fresh->worker = worker;
    *at = fresh;
}

/* Those that are not to go on. */
static void drop_gone(struct pg_worker *worker)
{
    for (struct pg_call **at = &worker->calls.first; *at;) {
        struct pg_call *call = *at;
        if (call->gone && !call->conn) {
            *at = call->next;
            pg_timer_stop(&call->timer);
            free_call(call);
            continue;
        }
        if (call->gone && !atomic_load(&worker->server->draining))
            pg_conn_close(call->conn, PG_LISTENER_REMOVED, NULL);
        at = &call->next;
    }
}

void pg_calls_change(struct pg_worker *worker, struct pg_calls *calls)
{
    for (struct pg_call *call = worker->calls.first; call; call = call->next)
        call->gone = true;
    for (size_t i = 0; i < calls->count; i++)
        if (calls->items[i].worker == worker->index)
            take(worker, calls->items[i].call);
    drop_gone(worker);
    for (struct pg_call *call = worker->calls.first; call; call = call->next)
        if (call->view.since_ms == 0)
            begin(call);
}

void pg_calls_free(struct pg_worker *worker)
{
    while (worker->calls.first) {
        struct pg_call *call = worker->calls.first;
        worker->calls.first = call->next;
        pg_timer_stop(&call->timer);
        free_call(call);
    }
}

/* ---- the frontend's side --------------------------------------------------------------------- */

void *pg_call_state(struct pg_conn *conn)
{
    return call_of(conn)->state;
}

void pg_call_welcomed(struct pg_conn *conn)
{
    struct pg_call *call = call_of(conn);
    call->view.tries = 0;
    call->rest_ms = -1;
    enter(call, PG_CALL_WELCOMED);
}

void pg_call_rest(struct pg_conn *conn, int64_t ms)
{
    call_of(conn)->rest_ms = ms;
}

const void *pg_call_conf(const struct pg_protocol *protocol, size_t index, const char **client_id)
{
    const struct pg_config *config =
        atomic_load_explicit(&pg_this_worker->server->config, memory_order_acquire);
    for (size_t i = 0; i < config->call_count; i++) {
        if (config->calls[i].protocol != protocol || index-- > 0)
            continue;
        *client_id = config->calls[i].assigned_id_prefix;
        return config->calls[i].protocol_conf;
    }
    return NULL;
}

/* ---- looking --------------------------------------------------------------------------------- */

const struct pg_call *pg_call_next(const struct pg_worker *worker, const struct pg_call *call)
{
    const struct pg_call *next = call ? call->next : worker->calls.first;
    while (next && next->gone)
        next = next->next;
    return next;
}

void pg_call_look(const struct pg_call *call, struct pg_call_view *view)
{
    *view = call->view;
    view->conf = call->conf;
    view->counted = call->counted;
}
