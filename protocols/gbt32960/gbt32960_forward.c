/* SPDX-License-Identifier: Apache-2.0 */

/* Forwarding vehicles to another platform, which is chapter 5 from the lower platform's side: each
 * block `forward "NAME" { }` is one link that the gateway makes and keeps.
 *
 *            connected, admitted                05 answered
 *    APART --------------------> LOGGING_IN ------------------> READY
 *      ^                             |                            |
 *      +----- the link ends ---------+----------------------------+
 *
 * The link is a client of the gateway, forward/NAME, whose session is sent every frame of the
 * vehicles that the block names (gbt32960_hand_on.c). It takes them as deliveries, and settles each
 * when the platform has answered it (gbt32960_forward_window.c). So what the platform has not taken
 * is with the session, in order and in the store, whether the link breaks or the gateway ends.
 *
 * A login that is not answered is repeated after a minute, three times in all; then the link rests
 * for half an hour. Logins on further links count on: their number is the block's. Serial numbers
 * grow by one with each login and begin again each day. A process does not know those of an earlier
 * one; it begins above them all, with a number that follows the clock and that logins less than a
 * second apart would have to be made all day to reach.
 *
 * Heartbeats (07) are sent where nothing else is. The standard has none between platforms, so that
 * only a platform that has answered one on this link is taken for gone when it falls silent.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: chapter 5, 6.3, 7.2 to 7.6
 */

#include <string.h>

#include "gbt32960.h"
#include "gbt32960_forward.h"
#include "gbt32960_json.h"

/* Faulty frames in a row after which the other side is no platform. */
#define BAD_FRAMES_MAX 64u
#define SERIAL_MAX     65531u
#define DAY_S          86400

const struct fwd_conf *fwd_conf_of(struct fwd_conn *c)
{
    return pg_conn_conf(pg_conn_of_state(c));
}

void fwd_count(struct fwd_conn *c, enum fwd_counter counter)
{
    pg_conn_count(pg_conn_of_state(c), counter, 1);
}

/* ---- frames of our own ---------------------------------------------------------------------- */

void fwd_say(struct fwd_conn *c, const struct gbt_frame *frame)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    uint8_t *room = pg_conn_reserve(conn, PG_RESERVE_MAX);

    pg_conn_commit(conn, gbt_frame_encode(frame, room, PG_RESERVE_MAX));
    c->spoken_ms = pg_now_ms();
}

/* A command of this platform. */
static void say_command(struct fwd_conn *c, enum gbt_command command, struct pg_bytes unit)
{
    const struct fwd_conf *conf = fwd_conf_of(c);
    struct gbt_frame frame = {
        .edition = conf->edition == 0 ? GBT_2016 : GBT_2025,
        .command = (uint8_t)command,
        .response = GBT_COMMAND,
        .encryption = GBT_PLAIN,
        .unit = unit,
    };

    memcpy(frame.id, conf->platform, strlen(conf->platform)); /* the rest is NUL */
    fwd_say(c, &frame);
}

/* ---- login ---------------------------------------------------------------------------------- */

struct fwd_login_unit {
    uint8_t time[6];
    uint8_t serial[2];
    uint8_t username[12];
    uint8_t password[20];
    uint8_t encryption_rule;
};
_Static_assert(sizeof(struct fwd_login_unit) == 41, "7.5: nothing between the fields");

static void put_serial(uint8_t out[2], uint16_t serial)
{
    out[0] = (uint8_t)(serial >> 8);
    out[1] = (uint8_t)serial;
}

/* The serial number of a new login. */
static void next_serial(struct fwd_block *block)
{
    int64_t second = (pg_wall_ms() / 1000 + 8 * 3600) % DAY_S; /* of Beijing's day */
    uint8_t now[6];

    gbt_time_bytes(pg_wall_ms(), now);
    if (block->serial == 0) {
        block->serial = (uint16_t)(1 + second * (SERIAL_MAX - 1) / DAY_S);
    } else if (memcmp(block->day, now, sizeof(block->day)) != 0 || block->serial == SERIAL_MAX) {
        block->serial = 1;
    } else {
        block->serial++;
    }
    memcpy(block->day, now, sizeof(block->day));
}

