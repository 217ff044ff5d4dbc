/* SPDX-License-Identifier: Apache-2.0 */

/* SUBSCRIBE, UNSUBSCRIBE, PINGREQ.
 *
 * A SUBSCRIBE is judged as a whole before any of its filters takes effect (the decoder does), then
 * each filter is asked of the core. SUBACK leaves when the last answer is there, with one code for
 * each filter in their order [MQTT-3.8.4-6]; while one is out the state is MQTT_SUBSCRIBING and
 * nothing more is read, so that what comes behind the SUBSCRIBE finds it done.
 *
 * UNSUBSCRIBE goes the same way.
 *
 * An invalid filter is refused by its code in MQTT 5; the versions before have no such code and
 * close the connection. Nothing of a refused filter is stored.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.8 to 3.13, 4.7, 4.8; MQTT 3.1.1, 3.8 to
 * 3.12. */

#include <stdlib.h>
#include <string.h>

#include "mqtt_conn.h"
#include "mqtt_reason.h"
#include "mqtt_text.h"

#define SHARED_PREFIX "$share/"

static bool is_shared(struct pg_bytes filter)
{
    return filter.len >= sizeof(SHARED_PREFIX) - 1 &&
           memcmp(filter.data, SHARED_PREFIX, sizeof(SHARED_PREFIX) - 1) == 0;
}

static size_t count_filters(const struct mqtt_subscribe *packet, enum mqtt_type type)
{
    struct mqtt_filter filter;
    size_t n = 0;
    for (size_t at = 0; mqtt_filter_next(packet, type, &at, &filter);) {
        n++;
    }
    return n;
}

/* The code of a filter that is refused before the core is asked; 0: it is not. */
static uint8_t refusal(const struct mqtt_conf *conf, struct pg_bytes filter)
{
    if (pg_topic_filter_valid(filter) != PG_OK) {
        return MQTT_RC_TOPIC_FILTER_INVALID;
    }
    if (!conf->shared_available && is_shared(filter)) {
        return MQTT_RC_SHARED_NOT_SUPPORTED;
    }
    if (!conf->wildcard_available && (mqtt_text_check(filter) & MQTT_TEXT_WILDCARD) != 0) {
        return MQTT_RC_WILDCARD_NOT_SUPPORTED;
    }
    return 0;
}

/* Clients before MQTT 5 know one failure only [MQTT-3.9.3-2]. */
static uint8_t suback_code(struct pg_conn *conn, enum pg_reason reason, uint8_t granted_qos)
{
    int denied = mqtt_conf_of(conn)->denied_subscribe;
    if (reason == PG_OK || (reason == PG_NOT_AUTHORIZED && denied == MQTT_DENIED_CONCEALED)) {
        return granted_qos;
    }
    if (mqtt_conn_of(conn)->version != MQTT_V5) {
        return MQTT_RC3_SUBSCRIBE_FAILURE;
    }
    if (reason == PG_NOT_AUTHORIZED && denied == MQTT_DENIED_UNSPECIFIED) {
        return MQTT_RC_UNSPECIFIED_ERROR;
    }
    return mqtt_reason_codes(reason)->suback;
}

/* SUBACK or UNSUBACK, and back to reading. */
static void answer(struct pg_conn *conn, struct mqtt_conn *m)
{
    struct mqtt_subscribing *s = m->extras->subscribing;
    m->extras->subscribing = NULL;
    mqtt_extras_settle(m);
    if (!mqtt_write_suback(conn, s->ends ? MQTT_UNSUBACK : MQTT_SUBACK, s->packet_id,
                           (struct pg_bytes){.data = s->codes, .len = s->count}, s->why)) {
        pg_conn_close(conn, PG_TOO_LARGE, "%s is longer than the client takes",
                      s->ends ? "UNSUBACK" : "SUBACK");
    }
    free(s);
    if (m->state == MQTT_SUBSCRIBING) {
        m->state = MQTT_ONLINE;
        pg_conn_resume(conn);
    }
}

