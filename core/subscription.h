/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SUBSCRIPTION_H
#define PG_SUBSCRIPTION_H

/* The subscriptions of sessions: each is in its session's table and in its worker's list of the
 * members of the node. On the session's worker. */

#include "session.h"

/* By its filter, as asked for; NULL: there is none. */
struct pg_sub *pg_subscription_find(const struct pg_session *session, struct pg_bytes filter);
uint32_t pg_subscription_count(const struct pg_session *session);
/* Add, or replace the options of the same filter. *added tells whether it is new. Returns the
 * subscription, or NULL with *reason. The filter must be valid. */
struct pg_sub *pg_subscription_put(struct pg_session *session, const struct pg_subscription *sub,
                                   bool *added, enum pg_reason *reason);
/* false: there was none. */
bool pg_subscription_drop(struct pg_session *session, struct pg_bytes filter);
void pg_subscriptions_drop_all(struct pg_session *session);
/* The session has a client from now on, or has none: shared subscriptions prefer members that
 * have. */
void pg_subscriptions_set_active(struct pg_session *session, bool active);
/* Call fn for each; it may drop the one that it is shown, and none else. */
void pg_subscriptions_each(struct pg_session *session,
                           void (*fn)(void *arg, struct pg_session *session, struct pg_sub *sub),
                           void *arg);

/* The filter as asked for, with $share/group/; lent while the subscription lives. */
struct pg_bytes pg_sub_filter(const struct pg_session *session, const struct pg_sub *sub);

#endif
