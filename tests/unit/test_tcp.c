/* SPDX-License-Identifier: Apache-2.0 */

/* The TCP transport under the core's real connections: streams, back-pressure, deadlines, limits,
 * want of descriptors, churn, and what listening says when it cannot. Loopback, kernel's ports. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../transports/net/net.h"
#include "../../transports/tcp/tcp.h"
#include "counter.h"
#include "echo_server.h"
#include "log.h"
#include "suite.h"

static struct net_conf tcp = {
    .backlog = 1024,
    .nodelay = true,
    .reuse_port = true,
    .keepalive_ms = 600000,
    .keepalive_interval_ms = 31000,
    .keepalive_count = 5,
    .user_timeout_ms = 20000,
};
static struct echo_server server;

static void prepare(void)
{
    echo_server_prepare(&server, &tcp_transport, &tcp);
}

static void start(const char *bind_value, unsigned workers)
{
    struct pg_error error = {.text = ""};
    bool started = echo_server_start(&server, bind_value, workers, &error);
    if (!started)
        fprintf(stderr, "%s\n", error.text);
    CU_ASSERT_FATAL(started);
}

static int connected(void)
{
    int fd = echo_connect(server.port);
    CU_ASSERT_FATAL(fd >= 0);
    return fd;
}

static void closes_for(enum pg_reason reason, uint64_t times)
{
    CU_ASSERT(echo_server_wait(&server, PG_COUNTER_CLOSE(reason), times));
}

/* Opened and closed agree once the server has nothing open any more (pitfall A4). */
static void stop_and_balance(void)
{
    uint64_t opened = echo_server_counter(&server, PG_COUNT_CONNECTIONS_OPENED);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, opened));
    CU_ASSERT_EQUAL(atomic_load(&server.server.connections), 0);
    uint64_t reasons = 0;
    for (int r = 0; r < PG_REASON_COUNT; r++)
        reasons += echo_server_counter(&server, PG_COUNTER_CLOSE(r));
    CU_ASSERT_EQUAL(reasons, opened); /* every close has exactly one reason */
    echo_server_stop(&server);
}

/* ---- streams --------------------------------------------------------------------------------- */

static const char script[] = "one\ntwo\n\nthe fourth line is a little longer than the others\n5\n";

static void echo_of_a_whole_stream(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, script));
    CU_ASSERT(echo_expect(fd, script));
    close(fd);
    closes_for(PG_PEER_CLOSED, 1);
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_BYTES_RECEIVED), strlen(script));
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_BYTES_SENT), strlen(script));
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_WRITES), 1); /* one gathered write */
    stop_and_balance();
}

static void echo_byte_by_byte(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    for (size_t i = 0; i < strlen(script); i++) {
        CU_ASSERT(echo_send(fd, &script[i], 1));
        /* Each byte is a read of its own. */
        CU_ASSERT(echo_server_wait(&server, PG_COUNT_READS, i + 1));
    }
    CU_ASSERT(echo_expect(fd, script));
    close(fd);
    stop_and_balance();
}

static void echo_cut_at_each_offset(void)
{
    prepare();
    start("[::1]:0", 1);
    for (size_t cut = 1; cut < strlen(script); cut++) {
        struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                                  .sin6_addr = in6addr_loopback,
                                  .sin6_port = htons(server.port)};
        int fd = socket(AF_INET6, SOCK_STREAM, 0);
        CU_ASSERT_FATAL(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
        uint64_t before = echo_server_counter(&server, PG_COUNT_READS);
        CU_ASSERT(echo_send(fd, script, cut));
        CU_ASSERT(echo_server_wait(&server, PG_COUNT_READS, before + 1));
        CU_ASSERT(echo_send_text(fd, script + cut));
        CU_ASSERT(echo_expect(fd, script));
        close(fd);
    }
    stop_and_balance();
}

/* Lines in one go, far more than one read takes, and a line that is longer than the worker's read
 * buffer. */
