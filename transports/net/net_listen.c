/* SPDX-License-Identifier: Apache-2.0 */

/* Listening sockets, for every transport over streams: one per address and worker, all of one
 * address sharing its port by SO_REUSEPORT, so that the kernel spreads connections and no worker
 * waits for another. A socket of the file system (net_local.c), and a port that is not to be shared
 * so, is one socket with a descriptor for each worker: whoever is first takes what is pending.
 *
 * Sharing has a trap: any program of the same user may join in, and a gateway that was started
 * twice would silently serve every second connection. Therefore a port that this process does not
 * hold already is first bound without sharing, which fails if anybody has it. With port 0 the
 * kernel picks a free one for the first socket, and the others follow.
 *
 * Accepted sockets inherit TCP_NODELAY, keep-alive and user timeout from the listening socket, so
 * that a connection costs one accept4() and no more.
 *
 * When descriptors or kernel memory run out, accepting would spin: the pending connection stays,
 * and the loop is level-triggered. Each worker keeps a spare descriptor per listener; it is given
 * up to take one connection out of the queue and close it, and then accepting rests for a while.
 * One line is logged when that begins and one when it has been over for a while, whatever the
 * number of peers. Accepting also rests, for a moment, when all connections that are allowed are
 * there and enough wait for a place (net_place.c).
 *
 * Threads: net_listen() and net_close_listening() are the main thread's; a worker's entry in
 * `workers` is that worker's from net_start() to net_stop(); the rest never changes. */

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "counter.h"
#include "net.h"
#include "net_address.h"
#include "net_arrival.h"
#include "net_local.h"
#include "net_place.h"
#include "worker.h"

/* These are no options, since no value suits one machine better than another.
 *
 * Most connections taken per wake-up and socket: a burst of connects must not starve those who are
 * connected. The rest waits in the kernel's queue for as long as a turn takes, so that more of them
 * would not be faster. */
#define ACCEPTS_PER_TURN 64
/* How long accepting rests when descriptors or memory are out, and when enough wait for a place: too
 * short for a peer to notice, and too long to burn a CPU. */
#define REST_S  0.2
#define CROWD_S 0.02
/* Accepting must have gone well for so long before trouble is over, and new trouble is news. */
#define SAY_AGAIN_S 10.
/* How often a port that is free in one family is looked for in the other. */
#define PORT_TRIES 16

struct net_acceptors;

struct net_acceptor {
    struct ev_io io; /* io.fd is -1 once closed */
    struct net_acceptors *owner;
};

/* What one worker has of a listener. */
struct net_acceptors {
    struct pg_listening *listening; /* that it is part of */
    struct pg_worker *worker;       /* NULL: not started, or stopped */
    struct pg_config *config;       /* shared */
    const struct pg_listener_conf *conf;
    size_t count;
    struct net_acceptor *sockets; /* one per address */
    struct ev_timer rest;         /* runs while accepting rests */
    int spare_fd;                 /* given up when descriptors run out; -1 then */
    bool exhausted;               /* said already; until accepting went well for SAY_AGAIN_S */
    ev_tstamp exhausted_at;
    uint64_t refused; /* connections closed since it was said */
};

/* An address that this process listens on. */
struct net_bound {
    struct net_address address; /* with the real port */
    struct net_local_file file; /* of a socket of the file system */
    struct net_bound *next;     /* in `held`; main thread */
};
static struct net_bound *held;

struct pg_listening {
    net_take take;
    size_t address_count;
    unsigned worker_count;
    struct net_bound *addresses;
    struct net_acceptors *workers;
    struct net_acceptor *sockets; /* worker_count times the most addresses there can be */
};

/* ---- binding (main thread) ------------------------------------------------------------------- */

static bool is_held(const struct net_address *address)
{
    for (const struct net_bound *b = held; b; b = b->next)
        if (b->address.sa.any.sa_family == address->sa.any.sa_family &&
            net_address_port(&b->address) == net_address_port(address))
            return true;
    return false;
}

