/* SPDX-License-Identifier: Apache-2.0 */

/* Faults that other brokers have had, each a test named for what must hold instead, as far as they
 * are the frontend's matter. What is the core's (retained and shared subscriptions M16, M17; access
 * M14, M18, M19; topics of many levels M22) is in tests/e2e/test_mqtt_faults.py. */

#include "mqtt_script.h"

/* ---- the faults that others have had --------------------------------------------------------- */

static void m1_connect_is_limited_before_login_as_soon_as_its_length_is_known(void)
{
    struct pg_conn *conn = open_conn();
    CU_ASSERT_EQUAL(fake_view(conn).frame_limit, 16384);
    feed(conn, "10 fd 7f"); /* 16,384 in all: allowed */
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(fake_view(conn).expected, 16384);
    conn = open_conn();
    feed(conn, "10 fe 7f");
    CU_ASSERT_TRUE(silent(conn, PG_TOO_LARGE));
    conn = open_conn();
    feed(conn, "10 ff ff ff 7f");
    CU_ASSERT_TRUE(silent(conn, PG_TOO_LARGE));
    conn = v311("a");
    CU_ASSERT_EQUAL(fake_view(conn).frame_limit, 1048576);
    feed(conn, "30 fc ff 3f"); /* 1,048,576 in all */
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    conn = v5("b", "");
    feed(conn, "30 fd ff 3f");
    CU_ASSERT_TRUE(disconnected(conn, 0x95, PG_TOO_LARGE));
}

static void m2_remaining_length_has_one_to_four_bytes(void)
{
    conf()->max_packet_size = MQTT_PACKET_MAX;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "30 ff ff ff 7f");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(fake_view(conn).expected, 268435460);
    conn = v5("b", "");
    feed(conn, "30 ff ff ff ff");
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_MALFORMED));
}

static void m3_more_than_the_receive_maximum_ends_the_connection(void)
{
    conf()->receive_maximum = 2;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "34 .. 0001't' 0001 00");
    feed(conn, "34 .. 0001't' 0002 00");
    feed(conn, "30 .. 0001't' 00"); /* QoS 0 does not count */
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    feed(conn, "32 .. 0001't' 0003 00");
    CU_ASSERT_EQUAL(closed_for(conn), PG_RECEIVE_MAXIMUM);
    conn = v5("b", "");
    feed(conn, "34 .. 0001't' 0001 00");
    feed(conn, "34 .. 0001't' 0002 00");
    feed(conn, "62 02 0001");
    take(conn);
    feed(conn, "32 .. 0001't' 0003 00"); /* its place is free again, and free at once */
    feed(conn, "32 .. 0001't' 0004 00");
    CU_ASSERT_TRUE(wrote(conn, "40 02 0003 40 02 0004"));
    feed(conn, "34 .. 0001't' 0005 00");
    take(conn);
    size_t before = published_count();
    feed(conn, "34 .. 0001't' 0006 00");
    CU_ASSERT_EQUAL(published_count(), before);
    CU_ASSERT_TRUE(disconnected(conn, 0x93, PG_RECEIVE_MAXIMUM));
    /* Refused ones give their place back. */
    conn = v5("c", "");
    fake_publish_result = PG_NOT_AUTHORIZED;
    for (int i = 0; i < 10; i++) {
        feed(conn, "34 .. 0001't' 0001 00");
        feed(conn, "32 .. 0001't' 0002 00");
    }
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
}

static void m4_zero_maxima_are_protocol_errors_and_the_largest_work(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 03 21 0000 0001'a'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x82));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 05 27 00000000 0001'a'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x82));
    conn = v5("a", "21 ffff 27 ffffffff");
    CU_ASSERT_EQUAL(last_login()->window, 65535);
    deliver(conn, "t", "x", 1);
    CU_ASSERT_TRUE(wrote(conn, "32 07 0001't' 0001 00 'x'"));
}

static void m5_send_quota_starts_anew_with_the_connection(void)
{
    struct pg_conn *conn = v5("a", "11 ffffffff 21 0001");
    deliver(conn, "t", "1", 1);
    deliver(conn, "t", "2", 1);
    CU_ASSERT_TRUE(wrote(conn, "32 07 0001't' 0001 00 '1'"));
    fake_break(conn);
    conn = v5("a", "11 ffffffff 21 0002");
    CU_ASSERT_EQUAL(last_login()->window, 2);
    fake_turn();
    CU_ASSERT_TRUE(wrote(conn, ""));
}

