/* SPDX-License-Identifier: Apache-2.0 */

/* Messages from the client: SEND, and the answers to frames whose result takes time.
 *
 * A SEND becomes a message of the core in one step, straight from the read buffer. A receipt, or
 * the ERROR that says why there is none, is due when the core has given the result, in the order of
 * the frames. Nearly always the result is there at once and nothing is remembered; only while one
 * is out do answers wait in a ring, whose size stomp.pending_max bounds.
 *
 * That nobody subscribed, or that a client is not there, is no error: the RECEIPT says so in its
 * header `reason`.
 *
 * Worker of the connection. Standard: STOMP 1.2, SEND, RECEIPT, ERROR, Header receipt. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

#define FIRST_DUES 8u

/* ---- what handlers share --------------------------------------------------------------------- */

struct pg_bytes stomp_required(struct pg_conn *conn, const struct stomp_request *request,
                               enum stomp_header header)
{
    struct pg_bytes value = stomp_value(request->frame, header, request->texts);
    if (value.len > 0) {
        return value;
    }
    stomp_fail(conn, request, PG_PROTOCOL_ERROR, "the header %s is missing or empty",
               stomp_header_name(header));
    return PG_BYTES_NONE;
}

bool stomp_flag(struct pg_conn *conn, const struct stomp_request *request, enum stomp_header header,
                bool otherwise, bool *out)
{
    struct pg_bytes value = stomp_value(request->frame, header, request->texts);
    *out = otherwise;
    if (value.data == NULL) {
        return true;
    }
    *out = pg_bytes_equal(value, PG_BYTES_OF("true"));
    if (*out || pg_bytes_equal(value, PG_BYTES_OF("false"))) {
        return true;
    }
    stomp_fail(conn, request, PG_PROTOCOL_ERROR, "the header %s is neither true nor false",
               stomp_header_name(header));
    return false;
}

void stomp_done(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    if (request->receipt.data != NULL && !pg_conn_closing(conn)) {
        stomp_write_receipt(conn, m, request->receipt, PG_OK);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static struct stomp_due *due_at(struct stomp_dues *dues, uint32_t i)
{
    return &dues->ring[(dues->at + i) & (dues->size - 1)];
}

static struct pg_bytes receipt_of(const struct stomp_due *due)
{
    if (!due->has_receipt) {
        return PG_BYTES_NONE;
    }
    return (struct pg_bytes){.data = due->receipt != NULL ? due->receipt : (const uint8_t *)"",
                             .len = due->receipt_len};
}

static bool is_refusal(enum pg_reason reason)
{
    return pg_reason_is_error(reason) && reason != PG_NO_SUCH_CLIENT;
}

/* A frame is done, or refused. */
static void answer(struct pg_conn *conn, struct stomp_conn *m, enum stomp_due_kind kind,
                   struct pg_bytes receipt, enum pg_reason reason)
{
    if (is_refusal(reason)) {
        stomp_fail_receipt(conn, receipt, reason, pg_reason_sentence(reason));
        return;
    }
    if (receipt.data != NULL && kind != STOMP_DUE_PART) {
        stomp_write_receipt(conn, m, receipt, reason);
    }
    if (kind == STOMP_DUE_DISCONNECT) {
        pg_conn_close(conn, PG_CLIENT_CLOSED, NULL);
    }
}

/* Tell what is known, up to the first that is not. */
static void tell_dues(struct pg_conn *conn, struct stomp_conn *m)
{
    struct stomp_dues *dues = &m->dues;
    while (dues->count > 0 && due_at(dues, 0)->known && !pg_conn_closing(conn)) {
        struct stomp_due due = *due_at(dues, 0);
        dues->at = (dues->at + 1) & (dues->size - 1);
        dues->first++;
        dues->count--;
        answer(conn, m, (enum stomp_due_kind)due.kind, receipt_of(&due),
               (enum pg_reason)due.reason);
        free(due.receipt);
    }
    if (m->pending_full && dues->count <= (size_t)stomp_conf_of(conn)->pending_max / 2) {
        m->pending_full = false;
        if (m->waiting == NULL) {
            pg_conn_resume(conn);
        }
    }
}

/* Room for one more in the ring. */
static bool grow(struct stomp_dues *dues)
{
    if (dues->count < dues->size) {
        return true;
    }
    uint32_t size = dues->size == 0 ? FIRST_DUES : dues->size * 2;
    struct stomp_due *ring = malloc(size * sizeof(*ring));
    if (ring == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < dues->count; i++) {
        ring[i] = *due_at(dues, i);
    }
    free(dues->ring);
    dues->ring = ring;
    dues->size = size;
    dues->at = 0;
    return true;
}

static bool keep_receipt(struct stomp_due *due, struct pg_bytes receipt)
{
    due->has_receipt = receipt.data != NULL;
    due->receipt_len = (uint32_t)receipt.len;
    if (receipt.len > 0) {
        due->receipt = malloc(receipt.len);
        if (due->receipt == NULL) {
            return false;
        }
        memcpy(due->receipt, receipt.data, receipt.len);
    }
    return true;
}

static bool remember(struct stomp_dues *dues, enum stomp_due_kind kind, struct pg_bytes receipt,
                     enum pg_reason reason)
{
    struct stomp_due due = {
        .kind = (uint8_t)kind, .known = reason != PG_PENDING, .reason = (uint8_t)reason};
    if (!grow(dues) || !keep_receipt(&due, receipt)) {
        return false;
    }
    *due_at(dues, dues->count) = due;
    dues->count++;
    return true;
}

bool stomp_due(struct pg_conn *conn, struct stomp_conn *m, enum stomp_due_kind kind,
               struct pg_bytes receipt, enum pg_reason reason)
{
    struct stomp_dues *dues = &m->dues;
    if (dues->count == 0 && reason != PG_PENDING) {
        answer(conn, m, kind, receipt, reason);
        return !pg_conn_closing(conn);
    }
    if (!remember(dues, kind, receipt, reason)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for answers that wait");
        return false;
    }
    if (dues->count >= (size_t)stomp_conf_of(conn)->pending_max && !m->pending_full) {
        m->pending_full = true;
        pg_conn_pause(conn);
    }
    return true;
}

static void free_waiting(struct stomp_conn *m)
{
    if (m->waiting != NULL) {
        free(m->waiting->receipt);
        free(m->waiting);
        m->waiting = NULL;
    }
}

void stomp_dues_free(struct stomp_conn *m)
{
    for (uint32_t i = 0; i < m->dues.count; i++) {
        free(due_at(&m->dues, i)->receipt);
    }
    free(m->dues.ring);
    m->dues = (struct stomp_dues){.ring = NULL};
    free_waiting(m);
}

/* ---- frames that the next one waits for ------------------------------------------------------ */

bool stomp_wait(struct pg_conn *conn, struct stomp_conn *m, enum stomp_state state,
                struct pg_bytes receipt)
{
    m->waiting = calloc(1, sizeof(*m->waiting));
    if (m->waiting == NULL || !keep_receipt(m->waiting, receipt)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for an answer that is waited for");
        return false;
    }
    m->state = (uint8_t)state;
    pg_conn_pause(conn);
    return true;
}

bool stomp_answered(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason,
                    struct pg_bytes *receipt)
{
    *receipt = receipt_of(m->waiting);
    m->state = STOMP_ONLINE;
    if (reason != PG_OK) {
        stomp_fail_receipt(conn, *receipt, reason, pg_reason_sentence(reason));
        return false;
    }
    return true;
}

void stomp_waited(struct pg_conn *conn, struct stomp_conn *m)
{
    free_waiting(m);
    if (!m->pending_full) {
        pg_conn_resume(conn);
    }
}

void stomp_published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct stomp_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    if (token == STOMP_WHETHER) {
        stomp_commit_answered(conn, m, reason);
        return;
    }
    if (m->state == STOMP_CLOSED || token < m->dues.first ||
        token - m->dues.first >= m->dues.count) {
        return;
    }
    struct stomp_due *due = due_at(&m->dues, (uint32_t)(token - m->dues.first));
    due->known = true;
    due->reason = (uint8_t)reason;
    tell_dues(conn, m);
}

void stomp_unsubscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    stomp_published(client, token, reason);
}

