/* SPDX-License-Identifier: Apache-2.0 */

/* What the platform says by itself: the answers that the standard demands, and the presence
 * messages.
 *
 * An answer has the start mark, command, id and encryption flag of the request, another response
 * flag, and of its unit the message time alone: that is how chapter 6 of both editions has it.
 * Annex B of 2016 can be read as wanting the whole unit back with the time of the answer; terminals
 * made to that are served by `answer_form = echo`.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: 6.3.2, Annex B
 */

#include <stdio.h>
#include <string.h>

#include "gbt32960_parts.h"
#include "wire/device.h"

enum gbt_response gbt_response_of(enum pg_reason reason, unsigned edition)
{
    bool later = edition == GBT_2025;

    switch (reason) {
    case PG_OK:
    case PG_NO_SUBSCRIBERS:
    case PG_DUPLICATE:
        return GBT_SUCCESS;
    case PG_MALFORMED:
    case PG_PAYLOAD_INVALID:
        return later ? GBT_STRUCTURE_ERROR : GBT_ERROR;
    case PG_CLIENT_ID_INVALID:
    case PG_NOT_AUTHORIZED:
    case PG_BAD_CREDENTIAL:
        return later ? GBT_VIN_UNKNOWN : GBT_ERROR;
    default:
        return GBT_ERROR;
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

void gbt_send(struct gbt_conn *c, const struct gbt_frame *frame)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    size_t len = gbt_frame_encode(frame, NULL, 0);
    uint8_t large[1024];

    gbt_count(c, GBT_COUNT_FRAMES_SENT);
    if (len <= PG_RESERVE_MAX) {
        uint8_t *room = pg_conn_reserve(conn, len);
        pg_conn_commit(conn, gbt_frame_encode(frame, room, len));
        return;
    }
    /* Only an echo of a long unit gets here: head, unit and check code one after the other. */
    struct gbt_frame head = *frame;
    uint8_t check = 0;
    head.unit = PG_BYTES_NONE;
    size_t n = gbt_frame_encode(&head, large, sizeof(large)) - 1;
    large[n - 2] = (uint8_t)(frame->unit.len >> 8);
    large[n - 1] = (uint8_t)frame->unit.len;
    for (size_t i = 2; i < n; i++) {
        check ^= large[i];
    }
    for (size_t i = 0; i < frame->unit.len; i++) {
        check ^= frame->unit.data[i];
    }
    pg_conn_append(conn, (struct pg_bytes){.data = large, .len = n});
    pg_conn_append(conn, frame->unit);
    pg_conn_append(conn, (struct pg_bytes){.data = &check, .len = 1});
}

struct gbt_request gbt_request_of(const struct gbt_frame *frame)
{
    struct gbt_request request = {
        .edition = frame->edition, .command = frame->command, .encryption = frame->encryption};

