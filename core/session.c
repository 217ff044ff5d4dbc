/* SPDX-License-Identifier: Apache-2.0 */

/* Sessions: how they are made, attached to clients, moved and ended.
 *
 * What flows is in struct pg_traffic, which a session has only while something does; it is taken
 * from and given back to the worker, so that a silent session costs little and a delivery allocates
 * nothing. The queue of what waits is in session_queue.c, what is out in session_out.c.
 *
 * Delivery is a pull: a session with something to take is put on its worker's ready list; at the
 * end of the turn the frontend's `deliver` takes with pg_delivery_next() as much as its connection
 * and its window allow.
 *
 * Standard behind the rules: MQTT 5.0 4.1 (session state). How clients come and go is in client.c,
 * moves between workers in takeover.c. */

#include "session_flow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "message.h"
#include "registry.h"
#include "router.h"
#include "server.h"
#include "subscription.h"
#include "ticket.h"
#include "why.h"
#include "worker_parts.h"

#define SPARE_TRAFFIC 1024u

unsigned pg_session_owner(const struct pg_session *session)
{
    return session->worker->index;
}

/* ---- the worker's part ----------------------------------------------------------------------- */

void pg_sessions_init(struct pg_session_part *part)
{
    *part = (struct pg_session_part){.ready = NULL};
    part->ready_end = &part->ready;
}

void pg_session_make_ready(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (session->is_ready || session->state != SESSION_LIVE || !session->client || !t)
        return;
    struct pg_session_part *part = &session->worker->sessions;
    session->is_ready = true;
    t->next_ready = NULL;
    *part->ready_end = session;
    part->ready_end = &t->next_ready;
}

static void leave_ready_list(struct pg_session *session)
{
    if (!session->is_ready)
        return;
    struct pg_session_part *part = &session->worker->sessions;
    struct pg_session **at = &part->ready;
    while (*at != session)
        at = &(*at)->traffic->next_ready;
    *at = session->traffic->next_ready;
    if (part->ready_end == &session->traffic->next_ready)
        part->ready_end = at;
    session->is_ready = false;
}

void pg_sessions_deliver(struct pg_worker *worker)
{
    struct pg_session_part *part = &worker->sessions;
    /* Those that become ready again meanwhile have their turn in the next round. */
    struct pg_session **end = part->ready_end;
    while (part->ready) {
        struct pg_session *session = part->ready;
        bool last = end == &session->traffic->next_ready;
        part->ready = session->traffic->next_ready;
        if (!part->ready)
            part->ready_end = &part->ready;
        session->is_ready = false;
        pg_session_quieten(session);
        if (session->traffic && session->client && session->state == SESSION_LIVE) {
            struct pg_conn **since = worker->conns.dirty_end;
            pg_client_deliver(session->client);
            pg_conns_write_since(worker, since);
        }
        if (last)
            break;
    }
}

static void free_tables(struct pg_traffic *t)
{
    free(t->outs);
    free(t->receipts);
}

static void free_one(void *arg, struct pg_session *session)
{
    (void)arg;
    pg_session_free(&session);
}

void pg_sessions_free(struct pg_worker *worker)
{
    struct pg_session_part *part = &worker->sessions;
    pg_wills_cancel(worker);
    pg_msg_unref(&part->shown);
    pg_registry_clear(worker->server->registry, worker->index, free_one, NULL);
    pg_queue_free_spare(part);
    while (part->spare_traffic) {
        struct pg_traffic *traffic = part->spare_traffic;
        part->spare_traffic = traffic->next;
        free_tables(traffic);
        free(traffic);
    }
}

/* ---- traffic --------------------------------------------------------------------------------- */

/* The session's, made if it has none; NULL: out of memory. */
struct pg_traffic *pg_session_traffic(struct pg_session *session)
{
    if (session->traffic)
        return session->traffic;
    struct pg_session_part *part = &session->worker->sessions;
    struct pg_traffic *traffic = part->spare_traffic;
    if (traffic) {
        part->spare_traffic = traffic->next;
        part->spare_traffic_count--;
    } else {
        traffic = calloc(1, sizeof(*traffic));
        if (!traffic)
            return NULL;
    }
    session->traffic = traffic;
    return traffic;
}

/* The QoS 0 message handed out last. */
void pg_traffic_forget_lent(struct pg_traffic *t)
{
    pg_msg_unref(&t->lent);
    free(t->lent_ids);
    t->lent_ids = NULL;
}

/* Nothing flows in it any more. Small tables stay with it, so that a session that now and then has
 * one message does not allocate each time. */
