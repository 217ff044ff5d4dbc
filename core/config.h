/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONFIG_H
#define PG_CONFIG_H

/* A configuration as loaded: immutable, reference-counted, published whole. Connections keep a
 * reference to the one that they were opened under; a reload publishes a new one. */

#include "guard.h"
#include "polygate.h"
#include "settings.h"

struct pg_transport;
struct pg_config;

#define PG_LISTENER_NAME_MAX 63 /* bytes of a listener's name */

/* Whether a listener has a say of its own on clients that nobody judged. */
enum pg_listener_anonymous {
    PG_LISTENER_ANONYMOUS_AS_ACCESS, /* no: access.allow_anonymous has */
    PG_LISTENER_ANONYMOUS_YES,
    PG_LISTENER_ANONYMOUS_NO,
};

/* What a block says that calls out (struct pg_protocol, `calls`), beside the keys of its frontend
 * and of its transport. */
struct pg_call_conf {
    const char *to;
    const char *transport;
    int64_t connect_timeout_ms;
    int64_t retry_ms, retry_max_ms;
};

/* One address of a `listener "name" { }` block; a block with several makes as many of these, so
 * that a reload can keep those that stay. */
struct pg_listener_conf {
    struct pg_config *config; /* that it is part of */
    const char *name;
    struct pg_strings bind; /* one: "127.0.0.1:1883", "[::]:1883", "*:1883"; port 0 picks one */
    const struct pg_transport *transport;
    const struct pg_protocol *protocol;
    size_t protocol_index;            /* in pg_config.protocols; of pg_any_protocol SIZE_MAX */
    void *transport_conf;             /* of transport->conf_size, or NULL */
    int allow_anonymous;              /* enum pg_listener_anonymous */
    struct pg_bytes topic_prefix;     /* empty: none; else it ends with '/' */
    struct pg_bytes client_id_prefix; /* what identifiers must begin with; empty: anything */
    const char *assigned_id_prefix;   /* of made-up ones; NULL, "": as the frontend has it */
    struct pg_guard_conf guard;
    /* Not NULL: this is a block that calls out, with the values of its frontend; `bind` is
     * empty. */
    const struct pg_call_conf *call;
    void *protocol_conf;
    const char *file; /* where the block stands, for errors */
    unsigned line;
};

/* Stands in a listener block for whichever frontend it turns out to be; serves nobody itself. */
extern const struct pg_protocol pg_any_protocol;

/* A frontend as assembled: its descriptor and its block's values, which one that calls has for each
 * of its blocks instead. */
struct pg_protocol_conf {
    const struct pg_protocol *protocol;
    void *conf;          /* of protocol->conf_size; NULL: it calls */
    size_t counter_base; /* of its counters in the table of counters */
};

struct pg_plugin_conf {
    const struct pg_plugin *plugin;
    void *conf;
    void *self;  /* what plugin->start gave; NULL if it has no start */
    bool judges; /* its authenticator has a say on actions; known once it is started */
};

struct pg_config {
    _Atomic unsigned refs;
    struct pg_settings settings;
    struct pg_listener_conf *listeners;
    size_t listener_count;
    struct pg_listener_conf *calls; /* those that call out */
    size_t call_count;
    struct pg_protocol_conf *protocols;
    size_t protocol_count;
    struct pg_plugin_conf *plugins;
    size_t plugin_count;
    const char *path;               /* NULL: built-in defaults */
    struct pg_config *next_retired; /* for the reaper */
    struct pg_conf_pool *pool;      /* owns every string and struct above */
};

struct pg_assembly;

/* Read and check the file; `path` NULL: the assembly's built-in text. Plugins are loaded and not
 * started. One reference, the caller's. NULL with error->text. Main thread. */
struct pg_config *pg_config_load(const struct pg_assembly *assembly, const char *path,
                                 struct pg_error *error) PG_CHECKED;
/* Have every plugin check its own block, without touching what may be running; false with
 * error->text. Main thread. */
bool pg_config_check_plugins(const struct pg_config *config, struct pg_error *error) PG_CHECKED;
/* Have every transport read what its listeners, and the blocks that call over it, name, for
 * `workers` workers; false with error->text. Main thread. */
bool pg_config_prepare_transports(const struct pg_config *config, unsigned workers,
                                  struct pg_error *error) PG_CHECKED;
/* Start every plugin, in the order of the file. On failure those that were started are stopped, and
 * error->text is set. Main thread. */
bool pg_config_start_plugins(struct pg_config *config, struct pg_error *error) PG_CHECKED;

struct pg_config *pg_config_ref(struct pg_config *config); /* any thread */
/* Any thread. With the last reference the configuration goes to the reaper, and without one it is
 * freed at once: its plugins are stopped, which is the main thread's work. */
void pg_config_unref(struct pg_config **config);
/* Set before there are other threads, or unset (NULL) when there are none any more. It is called
 * on any thread with a configuration that nobody uses, and has pg_config_free() called on the main
 * thread. */
void pg_config_set_reaper(void (*reaper)(struct pg_config *config));
void pg_config_free(struct pg_config *config);

/* The configuration as a JSON object, for `config show`: every option with its value, default,
 * type, bounds and sentence; in memory of malloc. NULL when memory is out. Any thread. */
char *pg_config_json(const struct pg_config *config);
/* The options of an assembly as the body of a manual page (mdoc). Main thread. */
void pg_config_print_options(const struct pg_assembly *assembly);

/* The rows of listener blocks (without those of the transports), and of plugin blocks. */
extern const struct pg_option pg_listener_rows[];
extern const struct pg_option pg_plugin_rows[];
extern const struct pg_option pg_call_rows[]; /* of blocks that call out */

#endif
