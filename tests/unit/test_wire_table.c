/* SPDX-License-Identifier: Apache-2.0 */

/* The table engine on a small protocol that has one of everything: each kind of row both ways in
 * both shapes, conditions, counts, markers, boxed entries, items, and what is wrong with a body. */

#include <stdio.h>

#include "suite.h"
#include "wire/table_dump.h"
#include "wire/table_json.h"

enum { R_WORD = 1, R_COUNT = 2, R_SIZE = 3, R_ITEM = 4 };

static const struct wire_bit_field load[] = {{0x30, 0x10, "half"}, {0x30, 0x30, "full"}, {0}};
static const struct wire_bits word_bits = {.names = {"north", "timed"}, .fields = load};
static const struct wire_name modes[] = {{0, "off"}, {1, "on"}, {0, NULL}};

static const struct wire_row numbers[] = {
    {.name = "word", .kind = WIRE_BITS, .width = 2, .bits = &word_bits, .keep = R_WORD},
    {.name = "mode", .kind = WIRE_UINT, .width = 1, .names = modes},
    {.name = "place", .kind = WIRE_UINT, .width = 4, .decimals = 6, .sign = R_WORD, .sign_mask = 1},
    {.name = "volt",
     .kind = WIRE_UINT,
     .width = 2,
     .decimals = 1,
     .unit = "V",
     .flags = WIRE_INVALID | WIRE_ABNORMAL},
    {.name = "amps", .kind = WIRE_UINT, .width = 2, .decimals = 1, .offset = -10000},
    {.name = "press", .kind = WIRE_UINT, .width = 1, .factor = 4},
    {.name = "temp", .kind = WIRE_SIGNMAG, .width = 2},
    {.name = "start",
     .kind = WIRE_TIME,
     .when = R_WORD,
     .when_mask = 2,
     .when_value = 2,
     .flags = WIRE_DAILY},
    WIRE_END_OF_ROWS};

/* {"key": ...} of bytes, in a shape, or "" if the body does not fit. */
static const char *shown(const struct wire_row *rows, struct pg_bytes body, enum wire_shape shape,
                         unsigned *faults)
{
    static char text[4096];
    struct json_out out = json_out_over(text, sizeof(text) - 1);
    struct wire_json json;
    struct wire_walked walked;
    json_out_open(&out, '{');
    wire_json_begin(&json, &out, shape, WIRE_GBK);
    bool fine =
        wire_walk(rows, body, 2019, wire_json_visit, &json, &walked) && wire_json_end(&json);
    json_out_close(&out, '}');
    text[fine ? out.len : 0] = '\0';
    *faults = walked.faults;
    return text;
}

static bool encoded(const struct wire_row *rows, const char *text, enum wire_shape shape,
                    struct wire_out *out, struct wire_error *error)
{
    json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(object);
    bool fine = wire_encode(rows, object, "body", 2019, shape, WIRE_GBK, out, error);
    json_decref(object);
    return fine;
}

/* The bytes show as this text and the text encodes to the bytes. */
static void both_ways(const struct wire_row *rows, struct pg_bytes body, enum wire_shape shape,
                      unsigned faults, const char *text)
{
    uint8_t room[512];
    unsigned found;
    struct wire_error error = {.path = ""};
    const char *got = shown(rows, body, shape, &found);
    if (strcmp(got, text) != 0) {
        printf("    got    %s\n    wanted %s\n", got, text);
    }
    CU_ASSERT_STRING_EQUAL(got, text);
    CU_ASSERT_EQUAL(found, faults);
    struct wire_out out = wire_out_over(room, sizeof(room));
    if (!encoded(rows, text, shape, &out, &error)) {
        printf("    %s: expected %s, found %s\n", error.path, error.expected, error.found);
        CU_FAIL("does not encode");
    }
    CU_ASSERT_TRUE(out.len == body.len && memcmp(room, body.data, body.len) == 0);
}

/* The text is refused at this place. */
static void refused(const struct wire_row *rows, const char *text, const char *path,
                    const char *expected)
{
    uint8_t room[512];
    char sentence[400];
    struct wire_error error = {.path = ""};
    struct wire_out out = wire_out_over(room, sizeof(room));
    CU_ASSERT_FALSE(encoded(rows, text, WIRE_SHAPE_NATIVE, &out, &error));
    if (strcmp(error.path, path) != 0 || strstr(error.expected, expected) == NULL) {
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s\n", sentence);
    }
    CU_ASSERT_STRING_EQUAL(error.path, path);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.expected, expected));
}

