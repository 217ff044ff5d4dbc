/* SPDX-License-Identifier: Apache-2.0 */

/* Packets of MQTT into bytes.
 *
 * Each packet has one function that puts its body through a writer. It is walked twice: dry, to
 * learn the remaining length, then over the buffer; there is no second formula for any length.
 * What the hot path sends (short acknowledgements, the head of a PUBLISH) has its own functions
 * which do the same work without going through structs.
 *
 * No allocation, no state; any thread.
 * Standard: MQTT 5.0, 3.1 to 3.15; MQTT 3.1.1 and 3.1, 3.1 to 3.14. */

#include "mqtt_codec.h"
#include "mqtt_writer.h"

/* What a body is made of; which fields count depends on the type. */
struct source {
    enum mqtt_type type;
    enum mqtt_version version;
    const void *packet;
    const struct mqtt_filter *filters;
    size_t filter_count;
};

typedef void body_fn(struct mqtt_writer *w, const struct source *s);

static size_t encode(uint8_t first, body_fn *body, const struct source *s, uint8_t *buffer,
                     size_t size)
{
    struct mqtt_writer dry = {.data = NULL};
    body(&dry, s);
    if (dry.failed || dry.len > MQTT_LENGTH_MAX) {
        return 0;
    }
    size_t total = 1 + mqtt_varint_size(dry.len) + dry.len;
    if (buffer != NULL && total <= size) {
        struct mqtt_writer w = {.data = buffer};
        mqtt_put_u8(&w, first);
        mqtt_put_varint(&w, dry.len);
        body(&w, s);
    }
    return total;
}

static uint8_t first_byte(enum mqtt_type type, unsigned flags)
{
    return (uint8_t)((unsigned)type << 4 | flags);
}

static inline void put_packet_id(struct mqtt_writer *w, uint16_t id)
{
    if (id == 0) {
        w->failed = true;
    }
    mqtt_put_u16(w, id);
}

static void put_props(struct mqtt_writer *w, enum mqtt_version version,
                      const struct mqtt_props *props)
{
    if (version == MQTT_V5) {
        mqtt_props_encode(w, props);
    }
}

/* ---- CONNECT, CONNACK ------------------------------------------------------------------------ */

static void put_connect(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_connect *p = s->packet;
    mqtt_put_bytes(w, p->version == MQTT_V31 ? PG_BYTES_OF("MQIsdp") : PG_BYTES_OF("MQTT"));
    mqtt_put_u8(w, p->version);
    unsigned flags = (p->clean_start ? 0x02u : 0) | (p->username.data != NULL ? 0x80u : 0) |
                     (p->password.data != NULL ? 0x40u : 0);
    if (p->has_will) {
        flags |= 0x04u | (unsigned)p->will_qos << 3 | (p->will_retain ? 0x20u : 0);
    }
    mqtt_put_u8(w, flags);
    mqtt_put_u16(w, p->keepalive_s);
    put_props(w, p->version, &p->props);
    mqtt_put_bytes(w, p->client_id);
    if (p->has_will) {
        put_props(w, p->version, &p->will_props);
        mqtt_put_bytes(w, p->will_topic);
        mqtt_put_bytes(w, p->will_payload);
    }
    if (p->username.data != NULL) {
        mqtt_put_bytes(w, p->username);
    }
    if (p->password.data != NULL) {
        mqtt_put_bytes(w, p->password);
    }
}

size_t mqtt_encode_connect(const struct mqtt_connect *packet, uint8_t *buffer, size_t size)
{
    const struct source s = {.packet = packet};
    return encode(first_byte(MQTT_CONNECT, 0), put_connect, &s, buffer, size);
}

static void put_connack(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_connack *p = s->packet;
    /* 3.1 has no such flag: its first byte is reserved. */
    mqtt_put_u8(w, p->session_present && s->version != MQTT_V31 ? 1 : 0);
    mqtt_put_u8(w, p->code);
    put_props(w, s->version, &p->props);
}

