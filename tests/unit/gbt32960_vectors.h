/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_VECTORS_H
#define GBT32960_VECTORS_H

/* Checking GB/T 32960 frames against vectors: comparison of our JSON with the values that a vector
 * states in its own way, and the way there and back. */

#include <CUnit/Basic.h>
#include <jansson.h>

#include "gbt32960/gbt32960_codec.h"
#include "gbt32960/gbt32960_json.h"
#include "jt808_hex.h"

/* The list that a count of the vectors counts; our JSON says it by the list alone. */
static const char *const gbt_counts[][2] = {
    {"motor_count", "motors"},
    {"ess_fault_count", "ess_faults"},
    {"motor_fault_count", "motor_faults"},
    {"engine_fault_count", "engine_faults"},
    {"other_fault_count", "other_faults"},
    {"general_alarm_level_count", "general_alarm_levels"},
    {"subsystem_count", "subsystems"},
    {"frame_cell_count", "cell_voltages_v"},
    {"cell_count", "cell_voltages_v"},
    {"parallel_unit_count", "parallel_unit_voltages_v"},
    {"probe_count", "probe_temperatures_c"},
    {"coolant_outlet_probe_count", "coolant_outlet_temperatures_c"},
    {"pack_count", "packs"},
    {"stack_count", "stacks"},
    {"bms_count", "pack_counts"},
    {"parameter_count", "parameters"},
    {"parameter_count", "parameter_ids"},
};

static inline bool gbt_told(const char *path, const json_t *got, const json_t *want)
{
    char *g = got != NULL ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
    char *w = json_dumps(want, JSON_ENCODE_ANY);
    printf("    %s: wanted %.200s, got %.200s\n", path, w, g != NULL ? g : "nothing");
    free(g);
    free(w);
    return false;
}

static inline const char *gbt_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static inline bool gbt_covers(const json_t *got, const json_t *want, const json_t *holder,
                              const char *key, const char *path);

/* A member that our JSON tells in another way. true: it is told so. */
static inline bool gbt_told_otherwise(const json_t *got, const json_t *want, const char *key)
{
    json_t *value = json_object_get(want, key);
    if (strcmp(key, "raw") == 0 || strcmp(key, "status_raw") == 0 ||
        strcmp(key, "signed_length") == 0 || strcmp(key, "control_id") == 0) {
        return true; /* what stands for it is checked by encoding */
    }
    if (strcmp(key, "length") == 0) {
        return json_integer_value(value) * 2 == (json_int_t)strlen(gbt_text(got, "hex"));
    }
    if (strcmp(key, "alarm_text") == 0 || strcmp(key, "codes") == 0) {
        return json_array_size(value) == 0;
    }
    if (strcmp(key, "control") == 0) {
        return strcmp(json_string_value(value), "user_defined") == 0;
    }
    for (size_t i = 0; i < sizeof(gbt_counts) / sizeof(gbt_counts[0]); i++) {
        json_t *list = json_object_get(got, gbt_counts[i][1]);
        if (strcmp(gbt_counts[i][0], key) == 0 && list != NULL &&
            json_array_size(list) == (size_t)json_integer_value(value)) {
            return true;
        }
    }
    return false;
}

static inline bool gbt_covers_object(const json_t *got, const json_t *want, const char *path)
{
    const char *key;
    json_t *value;
    char inner[256];
    json_object_foreach((json_t *)(uintptr_t)want, key, value)
    {
        (void)snprintf(inner, sizeof(inner), "%s.%s", path, key);
        json_t *g = json_object_get(got, key);
        bool null_type = strcmp(key, "type") == 0 && json_is_null(value) && g == NULL;
        bool user_control = strcmp(key, "control") == 0 && json_is_integer(g);
        if (null_type || ((g == NULL || user_control) && gbt_told_otherwise(got, want, key))) {
            continue;
        }
        if (!gbt_covers(g, value, got, key, inner)) {
            return false;
        }
    }
    return true;
}

/* Whether the notes of `holder` say that this value, or entry `index` of this list, is `why`. */
static inline bool gbt_noted(const json_t *holder, const char *why, const char *key, long index)
{
    json_t *note = json_object_get(json_object_get(holder, why), key);
    for (size_t i = 0; index >= 0 && i < json_array_size(note); i++) {
        if (json_integer_value(json_array_get(note, i)) == index) {
            return true;
        }
    }
    return index < 0 && json_is_object(note);
}

static inline bool gbt_is_marker(const json_t *want)
{
    return json_is_string(want) && (strcmp(json_string_value(want), "invalid") == 0 ||
                                    strcmp(json_string_value(want), "abnormal") == 0);
}