static void m6_subscription_identifier_from_a_client_is_a_protocol_error(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "30 .. 0001't' 02 0b 01");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    CU_ASSERT_EQUAL(published_count(), 0);
}

static void m7_broken_subscription_options_are_errors(void)
{
    static const struct {
        const char *packet;
        uint8_t code;
    } cases[] = {
        {"82 .. 0001 00 000a'$share/g/t' 04", 0x82},
        {"82 .. 0001 00 0001't' 03", 0x82},
        {"82 .. 0001 00 0001't' 30", 0x82},
        {"82 .. 0001 00 0001't' 40", 0x81},
        {"82 .. 0001 00 0001't' 00 0001'u' 80", 0x81},
    };
    for (size_t i = 0; i < 5; i++) {
        struct pg_conn *conn = v5("a", "");
        feed(conn, cases[i].packet);
        CU_ASSERT_TRUE(disconnected(conn, cases[i].code,
                                    cases[i].code == 0x82 ? PG_PROTOCOL_ERROR : PG_MALFORMED));
    }
    CU_ASSERT_EQUAL(subscription_count(), 0); /* not even the good one before */
}

static void m8_packet_identifier_zero_closes(void)
{
    static const char *const packets[] = {"82 .. 0000 0001't' 00", "a2 .. 0000 0001't'",
                                          "32 .. 0001't' 0000", "34 .. 0001't' 0000"};
    for (size_t i = 0; i < 4; i++) {
        struct pg_conn *conn = v311("a");
        feed(conn, packets[i]);
        CU_ASSERT_TRUE(silent(conn, PG_PROTOCOL_ERROR));
    }
    static const struct {
        const char *packet;
        uint8_t code;
    } cases[] = {{"82 .. 0000 00 0001't' 00", 0x81},
                 {"a2 .. 0000 00 0001't'", 0x81},
                 {"32 .. 0001't' 0000 00", 0x82}};
    for (size_t i = 0; i < 3; i++) {
        struct pg_conn *conn = v5("a", "");
        feed(conn, cases[i].packet);
        CU_ASSERT_TRUE(disconnected(conn, cases[i].code, PG_PROTOCOL_ERROR));
    }
}

static void m9_packets_that_a_client_may_not_send_close(void)
{
    static const char *const packets[] = {"20 02 00 00", "90 03 0001 00",
                                          "b0 02 0001",  "d0 00",
                                          "00 00",       "10 0d 0004'MQTT' 04 02 003c 0001'a'"};
    for (size_t i = 0; i < 6; i++) {
        struct pg_conn *conn = v5("a", "");
        size_t logins = login_count();
        feed(conn, packets[i]);
        CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
        CU_ASSERT_EQUAL(login_count(), logins);
        conn = open_conn();
        if (i < 5) { /* before CONNECT: not a word */
            feed(conn, packets[i]);
            CU_ASSERT_TRUE(silent(conn, PG_PROTOCOL_ERROR));
        }
    }
    struct pg_conn *conn = v311("b");
    feed(conn, "f0 00");
    CU_ASSERT_TRUE(silent(conn, PG_PROTOCOL_ERROR));
    conn = v5("c", "");
    feed(conn, "f0 .. 19 04 15 0001'm'");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 04 16 0001 00 0001'a'");
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x82));
}

static void m10_short_forms_of_acknowledgements_and_disconnect_are_legal(void)
{
    static const char *const forms[] = {"02 0001", "03 0001 00", "04 0001 00 00"};
    for (size_t i = 0; i < 3; i++) {
        renew();
        struct pg_conn *conn = v5("a", "");
        char packet[64];
        deliver(conn, "t", "x", 1);
        snprintf(packet, sizeof(packet), "40 %s", forms[i]);
        feed(conn, packet);
        CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 0);
        feed(conn, "34 .. 0001't' 0001 00");
        take(conn);
        snprintf(packet, sizeof(packet), "62 %s", forms[i]);
        feed(conn, packet);
        CU_ASSERT_TRUE(wrote(conn, "70 02 0001"));
        static const char *const byes[] = {"e0 00", "e0 01 00", "e0 02 00 00"};
        feed(conn, byes[i]);
        CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
    }
}

