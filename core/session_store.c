/* SPDX-License-Identifier: Apache-2.0 */

/* Sessions that are kept in the store: their record, and their queue there.
 *
 * Every QoS 1 and 2 delivery of such a session goes to the store with a number. While the client
 * is there and the queue is short, it is put into the queue in memory at once; else the store alone
 * has it. What only the store has is fetched in pages as the queue in memory runs low, until it has
 * caught up. When the client goes, what the store has leaves memory: a queue costs the worker
 * nothing while nobody takes from it.
 *
 * Overlapping subscriptions join in one entry (MQTT 5.0 3.3.4), so that an entry is staged until
 * its fan-out is done. All on the session's worker, but for the end of a fetch, which the store's
 * thread posts to it. */

#include <stdlib.h>

#include "client.h"
#include "message.h"
#include "session_flow.h"
#include "subscription.h"

#define PAGE_ENTRIES 64u
#define PAGE_BYTES   ((size_t)256 * 1024)
/* A page is asked for when no more than so many are left in memory. */
#define LOW_ENTRIES 16u

/* A page that was asked for. The session may be gone, or its client, when it comes. */
struct pg_session_fetch {
    struct pg_task task; /* first */
    struct pg_store_fetch fetch;
    struct pg_worker *worker;
    struct pg_session *session; /* NULL: nobody waits any more */
    uint64_t upto;              /* its next_number then */
    struct pg_store_page *page;
    enum pg_reason result;
};

static struct pg_store *store_of(const struct pg_session *session)
{
    return session->worker->server->store;
}

/* ---- the session itself ---------------------------------------------------------------------- */

bool pg_session_wants_store(const struct pg_session *session)
{
    return store_of(session) && session->expiry_s > 0;
}

bool pg_session_keep(struct pg_session *session)
{
    if (session->kept)
        return true;
    if (!pg_session_wants_store(session))
        return false;
    struct pg_kept *kept = calloc(1, sizeof(*kept));
    if (!kept)
        return false;
    struct pg_store *store = store_of(session);
    kept->handle = store->ops->session_open(store, pg_session_id(session));
    if (!kept->handle) {
        free(kept);
        return false;
    }
    kept->next_number = kept->read_number = 1;
    session->kept = kept;
    return true;
}

static void put_subscription(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    (void)arg;
    const struct pg_subscription record = {
        .filter = pg_sub_filter(session, sub),
        .qos = sub->qos,
        .no_local = sub->no_local,
        .retain_as_published = sub->retain_as_published,
        .id = sub->id,
        .internal = sub->internal,
    };
    struct pg_store *store = store_of(session);
    store->ops->subscription_put(store, session->kept->handle, &record, NULL);
}

bool pg_session_keep_from_now(struct pg_session *session)
{
    if (session->kept) {
        pg_session_put(session, NULL);
        return true;
    }
    if (!pg_session_wants_store(session))
        return true;
    if (!pg_session_keep(session))
        return false;
    pg_session_put(session, NULL);
    pg_subscriptions_each(session, put_subscription, NULL);
    return true;
}

void pg_session_keep_no_more(struct pg_session *session)
{
    if (!session->kept || session->traffic || pg_subscription_count(session) > 0)
        return; /* it goes when the session does */
    struct pg_store *store = store_of(session);
    store->ops->session_drop(store, pg_session_let_go(session), NULL);
}

bool pg_session_keep_restored(struct pg_session *session, struct pg_store_session *handle,
                              uint64_t first_number, uint64_t next_number)
{
    struct pg_kept *kept = calloc(1, sizeof(*kept));
    if (!kept)
        return false;
    *kept = (struct pg_kept){
        .handle = handle,
        .next_number = next_number,
        .read_number = first_number,
    };
    session->kept = kept;
    return true;
}

void pg_session_put(struct pg_session *session, struct pg_ticket *ticket)
{
    struct pg_store *store = store_of(session);
    bool away = session->state == SESSION_LIVE && session->absence;
    struct pg_session_record record = {
        .client_id = pg_session_id(session),
        .expiry_s = session->expiry_s,
        .detached_wall_s = away ? (uint32_t)(session->absence->since_wall_ms / 1000) : 0,
    };
    store->ops->session_put(store, session->kept->handle, &record, pg_ticket_for_store(ticket));
}

/* ---- steps of QoS 2 -------------------------------------------------------------------------- */

/* A step that the store was told of. The session may be gone, or its client, when it answers. */
struct pg_session_step {
    struct pg_task task; /* first */
    struct pg_store_done done;
    struct pg_worker *worker;
    struct pg_session *session; /* NULL: nobody waits any more */
    struct pg_session_step *next, **link;
    enum pg_reason result;
    uint16_t id;
};

