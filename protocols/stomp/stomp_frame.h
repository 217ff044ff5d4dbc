/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STOMP_FRAME_H
#define STOMP_FRAME_H

/* Frames of STOMP 1.0, 1.1 and 1.2: taking them out of a stream, and reading their headers.
 *
 * A frame is read where it lies. What is kept between two calls are offsets and the state of the
 * machine, so that no byte of the head is looked at twice, however a frame is cut; its body is
 * neither looked at (with a content-length) nor copied.
 *
 * threads   any; a frame belongs to one thread at a time
 * standard  STOMP 1.2: STOMP Frames, Value Encoding, Body, Size Limits, Augmented BNF; 1.1 and 1.0,
 *           the same */

#include <string.h>

#include "polygate.h"

enum stomp_version {
    STOMP_V_UNKNOWN, /* before the first frame: what it holds is read as 1.2, and not unescaped */
    STOMP_V10,
    STOMP_V11,
    STOMP_V12,
};

/* X(NAME, "name"): the commands, those of clients first. */
#define STOMP_COMMANDS(X)                                                                          \
    X(CONNECT, "CONNECT")                                                                          \
    X(STOMP, "STOMP")                                                                              \
    X(SEND, "SEND")                                                                                \
    X(SUBSCRIBE, "SUBSCRIBE")                                                                      \
    X(UNSUBSCRIBE, "UNSUBSCRIBE")                                                                  \
    X(ACK, "ACK")                                                                                  \
    X(NACK, "NACK")                                                                                \
    X(BEGIN, "BEGIN")                                                                              \
    X(COMMIT, "COMMIT")                                                                            \
    X(ABORT, "ABORT")                                                                              \
    X(DISCONNECT, "DISCONNECT")                                                                    \
    X(CONNECTED, "CONNECTED")                                                                      \
    X(MESSAGE, "MESSAGE")                                                                          \
    X(RECEIPT, "RECEIPT")                                                                          \
    X(ERROR, "ERROR")

enum stomp_command {
    STOMP_NO_COMMAND,
#define STOMP_COMMAND_ENUM(NAME, text) STOMP_##NAME,
    STOMP_COMMANDS(STOMP_COMMAND_ENUM)
#undef STOMP_COMMAND_ENUM
        STOMP_COMMAND_COUNT
};

const char *stomp_command_name(enum stomp_command command); /* "SEND"; "" for none */

/* X(NAME, "name"): headers that have a meaning here. The machine tells them apart while it reads;
 * every other header is STOMP_H_OTHER. */
#define STOMP_HEADERS(X)                                                                           \
    X(ACCEPT_VERSION, "accept-version")                                                            \
    X(ACK, "ack")                                                                                  \
    X(CLIENT_ID, "client-id")                                                                      \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(CORRELATION_HEX, "correlation-id-hex")                                                       \
    X(CORRELATION_ID, "correlation-id")                                                            \
    X(DESTINATION, "destination")                                                                  \
    X(DURABLE, "durable")                                                                          \
    X(EXPIRES, "expires")                                                                          \
    X(HEART_BEAT, "heart-beat")                                                                    \
    X(HOST, "host")                                                                                \
    X(ID, "id")                                                                                    \
    X(LOGIN, "login")                                                                              \
    X(MESSAGE, "message")                                                                          \
    X(MESSAGE_ID, "message-id")                                                                    \
    X(NO_LOCAL, "no-local")                                                                        \
    X(PASSCODE, "passcode")                                                                        \
    X(PAYLOAD_FORMAT, "payload-format")                                                            \
    X(PERSISTENT, "persistent")                                                                    \
    X(PREFETCH_COUNT, "prefetch-count")                                                            \
    X(RECEIPT, "receipt")                                                                          \
    X(RECEIPT_ID, "receipt-id")                                                                    \
    X(REDELIVERED, "redelivered")                                                                  \
    X(REPLY_TO, "reply-to")                                                                        \
    X(RETAIN, "retain")                                                                            \
    X(SELECTOR, "selector")                                                                        \
    X(SERVER, "server")                                                                            \
    X(SESSION, "session")                                                                          \
    X(SUBSCRIPTION, "subscription")                                                                \
    X(TRANSACTION, "transaction")                                                                  \
    X(VERSION, "version")

enum stomp_header {
    STOMP_H_OTHER,
#define STOMP_HEADER_ENUM(NAME, text) STOMP_H_##NAME,
    STOMP_HEADERS(STOMP_HEADER_ENUM)
#undef STOMP_HEADER_ENUM
        STOMP_H_COUNT
};

