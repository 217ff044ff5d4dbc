/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SLAB_H
#define PG_SLAB_H

/* Objects of one size, cut from pages: no header per object, and objects that are used together lie
 * together. For what exists once per connection, session or queue chunk.
 *
 * One owner thread (or one lock) per slab. A freed object is poisoned under AddressSanitizer. Pages
 * that become empty are given back to the allocator, except for a few that are kept against a
 * load that swings around a page's edge. */

#include <stddef.h>

#include "polygate.h"

#define PG_SLAB_PAGE_BYTES 32768u
#define PG_SLAB_OBJECT_MAX 4096u

struct pg_slab_page;

/* Fields are the slab's own. */
struct pg_slab {
    /* Pages with room: the one to take from is first, empty ones last. */
    struct pg_slab_page *roomy;
    struct pg_slab_page *roomy_last;
    struct pg_slab_page *full;
    size_t object_bytes;
    size_t keep;    /* empty pages that are not given back */
    size_t empty;   /* pages without objects now */
    size_t objects; /* objects in use */
    size_t pages;
};

struct pg_slab_stats {
    size_t objects; /* in use */
    size_t pages;
    size_t bytes; /* memory held */
};

/* `object_bytes`: 1 to PG_SLAB_OBJECT_MAX, rounded up to a multiple of 8; objects are aligned to 8,
 * and to 16 when the size is a multiple of 16. `keep_pages`: empty pages to keep. Allocates
 * nothing. */
void pg_slab_init(struct pg_slab *slab, size_t object_bytes, size_t keep_pages);
/* Give back every page; whatever objects are left go with them. */
void pg_slab_fini(struct pg_slab *slab);

/* A zeroed object; NULL when memory is out. */
void *pg_slab_new(struct pg_slab *slab) PG_CHECKED;
/* `object` must come from this slab; NULL is allowed. */
void pg_slab_free(struct pg_slab *slab, void *object);

/* Slabs for objects of many sizes: one for each multiple of 8 bytes, and malloc() above. For things
 * that exist in large numbers and end in a text. Its owner is one thread. */
#define PG_SLAB_SET_STEP    8u
#define PG_SLAB_SET_CLASSES 64u

struct pg_slab_set {
    struct pg_slab classes[PG_SLAB_SET_CLASSES];
};

void pg_slab_set_init(struct pg_slab_set *set);
/* Give back every page. */
void pg_slab_set_fini(struct pg_slab_set *set);
/* A zeroed object of `bytes` > 0; NULL when memory is out. */
void *pg_slab_set_new(struct pg_slab_set *set, size_t bytes) PG_CHECKED;
/* `bytes` as it was asked for; `object` NULL is allowed. */
void pg_slab_set_free(struct pg_slab_set *set, void *object, size_t bytes);

void pg_slab_count(const struct pg_slab *slab, struct pg_slab_stats *out);

#endif
