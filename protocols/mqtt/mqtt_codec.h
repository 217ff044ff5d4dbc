/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_CODEC_H
#define MQTT_CODEC_H

/* The bytes of MQTT 3.1, 3.1.1 and 5.0, both directions: frames and packets out of bytes, bytes out
 * of packets. No I/O, no clock, no allocation, no state: the same code serves the frontend,
 * polygatectl and the tests. Everything that is decoded points into the bytes given. */

#include "mqtt_error.h"
#include "mqtt_properties.h"
#include "polygate.h"

/* Protocol levels, by their number in CONNECT. */
enum mqtt_version {
    MQTT_V_UNKNOWN = 0, /* before CONNECT */
    MQTT_V31 = 3,       /* "MQIsdp" */
    MQTT_V311 = 4,
    MQTT_V5 = 5,
};

/* Control packet types (2.1.2). */
enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK = 2,
    MQTT_PUBLISH = 3,
    MQTT_PUBACK = 4,
    MQTT_PUBREC = 5,
    MQTT_PUBREL = 6,
    MQTT_PUBCOMP = 7,
    MQTT_SUBSCRIBE = 8,
    MQTT_SUBACK = 9,
    MQTT_UNSUBSCRIBE = 10,
    MQTT_UNSUBACK = 11,
    MQTT_PINGREQ = 12,
    MQTT_PINGRESP = 13,
    MQTT_DISCONNECT = 14,
    MQTT_AUTH = 15,
};

/* Who sent a packet, where the rules differ. */
enum mqtt_side { MQTT_FROM_CLIENT, MQTT_FROM_SERVER };

/* Reason codes of MQTT 5 (2.4). */
enum mqtt_code {
    MQTT_RC_SUCCESS = 0x00, /* also: normal disconnection, granted QoS 0 */
    MQTT_RC_GRANTED_QOS_1 = 0x01,
    MQTT_RC_GRANTED_QOS_2 = 0x02,
    MQTT_RC_DISCONNECT_WITH_WILL = 0x04,
    MQTT_RC_NO_MATCHING_SUBSCRIBERS = 0x10,
    MQTT_RC_NO_SUBSCRIPTION_EXISTED = 0x11,
    MQTT_RC_CONTINUE_AUTHENTICATION = 0x18,
    MQTT_RC_REAUTHENTICATE = 0x19,
    MQTT_RC_UNSPECIFIED_ERROR = 0x80,
    MQTT_RC_MALFORMED_PACKET = 0x81,
    MQTT_RC_PROTOCOL_ERROR = 0x82,
    MQTT_RC_IMPLEMENTATION_SPECIFIC = 0x83,
    MQTT_RC_UNSUPPORTED_VERSION = 0x84,
    MQTT_RC_CLIENT_ID_NOT_VALID = 0x85,
    MQTT_RC_BAD_CREDENTIALS = 0x86,
    MQTT_RC_NOT_AUTHORIZED = 0x87,
    MQTT_RC_SERVER_UNAVAILABLE = 0x88,
    MQTT_RC_SERVER_BUSY = 0x89,
    MQTT_RC_BANNED = 0x8A,
    MQTT_RC_SERVER_SHUTTING_DOWN = 0x8B,
    MQTT_RC_BAD_AUTH_METHOD = 0x8C,
    MQTT_RC_KEEP_ALIVE_TIMEOUT = 0x8D,
    MQTT_RC_SESSION_TAKEN_OVER = 0x8E,
    MQTT_RC_TOPIC_FILTER_INVALID = 0x8F,
    MQTT_RC_TOPIC_NAME_INVALID = 0x90,
    MQTT_RC_PACKET_ID_IN_USE = 0x91,
    MQTT_RC_PACKET_ID_NOT_FOUND = 0x92,
    MQTT_RC_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    MQTT_RC_TOPIC_ALIAS_INVALID = 0x94,
    MQTT_RC_PACKET_TOO_LARGE = 0x95,
    MQTT_RC_MESSAGE_RATE_TOO_HIGH = 0x96,
    MQTT_RC_QUOTA_EXCEEDED = 0x97,
    MQTT_RC_ADMINISTRATIVE_ACTION = 0x98,
    MQTT_RC_PAYLOAD_FORMAT_INVALID = 0x99,
    MQTT_RC_RETAIN_NOT_SUPPORTED = 0x9A,
    MQTT_RC_QOS_NOT_SUPPORTED = 0x9B,
    MQTT_RC_USE_ANOTHER_SERVER = 0x9C,
    MQTT_RC_SERVER_MOVED = 0x9D,
    MQTT_RC_SHARED_NOT_SUPPORTED = 0x9E,
    MQTT_RC_CONNECTION_RATE_EXCEEDED = 0x9F,
    MQTT_RC_MAXIMUM_CONNECT_TIME = 0xA0,
    MQTT_RC_SUBSCRIPTION_ID_NOT_SUPPORTED = 0xA1,
    MQTT_RC_WILDCARD_NOT_SUPPORTED = 0xA2,
};

