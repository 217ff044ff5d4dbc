/* SPDX-License-Identifier: Apache-2.0 */

/* Text of the wire: GB 18030 by iconv, UTF-8 by a check, hexadecimal digits.
 *
 * iconv's converters hold state, so each thread has its own, opened upon first use and closed when
 * the thread ends. Each conversion begins by resetting the state.
 */

#include "wire/text.h"

#include <errno.h>
#include <iconv.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "wire/out.h"

struct converters {
    iconv_t to_utf8;
    iconv_t from_utf8;
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static _Thread_local struct converters *mine;

static void close_converters(void *arg)
{
    struct converters *c = arg;
    mine = NULL;
    if (c->to_utf8 != (iconv_t)-1) {
        iconv_close(c->to_utf8);
    }
    if (c->from_utf8 != (iconv_t)-1) {
        iconv_close(c->from_utf8);
    }
    free(c);
}

static void make_key(void)
{
    key_made = pthread_key_create(&key, close_converters) == 0;
}

/* This thread's converters; null if memory or libc's GB 18030 is missing. */
static struct converters *converters(void)
{
    if (mine != NULL) {
        return mine;
    }
    pthread_once(&key_once, make_key);
    struct converters *c = key_made ? malloc(sizeof(*c)) : NULL;
    if (c == NULL) {
        return NULL;
    }
    c->to_utf8 = iconv_open("UTF-8", "GB18030");
    c->from_utf8 = iconv_open("GB18030", "UTF-8");
    if (c->to_utf8 == (iconv_t)-1 || c->from_utf8 == (iconv_t)-1 ||
        pthread_setspecific(key, c) != 0) {
        close_converters(c);
        return NULL;
    }
    mine = c;
    return c;
}

bool wire_text_is_ascii(struct pg_bytes text)
{
    uint8_t all = 0;
    for (size_t i = 0; i < text.len; i++) {
        all |= text.data[i];
    }
    return all < 0x80;
}

static ssize_t convert(iconv_t cd, const void *in, size_t in_len, void *out, size_t room)
{
    char *from = (char *)(uintptr_t)in;
    char *to = out;
    size_t left = room;
    iconv(cd, NULL, NULL, NULL, NULL);
    if (iconv(cd, &from, &in_len, &to, &left) == (size_t)-1 || in_len != 0) {
        return -1;
    }
    return (ssize_t)(room - left);
}

/* One UTF-8 sequence of a character that may stand in JSON; 0 if it is malformed. */
static size_t utf8_sequence(const uint8_t *s, size_t len)
{
    if (s[0] < 0x80) {
        return 1;
    }
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > len) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0u) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return n;
}

static bool is_utf8(struct pg_bytes text)
{
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_sequence(text.data + i, text.len - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

ssize_t wire_text_decode(enum wire_charset charset, struct pg_bytes text, char *out, size_t room)
{
    if (charset == WIRE_UTF8 || wire_text_is_ascii(text)) {
        if (text.len > room || !is_utf8(text)) {
            return -1;
        }
        if (text.len > 0) {
            memcpy(out, text.data, text.len);
        }
        return (ssize_t)text.len;
    }
    struct converters *c = converters();
    if (c == NULL) {
        return -1;
    }
    ssize_t n = convert(c->to_utf8, text.data, text.len, out, room);
    /* GB 18030 can say code points that UTF-8 must not (surrogates). */
    if (n >= 0 && !is_utf8((struct pg_bytes){(const uint8_t *)out, (size_t)n})) {
        return -1;
    }
    return n;
}

ssize_t wire_text_encode(enum wire_charset charset, const char *utf8, size_t len, uint8_t *out,
                         size_t room)
{
    struct pg_bytes text = {(const uint8_t *)utf8, len};
    if (charset == WIRE_UTF8 || wire_text_is_ascii(text)) {
        if (len > room) {
            return -1;
        }
        if (len > 0) {
            memcpy(out, utf8, len);
        }
        return (ssize_t)len;
    }
    struct converters *c = converters();
    return c == NULL ? -1 : convert(c->from_utf8, utf8, len, out, room);
}

struct pg_bytes wire_text_strip(struct pg_bytes text)
{
    while (text.len > 0 && text.data[text.len - 1] == 0) {
        text.len--;
    }
    while (text.len > 0 && text.data[0] == 0) {
        text.data++;
        text.len--;
    }
    return text;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool wire_hex_decode(const char *hex, size_t len, uint8_t *out, size_t room, size_t *used)
{
    if (len % 2 != 0 || len / 2 > room) {
        return false;
    }
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_value(hex[i]);
        int low = hex_value(hex[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    *used = len / 2;
    return true;
}

bool wire_hex_take(struct pg_bytes hex, struct wire_out *out, struct pg_bytes *bytes)
{
    size_t used;
    uint8_t *room = wire_out_take(out, hex.len / 2 + 1);

    if (!room || !wire_hex_decode((const char *)hex.data, hex.len, room, hex.len / 2 + 1, &used)) {
        return false;
    }
    *bytes = (struct pg_bytes){.data = room, .len = used};
    return true;
}

struct pg_bytes wire_text_trim(struct pg_bytes text)
{
    while (text.len > 0 && memchr(" \t\r\n", text.data[0], 4)) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && memchr(" \t\r\n", text.data[text.len - 1], 4)) {
        text.len--;
    }
    return text;
}
