/* SPDX-License-Identifier: Apache-2.0 */

/* The set of tagged pointers: through growth, shrinkage and churn it holds what was added and
 * nothing else, and every table keeps an empty slot, without which a probe would not end. */

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "tagset.h"

#define ITEMS 2000

struct item {
    uint64_t hash;
    unsigned marks;
    bool in;
};

static uint64_t seed = 17;

static uint64_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 32) | (seed * 2862933555777941757u & ~(uint64_t)UINT32_MAX);
}

static unsigned wrong_marks;

static uint64_t item_hash(const void *item, unsigned marks)
{
    wrong_marks += ((const struct item *)item)->marks != marks;
    return ((const struct item *)item)->hash;
}

/* By its hash, and by one with another tag; with its marks. */
static bool found(const struct pg_tagset *set, const struct item *item)
{
    struct pg_tagset_probe probe;
    unsigned times = 0, any_times = 0;

    for (void *one = pg_tagset_first(set, item->hash, &probe); one != NULL;
         one = pg_tagset_next(&probe))
        times += one == item && probe.marks == item->marks;
    for (void *one = pg_tagset_any_first(set, item->hash ^ PG_TAGSET_TAG_MASK, &probe); one != NULL;
         one = pg_tagset_any_next(&probe))
        any_times +=
            one == item && probe.marks == item->marks && probe.tag == pg_tagset_tag(item->hash);
    return times == 1 && any_times == 1;
}

/* Every table: as many items as it says, and an empty slot. */
static bool sound(const struct pg_tagset *set)
{
    size_t count = 0, bytes = 0;

    for (unsigned i = 0; i < PG_TAGSET_SHARDS; i++) {
        const struct pg_tagset_table *table = atomic_load(&set->shards[i]);
        uint32_t empty = 0, removed = 0;

        if (table == NULL)
            continue;
        for (uint32_t k = 0; k < table->slots; k++) {
            empty += atomic_load(&table->slot[k]) == PG_TAGSET_EMPTY;
            removed += atomic_load(&table->slot[k]) == PG_TAGSET_REMOVED;
        }
        if (empty == 0 || removed != table->dead || empty + removed + table->live != table->slots)
            return false;
        count += table->live;
        bytes += pg_tagset_table_bytes(table);
    }
    return count == set->count && bytes == set->bytes;
}

/* `mask` and `bits` shape the hashes: few shards, few starting slots, equal tags. */
static void churn(uint64_t mask, uint64_t bits)
{
    struct item *items = calloc(ITEMS, sizeof(*items));
    struct pg_tagset set;
    unsigned wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(items);
    pg_tagset_init(&set, PG_TAGSET_TIGHT, item_hash, pg_tagset_retire_now, NULL);
    for (unsigned i = 0; i < ITEMS; i++)
        items[i] = (struct item){(random_bits() & mask) | bits, i & PG_TAGSET_MARKS, false};
    for (unsigned step = 0; step < 60000; step++) {
        /* Filling and emptying in turn, to many sizes, and down to (almost) nothing. */
        unsigned phase = step / 400;
        unsigned range = phase % 8 < 2 ? ITEMS : 20 + phase % 20;
        struct item *item = &items[random_bits() % range];

        if (item->in && random_bits() % 8 == 0) {
            item->marks = random_bits() & PG_TAGSET_MARKS;
            pg_tagset_change(&set, item->hash, item, item, item->marks);
            wrong += !found(&set, item);
        }
        if (item->in != (phase % 2 == 1) && random_bits() % 50 != 0)
            continue;
        if (item->in) {
            pg_tagset_remove(&set, item->hash, item);
        } else if (!pg_tagset_add(&set, item->hash, item, item->marks)) {
            wrong++;
            break;
        }
        item->in = !item->in;
        wrong += found(&set, item) != item->in;
        if (!sound(&set)) {
            wrong++;
            break;
        }
    }
    for (unsigned i = 0; i < ITEMS; i++)
        wrong += found(&set, &items[i]) != items[i].in;
    for (unsigned i = 0; i < ITEMS; i++) {
        if (items[i].in)
            pg_tagset_remove(&set, items[i].hash, &items[i]);
    }
    CU_ASSERT_EQUAL(wrong + wrong_marks, 0);
    CU_ASSERT_EQUAL(set.count, 0);
    CU_ASSERT_EQUAL(set.bytes, 0);
    pg_tagset_fini(&set);
    free(items);
}

