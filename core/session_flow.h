/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SESSION_FLOW_H
#define PG_SESSION_FLOW_H

/* Between the parts of a session: session.c (life), session_queue.c (what waits) and session_out.c
 * (what is out). All on the session's worker. */

#include "server.h"
#include "session.h"
#include "ticket.h"
#include "worker_parts.h"

/* Sizes up to which tables stay with a traffic object that is kept for reuse. */
#define FIRST_OUTS     8u
#define FIRST_RECEIPTS 16u

static inline const struct pg_settings *pg_session_settings(const struct pg_session *session)
{
    return &atomic_load_explicit(&session->worker->server->config, memory_order_acquire)->settings;
}

static inline void pg_session_count(const struct pg_session *session, size_t counter, uint64_t n)
{
    pg_worker_count(session->worker, counter, n);
}

/* The session's traffic, made if it has none; NULL: out of memory. */
struct pg_traffic *pg_session_traffic(struct pg_session *session);
/* If nothing flows any more, let go of the traffic. */
void pg_session_quieten(struct pg_session *session);
/* Let go of the QoS 0 message handed out last. */
void pg_traffic_forget_lent(struct pg_traffic *t);

/* Put at the end of the queue, whatever the limits say; the entry is taken. NULL: out of memory. */
struct pg_entry *pg_session_append(struct pg_session *session, const struct pg_entry *entry);
/* The next entry; NULL: the queue is empty. */
struct pg_entry *pg_session_front(const struct pg_session *session);
/* Without it, which is there: what it holds has been taken over. */
void pg_session_drop_front(struct pg_session *session);
/* When the queue has run empty: put in the next few retained messages of open walks. */
void pg_session_refill(struct pg_session *session);
/* At the very end: free the chunks kept for reuse. */
void pg_queue_free_spare(struct pg_session_part *part);

/* An entry of a fan-out for a session that is kept; the entry is taken. */
void pg_session_stage(struct pg_session *session, const struct pg_entry *entry,
                      struct pg_ticket *ticket);
/* Whether such a message for a session that is kept goes to the store. */
bool pg_session_stores(const struct pg_session *session, uint8_t qos);
/* Put into the store, and into the queue if that is short and all in memory. The entry is taken. */
void pg_session_enqueue(struct pg_session *session, struct pg_entry *entry,
                        struct pg_ticket *ticket);
/* Ask for a page if there is something that is in the store alone, a client for it, and room. */
void pg_session_read_ahead(struct pg_session *session);
/* The client has gone: what the store has leaves the queue in memory. */
void pg_session_unload(struct pg_session *session);
/* Whether a subscription that is left would have let the entry in. */
bool pg_session_wants(struct pg_session *session, const struct pg_entry *entry);

/* `tries` of an entry after one more. */
static inline uint8_t pg_entry_tried(const struct pg_entry *entry)
{
    return entry->tries < UINT8_MAX ? (uint8_t)(entry->tries + 1) : entry->tries;
}

/* The store need not keep this entry any longer, if it does. */
void pg_session_settle_stored(struct pg_session *session, const struct pg_entry *entry);
/* The payload of a delivery that is out counts no more: the peer has it, or it is dropped. Before
 * the entry is cleared. */
void pg_session_leave_window(struct pg_traffic *t, struct pg_out *out);
/* For qsort() of pointers to struct pg_out: in the order of handing out. */
int pg_out_by_order(const void *a, const void *b);
/* List what is out, in that order, to be handed out again to the client that is attached. */
void pg_session_plan_due(struct pg_session *session);
void pg_session_forget_due(struct pg_traffic *t);
/* Hand it out when those that are due before it have been. Out of memory closes the connection. */
void pg_session_add_due(struct pg_session *session, uint16_t id);
struct pg_out *pg_session_find_out(const struct pg_session *session, uint16_t id);
/* That of an entry in the store; NULL: it is not out. */
struct pg_out *pg_session_out_of(const struct pg_session *session, uint64_t number);
/* Restored: a delivery that a former process has sent. false: out of memory. */
bool pg_session_put_absent(struct pg_session *session, const struct pg_store_out *from);
/* What the store knew to be out before entry `number`, and did not give, is there no more. */
void pg_session_drop_absent(struct pg_session *session, uint64_t number);
/* Put a receipt in. PG_OK, PG_DUPLICATE, PG_NO_MEMORY; no limit is looked at. */
enum pg_reason pg_receipt_put(struct pg_session *session, uint16_t id);
bool pg_receipt_held(const struct pg_session *session, uint16_t id);
/* false: it was not there. */
bool pg_receipt_remove(struct pg_session *session, uint16_t id);

/* Tell the store of a step of QoS 2 with this delivery; it goes on when that is safe. What cannot
 * be kept closes the connection: the client comes again for it. */
void pg_session_step(struct pg_session *session, const struct pg_out *out);
/* Nobody waits for steps that are out any more. */
void pg_session_forget_steps(struct pg_kept *kept);

#endif
