/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_PARTS_H
#define GBT32960_PARTS_H

/* What the files of the GB/T 32960 frontend share: configuration, counters, the state of a
 * connection and of each vehicle on it.
 *
 * threads   everything here belongs to the worker of its connection
 */

#include "gbt32960_codec.h"
#include "gbt32960_emqx.h"
#include "gbt32960_json.h"
#include "gbt32960_keys.h"

/* ---- configuration -------------------------------------------------------------------------- */

enum gbt_payload { GBT_PAYLOAD_NATIVE, GBT_PAYLOAD_RAW, GBT_PAYLOAD_EMQX };
enum gbt_before_login {
    GBT_BEFORE_LOGIN_REFUSE,
    GBT_BEFORE_LOGIN_DROP,
    GBT_BEFORE_LOGIN_CLOSE,
    GBT_BEFORE_LOGIN_ADMIT
};
enum gbt_refused_login { GBT_REFUSED_LOGIN_SILENT, GBT_REFUSED_LOGIN_ANSWER };
enum gbt_credential { GBT_CREDENTIAL_NONE, GBT_CREDENTIAL_ICCID };
enum gbt_duplicate_vin { GBT_DUPLICATE_VIN_REPLACE, GBT_DUPLICATE_VIN_REFUSE };
enum gbt_other_vins { GBT_OTHER_VINS_REFUSE, GBT_OTHER_VINS_ADMIT };
enum gbt_platforms { GBT_PLATFORMS_ADMIT, GBT_PLATFORMS_REFUSE };
enum gbt_report_ack { GBT_REPORT_ACK_AUTO, GBT_REPORT_ACK_ERRORS, GBT_REPORT_ACK_ALWAYS };
enum gbt_answer_form { GBT_ANSWER_FORM_TIME, GBT_ANSWER_FORM_ECHO };
enum gbt_serials { GBT_SERIALS_ACCEPT, GBT_SERIALS_REFUSE };
enum gbt_activation_choice { GBT_ACTIVATION_REFUSE, GBT_ACTIVATION_ACCEPT, GBT_ACTIVATION_PUBLISH };
enum gbt_bad_signatures { GBT_BAD_SIGNATURES_REFUSE, GBT_BAD_SIGNATURES_ACCEPT };
enum gbt_unknown_commands { GBT_UNKNOWN_COMMANDS_SILENT, GBT_UNKNOWN_COMMANDS_REJECT };

struct gbt_conf {
    const char *uplink_topic, *downlink_topic, *status_topic;
    int payload; /* enum gbt_payload */
    bool add_raw;
    int before_login;  /* enum gbt_before_login */
    int refused_login; /* enum gbt_refused_login */
    int64_t login_failures;
    int credential;    /* enum gbt_credential */
    int duplicate_vin; /* enum gbt_duplicate_vin */
    int other_vins;    /* enum gbt_other_vins */
    int platforms;     /* enum gbt_platforms */
    int64_t vehicles;
    int report_ack;       /* enum gbt_report_ack */
    int answer_form;      /* enum gbt_answer_form */
    int serials;          /* enum gbt_serials */
    int activation;       /* enum gbt_activation_choice */
    int unknown_commands; /* enum gbt_unknown_commands */
    const char *key_file;
    int bad_signatures; /* enum gbt_bad_signatures */
    int64_t idle_ms;
    int64_t frame_ms;
    int64_t session_expiry_ms;
    int64_t duplicate_ms;
    bool join_cells;
    int64_t join_ms;
    int64_t window;
    int64_t answer_ms;
    int64_t repetitions;
    int64_t bad_frames;
    int64_t bad_bytes;
};

/* ---- counters: X(NAME, "name", "when it moves") --------------------------------------------- */

