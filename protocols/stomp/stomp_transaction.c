/* SPDX-License-Identifier: Apache-2.0 */

/* Transactions: BEGIN, COMMIT, ABORT, and the SEND, ACK and NACK frames that name one.
 *
 * What a frame says is judged when it comes, its message is made then, and nothing is visible
 * before COMMIT. COMMIT asks the access rules about every message first, and nothing is read
 * meanwhile; one refusal ends the connection with ERROR, and nothing has been published. Then it
 * publishes and acknowledges in the order of the frames, in one go; its receipt leaves when every
 * result is known. What can still fail then is the store, and the room for retained messages. A
 * client that leaves aborts what it has open.
 *
 * Number, frames and bytes are bounded by stomp.transactions_max, transaction_frames and
 * transaction_size.
 *
 * Worker of the connection. Standard: STOMP 1.2, BEGIN, COMMIT, ABORT, SEND, ACK, NACK. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

/* One frame of a transaction. */
struct step {
    struct pg_msg *msg; /* SEND; NULL: ACK or NACK */
    uint64_t number;    /* of the message that is acknowledged */
    bool refused;
};

struct stomp_transaction {
    struct stomp_transaction *next;
    struct step *steps;
    size_t count, size, bytes;
    size_t asked; /* answers that are out, whether its messages may be published */
    size_t id_len;
    uint8_t id[];
};

struct stomp_transactions {
    struct stomp_transaction *first;
    size_t count, bytes;
};

static struct stomp_transaction **find(struct stomp_conn *m, struct pg_bytes id)
{
    if (m->transactions == NULL) {
        return NULL;
    }
    for (struct stomp_transaction **at = &m->transactions->first; *at != NULL; at = &(*at)->next) {
        if (pg_bytes_equal((struct pg_bytes){.data = (*at)->id, .len = (*at)->id_len}, id)) {
            return at;
        }
    }
    return NULL;
}

/* Take a transaction out of the list. */
static struct stomp_transaction *take(struct stomp_conn *m, struct stomp_transaction **at)
{
    struct stomp_transaction *t = *at;
    *at = t->next;
    m->transactions->count--;
    m->transactions->bytes -= t->bytes;
    if (m->transactions->count == 0) {
        free(m->transactions);
        m->transactions = NULL;
    }
    return t;
}

static void free_transaction(struct stomp_transaction *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->steps[i].msg != NULL) {
            pg_msg_unref(&t->steps[i].msg);
        }
    }
    free(t->steps);
    free(t);
}

void stomp_transactions_free(struct pg_conn *conn, struct stomp_conn *m)
{
    while (m->transactions != NULL) {
        pg_conn_count(conn, STOMP_COUNT_ABORTED, 1);
        free_transaction(take(m, &m->transactions->first));
    }
    if (m->committing != NULL) {
        pg_conn_count(conn, STOMP_COUNT_ABORTED, 1);
        free_transaction(m->committing);
        m->committing = NULL;
    }
}

/* ---- BEGIN, COMMIT, ABORT -------------------------------------------------------------------- */

void stomp_on_begin(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    struct pg_bytes id = stomp_required(conn, request, STOMP_H_TRANSACTION);
    if (id.data == NULL) {
        return;
    }
    if (find(m, id) != NULL) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "a transaction of this name is open");
        return;
    }
    if (m->transactions != NULL &&
        m->transactions->count >= (size_t)stomp_conf_of(conn)->transactions_max) {
        stomp_fail(conn, request, PG_QUOTA_EXCEEDED,
                   "as many transactions are open as stomp.transactions_max allows");
        return;
    }
    if (m->transactions == NULL) {
        m->transactions = calloc(1, sizeof(*m->transactions));
    }
    struct stomp_transaction *t = m->transactions != NULL ? calloc(1, sizeof(*t) + id.len) : NULL;
    if (t == NULL) {
        stomp_fail(conn, request, PG_NO_MEMORY, "for a transaction");
        return;
    }
    t->id_len = id.len;
    memcpy(t->id, id.data, id.len);
    t->next = m->transactions->first;
    m->transactions->first = t;
    m->transactions->count++;
    stomp_done(conn, m, request);
}

/* The transaction that COMMIT or ABORT ends, out of the list; NULL: closed. */
static struct stomp_transaction *ended_by(struct pg_conn *conn, struct stomp_conn *m,
                                          const struct stomp_request *request)
{
    struct pg_bytes id = stomp_required(conn, request, STOMP_H_TRANSACTION);
    if (id.data == NULL) {
        return NULL;
    }
    struct stomp_transaction **at = find(m, id);
    if (at == NULL) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "no transaction of this name is open");
        return NULL;
    }
    return take(m, at);
}

/* All of it is allowed. */
static void carry_out(struct pg_conn *conn, struct stomp_conn *m, struct stomp_transaction *t,
                      struct pg_bytes receipt)
{
    for (size_t i = 0; i < t->count && !pg_conn_closing(conn); i++) {
        struct step *step = &t->steps[i];
        if (step->msg != NULL) {
            struct pg_msg *msg = step->msg;
            step->msg = NULL;
            stomp_publish(conn, m, msg, receipt, STOMP_DUE_PART);
        } else {
            /* What its subscription took with it meanwhile is no longer there. */
            (void)stomp_acknowledge(conn, m, step->number, NULL, step->refused);
        }
    }
    if (!pg_conn_closing(conn)) {
        (void)stomp_due(conn, m, STOMP_DUE_COMMIT, receipt, PG_OK);
        stomp_take(conn, m);
    }
    free_transaction(t);
}

