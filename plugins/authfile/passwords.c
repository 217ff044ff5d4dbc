/* SPDX-License-Identifier: Apache-2.0 */

/* The password file, read whole into an open hash table of names, and the verification by libcrypt
 * (yescrypt as `polygatectl passwd` makes it, and every other method of crypt(5) whose hashes begin
 * with '$').
 *
 * The hashes of 13 plain characters of the first Unix crypt are refused: they keep only eight
 * characters of a password, and a line in which somebody wrote the password itself could look like
 * one. */

#include "passwords.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

struct user {
    struct pg_bytes name; /* data == NULL: free slot */
    const char *hash;
};

struct auth_passwords {
    char *text; /* names and hashes lie in it */
    struct user *slots;
    size_t mask; /* number of slots - 1; at least half of them are free */
    size_t count;
    char unknown[CRYPT_OUTPUT_SIZE]; /* verified for users who are not in the file */
};

static size_t slot_of(const struct auth_passwords *passwords, struct pg_bytes name)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a; the names are the administrator's */
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ name.data[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32) & passwords->mask;
}

/* The user's slot, or the free one where it belongs. */
static struct user *find_slot(const struct auth_passwords *passwords, struct pg_bytes name)
{
    size_t i = slot_of(passwords, name);
    while (passwords->slots[i].name.data && !pg_bytes_equal(passwords->slots[i].name, name))
        i = (i + 1) & passwords->mask;
    return &passwords->slots[i];
}

/* The shortest last part of a hash that is of use: MD5's, 22 characters. */
#define LAST_PART_MIN 22u

static bool hash_is_usable(const char *hash)
{
    const char *last = strrchr(hash, '$');
    if (hash[0] != '$' || last == hash || strlen(last + 1) < LAST_PART_MIN)
        return false;
    int found = crypt_checksalt(hash);
    return found == CRYPT_SALT_OK || found == CRYPT_SALT_METHOD_LEGACY ||
           found == CRYPT_SALT_TOO_CHEAP;
}

static bool add_line(struct auth_passwords *passwords, char *line, const char *file,
                     unsigned number, struct pg_error *error)
{
    char *colon = strchr(line, ':');
    if (!colon || colon == line) {
        pg_error_set(error, "%s:%u: expected USER:HASH; add users with: polygatectl passwd %s USER",
                     file, number, file);
        return false;
    }
    *colon = '\0';
    const char *hash = colon + 1;
    struct pg_bytes name = pg_bytes_str(line);
    if (!pg_utf8_valid(name)) {
        pg_error_set(error, "%s:%u: the user name is not UTF-8", file, number);
        return false;
    }
    if (!hash_is_usable(hash)) {
        pg_error_set(error,
                     "%s:%u: what follows \"%.80s:\" is not a hash of crypt(5) such as $y$...; set "
                     "the password with: polygatectl passwd %s %.80s",
                     file, number, line, file, line);
        return false;
    }
    struct user *slot = find_slot(passwords, name);
    if (slot->name.data) {
        pg_error_set(error, "%s:%u: user \"%.80s\" stands in the file twice; remove one line", file,
                     number, line);
        return false;
    }
    *slot = (struct user){.name = name, .hash = hash};
    if (passwords->count++ == 0)
        /* hash_is_usable() looked at its beginning; libcrypt judges all of it when verifying. */
        strncpy(passwords->unknown, hash, sizeof(passwords->unknown) - 1);
    return true;
}

static bool add_lines(struct auth_passwords *passwords, const char *file, struct pg_error *error)
{
    unsigned number = 0;
    for (char *line = passwords->text; line;) {
        char *newline = strchr(line, '\n');
        if (newline)
            *newline = '\0';
        number++;
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\r')
            line[--len] = '\0';
        if (len > 0 && line[0] != '#' && !add_line(passwords, line, file, number, error))
            return false;
        line = newline ? newline + 1 : NULL;
    }
    return true;
}

static bool make_table(struct auth_passwords *passwords, struct pg_bytes text)
{
    size_t lines = 1, slots = 16;
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    while (slots < 2 * lines)
        slots *= 2;
    passwords->mask = slots - 1;
    passwords->slots = calloc(slots, sizeof(*passwords->slots));
    passwords->text = malloc(text.len + 1);
    if (!passwords->slots || !passwords->text)
        return false;
    if (text.len > 0)
        memcpy(passwords->text, text.data, text.len);
    passwords->text[text.len] = '\0';
    return true;
}

struct auth_passwords *auth_passwords_parse(struct pg_bytes text, const char *name,
                                            struct pg_error *error)
{
    if (text.len > 0 && memchr(text.data, 0, text.len)) {
        pg_error_set(error, "%s: there is a NUL byte in it; expected lines USER:HASH", name);
        return NULL;
    }
    struct auth_passwords *passwords = calloc(1, sizeof(*passwords));
    if (!passwords || !make_table(passwords, text)) {
        pg_error_set(error, "%s: out of memory", name);
        auth_passwords_free(&passwords);
        return NULL;
    }
    if (!add_lines(passwords, name, error)) {
        auth_passwords_free(&passwords);
        return NULL;
    }
    /* Without any user there is no cost to imitate, but every name is still verified. */
    if (passwords->count == 0 &&
        !crypt_gensalt_rn("$y$", 0, NULL, 0, passwords->unknown, (int)sizeof(passwords->unknown))) {
        pg_error_set(error, "%s: libcrypt has no yescrypt; install libxcrypt 4.4 or newer", name);
        auth_passwords_free(&passwords);
        return NULL;
    }
    return passwords;
}

void auth_passwords_free(struct auth_passwords **passwords)
{
    struct auth_passwords *old = *passwords;
    *passwords = NULL;
    if (!old)
        return;
    free(old->slots);
    free(old->text);
    free(old);
}

size_t auth_passwords_count(const struct auth_passwords *passwords)
{
    return passwords->count;
}

const char *auth_passwords_find(const struct auth_passwords *passwords, struct pg_bytes user,
                                bool *known)
{
    const struct user *slot = find_slot(passwords, user);
    *known = slot->name.data != NULL;
    return *known ? slot->hash : passwords->unknown;
}

/* ---- verifying ------------------------------------------------------------------------------- */

struct auth_verifier {
    struct crypt_data data;
};

struct auth_verifier *auth_verifier_new(void)
{
    return calloc(1, sizeof(struct auth_verifier));
}

void auth_verifier_free(struct auth_verifier **verifier)
{
    struct auth_verifier *old = *verifier;
    *verifier = NULL;
    if (!old)
        return;
    explicit_bzero(old, sizeof(*old));
    free(old);
}

bool auth_verify(struct auth_verifier *verifier, const char *hash, struct pg_bytes password)
{
    char phrase[AUTH_PASSWORD_MAX + 1];
    /* libcrypt reads up to the first NUL: "secret\0anything" must not pass for "secret". */
    bool fits = password.len <= AUTH_PASSWORD_MAX &&
                (password.len == 0 || !memchr(password.data, 0, password.len));
    size_t len = fits ? password.len : 0;
    if (len > 0)
        memcpy(phrase, password.data, len);
    phrase[len] = '\0';
    const char *made = crypt_rn(phrase, hash, &verifier->data, (int)sizeof(verifier->data));
    explicit_bzero(phrase, sizeof(phrase));
    bool equal = made && pg_bytes_equal_secret(pg_bytes_str(made), pg_bytes_str(hash));
    return equal && fits;
}
