/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of STOMP: what is a frame, what is not and why, and that it is the same however it is cut;
 * values, escapes, destinations. In texts `@` stands for the octet NUL. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stomp/stomp_destination.h"
#include "stomp/stomp_frame.h"
#include "suite.h"

static const struct stomp_limits limits = {.header_count = 8, .header_size = 160, .body_size = 40};

/* A copy of its own, so that a read past the end is seen; given. */
static struct pg_bytes bytes_of(const char *text)
{
    size_t len = strlen(text);
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }
    for (size_t i = 0; i < len; i++) {
        copy[i] = (uint8_t)(text[i] == '@' ? 0 : text[i]);
    }
    return (struct pg_bytes){.data = copy, .len = len};
}

static void give(struct pg_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static bool is(struct pg_bytes bytes, const char *text)
{
    return pg_bytes_equal(bytes, pg_bytes_str(text));
}

/* Read a stream in pieces that end at `cuts`; each piece lies elsewhere, as it does after a
 * read. */
static enum stomp_result read_cut(struct pg_bytes in, const size_t *cuts, size_t count,
                                  struct stomp_frame *frame)
{
    enum stomp_result result = STOMP_MORE;
    stomp_frame_begin(frame);
    for (size_t i = 0; i <= count && result == STOMP_MORE; i++) {
        size_t len = i < count ? cuts[i] : in.len;
        uint8_t *piece = malloc(len + 1);
        if (piece == NULL) {
            abort();
        }
        memcpy(piece, in.data, len);
        result = stomp_frame_read(frame, (struct pg_bytes){.data = piece, .len = len}, &limits);
        free(piece);
    }
    frame->data = in.data;
    return result;
}

static bool same_field(const struct stomp_field *a, const struct stomp_field *b)
{
    return a->name_at == b->name_at && a->name_len == b->name_len && a->value_at == b->value_at &&
           a->value_len == b->value_len && a->header == b->header && a->escaped == b->escaped &&
           a->stray_cr == b->stray_cr;
}

static bool same(const struct stomp_frame *a, const struct stomp_frame *b)
{
    bool alike = a->command == b->command && a->count == b->count && a->total == b->total &&
                 a->body_at == b->body_at && a->body_len == b->body_len && a->fault == b->fault &&
                 memcmp(a->first, b->first, sizeof(a->first)) == 0;
    for (size_t i = 0; alike && i < a->count; i++) {
        alike = same_field(&a->fields[i], &b->fields[i]);
    }
    return alike;
}

static const char *const frames[] = {
    "SEND\ndestination:/queue/a\n\nhello@",
    "SEND\r\ndestination:/queue/a\r\ncontent-length:3\r\n\r\na@b@",
    "CONNECT\n\n@",
    "STOMP\naccept-version:1.0,1.1\nhost:\nlogin: a b \npasscode:x:y\\z\n\n@",
    "SEND\nreceipt:1\nreceipt-id:2\nreceip:3\nid:4\nids:5\nmessage-id:6\nmessage:7\n\n@",
    "MESSAGE\ndestination:a\nmessage-id:1\nsubscription:0\nx\\cy:\\n\\\\\n\n\n\r@",
    "SEND\ncontent-length:0\ndestination:\n\n@",
    "UNSUBSCRIBE\nid:\xe4\xba\xac\n\n@",
};

static const struct {
    const char *text;
    enum stomp_fault fault;
} broken[] = {
    {"SENT\n", STOMP_F_COMMAND},
    {"SEN\n", STOMP_F_COMMAND},
    {"SEND \n", STOMP_F_COMMAND},
    {"send\n", STOMP_F_COMMAND},
    {"SENDS", STOMP_F_COMMAND},
    {"@", STOMP_F_COMMAND},
    {"\rS", STOMP_F_COMMAND},
    {"SEND\nno colon\n", STOMP_F_HEADER},
    {"SEND\n:value\n", STOMP_F_HEADER},
    {"SEND\r\na\r\n", STOMP_F_HEADER},
    {"SEND\na:b@", STOMP_F_NUL},
    {"SEND\na@", STOMP_F_NUL},
    {"SEND\n1:\n2:\n3:\n4:\n5:\n6:\n7:\n8:\n9:\n", STOMP_F_HEADER_COUNT},
    {"SEND\ncontent-length:-1\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:+5\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:5 5\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:0x10\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length: 5\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:99999999999999999999\n\n", STOMP_F_CONTENT_LENGTH},
    {"SEND\ncontent-length:41\n\n", STOMP_F_BODY_SIZE},
    {"SEND\n\n01234567890123456789012345678901234567890", STOMP_F_BODY_SIZE},
    {"SEND\ncontent-length:2\n\nabc", STOMP_F_NO_NUL},
    {"SEND\nx:0123456789012345678901234567890123456789012345678901234567890123456789"
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
     STOMP_F_HEADER_SIZE},
};

static void frame_is_the_same_however_it_is_cut(void)
{
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct pg_bytes in = bytes_of(frames[i]);
        struct stomp_frame whole, cut;
        CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &whole), STOMP_WHOLE);
        CU_ASSERT_EQUAL(whole.total, in.len);
        size_t every[256];
        for (size_t n = 0; n < in.len; n++) {
            every[n] = n;
        }
        CU_ASSERT_EQUAL(read_cut(in, every, in.len, &cut), STOMP_WHOLE);
        CU_ASSERT_TRUE(same(&whole, &cut));
        for (size_t a = 0; a < in.len; a++) {
            for (size_t b = a; b < in.len; b++) {
                const size_t two[] = {a, b};
                CU_ASSERT_EQUAL(read_cut(in, two, 2, &cut), STOMP_WHOLE);
                CU_ASSERT_TRUE(same(&whole, &cut));
            }
        }
        give(in);
    }
}

