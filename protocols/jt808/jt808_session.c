/* SPDX-License-Identifier: Apache-2.0 */

/* The life of a terminal on a connection.
 *
 *            0x0102 (a code that may be right), 0x0100 or data where configured
 *    FRESH ------------------------------------------------------------> ASKING
 *      ^                                                                   |
 *      |  refused: 0x8001 result 1 (0x8100 result 4)                       |  pg_client_admit
 *      +-------------------------------------------------------------------+
 *      |                                                                   |
 *      |  taken over, kicked, silent                                       v  admitted
 *      +---------------------------------------------------------------- ONLINE
 *      |                                                                   |
 *      |  the core has ended the client                                    v  0x0003
 *      +--------------------------------------------------------------- LEAVING
 *
 * FRESH answers 0x0100 (a code that belongs to the phone), 0x0004 (the time), and nothing else with
 * success. ASKING lasts until the core has decided; the connection is paused, so that no frame can
 * overtake the decision; LEAVING pauses it in the same way. ONLINE publishes what comes and answers
 * it when the core has taken it, not before.
 *
 * Identity. The client identifier is the phone as the terminal sent it at login, all digits with
 * their leading zeros; topics use the same. Phones are compared without leading zeros, since a
 * terminal may show 12 digits in one frame and 20 in the next. A frame of another phone on a
 * connection with a terminal that is logged in is refused, or closes the connection, or is a
 * terminal of its own, as `other_phones` says; it is never published under the first one.
 *
 * Repetitions. A terminal that missed our answer sends the identical frame again: same id, same
 * serial, same bytes within `duplicate_window`. It is answered again and not published twice, if
 * the first one was taken. For sub-packages the reassembly does the same.
 *
 * threads   the worker of the connection
 * standard  JT/T 808: 0x0001-0x0005, 0x0100, 0x0102, 0x8001, 0x8100; 4.4.3 (sub-packages)
 */

#include <stdlib.h>
#include <string.h>

#include "jt808_auth.h"
#include "jt808_json.h"
#include "jt808_parts.h"
#include "jt808_table.h"
#include "wire/sha256.h"

/* Publications that may wait for the core's decision before the terminal is not read any more. */
#define UPLINKS_MAX 256u
/* Before login only these few packages of a registration are kept. */
#define LOGIN_PACKAGES_MAX 8u
/* The largest JSON of one message: a message of `message_size` in hexadecimal, and then some. */
#define JSON_LIMIT ((size_t)256 << 20)
/* Time to register again on the same connection after unregistering. */
#define UNREGISTERED_IDLE_MS 60000
/* JSON up to this size is written without the heap; a location with many items has 2 KiB. */
#define TEXT_ROOM 8192u
/* Phones that may be on a connection without having proven anything. */
#define FRESH_MAX 16u

/* ---- pausing -------------------------------------------------------------------------------- */

static void pause_reading(struct jt808_conn *c)
{
    c->pauses++;
    pg_conn_pause(pg_conn_of_state(c));
}

static void resume_reading(struct jt808_conn *c)
{
    c->pauses--;
    pg_conn_resume(pg_conn_of_state(c));
}

/* ---- terminals of a connection -------------------------------------------------------------- */

static void free_uplinks(struct jt808_terminal *t)
{
    while (t->uplinks) {
        struct jt808_uplink *u = t->uplinks;
        t->uplinks = u->next;
        free(u);
    }
    t->uplinks_end = &t->uplinks;
    t->uplink_count = 0;
}

static void terminal_free(struct jt808_terminal *t)
{
    pg_timer_stop(&t->timer);
    jt808_command_free(t);
    free_uplinks(t);
    jt808_reassembly_close(&t->reassembly);
    t->magic = 0;
    free(t);
}

static void remove_terminal(struct jt808_conn *c, struct jt808_terminal *t)
{
    jt808_fleet_remove(c, t);
    terminal_free(t);
}

void jt808_session_closed(struct pg_conn *conn)
{
    struct jt808_conn *c = pg_conn_state(conn);

    while (c->terminals) {
        remove_terminal(c, c->terminals);
    }
    free(c->table);
}

static struct jt808_terminal *new_terminal(struct jt808_conn *c, const struct jt808_frame *frame)
{
    struct jt808_terminal *t = calloc(1, sizeof(*t));

    if (!t) {
        pg_conn_close(pg_conn_of_state(c), PG_NO_MEMORY, NULL);
        return NULL;
    }
    t->magic = JT808_TERMINAL_MAGIC;
    t->conn = c;
    t->uplinks_end = &t->uplinks;
    memcpy(t->phone, frame->phone, sizeof(t->phone));
    jt808_fleet_add(c, t);
    return t;
}

