/* SPDX-License-Identifier: Apache-2.0 */

/* The MQTT frontend: its descriptor, options and counters, the life of a connection, and the way of
 * a packet from the bytes to its handler.
 *
 * Bytes come to mqtt_bytes(), which takes packet after packet from the read buffer in place and
 * calls the handler of its type; the first rule that a packet breaks closes the connection with the
 * rule's reason code and clause. Handlers are in mqtt_login.c (CONNECT, DISCONNECT), mqtt_session.c
 * (SUBSCRIBE, UNSUBSCRIBE, PINGREQ), mqtt_auth.c (AUTH), mqtt_receive.c (PUBLISH and PUBREL from
 * the client) and mqtt_deliver.c (PUBLISH to the client, and what it answers). The states are drawn
 * in mqtt_conn.h. While an answer of the core is out that the next packet must wait for, reading is
 * off and nothing is buffered here.
 *
 * One connection admits one client. Everything runs on the connection's worker.
 *
 * Standard: MQTT 5.0 (OASIS, 2019), MQTT 3.1.1 (OASIS, 2014), MQTT 3.1 (2010), on one port, told
 * apart by CONNECT. */

#include <stddef.h>
#include <stdlib.h>

#include "mqtt_conn.h"
#include "mqtt_reason.h"
#include "mqtt_text.h"

/* ---- options and counters -------------------------------------------------------------------- */

#define AT(field) offsetof(struct mqtt_conf, field)

static const char *const empty_client_id_words[] = {"assign", "refuse", NULL};
static const char *const denied_subscribe_words[] = {"not_authorized", "unspecified", "acknowledge",
                                                     NULL};
static const char *const invalid_topic_words[] = {"refuse", "close", NULL};
static const char *const denied_publish_words[] = {"acknowledge", "close", NULL};
static const char *const denied_connect_words[] = {"bad_credential", "not_authorized", NULL};
static const char *const long_keepalive_words[] = {"keep", "refuse", NULL};

