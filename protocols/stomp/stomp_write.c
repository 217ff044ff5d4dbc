/* SPDX-License-Identifier: Apache-2.0 */

/* Frames to the client: encoded into the connection's output, in place where they are short.
 *
 * MESSAGE: what differs from subscriber to subscriber comes first; the headers that all get alike
 * are encoded once for each version and left with the message, if there are more than the
 * destination and the length. A long body is sent from where it lies in the message. Nothing is
 * sent behind the NUL of a frame.
 *
 * Worker of the connection. Standard: STOMP 1.2, Value Encoding, CONNECTED Frame, MESSAGE, RECEIPT,
 * ERROR; 1.1 and 1.0, the same. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

/* Octets of a MESSAGE head that do not come from a text of somebody's: its fixed headers with
 * numbers of 20 digits, generously. */
#define FIXED_MAX 256u

/* A frame that is shorter, as nearly all but MESSAGE are, is made where it is sent from. */
#define SHORT_FRAME 512u

/* A literal. */
#define PUT(w, text) stomp_put((w), PG_BYTES_OF(text))

static void put_nul(struct stomp_writer *w)
{
    stomp_put(w, (struct pg_bytes){.data = (const uint8_t *)"", .len = 1});
}

/* Makes a frame; called twice for a long one. */
typedef void put_frame(struct stomp_writer *w, const void *arg);

static void write_frame(struct pg_conn *conn, struct stomp_conn *m, put_frame *put, const void *arg)
{
    struct stomp_writer w = {.data = pg_conn_reserve(conn, SHORT_FRAME),
                             .room = SHORT_FRAME,
                             .version = (enum stomp_version)m->version};
    put(&w, arg);
    m->sent_ms = pg_now_ms();
    if (w.len <= SHORT_FRAME) {
        pg_conn_commit(conn, w.len);
        return;
    }
    uint8_t *heap = malloc(w.len);
    if (heap == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a frame of %zu bytes", w.len);
        return;
    }
    w = (struct stomp_writer){.data = heap, .room = w.len, .version = w.version};
    put(&w, arg);
    pg_conn_append(conn, (struct pg_bytes){.data = heap, .len = w.len});
    free(heap);
}

/* ---- CONNECTED, RECEIPT, ERROR --------------------------------------------------------------- */

struct connected {
    const struct stomp_conn *m;
    const struct stomp_conf *conf;
};

static void put_connected(struct stomp_writer *w, const void *arg)
{
    const struct connected *c = arg;
    /* No escapes here: identifiers have no line ends, the rest may stand. */
    PUT(w, "CONNECTED\nversion:");
    stomp_put(w, pg_bytes_str(stomp_version_name((enum stomp_version)c->m->version)));
    PUT(w, "\nsession:");
    stomp_put(w, pg_client_id(c->m->client));
    PUT(w, "\nserver:Polygate");
    if (c->m->version != STOMP_V10) {
        PUT(w, "\nheart-beat:");
        stomp_put_number(w, (uint64_t)c->conf->heartbeat_send);
        PUT(w, ",");
        stomp_put_number(w, (uint64_t)c->conf->heartbeat_want);
    }
    PUT(w, "\n\n");
    put_nul(w);
}

void stomp_write_connected(struct pg_conn *conn, struct stomp_conn *m)
{
    const struct connected c = {.m = m, .conf = stomp_conf_of(conn)};
    write_frame(conn, m, put_connected, &c);
}

struct receipt {
    struct pg_bytes id;
    enum pg_reason reason;
};

static void put_receipt(struct stomp_writer *w, const void *arg)
{
    const struct receipt *r = arg;
    PUT(w, "RECEIPT\nreceipt-id:");
    stomp_put_text(w, r->id);
    if (r->reason != PG_OK) {
        PUT(w, "\nreason:");
        stomp_put(w, pg_bytes_str(pg_reason_name(r->reason)));
    }
    PUT(w, "\n\n");
    put_nul(w);
}

