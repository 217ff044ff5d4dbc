/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses of listeners and peers: text to sockaddr (RFC 3986, 3.2.2 for the brackets around
 * IPv6, RFC 4007, 11 for zones) and back. Pure functions; any thread. */

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "net_address.h"

#define EXPECTED                                                                                   \
    "expected ADDRESS:PORT, such as 127.0.0.1:1883, [::1]:1883, or *:1883 for every address, or "  \
    "unix:/PATH"

#define LOCAL_PREFIX "unix:"

static bool parse_port(const char *text, uint16_t *port)
{
    uint32_t value = 0;
    size_t digits = 0;
    for (; text[digits] != '\0'; digits++) {
        if (text[digits] < '0' || text[digits] > '9' || digits == 5)
            return false;
        value = value * 10 + (uint32_t)(text[digits] - '0');
    }
    if (digits == 0 || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

static struct net_address make_v4(struct in_addr host, uint16_t port)
{
    struct net_address address = {.len = sizeof(address.sa.v4)};
    address.sa.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = host, .sin_port = htons(port)};
    return address;
}

static struct net_address make_v6(struct in6_addr host, uint32_t zone, uint16_t port)
{
    struct net_address address = {.len = sizeof(address.sa.v6)};
    address.sa.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                          .sin6_addr = host,
                                          .sin6_scope_id = zone,
                                          .sin6_port = htons(port)};
    return address;
}

/* What stands between the brackets: an address, and perhaps '%' and the name of an interface. */
static bool parse_v6(const char *host, size_t len, uint16_t port, struct net_address *out)
{
    char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, host, len);
    copy[len] = '\0';

    uint32_t zone = 0;
    char *percent = strchr(copy, '%');
    if (percent) {
        *percent = '\0';
        zone = if_nametoindex(percent + 1);
        if (zone == 0)
            return false;
    }
    struct in6_addr address;
    if (inet_pton(AF_INET6, copy, &address) != 1)
        return false;
    *out = make_v6(address, zone, port);
    return true;
}

static bool parse_local(const char *path, struct net_address *out)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len >= sizeof(out->sa.local.sun_path))
        return false;
    *out = (struct net_address){.sa.local.sun_family = AF_UNIX, .len = sizeof(out->sa.local)};
    memcpy(out->sa.local.sun_path, path, len + 1);
    return true;
}

size_t net_address_parse(const char *text, struct net_address out[NET_ADDRESS_MAX],
                         struct pg_error *error)
{
    if (strncmp(text, LOCAL_PREFIX, sizeof(LOCAL_PREFIX) - 1) == 0) {
        if (parse_local(text + sizeof(LOCAL_PREFIX) - 1, &out[0]))
            return 1;
        pg_error_set(error, "\"%s\" has no path from / on with fewer than %zu bytes; " EXPECTED,
                     text, sizeof(out->sa.local.sun_path));
        return 0;
    }
    const char *colon = strrchr(text, ':');
    size_t host_len = colon ? (size_t)(colon - text) : 0;
    uint16_t port;
    if (!colon || !parse_port(colon + 1, &port)) {
        pg_error_set(error, "\"%s\" has no port from 0 to 65535 at its end; " EXPECTED, text);
        return 0;
    }
    if (host_len == 0 || (host_len == 1 && text[0] == '*')) {
        out[0] = make_v4((struct in_addr){.s_addr = htonl(INADDR_ANY)}, port);
        out[1] = make_v6(in6addr_any, 0, port);
        return 2;
    }
    if (text[0] == '[' && text[host_len - 1] == ']') {
        if (parse_v6(text + 1, host_len - 2, port, &out[0]))
            return 1;
        pg_error_set(
            error, "\"%s\" has no IPv6 address in its brackets (after %%, an interface); " EXPECTED,
            text);
        return 0;
    }
    if (memchr(text, ':', host_len)) {
        pg_error_set(error, "\"%s\": an IPv6 address is written in brackets; " EXPECTED, text);
        return 0;
    }
    char host[INET_ADDRSTRLEN];
    struct in_addr address;
    if (host_len < sizeof(host)) {
        memcpy(host, text, host_len);
        host[host_len] = '\0';
        if (inet_pton(AF_INET, host, &address) == 1) {
            out[0] = make_v4(address, port);
            return 1;
        }
    }
    pg_error_set(error, "\"%s\" has no numeric address (names are not looked up); " EXPECTED, text);
    return 0;
}

