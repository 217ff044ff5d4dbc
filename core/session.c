/* SPDX-License-Identifier: Apache-2.0 */

/* Sessions: queue, deliveries that are out, inbound receipts.
 *
 * What flows is in struct pg_traffic, which a session has only while something does; like the small
 * chunks of entries that its queue is a list of, it is taken from and given back to the worker, so
 * that a silent session costs little and a delivery allocates nothing. An entry refers to its
 * message; payloads are never copied. The queue is bounded by count and by bytes
 * (session.queue_messages, session.queue_bytes, session.queue_policy).
 *
 * Delivery is a pull: a session with something to take is put on its worker's ready list; at the
 * end of the turn the frontend's `deliver` takes with pg_delivery_next() as much as its connection
 * and its window allow. QoS 1 and 2 get an identifier and stay in a table, slot id modulo size,
 * until they are settled, through any number of connections.
 *
 * Standard behind the rules: MQTT 5.0 4.1 (session state), 4.4 (redelivery), 4.6 (order), 4.9 (flow
 * control). How clients come and go is in client.c, moves between workers in takeover.c. */

#include "session.h"

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
#include "topic.h"
#include "why.h"
#include "worker_parts.h"

#define CHUNK_ENTRIES  12u
#define SPARE_CHUNKS   1024u
#define SPARE_TRAFFIC  1024u
#define FIRST_OUTS     8u
#define FIRST_RECEIPTS 16u
/* Retained messages put into the queue at a time, when it has run empty. */
#define WALK_BATCH 32u

struct queue_chunk {
    struct queue_chunk *next;
    uint32_t first, count; /* entries [first, first + count) are taken */
    struct pg_entry entries[CHUNK_ENTRIES];
};

static const struct pg_settings *settings_of(const struct pg_session *session)
{
    return &atomic_load_explicit(&session->worker->server->config, memory_order_acquire)->settings;
}

static void count(const struct pg_session *session, size_t counter, uint64_t n)
{
    pg_worker_count(session->worker, counter, n);
}

unsigned pg_session_owner(const struct pg_session *session)
{
    return session->worker->index;
}

static void quieten(struct pg_session *session);

/* ---- the worker's part ----------------------------------------------------------------------- */

void pg_sessions_init(struct pg_session_part *part)
{
    *part = (struct pg_session_part){.all = NULL};
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
        quieten(session);
        if (session->traffic && session->client && session->state == SESSION_LIVE)
            pg_client_deliver(session->client);
        if (last)
            break;
    }
}

static void free_tables(struct pg_traffic *t)
{
    free(t->outs);
    free(t->receipts);
}

void pg_sessions_free(struct pg_worker *worker)
{
    struct pg_session_part *part = &worker->sessions;
    pg_wills_cancel(worker);
    while (part->all) {
        struct pg_session *session = part->all;
        pg_session_free(&session);
    }
    while (part->spare) {
        struct queue_chunk *chunk = part->spare;
        part->spare = chunk->next;
        free(chunk);
    }
    while (part->spare_traffic) {
        struct pg_traffic *traffic = part->spare_traffic;
        part->spare_traffic = traffic->next;
        free_tables(traffic);
        free(traffic);
    }
}

/* ---- traffic --------------------------------------------------------------------------------- */

