/* SPDX-License-Identifier: Apache-2.0 */

/* Forwarding to another platform, by the clock of the standard: logins and their repetitions,
 * frames as they came and as re-issued, answers of every form, what is refused or not answered; and
 * what is handed on to a block that forwards. */

#include "fake_calls.h"
#include "gbt32960/gbt32960_forward.h"
#include "gbt32960_vehicle.h"

#define US     "calls/block"
#define CITY   "PGATEPLATFORM0001"
#define MINUTE 60000

static struct fwd_conf *block(void)
{
    return fake_conf();
}

/* A link that is connected and has sent its login. */
static struct pg_conn *begun(void)
{
    fake_calls_begin();
    fake_begin(&forward_protocol);
    block()->platform = CITY;
    block()->username = "gateway";
    block()->password = "secret";
    block()->heartbeat_ms = 0;
    struct pg_conn *conn = fake_connect();
    CU_ASSERT_TRUE(down_is_nothing(conn));
    forward_protocol.connected(conn);
    return conn;
}

static struct pg_conn *link_up(void)
{
    struct pg_conn *conn = begun();
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_COMMAND, CITY, NULL));
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_SUCCESS, CITY, TIME);
    CU_ASSERT_TRUE(fake_call().welcomed);
    return conn;
}

static void queue_as(const char *protocol, uint8_t command, const char *vin, const char *unit)
{
    static uint8_t wire[256];
    struct gbt_frame frame = up_frame(GBT_2016, command, vin);
    frame.unit = hex_bytes(unit);
    struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("t"),
        .payload = {.data = wire, .len = gbt_frame_encode(&frame, wire, sizeof(wire))},
        .qos = 1,
        .protocol = protocol,
    };
    free((void *)(uintptr_t)frame.unit.data);
    fake_queue(US, pg_msg_new(&spec), 1, false, NULL, 0);
}

/* A report of a vehicle, whose time ends in this second. */
static void queue(const char *vin, const char *second)
{
    char unit[64];
    (void)snprintf(unit, sizeof(unit), "1a03010800%s" POSITION, second);
    queue_as("gbt32960", GBT_REALTIME_REPORT, vin, unit);
}

/* The next report sent is that one. */
static bool sends(struct pg_conn *conn, uint8_t command, const char *vin, const char *second)
{
    char unit[64];
    (void)snprintf(unit, sizeof(unit), "1a03010800%s" POSITION, second);
    return down_is(conn, command, GBT_COMMAND, vin, unit);
}

static void answers(struct pg_conn *conn, uint8_t command, uint8_t flag, const char *vin,
                    const char *unit)
{
    up_flag(conn, GBT_2016, command, flag, vin, unit);
}

static void wake(struct pg_conn *conn)
{
    forward_protocol.deliver(fake_client(conn));
}

/* ---- login ---------------------------------------------------------------------------------- */

static void the_login_has_every_field(void)
{
    struct pg_conn *conn = begun();
    struct down d = down(conn);
    static const uint8_t rest[33] = "gateway\0\0\0\0\0secret\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1";
    CU_ASSERT_EQUAL(d.frame.command, GBT_PLATFORM_LOGIN);
    CU_ASSERT_EQUAL(d.frame.unit.len, 41);
    CU_ASSERT_EQUAL(memcmp(d.unit + 8, rest, sizeof(rest)), 0);
    CU_ASSERT(d.unit[6] != 0 || d.unit[7] != 0);
    size_t count;
    const struct pg_login *login = fake_last_login(&count);
    CU_ASSERT(login->trusted && login->session_expiry_s == 7 * 86400 && login->window == 128);
    CU_ASSERT(pg_bytes_equal(login->client_id, PG_BYTES_OF(US)));
    fake_end();
}

