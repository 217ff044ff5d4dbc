/* SPDX-License-Identifier: Apache-2.0 */

/* The MQTT frontend, packet by packet, on a core that answers what the test says: connecting,
 * publishing, subscribing, delivering as the standard describes them, and streams fed in every way.
 * The faults that other brokers have had are in test_mqtt_faults.c. */

#include "mqtt/mqtt_reason.h"
#include "mqtt_script.h"

/* ---- connecting ------------------------------------------------------------------------------ */

static void each_version_is_served_on_one_port(void)
{
    struct pg_conn *a = open_conn();
    feed(a, "10 .. 0006'MQIsdp' 03 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(a, "20 02 00 00"));
    struct pg_conn *b = v311("b");
    struct pg_conn *c = v5("c", "");
    CU_ASSERT_EQUAL(closed_for(a), PG_OK);
    CU_ASSERT_EQUAL(closed_for(b), PG_OK);
    CU_ASSERT_EQUAL(closed_for(c), PG_OK);
    CU_ASSERT_EQUAL(login_count(), 3);
}

static void login_carries_what_connect_says(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 c2 003c 08 11 00000e10 21 0014 0002'id' 0004'user' 0002'pw'");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_TRUE(is(last_login()->client_id, "id"));
    CU_ASSERT_TRUE(is(last_login()->username, "user"));
    CU_ASSERT_TRUE(is(last_login()->password, "pw"));
    CU_ASSERT_TRUE(last_login()->clean_start);
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, 3600);
    CU_ASSERT_EQUAL(last_login()->window, 20);
}

static void session_of_3_1_1_lives_as_its_clean_flag_says(void)
{
    v311("a");
    CU_ASSERT_TRUE(last_login()->clean_start);
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, 0);
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 00 003c 0001'b'");
    CU_ASSERT_FALSE(last_login()->clean_start);
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, PG_FOREVER);
    fake_break(conn);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 00 003c 0001'b'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 01 00")); /* session present */
}

static void packets_behind_connect_wait_for_admission(void)
{
    fake_hold_admissions = true;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 0d 0004'MQTT' 04 02 003c 0001'a' c000 c000");
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_kept(conn), 4);
    fake_admit_held();
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 00 d0 00 d0 00"));
}

static void refusal_has_the_code_of_the_version(void)
{
    static const struct {
        enum pg_reason reason;
        uint8_t v3, v5;
    } cases[] = {
        {PG_NOT_AUTHORIZED, 5, 0x87}, {PG_BAD_CREDENTIAL, 4, 0x86}, {PG_CLIENT_ID_INVALID, 2, 0x85},
        {PG_BANNED, 5, 0x8a},         {PG_BUSY, 3, 0x89},           {PG_STORE_FAILED, 3, 0x88},
        {PG_QUOTA_EXCEEDED, 3, 0x89}, {PG_DRAINING, 3, 0x88},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        login_verdict = cases[i].reason;
        fake_login = judge_login;
        struct pg_conn *conn = open_conn();
        feed(conn, "10 .. 0004'MQTT' 04 02 003c 0001'a'");
        CU_ASSERT_EQUAL(closed_for(conn), cases[i].reason);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, cases[i].v3));
        conn = open_conn();
        feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'");
        CU_ASSERT_EQUAL(closed_for(conn), cases[i].reason);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, cases[i].v5));
    }
}

static void unserved_version_is_told_so_and_malformed_connect_of_3_1_1_is_not(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 03 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 01"));
    CU_ASSERT_EQUAL(closed_for(conn), PG_VERSION_UNSUPPORTED);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 06 02 003c 00 0001'a'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x84));
    CU_ASSERT_EQUAL(closed_for(conn), PG_VERSION_UNSUPPORTED);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTX' 04 02 003c 0001'a'");
    CU_ASSERT_TRUE(silent(conn, PG_VERSION_UNSUPPORTED));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 03 003c 0001'a'");
    CU_ASSERT_TRUE(silent(conn, PG_MALFORMED));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 03 003c 00 0001'a'");
    CU_ASSERT_EQUAL(closed_for(conn), PG_MALFORMED);
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x81));
    conf()->allow_31 = false;
    conn = open_conn();
    feed(conn, "10 .. 0006'MQIsdp' 03 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 01"));
}

static void empty_identifier_is_assigned_or_refused_as_the_version_says(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0000");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(last_login()->client_id.len, 5 + 36);
    struct pg_bytes connack = fake_written(conn);
    bool told = false;
    for (size_t i = 5; i + 3 + 41 <= connack.len; i++) {
        told = told || (connack.data[i] == 0x12 && connack.data[i + 2] == 41 &&
                        memcmp(connack.data + i + 3, last_login()->client_id.data, 41) == 0);
    }
    CU_ASSERT_TRUE(told);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 003c 0000");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 00"));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 00 003c 0000");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 02"));
    conn = open_conn();
    feed(conn, "10 .. 0006'MQIsdp' 03 02 003c 0000");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 02"));
    conf()->empty_client_id = MQTT_EMPTY_ID_REFUSE;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0000");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x85));
}

static void connack_tells_what_differs_from_what_is_assumed(void)
{
    struct mqtt_conf *c = conf();
    c->receive_maximum = 20;
    c->max_packet_size = 60000;
    c->topic_alias_max = 10;
    c->keepalive_max = 30000;
    c->max_qos = 1;
    c->retain_available = c->wildcard_available = c->shared_available = false;
    c->subscription_id_available = false;
    c->response_information = "replies/";
    fake_session_expiry_max = 600;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 07 11 00000e10 19 01 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 .. 00 00 28 13 001e 22 000a 11 00000258 1a 0008'replies/'"
                               " 25 00 28 00 29 00 2a 00 27 0000ea60 21 0014 24 01"));
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 45000);
    /* With everything as a client assumes it, nothing is said. */
    renew();
    c = conf();
    c->receive_maximum = 65535;
    c->max_packet_size = MQTT_PACKET_MAX;
    c->topic_alias_max = 0;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
}

