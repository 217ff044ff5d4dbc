/* SPDX-License-Identifier: Apache-2.0 */

/* Simulated devices on one event loop: their sockets, timers and what is printed. The devices
 * themselves are state machines of their protocols, which see only bytes and time.
 *
 *   WAITING --retry timer--> CONNECTING --writable--> CONNECTED --closed, error, hang up--> WAITING
 *
 * A device keeps its state while it has no connection, as a real one does: it drives on, stores
 * what it would report, and sends it later. */

#include "ctl_fleet.h"

#include <errno.h>
#include <ev.h>
#include <jansson.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* New connections come at this pace, so that the gateway's queue of them does not overflow. */
#define START_GAP_S   0.002
#define RETRY_FIRST_S 1.0
#define RETRY_LAST_S  30.0
/* Output that the gateway does not take; a real device has a small buffer too. */
#define OUT_MAX  (256u * 1024)
#define REPORT_S 10.0
/* With more devices than this, online and offline are told as numbers only. */
#define TOLD_MAX 20

enum link_state { WAITING, CONNECTING, CONNECTED };

struct ctl_device {
    struct ctl_fleet *fleet;
    struct wire_simulator *simulator;
    enum link_state state;
    int fd; /* -1 in WAITING */
    struct ev_io io;
    struct ev_timer due;
    struct ev_timer retry;
    double retry_s;
    bool hang_up; /* the simulator, or the socket, wants the connection closed */
    uint8_t *out;
    size_t out_len, out_room;
    char name[CTL_DEVICE_NAME];
};

struct ctl_fleet {
    const struct ctl_run *run;
    const struct ctl_fleet_plan *plan;
    struct ev_loop *loop;
    struct addrinfo *found, *address;
    struct ctl_device *devices;
    size_t count;
    bool ever_connected;
    int code; /* exit code, when the loop ends */
};

/* ---- what the simulators ask for ------------------------------------------------------------- */

void ctl_device_tell(const struct ctl_device *t, const char *what)
{
    if (t->fleet->count > TOLD_MAX)
        return;
    printf("%s %s\n", t->name, what);
    fflush(stdout);
}

void ctl_device_tell_command(const struct ctl_device *device, const char *id, const char *json,
                             size_t len)
{
    json_t *document = json ? json_loadb(json, len, JSON_ALLOW_NUL, NULL) : NULL;
    const char *name = json_string_value(json_object_get(document, "message"));
    char *body = json_dumps(json_object_get(document, "body"), JSON_COMPACT);
    printf("%s <- %s ", device->name, name ? name : id);
    ctl_print_safe(pg_bytes_str(body ? body : "(not shown: out of memory)"));
    putchar('\n');
    fflush(stdout);
    free(body);
    json_decref(document);
}

void ctl_device_hang_up(struct ctl_device *device)
{
    device->hang_up = true;
}

void ctl_device_online(struct ctl_device *device)
{
    device->retry_s = RETRY_FIRST_S;
    ctl_device_tell(device, "online");
}

void ctl_device_send(void *arg, struct pg_bytes frame)
{
    struct ctl_device *t = arg;
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

/* ---- the connection -------------------------------------------------------------------------- */

static void drop(struct ctl_device *t)
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
        t->simulator->ops->disconnected(t->simulator);
        ctl_device_tell(t, "lost its connection");
    }
    ev_timer_stop(loop, &t->retry);
    ev_timer_set(&t->retry, t->retry_s, 0.);
    ev_timer_start(loop, &t->retry);
    t->retry_s = t->retry_s * 2 < RETRY_LAST_S ? t->retry_s * 2 : RETRY_LAST_S;
}

