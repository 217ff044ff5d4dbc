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

#include "jt808/jt808_codec.h"

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

static void consume(struct jt808_stream *stream, struct pg_bytes *in, struct digest *digest)
{
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
    struct jt808_stream stream = {.tolerated = data[0] & JT808_TOLERATE_ALL};
    uint32_t seed = data[1] + 1u;
    struct pg_bytes all = {.data = data + 2, .len = size - 2};

    struct digest whole = {.hash = 14695981039346656037u};
    struct pg_bytes in = all;
    consume(&stream, &in, &whole);
    size_t left = in.len;

    struct digest cut = {.hash = 14695981039346656037u};
    stream = (struct jt808_stream){.tolerated = data[0] & JT808_TOLERATE_ALL};
    size_t start = 0, end = 0;
    while (end < all.len) {
        seed = seed * 1664525u + 1013904223u;
        size_t step = 1 + (seed >> 24) % ((data[1] & 1) ? 3 : 97);
        end = end + step < all.len ? end + step : all.len;
        uint8_t *exact = malloc(end - start);
        memcpy(exact, all.data + start, end - start);
        in = (struct pg_bytes){.data = exact, .len = end - start};
        consume(&stream, &in, &cut);
        start = end - in.len;
        free(exact);
    }
    require(whole.frames == cut.frames && whole.hash == cut.hash && left == all.len - start);
    return 0;
}
