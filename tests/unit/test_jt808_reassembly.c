/* SPDX-License-Identifier: Apache-2.0 */

/* Reassembly of sub-packages: order, duplicates, interleaving, broken serials, limits, timers. */

#include <stdlib.h>

#include "jt808/jt808_reassembly.h"
#include "suite.h"

static const struct jt808_reassembly_limits limits = {.message_bytes = 4096,
                                                      .total_bytes = 8192,
                                                      .pending = 3,
                                                      .ask_ms = 5000,
                                                      .asks = 2,
                                                      .age_ms = 60000};

static struct jt808_reassembly *open_one(void)
{
    struct jt808_reassembly *r = jt808_reassembly_open(&limits);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

/* A package whose body is the text. */
static struct jt808_frame package(uint16_t id, uint16_t serial, uint16_t total, uint16_t index,
                                  const char *text)
{
    return (struct jt808_frame){.msg_id = id,
                                .attributes = JT808_ATTR_SUBPACKAGE,
                                .phone = "013800138000",
                                .serial = serial,
                                .package_total = total,
                                .package_index = index,
                                .body = {.data = (const uint8_t *)text, .len = strlen(text)}};
}

static enum jt808_part_result add(struct jt808_reassembly *r, struct jt808_frame frame,
                                  int64_t now_ms, struct jt808_frame *message)
{
    /* The body in a block of its own, so that keeping a pointer to it would be seen. */
    uint8_t *copy = malloc(frame.body.len + 1);
    memcpy(copy, frame.body.data, frame.body.len);
    frame.body.data = copy;
    enum jt808_part_result result = jt808_reassembly_add(r, &frame, now_ms, message);
    free(copy);
    return result;
}

static bool says(const struct jt808_frame *message, const char *text)
{
    return message->body.len == strlen(text) &&
           memcmp(message->body.data, text, message->body.len) == 0;
}

static void packages_join_in_any_order(void)
{
    static const unsigned orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3},
                                          {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};
    static const char *const texts[] = {"ab", "cde", ""};

    for (unsigned o = 0; o < 6; o++) {
        struct jt808_reassembly *r = open_one();
        struct jt808_frame m;
        for (unsigned i = 0; i < 3; i++) {
            unsigned index = orders[o][i];
            struct jt808_frame f =
                package(0x0801, (uint16_t)(65534 + index), 3, (uint16_t)index, texts[index - 1]);
            CU_ASSERT_EQUAL(add(r, f, 0, &m), i < 2 ? JT808_PART_STORED : JT808_PART_COMPLETE);
        }
        CU_ASSERT(says(&m, "abcde") && m.serial == 65535 && m.package_total == 3);
        CU_ASSERT(jt808_reassembly_pending(r) == 0 && jt808_reassembly_bytes(r) == 0);
        CU_ASSERT_EQUAL(jt808_reassembly_deadline(r), PG_NEVER);
        jt808_reassembly_close(&r);
        CU_ASSERT_PTR_NULL(r);
    }
}

static void one_package_of_one_is_delivered_at_once(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0200, 9, 1, 1, "x"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT(says(&m, "x") && m.serial == 9);
    jt808_reassembly_close(&r);
}

static void impossible_package_items_are_refused(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    struct jt808_frame whole = package(0x0200, 1, 0, 0, "x");

    CU_ASSERT_EQUAL(add(r, package(0x0200, 1, 0, 0, "x"), 0, &m), JT808_PART_INVALID);
    CU_ASSERT_EQUAL(add(r, package(0x0200, 1, 0, 1, "x"), 0, &m), JT808_PART_INVALID);
    CU_ASSERT_EQUAL(add(r, package(0x0200, 1, 3, 0, "x"), 0, &m), JT808_PART_INVALID);
    CU_ASSERT_EQUAL(add(r, package(0x0200, 1, 3, 4, "x"), 0, &m), JT808_PART_INVALID);
    whole.attributes = 0;
    CU_ASSERT_EQUAL(add(r, whole, 0, &m), JT808_PART_INVALID);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 0);
    jt808_reassembly_close(&r);
}

