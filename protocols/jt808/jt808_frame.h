/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_FRAME_H
#define JT808_FRAME_H

/* One JT/T 808 frame (or one message put together from its sub-packages), with the header taken
 * apart and the body as bytes. Plain data: no function here allocates, reads a clock or does I/O.
 *
 * standard  JT/T 808-2011 and its revision of 2013: 4.4; JT/T 808-2019: 4.4
 */

#include <stdbool.h>
#include <stdint.h>

#include "polygate.h"

/* The longest body of one frame: bits 0-9 of the attribute word. */
#define JT808_BODY_MAX 1023u

/* The attribute word of the header. */
#define JT808_ATTR_LENGTH     0x03ffu /* bits 0-9: length of the body of this frame */
#define JT808_ATTR_ENCRYPTION 0x1c00u /* bits 10-12: 0 none, 1 RSA, others reserved */
#define JT808_ATTR_SUBPACKAGE 0x2000u /* bit 13: the package item is present */
#define JT808_ATTR_VERSION    0x4000u /* bit 14: header of 2019 */
#define JT808_ATTR_RESERVED   0x8000u /* bit 15: kept as received, sent as 0 */

/* Digits of the phone field: BCD[6] up to 2013, BCD[10] in 2019. */
#define JT808_PHONE_DIGITS      12u
#define JT808_PHONE_DIGITS_2019 20u

/* Faults that real terminals have. Each can be tolerated or not; X(NAME, "name"). The set of
 * tolerated ones and the set met in a frame are words with bit JT808_QUIRK_BIT(quirk). */
#define JT808_QUIRKS(X)                                                                            \
    X(UNESCAPED_7D, "unescaped_7d")                                                                \
    X(UNESCAPED_7E, "unescaped_7e")                                                                \
    X(WRONG_CHECKSUM, "wrong_checksum")                                                            \
    X(WRONG_LENGTH, "wrong_length")                                                                \
    X(HEADER_WITHOUT_VERSION_BIT, "header_without_version_bit")                                    \
    X(VERSION_BIT_WITHOUT_2019_HEADER, "version_bit_without_2019_header")

enum jt808_quirk {
#define JT808_QUIRK_ENUM(NAME, name) JT808_QUIRK_##NAME,
    JT808_QUIRKS(JT808_QUIRK_ENUM)
#undef JT808_QUIRK_ENUM
        JT808_QUIRK_COUNT
};
#define JT808_QUIRK_BIT(quirk) (1u << (quirk))

/* Editions of the standard, as far as the layout of messages depends on them. The header tells
 * 2019 from the rest; 2011 and 2013 share one header and are told apart by bodies only. */
enum jt808_edition { JT808_2011 = 2011, JT808_2013 = 2013, JT808_2019 = 2019 };

struct jt808_frame {
    uint16_t msg_id;
    uint16_t attributes;      /* as on the wire, all 16 bits; the encoder keeps bits 10-12, 14, 15
                               * and 13, and writes the length of `body` into bits 0-9 */
    bool header_2019;         /* the form of the header, whatever bit 14 says */
    uint8_t protocol_version; /* header of 2019 only: 1 in the text of 2019; else 0 */
    /* The nibbles of the phone field as text, leading zeros kept, nibbles above 9 as a..f;
     * NUL-terminated. 12 characters, or 20 in a header of 2019. */
    char phone[JT808_PHONE_DIGITS_2019 + 1];
    uint16_t serial;
    uint16_t package_total; /* these two only with JT808_ATTR_SUBPACKAGE, else 0 */
    uint16_t package_index; /* from 1 */
    /* Lent. One frame: at most JT808_BODY_MAX bytes unless WRONG_LENGTH is in `quirks`. A message
     * put together from packages: as long as it is. */
    struct pg_bytes body;
    /* Lent. The whole unescaped frame, header to check code, without delimiters; empty in a frame
     * that was not decoded from bytes. Decoders only: encoding does not read it. */
    struct pg_bytes content;
    uint32_t quirks; /* JT808_QUIRK_BIT of each fault that was tolerated in this frame */
};

static inline unsigned jt808_frame_encryption(const struct jt808_frame *frame)
{
    return (frame->attributes & JT808_ATTR_ENCRYPTION) >> 10;
}

static inline bool jt808_frame_is_subpackage(const struct jt808_frame *frame)
{
    return (frame->attributes & JT808_ATTR_SUBPACKAGE) != 0;
}

/* The length that the header declares; equals body.len except under WRONG_LENGTH and in a message
 * put together from packages. */
static inline unsigned jt808_frame_declared_length(const struct jt808_frame *frame)
{
    return frame->attributes & JT808_ATTR_LENGTH;
}

/* The edition as far as the header tells it: JT808_2019 or JT808_2013. */
static inline enum jt808_edition jt808_frame_edition(const struct jt808_frame *frame)
{
    return frame->header_2019 ? JT808_2019 : JT808_2013;
}

/* "unescaped_7d" and so on; the names used in JSON, counters and logs. */
const char *jt808_quirk_name(enum jt808_quirk quirk);

#endif
