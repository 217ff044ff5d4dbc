/* SPDX-License-Identifier: Apache-2.0 */

/* What a terminal is sent: deliveries of its session as command frames.
 *
 * A payload is JSON (`{"message":"text_message","body":{...}}`), or a frame as it stands on the
 * wire, in hexadecimal or in bytes; header form, phone and serial are always the session's. A body
 * over 1023 bytes goes out as packages with consecutive serials. The frames are kept until the
 * command is over, so that repetitions are identical and 0x0005 can be served.
 *
 *   sent --- 0x0001 result 0, nothing else is to come --------------------> over, answered
 *     | \--- its proper answer (0x0104 for 0x8104, ...) ------------------> over, answered
 *     |  \-- 0x0001 result 1, 2, 3 ---------------------------------------> over, rejected
 *     |--- 0x0001 result 0, the proper answer is still to come, or not all packages are answered:
 *     |      acknowledged, no more repetition; after a while over, answered
 *     '--- no answer for T1: again; then after 2, 6, 24 times T1 ... ------> over, timed out
 *
 * When it is over the delivery is settled, and a message that had a response topic is answered
 * there, with its correlation data: with the terminal's answer, or with what went wrong. Commands
 * without a response topic that were under way when the connection went stay with the session and
 * are sent on the next one; a request is told "connection_lost" and not repeated behind the
 * requester's back. A take-over moves both to the new connection.
 *
 * The response goes out in the gateway's own name, so a response topic that is in a namespace of
 * the gateway ($...), a terminal's downlink topic or a P2P topic of anybody but the requester is
 * refused.
 *
 * threads   the worker of the connection
 * standard  JT/T 808: 0x0001, 0x0005; 2019, 6.3 (retransmission)
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jt808_json.h"
#include "jt808_parts.h"
#include "jt808_table.h"
#include "wire/cursor.h"
#include "wire/device.h"

/* The largest response; an answer of a few KiB with every bit set has some hundred KiB as JSON. */
#define RESPONSE_LIMIT ((size_t)64 << 20)
/* When the connection has no room a repetition waits this long. */
#define NO_ROOM_MS 1000

/* A command's proper answer. Commands that are not listed are answered by 0x0001. */
struct rule {
    uint16_t down;
    uint16_t up; /* 0: there is none, the command is over when it is sent */
};

static const struct rule rules[] = {
    {0x8001, 0},      {0x8003, 0},      {0x8004, 0},      {0x8100, 0},      {0x8104, 0x0104},
    {0x8106, 0x0104}, {0x8107, 0x0107}, {0x8201, 0x0201}, {0x8500, 0x0500}, {0x8608, 0x0608},
    {0x8700, 0x0700}, {0x8702, 0x0702}, {0x8800, 0},      {0x8801, 0x0805}, {0x8802, 0x0802},
    {0x8a00, 0x0a00}, {0x9003, 0x1003}, {0x9201, 0x1205}, {0x9205, 0x1205}, {0x9212, 0},
};

#define BY_GENERAL_ANSWER 0x0001u

static uint16_t answer_id_of(uint16_t msg_id)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].down == msg_id) {
            return rules[i].up;
        }
    }
    return BY_GENERAL_ANSWER;
}

struct jt808_command {
    struct jt808_command *next;
    struct pg_msg *msg;   /* a reference */
    uint16_t delivery_id; /* 0: QoS 0, nothing to settle */
    uint16_t msg_id;
    uint16_t serial; /* of the first frame */
    uint16_t parts;
    uint16_t answer_id;
    uint16_t parts_answered;
    bool acknowledged;
    unsigned sent;
    int64_t wait_ms, deadline_ms;
    size_t wire_len;
    uint8_t wire[]; /* all frames, one after the other */
};

/* What became of a command, for the requester. */
struct outcome {
    const char *status;
    enum pg_reason reason;
    const struct jt808_frame *answer; /* the terminal's, or NULL */
    int result;                       /* of a general answer, or -1 */
    const struct wire_error *error;   /* of the payload, or NULL */
};

/* ---- responses ------------------------------------------------------------------------------ */

