/* SPDX-License-Identifier: Apache-2.0 */

/* The input of a connection: the head of an unfinished frame is kept, what is whole is offered to
 * the frontend, and reading is held off while the frontend, a limit, the store or another worker
 * wants that; see conn.c. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "conn.h"
#include "conn_client.h"
#include "conn_state.h"
#include "guard.h"
#include "router.h"
#include "server.h"

/* By so much an unfinished frame has to grow within limits.frame_timeout. */
#define PROGRESS 1024u

/* Bytes that the frontend did not use. */
struct tail {
    struct pg_timer timer; /* for progress, once a client is admitted */
    struct pg_conn *conn;
    uint32_t came; /* bytes of the frame since the timer was started */
    uint32_t len, size;
    uint32_t expect; /* whole length of the frame at the head, if the frontend knows */
    uint8_t bytes[];
};

/* ---- frames --------------------------------------------------------------------------------- */

size_t pg_conn_frame_limit_max(const struct pg_conn *conn)
{
    const struct pg_settings *s = settings_of(conn);
    return (size_t)(conn->logged_in ? s->limits.frame_size : s->limits.login_frame_size);
}

void pg_conn_set_frame_limit(struct pg_conn *conn, size_t bytes)
{
    size_t most = pg_conn_frame_limit_max(conn);
    conn->frame_limit = (uint32_t)(bytes < most ? bytes : most);
}

void pg_conn_expect(struct pg_conn *conn, size_t bytes)
{
    conn->worker->conns.expect = bytes < conn->frame_limit ? (uint32_t)bytes : conn->frame_limit;
}

static uint32_t tail_len(const struct pg_conn *conn)
{
    return conn->tail ? conn->tail->len : 0;
}

/* Whether the tail is long enough to be read into directly, instead of being moved in front of the
 * worker's buffer at each read. */
static bool gathers(const struct pg_conn *conn)
{
    const struct tail *tail = conn->tail;
    return tail && (tail->len > TAIL_IN_PLACE_MAX || tail->size - tail->len >= READ_SIZE);
}

void pg_conn_drop_input(struct pg_conn *conn)
{
    if (!conn->tail)
        return;
    pg_timer_stop(&conn->tail->timer);
    free(conn->tail);
    conn->tail = NULL;
}

/* An unfinished frame has been growing for limits.frame_timeout. */
static void on_progress_due(struct pg_timer *timer)
{
    struct tail *tail = (struct tail *)((uint8_t *)timer - offsetof(struct tail, timer));
    struct pg_conn *conn = tail->conn;
    /* While we do not read, it is not the peer's fault. */
    if (tail->came < PROGRESS && pg_conn_wants_bytes(conn)) {
        pg_conn_close(conn, PG_STALLED, "%u bytes of it came in the last %" PRId64 " ms",
                      tail->came, settings_of(conn)->limits.frame_timeout);
        return;
    }
    tail->came = 0;
    pg_timer_start(timer, settings_of(conn)->limits.frame_timeout, on_progress_due);
}

/* The frame at the head of the tail is unfinished, with `fresh` if its first bytes have just come.
 * Before there is a client the login deadline is stricter. */
static void watch_progress(struct pg_conn *conn, bool fresh)
{
    struct tail *tail = conn->tail;
    int64_t timeout = settings_of(conn)->limits.frame_timeout;
    if (!fresh || timeout == 0 || !conn->logged_in)
        return;
    tail->conn = conn;
    tail->came = 0;
    pg_timer_start(&tail->timer, timeout, on_progress_due);
}

static bool grow_tail(struct pg_conn *conn, size_t size)
{
    if (conn->tail && size <= conn->tail->size)
        return true;
    bool watched = conn->tail && conn->tail->timer.link;
    int64_t left = watched ? conn->tail->timer.deadline_ms - conn->worker->now_ms : 0;
    if (watched)
        pg_timer_stop(&conn->tail->timer); /* it moves */
    struct tail *grown = size <= UINT32_MAX ? realloc(conn->tail, sizeof(*grown) + size) : NULL;
    if (!grown) {
        pg_conn_close(conn, PG_NO_MEMORY, "while keeping %zu bytes of an unfinished frame", size);
        return false;
    }
    if (!conn->tail) {
        grown->len = 0;
        grown->timer = (struct pg_timer){.link = NULL};
    }
    grown->size = (uint32_t)size;
    conn->tail = grown;
    if (watched)
        pg_timer_start(&grown->timer, left, on_progress_due);
    return true;
}

