/* SPDX-License-Identifier: Apache-2.0 */

/* The STOMP frontend: its descriptor, options and counters, the life of a connection, heart-beats,
 * and the way of a frame from the bytes to its handler.
 *
 * Bytes come to stomp_bytes(), which takes frame after frame from the read buffer in place
 * (stomp_frame.h) and calls the handler of its command. Handlers are in stomp_login.c (CONNECT,
 * STOMP, DISCONNECT), stomp_send.c (SEND), stomp_subscribe.c (SUBSCRIBE, UNSUBSCRIBE),
 * stomp_deliver.c (ACK, NACK, and MESSAGE to the client) and stomp_transaction.c (BEGIN, COMMIT,
 * ABORT). The states are drawn in stomp_conn.h. While an answer of the core is out that the next
 * frame must wait for, reading is off and nothing is buffered here.
 *
 * Every refusal is an ERROR frame with a receipt-id, if the frame had a receipt, and a body that
 * says what was found; then the connection closes, lingering, so that it is read. There is one
 * place for last words: pg_conn_close() and stomp_goodbye().
 *
 * One connection admits one client. Everything runs on the connection's worker.
 *
 * Standard: STOMP 1.2, 1.1 and 1.0, on one port, told apart by CONNECT. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

/* ---- options and counters -------------------------------------------------------------------- */

#define AT(field) offsetof(struct stomp_conf, field)

static const char *const wildcard_words[] = {"mqtt", "both", NULL};

/* clang-format off */
static const struct pg_option stomp_options[] = {
    {"connect_size", PG_OPT_SIZE, AT(connect_size), "8k", 128, 1 << 20, NULL, true,
     "longest CONNECT frame; small, because anybody may send one"},
    {"header_size", PG_OPT_SIZE, AT(header_size), "16k", 128, 1 << 20, NULL, true,
     "longest head of a frame: command and headers; a longer one is answered with ERROR"},
    {"headers_max", PG_OPT_INT, AT(headers_max), "100", 8, STOMP_HEADERS_MAX, NULL, true,
     "most headers of a frame; those without a meaning of their own become user properties of the message"},
    {"body_size", PG_OPT_SIZE, AT(body_size), "1000k", 0, INT64_C(256) << 20, NULL, true,
     "longest body of a SEND; head and body together may not be longer than limits.frame_size"},
    {"hosts", PG_OPT_LIST, AT(hosts), "", 0, 0, NULL, true,
     "the virtual hosts that a client may name in its host header, * for any; empty: any; clients that send no host are served all the same, because most libraries for browsers send none"},
    {"client_id_prefix", PG_OPT_STRING, AT(client_id_prefix), "stomp-", 0, 0, NULL, true,
     "what the identifier of a client begins with that sends no client-id, before a random number; at most 64 bytes"},
    {"heartbeat_send", PG_OPT_DURATION, AT(heartbeat_send), "1s", 0, 3600000, NULL, true,
     "the shortest interval at which heart-beats are sent to a client that wants them; it is told so; 0: none are sent"},
    {"heartbeat_want", PG_OPT_DURATION, AT(heartbeat_want), "10s", 0, 3600000, NULL, true,
     "the interval at which a client that can is asked to send heart-beats; 0: none are wanted"},
    {"heartbeat_grace", PG_OPT_DURATION, AT(heartbeat_grace), "70s", 0, 3600000, NULL, true,
     "a client that is silent for twice its heart-beat interval, and for at least this long, is closed; browsers let the timers of a tab in the background run once a minute, whatever it promised"},
    {"durable_expiry", PG_OPT_DURATION, AT(durable_expiry), "3d", 1000, INT64_C(49710) * 86400000, NULL, true,
     "how long the durable subscriptions of a client, and what comes for them, are kept while it is away; session.expiry_max is above it"},
    {"subscriptions_max", PG_OPT_INT, AT(subscriptions_max), "1000", 1, 1000000, NULL, true,
     "most subscriptions of a connection"},
    {"prefetch", PG_OPT_INT, AT(prefetch), "256", 1, 65535, NULL, true,
     "most messages that a client has unacknowledged on all its subscriptions with ack client or client-individual; a subscription takes less by its header prefetch-count; session.inflight is above it"},
    {"tries", PG_OPT_INT, AT(tries), "5", 1, 255, NULL, true,
     "how often a message is delivered that is answered with NACK, or whose consumer leaves without an answer, before it is a dead letter"},
    {"dead_letter", PG_OPT_STRING, AT(dead_letter), "dead-letter/", 0, 0, NULL, true,
     "a message that nobody took is published to its topic with this in front; empty: it is dropped; at most 64 bytes"},
    {"queue_group", PG_OPT_STRING, AT(queue_group), "queue", 0, 0, NULL, true,
     "the group of the shared subscription that /queue/NAME is, so that MQTT clients take part as $share/GROUP/NAME; at most 64 bytes"},
    {"p2p_parent", PG_OPT_STRING, AT(p2p_parent), "stomp", 0, 0, NULL, true,
     "/p2p/CLIENT is the topic PARENT/p2p/CLIENT; one level, at most 64 bytes"},
    {"p2p_subscription", PG_OPT_STRING, AT(p2p_subscription), "p2p", 0, 0, NULL, true,
     "the subscription header of messages that were sent to the client itself and match none of its subscriptions"},
    {"wildcards", PG_OPT_CHOICE, AT(wildcards), "mqtt", 0, 0, wildcard_words, true,
     "wildcards in the destination of SUBSCRIBE: + and # of MQTT, or also a level that is * for +, and > at the end for #, as other brokers have them"},
    {"persistent", PG_OPT_BOOL, AT(persistent), "true", 0, 0, NULL, true,
     "whether a SEND without the header persistent is of QoS 1, and kept for those who are away, or of QoS 0"},
    {"pending_max", PG_OPT_INT, AT(pending_max), "1000", 1, 65535, NULL, true,
     "frames of a client whose results may be out; it is not read meanwhile"},
    {"transactions_max", PG_OPT_INT, AT(transactions_max), "16", 1, 1000, NULL, true,
     "most open transactions of a connection"},
    {"transaction_frames", PG_OPT_INT, AT(transaction_frames), "1000", 1, 100000, NULL, true,
     "most frames of a transaction"},
    {"transaction_size", PG_OPT_SIZE, AT(transaction_size), "4m", 1024, INT64_C(256) << 20, NULL, true,
     "most bytes that the messages of one connection's open transactions take in memory"},
    {.name = NULL},
};

