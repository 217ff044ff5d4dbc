/* SPDX-License-Identifier: Apache-2.0 */

/* Authentication codes of terminals.
 *
 * code = mark (8 digits) + proof (16 digits), in hexadecimal
 *   proof = HMAC(secret, "proof", phone without leading zeros, generation)
 *   mark  = HMAC(secret, "mark", proof)
 *
 * The mark tells a code that was issued here from one of another platform even if it belongs to
 * somebody else, so that the first can be refused whatever the policy for the second is. The
 * generation of a phone is 0 until it unregisters; then it is a number by chance, which is a fact
 * of the core's and outlives the process if the gateway has a store. So facts are only of phones
 * that were taken out of service.
 *
 * threads   any
 * standard  JT/T 808: 0x0100, 0x8100, 0x0102, 0x0003
 */

#include "jt808_auth.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "jt808_codec.h"
#include "wire/sha256.h"

#define MARK_DIGITS  8u
#define PROOF_DIGITS 16u
_Static_assert(MARK_DIGITS + PROOF_DIGITS == JT808_CODE_LEN, "the code is mark and proof");

/* The space of facts in which phones that unregistered have their generation, as hexadecimal. */
#define SPACE             PG_BYTES_OF("jt808")
#define GENERATION_DIGITS 16u

static pthread_once_t fallback_once = PTHREAD_ONCE_INIT;
static uint8_t fallback_secret[SHA256_BYTES];

/* The identifier of the machine is confidential by its manual page and must not leave it, so it is
 * a key here and never text. An image that was baked with one would make codes that can be
 * foreseen: therefore issued codes alone do not prove anything unless a secret is configured. */
static void make_fallback(void)
{
    char id[64];
    FILE *file = fopen("/etc/machine-id", "re");
    size_t len = file ? fread(id, 1, sizeof(id), file) : 0;

    if (file) {
        (void)fclose(file);
    }
    if (len >= 32) {
        struct pg_bytes use = PG_BYTES_OF("polygate jt808 authentication code");
        sha256_hmac((struct pg_bytes){.data = (const uint8_t *)id, .len = len}, &use, 1,
                    fallback_secret);
    } else if (getrandom(fallback_secret, sizeof(fallback_secret), 0) !=
               (ssize_t)sizeof(fallback_secret)) {
        abort(); /* blocks until the kernel has entropy; fewer bytes are not given for so few */
    }
}

static struct pg_bytes key_of(const char *secret)
{
    if (secret[0] != '\0') {
        return pg_bytes_str(secret);
    }
    (void)pthread_once(&fallback_once, make_fallback);
    return (struct pg_bytes){.data = fallback_secret, .len = sizeof(fallback_secret)};
}

/* ---- generations ---------------------------------------------------------------------------- */

static uint64_t generation_of(struct pg_bytes phone)
{
    char text[GENERATION_DIGITS + 1] = "";

    if (pg_fact_get(SPACE, phone, (uint8_t *)text, GENERATION_DIGITS) != GENERATION_DIGITS) {
        return 0;
    }
    return strtoull(text, NULL, 16);
}

enum pg_reason jt808_code_revoke(struct pg_client *client, const char *phone)
{
    uint64_t generation;
    char text[GENERATION_DIGITS + 1];

    if (getrandom(&generation, sizeof(generation), 0) != (ssize_t)sizeof(generation)) {
        abort(); /* blocks until the kernel has entropy; fewer bytes are not given for so few */
    }
    generation |= 1; /* never 0, which is "has not unregistered" */
    (void)snprintf(text, sizeof(text), "%016" PRIx64, generation);
    return pg_fact_set(SPACE, jt808_phone_trimmed(phone), pg_bytes_str(text), PG_FOREVER, client,
                       0);
}

/* ---- codes ---------------------------------------------------------------------------------- */

static void digits_of(struct pg_bytes key, const struct pg_bytes *parts, size_t count, char *out,
                      size_t digits)
{
    uint8_t mac[SHA256_BYTES];

    sha256_hmac(key, parts, count, mac);
    for (size_t i = 0; i < digits; i++) {
        out[i] = "0123456789abcdef"[(i % 2 ? mac[i / 2] : mac[i / 2] >> 4) & 0x0f];
    }
}

static void mark_of(struct pg_bytes key, const char *proof, char *mark)
{
    struct pg_bytes parts[] = {PG_BYTES_OF("mark"),
                               {.data = (const uint8_t *)proof, .len = PROOF_DIGITS}};
    digits_of(key, parts, 2, mark, MARK_DIGITS);
}

void jt808_code_issue(const char *secret, const char *phone, char code[JT808_CODE_LEN])
{
    struct pg_bytes key = key_of(secret);
    struct pg_bytes digits = jt808_phone_trimmed(phone);
    uint64_t generation = generation_of(digits);
    struct pg_bytes parts[] = {PG_BYTES_OF("proof"),
                               digits,
                               PG_BYTES_OF("/"),
                               {.data = (const uint8_t *)&generation, .len = sizeof(generation)}};

    digits_of(key, parts, 4, code + MARK_DIGITS, PROOF_DIGITS);
    mark_of(key, code + MARK_DIGITS, code);
}

enum jt808_code jt808_code_check(const char *secret, const char *phone, struct pg_bytes code)
{
    char expected[JT808_CODE_LEN], mark[MARK_DIGITS];

    if (code.len != JT808_CODE_LEN) {
        return JT808_CODE_UNKNOWN;
    }
    jt808_code_issue(secret, phone, expected);
    mark_of(key_of(secret), (const char *)code.data + MARK_DIGITS, mark);
    bool valid = pg_bytes_equal_secret(
        code, (struct pg_bytes){.data = (const uint8_t *)expected, .len = sizeof(expected)});
    bool ours = pg_bytes_equal_secret(
        (struct pg_bytes){.data = code.data, .len = MARK_DIGITS},
        (struct pg_bytes){.data = (const uint8_t *)mark, .len = sizeof(mark)});
    if (valid) {
        return JT808_CODE_VALID;
    }
    return ours ? JT808_CODE_STALE : JT808_CODE_UNKNOWN;
}
