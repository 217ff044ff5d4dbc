/* SPDX-License-Identifier: Apache-2.0 */

/* Messages to the client: PUBLISH out of deliveries, and what the client answers to them.
 *
 * Delivery is a pull: the core says that there is something, and as many deliveries are taken as
 * the connection has room for. The head of a PUBLISH is encoded into the output in place; a short
 * payload is copied behind it, a long one is sent from where it lies in the message. What all
 * subscribers get alike is encoded once and left with the message: the MQTT 5 properties, and of a
 * message that goes to many the whole packet, if it is short.
 *
 * A packet longer than the client takes is dropped as if it had been delivered [MQTT-3.1.2-25].
 * That is decided before an alias is looked at: an alias stands alone only after the packet with
 * both has been queued, and what is queued leaves in order.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.3 to 3.7, 4.3, 4.4; MQTT 3.1.1, 3.3 to 3.7, 4.3,
 * 4.4. */

#include <stdlib.h>
#include <string.h>

#include "mqtt_conn.h"
#include "mqtt_publish.h"

/* The block of properties that all subscribers get, as left with the message (pg_msg_encoding). */
#define FORWARDED_PROPERTIES 1u
/* The whole PUBLISH of QoS 0; WHOLE_V5 and WHOLE_RETAIN are added where they apply. */
#define WHOLE_PACKET 2u
#define WHOLE_V5     1u
#define WHOLE_RETAIN 4u
/* A packet of more bytes is not left with the message; nor is one for fewer holders of a reference,
 * as it would cost more than it saves. */
#define WHOLE_MAX     1024u
#define WHOLE_HOLDERS 8u

/* What an alias costs at most: the property, and a property length that takes one byte more. Only
 * for longer topics is a packet with the alias alone never longer than without. */
#define ALIAS_COST 4u

/* ---- PUBLISH --------------------------------------------------------------------------------- */

/* The block of properties for every subscriber, lent as long as the message. false: no memory. */
static bool forwarded(struct pg_msg *msg, struct pg_bytes *out)
{
    *out = PG_BYTES_NONE;
    if (msg->props == NULL) {
        return true;
    }
    const struct pg_encoding *cached = pg_msg_encoding(msg, &mqtt_protocol, FORWARDED_PROPERTIES);
    if (cached == NULL) {
        struct mqtt_props props;
        mqtt_props_of_msg(msg->props, &props);
        size_t len = mqtt_props_encode_block(&props, NULL, 0);
        uint8_t few[512];
        uint8_t *block = len <= sizeof(few) ? few : malloc(len);
        if (block == NULL) {
            return false;
        }
        mqtt_props_encode_block(&props, block, len);
        const struct pg_bytes bytes = {.data = block, .len = len};
        cached = pg_msg_encoding_add(msg, &mqtt_protocol, FORWARDED_PROPERTIES, bytes);
        if (block != few) {
            free(block);
        }
    }
    if (cached == NULL) {
        return false;
    }
    *out = (struct pg_bytes){.data = cached->bytes, .len = cached->len};
    return true;
}

/* Let an alias stand for the topic where the client allows it; `len` is the measure of the head
 * without one. Returns the measure of the head as it is then. */
static size_t choose_alias(struct pg_conn *conn, struct mqtt_conn *m,
                           struct mqtt_publish_head *head, size_t len)
{
    if (m->alias_send == 0 || head->topic.len <= ALIAS_COST) {
        return len;
    }
    struct mqtt_extras *extras = mqtt_extras_of(m);
    if (extras != NULL && extras->aliases_out == NULL) {
        extras->aliases_out = mqtt_aliases_new(m->alias_send);
    }
    if (extras == NULL || extras->aliases_out == NULL) {
        return len; /* without aliases everything still works */
    }
    bool known;
    head->topic_alias = mqtt_alias_of(extras->aliases_out, head->topic, &known);
    if (known) {
        head->topic = PG_BYTES_NONE;
        pg_conn_count(conn, MQTT_COUNT_ALIASED_SENT, 1);
        return mqtt_measure_publish_head(head);
    }
    /* With both in it the packet is longer than it was. */
    size_t longer = mqtt_measure_publish_head(head);
    if (longer > 0 && longer + head->payload_len <= m->max_packet_size &&
        mqtt_alias_set(extras->aliases_out, head->topic_alias, head->topic)) {
        return longer;
    }
    head->topic_alias = 0;
    return mqtt_measure_publish_head(head);
}

