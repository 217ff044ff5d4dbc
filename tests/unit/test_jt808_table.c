/* SPDX-License-Identifier: Apache-2.0 */

/* The tables of JT/T 808: that they are sound in themselves, the choice of a layout, documents as
 * applications write them, and what is said of wrong ones. */

#include "jt808_vectors.h"
#include "suite.h"

/* ---- the tables themselves ------------------------------------------------------------------ */

static void check_rows(const char *where, const struct wire_row *rows, unsigned depth);

static void fault_in(const char *where, const struct wire_row *row, const char *what)
{
    printf("    %s.%s: %s\n", where, row->name != NULL ? row->name : "-", what);
    CU_FAIL("a row is wrong");
}

static void check_items(const struct wire_items *items, unsigned depth)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct wire_item *item = &items->item[i];
        CU_ASSERT_PTR_NOT_NULL_FATAL(item->name);
        CU_ASSERT_TRUE(i == 0 || items->item[i - 1].id <= item->id);
        CU_ASSERT_TRUE(item->last_id == 0 || item->last_id > item->id);
        CU_ASSERT_TRUE(strchr(item->name, '#') == NULL && strncmp(item->name, "0x", 2) != 0);
        if (item->rows != NULL) {
            CU_ASSERT_TRUE(item->any_length || item->length > 0);
            check_rows(item->name, item->rows, depth + 1);
        }
        for (size_t j = 0; j < i; j++) {
            bool same = strcmp(items->item[j].name, item->name) == 0;
            CU_ASSERT_TRUE(!same || items->item[j].id == item->id);
        }
    }
}

static void check_register(const char *where, const struct wire_row *rows,
                           const struct wire_row *row, unsigned reg, const char *what)
{
    bool kept = reg == 0;
    for (const struct wire_row *r = rows; r < row; r++) {
        kept = kept || r->keep == reg;
    }
    if (reg > WIRE_REGISTERS || !kept) {
        fault_in(where, row, what);
    }
}

static void check_row(const char *where, const struct wire_row *rows, const struct wire_row *row,
                      unsigned depth)
{
    bool number = wire_kind_is_integer(row->kind) && row->kind != WIRE_FACT;
    if (number && row->kind != WIRE_PART && (row->width < 1 || row->width > 8)) {
        fault_in(where, row, "width");
    }
    if (row->name != NULL && row->name_len != 0 && row->name_len != strlen(row->name)) {
        fault_in(where, row, "name_len");
    }
    if (row->kind == WIRE_BITS && (row->bits == NULL || row->width > 4)) {
        fault_in(where, row, "bits");
    }
    if (row->kind == WIRE_COUNT && row->keep == 0) {
        fault_in(where, row, "a count that nobody reads");
    }
    if ((row->flags & WIRE_LISTED) != 0 && row->names == NULL) {
        fault_in(where, row, "listed without names");
    }
    if (row->keep > WIRE_REGISTERS ||
        ((row->when | row->sign) != 0 && depth == 0 && row->when > WIRE_REGISTERS)) {
        fault_in(where, row, "register");
    }
    if (depth == 0) {
        check_register(where, rows, row, row->when, "condition on nothing");
        check_register(where, rows, row, row->count, "count of nothing");
        check_register(where, rows, row, row->sign, "sign of nothing");
    }
    for (const struct wire_row *r = rows; r < row; r++) {
        if (row->name != NULL && r->name != NULL && strcmp(r->name, row->name) == 0) {
            fault_in(where, row, "twice");
        }
    }
    if (row->kind == WIRE_ITEMS) {
        check_items(row->items, depth + 1);
    } else if (row->kind == WIRE_STRUCT || row->kind == WIRE_LIST || row->kind == WIRE_PACK) {
        check_rows(row->name, row->rows, depth + 1);
    }
}

static void check_rows(const char *where, const struct wire_row *rows, unsigned depth)
{
    CU_ASSERT_TRUE_FATAL(depth < 8);
    for (const struct wire_row *row = rows; row->kind != WIRE_END; row++) {
        check_row(where, rows, row, depth);
    }
}

