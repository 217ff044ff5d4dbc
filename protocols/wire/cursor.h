/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_CURSOR_H
#define WIRE_CURSOR_H

/* A reading cursor over bytes from the wire, with a sticky error.
 *
 * Getters past the end return zero (or an empty range) and set `failed`; decoding code therefore
 * reads like the table in the standard, and one check of `failed` at the end decides. No decoder
 * does arithmetic on raw pointers. All numbers are big-endian, which every protocol served here
 * uses. The bytes are lent: nothing is copied, nothing is kept.
 *
 * threads   any; there is no shared state
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "polygate.h"

struct cursor {
    const uint8_t *at;  /* next byte to read */
    const uint8_t *end; /* one past the last byte */
    bool failed;        /* a getter wanted more than there was */
};

static inline struct cursor cursor_of(struct pg_bytes in)
{
    return (struct cursor){.at = in.data, .end = in.data + in.len, .failed = false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* Take n bytes; on shortage an empty range, and every later getter fails too. */
static inline struct pg_bytes cursor_take(struct cursor *c, size_t n)
{
    if (c->failed || cursor_left(c) < n) {
        c->failed = true;
        c->at = c->end;
        return (struct pg_bytes){.data = c->end, .len = 0};
    }
    struct pg_bytes out = {.data = c->at, .len = n};
    c->at += n;
    return out;
}

static inline struct pg_bytes cursor_rest(struct cursor *c)
{
    return cursor_take(c, cursor_left(c));
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    struct pg_bytes b = cursor_take(c, 1);
    return b.len == 1 ? b.data[0] : 0;
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    struct pg_bytes b = cursor_take(c, 2);
    return b.len == 2 ? (uint16_t)((unsigned)b.data[0] << 8 | b.data[1]) : 0;
}

static inline uint32_t cursor_u32(struct cursor *c)
{
    struct pg_bytes b = cursor_take(c, 4);
    return b.len == 4 ? (uint32_t)b.data[0] << 24 | (uint32_t)b.data[1] << 16 |
                            (uint32_t)b.data[2] << 8 | b.data[3]
                      : 0;
}

#endif