/* Return codes of CONNACK in 3.1 and 3.1.1 (3.2.2.3), and the failure code of SUBACK (3.9.3). */
enum mqtt_return_code {
    MQTT_RC3_ACCEPTED = 0,
    MQTT_RC3_UNACCEPTABLE_VERSION = 1,
    MQTT_RC3_IDENTIFIER_REJECTED = 2,
    MQTT_RC3_SERVER_UNAVAILABLE = 3,
    MQTT_RC3_BAD_CREDENTIALS = 4,
    MQTT_RC3_NOT_AUTHORIZED = 5,
    MQTT_RC3_SUBSCRIBE_FAILURE = 0x80,
};

/* The largest value of a variable byte integer, so the longest remaining length (1.5.5). */
#define MQTT_LENGTH_MAX 268435455u
/* The longest fixed header: type and flags, four bytes of length. */
#define MQTT_HEADER_MAX 5u
/* The longest possible packet. */
#define MQTT_PACKET_MAX (MQTT_LENGTH_MAX + MQTT_HEADER_MAX)

/* The standard's name of a packet type, or "reserved". Any thread. */
const char *mqtt_type_name(unsigned type);
/* The standard's name of a reason code, or "unknown". Any thread. */
const char *mqtt_code_name(unsigned code);
/* Whether this packet type, sent by this side, may carry this reason code (2.4, table 2-6). */
bool mqtt_code_allowed(unsigned code, enum mqtt_type type, enum mqtt_side from);
/* Whether this side may send this packet type at all in this version (2.1.2). */
bool mqtt_type_allowed(unsigned type, enum mqtt_version version, enum mqtt_side from);

/* ---- frames ---------------------------------------------------------------------------------- */

enum mqtt_result {
    MQTT_WHOLE,     /* one packet is there */
    MQTT_MORE,      /* nothing consumed; call again with more bytes behind the same ones */
    MQTT_MALFORMED, /* frame.error tells; the stream cannot go on */
};

/* One packet: the fixed header, and the rest untouched. */
struct mqtt_frame {
    uint8_t first; /* type and flags */
    enum mqtt_error error;
    size_t total; /* bytes of the whole packet; 0 while the length is not known */
    struct pg_bytes body;
};

static inline enum mqtt_type mqtt_frame_type(const struct mqtt_frame *frame)
{
    return (enum mqtt_type)(frame->first >> 4);
}

/* Take one packet from the head of `in`.
 *
 * in        lent; neither kept nor written to
 * version   of this connection; MQTT_V_UNKNOWN before CONNECT. In 3.1 PUBREL, SUBSCRIBE and
 *           UNSUBSCRIBE may be sent again with DUP set.
 * limit     longest packet that is accepted, in bytes with its header; judged as soon as the
 *           length is known. Small before login: everybody may send a CONNECT of 256 MB.
 * returns   MQTT_WHOLE      out->body points into `in`; out->total bytes are consumed
 *           MQTT_MORE       out->total tells how many bytes the packet takes, or 0
 *           MQTT_MALFORMED  out->error tells why
 * threads   any
 * standard  MQTT 5.0, 2.1; 3.1.1, 2.2
 */
enum mqtt_result mqtt_frame_next(struct pg_bytes in, enum mqtt_version version, size_t limit,
                                 struct mqtt_frame *out);