/* clang-format off */
static const struct pg_option mqtt_options[] = {
    {"connect_packet_size", PG_OPT_SIZE, AT(connect_packet_size), "16k", 64, MQTT_PACKET_MAX, NULL, true,
     "longest CONNECT; small, because anybody may send one (will, user name and password included)"},
    {"max_packet_size", PG_OPT_SIZE, AT(max_packet_size), "1m", 20, MQTT_PACKET_MAX, NULL, true,
     "longest packet taken from a client that is connected; told to MQTT 5 clients"},
    {"max_payload", PG_OPT_SIZE, AT(max_payload), "0", 0, MQTT_PACKET_MAX, NULL, true,
     "longest payload of a message; a longer one is refused, or dropped at QoS 0, and its client stays connected, while a packet above max_packet_size ends the connection; a CONNECT whose will is longer is refused; 0: no limit but the packet's"},
    {"receive_maximum", PG_OPT_INT, AT(receive_maximum), "1000", 1, 65535, NULL, true,
     "QoS 1 and 2 messages that a client may have unacknowledged; told to MQTT 5 clients, others are not read meanwhile"},
    {"keepalive_max", PG_OPT_DURATION, AT(keepalive_max), "0s", 0, 65535000, NULL, true,
     "longest keep-alive, imposed on MQTT 5 clients that ask for more or for none; 0: as they ask; clients of 3.x cannot be told, see long_keepalive_3x"},
    {"long_keepalive_3x", PG_OPT_CHOICE, AT(long_keepalive_3x), "keep", 0, 0, long_keepalive_words, true,
     "what happens to a client of 3.x that asks for a longer keep-alive than keepalive_max, or for none: it keeps its own, or it is refused with code 2, the nearest that those versions have"},
    {"topic_alias_max", PG_OPT_INT, AT(topic_alias_max), "32", 0, 65535, NULL, true,
     "topic aliases that a client may set; each keeps one topic in memory for the connection; 0: none"},
    {"topic_alias_send", PG_OPT_INT, AT(topic_alias_send), "32", 0, 65535, NULL, true,
     "topic aliases that are used towards a client that allows them; 0: none"},
    {"max_qos", PG_OPT_INT, AT(max_qos), "2", 0, 2, NULL, true,
     "highest QoS that a client may publish with or is granted"},
    {"allow_3_1", PG_OPT_BOOL, AT(allow_31), "true", 0, 0, NULL, true,
     "whether MQTT 3.1 (MQIsdp) is served: old devices need it"},
    {"allow_3_1_1", PG_OPT_BOOL, AT(allow_311), "true", 0, 0, NULL, true,
     "whether MQTT 3.1.1 is served; most devices speak it"},
    {"allow_5", PG_OPT_BOOL, AT(allow_5), "true", 0, 0, NULL, true,
     "whether MQTT 5 is served; most client libraries go back to 3.1.1 when it is refused"},
    {"retain_available", PG_OPT_BOOL, AT(retain_available), "true", 0, 0, NULL, true,
     "whether clients may publish retained messages"},
    {"wildcard_available", PG_OPT_BOOL, AT(wildcard_available), "true", 0, 0, NULL, true,
     "whether clients may subscribe with + and #"},
    {"shared_available", PG_OPT_BOOL, AT(shared_available), "true", 0, 0, NULL, true,
     "whether clients may use shared subscriptions ($share/group/filter)"},
    {"subscription_id_available", PG_OPT_BOOL, AT(subscription_id_available), "true", 0, 0, NULL, true,
     "whether MQTT 5 clients may give subscription identifiers"},
    {"check_payload_format", PG_OPT_BOOL, AT(check_payload_format), "false", 0, 0, NULL, true,
     "refuse a payload that is declared to be UTF-8 and is not; off, because it costs a pass over the payload"},
    {"reason_strings", PG_OPT_BOOL, AT(reason_strings), "true", 0, 0, NULL, true,
     "whether MQTT 5 clients are told of refusals and closes in words, besides the code; no saves bytes, and suits clients and test suites that look at whole packets"},
    {"empty_client_id", PG_OPT_CHOICE, AT(empty_client_id), "assign", 0, 0, empty_client_id_words, true,
     "what happens to a client without identifier where the standard allows one: a random one is assigned, or it is refused"},
    {"assigned_id_prefix", PG_OPT_STRING, AT(assigned_id_prefix), "auto-", 0, 0, NULL, true,
     "what an assigned client identifier begins with, before a random UUID; for rules and tools that tell those clients apart; at most 64 bytes"},
    {"denied_connect", PG_OPT_CHOICE, AT(denied_connect), "bad_credential", 0, 0, denied_connect_words, true,
     "the code that a client gets whose user name or password is wrong: 0x86 (4 before MQTT 5) says so, 0x87 (5) says no more than that it may not come in"},
    {"denied_publish_3x", PG_OPT_CHOICE, AT(denied_publish_3x), "acknowledge", 0, 0, denied_publish_words, true,
     "what a client of 3.x sees whose message was not authorized, or longer than max_payload: those versions have no refusal, so it is acknowledged and dropped, or the connection is closed"},
    {"denied_subscribe", PG_OPT_CHOICE, AT(denied_subscribe), "not_authorized", 0, 0, denied_subscribe_words, true,
     "what a client sees of a subscription that it may not make: in MQTT 5 0x87 says so, 0x80 (unspecified error) does not tell why; acknowledge: whatever its version, it is told that it has it and receives nothing, for clients that give up when they are refused"},
    {"invalid_topic", PG_OPT_CHOICE, AT(invalid_topic), "refuse", 0, 0, invalid_topic_words, true,
     "what an MQTT 5 client sees that publishes to a topic, or subscribes to a filter, with more levels than limits.topic_levels, or to a filter that is not valid: its code in PUBACK, PUBREC or SUBACK, or the end of the connection, as for a malformed packet"},
    {"response_information", PG_OPT_STRING, AT(response_information), "", 0, 0, NULL, true,
     "told to MQTT 5 clients that ask for response information: where they may put their response topics"},
    {"server_reference", PG_OPT_STRING, AT(server_reference), "", 0, 0, NULL, true,
     "other servers, as host:port separated by spaces, that MQTT 5 clients are told to use when this one shuts down (code 9C); not set: they are told that it shuts down (8B)"},
    {.name = NULL},
};

