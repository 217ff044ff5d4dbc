/* SPDX-License-Identifier: Apache-2.0 */

/* The state machine of the STOMP frontend, driven by a script of events on two connections: frames
 * of the client made of a small vocabulary (so that identifiers meet), or any bytes; deliveries,
 * answers of the core now or later, time, a full output, the link's end.
 *
 * Whatever happens, what was written must be a stream of whole frames that a server may send,
 * CONNECTED first and once, nothing behind ERROR.
 *
 * The input: a byte of configuration, then steps of one byte (see `enum step`) with their argument
 * bytes. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "stomp/stomp_conn.h"
#include "two_peers.h"

enum step {
    STEP_CONNECT,
    STEP_SEND,
    STEP_SUBSCRIBE,
    STEP_UNSUBSCRIBE,
    STEP_ACK,
    STEP_TRANSACTION,
    STEP_DISCONNECT,
    STEP_RAW,
    STEP_DELIVER,
    STEP_DECIDE,
    STEP_DECIDE_WAITING,
    STEP_RESULT,
    STEP_ADMIT,
    STEP_TIME,
    STEP_FULL,
    STEP_BREAK,
    STEP_OTHER,
    STEP_KICK,
    STEP_COUNT,
};

static void feed(const char *text)
{
    char frame[512];
    size_t len = strlen(text);
    memcpy(frame, text, len);
    frame[len] = '\0';
    fake_feed(conns[current], (struct pg_bytes){.data = (const uint8_t *)frame, .len = len + 1});
}

/* What the connection has written so far, from its first byte on. */
static void check_output(struct pg_conn *conn)
{
    static struct stomp_frame frame;
    static const struct stomp_limits limits = {
        .header_count = STOMP_HEADERS_MAX, .header_size = 100000, .body_size = 100000};
    const struct stomp_conn *m = pg_conn_state(conn);
    struct pg_bytes out = fake_written(conn);
    bool connected = false;
    for (size_t eols; out.len > 0;) {
        eols = stomp_skip_eols(out);
        assert(eols == 0 || connected);
        out.data += eols;
        out.len -= eols;
        if (out.len == 0) {
            return;
        }
        stomp_frame_begin(&frame);
        enum stomp_result result = stomp_frame_read(&frame, out, &limits);
        assert(result == STOMP_WHOLE);
        assert(stomp_frame_check(&frame, (enum stomp_version)m->version) == STOMP_F_OK);
        enum stomp_command command = stomp_frame_command(&frame);
        assert(command >= STOMP_CONNECTED);
        assert((command == STOMP_CONNECTED) != connected || command == STOMP_ERROR);
        connected = connected || command == STOMP_CONNECTED;
        assert(command != STOMP_MESSAGE || (stomp_frame_has(&frame, STOMP_H_DESTINATION) &&
                                            stomp_frame_has(&frame, STOMP_H_MESSAGE_ID)));
        out.data += frame.total;
        out.len -= frame.total;
        assert(command != STOMP_ERROR || out.len == 0);
    }
}

static void connect_step(struct script *s)
{
    static const char *const versions[] = {"", "accept-version:1.0,1.1\n", "accept-version:1.2\n",
                                           "accept-version:1.2,1.0\n"};
    static const char *const ids[] = {"", "client-id:a\n", "client-id:b\n",
                                      "client-id:a\nlogin:u\n"};
    static const char *const beats[] = {"", "heart-beat:0,1000\n", "heart-beat:500,0\n",
                                        "heart-beat:1,1\n"};
    char text[256];
    uint8_t flags = next_byte(s);
    open_current();
    (void)snprintf(text, sizeof(text), "%s\n%s%s%shost:h\n\n",
                   (flags & 64) != 0 ? "STOMP" : "CONNECT", versions[flags & 3],
                   ids[flags >> 2 & 3], beats[flags >> 4 & 3]);
    feed(text);
}

static const char *const destinations[] = {"a",        "/topic/a", "/queue/q",          "/p2p/a",
                                           "/topic/+", "#",        "/topic/$share/g/a", "/p2p/b"};