void stomp_write_receipt(struct pg_conn *conn, struct stomp_conn *m, struct pg_bytes receipt,
                         enum pg_reason reason)
{
    const struct receipt r = {.id = receipt, .reason = reason};
    write_frame(conn, m, put_receipt, &r);
}

struct error {
    const struct stomp_error *error;
    enum pg_reason reason;
};

static void put_error(struct stomp_writer *w, const void *arg)
{
    const struct error *e = arg;
    PUT(w, "ERROR\nmessage:");
    stomp_put(w, pg_bytes_str(pg_reason_sentence(e->reason)));
    PUT(w, "\nreason:");
    stomp_put(w, pg_bytes_str(pg_reason_name(e->reason)));
    if (e->error->receipt.data != NULL) {
        PUT(w, "\nreceipt-id:");
        stomp_put_text(w, e->error->receipt);
    }
    if (e->error->versions) {
        PUT(w, "\nversion:1.0,1.1,1.2");
    }
    PUT(w, "\ncontent-type:text/plain");
    struct pg_bytes body = pg_bytes_str(e->error->body);
    PUT(w, "\ncontent-length:");
    stomp_put_number(w, body.len);
    PUT(w, "\n\n");
    stomp_put(w, body);
    put_nul(w);
}

void stomp_write_error(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason,
                       const struct stomp_error *error)
{
    const struct error e = {.error = error, .reason = reason};
    pg_conn_count(conn, STOMP_COUNT_ERRORS, 1);
    write_frame(conn, m, put_error, &e);
}

void stomp_write_heartbeat(struct pg_conn *conn, struct stomp_conn *m)
{
    m->sent_ms = pg_now_ms();
    pg_conn_count(conn, STOMP_COUNT_HEARTBEATS_SENT, 1);
    pg_conn_append(conn, PG_BYTES_OF("\n"));
}

/* ---- MESSAGE --------------------------------------------------------------------------------- */

void stomp_put_message_head(struct stomp_writer *w, struct pg_bytes subscription)
{
    PUT(w, "MESSAGE\n");
    if (subscription.data != NULL) {
        PUT(w, "subscription:");
        stomp_put_text(w, subscription);
        PUT(w, "\n");
    }
    PUT(w, "message-id:");
}

/* Headers made of properties that take no more than this need no memory. */
#define FEW_PROPERTIES 512u

/* The properties for every subscriber of this version: made in `few` (FEW_PROPERTIES bytes) for the
 * last one who has the message, else left with it. Lent as long as both. false: no memory. */
static bool properties(struct pg_conn *conn, const struct stomp_conn *m, struct pg_msg *msg,
                       uint8_t *few, struct pg_bytes *out)
{
    *out = PG_BYTES_NONE;
    if (msg->props == NULL) {
        return true;
    }
    const struct pg_encoding *cached = pg_msg_encoding(msg, &stomp_protocol, m->version);
    if (cached == NULL) {
        const char *parent = stomp_conf_of(conn)->p2p_parent;
        struct stomp_writer w = {
            .data = few, .room = FEW_PROPERTIES, .version = (enum stomp_version)m->version};
        unsigned left_out = 0, again = 0;
        stomp_put_properties(&w, msg->props, parent, &left_out);
        pg_conn_count(conn, STOMP_COUNT_UNWRITABLE, left_out);
        bool fits = w.len <= FEW_PROPERTIES;
        if (fits && atomic_load_explicit(&msg->refs, memory_order_relaxed) == 1) {
            *out = (struct pg_bytes){.data = few, .len = w.len};
            return true;
        }
        uint8_t *block = fits ? few : malloc(w.len);
        if (block == NULL) {
            return false;
        }
        if (!fits) {
            w = (struct stomp_writer){.data = block, .room = w.len, .version = w.version};
            stomp_put_properties(&w, msg->props, parent, &again);
        }
        cached = pg_msg_encoding_add(msg, &stomp_protocol, m->version,
                                     (struct pg_bytes){.data = block, .len = w.len});
        if (!fits) {
            free(block);
        }
    }
    if (cached == NULL) {
        return false;
    }
    *out = (struct pg_bytes){.data = cached->bytes, .len = cached->len};
    return true;
}