static void long_streams_and_long_frames(void)
{
    enum { LINES = 20000, LONG = 3 * 1024 * 1024 };
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    pid_t writer = fork();
    CU_ASSERT_FATAL(writer >= 0);
    if (writer == 0) {
        char line[32];
        bool ok = true;
        for (int i = 0; i < LINES && ok; i++) {
            int n = snprintf(line, sizeof(line), "line %d\n", i);
            ok = echo_send(fd, line, (size_t)n);
        }
        char *frame = malloc(LONG);
        if (!frame)
            _exit(1);
        memset(frame, 'x', LONG);
        frame[LONG - 1] = '\n';
        ok = ok && echo_send(fd, frame, LONG);
        _exit(ok ? 0 : 1);
    }
    for (int i = 0; i < LINES; i++) {
        char line[32];
        snprintf(line, sizeof(line), "line %d\n", i);
        if (!echo_expect(fd, line)) {
            CU_FAIL("a line is missing or changed");
            break;
        }
    }
    char *frame = malloc(LONG);
    CU_ASSERT_FATAL(frame != NULL);
    CU_ASSERT(echo_read(fd, frame, LONG));
    CU_ASSERT(frame[0] == 'x' && frame[LONG - 2] == 'x' && frame[LONG - 1] == '\n');
    free(frame);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(writer, &status, 0), writer);
    CU_ASSERT_EQUAL(status, 0);
    close(fd);
    stop_and_balance();
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void half_close_still_gets_its_answers(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "last words\n"));
    shutdown(fd, SHUT_WR);
    CU_ASSERT(echo_expect(fd, "last words\n"));
    CU_ASSERT(echo_expect_end(fd));
    close(fd);
    closes_for(PG_PEER_CLOSED, 1);
    stop_and_balance();
}

/* What was read before the peer's end, but held back, is answered before the connection closes. */
static void half_close_while_paused(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "hold\nafter the pause\n"));
    shutdown(fd, SHUT_WR);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_READS, 1));
    echo_server_resume(&server);
    CU_ASSERT(echo_expect(fd, "after the pause\n"));
    CU_ASSERT(echo_expect_end(fd));
    close(fd);
    stop_and_balance();
}

static void a_reset_ends_only_that_connection(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int other = connected();
    for (int i = 0; i < 20; i++) {
        int fd = connected();
        CU_ASSERT(echo_send_text(fd, i % 2 ? "fill\n" : "half a li"));
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
        close(fd);
    }
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 20));
    CU_ASSERT(echo_send_text(other, "still here\n"));
    CU_ASSERT(echo_expect(other, "still here\n"));
    close(other);
    stop_and_balance();
}

/* The server's last words arrive although the peer goes on sending: no reset overtakes them. */
static void last_words_arrive_while_the_peer_sends(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "bye\n"));
    closes_for(PG_CLIENT_CLOSED, 1);
    char noise[16384];
    memset(noise, 'n', sizeof(noise));
    for (int i = 0; i < 20; i++)
        CU_ASSERT(echo_send(fd, noise, sizeof(noise)));
    CU_ASSERT(echo_expect(fd, "goodbye client_closed\n"));
    CU_ASSERT(echo_expect_end(fd));
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_CONNECTIONS_CLOSED), 0); /* lingers */
    close(fd);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    stop_and_balance();
}

/* A peer that neither closes nor stops sending after the goodbye is thrown out. */
static void lingering_is_bounded_in_bytes(void)
{
    prepare();
    server.config.settings.limits.linger = 60000;
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "bye\n"));
    closes_for(PG_CLIENT_CLOSED, 1);
    char noise[65536] = {0};
    bool ok = true;
    for (int i = 0; i < 1000 && ok; i++)
        ok = echo_send(fd, noise, sizeof(noise));
    CU_ASSERT_FALSE(ok);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    close(fd);
    stop_and_balance();
}

static void lingering_is_bounded_in_time(void)
{
    prepare();
    server.config.settings.limits.linger = 200;
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "bye\n"));
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    close(fd);
    stop_and_balance();
}

