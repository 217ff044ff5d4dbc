/* SPDX-License-Identifier: Apache-2.0 */

/* Properties of MQTT 5, from one table.
 *
 * A row says of a property its type, where its value is kept in struct mqtt_props, which values it
 * takes, and which packets may carry it. Decoding, walking and encoding all go by these rows, so
 * that none of them can know a property that the others do not. The two that may repeat (user
 * properties everywhere, subscription identifiers in a PUBLISH) are not stored while decoding but
 * counted; who wants them walks the block again, in the order in which they were sent.
 *
 * No allocation, no state; any thread.
 * Standard: MQTT 5.0, 2.2.2 with table 2-4, and the property clauses of 3.1 to 3.15. */

#include "mqtt_properties.h"

#include "mqtt_codec.h"
#include "mqtt_reader.h"
#include "mqtt_writer.h"

enum prop_type {
    NO_SUCH = 0,
    BYTE,
    TWO_BYTES,
    FOUR_BYTES,
    VARINT,
    TEXT,
    TOPIC, /* a text that must be usable as a topic name */
    BINARY,
    PAIR,
};

/* Values that a number may have. */
enum prop_rule { ANY, BOOLEAN, NOT_ZERO };

struct prop_row {
    const char *name;
    enum prop_type type;
    enum prop_rule rule;
    uint16_t offset;    /* of the value in struct mqtt_props */
    uint32_t packets;   /* bit n: allowed in packet type n; bit 0: in the will */
    uint32_t repeats;   /* ... and there more than once */
    enum mqtt_error no; /* what a value against the rule is */
};

#define IN(type) (1u << (MQTT_##type))
#define WILL     (1u << MQTT_PROPS_OF_WILL)
#define ACKS     (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define EVERY                                                                                      \
    (WILL | IN(CONNECT) | IN(CONNACK) | IN(PUBLISH) | ACKS | IN(SUBSCRIBE) | IN(UNSUBSCRIBE) |     \
     IN(DISCONNECT) | IN(AUTH))
#define AT(field) ((uint16_t)offsetof(struct mqtt_props, field))
#define VALUE     MQTT_E_PROPERTY_VALUE

