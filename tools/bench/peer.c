/* SPDX-License-Identifier: Apache-2.0 */

/* MQTT clients for load. All of them read into one buffer; a packet that is not whole is kept with
 * its peer until the rest comes. PUBLISH is taken apart here, without the checks of the codec that
 * a broker owes its clients and a load generator does not; everything else goes through the codec.
 * The acknowledgements of one read leave in one write. Acknowledgements of own messages must come
 * in the order of the messages (MQTT-4.6.0-2 to -4).
 *
 * CONNECTING --writable--> OPENING --> LOGIN --CONNACK--> SUBSCRIBING --SUBACK--> READY --leave-->
 * LEAVING From each state to CLOSED when the connection ends. One thread. */

#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

#define READ_SIZE       262144u
#define PACKET_LIMIT    131072u /* longest packet that is accepted from the broker */
#define FILTERS_AT_ONCE 100u
#define SEND_LIMIT      2097152u /* longest write of a peer */
#define KEEP_ALIVE_S    3600u    /* no run lasts so long, and the broker has a timer to keep */

static const struct peer_setup *setup;
static struct sockaddr_in broker;
static uint8_t buffer[READ_SIZE + PACKET_LIMIT];
static uint8_t answers[(READ_SIZE + PACKET_LIMIT) / 4 * MQTT_SHORT_ACK_MAX];
static size_t answers_len;

void peer_setup(const struct peer_setup *common)
{
    setup = common;
    wire_setup(&common->wire);
    broker.sin_family = AF_INET;
    broker.sin_port = htons(common->port);
    if (inet_pton(AF_INET, common->host, &broker.sin_addr) != 1) {
        fprintf(stderr, "polygate-bench: %s: expected an IPv4 address\n", common->host);
        exit(2);
    }
}

void peer_init(struct peer *peer, const struct peer_events *events, uint32_t index,
               unsigned filters, uint8_t qos)
{
    memset(peer, 0, sizeof(*peer));
    peer->events = events;
    peer->fd = -1;
    peer->index = index;
    peer->filters = filters;
    peer->qos = qos;
    peer->next_ack = peer->next_complete = 1;
    peer->receive_maximum = UINT16_MAX;
}

static void release(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    ev_io_stop(setup->loop, &peer->io);
    wire_close(&peer->wire);
    close(peer->fd);
    free(peer->rest);
    free(peer->out);
    peer->rest = peer->out = NULL;
    peer->rest_len = peer->out_len = 0;
    peer->fd = -1;
    peer->state = PEER_CLOSED;
}

void peer_drop(struct peer *peer)
{
    release(peer);
}

static void broken(struct peer *peer, const char *why)
{
    bool left = peer->state == PEER_LEAVING;

    release(peer);
    peer->events->closed(peer, left ? NULL : why);
}

