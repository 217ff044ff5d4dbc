/* SPDX-License-Identifier: Apache-2.0 */

/* What a vehicle is sent: deliveries of its session as command frames.
 *
 * A payload is JSON (`{"message":"parameter_query","body":{...}}`), or a frame as it stands on the
 * wire, in hexadecimal or in bytes; the id is always the vehicle's. The standard has no serial
 * number for commands: an answer is matched by the VIN and the command code, so that of each code
 * one is in flight at a time and others wait behind it.
 *
 *   waiting --- nothing of this code is in flight --> sent --- answer, flag 01 (or FE) --> answered
 *                                                      | \---- answer, another flag ------> rejected
 *                                                      |--- none for `answer_timeout`: again;
 *                                                      '--- after `repetitions` ----------> timed out
 *
 * A command that timed out keeps its code closed for one more timeout, in which an answer is
 * nobody's: a late one must not be taken for that of the next command. When a command is over the
 * delivery is settled, and a message that had a response topic is answered there, with its
 * correlation data. Commands without a response topic that were under way when the connection went
 * stay with the session and are sent on the next one; a request is told "connection_lost".
 *
 * The response goes out in the gateway's own name, so a response topic that is in a namespace of
 * the gateway ($...), a vehicle's downlink topic or a P2P topic of anybody but the requester is
 * refused.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: Annex B (80, 81, 82), 6.3.2
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"
#include "wire/device.h"

/* The largest response. */
#define RESPONSE_LIMIT ((size_t)16 << 20)
/* When the connection has no room a repetition waits this long. */
#define NO_ROOM_MS 1000

struct gbt_command_out {
    struct gbt_command_out *next;
    struct pg_msg *msg;   /* a reference */
    uint16_t delivery_id; /* 0: QoS 0, nothing to settle */
    uint8_t command;
    bool answered_by_vehicle; /* 80 to 82: else it is over when it is sent */
    unsigned sent;            /* 0: it waits */
    int64_t deadline_ms;
    size_t wire_len;
    uint8_t wire[];
};

/* What became of a command, for the requester. */
struct outcome {
    const char *status;
    enum pg_reason reason;
    const struct gbt_frame *answer; /* the vehicle's, or NULL */
    const struct wire_error *error; /* of the payload, or NULL */
};

/* ---- responses ------------------------------------------------------------------------------ */

static void put_text(struct json_out *out, const char *key, const char *value)
{
    json_out_key(out, key);
    json_out_text(out, value, strlen(value));
}

static void write_response(struct gbt_vehicle *v, const struct gbt_command_out *command,
                           const struct outcome *outcome, struct json_out *out)
{
    char time[GBT_TIME_TEXT];

    gbt_time_text(pg_wall_ms(), true, time);
    json_out_open(out, '{');
    put_text(out, "protocol", "gbt32960");
    put_text(out, "vin", v->vin);
    if (command) {
        const struct gbt_message *message = gbt_message_by_command(command->command, v->edition);
        if (message) {
            put_text(out, "message", message->name);
        }
        json_out_key(out, "id");
        json_out_hexnum(out, command->command, 2);
    }
    put_text(out, "status", outcome->status);
    put_text(out, "time", time);
    if (outcome->error) {
        wire_response_error(out, outcome->error);
    }
    if (outcome->answer) {
        const struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE,
                                                 .uplink = true,
                                                 .hide_secrets = true,
                                                 .received_ms = pg_wall_ms()};
        json_out_key(out, "answer");
        (void)gbt_json_write(out, outcome->answer, &options, NULL); /* out->failed tells */
    }
    json_out_close(out, '}');
}

/* Tell the requester, if there is one. `msg` is the command's message. */
static void respond(struct gbt_vehicle *v, const struct pg_msg *msg,
                    const struct gbt_command_out *command, const struct outcome *outcome)
{
    if (!wire_response_wanted(msg)) {
        return;
    }
    char room[GBT_TOPIC_MAX];
    struct pg_bytes commands =
        gbt_topic(gbt_conf_of(v->conn)->downlink_topic, "+", NULL, 0, room, sizeof(room));
    if (!wire_response_allowed(msg, commands)) {
        PG_LOG(PG_WARN, "gbt32960_response_refused", PG_F_REASON(PG_NOT_AUTHORIZED),
               PG_F_TEXT("client", v->vin), PG_F_BYTES("topic", msg->props->response_topic));
        return;
    }
    struct json_out out = json_out_heap(RESPONSE_LIMIT);
    write_response(v, command, outcome, &out);
    if (!wire_response_publish(msg, "gbt32960", pg_bytes_str(v->vin), &out)) {
        PG_LOG(PG_ERROR, "gbt32960_response_lost", PG_F_REASON(PG_NO_MEMORY),
               PG_F_TEXT("client", v->vin), PG_F_BYTES("topic", msg->props->response_topic));
    }
    json_out_free(&out);
}

