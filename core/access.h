/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ACCESS_H
#define PG_ACCESS_H

/* The one point at which it is decided who may come in and what a client may publish and
 * subscribe to. It asks the authenticators of the configuration's plugins in configured order.
 *
 * Login: the first authenticator that allows or denies decides. When none has an opinion:
 *   - a client that gave a user name or a password is refused (PG_BAD_CREDENTIAL) if any plugin
 *     with an authenticator is configured: nobody vouches for the name, and rules must be able to
 *     rely on names. Without any such plugin the name means nothing, and the client counts as one
 *     that gave none;
 *   - a client that gave neither is anonymous: `access.allow_anonymous` decides (auto: allowed if
 *     no plugin with an authenticator is configured), refused with PG_NOT_AUTHORIZED.
 *
 * Actions: every authenticator that judges them is asked until one denies, which is final; else
 * one that allows is enough; when all are silent, `access.otherwise` decides (auto: denied if there
 * is one that judges, allowed if there is none).
 *
 * Exchanges in rounds (pg_access_exchange) go to the authenticators with `exchange`, the first of
 * which that knows the method has it to itself.
 *
 * Threads: all functions on the worker given, which must be the caller's own. */

#include "config.h"
#include "polygate.h"
#include "worker.h"

/* The answer to a question that was pending: PG_OK, or the refusal. On the asking worker, in a
 * task of its own, never from inside pg_access_*(). */
typedef void (*pg_access_done_fn)(void *arg, enum pg_reason reason);

/* May this identity come in? PG_OK, PG_BAD_CREDENTIAL, PG_NOT_AUTHORIZED, PG_BUSY (an authenticator
 * cannot tell now), PG_NO_MEMORY at once, or PG_PENDING: then *pending is the question that is out
 * and `done` is called once, unless it is cancelled before. *pending is NULL in all other cases.
 * `who` is lent and copied if need be. `config` is shared: a pending question holds a reference. */
enum pg_reason pg_access_login(struct pg_worker *worker, struct pg_config *config,
                               const struct pg_identity *who, pg_access_done_fn done, void *arg,
                               struct pg_access_request **pending) PG_CHECKED;

/* May this client publish to / subscribe to `topic`? PG_OK, PG_NOT_AUTHORIZED, PG_BUSY,
 * PG_NO_MEMORY or PG_PENDING, as above. `topic` is the name, or the filter; a leading
 * $share/<group>/ is taken off here. who->password is not looked at. Give the current
 * configuration, not the connection's, so that a reload of rules applies to those who are
 * connected. Allocates only to pend. */
enum pg_reason pg_access_check(struct pg_worker *worker, struct pg_config *config,
                               const struct pg_identity *who, enum pg_action action,
                               struct pg_bytes topic, pg_access_done_fn done, void *arg,
                               struct pg_access_request **pending) PG_CHECKED;

/* An exchange in rounds in place of a login. Each round's end comes by this callback, on the asking
 * worker, in a task of its own: PG_PENDING when the peer is to answer `data` (then *pending stays,
 * and pg_access_continue() or pg_access_cancel() follows), else the decision, with the last data
 * for the peer, and *pending is no more. `data` is lent. */
typedef void (*pg_access_round_fn)(void *arg, enum pg_reason reason, struct pg_bytes data);
/* PG_PENDING, PG_UNSUPPORTED (no plugin knows methods) or PG_NO_MEMORY. All lent. */
enum pg_reason pg_access_exchange(struct pg_worker *worker, struct pg_config *config,
                                  const struct pg_identity *who, struct pg_bytes method,
                                  struct pg_bytes data, pg_access_round_fn done, void *arg,
                                  struct pg_access_request **pending) PG_CHECKED;
/* Whether it is the peer's turn. `pending` may be NULL. */
bool pg_access_waits(const struct pg_access_request *pending);
/* The peer's answer, when pg_access_waits(). false: out of memory, and it still waits. */
bool pg_access_continue(struct pg_access_request *pending, struct pg_bytes data) PG_CHECKED;

/* Whether pg_access_check could do anything but say PG_OK under this configuration. */
bool pg_access_checks_actions(const struct pg_config *config);

/* The asker goes away: `done` will not be called. The request itself lives until the plugin has
 * answered. Nulls the pointer; NULL is fine. Must be called for every pending question before
 * `worker` ends; afterwards a late answer touches neither the worker nor the configuration. */
void pg_access_cancel(struct pg_access_request **pending);

#endif
