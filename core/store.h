/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_H
#define PG_STORE_H

/* Where durable sessions, their queues, retained messages and wills are kept beyond this process's
 * memory: an interface with asynchronous completion. A server without a store (server->store is
 * NULL) keeps sessions in its memory alone.
 *
 * What the core relies on:
 *
 *  - Requests of one thread are carried out in the order in which they were made, and so are those
 *    of two threads of which one told the other in between. All of them go into one sequence.
 *  - A request is completed after it, and everything before it, is safe: what the sequence holds up
 *    to some point is what a process that died comes back with, never a part of a request, never a
 *    later one without an earlier one. A page of a queue is given without that.
 *  - A message is kept once, however many sessions queue it.
 *
 * An entry of a session's queue has a number, given by the session: rising by at least one for each
 * entry. The session's worker keeps in memory only what it is about to deliver and fetches the rest
 * by numbers. An entry lives from `enqueue` to `settle`.
 *
 * QoS 2, so that nothing comes twice over a crash. Outbound: `send` (this entry goes out with this
 * packet identifier) is awaited before the message is sent, `received` (the peer has it) before it
 * is released, and `settle` ends it. For QoS 1 `send` is not awaited: it is told so that what comes
 * again does so under the same identifier. Inbound: `receive` keeps the identifier together with
 * the message and is awaited before the message is routed and acknowledged; `routed` says that
 * every session has it; `release` forgets the identifier and is awaited before the peer may use it
 * anew. A message that was received and not routed when the process died is given back by
 * `restore`, together with the sessions that had got it. Since it is safe, its `enqueue` does not
 * fail for want of a disk.
 *
 * Any worker may call, none is ever blocked. `done` is called exactly once for each request that
 * was given one; NULL: nobody waits. */

#include "polygate.h"
#include "worker.h"

struct pg_store;
struct pg_store_done;
struct pg_will_record;

/* Somebody who waits. The store calls `fn` on its own thread: it must be short, and may neither
 * block nor call the store. One object may wait for many requests at a time. */
struct pg_store_done {
    void (*fn)(struct pg_store_done *done, enum pg_reason result);
};

/* A durable session in the store. Made by session_open() or restore(); given back by
 * session_drop(). */
struct pg_store_session;

/* What is kept of a session itself. All lent. */
struct pg_session_record {
    struct pg_bytes client_id;
    uint32_t expiry_s;
    uint32_t detached_wall_s; /* when its last client ended, Unix time; 0: a client is there */
};

/* One entry of a session's queue. */
struct pg_store_entry {
    uint64_t number;
    struct pg_msg *msg;    /* a reference: taken by the store in enqueue(), given by fetch() */
    struct pg_bytes share; /* the filter with $share/ through which it came, or empty; lent */
    const uint32_t *ids;   /* subscription identifiers; lent */
    uint16_t id_count;
    uint8_t qos;
    bool retain : 1;
    bool direct : 1; /* sent to this client, not by a subscription */
};

/* A page of a session's queue: in the order of numbers. Entries that were settled, or have expired,
 * are left out. */
struct pg_store_page {
    uint64_t next; /* to ask for next; nothing that was enqueued before the request is behind it
                      when `at_end` */
    bool at_end;
    uint32_t count;
    struct pg_store_entry *entries; /* the page's, with everything lent in them */
};
/* Free a page, which is one allocation, with the references that its entries have. Nulls the
 * pointer; NULL is fine. */
void pg_store_page_free(struct pg_store_page **page);

/* Runs on the store's thread with a page that is given, or NULL and the reason. */
struct pg_store_fetch {
    void (*fn)(struct pg_store_fetch *fetch, struct pg_store_page *page, enum pg_reason result);
};

/* An outbound delivery that was under way. */
struct pg_store_out {
    uint64_t number;
    uint16_t packet_id;
    bool received; /* the peer has the message; only its release is left */
};

/* What a store gives back at start. Everything is lent for the call. A callback that returns false
 * (memory is out) ends the restoring with a failure. Sessions come with subscriptions and state in
 * one call; unrouted messages last. On the caller of restore(). A callback may be NULL: such things
 * are not wanted. */
struct pg_restored_session {
    struct pg_session_record record;
    struct pg_store_session *handle; /* given */
    const struct pg_subscription *subs;
    size_t sub_count;
    const struct pg_store_out *outs; /* in order of sending */
    size_t out_count;
    const uint16_t *receipts; /* inbound identifiers that are held */
    size_t receipt_count;
    uint64_t first_number; /* of the oldest entry; next_number when there is none */
    uint64_t next_number;  /* to give */
};
struct pg_store_restorer {
    bool (*session)(struct pg_store_restorer *restorer, const struct pg_restored_session *session);
    bool (*retained)(struct pg_store_restorer *restorer, struct pg_msg *msg);
    bool (*will)(struct pg_store_restorer *restorer, const struct pg_will_record *will);
    bool (*fact)(struct pg_store_restorer *restorer, struct pg_bytes space, struct pg_bytes key,
                 struct pg_bytes value, uint32_t expires_wall_s);
    /* Received with QoS 2, not known to be with everybody: route it to all but those. */
    bool (*unrouted)(struct pg_store_restorer *restorer, struct pg_msg *msg,
                     const struct pg_bytes *client_ids, size_t count, const struct pg_bytes *shares,
                     size_t share_count);
};

