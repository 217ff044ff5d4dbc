/* SPDX-License-Identifier: Apache-2.0 */

/* CONNECT, CONNACK, and the client's DISCONNECT: how a client comes and goes.
 *
 * CONNECT is judged in this order: format, version, what the configuration allows, identifier; then
 * the core is asked for admission and nothing more is read. The answer becomes CONNACK: a refusal
 * by way of pg_conn_close() and mqtt_goodbye(), so that there is one place where last words are
 * made. What the server limits or decides is told to MQTT 5 clients in CONNACK, and only where it
 * differs from what they assume without it.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.1, 3.2, 3.14; MQTT 3.1.1 and 3.1, the same. */

#include <stdio.h>
#include <sys/random.h>

#include "mqtt_conn.h"
#include "mqtt_publish.h"
#include "mqtt_reason.h"
#include "mqtt_text.h"

/* An identifier for a client that has none: a random UUID, unique by chance alone. */
struct assigned_id {
    char text[MQTT_ID_PREFIX_MAX + 36 + 1];
};

static bool assign_id(struct assigned_id *out, const char *prefix)
{
    uint8_t r[16];
    if (getrandom(r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r)) {
        return false;
    }
    r[6] = (uint8_t)((r[6] & 0x0F) | 0x40); /* version and variant, RFC 4122 */
    r[8] = (uint8_t)((r[8] & 0x3F) | 0x80);
    (void)snprintf(out->text, sizeof(out->text),
                   "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prefix,
                   r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12],
                   r[13], r[14], r[15]);
    return true;
}

/* Whether this version lets a client come without an identifier: 3.1 never, 3.1.1 only with a clean
 * session [MQTT-3.1.3-8], 5.0 always. */
static bool may_lack_id(const struct mqtt_connect *c, const struct mqtt_conf *conf)
{
    if (conf->empty_client_id == MQTT_EMPTY_ID_REFUSE || c->version == MQTT_V31) {
        return false;
    }
    return c->version == MQTT_V5 || c->clean_start;
}

static bool is_served(const struct mqtt_conf *conf, enum mqtt_version version)
{
    switch (version) {
    case MQTT_V31:
        return conf->allow_31;
    case MQTT_V311:
        return conf->allow_311;
    default:
        return conf->allow_5;
    }
}

/* A client that cannot be told of a shorter keep-alive. */
static bool keeps_silent_too_long(const struct mqtt_conf *conf, const struct mqtt_connect *c)
{
    int64_t most_s = conf->keepalive_max / 1000;
    return c->version != MQTT_V5 && conf->long_keepalive_3x == MQTT_LONG_KEEPALIVE_REFUSE &&
           most_s > 0 && (c->keepalive_s == 0 || c->keepalive_s > most_s);
}

/* What the configuration does not allow of a CONNECT. false: closed. */
static bool allowed(struct pg_conn *conn, const struct mqtt_conf *conf,
                    const struct mqtt_connect *c)
{
    if (!is_served(conf, c->version)) {
        pg_conn_close(conn, PG_VERSION_UNSUPPORTED, "see mqtt.allow_3_1, allow_3_1_1 and allow_5");
    } else if (keeps_silent_too_long(conf, c)) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_CLIENT_ID_NOT_VALID,
                        "a keep-alive of more than mqtt.keepalive_max");
    } else if (c->has_will && conf->max_payload > 0 &&
               c->will_payload.len > (size_t)conf->max_payload) {
        mqtt_close_code(conn, PG_TOO_LARGE, MQTT_RC_PACKET_TOO_LARGE,
                        "the will; see mqtt.max_payload");
    } else if (c->has_will && c->will_qos > conf->max_qos) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_QOS_NOT_SUPPORTED,
                        "will QoS; see mqtt.max_qos");
    } else if (c->has_will && c->will_retain && !conf->retain_available) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_RETAIN_NOT_SUPPORTED,
                        "will retain; see mqtt.retain_available");
    } else if (c->has_will && conf->check_payload_format && c->version == MQTT_V5 &&
               !mqtt_payload_format_holds(&c->will_props, c->will_payload)) {
        pg_conn_close(conn, PG_PAYLOAD_INVALID, "the will; see mqtt.check_payload_format");
    } else if (c->client_id.len == 0 && !may_lack_id(c, conf)) {
        pg_conn_close(conn, PG_CLIENT_ID_INVALID, "empty; see mqtt.empty_client_id");
    } else {
        return true;
    }
    return false;
}

