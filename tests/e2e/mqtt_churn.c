/* SPDX-License-Identifier: Apache-2.0 */

/* Load with a ledger: many MQTT clients with sessions that last publish to each other with QoS 1
 * and 2 while their connections are cut at random, and every message is accounted for.
 *
 *     mqtt_churn --port P [--clients N] [--messages N] [--group N] [--cut-after N] [--fights N]
 *                [--shared] [--seed N] [--patience S]
 *
 * Clients form groups; each subscribes to all topics of its group (its own, too) and publishes to
 * one topic for QoS 1 and one for QoS 2. The payload holds who, which topic and which number. Each
 * client keeps what a client must keep between connections: its unacknowledged messages, in order,
 * and the identifiers of QoS 2 messages that it holds. What must be true:
 *
 *   - each subscriber gets each message: no number of a topic is missing at the end
 *   - QoS 2: no number comes twice; QoS 1: a number may come again
 *   - the first time that a number comes, all lower ones of its topic have come before
 *   - a session is there when its client comes back; a connection that is taken over is closed
 *
 * --shared: each group is one shared subscription. Then each message must reach exactly one member
 * (QoS 1: at least one); order is not promised there (MQTT 5, 4.6).
 *
 * --fights N: the first client of each group has two hands which connect with the same identifier
 * as fast as they can, until N connections were made; the others are calm and publish.
 *
 * Two connections of one client may be open at once. Their bytes are handled in the order in which
 * the gateway wrote them: as long as both are connected the input of both waits; the one that ends
 * first is the older one, and is read to its end before the other.
 *
 * Output: one line with the seed, one with the sums; exit status 0 if all was well. Single thread,
 * loopback; the only randomness is the seed (and the kernel's timing). */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "churn_peer.h"

#define WINDOW     16u /* unacknowledged messages of one publisher */
#define GROUP_MAX  8u
#define TOPICS     2u  /* per publisher: QoS 1 and QoS 2 */
#define LONG_EVERY 64u /* one message in so many is longer than the rest */
#define LONG_SIZE  6000u

enum stage {
    STAGE_PUBLISH, /* PUBLISH is to be acknowledged */
    STAGE_RELEASE, /* QoS 2: PUBREC came, PUBREL is out */
};

struct unacknowledged {
    uint32_t number;
    uint16_t packet_id;
    uint8_t topic; /* index; QoS minus 1 */
    enum stage stage;
};

struct client {
    unsigned index, group, place; /* place: in the group */
    enum mqtt_version version;
    char id[64];
    struct link links[2];
    struct link *active; /* the one on which the client lives now; NULL in between */
    bool subscribed;     /* SUBACK came */
    bool has_session;
    bool fights;
    unsigned patience; /* packets until the next cut */
    uint64_t connected;

    /* Publishing. */
    unsigned to_publish;
    uint16_t last_packet_id;
    uint32_t published[TOPICS]; /* the last number */
    uint8_t *arrived[TOPICS];   /* --shared: a bit for each number that somebody has */
    uint32_t arrived_count[TOPICS];
    struct unacknowledged window[WINDOW];
    unsigned window_len;

    /* Receiving. */
    uint32_t received[GROUP_MAX][TOPICS]; /* the last number, by publisher */
    uint8_t held[65536 / 8];              /* QoS 2 identifiers between PUBLISH and PUBREL */
    bool pinged, at_rest;
};

static struct {
    unsigned clients, messages, group, cut_after, fights, patience_s;
    bool shared;
    uint64_t seed;
} arguments = {.clients = 200, .messages = 100000, .group = 4, .cut_after = 300, .patience_s = 60};

static int epoll;
static struct client *clients;
static unsigned subscribed_count;
static bool may_publish; /* everybody has subscribed */
static bool may_cut;
static uint64_t deliveries, repeats, connections, cuts[CUT_KINDS];
static time_t last_progress;

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void topic_of(const struct client *c, unsigned topic, char *out, size_t size)
{
    snprintf(out, size, "churn/%u/%u/qos%u", c->group, c->place, topic + 1);
}

