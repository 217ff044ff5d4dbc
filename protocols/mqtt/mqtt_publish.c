/* SPDX-License-Identifier: Apache-2.0 */

/* Between the properties of MQTT 5 and those of the core's messages.
 *
 * What the standard tells a server to forward unaltered goes through here and back: payload format,
 * content type, response topic, correlation data, and user properties in their order
 * [MQTT-3.3.2-4, -15, -16, -17, -18, -20]. Message expiry becomes a deadline; topic alias and
 * subscription identifiers end here.
 *
 * No state; any thread. Standard: MQTT 5.0, 3.1.3.2, 3.3.2.3. */

#include "mqtt_publish.h"

#include <stdlib.h>

/* Member by member: a string instruction that clears the whole takes longer than all the rest. */
static void no_spec(struct pg_msg_spec *spec)
{
    spec->topic = PG_BYTES_NONE;
    spec->payload = PG_BYTES_NONE;
    spec->qos = 0;
    spec->retain = false;
    spec->topic_valid = false;
    spec->expires = false;
    spec->expiry_s = 0;
    spec->publisher = PG_BYTES_NONE;
    spec->protocol = "mqtt";
    spec->props.payload_is_utf8 = false;
    spec->props.payload_is_bytes = false;
    spec->props.content_type = PG_BYTES_NONE;
    spec->props.response_topic = PG_BYTES_NONE;
    spec->props.correlation_data = PG_BYTES_NONE;
    spec->props.user = NULL;
    spec->props.user_count = 0;
}

bool mqtt_spec_fill(struct pg_msg_spec *spec, const struct mqtt_props *props,
                    struct mqtt_user_room *room)
{
    no_spec(spec);
    room->many = NULL;
    if (props->present == 0) {
        return true;
    }
    if (mqtt_props_has(props, MQTT_PROP_PAYLOAD_FORMAT)) {
        spec->props.payload_is_utf8 = props->payload_format == 1;
        spec->props.payload_is_bytes = props->payload_format == 0;
    }
    if (mqtt_props_has(props, MQTT_PROP_MESSAGE_EXPIRY)) {
        spec->expires = true;
        spec->expiry_s = props->message_expiry_s;
    }
    if (mqtt_props_has(props, MQTT_PROP_CONTENT_TYPE)) {
        spec->props.content_type = props->content_type;
    }
    if (mqtt_props_has(props, MQTT_PROP_RESPONSE_TOPIC)) {
        spec->props.response_topic = props->response_topic;
    }
    if (mqtt_props_has(props, MQTT_PROP_CORRELATION_DATA)) {
        spec->props.correlation_data = props->correlation_data;
    }
    if (props->user_count > 0) {
        struct pg_property *list = room->few;
        if (props->user_count > MQTT_USER_ROOM) {
            list = room->many = calloc(props->user_count, sizeof(*list));
            if (list == NULL) {
                return false;
            }
        }
        size_t n = 0;
        for (size_t at = 0; n < props->user_count && mqtt_props_user_next(props, &at, &list[n]);) {
            n++;
        }
        spec->props.user = list;
        spec->props.user_count = n;
    }
    return true;
}

void mqtt_user_room_free(struct mqtt_user_room *room)
{
    free(room->many);
    room->many = NULL;
}

void mqtt_props_of_msg(const struct pg_msg_props *from, struct mqtt_props *out)
{
    *out = MQTT_PROPS_NONE;
    if (from->payload_is_utf8 || from->payload_is_bytes) {
        out->payload_format = from->payload_is_utf8 ? 1 : 0;
        mqtt_props_set(out, MQTT_PROP_PAYLOAD_FORMAT);
    }
    if (from->content_type.data != NULL) {
        out->content_type = from->content_type;
        mqtt_props_set(out, MQTT_PROP_CONTENT_TYPE);
    }
    if (from->response_topic.data != NULL) {
        out->response_topic = from->response_topic;
        mqtt_props_set(out, MQTT_PROP_RESPONSE_TOPIC);
    }
    if (from->correlation_data.data != NULL) {
        out->correlation_data = from->correlation_data;
        mqtt_props_set(out, MQTT_PROP_CORRELATION_DATA);
    }
    if (from->user_count > 0) {
        out->user = from->user;
        out->user_count = (uint32_t)from->user_count;
        mqtt_props_set(out, MQTT_PROP_USER);
    }
}

bool mqtt_payload_format_holds(const struct mqtt_props *props, struct pg_bytes payload)
{
    /* U+0000 is a character like any other in a payload: the rule of 1.5.4 is one for strings. */
    return !mqtt_props_has(props, MQTT_PROP_PAYLOAD_FORMAT) || props->payload_format != 1 ||
           pg_utf8_valid(payload);
}
