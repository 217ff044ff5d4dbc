/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_H
#define PG_WS_H

#include "transport.h"

/* WebSocket (RFC 6455) over TCP. Additional keys of its listener blocks: those of ../net/net.h,
 * `paths` and `origins` (see the rows in ws.c). */
extern const struct pg_transport ws_transport;

#endif
