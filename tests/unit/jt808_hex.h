/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_HEX_H
#define JT808_HEX_H

/* Frames as hex text, for the tests of the vehicle protocols. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "polygate.h"

static inline unsigned hex_nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* The bytes of hex text (blanks are skipped) in a block of exactly that size from malloc, so that
 * a read past the end is seen; the caller frees `data`. */
static inline struct pg_bytes hex_bytes(const char *text)
{
    char *digits = malloc(strlen(text) + 1);
    size_t n = 0;

    for (; *text; text++) {
        if (*text != ' ') {
            digits[n++] = *text;
        }
    }
    uint8_t *out = malloc(n / 2 + (n < 2));
    for (size_t i = 0; i < n / 2; i++) {
        out[i] = (uint8_t)(hex_nibble(digits[2 * i]) << 4 | hex_nibble(digits[2 * i + 1]));
    }
    free(digits);
    return (struct pg_bytes){.data = out, .len = n / 2};
}

/* Hex text of bytes; the caller frees it. */
static inline char *hex_text(struct pg_bytes bytes)
{
    char *out = malloc(2 * bytes.len + 1);

    for (size_t i = 0; i < bytes.len; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", bytes.data[i]);
    }
    out[2 * bytes.len] = '\0';
    return out;
}

#endif
