/* SPDX-License-Identifier: Apache-2.0 */

/* Commands to vehicles: payloads to frames, answers by VIN and command code, one of a code at a
 * time, repetitions, time-outs, late answers, requests and their responses. */

#include "gbt32960_vehicle.h"

#define QUERY "{\"message\":\"parameter_query\",\"body\":{\"parameter_ids\":[2,9]}}"
/* What the fake clock makes of a query. */
#define QUERY_UNIT "1a0301080001 02 02 09"
#define ANSWER     TIME "02 02001e 093c"

static void send_to(const char *vin, const char *payload, const char *response_topic)
{
    const struct fake_send send = {.client_id = vin,
                                   .topic = "gbt32960/" VIN "/down",
                                   .payload = pg_bytes_str(payload),
                                   .qos = 1,
                                   .response_topic = response_topic,
                                   .correlation = PG_BYTES_OF("c1")};
    fake_send(&send);
}

static void a_query_is_sent_and_its_answer_goes_to_who_asked(void)
{
    const struct fake_message *m = NULL;
    enum pg_reason reason;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    send_to(VIN, QUERY, "answers/me");
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, QUERY_UNIT));
    CU_ASSERT_EQUAL(fake_count_on("answers/me", NULL), 0);
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN, ANSWER);
    CU_ASSERT_EQUAL(fake_count_on("answers/me", &m), 1);
    CU_ASSERT(payload_has(m, "\"status\":\"ok\"") &&
              payload_has(m, "\"name\":\"report_period_s\",\"value\":30"));
    CU_ASSERT_TRUE(pg_bytes_equal(m->msg->props->correlation_data, PG_BYTES_OF("c1")));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_OK);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/parameter_query", NULL), 1);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void answers_with_any_flag_and_any_unit_end_the_command(void)
{
    static const struct {
        uint8_t flag;
        const char *unit, *status;
    } answers[] = {{GBT_SUCCESS, ANSWER, "ok"},   {GBT_SUCCESS, TIME, "ok"},
                   {GBT_SUCCESS, "", "ok"},       {GBT_COMMAND, ANSWER, "ok"},
                   {GBT_ERROR, TIME, "rejected"}, {GBT_STRUCTURE_ERROR, "", "rejected"},
                   {GBT_SUCCESS, TIME "09", "ok"}};
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        char wanted[64];
        send_to(VIN, QUERY, "answers/me");
        CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, QUERY_UNIT));
        up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, answers[i].flag, VIN, answers[i].unit);
        CU_ASSERT_EQUAL(fake_count_on("answers/me", &m), i + 1);
        (void)snprintf(wanted, sizeof(wanted), "\"status\":\"%s\"", answers[i].status);
        CU_ASSERT_TRUE(payload_has(m, wanted));
    }
    fake_end();
}

static void of_each_code_one_is_in_flight(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    send_to(VIN, QUERY, NULL);
    send_to(VIN, QUERY, NULL);
    send_to(VIN, "{\"message\":\"terminal_control\",\"body\":{\"control\":\"reset\"}}", NULL);
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, QUERY_UNIT));
    CU_ASSERT_TRUE(down_is(conn, GBT_TERMINAL_CONTROL, GBT_COMMAND, VIN, "1a0301080001 03"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up_flag(conn, GBT_2016, GBT_TERMINAL_CONTROL, GBT_SUCCESS, VIN, TIME);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN, ANSWER);
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, QUERY_UNIT));
    fake_end();
}

static void a_command_is_repeated_and_then_fails_and_a_late_answer_is_nobodys(void)
{
    const struct fake_message *m = NULL;
    enum pg_reason reason;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    conf()->idle_ms = 0;
    conn = logged_in(VIN_2);
    send_to(VIN_2, QUERY, "answers/me");
    send_to(VIN_2, QUERY, "answers/you");
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN_2, NULL));
        CU_ASSERT_TRUE(down_is_nothing(conn));
        fake_advance(20100);
    }
    CU_ASSERT(fake_count_on("answers/me", &m) == 1 && payload_has(m, "\"status\":\"timed_out\""));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_TIMED_OUT);
    /* The next one waits for a late answer, which is not its own. */
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN_2, ANSWER);
    CU_ASSERT_EQUAL(fake_count_on("answers/you", NULL), 0);
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN_2, NULL));
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN_2, ANSWER);
    CU_ASSERT_EQUAL(fake_count_on("answers/you", NULL), 1);
    CU_ASSERT_EQUAL(fake_counter("commands_repeated"), 2);
    fake_end();
}

static void a_code_that_timed_out_is_free_again_after_a_while(void)
{
    fake_begin(&gbt32960_protocol);
    conf()->idle_ms = 0;
    conf()->repetitions = 0;
    struct pg_conn *conn = logged_in(VIN);
    send_to(VIN, QUERY, NULL);
    send_to(VIN, QUERY, NULL);
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, NULL));
    fake_advance(20100);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_advance(20100);
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN, NULL));
    fake_end();
}

