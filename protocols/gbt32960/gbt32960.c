/* SPDX-License-Identifier: Apache-2.0 */

/* The GB/T 32960 frontend: electric vehicles, and the platforms that forward them, of the editions
 * 2016 and 2025.
 *
 * The core hands over bytes; they become frames (gbt32960_codec.c), the frames of each VIN go
 * through the life of that vehicle (gbt32960_session.c), are published and answered
 * (gbt32960_uplink.c), and what the session of a vehicle has for it goes out as commands
 * (gbt32960_command.c). This file holds the descriptor with its options and counters, the loop from
 * bytes to frames, the account of bad frames, and the timers.
 *
 * Each frame says its edition by its start mark, and both may come on one connection. A bad frame
 * costs nothing but itself and is counted by kind; nothing is answered to it, since its id is not
 * to be trusted. A run of bad frames or bytes without a good frame between ends the connection, and
 * so does a frame that has begun and does not come whole in time: its length may be the damaged
 * part.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, GB/T 32960.3-2025
 */

#include "gbt32960.h"

#include "gbt32960_parts.h"
#include "wire/device.h"
#include "wire/option_rows.h"

/* Before the first good frame this much is enough to know that it is no vehicle. */
#define BAD_BYTES_AT_FIRST 4096u

/* ---- bytes ---------------------------------------------------------------------------------- */

static void gbt_open(struct pg_conn *conn)
{
    struct gbt_conn *c = pg_conn_state(conn);

    c->keys = gbt_keys_of(pg_conn_conf(conn));
    pg_conn_set_frame_limit(conn, 2 * GBT_WIRE_MAX);
}

static void take_bad(struct gbt_conn *c, enum gbt_error error, struct pg_bytes bytes)
{
    const struct gbt_conf *conf = gbt_conf_of(c);
    struct pg_conn *conn = pg_conn_of_state(c);
    struct pg_bytes shown = {.data = bytes.data, .len = bytes.len < 64 ? bytes.len : 64};
    enum gbt_counter counter = error == GBT_ERROR_BCC          ? GBT_COUNT_BAD_BCC
                               : error == GBT_ERROR_ENCRYPTION ? GBT_COUNT_BAD_ENCRYPTION
                                                               : GBT_COUNT_NOISE_BYTES;

    pg_conn_count(conn, counter, error == GBT_ERROR_NOISE ? bytes.len : 1);
    PG_LOG(PG_DEBUG, "gbt32960_bad_frame", PG_F_TEXT("error", gbt_error_name(error)),
           PG_F_TEXT("peer", pg_conn_peer(conn)), PG_F_HEX("bytes", shown));
    c->bad_bytes += bytes.len;
    c->bad_run += error != GBT_ERROR_NOISE;
    size_t most = (size_t)conf->bad_bytes;
    if (!c->vehicles && most > BAD_BYTES_AT_FIRST) {
        most = BAD_BYTES_AT_FIRST;
    }
    if (c->bad_run >= (uint64_t)conf->bad_frames || c->bad_bytes >= most) {
        pg_conn_close(conn, PG_BAD_FRAMES,
                      "%u bad frames and %zu bytes without a good one, the last: %s", c->bad_run,
                      c->bad_bytes, gbt_error_name(error));
    }
}

/* false: the frame is to be offered again. */
static bool take_good(struct gbt_conn *c, const struct gbt_frame *frame)
{
    if (!gbt_session_frame(c, frame)) {
        return false;
    }
    gbt_count(c, GBT_COUNT_FRAMES);
    c->bad_run = 0;
    c->bad_bytes = 0;
    pg_conn_alive(pg_conn_of_state(c));
    return true;
}

static void on_frame_timer(struct pg_timer *timer)
{
    struct gbt_conn *c =
        (struct gbt_conn *)((char *)timer - offsetof(struct gbt_conn, frame_timer));

    pg_conn_close(pg_conn_of_state(c), PG_TIMED_OUT, "a frame has not come whole within %lld ms",
                  (long long)gbt_conf_of(c)->frame_ms);
}

