/* SPDX-License-Identifier: Apache-2.0 */

/* JSON documents of applications. Input: one byte that chooses the defaults, then the text.
 * Whatever it is:
 *   - it is refused with a place and a reason, or it encodes;
 *   - what was encoded decodes to a document that encodes to the same bytes.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "documents.h"
#include "jt808/jt808_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct jt808_json_defaults defaults = {.phone = "013800138000",
                                           .header_2019 = (data[0] & 1) != 0,
                                           .charset = (data[0] & 2) != 0 ? WIRE_UTF8 : WIRE_GBK};
    struct wire_out body = wire_out_heap(1u << 20);
    struct wire_out again = wire_out_heap(1u << 20);
    struct json_out out = json_out_heap(64u << 20);
    struct jt808_json_message message;
    struct jt808_json_message second;
    struct wire_error error = {.path = "", .expected = ""};

    if (!jt808_json_encode_text((const char *)data + 1, size - 1, &defaults, &body, &message,
                                &error)) {
        require(error.path[0] != '\0' && error.expected[0] != '\0' && error.found[0] != '\0');
    } else {
        struct jt808_json_options options = {.charset = defaults.charset};
        require(jt808_json_write(&out, &message.frame, &options, NULL));
        if (!jt808_json_encode_text(out.data, out.len, &defaults, &again, &second, &error)) {
            abort_for(&out, &error);
        }
        require(second.frame.body.len == message.frame.body.len);
        require(second.frame.body.len == 0 ||
                memcmp(second.frame.body.data, message.frame.body.data, second.frame.body.len) ==
                    0);
        require(second.frame.msg_id == message.frame.msg_id);
    }
    json_out_free(&out);
    wire_out_free(&body);
    wire_out_free(&again);
    return 0;
}
