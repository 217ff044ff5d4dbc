/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_H
#define PG_TLS_H

#include "transport.h"

/* TLS 1.2 and 1.3 (RFC 5246, RFC 8446) over TCP. Additional keys of its listener blocks: those of
 * ../net/net.h, and certificates, verification and limits (see the rows in tls_context.c). */
extern const struct pg_transport tls_transport;

#endif
