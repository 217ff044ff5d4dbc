/* SPDX-License-Identifier: Apache-2.0 */

/* Documents as frames: the head member by member, the body by the rows of its command, after the
 * short forms that applications may use were written out.
 *
 * standard  GB/T 32960.3-2016, -2025: 6.2 (header), Annex B (parameters and control)
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gbt32960_emqx.h"
#include "gbt32960_upgrade.h"
#include "wire/document.h"

/* ---- head ----------------------------------------------------------------------------------- */

/* A number 0..255, "0x..", or a name that `by_name` knows (it may be null). */
static bool take_byte(json_t *document, const char *key, uint8_t (*by_name)(const char *name),
                      uint8_t *value, bool *given, struct wire_error *error)
{
    json_t *v = json_object_get(document, key);
    const char *text = json_is_string(v) ? json_string_value(v) : "";

    *given = v != NULL;
    if (v == NULL) {
        return true;
    }
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= 255) {
        *value = (uint8_t)json_integer_value(v);
        return true;
    }
    if (strncmp(text, "0x", 2) == 0 && strlen(text) > 2 && strlen(text) <= 4 &&
        strspn(text + 2, "0123456789abcdefABCDEF") == strlen(text + 2)) {
        *value = (uint8_t)strtoul(text + 2, NULL, 16);
        return true;
    }
    uint8_t named = by_name != NULL && json_is_string(v) ? by_name(text) : 0;
    if (named == 0) {
        return wire_refuse(error, key, v,
                           by_name != NULL ? "a number 0..255 or a name" : "a number 0..255");
    }
    *value = named;
    return true;
}

static bool take_edition(json_t *document, unsigned fallback, uint16_t *edition,
                         struct wire_error *error)
{
    json_t *given = json_object_get(document, "edition");
    const char *text = json_is_string(given) ? json_string_value(given) : "";

    *edition = fallback == GBT_2025 ? GBT_2025 : GBT_2016;
    if (given == NULL) {
        return true;
    }
    if (strcmp(text, "2016") != 0 && strcmp(text, "2025") != 0) {
        return wire_refuse(error, "edition", given, "\"2016\" or \"2025\"");
    }
    *edition = text[3] == '5' ? GBT_2025 : GBT_2016;
    return true;
}

/* Which command: by "message", "id" or "command", which must agree. */
static bool take_command(json_t *document, struct gbt_json_message *out, struct wire_error *error)
{
    json_t *name = json_object_get(document, "message");
    uint8_t code = 0;
    bool given = false;

    if (!take_byte(document, "id", NULL, &code, &given, error) ||
        (!given && !take_byte(document, "command", NULL, &code, &given, error))) {
        return false;
    }
    if (name != NULL) {
        const struct gbt_message *message =
            json_is_string(name) ? gbt_message_by_name(json_string_value(name)) : NULL;
        if (message == NULL) {
            return wire_refuse(error, "message", name, "the name of a message, or an \"id\"");
        }
        if (given && message->command != code) {
            return wire_refuse(error, "id", json_object_get(document, "id"),
                               "the id of \"message\", or only one of both");
        }
        code = message->command;
    } else if (!given) {
        return wire_refuse(error, "message", NULL, "the name of a message, or an \"id\"");
    }
    out->frame.command = code;
    out->message = gbt_message_by_command(code, out->frame.edition);
    if (name != NULL && out->message == NULL) {
        return wire_refuse(error, "message", name, "a message that this edition has");
    }
    return true;
}

static bool take_id(json_t *document, const uint8_t *fallback, struct gbt_frame *frame,
                    struct wire_error *error)
{
    json_t *raw = json_object_get(document, "vin_raw");
    json_t *vin = json_object_get(document, "vin");
    size_t used = 0;

    if (raw != NULL) {
        if (!json_is_string(raw) ||
            !wire_hex_decode(json_string_value(raw), json_string_length(raw), frame->id, GBT_ID_LEN,
                             &used) ||
            used != GBT_ID_LEN) {
            return wire_refuse(error, "vin_raw", raw, "34 hexadecimal digits");
        }
        return true;
    }
    if (vin == NULL && fallback != NULL) {
        memcpy(frame->id, fallback, GBT_ID_LEN);
        return true;
    }
    if (!json_is_string(vin) || json_string_length(vin) > GBT_ID_LEN) {
        return wire_refuse(error, "vin", vin, "a text of at most 17 characters");
    }
    memcpy(frame->id, json_string_value(vin), json_string_length(vin));
    return true;
}

static bool take_head(json_t *document, const struct gbt_json_defaults *defaults,
                      struct gbt_json_message *out, struct wire_error *error)
{
    struct gbt_frame *frame = &out->frame;
    bool response;
    bool encryption;