/* ---- packets --------------------------------------------------------------------------------- */

/* Optional texts have data == NULL where they are absent. `props` is empty before MQTT 5. */

struct mqtt_connect {
    enum mqtt_version version; /* set as soon as it was read, also when decoding fails later */
    uint8_t level;             /* as sent, also when it is not served */
    bool clean_start;
    bool has_will;
    uint8_t will_qos;
    bool will_retain;
    uint16_t keepalive_s; /* 0: off */
    struct pg_bytes client_id;
    struct pg_bytes will_topic, will_payload;
    struct pg_bytes username, password;
    struct mqtt_props props;
    struct mqtt_props will_props;
};

struct mqtt_connack {
    bool session_present;
    uint8_t code; /* enum mqtt_code, or enum mqtt_return_code before MQTT 5 */
    struct mqtt_props props;
};

struct mqtt_publish {
    bool dup;
    bool retain;
    uint8_t qos;
    uint16_t packet_id; /* 0 with QoS 0 */
    struct pg_bytes topic;
    struct pg_bytes payload;
    struct mqtt_props props;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct mqtt_ack {
    uint16_t packet_id;
    uint8_t code;
    struct mqtt_props props;
};

/* SUBSCRIBE and UNSUBSCRIBE: `filters` is walked with mqtt_filter_next(). */
struct mqtt_subscribe {
    uint16_t packet_id;
    struct pg_bytes filters;
    struct mqtt_props props;
};

/* One topic filter, with its options if it comes from a SUBSCRIBE. Whether the filter itself is
 * valid is not judged here: MQTT 5 lets the server refuse one and take the others. */
struct mqtt_filter {
    struct pg_bytes filter;
    uint8_t qos;
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling; /* 0 send retained, 1 only if the subscription is new, 2 never */
};

/* SUBACK and UNSUBACK: one code per filter; none in an UNSUBACK before MQTT 5. */
struct mqtt_suback {
    uint16_t packet_id;
    struct pg_bytes codes;
    struct mqtt_props props;
};

/* DISCONNECT and AUTH. */
struct mqtt_disconnect {
    uint8_t code;
    struct mqtt_props props;
};

/* Decode one packet of the type that the name says; the caller has looked at mqtt_frame_type().
 *
 * frame     lent; the result points into it
 * returns   MQTT_E_OK, or the first rule that was broken; then *out is of no use, apart from
 *           mqtt_connect.version
 * threads   any
 * standard  MQTT 5.0, 3.1 to 3.15
 */
enum mqtt_error mqtt_decode_connect(const struct mqtt_frame *frame, struct mqtt_connect *out);
enum mqtt_error mqtt_decode_connack(const struct mqtt_frame *frame, enum mqtt_version version,
                                    struct mqtt_connack *out);
enum mqtt_error mqtt_decode_publish(const struct mqtt_frame *frame, enum mqtt_version version,
                                    enum mqtt_side from, struct mqtt_publish *out);
enum mqtt_error mqtt_decode_ack(const struct mqtt_frame *frame, enum mqtt_version version,
                                struct mqtt_ack *out);
enum mqtt_error mqtt_decode_subscribe(const struct mqtt_frame *frame, enum mqtt_version version,
                                      struct mqtt_subscribe *out);
enum mqtt_error mqtt_decode_suback(const struct mqtt_frame *frame, enum mqtt_version version,
                                   struct mqtt_suback *out);
enum mqtt_error mqtt_decode_disconnect(const struct mqtt_frame *frame, enum mqtt_version version,
                                       enum mqtt_side from, struct mqtt_disconnect *out);
enum mqtt_error mqtt_decode_auth(const struct mqtt_frame *frame, enum mqtt_version version,
                                 enum mqtt_side from, struct mqtt_disconnect *out);
/* PINGREQ, PINGRESP. */
enum mqtt_error mqtt_decode_empty(const struct mqtt_frame *frame);

/* The next topic filter of a SUBSCRIBE or UNSUBSCRIBE that decoded well. *at is 0 before the first
 * call. false: there are no more. */
bool mqtt_filter_next(const struct mqtt_subscribe *packet, enum mqtt_type type, size_t *at,
                      struct mqtt_filter *out);

/* Any packet. */
struct mqtt_packet {
    enum mqtt_type type;
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_suback suback;
        struct mqtt_disconnect disconnect; /* and AUTH */
    } u;
};

