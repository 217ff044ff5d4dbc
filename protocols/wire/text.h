/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

/* Text of the wire in its character set, and back.
 *
 * The Chinese vehicle protocols use GBK; it is decoded as GB 18030, its superset, by the iconv of
 * libc. ASCII, which is nearly everything, never gets there.
 *
 * threads   any; converters are opened once per thread
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "polygate.h"

struct wire_out;

enum wire_charset {
    WIRE_GBK = 0, /* GB 18030 */
    WIRE_UTF8,    /* terminals that ignore the standard */
};

/* UTF-8 needs at most this many bytes for one byte of either character set. */
#define WIRE_TEXT_GROWTH 3

/* True if every byte is ASCII. */
bool wire_text_is_ascii(struct pg_bytes text);

/* Decode to UTF-8.
 *
 * out      room for at least text.len * WIRE_TEXT_GROWTH bytes
 * returns  the number of bytes written, or -1 if the bytes are no text of the character set
 */
ssize_t wire_text_decode(enum wire_charset charset, struct pg_bytes text, char *out, size_t room);

/* Encode from UTF-8.
 *
 * out      room for at least 4 bytes per character
 * returns  the number of bytes written, or -1 if it cannot be said in the character set
 */
ssize_t wire_text_encode(enum wire_charset charset, const char *utf8, size_t len, uint8_t *out,
                         size_t room);

/* The text without NULs on both sides. */
struct pg_bytes wire_text_strip(struct pg_bytes text);

/* The text without blanks, tabs and line ends on both sides. */
struct pg_bytes wire_text_trim(struct pg_bytes text);

/* Hexadecimal digits to bytes; false on an odd number, another character or more than `room`. */
bool wire_hex_decode(const char *hex, size_t len, uint8_t *out, size_t room, size_t *used);
/* The same to bytes that are appended to `out`, and lent with it. */
bool wire_hex_take(struct pg_bytes hex, struct wire_out *out, struct pg_bytes *bytes);

#endif
