/* SPDX-License-Identifier: Apache-2.0 */

/* Between the headers of SEND and MESSAGE and the properties of the core's messages.
 *
 *   content-type         content type
 *   correlation-id       correlation data that is text; correlation-id-hex: any
 *   reply-to             response topic, as a destination
 *   expires              expiry, as milliseconds since 1970; 0: none
 *   payload-format       payload format indicator: utf-8 or bytes
 *   retain, persistent   retain, QoS
 *   every other          a user property of that name, in their order, repeated ones too
 *
 * A user property whose name has a meaning in MESSAGE is written with `user.` in front of it, and
 * read back without; so nobody's property can stand for a header of the gateway.
 *
 * No state; any thread. Standard: STOMP 1.2, SEND, MESSAGE, Repeated Header Entries; MQTT 5.0,
 * 3.3.2.3. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

static const struct pg_bytes user_prefix = PG_BYTES_OF("user.");

/* What a header means in MESSAGE, so that no user property may be called so. */
static const struct pg_bytes reserved[] = {
    PG_BYTES_OF("ack"),
    PG_BYTES_OF("content-length"),
    PG_BYTES_OF("content-type"),
    PG_BYTES_OF("correlation-id-hex"),
    PG_BYTES_OF("correlation-id"),
    PG_BYTES_OF("destination"),
    PG_BYTES_OF("expires"),
    PG_BYTES_OF("message-id"),
    PG_BYTES_OF("payload-format"),
    PG_BYTES_OF("persistent"),
    PG_BYTES_OF("receipt"),
    PG_BYTES_OF("redelivered"),
    PG_BYTES_OF("reply-to"),
    PG_BYTES_OF("retain"),
    PG_BYTES_OF("subscription"),
    PG_BYTES_OF("transaction"),
};

static bool begins(struct pg_bytes text, struct pg_bytes with)
{
    return text.len >= with.len && memcmp(text.data, with.data, with.len) == 0;
}

static bool is_reserved(struct pg_bytes name)
{
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (name.len == reserved[i].len && memcmp(name.data, reserved[i].data, name.len) == 0) {
            return true;
        }
    }
    return begins(name, user_prefix);
}

/* ---- from SEND ------------------------------------------------------------------------------- */

/* Headers of SEND that are no user properties. */
static bool has_meaning(uint8_t header)
{
    switch ((enum stomp_header)header) {
    case STOMP_H_CONTENT_LENGTH:
    case STOMP_H_CONTENT_TYPE:
    case STOMP_H_CORRELATION_HEX:
    case STOMP_H_CORRELATION_ID:
    case STOMP_H_DESTINATION:
    case STOMP_H_EXPIRES:
    case STOMP_H_PAYLOAD_FORMAT:
    case STOMP_H_PERSISTENT:
    case STOMP_H_RECEIPT:
    case STOMP_H_REPLY_TO:
    case STOMP_H_RETAIN:
    case STOMP_H_TRANSACTION:
        return true;
    default:
        return false;
    }
}

static enum pg_reason fill_user(struct pg_msg_spec *spec, const struct stomp_request *request,
                                struct stomp_user_room *room)
{
    const struct stomp_frame *frame = request->frame;
    struct pg_property *list = room->few;
    size_t count = 0;
    for (size_t i = 0; i < frame->count; i++) {
        const struct stomp_field *field = &frame->fields[i];
        if (has_meaning(field->header)) {
            continue;
        }
        if (count == STOMP_USER_ROOM && room->many == NULL) {
            list = room->many = calloc(frame->count, sizeof(*list));
            if (list == NULL) {
                return PG_NO_MEMORY;
            }
            memcpy(list, room->few, sizeof(room->few));
        }
        struct pg_bytes name =
            stomp_unescape(frame, field, stomp_field_name(frame, field), request->texts);
        if (begins(name, user_prefix)) {
            name.data += user_prefix.len;
            name.len -= user_prefix.len;
        }
        list[count++] = (struct pg_property){
            .name = name,
            .value = stomp_text(frame, field, request->texts),
        };
    }
    spec->props.user = list;
    spec->props.user_count = count;
    return PG_OK;
}