/* A frame of a phone that is not the one this connection is for. */
static void refuse_other_phone(struct jt808_conn *c, const struct jt808_frame *frame)
{
    const struct jt808_conf *conf = jt808_conf_of(c);
    struct pg_conn *conn = pg_conn_of_state(c);

    jt808_count(c, JT808_COUNT_OTHER_PHONE);
    PG_LOG(PG_WARN, "jt808_other_phone", PG_F_TEXT("client", c->terminals->phone),
           PG_F_TEXT("phone", frame->phone), PG_F_INT("id", frame->msg_id),
           PG_F_TEXT("peer", pg_conn_peer(conn)));
    if (conf->other_phones == JT808_OTHER_PHONES_CLOSE) {
        pg_conn_close(conn, PG_PROTOCOL_ERROR, "a frame of phone %s on the connection of %s",
                      frame->phone, c->terminals->phone);
    } else if (frame->msg_id != 0x0001) {
        jt808_answer_stray(c, frame, JT808_RESULT_FAILED);
    }
}

/* Keep the number of terminals without login small: the one that came first goes. */
static void drop_oldest_fresh(struct jt808_conn *c)
{
    struct jt808_terminal *oldest = NULL;

    if (c->terminal_count - c->online_count < FRESH_MAX) {
        return;
    }
    for (struct jt808_terminal *t = c->terminals; t; t = t->next) {
        oldest = t->state == JT808_FRESH ? t : oldest;
    }
    if (oldest) {
        remove_terminal(c, oldest);
    }
}

/* The terminal of a frame, made if it may be; NULL: the frame was refused. */
static struct jt808_terminal *terminal_of(struct jt808_conn *c, const struct jt808_frame *frame)
{
    const struct jt808_conf *conf = jt808_conf_of(c);
    struct jt808_terminal *t = jt808_fleet_find(c, frame->phone);

    if (t || !c->terminals) {
        return t ? t : new_terminal(c, frame);
    }
    if (conf->other_phones == JT808_OTHER_PHONES_ADMIT) {
        drop_oldest_fresh(c);
        if (c->terminal_count < (uint64_t)conf->phones) {
            return new_terminal(c, frame);
        }
    } else if (c->terminals->state == JT808_FRESH) {
        remove_terminal(c, c->terminals); /* it has proven nothing: nothing is lost */
        return new_terminal(c, frame);
    }
    refuse_other_phone(c, frame);
    return NULL;
}

/* ---- login ---------------------------------------------------------------------------------- */

static void ask_admission(struct jt808_terminal *t, const struct jt808_frame *frame,
                          enum jt808_asking asking, struct pg_login *login)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);

    memcpy(t->phone, frame->phone, sizeof(t->phone));
    login->client_id = pg_bytes_str(t->phone);
    login->session_expiry_s = (uint32_t)(conf->session_expiry_ms / 1000);
    login->window = (uint32_t)conf->window;
    t->state = JT808_ASKING;
    t->asking = asking;
    t->asked_id = frame->msg_id;
    t->asked_serial = frame->serial;
    pause_reading(t->conn);
    pg_client_admit(pg_conn_of_state(t->conn), login, t);
}

/* The core has told the log, or has been told. */
static void login_refused(struct jt808_terminal *t)
{
    struct jt808_conn *c = t->conn;
    struct pg_conn *conn = pg_conn_of_state(c);
    int64_t limit = jt808_conf_of(c)->login_failures;

    jt808_count(c, JT808_COUNT_LOGINS_REFUSED);
    /* Terminals repeat 0x0102 for ever: closing makes them fall back to registration. */
    if (++c->login_failures >= (uint64_t)limit) {
        pg_conn_close(conn, PG_BAD_CREDENTIAL, "%u logins of phone %s refused", c->login_failures,
                      t->phone);
    }
}

/* The code in an authentication, without the NULs that some terminals send behind it. A body of
 * 2013 under a header of 2019 is a layout of the table; what fits none is taken whole. */
static struct pg_bytes code_of(const struct jt808_frame *frame)
{
    struct jt808_body body;
    struct pg_bytes code;

    if (jt808_body_open(frame, 0, &body) && jt808_body_bytes(&body, "auth_code", &code)) {
        return wire_text_strip(code);
    }
    return wire_text_strip(frame->body);
}

static void mark_of_code(struct pg_bytes code, uint8_t mark[8])
{
    uint8_t digest[SHA256_BYTES];

    sha256(code, digest);
    memcpy(mark, digest, 8);
}

