/* SPDX-License-Identifier: Apache-2.0 */

/* Packets that answer: encoded into the connection's output, short ones in place.
 *
 * None is sent that is longer than the Maximum Packet Size of the client [MQTT-3.1.2-24]: a reason
 * string that makes a packet too long is left out [MQTT-3.4.2-2, 3.14.2-3]; a packet that is too
 * long without it is not sent.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.1.2.11.4, 3.1.2.11.7, 3.2, 3.4 to 3.7, 3.9, 3.11,
 * 3.13, 3.14. */

#include <stdlib.h>

#include "mqtt_conn.h"

static bool fits(const struct mqtt_conn *m, size_t len)
{
    return len > 0 && len <= m->max_packet_size;
}

/* Whether a packet of this length can be written in place; if not, room for it, given. */
static uint8_t *room_for(struct pg_conn *conn, size_t len, uint8_t **heap)
{
    *heap = NULL;
    if (len <= PG_RESERVE_MAX) {
        return pg_conn_reserve(conn, len);
    }
    *heap = malloc(len);
    if (*heap == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a packet of %zu bytes", len);
    }
    return *heap;
}

static void done(struct pg_conn *conn, size_t len, uint8_t *heap)
{
    if (heap == NULL) {
        pg_conn_commit(conn, len);
        return;
    }
    pg_conn_append(conn, (struct pg_bytes){.data = heap, .len = len});
    free(heap);
}

bool mqtt_write_connack(struct pg_conn *conn, const struct mqtt_connack *packet)
{
    const struct mqtt_conn *m = mqtt_conn_of(conn);
    uint8_t *heap;
    struct mqtt_connack shorter = *packet;
    size_t len = mqtt_encode_connack(&shorter, m->version, NULL, 0);
    if (!fits(m, len)) {
        shorter.props.present &= ~(UINT64_C(1) << MQTT_PROP_REASON_STRING);
        len = mqtt_encode_connack(&shorter, m->version, NULL, 0);
    }
    uint8_t *at = fits(m, len) ? room_for(conn, len, &heap) : NULL;
    if (at == NULL) {
        return false;
    }
    mqtt_encode_connack(&shorter, m->version, at, len);
    done(conn, len, heap);
    return true;
}

/* DISCONNECT or AUTH, whole. false: it is longer than the client takes. */
static bool write_coded(struct pg_conn *conn, const struct mqtt_disconnect *packet,
                        enum mqtt_type type)
{
    const struct mqtt_conn *m = mqtt_conn_of(conn);
    uint8_t *heap;
    size_t len = mqtt_encode_disconnect(packet, type, m->version, NULL, 0);
    uint8_t *at = fits(m, len) ? room_for(conn, len, &heap) : NULL;
    if (at == NULL) {
        return false;
    }
    mqtt_encode_disconnect(packet, type, m->version, at, len);
    done(conn, len, heap);
    return true;
}

/* What makes it too long is left out: the reason string first. */
bool mqtt_write_disconnect(struct pg_conn *conn, uint8_t code, const char *why,
                           const char *reference)
{
    struct mqtt_disconnect packet = {.code = code, .props = MQTT_PROPS_NONE};
    if (reference[0] != '\0') {
        packet.props.server_reference = pg_bytes_str(reference);
        mqtt_props_set(&packet.props, MQTT_PROP_SERVER_REFERENCE);
    }
    struct mqtt_disconnect explained = packet;
    if (mqtt_conf_of(conn)->reason_strings) {
        explained.props.reason_string = pg_bytes_str(why);
        mqtt_props_set(&explained.props, MQTT_PROP_REASON_STRING);
    }
    if (write_coded(conn, &explained, MQTT_DISCONNECT) ||
        write_coded(conn, &packet, MQTT_DISCONNECT)) {
        return true;
    }
    packet.props = MQTT_PROPS_NONE;
    return write_coded(conn, &packet, MQTT_DISCONNECT);
}

bool mqtt_write_auth(struct pg_conn *conn, uint8_t code, const struct mqtt_props *props)
{
    const struct mqtt_disconnect packet = {.code = code, .props = *props};
    return write_coded(conn, &packet, MQTT_AUTH);
}

bool mqtt_write_suback(struct pg_conn *conn, enum mqtt_type type, uint16_t packet_id,
                       struct pg_bytes codes, const char *why)
{
    const struct mqtt_conn *m = mqtt_conn_of(conn);
    struct mqtt_suback packet = {.packet_id = packet_id, .codes = codes, .props = MQTT_PROPS_NONE};
    uint8_t *heap;
    if (why != NULL && m->version == MQTT_V5 && !m->no_problem_info) {
        packet.props.reason_string = pg_bytes_str(why);
        mqtt_props_set(&packet.props, MQTT_PROP_REASON_STRING);
    }
    size_t len = mqtt_encode_suback(&packet, type, m->version, NULL, 0);
    if (!fits(m, len)) { /* [MQTT-3.9.2-1, 3.11.2-1] */
        packet.props = MQTT_PROPS_NONE;
        len = mqtt_encode_suback(&packet, type, m->version, NULL, 0);
    }
    uint8_t *at = fits(m, len) ? room_for(conn, len, &heap) : NULL;
    if (at == NULL) {
        return false;
    }
    mqtt_encode_suback(&packet, type, m->version, at, len);
    done(conn, len, heap);
    return true;
}

/* A refusal with the sentence of its reason. false: the client does not take it that long. */
static bool write_explained(struct pg_conn *conn, const struct mqtt_conn *m, enum mqtt_type type,
                            uint16_t packet_id, uint8_t code, enum pg_reason reason)
{
    struct mqtt_ack packet = {.packet_id = packet_id, .code = code, .props = MQTT_PROPS_NONE};
    packet.props.reason_string = pg_bytes_str(pg_reason_sentence(reason));
    mqtt_props_set(&packet.props, MQTT_PROP_REASON_STRING);
    size_t len = mqtt_encode_ack(&packet, type, m->version, NULL, 0);
    if (!fits(m, len) || len > PG_RESERVE_MAX) {
        return false;
    }
    mqtt_encode_ack(&packet, type, m->version, pg_conn_reserve(conn, len), len);
    pg_conn_commit(conn, len);
    return true;
}

void mqtt_write_ack(struct pg_conn *conn, enum mqtt_type type, uint16_t packet_id, uint8_t code,
                    enum pg_reason reason)
{
    const struct mqtt_conn *m = mqtt_conn_of(conn);
    if (code >= MQTT_RC_UNSPECIFIED_ERROR && m->version == MQTT_V5 && !m->no_problem_info &&
        reason != PG_OK && write_explained(conn, m, type, packet_id, code, reason)) {
        return;
    }
    uint8_t *at = pg_conn_reserve(conn, MQTT_SHORT_ACK_MAX);
    pg_conn_commit(conn,
                   mqtt_encode_short_ack(type, (enum mqtt_version)m->version, packet_id, code, at));
}

void mqtt_write_pingresp(struct pg_conn *conn)
{
    uint8_t *at = pg_conn_reserve(conn, MQTT_HEADER_MAX);
    pg_conn_commit(conn, mqtt_encode_empty(MQTT_PINGRESP, at, MQTT_HEADER_MAX));
}
