/* SPDX-License-Identifier: Apache-2.0 */

/* The values that every listener has, looked at when the configuration is loaded. Main thread. */

#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "net_address.h"
#include "net_proxy.h"
#include "pool.h"

const char *const net_proxy_words[] = {"off", "v1", "v2", "any", NULL};
const char *const net_proxy_identity_words[] = {"none", "cn", NULL};
const char *const net_proxy_require_words[] = {"none", "tls", "certificate", NULL};

static bool read_mode(struct net_conf *net, struct pg_error *error)
{
    size_t digits = strspn(net->socket_mode, "01234567");
    if (digits == 0 || digits > 4 || net->socket_mode[digits] != '\0' ||
        strtoul(net->socket_mode, NULL, 8) > 0777) {
        pg_error_set(error, "socket_mode: found \"%.16s\", expected octal digits up to 0777",
                     net->socket_mode);
        return false;
    }
    net->mode = (mode_t)strtoul(net->socket_mode, NULL, 8);
    return true;
}

static bool read_trusted(struct net_conf *net, const struct pg_listener_conf *conf,
                         struct pg_error *error)
{
    size_t count = net->proxy_from.count;
    net->trusted_count = 0;
    net->trusted = pg_conf_pool_alloc(conf->config->pool, (count + 1) * sizeof(*net->trusted));
    if (!net->trusted) {
        pg_error_set(error, "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct pg_error why;
        if (!net_range_parse(net->proxy_from.items[i], &net->trusted[i], &why)) {
            pg_error_set(error, "proxy_from: %.400s", why.text);
            return false;
        }
        net->trusted_count++;
    }
    return true;
}

static bool check_proxy(const struct net_conf *net, struct pg_error *error)
{
    if (net->proxy != NET_PROXY_OFF && net->trusted_count == 0) {
        pg_error_set(error,
                     "proxy is on, and nobody may connect: proxy_from is not given, expected "
                     "the addresses of the proxies, as in proxy_from = \"10.1.2.3\"");
        return false;
    }
    bool asks_tls = net->proxy_identity != NET_PROXY_IDENTITY_NONE ||
                    net->proxy_require != NET_PROXY_REQUIRE_NONE;
    if (net->proxy == NET_PROXY_OFF && (net->trusted_count > 0 || asks_tls)) {
        pg_error_set(error, "proxy_from, proxy_identity and proxy_require mean nothing while proxy "
                            "is off");
        return false;
    }
    if (net->proxy == NET_PROXY_V1 && asks_tls) {
        pg_error_set(error,
                     "proxy_identity and proxy_require: version 1 of the PROXY protocol says "
                     "nothing of TLS");
        return false;
    }
    return true;
}

bool net_check(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct net_conf *net = conf->transport_conf;
    struct net_address addresses[NET_ADDRESS_MAX];
    for (size_t i = 0; i < conf->bind.count; i++)
        if (net_address_parse(conf->bind.items[i], addresses, error) == 0)
            return false;
    return read_mode(net, error) && read_trusted(net, conf, error) && check_proxy(net, error);
}

bool net_hands_on(const struct pg_listener_conf *conf)
{
    const struct net_conf *net = conf->transport_conf;
    return net->proxy != NET_PROXY_OFF;
}
