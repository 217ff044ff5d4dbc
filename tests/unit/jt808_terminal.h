/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_TERMINAL_H
#define JT808_TERMINAL_H

/* A terminal as the tests of the frontend play it: frames up by message id and body, frames down
 * taken apart again. */

#include "fake_core.h"
#include "jt808/jt808.h"
#include "jt808/jt808_codec.h"
#include "jt808/jt808_parts.h"
#include "jt808_hex.h"
#include "suite.h"

#define PHONE "013800138000"

/* A frame of a phone (12 or 20 digits choose the form); the body in hexadecimal. */
static inline struct jt808_frame up_frame(const char *phone, uint16_t msg_id, uint16_t serial)
{
    struct jt808_frame frame = {.msg_id = msg_id, .serial = serial};

    frame.header_2019 = strlen(phone) == JT808_PHONE_DIGITS_2019;
    frame.attributes = frame.header_2019 ? JT808_ATTR_VERSION : 0;
    frame.protocol_version = frame.header_2019 ? 1 : 0;
    CU_ASSERT_TRUE_FATAL(jt808_frame_set_phone(&frame, pg_bytes_str(phone)));
    return frame;
}

static inline void feed_frame(struct pg_conn *conn, const struct jt808_frame *frame)
{
    uint8_t wire[JT808_WIRE_MAX];
    size_t len = jt808_frame_encode(frame, wire, sizeof(wire));

    CU_ASSERT_FATAL(len > 0 && len <= sizeof(wire));
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
}

static inline void up(struct pg_conn *conn, const char *phone, uint16_t msg_id, uint16_t serial,
                      const char *body)
{
    struct jt808_frame frame = up_frame(phone, msg_id, serial);

    frame.body = hex_bytes(body);
    feed_frame(conn, &frame);
    free((void *)frame.body.data);
}

static inline void up_package(struct pg_conn *conn, uint16_t msg_id, uint16_t serial,
                              uint16_t total, uint16_t index, const char *body)
{
    struct jt808_frame frame = up_frame(PHONE, msg_id, serial);

    frame.attributes |= JT808_ATTR_SUBPACKAGE;
    frame.package_total = total;
    frame.package_index = index;
    frame.body = hex_bytes(body);
    feed_frame(conn, &frame);
    free((void *)frame.body.data);
}

/* The next frame that was sent to the terminal. */
struct down {
    struct jt808_frame frame; /* msg_id 0: there is none */
    uint8_t body[JT808_BODY_MAX];
    uint8_t wire[JT808_WIRE_MAX];
    size_t wire_len;
};

static inline struct down down(struct pg_conn *conn)
{
    struct down d = {0};
    struct jt808_stream stream = {0};
    struct jt808_scratch scratch;
    enum jt808_error error;
    size_t used;
    struct pg_bytes written = fake_written(conn);

    if (written.len == 0) {
        return d;
    }
    CU_ASSERT_EQUAL_FATAL(jt808_frame_next(&stream, written, &scratch, &used, &d.frame, &error),
                          JT808_FRAME_WHOLE);
    memcpy(d.body, d.frame.body.data, d.frame.body.len);
    d.frame.body.data = d.body;
    memcpy(d.wire, written.data, used);
    d.wire_len = used;
    fake_taken(conn, used);
    return d;
}

/* The next frame sent has this id and this body. */
static inline bool down_is(struct pg_conn *conn, uint16_t msg_id, const char *body)
{
    struct down d = down(conn);
    struct pg_bytes want = hex_bytes(body);
    bool equal = d.frame.msg_id == msg_id && d.frame.body.len == want.len &&
                 (want.len == 0 || memcmp(d.body, want.data, want.len) == 0);

    if (!equal) {
        char *hex = hex_text((struct pg_bytes){.data = d.body, .len = d.frame.body.len});
        printf("    sent %04x %s, not %04x %s\n", d.frame.msg_id, hex, msg_id, body);
        free(hex);
    }
    free((void *)want.data);
    return equal;
}

static inline bool down_is_nothing(struct pg_conn *conn)
{
    struct down d = down(conn);

    if (d.frame.msg_id != 0) {
        printf("    sent %04x although nothing was expected\n", d.frame.msg_id);
    }
    return d.frame.msg_id == 0;
}

/* Register and return the code in hexadecimal. */
static inline char *registered_code(struct pg_conn *conn, const char *phone, uint16_t serial)
{
    up(conn, phone, 0x0100, serial,
       "002c012f 3730313131 4d31000000000000000000000000000000000000 30303030303031 01 d4c14131");
    struct down d = down(conn);

    CU_ASSERT_FATAL(d.frame.msg_id == 0x8100 && d.frame.body.len > 3 && d.body[2] == 0);
    return hex_text((struct pg_bytes){.data = d.body + 3, .len = d.frame.body.len - 3});
}

/* Registration and authentication; serials 0 and 1. */
static inline void log_in(struct pg_conn *conn, const char *phone)
{
    char *code = registered_code(conn, phone, 0);
    char body[256];

    if (strlen(phone) == JT808_PHONE_DIGITS_2019) {
        (void)snprintf(body, sizeof(body), "%02x%s 383630303030303030303030303030 %040d",
                       (unsigned)strlen(code) / 2, code, 0);
    } else {
        (void)snprintf(body, sizeof(body), "%s", code);
    }
    up(conn, phone, 0x0102, 1, body);
    CU_ASSERT_TRUE_FATAL(down_is(conn, 0x8001, "0001 0102 00"));
    free(code);
}

static inline struct pg_conn *logged_in(const char *phone)
{
    struct pg_conn *conn = fake_connect();

    log_in(conn, phone);
    return conn;
}

/* A location without items: Beijing, ACC on, positioned. */
#define LOCATION "00000000 00000003 02625a00 06ef0d80 0032 0258 005a 260301080000"

static inline bool payload_has(const struct fake_message *m, const char *part)
{
    return m && memmem(m->msg->payload.data, m->msg->payload.len, part, strlen(part)) != NULL;
}

static inline struct jt808_conf *conf(void)
{
    return fake_conf();
}

#endif
