/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_PEER_H
#define PG_PEER_H

/* Who is at the other end of a connection: the text of its address, and the identity that it has
 * proven. Most peers have an IPv4 address and no identity: they take no more than this struct. */

#include "polygate.h"

/* An address and a port with the lowest bit set, or the address of a struct that holds more. All
 * zero is no peer. */
struct pg_peer {
    uint64_t bits;
};

/* `text` is copied. false: out of memory. */
bool pg_peer_set(struct pg_peer *peer, const char *text) PG_CHECKED;
void pg_peer_clear(struct pg_peer *peer);
/* Lent as pg_conn_peer() is. */
const char *pg_peer_text(const struct pg_peer *peer);
/* `identity` is copied and replaces an earlier one. false: out of memory. */
bool pg_peer_identify(struct pg_peer *peer, struct pg_bytes identity) PG_CHECKED;
/* data == NULL: none. Lent until the next pg_peer_identify() or pg_peer_clear(). */
struct pg_bytes pg_peer_identity(const struct pg_peer *peer);

/* Keep what is counted of the peer by the limits of its listener. false: out of memory. Once; the
 * peer does not own it. */
struct pg_meter;
bool pg_peer_attach(struct pg_peer *peer, struct pg_meter *meter) PG_CHECKED;
struct pg_meter *pg_peer_meter_kept(const struct pg_peer *peer);
/* NULL: nothing is counted, as of most. */
static inline struct pg_meter *pg_peer_meter(const struct pg_peer *peer)
{
    return (peer->bits & 1) != 0 ? NULL : pg_peer_meter_kept(peer);
}

#endif
