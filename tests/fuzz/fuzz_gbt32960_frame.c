/* SPDX-License-Identifier: Apache-2.0 */

/* The splitter of GB/T 32960 streams. Input: one byte that seeds the cuts, then the stream. Whatever
 * the bytes are:
 *   - the stream whole and the stream cut into reads give the same frames and the same faults;
 *   - a frame encodes to the bytes it came from, and decodes alone as in the stream.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gbt32960/gbt32960_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* A running hash of everything that came out. */
struct digest {
    uint64_t hash;
    size_t frames;
};

static void mix(struct digest *d, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        d->hash = (d->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    }
}

static void check_frame(const struct gbt_frame *frame)
{
    static uint8_t wire[GBT_WIRE_MAX];
    struct gbt_frame back;
    size_t len = gbt_frame_encode(frame, wire, sizeof(wire));

    require(len == frame->wire.len && len == gbt_frame_encode(frame, NULL, 0));
    require(memcmp(wire, frame->wire.data, len) == 0);
    require(gbt_frame_decode(frame->wire, &back) == GBT_ERROR_NONE);
    require(back.unit.len == frame->unit.len && back.command == frame->command);
}

static void consume(struct pg_bytes *in, struct digest *digest)
{
    for (;;) {
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        enum gbt_result r = gbt_frame_next(*in, &used, &frame, &error);
        require(used <= in->len && (used > 0) == (r != GBT_FRAME_MORE));
        if (r == GBT_FRAME_MORE) {
            require(in->len <= 2 * GBT_WIRE_MAX);
            return;
        }
        if (r == GBT_FRAME_WHOLE) {
            check_frame(&frame);
            mix(digest, frame.wire.data, frame.wire.len);
            digest->frames++;
        } else if (error != GBT_ERROR_NOISE) {
            mix(digest, &error, sizeof(error));
            mix(digest, frame.wire.data, frame.wire.len);
        }
        in->data += used;
        in->len -= used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint32_t seed = data[0] + 1u;
    struct pg_bytes all = {.data = data + 1, .len = size - 1};
    struct digest whole = {.hash = 14695981039346656037u};
    struct pg_bytes in = all;
    consume(&in, &whole);
    size_t left = in.len;

    struct digest cut = {.hash = 14695981039346656037u};
    size_t start = 0, end = 0;
    while (end < all.len) {
        seed = seed * 1664525u + 1013904223u;
        size_t step = 1 + (seed >> 24) % ((data[0] & 1) ? 3 : 97);
        end = end + step < all.len ? end + step : all.len;
        uint8_t *exact = malloc(end - start);
        memcpy(exact, all.data + start, end - start);
        in = (struct pg_bytes){.data = exact, .len = end - start};
        consume(&in, &cut);
        start = end - in.len;
        free(exact);
    }
    require(whole.frames == cut.frames && whole.hash == cut.hash && left == all.len - start);
    return 0;
}