static const struct pg_counter mqtt_counters[] = {
    [MQTT_COUNT_MALFORMED] = {"malformed", "a packet broke a rule of the format"},
    [MQTT_COUNT_OVERSIZE] = {"oversize", "a message was dropped for a client that does not take packets that long"},
    [MQTT_COUNT_DUPLICATES] = {"duplicates", "a QoS 2 message came again before its release"},
    [MQTT_COUNT_STRAY_ACKS] = {"stray_acks", "an acknowledgement came for nothing that is out"},
    [MQTT_COUNT_ALIASED_RECEIVED] = {"aliased_received", "a message came with a topic alias alone"},
    [MQTT_COUNT_ALIASED_SENT] = {"aliased_sent", "a message left with a topic alias alone"},
    [MQTT_COUNT_PINGS] = {"pings", "a PINGREQ was answered"},
    [MQTT_COUNT_LONG_PAYLOADS] = {"long_payloads", "a message was refused or dropped for a payload longer than max_payload"},
    {.name = NULL},
};
/* clang-format on */

/* Main thread. */
static bool mqtt_check(const void *values, struct pg_error *error)
{
    const struct mqtt_conf *conf = values;
    struct pg_bytes prefix = pg_bytes_str(conf->assigned_id_prefix);
    if (prefix.len > MQTT_ID_PREFIX_MAX) {
        pg_error_set(error, "mqtt.assigned_id_prefix is %zu bytes long, expected at most %u",
                     prefix.len, MQTT_ID_PREFIX_MAX);
        return false;
    }
    if ((mqtt_text_check(prefix) & (MQTT_TEXT_INVALID | MQTT_TEXT_CONTROL)) != 0) {
        pg_error_set(error, "mqtt.assigned_id_prefix is not UTF-8 without control characters, as "
                            "client identifiers are");
        return false;
    }
    return true;
}

/* ---- closing --------------------------------------------------------------------------------- */

struct mqtt_conn *mqtt_conn_of(struct pg_conn *conn)
{
    struct mqtt_conn *m = pg_conn_state(conn);
    if (m->magic != MQTT_CONN_MAGIC) {
        abort(); /* the core's promise: the state is the one that `open` prepared */
    }
    return m;
}

static enum pg_reason reason_of(enum mqtt_error error)
{
    switch (mqtt_error_code(error)) {
    case MQTT_RC_MALFORMED_PACKET:
    case MQTT_RC_CLIENT_ID_NOT_VALID:
        return PG_MALFORMED;
    case MQTT_RC_UNSUPPORTED_VERSION:
        return PG_VERSION_UNSUPPORTED;
    case MQTT_RC_TOPIC_ALIAS_INVALID:
        return PG_TOPIC_ALIAS_INVALID;
    case MQTT_RC_PACKET_TOO_LARGE:
        return PG_TOO_LARGE;
    default:
        return PG_PROTOCOL_ERROR;
    }
}

/* Whether a packet of this type may come now. */
static bool expected(const struct mqtt_conn *m, enum mqtt_type type)
{
    if (!mqtt_type_allowed(type, MQTT_V5, MQTT_FROM_CLIENT)) {
        return false;
    }
    switch ((enum mqtt_state)m->state) {
    case MQTT_FRESH:
        return type == MQTT_CONNECT;
    case MQTT_AUTHENTICATING:
        return type == MQTT_AUTH || type == MQTT_DISCONNECT;
    default:
        return type != MQTT_CONNECT && (type != MQTT_AUTH || mqtt_method_of(m) != NULL);
    }
}

