/* SPDX-License-Identifier: Apache-2.0 */

/* A configuration from its file: which blocks there are follows from what is compiled in and from
 * the plugins that the file loads; each is filled in by the rows of its owner, then checked against
 * the others (listeners and blocks that call out: config_listener.c). Everything of one load lives
 * in one pool. Nothing here touches what is running.
 *
 * Loading is the main thread's; references may be taken and dropped on any. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "config.h"
#include "config_load.h"
#include "counter.h"
#include "plugin.h"
#include "pool.h"
#include "server.h"
#include "transport.h"

struct plugin_values {
    const char *path;
};

const struct pg_option pg_plugin_rows[] = {
    {.name = "path",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct plugin_values, path),
     .fallback = "",
     .reloadable = true,
     .sentence = "The plugin's file; a relative path starts at the folder of the configuration "
                 "file. Required."},
    {.name = NULL},
};

bool pg_load_no_memory(struct pg_load *load)
{
    pg_error_set(load->error, "%s: out of memory",
                 load->config && load->config->path ? load->config->path : PG_CONFIG_BUILT_IN);
    return false;
}

static void *alloc(struct pg_load *load, size_t size)
{
    void *p = pg_conf_pool_alloc(load->config->pool, size);
    if (!p)
        pg_load_no_memory(load);
    return p;
}

/* ---- plugins that the file loads ------------------------------------------------------------- */

static bool load_plugins(struct pg_load *load)
{
    const char *title, *value;
    for (size_t i = 0; pg_conf_peek(load->conf, "plugin", i, "path", &title, &value); i++) {
        char path[4096];
        struct pg_error why;
        const char *slash = load->config->path ? strrchr(load->config->path, '/') : NULL;
        int folder = value && value[0] != '/' && slash ? (int)(slash + 1 - load->config->path) : 0;
        if (!value) {
            pg_error_set(load->error,
                         "%s: plugin \"%s\": path is not given, expected the path of "
                         "the plugin's file",
                         load->config->path, title);
            return false;
        }
        if (load->loaded_count == PG_LOAD_PLUGINS_MAX) {
            pg_error_set(load->error, "%s: more than %d plugins", load->config->path,
                         PG_LOAD_PLUGINS_MAX);
            return false;
        }
        snprintf(path, sizeof(path), "%.*s%s", folder, load->config->path ? load->config->path : "",
                 value);
        const struct pg_plugin *plugin = pg_plugin_load(path, &why);
        if (!plugin) {
            pg_error_set(load->error, "%s: plugin \"%s\": %s", load->config->path, title, why.text);
            return false;
        }
        if (strcmp(plugin->name, title) != 0) {
            pg_error_set(load->error, "%s: plugin \"%s\": the file %s has the plugin \"%s\"",
                         load->config->path, title, path, plugin->name);
            return false;
        }
        load->loaded[load->loaded_count++] = plugin;
    }
    return true;
}

/* ---- kinds of blocks ------------------------------------------------------------------------- */

static bool add_kind(struct pg_load *load, const char *name, bool titled,
                     const struct pg_option *const *rows)
{
    for (size_t i = 0; i < load->kind_count; i++)
        if (strcmp(load->kinds[i].name, name) == 0) {
            pg_error_set(load->error,
                         "two parts want the block \"%s\": a plugin has a name that "
                         "is taken already",
                         name);
            return false;
        }
    if (load->kind_count == PG_LOAD_KINDS_MAX) {
        pg_error_set(load->error, "more than %d kinds of blocks", PG_LOAD_KINDS_MAX);
        return false;
    }
    load->kinds[load->kind_count++] =
        (struct pg_conf_kind){.name = name, .titled = titled, .rows = rows};
    return true;
}

/* A kind whose keys are `options` (NULL: none). */
static bool add_rows_kind(struct pg_load *load, const char *name, const struct pg_option *options)
{
    const struct pg_option **rows = alloc(load, 2 * sizeof(*rows));
    if (!rows)
        return false;
    rows[0] = options;
    return add_kind(load, name, false, rows);
}

