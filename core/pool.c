/* SPDX-License-Identifier: Apache-2.0 */

/* A pool: a list of blocks, freed at once. Small requests are cut from the newest block, large
 * ones get a block of their own. */

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

#define BLOCK_SIZE 4096u

struct block {
    struct block *next;
    size_t used, room;
    alignas(max_align_t) uint8_t bytes[];
};

struct pg_conf_pool {
    struct block *blocks;
};

struct pg_conf_pool *pg_conf_pool_new(void)
{
    return calloc(1, sizeof(struct pg_conf_pool));
}

void *pg_conf_pool_alloc(struct pg_conf_pool *pool, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2)
        return NULL;
    size = size == 0 ? align : (size + align - 1) / align * align;

    struct block *b = pool->blocks;
    if (!b || b->room - b->used < size) {
        size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        struct block *fresh = calloc(1, sizeof(*fresh) + room);
        if (!fresh)
            return NULL;
        fresh->room = room;
        fresh->next = b;
        pool->blocks = b = fresh;
    }
    void *p = b->bytes + b->used;
    b->used += size;
    return p;
}

char *pg_conf_pool_text(struct pg_conf_pool *pool, const char *data, size_t len)
{
    char *copy = pg_conf_pool_alloc(pool, len + 1);
    if (copy && len > 0)
        memcpy(copy, data, len);
    return copy;
}

void *pg_conf_pool_grow(struct pg_conf_pool *pool, const void *old, size_t count, size_t size)
{
    void *fresh = pg_conf_pool_alloc(pool, (count + 1) * size);
    if (fresh && count > 0)
        memcpy(fresh, old, count * size);
    return fresh;
}

void pg_conf_pool_free(struct pg_conf_pool **pool)
{
    if (!*pool)
        return;
    for (struct block *b = (*pool)->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(*pool);
    *pool = NULL;
}
