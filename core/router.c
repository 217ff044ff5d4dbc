/* SPDX-License-Identifier: Apache-2.0 */

/* Routing: a publisher's worker matches the topic once (subindex.h), delivers to its own members,
 * and puts one entry for each other worker concerned into the batch for that worker: a reference to
 * the message and the matched nodes. Batches are sent off at the end of the loop turn, or when
 * full, and delivered by the receiving worker to its own members.
 *
 * Messages of one worker reach each other worker in the order of `seq`; takeover.c relies on it.
 *
 * A shared subscription ($share) is a node of its own; the publisher picks the worker in proportion
 * to its members, that worker picks the member: those with a client that has room first. */

#include "router.h"

#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "message.h"
#include "registry.h"
#include "server.h"
#include "session.h"
#include "store.h"
#include "subscription.h"
#include "ticket.h"
#include "worker_parts.h"

#define BATCH_SIZE (32u * 1024)
#define FIRST_LIST 4u
/* Members of a list that are fetched into the cache before they are due. */
#define FETCH_AHEAD 4u
/* How often a worker is picked anew for a delivery that its own member returned. */
#define PICKS 8u

/* One message of a batch, followed by its nodes. */
struct batch_item {
    struct pg_msg *msg;       /* holds a reference */
    struct pg_ticket *ticket; /* holds one, or NULL */
    uint64_t seq;
    uint32_t node_count;
    uint32_t tries; /* of a shared delivery that comes again */
    pg_node_ref nodes[];
};

struct pg_batch {
    struct pg_task task; /* first */
    unsigned from;
    size_t used, size;
    _Alignas(uint64_t) uint8_t bytes[];
};

static bool has_list(const union pg_members *m)
{
    return (m->many & 1) != 0;
}

/* NULL: there is no list. */
static struct pg_member_list *list_of(const union pg_members *m)
{
    return has_list(m) ? (struct pg_member_list *)(m->many - 1) : NULL;
}

/* How many nodes of a chunk have a place. */
static uint32_t place_count(const struct pg_members_chunk *chunk)
{
    return (uint32_t)__builtin_popcountll(chunk->present);
}

void pg_router_init(struct pg_router_part *part)
{
    *part = (struct pg_router_part){.chunks = NULL};
}

void pg_router_free(struct pg_router_part *part)
{
    for (uint32_t i = 0; i < part->chunk_count; i++) {
        const struct pg_members_chunk *chunk = &part->chunks[i];
        for (uint32_t k = 0, n = place_count(chunk); k < n; k++)
            free(list_of(&chunk->places[k]));
        free(chunk->places);
    }
    free(part->chunks);
    part->chunks = NULL;
    part->chunk_count = 0;
    pg_match_release(&part->match);
    pg_match_cache_free(&part->cache);
}

/* ---- members --------------------------------------------------------------------------------- */

static struct pg_sub **subs_of(union pg_members *m)
{
    return has_list(m) ? list_of(m)->subs : &m->one;
}

static uint32_t count_of(const union pg_members *m)
{
    return has_list(m) ? list_of(m)->count : 1;
}

static struct pg_sub *first_of(const union pg_members *m)
{
    return has_list(m) ? list_of(m)->subs[0] : m->one;
}

/* The chunk of a node id; NULL: no node so far up has had members. */
static struct pg_members_chunk *chunk_of(const struct pg_router_part *part, uint32_t id)
{
    return id / PG_MEMBERS_CHUNK < part->chunk_count ? &part->chunks[id / PG_MEMBERS_CHUNK] : NULL;
}

/* How many nodes before this one have a place, which is where its own is. Mostly all of them have,
 * and nothing is to be counted. */
static uint32_t rank_of(const struct pg_members_chunk *chunk, uint32_t id)
{
    uint64_t before = (UINT64_C(1) << id % PG_MEMBERS_CHUNK) - 1;
    return (chunk->present & before) == before
               ? id % PG_MEMBERS_CHUNK
               : (uint32_t)__builtin_popcountll(chunk->present & before);
}

