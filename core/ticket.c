/* SPDX-License-Identifier: Apache-2.0 */

/* Tickets; see ticket.h. A result is worse the more of an error it is; PG_OK wins over
 * PG_NO_SUBSCRIBERS, since one session that took the message is somebody who has it. */

#include "ticket.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "conn.h"
#include "message.h"
#include "server.h"
#include "worker_parts.h"

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

static struct pg_ticket *new_ticket(struct pg_worker *home, struct pg_bytes about)
{
    struct pg_ticket *ticket = calloc(1, sizeof(*ticket) + about.len);
    if (!ticket)
        return NULL;
    ticket->home = home;
    ticket->done.fn = completed;
    atomic_init(&ticket->holds, 1);
    atomic_init(&ticket->worst, PG_NO_SUBSCRIBERS);
    ticket->about_len = about.len;
    if (about.len > 0)
        memcpy(ticket->about, about.data, about.len);
    return ticket;
}

struct pg_ticket *pg_ticket_new(struct pg_client *client, uint64_t token, struct pg_bytes about,
                                void (*answered)(struct pg_client *client,
                                                 const struct pg_ticket *ticket,
                                                 enum pg_reason reason))
{
    struct pg_ticket *ticket = new_ticket(pg_conn_worker(pg_client_conn(client)), about);
    if (!ticket)
        return NULL;
    ticket->token = token;
    ticket->answered = answered;
    if (!pg_client_link_ticket(client, ticket)) {
        free(ticket);
        return NULL;
    }
    return ticket;
}

struct pg_ticket *pg_ticket_of_nobody(struct pg_worker *home, struct pg_msg *received)
{
    struct pg_ticket *ticket = new_ticket(home, PG_BYTES_NONE);
    if (ticket)
        ticket->received = pg_msg_ref(received);
    return ticket;
}

void pg_ticket_hold(struct pg_ticket *ticket)
{
    atomic_fetch_add_explicit(&ticket->holds, 1, memory_order_relaxed);
}

static void answer(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_ticket *ticket = (struct pg_ticket *)task;
    enum pg_reason reason = (enum pg_reason)atomic_load(&ticket->worst);
    /* If not everybody has it and its client cannot be told, it stays: it goes to the others when
     * the store is opened the next time. */
    if (ticket->received && (ticket->client || !pg_reason_is_error(reason)))
        worker->server->store->ops->routed(worker->server->store, ticket->received);
    if (ticket->client) {
        struct pg_client *client = ticket->client;
        pg_client_unlink_ticket(ticket);
        ticket->answered(client, ticket, reason);
    }
    pg_msg_unref(&ticket->received);
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
