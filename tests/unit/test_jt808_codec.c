/* SPDX-License-Identifier: Apache-2.0 */

/* JT/T 808 framing: every rule of 4.4 and every fault of terminals that the codec knows by name.
 * Streams are fed three ways: whole, one byte at a time, and cut in two at each offset. */

#include "jt808/jt808_codec.h"
#include "jt808_hex.h"
#include "suite.h"

/* ---- a stream and what came out of it ------------------------------------------------------- */

#define MAX_FRAMES 64

struct outcome {
    size_t frames;
    uint16_t ids[MAX_FRAMES], serials[MAX_FRAMES];
    size_t body_lens[MAX_FRAMES];
    size_t errors[JT808_ERROR_COUNT];
    size_t noise_bytes;
    size_t left; /* bytes that stay unconsumed */
};

/* What a connection does: new bytes behind what was left, consume, keep the rest. */
static struct outcome feed_cut(struct pg_bytes all, const size_t *cuts, size_t cut_count,
                               uint32_t tolerated)
{
    struct outcome result = {0};
    struct jt808_stream stream = {.tolerated = tolerated};
    uint8_t *kept = malloc(all.len + 1);
    size_t kept_len = 0, from = 0;

    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : all.len;
        memcpy(kept + kept_len, all.data + from, to - from);
        kept_len += to - from;
        from = to;
        /* An exact copy, so that a read past the end is seen. */
        uint8_t *exact = malloc(kept_len ? kept_len : 1);
        memcpy(exact, kept, kept_len);
        struct pg_bytes in = {.data = exact, .len = kept_len};
        for (;;) {
            struct jt808_scratch scratch;
            struct jt808_frame frame;
            enum jt808_error error;
            size_t used;
            enum jt808_result r = jt808_frame_next(&stream, in, &scratch, &used, &frame, &error);
            CU_ASSERT_FATAL(used <= in.len);
            CU_ASSERT_FATAL(r == JT808_FRAME_MORE || used > 0);
            if (r == JT808_FRAME_WHOLE) {
                CU_ASSERT_FATAL(result.frames < MAX_FRAMES);
                result.ids[result.frames] = frame.msg_id;
                result.serials[result.frames] = frame.serial;
                result.body_lens[result.frames] = frame.body.len;
                result.frames++;
            } else if (r == JT808_FRAME_MALFORMED) {
                if (error == JT808_ERROR_NOISE) {
                    result.noise_bytes += used;
                } else {
                    result.errors[error]++;
                }
            }
            in.data += used;
            in.len -= used;
            if (r == JT808_FRAME_MORE) {
                break;
            }
        }
        memmove(kept, kept + kept_len - in.len, in.len);
        kept_len = in.len;
        CU_ASSERT(kept_len <= JT808_WIRE_MAX);
        free(exact);
    }
    result.left = kept_len;
    free(kept);
    return result;
}

/* Three ways; all must give the same. */
static struct outcome feed(struct pg_bytes all, uint32_t tolerated)
{
    struct outcome whole = feed_cut(all, NULL, 0, tolerated);
    size_t *cuts = malloc((all.len + 1) * sizeof(*cuts));

    for (size_t i = 0; i < all.len; i++) {
        cuts[i] = i;
    }
    struct outcome bytewise = feed_cut(all, cuts, all.len, tolerated);
    CU_ASSERT(memcmp(&whole, &bytewise, sizeof(whole)) == 0);
    for (size_t i = 0; i <= all.len; i++) {
        struct outcome two = feed_cut(all, &i, 1, tolerated);
        CU_ASSERT(memcmp(&whole, &two, sizeof(whole)) == 0);
    }
    free(cuts);
    return whole;
}

static struct outcome feed_hex(const char *text, uint32_t tolerated)
{
    struct pg_bytes all = hex_bytes(text);
    struct outcome result = feed(all, tolerated);

    free((void *)all.data);
    return result;
}