/* clang-format off */
static const struct prop_row rows[] = {
    /* identifier                            name                          type        rule      where kept                    packets                              repeats  error */
    [MQTT_PROP_PAYLOAD_FORMAT]            = {"Payload Format Indicator",      BYTE,       BOOLEAN,  AT(payload_format),            IN(PUBLISH) | WILL,                  0, VALUE},
    [MQTT_PROP_MESSAGE_EXPIRY]            = {"Message Expiry Interval",       FOUR_BYTES, ANY,      AT(message_expiry_s),          IN(PUBLISH) | WILL,                  0, VALUE},
    [MQTT_PROP_CONTENT_TYPE]              = {"Content Type",                  TEXT,       ANY,      AT(content_type),              IN(PUBLISH) | WILL,                  0, VALUE},
    [MQTT_PROP_RESPONSE_TOPIC]            = {"Response Topic",                TOPIC,      ANY,      AT(response_topic),            IN(PUBLISH) | WILL,                  0, VALUE},
    [MQTT_PROP_CORRELATION_DATA]          = {"Correlation Data",              BINARY,     ANY,      AT(correlation_data),          IN(PUBLISH) | WILL,                  0, VALUE},
    [MQTT_PROP_SUBSCRIPTION_ID]           = {"Subscription Identifier",       VARINT,     NOT_ZERO, AT(subscription_ids),          IN(PUBLISH) | IN(SUBSCRIBE),         IN(PUBLISH), VALUE},
    [MQTT_PROP_SESSION_EXPIRY]            = {"Session Expiry Interval",       FOUR_BYTES, ANY,      AT(session_expiry_s),          IN(CONNECT) | IN(CONNACK) | IN(DISCONNECT), 0, VALUE},
    [MQTT_PROP_ASSIGNED_CLIENT_ID]        = {"Assigned Client Identifier",    TEXT,       ANY,      AT(assigned_client_id),        IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_SERVER_KEEP_ALIVE]         = {"Server Keep Alive",             TWO_BYTES,  ANY,      AT(server_keep_alive_s),       IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_AUTH_METHOD]               = {"Authentication Method",         TEXT,       ANY,      AT(auth_method),               IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, VALUE},
    [MQTT_PROP_AUTH_DATA]                 = {"Authentication Data",           BINARY,     ANY,      AT(auth_data),                 IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, VALUE},
    [MQTT_PROP_REQUEST_PROBLEM]           = {"Request Problem Information",   BYTE,       BOOLEAN,  AT(request_problem),           IN(CONNECT),                         0, VALUE},
    [MQTT_PROP_WILL_DELAY]                = {"Will Delay Interval",           FOUR_BYTES, ANY,      AT(will_delay_s),              WILL,                                0, VALUE},
    [MQTT_PROP_REQUEST_RESPONSE]          = {"Request Response Information",  BYTE,       BOOLEAN,  AT(request_response),          IN(CONNECT),                         0, VALUE},
    [MQTT_PROP_RESPONSE_INFORMATION]      = {"Response Information",          TEXT,       ANY,      AT(response_information),      IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_SERVER_REFERENCE]          = {"Server Reference",              TEXT,       ANY,      AT(server_reference),          IN(CONNACK) | IN(DISCONNECT),        0, VALUE},
    [MQTT_PROP_REASON_STRING]             = {"Reason String",                 TEXT,       ANY,      AT(reason_string),             IN(CONNACK) | ACKS | IN(DISCONNECT) | IN(AUTH), 0, VALUE},
    [MQTT_PROP_RECEIVE_MAXIMUM]           = {"Receive Maximum",               TWO_BYTES,  NOT_ZERO, AT(receive_maximum),           IN(CONNECT) | IN(CONNACK),           0, VALUE},
    [MQTT_PROP_TOPIC_ALIAS_MAXIMUM]       = {"Topic Alias Maximum",           TWO_BYTES,  ANY,      AT(topic_alias_maximum),       IN(CONNECT) | IN(CONNACK),           0, VALUE},
    [MQTT_PROP_TOPIC_ALIAS]               = {"Topic Alias",                   TWO_BYTES,  NOT_ZERO, AT(topic_alias),               IN(PUBLISH),                         0, MQTT_E_TOPIC_ALIAS},
    [MQTT_PROP_MAXIMUM_QOS]               = {"Maximum QoS",                   BYTE,       BOOLEAN,  AT(maximum_qos),               IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_RETAIN_AVAILABLE]          = {"Retain Available",              BYTE,       BOOLEAN,  AT(retain_available),          IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_USER]                      = {"User Property",                 PAIR,       ANY,      AT(user),                      EVERY,                               EVERY, VALUE},
    [MQTT_PROP_MAXIMUM_PACKET_SIZE]       = {"Maximum Packet Size",           FOUR_BYTES, NOT_ZERO, AT(maximum_packet_size),       IN(CONNECT) | IN(CONNACK),           0, VALUE},
    [MQTT_PROP_WILDCARD_AVAILABLE]        = {"Wildcard Subscription Available", BYTE,     BOOLEAN,  AT(wildcard_available),        IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE] = {"Subscription Identifiers Available", BYTE,  BOOLEAN,  AT(subscription_id_available), IN(CONNACK),                         0, VALUE},
    [MQTT_PROP_SHARED_AVAILABLE]          = {"Shared Subscription Available", BYTE,       BOOLEAN,  AT(shared_available),          IN(CONNACK),                         0, VALUE},
};
/* clang-format on */

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* One property as it was read. */
struct value {
    uint32_t number;
    struct pg_bytes text; /* also a pair's name */
    struct pg_bytes second;
};

static const struct prop_row *row_of(uint32_t id)
{
    return id < ROWS && rows[id].type != NO_SUCH ? &rows[id] : NULL;
}

const char *mqtt_prop_name(unsigned id)
{
    const struct prop_row *row = row_of(id);
    return row != NULL ? row->name : NULL;
}

static struct value read_value(struct mqtt_reader *r, const struct prop_row *row)
{
    struct value v = {.number = 0};
    unsigned flags;
    switch (row->type) {
    case BYTE:
        v.number = cursor_u8(&r->c);
        break;
    case TWO_BYTES:
        v.number = cursor_u16(&r->c);
        break;
    case FOUR_BYTES:
        v.number = cursor_u32(&r->c);
        break;
    case VARINT:
        v.number = mqtt_read_varint(r);
        break;
    case TEXT:
        v.text = mqtt_read_text(r, NULL);
        break;
    case TOPIC:
        v.text = mqtt_read_name(r, &flags);
        if (v.text.len == 0 || (flags & MQTT_TEXT_WILDCARD) != 0) {
            mqtt_reader_fail(r, MQTT_E_RESPONSE_TOPIC);
        }
        break;
    case BINARY:
        v.text = mqtt_read_binary(r);
        break;
    case PAIR:
        v.text = mqtt_read_text(r, NULL);
        v.second = mqtt_read_text(r, NULL);
        break;
    case NO_SUCH:
        break;
    }
    if ((row->rule == BOOLEAN && v.number > 1) || (row->rule == NOT_ZERO && v.number == 0)) {
        mqtt_reader_fail(r, row->no);
    }
    return v;
}