static void on_link_timer(struct pg_timer *timer);

static void log_in(struct fwd_conn *c, bool again)
{
    const struct fwd_conf *conf = fwd_conf_of(c);
    struct pg_conn *conn = pg_conn_of_state(c);
    struct fwd_block *block = pg_call_state(conn);
    struct fwd_login_unit unit = {.encryption_rule = (uint8_t)(conf->encryption_rule + GBT_PLAIN)};

    if (!again) {
        next_serial(block);
    }
    if (block->tries >= conf->login_tries) {
        block->tries = 0; /* after the long rest it begins anew */
    }
    block->tries++;
    gbt_time_bytes(pg_wall_ms(), unit.time);
    put_serial(unit.serial, block->serial);
    memcpy(unit.username, conf->username, strlen(conf->username));
    memcpy(unit.password, conf->password, strlen(conf->password));
    say_command(c, GBT_PLATFORM_LOGIN,
                (struct pg_bytes){.data = (const uint8_t *)&unit, .len = sizeof(unit)});
    explicit_bzero(&unit, sizeof(unit));
    c->state = FWD_LOGGING_IN;
    /* Should the link break now: so long until the next try. */
    pg_call_rest(conn,
                 block->tries >= conf->login_tries ? conf->login_rest_ms : conf->login_retry_ms);
    pg_timer_start(&c->link_timer, conf->login_retry_ms, on_link_timer);
}

/* The link is there, and so is the client: it is time. */
static void try_to_begin(struct fwd_conn *c)
{
    if (c->connected && c->client && c->state == FWD_APART) {
        log_in(c, false);
    }
}

/* The time for an answer to 05 is over, or a refusal is long enough ago. */
static void login_due(struct fwd_conn *c)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    const struct fwd_block *block = pg_call_state(conn);

    fwd_count(c, FWD_COUNT_LOGINS_FAILED);
    if (block->tries < fwd_conf_of(c)->login_tries) {
        log_in(c, true);
        return;
    }
    pg_conn_close(conn, PG_TIMED_OUT, "%u logins in vain: the next one comes in %lld ms",
                  block->tries, (long long)fwd_conf_of(c)->login_rest_ms);
}

static void take_login_answer(struct fwd_conn *c, const struct gbt_frame *answer)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    struct fwd_block *block = pg_call_state(conn);

    if (c->state != FWD_LOGGING_IN) {
        fwd_count(c, FWD_COUNT_UNMATCHED);
        return;
    }
    if (answer->response != GBT_SUCCESS) {
        PG_LOG(PG_WARN, "forward_login_refused", PG_F_TEXT("upstream", pg_conn_listener(conn)),
               PG_F_TEXT("peer", pg_conn_peer(conn)), PG_F_INT("response", answer->response),
               PG_F_INT("tries", block->tries));
        return; /* the link timer runs: the next one, or the rest, comes when it is due */
    }
    block->tries = 0;
    c->state = FWD_READY;
    c->ready_ms = pg_now_ms();
    fwd_count(c, FWD_COUNT_LOGINS);
    pg_call_welcomed(conn);
    PG_LOG(PG_INFO, "forward_login", PG_F_TEXT("upstream", pg_conn_listener(conn)),
           PG_F_TEXT("peer", pg_conn_peer(conn)), PG_F_INT("serial", block->serial));
    if (fwd_conf_of(c)->heartbeat_ms > 0) {
        pg_timer_start(&c->link_timer, fwd_conf_of(c)->heartbeat_ms, on_link_timer);
    } else {
        pg_timer_stop(&c->link_timer);
    }
    fwd_window_fill(c);
}

static void heartbeat_due(struct fwd_conn *c)
{
    const struct fwd_conf *conf = fwd_conf_of(c);
    int64_t now = pg_now_ms();

    if (c->answers_heartbeats && conf->silence_ms > 0 && now - c->heard_ms >= conf->silence_ms) {
        pg_conn_close(pg_conn_of_state(c), PG_KEEPALIVE_TIMEOUT, "silent for %lld ms",
                      (long long)(now - c->heard_ms));
        return;
    }
    int64_t quiet = now - c->spoken_ms;
    if (quiet >= conf->heartbeat_ms) {
        say_command(c, GBT_HEARTBEAT, PG_BYTES_NONE);
        fwd_count(c, FWD_COUNT_HEARTBEATS);
        quiet = 0;
    }
    pg_timer_start(&c->link_timer, conf->heartbeat_ms - quiet, on_link_timer);
}

