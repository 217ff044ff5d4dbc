/* SPDX-License-Identifier: Apache-2.0 */

/* JSON documents of applications for vehicles. Input: one byte that chooses the edition, then the
 * text. Whatever it is:
 *   - it is refused with a place and a reason, or it encodes;
 *   - what was encoded decodes to a document that encodes to the same bytes.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "documents.h"
#include "gbt32960/gbt32960_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct gbt_json_defaults defaults = {.id = (const uint8_t *)"LPGATE00000000017",
                                         .edition = (data[0] & 1) != 0 ? GBT_2025 : GBT_2016,
                                         .wall_ms = INT64_C(1772323205000)};
    struct wire_out unit = wire_out_heap(1u << 20);
    struct wire_out again = wire_out_heap(1u << 20);
    struct json_out out = json_out_heap(64u << 20);
    struct gbt_json_message message;
    struct gbt_json_message second;
    struct wire_error error = {.path = "", .expected = ""};

    if (!gbt_json_encode_text((const char *)data + 1, size - 1, &defaults, &unit, &message,
                              &error)) {
        require(error.path[0] != '\0' && error.expected[0] != '\0' && error.found[0] != '\0');
    } else {
        struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE};
        require(gbt_json_write(&out, &message.frame, &options, NULL));
        if (!gbt_json_encode_text(out.data, out.len, &defaults, &again, &second, &error)) {
            abort_for(&out, &error);
        }
        require(second.frame.unit.len == message.frame.unit.len);
        require(second.frame.unit.len == 0 ||
                memcmp(second.frame.unit.data, message.frame.unit.data, second.frame.unit.len) ==
                    0);
        require(second.frame.command == message.frame.command);
    }
    json_out_free(&out);
    wire_out_free(&unit);
    wire_out_free(&again);
    return 0;
}