static inline bool gbt_covers_array(const json_t *got, const json_t *want, const json_t *holder,
                                    const char *key, const char *path)
{
    char inner[256];
    if (json_array_size(got) != json_array_size(want)) {
        return gbt_told(path, got, want);
    }
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *w = json_array_get(want, i);
        const json_t *g = json_array_get(got, i);
        (void)snprintf(inner, sizeof(inner), "%s[%zu]", path, i);
        if (gbt_is_marker(w)
                ? !(json_is_null(g) && gbt_noted(holder, json_string_value(w), key, (long)i))
                : !gbt_covers(g, w, NULL, NULL, inner)) {
            return gbt_told(inner, g, w);
        }
    }
    return true;
}

/* Is everything that `want` says in `got`, in our way? `holder` is the object with `key`. */
static inline bool gbt_covers(const json_t *got, const json_t *want, const json_t *holder,
                              const char *key, const char *path)
{
    if (json_is_object(want) && json_is_object(got)) {
        return gbt_covers_object(got, want, path);
    }
    if (json_is_array(want) && json_is_array(got)) {
        return gbt_covers_array(got, want, holder, key, path);
    }
    if (json_is_number(want) && json_is_number(got)) {
        double difference = json_number_value(want) - json_number_value(got);
        return (difference < 1e-7 && difference > -1e-7) || gbt_told(path, got, want);
    }
    if (json_is_null(got) && gbt_is_marker(want) &&
        gbt_noted(holder, json_string_value(want), key, -1)) {
        return true;
    }
    if (json_is_null(got) && json_object_get(want, "raw") != NULL) {
        json_t *note = json_object_get(json_object_get(holder, "invalid"), key);
        return strcmp(gbt_text(note, "raw"), gbt_text(want, "raw")) == 0 ||
               gbt_told(path, note, want);
    }
    return (got != NULL && json_equal(got, want)) || gbt_told(path, got, want);
}

/* The vectors' form of a body: the signature beside the items, pack codes by BMS made flat, and
 * the bytes of unreadable parameters. Changes both. */
static inline void gbt_align(json_t *got, json_t *want)
{
    json_t *items = json_object_get(got, "items");
    for (size_t i = 0; i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        if (strcmp(gbt_text(item, "name"), "signature") == 0) {
            json_object_set_new(item, "type", json_incref(json_object_get(item, "algorithm")));
            json_object_set(got, "signature", item);
            json_array_remove(items, i--);
        }
    }
    json_t *signature = json_object_get(got, "signature");
    if (json_object_get(signature, "algorithm") != NULL) {
        json_object_set(signature, "type", json_object_get(signature, "algorithm"));
    }
    json_t *codes = json_object_get(want, "pack_codes");
    if (json_is_array(codes)) {
        json_t *flat = json_array();
        for (size_t i = 0; i < json_array_size(codes); i++) {
            json_array_extend(flat, json_array_get(codes, i));
        }
        json_object_set_new(want, "pack_codes", flat);
    }
    json_t *parameters = json_object_get(got, "parameters");
    for (size_t i = 0; i < json_array_size(parameters); i++) {
        json_t *parameter = json_array_get(parameters, i);
        json_t *hex = json_object_get(parameter, "hex");
        if (hex != NULL) {
            json_object_set_new(parameter, "value", json_pack("{s:O}", "hex", hex));
        }
    }
}

/* The document of a frame; the caller drops the reference. */
static inline json_t *gbt_document(const struct gbt_frame *frame,
                                   const struct gbt_json_options *options,
                                   struct gbt_json_judgement *judgement)
{
    struct json_out out = json_out_heap(8u << 20);
    json_error_t error;
    CU_ASSERT_TRUE_FATAL(gbt_json_write(&out, frame, options, judgement));
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
static inline bool gbt_encodes_to(json_t *document, struct pg_bytes wire)
{
    static uint8_t again[GBT_WIRE_MAX];
    struct wire_out unit = wire_out_heap(1u << 17);
    struct gbt_json_message message;
    struct gbt_json_defaults defaults = {0};
    struct wire_error error;
    bool same = false;
    if (!gbt_json_encode(document, &defaults, &unit, &message, &error)) {
        char sentence[400];
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s\n", sentence);
    } else {
        size_t len = gbt_frame_encode(&message.frame, again, sizeof(again));
        same = len == wire.len && memcmp(again, wire.data, len) == 0;
        if (!same) {
            char *text = json_dumps(document, 0);
            char *was = hex_text(wire);
            char *is = hex_text((struct pg_bytes){again, len});
            printf("    was %.400s\n    is  %.400s\n    by  %.900s\n", was, is, text);
            free(text);
            free(was);
            free(is);
        }
    }
    wire_out_free(&unit);
    return same;
}

#endif
