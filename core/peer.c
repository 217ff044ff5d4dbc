/* SPDX-License-Identifier: Apache-2.0 */

/* Peers; see peer.h. "192.0.2.1:40112" is kept as a number: the address in the upper 32 bits, the
 * port in the next 16, and the lowest bit, which no pointer has. Anything else is kept as it is, in
 * memory of its own. The thread is that of the owner. */

#include "peer.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"

struct known {
    char *identity; /* NULL: none */
    struct pg_meter *meter;
    char text[];
};

static struct known *known_of(const struct pg_peer *peer)
{
    return (peer->bits & 1) != 0 ? NULL : (struct known *)(uintptr_t)peer->bits;
}

/* ---- IPv4 ------------------------------------------------------------------------------------ */

static void ipv4_text(uint64_t bits, char out[PG_IPV4_TEXT])
{
    const uint8_t address[4] = {(uint8_t)(bits >> 56), (uint8_t)(bits >> 48), (uint8_t)(bits >> 40),
                                (uint8_t)(bits >> 32)};
    pg_ipv4_text(address, (uint16_t)(bits >> 16), out);
}

/* A decimal number up to `most` at *at, which moves behind it. false: there is none. */
static bool number(const char **at, unsigned most, unsigned *out)
{
    *out = 0;
    if (**at < '0' || **at > '9')
        return false;
    while (**at >= '0' && **at <= '9' && *out <= most)
        *out = *out * 10 + (unsigned)(*(*at)++ - '0');
    return *out <= most;
}

/* Read what ipv4_text() writes, and nothing else. */
static bool ipv4_read(const char *text, uint64_t *bits)
{
    const char *at = text;
    char again[PG_IPV4_TEXT];
    unsigned n;

    *bits = 1;
    for (unsigned i = 0; i < 4; i++) {
        if (!number(&at, 255, &n) || *at++ != (i < 3 ? '.' : ':'))
            return false;
        *bits |= (uint64_t)n << (56 - 8 * i);
    }
    if (!number(&at, 65535, &n) || *at != '\0')
        return false;
    *bits |= (uint64_t)n << 16;
    ipv4_text(*bits, again);
    return strcmp(again, text) == 0; /* no leading zeros */
}

/* ---- peers ----------------------------------------------------------------------------------- */

static bool make_known(struct pg_peer *peer, const char *text)
{
    size_t size = strlen(text) + 1;
    struct known *known = malloc(sizeof(*known) + size);
    if (!known)
        return false;
    known->identity = NULL;
    known->meter = NULL;
    memcpy(known->text, text, size);
    peer->bits = (uintptr_t)known;
    return true;
}

bool pg_peer_set(struct pg_peer *peer, const char *text)
{
    return ipv4_read(text, &peer->bits) || make_known(peer, text);
}

void pg_peer_clear(struct pg_peer *peer)
{
    struct known *known = known_of(peer);
    if (known)
        free(known->identity);
    free(known);
    peer->bits = 0;
}

const char *pg_peer_text(const struct pg_peer *peer)
{
    static _Thread_local char texts[PG_PEERS_LENT][PG_IPV4_TEXT];
    static _Thread_local unsigned last;
    const struct known *known = known_of(peer);
    if (known)
        return known->text;
    char *text = texts[last++ % PG_PEERS_LENT];
    ipv4_text(peer->bits, text);
    return text;
}

bool pg_peer_identify(struct pg_peer *peer, struct pg_bytes identity)
{
    char *copy = strndup((const char *)identity.data, identity.len);
    if (!copy || (!known_of(peer) && !make_known(peer, pg_peer_text(peer)))) {
        free(copy);
        return false;
    }
    free(known_of(peer)->identity);
    known_of(peer)->identity = copy;
    return true;
}

struct pg_bytes pg_peer_identity(const struct pg_peer *peer)
{
    const struct known *known = known_of(peer);
    return known && known->identity ? pg_bytes_str(known->identity) : PG_BYTES_NONE;
}

bool pg_peer_attach(struct pg_peer *peer, struct pg_meter *meter)
{
    if (!known_of(peer) && !make_known(peer, pg_peer_text(peer)))
        return false;
    known_of(peer)->meter = meter;
    return true;
}

struct pg_meter *pg_peer_meter_kept(const struct pg_peer *peer)
{
    const struct known *known = known_of(peer);
    return known ? known->meter : NULL;
}
