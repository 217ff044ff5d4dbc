/* SPDX-License-Identifier: Apache-2.0 */

/* What a vehicle sends: published for the applications, and answered when the core has taken it,
 * not before.
 *
 * Who is answered: on a platform link every report; on a terminal link a good report is met with
 * silence and a bad one with an error, as Annex B has it; `report_ack` says otherwise. An error
 * answer has the time of the bad record, so that the sender finds it; it sends it again, each
 * minute and up to three times. A record that came again and was taken the first time is answered
 * and not published twice.
 *
 * A report whose unit does not fit its table is published all the same, with what could be read and
 * the rest in hexadecimal, and is answered with an error.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: chapter 5, 6.3.2, Annex B
 */

#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"

/* Publications that may wait for the core's decision before the connection is not read any more. */
#define UPLINKS_MAX 256u
/* The largest JSON of one frame: 64 KiB of temperatures with their notes. */
#define JSON_LIMIT ((size_t)16 << 20)
/* JSON up to this size is written without the heap; a report with 100 cells has 3 KiB. */
#define TEXT_ROOM 16384u

void gbt_uplink_free(struct gbt_vehicle *v)
{
    while (v->uplinks) {
        struct gbt_uplink *u = v->uplinks;
        v->uplinks = u->next;
        free(u);
    }
    v->uplinks_end = &v->uplinks;
    v->uplink_count = 0;
}

/* ---- repetitions ---------------------------------------------------------------------------- */

static uint32_t hash_of(struct pg_bytes bytes)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    size_t i = 0;

    for (; i + 8 <= bytes.len; i += 8) {
        uint64_t eight;
        memcpy(&eight, bytes.data + i, 8);
        hash = (hash ^ eight) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
    }
    for (; i < bytes.len; i++) {
        hash = (hash ^ bytes.data[i]) * UINT64_C(1099511628211);
    }
    return (uint32_t)(hash >> 32 ^ hash);
}

/* Whether this frame came before and was taken; else it is marked, *at its place. */
static bool is_duplicate(struct gbt_vehicle *v, const struct gbt_frame *frame, uint32_t hash,
                         unsigned *at)
{
    int64_t window = gbt_conf_of(v->conn)->duplicate_ms;
    int64_t now = pg_now_ms();

    for (unsigned i = 0; i < GBT_RECENT; i++) {
        const struct gbt_recent *r = &v->recent[i];
        if (r->at_ms != 0 && r->hash == hash && r->len == frame->wire.len &&
            now - r->at_ms < window) {
            return true;
        }
    }
    *at = v->recent_next++ % GBT_RECENT;
    v->recent[*at] =
        (struct gbt_recent){.at_ms = now ? now : 1, .hash = hash, .len = (uint32_t)frame->wire.len};
    return false;
}

/* Whether the first of these frames has not been decided yet: its answer is for both. */
static bool is_undecided(const struct gbt_vehicle *v, uint32_t hash)
{
    for (const struct gbt_uplink *u = v->uplinks; u; u = u->next) {
        if (u->hash == hash) {
            return true;
        }
    }
    return false;
}

/* The core refused it: a repetition is a new try. */
static void forget(struct gbt_vehicle *v, const struct gbt_uplink *u)
{
    struct gbt_recent *r = &v->recent[u->duplicate_at];

    if (r->hash == u->hash) {
        r->at_ms = 0;
    }
}

/* ---- messages ------------------------------------------------------------------------------- */

static struct pg_msg *message_of(struct gbt_vehicle *v, const char *name, uint8_t command,
                                 struct pg_bytes payload, bool json)
{
    char room[GBT_TOPIC_MAX];
    struct pg_msg_spec spec = {
        .topic = gbt_topic(gbt_conf_of(v->conn)->uplink_topic, v->vin, name, command, room,
                           sizeof(room)),
        .payload = payload,
        .qos = 1,
        .publisher = pg_client_id(v->client),
        .protocol = "gbt32960",
        .props = {.payload_is_utf8 = json,
                  .content_type = json ? PG_BYTES_OF("application/json")
                                       : PG_BYTES_OF("application/octet-stream")},
    };
    return pg_msg_new(&spec);
}

static void judge(struct gbt_vehicle *v, const struct gbt_json_judgement *judgement,
                  struct gbt_uplink *u)
{
    struct pg_conn *conn = pg_conn_of_state(v->conn);
    bool bad = (judgement->faults & ~(unsigned)WIRE_FAULT_SURPLUS) != 0;

    pg_conn_count(conn, GBT_COUNT_BAD_UNIT, bad);
    pg_conn_count(conn, GBT_COUNT_OUT_OF_RANGE, judgement->out_of_range != 0);
    if (bad && u->bad == 0) {
        u->bad = (uint8_t)gbt_response_of(PG_MALFORMED, u->request.edition);
    }
}

