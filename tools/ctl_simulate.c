/* SPDX-License-Identifier: Apache-2.0 */

/* simulate jt808: terminals on one event loop. The terminals themselves are the state machine of
 * protocols/jt808/jt808_simulator.c; here are their sockets, timers and what is printed.
 *
 *   WAITING --retry timer--> CONNECTING --writable--> CONNECTED --closed, error, hang up--> WAITING
 *
 * A terminal keeps its state while it has no connection, as a real one does: it drives on, stores
 * its locations, and sends them later. */

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <jansson.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "jt808/jt808_json.h"
#include "jt808/jt808_simulator.h"
#include "wire/json_out.h"

#define COUNT_MAX 100000
/* New connections come at this pace, so that the gateway's queue of them does not overflow. */
#define START_GAP_S   0.002
#define RETRY_FIRST_S 1.0
#define RETRY_LAST_S  30.0
/* Output that the gateway does not take; a real terminal has a small buffer too. */
#define OUT_MAX  (256u * 1024)
#define REPORT_S 10.0
/* With more terminals than this, online and offline are told as numbers only. */
#define TOLD_MAX 20

enum link_state { WAITING, CONNECTING, CONNECTED };

struct fleet;

struct terminal {
    struct fleet *fleet;
    struct jt808_simulator *simulator;
    enum link_state state;
    int fd; /* -1 in WAITING */
    struct ev_io io;
    struct ev_timer due;
    struct ev_timer retry;
    double retry_s;
    bool hang_up; /* the simulator, or the socket, wants the connection closed */
    uint8_t *out;
    size_t out_len, out_room;
    char phone[JT808_PHONE_DIGITS_2019 + 1];
};

struct fleet {
    const struct ctl_run *run;
    struct ev_loop *loop;
    struct addrinfo *found, *address;
    struct terminal *terminals;
    size_t count;
    bool ever_connected;
    int code; /* exit code, when the loop ends */
};

/* ---- what is printed ------------------------------------------------------------------------- */

static void tell(const struct terminal *t, const char *what)
{
    if (t->fleet->count > TOLD_MAX)
        return;
    printf("%s %s\n", t->phone, what);
    fflush(stdout);
}

/* "PHONE <- text_message {"flag":[...],"text":"hello"}" */
static void tell_command(const struct terminal *t, const struct jt808_frame *frame)
{
    struct json_out out = json_out_heap(1u << 20);
    const struct jt808_json_options options = {.shape = WIRE_SHAPE_NATIVE, .charset = WIRE_GBK};
    json_t *document = NULL;
    if (jt808_json_write(&out, frame, &options, NULL))
        document = json_loadb(out.data, out.len, JSON_ALLOW_NUL, NULL);
    const char *name = json_string_value(json_object_get(document, "message"));
    char *body = json_dumps(json_object_get(document, "body"), JSON_COMPACT);
    printf("%s <- ", t->phone);
    if (name)
        printf("%s ", name);
    else
        printf("0x%04x ", frame->msg_id);
    ctl_print_safe(pg_bytes_str(body ? body : "(not shown: out of memory)"));
    putchar('\n');
    fflush(stdout);
    free(body);
    json_decref(document);
    json_out_free(&out);
}

static void report(struct fleet *fleet)
{
    size_t online = 0;
    struct jt808_simulator_counts sum = {0};
    for (size_t i = 0; i < fleet->count; i++) {
        const struct jt808_simulator *simulator = fleet->terminals[i].simulator;
        const struct jt808_simulator_counts *c = jt808_simulator_counts(simulator);
        online += jt808_simulator_online(simulator);
        sum.frames_sent += c->frames_sent;
        sum.locations += c->locations;
        sum.locations_stored += c->locations_stored;
        sum.answered += c->answered;
        sum.repeated += c->repeated;
        sum.commands += c->commands;
        sum.bad_frames += c->bad_frames;
    }
    printf("%zu of %zu online, %" PRIu64 " frames sent, %" PRIu64 " locations (%" PRIu64
           " stored), %" PRIu64 " answered, %" PRIu64 " repeated, %" PRIu64 " commands, %" PRIu64
           " bad frames\n",
           online, fleet->count, sum.frames_sent, sum.locations, sum.locations_stored, sum.answered,
           sum.repeated, sum.commands, sum.bad_frames);
    fflush(stdout);
}

/* ---- the simulator's callbacks --------------------------------------------------------------- */

