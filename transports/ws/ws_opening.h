/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_OPENING_H
#define PG_WS_OPENING_H

/* Opening handshakes of WebSocket listeners, with TLS before them or not; on the worker. */

#include "../net/net.h"

struct net_stream;
struct pg_place;

/* Begin with an accepted socket; a net_take. */
void ws_opening_begin(struct pg_listening *listening, struct pg_worker *worker,
                      const struct pg_listener_conf *conf, const struct net_guest *guest);
/* Begin with a stream that is under way and has a place: of the request, `head` (lent, at most 512
 * bytes) has been read from it. guest->fd is not looked at. If there are too many openings, or
 * memory is out (counted and logged), `from` and `place` stay as they are; else the stream is all
 * zero then, and the place is the opening's. */
void ws_opening_adopt(struct pg_listening *listening, struct pg_worker *worker,
                      const struct pg_listener_conf *conf, const struct net_guest *guest,
                      struct net_stream *from, struct pg_place *place, struct pg_bytes head);
/* End all of this thread that came by that listener. */
void ws_openings_end(const struct pg_listening *listening);

#endif