static bool has_place(const struct pg_members_chunk *chunk, uint32_t id)
{
    return (chunk->present >> id % PG_MEMBERS_CHUNK & 1) != 0;
}

/* NULL: there are none. */
static union pg_members *members_of(const struct pg_router_part *part, pg_node_ref node)
{
    uint32_t id = pg_node_id(node);
    const struct pg_members_chunk *chunk = chunk_of(part, id);
    if (!chunk || !has_place(chunk, id))
        return NULL;
    union pg_members *m = &chunk->places[rank_of(chunk, id)];
    /* All are of one node, and this may be a late reference to one that had the id before. */
    return first_of(m)->node_generation == pg_node_generation(node) ? m : NULL;
}

/* Places grow by PLACES_STEP: one less than a multiple of it, since malloc's own word is one more. */
#define PLACES_STEP 4u

static uint32_t places_for(uint32_t count)
{
    return count / PLACES_STEP * PLACES_STEP + PLACES_STEP - 1;
}

/* Room for `count` places. false: out of memory, and there is room for as many as before. */
static bool resize_places(struct pg_members_chunk *chunk, uint32_t count)
{
    union pg_members *places = realloc(chunk->places, places_for(count) * sizeof(*places));
    if (places)
        chunk->places = places;
    return places != NULL;
}

static bool make_chunk(struct pg_router_part *part, uint32_t id)
{
    uint32_t need = id / PG_MEMBERS_CHUNK + 1, count = part->chunk_count + part->chunk_count / 4;
    if (need <= part->chunk_count)
        return true;
    if (count < need)
        count = need;
    struct pg_members_chunk *chunks = realloc(part->chunks, count * sizeof(*chunks));
    if (!chunks)
        return false;
    memset(chunks + part->chunk_count, 0, (count - part->chunk_count) * sizeof(*chunks));
    part->chunks = chunks;
    part->chunk_count = count;
    return true;
}

/* A place for a node that has none. false: out of memory. */
static bool make_place(struct pg_router_part *part, struct pg_sub *sub)
{
    uint32_t id = pg_node_id(pg_sub_node(sub));
    if (!make_chunk(part, id))
        return false;
    struct pg_members_chunk *chunk = chunk_of(part, id);
    uint32_t count = place_count(chunk), at = rank_of(chunk, id);
    if ((count == 0 || count == places_for(count)) && !resize_places(chunk, count + 1))
        return false;
    memmove(&chunk->places[at + 1], &chunk->places[at], (count - at) * sizeof(*chunk->places));
    chunk->places[at].one = sub;
    chunk->present |= UINT64_C(1) << id % PG_MEMBERS_CHUNK;
    return true;
}

static void drop_place(struct pg_members_chunk *chunk, uint32_t id)
{
    uint32_t left = place_count(chunk) - 1, at = rank_of(chunk, id);
    memmove(&chunk->places[at], &chunk->places[at + 1], (left - at) * sizeof(*chunk->places));
    chunk->present &= ~(UINT64_C(1) << id % PG_MEMBERS_CHUNK);
    if (left == 0) {
        free(chunk->places);
        chunk->places = NULL;
    } else if (left == places_for(left)) {
        (void)resize_places(chunk, left); /* if not, it stays longer than it need be */
    }
}

/* Room for one more: from a single member to a list, or to a longer one. */
static bool make_room(union pg_members *m)
{
    struct pg_member_list *list = list_of(m);
    if (list && list->count < list->size)
        return true;
    uint32_t size = list ? list->size * 2 : FIRST_LIST;
    struct pg_member_list *longer = realloc(list, sizeof(*longer) + size * sizeof(longer->subs[0]));
    if (!longer)
        return false;
    if (!list) {
        longer->count = 1;
        longer->turn = 0;
        longer->subs[0] = m->one;
    }
    longer->size = size;
    m->many = (uintptr_t)longer + 1;
    return true;
}