/* The session's, made if it has none; NULL: out of memory. */
static struct pg_traffic *traffic_of(struct pg_session *session)
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
static void forget_lent(struct pg_traffic *t)
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
static void quieten(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    if (!t || session->is_ready || t->queue_count > 0 || t->out_count > 0 || t->receipt_count > 0 ||
        t->walks || t->held_count > 0 || t->lent || t->resend)
        return;
    forget_lent(t);
    free(t->held);
    session->traffic = NULL;
    give_back(session->worker, t);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct pg_session *pg_session_new(struct pg_worker *worker, struct pg_bytes client_id)
{
    struct pg_session *session = calloc(1, offsetof(struct pg_session, id) + client_id.len);
    if (!session)
        return NULL;
    session->state = SESSION_JOINING;
    session->worker = worker;
    session->id_len = (uint16_t)client_id.len;
    memcpy(session->id, client_id.data, client_id.len);
    struct pg_session_part *part = &worker->sessions;
    session->next = part->all;
    if (session->next)
        session->next->link = &session->next;
    session->link = &part->all;
    part->all = session;
    part->count++;
    return session;
}

void pg_entry_clear(struct pg_entry *entry)
{
    pg_msg_unref(&entry->msg);
    free(entry->many_ids);
    entry->many_ids = NULL;
}

static void settle_in_store(struct pg_session *session, const struct pg_entry *entry)
{
    struct pg_store *store = session->worker->server->store;
    if (entry->stored && entry->msg)
        store->ops->settle(store, pg_session_id(session), entry->msg->id);
}

void pg_session_drop(struct pg_session *session, struct pg_entry *entry, enum pg_reason reason)
{
    count(session, PG_COUNT_MESSAGES_DROPPED, 1);
    count(session, PG_COUNTER_REFUSE(reason), 1);
    if (reason != PG_SESSION_EXPIRED) {
        pg_why_note_bytes(pg_session_id(session), PG_WHY_DROPPED, reason, entry->msg->topic);
        PG_LOG(PG_WARN, "dropped", PG_F_REASON(reason),
               PG_F_BYTES("client", pg_session_id(session)), PG_F_BYTES("topic", entry->msg->topic),
               PG_F_INT("qos", entry->qos));
    }
    settle_in_store(session, entry);
    pg_entry_clear(entry);
}

static uint8_t one_more(uint8_t tries)
{
    return tries < UINT8_MAX ? (uint8_t)(tries + 1) : tries;
}

/* A delivery leaves with the session, after so many tries: a member of the same shared subscription
 * takes it over, any other is dropped. */
static void give_up(struct pg_session *session, struct pg_entry *entry, bool pass_on, uint8_t tries)
{
    if (pass_on && entry->share != PG_NODE_NONE && entry->msg)
        pg_router_reshare(session->worker, entry->msg, entry->share, tries, NULL);
    else if (pass_on && entry->msg && entry->qos > 0)
        count(session, PG_COUNT_MESSAGES_DROPPED, 1);
    settle_in_store(session, entry);
    pg_entry_clear(entry);
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

static int by_order(const void *a, const void *b)
{
    const struct pg_out *x = *(const struct pg_out *const *)a,
                        *y = *(const struct pg_out *const *)b;
    return x->order < y->order ? -1 : x->order > y->order;
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
                    one_more(out->entry.tries)); /* in any order */
    }
    if (sorted)
        qsort(sorted, n, sizeof(struct pg_out *), by_order);
    /* QoS 2 that was sent must not reach another member: MQTT 5.0 4.8.2. */
    for (uint32_t i = 0; i < n; i++)
        give_up(session, &sorted[i]->entry, pass_on && sorted[i]->entry.qos != 2,
                one_more(sorted[i]->entry.tries));
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
    for (uint32_t i = 0; i < t->held_count; i++)
        pg_entry_clear(&t->held[i].entry);
    free(t->held);
    forget_lent(t);
    free(t->resend);
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
    if (session->will)
        pg_will_free(&session->will);
    pg_session_unlist(session);
    free(session);
}

void pg_session_unlist(struct pg_session *session)
{
    if (!session->link)
        return;
    leave_ready_list(session);
    *session->link = session->next;
    if (session->next)
        session->next->link = session->link;
    session->link = NULL;
    session->worker->sessions.count--;
}

void pg_session_free_shell(struct pg_session **where)
{
    struct pg_session *session = *where;
    *where = NULL;
    free(session);
}

