/* SPDX-License-Identifier: Apache-2.0 */

/* The timing wheel: never early, at most a tick late, whatever callbacks do to timers. */

#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "wheel.h"

static struct pg_wheel wheel;
static int64_t now;

struct probe {
    struct pg_timer timer;
    int64_t fired_ms;
    int times;
    struct pg_timer *stops;
    bool restarts;
};

static void fired(struct pg_timer *timer)
{
    struct probe *p = (struct probe *)timer;
    p->fired_ms = now;
    p->times++;
    if (p->stops)
        pg_wheel_stop(&wheel, p->stops);
    if (p->restarts)
        pg_wheel_start(&wheel, timer, now, fired);
}

static void run_until(int64_t end)
{
    for (; now < end; now += 7)
        pg_wheel_run(&wheel, now);
}

static void timers_fire_once_never_early_and_at_most_a_tick_late(void)
{
    enum { N = 3000 };
    struct probe *p = calloc(N, sizeof(*p));
    now = 1234567;
    pg_wheel_init(&wheel, now);
    int64_t start = now;
    srand(7);
    for (int i = 0; i < N; i++)
        pg_wheel_start(&wheel, &p[i].timer, start + rand() % 400000, fired);
    run_until(start + 401000);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(p[i].times, 1);
        CU_ASSERT_TRUE(p[i].fired_ms >= p[i].timer.deadline_ms);
        CU_ASSERT_TRUE(p[i].fired_ms <= p[i].timer.deadline_ms + PG_WHEEL_TICK_MS + 7);
    }
    CU_ASSERT_EQUAL(wheel.running, 0);
    free(p);
}

static void stopping_and_restarting_from_a_callback_is_safe(void)
{
    struct probe a = {0}, b = {0}, c = {0};
    now = 5000;
    pg_wheel_init(&wheel, now);
    a.stops = &b.timer;
    b.stops = &a.timer; /* whichever comes first stops the other, in the same slot */
    c.restarts = true;
    pg_wheel_start(&wheel, &a.timer, 5200, fired);
    pg_wheel_start(&wheel, &b.timer, 5200, fired);
    pg_wheel_start(&wheel, &c.timer, 5200, fired);
    run_until(6300);
    CU_ASSERT_EQUAL(a.times + b.times, 1);
    CU_ASSERT_TRUE(c.times >= 9 && c.times <= 12); /* once a tick, not for ever in one */
    pg_wheel_stop(&wheel, &c.timer);
    pg_wheel_stop(&wheel, &c.timer);
    CU_ASSERT_EQUAL(wheel.running, 0);
}

static void a_stall_longer_than_a_turn_of_the_wheel_loses_no_timer(void)
{
    struct probe p[50];
    memset(p, 0, sizeof(p));
    now = 0;
    pg_wheel_init(&wheel, now);
    for (int i = 0; i < 50; i++)
        pg_wheel_start(&wheel, &p[i].timer, i * 5000, fired);
    now = 300000;
    pg_wheel_run(&wheel, now);
    for (int i = 0; i < 50; i++)
        CU_ASSERT_EQUAL(p[i].times, 1);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(timers_fire_once_never_early_and_at_most_a_tick_late),
        TEST(stopping_and_restarting_from_a_callback_is_safe),
        TEST(a_stall_longer_than_a_turn_of_the_wheel_loses_no_timer),
        CU_TEST_INFO_NULL,
    };
    return run_suite("wheel", tests);
}