static void step_came(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_session_step *step = (struct pg_session_step *)task;
    struct pg_session *session = step->session;
    if (session) {
        *step->link = step->next;
        if (step->next)
            step->next->link = step->link;
        struct pg_out *out = pg_session_find_out(session, step->id);
        if (pg_reason_is_error(step->result))
            pg_conn_close(pg_client_conn(session->client), step->result,
                          "its deliveries cannot be kept");
        else if (out && out->state == OUT_SENDING)
            out->state = OUT_SENT;
        else if (out && out->state == OUT_RECEIVING)
            out->state = OUT_RECEIVED;
        pg_session_make_ready(session);
    }
    free(step);
}

/* On the store's thread. */
static void stepped(struct pg_store_done *done, enum pg_reason result)
{
    struct pg_session_step *step =
        (struct pg_session_step *)((uint8_t *)done - offsetof(struct pg_session_step, done));
    step->result = result;
    pg_worker_post(step->worker, &step->task);
}

static struct pg_session_step *new_step(struct pg_session *session, uint16_t id)
{
    struct pg_session_step *step = calloc(1, sizeof(*step));
    if (!step)
        return NULL;
    struct pg_kept *kept = session->kept;
    step->task.run = step_came;
    step->done.fn = stepped;
    step->worker = session->worker;
    step->session = session;
    step->id = id;
    step->next = kept->steps;
    step->link = &kept->steps;
    if (step->next)
        step->next->link = &step->next;
    kept->steps = step;
    return step;
}

void pg_session_step(struct pg_session *session, const struct pg_out *out)
{
    const struct pg_store_ops *ops = store_of(session)->ops;
    struct pg_store_session *handle = session->kept->handle;
    if (out->state == OUT_SENT) { /* QoS 1 */
        ops->send(store_of(session), handle, out->entry.number, out->id, NULL);
        return;
    }
    struct pg_session_step *step = new_step(session, out->id);
    if (!step)
        pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY, "for its deliveries");
    else if (out->state == OUT_SENDING)
        ops->send(store_of(session), handle, out->entry.number, out->id, &step->done);
    else
        ops->received(store_of(session), handle, out->entry.number, &step->done);
}

void pg_session_forget_steps(struct pg_kept *kept)
{
    for (struct pg_session_step *step = kept->steps; step; step = step->next)
        step->session = NULL;
    kept->steps = NULL;
}

/* ---- keeping --------------------------------------------------------------------------------- */

/* What is out of a former process may be settled before it is read: a page that is on its way has
 * it still. */
static void note_settled(struct pg_session *session, uint64_t number)
{
    struct pg_kept *kept = session->kept;
    if (kept->settled_count == kept->settled_size) {
        uint32_t size = kept->settled_size ? kept->settled_size * 2 : 16;
        uint64_t *settled = realloc(kept->settled, size * sizeof(*settled));
        if (!settled) {
            if (session->client)
                pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY,
                              "while resuming the session");
            return;
        }
        kept->settled = settled;
        kept->settled_size = size;
    }
    kept->settled[kept->settled_count++] = number;
}

/* Those that have been read by now. */
static void forget_settled(struct pg_kept *kept)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < kept->settled_count; i++)
        if (kept->settled[i] >= kept->read_number)
            kept->settled[left++] = kept->settled[i];
    kept->settled_count = left;
    if (left > 0)
        return;
    free(kept->settled);
    kept->settled = NULL;
    kept->settled_size = 0;
}

void pg_session_settle_stored(struct pg_session *session, const struct pg_entry *entry)
{
    struct pg_kept *kept = session->kept;
    if (entry->number == 0 || !kept)
        return;
    if (entry->number >= kept->read_number)
        note_settled(session, entry->number);
    store_of(session)->ops->settle(store_of(session), kept->handle, entry->number);
}

static void forget_fetch(struct pg_kept *kept)
{
    if (kept->fetch)
        kept->fetch->session = NULL;
    kept->fetch = NULL;
}

struct pg_store_session *pg_session_let_go(struct pg_session *session)
{
    struct pg_kept *kept = session->kept;
    if (!kept)
        return NULL;
    forget_fetch(kept);
    pg_session_forget_steps(kept);
    struct pg_store_session *handle = kept->handle;
    free(kept->settled);
    free(kept);
    session->kept = NULL;
    return handle;
}

/* ---- into the store -------------------------------------------------------------------------- */

struct share_search {
    pg_node_ref node;
    struct pg_bytes filter;
};

static void compare_share(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    struct share_search *search = arg;
    if (sub->shared && pg_sub_node(sub) == search->node)
        search->filter = pg_sub_filter(session, sub);
}

