/* SPDX-License-Identifier: Apache-2.0 */

/* The JT/T 808 frontend: vehicle terminals of the editions 2011, 2013 and 2019.
 *
 * The core hands over bytes; they become frames (jt808_codec.c), the frames of each phone go
 * through the life of that terminal (jt808_session.c), and what the session of a terminal has for
 * it goes out as commands (jt808_command.c). This file holds the descriptor with its options and
 * counters, the loop from bytes to frames, the account of bad frames, and the timer of a terminal.
 *
 * A bad frame costs nothing but itself and is counted by kind. A run of bad frames or bytes without
 * a good frame between ends the connection: a scanner or another protocol, not a terminal.
 *
 * threads   the worker of the connection
 * standard  JT/T 808-2011, its revision of 2013, JT/T 808-2019
 */

#include "jt808.h"
#include "jt808_parts.h"
#include "wire/device.h"
#include "wire/option_rows.h"

/* Before the first good frame this much is enough to know that it is no terminal: modems say some
 * hundred bytes before their first frame, a scanner sends as much as it likes. */
#define BAD_BYTES_AT_FIRST 4096u

/* ---- bytes ---------------------------------------------------------------------------------- */

static void jt808_open(struct pg_conn *conn)
{
    struct jt808_conn *c = pg_conn_state(conn);
    const struct jt808_conf *conf = pg_conn_conf(conn);

    for (unsigned quirk = 0; quirk < JT808_QUIRK_COUNT; quirk++) {
        c->stream.tolerated |= conf->tolerate[quirk] ? JT808_QUIRK_BIT(quirk) : 0;
    }
    pg_conn_set_frame_limit(conn, JT808_WIRE_MAX);
}

static void count_bad(struct jt808_conn *c, enum jt808_error error, size_t bytes)
{
    static const enum jt808_counter counters[JT808_ERROR_COUNT] = {
        [JT808_ERROR_DELIMITER] = JT808_COUNT_BAD_DELIMITER,
        [JT808_ERROR_ESCAPE] = JT808_COUNT_BAD_ESCAPE,
        [JT808_ERROR_SHORT] = JT808_COUNT_BAD_SHORT,
        [JT808_ERROR_CHECKSUM] = JT808_COUNT_BAD_CHECKSUM,
        [JT808_ERROR_LENGTH] = JT808_COUNT_BAD_LENGTH,
        [JT808_ERROR_TOO_LONG] = JT808_COUNT_BAD_TOO_LONG,
        [JT808_ERROR_NOISE] = JT808_COUNT_NOISE_BYTES,
    };

    pg_conn_count(pg_conn_of_state(c), counters[error], error == JT808_ERROR_NOISE ? bytes : 1);
}

static void take_bad(struct jt808_conn *c, enum jt808_error error, struct pg_bytes bytes,
                     const struct jt808_frame *frame)
{
    const struct jt808_conf *conf = jt808_conf_of(c);
    struct pg_conn *conn = pg_conn_of_state(c);
    struct pg_bytes shown = {.data = bytes.data, .len = bytes.len < 64 ? bytes.len : 64};

    count_bad(c, error, bytes.len);
    PG_LOG(PG_DEBUG, "jt808_bad_frame", PG_F_TEXT("error", jt808_error_name(error)),
           PG_F_TEXT("peer", pg_conn_peer(conn)), PG_F_HEX("bytes", shown));
    if (error == JT808_ERROR_LENGTH) {
        jt808_session_wrong_length(c, frame);
    }
    c->bad_bytes += bytes.len;
    c->bad_run += error != JT808_ERROR_NOISE;
    size_t most = (size_t)conf->bad_bytes;
    if (!c->terminals && most > BAD_BYTES_AT_FIRST) {
        most = BAD_BYTES_AT_FIRST;
    }
    if (c->bad_run >= (uint64_t)conf->bad_frames || c->bad_bytes >= most) {
        pg_conn_close(conn, PG_BAD_FRAMES,
                      "%u bad frames and %zu bytes without a good one, the last: %s", c->bad_run,
                      c->bad_bytes, jt808_error_name(error));
    }
}

_Static_assert(JT808_COUNT_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER - JT808_COUNT_QUIRK_UNESCAPED_7D ==
                   JT808_QUIRK_COUNT - 1,
               "each quirk has its counter, in the same order");

