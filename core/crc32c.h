/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CRC32C_H
#define PG_CRC32C_H

#include "polygate.h"

/* CRC-32C (Castagnoli, RFC 3720, appendix B.4) of `bytes` (lent) behind what `crc` is the sum of;
 * begin with 0. By the processor's instruction where it has one. Any thread. */
uint32_t pg_crc32c(uint32_t crc, struct pg_bytes bytes);
/* The same by tables alone, for processors without it. Any thread. */
uint32_t pg_crc32c_by_table(uint32_t crc, struct pg_bytes bytes);

#endif
