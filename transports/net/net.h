/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_H
#define PG_NET_H

/* The listening half of every transport over TCP: sockets bound and listening, and accepted on each
 * worker. What becomes of an accepted socket is the transport's. */

#include "transport.h"

struct pg_worker;

/* Values of the shared keys of one listener block; first in the transport's own struct. */
struct net_conf {
    int64_t backlog;
    int64_t keepalive_ms;    /* 0: no probes */
    int64_t user_timeout_ms; /* 0: the kernel's own */
};

/* Their rows, for the transport's table of options. */
/* clang-format off */
#define NET_OPTION_ROWS \
    {.name = "backlog", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct net_conf, backlog), \
     .fallback = "4096", \
     .min = 1, \
     .max = 65535, \
     .sentence = "connections that may wait to be accepted, per worker; the kernel cuts it to " \
                 "net.core.somaxconn. High, because a fleet comes back all at once."}, \
    {.name = "tcp_keepalive", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, keepalive_ms), \
     .fallback = "10m", \
     .min = 0, \
     .max = 32767000, \
     .sentence = "silence after which the kernel asks whether the peer is still there; 0 never " \
                 "asks. Long, because it is for clients without a keep-alive of their own, and " \
                 "each question is traffic that somebody pays for."}, \
    {.name = "tcp_user_timeout", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, user_timeout_ms), \
     .fallback = "0s", \
     .min = 0, \
     .max = 3600000, \
     .sentence = "how long sent bytes may stay unacknowledged before the kernel gives the " \
                 "connection up; 0 leaves it to net.ipv4.tcp_retries2 (about 15 minutes), which " \
                 "mobile links with long gaps need."}
/* clang-format on */

/* Take over the accepted, non-blocking socket `fd` (given) of `peer` (lent text). On the worker. */
typedef void (*net_take)(struct pg_listening *listening, struct pg_worker *worker,
                         const struct pg_listener_conf *conf, int fd, const char *peer);

/* The entries of a transport's table that belong to listeners; see transport.h. */
bool net_check(const struct pg_listener_conf *conf, struct pg_error *error);
struct pg_listening *net_listen(const struct pg_listener_conf *conf, unsigned workers,
                                net_take take, struct pg_error *error);
size_t net_addresses(const struct pg_listening *listening, struct pg_listening_info *out,
                     size_t room);
void net_start(struct pg_listening *listening, struct pg_worker *worker, struct pg_config *config,
               const struct pg_listener_conf *conf);
void net_stop(struct pg_listening *listening, struct pg_worker *worker);
void net_close_listening(struct pg_listening **listening);

#endif
