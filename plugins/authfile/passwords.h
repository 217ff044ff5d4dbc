/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTHFILE_PASSWORDS_H
#define AUTHFILE_PASSWORDS_H

/* A password file: lines `user:hash`, hashes as crypt(5) writes them. */

#include "polygate.h"

struct auth_passwords; /* immutable once made */

/* Longest password that is looked at, in bytes; libcrypt takes no longer ones. */
#define AUTH_PASSWORD_MAX 511u

/* Read `text` (lent); `name` is the file's name in errors. NULL with error->text set. */
struct auth_passwords *auth_passwords_parse(struct pg_bytes text, const char *name,
                                            struct pg_error *error) PG_CHECKED;
void auth_passwords_free(struct auth_passwords **passwords);
size_t auth_passwords_count(const struct auth_passwords *passwords);

/* The hash to verify for this user, lent for the life of `passwords`. For a user who is not in
 * the file a hash that costs as much to verify, and *known false: how long a refusal takes must
 * not tell which names exist. Any thread. */
const char *auth_passwords_find(const struct auth_passwords *passwords, struct pg_bytes user,
                                bool *known);

/* What a thread needs to verify; costs about 32 KiB. NULL when memory is out. */
struct auth_verifier;
struct auth_verifier *auth_verifier_new(void);
void auth_verifier_free(struct auth_verifier **verifier);
/* Whether `password` belongs to `hash`: slow by design (milliseconds). One verifier is used by one
 * thread at a time. False for a password with NUL or longer than AUTH_PASSWORD_MAX. */
bool auth_verify(struct auth_verifier *verifier, const char *hash, struct pg_bytes password);

#endif