#define GBT_COUNTERS(X)                                                                            \
    X(FRAMES, "frames", "a good frame came")                                                       \
    X(FRAMES_SENT, "frames_sent", "a frame was sent, repetitions included")                        \
    X(BAD_BCC, "bad_bcc", "a check code did not hold")                                             \
    X(BAD_ENCRYPTION, "bad_encryption", "an encryption flag is not one of the edition")            \
    X(NOISE_BYTES, "noise_bytes", "bytes came that begin no frame")                                \
    X(BAD_UNIT, "bad_unit", "a unit did not fit its table; what could be read was published")      \
    X(OUT_OF_RANGE, "out_of_range", "a report had a value that the standard does not have")        \
    X(OPAQUE, "opaque", "an encrypted unit could not be read; it was published as it is")          \
    X(DECRYPTED, "decrypted", "an encrypted unit was read")                                        \
    X(SIGNATURES_VALID, "signatures_valid", "a signature held")                                    \
    X(SIGNATURES_BAD, "signatures_bad", "a signature did not hold")                                \
    X(LOGINS, "logins", "a vehicle was admitted")                                                  \
    X(LOGINS_REFUSED, "logins_refused", "a vehicle or platform was not admitted")                  \
    X(PLATFORM_LOGINS, "platform_logins", "a platform was admitted")                               \
    X(LOGOUTS, "logouts", "a vehicle or platform logged out")                                      \
    X(BEFORE_LOGIN, "before_login", "data came before login and had no effect")                    \
    X(OTHER_VIN, "other_vin", "a frame of another VIN came on a connection and had no effect")     \
    X(WRONG_SERIALS, "wrong_serials", "a serial number did not follow the rules")                  \
    X(PUBLISHED, "published", "a message of a vehicle was taken by the core")                      \
    X(PUBLISH_REFUSED, "publish_refused", "a message of a vehicle was refused by the core")        \
    X(DUPLICATES, "duplicates", "a frame came again and was only answered")                        \
    X(UNKNOWN_COMMANDS, "unknown_commands", "a command that no table describes came")              \
    X(CELLS_JOINED, "cells_joined", "the cell voltages of several frames were joined")             \
    X(CELLS_INCOMPLETE, "cells_incomplete", "cell voltages were given up with some missing")       \
    X(COMMANDS, "commands", "a command was sent for the first time")                               \
    X(COMMANDS_REPEATED, "commands_repeated", "a command was sent again")                          \
    X(COMMANDS_ANSWERED, "commands_answered", "a command was answered with success")               \
    X(COMMANDS_REJECTED, "commands_rejected", "a vehicle refused a command")                       \
    X(COMMANDS_TIMED_OUT, "commands_timed_out", "a command was not answered to the end")           \
    X(COMMANDS_INVALID, "commands_invalid", "a payload could not be made a frame")                 \
    X(COMMANDS_LOST, "commands_lost", "the connection went with a command unanswered")

enum gbt_counter {
#define GBT_COUNTER_ENUM(NAME, name, sentence) GBT_COUNT_##NAME,
    GBT_COUNTERS(GBT_COUNTER_ENUM)
#undef GBT_COUNTER_ENUM
        GBT_COUNTER_TOTAL
};

/* ---- state ---------------------------------------------------------------------------------- */

struct gbt_command_out;
struct gbt_joining;
struct gbt_conn;

enum gbt_state {
    GBT_FRESH,   /* not admitted; the core's login deadline runs while nobody on the connection is
                  * past this */
    GBT_ASKING,  /* admission is asked for; the connection is paused, so no bytes come */
    GBT_ONLINE,  /* `client` is set; every command is allowed */
    GBT_LEAVING, /* it logged out or was silent; `client` is set until the core has ended it; the
                  * connection is paused, so no bytes come */
};

/* What asked for admission, and so what is answered when it is known. */
enum gbt_asking {
    GBT_ASKED_BY_LOGIN,    /* 01 */
    GBT_ASKED_BY_PLATFORM, /* 05 */
    GBT_ASKED_BY_DATA,     /* anything else: the frame is offered again */
};

/* Enough of a frame to answer it: the header, and the message time. */
struct gbt_request {
    uint16_t edition;
    uint8_t command, encryption;
    uint8_t id[GBT_ID_LEN];
    uint8_t time[6];
    bool has_time;
};

/* A message of a vehicle whose publication has not been decided. PG_OK is 0. */
struct gbt_uplink {
    struct gbt_uplink *next;
    uint64_t token;
    struct gbt_request request;
    enum pg_reason reason; /* so far: the first error, else the latest */
    unsigned undecided; /* publications of it that are not decided: its own, and those handed on */
    bool wants_answer;
    uint8_t bad; /* a response flag: what is wrong with it although it was published; 0 nothing */
    unsigned duplicate_at;
    uint32_t hash;
};

/* Marks of the latest frames, to know a repetition. */
#define GBT_RECENT 8u
struct gbt_recent {
    int64_t at_ms; /* 0: free */
    uint32_t hash;
    uint32_t len;
};

#define GBT_VEHICLE_MAGIC 0x32960a01u

