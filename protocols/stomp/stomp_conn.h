/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STOMP_CONN_H
#define STOMP_CONN_H

/* The state that the frontend keeps of a connection, and what its parts call each other for.
 * Everything runs on the connection's worker. */

#include "polygate.h"
#include "stomp_destination.h"
#include "stomp_frame.h"

/* The block `stomp { }`; what each means stands in the rows in stomp.c. */
struct stomp_conf {
    int64_t connect_size;
    int64_t header_size;
    int64_t headers_max;
    int64_t body_size;
    struct pg_strings hosts;
    const char *client_id_prefix;
    int64_t heartbeat_send;  /* milliseconds */
    int64_t heartbeat_want;  /* milliseconds */
    int64_t heartbeat_grace; /* milliseconds */
    int64_t durable_expiry;  /* milliseconds */
    int64_t subscriptions_max;
    int64_t prefetch;
    int64_t tries;
    const char *dead_letter;
    const char *queue_group;
    const char *p2p_parent;
    const char *p2p_subscription;
    int wildcards; /* enum stomp_wildcards */
    bool persistent;
    int64_t pending_max;
    int64_t transactions_max;
    int64_t transaction_frames;
    int64_t transaction_size;
};

enum stomp_wildcards { STOMP_WILDCARDS_MQTT, STOMP_WILDCARDS_BOTH };

/* Rows of the counters, in the order of stomp_counters[]. */
enum stomp_counter {
    STOMP_COUNT_MALFORMED,
    STOMP_COUNT_ERRORS,
    STOMP_COUNT_WITHOUT_HOST,
    STOMP_COUNT_HEARTBEATS_SENT,
    STOMP_COUNT_UNWRITABLE,
    STOMP_COUNT_NACKED,
    STOMP_COUNT_DEAD_LETTERS,
    STOMP_COUNT_STRAY,
    STOMP_COUNT_ABORTED,
};

/*                CONNECT                  admitted               SUBSCRIBE
 *  STOMP_FRESH ----------> STOMP_CONNECTING -----> STOMP_ONLINE <------> STOMP_SUBSCRIBING
 *      |                         |                     |    <----------> STOMP_COMMITTING
 *      |                         |                     |       COMMIT
 *      |                         |          DISCONNECT |
 *      |                         |                     v
 *      |                         |               STOMP_LEAVING
 *      |                         |                     | all results known: RECEIPT
 *      +----- pg_conn_close() ---+---------------------+------> STOMP_CLOSED
 *             says ERROR, unless the client said DISCONNECT, or nothing at all
 */
enum stomp_state {
    STOMP_FRESH,       /* version unknown; only CONNECT may come; the core's login deadline runs */
    STOMP_CONNECTING,  /* admission is out: reading is off; closing cancels it */
    STOMP_ONLINE,      /* client is set; every frame is allowed; heart-beats run */
    STOMP_SUBSCRIBING, /* ONLINE, and the answer to a subscription is out: reading is off */
    STOMP_COMMITTING,  /* ONLINE, and whether all of a transaction is allowed is asked: the same */
    STOMP_LEAVING,     /* DISCONNECT came, results of publications are out: reading is off */
    STOMP_CLOSED,      /* last words are said; nothing more is read or written */
};

/* What the last words are about. */
struct stomp_error {
    struct pg_bytes receipt; /* of the frame; data == NULL: none */
    const char *body;        /* what was found, and what to do */
    bool versions;           /* which versions are served is told */
};

/* ---- deliveries ------------------------------------------------------------------------------ */

enum stomp_ack_mode { STOMP_ACK_AUTO, STOMP_ACK_CLIENT, STOMP_ACK_INDIVIDUAL };

struct stomp_filter;

/* A delivery of the core until everybody who has it on this connection has answered. */
struct stomp_out {
    struct pg_msg *msg; /* holds a reference */
    uint32_t filter;    /* number of its filter, while it waits for a subscription */
    uint16_t id;        /* of the core's delivery; 0: QoS 0, nothing is owed to the core */
    uint16_t holders;   /* places that refer to it */
    uint8_t tries;
    bool retain;
    bool redelivered;
    bool refused; /* by one of them: it goes back to the core */
};

/* One that is not yet sent: its subscription's prefetch is used up, or it has none yet. */
struct stomp_aside {
    struct stomp_aside *next;
    struct stomp_out *out;
};