/* Whether a code may be asked about at all; one that was issued here to somebody else, or before
 * an unregistration, may not, and neither may another one than the phone was just given. */
static bool code_acceptable(const struct jt808_terminal *t, enum jt808_code worth)
{
    if (worth == JT808_CODE_UNKNOWN) {
        return !t->registered && jt808_conf_of(t->conn)->unknown_codes == JT808_UNKNOWN_CODES_ASK;
    }
    return worth == JT808_CODE_VALID;
}

/* 0x0102 before login. */
static void authenticate(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);
    struct pg_bytes code = code_of(frame);
    enum jt808_code worth = jt808_code_check(conf->code_secret, frame->phone, code);
    struct pg_login login = {0};

    if (!code_acceptable(t, worth)) {
        jt808_answer(t, frame->serial, frame->msg_id, JT808_RESULT_FAILED);
        pg_client_refuse(pg_conn_of_state(t->conn), pg_bytes_str(frame->phone), PG_BAD_CREDENTIAL,
                         "the authentication code is not one of this phone");
        login_refused(t);
        return;
    }
    t->by_code = true;
    mark_of_code(code, t->code_mark);
    if (worth == JT808_CODE_UNKNOWN) {
        login.username = pg_bytes_str(frame->phone);
        login.password = code;
    } else if (conf->issued_codes == JT808_ISSUED_TRUSTED) {
        login.username = pg_bytes_str(frame->phone);
        login.trusted = true;
    }
    ask_admission(t, frame, JT808_ASKED_BY_CODE, &login);
}

/* 0x0102 of a terminal that is logged in: the same code again, or the one that it was given. */
static void authenticate_again(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct pg_bytes code = code_of(frame);
    uint8_t mark[8];

    mark_of_code(code, mark);
    bool same = t->by_code && memcmp(mark, t->code_mark, sizeof(mark)) == 0;
    enum jt808_code worth =
        jt808_code_check(jt808_conf_of(t->conn)->code_secret, frame->phone, code);
    bool fine = same || worth == JT808_CODE_VALID;
    jt808_answer(t, frame->serial, frame->msg_id, fine ? JT808_RESULT_OK : JT808_RESULT_FAILED);
}

/* 0x0100. Repeated registration of the same phone is normal and gets the same code. */
static void register_terminal(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct jt808_conn *c = t->conn;
    const struct jt808_conf *conf = jt808_conf_of(c);
    struct jt808_body body;

    if (jt808_body_open(frame, t->edition, &body) && !frame->header_2019) {
        t->edition = body.edition;
    }
    if (conf->registration == JT808_REGISTRATION_REFUSE) {
        jt808_count(c, JT808_COUNT_REGISTRATIONS_REFUSED);
        jt808_answer_registration(t, frame->serial, 4);
        return;
    }
    if (conf->registration == JT808_REGISTRATION_ADMIT && t->state == JT808_FRESH) {
        struct pg_login login = {0};
        ask_admission(t, frame, JT808_ASKED_BY_REGISTRATION, &login);
        return;
    }
    t->registered = true;
    jt808_count(c, JT808_COUNT_REGISTRATIONS);
    jt808_answer_registration(t, frame->serial, 0);
}

/* Its code is not good any more, and stays so: only then is it told. */
void jt808_session_unregistered(struct jt808_terminal *t, enum pg_reason reason)
{
    struct pg_conn *conn = pg_conn_of_state(t->conn);

    if (pg_reason_is_error(reason)) {
        PG_LOG(PG_WARN, "jt808_not_unregistered", PG_F_TEXT("client", t->phone),
               PG_F_REASON(reason));
        t->state = JT808_ONLINE;
        resume_reading(t->conn);
        jt808_answer(t, t->asked_serial, t->asked_id, JT808_RESULT_FAILED);
        return;
    }
    jt808_answer(t, t->asked_serial, t->asked_id, JT808_RESULT_OK);
    PG_LOG(PG_INFO, "jt808_unregistered", PG_F_TEXT("client", t->phone),
           PG_F_TEXT("peer", pg_conn_peer(conn)));
    jt808_command_lost(t, PG_UNREGISTERED); /* while it can be settled */
    pg_client_set_session_expiry(t->client, 0);
    pg_client_end(t->client, PG_UNREGISTERED);
    if (t->conn->online_count <= 1) {
        pg_conn_set_idle(conn, UNREGISTERED_IDLE_MS, PG_LOGIN_TIMEOUT);
    }
}

