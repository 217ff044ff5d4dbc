/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ADDRESS_H
#define PG_ADDRESS_H

/* Addresses of peers as keys: what limits and bans count by. What plugins see of it is in
 * polygate.h. Any thread; no state. */

#include "polygate.h"

#define PG_ADDRESS_BITS 128u
#define PG_ADDRESS_TEXT 64u /* room for a range as text */

/* As it is written; at most PG_ADDRESS_TEXT bytes with the NUL. */
void pg_range_text(const struct pg_range *range, char out[PG_ADDRESS_TEXT]);
/* The range of so many bits in which the address is. */
struct pg_range pg_range_of(const struct pg_address *address, unsigned bits);

/* What counts as one peer: an IPv4 address, or a /64 of IPv6, since that is what a subscriber is
 * given (RFC 6177). */
struct pg_range pg_address_peer(const struct pg_address *address);

#endif
