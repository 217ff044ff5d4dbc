/* SPDX-License-Identifier: Apache-2.0 */

/* The simulated terminal against the frontend: the two know nothing of each other but the standard.
 * In all editions: login, track, commands of every kind, a photo with a lost package, outages. */

#include "jt808/jt808_simulator.h"
#include "jt808_terminal.h"

struct road {
    struct wire_simulator *terminal;
    struct pg_conn *conn; /* NULL: out of coverage */
    uint8_t up[1 << 16];
    size_t up_len;
    int64_t now_ms;
    unsigned online, refused, commands, hang_ups;
    uint16_t lose; /* message id of which the next frame with a package index above 1 is lost */
    bool deaf;     /* nothing of the platform arrives */
};

static void on_send(void *arg, struct pg_bytes frame)
{
    struct road *road = arg;

    CU_ASSERT_FATAL(road->up_len + frame.len <= sizeof(road->up));
    if (road->lose) {
        struct jt808_scratch scratch;
        struct jt808_frame f;
        CU_ASSERT_EQUAL_FATAL(jt808_frame_decode(frame, 0, &scratch, &f), JT808_ERROR_NONE);
        if (f.msg_id == road->lose && f.package_index > 1) {
            road->lose = 0;
            return;
        }
    }
    memcpy(road->up + road->up_len, frame.data, frame.len);
    road->up_len += frame.len;
}

static void on_event(void *arg, enum jt808_simulator_event event, const struct jt808_frame *frame)
{
    struct road *road = arg;

    road->online += event == JT808_SIM_ONLINE;
    road->refused += event == JT808_SIM_REFUSED;
    road->hang_ups += event == JT808_SIM_HANG_UP;
    road->commands += event == JT808_SIM_COMMAND && frame != NULL;
}

static void exchange(struct road *road)
{
    bool moved = true;

    while (moved && road->conn) {
        moved = false;
        if (road->up_len > 0) {
            static uint8_t bytes[sizeof(road->up)];
            size_t len = road->up_len;
            memcpy(bytes, road->up, len);
            road->up_len = 0;
            fake_feed(road->conn, (struct pg_bytes){.data = bytes, .len = len});
            moved = true;
        }
        struct pg_bytes down_bytes = fake_written(road->conn);
        if (down_bytes.len > 0) {
            if (!road->deaf) {
                road->terminal->ops->bytes(road->terminal, down_bytes, road->now_ms);
            }
            fake_taken(road->conn, down_bytes.len);
            moved = true;
        }
    }
    road->up_len = 0;
}

static void pass(struct road *road, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 500) {
        fake_advance(500);
        road->now_ms += 500;
        if (road->terminal->ops->deadline(road->terminal) <= road->now_ms) {
            road->terminal->ops->due(road->terminal, road->now_ms);
        }
        exchange(road);
    }
}

static void connect_road(struct road *road)
{
    road->conn = fake_connect();
    road->terminal->ops->connected(road->terminal, road->now_ms);
    exchange(road);
}

