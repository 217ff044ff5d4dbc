/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WHEEL_H
#define PG_WHEEL_H

/* A hashed timing wheel: start, restart and stop are O(1) whatever the number of timers. A timer
 * sits in the slot of its deadline modulo one turn of the wheel; those due in a later turn are
 * passed over. One owner thread. */

#include "polygate.h"

#define PG_WHEEL_SLOTS   1024u /* with 100 ms each, one turn is 102.4 s */
#define PG_WHEEL_TICK_MS 100

struct pg_wheel {
    struct pg_timer *slots[PG_WHEEL_SLOTS];
    int64_t done_tick; /* every slot up to this tick has been run */
    size_t running;    /* timers in the wheel */
};

void pg_wheel_init(struct pg_wheel *wheel, int64_t now_ms);
void pg_wheel_start(struct pg_wheel *wheel, struct pg_timer *timer, int64_t deadline_ms,
                    void (*fn)(struct pg_timer *timer));
void pg_wheel_stop(struct pg_wheel *wheel, struct pg_timer *timer);
/* Run every timer whose deadline has passed. Timers may start and stop others, and themselves. */
void pg_wheel_run(struct pg_wheel *wheel, int64_t now_ms);

#endif