/* Heartbeats of the reference's phone, serials 1 and 2. */
#define A       "7e 0002 0000 013800138000 0001 a9 7e"
#define A_INNER "0002 0000 013800138000 0001 a9"
#define B       "7e 0002 0000 013800138000 0002 aa 7e"
#define B_INNER "0002 0000 013800138000 0002 aa"

static void is_a_then_b(const char *text)
{
    struct outcome o = feed_hex(text, JT808_TOLERATE_DEFAULT);

    CU_ASSERT_EQUAL(o.frames, 2);
    CU_ASSERT(o.serials[0] == 1 && o.serials[1] == 2);
}

/* ---- splitting the stream ------------------------------------------------------------------- */

/* J3 */
static void frames_with_own_shared_and_doubled_delimiters_all_come(void)
{
    is_a_then_b(A B);
    is_a_then_b("7e" A_INNER "7e" B_INNER "7e");
    is_a_then_b("7e7e" A_INNER "7e7e7e" B_INNER "7e");
    is_a_then_b("7e7e7e7e7e" A "7e7e7e" B "7e7e");
}

/* J4 */
static void garbage_before_and_between_costs_no_frame(void)
{
    is_a_then_b("41540d0a00" A "0d0a" B);
    struct outcome o =
        feed_hex("474554202f20485454502f312e310d0a" A "ffff" B, JT808_TOLERATE_DEFAULT);
    CU_ASSERT_EQUAL(o.frames, 2);
    CU_ASSERT_EQUAL(o.noise_bytes, 16);
    CU_ASSERT_EQUAL(o.errors[JT808_ERROR_SHORT], 1);
}

/* J4 */
static void a_bad_frame_in_the_middle_costs_itself_alone(void)
{
    struct outcome o = feed_hex(A "7e 0002 0000 013800138000 0001 ff 7e" B, JT808_TOLERATE_DEFAULT);
    CU_ASSERT(o.frames == 2 && o.serials[1] == 2);
    CU_ASSERT_EQUAL(o.errors[JT808_ERROR_CHECKSUM], 1);
}

static void a_frame_cut_off_does_not_swallow_the_next(void)
{
    struct outcome o = feed_hex("7e 0200 0047 0158" A "7e 0002 0000 01" B, JT808_TOLERATE_DEFAULT);
    CU_ASSERT_EQUAL(o.frames, 2);
}

static void an_unfinished_frame_waits(void)
{
    struct outcome o = feed_hex(A "7e" B_INNER, JT808_TOLERATE_DEFAULT);
    CU_ASSERT_EQUAL(o.frames, 1);
    CU_ASSERT_EQUAL(o.left, 13);
}

static void delimiters_alone_are_consumed_and_nothing_is_kept(void)
{
    struct outcome o = feed_hex(A "7e7e7e7e7e7e", JT808_TOLERATE_DEFAULT);
    CU_ASSERT(o.frames == 1 && o.left == 0);
}

/* J10 */
static void a_run_without_a_delimiter_is_dropped_at_the_longest_frame(void)
{
    size_t len = 3 * JT808_WIRE_MAX;
    uint8_t *bytes = malloc(len);
    memset(bytes, 0x55, len);
    bytes[0] = 0x7e;
    struct pg_bytes tail = hex_bytes("7e" A B);
    memcpy(bytes + len - tail.len, tail.data, tail.len);
    size_t cuts[] = {1, 100, JT808_RUN_MAX, JT808_RUN_MAX + 1, JT808_RUN_MAX + 2, len - 40};
    struct outcome whole =
        feed_cut((struct pg_bytes){.data = bytes, .len = len}, NULL, 0, JT808_TOLERATE_DEFAULT);
    struct outcome cut =
        feed_cut((struct pg_bytes){.data = bytes, .len = len}, cuts, 6, JT808_TOLERATE_DEFAULT);
    CU_ASSERT_EQUAL(whole.frames, 2);
    CU_ASSERT_EQUAL(whole.errors[JT808_ERROR_TOO_LONG], 1);
    CU_ASSERT(memcmp(&whole, &cut, sizeof(whole)) == 0);
    free(bytes);
    free((void *)tail.data);
}

