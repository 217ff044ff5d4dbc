/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SIMULATOR_H
#define WIRE_SIMULATOR_H

/* A device that behaves as a real one: what the simulators of all protocols have in common, so that
 * one loop can play any of them. A pure state machine: bytes and time are given, bytes come out by
 * a callback that the protocol's own open() is told. Times are milliseconds of any one clock that
 * does not go back.
 *
 * threads   one at a time for one object
 */

#include "polygate.h"

struct wire_simulator;

struct wire_simulator_ops {
    void (*close)(struct wire_simulator *simulator);
    /* The connection is there, or gone. Between, bytes are given; `in` is lent and always taken. */
    void (*connected)(struct wire_simulator *simulator, int64_t now_ms);
    void (*disconnected)(struct wire_simulator *simulator);
    void (*bytes)(struct wire_simulator *simulator, struct pg_bytes in, int64_t now_ms);
    /* Do what is due, and when something is due next (PG_NEVER: nothing is). Also while there is no
     * connection: reports are stored then. */
    void (*due)(struct wire_simulator *simulator, int64_t now_ms);
    int64_t (*deadline)(const struct wire_simulator *simulator);
    /* It is connected, and logged in. */
    bool (*online)(const struct wire_simulator *simulator);
};

/* The first member of the struct of a protocol's simulator. */
struct wire_simulator {
    const struct wire_simulator_ops *ops;
};

static inline void wire_simulator_close(struct wire_simulator **simulator)
{
    if (*simulator)
        (*simulator)->ops->close(*simulator);
    *simulator = NULL;
}

#endif
