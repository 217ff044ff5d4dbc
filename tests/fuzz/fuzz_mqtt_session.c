/* SPDX-License-Identifier: Apache-2.0 */

/* The state machine of the MQTT frontend, driven by a script of events on two connections: bytes
 * from the client (well-formed packets of each type, or anything), deliveries, answers of the core
 * and of an authenticator now or later, time, a full output, the link's end.
 *
 * Whatever happens, what was written must be a stream of whole packets that a server may send in
 * the version of the connection, CONNACK first and once, nothing behind DISCONNECT.
 *
 * The input: a byte of configuration, then steps of one byte (see `enum step`) with their argument
 * bytes. */

#include <assert.h>
#include <string.h>

#include "mqtt/mqtt_conn.h"
#include "two_peers.h"

enum step {
    STEP_CONNECT_31,
    STEP_CONNECT_311,
    STEP_CONNECT_5,
    STEP_PUBLISH,
    STEP_ACK,
    STEP_SUBSCRIBE,
    STEP_UNSUBSCRIBE,
    STEP_PING,
    STEP_DISCONNECT,
    STEP_RAW,
    STEP_DELIVER,
    STEP_DECIDE,
    STEP_DECIDE_SUBSCRIPTION,
    STEP_RESULT,
    STEP_ADMIT,
    STEP_TIME,
    STEP_FULL,
    STEP_BREAK,
    STEP_OTHER,
    STEP_CONNECT_METHOD,
    STEP_AUTH,
    STEP_CHALLENGE,
    STEP_REAUTHENTICATED,
    STEP_COUNT,
};

static size_t pending_subscriptions;

static void feed(const uint8_t *data, size_t len)
{
    fake_feed(conns[current], (struct pg_bytes){.data = data, .len = len});
}

/* What the connection has written so far, from its first byte on. */
static void check_output(struct pg_conn *conn)
{
    const struct mqtt_conn *m = pg_conn_state(conn);
    struct pg_bytes out = fake_written(conn);
    enum mqtt_version version = (enum mqtt_version)m->version;
    bool acked = false;
    while (out.len > 0) {
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        assert(mqtt_frame_next(out, version, MQTT_PACKET_MAX, &frame) == MQTT_WHOLE);
        assert(mqtt_decode(&frame, version, MQTT_FROM_SERVER, &packet) == MQTT_E_OK);
        bool connected = acked;
        acked = acked || packet.type == MQTT_CONNACK;
        /* CONNACK first and once, but for the rounds of an exchange before it. */
        assert(packet.type == MQTT_AUTH ? version == MQTT_V5
                                        : (packet.type == MQTT_CONNACK) != connected);
        assert(frame.total <= m->max_packet_size || packet.type == MQTT_PINGRESP);
        out.data += frame.total;
        out.len -= frame.total;
        assert(packet.type != MQTT_DISCONNECT || out.len == 0);
    }
}

static void connect_step(struct script *s, enum mqtt_version version)
{
    uint8_t buffer[512];
    struct mqtt_connect c = {.version = version};
    uint8_t flags = next_byte(s);
    open_current();
    c.clean_start = (flags & 1) != 0;
    c.has_will = (flags & 2) != 0;
    c.will_qos = c.has_will ? flags >> 2 & 1 : 0;
    c.client_id = (flags & 8) != 0 ? PG_BYTES_OF("a") : PG_BYTES_OF("b");
    c.will_topic = PG_BYTES_OF("will");
    c.keepalive_s = flags >> 6;
    if ((flags & 16) != 0) {
        c.props.receive_maximum = 1 + next_byte(s) % 8;
        mqtt_props_set(&c.props, MQTT_PROP_RECEIVE_MAXIMUM);
        c.props.maximum_packet_size = 1u + next_byte(s) * 4u;
        mqtt_props_set(&c.props, MQTT_PROP_MAXIMUM_PACKET_SIZE);
    }
    if ((flags & 32) != 0) {
        c.props.session_expiry_s = 100;
        mqtt_props_set(&c.props, MQTT_PROP_SESSION_EXPIRY);
        c.props.topic_alias_maximum = 2;
        mqtt_props_set(&c.props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM);
    }
    feed(buffer, mqtt_encode_connect(&c, buffer, sizeof(buffer)));
}

static enum mqtt_version version_now(void)
{
    return (enum mqtt_version)((const struct mqtt_conn *)pg_conn_state(conns[current]))->version;
}

/* CONNECT that begins an exchange; its admission is held, so that rounds can come before it. */
static void connect_method_step(struct script *s)
{
    uint8_t buffer[64];
    struct mqtt_connect c = {
        .version = MQTT_V5, .clean_start = true, .client_id = PG_BYTES_OF("c")};
    uint8_t flags = next_byte(s);
    open_current();
    c.props.auth_method = (flags & 1) != 0 ? PG_BYTES_OF("m") : PG_BYTES_OF("");
    mqtt_props_set(&c.props, MQTT_PROP_AUTH_METHOD);
    if ((flags & 2) != 0) {
        c.props.auth_data = next_bytes(s, flags >> 5);
        mqtt_props_set(&c.props, MQTT_PROP_AUTH_DATA);
    }
    if ((flags & 4) != 0) {
        c.props.maximum_packet_size = 1u + next_byte(s);
        mqtt_props_set(&c.props, MQTT_PROP_MAXIMUM_PACKET_SIZE);
    }
    fake_hold_admissions = fake_hold_admissions || (flags & 8) != 0;
    feed(buffer, mqtt_encode_connect(&c, buffer, sizeof(buffer)));
}

