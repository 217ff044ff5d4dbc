/* SPDX-License-Identifier: Apache-2.0 */

/* The load of tests/bench/soak: MQTT clients that come and go for a long time, at a steady pace.
 *
 *     soak_load --port P [--clients N] [--rate N] [--seconds S] [--seed N]
 *
 * Of everything there is some: MQTT 3.1.1 and 5; sessions that last and sessions that end with their
 * client; clients that come back before their session expires, too late, or never again under the same
 * name; goodbyes, resets, takeovers; wills at once and delayed; exact, wildcard and shared
 * subscriptions, made and ended; topics that are used always and topics that are used once; QoS 0, 1
 * and 2; messages that expire; retained ones that are replaced and cleared; subscribers that do not
 * acknowledge. What there is of each is the same at any time, on average, so that a gateway under
 * this load has no reason to grow.
 *
 * It is no ledger (mqtt_churn is): it ends with 1 when the gateway refuses something, closes a
 * connection that is not taken over, or sends what cannot be decoded.
 *
 * Single thread, loopback; the only randomness is the seed (and the kernel's timing). */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../e2e/churn_peer.h"

#define TICK_MS     20
#define WINDOW      16u /* unacknowledged messages of one publisher */
#define TOPICS      100u
#define FILTERS_MAX 4u
#define PAYLOAD_MAX 8192u
#define TEXT_MAX    40u /* of a topic or filter */

struct unacknowledged {
    uint16_t packet_id;
    bool released; /* QoS 2: PUBREL is out */
    uint8_t qos;
    uint16_t size; /* of the payload */
    char topic[TEXT_MAX];
};

struct client {
    unsigned index, name; /* `name` changes when it comes as somebody else */
    enum mqtt_version version;
    bool lasting; /* its session outlives its connections */
    bool settled; /* it keeps its name */
    char id[64];
    struct link links[2];
    struct link *active;
    int64_t until_ms;                    /* when it goes, or comes back */
    bool silent;                         /* it acknowledges nothing on this connection */
    char filters[FILTERS_MAX][TEXT_MAX]; /* subscribed to; empty: none */
    uint16_t last_packet_id;
    struct unacknowledged window[WINDOW];
    unsigned window_len;
};

static struct {
    unsigned clients, rate, seconds;
    uint64_t seed;
} arguments = {.clients = 400, .rate = 300, .seconds = 1800};

static int epoll;
static struct client *clients;
static unsigned names, once_topics;
static struct {
    uint64_t connections, resumed, takeovers, published, acknowledged, received;
} count;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- topics ---------------------------------------------------------------------------------- */

static void some_topic(char *out, size_t size)
{
    if (chance(10) == 0)
        snprintf(out, size, "soak/once/%u/x", once_topics++);
    else
        snprintf(out, size, "soak/%u/%u/x", chance(10), chance(TOPICS / 10));
}

static void some_filter(char *out, size_t size)
{
    switch (chance(8)) {
    case 0:
        snprintf(out, size, "soak/once/%u/x", once_topics + chance(100));
        break;
    case 1:
        snprintf(out, size, "soak/+/%u/x", chance(TOPICS / 10));
        break;
    case 2:
        snprintf(out, size, "soak/%u/#", chance(10));
        break;
    case 3:
        snprintf(out, size, "$share/g%u/soak/%u/+/x", chance(5), chance(10));
        break;
    default:
        snprintf(out, size, "soak/%u/%u/x", chance(10), chance(TOPICS / 10));
    }
}

