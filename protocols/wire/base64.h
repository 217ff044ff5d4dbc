/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_BASE64_H
#define WIRE_BASE64_H

/* Standard base64 with padding (RFC 4648, 4).
 *
 * threads   any
 */

#include "polygate.h"

/* Letters of n bytes. */
static inline size_t wire_base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

/* Write wire_base64_len(bytes.len) letters to `to`, without an end mark. */
void wire_base64_encode(struct pg_bytes bytes, char *to);

/* The bytes into `to`, which has room for 3 for each 4 letters. false: not base64. */
bool wire_base64_decode(const char *text, size_t len, uint8_t *to, size_t *bytes);

#endif
