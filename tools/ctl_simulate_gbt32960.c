/* SPDX-License-Identifier: Apache-2.0 */

/* simulate gbt32960: vehicles, each the state machine of
 * protocols/gbt32960/gbt32960_simulator.c. */

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "ctl_fleet.h"
#include "gbt32960/gbt32960_json.h"
#include "gbt32960/gbt32960_simulator.h"
#include "wire/json_out.h"

#define COUNT_MAX 100000

struct gbt_plan {
    int64_t count, interval_ms, heartbeat_ms, duration_ms;
    int64_t first;
    int64_t edition;
    int64_t cells;
};

/* "VIN <- parameter_query {\"parameter_ids\":[2]}" */
static void tell_command(const struct ctl_device *t, const struct gbt_frame *frame)
{
    struct json_out out = json_out_heap(1u << 20);
    const struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE};
    char id[8];
    snprintf(id, sizeof(id), "0x%02x", frame->command);
    bool good = gbt_json_write(&out, frame, &options, NULL);
    ctl_device_tell_command(t, id, good ? out.data : NULL, out.len);
    json_out_free(&out);
}

static void on_event(void *arg, enum gbt_simulator_event event, const struct gbt_frame *frame)
{
    struct ctl_device *t = arg;
    switch (event) {
    case GBT_SIM_ONLINE:
        ctl_device_online(t);
        break;
    case GBT_SIM_REFUSED:
        ctl_device_tell(t, "was refused by the gateway; it tries again (polygatectl why)");
        break;
    case GBT_SIM_ALARM:
        ctl_device_tell(t, "raises a level-3 alarm: its battery is too hot");
        break;
    case GBT_SIM_COMMAND:
        if (frame)
            tell_command(t, frame);
        break;
    case GBT_SIM_HANG_UP:
        ctl_device_hang_up(t);
        break;
    }
}

/* ---- the kind of device ---------------------------------------------------------------------- */

static struct wire_simulator *open_vehicle(const struct ctl_fleet_plan *fleet,
                                           struct ctl_device *device, size_t index,
                                           char name[CTL_DEVICE_NAME])
{
    const struct gbt_plan *plan = fleet->options;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    snprintf(name, CTL_DEVICE_NAME, "LSIMULAT%09" PRId64, plan->first + (int64_t)index);
    const struct gbt_simulator_options options = {
        .vin = name,
        .edition = (unsigned)plan->edition,
        .interval_ms = plan->interval_ms,
        .heartbeat_ms = plan->heartbeat_ms,
        .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000,
        .seed = (uint32_t)(plan->first + (int64_t)index),
        .cells = (unsigned)plan->cells,
        .latitude = 31.2304 + 0.01 * (double)(index % 100),
        .longitude = 121.4737 + 0.01 * (double)(index / 100 % 100),
        .send = ctl_device_send,
        .event = on_event,
        .arg = device,
    };
    return gbt_simulator_open(&options, ctl_now_ms());
}

static struct gbt_simulator_counts total;

static void sum(const struct wire_simulator *simulator, bool first)
{
    const struct gbt_simulator_counts *c = gbt_simulator_counts(simulator);
    if (first)
        total = (struct gbt_simulator_counts){0};
    total.frames_sent += c->frames_sent;
    total.reports += c->reports;
    total.reports_stored += c->reports_stored;
    total.reissued += c->reissued;
    total.alarms += c->alarms;
    total.answered += c->answered;
    total.commands += c->commands;
    total.bad_frames += c->bad_frames;
}

static void print_sum(void)
{
    printf("%" PRIu64 " frames sent, %" PRIu64 " reports (%" PRIu64 " stored, %" PRIu64
           " re-issued), %" PRIu64 " alarms, %" PRIu64 " answered, %" PRIu64 " commands, %" PRIu64
           " bad frames\n",
           total.frames_sent, total.reports, total.reports_stored, total.reissued, total.alarms,
           total.answered, total.commands, total.bad_frames);
}

static const struct ctl_device_kind vehicles = {
    .open = open_vehicle,
    .sum = sum,
    .print_sum = print_sum,
};

/* ---- the command ----------------------------------------------------------------------------- */

static bool read_plan(const struct ctl_run *run, struct gbt_plan *plan)
{
    if (!ctl_number(run, "count", 1, COUNT_MAX, 1, &plan->count) ||
        !ctl_duration_ms(run, "interval", 100, 24 * 3600 * 1000, 10 * 1000, &plan->interval_ms) ||
        !ctl_duration_ms(run, "heartbeat", 1000, 24 * 3600 * 1000, 60 * 1000,
                         &plan->heartbeat_ms) ||
        !ctl_duration_ms(run, "for", 100, INT32_MAX, 0, &plan->duration_ms) ||
        !ctl_number(run, "first", 1, 999999999 - COUNT_MAX, 1, &plan->first) ||
        !ctl_number(run, "cells", 1, 2000, 96, &plan->cells) ||
        !ctl_number(run, "edition", 2016, 2025, 2016, &plan->edition))
        return false;
    if (plan->edition == 2016 || plan->edition == 2025)
        return true;
    ctl_error(run, "--edition: expected 2016 or 2025");
    return false;
}

static int run_simulate(struct ctl_run *run)
{
    struct gbt_plan plan;
    if (!read_plan(run, &plan))
        return CTL_USAGE;
    const struct ctl_fleet_plan fleet = {.kind = &vehicles,
                                         .options = &plan,
                                         .count = plan.count,
                                         .duration_ms = plan.duration_ms,
                                         .port = "32960"};
    return ctl_fleet_run(run, &fleet);
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option simulate_options[] = {
    {.letter = 'n', .name = "count", .argument = "N", .help = "vehicles (1)"},
    {.letter = 'I',
     .name = "interval",
     .argument = "TIME",
     .help = "between two reports of one vehicle (10s); 1s around a level-3 alarm"},
    {.letter = 'e', .name = "edition", .argument = "YEAR", .help = "2016 or 2025 (2016)"},
    {.letter = 'h', .name = "host", .argument = "HOST", .help = "where the gateway is (127.0.0.1)"},
    {.letter = 'p', .name = "port", .argument = "PORT", .help = "its GB/T 32960 port (32960)"},
    {.name = "first", .argument = "N", .help = "number in the VIN of the first vehicle (1)"},
    {.name = "cells", .argument = "N", .help = "cells of the battery (96)"},
    {.name = "heartbeat", .argument = "TIME", .help = "silence before a heartbeat (60s)"},
    {.name = "for", .argument = "TIME", .help = "end after this time"},
    {.name = NULL},
};

const struct ctl_command ctl_simulate_gbt32960_commands[] = {
    {.name = "simulate gbt32960",
     .arguments = "",
     .help = "Vehicles that drive, charge, raise alarms, report and obey; prints their commands.",
     .options = simulate_options,
     .run = run_simulate},
    {.name = NULL},
};
