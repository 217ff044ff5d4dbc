/* SPDX-License-Identifier: Apache-2.0 */

/* A session's queue: what waits to be delivered, and how it comes in.
 *
 * The queue is a list of small chunks of entries, which the worker keeps for reuse. An entry refers
 * to its message; payloads are never copied. The queue is bounded by count and by bytes
 * (session.queue_messages, session.queue_bytes, session.queue_policy).
 *
 * Standard behind the rules: MQTT 5.0 3.3.4 (overlapping subscriptions), 4.6 (order), 4.8.2 (shared
 * subscriptions). Everything runs on the session's worker. */

#include "session_flow.h"

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

#define CHUNK_ENTRIES 12u
#define SPARE_CHUNKS  4096u
/* Retained messages put into the queue at a time, when it has run empty. */
#define WALK_BATCH 32u

struct queue_chunk {
    struct queue_chunk *next;
    uint32_t first, count; /* entries [first, first + count) are taken */
    struct pg_entry entries[CHUNK_ENTRIES];
};

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

void pg_queue_free_spare(struct pg_session_part *part)
{
    while (part->spare) {
        struct queue_chunk *chunk = part->spare;
        part->spare = chunk->next;
        free(chunk);
    }
}

/* A place at the end for a delivery of this message, to be filled in by the caller, whatever the
 * limits say. NULL: out of memory. */
static struct pg_entry *add_place(struct pg_session *session, const struct pg_msg *msg)
{
    struct pg_traffic *t = pg_session_traffic(session);
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
    t->queue_count++;
    t->queue_bytes += pg_msg_size(msg);
    return &tail->entries[tail->first + tail->count++];
}

struct pg_entry *pg_session_append(struct pg_session *session, const struct pg_entry *entry)
{
    struct pg_entry *place = add_place(session, entry->msg);
    if (place)
        *place = *entry;
    return place;
}

struct pg_entry *pg_session_front(const struct pg_session *session)
{
    const struct pg_traffic *t = session->traffic;
    return t && t->queue_count > 0 ? &t->head->entries[t->head->first] : NULL;
}

void pg_session_drop_front(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    struct queue_chunk *head = t->head;
    const struct pg_entry *entry = &head->entries[head->first];
    if (t->stamped == entry)
        t->stamped = NULL;
    t->queue_count--;
    t->queue_bytes -= pg_msg_size(entry->msg);
    head->first++;
    if (--head->count == 0) {
        t->head = head->next;
        if (!t->head)
            t->tail = NULL;
        free_chunk(session->worker, head);
    }
}

bool pg_session_pop(struct pg_session *session, struct pg_entry *out)
{
    const struct pg_entry *entry = pg_session_front(session);
    if (!entry)
        return false;
    *out = *entry;
    pg_session_drop_front(session);
    return true;
}

static bool over_limit(const struct pg_session *session, size_t more)
{
    const struct pg_traffic *t = session->traffic;
    if (!t)
        return false;
    const struct pg_settings *s = pg_session_settings(session);
    return t->queue_count >= (uint64_t)s->session.queue_messages ||
           t->queue_bytes + more > (uint64_t)s->session.queue_bytes;
}

/* Make room by the configured policy, or refuse. */
static enum pg_reason make_room(struct pg_session *session, size_t more)
{
    if (!over_limit(session, more))
        return PG_OK;
    int policy = pg_session_settings(session)->session.queue_policy;
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

/* As add_place(), within the limits. NULL: there is none, for *reason. */
static struct pg_entry *find_place(struct pg_session *session, const struct pg_msg *msg,
                                   enum pg_reason *reason)
{
    *reason = make_room(session, pg_msg_size(msg));
    if (*reason != PG_OK)
        return NULL;
    struct pg_entry *place = add_place(session, msg);
    if (!place)
        *reason = PG_NO_MEMORY;
    return place;
}

static void filled(struct pg_session *session, struct pg_entry *place)
{
    if (place->share == PG_NODE_NONE)
        session->traffic->stamped = place;
    pg_session_count(session, PG_COUNT_MESSAGES_QUEUED, 1);
    pg_session_make_ready(session);
}

enum pg_reason pg_session_push(struct pg_session *session, struct pg_entry *entry)
{
    enum pg_reason reason;
    struct pg_entry *place = find_place(session, entry->msg, &reason);
    if (!place) {
        pg_session_drop(session, entry, reason);
        return reason;
    }
    *place = *entry;
    filled(session, place);
    return PG_OK;
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
        .ticket = offer->ticket,
    };
    if (offer->ticket)
        pg_ticket_hold(offer->ticket);
    if (!once)
        t->stamped = &t->held[t->held_count].entry;
    t->held_count++;
    return true;
}

/* Overlapping subscriptions of one session: one delivery with the highest QoS and all identifiers
 * (MQTT 5.0 3.3.4). What comes by a shared subscription is a delivery of its own (4.8.2): it
 * neither joins another one nor is `stamped` for others to join. */
static bool merge(struct pg_session *session, const struct pg_offer *offer, uint8_t qos)
{
    struct pg_traffic *t = session->traffic;
    if (!t->stamped || offer->sub->shared)
        return false;
    if (t->stamped->qos < qos)
        t->stamped->qos = qos;
    if (offer->sub->retain_as_published && offer->msg->retain)
        t->stamped->retain = true;
    return add_id(t->stamped, offer->sub->id);
}

static bool own_message(const struct pg_session *session, const struct pg_msg *msg)
{
    return pg_bytes_equal(msg->publisher, pg_session_id(session));
}

