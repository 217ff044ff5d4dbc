/* SPDX-License-Identifier: Apache-2.0 */

/* Packets of MQTT out of their bytes.
 *
 * One function per packet, which reads as the standard's table reads: the reader keeps the first
 * rule that was broken, and mqtt_reader_end() gives the verdict and refuses bytes left over. A
 * packet is judged to its last byte before anything of it is used. Everything points into the
 * frame.
 *
 * No allocation, no state; any thread.
 * Standard: MQTT 5.0, 3.1 to 3.15; MQTT 3.1.1, 3.1 to 3.14; MQTT 3.1, 3.1 to 3.14. What a rule
 * needs to know of the session (a second CONNECT, an alias that was never set, an identifier in
 * use) is the matter of mqtt_session.c. */

#include <string.h>

#include "mqtt_codec.h"
#include "mqtt_reader.h"

static void no_props(struct mqtt_props *props)
{
    props->present = 0;
    props->raw = PG_BYTES_NONE;
    props->user_count = 0;
    props->subscription_id_count = 0;
    props->user = NULL;
    props->subscription_ids = NULL;
}

static void read_props(struct mqtt_reader *r, enum mqtt_version version, unsigned packet,
                       struct mqtt_props *out)
{
    if (version == MQTT_V5) {
        mqtt_props_decode(r, packet, out);
    } else {
        no_props(out);
    }
}

static bool same(struct pg_bytes text, const char *literal)
{
    return text.len == strlen(literal) && memcmp(text.data, literal, text.len) == 0;
}

/* ---- CONNECT (3.1) --------------------------------------------------------------------------- */

enum {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS_SHIFT = 3,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USERNAME = 0x80,
};

/* Name and level: what version the rest is in. */
static void read_protocol(struct mqtt_reader *r, struct mqtt_connect *out)
{
    struct pg_bytes name = mqtt_read_binary(r);
    uint8_t level = cursor_u8(&r->c);
    if (r->c.failed) {
        return;
    }
    bool current = same(name, "MQTT");
    if (!current && !same(name, "MQIsdp")) {
        mqtt_reader_fail(r, MQTT_E_PROTOCOL_NAME);
        return;
    }
    out->level = level;
    if (current ? level != MQTT_V311 && level != MQTT_V5 : level != MQTT_V31) {
        mqtt_reader_fail(r, MQTT_E_PROTOCOL_LEVEL);
        return;
    }
    out->version = (enum mqtt_version)level;
}

static void read_connect_flags(struct mqtt_reader *r, struct mqtt_connect *out, uint8_t flags)
{
    out->clean_start = (flags & CONNECT_CLEAN_START) != 0;
    out->has_will = (flags & CONNECT_WILL) != 0;
    out->will_qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
    out->will_retain = (flags & CONNECT_WILL_RETAIN) != 0;
    /* 3.1 calls bit 0 unused and forbids nothing. */
    if ((flags & CONNECT_RESERVED) != 0 && out->version != MQTT_V31) {
        mqtt_reader_fail(r, MQTT_E_CONNECT_FLAGS);
    }
    if (!out->has_will && (out->will_qos != 0 || out->will_retain)) {
        if (out->version == MQTT_V31) { /* 3.1.2: not relevant without a will */
            out->will_qos = 0;
            out->will_retain = false;
        } else {
            mqtt_reader_fail(r, MQTT_E_WILL_FLAGS);
        }
    }
    if (out->will_qos == 3) {
        mqtt_reader_fail(r, MQTT_E_WILL_QOS);
    }
    if ((flags & CONNECT_PASSWORD) != 0 && (flags & CONNECT_USERNAME) == 0 &&
        out->version != MQTT_V5) {
        mqtt_reader_fail(r, MQTT_E_PASSWORD_FLAG);
    }
}

/* Its faults have a code of their own [MQTT-3.1.3-8]. */
static void read_client_id(struct mqtt_reader *r, struct mqtt_connect *out)
{
    out->client_id = mqtt_read_binary(r);
    if ((mqtt_text_check(out->client_id) & (MQTT_TEXT_INVALID | MQTT_TEXT_CONTROL)) != 0) {
        mqtt_reader_fail(r, MQTT_E_CLIENT_ID);
    }
}

static void read_will(struct mqtt_reader *r, struct mqtt_connect *out)
{
    unsigned flags;
    read_props(r, out->version, MQTT_PROPS_OF_WILL, &out->will_props);
    out->will_topic = mqtt_read_name(r, &flags);
    if (out->will_topic.len == 0 || (flags & MQTT_TEXT_WILDCARD) != 0) {
        mqtt_reader_fail(r, MQTT_E_WILL_TOPIC);
    }
    out->will_payload = mqtt_read_binary(r);
}

