/* SPDX-License-Identifier: Apache-2.0 */

/* Slabs: objects of one size, cut from aligned pages (slab.h).
 *
 * A page is PG_SLAB_PAGE_BYTES, aligned to its size, with a header at its start: so the page of an
 * object is found by masking its address. Objects that were never used are taken in order from the
 * untouched end of the page, freed ones are linked through their first word and come first. A page
 * is on one of two lists: `roomy`, or `full`. New objects come from the head of `roomy`; a page
 * that becomes empty goes to its end, so that it is used last and can be given back.
 *
 * Invariants: `empty` counts the pages with used == 0, all at the end of `roomy`; at most `keep` of
 * them stay. One owner thread. */

#include "slab.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "poison.h"

#define SLAB_MAGIC 0x51ab51abu

/* The allocator keeps a header of its own before an aligned block; leaving it room at the end of
 * the page lets the next page follow at once instead of one page later. */
#define PAGE_USABLE (PG_SLAB_PAGE_BYTES - 64u)

struct free_object {
    struct free_object *next;
};

struct pg_slab_page {
    uint32_t magic;
    uint32_t used;      /* objects in use */
    uint32_t untouched; /* index of the first object that was never used */
    uint32_t capacity;
    struct free_object *freed;
    struct pg_slab_page *next, *prev;
    struct pg_slab *slab;
    uint64_t pad[2]; /* to 64 bytes: objects keep an alignment of 16 */
};
_Static_assert(sizeof(struct pg_slab_page) == 64, "objects start at a multiple of 16");

static struct pg_slab_page *page_of(void *object)
{
    struct pg_slab_page *page =
        (struct pg_slab_page *)((uintptr_t)object & ~(uintptr_t)(PG_SLAB_PAGE_BYTES - 1));

    assert(page->magic == SLAB_MAGIC);
    return page;
}

static void *object_at(const struct pg_slab *slab, struct pg_slab_page *page, uint32_t index)
{
    return (uint8_t *)page + sizeof(*page) + (size_t)index * slab->object_bytes;
}

static void roomy_remove(struct pg_slab *slab, struct pg_slab_page *page)
{
    if (page->prev != NULL)
        page->prev->next = page->next;
    else
        slab->roomy = page->next;
    if (page->next != NULL)
        page->next->prev = page->prev;
    else
        slab->roomy_last = page->prev;
    page->next = page->prev = NULL;
}

static void roomy_add_first(struct pg_slab *slab, struct pg_slab_page *page)
{
    page->prev = NULL;
    page->next = slab->roomy;
    if (slab->roomy != NULL)
        slab->roomy->prev = page;
    else
        slab->roomy_last = page;
    slab->roomy = page;
}

static void roomy_add_last(struct pg_slab *slab, struct pg_slab_page *page)
{
    page->next = NULL;
    page->prev = slab->roomy_last;
    if (slab->roomy_last != NULL)
        slab->roomy_last->next = page;
    else
        slab->roomy = page;
    slab->roomy_last = page;
}

static void full_add(struct pg_slab *slab, struct pg_slab_page *page)
{
    page->prev = NULL;
    page->next = slab->full;
    if (slab->full != NULL)
        slab->full->prev = page;
    slab->full = page;
}

static void full_remove(struct pg_slab *slab, struct pg_slab_page *page)
{
    if (page->prev != NULL)
        page->prev->next = page->next;
    else
        slab->full = page->next;
    if (page->next != NULL)
        page->next->prev = page->prev;
    page->next = page->prev = NULL;
}

static struct pg_slab_page *page_new(struct pg_slab *slab)
{
    void *memory = NULL;
    struct pg_slab_page *page;

    if (posix_memalign(&memory, PG_SLAB_PAGE_BYTES, PAGE_USABLE) != 0)
        return NULL;
    page = memory;
    *page = (struct pg_slab_page){
        .magic = SLAB_MAGIC,
        .capacity = (uint32_t)((PAGE_USABLE - sizeof(*page)) / slab->object_bytes),
        .slab = slab,
    };
    PG_POISON((uint8_t *)page + sizeof(*page), PAGE_USABLE - sizeof(*page));
    slab->pages++;
    return page;
}