static void hold(struct net_bound *bound)
{
    bound->next = held;
    held = bound;
}

static void let_go(struct net_bound *bound)
{
    struct net_bound **p = &held;
    while (*p && *p != bound)
        p = &(*p)->next;
    if (*p)
        *p = bound->next;
}

static bool set_option(int fd, int level, int name, int64_t value)
{
    int v = (int)value;
    return setsockopt(fd, level, name, &v, sizeof(v)) == 0;
}

/* A socket bound to `address`, sharing its port or not; -1 with errno. */
static int bound_socket(const struct net_address *address, bool sharing)
{
    int family = address->sa.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* Connections of an earlier run that are in TIME_WAIT must not keep us from starting. */
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
        (!sharing || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
        (family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
        bind(fd, &address->sa.any, address->len) == 0)
        return fd;
    int error_number = errno;
    close(fd);
    errno = error_number;
    return -1;
}

/* Whether nobody else has the port, found out by having it for a moment; errno otherwise. */
static bool is_free(const struct net_address *address)
{
    int fd = bound_socket(address, false);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static bool set_keepalive(int fd, const struct net_conf *net)
{
    if (net->keepalive_ms == 0)
        return true;
    return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (net->keepalive_ms + 999) / 1000) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, net->keepalive_interval_ms / 1000) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, net->keepalive_count);
}

static bool set_user_timeout(int fd, const struct net_conf *net)
{
    return net->user_timeout_ms == 0 ||
           set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, net->user_timeout_ms);
}

static int listening_port(const struct net_address *address, const struct net_conf *net)
{
    int fd = bound_socket(address, true);
    if (fd < 0)
        return -1;
    if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, net->nodelay) && set_keepalive(fd, net) &&
        set_user_timeout(fd, net) && listen(fd, (int)net->backlog) == 0)
        return fd;
    int error_number = errno;
    close(fd);
    errno = error_number;
    return -1;
}

static bool is_local(const struct net_address *address)
{
    return address->sa.any.sa_family == AF_UNIX;
}

/* The socket of worker `w` on the address that `bound` is for; -1 with errno. */
static int listening_socket(struct pg_listening *listening, size_t index, unsigned w,
                            const struct net_conf *net, const struct net_address *address)
{
    struct net_bound *bound = &listening->addresses[index];
    if (w > 0 && (is_local(address) || !net->reuse_port))
        return fcntl(listening->workers[0].sockets[index].io.fd, F_DUPFD_CLOEXEC, 0);
    if (is_local(address))
        return net_local_listen(&address->sa.local, net->mode, (int)net->backlog, &bound->file);
    return listening_port(address, net);
}

/* Close the sockets of the last address and forget it. */
static void drop_address(struct pg_listening *listening)
{
    size_t index = --listening->address_count;
    let_go(&listening->addresses[index]);
    net_local_remove(&listening->addresses[index].address.sa.local,
                     &listening->addresses[index].file);
    for (unsigned w = 0; w < listening->worker_count; w++) {
        struct net_acceptors *acceptors = &listening->workers[w];
        if (acceptors->count > index && acceptors->sockets[index].io.fd >= 0)
            close(acceptors->sockets[index].io.fd);
        if (acceptors->count > index)
            acceptors->count = index;
    }
}

/* Open one more address on every worker. With port 0 `address` gets the port that was found. On
 * failure nothing is left and errno tells. */
static bool add_address(struct pg_listening *listening, const struct net_conf *net,
                        struct net_address *address)
{
    if (net_address_port(address) != 0 && !is_held(address) && !is_free(address))
        return false;

