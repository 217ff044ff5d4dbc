/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_PUBLISH_H
#define MQTT_PUBLISH_H

/* The properties of a PUBLISH or will in the words of the core, and back. */

#include "mqtt_codec.h"
#include "polygate.h"

/* User properties of one message while it is made: few on the stack, more on the heap. */
#define MQTT_USER_ROOM 16u
struct mqtt_user_room {
    struct pg_property few[MQTT_USER_ROOM];
    struct pg_property *many; /* NULL unless needed */
};

/* Start a spec from decoded properties: everything but topic, payload, QoS, retain and publisher.
 * `props` and `room` are lent as long as the spec is used. false: out of memory. */
bool mqtt_spec_fill(struct pg_msg_spec *spec, const struct mqtt_props *props,
                    struct mqtt_user_room *room);
void mqtt_user_room_free(struct mqtt_user_room *room);

/* The properties of a message that every subscriber gets alike, to be encoded. */
void mqtt_props_of_msg(const struct pg_msg_props *from, struct mqtt_props *out);

/* Whether a payload is what its Payload Format Indicator says (5.0, 3.3.2.3.2). */
bool mqtt_payload_format_holds(const struct mqtt_props *props, struct pg_bytes payload);

#endif
