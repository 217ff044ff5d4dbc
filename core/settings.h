/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SETTINGS_H
#define PG_SETTINGS_H

#include "polygate.h"

/* The core's own options. The rows that fill this struct are in settings.c, one block of the
 * configuration file per group; every field's meaning, default and bounds stand there. Durations
 * are milliseconds, sizes bytes. Immutable once loaded. */
struct pg_settings {
    int64_t workers; /* 0: one per CPU */

    struct {
        int level;  /* enum pg_level */
        int format; /* PG_LOG_TEXT, PG_LOG_JSON */
    } log;

    struct {
        int64_t connections;      /* per process; 0: as many as descriptors allow */
        int64_t login_frame_size; /* longest unfinished frame before a client is admitted */
        int64_t frame_size; /* longest unfinished frame afterwards, unless the frontend says less */
        int64_t first_byte_timeout; /* from accept to the first byte */
        int64_t login_timeout;      /* from accept to admission */
        int64_t frame_timeout;      /* in which an unfinished frame has to go on; 0: any time */
        int64_t output_high;        /* queued bytes above which deliveries wait */
        int64_t output_max; /* queued bytes (answers included) at which the peer is cut off */
        int64_t linger;     /* longest time for queued bytes to leave before closing */
        int64_t clients_per_connection;
        int64_t sessions;        /* of the process, with a client or without; 0: any number */
        int64_t topic_levels;    /* most levels in a topic or filter */
        int64_t mailbox_batches; /* batches waiting at one worker above which publishers wait */
    } limits;

    struct {
        int64_t queue_messages;
        int64_t queue_bytes;
        int queue_policy;       /* enum pg_queue_policy */
        bool queue_qos_0;       /* for clients that are away, too */
        int64_t expiry_max;     /* longest life of a session without a client */
        int64_t inflight;       /* most unsettled deliveries, whatever the client grants */
        int64_t inflight_bytes; /* of their payloads; 0: any */
        bool upgrade_qos;       /* a subscription's QoS also raises that of a message */
        int64_t receipts;       /* most QoS 2 identifiers held inbound */
        int64_t subscriptions;  /* per session */
    } session;

    struct {
        int64_t messages;
        int64_t bytes;
    } retained;

    struct {
        int64_t after; /* offences within `within`; 0: no address is banned by itself */
        int64_t within;
        int64_t time; /* for which it is then banned */
        struct pg_strings exempt;
    } bans;

    struct {
        const char *path;       /* folder of the store on the disk; "": in memory alone */
        int fsync;              /* enum pg_seglog_fsync */
        int64_t fsync_interval; /* for PG_SEGLOG_INTERVAL */
        int64_t retention;
        int64_t session_messages, session_bytes; /* of one session; 0: any number */
        int64_t messages, bytes;                 /* of all together; 0: any number */
        int policy;                              /* enum pg_disk_policy */
        int64_t maps_size;
    } store;

    struct {
        int allow_anonymous; /* PG_ANONYMOUS_* */
        int otherwise;       /* PG_OTHERWISE_*: when no rule has an opinion */
    } access;

    int64_t drain_timeout; /* from SIGTERM to exit at the latest */
};

enum pg_log_format { PG_LOG_TEXT, PG_LOG_JSON };
enum pg_queue_policy { PG_QUEUE_DROP_OLDEST, PG_QUEUE_DROP_NEWEST, PG_QUEUE_DISCONNECT };
enum { PG_ANONYMOUS_AUTO, PG_ANONYMOUS_YES, PG_ANONYMOUS_NO };
enum { PG_OTHERWISE_AUTO, PG_OTHERWISE_ALLOW, PG_OTHERWISE_DENY };

/* A block of the configuration file and the rows that fill in struct pg_settings from it. */
struct pg_settings_block {
    const char *name; /* "" is the top level of the file */
    const struct pg_option *rows;
};
/* All blocks, up to name == NULL. */
const struct pg_settings_block *pg_settings_blocks(void);
/* Whether the values agree with each other; if not, error->text tells which do not, and what to
 * do. */
bool pg_settings_check(const struct pg_settings *settings, struct pg_error *error);

#endif