static void duplicates_are_no_progress_and_the_first_copy_stays(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "one"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "one"), 0, &m), JT808_PART_DUPLICATE);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "uno"), 0, &m), JT808_PART_DUPLICATE);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 11, 2, 2, "two"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT(says(&m, "onetwo"));
    jt808_reassembly_close(&r);
}

static void a_completed_message_is_not_delivered_twice(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "one"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 11, 2, 2, "two"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 11, 2, 2, "two"), 1000, &m), JT808_PART_REPEATED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "one"), 1000, &m), JT808_PART_REPEATED);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 0);
    /* The same serials with other bytes are another message, and so is the same after long. */
    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "new"), 1000, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 11, 2, 2, "ones"), 1000, &m), JT808_PART_COMPLETE);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "one"), 999999, &m), JT808_PART_STORED);
    jt808_reassembly_close(&r);
}

static void interleaved_messages_of_one_kind_do_not_mix(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 3, 1, "a"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 50, 3, 1, "A"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 51, 3, 2, "B"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 11, 3, 2, "b"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0704, 12, 2, 1, "x"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 12, 3, 3, "c"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT(says(&m, "abc") && m.serial == 10);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 52, 3, 3, "C"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT(says(&m, "ABC") && m.serial == 50);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 1);
    jt808_reassembly_close(&r);
}

static void other_frames_between_the_packages_break_the_serials_but_not_the_message(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0104, 1233, 3, 1, "a"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0104, 1250, 3, 2, "b"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0104, 1250, 3, 2, "b"), 0, &m), JT808_PART_DUPLICATE);
    CU_ASSERT_EQUAL(add(r, package(0x0104, 1299, 3, 3, "c"), 0, &m), JT808_PART_COMPLETE);
    CU_ASSERT(says(&m, "abc"));
    CU_ASSERT_EQUAL(add(r, package(0x0104, 1250, 3, 2, "b"), 0, &m), JT808_PART_REPEATED);
    /* One serial for all packages. */
    CU_ASSERT_EQUAL(add(r, package(0x0104, 7, 2, 1, "a"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0104, 7, 2, 2, "b"), 0, &m), JT808_PART_COMPLETE);
    jt808_reassembly_close(&r);
}

static void a_package_that_could_belong_to_two_messages_is_given_to_neither(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 10, 2, 1, "a"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 50, 2, 1, "A"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 99, 2, 2, "?"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 3);
    jt808_reassembly_close(&r);
}

static void memory_follows_what_has_come_not_what_is_announced(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    char big[1024];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    CU_ASSERT_EQUAL(add(r, package(0x0801, 1, 65535, 1, "x"), 0, &m), JT808_PART_STORED);
    CU_ASSERT(jt808_reassembly_bytes(r) < 200);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 2, 65535, 2, big), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 3, 65535, 3, big), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 4, 65535, 4, big), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 5, 65535, 5, big), 0, &m), JT808_PART_REFUSED);
    /* All of it is given up, and what still comes does not start it anew. */
    CU_ASSERT(jt808_reassembly_bytes(r) == 0 && jt808_reassembly_pending(r) == 1);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 6, 65535, 6, big), 0, &m), JT808_PART_REFUSED);
    struct jt808_missing missing;
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 30000, &missing), JT808_DUE_NOTHING);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 60000, &missing), JT808_DUE_NOTHING);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 0);
    jt808_reassembly_close(&r);
}

static void empty_packages_are_not_free(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    unsigned stored = 0;

    while (stored < 1000 &&
           add(r, package(0x0801, (uint16_t)(stored + 1), 65535, (uint16_t)(stored + 1), ""), 0,
               &m) == JT808_PART_STORED) {
        stored++;
    }
    CU_ASSERT(stored > 50 && stored < 1000);
    jt808_reassembly_close(&r);
}

