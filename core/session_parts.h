/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SESSION_PARTS_H
#define PG_SESSION_PARTS_H

/* A worker's sessions; session.c owns all of it. */

#include "polygate.h"

struct pg_session;
struct pg_worker;
struct pg_traffic;
struct queue_chunk;

struct pg_session_part {
    struct pg_session *ready, **ready_end; /* their clients may have something to take */
    struct pg_session *fresh;              /* have something for the store */
    struct queue_chunk *spare;             /* for reuse */
    size_t spare_count;
    struct pg_traffic *spare_traffic;
    size_t spare_traffic_count;
    struct pg_msg *shown; /* what the client served last was lent in place of a message */
    /* Wills whose permission is being asked for (will.c). */
    struct pg_will_question *will_questions;
};

void pg_sessions_init(struct pg_session_part *part);
static inline bool pg_sessions_ready(const struct pg_session_part *part)
{
    return part->ready != NULL;
}
/* Call `deliver` of every client that may have something to take. */
void pg_sessions_deliver(struct pg_worker *worker);
/* At the very end: free all sessions of the worker. */
void pg_sessions_free(struct pg_worker *worker);

#endif
