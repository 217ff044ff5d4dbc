/* SPDX-License-Identifier: Apache-2.0 */

/* STOMP publishers and subscribers, one to one, to load a broker with: tests/bench/stomp_brokers runs
 * it against each, and this counts what the broker's process needs meanwhile.
 *
 * Each pair is two connections and a topic of its own. The publisher writes `--burst` frames at a time
 * as long as no more than `--outstanding` have not come through; with `--receipts` each SEND asks for
 * a receipt, and the next burst waits for the last one's receipts as well. Frames are made once; what comes
 * is not parsed but for the NUL that each frame ends with, since bodies have none: the load must cost
 * little beside any broker. At the end everything on its way must have come, else the run failed.
 *
 * One thread. Prints one JSON object. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../tools/bench/measure.h"

#define BODY      100
#define PAIRS_MAX 1000
#define DRAIN_MS  10000

struct settings {
    int port, pid;
    unsigned pairs, burst, outstanding, measure_ms, warm_ms;
    bool receipts;
};

struct pair {
    int publisher, subscriber;
    uint64_t sent, received, acknowledged;
    char *frames;     /* a burst of them */
    size_t len, left; /* of the burst that is being written */
};

static struct settings settings = {
    .pairs = 10, .burst = 16, .outstanding = 256, .measure_ms = 2000, .warm_ms = 500};
static struct pair pairs[PAIRS_MAX];
static char buffer[256 * 1024];
static bool stopping; /* no burst begins any more */

static void die(const char *what)
{
    printf("{\"ok\":false,\"failures\":[\"%s: %s\"]}\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* ---- connecting: blocking, one after the other ---------------------------------------------- */

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n <= 0) {
            die("writing");
        }
        data += n;
        len -= (size_t)n;
    }
}

/* Frames until so many have come; the first must be of this command. */
static void expect(int fd, const char *command)
{
    size_t len = 0;
    do {
        ssize_t n = read(fd, buffer + len, sizeof(buffer) - len);
        if (n <= 0) {
            die("reading an answer");
        }
        len += (size_t)n;
    } while (memchr(buffer, 0, len) == NULL);
    if (strncmp(buffer, command, strlen(command)) != 0) {
        errno = EPROTO;
        buffer[strcspn(buffer, "\n\"")] = '\0';
        die(buffer);
    }
}

static int open_client(void)
{
    static const char hello[] = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n"
                                "heart-beat:0,0\n\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)settings.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        die("connecting");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    send_all(fd, hello, sizeof(hello));
    expect(fd, "CONNECTED");
    return fd;
}

static void open_pair(unsigned i)
{
    struct pair *pair = &pairs[i];
    char text[256];
    char body[BODY + 1];
    memset(body, 'x', BODY);
    body[BODY] = '\0';
    pair->publisher = open_client();
    pair->subscriber = open_client();
    int len = snprintf(text, sizeof(text),
                       "SUBSCRIBE\nid:s\ndestination:/topic/bench.%u\nack:auto\nreceipt:s\n\n", i);
    send_all(pair->subscriber, text, (size_t)len + 1);
    expect(pair->subscriber, "RECEIPT");
    len = snprintf(
        text, sizeof(text),
        "SEND\ndestination:/topic/bench.%u\ncontent-type:text/plain\ncontent-length:%d\n%s\n%s", i,
        BODY, settings.receipts ? "receipt:r\n" : "", body);
    size_t frame = (size_t)len + 1;
    pair->len = frame * settings.burst;
    pair->frames = malloc(pair->len);
    if (pair->frames == NULL) {
        die("memory");
    }
    for (unsigned n = 0; n < settings.burst; n++) {
        memcpy(pair->frames + n * frame, text, frame);
    }
}

/* ---- the load ------------------------------------------------------------------------------- */

static bool may_begin(const struct pair *pair)
{
    return !stopping && pair->sent + settings.burst <= pair->received + settings.outstanding &&
           (!settings.receipts || pair->acknowledged == pair->sent);
}

/* Write as much as may be and can. */
static void push(struct pair *pair)
{
    while (pair->left > 0 || may_begin(pair)) {
        if (pair->left == 0) {
            pair->left = pair->len;
            pair->sent += settings.burst;
        }
        ssize_t n = write(pair->publisher, pair->frames + pair->len - pair->left, pair->left);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            die("publishing");
        }
        pair->left -= (size_t)n;
    }
}

