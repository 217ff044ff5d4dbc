/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_H
#define PG_NET_H

/* The listening half of every transport over stream sockets: sockets bound and listening, and
 * accepted on each worker, and the header of a proxy, which comes before anything else. What becomes
 * of an accepted socket is the transport's. */

#include <sys/types.h>

#include "transport.h"

struct pg_place;
struct pg_worker;
struct net_range;

enum net_proxy_identity { NET_PROXY_IDENTITY_NONE, NET_PROXY_IDENTITY_CN };
enum net_proxy_require { NET_PROXY_REQUIRE_NONE, NET_PROXY_REQUIRE_TLS, NET_PROXY_REQUIRE_CERT };

/* Values of the shared keys of one listener block; first in the transport's own struct. */
struct net_conf {
    int64_t backlog;
    int64_t keepalive_ms; /* 0: no probes */
    int64_t keepalive_interval_ms;
    int64_t keepalive_count;
    int64_t user_timeout_ms; /* 0: the kernel's own */
    int64_t place_wait_ms;
    bool nodelay;
    bool reuse_port;
    const char *socket_mode; /* octal digits */
    int proxy;               /* enum net_proxy_accept */
    struct pg_strings proxy_from;
    int64_t proxy_waiting;
    int proxy_identity; /* enum net_proxy_identity */
    int proxy_require;  /* enum net_proxy_require */

    /* Made by net_check() out of the texts above. */
    mode_t mode;
    struct net_range *trusted; /* in the configuration's pool */
    size_t trusted_count;
};

extern const char *const net_proxy_words[], *const net_proxy_identity_words[],
                                                *const net_proxy_require_words[];

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
    {.name = "reuse_port", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct net_conf, reuse_port), \
     .fallback = "yes", \
     .sentence = "each worker has a socket of its own on the port (SO_REUSEPORT), and the kernel " \
                 "spreads connections evenly. no: all take from one socket, so that one who is " \
                 "busy gets fewer, and one who is quick more. Sockets of the file system are " \
                 "always shared."}, \
    {.name = "socket_mode", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct net_conf, socket_mode), \
     .fallback = "0660", \
     .sentence = "who may connect to a socket of the file system, as chmod(1) writes it in " \
                 "octal digits: by default the gateway's own user and group."}, \
    {.name = "tcp_nodelay", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct net_conf, nodelay), \
     .fallback = "yes", \
     .sentence = "send at once what is to be sent. A turn's output leaves in one piece already, so " \
                 "that waiting for more (no) saves packets only on links where each one counts, " \
                 "and costs up to 40ms."}, \
    {.name = "tcp_keepalive", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, keepalive_ms), \
     .fallback = "10m", \
     .min = 0, \
     .max = 32767000, \
     .sentence = "silence after which the kernel asks whether the peer is still there; 0 never " \
                 "asks. Long, because it is for clients without a keep-alive of their own, and " \
                 "each question is traffic that somebody pays for."}, \
    {.name = "tcp_keepalive_interval", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, keepalive_interval_ms), \
     .fallback = "30s", \
     .min = 1000, \
     .max = 32767000, \
     .sentence = "time between two such questions, while there is no answer; in whole seconds."}, \
    {.name = "tcp_keepalive_count", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct net_conf, keepalive_count), \
     .fallback = "4", \
     .min = 1, \
     .max = 127, \
     .sentence = "questions without an answer after which the peer is taken for gone; 4 of them " \
                 "outlast a tunnel."}, \
    {.name = "tcp_user_timeout", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, user_timeout_ms), \
     .fallback = "0s", \
     .min = 0, \
     .max = 3600000, \
     .sentence = "how long sent bytes may stay unacknowledged before the kernel gives the " \
                 "connection up; 0 leaves it to net.ipv4.tcp_retries2 (about 15 minutes), which " \
                 "mobile links with long gaps need."}, \
    {.name = "place_wait", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct net_conf, place_wait_ms), \
     .fallback = "300ms", \
     .min = 0, \
     .max = 60000, \
     .reloadable = true, \
     .sentence = "how long a connection above limits.connections, or above connections or " \
                 "address_connections of the block, waits for a place before it is closed; places are " \
                 "given in the order of coming. A while, because the end of a client's old " \
                 "connection may still be on its way when the new one is here; longer suits fleets " \
                 "that take turns. 20ms at least, in which ends that have come are read; who " \
                 "must know at once that there is no place wants 0."}, \
    {.name = "proxy", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct net_conf, proxy), \
     .fallback = "off", \
     .choices = net_proxy_words, \
     .reloadable = true, \
     .sentence = "the version of the PROXY protocol in which every connection begins, before " \
                 "anything else, TLS included; any is whichever comes. The client's address is then the one " \
                 "that the proxy names, and nobody but proxies can connect. Off, because the " \
                 "header is believed."}, \
    {.name = "proxy_from", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct net_conf, proxy_from), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "addresses and ranges of the proxies, as in {\"10.1.2.0/24\", \"fd00::5\"}; unix is " \
                 "whoever may connect to the block's socket of the file system. Who connects from " \
                 "elsewhere is refused. Required with proxy."}, \
    {.name = "proxy_waiting", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct net_conf, proxy_waiting), \
     .fallback = "4096", \
     .min = 1, \
     .max = 1000000, \
     .reloadable = true, \
     .sentence = "most connections that wait for the header of a proxy, per worker; one above it is " \
                 "closed. Each holds a descriptor, and limits.connections does not count it yet."}, \
    {.name = "proxy_identity", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct net_conf, proxy_identity), \
     .fallback = "none", \
     .choices = net_proxy_identity_words, \
     .reloadable = true, \
     .sentence = "cn: if the proxy has found the client's certificate valid and says so (version " \
                 "2), the certificate's common name is its user name, in place of one that it " \
                 "sends; no password is asked for then. none: what the proxy says of TLS is not " \
                 "looked at."}, \
    {.name = "proxy_require", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct net_conf, proxy_require), \
     .fallback = "none", \
     .choices = net_proxy_require_words, \
     .reloadable = true, \
     .sentence = "what a client must have shown to the proxy, by the proxy's words (version 2), or it " \
                 "is refused: tls, that it came by TLS; certificate, a certificate that the proxy " \
                 "found valid. For where a proxy serves both and this listener must not. The " \
                 "proxy's own connections, as its health checks are, are taken."}
