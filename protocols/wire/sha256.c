/* SPDX-License-Identifier: Apache-2.0 */

/* SHA-256 and HMAC over it, straight from the standards: the amounts hashed here (a device's
 * identity, a handful of bytes at a login) ask for no speed.
 *
 * threads   any; there is no shared state
 * standard  FIPS 180-4, section 6.2; FIPS 198-1
 */

#include "wire/sha256.h"

#include <string.h>

#define BLOCK 64u

struct sha256 {
    uint32_t h[8];
    uint8_t block[BLOCK];
    size_t filled;
    uint64_t total;
};

/* Fractional parts of the cube roots of the first 64 primes (4.2.2). */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void begin(struct sha256 *s)
{
    static const uint32_t h0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(s, 0, sizeof(*s));
    memcpy(s->h, h0, sizeof(h0));
}

static void compress(struct sha256 *s)
{
    uint32_t w[64], v[8];

    for (size_t i = 0; i < 16; i++) {
        const uint8_t *b = s->block + 4 * i;
        w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (size_t i = 16; i < 64; i++) {
        uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, s->h, sizeof(v));
    for (size_t i = 0; i < 64; i++) {
        uint32_t s1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + k[i] + w[i];
        uint32_t s0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (size_t i = 0; i < 8; i++) {
        s->h[i] += v[i];
    }
    s->filled = 0;
}

static void add(struct sha256 *s, struct pg_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        s->block[s->filled++] = bytes.data[i];
        if (s->filled == BLOCK) {
            compress(s);
        }
    }
    s->total += bytes.len;
}

static void end(struct sha256 *s, uint8_t digest[SHA256_BYTES])
{
    uint64_t bits = s->total * 8;

    add(s, PG_BYTES_OF("\x80"));
    while (s->filled != BLOCK - 8) {
        add(s, PG_BYTES_OF("\0"));
    }
    for (unsigned shift = 64; shift > 0; shift -= 8) {
        uint8_t byte = (uint8_t)(bits >> (shift - 8));
        add(s, (struct pg_bytes){.data = &byte, .len = 1});
    }
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256(struct pg_bytes message, uint8_t digest[SHA256_BYTES])
{
    struct sha256 s;

    begin(&s);
    add(&s, message);
    end(&s, digest);
}

void sha256_hmac(struct pg_bytes key, const struct pg_bytes *parts, size_t count,
                 uint8_t mac[SHA256_BYTES])
{
    struct sha256 s;
    uint8_t block[BLOCK] = {0};
    struct pg_bytes pad = {.data = block, .len = sizeof(block)};

    if (key.len > BLOCK) {
        sha256(key, block);
    } else if (key.len > 0) {
        memcpy(block, key.data, key.len);
    }
    for (size_t i = 0; i < BLOCK; i++) {
        block[i] ^= 0x36;
    }
    begin(&s);
    add(&s, pad);
    for (size_t i = 0; i < count; i++) {
        add(&s, parts[i]);
    }
    end(&s, mac);
    for (size_t i = 0; i < BLOCK; i++) {
        block[i] ^= 0x36 ^ 0x5c;
    }
    begin(&s);
    add(&s, pad);
    add(&s, (struct pg_bytes){.data = mac, .len = SHA256_BYTES});
    end(&s, mac);
    explicit_bzero(block, sizeof(block));
    explicit_bzero(&s, sizeof(s));
}