/* Whole frames among what can be read now. */
static uint64_t pull(int fd)
{
    uint64_t frames = 0;
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EAGAIN) {
        return 0;
    }
    if (n <= 0) {
        die("the broker closed a connection");
    }
    for (const char *at = buffer; (at = memchr(at, 0, (size_t)(buffer + n - at))) != NULL; at++) {
        frames++;
    }
    return frames;
}

static void watch(int epoll, int fd, uint64_t tag, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll");
    }
}

/* Handle what there is for at most `ms`. */
static void turn(int epoll, int ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, ms);
    for (int i = 0; i < n; i++) {
        struct pair *pair = &pairs[events[i].data.u64 / 2];
        if (events[i].data.u64 % 2 != 0) {
            pair->received += pull(pair->subscriber);
        } else if ((events[i].events & EPOLLIN) != 0) {
            pair->acknowledged += pull(pair->publisher);
        }
        push(pair);
    }
}

static uint64_t received(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < settings.pairs; i++) {
        sum += pairs[i].received;
    }
    return sum;
}

static bool all_came(void)
{
    for (unsigned i = 0; i < settings.pairs; i++) {
        if (pairs[i].left > 0 || pairs[i].received < pairs[i].sent) {
            return false;
        }
    }
    return true;
}

static void run_for(int epoll, unsigned ms)
{
    for (uint64_t end = measure_now_ns() + ms * UINT64_C(1000000); measure_now_ns() < end;) {
        turn(epoll, 10);
    }
}

static void read_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"pid", required_argument, NULL, 'P'},
        {"pairs", required_argument, NULL, 'n'},
        {"burst", required_argument, NULL, 'b'},
        {"outstanding", required_argument, NULL, 'o'},
        {"measure", required_argument, NULL, 'm'},
        {"warm", required_argument, NULL, 'w'},
        {"receipts", no_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned number = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case 'p':
            settings.port = (int)number;
            break;
        case 'P':
            settings.pid = (int)number;
            break;
        case 'n':
            settings.pairs = number < PAIRS_MAX ? number : PAIRS_MAX;
            break;
        case 'b':
            settings.burst = number;
            break;
        case 'o':
            settings.outstanding = number;
            break;
        case 'm':
            settings.measure_ms = number;
            break;
        case 'w':
            settings.warm_ms = number;
            break;
        case 'r':
            settings.receipts = true;
            break;
        default:
            exit(EXIT_FAILURE);
        }
    }
}

int main(int argc, char **argv)
{
    struct measure_cpu before, after, own_before, own_after;
    read_arguments(argc, argv);
    for (unsigned i = 0; i < settings.pairs; i++) {
        open_pair(i);
    }
    int epoll = epoll_create1(0);
    for (unsigned i = 0; i < settings.pairs; i++) {
        watch(epoll, pairs[i].publisher, i * 2, EPOLLIN | EPOLLOUT | EPOLLET);
        watch(epoll, pairs[i].subscriber, i * 2 + 1, EPOLLIN);
    }
    run_for(epoll, settings.warm_ms);
    if (!measure_cpu_read(settings.pid, &before) || !measure_cpu_read(getpid(), &own_before)) {
        die("no such process");
    }
    uint64_t start = measure_now_ns(), first = received();
    run_for(epoll, settings.measure_ms);
    uint64_t messages = received() - first;
    double seconds = (double)(measure_now_ns() - start) / 1e9;
    if (!measure_cpu_read(settings.pid, &after) || !measure_cpu_read(getpid(), &own_after)) {
        die("the broker ended");
    }
    stopping = true;
    for (uint64_t end = measure_now_ns() + DRAIN_MS * UINT64_C(1000000);
         !all_came() && measure_now_ns() < end;) {
        turn(epoll, 10);
    }
    double cpu = after.user_s + after.system_s - before.user_s - before.system_s;
    double exact = after.total_s - before.total_s;
    if (exact > 0) {
        cpu = exact;
    }
    printf("{\"ok\":%s,\"failures\":[%s],\"messages\":%llu,\"seconds\":%.3f,"
           "\"messages_per_second\":%.0f,\"broker_cpu_s_per_million\":%.4f,\"broker_cpu_s\":%.3f,"
           "\"own_cpu_s\":%.3f}\n",
           all_came() ? "true" : "false", all_came() ? "" : "\"messages were lost\"",
           (unsigned long long)messages, seconds, (double)messages / seconds,
           messages > 0 ? cpu / (double)messages * 1e6 : 0.0, cpu,
           own_after.total_s - own_before.total_s);
    return all_came() ? EXIT_SUCCESS : EXIT_FAILURE;
}
