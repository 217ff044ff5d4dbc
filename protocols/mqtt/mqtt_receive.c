/* SPDX-License-Identifier: Apache-2.0 */

/* Messages from the client: PUBLISH, and the release of QoS 2.
 *
 * A PUBLISH becomes a message of the core in one step, straight from the read buffer. Its
 * acknowledgement is due when the core has given the result, and leaves behind those of the PUBLISH
 * packets before it [MQTT-4.6.0-2, -3]. Nearly always the result is there at once and nothing is
 * remembered; only while one is out do acknowledgements wait in a ring, whose size the Receive
 * Maximum bounds: an MQTT 5 client that goes beyond is disconnected, older clients, who know no
 * such limit, are not read until some have left.
 *
 * QoS 2: the identifier is held by the session from PUBLISH to PUBREL (pg_publish_once), through any
 * number of connections, so that a repeated PUBLISH is acknowledged and not published again. PUBCOMP
 * leaves when the store has forgotten it.
 *
 * Versions before MQTT 5 have no way to refuse a message: one that was not authorized is
 * or too long is acknowledged or ends the connection (mqtt.denied_publish_3x); one that could not be taken is
 * never acknowledged, and ends the connection, so that the client will send it again.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.3 to 3.7, 4.3, 4.6, 4.9; MQTT 3.1.1, 3.3 to 3.7,
 * 4.3, 4.6. */

#include <stdlib.h>
#include <string.h>

#include "mqtt_conn.h"
#include "mqtt_publish.h"
#include "mqtt_reason.h"

#define FIRST_DUES 8u
/* The token of what is not acknowledged. */
#define NO_TOKEN UINT64_MAX

/* ---- acknowledgements ------------------------------------------------------------------------ */

static bool is_refusal(enum pg_reason reason)
{
    return mqtt_reason_codes(reason)->ack >= MQTT_RC_UNSPECIFIED_ERROR;
}

/* One place in the client's send quota is free again. */
static void slot_free(struct mqtt_conn *m)
{
    if (m->open_receipts > 0) {
        m->open_receipts--;
    }
}

/* A client that cannot be told of a refusal. */
static bool may_acknowledge_3x(struct pg_conn *conn, enum pg_reason reason)
{
    return (reason == PG_NOT_AUTHORIZED || reason == PG_TOO_LARGE) &&
           mqtt_conf_of(conn)->denied_publish_3x == MQTT_DENIED_ACKNOWLEDGE;
}

static void acknowledge(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_due *due)
{
    enum pg_reason reason = (enum pg_reason)due->reason;
    uint8_t code = mqtt_reason_codes(reason)->ack;
    bool refused = is_refusal(reason);
    if (reason == PG_TOPIC_INVALID && mqtt_closes_for_topics(conn)) {
        mqtt_close_topic(conn, reason, "PUBLISH; see limits.topic_levels");
        return;
    }
    if (refused && m->version != MQTT_V5) {
        if (!may_acknowledge_3x(conn, reason)) {
            pg_conn_close(conn, reason, "a PUBLISH that cannot be refused otherwise");
            return;
        }
        /* The rest of the exchange goes its normal way; no identifier is held for it. */
        slot_free(m);
        code = MQTT_RC_SUCCESS;
        refused = false;
    } else if (due->qos == 1 || refused) {
        slot_free(m);
    }
    if (due->qos == 2 && !refused) {
        code = MQTT_RC_SUCCESS; /* that nobody subscribed is no reason to treat PUBREC specially */
    }
    mqtt_write_ack(conn, due->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, due->packet_id, code, reason);
}

/* NULL: no acknowledgement had to wait so far. */
static struct mqtt_dues *dues_of(const struct mqtt_conn *m)
{
    return m->extras != NULL ? m->extras->dues : NULL;
}

static struct mqtt_due *due_at(struct mqtt_dues *dues, uint32_t i)
{
    return &dues->ring[(dues->at + i) & (dues->size - 1)];
}

/* Send what is known, up to the first that is not. */
static void send_dues(struct pg_conn *conn, struct mqtt_conn *m)
{
    struct mqtt_dues *dues = dues_of(m);
    while (dues->count > 0 && due_at(dues, 0)->known && !pg_conn_closing(conn)) {
        struct mqtt_due due = *due_at(dues, 0);
        dues->at = (dues->at + 1) & (dues->size - 1);
        dues->first++;
        dues->count--;
        acknowledge(conn, m, &due);
    }
    if (m->dues_full && dues->count <= (size_t)mqtt_conf_of(conn)->receive_maximum / 2) {
        m->dues_full = false;
        pg_conn_resume(conn);
    }
}

