/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_PARTS_H
#define JT808_PARTS_H

/* What the files of the JT/T 808 frontend share: its configuration, its counters, the state of a
 * connection and of a terminal on it.
 *
 *   jt808.c          descriptor, options, bytes to frames, bad frames, timers
 *   jt808_session.c  the life of a terminal: registration, login, what it sends
 *   jt808_command.c  what it is sent: commands in flight, their answers, their repetition
 *   jt808_answer.c   frames that the platform makes by itself, topics, presence
 *   jt808_auth.c     authentication codes
 *
 * threads   everything on the worker of the connection
 */

#include "jt808_codec.h"
#include "jt808_reassembly.h"
#include "polygate.h"

/* ---- configuration -------------------------------------------------------------------------- */

enum jt808_payload { JT808_PAYLOAD_NATIVE, JT808_PAYLOAD_RAW, JT808_PAYLOAD_EMQX };
enum jt808_before_login { JT808_BEFORE_LOGIN_REFUSE, JT808_BEFORE_LOGIN_ADMIT };
enum jt808_registration {
    JT808_REGISTRATION_ISSUE,
    JT808_REGISTRATION_ADMIT,
    JT808_REGISTRATION_REFUSE
};
enum jt808_issued { JT808_ISSUED_ANONYMOUS, JT808_ISSUED_TRUSTED };
enum jt808_unknown_codes { JT808_UNKNOWN_CODES_ASK, JT808_UNKNOWN_CODES_REFUSE };
enum jt808_other_phones {
    JT808_OTHER_PHONES_REFUSE,
    JT808_OTHER_PHONES_CLOSE,
    JT808_OTHER_PHONES_ADMIT
};
enum jt808_unknown_messages { JT808_UNKNOWN_MESSAGES_ACCEPT, JT808_UNKNOWN_MESSAGES_REJECT };
enum jt808_edition_choice {
    JT808_EDITION_AUTO,
    JT808_EDITION_2011,
    JT808_EDITION_2013,
    JT808_EDITION_2019
};

struct jt808_conf {
    const char *uplink_topic, *downlink_topic, *status_topic;
    int payload; /* enum jt808_payload */
    int text;    /* enum wire_charset */
    int edition; /* enum jt808_edition_choice */
    bool add_raw;
    int registration;  /* enum jt808_registration */
    int issued_codes;  /* enum jt808_issued */
    int unknown_codes; /* enum jt808_unknown_codes */
    const char *code_secret;
    int before_login; /* enum jt808_before_login */
    int64_t login_failures;
    int other_phones; /* enum jt808_other_phones */
    int64_t phones;
    int64_t idle_ms;
    int64_t session_expiry_ms;
    int unknown_messages; /* enum jt808_unknown_messages */
    int64_t duplicate_ms;
    bool multimedia_count;
    int64_t window;
    int64_t answer_ms;
    int64_t repetitions;
    int64_t message_bytes;
    int64_t pending_bytes;
    int64_t pending_messages;
    int64_t missing_ms;
    int64_t missing_asks;
    int64_t missing_age_ms;
    int64_t bad_frames;
    int64_t bad_bytes;
    bool tolerate[JT808_QUIRK_COUNT];
};

/* ---- counters: X(NAME, "name", "when it moves") --------------------------------------------- */