static const struct pg_counter stomp_counters[] = {
    [STOMP_COUNT_MALFORMED] = {"malformed", "a frame broke a rule of the format"},
    [STOMP_COUNT_ERRORS] = {"errors", "an ERROR frame was sent"},
    [STOMP_COUNT_WITHOUT_HOST] = {"without_host", "a client of 1.1 or 1.2 connected without the header host"},
    [STOMP_COUNT_HEARTBEATS_SENT] = {"heartbeats_sent", "a heart-beat was sent"},
    [STOMP_COUNT_UNWRITABLE] = {"unwritable", "a message or a header was left out that the version of the client cannot write"},
    [STOMP_COUNT_NACKED] = {"nacked", "a client answered a message with NACK"},
    [STOMP_COUNT_DEAD_LETTERS] = {"dead_letters", "a message was given up after its tries"},
    [STOMP_COUNT_STRAY] = {"stray", "a message came for a subscription that had ended"},
    [STOMP_COUNT_ABORTED] = {"aborted", "a transaction was aborted, by the client or because it left"},
    {.name = NULL},
};
/* clang-format on */

/* Longest of the texts that topics and identifiers are made with. */
#define TEXT_MAX 64u

static bool check_text(const char *name, const char *text, const char *without,
                       struct pg_error *error)
{
    struct pg_bytes bytes = pg_bytes_str(text);
    if (bytes.len > TEXT_MAX || !pg_utf8_valid(bytes) || strpbrk(text, without) != NULL) {
        pg_error_set(error,
                     "stomp.%s is \"%.80s\", expected at most %u bytes of UTF-8 without any "
                     "of \"%s\"",
                     name, text, TEXT_MAX, without);
        return false;
    }
    return true;
}

