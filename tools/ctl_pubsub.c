/* SPDX-License-Identifier: Apache-2.0 */

/* pub, sub and send: what an application does, from the command line. */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ctl_mqtt.h"

/* For the gateway's own acknowledgements. */
#define ACK_MS (10 * 1000)

/* ---- publishing ------------------------------------------------------------------------------ */

/* The whole standard input, or the text. false after the error was told. */
static bool read_payload(const struct ctl_run *run, const char *word, uint8_t **payload,
                         size_t *len)
{
    size_t room = 0;
    *payload = NULL;
    *len = 0;
    if (strcmp(word, "-") != 0) {
        *len = strlen(word);
        *payload = (uint8_t *)strdup(word);
        return *payload != NULL;
    }
    for (;;) {
        if (*len == room) {
            room = room ? 2 * room : 65536;
            uint8_t *more = room <= MQTT_LENGTH_MAX ? realloc(*payload, room) : NULL;
            if (!more) {
                ctl_error(run, "the standard input is too long for one message");
                return false;
            }
            *payload = more;
        }
        size_t n = fread(*payload + *len, 1, room - *len, stdin);
        if (n == 0)
            return true;
        *len += n;
    }
}

static int told_timeout(const struct ctl_run *run)
{
    if (!ctl_mqtt_stop)
        ctl_error(run, "the gateway did not answer within %d s", ACK_MS / 1000);
    return CTL_TIMED_OUT;
}

static int judge_code(const struct ctl_run *run, uint8_t code, const char *nobody)
{
    if (code == MQTT_RC_NO_MATCHING_SUBSCRIBERS) {
        ctl_error(run, "%s", nobody);
        return CTL_OK;
    }
    if (code < 0x80)
        return CTL_OK;
    ctl_error(run, "the gateway refused the message: %s", mqtt_code_name(code));
    return CTL_FAILED;
}

/* Wait until the gateway owns the message. */
static int wait_published(struct ctl_mqtt *m, uint16_t packet_id, const char *nobody)
{
    int64_t deadline = ctl_now_ms() + ACK_MS;
    for (;;) {
        struct mqtt_packet packet;
        int code = ctl_mqtt_next(m, deadline, &packet);
        if (code == CTL_TIMED_OUT)
            return told_timeout(m->run);
        if (code != CTL_OK)
            return code;
        bool is_answer =
            packet.type == MQTT_PUBACK || packet.type == MQTT_PUBREC || packet.type == MQTT_PUBCOMP;
        if (!is_answer || packet.u.ack.packet_id != packet_id)
            continue;
        if (packet.type != MQTT_PUBREC)
            return judge_code(m->run, packet.u.ack.code, nobody);
        code = judge_code(m->run, packet.u.ack.code, nobody);
        if (code != CTL_OK)
            return code;
        if (!ctl_mqtt_ack(m, MQTT_PUBREL, packet_id))
            return CTL_UNREACHABLE;
    }
}

static bool topic_is_good(const struct ctl_run *run, const char *topic)
{
    if (pg_topic_name_valid(pg_bytes_str(topic)) == PG_OK)
        return true;
    ctl_error(run,
              "\"%s\" is no topic name: expected levels separated by /, UTF-8, without + and "
              "#",
              topic);
    return false;
}

static int run_pub(struct ctl_run *run)
{
    struct ctl_mqtt m;
    uint8_t *payload;
    size_t len;
    int64_t qos;
    const char *topic = run->arguments[0];
    if (!ctl_number(run, "qos", 0, 2, 1, &qos) || !topic_is_good(run, topic))
        return CTL_USAGE;
    if (!read_payload(run, run->arguments[1], &payload, &len)) {
        free(payload);
        return CTL_FAILED;
    }
    int code = ctl_mqtt_open(&m, run);
    if (code == CTL_OK) {
        struct mqtt_publish packet = {
            .qos = (uint8_t)qos,
            .retain = ctl_flag(run, "retain"),
            .packet_id = qos > 0 ? ctl_mqtt_id(&m) : 0,
            .topic = pg_bytes_str(topic),
            .payload = {.data = payload, .len = len},
            .props = MQTT_PROPS_NONE,
        };
        if (!ctl_mqtt_publish(&m, &packet))
            code = CTL_UNREACHABLE;
        else if (qos > 0)
            code = wait_published(&m, packet.packet_id, "accepted, but nobody subscribes to it");
    }
    ctl_mqtt_close(&m);
    free(payload);
    return code;
}