void pg_session_destroy(struct pg_session *session, enum pg_reason reason)
{
    struct pg_server *server = session->worker->server;
    PG_LOG(PG_DEBUG, "session_ended", PG_F_REASON(reason),
           PG_F_BYTES("client", pg_session_id(session)));
    if (pg_session_durable(session))
        server->store->ops->session_drop(server->store, pg_session_id(session), NULL);
    count(session, PG_COUNT_SESSIONS_DESTROYED, 1);
    pg_registry_remove(server->registry, session);
    pg_session_free(&session);
}

/* ---- queue ----------------------------------------------------------------------------------- */

static struct queue_chunk *new_chunk(struct pg_worker *worker)
{
    struct pg_session_part *part = &worker->sessions;
    struct queue_chunk *chunk = part->spare;
    if (chunk) {
        part->spare = chunk->next;
        part->spare_count--;
    } else {
        chunk = malloc(sizeof(*chunk));
        if (!chunk)
            return NULL;
    }
    chunk->next = NULL;
    chunk->first = chunk->count = 0;
    return chunk;
}

static void free_chunk(struct pg_worker *worker, struct queue_chunk *chunk)
{
    struct pg_session_part *part = &worker->sessions;
    if (part->spare_count >= SPARE_CHUNKS) {
        free(chunk);
        return;
    }
    chunk->next = part->spare;
    part->spare = chunk;
    part->spare_count++;
}

/* Put at the end, whatever the limits say. */
static struct pg_entry *append(struct pg_session *session, const struct pg_entry *entry)
{
    struct pg_traffic *t = traffic_of(session);
    if (!t)
        return NULL;
    struct queue_chunk *tail = t->tail;
    if (!tail || tail->first + tail->count == CHUNK_ENTRIES) {
        struct queue_chunk *chunk = new_chunk(session->worker);
        if (!chunk)
            return NULL;
        if (tail)
            tail->next = chunk;
        else
            t->head = chunk;
        t->tail = tail = chunk;
    }
    struct pg_entry *at = &tail->entries[tail->first + tail->count++];
    *at = *entry;
    t->queue_count++;
    t->queue_bytes += pg_msg_size(entry->msg);
    return at;
}

static struct pg_entry *front(const struct pg_session *session)
{
    const struct pg_traffic *t = session->traffic;
    return t && t->queue_count > 0 ? &t->head->entries[t->head->first] : NULL;
}

bool pg_session_pop(struct pg_session *session, struct pg_entry *out)
{
    struct pg_traffic *t = session->traffic;
    struct pg_entry *entry = front(session);
    if (!entry)
        return false;
    *out = *entry;
    if (t->stamped == entry)
        t->stamped = NULL;
    t->queue_count--;
    t->queue_bytes -= pg_msg_size(entry->msg);
    struct queue_chunk *head = t->head;
    head->first++;
    if (--head->count == 0) {
        t->head = head->next;
        if (!t->head)
            t->tail = NULL;
        free_chunk(session->worker, head);
    }
    return true;
}

static bool over_limit(const struct pg_session *session, size_t more)
{
    const struct pg_traffic *t = session->traffic;
    if (!t)
        return false;
    const struct pg_settings *s = settings_of(session);
    return t->queue_count >= (uint64_t)s->session.queue_messages ||
           t->queue_bytes + more > (uint64_t)s->session.queue_bytes;
}

/* Make room by the configured policy, or refuse. */
static enum pg_reason make_room(struct pg_session *session, size_t more)
{
    if (!over_limit(session, more))
        return PG_OK;
    int policy = settings_of(session)->session.queue_policy;
    enum pg_reason reason = session->client ? PG_SLOW_CONSUMER : PG_QUEUE_FULL;
    if (policy == PG_QUEUE_DISCONNECT && session->client)
        pg_conn_close(pg_client_conn(session->client), PG_SLOW_CONSUMER,
                      "%u messages are queued; see session.queue_policy",
                      pg_session_queued(session));
    struct pg_entry oldest;
    while (policy == PG_QUEUE_DROP_OLDEST && over_limit(session, more) &&
           pg_session_pop(session, &oldest))
        pg_session_drop(session, &oldest, reason);
    return over_limit(session, more) ? PG_QUEUE_FULL : PG_OK;
}

