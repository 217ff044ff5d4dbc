/* SPDX-License-Identifier: Apache-2.0 */

/* Connections: a transport below, a frontend above, and between them the bytes.
 *
 *            received            bytes()                 append
 *  transport ---------> buffer ----------> frontend ---------------> chunks ---------> transport
 *                        ^   | tail of an unfinished frame             |    one writev per turn
 *                        +---+                                         +-- queued bytes:
 * back-pressure
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
 * A dead connection is freed at the end of the turn, never under its own callback's feet. */

#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "conn_client.h"
#include "router.h"
#include "server.h"
#include "why.h"
#include "worker_parts.h"

#define CONN_MAGIC 0x7067636fu

/* The worker's read buffer: room for the longest kept head of a frame and one read behind it. */
#define READ_SIZE         (64u * 1024)
#define TAIL_IN_PLACE_MAX (16u * 1024)

/* An own chunk of output. Messages up to COPY_MAX are copied into it: for the kernel, one longer
 * range is cheaper than two, and for us a copy is cheaper than a reference. */
#define CHUNK_SIZE   4096u
#define COPY_MAX     512u
#define SPARE_CHUNKS 256u
#define IOV_BATCH    256

struct out_chunk {
    struct out_chunk *next;
    struct pg_msg *msg;  /* referenced range, or NULL: own bytes */
    const uint8_t *data; /* first byte not yet sent */
    uint32_t len;        /* bytes not yet sent */
    uint32_t room;       /* free bytes behind them; 0 for a reference */
    uint8_t bytes[];
};
#define CHUNK_ROOM ((uint32_t)(CHUNK_SIZE - sizeof(struct out_chunk)))
_Static_assert(PG_RESERVE_MAX <= CHUNK_SIZE - sizeof(struct out_chunk),
               "a reservation fits an empty chunk");

enum conn_state {
    CONN_OPEN,      /* bytes go both ways */
    CONN_CLOSING,   /* the reason is set; clients end; queued output leaves until the deadline */
    CONN_LINGERING, /* everything sent and half closed; input is discarded until EOF or deadline */
    CONN_DEAD,      /* the link is closed; on the worker's list of the dead */
};

enum conn_deadline {
    DEADLINE_FIRST_BYTE, /* nothing has come yet */
    DEADLINE_LOGIN,      /* no client admitted yet */
    DEADLINE_IDLE,       /* the frontend's own, see pg_conn_set_idle */
    DEADLINE_LINGER,     /* closing */
};

struct pg_conn {
    uint32_t magic;
    uint8_t state;       /* enum conn_state */
    uint8_t deadline;    /* enum conn_deadline: what `timer` waits for */
    uint8_t reason;      /* enum pg_reason, once closing */
    uint8_t idle_reason; /* enum pg_reason */
    bool is_dirty : 1;   /* on the worker's dirty list */
    bool starved : 1;    /* a delivery was held back for want of room */
    bool blocked : 1;    /* waits for pg_conn_writable */
    bool reoffer : 1;    /* resumed: the tail is offered again at the end of the turn */
    bool in_bytes : 1;   /* inside protocol->bytes */
    bool eof : 1;        /* the peer has sent its last byte */
    bool logged_in : 1;
    bool is_held : 1; /* on the worker's list of those that wait for other workers */
    uint16_t pauses;
    unsigned client_count;
    struct pg_worker *worker;
    struct pg_config *config; /* shared */
    const struct pg_listener_conf *listener;
    struct pg_conn *next, **link; /* all connections of the worker */
    struct pg_conn *next_dirty;   /* dirty, later dead */
    struct pg_conn *next_held;
    struct pg_client *clients;

    uint8_t *tail; /* bytes that the frontend did not use; NULL when there are none */
    uint32_t tail_len, tail_size;
    uint32_t frame_limit;
    uint32_t expect; /* whole length of the frame at the head, if the frontend knows */

    struct out_chunk *out, **out_end;
    size_t out_bytes;

    struct pg_timer timer;
    int64_t opened_ms;
    int64_t alive_ms;
    int64_t idle_ms;
    uint64_t id;
    void *link_state;     /* transport's, behind this struct */
    void *protocol_state; /* frontend's, behind that and a pointer back to this struct */
    char peer[];
};