static void m11_topic_aliases_are_judged_by_their_own_codes(void)
{
    conf()->topic_alias_max = 10;
    struct pg_conn *conn = v5("a", "");
    feed(conn, "30 .. 0002'aa' 03 23 0001");
    feed(conn, "30 .. 0000 03 23 0001");
    feed(conn, "30 .. 0003'bbb' 03 23 0001"); /* means another topic from now on */
    feed(conn, "30 .. 0000 03 23 0001");
    feed(conn, "30 .. 0001'c' 03 23 000a");
    feed(conn, "30 .. 0000 03 23 000a");
    CU_ASSERT_EQUAL_FATAL(published_count(), 6);
    static const char *const topics[] = {"aa", "aa", "bbb", "bbb", "c", "c"};
    for (size_t i = 0; i < 6; i++) {
        CU_ASSERT_TRUE(is(published(i)->topic, topics[i]));
    }
    feed(conn, "30 .. 0000 03 23 0002"); /* never set */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conn = v5("a", ""); /* aliases end with the connection */
    feed(conn, "30 .. 0000 03 23 0001");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conn = v5("a", "");
    feed(conn, "30 .. 0001't' 03 23 0000");
    CU_ASSERT_TRUE(disconnected(conn, 0x94, PG_TOPIC_ALIAS_INVALID));
    conn = v5("a", "");
    feed(conn, "30 .. 0001't' 03 23 000b");
    CU_ASSERT_TRUE(disconnected(conn, 0x94, PG_TOPIC_ALIAS_INVALID));
    conn = v5("a", "");
    feed(conn, "30 .. 0000 00"); /* neither topic nor alias */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conf()->topic_alias_max = 0;
    conn = v5("a", "");
    feed(conn, "30 .. 0001't' 03 23 0001");
    CU_ASSERT_TRUE(disconnected(conn, 0x94, PG_TOPIC_ALIAS_INVALID));
    CU_ASSERT_EQUAL(published_count(), 6); /* none of the refused ones */
}