static enum pg_reason fill_expiry(struct pg_msg_spec *spec, const struct stomp_request *request,
                                  const char **why)
{
    uint64_t at_ms;
    struct pg_bytes text = stomp_value(request->frame, STOMP_H_EXPIRES, request->texts);
    if (text.data == NULL) {
        return PG_OK;
    }
    if (!stomp_number(text, INT64_MAX, &at_ms)) {
        *why = "expires is not a number of milliseconds since 1970";
        return PG_MALFORMED;
    }
    if (at_ms == 0) {
        return PG_OK;
    }
    int64_t left_ms = (int64_t)at_ms - pg_wall_ms();
    int64_t left_s = left_ms <= 0 ? 0 : left_ms / 1000 + (left_ms % 1000 != 0);
    spec->expires = true;
    spec->expiry_s = left_s >= PG_FOREVER ? PG_FOREVER - 1 : (uint32_t)left_s;
    return PG_OK;
}

static int digit_of(uint8_t octet)
{
    if (octet >= '0' && octet <= '9') {
        return octet - '0';
    }
    octet |= 0x20;
    return octet >= 'a' && octet <= 'f' ? octet - 'a' + 10 : -1;
}

static enum pg_reason fill_correlation(struct pg_msg_spec *spec,
                                       const struct stomp_request *request,
                                       struct stomp_user_room *room, const char **why)
{
    struct pg_bytes hex = stomp_value(request->frame, STOMP_H_CORRELATION_HEX, request->texts);
    if (hex.data == NULL) {
        spec->props.correlation_data =
            stomp_value(request->frame, STOMP_H_CORRELATION_ID, request->texts);
        return PG_OK;
    }
    *why = "correlation-id-hex is not an even number of hexadecimal digits, at most 512";
    if (hex.len % 2 != 0 || hex.len / 2 > sizeof(room->correlation)) {
        return PG_MALFORMED;
    }
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = digit_of(hex.data[i]), low = digit_of(hex.data[i + 1]);
        if (high < 0 || low < 0) {
            return PG_MALFORMED;
        }
        room->correlation[i / 2] = (uint8_t)(high << 4 | low);
    }
    spec->props.correlation_data = (struct pg_bytes){.data = room->correlation, .len = hex.len / 2};
    return PG_OK;
}

static enum pg_reason fill_reply_to(struct pg_msg_spec *spec, const struct stomp_conf *conf,
                                    const struct stomp_request *request,
                                    struct stomp_user_room *room, const char **why)
{
    struct pg_bytes text = stomp_value(request->frame, STOMP_H_REPLY_TO, request->texts);
    if (text.data == NULL) {
        return PG_OK;
    }
    struct stomp_destination to = stomp_destination_read(text);
    if (to.form == STOMP_P2P) {
        room->topic = malloc(STOMP_TOPIC_ROOM);
        if (room->topic == NULL) {
            return PG_NO_MEMORY;
        }
    }
    struct pg_bytes topic = stomp_topic_of(&to, conf->p2p_parent, room->topic);
    if (topic.data == NULL || pg_topic_name_valid(topic) != PG_OK) {
        *why = "reply-to is no destination that can be sent to";
        return PG_MALFORMED;
    }
    spec->props.response_topic = topic;
    return PG_OK;
}

static enum pg_reason fill_format(struct pg_msg_spec *spec, const struct stomp_request *request,
                                  const char **why)
{
    struct pg_bytes text = stomp_value(request->frame, STOMP_H_PAYLOAD_FORMAT, request->texts);
    spec->props.payload_is_utf8 = pg_bytes_equal(text, PG_BYTES_OF("utf-8"));
    spec->props.payload_is_bytes = pg_bytes_equal(text, PG_BYTES_OF("bytes"));
    if (text.data == NULL || spec->props.payload_is_utf8 || spec->props.payload_is_bytes) {
        return PG_OK;
    }
    *why = "payload-format is neither utf-8 nor bytes";
    return PG_MALFORMED;
}