enum pg_reason pg_session_push(struct pg_session *session, struct pg_entry *entry)
{
    enum pg_reason reason = make_room(session, pg_msg_size(entry->msg));
    if (reason == PG_OK) {
        struct pg_entry *queued = append(session, entry);
        if (queued) {
            if (queued->share == PG_NODE_NONE)
                session->traffic->stamped = queued;
            count(session, PG_COUNT_MESSAGES_QUEUED, 1);
            pg_session_make_ready(session);
            return PG_OK;
        }
        reason = PG_NO_MEMORY;
    }
    pg_session_drop(session, entry, reason);
    return reason;
}

/* ---- offers ---------------------------------------------------------------------------------- */

static bool add_id(struct pg_entry *entry, uint32_t id)
{
    if (id == 0)
        return true;
    if (entry->one_id == 0 && !entry->many_ids) {
        entry->one_id = id;
        return true;
    }
    uint32_t n = entry->many_ids ? entry->many_ids[0] : 1;
    uint32_t *ids = realloc(entry->many_ids, (n + 2) * sizeof(*ids));
    if (!ids)
        return false;
    if (!entry->many_ids)
        ids[1] = entry->one_id;
    ids[0] = n + 1;
    ids[n + 1] = id;
    entry->many_ids = ids;
    return true;
}

static bool hold(struct pg_traffic *t, struct pg_entry *entry, const struct pg_offer *offer)
{
    if (t->held_count == t->held_size) {
        uint32_t size = t->held_size ? t->held_size * 2 : 16;
        uint32_t stamped = 0; /* its index */
        while (stamped < t->held_count && &t->held[stamped].entry != t->stamped)
            stamped++;
        struct pg_held *held = realloc(t->held, size * sizeof(*held));
        if (!held)
            return false;
        if (stamped < t->held_count)
            t->stamped = &held[stamped].entry;
        t->held = held;
        t->held_size = size;
    }
    bool once = entry->share != PG_NODE_NONE;
    t->held[t->held_count] = (struct pg_held){
        .entry = *entry,
        .seq = offer->seq,
        .from = once ? PG_HELD_ALWAYS : offer->from,
    };
    if (!once)
        t->stamped = &t->held[t->held_count].entry;
    t->held_count++;
    return true;
}

struct stored {
    struct pg_store_done done;
    struct pg_ticket *ticket;
};

static void when_stored(struct pg_store_done *done, enum pg_reason result)
{
    struct stored *stored = (struct stored *)done;
    pg_ticket_done(stored->ticket, result);
    free(stored);
}

/* Have the store keep the entry; the publisher's ticket waits if it takes time. */
static enum pg_reason store_entry(struct pg_session *session, struct pg_entry *entry,
                                  struct pg_ticket *ticket)
{
    struct pg_store *store = session->worker->server->store;
    struct stored *stored = NULL;
    if (ticket) {
        stored = calloc(1, sizeof(*stored));
        if (!stored)
            return PG_NO_MEMORY;
        stored->done.worker = session->worker;
        stored->done.fn = when_stored;
        stored->ticket = ticket;
        pg_ticket_hold(ticket);
    }
    enum pg_reason reason = store->ops->enqueue(store, pg_session_id(session), entry->msg,
                                                stored ? &stored->done : NULL);
    if (stored && reason != PG_PENDING)
        when_stored(&stored->done, reason);
    entry->stored = reason == PG_OK || reason == PG_PENDING;
    return entry->stored ? PG_OK : reason;
}

