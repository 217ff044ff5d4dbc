/* SPDX-License-Identifier: Apache-2.0 */

/* A session's deliveries that are out, and its inbound receipts.
 *
 * QoS 1 and 2 get an identifier when they are handed out, and stay in a table, slot id modulo size,
 * until they are settled, through any number of connections. Inbound QoS 2 identifiers are a set.
 *
 * A session that is kept tells the store what goes out. QoS 1 does not wait for that: a message may
 * come twice. QoS 2 does, twice:
 *
 *   taken from the queue --> SENDING --stored--> SENT --PUBREC--> RECEIVING --stored--> RECEIVED
 *                                                 |                 (without a store at once)  |
 *   restored --> ABSENT --read from the store-----+                       free <--PUBCOMP------+
 *
 * What waits for the store stands in the list of what is due, and holds up what is behind it, so
 * that the order is that of the queue.
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

/* ---- deliveries ------------------------------------------------------------------------------ */

struct pg_out *pg_session_find_out(const struct pg_session *session, uint16_t id)
{
    const struct pg_traffic *t = session->traffic;
    if (!t || t->out_size == 0 || id == 0)
        return NULL;
    struct pg_out *out = &t->outs[id & (t->out_size - 1)];
    return out->state != OUT_FREE && out->id == id ? out : NULL;
}

struct pg_out *pg_session_out_of(const struct pg_session *session, uint64_t number)
{
    const struct pg_traffic *t = session->traffic;
    for (uint32_t i = 0; t && t->out_count > 0 && i < t->out_size; i++)
        if (t->outs[i].state != OUT_FREE && t->outs[i].entry.number == number)
            return &t->outs[i];
    return NULL;
}