static void send_message(struct client *c, const struct unacknowledged *m, bool again)
{
    char topic[64];
    uint8_t payload[LONG_SIZE];
    topic_of(c, m->topic, topic, sizeof(topic));
    unsigned len = m->number % LONG_EVERY == 0 ? LONG_SIZE : 12 + m->number % 80;
    memset(payload, (int)(m->number & 0xff), len);
    memcpy(payload, &c->index, 4);
    memcpy(payload + 4, &m->number, 4);
    struct mqtt_publish packet = {.dup = again,
                                  .qos = (uint8_t)(m->topic + 1),
                                  .packet_id = m->packet_id,
                                  .topic = text_bytes(topic),
                                  .payload = {.data = payload, .len = len}};
    send_publish(c->active, c->version, &packet);
}

static void publish_more(struct client *c)
{
    while (may_publish && c->active && c->window_len < WINDOW && c->to_publish > 0) {
        struct unacknowledged *m = &c->window[c->window_len++];
        c->last_packet_id = (uint16_t)(c->last_packet_id % 30000 + 1);
        m->packet_id = c->last_packet_id;
        m->topic = (uint8_t)chance(TOPICS);
        m->number = ++c->published[m->topic];
        m->stage = STAGE_PUBLISH;
        c->to_publish--;
        send_message(c, m, false);
    }
}

/* What is not acknowledged is sent again, in order (MQTT 5, 4.4 and 4.6). */
static void send_again(struct client *c)
{
    for (unsigned i = 0; i < c->window_len; i++) {
        if (c->window[i].stage == STAGE_PUBLISH)
            send_message(c, &c->window[i], true);
        else
            send_ack(c->active, c->version, MQTT_PUBREL, c->window[i].packet_id);
    }
}