static void write_response(struct jt808_terminal *t, const struct jt808_command *command,
                           const struct outcome *outcome, struct json_out *out)
{
    char time[JT808_TIME_TEXT];

    jt808_time_text(pg_wall_ms(), time);
    json_out_open(out, '{');
    json_out_key(out, "protocol");
    json_out_word(out, "jt808");
    json_out_key(out, "phone");
    json_out_word(out, t->phone);
    if (command) {
        const struct jt808_message *message = jt808_message_by_id(command->msg_id);
        if (message) {
            json_out_key(out, "message");
            json_out_word(out, message->name);
        }
        json_out_key(out, "id");
        json_out_hexnum(out, command->msg_id, 4);
        json_out_key(out, "serial");
        json_out_u64(out, command->serial);
    }
    json_out_key(out, "status");
    json_out_word(out, outcome->status);
    if (outcome->result >= 0) {
        json_out_key(out, "result");
        json_out_i64(out, outcome->result);
    }
    json_out_key(out, "time");
    json_out_word(out, time);
    if (outcome->error) {
        wire_response_error(out, outcome->error);
    }
    if (outcome->answer) {
        const struct jt808_conf *conf = jt808_conf_of(t->conn);
        struct jt808_json_options options = {
            .shape = WIRE_SHAPE_NATIVE,
            .charset = (enum wire_charset)conf->text,
            .edition = jt808_session_edition(t, outcome->answer),
            .received_ms = pg_wall_ms(),
        };
        json_out_key(out, "answer");
        (void)jt808_json_write(out, outcome->answer, &options, NULL); /* out->failed tells */
    }
    json_out_close(out, '}');
}

/* Tell the requester, if there is one. `msg` is the command's message. */
static void respond(struct jt808_terminal *t, const struct pg_msg *msg,
                    const struct jt808_command *command, const struct outcome *outcome)
{
    if (!wire_response_wanted(msg)) {
        return;
    }
    char room[JT808_TOPIC_MAX];
    struct pg_bytes commands =
        jt808_topic(jt808_conf_of(t->conn)->downlink_topic, "+", 0, room, sizeof(room));
    if (!wire_response_allowed(msg, commands)) {
        PG_LOG(PG_WARN, "jt808_response_refused", PG_F_REASON(PG_NOT_AUTHORIZED),
               PG_F_TEXT("client", t->phone), PG_F_BYTES("topic", msg->props->response_topic));
        return;
    }
    struct json_out out = json_out_heap(RESPONSE_LIMIT);
    write_response(t, command, outcome, &out);
    if (!wire_response_publish(msg, "jt808", pg_bytes_str(t->phone), &out)) {
        PG_LOG(PG_ERROR, "jt808_response_lost", PG_F_REASON(PG_NO_MEMORY),
               PG_F_TEXT("client", t->phone), PG_F_BYTES("topic", msg->props->response_topic));
    }
    json_out_free(&out);
}

/* ---- payloads to frames --------------------------------------------------------------------- */

/* The message that a payload asks for: id, encryption bits, body, serial if it is given. */
struct wanted {
    struct jt808_frame frame;
    bool serial_given;
};

static bool read_json(struct jt808_terminal *t, struct pg_bytes payload, struct wire_out *body,
                      struct wanted *out, struct wire_error *error)
{
    struct jt808_json_defaults defaults = {
        .edition = jt808_session_edition(t, &t->form),
        .header_2019 = t->form.header_2019,
        .protocol_version = t->form.protocol_version,
        .charset = (enum wire_charset)jt808_conf_of(t->conn)->text,
        .phone = t->form.phone,
    };
    struct jt808_json_message message;

    if (!jt808_json_encode_text((const char *)payload.data, payload.len, &defaults, body, &message,
                                error)) {
        return false;
    }
    if (!jt808_phone_equal(message.frame.phone, t->phone)) {
        return wire_fails(error, "phone", message.frame.phone,
                          "the phone of this terminal, or none");
    }
    if (message.message && message.message->up) {
        return wire_fails(error, "message", message.message->name, "a message for a terminal");
    }
    out->frame = message.frame;
    out->serial_given = message.serial_given;
    return true;
}

