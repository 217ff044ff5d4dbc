/* SPDX-License-Identifier: Apache-2.0 */

/* Frames as JSON documents and documents as frames.
 *
 * Out: the head is written from the header, the body by the walk of its layout. A body that cannot
 * be read, or whose JSON would not be whole, is given in hexadecimal and marked. In: the same
 * members, of which only the message (or id) is needed; the rest comes from the terminal's session.
 *
 * standard  JT/T 808-2011/2013/2019, 4.4.3 (header) and clause 8 (bodies)
 */

#include "jt808_json.h"

#include <stdio.h>
#include <time.h>

#include "jt808_codec.h"
#include "jt808_emqx.h"
#include "jt808_rows.h"
#include "wire/document.h"

/* ---- out ------------------------------------------------------------------------------------ */

static const char *edition_name(unsigned edition)
{
    return edition == JT808_2011 ? "2011" : edition == JT808_2013 ? "2013" : "2019";
}

static void put_bool(struct json_out *out, const char *key, bool value)
{
    json_out_key(out, key);
    json_out_bool(out, value);
}

static void put_number(struct json_out *out, const char *key, uint64_t value)
{
    json_out_key(out, key);
    json_out_u64(out, value);
}

static void put_word(struct json_out *out, const char *key, const char *value)
{
    json_out_key(out, key);
    json_out_word(out, value);
}