bool pg_members_add(struct pg_router_part *part, struct pg_sub *sub)
{
    union pg_members *m = members_of(part, pg_sub_node(sub));
    sub->place = m ? count_of(m) : 0;
    if (!m)
        return make_place(part, sub);
    if (!make_room(m))
        return false;
    list_of(m)->subs[list_of(m)->count++] = sub;
    return true;
}

uint32_t pg_members_remove(struct pg_router_part *part, struct pg_sub *sub)
{
    union pg_members *m = members_of(part, pg_sub_node(sub));
    struct pg_member_list *list = list_of(m);
    uint32_t left = count_of(m) - 1;
    if (left == 0) {
        uint32_t id = pg_node_id(pg_sub_node(sub));
        free(list);
        drop_place(chunk_of(part, id), id);
        return 0;
    }
    struct pg_sub *moved = list->subs[left];
    list->count = left;
    list->subs[sub->place] = moved;
    moved->place = sub->place;
    return left;
}

uint32_t pg_members_count(const struct pg_router_part *part, pg_node_ref node)
{
    const union pg_members *m = members_of(part, node);
    return m ? count_of(m) : 0;
}

/* ---- delivering in this worker --------------------------------------------------------------- */

/* Most of what a large fan-out costs is waiting for memory: have what the next ones need on its
 * way, the subscription first, then its session, then what hangs on that. */
static void fetch_ahead(struct pg_sub *const *subs, uint32_t at, uint32_t count)
{
    if (at + 3 * FETCH_AHEAD < count)
        __builtin_prefetch(subs[at + 3 * FETCH_AHEAD]);
    if (at + 2 * FETCH_AHEAD < count)
        __builtin_prefetch(subs[at + 2 * FETCH_AHEAD]->session);
    if (at + FETCH_AHEAD < count)
        __builtin_prefetch(subs[at + FETCH_AHEAD]->session->traffic, 1);
}

/* Every member of a node that is not shared. Returns whether somebody has it. */
static bool deliver_all(union pg_members *m, struct pg_offer *offer)
{
    struct pg_sub *const *subs = subs_of(m);
    uint32_t count = count_of(m);
    bool taken = false;
    pg_msg_ref_many(offer->msg, count);
    offer->refs = count;
    for (uint32_t i = 0; i < count; i++) {
        fetch_ahead(subs, i, count);
        offer->sub = subs[i];
        if (pg_session_offer(subs[i]->session, offer) == PG_OK)
            taken = true;
    }
    pg_msg_unref_many(offer->msg, offer->refs);
    offer->refs = 0;
    return taken;
}

/* How willing a member of a shared subscription is to take one more. */
enum willing { AWAY, AVOIDED, BUSY, FREE };

static enum willing willing(const struct pg_session *session, const struct pg_offer *offer)
{
    if (!session->client || session->state != SESSION_LIVE)
        return AWAY;
    if (session == offer->avoid)
        return AVOIDED;
    return pg_session_queued(session) == 0 && pg_session_outstanding(session) < session->window
               ? FREE
               : BUSY;
}

/* One member of a shared node: the next in turn of the most willing. */
static bool deliver_one(union pg_members *m, struct pg_offer *offer)
{
    struct pg_member_list *list = list_of(m);
    const struct pg_sub *best = NULL;
    uint32_t count = count_of(m), turn = list ? list->turn : 0;
    for (uint32_t i = 0; i < count && (!best || willing(best->session, offer) != FREE); i++) {
        const struct pg_sub *sub = subs_of(m)[(turn + i) % count];
        if (!best || willing(sub->session, offer) > willing(best->session, offer))
            best = sub;
    }
    if (!best)
        return false;
    if (list)
        list->turn = best->place + 1;
    offer->sub = best;
    return pg_session_offer(best->session, offer) == PG_OK;
}