static void stopping_says_goodbye(void)
{
    prepare();
    start("127.0.0.1:0", 2);
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = connected();
        CU_ASSERT(echo_send_text(fds[i], "hello\n"));
        CU_ASSERT(echo_expect(fds[i], "hello\n"));
    }
    pid_t reader = fork(); /* the server's last words need somebody who closes after them */
    CU_ASSERT_FATAL(reader >= 0);
    if (reader == 0) {
        bool ok = true;
        for (int i = 0; i < 8; i++)
            ok = echo_expect(fds[i], "goodbye draining\n") && echo_expect_end(fds[i]) && ok &&
                 shutdown(fds[i], SHUT_RDWR) == 0;
        _exit(ok ? 0 : 1);
    }
    echo_server_stop(&server);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(reader, &status, 0), reader);
    CU_ASSERT_EQUAL(status, 0);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    CU_ASSERT_EQUAL(atomic_load(&server.server.connections), 0);
}

/* ---- back-pressure --------------------------------------------------------------------------- */

static int64_t cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Send lines until the peer takes no more for 200 ms; how many bytes went. */
static size_t send_until_blocked(int fd, const char *line)
{
    size_t total = 0, n = strlen(line), at = 0;
    for (;;) {
        ssize_t sent = send(fd, line + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            total += (size_t)sent;
            at = (at + (size_t)sent) % n;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, 200) == 0)
            return total;
    }
}

static void a_peer_that_does_not_read_is_not_read_from(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int));
    const char *line = "a line of thirty-two bytes long\n";
    size_t total = send_until_blocked(fd, line);
    int64_t cpu_before = cpu_ms();
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* a window to measure in */
    CU_ASSERT(cpu_ms() - cpu_before < 100); /* blocked in both directions, and not spinning */
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNTER_CLOSE(PG_SLOW_CONSUMER)), 0);

    /* Once it reads, everything comes, and nothing twice. */
    size_t whole = total / strlen(line) * strlen(line);
    char got[32];
    size_t wrong = 0;
    for (size_t i = 0; i < whole; i += sizeof(got)) {
        if (!echo_read(fd, got, sizeof(got)) || memcmp(got, line, sizeof(got)) != 0) {
            wrong++;
            break;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    close(fd);
    stop_and_balance();
}

/* A peer that sent its last byte and does not read what is still for it: nothing spins until the
 * linger deadline. */
static void half_close_of_a_peer_that_does_not_read(void)
{
    prepare();
    server.config.settings.limits.linger = 800;
    server.config.settings.limits.output_high = 32 * 1024 * 1024; /* reads on, to the end */
    server.config.settings.limits.output_max = 64 * 1024 * 1024;
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "flood\n"));
    shutdown(fd, SHUT_WR);
    closes_for(PG_PEER_CLOSED, 1);
    int64_t cpu_before = cpu_ms();
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    CU_ASSERT(cpu_ms() - cpu_before < 250);
    close(fd);
    stop_and_balance();
}

static void room_for_deliveries_ends_at_the_high_water_mark(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "fill\n"));
    char line[1001];
    int lines = 0;
    while (echo_read(fd, line, 5) && memcmp(line, "full\n", 5) != 0) {
        CU_ASSERT_FATAL(echo_read(fd, line + 5, sizeof(line) - 5));
        lines++;
    }
    CU_ASSERT_EQUAL(lines, 64 * 1024 / 1001 + 1); /* limits.output_high, and the line across it */
    close(fd);
    stop_and_balance();
}

static void a_peer_over_the_output_limit_is_cut_off(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected(), other = connected();
    CU_ASSERT(echo_send_text(fd, "flood\n")); /* 16 MiB, twice limits.output_max */
    closes_for(PG_SLOW_CONSUMER, 1);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    CU_ASSERT(echo_send_text(other, "not me\n"));
    CU_ASSERT(echo_expect(other, "not me\n"));
    close(fd);
    close(other);
    stop_and_balance();
}

/* A slow link: as long as it takes what is queued, the peer is alive, though its own bytes are not
 * read meanwhile. */
static void a_slow_peer_is_not_a_silent_one(void)
{
    prepare();
    server.config.settings.limits.output_max = 64 * 1024 * 1024;
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "brief\nflood\n"));
    size_t step = 1024 * 1024;
    char *bytes = malloc(step);
    CU_ASSERT_FATAL(bytes != NULL);
    bool ok = true;
    for (unsigned i = 0; i < ECHO_FLOOD_MB && ok; i++) {
        nanosleep(&(struct timespec){.tv_nsec = ECHO_IDLE_MS / 4 * 1000000}, NULL);
        ok = echo_send_text(fd, "here\n") && echo_read(fd, bytes, step);
    }
    CU_ASSERT(ok);
    for (unsigned i = 0; i < ECHO_FLOOD_MB && ok; i++)
        ok = echo_expect(fd, "here\n");
    CU_ASSERT(ok);
    free(bytes);
    /* Silence is still found out. */
    CU_ASSERT(echo_expect(fd, "goodbye keepalive_timeout\n"));
    close(fd);
    stop_and_balance();
}