static void test_numbers_in_both_shapes(void)
{
    struct pg_bytes body = PG_BYTES_OF("\x00\x11\x01\x00\x0f\x42\x40\x09\x6a\x27\x11\x05\x80\x0a");
    both_ways(numbers, body, WIRE_SHAPE_NATIVE, 0,
              "{\"word\":17,\"word_flags\":[\"north\",\"half\"],\"mode\":\"on\","
              "\"place\":-1.000000,\"volt\":241.0,\"amps\":0.1,\"press\":20,\"temp\":-10}");
    both_ways(numbers, body, WIRE_SHAPE_WIRE, 0,
              "{\"word\":17,\"mode\":1,\"place\":1000000,\"volt\":2410,\"amps\":10001,\"press\":5,"
              "\"temp\":32778}");
}

static void test_values_that_say_no_value_become_null_with_the_reason(void)
{
    struct pg_bytes body = PG_BYTES_OF("\x00\x02\x07\xff\xff\xff\xff\xff\xff\x00\x00\x00\xff\xf6"
                                       "\x1a\x00\x00\x00\x00\x00");
    both_ways(numbers, body, WIRE_SHAPE_NATIVE, 0,
              "{\"word\":2,\"word_flags\":[\"timed\"],\"mode\":7,\"place\":-0.000001,"
              "\"volt\":null,\"amps\":-1000.0,\"press\":0,\"temp\":-10,\"start\":null,"
              "\"exact\":{\"place\":\"ffffffff\",\"temp\":\"fff6\"},"
              "\"invalid\":{\"volt\":{\"reason\":\"marker\",\"raw\":\"ffff\"},"
              "\"start\":{\"reason\":\"not_decimal\",\"raw\":\"1a0000000000\"}}}");
    struct pg_bytes daily = PG_BYTES_OF("\x00\x02\x00\x00\x00\x00\x00\xff\xfe\x27\x10\x00\x00\x01"
                                        "\x00\x00\x00\x08\x30\x00");
    both_ways(numbers, daily, WIRE_SHAPE_NATIVE, 0,
              "{\"word\":2,\"word_flags\":[\"timed\"],\"mode\":\"off\",\"place\":0.000000,"
              "\"volt\":null,\"amps\":0.0,\"press\":0,\"temp\":1,\"start\":\"08:30:00\","
              "\"abnormal\":{\"volt\":{\"reason\":\"marker\",\"raw\":\"fffe\"}}}");
}

static void test_words_are_derived_from_what_people_give(void)
{
    uint8_t room[64];
    static const struct wire_row rows[] = {
        {.name = "word", .kind = WIRE_UINT, .width = 1, .keep = R_WORD, .flags = WIRE_DEFAULTS},
        {.name = "place", .kind = WIRE_UINT, .width = 2, .sign = R_WORD, .sign_mask = 4},
        {.name = "speed",
         .kind = WIRE_UINT,
         .width = 1,
         .when = R_WORD,
         .when_mask = 2,
         .when_value = 2},
        WIRE_END_OF_ROWS};
    struct wire_error error;
    struct wire_out out = wire_out_over(room, sizeof(room));
    CU_ASSERT_TRUE(encoded(rows, "{\"place\":-5,\"speed\":9}", WIRE_SHAPE_NATIVE, &out, &error));
    CU_ASSERT_TRUE(out.len == 4 && memcmp(room, "\x06\x00\x05\x09", 4) == 0);
    refused(rows, "{\"word\":0,\"place\":5,\"speed\":9}", "body.speed", "word has 0x2");
    refused(rows, "{\"word\":6,\"place\":5,\"speed\":9}", "body.place", "negative");
    refused(rows, "{\"word\":2,\"place\":5}", "body.speed", "this field");
}

