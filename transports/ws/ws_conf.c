/* SPDX-License-Identifier: Apache-2.0 */

/* Options of WebSocket listeners, and the routes that `paths` stands for: which frontend is served
 * below which path. Main thread. */

#include "ws_conf.h"

#include <string.h>

#include "pool.h"

_Static_assert(offsetof(struct ws_conf, tls) == 0 && offsetof(struct tls_conf, net) == 0,
               "../net and ../tls look for their values there");

#define AT(field) offsetof(struct ws_conf, field)

/* clang-format off */
#define WS_OPTION_ROWS \
    {.name = "paths", \
     .type = PG_OPT_LIST, \
     .offset = AT(paths), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "what is served below which path of the URL, as in {\"/a\", \"/b=NAME\"}: the " \
                 "frontend of `protocol`, or the one named. By default the block's frontend " \
                 "below its own name, and nothing else."}, \
    {.name = "origins", \
     .type = PG_OPT_LIST, \
     .offset = AT(origins), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "sites whose pages may connect from a browser, as in {\"https://example.com\"}; " \
                 "clients that are no browsers send no origin and pass. Empty by default: any, " \
                 "since who connects has to log in all the same."}, \
    {.name = "openings", \
     .type = PG_OPT_INT, \
     .offset = AT(openings), \
     .fallback = "4096", \
     .min = 1, \
     .max = 1000000, \
     .reloadable = true, \
     .sentence = "most opening handshakes that may be under way at a time, per worker; a " \
                 "connection above it is closed. Each holds up to request_size, and who connects " \
                 "needs to prove nothing for that."}, \
    {.name = "request_size", \
     .type = PG_OPT_SIZE, \
     .offset = AT(request_size), \
     .fallback = "8k", \
     .min = 512, \
     .max = 65536, \
     .reloadable = true, \
     .sentence = "longest request of an opening handshake; a longer one is answered with 431. " \
                 "Browsers with large cookies stay below the default."}
/* clang-format on */

const struct pg_option ws_options[] = {
    NET_OPTION_ROWS,
    WS_OPTION_ROWS,
    {.name = NULL},
};

const struct pg_option wss_options[] = {
    TLS_OPTION_ROWS("http/1.1"),
    WS_OPTION_ROWS,
    {.name = NULL},
};

/* The frontend of that name; false: there is none. */
static bool find_frontend(const struct pg_config *config, const char *name,
                          struct pg_listener_conf *served)
{
    for (size_t i = 0; i < config->protocol_count; i++) {
        if (strcmp(config->protocols[i].protocol->name, name) != 0)
            continue;
        served->protocol = config->protocols[i].protocol;
        served->protocol_index = i;
        return true;
    }
    return false;
}

/* Read "/path" or "/path=frontend" into one more route. */
static bool add_route(struct ws_conf *ws, const struct pg_listener_conf *conf, const char *text,
                      struct pg_error *error)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    struct pg_listener_conf served = *conf;
    if (text[0] != '/' || strcspn(text, " ?#") < len) {
        pg_error_set(error, "paths: found \"%.64s\", expected \"/PATH\" or \"/PATH=PROTOCOL\"",
                     text);
        return false;
    }
    if (equals && !find_frontend(conf->config, equals + 1, &served)) {
        pg_error_set(error, "paths: \"%.64s\" names no protocol that there is", text);
        return false;
    }
    char *path = pg_conf_pool_text(conf->config->pool, text, len);
    if (!path) {
        pg_error_set(error, "out of memory");
        return false;
    }
    ws->routes[ws->route_count] =
        (struct ws_route){.path = path, .subprotocols = served.protocol->subprotocols};
    ws->served[ws->route_count++] = served;
    return true;
}

/* Besides looking at the values, this keeps what the routes are, for as long as they live. */
bool ws_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct ws_conf *ws = conf->transport_conf;
    if (!net_check(conf, error))
        return false;
    if (ws->routes) /* by another address of the block */
        return true;
    struct pg_conf_pool *pool = conf->config->pool;
    size_t count = ws->paths.count > 0 ? ws->paths.count : 1;
    ws->routes = pg_conf_pool_alloc(pool, count * sizeof(*ws->routes));
    ws->served = pg_conf_pool_alloc(pool, count * sizeof(*ws->served));
    size_t name_len = strlen(conf->protocol->name);
    char *own = pg_conf_pool_alloc(pool, name_len + 2);
    if (!ws->routes || !ws->served || !own) {
        pg_error_set(error, "out of memory");
        return false;
    }
    own[0] = '/';
    memcpy(own + 1, conf->protocol->name, name_len + 1);
    if (ws->paths.count == 0)
        return add_route(ws, conf, own, error);
    for (size_t i = 0; i < ws->paths.count; i++)
        if (!add_route(ws, conf, ws->paths.items[i], error))
            return false;
    return true;
}