/* Overlapping subscriptions of one session: one delivery with the highest QoS and all identifiers
 * (MQTT 5.0 3.3.4). What comes by a shared subscription is a delivery of its own (4.8.2): it
 * neither joins another one nor is `stamped` for others to join. */
static bool merge(struct pg_session *session, const struct pg_offer *offer, uint8_t qos)
{
    struct pg_traffic *t = session->traffic;
    if (!t->stamped || offer->sub->shared)
        return false;
    if (t->stamped->qos < qos) {
        bool to_store = t->stamped->qos == 0 && pg_session_durable(session);
        t->stamped->qos = qos;
        if (to_store)
            (void)store_entry(session, t->stamped, offer->ticket);
    }
    if (offer->sub->retain_as_published && offer->msg->retain)
        t->stamped->retain = true;
    return add_id(t->stamped, offer->sub->id);
}

static bool own_message(const struct pg_session *session, const struct pg_msg *msg)
{
    return pg_bytes_equal(msg->publisher, pg_session_id(session));
}

enum pg_reason pg_session_offer(struct pg_session *session, const struct pg_offer *offer)
{
    const struct pg_sub *sub = offer->sub;
    uint8_t qos = offer->msg->qos;
    if (sub && sub->qos < qos)
        qos = sub->qos;
    if (sub && sub->no_local && own_message(session, offer->msg))
        return PG_NO_SUBSCRIBERS;
    bool away = !session->client && session->state != SESSION_JOINING;
    if (qos == 0 && away)
        return PG_NO_SUBSCRIBERS; /* QoS 0 is never queued for those who are away */
    struct pg_traffic *t = traffic_of(session);
    if (!t)
        return PG_NO_MEMORY;
    if (t->stamp != offer->stamp) {
        t->stamp = offer->stamp;
        t->stamped = NULL;
    }
    if (sub && merge(session, offer, qos))
        return PG_OK;

    struct pg_entry entry = {
        .msg = pg_msg_ref(offer->msg),
        .share = sub && sub->shared ? sub->node : PG_NODE_NONE,
        .one_id = sub ? sub->id : 0,
        .qos = qos,
        .tries = offer->tries,
        .retain = sub && sub->retain_as_published && offer->msg->retain,
        .direct = !sub,
    };
    if (qos > 0 && pg_session_durable(session)) {
        enum pg_reason reason = store_entry(session, &entry, offer->ticket);
        if (reason != PG_OK) {
            pg_session_drop(session, &entry, reason);
            return reason;
        }
    }
    if (session->state != SESSION_JOINING)
        return pg_session_push(session, &entry);
    if (hold(t, &entry, offer))
        return PG_OK;
    pg_session_drop(session, &entry, PG_NO_MEMORY);
    return PG_NO_MEMORY;
}

/* ---- what is no longer allowed --------------------------------------------------------------- */

struct wanting {
    struct pg_bytes topic;
    bool wanted;
};

static void want(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    struct wanting *w = arg;
    struct pg_filter filter;
    if (!w->wanted && pg_topic_filter_check(pg_sub_filter(session, sub), &filter) == PG_TOPIC_NONE)
        w->wanted = pg_topic_matches(filter.plain, w->topic);
}

static bool is_wanted(struct pg_session *session, const struct pg_entry *entry)
{
    if (entry->direct || !entry->msg)
        return true;
    struct wanting w = {.topic = entry->msg->topic};
    pg_subscriptions_each(session, want, &w);
    return w.wanted;
}

void pg_session_drop_unwanted(struct pg_session *session, enum pg_reason reason)
{
    struct pg_traffic *t = session->traffic;
    if (!t)
        return;
    for (uint32_t left = t->queue_count; left > 0; left--) {
        struct pg_entry entry;
        pg_session_pop(session, &entry);
        bool wanted = is_wanted(session, &entry);
        if (!wanted || !append(session, &entry))
            pg_session_drop(session, &entry, wanted ? PG_NO_MEMORY : reason);
    }
    for (uint32_t i = 0; i < t->out_size; i++) {
        struct pg_out *out = &t->outs[i];
        if (out->state == OUT_FREE || is_wanted(session, &out->entry))
            continue;
        pg_session_drop(session, &out->entry, reason);
        out->state = OUT_FREE;
        t->out_count--;
    }
    quieten(session);
}

