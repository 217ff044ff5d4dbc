/* SPDX-License-Identifier: Apache-2.0 */

/* The STOMP frontend on the double of the core, frame by frame: how clients come and go, what
 * becomes of SEND, receipts and errors, heart-beats. Deliveries are in test_stomp_deliver.c. */

#include "stomp_script.h"

static enum pg_reason login_verdict;

static enum pg_reason judge(const struct pg_login *login)
{
    (void)login;
    return login_verdict;
}

static const struct pg_login *last_login(void)
{
    size_t count;
    return fake_last_login(&count);
}

/* ---- CONNECT --------------------------------------------------------------------------------- */

static void version_is_the_highest_in_common(void)
{
    static const struct {
        const char *accept, *version, *heartbeat;
    } rows[] = {
        {"", "1.0", ""},
        {"accept-version:1.0\n", "1.0", ""},
        {"accept-version:1.1\n", "1.1", "\nheart-beat:1000,10000"},
        {"accept-version:1.0,1.1,1.2\n", "1.2", "\nheart-beat:1000,10000"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int stomp = 0; stomp < 2; stomp++) {
            char text[256];
            struct pg_conn *conn = fake_connect();
            (void)snprintf(text, sizeof(text), "%s\n%sclient-id:c\nhost:h\n\n@",
                           stomp ? "STOMP" : "CONNECT", rows[i].accept);
            in(conn, text);
            (void)snprintf(text, sizeof(text),
                           "CONNECTED\nversion:%s\nsession:c\nserver:Polygate%s\n\n@",
                           rows[i].version, rows[i].heartbeat);
            CU_ASSERT_TRUE(out(conn, text));
            CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
        }
    }
    struct pg_conn *conn = fake_connect();
    in(conn, "CONNECT\naccept-version:2.1,3\nhost:h\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_VERSION_UNSUPPORTED, "", "\nversion:1.0,1.1,1.2\n"));
}

static void login_and_passcode_are_judged_as_they_were_sent(void)
{
    struct pg_conn *conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:h\nlogin: u\\n:x\npasscode:p\\c:\\\n\n@");
    CU_ASSERT_TRUE(is(last_login()->username, " u\\n:x"));
    CU_ASSERT_TRUE(is(last_login()->password, "p\\c:\\"));
    conn = fake_connect();
    in(conn, "CONNECT\nlogin: u\npasscode: p\n\n@"); /* as 1.0 writes them */
    CU_ASSERT_TRUE(is(last_login()->username, "u"));
    CU_ASSERT_TRUE(is(last_login()->password, "p"));
    conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:h\n\n@");
    CU_ASSERT_PTR_NULL(last_login()->username.data);
    CU_ASSERT_PTR_NULL(last_login()->password.data);
    fake_login = judge;
    login_verdict = PG_BAD_CREDENTIAL;
    conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:h\n\n@SEND\ndestination:a\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_BAD_CREDENTIAL, "", "reason:bad_credential"));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
}

static void a_client_without_identifier_is_given_one(void)
{
    struct pg_conn *a = client("1.2", ""), *b = client("1.1", "");
    CU_ASSERT_TRUE(strncmp(id_of(a), "stomp-", 6) == 0);
    CU_ASSERT_STRING_NOT_EQUAL(id_of(a), id_of(b));
    CU_ASSERT_TRUE(last_login()->clean_start);
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, 0);
    struct pg_conn *c = client("1.2", "c");
    CU_ASSERT_FALSE(last_login()->clean_start);
    CU_ASSERT_EQUAL(pg_client_session_expiry(fake_client(c)), 0);
    struct pg_conn *bad = fake_connect();
    in(bad, "CONNECT\naccept-version:1.2\nhost:h\nclient-id:a\x01\n\n@");
    CU_ASSERT_TRUE(failed(bad, PG_CLIENT_ID_INVALID, "", "client-id"));
}

static void hosts_are_those_of_the_configuration(void)
{
    static const char *const items[] = {"fleet", "other"};
    conf()->hosts = (struct pg_strings){.items = items, .count = 2};
    struct pg_conn *conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:fleet\n\n@");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:flee\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "", "stomp.hosts"));
    conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\n\n@");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(fake_counter("without_host"), 1);
}

