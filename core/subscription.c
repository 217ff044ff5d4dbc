/* SPDX-License-Identifier: Apache-2.0 */

/* Subscriptions. A session keeps a single one by itself, since most clients have one, and more in
 * a table by filter (open addressing). The shared index hears only of the first and the last
 * subscriber of a filter in this worker; see subindex.h. */

#include "subscription.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "router.h"
#include "server.h"
#include "topic.h"
#include "worker_parts.h"

#define FIRST_SIZE 4u

static uint32_t home_of(const struct pg_session *session, struct pg_bytes filter)
{
    return (uint32_t)pg_hash(filter) & (session->sub_size - 1);
}

/* In a table: the slot that holds the filter, or the free one where it belongs. */
static uint32_t probe(const struct pg_session *session, struct pg_bytes filter)
{
    uint32_t at = home_of(session, filter);
    while (session->subs.many[at] && !pg_bytes_equal(pg_sub_filter(session->subs.many[at]), filter))
        at = (at + 1) & (session->sub_size - 1);
    return at;
}

struct pg_sub *pg_subscription_find(const struct pg_session *session, struct pg_bytes filter)
{
    if (session->sub_size > 0)
        return session->subs.many[probe(session, filter)];
    struct pg_sub *one = session->subs.one;
    return one && pg_bytes_equal(pg_sub_filter(one), filter) ? one : NULL;
}

/* A table of `size`, with what there is so far. */
static bool make_table(struct pg_session *session, uint32_t size)
{
    struct pg_sub **many = calloc(size, sizeof(struct pg_sub *));
    if (!many)
        return false;
    uint32_t before = session->sub_size;
    struct pg_sub *one = session->subs.one, **old = session->subs.many;
    session->subs.many = many;
    session->sub_size = size;
    if (before == 0)
        many[probe(session, pg_sub_filter(one))] = one;
    for (uint32_t i = 0; i < before; i++)
        if (old[i])
            many[probe(session, pg_sub_filter(old[i]))] = old[i];
    if (before > 0)
        free(old);
    return true;
}

/* Room for one more: a single one needs no table. */
static bool make_room(struct pg_session *session)
{
    if (session->sub_count == 0)
        return true;
    if (session->sub_size == 0)
        return make_table(session, FIRST_SIZE);
    return (session->sub_count + 1) * 4 <= session->sub_size * 3 ||
           make_table(session, session->sub_size * 2);
}

static void insert(struct pg_session *session, struct pg_sub *sub)
{
    if (session->sub_size == 0)
        session->subs.one = sub;
    else
        session->subs.many[probe(session, pg_sub_filter(sub))] = sub;
    session->sub_count++;
}

/* Take it out, and move up whoever would no longer be found past its place. */
static void take_out(struct pg_session *session, struct pg_sub *sub)
{
    session->sub_count--;
    if (session->sub_size == 0) {
        session->subs.one = NULL;
        return;
    }
    struct pg_sub **many = session->subs.many;
    uint32_t mask = session->sub_size - 1, hole = probe(session, pg_sub_filter(sub));
    many[hole] = NULL;
    for (uint32_t at = (hole + 1) & mask; many[at]; at = (at + 1) & mask) {
        uint32_t home = home_of(session, pg_sub_filter(many[at]));
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            many[hole] = many[at];
            many[at] = NULL;
            hole = at;
        }
    }
    if (session->sub_count == 0) {
        free(many);
        session->subs.one = NULL;
        session->sub_size = 0;
    }
}

static void set_options(struct pg_sub *to, const struct pg_subscription *from)
{
    to->id = from->id;
    to->qos = from->qos;
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
    pg_subindex_members(worker->server->subindex, sub->node, worker->index, counted ? 1 : -1);
}

/* Enter the node and its list of members in this worker. */
static bool join_node(struct pg_session *session, struct pg_sub *sub)
{
    struct pg_worker *worker = session->worker;
    struct pg_subindex *index = worker->server->subindex;
    struct pg_filter filter;
    if (pg_topic_filter_check(pg_sub_filter(sub), &filter) != PG_TOPIC_NONE)
        return false;
    sub->shared = filter.group.data != NULL;
    sub->node = pg_subindex_acquire(index, &filter, worker->index);
    if (sub->node == PG_NODE_NONE)
        return false;
    if (!pg_members_add(&worker->router, session, sub)) {
        if (pg_members_count(&worker->router, sub->node) == 0)
            pg_subindex_release(index, sub->node, worker->index);
        return false;
    }
    set_counted(session, sub, session->client != NULL);
    return true;
}

static void leave_node(struct pg_session *session, struct pg_sub *sub)
{
    struct pg_worker *worker = session->worker;
    struct pg_subindex *index = worker->server->subindex;
    set_counted(session, sub, false);
    if (pg_members_remove(&worker->router, sub) == 0)
        pg_subindex_release(index, sub->node, worker->index);
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
    if (session->sub_count >= (uint64_t)config->settings.session.subscriptions) {
        *reason = PG_QUOTA_EXCEEDED;
        return NULL;
    }
    struct pg_sub *made =
        make_room(session) ? calloc(1, offsetof(struct pg_sub, filter) + sub->filter.len) : NULL;
    if (!made)
        return NULL;
    made->filter_len = (uint16_t)sub->filter.len;
    memcpy(made->filter, sub->filter.data, sub->filter.len);
    set_options(made, sub);
    if (!join_node(session, made)) {
        free(made);
        return NULL;
    }
    insert(session, made);
    pg_worker_count(session->worker, PG_COUNT_SUBSCRIPTIONS_ADDED, 1);
    return made;
}

static void let_go(struct pg_session *session, struct pg_sub *sub)
{
    leave_node(session, sub);
    free(sub);
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
    if (session->sub_size == 0 && session->subs.one)
        let_go(session, session->subs.one);
    for (uint32_t i = 0; i < session->sub_size; i++)
        if (session->subs.many[i])
            let_go(session, session->subs.many[i]);
    if (session->sub_size > 0)
        free(session->subs.many);
    session->subs.one = NULL;
    session->sub_count = session->sub_size = 0;
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
    if (session->sub_size == 0 && session->subs.one) {
        fn(arg, session, session->subs.one);
        return;
    }
    for (uint32_t i = 0; i < session->sub_size;) {
        struct pg_sub *sub = session->subs.many[i];
        if (sub)
            fn(arg, session, sub);
        if (session->sub_size > 0 && session->subs.many[i] == sub)
            i++; /* else it was dropped, and another may have moved up into its place */
    }
}