static void watch(struct peer *peer, int events)
{
    ev_io_stop(setup->loop, &peer->io);
    ev_io_set(&peer->io, peer->fd, events);
    ev_io_start(setup->loop, &peer->io);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void keep(struct peer *peer, const uint8_t *data, size_t len)
{
    uint8_t *grown = realloc(peer->out, peer->out_len + len);
    if (!grown)
        abort();
    memcpy(grown + peer->out_len, data, len);
    if (peer->out_len == 0)
        watch(peer, EV_READ | EV_WRITE);
    peer->out = grown;
    peer->out_len += len;
}

void peer_send(struct peer *peer, const uint8_t *data, size_t len)
{
    static uint8_t framed[WIRE_HEAD_MAX + SEND_LIMIT];
    size_t sent = 0, head = wire_head(framed, len);

    if (peer->fd < 0)
        return;
    if (head > 0) {
        if (len > SEND_LIMIT)
            abort();
        memcpy(framed + head, data, len);
        data = framed;
        len += head;
    }
    if (peer->out_len == 0) {
        ssize_t n = wire_send(&peer->wire, peer->fd, data, len);
        /* A broken connection is seen when it is read. */
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        sent = n > 0 ? (size_t)n : 0;
    }
    if (sent < len)
        keep(peer, data + sent, len - sent);
}

static void send_kept(struct peer *peer)
{
    ssize_t n = wire_send(&peer->wire, peer->fd, peer->out, peer->out_len);
    if (n <= 0)
        return;
    peer->out_len -= (size_t)n;
    memmove(peer->out, peer->out + n, peer->out_len);
    if (peer->out_len == 0) {
        free(peer->out);
        peer->out = NULL;
        watch(peer, EV_READ);
    }
}

uint16_t peer_next_id(struct peer *peer)
{
    if (++peer->last_id == 0)
        peer->last_id = 1;
    return peer->last_id;
}

static void send_connect(struct peer *peer)
{
    char id[64];
    uint8_t packet[256];
    struct mqtt_connect connect = {.clean_start = true, .keepalive_s = KEEP_ALIVE_S};

    snprintf(id, sizeof(id), "%s%08u", setup->id_prefix, peer->index);
    connect.version = setup->version;
    connect.level = (uint8_t)setup->version;
    connect.client_id = (struct pg_bytes){.data = (const uint8_t *)id, .len = strlen(id)};
    peer->state = PEER_LOGIN;
    peer_send(peer, packet, mqtt_encode_connect(&connect, packet, sizeof(packet)));
}

/* The next SUBSCRIBE, or the end of logging in. */
static void subscribe(struct peer *peer)
{
    static char texts[FILTERS_AT_ONCE][PEER_FILTER_MAX];
    static uint8_t packet[FILTERS_AT_ONCE * (PEER_FILTER_MAX + 8)];
    struct mqtt_filter filters[FILTERS_AT_ONCE];
    struct mqtt_subscribe head = {.packet_id = 1};
    unsigned count = peer->filters - peer->subscribed;

    if (count == 0) {
        peer->state = PEER_READY;
        peer->events->ready(peer);
        return;
    }
    if (count > FILTERS_AT_ONCE)
        count = FILTERS_AT_ONCE;
    for (unsigned i = 0; i < count; i++) {
        peer->events->filter(peer, peer->subscribed + i, texts[i]);
        filters[i] = (struct mqtt_filter){
            .filter = {.data = (const uint8_t *)texts[i], .len = strlen(texts[i])},
            .qos = peer->qos,
        };
    }
    peer->state = PEER_SUBSCRIBING;
    peer->asked = count;
    peer_send(peer, packet,
              mqtt_encode_subscribe(&head, MQTT_SUBSCRIBE, setup->version, filters, count, packet,
                                    sizeof(packet)));
}

void peer_leave(struct peer *peer)
{
    uint8_t packet[8];
    struct mqtt_disconnect goodbye = {.code = MQTT_RC_SUCCESS};

    if (peer->fd < 0)
        return;
    peer->state = PEER_LEAVING;
    peer_send(
        peer, packet,
        mqtt_encode_disconnect(&goodbye, MQTT_DISCONNECT, setup->version, packet, sizeof(packet)));
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* A reason that holds a code; valid until the next call. */
static const char *coded(const char *what, unsigned code)
{
    static char text[64];

    snprintf(text, sizeof(text), "%s 0x%02X", what, code);
    return text;
}

static void answer(enum mqtt_type type, uint16_t packet_id)
{
    answers_len += mqtt_encode_short_ack(type, setup->version, packet_id, MQTT_RC_SUCCESS,
                                         answers + answers_len);
}

static const char *take_publish(struct peer *peer, const struct mqtt_frame *frame, uint64_t now_ns)
{
    const uint8_t *at = frame->body.data;
    size_t len = frame->body.len, head;
    unsigned qos = frame->first >> 1 & 3u;
    uint16_t packet_id = 0;

    if (len < 2)
        return "a PUBLISH without a topic";
    head = 2 + ((size_t)at[0] << 8 | at[1]) + (qos > 0 ? 2 : 0);
    if (setup->version == MQTT_V5) {
        /* Properties of less than 128 bytes; nothing here asks for more. */
        if (len <= head || at[head] > 127)
            return "a PUBLISH whose properties are too long";
        head += 1 + (size_t)at[head];
    }
    if (len < head)
        return "a PUBLISH that is shorter than its topic";
    if (qos > 0) {
        size_t id_at = 2 + ((size_t)at[0] << 8 | at[1]);
        packet_id = (uint16_t)(at[id_at] << 8 | at[id_at + 1]);
        answer(qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet_id);
    }
    peer->events->message(peer, (struct pg_bytes){.data = at + head, .len = len - head}, now_ns);
    return NULL;
}

/* The identifier must be the one that `next` says, and moves on. */
static bool in_order(uint16_t *next, uint16_t packet_id)
{
    if (*next != packet_id)
        return false;
    if (++*next == 0)
        *next = 1;
    return true;
}

static const char *take_ack(struct peer *peer, const struct mqtt_frame *frame)
{
    struct mqtt_ack ack;
    enum mqtt_type type = mqtt_frame_type(frame);

    if (mqtt_decode_ack(frame, setup->version, &ack) != MQTT_E_OK)
        return "a malformed acknowledgement";
    if (ack.code >= 0x80)
        return coded("an acknowledgement with", ack.code);
    switch (type) {
    case MQTT_PUBACK:
    case MQTT_PUBCOMP:
        if (!in_order(&peer->next_complete, ack.packet_id))
            return type == MQTT_PUBACK ? "a PUBACK out of order" : "a PUBCOMP out of order";
        peer->events->complete(peer, 1);
        return NULL;
    case MQTT_PUBREC:
        if (!in_order(&peer->next_ack, ack.packet_id))
            return "a PUBREC out of order";
        answer(MQTT_PUBREL, ack.packet_id);
        return NULL;
    default: /* MQTT_PUBREL */
        answer(MQTT_PUBCOMP, ack.packet_id);
        return NULL;
    }
}

static const char *take_suback(struct peer *peer, const struct mqtt_frame *frame)
{
    struct mqtt_suback packet;

    if (peer->state != PEER_SUBSCRIBING ||
        mqtt_decode_suback(frame, setup->version, &packet) != MQTT_E_OK ||
        packet.codes.len != peer->asked)
        return "a SUBACK that does not fit";
    for (size_t i = 0; i < packet.codes.len; i++) {
        if (packet.codes.data[i] >= 0x80)
            return "a refused subscription";
        if (packet.codes.data[i] < peer->qos)
            return "a subscription with a lower QoS than asked for";
    }
    peer->subscribed += peer->asked;
    subscribe(peer);
    return NULL;
}

static const char *take_connack(struct peer *peer, const struct mqtt_frame *frame)
{
    struct mqtt_connack packet;

    if (peer->state != PEER_LOGIN ||
        mqtt_decode_connack(frame, setup->version, &packet) != MQTT_E_OK)
        return "a CONNACK that does not fit";
    if (packet.code != 0)
        return coded("refused by CONNACK with", packet.code);
    if (mqtt_props_has(&packet.props, MQTT_PROP_RECEIVE_MAXIMUM))
        peer->receive_maximum = packet.props.receive_maximum;
    subscribe(peer);
    return NULL;
}

static const char *take_packet(struct peer *peer, const struct mqtt_frame *frame, uint64_t now_ns)
{
    switch (mqtt_frame_type(frame)) {
    case MQTT_PUBLISH:
        return take_publish(peer, frame, now_ns);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return take_ack(peer, frame);
    case MQTT_SUBACK:
        return take_suback(peer, frame);
    case MQTT_CONNACK:
        return take_connack(peer, frame);
    case MQTT_DISCONNECT:
        return coded("DISCONNECT of the broker with",
                     frame->body.len > 0 ? frame->body.data[0] : 0);
    default:
        return "a packet that a broker does not send here";
    }
}

/* Keep what is not a whole packet. */
static void keep_rest(struct peer *peer, const uint8_t *data, size_t len)
{
    if (len > peer->rest_len || len == 0) {
        free(peer->rest);
        peer->rest = NULL;
    }
    peer->rest_len = len;
    if (len == 0)
        return;
    if (!peer->rest)
        peer->rest = malloc(len);
    if (!peer->rest)
        abort();
    memcpy(peer->rest, data, len);
}

static void receive(struct peer *peer)
{
    const char *error = NULL;
    struct mqtt_frame frame;

    if (peer->rest_len > 0)
        memcpy(buffer, peer->rest, peer->rest_len);
    ssize_t n = wire_recv(&peer->wire, peer->fd, buffer + peer->rest_len, READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        broken(peer, n == 0 ? "closed by the broker" : strerror(errno));
        return;
    }

    uint64_t now_ns = measure_now_ns();
    struct pg_bytes in = {.data = buffer, .len = peer->rest_len + (size_t)n};
    answers_len = 0;
    while (!error && in.len > 0) {
        enum mqtt_result result = mqtt_frame_next(in, setup->version, PACKET_LIMIT, &frame);
        if (result == MQTT_MORE)
            break;
        error = result == MQTT_WHOLE ? take_packet(peer, &frame, now_ns) : "a malformed packet";
        in.data += frame.total;
        in.len -= frame.total;
    }
    if (error) {
        broken(peer, error);
        return;
    }
    keep_rest(peer, in.data, in.len);
    if (answers_len > 0)
        peer_send(peer, answers, answers_len);
}

static void go_on_opening(struct peer *peer)
{
    switch (wire_open(&peer->wire, peer->fd)) {
    case WIRE_OPEN:
        watch(peer, EV_READ);
        send_connect(peer);
        break;
    case WIRE_READ:
        watch(peer, EV_READ);
        break;
    case WIRE_WRITE:
        watch(peer, EV_WRITE);
        break;
    case WIRE_FAILED:
        broken(peer, "the handshake of TLS or WebSocket failed");
        break;
    }
}

static void on_event(struct ev_loop *loop, ev_io *io, int events)
{
    struct peer *peer = io->data;

    (void)loop;
    if (peer->state == PEER_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0) {
            broken(peer, strerror(error));
            return;
        }
        peer->state = PEER_OPENING;
    }
    if (peer->state == PEER_OPENING) {
        go_on_opening(peer);
        return;
    }
    if (events & EV_WRITE)
        send_kept(peer);
    if (events & EV_READ)
        do
            receive(peer);
        while (peer->fd >= 0 && wire_pending(&peer->wire));
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* Of a loopback broker, come from one of some hundred addresses, each of which has its own
 * ports. */
static bool bind_source(const struct peer *peer)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;

    if (ntohl(broker.sin_addr.s_addr) >> 24 != 127)
        return true;
    setsockopt(peer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    source.sin_addr.s_addr =
        htonl(0x7F010000u | (peer->index % 200 + 1) << 8 | (peer->index / 200 % 250 + 1));
    return bind(peer->fd, (struct sockaddr *)&source, sizeof(source)) == 0;
}

void peer_open(struct peer *peer)
{
    int on = 1;

    peer->started_ns = measure_now_ns();
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0) {
        peer->events->closed(peer, strerror(errno));
        return;
    }
    peer->state = PEER_CONNECTING;
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ev_io_init(&peer->io, on_event, peer->fd, EV_WRITE);
    peer->io.data = peer;
    ev_io_start(setup->loop, &peer->io);
    if (!bind_source(peer) ||
        (connect(peer->fd, (struct sockaddr *)&broker, sizeof(broker)) < 0 && errno != EINPROGRESS))
        broken(peer, strerror(errno));
}

void peer_crowd_open(struct peer_crowd *crowd)
{
    while (crowd->next < crowd->total &&
           (crowd->parallel == 0 || crowd->opening < crowd->parallel)) {
        crowd->opening++;
        peer_open(crowd->at(crowd->next++));
    }
}

bool peer_crowd_ready(struct peer_crowd *crowd)
{
    crowd->opening--;
    crowd->ready++;
    if (crowd->ready == crowd->total)
        return true;
    peer_crowd_open(crowd);
    return false;
}
