/* SPDX-License-Identifier: Apache-2.0 */

/* Commands to a terminal: payloads to frames, answers, repetition, failure, what the requester is
 * told, the window, and what happens to them when the connection goes. */

#include "jt808_terminal.h"

#define RESPONSE "app/1/response"

static void send_text(const char *client, uint8_t qos, const char *payload, const char *response)
{
    fake_send(&(struct fake_send){.client_id = client,
                                  .payload = pg_bytes_str(payload),
                                  .qos = qos,
                                  .response_topic = response,
                                  .correlation = PG_BYTES_OF("corr-7")});
}

#define TEXT_JSON                                                                                  \
    "{\"message\":\"text_message\",\"body\":{\"flag\":[\"display\"],\"text\":\"stop\"}}"

/* The one response so far has this in it. */
static bool response_has(size_t count, const char *part)
{
    const struct fake_message *m = NULL;
    size_t found = fake_count_on(RESPONSE, &m);

    if (found != count || !payload_has(m, part)) {
        printf("    %zu responses, the last: %.*s\n", found, m ? (int)m->msg->payload.len : 0,
               m ? (const char *)m->msg->payload.data : "");
        return false;
    }
    return pg_bytes_equal(m->msg->props->correlation_data, PG_BYTES_OF("corr-7"));
}

static void answer(struct pg_conn *conn, uint16_t serial, uint16_t msg_id, unsigned result)
{
    static uint16_t own = 1000;
    char body[16];

    (void)snprintf(body, sizeof(body), "%04x%04x%02x", serial, msg_id, result);
    up(conn, PHONE, 0x0001, own++, body);
}

static void json_becomes_a_frame_and_the_answer_goes_to_the_requester(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    struct down d = down(conn);
    CU_ASSERT_EQUAL(d.frame.msg_id, 0x8300);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, PHONE);
    CU_ASSERT_EQUAL(d.frame.serial, 2); /* after 0x8100 and 0x8001 */
    CU_ASSERT(d.frame.body.len == 5 && memcmp(d.body + 1, "stop", 4) == 0);
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    CU_ASSERT_EQUAL(fake_settled(&reason), 0);
    answer(conn, 2, 0x8300, 0);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"ok\""));
    CU_ASSERT_TRUE(response_has(1, "\"message\":\"text_message\",\"id\":\"0x8300\",\"serial\":2"));
    CU_ASSERT_TRUE(response_has(1, "\"answer\":{"));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_OK);
    answer(conn, 2, 0x8300, 0); /* twice, as some do */
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 1);
    CU_ASSERT_TRUE(down_is_nothing(conn)); /* an answer is not answered */
    fake_end();
}

static void a_rejection_is_told_and_settles(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    answer(conn, 2, 0x8301, 0); /* another id */
    answer(conn, 3, 0x8300, 0); /* another serial */
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    answer(conn, 2, 0x8300, 3);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"rejected\",\"result\":3"));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_REJECTED);
    fake_end();
}

static void a_command_is_repeated_identically_with_growing_waits_and_then_fails(void)
{
    enum pg_reason reason;
    static const int64_t waits[] = {10000, 20000, 60000};

    fake_begin(&jt808_protocol);
    conf()->idle_ms = 0;
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    struct down first = down(conn);
    for (size_t i = 0; i < 3; i++) {
        fake_advance(waits[i] - 100);
        CU_ASSERT_TRUE(down_is_nothing(conn));
        fake_advance(100);
        struct down again = down(conn);
        CU_ASSERT(again.wire_len == first.wire_len &&
                  memcmp(again.wire, first.wire, first.wire_len) == 0);
    }
    fake_advance(239000);
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    fake_advance(2000);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"timed_out\""));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_TIMED_OUT);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_counter("commands_repeated"), 3);
    answer(conn, 2, 0x8300, 0); /* late */
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 1);
    fake_end();
}