static void test_mistakes_are_named_with_their_place(void)
{
    static const char good[] = "{\"word\":[\"north\"],\"mode\":\"on\",\"place\":-1,\"volt\":1,"
                               "\"amps\":0,\"press\":4,\"temp\":0}";
    uint8_t room[64];
    struct wire_error error;
    struct wire_out out = wire_out_over(room, sizeof(room));
    CU_ASSERT_TRUE(encoded(numbers, good, WIRE_SHAPE_NATIVE, &out, &error));
    refused(numbers, "{\"word\":[\"nort\"]}", "body.word[0]", "name of a bit");
    refused(numbers, "{\"word\":1,\"word_flags\":[]}", "body.word", "names of the bits");
    refused(numbers, "{\"word\":70000}", "body.word", "0..65535");
    refused(numbers, "{\"word\":0,\"mode\":\"maybe\"}", "body.mode", "\"off\", \"on\"");
    refused(numbers, "{\"word\":0,\"mode\":1.5}", "body.mode", "a number 0..255");
    refused(numbers, "{\"word\":0,\"mode\":1,\"place\":1,\"volt\":7000}", "body.volt", "6553.5 V");
    refused(numbers, "{\"word\":0,\"mode\":1,\"place\":1}", "body.volt", "this field in V");
    refused(numbers,
            "{\"word\":0,\"mode\":1,\"place\":1,\"volt\":1,\"amps\":0,\"press\":4,\"temp\":0,"
            "\"spede\":1}",
            "body.spede", "a field");
    refused(numbers,
            "{\"word\":2,\"mode\":1,\"place\":1,\"volt\":1,\"amps\":0,\"press\":4,\"temp\":0,"
            "\"start\":\"noon\"}",
            "body.start", "08:00:00");
}

/* ---- texts and lists ------------------------------------------------------------------------ */

static const struct wire_row plain[] = {{.kind = WIRE_UINT, .width = 1, .flags = WIRE_INVALID},
                                        WIRE_END_OF_ROWS};
static const struct wire_row texts[] = {
    {.name = "fixed", .kind = WIRE_TEXT, .width = 4},
    {.name = "counted", .kind = WIRE_TEXT, .prefix = 1},
    {.name = "size", .kind = WIRE_COUNT, .width = 1, .keep = R_SIZE},
    {.name = "sized", .kind = WIRE_TEXT, .count = R_SIZE},
    {.name = "n", .kind = WIRE_COUNT, .width = 1, .keep = R_COUNT},
    {.name = "digits", .kind = WIRE_DIGITS, .width = 2},
    {.name = "list", .kind = WIRE_LIST, .rows = plain, .count = R_COUNT},
    {.name = "rest", .kind = WIRE_HEX, .flags = WIRE_OPTIONAL},
    WIRE_END_OF_ROWS};

static void test_texts_and_their_filling(void)
{
    both_ways(texts, PG_BYTES_OF("ab\0\0\x02xy\x01z\x02\x12\x3f\x05\xff\xab"), WIRE_SHAPE_NATIVE, 0,
              "{\"fixed\":\"ab\",\"counted\":\"xy\",\"sized\":\"z\",\"digits\":\"123f\","
              "\"list\":[5,null],\"rest\":\"ab\"}");
    both_ways(texts, PG_BYTES_OF("\0\0ab\x02x\0\0\0\0\0"), WIRE_SHAPE_NATIVE, 0,
              "{\"fixed\":\"ab\",\"counted\":\"x\",\"sized\":\"\",\"digits\":\"0000\",\"list\":[],"
              "\"exact\":{\"fixed\":\"00006162\",\"counted\":\"7800\"}}");
    both_ways(
        texts, PG_BYTES_OF("\xff\xff\0\0\x01\0\0\0\0\0"), WIRE_SHAPE_WIRE, 0,
        "{\"fixed\":{\"hex\":\"ffff0000\"},\"counted\":\"\",\"size\":0,\"sized\":\"\",\"n\":0,"
        "\"digits\":\"0000\",\"list\":[],\"exact\":{\"counted\":\"00\"}}");
    refused(texts, "{\"fixed\":\"abcde\"}", "body.fixed", "at most 4 bytes");
    refused(texts, "{\"fixed\":\"\",\"counted\":\"\",\"size\":2,\"sized\":\"abc\"}", "body.size",
            "3");
    refused(texts, "{\"fixed\":\"\",\"counted\":\"\",\"sized\":\"\",\"digits\":\"12\",\"list\":[]}",
            "body.digits", "4 digits");
    refused(texts,
            "{\"fixed\":\"\",\"counted\":\"\",\"sized\":\"\",\"digits\":\"1234\",\"list\":[1,300]}",
            "body.list[1]", "0..255");
}

static void test_a_body_that_does_not_fit(void)
{
    unsigned faults;
    struct pg_bytes whole = PG_BYTES_OF("ab\0\0\x02xy\x01z\x02\x12\x34\x05\x06");
    for (size_t n = 0; n < whole.len; n++) {
        (void)shown(texts, (struct pg_bytes){whole.data, n}, WIRE_SHAPE_NATIVE, &faults);
        CU_ASSERT_TRUE(faults != 0);
    }
    (void)shown(texts, whole, WIRE_SHAPE_NATIVE, &faults);
    CU_ASSERT_EQUAL(faults, 0);
}

/* ---- boxed entries and items ---------------------------------------------------------------- */

