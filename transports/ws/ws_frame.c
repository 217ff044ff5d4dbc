/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of RFC 6455, 5: a reader of what clients send, and headers of what we send.
 *
 * The reader keeps the header of the present frame until it is whole, however it was cut, then hands
 * payload on as it comes: a message may be longer than any memory, and whoever reads the payload has
 * the limits. Control frames, which may stand between the fragments of a message, are gathered; they
 * are short by 5.5. No I/O, no allocation, any thread.
 *
 * Refused: reserved bits that no negotiated extension uses (5.2; the first is that of RFC 7692, 6),
 * unknown opcodes, frames without a mask (5.1), control frames that are long or fragmented (5.5),
 * continuations of nothing and messages within messages (5.4), lengths with the highest bit or in
 * more bytes than needed (5.2), messages of a type that is not taken, and text that is not UTF-8
 * (8.1), at its first wrong byte.
 *
 * libwebsockets, with which the tests speak to it, is not used here: it accepts frames without a mask,
 * and reads no more at a time than the buffer that it holds for each connection. README.md has what
 * was measured. */

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

static const char *judge_control(bool is_final, unsigned len)
{
    if (!is_final)
        return "a fragmented control frame";
    return len > WS_CONTROL_MAX ? "a control frame longer than 125 bytes" : NULL;
}

/* The first frame of a message. */
static const char *begin_message(struct ws_reader *reader, bool is_text, bool is_deflated,
                                 enum ws_code *code)
{
    if (reader->in_message)
        return "a message within a message";
    reader->is_text = is_text;
    reader->is_deflated = is_deflated;
    reader->utf8 = (struct ws_utf8){.left = 0};
    if (is_text ? reader->takes_text : reader->takes_binary)
        return NULL;
    *code = WS_UNSUPPORTED;
    return is_text ? "a text message; only binary ones are served"
                   : "a binary message; only text is served";
}

/* Why the first two bytes of a frame are not allowed; NULL: they are. */
static const char *judge_start(struct ws_reader *reader, enum ws_code *code)
{
    unsigned opcode = reader->head[0] & 0x0f, len = reader->head[1] & 0x7f;
    unsigned reserved = reader->head[0] & 0x70;
    bool is_final = (reader->head[0] & WS_FIN) != 0;
    bool begins = opcode == WS_TEXT || opcode == WS_BINARY;
    *code = WS_PROTOCOL_ERROR;
    if (reserved != 0 && !(reserved == WS_RSV1 && begins && reader->takes_deflated))
        return "a reserved bit is set that means nothing";
    if (!(reader->head[1] & 0x80))
        return "a frame without a mask";
    switch (opcode) {
    case WS_CONTINUATION:
        return reader->in_message ? NULL : "a continuation of no message";
    case WS_TEXT:
    case WS_BINARY:
        return begin_message(reader, opcode == WS_TEXT, reserved != 0, code);
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        return judge_control(is_final, len);
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
    uint8_t turned[8]; /* the mask, twice, from the byte that is next */
    uint64_t word, key;
    for (unsigned i = 0; i < sizeof(turned); i++)
        turned[i] = mask[(at + i) & 3];
    memcpy(&key, turned, sizeof(key));
    size_t i = 0;
    for (; n - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, in + i, sizeof(word));
        word ^= key;
        memcpy(out + i, &word, sizeof(word));
    }
    for (; i < n; i++)
        out[i] = in[i] ^ turned[i & 7];
    reader->mask_at = (uint8_t)((at + n) & 3);
    reader->left -= n;
}

/* `whole` is how much of the payload stands before the frame that is wrong. */
static struct ws_step failed(const struct ws_reader *reader, struct ws_step step, size_t whole,
                             enum ws_code code, const char *why)
{
    if (reader->keeps_heads)
        step.payload = whole; /* nobody shall take it for a good one */
    step.event = WS_FAIL;
    step.code = code;
    step.why = why;
    return step;
}

/* Of a data frame's header, hand on the byte that has just come, but for the mask's; the last of it
 * only when the mask is whole, since an empty frame ends there and is judged then. Never more than came,
 * so that it can be done in place. */
