/* SPDX-License-Identifier: Apache-2.0 */

/* The JT/T 808 frontend as a state machine. Input: two bytes of configuration, then a script of
 * steps; the first byte of a step says what it is:
 *
 *   frame     phone, message id, serial, package item, length, body: a sound frame of a terminal
 *   bytes     length, bytes: as they are
 *   login     registration and authentication with the code that was given
 *   command   quality of service, length, payload: to one of the terminals
 *   time      how long
 *   decide    a pending publication or admission is decided
 *   break     the link goes; a new one comes
 *   full      the connection has no room, or has it again
 *
 * Whatever the script: the test double's own checks hold (nothing is used after its end, nothing
 * leaks), what is sent are sound frames, and presence alternates. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake_core.h"
#include "jt808/jt808.h"
#include "jt808/jt808_codec.h"
#include "jt808/jt808_parts.h"
#include "require.h"
#include "script.h"

static const char *const phones[] = {"013800138000", "00000000013800138000", "013900139000",
                                     "0abcdef00000"};
#define PHONES (sizeof(phones) / sizeof(phones[0]))

static const uint16_t ids[] = {0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0100, 0x0102, 0x0104,
                               0x0107, 0x0200, 0x0201, 0x0500, 0x0704, 0x0801, 0x0805, 0x0900};

static struct pg_conn *conn;
static char codes[PHONES][64];

/* Everything that was sent must be frames; codes are kept for `login`. */
static void read_down(void)
{
    struct jt808_stream stream = {0};
    struct pg_bytes in = fake_written(conn);
    size_t total = in.len;

    while (in.len > 0) {
        struct jt808_scratch scratch;
        struct jt808_frame frame;
        enum jt808_error error;
        size_t used;
        enum jt808_result r = jt808_frame_next(&stream, in, &scratch, &used, &frame, &error);
        in.data += used;
        in.len -= used;
        require(r == JT808_FRAME_WHOLE);
        require(frame.msg_id >= 0x8000 && frame.quirks == 0);
        for (size_t i = 0; i < PHONES; i++) {
            if (frame.msg_id == 0x8100 && frame.body.len > 3 && frame.body.len < 60 &&
                strcmp(frame.phone, phones[i]) == 0) {
                (void)snprintf(codes[i], sizeof(codes[i]), "%.*s", (int)frame.body.len - 3,
                               (const char *)frame.body.data + 3);
            }
        }
    }
    fake_taken(conn, total);
}

static struct jt808_frame frame_of(size_t phone, uint16_t msg_id, uint16_t serial)
{
    struct jt808_frame frame = {.msg_id = msg_id, .serial = serial};

    frame.header_2019 = strlen(phones[phone]) == 20;
    frame.attributes = frame.header_2019 ? JT808_ATTR_VERSION : 0;
    require(jt808_frame_set_phone(&frame, pg_bytes_str(phones[phone])));
    return frame;
}

static void feed(const struct jt808_frame *frame)
{
    uint8_t wire[JT808_WIRE_MAX];
    size_t len = jt808_frame_encode(frame, wire, sizeof(wire));

    require(len > 0 && len <= sizeof(wire));
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
}

static void step_frame(struct script *s)
{
    unsigned flags = next_byte(s);
    unsigned what = next_byte(s);
    uint16_t id = what < 0x80 ? ids[what % 16] : (uint16_t)(what << 8 | next_byte(s));
    struct jt808_frame frame = frame_of(flags % PHONES, id, (uint16_t)(next_byte(s) & 0x0f));

    if (flags & 0x10) {
        frame.attributes |= JT808_ATTR_SUBPACKAGE;
        frame.package_total = (uint16_t)(next_byte(s) & 3);
        frame.package_index = (uint16_t)(next_byte(s) & 3);
    }
    if (flags & 0x20) {
        frame.attributes |= (uint16_t)((unsigned)next_byte(s) << 8 & JT808_ATTR_ENCRYPTION);
    }
    frame.body = next_bytes(s, next_byte(s));
    feed(&frame);
}