/* Queue head and payload. */
static void write_publish(struct pg_conn *conn, const struct mqtt_publish_head *head, size_t len,
                          struct pg_msg *msg)
{
    if (len + msg->payload.len <= PG_RESERVE_MAX) {
        uint8_t *at = pg_conn_reserve(conn, len + msg->payload.len);
        mqtt_write_publish_head(head, at);
        if (msg->payload.len > 0) {
            memcpy(at + len, msg->payload.data, msg->payload.len);
        }
        pg_conn_commit(conn, len + msg->payload.len);
        return;
    }
    if (len <= PG_RESERVE_MAX) {
        mqtt_write_publish_head(head, pg_conn_reserve(conn, len));
        pg_conn_commit(conn, len);
    } else {
        uint8_t *heap = malloc(len);
        if (heap == NULL) {
            pg_conn_close(conn, PG_NO_MEMORY, "for the head of a PUBLISH of %zu bytes", len);
            return;
        }
        mqtt_write_publish_head(head, heap);
        pg_conn_append(conn, (struct pg_bytes){.data = heap, .len = len});
        free(heap);
    }
    pg_conn_append_msg(conn, msg, msg->payload);
}

/* The packet as every subscriber of this version gets it, with `variant` and its head in `len` bytes:
 * left with the message if others wait for the same. */
static void leave_whole(const struct mqtt_publish_head *head, size_t len, struct pg_msg *msg,
                        uint32_t variant)
{
    uint8_t packet[WHOLE_MAX];
    size_t total = len + msg->payload.len;
    if (total > sizeof(packet) ||
        atomic_load_explicit(&msg->refs, memory_order_relaxed) < WHOLE_HOLDERS) {
        return;
    }
    mqtt_write_publish_head(head, packet);
    if (msg->payload.len > 0) {
        memcpy(packet + len, msg->payload.data, msg->payload.len);
    }
    /* Without memory for it each packet is encoded by itself. */
    (void)pg_msg_encoding_add(msg, &mqtt_protocol, variant,
                              (struct pg_bytes){.data = packet, .len = total});
}

/* Whether nothing in the packet is this subscriber's alone; if so, under which variant it may have
 * been left with the message. */
static bool is_common(const struct mqtt_conn *m, const struct pg_delivery *d, uint32_t *variant)
{
    *variant =
        WHOLE_PACKET + (m->version == MQTT_V5 ? WHOLE_V5 : 0) + (d->retain ? WHOLE_RETAIN : 0);
    return d->qos == 0 && d->subscription_id_count == 0 && m->alias_send == 0 &&
           d->msg->expires_ms == PG_NEVER;
}

/* PG_OK, or why the message cannot go to this client. */
static enum pg_reason send_publish(struct pg_conn *conn, struct mqtt_conn *m,
                                   const struct pg_delivery *d)
{
    struct pg_msg *msg = d->msg;
    uint32_t variant;
    bool common = is_common(m, d, &variant);
    const struct pg_encoding *whole = common ? pg_msg_encoding(msg, &mqtt_protocol, variant) : NULL;
    if (whole != NULL && whole->len <= m->max_packet_size) {
        pg_conn_append(conn, (struct pg_bytes){.data = whole->bytes, .len = whole->len});
        return PG_OK;
    }
    struct mqtt_publish_head head = {
        .version = (enum mqtt_version)m->version,
        .dup = d->redelivered && d->qos > 0,
        .retain = d->retain,
        .qos = d->qos,
        .packet_id = d->id,
        .topic = msg->topic,
        .topic_alias = 0,
        .expires = false,
        .message_expiry_s = 0,
        .subscription_ids = NULL,
        .subscription_id_count = 0,
        .forwarded = PG_BYTES_NONE,
        .payload_len = msg->payload.len,
        .props_len = 0,
        .remaining = 0,
    };
    if (m->version == MQTT_V5) {
        if (!forwarded(msg, &head.forwarded)) {
            pg_conn_close(conn, PG_NO_MEMORY, "for the properties of a PUBLISH");
            return PG_NO_MEMORY;
        }
        if (msg->expires_ms != PG_NEVER) {
            head.expires = true;
            head.message_expiry_s = pg_msg_expiry_left_s(msg);
        }
        head.subscription_ids = d->subscription_ids;
        head.subscription_id_count = d->subscription_id_count;
    }
    size_t len = mqtt_measure_publish_head(&head);
    if (len == 0 || len + msg->payload.len > m->max_packet_size) {
        return PG_TOO_LARGE;
    }
    if (common) {
        leave_whole(&head, len, msg, variant);
    }
    len = choose_alias(conn, m, &head, len);
    write_publish(conn, &head, len, msg);
    return PG_OK;
}