static void on_link_timer(struct pg_timer *timer)
{
    struct fwd_conn *c = (struct fwd_conn *)((char *)timer - offsetof(struct fwd_conn, link_timer));

    if (c->state == FWD_LOGGING_IN) {
        login_due(c);
    } else if (c->state == FWD_READY) {
        heartbeat_due(c);
    }
}

/* ---- frames of the platform ----------------------------------------------------------------- */

static void take_answer(struct fwd_conn *c, const struct gbt_frame *answer)
{
    switch (answer->command) {
    case GBT_PLATFORM_LOGIN:
        take_login_answer(c, answer);
        break;
    case GBT_HEARTBEAT:
        c->answers_heartbeats = true;
        break;
    case GBT_PLATFORM_LOGOUT:
        break;
    default:
        fwd_window_answered(c, answer);
        break;
    }
}

/* Between platforms there are no commands for the lower one but those that both agree on. */
static void take_command(struct fwd_conn *c, const struct gbt_frame *command)
{
    struct gbt_frame answer = *command;
    bool beats = command->command == GBT_HEARTBEAT;
    bool has_time = !beats && !gbt_frame_is_opaque(command) && command->unit.len >= 6;

    answer.response = beats ? GBT_SUCCESS : GBT_ERROR;
    answer.unit.len = has_time ? 6 : 0;
    if (!beats) {
        fwd_count(c, FWD_COUNT_COMMANDS_REFUSED);
    }
    fwd_say(c, &answer);
}

static void take_bad(struct fwd_conn *c, enum gbt_error error)
{
    fwd_count(c, FWD_COUNT_BAD_FRAMES);
    if (++c->bad_run >= BAD_FRAMES_MAX) {
        pg_conn_close(pg_conn_of_state(c), PG_BAD_FRAMES, "the last: %s", gbt_error_name(error));
    }
}

static size_t fwd_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct fwd_conn *c = pg_conn_state(conn);
    size_t total = 0;

    while (!pg_conn_closing(conn) && total < in.len) {
        struct pg_bytes rest = {.data = in.data + total, .len = in.len - total};
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        enum gbt_result result = gbt_frame_next(rest, &used, &frame, &error);
        if (result == GBT_FRAME_MORE) {
            break;
        }
        total += used;
        if (result == GBT_FRAME_MALFORMED) {
            take_bad(c, error);
            continue;
        }
        c->bad_run = 0;
        c->heard_ms = pg_now_ms();
        if (gbt_frame_is_answer(&frame)) {
            take_answer(c, &frame);
        } else {
            take_command(c, &frame);
        }
    }
    return total;
}

/* ---- the core's events ---------------------------------------------------------------------- */

static void fwd_open(struct pg_conn *conn)
{
    struct fwd_conn *c = pg_conn_state(conn);
    const struct fwd_conf *conf = pg_conn_conf(conn);
    const struct pg_login login = {
        .client_id = pg_bytes_str(pg_conn_assigned_id_prefix(conn)),
        .trusted = true,
        .session_expiry_s = (uint32_t)(conf->session_expiry_ms / 1000),
        .window = (uint32_t)conf->window,
    };

    fwd_window_init(c);
    pg_conn_set_frame_limit(conn, 2 * GBT_WIRE_MAX);
    pg_client_admit(conn, &login, c);
}

static void fwd_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    struct fwd_conn *c = cookie;

    if (admission->reason != PG_OK) {
        pg_conn_close(conn, admission->reason, "the gateway's own client was not admitted");
        return;
    }
    c->client = admission->client;
    try_to_begin(c);
}

static void fwd_connected(struct pg_conn *conn)
{
    struct fwd_conn *c = pg_conn_state(conn);

    pg_conn_set_idle(conn, 0, PG_KEEPALIVE_TIMEOUT); /* we watch it ourselves */
    c->connected = true;
    c->heard_ms = pg_now_ms();
    try_to_begin(c);
}