/* ---- subscribing ----------------------------------------------------------------------------- */

/* Subscribe and wait for the answer. */
static int subscribe(struct ctl_mqtt *m, const struct mqtt_filter *filters, size_t count)
{
    struct mqtt_packet packet;
    int64_t deadline = ctl_now_ms() + ACK_MS;
    uint16_t id = ctl_mqtt_id(m);
    if (!ctl_mqtt_subscribe(m, id, filters, count))
        return CTL_UNREACHABLE;
    int code = ctl_mqtt_next(m, deadline, &packet);
    if (code == CTL_TIMED_OUT)
        return told_timeout(m->run);
    if (code != CTL_OK)
        return code;
    if (packet.type != MQTT_SUBACK || packet.u.suback.packet_id != id ||
        packet.u.suback.codes.len != count) {
        ctl_error(m->run, "the gateway did not answer the subscription");
        return CTL_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        if (packet.u.suback.codes.data[i] >= 0x80) {
            ctl_error(m->run, "the gateway refused the subscription to \"%.*s\": %s",
                      (int)filters[i].filter.len, (const char *)filters[i].filter.data,
                      mqtt_code_name(packet.u.suback.codes.data[i]));
            code = CTL_FAILED;
        }
    }
    return code;
}

/* Answer as the QoS demands; true if it is a message. */
static bool take_message(struct ctl_mqtt *m, const struct mqtt_packet *packet, int *code)
{
    *code = CTL_OK;
    if (packet->type == MQTT_PUBREL && !ctl_mqtt_ack(m, MQTT_PUBCOMP, packet->u.ack.packet_id))
        *code = CTL_UNREACHABLE;
    if (packet->type != MQTT_PUBLISH)
        return false;
    const struct mqtt_publish *publish = &packet->u.publish;
    if (publish->qos > 0 &&
        !ctl_mqtt_ack(m, publish->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish->packet_id))
        *code = CTL_UNREACHABLE;
    return true;
}

/* To a terminal safely, to a file or a pipe as it is. */
static void print_payload(struct pg_bytes payload)
{
    if (isatty(STDOUT_FILENO))
        ctl_print_safe(payload);
    else if (payload.len > 0)
        fwrite(payload.data, 1, payload.len, stdout);
    putchar('\n');
    fflush(stdout);
}

static int print_messages(struct ctl_mqtt *m, int64_t count, bool verbose)
{
    for (int64_t seen = 0; count == 0 || seen < count;) {
        struct mqtt_packet packet;
        int code = ctl_mqtt_next(m, PG_NEVER, &packet);
        if (code == CTL_TIMED_OUT) /* stopped by a signal, which is how it ends */
            return CTL_OK;
        if (code != CTL_OK)
            return code;
        if (take_message(m, &packet, &code)) {
            if (verbose) {
                ctl_print_safe(packet.u.publish.topic);
                putchar(' ');
            }
            print_payload(packet.u.publish.payload);
            seen++;
        }
        if (code != CTL_OK)
            return code;
        if (ferror(stdout))
            return CTL_FAILED;
    }
    return CTL_OK;
}

static int run_sub(struct ctl_run *run)
{
    struct ctl_mqtt m;
    int64_t qos, count;
    if (!ctl_number(run, "qos", 0, 2, 1, &qos) ||
        !ctl_number(run, "count", 1, INT32_MAX, 0, &count))
        return CTL_USAGE;
    size_t filter_count = (size_t)run->argument_count;
    struct mqtt_filter *filters = calloc(filter_count, sizeof(*filters));
    if (!filters)
        return CTL_FAILED;
    for (size_t i = 0; i < filter_count; i++)
        filters[i] =
            (struct mqtt_filter){.filter = pg_bytes_str(run->arguments[i]), .qos = (uint8_t)qos};
    ctl_mqtt_catch_signals();
    int code = ctl_mqtt_open(&m, run);
    if (code == CTL_OK)
        code = subscribe(&m, filters, filter_count);
    if (code == CTL_OK)
        code = print_messages(&m, count, ctl_flag(run, "verbose"));
    ctl_mqtt_close(&m);
    free(filters);
    return code;
}