/* false: the frame is to be offered again. */
static bool take_good(struct jt808_conn *c, const struct jt808_frame *frame)
{
    if (!jt808_session_frame(c, frame)) {
        return false;
    }
    struct pg_conn *conn = pg_conn_of_state(c);
    jt808_count(c, JT808_COUNT_FRAMES);
    for (unsigned quirk = 0; quirk < JT808_QUIRK_COUNT; quirk++) {
        if (frame->quirks & JT808_QUIRK_BIT(quirk)) {
            jt808_count(c, JT808_COUNT_QUIRK_UNESCAPED_7D + quirk);
        }
    }
    c->bad_run = 0;
    c->bad_bytes = 0;
    pg_conn_alive(conn);
    return true;
}

static size_t jt808_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct jt808_conn *c = pg_conn_state(conn);
    size_t total = 0;

    while (c->pauses == 0 && !pg_conn_closing(conn)) {
        struct pg_bytes rest = {.data = in.data + total, .len = in.len - total};
        struct jt808_scratch scratch;
        struct jt808_frame frame;
        enum jt808_error error;
        size_t used;
        enum jt808_result result =
            jt808_frame_next(&c->stream, rest, &scratch, &used, &frame, &error);
        if (result == JT808_FRAME_WHOLE && !take_good(c, &frame)) {
            break; /* the delimiter at its head is skipped like any other when it comes again */
        }
        if (result == JT808_FRAME_MALFORMED) {
            take_bad(c, error, (struct pg_bytes){.data = rest.data, .len = used}, &frame);
        }
        total += used;
        if (result == JT808_FRAME_MORE) {
            break;
        }
    }
    return total;
}

static enum pg_sniff jt808_sniff(struct pg_bytes head)
{
    if (head.len == 0) {
        return PG_SNIFF_MORE;
    }
    return head.data[0] == 0x7e ? PG_SNIFF_YES : PG_SNIFF_NO;
}

/* ---- time ----------------------------------------------------------------------------------- */

static void on_timer(struct pg_timer *timer)
{
    struct jt808_terminal *t =
        (struct jt808_terminal *)((char *)timer - offsetof(struct jt808_terminal, timer));

    jt808_session_due(t);
    jt808_command_due(t);
    jt808_timer_update(t);
}

void jt808_timer_update(struct jt808_terminal *t)
{
    int64_t session = jt808_session_deadline(t);
    int64_t command = jt808_command_deadline(t);
    int64_t deadline = session < command ? session : command;

    if (deadline == PG_NEVER) {
        pg_timer_stop(&t->timer);
        return;
    }
    int64_t now = pg_now_ms();
    pg_timer_start(&t->timer, deadline > now ? deadline - now : 0, on_timer);
}

/* ---- the core's events ---------------------------------------------------------------------- */

static void jt808_remembered(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)token;
    jt808_session_unregistered(pg_client_cookie(client), reason);
}

static void jt808_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)token;
    if (reason != PG_OK) {
        PG_LOG(PG_ERROR, "jt808_downlink_refused", PG_F_REASON(reason),
               PG_F_BYTES("client", pg_client_id(client)));
    }
}

static void jt808_deliver(struct pg_client *client)
{
    jt808_command_deliver(pg_client_cookie(client));
}

/* With other terminals on the connection it lives on. */
static bool jt808_evict(struct pg_client *client, enum pg_reason reason)
{
    struct jt808_terminal *t = pg_client_cookie(client);

    if (t->conn->online_count <= 1) {
        return false;
    }
    if (reason != PG_TAKEN_OVER) {
        jt808_command_lost(t, reason); /* while it can be settled */
    }
    return true;
}

/* ---- configuration -------------------------------------------------------------------------- */

static bool check_topic(const char *option, const char *pattern, bool shared,
                        struct pg_error *error)
{
    char room[JT808_TOPIC_MAX];
    struct pg_bytes topic =
        jt808_topic(pattern, "00000000013800138000", 0x0200, room, sizeof(room));

    return wire_topic_check(option, pattern, topic, "${phone}", shared, error);
}

