/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SESSION_H
#define PG_SESSION_H

/* A session: what outlives a client. Subscriptions, the queue of deliveries, those that are out and
 * not settled, the will, the expiry.
 *
 *   SESSION_JOINING --all handed over--> SESSION_LIVE --another worker asks--> SESSION_LEAVING
 *          |                                  |                                      |
 *    client gone, nothing to keep     expiry, clean start                 everything handed over
 *          +-------------------------------> freed <---------------------------------+
 *
 * Everything here runs on the session's worker. */

#include "polygate.h"
#include "retained.h"
#include "store.h"
#include "subindex.h"

struct pg_move;
struct pg_session;
struct pg_worker;
struct queue_chunk;

enum pg_session_state {
    SESSION_JOINING, /* waits for what a former owner hands over; deliveries are held apart */
    SESSION_LIVE,    /* in the registry, with a client or waiting for one */
    SESSION_LEAVING, /* asked for by another worker; has no client; still takes deliveries */
};

/* One subscription of a session, also listed with its node in the worker's router part. Its size
 * matters: most clients have one. */
struct pg_sub {
    struct pg_session *session; /* whose it is */
    uint32_t node_generation;
    uint32_t place; /* index in the node's list of members */
    uint64_t node_id : 26;
    uint64_t id : 28; /* subscription identifier, 0 none */
    uint64_t qos : 2;
    bool no_local : 1;
    bool retain_as_published : 1;
    bool shared : 1;
    bool internal : 1;
    bool counted : 1; /* shared: its session has a client, and the index knows */
};
_Static_assert(sizeof(struct pg_sub) == 24, "a subscription is small");
_Static_assert(PG_NODE_IDS <= UINT64_C(1) << 26, "an id fits");

static inline pg_node_ref pg_sub_node(const struct pg_sub *sub)
{
    return (pg_node_ref)sub->node_generation << 32 | sub->node_id;
}

/* One delivery: queued or out. */
struct pg_entry {
    struct pg_msg *msg; /* holds a reference */
    pg_node_ref share;  /* shared subscription through which it came, or PG_NODE_NONE */
    uint32_t *many_ids; /* more than one subscription identifier: [0] is their number */
    uint64_t number;    /* in the store's queue of this session; 0: it is not there */
    uint32_t one_id;    /* the only subscription identifier, or 0 */
    uint8_t qos;
    uint8_t tries; /* as in struct pg_delivery */
    bool retain : 1;
    bool direct : 1; /* sent to this client, not by a subscription */
};

enum pg_out_state {
    OUT_FREE,
    OUT_ABSENT,    /* sent by a former process; its message has not been read from the store yet */
    OUT_SENDING,   /* QoS 2: not handed out before the store knows that it goes out */
    OUT_SENT,      /* the client may have it */
    OUT_RECEIVING, /* QoS 2: not released before the store knows that the client has it */
    OUT_RECEIVED,  /* QoS 2: only the release is left */
};

/* A delivery with an identifier, until it is settled. */
struct pg_out {
    struct pg_entry entry; /* entry.msg is NULL when absent, and once it was received */
    uint32_t order;        /* of handing out, for resending in order */
    uint16_t id;
    uint8_t state;   /* enum pg_out_state */
    bool handed : 1; /* it, or once received its release, was handed out */
    bool waits : 1;  /* ... but is yet to be on this connection */
};

/* A delivery that came while the session was joining: told apart by where it came from. */
struct pg_held {
    struct pg_entry entry;
    uint64_t seq;
    struct pg_ticket *ticket; /* waits for the store, with a hold; or NULL */
    unsigned from;            /* worker; PG_HELD_ALWAYS: it cannot have come twice */
};
#define PG_HELD_ALWAYS UINT32_MAX

/* What is published when the client ends without a goodbye. */
struct pg_will {
    struct pg_timer timer;      /* of its delay; first */
    struct pg_session *session; /* while the timer runs */
    struct pg_will *next;       /* of those that pg_wills_drain() has found */
    struct pg_msg *msg;         /* without expiry */
    bool kept;                  /* the store has it */
    bool expires;
    uint32_t expiry_s;
    uint32_t delay_s;
    const char *protocol;
    struct pg_bytes username; /* of the client, for the access rules; in `text` */
    uint8_t text[];
};

/* A retained walk of a new subscription, taken a few messages at a time. */
struct pg_session_walk {
    struct pg_session_walk *next;
    struct pg_retained_walk *walk;
    uint32_t id;
    uint8_t qos;
    bool no_local;
};

/* What a session has only while messages flow: made by the first one, given back when nothing is
 * queued, out, or half received. A worker keeps some for reuse. */