static _Atomic uint64_t next_conn_id = 1;

static const struct pg_settings *settings_of(const struct pg_conn *conn)
{
    return &conn->config->settings;
}

static const struct pg_protocol *protocol_of(const struct pg_conn *conn)
{
    return conn->listener->protocol;
}

static const struct pg_transport *transport_of(const struct pg_conn *conn)
{
    return conn->listener->transport;
}

static void count(struct pg_conn *conn, size_t counter, uint64_t n)
{
    pg_worker_count(conn->worker, counter, n);
}

/* ---- the worker's part ---------------------------------------------------------------------- */

bool pg_conns_init(struct pg_conn_part *part)
{
    *part = (struct pg_conn_part){.read_buffer = malloc(TAIL_IN_PLACE_MAX + READ_SIZE)};
    return part->read_buffer != NULL;
}

void pg_conns_free(struct pg_conn_part *part)
{
    while (part->spare) {
        struct out_chunk *chunk = part->spare;
        part->spare = chunk->next;
        free(chunk);
    }
    free(part->read_buffer);
    part->read_buffer = NULL;
}

static void mark_dirty(struct pg_conn *conn)
{
    if (conn->is_dirty || conn->state == CONN_DEAD)
        return;
    conn->is_dirty = true;
    conn->next_dirty = conn->worker->conns.dirty;
    conn->worker->conns.dirty = conn;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void on_deadline(struct pg_timer *timer);

/* Whether one more connection is allowed, with the process-wide number already counted up. */
static bool within_limits(const struct pg_config *config, int64_t open_now)
{
    int64_t limit = config->settings.limits.connections;
    return limit == 0 || open_now <= limit;
}

static size_t aligned(size_t n)
{
    const size_t to = _Alignof(max_align_t);
    return (n + to - 1) / to * to;
}

struct pg_conn *pg_conn_open(struct pg_worker *worker, struct pg_config *config,
                             const struct pg_listener_conf *listener, const char *peer)
{
    struct pg_server *server = worker->server;
    int64_t open_now = atomic_fetch_add(&server->connections, 1) + 1;
    enum pg_reason why = PG_CONNECTION_LIMIT;
    if (!within_limits(config, open_now))
        goto refused;

    size_t peer_size = strlen(peer) + 1;
    size_t link_at = aligned(sizeof(struct pg_conn) + peer_size);
    size_t state_at = aligned(link_at + listener->transport->link_size + sizeof(struct pg_conn *));
    struct pg_conn *conn = calloc(1, state_at + listener->protocol->conn_size);
    why = PG_NO_MEMORY;
    if (!conn)
        goto refused;

    const struct pg_settings *s = &config->settings;
    conn->magic = CONN_MAGIC;
    conn->state = CONN_OPEN;
    conn->worker = worker;
    conn->config = pg_config_ref(config);
    conn->listener = listener;
    conn->frame_limit = (uint32_t)s->limits.login_frame_size;
    conn->out_end = &conn->out;
    conn->opened_ms = worker->now_ms;
    conn->alive_ms = worker->now_ms;
    conn->id = atomic_fetch_add_explicit(&next_conn_id, 1, memory_order_relaxed);
    memcpy(conn->peer, peer, peer_size);
    conn->link_state = (uint8_t *)conn + link_at;
    conn->protocol_state = (uint8_t *)conn + state_at;
    memcpy((uint8_t *)conn->protocol_state - sizeof(conn), &conn, sizeof(conn));

    struct pg_conn_part *part = &worker->conns;
    conn->next = part->all;
    if (conn->next)
        conn->next->link = &conn->next;
    conn->link = &part->all;
    part->all = conn;
    part->count++;
    count(conn, PG_COUNT_CONNECTIONS_OPENED, 1);

    conn->deadline = DEADLINE_FIRST_BYTE;
    int64_t first = s->limits.first_byte_timeout;
    if (first > s->limits.login_timeout)
        first = s->limits.login_timeout;
    pg_timer_start(&conn->timer, first, on_deadline);
    PG_LOG(PG_DEBUG, "connected", PG_F_TEXT("peer", conn->peer),
           PG_F_TEXT("listener", listener->name), PG_F_INT("conn", conn->id));
    listener->protocol->open(conn);
    return conn;

refused:
    atomic_fetch_sub(&server->connections, 1);
    pg_worker_count(worker, PG_COUNT_CONNECTIONS_REFUSED, 1);
    pg_worker_count(worker, PG_COUNTER_REFUSE(why), 1);
    PG_LOG(PG_WARN, "connection_refused", PG_F_TEXT("peer", peer),
           PG_F_TEXT("listener", listener->name), PG_F_REASON(why),
           PG_F_TEXT("detail", why == PG_CONNECTION_LIMIT ? "see limits.connections" : ""));
    return NULL;
}

/* ---- small accessors ------------------------------------------------------------------------- */

void *pg_conn_link(struct pg_conn *conn)
{
    return conn->link_state;
}

void *pg_conn_state(struct pg_conn *conn)
{
    return conn->protocol_state;
}

struct pg_conn *pg_conn_of_state(void *state)
{
    struct pg_conn *conn;
    memcpy(&conn, (uint8_t *)state - sizeof(conn), sizeof(conn));
    assert(conn->magic == CONN_MAGIC);
    return conn;
}

const void *pg_conn_conf(const struct pg_conn *conn)
{
    return conn->config->protocols[conn->listener->protocol_index].conf;
}

const char *pg_conn_peer(const struct pg_conn *conn)
{
    return conn->peer;
}

const char *pg_conn_listener(const struct pg_conn *conn)
{
    return conn->listener->name;
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

struct pg_client **pg_conn_clients(struct pg_conn *conn)
{
    return &conn->clients;
}

unsigned *pg_conn_client_count(struct pg_conn *conn)
{
    return &conn->client_count;
}

const struct pg_config *pg_conn_config(const struct pg_conn *conn)
{
    return conn->config;
}

const struct pg_protocol *pg_conn_protocol(const struct pg_conn *conn)
{
    return protocol_of(conn);
}

enum pg_reason pg_conn_close_reason(const struct pg_conn *conn)
{
    return conn->reason;
}

int64_t pg_conn_opened_ms(const struct pg_conn *conn)
{
    return conn->opened_ms;
}

void pg_conn_count(struct pg_conn *conn, size_t index, uint64_t n)
{
    size_t base = conn->config->protocols[conn->listener->protocol_index].counter_base;
    count(conn, base + index, n);
}

/* ---- input ----------------------------------------------------------------------------------- */

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
    conn->expect = bytes < conn->frame_limit ? (uint32_t)bytes : conn->frame_limit;
}

/* Whether the tail is long enough to be read into directly, instead of being moved in front of the
 * worker's buffer at each read. */
static bool gathers(const struct pg_conn *conn)
{
    return conn->tail_len > TAIL_IN_PLACE_MAX ||
           (conn->tail && conn->tail_size - conn->tail_len >= READ_SIZE);
}

static void drop_tail(struct pg_conn *conn)
{
    free(conn->tail);
    conn->tail = NULL;
    conn->tail_len = conn->tail_size = 0;
}

static bool grow_tail(struct pg_conn *conn, size_t size)
{
    if (size <= conn->tail_size)
        return true;
    uint8_t *grown = size <= UINT32_MAX ? realloc(conn->tail, size) : NULL;
    if (!grown) {
        pg_conn_close(conn, PG_NO_MEMORY, "while keeping %zu bytes of an unfinished frame", size);
        return false;
    }
    conn->tail = grown;
    conn->tail_size = (uint32_t)size;
    return true;
}

uint8_t *pg_conn_read_room(struct pg_conn *conn, size_t *room)
{
    struct pg_conn_part *part = &conn->worker->conns;
    *room = READ_SIZE;
    if (conn->state != CONN_OPEN)
        return part->read_buffer; /* to be discarded */
    if (!gathers(conn)) {
        if (conn->tail_len > 0)
            memcpy(part->read_buffer, conn->tail, conn->tail_len);
        return part->read_buffer + conn->tail_len;
    }
    /* Grow with what has come, up to what the frame needs and one read more. */
    size_t want = (size_t)conn->tail_len * 2;
    size_t most =
        (size_t)(conn->expect > conn->tail_len ? conn->expect : conn->tail_len) + READ_SIZE;
    if (want > most)
        want = most;
    if (want < (size_t)conn->tail_len + READ_SIZE)
        want = (size_t)conn->tail_len + READ_SIZE;
    if (!grow_tail(conn, want))
        return part->read_buffer;
    *room = conn->tail_size - conn->tail_len;
    return conn->tail + conn->tail_len;
}

/* Keep what the frontend did not use. `rest` may lie in the tail itself. */
static void keep(struct pg_conn *conn, struct pg_bytes rest)
{
    if (rest.len == 0) {
        drop_tail(conn);
        return;
    }
    bool in_tail =
        conn->tail && rest.data >= conn->tail && rest.data < conn->tail + conn->tail_size;
    if (in_tail) {
        memmove(conn->tail, rest.data, rest.len);
    } else {
        conn->tail_len = 0;
        if (!grow_tail(conn, rest.len))
            return;
        memcpy(conn->tail, rest.data, rest.len);
    }
    conn->tail_len = (uint32_t)rest.len;
    if (conn->pauses == 0 && conn->tail_len > conn->frame_limit)
        pg_conn_close(conn, PG_TOO_LARGE, "an unfinished frame is longer than %u bytes",
                      conn->frame_limit);
}

/* Offer bytes to the frontend and keep what it leaves. */
static void offer(struct pg_conn *conn, struct pg_bytes in)
{
    size_t used = 0;
    if (conn->pauses == 0) {
        conn->expect = 0;
        conn->in_bytes = true;
        used = protocol_of(conn)->bytes(conn, in);
        conn->in_bytes = false;
    }
    if (conn->state != CONN_OPEN) {
        drop_tail(conn);
        return;
    }
    keep(conn, (struct pg_bytes){.data = in.data + used, .len = in.len - used});
}

static void arm_login_deadline(struct pg_conn *conn)
{
    conn->deadline = DEADLINE_LOGIN;
    int64_t at = conn->opened_ms + settings_of(conn)->limits.login_timeout;
    pg_timer_start(&conn->timer, at - conn->worker->now_ms, on_deadline);
}

void pg_conn_received(struct pg_conn *conn, size_t n)
{
    count(conn, PG_COUNT_BYTES_RECEIVED, n);
    count(conn, PG_COUNT_READS, 1);
    if (conn->state != CONN_OPEN)
        return;
    if (conn->deadline == DEADLINE_FIRST_BYTE)
        arm_login_deadline(conn);
    if (gathers(conn)) {
        conn->tail_len += (uint32_t)n;
        offer(conn, (struct pg_bytes){.data = conn->tail, .len = conn->tail_len});
    } else {
        const uint8_t *start = conn->worker->conns.read_buffer;
        offer(conn, (struct pg_bytes){.data = start, .len = conn->tail_len + n});
    }
}

bool pg_conn_wants_bytes(const struct pg_conn *conn)
{
    if (conn->state != CONN_OPEN)
        return conn->state != CONN_DEAD;
    return conn->pauses == 0 && !conn->eof &&
           conn->out_bytes <= (size_t)settings_of(conn)->limits.output_high;
}

static void set_reading(struct pg_conn *conn)
{
    if (conn->state != CONN_DEAD)
        transport_of(conn)->want_read(conn->link_state, pg_conn_wants_bytes(conn));
}

void pg_conn_pause(struct pg_conn *conn)
{
    if (conn->pauses++ == 0)
        set_reading(conn);
}

void pg_conn_resume(struct pg_conn *conn)
{
    if (--conn->pauses > 0 || conn->state != CONN_OPEN)
        return;
    conn->reoffer = true;
    mark_dirty(conn);
}

void pg_conns_hold_if_congested(struct pg_conn *conn)
{
    if (conn->is_held || conn->state != CONN_OPEN || !pg_router_congested(conn->worker))
        return;
    conn->is_held = true;
    conn->next_held = conn->worker->conns.held;
    conn->worker->conns.held = conn;
    pg_conn_pause(conn);
}

void pg_conns_release_held(struct pg_worker *worker)
{
    if (!worker->conns.held || pg_router_congested(worker))
        return;
    struct pg_conn *conn = worker->conns.held;
    worker->conns.held = NULL;
    for (; conn; conn = conn->next_held) {
        conn->is_held = false;
        pg_conn_resume(conn);
    }
}

/* Off the list of those held, before it is freed. */
static void forget_held(struct pg_conn *conn)
{
    struct pg_conn **at = &conn->worker->conns.held;
    while (conn->is_held && *at != conn)
        at = &(*at)->next_held;
    if (conn->is_held)
        *at = conn->next_held;
}

static void offer_again(struct pg_conn *conn)
{
    conn->reoffer = false;
    if (conn->pauses > 0 || conn->state != CONN_OPEN)
        return;
    if (conn->tail_len > 0)
        offer(conn, (struct pg_bytes){.data = conn->tail, .len = conn->tail_len});
    if (conn->state == CONN_OPEN && conn->pauses == 0 && conn->eof)
        pg_conn_close(conn, PG_PEER_CLOSED, NULL);
    set_reading(conn);
}

/* ---- output ---------------------------------------------------------------------------------- */

static struct out_chunk *new_chunk(struct pg_conn *conn)
{
    struct pg_conn_part *part = &conn->worker->conns;
    struct out_chunk *chunk = part->spare;
    if (chunk) {
        part->spare = chunk->next;
        part->spare_count--;
    } else {
        chunk = malloc(CHUNK_SIZE);
        if (!chunk)
            return NULL;
    }
    *chunk = (struct out_chunk){.data = chunk->bytes, .room = CHUNK_ROOM};
    return chunk;
}

static void free_chunk(struct pg_conn *conn, struct out_chunk *chunk)
{
    struct pg_conn_part *part = &conn->worker->conns;
    if (chunk->msg) {
        pg_msg_unref(&chunk->msg);
        free(chunk);
    } else if (part->spare_count < SPARE_CHUNKS) {
        chunk->next = part->spare;
        part->spare = chunk;
        part->spare_count++;
    } else {
        free(chunk);
    }
}

static void link_chunk(struct pg_conn *conn, struct out_chunk *chunk)
{
    chunk->next = NULL;
    *conn->out_end = chunk;
    conn->out_end = &chunk->next;
}

static struct out_chunk *last_chunk(struct pg_conn *conn)
{
    if (!conn->out)
        return NULL;
    return (struct out_chunk *)((uint8_t *)conn->out_end - offsetof(struct out_chunk, next));
}

static void drop_output(struct pg_conn *conn)
{
    while (conn->out) {
        struct out_chunk *chunk = conn->out;
        conn->out = chunk->next;
        free_chunk(conn, chunk);
    }
    conn->out_end = &conn->out;
    conn->out_bytes = 0;
}

/* Whether output may still be queued: goodbyes are written while closing. */
static bool takes_output(const struct pg_conn *conn)
{
    return conn->state == CONN_OPEN || conn->state == CONN_CLOSING;
}

static void queued(struct pg_conn *conn, size_t n)
{
    conn->out_bytes += n;
    mark_dirty(conn);
}

/* Somewhere to write to when there is no memory left: the connection is being closed, and what is
 * written here goes nowhere. */
static _Thread_local uint8_t nowhere[PG_RESERVE_MAX];

uint8_t *pg_conn_reserve(struct pg_conn *conn, size_t n)
{
    if (!takes_output(conn) || n > PG_RESERVE_MAX)
        return nowhere;
    struct out_chunk *last = last_chunk(conn);
    if (!last || last->room < n) {
        last = new_chunk(conn);
        if (!last) {
            pg_conn_close(conn, PG_NO_MEMORY, "while queueing output");
            return nowhere;
        }
        link_chunk(conn, last);
    }
    return (uint8_t *)last->data + last->len;
}

void pg_conn_commit(struct pg_conn *conn, size_t used)
{
    struct out_chunk *last = last_chunk(conn);
    if (!takes_output(conn) || !last || last->room < used)
        return;
    last->len += (uint32_t)used;
    last->room -= (uint32_t)used;
    queued(conn, used);
}

void pg_conn_append(struct pg_conn *conn, struct pg_bytes bytes)
{
    while (bytes.len > 0 && takes_output(conn)) {
        struct out_chunk *last = last_chunk(conn);
        size_t n = last && last->room > 0 ? last->room : PG_RESERVE_MAX;
        if (n > bytes.len)
            n = bytes.len;
        if (n > PG_RESERVE_MAX)
            n = PG_RESERVE_MAX;
        memcpy(pg_conn_reserve(conn, n), bytes.data, n);
        pg_conn_commit(conn, n);
        bytes.data += n;
        bytes.len -= n;
    }
}

void pg_conn_append_msg(struct pg_conn *conn, struct pg_msg *msg, struct pg_bytes bytes)
{
    if (bytes.len <= COPY_MAX) {
        pg_conn_append(conn, bytes);
        return;
    }
    if (!takes_output(conn))
        return;
    struct out_chunk *chunk = bytes.len <= UINT32_MAX ? malloc(sizeof(*chunk)) : NULL;
    if (!chunk) {
        pg_conn_close(conn, PG_NO_MEMORY, "while queueing output");
        return;
    }
    *chunk = (struct out_chunk){
        .msg = pg_msg_ref(msg),
        .data = bytes.data,
        .len = (uint32_t)bytes.len,
    };
    link_chunk(conn, chunk);
    queued(conn, bytes.len);
}

bool pg_conn_has_room(const struct pg_conn *conn)
{
    if (conn->state != CONN_OPEN)
        return false;
    if (conn->out_bytes < (size_t)settings_of(conn)->limits.output_high)
        return true;
    ((struct pg_conn *)conn)->starved = true; /* remembered so that deliveries resume */
    return false;
}

size_t pg_conn_queued_bytes(const struct pg_conn *conn)
{
    return conn->out_bytes;
}

/* Gather up to IOV_BATCH chunks; the number of bytes is put in *bytes. */
static int gather(const struct pg_conn *conn, struct iovec *iov, size_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (struct out_chunk *c = conn->out; c && n < IOV_BATCH; c = c->next) {
        if (c->len == 0)
            continue;
        iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)c->data, .iov_len = c->len};
        *bytes += c->len;
    }
    return n;
}