/* A vehicle, or the platform that speaks for vehicles: whoever has an id on this connection. */
struct gbt_vehicle {
    uint32_t magic;
    enum gbt_state state;
    struct gbt_conn *conn;
    struct gbt_vehicle *next, **link; /* of the connection (gbt32960_fleet.c) */
    struct gbt_vehicle *table_next;
    struct pg_client *client; /* ONLINE and LEAVING */
    uint8_t id[GBT_ID_LEN];   /* raw, as in its latest frame */
    char vin[GBT_ID_TEXT];    /* without filling: client identifier and topics */
    uint16_t edition;         /* of its latest frame: commands take it */
    uint8_t encryption;       /* the same */
    int64_t seen_ms;          /* when its latest frame came */
    enum gbt_asking asking;
    struct gbt_request asked; /* what is answered if the admission is refused */
    bool admit_tried;         /* data before login: admission was refused, do not ask again */
    bool greeting;            /* admitted by a login that has not been answered: no commands yet */
    bool refused;             /* the login that is offered next has been refused and answered */
    uint16_t login_serial;    /* of the login of this session; 0 none */
    uint8_t login_day[3];     /* the date in that login */
    struct gbt_recent recent[GBT_RECENT];
    unsigned recent_next;
    struct gbt_uplink *uplinks, **uplinks_end;
    unsigned uplink_count;
    struct gbt_command_out *commands; /* in flight, or waiting for one of the same code */
    unsigned command_count;
    int64_t quiet_until_ms[3]; /* after a timeout of 80, 81, 82: late answers are for nobody */
    struct gbt_joining *joining;
    struct gbt_key *exchanged;                     /* by 0b, for this session; NULL: none */
    int64_t exchanged_from_ms, exchanged_until_ms; /* wall clock */
    struct pg_timer timer;                         /* the earliest of what it waits for */
};

/* pg_conn_state() of a connection. */
struct gbt_conn {
    struct gbt_vehicle *vehicles; /* newest first */
    struct gbt_vehicle **table;   /* by VIN; NULL while there are few */
    unsigned table_size;          /* a power of two */
    unsigned vehicle_count;
    unsigned online_count;
    struct gbt_vehicle *platform; /* admitted by 05; every VIN is welcome then */
    char platform_user[13];       /* its user name, which its vehicles have, too */
    uint64_t token;               /* of the latest publication */
    unsigned pauses;              /* calls of pg_conn_pause() that are not undone */
    bool flooded;                 /* one of them is for too many undecided publications */
    unsigned login_failures;
    unsigned bad_run;            /* bad frames since the last good one */
    size_t bad_bytes;            /* bytes since the last good frame */
    struct gbt_keyring *keys;    /* of the configuration; NULL: there are none */
    struct pg_timer frame_timer; /* runs while a frame has not come whole */
};

static inline const struct gbt_conf *gbt_conf_of(struct gbt_conn *c)
{
    return pg_conn_conf(pg_conn_of_state(c));
}

static inline void gbt_count(struct gbt_conn *c, enum gbt_counter counter)
{
    pg_conn_count(pg_conn_of_state(c), counter, 1);
}

/* ---- gbt32960_fleet.c: the vehicles of a connection ----------------------------------------- */

void gbt_fleet_add(struct gbt_conn *c, struct gbt_vehicle *v);
void gbt_fleet_remove(struct gbt_conn *c, struct gbt_vehicle *v);
struct gbt_vehicle *gbt_fleet_find(const struct gbt_conn *c, const char *vin);

/* Which VINs are online in this process; any thread. Every enter needs a leave. */
bool gbt_online_is(const char *vin);
void gbt_online_enter(const char *vin);
void gbt_online_leave(const char *vin);

/* ---- gbt32960_session.c --------------------------------------------------------------------- */

/* Handle one good frame. false: it waits for an admission and is to be offered again. */
bool gbt_session_frame(struct gbt_conn *c, const struct gbt_frame *frame);
/* Callbacks of struct pg_protocol; the cookie of a client is its vehicle. */
void gbt_session_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie);
void gbt_session_ended(struct pg_client *client, enum pg_reason reason);
/* End a vehicle that is silent on a connection that others keep alive. */
void gbt_session_due(struct gbt_vehicle *v);
int64_t gbt_session_deadline(const struct gbt_vehicle *v);
void gbt_session_free(struct gbt_conn *c);
void gbt_pause(struct gbt_conn *c);
void gbt_resume(struct gbt_conn *c);

/* ---- gbt32960_secure.c ---------------------------------------------------------------------- */

/* Read an encrypted unit. true: *plain is the frame with its unit decrypted, which lives until the
 * next call on this thread. */
bool gbt_secure_open(struct gbt_conn *c, const struct gbt_vehicle *v, const struct gbt_frame *frame,
                     struct gbt_frame *plain);
/* Judge the signature of a report or activation: "valid", "invalid", "unverified" (no key), or NULL
 * if it has none. */
const char *gbt_secure_signature(struct gbt_conn *c, const struct gbt_frame *frame);
/* 0b of a vehicle: keep the key for this session. Answers. */
void gbt_secure_exchange(struct gbt_vehicle *v, const struct gbt_frame *frame);
void gbt_secure_free(struct gbt_vehicle *v);

/* ---- gbt32960_uplink.c ---------------------------------------------------------------------- */

