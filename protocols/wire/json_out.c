/* SPDX-License-Identifier: Apache-2.0 */

/* The direct JSON writer: numbers, strings and punctuation straight into a buffer.
 *
 * Each put checks the room once for all it is about to write, then writes without checks. The
 * writer trusts names and words of the tables; text of others goes through json_out_text(), the one
 * place where something is escaped.
 */

#include "wire/json_out.h"

static const char hex_digits[] = "0123456789abcdef";

void json_out_free(struct json_out *out)
{
    if (out->heap) {
        free(out->data);
    }
    *out = (struct json_out){0};
}

bool json_out_grow(struct json_out *out, size_t n)
{
    if (out->failed || n > out->limit - out->len || !out->heap) {
        out->failed = true;
        return false;
    }
    size_t want = out->cap < 1024 ? 1024 : out->cap * 2;
    if (want < out->len + n) {
        want = out->len + n;
    }
    if (want > out->limit) {
        want = out->limit;
    }
    char *grown = realloc(out->data, want);
    if (grown == NULL) {
        out->failed = true;
        return false;
    }
    out->data = grown;
    out->cap = want;
    return true;
}

/* The digits of value at the end of a buffer of 20; gives how many. */
static size_t decimal_digits(uint64_t value, char digits[20])
{
    size_t n = 0;
    do {
        n++;
        digits[20 - n] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return n;
}

void json_out_u64(struct json_out *out, uint64_t value)
{
    char digits[20];
    size_t n = decimal_digits(value, digits);
    json_out_sep(out);
    json_out_put(out, digits + 20 - n, n);
}

void json_out_i64(struct json_out *out, int64_t value)
{
    json_out_fixed(out, value, 0);
}

void json_out_fixed(struct json_out *out, int64_t value, unsigned decimals)
{
    char digits[20];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t n = decimal_digits(magnitude, digits);
    while (n <= decimals) { /* 5 with two decimals is 0.05 */
        n++;
        digits[20 - n] = '0';
    }
    json_out_sep(out);
    if (!json_out_room(out, n + 2)) {
        return;
    }
    char *at = out->data + out->len;
    if (value < 0) {
        *at++ = '-';
    }
    memcpy(at, digits + 20 - n, n - decimals);
    at += n - decimals;
    if (decimals > 0) {
        *at++ = '.';
        memcpy(at, digits + 20 - decimals, decimals);
        at += decimals;
    }
    out->len = (size_t)(at - out->data);
}

void json_out_bool(struct json_out *out, bool value)
{
    json_out_sep(out);
    json_out_put(out, value ? "true" : "false", value ? 4 : 5);
}

void json_out_null(struct json_out *out)
{
    json_out_sep(out);
    json_out_put(out, "null", 4);
}

void json_out_word(struct json_out *out, const char *text)
{
    size_t len = strlen(text);
    json_out_sep(out);
    if (json_out_room(out, len + 2)) {
        char *at = out->data + out->len;
        *at = '"';
        memcpy(at + 1, text, len);
        at[len + 1] = '"';
        out->len += len + 2;
    }
}

static size_t escaped_length(const char *utf8, size_t len)
{
    size_t n = len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)utf8[i];
        if (c < 0x20 || c == 0x7f) {
            n += 5;
        } else if (c == '"' || c == '\\') {
            n++;
        }
    }
    return n;
}

void json_out_text(struct json_out *out, const char *utf8, size_t len)
{
    json_out_sep(out);
    if (!json_out_room(out, escaped_length(utf8, len) + 2)) {
        return;
    }
    char *at = out->data + out->len;
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)utf8[i];
        if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            memcpy(at, "\\u00", 4);
            at[4] = hex_digits[c >> 4];
            at[5] = hex_digits[c & 15];
            at += 6;
        } else {
            *at++ = (char)c;
        }
    }
    *at++ = '"';
    out->len = (size_t)(at - out->data);
}

void json_out_hex(struct json_out *out, struct pg_bytes bytes)
{
    json_out_sep(out);
    if (!json_out_room(out, bytes.len * 2 + 2)) {
        return;
    }
    char *at = out->data + out->len;
    *at++ = '"';
    for (size_t i = 0; i < bytes.len; i++) {
        *at++ = hex_digits[bytes.data[i] >> 4];
        *at++ = hex_digits[bytes.data[i] & 15];
    }
    *at = '"';
    out->len += bytes.len * 2 + 2;
}

void json_out_hexnum(struct json_out *out, uint64_t value, unsigned digits)
{
    char text[19] = "0x";
    unsigned n = 16;
    while (n > digits && value >> (4 * (n - 1)) == 0) {
        n--;
    }
    for (unsigned i = 0; i < n; i++) {
        text[2 + i] = hex_digits[value >> (4 * (n - 1 - i)) & 15];
    }
    text[2 + n] = '\0';
    json_out_word(out, text);
}