/* Ask about every message: PG_OK, the first refusal, or PG_PENDING. */
static enum pg_reason ask(const struct stomp_conn *m, struct stomp_transaction *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->steps[i].msg == NULL) {
            continue;
        }
        enum pg_reason reason = pg_may_publish(m->client, t->steps[i].msg, STOMP_WHETHER);
        if (reason == PG_PENDING) {
            t->asked++;
        } else if (reason != PG_OK) {
            return reason;
        }
    }
    return t->asked > 0 ? PG_PENDING : PG_OK;
}

void stomp_on_commit(struct pg_conn *conn, struct stomp_conn *m,
                     const struct stomp_request *request)
{
    struct stomp_transaction *t = ended_by(conn, m, request);
    if (t == NULL) {
        return;
    }
    enum pg_reason reason = ask(m, t);
    if (reason == PG_OK) {
        carry_out(conn, m, t, request->receipt);
        return;
    }
    m->committing = t;
    if (reason == PG_PENDING) {
        (void)stomp_wait(conn, m, STOMP_COMMITTING, request->receipt);
    } else {
        stomp_fail(conn, request, reason, "%s", pg_reason_sentence(reason));
    }
}

void stomp_commit_answered(struct pg_conn *conn, struct stomp_conn *m, enum pg_reason reason)
{
    struct stomp_transaction *t = m->committing;
    struct pg_bytes receipt;
    if (m->state != STOMP_COMMITTING || t == NULL || (--t->asked > 0 && reason == PG_OK) ||
        !stomp_answered(conn, m, reason, &receipt)) {
        return;
    }
    m->committing = NULL;
    carry_out(conn, m, t, receipt);
    stomp_waited(conn, m);
}

void stomp_on_abort(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    struct stomp_transaction *t = ended_by(conn, m, request);
    if (t != NULL) {
        pg_conn_count(conn, STOMP_COUNT_ABORTED, 1);
        free_transaction(t);
        stomp_done(conn, m, request);
    }
}

/* ---- frames of a transaction ----------------------------------------------------------------- */

/* Room for one more of `bytes`; NULL: closed. */
static struct step *add_step(struct pg_conn *conn, struct stomp_conn *m,
                             const struct stomp_request *request, struct stomp_transaction *t,
                             size_t bytes)
{
    const struct stomp_conf *conf = stomp_conf_of(conn);
    if (t->count >= (size_t)conf->transaction_frames) {
        stomp_fail(conn, request, PG_QUOTA_EXCEEDED,
                   "the transaction has as many frames as stomp.transaction_frames allows");
        return NULL;
    }
    if (m->transactions->bytes + bytes > (size_t)conf->transaction_size) {
        stomp_fail(conn, request, PG_QUOTA_EXCEEDED,
                   "the open transactions have as many bytes as stomp.transaction_size allows");
        return NULL;
    }
    if (t->count == t->size) {
        size_t size = t->size == 0 ? 4 : t->size * 2;
        struct step *steps = realloc(t->steps, size * sizeof(*steps));
        if (steps == NULL) {
            stomp_fail(conn, request, PG_NO_MEMORY, "for a frame of a transaction");
            return NULL;
        }
        t->steps = steps;
        t->size = size;
    }
    t->bytes += bytes;
    m->transactions->bytes += bytes;
    struct step *step = &t->steps[t->count++];
    *step = (struct step){.msg = NULL};
    return step;
}

static void add_send(struct pg_conn *conn, struct stomp_conn *m,
                     const struct stomp_request *request, struct stomp_transaction *t)
{
    struct pg_msg *msg = stomp_message_of(conn, request);
    if (msg == NULL) {
        return;
    }
    enum pg_reason reason = pg_topic_name_valid(msg->topic);
    if (reason != PG_OK) {
        pg_msg_unref(&msg);
        stomp_fail(conn, request, reason, "%s", pg_reason_sentence(reason));
        return;
    }
    struct step *step = add_step(conn, m, request, t, request->frame->total);
    if (step == NULL) {
        pg_msg_unref(&msg);
        return;
    }
    step->msg = msg;
    stomp_done(conn, m, request);
}

static void add_ack(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request,
                    struct stomp_transaction *t)
{
    uint64_t number;
    struct stomp_sub *sub;
    if (!stomp_ack_target(conn, m, request, &number, &sub)) {
        return;
    }
    struct step *step = add_step(conn, m, request, t, sizeof(*step));
    if (step == NULL) {
        return;
    }
    step->number = number;
    step->refused = stomp_frame_command(request->frame) == STOMP_NACK;
    stomp_done(conn, m, request);
}

bool stomp_transact(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    struct pg_bytes id = stomp_value(request->frame, STOMP_H_TRANSACTION, request->texts);
    if (id.data == NULL) {
        return false;
    }
    struct stomp_transaction **at = find(m, id);
    if (at == NULL) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "no transaction of this name is open");
    } else if (stomp_frame_command(request->frame) == STOMP_SEND) {
        add_send(conn, m, request, *at);
    } else {
        add_ack(conn, m, request, *at);
    }
    return true;
}