static void on_send(void *arg, struct pg_bytes frame)
{
    struct terminal *t = arg;
    if (t->state != CONNECTED || t->hang_up)
        return;
    if (t->out_len + frame.len > t->out_room) {
        size_t room = t->out_room ? 2 * t->out_room : 4096;
        while (room < t->out_len + frame.len)
            room *= 2;
        uint8_t *out = room <= OUT_MAX ? realloc(t->out, room) : NULL;
        if (!out) {
            t->hang_up = true; /* the gateway does not read */
            return;
        }
        t->out = out;
        t->out_room = room;
    }
    memcpy(t->out + t->out_len, frame.data, frame.len);
    t->out_len += frame.len;
}

static void on_event(void *arg, enum jt808_simulator_event event, const struct jt808_frame *frame)
{
    struct terminal *t = arg;
    switch (event) {
    case JT808_SIM_REGISTERED:
        break;
    case JT808_SIM_ONLINE:
        t->retry_s = RETRY_FIRST_S;
        tell(t, "online");
        break;
    case JT808_SIM_REFUSED:
        tell(t, "was refused by the gateway; it tries again (polygatectl why)");
        break;
    case JT808_SIM_COMMAND:
        if (frame)
            tell_command(t, frame);
        break;
    case JT808_SIM_HANG_UP:
        t->hang_up = true;
        break;
    }
}

/* ---- the connection -------------------------------------------------------------------------- */

static void drop(struct terminal *t)
{
    struct ev_loop *loop = t->fleet->loop;
    if (t->state == WAITING)
        return;
    bool was_connected = t->state == CONNECTED;
    ev_io_stop(loop, &t->io);
    close(t->fd);
    t->fd = -1;
    t->state = WAITING;
    t->hang_up = false;
    t->out_len = 0;
    if (was_connected) {
        jt808_simulator_disconnected(t->simulator);
        tell(t, "lost its connection");
    }
    ev_timer_stop(loop, &t->retry);
    ev_timer_set(&t->retry, t->retry_s, 0.);
    ev_timer_start(loop, &t->retry);
    t->retry_s = t->retry_s * 2 < RETRY_LAST_S ? t->retry_s * 2 : RETRY_LAST_S;
}