/* ---- retained messages for new subscriptions ------------------------------------------------- */

void pg_session_walk_retained(struct pg_session *session, const struct pg_sub *sub,
                              struct pg_bytes plain_filter)
{
    struct pg_traffic *t = traffic_of(session);
    struct pg_session_walk *w = t ? calloc(1, sizeof(*w)) : NULL;
    if (w)
        w->walk = pg_retained_walk_open(session->worker->server->retained, plain_filter);
    if (!w || !w->walk) {
        free(w);
        PG_LOG(PG_ERROR, "retained_not_sent", PG_F_REASON(PG_NO_MEMORY),
               PG_F_BYTES("client", pg_session_id(session)), PG_F_BYTES("filter", plain_filter));
        return;
    }
    w->id = sub->id;
    w->qos = sub->qos;
    struct pg_session_walk **end = &t->walks;
    while (*end)
        end = &(*end)->next;
    *end = w;
    pg_session_make_ready(session);
}

/* When the queue has run empty: the next few retained messages. */
static void refill_from_walks(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    while (t->walks && t->queue_count == 0) {
        struct pg_session_walk *w = t->walks;
        struct pg_msg *found[WALK_BATCH];
        bool more = false;
        size_t n = pg_retained_walk_next(w->walk, found, WALK_BATCH, &more);
        for (size_t i = 0; i < n; i++) {
            struct pg_entry entry = {
                .msg = found[i],
                .one_id = w->id,
                .qos = found[i]->qos < w->qos ? found[i]->qos : w->qos,
                .retain = true,
            };
            if (append(session, &entry))
                count(session, PG_COUNT_MESSAGES_QUEUED, 1);
            else
                pg_session_drop(session, &entry, PG_NO_MEMORY);
        }
        if (!more) {
            t->walks = w->next;
            pg_retained_walk_close(&w->walk);
            free(w);
        }
    }
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
        count(session, PG_COUNT_MESSAGES_REDELIVERED, 1);
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

/* From the queue. false: there is nothing, or the window is full. */
static bool next_queued(struct pg_session *session, struct pg_delivery *out)
{
    struct pg_traffic *t = session->traffic;
    for (;;) {
        if (t->queue_count == 0)
            refill_from_walks(session);
        struct pg_entry *entry = front(session);
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
        struct pg_out *o = t->out_count < session->window ? new_out(session) : NULL;
        if (!o)
            return false;
        pg_session_pop(session, &o->entry);
        o->state = OUT_SENT;
        o->order = t->out_order++;
        t->out_count++;
        fill(out, &o->entry);
        out->id = o->id;
        return true;
    }
}

bool pg_delivery_next(struct pg_client *client, struct pg_delivery *out)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_traffic *t = session ? session->traffic : NULL;
    if (!t)
        return false;
    forget_lent(t);
    if (t->resend && next_resend(session, out))
        return true;
    if (!next_queued(session, out)) {
        quieten(session);
        return false;
    }
    count(session, PG_COUNT_MESSAGES_DELIVERED, 1);
    return true;
}

bool pg_delivery_received(struct pg_client *client, uint16_t id)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? find_out(session, id) : NULL;
    if (!out || out->entry.qos != 2)
        return false;
    settle_in_store(session, &out->entry);
    pg_entry_clear(&out->entry);
    out->state = OUT_RECEIVED;
    return true;
}

