/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STOMP_SCRIPT_H
#define STOMP_SCRIPT_H

/* For tests of the STOMP frontend on the double of the core: what goes in and what must come out,
 * frame by frame, as text in which `@` stands for the octet NUL. A program includes it once. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_core.h"
#include "stomp/stomp_conn.h"
#include "suite.h"

#define ROOM 8192u

/* How what goes in is cut. */
static bool octet_by_octet;

size_t fake_live_messages(void)
{
    return 0; /* leaks are the sanitizer's matter */
}

int64_t pg_wall_ms(void)
{
    return INT64_C(1800000000000) + pg_now_ms();
}

static inline struct stomp_conf *conf(void)
{
    return fake_conf();
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

static inline bool is(struct pg_bytes bytes, const char *text)
{
    return pg_bytes_equal(bytes, pg_bytes_str(text));
}

static inline void in(struct pg_conn *conn, const char *text)
{
    uint8_t buffer[ROOM];
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        buffer[i] = (uint8_t)(text[i] == '@' ? 0 : text[i]);
    }
    size_t step = octet_by_octet ? 1 : len;
    for (size_t at = 0; at < len; at += step) {
        fake_feed(conn, (struct pg_bytes){.data = buffer + at, .len = step});
    }
}

static inline void show(const char *what, struct pg_bytes bytes)
{
    printf("\n    %s ", what);
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] == '\n') {
            printf("\\n");
        } else {
            printf("%c", bytes.data[i] == 0 ? '@' : bytes.data[i]);
        }
    }
    printf("\n");
}

/* What was written must be exactly this; it is taken. */
static inline bool out(struct pg_conn *conn, const char *text)
{
    char got[ROOM];
    struct pg_bytes bytes = fake_written(conn);
    size_t len = bytes.len < sizeof(got) - 1 ? bytes.len : sizeof(got) - 1;
    for (size_t i = 0; i < len; i++) {
        got[i] = (char)(bytes.data[i] == 0 ? '@' : bytes.data[i]);
    }
    got[len] = '\0';
    bool same = strcmp(got, text) == 0;
    if (!same) {
        show("expected", pg_bytes_str(text));
        show("got     ", bytes);
    }
    take(conn);
    return same;
}

/* The last frame written is ERROR with this receipt-id ("": none) and these words in it, and the
 * connection is closed for this reason. */
static inline bool failed(struct pg_conn *conn, enum pg_reason reason, const char *receipt,
                          const char *words)
{
    char text[ROOM], line[64];
    struct pg_bytes bytes = fake_written(conn);
    size_t at = bytes.len > 0 ? bytes.len - 1 : 0; /* its last frame */
    while (at > 0 && bytes.data[at - 1] != 0) {
        at--;
    }
    size_t len = bytes.len - at < sizeof(text) - 1 ? bytes.len - at : sizeof(text) - 1;
    memcpy(text, bytes.data != NULL ? (const char *)bytes.data + at : "", len);
    text[len] = '\0';
    (void)snprintf(line, sizeof(line), "\nreceipt-id:%s\n", receipt);
    bool good = closed_for(conn) == reason && len > 6 && memcmp(text, "ERROR\n", 6) == 0 &&
                strlen(text) == len - 1 && strstr(text, words) != NULL &&
                (strstr(text, "receipt-id:") != NULL) == (receipt[0] != '\0') &&
                (receipt[0] == '\0' || strstr(text, line) != NULL);
    if (!good) {
        printf("\n    closed for %s, expected %s\n", pg_reason_name(closed_for(conn)),
               pg_reason_name(reason));
        show("expected ERROR with", pg_bytes_str(words));
        show("got     ", bytes);
    }
    take(conn);
    return good;
}

/* A client of a version ("1.0": without accept-version), named `id` ("": not). */
static inline struct pg_conn *client(const char *version, const char *id)
{
    char text[256];
    struct pg_conn *conn = fake_connect();
    bool old = strcmp(version, "1.0") == 0;
    (void)snprintf(text, sizeof(text), "CONNECT\n%s%s%shost:h\n%s%s%s\n@",
                   old ? "" : "accept-version:", old ? "" : version, old ? "" : "\n",
                   id[0] != '\0' ? "client-id:" : "", id, id[0] != '\0' ? "\n" : "");
    in(conn, text);
    struct pg_bytes got = fake_written(conn);
    CU_ASSERT_TRUE_FATAL(got.len > 10 && memcmp(got.data, "CONNECTED\n", 10) == 0);
    take(conn);
    return conn;
}

static inline const char *id_of(struct pg_conn *conn)
{
    return (const char *)pg_client_id(fake_client(conn)).data;
}

/* The number of the subscription of the core that was made last. */
static inline uint32_t last_number(void)
{
    uint32_t number = 0;
    for (size_t i = 0; fake_subscription(i) != NULL; i++) {
        number = fake_subscription(i)->id;
    }
    return number;
}

static inline const struct pg_subscription *last_subscription(void)
{
    const struct pg_subscription *sub = NULL;
    for (size_t i = 0; fake_subscription(i) != NULL; i++) {
        sub = fake_subscription(i);
    }
    return sub;
}

/* Queue a message for a client by its filters' numbers, and let it go out. */
static inline void deliver(struct pg_conn *conn, const char *topic, const char *payload,
                           uint8_t qos, const uint32_t *numbers, size_t count)
{
    const struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic), .payload = pg_bytes_str(payload), .qos = qos};
    fake_queue(id_of(conn), pg_msg_new(&spec), qos, false, numbers, count);
    fake_turn();
}

static inline void deliver_one(struct pg_conn *conn, const char *topic, const char *payload,
                               uint8_t qos, uint32_t number)
{
    deliver(conn, topic, payload, qos, &number, 1);
}

static inline const struct pg_msg *published(size_t i)
{
    const struct fake_message *m = fake_message(i);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    return m->msg;
}

static inline void begin(void)
{
    fake_begin(&stomp_protocol);
    fake_exchange_begin();
}

/* run_suite(), each test on a fresh double: with what goes in whole, and then octet by octet. */
static inline int stomp_suite(const char *name, CU_TestInfo *tests)
{
    char cut[64];
    (void)snprintf(cut, sizeof(cut), "%s, octet by octet", name);
    int status = run_suite_with(name, begin, fake_end, tests);
    octet_by_octet = true;
    return run_suite_with(cut, begin, fake_end, tests) || status;
}

#endif
