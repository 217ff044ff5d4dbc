/* SPDX-License-Identifier: Apache-2.0 */

/* The STOMP frontend on the double of the core: subscriptions, MESSAGE frames, acknowledgements,
 * what is kept for those who come back. */

#include "stomp_script.h"

#define M(rest) "MESSAGE\n" rest
#define END(n)  "content-length:" #n "\n\n"

static void subscribe(struct pg_conn *conn, const char *headers)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "SUBSCRIBE\n%s\n\n@", headers);
    in(conn, text);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------------- */

static void destination_becomes_a_filter(void)
{
    static const struct {
        const char *destination, *filter;
    } rows[] = {
        {"/topic/a/b", "a/b"},
        {"a/b", "a/b"},
        {"/topic/a/+/#", "a/+/#"},
        {"/queue/q", "$share/queue/q"},
        {"/topic/$share/g/x", "$share/g/x"},
        {"/topic/*", "*"},
    };
    struct pg_conn *conn = client("1.2", "");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "id:%zu\ndestination:%s\nreceipt:r", i,
                       rows[i].destination);
        subscribe(conn, text);
        CU_ASSERT_TRUE(is(last_subscription()->filter, rows[i].filter));
        CU_ASSERT_EQUAL(last_subscription()->qos, 0);
        CU_ASSERT_TRUE(last_number() > 0 && last_number() < UINT32_C(1) << 28);
        CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:r\n\n@"));
    }
    in(conn, "UNSUBSCRIBE\nid:3\nreceipt:u\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:u\n\n@"));
    CU_ASSERT_FALSE(fake_has_subscription(id_of(conn), "$share/queue/q"));
    CU_ASSERT_TRUE(fake_has_subscription(id_of(conn), "a/b"));
    in(conn, "UNSUBSCRIBE\nid:0\n\n@"); /* another one has the same filter */
    CU_ASSERT_TRUE(fake_has_subscription(id_of(conn), "a/b"));
    in(conn, "UNSUBSCRIBE\nid:1\n\n@");
    CU_ASSERT_FALSE(fake_has_subscription(id_of(conn), "a/b"));
    subscribe(conn, "id:1\ndestination:a\nack:client\nno-local:true");
    CU_ASSERT_EQUAL(last_subscription()->qos, 1);
    CU_ASSERT_TRUE(last_subscription()->no_local);
    conf()->wildcards = STOMP_WILDCARDS_BOTH;
    subscribe(conn, "id:w\ndestination:/topic/*/>");
    CU_ASSERT_TRUE(is(last_subscription()->filter, "+/#"));
    subscribe(conn, "id:w2\ndestination:/topic/a");
    in(conn, "SUBSCRIBE\nid:w2\ndestination:b\nreceipt:2\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "2", "with this id is active"));
}

static void subscriptions_are_bounded(void)
{
    conf()->subscriptions_max = 2;
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a");
    subscribe(conn, "id:2\ndestination:a");
    in(conn, "SUBSCRIBE\nid:3\ndestination:a\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_QUOTA_EXCEEDED, "", "subscriptions_max"));
}

static void answer_to_subscribe_is_waited_for(void)
{
    struct pg_conn *conn = client("1.2", "");
    fake_subscribe_result = PG_PENDING;
    in(conn, "SUBSCRIBE\nid:1\ndestination:a\nreceipt:1\n\n@SEND\ndestination:b\n\n@");
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    fake_decide_subscription(fake_client(conn), 0, PG_OK);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:1\n\n@"));
    CU_ASSERT_EQUAL(fake_message_count(), 1);
    in(conn, "SUBSCRIBE\nid:2\ndestination:a\nreceipt:2\n\n@");
    fake_decide_subscription(fake_client(conn), 0, PG_NOT_AUTHORIZED);
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "2", "not_authorized"));
    fake_subscribe_result = PG_NOT_AUTHORIZED;
    conn = client("1.2", "");
    in(conn, "SUBSCRIBE\nid:2\ndestination:a\nreceipt:3\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "3", "not_authorized"));
    fake_subscribe_result = PG_PENDING; /* closing meanwhile */
    conn = client("1.2", "");
    in(conn, "SUBSCRIBE\nid:2\ndestination:a\nreceipt:3\n\n@");
    fake_break(conn);
}