static bool jt808_check(const void *configuration, struct pg_error *error)
{
    const struct jt808_conf *conf = configuration;

    if (conf->issued_codes == JT808_ISSUED_TRUSTED && conf->code_secret[0] == '\0') {
        pg_error_set(error, "issued_codes = trusted needs code_secret, so that nobody else can "
                            "make codes");
        return false;
    }
    if (conf->pending_bytes < conf->message_bytes) {
        pg_error_set(error, "pending_size must not be less than message_size");
        return false;
    }
    return check_topic("uplink_topic", conf->uplink_topic, true, error) &&
           check_topic("downlink_topic", conf->downlink_topic, false, error) &&
           check_topic("status_topic", conf->status_topic, false, error);
}

static const char *const payload_words[] = {"native", "raw", "emqx", NULL};
static const char *const text_words[] = {"gbk", "utf8", NULL};
static const char *const edition_words[] = {"auto", "2011", "2013", "2019", NULL};
static const char *const registration_words[] = {"issue", "admit", "refuse", NULL};
static const char *const issued_words[] = {"anonymous", "trusted", NULL};
static const char *const unknown_code_words[] = {"ask", "refuse", NULL};
static const char *const before_login_words[] = {"refuse", "admit", NULL};
static const char *const other_phones_words[] = {"refuse", "close", "admit", NULL};
static const char *const unknown_message_words[] = {"accept", "reject", NULL};

#define AT(member)                           offsetof(struct jt808_conf, member)
#define TOLERATE(option, quirk, value, what) YES_NO(option, tolerate[quirk], value, what)

