/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_OUT_H
#define WIRE_OUT_H

/* A writing cursor: bytes for the wire, big-endian, with a sticky error.
 *
 * Over a caller's buffer (wire_out_over) or on the heap up to a limit (wire_out_heap). A put that
 * does not fit writes nothing and sets `failed`.
 *
 * threads   one writer belongs to one thread at a time
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "polygate.h"

struct wire_out {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t limit; /* largest cap; equal to cap over a caller's buffer */
    bool heap;    /* data belongs to the writer */
    bool failed;
};

static inline struct wire_out wire_out_over(uint8_t *buffer, size_t size)
{
    return (struct wire_out){.data = buffer, .cap = size, .limit = size};
}

static inline struct wire_out wire_out_heap(size_t limit)
{
    return (struct wire_out){.limit = limit, .heap = true};
}

static inline void wire_out_free(struct wire_out *out)
{
    if (out->heap) {
        free(out->data);
    }
    *out = (struct wire_out){0};
}

static inline struct pg_bytes wire_out_bytes(const struct wire_out *out)
{
    return (struct pg_bytes){.data = out->data, .len = out->len};
}

/* Room for n bytes at the end, counted as written; a null pointer (and `failed`) if there is none.
 * The bytes are not set. The pointer is good until the next put. */
static inline uint8_t *wire_out_take(struct wire_out *out, size_t n)
{
    static uint8_t none;
    if (n == 0) {
        return out->failed ? NULL : &none;
    }
    if (out->failed || n > out->limit - out->len) {
        out->failed = true;
        return NULL;
    }
    if (n > out->cap - out->len) {
        size_t want = out->cap < 256 ? 256 : out->cap * 2;
        if (want < out->len + n) {
            want = out->len + n;
        }
        if (want > out->limit) {
            want = out->limit;
        }
        uint8_t *grown = out->heap ? realloc(out->data, want) : NULL;
        if (grown == NULL) {
            out->failed = true;
            return NULL;
        }
        out->data = grown;
        out->cap = want;
    }
    uint8_t *at = out->data + out->len;
    out->len += n;
    return at;
}

static inline void wire_out_put(struct wire_out *out, struct pg_bytes bytes)
{
    uint8_t *at = wire_out_take(out, bytes.len);
    if (at != NULL && bytes.len > 0) {
        memcpy(at, bytes.data, bytes.len);
    }
}

static inline void wire_out_fill(struct wire_out *out, uint8_t value, size_t n)
{
    uint8_t *at = wire_out_take(out, n);
    if (at != NULL && n > 0) {
        memset(at, value, n);
    }
}

/* Overwrite `width` bytes at offset `at`, which were written before. */
static inline void wire_out_patch(struct wire_out *out, size_t at, uint64_t value, unsigned width)
{
    if (!out->failed && at <= out->len && width <= out->len - at) {
        for (unsigned i = 0; i < width; i++) {
            out->data[at + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
        }
    }
}

/* An unsigned number of 1..8 bytes. */
static inline void wire_out_uint(struct wire_out *out, uint64_t value, unsigned width)
{
    size_t at = out->len;
    if (wire_out_take(out, width) != NULL) {
        wire_out_patch(out, at, value, width);
    }
}

#endif