/* The message for the core, or NULL when memory is out. */
static struct pg_msg *compose(struct gbt_vehicle *v, const struct gbt_frame *frame,
                              struct gbt_uplink *u, struct gbt_cells *cells)
{
    const struct gbt_conf *conf = gbt_conf_of(v->conn);
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);
    bool emqx = conf->payload == GBT_PAYLOAD_EMQX;
    const char *name = emqx ? gbt_emqx_topic(message) : message ? message->name : NULL;
    struct gbt_json_judgement judgement = {0};
    struct gbt_json_options options = {
        .shape = emqx ? WIRE_SHAPE_ALIAS : WIRE_SHAPE_NATIVE,
        .uplink = true,
        .hide_secrets = true,
        .raw = conf->add_raw,
        .received_ms = pg_wall_ms(),
        .cells = cells,
        .signature = gbt_secure_signature(v->conn, frame),
    };
    char text[TEXT_ROOM];

    if (options.signature && strcmp(options.signature, "invalid") == 0 &&
        conf->bad_signatures == GBT_BAD_SIGNATURES_REFUSE) {
        u->bad = GBT_SIGNATURE_ERROR;
    }
    if (conf->payload == GBT_PAYLOAD_RAW) {
        judgement.faults = gbt_frame_faults(frame, true);
        if (cells) {
            struct wire_walked walked;
            (void)wire_walk(gbt_rows_report, frame->unit, frame->edition, gbt_cells_visit, cells,
                            &walked);
        }
        judge(v, &judgement, u);
        return message_of(v, name, frame->command, frame->wire, false);
    }
    struct json_out small = json_out_over(text, sizeof(text));
    if (gbt_json_write(&small, frame, &options, &judgement)) {
        judge(v, &judgement, u);
        return message_of(v, name, frame->command,
                          (struct pg_bytes){.data = (const uint8_t *)text, .len = small.len}, true);
    }
    struct json_out large = json_out_heap(JSON_LIMIT);
    struct pg_msg *msg = NULL;
    if (cells) {
        cells->count = 0;
    }
    if (gbt_json_write(&large, frame, &options, &judgement)) {
        judge(v, &judgement, u);
        msg = message_of(v, name, frame->command,
                         (struct pg_bytes){.data = (const uint8_t *)large.data, .len = large.len},
                         true);
    }
    json_out_free(&large);
    return msg;
}

/* ---- publication ---------------------------------------------------------------------------- */

static bool is_report(uint8_t command)
{
    return command == GBT_REALTIME_REPORT || command == GBT_REISSUE_REPORT;
}

static bool is_login(uint8_t command)
{
    return command == GBT_VEHICLE_LOGIN || command == GBT_PLATFORM_LOGIN;
}

/* Whether this response goes out: rule 2 of 6.3.2, chapter 5 and Annex B. */
static bool is_answered(const struct gbt_vehicle *v, const struct gbt_uplink *u,
                        enum gbt_response response)
{
    int ack = gbt_conf_of(v->conn)->report_ack;

    if (!u->wants_answer) {
        return false;
    }
    if (!is_report(u->request.command) || response != GBT_SUCCESS) {
        return true;
    }
    return ack == GBT_REPORT_ACK_ALWAYS ||
           (ack == GBT_REPORT_ACK_AUTO && v->conn->platform != NULL);
}

void gbt_uplink_note(struct gbt_uplink *u, enum pg_reason reason)
{
    if (reason == PG_PENDING) {
        u->undecided++;
    } else if (!pg_reason_is_error(u->reason)) {
        u->reason = reason;
    }
}

/* The publication is decided: answer the vehicle. `frame` is still at hand, or NULL. */
static void conclude(struct gbt_vehicle *v, const struct gbt_uplink *u,
                     const struct gbt_frame *frame)
{
    enum pg_reason reason = u->reason;
    enum gbt_response response = gbt_response_of(reason, u->request.edition);

    if (response == GBT_SUCCESS) {
        gbt_count(v->conn, GBT_COUNT_PUBLISHED);
        response = u->bad != 0 ? (enum gbt_response)u->bad : GBT_SUCCESS;
    } else {
        gbt_count(v->conn, GBT_COUNT_PUBLISH_REFUSED);
        PG_LOG(PG_WARN, "gbt32960_publish_refused", PG_F_REASON(reason),
               PG_F_TEXT("client", v->vin), PG_F_INT("command", u->request.command));
        forget(v, u);
    }
    if (is_answered(v, u, response)) {
        if (frame) {
            gbt_answer_frame(v->conn, frame, response);
        } else {
            gbt_answer(v->conn, &u->request, response);
        }
    }
    if (v->greeting && is_login(u->request.command)) {
        v->greeting = false;
        gbt_command_deliver(v);
    }
}

