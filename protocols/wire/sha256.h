/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SHA256_H
#define WIRE_SHA256_H

/* SHA-256 and HMAC-SHA-256 for frontends that must issue a proof and know it again.
 *
 * standard  FIPS 180-4, section 6.2; FIPS 198-1
 * threads   any; there is no shared state
 */

#include "polygate.h"

#define SHA256_BYTES 32u

void sha256(struct pg_bytes message, uint8_t digest[SHA256_BYTES]);
/* The message is the parts one after the other. */
void sha256_hmac(struct pg_bytes key, const struct pg_bytes *parts, size_t count,
                 uint8_t mac[SHA256_BYTES]);

#endif
