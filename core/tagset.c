/* SPDX-License-Identifier: Apache-2.0 */

/* A set of tagged pointers for readers without locks (tagset.h).
 *
 * Linear probing in tables of any number of lines. A table is made anew, and the old one retired,
 * when more of its slots are used (removed ones counted) than the owner wants, when it has become
 * mostly empty, and never otherwise. Growth is by half, which keeps the used slots above two thirds
 * of the most; as a shard holds a 256th of the items, making one anew is short.
 *
 * Invariant: every table has an empty slot, so that probes end. Writers are serialised by the
 * owner. */

#include "tagset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN PG_TAGSET_LINE

void pg_tagset_init(struct pg_tagset *set, enum pg_tagset_percent percent,
                    uint64_t (*hash_of)(const void *item, unsigned marks),
                    void (*retire)(void *arg, struct pg_tagset_table *table), void *retire_arg)
{
    memset(set, 0, sizeof(*set));
    set->percent = percent;
    set->hash_of = hash_of;
    set->retire = retire;
    set->retire_arg = retire_arg;
}

void pg_tagset_retire_now(void *arg, struct pg_tagset_table *table)
{
    (void)arg;
    free(table);
}

size_t pg_tagset_table_bytes(const struct pg_tagset_table *table)
{
    return sizeof(*table) + table->slots * sizeof(table->slot[0]);
}

static struct pg_tagset_table *current(const struct pg_tagset *set, unsigned shard)
{
    return atomic_load_explicit(&set->shards[shard], memory_order_relaxed);
}

void pg_tagset_fini(struct pg_tagset *set)
{
    for (unsigned i = 0; i < PG_TAGSET_SHARDS; i++)
        free(current(set, i));
    memset(set, 0, sizeof(*set));
}

static uint64_t tagged(uint64_t hash, const void *item)
{
    uint64_t pointer = (uint64_t)(uintptr_t)item;

    /* Promised by every Linux that does not ask for addresses above 47 bits. */
    assert((pointer & ~PG_TAGSET_POINTER_MASK) == 0 && pointer % 8 == 0);
    return (uint64_t)pg_tagset_tag(hash) << 48 | pointer;
}

static const void *item_of(const struct pg_tagset_table *table, uint32_t at)
{
    uint64_t slot = atomic_load_explicit(&table->slot[at], memory_order_relaxed);

    return (const void *)(uintptr_t)(slot & PG_TAGSET_POINTER_MASK);
}

/* Into a table that has room for it. */
static void place(struct pg_tagset_table *table, uint64_t hash, const void *item, unsigned marks)
{
    uint32_t at = pg_tagset_start(hash, table->slots);
    uint64_t slot;

    while ((slot = atomic_load_explicit(&table->slot[at], memory_order_relaxed)) !=
           PG_TAGSET_EMPTY) {
        if (slot == PG_TAGSET_REMOVED) {
            table->dead--;
            break;
        }
        at = at + 1 == table->slots ? 0 : at + 1;
    }
    table->live++;
    atomic_store_explicit(&table->slot[at], tagged(hash, item) | marks, memory_order_release);
}

static struct pg_tagset_table *table_new(uint32_t slots)
{
    size_t bytes = sizeof(struct pg_tagset_table) + slots * sizeof(uint64_t);
    struct pg_tagset_table *table = aligned_alloc(_Alignof(struct pg_tagset_table), bytes);

    if (table == NULL)
        return NULL;
    memset(table, 0, bytes);
    table->slots = slots;
    return table;
}

/* Make a shard's table anew with `slots` slots (0: none) and publish it. */
static bool rebuild(struct pg_tagset *set, unsigned shard, uint32_t slots)
{
    struct pg_tagset_table *old = current(set, shard);
    struct pg_tagset_table *fresh = NULL;

    if (slots > 0) {
        fresh = table_new(slots);
        if (fresh == NULL)
            return false;
        set->bytes += pg_tagset_table_bytes(fresh);
    }
    for (uint32_t i = 0; old != NULL && i < old->slots; i++) {
        uint64_t slot = atomic_load_explicit(&old->slot[i], memory_order_relaxed);

        if (i + PG_TAGSET_LINE < old->slots) /* its hash will be asked for */
            __builtin_prefetch(item_of(old, i + PG_TAGSET_LINE));
        if (slot != PG_TAGSET_EMPTY && slot != PG_TAGSET_REMOVED) {
            unsigned marks = slot & PG_TAGSET_MARKS;

            place(fresh, set->hash_of(item_of(old, i), marks), item_of(old, i), marks);
        }
    }
    atomic_store_explicit(&set->shards[shard], fresh, memory_order_release);
    if (old != NULL) {
        set->bytes -= pg_tagset_table_bytes(old);
        set->retire(set->retire_arg, old);
    }
    return true;
}

static uint32_t whole_lines(uint32_t slots)
{
    return (slots + PG_TAGSET_LINE - 1) / PG_TAGSET_LINE * PG_TAGSET_LINE;
}

/* Slots that may be used, removed ones counted. */
static uint32_t most_used(const struct pg_tagset *set, uint32_t slots)
{
    return (uint32_t)((uint64_t)slots * set->percent / 100);
}

bool pg_tagset_add(struct pg_tagset *set, uint64_t hash, void *item, unsigned marks)
{
    unsigned shard = pg_tagset_shard(hash);
    struct pg_tagset_table *table = current(set, shard);

    if (table == NULL) {
        if (!rebuild(set, shard, SLOTS_MIN))
            return false;
    } else if (table->live + table->dead + 1 > most_used(set, table->slots)) {
        uint32_t slots = table->slots;

        /* When it is removed ones that fill it, the same size will do. */
        if (table->live + 1 > most_used(set, slots) / 8 * 5)
            slots = whole_lines(slots + slots / 2);
        /* Without memory for a new table the old one serves until one empty slot is left. */
        if (!rebuild(set, shard, slots) && table->live + table->dead + 2 > table->slots)
            return false;
    }
    place(current(set, shard), hash, item, marks);
    set->count++;
    return true;
}

/* The slot of an item that is in the table. */
static _Atomic uint64_t *slot_of(struct pg_tagset_table *table, uint64_t hash, const void *item)
{
    uint64_t wanted = tagged(hash, item);
    uint32_t at = pg_tagset_start(hash, table->slots);

    while ((atomic_load_explicit(&table->slot[at], memory_order_relaxed) & ~PG_TAGSET_MARKS) !=
           wanted)
        at = at + 1 == table->slots ? 0 : at + 1;
    return &table->slot[at];
}

void pg_tagset_change(struct pg_tagset *set, uint64_t hash, const void *item, void *fresh,
                      unsigned marks)
{
    struct pg_tagset_table *table = current(set, pg_tagset_shard(hash));

    atomic_store_explicit(slot_of(table, hash, item), tagged(hash, fresh) | marks,
                          memory_order_release);
}

void pg_tagset_remove(struct pg_tagset *set, uint64_t hash, const void *item)
{
    unsigned shard = pg_tagset_shard(hash);
    struct pg_tagset_table *table = current(set, shard);

    atomic_store_explicit(slot_of(table, hash, item), PG_TAGSET_REMOVED, memory_order_release);
    table->live--;
    table->dead++;
    set->count--;

    /* Give memory back; when there is none for the smaller table, the large one goes on serving. */
    if (table->live == 0)
        (void)rebuild(set, shard, 0);
    else if (table->slots > 4 * SLOTS_MIN && table->live < table->slots / 8)
        (void)rebuild(set, shard, whole_lines(table->live * 2));
}