/* Room for one more in the ring. false: out of memory. */
static bool dues_grow(struct mqtt_conn *m)
{
    struct mqtt_extras *extras = mqtt_extras_of(m);
    if (extras == NULL) {
        return false;
    }
    struct mqtt_dues *old = extras->dues;
    if (old != NULL && old->count < old->size) {
        return true;
    }
    uint32_t size = old == NULL ? FIRST_DUES : old->size * 2;
    struct mqtt_dues *grown = malloc(sizeof(*grown) + size * sizeof(struct mqtt_due));
    if (grown == NULL) {
        return false;
    }
    *grown = (struct mqtt_dues){.size = size};
    if (old != NULL) {
        grown->first = old->first;
        grown->count = old->count;
        for (uint32_t i = 0; i < old->count; i++) {
            grown->ring[i] = *due_at(old, i);
        }
        free(old);
    }
    extras->dues = grown;
    return true;
}

/* The token that the next publication gets, should its acknowledgement have to wait. */
static uint64_t next_token(const struct mqtt_conn *m)
{
    const struct mqtt_dues *dues = dues_of(m);
    return dues == NULL ? 0 : dues->first + dues->count;
}

/* The result of a publication, or PG_PENDING: acknowledge now, or in its turn. */
static void due(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_publish *p,
                enum pg_reason reason)
{
    const struct mqtt_due one = {.packet_id = p->packet_id,
                                 .qos = p->qos,
                                 .known = reason != PG_PENDING,
                                 .reason = (uint8_t)reason};
    struct mqtt_dues *dues = dues_of(m);
    if (one.known && (dues == NULL || dues->count == 0)) {
        acknowledge(conn, m, &one);
        return;
    }
    if (!dues_grow(m)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for acknowledgements that wait");
        return;
    }
    dues = dues_of(m);
    *due_at(dues, dues->count) = one;
    dues->count++;
    if (m->version != MQTT_V5 && dues->count >= (size_t)mqtt_conf_of(conn)->receive_maximum &&
        !m->dues_full) {
        m->dues_full = true;
        pg_conn_pause(conn);
    }
}

void mqtt_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    struct mqtt_dues *dues = dues_of(m);
    if (dues == NULL || m->state == MQTT_CLOSED || token < dues->first ||
        token - dues->first >= dues->count) {
        return; /* QoS 0, or nobody is left to be told */
    }
    struct mqtt_due *d = due_at(dues, (uint32_t)(token - dues->first));
    d->known = true;
    d->reason = (uint8_t)reason;
    send_dues(conn, m);
}

/* Whether the acknowledgement of this identifier waits in the ring. */
static bool is_due(const struct mqtt_conn *m, uint16_t packet_id)
{
    struct mqtt_dues *dues = dues_of(m);
    for (uint32_t i = 0; dues != NULL && i < dues->count; i++) {
        const struct mqtt_due *d = due_at(dues, i);
        if (d->packet_id == packet_id && d->qos == 2) {
            return true;
        }
    }
    return false;
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

/* What the configuration, or what was agreed on, does not allow. false: closed. */
static bool allowed(struct pg_conn *conn, const struct mqtt_conn *m, const struct mqtt_publish *p)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    if (p->retain && !conf->retain_available) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_RETAIN_NOT_SUPPORTED,
                        "a retained message; see mqtt.retain_available");
        return false;
    }
    if (p->qos > conf->max_qos) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_QOS_NOT_SUPPORTED,
                        "the QoS of a message; see mqtt.max_qos");
        return false;
    }
    if (p->qos > 0 && m->version == MQTT_V5 && m->open_receipts >= conf->receive_maximum) {
        pg_conn_close(conn, PG_RECEIVE_MAXIMUM, "see mqtt.receive_maximum");
        return false;
    }
    return true;
}

/* Turn an alias into its topic, or set it (3.3.2.3.4). false: closed. */
static bool resolve_alias(struct pg_conn *conn, struct mqtt_conn *m, struct mqtt_publish *p)
{
    if (!mqtt_props_has(&p->props, MQTT_PROP_TOPIC_ALIAS)) {
        return true;
    }
    uint16_t alias = p->props.topic_alias;
    uint16_t max = (uint16_t)mqtt_conf_of(conn)->topic_alias_max;
    if (alias > max) {
        pg_conn_close(conn, PG_TOPIC_ALIAS_INVALID, "%u; see mqtt.topic_alias_max", alias);
        return false;
    }
    struct mqtt_extras *extras = mqtt_extras_of(m);
    if (p->topic.len == 0 && extras != NULL) {
        p->topic = mqtt_alias_topic(extras->aliases_in, alias);
        if (p->topic.data == NULL) {
            pg_conn_close(conn, PG_PROTOCOL_ERROR, "topic alias %u was never set", alias);
            return false;
        }
        pg_conn_count(conn, MQTT_COUNT_ALIASED_RECEIVED, 1);
        return true;
    }
    if (extras != NULL && extras->aliases_in == NULL) {
        extras->aliases_in = mqtt_aliases_new(max);
    }
    if (extras == NULL || extras->aliases_in == NULL ||
        !mqtt_alias_set(extras->aliases_in, alias, p->topic)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a topic alias");
        return false;
    }
    return true;
}

