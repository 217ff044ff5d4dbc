/* SPDX-License-Identifier: Apache-2.0 */

/* What is remembered of a client: order, counting, bounds, strange identifiers. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "why.h"

static size_t list(const char *id, struct pg_why *out)
{
    return pg_why_list(pg_bytes_str(id), out);
}

static void newest_comes_first(void)
{
    struct pg_why why[PG_WHY_NOTES];
    CU_ASSERT_EQUAL(list("order", why), 0);
    pg_why_note(PG_BYTES_OF("order"), PG_WHY_REFUSED, PG_BAD_CREDENTIAL, "from 127.0.0.1:9");
    pg_why_note(PG_BYTES_OF("order"), PG_WHY_CLOSED, PG_KEEPALIVE_TIMEOUT, NULL);
    CU_ASSERT_EQUAL_FATAL(list("order", why), 2);
    CU_ASSERT_EQUAL(why[0].reason, PG_KEEPALIVE_TIMEOUT);
    CU_ASSERT_EQUAL(why[0].kind, PG_WHY_CLOSED);
    CU_ASSERT_STRING_EQUAL(why[0].detail, "");
    CU_ASSERT_EQUAL(why[1].reason, PG_BAD_CREDENTIAL);
    CU_ASSERT_STRING_EQUAL(why[1].detail, "from 127.0.0.1:9");
    CU_ASSERT(why[1].first_ms > 0 && why[1].first_ms <= why[0].last_ms);
    CU_ASSERT_STRING_EQUAL(pg_why_kind_name(why[1].kind), "refused");
}

static void equal_ones_in_a_row_are_counted(void)
{
    struct pg_why why[PG_WHY_NOTES];
    pg_why_note(PG_BYTES_OF("loop"), PG_WHY_CLOSED, PG_TAKEN_OVER, "first");
    for (int i = 0; i < 1000; i++)
        pg_why_note(PG_BYTES_OF("loop"), PG_WHY_REFUSED, PG_NOT_AUTHORIZED, i == 999 ? "z" : "a");
    CU_ASSERT_EQUAL_FATAL(list("loop", why), 2);
    CU_ASSERT_EQUAL(why[0].count, 1000);
    CU_ASSERT_STRING_EQUAL(why[0].detail, "z");
    CU_ASSERT_EQUAL(why[1].count, 1);
}

static void the_oldest_note_makes_room(void)
{
    struct pg_why why[PG_WHY_NOTES];
    for (unsigned i = 0; i < 3 * PG_WHY_NOTES + 1; i++)
        pg_why_note(PG_BYTES_OF("ring"), i % 2 ? PG_WHY_CLOSED : PG_WHY_DROPPED, PG_QUEUE_FULL,
                    NULL);
    CU_ASSERT_EQUAL_FATAL(list("ring", why), PG_WHY_NOTES);
    for (unsigned i = 0; i < PG_WHY_NOTES; i++) {
        CU_ASSERT_EQUAL(why[i].kind, i % 2 ? PG_WHY_CLOSED : PG_WHY_DROPPED);
        CU_ASSERT_EQUAL(why[i].count, 1);
    }
}

static void identifiers_of_any_bytes_and_length(void)
{
    struct pg_why why[PG_WHY_NOTES];
    uint8_t *id = calloc(1, 65535);
    CU_ASSERT_PTR_NOT_NULL_FATAL(id);
    memset(id, 'x', 65535);
    struct pg_bytes one = {.data = id, .len = 65535};
    pg_why_note(one, PG_WHY_CLOSED, PG_KICKED, NULL);
    CU_ASSERT_EQUAL(pg_why_list(one, why), 1);
    id[65534] = 'y'; /* differs behind what is kept */
    CU_ASSERT_EQUAL(pg_why_list(one, why), 0);
    free(id);
    pg_why_note(PG_BYTES_OF("a\0b"), PG_WHY_CLOSED, PG_KICKED, NULL);
    CU_ASSERT_EQUAL(pg_why_list(PG_BYTES_OF("a\0b"), why), 1);
    CU_ASSERT_EQUAL(pg_why_list(PG_BYTES_OF("a\0c"), why), 0);
    pg_why_note(PG_BYTES_NONE, PG_WHY_CLOSED, PG_KICKED, NULL);
    CU_ASSERT_EQUAL(pg_why_list(PG_BYTES_NONE, why), 0);
}

static void a_long_detail_is_cut_between_characters(void)
{
    struct pg_why why[PG_WHY_NOTES];
    char detail[200] = "";
    for (int i = 0; i < 50; i++)
        memcpy(detail + 3 * i, "\xe4\xb8\xad", 4);
    pg_why_note(PG_BYTES_OF("cut"), PG_WHY_REFUSED, PG_NOT_AUTHORIZED, detail);
    CU_ASSERT_EQUAL_FATAL(list("cut", why), 1);
    CU_ASSERT_EQUAL(strlen(why[0].detail), (PG_WHY_DETAIL - 1) / 3 * 3);
    CU_ASSERT(pg_utf8_valid(pg_bytes_str(why[0].detail)));
}

static void many_identifiers_push_out_the_longest_silent(void)
{
    struct pg_why why[PG_WHY_NOTES];
    char id[32];
    size_t found = 0;
    for (unsigned i = 0; i < 4 * PG_WHY_CLIENTS; i++) {
        snprintf(id, sizeof(id), "many-%u", i);
        pg_why_note(pg_bytes_str(id), PG_WHY_REFUSED, PG_BUSY, NULL);
    }
    for (unsigned i = 0; i < 4 * PG_WHY_CLIENTS; i++) {
        snprintf(id, sizeof(id), "many-%u", i);
        found += list(id, why);
    }
    CU_ASSERT(found <= PG_WHY_CLIENTS);
    CU_ASSERT(found > PG_WHY_CLIENTS * 9 / 10);
    CU_ASSERT_EQUAL(list(id, why), 1); /* the very last is there */
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(newest_comes_first),
        TEST(equal_ones_in_a_row_are_counted),
        TEST(the_oldest_note_makes_room),
        TEST(identifiers_of_any_bytes_and_length),
        TEST(a_long_detail_is_cut_between_characters),
        TEST(many_identifiers_push_out_the_longest_silent),
        CU_TEST_INFO_NULL,
    };
    return run_suite("why", tests);
}