uint8_t *pg_conn_read_room(struct pg_conn *conn, size_t *room)
{
    struct pg_conn_part *part = &conn->worker->conns;
    *room = READ_SIZE;
    if (conn->state != CONN_OPEN)
        return part->read_buffer; /* to be discarded */
    const struct pg_meter *meter = pg_peer_meter(&conn->peer);
    uint32_t len = tail_len(conn);
    if (!gathers(conn)) {
        if (len > 0)
            memcpy(part->read_buffer, conn->tail->bytes, len);
        if (meter)
            *room = pg_meter_read_max(meter, *room);
        return part->read_buffer + len;
    }
    /* Grow with what has come, up to what the frame needs and one read more. */
    size_t want = (size_t)len * 2;
    uint32_t expect = conn->tail->expect;
    size_t most = (size_t)(expect > len ? expect : len) + READ_SIZE;
    if (want > most)
        want = most;
    if (want < (size_t)len + READ_SIZE)
        want = (size_t)len + READ_SIZE;
    if (!grow_tail(conn, want))
        return part->read_buffer;
    *room = conn->tail->size - len;
    if (meter)
        *room = pg_meter_read_max(meter, *room);
    return conn->tail->bytes + len;
}

/* Keep what the frontend did not use, which begins with another frame than before if it is fresh.
 * `rest` may lie in the tail itself. */
static void keep(struct pg_conn *conn, struct pg_bytes rest, bool fresh)
{
    if (rest.len == 0) {
        pg_conn_drop_input(conn);
        return;
    }
    struct tail *tail = conn->tail;
    if (tail && rest.data >= tail->bytes && rest.data < tail->bytes + tail->size) {
        memmove(tail->bytes, rest.data, rest.len);
    } else {
        if (!grow_tail(conn, rest.len))
            return;
        tail = conn->tail;
        memcpy(tail->bytes, rest.data, rest.len);
    }
    tail->len = (uint32_t)rest.len;
    watch_progress(conn, fresh);
    tail->expect = conn->worker->conns.expect;
    if (conn->pauses == 0 && tail->len > conn->frame_limit)
        pg_conn_close(conn, PG_TOO_LARGE, "an unfinished frame is longer than %u bytes",
                      conn->frame_limit);
}

/* Offer bytes to the frontend and keep what it leaves. */
static void offer(struct pg_conn *conn, struct pg_bytes in)
{
    size_t used = 0;
    conn->worker->conns.expect = 0;
    if (conn->pauses == 0)
        used = protocol_of(conn)->bytes(conn, in);
    if (conn->state != CONN_OPEN) {
        pg_conn_drop_input(conn);
        return;
    }
    bool fresh = used > 0 || !conn->tail;
    keep(conn, (struct pg_bytes){.data = in.data + used, .len = in.len - used}, fresh);
}

static void slow_down(struct pg_conn *conn, int64_t ms, const char *limit);

void pg_conn_received(struct pg_conn *conn, size_t n)
{
    count(conn, PG_COUNT_BYTES_RECEIVED, n);
    count(conn, PG_COUNT_READS, 1);
    if (conn->state != CONN_OPEN)
        return;
    if (conn->deadline == DEADLINE_FIRST_BYTE)
        pg_conn_arm_login_deadline(conn);
    struct pg_meter *meter = pg_peer_meter(&conn->peer);
    if (meter)
        slow_down(conn, pg_meter_bytes(meter, n), "bytes_per_second");
    if (conn->tail)
        conn->tail->came += (uint32_t)n;
    if (gathers(conn)) {
        conn->tail->len += (uint32_t)n;
        offer(conn, (struct pg_bytes){.data = conn->tail->bytes, .len = conn->tail->len});
    } else {
        const uint8_t *start = conn->worker->conns.read_buffer;
        offer(conn, (struct pg_bytes){.data = start, .len = tail_len(conn) + n});
    }
}

bool pg_conn_wants_bytes(const struct pg_conn *conn)
{
    if (conn->state != CONN_OPEN)
        return conn->state != CONN_DEAD;
    return conn->pauses == 0 && !conn->eof &&
           out_bytes(conn) <= (size_t)settings_of(conn)->limits.output_high;
}

void pg_conn_set_reading(struct pg_conn *conn)
{
    if (conn->state != CONN_DEAD)
        transport_of(conn)->want_read(link_of(conn), pg_conn_wants_bytes(conn));
}

void pg_conn_pause(struct pg_conn *conn)
{
    if (conn->pauses++ == 0)
        pg_conn_set_reading(conn);
}