/* Chapter 5: each minute, three times, then half an hour. */
static void logins_in_vain(void)
{
    enum pg_reason reason;
    struct pg_conn *conn = begun();
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_COMMAND, CITY, NULL));
    CU_ASSERT_EQUAL(fake_call().rest_ms, MINUTE);
    fake_advance(MINUTE - 200);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_advance(400);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_COMMAND, CITY, NULL));
    /* A refusal does not make it any sooner. */
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_ERROR, CITY, TIME);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_advance(MINUTE + 200);
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_COMMAND, CITY, NULL));
    CU_ASSERT_EQUAL(fake_call().rest_ms, 30 * MINUTE);
    CU_ASSERT_FALSE(fake_is_closed(conn, &reason));
    fake_advance(MINUTE + 200);
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason));
    CU_ASSERT_EQUAL(reason, PG_TIMED_OUT);
    CU_ASSERT_EQUAL(fake_counter("logins_failed"), 3);
    /* After the rest it begins anew. */
    conn = fake_connect();
    forward_protocol.connected(conn);
    CU_ASSERT_EQUAL(fake_call().rest_ms, MINUTE);
    fake_end();
}

/* Each login has the next serial; a repetition has that of the login. */
static void serials_grow(void)
{
    struct pg_conn *conn = begun();
    struct down first = down(conn);
    fake_advance(MINUTE + 200);
    struct down again = down(conn);
    CU_ASSERT_EQUAL(memcmp(first.unit + 6, again.unit + 6, 2), 0);
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_SUCCESS, CITY, TIME);
    fake_break(conn);
    conn = fake_connect();
    forward_protocol.connected(conn);
    struct down second = down(conn);
    CU_ASSERT_EQUAL((first.unit[6] << 8 | first.unit[7]) + 1, second.unit[6] << 8 | second.unit[7]);
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_SUCCESS, CITY, TIME);
    pg_conn_close(conn, PG_DRAINING, NULL);
    struct down logout = down(conn);
    CU_ASSERT_EQUAL(logout.frame.command, GBT_PLATFORM_LOGOUT);
    CU_ASSERT_EQUAL(logout.frame.unit.len, 8);
    CU_ASSERT_EQUAL(memcmp(logout.unit + 6, second.unit + 6, 2), 0);
    fake_end();
}

/* ---- frames --------------------------------------------------------------------------------- */

static void what_was_made_before_the_login_is_reissued(void)
{
    struct pg_conn *conn = begun();
    CU_ASSERT_TRUE(down_is(conn, GBT_PLATFORM_LOGIN, GBT_COMMAND, CITY, NULL));
    queue_as("gbt32960", GBT_VEHICLE_LOGIN, VIN, LOGIN);
    queue(VIN, "01");
    wake(conn);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_advance(1000);
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_SUCCESS, CITY, TIME);
    CU_ASSERT_TRUE(down_is(conn, GBT_VEHICLE_LOGIN, GBT_COMMAND, VIN, LOGIN));
    CU_ASSERT_TRUE(sends(conn, GBT_REISSUE_REPORT, VIN, "01"));
    queue(VIN, "02");
    wake(conn);
    CU_ASSERT_TRUE(sends(conn, GBT_REALTIME_REPORT, VIN, "02"));
    CU_ASSERT_EQUAL(fake_counter("reissued"), 1);
    CU_ASSERT_EQUAL(fake_counter("sent"), 3);
    /* What is out when the link breaks was not acknowledged. */
    answers(conn, GBT_VEHICLE_LOGIN, GBT_SUCCESS, VIN, TIME);
    fake_break(conn);
    CU_ASSERT_EQUAL(fake_waiting(US), 2);
    conn = fake_connect();
    forward_protocol.connected(conn);
    (void)down(conn);
    up_flag(conn, GBT_2016, GBT_PLATFORM_LOGIN, GBT_SUCCESS, CITY, TIME);
    CU_ASSERT_TRUE(sends(conn, GBT_REISSUE_REPORT, VIN, "01"));
    CU_ASSERT_TRUE(sends(conn, GBT_REISSUE_REPORT, VIN, "02"));
    answers(conn, GBT_REISSUE_REPORT, GBT_SUCCESS, VIN, "1a0301080002");
    answers(conn, GBT_REISSUE_REPORT, GBT_SUCCESS, VIN, "1a0301080001");
    CU_ASSERT_EQUAL(fake_waiting(US), 0);
    fake_end();
}

/* By time; by order where a platform answers with a time of its own, or none; never of another VIN
 * or command. */
