/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TCP_PARTS_H
#define PG_TCP_PARTS_H

/* What the two halves of the TCP transport share: tcp_listen.c makes links out of pending
 * connections, tcp.c runs them. */

#include <ev.h>

#include "transport.h"

struct pg_conn;
struct pg_worker;

/* Values of the transport's keys in one listener block. */
struct tcp_conf {
    int64_t backlog;
    int64_t keepalive_ms;    /* 0: no probes */
    int64_t user_timeout_ms; /* 0: the kernel's own */
};
extern const struct pg_option tcp_options[];

enum tcp_link_state {
    TCP_LINK_NEW,   /* zeroed by the core; no socket yet; want_read and want_write are remembered */
    TCP_LINK_OPEN,  /* bytes go both ways */
    TCP_LINK_DRAIN, /* our side is shut; what comes is thrown away, up to a bound */
    TCP_LINK_CLOSED, /* no watcher, no socket */
};

/* The transport's state of one connection; all zero is TCP_LINK_NEW. */
struct tcp_link {
    struct ev_io io;       /* the only watcher; io.data is the struct pg_conn */
    uint8_t state;         /* enum tcp_link_state */
    bool held : 1;         /* the core does not want bytes now */
    bool blocked : 1;      /* the core waits for room to write */
    bool at_eof : 1;       /* the peer's last byte has been read: nothing more to wait for */
    uint8_t events;        /* libev's bits that are to be looked at this turn */
    uint32_t thrown_away;  /* bytes discarded in TCP_LINK_DRAIN */
    struct tcp_link *next; /* of those that have events */
};

/* Give the socket `fd` (given) to the link of a connection that was just opened. The core may have
 * said already what it wants. On the connection's worker. */
void tcp_link_begin(struct tcp_link *link, struct pg_conn *conn, int fd);

/* Entries of the transport's table that belong to listeners; see transport.h. */
bool tcp_check(const struct pg_listener_conf *conf, struct pg_error *error);
struct pg_listening *tcp_listen(const struct pg_listener_conf *conf, unsigned workers,
                                struct pg_error *error);
size_t tcp_addresses(const struct pg_listening *listening, struct pg_listening_info *out,
                     size_t room);
void tcp_start(struct pg_listening *listening, struct pg_worker *worker, struct pg_config *config,
               const struct pg_listener_conf *conf);
void tcp_stop(struct pg_listening *listening, struct pg_worker *worker);
void tcp_close_listening(struct pg_listening **listening);

#endif
