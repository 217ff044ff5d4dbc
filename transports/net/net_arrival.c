/* SPDX-License-Identifier: Apache-2.0 */

/* Accepted sockets that are not a transport's yet, because a proxy has to say first whose
 * connection it is.
 *
 * Who is not among the listener's proxies is refused at once, unheard. From a proxy the header is
 * looked at in the kernel's buffer and taken out up to its end and no further, so that whatever
 * follows, in the same packet or not, is read by the transport as if it had been the first. There
 * are limits.first_byte_timeout for all of it, and a bound on its bytes and on how many may be
 * waiting. A proxy that connects and closes asks whether we are there, and is not worth a line.
 *
 * Everything runs on the worker that accepted. */

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "conn.h"
#include "net_arrival.h"
#include "net_local.h"
#include "net_place.h"
#include "net_proxy.h"
#include "worker.h"

#define HEAD_FIRST 256u /* room for the bytes of most headers */

struct arrival {
    struct ev_io io;
    struct ev_timer timer;
    struct arrival *next, **link; /* all of the worker */
    struct pg_listening *listening;
    net_take take;
    struct pg_worker *worker;
    const struct pg_listener_conf *conf;
    struct pg_config *config; /* shared; conf is part of it */
    uint8_t *head;
    size_t len, size;
    char peer[NET_ADDRESS_TEXT]; /* of the socket */
};

static _Thread_local struct arrival *arrivals;
static _Thread_local int64_t arrival_count;

static const struct net_conf *net_of(const struct pg_listener_conf *conf)
{
    return conf->transport_conf;
}

/* Free it, with its socket unless that is -1. */
static void end(struct arrival *arrival)
{
    struct ev_loop *loop = pg_worker_loop(arrival->worker);
    ev_io_stop(loop, &arrival->io);
    ev_timer_stop(loop, &arrival->timer);
    if (arrival->io.fd >= 0)
        close(arrival->io.fd);
    *arrival->link = arrival->next;
    if (arrival->next)
        arrival->next->link = arrival->link;
    arrival_count--;
    pg_config_unref(&arrival->config);
    free(arrival->head);
    free(arrival);
}

static void turn_away_client(struct arrival *arrival, const char *peer, enum pg_reason reason,
                             const char *detail)
{
    pg_conn_refused(arrival->worker, arrival->conf, peer, reason, detail);
    end(arrival);
}

static void turn_away(struct arrival *arrival, enum pg_reason reason, const char *detail)
{
    turn_away_client(arrival, arrival->peer, reason, detail);
}

/* Give the socket to the transport, as soon as there is a place. */
static void hand_over(struct arrival *arrival, const char *peer, struct pg_bytes identity)
{
    struct net_guest guest = {.fd = arrival->io.fd, .peer = peer, .identity = identity};
    ev_io_stop(pg_worker_loop(arrival->worker), &arrival->io);
    arrival->io.fd = -1;
    net_place_find(arrival->listening, arrival->take, arrival->worker, arrival->conf, &guest);
    end(arrival);
}

/* What a client lacks that it must have shown to the proxy; NULL: nothing. */
static const char *lacking(const struct net_conf *net, const struct net_proxy *proxy)
{
    if (proxy->local)
        return NULL;
    if (net->proxy_require >= NET_PROXY_REQUIRE_TLS && !proxy->tls)
        return "it did not come to the proxy by TLS; see proxy_require";
    if (net->proxy_require == NET_PROXY_REQUIRE_CERT && !proxy->verified)
        return "it has shown the proxy no certificate that is valid; see proxy_require";
    return NULL;
}

/* The header is whole. */
static void introduce(struct arrival *arrival, const struct net_proxy *proxy)
{
    char source[NET_ADDRESS_TEXT];
    const struct net_conf *net = net_of(arrival->conf);
    bool by_name = net->proxy_identity == NET_PROXY_IDENTITY_CN;
    if (by_name && proxy->verified && !proxy->cn.data) {
        turn_away(arrival, PG_BAD_PROXY_HEADER,
                  "the client's certificate has no common name that can be used");
        return;
    }
    if (proxy->source.sa.any.sa_family == AF_UNSPEC)
        memcpy(source, "unix", sizeof("unix"));
    else
        net_address_text(&proxy->source, source);
    const char *client = proxy->own ? arrival->peer : source;
    PG_LOG(PG_DEBUG, "proxied", PG_F_TEXT("peer", client), PG_F_TEXT("proxy", arrival->peer),
           PG_F_TEXT("listener", arrival->conf->name), PG_F_BYTES("tls", proxy->tls_version),
           PG_F_BYTES("cipher", proxy->cipher), PG_F_BYTES("cn", proxy->cn));
    const char *lack = lacking(net, proxy);
    if (lack)
        turn_away_client(arrival, client, PG_HANDSHAKE_FAILED, lack);
    else
        hand_over(arrival, client, by_name ? proxy->cn : PG_BYTES_NONE);
}

