/* SPDX-License-Identifier: Apache-2.0 */

/* Text built into a buffer of fixed size; see escape.h.
 *
 * A value is looked at character by character: a well-formed UTF-8 sequence that prints is copied,
 * everything else is escaped, so that bytes from a peer can neither end a line nor a string, nor
 * reach a terminal as a control sequence. Any thread; no allocation, no state. */

#include <stdio.h>
#include <string.h>

#include "escape.h"

/* Longest form of one character: \u009b, \xHH and "\\xHH" are shorter. */
#define LONGEST_ESCAPE 8

void pg_text_add(struct pg_text *text, struct pg_bytes bytes)
{
    if (bytes.len > text->room - text->len) {
        text->cut = true;
        return;
    }
    if (bytes.len > 0)
        memcpy(text->data + text->len, bytes.data, bytes.len);
    text->len += bytes.len;
}

void pg_text_addf(struct pg_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = text->room - text->len;
    int n = vsnprintf(text->data + text->len, room, format, args);
    va_end(args);
    /* vsnprintf needs one byte more than it reports, for its NUL. */
    if (n < 0 || (size_t)n >= room)
        text->cut = true;
    else
        text->len += (size_t)n;
}

/* Length of the well-formed UTF-8 sequence at `p` and its code point; 0 if there is none. */
static size_t utf8_next(const uint8_t *p, size_t left, uint32_t *code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n == 0 || n > left || p[0] > 0xF4)
        return 0;
    uint32_t value = n == 1 ? p[0] : p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3Fu);
    }
    if (value < lowest[n] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code = value;
    return n;
}

/* Characters that change how a line is shown rather than being shown: C0, DEL, C1, the line and
 * paragraph separators, and the marks that turn the direction of writing. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

/* The form of the character or byte at `p` in `out`; how many bytes of the value it took. */
static size_t escape_one(const uint8_t *p, size_t left, enum pg_quoting quoting, char *out,
                         size_t *out_len)
{
    uint32_t code = 0;
    size_t n = utf8_next(p, left, &code);
    int written;
    if (n == 0) {
        n = 1;
        written =
            snprintf(out, LONGEST_ESCAPE, quoting == PG_QUOTE_JSON ? "\\\\x%02x" : "\\x%02x", p[0]);
    } else if (code == '"' || code == '\\') {
        written = snprintf(out, LONGEST_ESCAPE, "\\%c", (int)code);
    } else if (code == '\n' || code == '\r' || code == '\t') {
        written = snprintf(out, LONGEST_ESCAPE, "\\%c",
                           code == '\n'   ? 'n'
                           : code == '\r' ? 'r'
                                          : 't');
    } else if (is_control(code) && (quoting == PG_QUOTE_JSON || code > 0xFF)) {
        written = snprintf(out, LONGEST_ESCAPE, "\\u%04x", (unsigned)code);
    } else if (is_control(code)) {
        /* Byte by byte: the rest of a two-byte C1 character is not UTF-8 when met alone. */
        n = 1;
        written = snprintf(out, LONGEST_ESCAPE, "\\x%02x", p[0]);
    } else {
        memcpy(out, p, n);
        written = (int)n;
    }
    *out_len = (size_t)written;
    return n;
}

/* One plain word, to be written without quotes. */
static bool is_word(struct pg_bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return value.len > 0;
}

void pg_text_add_quoted(struct pg_text *text, struct pg_bytes value, enum pg_quoting quoting)
{
    if (text->room - text->len < 2) {
        text->cut = true;
        return;
    }
    if (quoting == PG_QUOTE_LOG && is_word(value) && value.len <= text->room - text->len) {
        pg_text_add(text, value);
        return;
    }
    text->data[text->len++] = '"';
    for (size_t i = 0; i < value.len;) {
        char form[LONGEST_ESCAPE];
        size_t len;
        size_t used = escape_one(value.data + i, value.len - i, quoting, form, &len);
        if (len + 1 > text->room - text->len) {
            text->cut = true;
            break;
        }
        memcpy(text->data + text->len, form, len);
        text->len += len;
        i += used;
    }
    text->data[text->len++] = '"';
}

void pg_text_add_hex(struct pg_text *text, struct pg_bytes value)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < value.len; i++) {
        if (text->room - text->len < 2) {
            text->cut = true;
            return;
        }
        text->data[text->len++] = digits[value.data[i] >> 4];
        text->data[text->len++] = digits[value.data[i] & 15];
    }
}