#define JT808_COUNTERS(X)                                                                          \
    X(FRAMES, "frames", "a good frame came")                                                       \
    X(FRAMES_SENT, "frames_sent", "a frame was sent, repetitions included")                        \
    X(BAD_DELIMITER, "bad_delimiter", "bytes were not enclosed by 7e")                             \
    X(BAD_ESCAPE, "bad_escape", "a 7d was not followed by 01 or 02")                               \
    X(BAD_SHORT, "bad_short", "a frame was shorter than a header")                                 \
    X(BAD_CHECKSUM, "bad_checksum", "a check code did not hold")                                   \
    X(BAD_LENGTH, "bad_length", "a declared body length did not fit")                              \
    X(BAD_TOO_LONG, "bad_too_long", "no 7e came within the longest legal frame")                   \
    X(BAD_BODY, "bad_body", "a body did not fit its layout; what could be read was published")     \
    X(NOISE_BYTES, "noise_bytes", "bytes came before the first 7e")                                \
    X(QUIRK_UNESCAPED_7D, "quirk_unescaped_7d", "a 7d without its escape was tolerated")           \
    X(QUIRK_UNESCAPED_7E, "quirk_unescaped_7e", "a 7e without its escape was tolerated")           \
    X(QUIRK_WRONG_CHECKSUM, "quirk_wrong_checksum", "a wrong check code was tolerated")            \
    X(QUIRK_WRONG_LENGTH, "quirk_wrong_length", "a wrong body length was tolerated")               \
    X(QUIRK_HEADER_WITHOUT_VERSION_BIT, "quirk_header_without_version_bit",                        \
      "a header of 2019 came without bit 14")                                                      \
    X(QUIRK_VERSION_BIT_WITHOUT_2019_HEADER, "quirk_version_bit_without_2019_header",              \
      "bit 14 came with an old header")                                                            \
    X(REGISTRATIONS, "registrations", "a terminal registered and was given a code")                \
    X(REGISTRATIONS_REFUSED, "registrations_refused", "a registration was refused")                \
    X(LOGINS, "logins", "a terminal was admitted")                                                 \
    X(LOGINS_REFUSED, "logins_refused", "a terminal was not admitted")                             \
    X(BEFORE_LOGIN, "before_login", "data came before login and had no effect")                    \
    X(OTHER_PHONE, "other_phone",                                                                  \
      "a frame of another phone came on a connection and had no "                                  \
      "effect")                                                                                    \
    X(PUBLISHED, "published", "a message of a terminal was taken by the core")                     \
    X(PUBLISH_REFUSED, "publish_refused", "a message of a terminal was refused by the core")       \
    X(DUPLICATES, "duplicates", "a frame or package came again and was only answered")             \
    X(UNKNOWN_MESSAGES, "unknown_messages", "a message that no table describes came")              \
    X(MESSAGES_JOINED, "messages_joined", "the last package of a message came")                    \
    X(MESSAGES_INCOMPLETE, "messages_incomplete", "a message was given up with packages missing")  \
    X(PACKAGES_REFUSED, "packages_refused", "a package was impossible or beyond a limit")          \
    X(PACKAGES_ASKED, "packages_asked", "missing packages were asked for")                         \
    X(COMMANDS, "commands", "a command was sent for the first time")                               \
    X(COMMANDS_REPEATED, "commands_repeated", "a command was sent again")                          \
    X(COMMANDS_ANSWERED, "commands_answered", "a command was answered with success")               \
    X(COMMANDS_REJECTED, "commands_rejected", "a terminal refused a command")                      \
    X(COMMANDS_TIMED_OUT, "commands_timed_out", "a command was not answered to the end")           \
    X(COMMANDS_INVALID, "commands_invalid", "a payload could not be made a frame")                 \
    X(COMMANDS_LOST, "commands_lost", "the connection went with a command unanswered")

enum jt808_counter {
#define JT808_COUNTER_ENUM(NAME, name, sentence) JT808_COUNT_##NAME,
    JT808_COUNTERS(JT808_COUNTER_ENUM)
#undef JT808_COUNTER_ENUM
        JT808_COUNTER_TOTAL
};

/* ---- state ---------------------------------------------------------------------------------- */

struct jt808_command;
struct jt808_conn;

enum jt808_state {
    JT808_FRESH,   /* identity not proven: registration, authentication, time; the core's login
                    * deadline runs while no terminal of the connection is past this */
    JT808_ASKING,  /* admission is asked for; the connection is paused, so no bytes come */
    JT808_ONLINE,  /* `client` is set; every message is allowed */
    JT808_LEAVING, /* it unregisters; `client` is set until the core has ended it; the connection
                    * is paused, so no bytes come */
};

/* What is answered when the admission is known. */
enum jt808_asking { JT808_ASKED_BY_CODE, JT808_ASKED_BY_REGISTRATION, JT808_ASKED_BY_DATA };

/* A message of the terminal whose publication has not been decided. */
struct jt808_uplink {
    struct jt808_uplink *next;
    uint64_t token;
    uint16_t msg_id, serial;
    uint8_t result;  /* of the answer if the core takes it */
    bool multimedia; /* a whole 0x0801: 0x8800 follows */
    uint32_t media_id;
    unsigned duplicate_at; /* place of its mark in `recent` */
    uint32_t hash;
};