static bool deliver_at(struct pg_worker *worker, pg_node_ref node, struct pg_offer *offer)
{
    union pg_members *m = members_of(&worker->router, node);
    if (!m)
        return false;
    return first_of(m)->shared ? deliver_one(m, offer) : deliver_all(m, offer);
}

/* ---- batches for other workers --------------------------------------------------------------- */

static unsigned batches_limit(const struct pg_server *server)
{
    return (unsigned)atomic_load_explicit(&server->config, memory_order_acquire)
        ->settings.limits.mailbox_batches;
}

/* One batch less is waiting; at half of the limit, publishers that wait may go on. */
static void took_batch(struct pg_worker *worker)
{
    struct pg_server *server = worker->server;
    unsigned before = atomic_fetch_sub_explicit(&worker->batches_waiting, 1, memory_order_relaxed);
    if (before != batches_limit(server) / 2 + 1)
        return;
    for (unsigned i = 0; i < server->worker_count; i++)
        if (i != worker->index)
            pg_worker_wake(server->workers[i]);
}

static void deliver_batch(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_batch *batch = (struct pg_batch *)task;
    struct pg_router_part *part = &worker->router;
    took_batch(worker);
    for (size_t at = 0; at < batch->used;) {
        struct batch_item *item = (struct batch_item *)(void *)(batch->bytes + at);
        at += sizeof(*item) + item->node_count * sizeof(pg_node_ref);
        part->seen[batch->from] = item->seq;
        struct pg_offer offer = {
            .msg = item->msg,
            .stamp = ++part->stamp,
            .seq = item->seq,
            .from = batch->from,
            .ticket = item->ticket,
            .tries = (uint8_t)item->tries,
        };
        for (uint32_t i = 0; i < item->node_count; i++) {
            pg_node_ref node = item->nodes[i];
            bool here = pg_members_count(part, node) > 0;
            (void)deliver_at(worker, node, &offer);
            /* The last member of a shared subscription left this worker meanwhile: it goes to
             * another one. For others that means that nobody here wants it any more. */
            if (!here)
                pg_router_reshare(worker, item->msg, node, (uint8_t)item->tries, NULL);
        }
        pg_sessions_keep_fresh(worker);
        if (item->ticket)
            pg_ticket_done(item->ticket, PG_OK);
        pg_msg_unref(&item->msg);
    }
    free(batch);
}

static void post_batch(struct pg_worker *worker, unsigned to)
{
    struct pg_batch *batch = worker->router.batches[to];
    if (!batch)
        return;
    worker->router.batches[to] = NULL;
    struct pg_worker *other = worker->server->workers[to];
    atomic_fetch_add_explicit(&other->batches_waiting, 1, memory_order_relaxed);
    pg_worker_count(worker, PG_COUNT_BATCHES_SENT, 1);
    pg_worker_post(other, &batch->task);
}

void pg_router_flush(struct pg_worker *worker)
{
    for (unsigned i = 0; i < worker->server->worker_count; i++)
        post_batch(worker, i);
}

/* Room for `size` bytes in the batch for a worker. */
static void *batch_room(struct pg_worker *worker, unsigned to, size_t size)
{
    struct pg_batch *batch = worker->router.batches[to];
    if (batch && batch->size - batch->used < size)
        post_batch(worker, to);
    batch = worker->router.batches[to];
    if (!batch) {
        size_t room = size > BATCH_SIZE ? size : BATCH_SIZE;
        batch = malloc(sizeof(*batch) + room);
        if (!batch)
            return NULL;
        batch->task.run = deliver_batch;
        batch->from = worker->index;
        batch->used = 0;
        batch->size = room;
        worker->router.batches[to] = batch;
    }
    void *at = batch->bytes + batch->used;
    batch->used += size;
    return at;
}