/* Have another subscription in this place, or none. */
static void change_filter(struct client *c, unsigned place, bool none)
{
    char *text = c->filters[place];
    struct mqtt_filter filter = {.filter = text_bytes(text), .qos = (uint8_t)chance(3)};
    if (text[0])
        send_filters(c->active, c->version, MQTT_UNSUBSCRIBE, &filter, 1);
    text[0] = '\0';
    if (none)
        return;
    some_filter(text, TEXT_MAX);
    filter.filter = text_bytes(text);
    send_filters(c->active, c->version, MQTT_SUBSCRIBE, &filter, 1);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void send_message(struct client *c, const struct unacknowledged *m, bool again)
{
    static const uint8_t payload[PAYLOAD_MAX];
    struct mqtt_publish packet = {
        .dup = again,
        .qos = m->qos,
        .packet_id = m->packet_id,
        .topic = text_bytes(m->topic),
        .payload = {.data = payload, .len = m->size},
        /* Of the topics that are used once none may keep a message. */
        .retain = m->topic[5] != 'o' && chance(20) == 0,
    };
    if (c->version == MQTT_V5 && chance(4) == 0) {
        mqtt_props_set(&packet.props, MQTT_PROP_MESSAGE_EXPIRY);
        packet.props.message_expiry_s = 1 + chance(30);
    }
    send_publish(c->active, c->version, &packet);
}

static void publish(struct client *c)
{
    struct unacknowledged m = {.qos = c->window_len < WINDOW ? (uint8_t)chance(3) : 0};
    some_topic(m.topic, sizeof(m.topic));
    if (chance(10) != 0) /* an empty one clears what is retained */
        m.size = (uint16_t)chance(chance(20) == 0 ? PAYLOAD_MAX : 400);
    if (m.qos > 0) {
        c->last_packet_id = (uint16_t)(c->last_packet_id % 30000 + 1);
        m.packet_id = c->last_packet_id;
        c->window[c->window_len++] = m;
    }
    count.published++;
    send_message(c, &m, false);
}

/* What is not acknowledged is sent again, in order (MQTT 5, 4.4). */
static void send_again(struct client *c)
{
    for (unsigned i = 0; i < c->window_len; i++) {
        if (c->window[i].released)
            send_ack(c->active, c->version, MQTT_PUBREL, c->window[i].packet_id);
        else
            send_message(c, &c->window[i], true);
    }
}

static void acknowledged(struct client *c, enum mqtt_type type, const struct mqtt_ack *ack)
{
    unsigned i = 0;
    while (i < c->window_len && c->window[i].packet_id != ack->packet_id)
        i++;
    bool gone = type == MQTT_PUBCOMP && ack->code == MQTT_RC_PACKET_ID_NOT_FOUND;
    if (ack->code >= 0x80 && !gone)
        give_up("%s: %s with 0x%02x (%s)", c->id, mqtt_type_name(type), ack->code,
                mqtt_code_name(ack->code));
    if (i == c->window_len)
        give_up("%s: %s for identifier %u, which is not out", c->id, mqtt_type_name(type),
                ack->packet_id);
    if (type == MQTT_PUBREC) {
        c->window[i].released = true;
        send_ack(c->active, c->version, MQTT_PUBREL, ack->packet_id);
        return;
    }
    count.acknowledged++;
    c->window_len--;
    memmove(&c->window[i], &c->window[i + 1], (c->window_len - i) * sizeof(c->window[0]));
}

/* What comes on a link that was taken over is of no interest any more. */
static void received(struct client *c, struct link *link, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_PUBLISH:
        count.received++;
        if (packet->u.publish.qos > 0 && !c->silent)
            send_ack(link, c->version, packet->u.publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                     packet->u.publish.packet_id);
        break;
    case MQTT_PUBREL:
        send_ack(link, c->version, MQTT_PUBCOMP, packet->u.ack.packet_id);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        if (link == c->active)
            acknowledged(c, packet->type, &packet->u.ack);
        break;
    case MQTT_SUBACK:
        if (packet->u.suback.codes.len != 1 || packet->u.suback.codes.data[0] > 2)
            give_up("%s: a subscription was refused", c->id);
        break;
    case MQTT_UNSUBACK:
    case MQTT_PINGRESP:
        break;
    case MQTT_DISCONNECT:
        if (packet->u.disconnect.code != MQTT_RC_SESSION_TAKEN_OVER)
            give_up("%s: DISCONNECT with 0x%02x (%s)", c->id, packet->u.disconnect.code,
                    mqtt_code_name(packet->u.disconnect.code));
        break;
    default:
        give_up("%s: unexpected %s", c->id, mqtt_type_name(packet->type));
    }
}