/* A frame that has begun must come whole in time, unless the gateway itself does not read. */
static void watch_frame(struct gbt_conn *c, size_t left, bool progress)
{
    if (left == 0 || c->pauses > 0 || gbt_conf_of(c)->frame_ms == 0) {
        pg_timer_stop(&c->frame_timer);
    } else if (progress || c->frame_timer.link == NULL) {
        pg_timer_start(&c->frame_timer, gbt_conf_of(c)->frame_ms, on_frame_timer);
    }
}

static size_t gbt_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct gbt_conn *c = pg_conn_state(conn);
    size_t total = 0;

    while (c->pauses == 0 && !pg_conn_closing(conn) && total < in.len) {
        struct pg_bytes rest = {.data = in.data + total, .len = in.len - total};
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        enum gbt_result result = gbt_frame_next(rest, &used, &frame, &error);
        if (result == GBT_FRAME_MORE) {
            size_t need = gbt_frame_need(rest);
            if (need > rest.len) {
                pg_conn_expect(conn, need);
            }
            break;
        }
        if (result == GBT_FRAME_WHOLE && !take_good(c, &frame)) {
            break;
        }
        if (result == GBT_FRAME_MALFORMED) {
            take_bad(c, error, (struct pg_bytes){.data = rest.data, .len = used});
        }
        total += used;
    }
    watch_frame(c, in.len - total, total > 0);
    return total;
}

static enum pg_sniff gbt_sniff(struct pg_bytes head)
{
    if (head.len == 0) {
        return PG_SNIFF_MORE;
    }
    if (head.data[0] != 0x23 && head.data[0] != 0x24) {
        return PG_SNIFF_NO;
    }
    if (head.len == 1) {
        return PG_SNIFF_MORE;
    }
    return head.data[1] == head.data[0] ? PG_SNIFF_YES : PG_SNIFF_NO;
}

/* ---- time ----------------------------------------------------------------------------------- */

static void on_timer(struct pg_timer *timer)
{
    struct gbt_vehicle *v =
        (struct gbt_vehicle *)((char *)timer - offsetof(struct gbt_vehicle, timer));

    gbt_session_due(v);
    gbt_join_due(v);
    gbt_command_due(v);
    gbt_timer_update(v);
}

void gbt_timer_update(struct gbt_vehicle *v)
{
    const int64_t deadlines[] = {gbt_session_deadline(v), gbt_join_deadline(v),
                                 gbt_command_deadline(v)};
    int64_t deadline = PG_NEVER;

    for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        deadline = deadlines[i] < deadline ? deadlines[i] : deadline;
    }
    if (deadline == PG_NEVER) {
        pg_timer_stop(&v->timer);
        return;
    }
    int64_t now = pg_now_ms();
    pg_timer_start(&v->timer, deadline > now ? deadline - now : 0, on_timer);
}

/* ---- the core's events ---------------------------------------------------------------------- */

static void gbt_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)token;
    if (reason != PG_OK) {
        PG_LOG(PG_ERROR, "gbt32960_downlink_refused", PG_F_REASON(reason),
               PG_F_BYTES("client", pg_client_id(client)));
    }
}

static void gbt_deliver(struct pg_client *client)
{
    gbt_command_deliver(pg_client_cookie(client));
}

/* With other vehicles on the connection it lives on; a platform takes its vehicles with it. */
static bool gbt_evict(struct pg_client *client, enum pg_reason reason)
{
    struct gbt_vehicle *v = pg_client_cookie(client);

    if (v == v->conn->platform || v->conn->online_count <= 1) {
        return false;
    }
    if (reason != PG_TAKEN_OVER) {
        gbt_command_lost(v, reason); /* while it can be settled */
    }
    return true;
}

static void gbt_closed(struct pg_conn *conn)
{
    struct gbt_conn *c = pg_conn_state(conn);

    pg_timer_stop(&c->frame_timer);
    gbt_session_free(c);
}

/* ---- configuration -------------------------------------------------------------------------- */