static void disconnect_discards_the_will_unless_it_says_otherwise(void)
{
    static const struct {
        const char *disconnect;
        size_t wills;
    } cases[] = {{"e0 00", 0}, {"e0 01 00", 0}, {"e0 01 04", 1}, {"e0 02 80 00", 1}};
    for (size_t i = 0; i < 4; i++) {
        renew();
        struct pg_conn *conn = open_conn();
        feed(conn, "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 00 0001'w' 0004'gone'");
        take(conn);
        feed(conn, cases[i].disconnect);
        CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
        CU_ASSERT_EQUAL(will_count(), cases[i].wills);
    }
    renew();
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 0e 003c 0001'a' 0001'w' 0004'gone'");
    fake_break(conn);
    CU_ASSERT_EQUAL_FATAL(will_count(), 1);
    CU_ASSERT_TRUE(is(will(0)->topic, "w"));
    CU_ASSERT_EQUAL(will(0)->qos, 1);
}

static void nothing_is_read_behind_disconnect(void)
{
    struct pg_conn *conn = v311("a");
    feed(conn, "e0 00 30 03 0001't' c0 00");
    CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
    CU_ASSERT_EQUAL(published_count(), 0);
}

static void drain_and_kick_say_goodbye_in_5_only(void)
{
    struct pg_conn *a = v5("a", ""), *b = v311("b"), *c = v5("c", "");
    pg_conn_close(a, PG_DRAINING, NULL);
    pg_conn_close(b, PG_DRAINING, NULL);
    pg_conn_close(c, PG_KICKED, NULL);
    CU_ASSERT_TRUE(disconnected(a, 0x8b, PG_DRAINING));
    CU_ASSERT_TRUE(silent(b, PG_DRAINING));
    CU_ASSERT_TRUE(disconnected(c, 0x98, PG_KICKED));
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void publish_becomes_a_message_with_everything_in_it(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "33 .. 0003't/1' 0007 29 01 01 02 0000003c 03 0001'c' 08 0001'r' 09 0002 0001"
               " 26 0001'x' 0001'1' 26 0001'a' 0001'2' 26 0001'x' 0001'3' 'payload'");
    CU_ASSERT_EQUAL_FATAL(published_count(), 1);
    const struct pg_msg *msg = published(0);
    CU_ASSERT_TRUE(is(msg->topic, "t/1"));
    CU_ASSERT_TRUE(is(msg->payload, "payload"));
    CU_ASSERT_TRUE(is(msg->publisher, "a"));
    CU_ASSERT_EQUAL(msg->qos, 1);
    CU_ASSERT_TRUE(msg->retain);
    CU_ASSERT_EQUAL(msg->expires_ms, pg_now_ms() + 60000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(msg->props);
    CU_ASSERT_TRUE(msg->props->payload_is_utf8);
    CU_ASSERT_TRUE(is(msg->props->content_type, "c"));
    CU_ASSERT_TRUE(is(msg->props->response_topic, "r"));
    CU_ASSERT_EQUAL(msg->props->correlation_data.len, 2);
    CU_ASSERT_EQUAL_FATAL(msg->props->user_count, 3);
    CU_ASSERT_TRUE(is(msg->props->user[0].value, "1"));
    CU_ASSERT_TRUE(is(msg->props->user[1].name, "a"));
    CU_ASSERT_TRUE(is(msg->props->user[2].value, "3"));
    CU_ASSERT_TRUE(wrote(conn, "40 02 0007"));
}

static void many_user_properties_all_arrive(void)
{
    struct pg_conn *conn = v5("a", "");
    char packet[ROOM] = "30 .. 0001't' 78";
    for (int i = 0; i < 24; i++) {
        strcat(packet, " 26 0000 0000");
    }
    feed(conn, packet);
    CU_ASSERT_EQUAL_FATAL(published_count(), 1);
    CU_ASSERT_EQUAL(published(0)->props->user_count, 24);
}

static void acknowledgement_waits_for_its_result_and_its_turn(void)
{
    struct pg_conn *conn = v311("a");
    fake_publish_result = PG_PENDING;
    feed(conn, "32 05 0001't' 0001 34 05 0001't' 0002 32 05 0001't' 0003");
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_EQUAL_FATAL(published_count(), 3);
    fake_publish_result = PG_OK;
    feed(conn, "32 05 0001't' 0004"); /* known at once, but the fourth */
    CU_ASSERT_TRUE(wrote(conn, ""));
    fake_decide(published_token(1), PG_OK);
    fake_decide(published_token(2), PG_NO_SUBSCRIBERS);
    CU_ASSERT_TRUE(wrote(conn, ""));
    fake_decide(published_token(0), PG_OK);
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001 50 02 0002 40 02 0003 40 02 0004"));
    feed(conn, "32 05 0001't' 0005");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0005"));
}

static void ring_of_acknowledgements_grows_and_wraps(void)
{
    struct pg_conn *conn = v311("a");
    fake_publish_result = PG_PENDING;
    size_t answered = 0, next = 1;
    char packet[64];
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 7; i++, next++) {
            snprintf(packet, sizeof(packet), "32 05 0001't' %04zx", next);
            feed(conn, packet);
        }
        for (int i = 0; i < (round < 30 ? 6 : 7); i++, answered++) {
            fake_decide(published_token(answered), PG_OK);
            snprintf(packet, sizeof(packet), "40 02 %04zx", answered + 1);
            CU_ASSERT_TRUE_FATAL(wrote(conn, packet));
        }
    }
}

