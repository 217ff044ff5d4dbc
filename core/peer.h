/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_PEER_H
#define PG_PEER_H

/* The text of an IPv4 address and port in six bytes: most peers have one, and a text of its own for
 * each would be a tenth of what a silent connection costs. */

#include <stdbool.h>
#include <stdint.h>

struct pg_peer_ipv4 {
    uint8_t address[4];
    uint16_t port;
};

/* Room for the text, NUL included. */
#define PG_PEER_IPV4_TEXT 22u

/* Read "192.0.2.1:40112". false if it is not exactly what pg_peer_ipv4_text() would write. */
bool pg_peer_ipv4_read(const char *text, struct pg_peer_ipv4 *out);
void pg_peer_ipv4_text(const struct pg_peer_ipv4 *peer, char out[PG_PEER_IPV4_TEXT]);

#endif
