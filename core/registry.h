/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_REGISTRY_H
#define PG_REGISTRY_H

/* Which worker owns the session of a client identifier. One for the process, sharded by hash.
 *
 * It holds pointers to sessions, but only the owner may follow them: others learn the owner's
 * number and send it a task. Which session is entered changes only under the shard's lock,
 * which makes every change of ownership one atomic step. Any thread. */

#include "polygate.h"

struct pg_registry;
struct pg_session;

struct pg_registry *pg_registry_new(void);
void pg_registry_free(struct pg_registry **registry);

#define PG_NO_OWNER UINT32_MAX

/* What is known of an identifier. */
struct pg_registered {
    unsigned owner;             /* worker's number, or PG_NO_OWNER when there is no session */
    bool full;                  /* there is none because of the limit */
    struct pg_session *session; /* to be followed by the owner alone */
};

struct pg_registered pg_registry_find(struct pg_registry *registry, struct pg_bytes client_id);
/* Enter `session` under its identifier, owned by its worker, unless one is there: then that one is
 * returned and nothing changes. On success the answer holds `session` itself. When `most` sessions
 * are there already (0: any number), or memory is out, owner is PG_NO_OWNER. */
struct pg_registered pg_registry_enter(struct pg_registry *registry, struct pg_session *session,
                                       size_t most);
/* Put `now` in the place of `before`, which is entered; both have the same identifier. */
void pg_registry_replace(struct pg_registry *registry, struct pg_session *before,
                         struct pg_session *now);
void pg_registry_remove(struct pg_registry *registry, struct pg_session *session);
size_t pg_registry_count(struct pg_registry *registry);
/* Call fn for each session of that owner, on the owner's thread. It must not call the registry. */
void pg_registry_each(struct pg_registry *registry, unsigned owner,
                      void (*fn)(void *arg, struct pg_session *session), void *arg);
/* At the very end, the same with sessions that fn frees: nothing is to be found or entered
 * afterwards. */
void pg_registry_clear(struct pg_registry *registry, unsigned owner,
                       void (*fn)(void *arg, struct pg_session *session), void *arg);

#endif
