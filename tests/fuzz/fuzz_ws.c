/* SPDX-License-Identifier: Apache-2.0 */

/* What a WebSocket peer sends. The first byte says what the rest is: even, the opening handshake;
 * odd, a stream of frames. Its other bits are the length of the pieces in which that comes.
 *
 * What must hold: a response is whole and within its room; the same request has the same answer
 * whole and in pieces; so have frames the same payload and the same end. */

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

static void handshake(const uint8_t *data, size_t size, size_t piece)
{
    static const char *const mqtt[] = {"mqtt", "mqttv3.1", NULL};
    static const struct ws_route routes[] = {{"/mqtt", mqtt}, {"/raw", NULL}};
    static const struct ws_service service = {.routes = routes,
                                              .route_count = 2,
                                              .size_max = 8192,
                                              .deflate = {.on = true, .window = 12}};
    struct ws_request whole = {.has_begun = false}, pieces = {.has_begun = false};
    struct ws_answer out = {.used = 0}, again = {.used = 0};
    struct pg_bytes in = {.data = data, .len = size};
    bool is_over = ws_request_read(&whole, &service, in, &out), was_over = false;
    for (in.len = 0; in.len < size && !was_over;) {
        in.len = size - in.len < piece ? size : in.len + piece;
        was_over = ws_request_read(&pieces, &service, in, &again);
    }
    must(was_over == is_over);
    if (!is_over)
        return;
    must(out.used <= size && out.used == again.used && out.status == again.status);
    must(out.response_len > 0 && out.response_len < WS_RESPONSE_MAX);
    must(out.response_len == again.response_len &&
         memcmp(out.response, again.response, out.response_len) == 0);
    must(memcmp(out.response, "HTTP/1.1 ", 9) == 0);
    must(!out.granted || out.route < 2);
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

static struct result frames(const uint8_t *data, size_t size, size_t piece, bool deflated,
                            bool heads)
{
    struct ws_reader reader = {.takes_text = true,
                               .takes_binary = true,
                               .takes_deflated = deflated,
                               .keeps_heads = heads};
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
            must(step.event != WS_MESSAGE || deflated);
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
    size_t piece = (size_t)(kind >> 1) + 1;
    if ((kind & 1) == 0) {
        handshake(data, size, piece);
        return 0;
    }
    bool deflated = (kind & 0x80) != 0, heads = !deflated && (kind & 0x40) != 0;
    struct result whole = frames(data, size, size + 1, deflated, heads);
    struct result pieces = frames(data, size, piece, deflated, heads);
    must(whole.failed == pieces.failed);
    /* With headers, of a frame that is wrong as much may have been handed on as came in front. */
    must(whole.len == pieces.len || (heads && whole.failed && whole.len < pieces.len));
    must(memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
    free(whole.bytes);
    free(pieces.bytes);
    return 0;
}