enum pg_reason stomp_spec_fill(struct pg_msg_spec *spec, const struct stomp_conf *conf,
                               const struct stomp_request *request, struct stomp_user_room *room,
                               const char **why)
{
    *spec = (struct pg_msg_spec){.protocol = "stomp"};
    room->many = NULL;
    room->topic = NULL;
    spec->props.content_type = stomp_value(request->frame, STOMP_H_CONTENT_TYPE, request->texts);
    enum pg_reason reason = fill_expiry(spec, request, why);
    if (reason == PG_OK) {
        reason = fill_correlation(spec, request, room, why);
    }
    if (reason == PG_OK) {
        reason = fill_format(spec, request, why);
    }
    if (reason == PG_OK) {
        reason = fill_reply_to(spec, conf, request, room, why);
    }
    if (reason == PG_OK) {
        reason = fill_user(spec, request, room);
    }
    return request->texts->failed ? PG_NO_MEMORY : reason;
}

void stomp_user_room_free(struct stomp_user_room *room)
{
    free(room->many);
    free(room->topic);
    room->many = NULL;
    room->topic = NULL;
}

/* ---- to MESSAGE ------------------------------------------------------------------------------ */

static void put_content_type(struct stomp_writer *w, struct pg_bytes value, unsigned *left_out)
{
    if (value.data == NULL) {
        return;
    }
    if (!stomp_writable(w->version, value, false)) {
        ++*left_out;
        return;
    }
    stomp_put(w, PG_BYTES_OF("content-type:"));
    stomp_put_text(w, value);
    stomp_put(w, PG_BYTES_OF("\n"));
}

static void put_correlation(struct stomp_writer *w, struct pg_bytes data)
{
    static const char digits[] = "0123456789abcdef";
    if (data.data == NULL) {
        return;
    }
    if (pg_utf8_valid(data) && stomp_writable(w->version, data, false)) {
        stomp_put(w, PG_BYTES_OF("correlation-id:"));
        stomp_put_text(w, data);
    } else {
        stomp_put(w, PG_BYTES_OF("correlation-id-hex:"));
        for (size_t i = 0; i < data.len; i++) {
            const uint8_t pair[] = {(uint8_t)digits[data.data[i] >> 4],
                                    (uint8_t)digits[data.data[i] & 15]};
            stomp_put(w, (struct pg_bytes){.data = pair, .len = 2});
        }
    }
    stomp_put(w, PG_BYTES_OF("\n"));
}

static void put_reply_to(struct stomp_writer *w, struct pg_bytes topic, const char *p2p_parent,
                         unsigned *left_out)
{
    if (topic.data == NULL) {
        return;
    }
    if (!stomp_writable(w->version, topic, false)) {
        ++*left_out;
        return;
    }
    stomp_put(w, PG_BYTES_OF("reply-to:"));
    stomp_put_destination(w, STOMP_P2P, topic, p2p_parent);
    stomp_put(w, PG_BYTES_OF("\n"));
}

static void put_user(struct stomp_writer *w, const struct pg_property *property, unsigned *left_out)
{
    size_t before = w->len;
    if (is_reserved(property->name)) {
        stomp_put(w, user_prefix);
    }
    if (!stomp_put_header(w, property->name, property->value)) {
        w->len = before;
        ++*left_out;
    }
}

void stomp_put_properties(struct stomp_writer *w, const struct pg_msg_props *props,
                          const char *p2p_parent, unsigned *left_out)
{
    put_content_type(w, props->content_type, left_out);
    put_correlation(w, props->correlation_data);
    put_reply_to(w, props->response_topic, p2p_parent, left_out);
    if (props->payload_is_utf8 || props->payload_is_bytes) {
        stomp_put(w, props->payload_is_utf8 ? PG_BYTES_OF("payload-format:utf-8\n")
                                            : PG_BYTES_OF("payload-format:bytes\n"));
    }
    for (size_t i = 0; i < props->user_count; i++) {
        put_user(w, &props->user[i], left_out);
    }
}