static void an_answer_after_a_repetition_counts(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    fake_advance(10200);
    answer(conn, 2, 0x8300, 0);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"ok\""));
    fake_end();
}

static void parameters_are_answered_by_0x0104_whatever_else_comes(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"message\":\"query_parameters\"}", RESPONSE);
    struct down d = down(conn);
    CU_ASSERT_EQUAL(d.frame.msg_id, 0x8104);
    up(conn, PHONE, 0x0104, 7, "0099 01 00000001 04 0000003c"); /* of another command */
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    up(conn, PHONE, 0x0104, 8, "0002 01 00000001 04 0000003c");
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"ok\""));
    CU_ASSERT_TRUE(response_has(1, "\"message\":\"parameters_response\""));
    CU_ASSERT_EQUAL(fake_count_on("jt808/" PHONE "/up/0104", NULL), 2); /* published as well */
    /* A terminal that cannot do it says so with 0x0001. */
    send_text(PHONE, 1, "{\"message\":\"query_parameters\"}", RESPONSE);
    fake_taken(conn, fake_written(conn).len);
    struct jt808_conn *c = pg_conn_state(conn);
    answer(conn, (uint16_t)(c->terminals->serial - 1), 0x8104, 3);
    CU_ASSERT_TRUE(response_has(2, "\"status\":\"rejected\""));
    fake_end();
}

static void an_answer_without_serial_is_of_the_oldest_command_of_its_kind(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"message\":\"query_attributes\"}", RESPONSE);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8107);
    up(conn, PHONE, 0x0107, 7,
       "0040 3730313131 4d31000000000000000000000000000000000000 30303030303031"
       "89860000000000000001 02 5631 02 5632 03 21");
    CU_ASSERT_TRUE(response_has(1, "\"message\":\"attributes_response\""));
    fake_end();
}

static void an_acknowledgement_stops_repetition_and_the_proper_answer_completes(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"id\":\"0x8500\",\"body\":{\"hex\":\"01\"}}", RESPONSE);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8500);
    answer(conn, 2, 0x8500, 0);
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    fake_advance(15000);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up(conn, PHONE, 0x0500, 7, "0002" LOCATION);
    CU_ASSERT_TRUE(response_has(1, "\"message\":\"vehicle_control_response\""));
    fake_taken(conn, fake_written(conn).len);
    /* One that never sends the proper answer did acknowledge it. */
    send_text(PHONE, 1, "{\"id\":\"0x8500\",\"body\":{\"hex\":\"00\"}}", RESPONSE);
    answer(conn, down(conn).frame.serial, 0x8500, 0);
    fake_advance(21000);
    CU_ASSERT_TRUE(response_has(2, "\"status\":\"ok\""));
    fake_end();
}

static void a_camera_that_says_no_is_a_rejection(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"id\":\"0x8801\",\"body\":{\"hex\":\"010001000000010540404040\"}}",
              RESPONSE);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8801);
    up(conn, PHONE, 0x0805, 7, "0002 02");
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"rejected\",\"result\":2"));
    fake_end();
}

static void what_cannot_be_encoded_is_told_with_the_field(void)
{
    enum pg_reason reason;
    static const char *const bad[] = {
        "{\"message\":\"text_message\",\"body\":{\"flag\":1,\"text\":17}}",
        "{\"message\":\"no_such_message\"}",
        "{\"message\":\"location_report\",\"body\":{\"hex\":\"00\"}}", /* of a terminal */
        "{\"message\":\"text_message\"",
        "{\"message\":\"query_parameters\",\"phone\":\"013999999999\"}",
        "hello",
        "",
        "7e",
        "7e0002",
        "7e 0002",
        "7e8104000001380013800000002e7e",
    };

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        send_text(PHONE, 1, bad[i], RESPONSE);
        CU_ASSERT_TRUE(response_has(i + 1, "\"status\":\"invalid\""));
        CU_ASSERT_TRUE(response_has(i + 1, "\"error\":{\"field\":"));
        CU_ASSERT(fake_settled(&reason) == i + 1 && reason == PG_PAYLOAD_INVALID);
    }
    CU_ASSERT_TRUE(down_is_nothing(conn));
    send_text(PHONE, 1, bad[0], RESPONSE);
    CU_ASSERT_TRUE(response_has(sizeof(bad) / sizeof(bad[0]) + 1, "\"field\":\"body.text\""));
    fake_end();
}