static void fwd_deliver(struct pg_client *client)
{
    fwd_window_fill(pg_client_cookie(client));
}

static void fwd_client_ended(struct pg_client *client, enum pg_reason reason)
{
    struct fwd_conn *c = pg_client_cookie(client);

    (void)reason;
    fwd_window_free(c);
    c->client = NULL;
    c->state = FWD_APART;
}

static void fwd_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    struct fwd_conn *c = pg_conn_state(conn);
    const struct fwd_block *block = pg_call_state(conn);
    uint8_t unit[8];

    (void)reason;
    if (c->state != FWD_READY) {
        return;
    }
    gbt_time_bytes(pg_wall_ms(), unit);
    put_serial(unit + 6, block->serial);
    say_command(c, GBT_PLATFORM_LOGOUT, (struct pg_bytes){.data = unit, .len = sizeof(unit)});
}

static void fwd_closed(struct pg_conn *conn)
{
    struct fwd_conn *c = pg_conn_state(conn);

    pg_timer_stop(&c->link_timer);
    fwd_window_free(c);
}

/* ---- configuration -------------------------------------------------------------------------- */

static bool check_text(const char *name, const char *text, size_t most, struct pg_error *error)
{
    size_t len = strlen(text);

    for (const char *at = text; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~') {
            pg_error_set(error, "%s: expected printable ASCII", name);
            return false;
        }
    }
    if (len == 0 || len > most) {
        pg_error_set(error, "%s is %zu bytes long, expected 1 to %zu", name, len, most);
        return false;
    }
    return true;
}

static bool fwd_check(const void *configuration, struct pg_error *error)
{
    const struct fwd_conf *conf = configuration;

    if (!check_text("platform", conf->platform, GBT_ID_LEN, error) ||
        !check_text("username", conf->username, 12, error) ||
        !check_text("password", conf->password, 20, error)) {
        return false;
    }
    for (size_t i = 0; i < conf->vehicles.count; i++) {
        if (conf->vehicles.items[i][0] == '\0') {
            pg_error_set(error,
                         "vehicles has an empty pattern, expected VINs or patterns of them, as "
                         "in vehicles = {\"LTEST*\", \"LVIN0000000000001\"}");
            return false;
        }
    }
    return true;
}

static const char *const edition_words[] = {"2016", "2025", NULL};
static const char *const encryption_rule_words[] = {"none", "rsa", "aes", "sm2", "sm4", NULL};
static const char *const units_words[] = {"as_received", "plain", NULL};

#define AT(member) .offset = offsetof(struct fwd_conf, member)
#define MINUTES(n) (INT64_C(60000) * (n))
#define DURATION(option, member, value, low, what)                                                 \
    {                                                                                              \
        .name = option, .type = PG_OPT_DURATION, AT(member), .fallback = value, .min = low,        \
        .max = MINUTES(1440), .reloadable = true, .sentence = what                                 \
    }

