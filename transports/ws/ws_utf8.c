/* SPDX-License-Identifier: Apache-2.0 */

/* UTF-8 in pieces: what RFC 3629, 4 allows and nothing else. A pure function of its state. */

#include "ws_utf8.h"

#include <stdbool.h>
#include <string.h>

/* The first byte of a character; false: there is none that begins so. */
static bool begin(struct ws_utf8 *utf8, uint8_t byte)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf) {
        utf8->left = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
        utf8->left = 2;
        utf8->low = byte == 0xe0 ? 0xa0 : 0x80;
        utf8->high = byte == 0xed ? 0x9f : 0xbf; /* no surrogates */
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        utf8->left = 3;
        utf8->low = byte == 0xf0 ? 0x90 : 0x80;
        utf8->high = byte == 0xf4 ? 0x8f : 0xbf;
    } else {
        return byte < 0x80;
    }
    return true;
}

size_t ws_utf8_take(struct ws_utf8 *utf8, const uint8_t *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint64_t word;
        while (utf8->left == 0 && n - at >= sizeof(word)) {
            memcpy(&word, text + at, sizeof(word));
            if (word & 0x8080808080808080u)
                break;
            at += sizeof(word);
        }
        if (at == n)
            break;
        uint8_t byte = text[at];
        if (utf8->left == 0) {
            if (!begin(utf8, byte))
                break;
        } else {
            if (byte < utf8->low || byte > utf8->high)
                break;
            utf8->left--;
            utf8->low = 0x80;
            utf8->high = 0xbf;
        }
        at++;
    }
    return at;
}
