/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of RFC 6455, 5: a reader of what clients send, and headers of what we send.
 *
 * The reader keeps the header of the present frame until it is whole, however it was cut, then hands
 * payload on as it comes: a message may be longer than any memory, and whoever reads the payload has
 * the limits. Control frames, which may stand between the fragments of a message, are gathered; they
 * are short by 5.5. No I/O, no allocation, any thread.
 *
 * Refused: reserved bits, as no extension is negotiated (5.2), unknown opcodes, frames without a mask
 * (5.1), control frames that are long or fragmented (5.5), continuations of nothing and messages
 * within messages (5.4), lengths with the highest bit or in more bytes than needed (5.2), and text
 * messages, since what is carried is a stream of bytes. */

#include "ws_frame.h"

#include <string.h>

static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Bytes that the whole header has, as far as its first two tell. */
static size_t head_size(const struct ws_reader *reader)
{
    if (reader->head_len < 2)
        return 2;
    unsigned len = reader->head[1] & 0x7f;
    return 2u + (len == 126 ? 2u : len == 127 ? 8u : 0u) + 4u;
}

/* Why the first two bytes of a frame are not allowed; NULL: they are. */
static const char *judge_start(const struct ws_reader *reader, enum ws_code *code)
{
    unsigned opcode = reader->head[0] & 0x0f, len = reader->head[1] & 0x7f;
    bool is_final = (reader->head[0] & 0x80) != 0;
    *code = WS_PROTOCOL_ERROR;
    if (reader->head[0] & 0x70)
        return "a reserved bit is set, and no extension was negotiated";
    if (!(reader->head[1] & 0x80))
        return "a frame without a mask";
    switch (opcode) {
    case WS_CONTINUATION:
        return reader->in_message ? NULL : "a continuation of no message";
    case WS_TEXT:
        *code = WS_UNSUPPORTED;
        return "a text message; only binary ones are served";
    case WS_BINARY:
        return reader->in_message ? "a message within a message" : NULL;
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        return !is_final ? "a fragmented control frame"
                         : (len > WS_CONTROL_MAX ? "a control frame longer than 125 bytes" : NULL);
    default:
        return "an unknown opcode";
    }
}

/* The header is whole: take its length; NULL, or why it is not allowed. */
static const char *begin_payload(struct ws_reader *reader)
{
    unsigned len = reader->head[1] & 0x7f;
    reader->left = len;
    if (len == 126)
        reader->left = big_endian(reader->head + 2, 2);
    if (len == 127)
        reader->left = big_endian(reader->head + 2, 8);
    if (reader->left >> 63)
        return "a length with its highest bit set";
    if ((len == 126 && reader->left < 126) || (len == 127 && reader->left <= UINT16_MAX))
        return "a length in more bytes than it needs";
    reader->in_payload = true;
    reader->mask_at = 0;
    reader->control_len = 0;
    return NULL;
}

static void unmask(struct ws_reader *reader, const uint8_t *in, size_t n, uint8_t *out)
{
    const uint8_t *mask = reader->head + reader->head_len - 4;
    unsigned at = reader->mask_at;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] ^ mask[(at + i) & 3];
    reader->mask_at = (uint8_t)((at + n) & 3);
    reader->left -= n;
}

/* The frame is over; whether it was a control frame. */
static bool end_frame(struct ws_reader *reader)
{
    bool is_control = (reader->head[0] & 0x08) != 0;
    if (!is_control)
        reader->in_message = (reader->head[0] & 0x80) == 0;
    reader->in_payload = false;
    reader->head_len = 0;
    return is_control;
}

struct ws_step ws_read(struct ws_reader *reader, const uint8_t *in, size_t len, uint8_t *out)
{
    struct ws_step step = {.event = WS_MORE};
    for (;;) {
        while (!reader->in_payload && step.used < len) {
            reader->head[reader->head_len++] = in[step.used++];
            if (reader->head_len == 2)
                step.why = judge_start(reader, &step.code);
            if (!step.why && reader->head_len == head_size(reader) && reader->head_len > 2) {
                step.code = WS_PROTOCOL_ERROR;
                step.why = begin_payload(reader);
            }
            if (step.why) {
                step.event = WS_FAIL;
                return step;
            }
        }
        if (!reader->in_payload)
            return step;
        size_t n = len - step.used;
        if (n > reader->left)
            n = (size_t)reader->left;
        if (reader->head[0] & 0x08) {
            unmask(reader, in + step.used, n, reader->control + reader->control_len);
            reader->control_len = (uint8_t)(reader->control_len + n);
        } else {
            unmask(reader, in + step.used, n, out + step.payload);
            step.payload += n;
        }
        step.used += n;
        if (reader->left > 0)
            return step;
        step.opcode = (enum ws_opcode)(reader->head[0] & 0x0f);
        if (end_frame(reader)) {
            step.event = WS_CONTROL;
            return step;
        }
    }
}

size_t ws_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t payload)
{
    size_t n = payload < 126 ? 0 : (payload <= UINT16_MAX ? 2 : 8);
    out[0] = (uint8_t)(0x80u | opcode);
    out[1] = n == 0 ? (uint8_t)payload : (n == 2 ? 126 : 127);
    for (size_t i = 0; i < n; i++)
        out[2 + i] = (uint8_t)(payload >> (8 * (n - 1 - i)));
    return 2 + n;
}

bool ws_code_allowed(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
