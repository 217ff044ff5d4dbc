/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TAGSET_H
#define PG_TAGSET_H

/* A set of pointers found by a hash: open addressing, 8 bytes a slot, readers without locks. A search
 * begins at the first slot of one of the processor's cache lines: so it rarely sees a second.
 *
 * A slot holds a pointer in its low 48 bits and 16 bits of the hash above, so that a probe looks at
 * an item only when it is very likely the right one. The low three bits of the pointer, which are
 * not needed for the address, are marks of the owner's: what a reader can know of an item without
 * touching it. The set is cut into shards that grow one by one, so that no insertion moves more than
 * a few thousand items even when there are millions.
 *
 * One writer at a time (the owner's lock). Readers may run beside it: slots are replaced by single
 * stores, items never move within a table, and a shard's new table is published whole; the old one
 * is handed to `retire`, which frees it when no reader can be in it. An owner without such readers
 * uses pg_tagset_retire_now(). */

#include <stdatomic.h>
#include <stdint.h>

#include "polygate.h"

#define PG_TAGSET_SHARDS 256u
/* Slots of a cache line. */
#define PG_TAGSET_LINE 8u

struct pg_tagset_table {
    struct pg_tagset_table *next; /* free for the owner's use once retired */
    uint32_t slots;               /* a multiple of PG_TAGSET_LINE */
    uint32_t live;
    uint32_t dead; /* slots whose item was removed; probes pass over them */
    _Alignas(PG_TAGSET_LINE * sizeof(uint64_t)) _Atomic uint64_t slot[];
};

/* How full tables get: what costs memory saves time where items have one place in common. */
enum pg_tagset_percent {
    PG_TAGSET_TIGHT = 80,
    PG_TAGSET_ROOMY = 60,
};

struct pg_tagset {
    _Atomic(struct pg_tagset_table *) shards[PG_TAGSET_SHARDS];
    uint64_t (*hash_of)(const void *item, unsigned marks);
    void (*retire)(void *arg, struct pg_tagset_table *table);
    void *retire_arg;
    enum pg_tagset_percent percent;
    size_t count;
    size_t bytes; /* of the tables, without retired ones */
};

#define PG_TAGSET_EMPTY        ((uint64_t)0)
#define PG_TAGSET_REMOVED      ((uint64_t)1)            /* no item has the address 0 */
#define PG_TAGSET_MARKS        ((uint64_t)7)            /* items are aligned to 8 */
#define PG_TAGSET_TAG_MASK     (UINT64_C(0xffff) << 48) /* of a hash: what of it is in a slot */
#define PG_TAGSET_POINTER_MASK (((UINT64_C(1) << 48) - 1) & ~PG_TAGSET_MARKS)

/* `hash_of` gives the hash of an item that is in the set, when a table is made anew. */
void pg_tagset_init(struct pg_tagset *set, enum pg_tagset_percent percent,
                    uint64_t (*hash_of)(const void *item, unsigned marks),
                    void (*retire)(void *arg, struct pg_tagset_table *table), void *retire_arg);
/* Frees the tables at once: no reader is left. Items are the caller's. */
void pg_tagset_fini(struct pg_tagset *set);
void pg_tagset_retire_now(void *arg, struct pg_tagset_table *table);
size_t pg_tagset_table_bytes(const struct pg_tagset_table *table);

/* Put in an item that is not in the set yet, with marks of PG_TAGSET_MARKS. false, and nothing
 * changed: memory is out. */
bool pg_tagset_add(struct pg_tagset *set, uint64_t hash, void *item, unsigned marks) PG_CHECKED;
/* Put `fresh`, of the same hash, with `marks` into the place of an item that is in the set; they may
 * be the same item. Readers find one or the other. Does not fail. */
void pg_tagset_change(struct pg_tagset *set, uint64_t hash, const void *item, void *fresh,
                      unsigned marks);
/* Take out an item that is in the set. Does not fail. */
void pg_tagset_remove(struct pg_tagset *set, uint64_t hash, const void *item);