static void refused_publish_says_why_in_5(void)
{
    struct pg_conn *conn = v5("a", "");
    fake_publish_result = PG_NO_SUBSCRIBERS;
    feed(conn, "32 .. 0001't' 0001 00");
    CU_ASSERT_TRUE(wrote(conn, "40 03 0001 10"));
    fake_publish_result = PG_NOT_AUTHORIZED;
    feed(conn, "32 .. 0001't' 0002 00");
    CU_ASSERT_TRUE(wrote_first(conn, 0x40, 4, 0x87));
    feed(conn, "34 .. 0001't' 0003 00");
    CU_ASSERT_TRUE(wrote_first(conn, 0x50, 4, 0x87));
    CU_ASSERT_EQUAL(pg_receipt_count(fake_client(conn)), 0);
    fake_publish_result = PG_QUOTA_EXCEEDED;
    feed(conn, "32 .. 0001't' 0004 00");
    CU_ASSERT_TRUE(wrote_first(conn, 0x40, 4, 0x97));
    feed(conn, "30 .. 0001't' 00"); /* QoS 0: dropped */
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    /* Without problem information the code alone is sent. */
    struct pg_conn *brief = v5("b", "17 00");
    feed(brief, "32 .. 0001't' 0001 00");
    CU_ASSERT_TRUE(wrote(brief, "40 03 0001 97"));
}

static void refused_publish_of_3_1_1_is_never_a_false_success(void)
{
    struct pg_conn *conn = v311("a");
    fake_publish_result = PG_STORE_FAILED;
    feed(conn, "32 05 0001't' 0001");
    CU_ASSERT_TRUE(silent(conn, PG_STORE_FAILED));
    conn = v311("b");
    fake_publish_result = PG_NOT_AUTHORIZED;
    feed(conn, "32 05 0001't' 0001");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001"));
    conf()->denied_publish_3x = MQTT_DENIED_CLOSE;
    feed(conn, "32 05 0001't' 0002");
    CU_ASSERT_TRUE(silent(conn, PG_NOT_AUTHORIZED));
}

static void payload_above_the_limit_is_refused_and_its_client_stays(void)
{
    conf()->max_payload = 2;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "32 .. 0001't' 0001 00 'ab'");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001"));
    feed(conn, "32 .. 0001't' 0002 00 'abc'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x40, 4, 0x97)); /* 95 may not stand in PUBACK */
    feed(conn, "34 .. 0001't' 0003 00 'abc'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x50, 4, 0x97));
    CU_ASSERT_EQUAL(pg_receipt_count(fake_client(conn)), 0);
    feed(conn, "30 .. 0001't' 00 'abc'"); /* QoS 0: dropped */
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_EQUAL(published_count(), 1);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    struct pg_conn *old = v311("b");
    feed(old, "32 .. 0001't' 0001 'abc'");
    CU_ASSERT_TRUE(wrote(old, "40 02 0001"));
    CU_ASSERT_EQUAL(published_count(), 1);
    conf()->denied_publish_3x = MQTT_DENIED_CLOSE;
    feed(old, "32 .. 0001't' 0002 'abc'");
    CU_ASSERT_TRUE(silent(old, PG_TOO_LARGE));
}

static void will_above_the_limit_is_refused(void)
{
    conf()->max_payload = 2;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 00 0001'w' 0003'abc'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x95));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 06 003c 0001'a' 0001'w' 0003'abc'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 05"));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 06 003c 0001'a' 0001'w' 0002'ab'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 00"));
}

static void versions_are_served_one_by_one(void)
{
    conf()->allow_311 = false;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 01"));
    conn = open_conn();
    feed(conn, "10 .. 0006'MQIsdp' 03 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 00"));
    conf()->allow_5 = false;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'b'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x84));
}

static void keep_alive_of_3_x_above_the_limit_is_kept_or_refused(void)
{
    conf()->keepalive_max = 60000;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 003d 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 00"));
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 91500);
    conf()->long_keepalive_3x = MQTT_LONG_KEEPALIVE_REFUSE;
    static const struct {
        const char *keepalive;
        uint8_t code;
    } cases[] = {{"003c", 0}, {"003d", 2}, {"0000", 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char packet[64], answer[16];
        (void)snprintf(packet, sizeof(packet), "10 .. 0004'MQTT' 04 02 %s 0001'b'",
                       cases[i].keepalive);
        (void)snprintf(answer, sizeof(answer), "20 02 00 %02x", cases[i].code);
        conn = open_conn();
        feed(conn, packet);
        CU_ASSERT_TRUE(wrote(conn, answer));
    }
}

static void wrong_password_may_be_told_as_not_authorized(void)
{
    login_verdict = PG_BAD_CREDENTIAL;
    fake_login = judge_login;
    conf()->denied_connect = MQTT_DENIED_AUTHORITY;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x87));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 003c 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 05"));
    login_verdict = PG_OK;
}

static void assigned_identifier_begins_as_configured(void)
{
    conf()->assigned_id_prefix = "g/";
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0000");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(last_login()->client_id.len, 2 + 36);
    CU_ASSERT_EQUAL(memcmp(last_login()->client_id.data, "g/", 2), 0);
    struct pg_error error;
    char longest[MQTT_ID_PREFIX_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[MQTT_ID_PREFIX_MAX] = '\0';
    conf()->assigned_id_prefix = longest;
    CU_ASSERT_TRUE(mqtt_protocol.check(conf(), &error));
    longest[MQTT_ID_PREFIX_MAX] = 'x';
    longest[MQTT_ID_PREFIX_MAX + 1] = '\0';
    CU_ASSERT_FALSE(mqtt_protocol.check(conf(), &error));
    conf()->assigned_id_prefix = "a\tb";
    CU_ASSERT_FALSE(mqtt_protocol.check(conf(), &error));
    conf()->assigned_id_prefix = "a\xff";
    CU_ASSERT_FALSE(mqtt_protocol.check(conf(), &error));
}

/* As many topics as there are aliases: each keeps its own, numbered in order. */
static void aliases_are_given_in_order_and_none_twice_while_there_are_any(void)
{
    conf()->topic_alias_send = 10;
    struct pg_conn *conn = v5("a", "22 000a");
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 1; i <= 10; i++) {
            char topic[16], packet[64];
            (void)snprintf(topic, sizeof(topic), "topic/%02u", i);
            if (round == 0) {
                (void)snprintf(packet, sizeof(packet), "30 .. 0008'%s' 03 23 00%02x 'x'", topic, i);
            } else {
                (void)snprintf(packet, sizeof(packet), "30 .. 0000 03 23 00%02x 'x'", i);
            }
            deliver(conn, topic, "x", 0);
            CU_ASSERT_TRUE(wrote(conn, packet));
        }
    }
    /* One more takes the alias of another, and is known by it. */
    deliver(conn, "topic/11", "x", 0);
    CU_ASSERT_TRUE(wrote_first(conn, 0x30, 2, 0));
    deliver(conn, "topic/11", "x", 0);
    CU_ASSERT_EQUAL(fake_written(conn).len, 2 + 2 + 4 + 1);
}