/* `n` decimal digits of value. */
static void put_digits(char *at, unsigned n, unsigned value)
{
    while (n-- > 0) {
        at[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The clock of GMT+8, computed directly: no zone data, no locale. */
static void put_received(struct json_out *out, int64_t ms)
{
    char text[] = "0000-00-00T00:00:00.000+08:00";
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000 + 8 * 3600);
    if (gmtime_r(&seconds, &tm) == NULL) {
        return;
    }
    put_digits(text, 4, (unsigned)tm.tm_year + 1900);
    put_digits(text + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(text + 8, 2, (unsigned)tm.tm_mday);
    put_digits(text + 11, 2, (unsigned)tm.tm_hour);
    put_digits(text + 14, 2, (unsigned)tm.tm_min);
    put_digits(text + 17, 2, (unsigned)tm.tm_sec);
    put_digits(text + 20, 3, (unsigned)(ms % 1000));
    put_word(out, "time", text);
}

static void put_native_head(struct json_out *out, const struct jt808_frame *frame)
{
    json_out_key(out, "id");
    json_out_hexnum(out, frame->msg_id, 4);
    put_word(out, "phone", frame->phone);
    put_number(out, "serial", frame->serial);
    if (frame->header_2019 && frame->protocol_version != 1) {
        put_number(out, "protocol_version", frame->protocol_version);
    }
    if (jt808_frame_encryption(frame) != 0) {
        put_number(out, "encryption", jt808_frame_encryption(frame));
    }
    if (jt808_frame_is_subpackage(frame)) {
        json_out_key(out, "package");
        json_out_open(out, '{');
        put_number(out, "total", frame->package_total);
        put_number(out, "index", frame->package_index);
        json_out_close(out, '}');
    }
    bool version_flag = (frame->attributes & JT808_ATTR_VERSION) != 0;
    if (version_flag != frame->header_2019) {
        put_bool(out, "version_flag", version_flag);
    }
    if ((frame->attributes & JT808_ATTR_RESERVED) != 0) {
        put_number(out, "reserved_bit15", 1);
    }
}

static void put_wire_head(struct json_out *out, const struct jt808_frame *frame)
{
    put_number(out, "msg_id", frame->msg_id);
    put_number(out, "body_length", jt808_frame_declared_length(frame));
    put_number(out, "encryption", jt808_frame_encryption(frame));
    put_bool(out, "subpackage", jt808_frame_is_subpackage(frame));
    put_number(out, "version_flag", (frame->attributes & JT808_ATTR_VERSION) != 0);
    if (frame->header_2019) {
        put_number(out, "protocol_version", frame->protocol_version);
    }
    put_word(out, "phone", frame->phone);
    put_number(out, "serial", frame->serial);
    if (jt808_frame_is_subpackage(frame)) {
        put_number(out, "package_total", frame->package_total);
        put_number(out, "package_index", frame->package_index);
    }
    if ((frame->attributes & JT808_ATTR_RESERVED) != 0) {
        put_number(out, "reserved_bit15", 1);
    }
}

static void put_names(struct json_out *out, const char *key, unsigned set, unsigned n,
                      const char *(*name)(unsigned))
{
    if (set == 0) {
        return;
    }
    json_out_key(out, key);
    json_out_open(out, '[');
    for (unsigned i = 0; i < n; i++) {
        if ((set & 1u << i) != 0) {
            json_out_word(out, name(i));
        }
    }
    json_out_close(out, ']');
}

static const char *fault_name(unsigned i)
{
    return wire_fault_names[i];
}

static const char *quirk_name(unsigned i)
{
    return jt808_quirk_name((enum jt808_quirk)i);
}

/* The members of the body by its layout; false if they are of no use. */
static bool put_fields(struct json_out *out, struct jt808_body *body,
                       const struct jt808_json_options *options)
{
    struct wire_json json;
    struct wire_walked walked;
    wire_json_begin(&json, out, options->shape, options->charset);
    bool fine =
        wire_walk(body->layout->rows, body->bytes, body->edition, wire_json_visit, &json, &walked);
    body->faults = walked.faults;
    return fine && wire_json_end(&json);
}

static void put_body(struct json_out *out, struct jt808_body *body,
                     const struct jt808_json_options *options)
{
    size_t start = out->len;
    if (body->layout != NULL &&
        body->layout != jt808_default_layout(body->message, body->frame_edition)) {
        put_word(out, "layout", body->layout->name);
    }
    json_out_key(out, "body");
    json_out_open(out, '{');
    if (body->layout != NULL) {
        if (put_fields(out, body, options)) {
            json_out_close(out, '}');
            return;
        }
        out->len = start;
        body->faults |= WIRE_FAULT_BODY;
        json_out_key(out, "body");
        json_out_open(out, '{');
    }
    json_out_key(out, "unknown_hex");
    json_out_hex(out, body->bytes);
    json_out_close(out, '}');
}

bool jt808_json_write(struct json_out *out, const struct jt808_frame *frame,
                      const struct jt808_json_options *options, unsigned *faults)
{
    struct jt808_body body;
    size_t start = out->len;
    if (options->shape == WIRE_SHAPE_ALIAS) {
        return jt808_emqx_write(out, frame, options, faults);
    }
    jt808_body_pick(frame, options->edition, &body);
    json_out_open(out, '{');
    put_word(out, "protocol", "jt808");
    if (options->shape == WIRE_SHAPE_WIRE) {
        put_word(out, "shape", "wire");
    }
    put_word(out, "edition", edition_name(body.frame_edition));
    if (body.message != NULL) {
        put_word(out, "message", body.message->name);
    }
    if (options->shape == WIRE_SHAPE_WIRE) {
        put_wire_head(out, frame);
    } else {
        put_native_head(out, frame);
    }
    if (options->received_ms > 0) {
        put_received(out, options->received_ms);
    }
    put_body(out, &body, options);
    put_names(out, "faults", body.faults, WIRE_FAULTS, fault_name);
    put_names(out, "quirks", frame->quirks, JT808_QUIRK_COUNT, quirk_name);
    if (options->raw && frame->content.len > 0) {
        json_out_key(out, "raw");
        json_out_hex(out, frame->content);
    }
    json_out_close(out, '}');
    if (faults != NULL) {
        *faults = body.faults;
    }
    if (out->failed) {
        out->len = start;
    }
    return !out->failed;
}

/* ---- in ------------------------------------------------------------------------------------- */

/* A number 0..max, or text "0x...". */
static bool take_number(json_t *document, const char *path, const char *key, unsigned max,
                        unsigned *value, bool *given, struct wire_error *error)
{
    char expected[64];
    json_t *v = json_object_get(document, key);
    *given = v != NULL;
    if (v == NULL) {
        return true;
    }
    if (json_is_boolean(v)) {
        *value = json_is_true(v);
        return true;
    }
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= max) {
        *value = (unsigned)json_integer_value(v);
        return true;
    }
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    if (strncmp(text, "0x", 2) == 0 && text[2] != '\0' && strlen(text) <= 6 &&
        strspn(text + 2, "0123456789abcdefABCDEF") == strlen(text + 2)) {
        *value = (unsigned)strtoul(text + 2, NULL, 16);
        return true;
    }
    snprintf(expected, sizeof(expected), "a number 0..%u", max);
    return wire_refuse(error, path, v, expected);
}

/* Which message: by "message", "id" or "msg_id", which must agree. */
static bool take_message(json_t *document, struct jt808_json_message *out, struct wire_error *error)
{
    unsigned id = 0;
    bool given = false;
    json_t *name = json_object_get(document, "message");
    if (!take_number(document, "id", "id", 0xffff, &id, &given, error) ||
        (!given && !take_number(document, "msg_id", "msg_id", 0xffff, &id, &given, error))) {
        return false;
    }
    if (name != NULL) {
        out->message = json_is_string(name) ? jt808_message_by_name(json_string_value(name)) : NULL;
        if (out->message == NULL) {
            return wire_refuse(error, "message", name, "the name of a message, or an \"id\"");
        }
        if (given && out->message->id != id) {
            return wire_refuse(error, "id", json_object_get(document, "id"),
                               "the id of \"message\", or only one of both");
        }
        id = out->message->id;
    } else if (!given) {
        return wire_refuse(error, "message", NULL, "the name of a message, or an \"id\"");
    } else {
        out->message = jt808_message_by_id(id);
    }
    out->frame.msg_id = (uint16_t)id;
    return true;
}

static bool take_edition(json_t *document, const struct jt808_json_defaults *defaults,
                         unsigned *edition, struct jt808_frame *frame, struct wire_error *error)
{
    json_t *given = json_object_get(document, "edition");
    *edition = defaults->edition;
    frame->header_2019 = defaults->header_2019;
    if (given != NULL) {
        const char *text = json_is_string(given) ? json_string_value(given) : "";
        *edition = strcmp(text, "2011") == 0   ? JT808_2011
                   : strcmp(text, "2013") == 0 ? JT808_2013
                   : strcmp(text, "2019") == 0 ? JT808_2019
                                               : 0;
        if (*edition == 0) {
            return wire_refuse(error, "edition", given, "\"2011\", \"2013\" or \"2019\"");
        }
        frame->header_2019 = *edition == JT808_2019;
    } else if (*edition == 0) {
        *edition = frame->header_2019 ? JT808_2019 : JT808_2013;
    }
    return true;
}

static bool take_package(json_t *document, struct jt808_frame *frame, struct wire_error *error)
{
    json_t *package = json_object_get(document, "package");
    unsigned total = 0;
    unsigned index = 0;
    bool has_total;
    bool has_index;
    bool fine;
    if (package != NULL) {
        fine = take_number(package, "package.total", "total", 0xffff, &total, &has_total, error) &&
               take_number(package, "package.index", "index", 0xffff, &index, &has_index, error);
    } else {
        fine = take_number(document, "package_total", "package_total", 0xffff, &total, &has_total,
                           error) &&
               take_number(document, "package_index", "package_index", 0xffff, &index, &has_index,
                           error);
    }
    if (!fine || (!has_total && !has_index)) {
        return fine;
    }
    frame->attributes |= JT808_ATTR_SUBPACKAGE;
    frame->package_total = (uint16_t)total;
    frame->package_index = (uint16_t)index;
    return true;
}

static bool take_phone(json_t *document, const struct jt808_json_defaults *defaults,
                       struct jt808_frame *frame, struct wire_error *error)
{
    json_t *given = json_object_get(document, "phone");
    const char *phone = defaults->phone != NULL ? defaults->phone : "";
    if (given != NULL) {
        phone = json_is_string(given) ? json_string_value(given) : "";
    }
    struct pg_bytes digits = {(const uint8_t *)phone, strlen(phone)};
    if (!jt808_frame_set_phone(frame, digits)) {
        return wire_refuse(error, "phone", given,
                           frame->header_2019 ? "a text of 1 to 20 digits"
                                              : "a text of 1 to 12 digits");
    }
    return true;
}

static bool take_head(json_t *document, const struct jt808_json_defaults *defaults,
                      struct jt808_json_message *out, struct wire_error *error)
{
    struct jt808_frame *frame = &out->frame;
    unsigned version = defaults->protocol_version != 0 ? defaults->protocol_version : 1;
    unsigned encryption = 0;
    unsigned version_flag = frame->header_2019;
    unsigned reserved = 0;
    unsigned serial = 0;
    bool given;
    if (!take_number(document, "protocol_version", "protocol_version", 255, &version, &given,
                     error) ||
        !take_number(document, "encryption", "encryption", 7, &encryption, &given, error) ||
        !take_number(document, "reserved_bit15", "reserved_bit15", 1, &reserved, &given, error) ||
        !take_number(document, "version_flag", "version_flag", 1, &version_flag, &given, error) ||
        !take_number(document, "serial", "serial", 0xffff, &serial, &out->serial_given, error)) {
        return false;
    }
    frame->protocol_version = frame->header_2019 ? (uint8_t)version : 0;
    frame->serial = (uint16_t)serial;
    frame->attributes = (uint16_t)(encryption << 10 | (version_flag ? JT808_ATTR_VERSION : 0u) |
                                   (reserved ? JT808_ATTR_RESERVED : 0u));
    return take_package(document, frame, error) && take_phone(document, defaults, frame, error);
}

static bool take_body(json_t *document, unsigned edition, enum wire_shape shape,
                      enum wire_charset charset, struct wire_out *body,
                      const struct jt808_message *message, struct wire_error *error)
{
    json_t *object = json_object_get(document, "body");
    json_t *named = json_object_get(document, "layout");
    json_t *hex = json_object_get(object, "unknown_hex");
    if (hex == NULL) {
        hex = json_object_get(object, "hex");
    }
    if (hex != NULL && json_object_size(object) > 1) {
        return wire_refuse(error, "body", object,
                           "nothing beside the hexadecimal digits of the body");
    }
    if (hex != NULL) {
        return wire_take_hex(hex, "body.hex", body, error);
    }
    if (message == NULL) {
        return wire_refuse(error, "body", object, "{\"hex\": \"...\"}, as this id has no table");
    }
    const struct jt808_layout *layout = jt808_default_layout(message, edition);
    if (named != NULL) {
        layout =
            json_is_string(named) ? jt808_layout_by_name(message, json_string_value(named)) : NULL;
        if (layout == NULL) {
            return wire_refuse(error, "layout", named, "the name of a layout of this message");
        }
    }
    json_t *empty = NULL;
    if (object == NULL) {
        object = empty = json_object();
    }
    bool fine =
        wire_encode(layout->rows, object, "body", layout->edition != 0 ? layout->edition : edition,
                    shape, charset, body, error);
    json_decref(empty);
    return fine;
}

/* Members that the document may have; another one is a typing mistake. */
static bool check_document(json_t *document, struct wire_error *error)
{
    static const char *const known[] = {
        "protocol",       "shape",       "edition",       "message",       "id",
        "msg_id",         "phone",       "serial",        "time",          "layout",
        "body",           "faults",      "quirks",        "raw",           "encryption",
        "package",        "subpackage",  "package_total", "package_index", "protocol_version",
        "reserved_bit15", "body_length", "version_flag"};

    return wire_has_only(document, known, sizeof(known) / sizeof(known[0]),
                         "only members of a JT/T 808 document", error);
}

bool jt808_json_encode(json_t *document, const struct jt808_json_defaults *defaults,
                       struct wire_out *body, struct jt808_json_message *out,
                       struct wire_error *error)
{
    unsigned edition;
    size_t start = body->len;
    *out = (struct jt808_json_message){0};
    if (!json_is_object(document)) {
        return wire_refuse(error, "document", document, "an object");
    }
    if (jt808_emqx_is(document)) {
        return jt808_emqx_encode(document, defaults, body, out, error);
    }
    json_t *shape_name = json_object_get(document, "shape");
    bool wire = json_is_string(shape_name) && strcmp(json_string_value(shape_name), "wire") == 0;
    if (shape_name != NULL && !wire &&
        !(json_is_string(shape_name) && strcmp(json_string_value(shape_name), "native") == 0)) {
        return wire_refuse(error, "shape", shape_name, "\"native\" or \"wire\"");
    }
    if (!check_document(document, error) || !take_message(document, out, error) ||
        !take_edition(document, defaults, &edition, &out->frame, error) ||
        !take_head(document, defaults, out, error) ||
        !take_body(document, edition, wire ? WIRE_SHAPE_WIRE : WIRE_SHAPE_NATIVE, defaults->charset,
                   body, out->message, error)) {
        return false;
    }
    if (body->failed) {
        return wire_refuse(error, "body", json_object_get(document, "body"), "a shorter body");
    }
    out->frame.body = body->len == start ? PG_BYTES_OF("")
                                         : (struct pg_bytes){body->data + start, body->len - start};
    return true;
}

bool jt808_json_encode_text(const char *text, size_t len,
                            const struct jt808_json_defaults *defaults, struct wire_out *body,
                            struct jt808_json_message *out, struct wire_error *error)
{
    json_t *document = wire_document(text, len, error);

    if (document == NULL) {
        return false;
    }
    bool fine = jt808_json_encode(document, defaults, body, out, error);
    json_decref(document);
    return fine;
}