/* Whose kernel takes nothing any more is silent, whatever is queued for it. */
static void a_stuck_peer_is_a_silent_one(void)
{
    prepare();
    server.config.settings.limits.output_max = 64 * 1024 * 1024;
    server.config.settings.limits.linger = 100;
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "brief\nflood\n"));
    closes_for(PG_KEEPALIVE_TIMEOUT, 1);
    close(fd);
    stop_and_balance();
}

/* ---- deadlines and limits -------------------------------------------------------------------- */

static void no_first_byte(void)
{
    prepare();
    server.config.settings.limits.first_byte_timeout = 200;
    start("127.0.0.1:0", 1);
    int silent = connected();
    CU_ASSERT(echo_expect(silent, "goodbye first_byte_timeout\n"));
    CU_ASSERT(echo_expect_end(silent));
    close(silent);
    closes_for(PG_FIRST_BYTE_TIMEOUT, 1);
    stop_and_balance();
}

/* Dripping bytes does not move the login deadline; only an identity does. */
static void no_login(void)
{
    prepare();
    server.config.settings.limits.first_byte_timeout = 300;
    server.config.settings.limits.login_timeout = 600;
    start("127.0.0.1:0", 1);
    int calm = connected(), dripping = connected();
    CU_ASSERT(echo_send_text(calm, "calm\n"));
    struct pollfd p = {.fd = dripping, .events = POLLIN};
    while (poll(&p, 1, 50) == 0)
        CU_ASSERT_FATAL(echo_send(dripping, "x", 1));
    CU_ASSERT(echo_expect(dripping, "goodbye login_timeout\n"));
    close(dripping);
    closes_for(PG_LOGIN_TIMEOUT, 1);
    CU_ASSERT(echo_send_text(calm, "alive\n"));
    CU_ASSERT(echo_expect(calm, "alive\n"));
    close(calm);
    stop_and_balance();
}

/* Pitfall M1: before login an unfinished frame may be short only. */
static void frames_are_short_before_login(void)
{
    prepare();
    server.config.settings.limits.login_frame_size = 64;
    start("127.0.0.1:0", 1);
    char frame[65];
    memset(frame, 'f', sizeof(frame));
    int fd = connected();
    CU_ASSERT(echo_send(fd, frame, 64)); /* at the limit */
    CU_ASSERT(echo_send_text(fd, "\n"));
    CU_ASSERT(echo_read(fd, frame, 64));
    CU_ASSERT(echo_expect(fd, "\n"));
    memset(frame, 'f', sizeof(frame));
    CU_ASSERT(echo_send(fd, frame, 65)); /* one over */
    CU_ASSERT(echo_expect(fd, "goodbye too_large\n"));
    CU_ASSERT(echo_expect_end(fd));
    close(fd);
    closes_for(PG_TOO_LARGE, 1);

    fd = connected();
    CU_ASSERT(echo_send_text(fd, "calm\n"));
    CU_ASSERT(echo_send(fd, frame, 65));
    CU_ASSERT(echo_send_text(fd, "\n"));
    CU_ASSERT(echo_read(fd, frame, 65));
    CU_ASSERT(echo_expect(fd, "\n"));
    close(fd);
    stop_and_balance();
}

static void the_limit_of_connections_holds_and_gives_way(void)
{
    prepare();
    server.config.settings.limits.connections = 3;
    start("127.0.0.1:0", 2);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = connected();
        CU_ASSERT(echo_send_text(fds[i], "in\n"));
        CU_ASSERT(echo_expect(fds[i], "in\n"));
    }
    for (int i = 0; i < 5; i++) {
        int fd = connected();
        uint8_t byte;
        CU_ASSERT(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
    }
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_CONNECTIONS_REFUSED), 5);
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNTER_REFUSE(PG_CONNECTION_LIMIT)), 5);
    CU_ASSERT_EQUAL(echo_server_counter(&server, PG_COUNT_CONNECTIONS_OPENED), 3);
    close(fds[0]);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_CLOSED, 1));
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "in again\n"));
    CU_ASSERT(echo_expect(fd, "in again\n"));
    close(fd);
    close(fds[1]);
    close(fds[2]);
    stop_and_balance();
}