/* Forget the first `n` bytes of output. */
static void sent(struct pg_conn *conn, size_t n)
{
    conn->out_bytes -= n;
    while (conn->out && n >= conn->out->len) {
        struct out_chunk *chunk = conn->out;
        n -= chunk->len;
        conn->out = chunk->next;
        free_chunk(conn, chunk);
    }
    if (!conn->out)
        conn->out_end = &conn->out;
    if (n > 0) {
        conn->out->data += n;
        conn->out->len -= (uint32_t)n;
    }
}

static void become_dead(struct pg_conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    if (conn->state == CONN_OPEN)
        pg_conn_close(conn, PG_NETWORK_ERROR, NULL);
    pg_timer_stop(&conn->timer);
    drop_output(conn);
    drop_tail(conn);
    transport_of(conn)->close(conn->link_state);
    mark_dirty(conn); /* its clients still have to end */
    conn->state = CONN_DEAD;
}

static void linger(struct pg_conn *conn)
{
    if (conn->eof || conn->reason == PG_NETWORK_ERROR) {
        become_dead(conn);
        return;
    }
    conn->state = CONN_LINGERING;
    transport_of(conn)->shutdown(conn->link_state);
}

static void write_out(struct pg_conn *conn)
{
    struct iovec iov[IOV_BATCH];
    while (conn->out_bytes > 0 && !conn->blocked) {
        size_t offered;
        int n = gather(conn, iov, &offered);
        ssize_t taken = transport_of(conn)->writev(conn->link_state, iov, n);
        if (taken < 0) {
            pg_conn_broken(conn, errno);
            return;
        }
        count(conn, PG_COUNT_WRITES, 1);
        count(conn, PG_COUNT_BYTES_SENT, (uint64_t)taken);
        if (taken > 0 && !pg_conn_wants_bytes(conn))
            pg_conn_alive(conn); /* the only sign of life that is looked for meanwhile */
        sent(conn, (size_t)taken);
        conn->blocked = (size_t)taken < offered;
    }
    transport_of(conn)->want_write(conn->link_state, conn->blocked);
}

