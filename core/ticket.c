/* SPDX-License-Identifier: Apache-2.0 */

/* Tickets; see ticket.h. A result is worse the more of an error it is; PG_OK wins over
 * PG_NO_SUBSCRIBERS, since one store that took the message is somebody who has it. */

#include "ticket.h"

#include <stdlib.h>

#include "client.h"
#include "conn.h"

static int rank(enum pg_reason reason)
{
    if (reason == PG_NO_SUBSCRIBERS)
        return 0;
    return pg_reason_is_error(reason) ? 2 : 1;
}

/* On the store's thread. */
static void completed(struct pg_store_done *done, enum pg_reason result)
{
    pg_ticket_done((struct pg_ticket *)((uint8_t *)done - offsetof(struct pg_ticket, done)),
                   result);
}

struct pg_ticket *pg_ticket_new(struct pg_client *client, uint64_t token,
                                void (*answered)(struct pg_client *client, uint64_t token,
                                                 enum pg_reason reason))
{
    struct pg_ticket *ticket = calloc(1, sizeof(*ticket));
    if (!ticket)
        return NULL;
    ticket->home = pg_conn_worker(pg_client_conn(client));
    ticket->token = token;
    ticket->answered = answered;
    ticket->done.fn = completed;
    atomic_init(&ticket->holds, 1);
    atomic_init(&ticket->worst, PG_NO_SUBSCRIBERS);
    if (!pg_client_link_ticket(client, ticket)) {
        free(ticket);
        return NULL;
    }
    return ticket;
}

void pg_ticket_hold(struct pg_ticket *ticket)
{
    atomic_fetch_add_explicit(&ticket->holds, 1, memory_order_relaxed);
}

static void answer(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_ticket *ticket = (struct pg_ticket *)task;
    if (ticket->client) {
        struct pg_client *client = ticket->client;
        pg_client_unlink_ticket(ticket);
        ticket->answered(client, ticket->token, (enum pg_reason)atomic_load(&ticket->worst));
    }
    free(ticket);
}

void pg_ticket_done(struct pg_ticket *ticket, enum pg_reason reason)
{
    int seen = atomic_load_explicit(&ticket->worst, memory_order_relaxed);
    while (rank(reason) > rank((enum pg_reason)seen) &&
           !atomic_compare_exchange_weak(&ticket->worst, &seen, (int)reason))
        continue;
    if (atomic_fetch_sub_explicit(&ticket->holds, 1, memory_order_acq_rel) != 1)
        return;
    ticket->task.run = answer;
    pg_worker_post(ticket->home, &ticket->task);
}