/* AUTH of the client: every code, the method of CONNECT or another, with or without data. */
static void auth_step(struct script *s)
{
    static const uint8_t codes[] = {MQTT_RC_CONTINUE_AUTHENTICATION, MQTT_RC_REAUTHENTICATE,
                                    MQTT_RC_SUCCESS};
    uint8_t buffer[64];
    uint8_t flags = next_byte(s);
    struct mqtt_disconnect packet = {.code = codes[(flags & 3) % 3]};
    if ((flags & 4) != 0) {
        packet.props.auth_method = (flags & 8) != 0 ? PG_BYTES_OF("m") : PG_BYTES_OF("");
        mqtt_props_set(&packet.props, MQTT_PROP_AUTH_METHOD);
    }
    if ((flags & 16) != 0) {
        packet.props.auth_data = next_bytes(s, flags >> 5);
        mqtt_props_set(&packet.props, MQTT_PROP_AUTH_DATA);
    }
    feed(buffer, mqtt_encode_disconnect(&packet, MQTT_AUTH, version_now(), buffer, sizeof(buffer)));
}

/* As the core does: who is asked for another round is not admitted before the answer. */
static bool may_challenge(const struct mqtt_conn *m)
{
    return m->exchange == MQTT_EXCHANGE_JUDGED &&
           (mqtt_client_of(m) != NULL || fake_hold_admissions);
}

static void admit_step(struct script *s)
{
    bool hold = (next_byte(s) & 1) != 0;
    for (size_t i = 0; i < 2; i++) {
        if (conns[i] != NULL &&
            ((const struct mqtt_conn *)pg_conn_state(conns[i]))->state == MQTT_AUTHENTICATING) {
            return;
        }
    }
    fake_admit_held();
    fake_hold_admissions = hold;
}

/* The authenticator's turn, if it is: another round, with data or without. */
static void challenge_step(struct script *s)
{
    struct mqtt_conn *m = pg_conn_state(conns[current]);
    uint8_t flags = next_byte(s);
    struct pg_bytes data = next_bytes(s, flags >> 4);
    if (may_challenge(m) && !fake_is_closed(conns[current], NULL)) {
        mqtt_challenge(conns[current], (flags & 1) != 0 ? data : PG_BYTES_NONE, m);
    }
}

static void reauthenticated_step(struct script *s)
{
    static const enum pg_reason results[] = {PG_OK, PG_BAD_CREDENTIAL, PG_BUSY, PG_NOT_AUTHORIZED};
    const struct mqtt_conn *m = pg_conn_state(conns[current]);
    struct pg_client *client = fake_client(conns[current]);
    uint8_t flags = next_byte(s);
    struct pg_bytes data = next_bytes(s, flags >> 4);
    if (client != NULL && m->exchange == MQTT_EXCHANGE_JUDGED &&
        !fake_is_closed(conns[current], NULL)) {
        mqtt_reauthenticated(client, results[flags & 3], (flags & 4) != 0 ? data : PG_BYTES_NONE);
    }
}

static void publish_step(struct script *s)
{
    uint8_t buffer[512];
    uint8_t flags = next_byte(s);
    struct mqtt_publish p = {.qos = flags & 3 % 3,
                             .retain = (flags & 4) != 0,
                             .packet_id = 1 + (flags >> 3 & 3),
                             .topic = next_bytes(s, flags >> 6)};
    p.dup = p.qos > 0 && (flags & 32) != 0;
    if ((flags & 16) != 0) {
        p.props.topic_alias = next_byte(s);
        mqtt_props_set(&p.props, MQTT_PROP_TOPIC_ALIAS);
    }
    feed(buffer, mqtt_encode_publish(&p, version_now(), buffer, sizeof(buffer)));
}

static void ack_step(struct script *s)
{
    uint8_t buffer[16];
    uint8_t flags = next_byte(s);
    const struct mqtt_ack ack = {.packet_id = 1 + (flags >> 2 & 7),
                                 .code = (uint8_t)(flags & 0xe0u)};
    feed(buffer, mqtt_encode_ack(&ack, (enum mqtt_type)(MQTT_PUBACK + (flags & 3)), version_now(),
                                 buffer, sizeof(buffer)));
}

static void subscribe_step(struct script *s, enum mqtt_type type)
{
    uint8_t buffer[512];
    struct mqtt_filter filters[3];
    const struct mqtt_subscribe packet = {.packet_id = 1};
    size_t count = 1 + next_byte(s) % 3;
    for (size_t i = 0; i < count; i++) {
        uint8_t options = next_byte(s);
        filters[i] =
            (struct mqtt_filter){.filter = next_bytes(s, options >> 4), .qos = options & 3};
    }
    feed(buffer, mqtt_encode_subscribe(&packet, type, version_now(), filters, count, buffer,
                                       sizeof(buffer)));
}