/* The frames behind it are handled meanwhile; only receipts wait, in their order. */
static void receipt_of_unsubscribe_waits_for_the_store(void)
{
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:1\ndestination:a\ndurable:true");
    fake_unsubscribe_result = PG_PENDING;
    in(conn, "UNSUBSCRIBE\nid:1\ndurable:true\nreceipt:1\n\n@"
             "SEND\ndestination:b\nreceipt:2\n\n@");
    CU_ASSERT_TRUE(out(conn, ""));
    CU_ASSERT_EQUAL(fake_message_count(), 1);
    stomp_unsubscribed(fake_client(conn), 0, PG_OK);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:1\n\n@RECEIPT\nreceipt-id:2\n\n@"));
    subscribe(conn, "id:1\ndestination:a");
    in(conn, "UNSUBSCRIBE\nid:1\nreceipt:3\n\n@");
    CU_ASSERT_TRUE(out(conn, ""));
    stomp_unsubscribed(fake_client(conn), 2, PG_STORE_FAILED);
    CU_ASSERT_TRUE(failed(conn, PG_STORE_FAILED, "3", "store_failed"));
    fake_unsubscribe_result = PG_STORE_FAILED;
    conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a");
    in(conn, "UNSUBSCRIBE\nid:1\nreceipt:4\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_STORE_FAILED, "4", "store_failed"));
}

/* ---- MESSAGE --------------------------------------------------------------------------------- */

static void deliver_retained(struct pg_conn *conn, const char *payload, uint8_t qos)
{
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("t"), .payload = pg_bytes_str(payload), .qos = qos};
    uint32_t number = last_number();
    fake_queue(id_of(conn), pg_msg_new(&spec), qos, true, &number, 1);
    fake_turn();
}

#define RETAINED(id, number, length, payload)                                                      \
    M("subscription:" id "\nmessage-id:" number "\ndestination:t\nretain:true\n" END(length)       \
          payload "@")

static void retained_messages_are_for_the_new_subscription_alone(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:t");
    deliver_retained(conn, "a", 0);
    CU_ASSERT_TRUE(out(conn, RETAINED("1", "1", 1, "a")));
    subscribe(conn, "id:2\ndestination:t");
    deliver_retained(conn, "a", 0);
    CU_ASSERT_TRUE(out(conn, RETAINED("2", "2", 1, "a")));
    deliver_one(conn, "t", "b", 0, last_number()); /* what comes later is for both */
    CU_ASSERT_TRUE(out(conn, M("subscription:1\nmessage-id:3\ndestination:t\n" END(1) "b@")
                                 M("subscription:2\nmessage-id:4\ndestination:t\n" END(1) "b@")));
    /* Nobody goes without: while the first ones are still out, both have what comes. */
    conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:t\nack:client-individual");
    deliver_retained(conn, "a", 1);
    CU_ASSERT_TRUE(out(
        conn, M("subscription:1\nmessage-id:1\nack:1\ndestination:t\nretain:true\n" END(1) "a@")));
    subscribe(conn, "id:2\ndestination:t");
    deliver_retained(conn, "b", 0);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:2\nack:2\ndestination:t\nretain:true\n" END(1) "b@")
                      RETAINED("2", "3", 1, "b")));
}

