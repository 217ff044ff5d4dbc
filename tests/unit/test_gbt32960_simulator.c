/* SPDX-License-Identifier: Apache-2.0 */

/* The simulated vehicle against the frontend: the two know nothing of each other but the standard.
 * In both editions: login, reports without a fault, batteries of any size, alarms, commands,
 * outages, refusals. */

#include <time.h>

#include "gbt32960/gbt32960_simulator.h"
#include "gbt32960_vehicle.h"

struct road {
    struct wire_simulator *vehicle;
    struct pg_conn *conn; /* NULL: out of coverage */
    uint8_t up[1 << 17];
    size_t up_len;
    int64_t now_ms;
    unsigned online, refused, commands, hang_ups, alarms;
    bool deaf; /* nothing of the platform arrives */
};

static struct road road;

static void on_send(void *arg, struct pg_bytes frame)
{
    (void)arg;
    CU_ASSERT_FATAL(road.up_len + frame.len <= sizeof(road.up));
    memcpy(road.up + road.up_len, frame.data, frame.len);
    road.up_len += frame.len;
}

static void on_event(void *arg, enum gbt_simulator_event event, const struct gbt_frame *frame)
{
    (void)arg;
    road.online += event == GBT_SIM_ONLINE;
    road.refused += event == GBT_SIM_REFUSED;
    road.hang_ups += event == GBT_SIM_HANG_UP;
    road.alarms += event == GBT_SIM_ALARM;
    road.commands += event == GBT_SIM_COMMAND && frame != NULL;
}

static void exchange(void)
{
    static uint8_t bytes[sizeof(road.up)];
    bool moved = true;

    while (moved && road.conn) {
        moved = false;
        if (road.up_len > 0) {
            size_t len = road.up_len;
            memcpy(bytes, road.up, len);
            road.up_len = 0;
            fake_feed(road.conn, (struct pg_bytes){.data = bytes, .len = len});
            moved = true;
        }
        struct pg_bytes down_bytes = fake_written(road.conn);
        if (down_bytes.len > 0) {
            if (!road.deaf) {
                road.vehicle->ops->bytes(road.vehicle, down_bytes, road.now_ms);
            }
            fake_taken(road.conn, down_bytes.len);
            moved = true;
        }
    }
    road.up_len = 0;
}

static void pass(int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 500) {
        fake_advance(500);
        road.now_ms += 500;
        if (road.vehicle->ops->deadline(road.vehicle) <= road.now_ms) {
            road.vehicle->ops->due(road.vehicle, road.now_ms);
        }
        exchange();
    }
}

static void connect_road(void)
{
    road.conn = fake_connect();
    road.vehicle->ops->connected(road.vehicle, road.now_ms);
    exchange();
}

static void begin_road(unsigned edition, unsigned cells)
{
    struct gbt_simulator_options options = {.vin = VIN,
                                            .edition = edition,
                                            .interval_ms = 10000,
                                            .heartbeat_ms = 60000,
                                            .wall_ms = INT64_C(1772323201000),
                                            .seed = 7,
                                            .cells = cells,
                                            .latitude = 31.23,
                                            .longitude = 121.47,
                                            .send = on_send,
                                            .event = on_event};

    fake_begin(&gbt32960_protocol);
    memset(&road, 0, sizeof(road));
    road.vehicle = gbt_simulator_open(&options, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(road.vehicle);
}

static void end_road(void)
{
    CU_ASSERT_EQUAL(gbt_simulator_counts(road.vehicle)->bad_frames, 0);
    wire_simulator_close(&road.vehicle);
    fake_end();
}

static void in_both_editions_reports_are_taken_without_a_fault(void)
{
    const struct fake_message *m = NULL;

    for (unsigned edition = GBT_2016; edition <= GBT_2025; edition += GBT_2025 - GBT_2016) {
        begin_road(edition, 96);
        connect_road();
        CU_ASSERT_EQUAL(road.online, 1);
        pass(100000);
        CU_ASSERT(fake_count_on("gbt32960/" VIN "/up/realtime_report", &m) >= 10);
        CU_ASSERT_EQUAL(fake_counter("bad_unit"), 0);
        CU_ASSERT_EQUAL(fake_counter("out_of_range"), 0);
        CU_ASSERT_EQUAL(fake_counter("bad_bcc"), 0);
        CU_ASSERT_TRUE(payload_has(m, "\"name\":\"vehicle\""));
        CU_ASSERT_FALSE(payload_has(m, "null"));
        end_road();
    }
}

static void time_passes_in_reports_as_on_the_clock(void)
{
    const struct fake_message *m = NULL;

    begin_road(GBT_2016, 1);
    connect_road();
    pass(10000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/realtime_report", &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"body\":{\"time\":\"2026-03-01T08:00:11+08:00\""));
    end_road();
}