static void unregister(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    t->state = JT808_LEAVING;
    t->asked_id = frame->msg_id;
    t->asked_serial = frame->serial;
    pause_reading(t->conn);
    enum pg_reason reason = jt808_code_revoke(t->client, frame->phone);
    if (reason != PG_PENDING) {
        jt808_session_unregistered(t, reason);
    }
}

static void answer_asked(struct jt808_terminal *t, bool admitted)
{
    switch (t->asking) {
    case JT808_ASKED_BY_CODE:
        jt808_answer(t, t->asked_serial, t->asked_id,
                     admitted ? JT808_RESULT_OK : JT808_RESULT_FAILED);
        break;
    case JT808_ASKED_BY_REGISTRATION:
        t->registered = admitted;
        jt808_count(t->conn,
                    admitted ? JT808_COUNT_REGISTRATIONS : JT808_COUNT_REGISTRATIONS_REFUSED);
        jt808_answer_registration(t, t->asked_serial, admitted ? 0 : 4);
        break;
    case JT808_ASKED_BY_DATA:
        t->admit_tried = true; /* the frame is offered again and answered then */
        break;
    }
}

/* false: the session has gone to another connection already, and this client will end. That is the
 * only reason for which an internal subscription, which no rule is asked about, is not allowed. */
static bool subscribe_downlink(struct jt808_terminal *t)
{
    char room[JT808_TOPIC_MAX];
    struct pg_subscription subscription = {
        .filter =
            jt808_topic(jt808_conf_of(t->conn)->downlink_topic, t->phone, 0, room, sizeof(room)),
        .qos = 1,
        .retain_handling = 2,
        .internal = true,
    };
    enum pg_reason reason = pg_subscribe(t->client, &subscription, 0);

    if (reason != PG_OK && reason != PG_PENDING && reason != PG_NOT_AUTHORIZED) {
        PG_LOG(PG_ERROR, "jt808_downlink_refused", PG_F_REASON(reason),
               PG_F_TEXT("client", t->phone), PG_F_BYTES("filter", subscription.filter));
    }
    return reason != PG_NOT_AUTHORIZED;
}

void jt808_session_admitted(struct pg_conn *conn, const struct pg_admission *admission,
                            void *cookie)
{
    struct jt808_conn *c = pg_conn_state(conn);
    struct jt808_terminal *t = cookie;
    bool admitted = admission->reason == PG_OK;

    resume_reading(c);
    t->state = admitted ? JT808_ONLINE : JT808_FRESH;
    t->client = admitted ? admission->client : NULL;
    answer_asked(t, admitted);
    if (!admitted) {
        login_refused(t);
        return;
    }
    c->online_count++;
    c->login_failures = 0;
    pg_conn_set_frame_limit(pg_conn_of_state(c), JT808_WIRE_MAX);
    jt808_count(c, JT808_COUNT_LOGINS);
    pg_conn_set_idle(pg_conn_of_state(c), jt808_conf_of(c)->idle_ms, PG_KEEPALIVE_TIMEOUT);
    if (subscribe_downlink(t)) {
        jt808_announce_online(t);
    }
    jt808_timer_update(t);
}

void jt808_session_ended(struct pg_client *client, enum pg_reason reason)
{
    struct jt808_terminal *t = pg_client_cookie(client);
    struct jt808_conn *c = t->conn;

    jt808_command_lost(t, reason);
    /* Who was taken over is still there, elsewhere: presence does not flap. */
    if (reason != PG_TAKEN_OVER) {
        jt808_announce_offline(t, reason);
    }
    free_uplinks(t);
    if (c->flooded) {
        c->flooded = false;
        resume_reading(c);
    }
    if (t->state == JT808_LEAVING) {
        resume_reading(c);
    }
    jt808_reassembly_close(&t->reassembly);
    pg_timer_stop(&t->timer);
    t->client = NULL;
    t->state = JT808_FRESH;
    t->registered = false;
    t->by_code = false;
    t->admit_tried = false;
    memset(t->recent, 0, sizeof(t->recent));
    c->online_count--;
}

/* ---- repetitions ---------------------------------------------------------------------------- */

static uint32_t hash_of(struct pg_bytes bytes)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ bytes.data[i]) * 16777619u;
    }
    return hash;
}

