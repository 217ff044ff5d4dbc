/* SPDX-License-Identifier: Apache-2.0 */

/* The GB/T 32960 frontend from connection to the end of the session: login, reports, answers, both
 * editions on one connection, platforms with many vehicles, presence, bad frames, joined cells. */

#include "gbt32960_vehicle.h"

#define UP     "gbt32960/" VIN "/up/"
#define STATUS "gbt32960/" VIN "/status"

/* ---- terminal links ------------------------------------------------------------------------- */

static void a_vehicle_logs_in_and_its_report_is_published(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 1);
    CU_ASSERT(payload_has(m, "\"status\":\"online\"") && m->msg->retain && m->announced);
    CU_ASSERT_TRUE(fake_has_subscription(VIN, "gbt32960/" VIN "/down"));
    CU_ASSERT_EQUAL(fake_count_on(UP "vehicle_login", &m), 1);
    CU_ASSERT(payload_has(m, "\"iccid\":\"89860000000000000017\""));
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    CU_ASSERT(payload_has(m, "\"vin\":\"" VIN "\"") && m->msg->qos == 1);
    CU_ASSERT(payload_has(m, "\"longitude_deg\":121.473701"));
    CU_ASSERT_STRING_EQUAL(m->publisher, VIN);
    CU_ASSERT_TRUE(down_is_nothing(conn)); /* a good report is met with silence */
    up(conn, GBT_REISSUE_REPORT, VIN, REPORT);
    CU_ASSERT_EQUAL(fake_count_on(UP "reissue_report", &m), 1);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void heartbeat_and_time_are_answered_and_not_published(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    size_t before = fake_message_count();
    up(conn, GBT_HEARTBEAT, VIN, "");
    CU_ASSERT_TRUE(down_is(conn, GBT_HEARTBEAT, GBT_SUCCESS, VIN, ""));
    up(conn, GBT_HEARTBEAT, VIN, TIME); /* some send a time */
    CU_ASSERT_TRUE(down_is(conn, GBT_HEARTBEAT, GBT_SUCCESS, VIN, ""));
    (void)setenv("TZ", "America/New_York", 1);
    up(conn, GBT_TIME_SYNC, VIN, "");
    CU_ASSERT_TRUE(down_is(conn, GBT_TIME_SYNC, GBT_SUCCESS, VIN, "1a0301080001"));
    CU_ASSERT_EQUAL(fake_message_count(), before);
    fake_end();
}

static void both_editions_go_over_one_connection(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = fake_connect();
    up_25(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN_25);
    struct down d = down(conn);
    CU_ASSERT(d.frame.edition == GBT_2025 && d.frame.response == GBT_SUCCESS);
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    d = down(conn);
    CU_ASSERT(d.frame.edition == GBT_2016 && d.frame.unit.len == 6);
    up_25(conn, GBT_REALTIME_REPORT, VIN, REPORT_25);
    d = down(conn);
    CU_ASSERT_EQUAL(d.frame.edition, GBT_2025);
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"coordinate_system\":\"wgs84\""));
    fake_end();
}

static void data_before_login_is_refused_dropped_or_admitted(void)
{
    enum pg_reason reason;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN, TIME));
    up_25(conn, GBT_REALTIME_REPORT, VIN, REPORT_25);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_VIN_UNKNOWN, VIN, TIME));
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", NULL), 0);
    CU_ASSERT_EQUAL(fake_counter("before_login"), 2);
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN); /* the connection is still good for a login */
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));

    conf()->before_login = GBT_BEFORE_LOGIN_DROP;
    conn = fake_connect();
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT);
    CU_ASSERT_TRUE(down_is_nothing(conn));

    conf()->before_login = GBT_BEFORE_LOGIN_CLOSE;
    conn = fake_connect();
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT);
    CU_ASSERT(fake_is_closed(conn, &reason) && reason == PG_PROTOCOL_ERROR);

    conf()->before_login = GBT_BEFORE_LOGIN_ADMIT;
    conn = fake_connect();
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN_2 "/up/realtime_report", NULL), 1);
    fake_end();
}