static void payloads_that_are_no_command_are_refused_with_the_place(void)
{
    static const struct {
        const char *payload, *told;
    } wrong[] = {{"{\"message\":\"parameter_qery\"}", "message"},
                 {"{\"message\":\"realtime_report\",\"body\":{\"items\":[]}}", "message"},
                 {"{\"message\":\"parameter_set\",\"body\":{\"parameters\":{\"x\":1}}}",
                  "body.parameters[0]"},
                 {"{\"message\":\"parameter_query\",\"vin\":\"OTHER\",\"body\":{}}", ""},
                 {"hello", "payload"},
                 {"2323", "frame"},
                 {"{\"message\"", "document"}};
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        send_to(VIN, wrong[i].payload, "answers/me");
        CU_ASSERT_EQUAL(fake_count_on("answers/me", &m), i + 1);
        CU_ASSERT_TRUE(payload_has(m, "\"status\":\"invalid\""));
        CU_ASSERT_TRUE(payload_has(m, wrong[i].told));
    }
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_counter("commands_invalid"), sizeof(wrong) / sizeof(wrong[0]));
    fake_end();
}

static void a_command_takes_the_edition_of_the_vehicle(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up_25(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN_25);
    (void)down(conn);
    send_to(VIN,
            "{\"message\":\"parameter_set\",\"body\":{\"parameters\":{\"report_period_s\":10,"
            "\"platform_domain\":\"a.b\"}}}",
            NULL);
    struct down d = down(conn);
    CU_ASSERT_EQUAL(d.frame.edition, GBT_2025);
    static const uint8_t wanted[] = {26, 3, 1, 8, 0, 1, 3, 2, 10, 4, 3, 5, 'a', '.', 'b'};
    CU_ASSERT(d.frame.unit.len == sizeof(wanted) && memcmp(d.unit, wanted, sizeof(wanted)) == 0);
    fake_end();
}

static void frames_as_they_are_go_through(void)
{
    struct gbt_frame frame = up_frame(GBT_2016, 0xc1, VIN);
    uint8_t wire[64];

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    frame.unit = PG_BYTES_OF("\x01\x02");
    size_t len = gbt_frame_encode(&frame, wire, sizeof(wire));
    char *hex = hex_text((struct pg_bytes){.data = wire, .len = len});
    send_to(VIN, hex, "answers/me");
    CU_ASSERT_TRUE(down_is(conn, 0xc1, GBT_COMMAND, VIN, "0102"));
    const struct fake_message *m = NULL;
    CU_ASSERT(fake_count_on("answers/me", &m) == 1 && payload_has(m, "\"status\":\"sent\""));
    free(hex);
    fake_end();
}

static void a_request_is_told_when_the_connection_goes_and_others_stay(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = logged_in(VIN);
    send_to(VIN, QUERY, "answers/me");
    send_to(VIN, "{\"message\":\"terminal_control\",\"body\":{\"control\":\"reset\"}}", NULL);
    fake_break(conn);
    CU_ASSERT(fake_count_on("answers/me", &m) == 1 && payload_has(m, "connection_lost"));
    conn = logged_in(VIN);
    CU_ASSERT_TRUE(down_is(conn, GBT_TERMINAL_CONTROL, GBT_COMMAND, VIN, NULL));
    fake_end();
}

static void responses_do_not_go_where_the_gateway_speaks_for_itself(void)
{
    fake_begin(&gbt32960_protocol);
    (void)logged_in(VIN);
    send_to(VIN, "x", "gbt32960/OTHER/down");
    send_to(VIN, "x", "$SYS/x");
    send_to(VIN, "x", "a/p2p/b");
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/OTHER/down", NULL), 0);
    CU_ASSERT_EQUAL(fake_count_on("$SYS/x", NULL), 0);
    CU_ASSERT_EQUAL(fake_count_on("a/p2p/b", NULL), 0);
    send_to(VIN, "x", "a/p2p/app"); /* to who asked */
    CU_ASSERT_EQUAL(fake_count_on("a/p2p/app", NULL), 1);
    fake_end();
}

static void vehicles_of_a_platform_are_reached_one_by_one(void)
{
    fake_begin(&gbt32960_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, GBT_PLATFORM_LOGIN, PLATFORM, PLATFORM_LOGIN);
    up(conn, GBT_VEHICLE_LOGIN, VIN, LOGIN);
    up(conn, GBT_VEHICLE_LOGIN, VIN_2, LOGIN);
    fake_taken(conn, fake_written(conn).len);
    send_to(VIN_2, QUERY, "answers/me");
    CU_ASSERT_TRUE(down_is(conn, GBT_PARAMETER_QUERY, GBT_COMMAND, VIN_2, QUERY_UNIT));
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN, ANSWER); /* of another one */
    CU_ASSERT_EQUAL(fake_count_on("answers/me", NULL), 0);
    up_flag(conn, GBT_2016, GBT_PARAMETER_QUERY, GBT_SUCCESS, VIN_2, ANSWER);
    CU_ASSERT_EQUAL(fake_count_on("answers/me", NULL), 1);
    fake_end();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_query_is_sent_and_its_answer_goes_to_who_asked),
        TEST(answers_with_any_flag_and_any_unit_end_the_command),
        TEST(of_each_code_one_is_in_flight),
        TEST(a_command_is_repeated_and_then_fails_and_a_late_answer_is_nobodys),
        TEST(a_code_that_timed_out_is_free_again_after_a_while),
        TEST(payloads_that_are_no_command_are_refused_with_the_place),
        TEST(a_command_takes_the_edition_of_the_vehicle),
        TEST(frames_as_they_are_go_through),
        TEST(a_request_is_told_when_the_connection_goes_and_others_stay),
        TEST(responses_do_not_go_where_the_gateway_speaks_for_itself),
        TEST(vehicles_of_a_platform_are_reached_one_by_one),
        CU_TEST_INFO_NULL,
    };

    return run_suite("gbt32960_command", tests);
}