static void what_is_no_frame_says_why_however_it_is_cut(void)
{
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct pg_bytes in = bytes_of(broken[i].text);
        struct stomp_frame frame;
        CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_MALFORMED);
        CU_ASSERT_EQUAL(frame.fault, broken[i].fault);
        for (size_t n = 0; n < in.len; n++) {
            CU_ASSERT_EQUAL(read_cut(in, &n, 1, &frame), STOMP_MALFORMED);
            CU_ASSERT_EQUAL(frame.fault, broken[i].fault);
        }
        CU_ASSERT_TRUE(stomp_fault_sentence(broken[i].fault)[0] != '\0');
        CU_ASSERT_TRUE(stomp_fault_clause(broken[i].fault)[0] != '\0');
        give(in);
    }
}

static void limits_are_inclusive(void)
{
    struct stomp_frame frame;
    struct pg_bytes in = bytes_of("SEND\n1:\n2:\n3:\n4:\n5:\n6:\n7:\n8:\n\n@");
    CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
    CU_ASSERT_EQUAL(frame.count, 8);
    give(in);
    in = bytes_of("SEND\n\n0123456789012345678901234567890123456789@");
    CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
    CU_ASSERT_EQUAL(frame.body_len, 40);
    give(in);
    char text[256] = "SEND\na:";
    memset(text + 7, 'x', 160 - 9);
    memcpy(text + 158, "\n\n@", 4);
    in = bytes_of(text);
    CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
    CU_ASSERT_EQUAL(frame.body_at, 160);
    give(in);
}

static void length_of_a_frame_is_known_when_its_head_is_there(void)
{
    struct stomp_frame frame;
    struct pg_bytes in = bytes_of("SEND\ncontent-length:5\n\nab");
    CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_MORE);
    CU_ASSERT_EQUAL(frame.total, in.len - 2 + 5 + 1);
    give(in);
}

static void known_headers_are_told_from_those_that_begin_alike(void)
{
    struct stomp_frame frame;
    struct pg_bytes in = bytes_of(frames[4]);
    CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
    const enum stomp_header expected[] = {STOMP_H_RECEIPT, STOMP_H_RECEIPT_ID, STOMP_H_OTHER,
                                          STOMP_H_ID,      STOMP_H_OTHER,      STOMP_H_MESSAGE_ID,
                                          STOMP_H_MESSAGE};
    for (size_t i = 0; i < frame.count; i++) {
        CU_ASSERT_EQUAL(frame.fields[i].header, expected[i]);
    }
    give(in);
    for (enum stomp_header h = 1; h < STOMP_H_COUNT; h++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "SEND\n%s:v\n\n@", stomp_header_name(h));
        if (h == STOMP_H_CONTENT_LENGTH) {
            (void)snprintf(text, sizeof(text), "SEND\n%s:0\n\n@", stomp_header_name(h));
        }
        in = bytes_of(text);
        CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
        CU_ASSERT_EQUAL(frame.fields[0].header, h);
        CU_ASSERT_TRUE(stomp_frame_has(&frame, h));
        give(in);
    }
    for (enum stomp_command c = 1; c < STOMP_COMMAND_COUNT; c++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s\n\n@", stomp_command_name(c));
        in = bytes_of(text);
        CU_ASSERT_EQUAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
        CU_ASSERT_EQUAL(stomp_frame_command(&frame), c);
        give(in);
    }
}

