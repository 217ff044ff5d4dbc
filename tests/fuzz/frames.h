/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_FRAMES_H
#define FUZZ_FRAMES_H

/* For targets that split a stream into frames: whole, and cut into reads, the same must come out. */

#include <string.h>

#include "polygate.h"
#include "require.h"

/* A running hash of everything that came out. */
struct digest {
    uint64_t hash;
    size_t frames;
};
#define DIGEST_START ((struct digest){.hash = 14695981039346656037u})

static inline void mix(struct digest *d, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        d->hash = (d->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    }
}

/* Give `all` to `consume`, which moves *in behind what it takes, in reads of 1 to `longest` bytes that
 * follow from `seed`. Each is in memory of just its size, so that a read past the end is seen, and
 * begins with what was left of the one before. Returns how much was left in the end. */
static inline size_t feed_cut(struct pg_bytes all, uint32_t seed, unsigned longest,
                              void (*consume)(void *arg, struct pg_bytes *in), void *arg)
{
    size_t start = 0, end = 0;

    while (end < all.len) {
        seed = seed * 1664525u + 1013904223u;
        size_t step = 1 + (seed >> 24) % longest;
        end = end + step < all.len ? end + step : all.len;
        uint8_t *exact = malloc(end - start);
        require(exact != NULL);
        memcpy(exact, all.data + start, end - start);
        struct pg_bytes in = {.data = exact, .len = end - start};
        consume(arg, &in);
        start = end - in.len;
        free(exact);
    }
    return all.len - start;
}

#endif
