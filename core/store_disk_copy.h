/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_DISK_COPY_H
#define PG_STORE_DISK_COPY_H

/* All of an embedded store that no process uses, out of it and into a new one: for tools.
 * Everything runs on the caller's thread, and blocks. Errors are false with error->text. */

#include "store_disk.h"

/* An entry of a session's queue, for the message that it is an entry of. */
struct pg_store_queued {
    struct pg_bytes client_id;   /* lent */
    struct pg_store_entry entry; /* without the message; all else lent */
    uint32_t expires_wall_s;     /* Unix time */
    bool sent;                   /* to its client, with `packet_id`: */
    bool received;               /* whose receiver has it; only the release is left */
    uint16_t packet_id;
    uint64_t order; /* rises with each that was sent */
};

/* A message of the log with all its entries. One that was received with QoS 2 and is perhaps not
 * with everybody has `receiver`, the client from whom it came, and the identifier. All lent. */
struct pg_store_message {
    struct pg_msg *msg;
    const struct pg_store_queued *entries;
    size_t count;
    struct pg_bytes receiver; /* absent: none */
    uint16_t packet_id;
};

/* As struct pg_store_restorer, without `unrouted`; messages come last, in the order in which they
 * lie in the log. A callback that returns false ends it; error->text is then its own. */
struct pg_store_exporter {
    struct pg_store_restorer base; /* first */
    bool (*message)(struct pg_store_exporter *exporter, const struct pg_store_message *message);
};

/* Opens the store as a gateway does: a torn tail is cut off, and an older version is upgraded.
 * `stats` may be NULL; with an exporter of no callbacks it is all that there is. */
PG_CHECKED bool pg_store_disk_export(const char *dir, struct pg_store_exporter *exporter,
                                     struct pg_store_stats *stats, struct pg_error *error);

struct pg_store_import;

/* A new store in `dir`, in which there is none, and which is made if its parent exists. NULL with
 * error->text; then *began tells whether a part of it may have been made, which the caller
 * removes. */
struct pg_store_import *pg_store_disk_import(const char *dir, bool *began, struct pg_error *error);
/* Sessions first: with record, subscriptions, and receipts of messages that everybody has; a
 * receipt whose message comes with pg_store_import_message() may be among them. */
PG_CHECKED bool pg_store_import_session(struct pg_store_import *import,
                                        const struct pg_restored_session *session,
                                        struct pg_error *error);
PG_CHECKED bool pg_store_import_retained(struct pg_store_import *import, struct pg_msg *msg,
                                         struct pg_error *error);
PG_CHECKED bool pg_store_import_will(struct pg_store_import *import,
                                     const struct pg_will_record *will, struct pg_error *error);
PG_CHECKED bool pg_store_import_fact(struct pg_store_import *import, struct pg_bytes space,
                                     struct pg_bytes key, struct pg_bytes value,
                                     uint32_t expires_wall_s, struct pg_error *error);
/* Entries of a session may come in any order, each number once. Nothing else comes after the first
 * message. */
PG_CHECKED bool pg_store_import_message(struct pg_store_import *import,
                                        const struct pg_store_message *message,
                                        struct pg_error *error);
/* Make it durable, and free. Nulls the pointer; NULL is fine. Without `keep` (something failed) the
 * store is incomplete: the caller removes it. */
PG_CHECKED bool pg_store_import_end(struct pg_store_import **import, bool keep,
                                    struct pg_error *error);

/* The name of a protocol that lives as long as the thread, for struct pg_msg_spec; "" when there
 * are more of them than any gateway has. */
const char *pg_store_protocol_name(struct pg_bytes name);

/* Whether the log in the folder of a store belongs to its maps; *differs. With `accept` it does
 * from now on: for an operator who gives up the queues. */
PG_CHECKED bool pg_store_disk_pair(const char *dir, bool accept, bool *differs,
                                   struct pg_error *error);

#endif