static struct pg_bytes share_filter(struct pg_session *session, pg_node_ref node)
{
    struct share_search search = {.node = node, .filter = PG_BYTES_NONE};
    if (node != PG_NODE_NONE)
        pg_subscriptions_each(session, compare_share, &search);
    return search.filter;
}

/* Whether the next entry may be in memory as well. */
static bool has_room(const struct pg_session *session)
{
    const struct pg_kept *kept = session->kept;
    const struct pg_traffic *t = session->traffic;
    if (!session->client || kept->read_number != kept->next_number)
        return false;
    return !t || (t->queue_count < PAGE_ENTRIES && t->queue_bytes < PAGE_BYTES);
}

/* QoS 0 only while nobody is there, and if it is to wait at all. */
bool pg_session_stores(const struct pg_session *session, uint8_t qos)
{
    return qos > 0 || !session->client;
}

void pg_session_enqueue(struct pg_session *session, struct pg_entry *entry,
                        struct pg_ticket *ticket)
{
    struct pg_store *store = store_of(session);
    struct pg_kept *kept = session->kept;
    bool room = has_room(session);
    entry->number = kept->next_number++;
    struct pg_store_entry stored = {
        .number = entry->number,
        .msg = entry->msg,
        .share = share_filter(session, entry->share),
        .ids = entry->many_ids ? entry->many_ids + 1 : &entry->one_id,
        .id_count = (uint16_t)(entry->many_ids ? entry->many_ids[0] : entry->one_id != 0),
        .qos = entry->qos,
        .retain = entry->retain,
        .direct = entry->direct,
    };
    store->ops->enqueue(store, kept->handle, &stored, pg_ticket_for_store(ticket));
    pg_session_count(session, PG_COUNT_MESSAGES_QUEUED, 1);
    if (room && pg_session_append(session, entry)) {
        kept->read_number = kept->next_number;
        pg_session_make_ready(session);
        return;
    }
    pg_entry_clear(entry);
    pg_session_read_ahead(session);
}

void pg_session_stage(struct pg_session *session, const struct pg_entry *entry,
                      struct pg_ticket *ticket)
{
    struct pg_traffic *t = session->traffic;
    struct pg_session_part *part = &session->worker->sessions;
    if (t->has_fresh)
        pg_sessions_keep_fresh(session->worker);
    t = pg_session_traffic(session); /* it may have gone quiet */
    if (!t) {
        struct pg_entry lost = *entry;
        pg_session_drop(session, &lost, PG_NO_MEMORY);
        return;
    }
    t->fresh = *entry;
    t->fresh_ticket = ticket;
    t->has_fresh = true;
    t->next_fresh = part->fresh;
    part->fresh = session;
    t->stamped = &t->fresh;
}

void pg_sessions_keep_fresh(struct pg_worker *worker)
{
    struct pg_session_part *part = &worker->sessions;
    while (part->fresh) {
        struct pg_session *session = part->fresh;
        struct pg_traffic *t = session->traffic;
        struct pg_entry entry = t->fresh;
        part->fresh = t->next_fresh;
        t->has_fresh = false;
        t->stamped = NULL;
        if (pg_session_stores(session, entry.qos))
            pg_session_enqueue(session, &entry, t->fresh_ticket);
        else
            (void)pg_session_push(session, &entry);
        if (session->traffic)
            session->traffic->stamped = NULL;
        pg_session_quieten(session);
    }
}

/* ---- from the store -------------------------------------------------------------------------- */

static bool to_entry(struct pg_session *session, struct pg_store_entry *from, struct pg_entry *to)
{
    const struct pg_sub *sub =
        from->share.len > 0 ? pg_subscription_find(session, from->share) : NULL;
    *to = (struct pg_entry){
        .msg = from->msg,
        .share = sub ? pg_sub_node(sub) : PG_NODE_NONE,
        .number = from->number,
        .one_id = from->id_count == 1 ? from->ids[0] : 0,
        .qos = from->qos,
        .retain = from->retain,
        .direct = from->direct,
    };
    if (from->id_count > 1) {
        to->many_ids = malloc((from->id_count + 1u) * sizeof(*to->many_ids));
        if (!to->many_ids)
            return false;
        to->many_ids[0] = from->id_count;
        for (uint32_t i = 0; i < from->id_count; i++)
            to->many_ids[i + 1] = from->ids[i];
    }
    from->msg = NULL; /* the reference is the entry's now */
    return true;
}

static bool was_settled(const struct pg_kept *kept, uint64_t number)
{
    for (uint32_t i = 0; i < kept->settled_count; i++)
        if (kept->settled[i] == number)
            return true;
    return false;
}

