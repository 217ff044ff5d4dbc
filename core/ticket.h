/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TICKET_H
#define PG_TICKET_H

/* A client's question to the store that is out: it is answered when every request that it caused,
 * on any worker, has completed. For publications, subscriptions and admissions. The ticket itself
 * is what the store completes, so that a request needs no allocation. */

#include "polygate.h"
#include "store.h"
#include "worker.h"

struct pg_ticket {
    struct pg_task task;       /* first */
    struct pg_store_done done; /* for as many requests as there are holds */
    /* On home, unless the client has gone. */
    void (*answered)(struct pg_client *client, const struct pg_ticket *ticket,
                     enum pg_reason reason);
    struct pg_msg *received; /* a message that the store keeps until everybody has it; or NULL */
    struct pg_worker *home;
    struct pg_client *client;       /* home's thread; NULL once the client has gone */
    struct pg_ticket *next, **link; /* the client's open tickets */
    uint64_t token;
    _Atomic unsigned holds;
    _Atomic int worst; /* enum pg_reason */
    /* What `answered` wants to know. */
    uint16_t receipt; /* of QoS 2; 0: none */
    bool added;       /* the subscription is a new one */
    bool retained;    /* and wants retained messages */
    size_t about_len;
    uint8_t about[]; /* a filter */
};

/* A ticket with one hold, linked to the client. `about` is copied. NULL: out of memory. */
struct pg_ticket *pg_ticket_new(struct pg_client *client, uint64_t token, struct pg_bytes about,
                                void (*answered)(struct pg_client *client,
                                                 const struct pg_ticket *ticket,
                                                 enum pg_reason reason));
/* One of nobody, for a message that the store keeps until everybody has it; a reference is
 * taken. */
struct pg_ticket *pg_ticket_of_nobody(struct pg_worker *home, struct pg_msg *received);
static inline struct pg_bytes pg_ticket_about(const struct pg_ticket *ticket)
{
    return (struct pg_bytes){.data = ticket->about, .len = ticket->about_len};
}
void pg_ticket_hold(struct pg_ticket *ticket); /* any thread */
/* Whether others have holds than the one who asks, its maker. */
static inline bool pg_ticket_waits(const struct pg_ticket *ticket)
{
    return atomic_load_explicit(&ticket->holds, memory_order_relaxed) > 1;
}
/* Let go of one hold with its result; the last one answers the client with the worst. Any
 * thread. */
void pg_ticket_done(struct pg_ticket *ticket, enum pg_reason reason);

/* What to give to a store request, with a hold of its own; NULL for no ticket. */
static inline struct pg_store_done *pg_ticket_for_store(struct pg_ticket *ticket)
{
    if (!ticket)
        return NULL;
    pg_ticket_hold(ticket);
    return &ticket->done;
}

#endif