static void counters_are_true_after_churn(void)
{
    enum { COUNT = 1000, AT_ONCE = 50 };
    prepare();
    start("127.0.0.1:0", 2);
    unsigned seed = 20260301;
    for (int i = 0; i < COUNT / AT_ONCE; i++) {
        int fds[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++)
            fds[k] = connected();
        for (int k = 0; k < AT_ONCE; k++) {
            switch (rand_r(&seed) % 5) {
            case 0: /* a port probe */
                break;
            case 1:
                CU_ASSERT(echo_send_text(fds[k], "ping\n"));
                CU_ASSERT(echo_expect(fds[k], "ping\n"));
                break;
            case 2:
                CU_ASSERT(echo_send_text(fds[k], "unfinished"));
                break;
            case 3:
                CU_ASSERT(echo_send_text(fds[k], "bye\n"));
                break;
            default:
                CU_ASSERT(echo_send_text(fds[k], "fill\n"));
                setsockopt(fds[k], SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                           sizeof(struct linger));
            }
            close(fds[k]);
        }
    }
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_OPENED, COUNT));
    stop_and_balance();
}

/* Pitfall: at the limit of descriptors accepting must neither spin nor hurt those connected. In a
 * process of its own, since the limit is the process's. */
static int out_of_descriptors(void)
{
    pg_log_configure(PG_LOG_TEXT, PG_ERROR);
    int log_pipe[2];
    if (pipe(log_pipe) != 0)
        return 10;
    fcntl(log_pipe[0], F_SETFL, O_NONBLOCK);
    pg_log_to(log_pipe[1]);
    prepare();
    struct pg_error error;
    if (!echo_server_start(&server, "127.0.0.1:0", 1, &error))
        return 11;
    int first = echo_connect(server.port);
    if (!echo_send_text(first, "first\n") || !echo_expect(first, "first\n"))
        return 12;

    /* The clients are another process's: only the server's descriptors shall run out. */
    int go[2];
    if (pipe(go) != 0)
        return 13;
    pid_t clients = fork();
    if (clients == 0) {
        int fds[40];
        char byte;
        close(go[1]);
        (void)!read(go[0], &byte, 1); /* the limit holds from now on */
        for (int i = 0; i < 40; i++)
            fds[i] = echo_connect(server.port);
        (void)!read(go[0], &byte, 1); /* until told, by the end of the pipe */
        for (int i = 0; i < 40; i++)
            close(fds[i]);
        _exit(0);
    }
    int next = dup(first);
    close(next);
    struct rlimit few = {.rlim_cur = (rlim_t)next + 10, .rlim_max = (rlim_t)next + 10};
    if (setrlimit(RLIMIT_NOFILE, &few) != 0)
        return 14;
    close(go[0]);
    if (write(go[1], "", 1) != 1)
        return 14;
    if (!echo_server_wait(&server, PG_COUNTER_REFUSE(PG_CONNECTION_LIMIT), 3))
        return 15; /* one at each rest */
    int64_t cpu_before = cpu_ms();
    uint64_t refused = echo_server_counter(&server, PG_COUNT_CONNECTIONS_REFUSED);
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL); /* a window to measure in */
    if (cpu_ms() - cpu_before > 100)
        return 16; /* it spins */
    if (echo_server_counter(&server, PG_COUNT_CONNECTIONS_REFUSED) - refused > 4)
        return 17;
    if (!echo_send_text(first, "served\n") || !echo_expect(first, "served\n"))
        return 18;

    close(go[1]); /* they all go */
    int status;
    waitpid(clients, &status, 0);
    uint64_t closed = 0;
    for (int i = 0; i < 20000; i++) {
        closed = echo_server_counter(&server, PG_COUNT_CONNECTIONS_CLOSED);
        if (closed > 0 && closed + 1 == echo_server_counter(&server, PG_COUNT_CONNECTIONS_OPENED))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    int again = echo_connect(server.port);
    if (!echo_send_text(again, "again\n") || !echo_expect(again, "again\n"))
        return 19;
    char log[4096];
    ssize_t n = read(log_pipe[0], log, sizeof(log) - 1);
    if (n <= 0)
        return 20;
    log[n] = '\0';
    char *said = strstr(log, "accept_failed");
    if (!said || strstr(said + 1, "accept_failed"))
        return 21; /* not once */
    close(first);
    close(again);
    echo_server_stop(&server);
    return 0;
}

