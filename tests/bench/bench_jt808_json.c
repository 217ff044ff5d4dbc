/* SPDX-License-Identifier: Apache-2.0 */

/* How many JT/T 808 location frames become JSON in one second of one core: unescaping, check code,
 * choice of the layout, both shapes. The frame has six items, as a tracker sends them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jt808/jt808_codec.h"
#include "jt808/jt808_json.h"

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A frame of our own making: base, mileage, fuel, signals, signal strength, satellites, a vendor's
 * item. */
static size_t make_frame(uint8_t *wire)
{
    static const uint8_t body[] = {0,    0,    0,    2,    0,    0x0c, 0,    3,    0x01, 0xdc, 0x9a,
                                   0x07, 0x07, 0x3d, 0x48, 0x95, 0,    12,   0x02, 0x5d, 0x01, 0x0f,
                                   0x26, 0x03, 0x01, 0x08, 0x09, 0x10, 0x01, 4,    0,    1,    0xe2,
                                   0x40, 0x02, 2,    0x01, 0xf4, 0x25, 4,    0,    0,    0x40, 0x13,
                                   0x30, 1,    29,   0x31, 1,    12,   0xe1, 3,    1,    2,    3};
    struct jt808_frame frame = {.msg_id = 0x0200, .phone = "013912345678", .serial = 17};
    frame.body = (struct pg_bytes){body, sizeof(body)};
    return jt808_frame_encode(&frame, wire, JT808_WIRE_MAX);
}

static void run(const char *what, struct pg_bytes wire, struct jt808_json_options options,
                bool whole)
{
    enum { ROUNDS = 1000000 };
    static char text[8192];
    struct jt808_scratch scratch;
    struct jt808_frame frame;
    size_t bytes = 0;
    if (jt808_frame_decode(wire, 0, &scratch, &frame) != JT808_ERROR_NONE) {
        abort();
    }
    double start = seconds();
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct json_out out = json_out_over(text, sizeof(text));
        if (whole && jt808_frame_decode(wire, 0, &scratch, &frame) != JT808_ERROR_NONE) {
            abort();
        }
        if (!jt808_json_write(&out, &frame, &options, NULL)) {
            abort();
        }
        bytes += out.len;
    }
    double took = seconds() - start;
    printf("%-28s %10.0f frames/s  %6.0f ns  %zu bytes of JSON\n", what, ROUNDS / took,
           took * 1e9 / ROUNDS, bytes / ROUNDS);
}

int main(void)
{
    uint8_t wire[JT808_WIRE_MAX];
    struct pg_bytes frame = {wire, make_frame(wire)};
    run("native", frame, (struct jt808_json_options){.shape = WIRE_SHAPE_NATIVE}, false);
    run("native, from the wire", frame, (struct jt808_json_options){.shape = WIRE_SHAPE_NATIVE},
        true);
    run("wire shape, from the wire", frame, (struct jt808_json_options){.shape = WIRE_SHAPE_WIRE},
        true);
    run("native with time, from the wire", frame,
        (struct jt808_json_options){.received_ms = 1772323200123, .raw = true}, true);
    return 0;
}
