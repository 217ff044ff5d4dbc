/* SPDX-License-Identifier: Apache-2.0 */

/* See echo_server.h. The frontend uses the public ABI alone; the harness around it plays the part
 * of the core's assembly. */

#include "echo_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn_client.h"
#include "counter.h"
#include "registry.h"

#define WAIT_S      20
#define FLOOD_BYTES (ECHO_FLOOD_MB * 1024 * 1024)

/* ---- the frontend ---------------------------------------------------------------------------- */

struct echo_conn {
    struct echo_conn *next_held; /* paused by "hold"; on the worker's list */
};

static _Thread_local struct echo_conn *held;

static void echo_open(struct pg_conn *conn)
{
    (void)conn;
}

static void flood(struct pg_conn *conn)
{
    uint8_t *bytes = malloc(FLOOD_BYTES);
    if (!bytes)
        abort();
    memset(bytes, '~', FLOOD_BYTES);
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("flood"),
                               .payload = {.data = bytes, .len = FLOOD_BYTES}};
    struct pg_msg *msg = pg_msg_new(&spec);
    free(bytes);
    if (!msg)
        abort();
    pg_conn_append_msg(conn, msg, msg->payload);
    pg_msg_unref(&msg);
}

static void fill(struct pg_conn *conn)
{
    char line[1001];
    memset(line, '.', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    while (pg_conn_has_room(conn))
        pg_conn_append(conn, (struct pg_bytes){.data = (uint8_t *)line, .len = sizeof(line)});
    pg_conn_append(conn, PG_BYTES_OF("full\n"));
}

static void echo_line(struct pg_conn *conn, struct pg_bytes line)
{
    pg_conn_alive(conn);
    if (pg_bytes_equal(line, PG_BYTES_OF("calm\n"))) {
        pg_conn_logged_in(conn); /* as if a client had been admitted */
        pg_conn_set_idle(conn, 0, PG_KEEPALIVE_TIMEOUT);
        pg_conn_set_frame_limit(conn, SIZE_MAX);
    } else if (pg_bytes_equal(line, PG_BYTES_OF("brief\n"))) {
        pg_conn_set_idle(conn, ECHO_IDLE_MS, PG_KEEPALIVE_TIMEOUT);
    } else if (pg_bytes_equal(line, PG_BYTES_OF("fill\n"))) {
        fill(conn);
    } else if (pg_bytes_equal(line, PG_BYTES_OF("flood\n"))) {
        flood(conn);
    } else if (pg_bytes_equal(line, PG_BYTES_OF("bye\n"))) {
        pg_conn_close(conn, PG_CLIENT_CLOSED, "as the client asked");
    } else if (pg_bytes_equal(line, PG_BYTES_OF("hold\n"))) {
        struct echo_conn *state = pg_conn_state(conn);
        state->next_held = held;
        held = state;
        pg_conn_pause(conn);
    } else {
        pg_conn_append(conn, line);
    }
}

static size_t echo_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    size_t used = 0;
    while (!pg_conn_closing(conn) && (!held || pg_conn_of_state(held) != conn)) {
        const uint8_t *start = in.data + used;
        const uint8_t *end = memchr(start, '\n', in.len - used);
        if (!end)
            break;
        size_t n = (size_t)(end - start) + 1;
        echo_line(conn, (struct pg_bytes){.data = start, .len = n});
        used += n;
    }
    return used;
}

static void echo_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "goodbye %s\n", pg_reason_name(reason));
    pg_conn_append(conn, (struct pg_bytes){.data = (uint8_t *)text, .len = (size_t)n});
}

static void echo_closed(struct pg_conn *conn)
{
    struct echo_conn **p = &held;
    while (*p && pg_conn_of_state(*p) != conn)
        p = &(*p)->next_held;
    if (*p)
        *p = (*p)->next_held;
}

static const struct pg_option no_options[] = {{.name = NULL}};
static const struct pg_counter no_counters[] = {{.name = NULL}};

static const struct pg_protocol echo_protocol = {
    .abi = PG_ABI,
    .name = "echo",
    .options = no_options,
    .counters = no_counters,
    .conn_size = sizeof(struct echo_conn),
    .open = echo_open,
    .bytes = echo_bytes,
    .goodbye = echo_goodbye,
    .closed = echo_closed,
};

/* ---- the server ------------------------------------------------------------------------------ */

/* Run something on every worker, one after the other, and wait for it. */
struct on_worker {
    struct pg_task task;
    struct echo_server *server;
    void (*fn)(struct echo_server *server, struct pg_worker *worker);
    pthread_mutex_t lock;
    pthread_cond_t done_signal;
    bool done;
};

static void run_on_worker(struct pg_task *task, struct pg_worker *worker)
{
    struct on_worker *work = (struct on_worker *)task;
    work->fn(work->server, worker);
    pthread_mutex_lock(&work->lock);
    work->done = true;
    pthread_cond_signal(&work->done_signal);
    pthread_mutex_unlock(&work->lock);
}