static void message_is_written_for_the_version(void)
{
    static const struct {
        const char *version, *expected;
    } rows[] = {
        {"1.2", M("subscription:a\\cb\nmessage-id:1\ndestination:/topic/x\\cy\\\\\n" END(2) "hi@")},
        {"1.1", M("subscription:a\\cb\nmessage-id:1\ndestination:/topic/x\\cy\\\\\n" END(2) "hi@")},
        {"1.0", M("subscription:a\\cb\nmessage-id:1\ndestination:/topic/x:y\\\n" END(2) "hi@")},
    };
    for (size_t i = 0; i < 3; i++) {
        struct pg_conn *conn = client(rows[i].version, "");
        subscribe(conn, "id:a\\cb\ndestination:/topic/#");
        deliver_one(conn, "x:y\\", "hi", 0, last_number());
        CU_ASSERT_TRUE(out(conn, rows[i].expected));
    }
    struct pg_conn *conn = client("1.0", ""); /* without an id there is none to tell */
    subscribe(conn, "destination:/topic/#");
    deliver_one(conn, "x", "", 0, last_number());
    CU_ASSERT_TRUE(out(conn, M("message-id:1\ndestination:/topic/x\n" END(0) "@")));
    deliver_one(conn, "x\ny", "", 0, last_number()); /* nor a line end in a topic */
    CU_ASSERT_TRUE(out(conn, ""));
    CU_ASSERT_EQUAL(fake_counter("unwritable"), 1);
    in(conn, "UNSUBSCRIBE\ndestination:/topic/#\nreceipt:1\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:1\n\n@"));
}

static void properties_become_headers(void)
{
    static const struct pg_property user[] = {
        {PG_BYTES_OF("k:1"), PG_BYTES_OF("v\n")},   {PG_BYTES_OF("destination"), PG_BYTES_OF("d")},
        {PG_BYTES_OF("user.x"), PG_BYTES_OF("u")},  {PG_BYTES_OF("subscription"), PG_BYTES_OF("s")},
        {PG_BYTES_OF("k:1"), PG_BYTES_OF("again")}, {PG_BYTES_OF("cr"), PG_BYTES_OF("\r")},
    };
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("t"),
        .payload = PG_BYTES_OF("p"),
        .retain = true,
        .expires = true,
        .expiry_s = 7,
        .props = {.payload_is_utf8 = true,
                  .content_type = PG_BYTES_OF("text/plain"),
                  .response_topic = PG_BYTES_OF("stomp/p2p/me"),
                  .correlation_data = PG_BYTES_OF("\0\xff"),
                  .user = user,
                  .user_count = 6},
    };
    struct pg_conn *a = client("1.2", "a"), *b = client("1.1", "b"), *c = client("1.0", "c");
    struct pg_msg *msg = pg_msg_new(&spec);
    struct pg_conn *const conns[] = {a, b, c};
    for (size_t i = 0; i < 3; i++) {
        subscribe(conns[i], "id:s\ndestination:t");
        uint32_t number = last_number();
        fake_queue(id_of(conns[i]), pg_msg_ref(msg), 0, true, &number, 1);
    }
    pg_msg_unref(&msg);
    fake_turn();
#define HEAD                                                                                       \
    M("subscription:s\nmessage-id:1\ndestination:t\nretain:true\nexpires:1800000008000\n"          \
      "content-type:text/plain\ncorrelation-id-hex:00ff\nreply-to:/p2p/"                           \
      "me\npayload-format:utf-8\n")
    CU_ASSERT_TRUE(out(a,
                       HEAD "k\\c1:v\\n\nuser.destination:d\nuser.user.x:u\nuser.subscription:s\n"
                            "k\\c1:again\ncr:\\r\n" END(1) "p@"));
    CU_ASSERT_TRUE(out(b,
                       HEAD "k\\c1:v\\n\nuser.destination:d\nuser.user.x:u\nuser.subscription:s\n"
                            "k\\c1:again\n" END(1) "p@"));
    CU_ASSERT_TRUE(
        out(c, HEAD "user.destination:d\nuser.user.x:u\nuser.subscription:s\n" END(1) "p@"));
    CU_ASSERT_EQUAL(fake_counter("unwritable"), 1 + 3);
}