/* ---- SEND ------------------------------------------------------------------------------------ */

/* The name of a client's own topic while a message is made: nearly all are short. */
static _Thread_local uint8_t topic_room[STOMP_TOPIC_ROOM];

struct pg_msg *stomp_message_of(struct pg_conn *conn, const struct stomp_request *request)
{
    const struct stomp_conf *conf = stomp_conf_of(conn);
    struct pg_bytes text = stomp_required(conn, request, STOMP_H_DESTINATION);
    bool persistent, retain;
    if (text.data == NULL ||
        !stomp_flag(conn, request, STOMP_H_PERSISTENT, conf->persistent, &persistent) ||
        !stomp_flag(conn, request, STOMP_H_RETAIN, false, &retain)) {
        return NULL;
    }
    struct stomp_destination destination = stomp_destination_read(text);
    struct stomp_user_room room;
    struct pg_msg_spec spec;
    const char *why = NULL;
    enum pg_reason reason = stomp_spec_fill(&spec, conf, request, &room, &why);
    struct pg_msg *msg = NULL;
    if (reason == PG_OK) {
        spec.topic = stomp_topic_of(&destination, conf->p2p_parent, topic_room);
        spec.payload = stomp_frame_body(request->frame);
        spec.qos = persistent;
        spec.retain = retain;
        spec.publisher = pg_client_id(stomp_conn_of(conn)->client);
        msg = pg_msg_new(&spec);
        reason = msg != NULL ? PG_OK : PG_NO_MEMORY;
    }
    stomp_user_room_free(&room);
    if (reason != PG_OK) {
        stomp_fail(conn, request, reason, "%s", why != NULL ? why : pg_reason_sentence(reason));
    }
    return msg;
}

void stomp_publish(struct pg_conn *conn, struct stomp_conn *m, struct pg_msg *msg,
                   struct pg_bytes receipt, enum stomp_due_kind kind)
{
    uint64_t token = stomp_next_token(m);
    enum pg_reason reason = kind == STOMP_DUE_PART ? pg_publish_allowed(m->client, msg, token)
                                                   : pg_publish(m->client, msg, token);
    (void)stomp_due(conn, m, kind, receipt, reason);
}

void stomp_on_send(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    if (stomp_transact(conn, m, request)) {
        return;
    }
    struct pg_msg *msg = stomp_message_of(conn, request);
    if (msg != NULL) {
        stomp_publish(conn, m, msg, request->receipt, STOMP_DUE_FRAME);
    }
}