static void send_step(struct script *s)
{
    char text[256];
    uint8_t flags = next_byte(s);
    (void)snprintf(text, sizeof(text), "SEND\ndestination:%s\n%s%s%s\n%s", destinations[flags & 7],
                   (flags & 8) != 0 ? "receipt:r\n" : "",
                   (flags & 16) != 0 ? "transaction:t\n" : "",
                   (flags & 32) != 0 ? "persistent:false\nreply-to:/p2p/a\nx:y\n" : "",
                   (flags & 64) != 0 ? "body" : "");
    feed(text);
}

static void subscribe_step(struct script *s)
{
    static const char *const acks[] = {"", "ack:auto\n", "ack:client\n", "ack:client-individual\n"};
    char text[256];
    uint8_t flags = next_byte(s), more = next_byte(s);
    (void)snprintf(text, sizeof(text), "SUBSCRIBE\nid:%d\ndestination:%s\n%s%s%s%s\n",
                   flags >> 3 & 3, destinations[flags & 7], acks[flags >> 5 & 3],
                   (flags & 128) != 0 ? "receipt:s\n" : "", (more & 1) != 0 ? "durable:true\n" : "",
                   (more & 2) != 0 ? "prefetch-count:1\n" : "");
    feed(text);
}

static void unsubscribe_step(struct script *s)
{
    char text[128];
    uint8_t flags = next_byte(s);
    (void)snprintf(text, sizeof(text), "UNSUBSCRIBE\nid:%d\n%s%s\n", flags & 3,
                   (flags & 4) != 0 ? "durable:true\n" : "", (flags & 8) != 0 ? "receipt:u\n" : "");
    feed(text);
}

/* Of one of the latest messages. */
static void ack_step(struct script *s)
{
    char text[192];
    const struct stomp_conn *m = pg_conn_state(conns[current]);
    uint8_t flags = next_byte(s);
    uint64_t number = m->last_number - (flags & 7);
    (void)snprintf(text, sizeof(text), "%s\nid:%llu\nmessage-id:%llu\nsubscription:%d\n%s%s\n",
                   (flags & 8) != 0 ? "NACK" : "ACK", (unsigned long long)number,
                   (unsigned long long)number, flags >> 4 & 3,
                   (flags & 64) != 0 ? "transaction:t\n" : "",
                   (flags & 128) != 0 ? "receipt:a\n" : "");
    feed(text);
}

static void transaction_step(struct script *s)
{
    static const char *const commands[] = {"BEGIN", "COMMIT", "ABORT", "BEGIN"};
    char text[128];
    uint8_t flags = next_byte(s);
    (void)snprintf(text, sizeof(text), "%s\ntransaction:%s\n%s\n", commands[flags & 3],
                   (flags & 4) != 0 ? "u" : "t", (flags & 8) != 0 ? "receipt:t\n" : "");
    feed(text);
}

/* For one of the filters that the connection has, for two, for none, or for one that it has not. */
static void deliver_step(struct script *s)
{
    const struct stomp_conn *m = pg_conn_state(conns[current]);
    struct pg_client *client = fake_client(conns[current]);
    uint32_t numbers[4];
    size_t count = 0;
    uint8_t flags = next_byte(s);
    if (client == NULL) {
        return;
    }
    for (size_t i = 0; i < STOMP_FILTER_PLACES && count < (flags & 3u); i++) {
        for (const struct stomp_filter *f = m->filters[i]; f != NULL && count < (flags & 3u);
             f = f->next) {
            if (!f->p2p) {
                numbers[count++] = f->number;
            }
        }
    }
    if ((flags & 4) != 0 && count < 4) {
        numbers[count++] = 12345u | ((flags & 8) != 0 ? STOMP_DURABLE_BIT : STOMP_QUEUE_BIT);
    }
    const struct pg_msg_spec spec = {
        .topic = (flags & 16) != 0 ? PG_BYTES_OF("a") : PG_BYTES_OF("b:\n"),
        .payload = next_bytes(s, next_byte(s)),
        .expires = (flags & 32) != 0,
        .expiry_s = 60,
        .props = {.content_type = (flags & 64) != 0 ? PG_BYTES_OF("t") : PG_BYTES_NONE},
    };
    char id[64];
    (void)snprintf(id, sizeof(id), "%.*s", (int)pg_client_id(client).len,
                   (const char *)pg_client_id(client).data);
    fake_queue(id, pg_msg_new(&spec), (flags & 128) != 0, (flags & 32) != 0, numbers, count);
    fake_turn();
}