static enum pg_reason nobody(const struct pg_login *login)
{
    (void)login;
    return PG_NOT_AUTHORIZED;
}

static void a_refused_login_is_met_with_silence_or_an_answer(void)
{
    enum pg_reason reason;

    fake_begin(&gbt32960_protocol);
    fake_login = nobody;
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_kept(conn), 0);
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_FALSE(fake_is_closed(conn, &reason));
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT(fake_is_closed(conn, &reason) && reason == PG_BAD_CREDENTIAL);
    CU_ASSERT_EQUAL(fake_counter("logins_refused"), 3);
    conf()->refused_login = GBT_REFUSED_LOGIN_ANSWER;
    conn = fake_connect();
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_ERROR, VIN, TIME));
    up_25(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN_25);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_VIN_UNKNOWN, VIN, TIME));
    fake_end();
}

static void the_iccid_is_a_password_where_that_is_wanted(void)
{
    size_t count;

    fake_begin(&gbt32960_protocol);
    (void)logged_in(VIN);
    CU_ASSERT_PTR_NULL(fake_last_login(&count)->username.data);
    conf()->credential = GBT_CREDENTIAL_ICCID;
    (void)logged_in(VIN_2);
    const struct pg_login *login = fake_last_login(&count);
    CU_ASSERT_TRUE(pg_bytes_equal(login->username, PG_BYTES_OF(VIN_2)));
    CU_ASSERT_TRUE(pg_bytes_equal(login->password, PG_BYTES_OF("89860000000000000017")));
    fake_end();
}

static void a_login_that_cannot_be_read_is_refused_and_costs_nothing_else(void)
{
    fake_begin(&gbt32960_protocol);
    conf()->refused_login = GBT_REFUSED_LOGIN_ANSWER;
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME); /* a published one has the time alone */
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_ERROR, VIN, TIME));
    up_25(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0001" ICCID "0101");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_STRUCTURE_ERROR, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    fake_end();
}

static void an_id_that_topics_cannot_have_is_refused(void)
{
    static const char *const ids[] = {"LPGATE/0000000001", "LPGATE+0000000001", "#", "\x01\x02",
                                      "                 "};

    fake_begin(&gbt32960_protocol);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct pg_conn *conn = fake_connect();
        up(conn, GBT_VEHICLE_LOGIN, ids[i], LOGIN);
        CU_ASSERT_TRUE(down_is_nothing(conn));
        up(conn, GBT_REALTIME_REPORT, ids[i], REPORT);
    }
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    fake_end();
}

static void a_filled_id_is_stripped_in_topics_and_echoed_as_it_is(void)
{
    struct gbt_frame frame = up_frame(GBT_2016, GBT_VEHICLE_LOGIN, "BENCH            ");

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    frame.unit = hex_bytes(LOGIN);
    feed_frame(conn, &frame);
    free((void *)(uintptr_t)frame.unit.data);
    struct down d = down(conn);
    CU_ASSERT_EQUAL(memcmp(d.frame.id, "BENCH            ", GBT_ID_LEN), 0);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/BENCH/up/vehicle_login", NULL), 1);
    fake_end();
}

static void another_vin_on_the_connection_is_not_published_under_the_first(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN_2, TIME));
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", NULL), 0);
    CU_ASSERT_EQUAL(fake_counter("other_vin"), 1);
    conf()->other_vins = GBT_OTHER_VINS_ADMIT;
    conn = logged_in("LPGATE00000000020");
    up(conn, GBT_VEHICLE_LOGIN, VIN_2, LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN_2, TIME));
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN_2 "/up/realtime_report", NULL), 1);
    fake_end();
}

