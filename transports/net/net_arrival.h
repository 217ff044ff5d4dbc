/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_ARRIVAL_H
#define PG_NET_ARRIVAL_H

/* What happens between accept(2) and a transport's net_take: the header of a proxy. */

#include "net.h"
#include "net_address.h"

/* Take care of the accepted, non-blocking socket `fd` (given) of `peer`, and have it go on to
 * net_place_find() at once or later. On the worker. */
void net_arrive(struct pg_listening *listening, net_take take, struct pg_worker *worker,
                const struct pg_listener_conf *conf, int fd, const struct net_address *peer);
/* Close those of this worker that have come through the listener and still wait. */
void net_arrivals_end(const struct pg_listening *listening);

#endif