/* Main thread. */
static bool stomp_check(const void *values, struct pg_error *error)
{
    const struct stomp_conf *conf = values;
    if (conf->queue_group[0] == '\0' || conf->p2p_parent[0] == '\0') {
        pg_error_set(error, "stomp.queue_group or stomp.p2p_parent is empty, expected one level of "
                            "a topic");
        return false;
    }
    if (conf->p2p_parent[0] == '$') {
        pg_error_set(error, "stomp.p2p_parent begins with $, which is not for clients");
        return false;
    }
    return check_text("queue_group", conf->queue_group, "/+#", error) &&
           check_text("p2p_parent", conf->p2p_parent, "/+#", error) &&
           check_text("dead_letter", conf->dead_letter, "+#", error) &&
           check_text("p2p_subscription", conf->p2p_subscription, "\r\n:\\", error) &&
           check_text("client_id_prefix", conf->client_id_prefix, "\r\n", error);
}

/* ---- closing --------------------------------------------------------------------------------- */

struct stomp_conn *stomp_conn_of(struct pg_conn *conn)
{
    struct stomp_conn *m = pg_conn_state(conn);
    if (m->magic != STOMP_CONN_MAGIC) {
        abort(); /* the core's promise: the state is the one that `open` prepared */
    }
    return m;
}

static void fail(struct pg_conn *conn, const struct stomp_error *error, enum pg_reason reason)
{
    struct stomp_conn *m = stomp_conn_of(conn);
    m->error = error;
    pg_conn_close(conn, reason, "%s", error->body);
    m->error = NULL;
}

