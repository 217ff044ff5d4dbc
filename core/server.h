/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SERVER_H
#define PG_SERVER_H

/* What all workers share, and the life of the process: assemble, start, reload, drain, stop. */

#include "config.h"
#include "match_cache.h"
#include "polygate.h"
#include "worker.h"

struct pg_transport;

/* The parts that core/main.c names: everything compiled in. Arrays end with NULL. */
struct pg_assembly {
    const struct pg_transport *const *transports;
    const struct pg_protocol *const *protocols;
    const struct pg_plugin *const *plugins;
    const char *config; /* the configuration when no file is given, as a file's text; addresses of
                           ::1 are left out where there is no IPv6 */
};

struct pg_server {
    const struct pg_assembly *assembly;
    _Atomic(struct pg_config *) config; /* the current one; replaced by the main thread at reload */
    unsigned worker_count;
    struct pg_worker *workers[PG_WORKERS_MAX];
    struct pg_subindex *subindex;
    struct pg_match_changes changes; /* of it */
    struct pg_retained *retained;
    struct pg_registry *registry;
    struct pg_store *store;
    int64_t started_ms;          /* pg_now_ms() */
    _Atomic int64_t connections; /* open now, in the process */
    _Atomic bool draining;
};

/* Assemble and run until SIGTERM or SIGINT; the process's exit code. `config_path` NULL: built-in
 * defaults. Main thread. */
int pg_server_run(const struct pg_assembly *assembly, const char *config_path);

#endif
