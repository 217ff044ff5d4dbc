/* SPDX-License-Identifier: Apache-2.0 */

/* Key files, and which configuration has which keys.
 *
 * A frontend has no life of its own in the core: its options are checked when a configuration is
 * read, and connections have the options that they were opened with. So the check loads the key
 * file and leaves the keys under the address of the options; a connection takes a reference when it
 * opens. The keys of older configurations are let go when many newer ones have been read.
 *
 * threads   the main thread loads; workers look up under a lock that is held for a few instructions
 */

#include "gbt32960_keys.h"

#include <errno.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/text.h"

struct gbt_keyring {
    _Atomic unsigned refs;
    size_t count, room;
    struct gbt_key *keys; /* sorted by VIN and use */
};

/* ---- a ring --------------------------------------------------------------------------------- */

static int compare(const void *left, const void *right)
{
    const struct gbt_key *a = left, *b = right;
    int order = strcmp(a->vin, b->vin);

    return order != 0 ? order : (int)a->use - (int)b->use;
}

const struct gbt_key *gbt_key_find(const struct gbt_keyring *ring, const char *vin,
                                   enum gbt_key_use use)
{
    struct gbt_key wanted = {.use = (uint8_t)use};

    if (!ring || ring->count == 0) {
        return NULL;
    }
    memcpy(wanted.vin, vin, strlen(vin) + 1);
    const struct gbt_key *key =
        bsearch(&wanted, ring->keys, ring->count, sizeof(*ring->keys), compare);
    if (!key) {
        memcpy(wanted.vin, "*", 2);
        key = bsearch(&wanted, ring->keys, ring->count, sizeof(*ring->keys), compare);
    }
    return key;
}