static void thousands_of_frames_in_one_segment_all_come(void)
{
    enum { COUNT = 5000 };
    struct jt808_frame frame = {.msg_id = 0x0200};
    uint8_t body[28] = {0x7e, 0x7d};
    frame.body = (struct pg_bytes){.data = body, .len = sizeof(body)};
    CU_ASSERT_TRUE_FATAL(jt808_frame_set_phone(&frame, PG_BYTES_OF("13800138000")));
    uint8_t *all = malloc(COUNT * 128);
    size_t len = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        frame.serial = (uint16_t)(65000 + i);
        size_t n = jt808_frame_encode(&frame, all + len, 128);
        CU_ASSERT_FATAL(n > 0 && n <= 128);
        len += n;
    }
    struct jt808_stream stream = {.tolerated = JT808_TOLERATE_DEFAULT};
    struct pg_bytes in = {.data = all, .len = len};
    struct jt808_scratch scratch;
    enum jt808_error error;
    size_t used;
    unsigned got = 0;
    while (jt808_frame_next(&stream, in, &scratch, &used, &frame, &error) == JT808_FRAME_WHOLE) {
        CU_ASSERT_FATAL(frame.serial == (uint16_t)(65000 + got));
        CU_ASSERT_FATAL(frame.body.len == 28 && frame.body.data[0] == 0x7e);
        got++;
        in.data += used;
        in.len -= used;
    }
    CU_ASSERT_EQUAL(got, COUNT);
    CU_ASSERT_EQUAL(in.len, 0);
    free(all);
}

/* ---- one frame ------------------------------------------------------------------------------ */

static enum jt808_error decode(const char *text, uint32_t tolerated, struct jt808_frame *out)
{
    static struct jt808_scratch scratch;
    static uint8_t kept[8192];
    struct pg_bytes wire = hex_bytes(text);

    memcpy(kept, wire.data, wire.len);
    free((void *)wire.data);
    return jt808_frame_decode((struct pg_bytes){.data = kept, .len = wire.len}, tolerated, &scratch,
                              out);
}

/* A sound frame encodes to the bytes that it was decoded from. */
static void comes_back(const char *text)
{
    struct jt808_frame frame;
    uint8_t out[JT808_WIRE_MAX];
    struct pg_bytes wire = hex_bytes(text);

    CU_ASSERT_EQUAL_FATAL(decode(text, JT808_TOLERATE_NONE, &frame), JT808_ERROR_NONE);
    size_t need = jt808_frame_encode(&frame, NULL, 0);
    CU_ASSERT_EQUAL(need, wire.len);
    CU_ASSERT_EQUAL(jt808_frame_encode(&frame, out, sizeof(out)), need);
    CU_ASSERT(need == wire.len && memcmp(out, wire.data, need) == 0);
    free((void *)wire.data);
}

/* J1 */
static void a_check_code_of_7d_or_7e_is_escaped_both_ways(void)
{
    comes_back("7e 0002 0000 012345678901 00f7 7d01 7e");
    comes_back("7e 0002 0000 012345678901 00f4 7d02 7e");
    struct outcome o = feed_hex("7e 0002 0000 012345678901 00f7 7d01 7e"
                                "7e 0002 0000 012345678901 00f4 7d02 7e",
                                JT808_TOLERATE_NONE);
    CU_ASSERT(o.frames == 2 && o.serials[0] == 0xf7 && o.serials[1] == 0xf4);
}

/* J2 */
static void an_illegal_escape_costs_its_frame_and_nothing_else(void)
{
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode("7e 0002 0000 013800138000 7d09 a9 7e", JT808_TOLERATE_NONE, &frame),
                    JT808_ERROR_ESCAPE);
    CU_ASSERT_EQUAL(decode("7e 0002 0000 013800138000 0001 7d 7e", JT808_TOLERATE_NONE, &frame),
                    JT808_ERROR_ESCAPE);
    struct outcome o = feed_hex(A "7e 0002 0000 013800138000 7d09 a9 7e"
                                  "7e 0002 0000 013800138000 0001 7d 7e" B,
                                JT808_TOLERATE_DEFAULT);
    CU_ASSERT(o.frames == 2 && o.serials[0] == 1 && o.serials[1] == 2);
    CU_ASSERT_EQUAL(o.errors[JT808_ERROR_ESCAPE], 2);
}