/* Put the message with those of its nodes that concern worker `to` into the batch for it. */
static bool add_to_batch(struct pg_worker *worker, unsigned to, struct pg_msg *msg,
                         struct pg_ticket *ticket, uint8_t tries, const pg_node_ref *nodes,
                         uint32_t count)
{
    struct batch_item *item = batch_room(worker, to, sizeof(*item) + count * sizeof(pg_node_ref));
    if (!item)
        return false;
    item->msg = pg_msg_ref(msg);
    item->ticket = ticket;
    item->seq = worker->router.seq;
    item->node_count = count;
    item->tries = tries;
    memcpy(item->nodes, nodes, count * sizeof(pg_node_ref));
    if (ticket)
        pg_ticket_hold(ticket);
    return true;
}

bool pg_router_congested(const struct pg_worker *worker)
{
    const struct pg_server *server = worker->server;
    unsigned most = batches_limit(server);
    for (unsigned i = 0; i < server->worker_count; i++)
        if (i != worker->index &&
            atomic_load_explicit(&server->workers[i]->batches_waiting, memory_order_relaxed) > most)
            return true;
    return false;
}

/* ---- publishing ------------------------------------------------------------------------------ */

/* For each shared hit, choose its worker: the hit's bitmap is narrowed to that one bit. Returns the
 * union of the bits. */
static uint64_t pick_workers(struct pg_worker *worker, struct pg_match *match)
{
    uint64_t workers = match->workers;
    for (size_t i = 0; match->shared_count > 0 && i < match->count; i++) {
        struct pg_match_hit *hit = &match->hits[i];
        if (!hit->shared)
            continue;
        unsigned picked = pg_subindex_pick(worker->server->subindex, hit->ref);
        hit->workers = picked == PG_SUBINDEX_NO_WORKER ? 0 : UINT64_C(1) << picked;
        workers |= hit->workers;
    }
    return workers;
}

static bool route_elsewhere(struct pg_worker *worker, unsigned to, struct pg_msg *msg,
                            struct pg_ticket *ticket, const struct pg_match *match)
{
    pg_node_ref few[64] = {PG_NODE_NONE};
    bool fits = match->count <= sizeof(few) / sizeof(few[0]);
    pg_node_ref *nodes = fits ? few : malloc(match->count * sizeof(*nodes));
    if (!nodes)
        return false;
    uint32_t n = 0;
    for (size_t i = 0; i < match->count; i++)
        if (match->hits[i].workers & UINT64_C(1) << to)
            nodes[n++] = match->hits[i].ref;
    bool added = add_to_batch(worker, to, msg, ticket, 0, nodes, n);
    if (nodes != few)
        free(nodes);
    return added;
}

static bool route_here(struct pg_worker *worker, struct pg_msg *msg, struct pg_ticket *ticket,
                       const struct pg_match *match)
{
    struct pg_router_part *part = &worker->router;
    part->seen[worker->index] = part->seq;
    struct pg_offer offer = {
        .msg = msg,
        .stamp = ++part->stamp,
        .seq = part->seq,
        .from = worker->index,
        .ticket = ticket,
    };
    bool taken = false;
    for (size_t i = 0; i < match->count; i++)
        if (match->hits[i].workers & UINT64_C(1) << worker->index)
            taken = deliver_at(worker, match->hits[i].ref, &offer) || taken;
    pg_sessions_keep_fresh(worker);
    return taken;
}

static enum pg_reason route(struct pg_worker *worker, struct pg_msg *msg, struct pg_ticket *ticket)
{
    struct pg_match *match = &worker->router.match;
    const struct pg_server *server = worker->server;
    pg_match_find(&worker->router.cache, &server->changes, server->subindex, msg->topic, match);
    if (match->out_of_memory)
        return PG_NO_MEMORY;
    if (match->count == 0)
        return PG_NO_SUBSCRIBERS;
    worker->router.seq++;
    uint64_t workers = pick_workers(worker, match);
    bool taken = false;
    for (unsigned i = 0; i < worker->server->worker_count; i++) {
        if (!(workers & UINT64_C(1) << i))
            continue;
        if (i == worker->index)
            taken = route_here(worker, msg, ticket, match) || taken;
        else if (route_elsewhere(worker, i, msg, ticket, match))
            taken = true;
        else
            return PG_NO_MEMORY;
    }
    return taken ? PG_OK : PG_NO_SUBSCRIBERS;
}

