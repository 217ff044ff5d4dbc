/* SPDX-License-Identifier: Apache-2.0 */

/* The GB/T 32960 frontend as a state machine. Input: two bytes of configuration, then a script of
 * steps; the first byte of a step says what it is:
 *
 *   frame     VIN, command, flag, edition, encryption, length, unit: a sound frame of a vehicle
 *   login     of a vehicle, or of a platform
 *   report    with a position, or with a part of the cell voltages of a subsystem
 *   bytes     length, bytes: as they are
 *   command   quality of service, length, payload: to one of the vehicles
 *   time      how long
 *   decide    a pending publication or admission is decided
 *   break     the link goes; a new one comes
 *   full      the connection has no room, or has it again
 *   kick      one of the vehicles
 *
 * Whatever the script: the test double's own checks hold (nothing is used after its end, nothing
 * leaks), what is sent are sound frames, and no answer is answered. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake_core.h"
#include "gbt32960/gbt32960.h"
#include "gbt32960/gbt32960_parts.h"
#include "require.h"
#include "script.h"

static const char *const vins[] = {"LPGATE00000000017", "LPGATE00000000018", "BENCH",
                                   "PLATFORM000000001"};
#define VINS (sizeof(vins) / sizeof(vins[0]))

static const uint8_t login_16[] = "\x1a\x03\x01\x08\x00\x05\x00\x01"
                                  "89860000000000000017\x00\x00";
static const uint8_t login_25[] = "\x1a\x03\x01\x08\x00\x05\x00\x01"
                                  "89860000000000000017\x00";
static const uint8_t login_platform[] = "\x1a\x03\x01\x08\x00\x05\x00\x01"
                                        "enterprise\0\0secret\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";

static struct pg_conn *conn;

static void read_down(void)
{
    struct pg_bytes in = fake_written(conn);
    size_t total = in.len;

    while (in.len > 0) {
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        require(gbt_frame_next(in, &used, &frame, &error) == GBT_FRAME_WHOLE);
        in.data += used;
        in.len -= used;
    }
    fake_taken(conn, total);
}

static void feed(size_t vin, uint8_t command, uint8_t flag, bool later, uint8_t encryption,
                 struct pg_bytes unit)
{
    static uint8_t wire[GBT_WIRE_MAX];
    struct gbt_frame frame = {.edition = later ? GBT_2025 : GBT_2016,
                              .command = command,
                              .response = flag,
                              .encryption = encryption,
                              .unit = unit};

    memcpy(frame.id, vins[vin], strlen(vins[vin]));
    size_t len = gbt_frame_encode(&frame, wire, sizeof(wire));
    require(len > 0 && len <= sizeof(wire));
    size_t before = fake_written(conn).len;
    bool answer = flag != GBT_COMMAND && command < 0x80 && fake_client(conn) == NULL;
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
    enum pg_reason reason;
    require(!answer || fake_is_closed(conn, &reason) || fake_written(conn).len == before);
}

static void step_frame(struct script *s)
{
    static const uint8_t flags[] = {GBT_COMMAND, GBT_COMMAND, GBT_SUCCESS, GBT_ERROR};
    unsigned what = next_byte(s);
    uint8_t command = (uint8_t)next_byte(s);
    uint8_t encryption = (what & 0x20) ? (uint8_t)(1 + next_byte(s) % 3) : GBT_PLAIN;

    feed(what % VINS, command < 0x20 ? command % 0x0d : command, flags[what >> 2 & 3],
         (what & 0x10) != 0, encryption, next_bytes(s, next_byte(s)));
}

static void step_login(struct script *s)
{
    unsigned what = next_byte(s);
    bool later = (what & 0x10) != 0;

    if (what & 0x20) {
        feed(3, GBT_PLATFORM_LOGIN, GBT_COMMAND, later, GBT_PLAIN,
             (struct pg_bytes){.data = login_platform, .len = 41});
    } else if (later) {
        feed(what % VINS, GBT_VEHICLE_LOGIN, GBT_COMMAND, true, GBT_PLAIN,
             (struct pg_bytes){.data = login_25, .len = 29});
    } else {
        feed(what % VINS, GBT_VEHICLE_LOGIN, GBT_COMMAND, false, GBT_PLAIN,
             (struct pg_bytes){.data = login_16, .len = 30});
    }
}

static void step_report(struct script *s)
{
    unsigned what = next_byte(s);
    uint8_t unit[64] = {
        26, 3, 1, 8, 0, (uint8_t)(what >> 2 & 3),        8, 1, (uint8_t)(what >> 4 & 1),
        0,  1, 0, 1, 0, (uint8_t)(1 + next_byte(s) % 5), 0, 0, 0};
    size_t cells = next_byte(s) % 4;

    unit[16] = (uint8_t)(next_byte(s) % 6);
    unit[17] = (uint8_t)cells;
    feed(what % VINS, (what & 0x20) ? GBT_REISSUE_REPORT : GBT_REALTIME_REPORT, GBT_COMMAND, false,
         GBT_PLAIN, (struct pg_bytes){.data = unit, .len = 18 + 2 * cells});
}

static void step_command(struct script *s)
{
    static const char *const payloads[] = {
        "{\"message\":\"parameter_query\",\"body\":{\"parameter_ids\":[2]}}",
        "{\"message\":\"terminal_control\",\"body\":{\"control\":\"reset\"}}",
        "{\"id\":\"0xc1\",\"body\":{\"hex\":\"01\"}}", "232380fe"};
    unsigned flags = next_byte(s);
    unsigned which = next_byte(s);
    struct fake_send send = {
        .client_id = vins[flags % VINS],
        .qos = (flags & 0x10) ? 1 : 0,
        .response_topic = (flags & 0x20) ? "r" : NULL,
        .correlation = PG_BYTES_OF("c"),
        .expires = (flags & 0x40) != 0,
        .expiry_s = 15,
    };

    send.payload = which < 0x80 ? pg_bytes_str(payloads[which % 4]) : next_bytes(s, which & 0x7f);
    fake_send(&send);
}

static void step_decide(struct script *s)
{
    static const enum pg_reason reasons[] = {PG_OK, PG_NO_SUBSCRIBERS, PG_STORE_FAILED,
                                             PG_NOT_AUTHORIZED};
    unsigned which = next_byte(s);
    size_t count = fake_message_count();

    if (which & 0x80) {
        fake_hold_admissions = (which & 1) != 0;
        fake_admit_held();
    } else if (which & 0x40) {
        fake_publish_result = (which & 1) ? PG_PENDING : PG_OK;
    } else if (count > 0) {
        fake_decide(fake_message(which % count)->token, reasons[which >> 4 & 3]);
    }
}

static void step_kick(struct script *s)
{
    const char *vin = vins[next_byte(s) % VINS];

    if (gbt_online_is(vin)) {
        fake_kick(vin, PG_KICKED);
    }
}

static void step(struct script *s)
{
    enum pg_reason reason;

    switch (next_byte(s) % 10) {
    case 0:
        step_frame(s);
        break;
    case 1:
        step_login(s);
        break;
    case 2:
        step_report(s);
        break;
    case 3:
        fake_feed(conn, next_bytes(s, next_byte(s)));
        break;
    case 4:
        step_command(s);
        break;
    case 5:
        fake_advance(100 * (int64_t)next_byte(s));
        break;
    case 6:
        step_decide(s);
        break;
    case 7:
        fake_break(conn);
        conn = fake_connect();
        return;
    case 8:
        fake_full(conn, (next_byte(s) & 1) != 0);
        break;
    default:
        step_kick(s);
        break;
    }
    read_down();
    if (fake_is_closed(conn, &reason)) {
        conn = fake_connect();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = script_of(data, size);

    fake_begin(&gbt32960_protocol);
    struct gbt_conf *conf = fake_conf();
    unsigned choices = next_byte(&s);
    conf->before_login = (int)(choices & 3);
    conf->refused_login = (int)(choices >> 2 & 1);
    conf->duplicate_vin = (int)(choices >> 3 & 1);
    conf->other_vins = (int)(choices >> 4 & 1);
    conf->report_ack = (int)((choices >> 5 & 3) % 3);
    conf->answer_form = (int)(choices >> 7);
    choices = next_byte(&s);
    conf->serials = (int)(choices & 1);
    conf->activation = (int)((choices >> 1 & 3) % 3);
    conf->payload = (int)(choices >> 3 & 1);
    conf->credential = (int)(choices >> 4 & 1);
    conf->unknown_commands = (int)(choices >> 5 & 1);
    conf->window = 4;
    conn = fake_connect();
    for (unsigned steps = 0; s.at < s.end && steps < 400; steps++) {
        step(&s);
    }
    fake_publish_result = PG_OK;
    fake_hold_admissions = false;
    fake_admit_held();
    fake_end();
    return 0;
}
