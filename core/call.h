/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CALL_H
#define PG_CALL_H

/* The connections that the gateway makes: one for each block of a frontend that calls (struct
 * pg_protocol, `calls`), made again when it has ended, on one worker for as long as the block
 * stays. */

#include "config.h"

struct pg_call;  /* a block that is called for; belongs to its worker */
struct pg_calls; /* those of one configuration, on their way to the workers */
struct pg_conn;
struct pg_worker;

/* Make what the blocks of a configuration need, so that nothing can fail later; `config` NULL:
 * there are none. NULL: out of memory. Main thread. */
struct pg_calls *pg_calls_prepare(struct pg_config *config, unsigned workers) PG_CHECKED;
/* It does not come to it. */
void pg_calls_abandon(struct pg_calls **calls);
/* From now on the blocks of this worker are its share of these. A connection whose block is there
 * as before, to the same address, goes on, and the next one is made by the new block; others end.
 * Each worker does it once, at the same time as others. */
void pg_calls_change(struct pg_worker *worker, struct pg_calls *calls);
/* Every worker has. Main thread. */
void pg_calls_changed(struct pg_calls **calls);
/* With every thread gone, and every connection. */
void pg_calls_free(struct pg_worker *worker);

/* The connection is about to be freed. On its worker, as all that follows. */
void pg_call_ended(struct pg_conn *conn);
/* Bytes can flow on it. */
void pg_call_connected(struct pg_conn *conn);
/* Something that the frontend counts (pg_conn_count()) of this connection. */
void pg_call_count(struct pg_conn *conn, size_t index, uint64_t n);

/* A worker's part. */
struct pg_call_part {
    struct pg_call *first;
    struct pg_call *opening; /* whose connection is just being opened; NULL: none */
};

enum pg_call_stage { PG_CALL_WAITING, PG_CALL_CALLING, PG_CALL_CONNECTED, PG_CALL_WELCOMED };

/* How a block stands, for the API. Lent for the turn. */
struct pg_call_view {
    const struct pg_listener_conf *conf;
    enum pg_call_stage state;
    int64_t since_ms;        /* pg_now_ms() when it came into that state */
    int64_t next_ms;         /* PG_CALL_WAITING: of the next call */
    uint64_t tries;          /* calls since one was welcomed */
    enum pg_reason reason;   /* why the last connection ended; PG_OK: none has */
    const uint64_t *counted; /* by the rows of the frontend's counters */
};
/* The next block after `call` (NULL: the first) of this worker; NULL: there are no more. */
const struct pg_call *pg_call_next(const struct pg_worker *worker, const struct pg_call *call);
void pg_call_look(const struct pg_call *call, struct pg_call_view *view);

#endif
