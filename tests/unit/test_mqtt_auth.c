/* SPDX-License-Identifier: Apache-2.0 */

/* Enhanced authentication of MQTT 5 (3.15, 4.12), packet by packet; the test is the authenticator.
 * CONNECT names the method "m"; AUTH 18 and CONNACK must name it too. */

#include "mqtt_script.h"

#define CONNECT_M "10 .. 0004'MQTT' 05 02 003c 08 15 0001'm' 16 0001 01 0001'a'"

static struct pg_bytes data(const char *text)
{
    return text != NULL ? pg_bytes_str(text) : PG_BYTES_NONE;
}

static void challenge(struct pg_conn *conn, const char *text)
{
    mqtt_protocol.challenge(conn, data(text), pg_conn_state(conn));
    fake_turn();
}

static void reauthenticated(struct pg_conn *conn, enum pg_reason reason, const char *text)
{
    mqtt_protocol.reauthenticated(fake_client(conn), reason, data(text));
    fake_turn();
}

/* Has sent CONNECT with the method; its admission is held back. */
static struct pg_conn *asking(void)
{
    fake_hold_admissions = true;
    struct pg_conn *conn = open_conn();
    feed(conn, CONNECT_M);
    CU_ASSERT_TRUE(wrote(conn, ""));
    return conn;
}

/* Connected by an exchange with no further round. */
static struct pg_conn *connected(void)
{
    struct pg_conn *conn = asking();
    fake_admit_held();
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x00));
    return conn;
}

static void exchange_goes_round_by_round_until_connack(void)
{
    struct pg_conn *conn = asking();
    CU_ASSERT_TRUE(is(last_login()->method, "m"));
    CU_ASSERT_EQUAL(last_login()->method_data.len, 1);
    challenge(conn, "q");
    CU_ASSERT_TRUE(wrote(conn, "f0 .. 18 08 15 0001'm' 16 0001'q'"));
    feed(conn, "f0 .. 18 08 15 0001'm' 16 0001'r'");
    CU_ASSERT_EQUAL(fake_rounds().answers, 1);
    CU_ASSERT_STRING_EQUAL(fake_rounds().data, "72");
    CU_ASSERT_TRUE(fake_is_paused(conn));
    challenge(conn, NULL); /* data is not needed */
    CU_ASSERT_TRUE(wrote(conn, "f0 .. 18 04 15 0001'm'"));
    feed(conn, "f0 .. 18 04 15 0001'm'");
    CU_ASSERT_EQUAL(fake_rounds().answers, 2);
    CU_ASSERT_STRING_EQUAL(fake_rounds().data, "none");
    conf()->receive_maximum = 65535;
    conf()->max_packet_size = MQTT_PACKET_MAX;
    conf()->topic_alias_max = 0;
    fake_method_data = PG_BYTES_OF("z");
    fake_admit_held();
    CU_ASSERT_TRUE(wrote(conn, "20 .. 00 00 08 15 0001'm' 16 0001'z'"));
}

static void connack_names_no_method_where_connect_did_not(void)
{
    conf()->receive_maximum = 65535;
    conf()->max_packet_size = MQTT_PACKET_MAX;
    conf()->topic_alias_max = 0;
    fake_method_data = PG_BYTES_OF("z");
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'");
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 00 00"));
    CU_ASSERT_PTR_NULL(last_login()->method.data);
    feed(conn, "f0 .. 19 04 15 0001'm'");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
}

static void method_that_nobody_knows_is_refused_by_its_code(void)
{
    login_verdict = PG_UNSUPPORTED;
    fake_login = judge_login;
    struct pg_conn *conn = open_conn();
    feed(conn, CONNECT_M);
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x8c));
    CU_ASSERT_EQUAL(closed_for(conn), PG_UNSUPPORTED);
}

static void failed_exchange_is_refused_as_not_authorized(void)
{
    login_verdict = PG_BAD_CREDENTIAL;
    fake_login = judge_login;
    struct pg_conn *conn = asking();
    challenge(conn, "q");
    take(conn);
    feed(conn, "f0 .. 18 04 15 0001'm'");
    fake_admit_held();
    CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x87));
    CU_ASSERT_EQUAL(closed_for(conn), PG_BAD_CREDENTIAL);
}

static void only_auth_and_disconnect_may_come_during_the_exchange(void)
{
    static const char *const others[] = {"c0 00", "30 .. 0001't' 00", "82 .. 0001 00 0001't' 00",
                                         CONNECT_M};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct pg_conn *conn = asking();
        challenge(conn, "q");
        take(conn);
        feed(conn, others[i]);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x82));
        CU_ASSERT_EQUAL(closed_for(conn), PG_PROTOCOL_ERROR);
        renew();
    }
    struct pg_conn *conn = asking();
    challenge(conn, "q");
    take(conn);
    feed(conn, "e0 00");
    CU_ASSERT_TRUE(silent(conn, PG_CLIENT_CLOSED));
}

