/* SPDX-License-Identifier: Apache-2.0 */

/* Normative statements of MQTT that no other test shows by itself; which test shows which statement
 * is listed in polygate-mqtt(7). */

#include "mqtt_script.h"

/* CONNACK with no property but what the test is about. */
static void say_little(void)
{
    conf()->receive_maximum = 65535;
    conf()->max_packet_size = MQTT_PACKET_MAX;
    conf()->topic_alias_max = 0;
}

static void response_information_is_given_to_those_who_ask(void)
{
    say_little();
    conf()->response_information = "r/";
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 02 19 00 0001'b'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 02 19 01 0001'c'");
    CU_ASSERT_TRUE(wrote(conn, "20 .. 00 00 05 1a 0002'r/'"));
}

static void without_problem_information_reasons_have_no_words(void)
{
    struct pg_conn *conn = v5("a", "17 00");
    fake_publish_result = PG_NOT_AUTHORIZED;
    fake_subscribe_result = PG_NOT_AUTHORIZED;
    feed(conn, "32 .. 0001't' 0001 00");
    CU_ASSERT_TRUE(wrote(conn, "40 03 0001 87"));
    feed(conn, "34 .. 0001't' 0002 00");
    CU_ASSERT_TRUE(wrote(conn, "50 03 0002 87"));
    feed(conn, "82 .. 0003 00 0001't' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0003 00 87"));
    feed(conn, "a2 .. 0004 00 0002'#a'");
    CU_ASSERT_TRUE(wrote(conn, "b0 .. 0004 00 8f"));
    feed(conn, "c1 00"); /* DISCONNECT may have them */
    CU_ASSERT_TRUE(fake_written(conn).len > 4);
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_MALFORMED));
    renew();
    conf()->reason_strings = false;
    conn = v5("a", "");
    feed(conn, "c1 00");
    CU_ASSERT_TRUE(wrote(conn, "e0 01 81"));
}

static void words_that_make_a_packet_too_long_are_left_out(void)
{
    struct pg_conn *conn = v5("a", "27 00000020"); /* 32 bytes */
    fake_subscribe_result = PG_NOT_AUTHORIZED;
    feed(conn, "82 .. 0003 00 0001't' 00");
    CU_ASSERT_TRUE(wrote(conn, "90 .. 0003 00 87"));
    renew();
    conn = v5("a", "27 00000018"); /* 24 bytes */
    feed(conn, "a2 .. 0004 00 0002'#a' 0001'b'");
    CU_ASSERT_TRUE(wrote(conn, "b0 .. 0004 00 8f 11"));
}

static void identifiers_of_23_letters_and_digits_are_taken(void)
{
    static const char *const ids[] = {"0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ",
                                      "KLMNOPQRSTUVWXYZ0123456", "x"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct pg_conn *conn = v311(ids[i]);
        CU_ASSERT_TRUE(is(last_login()->client_id, ids[i]));
        conn = v5(ids[i], "");
        CU_ASSERT_TRUE(is(last_login()->client_id, ids[i]));
        CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    }
}

static void will_is_published_as_it_was_given(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 2e 003c 00 0001'a'"
               " 0f 01 00 26 0001'z' 0001'1' 26 0001'a' 0001'2' 0001'w' 0002'pl'");
    CU_ASSERT_EQUAL(closed_for(conn), PG_MALFORMED); /* the length does not fit */
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 2e 003c 00 0001'a'"
               " 10 01 00 26 0001'z' 0001'1' 26 0001'a' 0001'2' 0001'w' 0002'pl'");
    CU_ASSERT_EQUAL_FATAL(closed_for(conn), PG_OK);
    fake_break(conn);
    CU_ASSERT_EQUAL_FATAL(will_count(), 1);
    CU_ASSERT_TRUE(is(will(0)->topic, "w"));
    CU_ASSERT_TRUE(is(will(0)->payload, "pl"));
    CU_ASSERT_EQUAL(will(0)->qos, 1);
    CU_ASSERT_TRUE(will(0)->retain);
    CU_ASSERT_PTR_NOT_NULL_FATAL(will(0)->props);
    CU_ASSERT_TRUE(will(0)->props->payload_is_bytes);
    CU_ASSERT_EQUAL_FATAL(will(0)->props->user_count, 2);
    CU_ASSERT_TRUE(is(will(0)->props->user[0].name, "z"));
    CU_ASSERT_TRUE(is(will(0)->props->user[1].name, "a"));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 06 003c 0001'b' 0001'w' 0000");
    fake_break(conn);
    CU_ASSERT_EQUAL_FATAL(will_count(), 2);
    CU_ASSERT_FALSE(will(1)->retain);
    CU_ASSERT_EQUAL(will(1)->qos, 0);
    fake_break(v311("c")); /* without a will there is none */
    CU_ASSERT_EQUAL(will_count(), 2);
}

static void nothing_behind_a_refused_connect_is_handled(void)
{
    login_verdict = PG_NOT_AUTHORIZED;
    fake_login = judge_login;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 0d 0004'MQTT' 04 02 003c 0001'a' 30 03 0001't' c000");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 05")); /* session present is 0 */
    CU_ASSERT_EQUAL(closed_for(conn), PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(published_count(), 0);
    feed(conn, "30 03 0001't'");
    CU_ASSERT_EQUAL(published_count(), 0);
    CU_ASSERT_TRUE(wrote(conn, ""));
}

static void clean_start_is_told_as_no_session(void)
{
    say_little();
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 00 003c 05 11 ffffffff 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
    fake_break(conn);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 00 003c 05 11 ffffffff 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 01 00 00"));
    fake_break(conn);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 05 11 ffffffff 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
}

