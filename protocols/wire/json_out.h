/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_JSON_OUT_H
#define WIRE_JSON_OUT_H

/* A direct JSON writer: text goes into one buffer, no tree is built.
 *
 * The buffer is either the caller's and bounded (json_out_over) or grows on the heap up to a limit
 * (json_out_heap). Running out sets the sticky `failed`; nothing is written past the end, and the
 * one check is at the end. Commas are put by the writer: a value that follows another one in the
 * same object or list gets its comma by itself.
 *
 * threads   one writer belongs to one thread at a time
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "polygate.h"

struct json_out {
    char *data;
    size_t len;   /* bytes written */
    size_t cap;   /* room in data */
    size_t limit; /* largest cap that may be grown to; equal to cap for a caller's buffer */
    bool heap;    /* data belongs to the writer */
    bool failed;  /* the limit was reached or memory ran out; the text is not complete */
};

/* Write into `size` bytes at `buffer`, which is lent for the life of the writer. */
static inline struct json_out json_out_over(char *buffer, size_t size)
{
    return (struct json_out){.data = buffer, .cap = size, .limit = size};
}

/* Write into memory of the writer's own, at most `limit` bytes; json_out_free() releases it. */
static inline struct json_out json_out_heap(size_t limit)
{
    return (struct json_out){.limit = limit, .heap = true};
}

void json_out_free(struct json_out *out);

/* Make room for n more bytes; false sets `failed`. */
bool json_out_grow(struct json_out *out, size_t n);

static inline bool json_out_room(struct json_out *out, size_t n)
{
    if (out->cap - out->len >= n) {
        return true;
    }
    return json_out_grow(out, n);
}

/* Put bytes as they are. For the writer's own punctuation and names; not for text of others. */
static inline void json_out_put(struct json_out *out, const char *text, size_t len)
{
    if (json_out_room(out, len)) {
        memcpy(out->data + out->len, text, len);
        out->len += len;
    }
}

/* A comma, unless the next value is the first of its object or list or follows its key. */
static inline void json_out_sep(struct json_out *out)
{
    if (out->len > 0) {
        char last = out->data[out->len - 1];
        if (last != '{' && last != '[' && last != ':' && json_out_room(out, 1)) {
            out->data[out->len++] = ',';
        }
    }
}

static inline void json_out_close(struct json_out *out, char bracket) /* '}' or ']' */
{
    if (json_out_room(out, 1)) {
        out->data[out->len++] = bracket;
    }
}

static inline void json_out_open(struct json_out *out, char bracket) /* '{' or '[' */
{
    json_out_sep(out);
    json_out_close(out, bracket);
}

/* `"name":` of a name that needs no escaping (names of tables). */
static inline void json_out_key_of(struct json_out *out, const char *name, size_t len)
{
    json_out_sep(out);
    if (json_out_room(out, len + 3)) {
        char *at = out->data + out->len;
        *at = '"';
        memcpy(at + 1, name, len);
        at[len + 1] = '"';
        at[len + 2] = ':';
        out->len += len + 3;
    }
}

static inline void json_out_key(struct json_out *out, const char *name)
{
    json_out_key_of(out, name, strlen(name));
}

void json_out_u64(struct json_out *out, uint64_t value);
void json_out_i64(struct json_out *out, int64_t value);
/* value / 10^decimals with exactly that many decimals, 0..9. */
void json_out_fixed(struct json_out *out, int64_t value, unsigned decimals);
void json_out_bool(struct json_out *out, bool value);
void json_out_null(struct json_out *out);
/* A string of plain ASCII that needs no escaping (names of tables, digits). */
void json_out_word(struct json_out *out, const char *text);
/* A string of UTF-8 that was checked before; quotes, backslashes and control characters are
 * escaped. */
void json_out_text(struct json_out *out, const char *utf8, size_t len);
/* A string of lower-case hexadecimal digits. Also BCD: its nibbles are its digits. */
void json_out_hex(struct json_out *out, struct pg_bytes bytes);
/* A string "0x" and at least `digits` hexadecimal digits. */
void json_out_hexnum(struct json_out *out, uint64_t value, unsigned digits);

#endif
