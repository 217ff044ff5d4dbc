/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

/* MQTT clients that cost as little as they can: one connection each, all on one loop and one read
 * buffer. One thread. */

#include <ev.h>

#include "mqtt/mqtt_codec.h"
#include "wire.h"

#define PEER_FILTER_MAX 128u /* bytes of a topic filter, with its NUL */

enum peer_state {
    PEER_CLOSED,      /* no socket */
    PEER_CONNECTING,  /* connect() is under way */
    PEER_OPENING,     /* what is between it and its socket is */
    PEER_LOGIN,       /* CONNECT is sent */
    PEER_SUBSCRIBING, /* CONNACK said yes; a SUBSCRIBE is out */
    PEER_READY,       /* all subscriptions are acknowledged */
    PEER_LEAVING,     /* DISCONNECT is sent; the broker's end is awaited */
};

struct peer;

/* What the owner of peers is told. None of them may close the peer but by peer_leave(). */
struct peer_events {
    /* State is PEER_READY now. */
    void (*ready)(struct peer *peer);
    /* The n-th topic filter to subscribe to, n from 0. Not needed without filters. */
    void (*filter)(const struct peer *peer, unsigned n, char out[PEER_FILTER_MAX]);
    /* A message came; payload is lent. Acknowledgements are sent by the peer. now_ns: when the
     * bytes were read. */
    void (*message)(struct peer *peer, struct pg_bytes payload, uint64_t now_ns);
    /* `count` of the peer's own messages are complete (PUBACK, PUBCOMP). */
    void (*complete)(struct peer *peer, unsigned count);
    /* The connection is gone, in whatever state; `why` is lent, or NULL after PEER_LEAVING. */
    void (*closed)(struct peer *peer, const char *why);
};

/* What is common to all peers. Lent for as long as there are peers. */
struct peer_setup {
    struct ev_loop *loop;
    const char *host; /* IPv4 address; of a loopback address the peers come from many 127.x.y.z */
    uint16_t port;
    struct wire_setup wire; /* what is between peers and their sockets */
    enum mqtt_version version;
    const char *id_prefix; /* the client identifier is this and the index in 8 digits */
};

struct peer {
    ev_io io;
    const struct peer_events *events;
    int fd;
    struct wire wire;
    enum peer_state state;
    uint32_t index;
    uint8_t qos; /* of its subscriptions */
    uint16_t last_id;
    uint16_t next_ack, next_complete; /* identifiers of its own messages, in order of sending */
    uint16_t receive_maximum;         /* own messages of QoS 1 and 2 that the broker takes */
    unsigned filters, subscribed;
    unsigned asked; /* filters in the SUBSCRIBE that is out */
    uint8_t *rest;  /* bytes of an incomplete packet, allocated while there is one */
    size_t rest_len;
    uint8_t *out; /* what the kernel did not take yet, allocated while there is any */
    size_t out_len;
    uint64_t started_ns; /* when connect() was called */
};

void peer_setup(const struct peer_setup *setup);

/* Before anything else. `filters` topic filters are subscribed to with `qos` after CONNACK. */
void peer_init(struct peer *peer, const struct peer_events *events, uint32_t index,
               unsigned filters, uint8_t qos);
/* Start to connect; `ready` or `closed` follows, `closed` perhaps at once. */
void peer_open(struct peer *peer);
/* Send whole packets; what the kernel does not take is kept and sent later. */
void peer_send(struct peer *peer, const uint8_t *data, size_t len);
/* Whether bytes are kept: the broker does not read as fast as we send. */
static inline bool peer_blocked(const struct peer *peer)
{
    return peer->out_len > 0;
}
/* The identifier for the next message of QoS 1 or 2; messages are sent in this order. */
uint16_t peer_next_id(struct peer *peer);
/* Send DISCONNECT; `closed` follows when the broker has closed. */
void peer_leave(struct peer *peer);
/* Close at once, without a word to anybody. Safe in every state. */
void peer_drop(struct peer *peer);

/* ---- many of them ---------------------------------------------------------------------------- */

/* Opens peers in turn, at most `parallel` at a time. */
struct peer_crowd {
    struct peer *(*at)(unsigned n); /* the n-th */
    unsigned next, total, parallel;
    unsigned opening, ready;
};

/* Start what may be started. Call it first with everything zero but at, total and parallel (0: all
 * at once), then from `ready` after counting with peer_crowd_ready(). */
void peer_crowd_open(struct peer_crowd *crowd);
/* One more is ready; opens the next. true: it was the last one. */
bool peer_crowd_ready(struct peer_crowd *crowd);

#endif