static void running_out_of_descriptors(void)
{
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0)
        _exit(out_of_descriptors());
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        fprintf(stderr, "step %d\n", WEXITSTATUS(status));
}

/* ---- listening ------------------------------------------------------------------------------- */

static void both_families_share_one_port(void)
{
    prepare();
    start("*:0", 2);
    struct pg_listening_info info[4];
    CU_ASSERT_EQUAL(tcp_transport.addresses(server.listening, info, 4), 2);
    char expected[80];
    snprintf(expected, sizeof(expected), "0.0.0.0:%u", server.port);
    CU_ASSERT_STRING_EQUAL(info[0].address, expected);
    snprintf(expected, sizeof(expected), "[::]:%u", server.port);
    CU_ASSERT_STRING_EQUAL(info[1].address, expected);

    struct sockaddr_in6 to = {
        .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback, .sin6_port = htons(server.port)};
    int six = socket(AF_INET6, SOCK_STREAM, 0), four = connected();
    CU_ASSERT_EQUAL(connect(six, (struct sockaddr *)&to, sizeof(to)), 0);
    CU_ASSERT(echo_send_text(six, "six\n"));
    CU_ASSERT(echo_send_text(four, "four\n"));
    CU_ASSERT(echo_expect(six, "six\n"));
    CU_ASSERT(echo_expect(four, "four\n"));
    close(six);
    close(four);
    stop_and_balance();
}

static void workers_share_the_connections(void)
{
    prepare();
    start("127.0.0.1:0", 2);
    enum { COUNT = 64 };
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = connected();
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_OPENED, COUNT));
    for (unsigned w = 0; w < 2; w++)
        CU_ASSERT(pg_counter_get(pg_worker_counters(server.server.workers[w]),
                                 PG_COUNT_CONNECTIONS_OPENED) > 0);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop_and_balance();
}

/* The server's end of a connection, found by its addresses among this process's descriptors. */
static int server_side_of(int client)
{
    struct sockaddr_in mine = {.sin_port = 0}, its;
    socklen_t len = sizeof(mine);
    getsockname(client, (struct sockaddr *)&mine, &len);
    for (int fd = 3; fd < 256; fd++) {
        len = sizeof(its);
        if (getpeername(fd, (struct sockaddr *)&its, &len) == 0 && its.sin_port == mine.sin_port)
            return fd;
    }
    return -1;
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    getsockopt(fd, level, name, &value, &len);
    return value;
}

