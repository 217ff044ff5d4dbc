/* SPDX-License-Identifier: Apache-2.0 */

/* The collected frames of real terminals, as far as framing goes: streams, reassembly, the header
 * of each frame, the name of each fault, the quirks of each tolerated one, and that each sound
 * frame encodes to the bytes that it came from.
 *
 * Reads $POLYGATE_VECTORS/jt808.jsonl; without that file the tests are skipped. */

#include <jansson.h>

#include "jt808/jt808_codec.h"
#include "jt808/jt808_reassembly.h"
#include "jt808_hex.h"
#include "suite.h"
#include "wire/sha256.h"

static FILE *vectors;

/* The next vector of a kind ("" for single frames), or NULL; the caller drops the reference. */
static json_t *next_vector(const char *kind)
{
    static char line[1 << 20];

    while (fgets(line, sizeof(line), vectors)) {
        json_t *v = json_loads(line, 0, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        const char *its = json_string_value(json_object_get(v, "kind"));
        if (strcmp(its ? its : "", kind) == 0) {
            return v;
        }
        json_decref(v);
    }
    return NULL;
}

static const char *text_of(const json_t *v, const char *key)
{
    return json_string_value(json_object_get(v, key));
}

/* Report the vector's name with the condition that does not hold. */
static void check(bool holds, const json_t *v, const char *what)
{
    if (!holds) {
        printf("    %s: %s\n", text_of(v, "name"), what);
    }
    CU_ASSERT_TRUE(holds);
}

/* ---- streams -------------------------------------------------------------------------------- */

struct stream_run {
    struct jt808_stream stream;
    uint8_t kept[1 << 16];
    size_t kept_len;
    size_t got;
};

static void take(struct stream_run *run, struct pg_bytes bytes, const json_t *v)
{
    const json_t *expected = json_object_get(v, "expect_frames");

    memcpy(run->kept + run->kept_len, bytes.data, bytes.len);
    run->kept_len += bytes.len;
    struct pg_bytes in = {.data = run->kept, .len = run->kept_len};
    for (;;) {
        struct jt808_scratch scratch;
        struct jt808_frame frame;
        enum jt808_error error;
        size_t used;
        enum jt808_result r = jt808_frame_next(&run->stream, in, &scratch, &used, &frame, &error);
        in.data += used;
        in.len -= used;
        if (r == JT808_FRAME_MORE) {
            break;
        }
        if (r == JT808_FRAME_WHOLE) {
            uint8_t wire[JT808_WIRE_MAX];
            size_t len = jt808_frame_encode(&frame, wire, sizeof(wire));
            char *hex = hex_text((struct pg_bytes){.data = wire, .len = len});
            const char *want = json_string_value(json_array_get(expected, run->got++));
            check(want && strcmp(want, hex) == 0, v, "not the expected frame");
            free(hex);
        }
    }
    memmove(run->kept, run->kept + run->kept_len - in.len, in.len);
    run->kept_len = in.len;
}

static void run_stream(const json_t *v, const struct pg_bytes *pieces, size_t count)
{
    struct stream_run *run = calloc(1, sizeof(*run));

    run->stream.tolerated = JT808_TOLERATE_DEFAULT;
    for (size_t i = 0; i < count; i++) {
        take(run, pieces[i], v);
    }
    check(run->got == json_array_size(json_object_get(v, "expect_frames")), v, "frames missing");
    free(run);
}

static void streams_give_the_frames_that_are_in_them(void)
{
    unsigned count = 0;

    for (json_t *v; (v = next_vector("stream")); json_decref(v)) {
        const json_t *chunks = json_object_get(v, "chunks");
        size_t n = json_array_size(chunks);
        struct pg_bytes *pieces = calloc(n, sizeof(*pieces));
        uint8_t *all = malloc(1 << 16);
        size_t len = 0;
        for (size_t i = 0; i < n; i++) {
            pieces[i] = hex_bytes(json_string_value(json_array_get(chunks, i)));
            memcpy(all + len, pieces[i].data, pieces[i].len);
            len += pieces[i].len;
        }
        run_stream(v, pieces, n); /* as it came */
        struct pg_bytes *bytewise = calloc(len, sizeof(*bytewise));
        for (size_t i = 0; i < len; i++) {
            bytewise[i] = (struct pg_bytes){.data = all + i, .len = 1};
        }
        run_stream(v, bytewise, len);
        for (size_t cut = 0; cut <= len; cut++) {
            struct pg_bytes two[] = {{.data = all, .len = cut},
                                     {.data = all + cut, .len = len - cut}};
            run_stream(v, two, 2);
        }
        free(bytewise);
        free(all);
        for (size_t i = 0; i < n; i++) {
            free((void *)pieces[i].data);
        }
        free(pieces);
        count++;
    }
    printf("%u streams ", count);
    CU_ASSERT(count > 0);
}

/* ---- reassembly ----------------------------------------------------------------------------- */

static void check_message(const json_t *v, const json_t *expect, struct pg_bytes body)
{
    uint8_t digest[SHA256_BYTES];

    sha256(body, digest);
    char *hex = hex_text((struct pg_bytes){.data = digest, .len = sizeof(digest)});
    check((json_int_t)body.len == json_integer_value(json_object_get(expect, "body_length")), v,
          "body length");
    check(strcmp(hex, text_of(expect, "body_sha256")) == 0, v, "body");
    free(hex);
}

static void check_missing(const json_t *v, struct jt808_reassembly *r)
{
    const json_t *expected = json_object_get(v, "expect_missing");
    struct jt808_missing missing;

    check(jt808_reassembly_due(r, 5000, &missing) == JT808_DUE_ASK, v, "nothing asked for");
    check(missing.count == json_array_size(expected), v, "number of missing packages");
    for (size_t i = 0; i < missing.count; i++) {
        check(missing.ids[i] == json_integer_value(json_array_get(expected, i)), v, "missing id");
    }
    check(missing.first_serial == json_integer_value(json_object_get(v, "first_serial")), v,
          "first serial");
}

static void packages_become_the_messages_that_they_are_of(void)
{
    static const struct jt808_reassembly_limits limits = {.message_bytes = 4 << 20,
                                                          .total_bytes = 8 << 20,
                                                          .pending = 8,
                                                          .ask_ms = 5000,
                                                          .asks = 5,
                                                          .age_ms = 60000};
    unsigned count = 0;

    for (json_t *v; (v = next_vector("reassembly")); json_decref(v)) {
        struct jt808_reassembly *r = jt808_reassembly_open(&limits);
        const json_t *expect = json_object_get(v, "expect");
        unsigned complete = 0;
        size_t i;
        json_t *hex;
        json_array_foreach(json_object_get(v, "frames"), i, hex)
        {
            struct pg_bytes wire = hex_bytes(json_string_value(hex));
            struct jt808_scratch scratch;
            struct jt808_frame frame, message;
            check(jt808_frame_decode(wire, JT808_TOLERATE_NONE, &scratch, &frame) ==
                      JT808_ERROR_NONE,
                  v, "a frame does not decode");
            if (jt808_reassembly_add(r, &frame, 0, &message) == JT808_PART_COMPLETE) {
                complete++;
                check_message(v, expect, message.body);
            }
            free((void *)wire.data);
        }
        check(complete == (expect ? 1 : 0), v, "messages completed");
        if (!expect) {
            check_missing(v, r);
        }
        jt808_reassembly_close(&r);
        count++;
    }
    printf("%u reassemblies ", count);
    CU_ASSERT(count > 0);
}

/* ---- single frames -------------------------------------------------------------------------- */

static void check_number(const json_t *v, const json_t *expect, const char *key, unsigned value)
{
    const json_t *wanted = json_object_get(expect, key);

    if (wanted) {
        bool equal = json_is_boolean(wanted) ? json_is_true(wanted) == (value != 0)
                                             : json_integer_value(wanted) == value;
        check(equal, v, key);
    }
}

static void check_header(const json_t *v, const json_t *expect, const struct jt808_frame *frame)
{
    check_number(v, expect, "msg_id", frame->msg_id);
    check_number(v, expect, "body_length", jt808_frame_declared_length(frame));
    check_number(v, expect, "encryption", jt808_frame_encryption(frame));
    check_number(v, expect, "subpackage", jt808_frame_is_subpackage(frame));
    check_number(v, expect, "version_flag", frame->header_2019);
    check_number(v, expect, "protocol_version", frame->protocol_version);
    check_number(v, expect, "serial", frame->serial);
    check_number(v, expect, "package_total", frame->package_total);
    check_number(v, expect, "package_index", frame->package_index);
    check_number(v, expect, "reserved_bit15", (frame->attributes & JT808_ATTR_RESERVED) != 0);
    check(strcmp(text_of(expect, "phone"), frame->phone) == 0, v, "phone");
}

static void check_tolerant(const json_t *v, struct pg_bytes wire)
{
    const json_t *expect = json_object_get(v, "tolerant_expect");
    struct jt808_scratch scratch;
    struct jt808_frame frame;
    uint32_t quirks = 0;
    size_t i;
    json_t *name;

    if (!expect) {
        return;
    }
    json_array_foreach(json_object_get(expect, "quirks"), i, name)
    {
        for (unsigned q = 0; q < JT808_QUIRK_COUNT; q++) {
            if (strcmp(jt808_quirk_name(q), json_string_value(name)) == 0) {
                quirks |= JT808_QUIRK_BIT(q);
            }
        }
    }
    check(jt808_frame_decode(wire,
                             JT808_TOLERATE_ALL & ~JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM),
                             &scratch, &frame) == JT808_ERROR_NONE,
          v, "not tolerated");
    check(frame.quirks == quirks, v, "quirks");
    check_number(v, expect, "msg_id", frame.msg_id);
    check_number(v, expect, "serial", frame.serial);
    check_number(v, expect, "body_length", jt808_frame_declared_length(&frame));
    check(strcmp(text_of(expect, "phone"), frame.phone) == 0, v, "phone");
    /* Each tolerance can be switched off. */
    check(jt808_frame_decode(wire, JT808_TOLERATE_ALL & ~quirks, &scratch, &frame) !=
              JT808_ERROR_NONE,
          v, "tolerated although not allowed");
}

