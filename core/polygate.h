/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLYGATE_H
#define POLYGATE_H

/* The public ABI of Polygate: the only core header that frontends and plugins include.
 *
 * Bytes come in through a transport, a frontend (struct pg_protocol) turns them into messages of
 * one neutral model, the core routes those to sessions, and each session's frontend turns them
 * back into bytes. Three things are kept apart: a connection (struct pg_conn) is a transport with
 * a frontend on it; a client (struct pg_client) is one identity admitted on a connection, and one
 * connection may admit many; a session outlives its clients and is reached through them.
 *
 * Words used for pointers: *lent* is valid during the call; *given* is freed by the callee;
 * *shared* takes a reference.
 *
 * Threads: every connection, client and session belongs to one worker thread for life. Unless a
 * comment says "any thread", a function may be called only on the worker of the object it is
 * given, and callbacks are made there. No callback may block.
 *
 * Re-entrance: the core never calls `deliver`, `published`, `subscribed`, `admitted` or `closed`
 * from inside a call that the frontend makes on the same connection; they come later in the same
 * loop turn. `goodbye` is the one exception: pg_conn_close() calls it before returning.
 *
 * History of the ABI. Every change of a struct, a function or what it promises raises the number,
 * and the loader takes plugins of this very number: no struct carries its size.
 *   1  2026-11  first version
 *   2  2026-11  pg_publish_once() in place of pg_receipt_begin(); pg_receipt_end() and
 *               pg_unsubscribe() may answer later, by `released` and `unsubscribed`; `later` of
 *               pg_delivery_received()
 *   3  2026-11  pg_fact_set(), pg_fact_get(), and `remembered` of struct pg_protocol; pg_may_publish()
 *               and pg_publish_allowed(); frontends that call out: `calls`, `call_size` and `connected`
 *               of struct pg_protocol, pg_call_*(); pg_hand_on()
 *   4  2026-11  struct pg_address and struct pg_range, pg_address_of_peer(), pg_range_parse() and
 *               pg_range_has(); PG_MEDIA_FRAMES
 */

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_ABI     4u
#define PG_API     __attribute__((visibility("default")))
#define PG_CHECKED __attribute__((warn_unused_result))

/* ---- bytes ---------------------------------------------------------------------------------- */

/* A range of bytes: never NUL-terminated by promise, never owned by the range itself. */
struct pg_bytes {
    const uint8_t *data;
    size_t len;
};

#define PG_BYTES_NONE ((struct pg_bytes){.data = NULL, .len = 0})
#define PG_BYTES_OF(literal)                                                                       \
    ((struct pg_bytes){.data = (const uint8_t *)(literal), .len = sizeof(literal) - 1})

/* The bytes of a C string, without its NUL. */
PG_API struct pg_bytes pg_bytes_str(const char *text);
PG_API bool pg_bytes_equal(struct pg_bytes a, struct pg_bytes b);
/* Equality in a time that depends on the lengths alone: for secrets. */
PG_API bool pg_bytes_equal_secret(struct pg_bytes a, struct pg_bytes b);

/* ---- time ----------------------------------------------------------------------------------- */

/* Milliseconds of the monotonic clock as of this loop turn; wall-clock steps do not move it.
 * Any thread; off the workers it reads the clock. */
PG_API int64_t pg_now_ms(void);
/* Milliseconds since 1970 of the wall clock, for what people and peers read. Any thread. */
PG_API int64_t pg_wall_ms(void);

#define PG_NEVER   INT64_MAX  /* a deadline that does not come */
#define PG_FOREVER UINT32_MAX /* a number of seconds without end */

/* ---- the one list of reasons ---------------------------------------------------------------- */

/* Every refusal, drop and close has exactly one reason out of this list.
 * X(NAME, error, "sentence"): the enum value is PG_<NAME>; the short name in logs, counters and
 * `polygatectl why` is NAME in lower case; `error` tells whether it is somebody's fault. Each
 * frontend maps them to the codes of its own standard. */
#define PG_REASONS(X)                                                                              \
    X(OK, false, "done")                                                                           \
    X(PENDING, false, "the answer comes later")                                                    \
    X(NO_SUBSCRIBERS, false, "accepted, but nobody matched")                                       \
    X(DUPLICATE, false, "seen before")                                                             \
    X(NO_SUBSCRIPTION, false, "no such subscription existed")                                      \
    X(NO_SUCH_CLIENT, true, "no session has that client identifier")                               \
    X(NOT_AUTHORIZED, true, "the access rules do not allow it")                                    \
    X(QUOTA_EXCEEDED, true, "a quota or limit of the configuration is reached")                    \
    X(QUEUE_FULL, true, "the session's queue is at its limit")                                     \
    X(EXPIRED, false, "the message's expiry passed before it could be delivered")                  \
    X(STORE_FAILED, true, "the store could not take it")                                           \
    X(TOPIC_INVALID, true, "the topic name is not valid here")                                     \
    X(FILTER_INVALID, true, "the topic filter is not valid")                                       \
    X(PAYLOAD_INVALID, true, "the payload does not have the format that it must have")             \
    X(TOO_LARGE, true, "longer than the limit of the configuration")                               \
    X(UNSUPPORTED, true, "not supported")                                                          \
    X(TIMED_OUT, true, "no answer within the time allowed")                                        \
    X(REJECTED, true, "the device refused it")                                                     \
    X(NO_MEMORY, true, "out of memory")                                                            \
    X(INTERNAL, true, "an internal check failed")                                                  \
    X(CLIENT_CLOSED, false, "the client said goodbye")                                             \
    X(PEER_CLOSED, true, "the peer closed without a goodbye")                                      \
    X(NETWORK_ERROR, true, "the network reported an error")                                        \
    X(MALFORMED, true, "the bytes are not a valid frame")                                          \
    X(PROTOCOL_ERROR, true, "a valid frame that is not allowed here")                              \
    X(VERSION_UNSUPPORTED, true, "a version of the protocol that is not served")                   \
    X(CLIENT_ID_INVALID, true, "the client identifier is not acceptable")                          \
    X(BAD_CREDENTIAL, true, "the credential does not belong to this identity")                     \
    X(BANNED, true, "the client is banned")                                                        \
    X(TAKEN_OVER, false, "the same client connected again")                                        \
    X(KICKED, false, "closed by an administrator")                                                 \
    X(UNREGISTERED, false, "the device unregistered")                                              \
    X(FIRST_BYTE_TIMEOUT, true, "no byte within the time allowed")                                 \
    X(HANDSHAKE_TIMEOUT, true, "the transport's handshake took longer than the time allowed")      \
    X(HANDSHAKE_FAILED, true, "the transport's handshake failed")                                  \
    X(UNTRUSTED_PROXY, true, "connected past the proxies that may say who is there")               \
    X(BAD_PROXY_HEADER, true, "the header that a proxy has to send first is missing or damaged")   \
    X(UNKNOWN_PROTOCOL, true, "the first bytes are of nothing that is served here")                \
    X(LOGIN_TIMEOUT, true, "no identity within the time allowed")                                  \
    X(KEEPALIVE_TIMEOUT, true, "silent for longer than its keep-alive allows")                     \
    X(SLOW_CONSUMER, true, "queue limit reached while the peer did not read")                      \
    X(RECEIVE_MAXIMUM, true, "more unacknowledged messages than were granted")                     \
    X(TOPIC_ALIAS_INVALID, true, "a topic alias outside the granted range")                        \
    X(BAD_FRAMES, true, "too many bad frames in a row")                                            \
    X(STALLED, true, "an unfinished frame did not go on within the time allowed")                  \
    X(CONNECTION_LIMIT, true, "the limit of connections is reached")                               \
    X(CONNECTION_RATE, true, "connections come faster than is allowed")                            \
    X(BUSY, true, "the server is busy")                                                            \
    X(DRAINING, false, "the server is shutting down")                                              \
    X(LISTENER_REMOVED, false, "the listener was removed from the configuration")                  \
    X(SESSION_EXPIRED, false, "the session's expiry passed")