static void test_every_row_is_sound(void)
{
    for (size_t i = 0; i < jt808_message_count; i++) {
        const struct jt808_message *m = &jt808_messages[i];
        CU_ASSERT_TRUE(i == 0 || jt808_messages[i - 1].id < m->id);
        CU_ASSERT_PTR_EQUAL(jt808_message_by_id(m->id), m);
        CU_ASSERT_PTR_EQUAL(jt808_message_by_name(m->name), m);
        CU_ASSERT_EQUAL(m->up, m->id < 0x8000);
        for (const struct jt808_layout *l = m->layouts; l->rows != NULL; l++) {
            check_rows(m->name, l->rows, 0);
            CU_ASSERT_PTR_EQUAL(jt808_layout_by_name(m, l->name), l);
        }
        for (unsigned edition = 2011; edition <= 2019; edition++) {
            const struct jt808_layout *l = jt808_default_layout(m, edition);
            CU_ASSERT_TRUE(l->since <= edition && edition <= l->until);
        }
    }
    CU_ASSERT_PTR_NULL(jt808_message_by_id(0x0f00));
    CU_ASSERT_PTR_NULL(jt808_message_by_name("nothing"));
}

/* ---- documents ------------------------------------------------------------------------------ */

/* The document gives this frame, in hexadecimal. */
static void gives(const char *text, bool header_2019, const char *want)
{
    uint8_t room[8192];
    uint8_t wire[JT808_WIRE_MAX];
    struct wire_out body = wire_out_over(room, sizeof(room));
    struct jt808_json_defaults defaults = {.phone = "13800138000", .header_2019 = header_2019};
    struct jt808_json_message message;
    struct wire_error error;
    if (!jt808_json_encode_text(text, strlen(text), &defaults, &body, &message, &error)) {
        char sentence[400];
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s\n", sentence);
        CU_FAIL_FATAL("not encoded");
    }
    char *got =
        hex_text((struct pg_bytes){wire, jt808_frame_encode(&message.frame, wire, sizeof(wire))});
    if (strcmp(got, want) != 0) {
        printf("    got    %s\n    wanted %s\n", got, want);
    }
    CU_ASSERT_STRING_EQUAL(got, want);
    free(got);
}

static void refuses(const char *text, const char *path, const char *expected)
{
    uint8_t room[8192];
    struct wire_out body = wire_out_over(room, sizeof(room));
    struct jt808_json_defaults defaults = {.phone = "13800138000"};
    struct jt808_json_message message;
    struct wire_error error;
    bool fine = jt808_json_encode_text(text, strlen(text), &defaults, &body, &message, &error);
    CU_ASSERT_FALSE_FATAL(fine);
    if (strcmp(error.path, path) != 0 || strstr(error.expected, expected) == NULL) {
        printf("    %s: expected %s, found %s\n", error.path, error.expected, error.found);
    }
    CU_ASSERT_STRING_EQUAL(error.path, path);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.expected, expected));
}