size_t mqtt_encode_connack(const struct mqtt_connack *packet, enum mqtt_version version,
                           uint8_t *buffer, size_t size)
{
    const struct source s = {.version = version, .packet = packet};
    return encode(first_byte(MQTT_CONNACK, 0), put_connack, &s, buffer, size);
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

static unsigned publish_flags(bool dup, uint8_t qos, bool retain)
{
    return (dup ? 8u : 0) | (unsigned)qos << 1 | (retain ? 1u : 0);
}

static void put_publish(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_publish *p = s->packet;
    mqtt_put_bytes(w, p->topic);
    if (p->qos > 0) {
        put_packet_id(w, p->packet_id);
    }
    put_props(w, s->version, &p->props);
    mqtt_put_raw(w, p->payload);
}

size_t mqtt_encode_publish(const struct mqtt_publish *packet, enum mqtt_version version,
                           uint8_t *buffer, size_t size)
{
    const struct source s = {.version = version, .packet = packet};
    uint8_t first =
        first_byte(MQTT_PUBLISH, publish_flags(packet->dup, packet->qos, packet->retain));
    return encode(first, put_publish, &s, buffer, size);
}

/* The common block among the properties that differ from subscriber to subscriber. Their order is
 * free; this one is mosquitto's, for whoever compares whole packets. */
static inline void put_head_props(struct mqtt_writer *w, const struct mqtt_publish_head *h)
{
    for (size_t i = 0; i < h->subscription_id_count; i++) {
        mqtt_put_u8(w, MQTT_PROP_SUBSCRIPTION_ID);
        mqtt_put_varint(w, h->subscription_ids[i]);
    }
    mqtt_put_raw(w, h->forwarded);
    if (h->expires) {
        mqtt_put_u8(w, MQTT_PROP_MESSAGE_EXPIRY);
        mqtt_put_u32(w, h->message_expiry_s);
    }
    if (h->topic_alias != 0) {
        mqtt_put_u8(w, MQTT_PROP_TOPIC_ALIAS);
        mqtt_put_u16(w, h->topic_alias);
    }
}

/* The variable header, as far as the first byte of payload. */
static inline void put_head(struct mqtt_writer *w, const struct mqtt_publish_head *h)
{
    mqtt_put_bytes(w, h->topic);
    if (h->qos > 0) {
        put_packet_id(w, h->packet_id);
    }
    if (h->version == MQTT_V5) {
        mqtt_put_varint(w, h->props_len);
        put_head_props(w, h);
    }
}

size_t mqtt_measure_publish_head(struct mqtt_publish_head *head)
{
    struct mqtt_writer props = {.data = NULL};
    struct mqtt_writer dry = {.data = NULL};
    if (head->version == MQTT_V5) {
        put_head_props(&props, head);
    }
    head->props_len = props.len;
    put_head(&dry, head);
    if (dry.failed || props.failed || head->payload_len > MQTT_LENGTH_MAX ||
        dry.len + head->payload_len > MQTT_LENGTH_MAX) {
        return 0;
    }
    head->remaining = dry.len + head->payload_len;
    return 1 + mqtt_varint_size(head->remaining) + dry.len;
}

void mqtt_write_publish_head(const struct mqtt_publish_head *head, uint8_t *buffer)
{
    struct mqtt_writer w = {.data = buffer};
    mqtt_put_u8(&w, first_byte(MQTT_PUBLISH, publish_flags(head->dup, head->qos, head->retain)));
    mqtt_put_varint(&w, head->remaining);
    put_head(&w, head);
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static unsigned ack_flags(enum mqtt_type type)
{
    return type == MQTT_PUBREL ? 2 : 0;
}

/* Reason code and properties, each left out where it says nothing (3.4.2.1, 3.14.2.1). */
static void put_reason(struct mqtt_writer *w, enum mqtt_version version, uint8_t code,
                       const struct mqtt_props *props)
{
    if (version != MQTT_V5 || (code == 0 && props->present == 0)) {
        return;
    }
    mqtt_put_u8(w, code);
    if (props->present != 0) {
        mqtt_props_encode(w, props);
    }
}

static void put_ack(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_ack *p = s->packet;
    put_packet_id(w, p->packet_id);
    put_reason(w, s->version, p->code, &p->props);
}

size_t mqtt_encode_ack(const struct mqtt_ack *packet, enum mqtt_type type,
                       enum mqtt_version version, uint8_t *buffer, size_t size)
{
    const struct source s = {.version = version, .packet = packet};
    return encode(first_byte(type, ack_flags(type)), put_ack, &s, buffer, size);
}

size_t mqtt_encode_short_ack(enum mqtt_type type, enum mqtt_version version, uint16_t packet_id,
                             uint8_t code, uint8_t *buffer)
{
    bool with_code = version == MQTT_V5 && code != MQTT_RC_SUCCESS;
    buffer[0] = first_byte(type, ack_flags(type));
    buffer[1] = with_code ? 3 : 2;
    buffer[2] = (uint8_t)(packet_id >> 8);
    buffer[3] = (uint8_t)(packet_id & 0xFF);
    buffer[4] = code;
    return with_code ? 5 : 4;
}

/* ---- SUBSCRIBE, UNSUBSCRIBE, SUBACK, UNSUBACK ------------------------------------------------ */

static void put_subscribe(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_subscribe *p = s->packet;
    put_packet_id(w, p->packet_id);
    put_props(w, s->version, &p->props);
    for (size_t i = 0; i < s->filter_count; i++) {
        const struct mqtt_filter *f = &s->filters[i];
        mqtt_put_bytes(w, f->filter);
        if (s->type == MQTT_SUBSCRIBE) {
            unsigned options = f->qos;
            if (s->version == MQTT_V5) {
                options |= (f->no_local ? 0x04u : 0) | (f->retain_as_published ? 0x08u : 0) |
                           (unsigned)f->retain_handling << 4;
            }
            mqtt_put_u8(w, options);
        }
    }
}

size_t mqtt_encode_subscribe(const struct mqtt_subscribe *packet, enum mqtt_type type,
                             enum mqtt_version version, const struct mqtt_filter *filters,
                             size_t count, uint8_t *buffer, size_t size)
{
    const struct source s = {.type = type,
                             .version = version,
                             .packet = packet,
                             .filters = filters,
                             .filter_count = count};
    return encode(first_byte(type, 2), put_subscribe, &s, buffer, size);
}

static void put_suback(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_suback *p = s->packet;
    put_packet_id(w, p->packet_id);
    put_props(w, s->version, &p->props);
    if (s->type == MQTT_SUBACK || s->version == MQTT_V5) {
        mqtt_put_raw(w, p->codes);
    }
}

size_t mqtt_encode_suback(const struct mqtt_suback *packet, enum mqtt_type type,
                          enum mqtt_version version, uint8_t *buffer, size_t size)
{
    const struct source s = {.type = type, .version = version, .packet = packet};
    return encode(first_byte(type, 0), put_suback, &s, buffer, size);
}

/* ---- DISCONNECT, AUTH, PINGREQ, PINGRESP ----------------------------------------------------- */

static void put_disconnect(struct mqtt_writer *w, const struct source *s)
{
    const struct mqtt_disconnect *p = s->packet;
    put_reason(w, s->version, p->code, &p->props);
}

size_t mqtt_encode_disconnect(const struct mqtt_disconnect *packet, enum mqtt_type type,
                              enum mqtt_version version, uint8_t *buffer, size_t size)
{
    const struct source s = {.version = version, .packet = packet};
    return encode(first_byte(type, 0), put_disconnect, &s, buffer, size);
}

static void put_nothing(struct mqtt_writer *w, const struct source *s)
{
    (void)w;
    (void)s;
}

size_t mqtt_encode_empty(enum mqtt_type type, uint8_t *buffer, size_t size)
{
    const struct source s = {.packet = NULL};
    return encode(first_byte(type, 0), put_nothing, &s, buffer, size);
}
