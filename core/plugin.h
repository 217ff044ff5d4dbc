/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_PLUGIN_H
#define PG_PLUGIN_H

/* Loadable plugins: files with the symbol `pg_plugin_descriptor` (a struct pg_plugin). */

#include "polygate.h"

/* Load the file, or find it among those loaded before. Its ABI number is compared before anything
 * else of it is looked at. A file stays loaded as long as the process: connections, messages and
 * counters point into it; a file replaced on disk is therefore used after a restart only. NULL
 * with error->text (file, what was wanted, what was found). Main thread. */
const struct pg_plugin *pg_plugin_load(const char *path, struct pg_error *error) PG_CHECKED;

#endif