/* The table with twice the slots, or the first one. */
static bool double_outs(struct pg_traffic *t)
{
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

static bool grow_outs(struct pg_traffic *t)
{
    return t->out_count * 2 < t->out_size || t->out_size == 65536 || double_outs(t);
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

static void no_longer_waits(struct pg_traffic *t, struct pg_out *out)
{
    t->waiting_count -= out->waits;
    out->waits = false;
}

void pg_session_leave_window(struct pg_traffic *t, struct pg_out *out)
{
    no_longer_waits(t, out);
    if (out->entry.msg)
        t->out_bytes -= out->entry.msg->payload.len;
}

/* ---- what is due ----------------------------------------------------------------------------- */

void pg_session_forget_due(struct pg_traffic *t)
{
    free(t->due);
    t->due = NULL;
    t->due_at = t->due_count = t->due_size = 0;
}

void pg_session_add_due(struct pg_session *session, uint16_t id)
{
    struct pg_traffic *t = session->traffic;
    if (t->due_count == t->due_size) {
        uint32_t size = t->due_size ? t->due_size * 2 : 16;
        uint16_t *due = realloc(t->due, size * sizeof(*due));
        if (!due) {
            pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY, "for its deliveries");
            return;
        }
        t->due = due;
        t->due_size = size;
    }
    t->due[t->due_count++] = id;
}

/* What was out before may be more than the window of this connection, which begins anew with it
 * (MQTT 5.0 4.9). Absent ones were not sent on it either. */
static bool window_is_full(const struct pg_session *session)
{
    const struct pg_traffic *t = session->traffic;
    return t->out_count - t->absent_count - t->waiting_count >= session->window;
}

/* false: nothing is due, the window is full, or the store has not answered. Releases go past messages
 * that wait for room, as that may be made by them. */
static bool next_due(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    for (uint32_t at = t->due_at; at < t->due_count; at++) {
        struct pg_out *o = pg_session_find_out(session, t->due[at]);
        if (o && (o->state == OUT_SENDING || o->state == OUT_RECEIVING))
            return false;
        if (o && o->state == OUT_SENT && window_is_full(session))
            continue;
        t->due[at] = 0;
        t->due_at += at == t->due_at;
        if (!o)
            continue; /* settled meanwhile */
        no_longer_waits(t, o);
        fill(out, &o->entry);
        out->id = o->id;
        out->redelivered = o->handed || o->entry.tries > 0;
        out->received = o->state == OUT_RECEIVED;
        if (o->handed)
            pg_session_count(session, PG_COUNT_MESSAGES_REDELIVERED, 1);
        else if (!out->received)
            pg_session_count(session, PG_COUNT_MESSAGES_DELIVERED, 1);
        o->handed = true;
        return true;
    }
    if (t->due_at == t->due_count)
        pg_session_forget_due(t);
    return false;
}

/* ---- the queue ------------------------------------------------------------------------------- */

/* QoS 0 is settled by being taken; the session keeps the entry until the next call. */
static void take_unsettled(struct pg_session *session, const struct pg_entry *front,
                           struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    if (session->kept)
        pg_session_settle_stored(session, front);
    t->lent = front->msg;
    t->lent_ids = front->many_ids;
    t->lent_id = front->one_id;
    fill(out, front);
    if (!front->many_ids && front->one_id != 0)
        out->subscription_ids = &t->lent_id;
    pg_session_drop_front(session);
}

static bool window_has_room(const struct pg_session *session, const struct pg_msg *msg)
{
    const struct pg_traffic *t = session->traffic;
    if (t->out_count >= session->window)
        return false;
    int64_t most = pg_session_settings(session)->session.inflight_bytes;
    return most == 0 || t->out_count == 0 || t->out_bytes + msg->payload.len <= (uint64_t)most;
}

/* The front of the queue goes out; NULL: the window is full. */
static struct pg_out *send_front(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    bool room = window_has_room(session, pg_session_front(session)->msg);
    struct pg_out *o = room ? new_out(session) : NULL;
    if (!o)
        return NULL;
    pg_session_pop(session, &o->entry);
    bool kept = session->kept && o->entry.number != 0;
    o->state = kept && o->entry.qos == 2 ? OUT_SENDING : OUT_SENT;
    o->handed = o->state == OUT_SENT;
    o->waits = !o->handed;
    t->waiting_count += o->waits;
    o->order = t->out_order++;
    t->out_count++;
    t->out_bytes += o->entry.msg->payload.len;
    if (o->state == OUT_SENDING)
        pg_session_add_due(session, o->id);
    if (kept)
        pg_session_step(session, o);
    return o;
}

/* From the queue. false: there is nothing, the window is full, or the store has to know first. */
static bool next_queued(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    for (;;) {
        if (t->queue_count == 0)
            pg_session_refill(session);
        if (session->kept)
            pg_session_read_ahead(session);
        struct pg_entry *entry = pg_session_front(session);
        if (!entry)
            return false;
        if (entry->msg->expires_ms != PG_NEVER && pg_msg_expired(entry->msg)) {
            struct pg_entry late;
            pg_session_pop(session, &late);
            /* Identifiers follow the order of the queue: the one that it would have had is spent.
             * Nothing depends on that but tests of other brokers, which count so. */
            if (late.qos > 0)
                session->next_id++;
            pg_session_drop(session, &late, PG_EXPIRED);
            continue;
        }
        bool steps = entry->qos == 2 && entry->number != 0 && session->kept;
        if (t->due && !steps)
            return false; /* behind those that wait for the store */
        if (entry->qos == 0) {
            take_unsettled(session, entry, out);
            return true;
        }
        struct pg_out *o = send_front(session);
        if (!o)
            return false;
        if (steps)
            continue;
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
    if (t->lent)
        pg_traffic_forget_lent(t);
    if (t->due && next_due(session, out))
        return show(session, out);
    if (!next_queued(session, out)) {
        pg_session_quieten(session);
        return false;
    }
    pg_session_count(session, PG_COUNT_MESSAGES_DELIVERED, 1);
    return show(session, out);
}

bool pg_delivery_received(struct pg_client *client, uint16_t id, bool *later)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? pg_session_find_out(session, id) : NULL;
    *later = false;
    if (!out || out->entry.qos != 2 || out->state == OUT_SENDING)
        return false;
    if (out->state == OUT_SENT) {
        pg_session_leave_window(session->traffic, out);
        pg_entry_clear(&out->entry);
        out->state = session->kept && out->entry.number != 0 ? OUT_RECEIVING : OUT_RECEIVED;
        if (out->state == OUT_RECEIVING) {
            out->handed = false;
            pg_session_add_due(session, id);
            pg_session_step(session, out);
        }
        if (session->traffic->queue_count > 0)
            pg_session_make_ready(session); /* it may have waited for the bytes */
    }
    *later = out->state == OUT_RECEIVING;
    return true;
}

bool pg_delivery_settle(struct pg_client *client, uint16_t id, enum pg_reason reason)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? pg_session_find_out(session, id) : NULL;
    if (!out)
        return false;
    struct pg_traffic *t = session->traffic;
    t->absent_count -= out->state == OUT_ABSENT;
    pg_session_settle_stored(session, &out->entry);
    pg_session_leave_window(session->traffic, out);
    pg_entry_clear(&out->entry);
    out->state = OUT_FREE;
    t->out_count--;
    pg_session_count(session,
                     reason == PG_OK ? PG_COUNT_DELIVERIES_SETTLED : PG_COUNT_DELIVERIES_FAILED, 1);
    if (t->queue_count > 0 || t->walks || t->due)
        pg_session_make_ready(session);
    else
        pg_session_quieten(session);
    return true;
}