/* ---- payloads to frames --------------------------------------------------------------------- */

static bool read_json(struct gbt_vehicle *v, struct pg_bytes payload, struct wire_out *unit,
                      struct gbt_frame *out, struct wire_error *error)
{
    struct gbt_json_defaults defaults = {
        .edition = v->edition, .id = v->id, .wall_ms = pg_wall_ms()};
    struct gbt_json_message message;

    if (!gbt_json_encode_text((const char *)payload.data, payload.len, &defaults, unit, &message,
                              error)) {
        return false;
    }
    if (message.message && !message.message->down) {
        return wire_fails(error, "message", message.message->name, "a message for a vehicle");
    }
    *out = message.frame;
    return true;
}

/* A frame as it stands on the wire. Its check code must hold. */
static bool read_wire(struct pg_bytes wire, struct gbt_frame *out, struct wire_error *error)
{
    enum gbt_error why = gbt_frame_decode(wire, out);

    return why == GBT_ERROR_NONE || wire_fails(error, "frame", gbt_error_name(why),
                                               "a sound frame from start mark to check code");
}

static bool read_payload(struct gbt_vehicle *v, struct pg_bytes payload, struct wire_out *unit,
                         struct gbt_frame *out, struct wire_error *error)
{
    struct pg_bytes text = wire_text_trim(payload);
    struct pg_bytes wire;

    if (text.len > 0 && text.data[0] == '{') {
        return read_json(v, text, unit, out, error);
    }
    /* A frame in bytes begins with # or $, which are no hexadecimal digits. */
    if (payload.len > 0 && (payload.data[0] == '#' || payload.data[0] == '$')) {
        return read_wire(payload, out, error);
    }
    if (text.len > 0 && text.len <= 2 * (size_t)GBT_WIRE_MAX && wire_hex_take(text, unit, &wire)) {
        return read_wire(wire, out, error);
    }
    return wire_fails(error, "payload", payload.len ? "something else" : "nothing",
                      "a JSON object, or a frame, in hexadecimal or in bytes");
}

static bool is_answered_command(uint8_t command)
{
    return command >= GBT_PARAMETER_QUERY && command <= GBT_TERMINAL_CONTROL;
}

static struct gbt_command_out *command_of(struct gbt_vehicle *v, const struct pg_msg *msg,
                                          struct wire_error *error)
{
    struct wire_out unit = wire_out_heap(4 * (size_t)GBT_WIRE_MAX);
    struct gbt_frame frame;
    struct gbt_command_out *command = NULL;

    if (read_payload(v, msg->payload, &unit, &frame, error)) {
        char vin[GBT_ID_TEXT];
        gbt_id_text(frame.id, vin);
        if (strcmp(vin, v->vin) != 0) {
            (void)wire_fails(error, "vin", "another one", "the VIN of this vehicle, or none");
        } else {
            static _Thread_local uint8_t sealed[GBT_UNIT_MAX + GBT_SEALED_ROOM];
            memcpy(frame.id, v->id, GBT_ID_LEN); /* filled as the vehicle does */
            if (frame.encryption == GBT_PLAIN && frame.unit.len + GBT_SEALED_ROOM <= GBT_UNIT_MAX) {
                frame.encryption = v->encryption; /* as it speaks to us */
                gbt_seal(v->conn, v, &frame, sealed);
            }
            size_t len = gbt_frame_encode(&frame, NULL, 0);
            command = calloc(1, sizeof(*command) + len);
            if (command) {
                command->wire_len = gbt_frame_encode(&frame, command->wire, len);
                command->command = frame.command;
                command->answered_by_vehicle =
                    is_answered_command(frame.command) && !gbt_frame_is_answer(&frame);
            } else {
                (void)wire_fails(error, "body", "no memory", "less");
            }
        }
    }
    wire_out_free(&unit);
    return command;
}

/* ---- life of a command ---------------------------------------------------------------------- */

static void command_free(struct gbt_command_out *command)
{
    pg_msg_unref(&command->msg);
    free(command);
}

