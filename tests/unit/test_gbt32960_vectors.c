/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of real vehicles and of our own making: each decodes to the values that its vector states,
 * each encodes to the same bytes from both shapes of JSON, streams are cut where they must be, and
 * what is no frame is told apart.
 *
 * Reads tests/vectors/gbt32960.jsonl and, where it is, $POLYGATE_VECTORS/gbt32960.jsonl. */

#include "gbt32960_vectors.h"
#include "suite.h"

static unsigned ran;
static unsigned both_ways;
static unsigned streams;

static void check(bool holds, const json_t *v, const char *what)
{
    if (!holds) {
        printf("    %s: %s\n", gbt_text(v, "name"), what);
    }
    CU_ASSERT_TRUE(holds);
}

/* ---- ranges --------------------------------------------------------------------------------- */

static void add_name(json_t *set, const char *path, const char *name)
{
    char full[256];
    (void)snprintf(full, sizeof(full), "%s%s%.*s", path, path[0] != '\0' ? "." : "",
                   (int)strcspn(name, "["), name);
    json_object_set_new(set, full, json_true());
}

/* All names of "out_of_range", and of times that are none, with the names above them. */
static void collect(json_t *set, const json_t *value, const char *path)
{
    const char *key;
    json_t *member;
    size_t i;
    char inner[256];
    if (json_is_array(value)) {
        json_array_foreach((json_t *)(uintptr_t)value, i, member)
        {
            const char *name = gbt_text(member, "name");
            bool item = strcmp(path, "items") == 0 || strcmp(path, "parameters") == 0;
            collect(set, member, item ? name : path);
        }
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (strcmp(key, "out_of_range") == 0) {
            json_t *name;
            json_array_foreach(member, i, name)
            {
                add_name(set, path, json_string_value(name));
            }
        } else if (strcmp(key, "invalid") == 0) {
            const char *field;
            json_t *note;
            json_object_foreach(member, field, note)
            {
                if (json_is_object(note) && strcmp(gbt_text(note, "reason"), "marker") != 0) {
                    add_name(set, path, field);
                }
            }
        } else if (json_is_object(member) || json_is_array(member)) {
            (void)snprintf(inner, sizeof(inner), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
            collect(set, member, inner);
        }
    }
}

static void check_ranges(const json_t *body, const json_t *v)
{
    json_t *found = json_object();
    json_t *wanted = json_object_get(v, "range_violations");
    size_t i;
    json_t *name;
    collect(found, body, "");
    json_object_del(found, "signature.type");
    json_array_foreach(wanted, i, name)
    {
        check(json_object_get(found, json_string_value(name)) != NULL, v, json_string_value(name));
        json_object_del(found, json_string_value(name));
    }
    const char *left;
    json_t *value;
    json_object_foreach(found, left, value)
    {
        /* The vectors do not judge everything that the tables of the standard do. */
        if (wanted != NULL) {
            printf("    %s: also out of range: %s\n", gbt_text(v, "name"), left);
        }
    }
    json_decref(found);
}

/* ---- one frame ------------------------------------------------------------------------------ */

static void check_head(const json_t *document, const json_t *v)
{
    json_t *expect = json_object_get(v, "expect");
    const char *raw = gbt_text(expect, "vin_raw_hex");
    const char *response = gbt_text(document, "response");
    const char *encryption = gbt_text(document, "encryption");
    const char *message = gbt_text(document, "message");
    check(strcmp(gbt_text(document, "edition"), gbt_text(v, "edition")) == 0, v, "edition");
    check(strcmp(message[0] != '\0' ? message : "unknown", gbt_text(expect, "command_name")) == 0,
          v, "message");
    check(strcmp(response[0] != '\0' ? response : "command", gbt_text(expect, "response")) == 0, v,
          "response");
    check(strcmp(gbt_text(document, "vin"), gbt_text(expect, "vin")) == 0, v, "vin");
    check(strcmp(gbt_text(document, "vin_raw"), raw) == 0, v, "vin_raw");
    check(strcmp(encryption[0] != '\0' ? encryption : "none", gbt_text(expect, "encryption")) == 0,
          v, "encryption");
}

static void check_sound(const struct gbt_frame *frame, bool uplink, const json_t *v)
{
    struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE, .uplink = uplink};
    struct gbt_json_judgement judgement;
    json_t *document = gbt_document(frame, &options, &judgement);
    json_t *body = json_object_get(document, "body");
    json_t *want = json_deep_copy(json_object_get(json_object_get(v, "expect"), "data"));
    check((judgement.faults & ~(unsigned)WIRE_FAULT_SURPLUS) == 0, v, "a fault in a sound frame");
    check(gbt_encodes_to(document, frame->wire), v, "the native shape encodes differently");
    check_head(document, v);
    check_ranges(body, v);
    gbt_align(body, want);
    check(gbt_covers(body, want, NULL, NULL, gbt_text(v, "name")), v, "values");
    json_decref(want);
    json_decref(document);
    options.shape = WIRE_SHAPE_WIRE;
    document = gbt_document(frame, &options, &judgement);
    check(gbt_encodes_to(document, frame->wire), v, "the wire shape encodes differently");
    json_decref(document);
    both_ways++;
}