enum pg_reason {
#define PG_REASON_ENUM(NAME, error, sentence) PG_##NAME,
    PG_REASONS(PG_REASON_ENUM)
#undef PG_REASON_ENUM
        PG_REASON_COUNT
};

PG_API const char *pg_reason_name(enum pg_reason reason);     /* "taken_over"; any thread */
PG_API const char *pg_reason_sentence(enum pg_reason reason); /* any thread */
PG_API bool pg_reason_is_error(enum pg_reason reason);        /* any thread */

/* ---- log ------------------------------------------------------------------------------------ */

enum pg_level { PG_DEBUG, PG_INFO, PG_WARN, PG_ERROR };

/* One field of a log line; made by the PG_F_* macros. Values are escaped when they are written,
 * so that bytes from peers cannot forge lines. */
struct pg_field {
    const char *key;
    enum { PG_FIELD_TEXT, PG_FIELD_BYTES, PG_FIELD_INT, PG_FIELD_HEX } kind;
    union {
        const char *text;
        struct pg_bytes bytes;
        int64_t number;
    } v;
};
#define PG_F_TEXT(k, s)  ((struct pg_field){.key = (k), .kind = PG_FIELD_TEXT, .v.text = (s)})
#define PG_F_BYTES(k, b) ((struct pg_field){.key = (k), .kind = PG_FIELD_BYTES, .v.bytes = (b)})
#define PG_F_INT(k, n)                                                                             \
    ((struct pg_field){.key = (k), .kind = PG_FIELD_INT, .v.number = (int64_t)(n)})
#define PG_F_HEX(k, b) ((struct pg_field){.key = (k), .kind = PG_FIELD_HEX, .v.bytes = (b)})
#define PG_F_REASON(r) PG_F_TEXT("reason", pg_reason_name(r))

/* What one call site may write in a second; more is counted and told in the next line. */
struct pg_log_site {
    _Atomic int64_t second;
    _Atomic uint32_t written;
    _Atomic uint32_t suppressed;
    uint32_t limit; /* lines a second; 0: PG_LOG_SITE_LIMIT */
};
/* Lines a second that one call site may write: a peer must not fill the log at its own speed. */
#define PG_LOG_SITE_LIMIT 20u

PG_API void pg_log_write(struct pg_log_site *site, enum pg_level level, const char *event,
                         const struct pg_field *fields, size_t count);

/* The same with a site of the caller's, such as one for each reason, or one whose `limit` is
 * set. */
#define PG_LOG_SITE(level, event, site, ...)                                                       \
    do {                                                                                           \
        const struct pg_field pg_fields_[] = {__VA_ARGS__};                                        \
        pg_log_write((site), (level), (event), pg_fields_,                                         \
                     sizeof(pg_fields_) / sizeof(pg_fields_[0]));                                  \
    } while (0)

/* PG_LOG(PG_WARN, "refused", PG_F_BYTES("client", id), PG_F_REASON(why)); any thread.
 * Writes one line: time, level, event=refused client=... reason=... */
#define PG_LOG(level, event, ...)                                                                  \
    do {                                                                                           \
        static struct pg_log_site pg_site_;                                                        \
        const struct pg_field pg_fields_[] = {__VA_ARGS__};                                        \
        pg_log_write(&pg_site_, (level), (event), pg_fields_,                                      \
                     sizeof(pg_fields_) / sizeof(pg_fields_[0]));                                  \
    } while (0)

/* ---- options and counters as rows ------------------------------------------------------------ */