/* A frame as it stands on the wire. Its check code must hold; phone and serial are replaced. */
static bool read_wire(struct pg_bytes wire, struct wire_out *body, struct wanted *out,
                      struct wire_error *error)
{
    struct jt808_scratch scratch;
    enum jt808_error why = jt808_frame_decode(wire, JT808_TOLERATE_NONE, &scratch, &out->frame);

    if (why != JT808_ERROR_NONE) {
        return wire_fails(error, "frame", jt808_error_name(why), "a sound frame from 7e to 7e");
    }
    if (jt808_frame_is_subpackage(&out->frame)) {
        return wire_fails(error, "frame", "a package of several",
                          "the whole message; it is split where it must be");
    }
    /* The body may lie in `scratch`: keep it where it outlives this function. */
    size_t at = body->len;
    wire_out_put(body, out->frame.body);
    if (body->failed) {
        return wire_fails(error, "frame", "no memory", "room for the body");
    }
    if (body->len > at) /* else there may be no data to point into */
        out->frame.body = (struct pg_bytes){.data = body->data + at, .len = body->len - at};
    else
        out->frame.body = PG_BYTES_NONE;
    return true;
}

static bool read_payload(struct jt808_terminal *t, struct pg_bytes payload, struct wire_out *body,
                         struct wanted *out, struct wire_error *error)
{
    struct pg_bytes text = wire_text_trim(payload);

    if (text.len > 0 && text.data[0] == '{') {
        return read_json(t, text, body, out, error);
    }
    /* A frame in bytes begins with 7e, which is '~' and no hexadecimal digit. */
    if (payload.len > 0 && payload.data[0] == 0x7e) {
        return read_wire(payload, body, out, error);
    }
    struct pg_bytes wire;
    if (text.len > 0 && text.len <= 2 * JT808_WIRE_MAX && wire_hex_take(text, body, &wire)) {
        return read_wire(wire, body, out, error);
    }
    return wire_fails(error, "payload", payload.len ? "something else" : "nothing",
                      "a JSON object, or a frame from 7e to 7e, in hexadecimal or in bytes");
}

/* All frames of a command, ready to be sent. NULL: *error says why. */
static struct jt808_command *make_command(struct jt808_terminal *t, const struct wanted *wanted,
                                          struct wire_error *error)
{
    uint16_t serial = wanted->serial_given ? wanted->frame.serial : t->serial;
    struct jt808_frame message = jt808_header_like(&t->form, wanted->frame.msg_id, serial);
    unsigned parts = jt808_part_count(wanted->frame.body.len);
    size_t len = 0;

    message.attributes |= wanted->frame.attributes & JT808_ATTR_ENCRYPTION;
    message.body = wanted->frame.body;
    for (unsigned i = 1; i <= parts; i++) {
        struct jt808_frame part = jt808_part(&message, i);
        len += jt808_frame_encode(&part, NULL, 0);
    }
    struct jt808_command *command = parts > 0 ? calloc(1, sizeof(*command) + len) : NULL;
    if (!command) {
        (void)wire_fails(error, "body", parts > 0 ? "no memory" : "more",
                         "a body that fits into 65535 frames");
        return NULL;
    }
    for (unsigned i = 1; i <= parts; i++) {
        struct jt808_frame part = jt808_part(&message, i);
        command->wire_len +=
            jt808_frame_encode(&part, command->wire + command->wire_len, len - command->wire_len);
    }
    command->msg_id = message.msg_id;
    command->serial = serial;
    command->parts = (uint16_t)parts;
    command->answer_id = answer_id_of(message.msg_id);
    if (!wanted->serial_given) {
        t->serial = (uint16_t)(t->serial + parts);
    }
    return command;
}

static struct jt808_command *command_of(struct jt808_terminal *t, const struct pg_msg *msg,
                                        struct wire_error *error)
{
    struct wire_out body = wire_out_heap((size_t)jt808_conf_of(t->conn)->message_bytes);
    struct wanted wanted = {0};
    struct jt808_command *command = NULL;

    if (read_payload(t, msg->payload, &body, &wanted, error)) {
        command = make_command(t, &wanted, error);
    }
    wire_out_free(&body);
    return command;
}

/* ---- life of a command ---------------------------------------------------------------------- */

