/* SPDX-License-Identifier: Apache-2.0 */

/* SipHash with one compression and three finalisation rounds, after J.-P. Aumasson and
 * D. J. Bernstein, "SipHash: a fast short-input PRF" (2012). The libraries in use offer no keyed
 * short hash, and an unkeyed one would let a peer choose client identifiers that collide. */

#include "hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t key[2];

/* Before main(), so that no call has to ask whether it was done. */
__attribute__((constructor)) static void draw_key(void)
{
    if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
        abort(); /* cannot fail for so few bytes once the system is up */
}

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
    s->a += s->b;
    s->c += s->d;
    s->b = rotate(s->b, 13) ^ s->a;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a = rotate(s->a, 32);
    s->c += s->b;
    s->a += s->d;
    s->b = rotate(s->b, 17) ^ s->c;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c = rotate(s->c, 32);
}

/* Byte order matters only within this process. */
static inline uint64_t word(const uint8_t *data)
{
    uint64_t w;
    memcpy(&w, data, sizeof(w));
    return w;
}

/* The last `left` bytes, fewer than eight. */
static inline uint64_t tail(const uint8_t *data, size_t left)
{
    uint64_t w = 0;
    uint32_t four;
    uint16_t two;
    size_t at = 0;
    if (left & 4) {
        memcpy(&four, data, sizeof(four));
        w = four;
        at = 4;
    }
    if (left & 2) {
        memcpy(&two, data + at, sizeof(two));
        w |= (uint64_t)two << 8 * at;
        at += 2;
    }
    return left & 1 ? w | (uint64_t)data[at] << 8 * at : w;
}

uint64_t pg_hash(struct pg_bytes bytes)
{
    struct sip s = {
        .a = key[0] ^ 0x736f6d6570736575u,
        .b = key[1] ^ 0x646f72616e646f6du,
        .c = key[0] ^ 0x6c7967656e657261u,
        .d = key[1] ^ 0x7465646279746573u,
    };
    size_t left = bytes.len;
    const uint8_t *at = bytes.data;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t w = word(at);
        s.d ^= w;
        sip_round(&s);
        s.a ^= w;
    }
    uint64_t last = (uint64_t)bytes.len << 56 | tail(at, left);
    s.d ^= last;
    sip_round(&s);
    s.a ^= last;
    s.c ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}