static void watch(struct terminal *t, int events)
{
    if (ev_is_active(&t->io) && (t->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(t->fleet->loop, &t->io);
    ev_io_set(&t->io, t->fd, events);
    ev_io_start(t->fleet->loop, &t->io);
}

static void flush(struct terminal *t)
{
    size_t sent = 0;
    while (sent < t->out_len) {
        ssize_t n = send(t->fd, t->out + sent, t->out_len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            t->hang_up = errno != EAGAIN && errno != EWOULDBLOCK;
            break;
        }
        sent += (size_t)n;
    }
    t->out_len -= sent;
    memmove(t->out, t->out + sent, t->out_len);
    watch(t, t->out_len > 0 ? EV_READ | EV_WRITE : EV_READ);
}

/* After anything has happened to the simulator: send, hang up, set its timer. */
static void settle(struct terminal *t)
{
    if (t->state == CONNECTED && !t->hang_up && t->out_len > 0)
        flush(t);
    if (t->hang_up)
        drop(t);
    int64_t deadline = jt808_simulator_deadline(t->simulator);
    ev_timer_stop(t->fleet->loop, &t->due);
    if (deadline == PG_NEVER)
        return;
    int64_t left = deadline - ctl_now_ms();
    ev_now_update(t->fleet->loop);
    ev_timer_set(&t->due, left > 0 ? (double)left / 1000. : 0., 0.);
    ev_timer_start(t->fleet->loop, &t->due);
}

static void on_due(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct terminal *t = timer->data;
    (void)loop;
    (void)events;
    jt808_simulator_due(t->simulator, ctl_now_ms());
    settle(t);
}

/* Nobody has been reached yet, so the address is wrong: try the host's next one, or give up. */
static void give_up_address(struct fleet *fleet, int error)
{
    if (fleet->address->ai_next) {
        fleet->address = fleet->address->ai_next;
        return;
    }
    ctl_error(fleet->run, "no gateway at this address: %s; --host and --port say where it is",
              strerror(error));
    fleet->code = CTL_UNREACHABLE;
    ev_break(fleet->loop, EVBREAK_ALL);
}

static void connected(struct terminal *t)
{
    int error = 0, one = 1;
    socklen_t len = sizeof(error);
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        if (!t->fleet->ever_connected)
            give_up_address(t->fleet, error);
        drop(t);
        return;
    }
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    t->fleet->ever_connected = true;
    t->state = CONNECTED;
    watch(t, EV_READ);
    jt808_simulator_connected(t->simulator, ctl_now_ms());
    settle(t);
}

static void read_in(struct terminal *t)
{
    uint8_t buffer[16384];
    ssize_t n = recv(t->fd, buffer, sizeof(buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0)
        t->hang_up = true;
    else
        jt808_simulator_bytes(t->simulator, (struct pg_bytes){.data = buffer, .len = (size_t)n},
                              ctl_now_ms());
}

static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct terminal *t = io->data;
    (void)loop;
    if (t->state == CONNECTING) {
        connected(t);
        return;
    }
    if (events & EV_WRITE)
        flush(t);
    if (!t->hang_up && events & EV_READ)
        read_in(t);
    settle(t);
}

static void on_retry(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct terminal *t = timer->data;
    const struct addrinfo *address = t->fleet->address;
    (void)loop;
    (void)events;
    t->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->fd < 0) {
        ctl_error(t->fleet->run, "cannot make a socket: %s", strerror(errno));
        t->fleet->code = CTL_FAILED;
        ev_break(t->fleet->loop, EVBREAK_ALL);
        return;
    }
    t->state = CONNECTING;
    /* An error that is known at once is found by connected() as well. */
    if (connect(t->fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS &&
        !t->fleet->ever_connected) {
        give_up_address(t->fleet, errno);
        drop(t);
        return;
    }
    watch(t, EV_WRITE);
}

/* ---- the fleet ------------------------------------------------------------------------------- */

struct plan {
    int64_t count, interval_ms, heartbeat_ms, duration_ms;
    int64_t first_phone;
    int64_t edition;
};

static bool read_plan(const struct ctl_run *run, struct plan *plan)
{
    if (!ctl_number(run, "count", 1, COUNT_MAX, 1, &plan->count) ||
        !ctl_duration_ms(run, "interval", 100, 24 * 3600 * 1000, 10 * 1000, &plan->interval_ms) ||
        !ctl_duration_ms(run, "heartbeat", 1000, 24 * 3600 * 1000, 60 * 1000,
                         &plan->heartbeat_ms) ||
        !ctl_duration_ms(run, "for", 100, INT32_MAX, 0, &plan->duration_ms) ||
        !ctl_number(run, "phone", 1, 999999999999 - COUNT_MAX, 13800000001, &plan->first_phone) ||
        !ctl_number(run, "edition", 2011, 2019, 2013, &plan->edition))
        return false;
    if (plan->edition == 2011 || plan->edition == 2013 || plan->edition == 2019)
        return true;
    ctl_error(run, "--edition: expected 2011, 2013 or 2019");
    return false;
}

/* A descriptor for each terminal. */
static bool raise_descriptors(const struct ctl_run *run, int64_t count)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)count + 32;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= needed)
        return true;
    ctl_error(run, "--count: this process may have %ju descriptors only (ulimit -n)",
              (uintmax_t)limit.rlim_cur);
    return false;
}

static bool open_terminal(struct fleet *fleet, const struct plan *plan, size_t index)
{
    struct terminal *t = &fleet->terminals[index];
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    *t = (struct terminal){.fleet = fleet, .fd = -1, .retry_s = RETRY_FIRST_S};
    snprintf(t->phone, sizeof(t->phone), plan->edition == 2019 ? "%020" PRId64 : "%012" PRId64,
             plan->first_phone + (int64_t)index);
    ev_init(&t->io, on_io);
    ev_timer_init(&t->due, on_due, 0., 0.);
    ev_timer_init(&t->retry, on_retry, START_GAP_S * (double)index, 0.);
    t->io.data = t->due.data = t->retry.data = t;
    const struct jt808_simulator_options options = {
        .phone = t->phone,
        .edition = (unsigned)plan->edition,
        .interval_ms = plan->interval_ms,
        .heartbeat_ms = plan->heartbeat_ms,
        .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000,
        .seed = (uint32_t)(plan->first_phone + (int64_t)index),
        .latitude = 31.2304 + 0.01 * (double)(index % 100),
        .longitude = 121.4737 + 0.01 * (double)(index / 100 % 100),
        .send = on_send,
        .event = on_event,
        .arg = t,
    };
    t->simulator = jt808_simulator_open(&options, ctl_now_ms());
    if (!t->simulator) {
        ctl_error(fleet->run, "out of memory at terminal %zu", index + 1);
        return false;
    }
    ev_timer_start(fleet->loop, &t->retry);
    fleet->count++;
    return true;
}

