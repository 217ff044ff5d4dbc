/* SPDX-License-Identifier: Apache-2.0 */

/* Connections that the gateway makes: a frontend that calls, over TCP, to sockets of the test's
 * own. */

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../transports/net/net.h"
#include "../../transports/tcp/tcp.h"
#include "call.h"
#include "counter.h"
#include "echo_server.h"
#include "suite.h"
#include "worker_parts.h"

/* ---- a frontend that calls ------------------------------------------------------------------- */

enum { COUNT_LINES };

static void caller_open(struct pg_conn *conn)
{
    /* Before anybody is there: it has to wait. */
    pg_conn_append(conn, PG_BYTES_OF("early "));
}

static void caller_connected(struct pg_conn *conn)
{
    char text[64];
    uint64_t *calls = pg_call_state(conn);
    int n = snprintf(text, sizeof(text), "call %llu of %s\n", (unsigned long long)++*calls,
                     pg_conn_assigned_id_prefix(conn));
    pg_conn_append(conn, (struct pg_bytes){.data = (uint8_t *)text, .len = (size_t)n});
    pg_conn_set_idle(conn, 0, PG_KEEPALIVE_TIMEOUT);
}

static size_t caller_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    if (memchr(in.data, '!', in.len))
        pg_call_welcomed(conn);
    if (memchr(in.data, 'r', in.len))
        pg_call_rest(conn, 0);
    pg_conn_count(conn, COUNT_LINES, 1);
    pg_conn_append(conn, PG_BYTES_OF("heard\n"));
    return in.len;
}

static void caller_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    const char *name = pg_reason_name(reason);
    pg_conn_append(conn, pg_bytes_str(name));
}

static const struct pg_counter caller_counters[] = {{.name = "lines", .sentence = ""},
                                                    {.name = NULL}};
static const struct pg_protocol caller_protocol = {
    .abi = PG_ABI,
    .name = "caller",
    .calls = true,
    .call_size = sizeof(uint64_t),
    .counters = caller_counters,
    .open = caller_open,
    .connected = caller_connected,
    .bytes = caller_bytes,
    .goodbye = caller_goodbye,
};

/* ---- the gateway around it ------------------------------------------------------------------- */

static struct net_conf tcp = {.backlog = 64, .reuse_port = true};
static struct echo_server server;
static struct pg_call_conf how;
static struct pg_listener_conf block;
static char to[64];