struct pg_traffic {
    /* What each fan-out touches comes first, and is one cache line. */
    struct pg_session *next_ready; /* on the worker's ready list */
    uint64_t stamp;                /* of the latest fan-out */
    /* What it put in the queue, for more of its matches to join; or NULL. */
    struct pg_entry *stamped;
    struct queue_chunk *head, *tail;
    size_t queue_bytes;
    uint32_t queue_count;

    uint32_t lent_id;
    struct pg_msg *lent; /* the QoS 0 message handed out last, with its identifiers */
    uint32_t *lent_ids;

    struct pg_out *outs; /* slot id & (size - 1) */
    uint32_t out_size, out_count, out_order;
    size_t out_bytes;       /* payloads of those that are out and not received */
    uint32_t absent_count;  /* OUT_ABSENT */
    uint32_t waiting_count; /* `waits` */
    uint16_t *due; /* identifiers to hand out on this connection before the queue, in order */
    uint32_t due_at, due_count, due_size;

    uint16_t *receipts; /* inbound QoS 2 identifiers that are held; open addressing */
    uint32_t receipt_count, receipt_size;

    struct pg_session_walk *walks;
    struct pg_traffic *next; /* while kept for reuse */

    /* Of a session that is kept: what the fan-out that is under way has for it. It goes to the
     * store when the fan-out is done and no more matches can join it. */
    struct pg_entry fresh;
    struct pg_ticket *fresh_ticket;
    struct pg_session *next_fresh; /* the worker's others with one */
    bool has_fresh;

    struct pg_held *held; /* while joining */
    uint32_t held_count, held_size;
};

/* What a session has that is kept in the store (session_store.c). Entries from read_number to below
 * next_number are there alone; those before are settled, out, or in the queue in memory. */
struct pg_kept {
    struct pg_store_session *handle;
    uint64_t next_number; /* for the next entry, from 1 */
    uint64_t read_number;
    uint64_t checked_from;          /* entries before this one may no longer be wanted */
    struct pg_session_fetch *fetch; /* a page that was asked for, or NULL */
    uint64_t absent_upto;           /* entries behind this one were not sent by a former process */
    uint64_t *settled; /* entries from read_number on that were settled before they were read */
    uint32_t settled_count, settled_size;
    struct pg_session_step *steps; /* of QoS 2, that the store has not answered */
};

/* What a session has only while it waits for a client. */
struct pg_absence {
    struct pg_timer timer; /* of the session's expiry; first */
    struct pg_session *session;
    int64_t since_wall_ms; /* when its last client ended */
};

/* The subscriptions of a session that has more than one: open addressing by filter. */
struct pg_sub_table {
    uint32_t count, size; /* a power of two */
    struct pg_sub *slots[];
};

/* Its size matters: it exists once per client, also of those that are silent. What only some
 * sessions need, or only at times, hangs on a pointer. */
struct pg_session {
    uint8_t state;     /* enum pg_session_state */
    bool is_ready : 1; /* on the worker's ready list; then `traffic` is there */
    bool has_table : 1;
    uint16_t next_id; /* of deliveries */
    uint32_t expiry_s;
    struct pg_worker *worker; /* the owner, for life: takeover.c hands over what is in it */
    struct pg_client *client; /* attached (LIVE) or to be (JOINING); NULL: none */

    union {
        struct pg_sub *one; /* the only one, or NULL; with `has_table`, those in the table */
        struct pg_sub_table *table;
    } subs;

    struct pg_kept *kept;       /* NULL: in memory alone */
    struct pg_traffic *traffic; /* NULL while nothing flows */
    struct pg_will *will;
    union {
        struct pg_absence *absence; /* LIVE: NULL while a client is attached, or on its way */
        struct pg_move *waiting;    /* JOINING, LEAVING: others that ask for it meanwhile */
    };

    uint16_t window;
    uint16_t id_len;
    uint8_t id[];
};
_Static_assert(offsetof(struct pg_session, id) <= 68, "a session is small");

/* Make a joining session, which is not in the registry. NULL: out of memory. */
struct pg_session *pg_session_new(struct pg_worker *worker, struct pg_bytes client_id);
/* Free a session with everything in it: subscriptions are taken from the index, shared deliveries
 * that nobody had yet go to other members. It must not be in the registry (or the process ends). */
void pg_session_free(struct pg_session **session);
/* A leaving session whose owner is done with it, to be adopted by another worker. What is left then
 * comes back to its worker to be freed. */
void pg_session_release(struct pg_session *session);
void pg_session_free_shell(struct pg_session **session);
/* End a live session: out of the registry and the store, then freed. */
void pg_session_destroy(struct pg_session *session, enum pg_reason reason);

static inline struct pg_bytes pg_session_id(const struct pg_session *session)
{
    return (struct pg_bytes){.data = session->id, .len = session->id_len};
}
/* The owner's number: under the registry's lock, or on the owner's thread. */
unsigned pg_session_owner(const struct pg_session *session);