static void frames_decode_and_encode_as_they_came(void)
{
    unsigned count = 0;

    for (json_t *v; (v = next_vector("")); json_decref(v)) {
        struct pg_bytes wire = hex_bytes(text_of(v, "hex"));
        const char *wanted = text_of(v, "expect_error");
        struct jt808_scratch scratch;
        struct jt808_frame frame;
        enum jt808_error error = jt808_frame_decode(wire, JT808_TOLERATE_NONE, &scratch, &frame);
        if (wanted && strcmp(wanted, "body") != 0) {
            check(strcmp(jt808_error_name(error), wanted) == 0, v, jt808_error_name(error));
            check_tolerant(v, wire);
        } else {
            check(error == JT808_ERROR_NONE, v, jt808_error_name(error));
            if (json_object_get(v, "expect")) {
                check_header(v, json_object_get(v, "expect"), &frame);
            }
            uint8_t out[JT808_WIRE_MAX];
            size_t len = jt808_frame_encode(&frame, out, sizeof(out));
            check(len == wire.len && memcmp(out, wire.data, len) == 0, v, "other bytes come back");
        }
        free((void *)wire.data);
        count++;
    }
    printf("%u frames ", count);
    CU_ASSERT(count > 0);
}

static void to_start(void)
{
    rewind(vectors);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(streams_give_the_frames_that_are_in_them),
        TEST(packages_become_the_messages_that_they_are_of),
        TEST(frames_decode_and_encode_as_they_came),
        CU_TEST_INFO_NULL,
    };
    const char *folder = getenv("POLYGATE_VECTORS");
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/jt808.jsonl", folder ? folder : "../shared/vectors");
    vectors = fopen(path, "r");
    if (!vectors) {
        printf("skip: no %s\n", path);
        return 77;
    }
    int status = run_suite_with("jt808_stream_vectors", to_start, NULL, tests);
    (void)fclose(vectors);
    return status;
}
