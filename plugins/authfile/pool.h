/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTHFILE_POOL_H
#define AUTHFILE_POOL_H

/* Threads that verify passwords, so that no worker waits for it. */

#include "passwords.h"
#include "polygate.h"
#include "verified.h"

struct auth_pool;

/* Start `threads` threads that verify against `passwords` (lent, must outlive the pool) and hold at
 * most `pending` questions. What is right is added to `verified` (lent likewise; NULL: to nothing).
 * NULL with error->text set. */
struct auth_pool *auth_pool_start(const struct auth_passwords *passwords,
                                  struct auth_verified *verified, unsigned threads, size_t pending,
                                  struct pg_error *error) PG_CHECKED;
/* Ask for a login; user and password are copied, and `request` will be answered: PG_ALLOW,
 * PG_DENY, or PG_NEXT for a user who is not in the file. false when the queue is full or memory is
 * out: nothing was taken. Any thread. */
bool auth_pool_ask(struct auth_pool *pool, struct pg_bytes user, struct pg_bytes password,
                   struct pg_access_request *request) PG_CHECKED;
/* Finish what is being verified, answer what waits with PG_UNAVAILABLE, end the threads, free. */
void auth_pool_stop(struct auth_pool **pool);

#endif
