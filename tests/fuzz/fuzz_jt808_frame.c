/* SPDX-License-Identifier: Apache-2.0 */

/* The splitter of JT/T 808 streams. Input: one byte that chooses the tolerated quirks, one that
 * seeds the cuts, then the stream. Whatever the bytes are:
 *   - the stream whole and the stream cut into reads give the same frames and the same faults;
 *   - no more than the longest frame stays unconsumed;
 *   - a frame encodes, and decodes from that to itself; without quirks to the bytes it came from.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "jt808/jt808_codec.h"

static void check_frame(const struct jt808_frame *frame)
{
    uint8_t wire[JT808_WIRE_MAX];
    struct jt808_scratch scratch;
    struct jt808_frame back;

    require(frame->body.len <= JT808_RUN_MAX);
    if (frame->body.len > JT808_BODY_MAX) {
        require((frame->quirks & JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH)) != 0);
        require(jt808_frame_encode(frame, wire, sizeof(wire)) == 0);
        return;
    }
    size_t len = jt808_frame_encode(frame, wire, sizeof(wire));
    require(len > 0 && len <= sizeof(wire) && len == jt808_frame_encode(frame, NULL, 0));
    require(jt808_frame_decode((struct pg_bytes){.data = wire, .len = len}, JT808_TOLERATE_ALL,
                               &scratch, &back) == JT808_ERROR_NONE);
    require(back.msg_id == frame->msg_id && back.serial == frame->serial);
    require(back.header_2019 == frame->header_2019 && strcmp(back.phone, frame->phone) == 0);
    require(back.package_total == frame->package_total);
    require(back.package_index == frame->package_index);
    require(back.body.len == frame->body.len);
    require(back.body.len == 0 || memcmp(back.body.data, frame->body.data, back.body.len) == 0);
    if (frame->quirks == 0) {
        require(back.content.len == frame->content.len);
        require(memcmp(back.content.data, frame->content.data, back.content.len) == 0);
    }
}

/* A splitter, and what came out of it. */
struct splitter {
    struct jt808_stream stream;
    struct digest digest;
};

static void consume(void *arg, struct pg_bytes *in)
{
    struct jt808_stream *stream = &((struct splitter *)arg)->stream;
    struct digest *digest = &((struct splitter *)arg)->digest;
    for (;;) {
        struct jt808_scratch scratch;
        struct jt808_frame frame;
        enum jt808_error error;
        size_t used;
        enum jt808_result r = jt808_frame_next(stream, *in, &scratch, &used, &frame, &error);
        require(used <= in->len && (used > 0 || r == JT808_FRAME_MORE));
        in->data += used;
        in->len -= used;
        if (r == JT808_FRAME_MORE) {
            require(in->len < JT808_WIRE_MAX);
            return;
        }
        if (r == JT808_FRAME_WHOLE) {
            check_frame(&frame);
            mix(digest, &frame.msg_id, sizeof(frame.msg_id));
            mix(digest, &frame.quirks, sizeof(frame.quirks));
            mix(digest, frame.phone, strlen(frame.phone));
            mix(digest, frame.body.data, frame.body.len);
            digest->frames++;
        } else if (error != JT808_ERROR_NOISE) {
            mix(digest, &error, sizeof(error));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct splitter whole = {.stream.tolerated = data[0] & JT808_TOLERATE_ALL,
                             .digest = DIGEST_START};
    struct splitter cut = whole;
    struct pg_bytes all = {.data = data + 2, .len = size - 2};
    struct pg_bytes in = all;
    consume(&whole, &in);
    size_t cut_left = feed_cut(all, data[1] + 1u, (data[1] & 1) ? 3 : 97, consume, &cut);
    require(whole.digest.frames == cut.digest.frames && whole.digest.hash == cut.digest.hash);
    require(in.len == cut_left);
    return 0;
}