static bool add_listener_kind(struct pg_load *load)
{
    size_t count = 0;
    while (load->assembly->transports[count])
        count++;
    const struct pg_option **rows = alloc(load, (count + 2) * sizeof(*rows));
    if (!rows)
        return false;
    rows[0] = pg_listener_rows;
    size_t n = 1;
    for (size_t i = 0; i < count; i++)
        if (load->assembly->transports[i]->options)
            rows[n++] = load->assembly->transports[i]->options;
    return add_kind(load, "listener", true, rows);
}

static bool add_plugin_kind(struct pg_load *load)
{
    const struct pg_option **rows = alloc(load, (load->loaded_count + 2) * sizeof(*rows));
    if (!rows)
        return false;
    rows[0] = pg_plugin_rows;
    size_t n = 1;
    for (size_t i = 0; i < load->loaded_count; i++)
        if (load->loaded[i]->options)
            rows[n++] = load->loaded[i]->options;
    return add_kind(load, "plugin", true, rows);
}

/* The block of a frontend's name, or, if it calls, its blocks. */
static bool add_protocol_kind(struct pg_load *load, const struct pg_protocol *protocol)
{
    if (!protocol->calls)
        return add_rows_kind(load, protocol->name, protocol->options);
    const struct pg_transport *const *transports = load->assembly->transports;
    size_t count = 0, n = 0;
    while (transports[count])
        count++;
    const struct pg_option **rows = alloc(load, (count + 3) * sizeof(*rows));
    if (!rows)
        return false;
    rows[n++] = pg_call_rows;
    if (protocol->options)
        rows[n++] = protocol->options;
    for (size_t i = 0; i < count; i++)
        if (transports[i]->call_options)
            rows[n++] = transports[i]->call_options;
    return add_kind(load, protocol->name, true, rows);
}

static bool add_kinds(struct pg_load *load)
{
    const struct pg_assembly *a = load->assembly;
    bool ok = add_listener_kind(load) && add_plugin_kind(load);
    for (const struct pg_settings_block *b = pg_settings_blocks(); ok && b->name; b++)
        ok = add_rows_kind(load, b->name, b->rows);
    for (size_t i = 0; ok && a->protocols[i]; i++)
        ok = add_protocol_kind(load, a->protocols[i]);
    for (size_t i = 0; ok && a->plugins[i]; i++)
        ok = add_rows_kind(load, a->plugins[i]->name, a->plugins[i]->options);
    for (size_t i = 0; ok && i < load->loaded_count; i++)
        if (load->loaded[i]->protocol)
            ok = add_protocol_kind(load, load->loaded[i]->protocol);
    return ok;
}

/* ---- filling in ------------------------------------------------------------------------------ */

static bool fill_settings(struct pg_load *load)
{
    struct pg_config *config = load->config;
    for (const struct pg_settings_block *b = pg_settings_blocks(); b->name; b++)
        if (!pg_conf_fill(pg_conf_block(load->conf, b->name, 0), b->rows, &config->settings,
                          config->pool, load->error))
            return false;
    struct pg_error why;
    if (pg_settings_check(&config->settings, &why))
        return true;
    pg_error_set(load->error, "%s: %s", config->path ? config->path : PG_CONFIG_BUILT_IN, why.text);
    return false;
}

void *pg_load_fill(struct pg_load *load, const struct pg_conf_block *block,
                   const struct pg_option *rows, size_t size)
{
    void *values = alloc(load, size);
    if (values && !pg_conf_fill(block, rows, values, load->config->pool, load->error))
        return NULL;
    return values;
}

void *pg_load_protocol_values(struct pg_load *load, const struct pg_protocol *protocol,
                              const struct pg_conf_block *block)
{
    struct pg_error why;
    void *values = pg_load_fill(load, block, protocol->options, protocol->conf_size);
    if (!values || !protocol->check || protocol->check(values, &why))
        return values;
    if (block)
        pg_conf_refuse(block, NULL, load->error, "%s", why.text);
    else
        pg_error_set(load->error, "the defaults of %s: %s", protocol->name, why.text);
    return NULL;
}

