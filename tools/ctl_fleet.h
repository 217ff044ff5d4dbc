/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_FLEET_H
#define CTL_FLEET_H

/* simulate: devices of any protocol on one event loop. Each kind of device is a simulator of
 * its protocol's folder. One thread. */

#include "ctl.h"
#include "wire/simulator.h"

#define CTL_DEVICE_NAME 24u

struct ctl_device;
struct ctl_fleet_plan;

struct ctl_device_kind {
    /* Make device number `index` (from 0) and write its name. Its `send` is ctl_device_send and the
     * argument of its callbacks `device`. NULL: out of memory. */
    struct wire_simulator *(*open)(const struct ctl_fleet_plan *plan, struct ctl_device *device,
                                   size_t index, char name[CTL_DEVICE_NAME]);
    /* Add up what a device counted, beginning anew with the first; then print it, with a
     * newline. */
    void (*sum)(const struct wire_simulator *simulator, bool first);
    void (*print_sum)(void);
};

struct ctl_fleet_plan {
    const struct ctl_device_kind *kind;
    const void *options; /* for the kind's `open` */
    int64_t count;
    int64_t duration_ms; /* 0: until a signal */
    const char *port;    /* where --port is not given */
};

/* Play them, with the options --host and --port of the command line. Returns the exit code. */
int ctl_fleet_run(const struct ctl_run *run, const struct ctl_fleet_plan *plan);

/* For the callbacks of simulators; `arg` is the device. */
void ctl_device_send(void *arg, struct pg_bytes frame);
void ctl_device_online(struct ctl_device *device);
/* Close the connection and connect again later. */
void ctl_device_hang_up(struct ctl_device *device);
/* "NAME what", if there are not too many devices. */
void ctl_device_tell(const struct ctl_device *device, const char *what);
/* "NAME <- MESSAGE BODY", of a command that the device was sent: `json` (NULL: out of memory) is
 * the document that decode prints, `id` what it is called if the document does not name it. */
void ctl_device_tell_command(const struct ctl_device *device, const char *id, const char *json,
                             size_t len);

#endif
