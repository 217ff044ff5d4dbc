/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_VECTORS_H
#define JT808_VECTORS_H

/* Checking frames against vectors: comparison of JSON by subset, and the way there and back. */

#include <CUnit/Basic.h>
#include <jansson.h>

#include "jt808/jt808_codec.h"
#include "jt808/jt808_json.h"
#include "jt808_hex.h"

/* Is everything that `want` says in `got`? Lists have the same length. Says where not. */
static inline bool json_covers(const json_t *got, const json_t *want, const char *path)
{
    char inner[256];
    if (json_is_object(want) && json_is_object(got)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)want, key, value)
        {
            (void)snprintf(inner, sizeof(inner), "%s.%s", path, key);
            json_t *g = json_object_get(got, key);
            if (json_is_boolean(value) && json_is_integer(g)) {
                g = NULL;
            }
            if (!json_covers(g, value, inner)) {
                return false;
            }
        }
        return true;
    }
    if (json_is_array(want) && json_is_array(got) &&
        json_array_size(want) == json_array_size(got)) {
        for (size_t i = 0; i < json_array_size(want); i++) {
            (void)snprintf(inner, sizeof(inner), "%s[%zu]", path, i);
            if (!json_covers(json_array_get(got, i), json_array_get(want, i), inner)) {
                return false;
            }
        }
        return true;
    }
    if (got != NULL && json_equal(got, want)) {
        return true;
    }
    char *g = got != NULL ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
    char *w = json_dumps(want, JSON_ENCODE_ANY);
    printf("    %s: wanted %.200s, got %.200s\n", path, w, g != NULL ? g : "nothing");
    free(g);
    free(w);
    return false;
}

/* The document of a frame; the caller drops the reference. */
static inline json_t *frame_document(const struct jt808_frame *frame,
                                     const struct jt808_json_options *options, unsigned *faults)
{
    struct json_out out = json_out_heap(1u << 20);
    CU_ASSERT_TRUE_FATAL(jt808_json_write(&out, frame, options, faults));
    json_error_t error;
    json_t *document =
        json_loadb(out.data, out.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (document == NULL) {
        printf("    %s in %.*s\n", error.text, (int)out.len, out.data);
    }
    json_out_free(&out);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    return document;
}

/* Does the document encode to this frame on the wire? */
static inline bool encodes_to(json_t *document, enum wire_charset charset, struct pg_bytes wire)
{
    uint8_t room[4096];
    uint8_t again[JT808_WIRE_MAX];
    struct wire_out body = wire_out_over(room, sizeof(room));
    struct jt808_json_message message;
    struct jt808_json_defaults defaults = {.charset = charset};
    struct wire_error error;
    if (!jt808_json_encode(document, &defaults, &body, &message, &error)) {
        char sentence[400];
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s\n", sentence);
        return false;
    }
    size_t len = jt808_frame_encode(&message.frame, again, sizeof(again));
    bool same = len == wire.len && memcmp(again, wire.data, len) == 0;
    if (!same) {
        char *text = json_dumps(document, 0);
        char *was = hex_text(wire);
        char *is = hex_text((struct pg_bytes){again, len});
        printf("    was %s\n    is  %s\n    by  %s\n", was, is, text);
        free(text);
        free(was);
        free(is);
    }
    return same;
}

#endif