/* The reason string of a SUBACK is about its first refusal. `why` is static. */
static void refused_for(struct mqtt_subscribing *s, const char *why)
{
    if (s->why == NULL) {
        s->why = why;
    }
}

/* What the core says about filter number `i`, which is granted `qos` if it is. */
static void judged(struct pg_conn *conn, struct mqtt_subscribing *s, size_t i,
                   enum pg_reason reason, uint8_t qos)
{
    s->codes[i] = suback_code(conn, reason, qos);
    if (reason == PG_FILTER_INVALID && mqtt_closes_for_topics(conn)) {
        mqtt_close_topic(conn, reason, "SUBSCRIBE; see limits.topic_levels");
    } else if (s->codes[i] >= MQTT_RC_UNSPECIFIED_ERROR) {
        refused_for(s, s->codes[i] == MQTT_RC_UNSPECIFIED_ERROR ? mqtt_code_name(s->codes[i])
                                                                : pg_reason_sentence(reason));
    }
}

static struct mqtt_subscribing *subscribing_new(uint16_t packet_id, size_t count)
{
    struct mqtt_subscribing *s = calloc(1, sizeof(*s) + count);
    if (s != NULL) {
        s->packet_id = packet_id;
        s->count = count;
    }
    return s;
}

/* Every filter has been asked for: answer, or wait for the core's answers. */
static void asked_all(struct pg_conn *conn, struct mqtt_conn *m)
{
    if (pg_conn_closing(conn)) {
        return;
    }
    if (m->extras->subscribing->open == 0) {
        answer(conn, m);
    } else {
        m->state = MQTT_SUBSCRIBING;
        pg_conn_pause(conn);
    }
}

void mqtt_on_subscribe(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    struct mqtt_subscribe packet;
    enum mqtt_error error = mqtt_decode_subscribe(frame, (enum mqtt_version)m->version, &packet);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    uint32_t id = 0;
    size_t id_at = 0;
    if (mqtt_props_subscription_id_next(&packet.props, &id_at, &id) &&
        !conf->subscription_id_available) {
        mqtt_close_code(conn, PG_UNSUPPORTED, MQTT_RC_SUBSCRIPTION_ID_NOT_SUPPORTED,
                        "subscription identifier; see mqtt.subscription_id_available");
        return;
    }
    struct mqtt_extras *extras = mqtt_extras_of(m);
    struct mqtt_subscribing *s =
        extras != NULL ? subscribing_new(packet.packet_id, count_filters(&packet, MQTT_SUBSCRIBE))
                       : NULL;
    if (s == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a SUBSCRIBE");
        return;
    }
    extras->subscribing = s;
    struct mqtt_filter f;
    size_t i = 0;
    for (size_t at = 0; mqtt_filter_next(&packet, MQTT_SUBSCRIBE, &at, &f); i++) {
        uint8_t refused = refusal(conf, f.filter);
        if (refused == MQTT_RC_TOPIC_FILTER_INVALID &&
            (m->version != MQTT_V5 || mqtt_closes_for_topics(conn))) {
            mqtt_close_topic(conn, PG_FILTER_INVALID, "SUBSCRIBE (MQTT 4.7.1, 4.8.2)");
            return;
        }
        if (refused != 0) {
            s->codes[i] = m->version == MQTT_V5 ? refused : (uint8_t)MQTT_RC3_SUBSCRIBE_FAILURE;
            refused_for(s, mqtt_code_name(refused));
            continue;
        }
        const struct pg_subscription sub = {
            .filter = f.filter,
            .qos = f.qos < conf->max_qos ? f.qos : (uint8_t)conf->max_qos,
            .no_local = f.no_local,
            .retain_as_published = f.retain_as_published,
            .retain_handling = f.retain_handling,
            .id = id,
        };
        enum pg_reason reason = pg_subscribe(mqtt_client_of(m), &sub, i);
        if (reason == PG_PENDING) {
            s->codes[i] = sub.qos; /* what is granted, if it is */
            s->open++;
        } else {
            judged(conn, s, i, reason, sub.qos);
            if (pg_conn_closing(conn)) {
                return;
            }
        }
    }
    asked_all(conn, m);
}

