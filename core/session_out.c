/* SPDX-License-Identifier: Apache-2.0 */

/* A session's deliveries that are out, and its inbound receipts.
 *
 * QoS 1 and 2 get an identifier when they are handed out, and stay in a table, slot id modulo size,
 * until they are settled, through any number of connections. Inbound QoS 2 identifiers are a set.
 *
 * Standard behind the rules: MQTT 5.0 4.3 (QoS), 4.4 (redelivery), 4.9 (flow control). Everything
 * runs on the session's worker. */

#include "session_flow.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "conn.h"
#include "message.h"
#include "mount.h"
#include "registry.h"
#include "router.h"
#include "server.h"
#include "subscription.h"
#include "ticket.h"
#include "why.h"
#include "worker_parts.h"

void pg_session_settle_stored(struct pg_session *session, const struct pg_entry *entry)
{
    struct pg_store *store = session->worker->server->store;
    if (entry->number != 0 && session->kept)
        store->ops->settle(store, session->kept->handle, entry->number);
}

/* ---- deliveries ------------------------------------------------------------------------------ */

static struct pg_out *find_out(const struct pg_session *session, uint16_t id)
{
    const struct pg_traffic *t = session->traffic;
    if (!t || t->out_size == 0 || id == 0)
        return NULL;
    struct pg_out *out = &t->outs[id & (t->out_size - 1)];
    return out->state != OUT_FREE && out->id == id ? out : NULL;
}

static bool grow_outs(struct pg_traffic *t)
{
    if (t->out_count * 2 < t->out_size || t->out_size == 65536)
        return true;
    uint32_t size = t->out_size ? t->out_size * 2 : FIRST_OUTS;
    struct pg_out *outs = calloc(size, sizeof(*outs));
    if (!outs)
        return false;
    for (uint32_t i = 0; i < t->out_size; i++)
        if (t->outs[i].state != OUT_FREE)
            outs[t->outs[i].id & (size - 1)] = t->outs[i];
    free(t->outs);
    t->outs = outs;
    t->out_size = size;
    return true;
}

/* A free identifier with its slot. Never one that is out; never 0; the table has room. */
static struct pg_out *new_out(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (!grow_outs(t))
        return NULL;
    for (;;) {
        uint16_t id = ++session->next_id;
        if (id == 0)
            continue;
        struct pg_out *out = &t->outs[id & (t->out_size - 1)];
        if (out->state == OUT_FREE) {
            out->id = id;
            return out;
        }
    }
}

static void fill(struct pg_delivery *out, const struct pg_entry *entry)
{
    *out = (struct pg_delivery){
        .msg = entry->msg,
        .qos = entry->qos,
        .retain = entry->retain,
        .redelivered = entry->tries > 0,
        .tries = entry->tries,
    };
    if (entry->many_ids) {
        out->subscription_ids = entry->many_ids + 1;
        out->subscription_id_count = entry->many_ids[0];
    } else if (entry->one_id != 0) {
        out->subscription_ids = &entry->one_id;
        out->subscription_id_count = 1;
    }
}

void pg_session_leave_window(struct pg_traffic *t, const struct pg_out *out)
{
    if (out->entry.msg)
        t->out_bytes -= out->entry.msg->payload.len;
}

static bool next_resend(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    while (t->resend_at < t->resend_count) {
        struct pg_out *o = find_out(session, t->resend[t->resend_at++]);
        if (!o)
            continue; /* settled meanwhile */
        fill(out, &o->entry);
        out->id = o->id;
        out->redelivered = true;
        out->received = o->state == OUT_RECEIVED;
        pg_session_count(session, PG_COUNT_MESSAGES_REDELIVERED, 1);
        return true;
    }
    free(t->resend);
    t->resend = NULL;
    t->resend_at = t->resend_count = 0;
    return false;
}

/* QoS 0 is settled by being taken; the session keeps the entry until the next call. */
static void take_unsettled(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    struct pg_entry entry;
    pg_session_pop(session, &entry);
    t->lent = entry.msg;
    t->lent_ids = entry.many_ids;
    t->lent_id = entry.one_id;
    fill(out, &entry);
    if (!entry.many_ids && entry.one_id != 0)
        out->subscription_ids = &t->lent_id;
}

static bool window_has_room(const struct pg_session *session, const struct pg_msg *msg)
{
    const struct pg_traffic *t = session->traffic;
    if (t->out_count >= session->window)
        return false;
    int64_t most = pg_session_settings(session)->session.inflight_bytes;
    return most == 0 || t->out_count == 0 || t->out_bytes + msg->payload.len <= (uint64_t)most;
}