static const struct pg_option jt808_options[] = {
    TEXT("uplink_topic", uplink_topic, "jt808/${phone}/up/${id}",
         "where messages of terminals are published; ${id} is the message id in four hexadecimal "
         "digits, ${message} its name"),
    TEXT("downlink_topic", downlink_topic, "jt808/${phone}/down",
         "what is published there is sent to the terminal as a command"),
    TEXT("status_topic", status_topic, "jt808/${phone}/status",
         "where online and offline are published, retained"),
    CHOICE("payload", payload, "native", payload_words,
           "native: JSON with physical values; raw: the unescaped frame, header to check code, "
           "each package of a message by itself; emqx: JSON as EMQX's gateway has it, see "
           "polygate-jt808(7)"),
    YES_NO("add_raw", add_raw, "false", "add the unescaped frame in hexadecimal to the JSON"),
    CHOICE("text", text, "gbk", text_words,
           "character set of texts; the standard says GBK, some terminals ignore it"),
    CHOICE("edition", edition, "auto", edition_words,
           "edition in which bodies are read and written; auto tells it from headers and bodies"),
    CHOICE("registration", registration, "issue", registration_words,
           "issue: a registration is given a code that belongs to the phone; admit: it counts as "
           "login too, for terminals that never send 0x0102; refuse: result 4, codes are given "
           "out of band"),
    CHOICE("issued_codes", issued_codes, "anonymous", issued_words,
           "what a code issued here proves: anonymous: that the phone registered, the access chain "
           "is asked without credentials; trusted: the identity, authenticators are skipped (needs "
           "code_secret)"),
    CHOICE("unknown_codes", unknown_codes, "ask", unknown_code_words,
           "a code not issued here: ask the access chain with the phone as user name and the code "
           "as password, or refuse"),
    {.name = "code_secret",
     .type = PG_OPT_SECRET,
     .offset = AT(code_secret),
     .fallback = "",
     .reloadable = true,
     .sentence = "key from which codes are derived; without one it is made from /etc/machine-id"},
    CHOICE("before_login", before_login, "refuse", before_login_words,
           "data before authentication: refuse with result 1, or admit: ask the access chain "
           "without credentials"),
    NUMBER("login_failures", PG_OPT_INT, login_failures, "3", 1, 1000,
           "refused logins after which the connection is closed, so that the terminal registers "
           "anew"),
    CHOICE("other_phones", other_phones, "refuse", other_phones_words,
           "frames of another phone on a connection: refuse with result 1, close, or admit: each "
           "phone is a terminal of its own (forwarding platforms)"),
    NUMBER("phones", PG_OPT_INT, phones, "1000", 1, 1000000,
           "terminals on one connection with other_phones = admit"),
    NUMBER("idle", PG_OPT_DURATION, idle_ms, "5m", 0, HOURS(240),
           "silence after which a terminal is taken for gone; three heartbeat intervals; 0 turns "
           "it off"),
    NUMBER("session_expiry", PG_OPT_DURATION, session_expiry_ms, "1d", 0, HOURS(24 * 365),
           "how long commands are kept for a terminal that is offline"),
    CHOICE("unknown_messages", unknown_messages, "accept", unknown_message_words,
           "answer of a message that no table describes, which is published in any case: accept: "
           "0; reject: 3, not supported"),
    NUMBER("duplicate_window", PG_OPT_DURATION, duplicate_ms, "1m", 0, HOURS(1),
           "within this time an identical frame is answered again and not published twice"),
    YES_NO("multimedia_count", multimedia_count, "false",
           "send 0x8800 with a count of 0 when a photo is complete, as some terminals want"),
    NUMBER("window", PG_OPT_INT, window, "16", 1, 256,
           "commands that may wait for an answer at a time; 1 for terminals that take one only"),
    NUMBER("answer_timeout", PG_OPT_DURATION, answer_ms, "10s", 100, HOURS(1),
           "T1, the wait for an answer; then 2, 6, 24 times as long"),
    NUMBER("repetitions", PG_OPT_INT, repetitions, "3", 0, 5,
           "how often a command is sent again before it fails"),
    NUMBER("message_size", PG_OPT_SIZE, message_bytes, "4m", 4096, 64 << 20,
           "longest message put together from packages"),
    NUMBER("pending_size", PG_OPT_SIZE, pending_bytes, "8m", 4096, 256 << 20,
           "bytes of incomplete messages of one terminal"),
    NUMBER("pending_messages", PG_OPT_INT, pending_messages, "8", 1, 1024,
           "incomplete messages of one terminal"),
    NUMBER("missing_after", PG_OPT_DURATION, missing_ms, "5s", 100, HOURS(1),
           "silence after which missing packages are asked for"),
    NUMBER("missing_asks", PG_OPT_INT, missing_asks, "5", 0, 100,
           "how often missing packages are asked for"),
    NUMBER("missing_age", PG_OPT_DURATION, missing_age_ms, "1m", 1000, HOURS(24),
           "time without a new package after which a message is given up"),
    NUMBER("bad_frames", PG_OPT_INT, bad_frames, "64", 1, 1000000,
           "bad frames in a row after which the connection is closed"),
    NUMBER("bad_bytes", PG_OPT_SIZE, bad_bytes, "64k", 64, 16 << 20,
           "bytes without a good frame after which the connection is closed; 4k before the first "
           "one"),
    TOLERATE("tolerate_unescaped_7d", JT808_QUIRK_UNESCAPED_7D, "true",
             "take a 7d without its escape if check code and length hold"),
    TOLERATE("tolerate_unescaped_7e", JT808_QUIRK_UNESCAPED_7E, "false",
             "take a 7e without its escape if check code and length hold"),
    TOLERATE("tolerate_wrong_checksum", JT808_QUIRK_WRONG_CHECKSUM, "false",
             "take a wrong check code if the length holds"),
    TOLERATE("tolerate_wrong_length", JT808_QUIRK_WRONG_LENGTH, "false",
             "take a wrong length if the check code holds; the body ends before it"),
    TOLERATE("tolerate_header_without_version_bit", JT808_QUIRK_HEADER_WITHOUT_VERSION_BIT, "true",
             "take a header of 2019 without bit 14"),
    TOLERATE("tolerate_version_bit_without_2019_header",
             JT808_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER, "true", "take bit 14 with an old header"),
    {.name = NULL},
};

static const struct pg_counter jt808_counters[] = {
#define COUNTER_ROW(NAME, text, what) {.name = text, .sentence = what},
    JT808_COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
        {.name = NULL},
};

const struct pg_protocol jt808_protocol = {
    .abi = PG_ABI,
    .name = "jt808",
    .options = jt808_options,
    .conf_size = sizeof(struct jt808_conf),
    .counters = jt808_counters,
    .conn_size = sizeof(struct jt808_conn),
    .check = jt808_check,
    .sniff = jt808_sniff,
    .open = jt808_open,
    .bytes = jt808_bytes,
    .admitted = jt808_session_admitted,
    .published = jt808_session_published,
    .remembered = jt808_remembered,
    .subscribed = jt808_subscribed,
    .deliver = jt808_deliver,
    .client_ended = jt808_session_ended,
    .evict = jt808_evict,
    .closed = jt808_session_closed,
};