/* A subscription of the client's. */
struct stomp_sub {
    struct stomp_sub *next;         /* of the connection */
    struct stomp_sub *next_of_same; /* of the filter */
    struct stomp_filter *filter;
    struct stomp_aside *aside, **aside_end;
    uint32_t prefetch; /* most unacknowledged messages; 0: the connection's limit alone */
    uint32_t unacked;
    uint8_t ack;  /* enum stomp_ack_mode */
    uint8_t form; /* enum stomp_form: how its messages' destinations are written */
    bool durable;
    bool fresh; /* retained messages come for it; those that are not have had theirs */
    uint16_t id_len;
    uint16_t head_len; /* MESSAGE up to the message-id's value, as it is sent; behind the id */
    uint8_t id[];
};

/* A subscription of the core's, for one or more of the client's. Its number is the subscription
 * identifier; it comes from the filter's text, so that what a durable session kept is known again
 * by the next connection. */
struct stomp_filter {
    struct stomp_filter *next; /* in its place of the table */
    struct stomp_sub *subs;
    struct stomp_sub *turn; /* of a queue: whose turn it is */
    uint32_t number;
    uint8_t qos;
    bool queue;   /* one of its subscriptions takes a message, not all */
    bool durable; /* kept when its subscriptions end, until a durable one is given up */
    bool p2p;     /* what is sent to the client itself: the core has no subscription for it */
    uint16_t len;
    uint8_t text[]; /* as given to the core, with $share/ */
};
/* In the number of a filter that a durable subscription made: what comes for it waits for one. */
#define STOMP_DURABLE_BIT (UINT32_C(1) << 27)
/* ... and of a queue: what comes for it when it has ended goes to another consumer. */
#define STOMP_QUEUE_BIT  (UINT32_C(1) << 26)
#define STOMP_P2P_NUMBER 0u

#define STOMP_FILTER_PLACES 16u

/* A message that was sent and is not acknowledged. */
struct stomp_unacked {
    uint64_t number;
    struct stomp_sub *sub; /* NULL: the subscription ended, or it was acknowledged */
    struct stomp_out *out; /* NULL: acknowledged */
};

/* In the order of their numbers; with holes, closed when they are as many as the rest. */
struct stomp_unacked_list {
    struct stomp_unacked *items;
    uint32_t at, end, size; /* items[at, end) */
    uint32_t count;         /* that are no holes */
};

/* ---- answers that wait ----------------------------------------------------------------------- */

enum stomp_due_kind {
    STOMP_DUE_FRAME,      /* a frame of its own */
    STOMP_DUE_PART,       /* a message of a COMMIT, whose receipt is for a refusal alone */
    STOMP_DUE_COMMIT,     /* behind its parts */
    STOMP_DUE_DISCONNECT, /* the last one */
};

/* A frame whose result is not known, or that stands behind one. */
struct stomp_due {
    uint8_t kind; /* enum stomp_due_kind */
    bool known;
    uint8_t reason; /* enum pg_reason, once known */
    bool has_receipt;
    uint32_t receipt_len;
    uint8_t *receipt; /* allocated; NULL if it is empty, or there is none */
};

/* A ring in the order of the frames. The token of a publication is its number since the connection
 * began, counting those that wait. */
struct stomp_dues {
    uint64_t first;
    uint32_t at, count, size; /* size: a power of two */
    struct stomp_due *ring;
};

/* ---- transactions: stomp_transaction.c ------------------------------------------------------ */

struct stomp_transactions;
struct stomp_transaction;

/* ---- the connection -------------------------------------------------------------------------- */

#define STOMP_CONN_MAGIC 0x53544f4du

struct stomp_conn {
    uint32_t magic;
    uint8_t state;         /* enum stomp_state */
    uint8_t version;       /* enum stomp_version */
    bool named;            /* the client gave its identifier: its session can be durable */
    bool pending_full;     /* reading is off until some of `dues` are answered */
    bool fresh;            /* there may be subscriptions that are */
    uint32_t heartbeat_ms; /* something is sent at least so often; 0: no matter */
    uint32_t peer_sends_ms, peer_wants_ms;
    struct pg_timer heartbeat;       /* of what is sent */
    int64_t sent_ms;                 /* when something was written last */
    struct pg_client *client;        /* NULL before admission */
    struct stomp_frame *partial;     /* of a frame that has not come whole; NULL: none */
    const struct stomp_error *error; /* while closing for it */

