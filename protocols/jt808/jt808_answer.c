/* SPDX-License-Identifier: Apache-2.0 */

/* What the platform says by itself: the answers that the standard demands, the requests for
 * missing packages, and the presence messages. Every frame takes the header form, the version byte
 * and the phone of the latest frame of the terminal, and the next serial of its own.
 *
 * threads   the worker of the connection
 * standard  JT/T 808: 0x8001, 0x8003, 0x8004 (2019), 0x8100, 0x8800
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jt808_auth.h"
#include "jt808_parts.h"
#include "jt808_table.h"
#include "wire/device.h"
#include "wire/json_out.h"
#include "wire/out.h"

#define SMALL_BODY 512u
#define SMALL_WIRE (2u * (21u + SMALL_BODY + 1u) + 2u)
_Static_assert(SMALL_WIRE <= PG_RESERVE_MAX, "an answer is encoded in place");

enum jt808_result_code jt808_result_of(enum pg_reason reason)
{
    switch (reason) {
    case PG_OK:
    case PG_NO_SUBSCRIBERS:
    case PG_DUPLICATE:
        return JT808_RESULT_OK;
    case PG_MALFORMED:
    case PG_PAYLOAD_INVALID:
        return JT808_RESULT_WRONG;
    case PG_UNSUPPORTED:
        return JT808_RESULT_UNSUPPORTED;
    default:
        return JT808_RESULT_FAILED;
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

struct jt808_frame jt808_header_like(const struct jt808_frame *like, uint16_t msg_id,
                                     uint16_t serial)
{
    struct jt808_frame frame = {
        .msg_id = msg_id,
        .attributes = like->header_2019 ? JT808_ATTR_VERSION : 0,
        .header_2019 = like->header_2019,
        .protocol_version = like->protocol_version,
        .serial = serial,
    };

    memcpy(frame.phone, like->phone, sizeof(frame.phone));
    return frame;
}

static void send_small(struct jt808_conn *c, const struct jt808_frame *like, uint16_t msg_id,
                       uint16_t serial, struct pg_bytes body)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    struct jt808_frame frame = jt808_header_like(like, msg_id, serial);

    frame.body = body;
    uint8_t *room = pg_conn_reserve(conn, SMALL_WIRE);
    size_t len = jt808_frame_encode(&frame, room, SMALL_WIRE);
    pg_conn_commit(conn, len <= SMALL_WIRE ? len : 0);
    jt808_count(c, JT808_COUNT_FRAMES_SENT);
}

void jt808_send(struct jt808_terminal *t, uint16_t msg_id, struct pg_bytes body)
{
    send_small(t->conn, &t->form, msg_id, t->serial++, body);
}

static void put_general(struct wire_out *out, uint16_t serial, uint16_t msg_id,
                        enum jt808_result_code result)
{
    wire_out_uint(out, serial, 2);
    wire_out_uint(out, msg_id, 2);
    wire_out_uint(out, result, 1);
}

void jt808_answer(struct jt808_terminal *t, uint16_t serial, uint16_t msg_id,
                  enum jt808_result_code result)
{
    uint8_t body[5];
    struct wire_out out = wire_out_over(body, sizeof(body));

    put_general(&out, serial, msg_id, result);
    jt808_send(t, 0x8001, wire_out_bytes(&out));
}

void jt808_answer_stray(struct jt808_conn *c, const struct jt808_frame *frame,
                        enum jt808_result_code result)
{
    uint8_t body[5];
    struct wire_out out = wire_out_over(body, sizeof(body));

    put_general(&out, frame->serial, frame->msg_id, result);
    send_small(c, frame, 0x8001, c->stray_serial++, wire_out_bytes(&out));
}

void jt808_answer_registration(struct jt808_terminal *t, uint16_t serial, uint8_t result)
{
    uint8_t body[3 + JT808_CODE_LEN];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, serial, 2);
    wire_out_uint(&out, result, 1);
    if (result == 0) {
        uint8_t *code = wire_out_take(&out, JT808_CODE_LEN);
        jt808_code_issue(jt808_conf_of(t->conn)->code_secret, t->form.phone, (char *)code);
    }
    jt808_send(t, 0x8100, wire_out_bytes(&out));
}

void jt808_answer_time(struct jt808_terminal *t)
{
    time_t now = (time_t)(pg_wall_ms() / 1000);
    struct tm utc;
    uint8_t body[6];

    (void)gmtime_r(&now, &utc);
    const int parts[6] = {utc.tm_year % 100, utc.tm_mon + 1, utc.tm_mday,
                          utc.tm_hour,       utc.tm_min,     utc.tm_sec % 60};
    for (size_t i = 0; i < 6; i++) {
        body[i] = (uint8_t)(parts[i] / 10 << 4 | parts[i] % 10);
    }
    jt808_send(t, 0x8004, (struct pg_bytes){.data = body, .len = sizeof(body)});
}

static void put_ids(struct wire_out *out, const struct jt808_missing *missing, unsigned width)
{
    wire_out_uint(out, missing->count, width);
    for (unsigned i = 0; i < missing->count; i++) {
        wire_out_uint(out, missing->ids[i], 2);
    }
}

void jt808_answer_multimedia(struct jt808_terminal *t, uint16_t serial, uint32_t media_id,
                             const struct jt808_missing *missing)
{
    uint8_t body[2 + 4 + 1 + 2 * JT808_MISSING_MAX];
    struct wire_out out = wire_out_over(body, sizeof(body));

    if (t->edition == JT808_2011) {
        wire_out_uint(&out, serial, 2);
    }
    wire_out_uint(&out, media_id, 4);
    if (missing) {
        put_ids(&out, missing, 1);
    } else if (jt808_conf_of(t->conn)->multimedia_count) {
        wire_out_uint(&out, 0, 1);
    }
    jt808_send(t, 0x8800, wire_out_bytes(&out));
}

void jt808_ask_missing(struct jt808_terminal *t, const struct jt808_missing *missing)
{
    uint8_t body[2 + 2 + 2 * JT808_MISSING_MAX];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, missing->first_serial, 2);
    put_ids(&out, missing, t->form.header_2019 ? 2 : 1);
    jt808_send(t, 0x8003, wire_out_bytes(&out));
}

/* ---- topics --------------------------------------------------------------------------------- */