static void qos_2_is_published_once_however_often_it_is_sent(void)
{
    struct pg_conn *conn = v311("a");
    feed(conn, "34 05 0001't' 0001");
    feed(conn, "3c 05 0001't' 0001");
    CU_ASSERT_TRUE(wrote(conn, "50 02 0001 50 02 0001"));
    CU_ASSERT_EQUAL(published_count(), 1);
    feed(conn, "62 02 0001");
    CU_ASSERT_TRUE(wrote(conn, "70 02 0001"));
    feed(conn, "62 02 0001"); /* again: answered again */
    CU_ASSERT_TRUE(wrote(conn, "70 02 0001"));
    feed(conn, "34 05 0001't' 0001");
    CU_ASSERT_EQUAL(published_count(), 2);
    struct pg_conn *five = v5("b", "");
    feed(five, "62 02 0009");
    CU_ASSERT_TRUE(wrote(five, "70 03 0009 92"));
}

static void receipt_of_an_earlier_connection_takes_no_place_on_this_one(void)
{
    struct pg_conn *conn = v5("a", "11 ffffffff");
    feed(conn, "34 .. 0001't' 0001 00");
    fake_break(conn);
    conn = v5("a", "11 ffffffff");
    feed(conn, "62 02 0001");
    feed(conn, "32 .. 0001't' 0002 00");
    CU_ASSERT_TRUE(wrote(conn, "70 02 0001 40 02 0002"));
}

static void qos_2_that_waits_is_not_acknowledged_for_its_repetition(void)
{
    struct pg_conn *conn = v311("a");
    fake_publish_result = PG_PENDING;
    feed(conn, "34 05 0001't' 0001");
    feed(conn, "3c 05 0001't' 0001");
    CU_ASSERT_TRUE(wrote(conn, ""));
    fake_decide(published_token(0), PG_OK);
    CU_ASSERT_TRUE(wrote(conn, "50 02 0001"));
}

static void client_of_3_x_is_not_read_while_too_much_waits(void)
{
    conf()->receive_maximum = 4;
    struct pg_conn *conn = v311("a");
    fake_publish_result = PG_PENDING;
    feed(conn, "32 05 0001't' 0001 32 05 0001't' 0002 32 05 0001't' 0003 32 05 0001't' 0004"
               " 32 05 0001't' 0005");
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(published_count(), 4);
    fake_decide(published_token(0), PG_OK);
    fake_decide(published_token(1), PG_OK);
    fake_turn();
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(published_count(), 5);
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001 40 02 0002"));
}

static void unavailable_qos_and_retain_are_refused_by_their_codes(void)
{
    conf()->max_qos = 1;
    conf()->retain_available = false;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "34 .. 0001't' 0001 00");
    CU_ASSERT_TRUE(disconnected(conn, 0x9b, PG_UNSUPPORTED));
    conn = v5("a", "");
    feed(conn, "31 .. 0001't' 00");
    CU_ASSERT_TRUE(disconnected(conn, 0x9a, PG_UNSUPPORTED));
    CU_ASSERT_EQUAL(published_count(), 0);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 26 003c 00 0001'a' 00 0001'w' 0000");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x9a));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 16 003c 00 0001'a' 00 0001'w' 0000");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x9b));
}

static void payload_format_is_checked_if_wanted(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "32 .. 0001't' 0001 02 01 01 ff");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001"));
    conf()->check_payload_format = true;
    feed(conn, "32 .. 0001't' 0002 02 01 01 ff");
    CU_ASSERT_TRUE(wrote_first(conn, 0x40, 4, 0x99));
    feed(conn, "32 .. 0001't' 0003 02 01 00 ff");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0003"));
    feed(conn, "30 .. 0001't' 02 01 01 ff");
    CU_ASSERT_TRUE(disconnected(conn, 0x99, PG_PAYLOAD_INVALID));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 02 01 01 0001'w' 0001 ff");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x99));
    conf()->check_payload_format = false;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 02 01 01 0001'w' 0001 ff");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
}

/* ---- subscribing ----------------------------------------------------------------------------- */

static void subscribe_is_answered_filter_by_filter(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "82 .. 0001 02 0b 07 0001'a' 2d 0003'b/#' 02 0003'#/b' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0001 17 1f 0014'Topic Filter invalid' 01 02 8f"));
    CU_ASSERT_EQUAL_FATAL(subscription_count(), 2);
    const struct pg_subscription *s = fake_subscription(0);
    CU_ASSERT_TRUE(is(s[0].filter, "a"));
    CU_ASSERT_EQUAL(s[0].qos, 1);
    CU_ASSERT_TRUE(s[0].no_local && s[0].retain_as_published);
    CU_ASSERT_EQUAL(s[0].retain_handling, 2);
    CU_ASSERT_EQUAL(s[0].id, 7);
    CU_ASSERT_EQUAL(s[1].id, 7);
    fake_subscribe_result = PG_NOT_AUTHORIZED;
    feed(conn, "82 .. 0002 00 0001'a' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0002 23 1f 0020'the access rules do not allow it' 87"));
    conf()->denied_subscribe = MQTT_DENIED_UNSPECIFIED;
    feed(conn, "82 .. 0002 00 0001'a' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0002 14 1f 0011'Unspecified error' 80"));
    struct pg_conn *three = v311("b");
    feed(three, "82 .. 0003 0001'a' 00 0001'b' 01");
    CU_ASSERT_TRUE(wrote(three, "90 .. 0003 80 80"));
}