static void a_vin_that_is_online_is_a_duplicate_where_that_is_wanted(void)
{
    fake_begin(&gbt32960_protocol);
    conf()->duplicate_vin = GBT_DUPLICATE_VIN_REFUSE;
    struct pg_conn *first = logged_in(VIN);
    struct pg_conn *second = fake_connect();
    up(second, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(second, GBT_VEHICLE_LOGIN, GBT_VIN_DUPLICATE, VIN, TIME));
    fake_break(first);
    up(second, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(second, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    fake_end();
}

static void a_logout_ends_the_session_and_a_new_login_begins_another(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_VEHICLE_LOGOUT, VIN, LOGOUT);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGOUT, GBT_SUCCESS, VIN, TIME));
    CU_ASSERT(fake_count_on(STATUS, &m) == 2 && payload_has(m, "\"cause\":\"client_closed\""));
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0002" ICCID "0000");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 3);
    fake_end();
}

static void serial_numbers_follow_their_rules_where_that_is_wanted(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_VEHICLE_LOGOUT, VIN, TIME "0007");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGOUT, GBT_SUCCESS, VIN, TIME));
    CU_ASSERT_EQUAL(fake_counter("wrong_serials"), 1);
    conf()->serials = GBT_SERIALS_REFUSE;
    conf()->refused_login = GBT_REFUSED_LOGIN_ANSWER;
    conn = fake_connect();
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0000" ICCID "0000");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_ERROR, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0005" ICCID "0000");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0005" ICCID "0000"); /* it missed the answer */
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGOUT, VIN, TIME "0004");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGOUT, GBT_ERROR, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGOUT, VIN, TIME "0005");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGOUT, GBT_SUCCESS, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGIN, VIN, TIME "0004" ICCID "0000");
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_ERROR, VIN, TIME));
    up(conn, GBT_VEHICLE_LOGIN, VIN,
       "1a0302080005"
       "0001" ICCID "0000"); /* the next day */
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, "1a0302080005"));
    fake_end();
}

/* ---- answers -------------------------------------------------------------------------------- */

static void a_bad_report_is_answered_with_its_time_and_published_marked(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT "01 0103");
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN, TIME));
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    CU_ASSERT(payload_has(m, "\"latitude_deg\"") && payload_has(m, "\"faults\":[\"truncated\"]"));
    CU_ASSERT_EQUAL(fake_counter("bad_unit"), 1);
    up_25(conn, GBT_REALTIME_REPORT, VIN, REPORT_25 "01 0103");
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_STRUCTURE_ERROR, VIN, TIME));
    fake_end();
}

static void a_report_that_the_core_refuses_is_an_error_and_may_come_again(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    fake_publish_result = PG_QUOTA_EXCEEDED;
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN, TIME));
    fake_publish_result = PG_OK;
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_counter("duplicates"), 0);
    fake_end();
}

static void an_answer_waits_for_the_decision_and_a_repetition_is_not_published(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = logged_in(VIN);
    fake_publish_result = PG_PENDING;
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT); /* again, undecided */
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    fake_decide(m->token, PG_OK);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN, TIME));
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT); /* again, decided */
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN, TIME));
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    CU_ASSERT_EQUAL(fake_counter("duplicates"), 2);
    fake_end();
}