/* The text of an error for people: where, what was found, what was expected, what to do. */
struct pg_error {
    char text[512];
};
PG_API void pg_error_set(struct pg_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum pg_option_type {
    PG_OPT_STRING,   /* const char *; "" when not set */
    PG_OPT_SECRET,   /* the same; its value is never shown */
    PG_OPT_LIST,     /* struct pg_strings */
    PG_OPT_INT,      /* int64_t */
    PG_OPT_SIZE,     /* int64_t, bytes; written 64k, 16m, 1g */
    PG_OPT_DURATION, /* int64_t, milliseconds; written 500ms, 30s, 5m, 2h, 3d */
    PG_OPT_BOOL,     /* bool */
    PG_OPT_CHOICE,   /* int: the index in `choices` */
};

struct pg_strings {
    const char *const *items;
    size_t count;
};

/* One option. The checker, `polygatectl config show` and the manual are made from these rows.
 * The value is stored at `offset` of the owner's configuration struct, of the C type named above;
 * strings live as long as that struct. */
struct pg_option {
    const char *name;
    enum pg_option_type type;
    size_t offset;
    const char *fallback; /* the default, as a user would write it */
    int64_t min, max;     /* bounds of numbers, inclusive; in bytes or ms where those are meant */
    const char *const *choices; /* PG_OPT_CHOICE: NULL-terminated words */
    bool reloadable;            /* takes effect on SIGHUP for what connects afterwards */
    const char *sentence;       /* what it does, and why the default is what it is */
};

/* One counter: only grows. `name` is the metric's name below its owner's prefix. */
struct pg_counter {
    const char *name;
    const char *sentence; /* when it moves */
};

/* ---- messages -------------------------------------------------------------------------------- */

struct pg_property {
    struct pg_bytes name, value;
};

/* Properties that few messages have. The set of MQTT 5 is the superset; other frontends map
 * their headers on to it. Absent texts have data == NULL (an empty one has len 0 and data set). */
struct pg_msg_props {
    bool payload_is_utf8;
    bool payload_is_bytes; /* the publisher said that it is not text; not both */
    struct pg_bytes content_type;
    struct pg_bytes response_topic;
    struct pg_bytes correlation_data;
    const struct pg_property *user; /* in the order in which they were sent */
    size_t user_count;
};

/* An encoding of a message that a frontend made and left with it, so that a fan-out encodes once.
 * Immutable; lives as long as the message. */
struct pg_encoding {
    struct pg_encoding *next;
    const void *owner; /* the frontend's descriptor */
    uint32_t variant;  /* the frontend's own number for this form */
    uint32_t len;
    uint8_t bytes[];
};

/* A message: immutable once made, reference-counted, one allocation. Fields are read only. */
struct pg_msg {
    _Atomic uint32_t refs;
    uint8_t qos;        /* of the publisher: 0, 1, 2 */
    bool retain;        /* as published */
    bool topic_valid;   /* as its maker said: it is not checked again */
    uint64_t id;        /* unique in this process; grows per worker */
    int64_t created_ms; /* pg_now_ms() when it was made */
    int64_t expires_ms; /* pg_now_ms() deadline, or PG_NEVER */
    struct pg_bytes topic;
    struct pg_bytes payload;
    struct pg_bytes publisher;        /* client identifier; empty for the gateway itself */
    const char *protocol;             /* frontend through which it came; static text */
    const struct pg_msg_props *props; /* NULL when there are none */
    _Atomic(struct pg_encoding *) encodings;
};

/* What pg_msg_new() copies. Zero-initialise, then set what there is. */
struct pg_msg_spec {
    struct pg_bytes topic, payload;
    uint8_t qos;
    bool retain;
    bool topic_valid;  /* the caller knows that pg_topic_name_valid(topic) says PG_OK, but perhaps
                        * for the number of levels, which the core counts */
    bool expires;      /* expiry_s below is meant */
    uint32_t expiry_s; /* seconds from now; 0 expires at once */
    struct pg_bytes publisher;
    const char *protocol;
    struct pg_msg_props props;
};

/* Make a message with one reference, which the caller owns. Copies every byte of the spec.
 * Returns NULL when memory is out. Any thread. The topic is not checked here. */
PG_API struct pg_msg *pg_msg_new(const struct pg_msg_spec *spec) PG_CHECKED;
PG_API struct pg_msg *pg_msg_ref(struct pg_msg *msg); /* any thread; returns msg */
PG_API void pg_msg_unref(struct pg_msg **msg);        /* any thread; nulls the pointer */
/* Whole seconds until the message expires, rounded up; PG_FOREVER without expiry. Any thread. */
PG_API uint32_t pg_msg_expiry_left_s(const struct pg_msg *msg);
PG_API bool pg_msg_expired(const struct pg_msg *msg);

/* The encoding that `owner` left under `variant`, or NULL. Any thread. */
PG_API const struct pg_encoding *pg_msg_encoding(const struct pg_msg *msg, const void *owner,
                                                 uint32_t variant);
/* Leave a copy of `bytes`; when another thread was first, its equal copy is returned. NULL when
 * memory is out (send without the cache then). Any thread. */
PG_API const struct pg_encoding *pg_msg_encoding_add(struct pg_msg *msg, const void *owner,
                                                     uint32_t variant, struct pg_bytes bytes);

/* ---- topics ---------------------------------------------------------------------------------- */

/* MQTT's rules are the neutral form: UTF-8 without U+0000, levels separated by '/'.
 * PG_OK or PG_TOPIC_INVALID / PG_FILTER_INVALID. Any thread. */
PG_API enum pg_reason pg_topic_name_valid(struct pg_bytes topic);
PG_API enum pg_reason pg_topic_filter_valid(struct pg_bytes filter);
/* Whether a filter (without $share) matches a topic name. Any thread. */
PG_API bool pg_topic_filter_matches(struct pg_bytes filter, struct pg_bytes topic);
/* Well-formed UTF-8 (no surrogates, no overlong forms) without U+0000. Any thread. */
PG_API bool pg_utf8_valid(struct pg_bytes text);

/* ---- addresses ------------------------------------------------------------------------------- */

/* An address of a peer. One of IPv4 is the IPv6 address that stands for it (RFC 4291, 2.5.5.2). */
struct pg_address {
    uint8_t bytes[16];
};

/* An address and all others that begin with the same `bits` bits. */
struct pg_range {
    struct pg_address address; /* the other bits are 0 */
    uint8_t bits;              /* 0 to 128 */
};

/* The address of a peer's text ("127.0.0.1:40112", "[::1]:40112"). false: it has none, as a peer
 * that connects through the file system. Any thread, as the next two. */
PG_API bool pg_address_of_peer(const char *peer, struct pg_address *out) PG_CHECKED;
/* "10.1.2.3", "10.0.0.0/8", "2001:db8::/32". false: it is none of these, or bits behind the prefix
 * are set. */
PG_API bool pg_range_parse(struct pg_bytes text, struct pg_range *out) PG_CHECKED;
PG_API bool pg_range_has(const struct pg_range *range, const struct pg_address *address);

/* ---- timers ---------------------------------------------------------------------------------- */

/* A one-shot timer in the worker's timing wheel (resolution 100 ms, never early). The owner
 * embeds it, zeroed, and stops it before its memory goes. Safe to start and stop twice. */
struct pg_timer {
    struct pg_timer *next, **link; /* place in the wheel; NULL when not running */
    int64_t deadline_ms;
    void (*fn)(struct pg_timer *timer);
};

struct pg_conn;
struct pg_client;
struct pg_worker;
struct pg_protocol;

/* (Re)start: fn is called once on this worker at least delay_ms from now. */
PG_API void pg_timer_start(struct pg_timer *timer, int64_t delay_ms,
                           void (*fn)(struct pg_timer *timer));
PG_API void pg_timer_stop(struct pg_timer *timer);

/* ---- connections ----------------------------------------------------------------------------- */

/* The frontend's own state of this connection: `conn_size` zeroed bytes, aligned to 8, freed by
 * the core. */
PG_API void *pg_conn_state(struct pg_conn *conn);
PG_API struct pg_conn *pg_conn_of_state(void *state);
/* The client of a connection that has one: the latest for which pg_client_admit() was called, and
 * which has not ended. NULL: none. */
PG_API struct pg_client *pg_conn_client(const struct pg_conn *conn);
/* The frontend's configuration struct (of `conf_size`) as it was when this connection opened. */
PG_API const void *pg_conn_conf(const struct pg_conn *conn);
/* "127.0.0.1:40112" or "[::1]:40112"; lent until this was called PG_PEERS_LENT times more on this
 * thread. */
#define PG_PEERS_LENT 16u
PG_API const char *pg_conn_peer(const struct pg_conn *conn);
PG_API const char *pg_conn_listener(const struct pg_conn *conn);
/* What an identifier begins with that the frontend makes up for a client of this connection, by its
 * listener; at most 64 bytes, "" if the listener does not say. On a connection that the gateway
 * makes it is a whole identifier, of the gateway as a client on it: "<protocol>/<title of the
 * block>". Lent. */
PG_API const char *pg_conn_assigned_id_prefix(const struct pg_conn *conn);
/* A number unique in this process: tells connections apart in logs. */
PG_API uint64_t pg_conn_id(const struct pg_conn *conn);
/* Whether pg_conn_close() was called or the link broke: stop handling bytes at once. */
PG_API bool pg_conn_closing(const struct pg_conn *conn);

/* Longest unfinished frame that may be kept for this connection, in bytes, at most
 * pg_conn_frame_limit_max(), where it starts: a frontend that wants more says so once a client is
 * admitted. The core closes with PG_TOO_LARGE when `bytes` leaves more than this unconsumed. */
PG_API void pg_conn_set_frame_limit(struct pg_conn *conn, size_t bytes);
/* The highest limit that takes effect now: `limits.login_frame_size` until a client is admitted,
 * then `limits.frame_size`. A frame that came whole is the frontend's to measure. */
PG_API size_t pg_conn_frame_limit_max(const struct pg_conn *conn);
/* A hint from inside `bytes`: the frame at the head needs `bytes` in all, so that the core can
 * read the rest of it into one buffer. Bounded by the frame limit. */
PG_API void pg_conn_expect(struct pg_conn *conn, size_t bytes);
/* Stop and resume reading; calls nest by count. While stopped, `bytes` is not called. What was
 * already read and not consumed is offered again on resume. */
PG_API void pg_conn_pause(struct pg_conn *conn);
PG_API void pg_conn_resume(struct pg_conn *conn);
/* Close with `reason` (PG_KEEPALIVE_TIMEOUT is usual) when pg_conn_alive() was not called for `ms`
 * (PG_IDLE_MAX_MS at most); 0 turns it off. Replaces the login deadline that the core starts
 * with. */
#define PG_IDLE_MAX_MS INT64_C(2147483647) /* some 24 days */
PG_API void pg_conn_set_idle(struct pg_conn *conn, int64_t ms, enum pg_reason reason);
PG_API void pg_conn_alive(struct pg_conn *conn);

/* Output. Bytes are queued in order and leave in one gathered write at the end of the loop turn.
 * pg_conn_append copies; pg_conn_append_msg keeps a reference on `msg` and sends `bytes`, which
 * must lie in memory owned by it. On memory shortage the connection is closed with PG_NO_MEMORY;
 * callers need not check. */
PG_API void pg_conn_append(struct pg_conn *conn, struct pg_bytes bytes);
PG_API void pg_conn_append_msg(struct pg_conn *conn, struct pg_msg *msg, struct pg_bytes bytes);
/* Room for `n` contiguous bytes (n <= PG_RESERVE_MAX) to encode into, never NULL;
 * pg_conn_commit() then queues the first `used`. Nothing else may be queued in between. */
#define PG_RESERVE_MAX 2048u
PG_API uint8_t *pg_conn_reserve(struct pg_conn *conn, size_t n);
PG_API void pg_conn_commit(struct pg_conn *conn, size_t used);
/* Whether deliveries may be written: false while more than the high-water mark is queued.
 * `deliver` is called again when the queue has drained. Answers may always be written. */
PG_API bool pg_conn_has_room(const struct pg_conn *conn);
PG_API size_t pg_conn_queued_bytes(const struct pg_conn *conn);

/* Close with one reason: `goodbye` is called (once per connection), all clients on it end with
 * this reason, what is queued is sent within the linger time, then the link closes. `detail`
 * (may be NULL; printf) goes into the log line. Idempotent: the first reason stays. */
PG_API void pg_conn_close(struct pg_conn *conn, enum pg_reason reason, const char *detail, ...)
    __attribute__((format(printf, 3, 4)));
/* Add to counter number `index` of the frontend's `counters`. */
PG_API void pg_conn_count(struct pg_conn *conn, size_t index, uint64_t n);

/* ---- connections that the gateway makes ------------------------------------------------------ */

/* Of a frontend with `calls`. A block's connection is opened before the other side is called, so
 * that its client is admitted, and its session there to be sent to, whether that can be reached or
 * not; `connected` tells when bytes flow. When it ends, for whatever reason, another one is opened
 * after a while that grows with each call in vain. */

/* What the block of this connection remembers from one connection to the next, and over reloads
 * that leave it where it is: `call_size` bytes, zeroed at first, aligned to 8, freed by the
 * core. */
PG_API void *pg_call_state(struct pg_conn *conn);
/* The other side has let us in: the waits begin small again. */
PG_API void pg_call_welcomed(struct pg_conn *conn);
/* After this connection, wait so long and no shorter before the next call. */
PG_API void pg_call_rest(struct pg_conn *conn, int64_t ms);
/* Block number `index` (from 0) of a frontend that calls, in the configuration as it is now: its
 * values, and its client's identifier as above. NULL: there are no more. Lent for the rest of the
 * loop turn. Any worker. */
PG_API const void *pg_call_conf(const struct pg_protocol *protocol, size_t index,
                                const char **client_id);

/* ---- admission ------------------------------------------------------------------------------- */

/* What a frontend knows of an identity that asks to be admitted. Everything is lent and copied
 * where it must be kept. */
struct pg_login {
    struct pg_bytes client_id; /* not empty: the frontend makes one up where its standard allows */
    /* data == NULL: none given. An identity that the transport has proven (a certificate's name)
     * takes its place, and no authenticator is asked about it. */
    struct pg_bytes username;
    struct pg_bytes password; /* data == NULL: none given */
    bool trusted;     /* already proven by the frontend (a code it issued): skip authenticators */
    bool clean_start; /* discard a session that exists */
    uint32_t
        session_expiry_s; /* life of the session after the client: 0 ends with it, PG_FOREVER */
    uint32_t window;      /* most unsettled deliveries at a time, 1..65535 */
    const struct pg_msg_spec *will; /* NULL: none; expiry counts from publication */
    uint32_t will_delay_s;
    /* An exchange in several rounds (MQTT 5, 4.12) instead of a user name and password: the method
     * that the peer names, and its first data. method.data == NULL: none. Needs `challenge`. */
    struct pg_bytes method, method_data;
};

struct pg_admission {
    enum pg_reason reason;       /* PG_OK, or why not */
    struct pg_client *client;    /* NULL unless PG_OK; valid until `client_ended` */
    bool session_present;        /* an earlier session was resumed */
    const char *server_reason;   /* sentence for the peer's eyes, or NULL; lent */
    struct pg_bytes method_data; /* the last data of an exchange for the peer; lent */
};

/* Ask for admission. The answer always comes by the `admitted` callback, with this `cookie`,
 * unless the connection closes first. Asynchronous: authenticators may ask elsewhere, and the
 * session may have to be fetched from another worker. */
PG_API void pg_client_admit(struct pg_conn *conn, const struct pg_login *login, void *cookie);

/* The peer's answer to a `challenge`: goes to the authenticator, and what that says comes by
 * `challenge`, `admitted` or `reauthenticated`. false: no challenge with this cookie waits for an
 * answer. `data` is lent; data == NULL: none. */
PG_API bool pg_client_answer(struct pg_conn *conn, void *cookie, struct pg_bytes data) PG_CHECKED;
/* A client that was admitted by an exchange asks for another one with the same method. Nothing
 * changes for it until `reauthenticated` tells the result. false: one is under way. Lent. */
PG_API bool pg_client_reauthenticate(struct pg_client *client, struct pg_bytes method,
                                     struct pg_bytes data) PG_CHECKED;
/* A frontend refuses an identity by itself, without asking for admission (a code that cannot be
 * right): logged as `refused`, counted, and remembered for `polygatectl why`. The answer to the
 * peer is the frontend's. `detail` is lent. */
PG_API void pg_client_refuse(struct pg_conn *conn, struct pg_bytes client_id, enum pg_reason reason,
                             const char *detail);

PG_API struct pg_conn *pg_client_conn(const struct pg_client *client);
PG_API struct pg_bytes pg_client_id(const struct pg_client *client);
PG_API struct pg_bytes pg_client_username(const struct pg_client *client);
PG_API void *pg_client_cookie(const struct pg_client *client); /* as given to pg_client_admit */
/* Change the session's life after the client (as in struct pg_login). */
PG_API void pg_client_set_session_expiry(struct pg_client *client, uint32_t seconds);
PG_API uint32_t pg_client_session_expiry(const struct pg_client *client);
/* Change the most unsettled deliveries at a time (as in struct pg_login): fewer than are out means
 * that no further one is handed out until enough are settled. */
PG_API void pg_client_set_window(struct pg_client *client, uint32_t window);
/* Forget the will: the client says goodbye properly. */
PG_API void pg_client_drop_will(struct pg_client *client);
/* End one client and leave the connection and its other clients alone. Calls `client_ended`
 * later in the turn. */
PG_API void pg_client_end(struct pg_client *client, enum pg_reason reason);

/* ---- publish and subscribe ------------------------------------------------------------------- */

/* Publish as this client. `msg` is given. Checks the topic and access, stores a retained message,
 * routes, and gives the result: PG_OK, PG_NO_SUBSCRIBERS, a refusal, or PG_PENDING, in which case
 * `published` is called with `token`. An acknowledgement must not leave before the result is
 * known. A topic of the form <parent>/p2p/<client id> reaches that one session. */
PG_API enum pg_reason pg_publish(struct pg_client *client, struct pg_msg *msg,
                                 uint64_t token) PG_CHECKED;
/* Whether pg_publish() would be refused by the rules for topics or by those for access; for several
 * messages of which all or none are to be published. Nothing is published, and `msg` is lent.
 * PG_OK, a refusal, or PG_PENDING, in which case `published` is called with `token`. */
PG_API enum pg_reason pg_may_publish(struct pg_client *client, struct pg_msg *msg,
                                     uint64_t token) PG_CHECKED;
/* As pg_publish(), of a message that pg_may_publish() has just said PG_OK about: the access rules
 * are not asked again. */
PG_API enum pg_reason pg_publish_allowed(struct pg_client *client, struct pg_msg *msg,
                                         uint64_t token) PG_CHECKED;
/* Send to one client by its identifier, no subscription needed; results as pg_publish, and
 * PG_NO_SUCH_CLIENT. `msg` is given. */
PG_API enum pg_reason pg_send(struct pg_client *client, struct pg_bytes target, struct pg_msg *msg,
                              uint64_t token) PG_CHECKED;
/* As pg_send(), of what the gateway hands on by its own configuration, whoever it comes from: no
 * access rule is asked, and the topic is as it is, without the prefix of a listener. Given. */
PG_API enum pg_reason pg_hand_on(struct pg_client *client, struct pg_bytes target,
                                 struct pg_msg *msg, uint64_t token) PG_CHECKED;
/* Publish as the gateway itself (presence, statistics): no access check, no result. Given.
 * Any worker. */
PG_API void pg_announce(struct pg_msg *msg);

#define PG_SUBSCRIPTION_ID_MAX 268435455u

struct pg_subscription {
    struct pg_bytes filter; /* may start with $share/<group>/ */
    uint8_t qos;            /* highest QoS for deliveries */
    bool no_local;          /* not what this client published itself */
    bool retain_as_published;
    uint8_t retain_handling; /* 0 send retained, 1 only if new, 2 never */
    uint32_t id;             /* subscription identifier up to PG_SUBSCRIPTION_ID_MAX, 0 none */
    bool internal;           /* made by the frontend itself: not subject to access rules */
};

/* PG_OK, a refusal, or PG_PENDING and then `subscribed` with `token`. Retained messages are
 * delivered after the call, never inside it. */
PG_API enum pg_reason pg_subscribe(struct pg_client *client, const struct pg_subscription *sub,
                                   uint64_t token) PG_CHECKED;
/* PG_OK, PG_NO_SUBSCRIPTION, or PG_PENDING and then `unsubscribed` with `token`. Nothing comes by
 * it after the call. */
PG_API enum pg_reason pg_unsubscribe(struct pg_client *client, struct pg_bytes filter,
                                     uint64_t token) PG_CHECKED;

/* ---- deliveries ------------------------------------------------------------------------------ */

struct pg_delivery {
    struct pg_msg *msg; /* lent until the next call on this client; NULL if `received` */
    uint16_t id;        /* 1..65535, free for use as packet identifier; 0 for QoS 0 */
    uint8_t qos;
    bool retain;      /* to be shown to the subscriber */
    bool redelivered; /* was handed out before, on this connection or an earlier one, or to another
                       * member of its shared subscription */
    uint8_t tries;    /* how often it was returned, or its holder ended without settling it, before
                       * another one had it; 255: at least that */
    bool received;    /* QoS 2 whose receipt was confirmed: only the release is due again */
    const uint32_t *subscription_ids; /* lent until the next call */
    size_t subscription_id_count;
};

/* Take the next delivery of this client's session: first those unsettled when the client came
 * (in order, redelivered), then the queue. false when there is none or the window is full;
 * `deliver` is called again when that changes. QoS 0 is settled by being taken. */
PG_API bool pg_delivery_next(struct pg_client *client, struct pg_delivery *out) PG_CHECKED;
/* QoS 2: the peer confirmed receipt (PUBREC); the message is let go, the identifier stays taken
 * until pg_delivery_settle. *later: do not release it yet; the release comes from
 * pg_delivery_next(), when the store knows that the peer has it. false: no such delivery. */
PG_API bool pg_delivery_received(struct pg_client *client, uint16_t id, bool *later) PG_CHECKED;
/* The peer has it, or finally will not take it: the identifier and its place in the window are
 * free again. `reason` is PG_OK or why it failed (counted). false: no such delivery. */
PG_API bool pg_delivery_settle(struct pg_client *client, uint16_t id, enum pg_reason reason);
/* The peer will not take it, but somebody may: of a shared subscription another member has it next,
 * if there is one with a client, else this session again, as of any other subscription: behind what
 * waits, with `tries` one higher. The identifier is free again. For QoS 1, and for QoS 2 before its
 * receipt was confirmed. false: no such delivery. */
PG_API bool pg_delivery_return(struct pg_client *client, uint16_t id);
/* What stands about an identifier. */
struct pg_outstanding {
    uint8_t qos;   /* of the delivery: 1 or 2 */
    bool received; /* its receipt was confirmed */
};
/* Whether the identifier is out; if so, *out tells how it stands. */
PG_API bool pg_delivery_outstanding(const struct pg_client *client, uint16_t id,
                                    struct pg_outstanding *out);

/* Exactly-once receipt of what the client sends (QoS 2): the identifiers between PUBLISH and
 * PUBREL, held by the session, and by the store if it outlives its client.
 *
 * pg_publish_once: as pg_publish(), of a message that the client sends under `id`, which is not 0.
 * PG_DUPLICATE: the identifier is held already; the message is let go and not published again. The
 * identifier is held from then on, unless the answer, now or later, is a refusal.
 * pg_receipt_end: the identifier is free for another message. PG_OK; PG_PENDING: `released`
 * follows, and the peer is not told before; PG_DUPLICATE: it was not held (any more). */
PG_API enum pg_reason pg_publish_once(struct pg_client *client, uint16_t id, struct pg_msg *msg,
                                      uint64_t token) PG_CHECKED;
PG_API enum pg_reason pg_receipt_end(struct pg_client *client, uint16_t id,
                                     uint64_t token) PG_CHECKED;
PG_API size_t pg_receipt_count(const struct pg_client *client);

/* ---- facts ---------------------------------------------------------------------------------- */

/* Small things that have to be remembered by name, whoever is connected, and over a restart if the
 * gateway has a store: a code that is no longer good, a token. */
#define PG_FACT_SPACE_MAX 64u
#define PG_FACT_KEY_MAX   1024u
#define PG_FACT_VALUE_MAX 4096u
#define PG_FACTS_MAX      1000000u /* of all together */

/* Remember `value` under `key`, in place of an older one, for so many seconds (PG_FOREVER: until it
 * is changed); an empty value forgets. `space` is whose the fact is: the name of the frontend or
 * plugin. Neither it nor the key may be empty. pg_fact_get() finds it at once, before it is safe.
 *
 * client    NULL: nobody waits for it to be safe, and any thread may call; else on its worker
 * returns   PG_OK; PG_PENDING: `remembered` follows, with `token`, and the peer is not told of it
 *           before, if it is to be relied on; PG_QUOTA_EXCEEDED, PG_NO_MEMORY, or PG_TOO_LARGE for
 *           lengths above, and nothing has changed. A result by `remembered` that is an error: it holds
 *           in this process, and not after it. */
PG_API enum pg_reason pg_fact_set(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                                  uint32_t expiry_s, struct pg_client *client,
                                  uint64_t token) PG_CHECKED;
/* The length of the value, of which up to `room` bytes are copied; 0: there is none. Any thread. */
PG_API size_t pg_fact_get(struct pg_bytes space, struct pg_bytes key, uint8_t *value, size_t room);

/* ---- frontends ------------------------------------------------------------------------------- */

enum pg_sniff { PG_SNIFF_NO, PG_SNIFF_MORE, PG_SNIFF_YES };

/* What a transport whose messages have a type (RFC 6455, 5.6) carries for a protocol. Whatever
 * comes is one stream of bytes to it. */
enum pg_media {
    PG_MEDIA_BINARY, /* text is refused */
    PG_MEDIA_TEXT,   /* binary messages are refused; what is sent and is no UTF-8 is binary */
    PG_MEDIA_BOTH,   /* what is sent is text, and binary if it is no UTF-8 */
    /* The stream is data frames (5.2) without masks, both ways: for who has to know where a message
     * ends, and of what type it is. What comes has been judged, text as UTF-8 too; what is appended in
     * one turn is whole frames, and is not judged. Nothing is compressed. */
    PG_MEDIA_FRAMES,
};

/* A protocol. One const descriptor, last in its file. NULL callbacks marked "optional" may be
 * left out. */
struct pg_protocol {
    uint32_t abi; /* PG_ABI */
    const char *name;
    const struct pg_option *options; /* rows up to name == NULL; block `<name> { }` of the file */
    size_t conf_size;
    const struct pg_counter *counters; /* rows up to name == NULL */
    size_t conn_size;                  /* bytes of state per connection */

    /* Names that a transport with negotiated sub-protocols (RFC 6455, 1.9) may select, up to NULL;
     * a list of NULL: it has none. */
    const char *const *subprotocols;
    enum pg_media media; /* of such a transport */

    /* The gateway calls, instead of being called: each block `<name> "TITLE" { }` of the file is
     * one connection that the gateway makes. `options`, `conf_size` and `check` are of one block
     * then, and no listener serves the protocol. */
    bool calls;
    size_t call_size; /* bytes of state per block; see pg_call_state() */

    /* Check values of the configuration against each other (optional); false refuses the file
     * with error->text. Main thread. */
    bool (*check)(const void *conf, struct pg_error *error);
    /* By the first bytes of a connection, of which there is at least one: is it this protocol? A
     * pure function, on any thread. It is shown one byte, then two, and so on, until somebody says
     * yes; that is final, so it should rest on bytes that no other protocol begins with. In 256
     * bytes it has to be known. Without it, the frontend cannot share a port. (optional) */
    enum pg_sniff (*sniff)(struct pg_bytes head);

    void (*open)(struct pg_conn *conn);
    /* With `calls`: the other side has been reached, and what is appended leaves. */
    void (*connected)(struct pg_conn *conn);
    /* Consume whole frames from `in` (lent) and return how many bytes were used; the rest comes
     * again with more behind it. Stop early when pg_conn_closing() or after pg_conn_pause(). */
    size_t (*bytes)(struct pg_conn *conn, struct pg_bytes in);
    void (*admitted)(struct pg_conn *conn, const struct pg_admission *admission, void *cookie);
    /* Another round of an exchange: send `data` (lent; data == NULL: none) to the peer and give its
     * answer to pg_client_answer(), with the cookie of the client. (optional) */
    void (*challenge)(struct pg_conn *conn, struct pg_bytes data, void *cookie);
    /* The result of pg_client_reauthenticate(), and the last data for the peer; lent. (optional) */
    void (*reauthenticated)(struct pg_client *client, enum pg_reason reason, struct pg_bytes data);
    void (*published)(struct pg_client *client, uint64_t token, enum pg_reason reason);
    void (*subscribed)(struct pg_client *client, uint64_t token, enum pg_reason reason);
    /* Results of pg_unsubscribe() and pg_receipt_end() that were PG_PENDING. (both optional, for
     * those who never call these) */
    void (*unsubscribed)(struct pg_client *client, uint64_t token, enum pg_reason reason);
    void (*released)(struct pg_client *client, uint64_t token, enum pg_reason reason);
    /* The result of a pg_fact_set() that was PG_PENDING. (optional, as those) */
    void (*remembered)(struct pg_client *client, uint64_t token, enum pg_reason reason);
    /* The client may take deliveries: call pg_delivery_next while pg_conn_has_room. */
    void (*deliver)(struct pg_client *client);
    /* The client is no longer admitted (taken over, kicked, ended, connection closing); it must
     * not be used after this returns. Free what hangs on the cookie. When its connection closes,
     * deliveries can still be settled here, unless its session has gone to another client; after
     * pg_client_end() they cannot. */
    void (*client_ended)(struct pg_client *client, enum pg_reason reason);
    /* One client of several on a connection was taken over or kicked by the core: say so to the
     * peer where the standard can. Return true if the connection lives on without it, false to
     * have the connection closed with this reason. (optional: NULL means false) */
    bool (*evict)(struct pg_client *client, enum pg_reason reason);
    /* The connection closes for `reason`: write the protocol's last words. (optional) */
    void (*goodbye)(struct pg_conn *conn, enum pg_reason reason);
    /* The link is gone; the state is freed after this. Stop timers. (optional) */
    void (*closed)(struct pg_conn *conn);
};

/* ---- access ---------------------------------------------------------------------------------- */

enum pg_verdict {
    PG_NEXT,     /* no opinion: ask the next in the chain */
    PG_ALLOW,    /* yes, and nobody further is asked (deny rules of others still win for actions) */
    PG_DENY,     /* no, final */
    PG_LATER,    /* pg_access_answer() will be called with the request */
    PG_CONTINUE, /* only from `exchange`: another round, with the data of pg_access_reply() */
    PG_UNAVAILABLE, /* it cannot be told now (overload, a back end is down): refused as PG_BUSY, so
                       that nobody takes it for a wrong password; final */
};

enum pg_action { PG_ACTION_PUBLISH, PG_ACTION_SUBSCRIBE };

/* Who asks. All lent during the call. */
struct pg_identity {
    struct pg_bytes client_id;
    struct pg_bytes username; /* data == NULL: none */
    struct pg_bytes password; /* data == NULL: none, or not a login */
    const char *peer;
    const char *listener;
    const char *protocol;
};

struct pg_access_request; /* one question that is out; belongs to the core */

/* A source of decisions. `self` is what the plugin's start gave. All functions run on any worker
 * and must not block: return PG_LATER, copy what is needed, and answer from any thread. */
struct pg_authenticator {
    enum pg_verdict (*authenticate)(void *self, const struct pg_identity *who,
                                    struct pg_access_request *request);
    enum pg_verdict (*authorize)(void *self, const struct pg_identity *who, enum pg_action action,
                                 struct pg_bytes topic, struct pg_access_request *request);
    /* One round of an exchange with `method`, which the peer names; `data` is what it sent, its
     * data NULL if nothing. In the first round PG_NEXT means that the method is somebody else's;
     * in later ones, which only the authenticator that said PG_CONTINUE is asked, it is PG_DENY.
     * A login that names a method is asked here and not of `authenticate`; if nobody knows the
     * method it is refused as PG_UNSUPPORTED. who->username is what the peer claims and rules will
     * rely on: allow only if the exchange proves it, or there is none. (optional) */
    enum pg_verdict (*exchange)(void *self, const struct pg_identity *who, struct pg_bytes method,
                                struct pg_bytes data, struct pg_access_request *request);
    /* Whether, as it is configured, it has a say on actions at all; if not, `authorize` is not
     * called, and `access.otherwise = auto` does not count it. Called once, after start. Main
     * thread. (optional: without it the authenticator judges if it has `authorize`) */
    bool (*judges)(void *self);
};
/* The data of this round for the peer, at most 65535 bytes: from inside `exchange`, or before
 * pg_access_answer(); goes with PG_CONTINUE and PG_ALLOW. Copied. false: out of memory. */
PG_API bool pg_access_reply(struct pg_access_request *request, struct pg_bytes data) PG_CHECKED;
/* What an authenticator remembers from round to round of one exchange: NULL at first. It is freed
 * by `free_state` when it is replaced and when the exchange ends, on any thread, also after
 * `stop`. */
PG_API void *pg_access_state(const struct pg_access_request *request);
PG_API void pg_access_set_state(struct pg_access_request *request, void *state,
                                void (*free_state)(void *state));
/* Answer a question that returned PG_LATER, exactly once. `verdict` is not PG_LATER. Any thread;
 * also when the client has gone meanwhile. */
PG_API void pg_access_answer(struct pg_access_request *request, enum pg_verdict verdict);

/* ---- plugins --------------------------------------------------------------------------------- */

/* One command of the management API: `polygatectl NAME ARGS` and, later, HTTP. */
struct pg_command {
    const char *name;
    const char *arguments; /* "CLIENT", "" */
    const char *help;      /* one sentence */
};

/* Run an API command: `request` is a JSON object {"command":"clients", ...arguments}. `done` gets
 * one JSON object: {"ok":true,"result":...} or {"ok":false,"error":"..."}; `json` is lent. It is
 * called once: on a worker, or on the calling thread if the call is refused. Any thread. */
PG_API void pg_api_call(const char *request, void (*done)(void *arg, const char *json), void *arg);

/* A plugin: one optional capability. Built-in ones are compiled in and use nothing else. A
 * loadable one exports the symbol `pg_plugin_descriptor`. */
struct pg_plugin {
    uint32_t abi; /* PG_ABI */
    const char *name;
    const struct pg_option *options; /* rows up to name == NULL; block `<name> { }` */
    size_t conf_size;
    const struct pg_protocol *protocol;           /* it brings a frontend, or NULL */
    const struct pg_authenticator *authenticator; /* it takes part in the access chain, or NULL */

    /* Make ready all that can fail, from a configuration that passed the rows; NULL with
     * error->text set refuses it (the core puts the file and the plugin's name in front). `conf`
     * lives until `stop` of what is returned. Called at start and at every reload; the new one is
     * used only if everything succeeded, then the old one is stopped after the last use. Main
     * thread. (optional, with stop) */
    void *(*start)(const void *conf, struct pg_error *error);
    void (*stop)(void *self);
    /* Check what can be checked without side effects, for `polygate -t`: the values against each
     * other, files that are named. false with error->text refuses the configuration. Called before
     * `start` as well. Main thread. (optional) */
    bool (*check)(const void *conf, struct pg_error *error);
};

#endif
