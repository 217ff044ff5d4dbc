/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ROUTER_H
#define PG_ROUTER_H

/* From a message to sessions. On a worker's thread throughout. */

#include "polygate.h"
#include "router_parts.h"
#include "worker.h"

struct pg_session;
struct pg_sub;
struct pg_ticket;

/* Publish a message that was allowed: retained messages are stored, then it is routed to every
 * matching session, or, for a topic of the form <parent>/p2p/<client id>, to that one. `msg` is
 * lent. PG_OK, PG_NO_SUBSCRIBERS, PG_NO_SUCH_CLIENT, or a refusal. With a ticket, what the stores
 * answer later goes to it; the ticket may be NULL. */
enum pg_reason pg_router_publish(struct pg_worker *worker, struct pg_msg *msg,
                                 struct pg_ticket *ticket);
/* To one client by its identifier. */
enum pg_reason pg_router_send(struct pg_worker *worker, struct pg_bytes target, struct pg_msg *msg,
                              struct pg_ticket *ticket);
/* Whom a message reached that a former process did not get to everybody. All lent. */
struct pg_router_reached {
    const struct pg_bytes *client_ids;
    size_t count;
    const struct pg_bytes *shares; /* filters with $share/, of which some member has it */
    size_t share_count;
};
/* Offer it to those sessions of this worker that it did not reach: to be called on every worker. */
void pg_router_publish_rest(struct pg_worker *worker, struct pg_msg *msg,
                            const struct pg_router_reached *reached, struct pg_ticket *ticket);
/* Offer a shared delivery to another member of its group, after `tries` that came to nothing; to
 * `avoid` (which may be NULL) only if nobody else has a client. */
void pg_router_reshare(struct pg_worker *worker, struct pg_msg *msg, pg_node_ref share,
                       uint8_t tries, const struct pg_session *avoid);
/* Whether some worker has more batches waiting than limits.mailbox_batches: publishers should
 * not be read from until it has not. */
bool pg_router_congested(const struct pg_worker *worker);

/* Members of nodes, for subscription.c. false: out of memory. */
bool pg_members_add(struct pg_router_part *part, struct pg_sub *sub);
/* How many are left. */
uint32_t pg_members_remove(struct pg_router_part *part, struct pg_sub *sub);
uint32_t pg_members_count(const struct pg_router_part *part, pg_node_ref node);

#endif
