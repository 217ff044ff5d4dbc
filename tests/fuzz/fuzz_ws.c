/* SPDX-License-Identifier: Apache-2.0 */

/* What a WebSocket peer sends. The first byte says what the rest is: even, the opening handshake;
 * odd, a stream of frames, and its other bits are the length of the pieces in which it comes.
 *
 * What must hold: a response is whole and within its room; a request that is cut short anywhere is
 * not taken for a whole one; frames give the same payload and the same end whole and in pieces. */

#include <stdlib.h>
#include <string.h>

#include "../../transports/ws/ws_frame.h"
#include "../../transports/ws/ws_upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void handshake(const uint8_t *data, size_t size)
{
    static const char *const mqtt[] = {"mqtt", "mqttv3.1", NULL};
    static const struct ws_route routes[] = {{"/mqtt", mqtt}, {"/raw", NULL}};
    static const struct pg_strings origins = {0};
    struct ws_upgrade out;
    ws_upgrade((struct pg_bytes){.data = data, .len = size}, 8192, routes, 2, &origins, &out);
    must(out.used <= size);
    if (out.used == 0)
        return;
    must(out.response_len > 0 && out.response_len <= WS_RESPONSE_MAX);
    must(memcmp(out.response, "HTTP/1.1 ", 9) == 0);
    must(!out.granted || out.route < 2);
    if (!out.granted)
        return;
    struct ws_upgrade cut;
    ws_upgrade((struct pg_bytes){.data = data, .len = out.used - 1}, 8192, routes, 2, &origins,
               &cut);
    must(cut.used == 0 || !cut.granted);
}

/* All that a stream gives: payload, control frames, and how it ends. */
struct result {
    uint8_t *bytes; /* room for twice the input */
    size_t len;
    enum ws_code failed; /* 0: it did not */
};

static void take(struct result *result, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(result->bytes + result->len, bytes, len);
    result->len += len;
}

static struct result frames(const uint8_t *data, size_t size, size_t piece)
{
    struct ws_reader reader = {0};
    struct result result = {.bytes = malloc(2 * size + 1)};
    uint8_t *out = malloc(size + 1);
    must(result.bytes && out);
    while (size > 0 && result.failed == 0) {
        size_t left = size < piece ? size : piece;
        size -= left;
        while (left > 0 && result.failed == 0) {
            struct ws_step step = ws_read(&reader, data, left, out);
            must(step.used <= left && step.payload <= step.used);
            must(step.event != WS_MORE || step.used == left);
            take(&result, out, step.payload);
            data += step.used;
            left -= step.used;
            if (step.event == WS_CONTROL) {
                must(reader.control_len <= WS_CONTROL_MAX);
                take(&result, reader.control, reader.control_len);
            } else if (step.event == WS_FAIL) {
                result.failed = step.code;
            }
        }
    }
    free(out);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t kind = data[0];
    data++;
    size--;
    if ((kind & 1) == 0) {
        handshake(data, size);
        return 0;
    }
    struct result whole = frames(data, size, size + 1);
    struct result pieces = frames(data, size, (size_t)(kind >> 1) + 1);
    must(whole.failed == pieces.failed);
    must(whole.len == pieces.len && memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
    free(whole.bytes);
    free(pieces.bytes);
    return 0;
}