void mqtt_close_error(struct pg_conn *conn, const struct mqtt_frame *frame, enum mqtt_error error)
{
    struct mqtt_conn *m = mqtt_conn_of(conn);
    enum mqtt_type type = mqtt_frame_type(frame);
    bool by_type = type == MQTT_AUTH || type == MQTT_CONNACK;
    if (error == MQTT_E_FLAGS && by_type && !expected(m, type)) {
        error = MQTT_E_NOT_EXPECTED; /* whatever its flags */
    }
    if (error == MQTT_E_PROPERTY_NOT_HERE && type != MQTT_SUBSCRIBE && type != MQTT_UNSUBSCRIBE) {
        m->code = MQTT_RC_PROTOCOL_ERROR; /* as clients know it; 2.2.2.2 has 81 for the same */
    }
    if (error == MQTT_E_PACKET_ID && (type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE)) {
        m->code = MQTT_RC_MALFORMED_PACKET; /* likewise; 2.2.1 forbids it and names no code */
    }
    if (error == MQTT_E_CLIENT_ID) {
        m->code = mqtt_error_code(error);
    }
    m->error = (uint8_t)error;
    pg_conn_count(conn, MQTT_COUNT_MALFORMED, 1);
    pg_conn_close(conn, reason_of(error), "%s: %s (MQTT %s)", mqtt_type_name(frame->first >> 4),
                  mqtt_error_sentence(error), mqtt_error_clause(error));
}

void mqtt_close_code(struct pg_conn *conn, enum pg_reason reason, uint8_t code, const char *detail)
{
    mqtt_conn_of(conn)->code = code;
    pg_conn_close(conn, reason, "%s", detail);
}

/* Where the client is sent (4.11); "": nowhere. */
static const char *reference_for(const struct pg_conn *conn, enum pg_reason reason)
{
    return reason == PG_DRAINING ? mqtt_conf_of(conn)->server_reference : "";
}

static void say_disconnect(struct pg_conn *conn, const struct mqtt_conn *m, enum pg_reason reason,
                           const char *why)
{
    const char *reference = reference_for(conn, reason);
    uint8_t code = m->code != 0 ? m->code : mqtt_reason_codes(reason)->disconnect;
    if (reference[0] != '\0') {
        code = MQTT_RC_USE_ANOTHER_SERVER;
    }
    (void)mqtt_write_disconnect(conn, code, why, reference);
}

/* A code of MQTT 5 that was chosen for this refusal, in the words of 3.x; 0: there is none, and
 * nothing is said. */
static uint8_t connack_3x_of(uint8_t code)
{
    switch (code) {
    case MQTT_RC_CLIENT_ID_NOT_VALID:
        return 2;
    case MQTT_RC_NOT_AUTHORIZED:
    case MQTT_RC_PACKET_TOO_LARGE:
    case MQTT_RC_QOS_NOT_SUPPORTED:
    case MQTT_RC_RETAIN_NOT_SUPPORTED:
        return 5;
    default:
        return 0;
    }
}

static void refuse_connect(struct pg_conn *conn, const struct mqtt_conn *m, enum pg_reason reason,
                           const char *why)
{
    const struct mqtt_reason_codes *codes = mqtt_reason_codes(reason);
    struct mqtt_connack packet = {.props = MQTT_PROPS_NONE};
    const char *reference = reference_for(conn, reason);
    if (m->version == MQTT_V5) {
        packet.code = m->code != 0 ? m->code : codes->connack;
        if (reference[0] != '\0') {
            packet.code = MQTT_RC_USE_ANOTHER_SERVER;
            packet.props.server_reference = pg_bytes_str(reference);
            mqtt_props_set(&packet.props, MQTT_PROP_SERVER_REFERENCE);
        }
        if (mqtt_conf_of(conn)->reason_strings) {
            packet.props.reason_string = pg_bytes_str(why);
            mqtt_props_set(&packet.props, MQTT_PROP_REASON_STRING);
        }
    } else {
        bool chosen = m->code != 0 && m->error == MQTT_E_OK;
        packet.code = chosen ? connack_3x_of(m->code) : codes->connack_3x;
    }
    if (packet.code != 0 && m->version != MQTT_V_UNKNOWN) {
        mqtt_write_connack(conn, &packet);
    }
}