void gbt_keys_unref(struct gbt_keyring **ring)
{
    struct gbt_keyring *gone = *ring;

    *ring = NULL;
    if (!gone || atomic_fetch_sub(&gone->refs, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < gone->count; i++) {
        EVP_PKEY_free(gone->keys[i].pkey);
    }
    if (gone->keys) {
        explicit_bzero(gone->keys, gone->room * sizeof(*gone->keys));
    }
    free(gone->keys);
    free(gone);
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool fails(struct pg_error *error, const char *path, unsigned line, const char *what)
{
    pg_error_set(error, "key_file: %s:%u: %s", path, line, what);
    return false;
}

static bool read_pem(const char *path, const char *name, bool private, EVP_PKEY **out)
{
    char full[4096];
    const char *slash = strrchr(path, '/');
    int folder = name[0] != '/' && slash ? (int)(slash - path) + 1 : 0;

    if (snprintf(full, sizeof(full), "%.*s%s", folder, path, name) >= (int)sizeof(full)) {
        return false;
    }
    FILE *f = fopen(full, "re");
    if (!f) {
        return false;
    }
    *out =
        private ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : PEM_read_PUBKEY(f, NULL, NULL, NULL);
    (void)fclose(f);
    return *out != NULL;
}

static bool read_mode(const char *text, struct gbt_key *key)
{
    size_t used;

    if (strcmp(text, "ecb") == 0) {
        key->mode = GBT_MODE_ECB;
        return true;
    }
    if (strcmp(text, "cbc") == 0) {
        key->mode = GBT_MODE_CBC_PREFIX;
        return true;
    }
    key->mode = GBT_MODE_CBC;
    return strncmp(text, "cbc:", 4) == 0 &&
           wire_hex_decode(text + 4, strlen(text + 4), key->iv, sizeof(key->iv), &used) &&
           used == sizeof(key->iv);
}

static bool read_bytes(const char *text, struct gbt_key *key)
{
    size_t used;

    if (!wire_hex_decode(text, strlen(text), key->bytes, sizeof(key->bytes), &used)) {
        return false;
    }
    key->len = (uint8_t)used;
    return used == 16 || (key->use == GBT_USE_AES && (used == 24 || used == 32));
}

/* One line, taken apart into words; what is wrong with it, or NULL. */
static const char *read_key(const char *path, char *words[5], size_t count, struct gbt_key *key)
{
    static const char *const uses[] = {"aes", "sm4", "rsa", "sm2", "sign", "rsa-out", "sm2-out"};
    static const size_t known = sizeof(uses) / sizeof(uses[0]);
    size_t use = 0;

    if (count < 3 || strlen(words[0]) > GBT_ID_LEN) {
        return "expected a VIN or *, an algorithm, and a key";
    }
    while (use < known && strcmp(uses[use], words[1]) != 0) {
        use++;
    }
    if (use == known) {
        return "expected aes, sm4, rsa, sm2, sign, rsa-out or sm2-out behind the VIN";
    }
    memcpy(key->vin, words[0], strlen(words[0]) + 1);
    key->use = (uint8_t)use;
    if (use == GBT_USE_AES || use == GBT_USE_SM4) {
        if (count != 4 || !read_mode(words[2], key)) {
            return "expected ecb, cbc or cbc:IV with 32 hexadecimal digits, and then the key";
        }
        return read_bytes(words[3], key) ? NULL
               : use == GBT_USE_AES      ? "expected a key of 32, 48 or 64 hexadecimal digits"
                                         : "expected a key of 32 hexadecimal digits";
    }
    bool rsa = use == GBT_USE_RSA || use == GBT_USE_RSA_OUT;
    bool private = use == GBT_USE_RSA || use == GBT_USE_SM2;
    if (count != 3 || !read_pem(path, words[2], private, &key->pkey)) {
        return private ? "expected a PEM file with a private key, without a password"
                       : "expected a PEM file with a public key, without a password";
    }
    bool fine = use == GBT_USE_SIGN || EVP_PKEY_is_a(key->pkey, rsa ? "RSA" : "SM2") == 1;
    return fine ? NULL : "the key in the file is for another algorithm";
}

static bool add_key(struct gbt_keyring *ring, const struct gbt_key *key)
{
    if (ring->count == ring->room) {
        size_t room = ring->room ? ring->room * 2 : 16;
        struct gbt_key *keys = malloc(room * sizeof(*keys));
        if (!keys) {
            return false;
        }
        if (ring->keys) {
            memcpy(keys, ring->keys, ring->count * sizeof(*keys));
            explicit_bzero(ring->keys, ring->room * sizeof(*keys));
        }
        free(ring->keys);
        ring->keys = keys;
        ring->room = room;
    }
    ring->keys[ring->count++] = *key;
    return true;
}

static bool read_line(struct gbt_keyring *ring, const char *path, unsigned number, char *line,
                      struct pg_error *error)
{
    struct gbt_key key = {.use = 0};
    char *words[5], *rest = NULL;
    size_t count = 0;

    line[strcspn(line, "#\r\n")] = '\0';
    for (char *word = strtok_r(line, " \t", &rest); word && count < 5;
         word = strtok_r(NULL, " \t", &rest)) {
        words[count++] = word;
    }
    if (count == 0) {
        return true;
    }
    const char *wrong = read_key(path, words, count, &key);
    if (!wrong && !add_key(ring, &key)) {
        wrong = "out of memory";
    }
    if (wrong) {
        EVP_PKEY_free(key.pkey);
    }
    explicit_bzero(&key, sizeof(key));
    return !wrong || fails(error, path, number, wrong);
}

static bool read_file(struct gbt_keyring *ring, const char *path, struct pg_error *error)
{
    char *line = NULL;
    size_t room = 0;
    unsigned number = 0;
    FILE *f = fopen(path, "re");

    if (!f) {
        pg_error_set(error, "key_file: cannot open %s: %s", path, strerror(errno));
        return false;
    }
    struct stat status;
    if (fstat(fileno(f), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        PG_LOG(PG_WARN, "gbt32960_keys_exposed", PG_F_TEXT("file", path));
    }
    bool good = true;
    while (good && getline(&line, &room, f) > 0) {
        good = read_line(ring, path, ++number, line, error);
    }
    if (line) {
        explicit_bzero(line, room);
    }
    free(line);
    (void)fclose(f);
    if (good && ring->count > 0) {
        qsort(ring->keys, ring->count, sizeof(*ring->keys), compare);
    }
    for (size_t i = 1; good && i < ring->count; i++) {
        if (compare(&ring->keys[i - 1], &ring->keys[i]) == 0) {
            pg_error_set(error, "key_file: %s: %s has two keys for one algorithm", path,
                         ring->keys[i].vin);
            good = false;
        }
    }
    return good;
}

/* ---- which configuration has which ---------------------------------------------------------- */

/* More configurations than this are never in use together: each reload that fails adds one. */
#define RINGS 16u

static struct {
    const void *conf;
    struct gbt_keyring *ring;
    uint64_t used;
} rings[RINGS];
static uint64_t clock_of_uses;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The place of a configuration, or the one that was not used for the longest time. */
static size_t place_of(const void *conf)
{
    size_t oldest = 0;

    for (size_t i = 0; i < RINGS; i++) {
        if (rings[i].conf == conf) {
            return i;
        }
        oldest = rings[i].used < rings[oldest].used ? i : oldest;
    }
    return oldest;
}

bool gbt_keys_load(const void *conf, const char *path, struct pg_error *error)
{
    struct gbt_keyring *ring = NULL;

    if (path[0] != '\0') {
        ring = calloc(1, sizeof(*ring));
        if (!ring) {
            pg_error_set(error, "key_file: out of memory");
            return false;
        }
        ring->refs = 1;
        if (!read_file(ring, path, error)) {
            gbt_keys_unref(&ring);
            return false;
        }
    }
    (void)pthread_mutex_lock(&lock);
    size_t place = place_of(conf);
    struct gbt_keyring *before = rings[place].ring;
    rings[place].conf = conf;
    rings[place].ring = ring;
    rings[place].used = ++clock_of_uses;
    (void)pthread_mutex_unlock(&lock);
    gbt_keys_unref(&before);
    return true;
}

struct gbt_keyring *gbt_keys_of(const void *conf)
{
    struct gbt_keyring *ring = NULL;

    (void)pthread_mutex_lock(&lock);
    size_t place = place_of(conf);
    if (rings[place].conf == conf) {
        rings[place].used = ++clock_of_uses;
        ring = rings[place].ring;
        if (ring) {
            atomic_fetch_add(&ring->refs, 1);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return ring;
}