struct pg_bytes jt808_topic(const char *pattern, const char *phone, uint16_t msg_id, char *room,
                            size_t size)
{
    const struct jt808_message *message = jt808_message_by_id(msg_id);
    char id[5];

    (void)snprintf(id, sizeof(id), "%04x", msg_id);
    const struct wire_fill fills[] = {
        {"${phone}", phone},
        {"${id}", id},
        {"${message}", message ? message->name : id},
    };
    return wire_topic(pattern, fills, sizeof(fills) / sizeof(fills[0]), room, size);
}

/* ---- presence ------------------------------------------------------------------------------- */

void jt808_time_text(int64_t wall_ms, char text[JT808_TIME_TEXT])
{
    int64_t local_ms = wall_ms + INT64_C(8) * 3600 * 1000;
    time_t seconds = (time_t)(local_ms / 1000);
    struct tm tm;

    (void)gmtime_r(&seconds, &tm);
    size_t len = strftime(text, JT808_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + len, JT808_TIME_TEXT - len, ".%03u+08:00", (unsigned)(local_ms % 1000));
}

/* Retained, so that whoever subscribes later sees which terminals are there. */
static void announce(struct jt808_terminal *t, const char *status, const char *cause)
{
    struct jt808_conn *c = t->conn;
    char topic[JT808_TOPIC_MAX], text[512], time[JT808_TIME_TEXT], edition[12];
    struct json_out out = json_out_over(text, sizeof(text));

    jt808_time_text(pg_wall_ms(), time);
    (void)snprintf(edition, sizeof(edition), "%u",
                   t->edition ? t->edition : (unsigned)jt808_frame_edition(&t->form));
    json_out_open(&out, '{');
    json_out_key(&out, "protocol");
    json_out_word(&out, "jt808");
    json_out_key(&out, "phone");
    json_out_word(&out, t->phone);
    json_out_key(&out, "status");
    json_out_word(&out, status);
    if (cause) {
        json_out_key(&out, "cause");
        json_out_word(&out, cause);
    } else {
        json_out_key(&out, "edition");
        json_out_word(&out, edition);
        json_out_key(&out, "peer");
        json_out_word(&out, pg_conn_peer(pg_conn_of_state(c)));
    }
    json_out_key(&out, "time");
    json_out_word(&out, time);
    json_out_close(&out, '}');

    struct pg_msg_spec spec = {
        .topic = jt808_topic(jt808_conf_of(c)->status_topic, t->phone, 0, topic, sizeof(topic)),
        .payload = {.data = (const uint8_t *)text, .len = out.len},
        .qos = 1,
        .retain = true,
        .publisher = pg_bytes_str(t->phone),
        .protocol = "jt808",
        .props = {.payload_is_utf8 = true, .content_type = PG_BYTES_OF("application/json")},
    };
    struct pg_msg *msg = spec.topic.len > 0 && !out.failed ? pg_msg_new(&spec) : NULL;
    if (msg) {
        pg_announce(msg);
    } else {
        PG_LOG(PG_ERROR, "jt808_presence_lost", PG_F_REASON(PG_NO_MEMORY),
               PG_F_TEXT("client", t->phone));
    }
}

void jt808_announce_online(struct jt808_terminal *t)
{
    announce(t, "online", NULL);
}

void jt808_announce_offline(struct jt808_terminal *t, enum pg_reason cause)
{
    announce(t, "offline", pg_reason_name(cause));
}
