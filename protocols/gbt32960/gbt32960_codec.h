/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_CODEC_H
#define GBT32960_CODEC_H

/* GB/T 32960.3 frames out of a byte stream and back: start mark, header, length, check code.
 * No I/O, no clock, no allocation: the caller lends the bytes.
 *
 * standard  GB/T 32960.3-2016, -2025: 6.2
 * threads   any; there is no shared state
 */

#include "gbt32960_frame.h"

/* What is wrong with bytes that are not a frame; X(NAME, "name"). */
#define GBT_ERRORS(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(START, "start")           /* neither ## nor $$ */                                            \
    X(LENGTH, "length")         /* the declared length is more than 65531 */                       \
    X(INCOMPLETE, "incomplete") /* fewer bytes than the header announces */                        \
    X(TRAILING, "trailing")     /* bytes behind the one frame that was given */                    \
    X(BCC, "bcc")               /* the check code does not hold */                                 \
    X(ENCRYPTION, "encryption") /* an encryption flag that this edition does not have */           \
    X(NOISE, "noise")           /* bytes of a stream that begin no frame */

enum gbt_error {
#define GBT_ERROR_ENUM(NAME, name) GBT_ERROR_##NAME,
    GBT_ERRORS(GBT_ERROR_ENUM)
#undef GBT_ERROR_ENUM
        GBT_ERROR_COUNT
};

/* "bcc" and so on; the names used in counters, logs and by `polygatectl decode`. */
const char *gbt_error_name(enum gbt_error error);

enum gbt_result {
    GBT_FRAME_WHOLE,     /* *out is a frame; *used bytes are consumed */
    GBT_FRAME_MORE,      /* no whole frame is left; nothing is consumed, call again with more */
    GBT_FRAME_MALFORMED, /* *error names the fault; skip *used bytes and call again */
};

/* Take one frame from the head of a stream.
 *
 * There is no escaping and no end mark, so that only the length delimits. A header is believed if
 * its flags are defined and its length is possible; else it is noise, and the search goes on one
 * byte later. A wrong check code may mean a wrong length: a sound frame that begins inside the
 * claimed extent is where reading goes on, else the claimed end. The result does not depend on how
 * the stream was cut into reads, except that noise is reported once for each read that it is in.
 *
 * in        lent; neither kept nor written to; at most 2 * GBT_WIRE_MAX bytes stay unconsumed
 * used      bytes to take off the head of `in`; 0 for GBT_FRAME_MORE
 * out       for GBT_FRAME_WHOLE: unit and wire point into `in`. After GBT_ERROR_BCC and
 *           GBT_ERROR_ENCRYPTION it is filled too, wire being the claimed extent.
 * error     for GBT_FRAME_MALFORMED: NOISE, BCC, ENCRYPTION
 */
enum gbt_result gbt_frame_next(struct pg_bytes in, size_t *used, struct gbt_frame *out,
                               enum gbt_error *error) PG_CHECKED;

/* How many bytes the frame at the head of `in` needs in all; 0 if that is not known yet. */
size_t gbt_frame_need(struct pg_bytes in);

/* Decode exactly one frame. *out is filled as far as it goes; unit and wire point into `wire`. */
enum gbt_error gbt_frame_decode(struct pg_bytes wire, struct gbt_frame *out) PG_CHECKED;

/* Write a frame: start mark by the edition, length and check code are made here.
 *
 * out       room for `room` bytes, or NULL with 0 to learn the length
 * returns   the length of the frame; if it is more than `room`, nothing was written. 0: the unit
 *           is longer than GBT_UNIT_MAX
 */
size_t gbt_frame_encode(const struct gbt_frame *frame, uint8_t *out, size_t room) PG_CHECKED;

#endif
