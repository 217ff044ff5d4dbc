/* SPDX-License-Identifier: Apache-2.0 */

/* Enhanced authentication: AUTH, and the exchange that it belongs to.
 *
 *   CONNECT (method) ---> core ---challenge---> AUTH 18 ---> client ---> AUTH 18 ---> core ...
 *                          |                                                           |
 *                          +----------------------- admitted ---> CONNACK <------------+
 *
 * A client that is connected may begin another exchange with AUTH 19; meanwhile everything else
 * goes on, and AUTH 00 or DISCONNECT tells the result. The method is the one of CONNECT in all of
 * them [MQTT-4.12.0-5, 4.12.1-1]. What is exchanged is the matter of an authenticator.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.15, 4.12. */

#include <stdlib.h>
#include <string.h>

#include "mqtt_conn.h"

bool mqtt_method_keep(struct mqtt_conn *m, struct pg_bytes method)
{
    struct mqtt_extras *extras = mqtt_extras_of(m);
    struct mqtt_method *kept = extras != NULL ? malloc(sizeof(*kept) + method.len) : NULL;
    if (kept == NULL) {
        return false;
    }
    kept->len = (uint16_t)method.len;
    if (method.len > 0) {
        memcpy(kept->text, method.data, method.len);
    }
    extras->method = kept;
    return true;
}

void mqtt_method_tell(const struct mqtt_conn *m, struct mqtt_props *props, struct pg_bytes data)
{
    const struct mqtt_method *method = mqtt_method_of(m);
    if (method == NULL) {
        return;
    }
    props->auth_method = (struct pg_bytes){.data = method->text, .len = method->len};
    mqtt_props_set(props, MQTT_PROP_AUTH_METHOD);
    if (data.data != NULL) {
        props->auth_data = data;
        mqtt_props_set(props, MQTT_PROP_AUTH_DATA);
    }
}

static void write_auth(struct pg_conn *conn, const struct mqtt_conn *m, uint8_t code,
                       struct pg_bytes data)
{
    struct mqtt_props props = MQTT_PROPS_NONE;
    mqtt_method_tell(m, &props, data);
    if (!mqtt_write_auth(conn, code, &props)) {
        pg_conn_close(conn, PG_TOO_LARGE, "AUTH is longer than the client takes");
    }
}

void mqtt_challenge(struct pg_conn *conn, struct pg_bytes data, void *cookie)
{
    struct mqtt_conn *m = cookie;
    write_auth(conn, m, MQTT_RC_CONTINUE_AUTHENTICATION, data);
    m->exchange = MQTT_EXCHANGE_CHALLENGED;
    if (m->state == MQTT_CONNECTING) {
        m->state = MQTT_AUTHENTICATING;
        pg_conn_resume(conn);
    }
}

void mqtt_reauthenticated(struct pg_client *client, enum pg_reason reason, struct pg_bytes data)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    m->exchange = MQTT_EXCHANGE_NONE;
    if (reason == PG_OK) {
        write_auth(conn, m, MQTT_RC_SUCCESS, data);
    } else {
        pg_conn_close(conn, reason, "reauthentication");
    }
}

/* Whether this AUTH is the one that is due. */
static bool expected(const struct mqtt_conn *m, uint8_t code)
{
    if (code == MQTT_RC_REAUTHENTICATE) {
        return m->state == MQTT_ONLINE && m->exchange == MQTT_EXCHANGE_NONE;
    }
    return m->exchange == MQTT_EXCHANGE_CHALLENGED;
}

void mqtt_on_auth(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_disconnect packet;
    enum mqtt_error error =
        mqtt_decode_auth(frame, (enum mqtt_version)m->version, MQTT_FROM_CLIENT, &packet);
    if (error == MQTT_E_OK && (mqtt_method_of(m) == NULL || !expected(m, packet.code))) {
        error = MQTT_E_NOT_EXPECTED; /* without a method in CONNECT: [MQTT-4.12.0-7] */
    }
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    const struct pg_bytes method = {.data = mqtt_method_of(m)->text, .len = mqtt_method_of(m)->len};
    if (!pg_bytes_equal(packet.props.auth_method, method)) {
        mqtt_close_error(conn, frame, MQTT_E_AUTH_METHOD_CHANGED);
        return;
    }
    const struct pg_bytes data =
        mqtt_props_has(&packet.props, MQTT_PROP_AUTH_DATA) ? packet.props.auth_data : PG_BYTES_NONE;
    m->exchange = MQTT_EXCHANGE_JUDGED;
    if (m->state == MQTT_AUTHENTICATING) {
        m->state = MQTT_CONNECTING;
        pg_conn_pause(conn);
    }
    bool taken = packet.code == MQTT_RC_REAUTHENTICATE
                     ? pg_client_reauthenticate(mqtt_client_of(m), method, data)
                     : pg_client_answer(conn, m, data);
    if (!taken) {
        pg_conn_close(conn, PG_INTERNAL, "nobody waits for this AUTH");
    }
}
