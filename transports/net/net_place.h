/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_PLACE_H
#define PG_NET_PLACE_H

/* Places for accepted sockets within the limits of connections, and the queue of those for whom
 * there is none at the moment. On the worker. */

#include "net.h"

/* Find a place for the guest (as net_take is given it, without a place) and hand both to `take`,
 * now or when one has become free within place_wait. If none has, the guest is refused and its
 * socket closed (counted and logged). */
void net_place_find(struct pg_listening *listening, net_take take, struct pg_worker *worker,
                    const struct pg_listener_conf *conf, const struct net_guest *guest);
/* Whether whoever comes to the listener now would find no place, nor room to wait for one. */
bool net_place_crowded(struct pg_worker *worker, const struct pg_listener_conf *conf);
/* Close those of this worker that have come through the listener and still wait. */
void net_places_end(struct pg_worker *worker, const struct pg_listening *listening);

#endif