static bool check_topic(const char *option, const char *pattern, struct pg_error *error)
{
    char room[GBT_TOPIC_MAX];
    struct pg_bytes topic =
        gbt_topic(pattern, "LTESTVN0000000001", "realtime_report", 2, room, sizeof(room));

    return wire_topic_check(option, pattern, topic, "${vin}", false, error);
}

static bool gbt_check(const void *configuration, struct pg_error *error)
{
    const struct gbt_conf *conf = configuration;

    return check_topic("uplink_topic", conf->uplink_topic, error) &&
           check_topic("downlink_topic", conf->downlink_topic, error) &&
           check_topic("status_topic", conf->status_topic, error) &&
           gbt_keys_load(conf, conf->key_file, error);
}

static const char *const payload_words[] = {"native", "raw", "emqx", NULL};
static const char *const before_login_words[] = {"refuse", "drop", "close", "admit", NULL};
static const char *const refused_login_words[] = {"silent", "answer", NULL};
static const char *const credential_words[] = {"none", "iccid", NULL};
static const char *const duplicate_vin_words[] = {"replace", "refuse", NULL};
static const char *const other_vins_words[] = {"refuse", "admit", NULL};
static const char *const platforms_words[] = {"admit", "refuse", NULL};
static const char *const report_ack_words[] = {"auto", "errors", "always", NULL};
static const char *const answer_form_words[] = {"time", "echo", NULL};
static const char *const serials_words[] = {"accept", "refuse", NULL};
static const char *const activation_words[] = {"refuse", "accept", "publish", NULL};
static const char *const bad_signatures_words[] = {"refuse", "accept", NULL};
static const char *const unknown_commands_words[] = {"silent", "reject", NULL};