/* Room for more of the header, which grows with what has come. */
static bool has_room(struct arrival *arrival)
{
    if (arrival->len < arrival->size)
        return true;
    size_t size = arrival->size == 0 ? HEAD_FIRST : arrival->size * 2;
    uint8_t *grown = size <= NET_PROXY_MAX ? realloc(arrival->head, size) : NULL;
    if (!grown)
        return false;
    arrival->head = grown;
    arrival->size = size;
    return true;
}

/* `n` bytes more have been looked at, and are still the kernel's. */
static void judge(struct arrival *arrival, size_t n)
{
    struct net_proxy proxy;
    struct pg_bytes head = {.data = arrival->head, .len = arrival->len + n};
    enum net_proxy_result result =
        net_proxy_parse(head, (enum net_proxy_accept)net_of(arrival->conf)->proxy, &proxy);
    if (result == NET_PROXY_BAD) {
        turn_away(arrival, PG_BAD_PROXY_HEADER, proxy.why);
        return;
    }
    size_t of_header = result == NET_PROXY_WHOLE ? proxy.used - arrival->len : n;
    if (recv(arrival->io.fd, arrival->head + arrival->len, of_header, 0) != (ssize_t)of_header) {
        turn_away(arrival, PG_PEER_CLOSED, "within the header of a proxy");
        return;
    }
    arrival->len += of_header;
    if (result == NET_PROXY_WHOLE)
        introduce(arrival, &proxy);
}

static void on_bytes(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct arrival *arrival = watcher->data;
    if (!has_room(arrival)) {
        turn_away(arrival, PG_NO_MEMORY, "while keeping the header of a proxy");
        return;
    }
    ssize_t n =
        recv(watcher->fd, arrival->head + arrival->len, arrival->size - arrival->len, MSG_PEEK);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0)
        turn_away(arrival, PG_PEER_CLOSED, "before the header of a proxy was whole");
    else
        judge(arrival, (size_t)n);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    turn_away(watcher->data, PG_FIRST_BYTE_TIMEOUT,
              "the header of a proxy was not whole in limits.first_byte_timeout");
}

static void wait_for_header(struct arrival *arrival)
{
    struct ev_loop *loop = pg_worker_loop(arrival->worker);
    int64_t ms = arrival->config->settings.limits.first_byte_timeout;
    ev_io_start(loop, &arrival->io);
    ev_timer_init(&arrival->timer, on_deadline, (double)ms / 1000., 0.);
    arrival->timer.data = arrival;
    ev_timer_start(loop, &arrival->timer);
}

static bool is_trusted(const struct net_conf *net, const struct net_address *peer)
{
    for (size_t i = 0; i < net->trusted_count; i++)
        if (net_range_has(&net->trusted[i], peer))
            return true;
    return false;
}

static struct arrival *new_arrival(void)
{
    struct arrival *arrival = calloc(1, sizeof(*arrival));
    if (!arrival)
        return NULL;
    arrival->next = arrivals;
    if (arrival->next)
        arrival->next->link = &arrival->next;
    arrival->link = &arrivals;
    arrivals = arrival;
    arrival_count++;
    return arrival;
}

void net_arrive(struct pg_listening *listening, net_take take, struct pg_worker *worker,
                const struct pg_listener_conf *conf, int fd, const struct net_address *peer)
{
    const struct net_conf *net = net_of(conf);
    char text[NET_ADDRESS_TEXT];
    if (peer->sa.any.sa_family == AF_UNIX)
        net_local_peer(fd, text);
    else
        net_address_text(peer, text);
    if (net->proxy == NET_PROXY_OFF) {
        struct net_guest guest = {.fd = fd, .peer = text, .identity = PG_BYTES_NONE};
        net_place_find(listening, take, worker, conf, &guest);
        return;
    }
    enum pg_reason why = PG_OK;
    struct arrival *arrival = NULL;
    if (!is_trusted(net, peer))
        why = PG_UNTRUSTED_PROXY;
    else if (arrival_count >= net->proxy_waiting)
        why = PG_CONNECTION_LIMIT;
    else if (!(arrival = new_arrival()))
        why = PG_NO_MEMORY;
    if (why != PG_OK) {
        pg_conn_refused(worker, conf, text, why,
                        why == PG_UNTRUSTED_PROXY    ? "see proxy_from of the listener"
                        : why == PG_CONNECTION_LIMIT ? "see proxy_waiting of the listener"
                                                     : "");
        close(fd);
        return;
    }
    arrival->listening = listening;
    arrival->take = take;
    arrival->worker = worker;
    arrival->conf = conf;
    arrival->config = pg_config_ref(conf->config);
    memcpy(arrival->peer, text, sizeof(text));
    ev_io_init(&arrival->io, on_bytes, fd, EV_READ);
    arrival->io.data = arrival;
    wait_for_header(arrival);
}

void net_arrivals_end(const struct pg_listening *listening)
{
    for (struct arrival *a = arrivals, *next; a; a = next) {
        next = a->next;
        if (a->listening == listening)
            end(a);
    }
}
