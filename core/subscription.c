/* SPDX-License-Identifier: Apache-2.0 */

/* Subscriptions. A session's table is open addressing by filter and starts with two slots, since
 * most clients have one subscription. The shared index hears only of the first and the last
 * subscriber of a filter in this worker; see subindex.h. */

#include "subscription.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "router.h"
#include "server.h"
#include "topic.h"
#include "worker_parts.h"

#define FIRST_SIZE 2u

static uint32_t probe(const struct pg_session *session, struct pg_bytes filter)
{
    uint32_t mask = session->sub_size - 1;
    uint32_t at = (uint32_t)pg_hash(filter) & mask;
    while (session->subs[at] && !pg_bytes_equal(pg_sub_filter(session->subs[at]), filter))
        at = (at + 1) & mask;
    return at;
}

static bool grow(struct pg_session *session)
{
    if (session->sub_count + 1 < session->sub_size)
        return true;
    uint32_t before = session->sub_size;
    struct pg_sub **old = session->subs;
    uint32_t size = before ? before * 2 : FIRST_SIZE;
    struct pg_sub **subs = calloc(size, sizeof(struct pg_sub *));
    if (!subs)
        return false;
    session->subs = subs;
    session->sub_size = size;
    for (uint32_t i = 0; i < before; i++)
        if (old[i])
            subs[probe(session, pg_sub_filter(old[i]))] = old[i];
    free(old);
    return true;
}

/* Take slot `hole` out and move up whoever would no longer be found past it. */
static void close_hole(struct pg_session *session, uint32_t hole)
{
    uint32_t mask = session->sub_size - 1;
    session->subs[hole] = NULL;
    session->sub_count--;
    for (uint32_t at = (hole + 1) & mask; session->subs[at]; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)pg_hash(pg_sub_filter(session->subs[at])) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            session->subs[hole] = session->subs[at];
            session->subs[at] = NULL;
            hole = at;
        }
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
    if (sub->shared)
        pg_subindex_members(index, sub->node, worker->index, 1);
    return true;
}

static void leave_node(struct pg_session *session, struct pg_sub *sub)
{
    struct pg_worker *worker = session->worker;
    struct pg_subindex *index = worker->server->subindex;
    if (sub->shared)
        pg_subindex_members(index, sub->node, worker->index, -1);
    if (pg_members_remove(&worker->router, sub) == 0)
        pg_subindex_release(index, sub->node, worker->index);
}

struct pg_sub *pg_subscription_put(struct pg_session *session, const struct pg_subscription *sub,
                                   bool *added, enum pg_reason *reason)
{
    *added = false;
    *reason = PG_NO_MEMORY;
    if (!grow(session))
        return NULL;
    uint32_t at = probe(session, sub->filter);
    if (session->subs[at]) {
        set_options(session->subs[at], sub);
        return session->subs[at];
    }
    const struct pg_config *config =
        atomic_load_explicit(&session->worker->server->config, memory_order_acquire);
    if (session->sub_count >= (uint64_t)config->settings.session.subscriptions) {
        *reason = PG_QUOTA_EXCEEDED;
        return NULL;
    }
    struct pg_sub *made = calloc(1, sizeof(*made) + sub->filter.len);
    if (!made)
        return NULL;
    made->filter_len = (uint16_t)sub->filter.len;
    memcpy(made->filter, sub->filter.data, sub->filter.len);
    set_options(made, sub);
    if (!join_node(session, made)) {
        free(made);
        return NULL;
    }
    session->subs[at] = made;
    session->sub_count++;
    *added = true;
    pg_worker_count(session->worker, PG_COUNT_SUBSCRIPTIONS_ADDED, 1);
    return made;
}

static void drop_at(struct pg_session *session, uint32_t at)
{
    struct pg_sub *sub = session->subs[at];
    leave_node(session, sub);
    close_hole(session, at);
    free(sub);
    pg_worker_count(session->worker, PG_COUNT_SUBSCRIPTIONS_REMOVED, 1);
}

bool pg_subscription_drop(struct pg_session *session, struct pg_bytes filter)
{
    if (session->sub_size == 0)
        return false;
    uint32_t at = probe(session, filter);
    if (!session->subs[at])
        return false;
    drop_at(session, at);
    return true;
}

void pg_subscriptions_drop_all(struct pg_session *session)
{
    for (uint32_t i = 0; i < session->sub_size; i++)
        while (session->subs[i])
            drop_at(session, i);
    free(session->subs);
    session->subs = NULL;
    session->sub_size = 0;
}

void pg_subscriptions_each(struct pg_session *session,
                           void (*fn)(void *arg, struct pg_session *session, struct pg_sub *sub),
                           void *arg)
{
    for (uint32_t i = 0; i < session->sub_size;) {
        struct pg_sub *sub = session->subs[i];
        if (sub)
            fn(arg, session, sub);
        if (!sub || session->subs[i] == sub)
            i++; /* else it was dropped, and another moved up into its place */
    }
}
