/* SPDX-License-Identifier: Apache-2.0 */

/* Subscriptions. A session keeps a single one by itself, since most clients have one, and more in
 * a table by filter (open addressing). The shared index hears only of the first and the last
 * subscriber of a filter in this worker, and keeps its text for all of them; see subindex.h. */

#include "subscription.h"

#include <stdlib.h>

#include "hash.h"
#include "router.h"
#include "server.h"
#include "topic.h"
#include "worker_parts.h"

#define FIRST_SIZE 4u

struct pg_bytes pg_sub_filter(const struct pg_session *session, const struct pg_sub *sub)
{
    return pg_subindex_filter(session->worker->server->subindex, pg_sub_node(sub));
}

static uint32_t home_of(const struct pg_sub_table *table, struct pg_bytes filter)
{
    return (uint32_t)pg_hash(filter) & (table->size - 1);
}

/* In the table: the slot that holds the filter, or the free one where it belongs. */
static struct pg_sub **probe(const struct pg_session *session, struct pg_sub_table *table,
                             struct pg_bytes filter)
{
    uint32_t at = home_of(table, filter);
    while (table->slots[at] && !pg_bytes_equal(pg_sub_filter(session, table->slots[at]), filter))
        at = (at + 1) & (table->size - 1);
    return &table->slots[at];
}

struct pg_sub *pg_subscription_find(const struct pg_session *session, struct pg_bytes filter)
{
    if (session->has_table)
        return *probe(session, session->subs.table, filter);
    struct pg_sub *one = session->subs.one;
    return one && pg_bytes_equal(pg_sub_filter(session, one), filter) ? one : NULL;
}

static void enter(const struct pg_session *session, struct pg_sub_table *table, struct pg_sub *sub)
{
    *probe(session, table, pg_sub_filter(session, sub)) = sub;
    table->count++;
}

/* A table of `size`, with what there is so far. */
static bool make_table(struct pg_session *session, uint32_t size)
{
    struct pg_sub_table *table = calloc(1, sizeof(*table) + size * sizeof(table->slots[0]));
    if (!table)
        return false;
    table->size = size;
    if (session->has_table) {
        struct pg_sub_table *old = session->subs.table;
        for (uint32_t i = 0; i < old->size; i++)
            if (old->slots[i])
                enter(session, table, old->slots[i]);
        free(old);
    } else {
        enter(session, table, session->subs.one);
    }
    session->subs.table = table;
    session->has_table = true;
    return true;
}

/* Room for one more: a single one needs no table. */
static bool make_room(struct pg_session *session)
{
    if (!session->has_table)
        return !session->subs.one || make_table(session, FIRST_SIZE);
    const struct pg_sub_table *table = session->subs.table;
    return (table->count + 1) * 4 <= table->size * 3 || make_table(session, table->size * 2);
}

static void insert(struct pg_session *session, struct pg_sub *sub)
{
    if (session->has_table)
        enter(session, session->subs.table, sub);
    else
        session->subs.one = sub;
}

static void free_table(struct pg_session *session)
{
    if (session->has_table)
        free(session->subs.table);
    session->has_table = false;
    session->subs.one = NULL;
}

/* Take it out, and move up whoever would no longer be found past its place. */
static void take_out(struct pg_session *session, struct pg_sub *sub)
{
    if (!session->has_table) {
        session->subs.one = NULL;
        return;
    }
    struct pg_sub_table *table = session->subs.table;
    struct pg_sub **hole = probe(session, table, pg_sub_filter(session, sub));
    uint32_t mask = table->size - 1, free_at = (uint32_t)(hole - table->slots);
    table->slots[free_at] = NULL;
    for (uint32_t at = (free_at + 1) & mask; table->slots[at]; at = (at + 1) & mask) {
        uint32_t home = home_of(table, pg_sub_filter(session, table->slots[at]));
        if (((at - home) & mask) >= ((at - free_at) & mask)) {
            table->slots[free_at] = table->slots[at];
            table->slots[at] = NULL;
            free_at = at;
        }
    }
    if (--table->count == 0)
        free_table(session);
}

uint32_t pg_subscription_count(const struct pg_session *session)
{
    return session->has_table ? session->subs.table->count : session->subs.one != NULL;
}

static void set_options(struct pg_sub *to, const struct pg_subscription *from)
{
    to->id = from->id & PG_SUBSCRIPTION_ID_MAX;
    to->qos = from->qos & 3u;
    to->no_local = from->no_local;
    to->retain_as_published = from->retain_as_published;
    to->internal = from->internal;
}

static void set_counted(struct pg_session *session, struct pg_sub *sub, bool counted)
{
    struct pg_worker *worker = session->worker;
    if (!sub->shared || sub->counted == counted)
        return;
    sub->counted = counted;
    pg_subindex_members(worker->server->subindex, pg_sub_node(sub), worker->index,
                        counted ? 1 : -1);
}