static void watch(struct ctl_device *t, int events)
{
    if (ev_is_active(&t->io) && (t->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(t->fleet->loop, &t->io);
    ev_io_set(&t->io, t->fd, events);
    ev_io_start(t->fleet->loop, &t->io);
}

static void flush(struct ctl_device *t)
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
static void settle(struct ctl_device *t)
{
    if (t->state == CONNECTED && !t->hang_up && t->out_len > 0)
        flush(t);
    if (t->hang_up)
        drop(t);
    int64_t deadline = t->simulator->ops->deadline(t->simulator);
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
    struct ctl_device *t = timer->data;
    (void)loop;
    (void)events;
    t->simulator->ops->due(t->simulator, ctl_now_ms());
    settle(t);
}

/* Nobody has been reached yet, so the address is wrong: try the host's next one, or give up. */
static void give_up_address(struct ctl_fleet *fleet, int error)
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

static void connected(struct ctl_device *t)
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
    t->simulator->ops->connected(t->simulator, ctl_now_ms());
    settle(t);
}

static void read_in(struct ctl_device *t)
{
    uint8_t buffer[16384];
    ssize_t n = recv(t->fd, buffer, sizeof(buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0)
        t->hang_up = true;
    else
        t->simulator->ops->bytes(t->simulator, (struct pg_bytes){.data = buffer, .len = (size_t)n},
                                 ctl_now_ms());
}

static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct ctl_device *t = io->data;
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
    struct ctl_device *t = timer->data;
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

/* A descriptor for each device. */
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

static bool open_device(struct ctl_fleet *fleet, size_t index)
{
    struct ctl_device *t = &fleet->devices[index];
    *t = (struct ctl_device){.fleet = fleet, .fd = -1, .retry_s = RETRY_FIRST_S};
    ev_init(&t->io, on_io);
    ev_timer_init(&t->due, on_due, 0., 0.);
    ev_timer_init(&t->retry, on_retry, START_GAP_S * (double)index, 0.);
    t->io.data = t->due.data = t->retry.data = t;
    t->simulator = fleet->plan->kind->open(fleet->plan, t, index, t->name);
    if (!t->simulator) {
        ctl_error(fleet->run, "out of memory at number %zu", index + 1);
        return false;
    }
    ev_timer_start(fleet->loop, &t->retry);
    fleet->count++;
    return true;
}

static void report(struct ctl_fleet *fleet)
{
    size_t online = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        online += fleet->devices[i].simulator->ops->online(fleet->devices[i].simulator);
        fleet->plan->kind->sum(fleet->devices[i].simulator, i == 0);
    }
    printf("%zu of %zu online, ", online, fleet->count);
    fleet->plan->kind->print_sum();
    fflush(stdout);
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

static void run_fleet(struct ctl_fleet *fleet, const struct ctl_fleet_plan *plan)
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

static void close_fleet(struct ctl_fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++) {
        struct ctl_device *t = &fleet->devices[i];
        if (t->fd >= 0)
            close(t->fd);
        wire_simulator_close(&t->simulator);
        free(t->out);
    }
    free(fleet->devices);
    if (fleet->found)
        freeaddrinfo(fleet->found);
}

int ctl_fleet_run(const struct ctl_run *run, const struct ctl_fleet_plan *plan)
{
    struct ctl_fleet fleet = {.run = run, .plan = plan, .code = CTL_OK};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *host = ctl_value(run, "host"), *port = ctl_value(run, "port");
    if (!raise_descriptors(run, plan->count))
        return CTL_FAILED;
    int error =
        getaddrinfo(host ? host : "127.0.0.1", port ? port : plan->port, &hints, &fleet.found);
    if (error != 0) {
        ctl_error(run, "%s: %s", host ? host : "127.0.0.1", gai_strerror(error));
        return CTL_UNREACHABLE;
    }
    fleet.address = fleet.found;
    fleet.loop = ev_default_loop(EVFLAG_AUTO);
    fleet.devices = calloc((size_t)plan->count, sizeof(*fleet.devices));
    bool good = fleet.loop && fleet.devices;
    for (size_t i = 0; good && i < (size_t)plan->count; i++)
        good = open_device(&fleet, i);
    if (good) {
        run_fleet(&fleet, plan);
        if (fleet.ever_connected)
            report(&fleet);
    }
    close_fleet(&fleet);
    return good ? fleet.code : CTL_FAILED;
}
