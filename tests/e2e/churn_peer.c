/* SPDX-License-Identifier: Apache-2.0 */

/* Links of mqtt_churn and soak_load; see churn_peer.h. */

#include "churn_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (64u * 1024)

static int epoll_fd;
static uint64_t random_state;
static struct sockaddr_in gateway;

void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("FAILED: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    exit(1);
}

int peer_init(uint16_t port, uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    gateway = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        give_up("epoll_create1: %s", strerror(errno));
    return epoll_fd;
}

uint32_t chance(uint32_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1du) >> 33) % below;
}

static uint8_t *room(struct bytes_buffer *b, size_t n)
{
    if (b->start > 0 && b->start == b->len)
        b->start = b->len = 0;
    if (b->start > READ_SIZE) {
        memmove(b->data, b->data + b->start, b->len - b->start);
        b->len -= b->start;
        b->start = 0;
    }
    if (b->size - b->len < n) {
        b->size = (b->len + n) * 2;
        b->data = realloc(b->data, b->size);
        if (!b->data)
            give_up("out of memory");
    }
    return b->data + b->len;
}

static void empty(struct bytes_buffer *b)
{
    b->start = b->len = 0;
}

static void watch(struct link *link, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (link->wants_room ? EPOLLOUT : 0u),
                                .data.ptr = link};
    if (epoll_ctl(epoll_fd, operation, link->fd, &event) != 0)
        give_up("epoll_ctl: %s", strerror(errno));
}

void link_open(struct link *link, void *owner, const struct mqtt_connect *packet)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&gateway, sizeof(gateway)) != 0)
        give_up("cannot connect: %s", strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    link->fd = fd;
    link->state = LINK_ASKING;
    link->eof = link->wants_room = false;
    link->owner = owner;
    empty(&link->in);
    empty(&link->out);
    watch(link, EPOLL_CTL_ADD);

    size_t size = mqtt_encode_connect(packet, NULL, 0);
    link->out.len += mqtt_encode_connect(packet, room(&link->out, size), size);
    link_flush(link);
}

void link_read(struct link *link)
{
    while (!link->eof) {
        ssize_t n = recv(link->fd, room(&link->in, READ_SIZE), READ_SIZE, 0);
        if (n > 0)
            link->in.len += (size_t)n;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            link->eof = true;
        if (n < (ssize_t)READ_SIZE)
            break;
    }
    if (link->eof)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
}

void link_flush(struct link *link)
{
    struct bytes_buffer *b = &link->out;
    if (link->state == LINK_NONE || link->eof)
        return;
    while (b->start < b->len) {
        ssize_t n = send(link->fd, b->data + b->start, b->len - b->start, MSG_NOSIGNAL);
        if (n <= 0)
            break; /* no room, or broken: then the read tells */
        b->start += (size_t)n;
    }
    bool wants_room = b->start < b->len;
    if (wants_room != link->wants_room) {
        link->wants_room = wants_room;
        watch(link, EPOLL_CTL_MOD);
    }
}

bool link_next(struct link *link, enum mqtt_version version, struct mqtt_packet *out)
{
    struct mqtt_frame frame;
    if (link->in.len == link->in.start)
        return false; /* there may be no buffer yet */
    struct pg_bytes in = {.data = link->in.data + link->in.start,
                          .len = link->in.len - link->in.start};
    enum mqtt_result result = mqtt_frame_next(in, version, MQTT_PACKET_MAX, &frame);
    if (result == MQTT_MORE)
        return false;
    if (result == MQTT_MALFORMED ||
        mqtt_decode(&frame, version, MQTT_FROM_SERVER, out) != MQTT_E_OK)
        give_up("the gateway sent a malformed packet, first byte 0x%02x", in.data[0]);
    link->in.start += frame.total;
    return true;
}

void link_drop(struct link *link, enum cut cut, enum mqtt_version version, unsigned random)
{
    struct bytes_buffer *b = &link->out;
    if (cut == CUT_CLOSE && b->len > b->start) {
        (void)!send(link->fd, b->data + b->start, random % (b->len - b->start), MSG_NOSIGNAL);
    } else if (cut == CUT_DISCONNECT) {
        static const struct mqtt_disconnect goodbye = {.code = MQTT_RC_SUCCESS};
        b->len += mqtt_encode_disconnect(&goodbye, MQTT_DISCONNECT, version, room(b, 16), 16);
        link_flush(link);
    } else if (cut == CUT_RESET) {
        setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    }
    close(link->fd);
    link->fd = -1;
    link->state = LINK_NONE;
}

void send_publish(struct link *link, enum mqtt_version version, const struct mqtt_publish *packet)
{
    size_t size = packet->payload.len + packet->topic.len + 64;
    link->out.len += mqtt_encode_publish(packet, version, room(&link->out, size), size);
}

void send_ack(struct link *link, enum mqtt_version version, enum mqtt_type type, uint16_t id)
{
    link->out.len += mqtt_encode_short_ack(type, version, id, MQTT_RC_SUCCESS,
                                           room(&link->out, MQTT_SHORT_ACK_MAX));
}

void send_filters(struct link *link, enum mqtt_version version, enum mqtt_type type,
                  const struct mqtt_filter *filters, size_t count)
{
    const struct mqtt_subscribe packet = {.packet_id = UINT16_MAX};
    size_t size = mqtt_encode_subscribe(&packet, type, version, filters, count, NULL, 0);
    link->out.len +=
        mqtt_encode_subscribe(&packet, type, version, filters, count, room(&link->out, size), size);
}

void send_ping(struct link *link)
{
    link->out.len += mqtt_encode_empty(MQTT_PINGREQ, room(&link->out, 2), 2);
}