/* Whether this frame came before and was taken; else it is marked, *at its place. */
static bool is_duplicate(struct jt808_terminal *t, const struct jt808_frame *frame, uint32_t hash,
                         unsigned *at)
{
    int64_t window = jt808_conf_of(t->conn)->duplicate_ms;
    int64_t now = pg_now_ms();

    for (unsigned i = 0; i < JT808_RECENT; i++) {
        const struct jt808_recent *r = &t->recent[i];
        if (r->at_ms != 0 && r->msg_id == frame->msg_id && r->serial == frame->serial &&
            r->hash == hash && now - r->at_ms < window) {
            return true;
        }
    }
    *at = t->recent_next++ % JT808_RECENT;
    t->recent[*at] = (struct jt808_recent){
        .at_ms = now ? now : 1, .hash = hash, .msg_id = frame->msg_id, .serial = frame->serial};
    return false;
}

/* Whether the first of these frames has not been decided yet: its answer is for both. */
static bool is_undecided(const struct jt808_terminal *t, const struct jt808_frame *frame,
                         uint32_t hash)
{
    for (const struct jt808_uplink *u = t->uplinks; u; u = u->next) {
        if (u->msg_id == frame->msg_id && u->serial == frame->serial && u->hash == hash) {
            return true;
        }
    }
    return false;
}

/* The core refused it: a repetition is a new try. */
static void forget(struct jt808_terminal *t, const struct jt808_uplink *u)
{
    struct jt808_recent *r = &t->recent[u->duplicate_at];

    if (r->msg_id == u->msg_id && r->serial == u->serial && r->hash == u->hash) {
        r->at_ms = 0;
    }
}

/* ---- uplink --------------------------------------------------------------------------------- */

unsigned jt808_session_edition(const struct jt808_terminal *t, const struct jt808_frame *frame)
{
    static const unsigned forced[] = {0, JT808_2011, JT808_2013, JT808_2019};
    unsigned choice = forced[jt808_conf_of(t->conn)->edition];

    if (choice != 0) {
        return choice;
    }
    return frame->header_2019 ? JT808_2019 : t->edition;
}

static struct pg_msg *message_of(struct jt808_terminal *t, const struct jt808_frame *frame,
                                 struct pg_bytes payload, bool json)
{
    char room[JT808_TOPIC_MAX];
    struct pg_msg_spec spec = {
        .topic = jt808_topic(jt808_conf_of(t->conn)->uplink_topic, t->phone, frame->msg_id, room,
                             sizeof(room)),
        .payload = payload,
        .qos = 1,
        .publisher = pg_client_id(t->client),
        .protocol = "jt808",
        .props = {.payload_is_utf8 = json,
                  .content_type = json ? PG_BYTES_OF("application/json")
                                       : PG_BYTES_OF("application/octet-stream")},
    };
    return pg_msg_new(&spec);
}

/* The message for the core, or NULL when memory is out. */
static struct pg_msg *compose(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);

    if (conf->payload == JT808_PAYLOAD_RAW) {
        return message_of(t, frame, frame->content, false);
    }
    struct jt808_json_options options = {
        .shape = conf->payload == JT808_PAYLOAD_EMQX ? WIRE_SHAPE_ALIAS : WIRE_SHAPE_NATIVE,
        .charset = (enum wire_charset)conf->text,
        .edition = jt808_session_edition(t, frame),
        .raw = conf->add_raw,
        .received_ms = pg_wall_ms(),
    };
    unsigned faults = 0;
    char text[TEXT_ROOM];
    struct json_out small = json_out_over(text, sizeof(text));
    if (jt808_json_write(&small, frame, &options, &faults)) {
        pg_conn_count(pg_conn_of_state(t->conn), JT808_COUNT_BAD_BODY, faults != 0);
        return message_of(t, frame,
                          (struct pg_bytes){.data = (const uint8_t *)text, .len = small.len}, true);
    }
    struct json_out large = json_out_heap(JSON_LIMIT);
    struct pg_msg *msg = NULL;
    if (jt808_json_write(&large, frame, &options, &faults)) {
        pg_conn_count(pg_conn_of_state(t->conn), JT808_COUNT_BAD_BODY, faults != 0);
        msg = message_of(t, frame,
                         (struct pg_bytes){.data = (const uint8_t *)large.data, .len = large.len},
                         true);
    }
    json_out_free(&large);
    return msg;
}

/* The publication is decided: answer the terminal. */
static void conclude(struct jt808_terminal *t, const struct jt808_uplink *u, enum pg_reason reason)
{
    enum jt808_result_code result = jt808_result_of(reason);

    if (result == JT808_RESULT_OK) {
        jt808_count(t->conn, JT808_COUNT_PUBLISHED);
        result = u->result;
    } else {
        jt808_count(t->conn, JT808_COUNT_PUBLISH_REFUSED);
        PG_LOG(PG_WARN, "jt808_publish_refused", PG_F_REASON(reason), PG_F_TEXT("client", t->phone),
               PG_F_INT("id", u->msg_id), PG_F_INT("serial", u->serial));
        forget(t, u);
    }
    jt808_answer(t, u->serial, u->msg_id, result);
    if (u->multimedia && result == JT808_RESULT_OK) {
        jt808_answer_multimedia(t, u->serial, u->media_id, NULL);
    }
}