static void keep_value(struct mqtt_props *out, const struct prop_row *row, const struct value *v)
{
    void *at = (uint8_t *)out + row->offset;
    switch (row->type) {
    case BYTE:
        *(uint8_t *)at = (uint8_t)v->number;
        break;
    case TWO_BYTES:
        *(uint16_t *)at = (uint16_t)v->number;
        break;
    case FOUR_BYTES:
        *(uint32_t *)at = v->number;
        break;
    case TEXT:
    case TOPIC:
    case BINARY:
        *(struct pg_bytes *)at = v->text;
        break;
    case VARINT:
        out->subscription_id_count++;
        break;
    case PAIR:
        out->user_count++;
        break;
    case NO_SUCH:
        break;
    }
}

void mqtt_props_decode(struct mqtt_reader *r, unsigned packet, struct mqtt_props *out)
{
    out->present = 0;
    out->user_count = 0;
    out->subscription_id_count = 0;
    out->user = NULL;
    out->subscription_ids = NULL;
    uint32_t len = mqtt_read_varint(r);
    out->raw = cursor_take(&r->c, len);
    struct mqtt_reader block = mqtt_reader_of(out->raw);
    while (cursor_left(&block.c) > 0) {
        uint32_t id = mqtt_read_varint(&block);
        const struct prop_row *row = row_of(id);
        if (row == NULL) {
            mqtt_reader_fail(&block, MQTT_E_PROPERTY_UNKNOWN);
            break;
        }
        struct value v = read_value(&block, row); /* what is cut short is that, before all */
        if ((row->packets >> packet & 1u) == 0) {
            mqtt_reader_fail(&block, MQTT_E_PROPERTY_NOT_HERE);
            break;
        }
        uint64_t bit = UINT64_C(1) << id;
        if ((out->present & bit) != 0 && (row->repeats >> packet & 1u) == 0) {
            mqtt_reader_fail(&block, MQTT_E_PROPERTY_TWICE);
            break;
        }
        out->present |= bit;
        keep_value(out, row, &v);
    }
    if (block.error != MQTT_E_OK) {
        mqtt_reader_fail(r, block.error);
    } else if (block.c.failed) {
        mqtt_reader_fail(r, MQTT_E_PROPERTY_LENGTH);
    }
}

/* Step through a block that decoded well, to the next property with this identifier. */
static bool next_of(struct pg_bytes raw, enum mqtt_prop wanted, size_t *at, struct value *out)
{
    struct mqtt_reader r = mqtt_reader_of(raw);
    (void)cursor_take(&r.c, *at);
    while (cursor_left(&r.c) > 0) {
        uint32_t id = mqtt_read_varint(&r);
        const struct prop_row *row = row_of(id);
        if (row == NULL) {
            return false;
        }
        *out = read_value(&r, row);
        if (r.c.failed) {
            return false;
        }
        *at = raw.len - cursor_left(&r.c);
        if (id == wanted) {
            return true;
        }
    }
    return false;
}

bool mqtt_props_user_next(const struct mqtt_props *props, size_t *at, struct pg_property *out)
{
    struct value v;
    if (!mqtt_props_has(props, MQTT_PROP_USER) || !next_of(props->raw, MQTT_PROP_USER, at, &v)) {
        return false;
    }
    *out = (struct pg_property){.name = v.text, .value = v.second};
    return true;
}