/* An answer of the core that is awaited; NULL: nobody waits for it. */
static struct mqtt_subscribing *awaited(const struct mqtt_conn *m, uint64_t token, bool ends)
{
    struct mqtt_subscribing *s = m->extras != NULL ? m->extras->subscribing : NULL;
    bool waits = m->state == MQTT_SUBSCRIBING && s != NULL && s->ends == ends && token < s->count;
    return waits ? s : NULL;
}

void mqtt_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    struct mqtt_subscribing *s = awaited(m, token, false);
    if (s == NULL) {
        return;
    }
    judged(conn, s, (size_t)token, reason, s->codes[token]);
    s->open--;
    if (s->open == 0 && !pg_conn_closing(conn)) {
        answer(conn, m);
    }
}

/* What the core says about filter number `i`. Before MQTT 5 there is no word for a refusal: the
 * client is to ask again. */
static void ended(struct pg_conn *conn, struct mqtt_subscribing *s, size_t i, enum pg_reason reason)
{
    s->codes[i] = MQTT_RC_SUCCESS;
    if (reason == PG_NO_SUBSCRIPTION) {
        s->codes[i] = MQTT_RC_NO_SUBSCRIPTION_EXISTED;
    } else if (reason != PG_OK && mqtt_conn_of(conn)->version != MQTT_V5) {
        pg_conn_close(conn, reason, "an UNSUBSCRIBE that cannot be refused otherwise");
    } else if (reason != PG_OK) {
        s->codes[i] = mqtt_reason_codes(reason)->suback;
        refused_for(s, pg_reason_sentence(reason));
    }
}

void mqtt_on_unsubscribe(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    struct mqtt_subscribe packet;
    enum mqtt_error error = mqtt_decode_subscribe(frame, (enum mqtt_version)m->version, &packet);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    struct mqtt_extras *extras = mqtt_extras_of(m);
    struct mqtt_subscribing *s =
        extras != NULL ? subscribing_new(packet.packet_id, count_filters(&packet, MQTT_UNSUBSCRIBE))
                       : NULL;
    if (s == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for an UNSUBSCRIBE");
        return;
    }
    s->ends = true;
    extras->subscribing = s;
    struct mqtt_filter f;
    size_t i = 0;
    for (size_t at = 0; mqtt_filter_next(&packet, MQTT_UNSUBSCRIBE, &at, &f); i++) {
        if (pg_topic_filter_valid(f.filter) == PG_OK) {
            enum pg_reason reason = pg_unsubscribe(mqtt_client_of(m), f.filter, i);
            if (reason == PG_PENDING) {
                s->open++;
            } else {
                ended(conn, s, i, reason);
            }
        } else if (m->version == MQTT_V5) {
            s->codes[i] = MQTT_RC_TOPIC_FILTER_INVALID;
            refused_for(s, mqtt_code_name(s->codes[i]));
        } else {
            pg_conn_close(conn, PG_FILTER_INVALID, "UNSUBSCRIBE (MQTT 4.7.1, 4.8.2)");
            return;
        }
    }
    asked_all(conn, m);
}

void mqtt_unsubscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct mqtt_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    struct mqtt_subscribing *s = awaited(m, token, true);
    if (s == NULL) {
        return;
    }
    ended(conn, s, (size_t)token, reason);
    s->open--;
    if (s->open == 0 && !pg_conn_closing(conn)) {
        answer(conn, m);
    }
}

void mqtt_on_pingreq(struct pg_conn *conn, struct mqtt_conn *m, const struct mqtt_frame *frame)
{
    (void)m;
    enum mqtt_error error = mqtt_decode_empty(frame);
    if (error != MQTT_E_OK) {
        mqtt_close_error(conn, frame, error);
        return;
    }
    pg_conn_count(conn, MQTT_COUNT_PINGS, 1);
    mqtt_write_pingresp(conn);
}
