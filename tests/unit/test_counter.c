/* SPDX-License-Identifier: Apache-2.0 */

/* The table of counters: layout, names, registration, arrays. */

#include <string.h>

#include "counter.h"
#include "suite.h"

static const struct pg_counter first[] = {
    {"frames", "a frame came in"}, {"bad_frames", "a frame was bad"}, {NULL, NULL}};
static const struct pg_counter second[] = {{"packets", "a packet came in"}, {NULL, NULL}};
static const struct pg_counter late[] = {{"late", "never"}, {NULL, NULL}};

static void the_core_comes_first_then_reasons(void)
{
    struct pg_counter_row row = pg_counter_row(PG_COUNT_CONNECTIONS_OPENED);
    CU_ASSERT_STRING_EQUAL(row.prefix, "core");
    CU_ASSERT_STRING_EQUAL(row.name, "connections_opened");
    CU_ASSERT_STRING_EQUAL(row.sentence, "a connection was accepted");
    row = pg_counter_row(PG_COUNTER_CLOSE(PG_OK));
    CU_ASSERT_STRING_EQUAL(row.prefix, "close");
    CU_ASSERT_STRING_EQUAL(row.name, "ok");
    row = pg_counter_row(PG_COUNTER_CLOSE(PG_REASON_COUNT - 1));
    CU_ASSERT_STRING_EQUAL(row.prefix, "close");
    row = pg_counter_row(PG_COUNTER_REFUSE(PG_OK));
    CU_ASSERT_STRING_EQUAL(row.prefix, "refuse");
    CU_ASSERT_STRING_EQUAL(row.name, "ok");
    row = pg_counter_row(PG_COUNTER_REFUSE(PG_QUEUE_FULL));
    CU_ASSERT_STRING_EQUAL(row.name, "queue_full");
}

static void frontends_get_their_own_places(void)
{
    size_t before = pg_counter_total();
    CU_ASSERT_EQUAL(pg_counter_register("none", NULL), 0);
    size_t a = pg_counter_register("first", first);
    size_t b = pg_counter_register("second", second);
    CU_ASSERT_EQUAL(a, before);
    CU_ASSERT_EQUAL(b, before + 2);
    CU_ASSERT_EQUAL(pg_counter_total(), before + 3);
    CU_ASSERT_EQUAL(pg_counter_register("first", first), a); /* a reload asks again */
    CU_ASSERT_EQUAL(pg_counter_total(), before + 3);
    CU_ASSERT_STRING_EQUAL(pg_counter_row(a + 1).prefix, "first");
    CU_ASSERT_STRING_EQUAL(pg_counter_row(a + 1).name, "bad_frames");
    CU_ASSERT_STRING_EQUAL(pg_counter_row(b).name, "packets");
}

static void names_are_unique_and_fit_metrics(void)
{
    for (size_t i = 0; i < pg_counter_total(); i++) {
        struct pg_counter_row a = pg_counter_row(i);
        CU_ASSERT_EQUAL(strspn(a.name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(a.name));
        CU_ASSERT(strlen(a.sentence) > 0);
        for (size_t k = 0; k < i; k++) {
            struct pg_counter_row b = pg_counter_row(k);
            CU_ASSERT_FALSE(strcmp(a.prefix, b.prefix) == 0 && strcmp(a.name, b.name) == 0);
        }
    }
}

static void arrays_close_the_table(void)
{
    struct pg_counter_set set;
    CU_ASSERT_TRUE_FATAL(pg_counter_set_init(&set));
    CU_ASSERT_EQUAL(pg_counter_register("late", late), SIZE_MAX);
    CU_ASSERT_NOT_EQUAL(pg_counter_register("first", first), SIZE_MAX);
    size_t last = pg_counter_total() - 1;
    pg_counter_add(&set, last, 2);
    pg_counter_add(&set, last, 3);
    CU_ASSERT_EQUAL(pg_counter_get(&set, last), 5);
    CU_ASSERT_EQUAL(pg_counter_get(&set, 0), 0);
    pg_counter_set_free(&set);
    CU_ASSERT_PTR_NULL(set.values);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(the_core_comes_first_then_reasons),
        TEST(frontends_get_their_own_places),
        TEST(names_are_unique_and_fit_metrics),
        TEST(arrays_close_the_table),
        CU_TEST_INFO_NULL,
    };
    return run_suite("counter", tests);
}