static bool add_protocol(struct pg_load *load, const struct pg_protocol *protocol)
{
    struct pg_config *config = load->config;
    struct pg_protocol_conf *p = &config->protocols[config->protocol_count];
    p->protocol = protocol;
    if (!protocol->calls) {
        p->conf =
            pg_load_protocol_values(load, protocol, pg_conf_block(load->conf, protocol->name, 0));
        if (!p->conf)
            return false;
    }
    p->counter_base = pg_counter_register(protocol->name, protocol->counters);
    if (p->counter_base == SIZE_MAX) {
        pg_error_set(load->error,
                     "the protocol \"%s\" was not there at start, and a reload cannot "
                     "add one: restart",
                     protocol->name);
        return false;
    }
    config->protocol_count++;
    return true;
}

static bool add_protocols(struct pg_load *load)
{
    const struct pg_protocol *const *built_in = load->assembly->protocols;
    size_t count = 0;
    while (built_in[count])
        count++;
    load->config->protocols =
        alloc(load, (count + load->loaded_count + 1) * sizeof(*load->config->protocols));
    if (!load->config->protocols)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!add_protocol(load, built_in[i]))
            return false;
    for (size_t i = 0; i < load->loaded_count; i++)
        if (load->loaded[i]->protocol && !add_protocol(load, load->loaded[i]->protocol))
            return false;
    return true;
}

/* Put a plugin in its place: they are started, and asked, in the order of their blocks. */
static bool add_plugin(struct pg_load *load, const struct pg_plugin *plugin,
                       const struct pg_conf_block *block, size_t orders[])
{
    struct pg_config *config = load->config;
    void *values = pg_load_fill(load, block, plugin->options, plugin->conf_size);
    if (!values)
        return false;
    size_t i = config->plugin_count++;
    for (; i > 0 && orders[i - 1] > block->order; i--) {
        config->plugins[i] = config->plugins[i - 1];
        orders[i] = orders[i - 1];
    }
    config->plugins[i] = (struct pg_plugin_conf){.plugin = plugin, .conf = values};
    orders[i] = block->order;
    return true;
}

static bool add_plugins(struct pg_load *load)
{
    const struct pg_plugin *const *built_in = load->assembly->plugins;
    size_t count = 0;
    while (built_in[count])
        count++;
    size_t room = count + load->loaded_count + 1;
    size_t *orders = alloc(load, room * sizeof(*orders));
    load->config->plugins = alloc(load, room * sizeof(*load->config->plugins));
    if (!load->config->plugins || !orders)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct pg_conf_block *block = pg_conf_block(load->conf, built_in[i]->name, 0);
        if (block && !add_plugin(load, built_in[i], block, orders))
            return false;
    }
    for (size_t i = 0; i < load->loaded_count; i++) {
        const struct pg_conf_block *block = pg_conf_block(load->conf, "plugin", i);
        const struct pg_option *rows[] = {pg_plugin_rows, load->loaded[i]->options, NULL};
        if (!pg_conf_only(block, rows, "this plugin", load->error) ||
            !add_plugin(load, load->loaded[i], block, orders))
            return false;
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool load_all(struct pg_load *load)
{
    return load_plugins(load) && add_kinds(load) &&
           pg_conf_parse(load->conf, load->kinds, load->kind_count, load->error) &&
           fill_settings(load) && add_protocols(load) && add_plugins(load) &&
           pg_load_listeners(load) && pg_load_calls(load);
}

struct pg_config *pg_config_load(const struct pg_assembly *assembly, const char *path,
                                 struct pg_error *error)
{
    struct pg_load load = {.assembly = assembly, .error = error};
    load.conf = path ? pg_conf_read(path, error)
                     : pg_conf_read_text(PG_CONFIG_BUILT_IN, assembly->config, error);
    if (!load.conf)
        return NULL;

    bool ok = false;
    struct pg_config *config = load.config = calloc(1, sizeof(*config));
    if (config) {
        atomic_init(&config->refs, 1);
        config->pool = pg_conf_pool_new();
        if (config->pool && path)
            config->path = pg_conf_pool_text(config->pool, path, strlen(path));
        ok = config->pool && (!path || config->path) ? load_all(&load) : pg_load_no_memory(&load);
    } else {
        pg_error_set(error, "%s: out of memory", path ? path : PG_CONFIG_BUILT_IN);
    }
    pg_conf_free(&load.conf);
    if (!ok && config)
        pg_config_free(config);
    return ok ? config : NULL;
}

static bool refuse_plugin(const struct pg_config *config, const struct pg_plugin *plugin,
                          const struct pg_error *why, struct pg_error *error)
{
    pg_error_set(error, "%s: %s: %.400s", config->path ? config->path : PG_CONFIG_BUILT_IN,
                 plugin->name, why->text);
    return false;
}

bool pg_config_check_plugins(const struct pg_config *config, struct pg_error *error)
{
    for (size_t i = 0; i < config->plugin_count; i++) {
        const struct pg_plugin_conf *p = &config->plugins[i];
        struct pg_error why;
        if (p->plugin->check && !p->plugin->check(p->conf, &why))
            return refuse_plugin(config, p->plugin, &why, error);
    }
    return true;
}

bool pg_config_prepare_transports(const struct pg_config *config, unsigned workers,
                                  struct pg_error *error)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct pg_listener_conf *l = &config->listeners[i];
        if (l->transport->prepare && !l->transport->prepare(l, workers, error))
            return false;
    }
    for (size_t i = 0; i < config->call_count; i++) {
        const struct pg_listener_conf *c = &config->calls[i];
        if (c->transport->prepare_call && !c->transport->prepare_call(c, error))
            return false;
    }
    return true;
}