static void test_documents_of_people(void)
{
    gives("{\"message\":\"heartbeat\",\"serial\":1}", false, "7e000200000138001380000001a97e");
    gives("{\"id\":\"0x0002\",\"serial\":1}", true, "7e0002400001000000000138001380000001e87e");
    gives("{\"message\":\"platform_general_response\",\"serial\":0,"
          "\"body\":{\"ack_serial\":1,\"ack_id\":\"0x0002\",\"result\":\"ok\"}}",
          false, "7e80010005013800138000000000010002002d7e");
    gives("{\"message\":\"text_message\",\"serial\":0,"
          "\"body\":{\"flag\":[\"display\",\"tts\"],\"text\":\"hi\"}}",
          false, "7e8300000301380013800000000c6869277e");
    gives("{\"message\":\"text_message\",\"serial\":0,\"edition\":\"2019\","
          "\"body\":{\"flag\":[\"notice\"],\"text_type\":\"service\",\"text\":\"\\u7ca4\"}}",
          false, "7e83004004010000000001380013800000000302d4c1787e");
    /* One document for terminals of both editions: a text is a notice unless it says what it is,
     * and who does not know types does without; so with the names of areas. */
    gives("{\"message\":\"text_message\",\"serial\":0,"
          "\"body\":{\"flag\":[\"display\",\"tts\"],\"text\":\"hi\"}}",
          true, "7e83004004010000000001380013800000000c016869607e");
    gives("{\"message\":\"text_message\",\"serial\":0,"
          "\"body\":{\"flag\":[\"display\",\"tts\"],\"text_type\":\"service\",\"text\":\"hi\"}}",
          false, "7e8300000301380013800000000c6869277e");
    gives("{\"message\":\"set_circle_areas\",\"serial\":0,\"body\":{\"action\":1,\"areas\":"
          "[{\"id\":1,\"center_latitude\":-1.5,\"center_longitude\":2,\"radius\":100,"
          "\"max_speed\":80,\"overspeed_duration\":10,\"name\":\"depot\"}]}}",
          false, "7e86000017013800138000000001010000000100420016e360001e84800000006400500ac97e");
    gives("{\"message\":\"query_parameters\",\"serial\":126}", false,
          "7e81040000013800138000007d02517e");
    gives("{\"message\":\"set_parameters\",\"serial\":0,\"body\":{\"params\":["
          "{\"name\":\"heartbeat_interval\",\"value\":60},"
          "{\"id\":\"0x0013\",\"value\":\"a:1\"},{\"id\":61440,\"value\":{\"hex\":\"0102\"}}]}}",
          false,
          "7e8103001901380013800000000300000001040000003c0000001303613a310000f000020102807e");
    gives("{\"id\":\"0x8f01\",\"serial\":0,\"body\":{\"hex\":\"0102\"}}", false,
          "7e8f01000201380013800000000102257e");
    gives(
        "{\"message\":\"set_circle_areas\",\"serial\":0,\"body\":{\"action\":\"append\",\"areas\":"
        "[{\"id\":1,\"center_latitude\":-1.5,\"center_longitude\":2,\"radius\":100,"
        "\"max_speed\":80,\"overspeed_duration\":10}]}}",
        false, "7e86000017013800138000000001010000000100420016e360001e84800000006400500ac97e");
    gives("{\"message\":\"vehicle_control\",\"serial\":0,\"body\":{\"flag\":[\"lock\"]}}", false,
          "7e850000010138001380000000012f7e");
}

static void test_mistakes_are_told(void)
{
    refuses("{", "document", "JSON");
    refuses("[]", "document", "object");
    refuses("{\"message\":\"txt\"}", "message", "name of a message");
    refuses("{\"body\":{}}", "message", "name of a message");
    refuses("{\"message\":\"heartbeat\",\"id\":3}", "id", "only one of both");
    refuses("{\"message\":\"text_message\",\"body\":{\"text\":\"a\"}}", "body.flag", "this field");
    refuses("{\"message\":\"text_message\",\"body\":{\"flag\":[\"loud\"],\"text\":\"a\"}}",
            "body.flag[0]", "bit of flag");
    refuses("{\"message\":\"text_message\",\"body\":{\"flag\":0,\"txt\":\"a\"}}", "body.text", "");
    refuses("{\"message\":\"text_message\",\"body\":{\"flag\":0,\"text\":\"a\",\"txt\":1}}",
            "body.txt", "did you mean \"text\"");
    refuses("{\"message\":\"text_message\",\"boby\":{}}", "boby", "member");
    refuses("{\"id\":\"0x8f01\",\"body\":{\"text\":1}}", "body", "hex");
    refuses("{\"message\":\"heartbeat\",\"phone\":\"1234567890123\"}", "phone", "1 to 12 digits");
    refuses("{\"message\":\"heartbeat\",\"edition\":\"2020\"}", "edition", "2019");
    refuses("{\"message\":\"set_circle_areas\",\"body\":{\"action\":1,\"areas\":[{\"id\":1,"
            "\"attributes\":0,\"center_latitude\":1,\"center_longitude\":1,\"radius\":1,"
            "\"max_speed\":9}]}}",
            "body.areas[0].max_speed", "attributes has 0x2");
    /* A limit for the night that a terminal cannot keep is not left out quietly. */
    refuses("{\"message\":\"set_circle_areas\",\"body\":{\"action\":1,\"areas\":[{\"id\":1,"
            "\"center_latitude\":1,\"center_longitude\":1,\"radius\":1,\"max_speed\":9,"
            "\"overspeed_duration\":1,\"night_max_speed\":5}]}}",
            "body.areas[0].night_max_speed", "no such field in edition 2013");
    refuses("{\"message\":\"set_parameters\",\"body\":{\"params\":[{\"id\":1,\"value\":\"x\"}]}}",
            "body.params[0].value", "0..4294967295");
    refuses("{\"message\":\"query_specific_parameters\",\"body\":{\"count\":2,\"ids\":[1]}}",
            "body.count", "1, the size of ids");
}