void stomp_fail(struct pg_conn *conn, const struct stomp_request *request, enum pg_reason reason,
                const char *format, ...)
{
    char text[320];
    int used = 0;
    if (request != NULL) {
        used = snprintf(text, sizeof(text),
                        "%s: ", stomp_command_name(stomp_frame_command(request->frame)));
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    va_end(args);
    const struct stomp_error error = {
        .receipt = request != NULL ? request->receipt : PG_BYTES_NONE,
        .body = text,
        .versions = reason == PG_VERSION_UNSUPPORTED,
    };
    fail(conn, &error, reason);
}

void stomp_fail_receipt(struct pg_conn *conn, struct pg_bytes receipt, enum pg_reason reason,
                        const char *text)
{
    const struct stomp_error error = {.receipt = receipt, .body = text};
    fail(conn, &error, reason);
}

/* ERROR, unless the client itself said goodbye, or nothing at all so far. */
static void stomp_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    struct stomp_conn *m = stomp_conn_of(conn);
    enum stomp_state state = (enum stomp_state)m->state;
    m->state = STOMP_CLOSED;
    if (reason == PG_CLIENT_CLOSED || state == STOMP_CLOSED ||
        (state == STOMP_FRESH && m->error == NULL)) {
        return;
    }
    const struct stomp_error error = {.receipt = PG_BYTES_NONE, .body = pg_reason_sentence(reason)};
    stomp_write_error(conn, m, reason, m->error != NULL ? m->error : &error);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* What a frame may be now. */
static struct stomp_limits limits_of(const struct pg_conn *conn, const struct stomp_conn *m)
{
    const struct stomp_conf *conf = stomp_conf_of(conn);
    bool fresh = m->state == STOMP_FRESH;
    size_t most = pg_conn_frame_limit_max(conn);
    struct stomp_limits limits = {
        .header_count = (size_t)conf->headers_max,
        .header_size = (size_t)(fresh ? conf->connect_size : conf->header_size),
        .body_size = (size_t)(fresh ? conf->connect_size : conf->body_size),
    };
    if (limits.header_size > most) {
        limits.header_size = most;
    }
    if (limits.body_size > most - 1) {
        limits.body_size = most - 1;
    }
    return limits;
}

static void stomp_open(struct pg_conn *conn)
{
    struct stomp_conn *m = pg_conn_state(conn);
    m->magic = STOMP_CONN_MAGIC;
    m->state = STOMP_FRESH;
    pg_conn_set_frame_limit(conn, (size_t)stomp_conf_of(conn)->connect_size);
}

static void stomp_client_ended(struct pg_client *client, enum pg_reason reason)
{
    struct stomp_conn *m = pg_client_cookie(client);
    stomp_transactions_free(pg_conn_of_state(m), m);
    stomp_subs_leave(m);
    m->client = NULL;
    /* One client is all that there is on this connection. */
    pg_conn_close(pg_conn_of_state(m), reason, NULL);
}

/* Somebody takes the session over: what is not durable must not go with it. */
static bool stomp_evict(struct pg_client *client, enum pg_reason reason)
{
    (void)reason;
    stomp_subs_leave(pg_client_cookie(client));
    return false;
}

static void stomp_closed(struct pg_conn *conn)
{
    struct stomp_conn *m = stomp_conn_of(conn);
    pg_timer_stop(&m->heartbeat);
    free(m->partial);
    stomp_deliveries_free(m);
    stomp_subs_free(m);
    stomp_dues_free(m);
    m->magic = 0;
}

/* ---- from bytes to handlers ------------------------------------------------------------------ */

static stomp_handler *const handlers[STOMP_COMMAND_COUNT] = {
    [STOMP_CONNECT] = stomp_on_connect,
    [STOMP_STOMP] = stomp_on_connect,
    [STOMP_SEND] = stomp_on_send,
    [STOMP_SUBSCRIBE] = stomp_on_subscribe,
    [STOMP_UNSUBSCRIBE] = stomp_on_unsubscribe,
    [STOMP_ACK] = stomp_on_ack,
    [STOMP_NACK] = stomp_on_nack,
    [STOMP_BEGIN] = stomp_on_begin,
    [STOMP_COMMIT] = stomp_on_commit,
    [STOMP_ABORT] = stomp_on_abort,
    [STOMP_DISCONNECT] = stomp_on_disconnect,
};

/* The rules that hold for every frame. */
static bool may_come(struct pg_conn *conn, struct stomp_conn *m,
                     const struct stomp_request *request, enum stomp_fault fault)
{
    const struct stomp_frame *frame = request->frame;
    enum stomp_command command = stomp_frame_command(frame);
    bool connects = command == STOMP_CONNECT || command == STOMP_STOMP;
    if (fault != STOMP_F_OK) {
        pg_conn_count(conn, STOMP_COUNT_MALFORMED, 1);
        stomp_fail(conn, request, PG_MALFORMED, "%s (STOMP, %s)", stomp_fault_sentence(fault),
                   stomp_fault_clause(fault));
    } else if (handlers[command] == NULL) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "only a server sends this frame");
    } else if (connects != (m->state == STOMP_FRESH)) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR,
                   connects ? "the connection is already open"
                            : "CONNECT must be the first frame, and be answered with CONNECTED");
    } else if (frame->body_len > 0 && command != STOMP_SEND && m->version != STOMP_V10) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "only SEND may have a body (STOMP, Body)");
    } else if (command == STOMP_NACK && m->version == STOMP_V10) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "STOMP 1.0 has no NACK");
    } else {
        return true;
    }
    return false;
}

static void handle(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_frame *frame)
{
    struct stomp_texts texts = {.version = (enum stomp_version)m->version};
    struct stomp_request request = {.frame = frame, .texts = &texts};
    enum stomp_fault fault = stomp_frame_check(frame, texts.version);
    /* A receipt that cannot be read is none: the frame is refused below. */
    if (m->state != STOMP_FRESH && fault == STOMP_F_OK) {
        request.receipt = stomp_value(frame, STOMP_H_RECEIPT, &texts);
    }
    if (may_come(conn, m, &request, fault)) {
        handlers[frame->command](conn, m, &request);
    }
    if (texts.failed && !pg_conn_closing(conn)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for the headers of a frame");
    }
    stomp_texts_free(&texts);
}

static void refuse_malformed(struct pg_conn *conn, const struct stomp_frame *frame)
{
    enum stomp_fault fault = (enum stomp_fault)frame->fault;
    bool size =
        fault == STOMP_F_HEADER_COUNT || fault == STOMP_F_HEADER_SIZE || fault == STOMP_F_BODY_SIZE;
    pg_conn_count(conn, STOMP_COUNT_MALFORMED, 1);
    const char *command = stomp_command_name(stomp_frame_command(frame));
    stomp_fail(conn, NULL, size ? PG_TOO_LARGE : PG_MALFORMED, "%s%s%s, at octet %u (STOMP, %s)",
               command, command[0] != '\0' ? ": " : "", stomp_fault_sentence(fault), frame->at,
               stomp_fault_clause(fault));
}

