/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_H
#define PG_WS_H

#include "transport.h"

/* WebSocket (RFC 6455) over TCP, and over TLS. Additional keys of their listener blocks: those of
 * ../net/net.h, for `wss` those of ../tls/tls_conf.h, and the rows in ws_conf.c. */
extern const struct pg_transport ws_transport;
extern const struct pg_transport wss_transport;

#endif
