/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_OPENING_H
#define PG_WS_OPENING_H

/* Opening handshakes of WebSocket listeners, with TLS before them or not; on the worker. */

#include "../net/net.h"

/* Begin with an accepted socket (given); a net_take. */
void ws_opening_begin(struct pg_listening *listening, struct pg_worker *worker,
                      const struct pg_listener_conf *conf, int fd, const char *peer);
/* End all of this thread that came by that listener. */
void ws_openings_end(const struct pg_listening *listening);

#endif