/* Callback of struct pg_protocol. */
void gbt_uplink_published(struct pg_client *client, uint64_t token, enum pg_reason reason);
/* Publish a frame of a vehicle that is online, and answer it as the standard wants. */
void gbt_uplink_take(struct gbt_vehicle *v, const struct gbt_frame *frame);
/* Publish a payload made from the frame on the uplink topic of `message`, without an answer. */
void gbt_uplink_extra(struct gbt_vehicle *v, const char *message, struct pg_bytes json);
/* Publish a logout where applications expect it as a message: EMQX's. Others have the status. */
void gbt_uplink_logout(struct gbt_vehicle *v, const struct gbt_frame *frame);
void gbt_uplink_free(struct gbt_vehicle *v);
/* A publication of it has this result, at once or in the end. */
void gbt_uplink_note(struct gbt_uplink *u, enum pg_reason reason);

/* ---- gbt32960_hand_on.c --------------------------------------------------------------------- */

/* Send a frame to the platforms that it is forwarded to, as part of this publication. */
void gbt_hand_on(struct gbt_vehicle *v, const struct gbt_frame *frame, struct gbt_uplink *u);

/* ---- gbt32960_join.c ------------------------------------------------------------------------ */

/* Take parts of the cell voltages of subsystems, and publish them whole when the last part is
 * there. The first six bytes of the frame's unit are its time. */
void gbt_join_take(struct gbt_vehicle *v, const struct gbt_frame *frame,
                   const struct gbt_cells *cells);
void gbt_join_due(struct gbt_vehicle *v);
int64_t gbt_join_deadline(const struct gbt_vehicle *v);
void gbt_join_free(struct gbt_vehicle *v);

/* ---- gbt32960_command.c --------------------------------------------------------------------- */

/* Take deliveries of the session and send them, as far as window and connection allow. */
void gbt_command_deliver(struct gbt_vehicle *v);
/* Let a frame of the vehicle answer what it answers. */
void gbt_command_answered(struct gbt_vehicle *v, const struct gbt_frame *frame);
/* Repeat what is due, give up what was repeated often enough. */
void gbt_command_due(struct gbt_vehicle *v);
int64_t gbt_command_deadline(const struct gbt_vehicle *v);
/* The client ends: requests are told so, other commands stay with the session. */
void gbt_command_lost(struct gbt_vehicle *v, enum pg_reason reason);
void gbt_command_free(struct gbt_vehicle *v);

/* ---- gbt32960_answer.c ---------------------------------------------------------------------- */

/* The column of this standard in the list of reasons. */
enum gbt_response gbt_response_of(enum pg_reason reason, unsigned edition);
/* Remember what is needed to answer a frame. */
struct gbt_request gbt_request_of(const struct gbt_frame *frame);
/* Answer with the message time of the request (6.3.2). Answers are never answered. */
void gbt_answer(struct gbt_conn *c, const struct gbt_request *request, enum gbt_response response);
/* The same for the frame itself, which `answer_form = echo` gives back as a whole. */
void gbt_answer_frame(struct gbt_conn *c, const struct gbt_frame *frame,
                      enum gbt_response response);
/* 07 and 08 */
void gbt_answer_heartbeat(struct gbt_conn *c, const struct gbt_frame *frame);
void gbt_answer_time(struct gbt_conn *c, const struct gbt_frame *frame);
/* 0a: status 1 or 2, info */
void gbt_answer_activation(struct gbt_conn *c, const struct gbt_frame *frame, uint8_t status,
                           uint8_t info);
void gbt_send(struct gbt_conn *c, const struct gbt_frame *frame);
/* Encrypt a unit that is plain as the encryption flag of its frame says, into `room` of
 * GBT_SEALED_ROOM bytes more than the unit has. Without a key that can, the flag becomes plain. The
 * room is for what the ciphers add, RSA most: a block of the key's size. */
#define GBT_SEALED_ROOM 1024u
void gbt_seal(struct gbt_conn *c, const struct gbt_vehicle *v, struct gbt_frame *frame,
              uint8_t *room);

#define GBT_TOPIC_MAX 512u
/* The topic of a template with ${vin}, ${message} and ${id} filled in. An empty range if it is
 * longer than `size`. */
struct pg_bytes gbt_topic(const char *pattern, const char *vin, const char *message,
                          uint8_t command, char *room, size_t size);
/* Tell on the status topic that the vehicle is there, or not any more and why. */
void gbt_announce_online(struct gbt_vehicle *v);
void gbt_announce_offline(struct gbt_vehicle *v, enum pg_reason cause);

/* ---- gbt32960.c ----------------------------------------------------------------------------- */

/* (Re)start the vehicle's timer for the earliest of what it waits for. */
void gbt_timer_update(struct gbt_vehicle *v);

#endif