static void a_frame_in_hexadecimal_or_bytes_goes_out_under_our_serial_and_its_phone(void)
{
    const char *hex = "7e8104000001391234567800637e";
    struct jt808_frame frame = up_frame("013912345678", 0x8104, 0x0063);
    uint8_t wire[64];

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    size_t len = jt808_frame_encode(&frame, wire, sizeof(wire));
    hex = hex_text((struct pg_bytes){.data = wire, .len = len});
    send_text(PHONE, 0, hex, NULL);
    struct down d = down(conn);
    CU_ASSERT(d.frame.msg_id == 0x8104 && d.frame.serial == 2);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, PHONE);
    fake_send(
        &(struct fake_send){.client_id = PHONE, .payload = {.data = wire, .len = len}, .qos = 0});
    d = down(conn);
    CU_ASSERT(d.frame.msg_id == 0x8104 && d.frame.serial == 3);
    free((void *)hex);
    fake_end();
}

/* J5 */
static void a_command_has_the_form_of_the_terminal(void)
{
    const char *phone = "00000000013800138000";

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(phone);
    send_text(phone, 1,
              "{\"message\":\"text_message\",\"body\":{\"flag\":[\"display\"],\"text_type\":1,"
              "\"text\":\"stop\"}}",
              RESPONSE);
    struct down d = down(conn);
    CU_ASSERT(d.frame.header_2019 && d.frame.msg_id == 0x8300);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, phone);
    CU_ASSERT_EQUAL(d.frame.body.len, 6); /* flag, text type, text */
    fake_end();
}

static char *long_hex(size_t bytes)
{
    char *text = malloc(2 * bytes + 64);
    int at = snprintf(text, 64, "{\"id\":\"0x8108\",\"body\":{\"hex\":\"");

    for (size_t i = 0; i < bytes; i++) {
        (void)snprintf(text + at + 2 * i, 3, "7e");
    }
    (void)snprintf(text + at + 2 * bytes, 8, "\"}}");
    return text;
}

/* J9 */
static void a_long_body_goes_in_packages_with_consecutive_serials(void)
{
    char *payload = long_hex(2500);

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, payload, RESPONSE);
    send_text(PHONE, 0, "{\"message\":\"query_parameters\"}", NULL);
    struct down parts[3];
    for (unsigned i = 0; i < 3; i++) {
        parts[i] = down(conn);
        CU_ASSERT(parts[i].frame.serial == 2 + i && parts[i].frame.package_index == i + 1);
        CU_ASSERT(parts[i].frame.package_total == 3 && parts[i].frame.msg_id == 0x8108);
    }
    CU_ASSERT_EQUAL(down(conn).frame.serial, 5);
    /* 0x0005 of the terminal: the packages again, byte for byte. Both widths of the count. */
    up(conn, PHONE, 0x0005, 7, "0002 0002 0001 0003");
    up(conn, PHONE, 0x0005, 8, "0002 01 0002");
    struct down again = down(conn);
    CU_ASSERT(again.wire_len == parts[0].wire_len &&
              memcmp(again.wire, parts[0].wire, again.wire_len) == 0);
    again = down(conn);
    CU_ASSERT(memcmp(again.wire, parts[2].wire, again.wire_len) == 0);
    again = down(conn);
    CU_ASSERT(memcmp(again.wire, parts[1].wire, again.wire_len) == 0);
    up(conn, PHONE, 0x0005, 9, "0099 0001 0001");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0009 0005 01"));
    up(conn, PHONE, 0x0005, 10, "0002 ffff 0001");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000a 0005 01"));
    /* Answers may name any package; the last one, or all, completes. */
    answer(conn, 2, 0x8108, 0);
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    answer(conn, 4, 0x8108, 0);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"ok\""));
    free(payload);
    fake_end();
}

