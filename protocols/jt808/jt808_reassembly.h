/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_REASSEMBLY_H
#define JT808_REASSEMBLY_H

/* Messages put together from sub-packages, for one terminal. Packages may come in any order, twice,
 * interleaved with those of other messages, or never. Memory grows with the bytes that have
 * arrived, never with what a header announces; the caller gives the time.
 *
 * standard  JT/T 808-2013, 2019: 4.4.3 (package item), 0x8003, 0x0005
 * threads   one at a time for one object
 */

#include "jt808_frame.h"

struct jt808_reassembly_limits {
    /* Longest message; a photo has 20 to 200 KiB, a video clip more. Here and in the next one some
     * 32 bytes of bookkeeping are counted for each package. */
    size_t message_bytes;
    size_t total_bytes; /* of all pending messages together */
    unsigned pending;   /* messages at a time */
    int64_t ask_ms;     /* silence after which missing packages are asked for */
    unsigned asks;      /* how often they are asked for */
    int64_t age_ms;     /* time without a new package after which the message is given up */
};

struct jt808_reassembly;

/* What became of a package. */
enum jt808_part_result {
    JT808_PART_STORED,    /* more packages are missing */
    JT808_PART_COMPLETE,  /* it was the last missing one: the message is delivered */
    JT808_PART_DUPLICATE, /* of a package that is here already: answer it again, do nothing else */
    JT808_PART_REPEATED,  /* of a message completed a short while ago: the same */
    JT808_PART_INVALID,   /* index 0, index above total, total 0, or no package at all */
    JT808_PART_REFUSED,   /* a limit on bytes or messages is reached; the message is given up */
    JT808_PART_NO_MEMORY, /* as refused */
};

/* NULL when memory is out. */
struct jt808_reassembly *
jt808_reassembly_open(const struct jt808_reassembly_limits *limits) PG_CHECKED;
/* Frees everything and nulls the pointer; a NULL pointer is fine. */
void jt808_reassembly_close(struct jt808_reassembly **reassembly);

/* Take one frame with JT808_ATTR_SUBPACKAGE. What must be kept of it is copied.
 *
 * now_ms    any clock that does not go back
 * message   for JT808_PART_COMPLETE the whole message: the header of its first package (serial,
 *           attributes, package_total; package_index is 1) and the whole body, lent until the next
 *           call on this object
 */
enum jt808_part_result jt808_reassembly_add(struct jt808_reassembly *reassembly,
                                            const struct jt808_frame *frame, int64_t now_ms,
                                            struct jt808_frame *message) PG_CHECKED;

/* What is due at a point in time. */
enum jt808_due {
    JT808_DUE_NOTHING,
    JT808_DUE_ASK,  /* ask for the missing packages now; counted as one of `asks` */
    JT808_DUE_DROP, /* the message was given up; `missing` tells what never came */
};

/* The most packages that one request names: the text of 0x8800 allows 125. */
#define JT808_MISSING_MAX 125u

struct jt808_missing {
    struct jt808_frame header;       /* of the package that came first; no body */
    uint16_t first_serial;           /* serial of package 1, computed if it is the missing one */
    uint16_t received;               /* packages that are here */
    struct pg_bytes first_body;      /* of package 1, lent until the next call; empty if it is the
                                      * missing one or the message was given up */
    uint16_t ids[JT808_MISSING_MAX]; /* ascending; the first ones if there are more */
    unsigned count;
};

/* One thing that is due; call again until JT808_DUE_NOTHING. */
enum jt808_due jt808_reassembly_due(struct jt808_reassembly *reassembly, int64_t now_ms,
                                    struct jt808_missing *missing) PG_CHECKED;
/* When jt808_reassembly_due() has something next; PG_NEVER with nothing pending. */
int64_t jt808_reassembly_deadline(const struct jt808_reassembly *reassembly);

unsigned jt808_reassembly_pending(const struct jt808_reassembly *reassembly);
size_t jt808_reassembly_bytes(const struct jt808_reassembly *reassembly);

#endif
