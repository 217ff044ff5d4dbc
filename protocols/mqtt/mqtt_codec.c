/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of MQTT, and the tables of what may be where: packet types, their flags and senders,
 * reason codes and their packets, errors and their clauses.
 *
 * mqtt_frame_next() finds the packets in a stream. It refuses as soon as it can know: flags by the
 * first byte, length by the byte that completes it, so that nobody can make a server wait for, or
 * keep, a packet that it would not accept. What is inside packets is the matter of mqtt_decode.c
 * and mqtt_encode.c.
 *
 * No allocation, no state; any thread.
 * Standard: MQTT 5.0, 2.1 (fixed header), 2.4 (reason codes); MQTT 3.1.1, 2.2; MQTT 3.1, 2.1. */

#include "mqtt_codec.h"

/* ---- errors ---------------------------------------------------------------------------------- */

static const struct error_row {
    const char *name;
    const char *clause;
    const char *sentence;
    uint8_t code;
} error_rows[] = {
#define ROW(NAME, number, where, text)                                                             \
    [MQTT_E_##NAME] = {.name = #NAME, .clause = (where), .sentence = (text), .code = (number)},
    MQTT_ERRORS(ROW)
#undef ROW
};

const char *mqtt_error_name(enum mqtt_error error)
{
    return error_rows[error].name;
}

const char *mqtt_error_sentence(enum mqtt_error error)
{
    return error_rows[error].sentence;
}

const char *mqtt_error_clause(enum mqtt_error error)
{
    return error_rows[error].clause;
}

uint8_t mqtt_error_code(enum mqtt_error error)
{
    return error_rows[error].code;
}

/* ---- packet types ---------------------------------------------------------------------------- */

#define ANY_FLAGS 0xFF
#define NO_SIDE   0xFF

static const struct type_row {
    const char *name;
    uint8_t flags;        /* that the fixed header must have, or ANY_FLAGS */
    uint8_t only_from;    /* enum mqtt_side, or NO_SIDE if both may send it */
    bool may_set_dup;     /* MQTT 3.1: sent again with DUP set */
    uint8_t since;        /* protocol level */
    uint8_t server_since; /* ... for servers where that is later */
} type_rows[16] = {
    [0] = {.name = "reserved", .since = UINT8_MAX},
    [MQTT_CONNECT] = {.name = "CONNECT", .only_from = MQTT_FROM_CLIENT},
    [MQTT_CONNACK] = {.name = "CONNACK", .only_from = MQTT_FROM_SERVER},
    [MQTT_PUBLISH] = {.name = "PUBLISH", .flags = ANY_FLAGS, .only_from = NO_SIDE},
    [MQTT_PUBACK] = {.name = "PUBACK", .only_from = NO_SIDE},
    [MQTT_PUBREC] = {.name = "PUBREC", .only_from = NO_SIDE},
    [MQTT_PUBREL] = {.name = "PUBREL", .flags = 2, .only_from = NO_SIDE, .may_set_dup = true},
    [MQTT_PUBCOMP] = {.name = "PUBCOMP", .only_from = NO_SIDE},
    [MQTT_SUBSCRIBE] = {.name = "SUBSCRIBE",
                        .flags = 2,
                        .only_from = MQTT_FROM_CLIENT,
                        .may_set_dup = true},
    [MQTT_SUBACK] = {.name = "SUBACK", .only_from = MQTT_FROM_SERVER},
    [MQTT_UNSUBSCRIBE] = {.name = "UNSUBSCRIBE",
                          .flags = 2,
                          .only_from = MQTT_FROM_CLIENT,
                          .may_set_dup = true},
    [MQTT_UNSUBACK] = {.name = "UNSUBACK", .only_from = MQTT_FROM_SERVER},
    [MQTT_PINGREQ] = {.name = "PINGREQ", .only_from = MQTT_FROM_CLIENT},
    [MQTT_PINGRESP] = {.name = "PINGRESP", .only_from = MQTT_FROM_SERVER},
    [MQTT_DISCONNECT] = {.name = "DISCONNECT", .only_from = NO_SIDE, .server_since = MQTT_V5},
    [MQTT_AUTH] = {.name = "AUTH", .only_from = NO_SIDE, .since = MQTT_V5},
};

const char *mqtt_type_name(unsigned type)
{
    return type_rows[type & 0x0F].name;
}

bool mqtt_type_allowed(unsigned type, enum mqtt_version version, enum mqtt_side from)
{
    const struct type_row *row = &type_rows[type & 0x0F];
    if (row->only_from != NO_SIDE && row->only_from != (uint8_t)from) {
        return false;
    }
    uint8_t since =
        from == MQTT_FROM_SERVER && row->server_since > row->since ? row->server_since : row->since;
    return version >= since;
}

/* ---- reason codes ---------------------------------------------------------------------------- */

/* Who may put a reason code into which packet: bit n is packet type n, by either side or by the
 * only one that may send it; the bits above tell apart who sent a DISCONNECT or AUTH. */
#define IN(type)          (1u << MQTT_##type)
#define SERVER_DISCONNECT (1u << 28)
#define CLIENT_DISCONNECT (1u << 29)
#define SERVER_AUTH       (1u << 30)
#define CLIENT_AUTH       (1u << 31)
#define PUBACKS           (IN(PUBACK) | IN(PUBREC))
#define PUBRELS           (IN(PUBREL) | IN(PUBCOMP))
#define SUBACKS           (IN(SUBACK) | IN(UNSUBACK))

struct code_row {
    const char *name;
    uint8_t code;
    uint32_t packets;
};

/* clang-format off */
static const struct code_row code_rows[] = {
    {"Success", 0x00, IN(CONNACK) | PUBACKS | PUBRELS | SUBACKS | IN(DISCONNECT) | SERVER_AUTH},
    {"Granted QoS 1", 0x01, IN(SUBACK)},
    {"Granted QoS 2", 0x02, IN(SUBACK)},
    {"Disconnect with Will Message", 0x04, CLIENT_DISCONNECT},
    {"No matching subscribers", 0x10, PUBACKS},
    {"No subscription existed", 0x11, IN(UNSUBACK)},
    {"Continue authentication", 0x18, IN(AUTH)},
    {"Re-authenticate", 0x19, CLIENT_AUTH},
    {"Unspecified error", 0x80, IN(CONNACK) | PUBACKS | SUBACKS | IN(DISCONNECT)},
    {"Malformed Packet", 0x81, IN(CONNACK) | IN(DISCONNECT)},
    {"Protocol Error", 0x82, IN(CONNACK) | IN(DISCONNECT)},
    {"Implementation specific error", 0x83, IN(CONNACK) | PUBACKS | SUBACKS | IN(DISCONNECT)},
    {"Unsupported Protocol Version", 0x84, IN(CONNACK)},
    {"Client Identifier not valid", 0x85, IN(CONNACK)},
    {"Bad User Name or Password", 0x86, IN(CONNACK)},
    {"Not authorized", 0x87, IN(CONNACK) | PUBACKS | SUBACKS | SERVER_DISCONNECT},
    {"Server unavailable", 0x88, IN(CONNACK)},
    {"Server busy", 0x89, IN(CONNACK) | SERVER_DISCONNECT},
    {"Banned", 0x8A, IN(CONNACK)},
    {"Server shutting down", 0x8B, SERVER_DISCONNECT},
    {"Bad authentication method", 0x8C, IN(CONNACK) | SERVER_DISCONNECT},
    {"Keep Alive timeout", 0x8D, SERVER_DISCONNECT},
    {"Session taken over", 0x8E, SERVER_DISCONNECT},
    {"Topic Filter invalid", 0x8F, SUBACKS | SERVER_DISCONNECT},
    {"Topic Name invalid", 0x90, IN(CONNACK) | PUBACKS | IN(DISCONNECT)},
    {"Packet Identifier in use", 0x91, PUBACKS | SUBACKS},
    {"Packet Identifier not found", 0x92, PUBRELS},
    {"Receive Maximum exceeded", 0x93, IN(DISCONNECT)},
    {"Topic Alias invalid", 0x94, IN(DISCONNECT)},
    {"Packet too large", 0x95, IN(CONNACK) | IN(DISCONNECT)},
    {"Message rate too high", 0x96, IN(DISCONNECT)},
    {"Quota exceeded", 0x97, IN(CONNACK) | PUBACKS | IN(SUBACK) | IN(DISCONNECT)},
    {"Administrative action", 0x98, IN(DISCONNECT)},
    {"Payload format invalid", 0x99, IN(CONNACK) | PUBACKS | IN(DISCONNECT)},
    {"Retain not supported", 0x9A, IN(CONNACK) | SERVER_DISCONNECT},
    {"QoS not supported", 0x9B, IN(CONNACK) | SERVER_DISCONNECT},
    {"Use another server", 0x9C, IN(CONNACK) | SERVER_DISCONNECT},
    {"Server moved", 0x9D, IN(CONNACK) | SERVER_DISCONNECT},
    {"Shared Subscriptions not supported", 0x9E, IN(SUBACK) | SERVER_DISCONNECT},
    {"Connection rate exceeded", 0x9F, IN(CONNACK) | SERVER_DISCONNECT},
    {"Maximum connect time", 0xA0, SERVER_DISCONNECT},
    {"Subscription Identifiers not supported", 0xA1, IN(SUBACK) | SERVER_DISCONNECT},
    {"Wildcard Subscriptions not supported", 0xA2, IN(SUBACK) | SERVER_DISCONNECT},
};
/* clang-format on */

static const struct code_row *code_row_of(unsigned code)
{
    for (size_t i = 0; i < sizeof(code_rows) / sizeof(code_rows[0]); i++) {
        if (code_rows[i].code == code) {
            return &code_rows[i];
        }
    }
    return NULL;
}

const char *mqtt_code_name(unsigned code)
{
    const struct code_row *row = code_row_of(code);
    return row != NULL ? row->name : "unknown";
}

bool mqtt_code_allowed(unsigned code, enum mqtt_type type, enum mqtt_side from)
{
    const struct code_row *row = code_row_of(code);
    if (row == NULL) {
        return false;
    }
    uint32_t asked = 1u << type;
    if (type == MQTT_DISCONNECT) {
        asked |= from == MQTT_FROM_SERVER ? SERVER_DISCONNECT : CLIENT_DISCONNECT;
    } else if (type == MQTT_AUTH) {
        asked |= from == MQTT_FROM_SERVER ? SERVER_AUTH : CLIENT_AUTH;
    }
    return (row->packets & asked) != 0;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static bool flags_allowed(uint8_t first, enum mqtt_version version)
{
    const struct type_row *row = &type_rows[first >> 4];
    uint8_t flags = first & 0x0F;
    if (version == MQTT_V31 && row->may_set_dup) {
        flags &= (uint8_t)~8u;
    }
    return row->flags == ANY_FLAGS || flags == row->flags;
}

static enum mqtt_result malformed(struct mqtt_frame *out, enum mqtt_error error)
{
    out->error = error;
    return MQTT_MALFORMED;
}

enum mqtt_result mqtt_frame_next(struct pg_bytes in, enum mqtt_version version, size_t limit,
                                 struct mqtt_frame *out)
{
    out->error = MQTT_E_OK;
    out->total = 0;
    if (in.len == 0) {
        return MQTT_MORE;
    }
    out->first = in.data[0];
    unsigned type = out->first >> 4;
    if (type == 0 || (type == MQTT_AUTH && version != MQTT_V_UNKNOWN && version < MQTT_V5)) {
        return malformed(out, MQTT_E_TYPE_RESERVED);
    }
    if (!flags_allowed(out->first, version)) {
        return malformed(out, MQTT_E_FLAGS);
    }
    size_t remaining = 0;
    size_t at = 1;
    for (;;) {
        if (at == MQTT_HEADER_MAX) {
            return malformed(out, MQTT_E_REMAINING_LENGTH);
        }
        if (at == in.len) {
            return MQTT_MORE;
        }
        uint8_t byte = in.data[at];
        remaining |= (size_t)(byte & 0x7F) << (7 * (at - 1));
        at++;
        if ((byte & 0x80) == 0) {
            /* A rule of MQTT 5 alone: clients of 3.x with a length of fixed width exist. */
            if (byte == 0 && at > 2 && version == MQTT_V5) {
                return malformed(out, MQTT_E_LENGTH_NOT_MINIMAL);
            }
            break;
        }
    }
    out->total = at + remaining;
    if (out->total > limit) {
        return malformed(out, MQTT_E_TOO_LARGE);
    }
    if (in.len < out->total) {
        return MQTT_MORE;
    }
    out->body = (struct pg_bytes){.data = in.data + at, .len = remaining};
    return MQTT_WHOLE;
}