static void refused_subscription_may_look_like_a_granted_one(void)
{
    conf()->denied_subscribe = MQTT_DENIED_CONCEALED;
    fake_subscribe_result = PG_NOT_AUTHORIZED;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "82 .. 0001 00 0001'a' 02");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0001 00 02"));
    struct pg_conn *three = v311("b");
    feed(three, "82 .. 0002 0001'a' 01");
    CU_ASSERT_TRUE(wrote(three, "90 03 0002 01"));
    fake_subscribe_result = PG_QUOTA_EXCEEDED; /* any other refusal is told */
    feed(three, "82 .. 0003 0001'a' 01");
    CU_ASSERT_TRUE(wrote(three, "90 03 0003 80"));
}

static void topics_that_are_too_deep_are_refused_or_end_the_connection(void)
{
    fake_subscribe_result = PG_FILTER_INVALID;
    fake_publish_result = PG_TOPIC_INVALID;
    struct pg_conn *conn = v5("a", "17 00");
    feed(conn, "82 .. 0001 00 0001'a' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0001 00 8f"));
    feed(conn, "32 .. 0001't' 0002 00");
    CU_ASSERT_TRUE(wrote_first(conn, 0x40, 4, 0x90));
    conf()->invalid_topic = MQTT_INVALID_CLOSE;
    feed(conn, "82 .. 0003 00 0001'a' 00 0001'b' 00");
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_FILTER_INVALID));
    CU_ASSERT_EQUAL(subscription_count(), 2); /* and the second filter was not asked for */
    static const char *const packets[] = {"30 .. 0001't' 00", "32 .. 0001't' 0004 00",
                                          "34 .. 0001't' 0005 00"};
    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        conn = v5("b", "");
        feed(conn, packets[i]);
        CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_TOPIC_INVALID));
    }
    conn = v5("c", "");
    feed(conn, "82 .. 0001 00 0003'#/b' 00");
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_FILTER_INVALID));
    conn = v311("d");
    feed(conn, "82 .. 0001 0001'a' 00");
    CU_ASSERT_TRUE(silent(conn, PG_FILTER_INVALID));
}

static void suback_waits_for_every_answer_and_nothing_is_read_meanwhile(void)
{
    fake_subscribe_result = PG_PENDING;
    struct pg_conn *conn = v311("a");
    feed(conn, "82 0a 0001 0001'a' 01 0001'b' 02 c000");
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_TRUE(fake_is_paused(conn));
    fake_decide_subscription(fake_client(conn), 1, PG_OK);
    CU_ASSERT_TRUE(wrote(conn, ""));
    deliver(conn, "x", "y", 0); /* deliveries go on */
    CU_ASSERT_TRUE(wrote(conn, "30 04 0001'x' 'y'"));
    fake_decide_subscription(fake_client(conn), 0, PG_NOT_AUTHORIZED);
    fake_turn();
    CU_ASSERT_TRUE(wrote(conn, "90 04 0001 80 02 d0 00"));
}

static void what_is_not_offered_is_refused_by_its_code(void)
{
    struct mqtt_conf *c = conf();
    c->wildcard_available = c->shared_available = c->subscription_id_available = false;
    c->max_qos = 1;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "82 .. 0001 00 0001'#' 00 000a'$share/g/t' 00 000a'long/topic' 02");
    CU_ASSERT_TRUE(
        wrote(conn, "90 .. 0001 27 1f 0024'Wildcard Subscriptions not supported' a2 9e 01"));
    feed(conn, "82 .. 0001 02 0b 01 0001't' 00");
    CU_ASSERT_TRUE(disconnected(conn, 0xa1, PG_UNSUPPORTED));
}

static void many_filters_in_one_subscribe_are_all_answered(void)
{
    struct pg_conn *conn = v311("a");
    const size_t n = 5000;
    uint8_t *packet = malloc(8 + 4 * n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packet);
    size_t len = 2 + 4 * n, at = 0;
    packet[at++] = 0x82;
    for (size_t rest = len; rest > 0 || at == 1; rest >>= 7) {
        packet[at++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    }
    memcpy(packet + at, "\0\1", 2);
    at += 2;
    for (size_t i = 0; i < n; i++, at += 4) {
        memcpy(packet + at, "\0\1t\1", 4);
    }
    fake_feed(conn, (struct pg_bytes){packet, at});
    free(packet);
    struct pg_bytes out = fake_written(conn);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(out.len, 3 + 2 + n);
    CU_ASSERT_EQUAL(out.data[0], 0x90);
    CU_ASSERT_EQUAL(out.data[out.len - 1], 1);
}

/* ---- delivering ------------------------------------------------------------------------------ */

static void qos_1_and_2_go_their_whole_way(void)
{
    struct pg_conn *conn = v311("a");
    deliver(conn, "t", "1", 1);
    deliver(conn, "t", "2", 2);
    CU_ASSERT_TRUE(wrote(conn, "32 06 0001't' 0001 '1' 34 06 0001't' 0002 '2'"));
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 2);
    feed(conn, "40 02 0001");
    feed(conn, "50 02 0002");
    CU_ASSERT_TRUE(wrote(conn, "62 02 0002"));
    feed(conn, "70 02 0002");
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 0);
}

static void refused_delivery_is_over(void)
{
    struct pg_conn *conn = v5("a", "");
    deliver(conn, "t", "1", 1);
    deliver(conn, "t", "2", 2);
    take(conn);
    feed(conn, "40 03 0001 87");
    feed(conn, "50 03 0002 97");
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 0);
}