static void give_back(struct pg_worker *worker, struct pg_traffic *t)
{
    struct pg_session_part *part = &worker->sessions;
    bool small = t->out_size <= FIRST_OUTS && t->receipt_size <= FIRST_RECEIPTS;
    if (!small || part->spare_traffic_count >= SPARE_TRAFFIC) {
        free_tables(t);
        free(t);
        return;
    }
    *t = (struct pg_traffic){
        .next = part->spare_traffic,
        .outs = t->outs,
        .out_size = t->out_size,
        .receipts = t->receipts,
        .receipt_size = t->receipt_size,
    };
    part->spare_traffic = t;
    part->spare_traffic_count++;
}

/* If nothing flows any more, let go of it; on the ready list, when it has come to its turn. */
void pg_session_quieten(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (!t || session->is_ready || t->queue_count > 0 || t->out_count > 0 || t->receipt_count > 0 ||
        t->walks || t->held_count > 0 || t->has_fresh || t->lent || t->due)
        return;
    pg_traffic_forget_lent(t);
    free(t->held);
    session->traffic = NULL;
    give_back(session->worker, t);
}

/* ---- life ------------------------------------------------------------------------------------ */

static size_t session_size(size_t id_len)
{
    return offsetof(struct pg_session, id) + id_len;
}

struct pg_session *pg_session_new(struct pg_worker *worker, struct pg_bytes client_id)
{
    struct pg_session *session = pg_slab_set_new(&worker->small, session_size(client_id.len));
    if (!session)
        return NULL;
    session->state = SESSION_JOINING;
    session->worker = worker;
    session->id_len = (uint16_t)client_id.len;
    memcpy(session->id, client_id.data, client_id.len);
    return session;
}

void pg_entry_clear(struct pg_entry *entry)
{
    pg_msg_unref(&entry->msg);
    free(entry->many_ids);
    entry->many_ids = NULL;
}

void pg_session_drop(struct pg_session *session, struct pg_entry *entry, enum pg_reason reason)
{
    pg_session_count(session, PG_COUNT_MESSAGES_DROPPED, 1);
    pg_session_count(session, PG_COUNTER_REFUSE(reason), 1);
    if (reason != PG_SESSION_EXPIRED) {
        pg_why_note_bytes(pg_session_id(session), PG_WHY_DROPPED, reason, entry->msg->topic);
        PG_LOG(PG_WARN, "dropped", PG_F_REASON(reason),
               PG_F_BYTES("client", pg_session_id(session)), PG_F_BYTES("topic", entry->msg->topic),
               PG_F_INT("qos", entry->qos));
    }
    pg_session_settle_stored(session, entry);
    pg_entry_clear(entry);
}

/* A delivery leaves with the session, after so many tries: a member of the same shared subscription
 * takes it over, any other is dropped. */
static void give_up(struct pg_session *session, struct pg_entry *entry, bool pass_on, uint8_t tries)
{
    if (pass_on && entry->share != PG_NODE_NONE && entry->msg)
        pg_router_reshare(session->worker, entry->msg, entry->share, tries, NULL);
    else if (pass_on && entry->msg && entry->qos > 0)
        pg_session_count(session, PG_COUNT_MESSAGES_DROPPED, 1);
    pg_entry_clear(entry); /* from the store it goes with the session */
}

static void free_walks(struct pg_traffic *t)
{
    while (t->walks) {
        struct pg_session_walk *w = t->walks;
        t->walks = w->next;
        pg_retained_walk_close(&w->walk);
        free(w);
    }
}

/* Whatever is queued or out, in order, is passed on or let go. */
static void free_deliveries(struct pg_session *session, bool pass_on)
{
    struct pg_traffic *t = session->traffic;
    struct pg_out **sorted =
        t->out_count > 0 ? malloc(t->out_count * sizeof(struct pg_out *)) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->out_size; i++) {
        struct pg_out *out = &t->outs[i];
        if (out->state == OUT_FREE)
            continue;
        if (sorted)
            sorted[n++] = out;
        else
            give_up(session, &out->entry, pass_on && out->entry.qos != 2,
                    pg_entry_tried(&out->entry)); /* in any order */
    }
    if (sorted)
        qsort(sorted, n, sizeof(struct pg_out *), pg_out_by_order);
    /* QoS 2 that was sent must not reach another member: MQTT 5.0 4.8.2. */
    for (uint32_t i = 0; i < n; i++)
        give_up(session, &sorted[i]->entry, pass_on && sorted[i]->entry.qos != 2,
                pg_entry_tried(&sorted[i]->entry));
    free(sorted);
    struct pg_entry entry;
    while (pg_session_pop(session, &entry))
        give_up(session, &entry, pass_on, entry.tries);
}

static void free_traffic(struct pg_session *session, bool pass_on)
{
    struct pg_traffic *t = session->traffic;
    if (!t)
        return;
    free_walks(t);
    free_deliveries(session, pass_on);
    for (uint32_t i = 0; i < t->held_count; i++) {
        pg_entry_clear(&t->held[i].entry);
        if (t->held[i].ticket)
            pg_ticket_done(t->held[i].ticket, PG_NO_SUBSCRIBERS);
    }
    free(t->held);
    pg_traffic_forget_lent(t);
    pg_session_forget_due(t);
    free_tables(t);
    free(t);
    session->traffic = NULL;
}

