/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_RECEIPT_H
#define PG_RECEIPT_H

/* Exactly-once receipt (QoS 2) in sessions that are kept: the store has identifier and message
 * before anybody gets the message. On the session's worker. */

#include "polygate.h"
#include "session.h"

struct pg_ticket;

/* Keep the message together with the identifier, which the session holds, then publish it, even if
 * the client has gone by then. The ticket's client is told. false: out of memory. */
bool pg_receipt_publish(struct pg_session *session, uint16_t id, struct pg_msg *msg,
                        struct pg_ticket *ticket) PG_CHECKED;
/* The client was told of a refusal: neither session nor store hold the identifier any more. */
void pg_receipt_refused(struct pg_session *session, uint16_t id);

#endif
