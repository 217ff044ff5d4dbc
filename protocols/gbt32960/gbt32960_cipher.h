/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_CIPHER_H
#define GBT32960_CIPHER_H

/* Encrypted units and signatures of GB/T 32960.3, by the EVP of OpenSSL 3.
 *
 * The standard names the algorithms and leaves everything else open: modes, padding, where the
 * initialisation vector is, the form of SM2 cipher text, digests of signatures. What is taken here
 * is what is found in use; the rest is the key's configuration.
 *
 * threads   any; contexts are kept per thread
 * standard  GB/T 32960.3-2016: 6.3.3; GB/T 32960.3-2025: 6.3.3, 7 (signature)
 */

#include <openssl/types.h>

#include "gbt32960_frame.h"

enum gbt_key_use {
    GBT_USE_AES,     /* encryption flag 03; 16, 24 or 32 bytes */
    GBT_USE_SM4,     /* 05 */
    GBT_USE_RSA,     /* 02: the platform's private key */
    GBT_USE_SM2,     /* 04: the same */
    GBT_USE_SIGN,    /* the vehicle's public key */
    GBT_USE_RSA_OUT, /* 02, what is sent: the vehicle's public key */
    GBT_USE_SM2_OUT, /* 04, the same */
};

enum gbt_mode {
    GBT_MODE_ECB,
    GBT_MODE_CBC,        /* the initialisation vector is the key's */
    GBT_MODE_CBC_PREFIX, /* it stands in front of the cipher text */
};

struct gbt_key {
    char vin[GBT_ID_TEXT]; /* "*": of all that have no key of their own */
    uint8_t use;           /* enum gbt_key_use */
    uint8_t mode;          /* enum gbt_mode; padding is PKCS #7 */
    uint8_t len;
    uint8_t bytes[32], iv[16];
    EVP_PKEY *pkey; /* of all but AES and SM4; else NULL */
};

/* The use that belongs to an encryption flag, for what comes or what is sent; false: none does. */
bool gbt_use_of(uint8_t encryption, bool sent, enum gbt_key_use *use);

/* Decrypt a unit. `out` has room for in.len bytes. false: it is not what this key gives. */
bool gbt_decrypt(const struct gbt_key *key, struct pg_bytes in, uint8_t *out,
                 size_t *len) PG_CHECKED;

/* Encrypt what is sent. AES and SM4 need room for in.len + 32 bytes, RSA for a block of the key's
 * size for each in.len / (size - 11) that is begun, SM2 for in.len + 128. false: the key cannot, no
 * random numbers, or no room. */
bool gbt_encrypt(const struct gbt_key *key, struct pg_bytes in, uint8_t *out, size_t room,
                 size_t *len) PG_CHECKED;

/* Whether a signature holds. `algorithm` is that of the unit: 1 SM2 (SM3, the usual identity), 2
 * RSA (PKCS #1 v1.5, SHA-256, in r), 3 ECC (SHA-256). */
bool gbt_verify(const struct gbt_key *key, unsigned algorithm, struct pg_bytes signed_bytes,
                struct pg_bytes r, struct pg_bytes s) PG_CHECKED;

#endif
