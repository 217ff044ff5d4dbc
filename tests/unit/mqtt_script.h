/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_SCRIPT_H
#define MQTT_SCRIPT_H

/* For tests of the MQTT frontend on the double of the core: what goes in and what must come out,
 * packet by packet. One program includes it once. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_core.h"
#include "mqtt/mqtt_conn.h"
#include "mqtt_hex.h"
#include "suite.h"

#define ROOM 4096u

/* ---- helpers --------------------------------------------------------------------------------- */

/* The double counts messages only with a pool of its own; here they are the real ones, and leaks
 * are the sanitizer's matter. */
size_t fake_live_messages(void)
{
    return 0;
}

int64_t pg_wall_ms(void)
{
    return INT64_C(1800000000000) + pg_now_ms();
}

static inline void renew(void)
{
    fake_end();
    fake_begin(&mqtt_protocol);
    fake_exchange_begin();
}

static enum pg_reason login_verdict; /* what judge_login() says */

static inline enum pg_reason judge_login(const struct pg_login *login)
{
    (void)login;
    return login_verdict;
}

static inline void take(struct pg_conn *conn)
{
    fake_taken(conn, fake_written(conn).len);
}

/* PG_OK: open. */
static inline enum pg_reason closed_for(struct pg_conn *conn)
{
    enum pg_reason reason = PG_OK;
    (void)fake_is_closed(conn, &reason);
    return reason;
}

static inline const char *id_of(struct pg_conn *conn)
{
    return (const char *)pg_client_id(fake_client(conn)).data;
}

/* Message number `i` among the wills, or among the others. */
static inline const struct fake_message *message(bool wills, size_t i)
{
    for (size_t at = 0; at < fake_message_count(); at++) {
        if (fake_message(at)->will == wills && i-- == 0) {
            return fake_message(at);
        }
    }
    return NULL;
}

static inline size_t count_messages(bool wills)
{
    size_t n = 0;
    for (size_t at = 0; at < fake_message_count(); at++) {
        n += fake_message(at)->will == wills;
    }
    return n;
}

static inline const struct pg_login *last_login(void)
{
    size_t count;
    return fake_last_login(&count);
}

static inline size_t login_count(void)
{
    size_t count;
    (void)fake_last_login(&count);
    return count;
}

static inline size_t published_count(void)
{
    return count_messages(false);
}

static inline const struct pg_msg *published(size_t i)
{
    return message(false, i)->msg;
}

static inline uint64_t published_token(size_t i)
{
    return message(false, i)->token;
}

static inline size_t will_count(void)
{
    return count_messages(true);
}

static inline const struct pg_msg *will(size_t i)
{
    return message(true, i)->msg;
}

static inline void feed(struct pg_conn *conn, const char *packet)
{
    uint8_t buffer[ROOM];
    struct pg_bytes bytes = mqtt_hex(packet, buffer, sizeof(buffer));
    fake_feed(conn, bytes);
}

/* What was written must be exactly this; it is taken. */
static inline bool wrote(struct pg_conn *conn, const char *packet)
{
    uint8_t buffer[ROOM];
    struct pg_bytes expected = mqtt_hex(packet, buffer, sizeof(buffer));
    struct pg_bytes got = fake_written(conn);
    bool same = pg_bytes_equal(got, expected);
    if (!same) {
        printf("\n    expected %s\n    got     ", packet);
        for (size_t i = 0; i < got.len; i++) {
            printf(" %02x", got.data[i]);
        }
        printf("\n");
    }
    take(conn);
    return same;
}

/* The first packet written must begin like this; everything is taken. For packets with a reason
 * string, whose wording is free. */
static inline bool wrote_first(struct pg_conn *conn, uint8_t first, size_t code_at, uint8_t code)
{
    struct pg_bytes got = fake_written(conn);
    bool same = got.len > code_at && got.data[0] == first && got.data[code_at] == code;
    if (!same) {
        printf("\n    expected %02x ... %02x, got %zu bytes: %02x ... %02x\n", first, code, got.len,
               got.len > 0 ? got.data[0] : 0, got.len > code_at ? got.data[code_at] : 0);
    }
    take(conn);
    return same;
}

/* DISCONNECT of MQTT 5 with this code was the last thing written, and the connection is closed. */
static inline bool disconnected(struct pg_conn *conn, uint8_t code, enum pg_reason reason)
{
    if (closed_for(conn) != reason) {
        printf("\n    closed for %s (%s), expected %s\n", pg_reason_name(closed_for(conn)),
               fake_view(conn).detail, pg_reason_name(reason));
        return false;
    }
    return wrote_first(conn, 0xe0, 2, code);
}

/* Closed without a word. */
static inline bool silent(struct pg_conn *conn, enum pg_reason reason)
{
    if (closed_for(conn) != reason) {
        printf("\n    closed for %s (%s), expected %s\n", pg_reason_name(closed_for(conn)),
               fake_view(conn).detail, pg_reason_name(reason));
        return false;
    }
    return wrote(conn, "");
}

static inline size_t subscription_count(void)
{
    size_t n = 0;
    while (fake_subscription(n) != NULL) {
        n++;
    }
    return n;
}

static inline struct mqtt_conf *conf(void)
{
    return fake_conf();
}

static inline struct pg_conn *open_conn(void)
{
    return fake_connect();
}

/* A client of 3.1.1, named `id`, clean. */
static inline struct pg_conn *v311(const char *id)
{
    struct pg_conn *conn = open_conn();
    char packet[128];
    snprintf(packet, sizeof(packet), "10 .. 0004'MQTT' 04 02 003c %04zx'%s'", strlen(id), id);
    feed(conn, packet);
    CU_ASSERT_TRUE_FATAL(wrote(conn, "20 02 00 00"));
    return conn;
}

/* A client of 5.0 with a session that stays; `props` is its property block without the length. */
static inline struct pg_conn *v5(const char *id, const char *props)
{
    struct pg_conn *conn = open_conn();
    uint8_t buffer[ROOM];
    char packet[512];
    snprintf(packet, sizeof(packet), "10 .. 0004'MQTT' 05 00 003c %02zx %s %04zx'%s'",
             mqtt_hex(props, buffer, sizeof(buffer)).len, props, strlen(id), id);
    feed(conn, packet);
    struct pg_bytes got = fake_written(conn);
    CU_ASSERT_TRUE_FATAL(got.len > 4 && got.data[0] == 0x20 && got.data[3] == 0);
    take(conn);
    return conn;
}

/* Queue a message for a client and let it go out. */
static inline void deliver(struct pg_conn *conn, const char *topic, const char *payload,
                           uint8_t qos)
{
    const struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic), .payload = pg_bytes_str(payload), .qos = qos};
    fake_queue(id_of(conn), pg_msg_new(&spec), qos, false, NULL, 0);
    fake_turn();
}

static inline bool is(struct pg_bytes bytes, const char *text)
{
    return pg_bytes_equal(bytes, pg_bytes_str(text));
}

static inline void begin(void)
{
    fake_begin(&mqtt_protocol);
    fake_exchange_begin();
}

/* run_suite(), each test on a fresh double. */
static inline int mqtt_suite(const char *name, CU_TestInfo *tests)
{
    return run_suite_with(name, begin, fake_end, tests);
}

#endif