static void keep_undecided(struct gbt_vehicle *v, const struct gbt_uplink *u)
{
    struct gbt_uplink *kept = malloc(sizeof(*kept));

    if (!kept) {
        forget(v, u); /* no answer: the vehicle repeats it, and that is a new try */
        return;
    }
    *kept = *u;
    kept->next = NULL;
    *v->uplinks_end = kept;
    v->uplinks_end = &kept->next;
    if (++v->uplink_count >= UPLINKS_MAX && !v->conn->flooded) {
        v->conn->flooded = true;
        gbt_pause(v->conn);
    }
}

void gbt_uplink_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct gbt_vehicle *v = pg_client_cookie(client);

    for (struct gbt_uplink **link = &v->uplinks; *link; link = &(*link)->next) {
        struct gbt_uplink *u = *link;
        if (u->token != token) {
            continue;
        }
        u->undecided--;
        gbt_uplink_note(u, reason);
        if (u->undecided > 0) {
            return;
        }
        *link = u->next;
        if (!u->next) {
            v->uplinks_end = link;
        }
        v->uplink_count--;
        conclude(v, u, NULL);
        free(u);
        break;
    }
    if (v->conn->flooded && v->uplink_count < UPLINKS_MAX / 2) {
        v->conn->flooded = false;
        gbt_resume(v->conn);
    }
}

void gbt_uplink_take(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;
    bool known = gbt_message_by_command(frame->command, frame->edition) != NULL;
    struct gbt_uplink u = {.request = gbt_request_of(frame), .hash = hash_of(frame->wire)};

    u.wants_answer = !gbt_frame_is_answer(frame) && frame->command < 0x80;
    if (!known) {
        gbt_count(c, GBT_COUNT_UNKNOWN_COMMANDS);
        u.wants_answer =
            u.wants_answer && gbt_conf_of(c)->unknown_commands == GBT_UNKNOWN_COMMANDS_REJECT;
        u.bad = GBT_ERROR;
    }
    if (is_login(frame->command)) {
        u.duplicate_at = GBT_RECENT - 1; /* each login is answered, and tells the applications */
    } else if (is_duplicate(v, frame, u.hash, &u.duplicate_at)) {
        gbt_count(c, GBT_COUNT_DUPLICATES);
        if (!is_undecided(v, u.hash) && is_answered(v, &u, GBT_SUCCESS)) {
            gbt_answer_frame(c, frame, GBT_SUCCESS);
        }
        return;
    }
    if (gbt_frame_is_opaque(frame)) {
        gbt_count(c, GBT_COUNT_OPAQUE);
        u.bad = frame->edition == GBT_2025 ? GBT_DECRYPTION_ERROR : GBT_ERROR;
    }
    bool joins = is_report(frame->command) && frame->edition == GBT_2016 &&
                 !gbt_frame_is_answer(frame) && !gbt_frame_is_opaque(frame) &&
                 gbt_conf_of(c)->join_cells && gbt_conf_of(c)->payload != GBT_PAYLOAD_EMQX;
    struct gbt_cells cells;
    cells.count = 0;
    struct pg_msg *msg = compose(v, frame, &u, joins ? &cells : NULL);
    u.token = ++c->token;
    gbt_uplink_note(&u, msg ? pg_publish(v->client, msg, u.token) : PG_NO_MEMORY);
    if (!pg_reason_is_error(u.reason)) {
        gbt_hand_on(v, frame, &u);
    }
    if (u.undecided > 0) {
        keep_undecided(v, &u);
    } else {
        conclude(v, &u, frame);
    }
    if (cells.count > 0 && v->state == GBT_ONLINE) {
        gbt_join_take(v, frame, &cells);
    }
}

/* Publish what no vehicle waits for. `msg` is given; null: memory is out. */
static void publish_unanswered(struct gbt_vehicle *v, struct pg_msg *msg)
{
    uint64_t token = ++v->conn->token;

    if (!msg || pg_publish(v->client, msg, token) == PG_NO_MEMORY) {
        gbt_count(v->conn, GBT_COUNT_PUBLISH_REFUSED);
    }
}

void gbt_uplink_extra(struct gbt_vehicle *v, const char *message, struct pg_bytes json)
{
    /* The frames that it is made of have been answered. */
    publish_unanswered(v, message_of(v, message, GBT_REALTIME_REPORT, json, true));
}

void gbt_uplink_logout(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_uplink u = {.request = gbt_request_of(frame)};

    if (gbt_conf_of(v->conn)->payload == GBT_PAYLOAD_EMQX) {
        publish_unanswered(v, compose(v, frame, &u, NULL));
    }
}
