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

/* The rows of what is WebSocket's own, for a transport whose struct begins with a struct ws_conf. */
/* clang-format off */
#define WS_OPTION_ROWS \
    {.name = "paths", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct ws_conf, paths), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "what is served below which path of the URL, as in {\"/a\", \"/b=NAME\"}: the " \
                 "frontend of `protocol`, or the one named. By default the block's frontend " \
                 "(with protocol = auto each one) below its own name, and nothing else."}, \
    {.name = "origins", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct ws_conf, origins), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "sites whose pages may connect from a browser, as in {\"https://example.com\"}; " \
                 "clients that are no browsers send no origin and pass. Empty by default: any, " \
                 "since who connects has to log in all the same."}, \
    {.name = "openings", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct ws_conf, openings), \
     .fallback = "4096", \
     .min = 1, \
     .max = 1000000, \
     .reloadable = true, \
     .sentence = "most opening handshakes that may be under way at a time, per worker; a " \
                 "connection above it is closed. Each holds up to request_size, and who connects " \
                 "needs to prove nothing for that."}, \
    {.name = "request_size", \
     .type = PG_OPT_SIZE, \
     .offset = offsetof(struct ws_conf, request_size), \
     .fallback = "8k", \
     .min = 512, \
     .max = 65536, \
     .reloadable = true, \
     .sentence = "longest request of an opening handshake; a longer one is answered with 431. " \
                 "Browsers with large cookies stay below the default."}
/* clang-format on */

/* Besides looking at the values, this keeps what the routes are, for as long as they live. */
bool ws_check(const struct pg_listener_conf *conf, struct pg_error *error);

#endif