/* The page is on no list. */
static void page_free(struct pg_slab *slab, struct pg_slab_page *page)
{
    PG_UNPOISON((uint8_t *)page + sizeof(*page), PAGE_USABLE - sizeof(*page));
    page->magic = 0;
    slab->pages--;
    free(page);
}

void pg_slab_init(struct pg_slab *slab, size_t object_bytes, size_t keep_pages)
{
    assert(object_bytes > 0 && object_bytes <= PG_SLAB_OBJECT_MAX);
    *slab = (struct pg_slab){
        .object_bytes = (object_bytes + 7) & ~(size_t)7,
        .keep = keep_pages,
    };
}

void pg_slab_fini(struct pg_slab *slab)
{
    struct pg_slab_page *page;

    while ((page = slab->roomy) != NULL) {
        roomy_remove(slab, page);
        page_free(slab, page);
    }
    while ((page = slab->full) != NULL) {
        full_remove(slab, page);
        page_free(slab, page);
    }
    slab->objects = 0;
    slab->empty = 0;
}

void *pg_slab_new(struct pg_slab *slab)
{
    struct pg_slab_page *page = slab->roomy;
    void *object;

    if (page == NULL) {
        page = page_new(slab);
        if (page == NULL)
            return NULL;
        roomy_add_first(slab, page);
    } else if (page->used == 0) {
        slab->empty--;
    }

    if (page->freed != NULL) {
        object = page->freed;
        PG_UNPOISON(object, slab->object_bytes);
        page->freed = page->freed->next;
    } else {
        object = object_at(slab, page, page->untouched++);
        PG_UNPOISON(object, slab->object_bytes);
    }
    page->used++;
    slab->objects++;
    if (page->used == page->capacity) {
        roomy_remove(slab, page);
        full_add(slab, page);
    }
    return memset(object, 0, slab->object_bytes);
}

void pg_slab_free(struct pg_slab *slab, void *object)
{
    struct pg_slab_page *page;
    struct free_object *freed = object;
    bool was_full;

    if (object == NULL)
        return;
    page = page_of(object);
    assert(page->slab == slab && page->used > 0);

    was_full = page->used == page->capacity;
    freed->next = page->freed;
    page->freed = freed;
    PG_POISON(object, slab->object_bytes);
    page->used--;
    slab->objects--;

    if (was_full)
        full_remove(slab, page);
    else if (page->used == 0)
        roomy_remove(slab, page);
    else
        return;
    if (page->used > 0) {
        roomy_add_first(slab, page);
    } else if (slab->empty >= slab->keep) {
        page_free(slab, page);
    } else {
        slab->empty++;
        roomy_add_last(slab, page);
    }
}

void pg_slab_count(const struct pg_slab *slab, struct pg_slab_stats *out)
{
    *out = (struct pg_slab_stats){
        .objects = slab->objects,
        .pages = slab->pages,
        .bytes = slab->pages * PG_SLAB_PAGE_BYTES,
    };
}

/* ---- sets ------------------------------------------------------------------------------------ */

/* The slab for objects of that size; NULL: they are too large for any. */
static struct pg_slab *class_of(struct pg_slab_set *set, size_t bytes)
{
    size_t class = (bytes - 1) / PG_SLAB_SET_STEP;

    return class < PG_SLAB_SET_CLASSES ? &set->classes[class] : NULL;
}

void pg_slab_set_init(struct pg_slab_set *set)
{
    for (size_t i = 0; i < PG_SLAB_SET_CLASSES; i++)
        pg_slab_init(&set->classes[i], (i + 1) * PG_SLAB_SET_STEP, 1);
}

void pg_slab_set_fini(struct pg_slab_set *set)
{
    for (size_t i = 0; i < PG_SLAB_SET_CLASSES; i++)
        pg_slab_fini(&set->classes[i]);
}

void *pg_slab_set_new(struct pg_slab_set *set, size_t bytes)
{
    struct pg_slab *slab = class_of(set, bytes);

    return slab ? pg_slab_new(slab) : calloc(1, bytes);
}

void pg_slab_set_free(struct pg_slab_set *set, void *object, size_t bytes)
{
    struct pg_slab *slab = class_of(set, bytes);

    if (slab)
        pg_slab_free(slab, object);
    else
        free(object);
}