static void an_answer_is_never_answered(void)
{
    fake_begin(&gbt32960_protocol);
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = logged_in(VIN);
    for (unsigned flag = GBT_SUCCESS; flag <= GBT_DECRYPTION_ERROR; flag++) {
        up_flag(conn, GBT_2016, GBT_REALTIME_REPORT, (uint8_t)flag, VIN, TIME);
        up_flag(conn, GBT_2016, GBT_HEARTBEAT, (uint8_t)flag, VIN, "");
        up_flag(conn, GBT_2016, GBT_VEHICLE_LOGOUT, (uint8_t)flag, VIN, LOGOUT);
    }
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void the_whole_unit_is_given_back_where_that_is_wanted(void)
{
    fake_begin(&gbt32960_protocol);
    conf()->answer_form = GBT_ANSWER_FORM_ECHO;
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN,
                           "1a0301080001"
                           "0001" ICCID "0000"));
    struct gbt_frame frame = up_frame(GBT_2016, GBT_REALTIME_REPORT, VIN);
    static uint8_t unit[3000] = {26, 3, 1, 8, 0, 5, 0x80, (2991 >> 8) & 255, 2991 & 255};
    frame.unit = (struct pg_bytes){.data = unit, .len = sizeof(unit)};
    feed_frame(conn, &frame);
    struct down d = down(conn);
    CU_ASSERT_EQUAL(d.frame.unit.len, sizeof(unit));
    CU_ASSERT_EQUAL(memcmp(d.unit + 6, unit + 6, sizeof(unit) - 6), 0);
    fake_end();
}

static void unknown_commands_are_published_and_answered_only_where_that_is_wanted(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, 0x0c, VIN, "0102");
    CU_ASSERT(fake_count_on(UP "0c", &m) == 1 && payload_has(m, "\"unknown_hex\":\"0102\""));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    conf()->unknown_commands = GBT_UNKNOWN_COMMANDS_REJECT;
    conn = logged_in(VIN_2);
    up(conn, 0x0c, VIN_2, "0102");
    CU_ASSERT_TRUE(down_is(conn, 0x0c, GBT_ERROR, VIN_2, NULL));
    fake_end();
}

static void an_encrypted_unit_without_a_key_is_passed_on_as_it_is(void)
{
    const struct fake_message *m = NULL;
    struct gbt_frame frame = up_frame(GBT_2025, GBT_REALTIME_REPORT, VIN);

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    frame.encryption = GBT_SM4;
    frame.unit = PG_BYTES_OF("0123456789abcdef");
    feed_frame(conn, &frame);
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 1 &&
              payload_has(m, "\"ciphertext_hex\":\"30313233"));
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_DECRYPTION_ERROR, VIN, ""));
    fake_end();
}

static void activations_are_refused_accepted_or_published(void)
{
    /* Chip, key, VIN, signature. */
    const char *text = TIME "43484950303120202020202020202020 0002 0102"
                            "4c50474154453030303030303030303137 01 0004 11111111 0004 22222222";
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up_25(conn, GBT_ACTIVATION, VIN, text);
    CU_ASSERT_TRUE(down_is(conn, GBT_ACTIVATION_RESPONSE, GBT_COMMAND, VIN, "0202"));
    conf()->activation = GBT_ACTIVATION_ACCEPT;
    conn = fake_connect();
    up_25(conn, GBT_ACTIVATION, VIN, text);
    CU_ASSERT_TRUE(down_is(conn, GBT_ACTIVATION_RESPONSE, GBT_COMMAND, VIN, "0100"));
    up_25(conn, GBT_ACTIVATION, VIN_2, text); /* the VIN inside is another one */
    CU_ASSERT_TRUE(down_is(conn, GBT_ACTIVATION_RESPONSE, GBT_COMMAND, VIN_2, "0202"));
    conf()->activation = GBT_ACTIVATION_PUBLISH;
    conf()->before_login = GBT_BEFORE_LOGIN_ADMIT;
    conn = fake_connect();
    up_25(conn, GBT_ACTIVATION, VIN, text);
    CU_ASSERT(fake_count_on(UP "activation", &m) == 1 && payload_has(m, "\"chip_id\":\"CHIP01\""));
    fake_end();
}

/* ---- platform links ------------------------------------------------------------------------- */