/* From the queue. false: there is nothing, or the window is full. */
static bool next_queued(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    for (;;) {
        if (t->queue_count == 0)
            pg_session_refill(session);
        pg_session_read_ahead(session);
        struct pg_entry *entry = pg_session_front(session);
        if (!entry)
            return false;
        if (pg_msg_expired(entry->msg)) {
            struct pg_entry late;
            pg_session_pop(session, &late);
            pg_session_drop(session, &late, PG_EXPIRED);
            continue;
        }
        if (entry->qos == 0) {
            take_unsettled(session, out);
            return true;
        }
        struct pg_out *o = window_has_room(session, entry->msg) ? new_out(session) : NULL;
        if (!o)
            return false;
        pg_session_pop(session, &o->entry);
        o->state = OUT_SENT;
        o->order = t->out_order++;
        t->out_count++;
        t->out_bytes += o->entry.msg->payload.len;
        fill(out, &o->entry);
        out->id = o->id;
        return true;
    }
}

/* Behind a listener with a prefix of topics a client is lent a message without it. false: out of
 * memory, and the connection closes. */
static bool show(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_conn *conn = pg_client_conn(session->client);
    struct pg_bytes prefix = pg_conn_topic_prefix(conn);
    if (prefix.len == 0 || !out->msg)
        return true;
    struct pg_session_part *part = &session->worker->sessions;
    pg_msg_unref(&part->shown);
    part->shown = pg_mount_leave(prefix, out->msg);
    out->msg = part->shown;
    if (!out->msg)
        pg_conn_close(conn, PG_NO_MEMORY, "while taking the prefix from a topic");
    return out->msg != NULL;
}

bool pg_delivery_next(struct pg_client *client, struct pg_delivery *out)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_traffic *t = session ? session->traffic : NULL;
    if (!t)
        return false;
    pg_traffic_forget_lent(t);
    if (t->resend && next_resend(session, out))
        return show(session, out);
    if (!next_queued(session, out)) {
        pg_session_quieten(session);
        return false;
    }
    pg_session_count(session, PG_COUNT_MESSAGES_DELIVERED, 1);
    return show(session, out);
}

bool pg_delivery_received(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? find_out(session, id) : NULL;
    if (!out || out->entry.qos != 2)
        return false;
    if (out->entry.number != 0 && session->kept) {
        struct pg_store *store = session->worker->server->store;
        store->ops->received(store, session->kept->handle, out->entry.number, NULL);
    }
    pg_session_leave_window(session->traffic, out);
    pg_entry_clear(&out->entry);
    out->state = OUT_RECEIVED;
    if (session->traffic->queue_count > 0)
        pg_session_make_ready(session); /* it may have waited for the bytes */
    return true;
}

bool pg_delivery_settle(struct pg_client *client, uint16_t id, enum pg_reason reason)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? find_out(session, id) : NULL;
    if (!out)
        return false;
    pg_session_settle_stored(session, &out->entry);
    pg_session_leave_window(session->traffic, out);
    pg_entry_clear(&out->entry);
    out->state = OUT_FREE;
    struct pg_traffic *t = session->traffic;
    t->out_count--;
    pg_session_count(session,
                     reason == PG_OK ? PG_COUNT_DELIVERIES_SETTLED : PG_COUNT_DELIVERIES_FAILED, 1);
    if (t->queue_count > 0 || t->walks)
        pg_session_make_ready(session);
    else
        pg_session_quieten(session);
    return true;
}

bool pg_delivery_return(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? find_out(session, id) : NULL;
    if (!out || out->state == OUT_RECEIVED)
        return false;
    struct pg_entry entry = out->entry;
    struct pg_traffic *t = session->traffic;
    pg_session_leave_window(t, out);
    out->state = OUT_FREE;
    t->out_count--;
    pg_session_count(session, PG_COUNT_DELIVERIES_RETURNED, 1);
    if (entry.share != PG_NODE_NONE) {
        /* To the next one before it leaves this one's part of the store. */
        pg_router_reshare(session->worker, entry.msg, entry.share, pg_entry_tried(&entry), session);
        pg_session_settle_stored(session, &entry);
        pg_entry_clear(&entry);
    } else {
        const struct pg_entry before = {.number = entry.number};
        entry.tries = pg_entry_tried(&entry);
        if (entry.number != 0)
            pg_session_enqueue(session, &entry, NULL); /* with a number behind all others */
        else
            (void)pg_session_push(session, &entry);
        pg_session_settle_stored(session, &before);
    }
    if (t->queue_count > 0 || t->walks)
        pg_session_make_ready(session);
    else
        pg_session_quieten(session);
    return true;
}

