/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of real terminals and of our own making, as far as bodies go: each decodes to the values
 * that its vector states, each sound one encodes to the same bytes from both shapes of JSON, and a
 * body that does not fit is marked.
 *
 * Reads tests/vectors/jt808.jsonl and, where it is, $POLYGATE_VECTORS/jt808.jsonl. */

#include "jt808_vectors.h"
#include "suite.h"

static unsigned ran;
static unsigned both_ways;

static const char *text_of(const json_t *v, const char *key)
{
    const char *text = json_string_value(json_object_get(v, key));
    return text != NULL ? text : "";
}

static void check(bool holds, const json_t *v, const char *what)
{
    if (!holds) {
        printf("    %s: %s\n", text_of(v, "name"), what);
    }
    CU_ASSERT_TRUE(holds);
}

static enum wire_charset charset_of(const json_t *v)
{
    return strcmp(text_of(v, "string_encoding"), "utf-8") == 0 ? WIRE_UTF8 : WIRE_GBK;
}

static void check_body_fault(const struct jt808_frame *frame,
                             const struct jt808_json_options *options, const json_t *v)
{
    unsigned faults;
    json_t *document = frame_document(frame, options, &faults);
    /* Refused, marked, or read by another layout that is named. */
    check(faults != 0 || json_object_get(document, "layout") != NULL, v, "no fault was marked");
    check((faults != 0) == (json_object_get(document, "faults") != NULL), v, "faults differ");
    json_decref(document);
}

static void check_sound(const struct jt808_frame *frame, struct jt808_json_options *options,
                        struct pg_bytes wire, const json_t *v)
{
    unsigned faults;
    json_t *document = frame_document(frame, options, &faults);
    check(json_covers(document, json_object_get(v, "expect"), text_of(v, "name")), v, "values");
    check(faults == 0, v, "a fault was marked in a sound frame");
    check(encodes_to(document, options->charset, wire), v, "the wire shape encodes differently");
    json_decref(document);
    options->shape = WIRE_SHAPE_NATIVE;
    document = frame_document(frame, options, &faults);
    check(encodes_to(document, options->charset, wire), v, "the native shape encodes differently");
    if (json_object_get(v, "native") != NULL) {
        check(json_covers(document, json_object_get(v, "native"), text_of(v, "name")), v,
              "native values");
    }
    json_decref(document);
    both_ways++;
}

static void check_vector(const json_t *v)
{
    struct jt808_scratch scratch;
    struct jt808_frame frame;
    struct pg_bytes wire = hex_bytes(text_of(v, "hex"));
    const json_t *tolerant = json_object_get(v, "tolerant_expect");
    const char *expect_error = text_of(v, "expect_error");
    bool body_error = strcmp(expect_error, "body") == 0;
    struct jt808_json_options options = {.shape = WIRE_SHAPE_WIRE, .charset = charset_of(v)};
    options.edition = (unsigned)atoi(text_of(v, "edition"));

    enum jt808_error error = jt808_frame_decode(
        wire, tolerant != NULL ? JT808_TOLERATE_ALL : JT808_TOLERATE_NONE, &scratch, &frame);
    if (tolerant != NULL) {
        if (error == JT808_ERROR_NONE) {
            json_t *document = frame_document(&frame, &options, NULL);
            check(json_covers(document, tolerant, text_of(v, "name")), v, "tolerated values");
            json_decref(document);
            ran++;
        } else {
            /* Joining over a raw 7e is the business of the stream's reader. */
            check(strcmp(expect_error, "delimiter") == 0, v, "is not tolerated");
        }
    } else if (error != JT808_ERROR_NONE) {
        check(strcmp(jt808_error_name(error), expect_error) == 0, v, "another error");
    } else if (body_error) {
        check_body_fault(&frame, &options, v);
        ran++;
    } else {
        check(expect_error[0] == '\0', v, "an error was expected");
        check_sound(&frame, &options, wire, v);
        ran++;
    }
    free((void *)(uintptr_t)wire.data);
}

/* Put the packages of a message together (that is tested elsewhere) and compare its body. */
static void check_reassembled(const json_t *v)
{
    static uint8_t joined[1 << 20];
    const json_t *frames = json_object_get(v, "frames");
    const json_t *want = json_object_get(json_object_get(v, "expect"), "body");
    struct jt808_json_options options = {.shape = WIRE_SHAPE_WIRE};
    struct jt808_frame whole = {0};
    size_t len = 0;
    if (want == NULL) {
        return;
    }
    options.edition = (unsigned)atoi(text_of(v, "edition"));
    for (unsigned index = 1, total = 1; index <= total; index++) {
        bool found = false;
        for (size_t i = 0; i < json_array_size(frames) && !found; i++) {
            struct jt808_scratch scratch;
            struct jt808_frame part;
            struct pg_bytes wire = hex_bytes(json_string_value(json_array_get(frames, i)));
            found = jt808_frame_decode(wire, 0, &scratch, &part) == JT808_ERROR_NONE &&
                    part.package_index == index;
            if (found) {
                total = part.package_total;
                memcpy(joined + len, part.body.data, part.body.len);
                len += part.body.len;
                whole = part;
            }
            free((void *)(uintptr_t)wire.data);
        }
        CU_ASSERT_TRUE_FATAL(found);
    }
    whole.attributes = (uint16_t)(whole.attributes & ~JT808_ATTR_SUBPACKAGE);
    whole.body = (struct pg_bytes){joined, len};
    unsigned faults;
    json_t *document = frame_document(&whole, &options, &faults);
    check(faults == 0, v, "a fault was marked");
    check(json_covers(json_object_get(document, "body"), want, text_of(v, "name")), v, "values");
    json_decref(document);
    ran++;
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
    ran = both_ways = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        json_error_t error;
        json_t *v = json_loads(line, JSON_ALLOW_NUL, &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        if (json_object_get(v, "kind") == NULL) {
            check_vector(v);
        } else if (strcmp(text_of(v, "kind"), "reassembly") == 0) {
            check_reassembled(v);
        }
        json_decref(v);
    }
    (void)fclose(f);
    printf("    %s: %u frames, %u of them both ways\n", path, ran, both_ways);
    CU_ASSERT_TRUE(ran > 0);
}

static void test_own_vectors_decode_and_encode(void)
{
    const char *top = getenv("top_srcdir");
    char folder[4096];
    (void)snprintf(folder, sizeof(folder), "%s/tests/vectors", top != NULL ? top : ".");
    run_file(folder, "jt808.jsonl", true);
}

static void test_collected_vectors_decode_and_encode(void)
{
    const char *folder = getenv("POLYGATE_VECTORS");
    run_file(folder != NULL ? folder : "../shared/vectors", "jt808.jsonl", false);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_own_vectors_decode_and_encode),
        TEST(test_collected_vectors_decode_and_encode),
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_vectors", tests);
}