static void step_login(struct script *s)
{
    size_t phone = next_byte(s) % PHONES;
    struct jt808_frame frame = frame_of(phone, 0x0100, 0);

    feed(&frame);
    read_down();
    frame = frame_of(phone, 0x0102, 1);
    frame.body = pg_bytes_str(codes[phone]);
    feed(&frame);
}

static void step_command(struct script *s)
{
    static const char *const payloads[] = {
        "{\"message\":\"query_parameters\"}", "{\"id\":\"0x8300\",\"body\":{\"hex\":\"0441\"}}",
        "{\"id\":\"0x8500\",\"body\":{\"hex\":\"01\"}}", "7e8104000001380013800000027e"};
    unsigned flags = next_byte(s);
    unsigned which = next_byte(s);
    struct fake_send send = {
        .client_id = phones[flags % PHONES],
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
        fake_admit_held();
        return;
    }
    fake_publish_result = (which & 0x40) ? PG_PENDING : PG_OK;
    fake_hold_admissions = (which & 0x20) != 0;
    for (size_t i = count > 8 ? count - 8 : 0; i < count; i++) {
        uint64_t token = fake_message(i)->token;
        if (token != 0) {
            fake_decide(token, reasons[which % 4]);
        }
    }
}

/* Online and offline of one terminal alternate, but for take-overs, which are online again. */
static void check_presence(void)
{
    for (size_t p = 0; p < PHONES; p++) {
        char topic[64];
        bool online = false;
        (void)snprintf(topic, sizeof(topic), "jt808/%s/status", phones[p]);
        for (size_t i = 0; i < fake_message_count(); i++) {
            const struct pg_msg *m = fake_message(i)->msg;
            if (!pg_bytes_equal(m->topic, pg_bytes_str(topic))) {
                continue;
            }
            bool says = memmem(m->payload.data, m->payload.len, "\"online\"", 8) != NULL;
            require(says || online);
            online = says;
        }
    }
}

static void configure(unsigned first, unsigned second)
{
    struct jt808_conf *conf = fake_conf();

    conf->registration = (int)(first & 3) % 3;
    conf->before_login = (int)(first >> 2) & 1;
    conf->other_phones = (int)(first >> 3 & 3) % 3;
    conf->unknown_codes = (int)(first >> 5) & 1;
    conf->payload = (int)(first >> 6) & 1;
    conf->window = 1 + (second & 3);
    conf->repetitions = second >> 2 & 3;
    conf->phones = 2 + (second >> 4 & 3);
    conf->unknown_messages = (int)(second >> 6) & 1;
    conf->message_bytes = 4096;
    conf->pending_bytes = 8192;
    conf->idle_ms = 60000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = script_of(data, size);

    fake_begin(&jt808_protocol);
    unsigned first = next_byte(&s);
    configure(first, next_byte(&s));
    memset(codes, 0, sizeof(codes));
    conn = fake_connect();
    for (unsigned steps = 0; s.at < s.end && steps < 200; steps++) {
        switch (next_byte(&s) % 8) {
        case 0:
            step_frame(&s);
            break;
        case 1:
            fake_feed(conn, next_bytes(&s, next_byte(&s)));
            break;
        case 2:
            step_login(&s);
            break;
        case 3:
            step_command(&s);
            break;
        case 4:
            fake_advance((int64_t)next_byte(&s) * 100);
            break;
        case 5:
            step_decide(&s);
            break;
        case 6:
            /* With the old link still there it is a take-over. */
            if (next_byte(&s) & 1) {
                fake_break(conn);
            }
            conn = fake_connect();
            break;
        default:
            fake_full(conn, (next_byte(&s) & 1) != 0);
            break;
        }
        read_down();
    }
    check_presence();
    fake_end();
    return 0;
}