    size_t index = listening->address_count++;
    hold(&listening->addresses[index]);
    for (unsigned w = 0; w < listening->worker_count; w++) {
        struct net_acceptors *acceptors = &listening->workers[w];
        int fd = listening_socket(listening, index, w, net, address);
        if (fd >= 0) {
            acceptors->sockets[index] = (struct net_acceptor){.io.fd = fd, .owner = acceptors};
            acceptors->count = index + 1;
        }
        if (fd < 0 || (w == 0 && !is_local(address) &&
                       getsockname(fd, &address->sa.any, &address->len) != 0)) {
            int error_number = errno;
            drop_address(listening);
            errno = error_number;
            return false;
        }
        listening->addresses[index].address = *address;
    }
    return true;
}

static const char *local_remedy(int error_number)
{
    switch (error_number) {
    case EADDRINUSE:
        return "somebody listens on it (ss -lxp shows who): stop it, or change `bind`";
    case EEXIST:
        return "something that is no socket has this name: remove it, or change `bind`";
    case ENOENT:
    case ENOTDIR:
        return "the folder has to be there (in a systemd unit: RuntimeDirectory)";
    case EACCES:
    case EPERM:
    case EROFS:
        return "the gateway's user has to be able to make files in the folder";
    default:
        return "see unix(7)";
    }
}

static const char *remedy(int error_number)
{
    switch (error_number) {
    case EADDRINUSE:
        return "another program has this port (ss -ltnp shows which): stop it, or change `bind`";
    case EACCES:
        return "a port below 1024 needs the capability CAP_NET_BIND_SERVICE (in a systemd unit: "
               "AmbientCapabilities): give it, or choose a port from 1024 on";
    case EADDRNOTAVAIL:
        return "no interface of this machine has the address (ip address shows them): change "
               "`bind`, or write * for all";
    case EAFNOSUPPORT:
        return "this machine has no IPv6: change `bind` to an IPv4 address";
    case EMFILE:
    case ENFILE:
        return "no descriptor is left: raise LimitNOFILE (systemd) or ulimit -n";
    default:
        return "see bind(2) and listen(2)";
    }
}

static void explain(struct pg_error *error, const struct pg_listener_conf *conf,
                    const struct net_address *address, int error_number)
{
    char text[NET_ADDRESS_TEXT], reason[128];
    net_address_text(address, text);
    pg_error_set(error, "%s:%u: listener \"%s\" cannot listen on %s: %s; %s",
                 conf->file ? conf->file : "built-in", conf->line, conf->name, text,
                 strerror_r(error_number, reason, sizeof(reason)),
                 is_local(address) ? local_remedy(error_number) : remedy(error_number));
}

/* Open everything that one `bind` value stands for. */
static bool add_bind(struct pg_listening *listening, const struct pg_listener_conf *conf,
                     const char *bind_value, struct pg_error *error)
{
    struct net_address wanted[NET_ADDRESS_MAX];
    struct pg_error why;
    size_t count = net_address_parse(bind_value, wanted, &why);
    if (count == 0) {
        pg_error_set(error, "%s:%u: listener \"%s\", bind: %s",
                     conf->file ? conf->file : "built-in", conf->line, conf->name, why.text);
        return false;
    }
    for (int tries = 1;; tries++) {
        struct net_address first = wanted[0];
        if (!add_address(listening, conf->transport_conf, &first)) {
            explain(error, conf, &first, errno);
            return false;
        }
        if (count == 1)
            return true;
        struct net_address second = wanted[1];
        net_address_set_port(&second, net_address_port(&first));
        if (add_address(listening, conf->transport_conf, &second))
            return true;
        if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) {
            PG_LOG(PG_INFO, "no_ipv6", PG_F_TEXT("listener", conf->name),
                   PG_F_TEXT("bind", bind_value),
                   PG_F_TEXT("detail", "this machine has no IPv6: listening on IPv4 only"));
            return true;
        }
        bool port_was_ours_to_choose = net_address_port(&wanted[0]) == 0;
        if (!(errno == EADDRINUSE && port_was_ours_to_choose && tries < PORT_TRIES)) {
            explain(error, conf, &second, errno);
            return false;
        }
        drop_address(listening);
    }
}

