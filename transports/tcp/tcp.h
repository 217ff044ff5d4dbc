/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TCP_H
#define PG_TCP_H

#include "transport.h"

/* Plain TCP over IPv4 and IPv6. Additional keys of its listener blocks: `backlog`,
 * `tcp_keepalive`, `tcp_user_timeout` (see the rows in ../net/net.h). */
extern const struct pg_transport tcp_transport;

#endif