const char *stomp_header_name(enum stomp_header header); /* "destination"; "" for others */

/* X(NAME, "sentence", "where in the standard"): why a frame is refused. */
#define STOMP_FAULTS(X)                                                                            \
    X(OK, "", "")                                                                                  \
    X(COMMAND, "the line is no command of STOMP", "STOMP Frames")                                  \
    X(HEADER, "a header line has no colon, or nothing in front of it", "Augmented BNF")            \
    X(CARRIAGE_RETURN, "a header has a carriage return that does not end its line",                \
      "Augmented BNF")                                                                             \
    X(ESCAPE, "a header has an escape sequence that is not defined", "Value Encoding")             \
    X(NUL, "a header has the octet NUL", "STOMP Frames")                                           \
    X(UTF8, "command and headers are not UTF-8", "STOMP Frames")                                   \
    X(HEADER_COUNT, "more headers than stomp.headers_max", "Size Limits")                          \
    X(HEADER_SIZE, "command and headers are longer than stomp.header_size", "Size Limits")         \
    X(BODY_SIZE, "the body is longer than stomp.body_size", "Size Limits")                         \
    X(CONTENT_LENGTH, "content-length is not a number of digits alone", "Header content-length")   \
    X(NO_NUL, "the octet behind the body is not NUL", "Body")

enum stomp_fault {
#define STOMP_FAULT_ENUM(NAME, sentence, clause) STOMP_F_##NAME,
    STOMP_FAULTS(STOMP_FAULT_ENUM)
#undef STOMP_FAULT_ENUM
};

const char *stomp_fault_sentence(enum stomp_fault fault);
const char *stomp_fault_clause(enum stomp_fault fault);

/* Most headers of a frame, whatever the limits say: one byte counts them. */
#define STOMP_HEADERS_MAX 250u

struct stomp_limits {
    size_t header_count; /* at most STOMP_HEADERS_MAX */
    size_t header_size;  /* command and headers with their line ends, and the empty line */
    size_t body_size;
};

/* Where a header lies, from the frame's first byte on. */
struct stomp_field {
    uint32_t name_at, value_at;
    uint32_t name_len, value_len;
    uint8_t header; /* enum stomp_header */
    bool escaped;   /* there is a backslash in name or value */
    bool stray_cr;  /* there is a carriage return inside */
};

enum stomp_stage { STOMP_IN_HEAD, STOMP_IN_BODY };

/* A frame while it comes, and when it is there. */
struct stomp_frame {
    const uint8_t *data; /* its first byte; lent: set anew by each stomp_frame_read() */
    uint32_t at;         /* bytes that need not be looked at again */
    uint32_t mark, value_mark;
    uint32_t total;   /* when whole: its length; before: how long it will be, if that is known */
    uint32_t body_at; /* from STOMP_IN_BODY on */
    uint32_t body_len;
    int32_t state;   /* of the machine */
    uint8_t stage;   /* enum stomp_stage */
    uint8_t command; /* enum stomp_command */
    uint8_t fault;   /* enum stomp_fault */
    uint8_t header;  /* enum stomp_header of the one that is being read */
    uint8_t count;
    bool escaped, sized;          /* sized: there is a content-length */
    uint16_t returns;             /* carriage returns of the header that is being read */
    uint8_t first[STOMP_H_COUNT]; /* index + 1 of the first header of each kind; 0: none */
    struct stomp_field fields[STOMP_HEADERS_MAX]; /* `count` of them */
};

/* How much of a struct stomp_frame is in use: to keep one that is not whole. */
static inline size_t stomp_frame_size(const struct stomp_frame *frame)
{
    return offsetof(struct stomp_frame, fields) + frame->count * sizeof(frame->fields[0]);
}

enum stomp_result {
    STOMP_WHOLE,     /* frame->total bytes are the frame */
    STOMP_MORE,      /* call again with the same bytes and more behind them */
    STOMP_MALFORMED, /* frame->fault says why; the stream cannot go on */
};

/* Start a frame. The octets of an end of line in front of it are no part of it:
 * stomp_skip_eols(). */
void stomp_frame_begin(struct stomp_frame *frame);
/* Read on. `in` begins with the frame's first byte, at every call, and is lent until the frame was
 * handled; it may lie elsewhere each time. */
enum stomp_result stomp_frame_read(struct stomp_frame *frame, struct pg_bytes in,
                                   const struct stomp_limits *limits);
/* How many bytes at the head of `in` are ends of line (heart-beats). */
size_t stomp_skip_eols(struct pg_bytes in);