static void a_platform_logs_in_and_its_vehicles_are_clients_of_their_own(void)
{
    const struct fake_message *m = NULL;
    size_t count;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_SUCCESS, PLATFORM, TIME));
    const struct pg_login *login = fake_last_login(&count);
    CU_ASSERT_TRUE(pg_bytes_equal(login->username, PG_BYTES_OF("enterprise")));
    CU_ASSERT_TRUE(pg_bytes_equal(login->password, PG_BYTES_OF("secret")));
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" PLATFORM "/up/platform_login", &m), 1);
    CU_ASSERT_FALSE(payload_has(m, "secret"));

    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
    up(conn, GBT_REALTIME_REPORT, VIN_2, REPORT); /* no login of its own */
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN_2, TIME));
    login = fake_last_login(&count);
    CU_ASSERT_TRUE(login->trusted && pg_bytes_equal(login->username, PG_BYTES_OF("enterprise")));
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN_2 "/up/realtime_report", &m), 1);
    CU_ASSERT_STRING_EQUAL(m->publisher, VIN_2);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 1);
    CU_ASSERT_TRUE(payload_has(m, "\"platform\":\"" PLATFORM "\""));

    /* One vehicle goes, the others stay. */
    up(conn, GBT_VEHICLE_LOGOUT, VIN, LOGOUT);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGOUT, GBT_SUCCESS, VIN, TIME));
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 2);
    up(conn, GBT_REALTIME_REPORT, VIN_2, "1a0301080006" POSITION);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN_2, "1a0301080006"));

    /* The platform goes, and all with it. */
    up(conn, GBT_PLATFORM_LOGOUT, PLATFORM, LOGOUT);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGOUT, GBT_SUCCESS, PLATFORM, TIME));
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN_2 "/status", &m), 2);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" PLATFORM "/status", &m), 2);
    CU_ASSERT_FALSE(fake_is_paused(conn));
    up(conn, GBT_REALTIME_REPORT, VIN_2, "1a0301080007" POSITION);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN_2, "1a0301080007"));
    fake_end();
}

static void a_platform_that_is_refused_is_told_so(void)
{
    fake_begin(&gbt32960_protocol);
    fake_login = nobody;
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_ERROR, PLATFORM, TIME));
    fake_login = NULL;
    conf()->platforms = GBT_PLATFORMS_REFUSE;
    conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_ERROR, PLATFORM, TIME));
    fake_end();
}

static void many_vehicles_go_over_one_platform_link(void)
{
    char vin[18];

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_SUCCESS, PLATFORM, TIME));
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(vin, sizeof(vin), "LPGATE%011u", i);
        up(conn, GBT_REALTIME_REPORT, vin, REPORT);
        CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, vin, TIME));
    }
    CU_ASSERT_EQUAL(fake_counter("logins"), 100);
    /* One that is kicked leaves the others alone; the platform takes all with it. */
    fake_kick("LPGATE00000000050", PG_KICKED);
    up(conn, GBT_REALTIME_REPORT, "LPGATE00000000051", "1a0301080006" POSITION);
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, "LPGATE00000000051", NULL));
    fake_kick(PLATFORM, PG_KICKED);
    enum pg_reason reason;
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason));
    fake_end();
}

static void a_silent_vehicle_of_a_platform_goes_by_itself(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    for (unsigned i = 0; i < 5; i++) {
        fake_advance(60000);
        up(conn, GBT_HEARTBEAT, PLATFORM, "");
    }
    CU_ASSERT(fake_count_on(STATUS, &m) == 2 && payload_has(m, "keepalive_timeout"));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    fake_end();
}

/* ---- frames --------------------------------------------------------------------------------- */

static void a_bad_frame_costs_only_itself(void)
{
    uint8_t wire[256];
    struct gbt_frame frame = up_frame(GBT_2016, GBT_HEARTBEAT, VIN);

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    size_t len = gbt_frame_encode(&frame, wire, sizeof(wire));
    wire[len - 1] ^= 1;
    size_t both = len + gbt_frame_encode(&frame, wire + len, sizeof(wire) - len);
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = both});
    CU_ASSERT_TRUE(down_is(conn, GBT_HEARTBEAT, GBT_SUCCESS, VIN, ""));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_counter("bad_bcc"), 1);
    fake_end();
}