static void on_signal(struct ev_loop *loop, struct ev_signal *signal, int events)
{
    (void)signal;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void on_end(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)timer;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void on_report(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    report(timer->data);
}

static void run_fleet(struct fleet *fleet, const struct plan *plan)
{
    struct ev_signal interrupt, terminate;
    struct ev_timer reports, end;
    ev_signal_init(&interrupt, on_signal, SIGINT);
    ev_signal_init(&terminate, on_signal, SIGTERM);
    ev_signal_start(fleet->loop, &interrupt);
    ev_signal_start(fleet->loop, &terminate);
    ev_timer_init(&reports, on_report, REPORT_S, REPORT_S);
    reports.data = fleet;
    ev_timer_start(fleet->loop, &reports);
    ev_timer_init(&end, on_end, (double)plan->duration_ms / 1000., 0.);
    if (plan->duration_ms > 0)
        ev_timer_start(fleet->loop, &end);
    ev_run(fleet->loop, 0);
    ev_signal_stop(fleet->loop, &interrupt);
    ev_signal_stop(fleet->loop, &terminate);
    ev_timer_stop(fleet->loop, &reports);
    ev_timer_stop(fleet->loop, &end);
}

static void close_fleet(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++) {
        struct terminal *t = &fleet->terminals[i];
        if (t->fd >= 0)
            close(t->fd);
        jt808_simulator_close(&t->simulator);
        free(t->out);
    }
    free(fleet->terminals);
    if (fleet->found)
        freeaddrinfo(fleet->found);
}

static int run_simulate(struct ctl_run *run)
{
    struct plan plan;
    struct fleet fleet = {.run = run, .code = CTL_OK};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *host = ctl_value(run, "host"), *port = ctl_value(run, "port");
    if (!read_plan(run, &plan))
        return CTL_USAGE;
    if (!raise_descriptors(run, plan.count))
        return CTL_FAILED;
    int error = getaddrinfo(host ? host : "127.0.0.1", port ? port : "6808", &hints, &fleet.found);
    if (error != 0) {
        ctl_error(run, "%s: %s", host ? host : "127.0.0.1", gai_strerror(error));
        return CTL_UNREACHABLE;
    }
    fleet.address = fleet.found;
    fleet.loop = ev_default_loop(EVFLAG_AUTO);
    fleet.terminals = calloc((size_t)plan.count, sizeof(*fleet.terminals));
    bool good = fleet.loop && fleet.terminals;
    for (size_t i = 0; good && i < (size_t)plan.count; i++)
        good = open_terminal(&fleet, &plan, i);
    if (good) {
        run_fleet(&fleet, &plan);
        if (fleet.ever_connected)
            report(&fleet);
    }
    close_fleet(&fleet);
    return good ? fleet.code : CTL_FAILED;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option simulate_options[] = {
    {.letter = 'n', .name = "count", .argument = "N", .help = "terminals (1)"},
    {.letter = 'I',
     .name = "interval",
     .argument = "TIME",
     .help = "between two locations of one terminal (10s)"},
    {.letter = 'e', .name = "edition", .argument = "YEAR", .help = "2011, 2013 or 2019 (2013)"},
    {.letter = 'h', .name = "host", .argument = "HOST", .help = "where the gateway is (127.0.0.1)"},
    {.letter = 'p', .name = "port", .argument = "PORT", .help = "its JT/T 808 port (6808)"},
    {.name = "phone",
     .argument = "DIGITS",
     .help = "of the first terminal, the others count up (13800000001)"},
    {.name = "heartbeat", .argument = "TIME", .help = "silence before a heartbeat (60s)"},
    {.name = "for", .argument = "TIME", .help = "end after this time"},
    {.name = NULL},
};

const struct ctl_command ctl_simulate_commands[] = {
    {.name = "simulate jt808",
     .arguments = "",
     .help = "Terminals that register, drive, report and obey; prints the commands they get.",
     .options = simulate_options,
     .run = run_simulate},
    {.name = NULL},
};