static void long_messages_and_bodies_with_nul_are_whole(void)
{
    static char body[6000], topic[3000], expected[ROOM * 2];
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:s\ndestination:/topic/#");
    memset(body, 'b', sizeof(body));
    body[7] = '\0';
    memset(topic, ':', sizeof(topic) - 1);
    const struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic),
        .payload = {.data = (const uint8_t *)body, .len = sizeof(body)}};
    uint32_t number = last_number();
    fake_queue(id_of(conn), pg_msg_new(&spec), 0, false, &number, 1);
    fake_turn();
    char *at =
        expected + sprintf(expected, "MESSAGE\nsubscription:s\nmessage-id:1\ndestination:/topic/");
    for (size_t i = 0; i < sizeof(topic) - 1; i++) {
        at += sprintf(at, "\\c");
    }
    at += sprintf(at, "\ncontent-length:6000\n\n");
    struct pg_bytes got = fake_written(conn);
    size_t head = (size_t)(at - expected);
    CU_ASSERT_EQUAL_FATAL(got.len, head + sizeof(body) + 1);
    CU_ASSERT_TRUE(memcmp(got.data, expected, head) == 0);
    CU_ASSERT_TRUE(memcmp(got.data + head, body, sizeof(body)) == 0);
    CU_ASSERT_EQUAL(got.data[got.len - 1], 0);
}

static void each_subscription_that_matches_has_the_message_once(void)
{
    struct pg_conn *conn = client("1.2", "");
    uint32_t numbers[2];
    subscribe(conn, "id:1\ndestination:a/b");
    numbers[0] = last_number();
    subscribe(conn, "id:2\ndestination:/topic/a/b");
    CU_ASSERT_EQUAL(last_number(), numbers[0]);
    subscribe(conn, "id:3\ndestination:a/#\nack:client-individual");
    numbers[1] = last_number();
    CU_ASSERT_NOT_EQUAL(numbers[0], numbers[1]);
    deliver(conn, "a/b", "x", 1, numbers, 2);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:1\ndestination:a/b\n" END(1) "x@")
                      M("subscription:2\nmessage-id:2\ndestination:/topic/a/b\n" END(1) "x@")
                          M("subscription:3\nmessage-id:3\nack:3\ndestination:a/b\n" END(1) "x@")));
    CU_ASSERT_EQUAL(fake_settled(NULL), 0); /* until it is acknowledged where it has to be */
    in(conn, "ACK\nid:3\nreceipt:r\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:r\n\n@"));
    CU_ASSERT_EQUAL(fake_settled(NULL), 1);
}

static void subscriptions_to_one_queue_take_turns(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:/queue/q");
    subscribe(conn, "id:2\ndestination:/queue/q");
    for (int i = 0; i < 3; i++) {
        deliver_one(conn, "q", "x", 0, last_number());
    }
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:1\ndestination:/queue/q\n" END(1) "x@")
                      M("subscription:2\nmessage-id:2\ndestination:/queue/q\n" END(1) "x@")
                          M("subscription:1\nmessage-id:3\ndestination:/queue/q\n" END(1) "x@")));
}