bool pg_delivery_return(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? pg_session_find_out(session, id) : NULL;
    if (!out || out->state != OUT_SENT)
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
    if (t->queue_count > 0 || t->walks || t->due)
        pg_session_make_ready(session);
    else
        pg_session_quieten(session);
    return true;
}

bool pg_delivery_outstanding(const struct pg_client *client, uint16_t id,
                             struct pg_outstanding *out)
{
    const struct pg_session *session = pg_client_session(client);
    const struct pg_out *o = session ? pg_session_find_out(session, id) : NULL;
    if (!o)
        return false;
    out->received = o->state == OUT_RECEIVED || o->state == OUT_RECEIVING;
    out->qos = out->received ? 2 : o->entry.qos;
    return true;
}

/* ---- coming back ----------------------------------------------------------------------------- */

int pg_out_by_order(const void *a, const void *b)
{
    const struct pg_out *x = *(const struct pg_out *const *)a,
                        *y = *(const struct pg_out *const *)b;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* List what is out, in the order of handing out, to be handed out again. Those that are absent come
 * when they are read. */
void pg_session_plan_due(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (!t)
        return;
    pg_session_forget_due(t);
    t->waiting_count = 0;
    if (t->out_count == t->absent_count)
        return;
    struct pg_out **sorted = malloc(t->out_count * sizeof(struct pg_out *));
    if (!sorted) {
        pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY, "while resuming the session");
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->out_size; i++)
        if (t->outs[i].state != OUT_FREE && t->outs[i].state != OUT_ABSENT)
            sorted[n++] = &t->outs[i];
    qsort(sorted, n, sizeof(struct pg_out *), pg_out_by_order);
    t->waiting_count = n;
    for (uint32_t i = 0; i < n; i++) {
        sorted[i]->waits = true;
        pg_session_add_due(session, sorted[i]->id);
        /* Whether the store was told is not known: once more does no harm. */
        if (sorted[i]->state == OUT_SENDING || sorted[i]->state == OUT_RECEIVING)
            pg_session_step(session, sorted[i]);
    }
    free(sorted);
}

bool pg_session_put_absent(struct pg_session *session, const struct pg_store_out *from)
{
    struct pg_traffic *t = pg_session_traffic(session);
    if (!t || from->packet_id == 0)
        return t != NULL;
    while (t->out_size == 0 || t->outs[from->packet_id & (t->out_size - 1)].state != OUT_FREE)
        if (t->out_size == 65536 || !double_outs(t))
            return false;
    struct pg_out *out = &t->outs[from->packet_id & (t->out_size - 1)];
    *out = (struct pg_out){
        .entry = {.number = from->number, .share = PG_NODE_NONE, .qos = from->received ? 2 : 1},
        .id = from->packet_id,
        .order = t->out_order++,
        .state = from->received ? OUT_RECEIVED : OUT_ABSENT,
        .handed = true,
    };
    t->out_count++;
    t->absent_count += out->state == OUT_ABSENT;
    session->next_id = from->packet_id;
    if (from->number > session->kept->absent_upto)
        session->kept->absent_upto = from->number;
    return true;
}

void pg_session_drop_absent(struct pg_session *session, uint64_t number)
{
    struct pg_traffic *t = session->traffic;
    for (uint32_t i = 0; t && t->absent_count > 0 && i < t->out_size; i++) {
        struct pg_out *out = &t->outs[i];
        if (out->state != OUT_ABSENT || out->entry.number >= number)
            continue;
        pg_session_settle_stored(session, &out->entry);
        pg_session_count(session, PG_COUNT_MESSAGES_DROPPED, 1);
        out->state = OUT_FREE;
        t->out_count--;
        t->absent_count--;
    }
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

enum pg_reason pg_receipt_put(struct pg_session *session, uint16_t id)
{
    struct pg_traffic *t = pg_session_traffic(session);
    if (!t || !grow_receipts(t))
        return PG_NO_MEMORY;
    uint32_t at = receipt_slot(t, id);
    if (t->receipts[at] == id)
        return PG_DUPLICATE;
    t->receipts[at] = id;
    t->receipt_count++;
    return PG_OK;
}

bool pg_receipt_held(const struct pg_session *session, uint16_t id)
{
    const struct pg_traffic *t = session->traffic;
    return t && t->receipt_count > 0 && id != 0 && t->receipts[receipt_slot(t, id)] == id;
}

bool pg_receipt_remove(struct pg_session *session, uint16_t id)
{
    struct pg_traffic *t = session->traffic;
    if (!pg_receipt_held(session, id))
        return false;
    uint32_t hole = receipt_slot(t, id), mask = t->receipt_size - 1;
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
