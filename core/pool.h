/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_POOL_H
#define PG_POOL_H

/* Memory of things that die together: everything of one configuration. One thread at a time. */

#include "polygate.h"

struct pg_conf_pool;

/* NULL when memory is out. */
struct pg_conf_pool *pg_conf_pool_new(void);
/* Zeroed memory that lives as long as the pool, aligned for any type; NULL when memory is out. */
void *pg_conf_pool_alloc(struct pg_conf_pool *pool, size_t size) PG_CHECKED;
/* A copy as a C string; the same lifetime. */
char *pg_conf_pool_text(struct pg_conf_pool *pool, const char *data, size_t len) PG_CHECKED;
/* A new array of `count` + 1 items of `size` with a copy of `old` in front, for lists that grow by
 * one now and then; the old one stays until the pool goes. */
void *pg_conf_pool_grow(struct pg_conf_pool *pool, const void *old, size_t count,
                        size_t size) PG_CHECKED;
void pg_conf_pool_free(struct pg_conf_pool **pool);

#endif