static void acknowledged(struct client *c, enum mqtt_type type, const struct mqtt_ack *ack)
{
    unsigned i = 0;
    while (i < c->window_len && c->window[i].packet_id != ack->packet_id)
        i++;
    bool known = i < c->window_len;
    if (ack->code >= 0x80 && !(type == MQTT_PUBCOMP && ack->code == MQTT_RC_PACKET_ID_NOT_FOUND))
        give_up("%s: %s with 0x%02x (%s)", c->id, mqtt_type_name(type), ack->code,
                mqtt_code_name(ack->code));
    if (type == MQTT_PUBREC) {
        if (!known || c->window[i].topic != 1)
            give_up("%s: PUBREC for identifier %u, which is not out", c->id, ack->packet_id);
        c->window[i].stage = STAGE_RELEASE;
        send_ack(c->active, c->version, MQTT_PUBREL, ack->packet_id);
        return;
    }
    if (!known || (type == MQTT_PUBCOMP && c->window[i].stage != STAGE_RELEASE) ||
        (type == MQTT_PUBACK && c->window[i].topic != 0))
        give_up("%s: %s for identifier %u, which does not wait for it", c->id, mqtt_type_name(type),
                ack->packet_id);
    c->window_len--;
    memmove(&c->window[i], &c->window[i + 1], (c->window_len - i) * sizeof(c->window[0]));
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* With a shared subscription a number comes to one member. */
static void enter_shared(struct client *c, struct client *from, unsigned topic, uint32_t number)
{
    uint8_t *byte = &from->arrived[topic][number / 8], bit = (uint8_t)(1u << number % 8);
    if (number > from->published[topic])
        give_up("%s: number %u was not published", c->id, number);
    if (*byte & bit) {
        if (topic == 1)
            give_up("%s: QoS 2 number %u of %s came to the group twice", c->id, number, from->id);
        repeats++;
        return;
    }
    *byte |= bit;
    from->arrived_count[topic]++;
    deliveries++;
    last_progress = now_s();
}

static void enter_in_ledger(struct client *c, const struct mqtt_publish *packet)
{
    unsigned group, place, qos;
    char topic[64], expected[64];
    uint32_t from, number;
    if (packet->topic.len >= sizeof(topic) || packet->payload.len < 12)
        give_up("%s: a message that nobody published", c->id);
    memcpy(topic, packet->topic.data, packet->topic.len);
    topic[packet->topic.len] = '\0';
    memcpy(&from, packet->payload.data, 4);
    memcpy(&number, packet->payload.data + 4, 4);
    if (sscanf(topic, "churn/%u/%u/qos%u", &group, &place, &qos) != 3 || group != c->group ||
        place >= arguments.group || qos != packet->qos || from >= arguments.clients)
        give_up("%s: a message that it did not ask for: %s, QoS %u", c->id, topic, packet->qos);
    topic_of(&clients[from], qos - 1, expected, sizeof(expected));
    if (strcmp(topic, expected) != 0)
        give_up("%s: the payload of %s came under %s", c->id, expected, topic);
    for (size_t i = 8; i < packet->payload.len; i++)
        if (packet->payload.data[i] != (number & 0xff))
            give_up("%s: payload of %s number %u is damaged", c->id, topic, number);

    if (arguments.shared) {
        enter_shared(c, &clients[from], qos - 1, number);
        return;
    }
    uint32_t *last = &c->received[place][qos - 1];
    if (number == *last + 1) {
        *last = number;
        deliveries++;
        last_progress = now_s();
    } else if (number > *last) {
        give_up("%s: %s number %u after %u: lost or out of order", c->id, topic, number, *last);
    } else if (qos == 2) {
        give_up("%s: %s number %u twice", c->id, topic, number);
    } else {
        repeats++;
    }
}

static void received_publish(struct client *c, struct link *link, const struct mqtt_publish *packet)
{
    if (packet->qos == 1) {
        enter_in_ledger(c, packet);
        send_ack(link, c->version, MQTT_PUBACK, packet->packet_id);
        return;
    }
    if (packet->qos != 2)
        give_up("%s: QoS %u delivered", c->id, packet->qos);
    uint8_t *held = &c->held[packet->packet_id / 8], bit = (uint8_t)(1u << packet->packet_id % 8);
    if (!(*held & bit))
        enter_in_ledger(c, packet);
    else if (!packet->dup)
        give_up("%s: identifier %u used again while it is held", c->id, packet->packet_id);
    *held |= bit;
    send_ack(link, c->version, MQTT_PUBREC, packet->packet_id);
}

static void received_release(struct client *c, struct link *link, uint16_t id)
{
    c->held[id / 8] &= (uint8_t) ~(1u << id % 8);
    send_ack(link, c->version, MQTT_PUBCOMP, id);
}

static void received_suback(struct client *c, const struct mqtt_suback *suback)
{
    for (size_t i = 0; i < suback->codes.len; i++)
        if (suback->codes.data[i] != 2)
            give_up("%s: SUBACK with 0x%02x", c->id, suback->codes.data[i]);
    if (!c->subscribed)
        subscribed_count++;
    c->subscribed = true;
    last_progress = now_s();
}

static void received(struct client *c, struct link *link, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_PUBLISH:
        received_publish(c, link, &packet->u.publish);
        break;
    case MQTT_PUBREL:
        received_release(c, link, packet->u.ack.packet_id);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        acknowledged(c, packet->type, &packet->u.ack);
        break;
    case MQTT_SUBACK:
        received_suback(c, &packet->u.suback);
        break;
    case MQTT_PINGRESP:
        c->at_rest = c->pinged;
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

/* ---- connections ----------------------------------------------------------------------------- */

static void open_link(struct client *c, struct link *link)
{
    struct mqtt_connect packet = {.version = c->version, .client_id = text_bytes(c->id)};
    if (c->version == MQTT_V5) {
        mqtt_props_set(&packet.props, MQTT_PROP_SESSION_EXPIRY);
        packet.props.session_expiry_s = 3600;
    }
    connections++;
    link_open(link, c, &packet);
}

static struct link *other_link(struct client *c, const struct link *link)
{
    return link == &c->links[0] ? &c->links[1] : &c->links[0];
}

static void subscribe(struct client *c)
{
    char filters[GROUP_MAX * TOPICS][64];
    struct mqtt_filter list[GROUP_MAX * TOPICS];
    size_t count = 0;
    if (arguments.shared) {
        snprintf(filters[count++], 64, "$share/g/churn/%u/#", c->group);
    } else if (c->index % 3 == 0) { /* every kind of filter takes part */
        snprintf(filters[count++], 64, "churn/%u/#", c->group);
    } else if (c->index % 3 == 1) {
        snprintf(filters[count++], 64, "churn/%u/+/+", c->group);
    } else {
        for (unsigned p = 0; p < arguments.group; p++)
            for (unsigned t = 0; t < TOPICS; t++)
                snprintf(filters[count++], 64, "churn/%u/%u/qos%u", c->group, p, t + 1);
    }
    for (size_t i = 0; i < count; i++)
        list[i] = (struct mqtt_filter){.filter = text_bytes(filters[i]), .qos = 2};
    send_filters(c->active, c->version, MQTT_SUBSCRIBE, list, count);
}

/* The client lives on this link from now on: no older one has anything to say any more. */
static void take_up(struct client *c, struct link *link)
{
    c->active = link;
    c->pinged = c->at_rest = false;
    c->connected++;
    c->patience = 1 + chance(2 * arguments.cut_after);
    if (!c->subscribed)
        subscribe(c);
    send_again(c);
    publish_more(c);
}

/* Look for CONNACK on a link that waits for it. */
static void await_answer(struct client *c, struct link *link)
{
    struct mqtt_packet packet;
    if (!link_next(link, c->version, &packet)) {
        if (link->eof && !c->fights)
            give_up("%s: closed without CONNACK", c->id);
        if (link->eof)
            link_drop(link, CUT_CLOSE, c->version, 0);
        return;
    }
    if (packet.type != MQTT_CONNACK)
        give_up("%s: %s before CONNACK", c->id, mqtt_type_name(packet.type));
    if (packet.u.connack.code != 0)
        give_up("%s: CONNACK with 0x%02x", c->id, packet.u.connack.code);
    if (c->has_session && !packet.u.connack.session_present)
        give_up("%s: the session is gone", c->id);
    c->has_session = true;
    link->state = LINK_UP;
    last_progress = now_s();
}

static void cut_now(struct client *c)
{
    enum cut cut = (enum cut)chance(CUT_KINDS);
    struct link *link = c->active, *spare = other_link(c, link);
    if (spare->state != LINK_NONE)
        cut = (enum cut)chance(CUT_TAKEOVER);
    cuts[cut]++;
    if (cut == CUT_TAKEOVER) {
        link_flush(link);
        c->active = NULL; /* nothing more is published there */
        open_link(c, spare);
        return;
    }
    link_drop(link, cut, c->version, chance(1u << 30));
    c->active = NULL;
    open_link(c, link);
}

/* Handle what came on a link, to its end or until it is cut. */
static void handle_packets(struct client *c, struct link *link)
{
    struct mqtt_packet packet;
    while (link->state == LINK_UP && link_next(link, c->version, &packet)) {
        struct link *active = c->active;
        if (!active)
            c->active = link; /* acknowledgements go where their packets came from */
        received(c, link, &packet);
        c->active = active;
        if (!active)
            continue;
        publish_more(c);
        if (may_cut && !c->fights && may_publish && --c->patience == 0) {
            cut_now(c);
            return;
        }
    }
    if (!link->eof || link->state != LINK_UP)
        return;
    bool taken_over = other_link(c, link)->state != LINK_NONE;
    if (!taken_over && !c->fights)
        give_up("%s: the gateway closed the connection", c->id);
    link_drop(link, CUT_CLOSE, c->version, 0);
    if (c->active == link)
        c->active = NULL;
}

/* Everything that can be done for a client now; see the file's head for the order of its links. */
static void handle(struct client *c)
{
    for (unsigned i = 0; i < 2; i++)
        if (c->links[i].state == LINK_ASKING)
            await_answer(c, &c->links[i]);
    for (;;) {
        struct link *a = &c->links[0], *b = &c->links[1];
        if (a->state == LINK_UP && b->state == LINK_UP) {
            if (a->eof && b->eof)
                give_up("%s: the gateway closed both connections", c->id);
            if (!a->eof && !b->eof)
                break;
            struct link *older = a->eof ? a : b;
            handle_packets(c, older);
            continue;
        }
        struct link *up = a->state == LINK_UP ? a : b;
        if (up->state != LINK_UP)
            break;
        bool taking_over = other_link(c, up)->state == LINK_ASKING && !c->fights;
        if (c->active != up && !taking_over)
            take_up(c, up);
        handle_packets(c, up);
        break;
    }
    for (unsigned i = 0; i < 2; i++)
        link_flush(&c->links[i]);
}

/* A fighter's idle hands connect again, mostly at once. */
static void fight(struct client *c)
{
    for (unsigned i = 0; i < 2; i++) {
        bool alone = other_link(c, &c->links[i])->state == LINK_NONE;
        bool on = may_publish && connections < arguments.fights;
        if (c->links[i].state == LINK_NONE && (alone || (on && chance(4) != 0)))
            open_link(c, &c->links[i]);
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

static bool has_all_of(const struct client *c, const struct client *from, bool say)
{
    bool all = true;
    for (unsigned t = 0; t < TOPICS; t++) {
        if (c->received[from->place][t] == from->published[t])
            continue;
        all = false;
        if (say)
            printf("%s: has %u of %u of churn/%u/%u/qos%u\n", c->id, c->received[from->place][t],
                   from->published[t], from->group, from->place, t + 1);
    }
    return all;
}

static bool all_came(bool say)
{
    bool all = true;
    for (unsigned i = 0; i < arguments.clients; i++) {
        struct client *c = &clients[i];
        if (c->to_publish > 0 || c->window_len > 0) {
            if (say)
                printf("%s: %u to publish, %u unacknowledged, %s\n", c->id, c->to_publish,
                       c->window_len, c->active ? "connected" : "not connected");
            all = false;
        }
        for (unsigned p = 0; !arguments.shared && p < arguments.group; p++)
            all = has_all_of(c, &clients[c->group * arguments.group + p], say) && all;
        for (unsigned t = 0; arguments.shared && t < TOPICS; t++) {
            if (c->arrived_count[t] == c->published[t])
                continue;
            all = false;
            if (say)
                printf("%s: %u of %u of qos%u reached its group\n", c->id, c->arrived_count[t],
                       c->published[t], t + 1);
        }
        if (!all && !say)
            return false;
    }
    return all;
}

static void one_round(void)
{
    struct epoll_event events[64];
    int n = epoll_wait(epoll, events, 64, arguments.fights ? 1 : 100);
    if (n < 0 && errno != EINTR)
        give_up("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct link *link = events[i].data.ptr;
        if (link->state == LINK_NONE)
            continue; /* cut in this round */
        link_read(link);
        handle(link->owner);
    }
    for (unsigned i = 0; arguments.fights && i < arguments.clients; i += arguments.group)
        fight(&clients[i]);
    if (!may_publish && subscribed_count == arguments.clients) {
        may_publish = true;
        for (unsigned i = 0; i < arguments.clients; i++) {
            publish_more(&clients[i]);
            if (clients[i].active)
                link_flush(clients[i].active);
        }
    }
    if (now_s() - last_progress > (time_t)arguments.patience_s) {
        all_came(true);
        give_up("nothing new in %u s", arguments.patience_s);
    }
}

/* One more question and answer each: what the gateway still had to send would come before. */
static void come_to_rest(void)
{
    may_cut = false;
    for (bool rest = false; !rest;) {
        rest = true;
        for (unsigned i = 0; i < arguments.clients; i++) {
            struct client *c = &clients[i];
            if (c->active && !c->pinged) {
                send_ping(c->active);
                link_flush(c->active);
                c->pinged = true;
            }
            rest = rest && c->at_rest;
        }
        if (!rest)
            one_round();
    }
}

static void make_clients(void)
{
    clients = calloc(arguments.clients, sizeof(*clients));
    if (!clients)
        give_up("out of memory");
    for (unsigned i = 0; i < arguments.clients; i++) {
        struct client *c = &clients[i];
        c->index = i;
        c->group = i / arguments.group;
        c->place = i % arguments.group;
        c->version = i % 2 ? MQTT_V5 : MQTT_V311;
        c->fights = arguments.fights > 0 && c->place == 0;
        for (unsigned t = 0; arguments.shared && t < TOPICS; t++) {
            c->arrived[t] = calloc(1, arguments.messages / 8 + 1);
            if (!c->arrived[t])
                give_up("out of memory");
        }
        snprintf(c->id, sizeof(c->id), "churn-%llu-%u", (unsigned long long)arguments.seed, i);
    }
    for (unsigned left = arguments.messages, i = 0; left > 0; i = (i + 1) % arguments.clients) {
        if (clients[i].fights)
            continue;
        clients[i].to_publish++;
        left--;
    }
}

static void read_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, NULL, 'p'},   {"clients", 1, NULL, 'c'},  {"messages", 1, NULL, 'm'},
        {"group", 1, NULL, 'g'},  {"seed", 1, NULL, 's'},     {"cut-after", 1, NULL, 'a'},
        {"fights", 1, NULL, 'f'}, {"patience", 1, NULL, 't'}, {"shared", 0, NULL, 'S'},
        {NULL, 0, NULL, 0},
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
        case 'm':
            arguments.messages = value;
            break;
        case 'g':
            arguments.group = value;
            break;
        case 's':
            arguments.seed = value;
            break;
        case 'a':
            arguments.cut_after = value;
            break;
        case 'f':
            arguments.fights = value;
            break;
        case 'S':
            arguments.shared = true;
            break;
        case 't':
            arguments.patience_s = value;
            break;
        default:
            exit(2);
        }
    }
    if (port == 0 || port > 65535 || arguments.group < 2 || arguments.group > GROUP_MAX ||
        arguments.clients == 0 || arguments.clients % arguments.group != 0 ||
        arguments.cut_after == 0) {
        fputs(
            "usage: mqtt_churn --port P [--clients N] [--messages N] [--group 2..8] [--seed N]\n"
            "       [--cut-after PACKETS] [--fights CONNECTIONS] [--shared] [--patience SECONDS]\n"
            "clients must be a multiple of group\n",
            stderr);
        exit(2);
    }
    epoll = peer_init((uint16_t)port, arguments.seed);
}

int main(int argc, char **argv)
{
    read_arguments(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu: %u clients in groups of %u, %u messages, %s\n",
           (unsigned long long)arguments.seed, arguments.clients, arguments.group,
           arguments.messages, arguments.fights ? "fights" : "cuts");
    make_clients();
    last_progress = now_s();
    may_cut = true;
    for (unsigned i = 0; i < arguments.clients; i++)
        open_link(&clients[i], &clients[i].links[0]);
    while (!all_came(false) || connections < arguments.fights)
        one_round();
    come_to_rest();
    if (!all_came(true))
        give_up("something came after all had come");
    printf("all came: %llu deliveries, %llu repeats of QoS 1, %llu connections; cuts: %llu resets, "
           "%llu closes, %llu disconnects, %llu takeovers\n",
           (unsigned long long)deliveries, (unsigned long long)repeats,
           (unsigned long long)connections, (unsigned long long)cuts[CUT_RESET],
           (unsigned long long)cuts[CUT_CLOSE], (unsigned long long)cuts[CUT_DISCONNECT],
           (unsigned long long)cuts[CUT_TAKEOVER]);
    return 0;
}