static void command_free(struct jt808_command *command)
{
    pg_msg_unref(&command->msg);
    free(command);
}

static void unlink_command(struct jt808_terminal *t, const struct jt808_command *command)
{
    for (struct jt808_command **link = &t->commands; *link; link = &(*link)->next) {
        if (*link == command) {
            *link = command->next;
            t->command_count--;
            return;
        }
    }
}

/* The command is over: settle, tell the requester, make room for the next one. */
static void finish(struct jt808_terminal *t, struct jt808_command *command,
                   enum jt808_counter counter, const struct outcome *outcome)
{
    unlink_command(t, command);
    jt808_count(t->conn, counter);
    if (outcome->reason != PG_OK) {
        PG_LOG(PG_WARN, "jt808_command_failed", PG_F_REASON(outcome->reason),
               PG_F_TEXT("client", t->phone), PG_F_INT("id", command->msg_id),
               PG_F_INT("serial", command->serial), PG_F_INT("sent", command->sent));
    }
    if (command->delivery_id != 0) {
        (void)pg_delivery_settle(t->client, command->delivery_id, outcome->reason);
    }
    respond(t, command->msg, command, outcome);
    command_free(command);
}

static void transmit(struct jt808_terminal *t, struct jt808_command *command)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);

    pg_conn_append(pg_conn_of_state(t->conn),
                   (struct pg_bytes){.data = command->wire, .len = command->wire_len});
    pg_conn_count(pg_conn_of_state(t->conn), JT808_COUNT_FRAMES_SENT, command->parts);
    /* T1; the wait after repetition N is N + 1 times the one before. */
    command->wait_ms =
        command->sent == 0 ? conf->answer_ms : command->wait_ms * ((int64_t)command->sent + 1);
    command->sent++;
    command->deadline_ms = pg_now_ms() + command->wait_ms;
}

/* A payload that cannot be sent is finally not delivered. */
static void refuse_payload(struct jt808_terminal *t, const struct pg_delivery *delivery,
                           const struct wire_error *error)
{
    struct outcome outcome = {
        .status = "invalid", .reason = PG_PAYLOAD_INVALID, .result = -1, .error = error};
    char sentence[sizeof(*error) + 64];

    wire_error_sentence(error, sentence, sizeof(sentence));
    jt808_count(t->conn, JT808_COUNT_COMMANDS_INVALID);
    PG_LOG(PG_WARN, "jt808_command_invalid", PG_F_REASON(PG_PAYLOAD_INVALID),
           PG_F_TEXT("client", t->phone), PG_F_BYTES("publisher", delivery->msg->publisher),
           PG_F_TEXT("error", sentence));
    respond(t, delivery->msg, NULL, &outcome);
    if (delivery->id != 0) {
        (void)pg_delivery_settle(t->client, delivery->id, PG_PAYLOAD_INVALID);
    }
}

static void start(struct jt808_terminal *t, const struct pg_delivery *delivery)
{
    struct wire_error error = {0};
    struct jt808_command *command = command_of(t, delivery->msg, &error);

    if (!command) {
        refuse_payload(t, delivery, &error);
        return;
    }
    command->msg = pg_msg_ref(delivery->msg);
    command->delivery_id = delivery->id;
    struct jt808_command **end = &t->commands;
    while (*end) {
        end = &(*end)->next;
    }
    *end = command;
    t->command_count++;
    jt808_count(t->conn, JT808_COUNT_COMMANDS);
    transmit(t, command);
    if (command->answer_id == 0) {
        struct outcome outcome = {.status = "sent", .reason = PG_OK, .result = -1};
        finish(t, command, JT808_COUNT_COMMANDS_ANSWERED, &outcome);
    }
}

