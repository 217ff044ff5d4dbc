/* SPDX-License-Identifier: Apache-2.0 */

/* The scenarios that only connect.
 *
 * storm: all clients connect at once, and none may be refused; then they leave, and the broker must
 * close every one. With --resume they come with the TLS session of a first client, which is not counted. idle: clients with one exact subscription each; the broker's memory is read at
 * `base` clients and at all of them, and what counts is the slope. One thread. */

#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SETTLE_MS 1000 /* until the broker has done what it puts off */

static struct peer *peers;
static struct peer_crowd crowd;
static struct histogram connect_times;
static uint64_t progress, progress_seen, progress_ns;
static unsigned refused, leaving;
static bool given_up;

static struct peer *peer_at(unsigned n)
{
    return &peers[n];
}

static void on_ready(struct peer *peer)
{
    histogram_add(&connect_times, measure_now_ns() - peer->started_ns);
    progress++;
    peer_crowd_ready(&crowd);
}

static void on_closed(struct peer *peer, const char *why)
{
    progress++;
    if (!why) {
        leaving--;
        return;
    }
    if (refused++ == 0)
        bench_fail("client %u: %s", peer->index, why);
    crowd.opening--;
}

static void own_filter(const struct peer *peer, unsigned n, char out[PEER_FILTER_MAX])
{
    (void)n;
    snprintf(out, PEER_FILTER_MAX, "bench/device/%08u/down", peer->index);
}

static void on_message(struct peer *peer, struct pg_bytes payload, uint64_t now_ns)
{
    (void)payload, (void)now_ns;
    bench_fail("client %u: a message that nobody sent", peer->index);
}

static const struct peer_events events = {
    .ready = on_ready, .filter = own_filter, .message = on_message, .closed = on_closed};

static void on_watchdog(struct ev_loop *loop, ev_timer *w, int revents)
{
    uint64_t now_ns = measure_now_ns();

    (void)loop, (void)w, (void)revents;
    if (progress != progress_seen) {
        progress_seen = progress;
        progress_ns = now_ns;
    } else if (now_ns - progress_ns > (uint64_t)bench_options.patience_ms * 1000000u) {
        given_up = true;
    }
}

/* Connect until there are `total` clients. */
static void open_up_to(unsigned total, unsigned parallel)
{
    crowd.total = total;
    crowd.parallel = parallel;
    progress_ns = measure_now_ns();
    peer_crowd_open(&crowd);
    while (!given_up && crowd.ready + refused < total) {
        if (crowd.opening == 0)
            peer_crowd_open(&crowd); /* those that were refused opened no other */
        ev_run(bench_loop, EVRUN_ONCE);
    }
    if (given_up)
        bench_fail("%u of %u clients are ready, and nothing moves", crowd.ready, total);
    if (refused > 0)
        bench_fail("%u clients were refused", refused);
}

static void leave(void)
{
    progress_ns = measure_now_ns();
    for (unsigned i = 0; i < crowd.next; i++) {
        if (peers[i].state == PEER_READY) {
            leaving++;
            peer_leave(&peers[i]);
        }
    }
    while (!given_up && leaving > 0)
        ev_run(bench_loop, EVRUN_ONCE);
    if (leaving > 0)
        bench_fail("%u clients said DISCONNECT and were not closed", leaving);
}

static ev_timer watchdog;

static void start(unsigned filters)
{
    peers = calloc(bench_options.clients, sizeof(*peers));
    if (!peers)
        abort();
    for (unsigned i = 0; i < bench_options.clients; i++)
        peer_init(&peers[i], &events, i, filters, (uint8_t)bench_options.qos);
    crowd = (struct peer_crowd){.at = peer_at};
    ev_timer_init(&watchdog, on_watchdog, 0.25, 0.25);
    ev_timer_start(bench_loop, &watchdog);
}

static void finish(void)
{
    ev_timer_stop(bench_loop, &watchdog);
    for (unsigned i = 0; i < crowd.next; i++)
        peer_drop(&peers[i]);
    free(peers);
}

/* The client whose session the others resume. */
static void begin_session(void)
{
    open_up_to(1, 1);
    if (!bench_failed() && !wire_can_resume())
        bench_fail("the broker gives no session to resume");
    histogram_clear(&connect_times);
}

void bench_storm(void)
{
    start(0);
    if (bench_options.resume)
        begin_session();
    unsigned before = crowd.ready;
    struct measure_cpu cpu_start = bench_broker_cpu();
    double own_start = bench_own_cpu();
    uint64_t start_ns = measure_now_ns();
    open_up_to(bench_options.clients, bench_options.parallel);
    double seconds = (double)(measure_now_ns() - start_ns) / 1e9;
    struct measure_cpu cpu_open = bench_broker_cpu();
    double own_end = bench_own_cpu();
    start_ns = measure_now_ns();
    leave();
    double leave_seconds = (double)(measure_now_ns() - start_ns) / 1e9;
    struct measure_cpu cpu_end = bench_broker_cpu();

    unsigned connected = crowd.ready - before;
    if (bench_options.resume && wire_resumed() != connected)
        bench_fail("%u of %u clients resumed the session", wire_resumed(), connected);
    bench_report_count("connected", crowd.ready);
    bench_report_count("refused", refused);
    bench_report_number("seconds", seconds);
    bench_report_number("connections_per_second", connected / seconds);
    bench_report_number("leave_seconds", leave_seconds);
    if (bench_options.pid != 0 && connected > 0) {
        double open_s = cpu_open.total_s - cpu_start.total_s;
        bench_report_number("broker_cpu_us_per_connect", open_s * 1e6 / connected);
        if (open_s > 0)
            bench_report_number("connections_per_broker_cpu_s", connected / open_s);
        bench_report_number("broker_cpu_us_per_leave",
                            (cpu_end.total_s - cpu_open.total_s) * 1e6 / crowd.ready);
    }
    bench_report_number("own_cpu_s", own_end - own_start);
    bench_report_latency("connect_us", &connect_times);
    finish();
}

/* The broker's memory once it is at rest; 0 after a failure. */
static uint64_t memory_at_rest(void)
{
    struct timespec pause = {.tv_sec = SETTLE_MS / 1000};
    uint64_t bytes = 0;

    nanosleep(&pause, NULL);
    if (!measure_memory_read((pid_t)bench_options.pid, &bytes))
        bench_fail("the memory of process %u cannot be read", bench_options.pid);
    return bytes;
}

void bench_idle(void)
{
    start(1);
    uint64_t empty = memory_at_rest(), base = 0, all = 0;
    open_up_to(bench_options.base, bench_options.parallel);
    if (!bench_failed())
        base = memory_at_rest();
    if (!bench_failed())
        open_up_to(bench_options.clients, bench_options.parallel);
    if (!bench_failed())
        all = memory_at_rest();

    bench_report_count("connected", crowd.ready);
    bench_report_count("refused", refused);
    bench_report_count("broker_bytes_empty", empty);
    bench_report_count("broker_bytes_base", base);
    bench_report_count("broker_bytes", all);
    if (!bench_failed()) {
        double clients = bench_options.clients - bench_options.base;
        bench_report_number("bytes_per_client", ((double)all - (double)base) / clients);
    }
    leave();
    finish();
}
