/* SPDX-License-Identifier: Apache-2.0 */

/* Bodies of JT/T 808 by their tables. Input: two bytes of message id, one that chooses edition and
 * character set, then the body. Whatever the bytes are:
 *   - both shapes are JSON without duplicate members, and say the same faults;
 *   - each document encodes, and encodes to the same body;
 *   - the dump ends, and the lookup of a field agrees with the document.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "documents.h"
#include "jt808/jt808_json.h"

static unsigned there_and_back(const struct jt808_frame *frame, struct jt808_json_options *options)
{
    struct json_out out = json_out_heap(16u << 20);
    struct wire_out body = wire_out_heap(16u << 20);
    struct jt808_json_defaults defaults = {.charset = options->charset};
    struct jt808_json_message message;
    struct wire_error error;
    unsigned faults;

    require(jt808_json_write(&out, frame, options, &faults));
    json_t *document = document_of(&out);
    if (!jt808_json_encode(document, &defaults, &body, &message, &error)) {
        abort_for(&out, &error);
    }
    if (message.frame.body.len != frame->body.len ||
        memcmp(message.frame.body.data, frame->body.data, frame->body.len) != 0) {
        abort_over(&out, "it encodes to other bytes");
    }
    require(message.frame.msg_id == frame->msg_id);
    require(message.frame.header_2019 == frame->header_2019);
    json_decref(document);
    json_out_free(&out);
    wire_out_free(&body);
    return faults;
}

/* The shape of EMQX does not give the bytes back; it must be JSON. */
static void alias_is_json(const struct jt808_frame *frame, struct jt808_json_options *options)
{
    struct json_out out = json_out_heap(16u << 20);

    options->shape = WIRE_SHAPE_ALIAS;
    require(jt808_json_write(&out, frame, options, NULL));
    json_decref(document_of(&out));
    json_out_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    if (size < 3) {
        return 0;
    }
    struct jt808_frame frame = {.msg_id = (uint16_t)(data[0] << 8 | data[1])};
    struct jt808_json_options options = {.charset = (data[2] & 4) != 0 ? WIRE_UTF8 : WIRE_GBK};
    frame.header_2019 = (data[2] & 1) != 0;
    frame.attributes = frame.header_2019 ? JT808_ATTR_VERSION : 0;
    frame.protocol_version = frame.header_2019;
    options.edition = (data[2] & 3) == 2 ? JT808_2011 : 0;
    memset(frame.phone, '0', frame.header_2019 ? 20 : 12);
    frame.body = (struct pg_bytes){size > 3 ? data + 3 : nothing, size - 3};

    options.shape = WIRE_SHAPE_NATIVE;
    unsigned native = there_and_back(&frame, &options);
    options.shape = WIRE_SHAPE_WIRE;
    unsigned wire = there_and_back(&frame, &options);
    require((native & ~(unsigned)WIRE_FAULT_BODY) == (wire & ~(unsigned)WIRE_FAULT_BODY));
    alias_is_json(&frame, &options);

    struct json_out text = json_out_heap(16u << 20);
    jt808_dump(&text, &frame, options.edition, options.charset);
    json_out_free(&text);

    struct jt808_body body;
    uint64_t value;
    struct pg_bytes bytes;
    if (jt808_body_open(&frame, options.edition, &body)) {
        (void)jt808_body_uint(&body, "ack_serial", &value);
        (void)jt808_body_bytes(&body, "location.time", &bytes);
    }
    return 0;
}