/* What is damaged is marked, and is still given back byte for byte. */
static void check_structure(const struct gbt_frame *frame, bool uplink, const json_t *v)
{
    struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE, .uplink = uplink};
    struct gbt_json_judgement judgement;
    json_t *document = gbt_document(frame, &options, &judgement);
    check((judgement.faults & ~(unsigned)WIRE_FAULT_SURPLUS) != 0, v, "no fault was marked");
    check(json_object_get(document, "faults") != NULL, v, "no fault was written");
    check(gbt_frame_faults(frame, uplink) == judgement.faults, v, "faults differ");
    check(gbt_encodes_to(document, frame->wire), v, "a damaged frame encodes differently");
    json_decref(document);
}

static void check_vector(const json_t *v)
{
    struct pg_bytes wire = hex_bytes(gbt_text(v, "hex"));
    const char *expect_error = gbt_text(v, "expect_error");
    bool uplink = strcmp(gbt_text(v, "direction"), "uplink") == 0;
    struct gbt_frame frame;
    enum gbt_error error = gbt_frame_decode(wire, &frame);
    ran++;
    if (error != GBT_ERROR_NONE) {
        check(strcmp(gbt_error_name(error), expect_error) == 0, v, "another error");
    } else if (strcmp(expect_error, "structure") == 0) {
        check_structure(&frame, uplink, v);
    } else if (json_object_get(v, "cipher") == NULL) {
        check(expect_error[0] == '\0', v, "an error was expected");
        check_sound(&frame, uplink, v);
    }
    free((void *)(uintptr_t)wire.data);
}

/* ---- streams -------------------------------------------------------------------------------- */

struct cutter {
    const json_t *v;
    uint8_t held[2 * GBT_WIRE_MAX];
    size_t len;
    size_t taken; /* offset of held[0] in the stream */
    size_t found; /* frames so far */
};

static void check_found(struct cutter *c, const struct gbt_frame *frame, const char *how)
{
    const json_t *want =
        json_array_get(json_object_get(json_object_get(c->v, "expect"), "frames"), c->found++);
    check(json_integer_value(json_array_get(want, 0)) == (json_int_t)c->taken, c->v, "offset");
    check(json_integer_value(json_array_get(want, 1)) == (json_int_t)frame->wire.len, c->v,
          "length");
    check(strcmp(json_string_value(json_array_get(want, 2)), how) == 0, c->v, how);
}

static void feed(struct cutter *c, const uint8_t *bytes, size_t len)
{
    memcpy(c->held + c->len, bytes, len);
    c->len += len;
    for (;;) {
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        enum gbt_result result =
            gbt_frame_next((struct pg_bytes){c->held, c->len}, &used, &frame, &error);
        if (result == GBT_FRAME_MORE) {
            return;
        }
        if (result == GBT_FRAME_WHOLE || error == GBT_ERROR_BCC) {
            check_found(c, &frame, result == GBT_FRAME_WHOLE ? "ok" : "bcc");
        }
        CU_ASSERT_TRUE_FATAL(used > 0 && used <= c->len);
        c->taken += used;
        c->len -= used;
        memmove(c->held, c->held + used, c->len);
    }
}

/* Cut as the vector says (0), byte by byte (1), or in pieces of `step`. */
static void run_stream(const json_t *v, size_t step)
{
    static struct cutter c;
    struct pg_bytes wire = hex_bytes(gbt_text(v, "hex"));
    json_t *chunks = json_object_get(json_object_get(v, "stream"), "chunks");
    json_t *expect = json_object_get(v, "expect");
    size_t at = 0;
    memset(&c, 0, sizeof(c));
    c.v = v;
    for (size_t i = 0; at < wire.len; i++) {
        size_t n = step != 0 ? step : (size_t)json_integer_value(json_array_get(chunks, i));
        n = n == 0 || n > wire.len - at ? wire.len - at : n;
        feed(&c, wire.data + at, n);
        at += n;
    }
    check(c.found == json_array_size(json_object_get(expect, "frames")), v, "number of frames");
    check((json_int_t)c.len == json_integer_value(json_object_get(expect, "bytes_left")), v,
          "bytes left");
    free((void *)(uintptr_t)wire.data);
}

static void check_stream(const json_t *v)
{
    for (size_t step = 0; step < 64; step++) {
        run_stream(v, step);
    }
    streams++;
}

/* Run a file; one that is not there is skipped, unless it is part of the sources. */
static void run_file(const char *folder, const char *file, bool must_be)
{
    static char line[1 << 20];
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        printf("\nskip: no %s\n", path);
        CU_ASSERT_FALSE(must_be);
        return;
    }
    ran = both_ways = streams = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        json_error_t error;
        json_t *v = json_loads(line, JSON_ALLOW_NUL, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        if (json_object_get(v, "stream") != NULL) {
            check_stream(v);
        } else {
            check_vector(v);
        }
        json_decref(v);
    }
    (void)fclose(f);
    printf("    %s: %u frames, %u of them both ways, %u streams\n", path, ran, both_ways, streams);
    CU_ASSERT_TRUE(ran > 0);
}

static void test_own_vectors_decode_and_encode(void)
{
    const char *top = getenv("top_srcdir");
    char folder[4096];
    (void)snprintf(folder, sizeof(folder), "%s/tests/vectors", top != NULL ? top : ".");
    run_file(folder, "gbt32960.jsonl", true);
}

static void test_collected_vectors_decode_and_encode(void)
{
    const char *folder = getenv("POLYGATE_VECTORS");
    run_file(folder != NULL ? folder : "../shared/vectors", "gbt32960.jsonl", false);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_own_vectors_decode_and_encode),
        TEST(test_collected_vectors_decode_and_encode),
        CU_TEST_INFO_NULL,
    };
    return run_suite("gbt32960_vectors", tests);
}
