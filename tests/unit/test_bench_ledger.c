/* SPDX-License-Identifier: Apache-2.0 */

/* The ledger and the histogram of polygate-bench: a fault that it misses is one that nobody
 * sees. */

#include <CUnit/CUnit.h>
#include <string.h>

#include "../../tools/bench/ledger.h"
#include "../../tools/bench/measure.h"
#include "suite.h"

/* Enter numbers; the end of the list is -1. */
static uint32_t enter(struct ledger_flow *flow, struct ledger_sums *sums, const int *numbers)
{
    uint32_t settled = 0;

    for (; *numbers >= 0; numbers++)
        settled += ledger_flow_take(flow, (uint32_t)*numbers, sums);
    return settled;
}

static void messages_in_order_are_no_fault(void)
{
    struct ledger_flow flow = {0};
    struct ledger_sums sums = {0};

    for (uint32_t i = 0; i < 1000; i++)
        CU_ASSERT_EQUAL(ledger_flow_take(&flow, i, &sums), 1);
    ledger_flow_close(&flow, 1000, &sums);
    CU_ASSERT_EQUAL(sums.lost + sums.duplicates + sums.misordered + sums.damaged, 0);
}

static void a_gap_is_lost_and_settled(void)
{
    struct ledger_flow flow = {0};
    struct ledger_sums sums = {0};

    CU_ASSERT_EQUAL(enter(&flow, &sums, (const int[]){0, 1, 5, -1}), 6);
    CU_ASSERT_EQUAL(sums.lost, 3);
    ledger_flow_close(&flow, 8, &sums);
    CU_ASSERT_EQUAL(sums.lost, 5);
    CU_ASSERT_EQUAL(sums.duplicates + sums.misordered, 0);
}

static void a_late_message_is_misordered_and_not_lost(void)
{
    struct ledger_flow flow = {0};
    struct ledger_sums sums = {0};

    CU_ASSERT_EQUAL(enter(&flow, &sums, (const int[]){0, 2, 1, 3, -1}), 4);
    ledger_flow_close(&flow, 4, &sums);
    CU_ASSERT_EQUAL(sums.misordered, 1);
    CU_ASSERT_EQUAL(sums.lost, 0);
    CU_ASSERT_EQUAL(sums.duplicates, 0);
}

static void a_message_that_comes_again_is_a_duplicate(void)
{
    struct ledger_flow flow = {0};
    struct ledger_sums sums = {0};

    CU_ASSERT_EQUAL(enter(&flow, &sums, (const int[]){0, 1, 1, 2, 0, -1}), 3);
    CU_ASSERT_EQUAL(sums.duplicates, 2);
    CU_ASSERT_EQUAL(enter(&flow, &sums, (const int[]){200, 1, 136, 137, 137, 200, -1}), 198);
    CU_ASSERT_EQUAL(sums.duplicates, 6); /* 1 and 136 are too old to tell */
    CU_ASSERT_EQUAL(sums.misordered, 1);
}

static void gaps_as_long_as_the_memory_forget_what_came(void)
{
    struct ledger_flow flow = {0};
    struct ledger_sums sums = {0};

    for (int gap = 60; gap < 68; gap++) {
        int base = (int)flow.next;
        CU_ASSERT_EQUAL(enter(&flow, &sums, (const int[]){base, base + gap + 1, -1}),
                        (uint32_t)gap + 2);
        sums = (struct ledger_sums){0};
        enter(&flow, &sums, (const int[]){base, -1});
        CU_ASSERT_EQUAL(sums.duplicates, 1);
    }
}

static void a_group_gets_each_message_once(void)
{
    static struct ledger_share share;
    struct ledger_sums sums = {0};
    uint32_t a = 0, b = 0;

    memset(&share, 0, sizeof(share));
    CU_ASSERT_EQUAL(ledger_share_take(&share, &a, 0, &sums), 1);
    CU_ASSERT_EQUAL(ledger_share_take(&share, &b, 3, &sums), 1);
    CU_ASSERT_EQUAL(ledger_share_take(&share, &a, 1, &sums), 1); /* another member: any order */
    CU_ASSERT_EQUAL(sums.lost + sums.duplicates + sums.misordered, 0);
    CU_ASSERT_EQUAL(ledger_share_take(&share, &a, 3, &sums), 0);
    CU_ASSERT_EQUAL(sums.duplicates, 1);
    CU_ASSERT_EQUAL(ledger_share_take(&share, &b, 2, &sums), 1); /* behind its own 3 */
    CU_ASSERT_EQUAL(sums.misordered, 1);
    ledger_share_close(&share, 6, &sums);
    CU_ASSERT_EQUAL(sums.lost, 2);
}

static void the_ring_of_a_group_goes_round(void)
{
    static struct ledger_share share;
    struct ledger_sums sums = {0};
    uint32_t member = 0, count = 3 * LEDGER_SHARE_WINDOW + 5;

    memset(&share, 0, sizeof(share));
    for (uint32_t i = 0; i < count; i++)
        ledger_share_take(&share, &member, i, &sums);
    ledger_share_take(&share, &member, count - 1, &sums);
    ledger_share_take(&share, &member, count - LEDGER_SHARE_WINDOW, &sums);
    CU_ASSERT_EQUAL(sums.duplicates, 2);
    ledger_share_close(&share, count, &sums);
    CU_ASSERT_EQUAL(sums.lost + sums.misordered, 0);

    /* Older than the ring: what came is not known any more, whatever stands in its place. */
    for (uint32_t i = count; i < count + 2 * LEDGER_SHARE_WINDOW; i++) {
        if (i % LEDGER_SHARE_WINDOW != 7)
            ledger_share_take(&share, &member, i, &sums);
    }
    CU_ASSERT_EQUAL(ledger_share_take(&share, &member, 3 * LEDGER_SHARE_WINDOW + 7, &sums), 0);
    CU_ASSERT_EQUAL(sums.duplicates, 3);
}

static void a_histogram_is_exact_to_a_sixtieth(void)
{
    static struct histogram h;

    for (uint64_t value = 0; value < 5000000; value = value * 21 / 20 + 1) {
        histogram_clear(&h);
        histogram_add(&h, value);
        histogram_add(&h, UINT64_MAX);
        uint64_t at = histogram_at(&h, 0.5);
        CU_ASSERT(at >= value && at - value <= value / 60);
        CU_ASSERT_EQUAL(histogram_at(&h, 1.0), UINT64_MAX);
    }
}

static void percentiles_are_of_all_values(void)
{
    static struct histogram h;

    histogram_clear(&h);
    CU_ASSERT_EQUAL(histogram_at(&h, 0.5), 0);
    for (uint64_t i = 1; i <= 50; i++)
        histogram_add(&h, i);
    CU_ASSERT_EQUAL(histogram_at(&h, 0.5), 25);
    CU_ASSERT_EQUAL(histogram_at(&h, 0.98), 49);
    CU_ASSERT_EQUAL(histogram_at(&h, 1.0), 50);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(messages_in_order_are_no_fault),
        TEST(a_gap_is_lost_and_settled),
        TEST(a_late_message_is_misordered_and_not_lost),
        TEST(a_message_that_comes_again_is_a_duplicate),
        TEST(gaps_as_long_as_the_memory_forget_what_came),
        TEST(a_group_gets_each_message_once),
        TEST(the_ring_of_a_group_goes_round),
        TEST(a_histogram_is_exact_to_a_sixtieth),
        TEST(percentiles_are_of_all_values),
        CU_TEST_INFO_NULL,
    };
    return run_suite("bench_ledger", tests);
}