static void the_number_of_pending_messages_and_their_sum_are_bounded(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    char big[1024];

    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(add(r, package((uint16_t)(0x0900 + i), 1, 2, 1, "x"), 0, &m),
                        JT808_PART_STORED);
    }
    CU_ASSERT_EQUAL(add(r, package(0x0801, 1, 2, 1, "x"), 0, &m), JT808_PART_REFUSED);
    CU_ASSERT_EQUAL(jt808_reassembly_pending(r), 3);
    jt808_reassembly_close(&r);

    r = open_one();
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    unsigned refused = 0;
    for (unsigned i = 0; i < 9; i++) {
        refused += add(r,
                       package((uint16_t)(0x0900 + i % 3), (uint16_t)(i / 3), 9,
                               (uint16_t)(i / 3 + 1), big),
                       0, &m) == JT808_PART_REFUSED;
    }
    CU_ASSERT(refused > 0 && jt808_reassembly_bytes(r) <= limits.total_bytes);
    jt808_reassembly_close(&r);
}

static void missing_packages_are_asked_for_after_silence_and_given_up_in_the_end(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    struct jt808_missing missing;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 102, 5, 3, "c"), 1000, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(add(r, package(0x0801, 104, 5, 5, "e"), 2000, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(jt808_reassembly_deadline(r), 7000);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 6999, &missing), JT808_DUE_NOTHING);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 7000, &missing), JT808_DUE_ASK);
    CU_ASSERT(missing.count == 3 && missing.first_serial == 100 && missing.received == 2);
    CU_ASSERT(missing.ids[0] == 1 && missing.ids[1] == 2 && missing.ids[2] == 4);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 7000, &missing), JT808_DUE_NOTHING);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 12000, &missing), JT808_DUE_ASK);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 17000, &missing), JT808_DUE_NOTHING); /* asks spent */
    CU_ASSERT_EQUAL(jt808_reassembly_deadline(r), 62000);
    /* A late package is progress and moves the end. */
    CU_ASSERT_EQUAL(add(r, package(0x0801, 100, 5, 1, "a"), 50000, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 62000, &missing), JT808_DUE_NOTHING);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 110000, &missing), JT808_DUE_DROP);
    CU_ASSERT(missing.count == 2 && missing.ids[0] == 2 && missing.ids[1] == 4);
    CU_ASSERT(jt808_reassembly_pending(r) == 0 && jt808_reassembly_bytes(r) == 0);
    jt808_reassembly_close(&r);
}

static void a_long_list_of_missing_packages_is_bounded(void)
{
    struct jt808_reassembly *r = open_one();
    struct jt808_frame m;
    struct jt808_missing missing;

    CU_ASSERT_EQUAL(add(r, package(0x0801, 1, 65535, 1, "x"), 0, &m), JT808_PART_STORED);
    CU_ASSERT_EQUAL(jt808_reassembly_due(r, 5000, &missing), JT808_DUE_ASK);
    CU_ASSERT(missing.count == JT808_MISSING_MAX && missing.ids[0] == 2);
    CU_ASSERT_EQUAL(missing.ids[JT808_MISSING_MAX - 1], JT808_MISSING_MAX + 1);
    jt808_reassembly_close(&r);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(packages_join_in_any_order),
        TEST(one_package_of_one_is_delivered_at_once),
        TEST(impossible_package_items_are_refused),
        TEST(duplicates_are_no_progress_and_the_first_copy_stays),
        TEST(a_completed_message_is_not_delivered_twice),
        TEST(interleaved_messages_of_one_kind_do_not_mix),
        TEST(other_frames_between_the_packages_break_the_serials_but_not_the_message),
        TEST(a_package_that_could_belong_to_two_messages_is_given_to_neither),
        TEST(memory_follows_what_has_come_not_what_is_announced),
        TEST(empty_packages_are_not_free),
        TEST(the_number_of_pending_messages_and_their_sum_are_bounded),
        TEST(missing_packages_are_asked_for_after_silence_and_given_up_in_the_end),
        TEST(a_long_list_of_missing_packages_is_bounded),
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_reassembly", tests);
}