/* ---- layouts -------------------------------------------------------------------------------- */

static void opens_as(uint16_t id, bool header_2019, struct pg_bytes bytes, const char *layout)
{
    struct jt808_frame frame = {.msg_id = id, .header_2019 = header_2019, .body = bytes};
    struct jt808_body body;
    CU_ASSERT_TRUE_FATAL(jt808_body_open(&frame, 0, &body));
    if (strcmp(body.layout->name, layout) != 0) {
        printf("    0x%04x: %s instead of %s\n", id, body.layout->name, layout);
    }
    CU_ASSERT_STRING_EQUAL(body.layout->name, layout);
    CU_ASSERT_EQUAL(body.faults, 0);
}

static void test_the_layout_that_fits_is_taken(void)
{
    uint8_t bytes[128] = {0};
    opens_as(0x0100, false, (struct pg_bytes){bytes, 25}, "2011");
    opens_as(0x0100, false, (struct pg_bytes){bytes, 37}, "2013");
    opens_as(0x0100, true, (struct pg_bytes){bytes, 76}, "2019");
    opens_as(0x0102, false, PG_BYTES_OF("code"), "2013");
    opens_as(0x0102, true, PG_BYTES_OF("code"), "2013");
    opens_as(0x0102, true,
             PG_BYTES_OF("\x04"
                         "code"),
             "2019-code-only");
    opens_as(0x0102, true,
             PG_BYTES_OF("\x01"
                         "c123456789012345V1"),
             "2019-short-version");
    opens_as(0x0107, true, (struct pg_bytes){bytes, 81}, "2019");
    opens_as(0x0107, true, (struct pg_bytes){bytes, 87}, "2019-maker-11");
    opens_as(0x0107, true, (struct pg_bytes){bytes, 48}, "2013");
    opens_as(0x8003, false, PG_BYTES_OF("\0\1\1\0\2"), "2013");
    opens_as(0x8003, false, PG_BYTES_OF("\0\1\0\1\0\2"), "2019");
    opens_as(0x0005, true, PG_BYTES_OF("\0\1\1\0\2"), "2013");
    opens_as(0x0201, false, (struct pg_bytes){bytes, 30}, "any");
    opens_as(0x0201, false, (struct pg_bytes){bytes, 28}, "2011-no-serial");
}

static void test_fields_are_found(void)
{
    struct jt808_frame frame = {.msg_id = 0x8001, .body = PG_BYTES_OF("\0\7\x02\x00\1")};
    struct jt808_body body;
    struct pg_bytes code;
    uint64_t value;
    CU_ASSERT_TRUE_FATAL(jt808_body_open(&frame, 0, &body));
    CU_ASSERT_TRUE(jt808_body_uint(&body, "ack_serial", &value) && value == 7);
    CU_ASSERT_TRUE(jt808_body_uint(&body, "ack_id", &value) && value == 0x200);
    CU_ASSERT_TRUE(jt808_body_uint(&body, "result", &value) && value == 1);
    CU_ASSERT_FALSE(jt808_body_uint(&body, "alarm", &value));
    frame = (struct jt808_frame){.msg_id = 0x0102, .body = PG_BYTES_OF("code\0")};
    CU_ASSERT_TRUE_FATAL(jt808_body_open(&frame, 0, &body));
    CU_ASSERT_TRUE(jt808_body_bytes(&body, "auth_code", &code) && code.len == 4);
    CU_ASSERT_FALSE(jt808_body_uint(&body, "auth_code", &value));
    uint8_t location[30] = {0, 5, 0, 0, 0, 1, 0, 0, 0x10, 0};
    frame = (struct jt808_frame){.msg_id = 0x0500, .body = {location, sizeof(location)}};
    CU_ASSERT_TRUE_FATAL(jt808_body_open(&frame, 0, &body));
    CU_ASSERT_TRUE(jt808_body_uint(&body, "location.status", &value) && value == 0x1000);
}