void net_address_text(const struct net_address *address, char out[NET_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    uint16_t port = net_address_port(address);
    if (address->sa.any.sa_family == AF_INET) {
        pg_ipv4_text((const uint8_t *)&address->sa.v4.sin_addr, port, out);
    } else if (address->sa.any.sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = &address->sa.v6;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            pg_ipv4_text(&v6->sin6_addr.s6_addr[12], port, out);
            return;
        }
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        if (v6->sin6_scope_id != 0)
            snprintf(out, NET_ADDRESS_TEXT, "[%s%%%u]:%u", host, v6->sin6_scope_id, port);
        else
            snprintf(out, NET_ADDRESS_TEXT, "[%s]:%u", host, port);
    } else if (address->sa.any.sa_family == AF_UNIX) {
        bool named = address->len > offsetof(struct sockaddr_un, sun_path) &&
                     address->sa.local.sun_path[0] != '\0';
        snprintf(out, NET_ADDRESS_TEXT, named ? LOCAL_PREFIX "%.*s" : "unix",
                 (int)sizeof(address->sa.local.sun_path), address->sa.local.sun_path);
    } else {
        snprintf(out, NET_ADDRESS_TEXT, "unknown");
    }
}

uint16_t net_address_port(const struct net_address *address)
{
    switch (address->sa.any.sa_family) {
    case AF_INET:
        return ntohs(address->sa.v4.sin_port);
    case AF_INET6:
        return ntohs(address->sa.v6.sin6_port);
    default:
        return 0;
    }
}

void net_address_set_port(struct net_address *address, uint16_t port)
{
    if (address->sa.any.sa_family == AF_INET)
        address->sa.v4.sin_port = htons(port);
    else if (address->sa.any.sa_family == AF_INET6)
        address->sa.v6.sin6_port = htons(port);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* Whether no bit is set behind the first `bits`: who writes one means another range. */
static bool ends_at(const uint8_t first[16], unsigned bits, size_t len)
{
    for (size_t i = bits / 8; i < len; i++) {
        unsigned mask = i == bits / 8 ? 0xffu >> bits % 8 : 0xffu;
        if (first[i] & mask)
            return false;
    }
    return true;
}

static bool parse_range(const char *text, struct net_range *out)
{
    char host[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    *out = (struct net_range){.family = strchr(host, ':') ? AF_INET6 : AF_INET};
    unsigned most = out->family == AF_INET ? 32 : 128, bits = most;
    if (inet_pton(out->family, host, out->first) != 1)
        return false;
    if (slash) {
        size_t digits = strspn(slash + 1, "0123456789");
        if (digits == 0 || digits > 3 || slash[1 + digits] != '\0')
            return false;
        bits = (unsigned)atoi(slash + 1);
    }
    out->bits = (uint8_t)bits;
    return bits <= most && ends_at(out->first, bits, most / 8);
}

bool net_range_parse(const char *text, struct net_range *out, struct pg_error *error)
{
    if (strcmp(text, "unix") == 0) {
        *out = (struct net_range){.family = AF_UNIX};
        return true;
    }
    if (parse_range(text, out))
        return true;
    pg_error_set(error,
                 "found \"%.64s\", expected an address or a range whose bits behind its length are "
                 "0, such as 192.0.2.1, 10.0.0.0/8 or fd00::/8, or unix",
                 text);
    return false;
}

bool net_range_has(const struct net_range *range, const struct net_address *address)
{
    const uint8_t *host = NULL;
    sa_family_t family = address->sa.any.sa_family;
    if (family == AF_INET) {
        host = (const uint8_t *)&address->sa.v4.sin_addr;
    } else if (family == AF_INET6) {
        host = address->sa.v6.sin6_addr.s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&address->sa.v6.sin6_addr)) {
            family = AF_INET;
            host += 12;
        }
    }
    if (family != range->family)
        return false;
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (!host || (memcmp(host, range->first, whole) == 0 && rest == 0))
        return true;
    uint8_t mask = (uint8_t) ~(0xff >> rest);
    return memcmp(host, range->first, whole) == 0 && (host[whole] & mask) == range->first[whole];
}