struct pg_listening *net_listen(const struct pg_listener_conf *conf, unsigned workers,
                                net_take take, struct pg_error *error)
{
    size_t most = conf->bind.count * NET_ADDRESS_MAX;
    struct pg_listening *listening = calloc(1, sizeof(*listening));
    if (!listening)
        goto no_memory;
    listening->take = take;
    listening->worker_count = workers;
    listening->addresses = calloc(most, sizeof(*listening->addresses));
    listening->workers = calloc(workers, sizeof(*listening->workers));
    listening->sockets = calloc(workers * most, sizeof(*listening->sockets));
    if (!listening->addresses || !listening->workers || !listening->sockets)
        goto no_memory;
    for (unsigned w = 0; w < workers; w++) {
        listening->workers[w].sockets = &listening->sockets[w * most];
        listening->workers[w].spare_fd = -1;
        listening->workers[w].listening = listening;
    }
    for (size_t i = 0; i < conf->bind.count; i++) {
        if (!add_bind(listening, conf, conf->bind.items[i], error)) {
            net_close_listening(&listening);
            return NULL;
        }
    }
    return listening;

no_memory:
    pg_error_set(error, "listener \"%s\": out of memory", conf->name);
    net_close_listening(&listening);
    return NULL;
}

size_t net_addresses(const struct pg_listening *listening, struct pg_listening_info *out,
                     size_t room)
{
    size_t count = listening->address_count < room ? listening->address_count : room;
    _Static_assert(sizeof(out->address) >= NET_ADDRESS_TEXT, "every address fits");
    for (size_t i = 0; i < count; i++)
        net_address_text(&listening->addresses[i].address, out[i].address);
    return listening->address_count;
}

void net_close_listening(struct pg_listening **pointer)
{
    struct pg_listening *listening = *pointer;
    *pointer = NULL;
    if (!listening)
        return;
    while (listening->address_count > 0)
        drop_address(listening);
    free(listening->sockets);
    free(listening->workers);
    free(listening->addresses);
    free(listening);
}

/* ---- accepting (on the worker) --------------------------------------------------------------- */

static void accept_from(struct net_acceptors *acceptors, bool on)
{
    struct ev_loop *loop = pg_worker_loop(acceptors->worker);
    for (size_t i = 0; i < acceptors->count; i++) {
        if (on)
            ev_io_start(loop, &acceptors->sockets[i].io);
        else
            ev_io_stop(loop, &acceptors->sockets[i].io);
    }
}

static void take_spare(struct net_acceptors *acceptors)
{
    if (acceptors->spare_fd < 0)
        acceptors->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Turn away one pending connection with the spare descriptor. */
static void turn_away(struct net_acceptors *acceptors, int listen_fd, enum pg_reason reason)
{
    if (acceptors->spare_fd < 0)
        return;
    close(acceptors->spare_fd);
    acceptors->spare_fd = -1;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        acceptors->refused++;
        struct pg_counter_set *counters = pg_worker_counters(acceptors->worker);
        pg_counter_add(counters, PG_COUNT_CONNECTIONS_REFUSED, 1);
        pg_counter_add(counters, PG_COUNTER_REFUSE(reason), 1);
    }
    take_spare(acceptors);
}

static void rest_for(struct net_acceptors *acceptors, ev_tstamp seconds)
{
    accept_from(acceptors, false);
    ev_timer_set(&acceptors->rest, seconds, 0.);
    ev_timer_start(pg_worker_loop(acceptors->worker), &acceptors->rest);
}