void pg_conn_resume(struct pg_conn *conn)
{
    if (--conn->pauses > 0 || conn->state != CONN_OPEN)
        return;
    conn->reoffer = true;
    mark_dirty(conn);
}

/* ---- reading held off ------------------------------------------------------------------------ */

static void on_slowed(struct pg_timer *timer)
{
    struct pg_conn *conn = ((struct pg_meter *)timer)->conn;
    conn->is_slowed = false;
    pg_conn_alive(conn); /* it may have been silent because we did not listen */
    pg_conn_resume(conn);
}

/* Do not read for so long, since what `limit` is about comes too fast; 0 is not at all. */
static void slow_down(struct pg_conn *conn, int64_t ms, const char *limit)
{
    static struct pg_log_site site = {.limit = 1};
    if (ms == 0 || conn->state != CONN_OPEN)
        return;
    if (!conn->is_slowed) {
        conn->is_slowed = true;
        count(conn, PG_COUNT_READS_PAUSED, 1);
        PG_LOG_SITE(PG_INFO, "reads_paused", &site, PG_F_BYTES("client", first_client_id(conn)),
                    PG_F_TEXT("peer", pg_conn_peer(conn)),
                    PG_F_TEXT("listener", conn->listener->name), PG_F_TEXT("limit", limit),
                    PG_F_INT("ms", ms), PG_F_INT("conn", conn->id));
        pg_conn_pause(conn);
    }
    pg_timer_start(&pg_peer_meter(&conn->peer)->timer, ms, on_slowed);
}

void pg_conn_meter_message(struct pg_conn *conn)
{
    struct pg_meter *meter = pg_peer_meter(&conn->peer);
    if (meter)
        slow_down(conn, pg_meter_message(meter), "messages_per_second");
}

static bool grow_held(struct pg_conn_part *part)
{
    if (part->held_count < part->held_size)
        return true;
    size_t size = part->held_size > 0 ? part->held_size * 2 : 16;
    struct pg_held_conn *held = realloc(part->held, size * sizeof(*held));
    if (!held)
        return false;
    part->held = held;
    part->held_size = size;
    return true;
}

void pg_conns_hold_if_congested(struct pg_conn *conn, bool stores)
{
    struct pg_conn_part *part = &conn->worker->conns;
    bool for_store = stores && pg_store_busy(conn->worker->server->store);
    if (conn->is_held || conn->state != CONN_OPEN ||
        (!for_store && !pg_router_congested(conn->worker)))
        return;
    if (!grow_held(part)) {
        pg_conn_close(conn, PG_NO_MEMORY, "while others lag behind");
        return;
    }
    conn->is_held = true;
    part->held[part->held_count++] = (struct pg_held_conn){.conn = conn, .for_store = for_store};
    if (for_store) {
        part->held_for_store++;
        count(conn, PG_COUNT_PUBLISHERS_HELD, 1);
    }
    pg_conn_pause(conn);
}

/* Take one out of the list; the last one takes its place. */
static void unhold(struct pg_conn_part *part, size_t at)
{
    part->held[at].conn->is_held = false;
    part->held_for_store -= part->held[at].for_store;
    part->held[at] = part->held[--part->held_count];
}

void pg_conns_release_held(struct pg_worker *worker)
{
    struct pg_conn_part *part = &worker->conns;
    bool store_busy = pg_store_busy(worker->server->store);
    if (part->held_count == (store_busy ? part->held_for_store : 0) || pg_router_congested(worker))
        return;
    for (size_t i = part->held_count; i-- > 0;) {
        struct pg_held_conn held = part->held[i];
        if (held.for_store && store_busy)
            continue;
        unhold(part, i);
        pg_conn_alive(held.conn); /* it may have been silent because we did not listen */
        pg_conn_resume(held.conn);
    }
}

void pg_conn_forget_held(struct pg_conn *conn)
{
    struct pg_conn_part *part = &conn->worker->conns;
    for (size_t i = 0; conn->is_held; i++)
        if (part->held[i].conn == conn)
            unhold(part, i);
}

void pg_conn_offer_again(struct pg_conn *conn)
{
    conn->reoffer = false;
    if (conn->pauses > 0 || conn->state != CONN_OPEN)
        return;
    if (conn->tail)
        offer(conn, (struct pg_bytes){.data = conn->tail->bytes, .len = conn->tail->len});
    if (conn->state == CONN_OPEN && conn->pauses == 0 && conn->eof)
        pg_conn_close(conn, PG_PEER_CLOSED, NULL);
    pg_conn_set_reading(conn);
}