static void nothing_has_an_effect_before_connected(void)
{
    static const char *const frames[] = {
        "SEND\ndestination:a\nreceipt:1\n\nx@",
        "SUBSCRIBE\nid:1\ndestination:a\n\n@",
        "BEGIN\ntransaction:t\n\n@",
        "DISCONNECT\nreceipt:1\n\n@",
    };
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct pg_conn *conn = fake_connect();
        in(conn, frames[i]);
        CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "CONNECT must be the first frame"));
    }
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    CU_ASSERT_PTR_NULL(last_subscription());
    /* While admission is out, what comes waits. */
    fake_hold_admissions = true;
    struct pg_conn *conn = fake_connect();
    in(conn, "CONNECT\naccept-version:1.2\nhost:h\nclient-id:c\n\n@SEND\ndestination:a\n\nx@");
    CU_ASSERT_TRUE(out(conn, ""));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    fake_admit_held();
    CU_ASSERT_EQUAL(fake_message_count(), 1);
}

static void frames_that_may_not_come_close_with_a_reason(void)
{
    static const struct {
        const char *frame;
        enum pg_reason reason;
        const char *receipt, *words;
    } rows[] = {
        {"CONNECT\naccept-version:1.2\nhost:h\n\n@", PG_PROTOCOL_ERROR, "", "already open"},
        {"STOMP\naccept-version:1.2\nhost:h\n\n@", PG_PROTOCOL_ERROR, "", "already open"},
        {"MESSAGE\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "only a server"},
        {"SUBSCRIBE\nid:1\ndestination:a\nreceipt:7\n\nx@", PG_PROTOCOL_ERROR, "7", "have a body"},
        {"HELLO\n", PG_MALFORMED, "", "no command"},
        {"SEND\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "destination is missing"},
        {"SEND\ndestination:a\nreceipt:7\nretain:yes\n\n@", PG_PROTOCOL_ERROR, "7", "retain"},
        {"SEND\ndestination:a\nreceipt:7\nexpires:soon\n\n@", PG_MALFORMED, "7", "expires"},
        {"SEND\ndestination:a\nreceipt:7\nreply-to:a/+\n\n@", PG_MALFORMED, "7", "reply-to"},
        {"SEND\ndestination:a\nreceipt:7\npayload-format:x\n\n@", PG_MALFORMED, "7", "utf-8"},
        {"SEND\ndestination:a\ncorrelation-id-hex:abc\n\n@", PG_MALFORMED, "", "hexadecimal"},
        {"SEND\ndestination:a\nreceipt:7\nx:\\t\n\n@", PG_MALFORMED, "", "escape sequence"},
        {"SEND\ndestination:a/#\nreceipt:7\n\n@", PG_TOPIC_INVALID, "7", "topic"},
        {"SEND\ndestination:a\nreceipt:7\ntransaction:t\n\n@", PG_PROTOCOL_ERROR, "7",
         "no transaction"},
        {"ACK\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "id is missing"},
        {"ACK\nid:1\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "no message of this number"},
        {"UNSUBSCRIBE\nid:1\nreceipt:7\n\n@", PG_NO_SUBSCRIPTION, "7", "no subscription"},
        {"SUBSCRIBE\ndestination:a\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "id is missing"},
        {"SUBSCRIBE\nid:1\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "destination is missing"},
        {"SUBSCRIBE\nid:1\ndestination:a\nack:never\n\n@", PG_PROTOCOL_ERROR, "", "ack is none"},
        {"SUBSCRIBE\nid:1\ndestination:a\nselector:x = 1\n\n@", PG_UNSUPPORTED, "", "selectors"},
        {"SUBSCRIBE\nid:1\ndestination:a\ndurable:true\n\n@", PG_PROTOCOL_ERROR, "", "client-id"},
        {"SUBSCRIBE\nid:1\ndestination:/p2p/else\n\n@", PG_NOT_AUTHORIZED, "", "another client"},
        {"BEGIN\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "transaction is missing"},
        {"COMMIT\ntransaction:t\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "no transaction"},
        {"ABORT\ntransaction:t\nreceipt:7\n\n@", PG_PROTOCOL_ERROR, "7", "no transaction"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pg_conn *conn = client("1.2", "");
        in(conn, rows[i].frame);
        CU_ASSERT_TRUE(failed(conn, rows[i].reason, rows[i].receipt, rows[i].words));
    }
    struct pg_conn *conn = client("1.0", "");
    in(conn, "NACK\nmessage-id:1\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "", "1.0 has no NACK"));
}

static void limits_are_smaller_before_connect(void)
{
    char text[ROOM];
    conf()->connect_size = 128;
    struct pg_conn *conn = fake_connect();
    (void)snprintf(text, sizeof(text), "CONNECT\nx:%0200d", 1);
    in(conn, text);
    CU_ASSERT_EQUAL(closed_for(conn), PG_TOO_LARGE);
    conn = client("1.2", "");
    (void)snprintf(text, sizeof(text), "SEND\ndestination:a\nx:%0200d\n\n@", 1);
    in(conn, text);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(fake_message_count(), 1);
    /* A connection that has not said anything is closed without a word. */
    conn = fake_connect();
    fake_advance(20000);
    CU_ASSERT_EQUAL(closed_for(conn), PG_LOGIN_TIMEOUT);
    CU_ASSERT_TRUE(out(conn, ""));
}

/* ---- heart-beats ----------------------------------------------------------------------------- */

static struct pg_conn *beating(const char *heartbeat)
{
    char text[128];
    struct pg_conn *conn = fake_connect();
    (void)snprintf(text, sizeof(text), "CONNECT\naccept-version:1.2\nhost:h\nheart-beat:%s\n\n@",
                   heartbeat);
    in(conn, text);
    take(conn);
    return conn;
}

static void heartbeats_are_sent_early_enough_and_only_if_wanted(void)
{
    struct pg_conn *conn = beating("0,2000");
    for (int i = 0; i < 5; i++) { /* the client drops us at 2000 + 100 */
        fake_advance(1400);
        CU_ASSERT_TRUE(out(conn, ""));
        fake_advance(100);
        CU_ASSERT_TRUE(out(conn, "\n"));
    }
    /* Anything else that is sent is one as well. */
    fake_advance(1000);
    in(conn, "SEND\ndestination:a\nreceipt:1\n\n@");
    take(conn);
    fake_advance(1400);
    CU_ASSERT_TRUE(out(conn, ""));
    fake_advance(300);
    CU_ASSERT_TRUE(out(conn, "\n"));
    /* Not more often than configured. */
    conn = beating("0,10");
    fake_advance(600);
    CU_ASSERT_TRUE(out(conn, ""));
    fake_advance(300);
    CU_ASSERT_TRUE(out(conn, "\n"));
    conn = beating("0,0");
    fake_advance(100000);
    CU_ASSERT_TRUE(out(conn, ""));
    conf()->heartbeat_send = 0;
    conn = beating("0,1000");
    fake_advance(100000);
    CU_ASSERT_TRUE(out(conn, ""));
}

static void silence_is_borne_for_twice_the_interval_and_the_grace(void)
{
    CU_ASSERT_EQUAL(fake_view(beating("40000,0")).idle_ms, 80000);
    CU_ASSERT_EQUAL(fake_view(beating("100,0")).idle_ms, 70000);
    CU_ASSERT_EQUAL(fake_view(beating("0,0")).idle_ms, 0);
    conf()->heartbeat_grace = 0;
    CU_ASSERT_EQUAL(fake_view(beating("100,0")).idle_ms, 20000); /* we want one in 10 s */
    conf()->heartbeat_want = 0;
    CU_ASSERT_EQUAL(fake_view(beating("100,0")).idle_ms, 0);
    conf()->heartbeat_want = 1000;
    struct pg_conn *conn = beating("1000,0");
    for (int i = 0; i < 10; i++) {
        fake_advance(1900);
        in(conn, i % 2 == 0 ? "\n" : "\r\n");
        CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    }
    in(conn, "SEND\ndestination:a\ncontent-length:50\n\n"); /* a large upload is no silence */
    for (int i = 0; i < 10; i++) {
        fake_advance(1900);
        in(conn, "xxxxx");
        CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    }
    fake_advance(2000);
    CU_ASSERT_TRUE(failed(conn, PG_KEEPALIVE_TIMEOUT, "", "keepalive_timeout"));
}

static void heartbeat_header_is_two_numbers(void)
{
    static const char *const wrong[] = {"", ",", "1", "-1,0", "abc", "1000000000000,0"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[128];
        struct pg_conn *conn = fake_connect();
        (void)snprintf(text, sizeof(text),
                       "CONNECT\naccept-version:1.2\nhost:h\nheart-beat:%s\n\n@", wrong[i]);
        in(conn, text);
        CU_ASSERT_TRUE(failed(conn, PG_MALFORMED, "", "heart-beat"));
    }
}

/* ---- SEND ------------------------------------------------------------------------------------ */

static void headers_of_send_become_properties(void)
{
    struct pg_conn *conn = client("1.2", "me");
    in(conn, "SEND\ndestination:/topic/a\\cb\ncontent-type:text/plain\ncorrelation-id:c1\n"
             "reply-to:/p2p/me\nexpires:1800000006500\nretain:true\npayload-format:utf-8\n"
             "x:1\nx:2\nuser.destination:z\nid:5\nk\\ny:v\\nw\n\nhello@");
    const struct pg_msg *msg = published(0);
    CU_ASSERT_TRUE(is(msg->topic, "a:b"));
    CU_ASSERT_TRUE(is(msg->payload, "hello"));
    CU_ASSERT_TRUE(is(msg->publisher, "me"));
    CU_ASSERT_STRING_EQUAL(msg->protocol, "stomp");
    CU_ASSERT_EQUAL(msg->qos, 1);
    CU_ASSERT_TRUE(msg->retain);
    CU_ASSERT_EQUAL(pg_msg_expiry_left_s(msg), 6); /* the wall clock is one second on */
    CU_ASSERT_TRUE(msg->props->payload_is_utf8);
    CU_ASSERT_TRUE(is(msg->props->content_type, "text/plain"));
    CU_ASSERT_TRUE(is(msg->props->correlation_data, "c1"));
    CU_ASSERT_TRUE(is(msg->props->response_topic, "stomp/p2p/me"));
    static const char *const user[][2] = {
        {"x", "1"}, {"x", "2"}, {"destination", "z"}, {"id", "5"}, {"k\ny", "v\nw"}};
    CU_ASSERT_EQUAL_FATAL(msg->props->user_count, 5);
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT_TRUE(is(msg->props->user[i].name, user[i][0]));
        CU_ASSERT_TRUE(is(msg->props->user[i].value, user[i][1]));
    }
    in(conn, "SEND\ndestination:a\npersistent:false\ncorrelation-id-hex:00fF\nexpires:0\n"
             "content-length:3\n\na@b@");
    msg = published(1);
    CU_ASSERT_EQUAL(msg->qos, 0);
    CU_ASSERT_EQUAL(msg->expires_ms, PG_NEVER);
    CU_ASSERT_EQUAL(msg->payload.len, 3);
    CU_ASSERT_EQUAL(msg->props->correlation_data.len, 2);
    CU_ASSERT_TRUE(memcmp(msg->props->correlation_data.data, "\x00\xff", 2) == 0);
    in(conn, "SEND\ndestination:/p2p/013912345678\n\n@SEND\ndestination:/queue/q\n\n@");
    CU_ASSERT_TRUE(is(published(2)->topic, "stomp/p2p/013912345678"));
    CU_ASSERT_TRUE(is(published(3)->topic, "q"));
    char many[ROOM] = "SEND\ndestination:a\n";
    for (int i = 0; i < 40; i++) {
        size_t len = strlen(many);
        (void)snprintf(many + len, sizeof(many) - len, "h%d:%d\n", i, i);
    }
    strcat(many, "\n@");
    in(conn, many);
    CU_ASSERT_EQUAL(published(4)->props->user_count, 40);
    CU_ASSERT_TRUE(is(published(4)->props->user[39].name, "h39"));
}

static void receipt_tells_the_result_and_leaves_when_it_is_known(void)
{
    struct pg_conn *conn = client("1.2", "");
    in(conn, "SEND\ndestination:a\nreceipt:r\\c1\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:r\\c1\n\n@"));
    fake_publish_result = PG_NO_SUBSCRIBERS;
    in(conn, "SEND\ndestination:a\nreceipt:2\n\n@SEND\ndestination:a\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:2\nreason:no_subscribers\n\n@"));
    fake_publish_result = PG_NO_SUCH_CLIENT;
    in(conn, "SEND\ndestination:/p2p/x\nreceipt:3\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:3\nreason:no_such_client\n\n@"));
    fake_publish_result = PG_PENDING;
    size_t first = fake_message_count();
    in(conn, "SEND\ndestination:a\nreceipt:4\n\n@SEND\ndestination:a\n\n@"
             "SEND\ndestination:a\nreceipt:\n\n@DISCONNECT\nreceipt:bye\n\n@");
    CU_ASSERT_TRUE(out(conn, ""));
    fake_decide(fake_message(first + 2)->token, PG_OK);
    CU_ASSERT_TRUE(out(conn, ""));
    fake_decide(fake_message(first)->token, PG_OK);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:4\n\n@"));
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    fake_decide(fake_message(first + 1)->token, PG_NO_SUBSCRIBERS);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:\n\n@RECEIPT\nreceipt-id:bye\n\n@"));
    CU_ASSERT_EQUAL(closed_for(conn), PG_CLIENT_CLOSED);
}

static void refused_send_is_an_error_with_its_receipt(void)
{
    struct pg_conn *conn = client("1.2", "");
    fake_publish_result = PG_NOT_AUTHORIZED;
    in(conn, "SEND\ndestination:a\nreceipt:9\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "9", "not_authorized"));
    conn = client("1.2", "");
    fake_publish_result = PG_PENDING;
    size_t first = fake_message_count();
    in(conn, "SEND\ndestination:a\nreceipt:10\n\n@SEND\ndestination:a\nreceipt:11\n\n@");
    fake_decide(fake_message(first)->token, PG_STORE_FAILED);
    CU_ASSERT_TRUE(failed(conn, PG_STORE_FAILED, "10", "store_failed"));
}

static void a_client_with_too_many_results_out_is_not_read(void)
{
    conf()->pending_max = 4;
    struct pg_conn *conn = client("1.2", "");
    fake_publish_result = PG_PENDING;
    for (int i = 0; i < 6; i++) {
        in(conn, "SEND\ndestination:a\n\n@");
    }
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_message_count(), 4);
    fake_decide(fake_message(0)->token, PG_OK);
    CU_ASSERT_TRUE(fake_is_paused(conn));
    fake_decide(fake_message(1)->token, PG_OK);
    CU_ASSERT_EQUAL(fake_message_count(), 6);
}

/* ---- transactions ---------------------------------------------------------------------------- */

static void transaction_is_seen_as_a_whole_or_not_at_all(void)
{
    struct pg_conn *conn = client("1.2", "");
    in(conn,
       "BEGIN\ntransaction:t\nreceipt:b\n\n@SEND\ndestination:a\ntransaction:t\nreceipt:1\n\n1@"
       "SEND\ndestination:b\ntransaction:t\n\n2@SEND\ndestination:c\n\n3@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:b\n\n@RECEIPT\nreceipt-id:1\n\n@"));
    CU_ASSERT_EQUAL(fake_message_count(), 1);
    in(conn, "COMMIT\ntransaction:t\nreceipt:c\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:c\n\n@"));
    CU_ASSERT_EQUAL_FATAL(fake_message_count(), 3);
    CU_ASSERT_TRUE(is(published(1)->topic, "a"));
    CU_ASSERT_TRUE(is(published(2)->payload, "2"));
    in(conn, "BEGIN\ntransaction:t\n\n@SEND\ndestination:a\ntransaction:t\n\n1@"
             "ABORT\ntransaction:t\nreceipt:a\n\n@BEGIN\ntransaction:t\n\n@"
             "SEND\ndestination:a\ntransaction:t\n\n1@BEGIN\ntransaction:u\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:a\n\n@"));
    in(conn, "DISCONNECT\nreceipt:d\n\n@");
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:d\n\n@"));
    CU_ASSERT_EQUAL(fake_message_count(), 3);
    CU_ASSERT_EQUAL(fake_counter("aborted"), 3);
    conn = client("1.2", "");
    in(conn, "BEGIN\ntransaction:t\n\n@BEGIN\ntransaction:t\nreceipt:2\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_PROTOCOL_ERROR, "2", "of this name is open"));
    conn = client("1.2", "");
    in(conn, "BEGIN\ntransaction:t\n\n@SEND\ndestination:+\ntransaction:t\nreceipt:2\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_TOPIC_INVALID, "2", "topic"));
}

static void commit_is_answered_when_all_its_results_are_known(void)
{
    struct pg_conn *conn = client("1.2", "");
    fake_publish_result = PG_PENDING;
    in(conn, "BEGIN\ntransaction:t\n\n@SEND\ndestination:a\ntransaction:t\n\n1@"
             "SEND\ndestination:a\ntransaction:t\n\n2@COMMIT\ntransaction:t\nreceipt:c\n\n@");
    fake_decide(fake_message(0)->token, PG_OK);
    CU_ASSERT_TRUE(out(conn, ""));
    fake_decide(fake_message(1)->token, PG_OK);
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:c\n\n@"));
    in(conn, "BEGIN\ntransaction:t\n\n@SEND\ndestination:a\ntransaction:t\n\n1@"
             "COMMIT\ntransaction:t\nreceipt:d\n\n@");
    fake_decide(fake_message(2)->token, PG_NOT_AUTHORIZED);
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "d", "not_authorized"));
}

#define TRANSACTION                                                                                \
    "BEGIN\ntransaction:t\n\n@SEND\ndestination:a\ntransaction:t\n\n1@"                            \
    "SEND\ndestination:b\ntransaction:t\n\n2@COMMIT\ntransaction:t\nreceipt:c\n\n@"

static void nothing_of_a_transaction_is_published_unless_all_of_it_may_be(void)
{
    struct pg_conn *conn = client("1.2", "");
    fake_may_publish_result = PG_NOT_AUTHORIZED;
    in(conn, TRANSACTION);
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "c", "not_authorized"));
    /* The same when the rules answer later; the frames behind it wait. */
    fake_may_publish_result = PG_PENDING;
    conn = client("1.2", "");
    in(conn, TRANSACTION "SEND\ndestination:c\nreceipt:d\n\n@");
    CU_ASSERT_TRUE(fake_is_paused(conn));
    stomp_published(fake_client(conn), STOMP_WHETHER, PG_OK);
    CU_ASSERT_TRUE(out(conn, ""));
    stomp_published(fake_client(conn), STOMP_WHETHER, PG_NOT_AUTHORIZED);
    CU_ASSERT_TRUE(failed(conn, PG_NOT_AUTHORIZED, "c", "not_authorized"));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    conn = client("1.2", "");
    in(conn, TRANSACTION "SEND\ndestination:c\nreceipt:d\n\n@");
    stomp_published(fake_client(conn), STOMP_WHETHER, PG_OK);
    stomp_published(fake_client(conn), STOMP_WHETHER, PG_OK);
    fake_turn();
    CU_ASSERT_TRUE(out(conn, "RECEIPT\nreceipt-id:c\n\n@RECEIPT\nreceipt-id:d\n\n@"));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_EQUAL_FATAL(fake_message_count(), 3);
    CU_ASSERT_TRUE(is(published(1)->topic, "b"));
    CU_ASSERT_TRUE(is(published(2)->topic, "c"));
    in(conn, TRANSACTION); /* closing meanwhile */
    fake_break(conn);
    CU_ASSERT_EQUAL(fake_message_count(), 3);
}

static void transactions_are_bounded(void)
{
    conf()->transactions_max = 2;
    conf()->transaction_frames = 2;
    conf()->transaction_size = 1024;
    struct pg_conn *conn = client("1.2", "");
    in(conn, "BEGIN\ntransaction:1\n\n@BEGIN\ntransaction:2\n\n@BEGIN\ntransaction:3\n\n@");
    CU_ASSERT_TRUE(failed(conn, PG_QUOTA_EXCEEDED, "", "transactions_max"));
    conn = client("1.2", "");
    in(conn, "BEGIN\ntransaction:1\n\n@");
    for (int i = 0; i < 3; i++) {
        in(conn, "SEND\ndestination:a\ntransaction:1\n\n@");
    }
    CU_ASSERT_TRUE(failed(conn, PG_QUOTA_EXCEEDED, "", "transaction_frames"));
    conn = client("1.2", "");
    char text[ROOM];
    (void)snprintf(text, sizeof(text),
                   "BEGIN\ntransaction:1\n\n@BEGIN\ntransaction:2\n\n@"
                   "SEND\ndestination:a\ntransaction:1\n\n%0600d@"
                   "SEND\ndestination:a\ntransaction:2\n\n%0600d@",
                   1, 1);
    in(conn, text);
    CU_ASSERT_TRUE(failed(conn, PG_QUOTA_EXCEEDED, "", "transaction_size"));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void who_is_put_out_is_told_why(void)
{
    struct pg_conn *conn = client("1.2", "me");
    struct pg_conn *other = client("1.1", "me");
    CU_ASSERT_TRUE(failed(conn, PG_TAKEN_OVER, "", "taken_over"));
    fake_kick("me", PG_KICKED);
    CU_ASSERT_TRUE(failed(other, PG_KICKED, "", "kicked"));
    conn = client("1.2", "");
    fake_break(conn);
    CU_ASSERT_TRUE(out(conn, ""));
}

static void sniffing_knows_the_first_frame(void)
{
    static const struct {
        const char *head;
        enum pg_sniff sniff;
    } rows[] = {
        {"", PG_SNIFF_MORE},          {"C", PG_SNIFF_MORE},
        {"CONNECT", PG_SNIFF_MORE},   {"CONNECT\n", PG_SNIFF_YES},
        {"CONNECT\r", PG_SNIFF_MORE}, {"CONNECT\r\n", PG_SNIFF_YES},
        {"STOMP\nx", PG_SNIFF_YES},   {"\n\r\nSTOMP\n", PG_SNIFF_YES},
        {"\r", PG_SNIFF_MORE},        {"CONNECT http", PG_SNIFF_NO},
        {"SEND\n", PG_SNIFF_NO},      {"GET / ", PG_SNIFF_NO},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CU_ASSERT_EQUAL(stomp_protocol.sniff(pg_bytes_str(rows[i].head)), rows[i].sniff);
    }
}

static void configuration_is_checked(void)
{
    struct pg_error error;
    struct stomp_conf c = *conf();
    CU_ASSERT_TRUE(stomp_protocol.check(&c, &error));
    c.queue_group = "a/b";
    CU_ASSERT_FALSE(stomp_protocol.check(&c, &error));
    c = *conf();
    c.p2p_parent = "";
    CU_ASSERT_FALSE(stomp_protocol.check(&c, &error));
    c.p2p_parent = "$p";
    CU_ASSERT_FALSE(stomp_protocol.check(&c, &error));
    c = *conf();
    c.dead_letter = "a/#";
    CU_ASSERT_FALSE(stomp_protocol.check(&c, &error));
    c.dead_letter = "0123456789012345678901234567890123456789012345678901234567890123";
    CU_ASSERT_TRUE(stomp_protocol.check(&c, &error));
    c.dead_letter = "01234567890123456789012345678901234567890123456789012345678901234";
    CU_ASSERT_FALSE(stomp_protocol.check(&c, &error));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(version_is_the_highest_in_common),
        TEST(login_and_passcode_are_judged_as_they_were_sent),
        TEST(a_client_without_identifier_is_given_one),
        TEST(hosts_are_those_of_the_configuration),
        TEST(nothing_has_an_effect_before_connected),
        TEST(frames_that_may_not_come_close_with_a_reason),
        TEST(limits_are_smaller_before_connect),
        TEST(heartbeats_are_sent_early_enough_and_only_if_wanted),
        TEST(silence_is_borne_for_twice_the_interval_and_the_grace),
        TEST(heartbeat_header_is_two_numbers),
        TEST(headers_of_send_become_properties),
        TEST(receipt_tells_the_result_and_leaves_when_it_is_known),
        TEST(refused_send_is_an_error_with_its_receipt),
        TEST(a_client_with_too_many_results_out_is_not_read),
        TEST(transaction_is_seen_as_a_whole_or_not_at_all),
        TEST(commit_is_answered_when_all_its_results_are_known),
        TEST(nothing_of_a_transaction_is_published_unless_all_of_it_may_be),
        TEST(transactions_are_bounded),
        TEST(who_is_put_out_is_told_why),
        TEST(sniffing_knows_the_first_frame),
        TEST(configuration_is_checked),
        CU_TEST_INFO_NULL,
    };
    return stomp_suite("stomp_session", tests);
}