static const struct pg_option fwd_options[] = {
    {.name = "platform",
     .type = PG_OPT_STRING,
     AT(platform),
     .fallback = "",
     .reloadable = true,
     .sentence = "the code by which the other platform knows this one: the id of logins and "
                 "logouts, 1 to 17 bytes; required"},
    {.name = "username",
     .type = PG_OPT_STRING,
     AT(username),
     .fallback = "",
     .reloadable = true,
     .sentence = "user name of the login, 1 to 12 bytes; required"},
    {.name = "password",
     .type = PG_OPT_SECRET,
     AT(password),
     .fallback = "",
     .reloadable = true,
     .sentence = "password of the login, 1 to 20 bytes; required"},
    {.name = "edition",
     .type = PG_OPT_CHOICE,
     AT(edition),
     .fallback = "2016",
     .choices = edition_words,
     .reloadable = true,
     .sentence = "edition of logins, logouts and heartbeats; frames of vehicles have their own"},
    {.name = "encryption_rule",
     .type = PG_OPT_CHOICE,
     AT(encryption_rule),
     .fallback = "none",
     .choices = encryption_rule_words,
     .reloadable = true,
     .sentence = "what the login announces that units are encrypted with"},
    {.name = "vehicles",
     .type = PG_OPT_LIST,
     AT(vehicles),
     .fallback = "*",
     .reloadable = true,
     .sentence = "VINs of the vehicles that are forwarded, or patterns of them as a shell has: * "
                 "is anything, ? one character, [...] one of those; by default all vehicles are"},
    {.name = "units",
     .type = PG_OPT_CHOICE,
     AT(units),
     .fallback = "as_received",
     .choices = units_words,
     .reloadable = true,
     .sentence =
         "as_received: frames are sent as they came, encrypted units as well; plain: units "
         "that could be decrypted are sent decrypted, as the standard wants where the other "
         "platform asks for none; those that could not, as they came"},
    {.name = "answers",
     .type = PG_OPT_BOOL,
     AT(answers),
     .fallback = "true",
     .reloadable = true,
     .sentence = "the other platform answers each frame, as the standard says, and one that is not "
                 "answered is not forwarded yet. no: it does not; a frame counts as forwarded once "
                 "it is on its way, so that those which a breaking link swallows are lost"},
    {.name = "window",
     .type = PG_OPT_INT,
     AT(window),
     .fallback = "128",
     .min = 1,
     .max = 10000,
     .reloadable = true,
     .sentence =
         "frames that may be unanswered at a time, within session.inflight; so many at most "
         "come twice, the second time as re-issued, when a link breaks"},
    {.name = "rate",
     .type = PG_OPT_INT,
     AT(rate),
     .fallback = "0",
     .min = 0,
     .max = 1000000,
     .reloadable = true,
     .sentence = "frames a second that the other platform is sent at most; more wait in the "
                 "session. 0: any number"},
    DURATION("answer_timeout", answer_ms, "1m", 100,
             "wait for the answer to a frame, and after an error answer, before it is sent again"),
    {.name = "repetitions",
     .type = PG_OPT_INT,
     AT(repetitions),
     .fallback = "3",
     .min = 0,
     .max = 100,
     .reloadable = true,
     .sentence = "how often a frame is sent again on a link before it is given up"},
    DURATION("login_retry", login_retry_ms, "1m", 100,
             "wait for the answer to a login, and after a refusal, before the next one"),
    {.name = "login_tries",
     .type = PG_OPT_INT,
     AT(login_tries),
     .fallback = "3",
     .min = 1,
     .max = 1000,
     .reloadable = true,
     .sentence = "logins in vain before the long rest"},
    DURATION("login_rest", login_rest_ms, "30m", 100,
             "the long rest, without a connection; then it begins anew"),
    DURATION("heartbeat", heartbeat_ms, "1m", 0,
             "silence of our own after which a heartbeat is sent; 0: never"),
    DURATION(
        "silence", silence_ms, "3m", 0,
        "silence of the other platform, once it has answered a heartbeat, after which the link "
        "is taken for dead; 0: never"),
    {.name = "session_expiry",
     .type = PG_OPT_DURATION,
     AT(session_expiry_ms),
     .fallback = "7d",
     .min = 0,
     .max = MINUTES(1440 * 365),
     .reloadable = true,
     .sentence = "how long what was not forwarded is kept when the block is there no more, or the "
                 "gateway is down, within session.expiry_max; a week is the time for re-issuing "
                 "that the standard gives platforms. See store.retention, too"},
    {.name = NULL},
};

static const struct pg_counter fwd_counters[] = {
#define COUNTER_ROW(NAME, text, what) {.name = text, .sentence = what},
    FWD_COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
        {.name = NULL},
};

const struct pg_protocol forward_protocol = {
    .abi = PG_ABI,
    .name = "forward",
    .calls = true,
    .options = fwd_options,
    .conf_size = sizeof(struct fwd_conf),
    .counters = fwd_counters,
    .conn_size = sizeof(struct fwd_conn),
    .call_size = sizeof(struct fwd_block),
    .check = fwd_check,
    .open = fwd_open,
    .connected = fwd_connected,
    .bytes = fwd_bytes,
    .admitted = fwd_admitted,
    .deliver = fwd_deliver,
    .client_ended = fwd_client_ended,
    .goodbye = fwd_goodbye,
    .closed = fwd_closed,
};
