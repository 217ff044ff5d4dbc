/* SPDX-License-Identifier: Apache-2.0 */

/* The JSON of EMQX's JT/T 808 gateway, for applications that were written for it: both ways.
 *
 * The head is that of the standard under EMQX's names, the body is the alias shape of the tables.
 * What EMQX has no table for, or what cannot be read, is bytes in base64 with the mark that it
 * gives unknown messages. Of a document that comes down only the message id, the body and perhaps
 * a serial number are taken: phone, lengths and version are filled in, as EMQX does, and the counts
 * and lengths in a body are counted anew.
 *
 * standard  JT/T 808-2011/2013/2019, 4.4.3 (header) and clause 8 (bodies)
 */

#include "jt808_emqx.h"

#include "jt808_codec.h"
#include "jt808_rows.h"

/* EMQX knows the messages of JT/T 808 itself, which end here in both directions. */
#define LAST_KNOWN 0x0a00u

static void put_number(struct json_out *out, const char *key, uint64_t value)
{
    json_out_key(out, key);
    json_out_u64(out, value);
}

static void put_header(struct json_out *out, const struct jt808_frame *frame)
{
    json_out_key(out, "header");
    json_out_open(out, '{');
    put_number(out, "msg_id", frame->msg_id);
    put_number(out, "encrypt", jt808_frame_encryption(frame));
    put_number(out, "len", jt808_frame_declared_length(frame));
    if (frame->header_2019) {
        put_number(out, "proto_ver", frame->protocol_version);
    }
    json_out_key(out, "phone");
    json_out_word(out, frame->phone);
    put_number(out, "msg_sn", frame->serial);
    if (jt808_frame_is_subpackage(frame)) {
        put_number(out, "frag_total", frame->package_total);
        put_number(out, "frag_sn", frame->package_index);
    }
    json_out_close(out, '}');
}

static const struct wire_row *rows_of(const struct jt808_layout *layout)
{
    return layout->alias_rows != NULL ? layout->alias_rows : layout->rows;
}

static bool put_fields(struct json_out *out, struct jt808_body *body,
                       const struct jt808_json_options *options)
{
    struct wire_json json;
    struct wire_walked walked;
    wire_json_begin(&json, out, WIRE_SHAPE_ALIAS, options->charset);
    bool fine = wire_walk(rows_of(body->layout), body->bytes, body->edition, wire_json_visit, &json,
                          &walked);
    body->faults = walked.faults;
    return fine && wire_json_end(&json);
}

bool jt808_emqx_write(struct json_out *out, const struct jt808_frame *frame,
                      const struct jt808_json_options *options, unsigned *faults)
{
    struct jt808_body body;
    size_t start = out->len;
    jt808_body_pick(frame, options->edition, &body);
    json_out_open(out, '{');
    put_header(out, frame);
    json_out_key(out, "body");
    size_t at = out->len;
    json_out_open(out, '{');
    if (body.layout == NULL || (frame->msg_id & 0x7fffu) > LAST_KNOWN ||
        !put_fields(out, &body, options)) {
        out->len = at;
        json_out_open(out, '{');
        json_out_key(out, "unknown_id");
        json_out_bool(out, true);
        json_out_key(out, "data");
        wire_json_base64(out, body.bytes);
    }
    json_out_close(out, '}');
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

bool jt808_emqx_is(json_t *document)
{
    return json_is_object(json_object_get(document, "header"));
}

static bool take_number(json_t *header, const char *key, const char *path, bool *given,
                        uint16_t *value, struct wire_error *error)
{
    json_t *number = json_object_get(header, key);
    *given = number != NULL;
    if (number == NULL) {
        return true;
    }
    if (!json_is_integer(number) || json_integer_value(number) < 0 ||
        json_integer_value(number) > 0xffff) {
        return wire_fails(error, path, "something else", "a number 0..65535");
    }
    *value = (uint16_t)json_integer_value(number);
    return true;
}

static bool take_body(json_t *document, const struct jt808_json_defaults *defaults,
                      unsigned edition, struct wire_out *body, const struct jt808_message *message,
                      struct wire_error *error)
{
    static const struct wire_row bytes[] = {HEX_REST("data"), END_OF_ROWS};
    json_t *given = json_object_get(document, "body");
    json_t *empty = json_is_object(given) ? NULL : json_object();
    json_t *object = empty != NULL ? empty : given;
    bool known = message != NULL && !json_is_true(json_object_get(object, "unknown_id"));
    const struct jt808_layout *layout = known ? jt808_default_layout(message, edition) : NULL;
    bool fine = wire_encode(known ? rows_of(layout) : bytes, object, "body",
                            known && layout->edition != 0 ? layout->edition : edition,
                            WIRE_SHAPE_ALIAS, defaults->charset, body, error);
    json_decref(empty);
    return fine;
}

bool jt808_emqx_encode(json_t *document, const struct jt808_json_defaults *defaults,
                       struct wire_out *body, struct jt808_json_message *out,
                       struct wire_error *error)
{
    struct jt808_frame *frame = &out->frame;
    json_t *header = json_object_get(document, "header");
    size_t start = body->len;
    bool given;

    frame->header_2019 = defaults->header_2019;
    frame->protocol_version = !frame->header_2019               ? 0
                              : defaults->protocol_version != 0 ? defaults->protocol_version
                                                                : 1;
    frame->attributes = frame->header_2019 ? JT808_ATTR_VERSION : 0;
    if (!take_number(header, "msg_id", "header.msg_id", &given, &frame->msg_id, error)) {
        return false;
    }
    if (!given) {
        return wire_fails(error, "header.msg_id", "nothing", "the id of a message");
    }
    if (!take_number(header, "msg_sn", "header.msg_sn", &out->serial_given, &frame->serial,
                     error)) {
        return false;
    }
    const char *phone = defaults->phone != NULL ? defaults->phone : "";
    if (!jt808_frame_set_phone(frame, (struct pg_bytes){(const uint8_t *)phone, strlen(phone)})) {
        return wire_fails(error, "phone", "nothing", "a phone that is known from elsewhere");
    }
    out->message = jt808_message_by_id(frame->msg_id);
    unsigned edition = defaults->edition != 0 ? defaults->edition
                       : frame->header_2019   ? JT808_2019
                                              : JT808_2013;
    if (!take_body(document, defaults, edition, body, out->message, error)) {
        return false;
    }
    if (body->failed) {
        return wire_fails(error, "body", "a longer one", "a shorter body");
    }
    frame->body = body->len == start ? PG_BYTES_OF("")
                                     : (struct pg_bytes){body->data + start, body->len - start};
    return true;
}