static void release_transports(struct pg_config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        struct pg_listener_conf *l = &config->listeners[i];
        if (l->transport->release)
            l->transport->release(l->transport_conf);
    }
    for (size_t i = 0; i < config->call_count; i++) {
        struct pg_listener_conf *c = &config->calls[i];
        if (c->transport->release_call)
            c->transport->release_call(c->transport_conf);
    }
}

static void stop_plugins(struct pg_config *config)
{
    for (size_t i = config->plugin_count; i-- > 0;) {
        struct pg_plugin_conf *p = &config->plugins[i];
        if (p->self)
            p->plugin->stop(p->self);
        p->self = NULL;
    }
}

/* Whether the plugin, now that it runs, has a say on publications and subscriptions. */
static bool judges_actions(const struct pg_plugin_conf *p)
{
    const struct pg_authenticator *authenticator = p->plugin->authenticator;
    if (!authenticator || !authenticator->authorize)
        return false;
    return !authenticator->judges || authenticator->judges(p->self);
}

bool pg_config_start_plugins(struct pg_config *config, struct pg_error *error)
{
    if (!pg_config_check_plugins(config, error))
        return false;
    for (size_t i = 0; i < config->plugin_count; i++) {
        struct pg_plugin_conf *p = &config->plugins[i];
        struct pg_error why;
        if (p->plugin->start && !(p->self = p->plugin->start(p->conf, &why))) {
            refuse_plugin(config, p->plugin, &why, error);
            stop_plugins(config);
            return false;
        }
        p->judges = judges_actions(p);
    }
    return true;
}

/* ---- references ------------------------------------------------------------------------------ */

static void (*_Atomic reaper)(struct pg_config *config);

void pg_config_set_reaper(void (*fn)(struct pg_config *config))
{
    atomic_store(&reaper, fn);
}

struct pg_config *pg_config_ref(struct pg_config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void pg_config_unref(struct pg_config **config)
{
    struct pg_config *c = *config;
    *config = NULL;
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    void (*reap)(struct pg_config *) = atomic_load(&reaper);
    if (reap)
        reap(c);
    else
        pg_config_free(c);
}

void pg_config_free(struct pg_config *config)
{
    stop_plugins(config);
    release_transports(config);
    pg_conf_pool_free(&config->pool);
    free(config);
}