/* ---- sending to one client ------------------------------------------------------------------- */

/* What `send` says: {"message": NAME, "body": {...}} from --message and --json, or --payload.
 * malloc'ed; NULL after the error was told. */
static char *make_payload(const struct ctl_run *run)
{
    const char *message = ctl_value(run, "message"), *body = ctl_value(run, "json");
    const char *payload = ctl_value(run, "payload");
    json_error_t where;
    if (payload && !message && !body)
        return strdup(payload);
    if (payload || !message) {
        ctl_error(run, "expected --message NAME with --json BODY, or --payload TEXT alone");
        return NULL;
    }
    json_t *object = body ? json_loads(body, JSON_REJECT_DUPLICATES, &where) : json_object();
    if (!json_is_object(object)) {
        if (object)
            ctl_error(run, "--json: expected a JSON object, as in '{\"text\":\"hello\"}'");
        else
            ctl_error(run, "--json: %s at byte %d", where.text, where.position);
        json_decref(object);
        return NULL;
    }
    json_t *document = json_pack("{s:s s:o}", "message", message, "body", object);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text)
        ctl_error(run, "--message is not UTF-8, or memory is out");
    return text;
}

/* Whether the answer says that it went well: a gateway's answer to a command has a "status". */
static int judge_answer(struct pg_bytes answer)
{
    json_t *object = json_loadb((const char *)answer.data, answer.len, 0, NULL);
    const char *status = json_string_value(json_object_get(object, "status"));
    bool bad = status && strcmp(status, "ok") != 0 && strcmp(status, "sent") != 0;
    json_decref(object);
    return bad ? CTL_FAILED : CTL_OK;
}

struct request {
    char topic[1024];
    char answer_topic[128];
    uint8_t correlation[8];
    const char *payload;
    uint32_t wait_s;
};

/* Publish the request, then print what comes to the answer topic with our correlation data. */
static int exchange(struct ctl_mqtt *m, const struct request *request, int64_t wait_ms)
{
    struct mqtt_filter filter = {.filter = pg_bytes_str(request->answer_topic), .qos = 1};
    struct pg_bytes correlation = {.data = request->correlation,
                                   .len = sizeof(request->correlation)};
    struct mqtt_publish packet = {
        .qos = 1,
        .topic = pg_bytes_str(request->topic),
        .payload = pg_bytes_str(request->payload),
        .props = MQTT_PROPS_NONE,
    };
    int code = subscribe(m, &filter, 1);
    if (code != CTL_OK)
        return code;
    packet.packet_id = ctl_mqtt_id(m);
    packet.props.response_topic = filter.filter;
    packet.props.correlation_data = correlation;
    packet.props.message_expiry_s = request->wait_s; /* nobody waits for it any longer than this */
    mqtt_props_set(&packet.props, MQTT_PROP_RESPONSE_TOPIC);
    mqtt_props_set(&packet.props, MQTT_PROP_CORRELATION_DATA);
    mqtt_props_set(&packet.props, MQTT_PROP_MESSAGE_EXPIRY);
    int64_t deadline = ctl_now_ms() + wait_ms;
    if (!ctl_mqtt_publish(m, &packet))
        return CTL_UNREACHABLE;
    for (;;) {
        struct mqtt_packet in;
        code = ctl_mqtt_next(m, deadline, &in);
        if (code == CTL_TIMED_OUT) {
            ctl_error(m->run,
                      "no answer within %u s; polygatectl why and polygatectl client tell "
                      "more",
                      request->wait_s);
            return code;
        }
        if (code != CTL_OK)
            return code;
        if (in.type == MQTT_PUBACK && in.u.ack.code == MQTT_RC_NO_MATCHING_SUBSCRIBERS) {
            ctl_error(m->run, "no session has that client identifier");
            return CTL_FAILED;
        }
        if (in.type == MQTT_PUBACK && in.u.ack.code >= 0x80)
            return judge_code(m->run, in.u.ack.code, "");
        if (!take_message(m, &in, &code))
            continue;
        if (!mqtt_props_has(&in.u.publish.props, MQTT_PROP_CORRELATION_DATA) ||
            !pg_bytes_equal(in.u.publish.props.correlation_data, correlation))
            continue; /* of somebody who guessed the topic */
        print_payload(in.u.publish.payload);
        return judge_answer(in.u.publish.payload);
    }
}