static void keep_undecided(struct jt808_terminal *t, const struct jt808_uplink *u)
{
    struct jt808_uplink *kept = malloc(sizeof(*kept));

    if (!kept) {
        forget(t, u); /* no answer: the terminal repeats it, and that is a new try */
        return;
    }
    *kept = *u;
    kept->next = NULL;
    *t->uplinks_end = kept;
    t->uplinks_end = &kept->next;
    if (++t->uplink_count >= UPLINKS_MAX && !t->conn->flooded) {
        t->conn->flooded = true;
        pause_reading(t->conn);
    }
}

void jt808_session_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct jt808_terminal *t = pg_client_cookie(client);

    for (struct jt808_uplink **link = &t->uplinks; *link; link = &(*link)->next) {
        struct jt808_uplink *u = *link;
        if (u->token != token) {
            continue;
        }
        *link = u->next;
        if (!u->next) {
            t->uplinks_end = link;
        }
        t->uplink_count--;
        conclude(t, u, reason);
        free(u);
        break;
    }
    if (t->conn->flooded && t->uplink_count < UPLINKS_MAX / 2) {
        t->conn->flooded = false;
        resume_reading(t->conn);
    }
}

static void publish(struct jt808_terminal *t, const struct jt808_frame *frame,
                    struct jt808_uplink *u)
{
    struct pg_msg *msg = compose(t, frame);

    u->token = ++t->conn->token;
    u->msg_id = frame->msg_id;
    enum pg_reason reason = msg ? pg_publish(t->client, msg, u->token) : PG_NO_MEMORY;
    if (reason == PG_PENDING) {
        keep_undecided(t, u);
    } else {
        conclude(t, u, reason);
    }
}

/* A whole message that applications want: it may answer a command, it is published, and the
 * terminal hears the result. `serial` is of the frame that is answered. */
static void take_data(struct jt808_terminal *t, const struct jt808_frame *frame, uint16_t serial)
{
    struct jt808_conn *c = t->conn;
    struct jt808_uplink u = {.serial = serial, .hash = hash_of(frame->content)};

    if (frame->content.len > 0 && is_duplicate(t, frame, u.hash, &u.duplicate_at)) {
        jt808_count(c, JT808_COUNT_DUPLICATES);
        if (!is_undecided(t, frame, u.hash)) {
            jt808_answer(t, serial, frame->msg_id, JT808_RESULT_OK);
        }
        return;
    }
    if (!jt808_message_by_id(frame->msg_id)) {
        jt808_count(c, JT808_COUNT_UNKNOWN_MESSAGES);
        if (jt808_conf_of(c)->unknown_messages == JT808_UNKNOWN_MESSAGES_REJECT) {
            u.result = JT808_RESULT_UNSUPPORTED;
        }
    }
    if (frame->msg_id == 0x0801 && jt808_frame_encryption(frame) == 0 && frame->body.len >= 4) {
        const uint8_t *id = frame->body.data;
        u.multimedia = true;
        u.media_id = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
        t->last_media_id = u.media_id;
    }
    jt808_command_answered(t, frame);
    publish(t, frame, &u);
}

/* Messages of the protocol itself end here, others go on to the applications. */
static void take_message(struct jt808_terminal *t, const struct jt808_frame *frame, uint16_t serial)
{
    switch (frame->msg_id) {
    case 0x0001:
        jt808_command_answered(t, frame);
        break;
    case 0x0002:
        jt808_answer(t, serial, frame->msg_id, JT808_RESULT_OK);
        break;
    case 0x0003:
        unregister(t, frame);
        break;
    case 0x0004:
        jt808_answer_time(t);
        break;
    case 0x0005:
        if (!jt808_command_resend(t, frame)) {
            jt808_answer(t, serial, frame->msg_id, JT808_RESULT_FAILED);
        }
        break;
    case 0x0100:
        register_terminal(t, frame);
        break;
    case 0x0102:
        authenticate_again(t, frame);
        break;
    default:
        take_data(t, frame, serial);
        break;
    }
}

/* ---- before login --------------------------------------------------------------------------- */