void mqtt_deliver(struct pg_client *client)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    struct pg_delivery d;
    while (m->state != MQTT_CLOSED && pg_conn_has_room(conn) && pg_delivery_next(client, &d)) {
        if (d.received) {
            mqtt_write_ack(conn, MQTT_PUBREL, d.id, MQTT_RC_SUCCESS, PG_OK);
            continue;
        }
        enum pg_reason reason = send_publish(conn, m, &d);
        if (reason == PG_TOO_LARGE) {
            pg_conn_count(conn, MQTT_COUNT_OVERSIZE, 1);
            if (d.id != 0) {
                (void)pg_delivery_settle(client, d.id, reason);
            }
        }
    }
}

/* ---- what the client answers ----------------------------------------------------------------- */

/* Decode; false: closed. */
static bool decode(struct pg_conn *conn, const struct mqtt_conn *m, const struct mqtt_frame *frame,
                   struct mqtt_ack *out)
{
    enum mqtt_error error = mqtt_decode_ack(frame, (enum mqtt_version)m->version, out);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
    }
    return error == MQTT_E_OK;
}

static enum pg_reason verdict(const struct mqtt_ack *ack)
{
    return ack->code >= MQTT_RC_UNSPECIFIED_ERROR ? PG_REJECTED : PG_OK;
}

static void settle(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_ack *ack)
{
    if (!pg_delivery_settle(mqtt_client_of(m), ack->packet_id, verdict(ack))) {
        pg_conn_count(conn, MQTT_COUNT_STRAY_ACKS, 1);
    }
}

/* What is due about an identifier. */
enum due {
    DUE_NOTHING, /* nothing is out under it */
    DUE_PUBACK,
    DUE_PUBREC,
    DUE_PUBCOMP, /* PUBREC came, PUBREL is out */
};

static enum due due_of(const struct mqtt_conn *m, uint16_t packet_id)
{
    struct pg_outstanding out;
    if (!pg_delivery_outstanding(mqtt_client_of(m), packet_id, &out)) {
        return DUE_NOTHING;
    }
    if (out.received) {
        return DUE_PUBCOMP;
    }
    return out.qos == 1 ? DUE_PUBACK : DUE_PUBREC;
}

/* An acknowledgement that does not belong to the QoS of its message, or does not come in its turn
 * (4.3). */
static void out_of_place(struct pg_conn *conn, const struct mqtt_frame *frame)
{
    mqtt_close_error(conn, frame, MQTT_E_ACK_OUT_OF_PLACE);
}

void mqtt_on_puback(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_ack ack;
    if (!decode(conn, m, frame, &ack)) {
        return;
    }
    enum due due = due_of(m, ack.packet_id);
    if (due != DUE_PUBACK && due != DUE_NOTHING) {
        out_of_place(conn, frame);
        return;
    }
    settle(conn, m, &ack);
}

/* PUBREC may come again for what it confirmed already. */
void mqtt_on_pubrec(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_ack ack;
    if (!decode(conn, m, frame, &ack)) {
        return;
    }
    if (due_of(m, ack.packet_id) == DUE_PUBACK) {
        out_of_place(conn, frame);
        return;
    }
    if (verdict(&ack) != PG_OK) { /* refused: there is no PUBREL (4.3.3) */
        settle(conn, m, &ack);
        return;
    }
    uint8_t code = MQTT_RC_SUCCESS;
    bool later;
    if (!pg_delivery_received(mqtt_client_of(m), ack.packet_id, &later)) {
        pg_conn_count(conn, MQTT_COUNT_STRAY_ACKS, 1);
        code = MQTT_RC_PACKET_ID_NOT_FOUND; /* left out before MQTT 5 */
    }
    if (!later) { /* else it is one of the next deliveries */
        mqtt_write_ack(conn, MQTT_PUBREL, ack.packet_id, code, PG_OK);
    }
}

void mqtt_on_pubcomp(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_ack ack;
    if (!decode(conn, m, frame, &ack)) {
        return;
    }
    enum due due = due_of(m, ack.packet_id);
    if (due != DUE_PUBCOMP && due != DUE_NOTHING) {
        out_of_place(conn, frame);
        return;
    }
    settle(conn, m, &ack);
}