bool mqtt_props_subscription_id_next(const struct mqtt_props *props, size_t *at, uint32_t *out)
{
    struct value v;
    if (!mqtt_props_has(props, MQTT_PROP_SUBSCRIPTION_ID) ||
        !next_of(props->raw, MQTT_PROP_SUBSCRIPTION_ID, at, &v)) {
        return false;
    }
    *out = v.number;
    return true;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static void put_user(struct mqtt_writer *w, const struct pg_property *property)
{
    mqtt_put_u8(w, MQTT_PROP_USER);
    mqtt_put_bytes(w, property->name);
    mqtt_put_bytes(w, property->value);
}

static void put_subscription_id(struct mqtt_writer *w, uint32_t id)
{
    mqtt_put_u8(w, MQTT_PROP_SUBSCRIPTION_ID);
    mqtt_put_varint(w, id);
}

static void put_users(struct mqtt_writer *w, const struct mqtt_props *props)
{
    if (props->user != NULL) {
        for (uint32_t i = 0; i < props->user_count; i++) {
            put_user(w, &props->user[i]);
        }
        return;
    }
    struct pg_property property;
    for (size_t at = 0; mqtt_props_user_next(props, &at, &property);) {
        put_user(w, &property);
    }
}

static void put_subscription_ids(struct mqtt_writer *w, const struct mqtt_props *props)
{
    if (props->subscription_ids != NULL) {
        for (uint32_t i = 0; i < props->subscription_id_count; i++) {
            put_subscription_id(w, props->subscription_ids[i]);
        }
        return;
    }
    uint32_t id;
    for (size_t at = 0; mqtt_props_subscription_id_next(props, &at, &id);) {
        put_subscription_id(w, id);
    }
}

/* The order means nothing (2.2.2.2). It is the one of the numbers, but what a server tells of its
 * limits stands around what it tells of the client, as clients are used to. */
static const uint8_t put_first[] = {MQTT_PROP_SERVER_KEEP_ALIVE, MQTT_PROP_TOPIC_ALIAS_MAXIMUM};
static const uint8_t put_last[] = {MQTT_PROP_MAXIMUM_PACKET_SIZE, MQTT_PROP_RECEIVE_MAXIMUM,
                                   MQTT_PROP_MAXIMUM_QOS};
#define LAST                                                                                       \
    (UINT64_C(1) << MQTT_PROP_MAXIMUM_PACKET_SIZE | UINT64_C(1) << MQTT_PROP_RECEIVE_MAXIMUM |     \
     UINT64_C(1) << MQTT_PROP_MAXIMUM_QOS)

/* The first of a list that is in the set; 0: none, which is no property. */
static unsigned first_of(uint64_t set, const uint8_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((set & UINT64_C(1) << ids[i]) != 0) {
            return ids[i];
        }
    }
    return 0;
}

/* Take the next identifier out of a set that is not empty. */
static unsigned take_id(uint64_t *left)
{
    unsigned id = first_of(*left, put_first, sizeof(put_first));
    if (id == 0 && (*left & ~LAST) != 0) {
        id = (unsigned)__builtin_ctzll(*left & ~LAST);
    }
    if (id == 0) {
        id = first_of(*left, put_last, sizeof(put_last));
    }
    *left &= ~(UINT64_C(1) << id);
    return id;
}

static void put_block(struct mqtt_writer *w, const struct mqtt_props *props)
{
    uint64_t left = props->present;
    while (left != 0) {
        unsigned id = take_id(&left);
        const struct prop_row *row = row_of(id);
        if (row == NULL) {
            w->failed = true;
            return;
        }
        const void *at = (const uint8_t *)props + row->offset;
        if (row->type != PAIR && row->type != VARINT) {
            mqtt_put_u8(w, id);
        }
        switch (row->type) {
        case BYTE:
            mqtt_put_u8(w, *(const uint8_t *)at);
            break;
        case TWO_BYTES:
            mqtt_put_u16(w, *(const uint16_t *)at);
            break;
        case FOUR_BYTES:
            mqtt_put_u32(w, *(const uint32_t *)at);
            break;
        case TEXT:
        case TOPIC:
        case BINARY:
            mqtt_put_bytes(w, *(const struct pg_bytes *)at);
            break;
        case VARINT:
            put_subscription_ids(w, props);
            break;
        case PAIR:
            put_users(w, props);
            break;
        case NO_SUCH:
            break;
        }
    }
}

void mqtt_props_encode(struct mqtt_writer *w, const struct mqtt_props *props)
{
    struct mqtt_writer dry = {.data = NULL};
    put_block(&dry, props);
    mqtt_put_varint(w, dry.len);
    put_block(w, props);
}

size_t mqtt_props_encode_block(const struct mqtt_props *props, uint8_t *buffer, size_t size)
{
    struct mqtt_writer dry = {.data = NULL};
    put_block(&dry, props);
    if (dry.failed) {
        return 0;
    }
    if (buffer != NULL && dry.len <= size) {
        struct mqtt_writer w = {.data = buffer};
        put_block(&w, props);
    }
    return dry.len;
}