/* What has no effect before login, or after an unsuccessful try to be admitted by data. */
static void refuse_before_login(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    jt808_count(t->conn, JT808_COUNT_BEFORE_LOGIN);
    if (frame->msg_id != 0x0001) {
        jt808_answer(t, frame->serial, frame->msg_id, JT808_RESULT_FAILED);
    }
}

/* false: the frame is to be offered again when the admission is known. */
static bool take_fresh(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    if (jt808_frame_encryption(frame) != 0 &&
        (frame->msg_id == 0x0100 || frame->msg_id == 0x0102)) {
        jt808_answer(t, frame->serial, frame->msg_id, JT808_RESULT_UNSUPPORTED);
        return true;
    }
    switch (frame->msg_id) {
    case 0x0100:
        register_terminal(t, frame);
        return true;
    case 0x0102:
        authenticate(t, frame);
        return true;
    case 0x0004:
        jt808_answer_time(t);
        return true;
    case 0x0001:
    case 0x0003:
        refuse_before_login(t, frame);
        return true;
    default:
        break;
    }
    if (jt808_conf_of(t->conn)->before_login == JT808_BEFORE_LOGIN_ADMIT && !t->admit_tried) {
        struct pg_login login = {0};
        ask_admission(t, frame, JT808_ASKED_BY_DATA, &login);
        return false;
    }
    refuse_before_login(t, frame);
    return true;
}

/* ---- sub-packages --------------------------------------------------------------------------- */

static bool open_reassembly(struct jt808_terminal *t)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);
    struct jt808_reassembly_limits limits = {
        .message_bytes = (size_t)conf->message_bytes,
        .total_bytes = (size_t)conf->pending_bytes,
        .pending = (unsigned)conf->pending_messages,
        .ask_ms = conf->missing_ms,
        .asks = (unsigned)conf->missing_asks,
        .age_ms = conf->missing_age_ms,
    };

    if (!t->reassembly) {
        t->reassembly = jt808_reassembly_open(&limits);
    }
    return t->reassembly != NULL;
}

/* A registration has its own answer, which comes after its last package. */
static void answer_package(struct jt808_terminal *t, const struct jt808_frame *frame,
                           enum jt808_result_code result)
{
    if (frame->msg_id != 0x0100) {
        jt808_answer(t, frame->serial, frame->msg_id, result);
    }
}

static void take_repeated(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    jt808_count(t->conn, JT808_COUNT_DUPLICATES);
    answer_package(t, frame, JT808_RESULT_OK);
    /* The message was complete, and the terminal seems not to have heard that. */
    if (frame->msg_id == 0x0801 && frame->package_index == frame->package_total) {
        jt808_answer_multimedia(t, frame->serial, t->last_media_id, NULL);
    }
}

/* A package that does not complete its message. Raw payloads are the frames as they come, so it is
 * published by itself. */
static void take_stored(struct jt808_terminal *t, const struct jt808_frame *frame)
{
    struct jt808_uplink u = {.serial = frame->serial};

    if (t->state == JT808_ONLINE && jt808_conf_of(t->conn)->payload == JT808_PAYLOAD_RAW) {
        publish(t, frame, &u);
    } else {
        answer_package(t, frame, JT808_RESULT_OK);
    }
}

/* One package. true: `whole` is the message that it completed. */
static bool take_package(struct jt808_terminal *t, const struct jt808_frame *frame,
                         struct jt808_frame *whole)
{
    struct jt808_conn *c = t->conn;
    enum jt808_part_result result =
        open_reassembly(t) ? jt808_reassembly_add(t->reassembly, frame, pg_now_ms(), whole)
                           : JT808_PART_NO_MEMORY;

    jt808_timer_update(t);
    switch (result) {
    case JT808_PART_COMPLETE:
        jt808_count(c, JT808_COUNT_MESSAGES_JOINED);
        whole->attributes &= (uint16_t)~JT808_ATTR_SUBPACKAGE;
        whole->package_total = whole->package_index = 0;
        return true;
    case JT808_PART_STORED:
        take_stored(t, frame);
        break;
    case JT808_PART_DUPLICATE:
        jt808_count(c, JT808_COUNT_DUPLICATES);
        answer_package(t, frame, JT808_RESULT_OK);
        break;
    case JT808_PART_REPEATED:
        take_repeated(t, frame);
        break;
    case JT808_PART_INVALID:
    case JT808_PART_REFUSED:
    case JT808_PART_NO_MEMORY:
        jt808_count(c, JT808_COUNT_PACKAGES_REFUSED);
        PG_LOG(PG_WARN, "jt808_package_refused",
               PG_F_REASON(result == JT808_PART_INVALID   ? PG_MALFORMED
                           : result == JT808_PART_REFUSED ? PG_QUOTA_EXCEEDED
                                                          : PG_NO_MEMORY),
               PG_F_TEXT("client", t->phone), PG_F_INT("id", frame->msg_id),
               PG_F_INT("index", frame->package_index), PG_F_INT("total", frame->package_total));
        answer_package(t, frame,
                       result == JT808_PART_INVALID ? JT808_RESULT_WRONG : JT808_RESULT_FAILED);
        break;
    }
    return false;
}