/* Marks of the latest frames, to know a repetition: the terminal's window is far smaller. */
#define JT808_RECENT 32u
struct jt808_recent {
    int64_t at_ms; /* 0: free */
    uint32_t hash;
    uint16_t msg_id, serial;
};

#define JT808_TERMINAL_MAGIC 0x808e0001u

struct jt808_terminal {
    uint32_t magic;
    enum jt808_state state;
    struct jt808_conn *conn;
    struct jt808_terminal *next, **link; /* of the connection (jt808_fleet.c) */
    struct jt808_terminal *table_next;
    struct pg_client *client; /* ONLINE and LEAVING */
    int64_t seen_ms;          /* when its latest frame came */
    struct jt808_frame form;  /* header of the latest frame: what is sent looks like it */
    /* The digits as at login: client identifier and topics. */
    char phone[JT808_PHONE_DIGITS_2019 + 1];
    unsigned edition; /* known from a body; 0: the header tells */
    uint16_t serial;  /* of the next frame to this terminal */
    bool registered;  /* was given a code on this connection */
    bool admit_tried; /* data before login: admission was refused, do not ask again */
    enum jt808_asking asking;
    uint16_t asked_id, asked_serial; /* frame to answer when the admission, or the end, is known */
    uint8_t code_mark[8];            /* of the code it logged in with, to know it again */
    bool by_code;
    struct jt808_reassembly *reassembly; /* made at the first package */
    uint32_t last_media_id;
    struct jt808_recent recent[JT808_RECENT];
    unsigned recent_next;
    struct jt808_uplink *uplinks, **uplinks_end;
    unsigned uplink_count;
    struct jt808_command *commands;
    unsigned command_count;
    struct pg_timer timer; /* the earliest of what reassembly and commands wait for */
};

/* pg_conn_state() of a connection. */
struct jt808_conn {
    struct jt808_stream stream;
    struct jt808_terminal *terminals; /* newest first */
    struct jt808_terminal **table;    /* by phone; NULL while there are few */
    unsigned table_size;              /* a power of two */
    unsigned terminal_count;
    unsigned online_count;
    uint16_t stray_serial; /* of answers to phones that have no terminal here */
    uint64_t token;        /* of the latest publication */
    unsigned pauses;       /* calls of pg_conn_pause() that are not undone */
    bool flooded;          /* one of them is for too many undecided publications */
    unsigned login_failures;
    unsigned bad_run; /* bad frames since the last good one */
    size_t bad_bytes; /* bytes since the last good frame */
};

/* The terminals of a connection (jt808_fleet.c). `phone` is compared without leading zeros; a
 * terminal's own phone may only change to an equal one while it is entered. */
void jt808_fleet_add(struct jt808_conn *c, struct jt808_terminal *t);
void jt808_fleet_remove(struct jt808_conn *c, struct jt808_terminal *t);
struct jt808_terminal *jt808_fleet_find(const struct jt808_conn *c, const char *phone);

static inline const struct jt808_conf *jt808_conf_of(struct jt808_conn *c)
{
    return pg_conn_conf(pg_conn_of_state(c));
}

static inline void jt808_count(struct jt808_conn *c, enum jt808_counter counter)
{
    pg_conn_count(pg_conn_of_state(c), counter, 1);
}

/* ---- jt808_session.c ------------------------------------------------------------------------ */

/* Handle one good frame. false: it waits for an admission and is to be offered again. */
bool jt808_session_frame(struct jt808_conn *c, const struct jt808_frame *frame);
/* The edition to read or write a body in, under the header of `frame`; 0: the header tells. */
unsigned jt808_session_edition(const struct jt808_terminal *t, const struct jt808_frame *frame);
/* A frame whose length is wrong: tell the terminal, if it is one of ours. */
void jt808_session_wrong_length(struct jt808_conn *c, const struct jt808_frame *frame);
/* Callbacks of struct pg_protocol; the cookie of a client is its terminal. */
void jt808_session_admitted(struct pg_conn *conn, const struct pg_admission *admission,
                            void *cookie);
