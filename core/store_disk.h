/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_DISK_H
#define PG_STORE_DISK_H

#include "segment_log.h"
#include "store.h"

/* What happens to a message for a session whose quota, or that of all, is used up. */
enum pg_disk_policy {
    PG_DISK_DROP_OLDEST, /* the session's oldest entries make room */
    PG_DISK_DROP_NEWEST, /* the new one is left out, and its publisher does not learn of it */
    PG_DISK_REJECT,      /* the new one is refused with PG_QUEUE_FULL */
};

/* 0 in a quota: none. */
struct pg_store_disk_options {
    const char *dir; /* made when its parent exists; lent */
    enum pg_seglog_fsync fsync;
    int64_t interval_ms;    /* for PG_SEGLOG_INTERVAL */
    uint32_t segment_bytes; /* 0: PG_SEGLOG_SEGMENT_BYTES */
    size_t map_bytes;       /* most that sessions, retained messages and facts may take */
    uint32_t retention_s;   /* entries live no longer, whatever their message says */
    uint64_t session_count, session_bytes; /* quotas of one session */
    uint64_t total_count, total_bytes;     /* quotas of all together */
    enum pg_disk_policy policy;
    size_t backlog_bytes; /* memory of requests that wait for the disk; 0: 64 MiB */
};

/* The embedded store in a directory (store.h has its contract). NULL with error->text: no memory,
 * or the directory cannot be used. Its thread runs from restore() on. Main thread. */
struct pg_store *pg_store_disk_open(const struct pg_store_disk_options *options,
                                    struct pg_error *error);

#endif