/* Decode whatever it is, for tools and tests: the type must be one that this side may send. The
 * version of a CONNECT is the one that it declares. */
enum mqtt_error mqtt_decode(const struct mqtt_frame *frame, enum mqtt_version version,
                            enum mqtt_side from, struct mqtt_packet *out);

/* ---- encoding -------------------------------------------------------------------------------- */

/* Encode one packet, as snprintf() does: the result is the length of the whole packet, and it was
 * written only if that fits in `size`. With buffer NULL and size 0 it is a dry run.
 *
 * returns   0 if the packet cannot exist: a text above 65,535 bytes, more than MQTT_LENGTH_MAX in
 *           all, or packet identifier 0 where there must be one
 * threads   any
 */
size_t mqtt_encode_connect(const struct mqtt_connect *packet, uint8_t *buffer, size_t size);
size_t mqtt_encode_connack(const struct mqtt_connack *packet, enum mqtt_version version,
                           uint8_t *buffer, size_t size);
size_t mqtt_encode_publish(const struct mqtt_publish *packet, enum mqtt_version version,
                           uint8_t *buffer, size_t size);
size_t mqtt_encode_ack(const struct mqtt_ack *packet, enum mqtt_type type,
                       enum mqtt_version version, uint8_t *buffer, size_t size);
/* `filters` are given as structs; packet->filters is not looked at. */
size_t mqtt_encode_subscribe(const struct mqtt_subscribe *packet, enum mqtt_type type,
                             enum mqtt_version version, const struct mqtt_filter *filters,
                             size_t count, uint8_t *buffer, size_t size);
size_t mqtt_encode_suback(const struct mqtt_suback *packet, enum mqtt_type type,
                          enum mqtt_version version, uint8_t *buffer, size_t size);
/* MQTT_DISCONNECT or MQTT_AUTH. */
size_t mqtt_encode_disconnect(const struct mqtt_disconnect *packet, enum mqtt_type type,
                              enum mqtt_version version, uint8_t *buffer, size_t size);
/* MQTT_PINGREQ, MQTT_PINGRESP. */
size_t mqtt_encode_empty(enum mqtt_type type, uint8_t *buffer, size_t size);

/* An acknowledgement without properties: the hot case, written at once.
 * Returns its length; `buffer` has room for MQTT_SHORT_ACK_MAX bytes. */
#define MQTT_SHORT_ACK_MAX 5u
size_t mqtt_encode_short_ack(enum mqtt_type type, enum mqtt_version version, uint16_t packet_id,
                             uint8_t code, uint8_t *buffer);

/* Everything of a PUBLISH but its payload, so that the payload is sent from where it lies. What
 * differs from subscriber to subscriber is given as values; what is equal for all of them (payload
 * format, content type, response topic, correlation data, user properties) as the one block that
 * mqtt_props_encode_block() made. */
struct mqtt_publish_head {
    enum mqtt_version version;
    bool dup;
    bool retain;
    uint8_t qos;
    uint16_t packet_id;    /* with QoS 1 and 2 */
    struct pg_bytes topic; /* empty where the alias alone is to be sent */
    uint16_t topic_alias;  /* 0: none */
    bool expires;
    uint32_t message_expiry_s;
    const uint32_t *subscription_ids;
    size_t subscription_id_count;
    struct pg_bytes forwarded; /* encoded properties */
    size_t payload_len;
    size_t props_len, remaining; /* set by mqtt_measure_publish_head() */
};

/* How many bytes the head takes, fixed header included and payload not: the whole packet takes
 * that plus payload_len. 0 if there can be no such packet. To be called again after any change. */
size_t mqtt_measure_publish_head(struct mqtt_publish_head *head);
/* Write a head that was measured, into as many bytes as that said. */
void mqtt_write_publish_head(const struct mqtt_publish_head *head, uint8_t *buffer);

#endif
