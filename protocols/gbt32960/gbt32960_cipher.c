/* SPDX-License-Identifier: Apache-2.0 */

/* Cipher text and signatures. RSA goes block by block, each filled as PKCS #1 v1.5 has it. SM2
 * cipher text is taken as DER (GM/T 0009) or as the bare C1 C3 C2 (GM/T 0003) that begins with 04.
 *
 * threads   any
 */

#include "gbt32960_cipher.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

/* The identity that goes into the digest of an SM2 signature when nothing else was agreed on. */
#define SM2_ID "1234567812345678"

bool gbt_use_of(uint8_t encryption, bool sent, enum gbt_key_use *use)
{
    switch (encryption) {
    case GBT_RSA:
        *use = sent ? GBT_USE_RSA_OUT : GBT_USE_RSA;
        return true;
    case GBT_AES:
        *use = GBT_USE_AES;
        return true;
    case GBT_SM2:
        *use = sent ? GBT_USE_SM2_OUT : GBT_USE_SM2;
        return true;
    case GBT_SM4:
        *use = GBT_USE_SM4;
        return true;
    default:
        return false;
    }
}

/* ---- AES, SM4 ------------------------------------------------------------------------------- */

static const EVP_CIPHER *cipher_of(const struct gbt_key *key)
{
    bool ecb = key->mode == GBT_MODE_ECB;

    if (key->use == GBT_USE_SM4) {
        return ecb ? EVP_sm4_ecb() : EVP_sm4_cbc();
    }
    switch (key->len) {
    case 16:
        return ecb ? EVP_aes_128_ecb() : EVP_aes_128_cbc();
    case 24:
        return ecb ? EVP_aes_192_ecb() : EVP_aes_192_cbc();
    default:
        return ecb ? EVP_aes_256_ecb() : EVP_aes_256_cbc();
    }
}

/* One context for each thread, as making one costs more than a unit does. */
static EVP_CIPHER_CTX *context(void)
{
    static _Thread_local EVP_CIPHER_CTX *ctx;

    if (!ctx) {
        ctx = EVP_CIPHER_CTX_new();
    }
    return ctx;
}

static bool run_cipher(const struct gbt_key *key, bool encrypt, const uint8_t *iv,
                       struct pg_bytes in, uint8_t *out, size_t *len)
{
    EVP_CIPHER_CTX *ctx = context();
    int n = 0, last = 0;

    if (!ctx || in.len > GBT_UNIT_MAX) {
        return false;
    }
    bool good = EVP_CipherInit_ex(ctx, cipher_of(key), NULL, key->bytes, iv, encrypt) == 1 &&
                EVP_CipherUpdate(ctx, out, &n, in.data, (int)in.len) == 1 &&
                EVP_CipherFinal_ex(ctx, out + n, &last) == 1;
    *len = good ? (size_t)(n + last) : 0;
    return good;
}

static bool decrypt_block_cipher(const struct gbt_key *key, struct pg_bytes in, uint8_t *out,
                                 size_t *len)
{
    const uint8_t *iv = key->iv;

    if (key->mode == GBT_MODE_CBC_PREFIX) {
        if (in.len < 16) {
            return false;
        }
        iv = in.data;
        in.data += 16;
        in.len -= 16;
    }
    return in.len > 0 && in.len % 16 == 0 && run_cipher(key, false, iv, in, out, len);
}

static bool encrypt_block_cipher(const struct gbt_key *key, struct pg_bytes in, uint8_t *out,
                                 size_t *len)
{
    size_t head = 0;
    const uint8_t *iv = key->iv;

    if (key->mode == GBT_MODE_CBC_PREFIX) {
        head = 16;
        iv = out;
        if (RAND_bytes(out, 16) != 1) {
            return false;
        }
    }
    bool good = run_cipher(key, true, iv, in, out + head, len);
    *len += head;
    return good;
}

/* ---- RSA, SM2 ------------------------------------------------------------------------------- */

static bool decrypt_rsa(EVP_PKEY_CTX *ctx, size_t block, struct pg_bytes in, uint8_t *out,
                        size_t *len)
{
    *len = 0;
    if (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) <= 0 || block == 0 ||
        in.len % block != 0) {
        return false;
    }
    for (size_t at = 0; at < in.len; at += block) {
        uint8_t plain[1024];
        size_t n = sizeof(plain);
        if (block > sizeof(plain) || EVP_PKEY_decrypt(ctx, plain, &n, in.data + at, block) != 1) {
            return false;
        }
        memcpy(out + *len, plain, n);
        *len += n;
    }
    return true;
}

/* DER: a tag and a length in front of what will follow. */
static size_t der_head(uint8_t *at, uint8_t tag, size_t len)
{
    at[0] = tag;
    if (len < 0x80) {
        at[1] = (uint8_t)len;
        return 2;
    }
    if (len < 0x100) {
        at[1] = 0x81;
        at[2] = (uint8_t)len;
        return 3;
    }
    at[1] = 0x82;
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
    return 4;
}

static size_t der_integer(uint8_t *at, struct pg_bytes number)
{
    while (number.len > 1 && number.data[0] == 0) {
        number.data++;
        number.len--;
    }
    bool sign = number.len == 0 || (number.data[0] & 0x80) != 0;
    size_t n = der_head(at, 0x02, number.len + sign);
    at[n] = 0;
    n += sign;
    if (number.len > 0) {
        memcpy(at + n, number.data, number.len);
    }
    return n + number.len;
}

/* 04 x y, digest, cipher text as SEQUENCE { x, y, digest, cipher text }. `out` has room for in.len
 * + 32 bytes. */