/* The value of `header` in a frame of one version; NULL: the frame is refused, for *fault. */
static const char *value(const char *text, enum stomp_version version, enum stomp_header header,
                         enum stomp_fault *fault)
{
    static char out[64];
    struct stomp_frame frame;
    struct pg_bytes in = bytes_of(text);
    struct stomp_texts texts = {.version = version};
    CU_ASSERT_EQUAL_FATAL(read_cut(in, NULL, 0, &frame), STOMP_WHOLE);
    *fault = stomp_frame_check(&frame, version);
    if (*fault == STOMP_F_OK) {
        struct pg_bytes got = stomp_value(&frame, header, &texts);
        (void)snprintf(out, sizeof(out), "%.*s", (int)got.len,
                       got.data != NULL ? (const char *)got.data : "");
    }
    stomp_texts_free(&texts);
    give(in);
    return *fault == STOMP_F_OK ? out : NULL;
}

static void escapes_are_those_of_the_version(void)
{
    static const struct {
        const char *text;
        enum stomp_version version;
        const char *expected; /* NULL: refused */
    } rows[] = {
        {"SEND\nid:a\\nb\\cc\\\\d\n\n@", STOMP_V12, "a\nb:c\\d"},
        {"SEND\nid:a\\nb\\cc\\\\d\n\n@", STOMP_V11, "a\nb:c\\d"},
        {"SEND\nid:a\\nb\\cc\\\\d\n\n@", STOMP_V10, "a\\nb\\cc\\\\d"},
        {"SEND\nid:a\\rb\n\n@", STOMP_V12, "a\rb"},
        {"SEND\nid:a\\rb\n\n@", STOMP_V11, NULL},
        {"SEND\nid:a\\tb\n\n@", STOMP_V12, NULL},
        {"SEND\nid:a\\tb\n\n@", STOMP_V11, NULL},
        {"SEND\nid:a\\tb\n\n@", STOMP_V10, "a\\tb"},
        {"SEND\nid:a\\\n\n@", STOMP_V12, NULL},
        {"SEND\nx\\t:\nid:1\n\n@", STOMP_V12, NULL},
        {"CONNECT\nid:a\\tb\\c\n\n@", STOMP_V12, "a\\tb\\c"},
        {"STOMP\nid:a\\tb\\c\n\n@", STOMP_V12, "a\\tb\\c"},
        {"CONNECTED\nid:a\\tb\\c\n\n@", STOMP_V12, "a\\tb\\c"},
        {"SEND\nid:a:b:\n\n@", STOMP_V12, "a:b:"},
        {"SEND\nid: a \n\n@", STOMP_V12, " a "},
        {"SEND\nid: a \n\n@", STOMP_V10, "a "},
        {"SEND\nid:1\nid:2\n\n@", STOMP_V12, "1"},
        {"SEND\nid:a\rb\n\n@", STOMP_V11, "a\rb"},
        {"SEND\nid:1\r\n\n@", STOMP_V12, "1"},
        {"SEND\nother:1\n\n@", STOMP_V12, ""},
    };
    enum stomp_fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = value(rows[i].text, rows[i].version, STOMP_H_ID, &fault);
        if (rows[i].expected == NULL) {
            CU_ASSERT_EQUAL(fault, STOMP_F_ESCAPE);
        } else {
            CU_ASSERT_PTR_NOT_NULL_FATAL(got);
            CU_ASSERT_STRING_EQUAL(got, rows[i].expected);
        }
    }
    CU_ASSERT_PTR_NULL(value("SEND\nid:a\rb\n\n@", STOMP_V12, STOMP_H_ID, &fault));
    CU_ASSERT_EQUAL(fault, STOMP_F_CARRIAGE_RETURN);
    CU_ASSERT_PTR_NULL(value("SEND\nid:\xc3(\n\n@", STOMP_V12, STOMP_H_ID, &fault));
    CU_ASSERT_EQUAL(fault, STOMP_F_UTF8);
}

