/* SPDX-License-Identifier: Apache-2.0 */

/* The direct JSON writer, the writing cursor, and text in its character sets. */

#include "suite.h"
#include "wire/json_out.h"
#include "wire/out.h"
#include "wire/text.h"

#define SAYS(out, text)                                                                            \
    CU_ASSERT_TRUE((out).len == strlen(text) && memcmp((out).data, text, (out).len) == 0)

static void test_commas_and_kinds_of_values(void)
{
    char room[256];
    struct json_out out = json_out_over(room, sizeof(room));
    json_out_open(&out, '{');
    json_out_key(&out, "a");
    json_out_u64(&out, 0);
    json_out_key(&out, "b");
    json_out_open(&out, '[');
    json_out_u64(&out, UINT64_MAX);
    json_out_i64(&out, -7);
    json_out_fixed(&out, 605, 1);
    json_out_fixed(&out, -5, 2);
    json_out_fixed(&out, 0, 6);
    json_out_bool(&out, true);
    json_out_null(&out);
    json_out_close(&out, ']');
    json_out_key(&out, "c");
    json_out_hexnum(&out, 0x200, 4);
    json_out_close(&out, '}');
    SAYS(out, "{\"a\":0,\"b\":[18446744073709551615,-7,60.5,-0.05,0.000000,true,null],"
              "\"c\":\"0x0200\"}");
    CU_ASSERT_FALSE(out.failed);
}

static void test_numbers_at_their_limits(void)
{
    char room[128];
    struct json_out out = json_out_over(room, sizeof(room));
    json_out_i64(&out, INT64_MIN);
    json_out_fixed(&out, 4294967295, 6);
    json_out_hexnum(&out, UINT64_MAX, 2);
    SAYS(out, "-9223372036854775808,4294.967295,\"0xffffffffffffffff\"");
}

static void test_texts_are_escaped(void)
{
    char room[128];
    struct json_out out = json_out_over(room, sizeof(room));
    json_out_text(&out, "a\"\\\n\x7f\0z", 7);
    SAYS(out, "\"a\\\"\\\\\\u000a\\u007f\\u0000z\"");
}

static void test_a_bounded_buffer_fails_and_is_not_passed(void)
{
    for (size_t size = 0; size < 40; size++) {
        char room[64];
        memset(room, '#', sizeof(room));
        struct json_out out = json_out_over(room, size);
        json_out_open(&out, '{');
        json_out_key(&out, "speed");
        json_out_fixed(&out, 605, 1);
        json_out_key(&out, "t");
        json_out_hex(&out, (struct pg_bytes){(const uint8_t *)"\x01\x02\xfe", 3});
        json_out_close(&out, '}');
        /* {"speed":60.5,"t":"0102fe"} has 27 bytes; a number wants room for its sign as well. */
        CU_ASSERT_EQUAL(out.failed, size < 27);
        for (size_t i = size; i < sizeof(room); i++) {
            CU_ASSERT_EQUAL(room[i], '#');
        }
    }
}

static void test_a_heap_buffer_grows_up_to_its_limit(void)
{
    struct json_out out = json_out_heap(5000);
    for (unsigned i = 0; i < 1000; i++) {
        json_out_u64(&out, 1234);
    }
    CU_ASSERT_FALSE(out.failed);
    CU_ASSERT_EQUAL(out.len, 4999);
    json_out_u64(&out, 1);
    CU_ASSERT_TRUE(out.failed);
    json_out_free(&out);
    CU_ASSERT_PTR_NULL(out.data);
}

static void test_the_writing_cursor_is_big_endian_and_bounded(void)
{
    uint8_t room[8];
    static const uint8_t want[] = {1, 2, 3, 0xaa, 0xff, 0xff};
    struct wire_out out = wire_out_over(room, sizeof(room));
    wire_out_uint(&out, 0x010203, 3);
    wire_out_uint(&out, 0, 1);
    wire_out_fill(&out, 0xff, 2);
    wire_out_patch(&out, 3, 0xaa, 1);
    CU_ASSERT_EQUAL(out.len, 6);
    CU_ASSERT_EQUAL(memcmp(room, want, sizeof(want)), 0);
    wire_out_uint(&out, 1, 4);
    CU_ASSERT_TRUE(out.failed);
    CU_ASSERT_EQUAL(out.len, 6);
    struct wire_out heap = wire_out_heap(300);
    wire_out_fill(&heap, 1, 299);
    wire_out_put(&heap, PG_BYTES_OF("ab"));
    CU_ASSERT_TRUE(heap.failed);
    CU_ASSERT_EQUAL(heap.len, 299);
    wire_out_free(&heap);
}

