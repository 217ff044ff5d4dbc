/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses of listeners and peers: text to sockaddr (RFC 3986, 3.2.2 for the brackets around
 * IPv6, RFC 4007, 11 for zones) and back. Pure functions; any thread. */

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "net_address.h"

#define EXPECTED                                                                                   \
    "expected ADDRESS:PORT, such as 127.0.0.1:1883, [::1]:1883, or *:1883 for every address"

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

size_t net_address_parse(const char *text, struct net_address out[NET_ADDRESS_MAX],
                         struct pg_error *error)
{
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
    unsigned port = net_address_port(address);
    if (address->sa.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->sa.v4.sin_addr, host, sizeof(host));
        snprintf(out, NET_ADDRESS_TEXT, "%s:%u", host, port);
    } else if (address->sa.any.sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = &address->sa.v6;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
            snprintf(out, NET_ADDRESS_TEXT, "%s:%u", host, port);
            return;
        }
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        if (v6->sin6_scope_id != 0)
            snprintf(out, NET_ADDRESS_TEXT, "[%s%%%u]:%u", host, v6->sin6_scope_id, port);
        else
            snprintf(out, NET_ADDRESS_TEXT, "[%s]:%u", host, port);
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
