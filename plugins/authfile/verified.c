/* SPDX-License-Identifier: Apache-2.0 */

/* What is kept of a credential that was found right is
 *
 *     HMAC-SHA-256(key, length of user, user, length of password, password, hash of the file)
 *
 * and when it was last seen. The hash is in it, so whoever changes a password, or takes a user out
 * of the file, thereby makes what is kept worthless: no entry need ever be looked for and removed.
 * Only right credentials are kept; a guess costs the slow hash each time.
 *
 * The table has fixed room, in sets of WAYS entries; a new one takes a free place in its set or
 * that of the entry seen longest ago. Its memory is the kernel's until entries are made. One lock,
 * held for a look at one set; the HMAC is made outside of it. */

#include "verified.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "wire/sha256.h"

#define WAYS 8u

struct entry {
    uint8_t mac[SHA256_BYTES];
    int64_t seen_ms;
    bool used;
};

struct auth_verified {
    unsigned refs; /* main thread */
    size_t max;
    pthread_mutex_t lock;
    uint8_t key[SHA256_BYTES];
    size_t sets; /* a power of two */
    struct entry entries[];
};

static struct auth_verified *current; /* main thread */

static size_t entry_count(const struct auth_verified *verified)
{
    return verified->sets * WAYS;
}

struct auth_verified *auth_verified_open(size_t max, struct pg_error *error)
{
    if (current && current->max == max) {
        current->refs++;
        return current;
    }
    size_t sets = 1;
    while (sets * WAYS < max)
        sets *= 2;
    struct auth_verified *verified =
        calloc(1, sizeof(*verified) + sets * WAYS * sizeof(struct entry));
    if (!verified) {
        pg_error_set(error, "out of memory; lower the option remember_max");
        return NULL;
    }
    /* At most 256 bytes come whole or not at all (getrandom(2)). */
    if (getrandom(verified->key, sizeof(verified->key), 0) != (ssize_t)sizeof(verified->key)) {
        pg_error_set(error, "getrandom gives no key; set the option remember to 0");
        free(verified);
        return NULL;
    }
    verified->refs = 1;
    verified->max = max;
    verified->sets = sets;
    pthread_mutex_init(&verified->lock, NULL);
    current = verified; /* a former one belongs to the instances that are going to stop */
    return verified;
}

void auth_verified_close(struct auth_verified **verified)
{
    struct auth_verified *old = *verified;
    *verified = NULL;
    if (!old || --old->refs > 0)
        return;
    if (current == old)
        current = NULL;
    pthread_mutex_destroy(&old->lock);
    explicit_bzero(old, sizeof(*old) + entry_count(old) * sizeof(struct entry));
    free(old);
}

static void make_mac(const struct auth_verified *verified, struct pg_bytes user,
                     struct pg_bytes password, const char *hash, uint8_t mac[SHA256_BYTES])
{
    /* With the lengths, no two credentials are the same bytes. */
    const size_t lengths[] = {user.len, password.len};
    const struct pg_bytes key = {.data = verified->key, .len = sizeof(verified->key)};
    const struct pg_bytes parts[] = {
        {.data = (const uint8_t *)lengths, .len = sizeof(lengths)},
        user,
        password,
        pg_bytes_str(hash),
    };
    sha256_hmac(key, parts, sizeof(parts) / sizeof(parts[0]), mac);
}

/* The set in which this one would be. */
static struct entry *set_of(struct auth_verified *verified, const uint8_t mac[SHA256_BYTES])
{
    uint64_t number;
    memcpy(&number, mac, sizeof(number));
    return verified->entries + (number & (verified->sets - 1)) * WAYS;
}

/* Under the lock: the entry, or NULL. */
static struct entry *find(struct entry *set, const uint8_t mac[SHA256_BYTES])
{
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].mac, mac, SHA256_BYTES) == 0)
            return &set[i];
    }
    return NULL;
}

bool auth_verified_knows(struct auth_verified *verified, struct pg_bytes user,
                         struct pg_bytes password, const char *hash, int64_t now_ms,
                         int64_t life_ms)
{
    uint8_t mac[SHA256_BYTES];
    make_mac(verified, user, password, hash, mac);
    pthread_mutex_lock(&verified->lock);
    struct entry *entry = find(set_of(verified, mac), mac);
    bool known = entry && now_ms - entry->seen_ms < life_ms;
    if (known)
        entry->seen_ms = now_ms;
    pthread_mutex_unlock(&verified->lock);
    return known;
}

/* Under the lock: where a new entry goes. */
static struct entry *place_in(struct entry *set)
{
    struct entry *oldest = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (!set[i].used)
            return &set[i];
        if (set[i].seen_ms < oldest->seen_ms)
            oldest = &set[i];
    }
    return oldest;
}

void auth_verified_add(struct auth_verified *verified, struct pg_bytes user,
                       struct pg_bytes password, const char *hash, int64_t now_ms)
{
    uint8_t mac[SHA256_BYTES];
    make_mac(verified, user, password, hash, mac);
    pthread_mutex_lock(&verified->lock);
    struct entry *set = set_of(verified, mac);
    struct entry *entry = find(set, mac);
    if (!entry) {
        entry = place_in(set);
        memcpy(entry->mac, mac, SHA256_BYTES);
        entry->used = true;
    }
    entry->seen_ms = now_ms;
    pthread_mutex_unlock(&verified->lock);
}
