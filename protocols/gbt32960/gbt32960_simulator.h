/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_SIMULATOR_H
#define GBT32960_SIMULATOR_H

/* An electric vehicle of GB/T 32960 that behaves as a real one: logs in, drives, stops, charges,
 * raises alarms, reports, stores what it cannot send and re-issues it, beats, obeys commands, and
 * logs out. A pure state machine: bytes and time are given, bytes come out by a callback.
 *
 * standard  GB/T 32960.3-2016, -2025: Annex B
 * threads   one at a time for one object
 */

#include "gbt32960_frame.h"
#include "wire/simulator.h"

enum gbt_simulator_event {
    GBT_SIM_ONLINE,  /* the login was answered with success */
    GBT_SIM_REFUSED, /* the login was answered with an error; it tries again */
    GBT_SIM_ALARM,   /* a level-3 alarm has begun: reports come each second, and samples of the
                      * 30 seconds before it are re-issued */
    GBT_SIM_COMMAND, /* `frame` is a command of the platform */
    GBT_SIM_HANG_UP, /* close the connection and connect again: nothing is answered, or a command
                      * wants it */
};

struct gbt_simulator_options {
    const char *vin;      /* 1 to 17 characters */
    unsigned edition;     /* GBT_2016, GBT_2025 */
    int64_t interval_ms;  /* between reports */
    int64_t heartbeat_ms; /* of silence, then 0x07 */
    int64_t wall_ms;      /* wall clock, milliseconds since 1970, at `now_ms` of open */
    uint32_t seed;        /* track, speed, alarms follow from it */
    unsigned cells;       /* of the battery, 1 to 2000; over 200 of 2016 go in several frames */
    double latitude, longitude; /* where it starts, degrees */
    /* One whole frame to be sent; lent. May not call back into the simulator. */
    void (*send)(void *arg, struct pg_bytes frame);
    /* Something happened; `frame` is lent, or NULL. May be NULL. The same rule. */
    void (*event)(void *arg, enum gbt_simulator_event event, const struct gbt_frame *frame);
    void *arg;
};

struct gbt_simulator_counts {
    uint64_t frames_sent, frames_received, reports, reports_stored, reissued, alarms, answered,
        commands, bad_frames;
};

/* NULL: memory is out, or VIN and edition do not fit. The options are copied, the VIN too. */
struct wire_simulator *gbt_simulator_open(const struct gbt_simulator_options *options,
                                          int64_t now_ms) PG_CHECKED;
/* Of a simulator of gbt_simulator_open(). Lent, as long as it lives. */
const struct gbt_simulator_counts *gbt_simulator_counts(const struct wire_simulator *simulator);

#endif