/* Another worker's turn, if `avoid` is all that this one has to offer. */
static unsigned pick_again(struct pg_worker *worker, pg_node_ref share,
                           const struct pg_session *avoid)
{
    union pg_members *m = avoid ? members_of(&worker->router, share) : NULL;
    const struct pg_offer offer = {.avoid = avoid};
    bool others = !avoid;
    for (uint32_t i = 0; m && i < count_of(m) && !others; i++)
        others = willing(subs_of(m)[i]->session, &offer) > AVOIDED;
    unsigned to = pg_subindex_pick(worker->server->subindex, share);
    /* Workers are picked in proportion to their members: another one comes soon, if there is
     * one. */
    for (unsigned i = 0; i < PICKS && !others && to == worker->index; i++)
        to = pg_subindex_pick(worker->server->subindex, share);
    return to;
}

void pg_router_reshare(struct pg_worker *worker, struct pg_msg *msg, pg_node_ref share,
                       uint8_t tries, const struct pg_session *avoid)
{
    unsigned to = pick_again(worker, share, avoid);
    if (to == PG_SUBINDEX_NO_WORKER)
        return;
    struct pg_router_part *part = &worker->router;
    part->seq++;
    if (to != worker->index) {
        if (!add_to_batch(worker, to, msg, NULL, tries, &share, 1))
            pg_worker_count(worker, PG_COUNT_MESSAGES_DROPPED, 1);
        return;
    }
    part->seen[worker->index] = part->seq;
    struct pg_offer offer = {
        .msg = msg,
        .stamp = ++part->stamp,
        .seq = part->seq,
        .from = PG_HELD_ALWAYS,
        .tries = tries,
        .avoid = avoid,
    };
    (void)deliver_at(worker, share, &offer);
}

/* ---- retained messages ----------------------------------------------------------------------- */

static enum pg_reason set_retained(struct pg_server *server, struct pg_msg *msg)
{
    if (msg->payload.len > 0)
        return pg_retained_set(server->retained, msg);
    (void)pg_retained_clear(server->retained, msg->topic);
    return PG_OK;
}

/* One that the store was told of: it is the topic's message when it is safe, in the order in which
 * the store has them. */
struct retaining {
    struct pg_task task; /* first */
    struct pg_store_done done;
    struct pg_worker *worker;
    struct pg_msg *msg;
    struct pg_ticket *ticket; /* with a hold, or NULL */
};

static void free_retaining(struct retaining *r)
{
    pg_msg_unref(&r->msg);
    free(r);
}

/* There was no room for it in memory: the store is not to have it either. */
static void take_back(struct pg_task *task, struct pg_worker *worker)
{
    struct retaining *r = (struct retaining *)task;
    struct pg_msg_spec spec = {.topic = r->msg->topic, .topic_valid = true, .retain = true};
    struct pg_msg *none = pg_msg_new(&spec);
    if (none)
        worker->server->store->ops->retain(worker->server->store, none, NULL);
    pg_msg_unref(&none);
    free_retaining(r);
}

/* On the store's thread. */
static void retained(struct pg_store_done *done, enum pg_reason result)
{
    struct retaining *r = (struct retaining *)((uint8_t *)done - offsetof(struct retaining, done));
    enum pg_reason reason =
        pg_reason_is_error(result) ? result : set_retained(r->worker->server, r->msg);
    /* A retained message is kept for those to come: that nobody is there now is still true. */
    if (r->ticket)
        pg_ticket_done(r->ticket, reason == PG_OK ? PG_NO_SUBSCRIBERS : reason);
    if (reason == result) {
        free_retaining(r);
        return;
    }
    r->task.run = take_back;
    pg_worker_post(r->worker, &r->task);
}

