/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_FACT_H
#define PG_FACT_H

/* Facts of frontends and plugins: pg_fact_set() and pg_fact_get() of the public header. Any
 * thread. */

#include "polygate.h"

struct pg_store;

/* Where facts are kept over a restart; NULL: nowhere. At start and at the very end. */
void pg_facts_use_store(struct pg_store *store);
/* One that the store had; given back at start. One that is not valid any more is left out. false:
 * out of memory. */
bool pg_fact_restore(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                     uint32_t expires_wall_s) PG_CHECKED;
/* At the very end. */
void pg_facts_free(void);

#endif