static void m12_alias_stands_alone_only_after_the_packet_with_both(void)
{
    conf()->topic_alias_send = 1;
    struct pg_conn *conn = v5("a", "22 0005 27 00000014"); /* takes 20 bytes */
    deliver(conn, "topic", "a payload that is too long", 0);
    CU_ASSERT_TRUE(wrote(conn, ""));
    deliver(conn, "topic", "1", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0005'topic' 03 23 0001 '1'"));
    deliver(conn, "topic", "2", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0000 03 23 0001 '2'"));
    deliver(conn, "other", "3", 0); /* takes over the alias */
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0005'other' 03 23 0001 '3'"));
    deliver(conn, "topic", "4", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0005'topic' 03 23 0001 '4'"));
    /* With topic and alias the packet would be too long: without alias it fits. */
    deliver(conn, "third", "12345678 0", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0005'third' 00 '12345678 0'"));
    deliver(conn, "topic", "5", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 .. 0000 03 23 0001 '5'"));
    /* A topic that is shorter than its alias is never replaced by it. */
    deliver(conn, "four", "1", 0);
    deliver(conn, "four", "12345678 01", 0);
    CU_ASSERT_TRUE(wrote(conn, "30 08 0004'four' 00 '1' 30 12 0004'four' 00 '12345678 01'"));
    struct pg_conn *without = v5("b", "");
    deliver(without, "topic", "1", 0);
    deliver(without, "topic", "1", 0);
    CU_ASSERT_TRUE(wrote(without, "30 09 0005'topic' 00 '1' 30 09 0005'topic' 00 '1'"));
}

static void m13_take_over_tells_the_old_connection_and_sends_its_will_once(void)
{
    struct pg_conn *old = open_conn();
    feed(old, "10 .. 0004'MQTT' 05 04 003c 00 0001'a' 00 0001'w' 0003'old'");
    take(old);
    struct pg_conn *new = open_conn();
    feed(new, "10 .. 0004'MQTT' 05 04 003c 00 0001'a' 00 0001'w' 0003'new'");
    CU_ASSERT_TRUE(disconnected(old, 0x8e, PG_TAKEN_OVER));
    CU_ASSERT_EQUAL_FATAL(will_count(), 1);
    CU_ASSERT_TRUE(is(will(0)->payload, "old"));
    CU_ASSERT_EQUAL(closed_for(new), PG_OK);
    fake_break(new);
    CU_ASSERT_EQUAL_FATAL(will_count(), 2);
    CU_ASSERT_TRUE(is(will(1)->payload, "new"));
    struct pg_conn *three = v311("x");
    struct pg_conn *again = v311("x");
    CU_ASSERT_TRUE(silent(three, PG_TAKEN_OVER));
    CU_ASSERT_EQUAL(closed_for(again), PG_OK);
}

static void m15_will_has_the_rules_of_publish(void)
{
    static const struct {
        const char *packet;
        uint8_t code;
    } cases[] = {
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 00 0000 0001'p'", 0x81},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 00 0003'a/#' 0001'p'", 0x81},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 03 23 0001 0001'w' 0001'p'", 0x82},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 02 02 00 0001'w' 0001'p'", 0x81},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 08 26 0000 0000 26 00 00 0001'w' 0001'p'", 0x81},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 0a 18 00000001 18 00000001 0001'w' 0001'p'", 0x82},
        {"10 .. 0004'MQTT' 05 02 003c 00 0001'a' 00 0001'w' 0001'p'", 0x81},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pg_conn *conn = open_conn();
        feed(conn, cases[i].packet);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, cases[i].code));
        CU_ASSERT_EQUAL(login_count(), 0);
    }
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 36 003c 00 0001'a' 15 02 0000003c 03 0001'c' 18 00000005"
               " 26 0001'k' 0001'v' 0001'w' 0001'p'");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    CU_ASSERT_EQUAL(last_login()->will_delay_s, 5);
    fake_break(conn);
    CU_ASSERT_EQUAL_FATAL(will_count(), 1);
    const struct pg_msg *sent = will(0);
    CU_ASSERT_EQUAL(sent->qos, 2);
    CU_ASSERT_TRUE(sent->retain);
    CU_ASSERT_TRUE(is(sent->props->content_type, "c"));
    CU_ASSERT_EQUAL(sent->props->user_count, 1);
    CU_ASSERT_NOT_EQUAL(sent->expires_ms, PG_NEVER);
}

static void m20_unsubscribe_says_whether_there_was_such_a_subscription(void)
{
    struct pg_conn *conn = v5("a", "");
    feed(conn, "82 .. 0001 00 0001't' 00 000a'$share/g/t' 00");
    take(conn);
    feed(conn, "a2 .. 0002 00 0001't' 000a'$share/h/t' 0001't'");
    CU_ASSERT_TRUE(wrote(conn, "b0 .. 0002 00 00 11 11"));
    feed(conn, "a2 .. 0003 00 000a'$share/g/t'");
    CU_ASSERT_TRUE(wrote(conn, "b0 .. 0003 00 00"));
    struct pg_conn *three = v311("b");
    feed(three, "a2 .. 0004 0001'x'");
    CU_ASSERT_TRUE(wrote(three, "b0 02 0004"));
}

static void m21_invalid_filters_are_refused_everywhere(void)
{
    static const char *const invalid[] = {"0005'a/#/b'",     "0002'a+'",         "0002'+a'",
                                          "0002'a#'",        "0008'$share/g'",   "0009'$share/g/'",
                                          "0009'$share//t'", "000b'$share/g+/t'"};
    static const char *const valid[] = {"0001'/'", "0002'//'", "0004'a//b'", "0003'+/+'",
                                        "0001' '"};
    char packet[128];
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        struct pg_conn *five = v5("a", "");
        snprintf(packet, sizeof(packet), "82 .. 0001 00 %s 00", invalid[i]);
        feed(five, packet);
        CU_ASSERT_TRUE(wrote(five, "90 .. 0001 17 1f 0014'Topic Filter invalid' 8f"));
        snprintf(packet, sizeof(packet), "a2 .. 0001 00 %s", invalid[i]);
        feed(five, packet);
        CU_ASSERT_TRUE(wrote(five, "b0 .. 0001 17 1f 0014'Topic Filter invalid' 8f"));
        struct pg_conn *three = v311("b");
        snprintf(packet, sizeof(packet), "82 .. 0001 %s 00", invalid[i]);
        feed(three, packet);
        CU_ASSERT_TRUE(silent(three, PG_FILTER_INVALID));
        three = v311("b");
        snprintf(packet, sizeof(packet), "a2 .. 0001 %s", invalid[i]);
        feed(three, packet);
        CU_ASSERT_TRUE(silent(three, PG_FILTER_INVALID));
    }
    CU_ASSERT_EQUAL(subscription_count(), 0);
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        struct pg_conn *three = v311("b");
        snprintf(packet, sizeof(packet), "82 .. 0001 %s 00", valid[i]);
        feed(three, packet);
        CU_ASSERT_TRUE(wrote(three, "90 03 0001 00"));
    }
    static const char *const broken[] = {"82 .. 0001 00 0003'a' 00 'b' 00",
                                         "a2 .. 0001 00 0003'a' 00 'b'", "30 .. 0003'a/+' 00"};
    for (size_t i = 0; i < 3; i++) {
        struct pg_conn *five = v5("a", "");
        feed(five, broken[i]);
        CU_ASSERT_TRUE(disconnected(five, 0x81, PG_MALFORMED));
    }
}

