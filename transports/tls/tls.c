/* SPDX-License-Identifier: Apache-2.0 */

/* The TLS transport: a socket that was accepted, or connected, is the stream of a connection's link, with
 * TLS on it. */

#include "tls.h"

#include "../net/net_dial.h"
#include "../net/net_link.h"
#include "conn.h"
#include "tls_call.h"
#include "tls_stream.h"
#include "worker.h"

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    (void)listening;
    const struct tls_conf *c = conf->transport_conf;
    if (!tls_has_room(worker, c)) {
        pg_conn_refused(worker, conf, guest->peer, PG_BUSY, "see handshakes of the listener");
        net_turn_away(worker, guest);
        return;
    }
    struct pg_conn *conn = pg_conn_open_in_place(worker, conf, guest->peer, guest->place);
    if (!conn) {
        net_turn_away(worker, guest);
        return;
    }
    struct net_stream *stream = net_link_begin(conn, guest);
    if (!stream)
        return;
    pg_conn_expect_handshake(conn, c->handshake_timeout_ms);
    if (!tls_begin(stream, c))
        pg_conn_close(conn, PG_NO_MEMORY, "before the handshake");
}

static void begin_call(struct pg_conn *conn, const struct pg_listener_conf *conf, int fd)
{
    const struct net_guest host = {.fd = fd};
    struct net_stream *stream = net_link_begin(conn, &host);
    if (stream && !tls_begin_call(stream, conf))
        pg_conn_close(conn, PG_NO_MEMORY, "before the handshake");
}

static void dial(struct pg_conn *conn, const struct pg_listener_conf *conf)
{
    net_dial(conn, conf, begin_call);
}

static struct pg_listening *start_listening(const struct pg_listener_conf *conf, unsigned count,
                                            struct pg_error *error)
{
    return net_listen(conf, count, take, error);
}

static const struct pg_option tls_options[] = {
    TLS_OPTION_ROWS(""),
    {.name = NULL},
};

const struct pg_transport tls_transport = {
    .name = "tls",
    .options = tls_options,
    .conf_size = sizeof(struct tls_conf),
    .link_size = sizeof(struct net_stream),

    .check = net_check,
    .hands_on = net_hands_on,
    .prepare = tls_prepare,
    .release = tls_release,
    .listen = start_listening,
    .addresses = net_addresses,
    .start = net_start,
    .stop = net_stop,
    .close_listening = net_close_listening,

    .call_options = tls_call_options,
    .call_conf_size = sizeof(struct tls_call_conf),
    .check_call = net_dial_check,
    .prepare_call = tls_prepare_call,
    .release_call = tls_release_call,
    .dial = dial,

    .writev = net_link_writev,
    .want_write = net_link_want_write,
    .want_read = net_link_want_read,
    .shutdown = net_link_shutdown,
    .close = net_link_close,
};