/* The hash of the edge from `parent`, which is the parent's address or its own hash, to the child
 * whose level has the (keyed) hash `level_hash`. */
static inline uint64_t pg_tagset_edge_hash(uint64_t parent, uint64_t level_hash)
{
    uint64_t x = level_hash ^ (parent * UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ (x >> 29)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 32);
}

/* Candidates for a hash, one after the other; the caller compares keys:
 *     for (item = pg_tagset_first(set, hash, &probe); item != NULL; item = pg_tagset_next(&probe))
 * with the marks of each in probe.marks. */
struct pg_tagset_probe {
    const struct pg_tagset_table *table;
    uint32_t at;
    uint16_t wanted; /* tag */
    uint16_t tag;    /* of the item that was given last */
    uint16_t marks;  /* likewise */
};

static inline uint16_t pg_tagset_tag(uint64_t hash)
{
    return (uint16_t)(hash >> 48);
}

static inline unsigned pg_tagset_shard(uint64_t hash)
{
    return (unsigned)(hash >> 40) % PG_TAGSET_SHARDS;
}

/* The low half of the hash as a fraction of the table, which may have any number of lines. */
static inline uint32_t pg_tagset_start(uint64_t hash, uint32_t slots)
{
    return (uint32_t)(((hash & UINT32_MAX) * (slots / PG_TAGSET_LINE)) >> 32) * PG_TAGSET_LINE;
}

/* The next item whatever its tag: the tag is in probe->tag. */
static inline void *pg_tagset_any_next(struct pg_tagset_probe *probe)
{
    const struct pg_tagset_table *table = probe->table;

    for (;;) {
        uint64_t slot = atomic_load_explicit(&table->slot[probe->at], memory_order_acquire);

        if (slot == PG_TAGSET_EMPTY)
            return NULL; /* there is always an empty slot: see add */
        probe->at = probe->at + 1 == table->slots ? 0 : probe->at + 1;
        probe->tag = pg_tagset_tag(slot);
        probe->marks = slot & PG_TAGSET_MARKS;
        if (slot != PG_TAGSET_REMOVED)
            return (void *)(uintptr_t)(slot & PG_TAGSET_POINTER_MASK);
    }
}

static inline void *pg_tagset_next(struct pg_tagset_probe *probe)
{
    void *item = pg_tagset_any_next(probe);

    while (item != NULL && probe->tag != probe->wanted)
        item = pg_tagset_any_next(probe);
    return item;
}

/* false: there is nothing to look at. */
static inline bool pg_tagset_begin(const struct pg_tagset *set, uint64_t hash,
                                   struct pg_tagset_probe *probe)
{
    probe->table = atomic_load_explicit(&set->shards[pg_tagset_shard(hash)], memory_order_acquire);
    if (probe->table == NULL)
        return false;
    probe->at = pg_tagset_start(hash, probe->table->slots);
    probe->wanted = pg_tagset_tag(hash);
    return true;
}

static inline void *pg_tagset_first(const struct pg_tagset *set, uint64_t hash,
                                    struct pg_tagset_probe *probe)
{
    return pg_tagset_begin(set, hash, probe) ? pg_tagset_next(probe) : NULL;
}

/* Items of any tag that a probe for this hash comes by. Of items whose hashes differ in nothing but
 * PG_TAGSET_TAG_MASK, each is among them. */
static inline void *pg_tagset_any_first(const struct pg_tagset *set, uint64_t hash,
                                        struct pg_tagset_probe *probe)
{
    return pg_tagset_begin(set, hash, probe) ? pg_tagset_any_next(probe) : NULL;
}

/* Ask the cache for the slot that a later pg_tagset_first() will look at. */
static inline void pg_tagset_prefetch(const struct pg_tagset *set, uint64_t hash)
{
    const struct pg_tagset_table *table =
        atomic_load_explicit(&set->shards[pg_tagset_shard(hash)], memory_order_acquire);

    if (table != NULL)
        __builtin_prefetch((const void *)&table->slot[pg_tagset_start(hash, table->slots)]);
}

#endif
