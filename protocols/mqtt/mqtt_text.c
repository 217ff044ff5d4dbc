/* SPDX-License-Identifier: Apache-2.0 */

/* UTF-8 encoded strings: one pass tells whether a string is well formed, and whether it holds topic
 * wildcards, or characters that a receiver may refuse.
 *
 * Nearly every topic, client identifier and property is ASCII, so eight bytes are looked at in one
 * word for as long as none of them is U+0000 or above U+007F; from the first word with one that is, the
 * rest of the string goes through the table of well-formed sequences (Unicode, table 3-7), byte by byte.
 *
 * No allocation, no state; any thread. Standard: MQTT 5.0, 1.5.4; MQTT 3.1.1, 1.5.3. */

#include "mqtt_text.h"

#include <stdbool.h>
#include <string.h>

#define EACH_BYTE(b) ((uint64_t)(b)*UINT64_C(0x0101010101010101))

/* Non-zero if any byte of the word is zero. */
static uint64_t zero_byte(uint64_t word)
{
    return (word - EACH_BYTE(0x01)) & ~word & EACH_BYTE(0x80);
}

/* Length of the well-formed sequence of two to four bytes at `at`, or 0. */
static size_t sequence(struct pg_bytes text, size_t at)
{
    uint8_t lead = text.data[at];
    uint8_t low = 0x80;
    uint8_t high = 0xBF; /* bounds of the second byte */
    size_t len;
    if (lead >= 0xC2 && lead <= 0xDF) {
        len = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        len = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;  /* overlong forms */
        high = lead == 0xED ? 0x9F : 0xBF; /* surrogates */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        len = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;  /* overlong forms */
        high = lead == 0xF4 ? 0x8F : 0xBF; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (text.len - at < len || text.data[at + 1] < low || text.data[at + 1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((text.data[at + i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return len;
}

/* U+0001 to U+001F, U+007F to U+009F, and the non-characters (1.5.4.1), by the bytes of one
 * well-formed sequence of two to four. */
static bool is_control(const uint8_t *at, size_t len)
{
    if (len == 2) {
        return at[0] == 0xC2 && at[1] < 0xA0;
    }
    const uint8_t *last = at + len - 2;
    bool ends_plane = last[0] == 0xBF && last[1] >= 0xBE;
    if (len == 3) { /* U+FDD0 to U+FDEF; U+FFFE and U+FFFF */
        return at[0] == 0xEF && (ends_plane || (at[1] == 0xB7 && at[2] >= 0x90 && at[2] <= 0xAF));
    }
    return ends_plane && (at[1] & 0x0F) == 0x0F;
}

/* Non-zero if any byte of an ASCII word is below 0x20 or 0x7F. */
static uint64_t control_byte(uint64_t word)
{
    return ((word - EACH_BYTE(0x20)) & ~word & EACH_BYTE(0x80)) | zero_byte(word ^ EACH_BYTE(0x7F));
}

#define WORD sizeof(uint64_t)

/* Add what eight bytes hold to `found`; false, and nothing added, if they are not all of them U+0001 to
 * U+007F. */
static bool plain_word(const uint8_t *at, unsigned *found)
{
    uint64_t word;
    memcpy(&word, at, WORD);
    if ((word & EACH_BYTE(0x80)) != 0 || zero_byte(word) != 0) {
        return false;
    }
    if ((zero_byte(word ^ EACH_BYTE('+')) | zero_byte(word ^ EACH_BYTE('#'))) != 0) {
        *found |= MQTT_TEXT_WILDCARD;
    }
    if (control_byte(word) != 0) {
        *found |= MQTT_TEXT_CONTROL;
    }
    return true;
}

unsigned mqtt_text_check(struct pg_bytes text)
{
    unsigned found = 0;
    size_t at = 0;
    while (text.len - at >= WORD && plain_word(text.data + at, &found)) {
        at += WORD;
    }
    /* What is left of a longer text with bytes before it that have been looked at. */
    size_t left = text.len - at;
    if (left > 0 && left < WORD && at > 0 && plain_word(text.data + text.len - WORD, &found)) {
        at = text.len;
    }
    while (at < text.len) {
        uint8_t byte = text.data[at];
        if (byte == 0) {
            return MQTT_TEXT_INVALID;
        }
        if (byte < 0x80) {
            if (byte == '+' || byte == '#') {
                found |= MQTT_TEXT_WILDCARD;
            }
            if (byte < 0x20 || byte == 0x7F) {
                found |= MQTT_TEXT_CONTROL;
            }
            at++;
            continue;
        }
        size_t len = sequence(text, at);
        if (len == 0) {
            return MQTT_TEXT_INVALID;
        }
        if (is_control(text.data + at, len)) {
            found |= MQTT_TEXT_CONTROL;
        }
        at += len;
    }
    return found;
}