static void test_what_cannot_be_read_is_passed_on(void)
{
    struct jt808_json_options options = {.raw = true, .received_ms = 1772323200123};
    struct jt808_frame frame = {.msg_id = 0x0200, .phone = "013800138000", .serial = 9};
    unsigned faults;
    frame.body = PG_BYTES_OF("\1\2\3");
    frame.attributes = 3;
    json_t *document = frame_document(&frame, &options, &faults);
    CU_ASSERT_EQUAL(faults, WIRE_FAULT_BODY);
    CU_ASSERT_STRING_EQUAL(
        json_string_value(json_object_get(json_object_get(document, "body"), "unknown_hex")),
        "010203");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(document, "time")),
                           "2026-03-01T08:00:00.123+08:00");
    json_decref(document);
    frame.attributes |= 1u << 10;
    document = frame_document(&frame, &options, &faults);
    CU_ASSERT_EQUAL(faults, 0);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(document, "encryption")), 1);
    json_decref(document);
}

static void test_a_small_buffer_fails_whole(void)
{
    uint8_t location[28] = {0};
    char text[600];
    struct jt808_frame frame = {.msg_id = 0x0200, .phone = "013800138000"};
    struct jt808_json_options options = {0};
    frame.body = (struct pg_bytes){location, sizeof(location)};
    struct json_out whole = json_out_over(text, sizeof(text));
    CU_ASSERT_TRUE(jt808_json_write(&whole, &frame, &options, NULL));
    for (size_t size = 0; size < whole.len; size++) {
        struct json_out out = json_out_over(text, size);
        CU_ASSERT_FALSE(jt808_json_write(&out, &frame, &options, NULL));
        CU_ASSERT_EQUAL(out.len, 0);
    }
}

static void test_the_dump_names_every_field(void)
{
    uint8_t location[34] = {0, 0, 0, 1, 0, 0, 0, 3, [28] = 1, 4, 0, 0, 0, 10};
    struct jt808_frame frame = {.msg_id = 0x0200, .phone = "013800138000"};
    frame.body = (struct pg_bytes){location, sizeof(location)};
    struct json_out out = json_out_heap(100000);
    jt808_dump(&out, &frame, 0, WIRE_GBK);
    json_out_put(&out, "", 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "location_report"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "emergency"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, " 3,\"flags\":[\"acc\",\"positioned\"]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "mileage"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "1.0 km"));
    json_out_free(&out);
}

static void test_the_catalogue_has_every_message(void)
{
    char head[80];
    struct json_out out = json_out_heap(1u << 20);
    jt808_catalogue(&out);
    json_out_put(&out, "", 1);
    CU_ASSERT_FALSE_FATAL(out.failed);
    for (size_t i = 0; i < jt808_message_count; i++) {
        (void)snprintf(head, sizeof(head), "0x%04x %s (", jt808_messages[i].id,
                       jt808_messages[i].name);
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, head));
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "speed                    2 bytes, 0.1 km/h"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "0x00000001 heartbeat_interval, 4 bytes"));
    json_out_free(&out);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_every_row_is_sound),
        TEST(test_documents_of_people),
        TEST(test_mistakes_are_told),
        TEST(test_the_layout_that_fits_is_taken),
        TEST(test_fields_are_found),
        TEST(test_what_cannot_be_read_is_passed_on),
        TEST(test_a_small_buffer_fails_whole),
        TEST(test_the_dump_names_every_field),
        TEST(test_the_catalogue_has_every_message),
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_table", tests);
}