static const struct wire_row pair[] = {{.name = "a", .kind = WIRE_UINT, .width = 1},
                                       {.name = "b", .kind = WIRE_UINT, .width = 1},
                                       WIRE_END_OF_ROWS};
static const struct wire_row one_value[] = {
    {.name = "value", .kind = WIRE_UINT, .width = 2, .decimals = 1}, WIRE_END_OF_ROWS};
static const struct wire_row flag_value[] = {
    {.name = "value", .kind = WIRE_BITS, .width = 1, .bits = &word_bits}, WIRE_END_OF_ROWS};
static const struct wire_row cold_value[] = {{.name = "value", .kind = WIRE_SIGNMAG, .width = 2},
                                             WIRE_END_OF_ROWS};
static const struct wire_item item_list[] = {
    {.id = 1, .name = "speed", .length = 2, .rows = one_value},
    {.id = 2, .name = "flags", .length = 1, .rows = flag_value},
    {.id = 3, .name = "pair", .length = 2, .rows = pair},
    {.id = 4, .name = "cold", .length = 2, .rows = cold_value}};
static const struct wire_items item_kinds = {
    .id_width = 1, .length_width = 1, .by_name = true, .item = item_list, .n = 4};
static const struct wire_row items[] = {{.name = "items", .kind = WIRE_ITEMS, .items = &item_kinds},
                                        WIRE_END_OF_ROWS};
static const struct wire_row boxes[] = {
    {.name = "n", .kind = WIRE_COUNT, .width = 1, .keep = R_COUNT},
    {.name = "boxes", .kind = WIRE_LIST, .rows = pair, .prefix = 1, .count = R_COUNT},
    WIRE_END_OF_ROWS};

static void test_items_keep_order_and_duplicates_and_what_is_unknown(void)
{
    struct pg_bytes body = PG_BYTES_OF("\x03\x02\x08\x09\x01\x02\x00\x0f\xe1\x01\xaa\x01\x01\x05"
                                       "\x01\x02\x00\x10\x02\x01\x01\x04\x02\xff\xf6");
    both_ways(items, body, WIRE_SHAPE_NATIVE, 0,
              "{\"items\":{\"pair\":{\"a\":8,\"b\":9},\"speed\":1.5,\"0xe1\":{\"hex\":\"aa\"},"
              "\"0x01#2\":{\"hex\":\"05\"},\"speed#3\":1.6,"
              "\"flags\":{\"value\":1,\"flags\":[\"north\"]},"
              "\"cold\":{\"value\":-10,\"exact\":{\"value\":\"fff6\"}}}}");
    both_ways(items, body, WIRE_SHAPE_WIRE, 0,
              "{\"items\":[{\"id\":3,\"length\":2,\"name\":\"pair\",\"a\":8,\"b\":9},"
              "{\"id\":1,\"length\":2,\"name\":\"speed\",\"value\":15},"
              "{\"id\":225,\"length\":1,\"hex\":\"aa\"},{\"id\":1,\"length\":1,\"hex\":\"05\"},"
              "{\"id\":1,\"length\":2,\"name\":\"speed\",\"value\":16},"
              "{\"id\":2,\"length\":1,\"name\":\"flags\",\"value\":1},"
              "{\"id\":4,\"length\":2,\"name\":\"cold\",\"value\":65526}]}");
}

static void test_a_truncated_item_keeps_the_others(void)
{
    both_ways(items, PG_BYTES_OF("\x01\x02\x00\x0f\x01\x09\x01"), WIRE_SHAPE_NATIVE,
              WIRE_FAULT_TRUNCATED, "{\"items\":{\"speed\":1.5,\"truncated_hex\":\"010901\"}}");
    both_ways(items, PG_BYTES_OF("\x01"), WIRE_SHAPE_WIRE, WIRE_FAULT_TRUNCATED,
              "{\"items\":[{\"truncated_hex\":\"01\"}]}");
    refused(items, "{\"items\":{\"speedy\":1}}", "body.items.speedy", "name of an item");
    refused(items, "{\"items\":{\"pair\":{\"a\":1}}}", "body.items.pair.b", "this field");
}

