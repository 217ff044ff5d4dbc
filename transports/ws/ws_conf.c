/* SPDX-License-Identifier: Apache-2.0 */

/* Options of WebSocket listeners, and the routes that `paths` stands for: which frontend is served
 * below which path. Main thread. */

#include "ws_conf.h"

#include <stdio.h>
#include <string.h>

#include "pool.h"

_Static_assert(offsetof(struct ws_conf, tls) == 0 && offsetof(struct tls_conf, net) == 0,
               "../net and ../tls look for their values there");

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
    if (served.protocol == &pg_any_protocol) {
        pg_error_set(error,
                     "paths: \"%.64s\" does not tell which frontend it is for, expected "
                     "\"/PATH=PROTOCOL\"",
                     text);
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

/* The block's frontend, or each one if it is for all, below its own name. */
static bool add_own_routes(struct ws_conf *ws, const struct pg_listener_conf *conf,
                           struct pg_error *error)
{
    const struct pg_config *config = conf->config;
    for (size_t i = 0; i < config->protocol_count; i++) {
        const struct pg_protocol *protocol = config->protocols[i].protocol;
        if (conf->protocol != &pg_any_protocol && conf->protocol != protocol)
            continue;
        char text[256];
        int len = snprintf(text, sizeof(text), "/%s=%s", protocol->name, protocol->name);
        if (len < 0 || (size_t)len >= sizeof(text)) {
            pg_error_set(error, "paths: the name of %.64s is too long for a path", protocol->name);
            return false;
        }
        if (!add_route(ws, conf, text, error))
            return false;
    }
    return true;
}

bool ws_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct ws_conf *ws = conf->transport_conf;
    if (!net_check(conf, error))
        return false;
    if (ws->routes) /* by another address of the block */
        return true;
    struct pg_conf_pool *pool = conf->config->pool;
    size_t count = ws->paths.count > 0 ? ws->paths.count : conf->config->protocol_count;
    ws->routes = pg_conf_pool_alloc(pool, count * sizeof(*ws->routes));
    ws->served = pg_conf_pool_alloc(pool, count * sizeof(*ws->served));
    if (!ws->routes || !ws->served) {
        pg_error_set(error, "out of memory");
        return false;
    }
    if (ws->paths.count == 0)
        return add_own_routes(ws, conf, error);
    for (size_t i = 0; i < ws->paths.count; i++)
        if (!add_route(ws, conf, ws->paths.items[i], error))
            return false;
    return true;
}
