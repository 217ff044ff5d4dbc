/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_ADDRESS_H
#define PG_NET_ADDRESS_H

/* Socket addresses as text and back. No name is ever looked up: a resolver blocks, and what a
 * name means can change between two starts. */

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "polygate.h"

struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } sa;
    socklen_t len;
};

/* Room for the longest text of net_address_text(), NUL included. */
#define NET_ADDRESS_TEXT 120u

/* Most addresses that one `bind` value stands for. */
#define NET_ADDRESS_MAX 2u

/* Read a `bind` value into `out`: "127.0.0.1:1883", "[::1]:1883", "[fe80::1%eth0]:1883"; "*:1883"
 * and ":1883" stand for every address of both families (IPv4 first); "unix:/path" is a socket in the
 * file system. Returns how many addresses it is, or 0 with error->text (what was found, what was
 * expected). Any thread. */
size_t net_address_parse(const char *text, struct net_address out[NET_ADDRESS_MAX],
                         struct pg_error *error);
/* "127.0.0.1:40112", "[::1]:40112", "unix:/path"; an IPv4 address mapped into IPv6 is shown as IPv4.
 * "unix" for a Unix-domain socket without a name, "unknown" for other families. Any thread. */
void net_address_text(const struct net_address *address, char out[NET_ADDRESS_TEXT]);

/* In host byte order; 0 for what has no ports. */
uint16_t net_address_port(const struct net_address *address);
void net_address_set_port(struct net_address *address, uint16_t port);

/* Addresses whose first `bits` bits are those of `first`; of the family AF_UNIX: every peer that
 * comes through a Unix-domain socket. */
struct net_range {
    sa_family_t family;
    uint8_t bits;
    uint8_t first[16];
};
/* Read "10.0.0.0/8", "fd00::/8", "192.0.2.1", "unix". false with error->text (what was found, what
 * was expected). Any thread. */
bool net_range_parse(const char *text, struct net_range *out, struct pg_error *error);
/* An IPv4 address mapped into IPv6 is looked for as IPv4. Any thread. */
bool net_range_has(const struct net_range *range, const struct net_address *address);

#endif