void jt808_session_published(struct pg_client *client, uint64_t token, enum pg_reason reason);
void jt808_session_ended(struct pg_client *client, enum pg_reason reason);
void jt808_session_closed(struct pg_conn *conn);
/* What the core remembers of its registration has been erased, or has not. */
void jt808_session_unregistered(struct jt808_terminal *t, enum pg_reason reason);
/* Ask for, and give up, packages that are missing; end a terminal that is silent on a connection
 * that others keep alive. */
void jt808_session_due(struct jt808_terminal *t);
int64_t jt808_session_deadline(const struct jt808_terminal *t);

/* ---- jt808_command.c ------------------------------------------------------------------------ */

/* Take deliveries of the session and send them, as far as window and connection allow. */
void jt808_command_deliver(struct jt808_terminal *t);
/* Let a message of the terminal answer what it answers. */
void jt808_command_answered(struct jt808_terminal *t, const struct jt808_frame *frame);
/* 0x0005: send packages again. false: they are not of a command in flight. */
bool jt808_command_resend(struct jt808_terminal *t, const struct jt808_frame *frame);
/* Repeat what is due, give up what was repeated often enough. */
void jt808_command_due(struct jt808_terminal *t);
int64_t jt808_command_deadline(const struct jt808_terminal *t);
/* The client ends: requests are told so, other commands stay with the session. */
void jt808_command_lost(struct jt808_terminal *t, enum pg_reason reason);
void jt808_command_free(struct jt808_terminal *t);

/* ---- jt808_answer.c ------------------------------------------------------------------------- */

/* Results of a general answer, 0x0001 and 0x8001. */
enum jt808_result_code {
    JT808_RESULT_OK = 0,
    JT808_RESULT_FAILED = 1,
    JT808_RESULT_WRONG = 2,
    JT808_RESULT_UNSUPPORTED = 3,
};
/* The column of this standard in the list of reasons. */
enum jt808_result_code jt808_result_of(enum pg_reason reason);

/* The header of a frame to a terminal: form, version and phone of `like`. */
struct jt808_frame jt808_header_like(const struct jt808_frame *like, uint16_t msg_id,
                                     uint16_t serial);
/* Send a body of at most 512 bytes under the terminal's next serial. */
void jt808_send(struct jt808_terminal *t, uint16_t msg_id, struct pg_bytes body);
/* 0x8001 */
void jt808_answer(struct jt808_terminal *t, uint16_t serial, uint16_t msg_id,
                  enum jt808_result_code result);
/* 0x8001 to a phone that has no terminal on this connection */
void jt808_answer_stray(struct jt808_conn *c, const struct jt808_frame *frame,
                        enum jt808_result_code result);
/* 0x8100, with a code if the result is 0 */
void jt808_answer_registration(struct jt808_terminal *t, uint16_t serial, uint8_t result);
/* 0x8004, UTC */
void jt808_answer_time(struct jt808_terminal *t);
/* 0x8800; `missing` may be NULL: all is there */
void jt808_answer_multimedia(struct jt808_terminal *t, uint16_t serial, uint32_t media_id,
                             const struct jt808_missing *missing);
/* 0x8003 */
void jt808_ask_missing(struct jt808_terminal *t, const struct jt808_missing *missing);

#define JT808_TOPIC_MAX 512u
/* The topic of a template with ${phone} and ${id} (and ${message}) filled in. An empty range if it
 * is longer than `room`. */
struct pg_bytes jt808_topic(const char *pattern, const char *phone, uint16_t msg_id, char *room,
                            size_t size);
/* Tell on the status topic that the terminal is there, or not any more and why. */
void jt808_announce_online(struct jt808_terminal *t);
void jt808_announce_offline(struct jt808_terminal *t, enum pg_reason cause);
/* "2026-03-01T08:00:00.000+08:00" */
#define JT808_TIME_TEXT 32u
void jt808_time_text(int64_t wall_ms, char text[JT808_TIME_TEXT]);

/* ---- jt808.c -------------------------------------------------------------------------------- */

/* (Re)start the terminal's timer for the earliest of what it waits for. */
void jt808_timer_update(struct jt808_terminal *t);

#endif
