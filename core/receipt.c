/* SPDX-License-Identifier: Apache-2.0 */

/* Receipts in sessions that are kept; see receipt.h and the steps of QoS 2 in store.h.
 *
 *   pg_receipt_publish --> `receive`, stored --> routed to everybody, stored --> the client is told
 *
 * The client may go at any time, and come again on any worker: what the store has received is
 * published in any case, and a repeated PUBLISH finds the identifier held. When the store could not
 * receive it and nobody is there to be told, the session, wherever it is by then, lets go of the
 * identifier, so that the repeated PUBLISH is taken for what it is.
 *
 * Standard: MQTT 5.0 4.3.3. */

#include "receipt.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "registry.h"
#include "router.h"
#include "server.h"
#include "session_flow.h"
#include "store.h"
#include "ticket.h"
#include "worker_parts.h"

struct receive {
    struct pg_task task; /* first */
    struct pg_store_done done;
    struct pg_worker *worker;
    struct pg_msg *msg;
    struct pg_ticket *ticket; /* with a hold */
    enum pg_reason result;
    uint16_t id;
};

/* To the session of a client, wherever it is. */
struct forget {
    struct pg_task task; /* first */
    uint16_t id;
    size_t client_id_len;
    uint8_t client_id[];
};

static void forget(struct pg_task *task, struct pg_worker *worker)
{
    struct forget *f = (struct forget *)task;
    struct pg_bytes client_id = {.data = f->client_id, .len = f->client_id_len};
    struct pg_registered found = pg_registry_find(worker->server->registry, client_id);
    if (found.owner != PG_NO_OWNER &&
        (found.owner != worker->index || found.session->state == SESSION_JOINING)) {
        pg_worker_post(worker->server->workers[found.owner], &f->task);
        return;
    }
    if (found.owner != PG_NO_OWNER)
        (void)pg_receipt_remove(found.session, f->id);
    free(f);
}

static void forget_anywhere(struct pg_worker *worker, struct pg_bytes client_id, uint16_t id)
{
    struct forget *f = malloc(sizeof(*f) + client_id.len);
    if (!f) {
        PG_LOG(PG_ERROR, "receipt_stays", PG_F_REASON(PG_NO_MEMORY),
               PG_F_BYTES("client", client_id), PG_F_INT("id", id));
        return;
    }
    *f = (struct forget){.task.run = forget, .id = id, .client_id_len = client_id.len};
    if (client_id.len > 0)
        memcpy(f->client_id, client_id.data, client_id.len);
    forget(&f->task, worker);
}

static void received(struct pg_task *task, struct pg_worker *worker)
{
    struct receive *r = (struct receive *)task;
    enum pg_reason reason = r->result;
    if (!pg_reason_is_error(reason)) {
        r->ticket->received = pg_msg_ref(r->msg);
        reason = pg_router_publish(worker, r->msg, r->ticket);
    } else if (!r->ticket->client) {
        forget_anywhere(worker, r->msg->publisher, r->id);
    }
    pg_ticket_done(r->ticket, reason);
    pg_msg_unref(&r->msg);
    free(r);
}

/* On the store's thread. */
static void stored(struct pg_store_done *done, enum pg_reason result)
{
    struct receive *r = (struct receive *)((uint8_t *)done - offsetof(struct receive, done));
    r->result = result;
    pg_worker_post(r->worker, &r->task);
}

bool pg_receipt_publish(struct pg_session *session, uint16_t id, struct pg_msg *msg,
                        struct pg_ticket *ticket)
{
    struct receive *r = malloc(sizeof(*r));
    if (!r)
        return false;
    *r = (struct receive){
        .task.run = received,
        .done.fn = stored,
        .worker = session->worker,
        .msg = pg_msg_ref(msg),
        .ticket = ticket,
        .id = id,
    };
    pg_ticket_hold(ticket);
    struct pg_store *store = session->worker->server->store;
    store->ops->receive(store, session->kept->handle, id, msg, &r->done);
    return true;
}

void pg_receipt_refused(struct pg_session *session, uint16_t id)
{
    struct pg_store *store = session->worker->server->store;
    if (pg_receipt_remove(session, id) && session->kept)
        store->ops->release(store, session->kept->handle, id, NULL);
}
