/* SPDX-License-Identifier: Apache-2.0 */

/* Slabs: objects are apart, zeroed and aligned, pages come and go as the objects do. */

#include <CUnit/CUnit.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "slab.h"
#include "suite.h"

static uint64_t seed = 5;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % bound;
}

static bool all_bytes_are(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static void objects_are_zeroed_aligned_and_apart(void)
{
    static const size_t sizes[] = {1, 8, 23, 48, 96, 100, 512, PG_SLAB_OBJECT_MAX};
    enum { COUNT = 2000 };
    uint8_t **objects = calloc(COUNT, sizeof(*objects));

    CU_ASSERT_PTR_NOT_NULL_FATAL(objects);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct pg_slab slab;
        unsigned wrong = 0;

        pg_slab_init(&slab, sizes[s], 1);
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < COUNT; i++) {
                objects[i] = pg_slab_new(&slab);
                CU_ASSERT_PTR_NOT_NULL_FATAL(objects[i]);
                wrong += (uintptr_t)objects[i] % (sizes[s] % 16 == 0 ? 16 : 8) != 0;
                wrong += !all_bytes_are(objects[i], sizes[s], 0);
                memset(objects[i], (int)(i % 251), sizes[s]);
            }
            for (unsigned i = 0; i < COUNT; i++) {
                wrong += !all_bytes_are(objects[i], sizes[s], (uint8_t)(i % 251));
                pg_slab_free(&slab, objects[i]);
            }
        }
        CU_ASSERT_EQUAL(wrong, 0);
        pg_slab_fini(&slab);
    }
    free(objects);
}

static void a_random_life_keeps_count(void)
{
    enum { COUNT = 3000 };
    uint32_t **objects = calloc(COUNT, sizeof(*objects));
    struct pg_slab slab;
    struct pg_slab_stats stats;
    size_t alive = 0;
    unsigned wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(objects);
    pg_slab_init(&slab, 72, 2);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned i = random_below(COUNT);

        if (objects[i] == NULL) {
            objects[i] = pg_slab_new(&slab);
            CU_ASSERT_PTR_NOT_NULL_FATAL(objects[i]);
            *objects[i] = i;
            alive++;
        } else {
            wrong += *objects[i] != i;
            pg_slab_free(&slab, objects[i]);
            objects[i] = NULL;
            alive--;
        }
        pg_slab_count(&slab, &stats);
        wrong += stats.objects != alive;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(stats.bytes < COUNT * 72 * 2);
    for (unsigned i = 0; i < COUNT; i++)
        pg_slab_free(&slab, objects[i]); /* NULL is allowed */
    pg_slab_count(&slab, &stats);
    CU_ASSERT_EQUAL(stats.objects, 0);
    CU_ASSERT_EQUAL(stats.pages, 2); /* those to keep */
    pg_slab_fini(&slab);
    free(objects);
}

static void empty_pages_go_above_the_threshold(void)
{
    enum { COUNT = 10000 };
    void **objects = calloc(COUNT, sizeof(*objects));
    struct pg_slab slab;
    struct pg_slab_stats full, empty;

    CU_ASSERT_PTR_NOT_NULL_FATAL(objects);
    for (size_t keep = 0; keep < 4; keep++) {
        pg_slab_init(&slab, 128, keep);
        pg_slab_count(&slab, &empty);
        CU_ASSERT_EQUAL(empty.pages, 0); /* nothing before it is needed */
        for (unsigned i = 0; i < COUNT; i++)
            objects[i] = pg_slab_new(&slab);
        pg_slab_count(&slab, &full);
        CU_ASSERT(full.pages >= COUNT * 128 / PG_SLAB_PAGE_BYTES);
        CU_ASSERT(full.bytes < COUNT * 128 + COUNT * 128 / 50 + PG_SLAB_PAGE_BYTES);
        for (unsigned i = 0; i < COUNT; i++)
            pg_slab_free(&slab, objects[i]);
        pg_slab_count(&slab, &empty);
        CU_ASSERT_EQUAL(empty.pages, keep);
        CU_ASSERT_EQUAL(empty.objects, 0);
        pg_slab_fini(&slab);
    }
    free(objects);
}

static void what_is_left_goes_with_the_slab(void)
{
    struct pg_slab slab;

    pg_slab_init(&slab, 64, 0);
    for (unsigned i = 0; i < 5000; i++)
        CU_ASSERT_PTR_NOT_NULL_FATAL(pg_slab_new(&slab));
    pg_slab_fini(&slab); /* LeakSanitizer tells otherwise */
    CU_ASSERT_EQUAL(slab.pages, 0);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(objects_are_zeroed_aligned_and_apart),
        TEST(a_random_life_keeps_count),
        TEST(empty_pages_go_above_the_threshold),
        TEST(what_is_left_goes_with_the_slab),
        CU_TEST_INFO_NULL,
    };
    return run_suite("slab", tests);
}
