/* SPDX-License-Identifier: Apache-2.0 */

/* Options of listeners that serve everything, and what a connection finds in place of the block
 * once it is known what it is. Main thread. */

#include "auto_conf.h"

#include <string.h>

#include "../tcp/tcp.h"
#include "../tls/tls.h"
#include "../ws/ws.h"
#include "pool.h"

_Static_assert(offsetof(struct auto_conf, ws) == 0, "the others look for their values there");

const struct pg_option auto_options[] = {
    TLS_OPTION_ROWS(""),
    WS_OPTION_ROWS,
    {.name = "require_tls",
     .type = PG_OPT_BOOL,
     .offset = offsetof(struct auto_conf, require_tls),
     .fallback = "no",
     .reloadable = true,
     .sentence = "refuse who does not begin with TLS, for a port that other networks reach. Off, "
                 "since certificates are asked for in so many words."},
    {.name = "flash_policy",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct auto_conf, flash_policy),
     .fallback = "",
     .reloadable = true,
     .sentence = "sites whose Flash programs may connect to this port, as in {\"*.example.com\"}: "
                 "who asks for the socket-policy file gets one that names them. Empty by default: "
                 "the question is not answered, as nobody but old browsers asks it."},
    {.name = NULL},
};

bool auto_has_tls(const struct auto_conf *conf)
{
    return conf->ws.tls.certificates.count > 0 || conf->ws.tls.psk_file[0] != '\0';
}

/* The names stand in an attribute of XML. */
static bool check_policy(const struct auto_conf *conf, struct pg_error *error)
{
    for (size_t i = 0; i < conf->flash_policy.count; i++) {
        const char *site = conf->flash_policy.items[i];
        size_t len = strlen(site);
        if (len > 0 && len < 256 && strcspn(site, "<>&\"' \t\n") == len)
            continue;
        pg_error_set(error,
                     "flash_policy: found \"%.64s\", expected the name of a host, which may "
                     "begin with *. , or *",
                     site);
        return false;
    }
    return true;
}

/* The block with each frontend that may serve it and can tell its own, on that transport. */
static struct pg_listener_conf *with_frontends(const struct pg_listener_conf *conf,
                                               const struct pg_transport *transport, size_t *count)
{
    const struct pg_config *config = conf->config;
    struct pg_listener_conf *list =
        pg_conf_pool_alloc(config->pool, (config->protocol_count + 1) * sizeof(*list));
    *count = 0;
    for (size_t i = 0; list && i < config->protocol_count; i++) {
        const struct pg_protocol *protocol = config->protocols[i].protocol;
        if (!protocol->sniff || (conf->protocol != &pg_any_protocol && conf->protocol != protocol))
            continue;
        struct pg_listener_conf *one = &list[(*count)++];
        *one = *conf;
        one->transport = transport;
        one->protocol = protocol;
        one->protocol_index = i;
    }
    return list;
}

static bool make_kinds(struct auto_conf *c, const struct pg_listener_conf *conf,
                       struct pg_error *error)
{
    size_t same;
    c->web = pg_conf_pool_alloc(conf->config->pool, sizeof(*c->web));
    c->direct = with_frontends(conf, &tcp_transport, &c->frontend_count);
    c->secured = with_frontends(conf, &tls_transport, &same);
    if (!c->web || !c->direct || !c->secured) {
        pg_error_set(error, "out of memory");
        return false;
    }
    if (c->frontend_count == 0) {
        pg_error_set(error,
                     "protocol: %s does not tell how its streams begin, so it cannot be told "
                     "apart here",
                     conf->protocol->name);
        return false;
    }
    *c->web = *conf;
    c->web->transport = &ws_transport;
    return true;
}

bool auto_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct auto_conf *c = conf->transport_conf;
    if (c->web) /* by another address of the block */
        return net_check(conf, error);
    if (c->require_tls && !auto_has_tls(c)) {
        pg_error_set(error, "require_tls: there are no certificates, so nobody could come in");
        return false;
    }
    return check_policy(c, error) && make_kinds(c, conf, error) && ws_check(c->web, error);
}

bool auto_prepare(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error)
{
    return !auto_has_tls(conf->transport_conf) || tls_prepare(conf, workers, error);
}
