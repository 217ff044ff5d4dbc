/* SPDX-License-Identifier: Apache-2.0 */

/* Pre-shared keys (RFC 4279) out of a file: one `identity:hexkey` per line, '#' begins a comment
 * line. Sorted once, then only read; any thread. */

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_parts.h"

#define KEY_MAX   64u
#define LINE_SIZE 1024
#define PSKS_MAX  1000000u

struct psk {
    char *identity;
    uint8_t key_len;
    uint8_t key[KEY_MAX];
};

struct tls_psks {
    size_t count, room, key_min;
    struct psk *items; /* by identity */
};

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_key(const char *hex, size_t key_min, struct psk *psk)
{
    size_t len = strlen(hex);
    if (len % 2 != 0 || len / 2 < key_min || len / 2 > KEY_MAX)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        psk->key[i] = (uint8_t)(high << 4 | low);
    }
    psk->key_len = (uint8_t)(len / 2);
    return true;
}

static bool add(struct tls_psks *psks, const struct psk *psk)
{
    if (psks->count == psks->room) {
        size_t room = psks->room > 0 ? psks->room * 2 : 64;
        struct psk *grown = calloc(room, sizeof(*grown));
        if (!grown)
            return false;
        if (psks->count > 0) {
            memcpy(grown, psks->items, psks->count * sizeof(*grown));
            OPENSSL_cleanse(psks->items, psks->count * sizeof(*grown));
        }
        free(psks->items);
        psks->items = grown;
        psks->room = room;
    }
    psks->items[psks->count++] = *psk;
    return true;
}

/* One line without its end; what is wrong, or NULL. */
static const char *read_line(struct tls_psks *psks, char *line)
{
    if (line[0] == '#' || line[0] == '\0')
        return NULL;
    char *colon = strrchr(line, ':');
    if (!colon || colon == line)
        return "expected identity:hexkey";
    *colon = '\0';
    struct psk psk = {0};
    if (strlen(line) > TLS_IDENTITY_MAX || !pg_utf8_valid(pg_bytes_str(line)))
        return "the identity is longer than 256 bytes or not UTF-8";
    if (!read_key(colon + 1, psks->key_min, &psk))
        return "expected a key of psk_key_min to 64 bytes as hexadecimal digits";
    if (psks->count == PSKS_MAX)
        return "more than 1000000 identities";
    psk.identity = strdup(line);
    bool ok = psk.identity && add(psks, &psk);
    OPENSSL_cleanse(&psk.key, sizeof(psk.key));
    if (ok)
        return NULL;
    free(psk.identity);
    return "out of memory";
}

static int by_identity(const void *a, const void *b)
{
    return strcmp(((const struct psk *)a)->identity, ((const struct psk *)b)->identity);
}

static const char *read_lines(struct tls_psks *psks, FILE *file, unsigned *number)
{
    char line[LINE_SIZE];
    const char *wrong = NULL;
    while (!wrong && fgets(line, sizeof(line), file)) {
        ++*number;
        size_t len = strlen(line);
        if (len == sizeof(line) - 1 && line[len - 1] != '\n')
            return "the line is too long";
        line[strcspn(line, "\r\n")] = '\0';
        wrong = read_line(psks, line);
    }
    OPENSSL_cleanse(line, sizeof(line));
    if (!wrong && ferror(file))
        wrong = "it cannot be read";
    if (wrong)
        return wrong;
    if (psks->count == 0)
        return "there is no key in it";
    qsort(psks->items, psks->count, sizeof(psks->items[0]), by_identity);
    for (size_t i = 1; i < psks->count; i++)
        if (by_identity(&psks->items[i - 1], &psks->items[i]) == 0)
            return "an identity stands in it twice";
    return NULL;
}

struct tls_psks *tls_psks_read(const char *path, size_t key_min, struct pg_error *error)
{
    char text[128];
    FILE *file = fopen(path, "re");
    if (!file) {
        pg_error_set(error, "%.200s: %s", path, strerror_r(errno, text, sizeof(text)));
        return NULL;
    }
    struct tls_psks *psks = calloc(1, sizeof(*psks));
    unsigned number = 0;
    if (psks)
        psks->key_min = key_min;
    const char *wrong = psks ? read_lines(psks, file, &number) : "out of memory";
    fclose(file);
    if (!wrong)
        return psks;
    pg_error_set(error, "%.200s:%u: %s", path, number, wrong);
    tls_psks_free(&psks);
    return NULL;
}

void tls_psks_free(struct tls_psks **pointer)
{
    struct tls_psks *psks = *pointer;
    *pointer = NULL;
    if (!psks)
        return;
    for (size_t i = 0; i < psks->count; i++)
        free(psks->items[i].identity);
    if (psks->items)
        OPENSSL_cleanse(psks->items, psks->count * sizeof(psks->items[0]));
    free(psks->items);
    free(psks);
}

size_t tls_psks_find(const struct tls_psks *psks, const char *identity, const uint8_t **key)
{
    const struct psk wanted = {.identity = (char *)(uintptr_t)identity};
    const struct psk *found =
        bsearch(&wanted, psks->items, psks->count, sizeof(psks->items[0]), by_identity);
    if (!found)
        return 0;
    *key = found->key;
    return found->key_len;
}
