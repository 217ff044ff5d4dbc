/* SPDX-License-Identifier: Apache-2.0 */

/* The clock: a worker's is that of its turn, so that all of a turn happens at one time; other
 * threads ask the system. By itself, so that tools have a clock without having workers. */

#include <time.h>

#include "worker_parts.h"

_Thread_local struct pg_worker *pg_this_worker;

int64_t pg_clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t pg_now_ms(void)
{
    return pg_this_worker ? pg_this_worker->now_ms : pg_clock_ms(CLOCK_MONOTONIC);
}

int64_t pg_wall_ms(void)
{
    return pg_this_worker ? pg_this_worker->now_wall_ms : pg_clock_ms(CLOCK_REALTIME);
}

struct pg_worker *pg_worker_current(void)
{
    return pg_this_worker;
}
