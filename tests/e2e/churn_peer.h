/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHURN_PEER_H
#define CHURN_PEER_H

/* The sockets and the bytes of mqtt_churn and soak_load: links that are opened, cut and taken over,
 * and packets on them. It knows nothing of what the packets mean. One thread. */

#include <string.h>

#include "mqtt/mqtt_codec.h"

static inline struct pg_bytes text_bytes(const char *text)
{
    return (struct pg_bytes){.data = (const uint8_t *)text, .len = strlen(text)};
}

enum link_state {
    LINK_NONE,   /* no socket */
    LINK_ASKING, /* CONNECT is sent */
    LINK_UP,     /* CONNACK said yes */
};

struct bytes_buffer {
    uint8_t *data;
    size_t len, size, start; /* data[start..len) is what counts */
};

struct link {
    int fd;
    enum link_state state;
    bool eof;        /* the gateway closed; what was read before is still in `in` */
    bool wants_room; /* EPOLLOUT is asked for */
    struct bytes_buffer in, out;
    void *owner;
};

/* How a link ends on our side. */
enum cut {
    CUT_RESET,      /* with RST; what was not yet sent is lost */
    CUT_CLOSE,      /* FIN after a part of what was to be sent, perhaps in the middle of a packet */
    CUT_DISCONNECT, /* DISCONNECT, then FIN */
    CUT_TAKEOVER,   /* a second connection takes over while this one is open */
    CUT_KINDS,
};

/* Before all else. The epoll descriptor that links are in; the seed is of chance(). */
int peer_init(uint16_t port, uint64_t seed);
/* Below `below`, by xorshift64*: the same numbers everywhere for one seed. */
uint32_t chance(uint32_t below);
/* Connect (blocking: this is loopback) and queue this CONNECT. */
void link_open(struct link *link, void *owner, const struct mqtt_connect *packet);
/* Read what there is, set `eof` at the end or at a reset. */
void link_read(struct link *link);
/* Send what is queued; asks epoll for room where the kernel takes less. */
void link_flush(struct link *link);
/* Take the next whole packet out of `in`. false: there is none. Ends the program if the gateway
 * sent rubbish. The packet is valid until the next call. */
bool link_next(struct link *link, enum mqtt_version version, struct mqtt_packet *out);
void link_drop(struct link *link, enum cut cut, enum mqtt_version version, unsigned random);

void send_publish(struct link *link, enum mqtt_version version, const struct mqtt_publish *packet);
void send_ack(struct link *link, enum mqtt_version version, enum mqtt_type type, uint16_t id);
/* MQTT_SUBSCRIBE or MQTT_UNSUBSCRIBE. */
void send_filters(struct link *link, enum mqtt_version version, enum mqtt_type type,
                  const struct mqtt_filter *filters, size_t count);
void send_ping(struct link *link);

/* Say what is wrong and end the program with 1. */
void give_up(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