/* The last words: CONNACK to who is not yet connected, DISCONNECT where MQTT 5 allows it. */
static void mqtt_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    struct mqtt_conn *m = mqtt_conn_of(conn);
    const char *why = m->error != MQTT_E_OK ? mqtt_error_sentence((enum mqtt_error)m->error)
                                            : pg_reason_sentence(reason);
    enum mqtt_state state = (enum mqtt_state)m->state;
    m->state = MQTT_CLOSED;
    switch (state) {
    case MQTT_FRESH:
    case MQTT_CLOSED:
        break;
    case MQTT_CONNECTING:
    case MQTT_AUTHENTICATING:
        if (reason != PG_CLIENT_CLOSED) {
            refuse_connect(conn, m, reason, why);
        }
        break;
    case MQTT_ONLINE:
    case MQTT_SUBSCRIBING:
        /* Nothing may follow the client's own DISCONNECT [MQTT-3.14.4-1]. */
        if (m->version == MQTT_V5 && reason != PG_CLIENT_CLOSED) {
            say_disconnect(conn, m, reason, why);
        }
        break;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void mqtt_open(struct pg_conn *conn)
{
    struct mqtt_conn *m = pg_conn_state(conn);
    m->magic = MQTT_CONN_MAGIC;
    m->state = MQTT_FRESH;
    m->max_packet_size = MQTT_PACKET_MAX;
    pg_conn_set_frame_limit(conn, (size_t)mqtt_conf_of(conn)->connect_packet_size);
}

struct mqtt_extras *mqtt_extras_of(struct mqtt_conn *m)
{
    if (m->extras == NULL) {
        m->extras = calloc(1, sizeof(*m->extras));
    }
    return m->extras;
}

void mqtt_extras_settle(struct mqtt_conn *m)
{
    const struct mqtt_extras *e = m->extras;
    if (e != NULL && e->dues == NULL && e->subscribing == NULL && e->aliases_in == NULL &&
        e->aliases_out == NULL && e->method == NULL) {
        free(m->extras);
        m->extras = NULL;
    }
}

static void mqtt_closed(struct pg_conn *conn)
{
    struct mqtt_conn *m = mqtt_conn_of(conn);
    if (m->extras != NULL) {
        free(m->extras->dues);
        free(m->extras->subscribing);
        mqtt_aliases_free(&m->extras->aliases_in);
        mqtt_aliases_free(&m->extras->aliases_out);
        free(m->extras->method);
        free(m->extras);
        m->extras = NULL;
    }
    m->magic = 0;
}

static void mqtt_client_ended(struct pg_client *client, enum pg_reason reason)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    /* One client is all that there is on this connection. */
    pg_conn_close(pg_conn_of_state(m), reason, NULL);
}

/* ---- from bytes to handlers ------------------------------------------------------------------ */

static mqtt_handler *const handlers[16] = {
    [MQTT_CONNECT] = mqtt_on_connect,     [MQTT_PUBLISH] = mqtt_on_publish,
    [MQTT_PUBACK] = mqtt_on_puback,       [MQTT_PUBREC] = mqtt_on_pubrec,
    [MQTT_PUBREL] = mqtt_on_pubrel,       [MQTT_PUBCOMP] = mqtt_on_pubcomp,
    [MQTT_SUBSCRIBE] = mqtt_on_subscribe, [MQTT_UNSUBSCRIBE] = mqtt_on_unsubscribe,
    [MQTT_PINGREQ] = mqtt_on_pingreq,     [MQTT_DISCONNECT] = mqtt_on_disconnect,
    [MQTT_AUTH] = mqtt_on_auth,
};

/* CONNECT is the first packet, and only the first [MQTT-3.1.0-1, -2]; during an exchange that it
 * began, only AUTH and DISCONNECT may come [MQTT-3.1.2-30]; no packet is taken that only servers
 * send. */
static void handle(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    mqtt_handler *handler = handlers[mqtt_frame_type(frame)];
    if (handler == NULL || !expected(m, mqtt_frame_type(frame))) {
        mqtt_close_error(conn, frame, MQTT_E_NOT_EXPECTED);
        return;
    }
    handler(conn, m, frame);
}