/* What must be remembered of CONNECT. */
static void keep(struct mqtt_conn *m, const struct mqtt_conf *conf, const struct mqtt_connect *c)
{
    const struct mqtt_props *props = &c->props;
    m->keepalive_s = c->keepalive_s;
    m->session_expiry_s = c->clean_start ? 0 : PG_FOREVER;
    if (c->version != MQTT_V5) {
        return;
    }
    m->session_expiry_s =
        mqtt_props_has(props, MQTT_PROP_SESSION_EXPIRY) ? props->session_expiry_s : 0;
    m->session_ends = m->session_expiry_s == 0;
    if (mqtt_props_has(props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM)) {
        m->alias_send = props->topic_alias_maximum < conf->topic_alias_send
                            ? props->topic_alias_maximum
                            : (uint16_t)conf->topic_alias_send;
    }
    m->no_problem_info =
        !conf->reason_strings ||
        (mqtt_props_has(props, MQTT_PROP_REQUEST_PROBLEM) && props->request_problem == 0);
    m->wants_response =
        mqtt_props_has(props, MQTT_PROP_REQUEST_RESPONSE) && props->request_response == 1;
    int64_t keepalive_max_s = conf->keepalive_max / 1000;
    if (keepalive_max_s > 0 && (m->keepalive_s == 0 || m->keepalive_s > keepalive_max_s)) {
        m->keepalive_s = (uint16_t)keepalive_max_s;
        m->server_keepalive = true;
    }
}

static void ask_admission(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_connect *c)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    struct assigned_id assigned;
    struct pg_login login = {
        .client_id = c->client_id,
        .username = c->username,
        .password = c->password,
        .clean_start = c->clean_start,
        .session_expiry_s = m->session_expiry_s,
        .window = mqtt_props_has(&c->props, MQTT_PROP_RECEIVE_MAXIMUM) ? c->props.receive_maximum
                                                                       : UINT16_MAX,
    };
    if (c->client_id.len == 0) {
        const char *prefix = pg_conn_assigned_id_prefix(conn);
        if (!assign_id(&assigned, prefix[0] != '\0' ? prefix : conf->assigned_id_prefix)) {
            pg_conn_close(conn, PG_BUSY, "no random numbers for a client identifier");
            return;
        }
        login.client_id = pg_bytes_str(assigned.text);
        m->assigned_id = true;
    }
    PG_LOG(PG_DEBUG, "mqtt_connect", PG_F_BYTES("client", login.client_id),
           PG_F_TEXT("peer", pg_conn_peer(conn)), PG_F_INT("version", c->version),
           PG_F_TEXT("clean_start", c->clean_start ? "yes" : "no"),
           PG_F_INT("keepalive", c->keepalive_s), PG_F_TEXT("will", c->has_will ? "yes" : "no"));
    if (mqtt_props_has(&c->props, MQTT_PROP_AUTH_METHOD)) {
        if (!mqtt_method_keep(m, c->props.auth_method)) {
            pg_conn_close(conn, PG_NO_MEMORY, "for an authentication method");
            return;
        }
        m->exchange = MQTT_EXCHANGE_JUDGED;
        login.method = c->props.auth_method;
        if (mqtt_props_has(&c->props, MQTT_PROP_AUTH_DATA)) {
            login.method_data = c->props.auth_data;
        }
    }
    struct pg_msg_spec will;
    struct mqtt_user_room room;
    if (c->has_will) {
        if (!mqtt_spec_fill(&will, &c->will_props, &room)) {
            pg_conn_close(conn, PG_NO_MEMORY, "for the user properties of a will");
            return;
        }
        will.topic = c->will_topic;
        will.topic_valid = true; /* by mqtt_decode_connect() */
        will.payload = c->will_payload;
        will.qos = c->will_qos;
        will.retain = c->will_retain;
        will.publisher = login.client_id;
        login.will = &will;
        if (mqtt_props_has(&c->will_props, MQTT_PROP_WILL_DELAY)) {
            login.will_delay_s = c->will_props.will_delay_s;
        }
    }
    pg_conn_pause(conn);
    pg_client_admit(conn, &login, m);
    if (c->has_will) {
        mqtt_user_room_free(&room);
    }
}