static void wills_beyond_what_is_offered_are_refused_by_their_codes(void)
{
    conf()->max_qos = 1;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 16 003c 00 0001'a' 00 0001'w' 0000");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x9b));
    conf()->retain_available = false;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 26 003c 00 0001'a' 00 0001'w' 0000");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x9a));
    CU_ASSERT_EQUAL(login_count(), 0);
}

static void payload_format_goes_on_as_it_came(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "30 .. 0001't' 02 01 00");
    feed(conn, "30 .. 0001't' 02 01 01 'x'");
    CU_ASSERT_EQUAL_FATAL(published_count(), 2);
    fake_queue("a", pg_msg_ref(message(false, 0)->msg), 0, false, NULL, 0);
    fake_queue("a", pg_msg_ref(message(false, 1)->msg), 0, false, NULL, 0);
    fake_turn();
    CU_ASSERT_TRUE(wrote(conn, "30 06 0001't' 02 01 00 30 07 0001't' 02 01 01 'x'"));
}

static void topic_aliases_end_with_their_connection(void)
{
    struct pg_conn *conn = v5("a", "11 ffffffff 22 0005");
    feed(conn, "30 .. 0005'topic' 03 23 0001");
    feed(conn, "30 .. 0000 03 23 0001");
    CU_ASSERT_EQUAL(published_count(), 2);
    deliver(conn, "topic", "x", 0);
    CU_ASSERT_EQUAL(fake_written(conn).len, 2 + 2 + 5 + 4 + 1); /* topic and alias */
    take(conn);
    deliver(conn, "topic", "x", 0);
    CU_ASSERT_EQUAL(fake_written(conn).len, 2 + 2 + 4 + 1); /* alias alone */
    fake_break(conn);
    conn = v5("a", "11 ffffffff 22 0005");
    deliver(conn, "topic", "x", 0);
    CU_ASSERT_EQUAL(fake_written(conn).len, 2 + 2 + 5 + 4 + 1);
    take(conn);
    feed(conn, "30 .. 0000 03 23 0001");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    CU_ASSERT_EQUAL(published_count(), 2);
}

static void other_packets_do_not_wait_for_the_window(void)
{
    struct pg_conn *conn = v5("a", "21 0001");
    deliver(conn, "t", "1", 1);
    deliver(conn, "t", "2", 1);
    take(conn);
    feed(conn, "c000 82 07 0001 00 0001't' 00 32 06 0001't' 0009 00");
    CU_ASSERT_TRUE(wrote(conn, "d000 90 04 0001 00 00 40 02 0009"));
    feed(conn, "40 02 0001");
    CU_ASSERT_TRUE(fake_written(conn).len > 0);
}

static void identifier_is_free_after_its_last_acknowledgement(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "32 .. 0001't' 0001 00 '1'");
    feed(conn, "3a .. 0001't' 0001 00 '2'"); /* DUP means nothing now */
    CU_ASSERT_TRUE(wrote(conn, "40 02 0001 40 02 0001"));
    CU_ASSERT_EQUAL(published_count(), 2);
    feed(conn, "34 .. 0001't' 0001 00 '3'");
    feed(conn, "62 02 0001");
    feed(conn, "34 .. 0001't' 0001 00 '4'");
    CU_ASSERT_TRUE(wrote(conn, "50 02 0001 70 02 0001 50 02 0001"));
    CU_ASSERT_EQUAL(published_count(), 4);
    feed(conn, "62 02 0001");
    take(conn);
    fake_publish_result = PG_QUOTA_EXCEEDED;
    feed(conn, "34 .. 0001't' 0001 00 '5'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x50, 4, 0x97));
    fake_publish_result = PG_OK;
    feed(conn, "3c .. 0001't' 0001 00 '5'"); /* refused: this is a new one */
    CU_ASSERT_TRUE(wrote(conn, "50 02 0001"));
    CU_ASSERT_EQUAL(published_count(), 5);
}

static void server_reference_goes_with_the_shutdown(void)
{
    conf()->server_reference = "b:1883";
    struct pg_conn *conn = v5("a", "");
    pg_conn_close(conn, PG_DRAINING, NULL);
    fake_turn();
    struct pg_bytes got = fake_written(conn);
    CU_ASSERT_TRUE_FATAL(got.len > 12);
    CU_ASSERT_EQUAL(got.data[0], 0xe0);
    CU_ASSERT_EQUAL(got.data[2], 0x9c);
    CU_ASSERT_EQUAL(got.data[4], 0x1c);
    CU_ASSERT_EQUAL(memcmp(got.data + 5, "\0\6b:1883", 8), 0);
    take(conn);
    login_verdict = PG_DRAINING;
    fake_login = judge_login;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'b'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x9c));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 003c 0001'b'");
    CU_ASSERT_TRUE(wrote(conn, "20 02 00 03"));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(response_information_is_given_to_those_who_ask),
        TEST(without_problem_information_reasons_have_no_words),
        TEST(words_that_make_a_packet_too_long_are_left_out),
        TEST(identifiers_of_23_letters_and_digits_are_taken),
        TEST(will_is_published_as_it_was_given),
        TEST(nothing_behind_a_refused_connect_is_handled),
        TEST(clean_start_is_told_as_no_session),
        TEST(wills_beyond_what_is_offered_are_refused_by_their_codes),
        TEST(payload_format_goes_on_as_it_came),
        TEST(topic_aliases_end_with_their_connection),
        TEST(other_packets_do_not_wait_for_the_window),
        TEST(identifier_is_free_after_its_last_acknowledgement),
        TEST(server_reference_goes_with_the_shutdown),
        CU_TEST_INFO_NULL,
    };
    return mqtt_suite("mqtt_statements", tests);
}