/* Check the head of a whole frame by the rules of a version: UTF-8, escape sequences, carriage
 * returns. CONNECT, STOMP and CONNECTED have no escapes. STOMP_F_OK, or the fault. */
enum stomp_fault stomp_frame_check(const struct stomp_frame *frame, enum stomp_version version);

static inline enum stomp_command stomp_frame_command(const struct stomp_frame *frame)
{
    return (enum stomp_command)frame->command;
}
static inline struct pg_bytes stomp_frame_body(const struct stomp_frame *frame)
{
    return (struct pg_bytes){.data = frame->data + frame->body_at, .len = frame->body_len};
}
/* Name and value as they are in the frame. */
static inline struct pg_bytes stomp_field_name(const struct stomp_frame *frame,
                                               const struct stomp_field *field)
{
    return (struct pg_bytes){.data = frame->data + field->name_at, .len = field->name_len};
}
static inline struct pg_bytes stomp_field_value(const struct stomp_frame *frame,
                                                const struct stomp_field *field)
{
    return (struct pg_bytes){.data = frame->data + field->value_at, .len = field->value_len};
}
static inline bool stomp_frame_has(const struct stomp_frame *frame, enum stomp_header header)
{
    return frame->first[header] != 0;
}
static inline const struct stomp_field *stomp_frame_field(const struct stomp_frame *frame,
                                                          enum stomp_header header)
{
    return frame->first[header] == 0 ? NULL : &frame->fields[frame->first[header] - 1];
}

/* Room for headers without their escapes, while one frame is handled. */
struct stomp_texts {
    enum stomp_version version;
    uint8_t *room; /* NULL: nothing needed any so far */
    size_t used;
    bool failed; /* out of memory */
};

/* The value of the first header of that name without escapes (repeated ones: Repeated Header
 * Entries); data == NULL: there is none, or texts->failed. Lent until stomp_texts_free() and the
 * frame's next byte. The frame was checked. */
struct pg_bytes stomp_value(const struct stomp_frame *frame, enum stomp_header header,
                            struct stomp_texts *texts);
/* The value of any header of the frame, and any text of it, likewise. */
struct pg_bytes stomp_text(const struct stomp_frame *frame, const struct stomp_field *field,
                           struct stomp_texts *texts);
struct pg_bytes stomp_unescape(const struct stomp_frame *frame, const struct stomp_field *field,
                               struct pg_bytes raw, struct stomp_texts *texts);
void stomp_texts_free(struct stomp_texts *texts);

/* ---- values ---------------------------------------------------------------------------------- */

/* Digits alone, at least one, no more than `most`. */
bool stomp_number(struct pg_bytes text, uint64_t most, uint64_t *out);
/* "<cx>,<cy>" of milliseconds (Heart-beating). */
bool stomp_heart_beat(struct pg_bytes text, uint32_t *sends_ms, uint32_t *wants_ms);
/* The highest version that is in both an accept-version header and `served`, a bit for each
 * (1 << STOMP_V10 ...); STOMP_V_UNKNOWN: none. */
enum stomp_version stomp_negotiate(struct pg_bytes accept, unsigned served);
const char *stomp_version_name(enum stomp_version version); /* "1.2" */

/* ---- writing --------------------------------------------------------------------------------- */

/* Writes the head of a frame as far as there is room, and counts on. What turned out longer is
 * written once more, by the same walk, with as much room as it counted. */
struct stomp_writer {
    uint8_t *data;
    size_t room;                /* at `data`; 0: only to count */
    size_t len;                 /* when it is not above `room` all of it is there */
    enum stomp_version version; /* whose escapes are used; STOMP_V_UNKNOWN and 1.0: none */
};

/* Bytes as they are. */
static inline void stomp_put(struct stomp_writer *w, struct pg_bytes bytes)
{
    size_t at = w->len;
    w->len += bytes.len;
    if (w->len <= w->room && bytes.len > 0) {
        memcpy(w->data + at, bytes.data, bytes.len);
    }
}
void stomp_put_text(struct stomp_writer *w, struct pg_bytes text); /* with the version's escapes */
void stomp_put_number(struct stomp_writer *w, uint64_t number);
/* Whether a text can be written at all: never with NUL; without escapes, not with the ends of a
 * line, nor a name with a colon. */
bool stomp_writable(enum stomp_version version, struct pg_bytes text, bool name);
/* `name:value` and an end of line; false: name or value cannot be written, and the header is left
 * out. */
bool stomp_put_header(struct stomp_writer *w, struct pg_bytes name, struct pg_bytes value);

#endif
