/* SPDX-License-Identifier: Apache-2.0 */

/* Authentication codes of terminals.
 *
 * code = mark (8 digits) + proof (16 digits), in hexadecimal
 *   proof = HMAC(secret, "proof", phone without leading zeros, generation)
 *   mark  = HMAC(secret, "mark", proof)
 *
 * The mark tells a code that was issued here from one of another platform even if it belongs to
 * somebody else, so that the first can be refused whatever the policy for the second is. The
 * generation of a phone is 0 until it unregisters; then it is a number by chance, kept in a table
 * of bounded size. So the table holds only phones that were taken out of service.
 *
 * threads   any: the table and the secret of last resort are guarded by one mutex, held for a
 *           lookup; it is a leaf (nothing is called under it that locks)
 * standard  JT/T 808: 0x0100, 0x8100, 0x0102, 0x0003
 */

#include "jt808_auth.h"

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

/* Phones that unregistered: sets of four, the oldest of a set makes room. */
#define SETS 16384u
#define WAYS 4u

struct revoked {
    char phone[JT808_PHONE_DIGITS_2019 + 1]; /* without leading zeros; empty: the place is free */
    uint64_t generation;
    uint64_t age; /* grows with each revocation */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct revoked (*table)[WAYS]; /* made at the first revocation, lives with the process */
static uint64_t revocations;

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

static struct revoked *set_of(struct pg_bytes phone)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < phone.len; i++) {
        hash = (hash ^ phone.data[i]) * 16777619u;
    }
    return table[(hash ^ hash >> 15) % SETS];
}

static bool is_phone(const struct revoked *r, struct pg_bytes phone)
{
    return strlen(r->phone) == phone.len && memcmp(r->phone, phone.data, phone.len) == 0;
}

static uint64_t generation_of(struct pg_bytes phone)
{
    uint64_t generation = 0;

    pthread_mutex_lock(&mutex);
    if (table) {
        const struct revoked *set = set_of(phone);
        for (unsigned i = 0; i < WAYS; i++) {
            if (is_phone(&set[i], phone)) {
                generation = set[i].generation;
            }
        }
    }
    pthread_mutex_unlock(&mutex);
    return generation;
}

void jt808_code_revoke(const char *phone_text)
{
    struct pg_bytes phone = jt808_phone_trimmed(phone_text);
    uint64_t generation;

    if (getrandom(&generation, sizeof(generation), 0) != (ssize_t)sizeof(generation)) {
        abort();
    }
    pthread_mutex_lock(&mutex);
    if (!table) {
        table = calloc(SETS, sizeof(*table));
    }
    if (table) {
        struct revoked *set = set_of(phone);
        struct revoked *place = &set[0];
        for (unsigned i = 0; i < WAYS; i++) {
            if (is_phone(&set[i], phone)) {
                place = &set[i];
                break;
            }
            if (set[i].age < place->age) {
                place = &set[i];
            }
        }
        memcpy(place->phone, phone.data, phone.len);
        place->phone[phone.len] = '\0';
        place->generation = generation | 1; /* never 0, which is "has not unregistered" */
        place->age = ++revocations;
    }
    pthread_mutex_unlock(&mutex);
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