static void test_gbk_and_back(void)
{
    char utf8[64];
    uint8_t gbk[64];
    static const char text[] = "\xd4\xc1"
                               "A12345"; /* a plate of Guangdong */
    struct pg_bytes in = PG_BYTES_OF(text);
    ssize_t n = wire_text_decode(WIRE_GBK, in, utf8, sizeof(utf8));
    CU_ASSERT_EQUAL_FATAL(n, 9);
    CU_ASSERT_EQUAL(memcmp(utf8,
                           "\xe7\xb2\xa4"
                           "A12345",
                           9),
                    0);
    n = wire_text_encode(WIRE_GBK, utf8, 9, gbk, sizeof(gbk));
    CU_ASSERT_EQUAL_FATAL(n, 8);
    CU_ASSERT_EQUAL(memcmp(gbk, text, 8), 0);
    /* What GBK lacks takes four bytes of GB 18030. */
    CU_ASSERT_EQUAL(wire_text_encode(WIRE_GBK, "\xf0\x9f\x9a\x97", 4, gbk, sizeof(gbk)), 4);
    CU_ASSERT_EQUAL(wire_text_encode(WIRE_GBK, utf8, 9, gbk, 7), -1);
}

static void test_what_is_no_text_is_refused(void)
{
    char utf8[64];
    CU_ASSERT_EQUAL(wire_text_decode(WIRE_GBK, PG_BYTES_OF("ab\xff"), utf8, sizeof(utf8)), -1);
    CU_ASSERT_EQUAL(wire_text_decode(WIRE_GBK, PG_BYTES_OF("\xd4"), utf8, sizeof(utf8)), -1);
    CU_ASSERT_EQUAL(wire_text_decode(WIRE_UTF8, PG_BYTES_OF("\xc0\x80"), utf8, sizeof(utf8)), -1);
    CU_ASSERT_EQUAL(wire_text_decode(WIRE_UTF8, PG_BYTES_OF("\xed\xa0\x80"), utf8, 64), -1);
    CU_ASSERT_EQUAL(wire_text_decode(WIRE_UTF8, PG_BYTES_OF("\xe7\xb2\xa4"), utf8, 64), 3);
}

static void test_nuls_are_stripped_on_both_sides(void)
{
    struct pg_bytes text = wire_text_strip(PG_BYTES_OF("\0\0a\0b\0"));
    CU_ASSERT_EQUAL(text.len, 3);
    CU_ASSERT_EQUAL(text.data[0], 'a');
    CU_ASSERT_EQUAL(wire_text_strip(PG_BYTES_OF("\0\0")).len, 0);
}

static void test_hexadecimal_digits(void)
{
    uint8_t bytes[2];
    size_t used;
    CU_ASSERT_TRUE(wire_hex_decode("aF01", 4, bytes, 2, &used));
    CU_ASSERT_EQUAL(used, 2);
    CU_ASSERT_EQUAL(bytes[0], 0xaf);
    CU_ASSERT_FALSE(wire_hex_decode("aF0", 3, bytes, 2, &used));
    CU_ASSERT_FALSE(wire_hex_decode("0g", 2, bytes, 2, &used));
    CU_ASSERT_FALSE(wire_hex_decode("010203", 6, bytes, 2, &used));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_commas_and_kinds_of_values),
        TEST(test_numbers_at_their_limits),
        TEST(test_texts_are_escaped),
        TEST(test_a_bounded_buffer_fails_and_is_not_passed),
        TEST(test_a_heap_buffer_grows_up_to_its_limit),
        TEST(test_the_writing_cursor_is_big_endian_and_bounded),
        TEST(test_gbk_and_back),
        TEST(test_what_is_no_text_is_refused),
        TEST(test_nuls_are_stripped_on_both_sides),
        TEST(test_hexadecimal_digits),
        CU_TEST_INFO_NULL,
    };
    return run_suite("wire_text", tests);
}