/* clang-format on */

/* A socket that has been accepted, and what is known of its peer. */
struct net_guest {
    int fd;           /* given; non-blocking */
    const char *peer; /* lent: the client's address, as a trusted proxy tells it if one does */
    struct pg_bytes identity; /* lent: what it has proven to that proxy; data == NULL: nothing */
    struct pg_place
        *place; /* lent, and what it holds given: taken for it (conn.h); NULL: not yet */
};

/* Take over what has come to a listener, and has a place. On the worker. */
typedef void (*net_take)(struct pg_listening *listening, struct pg_worker *worker,
                         const struct pg_listener_conf *conf, const struct net_guest *guest);
/* What a net_take does with a guest that cannot be served: close its socket and give its place
 * back. */
void net_turn_away(struct pg_worker *worker, const struct net_guest *guest);

/* The entries of a transport's table that belong to listeners; see transport.h. net_check() also
 * keeps what it has read in the listener's struct net_conf. */
bool net_check(const struct pg_listener_conf *conf, struct pg_error *error);
bool net_hands_on(const struct pg_listener_conf *conf);
struct pg_listening *net_listen(const struct pg_listener_conf *conf, unsigned workers,
                                net_take take, struct pg_error *error);
size_t net_addresses(const struct pg_listening *listening, struct pg_listening_info *out,
                     size_t room);
void net_start(struct pg_listening *listening, struct pg_worker *worker, struct pg_config *config,
               const struct pg_listener_conf *conf);
void net_stop(struct pg_listening *listening, struct pg_worker *worker);
void net_close_listening(struct pg_listening **listening);

#endif