/* 3.1, 3.1: the remaining length takes precedence over the flags for user name and password, as
 * there are clients from before that set the flag and send nothing. */
static bool given(const struct mqtt_reader *r, const struct mqtt_connect *out, bool flag)
{
    return flag && !(out->version == MQTT_V31 && !r->c.failed && cursor_left(&r->c) == 0);
}

enum mqtt_error mqtt_decode_connect(const struct mqtt_frame *frame, struct mqtt_connect *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    memset(out, 0, sizeof(*out));
    read_protocol(&r, out);
    if (r.error != MQTT_E_OK) {
        return r.error;
    }
    uint8_t flags = cursor_u8(&r.c);
    read_connect_flags(&r, out, flags);
    out->keepalive_s = cursor_u16(&r.c);
    read_props(&r, out->version, MQTT_CONNECT, &out->props);
    if (mqtt_props_has(&out->props, MQTT_PROP_AUTH_DATA) &&
        !mqtt_props_has(&out->props, MQTT_PROP_AUTH_METHOD)) {
        mqtt_reader_fail(&r, MQTT_E_AUTH_METHOD_MISSING);
    }
    read_client_id(&r, out);
    if (out->has_will) {
        read_will(&r, out);
    }
    if (given(&r, out, (flags & CONNECT_USERNAME) != 0)) {
        out->username = mqtt_read_name(&r, NULL);
    }
    if (given(&r, out, (flags & CONNECT_PASSWORD) != 0)) {
        out->password = mqtt_read_binary(&r);
    }
    return mqtt_reader_end(&r);
}

/* ---- CONNACK (3.2) --------------------------------------------------------------------------- */

enum mqtt_error mqtt_decode_connack(const struct mqtt_frame *frame, enum mqtt_version version,
                                    struct mqtt_connack *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    uint8_t flags = cursor_u8(&r.c);
    out->session_present = (flags & 1) != 0;
    out->code = cursor_u8(&r.c);
    if ((flags & 0xFE) != 0 || (out->session_present && version == MQTT_V31)) {
        mqtt_reader_fail(&r, MQTT_E_CONNACK_FLAGS);
    }
    bool known = version == MQTT_V5 ? mqtt_code_allowed(out->code, MQTT_CONNACK, MQTT_FROM_SERVER)
                                    : out->code <= MQTT_RC3_NOT_AUTHORIZED;
    if (!known) {
        mqtt_reader_fail(&r, MQTT_E_REASON_CODE);
    }
    if (out->session_present && out->code != 0) {
        mqtt_reader_fail(&r, MQTT_E_SESSION_PRESENT);
    }
    read_props(&r, version, MQTT_CONNACK, &out->props);
    return mqtt_reader_end(&r);
}

/* ---- PUBLISH (3.3) --------------------------------------------------------------------------- */

enum mqtt_error mqtt_decode_publish(const struct mqtt_frame *frame, enum mqtt_version version,
                                    enum mqtt_side from, struct mqtt_publish *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    out->dup = (frame->first & 8) != 0;
    out->qos = frame->first >> 1 & 3;
    out->retain = (frame->first & 1) != 0;
    out->packet_id = 0;
    if (out->qos == 3) {
        return MQTT_E_QOS;
    }
    /* 3.1 does not forbid it, and clients of that time do it. */
    if (out->dup && out->qos == 0 && version != MQTT_V31) {
        return MQTT_E_DUP;
    }
    unsigned flags;
    out->topic = mqtt_read_name(&r, &flags);
    if ((flags & MQTT_TEXT_WILDCARD) != 0 || (out->topic.len == 0 && version != MQTT_V5)) {
        mqtt_reader_fail(&r, MQTT_E_TOPIC_NAME);
    }
    if (out->qos > 0) {
        out->packet_id = mqtt_read_packet_id(&r);
    }
    read_props(&r, version, MQTT_PUBLISH, &out->props);
    if (out->topic.len == 0 && !mqtt_props_has(&out->props, MQTT_PROP_TOPIC_ALIAS)) {
        mqtt_reader_fail(&r, MQTT_E_TOPIC_MISSING);
    }
    if (from == MQTT_FROM_CLIENT && mqtt_props_has(&out->props, MQTT_PROP_SUBSCRIPTION_ID)) {
        mqtt_reader_fail(&r, MQTT_E_SUBSCRIPTION_ID_SENT);
    }
    out->payload = cursor_rest(&r.c);
    return mqtt_reader_end(&r);
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7) -------------------------------------------- */