static void auth_out_of_turn_closes(void)
{
    static const char *const wrong[] = {
        "f0 .. 19 04 15 0001'm'", /* that is for later */
        "f0 .. 18 04 15 0001'n'", /* another method */
        "f0 .. 18 00",            /* no method */
        "f0 00",                  /* success is the server's to say */
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct pg_conn *conn = asking();
        challenge(conn, "q");
        take(conn);
        feed(conn, wrong[i]);
        CU_ASSERT_TRUE(wrote_first(conn, 0x20, 3, 0x82));
        CU_ASSERT_EQUAL(closed_for(conn), PG_PROTOCOL_ERROR);
        renew();
    }
    struct pg_conn *conn = connected();
    feed(conn, "f0 .. 18 04 15 0001'm'"); /* nothing was asked */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
    renew();
    conn = connected();
    feed(conn, "f1 .. 19 04 15 0001'm'");
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_MALFORMED));
}

static void reauthentication_leaves_everything_else_running(void)
{
    struct pg_conn *conn = connected();
    feed(conn, "f0 .. 19 08 15 0001'm' 16 0001 07");
    CU_ASSERT_EQUAL(fake_rounds().reauthentications, 1);
    CU_ASSERT_STRING_EQUAL(fake_rounds().data, "07");
    feed(conn, "c000");
    deliver(conn, "t", "x", 0);
    CU_ASSERT_TRUE(wrote(conn, "d000 30 .. 0001't' 00 'x'"));
    challenge(conn, "q");
    CU_ASSERT_TRUE(wrote(conn, "f0 .. 18 08 15 0001'm' 16 0001'q'"));
    feed(conn, "f0 .. 18 05 15 0002'm'");
    CU_ASSERT_EQUAL(fake_rounds().answers, 0); /* a property that ends behind the packet */
    CU_ASSERT_TRUE(disconnected(conn, 0x81, PG_MALFORMED));
    renew();
    conn = connected();
    feed(conn, "f0 .. 19 04 15 0001'm'");
    challenge(conn, "q");
    take(conn);
    feed(conn, "f0 .. 18 04 15 0001'm'");
    CU_ASSERT_EQUAL(fake_rounds().answers, 1);
    reauthenticated(conn, PG_OK, "ok");
    CU_ASSERT_TRUE(wrote(conn, "f0 .. 00 09 15 0001'm' 16 0002'ok'"));
    feed(conn, "f0 .. 19 04 15 0001'm'"); /* and once more */
    CU_ASSERT_EQUAL(fake_rounds().reauthentications, 2);
    feed(conn, "f0 .. 19 04 15 0001'm'"); /* not two at a time */
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
}

static void failed_reauthentication_disconnects(void)
{
    struct pg_conn *conn = connected();
    feed(conn, "f0 .. 19 04 15 0001'm'");
    reauthenticated(conn, PG_BAD_CREDENTIAL, NULL);
    CU_ASSERT_TRUE(disconnected(conn, 0x87, PG_BAD_CREDENTIAL));
    renew();
    conn = connected();
    feed(conn, "f0 .. 19 04 15 0001'n'");
    CU_ASSERT_TRUE(disconnected(conn, 0x82, PG_PROTOCOL_ERROR));
}

static void auth_that_the_client_does_not_take_ends_the_exchange(void)
{
    fake_hold_admissions = true;
    struct pg_conn *conn = open_conn();
    feed(conn, "10 .. 0004'MQTT' 05 02 003c 09 15 0001'm' 27 0000000f 0001'a'");
    challenge(conn, "0123456789");
    CU_ASSERT_EQUAL(closed_for(conn), PG_TOO_LARGE);
    CU_ASSERT_TRUE(wrote(conn, "20 03 00 95 00"));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(exchange_goes_round_by_round_until_connack),
        TEST(connack_names_no_method_where_connect_did_not),
        TEST(method_that_nobody_knows_is_refused_by_its_code),
        TEST(failed_exchange_is_refused_as_not_authorized),
        TEST(only_auth_and_disconnect_may_come_during_the_exchange),
        TEST(auth_out_of_turn_closes),
        TEST(reauthentication_leaves_everything_else_running),
        TEST(failed_reauthentication_disconnects),
        TEST(auth_that_the_client_does_not_take_ends_the_exchange),
        CU_TEST_INFO_NULL,
    };
    return mqtt_suite("mqtt_auth", tests);
}