static void unlink_command(struct gbt_vehicle *v, const struct gbt_command_out *command)
{
    for (struct gbt_command_out **link = &v->commands; *link; link = &(*link)->next) {
        if (*link == command) {
            *link = command->next;
            v->command_count--;
            return;
        }
    }
}

/* The command is over: settle, tell the requester, make room for the next one. */
static void finish(struct gbt_vehicle *v, struct gbt_command_out *command, enum gbt_counter counter,
                   const struct outcome *outcome)
{
    unlink_command(v, command);
    gbt_count(v->conn, counter);
    if (outcome->reason != PG_OK) {
        PG_LOG(PG_WARN, "gbt32960_command_failed", PG_F_REASON(outcome->reason),
               PG_F_TEXT("client", v->vin), PG_F_INT("command", command->command),
               PG_F_INT("sent", command->sent));
    }
    if (command->delivery_id != 0) {
        (void)pg_delivery_settle(v->client, command->delivery_id, outcome->reason);
    }
    respond(v, command->msg, command, outcome);
    command_free(command);
}

static void transmit(struct gbt_vehicle *v, struct gbt_command_out *command)
{
    pg_conn_append(pg_conn_of_state(v->conn),
                   (struct pg_bytes){.data = command->wire, .len = command->wire_len});
    gbt_count(v->conn, GBT_COUNT_FRAMES_SENT);
    gbt_count(v->conn, command->sent == 0 ? GBT_COUNT_COMMANDS : GBT_COUNT_COMMANDS_REPEATED);
    command->sent++;
    command->deadline_ms = pg_now_ms() + gbt_conf_of(v->conn)->answer_ms;
}

static int64_t *quiet_of(struct gbt_vehicle *v, uint8_t command)
{
    return &v->quiet_until_ms[command - GBT_PARAMETER_QUERY];
}

/* Whether a command of this code may go out now. */
static bool is_free(struct gbt_vehicle *v, uint8_t code)
{
    for (const struct gbt_command_out *c = v->commands; c; c = c->next) {
        if (c->command == code && c->sent > 0) {
            return false;
        }
    }
    return *quiet_of(v, code) <= pg_now_ms();
}

/* Send what waits and may go, in the order in which it came. */
static void send_waiting(struct gbt_vehicle *v)
{
    for (struct gbt_command_out *command = v->commands, *next; command; command = next) {
        next = command->next;
        if (command->sent > 0 || !pg_conn_has_room(pg_conn_of_state(v->conn))) {
            continue;
        }
        if (!command->answered_by_vehicle) {
            struct outcome outcome = {.status = "sent", .reason = PG_OK};
            transmit(v, command);
            finish(v, command, GBT_COUNT_COMMANDS_ANSWERED, &outcome);
        } else if (is_free(v, command->command)) {
            transmit(v, command);
        }
    }
}

/* A payload that cannot be sent is finally not delivered. */
static void refuse_payload(struct gbt_vehicle *v, const struct pg_delivery *delivery,
                           const struct wire_error *error)
{
    struct outcome outcome = {.status = "invalid", .reason = PG_PAYLOAD_INVALID, .error = error};
    char sentence[sizeof(*error) + 64];

    wire_error_sentence(error, sentence, sizeof(sentence));
    gbt_count(v->conn, GBT_COUNT_COMMANDS_INVALID);
    PG_LOG(PG_WARN, "gbt32960_command_invalid", PG_F_REASON(PG_PAYLOAD_INVALID),
           PG_F_TEXT("client", v->vin), PG_F_BYTES("publisher", delivery->msg->publisher),
           PG_F_TEXT("error", sentence));
    respond(v, delivery->msg, NULL, &outcome);
    if (delivery->id != 0) {
        (void)pg_delivery_settle(v->client, delivery->id, PG_PAYLOAD_INVALID);
    }
}

static void start(struct gbt_vehicle *v, const struct pg_delivery *delivery)
{
    struct wire_error error = {0};
    struct gbt_command_out *command = command_of(v, delivery->msg, &error);

    if (!command) {
        refuse_payload(v, delivery, &error);
        return;
    }
    command->msg = pg_msg_ref(delivery->msg);
    command->delivery_id = delivery->id;
    struct gbt_command_out **end = &v->commands;
    while (*end) {
        end = &(*end)->next;
    }
    *end = command;
    v->command_count++;
    send_waiting(v);
}