/* ---- coming and going ------------------------------------------------------------------------ */

static struct link *other_link(struct client *c, const struct link *link)
{
    return link == &c->links[0] ? &c->links[1] : &c->links[0];
}

static void become(struct client *c)
{
    c->name = names++;
    c->version = chance(3) ? MQTT_V5 : MQTT_V311;
    /* Without MQTT 5 a session that nobody takes up again lasts as long as the configuration says. */
    c->lasting = chance(3) != 0;
    c->settled = chance(2) == 0;
    c->window_len = 0;
    snprintf(c->id, sizeof(c->id), "soak-%llu-%u", (unsigned long long)arguments.seed, c->name);
}

static void come(struct client *c, struct link *link)
{
    struct mqtt_connect packet = {
        .version = c->version, .client_id = text_bytes(c->id), .clean_start = !c->lasting};
    if (c->version == MQTT_V5 && c->lasting) {
        mqtt_props_set(&packet.props, MQTT_PROP_SESSION_EXPIRY);
        packet.props.session_expiry_s = 10 + chance(40);
    }
    if (chance(3) == 0) {
        packet.has_will = true;
        packet.will_qos = (uint8_t)chance(3);
        packet.will_topic = text_bytes("soak/3/3/x");
        packet.will_payload = text_bytes("gone");
        if (c->version == MQTT_V5 && chance(2) == 0) {
            mqtt_props_set(&packet.will_props, MQTT_PROP_WILL_DELAY);
            packet.will_props.will_delay_s = chance(20);
        }
    }
    count.connections++;
    link_open(link, c, &packet);
}

/* Away for a moment, or for longer than most sessions last. */
static int64_t absence_ms(void)
{
    return chance(4) == 0 ? 1000 * (int64_t)(20 + chance(40)) : chance(5000);
}

static void leave(struct client *c)
{
    struct link *link = c->active, *spare = other_link(c, link);
    enum cut cut = (enum cut)chance(CUT_KINDS);
    if (cut == CUT_TAKEOVER && spare->state == LINK_NONE) {
        count.takeovers++;
        c->active = NULL;
        come(c, spare);
        return;
    }
    if (cut == CUT_TAKEOVER)
        cut = CUT_RESET;
    link_drop(link, cut, c->version, chance(1u << 30));
    c->active = NULL;
    c->until_ms = now_ms() + absence_ms();
    if (!c->settled)
        become(c);
}

static void await_answer(struct client *c, struct link *link)
{
    struct mqtt_packet packet;
    if (!link_next(link, c->version, &packet)) {
        if (link->eof)
            give_up("%s: closed without CONNACK", c->id);
        return;
    }
    if (packet.type != MQTT_CONNACK || packet.u.connack.code != 0)
        give_up("%s: %s with 0x%02x", c->id, mqtt_type_name(packet.type), packet.u.connack.code);
    link->state = LINK_UP;
    c->active = link;
    c->silent = chance(16) == 0;
    c->until_ms = now_ms() + 1000 + chance(chance(4) == 0 ? 60000 : 5000);
    if (packet.u.connack.session_present) {
        count.resumed++;
        send_again(c);
    } else {
        c->window_len = 0;
        memset(c->filters, 0, sizeof(c->filters));
        for (unsigned i = chance(FILTERS_MAX); i < FILTERS_MAX; i++)
            change_filter(c, i, false);
    }
}

static void handle(struct client *c, struct link *link)
{
    struct mqtt_packet packet;
    if (link->state == LINK_ASKING)
        await_answer(c, link);
    while (link->state == LINK_UP && link_next(link, c->version, &packet))
        received(c, link, &packet);
    if (link->eof && link->state == LINK_UP) {
        if (link == c->active && other_link(c, link)->state == LINK_NONE)
            give_up("%s: the gateway closed the connection", c->id);
        link_drop(link, CUT_CLOSE, c->version, 0);
    }
    link_flush(link);
}

