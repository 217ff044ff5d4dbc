/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_HASH_H
#define PG_HASH_H

#include "polygate.h"

/* A keyed 64-bit hash (SipHash-1-3) for tables whose keys come from peers: the key is drawn at
 * random once per process, so that nobody outside can aim at one bucket. Any thread. */
uint64_t pg_hash(struct pg_bytes bytes);

#endif