/* Before login only a registration or authentication may come in packages, and few. */
static bool package_allowed(const struct jt808_terminal *t, const struct jt808_frame *frame)
{
    return t->state == JT808_ONLINE || ((frame->msg_id == 0x0100 || frame->msg_id == 0x0102) &&
                                        frame->package_total <= LOGIN_PACKAGES_MAX);
}

/* On a connection of several terminals each has its own silence. */
static int64_t silent_at(const struct jt808_terminal *t)
{
    const struct jt808_conf *conf = jt808_conf_of(t->conn);

    if (t->state != JT808_ONLINE || conf->other_phones != JT808_OTHER_PHONES_ADMIT ||
        conf->idle_ms == 0) {
        return PG_NEVER;
    }
    return t->seen_ms + conf->idle_ms;
}

int64_t jt808_session_deadline(const struct jt808_terminal *t)
{
    int64_t packages = t->reassembly ? jt808_reassembly_deadline(t->reassembly) : PG_NEVER;
    int64_t silent = silent_at(t);

    return packages < silent ? packages : silent;
}

void jt808_session_due(struct jt808_terminal *t)
{
    struct jt808_missing missing;
    enum jt808_due due;

    if (silent_at(t) <= pg_now_ms()) {
        t->state = JT808_LEAVING;
        pause_reading(t->conn);
        pg_client_end(t->client, PG_KEEPALIVE_TIMEOUT);
        return;
    }

    while (t->reassembly && (due = jt808_reassembly_due(t->reassembly, pg_now_ms(), &missing)) !=
                                JT808_DUE_NOTHING) {
        if (due == JT808_DUE_DROP) {
            jt808_count(t->conn, JT808_COUNT_MESSAGES_INCOMPLETE);
            PG_LOG(PG_WARN, "jt808_message_incomplete", PG_F_REASON(PG_TIMED_OUT),
                   PG_F_TEXT("client", t->phone), PG_F_INT("id", missing.header.msg_id),
                   PG_F_INT("received", missing.received),
                   PG_F_INT("total", missing.header.package_total),
                   PG_F_INT("first_missing", missing.ids[0]));
            continue;
        }
        jt808_count(t->conn, JT808_COUNT_PACKAGES_ASKED);
        const struct pg_bytes first = missing.first_body;
        if (missing.header.msg_id == 0x0801 && first.len >= 4) {
            uint32_t media_id = (uint32_t)first.data[0] << 24 | (uint32_t)first.data[1] << 16 |
                                (uint32_t)first.data[2] << 8 | first.data[3];
            jt808_answer_multimedia(t, missing.first_serial, media_id, &missing);
        } else {
            jt808_ask_missing(t, &missing);
        }
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

void jt808_session_wrong_length(struct jt808_conn *c, const struct jt808_frame *frame)
{
    struct jt808_terminal *t = jt808_fleet_find(c, frame->phone);

    if (t && t->state == JT808_ONLINE && frame->msg_id != 0x0001) {
        jt808_answer(t, frame->serial, frame->msg_id, JT808_RESULT_WRONG);
    }
}

bool jt808_session_frame(struct jt808_conn *c, const struct jt808_frame *frame)
{
    struct jt808_terminal *t = terminal_of(c, frame);
    struct jt808_frame whole;

    if (!t) {
        return true;
    }
    t->seen_ms = pg_now_ms();
    if (!(frame->quirks & JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH)) || t->form.msg_id == 0) {
        t->form = *frame; /* the form of a header is beyond doubt if the length holds */
        t->form.body = t->form.content = PG_BYTES_NONE;
    }
    uint16_t serial = frame->serial;
    if (jt808_frame_is_subpackage(frame)) {
        if (!package_allowed(t, frame)) {
            refuse_before_login(t, frame);
            return true;
        }
        if (!take_package(t, frame, &whole)) {
            return true;
        }
        whole.content = frame->content; /* of the package that completed it */
        frame = &whole;
    }
    if (t->state == JT808_ONLINE) {
        take_message(t, frame, serial);
        return true;
    }
    return take_fresh(t, frame);
}