/* An entry that a former process has sent is sent again. false: it is not out. */
static bool take_out_again(struct pg_session *session, struct pg_entry *entry)
{
    if (entry->number > session->kept->absent_upto)
        return false;
    struct pg_out *out = pg_session_out_of(session, entry->number);
    if (!out || out->state != OUT_ABSENT)
        return out != NULL;
    session->traffic->absent_count--;
    session->traffic->out_bytes += entry->msg->payload.len;
    out->entry = *entry;
    out->state = OUT_SENT;
    out->waits = true;
    session->traffic->waiting_count++;
    *entry = (struct pg_entry){.number = entry->number};
    pg_session_add_due(session, out->id);
    return true;
}

/* false: memory is out; the rest is fetched again. */
static bool take_page(struct pg_session *session, struct pg_store_page *page)
{
    struct pg_kept *kept = session->kept;
    for (uint32_t i = 0; i < page->count; i++) {
        struct pg_entry entry;
        if (!to_entry(session, &page->entries[i], &entry))
            return false;
        /* Those that are missing in between have gone meanwhile, and their identifiers with them,
         * as in next_queued(). */
        session->next_id += (uint16_t)(entry.number - kept->read_number);
        kept->read_number = entry.number + 1;
        if (was_settled(kept, entry.number) || take_out_again(session, &entry))
            pg_entry_clear(&entry);
        else if (entry.number < kept->checked_from && !pg_session_wants(session, &entry)) {
            pg_session_drop(session, &entry, PG_NOT_AUTHORIZED);
        } else if (!pg_session_append(session, &entry)) {
            kept->read_number = entry.number;
            pg_entry_clear(&entry);
            return false;
        }
    }
    return true;
}

static void page_came(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_session_fetch *fetch = (struct pg_session_fetch *)task;
    struct pg_session *session = fetch->session;
    struct pg_store_page *page = fetch->page;
    if (session) {
        struct pg_kept *kept = session->kept;
        kept->fetch = NULL;
        enum pg_reason reason = fetch->result;
        if (page && !take_page(session, page))
            reason = PG_NO_MEMORY;
        if (page && reason == PG_OK) {
            uint64_t next = page->next;
            if (page->at_end && next < fetch->upto)
                next = fetch->upto;
            if (next > kept->read_number)
                kept->read_number = next;
            pg_session_drop_absent(session, kept->read_number);
            forget_settled(kept);
            pg_session_read_ahead(session);
        } else {
            /* It stays in the store; the client comes again for it. */
            pg_conn_close(pg_client_conn(session->client), reason, "while reading its queue");
        }
        pg_session_make_ready(session);
    }
    pg_store_page_free(&page);
    free(fetch);
}

/* On the store's thread. */
static void fetched(struct pg_store_fetch *store_fetch, struct pg_store_page *page,
                    enum pg_reason result)
{
    struct pg_session_fetch *fetch =
        (struct pg_session_fetch *)((uint8_t *)store_fetch -
                                    offsetof(struct pg_session_fetch, fetch));
    fetch->page = page;
    fetch->result = result;
    pg_worker_post(fetch->worker, &fetch->task);
}

void pg_session_read_ahead(struct pg_session *session)
{
    struct pg_kept *kept = session->kept;
    if (!kept || !session->client || session->state != SESSION_LIVE || kept->fetch ||
        kept->read_number == kept->next_number || pg_session_queued(session) > LOW_ENTRIES)
        return;
    struct pg_session_fetch *fetch = calloc(1, sizeof(*fetch));
    if (!fetch) {
        pg_conn_close(pg_client_conn(session->client), PG_NO_MEMORY, "while reading its queue");
        return;
    }
    fetch->task.run = page_came;
    fetch->fetch.fn = fetched;
    fetch->worker = session->worker;
    fetch->session = session;
    fetch->upto = kept->next_number;
    kept->fetch = fetch;
    struct pg_store *store = store_of(session);
    store->ops->fetch(store, kept->handle, kept->read_number, PAGE_ENTRIES, PAGE_BYTES,
                      &fetch->fetch);
}

void pg_session_unload(struct pg_session *session)
{
    struct pg_kept *kept = session->kept;
    if (!kept)
        return;
    forget_fetch(kept);
    pg_session_forget_steps(kept);
    bool first = true;
    for (uint32_t left = pg_session_queued(session); left > 0; left--) {
        struct pg_entry entry;
        pg_session_pop(session, &entry);
        if (entry.number == 0 && entry.qos > 0) {
            /* A retained message for a new subscription: it is in memory alone. */
            if (!pg_session_append(session, &entry))
                pg_session_drop(session, &entry, PG_NO_MEMORY);
            continue;
        }
        if (entry.number == 0)
            pg_session_count(session, PG_COUNT_MESSAGES_DROPPED, 1); /* QoS 0 is not kept */
        else if (first)
            kept->read_number = entry.number;
        first = first && entry.number == 0;
        pg_entry_clear(&entry);
    }
}