static void on_every_worker(struct echo_server *server,
                            void (*fn)(struct echo_server *server, struct pg_worker *worker))
{
    for (unsigned w = 0; w < server->server.worker_count; w++) {
        struct on_worker work = {.task.run = run_on_worker,
                                 .server = server,
                                 .fn = fn,
                                 .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .done_signal = PTHREAD_COND_INITIALIZER};
        pg_worker_post(server->server.workers[w], &work.task);
        pthread_mutex_lock(&work.lock);
        while (!work.done)
            pthread_cond_wait(&work.done_signal, &work.lock);
        pthread_mutex_unlock(&work.lock);
    }
}

static void start_listening(struct echo_server *server, struct pg_worker *worker)
{
    server->transport->start(server->listening, worker, &server->config, &server->listener);
}

static void stop_listening(struct echo_server *server, struct pg_worker *worker)
{
    server->transport->stop(server->listening, worker);
}

static void resume_held(struct echo_server *server, struct pg_worker *worker)
{
    (void)server;
    (void)worker;
    while (held) {
        struct echo_conn *state = held;
        held = state->next_held;
        pg_conn_resume(pg_conn_of_state(state));
    }
}

void echo_server_prepare(struct echo_server *server, const struct pg_transport *transport,
                         void *transport_conf)
{
    static struct pg_protocol_conf protocols[1];
    if (!protocols[0].protocol) {
        protocols[0].protocol = &echo_protocol;
        protocols[0].counter_base = pg_counter_register("echo", no_counters);
    }
    *server = (struct echo_server){
        .transport = transport,
        .config =
            {
                .refs = 1, /* the harness's own: never the last to go */
                .protocols = protocols,
                .protocol_count = 1,
                .settings.limits =
                    {
                        .login_frame_size = 16 * 1024 * 1024,
                        .frame_size = 16 * 1024 * 1024,
                        .first_byte_timeout = 60000,
                        .login_timeout = 60000,
                        .output_high = 64 * 1024,
                        .output_max = 8 * 1024 * 1024,
                        .linger = 5000,
                        .clients_per_connection = 1,
                        .topic_levels = 32,
                        .mailbox_batches = 64,
                    },
            },
        .listener = {.config = &server->config,
                     .name = "echo",
                     .transport = transport,
                     .protocol = &echo_protocol,
                     .transport_conf = transport_conf,
                     .file = "test.conf",
                     .line = 7},
    };
    server->config.listeners = &server->listener;
    server->config.listener_count = 1;
}

bool echo_server_start(struct echo_server *server, const char *bind_value, unsigned workers,
                       struct pg_error *error)
{
    const char *const binds[] = {bind_value};
    server->listener.bind = (struct pg_strings){.items = binds, .count = 1};
    server->listening = server->transport->listen(&server->listener, workers, error);
    server->listener.bind = (struct pg_strings){.items = NULL, .count = 0};
    if (!server->listening)
        return false;

    struct pg_listening_info info[1];
    server->transport->addresses(server->listening, info, 1);
    server->port = (uint16_t)atoi(strrchr(info[0].address, ':') + 1);

    atomic_store(&server->server.config, &server->config);
    server->server.registry = pg_registry_new();
    if (!server->server.registry)
        abort();
    server->server.worker_count = workers;
    for (unsigned w = 0; w < workers; w++) {
        server->server.workers[w] = pg_worker_new(&server->server, w);
        if (!server->server.workers[w] || !pg_worker_start(server->server.workers[w]))
            abort();
    }
    on_every_worker(server, start_listening);
    return true;
}

void echo_server_resume(struct echo_server *server)
{
    on_every_worker(server, resume_held);
}

void echo_server_stop(struct echo_server *server)
{
    on_every_worker(server, stop_listening);
    for (unsigned w = 0; w < server->server.worker_count; w++)
        pg_worker_drain(server->server.workers[w], 5000);
    pg_workers_join(&server->server);
    pg_registry_free(&server->server.registry);
    server->transport->close_listening(&server->listening);
}

uint64_t echo_server_counter(struct echo_server *server, size_t index)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < server->server.worker_count; w++)
        sum += pg_counter_get(pg_worker_counters(server->server.workers[w]), index);
    return sum;
}

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool echo_server_wait(struct echo_server *server, size_t index, uint64_t value)
{
    int64_t deadline = clock_ms() + WAIT_S * 1000;
    while (echo_server_counter(server, index) != value) {
        if (clock_ms() > deadline) {
            fprintf(stderr, "counter %s is %llu, not %llu\n", pg_counter_row(index).name,
                    (unsigned long long)echo_server_counter(server, index),
                    (unsigned long long)value);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}

/* ---- the client ------------------------------------------------------------------------------ */

int echo_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

bool echo_send(int fd, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool echo_send_text(int fd, const char *text)
{
    return echo_send(fd, text, strlen(text));
}

bool echo_read(int fd, void *bytes, size_t n)
{
    uint8_t *at = bytes;
    while (n > 0) {
        ssize_t got = recv(fd, at, n, 0);
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

bool echo_expect(int fd, const char *text)
{
    char got[512];
    size_t n = strlen(text);
    return n <= sizeof(got) && echo_read(fd, got, n) && memcmp(got, text, n) == 0;
}

bool echo_expect_end(int fd)
{
    uint8_t byte;
    errno = 0;
    return recv(fd, &byte, 1, 0) == 0;
}
