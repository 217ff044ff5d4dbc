/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_ROUNDTRIP_H
#define MQTT_ROUNDTRIP_H

/* For tests: encode whatever packet was decoded, and compare two sets of properties by value. */

#include <stdlib.h>
#include <string.h>

#include "mqtt/mqtt_codec.h"

/* Filters of one packet that a test encodes again; longer lists are cut by the caller. */
#define ROUNDTRIP_FILTERS 4096u

static inline size_t roundtrip_encode(const struct mqtt_packet *p, enum mqtt_version version,
                                      uint8_t *buffer, size_t size)
{
    switch (p->type) {
    case MQTT_CONNECT:
        return mqtt_encode_connect(&p->u.connect, buffer, size);
    case MQTT_CONNACK:
        return mqtt_encode_connack(&p->u.connack, version, buffer, size);
    case MQTT_PUBLISH:
        return mqtt_encode_publish(&p->u.publish, version, buffer, size);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_encode_ack(&p->u.ack, p->type, version, buffer, size);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: {
        static struct mqtt_filter filters[ROUNDTRIP_FILTERS];
        size_t count = 0;
        for (size_t at = 0; count < ROUNDTRIP_FILTERS &&
                            mqtt_filter_next(&p->u.subscribe, p->type, &at, &filters[count]);) {
            count++;
        }
        return mqtt_encode_subscribe(&p->u.subscribe, p->type, version, filters, count, buffer,
                                     size);
    }
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_encode_suback(&p->u.suback, p->type, version, buffer, size);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_encode_empty(p->type, buffer, size);
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        return mqtt_encode_disconnect(&p->u.disconnect, p->type, version, buffer, size);
    }
    return 0;
}

static inline bool roundtrip_same_bytes(struct pg_bytes a, struct pg_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The packet's own version if it is a CONNECT. */
static inline enum mqtt_version roundtrip_version(const struct mqtt_packet *p,
                                                  enum mqtt_version version)
{
    return p->type == MQTT_CONNECT ? p->u.connect.version : version;
}

static inline const struct mqtt_props *roundtrip_props(const struct mqtt_packet *p)
{
    switch (p->type) {
    case MQTT_CONNECT:
        return &p->u.connect.props;
    case MQTT_CONNACK:
        return &p->u.connack.props;
    case MQTT_PUBLISH:
        return &p->u.publish.props;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return &p->u.ack.props;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return &p->u.subscribe.props;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return &p->u.suback.props;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        return &p->u.disconnect.props;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        break;
    }
    return NULL;
}

#endif