/* The end of one frame's escape must not be looked for in the next one. */
static void no_escape_state_crosses_a_delimiter(void)
{
    struct outcome o =
        feed_hex("7e 0002 0000 01 7d 7e 0102 7e" A "7e 7d 7e 02 7e" B, JT808_TOLERATE_NONE);
    CU_ASSERT(o.frames == 2 && o.serials[0] == 1 && o.serials[1] == 2);
}

/* J10 */
static void a_full_body_of_7e_and_7d_doubles_on_the_wire_and_comes_back(void)
{
    struct jt808_frame frame = {.msg_id = 0x7d7e, .attributes = 0x6000, .header_2019 = true};
    struct jt808_frame back;
    uint8_t body[JT808_BODY_MAX], wire[JT808_WIRE_MAX];
    struct jt808_scratch scratch;

    memset(body, 0x7e, sizeof(body));
    memset(body + 500, 0x7d, 300);
    frame.body = (struct pg_bytes){.data = body, .len = sizeof(body)};
    frame.protocol_version = 0x7e;
    frame.serial = 0x7e7d;
    frame.package_total = 0x7e7e;
    frame.package_index = 0x7d7d;
    CU_ASSERT_TRUE(jt808_frame_set_phone(&frame, PG_BYTES_OF("7e7d7e7d7e7d7e7d7e7d")));
    size_t len = jt808_frame_encode(&frame, wire, sizeof(wire));
    CU_ASSERT_FATAL(len > 2080 && len <= JT808_WIRE_MAX);
    CU_ASSERT_EQUAL_FATAL(jt808_frame_decode((struct pg_bytes){.data = wire, .len = len},
                                             JT808_TOLERATE_NONE, &scratch, &back),
                          JT808_ERROR_NONE);
    CU_ASSERT(back.body.len == sizeof(body) && memcmp(back.body.data, body, sizeof(body)) == 0);
    CU_ASSERT_STRING_EQUAL(back.phone, "7e7d7e7d7e7d7e7d7e7d");
    CU_ASSERT(back.package_total == 0x7e7e && back.package_index == 0x7d7d);
    struct outcome o = feed_cut((struct pg_bytes){.data = wire, .len = len}, NULL, 0, 0);
    CU_ASSERT_EQUAL(o.frames, 1);

    uint8_t longer[JT808_BODY_MAX + 1] = {0};
    frame.body = (struct pg_bytes){.data = longer, .len = sizeof(longer)};
    CU_ASSERT_EQUAL(jt808_frame_encode(&frame, wire, sizeof(wire)), 0);
}

static void encoding_into_too_little_room_says_how_much_it_needs(void)
{
    struct jt808_frame frame;
    uint8_t room[8];

    memset(room, 0xee, sizeof(room));
    CU_ASSERT_EQUAL_FATAL(decode(A, JT808_TOLERATE_NONE, &frame), JT808_ERROR_NONE);
    CU_ASSERT_EQUAL(jt808_frame_encode(&frame, room, 4), 15);
    CU_ASSERT(room[4] == 0xee);
}

static void both_header_forms_are_read_and_written(void)
{
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode(A, 0, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.msg_id == 2 && !frame.header_2019 && frame.serial == 1 && frame.body.len == 0);
    CU_ASSERT_STRING_EQUAL(frame.phone, "013800138000");
    CU_ASSERT_EQUAL(jt808_frame_edition(&frame), JT808_2013);
    CU_ASSERT_EQUAL(decode("7e 0002 4000 01 00000000013800138000 0001 e8 7e", 0, &frame),
                    JT808_ERROR_NONE);
    CU_ASSERT(frame.header_2019 && frame.protocol_version == 1 && frame.serial == 1);
    CU_ASSERT_STRING_EQUAL(frame.phone, "00000000013800138000");
    comes_back("7e 0002 4000 01 00000000013800138000 0001 e8 7e");
    comes_back("7e 8001 0005 013800138000 0000 0001 0002 00 2d 7e");
    comes_back("7e 0002 8000 013800138000 0001 29 7e"); /* reserved bit 15 */
    comes_back("7e 0002 0400 013800138000 0001 ad 7e"); /* encryption bit */
}

