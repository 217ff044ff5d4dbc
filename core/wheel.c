/* SPDX-License-Identifier: Apache-2.0 */

/* The timing wheel of a worker; see wheel.h. A timer never fires early: its tick is rounded up. */

#include "wheel.h"

static int64_t tick_at_or_after(int64_t ms)
{
    return (ms + PG_WHEEL_TICK_MS - 1) / PG_WHEEL_TICK_MS;
}

void pg_wheel_init(struct pg_wheel *wheel, int64_t now_ms)
{
    *wheel = (struct pg_wheel){.done_tick = now_ms / PG_WHEEL_TICK_MS};
}

static void unlink_timer(struct pg_timer *timer)
{
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->next = NULL;
    timer->link = NULL;
}

static void link_timer(struct pg_timer **head, struct pg_timer *timer)
{
    timer->next = *head;
    if (timer->next)
        timer->next->link = &timer->next;
    timer->link = head;
    *head = timer;
}

void pg_wheel_start(struct pg_wheel *wheel, struct pg_timer *timer, int64_t deadline_ms,
                    void (*fn)(struct pg_timer *timer))
{
    pg_wheel_stop(wheel, timer);
    int64_t tick = tick_at_or_after(deadline_ms);
    if (tick <= wheel->done_tick)
        tick = wheel->done_tick + 1; /* its slot of this turn has been run already */
    timer->deadline_ms = deadline_ms;
    timer->fn = fn;
    link_timer(&wheel->slots[(uint64_t)tick % PG_WHEEL_SLOTS], timer);
    wheel->running++;
}

void pg_wheel_stop(struct pg_wheel *wheel, struct pg_timer *timer)
{
    if (!timer->link)
        return;
    unlink_timer(timer);
    wheel->running--;
}

/* Run what is due in one slot. The list is moved to a local head first, so that callbacks may
 * start, stop and free any timer, those of this slot included. */
static void run_slot(struct pg_wheel *wheel, size_t slot, int64_t now_ms)
{
    struct pg_timer *due = wheel->slots[slot];
    wheel->slots[slot] = NULL;
    if (due)
        due->link = &due;
    while (due) {
        struct pg_timer *timer = due;
        unlink_timer(timer);
        if (timer->deadline_ms > now_ms) {
            link_timer(&wheel->slots[slot], timer); /* a later turn of the wheel */
            continue;
        }
        wheel->running--;
        timer->fn(timer);
    }
}

void pg_wheel_run(struct pg_wheel *wheel, int64_t now_ms)
{
    int64_t now_tick = now_ms / PG_WHEEL_TICK_MS;
    int64_t first = wheel->done_tick + 1;
    if (now_tick - first >= (int64_t)PG_WHEEL_SLOTS)
        first = now_tick - (int64_t)PG_WHEEL_SLOTS + 1; /* a long stall: once round is enough */
    for (int64_t tick = first; tick <= now_tick; tick++) {
        wheel->done_tick = tick;
        run_slot(wheel, (size_t)((uint64_t)tick % PG_WHEEL_SLOTS), now_ms);
    }
    if (now_tick > wheel->done_tick)
        wheel->done_tick = now_tick;
}
