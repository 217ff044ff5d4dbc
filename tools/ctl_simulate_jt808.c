/* SPDX-License-Identifier: Apache-2.0 */

/* simulate jt808: terminals, each the state machine of protocols/jt808/jt808_simulator.c. */

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "ctl_fleet.h"
#include "jt808/jt808_json.h"
#include "jt808/jt808_simulator.h"
#include "wire/json_out.h"

#define COUNT_MAX 100000

struct jt808_plan {
    int64_t count, interval_ms, heartbeat_ms, duration_ms;
    int64_t first_phone;
    int64_t edition;
};

/* "PHONE <- text_message {"flag":[...],"text":"hello"}" */
static void tell_command(const struct ctl_device *t, const struct jt808_frame *frame)
{
    struct json_out out = json_out_heap(1u << 20);
    const struct jt808_json_options options = {.shape = WIRE_SHAPE_NATIVE, .charset = WIRE_GBK};
    char id[8];
    snprintf(id, sizeof(id), "0x%04x", frame->msg_id);
    bool good = jt808_json_write(&out, frame, &options, NULL);
    ctl_device_tell_command(t, id, good ? out.data : NULL, out.len);
    json_out_free(&out);
}

static void on_event(void *arg, enum jt808_simulator_event event, const struct jt808_frame *frame)
{
    struct ctl_device *t = arg;
    switch (event) {
    case JT808_SIM_REGISTERED:
        break;
    case JT808_SIM_ONLINE:
        ctl_device_online(t);
        break;
    case JT808_SIM_REFUSED:
        ctl_device_tell(t, "was refused by the gateway; it tries again (polygatectl why)");
        break;
    case JT808_SIM_COMMAND:
        if (frame)
            tell_command(t, frame);
        break;
    case JT808_SIM_HANG_UP:
        ctl_device_hang_up(t);
        break;
    }
}

/* ---- the kind of device ---------------------------------------------------------------------- */

static struct wire_simulator *open_terminal(const struct ctl_fleet_plan *fleet,
                                            struct ctl_device *device, size_t index,
                                            char name[CTL_DEVICE_NAME])
{
    const struct jt808_plan *plan = fleet->options;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    snprintf(name, CTL_DEVICE_NAME, plan->edition == 2019 ? "%020" PRId64 : "%012" PRId64,
             plan->first_phone + (int64_t)index);
    const struct jt808_simulator_options options = {
        .phone = name,
        .edition = (unsigned)plan->edition,
        .interval_ms = plan->interval_ms,
        .heartbeat_ms = plan->heartbeat_ms,
        .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000,
        .seed = (uint32_t)(plan->first_phone + (int64_t)index),
        .latitude = 31.2304 + 0.01 * (double)(index % 100),
        .longitude = 121.4737 + 0.01 * (double)(index / 100 % 100),
        .send = ctl_device_send,
        .event = on_event,
        .arg = device,
    };
    return jt808_simulator_open(&options, ctl_now_ms());
}

static struct jt808_simulator_counts total;

static void sum(const struct wire_simulator *simulator, bool first)
{
    const struct jt808_simulator_counts *c = jt808_simulator_counts(simulator);
    if (first)
        total = (struct jt808_simulator_counts){0};
    total.frames_sent += c->frames_sent;
    total.locations += c->locations;
    total.locations_stored += c->locations_stored;
    total.answered += c->answered;
    total.repeated += c->repeated;
    total.commands += c->commands;
    total.bad_frames += c->bad_frames;
}

static void print_sum(void)
{
    printf("%" PRIu64 " frames sent, %" PRIu64 " locations (%" PRIu64 " stored), %" PRIu64
           " answered, %" PRIu64 " repeated, %" PRIu64 " commands, %" PRIu64 " bad frames\n",
           total.frames_sent, total.locations, total.locations_stored, total.answered,
           total.repeated, total.commands, total.bad_frames);
}

static const struct ctl_device_kind terminals = {
    .open = open_terminal,
    .sum = sum,
    .print_sum = print_sum,
};

/* ---- the command ----------------------------------------------------------------------------- */

static bool read_plan(const struct ctl_run *run, struct jt808_plan *plan)
{
    if (!ctl_number(run, "count", 1, COUNT_MAX, 1, &plan->count) ||
        !ctl_duration_ms(run, "interval", 100, 24 * 3600 * 1000, 10 * 1000, &plan->interval_ms) ||
        !ctl_duration_ms(run, "heartbeat", 1000, 24 * 3600 * 1000, 60 * 1000,
                         &plan->heartbeat_ms) ||
        !ctl_duration_ms(run, "for", 100, INT32_MAX, 0, &plan->duration_ms) ||
        !ctl_number(run, "phone", 1, 999999999999 - COUNT_MAX, 13800000001, &plan->first_phone) ||
        !ctl_number(run, "edition", 2011, 2019, 2013, &plan->edition))
        return false;
    if (plan->edition == 2011 || plan->edition == 2013 || plan->edition == 2019)
        return true;
    ctl_error(run, "--edition: expected 2011, 2013 or 2019");
    return false;
}

static int run_simulate(struct ctl_run *run)
{
    struct jt808_plan plan;
    if (!read_plan(run, &plan))
        return CTL_USAGE;
    const struct ctl_fleet_plan fleet = {.kind = &terminals,
                                         .options = &plan,
                                         .count = plan.count,
                                         .duration_ms = plan.duration_ms,
                                         .port = "6808"};
    return ctl_fleet_run(run, &fleet);
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option simulate_options[] = {
    {.letter = 'n', .name = "count", .argument = "N", .help = "terminals (1)"},
    {.letter = 'I',
     .name = "interval",
     .argument = "TIME",
     .help = "between two locations of one terminal (10s)"},
    {.letter = 'e', .name = "edition", .argument = "YEAR", .help = "2011, 2013 or 2019 (2013)"},
    {.letter = 'h', .name = "host", .argument = "HOST", .help = "where the gateway is (127.0.0.1)"},
    {.letter = 'p', .name = "port", .argument = "PORT", .help = "its JT/T 808 port (6808)"},
    {.name = "phone",
     .argument = "DIGITS",
     .help = "of the first terminal, the others count up (13800000001)"},
    {.name = "heartbeat", .argument = "TIME", .help = "silence before a heartbeat (60s)"},
    {.name = "for", .argument = "TIME", .help = "end after this time"},
    {.name = NULL},
};

const struct ctl_command ctl_simulate_jt808_commands[] = {
    {.name = "simulate jt808",
     .arguments = "",
     .help = "Terminals that register, drive, report and obey; prints the commands they get.",
     .options = simulate_options,
     .run = run_simulate},
    {.name = NULL},
};
