/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_TEXT_H
#define PG_WS_TEXT_H

/* Parts of header values (RFC 9110, 5.6): ranges of bytes, none of them copied. Any thread. */

#include <string.h>
#include <strings.h>

#include "polygate.h"

static inline bool ws_is_text(struct pg_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static inline bool ws_is_name(struct pg_bytes b, const char *text)
{
    return b.len == strlen(text) && strncasecmp((const char *)b.data, text, b.len) == 0;
}

static inline bool ws_is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static inline struct pg_bytes ws_trim(struct pg_bytes b)
{
    while (b.len > 0 && ws_is_blank(b.data[0])) {
        b.data++;
        b.len--;
    }
    while (b.len > 0 && ws_is_blank(b.data[b.len - 1]))
        b.len--;
    return b;
}

/* Cut off what stands before `separator` (all, if there is none). */
static inline struct pg_bytes ws_cut(struct pg_bytes *rest, uint8_t separator)
{
    struct pg_bytes first = *rest;
    const uint8_t *at = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    size_t skip = at ? len + 1 : len;
    first.len = len;
    rest->data += skip;
    rest->len -= skip;
    return first;
}

static inline bool ws_has_token(struct pg_bytes list, const char *token)
{
    while (list.len > 0)
        if (ws_is_name(ws_trim(ws_cut(&list, ',')), token))
            return true;
    return false;
}

/* A token (RFC 9110, 5.6.2). */
static inline bool ws_is_token(struct pg_bytes b)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i], letter = c | 0x20;
        bool is_plain = (c >= '0' && c <= '9') || (letter >= 'a' && letter <= 'z');
        if (!is_plain && !memchr(others, c, sizeof(others) - 1))
            return false;
    }
    return b.len > 0;
}

#endif
