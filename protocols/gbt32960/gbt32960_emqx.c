/* SPDX-License-Identifier: Apache-2.0 */

/* The JSON of EMQX's GB/T 32960 gateway, for applications that were written for it.
 *
 * Up: the head under EMQX's names, the unit in the alias shape of the tables. What EMQX has no rows
 * for, or what cannot be read, is its CustomData, bytes in base64. Down: EMQX has three commands,
 * which are written as documents of the native shape; counts are counted anew.
 *
 * standard  GB/T 32960.3-2016, -2025: 6.2 (header), chapter 7 and Annex B (units)
 */

#include "gbt32960_emqx.h"

#include <stdlib.h>
#include <string.h>

#include "gbt32960_codec.h"

/* ---- out ------------------------------------------------------------------------------------ */

static const struct wire_row *rows_of(const struct gbt_frame *frame, bool uplink)
{
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);
    const struct wire_row *rows = gbt_rows_of(frame, uplink);

    if (rows == NULL || gbt_frame_is_opaque(frame)) {
        return NULL;
    }
    return rows == message->rows && message->alias_rows != NULL ? message->alias_rows : rows;
}

static bool put_fields(struct json_out *out, const struct gbt_frame *frame,
                       const struct gbt_json_options *options, struct gbt_json_judgement *found)
{
    const struct wire_row *rows = rows_of(frame, options->uplink);
    struct wire_json json;
    struct wire_walked walked;

    if (rows == NULL) {
        return false;
    }
    wire_json_begin(&json, out, WIRE_SHAPE_ALIAS, WIRE_GBK);
    json.hide_secrets = options->hide_secrets;
    bool fine = wire_walk(rows, frame->unit, frame->edition, wire_json_visit, &json, &walked);
    found->faults = walked.faults;
    return fine && wire_json_end(&json);
}

bool gbt_emqx_write(struct json_out *out, const struct gbt_frame *frame,
                    const struct gbt_json_options *options, struct gbt_json_judgement *judgement)
{
    struct gbt_json_judgement found = {0};
    char vin[GBT_ID_TEXT];
    size_t start = out->len;

    gbt_id_text(frame->id, vin);
    json_out_open(out, '{');
    json_out_key(out, "Cmd");
    json_out_u64(out, frame->command);
    json_out_key(out, "Encrypt");
    json_out_u64(out, frame->encryption);
    json_out_key(out, "Vin");
    if (wire_text_is_ascii((struct pg_bytes){(const uint8_t *)vin, strlen(vin)})) {
        json_out_text(out, vin, strlen(vin));
    } else {
        json_out_hex(out, (struct pg_bytes){.data = frame->id, .len = GBT_ID_LEN});
    }
    json_out_key(out, "Data");
    size_t at = out->len;
    json_out_open(out, '{');
    if (!put_fields(out, frame, options, &found)) {
        out->len = at;
        json_out_open(out, '{');
        json_out_key(out, "Type");
        json_out_word(out, "CustomData");
        json_out_key(out, "Data");
        wire_json_base64(out, frame->unit);
    }
    json_out_close(out, '}');
    json_out_close(out, '}');
    if (judgement != NULL) {
        *judgement = found;
    }
    if (out->failed) {
        out->len = start;
    }
    return !out->failed;
}

const char *gbt_emqx_topic(const struct gbt_message *message)
{
    return message != NULL && message->alias != NULL ? message->alias : "transparent";
}

/* ---- in ------------------------------------------------------------------------------------- */

bool gbt_emqx_is(json_t *document)
{
    return json_object_get(document, "Action") != NULL;
}

/* 0x0A, "0x0A" or "10". */
static bool take_id(json_t *value, const char *text, const char *path, uint8_t *id,
                    struct wire_error *error)
{
    char *end = NULL;
    unsigned long number = 256;

    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        number = (unsigned long)json_integer_value(value);
    } else if (text != NULL && text[0] >= '0' && text[0] <= '9') {
        number = strtoul(text, &end, strncmp(text, "0x", 2) == 0 ? 16 : 10);
        number = *end == '\0' ? number : 256;
    }
    *id = (uint8_t)number;
    return number <= 255 ||
           wire_fails(error, path, text != NULL ? text : "something else", "a number 0..255");
}

static bool take_query(json_t *document, json_t *body, struct wire_error *error)
{
    json_t *ids = json_object_get(document, "Ids");
    json_t *numbers = json_array();
    json_t *value;
    size_t i;

    json_object_set_new(body, "parameter_ids", numbers);
    if (!json_is_array(ids)) {
        return wire_fails(error, "Ids", "something else", "a list of parameters");
    }
    json_array_foreach(ids, i, value)
    {
        uint8_t id;
        if (!take_id(value, json_string_value(value), "Ids", &id, error)) {
            return false;
        }
        json_array_append_new(numbers, json_integer(id));
    }
    return true;
}

/* Lengths of domain names are given by EMQX's applications; they are counted anew. */
static bool is_length(uint8_t id)
{
    return id == 0x04 || id == 0x0d;
}

static bool take_setting(json_t *document, json_t *body, struct wire_error *error)
{
    json_t *params = json_object_get(document, "Params");
    json_t *list = json_array();
    json_t *param;
    json_t *value;
    const char *key;
    size_t i;

    json_object_set_new(body, "parameters", list);
    if (!json_is_array(params)) {
        return wire_fails(error, "Params", "something else", "a list of parameters");
    }
    json_array_foreach(params, i, param)
    {
        json_object_foreach(param, key, value)
        {
            uint8_t id;
            if (!take_id(NULL, key, "Params", &id, error)) {
                return false;
            }
            if (!is_length(id)) {
                json_array_append_new(list, json_pack("{s:i,s:O}", "id", id, "value", value));
            }
        }
    }
    return true;
}

/* Members of "Param" and the fields that they are. */
static const struct {
    const char *emqx, *native;
} control_fields[] = {{"Level", "alarm_level"}, {"Message", "alarm_text"}};

static bool take_control(json_t *document, json_t *body, struct wire_error *error)
{
    json_t *command = json_object_get(document, "Command");
    json_t *param = json_object_get(document, "Param");
    uint8_t id;

    if (!take_id(command, json_string_value(command), "Command", &id, error)) {
        return false;
    }
    json_object_set_new(body, "control", json_integer(id));
    for (size_t i = 0; i < sizeof(control_fields) / sizeof(control_fields[0]); i++) {
        json_t *value = json_object_get(param, control_fields[i].emqx);
        if (value != NULL) {
            json_object_set(body, control_fields[i].native, value);
        }
    }
    return true;
}

json_t *gbt_emqx_native(json_t *document, struct wire_error *error)
{
    static const struct {
        const char *action, *message;
        bool (*take)(json_t *document, json_t *body, struct wire_error *error);
    } actions[] = {{"Query", "parameter_query", take_query},
                   {"Setting", "parameter_set", take_setting},
                   {"Control", "terminal_control", take_control}};
    const char *action = json_string_value(json_object_get(document, "Action"));

    for (size_t i = 0; action != NULL && i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(action, actions[i].action) != 0) {
            continue;
        }
        json_t *body = json_object();
        json_t *native = json_pack("{s:s,s:o}", "message", actions[i].message, "body", body);
        if (actions[i].take(document, body, error)) {
            return native;
        }
        json_decref(native);
        return NULL;
    }
    wire_fails(error, "Action", action != NULL ? action : "something else",
               "\"Query\", \"Setting\" or \"Control\"");
    return NULL;
}