static void answers_find_their_frame(void)
{
    enum pg_reason last;
    struct pg_conn *conn = link_up();
    queue(VIN, "01");
    queue(VIN, "02");
    queue(VIN_2, "02");
    wake(conn);
    answers(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, "LPGATE00000000019", "1a0301080001");
    answers(conn, GBT_REISSUE_REPORT, GBT_SUCCESS, VIN, "1a0301080001");
    CU_ASSERT_EQUAL(fake_settled(&last), 0);
    CU_ASSERT_EQUAL(fake_counter("unmatched"), 2);
    answers(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN_2, "");
    answers(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN, "1a0301080002");
    answers(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN, "1a0301090909");
    CU_ASSERT_EQUAL(fake_settled(&last), 3);
    CU_ASSERT_EQUAL(last, PG_OK);
    answers(conn, GBT_REALTIME_REPORT, GBT_SUCCESS, VIN, "1a0301080001");
    CU_ASSERT_EQUAL(fake_counter("unmatched"), 3);
    CU_ASSERT_EQUAL(fake_counter("acknowledged"), 3);
    fake_end();
}

/* Each minute, three times, and then no more; others are not held up. */
static void refused_and_unanswered_frames_are_repeated(void)
{
    enum pg_reason last = PG_OK;
    struct pg_conn *conn = link_up();
    queue(VIN, "01");
    queue(VIN_2, "02");
    wake(conn);
    (void)down(conn), (void)down(conn);
    for (int i = 0; i < 3; i++) {
        answers(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN, "1a0301080001");
        CU_ASSERT_TRUE(down_is_nothing(conn));
        fake_advance(MINUTE + 200);
        CU_ASSERT_TRUE(sends(conn, GBT_REALTIME_REPORT, VIN, "01"));
        CU_ASSERT_TRUE(sends(conn, GBT_REALTIME_REPORT, VIN_2, "02"));
    }
    CU_ASSERT_EQUAL(fake_settled(&last), 0);
    answers(conn, GBT_REALTIME_REPORT, GBT_ERROR, VIN, "1a0301080001");
    CU_ASSERT_EQUAL(fake_settled(&last), 1);
    CU_ASSERT_EQUAL(last, PG_REJECTED);
    fake_advance(MINUTE + 200);
    CU_ASSERT_EQUAL(fake_settled(&last), 2);
    CU_ASSERT_EQUAL(last, PG_TIMED_OUT);
    CU_ASSERT_EQUAL(fake_counter("given_up"), 2);
    CU_ASSERT_EQUAL(fake_counter("repeated"), 6);
    fake_end();
}

static void a_link_without_any_answer_is_dead(void)
{
    enum pg_reason reason;
    struct pg_conn *conn = link_up();
    fake_advance(1000);
    queue(VIN, "01");
    wake(conn);
    fake_advance(MINUTE + 200);
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason));
    CU_ASSERT_EQUAL(reason, PG_KEEPALIVE_TIMEOUT);
    fake_turn();
    CU_ASSERT_EQUAL(fake_waiting(US), 1);
    fake_end();
}

/* Whoever may publish to any/p2p/forward/NAME does not speak for vehicles. */
static void only_frames_of_vehicles_are_sent(void)
{
    enum pg_reason last;
    struct pg_conn *conn = link_up();
    queue_as("mqtt", GBT_REALTIME_REPORT, VIN, REPORT);
    queue_as("gbt32960", GBT_PLATFORM_LOGIN, VIN, PLATFORM_LOGIN);
    wake(conn);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_settled(&last), 2);
    CU_ASSERT_EQUAL(last, PG_PAYLOAD_INVALID);
    CU_ASSERT_EQUAL(fake_counter("invalid"), 2);
    fake_end();
}

static void the_rate_is_kept(void)
{
    struct pg_conn *conn = link_up();
    size_t sent = 0;
    block()->rate = 10;
    for (int i = 0; i < 100; i++) {
        queue(VIN, "01");
    }
    wake(conn);
    for (int i = 0; i < 5; i++) {
        fake_advance(1000);
        while (down(conn).frame.command != 0) {
            sent++;
        }
    }
    CU_ASSERT(sent >= 45 && sent <= 51);
    fake_end();
}

