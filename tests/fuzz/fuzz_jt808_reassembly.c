/* SPDX-License-Identifier: Apache-2.0 */

/* Reassembly as a state machine. Input: a script of steps of 8 bytes: what, id, serial (2), total,
 * index, time step, length. Whatever the script: the limits hold, a message that is delivered has
 * all its packages in order, and everything is freed. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jt808/jt808_reassembly.h"
#include "require.h"

/* Every byte of a package is its index, so that a delivered body tells its order. */
static void check_message(const struct jt808_frame *message)
{
    uint8_t last = 0;

    for (size_t i = 0; i < message->body.len; i++) {
        require(message->body.data[i] >= last && message->body.data[i] >= 1);
        require(message->body.data[i] <= message->package_total);
        last = message->body.data[i];
    }
}

static void check_due(struct jt808_reassembly *r, int64_t now_ms)
{
    struct jt808_missing missing;
    enum jt808_due due;

    while ((due = jt808_reassembly_due(r, now_ms, &missing)) != JT808_DUE_NOTHING) {
        require(missing.count > 0 && missing.count <= JT808_MISSING_MAX);
        require(missing.received > 0 && missing.received < missing.header.package_total);
        for (unsigned i = 0; i < missing.count; i++) {
            require(missing.ids[i] >= 1 && missing.ids[i] <= missing.header.package_total);
            require(i == 0 || missing.ids[i] > missing.ids[i - 1]);
        }
    }
    require(jt808_reassembly_deadline(r) > now_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct jt808_reassembly_limits limits = {.message_bytes = 4000,
                                                          .total_bytes = 9000,
                                                          .pending = 4,
                                                          .ask_ms = 500,
                                                          .asks = 3,
                                                          .age_ms = 6000};
    struct jt808_reassembly *r = jt808_reassembly_open(&limits);
    int64_t now_ms = 0;

    require(r != NULL);
    for (; size >= 8; data += 8, size -= 8) {
        uint8_t body[255];
        struct jt808_frame message;
        struct jt808_frame frame = {
            .msg_id = data[1] & 3,
            .attributes = data[0] == 0xff ? 0 : JT808_ATTR_SUBPACKAGE,
            .serial = (uint16_t)(data[2] << 8 | data[3]),
            .package_total = (uint16_t)((data[0] & 1) ? data[4] << 8 : data[4] & 7),
            .package_index = data[5] & 7,
            .body = {.data = body, .len = data[7]},
        };
        memset(body, frame.package_index, sizeof(body));
        now_ms += (int64_t)data[6] * 10;
        if (jt808_reassembly_add(r, &frame, now_ms, &message) == JT808_PART_COMPLETE) {
            check_message(&message);
        }
        require(jt808_reassembly_pending(r) <= limits.pending);
        require(jt808_reassembly_bytes(r) <= limits.total_bytes);
        if (data[0] & 2) {
            check_due(r, now_ms);
        }
    }
    jt808_reassembly_close(&r);
    return 0;
}
