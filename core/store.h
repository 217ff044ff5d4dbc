/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_H
#define PG_STORE_H

/* Where sessions, their queued messages and retained messages are kept beyond this process's
 * memory: an interface with asynchronous completion. The store in memory keeps nothing further
 * and answers at once; a durable one answers PG_PENDING and later runs the completion, after
 * whatever it was asked to keep is safe. Acknowledgements to publishers wait for that. */

#include "polygate.h"
#include "worker.h"

struct pg_store;
struct pg_store_done;

/* A question that is out. The asker embeds it; the store fills in `result` and posts the task to
 * `worker`, where `fn` runs. */
struct pg_store_done {
    struct pg_task task; /* first */
    struct pg_worker *worker;
    void (*fn)(struct pg_store_done *done, enum pg_reason result);
    enum pg_reason result;
};

/* What a store keeps of a session. All lent. */
struct pg_session_record {
    struct pg_bytes client_id;
    uint32_t expiry_s;
    bool attached; /* a client is there: the expiry has not begun */
};

/* Each returns PG_OK (kept), a refusal, or PG_PENDING and then completes `done` exactly once. With
 * `done` NULL nobody waits. On any worker; none may block. */
struct pg_store_ops {
    const char *name;
    bool waits; /* answers may be PG_PENDING: publishers' tickets are needed */
    enum pg_reason (*session_put)(struct pg_store *store, const struct pg_session_record *record,
                                  struct pg_store_done *done);
    enum pg_reason (*session_drop)(struct pg_store *store, struct pg_bytes client_id,
                                   struct pg_store_done *done);
    enum pg_reason (*subscription_put)(struct pg_store *store, struct pg_bytes client_id,
                                       const struct pg_subscription *sub,
                                       struct pg_store_done *done);
    enum pg_reason (*subscription_drop)(struct pg_store *store, struct pg_bytes client_id,
                                        struct pg_bytes filter, struct pg_store_done *done);
    /* A QoS 1 or 2 message is queued for a session that outlives its client; `msg` is shared. */
    enum pg_reason (*enqueue)(struct pg_store *store, struct pg_bytes client_id, struct pg_msg *msg,
                              struct pg_store_done *done);
    /* The session has done with that message. */
    void (*settle)(struct pg_store *store, struct pg_bytes client_id, uint64_t msg_id);
    /* An empty payload clears the topic; `msg` is shared. */
    enum pg_reason (*retain)(struct pg_store *store, struct pg_msg *msg,
                             struct pg_store_done *done);
    void (*free)(struct pg_store *store);
};

struct pg_store {
    const struct pg_store_ops *ops;
};

/* The store that keeps nothing beyond the process. NULL when memory is out. */
struct pg_store *pg_store_memory_new(void);
void pg_store_free(struct pg_store **store);
/* Complete a pending question: any thread. */
void pg_store_complete(struct pg_store_done *done, enum pg_reason result);

#endif