static size_t packet_limit(const struct pg_conn *conn, const struct mqtt_conn *m)
{
    bool online = m->state == MQTT_ONLINE || m->state == MQTT_SUBSCRIBING;
    return mqtt_packet_limit(conn, online);
}

/* Whether the next packet may be handled now. */
static bool reads(const struct pg_conn *conn, const struct mqtt_conn *m)
{
    bool open =
        m->state == MQTT_FRESH || m->state == MQTT_ONLINE || m->state == MQTT_AUTHENTICATING;
    return open && !m->dues_full && !pg_conn_closing(conn);
}

static size_t mqtt_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct mqtt_conn *m = mqtt_conn_of(conn);
    size_t limit = packet_limit(conn, m);
    size_t used = 0;
    struct mqtt_frame frame;
    while (reads(conn, m)) {
        struct pg_bytes rest = {.data = in.data + used, .len = in.len - used};
        enum mqtt_result result =
            mqtt_frame_next(rest, (enum mqtt_version)m->version, limit, &frame);
        if (result == MQTT_MORE) {
            if (frame.total > 0) {
                pg_conn_expect(conn, frame.total);
            }
            break;
        }
        if (result == MQTT_MALFORMED) {
            mqtt_close_error(conn, &frame, frame.error);
            break;
        }
        used += frame.total;
        handle(conn, m, &frame);
    }
    if (used > 0) {
        pg_conn_alive(conn);
    }
    return used;
}

/* The first bytes of a CONNECT: type and flags, length, and the length and first letter of the
 * protocol name. */
static enum pg_sniff mqtt_sniff(struct pg_bytes head)
{
    struct mqtt_frame frame;
    if (head.len > 0 && head.data[0] != MQTT_CONNECT << 4) {
        return PG_SNIFF_NO;
    }
    size_t at = 1;
    while (at < head.len && at < MQTT_HEADER_MAX && (head.data[at] & 0x80) != 0) {
        at++;
    }
    if (mqtt_frame_next(head, MQTT_V_UNKNOWN, MQTT_PACKET_MAX, &frame) == MQTT_MALFORMED) {
        return PG_SNIFF_NO;
    }
    at++; /* behind the last byte of the length */
    static const uint8_t lengths[] = {4, 6};
    if (at < head.len && head.data[at] != 0) {
        return PG_SNIFF_NO;
    }
    if (at + 1 < head.len && head.data[at + 1] != lengths[0] && head.data[at + 1] != lengths[1]) {
        return PG_SNIFF_NO;
    }
    if (at + 2 >= head.len) {
        return PG_SNIFF_MORE;
    }
    return head.data[at + 2] == 'M' ? PG_SNIFF_YES : PG_SNIFF_NO;
}

/* MQTT 5.0 and 3.1.1, 6; `mqttv3.1` is what clients of MQTT 3.1 offer. */
static const char *const mqtt_subprotocols[] = {"mqtt", "mqttv3.1", NULL};

const struct pg_protocol mqtt_protocol = {
    .abi = PG_ABI,
    .name = "mqtt",
    .options = mqtt_options,
    .conf_size = sizeof(struct mqtt_conf),
    .counters = mqtt_counters,
    .conn_size = sizeof(struct mqtt_conn),
    .check = mqtt_check,
    .subprotocols = mqtt_subprotocols,
    .sniff = mqtt_sniff,
    .open = mqtt_open,
    .bytes = mqtt_bytes,
    .admitted = mqtt_admitted,
    .challenge = mqtt_challenge,
    .reauthenticated = mqtt_reauthenticated,
    .published = mqtt_published,
    .subscribed = mqtt_subscribed,
    .unsubscribed = mqtt_unsubscribed,
    .released = mqtt_released,
    .deliver = mqtt_deliver,
    .client_ended = mqtt_client_ended,
    .goodbye = mqtt_goodbye,
    .closed = mqtt_closed,
};
