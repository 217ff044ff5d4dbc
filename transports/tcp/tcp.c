/* SPDX-License-Identifier: Apache-2.0 */

/* The TCP transport: a socket that was accepted, or connected, is the stream of a connection's
 * link, and that is all. */

#include "tcp.h"

#include "../net/net.h"
#include "../net/net_dial.h"
#include "../net/net_link.h"
#include "conn.h"

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    (void)listening;
    struct pg_conn *conn = pg_conn_open_in_place(worker, conf, guest->peer, guest->place);
    if (conn)
        (void)net_link_begin(conn, guest);
    else
        net_turn_away(worker, guest);
}

static struct pg_listening *start_listening(const struct pg_listener_conf *conf, unsigned workers,
                                            struct pg_error *error)
{
    return net_listen(conf, workers, take, error);
}

static void begin(struct pg_conn *conn, const struct pg_listener_conf *conf, int fd)
{
    (void)conf;
    const struct net_guest host = {.fd = fd};
    if (net_link_begin(conn, &host))
        net_conn_secured(conn, PG_BYTES_NONE);
}

static void dial(struct pg_conn *conn, const struct pg_listener_conf *conf)
{
    net_dial(conn, conf, begin);
}

static const struct pg_option tcp_options[] = {
    NET_OPTION_ROWS,
    {.name = NULL},
};

const struct pg_transport tcp_transport = {
    .name = "tcp",
    .options = tcp_options,
    .conf_size = sizeof(struct net_conf),
    .link_size = sizeof(struct net_stream),

    .check = net_check,
    .hands_on = net_hands_on,
    .listen = start_listening,
    .addresses = net_addresses,
    .start = net_start,
    .stop = net_stop,
    .close_listening = net_close_listening,

    .check_call = net_dial_check,
    .dial = dial,

    .writev = net_link_writev,
    .want_write = net_link_want_write,
    .want_read = net_link_want_read,
    .shutdown = net_link_shutdown,
    .close = net_link_close,
};