/* A will that waits for its client to end, or, once it has, for its delay. All lent. */
struct pg_will_record {
    struct pg_bytes client_id;
    struct pg_bytes username; /* of the client, for the access rules */
    struct pg_msg *msg;       /* without expiry */
    bool expires;
    uint32_t expiry_s;
    uint32_t delay_s;
    uint32_t due_wall_s; /* when it is to be sent; 0: the client is there */
};

struct pg_store_stats {
    uint64_t sessions, queued, queued_bytes, retained;
    uint64_t disk_bytes;  /* of all files */
    uint64_t index_bytes; /* memory of the queues' index */
    uint64_t commits, written_bytes, message_bytes;
    uint64_t dropped, expired; /* entries given up because of a quota, or of their time */
    uint64_t unreadable;       /* entries left out of a page because the disk does not give them */
    uint64_t backlog, backlog_bytes; /* requests that wait for the disk, and their memory */
    uint64_t refused;                /* requests refused because too many wait */
    uint64_t stalls, slowest_ms; /* times that the disk kept requests waiting for over a second, and
                                    the longest time */
    enum pg_reason health;       /* PG_OK, or why nothing is kept at present */
    char detail[160];            /* a sentence for it; empty when all is well */
};

struct pg_store_ops {
    const char *name;

    /* Read what there is. false with error->text. Main thread, once, before anything else, and
     * before any listener is open. */
    bool (*restore)(struct pg_store *store, struct pg_store_restorer *restorer,
                    struct pg_error *error);

    /* A handle for a new session, of which nothing is kept before session_put(). NULL: out of
     * memory. */
    struct pg_store_session *(*session_open)(struct pg_store *store, struct pg_bytes client_id);
    void (*session_put)(struct pg_store *store, struct pg_store_session *session,
                        const struct pg_session_record *record, struct pg_store_done *done);
    /* With its subscriptions, queue and receipts. The handle is given back. */
    void (*session_drop)(struct pg_store *store, struct pg_store_session *session,
                         struct pg_store_done *done);
    void (*subscription_put)(struct pg_store *store, struct pg_store_session *session,
                             const struct pg_subscription *sub, struct pg_store_done *done);
    void (*subscription_drop)(struct pg_store *store, struct pg_store_session *session,
                              struct pg_bytes filter, struct pg_store_done *done);

    /* Result: PG_OK; PG_QUEUE_FULL when the session's or the total quota is used up and the policy
     * is to reject; PG_STORE_FAILED. What the policy drops is counted and logged by the store, with
     * the client. */
    void (*enqueue)(struct pg_store *store, struct pg_store_session *session,
                    const struct pg_store_entry *entry, struct pg_store_done *done);
    /* The session has done with that entry. */
    void (*settle)(struct pg_store *store, struct pg_store_session *session, uint64_t number);
    /* Entries from `number` on, at most `count` and about `bytes`. */
    void (*fetch)(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                  uint32_t count, size_t bytes, struct pg_store_fetch *fetch);

    void (*send)(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                 uint16_t packet_id, struct pg_store_done *done);
    void (*received)(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                     struct pg_store_done *done);
    void (*receive)(struct pg_store *store, struct pg_store_session *session, uint16_t packet_id,
                    struct pg_msg *msg, struct pg_store_done *done);
    void (*routed)(struct pg_store *store, struct pg_msg *msg);
    void (*release)(struct pg_store *store, struct pg_store_session *session, uint16_t packet_id,
                    struct pg_store_done *done);

    /* An empty payload clears the topic; a reference is taken. */
    void (*retain)(struct pg_store *store, struct pg_msg *msg, struct pg_store_done *done);
    void (*will_put)(struct pg_store *store, const struct pg_will_record *will,
                     struct pg_store_done *done);
    void (*will_drop)(struct pg_store *store, struct pg_bytes client_id);
    /* Small facts by name, such as tokens and bans: `space` is whose they are. An empty value
     * forgets. expires_wall_s 0: never. */
    void (*fact_put)(struct pg_store *store, struct pg_bytes space, struct pg_bytes key,
                     struct pg_bytes value, uint32_t expires_wall_s, struct pg_store_done *done);

    /* Any thread. */
    void (*stats)(struct pg_store *store, struct pg_store_stats *out);
    /* Wait until everything that was asked so far is completed. Main thread, when no worker's
     * thread runs any more. */
    void (*drain)(struct pg_store *store);
    /* Finish what was asked, then free. Main thread, when no worker runs any more. */
    void (*free)(struct pg_store *store);
};

struct pg_store {
    const struct pg_store_ops *ops;
    /* More waits for the disk than is good: whoever brings messages should be held off. Set and
     * cleared by the store; when it is cleared, `eased` is called (if it is set) on whatever thread
     * that happens, under the terms of pg_store_done. */
    _Atomic bool busy;
    void (*eased)(void *arg); /* set by the store's owner before restore() */
    void *eased_arg;
};

/* NULL: no. Any thread. */
static inline bool pg_store_busy(const struct pg_store *store)
{
    return store && atomic_load_explicit(&store->busy, memory_order_relaxed);
}

/* Free by ops->free and null the pointer; NULL is fine. */
static inline void pg_store_free(struct pg_store **store)
{
    if (*store)
        (*store)->ops->free(*store);
    *store = NULL;
}

#endif