static void ends_of_line_between_frames_are_skipped(void)
{
    CU_ASSERT_EQUAL(stomp_skip_eols(pg_bytes_str("\n\r\n\nSEND")), 4);
    CU_ASSERT_EQUAL(stomp_skip_eols(pg_bytes_str("\r")), 0);
    CU_ASSERT_EQUAL(stomp_skip_eols(pg_bytes_str("\n\rS")), 1);
    CU_ASSERT_EQUAL(stomp_skip_eols(PG_BYTES_NONE), 0);
}

static void numbers_are_digits_alone(void)
{
    uint64_t n;
    uint32_t a, b;
    CU_ASSERT_TRUE(stomp_number(pg_bytes_str("0"), 10, &n) && n == 0);
    CU_ASSERT_TRUE(stomp_number(pg_bytes_str("010"), 10, &n) && n == 10);
    CU_ASSERT_FALSE(stomp_number(pg_bytes_str("11"), 10, &n));
    CU_ASSERT_TRUE(stomp_number(pg_bytes_str("18446744073709551615"), UINT64_MAX, &n));
    CU_ASSERT_EQUAL(n, UINT64_MAX);
    CU_ASSERT_FALSE(stomp_number(pg_bytes_str("18446744073709551616"), UINT64_MAX, &n));
    CU_ASSERT_FALSE(stomp_number(pg_bytes_str(""), 10, &n));
    CU_ASSERT_FALSE(stomp_number(pg_bytes_str("1 "), 10, &n));
    CU_ASSERT_TRUE(stomp_heart_beat(pg_bytes_str("4,17"), &a, &b) && a == 4 && b == 17);
    CU_ASSERT_TRUE(stomp_heart_beat(pg_bytes_str("0,0"), &a, &b) && a == 0 && b == 0);
    static const char *const wrong[] = {
        "", ",", "1", "1,", ",1", "-1,0", "a,b", "1,2,3", "1000000000000,0", "1, 2"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CU_ASSERT_FALSE(stomp_heart_beat(pg_bytes_str(wrong[i]), &a, &b));
    }
}

static void highest_common_version_is_chosen(void)
{
    const unsigned all = 1u << STOMP_V10 | 1u << STOMP_V11 | 1u << STOMP_V12;
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("1.0,1.1,1.2"), all), STOMP_V12);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("1.2,1.0"), all), STOMP_V12);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("1.1,1.0"), all), STOMP_V11);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("2.0, 1.1"), all), STOMP_V11);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("1.0,1.1,1.2"), 1u << STOMP_V10), STOMP_V10);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str("2.1,11,1"), all), STOMP_V_UNKNOWN);
    CU_ASSERT_EQUAL(stomp_negotiate(pg_bytes_str(""), all), STOMP_V_UNKNOWN);
}

/* A header as it is written; NULL: it cannot be. */
static const char *written(enum stomp_version version, const char *name, const char *text)
{
    static char out[128];
    struct stomp_writer dry = {.version = version};
    struct stomp_writer w = {.data = (uint8_t *)out, .room = sizeof(out), .version = version};
    bool done = stomp_put_header(&dry, pg_bytes_str(name), pg_bytes_str(text));
    CU_ASSERT_EQUAL(stomp_put_header(&w, pg_bytes_str(name), pg_bytes_str(text)), done);
    CU_ASSERT_EQUAL(dry.len, w.len);
    out[w.len] = '\0';
    /* With less room nothing is written behind it, and the length is the same. */
    for (size_t room = 0; room < w.len; room++) {
        char less[sizeof(out)];
        memset(less, '#', sizeof(less));
        struct stomp_writer cut = {.data = (uint8_t *)less, .room = room, .version = version};
        (void)stomp_put_header(&cut, pg_bytes_str(name), pg_bytes_str(text));
        CU_ASSERT_EQUAL(cut.len, w.len);
        CU_ASSERT_EQUAL(less[room], '#');
    }
    return done ? out : NULL;
}

static void headers_are_written_with_the_escapes_of_the_version_or_not_at_all(void)
{
    CU_ASSERT_STRING_EQUAL(written(STOMP_V12, "a:b", "c\nd\re\\f"), "a\\cb:c\\nd\\re\\\\f\n");
    CU_ASSERT_STRING_EQUAL(written(STOMP_V11, "a:b", "c\nd\\f"), "a\\cb:c\\nd\\\\f\n");
    CU_ASSERT_PTR_NULL(written(STOMP_V11, "a", "c\rd"));
    CU_ASSERT_STRING_EQUAL(written(STOMP_V10, "a", "c:d\\f"), "a:c:d\\f\n");
    CU_ASSERT_PTR_NULL(written(STOMP_V10, "a", "c\nd"));
    CU_ASSERT_PTR_NULL(written(STOMP_V10, "a:b", "c"));
    CU_ASSERT_PTR_NULL(written(STOMP_V12, "", "c"));
}

