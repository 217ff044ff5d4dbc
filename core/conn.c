/* SPDX-License-Identifier: Apache-2.0 */

/* Connections: a transport below, a frontend above, and between them the bytes.
 *
 *            received            bytes()                 append
 *  transport ---------> buffer ----------> frontend ---------------> chunks ---------> transport
 *                        ^   | tail of an unfinished frame             |    one writev per turn
 *                        +---+                                         +-> too many: back-pressure
 *
 * Input is parsed in place in the worker's one read buffer. Only what the frontend left unused (the
 * head of an unfinished frame, or everything while it is paused) is kept by the connection, and put
 * in front of the next bytes. A long frame is gathered in a buffer of its own, which grows with
 * what has really come, never with what was announced.
 *
 * Output is a list of chunks: bytes of our own, or a range of a message that is referenced. It is
 * flushed at the end of the loop turn; the transport is asked for write readiness only after it
 * took less than it was given. Above limits.output_high no deliveries are pulled and the peer's
 * input is not read (that it takes output then counts as a sign of life, or a slow link would be
 * cut for a silence that is ours); above limits.output_max the peer is cut off.
 *
 *  CONN_OPEN --close()--> CONN_CLOSING --all sent--> CONN_LINGERING --EOF, deadline--> CONN_DEAD
 *      |                      |  output still leaving      half closed: input is discarded      |
 *      +------ broken --------+--------------------------------------------------------------->+
 *
 * A peer that has said goodbye itself, and is owed nothing, is closed at once.
 *
 * A dead connection is freed at the end of the turn, never under its own callback's feet. */

#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "client.h"
#include "conn_client.h"
#include "conn_state.h"
#include "guard.h"
#include "peer.h"
#include "server.h"
#include "why.h"
#include "worker_parts.h"

#define CONN_MAGIC 0x7067636fu

static _Atomic uint64_t next_conn_id = 1;

/* ---- the worker's part ---------------------------------------------------------------------- */

bool pg_conns_init(struct pg_conn_part *part)
{
    *part = (struct pg_conn_part){.read_buffer = malloc(READ_BUFFER_SIZE)};
    part->dirty_end = &part->dirty;
    part->put_off_end = &part->put_off;
    return part->read_buffer != NULL;
}