static size_t sm2_der(struct pg_bytes in, uint8_t *out)
{
    uint8_t head[128];
    const uint8_t *x = in.data + 1;
    size_t cipher = in.len - 97;
    size_t n = der_integer(head, (struct pg_bytes){x, 32});
    n += der_integer(head + n, (struct pg_bytes){x + 32, 32});
    n += der_head(head + n, 0x04, 32);
    memcpy(head + n, x + 64, 32);
    n += 32;
    n += der_head(head + n, 0x04, cipher);
    size_t at = der_head(out, 0x30, n + cipher);
    memcpy(out + at, head, n);
    memcpy(out + at + n, x + 96, cipher);
    return at + n + cipher;
}

static bool decrypt_sm2(EVP_PKEY_CTX *ctx, struct pg_bytes in, uint8_t *out, size_t *len)
{
    static _Thread_local uint8_t der[GBT_UNIT_MAX + 64];

    if (in.len > 97 && in.len <= GBT_UNIT_MAX && in.data[0] == 0x04) {
        in.len = sm2_der(in, der);
        in.data = der;
    }
    *len = GBT_UNIT_MAX;
    return EVP_PKEY_decrypt(ctx, NULL, len, in.data, in.len) == 1 && *len <= in.len &&
           EVP_PKEY_decrypt(ctx, out, len, in.data, in.len) == 1;
}

bool gbt_decrypt(const struct gbt_key *key, struct pg_bytes in, uint8_t *out, size_t *len)
{
    if (key->use == GBT_USE_AES || key->use == GBT_USE_SM4) {
        return decrypt_block_cipher(key, in, out, len);
    }
    if ((key->use != GBT_USE_RSA && key->use != GBT_USE_SM2) || !key->pkey) {
        return false;
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->pkey, NULL);
    bool good = ctx && EVP_PKEY_decrypt_init(ctx) == 1;
    if (good && key->use == GBT_USE_RSA) {
        good = decrypt_rsa(ctx, (size_t)EVP_PKEY_get_size(key->pkey), in, out, len);
    } else if (good) {
        good = decrypt_sm2(ctx, in, out, len);
    }
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static bool encrypt_rsa(EVP_PKEY_CTX *ctx, size_t block, struct pg_bytes in, uint8_t *out,
                        size_t room, size_t *len)
{
    *len = 0;
    if (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) <= 0 || block <= 11) {
        return false;
    }
    while (in.len > 0) {
        size_t part = in.len < block - 11 ? in.len : block - 11;
        size_t n = room - *len;
        if (n < block || EVP_PKEY_encrypt(ctx, out + *len, &n, in.data, part) != 1) {
            return false;
        }
        *len += n;
        in.data += part;
        in.len -= part;
    }
    return true;
}

bool gbt_encrypt(const struct gbt_key *key, struct pg_bytes in, uint8_t *out, size_t room,
                 size_t *len)
{
    if (key->use == GBT_USE_AES || key->use == GBT_USE_SM4) {
        return in.len + 32 <= room && encrypt_block_cipher(key, in, out, len);
    }
    if ((key->use != GBT_USE_RSA_OUT && key->use != GBT_USE_SM2_OUT) || !key->pkey) {
        return false;
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->pkey, NULL);
    bool good = ctx && EVP_PKEY_encrypt_init(ctx) == 1;
    if (good && key->use == GBT_USE_RSA_OUT) {
        good = encrypt_rsa(ctx, (size_t)EVP_PKEY_get_size(key->pkey), in, out, room, len);
    } else if (good) {
        good = EVP_PKEY_encrypt(ctx, NULL, len, in.data, in.len) == 1 && *len <= room &&
               EVP_PKEY_encrypt(ctx, out, len, in.data, in.len) == 1;
    }
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* ---- signatures ----------------------------------------------------------------------------- */

static bool verify(const struct gbt_key *key, bool sm2, struct pg_bytes signed_bytes,
                   struct pg_bytes signature)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = sm2 ? EVP_PKEY_CTX_new(key->pkey, NULL) : NULL;
    bool good = md && (!sm2 || ctx);

    if (good && sm2) {
        good = EVP_PKEY_CTX_set1_id(ctx, SM2_ID, sizeof(SM2_ID) - 1) == 1;
        EVP_MD_CTX_set_pkey_ctx(md, ctx);
    }
    good = good &&
           EVP_DigestVerifyInit(md, NULL, sm2 ? EVP_sm3() : EVP_sha256(), NULL, key->pkey) == 1 &&
           EVP_DigestVerify(md, signature.data, signature.len, signed_bytes.data,
                            signed_bytes.len) == 1;
    EVP_MD_CTX_free(md);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

bool gbt_verify(const struct gbt_key *key, unsigned algorithm, struct pg_bytes signed_bytes,
                struct pg_bytes r, struct pg_bytes s)
{
    uint8_t numbers[160], der[176];

    if (key->use != GBT_USE_SIGN || !key->pkey) {
        return false;
    }
    bool is_rsa = EVP_PKEY_is_a(key->pkey, "RSA") == 1;
    bool is_sm2 = EVP_PKEY_is_a(key->pkey, "SM2") == 1;
    if (algorithm == 2) {
        return is_rsa && verify(key, false, signed_bytes, r);
    }
    if (is_rsa || r.len > 66 || s.len > 66 || is_sm2 != (algorithm == 1)) {
        return false;
    }
    size_t n = der_integer(numbers, r);
    n += der_integer(numbers + n, s);
    size_t at = der_head(der, 0x30, n);
    memcpy(der + at, numbers, n);
    return verify(key, is_sm2, signed_bytes, (struct pg_bytes){.data = der, .len = at + n});
}
