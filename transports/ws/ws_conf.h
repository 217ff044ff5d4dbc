/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_CONF_H
#define PG_WS_CONF_H

/* What a listener block of a WebSocket transport says. */

#include "../tls/tls_conf.h"
#include "ws_upgrade.h"

struct ws_conf {
    struct tls_conf tls; /* first, for ../net and ../tls; of `ws` only its `net` is filled in */
    struct pg_strings paths;
    struct pg_strings origins;
    int64_t openings;        /* most opening handshakes under way, per worker */
    int64_t request_size;    /* bytes of the longest request */
    struct ws_route *routes; /* of `paths`; in the configuration's pool */
    size_t route_count;
    struct pg_listener_conf *served; /* for each route: the block with the route's frontend */
};

extern const struct pg_option ws_options[], wss_options[];

/* Besides looking at the values, this keeps what the routes are, for as long as they live. */
bool ws_check(const struct pg_listener_conf *conf, struct pg_error *error);

#endif