void mqtt_on_connect(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    struct mqtt_connect c;
    enum mqtt_error error = mqtt_decode_connect(frame, &c);
    m->state = MQTT_CONNECTING;
    m->version = (uint8_t)c.version;
    if (error == MQTT_E_PROTOCOL_LEVEL) {
        /* In the form of the version that is served and nearest [MQTT-3.1.2-2]. */
        m->version = c.level > MQTT_V5 ? MQTT_V5 : MQTT_V311;
    }
    /* Also for the answer to a CONNECT that is wrong behind it [MQTT-3.2.2-19]. */
    if (mqtt_props_has(&c.props, MQTT_PROP_MAXIMUM_PACKET_SIZE) &&
        c.props.maximum_packet_size > 0) {
        m->max_packet_size = c.props.maximum_packet_size;
    }
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    keep(m, conf, &c);
    if (allowed(conn, conf, &c)) {
        ask_admission(conn, m, &c);
    }
}

/* ---- CONNACK --------------------------------------------------------------------------------- */

static void set_flag_if_off(struct mqtt_props *props, enum mqtt_prop id, uint8_t *value, bool on)
{
    if (!on) {
        *value = 0;
        mqtt_props_set(props, id);
    }
}

/* What an MQTT 5 client must know, where it differs from what it assumes (3.2.2.3). */
static void tell(struct pg_conn *conn, const struct mqtt_conn *m, struct mqtt_props *props)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    uint32_t expiry = pg_client_session_expiry(mqtt_client_of(m));
    if (expiry != m->session_expiry_s) {
        props->session_expiry_s = expiry;
        mqtt_props_set(props, MQTT_PROP_SESSION_EXPIRY);
    }
    if (conf->receive_maximum < UINT16_MAX) {
        props->receive_maximum = (uint16_t)conf->receive_maximum;
        mqtt_props_set(props, MQTT_PROP_RECEIVE_MAXIMUM);
    }
    if (conf->max_qos < 2) {
        props->maximum_qos = (uint8_t)conf->max_qos;
        mqtt_props_set(props, MQTT_PROP_MAXIMUM_QOS);
    }
    size_t most = mqtt_packet_limit(conn, true);
    if (most < MQTT_PACKET_MAX) {
        props->maximum_packet_size = (uint32_t)most;
        mqtt_props_set(props, MQTT_PROP_MAXIMUM_PACKET_SIZE);
    }
    if (m->assigned_id) {
        props->assigned_client_id = pg_client_id(mqtt_client_of(m));
        mqtt_props_set(props, MQTT_PROP_ASSIGNED_CLIENT_ID);
    }
    if (conf->topic_alias_max > 0) {
        props->topic_alias_maximum = (uint16_t)conf->topic_alias_max;
        mqtt_props_set(props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM);
    }
    if (m->server_keepalive) {
        props->server_keep_alive_s = m->keepalive_s;
        mqtt_props_set(props, MQTT_PROP_SERVER_KEEP_ALIVE);
    }
    if (m->wants_response && conf->response_information[0] != '\0') {
        props->response_information = pg_bytes_str(conf->response_information);
        mqtt_props_set(props, MQTT_PROP_RESPONSE_INFORMATION);
    }
    set_flag_if_off(props, MQTT_PROP_RETAIN_AVAILABLE, &props->retain_available,
                    conf->retain_available);
    set_flag_if_off(props, MQTT_PROP_WILDCARD_AVAILABLE, &props->wildcard_available,
                    conf->wildcard_available);
    set_flag_if_off(props, MQTT_PROP_SHARED_AVAILABLE, &props->shared_available,
                    conf->shared_available);
    set_flag_if_off(props, MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE, &props->subscription_id_available,
                    conf->subscription_id_available);
}