/* The result of one of the latest publications, if it waits. */
static void decide_step(struct script *s)
{
    uint8_t which = next_byte(s);
    enum pg_reason reason = (enum pg_reason)(next_byte(s) % PG_REASON_COUNT);
    size_t count = fake_message_count();
    if (count > 0 && reason != PG_PENDING) {
        const struct fake_message *m = fake_message(which % count);
        if (!m->announced) {
            fake_decide(m->token, reason);
        }
    }
}

/* The answer that the next frame waits for, or one of those that wait in a row. */
static void decide_waiting_step(struct script *s)
{
    struct pg_client *client = fake_client(conns[current]);
    const struct stomp_conn *m = pg_conn_state(conns[current]);
    uint8_t flags = next_byte(s);
    enum pg_reason reason = (flags & 1) != 0 ? PG_NOT_AUTHORIZED : PG_OK;
    if (client == NULL) {
        return;
    }
    if (m->state == STOMP_SUBSCRIBING) {
        fake_decide_subscription(client, 0, reason);
    } else if (m->state == STOMP_COMMITTING) {
        stomp_published(client, STOMP_WHETHER, reason);
    } else {
        stomp_unsubscribed(client, m->dues.first + (flags >> 1 & 3u), reason);
    }
    fake_turn();
}

static void kick_step(void)
{
    struct pg_client *client = fake_client(conns[current]);
    if (client != NULL) {
        char id[64];
        (void)snprintf(id, sizeof(id), "%s", (const char *)pg_client_id(client).data);
        fake_kick(id, PG_KICKED);
    }
}

static void run_step(struct script *s)
{
    switch ((enum step)(next_byte(s) % STEP_COUNT)) {
    case STEP_CONNECT:
        connect_step(s);
        break;
    case STEP_SEND:
        send_step(s);
        break;
    case STEP_SUBSCRIBE:
        subscribe_step(s);
        break;
    case STEP_UNSUBSCRIBE:
        unsubscribe_step(s);
        break;
    case STEP_ACK:
        ack_step(s);
        break;
    case STEP_TRANSACTION:
        transaction_step(s);
        break;
    case STEP_DISCONNECT:
        feed((next_byte(s) & 1) != 0 ? "DISCONNECT\n\n" : "DISCONNECT\nreceipt:d\n\n");
        break;
    case STEP_RAW: {
        struct pg_bytes raw = next_bytes(s, next_byte(s));
        fake_feed(conns[current], raw);
        break;
    }
    case STEP_DELIVER:
        deliver_step(s);
        break;
    case STEP_DECIDE:
        decide_step(s);
        break;
    case STEP_DECIDE_WAITING:
        decide_waiting_step(s);
        break;
    case STEP_RESULT:
        result_step(s);
        fake_unsubscribe_result = fake_subscribe_result;
        fake_may_publish_result =
            fake_publish_result == PG_NO_SUBSCRIBERS ? PG_OK : fake_publish_result;
        break;
    case STEP_ADMIT:
        fake_admit_held();
        fake_hold_admissions = (next_byte(s) & 1) != 0;
        break;
    case STEP_TIME:
        fake_advance(next_byte(s) * 20);
        break;
    case STEP_FULL:
        fake_full(conns[current], next_byte(s) & 1);
        break;
    case STEP_BREAK:
        fake_break(conns[current]);
        break;
    case STEP_OTHER:
        current ^= 1;
        break;
    case STEP_KICK:
        kick_step();
        break;
    case STEP_COUNT:
        break;
    }
}

static void configure(uint8_t byte)
{
    struct stomp_conf *conf = fake_conf();
    conf->pending_max = 1 + (byte & 3);
    conf->prefetch = 1 + (byte >> 2 & 3);
    conf->tries = 1 + (byte >> 4 & 3);
    conf->transaction_frames = 3;
    conf->heartbeat_grace = byte >> 6 & 1 ? 1000 : 0;
    conf->dead_letter = byte >> 7 & 1 ? "" : "dead/";
    conf->body_size = 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run_script(&stomp_protocol, data, size, configure, run_step, check_output);
    return 0;
}