static int run_send(struct ctl_run *run)
{
    struct ctl_mqtt m = {.fd = -1};
    struct request request;
    int64_t wait_ms;
    const char *parent = ctl_value(run, "topic");
    if (!ctl_duration_ms(run, "wait", 1000, 24 * 3600 * 1000, 10 * 1000, &wait_ms))
        return CTL_USAGE;
    if (parent && (parent[0] == '\0' || strchr(parent, '/'))) {
        ctl_error(run, "--topic %s: expected one topic level", parent);
        return CTL_USAGE;
    }
    int len = snprintf(request.topic, sizeof(request.topic), "%s/p2p/%s",
                       parent ? parent : "polygatectl", run->arguments[0]);
    if (len < 0 || (size_t)len >= sizeof(request.topic)) {
        ctl_error(run, "the client identifier is too long");
        return CTL_USAGE;
    }
    if (!topic_is_good(run, request.topic))
        return CTL_USAGE;
    char *payload = make_payload(run);
    if (!payload)
        return CTL_USAGE;
    request.payload = payload;
    request.wait_s = (uint32_t)((wait_ms + 999) / 1000);
    if (getrandom(request.correlation, sizeof(request.correlation), 0) !=
        (ssize_t)sizeof(request.correlation)) {
        ctl_error(run, "no random numbers: %s", strerror(errno));
        free(payload);
        return CTL_FAILED;
    }
    ctl_mqtt_catch_signals();
    int code = ctl_mqtt_open(&m, run);
    /* The made-up identifier is random, so nobody else listens there by accident. */
    snprintf(request.answer_topic, sizeof(request.answer_topic), "polygatectl/answers/%s", m.id);
    if (code == CTL_OK)
        code = exchange(&m, &request, wait_ms);
    ctl_mqtt_close(&m);
    free(payload);
    return code;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option pub_options[] = {
    {.letter = 'q', .name = "qos", .argument = "QOS", .help = "0, 1 or 2 (1)"},
    {.letter = 'r', .name = "retain", .help = "keep it for those who subscribe later"},
    CTL_MQTT_OPTIONS,
    {.name = NULL},
};
static const struct ctl_option sub_options[] = {
    {.letter = 'v', .name = "verbose", .help = "the topic in front of each message"},
    {.letter = 'C', .name = "count", .argument = "N", .help = "end after so many messages"},
    {.letter = 'q', .name = "qos", .argument = "QOS", .help = "0, 1 or 2 (1)"},
    CTL_MQTT_OPTIONS,
    {.name = NULL},
};
static const struct ctl_option send_options[] = {
    {.letter = 'm',
     .name = "message",
     .argument = "NAME",
     .help = "the command, by its name in the protocol's table: text_message"},
    {.letter = 'j',
     .name = "json",
     .argument = "BODY",
     .help = "its fields: '{\"text\":\"hello\"}'"},
    {.name = "payload", .argument = "TEXT", .help = "this very payload instead of the two"},
    {.letter = 'w',
     .name = "wait",
     .argument = "TIME",
     .help = "how long to wait for the answer, and for the client (10s)"},
    {.letter = 't',
     .name = "topic",
     .argument = "PARENT",
     .help = "publish to PARENT/p2p/CLIENT (polygatectl)"},
    CTL_MQTT_OPTIONS,
    {.name = NULL},
};

const struct ctl_command ctl_mqtt_commands[] = {
    {.name = "pub",
     .arguments = "TOPIC PAYLOAD|-",
     .help = "Publish one message; - reads it from the standard input.",
     .options = pub_options,
     .min_arguments = 2,
     .max_arguments = 2,
     .run = run_pub},
    {.name = "sub",
     .arguments = "FILTER...",
     .help = "Print messages as they come.",
     .options = sub_options,
     .min_arguments = 1,
     .max_arguments = -1,
     .run = run_sub},
    {.name = "send",
     .arguments = "CLIENT",
     .help = "Send a command to one client and print its answer.",
     .options = send_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_send},
    {.name = NULL},
};