    struct stomp_sub *subs;
    struct stomp_filter *filters[STOMP_FILTER_PLACES];
    uint32_t sub_count;
    struct stomp_sub *subscribing;        /* whose answer is out */
    struct stomp_transaction *committing; /* the same */
    struct stomp_due *waiting;            /* ... and the receipt of its frame */
    struct stomp_aside *aside; /* for durable subscriptions that have not been made again */
    struct stomp_unacked_list unacked;
    uint64_t last_number; /* of messages */
    struct stomp_dues dues;
    struct stomp_transactions *transactions; /* NULL: none open */
};

extern const struct pg_protocol stomp_protocol;

static inline const struct stomp_conf *stomp_conf_of(const struct pg_conn *conn)
{
    return pg_conn_conf(conn);
}

struct stomp_conn *stomp_conn_of(struct pg_conn *conn); /* checks the magic */

/* ---- closing: stomp.c ------------------------------------------------------------------------ */

/* The frame that is being handled. */
struct stomp_request {
    const struct stomp_frame *frame;
    struct stomp_texts *texts;
    struct pg_bytes receipt; /* data == NULL: none asked for */
};

/* Close with an ERROR whose body is this sentence, for a frame (NULL: for none). */
void stomp_fail(struct pg_conn *conn, const struct stomp_request *request, enum pg_reason reason,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same with a receipt alone. */
void stomp_fail_receipt(struct pg_conn *conn, struct pg_bytes receipt, enum pg_reason reason,
                        const char *text);

/* ---- writing: stomp_write.c ----------------------------------------------------------------- */

void stomp_write_connected(struct pg_conn *conn, struct stomp_conn *m);
/* `reason` is told if it is not PG_OK. */
void stomp_write_receipt(struct pg_conn *conn, struct stomp_conn *m, struct pg_bytes receipt,
                         enum pg_reason reason);
void stomp_write_error(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason,
                       const struct stomp_error *error);
void stomp_write_heartbeat(struct pg_conn *conn, struct stomp_conn *m);

/* One MESSAGE. */
struct stomp_message {
    struct pg_msg *msg;
    struct pg_bytes head; /* MESSAGE up to the message-id's value */
    enum stomp_form form;
    uint64_t number;
    bool ack; /* it is to be acknowledged */
    bool retain, redelivered;
};
/* PG_OK, or why this message cannot be written to this client. */
enum pg_reason stomp_write_message(struct pg_conn *conn, struct stomp_conn *m,
                                   const struct stomp_message *message);
/* The head of MESSAGE for a subscription: up to the value of message-id, which comes next. */
void stomp_put_message_head(struct stomp_writer *w, struct pg_bytes subscription);

/* ---- properties: stomp_properties.c --------------------------------------------------------- */

/* User properties of a message while it is made. */
#define STOMP_USER_ROOM 16u
struct stomp_user_room {
    struct pg_property few[STOMP_USER_ROOM];
    struct pg_property *many; /* NULL unless needed */
    uint8_t *topic;           /* of reply-to, if it had to be made; NULL: not */
    uint8_t correlation[256];
};
/* What the headers of SEND say of a message, but for its topic and payload: PG_OK, or PG_MALFORMED
 * with *why, or PG_NO_MEMORY. Everything is lent as long as the request and `room` are. */
enum pg_reason stomp_spec_fill(struct pg_msg_spec *spec, const struct stomp_conf *conf,
                               const struct stomp_request *request, struct stomp_user_room *room,
                               const char **why);
void stomp_user_room_free(struct stomp_user_room *room);
/* The headers that every subscriber gets alike. *left_out counts what cannot be written. */
void stomp_put_properties(struct stomp_writer *w, const struct pg_msg_props *props,
                          const char *p2p_parent, unsigned *left_out);

/* ---- one handler per frame ------------------------------------------------------------------ */

typedef void stomp_handler(struct pg_conn *conn, struct stomp_conn *m,
                           const struct stomp_request *request);

stomp_handler stomp_on_connect;     /* stomp_login.c */
stomp_handler stomp_on_disconnect;  /* stomp_login.c */
stomp_handler stomp_on_send;        /* stomp_send.c */
stomp_handler stomp_on_subscribe;   /* stomp_subscribe.c */
stomp_handler stomp_on_unsubscribe; /* stomp_subscribe.c */
stomp_handler stomp_on_ack;         /* stomp_deliver.c */
stomp_handler stomp_on_nack;        /* stomp_deliver.c */
stomp_handler stomp_on_begin;       /* stomp_transaction.c */
stomp_handler stomp_on_commit;      /* stomp_transaction.c */
stomp_handler stomp_on_abort;       /* stomp_transaction.c */

/* The value of a header that a frame must have, not empty; data == NULL: closed. */
struct pg_bytes stomp_required(struct pg_conn *conn, const struct stomp_request *request,
                               enum stomp_header header);
/* "true" or "false", `otherwise` without the header. false: closed. */
bool stomp_flag(struct pg_conn *conn, const struct stomp_request *request, enum stomp_header header,
                bool otherwise, bool *out);
/* The receipt of a frame that is done. */
void stomp_done(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request);

/* ---- publishing: stomp_send.c --------------------------------------------------------------- */

/* The message of a SEND; NULL: closed. */
struct pg_msg *stomp_message_of(struct pg_conn *conn, const struct stomp_request *request);
/* Publish, and answer when the result is known. `msg` is given. Whether a part of a COMMIT may be
 * published has been asked. */
void stomp_publish(struct pg_conn *conn, struct stomp_conn *m, struct pg_msg *msg,
                   struct pg_bytes receipt, enum stomp_due_kind kind);
/* What the answer to the next frame has as its token, if the core gives it later. */
static inline uint64_t stomp_next_token(const struct stomp_conn *m)
{
    return m->dues.first + m->dues.count;
}
/* An answer behind those that wait; a known one may leave at once. false: closed. */
bool stomp_due(struct pg_conn *conn, struct stomp_conn *m, enum stomp_due_kind kind,
               struct pg_bytes receipt, enum pg_reason reason);
void stomp_dues_free(struct stomp_conn *m);
/* Nothing is read until the answer to this frame is there: to `state`, with its receipt. false:
 * closed. */
bool stomp_wait(struct pg_conn *conn, struct stomp_conn *m, enum stomp_state state,
                struct pg_bytes receipt);
/* It is there: PG_OK goes on, with the receipt in *receipt, and stomp_waited() follows; a refusal
 * closes (false). */
bool stomp_answered(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason,
                    struct pg_bytes *receipt);
void stomp_waited(struct pg_conn *conn, struct stomp_conn *m);

/* ---- subscriptions: stomp_subscribe.c ------------------------------------------------------- */

struct stomp_filter *stomp_filter_find(const struct stomp_conn *m, uint32_t number);
struct stomp_sub *stomp_sub_find(const struct stomp_conn *m, struct pg_bytes id);
/* Before the client ends: what is not durable ends with it. */
void stomp_subs_leave(struct stomp_conn *m);
void stomp_subs_free(struct stomp_conn *m);

/* ---- deliveries: stomp_deliver.c ------------------------------------------------------------ */

/* Take what there is. */
void stomp_take(struct pg_conn *conn, struct stomp_conn *m);
/* Send what waited for this subscription. */
void stomp_send_aside(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub);
/* A subscription ends: what it has not acknowledged goes back. */
void stomp_forget_sub(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub);
/* ACK or NACK of the message with this number. false: no such message is out. `sub`: the one that
 * it must be of, or NULL. */
bool stomp_acknowledge(struct pg_conn *conn, struct stomp_conn *m, uint64_t number,
                       const struct stomp_sub *sub, bool refused);
/* Whether such a message is out. */
bool stomp_is_unacked(const struct stomp_conn *m, uint64_t number, const struct stomp_sub *sub);
void stomp_deliveries_free(struct stomp_conn *m);
/* Which message ACK or NACK mean, by the rules of the version. false: closed. */
bool stomp_ack_target(struct pg_conn *conn, struct stomp_conn *m,
                      const struct stomp_request *request, uint64_t *number,
                      struct stomp_sub **sub);

/* ---- transactions: stomp_transaction.c ------------------------------------------------------ */

/* Take a SEND, ACK or NACK that names a transaction into it. false: it names none, and is to be
 * done now. */
bool stomp_transact(struct pg_conn *conn, struct stomp_conn *m,
                    const struct stomp_request *request);
void stomp_transactions_free(struct pg_conn *conn, struct stomp_conn *m);
/* The token of questions whether a message of a transaction may be published, and an answer. */
#define STOMP_WHETHER UINT64_MAX
void stomp_commit_answered(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason);

/* ---- answers of the core -------------------------------------------------------------------- */

void stomp_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie);
void stomp_published(struct pg_client *client, uint64_t token, enum pg_reason reason);
void stomp_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason);
void stomp_unsubscribed(struct pg_client *client, uint64_t token, enum pg_reason reason);
void stomp_deliver(struct pg_client *client);

#endif
