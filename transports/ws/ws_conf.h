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
    int64_t ping_interval_ms; /* 0: none are sent */
    bool deflate, deflate_takeover;
    int64_t deflate_window, deflate_connections, deflate_message_size;
    int64_t openings;          /* most opening handshakes under way, per worker */
    int64_t request_size;      /* bytes of the longest request */
    struct ws_service service; /* made by ws_check(); its routes are in the configuration's pool */
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
    {.name = "ping_interval", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct ws_conf, ping_interval_ms), \
     .fallback = "0s", \
     .min = 0, \
     .max = 86400000, \
     .reloadable = true, \
     .sentence = "how often a ping is sent; a peer that has sent nothing since the last one is " \
                 "closed. 0 sends none, the default, since frontends have keep-alives of their " \
                 "own; below a minute it keeps proxies from closing what is idle."}, \
    {.name = "deflate", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct ws_conf, deflate), \
     .fallback = "no", \
     .reloadable = true, \
     .sentence = "whether messages may be compressed (permessage-deflate, RFC 7692). Off, since it " \
                 "costs much time and memory, and short messages gain nothing."}, \
    {.name = "deflate_window", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct ws_conf, deflate_window), \
     .fallback = "12", \
     .min = 9, \
     .max = 15, \
     .reloadable = true, \
     .sentence = "bits of the window, each way. With 12 a message that is under way holds 11 KiB " \
                 "to decompress or 32 KiB to compress, with 15 it is 40 and 150 KiB. Below 15 " \
                 "clients that cannot keep to it are served without compression."}, \
    {.name = "deflate_takeover", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct ws_conf, deflate_takeover), \
     .fallback = "no", \
     .reloadable = true, \
     .sentence = "whether a message may refer to those before it. It compresses better, and then " \
                 "idle connections hold the memory of deflate_window, too."}, \
    {.name = "deflate_connections", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct ws_conf, deflate_connections), \
     .fallback = "1000", \
     .min = 0, \
     .max = 10000000, \
     .reloadable = true, \
     .sentence = "most connections with compression, of the whole gateway; further ones are " \
                 "served without, so that their memory has a bound."}, \
    {.name = "deflate_message_size", \
     .type = PG_OPT_SIZE, \
     .offset = offsetof(struct ws_conf, deflate_message_size), \
     .fallback = "1m", \
     .min = 1024, \
     .max = 268435456, \
     .reloadable = true, \
     .sentence = "longest compressed message, once it is decompressed; a longer one closes the " \
                 "connection (1009), for a few bytes can become a thousand times as many."}, \
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
