/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_VEHICLE_H
#define GBT32960_VEHICLE_H

/* A vehicle as the tests of the frontend play it: frames up by command and unit, frames down taken
 * apart again. */

#include "fake_core.h"
#include "gbt32960/gbt32960.h"
#include "gbt32960/gbt32960_parts.h"
#include "jt808_hex.h"
#include "suite.h"

#define VIN      "LPGATE00000000017"
#define VIN_2    "LPGATE00000000018"
#define PLATFORM "PLATFORM000000001"

#define TIME "1a0301080005" /* 2026-03-01 08:00:05 */
/* Logins: serial 1, an ICCID, no codes. */
#define ICCID    "3839383630303030303030303030303030303137"
#define LOGIN    TIME "0001" ICCID "0000"
#define LOGIN_25 TIME "0001" ICCID "00"
#define LOGOUT   TIME "0001"
/* Platform login: user "enterprise", password "secret", no encryption. */
#define PLATFORM_LOGIN                                                                             \
    TIME "0001 656e74657270726973650000 7365637265740000000000000000000000000000 01"
/* A position of 2016, and of 2025. */
#define POSITION    "05 00 073d8aa5 01dc89d0"
#define POSITION_25 "05 00 01 073d8aa5 01dc89d0"
#define REPORT      TIME POSITION
#define REPORT_25   TIME POSITION_25

static inline struct gbt_frame up_frame(unsigned edition, uint8_t command, const char *vin)
{
    struct gbt_frame frame = {.edition = (uint16_t)edition,
                              .command = command,
                              .response = GBT_COMMAND,
                              .encryption = GBT_PLAIN};

    memcpy(frame.id, vin, strlen(vin));
    return frame;
}

static inline void feed_frame(struct pg_conn *conn, const struct gbt_frame *frame)
{
    static uint8_t wire[GBT_WIRE_MAX];
    size_t len = gbt_frame_encode(frame, wire, sizeof(wire));

    CU_ASSERT_FATAL(len > 0 && len <= sizeof(wire));
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
}

static inline void up_flag(struct pg_conn *conn, unsigned edition, uint8_t command, uint8_t flag,
                           const char *vin, const char *unit)
{
    struct gbt_frame frame = up_frame(edition, command, vin);

    frame.response = flag;
    frame.unit = hex_bytes(unit);
    feed_frame(conn, &frame);
    free((void *)(uintptr_t)frame.unit.data);
}

static inline void up(struct pg_conn *conn, uint8_t command, const char *vin, const char *unit)
{
    up_flag(conn, GBT_2016, command, GBT_COMMAND, vin, unit);
}

static inline void up_25(struct pg_conn *conn, uint8_t command, const char *vin, const char *unit)
{
    up_flag(conn, GBT_2025, command, GBT_COMMAND, vin, unit);
}

/* The next frame that was sent to the vehicle. */
struct down {
    struct gbt_frame frame; /* command 0: there is none */
    uint8_t unit[4096];
};

static inline struct down down(struct pg_conn *conn)
{
    struct down d = {.frame = {.command = 0}};
    enum gbt_error error;
    size_t used;
    struct pg_bytes written = fake_written(conn);

    if (written.len == 0) {
        return d;
    }
    CU_ASSERT_EQUAL_FATAL(gbt_frame_next(written, &used, &d.frame, &error), GBT_FRAME_WHOLE);
    CU_ASSERT_FATAL(d.frame.unit.len <= sizeof(d.unit));
    memcpy(d.unit, d.frame.unit.data, d.frame.unit.len);
    fake_taken(conn, used);
    return d;
}

/* The next frame sent has this command, flag and VIN, and this unit (null: not looked at). */
static inline bool down_is(struct pg_conn *conn, uint8_t command, uint8_t flag, const char *vin,
                           const char *unit)
{
    struct down d = down(conn);
    struct pg_bytes want = hex_bytes(unit != NULL ? unit : "");
    char id[GBT_ID_TEXT];
    gbt_id_text(d.frame.id, id);
    bool equal = d.frame.command == command && d.frame.response == flag && strcmp(id, vin) == 0 &&
                 (unit == NULL || (d.frame.unit.len == want.len &&
                                   (want.len == 0 || memcmp(d.unit, want.data, want.len) == 0)));
    if (!equal) {
        char *hex = hex_text((struct pg_bytes){.data = d.unit, .len = d.frame.unit.len});
        printf("    sent %02x flag %02x %s %s, not %02x %02x %s %s\n", d.frame.command,
               d.frame.response, id, hex, command, flag, vin, unit != NULL ? unit : "(any)");
        free(hex);
    }
    free((void *)(uintptr_t)want.data);
    return equal;
}

static inline bool down_is_nothing(struct pg_conn *conn)
{
    struct down d = down(conn);

    if (d.frame.command != 0) {
        printf("    sent %02x flag %02x although nothing was expected\n", d.frame.command,
               d.frame.response);
    }
    return d.frame.command == 0;
}

static inline struct pg_conn *logged_in(const char *vin)
{
    struct pg_conn *conn = fake_connect();

    up(conn, GBT_VEHICLE_LOGIN, vin, LOGIN);
    CU_ASSERT_TRUE_FATAL(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, vin, TIME));
    return conn;
}

static inline bool payload_has(const struct fake_message *m, const char *part)
{
    return m && memmem(m->msg->payload.data, m->msg->payload.len, part, strlen(part)) != NULL;
}

static inline struct gbt_conf *conf(void)
{
    return fake_conf();
}

#endif