    frame->response = GBT_COMMAND;
    frame->encryption = GBT_PLAIN;
    if (!take_edition(document, defaults->edition, &frame->edition, error) ||
        !take_command(document, out, error) ||
        !take_byte(document, "response", gbt_response_by_name, &frame->response, &response,
                   error) ||
        (!response &&
         !take_byte(document, "response_flag", NULL, &frame->response, &response, error)) ||
        !take_byte(document, "encryption", gbt_encryption_by_name, &frame->encryption, &encryption,
                   error) ||
        (!encryption &&
         !take_byte(document, "encryption_flag", NULL, &frame->encryption, &encryption, error))) {
        return false;
    }
    return take_id(document, defaults->id, frame, error);
}

/* ---- short forms ---------------------------------------------------------------------------- */

static const struct wire_item *parameter_by_name(const char *name, unsigned edition)
{
    for (size_t i = 0; i < gbt_parameters.n; i++) {
        const struct wire_item *item = &gbt_parameters.item[i];
        if (strcmp(item->name, name) == 0 && (item->since == 0 || edition >= item->since) &&
            (item->until == 0 || edition <= item->until)) {
            return item;
        }
    }
    return NULL;
}

/* {"report_period_s":10} is [{"name":"report_period_s","value":10}]. */
static json_t *list_of_parameters(json_t *object)
{
    json_t *list = json_array();
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        json_array_append_new(list, json_pack("{s:s,s:O}", "name", name, "value", value));
    }
    return list;
}

static const char *name_of_parameter(json_t *parameter, unsigned edition)
{
    json_t *name = json_object_get(parameter, "name");
    json_t *id = json_object_get(parameter, "id");

    if (json_is_string(name)) {
        return json_string_value(name);
    }
    if (json_is_integer(id)) {
        const struct wire_item *item =
            wire_item_by_id(&gbt_parameters, (uint32_t)json_integer_value(id), edition);
        return item != NULL ? item->name : "";
    }
    return "";
}

/* A domain name goes with its length in front of it. */
static void insert_lengths(json_t *list, unsigned edition)
{
    static const struct {
        const char *text, *length;
    } pairs[] = {{"platform_domain", "platform_domain_length"},
                 {"public_platform_domain", "public_platform_domain_length"}};

    for (size_t p = 0; p < sizeof(pairs) / sizeof(pairs[0]); p++) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *name = name_of_parameter(json_array_get(list, i), edition);
            if (strcmp(name, pairs[p].length) == 0) {
                break;
            }
            json_t *text = json_object_get(json_array_get(list, i), "value");
            if (strcmp(name, pairs[p].text) == 0 && json_is_string(text)) {
                json_array_insert_new(list, i,
                                      json_pack("{s:s,s:I}", "name", pairs[p].length, "value",
                                                (json_int_t)json_string_length(text)));
                break;
            }
        }
    }
}

/* Names of parameters to ask for are their numbers; a length is asked for with its text. */
static void number_parameters(json_t *ids, unsigned edition)
{
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_t *id = json_array_get(ids, i);
        const struct wire_item *item =
            json_is_string(id) ? parameter_by_name(json_string_value(id), edition) : NULL;
        if (item == NULL) {
            continue;
        }
        if (item->needs != 0) {
            json_array_insert_new(ids, i++, json_integer((json_int_t)item->id - 1));
        }
        json_array_set_new(ids, i, json_integer((json_int_t)item->id));
    }
}

/* An upgrade by its values is the bytes of its parameters; bytes that are given, too, are those. */
static bool write_upgrade(json_t *body, struct wire_error *error)
{
    json_t *upgrade = json_object_get(body, "upgrade");
    struct wire_out bytes = wire_out_heap(GBT_UNIT_MAX);
    struct json_out hex = json_out_heap(3 * (size_t)GBT_UNIT_MAX);

    if (upgrade == NULL) {
        return true;
    }
    bool fine = gbt_upgrade_encode(upgrade, &bytes, error);
    json_out_hex(&hex, wire_out_bytes(&bytes));
    if (fine && (bytes.failed || hex.failed)) {
        fine = wire_refuse(error, "body.upgrade", NULL, "less");
    }
    if (fine && json_object_get(body, "parameters_hex") == NULL) {
        json_object_set_new(body, "parameters_hex", json_stringn(hex.data + 1, hex.len - 2));
    }
    json_object_del(body, "upgrade");
    wire_out_free(&bytes);
    json_out_free(&hex);
    return fine;
}

/* A copy of the body with the short forms written out. */
static json_t *written_out(json_t *body, const struct wire_row *rows,
                           const struct gbt_json_defaults *defaults, unsigned edition,
                           struct wire_error *error)
{
    json_t *copy = body != NULL ? json_copy(body) : json_object();
    json_t *parameters = json_object_get(copy, "parameters");
    json_t *ids = json_object_get(copy, "parameter_ids");
    char text[GBT_TIME_TEXT];

