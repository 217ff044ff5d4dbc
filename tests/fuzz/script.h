/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

/* An input that is a script of events: bytes that say what happens, and their operands. Behind its
 * end there are zeros, and ranges are shorter. */

#include "polygate.h"

struct script {
    const uint8_t *at, *end;
};

static inline struct script script_of(const uint8_t *data, size_t size)
{
    return (struct script){.at = data, .end = data + size};
}

static inline uint8_t next_byte(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static inline struct pg_bytes next_bytes(struct script *s, size_t len)
{
    size_t left = (size_t)(s->end - s->at);
    struct pg_bytes bytes = {.data = s->at, .len = len < left ? len : left};

    s->at += bytes.len;
    return bytes;
}

#endif
