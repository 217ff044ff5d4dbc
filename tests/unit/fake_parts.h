/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_PARTS_H
#define FAKE_PARTS_H

/* What the parts of the test double share: fake_core.c has connections, clients and turns,
 * fake_session.c what a session holds. For these two alone. */

#include "fake_core.h"

#define MAX_COUNTERS 128

struct pg_client {
    struct pg_conn *conn;
    struct fake_session *session;
    void *cookie;
    uint32_t window;
    struct pg_msg *will;
    bool ended;
    bool ending;
    enum pg_reason end_reason;
    struct pg_client *next;
};

struct fake_delivery {
    struct fake_delivery *next;
    struct pg_msg *msg;
    uint16_t id;
    uint8_t qos;
    bool retain;
    bool out; /* handed out, not settled */
    bool redelivered;
    bool received;
    uint8_t tries;
    uint32_t subscription_ids[4];
    size_t subscription_id_count;
};

struct fake_session {
    struct fake_session *next;
    char id[64];
    struct fake_delivery *deliveries;
    char filters[8][256];
    unsigned filter_count;
    uint16_t last_id;
    uint32_t expiry_s;
    uint8_t receipts[65536 / 8];
    size_t receipt_count;
    struct pg_client *client;
};

struct admission {
    struct admission *next;
    struct pg_conn *conn;
    void *cookie;
    enum pg_reason reason;
    char id[64];
    uint32_t expiry_s, window;
    bool clean;
    struct pg_msg *will;
};

struct decision {
    uint64_t token;
    enum pg_reason reason;
};

struct pg_conn {
    struct pg_conn *next;
    void *state;
    uint8_t *in, *out;
    size_t in_len, out_len, reserved;
    uint8_t reserve[PG_RESERVE_MAX];
    unsigned pauses;
    bool reoffer, closing, dead, full;
    enum pg_reason reason;
    int64_t idle_ms, alive_ms;
    enum pg_reason idle_reason;
    size_t frame_limit, expect;
    char detail[256];
};

struct fake_core {
    const struct pg_protocol *protocol;
    void *conf;
    int64_t now_ms;
    struct pg_conn *conns;
    struct pg_client *clients;
    struct fake_session *sessions;
    struct admission *admissions;
    struct decision decisions[64];
    size_t decision_count;
    struct fake_message *messages;
    size_t message_count;
    size_t settled, returned;
    enum pg_reason settled_last;
    uint64_t counters[MAX_COUNTERS];
    struct pg_timer *timers;
    bool in_call; /* a callback of the frontend runs */
    struct pg_login login;
    size_t login_count;
    struct pg_subscription *subscriptions;
    size_t subscription_count;
    void **kept; /* copies of texts, until the end */
    size_t kept_count;
};

extern struct fake_core fake;

/* fake_core.c: a copy that lives until fake_end(). */
struct pg_bytes fake_keep(struct pg_bytes bytes);

/* fake_session.c: the session of a client, made when it is not there; lent. */
struct fake_session *fake_session_of(const char *id);
/* A clean start: nothing is left of a former session. */
void fake_session_clear(struct fake_session *s);
/* How many deliveries are handed out and not settled. */
size_t fake_session_out(const struct fake_session *s);
/* The frontend is about to hear that its publication `token` came to `reason`: one that was refused
 * gives its identifier back. */
void fake_receipt_decided(struct pg_client *client, uint64_t token, enum pg_reason reason);

#endif
