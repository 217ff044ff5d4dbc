/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CORE_H
#define FAKE_CORE_H

/* A test double of the core: everything of polygate.h that a frontend may call, with a clock that
 * stands until it is told to move, no sockets, and records of all that the frontend did. One
 * worker, one thread, one frontend at a time. Events reach the frontend in fake_turn(), as the core
 * delivers them later in a turn, never from inside a call.
 *
 * What it checks by itself: callbacks are only made on what lives, answers are not written to a
 * closed link, messages are not leaked (fake_end() aborts if one is).
 */

#include "polygate.h"

/* Begin a test: forget everything, take the defaults of the frontend's option rows. */
void fake_begin(const struct pg_protocol *protocol);
/* End it: close what is open, check that nothing is leaked. */
void fake_end(void);
/* The frontend's configuration struct, to be changed before fake_connect(). */
void *fake_conf(void);
/* Store an option's default in `conf`, which is the protocol's struct. */
void fake_set_default(const struct pg_option *row, char *conf);

/* ---- connections ---------------------------------------------------------------------------- */

struct pg_conn *fake_connect(void);
/* Bytes arrive; then a turn. */
void fake_feed(struct pg_conn *conn, struct pg_bytes bytes);
/* The link breaks; then a turn. `conn` must not be used afterwards. */
void fake_break(struct pg_conn *conn);
/* Deliver what is due, until nothing is. */
void fake_turn(void);
/* Move the clock, in steps of 100 ms with timers and turns in between. */
void fake_advance(int64_t ms);

/* What was written and not yet taken; lent until the next call. */
struct pg_bytes fake_written(struct pg_conn *conn);
void fake_taken(struct pg_conn *conn, size_t len);
/* Whether it was closed, and why. A closed connection stays readable until fake_end(). */
bool fake_is_closed(struct pg_conn *conn, enum pg_reason *reason);
/* While set, pg_conn_has_room() says no. */
void fake_full(struct pg_conn *conn, bool full);
/* Bytes that the frontend left unconsumed. */
size_t fake_kept(struct pg_conn *conn);
bool fake_is_paused(struct pg_conn *conn);
/* What the frontend set or hinted, and the detail that it closed with. */
struct fake_view {
    size_t frame_limit, expected;
    int64_t idle_ms;
    const char *detail;
};
struct fake_view fake_view(const struct pg_conn *conn);
/* The client admitted on it, or NULL. */
struct pg_client *fake_client(struct pg_conn *conn);

/* ---- decisions ------------------------------------------------------------------------------ */

/* What the access chain says to a login; NULL: everybody comes in. */
extern enum pg_reason (*fake_login)(const struct pg_login *login);
/* Admissions are held back until fake_admit_held(). */
extern bool fake_hold_admissions;
void fake_admit_held(void);
/* What pg_publish() says; PG_PENDING: decided by fake_decide(). */
extern enum pg_reason fake_publish_result;
void fake_decide(uint64_t token, enum pg_reason reason);
void fake_kick(const char *client_id, enum pg_reason reason);
/* What pg_subscribe() says; PG_PENDING: decided by fake_decide_subscription(). */
extern enum pg_reason fake_subscribe_result;
void fake_decide_subscription(struct pg_client *client, uint64_t token, enum pg_reason reason);
/* What pg_may_publish() says, if it is there (fake_exchange.c); for PG_PENDING a test calls the
 * frontend's `published`. */
extern enum pg_reason fake_may_publish_result;
/* What pg_unsubscribe() says of a subscription that there is; for PG_PENDING a test calls the
 * frontend's `unsubscribed`. */
extern enum pg_reason fake_unsubscribe_result;
/* What pg_conn_frame_limit_max() says. */
extern size_t fake_frame_limit_max;
/* The longest life that sessions get, in seconds. */
extern uint32_t fake_session_expiry_max;

/* ---- exchanges in rounds: fake_exchange.c --------------------------------------------------- */

/* The data that goes with an admission. */
extern struct pg_bytes fake_method_data;
/* What pg_client_answer() and pg_client_reauthenticate() were given: how many of each, and the last
 * data as hexadecimal; "none" without any. Rounds are ended by calling the frontend. */
struct fake_rounds {
    size_t answers, reauthentications;
    char data[64];
};
struct fake_rounds fake_rounds(void);
/* Forget them; no limit of frames. For those who link fake_exchange.c, with fake_begin(). */
void fake_exchange_begin(void);

/* ---- facts: fake_facts.c -------------------------------------------------------------------- */

/* What pg_fact_set() says; PG_PENDING is ended by calling the frontend. With an error nothing is
 * set. */
extern enum pg_reason fake_fact_result;

/* ---- what was asked for ---------------------------------------------------------------------- */

/* The last login that asked for admission, its will left out, and how many there were; lent until
 * the next one. */
const struct pg_login *fake_last_login(size_t *count);
/* Every subscription that was asked for, in order; NULL behind the last. Lent until the next call
 * of this file. */
const struct pg_subscription *fake_subscription(size_t index);

/* ---- messages ------------------------------------------------------------------------------- */

struct fake_message {
    struct pg_msg *msg;
    char publisher[64];
    bool announced; /* by pg_announce() */
    bool will;      /* left by a client that ended without a goodbye */
    uint64_t token;
};
/* What was published and announced, in order; lent until the next call of this file. */
size_t fake_message_count(void);
const struct fake_message *fake_message(size_t index);
/* Number of messages on a topic, and the last of them (NULL: none). */
size_t fake_count_on(const char *topic, const struct fake_message **last);
void fake_forget_messages(void);

/* Queue a message for a session (which need not be there yet), then a turn. */
struct fake_send {
    const char *client_id;
    const char *topic;
    struct pg_bytes payload;
    uint8_t qos;
    const char *response_topic; /* NULL: none */
    struct pg_bytes correlation;
    bool expires;
    uint32_t expiry_s;
};
void fake_send(const struct fake_send *send);
/* The same with a message that is there, given; QoS, retain and subscription identifiers (at most
 * 4) are those of the delivery. Without a turn. */
void fake_queue(const char *client_id, struct pg_msg *msg, uint8_t qos, bool retain,
                const uint32_t *subscription_ids, size_t id_count);
/* Deliveries that were settled: how many, and the last one's reason. */
size_t fake_settled(enum pg_reason *last);
/* Deliveries that were returned. */
size_t fake_returned(void);
/* Deliveries of a session that are neither settled nor taken. */
size_t fake_waiting(const char *client_id);
/* Whether the session has this subscription. */
bool fake_has_subscription(const char *client_id, const char *filter);

/* Messages that have a reference. */
size_t fake_live_messages(void);

/* The value of one of the frontend's counters. */
uint64_t fake_counter(const char *name);

#endif