/* J9 */
static void a_burst_gets_a_serial_each_and_the_window_holds(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    conf()->window = 4;
    struct pg_conn *conn = logged_in(PHONE);
    for (unsigned i = 0; i < 10; i++) {
        send_text(PHONE, i % 2 ? 1 : 0, TEXT_JSON, RESPONSE);
    }
    for (unsigned i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(down(conn).frame.serial, 2 + i);
    }
    CU_ASSERT_TRUE(down_is_nothing(conn));
    for (uint16_t i = 0; i < 10; i++) {
        answer(conn, (uint16_t)(2 + i), 0x8300, 0);
    }
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 10);
    CU_ASSERT(fake_settled(&reason) == 5 && fake_waiting(PHONE) == 0);
    fake_end();
}

static void a_full_connection_holds_commands_back(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    fake_full(conn, true);
    send_text(PHONE, 1, TEXT_JSON, NULL);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up(conn, PHONE, 0x0002, 7, ""); /* answers are always written */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0007 0002 00"));
    fake_full(conn, false);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8300);
    fake_full(conn, true);
    fake_advance(10200); /* the repetition waits, too */
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_full(conn, false);
    fake_advance(1200);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8300);
    fake_end();
}

static void commands_wait_for_a_terminal_that_is_offline_and_survive_its_loss(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    send_text(PHONE, 1, TEXT_JSON, NULL);
    struct pg_conn *conn = logged_in(PHONE);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8300);
    fake_break(conn);
    CU_ASSERT_EQUAL(fake_settled(&reason), 0);
    conn = logged_in(PHONE);
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8300);
    answer(conn, 2, 0x8300, 0);
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_OK);
    fake_end();
}

static void a_request_is_told_when_the_connection_goes(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    send_text(PHONE, 0, TEXT_JSON, RESPONSE);
    fake_break(conn);
    CU_ASSERT_TRUE(response_has(2, "\"status\":\"connection_lost\""));
    conn = logged_in(PHONE);
    CU_ASSERT_TRUE(down_is_nothing(conn)); /* not behind the requester's back */
    fake_end();
}

static void a_request_moves_with_a_take_over(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *first = logged_in(PHONE);
    send_text(PHONE, 1, TEXT_JSON, RESPONSE);
    CU_ASSERT_EQUAL(down(first).frame.msg_id, 0x8300);
    struct pg_conn *second = logged_in(PHONE);
    CU_ASSERT_EQUAL(fake_count_on(RESPONSE, NULL), 0);
    struct down d = down(second);
    CU_ASSERT_EQUAL(d.frame.msg_id, 0x8300);
    answer(second, d.frame.serial, 0x8300, 0);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"ok\""));
    fake_end();
}

static void a_command_that_expires_is_not_repeated(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    fake_send(&(struct fake_send){.client_id = PHONE,
                                  .payload = pg_bytes_str(TEXT_JSON),
                                  .qos = 1,
                                  .response_topic = RESPONSE,
                                  .correlation = PG_BYTES_OF("corr-7"),
                                  .expires = true,
                                  .expiry_s = 5});
    CU_ASSERT_EQUAL(down(conn).frame.msg_id, 0x8300);
    fake_advance(5200);
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"expired\""));
    CU_ASSERT(fake_settled(&reason) == 1 && reason == PG_EXPIRED);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void what_wants_no_answer_is_over_when_it_is_sent(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"id\":\"0x8800\",\"body\":{\"hex\":\"0000002a\"}}", RESPONSE);
    CU_ASSERT_TRUE(down_is(conn, 0x8800, "0000002a"));
    CU_ASSERT_TRUE(response_has(1, "\"status\":\"sent\""));
    fake_end();
}

