/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_CODEC_H
#define JT808_CODEC_H

/* JT/T 808 frames out of a byte stream and back: delimiters, escaping, check code, header.
 * No I/O, no clock, no allocation: the caller lends the bytes and the room to unescape into.
 *
 * standard  JT/T 808-2011, 2013, 2019: 4.4 (composition, escaping, check code, header)
 * threads   any; there is no shared state
 */

#include "jt808_frame.h"

/* The longest content of a frame before escaping: header of 2019 with package item, body, check
 * code. Escaping doubles it at worst; a delimiter stands at each end. */
#define JT808_CONTENT_MAX (21u + JT808_BODY_MAX + 1u)
#define JT808_RUN_MAX     (2u * JT808_CONTENT_MAX) /* between two delimiters */
#define JT808_WIRE_MAX    (JT808_RUN_MAX + 2u)

/* What is wrong with bytes that are not a frame; X(NAME, "name"). */
#define JT808_ERRORS(X)                                                                            \
    X(NONE, "none")                                                                                \
    X(DELIMITER, "delimiter") /* does not begin and end with 7e, or has a 7e inside */             \
    X(ESCAPE, "escape")       /* 7d that is not followed by 01 or 02 */                            \
    X(SHORT, "short")         /* less than a header and a check code */                            \
    X(CHECKSUM, "checksum")   /* the exclusive or of all bytes is not zero */                      \
    X(LENGTH, "length")       /* the declared body length fits neither form of the header */       \
    X(TOO_LONG, "too_long")   /* no closing delimiter within the longest legal frame */            \
    X(NOISE, "noise")         /* bytes of a stream before an opening delimiter */

enum jt808_error {
#define JT808_ERROR_ENUM(NAME, name) JT808_ERROR_##NAME,
    JT808_ERRORS(JT808_ERROR_ENUM)
#undef JT808_ERROR_ENUM
        JT808_ERROR_COUNT
};

/* "checksum" and so on; the names used in counters, logs and by `polygatectl decode`. */
const char *jt808_error_name(enum jt808_error error);

/* Sets of tolerated quirks. The default takes what can be recognised beyond doubt: the check code
 * and the length both hold after the repair. */
#define JT808_TOLERATE_NONE 0u
#define JT808_TOLERATE_DEFAULT                                                                     \
    (JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7D) |                                                   \
     JT808_QUIRK_BIT(JT808_QUIRK_HEADER_WITHOUT_VERSION_BIT) |                                     \
     JT808_QUIRK_BIT(JT808_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER))
#define JT808_TOLERATE_ALL (JT808_QUIRK_BIT(JT808_QUIRK_COUNT) - 1u)

/* Room to unescape one frame into. Frames without an escape do not use it. */
struct jt808_scratch {
    uint8_t bytes[JT808_RUN_MAX];
};

/* Where a stream is. Zero-initialise it when the connection opens and set `tolerated`. */
struct jt808_stream {
    uint32_t tolerated; /* set of quirks */
    bool open;          /* the byte before the head of `in` was a delimiter */
};

enum jt808_result {
    JT808_FRAME_WHOLE,     /* *out is a frame; *used bytes are consumed */
    JT808_FRAME_MORE,      /* no whole frame is left; *used bytes (delimiters) are consumed, call
                            * again with the rest and more bytes behind it */
    JT808_FRAME_MALFORMED, /* *error names the fault; skip *used bytes and call again */
};

/* Take one frame from the head of a stream. The stream is cut at every delimiter; each run of
 * bytes with a delimiter on both sides is a candidate, and a candidate that fails costs nothing
 * but itself. The result does not depend on how the stream was cut into reads, except that noise
 * is reported once for each read that it is in.
 *
 * stream    the caller's; kept between calls
 * in        lent; neither kept nor written to; at most JT808_WIRE_MAX bytes of it stay unconsumed
 * scratch   lent; overwritten
 * used      bytes to take off the head of `in`
 * out       for JT808_FRAME_WHOLE: body and content point into `in` or `scratch` and live as long
 *           as both are left alone. After JT808_ERROR_LENGTH the header fields are filled too.
 * error     for JT808_FRAME_MALFORMED
 */
enum jt808_result jt808_frame_next(struct jt808_stream *stream, struct pg_bytes in,
                                   struct jt808_scratch *scratch, size_t *used,
                                   struct jt808_frame *out, enum jt808_error *error) PG_CHECKED;

/* Decode exactly one frame as it stands on the wire, both delimiters included. Lifetimes as in
 * jt808_frame_next(). */
enum jt808_error jt808_frame_decode(struct pg_bytes wire, uint32_t tolerated,
                                    struct jt808_scratch *scratch,
                                    struct jt808_frame *out) PG_CHECKED;

/* Decode an unescaped frame without delimiters, header to check code. `out` points into
 * `content`. */
enum jt808_error jt808_content_decode(struct pg_bytes content, uint32_t tolerated,
                                      struct jt808_frame *out) PG_CHECKED;

/* Write a frame as it stands on the wire: delimiters, escapes and check code are made here, the
 * length bits come from the body. `frame->phone` must have the digits of its header's form.
 *
 * out       room for `room` bytes, or NULL with 0 to learn the length; JT808_WIRE_MAX suffices
 * returns   the length of the frame; if it is more than `room`, the bytes in `out` are not one.
 *           0: the body is longer than JT808_BODY_MAX or the phone is not of the header's form
 */
size_t jt808_frame_encode(const struct jt808_frame *frame, uint8_t *out, size_t room) PG_CHECKED;

/* Frames that a body of this length needs: 1, or the number of packages; 0 for more than the 65535
 * that the header can count. */
unsigned jt808_part_count(size_t body_len);
/* The frame number `index` (from 1) of a message whose body may be of any length: with one part
 * the message itself, else with package item and the serial first + index - 1. */
struct jt808_frame jt808_part(const struct jt808_frame *message, unsigned index);

/* Put a phone into the frame, zeros filled in front up to the width of the header's form, which
 * must be set before. Leading zeros beyond the width are left out. false: not hex digits, none, or
 * too many. */
bool jt808_frame_set_phone(struct jt808_frame *frame, struct pg_bytes digits) PG_CHECKED;

/* The phone for comparing: leading zeros left out, but at least 11 digits kept, so that the same
 * terminal is found under 12 and under 20 digits. A range within `phone`. */
struct pg_bytes jt808_phone_trimmed(const char *phone);
bool jt808_phone_equal(const char *a, const char *b);

#endif