    if (copy == NULL) {
        wire_refuse(error, "body", NULL, "less (out of memory)");
        return NULL;
    }
    if (rows == gbt_rows_control && !write_upgrade(copy, error)) {
        json_decref(copy);
        return NULL;
    }
    if (rows[0].kind == WIRE_TIME && (rows[0].flags & WIRE_OPTIONAL) == 0 &&
        json_object_get(copy, "time") == NULL && defaults->wall_ms != 0) {
        gbt_time_text(defaults->wall_ms, false, text);
        json_object_set_new(copy, "time", json_string(text));
    }
    if (parameters != NULL) {
        json_t *list =
            json_is_object(parameters) ? list_of_parameters(parameters) : json_copy(parameters);
        insert_lengths(list, edition);
        json_object_set_new(copy, "parameters", list);
    }
    if (json_is_array(ids)) {
        ids = json_copy(ids);
        number_parameters(ids, edition);
        json_object_set_new(copy, "parameter_ids", ids);
    }
    return copy;
}

/* ---- body ----------------------------------------------------------------------------------- */

static bool take_body(json_t *document, const struct gbt_json_defaults *defaults, bool wire,
                      struct wire_out *unit, struct gbt_frame *frame, struct wire_error *error)
{
    static const char *const as_hex[] = {"unknown_hex", "ciphertext_hex", "hex"};
    json_t *body = json_object_get(document, "body");
    json_t *layout = json_object_get(document, "layout");
    bool uplink = json_is_string(layout) && strcmp(json_string_value(layout), "answer") == 0;

    if (layout != NULL && !uplink) {
        return wire_refuse(error, "layout", layout, "\"answer\", or nothing");
    }
    for (size_t i = 0; i < sizeof(as_hex) / sizeof(as_hex[0]); i++) {
        json_t *hex = json_object_get(body, as_hex[i]);
        if (hex != NULL && json_object_size(body) > 1) {
            return wire_refuse(error, "body", body,
                               "nothing beside the hexadecimal digits of the body");
        }
        if (hex != NULL) {
            return wire_take_hex(hex, "body.hex", unit, error);
        }
    }
    const struct wire_row *rows = gbt_rows_of(frame, uplink);
    if (rows == NULL) {
        return wire_refuse(error, "body", body, "{\"hex\": \"...\"}, as this command has no table");
    }
    if (body != NULL && !json_is_object(body)) {
        return wire_refuse(error, "body", body, "an object");
    }
    json_t *full = written_out(body, rows, defaults, frame->edition, error);
    bool fine = full != NULL &&
                wire_encode(rows, full, "body", frame->edition,
                            wire ? WIRE_SHAPE_WIRE : WIRE_SHAPE_NATIVE, WIRE_GBK, unit, error);
    json_decref(full);
    return fine;
}

/* Members that the document may have; another one is a typing mistake. */
static bool check_document(json_t *document, struct wire_error *error)
{
    static const char *const known[] = {
        "protocol",    "shape",           "edition", "message", "id",         "command",
        "response",    "response_flag",   "vin",     "vin_raw", "encryption", "decrypted",
        "unit_length", "encryption_flag", "time",    "layout",  "body",       "faults",
        "raw",         "signature"};

    return wire_has_only(document, known, sizeof(known) / sizeof(known[0]),
                         "only members of a GB/T 32960 document", error);
}

bool gbt_json_encode(json_t *document, const struct gbt_json_defaults *defaults,
                     struct wire_out *unit, struct gbt_json_message *out, struct wire_error *error)
{
    size_t start = unit->len;

    *out = (struct gbt_json_message){0};
    if (!json_is_object(document)) {
        return wire_refuse(error, "document", document, "an object");
    }
    if (gbt_emqx_is(document)) {
        json_t *native = gbt_emqx_native(document, error);
        bool fine = native != NULL && gbt_json_encode(native, defaults, unit, out, error);
        json_decref(native);
        return fine;
    }
    json_t *shape_name = json_object_get(document, "shape");
    const char *shape = json_is_string(shape_name) ? json_string_value(shape_name) : "";
    bool wire = strcmp(shape, "wire") == 0;
    if (shape_name != NULL && !wire && strcmp(shape, "native") != 0) {
        return wire_refuse(error, "shape", shape_name, "\"native\" or \"wire\"");
    }
    if (!check_document(document, error) || !take_head(document, defaults, out, error) ||
        !take_body(document, defaults, wire, unit, &out->frame, error)) {
        return false;
    }
    if (unit->failed || unit->len - start > GBT_UNIT_MAX) {
        return wire_refuse(error, "body", json_object_get(document, "body"),
                           "a unit of at most 65531 bytes");
    }
    out->frame.unit = unit->len == start ? PG_BYTES_OF("")
                                         : (struct pg_bytes){unit->data + start, unit->len - start};
    return true;
}

bool gbt_json_encode_text(const char *text, size_t len, const struct gbt_json_defaults *defaults,
                          struct wire_out *unit, struct gbt_json_message *out,
                          struct wire_error *error)
{
    json_t *document = wire_document(text, len, error);

    if (document == NULL) {
        return false;
    }
    bool fine = gbt_json_encode(document, defaults, unit, out, error);
    json_decref(document);
    return fine;
}