static void noise_and_frames_that_do_not_end_close_the_connection(void)
{
    enum pg_reason reason;
    static const uint8_t noise[5000];

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    fake_feed(conn, (struct pg_bytes){.data = noise, .len = sizeof(noise)});
    CU_ASSERT(fake_is_closed(conn, &reason) && reason == PG_BAD_FRAMES);
    conn = logged_in(VIN);
    struct pg_bytes begun = hex_bytes("2323 02fe 4c504741544530303030303030303031 37 01 0100 1a03");
    fake_feed(conn, begun);
    fake_advance(29000);
    CU_ASSERT_FALSE(fake_is_closed(conn, &reason));
    fake_advance(2000);
    CU_ASSERT(fake_is_closed(conn, &reason) && reason == PG_TIMED_OUT);
    free((void *)(uintptr_t)begun.data);
    fake_end();
}

static void the_first_bytes_tell_the_protocol(void)
{
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("")), PG_SNIFF_MORE);
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("#")), PG_SNIFF_MORE);
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("##")), PG_SNIFF_YES);
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("$$\x01")), PG_SNIFF_YES);
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("#$")), PG_SNIFF_NO);
    CU_ASSERT_EQUAL(gbt32960_protocol.sniff(PG_BYTES_OF("\x7e")), PG_SNIFF_NO);
}

static void raw_payloads_are_the_frames(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    conf()->payload = GBT_PAYLOAD_RAW;
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    CU_ASSERT(m->msg->payload.len == 25 + 16 && m->msg->payload.data[0] == '#');
    fake_end();
}

/* ---- cells ---------------------------------------------------------------------------------- */

#define CELLS_HEAD  TIME "08 01 01 0f02 260f 0003"
#define CELLS_FIRST CELLS_HEAD "0001 02 0ce4 0ce5"
#define CELLS_LAST  CELLS_HEAD "0003 01 fffe"

static void cells_of_several_frames_are_published_whole(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_REALTIME_REPORT, VIN, CELLS_LAST); /* in any order */
    CU_ASSERT_EQUAL(fake_count_on(UP "cell_voltages", NULL), 0);
    up(conn, GBT_REALTIME_REPORT, VIN, CELLS_FIRST);
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", NULL), 2);
    CU_ASSERT_EQUAL(fake_count_on(UP "cell_voltages", &m), 1);
    CU_ASSERT_TRUE(payload_has(m, "\"cell_voltages_v\":[3.300,3.301,null]"));
    CU_ASSERT_TRUE(payload_has(m, "\"abnormal\":{\"cell_voltages_v\":[2]}"));
    CU_ASSERT_EQUAL(fake_counter("cells_joined"), 1);
    /* One frame with all of them is whole already. */
    up(conn, GBT_REALTIME_REPORT, VIN, CELLS_HEAD "0001 03 0ce4 0ce5 0ce6");
    CU_ASSERT_EQUAL(fake_count_on(UP "cell_voltages", &m), 1);
    /* A part whose rest does not come is given up. */
    up(conn, GBT_REALTIME_REPORT, VIN, "1a0301080006 08 01 01 0f02 260f 0003 0001 02 0ce4 0ce5");
    fake_advance(31000);
    CU_ASSERT_EQUAL(fake_counter("cells_incomplete"), 1);
    fake_end();
}

static void parts_of_cells_that_make_no_sense_are_not_joined(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    up(conn, GBT_REALTIME_REPORT, VIN, CELLS_HEAD "0003 02 0ce4 0ce5"); /* beyond the last */
    up(conn, GBT_REALTIME_REPORT, VIN, CELLS_HEAD "0000 02 0ce4 0ce5"); /* before the first */
    for (unsigned i = 0; i < 20; i++) {                                 /* more than may be open */
        char unit[128];
        (void)snprintf(unit, sizeof(unit), "1a03010801%02x 08 01 01 0f02 260f 0003 0001 01 0ce4",
                       i);
        up(conn, GBT_REALTIME_REPORT, VIN, unit);
    }
    CU_ASSERT_EQUAL(fake_counter("cells_incomplete"), 12);
    CU_ASSERT_EQUAL(fake_count_on(UP "cell_voltages", NULL), 0);
    fake_end();
}

