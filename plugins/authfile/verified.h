/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTHFILE_VERIFIED_H
#define AUTHFILE_VERIFIED_H

/* Credentials that were found right before, so that devices that come back by the thousand need not
 * be verified by the slow hash again. Nothing in it is a password or can be made one without the
 * key, which is drawn at random for each process and never leaves it. */

#include "polygate.h"

struct auth_verified; /* shared by instances of the plugin, so that a reload forgets nothing */

/* The one of the process, with room for `max` credentials (at least 1); another one if `max` has
 * changed. To be closed. NULL with error->text set. Main thread. */
struct auth_verified *auth_verified_open(size_t max, struct pg_error *error) PG_CHECKED;
/* Main thread. NULL is fine. */
void auth_verified_close(struct auth_verified **verified);

/* Whether this user with this password was right for this very hash less than `life_ms` before
 * `now_ms`; if so, that time begins anew. Less than 10 us. Any thread. */
bool auth_verified_knows(struct auth_verified *verified, struct pg_bytes user,
                         struct pg_bytes password, const char *hash, int64_t now_ms,
                         int64_t life_ms);
/* It was found right. When there is no room, the one not seen for longest among a few is forgotten.
 * Any thread. */
void auth_verified_add(struct auth_verified *verified, struct pg_bytes user,
                       struct pg_bytes password, const char *hash, int64_t now_ms);

#endif