static enum pg_reason retain(struct pg_worker *worker, struct pg_msg *msg, struct pg_ticket *ticket)
{
    struct pg_server *server = worker->server;
    bool own = msg->topic.len > 0 && msg->topic.data[0] == '$'; /* what is known again at once */
    if (!server->store || own) {
        enum pg_reason reason = set_retained(server, msg);
        if (reason != PG_OK)
            return reason;
    } else {
        struct retaining *r = malloc(sizeof(*r));
        if (!r)
            return PG_NO_MEMORY;
        *r = (struct retaining){
            .done.fn = retained, .worker = worker, .msg = pg_msg_ref(msg), .ticket = ticket};
        if (ticket)
            pg_ticket_hold(ticket);
        server->store->ops->retain(server->store, msg, &r->done);
    }
    pg_worker_count(worker,
                    msg->payload.len > 0 ? PG_COUNT_RETAINED_STORED : PG_COUNT_RETAINED_CLEARED, 1);
    return PG_OK;
}

/* ---- topics ---------------------------------------------------------------------------------- */

/* The client identifier of a topic <parent>/p2p/<client id>; the parent is one level. */
static bool p2p_target(struct pg_bytes topic, struct pg_bytes *target)
{
    static const char mark[] = "/p2p/";
    const size_t mark_len = sizeof(mark) - 1;
    const uint8_t *slash = memchr(topic.data, '/', topic.len);
    if (!slash || slash == topic.data || topic.data[0] == '$')
        return false;
    size_t at = (size_t)(slash - topic.data);
    if (topic.len - at <= mark_len || memcmp(slash, mark, mark_len) != 0)
        return false;
    *target = (struct pg_bytes){.data = slash + mark_len, .len = topic.len - at - mark_len};
    return true;
}

enum pg_reason pg_router_publish(struct pg_worker *worker, struct pg_msg *msg,
                                 struct pg_ticket *ticket)
{
    struct pg_bytes target;
    if (p2p_target(msg->topic, &target))
        return pg_router_send(worker, target, msg, ticket);
    if (msg->retain) {
        enum pg_reason reason = retain(worker, msg, ticket);
        if (reason != PG_OK)
            return reason;
    }
    enum pg_reason reason = route(worker, msg, ticket);
    if (reason == PG_NO_SUBSCRIBERS)
        pg_worker_count(worker, PG_COUNT_MESSAGES_UNMATCHED, 1);
    return reason;
}

/* ---- P2P ------------------------------------------------------------------------------------- */

struct sent {
    struct pg_task task; /* first */
    struct pg_msg *msg;
    struct pg_ticket *ticket;
    size_t target_len;
    uint8_t target[];
};

static enum pg_reason offer_to(struct pg_worker *worker, struct pg_session *session,
                               struct pg_msg *msg, struct pg_ticket *ticket)
{
    struct pg_offer offer = {
        .msg = msg,
        .stamp = ++worker->router.stamp,
        .from = PG_HELD_ALWAYS,
        .ticket = ticket,
    };
    enum pg_reason reason = pg_session_offer(session, &offer);
    pg_sessions_keep_fresh(worker);
    return reason;
}

static void deliver_sent(struct pg_task *task, struct pg_worker *worker)
{
    struct sent *sent = (struct sent *)task;
    struct pg_bytes target = {.data = sent->target, .len = sent->target_len};
    /* The session may have moved on meanwhile: this looks again where it is. */
    enum pg_reason reason = pg_router_send(worker, target, sent->msg, sent->ticket);
    if (sent->ticket)
        pg_ticket_done(sent->ticket, reason);
    pg_msg_unref(&sent->msg);
    free(sent);
}