void gbt_command_deliver(struct gbt_vehicle *v)
{
    struct pg_conn *conn = pg_conn_of_state(v->conn);
    struct pg_delivery delivery;

    if (v->state != GBT_ONLINE || v->greeting || pg_conn_closing(conn)) {
        return;
    }
    send_waiting(v);
    while (v->command_count < gbt_conf_of(v->conn)->window && pg_conn_has_room(conn) &&
           pg_delivery_next(v->client, &delivery)) {
        if (delivery.received) {
            (void)pg_delivery_settle(v->client, delivery.id, PG_OK);
        } else {
            start(v, &delivery);
        }
    }
    gbt_timer_update(v);
}

/* ---- answers -------------------------------------------------------------------------------- */

void gbt_command_answered(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_command_out *command = v->commands;

    if (!is_answered_command(frame->command)) {
        return;
    }
    while (command && (command->command != frame->command || command->sent == 0)) {
        command = command->next;
    }
    if (!command) {
        *quiet_of(v, frame->command) = 0; /* the late answer has come: the code is free again */
    } else {
        /* Some terminals answer with the flag of a command. */
        bool positive = frame->response == GBT_SUCCESS || frame->response == GBT_COMMAND;
        struct outcome outcome = {.status = positive ? "ok" : "rejected",
                                  .reason = positive ? PG_OK : PG_REJECTED,
                                  .answer = frame};
        finish(v, command, positive ? GBT_COUNT_COMMANDS_ANSWERED : GBT_COUNT_COMMANDS_REJECTED,
               &outcome);
    }
    gbt_command_deliver(v);
}

/* ---- time ----------------------------------------------------------------------------------- */

static int64_t due_at(struct gbt_vehicle *v, const struct gbt_command_out *command)
{
    int64_t expires = command->msg->expires_ms;
    int64_t at = command->sent > 0 ? command->deadline_ms : PG_NEVER;

    if (command->sent == 0 && command->answered_by_vehicle &&
        *quiet_of(v, command->command) > pg_now_ms()) {
        at = *quiet_of(v, command->command);
    }
    return at < expires ? at : expires;
}

int64_t gbt_command_deadline(const struct gbt_vehicle *v)
{
    int64_t earliest = PG_NEVER;

    for (const struct gbt_command_out *command = v->commands; command; command = command->next) {
        int64_t at = due_at((struct gbt_vehicle *)(uintptr_t)v, command);
        earliest = at < earliest ? at : earliest;
    }
    return earliest;
}

static void command_due(struct gbt_vehicle *v, struct gbt_command_out *command, int64_t now)
{
    const struct gbt_conf *conf = gbt_conf_of(v->conn);

    if (command->msg->expires_ms <= now) {
        struct outcome outcome = {.status = "expired", .reason = PG_EXPIRED};
        finish(v, command, GBT_COUNT_COMMANDS_TIMED_OUT, &outcome);
    } else if (command->sent > (uint64_t)conf->repetitions) {
        struct outcome outcome = {.status = "timed_out", .reason = PG_TIMED_OUT};
        *quiet_of(v, command->command) = now + conf->answer_ms;
        finish(v, command, GBT_COUNT_COMMANDS_TIMED_OUT, &outcome);
    } else if (!pg_conn_has_room(pg_conn_of_state(v->conn))) {
        command->deadline_ms = now + NO_ROOM_MS;
    } else if (command->sent > 0) {
        transmit(v, command);
    }
}

void gbt_command_due(struct gbt_vehicle *v)
{
    int64_t now = pg_now_ms();

    for (struct gbt_command_out *command = v->commands, *next; command; command = next) {
        next = command->next;
        if (due_at(v, command) <= now) {
            command_due(v, command, now);
        }
    }
    if (v->state == GBT_ONLINE) {
        gbt_command_deliver(v);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

void gbt_command_lost(struct gbt_vehicle *v, enum pg_reason reason)
{
    struct outcome outcome = {.status = "connection_lost", .reason = reason};

    while (v->commands) {
        struct gbt_command_out *command = v->commands;
        bool request = command->sent > 0 && wire_response_wanted(command->msg);
        unlink_command(v, command);
        gbt_count(v->conn, GBT_COUNT_COMMANDS_LOST);
        /* Who cannot settle it any more does not answer it: the session has it elsewhere. */
        if (request && (command->delivery_id == 0 ||
                        (reason != PG_TAKEN_OVER &&
                         pg_delivery_settle(v->client, command->delivery_id, reason)))) {
            respond(v, command->msg, command, &outcome);
        }
        command_free(command);
    }
}

void gbt_command_free(struct gbt_vehicle *v)
{
    while (v->commands) {
        struct gbt_command_out *command = v->commands;
        unlink_command(v, command);
        command_free(command);
    }
}