/* After the output changed: cut off, resume deliveries, finish closing. */
static void after_write(struct pg_conn *conn)
{
    const struct pg_settings *s = settings_of(conn);
    size_t high = (size_t)s->limits.output_high;
    if (conn->state == CONN_OPEN && conn->out_bytes > (size_t)s->limits.output_max) {
        pg_conn_close(conn, PG_SLOW_CONSUMER, "%zu bytes are waiting to be sent", conn->out_bytes);
        become_dead(conn); /* a peer that does not read gets no goodbye either */
        return;
    }
    if (conn->starved && conn->out_bytes <= high / 2) {
        conn->starved = false;
        for (struct pg_client *c = conn->clients; c; c = pg_client_next(c))
            pg_client_make_ready(c);
    }
    if (conn->state == CONN_CLOSING && conn->out_bytes == 0)
        linger(conn);
    else if (conn->state == CONN_OPEN)
        set_reading(conn);
}

void pg_conn_writable(struct pg_conn *conn)
{
    conn->blocked = false;
    mark_dirty(conn);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void on_deadline(struct pg_timer *timer)
{
    struct pg_conn *conn = (struct pg_conn *)((uint8_t *)timer - offsetof(struct pg_conn, timer));
    int64_t now = conn->worker->now_ms;
    switch ((enum conn_deadline)conn->deadline) {
    case DEADLINE_FIRST_BYTE:
        pg_conn_close(conn, PG_FIRST_BYTE_TIMEOUT, "see limits.first_byte_timeout");
        break;
    case DEADLINE_LOGIN:
        pg_conn_close(conn, PG_LOGIN_TIMEOUT, "see limits.login_timeout");
        break;
    case DEADLINE_IDLE:
        if (now - conn->alive_ms >= conn->idle_ms)
            pg_conn_close(conn, (enum pg_reason)conn->idle_reason, "silent for %lld ms",
                          (long long)(now - conn->alive_ms));
        else
            pg_timer_start(timer, conn->alive_ms + conn->idle_ms - now, on_deadline);
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
    conn->deadline = DEADLINE_IDLE;
    conn->idle_ms = ms;
    conn->idle_reason = (uint8_t)reason;
    conn->alive_ms = conn->worker->now_ms;
    if (ms > 0)
        pg_timer_start(&conn->timer, ms, on_deadline);
    else
        pg_timer_stop(&conn->timer);
}

void pg_conn_alive(struct pg_conn *conn)
{
    conn->alive_ms = conn->worker->now_ms;
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
    struct pg_bytes client =
        conn->clients ? pg_client_id(conn->clients) : (struct pg_bytes){.data = NULL, .len = 0};
    enum pg_level level = pg_reason_is_error(reason) ? PG_WARN : PG_INFO;
    if (!conn->logged_in && reason == PG_PEER_CLOSED)
        level = PG_DEBUG; /* port probes and health checks */
    PG_LOG(level, "closed", PG_F_REASON(reason), PG_F_BYTES("client", client),
           PG_F_TEXT("peer", conn->peer), PG_F_TEXT("listener", conn->listener->name),
           PG_F_TEXT("detail", detail), PG_F_INT("conn", conn->id));
    for (const struct pg_client *c = conn->clients; c; c = pg_client_next(c))
        pg_why_note(pg_client_id(c), PG_WHY_CLOSED, reason, detail);
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
    if (conn->state == CONN_OPEN && conn->pauses > 0 && conn->tail_len > 0) {
        set_reading(conn); /* what was read before the end is still to be handled */
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

static void flush(struct pg_conn *conn)
{
    if (conn->reoffer)
        offer_again(conn);
    if (conn->state != CONN_OPEN)
        pg_clients_conn_closed(conn);
    if (conn->state == CONN_DEAD) {
        conn->next_dirty = conn->worker->conns.dead;
        conn->worker->conns.dead = conn;
        return;
    }
    write_out(conn);
    if (conn->state != CONN_DEAD)
        after_write(conn);
}

void pg_conns_flush(struct pg_worker *worker)
{
    struct pg_conn_part *part = &worker->conns;
    struct pg_conn *conn = part->dirty;
    part->dirty = NULL;
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
    forget_held(conn);
    if (protocol_of(conn)->closed)
        protocol_of(conn)->closed(conn);
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    worker->conns.count--;
    atomic_fetch_sub(&worker->server->connections, 1);
    count(conn, PG_COUNT_CONNECTIONS_CLOSED, 1);
    conn->magic = 0;
    struct pg_config *config = conn->config;
    free(conn);
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