static void accepted_sockets_have_the_options(void)
{
    prepare();
    start("127.0.0.1:0", 1);
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "ready\n"));
    CU_ASSERT(echo_expect(fd, "ready\n"));
    int its = server_side_of(fd);
    CU_ASSERT_FATAL(its >= 0);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_NODELAY), 1);
    CU_ASSERT_EQUAL(option_of(its, SOL_SOCKET, SO_KEEPALIVE), 1);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_KEEPIDLE), 600);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_KEEPINTVL), 31);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_KEEPCNT), 5);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_USER_TIMEOUT), 20000);
    CU_ASSERT(fcntl(its, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT(fcntl(its, F_GETFL) & O_NONBLOCK);
    close(fd);
    stop_and_balance();
}

static void packets_may_wait_for_more(void)
{
    prepare();
    tcp.nodelay = false;
    start("127.0.0.1:0", 1);
    tcp.nodelay = true;
    int fd = connected();
    CU_ASSERT(echo_send_text(fd, "ready\n"));
    CU_ASSERT(echo_expect(fd, "ready\n"));
    int its = server_side_of(fd);
    CU_ASSERT_FATAL(its >= 0);
    CU_ASSERT_EQUAL(option_of(its, IPPROTO_TCP, TCP_NODELAY), 0);
    close(fd);
    stop_and_balance();
}

static void refused_to_listen(const char *bind_value, const char *says, const char *advises)
{
    struct echo_server second;
    struct pg_error error = {.text = ""};
    echo_server_prepare(&second, &tcp_transport, &tcp);
    CU_ASSERT_FALSE(echo_server_start(&second, bind_value, 2, &error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "test.conf:7: listener \"echo\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, says));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, advises));
    if (!strstr(error.text, says) || !strstr(error.text, advises))
        fprintf(stderr, "%s\n", error.text);
}

static void listening_that_fails_says_what_to_do(void)
{
    refused_to_listen("192.0.2.1:0", "cannot listen on 192.0.2.1:0", "no interface");
    refused_to_listen("here:0", "no numeric address", "expected ADDRESS:PORT");
    if (geteuid() != 0)
        refused_to_listen("127.0.0.1:1", "Permission denied", "CAP_NET_BIND_SERVICE");

    /* A port of another program, though that one lets others share it, too. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    CU_ASSERT_EQUAL(listen(fd, 5), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    char bind_value[64];
    snprintf(bind_value, sizeof(bind_value), "127.0.0.1:%u", ntohs(at.sin_port));
    refused_to_listen(bind_value, "Address already in use", "another program");
    snprintf(bind_value, sizeof(bind_value), "*:%u", ntohs(at.sin_port));
    refused_to_listen(bind_value, "Address already in use", "another program");
    close(fd);
}

/* At a reload the new listener is opened before the old one goes, perhaps at the same address. */
static void one_process_may_listen_anew_at_its_own_address(void)
{
    prepare();
    start("127.0.0.1:0", 2);
    char bind_value[64];
    struct pg_error error = {.text = ""};
    snprintf(bind_value, sizeof(bind_value), "127.0.0.1:%u", server.port);
    const char *const binds[] = {bind_value};
    struct pg_listener_conf again = server.listener;
    again.bind = (struct pg_strings){.items = binds, .count = 1};
    struct pg_listening *listening = tcp_transport.listen(&again, 2, &error);
    CU_ASSERT_PTR_NOT_NULL(listening);
    tcp_transport.close_listening(&listening);
    CU_ASSERT_PTR_NULL(listening);
    stop_and_balance();
}

int main(void)
{
    signal(SIGPIPE, SIG_DFL); /* a write that raises it kills the test */
    pg_log_configure(PG_LOG_TEXT, getenv("PG_TEST_LOG") ? PG_DEBUG : PG_ERROR);
    CU_TestInfo tests[] = {
        TEST(running_out_of_descriptors), /* first: it forks before there are threads */
        TEST(echo_of_a_whole_stream),
        TEST(echo_byte_by_byte),
        TEST(echo_cut_at_each_offset),
        TEST(long_streams_and_long_frames),
        TEST(half_close_still_gets_its_answers),
        TEST(half_close_while_paused),
        TEST(a_reset_ends_only_that_connection),
        TEST(last_words_arrive_while_the_peer_sends),
        TEST(lingering_is_bounded_in_bytes),
        TEST(lingering_is_bounded_in_time),
        TEST(stopping_says_goodbye),
        TEST(a_peer_that_does_not_read_is_not_read_from),
        TEST(half_close_of_a_peer_that_does_not_read),
        TEST(room_for_deliveries_ends_at_the_high_water_mark),
        TEST(a_peer_over_the_output_limit_is_cut_off),
        TEST(a_slow_peer_is_not_a_silent_one),
        TEST(a_stuck_peer_is_a_silent_one),
        TEST(no_first_byte),
        TEST(no_login),
        TEST(frames_are_short_before_login),
        TEST(the_limit_of_connections_holds_and_gives_way),
        TEST(counters_are_true_after_churn),
        TEST(both_families_share_one_port),
        TEST(workers_share_the_connections),
        TEST(accepted_sockets_have_the_options),
        TEST(packets_may_wait_for_more),
        TEST(listening_that_fails_says_what_to_do),
        TEST(one_process_may_listen_anew_at_its_own_address),
        CU_TEST_INFO_NULL,
    };
    return run_suite("tcp", tests);
}
