/* SPDX-License-Identifier: Apache-2.0 */

/* Forwarding to another platform as a state machine. Input: two bytes of configuration, then a
 * script of steps; the first byte of a step says what it is:
 *
 *   queue     VIN, command, second, length, payload: a report of a vehicle to be forwarded, or bytes that
 *             anybody sent to the link's client
 *   answer    VIN, command, flag, second: of the platform, often the one that is waited for
 *   frame     command, flag, edition, encryption, length, unit: any sound frame of the platform
 *   bytes     length, bytes: as they are
 *   time      how long
 *   break     the link goes; a new one comes
 *   full      the connection has no room, or has it again
 *
 * Whatever the script: the test double's own checks hold (nothing is used after its end, nothing
 * leaks), what is sent are sound frames, and nothing is reported before the platform has let us
 * in. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake_calls.h"
#include "../unit/fake_core.h"
#include "gbt32960/gbt32960.h"
#include "gbt32960/gbt32960_forward.h"
#include "require.h"
#include "script.h"

#define US       "calls/block"
#define PLATFORM "PGATEPLATFORM0001"

static const char *const vins[] = {"LPGATE00000000017", "LPGATE00000000018"};
static struct pg_conn *conn;

static void open_link(void)
{
    conn = fake_connect();
    forward_protocol.connected(conn);
}

static void read_down(void)
{
    struct pg_bytes in = fake_written(conn);
    size_t total = in.len;
    bool let_in = fake_call().welcomed && fake_call().rest_ms < 0; /* a login sets it */

    while (in.len > 0) {
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        require(gbt_frame_next(in, &used, &frame, &error) == GBT_FRAME_WHOLE);
        bool reports = !gbt_frame_is_answer(&frame) && frame.command <= GBT_VEHICLE_LOGOUT;
        require(!reports || let_in);
        in.data += used;
        in.len -= used;
    }
    fake_taken(conn, total);
}

static size_t frame_of(uint8_t *wire, size_t size, const char *id, unsigned command, uint8_t flag,
                       struct pg_bytes unit)
{
    struct gbt_frame frame = {.edition = GBT_2016,
                              .command = (uint8_t)command,
                              .response = flag,
                              .encryption = GBT_PLAIN,
                              .unit = unit};

    memcpy(frame.id, id, strlen(id));
    return gbt_frame_encode(&frame, wire, size);
}

/* A time of one of a few seconds, and some of a report behind it. */
static struct pg_bytes unit_of(struct script *s, uint8_t room[16])
{
    const uint8_t unit[16] = {26, 3, 1,   8,   0,  (uint8_t)(next_byte(s) % 60), 5, 0, 7, 49, 212,
                              55, 1, 213, 216, 107};

    memcpy(room, unit, sizeof(unit));
    return (struct pg_bytes){.data = room, .len = sizeof(unit)};
}

static void step_queue(struct script *s)
{
    uint8_t wire[GBT_WIRE_MAX], room[16];
    unsigned what = next_byte(s);
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("t"),
                               .qos = (what & 0x20) ? 0 : 1,
                               .protocol = (what & 0x10) ? "mqtt" : "gbt32960"};

    if (what & 0x40) {
        spec.payload = next_bytes(s, next_byte(s));
    } else {
        spec.payload.data = wire;
        spec.payload.len = frame_of(wire, sizeof(wire), vins[what & 1], 1 + (what >> 1 & 3),
                                    GBT_COMMAND, unit_of(s, room));
    }
    struct pg_msg *msg = pg_msg_new(&spec);
    require(msg != NULL);
    fake_queue(US, msg, spec.qos, false, NULL, 0);
    if (fake_client(conn)) {
        forward_protocol.deliver(fake_client(conn));
    }
}

static void feed(const char *id, unsigned command, uint8_t flag, struct pg_bytes unit)
{
    uint8_t wire[GBT_WIRE_MAX];
    size_t len = frame_of(wire, sizeof(wire), id, command, flag, unit);

    require(len > 0);
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
}

static void step_answer(struct script *s)
{
    static const uint8_t flags[] = {GBT_SUCCESS, GBT_SUCCESS, GBT_ERROR, GBT_VIN_DUPLICATE};
    static const uint8_t commands[] = {GBT_REALTIME_REPORT, GBT_REISSUE_REPORT, GBT_VEHICLE_LOGIN,
                                       GBT_VEHICLE_LOGOUT,  GBT_PLATFORM_LOGIN, GBT_PLATFORM_LOGIN,
                                       GBT_PLATFORM_LOGOUT, GBT_HEARTBEAT};
    uint8_t room[16];
    unsigned what = next_byte(s);
    uint8_t command = commands[what >> 1 & 7];
    bool own = command >= GBT_PLATFORM_LOGIN;
    struct pg_bytes unit = unit_of(s, room);

    unit.len = command == GBT_HEARTBEAT ? 0 : (what & 0x80) ? 6 : unit.len;
    feed(own ? PLATFORM : vins[what & 1], command, flags[what >> 4 & 3], unit);
}

static void step_frame(struct script *s)
{
    unsigned what = next_byte(s);
    unsigned command = next_byte(s);
    uint8_t flag = (what & 2) ? GBT_COMMAND : (uint8_t)next_byte(s);

    feed((what & 1) ? vins[0] : PLATFORM, command, flag, next_bytes(s, next_byte(s)));
}

static void step(struct script *s)
{
    enum pg_reason reason;

    switch (next_byte(s) % 7) {
    case 0:
        step_queue(s);
        break;
    case 1:
        step_answer(s);
        break;
    case 2:
        step_frame(s);
        break;
    case 3:
        fake_feed(conn, next_bytes(s, next_byte(s)));
        break;
    case 4:
        fake_advance(250 * (int64_t)next_byte(s));
        break;
    case 5:
        fake_break(conn);
        open_link();
        return;
    default:
        fake_full(conn, (next_byte(s) & 1) != 0);
        break;
    }
    read_down();
    if (fake_is_closed(conn, &reason)) {
        open_link();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = script_of(data, size);

    fake_calls_begin();
    fake_begin(&forward_protocol);
    struct fwd_conf *conf = fake_conf();
    unsigned choices = next_byte(&s);
    conf->platform = PLATFORM;
    conf->username = "gateway";
    conf->password = "secret";
    conf->answers = (int)(choices & 1);
    conf->units = (int)(choices >> 1 & 1);
    conf->edition = (int)(choices >> 2 & 1);
    conf->heartbeat_ms = (choices & 8) ? 30000 : 0;
    conf->window = 1 + (choices >> 4 & 7);
    conf->rate = next_byte(&s);
    open_link();
    for (unsigned steps = 0; s.at < s.end && steps < 400; steps++) {
        step(&s);
    }
    fake_end();
    return 0;
}
