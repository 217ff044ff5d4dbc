/* SPDX-License-Identifier: Apache-2.0 */

/* A small MQTT 5 client on the codec of protocols/mqtt: one connection, one thread, poll(2). */

#include "ctl_mqtt.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS   (10 * 1000)
#define KEEPALIVE_S  60
#define PACKET_LIMIT (16u * 1024 * 1024)
#define READ_MIN     16384u

volatile int ctl_mqtt_stop;

static void stop(int number)
{
    (void)number;
    ctl_mqtt_stop = 1;
}

void ctl_mqtt_catch_signals(void)
{
    /* Without SA_RESTART: waiting ends. */
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* Wait until the socket can do `events`: 1, 0 at the deadline or when stopped, -1 on errors. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
    while (!ctl_mqtt_stop) {
        int64_t left = deadline_ms - ctl_now_ms();
        if (left <= 0)
            return 0;
        struct pollfd wait = {.fd = fd, .events = events};
        int ready = poll(&wait, 1, left < 1000 ? (int)left : 1000);
        if (ready > 0)
            return 1;
        if (ready < 0 && errno != EINTR)
            return -1;
    }
    return 0;
}

static int connect_one(const struct addrinfo *address, int64_t deadline_ms)
{
    int error = 0, one = 1;
    socklen_t len = sizeof(error);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            int ready = wait_for(fd, POLLOUT, deadline_ms);
            if (ready <= 0)
                error = ready == 0 ? ETIMEDOUT : errno;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
                error = errno;
        }
    }
    if (error != 0) {
        close(fd);
        errno = error;
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static int dial(const struct ctl_run *run, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found), fd = -1;
    if (error != 0) {
        ctl_error(run, "%s port %s: %s", host, port, gai_strerror(error));
        return -1;
    }
    int64_t deadline = ctl_now_ms() + CONNECT_MS;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = connect_one(a, deadline);
    if (fd < 0)
        ctl_error(run, "no gateway at %s port %s: %s", host, port, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

static bool send_all(struct ctl_mqtt *m, const uint8_t *bytes, size_t len)
{
    int64_t deadline = ctl_now_ms() + CONNECT_MS;
    m->sent_ms = ctl_now_ms();
    while (len > 0) {
        ssize_t n = send(m->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (wait_for(m->fd, POLLOUT, deadline) > 0)
                continue;
            ctl_error(m->run, "the gateway does not read");
            return false;
        }
        if (n < 0) {
            ctl_error(m->run, "the connection broke: %s", strerror(errno));
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- packets out ----------------------------------------------------------------------------- */

uint16_t ctl_mqtt_id(struct ctl_mqtt *m)
{
    m->next_id = m->next_id == UINT16_MAX ? 1 : (uint16_t)(m->next_id + 1);
    return m->next_id;
}

/* A buffer for a packet of `len` bytes; false after the error was told. 0: it cannot exist. */
static uint8_t *packet_room(struct ctl_mqtt *m, size_t len)
{
    uint8_t *room = len > 0 ? malloc(len) : NULL;
    if (!room)
        ctl_error(m->run, "%s",
                  len > 0 ? "out of memory"
                          : "too long for MQTT: a topic or text has at most 65535 bytes");
    return room;
}

static bool send_room(struct ctl_mqtt *m, uint8_t *room, size_t len)
{
    bool sent = send_all(m, room, len);
    free(room);
    return sent;
}

bool ctl_mqtt_publish(struct ctl_mqtt *m, const struct mqtt_publish *packet)
{
    size_t len = mqtt_encode_publish(packet, MQTT_V5, NULL, 0);
    uint8_t *room = packet_room(m, len);
    if (!room)
        return false;
    mqtt_encode_publish(packet, MQTT_V5, room, len);
    return send_room(m, room, len);
}

bool ctl_mqtt_subscribe(struct ctl_mqtt *m, uint16_t packet_id, const struct mqtt_filter *filters,
                        size_t count)
{
    struct mqtt_subscribe packet = {.packet_id = packet_id, .props = MQTT_PROPS_NONE};
    size_t len = mqtt_encode_subscribe(&packet, MQTT_SUBSCRIBE, MQTT_V5, filters, count, NULL, 0);
    uint8_t *room = packet_room(m, len);
    if (!room)
        return false;
    mqtt_encode_subscribe(&packet, MQTT_SUBSCRIBE, MQTT_V5, filters, count, room, len);
    return send_room(m, room, len);
}

bool ctl_mqtt_ack(struct ctl_mqtt *m, enum mqtt_type type, uint16_t packet_id)
{
    uint8_t buffer[MQTT_SHORT_ACK_MAX];
    return send_all(m, buffer,
                    mqtt_encode_short_ack(type, MQTT_V5, packet_id, MQTT_RC_SUCCESS, buffer));
}

static bool ping(struct ctl_mqtt *m)
{
    uint8_t buffer[MQTT_HEADER_MAX];
    return send_all(m, buffer, mqtt_encode_empty(MQTT_PINGREQ, buffer, sizeof(buffer)));
}

/* ---- packets in ------------------------------------------------------------------------------ */

/* More bytes into the buffer: CTL_OK, CTL_TIMED_OUT, or an error that was told. */
static int read_more(struct ctl_mqtt *m, int64_t deadline_ms)
{
    if (m->in_used > 0) {
        m->in_len -= m->in_used;
        memmove(m->in, m->in + m->in_used, m->in_len);
        m->in_used = 0;
    }
    if (m->in_room - m->in_len < READ_MIN) {
        size_t room = 2 * m->in_room + READ_MIN;
        uint8_t *in = realloc(m->in, room);
        if (!in) {
            ctl_error(m->run, "out of memory");
            return CTL_FAILED;
        }
        m->in = in;
        m->in_room = room;
    }
    int64_t ping_ms = m->sent_ms + KEEPALIVE_S * 1000 / 2;
    int ready = wait_for(m->fd, POLLIN, ping_ms < deadline_ms ? ping_ms : deadline_ms);
    if (ready == 0 && !ctl_mqtt_stop && ctl_now_ms() < deadline_ms)
        return ping(m) ? CTL_OK : CTL_UNREACHABLE;
    if (ready == 0)
        return CTL_TIMED_OUT;
    ssize_t n = ready < 0 ? -1 : recv(m->fd, m->in + m->in_len, m->in_room - m->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return CTL_OK;
    if (n <= 0) {
        ctl_error(m->run, "the gateway closed the connection%s%s", n < 0 ? ": " : "",
                  n < 0 ? strerror(errno) : "");
        return CTL_UNREACHABLE;
    }
    m->in_len += (size_t)n;
    return CTL_OK;
}

int ctl_mqtt_next(struct ctl_mqtt *m, int64_t deadline_ms, struct mqtt_packet *out)
{
    for (;;) {
        struct mqtt_frame frame;
        struct pg_bytes in = PG_BYTES_NONE;
        if (m->in_len > m->in_used)
            in = (struct pg_bytes){.data = m->in + m->in_used, .len = m->in_len - m->in_used};
        enum mqtt_result result =
            in.len > 0 ? mqtt_frame_next(in, MQTT_V5, PACKET_LIMIT, &frame) : MQTT_MORE;
        if (result == MQTT_MORE) {
            int code = read_more(m, deadline_ms);
            if (code != CTL_OK)
                return code;
            continue;
        }
        if (result == MQTT_MALFORMED ||
            mqtt_decode(&frame, MQTT_V5, MQTT_FROM_SERVER, out) != MQTT_E_OK) {
            ctl_error(m->run, "what answers is not an MQTT 5 server");
            return CTL_FAILED;
        }
        m->in_used += frame.total;
        if (out->type == MQTT_DISCONNECT) {
            ctl_error(m->run, "the gateway closed the connection: %s",
                      mqtt_code_name(out->u.disconnect.code));
            return CTL_FAILED;
        }
        if (out->type != MQTT_PINGRESP)
            return CTL_OK;
    }
}

/* ---- opening and closing --------------------------------------------------------------------- */

static bool make_id(struct ctl_mqtt *m)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        ctl_error(m->run, "no random numbers: %s", strerror(errno));
        return false;
    }
    snprintf(m->id, sizeof(m->id), "polygatectl-%016llx", (unsigned long long)random);
    return true;
}

static bool send_connect(struct ctl_mqtt *m)
{
    const char *id = ctl_value(m->run, "id"), *user = ctl_value(m->run, "user");
    const char *password = ctl_value(m->run, "password");
    if (!password)
        password = getenv("POLYGATE_PASSWORD");
    struct mqtt_connect packet = {
        .version = MQTT_V5,
        .level = MQTT_V5,
        .clean_start = true,
        .keepalive_s = KEEPALIVE_S,
        .client_id = pg_bytes_str(id ? id : m->id),
        .username = user ? pg_bytes_str(user) : PG_BYTES_NONE,
        .password = password ? pg_bytes_str(password) : PG_BYTES_NONE,
        .props = MQTT_PROPS_NONE,
    };
    packet.props.maximum_packet_size = PACKET_LIMIT;
    mqtt_props_set(&packet.props, MQTT_PROP_MAXIMUM_PACKET_SIZE);
    size_t len = mqtt_encode_connect(&packet, NULL, 0);
    uint8_t *room = packet_room(m, len);
    if (!room)
        return false;
    mqtt_encode_connect(&packet, room, len);
    return send_room(m, room, len);
}

int ctl_mqtt_open(struct ctl_mqtt *m, const struct ctl_run *run)
{
    const char *host = ctl_value(run, "host"), *port = ctl_value(run, "port");
    struct mqtt_packet answer;
    *m = (struct ctl_mqtt){.run = run, .fd = -1};
    if (!make_id(m))
        return CTL_FAILED;
    m->fd = dial(run, host ? host : "127.0.0.1", port ? port : "1883");
    if (m->fd < 0 || !send_connect(m))
        return CTL_UNREACHABLE;
    int code = ctl_mqtt_next(m, ctl_now_ms() + CONNECT_MS, &answer);
    if (code == CTL_TIMED_OUT)
        ctl_error(run, "the gateway did not answer within %d s", CONNECT_MS / 1000);
    if (code != CTL_OK)
        return code;
    if (answer.type != MQTT_CONNACK) {
        ctl_error(run, "what answers is not an MQTT 5 server");
        return CTL_FAILED;
    }
    if (answer.u.connack.code != MQTT_RC_SUCCESS) {
        ctl_error(run, "the gateway refused the connection: %s; give a user with -u and -P",
                  mqtt_code_name(answer.u.connack.code));
        return CTL_FAILED;
    }
    return CTL_OK;
}

void ctl_mqtt_close(struct ctl_mqtt *m)
{
    uint8_t buffer[16];
    struct mqtt_disconnect packet = {.code = MQTT_RC_SUCCESS, .props = MQTT_PROPS_NONE};
    size_t len = mqtt_encode_disconnect(&packet, MQTT_DISCONNECT, MQTT_V5, buffer, sizeof(buffer));
    if (m->fd >= 0) {
        /* A goodbye that does not get through changes nothing. */
        (void)!send(m->fd, buffer, len, MSG_NOSIGNAL);
        close(m->fd);
    }
    m->fd = -1;
    free(m->in);
    m->in = NULL;
}