/* How many messages wait in its queue, and how many deliveries are out. */
static inline uint32_t pg_session_queued(const struct pg_session *session)
{
    return session->traffic ? session->traffic->queue_count : 0;
}
static inline uint32_t pg_session_outstanding(const struct pg_session *session)
{
    return session->traffic ? session->traffic->out_count : 0;
}

/* ---- the store (session_store.c) ---- */

/* Whether the server has a store and the session outlives its client. */
bool pg_session_wants_store(const struct pg_session *session);
/* Have it kept from now on, if it wants the store. false: it does not, or memory is out. */
bool pg_session_keep(struct pg_session *session);
/* Its life was made longer, and it is kept with its subscriptions if it is not: what waits and is
 * out already stays in memory. false: memory is out. */
bool pg_session_keep_from_now(struct pg_session *session);
/* It ends with its client after all. If nothing has come for it so far, the store forgets it at
 * once. */
void pg_session_keep_no_more(struct pg_session *session);
/* It has been kept: from the store, with its queue's numbers. false: memory is out. */
bool pg_session_keep_restored(struct pg_session *session, struct pg_store_session *handle,
                              uint64_t first_number, uint64_t next_number);
/* Tell the store how the session stands; the ticket (or NULL) waits. It must be kept. */
void pg_session_put(struct pg_session *session, struct pg_ticket *ticket);
/* It is no longer kept; the handle, for session_drop(). NULL: it was not. */
struct pg_store_session *pg_session_let_go(struct pg_session *session);
/* Fan-outs are complete: what they had for sessions that are kept goes to the store. */
void pg_sessions_keep_fresh(struct pg_worker *worker);

/* What is to be delivered, and how it came. */
struct pg_offer {
    struct pg_msg *msg;             /* a reference is taken if it is queued */
    uint32_t refs;                  /* out of these, as long as there are some */
    const struct pg_sub *sub;       /* NULL: P2P */
    uint64_t stamp;                 /* of this fan-out: overlapping subscriptions are merged */
    uint64_t seq;                   /* of the publishing worker */
    unsigned from;                  /* that worker, or PG_HELD_ALWAYS */
    struct pg_ticket *ticket;       /* the publisher waits for the store; NULL: it does not */
    uint8_t tries;                  /* as in struct pg_delivery */
    const struct pg_session *avoid; /* has returned it: another member is to have it, or NULL */
};
/* Queue one delivery. PG_OK, PG_NO_SUBSCRIBERS when this session is not to have it (its own with
 * no local, QoS 0 while away), PG_QUEUE_FULL, PG_NO_MEMORY, PG_STORE_FAILED. */
enum pg_reason pg_session_offer(struct pg_session *session, struct pg_offer *offer);
/* Append to the queue what another session object held. The entry is taken. */
enum pg_reason pg_session_push(struct pg_session *session, struct pg_entry *entry);
bool pg_session_pop(struct pg_session *session, struct pg_entry *out);
void pg_entry_clear(struct pg_entry *entry);
/* Drop an entry for a reason: counted and noted. */
void pg_session_drop(struct pg_session *session, struct pg_entry *entry, enum pg_reason reason);

/* A subscription ended because it is no longer allowed: drop what waits, or would be sent again,
 * and came by none of those that are left. */
void pg_session_drop_unwanted(struct pg_session *session, enum pg_reason reason);

/* A client is attached from now on: what is out is due again, in order. */
void pg_session_attach(struct pg_session *session, struct pg_client *client, uint32_t window);
/* The client takes so many deliveries at a time, as far as the configuration allows. */
void pg_session_set_window(struct pg_session *session, uint32_t window);
/* It waits for a client, since `since_wall_ms` (Unix time), at most for its expiry; then `expired`
 * is called with the timer of its absence. false: out of memory, and it cannot. */
bool pg_session_begin_absence(struct pg_session *session, int64_t since_wall_ms,
                              void (*expired)(struct pg_timer *timer));
/* It is to have a client again, or ends. */
void pg_session_end_absence(struct pg_session *session);
/* The client ends: what it was lent, and what was planned for it. */
void pg_session_forget_client(struct pg_session *session);
/* Deliver at the end of this turn, if a client is attached and there is something. */
void pg_session_make_ready(struct pg_session *session);
/* Send the retained messages that match a new subscription, as room permits. */
void pg_session_walk_retained(struct pg_session *session, const struct pg_sub *sub,
                              struct pg_bytes plain_filter);
/* Move queue, deliveries, receipts and walks of `from` (no longer entered anywhere) into the
 * session `to`, which is still joining, then what `to` held meanwhile, unless `seen` says that
 * `from` had it. */
void pg_session_adopt(struct pg_session *to, struct pg_session *from, const uint64_t *seen);

#endif
