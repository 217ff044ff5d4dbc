/* SPDX-License-Identifier: Apache-2.0 */

/* Handing frames of vehicles on to the platforms that they are forwarded to (gbt32960_forward.c).
 *
 * What a block wants is sent to its client by its identifier, in a message of its own whose payload
 * is the frame: how the listener's payloads look, and who may see them, has nothing to do with it.
 * It is part of the frame's publication, in that the vehicle is not told of success before the
 * frame is with the sessions of those clients, in the store if there is one.
 *
 * threads   the worker of the vehicle's connection
 * standard  GB/T 32960.3-2016, -2025: chapter 5
 */

#include <fnmatch.h>

#include "gbt32960.h"
#include "gbt32960_forward.h"
#include "gbt32960_parts.h"

static bool wants(const struct fwd_conf *conf, const char *vin)
{
    for (size_t i = 0; i < conf->vehicles.count; i++) {
        if (fnmatch(conf->vehicles.items[i], vin, 0) == 0) {
            return true;
        }
    }
    return false;
}

static struct pg_msg *message_of(struct gbt_vehicle *v, const struct gbt_frame *frame, bool plain)
{
    static _Thread_local uint8_t wire[GBT_WIRE_MAX];
    char topic[GBT_TOPIC_MAX];
    struct pg_bytes payload = frame->wire;

    if (plain) {
        struct gbt_frame readable = *frame;
        readable.encryption = GBT_PLAIN;
        payload =
            (struct pg_bytes){.data = wire, .len = gbt_frame_encode(&readable, wire, sizeof(wire))};
    }
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);
    struct pg_msg_spec spec = {
        .topic = gbt_topic(gbt_conf_of(v->conn)->uplink_topic, v->vin,
                           message ? message->name : NULL, frame->command, topic, sizeof(topic)),
        .payload = payload,
        .qos = 1,
        .publisher = pg_client_id(v->client),
        .protocol = "gbt32960",
        .props = {.content_type = PG_BYTES_OF("application/octet-stream")},
    };
    return pg_msg_new(&spec);
}

void gbt_hand_on(struct gbt_vehicle *v, const struct gbt_frame *frame, struct gbt_uplink *u)
{
    struct pg_msg *made[2] = {NULL}; /* as it came, and decrypted */
    const struct fwd_conf *conf;
    const char *client_id;

    if (frame->command > GBT_VEHICLE_LOGOUT || gbt_frame_is_answer(frame)) {
        return; /* 01 to 04 are what platforms exchange */
    }
    for (size_t i = 0; (conf = pg_call_conf(&forward_protocol, i, &client_id)) != NULL; i++) {
        if (!wants(conf, v->vin)) {
            continue;
        }
        bool plain = conf->units == FWD_UNITS_PLAIN && frame->decrypted;
        if (!made[plain]) {
            made[plain] = message_of(v, frame, plain);
        }
        gbt_uplink_note(u, made[plain] ? pg_hand_on(v->client, pg_bytes_str(client_id),
                                                    pg_msg_ref(made[plain]), u->token)
                                       : PG_NO_MEMORY);
    }
    pg_msg_unref(&made[0]);
    pg_msg_unref(&made[1]);
}