static void an_item_takes_the_place_of_another(void)
{
    struct item one = {.hash = 77}, other = {.hash = 77, .marks = 5};
    struct pg_tagset set;

    pg_tagset_init(&set, PG_TAGSET_TIGHT, item_hash, pg_tagset_retire_now, NULL);
    CU_ASSERT_FATAL(pg_tagset_add(&set, one.hash, &one, one.marks));
    pg_tagset_change(&set, one.hash, &one, &other, other.marks);
    CU_ASSERT_FALSE(found(&set, &one));
    CU_ASSERT_TRUE(found(&set, &other));
    CU_ASSERT_EQUAL(set.count, 1);
    CU_ASSERT_TRUE(sound(&set));
    pg_tagset_remove(&set, other.hash, &other);
    CU_ASSERT_EQUAL(set.bytes, 0);
    pg_tagset_fini(&set);
}

static void one_shard_holds_what_was_added(void)
{
    churn(~(UINT64_C(0xff) << 40), 0);
}

/* To `most` items in one shard, down to `least`, and up again. */
static bool up_down_up(struct item *items, unsigned most, unsigned least,
                       enum pg_tagset_percent percent)
{
    struct pg_tagset set;
    bool good = true;

    pg_tagset_init(&set, percent, item_hash, pg_tagset_retire_now, NULL);
    for (unsigned i = 0; good && i < most; i++)
        good = pg_tagset_add(&set, items[i].hash, &items[i], items[i].marks) && sound(&set);
    for (unsigned i = most; good && i-- > least;) {
        pg_tagset_remove(&set, items[i].hash, &items[i]);
        good = sound(&set);
    }
    for (unsigned i = least; good && i < most; i++)
        good = pg_tagset_add(&set, items[i].hash, &items[i], items[i].marks) && sound(&set);
    for (unsigned i = 0; good && i < most; i++)
        good = found(&set, &items[i]);
    pg_tagset_fini(&set);
    return good;
}

static void tables_of_every_size_keep_an_empty_slot(void)
{
    struct item *items = calloc(ITEMS, sizeof(*items));
    unsigned wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(items);
    for (unsigned i = 0; i < ITEMS; i++)
        items[i].hash = random_bits() & ~(UINT64_C(0xff) << 40);
    for (unsigned most = 1; most < 120; most++) {
        for (unsigned least = 0; least < 8 && least < most; least++) {
            wrong += !up_down_up(items, most, least, PG_TAGSET_TIGHT);
            wrong += !up_down_up(items, most, least, PG_TAGSET_ROOMY);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(items);
}

static void items_that_begin_at_few_slots_are_told_apart(void)
{
    churn(UINT64_C(0xffff0000c0000000), 0);
}

static void equal_hashes_are_all_given(void)
{
    churn(0, UINT64_C(0x123456789abcdef0));
}

static void a_tag_of_nothing_is_no_removed_slot(void)
{
    churn(UINT64_C(0x00000000ffffffff), 0); /* tag 0, as in PG_TAGSET_REMOVED */
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(an_item_takes_the_place_of_another),
        TEST(one_shard_holds_what_was_added),
        TEST(tables_of_every_size_keep_an_empty_slot),
        TEST(items_that_begin_at_few_slots_are_told_apart),
        TEST(equal_hashes_are_all_given),
        TEST(a_tag_of_nothing_is_no_removed_slot),
        CU_TEST_INFO_NULL,
    };
    return run_suite("tagset", tests);
}
