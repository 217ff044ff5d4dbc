/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ADDRESS_H
#define PG_ADDRESS_H

/* Addresses of peers as keys: what limits and bans count by. An IPv4 address is the IPv6 address
 * that stands for it (RFC 4291, 2.5.5.2). Any thread; no state. */

#include "polygate.h"

#define PG_ADDRESS_BITS 128u
#define PG_ADDRESS_TEXT 64u /* room for a range as text */

struct pg_address {
    uint8_t bytes[16];
};

/* An address and all others that begin with the same `bits` bits. */
struct pg_range {
    struct pg_address address; /* the other bits are 0 */
    uint8_t bits;              /* 0 to PG_ADDRESS_BITS */
};

/* "127.0.0.1:40112", of an address in the network's order. It is written several times for each
 * connection, and printf() would be a third of all instructions that one costs. */
#define PG_IPV4_TEXT 22u
void pg_ipv4_text(const uint8_t address[4], uint16_t port, char out[PG_IPV4_TEXT]);
/* The address of a peer's text ("127.0.0.1:40112", "[::1]:40112"). false: it has none, as a peer
 * that connects through the file system. */
bool pg_address_of_peer(const char *peer, struct pg_address *out) PG_CHECKED;
/* "10.1.2.3", "10.0.0.0/8", "2001:db8::/32". false: it is none of these, or bits behind the prefix
 * are set. */
bool pg_range_parse(struct pg_bytes text, struct pg_range *out) PG_CHECKED;
/* As it is written; at most PG_ADDRESS_TEXT bytes with the NUL. */
void pg_range_text(const struct pg_range *range, char out[PG_ADDRESS_TEXT]);
/* The range of so many bits in which the address is. */
struct pg_range pg_range_of(const struct pg_address *address, unsigned bits);
bool pg_range_has(const struct pg_range *range, const struct pg_address *address);

/* What counts as one peer: an IPv4 address, or a /64 of IPv6, since that is what a subscriber is
 * given (RFC 6177). */
struct pg_range pg_address_peer(const struct pg_address *address);

#endif