    memcpy(request.id, frame->id, sizeof(request.id));
    request.has_time = frame->unit.len >= sizeof(request.time) && !gbt_frame_is_opaque(frame) &&
                       frame->command != GBT_HEARTBEAT && frame->command != GBT_KEY_EXCHANGE;
    if (request.has_time) {
        memcpy(request.time, frame->unit.data, sizeof(request.time));
    }
    return request;
}

/* Encrypted as the request was, where both sides have the key. */
static void send_sealed(struct gbt_conn *c, struct gbt_frame *frame, uint8_t *room)
{
    char vin[GBT_ID_TEXT];

    if (frame->encryption != GBT_PLAIN) {
        gbt_id_text(frame->id, vin);
        gbt_seal(c, gbt_fleet_find(c, vin), frame, room);
    }
    gbt_send(c, frame);
}

void gbt_answer(struct gbt_conn *c, const struct gbt_request *request, enum gbt_response response)
{
    uint8_t room[sizeof(request->time) + GBT_SEALED_ROOM];
    struct gbt_frame answer = {
        .edition = request->edition,
        .command = request->command,
        .response = (uint8_t)response,
        .encryption = request->encryption,
        .unit = {.data = request->time, .len = request->has_time ? sizeof(request->time) : 0},
    };

    memcpy(answer.id, request->id, sizeof(answer.id));
    send_sealed(c, &answer, room);
}

void gbt_answer_frame(struct gbt_conn *c, const struct gbt_frame *frame, enum gbt_response response)
{
    static _Thread_local uint8_t unit[GBT_UNIT_MAX];
    struct gbt_request request = gbt_request_of(frame);
    struct gbt_frame answer = *frame;

    if (gbt_frame_is_answer(frame)) {
        return;
    }
    if (gbt_conf_of(c)->answer_form != GBT_ANSWER_FORM_ECHO || !request.has_time ||
        frame->decrypted) {
        gbt_answer(c, &request, response);
        return;
    }
    memcpy(unit, frame->unit.data, frame->unit.len);
    gbt_time_bytes(pg_wall_ms(), unit);
    answer.unit.data = unit;
    answer.response = (uint8_t)response;
    gbt_send(c, &answer);
}

void gbt_answer_heartbeat(struct gbt_conn *c, const struct gbt_frame *frame)
{
    struct gbt_frame answer = *frame;

    if (!gbt_frame_is_answer(frame)) {
        answer.response = GBT_SUCCESS;
        answer.unit = PG_BYTES_NONE;
        gbt_send(c, &answer);
    }
}

void gbt_answer_time(struct gbt_conn *c, const struct gbt_frame *frame)
{
    struct gbt_frame answer = *frame;
    uint8_t time[6], room[sizeof(time) + GBT_SEALED_ROOM];

    if (!gbt_frame_is_answer(frame)) {
        gbt_time_bytes(pg_wall_ms(), time);
        answer.response = GBT_SUCCESS;
        answer.unit = (struct pg_bytes){.data = time, .len = sizeof(time)};
        send_sealed(c, &answer, room);
    }
}

void gbt_answer_activation(struct gbt_conn *c, const struct gbt_frame *frame, uint8_t status,
                           uint8_t info)
{
    const uint8_t unit[2] = {status, info};
    struct gbt_frame answer = *frame;

    answer.command = GBT_ACTIVATION_RESPONSE;
    answer.response = GBT_COMMAND;
    answer.encryption = GBT_PLAIN;
    answer.unit = (struct pg_bytes){.data = unit, .len = sizeof(unit)};
    gbt_send(c, &answer);
}

/* ---- topics --------------------------------------------------------------------------------- */

struct pg_bytes gbt_topic(const char *pattern, const char *vin, const char *message,
                          uint8_t command, char *room, size_t size)
{
    char id[3];

    (void)snprintf(id, sizeof(id), "%02x", command);
    const struct wire_fill fills[] = {
        {"${vin}", vin},
        {"${id}", id},
        {"${message}", message ? message : id},
    };
    return wire_topic(pattern, fills, sizeof(fills) / sizeof(fills[0]), room, size);
}

/* ---- presence ------------------------------------------------------------------------------- */

static void put_word(struct json_out *out, const char *key, const char *value)
{
    json_out_key(out, key);
    json_out_text(out, value, strlen(value));
}

/* Retained, so that whoever subscribes later sees which vehicles are there. */
static void announce(struct gbt_vehicle *v, const char *status, const char *cause)
{
    struct gbt_conn *c = v->conn;
    char topic[GBT_TOPIC_MAX], text[512], time[GBT_TIME_TEXT];
    struct json_out out = json_out_over(text, sizeof(text));

    gbt_time_text(pg_wall_ms(), true, time);
    json_out_open(&out, '{');
    put_word(&out, "protocol", "gbt32960");
    put_word(&out, "vin", v->vin);
    put_word(&out, "status", status);
    if (cause) {
        put_word(&out, "cause", cause);
    } else {
        put_word(&out, "edition", v->edition == GBT_2025 ? "2025" : "2016");
        put_word(&out, "peer", pg_conn_peer(pg_conn_of_state(c)));
        if (c->platform && c->platform != v) {
            put_word(&out, "platform", c->platform->vin);
        }
    }
    put_word(&out, "time", time);
    json_out_close(&out, '}');

    struct pg_msg_spec spec = {
        .topic = gbt_topic(gbt_conf_of(c)->status_topic, v->vin, NULL, 0, topic, sizeof(topic)),
        .payload = {.data = (const uint8_t *)text, .len = out.len},
        .qos = 1,
        .retain = true,
        .publisher = pg_bytes_str(v->vin),
        .protocol = "gbt32960",
        .props = {.payload_is_utf8 = true, .content_type = PG_BYTES_OF("application/json")},
    };
    struct pg_msg *msg = spec.topic.len > 0 && !out.failed ? pg_msg_new(&spec) : NULL;
    if (msg) {
        pg_announce(msg);
    } else {
        PG_LOG(PG_ERROR, "gbt32960_presence_lost", PG_F_REASON(PG_NO_MEMORY),
               PG_F_TEXT("client", v->vin));
    }
}

void gbt_announce_online(struct gbt_vehicle *v)
{
    announce(v, "online", NULL);
}

void gbt_announce_offline(struct gbt_vehicle *v, enum pg_reason cause)
{
    announce(v, "offline", pg_reason_name(cause));
}