static void m23_all_identifiers_of_overlapping_subscriptions_are_sent(void)
{
    struct pg_conn *conn = v5("a", "");
    const uint32_t ids[] = {1, 268435455, 3};
    const struct pg_msg_spec spec = {.topic = PG_BYTES_OF("s/t"), .qos = 2};
    fake_queue(id_of(conn), pg_msg_new(&spec), 2, false, ids, 3);
    fake_turn();
    CU_ASSERT_TRUE(wrote(conn, "34 .. 0003's/t' 0001 09 0b 01 0b ffffff7f 0b 03"));
}

static void m24_session_expiry_is_passed_told_and_changed(void)
{
    struct pg_conn *conn = v5("a", "11 ffffffff");
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, PG_FOREVER);
    feed(conn, "e0 07 00 05 11 0000000a");
    CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
    conn = v5("a", "11 0000000a");
    struct pg_client *client = fake_client(conn);
    CU_ASSERT_EQUAL(pg_client_session_expiry(client), 10);
    conn = v5("b", "");
    CU_ASSERT_EQUAL(last_login()->session_expiry_s, 0);
    feed(conn, "e0 07 00 05 11 0000000a");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    conn = v5("b", "");
    feed(conn, "e0 07 00 05 11 00000000"); /* 0 stays 0 */
    CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
}

static void m25_deliveries_wait_when_the_window_is_full(void)
{
    struct pg_conn *conn = v5("a", "21 0002");
    for (int i = 0; i < 4; i++) {
        deliver(conn, "t", "x", 1);
    }
    CU_ASSERT_TRUE(wrote(conn, "32 07 0001't' 0001 00 'x' 32 07 0001't' 0002 00 'x'"));
    feed(conn, "40 02 0002");
    CU_ASSERT_TRUE(wrote(conn, "32 07 0001't' 0003 00 'x'"));
}

static void m26_unacknowledged_deliveries_come_again_until_acknowledged(void)
{
    struct pg_conn *conn = v5("a", "11 ffffffff");
    deliver(conn, "t", "1", 1);
    deliver(conn, "t", "2", 2);
    deliver(conn, "t", "3", 2);
    take(conn);
    feed(conn, "50 02 0003");
    for (int i = 0; i < 3; i++) {
        fake_break(conn);
        conn = open_conn();
        conf()->receive_maximum = 65535;
        conf()->max_packet_size = MQTT_PACKET_MAX;
        conf()->topic_alias_max = 0;
        feed(conn, "10 .. 0004'MQTT' 05 00 003c 05 11 ffffffff 0001'a'");
        CU_ASSERT_TRUE(wrote(conn, "20 03 01 00 00 3a 07 0001't' 0001 00 '1'"
                                   " 3c 07 0001't' 0002 00 '2' 62 02 0003"));
    }
    feed(conn, "40 02 0001 70 02 0003");
    CU_ASSERT_EQUAL(fake_waiting(id_of(conn)), 1);
}

