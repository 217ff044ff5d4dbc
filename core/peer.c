/* SPDX-License-Identifier: Apache-2.0 */

/* IPv4 addresses of peers as text and back; see peer.h. Any thread. */

#include "peer.h"

#include <stdio.h>
#include <string.h>

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

bool pg_peer_ipv4_read(const char *text, struct pg_peer_ipv4 *out)
{
    const char *at = text;
    unsigned n;
    for (int i = 0; i < 4; i++) {
        if (!number(&at, 255, &n) || *at++ != (i < 3 ? '.' : ':'))
            return false;
        out->address[i] = (uint8_t)n;
    }
    if (!number(&at, 65535, &n) || *at != '\0')
        return false;
    out->port = (uint16_t)n;
    char again[PG_PEER_IPV4_TEXT];
    pg_peer_ipv4_text(out, again);
    return strcmp(again, text) == 0; /* no leading zeros */
}

void pg_peer_ipv4_text(const struct pg_peer_ipv4 *peer, char out[PG_PEER_IPV4_TEXT])
{
    const uint8_t *a = peer->address;
    snprintf(out, PG_PEER_IPV4_TEXT, "%u.%u.%u.%u:%u", a[0], a[1], a[2], a[3], peer->port);
}