static void keep_head(const struct ws_reader *reader, uint8_t *out, struct ws_step *step)
{
    size_t at = reader->head_len - 1u, size = head_size(reader);
    if (reader->head[0] & 0x08)
        return;
    if (at > 0 && at + 1 == size)
        at = size - 5;
    else if (at > 0 && at + 5 >= size)
        return;
    out[step->payload++] = at == 1 ? reader->head[1] & 0x7f : reader->head[at];
}

/* Bytes of headers, up to the end of one. NULL, or why they are not allowed. */
static const char *read_head(struct ws_reader *reader, const uint8_t *in, size_t len, uint8_t *out,
                             struct ws_step *step)
{
    const char *why = NULL;
    while (!why && !reader->in_payload && step->used < len) {
        reader->head[reader->head_len++] = in[step->used++];
        if (reader->keeps_heads)
            keep_head(reader, out, step);
        if (reader->head_len == 2)
            why = judge_start(reader, &step->code);
        if (!why && reader->head_len == head_size(reader) && reader->head_len > 2) {
            step->code = WS_PROTOCOL_ERROR;
            why = begin_payload(reader);
        }
    }
    return why;
}

/* Payload of the present frame; false if it is text and no UTF-8. */
static bool read_payload(struct ws_reader *reader, const uint8_t *in, size_t len, uint8_t *out,
                         struct ws_step *step)
{
    size_t n = len - step->used;
    if (n > reader->left)
        n = (size_t)reader->left;
    bool is_control = (reader->head[0] & 0x08) != 0;
    uint8_t *to = is_control ? reader->control + reader->control_len : out + step->payload;
    unmask(reader, in + step->used, n, to);
    step->used += n;
    if (is_control) {
        reader->control_len = (uint8_t)(reader->control_len + n);
        return true;
    }
    if (!reader->is_text || reader->is_deflated) {
        step->payload += n;
        return true;
    }
    size_t right = ws_utf8_take(&reader->utf8, to, n);
    step->payload += right;
    bool is_end = (reader->head[0] & WS_FIN) && reader->left == 0;
    return right == n && (!is_end || reader->utf8.left == 0);
}

struct ws_step ws_read(struct ws_reader *reader, const uint8_t *in, size_t len, uint8_t *out)
{
    struct ws_step step = {.event = WS_MORE};
    for (;;) {
        size_t whole = step.payload;
        const char *why = read_head(reader, in, len, out, &step);
        if (why)
            return failed(reader, step, whole, step.code, why);
        if (!reader->in_payload)
            return step;
        if (!read_payload(reader, in, len, out, &step))
            return failed(reader, step, whole, WS_INVALID_PAYLOAD,
                          "a text message that is not UTF-8");
        if (reader->left > 0)
            return step;
        bool is_control = (reader->head[0] & 0x08) != 0;
        reader->in_payload = false;
        reader->head_len = 0;
        if (is_control) {
            step.opcode = (enum ws_opcode)(reader->head[0] & 0x0f);
            step.event = WS_CONTROL;
            return step;
        }
        reader->in_message = (reader->head[0] & WS_FIN) == 0;
        if (!reader->in_message && reader->takes_deflated) {
            step.event = WS_MESSAGE;
            return step;
        }
    }
}

size_t ws_head(uint8_t out[WS_HEAD_MAX], unsigned flags, enum ws_opcode opcode, uint64_t payload)
{
    size_t n = payload < 126 ? 0 : (payload <= UINT16_MAX ? 2 : 8);
    out[0] = (uint8_t)(flags | opcode);
    out[1] = n == 0 ? (uint8_t)payload : (n == 2 ? 126 : 127);
    for (size_t i = 0; i < n; i++)
        out[2 + i] = (uint8_t)(payload >> (8 * (n - 1 - i)));
    return 2 + n;
}

size_t ws_head_length(const uint8_t *head, size_t len, uint64_t *payload)
{
    size_t width = len < 2 || head[1] < 126 ? 0 : (head[1] == 126 ? 2 : 8);
    if (len < 2 + width)
        return 0;
    *payload = width == 0 ? head[1] : big_endian(head + 2, width);
    return 2 + width;
}

bool ws_code_allowed(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
