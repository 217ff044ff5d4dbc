/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TICKET_H
#define PG_TICKET_H

/* A publisher's question that is out: it is answered when every store operation that its message
 * caused, on any worker, has completed. Made only for stores that may answer later. */

#include "polygate.h"
#include "worker.h"

struct pg_ticket {
    struct pg_task task; /* first */
    struct pg_worker *home;
    struct pg_client *client;       /* home's thread; NULL once the client has gone */
    struct pg_ticket *next, **link; /* the client's open tickets */
    uint64_t token;
    _Atomic unsigned holds;
    _Atomic int worst; /* enum pg_reason */
};

/* A ticket with one hold, linked to the client. NULL: out of memory. */
struct pg_ticket *pg_ticket_new(struct pg_client *client, uint64_t token);
void pg_ticket_hold(struct pg_ticket *ticket); /* any thread */
/* Let go of one hold with its result; the last one answers the client with the worst. Any thread.
 */
void pg_ticket_done(struct pg_ticket *ticket, enum pg_reason reason);

#endif