/* ---- streams -------------------------------------------------------------------------------- */

/* A login and a report in one read, and byte by byte. */
static void any_cut_of_the_stream_does(void)
{
    uint8_t wire[512];
    struct gbt_frame frame = up_frame(GBT_2016, GBT_VEHICLE_LOGIN, VIN);

    frame.unit = hex_bytes(LOGIN);
    size_t len = gbt_frame_encode(&frame, wire, sizeof(wire));
    free((void *)(uintptr_t)frame.unit.data);
    frame = up_frame(GBT_2016, GBT_REALTIME_REPORT, VIN);
    frame.unit = hex_bytes(REPORT);
    len += gbt_frame_encode(&frame, wire + len, sizeof(wire) - len);
    free((void *)(uintptr_t)frame.unit.data);
    for (size_t step = 1; step <= len; step++) {
        fake_begin(&gbt32960_protocol);
        struct pg_conn *conn = fake_connect();
        for (size_t at = 0; at < len; at += step) {
            size_t n = step < len - at ? step : len - at;
            fake_feed(conn, (struct pg_bytes){.data = wire + at, .len = n});
        }
        CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME));
        CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", NULL), 1);
        fake_end();
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_vehicle_logs_in_and_its_report_is_published),
        TEST(heartbeat_and_time_are_answered_and_not_published),
        TEST(both_editions_go_over_one_connection),
        TEST(data_before_login_is_refused_dropped_or_admitted),
        TEST(a_refused_login_is_met_with_silence_or_an_answer),
        TEST(the_iccid_is_a_password_where_that_is_wanted),
        TEST(a_login_that_cannot_be_read_is_refused_and_costs_nothing_else),
        TEST(an_id_that_topics_cannot_have_is_refused),
        TEST(a_filled_id_is_stripped_in_topics_and_echoed_as_it_is),
        TEST(another_vin_on_the_connection_is_not_published_under_the_first),
        TEST(a_vin_that_is_online_is_a_duplicate_where_that_is_wanted),
        TEST(a_logout_ends_the_session_and_a_new_login_begins_another),
        TEST(serial_numbers_follow_their_rules_where_that_is_wanted),
        TEST(a_bad_report_is_answered_with_its_time_and_published_marked),
        TEST(a_report_that_the_core_refuses_is_an_error_and_may_come_again),
        TEST(an_answer_waits_for_the_decision_and_a_repetition_is_not_published),
        TEST(an_answer_is_never_answered),
        TEST(the_whole_unit_is_given_back_where_that_is_wanted),
        TEST(unknown_commands_are_published_and_answered_only_where_that_is_wanted),
        TEST(an_encrypted_unit_without_a_key_is_passed_on_as_it_is),
        TEST(activations_are_refused_accepted_or_published),
        TEST(a_platform_logs_in_and_its_vehicles_are_clients_of_their_own),
        TEST(a_platform_that_is_refused_is_told_so),
        TEST(many_vehicles_go_over_one_platform_link),
        TEST(a_silent_vehicle_of_a_platform_goes_by_itself),
        TEST(a_bad_frame_costs_only_itself),
        TEST(noise_and_frames_that_do_not_end_close_the_connection),
        TEST(the_first_bytes_tell_the_protocol),
        TEST(raw_payloads_are_the_frames),
        TEST(cells_of_several_frames_are_published_whole),
        TEST(parts_of_cells_that_make_no_sense_are_not_joined),
        TEST(any_cut_of_the_stream_does),
        CU_TEST_INFO_NULL,
    };

    return run_suite("gbt32960_session", tests);
}
