/* SPDX-License-Identifier: Apache-2.0 */

/* The WebSocket transports: RFC 6455 over TCP (`ws`) and over TLS (`wss`). An accepted socket first
 * belongs to an opening handshake (ws_opening.c), then it is the link of a connection (ws_link.c);
 * both work on a stream (../net/net_stream.h) and do not know whether it is secured. */

#include "ws.h"

#include "../net/net.h"
#include "ws_conf.h"
#include "ws_link.h"
#include "ws_opening.h"

static struct pg_listening *ws_listen(const struct pg_listener_conf *conf, unsigned workers,
                                      struct pg_error *error)
{
    return net_listen(conf, workers, ws_opening_begin, error);
}

static void ws_stop(struct pg_listening *listening, struct pg_worker *worker)
{
    ws_openings_end(listening);
    net_stop(listening, worker);
}

const struct pg_transport ws_transport = {
    .name = "ws",
    .any_protocol = true,
    .options = ws_options,
    .conf_size = sizeof(struct ws_conf),
    .link_size = sizeof(struct ws_link),

    .check = ws_check,
    .hands_on = net_hands_on,
    .listen = ws_listen,
    .addresses = net_addresses,
    .start = net_start,
    .stop = ws_stop,
    .close_listening = net_close_listening,

    .writev = ws_link_writev,
    .want_write = ws_link_want_write,
    .want_read = ws_link_want_read,
    .shutdown = ws_link_shutdown,
    .owes = ws_link_owes,
    .close = ws_link_close,
};

const struct pg_transport wss_transport = {
    .name = "wss",
    .any_protocol = true,
    .options = wss_options,
    .conf_size = sizeof(struct ws_conf),
    .link_size = sizeof(struct ws_link),

    .check = ws_check,
    .hands_on = net_hands_on,
    .prepare = tls_prepare,
    .release = tls_release,
    .listen = ws_listen,
    .addresses = net_addresses,
    .start = net_start,
    .stop = ws_stop,
    .close_listening = net_close_listening,

    .writev = ws_link_writev,
    .want_write = ws_link_want_write,
    .want_read = ws_link_want_read,
    .shutdown = ws_link_shutdown,
    .owes = ws_link_owes,
    .close = ws_link_close,
};
