/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_AUTO_CONF_H
#define PG_AUTO_CONF_H

/* What a listener block says that serves everything on one port. */

#include "../ws/ws_conf.h"

struct auto_conf {
    struct ws_conf ws; /* first: connections of every kind find their values at its beginning */
    bool require_tls;
    struct pg_strings flash_policy;

    /* Made by auto_check() out of the block, in the configuration's pool: what a connection has for
     * its listener once it is known what it is. */
    struct pg_listener_conf *direct;  /* with each frontend that can be told, over TCP */
    struct pg_listener_conf *secured; /* the same frontends, over TLS */
    size_t frontend_count;
    struct pg_listener_conf *web; /* over HTTP */
};

extern const struct pg_option auto_options[];

/* Whether TLS is served: there is something to serve it with. */
bool auto_has_tls(const struct auto_conf *conf);

/* Entries of the transport's table; see transport.h. */
bool auto_check(const struct pg_listener_conf *conf, struct pg_error *error);
bool auto_prepare(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error);

#endif