static void deliver_step(struct script *s)
{
    static const uint32_t ids[] = {1, 300, 268435455};
    static const struct pg_property user[] = {{PG_BYTES_OF("k"), PG_BYTES_OF("v")}};
    struct pg_client *client = fake_client(conns[current]);
    uint8_t flags = next_byte(s);
    if (client == NULL) {
        return;
    }
    const struct pg_msg_spec spec = {
        .topic = (flags & 4) != 0 ? PG_BYTES_OF("topic/a") : PG_BYTES_OF("b"),
        .payload = next_bytes(s, next_byte(s)),
        .expires = (flags & 8) != 0,
        .expiry_s = 60,
        .props = {.user = user, .user_count = flags >> 7},
    };
    fake_queue((const char *)pg_client_id(client).data, pg_msg_new(&spec),
               (uint8_t)((flags & 3) % 3), (flags & 16) != 0, ids, flags >> 5 & 3);
    fake_turn();
}

/* The result of the latest publication, if it waits. */
static void decide_step(struct script *s)
{
    uint8_t which = next_byte(s);
    enum pg_reason reason = (enum pg_reason)(next_byte(s) % PG_REASON_COUNT);
    size_t count = fake_message_count();
    if (count > 0 && reason != PG_PENDING) {
        const struct fake_message *m = fake_message(which % count);
        if (m->token != UINT64_MAX) {
            fake_decide(m->token, reason);
        }
    }
}

static void decide_subscription_step(struct script *s)
{
    struct pg_client *client = fake_client(conns[current]);
    const struct mqtt_conn *m = pg_conn_state(conns[current]);
    uint8_t reason = next_byte(s);
    if (client != NULL && m->state == MQTT_SUBSCRIBING) {
        /* Answered once each, in order. */
        if (pending_subscriptions >= m->extras->subscribing->count) {
            pending_subscriptions = 0;
        }
        fake_decide_subscription(client, pending_subscriptions++,
                                 (reason & 1) != 0 ? PG_NOT_AUTHORIZED : PG_OK);
    }
}

static void run_step(struct script *s)
{
    switch ((enum step)(next_byte(s) % STEP_COUNT)) {
    case STEP_CONNECT_31:
        connect_step(s, MQTT_V31);
        break;
    case STEP_CONNECT_311:
        connect_step(s, MQTT_V311);
        break;
    case STEP_CONNECT_5:
        connect_step(s, MQTT_V5);
        break;
    case STEP_PUBLISH:
        publish_step(s);
        break;
    case STEP_ACK:
        ack_step(s);
        break;
    case STEP_SUBSCRIBE:
        subscribe_step(s, MQTT_SUBSCRIBE);
        break;
    case STEP_UNSUBSCRIBE:
        subscribe_step(s, MQTT_UNSUBSCRIBE);
        break;
    case STEP_PING:
        feed((const uint8_t *)"\xc0\0", 2);
        break;
    case STEP_DISCONNECT:
        feed((const uint8_t *)"\xe0\0", 2);
        break;
    case STEP_RAW: {
        struct pg_bytes raw = next_bytes(s, next_byte(s));
        feed(raw.data, raw.len);
        break;
    }
    case STEP_DELIVER:
        deliver_step(s);
        break;
    case STEP_DECIDE:
        decide_step(s);
        break;
    case STEP_DECIDE_SUBSCRIPTION:
        decide_subscription_step(s);
        break;
    case STEP_RESULT:
        result_step(s);
        break;
    case STEP_ADMIT:
        admit_step(s);
        break;
    case STEP_TIME:
        fake_advance(next_byte(s) * 20);
        break;
    case STEP_FULL:
        fake_full(conns[current], next_byte(s) & 1);
        break;
    case STEP_BREAK:
        fake_break(conns[current]);
        break;
    case STEP_OTHER:
        current ^= 1;
        break;
    case STEP_CONNECT_METHOD:
        connect_method_step(s);
        break;
    case STEP_AUTH:
        auth_step(s);
        break;
    case STEP_CHALLENGE:
        challenge_step(s);
        break;
    case STEP_REAUTHENTICATED:
        reauthenticated_step(s);
        break;
    case STEP_COUNT:
        break;
    }
}

static void configure(uint8_t byte)
{
    struct mqtt_conf *conf = fake_conf();
    conf->receive_maximum = 1 + (byte & 7);
    conf->topic_alias_max = byte >> 3 & 1 ? 4 : 0;
    conf->topic_alias_send = 1;
    conf->max_qos = byte >> 4 & 1 ? 1 : 2;
    conf->check_payload_format = byte >> 5 & 1;
    conf->denied_publish_3x = byte >> 6 & 1;
    conf->max_packet_size = 1024;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pending_subscriptions = 0;
    run_script(&mqtt_protocol, data, size, configure, run_step, check_output);
    return 0;
}