/* accept4() failed for a reason that the next call would meet again. */
static void rest(struct net_acceptors *acceptors, int listen_fd, int error_number)
{
    bool descriptors = error_number == EMFILE || error_number == ENFILE;
    acceptors->exhausted_at = ev_now(pg_worker_loop(acceptors->worker));
    if (!acceptors->exhausted) {
        char text[128];
        acceptors->exhausted = true;
        PG_LOG(PG_ERROR, "accept_failed", PG_F_TEXT("listener", acceptors->conf->name),
               PG_F_TEXT("error", strerror_r(error_number, text, sizeof(text))),
               PG_F_TEXT("detail", descriptors
                                       ? "no descriptor is left: connections wait or are turned "
                                         "away; raise LimitNOFILE (systemd) or ulimit -n, or set "
                                         "limits.connections below it"
                                       : "connections wait"));
    }
    turn_away(acceptors, listen_fd, descriptors ? PG_CONNECTION_LIMIT : PG_NO_MEMORY);
    rest_for(acceptors, REST_S);
}

static void on_rested(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct net_acceptors *acceptors = watcher->data;
    take_spare(acceptors);
    accept_from(acceptors, true);
}

static void say_recovered(struct net_acceptors *acceptors)
{
    ev_tstamp now = ev_now(pg_worker_loop(acceptors->worker));
    if (now - acceptors->exhausted_at < SAY_AGAIN_S)
        return;
    PG_LOG(PG_INFO, "accept_recovered", PG_F_TEXT("listener", acceptors->conf->name),
           PG_F_INT("turned_away", acceptors->refused));
    acceptors->exhausted = false;
    acceptors->refused = 0;
}

static void on_pending(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct net_acceptors *acceptors = ((struct net_acceptor *)watcher)->owner;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (net_place_crowded(acceptors->worker, acceptors->conf)) {
            rest_for(acceptors, CROWD_S);
            return;
        }
        struct net_address peer = {.len = sizeof(peer.sa)};
        int fd = accept4(watcher->fd, &peer.sa.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            net_arrive(acceptors->listening, acceptors->listening->take, acceptors->worker,
                       acceptors->conf, fd, &peer);
            if (acceptors->exhausted)
                say_recovered(acceptors);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EINTR:
        /* That one connection failed before it was taken (accept(2), "Error handling"). */
        case ECONNABORTED:
        case EPROTO:
        case ENOPROTOOPT:
        case ENETDOWN:
        case ENETUNREACH:
        case ENONET:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
        case ETIMEDOUT:
        case EPERM:
            continue;
        default:
            rest(acceptors, watcher->fd, errno);
            return;
        }
    }
}

void net_start(struct pg_listening *listening, struct pg_worker *worker, struct pg_config *config,
               const struct pg_listener_conf *conf)
{
    struct net_acceptors *acceptors = &listening->workers[pg_worker_index(worker)];
    bool was_started = acceptors->worker != NULL;
    struct pg_config *before = acceptors->config;
    acceptors->config = pg_config_ref(config);
    acceptors->conf = conf;
    if (was_started) {
        pg_config_unref(&before);
        return;
    }
    acceptors->worker = worker;
    take_spare(acceptors);
    ev_timer_init(&acceptors->rest, on_rested, REST_S, 0.);
    acceptors->rest.data = acceptors;
    for (size_t i = 0; i < acceptors->count; i++) {
        struct ev_io *io = &acceptors->sockets[i].io;
        ev_io_init(io, on_pending, io->fd, EV_READ);
    }
    accept_from(acceptors, true);
}

void net_stop(struct pg_listening *listening, struct pg_worker *worker)
{
    struct net_acceptors *acceptors = &listening->workers[pg_worker_index(worker)];
    if (!acceptors->worker)
        return;
    accept_from(acceptors, false);
    ev_timer_stop(pg_worker_loop(worker), &acceptors->rest);
    net_arrivals_end(listening);
    net_places_end(worker, listening);
    for (size_t i = 0; i < acceptors->count; i++) {
        close(acceptors->sockets[i].io.fd);
        acceptors->sockets[i].io.fd = -1;
    }
    if (acceptors->spare_fd >= 0)
        close(acceptors->spare_fd);
    acceptors->spare_fd = -1;
    pg_config_unref(&acceptors->config);
    acceptors->conf = NULL;
    acceptors->worker = NULL;
}