static void begin(struct road *road, unsigned edition)
{
    memset(road, 0, sizeof(*road));
    fake_begin(&jt808_protocol);
    struct jt808_simulator_options options = {
        .phone = "13800138000",
        .edition = edition,
        .interval_ms = 5000,
        .heartbeat_ms = 30000,
        .wall_ms = pg_wall_ms(),
        .seed = 7,
        .latitude = 31.23,
        .longitude = 121.47,
        .send = on_send,
        .event = on_event,
        .arg = road,
    };
    road->terminal = jt808_simulator_open(&options, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(road->terminal);
    connect_road(road);
    CU_ASSERT_TRUE_FATAL(road->terminal->ops->online(road->terminal));
}

static void end(struct road *road)
{
    wire_simulator_close(&road->terminal);
    fake_end();
}

static const char *phone_of(unsigned edition)
{
    return edition == JT808_2019 ? "00000000013800138000" : "013800138000";
}

static size_t count_up(unsigned edition, const char *id, const struct fake_message **last)
{
    char topic[128];

    (void)snprintf(topic, sizeof(topic), "jt808/%s/up/%s", phone_of(edition), id);
    return fake_count_on(topic, last);
}

static const unsigned editions[] = {JT808_2011, JT808_2013, JT808_2019};

static void it_logs_in_and_drives(void)
{
    for (size_t i = 0; i < 3; i++) {
        struct road road;
        const struct fake_message *first = NULL, *last = NULL;
        begin(&road, editions[i]);
        pass(&road, 6000);
        CU_ASSERT(count_up(editions[i], "0200", &first) >= 1);
        char *before = hex_text(first->msg->payload);
        pass(&road, 120000);
        CU_ASSERT(count_up(editions[i], "0200", &last) >= 20);
        char *after = hex_text(last->msg->payload);
        CU_ASSERT_STRING_NOT_EQUAL(before, after);
        CU_ASSERT(payload_has(last, "\"latitude\":31.2") && payload_has(last, "\"positioned\""));
        CU_ASSERT(payload_has(last, "\"time\":\"2026-03-01T08:02:"));
        CU_ASSERT(payload_has(last, "mileage") && payload_has(last, "satellites"));
        const struct jt808_simulator_counts *counts = jt808_simulator_counts(road.terminal);
        CU_ASSERT(counts->repeated == 0 && counts->bad_frames == 0);
        free(before);
        free(after);
        end(&road);
    }
}

static void it_obeys(void)
{
    static const struct {
        const char *payload, *expected;
        uint16_t since;
    } commands[] = {
        {"{\"id\":\"0x8300\",\"body\":{\"hex\":\"0401414243\"}}", "\"status\":\"ok\"", 2011},
        {"{\"message\":\"query_parameters\"}", "\"message\":\"parameters_response\"", 2011},
        {"{\"message\":\"query_attributes\"}", "\"message\":\"attributes_response\"", 2013},
        {"{\"message\":\"location_query\"}", "\"message\":\"location_query_response\"", 2011},
        {"{\"id\":\"0x8500\",\"body\":{\"hex\":\"0001000100\"}}",
         "\"message\":\"vehicle_control_response\"", 2011},
        {"{\"id\":\"0x8106\",\"body\":{\"hex\":\"0200000001000000ff\"}}", "heartbeat_interval",
         2013},
        {"{\"id\":\"0x8202\",\"body\":{\"hex\":\"00020000000a\"}}", "\"status\":\"ok\"", 2011},
        {"{\"id\":\"0x8f00\",\"body\":{\"hex\":\"00\"}}", "\"status\":\"rejected\",\"result\":3",
         2011},
        {"{\"id\":\"0x8103\",\"body\":{\"hex\":\"ff\"}}", "\"status\":", 2011},
    };

    for (size_t i = 0; i < 3; i++) {
        struct road road;
        begin(&road, editions[i]);
        for (size_t j = 0; j < sizeof(commands) / sizeof(commands[0]); j++) {
            const struct fake_message *m = NULL;
            if (commands[j].since > editions[i]) {
                continue;
            }
            fake_forget_messages();
            fake_send(&(struct fake_send){.client_id = phone_of(editions[i]),
                                          .payload = pg_bytes_str(commands[j].payload),
                                          .qos = 1,
                                          .response_topic = "app/response"});
            exchange(&road);
            CU_ASSERT_EQUAL(fake_count_on("app/response", &m), 1);
            if (!payload_has(m, commands[j].expected)) {
                printf("    %u: %s -> %.*s\n", editions[i], commands[j].payload,
                       m ? (int)m->msg->payload.len : 0,
                       m ? (const char *)m->msg->payload.data : "");
            }
            CU_ASSERT_TRUE(payload_has(m, commands[j].expected));
        }
        CU_ASSERT(road.commands >= 7);
        end(&road);
    }
}

static void a_photo_with_a_lost_package_arrives_whole(void)
{
    for (size_t i = 0; i < 3; i++) {
        struct road road;
        const struct fake_message *m = NULL;
        begin(&road, editions[i]);
        road.lose = 0x0801;
        fake_send(&(struct fake_send){
            .client_id = phone_of(editions[i]),
            .payload =
                PG_BYTES_OF("{\"id\":\"0x8801\",\"body\":{\"hex\":\"010001000000010540404040\"}}"),
            .qos = 1,
            .response_topic = "app/response"});
        exchange(&road);
        CU_ASSERT_EQUAL(count_up(editions[i], "0801", NULL), 0);
        pass(&road, 7000);
        CU_ASSERT_EQUAL(count_up(editions[i], "0801", &m), 1);
        CU_ASSERT(payload_has(m, "ffd8") && payload_has(m, "ffd9"));
        pass(&road, 30000);
        CU_ASSERT(fake_count_on("app/response", &m) == 1 && payload_has(m, "\"status\":\"ok\""));
        CU_ASSERT_EQUAL(jt808_simulator_counts(road.terminal)->repeated, 0);
        end(&road);
    }
}

static void what_it_could_not_send_comes_later(void)
{
    struct road road;
    const struct fake_message *m = NULL;

    begin(&road, JT808_2019);
    pass(&road, 10000);
    fake_break(road.conn);
    road.conn = NULL;
    road.terminal->ops->disconnected(road.terminal);
    CU_ASSERT_FALSE(road.terminal->ops->online(road.terminal));
    pass(&road, 60000);
    CU_ASSERT(jt808_simulator_counts(road.terminal)->locations_stored >= 11);
    CU_ASSERT_EQUAL(count_up(JT808_2019, "0704", NULL), 0);
    connect_road(&road); /* with the code that it has */
    CU_ASSERT_EQUAL(count_up(JT808_2019, "0704", &m), 1);
    CU_ASSERT_TRUE(payload_has(m, "\"type\":\"supplement\""));
    CU_ASSERT_EQUAL(fake_counter("registrations"), 1);
    CU_ASSERT_EQUAL(fake_counter("logins"), 2);
    end(&road);
}

static void it_repeats_and_in_the_end_hangs_up(void)
{
    struct road road;

    begin(&road, JT808_2013);
    road.deaf = true;
    pass(&road, 400000);
    CU_ASSERT(jt808_simulator_counts(road.terminal)->repeated > 20);
    CU_ASSERT(road.hang_ups > 0);
    CU_ASSERT(fake_counter("duplicates") > 0); /* and the frontend did not publish them twice */
    end(&road);
}

static enum pg_reason nobody(const struct pg_login *login)
{
    (void)login;
    return PG_NOT_AUTHORIZED;
}

static void refused_it_registers_again(void)
{
    struct road road = {0};

    begin(&road, JT808_2013);
    fake_login = nobody;
    fake_break(road.conn);
    road.terminal->ops->disconnected(road.terminal);
    connect_road(&road);
    CU_ASSERT_EQUAL(road.refused, 1);
    fake_login = NULL;
    pass(&road, 6000);
    CU_ASSERT_TRUE(road.terminal->ops->online(road.terminal));
    CU_ASSERT_EQUAL(fake_counter("registrations"), 2);
    end(&road);
}

static void phones_that_do_not_fit_are_refused(void)
{
    struct jt808_simulator_options options = {
        .phone = "1380013800012", .edition = JT808_2013, .interval_ms = 1000, .send = on_send};

    CU_ASSERT_PTR_NULL(jt808_simulator_open(&options, 0));
    options.edition = JT808_2019;
    struct wire_simulator *s = jt808_simulator_open(&options, 0);
    CU_ASSERT_PTR_NOT_NULL(s);
    wire_simulator_close(&s);
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"it logs in and drives", it_logs_in_and_drives},
        {"it obeys", it_obeys},
        {"a photo with a lost package arrives whole", a_photo_with_a_lost_package_arrives_whole},
        {"what it could not send comes later", what_it_could_not_send_comes_later},
        {"it repeats, and in the end hangs up", it_repeats_and_in_the_end_hangs_up},
        {"refused, it registers again", refused_it_registers_again},
        {"phones that do not fit are refused", phones_that_do_not_fit_are_refused},
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_simulator", tests);
}