bool pg_delivery_outstanding(const struct pg_client *client, uint16_t id,
                             struct pg_outstanding *out)
{
    const struct pg_session *session = pg_client_session(client);
    const struct pg_out *o = session ? find_out(session, id) : NULL;
    if (!o)
        return false;
    out->received = o->state == OUT_RECEIVED;
    out->qos = out->received ? 2 : o->entry.qos;
    return true;
}

/* ---- resending -------- */

int pg_out_by_order(const void *a, const void *b)
{
    const struct pg_out *x = *(const struct pg_out *const *)a,
                        *y = *(const struct pg_out *const *)b;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* List what is out, in the order of handing out, to be handed out again. */
void pg_session_plan_resend(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (!t)
        return;
    free(t->resend);
    t->resend = NULL;
    t->resend_at = t->resend_count = 0;
    if (t->out_count == 0)
        return;
    const struct pg_out **sorted = malloc(t->out_count * sizeof(struct pg_out *));
    t->resend = malloc(t->out_count * sizeof(*t->resend));
    if (!sorted || !t->resend) {
        free(sorted);
        free(t->resend);
        t->resend = NULL;
        pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY, "while resuming the session");
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->out_size; i++)
        if (t->outs[i].state != OUT_FREE)
            sorted[n++] = &t->outs[i];
    qsort(sorted, n, sizeof(struct pg_out *), pg_out_by_order);
    for (uint32_t i = 0; i < n; i++)
        t->resend[i] = sorted[i]->id;
    t->resend_count = n;
    free(sorted);
}

/* ---- receipts -------------------------------------------------------------------------------- */

/* The identifiers are a set by open addressing; 0, which is none, marks a free slot. */

static uint32_t receipt_slot(const struct pg_traffic *t, uint16_t id)
{
    uint32_t mask = t->receipt_size - 1, at = id & mask;
    while (t->receipts[at] != 0 && t->receipts[at] != id)
        at = (at + 1) & mask;
    return at;
}

static bool grow_receipts(struct pg_traffic *t)
{
    if ((t->receipt_count + 1) * 2 <= t->receipt_size)
        return true;
    struct pg_traffic grown = {.receipt_size =
                                   t->receipt_size ? t->receipt_size * 2 : FIRST_RECEIPTS};
    grown.receipts = calloc(grown.receipt_size, sizeof(*grown.receipts));
    if (!grown.receipts)
        return false;
    for (uint32_t i = 0; i < t->receipt_size; i++)
        if (t->receipts[i] != 0)
            grown.receipts[receipt_slot(&grown, t->receipts[i])] = t->receipts[i];
    free(t->receipts);
    t->receipts = grown.receipts;
    t->receipt_size = grown.receipt_size;
    return true;
}

enum pg_reason pg_receipt_begin(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    if (!session || id == 0)
        return PG_INTERNAL;
    struct pg_traffic *t = pg_session_traffic(session);
    if (!t || !grow_receipts(t))
        return PG_NO_MEMORY;
    uint32_t at = receipt_slot(t, id);
    if (t->receipts[at] == id)
        return PG_DUPLICATE;
    if (t->receipt_count >= (uint64_t)pg_session_settings(session)->session.receipts)
        return PG_QUOTA_EXCEEDED;
    t->receipts[at] = id;
    t->receipt_count++;
    return PG_OK;
}

bool pg_receipt_end(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_traffic *t = session ? session->traffic : NULL;
    if (!t || t->receipt_count == 0 || id == 0)
        return false;
    uint32_t hole = receipt_slot(t, id), mask = t->receipt_size - 1;
    if (t->receipts[hole] != id)
        return false;
    t->receipts[hole] = 0;
    t->receipt_count--;
    /* Move up whoever would no longer be found past the hole. */
    for (uint32_t at = (hole + 1) & mask; t->receipts[at] != 0; at = (at + 1) & mask) {
        uint32_t home = t->receipts[at] & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->receipts[hole] = t->receipts[at];
            t->receipts[at] = 0;
            hole = at;
        }
    }
    pg_session_quieten(session);
    return true;
}

size_t pg_receipt_count(const struct pg_client *client)
{
    const struct pg_session *session = pg_client_session(client);
    return session && session->traffic ? session->traffic->receipt_count : 0;
}