static void destination_and_topic_mean_each_other(void)
{
    static const struct {
        const char *destination, *topic;
        enum stomp_form form;
    } rows[] = {
        {"/topic/a/b", "a/b", STOMP_TOPIC},
        {"a/b", "a/b", STOMP_PLAIN},
        {"/topic//a", "/a", STOMP_TOPIC},
        {"/queue/q", "q", STOMP_QUEUE},
        {"/queue/a/b", "a/b", STOMP_QUEUE},
        {"/p2p/013912345678", "stomp/p2p/013912345678", STOMP_P2P},
        {"/topic/a:b", "a:b", STOMP_TOPIC},
        {"$SYS/a", "$SYS/a", STOMP_PLAIN},
    };
    static uint8_t room[STOMP_TOPIC_ROOM];
    char out[128];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct stomp_destination d = stomp_destination_read(pg_bytes_str(rows[i].destination));
        CU_ASSERT_EQUAL(d.form, rows[i].form);
        struct pg_bytes topic = stomp_topic_of(&d, "stomp", room);
        CU_ASSERT_TRUE(is(topic, rows[i].topic));
        struct stomp_writer w = {.data = (uint8_t *)out, .room = sizeof(out), .version = STOMP_V10};
        stomp_put_destination(&w, d.form, topic, "stomp");
        out[w.len] = '\0';
        CU_ASSERT_STRING_EQUAL(out, rows[i].destination);
    }
    /* What a form cannot say is said in another. */
    static const struct {
        enum stomp_form form;
        const char *topic, *destination;
    } others[] = {
        {STOMP_PLAIN, "/a", "/topic//a"},
        {STOMP_PLAIN, "/queue/a", "/topic//queue/a"},
        {STOMP_P2P, "a/b", "/topic/a/b"},
        {STOMP_P2P, "app/p2p/c", "/topic/app/p2p/c"},
        {STOMP_P2P, "stomp/p2p/", "/topic/stomp/p2p/"},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct stomp_writer w = {.data = (uint8_t *)out, .room = sizeof(out), .version = STOMP_V10};
        stomp_put_destination(&w, others[i].form, pg_bytes_str(others[i].topic), "stomp");
        out[w.len] = '\0';
        CU_ASSERT_STRING_EQUAL(out, others[i].destination);
        struct stomp_destination d = stomp_destination_read(pg_bytes_str(out));
        CU_ASSERT_TRUE(is(stomp_topic_of(&d, "stomp", room), others[i].topic));
    }
}

static void wildcards_of_other_brokers_are_those_of_mqtt_if_wanted(void)
{
    static const struct {
        const char *text, *both;
    } rows[] = {
        {"a/*/b", "a/+/b"}, {"*", "+"},   {"a/>", "a/#"}, {">", "#"},
        {"a*/b", "a*/b"},   {"a>", "a>"}, {">/a", ">/a"}, {"+/#", "+/#"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pg_bytes rest = pg_bytes_str(rows[i].text);
        uint8_t out[16];
        stomp_filter_copy(rest, true, out);
        CU_ASSERT_TRUE(is((struct pg_bytes){.data = out, .len = rest.len}, rows[i].both));
        stomp_filter_copy(rest, false, out);
        CU_ASSERT_TRUE(is((struct pg_bytes){.data = out, .len = rest.len}, rows[i].text));
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(frame_is_the_same_however_it_is_cut),
        TEST(what_is_no_frame_says_why_however_it_is_cut),
        TEST(limits_are_inclusive),
        TEST(length_of_a_frame_is_known_when_its_head_is_there),
        TEST(known_headers_are_told_from_those_that_begin_alike),
        TEST(escapes_are_those_of_the_version),
        TEST(ends_of_line_between_frames_are_skipped),
        TEST(numbers_are_digits_alone),
        TEST(highest_common_version_is_chosen),
        TEST(headers_are_written_with_the_escapes_of_the_version_or_not_at_all),
        TEST(destination_and_topic_mean_each_other),
        TEST(wildcards_of_other_brokers_are_those_of_mqtt_if_wanted),
        CU_TEST_INFO_NULL,
    };
    return run_suite("stomp_frame", tests);
}
