/* SPDX-License-Identifier: Apache-2.0 */

/* The transport of ports that serve everything: an accepted socket first belongs to a newcomer
 * (auto_newcomer.c), which finds out what it speaks, and then to a connection over TCP or TLS, or
 * to an opening handshake over HTTP. No connection has this transport itself, so it has no
 * operations for links. */

#include "auto.h"

#include "../ws/ws_opening.h"
#include "auto_conf.h"
#include "auto_newcomer.h"

static struct pg_listening *auto_listen(const struct pg_listener_conf *conf, unsigned workers,
                                        struct pg_error *error)
{
    return net_listen(conf, workers, auto_newcomer_begin, error);
}

static void auto_stop(struct pg_listening *listening, struct pg_worker *worker)
{
    auto_newcomers_end(listening);
    ws_openings_end(listening);
    net_stop(listening, worker);
}

const struct pg_transport auto_transport = {
    .name = "auto",
    .any_protocol = true,
    .options = auto_options,
    .conf_size = sizeof(struct auto_conf),

    .check = auto_check,
    .hands_on = net_hands_on,
    .prepare = auto_prepare,
    .release = tls_release,
    .listen = auto_listen,
    .addresses = net_addresses,
    .start = net_start,
    .stop = auto_stop,
    .close_listening = net_close_listening,
};