bool pg_delivery_settle(struct pg_client *client, uint16_t id, enum pg_reason reason)
{
    struct pg_session *session = pg_client_session(client);
    struct pg_out *out = session ? find_out(session, id) : NULL;
    if (!out)
        return false;
    settle_in_store(session, &out->entry);
    pg_entry_clear(&out->entry);
    out->state = OUT_FREE;
    struct pg_traffic *t = session->traffic;
    t->out_count--;
    count(session, reason == PG_OK ? PG_COUNT_DELIVERIES_SETTLED : PG_COUNT_DELIVERIES_FAILED, 1);
    if (t->queue_count > 0 || t->walks)
        pg_session_make_ready(session);
    else
        quieten(session);
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
    out->state = OUT_FREE;
    t->out_count--;
    count(session, PG_COUNT_DELIVERIES_RETURNED, 1);
    if (entry.share != PG_NODE_NONE) {
        pg_router_reshare(session->worker, entry.msg, entry.share, one_more(entry.tries), session);
        settle_in_store(session, &entry);
        pg_entry_clear(&entry);
    } else {
        entry.tries = one_more(entry.tries);
        (void)pg_session_push(session, &entry);
    }
    if (t->queue_count > 0 || t->walks)
        pg_session_make_ready(session);
    else
        quieten(session);
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
    struct pg_traffic *t = traffic_of(session);
    if (!t || !grow_receipts(t))
        return PG_NO_MEMORY;
    uint32_t at = receipt_slot(t, id);
    if (t->receipts[at] == id)
        return PG_DUPLICATE;
    if (t->receipt_count >= (uint64_t)settings_of(session)->session.receipts)
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
    quieten(session);
    return true;
}

size_t pg_receipt_count(const struct pg_client *client)
{
    const struct pg_session *session = pg_client_session(client);
    return session && session->traffic ? session->traffic->receipt_count : 0;
}

/* ---- attaching and moving -------------------------------------------------------------------- */

/* List what is out, in the order of handing out, to be handed out again. */
static void plan_resend(struct pg_session *session)
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
    qsort(sorted, n, sizeof(struct pg_out *), by_order);
    for (uint32_t i = 0; i < n; i++)
        t->resend[i] = sorted[i]->id;
    t->resend_count = n;
    free(sorted);
}

bool pg_session_begin_absence(struct pg_session *session, void (*expired)(struct pg_timer *timer))
{
    struct pg_absence *absence = calloc(1, sizeof(*absence));
    if (!absence)
        return false;
    assert(session->state == SESSION_LIVE && !session->absence && !session->client);
    absence->session = session;
    absence->since_wall_ms = pg_wall_ms();
    session->absence = absence;
    if (session->expiry_s != PG_FOREVER)
        pg_timer_start(&absence->timer, (int64_t)session->expiry_s * 1000, expired);
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
    uint32_t most = (uint32_t)settings_of(session)->session.inflight;
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
    plan_resend(session);
    if (session->traffic)
        pg_session_make_ready(session);
}

void pg_session_forget_client(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    session->client = NULL;
    pg_subscriptions_set_active(session, false);
    if (!t)
        return;
    forget_lent(t);
    free(t->resend);
    t->resend = NULL;
    quieten(session);
}

void pg_session_adopt(struct pg_session *to, struct pg_session *from, const uint64_t *seen)
{
    struct pg_traffic *held = to->traffic;
    to->traffic = NULL;
    if (from) {
        to->traffic = from->traffic;
        to->next_id = from->next_id;
        from->traffic = NULL;
    }
    for (uint32_t i = 0; held && i < held->held_count; i++) {
        struct pg_held *h = &held->held[i];
        bool twice = h->from != PG_HELD_ALWAYS && h->seq <= seen[h->from];
        if (twice)
            pg_entry_clear(&h->entry);
        else
            (void)pg_session_push(to, &h->entry);
    }
    if (held) {
        free(held->held);
        give_back(to->worker, held);
    }
    /* Fan-outs are numbered by each worker: the number of one must not be taken for another's. */
    if (to->traffic)
        to->traffic->stamped = NULL;
}
