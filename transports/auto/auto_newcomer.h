/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_AUTO_NEWCOMER_H
#define PG_AUTO_NEWCOMER_H

/* Accepted sockets of which it is not known yet what they speak; on the worker. */

#include "../net/net.h"

/* Begin with an accepted socket; a net_take. */
void auto_newcomer_begin(struct pg_listening *listening, struct pg_worker *worker,
                         const struct pg_listener_conf *conf, const struct net_guest *guest);
/* End all of this thread that came by that listener. */
void auto_newcomers_end(const struct pg_listening *listening);

#endif