void jt808_command_deliver(struct jt808_terminal *t)
{
    struct pg_conn *conn = pg_conn_of_state(t->conn);
    struct pg_delivery delivery;

    while (t->state == JT808_ONLINE && t->command_count < jt808_conf_of(t->conn)->window &&
           !pg_conn_closing(conn) && pg_conn_has_room(conn) &&
           pg_delivery_next(t->client, &delivery)) {
        if (delivery.received) {
            (void)pg_delivery_settle(t->client, delivery.id, PG_OK);
        } else {
            start(t, &delivery);
        }
    }
    jt808_timer_update(t);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Positive, but more is to come: stop repeating, and do not wait for ever. */
static void acknowledge(struct jt808_terminal *t, struct jt808_command *command)
{
    command->acknowledged = true;
    command->deadline_ms = pg_now_ms() + 2 * jt808_conf_of(t->conn)->answer_ms;
}

static struct jt808_command *by_serial(struct jt808_terminal *t, uint16_t msg_id, uint16_t serial)
{
    for (struct jt808_command *command = t->commands; command; command = command->next) {
        if (command->msg_id == msg_id && (uint16_t)(serial - command->serial) < command->parts) {
            return command;
        }
    }
    return NULL;
}

/* 0x0001: any terminal may answer any command with it, positively or not. */
static void general_answer(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct cursor c = cursor_of(frame->body);
    uint16_t serial = cursor_u16(&c);
    uint16_t msg_id = cursor_u16(&c);
    uint8_t result = cursor_u8(&c);
    struct jt808_command *command = c.failed ? NULL : by_serial(t, msg_id, serial);

    if (!command) {
        return; /* late, or twice: both are usual */
    }
    if (result != JT808_RESULT_OK) {
        struct outcome outcome = {
            .status = "rejected", .reason = PG_REJECTED, .answer = frame, .result = result};
        finish(t, command, JT808_COUNT_COMMANDS_REJECTED, &outcome);
        return;
    }
    command->parts_answered++;
    bool all = (uint16_t)(serial - command->serial) == command->parts - 1u ||
               command->parts_answered >= command->parts;
    if (!all || command->answer_id != BY_GENERAL_ANSWER) {
        acknowledge(t, command);
        return;
    }
    struct outcome outcome = {.status = "ok", .reason = PG_OK, .answer = frame, .result = 0};
    finish(t, command, JT808_COUNT_COMMANDS_ANSWERED, &outcome);
}

/* The oldest command of which this message is the proper answer; if it names a serial, that one. */
static struct jt808_command *answered_by(struct jt808_terminal *t, const struct jt808_frame *frame,
                                         const struct jt808_body *body)
{
    uint64_t serial;
    bool named = jt808_body_uint(body, "ack_serial", &serial);

    for (struct jt808_command *command = t->commands; command; command = command->next) {
        if (command->answer_id == frame->msg_id &&
            (!named || (uint16_t)((uint16_t)serial - command->serial) < command->parts)) {
            return command;
        }
    }
    return NULL;
}

static void proper_answer(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct jt808_body body;
    uint64_t result = 0;

    /* Looked at only if something waits for it. */
    bool wanted = false;
    for (struct jt808_command *c = t->commands; c && !wanted; c = c->next) {
        wanted = c->answer_id == frame->msg_id;
    }
    if (!wanted) {
        return;
    }
    (void)jt808_body_open(frame, jt808_session_edition(t, frame), &body);
    struct jt808_command *command = answered_by(t, frame, &body);
    if (!command) {
        return;
    }
    bool has_result = jt808_body_uint(&body, "result", &result);
    bool positive = !has_result || result == 0;
    struct outcome outcome = {.status = positive ? "ok" : "rejected",
                              .reason = positive ? PG_OK : PG_REJECTED,
                              .answer = frame,
                              .result = has_result ? (int)result : -1};
    finish(t, command, positive ? JT808_COUNT_COMMANDS_ANSWERED : JT808_COUNT_COMMANDS_REJECTED,
           &outcome);
}

void jt808_command_answered(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    if (!t->commands || jt808_frame_encryption(frame) != 0) {
        return;
    }
    if (frame->msg_id == 0x0001) {
        general_answer(t, frame);
    } else {
        proper_answer(t, frame);
    }
    jt808_command_deliver(t);
}

/* The frame number `index` (from 1) of a command: frames do not hold a 7e inside. */
static struct pg_bytes part_of(const struct jt808_command *command, unsigned index)
{
    struct pg_bytes rest = {.data = command->wire, .len = command->wire_len};

    for (;;) {
        const uint8_t *end = memchr(rest.data + 1, 0x7e, rest.len - 1);
        size_t len = (size_t)(end - rest.data) + 1;
        if (--index == 0) {
            rest.len = len;
            return rest;
        }
        rest.data += len;
        rest.len -= len;
    }
}

bool jt808_command_resend(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct cursor c = cursor_of(frame->body);
    uint16_t original = cursor_u16(&c);
    struct cursor narrow = c;
    size_t count = cursor_u16(&c);

    if (c.failed || cursor_left(&c) != 2 * count) {
        c = narrow; /* the count as a BYTE, as in 2013 */
        count = cursor_u8(&c);
    }
    if (c.failed || cursor_left(&c) != 2 * count) {
        return false;
    }
    struct jt808_command *command = t->commands;
    while (command && command->serial != original) {
        command = command->next;
    }
    for (; command && count > 0; count--) {
        unsigned index = cursor_u16(&c);
        if (index >= 1 && index <= command->parts) {
            pg_conn_append(pg_conn_of_state(t->conn), part_of(command, index));
            jt808_count(t->conn, JT808_COUNT_FRAMES_SENT);
        }
    }
    return command != NULL;
}

/* ---- time ----------------------------------------------------------------------------------- */

static int64_t due_at(const struct jt808_command *command)
{
    int64_t expires = command->msg->expires_ms;

    return command->deadline_ms < expires ? command->deadline_ms : expires;
}

int64_t jt808_command_deadline(const struct jt808_terminal *t)
{
    int64_t earliest = PG_NEVER;

    for (const struct jt808_command *command = t->commands; command; command = command->next) {
        int64_t at = due_at(command);
        earliest = at < earliest ? at : earliest;
    }
    return earliest;
}

static void command_due(struct jt808_terminal *t, struct jt808_command *command, int64_t now)
{
    struct jt808_conn *c = t->conn;

    if (command->acknowledged && command->deadline_ms <= now) {
        struct outcome outcome = {.status = "ok", .reason = PG_OK, .result = 0};
        finish(t, command, JT808_COUNT_COMMANDS_ANSWERED, &outcome);
    } else if (command->msg->expires_ms <= now) {
        struct outcome outcome = {.status = "expired", .reason = PG_EXPIRED, .result = -1};
        finish(t, command, JT808_COUNT_COMMANDS_TIMED_OUT, &outcome);
    } else if (command->sent > (uint64_t)jt808_conf_of(c)->repetitions) {
        struct outcome outcome = {.status = "timed_out", .reason = PG_TIMED_OUT, .result = -1};
        finish(t, command, JT808_COUNT_COMMANDS_TIMED_OUT, &outcome);
    } else if (!pg_conn_has_room(pg_conn_of_state(c))) {
        command->deadline_ms = now + NO_ROOM_MS;
    } else {
        transmit(t, command);
        jt808_count(c, JT808_COUNT_COMMANDS_REPEATED);
    }
}

void jt808_command_due(struct jt808_terminal *t)
{
    int64_t now = pg_now_ms();

    for (struct jt808_command *command = t->commands, *next; command; command = next) {
        next = command->next;
        if (due_at(command) <= now) {
            command_due(t, command, now);
        }
    }
    if (t->state == JT808_ONLINE) {
        jt808_command_deliver(t);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

void jt808_command_lost(struct jt808_terminal *t, enum pg_reason reason)
{
    struct outcome outcome = {.status = "connection_lost", .reason = reason, .result = -1};

    while (t->commands) {
        struct jt808_command *command = t->commands;
        bool request = wire_response_wanted(command->msg);
        unlink_command(t, command);
        jt808_count(t->conn, JT808_COUNT_COMMANDS_LOST);
        /* Who cannot settle it any more does not answer it: the session has it elsewhere. */
        if (request && (command->delivery_id == 0 ||
                        (reason != PG_TAKEN_OVER &&
                         pg_delivery_settle(t->client, command->delivery_id, reason)))) {
            respond(t, command->msg, command, &outcome);
        }
        command_free(command);
    }
}

void jt808_command_free(struct jt808_terminal *t)
{
    while (t->commands) {
        struct jt808_command *command = t->commands;
        unlink_command(t, command);
        command_free(command);
    }
}
