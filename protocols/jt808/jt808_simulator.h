/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_SIMULATOR_H
#define JT808_SIMULATOR_H

/* A JT/T 808 terminal that behaves as a real one: registers, logs in with the code it is given,
 * beats, drives, reports where it is, stores what it cannot send, repeats what is not answered, and
 * obeys commands. A pure state machine: bytes and time are given, bytes come out by a callback.
 *
 * threads   one at a time for one object
 */

#include "jt808_frame.h"
#include "wire/simulator.h"

enum jt808_simulator_event {
    JT808_SIM_REGISTERED, /* 0x8100 with a code */
    JT808_SIM_ONLINE,     /* authenticated */
    JT808_SIM_REFUSED,    /* registration or authentication was refused; it tries again */
    JT808_SIM_COMMAND,    /* `frame` is a command, put together if it came in packages */
    JT808_SIM_HANG_UP,    /* close the connection and connect again: nothing is answered any more,
                           * or it was told to restart */
};

struct jt808_simulator_options {
    const char *phone;          /* up to 12 digits, 20 for 2019 */
    unsigned edition;           /* JT808_2011, JT808_2013, JT808_2019 */
    int64_t interval_ms;        /* between locations */
    int64_t heartbeat_ms;       /* of silence, then 0x0002 */
    int64_t wall_ms;            /* wall clock, milliseconds since 1970, at `now_ms` of open */
    uint32_t seed;              /* track, speed and stops follow from it */
    double latitude, longitude; /* where it starts, degrees */
    /* One whole frame to be sent; lent. May not call back into the simulator. */
    void (*send)(void *arg, struct pg_bytes frame);
    /* Something happened; `frame` is lent, or NULL. May be NULL. The same rule. */
    void (*event)(void *arg, enum jt808_simulator_event event, const struct jt808_frame *frame);
    void *arg;
};

struct jt808_simulator_counts {
    uint64_t frames_sent, frames_received, locations, locations_stored, answered, repeated,
        commands, bad_frames;
};

/* NULL: memory is out, or phone and edition do not fit. The options are copied, the phone too. */
struct wire_simulator *jt808_simulator_open(const struct jt808_simulator_options *options,
                                            int64_t now_ms) PG_CHECKED;
/* Of a simulator of jt808_simulator_open(). Lent, as long as it lives. */
const struct jt808_simulator_counts *jt808_simulator_counts(const struct wire_simulator *simulator);

#endif
