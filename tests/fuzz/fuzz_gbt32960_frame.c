/* SPDX-License-Identifier: Apache-2.0 */

/* The splitter of GB/T 32960 streams. Input: one byte that seeds the cuts, then the stream. Whatever
 * the bytes are:
 *   - the stream whole and the stream cut into reads give the same frames and the same faults;
 *   - a frame encodes to the bytes it came from, and decodes alone as in the stream.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "gbt32960/gbt32960_codec.h"

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

static void consume(void *arg, struct pg_bytes *in)
{
    struct digest *digest = arg;
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
    struct pg_bytes all = {.data = data + 1, .len = size - 1};
    struct digest whole = DIGEST_START, cut = DIGEST_START;
    struct pg_bytes in = all;
    consume(&whole, &in);
    size_t left = in.len;
    size_t cut_left = feed_cut(all, data[0] + 1u, (data[0] & 1) ? 3 : 97, consume, &cut);
    require(whole.frames == cut.frames && whole.hash == cut.hash && left == cut_left);
    return 0;
}