static void the_gateway_lends_its_name_to_no_response_topic_of_others(void)
{
    static const char *const topics[] = {"$SYS/x",      "a/p2p/client",
                                         "a/p2p/app/b", "a/p2p/ap",
                                         "a/p2p/app2",  "jt808/013999999999/down",
                                         "a/+",         ""};

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        size_t before = fake_message_count();
        send_text(PHONE, 1, "{\"message\":\"nothing\"}", topics[i]);
        CU_ASSERT_EQUAL(fake_message_count(), before);
    }
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void a_requester_is_answered_to_itself(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"message\":\"nothing\"}", "stomp/p2p/app"); /* it is "app" */
    CU_ASSERT_EQUAL(fake_count_on("stomp/p2p/app", NULL), 1);
    send_text(PHONE, 1, "{\"message\":\"nothing\"}", "a/b/p2p/c"); /* no P2P topic */
    CU_ASSERT_EQUAL(fake_count_on("a/b/p2p/c", NULL), 1);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void the_sender_may_choose_the_serial(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    send_text(PHONE, 1, "{\"message\":\"query_parameters\",\"serial\":4711}", RESPONSE);
    CU_ASSERT_EQUAL(down(conn).frame.serial, 4711);
    up(conn, PHONE, 0x0104, 8, "1267 00");
    CU_ASSERT_TRUE(response_has(1, "\"serial\":4711"));
    send_text(PHONE, 1, "{\"message\":\"query_parameters\"}", NULL);
    fake_taken(conn, 15); /* the answer of 0x0104 goes first */
    fake_end();
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"JSON becomes a frame, and the answer goes to the requester",
         json_becomes_a_frame_and_the_answer_goes_to_the_requester},
        {"a rejection is told and settles", a_rejection_is_told_and_settles},
        {"a command is repeated identically with growing waits and then fails",
         a_command_is_repeated_identically_with_growing_waits_and_then_fails},
        {"an answer after a repetition counts", an_answer_after_a_repetition_counts},
        {"parameters are answered by 0x0104 whatever else comes",
         parameters_are_answered_by_0x0104_whatever_else_comes},
        {"an answer without serial is of the oldest command of its kind",
         an_answer_without_serial_is_of_the_oldest_command_of_its_kind},
        {"an acknowledgement stops repetition and the proper answer completes",
         an_acknowledgement_stops_repetition_and_the_proper_answer_completes},
        {"a camera that says no is a rejection", a_camera_that_says_no_is_a_rejection},
        {"what cannot be encoded is told with the field",
         what_cannot_be_encoded_is_told_with_the_field},
        {"a frame in hexadecimal or bytes goes out under our serial and its phone",
         a_frame_in_hexadecimal_or_bytes_goes_out_under_our_serial_and_its_phone},
        {"J5: a command has the form of the terminal", a_command_has_the_form_of_the_terminal},
        {"J9: a long body goes in packages with consecutive serials",
         a_long_body_goes_in_packages_with_consecutive_serials},
        {"J9: a burst gets a serial each and the window holds",
         a_burst_gets_a_serial_each_and_the_window_holds},
        {"a full connection holds commands back", a_full_connection_holds_commands_back},
        {"commands wait for a terminal that is offline and survive its loss",
         commands_wait_for_a_terminal_that_is_offline_and_survive_its_loss},
        {"a request is told when the connection goes", a_request_is_told_when_the_connection_goes},
        {"a request moves with a take-over", a_request_moves_with_a_take_over},
        {"a command that expires is not repeated", a_command_that_expires_is_not_repeated},
        {"what wants no answer is over when it is sent",
         what_wants_no_answer_is_over_when_it_is_sent},
        {"a requester is answered to itself", a_requester_is_answered_to_itself},
        {"the gateway lends its name to no response topic of others",
         the_gateway_lends_its_name_to_no_response_topic_of_others},
        {"the sender may choose the serial", the_sender_may_choose_the_serial},
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_command", tests);
}
