/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_FORWARD_H
#define GBT32960_FORWARD_H

/* Forwarding to other platforms, from inside: configuration, counters, and the state of one link.
 *
 * threads   the worker of the connection
 */

#include "gbt32960_codec.h"

/* ---- configuration of one block ------------------------------------------------------------- */

enum fwd_units { FWD_UNITS_AS_RECEIVED, FWD_UNITS_PLAIN };

struct fwd_conf {
    const char *platform; /* the id of 05 and 06 */
    const char *username, *password;
    int edition;         /* index: 2016, 2025 */
    int encryption_rule; /* index, one below enum gbt_encryption */
    struct pg_strings vehicles;
    int units; /* enum fwd_units */
    bool answers;
    int64_t window;
    int64_t rate;
    int64_t answer_ms, repetitions;
    int64_t login_retry_ms, login_tries, login_rest_ms;
    int64_t heartbeat_ms, silence_ms;
    int64_t session_expiry_ms;
};

/* ---- counters: X(NAME, "name", "when it moves") --------------------------------------------- */

#define FWD_COUNTERS(X)                                                                            \
    X(SENT, "sent", "a frame of a vehicle was sent for the first time on a link")                  \
    X(ACKNOWLEDGED, "acknowledged", "the platform took a frame")                                   \
    X(REISSUED, "reissued", "a report was sent as a re-issued one, among those sent")              \
    X(REPEATED, "repeated", "a frame was sent again on the same link, unanswered or refused")      \
    X(REFUSED, "refused", "the platform answered a frame with an error")                           \
    X(GIVEN_UP, "given_up", "a frame was repeated in vain, and is not forwarded any more")         \
    X(LOGINS, "logins", "the platform took a login")                                               \
    X(LOGINS_FAILED, "logins_failed", "the platform refused a login, or did not answer it")        \
    X(HEARTBEATS, "heartbeats", "a heartbeat was sent")                                            \
    X(UNMATCHED, "unmatched", "an answer came that nothing waits for")                             \
    X(COMMANDS_REFUSED, "commands_refused", "the platform sent a command, which was refused")      \
    X(BAD_FRAMES, "bad_frames", "bytes came that are no frame")                                    \
    X(INVALID, "invalid", "what was to be forwarded is no frame of a vehicle")

enum fwd_counter {
#define FWD_COUNTER_ENUM(NAME, name, sentence) FWD_COUNT_##NAME,
    FWD_COUNTERS(FWD_COUNTER_ENUM)
#undef FWD_COUNTER_ENUM
        FWD_COUNTER_TOTAL
};

/* ---- state ---------------------------------------------------------------------------------- */

/* Of a block, from link to link. */
struct fwd_block {
    uint8_t day[3];  /* of the latest login: serial numbers begin again each day */
    uint16_t serial; /* of the latest login; 0: there was none */
    uint16_t tries;  /* logins in vain in a row, since the last long rest */
};

/* A frame that the platform has not taken. */
struct fwd_sent {
    struct fwd_sent *next;
    struct pg_msg *msg; /* a reference; its payload is the frame */
    int64_t sent_ms;
    uint16_t id;     /* of the delivery */
    uint8_t command; /* as it was sent */
    uint8_t vin[GBT_ID_LEN];
    uint8_t time[6];
    bool has_time; /* it can be read */
    bool refused;  /* it was answered with an error, and is due again */
    uint8_t repeats;
};

enum fwd_state {
    FWD_APART,      /* not connected, or not admitted by the core yet */
    FWD_LOGGING_IN, /* 05 was sent */
    FWD_READY,      /* it was answered; frames flow */
};

/* pg_conn_state() of a link. */
struct fwd_conn {
    enum fwd_state state;
    bool connected;
    bool answers_heartbeats; /* the platform has, on this link */
    struct pg_client *client;
    int64_t ready_ms;              /* what was made before this is late */
    int64_t heard_ms, spoken_ms;   /* when the last frame came, and was sent */
    struct fwd_sent *first, **end; /* in the order of sending */
    int64_t credit, credited_ms;   /* thousandths of a frame that may be sent, and as of when */
    struct pg_timer link_timer;    /* of the login, then of heartbeats */
    struct pg_timer answer_timer;  /* of the first frame that was sent */
    struct pg_timer rate_timer;    /* until a frame may be sent */
    unsigned bad_run;
};

const struct fwd_conf *fwd_conf_of(struct fwd_conn *c);
void fwd_count(struct fwd_conn *c, enum fwd_counter counter);
/* Send a frame of our own. */
void fwd_say(struct fwd_conn *c, const struct gbt_frame *frame);

/* ---- gbt32960_forward_window.c: the frames of vehicles --------------------------------------- */

void fwd_window_init(struct fwd_conn *c);
/* Send what the session has, as far as window, rate and connection allow. */
void fwd_window_fill(struct fwd_conn *c);
/* The platform's answer to a frame of a vehicle. */
void fwd_window_answered(struct fwd_conn *c, const struct gbt_frame *answer);
/* Forget what is out: it stays with the session. */
void fwd_window_free(struct fwd_conn *c);

#endif
