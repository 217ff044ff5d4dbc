/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONFIG_H
#define PG_CONFIG_H

/* A configuration as loaded: immutable, reference-counted, published whole. Connections keep a
 * reference to the one that they were opened under; a reload publishes a new one. */

#include "polygate.h"
#include "settings.h"

struct pg_transport;

/* One `listener "name" { }` block. */
struct pg_listener_conf {
    const char *name;
    struct pg_strings bind; /* "127.0.0.1:1883", "[::]:1883", "*:1883"; port 0 picks one */
    const struct pg_transport *transport;
    const struct pg_protocol *protocol;
    size_t protocol_index; /* in pg_config.protocols */
    void *transport_conf;  /* of transport->conf_size, or NULL */
    const char *file;      /* where the block stands, for errors */
    unsigned line;
};

/* A frontend as assembled: its descriptor and its block's values. */
struct pg_protocol_conf {
    const struct pg_protocol *protocol;
    void *conf;          /* of protocol->conf_size */
    size_t counter_base; /* of its counters in the table of counters */
};

struct pg_plugin_conf {
    const struct pg_plugin *plugin;
    void *conf;
    void *self; /* what plugin->start gave; NULL if it has no start */
};

struct pg_config {
    _Atomic unsigned refs;
    struct pg_settings settings;
    struct pg_listener_conf *listeners;
    size_t listener_count;
    struct pg_protocol_conf *protocols;
    size_t protocol_count;
    struct pg_plugin_conf *plugins;
    size_t plugin_count;
    const char *path;          /* NULL: built-in defaults */
    struct pg_conf_pool *pool; /* owns every string and struct above */
};

struct pg_config *pg_config_ref(struct pg_config *config); /* any thread */
void pg_config_unref(struct pg_config **config);           /* any thread; the last one frees */

#endif
