/* SPDX-License-Identifier: Apache-2.0 */

/* From the block `store` of the configuration to a store. Main thread, at start. */

#include "store_open.h"

#include "store_disk.h"

bool pg_store_open(const struct pg_settings *settings, struct pg_store **store,
                   struct pg_error *error)
{
    *store = NULL;
    if (settings->store.path[0] == '\0')
        return true;
    const struct pg_store_disk_options options = {
        .dir = settings->store.path,
        .fsync = (enum pg_seglog_fsync)settings->store.fsync,
        .interval_ms = settings->store.fsync_interval,
        .map_bytes = (size_t)settings->store.maps_size,
        .retention_s = (uint32_t)(settings->store.retention / 1000),
        .session_count = (uint64_t)settings->store.session_messages,
        .session_bytes = (uint64_t)settings->store.session_bytes,
        .total_count = (uint64_t)settings->store.messages,
        .total_bytes = (uint64_t)settings->store.bytes,
        .policy = (enum pg_disk_policy)settings->store.policy,
    };
    struct pg_error why;
    *store = pg_store_disk_open(&options, &why);
    if (!*store)
        pg_error_set(error, "store.path: %s", why.text);
    return *store != NULL;
}
