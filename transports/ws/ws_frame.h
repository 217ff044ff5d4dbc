/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_FRAME_H
#define PG_WS_FRAME_H

/* Frames of RFC 6455, 5, as a client sends them: bytes in, payload and control frames out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ws_utf8.h"

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

/* Status codes of a close frame (RFC 6455, 7.4.1, and its registry). */
enum ws_code {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002,
    WS_UNSUPPORTED = 1003,
    WS_INVALID_PAYLOAD = 1007,
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009,
    WS_INTERNAL = 1011,
    WS_TRY_LATER = 1013,
};

#define WS_CONTROL_MAX 125u /* bytes of a control frame's payload (5.5) */
#define WS_HEAD_MAX    10u  /* bytes of the longest header that a server sends */

/* Where a stream of frames stands; all zero at its start, but for what it accepts. */
struct ws_reader {
    uint64_t left;    /* payload bytes of the present frame still to come */
    uint8_t head[14]; /* of the header, as far as it has come */
    uint8_t head_len; /* while in_payload: the whole header's */
    uint8_t mask_at;  /* which byte of the mask is next */
    bool takes_text;  /* ... and binary messages: else 1003 */
    bool takes_binary;
    bool takes_deflated; /* RFC 7692 was negotiated */
    bool keeps_heads;    /* headers of data frames are handed on, too, without their masks */
    bool in_payload;     /* the header is whole */
    bool in_message;     /* a message has begun that is not finished: continuations may come */
    bool is_text;        /* of the present message, as the next */
    bool is_deflated;
    struct ws_utf8 utf8; /* of the present message, if it is text and not deflated */
    uint8_t control_len;
    uint8_t control[WS_CONTROL_MAX]; /* payload of the present control frame */
};

enum ws_event {
    WS_MORE,    /* everything is used */
    WS_CONTROL, /* a whole control frame: its opcode and reader->control */
    WS_MESSAGE, /* the end of a message; only of streams that take deflated ones, so that a step's
                   payload is of one message */
    WS_FAIL,    /* the stream is broken: nothing more can be read from it */
};

struct ws_step {
    enum ws_event event;
    size_t used;           /* bytes of the input that were used */
    size_t payload;        /* bytes of data payload that were put at `out` */
    enum ws_opcode opcode; /* WS_CONTROL */
    enum ws_code code;     /* WS_FAIL: the status to close with */
    const char *why;       /* WS_FAIL: for people */
};

/* Use up to `len` bytes at `in` (lent); unmasked payload of data frames, which counts
 * their headers if they are kept, goes to `out`, which has room for `len` bytes and may be `in` itself. Any cut of the stream gives the same result. */
struct ws_step ws_read(struct ws_reader *reader, const uint8_t *in, size_t len, uint8_t *out);

/* The header of an unmasked frame; returns its length. `flags` are its first four bits: WS_FIN, and
 * WS_RSV1 for the first frame of a deflated message. */
#define WS_FIN  0x80u
#define WS_RSV1 0x40u
size_t ws_head(uint8_t out[WS_HEAD_MAX], unsigned flags, enum ws_opcode opcode, uint64_t payload);

/* The header of an unmasked frame: its length, with the payload's in *payload; 0: these `len` bytes, of
 * which there is at least one, are not all of it. */
size_t ws_head_length(const uint8_t *head, size_t len, uint64_t *payload);

/* Whether a peer may send this status in a close frame (7.4). */
bool ws_code_allowed(unsigned code);

#endif