/* Nobody in this worker subscribes at a node any more. */
static void release(struct pg_worker *worker, pg_node_ref node)
{
    unsigned part = pg_match_part(worker->server->subindex, node);
    pg_subindex_release(worker->server->subindex, node, worker->index);
    pg_match_changed(&worker->server->changes, part);
}

/* Enter the node and its list of members in this worker. */
static bool join_node(struct pg_session *session, struct pg_sub *sub,
                      const struct pg_filter *filter)
{
    struct pg_worker *worker = session->worker;
    struct pg_subindex *index = worker->server->subindex;
    sub->shared = filter->group.data != NULL;
    pg_node_ref node = pg_subindex_acquire(index, filter, worker->index);
    if (node == PG_NODE_NONE)
        return false;
    if (pg_members_count(&worker->router, node) == 0)
        pg_match_changed(&worker->server->changes, pg_match_part(index, node));
    sub->node_generation = pg_node_generation(node);
    sub->node_id = pg_node_id(node) & (PG_NODE_IDS - 1);
    if (!pg_members_add(&worker->router, sub)) {
        if (pg_members_count(&worker->router, node) == 0)
            release(worker, node);
        return false;
    }
    set_counted(session, sub, session->client != NULL);
    return true;
}

static void leave_node(struct pg_session *session, struct pg_sub *sub)
{
    struct pg_worker *worker = session->worker;
    set_counted(session, sub, false);
    if (pg_members_remove(&worker->router, sub) == 0)
        release(worker, pg_sub_node(sub));
}

static void free_sub(struct pg_session *session, struct pg_sub *sub)
{
    pg_slab_set_free(&session->worker->small, sub, sizeof(*sub));
}

struct pg_sub *pg_subscription_put(struct pg_session *session, const struct pg_subscription *sub,
                                   bool *added, enum pg_reason *reason)
{
    struct pg_sub *known = pg_subscription_find(session, sub->filter);
    *added = !known;
    *reason = PG_NO_MEMORY;
    if (known) {
        set_options(known, sub);
        return known;
    }
    const struct pg_config *config =
        atomic_load_explicit(&session->worker->server->config, memory_order_acquire);
    if (pg_subscription_count(session) >= (uint64_t)config->settings.session.subscriptions) {
        *reason = PG_QUOTA_EXCEEDED;
        return NULL;
    }
    struct pg_filter filter;
    if (pg_topic_filter_check(sub->filter, &filter) != PG_TOPIC_NONE || !make_room(session))
        return NULL;
    struct pg_sub *made = pg_slab_set_new(&session->worker->small, sizeof(*made));
    if (!made)
        return NULL;
    made->session = session;
    set_options(made, sub);
    if (!join_node(session, made, &filter)) {
        free_sub(session, made);
        return NULL;
    }
    insert(session, made);
    pg_worker_count(session->worker, PG_COUNT_SUBSCRIPTIONS_ADDED, 1);
    return made;
}

static void let_go(struct pg_session *session, struct pg_sub *sub)
{
    leave_node(session, sub);
    free_sub(session, sub);
    pg_worker_count(session->worker, PG_COUNT_SUBSCRIPTIONS_REMOVED, 1);
}

bool pg_subscription_drop(struct pg_session *session, struct pg_bytes filter)
{
    struct pg_sub *sub = pg_subscription_find(session, filter);
    if (!sub)
        return false;
    take_out(session, sub);
    let_go(session, sub);
    return true;
}

void pg_subscriptions_drop_all(struct pg_session *session)
{
    if (!session->has_table && session->subs.one)
        let_go(session, session->subs.one);
    for (uint32_t i = 0; session->has_table && i < session->subs.table->size; i++)
        if (session->subs.table->slots[i])
            let_go(session, session->subs.table->slots[i]);
    free_table(session);
}

static void activate(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    set_counted(session, sub, *(const bool *)arg);
}

void pg_subscriptions_set_active(struct pg_session *session, bool active)
{
    pg_subscriptions_each(session, activate, &active);
}

void pg_subscriptions_each(struct pg_session *session,
                           void (*fn)(void *arg, struct pg_session *session, struct pg_sub *sub),
                           void *arg)
{
    if (!session->has_table) {
        if (session->subs.one)
            fn(arg, session, session->subs.one);
        return;
    }
    for (uint32_t i = 0; session->has_table && i < session->subs.table->size;) {
        struct pg_sub *sub = session->subs.table->slots[i];
        if (sub)
            fn(arg, session, sub);
        if (session->has_table && session->subs.table->slots[i] == sub)
            i++; /* else it was dropped, and another may have moved up into its place */
    }
}