static void m27_keep_alive_is_one_and_a_half_times_what_was_agreed(void)
{
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 0005 00 0001'a'");
    take(conn);
    fake_advance(5000);
    feed(conn, "c0 00");
    take(conn);
    fake_advance(7499);
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    deliver(conn, "t", "x", 0); /* what we send does not count */
    take(conn);
    fake_advance(1);
    CU_ASSERT_TRUE(disconnected(conn, 0x8d, PG_KEEPALIVE_TIMEOUT));
    /* Half a packet is no sign of life. */
    conn = v311("b");
    fake_advance(89999);
    feed(conn, "c0");
    fake_advance(1);
    CU_ASSERT_TRUE(silent(conn, PG_KEEPALIVE_TIMEOUT));
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 0000 0001'c'");
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 0);
    conf()->keepalive_max = 60000;
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 0000 00 0001'd'");
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 90000);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'd'"); /* just the maximum */
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 90000);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 ffff 00 0001'd'");
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 90000);
    conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 04 02 ffff 0001'd'");
    CU_ASSERT_EQUAL(fake_view(conn).idle_ms, 65535 * 1500);
}

static void m28_broken_text_closes_before_anything_is_done_with_it(void)
{
    static const struct {
        const char *packet;
        uint8_t code;
    } cases[] = {
        {"10 .. 0004'MQTT' 05 02 003c 00 0002 c328", 0x85},
        {"10 .. 0004'MQTT' 05 02 003c 00 0003 eda080", 0x85},
        {"10 .. 0004'MQTT' 05 02 003c 00 0002 'a' 00", 0x85},
        {"10 .. 0004'MQTT' 05 02 003c 00 0003 'a' 0a 'b'", 0x85},
        {"10 .. 0004'MQTT' 05 82 003c 00 0001'a' 0002 c080", 0x81},
        {"10 .. 0004'MQTT' 05 82 003c 00 0001'a' 0001 7f", 0x81},
        {"10 .. 0004'MQTT' 05 06 003c 00 0001'a' 00 0002 c280 0000", 0x81},
        {"10 .. 0004'MQTT' 05 02 003c 07 26 0001 ff 0001'v' 0001'a'", 0x81},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pg_conn *conn = open_conn();
        feed(conn, cases[i].packet);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, cases[i].code));
        CU_ASSERT_EQUAL(login_count(), 0);
    }
    /* What is no name may hold control characters; who writes it down escapes it. */
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 08 26 0001'k' 0002 0a09 0001'a'");
    CU_ASSERT_EQUAL(closed_for(conn), PG_OK);
    conn = v311("b");
    feed(conn, "30 .. 0002'a' 1f");
    CU_ASSERT_TRUE(silent(conn, PG_MALFORMED));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(m1_connect_is_limited_before_login_as_soon_as_its_length_is_known),
        TEST(m2_remaining_length_has_one_to_four_bytes),
        TEST(m3_more_than_the_receive_maximum_ends_the_connection),
        TEST(m4_zero_maxima_are_protocol_errors_and_the_largest_work),
        TEST(m5_send_quota_starts_anew_with_the_connection),
        TEST(m6_subscription_identifier_from_a_client_is_a_protocol_error),
        TEST(m7_broken_subscription_options_are_errors),
        TEST(m8_packet_identifier_zero_closes),
        TEST(m9_packets_that_a_client_may_not_send_close),
        TEST(m10_short_forms_of_acknowledgements_and_disconnect_are_legal),
        TEST(m11_topic_aliases_are_judged_by_their_own_codes),
        TEST(m12_alias_stands_alone_only_after_the_packet_with_both),
        TEST(m13_take_over_tells_the_old_connection_and_sends_its_will_once),
        TEST(m15_will_has_the_rules_of_publish),
        TEST(m20_unsubscribe_says_whether_there_was_such_a_subscription),
        TEST(m21_invalid_filters_are_refused_everywhere),
        TEST(m23_all_identifiers_of_overlapping_subscriptions_are_sent),
        TEST(m24_session_expiry_is_passed_told_and_changed),
        TEST(m25_deliveries_wait_when_the_window_is_full),
        TEST(m26_unacknowledged_deliveries_come_again_until_acknowledged),
        TEST(m27_keep_alive_is_one_and_a_half_times_what_was_agreed),
        TEST(m28_broken_text_closes_before_anything_is_done_with_it),
        CU_TEST_INFO_NULL,
    };
    return mqtt_suite("mqtt_faults", tests);
}
