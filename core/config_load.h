/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONFIG_LOAD_H
#define PG_CONFIG_LOAD_H

/* A configuration while it is read: between config.c (the whole) and config_listener.c (who is
 * listened to and who is called). Main thread. */

#include "conf.h"
#include "config.h"

#define PG_LOAD_KINDS_MAX   128
#define PG_LOAD_PLUGINS_MAX 32
#define PG_CONFIG_BUILT_IN  "built-in configuration" /* in place of a file's name */

/* A load under way. */
struct pg_load {
    const struct pg_assembly *assembly;
    struct pg_config *config;
    struct pg_conf *conf;
    struct pg_error *error;
    const struct pg_plugin *loaded[PG_LOAD_PLUGINS_MAX]; /* by the plugin blocks, in their order */
    size_t loaded_count;
    struct pg_conf_kind kinds[PG_LOAD_KINDS_MAX];
    size_t kind_count;
};

/* All that follow return false, or NULL, with load->error->text. */

/* Say that memory is out; false. */
bool pg_load_no_memory(struct pg_load *load);
/* Values of `size` by the rows of a block that may be absent (NULL). Lent by the pool. */
void *pg_load_fill(struct pg_load *load, const struct pg_conf_block *block,
                   const struct pg_option *rows, size_t size) PG_CHECKED;
/* The same of a frontend's block, checked by the frontend. */
void *pg_load_protocol_values(struct pg_load *load, const struct pg_protocol *protocol,
                              const struct pg_conf_block *block) PG_CHECKED;

/* config_listener.c: the listeners, then the blocks that call out, once frontends and plugins are
 * there. */
bool pg_load_listeners(struct pg_load *load) PG_CHECKED;
bool pg_load_calls(struct pg_load *load) PG_CHECKED;

#endif