/* Run on the only worker, and wait. */
struct job {
    struct pg_task task;
    void (*fn)(struct pg_worker *worker, void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t signal;
    bool done;
};

static void run_job(struct pg_task *task, struct pg_worker *worker)
{
    struct job *job = (struct job *)task;
    job->fn(worker, job->arg);
    pthread_mutex_lock(&job->lock);
    job->done = true;
    pthread_cond_signal(&job->signal);
    pthread_mutex_unlock(&job->lock);
}

static void on_worker(void (*fn)(struct pg_worker *worker, void *arg), void *arg)
{
    struct job job = {.task.run = run_job,
                      .fn = fn,
                      .arg = arg,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .signal = PTHREAD_COND_INITIALIZER};
    pg_worker_post(server.server.workers[0], &job.task);
    pthread_mutex_lock(&job.lock);
    while (!job.done)
        pthread_cond_wait(&job.signal, &job.lock);
    pthread_mutex_unlock(&job.lock);
}

static void change(struct pg_worker *worker, void *arg)
{
    pg_calls_change(worker, arg);
}

/* As a reload does, to this block or to none. */
static void apply(bool calls_out)
{
    server.config.calls = &block;
    server.config.call_count = calls_out;
    struct pg_calls *calls = pg_calls_prepare(&server.config, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(calls);
    on_worker(change, calls);
    pg_calls_changed(&calls);
}

static void look(struct pg_worker *worker, void *arg)
{
    const struct pg_call *call = pg_call_next(worker, NULL);
    struct pg_call_view *view = arg;
    *view = (struct pg_call_view){0};
    if (call)
        pg_call_look(call, view);
}

static struct pg_call_view view_now(void)
{
    struct pg_call_view view;
    on_worker(look, &view);
    return view;
}

static void start(const char *address)
{
    static struct pg_protocol_conf protocols[1];
    static size_t base;
    struct pg_error error = {.text = ""};
    if (base == 0)
        base = pg_counter_register("caller", caller_counters);
    echo_server_prepare(&server, &tcp_transport, &tcp);
    protocols[0] = (struct pg_protocol_conf){.protocol = &caller_protocol, .counter_base = base};
    snprintf(to, sizeof(to), "%s", address);
    how = (struct pg_call_conf){
        .to = to, .connect_timeout_ms = 10000, .retry_ms = 100, .retry_max_ms = 100};
    block = (struct pg_listener_conf){.config = &server.config,
                                      .name = "one",
                                      .transport = &tcp_transport,
                                      .protocol = &caller_protocol,
                                      .assigned_id_prefix = "caller/one",
                                      .call = &how,
                                      .protocol_conf = &how};
    CU_ASSERT_TRUE_FATAL(tcp_transport.check_call(&block, &error));
    CU_ASSERT_TRUE_FATAL(echo_server_start(&server, "127.0.0.1:0", 1, &error));
    server.config.protocols = protocols; /* the connections of the test are all calls */
    apply(true);
}

static void stop(void)
{
    apply(false);
    echo_server_stop(&server);
}

/* ---- whom it calls --------------------------------------------------------------------------- */

static int bound(char address[64], const char *host)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(any);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(fd >= 0 && bind(fd, (struct sockaddr *)&any, len) == 0 &&
                    getsockname(fd, (struct sockaddr *)&any, &len) == 0);
    snprintf(address, 64, "%s:%u", host, ntohs(any.sin_port));
    return fd;
}

static int taken(int listening)
{
    struct timeval limit = {.tv_sec = 20};
    setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int fd = accept(listening, NULL, NULL);
    CU_ASSERT_FATAL(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void calls_and_calls_again(void)
{
    char address[64];
    int listening = bound(address, "127.0.0.1");
    CU_ASSERT_FATAL(listen(listening, 4) == 0);
    start(address);
    int fd = taken(listening);
    CU_ASSERT(echo_expect(fd, "early call 1 of caller/one\n"));
    CU_ASSERT(echo_send_text(fd, "a!"));
    CU_ASSERT(echo_expect(fd, "heard\n"));
    struct pg_call_view view = view_now();
    CU_ASSERT_EQUAL(view.state, PG_CALL_WELCOMED);
    CU_ASSERT_EQUAL(view.tries, 0);
    CU_ASSERT_EQUAL(view.counted[COUNT_LINES], 1);
    close(fd);
    fd = taken(listening);
    CU_ASSERT(echo_expect(fd, "early call 2 of caller/one\n"));
    view = view_now();
    CU_ASSERT_EQUAL(view.state, PG_CALL_CONNECTED);
    CU_ASSERT_EQUAL(view.tries, 1);
    CU_ASSERT_EQUAL(view.reason, PG_PEER_CLOSED);
    apply(false);
    CU_ASSERT(echo_expect(fd, "listener_removed"));
    CU_ASSERT(echo_expect_end(fd));
    close(fd);
    close(listening);
    stop();
}

static void a_reload_leaves_the_connection(void)
{
    char address[64];
    int listening = bound(address, "127.0.0.1");
    CU_ASSERT_FATAL(listen(listening, 4) == 0);
    start(address);
    int fd = taken(listening);
    CU_ASSERT(echo_expect(fd, "early call 1 of caller/one\n"));
    apply(true);
    CU_ASSERT(echo_send_text(fd, "x"));
    CU_ASSERT(echo_expect(fd, "heard\n"));
    close(fd);
    fd = taken(listening);
    CU_ASSERT(echo_expect(fd, "early call 2 of caller/one\n"));
    close(fd);
    close(listening);
    stop();
}

/* Nobody is there, and then somebody is; and by name. */
static void tries_until_somebody_is_there(void)
{
    char address[64];
    int listening = bound(address, "localhost");
    start(address);
    CU_ASSERT(echo_server_wait(&server, PG_COUNTER_CLOSE(PG_NETWORK_ERROR), 2));
    CU_ASSERT_FATAL(listen(listening, 4) == 0);
    int fd = taken(listening);
    CU_ASSERT(echo_expect(fd, "early call 1 of caller/one\n"));
    CU_ASSERT(view_now().tries >= 3);
    close(fd);
    close(listening);
    stop();
}

static void a_name_that_is_none(void)
{
    start("nobody.invalid:9");
    CU_ASSERT(echo_server_wait(&server, PG_COUNTER_CLOSE(PG_NETWORK_ERROR), 1));
    stop();
}

/* Stopping while a name is being looked up, or while nobody answers. */
static void stops_in_the_middle(void)
{
    for (int i = 0; i < 20; i++) {
        start("localhost:9");
        stop();
    }
}

/* The kernel answers none who come when the queue is full. */
static void nobody_answers(void)
{
    char address[64];
    int listening = bound(address, "127.0.0.1"), waiting[16];
    struct sockaddr_in there;
    socklen_t len = sizeof(there);
    CU_ASSERT_FATAL(listen(listening, 0) == 0 &&
                    getsockname(listening, (struct sockaddr *)&there, &len) == 0);
    for (int i = 0; i < 16; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(waiting[i], (struct sockaddr *)&there, len);
    }
    start(address);
    server.config.settings.limits.linger = 100;
    how.connect_timeout_ms = 300; /* of the next call */
    apply(false);
    apply(true);
    CU_ASSERT(echo_server_wait(&server, PG_COUNTER_CLOSE(PG_HANDSHAKE_TIMEOUT), 1));
    stop();
    for (int i = 0; i < 16; i++)
        close(waiting[i]);
    close(listening);
}

static void what_can_be_called(void)
{
    static const char *const good[] = {"192.0.2.7:32960", "[2001:db8::7]:1", "a.example:65535",
                                       "unix:/run/x", "a-b_c.d:80"};
    static const char *const bad[] = {"",       "a.example",    "a.example:0", ":1883",
                                      "*:1883", "192.0.2.7:0",  "a b:80",      "2001:db8::7:80",
                                      "unix:x", "a.example:no", "a.example:",  "a/b:80"};
    struct pg_error error;
    block.call = &how;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        how.to = good[i];
        CU_ASSERT(tcp_transport.check_call(&block, &error));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        how.to = bad[i];
        CU_ASSERT_FALSE(tcp_transport.check_call(&block, &error));
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(calls_and_calls_again),
        TEST(a_reload_leaves_the_connection),
        TEST(tries_until_somebody_is_there),
        TEST(a_name_that_is_none),
        TEST(stops_in_the_middle),
        TEST(nobody_answers),
        TEST(what_can_be_called),
        CU_TEST_INFO_NULL,
    };
    return run_suite("calls", tests);
}