static void stray_acknowledgements_do_no_harm(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "40 02 0009 50 02 0009 70 02 0009");
    CU_ASSERT_TRUE(wrote(conn, "62 03 0009 92"));
    struct pg_conn *three = v311("b");
    feed(three, "40 02 0009 50 02 0009 70 02 0009");
    CU_ASSERT_TRUE(wrote(three, "62 02 0009"));
}

static void acknowledgement_must_be_the_one_that_is_due(void)
{
    struct pg_conn *conn = v5("a", "");
    deliver(conn, "t", "2", 2);
    take(conn);
    feed(conn, "70 02 0001"); /* PUBCOMP before PUBREC */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conn = v5("b", "");
    deliver(conn, "t", "2", 2);
    feed(conn, "50 02 0001");
    take(conn);
    feed(conn, "40 02 0001"); /* PUBACK in place of PUBCOMP */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    static const char *const wrong[] = {"50 02 0001", "70 02 0001"};
    for (size_t i = 0; i < 2; i++) {
        conn = v311(i == 0 ? "c" : "d");
        deliver(conn, "t", "1", 1);
        take(conn);
        feed(conn, wrong[i]);
        CU_ASSERT_TRUE(silent(conn, PG_PROTOCOL_ERROR));
    }
}

/* A message that many wait for is encoded once for those who get the same, and for nobody else. */
static void message_for_many_is_for_each_as_if_it_came_alone(void)
{
    static const struct {
        const char *props; /* of CONNECT; NULL: 3.1.1 */
        const char *packet;
        uint32_t subscription_id;
        uint8_t qos;
        bool retain;
    } many[] = {
        {NULL, "30 2b 0001't' 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
        {NULL, "30 2b 0001't' 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
        {NULL, "31 2b 0001't' 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, true},
        {NULL, "32 2d 0001't' 0001 'pppppppppppppppppppppppppppppppppppppppp'", 0, 1, false},
        {"", "30 2c 0001't' 00 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
        {"", "30 2c 0001't' 00 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
        {"", "31 2c 0001't' 00 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, true},
        {"", "30 2e 0001't' 02 0b 07 'pppppppppppppppppppppppppppppppppppppppp'", 7, 0, false},
        {"27 0000002d", "", 0, 0, false}, /* one byte too long */
        {"27 0000002e", "30 2c 0001't' 00 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
        {NULL, "30 2b 0001't' 'pppppppppppppppppppppppppppppppppppppppp'", 0, 0, false},
    };
    const size_t count = sizeof(many) / sizeof(many[0]);
    const struct pg_msg_spec spec = {.topic = PG_BYTES_OF("t"),
                                     .payload =
                                         PG_BYTES_OF("pppppppppppppppppppppppppppppppppppppppp"),
                                     .qos = 1};
    struct pg_msg *msg = pg_msg_new(&spec);
    for (unsigned i = 0; i < 10; i++) { /* others who wait for it */
        (void)pg_msg_ref(msg);
    }
    for (size_t i = 0; i < count; i++) {
        const char id[] = {(char)('a' + i), '\0'};
        struct pg_conn *conn = many[i].props != NULL ? v5(id, many[i].props) : v311(id);
        fake_queue(id_of(conn), pg_msg_ref(msg), many[i].qos, many[i].retain,
                   &many[i].subscription_id, many[i].subscription_id != 0 ? 1 : 0);
        fake_turn();
        CU_ASSERT_TRUE(wrote(conn, many[i].packet));
    }
    for (unsigned i = 0; i < 11; i++) {
        struct pg_msg *ref = msg;
        pg_msg_unref(&ref);
    }
}

static void properties_are_forwarded_in_order_with_what_is_the_subscribers_own(void)
{
    struct pg_conn *five = v5("a", ""), *three = v311("b");
    const struct pg_property user[] = {{PG_BYTES_OF("k"), PG_BYTES_OF("2")},
                                       {PG_BYTES_OF("k"), PG_BYTES_OF("1")}};
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("t"),
        .payload = PG_BYTES_OF("p"),
        .expires = true,
        .expiry_s = 60,
        .props = {.payload_is_utf8 = true,
                  .content_type = PG_BYTES_OF("c"),
                  .response_topic = PG_BYTES_OF("r"),
                  .correlation_data = PG_BYTES_OF("d"),
                  .user = user,
                  .user_count = 2},
    };
    struct pg_msg *msg = pg_msg_new(&spec);
    const uint32_t ids[] = {1, 200};
    fake_advance(10500);
    fake_queue(id_of(five), pg_msg_ref(msg), 0, true, ids, 2);
    fake_queue(id_of(three), msg, 0, false, ids, 2);
    fake_turn();
    CU_ASSERT_TRUE(wrote(five,
                         "31 .. 0001't' 26 0b 01 0b c801 01 01 03 0001'c' 08 0001'r' 09 0001'd'"
                         " 26 0001'k' 0001'2' 26 0001'k' 0001'1' 02 00000032 'p'"));
    CU_ASSERT_TRUE(wrote(three, "30 04 0001't' 'p'"));
}

static void long_payload_is_sent_whole(void)
{
    static const size_t sizes[] = {2030, 2043, 2044, 2045, 2048, 5000, 300000};
    struct pg_conn *conn = v311("a");
    uint8_t *payload = malloc(300000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(payload);
    memset(payload, 'x', 300000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct pg_msg_spec spec = {.topic = PG_BYTES_OF("t"),
                                         .payload = {.data = payload, .len = sizes[i]}};
        fake_queue(id_of(conn), pg_msg_new(&spec), 0, false, NULL, 0);
        fake_turn();
        struct mqtt_frame frame;
        struct pg_bytes out = fake_written(conn);
        CU_ASSERT_EQUAL_FATAL(mqtt_frame_next(out, MQTT_V311, MQTT_PACKET_MAX, &frame), MQTT_WHOLE);
        CU_ASSERT_EQUAL(frame.total, out.len);
        CU_ASSERT_EQUAL(frame.body.len, 3 + sizes[i]);
        CU_ASSERT_EQUAL(memcmp(frame.body.data + 3, payload, sizes[i]), 0);
        take(conn);
    }
    free(payload);
}

static void head_longer_than_a_reservation_is_sent_whole(void)
{
    struct pg_conn *conn = v5("a", "");
    static uint8_t topic[60000];
    memset(topic, 't', sizeof(topic));
    const struct pg_msg_spec spec = {.topic = {.data = topic, .len = sizeof(topic)},
                                     .payload = PG_BYTES_OF("p")};
    fake_queue(id_of(conn), pg_msg_new(&spec), 0, false, NULL, 0);
    fake_turn();
    CU_ASSERT_EQUAL(fake_written(conn).len, 1 + 3 + 2 + 60000 + 1 + 1);
}

static void nothing_is_taken_while_there_is_no_room(void)
{
    struct pg_conn *conn = v311("a");
    fake_full(conn, true);
    deliver(conn, "t", "1", 1);
    CU_ASSERT_TRUE(wrote(conn, ""));
    feed(conn, "c0 00"); /* answers may always be written */
    CU_ASSERT_TRUE(wrote(conn, "d0 00"));
    fake_full(conn, false);
    CU_ASSERT_TRUE(wrote(conn, "32 06 0001't' 0001 '1'"));
}

static void last_words_say_which_rule_was_broken(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "34 .. 0001't' 0000 00");
    CU_ASSERT_TRUE(wrote(conn, "e0 .. 82 1d 1f 001a 'the packet identifier is 0'"));
    conn = v5("a", "");
    pg_conn_close(conn, PG_KICKED, NULL);
    CU_ASSERT_TRUE(wrote(conn, "e0 .. 98 1d 1f 001a 'closed by an administrator'"));
}

/* ---- packet size ----------------------------------------------------------------------------- */

static void nothing_is_sent_that_the_client_does_not_take(void)
{
    struct pg_conn *conn = v5("a", "27 00000020");        /* 32 bytes */
    deliver(conn, "t", "123456789012345678901234567", 1); /* one too many */
    CU_ASSERT_TRUE(wrote(conn, ""));
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 0);
    CU_ASSERT_EQUAL(fake_counter("oversize"), 1);
    deliver(conn, "t", "1234567890123456789012", 1);
    CU_ASSERT_EQUAL(fake_written(conn).len, 2 + 3 + 2 + 1 + 22);
    take(conn);
    fake_publish_result = PG_NOT_AUTHORIZED;
    feed(conn, "32 .. 0001't' 0001 00"); /* the reason string is left out */
    CU_ASSERT_TRUE(wrote(conn, "40 03 0001 87"));
    feed(conn, "d0 00");
    CU_ASSERT_TRUE(wrote(conn, "e0 01 82"));
}

/* ---- streams --------------------------------------------------------------------------------- */

/* A whole life in one stream. */
static const char life[] = "10 0e 0004'MQTT' 05 02 003c 00 0001'a'"
                           " 82 07 0001 00 0001't' 02"
                           " 30 05 0001't' 00 'x'"
                           " 32 07 0001't' 0001 00 'y'"
                           " 34 07 0001't' 0002 00 'z' 62 02 0002"
                           " c0 00"
                           " a2 06 0003 00 0001't'"
                           " e0 00";

static void stream_is_handled_alike_whole_byte_by_byte_and_cut(void)
{
    uint8_t in[ROOM], whole[ROOM];
    struct pg_bytes stream = mqtt_hex(life, in, sizeof(in));
    struct pg_conn *conn = open_conn();
    fake_feed(conn, stream);
    CU_ASSERT_EQUAL(closed_for(conn), PG_CLIENT_CLOSED);
    CU_ASSERT_EQUAL(published_count(), 3);
    size_t len = fake_written(conn).len;
    memcpy(whole, fake_written(conn).data, len);

    renew();
    conn = open_conn();
    for (size_t i = 0; i < stream.len; i++) {
        fake_feed(conn, (struct pg_bytes){stream.data + i, 1});
    }
    CU_ASSERT_EQUAL(published_count(), 3);
    CU_ASSERT_TRUE(pg_bytes_equal(fake_written(conn), (struct pg_bytes){whole, len}));

    for (size_t cut = 0; cut <= stream.len; cut++) {
        renew();
        conn = open_conn();
        fake_feed(conn, (struct pg_bytes){stream.data, cut});
        fake_feed(conn, (struct pg_bytes){stream.data + cut, stream.len - cut});
        CU_ASSERT_EQUAL(published_count(), 3);
        CU_ASSERT_TRUE(pg_bytes_equal(fake_written(conn), (struct pg_bytes){whole, len}));
    }
}

static void thousands_of_packets_in_one_segment_are_all_handled(void)
{
    struct pg_conn *conn = v311("a");
    const size_t n = 5000;
    uint8_t *segment = malloc(n * 7);
    CU_ASSERT_PTR_NOT_NULL_FATAL(segment);
    for (size_t i = 0; i < n; i++) {
        const uint8_t packet[] = {0x32, 5, 0, 1, 't', (uint8_t)((i + 1) >> 8), (uint8_t)(i + 1)};
        memcpy(segment + i * 7, packet, 7);
    }
    fake_feed(conn, (struct pg_bytes){segment, n * 7});
    free(segment);
    CU_ASSERT_EQUAL(published_count(), n);
    CU_ASSERT_EQUAL(fake_written(conn).len, n * 4);
}

static void sniff_knows_mqtt_by_its_first_bytes(void)
{
    static const struct {
        const char *head;
        enum pg_sniff verdict;
    } cases[] = {
        {"", PG_SNIFF_MORE},
        {"10", PG_SNIFF_MORE},
        {"10 0d", PG_SNIFF_MORE},
        {"10 8d 01", PG_SNIFF_MORE},
        {"10 0d 00", PG_SNIFF_MORE},
        {"10 0d 00 04", PG_SNIFF_MORE},
        {"10 0d 00 04 'M'", PG_SNIFF_YES},
        {"10 8d 01 00 06 'MQ'", PG_SNIFF_YES},
        {"10 0d 00 05", PG_SNIFF_NO},
        {"10 0d 01", PG_SNIFF_NO},
        {"10 0d 00 04 'S'", PG_SNIFF_NO},
        {"11", PG_SNIFF_NO},
        {"'GET /'", PG_SNIFF_NO},
        {"7e", PG_SNIFF_NO},
        {"'##'", PG_SNIFF_NO},
        {"10 ff ff ff ff", PG_SNIFF_NO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t buffer[32];
        enum pg_sniff got = mqtt_protocol.sniff(mqtt_hex(cases[i].head, buffer, sizeof(buffer)));
        if (got != cases[i].verdict) {
            printf("\n    %s: %d\n", cases[i].head, got);
        }
        CU_ASSERT_EQUAL(got, cases[i].verdict);
    }
}

static void every_reason_has_codes_that_their_packets_may_carry(void)
{
    for (unsigned i = 0; i < PG_REASON_COUNT; i++) {
        const struct mqtt_reason_codes *c = mqtt_reason_codes((enum pg_reason)i);
        CU_ASSERT_TRUE(mqtt_code_allowed(c->connack, MQTT_CONNACK, MQTT_FROM_SERVER));
        CU_ASSERT_TRUE(mqtt_code_allowed(c->disconnect, MQTT_DISCONNECT, MQTT_FROM_SERVER));
        CU_ASSERT_TRUE(mqtt_code_allowed(c->ack, MQTT_PUBACK, MQTT_FROM_SERVER));
        CU_ASSERT_TRUE(mqtt_code_allowed(c->ack, MQTT_PUBREC, MQTT_FROM_SERVER));
        CU_ASSERT_TRUE(mqtt_code_allowed(c->suback, MQTT_SUBACK, MQTT_FROM_SERVER));
        CU_ASSERT_TRUE(c->connack_3x <= 5);
        CU_ASSERT_EQUAL(c->connack == 0, i == PG_OK); /* each reason has a row */
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(each_version_is_served_on_one_port),
        TEST(login_carries_what_connect_says),
        TEST(session_of_3_1_1_lives_as_its_clean_flag_says),
        TEST(packets_behind_connect_wait_for_admission),
        TEST(refusal_has_the_code_of_the_version),
        TEST(unserved_version_is_told_so_and_malformed_connect_of_3_1_1_is_not),
        TEST(empty_identifier_is_assigned_or_refused_as_the_version_says),
        TEST(connack_tells_what_differs_from_what_is_assumed),
        TEST(disconnect_discards_the_will_unless_it_says_otherwise),
        TEST(nothing_is_read_behind_disconnect),
        TEST(drain_and_kick_say_goodbye_in_5_only),
        TEST(publish_becomes_a_message_with_everything_in_it),
        TEST(many_user_properties_all_arrive),
        TEST(acknowledgement_waits_for_its_result_and_its_turn),
        TEST(ring_of_acknowledgements_grows_and_wraps),
        TEST(refused_publish_says_why_in_5),
        TEST(refused_publish_of_3_1_1_is_never_a_false_success),
        TEST(payload_above_the_limit_is_refused_and_its_client_stays),
        TEST(will_above_the_limit_is_refused),
        TEST(versions_are_served_one_by_one),
        TEST(keep_alive_of_3_x_above_the_limit_is_kept_or_refused),
        TEST(wrong_password_may_be_told_as_not_authorized),
        TEST(assigned_identifier_begins_as_configured),
        TEST(aliases_are_given_in_order_and_none_twice_while_there_are_any),
        TEST(qos_2_is_published_once_however_often_it_is_sent),
        TEST(receipt_of_an_earlier_connection_takes_no_place_on_this_one),
        TEST(qos_2_that_waits_is_not_acknowledged_for_its_repetition),
        TEST(client_of_3_x_is_not_read_while_too_much_waits),
        TEST(unavailable_qos_and_retain_are_refused_by_their_codes),
        TEST(payload_format_is_checked_if_wanted),
        TEST(subscribe_is_answered_filter_by_filter),
        TEST(refused_subscription_may_look_like_a_granted_one),
        TEST(topics_that_are_too_deep_are_refused_or_end_the_connection),
        TEST(suback_waits_for_every_answer_and_nothing_is_read_meanwhile),
        TEST(what_is_not_offered_is_refused_by_its_code),
        TEST(many_filters_in_one_subscribe_are_all_answered),
        TEST(qos_1_and_2_go_their_whole_way),
        TEST(refused_delivery_is_over),
        TEST(message_for_many_is_for_each_as_if_it_came_alone),
        TEST(stray_acknowledgements_do_no_harm),
        TEST(acknowledgement_must_be_the_one_that_is_due),
        TEST(properties_are_forwarded_in_order_with_what_is_the_subscribers_own),
        TEST(long_payload_is_sent_whole),
        TEST(head_longer_than_a_reservation_is_sent_whole),
        TEST(nothing_is_taken_while_there_is_no_room),
        TEST(last_words_say_which_rule_was_broken),
        TEST(nothing_is_sent_that_the_client_does_not_take),
        TEST(stream_is_handled_alike_whole_byte_by_byte_and_cut),
        TEST(thousands_of_packets_in_one_segment_are_all_handled),
        TEST(sniff_knows_mqtt_by_its_first_bytes),
        TEST(every_reason_has_codes_that_their_packets_may_carry),
        CU_TEST_INFO_NULL,
    };
    return mqtt_suite("mqtt_session", tests);
}
