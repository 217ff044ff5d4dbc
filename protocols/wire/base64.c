/* SPDX-License-Identifier: Apache-2.0 */

/* Base64 (RFC 4648, 4). Strict: padding is there, and bits that say nothing are 0, so that each
 * sequence of bytes has one form. No state. */

#include "wire/base64.h"

#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void wire_base64_encode(struct pg_bytes bytes, char *to)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (n > 1) {
            group |= (uint32_t)bytes.data[i + 1] << 8;
        }
        if (n > 2) {
            group |= bytes.data[i + 2];
        }
        for (size_t k = 0; k < 4; k++) {
            *to++ = k <= n ? letters[group >> (18 - 6 * k) & 63] : '=';
        }
    }
}

/* 0 to 63; -1: not a letter. */
static int value_of(char letter)
{
    const char *at = letter == '\0' ? NULL : strchr(letters, letter);
    return at ? (int)(at - letters) : -1;
}

bool wire_base64_decode(const char *text, size_t len, uint8_t *to, size_t *bytes)
{
    *bytes = 0;
    if (len % 4 != 0)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        bool last = i + 4 == len;
        size_t n = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 1 : 2) : 3;
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k <= n ? value_of(text[i + k]) : 0;
            if (value < 0)
                return false;
            group = group << 6 | (uint32_t)value;
        }
        if (n < 3 && (group & (n == 1 ? 0xffffu : 0xffu)) != 0)
            return false;
        for (size_t k = 0; k < n; k++)
            to[(*bytes)++] = (uint8_t)(group >> (16 - 8 * k));
    }
    return true;
}