/* Everything up to the body. */
static void put_message(struct stomp_writer *w, const struct stomp_message *message,
                        struct pg_bytes props, const char *parent)
{
    const struct pg_msg *msg = message->msg;
    stomp_put(w, message->head);
    stomp_put_number(w, message->number);
    if (message->ack && w->version == STOMP_V12) {
        PUT(w, "\nack:");
        stomp_put_number(w, message->number);
    }
    PUT(w, "\ndestination:");
    stomp_put_destination(w, message->form, msg->topic, parent);
    if (message->redelivered) {
        PUT(w, "\nredelivered:true");
    }
    if (message->retain) {
        PUT(w, "\nretain:true");
    }
    if (msg->expires_ms != PG_NEVER) {
        PUT(w, "\nexpires:");
        stomp_put_number(w, (uint64_t)(pg_wall_ms() + (msg->expires_ms - pg_now_ms())));
    }
    PUT(w, "\n");
    stomp_put(w, props);
    PUT(w, "content-length:");
    stomp_put_number(w, msg->payload.len);
    PUT(w, "\n\n");
}

/* Whether the topic has what 1.0 and 1.1 cannot write. */
static bool topic_writable(const struct stomp_conn *m, struct pg_bytes topic)
{
    return m->version == STOMP_V12 || topic.len == 0 ||
           (memchr(topic.data, '\r', topic.len) == NULL &&
            (m->version == STOMP_V11 || memchr(topic.data, '\n', topic.len) == NULL));
}

enum pg_reason stomp_write_message(struct pg_conn *conn, struct stomp_conn *m,
                                   const struct stomp_message *message)
{
    struct pg_msg *msg = message->msg;
    const char *parent = stomp_conf_of(conn)->p2p_parent;
    uint8_t few[FEW_PROPERTIES];
    struct pg_bytes props;
    if (!topic_writable(m, msg->topic)) {
        pg_conn_count(conn, STOMP_COUNT_UNWRITABLE, 1);
        return PG_UNSUPPORTED;
    }
    if (!properties(conn, m, msg, few, &props)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for the headers of a MESSAGE");
        return PG_NO_MEMORY;
    }
    struct stomp_writer w = {.version = (enum stomp_version)m->version};
    size_t most = FIXED_MAX + message->head.len + 2 * msg->topic.len + props.len;
    bool with_body = most + msg->payload.len + 1 <= PG_RESERVE_MAX;
    m->sent_ms = pg_now_ms();
    if (most <= PG_RESERVE_MAX) {
        w.room = with_body ? most + msg->payload.len + 1 : most;
        w.data = pg_conn_reserve(conn, w.room);
        put_message(&w, message, props, parent);
        if (with_body) {
            stomp_put(&w, msg->payload);
            put_nul(&w);
        }
        pg_conn_commit(conn, w.len);
    } else {
        uint8_t *heap = malloc(most);
        if (heap == NULL) {
            pg_conn_close(conn, PG_NO_MEMORY, "for the head of a MESSAGE of %zu bytes", most);
            return PG_NO_MEMORY;
        }
        w.data = heap;
        w.room = most;
        put_message(&w, message, props, parent);
        pg_conn_append(conn, (struct pg_bytes){.data = heap, .len = w.len});
        free(heap);
    }
    if (!with_body) {
        pg_conn_append_msg(conn, msg, msg->payload);
        pg_conn_append(conn, (struct pg_bytes){.data = (const uint8_t *)"", .len = 1});
    }
    return PG_OK;
}