/* J6 */
static void nibbles_above_nine_are_letters_and_come_back(void)
{
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode("7e 0002 0000 0abcdef13800 0001 a2 7e", 0, &frame), JT808_ERROR_NONE);
    CU_ASSERT_STRING_EQUAL(frame.phone, "0abcdef13800");
    comes_back("7e 0002 0000 0abcdef13800 0001 a2 7e");
}

/* J6 */
static void phones_are_equal_whatever_the_zeros_in_front(void)
{
    CU_ASSERT_TRUE(jt808_phone_equal("013800138000", "00000000013800138000"));
    CU_ASSERT_FALSE(jt808_phone_equal("013800138000", "00000000113800138000"));
    CU_ASSERT_TRUE(jt808_phone_equal("000000000679", "00000000000000000679"));
    CU_ASSERT_EQUAL(jt808_phone_trimmed("000000000679").len, 11);
    struct jt808_frame frame = {.header_2019 = true};
    CU_ASSERT_TRUE(jt808_frame_set_phone(&frame, PG_BYTES_OF("13800138000")));
    CU_ASSERT_STRING_EQUAL(frame.phone, "00000000013800138000");
    frame.header_2019 = false;
    CU_ASSERT_TRUE(jt808_frame_set_phone(&frame, PG_BYTES_OF("00000000013800138000")));
    CU_ASSERT_STRING_EQUAL(frame.phone, "013800138000");
    CU_ASSERT_FALSE(jt808_frame_set_phone(&frame, PG_BYTES_OF("1013800138000")));
    CU_ASSERT_FALSE(jt808_frame_set_phone(&frame, PG_BYTES_OF("01380013800:")));
    CU_ASSERT_FALSE(jt808_frame_set_phone(&frame, PG_BYTES_OF("")));
}