static void a_large_battery_goes_in_parts_in_2016_and_whole_in_2025(void)
{
    const struct fake_message *m = NULL;

    begin_road(GBT_2016, 450);
    connect_road();
    pass(10000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/cell_voltages", &m), 2);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/realtime_report", NULL), 6);
    size_t commas = 0;
    for (size_t i = 0; m && i < m->msg->payload.len; i++) {
        commas += m->msg->payload.data[i] == ',';
    }
    CU_ASSERT(commas >= 449 && commas < 465);
    end_road();
    begin_road(GBT_2025, 450);
    connect_road();
    pass(10000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/realtime_report", NULL), 2);
    end_road();
}

static void around_an_alarm_reports_come_each_second(void)
{
    const struct fake_message *m = NULL;

    begin_road(GBT_2025, 96);
    connect_road();
    for (unsigned i = 0; i < 600 && road.alarms == 0; i++) {
        pass(1000);
    }
    CU_ASSERT_EQUAL_FATAL(road.alarms, 1);
    fake_forget_messages();
    pass(15000);
    CU_ASSERT(fake_count_on("gbt32960/" VIN "/up/realtime_report", &m) >= 14);
    CU_ASSERT(payload_has(m, "\"max_level\":3") && payload_has(m, "battery_high_temperature"));
    pass(60000);
    fake_forget_messages();
    pass(20000);
    CU_ASSERT(fake_count_on("gbt32960/" VIN "/up/realtime_report", &m) <= 3);
    CU_ASSERT_FALSE(payload_has(m, "\"max_level\":3"));
    end_road();
}

/* From 30 s before a level-3 alarm records are to be there, one a second; the part before it comes
 * as re-issued ones (B.3.5.2). Nothing else was stored. */
