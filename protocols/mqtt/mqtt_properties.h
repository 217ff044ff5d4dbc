/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_PROPERTIES_H
#define MQTT_PROPERTIES_H

/* Properties of MQTT 5 (2.2.2): one table says of each what type it has, which packets may carry
 * it, whether it may come more than once and which values it takes. */

#include "mqtt_error.h"
#include "polygate.h"

struct mqtt_reader;
struct mqtt_writer;

/* Identifiers, as in table 2-4. All are below 64, so that a set of them is one word. */
enum mqtt_prop {
    MQTT_PROP_PAYLOAD_FORMAT = 0x01,
    MQTT_PROP_MESSAGE_EXPIRY = 0x02,
    MQTT_PROP_CONTENT_TYPE = 0x03,
    MQTT_PROP_RESPONSE_TOPIC = 0x08,
    MQTT_PROP_CORRELATION_DATA = 0x09,
    MQTT_PROP_SUBSCRIPTION_ID = 0x0B,
    MQTT_PROP_SESSION_EXPIRY = 0x11,
    MQTT_PROP_ASSIGNED_CLIENT_ID = 0x12,
    MQTT_PROP_SERVER_KEEP_ALIVE = 0x13,
    MQTT_PROP_AUTH_METHOD = 0x15,
    MQTT_PROP_AUTH_DATA = 0x16,
    MQTT_PROP_REQUEST_PROBLEM = 0x17,
    MQTT_PROP_WILL_DELAY = 0x18,
    MQTT_PROP_REQUEST_RESPONSE = 0x19,
    MQTT_PROP_RESPONSE_INFORMATION = 0x1A,
    MQTT_PROP_SERVER_REFERENCE = 0x1C,
    MQTT_PROP_REASON_STRING = 0x1F,
    MQTT_PROP_RECEIVE_MAXIMUM = 0x21,
    MQTT_PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
    MQTT_PROP_TOPIC_ALIAS = 0x23,
    MQTT_PROP_MAXIMUM_QOS = 0x24,
    MQTT_PROP_RETAIN_AVAILABLE = 0x25,
    MQTT_PROP_USER = 0x26,
    MQTT_PROP_MAXIMUM_PACKET_SIZE = 0x27,
    MQTT_PROP_WILDCARD_AVAILABLE = 0x28,
    MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    MQTT_PROP_SHARED_AVAILABLE = 0x2A,
};

/* The set of properties of one packet (or will).
 *
 * Decoded: a value is set only if its bit is in `present`; the others are not even zeroed (nothing
 * reads or writes 200 bytes for a PUBLISH without properties). Texts and data point into the
 * packet. `raw` is the whole block, without its length; those that may repeat are counted here and
 * read from it with mqtt_props_user_next() and mqtt_props_subscription_id_next().
 *
 * To be encoded: start from MQTT_PROPS_NONE and use mqtt_props_set(). Those that may repeat come
 * from the arrays `user` and `subscription_ids`, or, where an array is NULL, from `raw`. */
struct mqtt_props {
    uint64_t present; /* bit n: the property with identifier n */
    struct pg_bytes raw;
    uint32_t user_count;
    uint32_t subscription_id_count;
    const struct pg_property *user;
    const uint32_t *subscription_ids;

    uint8_t payload_format; /* 1: the payload is UTF-8 */
    uint8_t request_problem;
    uint8_t request_response;
    uint8_t maximum_qos;
    uint8_t retain_available;
    uint8_t wildcard_available;
    uint8_t subscription_id_available;
    uint8_t shared_available;
    uint16_t server_keep_alive_s;
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    uint16_t topic_alias;
    uint32_t message_expiry_s;
    uint32_t session_expiry_s;
    uint32_t will_delay_s;
    uint32_t maximum_packet_size;
    struct pg_bytes content_type;
    struct pg_bytes response_topic;
    struct pg_bytes correlation_data;
    struct pg_bytes assigned_client_id;
    struct pg_bytes auth_method;
    struct pg_bytes auth_data;
    struct pg_bytes response_information;
    struct pg_bytes server_reference;
    struct pg_bytes reason_string;
};

#define MQTT_PROPS_NONE ((struct mqtt_props){.present = 0})

static inline bool mqtt_props_has(const struct mqtt_props *props, enum mqtt_prop id)
{
    return (props->present >> (unsigned)id & 1u) != 0;
}

static inline void mqtt_props_set(struct mqtt_props *props, enum mqtt_prop id)
{
    props->present |= UINT64_C(1) << (unsigned)id;
}

/* Which packet's rules apply: a packet type (enum mqtt_type), or this for the will's properties. */
#define MQTT_PROPS_OF_WILL 0u

/* Read a property length and the block behind it.
 *
 * r         moves behind the block; holds the rule that was broken, if any
 * packet    packet type, or MQTT_PROPS_OF_WILL
 * out       points into the bytes of the reader
 * standard  MQTT 5.0, 2.2.2
 */
void mqtt_props_decode(struct mqtt_reader *r, unsigned packet, struct mqtt_props *out);

/* The next user property, or subscription identifier, of decoded properties, in the order sent.
 * *at is 0 before the first call. false: there are no more. */
bool mqtt_props_user_next(const struct mqtt_props *props, size_t *at, struct pg_property *out);
bool mqtt_props_subscription_id_next(const struct mqtt_props *props, size_t *at, uint32_t *out);

/* Write the property length and the block. */
void mqtt_props_encode(struct mqtt_writer *w, const struct mqtt_props *props);
/* Write the block alone: what struct mqtt_publish_head takes as `forwarded`. Returns its length;
 * writes only if it fits in `size`. 0 with a text longer than 65,535 bytes. */
size_t mqtt_props_encode_block(const struct mqtt_props *props, uint8_t *buffer, size_t size);

/* The standard's name of a property, or NULL. Any thread. */
const char *mqtt_prop_name(unsigned id);

#endif