/* Keep what is known of a frame that has not come whole. */
static void keep(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_frame *frame)
{
    if (m->partial == NULL) {
        m->partial = malloc(sizeof(*frame));
        if (m->partial == NULL) {
            pg_conn_close(conn, PG_NO_MEMORY, "for a frame");
            return;
        }
        memcpy(m->partial, frame, stomp_frame_size(frame));
    }
    if (frame->total > 0) {
        pg_conn_expect(conn, frame->total);
    }
}

/* Whether the next frame may be handled now. */
static bool reads(const struct pg_conn *conn, const struct stomp_conn *m)
{
    return (m->state == STOMP_FRESH || m->state == STOMP_ONLINE) && !m->pending_full &&
           !pg_conn_closing(conn);
}

/* A frame while it is handled: only what is not whole is kept with its connection. */
static _Thread_local struct stomp_frame scratch;

static size_t stomp_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct stomp_conn *m = stomp_conn_of(conn);
    size_t used = 0;
    pg_conn_alive(conn); /* any octet is a sign of life (Heart-beating) */
    while (reads(conn, m)) {
        struct pg_bytes rest = {.data = in.data + used, .len = in.len - used};
        struct stomp_frame *frame = m->partial;
        if (frame == NULL) {
            size_t eols = stomp_skip_eols(rest);
            used += eols;
            rest.data += eols;
            rest.len -= eols;
            if (rest.len == 0 || (rest.len == 1 && rest.data[0] == '\r')) {
                break;
            }
            frame = &scratch;
            stomp_frame_begin(frame);
        }
        const struct stomp_limits limits = limits_of(conn, m);
        enum stomp_result result = stomp_frame_read(frame, rest, &limits);
        if (result == STOMP_MORE) {
            keep(conn, m, frame);
            break;
        }
        if (result == STOMP_MALFORMED) {
            refuse_malformed(conn, frame);
            break;
        }
        used += frame->total;
        handle(conn, m, frame);
        free(m->partial);
        m->partial = NULL;
    }
    return used;
}

/* The first frame: CONNECT or STOMP with the end of its line; ends of line may be in front. */
static enum pg_sniff stomp_sniff(struct pg_bytes head)
{
    static const struct pg_bytes commands[] = {PG_BYTES_OF("CONNECT\n"), PG_BYTES_OF("CONNECT\r\n"),
                                               PG_BYTES_OF("STOMP\n"), PG_BYTES_OF("STOMP\r\n")};
    size_t eols = stomp_skip_eols(head);
    head.data += eols;
    head.len -= eols;
    if (head.len == 1 && head.data[0] == '\r') {
        return PG_SNIFF_MORE;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        size_t len = head.len < commands[i].len ? head.len : commands[i].len;
        if (len == 0 || memcmp(head.data, commands[i].data, len) == 0) {
            return len == commands[i].len ? PG_SNIFF_YES : PG_SNIFF_MORE;
        }
    }
    return PG_SNIFF_NO;
}

/* What clients offer with WebSocket, the newest first. */
static const char *const stomp_subprotocols[] = {"v12.stomp", "v11.stomp", "v10.stomp", NULL};

const struct pg_protocol stomp_protocol = {
    .abi = PG_ABI,
    .name = "stomp",
    .options = stomp_options,
    .conf_size = sizeof(struct stomp_conf),
    .counters = stomp_counters,
    .conn_size = sizeof(struct stomp_conn),
    .subprotocols = stomp_subprotocols,
    .media =
        PG_MEDIA_BOTH, /* text is what consoles show and libraries send; bodies may be anything */
    .check = stomp_check,
    .sniff = stomp_sniff,
    .open = stomp_open,
    .bytes = stomp_bytes,
    .admitted = stomp_admitted,
    .published = stomp_published,
    .subscribed = stomp_subscribed,
    .unsubscribed = stomp_unsubscribed,
    .deliver = stomp_deliver,
    .client_ended = stomp_client_ended,
    .evict = stomp_evict,
    .goodbye = stomp_goodbye,
    .closed = stomp_closed,
};