enum mqtt_error mqtt_decode_ack(const struct mqtt_frame *frame, enum mqtt_version version,
                                struct mqtt_ack *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    no_props(&out->props);
    out->packet_id = mqtt_read_packet_id(&r);
    out->code = MQTT_RC_SUCCESS;
    /* Both the reason code and the property length may be left out (3.4.2.1, 3.4.2.2.1). */
    if (version == MQTT_V5 && cursor_left(&r.c) > 0) {
        enum mqtt_type type = mqtt_frame_type(frame);
        out->code = cursor_u8(&r.c);
        if (!mqtt_code_allowed(out->code, type, MQTT_FROM_CLIENT)) {
            mqtt_reader_fail(&r, MQTT_E_REASON_CODE);
        }
        if (cursor_left(&r.c) > 0) {
            mqtt_props_decode(&r, type, &out->props);
        }
    }
    return mqtt_reader_end(&r);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE (3.8, 3.10) ------------------------------------------------------ */

enum {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_RETAIN_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_HANDLING_SHIFT = 4,
    OPTION_RESERVED = 0xC0,
    OPTION_RESERVED_V3 = 0xFC,
};

static bool is_shared(struct pg_bytes filter)
{
    static const char prefix[] = "$share/";
    return filter.len >= sizeof(prefix) - 1 && memcmp(filter.data, prefix, sizeof(prefix) - 1) == 0;
}

static void judge_options(struct mqtt_reader *r, enum mqtt_version version, uint8_t options,
                          struct pg_bytes filter)
{
    uint8_t reserved = version == MQTT_V5 ? OPTION_RESERVED : OPTION_RESERVED_V3;
    if ((options & reserved) != 0) {
        mqtt_reader_fail(r, MQTT_E_SUBSCRIPTION_OPTIONS);
    }
    if ((options & OPTION_QOS) == 3) {
        mqtt_reader_fail(r, MQTT_E_SUBSCRIPTION_QOS);
    }
    if ((options >> OPTION_RETAIN_HANDLING_SHIFT & 3) == 3) {
        mqtt_reader_fail(r, MQTT_E_RETAIN_HANDLING);
    }
    if ((options & OPTION_NO_LOCAL) != 0 && is_shared(filter)) {
        mqtt_reader_fail(r, MQTT_E_SHARED_NO_LOCAL);
    }
}

enum mqtt_error mqtt_decode_subscribe(const struct mqtt_frame *frame, enum mqtt_version version,
                                      struct mqtt_subscribe *out)
{
    enum mqtt_type type = mqtt_frame_type(frame);
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    out->packet_id = mqtt_read_packet_id(&r);
    read_props(&r, version, type, &out->props);
    if (cursor_left(&r.c) == 0) {
        mqtt_reader_fail(&r, MQTT_E_NO_FILTER);
    }
    struct cursor start = r.c;
    while (cursor_left(&r.c) > 0) {
        struct pg_bytes filter = mqtt_read_name(&r, NULL);
        if (filter.len == 0) {
            mqtt_reader_fail(&r, MQTT_E_FILTER_EMPTY);
        }
        if (type == MQTT_SUBSCRIBE) {
            judge_options(&r, version, cursor_u8(&r.c), filter);
        }
    }
    out->filters = cursor_rest(&start);
    return mqtt_reader_end(&r);
}

bool mqtt_filter_next(const struct mqtt_subscribe *packet, enum mqtt_type type, size_t *at,
                      struct mqtt_filter *out)
{
    struct mqtt_reader r = mqtt_reader_of(packet->filters);
    (void)cursor_take(&r.c, *at);
    if (cursor_left(&r.c) == 0) {
        return false;
    }
    memset(out, 0, sizeof(*out));
    out->filter = mqtt_read_binary(&r);
    if (type == MQTT_SUBSCRIBE) {
        uint8_t options = cursor_u8(&r.c);
        out->qos = options & OPTION_QOS;
        out->no_local = (options & OPTION_NO_LOCAL) != 0;
        out->retain_as_published = (options & OPTION_RETAIN_AS_PUBLISHED) != 0;
        out->retain_handling = options >> OPTION_RETAIN_HANDLING_SHIFT & 3;
    }
    *at = packet->filters.len - cursor_left(&r.c);
    return !r.c.failed;
}

/* ---- SUBACK, UNSUBACK (3.9, 3.11) ------------------------------------------------------------ */

enum mqtt_error mqtt_decode_suback(const struct mqtt_frame *frame, enum mqtt_version version,
                                   struct mqtt_suback *out)
{
    enum mqtt_type type = mqtt_frame_type(frame);
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    out->packet_id = mqtt_read_packet_id(&r);
    read_props(&r, version, type, &out->props);
    out->codes = PG_BYTES_NONE;
    if (type == MQTT_UNSUBACK && version != MQTT_V5) {
        return mqtt_reader_end(&r);
    }
    out->codes = cursor_rest(&r.c);
    if (out->codes.len == 0) {
        mqtt_reader_fail(&r, MQTT_E_NO_REASON_CODE);
    }
    for (size_t i = 0; i < out->codes.len; i++) {
        uint8_t code = out->codes.data[i];
        bool known = version == MQTT_V5 ? mqtt_code_allowed(code, type, MQTT_FROM_SERVER)
                                        : code <= 2 || code == MQTT_RC3_SUBSCRIBE_FAILURE;
        if (!known) {
            mqtt_reader_fail(&r, MQTT_E_REASON_CODE);
        }
    }
    return mqtt_reader_end(&r);
}

/* ---- DISCONNECT, AUTH (3.14, 3.15) ----------------------------------------------------------- */

/* The common shape: reason code and property length may both be left out. */
static void read_reason(struct mqtt_reader *r, enum mqtt_type type, enum mqtt_side from,
                        struct mqtt_disconnect *out)
{
    no_props(&out->props);
    out->code = MQTT_RC_SUCCESS;
    if (cursor_left(&r->c) > 0) {
        out->code = cursor_u8(&r->c);
        if (cursor_left(&r->c) > 0) {
            mqtt_props_decode(r, type, &out->props);
        }
    }
    if (!mqtt_code_allowed(out->code, type, from)) {
        mqtt_reader_fail(r, MQTT_E_REASON_CODE);
    }
}

enum mqtt_error mqtt_decode_disconnect(const struct mqtt_frame *frame, enum mqtt_version version,
                                       enum mqtt_side from, struct mqtt_disconnect *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    if (version != MQTT_V5) {
        no_props(&out->props);
        out->code = MQTT_RC_SUCCESS;
        return mqtt_reader_end(&r);
    }
    read_reason(&r, MQTT_DISCONNECT, from, out);
    if (from == MQTT_FROM_SERVER && mqtt_props_has(&out->props, MQTT_PROP_SESSION_EXPIRY)) {
        mqtt_reader_fail(&r, MQTT_E_SESSION_EXPIRY_SENT);
    }
    if (from == MQTT_FROM_CLIENT && mqtt_props_has(&out->props, MQTT_PROP_SERVER_REFERENCE)) {
        mqtt_reader_fail(&r, MQTT_E_SERVER_REFERENCE_SENT);
    }
    return mqtt_reader_end(&r);
}

enum mqtt_error mqtt_decode_auth(const struct mqtt_frame *frame, enum mqtt_version version,
                                 enum mqtt_side from, struct mqtt_disconnect *out)
{
    struct mqtt_reader r = mqtt_reader_of(frame->body);
    if (version != MQTT_V5) {
        return MQTT_E_TYPE_RESERVED;
    }
    read_reason(&r, MQTT_AUTH, from, out);
    if (!mqtt_props_has(&out->props, MQTT_PROP_AUTH_METHOD) &&
        (out->code != MQTT_RC_SUCCESS || mqtt_props_has(&out->props, MQTT_PROP_AUTH_DATA))) {
        mqtt_reader_fail(&r, MQTT_E_AUTH_METHOD_MISSING);
    }
    return mqtt_reader_end(&r);
}

enum mqtt_error mqtt_decode_empty(const struct mqtt_frame *frame)
{
    return frame->body.len == 0 ? MQTT_E_OK : MQTT_E_TRAILING;
}

/* ---- any packet ------------------------------------------------------------------------------ */

enum mqtt_error mqtt_decode(const struct mqtt_frame *frame, enum mqtt_version version,
                            enum mqtt_side from, struct mqtt_packet *out)
{
    out->type = mqtt_frame_type(frame);
    if (!mqtt_type_allowed(out->type, version, from) && out->type != MQTT_CONNECT) {
        return MQTT_E_NOT_EXPECTED;
    }
    switch (out->type) {
    case MQTT_CONNECT:
        return from == MQTT_FROM_CLIENT ? mqtt_decode_connect(frame, &out->u.connect)
                                        : MQTT_E_NOT_EXPECTED;
    case MQTT_CONNACK:
        return mqtt_decode_connack(frame, version, &out->u.connack);
    case MQTT_PUBLISH:
        return mqtt_decode_publish(frame, version, from, &out->u.publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_decode_ack(frame, version, &out->u.ack);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return mqtt_decode_subscribe(frame, version, &out->u.subscribe);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_decode_suback(frame, version, &out->u.suback);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_decode_empty(frame);
    case MQTT_DISCONNECT:
        return mqtt_decode_disconnect(frame, version, from, &out->u.disconnect);
    case MQTT_AUTH:
        return mqtt_decode_auth(frame, version, from, &out->u.disconnect);
    }
    return MQTT_E_TYPE_RESERVED;
}