static void the_seconds_before_an_alarm_are_reissued(void)
{
    const struct fake_message *m = NULL;
    char time[40] = "";

    begin_road(GBT_2016, 96);
    connect_road();
    for (unsigned i = 0; i < 1200 && road.alarms == 0; i++) {
        pass(500);
    }
    CU_ASSERT_EQUAL_FATAL(road.alarms, 1);
    int64_t began_ms = road.now_ms;
    pass(40000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/reissue_report", &m), 30);
    CU_ASSERT_EQUAL(gbt_simulator_counts(road.vehicle)->reissued, 30);
    CU_ASSERT_EQUAL(gbt_simulator_counts(road.vehicle)->reports_stored, 30);
    CU_ASSERT_FALSE(payload_has(m, "\"max_level\":3"));
    /* The latest of them is of the second before the alarm, wall clock of UTC+8. */
    time_t last = (time_t)((INT64_C(1772323201000) + began_ms) / 1000 - 1 + 8 * 3600);
    struct tm tm;
    CU_ASSERT_NOT_EQUAL(
        strftime(time, sizeof(time), "\"time\":\"%Y-%m-%dT%H:%M:%S+08:00\"", gmtime_r(&last, &tm)),
        0);
    CU_ASSERT(payload_has(m, time));
    pass(60000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/reissue_report", NULL), 30);
    end_road();
}

static void commands_are_obeyed_and_answered(void)
{
    static const struct {
        const char *payload, *status;
    } commands[] = {
        {"{\"message\":\"parameter_query\",\"body\":{\"parameter_ids\":[2,7,9,16]}}",
         "\"value\":10"},
        {"{\"message\":\"parameter_set\",\"body\":{\"parameters\":{\"report_period_s\":5}}}",
         "\"status\":\"ok\""},
        {"{\"message\":\"parameter_query\",\"body\":{\"parameter_ids\":[2]}}", "\"value\":5"},
        {"{\"message\":\"terminal_control\",\"body\":{\"control\":\"terminal_alarm\","
         "\"alarm_level\":2,\"alarm_text\":\"x\"}}",
         "\"status\":\"ok\""},
        {"{\"message\":\"terminal_control\",\"body\":{\"control\":\"reset\"}}",
         "\"status\":\"ok\""},
    };
    const struct fake_message *m = NULL;

    for (unsigned edition = GBT_2016; edition <= GBT_2025; edition += GBT_2025 - GBT_2016) {
        begin_road(edition, 10);
        connect_road();
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            const struct fake_send send = {.client_id = VIN,
                                           .topic = "x",
                                           .payload = pg_bytes_str(commands[i].payload),
                                           .qos = 1,
                                           .response_topic = "r"};
            fake_send(&send);
            exchange();
            CU_ASSERT_EQUAL(fake_count_on("r", &m), i + 1);
            CU_ASSERT_TRUE(payload_has(m, commands[i].status));
        }
        CU_ASSERT_EQUAL(road.commands, 5);
        CU_ASSERT_EQUAL(road.hang_ups, 1);
        end_road();
    }
}

static void what_could_not_be_sent_is_reissued(void)
{
    begin_road(GBT_2016, 10);
    connect_road();
    fake_break(road.conn);
    road.conn = NULL;
    road.vehicle->ops->disconnected(road.vehicle);
    pass(60000);
    CU_ASSERT_EQUAL(gbt_simulator_counts(road.vehicle)->reports_stored, 6);
    connect_road();
    pass(100000);
    CU_ASSERT_EQUAL(fake_count_on("gbt32960/" VIN "/up/reissue_report", NULL), 6);
    CU_ASSERT_EQUAL(gbt_simulator_counts(road.vehicle)->reissued, 6);
    end_road();
}

static void without_an_answer_it_logs_in_three_times_and_hangs_up(void)
{
    begin_road(GBT_2016, 10);
    road.deaf = true;
    conf()->idle_ms = 0;
    connect_road();
    pass(170000);
    CU_ASSERT_EQUAL(road.hang_ups, 0);
    pass(20000);
    CU_ASSERT_EQUAL(road.hang_ups, 1);
    end_road();
}

static void options_that_do_not_fit_are_refused(void)
{
    struct gbt_simulator_options options = {
        .vin = "", .edition = GBT_2016, .cells = 1, .send = on_send};

    CU_ASSERT_PTR_NULL(gbt_simulator_open(&options, 0));
    options.vin = "LPGATE000000000170";
    CU_ASSERT_PTR_NULL(gbt_simulator_open(&options, 0));
    options.vin = VIN;
    options.edition = 2019;
    CU_ASSERT_PTR_NULL(gbt_simulator_open(&options, 0));
    options.edition = GBT_2025;
    options.cells = 2001;
    CU_ASSERT_PTR_NULL(gbt_simulator_open(&options, 0));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(in_both_editions_reports_are_taken_without_a_fault),
        TEST(time_passes_in_reports_as_on_the_clock),
        TEST(a_large_battery_goes_in_parts_in_2016_and_whole_in_2025),
        TEST(around_an_alarm_reports_come_each_second),
        TEST(the_seconds_before_an_alarm_are_reissued),
        TEST(commands_are_obeyed_and_answered),
        TEST(what_could_not_be_sent_is_reissued),
        TEST(without_an_answer_it_logs_in_three_times_and_hangs_up),
        TEST(options_that_do_not_fit_are_refused),
        CU_TEST_INFO_NULL,
    };

    return run_suite("gbt32960_simulator", tests);
}