static void faults_have_their_names(void)
{
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode("0002", 0, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode(A_INNER "7e", 0, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode("7e" A_INNER, 0, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode("7e7e", 0, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode("7e 0002 7e 00 7e", 0, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode("7e 0002 0000 0123 7e", 0, &frame), JT808_ERROR_SHORT);
    CU_ASSERT_EQUAL(decode("7e 0002 0000 013800138000 0001 a8 7e", 0, &frame),
                    JT808_ERROR_CHECKSUM);
    CU_ASSERT_STRING_EQUAL(jt808_error_name(JT808_ERROR_CHECKSUM), "checksum");
    CU_ASSERT_STRING_EQUAL(jt808_quirk_name(JT808_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER),
                           "version_bit_without_2019_header");
    /* The package item is announced, but there is no room for it. */
    CU_ASSERT_EQUAL(decode("7e 0002 2000 013800138000 0001 89 7e", 0, &frame), JT808_ERROR_SHORT);
}

/* J14 */
static void a_wrong_check_code_is_refused_unless_it_is_allowed_and_the_length_holds(void)
{
    const char *wrong = "7e 0002 0000 013800138000 0001 00 7e";
    const char *wrong_length_too = "7e 0002 0001 013800138000 0001 00 7e";
    uint32_t allowed = JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM);
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode(wrong, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_CHECKSUM);
    CU_ASSERT_EQUAL(decode(wrong, allowed, &frame), JT808_ERROR_NONE);
    CU_ASSERT_EQUAL(frame.quirks, allowed);
    CU_ASSERT_EQUAL(decode(wrong_length_too, JT808_TOLERATE_ALL, &frame), JT808_ERROR_CHECKSUM);
}

/* J14 */
static void a_wrong_length_is_refused_or_the_body_ends_at_the_check_code(void)
{
    const char *more = "7e 0002 0003 013800138000 0001 1122 99 7e"; /* declares 3, has 2 */
    const char *less = "7e 0002 0001 013800138000 0001 1122 9b 7e"; /* declares 1, has 2 */
    uint32_t allowed = JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH);
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode(more, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_LENGTH);
    CU_ASSERT(frame.msg_id == 2 && frame.serial == 1); /* enough to answer "message wrong" */
    CU_ASSERT_EQUAL(decode(less, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_LENGTH);
    CU_ASSERT_EQUAL(decode(more, allowed, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.body.len == 2 && frame.quirks == allowed);
    CU_ASSERT_EQUAL(jt808_frame_declared_length(&frame), 3);
    CU_ASSERT_EQUAL(decode(less, allowed, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.body.len == 2 && frame.body.data[1] == 0x22);
}

static void arithmetic_beats_bit_14(void)
{
    /* 2019 form, bit 14 clear; and the 12-byte header, bit 14 set. */
    const char *without = "7e 0002 0000 01 00000000013800138000 0001 a8 7e";
    const char *with = "7e 0002 4000 013800138000 0001 e9 7e";
    uint32_t first = JT808_QUIRK_BIT(JT808_QUIRK_HEADER_WITHOUT_VERSION_BIT);
    uint32_t second = JT808_QUIRK_BIT(JT808_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER);
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode(without, JT808_TOLERATE_NONE, &frame), JT808_ERROR_LENGTH);
    CU_ASSERT_EQUAL(decode(with, JT808_TOLERATE_NONE, &frame), JT808_ERROR_LENGTH);
    CU_ASSERT_EQUAL(decode(without, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.header_2019 && frame.quirks == first);
    CU_ASSERT_STRING_EQUAL(frame.phone, "00000000013800138000");
    CU_ASSERT_EQUAL(decode(with, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_NONE);
    CU_ASSERT(!frame.header_2019 && frame.quirks == second);
    CU_ASSERT_STRING_EQUAL(frame.phone, "013800138000");
}

static void a_7d_without_its_escape_is_taken_if_everything_else_holds(void)
{
    const char *check = "7e 0002 0000 012345678901 00f7 7d 7e";
    uint32_t quirk = JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7D);
    struct jt808_frame frame;

    CU_ASSERT_EQUAL(decode(check, JT808_TOLERATE_ALL & ~quirk, &frame), JT808_ERROR_ESCAPE);
    CU_ASSERT_EQUAL(decode(check, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.serial == 0xf7 && frame.quirks == quirk);
    /* Not with a wrong check code, even where those are allowed. */
    CU_ASSERT_EQUAL(decode("7e 0002 0000 0123456789 7d 00f7 00 7e", JT808_TOLERATE_ALL, &frame),
                    JT808_ERROR_ESCAPE);
}

static void a_7e_without_its_escape_joins_only_where_it_is_allowed(void)
{
    const char *raw = "7e 0200 0005 013800138000 0003 11 7e 7e 22 33 ae 7e";
    uint32_t quirk = JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7E);
    struct jt808_frame frame;
    char stream[256];

    CU_ASSERT_EQUAL(decode(raw, JT808_TOLERATE_DEFAULT, &frame), JT808_ERROR_DELIMITER);
    CU_ASSERT_EQUAL(decode(raw, JT808_TOLERATE_DEFAULT | quirk, &frame), JT808_ERROR_NONE);
    CU_ASSERT(frame.body.len == 5 && frame.body.data[1] == 0x7e && frame.quirks == quirk);

    (void)snprintf(stream, sizeof(stream), "%s%s%s", A, raw, B);
    struct outcome o = feed_hex(stream, JT808_TOLERATE_DEFAULT);
    CU_ASSERT(o.frames == 2 && o.errors[JT808_ERROR_SHORT] == 1);
    o = feed_hex(stream, JT808_TOLERATE_DEFAULT | quirk);
    CU_ASSERT(o.frames == 3 && o.serials[1] == 3 && o.body_lens[1] == 5);
    /* A failed run before a sound frame is given up at once. */
    o = feed_hex("7e 0200 0004 0138" A B, JT808_TOLERATE_DEFAULT | quirk);
    CU_ASSERT(o.frames == 2 && o.left == 0);
}

/* ---- parts of a long message ---------------------------------------------------------------- */

static void a_long_body_is_cut_into_packages_with_consecutive_serials(void)
{
    uint8_t body[2 * JT808_BODY_MAX + 1];
    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)i;
    }
    struct jt808_frame message = {.msg_id = 0x8300, .serial = 65535};
    message.body = (struct pg_bytes){.data = body, .len = sizeof(body)};
    CU_ASSERT_EQUAL(jt808_part_count(0), 1);
    CU_ASSERT_EQUAL(jt808_part_count(JT808_BODY_MAX), 1);
    CU_ASSERT_EQUAL(jt808_part_count(JT808_BODY_MAX + 1), 2);
    CU_ASSERT_EQUAL(jt808_part_count((size_t)65535 * JT808_BODY_MAX), 65535);
    CU_ASSERT_EQUAL(jt808_part_count((size_t)65535 * JT808_BODY_MAX + 1), 0);
    CU_ASSERT_EQUAL(jt808_part_count(sizeof(body)), 3);
    struct jt808_frame last = jt808_part(&message, 3);
    CU_ASSERT(last.serial == 1 && last.package_total == 3 && last.package_index == 3);
    CU_ASSERT(last.body.len == 1 && last.body.data[0] == body[sizeof(body) - 1]);
    CU_ASSERT_TRUE(jt808_frame_is_subpackage(&last));
    struct jt808_frame first = jt808_part(&message, 1);
    CU_ASSERT(first.serial == 65535 && first.body.len == JT808_BODY_MAX);

    message.body.len = 10;
    struct jt808_frame only = jt808_part(&message, 1);
    CU_ASSERT(!jt808_frame_is_subpackage(&only) && only.package_total == 0);
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"J3: frames with own, shared and doubled delimiters all come",
         frames_with_own_shared_and_doubled_delimiters_all_come},
        {"J4: garbage before and between costs no frame",
         garbage_before_and_between_costs_no_frame},
        {"J4: a bad frame in the middle costs itself alone",
         a_bad_frame_in_the_middle_costs_itself_alone},
        TEST(a_frame_cut_off_does_not_swallow_the_next),
        TEST(an_unfinished_frame_waits),
        TEST(delimiters_alone_are_consumed_and_nothing_is_kept),
        {"J10: a run without a delimiter is dropped at the longest frame",
         a_run_without_a_delimiter_is_dropped_at_the_longest_frame},
        TEST(thousands_of_frames_in_one_segment_all_come),
        {"J1: a check code of 7d or 7e is escaped both ways",
         a_check_code_of_7d_or_7e_is_escaped_both_ways},
        {"J2: an illegal escape costs its frame and nothing else",
         an_illegal_escape_costs_its_frame_and_nothing_else},
        TEST(no_escape_state_crosses_a_delimiter),
        {"J10: a full body of 7e and 7d doubles on the wire and comes back",
         a_full_body_of_7e_and_7d_doubles_on_the_wire_and_comes_back},
        TEST(encoding_into_too_little_room_says_how_much_it_needs),
        TEST(both_header_forms_are_read_and_written),
        {"J6: nibbles above nine are letters and come back",
         nibbles_above_nine_are_letters_and_come_back},
        {"J6: phones are equal whatever the zeros in front",
         phones_are_equal_whatever_the_zeros_in_front},
        TEST(faults_have_their_names),
        {"J14: a wrong check code is refused unless it is allowed and the length holds",
         a_wrong_check_code_is_refused_unless_it_is_allowed_and_the_length_holds},
        {"J14: a wrong length is refused, or the body ends at the check code",
         a_wrong_length_is_refused_or_the_body_ends_at_the_check_code},
        TEST(arithmetic_beats_bit_14),
        TEST(a_7d_without_its_escape_is_taken_if_everything_else_holds),
        TEST(a_7e_without_its_escape_joins_only_where_it_is_allowed),
        TEST(a_long_body_is_cut_into_packages_with_consecutive_serials),
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_codec", tests);
}