/* ---- what is handed on ---------------------------------------------------------------------- */

static struct fwd_conf wanting(const char *const *patterns, size_t count, int units)
{
    return (struct fwd_conf){.vehicles = {.items = patterns, .count = count}, .units = units};
}

static void vehicles_are_handed_on_to_the_blocks_that_want_them(void)
{
    static const char *const some[] = {"X*", "LPGATE?0000000017"};
    const struct fwd_conf wants = wanting(some, 2, FWD_UNITS_AS_RECEIVED);
    fake_calls_begin();
    fake_block("forward/city", &wants);
    fake_begin(&gbt32960_protocol);
    (void)logged_in(VIN_2);
    CU_ASSERT_STRING_EQUAL(fake_handed_to(), "");
    struct pg_conn *conn = logged_in(VIN);
    CU_ASSERT_STRING_EQUAL(fake_handed_to(), "forward/city");
    size_t before = fake_message_count();
    up(conn, GBT_REALTIME_REPORT, VIN, REPORT);
    CU_ASSERT_EQUAL(fake_message_count(), before + 2);
    const struct pg_msg *copy = fake_message(before + 1)->msg;
    struct gbt_frame frame;
    CU_ASSERT_EQUAL(gbt_frame_decode(copy->payload, &frame), GBT_ERROR_NONE);
    CU_ASSERT(frame.command == GBT_REALTIME_REPORT && copy->qos == 1 && !copy->retain);
    CU_ASSERT_STRING_EQUAL(copy->protocol, "gbt32960");
    up(conn, GBT_HEARTBEAT, VIN, ""); /* not between platforms */
    CU_ASSERT_EQUAL(fake_message_count(), before + 2);
    up(conn, GBT_VEHICLE_LOGOUT, VIN, LOGOUT);
    CU_ASSERT_EQUAL(gbt_frame_decode(fake_message(before + 2)->msg->payload, &frame),
                    GBT_ERROR_NONE);
    CU_ASSERT_EQUAL(frame.command, GBT_VEHICLE_LOGOUT);
    fake_end();
}

/* A vehicle is not told of success before all have its report. */
static void the_answer_waits_for_every_copy(void)
{
    static const char *const all[] = {"*"};
    const struct fwd_conf wants = wanting(all, 1, FWD_UNITS_AS_RECEIVED);
    fake_calls_begin();
    fake_block("forward/city", &wants);
    fake_block("forward/town", &wants);
    fake_begin(&gbt32960_protocol);
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = logged_in(VIN);
    fake_publish_result = PG_PENDING;
    for (int i = 0; i < 2; i++) {
        bool fails = i == 1;
        up(conn, GBT_REALTIME_REPORT, VIN, fails ? "1a0301080006" POSITION : REPORT);
        uint64_t token = fake_message(fake_message_count() - 1)->token;
        fake_decide(token, PG_OK);
        fake_decide(token, fails ? PG_STORE_FAILED : PG_NO_SUBSCRIBERS);
        CU_ASSERT_TRUE(down_is_nothing(conn));
        fake_decide(token, PG_OK);
        CU_ASSERT_TRUE(
            down_is(conn, GBT_REALTIME_REPORT, fails ? GBT_ERROR : GBT_SUCCESS, VIN, NULL));
    }
    fake_end();
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"the login has every field", the_login_has_every_field},
        {"logins in vain", logins_in_vain},
        {"serials grow", serials_grow},
        {"what was made before the login is re-issued", what_was_made_before_the_login_is_reissued},
        {"answers find their frame", answers_find_their_frame},
        {"refused and unanswered frames are repeated", refused_and_unanswered_frames_are_repeated},
        {"a link without any answer is dead", a_link_without_any_answer_is_dead},
        {"only frames of vehicles are sent", only_frames_of_vehicles_are_sent},
        {"the rate is kept", the_rate_is_kept},
        {"vehicles are handed on", vehicles_are_handed_on_to_the_blocks_that_want_them},
        {"the answer waits for every copy", the_answer_waits_for_every_copy},
        CU_TEST_INFO_NULL,
    };
    return run_suite("forwarding", tests);
}