void pg_conns_free(struct pg_conn_part *part)
{
    pg_conns_free_spare(part);
    free(part->held);
    part->held = NULL;
    free(part->read_buffer);
    part->read_buffer = NULL;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void on_deadline(struct pg_timer *timer);

/* Whether one more connection is allowed, with the process-wide number already counted up. */
static bool within_limits(const struct pg_config *config, int64_t open_now)
{
    int64_t limit = config->settings.limits.connections;
    return limit == 0 || open_now <= limit;
}

bool pg_conn_limit_reached(const struct pg_worker *worker, const struct pg_config *config)
{
    return !within_limits(config, atomic_load(&worker->server->connections) + 1);
}

static void arm_first_byte_deadline(struct pg_conn *conn)
{
    const struct pg_settings *s = settings_of(conn);
    conn->deadline = DEADLINE_FIRST_BYTE;
    int64_t first = s->limits.first_byte_timeout;
    if (first > s->limits.login_timeout)
        first = s->limits.login_timeout;
    pg_timer_start(&conn->timer, first, on_deadline);
}

/* What happens to those who are nobody yet: one line a second for each reason, however many
 * knock. */
#define SITES_OF_STRANGERS                                                                         \
    {                                                                                              \
        [0 ... PG_REASON_COUNT - 1] = {.limit = 1 }                                                \
    }

void pg_conn_refused(struct pg_worker *worker, const struct pg_listener_conf *listener,
                     const char *peer, enum pg_reason why, const char *detail)
{
    static struct pg_log_site sites[PG_REASON_COUNT] = SITES_OF_STRANGERS;
    pg_worker_count(worker, PG_COUNT_CONNECTIONS_REFUSED, 1);
    pg_worker_count(worker, PG_COUNTER_REFUSE(why), 1);
    PG_LOG_SITE(why == PG_PEER_CLOSED ? PG_DEBUG : PG_WARN, "connection_refused", &sites[why],
                PG_F_TEXT("peer", peer), PG_F_TEXT("listener", listener->name), PG_F_REASON(why),
                PG_F_TEXT("detail", detail));
}

enum pg_reason pg_conn_try_place(struct pg_worker *worker, const struct pg_listener_conf *listener,
                                 const char *peer, struct pg_place *place)
{
    int64_t open_now = atomic_fetch_add(&worker->server->connections, 1) + 1;
    enum pg_reason why = PG_CONNECTION_LIMIT;
    *place = PG_PLACE_NONE;
    place->within_process = within_limits(listener->config, open_now);
    if (place->within_process)
        why = pg_guard_admit(listener, peer, &place->meter);
    if (why != PG_OK)
        pg_conn_give_place(worker, place);
    return why;
}

void pg_conn_no_place(struct pg_worker *worker, const struct pg_listener_conf *listener,
                      const char *peer, enum pg_reason why, const struct pg_place *place)
{
    const char *detail = why == PG_BANNED        ? "see polygatectl bans"
                         : place->within_process ? "see the limits of the listener"
                                                 : "see limits.connections";
    pg_conn_refused(worker, listener, peer, why, detail);
    pg_guard_offence(worker, peer, why);
}

void pg_conn_give_place(struct pg_worker *worker, struct pg_place *place)
{
    pg_guard_leave(&place->meter);
    atomic_fetch_sub(&worker->server->connections, 1);
}

/* Bytes of the one block of a connection. */
static size_t block_size(const struct pg_listener_conf *listener)
{
    return aligned(listener->transport->link_size) + sizeof(struct pg_conn) +
           listener->protocol->conn_size;
}

/* A zeroed connection in its block. NULL: out of memory. */
static struct pg_conn *new_block(struct pg_worker *worker, const struct pg_listener_conf *listener)
{
    uint8_t *block = pg_slab_set_new(&worker->small, block_size(listener));
    size_t in_front = aligned(listener->transport->link_size);
    return block ? (struct pg_conn *)(void *)(block + in_front) : NULL;
}

static void free_block(struct pg_conn *conn, struct pg_worker *worker,
                       const struct pg_listener_conf *listener)
{
    uint8_t *block = (uint8_t *)conn - aligned(listener->transport->link_size);
    pg_slab_set_free(&worker->small, block, block_size(listener));
}

static void hang_in(struct pg_conn_part *part, struct pg_conn *conn)
{
    conn->next = part->all;
    if (conn->next)
        conn->next->link = &conn->next;
    conn->link = &part->all;
    part->all = conn;
    part->count++;
}

struct pg_conn *pg_conn_open_in_place(struct pg_worker *worker,
                                      const struct pg_listener_conf *listener, const char *peer,
                                      struct pg_place *place)
{
    struct pg_config *config = listener->config;
    struct pg_conn *conn = new_block(worker, listener);
    if (!conn || !pg_peer_set(&conn->peer, peer) ||
        (place->meter && !pg_peer_attach(&conn->peer, place->meter))) {
        if (conn) {
            pg_peer_clear(&conn->peer);
            free_block(conn, worker, listener);
        }
        pg_conn_refused(worker, listener, peer, PG_NO_MEMORY, "");
        return NULL;
    }
    conn->magic = CONN_MAGIC;
    conn->state = CONN_OPEN;
    if (place->meter)
        place->meter->conn = conn;
    place->meter = NULL; /* it is the connection's now */
    conn->worker = worker;
    conn->listener = listener;
    (void)pg_config_ref(config);
    conn->frame_limit = (uint32_t)config->settings.limits.login_frame_size;
    conn->alive_ms = (uint32_t)worker->now_ms;
    conn->id = atomic_fetch_add_explicit(&next_conn_id, 1, memory_order_relaxed);
    hang_in(&worker->conns, conn);
    count(conn, PG_COUNT_CONNECTIONS_OPENED, 1);

    arm_first_byte_deadline(conn);
    PG_LOG(PG_DEBUG, "connected", PG_F_TEXT("peer", peer), PG_F_TEXT("listener", listener->name),
           PG_F_INT("conn", conn->id));
    listener->protocol->open(conn);
    return conn;
}

struct pg_conn *pg_conn_open(struct pg_worker *worker, const struct pg_listener_conf *listener,
                             const char *peer)
{
    struct pg_place place;
    enum pg_reason why = pg_conn_try_place(worker, listener, peer, &place);
    if (why != PG_OK) {
        pg_conn_no_place(worker, listener, peer, why, &place);
        return NULL;
    }
    struct pg_conn *conn = pg_conn_open_in_place(worker, listener, peer, &place);
    if (!conn)
        pg_conn_give_place(worker, &place);
    return conn;
}

void pg_conn_expect_handshake(struct pg_conn *conn, int64_t ms)
{
    if (conn->state != CONN_OPEN)
        return;
    conn->deadline = DEADLINE_HANDSHAKE;
    pg_timer_start(&conn->timer, ms, on_deadline);
}

bool pg_conn_identify(struct pg_conn *conn, struct pg_bytes identity)
{
    return pg_peer_identify(&conn->peer, identity);
}

bool pg_conn_handshaken(struct pg_conn *conn, struct pg_bytes identity)
{
    if (identity.data && !pg_conn_identify(conn, identity))
        return false;
    conn->alive_ms = (uint32_t)conn->worker->now_ms;
    if (conn->state == CONN_OPEN && conn->deadline == DEADLINE_HANDSHAKE)
        arm_first_byte_deadline(conn);
    if (conn->listener->call)
        pg_call_connected(conn);
    return true;
}

struct pg_bytes pg_conn_identity(const struct pg_conn *conn)
{
    return pg_peer_identity(&conn->peer);
}

struct pg_bytes pg_conn_topic_prefix(const struct pg_conn *conn)
{
    return conn->listener->topic_prefix;
}

struct pg_bytes pg_conn_client_id_prefix(const struct pg_conn *conn)
{
    return conn->listener->client_id_prefix;
}

/* ---- small accessors ------------------------------------------------------------------------- */

void *pg_conn_link(struct pg_conn *conn)
{
    return link_of(conn);
}

struct pg_conn *pg_conn_of_link(void *link, size_t link_size)
{
    struct pg_conn *conn = (struct pg_conn *)(void *)((uint8_t *)link + aligned(link_size));
    assert(conn->magic == CONN_MAGIC);
    return conn;
}

void *pg_conn_state(struct pg_conn *conn)
{
    return state_of(conn);
}

struct pg_conn *pg_conn_of_state(void *state)
{
    struct pg_conn *conn = (struct pg_conn *)state - 1;
    assert(conn->magic == CONN_MAGIC);
    return conn;
}

const void *pg_conn_conf(const struct pg_conn *conn)
{
    const struct pg_listener_conf *listener = conn->listener;
    return listener->call ? listener->protocol_conf
                          : listener->config->protocols[listener->protocol_index].conf;
}

const char *pg_conn_peer(const struct pg_conn *conn)
{
    return pg_peer_text(&conn->peer);
}

const char *pg_conn_listener(const struct pg_conn *conn)
{
    return conn->listener->name;
}

const char *pg_conn_assigned_id_prefix(const struct pg_conn *conn)
{
    const char *prefix = conn->listener->assigned_id_prefix;
    return prefix ? prefix : "";
}

uint64_t pg_conn_id(const struct pg_conn *conn)
{
    return conn->id;
}

bool pg_conn_closing(const struct pg_conn *conn)
{
    return conn->state != CONN_OPEN;
}

struct pg_worker *pg_conn_worker(const struct pg_conn *conn)
{
    return conn->worker;
}

struct pg_client *pg_conn_client(const struct pg_conn *conn)
{
    return conn->clients;
}

struct pg_client **pg_conn_clients(struct pg_conn *conn)
{
    return &conn->clients;
}

unsigned pg_conn_client_count(const struct pg_conn *conn)
{
    return conn->client_count;
}

void pg_conn_count_client(struct pg_conn *conn, bool more)
{
    if (more)
        conn->client_count++;
    else
        conn->client_count--;
}

const struct pg_protocol *pg_conn_protocol(const struct pg_conn *conn)
{
    return protocol_of(conn);
}

struct pg_conn *pg_conn_next(const struct pg_conn *conn)
{
    return conn->next;
}

enum pg_reason pg_conn_close_reason(const struct pg_conn *conn)
{
    return conn->reason;
}

void pg_conn_count(struct pg_conn *conn, size_t index, uint64_t n)
{
    const struct pg_listener_conf *listener = conn->listener;
    count(conn, listener->config->protocols[listener->protocol_index].counter_base + index, n);
    if (listener->call)
        pg_call_count(conn, index, n);
}

/* ---- from sending to the end ---------------------------------------------------------------- */

static void become_dead(struct pg_conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    if (conn->state == CONN_OPEN)
        pg_conn_close(conn, PG_NETWORK_ERROR, NULL);
    pg_timer_stop(&conn->timer);
    struct pg_meter *meter = pg_peer_meter(&conn->peer);
    if (meter)
        pg_timer_stop(&meter->timer);
    pg_conn_drop_output(conn);
    pg_conn_drop_input(conn);
    transport_of(conn)->close(link_of(conn));
    mark_dirty(conn); /* its clients still have to end */
    conn->state = CONN_DEAD;
}

static void linger(struct pg_conn *conn)
{
    const struct pg_transport *transport = transport_of(conn);
    bool owes = transport->owes && transport->owes(link_of(conn));
    if ((conn->eof && !owes) || conn->reason == PG_NETWORK_ERROR) {
        become_dead(conn);
        return;
    }
    conn->state = CONN_LINGERING;
    transport->shutdown(link_of(conn));
}

/* After the output changed: cut off, resume deliveries, finish closing. */
static void after_write(struct pg_conn *conn)
{
    const struct pg_settings *s = settings_of(conn);
    size_t high = (size_t)s->limits.output_high;
    if (conn->state == CONN_OPEN && out_bytes(conn) > (size_t)s->limits.output_max) {
        pg_conn_close(conn, PG_SLOW_CONSUMER, "%zu bytes are waiting to be sent", out_bytes(conn));
        become_dead(conn); /* a peer that does not read gets no goodbye either */
        return;
    }
    if (conn->starved && out_bytes(conn) <= high / 2) {
        conn->starved = false;
        for (struct pg_client *c = conn->clients; c; c = pg_client_next(c))
            pg_client_make_ready(c);
    }
    if (conn->state == CONN_CLOSING && out_bytes(conn) == 0)
        linger(conn);
    else if (conn->state == CONN_OPEN)
        pg_conn_set_reading(conn);
}

void pg_conn_writable(struct pg_conn *conn)
{
    conn->blocked = false;
    mark_dirty(conn);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Milliseconds since the peer was last heard of. */
static uint32_t silence(const struct pg_conn *conn)
{
    return (uint32_t)conn->worker->now_ms - conn->alive_ms;
}

void pg_conn_arm_login_deadline(struct pg_conn *conn)
{
    conn->deadline = DEADLINE_LOGIN;
    int64_t waited = silence(conn); /* since it opened: this is the first that it hears */
    pg_timer_start(&conn->timer, settings_of(conn)->limits.login_timeout - waited, on_deadline);
}

static void on_deadline(struct pg_timer *timer)
{
    struct pg_conn *conn = (struct pg_conn *)((uint8_t *)timer - offsetof(struct pg_conn, timer));
    switch ((enum conn_deadline)conn->deadline) {
    case DEADLINE_HANDSHAKE:
        pg_conn_close(conn, PG_HANDSHAKE_TIMEOUT, "%s",
                      conn->listener->call ? "see connect_timeout"
                                           : "see handshake_timeout of the listener");
        break;
    case DEADLINE_FIRST_BYTE:
        pg_conn_close(conn, PG_FIRST_BYTE_TIMEOUT, "see limits.first_byte_timeout");
        break;
    case DEADLINE_LOGIN:
        pg_conn_close(conn, PG_LOGIN_TIMEOUT, "see limits.login_timeout");
        break;
    case DEADLINE_IDLE:
        if (silence(conn) >= conn->idle_ms && (conn->is_slowed || conn->is_held))
            pg_timer_start(timer, conn->idle_ms, on_deadline);
        else if (silence(conn) >= conn->idle_ms)
            pg_conn_close(conn, (enum pg_reason)conn->idle_reason, "silent for %u ms",
                          silence(conn));
        else
            pg_timer_start(timer, conn->idle_ms - silence(conn), on_deadline);
        break;
    case DEADLINE_LINGER:
        become_dead(conn);
        break;
    }
}

void pg_conn_set_idle(struct pg_conn *conn, int64_t ms, enum pg_reason reason)
{
    if (conn->state != CONN_OPEN)
        return;
    if (ms > PG_IDLE_MAX_MS)
        ms = PG_IDLE_MAX_MS;
    conn->deadline = DEADLINE_IDLE;
    conn->idle_ms = (uint32_t)ms;
    conn->idle_reason = (uint8_t)reason;
    conn->alive_ms = (uint32_t)conn->worker->now_ms;
    if (ms > 0)
        pg_timer_start(&conn->timer, ms, on_deadline);
    else
        pg_timer_stop(&conn->timer);
}

void pg_conn_alive(struct pg_conn *conn)
{
    conn->alive_ms = (uint32_t)conn->worker->now_ms;
}

void pg_conn_logged_in(struct pg_conn *conn)
{
    conn->logged_in = true;
    if (conn->deadline == DEADLINE_FIRST_BYTE || conn->deadline == DEADLINE_LOGIN)
        pg_timer_stop(&conn->timer);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void log_close(const struct pg_conn *conn, enum pg_reason reason, const char *detail)
{
    static struct pg_log_site known, strangers[PG_REASON_COUNT] = SITES_OF_STRANGERS;
    enum pg_level level = pg_reason_is_error(reason) ? PG_WARN : PG_INFO;
    if (!conn->logged_in && reason == PG_PEER_CLOSED)
        level = PG_DEBUG; /* port probes and health checks */
    PG_LOG_SITE(level, "closed", conn->logged_in ? &known : &strangers[reason], PG_F_REASON(reason),
                PG_F_BYTES("client", first_client_id(conn)), PG_F_TEXT("peer", pg_conn_peer(conn)),
                PG_F_TEXT("listener", conn->listener->name), PG_F_TEXT("detail", detail),
                PG_F_INT("conn", conn->id));
    for (const struct pg_client *c = conn->clients; c; c = pg_client_next(c))
        pg_why_note(pg_client_id(c), PG_WHY_CLOSED, reason, detail);
    if (!conn->listener->call) /* whom the gateway calls is nobody who knocks */
        pg_guard_offence(conn->worker, pg_peer_text(&conn->peer), reason);
}

void pg_conn_close(struct pg_conn *conn, enum pg_reason reason, const char *format, ...)
{
    if (conn->state != CONN_OPEN)
        return;
    char detail[256] = "";
    if (format) {
        va_list args;
        va_start(args, format);
        vsnprintf(detail, sizeof(detail), format, args);
        va_end(args);
    }
    conn->state = CONN_CLOSING;
    conn->reason = (uint8_t)reason;
    count(conn, PG_COUNTER_CLOSE(reason), 1);
    log_close(conn, reason, detail);

    bool peer_hears = reason != PG_NETWORK_ERROR && reason != PG_PEER_CLOSED;
    if (peer_hears && protocol_of(conn)->goodbye)
        protocol_of(conn)->goodbye(conn, reason);
    conn->deadline = DEADLINE_LINGER;
    pg_timer_start(&conn->timer, settings_of(conn)->limits.linger, on_deadline);
    mark_dirty(conn);
}

void pg_conn_eof(struct pg_conn *conn)
{
    conn->eof = true;
    if (conn->state == CONN_OPEN && conn->pauses > 0 && conn->tail) {
        pg_conn_set_reading(conn); /* what was read before the end is still to be handled */
        return;
    }
    if (conn->state == CONN_OPEN)
        pg_conn_close(conn, PG_PEER_CLOSED, NULL);
    else if (conn->state == CONN_LINGERING)
        become_dead(conn);
}

void pg_conn_broken(struct pg_conn *conn, int error_number)
{
    if (conn->state == CONN_OPEN) {
        char text[128];
        pg_conn_close(conn,
                      error_number == ECONNRESET || error_number == EPIPE ? PG_PEER_CLOSED
                                                                          : PG_NETWORK_ERROR,
                      "%s", strerror_r(error_number, text, sizeof(text)));
    }
    become_dead(conn);
}

/* ---- end of the turn ------------------------------------------------------------------------- */

/* The peer has said goodbye, after which it sends nothing that could make a reset of our close, and
 * nothing is queued that it could miss: there is nobody to wait for. */
static bool is_over(const struct pg_conn *conn)
{
    return conn->state == CONN_CLOSING && conn->reason == PG_CLIENT_CLOSED &&
           out_bytes(conn) == 0 && transport_of(conn)->ends_by_close;
}

static void flush(struct pg_conn *conn)
{
    if (conn->reoffer)
        pg_conn_offer_again(conn);
    if (conn->state != CONN_OPEN)
        pg_clients_conn_closed(conn);
    if (conn->state == CONN_DEAD) {
        conn->next_dirty = conn->worker->conns.dead;
        conn->worker->conns.dead = conn;
        return;
    }
    if (is_over(conn)) {
        become_dead(conn);
        return;
    }
    pg_conn_write_out(conn);
    if (conn->state != CONN_DEAD)
        after_write(conn);
}

void pg_conns_put_off(struct pg_worker *worker)
{
    struct pg_conn_part *part = &worker->conns;
    if (!part->dirty)
        return;
    *part->put_off_end = part->dirty;
    part->put_off_end = part->dirty_end;
    part->dirty = NULL;
    part->dirty_end = &part->dirty;
}

void pg_conns_write_since(struct pg_worker *worker, struct pg_conn **since)
{
    struct pg_conn_part *part = &worker->conns;
    struct pg_conn *conn = *since;
    if (!conn || conn->next_dirty || conn->client_count > 1 || conn->state != CONN_OPEN ||
        conn->reoffer)
        return;
    *since = NULL;
    part->dirty_end = since;
    conn->is_dirty = false;
    flush(conn);
}

void pg_conns_flush(struct pg_worker *worker)
{
    struct pg_conn_part *part = &worker->conns;
    *part->dirty_end = part->put_off;
    struct pg_conn *conn = part->dirty;
    part->dirty = part->put_off = NULL;
    part->dirty_end = &part->dirty;
    part->put_off_end = &part->put_off;
    while (conn) {
        struct pg_conn *next = conn->next_dirty;
        bool was_dead = conn->state == CONN_DEAD;
        if (!was_dead)
            conn->is_dirty = false;
        flush(conn);
        conn = next;
    }
}

static void free_conn(struct pg_conn *conn)
{
    struct pg_worker *worker = conn->worker;
    pg_conn_forget_held(conn);
    if (protocol_of(conn)->closed)
        protocol_of(conn)->closed(conn);
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    worker->conns.count--;
    atomic_fetch_sub(&worker->server->connections, 1);
    count(conn, PG_COUNT_CONNECTIONS_CLOSED, 1);
    if (conn->listener->call)
        pg_call_ended(conn);
    conn->magic = 0;
    struct pg_config *config = conn->listener->config;
    struct pg_meter *meter = pg_peer_meter(&conn->peer);
    pg_guard_leave(&meter);
    pg_peer_clear(&conn->peer);
    free_block(conn, worker, conn->listener);
    pg_config_unref(&config);
}

void pg_conns_reap(struct pg_worker *worker)
{
    while (worker->conns.dead) {
        struct pg_conn *conn = worker->conns.dead;
        worker->conns.dead = conn->next_dirty;
        free_conn(conn);
    }
}

void pg_conns_drain(struct pg_worker *worker)
{
    for (struct pg_conn *conn = worker->conns.all; conn; conn = conn->next)
        pg_conn_close(conn, PG_DRAINING, NULL);
}

void pg_conns_close_all(struct pg_worker *worker)
{
    for (struct pg_conn *conn = worker->conns.all; conn; conn = conn->next) {
        pg_conn_close(conn, PG_DRAINING, NULL);
        become_dead(conn);
    }
    pg_conns_flush(worker);
    pg_conns_reap(worker);
}