static void test_a_broken_entry_keeps_its_neighbours(void)
{
    both_ways(boxes, PG_BYTES_OF("\x03\x02\x01\x02\x01\x09\x03\x05\x06\x07"), WIRE_SHAPE_NATIVE,
              WIRE_FAULT_ENTRY | WIRE_FAULT_SURPLUS,
              "{\"boxes\":[{\"a\":1,\"b\":2},{\"hex\":\"09\"},{\"a\":5,\"b\":6,"
              "\"extra_hex\":\"07\"}]}");
    both_ways(boxes, PG_BYTES_OF("\x02\x02\x01\x02\x08\x09"), WIRE_SHAPE_WIRE,
              WIRE_FAULT_TRUNCATED | WIRE_FAULT_COUNT,
              "{\"n\":2,\"boxes\":[{\"a\":1,\"b\":2},{\"truncated_hex\":\"0809\"}],"
              "\"exact\":{\"n\":\"02\"}}");
    both_ways(boxes, PG_BYTES_OF("\x01\x02\x01\x02\x02\x03\x04"), WIRE_SHAPE_NATIVE,
              WIRE_FAULT_COUNT,
              "{\"boxes\":[{\"a\":1,\"b\":2},{\"a\":3,\"b\":4}],\"exact\":{\"n\":\"01\"}}");
}

static void test_lookup_and_dump(void)
{
    struct wire_event event;
    struct pg_bytes body = PG_BYTES_OF("\x00\x11\x01\x00\x0f\x42\x40\x09\x6a\x27\x11\x05\x80\x0a");
    CU_ASSERT_TRUE(wire_find(numbers, body, 2019, "volt", &event));
    CU_ASSERT_EQUAL(event.raw, 2410);
    CU_ASSERT_PTR_EQUAL(event.bytes.data, body.data + 7);
    CU_ASSERT_FALSE(wire_find(numbers, body, 2019, "start", &event));
    CU_ASSERT_FALSE(wire_find(boxes, PG_BYTES_OF("\x01\x02\x01\x02"), 2019, "a", &event));
    struct json_out out = json_out_heap(10000);
    CU_ASSERT_EQUAL(wire_dump(&out, numbers, body, 12, 2019, WIRE_GBK), 0);
    json_out_put(&out, "", 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "0x0013  09 6a"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "241.0 V"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "[\"north\",\"half\"]"));
    json_out_free(&out);
}

static void test_times(void)
{
    struct wire_time t;
    CU_ASSERT_PTR_NULL(wire_time_parse((const uint8_t *)"\x24\x02\x29\x23\x59\x59", false, &t));
    CU_ASSERT_EQUAL(t.year, 2024);
    CU_ASSERT_STRING_EQUAL(wire_time_parse((const uint8_t *)"\x23\x02\x29\x00\x00\x00", false, &t),
                           "no_date");
    CU_ASSERT_STRING_EQUAL(wire_time_parse((const uint8_t *)"\x23\x13\x01\x00\x00\x00", false, &t),
                           "no_date");
    CU_ASSERT_STRING_EQUAL(wire_time_parse((const uint8_t *)"\0\0\0\0\0\0", false, &t), "not_set");
    static const struct wire_row rows[] = {{.name = "t", .kind = WIRE_TIME},
                                           {.name = "u", .kind = WIRE_TIME, .flags = WIRE_UTC},
                                           WIRE_END_OF_ROWS};
    both_ways(rows, PG_BYTES_OF("\x26\x03\x01\x08\x00\x01\x17\x03\x15\x17\x09\x23"),
              WIRE_SHAPE_NATIVE, 0,
              "{\"t\":\"2026-03-01T08:00:01+08:00\",\"u\":\"2017-03-15T17:09:23Z\"}");
    uint8_t room[16];
    struct wire_error error;
    struct wire_out out = wire_out_over(room, sizeof(room));
    CU_ASSERT_TRUE(encoded(rows,
                           "{\"t\":\"2024-02-28T16:30:00Z\",\"u\":\"2024-03-01T07:30:00+08:00\"}",
                           WIRE_SHAPE_NATIVE, &out, &error));
    CU_ASSERT_EQUAL(memcmp(room, "\x24\x02\x29\x00\x30\x00\x24\x02\x29\x23\x30\x00", 12), 0);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_numbers_in_both_shapes),
        TEST(test_values_that_say_no_value_become_null_with_the_reason),
        TEST(test_words_are_derived_from_what_people_give),
        TEST(test_mistakes_are_named_with_their_place),
        TEST(test_texts_and_their_filling),
        TEST(test_a_body_that_does_not_fit),
        TEST(test_items_keep_order_and_duplicates_and_what_is_unknown),
        TEST(test_a_truncated_item_keeps_the_others),
        TEST(test_a_broken_entry_keeps_its_neighbours),
        TEST(test_lookup_and_dump),
        TEST(test_times),
        CU_TEST_INFO_NULL,
    };
    return run_suite("wire_table", tests);
}