void pg_session_free(struct pg_session **where)
{
    struct pg_session *session = *where;
    *where = NULL;
    struct pg_worker *worker = session->worker;
    bool running = pg_worker_current() && !worker->stopped;
    leave_ready_list(session);
    pg_session_end_absence(session);
    pg_subscriptions_drop_all(session);
    free_traffic(session, running);
    (void)pg_session_let_go(session);
    if (session->will)
        pg_will_free(&session->will);
    pg_session_free_shell(&session);
}

void pg_session_release(struct pg_session *session)
{
    leave_ready_list(session);
}

void pg_session_free_shell(struct pg_session **where)
{
    struct pg_session *session = *where;
    *where = NULL;
    pg_slab_set_free(&session->worker->small, session, session_size(session->id_len));
}

void pg_session_destroy(struct pg_session *session, enum pg_reason reason)
{
    struct pg_server *server = session->worker->server;
    PG_LOG(PG_DEBUG, "session_ended", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_session_id(session)));
    struct pg_store_session *handle = pg_session_let_go(session);
    if (handle)
        server->store->ops->session_drop(server->store, handle, NULL);
    pg_session_count(session, PG_COUNT_SESSIONS_DESTROYED, 1);
    pg_registry_remove(server->registry, session);
    pg_session_free(&session);
}

/* ---- attaching and moving -------------------------------------------------------------------- */

bool pg_session_begin_absence(struct pg_session *session, int64_t since_wall_ms,
                              void (*expired)(struct pg_timer *timer))
{
    struct pg_absence *absence = calloc(1, sizeof(*absence));
    if (!absence)
        return false;
    assert(session->state == SESSION_LIVE && !session->absence && !session->client);
    absence->session = session;
    absence->since_wall_ms = since_wall_ms;
    session->absence = absence;
    if (session->expiry_s == PG_FOREVER)
        return true;
    int64_t left_ms = since_wall_ms + (int64_t)session->expiry_s * 1000 - pg_wall_ms();
    pg_timer_start(&absence->timer, left_ms > 0 ? left_ms : 0, expired);
    return true;
}

void pg_session_end_absence(struct pg_session *session)
{
    if (session->state != SESSION_LIVE || !session->absence)
        return;
    pg_timer_stop(&session->absence->timer);
    free(session->absence);
    session->absence = NULL;
}

void pg_session_set_window(struct pg_session *session, uint32_t window)
{
    uint32_t most = (uint32_t)pg_session_settings(session)->session.inflight;
    if (window == 0 || window > most)
        window = most;
    session->window = (uint16_t)(window > UINT16_MAX ? UINT16_MAX : window);
    if (session->traffic)
        pg_session_make_ready(session);
}

void pg_session_attach(struct pg_session *session, struct pg_client *client, uint32_t window)
{
    session->client = client;
    pg_session_set_window(session, window);
    session->state = SESSION_LIVE;
    pg_session_end_absence(session);
    pg_subscriptions_set_active(session, true);
    pg_session_read_ahead(session);
    pg_session_plan_due(session);
    if (session->traffic)
        pg_session_make_ready(session);
}

void pg_session_forget_client(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    session->client = NULL;
    pg_subscriptions_set_active(session, false);
    if (!t) {
        pg_session_unload(session);
        return;
    }
    pg_traffic_forget_lent(t);
    pg_session_forget_due(t);
    pg_session_unload(session);
    pg_session_quieten(session);
}

void pg_session_adopt(struct pg_session *to, struct pg_session *from, const uint64_t *seen)
{
    struct pg_traffic *held = to->traffic;
    to->traffic = NULL;
    if (from) {
        to->traffic = from->traffic;
        to->next_id = from->next_id;
        to->kept = from->kept;
        from->kept = NULL;
        from->traffic = NULL;
    }
    for (uint32_t i = 0; held && i < held->held_count; i++) {
        struct pg_held *h = &held->held[i];
        bool twice = h->from != PG_HELD_ALWAYS && h->seq <= seen[h->from];
        if (twice)
            pg_entry_clear(&h->entry);
        else if (to->kept && h->entry.qos > 0)
            pg_session_enqueue(to, &h->entry, h->ticket);
        else
            (void)pg_session_push(to, &h->entry);
        if (h->ticket)
            pg_ticket_done(h->ticket, twice ? PG_NO_SUBSCRIBERS : PG_OK);
    }
    if (held) {
        free(held->held);
        give_back(to->worker, held);
    }
    /* Fan-outs are numbered by each worker: the number of one must not be taken for another's. */
    if (to->traffic)
        to->traffic->stamped = NULL;
}