static void what_is_sent_to_the_client_itself_needs_no_subscription(void)
{
    struct pg_conn *conn = client("1.2", "me");
    deliver(conn, "stomp/p2p/me", "x", 1, NULL, 0);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:p2p\nmessage-id:1\ndestination:/p2p/me\n" END(1) "x@")));
    CU_ASSERT_EQUAL(fake_settled(NULL), 1);
    deliver(conn, "app/p2p/me", "x", 2, NULL, 0);
    CU_ASSERT_TRUE(out(
        conn, M("subscription:p2p\nmessage-id:2\ndestination:/topic/app/p2p/me\n" END(1) "x@")));
    subscribe(conn, "id:mine\ndestination:/p2p/me\nack:client-individual");
    CU_ASSERT_PTR_NULL(last_subscription()); /* the core needs none */
    deliver(conn, "stomp/p2p/me", "y", 1, NULL, 0);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:mine\nmessage-id:3\nack:3\ndestination:/p2p/me\n" END(1) "y@")));
    in(conn, "ACK\nid:3\n\n@UNSUBSCRIBE\nid:mine\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 3);
    subscribe(conn, "id:all\ndestination:/topic/#");
    deliver(conn, "stomp/p2p/me", "z", 0, NULL, 0);
    CU_ASSERT_TRUE(out(
        conn, M("subscription:all\nmessage-id:4\ndestination:/topic/stomp/p2p/me\n" END(1) "z@")));
}

static void a_slow_reader_is_waited_for(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a");
    fake_full(conn, true);
    deliver_one(conn, "a", "x", 0, last_number());
    CU_ASSERT_TRUE(out(conn, ""));
    in(conn, "SEND\ndestination:b\nreceipt:1\n\n@"); /* answers may always be written */
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:1\n\n@"));
    fake_full(conn, false);
    CU_ASSERT_TRUE(out(conn, M("subscription:1\nmessage-id:1\ndestination:a\n" END(1) "x@")));
}

/* ---- ACK and NACK ---------------------------------------------------------------------------- */

static void acknowledgement_is_cumulative_in_client_mode_alone(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:c\ndestination:c\nack:client");
    uint32_t c = last_number();
    subscribe(conn, "id:i\ndestination:i\nack:client-individual");
    uint32_t i = last_number();
    for (int n = 0; n < 3; n++) { /* 1, 3, 5 are of c; 2, 4, 6 of i */
        deliver_one(conn, "c", "x", 1, c);
        deliver_one(conn, "i", "x", 1, i);
    }
    in(conn, "ACK\nid:4\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 1);
    in(conn, "ACK\nid:3\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 3);
    in(conn, "ACK\nid:6\n\n@ACK\nid:2\n\n@ACK\nid:5\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 6);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    in(conn, "ACK\nid:1\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "no message of this number"));
}

static void acknowledgements_are_those_of_the_version(void)
{
    struct pg_conn *conn = client("1.1", "");
    subscribe(conn, "id:s\ndestination:a\nack:client");
    subscribe(conn, "id:t\ndestination:b\nack:client");
    uint32_t b = last_number();
    deliver_one(conn, "b", "x", 1, b);
    CU_ASSERT_TRUE(out(conn, M("subscription:t\nmessage-id:1\ndestination:b\n" END(1) "x@")));
    in(conn, "ACK\nmessage-id:1\nsubscription:t\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 1);
    deliver_one(conn, "b", "x", 1, b);
    in(conn, "ACK\nmessage-id:2\nsubscription:s\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "no message of this number"));
    conn = client("1.1", "");
    in(conn, "ACK\nmessage-id:2\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "subscription is missing"));
    conn = client("1.0", "");
    subscribe(conn, "destination:a\nack:client");
    deliver_one(conn, "a", "x", 1, last_number());
    in(conn, "ACK\nmessage-id:1\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 2);
    conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a\nack:client");
    deliver_one(conn, "a", "x", 1, last_number());
    in(conn, "ACK\nmessage-id:1\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "id is missing"));
}

static void refused_messages_are_returned_and_then_dead(void)
{
    conf()->tries = 3;
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:1\ndestination:/queue/q\nack:client-individual");
    deliver_one(conn, "q", "x", 1, last_number());
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:1\nack:1\ndestination:/queue/q\n" END(1) "x@")));
    in(conn, "NACK\nid:1\nreceipt:n\n\n@");
    CU_ASSERT_EQUAL(fake_returned(), 1);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:n\n\n@" M(
                                 "subscription:1\nmessage-id:2\nack:2\ndestination:/queue/q\n"
                                 "redelivered:true\n" END(1) "x@")));
    in(conn, "NACK\nid:2\n\n@NACK\nid:3\n\n@");
    CU_ASSERT_EQUAL(fake_returned(), 2);
    enum pg_reason reason;
    CU_ASSERT_EQUAL(fake_settled(&reason), 1);
    CU_ASSERT_EQUAL(reason, PG_REJECTED);
    const struct fake_message *dead;
    CU_ASSERT_EQUAL_FATAL(fake_count_on("dead-letter/q", &dead), 1);
    CU_ASSERT_TRUE(dead->announced);
    CU_ASSERT_TRUE(is(dead->msg->payload, "x"));
    CU_ASSERT_TRUE(is(dead->msg->props->user[0].name, "dead-letter-client"));
    CU_ASSERT_TRUE(is(dead->msg->props->user[0].value, "me"));
    CU_ASSERT_EQUAL(fake_counter("dead_letters"), 1);
    CU_ASSERT_EQUAL(fake_counter("nacked"), 3);
    /* QoS 0 cannot be returned; dead letters do not die twice. */
    deliver_one(conn, "q", "y", 0, last_number());
    in(conn, "NACK\nid:4\n\n@");
    CU_ASSERT_EQUAL(fake_count_on("dead-letter/q", NULL), 2);
    deliver_one(conn, "dead-letter/q", "y", 0, last_number());
    in(conn, "NACK\nid:5\n\n@");
    CU_ASSERT_EQUAL(fake_message_count(), 2);
    /* Cumulative as well. */
    subscribe(conn, "id:2\ndestination:c\nack:client");
    deliver_one(conn, "c", "1", 0, last_number());
    deliver_one(conn, "c", "2", 0, last_number());
    in(conn, "NACK\nid:7\n\n@");
    CU_ASSERT_EQUAL(fake_count_on("dead-letter/c", NULL), 2);
}

static void transactions_hold_acknowledgements_too(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a\nack:client-individual");
    for (int i = 0; i < 3; i++) {
        deliver_one(conn, "a", "x", 1, last_number());
    }
    take(conn);
    in(conn, "BEGIN\ntransaction:t\n\n@ACK\nid:1\ntransaction:t\nreceipt:1\n\n@"
             "NACK\nid:2\ntransaction:t\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:1\n\n@"));
    CU_ASSERT_EQUAL(fake_settled(NULL) + fake_returned(), 0);
    in(conn, "ABORT\ntransaction:t\n\n@BEGIN\ntransaction:t\n\n@ACK\nid:1\ntransaction:t\n\n@"
             "NACK\nid:2\ntransaction:t\n\n@COMMIT\ntransaction:t\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 1);
    CU_ASSERT_EQUAL(fake_returned(), 1);
    in(conn, "BEGIN\ntransaction:t\n\n@ACK\nid:1\ntransaction:t\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "no message of this number"));
}

static void prefetch_bounds_what_is_unacknowledged(void)
{
    conf()->prefetch = 3;
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:a\nack:client-individual\nprefetch-count:1");
    uint32_t a = last_number();
    deliver_one(conn, "a", "1", 1, a);
    deliver_one(conn, "a", "2", 1, a);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:1\nack:1\ndestination:a\n" END(1) "1@")));
    in(conn, "ACK\nid:1\n\n@");
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:2\nack:2\ndestination:a\n" END(1) "2@")));
    /* One that is full does not stop another. */
    subscribe(conn, "id:2\ndestination:b\nack:client");
    uint32_t b = last_number();
    deliver_one(conn, "a", "3", 1, a);
    deliver_one(conn, "b", "4", 1, b);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:2\nmessage-id:3\nack:3\ndestination:b\n" END(1) "4@")));
    in(conn, "ACK\nid:2\n\n@");
    CU_ASSERT_TRUE(
        out(conn, M("subscription:1\nmessage-id:4\nack:4\ndestination:a\n" END(1) "3@")));
    /* The connection's limit also holds for QoS 0, which has no window in the core. */
    for (int i = 0; i < 3; i++) {
        deliver_one(conn, "b", "5", 0, b);
    }
    CU_ASSERT_TRUE(
        out(conn, M("subscription:2\nmessage-id:5\nack:5\ndestination:b\n" END(1) "5@")));
    in(conn, "ACK\nid:5\n\n@");
    CU_ASSERT_TRUE(out(conn,
                       M("subscription:2\nmessage-id:6\nack:6\ndestination:b\n" END(1) "5@")
                           M("subscription:2\nmessage-id:7\nack:7\ndestination:b\n" END(1) "5@")));
    in(conn, "SUBSCRIBE\nid:3\ndestination:a\nprefetch-count:x\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "prefetch-count"));
}

static void what_an_ended_subscription_has_goes_back(void)
{
    struct pg_conn *conn = client("1.2", "");
    subscribe(conn, "id:1\ndestination:/queue/q\nack:client\nprefetch-count:1");
    uint32_t q = last_number();
    subscribe(conn, "id:2\ndestination:a\nack:client");
    uint32_t a = last_number();
    deliver_one(conn, "q", "1", 1, q);
    deliver_one(conn, "q", "2", 1, q);
    deliver_one(conn, "a", "3", 1, a);
    take(conn);
    in(conn, "UNSUBSCRIBE\nid:2\n\n@");
    CU_ASSERT_EQUAL(fake_settled(NULL), 1); /* nobody else wants it */
    fake_full(conn, true);                  /* so that the double does not deliver it again */
    in(conn, "UNSUBSCRIBE\nid:1\nreceipt:u\n\n@");
    CU_ASSERT_EQUAL(fake_returned(), 2);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:u\n\n@"));
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 2);
}

/* ---- durable --------------------------------------------------------------------------------- */

static void durable_subscription_is_kept_and_taken_up_again(void)
{
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:d\ndestination:a\nack:client\ndurable:true");
    subscribe(conn, "id:n\ndestination:b");
    CU_ASSERT_EQUAL(pg_client_session_expiry(fake_client(conn)), 3 * 86400);
    CU_ASSERT_EQUAL(fake_subscription(0)->retain_handling, 1);
    uint32_t number = fake_subscription(0)->id;
    deliver_one(conn, "a", "1", 1, number);
    in(conn, "DISCONNECT\nreceipt:1\n\n@");
    CU_ASSERT_TRUE(fake_has_subscription("me", "a"));
    CU_ASSERT_FALSE(fake_has_subscription("me", "b")); /* it was not durable */
}

static void what_was_kept_waits_for_its_subscription(void)
{
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:d\ndestination:a\nack:client\ndurable:true");
    uint32_t number = last_number();
    deliver_one(conn, "a", "1", 1, number);
    fake_break(conn);
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("a"), .payload = PG_BYTES_OF("2"), .qos = 1};
    fake_queue("me", pg_msg_new(&spec), 1, false, &number, 1);
    conn = client("1.2", "me");
    CU_ASSERT_EQUAL(pg_client_session_expiry(fake_client(conn)), 3 * 86400);
    CU_ASSERT_TRUE(out(conn, ""));
    subscribe(conn, "id:x\ndestination:b");
    CU_ASSERT_TRUE(out(conn, ""));
    subscribe(conn, "id:again\ndestination:/topic/a\nack:client\ndurable:true");
    CU_ASSERT_EQUAL(last_number(), number);
    CU_ASSERT_TRUE(
        out(conn, M("subscription:again\nmessage-id:1\nack:1\ndestination:/topic/a\n"
                    "redelivered:true\n" END(1) "1@") M("subscription:again\nmessage-id:2\nack:2\n"
                                                        "destination:/topic/a\n" END(1) "2@")));
    /* UNSUBSCRIBE ends it here, and only with durable:true for good. */
    in(conn, "UNSUBSCRIBE\nid:again\n\n@");
    CU_ASSERT_TRUE(fake_has_subscription("me", "a"));
    CU_ASSERT_EQUAL(fake_settled(NULL), 0);
    deliver_one(conn, "a", "3", 1, number);
    CU_ASSERT_TRUE(out(conn, ""));
    subscribe(conn, "id:auto\ndestination:a\ndurable:true");
    CU_ASSERT_TRUE(out(
        conn, M("subscription:auto\nmessage-id:3\ndestination:a\nredelivered:true\n" END(1) "1@")
                  M("subscription:auto\nmessage-id:4\ndestination:a\n" END(1) "2@")
                      M("subscription:auto\nmessage-id:5\ndestination:a\n" END(1) "3@")));
    CU_ASSERT_EQUAL(fake_settled(NULL), 3);
    in(conn, "UNSUBSCRIBE\nid:auto\ndurable:true\n\n@");
    CU_ASSERT_FALSE(fake_has_subscription("me", "a"));
}

static void nothing_waits_for_a_subscription_that_was_not_durable(void)
{
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:d\ndestination:a\ndurable:true");
    subscribe(conn, "id:n\ndestination:b\nack:client");
    uint32_t number = last_number();
    in(conn, "UNSUBSCRIBE\nid:n\n\n@");
    deliver_one(conn, "b", "x", 1, number);
    CU_ASSERT_TRUE(out(conn, ""));
    enum pg_reason reason;
    CU_ASSERT_EQUAL(fake_settled(&reason), 1);
    CU_ASSERT_EQUAL(reason, PG_NO_SUBSCRIPTION);
    CU_ASSERT_EQUAL(fake_counter("stray"), 1);
    /* A durable one with the same filter takes it over with its number. */
    subscribe(conn, "id:n\ndestination:b\nack:client");
    number = last_number();
    subscribe(conn, "id:m\ndestination:b\ndurable:true");
    CU_ASSERT_NOT_EQUAL(last_number(), number);
    deliver_one(conn, "b", "x", 0, number); /* was queued before */
    CU_ASSERT_TRUE(out(conn, M("subscription:n\nmessage-id:1\nack:1\ndestination:b\n" END(1) "x@")
                                 M("subscription:m\nmessage-id:2\ndestination:b\n" END(1) "x@")));
}

static void who_takes_a_session_over_has_its_durable_part_alone(void)
{
    struct pg_conn *conn = client("1.2", "me");
    subscribe(conn, "id:d\ndestination:a\nack:client\ndurable:true");
    uint32_t number = last_number();
    subscribe(conn, "id:n\ndestination:b");
    deliver_one(conn, "a", "1", 1, number);
    struct pg_conn *other = client("1.2", "me");
    CU_ASSERT_EQUAL(closed_for(conn), PG_TAKEN_OVER);
    CU_ASSERT_FALSE(fake_has_subscription("me", "b"));
    CU_ASSERT_TRUE(fake_has_subscription("me", "a"));
    subscribe(other, "id:d\ndestination:a\ndurable:true");
    CU_ASSERT_TRUE(out(
        other, M("subscription:d\nmessage-id:1\ndestination:a\nredelivered:true\n" END(1) "1@")));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(destination_becomes_a_filter),
        TEST(subscriptions_are_bounded),
        TEST(answer_to_subscribe_is_waited_for),
        TEST(receipt_of_unsubscribe_waits_for_the_store),
        TEST(retained_messages_are_for_the_new_subscription_alone),
        TEST(message_is_written_for_the_version),
        TEST(properties_become_headers),
        TEST(long_messages_and_bodies_with_nul_are_whole),
        TEST(each_subscription_that_matches_has_the_message_once),
        TEST(subscriptions_to_one_queue_take_turns),
        TEST(what_is_sent_to_the_client_itself_needs_no_subscription),
        TEST(a_slow_reader_is_waited_for),
        TEST(acknowledgement_is_cumulative_in_client_mode_alone),
        TEST(acknowledgements_are_those_of_the_version),
        TEST(refused_messages_are_returned_and_then_dead),
        TEST(transactions_hold_acknowledgements_too),
        TEST(prefetch_bounds_what_is_unacknowledged),
        TEST(what_an_ended_subscription_has_goes_back),
        TEST(durable_subscription_is_kept_and_taken_up_again),
        TEST(what_was_kept_waits_for_its_subscription),
        TEST(nothing_waits_for_a_subscription_that_was_not_durable),
        TEST(who_takes_a_session_over_has_its_durable_part_alone),
        CU_TEST_INFO_NULL,
    };
    return stomp_suite("stomp_deliver", tests);
}
