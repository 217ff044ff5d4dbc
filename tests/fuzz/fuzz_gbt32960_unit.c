/* SPDX-License-Identifier: Apache-2.0 */

/* Units of GB/T 32960 by their tables. Input: the command, the response flag, one byte that chooses
 * edition and direction, then the unit. Whatever the bytes are:
 *   - all shapes are JSON without duplicate members, and say the same faults;
 *   - each document encodes, and encodes to the same unit;
 *   - the dump ends.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "documents.h"
#include "gbt32960/gbt32960_json.h"

static unsigned there_and_back(const struct gbt_frame *frame, struct gbt_json_options *options)
{
    struct json_out out = json_out_heap(64u << 20);
    struct wire_out unit = wire_out_heap(1u << 20);
    struct gbt_json_defaults defaults = {0};
    struct gbt_json_message message;
    struct gbt_json_judgement judgement;
    struct wire_error error;

    require(gbt_json_write(&out, frame, options, &judgement));
    json_t *document = document_of(&out);
    if (!gbt_json_encode(document, &defaults, &unit, &message, &error)) {
        abort_for(&out, &error);
    }
    if (message.frame.unit.len != frame->unit.len ||
        memcmp(message.frame.unit.data, frame->unit.data, frame->unit.len) != 0) {
        abort_over(&out, "it encodes to other bytes");
    }
    require(message.frame.command == frame->command && message.frame.response == frame->response);
    json_decref(document);
    json_out_free(&out);
    wire_out_free(&unit);
    return judgement.faults;
}

/* The shape of EMQX does not give the bytes back; it must be JSON. */
static void alias_is_json(const struct gbt_frame *frame, struct gbt_json_options *options)
{
    struct json_out out = json_out_heap(64u << 20);

    options->shape = WIRE_SHAPE_ALIAS;
    require(gbt_json_write(&out, frame, options, NULL));
    json_decref(document_of(&out));
    json_out_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    if (size < 3 || size > GBT_UNIT_MAX) {
        return 0;
    }
    struct gbt_frame frame = {.command = data[0],
                              .response = data[1],
                              .edition = (data[2] & 1) != 0 ? GBT_2025 : GBT_2016,
                              .encryption = GBT_PLAIN};
    struct gbt_json_options options = {.uplink = (data[2] & 2) != 0};
    memcpy(frame.id, "LPGATE00000000017", GBT_ID_LEN);
    frame.unit = (struct pg_bytes){size > 3 ? data + 3 : nothing, size - 3};

    options.shape = WIRE_SHAPE_NATIVE;
    unsigned native = there_and_back(&frame, &options);
    options.shape = WIRE_SHAPE_WIRE;
    unsigned wire = there_and_back(&frame, &options);
    require((native & ~(unsigned)WIRE_FAULT_BODY) == (wire & ~(unsigned)WIRE_FAULT_BODY));
    alias_is_json(&frame, &options);

    struct json_out text = json_out_heap(64u << 20);
    gbt_dump(&text, &frame, options.uplink);
    require(!text.failed);
    json_out_free(&text);
    return 0;
}