#define AT(member) offsetof(struct gbt_conf, member)
static const struct pg_option gbt_options[] = {
    TEXT("uplink_topic", uplink_topic, "gbt32960/${vin}/up/${message}",
         "where messages of vehicles are published; ${message} is the name of the command (with "
         "payload = emqx the one that EMQX has), ${id} its code in two hexadecimal digits"),
    TEXT("downlink_topic", downlink_topic, "gbt32960/${vin}/down",
         "what is published there is sent to the vehicle as a command"),
    TEXT("status_topic", status_topic, "gbt32960/${vin}/status",
         "where online and offline are published, retained"),
    CHOICE("payload", payload, "native", payload_words,
           "native: JSON with physical values; raw: the frame as it came; emqx: JSON as EMQX's "
           "gateway has it, see polygate-gbt32960(7)"),
    YES_NO("add_raw", add_raw, "false", "add the frame in hexadecimal to the JSON"),
    CHOICE("before_login", before_login, "refuse", before_login_words,
           "data before the login of its vehicle: refuse with an error answer, drop in silence, "
           "close, or admit: ask the access chain without credentials, for vehicles that stay "
           "logged in over a new connection"),
    CHOICE("refused_login", refused_login, "silent", refused_login_words,
           "a vehicle that is not admitted: silent, as the standard says, so that it tries again "
           "later; or an error answer; platforms are always answered"),
    NUMBER("login_failures", PG_OPT_INT, login_failures, "3", 1, 1000,
           "refused logins after which a connection without a vehicle is closed"),
    CHOICE("credential", credential, "none", credential_words,
           "what a vehicle shows to the access chain: none, or iccid: the VIN as user name and the "
           "ICCID as password; vehicles of a platform have been proven by it"),
    CHOICE("duplicate_vin", duplicate_vin, "replace", duplicate_vin_words,
           "a login of a VIN that is online: replace, as the standard says: the older connection "
           "ends; or refuse with response flag 3"),
    CHOICE("other_vins", other_vins, "refuse", other_vins_words,
           "frames of another VIN on the connection of a vehicle: refuse, or admit: each VIN is a "
           "vehicle of its own that logs in by itself (forwarders without a platform login)"),
    CHOICE("platforms", platforms, "admit", platforms_words,
           "platform logins: admit: ask the access chain with the user name and password of the "
           "login; its vehicles need no login of their own then; or refuse"),
    NUMBER("vehicles", PG_OPT_INT, vehicles, "100000", 1, 10000000,
           "vehicles on one connection of a platform"),
    CHOICE("report_ack", report_ack, "auto", report_ack_words,
           "good reports are answered: auto: on platform links, as the standard says; errors: "
           "nowhere; always: on terminal links, too, as some terminals want"),
    CHOICE("answer_form", answer_form, "time", answer_form_words,
           "unit of an answer: the time of the request, or echo: the whole unit with the time of "
           "the answer, as Annex B of 2016 can be read"),
    CHOICE("serials", serials, "accept", serials_words,
           "serial numbers of logins and logouts that break the rules: accept and count, or "
           "refuse"),
    CHOICE("activation", activation, "refuse", activation_words,
           "activations (2025): refuse; accept all; or publish: the application answers with "
           "activation_response"),
    CHOICE("unknown_commands", unknown_commands, "silent", unknown_commands_words,
           "commands that no table describes, which are published in any case: silent, or reject "
           "with an error answer"),
    TEXT(
        "key_file", key_file, "",
        "keys of vehicles for encrypted units and signatures, see polygate-gbt32960(7); it is read "
        "when the configuration is; without one such units are passed on as they are"),
    CHOICE("bad_signatures", bad_signatures, "refuse", bad_signatures_words,
           "a report with a signature that does not hold, which is published in any case: refuse "
           "with response flag 5, or accept; without a public key nothing is judged"),
    NUMBER("idle", PG_OPT_DURATION, idle_ms, "3m", 0, HOURS(240),
           "silence after which a vehicle is taken for gone; 0 turns it off"),
    NUMBER("frame_timeout", PG_OPT_DURATION, frame_ms, "30s", 0, HOURS(1),
           "time in which a frame that has begun must come whole; 0 turns it off"),
    NUMBER("session_expiry", PG_OPT_DURATION, session_expiry_ms, "1d", 0, HOURS(24 * 365),
           "how long commands are kept for a vehicle that is offline"),
    NUMBER("duplicate_window", PG_OPT_DURATION, duplicate_ms, "4m", 0, HOURS(24),
           "within this time an identical frame is answered again and not published twice; a "
           "report that was not answered is repeated three times, each minute"),
    YES_NO("join_cells", join_cells, "true",
           "publish the cell voltages of a subsystem that came in several frames once more, whole, "
           "as cell_voltages"),
    NUMBER("join_timeout", PG_OPT_DURATION, join_ms, "30s", 1000, HOURS(1),
           "how long missing cell voltages are waited for"),
    NUMBER("window", PG_OPT_INT, window, "10", 1, 256,
           "commands that are taken out of the session at a time; of each code one is in flight"),
    NUMBER("answer_timeout", PG_OPT_DURATION, answer_ms, "20s", 100, HOURS(1),
           "wait for the answer to a command"),
    NUMBER("repetitions", PG_OPT_INT, repetitions, "2", 0, 10,
           "how often a command is sent again before it fails"),
    NUMBER("bad_frames", PG_OPT_INT, bad_frames, "64", 1, 1000000,
           "bad frames in a row after which the connection is closed"),
    NUMBER("bad_bytes", PG_OPT_SIZE, bad_bytes, "256k", 64, 16 << 20,
           "bytes without a good frame after which the connection is closed; 4k before the first "
           "one"),
    {.name = NULL},
};

static const struct pg_counter gbt_counters[] = {
#define COUNTER_ROW(NAME, text, what) {.name = text, .sentence = what},
    GBT_COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
        {.name = NULL},
};

const struct pg_protocol gbt32960_protocol = {
    .abi = PG_ABI,
    .name = "gbt32960",
    .options = gbt_options,
    .conf_size = sizeof(struct gbt_conf),
    .counters = gbt_counters,
    .conn_size = sizeof(struct gbt_conn),
    .check = gbt_check,
    .sniff = gbt_sniff,
    .open = gbt_open,
    .bytes = gbt_bytes,
    .admitted = gbt_session_admitted,
    .published = gbt_uplink_published,
    .subscribed = gbt_subscribed,
    .deliver = gbt_deliver,
    .client_ended = gbt_session_ended,
    .evict = gbt_evict,
    .closed = gbt_closed,
};