enum pg_reason pg_router_send(struct pg_worker *worker, struct pg_bytes target, struct pg_msg *msg,
                              struct pg_ticket *ticket)
{
    struct pg_registered found = pg_registry_find(worker->server->registry, target);
    if (found.owner == PG_NO_OWNER)
        return PG_NO_SUCH_CLIENT;
    if (found.owner == worker->index)
        return offer_to(worker, found.session, msg, ticket);
    struct sent *sent = malloc(sizeof(*sent) + target.len);
    if (!sent)
        return PG_NO_MEMORY;
    *sent = (struct sent){
        .task.run = deliver_sent,
        .msg = pg_msg_ref(msg),
        .ticket = ticket,
        .target_len = target.len,
    };
    memcpy(sent->target, target.data, target.len);
    if (ticket)
        pg_ticket_hold(ticket);
    pg_worker_post(worker->server->workers[found.owner], &sent->task);
    return PG_OK;
}

void pg_announce(struct pg_msg *msg)
{
    struct pg_worker *worker = pg_worker_current();
    if (worker)
        (void)pg_router_publish(worker, msg, NULL);
    pg_msg_unref(&msg);
}

/* ---- the rest of a message of a former process ----------------------------------------------- */

static bool is_among(struct pg_bytes one, const struct pg_bytes *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pg_bytes_equal(one, list[i]))
            return true;
    return false;
}

static void deliver_rest(union pg_members *m, struct pg_offer *offer,
                         const struct pg_router_reached *reached)
{
    for (uint32_t i = 0; i < count_of(m); i++) {
        const struct pg_sub *sub = subs_of(m)[i];
        if (is_among(pg_session_id(sub->session), reached->client_ids, reached->count))
            continue;
        offer->sub = sub;
        (void)pg_session_offer(sub->session, offer);
    }
}

static void route_rest(struct pg_worker *worker, struct pg_offer *offer,
                       const struct pg_router_reached *reached)
{
    struct pg_match *match = &worker->router.match;
    pg_subindex_match(worker->server->subindex, offer->msg->topic, match);
    for (size_t i = 0; i < match->count; i++) {
        const struct pg_match_hit *hit = &match->hits[i];
        union pg_members *m = members_of(&worker->router, hit->ref);
        if (!m)
            continue;
        if (!hit->shared) {
            deliver_rest(m, offer, reached);
            continue;
        }
        /* The first worker that has members takes it for the group. */
        const struct pg_sub *first = first_of(m);
        bool ours = (hit->workers & ((UINT64_C(1) << worker->index) - 1)) == 0;
        if (ours &&
            !is_among(pg_sub_filter(first->session, first), reached->shares, reached->share_count))
            (void)deliver_one(m, offer);
    }
}

void pg_router_publish_rest(struct pg_worker *worker, struct pg_msg *msg,
                            const struct pg_router_reached *reached, struct pg_ticket *ticket)
{
    struct pg_server *server = worker->server;
    struct pg_offer offer = {
        .msg = msg,
        .stamp = ++worker->router.stamp,
        .from = PG_HELD_ALWAYS,
        .ticket = ticket,
    };
    struct pg_bytes target;
    if (p2p_target(msg->topic, &target)) {
        struct pg_registered found = pg_registry_find(server->registry, target);
        if (found.owner == worker->index && !is_among(target, reached->client_ids, reached->count))
            (void)pg_session_offer(found.session, &offer);
    } else {
        route_rest(worker, &offer, reached);
    }
    pg_sessions_keep_fresh(worker);
    /* Whatever the topic has by now is newer. */
    struct pg_msg *newer =
        msg->retain && worker->index == 0 ? pg_retained_get(server->retained, msg->topic) : NULL;
    if (msg->retain && worker->index == 0 && !newer)
        (void)retain(worker, msg, ticket);
    pg_msg_unref(&newer);
}