void mqtt_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    struct mqtt_conn *m = cookie;
    m->exchange = MQTT_EXCHANGE_NONE;
    if (admission->reason != PG_OK) {
        if (mqtt_method_of(m) != NULL && admission->reason == PG_UNSUPPORTED) {
            m->code = MQTT_RC_BAD_AUTH_METHOD; /* [MQTT-4.12.0-1] */
        } else if (mqtt_method_of(m) != NULL && admission->reason == PG_BAD_CREDENTIAL) {
            m->code = MQTT_RC_NOT_AUTHORIZED; /* 86 is about user name and password */
        } else if (admission->reason == PG_BAD_CREDENTIAL &&
                   mqtt_conf_of(conn)->denied_connect == MQTT_DENIED_AUTHORITY) {
            m->code = MQTT_RC_NOT_AUTHORIZED;
        }
        pg_conn_close(conn, admission->reason, "%s",
                      admission->server_reason != NULL ? admission->server_reason : "");
        return;
    }
    m->resumed = admission->session_present;
    struct mqtt_connack packet = {.session_present = admission->session_present,
                                  .props = MQTT_PROPS_NONE};
    if (m->version == MQTT_V5) {
        tell(conn, m, &packet.props);
        mqtt_method_tell(m, &packet.props, admission->method_data);
    }
    if (!mqtt_write_connack(conn, &packet)) {
        pg_conn_close(conn, PG_TOO_LARGE, "CONNACK is longer than the client takes");
        return;
    }
    m->state = MQTT_ONLINE;
    pg_conn_set_frame_limit(conn, mqtt_packet_limit(conn, true));
    /* One and a half times the keep-alive [MQTT-3.1.2-22]. */
    pg_conn_set_idle(conn, (int64_t)m->keepalive_s * 1500, PG_KEEPALIVE_TIMEOUT);
    pg_conn_resume(conn);
}

/* ---- DISCONNECT ------------------------------------------------------------------------------ */

void mqtt_on_disconnect(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_disconnect d;
    enum mqtt_error error =
        mqtt_decode_disconnect(frame, (enum mqtt_version)m->version, MQTT_FROM_CLIENT, &d);
    if (error == MQTT_E_REASON_CODE || error == MQTT_E_SERVER_REFERENCE_SENT) {
        m->state = MQTT_CLOSED; /* a goodbye all the same: whoever said it reads no answer */
    }
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    if (m->state == MQTT_AUTHENTICATING) {
        pg_conn_close(conn, PG_CLIENT_CLOSED, "during authentication");
        return;
    }
    if (mqtt_props_has(&d.props, MQTT_PROP_SESSION_EXPIRY)) {
        if (m->session_ends && d.props.session_expiry_s != 0) {
            pg_conn_close(conn, PG_PROTOCOL_ERROR,
                          "DISCONNECT raises a session expiry of 0 (MQTT 3.14.2.2.2)");
            return;
        }
        pg_client_set_session_expiry(mqtt_client_of(m), d.props.session_expiry_s);
    }
    if (d.code == MQTT_RC_SUCCESS) {
        pg_client_drop_will(mqtt_client_of(m));
    }
    pg_conn_close(conn, PG_CLIENT_CLOSED, "%s", d.code != 0 ? mqtt_code_name(d.code) : "");
}