/* Of a delivery to somebody who subscribed with `granted`: MQTT 5.0 3.8.4. */
static uint8_t qos_of(const struct pg_session *session, const struct pg_msg *msg, uint8_t granted)
{
    return msg->qos > granted || pg_session_settings(session)->session.upgrade_qos ? granted
                                                                                   : msg->qos;
}

static struct pg_msg *take_reference(struct pg_offer *offer)
{
    if (offer->refs == 0)
        return pg_msg_ref(offer->msg);
    offer->refs--;
    return offer->msg;
}

/* Member by member, in place: a whole made elsewhere and copied is read again before the processor
 * has its small members together, and waits for them. */
static inline void fill(struct pg_entry *entry, struct pg_offer *offer, uint8_t qos)
{
    const struct pg_sub *sub = offer->sub;
    entry->msg = take_reference(offer);
    entry->share = sub && sub->shared ? pg_sub_node(sub) : PG_NODE_NONE;
    entry->many_ids = NULL;
    entry->number = 0;
    entry->one_id = sub ? sub->id : 0;
    entry->qos = qos;
    entry->tries = offer->tries;
    entry->retain = sub && sub->retain_as_published && offer->msg->retain;
    entry->direct = !sub;
}

/* What pg_session_push() does with the entry, which is not made before it has its place. */
static enum pg_reason push_offer(struct pg_session *session, struct pg_offer *offer, uint8_t qos)
{
    enum pg_reason reason;
    struct pg_entry *place = find_place(session, offer->msg, &reason);
    if (!place) {
        struct pg_entry lost;
        fill(&lost, offer, qos);
        pg_session_drop(session, &lost, reason);
        return reason;
    }
    fill(place, offer, qos);
    filled(session, place);
    return PG_OK;
}

enum pg_reason pg_session_offer(struct pg_session *session, struct pg_offer *offer)
{
    const struct pg_sub *sub = offer->sub;
    uint8_t qos = sub ? qos_of(session, offer->msg, sub->qos) : offer->msg->qos;
    /* There is a subscriber, who asked not to be sent this one (MQTT 5.0 3.8.3.1). */
    if (sub && sub->no_local && own_message(session, offer->msg))
        return PG_OK;
    bool away = !session->client && session->state != SESSION_JOINING;
    if (qos == 0 && away && !pg_session_settings(session)->session.queue_qos_0)
        return PG_NO_SUBSCRIBERS;
    struct pg_traffic *t = pg_session_traffic(session);
    if (!t)
        return PG_NO_MEMORY;
    if (t->stamp != offer->stamp) {
        t->stamp = offer->stamp;
        t->stamped = NULL;
    }
    if (sub && merge(session, offer, qos))
        return PG_OK;

    if (!session->kept && session->state != SESSION_JOINING)
        return push_offer(session, offer, qos);
    struct pg_entry entry;
    fill(&entry, offer, qos);
    if (session->kept) {
        if (entry.share == PG_NODE_NONE)
            pg_session_stage(session, &entry, offer->ticket);
        else if (pg_session_stores(session, qos))
            pg_session_enqueue(session, &entry, offer->ticket);
        else
            return pg_session_push(session, &entry);
        return PG_OK;
    }
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

bool pg_session_wants(struct pg_session *session, const struct pg_entry *entry)
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
    if (session->kept)
        session->kept->checked_from = session->kept->next_number;
    if (!t)
        return;
    for (uint32_t left = t->queue_count; left > 0; left--) {
        struct pg_entry entry;
        pg_session_pop(session, &entry);
        bool wanted = pg_session_wants(session, &entry);
        if (!wanted || !pg_session_append(session, &entry))
            pg_session_drop(session, &entry, wanted ? PG_NO_MEMORY : reason);
    }
    for (uint32_t i = 0; i < t->out_size; i++) {
        struct pg_out *out = &t->outs[i];
        if (out->state == OUT_FREE || pg_session_wants(session, &out->entry))
            continue;
        pg_session_leave_window(t, out);
        pg_session_drop(session, &out->entry, reason);
        out->state = OUT_FREE;
        t->out_count--;
    }
    pg_session_quieten(session);
}

/* ---- retained messages for new subscriptions ------------------------------------------------- */

void pg_session_walk_retained(struct pg_session *session, const struct pg_sub *sub,
                              struct pg_bytes plain_filter)
{
    struct pg_traffic *t = pg_session_traffic(session);
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
    w->no_local = sub->no_local;
    struct pg_session_walk **end = &t->walks;
    while (*end)
        end = &(*end)->next;
    *end = w;
    pg_session_make_ready(session);
}

/* When the queue has run empty: the next few retained messages. */
void pg_session_refill(struct pg_session *session)
{
    struct pg_traffic *t = session->traffic;
    while (t->walks && t->queue_count == 0) {
        struct pg_session_walk *w = t->walks;
        struct pg_msg *found[WALK_BATCH];
        bool more = false;
        size_t n = pg_retained_walk_next(w->walk, found, WALK_BATCH, &more);
        for (size_t i = 0; i < n; i++) {
            if (w->no_local && own_message(session, found[i])) {
                pg_msg_unref(&found[i]);
                continue;
            }
            struct pg_entry entry = {
                .msg = found[i],
                .one_id = w->id,
                .qos = qos_of(session, found[i], w->qos),
                .retain = true,
            };
            if (pg_session_append(session, &entry))
                pg_session_count(session, PG_COUNT_MESSAGES_QUEUED, 1);
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
