/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a stream of STOMP frames: read whole, and in pieces of the length that the first
 * byte says, which must come to the same; then every header of a good frame unescaped and written
 * again, which must read as the same.
 *
 * The first byte: bits 0-1 the version, the rest the length of the pieces. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "stomp/stomp_destination.h"
#include "stomp/stomp_frame.h"

static const struct stomp_limits limits = {
    .header_count = 20, .header_size = 400, .body_size = 300};

/* The whole frame from `pieces` of a length, each read from a copy of what has come. */
static enum stomp_result read_in_pieces(struct stomp_frame *frame, struct pg_bytes in, size_t piece)
{
    enum stomp_result result = STOMP_MORE;
    stomp_frame_begin(frame);
    for (size_t len = piece; result == STOMP_MORE; len += piece) {
        size_t n = len < in.len ? len : in.len;
        uint8_t *copy = malloc(n + 1);
        assert(copy != NULL);
        memcpy(copy, in.data, n);
        result = stomp_frame_read(frame, (struct pg_bytes){.data = copy, .len = n}, &limits);
        free(copy);
        if (n == in.len) {
            break;
        }
    }
    frame->data = in.data;
    return result;
}

static void check_header(const struct stomp_frame *frame, const struct stomp_field *field,
                         enum stomp_version version)
{
    static uint8_t bytes[4096];
    static struct stomp_frame again;
    struct stomp_texts texts = {.version = version}, second = {.version = version};
    struct pg_bytes name = stomp_unescape(frame, field, stomp_field_name(frame, field), &texts);
    struct pg_bytes value = stomp_text(frame, field, &texts);
    struct stomp_writer w = {.data = bytes, .room = sizeof(bytes), .version = version};
    assert(!texts.failed);
    stomp_put(&w, PG_BYTES_OF("SEND\n"));
    if (stomp_put_header(&w, name, value) && name.data != NULL) {
        stomp_put(&w, PG_BYTES_OF("\n"));
        bytes[w.len++] = 0;
        stomp_frame_begin(&again);
        const struct stomp_limits all = {
            .header_count = 1, .header_size = sizeof(bytes), .body_size = UINT32_MAX};
        const struct pg_bytes in = {.data = bytes, .len = w.len};
        enum stomp_result result = stomp_frame_read(&again, in, &all);
        /* A content-length promises a body that is not there. */
        assert(result == STOMP_WHOLE || again.first[STOMP_H_CONTENT_LENGTH] != 0);
        assert(again.count == 1 && stomp_frame_check(&again, version) == STOMP_F_OK);
        const struct stomp_field *copy = &again.fields[0];
        struct pg_bytes same =
            stomp_unescape(&again, copy, stomp_field_name(&again, copy), &second);
        assert(pg_bytes_equal(name, same));
        same = stomp_text(&again, copy, &second);
        /* 1.0 takes a blank in front for padding. */
        assert(pg_bytes_equal(value, same) || version == STOMP_V10);
        stomp_texts_free(&second);
    }
    stomp_texts_free(&texts);
}

static void check_destination(struct pg_bytes text)
{
    static uint8_t room[STOMP_TOPIC_ROOM], second[STOMP_TOPIC_ROOM], bytes[4096];
    struct stomp_destination d = stomp_destination_read(text);
    struct pg_bytes topic = stomp_topic_of(&d, "stomp", room);
    struct stomp_writer w = {.data = bytes, .room = sizeof(bytes), .version = STOMP_V10};
    stomp_put_destination(&w, d.form, topic, "stomp");
    d = stomp_destination_read((struct pg_bytes){.data = bytes, .len = w.len});
    assert(pg_bytes_equal(topic, stomp_topic_of(&d, "stomp", second)));
}

static void check(const struct stomp_frame *frame, enum stomp_version version)
{
    if (stomp_frame_check(frame, version) != STOMP_F_OK) {
        return;
    }
    for (size_t i = 0; i < frame->count; i++) {
        check_header(frame, &frame->fields[i], version);
        check_destination(stomp_field_value(frame, &frame->fields[i]));
        uint64_t number;
        uint32_t a, b;
        (void)stomp_number(stomp_field_value(frame, &frame->fields[i]), UINT64_MAX, &number);
        (void)stomp_heart_beat(stomp_field_value(frame, &frame->fields[i]), &a, &b);
        (void)stomp_negotiate(stomp_field_value(frame, &frame->fields[i]), 14);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stomp_frame whole, pieces;
    if (size == 0 || size > 2048) {
        return 0;
    }
    enum stomp_version version = (enum stomp_version)(data[0] & 3);
    size_t piece = 1u + (data[0] >> 2);
    struct pg_bytes in = {.data = data + 1, .len = size - 1};
    for (;;) {
        size_t eols = stomp_skip_eols(in);
        in.data += eols;
        in.len -= eols;
        stomp_frame_begin(&whole);
        enum stomp_result result = stomp_frame_read(&whole, in, &limits);
        assert(read_in_pieces(&pieces, in, piece) == result);
        assert(whole.command == pieces.command && whole.count == pieces.count &&
               whole.fault == pieces.fault && whole.total == pieces.total &&
               whole.body_at == pieces.body_at && whole.body_len == pieces.body_len &&
               whole.state == pieces.state &&
               memcmp(whole.first, pieces.first, sizeof(whole.first)) == 0);
        if (result != STOMP_WHOLE) {
            return 0;
        }
        assert(whole.total <= in.len && whole.body_at + whole.body_len + 1 == whole.total);
        check(&whole, version);
        in.data += whole.total;
        in.len -= whole.total;
    }
}