/* ---- the run --------------------------------------------------------------------------------- */

/* What is due by now; at one moment a client does one thing. */
static void turn(struct client *c, int64_t now)
{
    bool idle = c->links[0].state == LINK_NONE && c->links[1].state == LINK_NONE;
    if (now < c->until_ms)
        return;
    if (c->active)
        leave(c);
    else if (idle)
        come(c, &c->links[0]);
}

static void publish_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct client *c = &clients[chance(arguments.clients)];
        if (!c->active)
            continue;
        if (chance(50) == 0)
            change_filter(c, chance(FILTERS_MAX), chance(3) == 0);
        publish(c);
        link_flush(c->active);
    }
}

static void serve(int64_t until_ms)
{
    struct epoll_event events[64];
    for (int64_t left; (left = until_ms - now_ms()) > 0;) {
        int n = epoll_wait(epoll, events, 64, (int)left);
        if (n < 0 && errno != EINTR)
            give_up("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct link *link = events[i].data.ptr;
            if (link->state == LINK_NONE)
                continue; /* dropped in this round */
            link_read(link);
            handle(link->owner, link);
        }
    }
}

static void run(void)
{
    int64_t began = now_ms(), end = began + (int64_t)arguments.seconds * 1000, asked = 0;
    for (int64_t now = began; now < end; now = now_ms()) {
        for (unsigned i = 0; i < arguments.clients; i++)
            turn(&clients[i], now);
        int64_t due = (now - began) * arguments.rate / 1000;
        /* A machine that stood still is not made up for. */
        publish_some((unsigned)(due - asked > arguments.rate ? arguments.rate : due - asked));
        asked = due;
        serve(now + TICK_MS);
    }
}

static void read_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, NULL, 'p'},    {"clients", 1, NULL, 'c'}, {"rate", 1, NULL, 'r'},
        {"seconds", 1, NULL, 's'}, {"seed", 1, NULL, 'S'},    {NULL, 0, NULL, 0},
    };
    unsigned port = 0;
    arguments.seed = (uint64_t)time(NULL) % 1000000;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned value = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        switch (o) {
        case 'p':
            port = value;
            break;
        case 'c':
            arguments.clients = value;
            break;
        case 'r':
            arguments.rate = value;
            break;
        case 's':
            arguments.seconds = value;
            break;
        case 'S':
            arguments.seed = value;
            break;
        default:
            exit(2);
        }
    }
    if (port == 0 || port > 65535 || arguments.clients == 0 || arguments.rate == 0) {
        fputs("usage: soak_load --port P [--clients N] [--rate PUBLISHES_A_SECOND] [--seconds S]\n"
              "       [--seed N]\n",
              stderr);
        exit(2);
    }
    epoll = peer_init((uint16_t)port, arguments.seed);
}

int main(int argc, char **argv)
{
    read_arguments(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu: %u clients, %u messages a second, %u s\n",
           (unsigned long long)arguments.seed, arguments.clients, arguments.rate,
           arguments.seconds);
    clients = calloc(arguments.clients, sizeof(*clients));
    if (!clients)
        give_up("out of memory");
    for (unsigned i = 0; i < arguments.clients; i++) {
        clients[i].index = i;
        clients[i].until_ms = now_ms() + chance(5000);
        become(&clients[i]);
    }
    run();
    printf(
        "well: %llu connections (%llu resumed, %llu takeovers), %llu published, %llu acknowledged, "
        "%llu received\n",
        (unsigned long long)count.connections, (unsigned long long)count.resumed,
        (unsigned long long)count.takeovers, (unsigned long long)count.published,
        (unsigned long long)count.acknowledged, (unsigned long long)count.received);
    return 0;
}
