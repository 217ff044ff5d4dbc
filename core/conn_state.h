/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONN_STATE_H
#define PG_CONN_STATE_H

/* A connection from inside: between conn.c, conn_input.c and conn_output.c. On the connection's
 * worker. */

#include <string.h>

#include "config.h"
#include "peer.h"
#include "transport.h"
#include "worker_parts.h"

/* The worker's read buffer: room for the longest kept head of a frame and one read behind it. */
#define READ_SIZE         (64u * 1024)
#define TAIL_IN_PLACE_MAX (16u * 1024)
#define READ_BUFFER_SIZE  (TAIL_IN_PLACE_MAX + READ_SIZE)

struct tail; /* conn_input.c */
struct pg_meter;

struct out_chunk {
    struct out_chunk *next;
    struct pg_msg *msg;  /* referenced range, or NULL: own bytes */
    const uint8_t *data; /* first byte not yet sent */
    uint32_t len;        /* bytes not yet sent */
    uint32_t room;       /* free bytes behind them; 0 for a reference */
    size_t total;        /* in the last chunk: bytes not yet sent of the whole list */
    uint8_t bytes[];
};

enum conn_state {
    CONN_OPEN,      /* bytes go both ways */
    CONN_CLOSING,   /* the reason is set; clients end; queued output leaves until the deadline */
    CONN_LINGERING, /* everything sent and half closed; input is discarded until EOF or deadline */
    CONN_DEAD,      /* the link is closed; on the worker's list of the dead */
};

enum conn_deadline {
    DEADLINE_HANDSHAKE,  /* the transport's handshake is under way */
    DEADLINE_FIRST_BYTE, /* nothing has come yet */
    DEADLINE_LOGIN,      /* no client admitted yet */
    DEADLINE_IDLE,       /* the frontend's own, see pg_conn_set_idle */
    DEADLINE_LINGER,     /* closing */
};

/* Its size matters: it exists once per connection, in one block with
 *   - in front of it the transport's state, of transport->link_size,
 *   - behind it the frontend's state, of protocol->conn_size,
 * each at a multiple of STATE_ALIGN: so each is found from the others, without a pointer. */
struct pg_conn {
    uint32_t magic;
    uint8_t state : 4;    /* enum conn_state */
    uint8_t deadline : 4; /* enum conn_deadline: what `timer` waits for */
    uint8_t reason;       /* enum pg_reason, once closing */
    uint8_t idle_reason;  /* enum pg_reason */
    bool is_dirty : 1;    /* on the worker's dirty list */
    bool starved : 1;     /* a delivery was held back for want of room */
    bool blocked : 1;     /* waits for pg_conn_writable */
    bool reoffer : 1;     /* resumed: the tail is offered again at the end of the turn */
    bool eof : 1;         /* the peer has sent its last byte */
    bool logged_in : 1;
    bool is_held : 1;   /* among the worker's that wait for other workers */
    bool is_slowed : 1; /* not read for a while, for what came too fast */
    uint32_t client_count : 21;
    uint32_t pauses : 11;
    uint32_t frame_limit;
    uint32_t alive_ms; /* when the peer was last heard of: the low bits of the worker's clock */
    uint32_t idle_ms;
    uint64_t id;
    struct pg_worker *worker;
    const struct pg_listener_conf *listener; /* its configuration is shared */
    struct pg_conn *next, **link;            /* all connections of the worker */
    struct pg_conn *next_dirty;              /* dirty, later dead */
    struct pg_client *clients;
    struct tail *tail;      /* NULL: none */
    struct out_chunk *last; /* of the output, which is a ring: the first comes after the last */
    struct pg_peer peer;
    struct pg_timer timer;
};
#define STATE_ALIGN 8u
_Static_assert(sizeof(struct pg_conn) <= 136, "a silent connection is small");
_Static_assert(sizeof(struct pg_conn) % STATE_ALIGN == 0, "the frontend's state is aligned");

static inline const struct pg_settings *settings_of(const struct pg_conn *conn)
{
    return &conn->listener->config->settings;
}

static inline const struct pg_protocol *protocol_of(const struct pg_conn *conn)
{
    return conn->listener->protocol;
}

static inline const struct pg_transport *transport_of(const struct pg_conn *conn)
{
    return conn->listener->transport;
}

static inline uint8_t *state_of(const struct pg_conn *conn)
{
    return (uint8_t *)(uintptr_t)(conn + 1);
}

static inline size_t aligned(size_t n)
{
    return (n + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
}

static inline uint8_t *link_of(const struct pg_conn *conn)
{
    return (uint8_t *)(uintptr_t)conn - aligned(transport_of(conn)->link_size);
}

/* Bytes of output that are queued. */
static inline size_t out_bytes(const struct pg_conn *conn)
{
    return conn->last ? conn->last->total : 0;
}

static inline void count(struct pg_conn *conn, size_t counter, uint64_t n)
{
    pg_worker_count(conn->worker, counter, n);
}

static inline void mark_dirty(struct pg_conn *conn)
{
    if (conn->is_dirty || conn->state == CONN_DEAD)
        return;
    struct pg_conn_part *part = &conn->worker->conns;
    conn->is_dirty = true;
    conn->next_dirty = NULL;
    *part->dirty_end = conn;
    part->dirty_end = &conn->next_dirty;
}

/* For the log. Lent. */
static inline struct pg_bytes first_client_id(const struct pg_conn *conn)
{
    return conn->clients ? pg_client_id(conn->clients) : PG_BYTES_NONE;
}

/* ---- conn.c ---- */

/* The first bytes have come: login_timeout runs from when it opened. */
void pg_conn_arm_login_deadline(struct pg_conn *conn);

/* ---- conn_input.c ---- */

/* Have the transport read, or leave the peer's bytes in the kernel: pg_conn_wants_bytes(). */
void pg_conn_set_reading(struct pg_conn *conn);
/* Resumed: what was kept is offered, and reading goes on. */
void pg_conn_offer_again(struct pg_conn *conn);
/* What was kept of an unfinished frame is forgotten. */
void pg_conn_drop_input(struct pg_conn *conn);
/* No longer among those held, before it is freed. */
void pg_conn_forget_held(struct pg_conn *conn);

/* ---- conn_output.c ---- */

/* Free the output chunks that are kept for reuse. */
void pg_conns_free_spare(struct pg_conn_part *part);
/* Everything that was queued is forgotten. */
void pg_conn_drop_output(struct pg_conn *conn);
/* Hand to the transport what is queued, as much as it takes. The connection may be dead then. */
void pg_conn_write_out(struct pg_conn *conn);

#endif
