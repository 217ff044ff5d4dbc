/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONN_PARTS_H
#define PG_CONN_PARTS_H

/* A worker's connections; conn.c owns all of it. */

#include "polygate.h"

struct pg_conn;
struct pg_worker;
struct out_chunk;

/* A publisher's connection that is not read until those that it gives work to have caught up. */
struct pg_held_conn {
    struct pg_conn *conn;
    bool for_store; /* and not for the other workers alone */
};

struct pg_conn_part {
    struct pg_conn *all; /* every connection of this worker */
    /* Those with something to do at the end of the turn, in the order in which they got it, then
     * those that come after them. */
    struct pg_conn *dirty, **dirty_end;
    struct pg_conn *put_off, **put_off_end;
    struct pg_conn *dead; /* closed, to be freed at the end of the turn */
    size_t count;
    uint8_t *read_buffer; /* shared by all; an idle connection holds none */
    uint32_t expect;      /* pg_conn_expect() of the bytes that are being offered */
    struct pg_held_conn *held;
    size_t held_count, held_size, held_for_store;
    struct {
        struct out_chunk *first;
        size_t count;
    } spare[2]; /* output chunks for reuse, short and long ones */
};

bool pg_conns_init(struct pg_conn_part *part);
void pg_conns_free(struct pg_conn_part *part);
static inline size_t pg_conns_count(const struct pg_conn_part *part)
{
    return part->count;
}
static inline bool pg_conns_dirty(const struct pg_conn_part *part)
{
    return part->dirty != NULL;
}
/* Those that have something to write so far come after those that are still to get something, in
 * the next pg_conns_flush(). */
void pg_conns_put_off(struct pg_worker *worker);
/* A delivery has just been made, and `since` is what `dirty_end` was before. Write at once what it
 * queued, if nothing else was queued for that connection and no other client of it may still get
 * something: the bytes are in the processor's cache, and their chunks serve the next connection.
 * Any other connection is left to pg_conns_flush(). */
void pg_conns_write_since(struct pg_worker *worker, struct pg_conn **since);
/* Offer held-back bytes again, end the clients of closing connections, write what is queued. */
void pg_conns_flush(struct pg_worker *worker);
/* A publisher's connection: do not read on while another worker lags behind (router.h), or, if what
 * it publishes goes to the store, while that does. */
void pg_conns_hold_if_congested(struct pg_conn *conn, bool stores);
/* Read on from those held, if the others have caught up. */
void pg_conns_release_held(struct pg_worker *worker);
/* Free what was closed in this turn. */
void pg_conns_reap(struct pg_worker *worker);
/* Say goodbye on every connection with PG_DRAINING and close it once its output has left. */
void pg_conns_drain(struct pg_worker *worker);
/* Close every connection at once, without waiting for output. */
void pg_conns_close_all(struct pg_worker *worker);

#endif