/* Hand the message to the core. */
static enum pg_reason publish(struct pg_conn *conn, struct mqtt_conn *m,
                              const struct mqtt_publish *p, uint64_t token)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    if (conf->max_payload > 0 && p->payload.len > (size_t)conf->max_payload) {
        pg_conn_count(conn, MQTT_COUNT_LONG_PAYLOADS, 1);
        return PG_TOO_LARGE;
    }
    if (conf->check_payload_format && !mqtt_payload_format_holds(&p->props, p->payload)) {
        return PG_PAYLOAD_INVALID;
    }
    struct pg_msg_spec spec;
    struct mqtt_user_room room;
    struct pg_msg *msg = NULL;
    if (mqtt_spec_fill(&spec, &p->props, &room)) {
        spec.topic = p->topic;
        spec.topic_valid = true; /* by mqtt_decode_publish(), or when its alias was set */
        spec.payload = p->payload;
        spec.qos = p->qos;
        spec.retain = p->retain;
        spec.publisher = pg_client_id(mqtt_client_of(m));
        msg = pg_msg_new(&spec);
    }
    mqtt_user_room_free(&room);
    if (msg == NULL) {
        return PG_NO_MEMORY;
    }
    return p->qos == 2 ? pg_publish_once(mqtt_client_of(m), p->packet_id, msg, token)
                       : pg_publish(mqtt_client_of(m), msg, token);
}

static void publish_qos_0(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_publish *p)
{
    enum pg_reason reason = publish(conn, m, p, NO_TOKEN);
    /* What was not authorized, or is too long, is dropped in silence; a topic or payload that no server of ours
     * would take is the client's error. */
    if (reason == PG_TOPIC_INVALID && mqtt_closes_for_topics(conn)) {
        mqtt_close_topic(conn, reason, "PUBLISH; see limits.topic_levels");
    } else if (reason == PG_TOPIC_INVALID || reason == PG_PAYLOAD_INVALID) {
        pg_conn_close(conn, reason, "PUBLISH of QoS 0");
    }
}

static void publish_qos_2(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_publish *p)
{
    enum pg_reason reason = publish(conn, m, p, next_token(m));
    if (reason == PG_DUPLICATE) {
        pg_conn_count(conn, MQTT_COUNT_DUPLICATES, 1);
        if (!is_due(m, p->packet_id)) {
            due(conn, m, p, PG_DUPLICATE);
        }
        return;
    }
    m->open_receipts++;
    due(conn, m, p, reason);
}

void mqtt_on_publish(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_publish p;
    enum mqtt_error error =
        mqtt_decode_publish(frame, (enum mqtt_version)m->version, MQTT_FROM_CLIENT, &p);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    if (!allowed(conn, m, &p) || !resolve_alias(conn, m, &p)) {
        return;
    }
    if (p.qos == 0) {
        publish_qos_0(conn, m, &p);
    } else if (p.qos == 1) {
        m->open_receipts++;
        due(conn, m, &p, publish(conn, m, &p, next_token(m)));
    } else {
        publish_qos_2(conn, m, &p);
    }
}

/* A release that cannot be kept is not confirmed: the client comes again with it. */
static void complete(struct pg_conn *conn, struct mqtt_conn *m, uint16_t packet_id,
                     enum pg_reason reason)
{
    if (reason != PG_OK) {
        pg_conn_close(conn, reason, "while releasing a message of QoS 2");
        return;
    }
    slot_free(m);
    mqtt_write_ack(conn, MQTT_PUBCOMP, packet_id, MQTT_RC_SUCCESS, PG_OK);
}

void mqtt_released(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    if (m->state != MQTT_CLOSED) {
        complete(pg_client_conn(client), m, (uint16_t)token, reason);
    }
}

void mqtt_on_pubrel(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_ack ack;
    enum mqtt_error error = mqtt_decode_ack(frame, (enum mqtt_version)m->version, &ack);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    enum pg_reason reason = pg_receipt_end(mqtt_client_of(m), ack.packet_id, ack.packet_id);
    if (reason == PG_DUPLICATE) {
        /* Left out before MQTT 5; during recovery it is not an error (3.7.2.1). */
        uint8_t code = m->resumed ? MQTT_RC_SUCCESS : MQTT_RC_PACKET_ID_NOT_FOUND;
        pg_conn_count(conn, MQTT_COUNT_STRAY_ACKS, 1);
        mqtt_write_ack(conn, MQTT_PUBCOMP, ack.packet_id, code, PG_OK);
    } else if (reason != PG_PENDING) {
        complete(conn, m, ack.packet_id, reason);
    }
}
