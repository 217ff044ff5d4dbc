/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_DISK_PARTS_H
#define PG_STORE_DISK_PARTS_H

/* What the files of the embedded store share. Everything here belongs to one thread at a time: the
 * main thread until restore() has come back, the store's own afterwards.
 *
 *   store_disk.c         the operations, the mailbox, the thread
 *   store_disk_ask.c     requests
 *   store_disk_engine.c  a group of requests: maps, one batch, index, answers
 *   store_disk_changes.c a group's changes of the maps, and those that are owed
 *   store_disk_fetch.c   pages of a queue, messages out of the log
 *   store_disk_index.c   the queues' index in memory; applying the records of a batch
 *   store_disk_record.c  bytes of messages and records
 *   store_disk_recover.c what is given back at start
 *   store_disk_map.c     LMDB: sessions, subscriptions, retained messages, wills, facts
 *   store_disk_reclaim.c expiry, and giving back the log's oldest segments
 *   store_disk_copy.c    all of it out of a store and into a new one, for tools */

#include <lmdb.h>

#include "store_disk.h"

/* ---- bytes (store_disk_record.c) ------------------------------------------------------------ */

/* Grows as it is written to; once memory is out, `failed` stays set and nothing is added. */
struct pg_disk_buffer {
    uint8_t *data;
    size_t len, cap;
    bool failed;
};
void pg_disk_put_u8(struct pg_disk_buffer *to, uint8_t value);
void pg_disk_put_u16(struct pg_disk_buffer *to, uint16_t value);
void pg_disk_put_u32(struct pg_disk_buffer *to, uint32_t value);
void pg_disk_put_u64(struct pg_disk_buffer *to, uint64_t value);
void pg_disk_put_raw(struct pg_disk_buffer *to, struct pg_bytes bytes);
/* With a length of 32 bits in front, which tells an absent one (UINT32_MAX) from an empty one. */
void pg_disk_put_bytes(struct pg_disk_buffer *to, struct pg_bytes bytes);

/* Reads what was written by the above. Behind the end everything is 0 and `failed` is set. */
struct pg_disk_reader {
    const uint8_t *at, *end;
    bool failed;
};
struct pg_disk_reader pg_disk_reader(struct pg_bytes bytes);
uint8_t pg_disk_get_u8(struct pg_disk_reader *from);
uint16_t pg_disk_get_u16(struct pg_disk_reader *from);
uint32_t pg_disk_get_u32(struct pg_disk_reader *from);
uint64_t pg_disk_get_u64(struct pg_disk_reader *from);
struct pg_bytes pg_disk_get_raw(struct pg_disk_reader *from, size_t length);
struct pg_bytes pg_disk_get_bytes(struct pg_disk_reader *from);

#define PG_DISK_NEVER UINT32_MAX /* a Unix time that does not come */
uint32_t pg_disk_now_s(void);
/* The Unix time at which a message expires. */
uint32_t pg_disk_msg_deadline(const struct pg_msg *msg);

void pg_disk_put_msg(struct pg_disk_buffer *to, const struct pg_msg *msg, uint32_t deadline);
/* A message out of its bytes, with one reference; NULL: damaged, or no memory. */
struct pg_msg *pg_disk_get_msg(struct pg_disk_reader *from);

#define PG_DISK_BATCH_VERSION   1u
#define PG_DISK_RECORD_MSG_HEAD 5u /* type and length of a MESSAGE record */
enum pg_disk_record {
    PG_DISK_MESSAGE = 1,
    PG_DISK_ENTRY,
    PG_DISK_SETTLE,
    PG_DISK_SEND,
    PG_DISK_RECEIVED,
    PG_DISK_RECEIVE,
    PG_DISK_ROUTED,
    PG_DISK_RELEASE,
    PG_DISK_NOTE,
    PG_DISK_DROP,
};
enum {
    PG_DISK_QOS = 3,
    PG_DISK_RETAIN = 4,
    PG_DISK_DIRECT = 8,
    PG_DISK_VIA = 16,
    PG_DISK_DEAD = 128
};

/* A MESSAGE record in the log. segment 0: in the batch that has the reference, from its start. */
struct pg_disk_place {
    uint32_t segment, offset, size;
};

/* Any record; which fields count depends on `type`. share and ids point into the batch. */
struct pg_disk_step {
    enum pg_disk_record type;
    uint32_t session, expires;
    uint64_t number, order;
    struct pg_disk_place place;
    uint16_t packet_id, id_count;
    uint8_t flags;
    struct pg_bytes share, ids; /* ids: 4 bytes each */
    struct pg_bytes whole;      /* the record itself */
};
void pg_disk_put_step(struct pg_disk_buffer *to, const struct pg_disk_step *step);
/* The next record. false at the end, or with from->failed when it is not a record. */
bool pg_disk_get_step(struct pg_disk_reader *from, const uint8_t *start, struct pg_disk_step *step);

struct pg_disk;
struct pg_disk_request;

/* ---- index (store_disk_index.c) ------------------------------------------------------------- */

/* 24 bytes for a queued message. */
struct pg_disk_entry {
    uint32_t number; /* the low half: a session's live numbers lie within 2^31 */
    uint32_t segment, offset, size;
    uint32_t expires; /* Unix time */
    uint16_t via;     /* place in the session's `vias` and 1; 0: neither share nor identifiers */
    uint8_t flags;
};
/* By which subscription entries came: few of these differ in a session. */
struct pg_disk_via {
    uint32_t refs; /* 0: free */
    uint16_t id_count, share_len;
    uint8_t *data; /* identifiers, then the share */
};
struct pg_disk_out {
    uint64_t number, order;
    uint16_t packet_id;
    bool received;
};
struct pg_disk_receipt {
    uint16_t packet_id;
    bool routed;
    uint32_t segment;           /* where its record is */
    struct pg_disk_place place; /* of the message, until it is routed */
};

/* Entries of a session that were given up and of which the log has no line yet. */
struct pg_disk_note {
    uint32_t count;
    uint64_t first; /* number */
};
enum { PG_DISK_NOTE_FULL, PG_DISK_NOTE_EXPIRED, PG_DISK_NOTES };

struct pg_store_session {
    struct pg_store_session *next; /* in its bucket */
    uint32_t id;                   /* 0: not in the store yet */
    uint32_t pending_id;           /* given in the transaction that is being made */
    uint32_t expiry_s, detached_wall_s;
    uint64_t next_number;
    struct pg_disk_entry *entries; /* from `head` to `tail` in the order of numbers */
    uint32_t head, tail, cap, live;
    uint64_t live_bytes;
    struct pg_disk_via *vias;
    uint32_t via_count;
    struct pg_disk_out *outs;
    uint32_t out_count, out_cap;
    struct pg_disk_receipt *receipts;
    uint32_t receipt_count, receipt_cap;
    bool sort_due; /* entries were read that came in another order (copies) */
    /* Within the group that is being made. */
    uint64_t group;
    uint32_t group_entries, group_drops, group_cursor;
    uint64_t group_bytes;
    struct pg_store_session *noted_next; /* in disk->noted, if any of `notes` counts */
    struct pg_disk_note notes[PG_DISK_NOTES];
    size_t client_id_len;
    uint8_t client_id[];
};

struct pg_disk_segment {
    uint32_t total, live; /* entries */
    uint32_t receipts;    /* whose record is here */
    uint32_t pins;        /* messages here that are not routed yet */
};

/* A place in a walk through all sessions' entries that is made in steps. What is added meanwhile
 * may be missed, and what is there may be seen twice. */
struct pg_disk_cursor {
    uint32_t bucket, bucket_count;
    uint32_t session; /* 0: the first of the bucket */
    uint64_t number;  /* go on there in that session */
};

/* The oldest segment while what lives in it is copied forward. */
struct pg_disk_copying {
    uint32_t segment; /* 0: none */
    uint32_t copied;  /* in this walk */
    struct pg_disk_cursor cursor;
    struct pg_disk_moved *moved; /* where its messages are now: a hash by offset */
    uint32_t moved_count, moved_cap;
    uint32_t *fresh; /* slots of `moved` whose place is in the batch that is being made */
    uint32_t fresh_count, fresh_cap;
};

#define PG_DISK_RECENT 8192u /* messages whose place is remembered: a power of two */
struct pg_disk_recent {
    uint64_t msg_id;
    struct pg_disk_place place;
    uint32_t expires;
};

#define PG_DISK_OWED     256u  /* buckets */
#define PG_DISK_UNROUTED 1024u /* buckets */
struct pg_disk_unrouted {
    struct pg_disk_unrouted *next;
    uint64_t msg_id;
    uint32_t session, deadline;
    uint16_t packet_id;
    struct pg_disk_place place;
};

struct pg_disk_got { /* who had got an unrouted message; while recovering */
    struct pg_disk_place place;
    uint32_t session;
    size_t share_at, share_len; /* in got_text */
};

struct pg_disk_moved;

struct pg_disk {
    struct pg_store_disk_options options;
    char *dir, *log_dir;
    struct pg_seglog *log;
    MDB_env *env;
    MDB_dbi dbi;
    uint32_t next_session;
    uint64_t next_order, group;
    struct pg_store_session **buckets;
    uint32_t bucket_count, session_count;
    struct pg_disk_segment *segments; /* of number first_segment and up */
    uint32_t first_segment, segment_count;
    struct pg_disk_recent *recent;
    uint32_t *recent_new; /* whose place is in the batch that is being made */
    uint32_t recent_new_count;
    struct pg_disk_unrouted *unrouted_msgs[PG_DISK_UNROUTED];
    struct pg_disk_request *owed_changes[PG_DISK_OWED]; /* of the maps: what nobody waits for */
    size_t owed_count, owed_bytes;
    struct pg_disk_buffer batch; /* records; what is owed comes in front of them */
    struct pg_disk_buffer owed;  /* empty, or a version and records */
    int64_t deferred_ms; /* when it is to be written at the latest; 0: with the next batch */
    struct pg_disk_buffer scratch;
    bool replaying, no_memory;
    bool strange; /* a record that no store writes */
    struct pg_disk_got *got;
    size_t got_count, got_cap;
    size_t unrouted; /* receipts whose message is not with everybody */
    struct pg_disk_buffer got_text;
    bool sweeping;
    int64_t swept_s; /* when the last walk of expiry began */
    struct pg_disk_cursor sweep;
    struct pg_disk_copying copying;
    uint32_t stuck_segment; /* cannot be copied forward: its counts are wrong */
    struct pg_store_session *noted;
    struct pg_store_stats stats;
    uint64_t group_entries, group_bytes; /* of all sessions, in the batch that is being made */
    unsigned failing;                    /* parts, see pg_disk_health() */
    int log_error;                       /* the last one, while the log is failing */
    int64_t log_retry_ms;                /* not to be tried before */
    bool log_broken;                     /* a sync failed: to be mended */
    bool log_undo;                       /* without the last batch, which was refused */
    bool map_full;                       /* the maps fail because of their own limit */
    bool fresh;                          /* the maps were made by this start */
    uint32_t bound_to;                   /* the salt of the maps' log; 0: not known */
    int64_t retained_change;             /* in the transaction that is being made */
    uint8_t sweep_key[512];              /* where the sweep through the maps goes on */
    size_t sweep_key_len;                /* 0: at the beginning of its kind */
    unsigned sweep_kind;
};

struct pg_store_session *pg_disk_session_new(struct pg_bytes client_id);
void pg_disk_session_free(struct pg_store_session **session);
bool pg_disk_session_add(struct pg_disk *disk, struct pg_store_session *session);
void pg_disk_session_remove(struct pg_disk *disk, struct pg_store_session *session);
struct pg_store_session *pg_disk_session_find(struct pg_disk *disk, uint32_t id);
struct pg_disk_segment *pg_disk_segment(struct pg_disk *disk, uint32_t number);
uint64_t pg_disk_full_number(const struct pg_store_session *session, uint32_t low);
/* The first entry with this number or a later one; session->tail when there is none. */
uint32_t pg_disk_lower_bound(struct pg_store_session *session, uint64_t number);
void pg_disk_kill(struct pg_disk *disk, struct pg_store_session *session, uint32_t index);
uint32_t pg_disk_find(struct pg_disk *disk, struct pg_store_session *session, uint64_t number);
struct pg_disk_out *pg_disk_out_find(struct pg_store_session *session, uint64_t number);
struct pg_disk_receipt *pg_disk_receipt_find(struct pg_store_session *session, uint16_t packet_id);
/* Carry out the records of a batch that is in the log. false: not a batch of this version. Sets
 * disk->no_memory when something could not be indexed. */
bool pg_disk_apply(struct pg_disk *disk, struct pg_log_position position, struct pg_bytes body);
/* The same without the byte of the version in front. */
bool pg_disk_apply_records(struct pg_disk *disk, struct pg_log_position position,
                           struct pg_bytes records);
/* After the last batch: order what came out of order, and forget what is not there any more. */
void pg_disk_settle_down(struct pg_disk *disk);
void pg_disk_index_free(struct pg_disk *disk);

/* ---- maps (store_disk_map.c): 0 or a negative errno or LMDB error --------------------------- */

bool pg_disk_map_open(struct pg_disk *disk, struct pg_error *error);
enum pg_disk_kind {
    PG_DISK_SESSIONS = 's',
    PG_DISK_SUBS = 'f',
    PG_DISK_RETAINED = 'r',
    PG_DISK_WILLS = 'w',
    PG_DISK_FACTS = 'k'
};
/* An empty value removes. */
int pg_disk_map_put(struct pg_disk *disk, MDB_txn *txn, enum pg_disk_kind kind, uint32_t session,
                    struct pg_bytes name, struct pg_bytes value);
/* Remove all of a session. */
int pg_disk_map_drop_session(struct pg_disk *disk, MDB_txn *txn, uint32_t session);
int pg_disk_map_put_next_session(struct pg_disk *disk, MDB_txn *txn, uint32_t next);
/* Call fn for each of a kind (of one session: SUBS); nonzero ends it and is returned. */
int pg_disk_map_each(struct pg_disk *disk, enum pg_disk_kind kind, uint32_t session,
                     int (*fn)(void *arg, uint32_t session, struct pg_bytes name,
                               struct pg_bytes value),
                     void *arg);
/* Delete some of the retained messages and facts whose time is over; a bounded step of a walk
 * without end. */
int pg_disk_map_sweep(struct pg_disk *disk);
/* Keep that the log with this salt belongs to these maps. */
int pg_disk_map_bind(struct pg_disk *disk, uint32_t salt);
/* After MDB_PANIC. On error disk->env is NULL, and it can be tried again. */
int pg_disk_map_reopen(struct pg_disk *disk);
uint64_t pg_disk_map_bytes(struct pg_disk *disk);

/* ---- changes of the maps (store_disk_changes.c) --------------------------------------------- */

/* Carry out those of the list that are for the maps, as one transaction: those of wills, or the
 * others, or both; and what is owed. NULL: only try whether that works. */
enum { PG_DISK_WILL_CHANGES = 1, PG_DISK_OTHER_CHANGES = 2 };
void pg_disk_commit_maps(struct pg_disk *disk, struct pg_disk_request *list, unsigned which);
void pg_disk_owed_free(struct pg_disk *disk);

/* ---- engine (store_disk_engine.c) ----------------------------------------------------------- */

enum pg_disk_ask {
    PG_ASK_SESSION_PUT,
    PG_ASK_SESSION_DROP,
    PG_ASK_SUB_PUT,
    PG_ASK_SUB_DROP,
    PG_ASK_RETAIN,
    PG_ASK_WILL_PUT,
    PG_ASK_WILL_DROP,
    PG_ASK_FACT_PUT, /* these go to the maps */
    PG_ASK_ENQUEUE,
    PG_ASK_SETTLE,
    PG_ASK_SEND,
    PG_ASK_RECEIVED,
    PG_ASK_RECEIVE,
    PG_ASK_ROUTED,
    PG_ASK_RELEASE,
    PG_ASK_FETCH,
    PG_ASK_STOP,
};

/* One request, owned by whoever has it in its list. `name` and `value` point behind it. */
struct pg_disk_request {
    struct pg_disk_request *next;
    enum pg_disk_ask ask;
    enum pg_reason result;
    struct pg_store_session *session;
    struct pg_store_done *done;
    struct pg_store_fetch *fetch;
    struct pg_msg *msg; /* a reference */
    uint64_t number;
    size_t bytes;
    uint32_t count, expiry_s, detached_wall_s;
    uint32_t new_id; /* SESSION_PUT of a new one; one that is owed: the session's */
    size_t cost;     /* what it counts in the backlog */
    uint16_t packet_id, id_count;
    uint8_t flags;
    bool staged;                 /* ENQUEUE: its entry is in the batch */
    struct pg_bytes name, value; /* ENQUEUE: share, identifiers */
    uint8_t data[];
};
/* NULL: no memory. `name` and `value` are copied. */
struct pg_disk_request *pg_disk_request_new(enum pg_disk_ask ask, struct pg_bytes name,
                                            struct pg_bytes value);
/* Those of store.h (store_disk_ask.c); NULL: no memory. */
struct pg_disk_request *pg_disk_ask(enum pg_disk_ask ask, struct pg_store_session *session,
                                    struct pg_bytes name, struct pg_bytes value);
struct pg_disk_request *pg_disk_ask_session(struct pg_store_session *session,
                                            const struct pg_session_record *record);
struct pg_disk_request *pg_disk_ask_subscription(struct pg_store_session *session,
                                                 const struct pg_subscription *sub);
struct pg_disk_request *pg_disk_ask_enqueue(struct pg_store_session *session,
                                            const struct pg_store_entry *entry);
struct pg_disk_request *pg_disk_ask_will(const struct pg_will_record *will);
struct pg_disk_request *pg_disk_ask_fact(struct pg_bytes space, struct pg_bytes key,
                                         struct pg_bytes value, uint32_t expires_wall_s);
uint8_t pg_disk_entry_flags(const struct pg_store_entry *entry); /* of an ENTRY record */
void pg_disk_request_free(struct pg_disk_request **request);

struct pg_disk *pg_disk_open(const struct pg_store_disk_options *options, struct pg_error *error);
bool pg_disk_restore(struct pg_disk *disk, struct pg_store_restorer *restorer,
                     struct pg_error *error);
/* Carry out a list in its order as one group, all but its answers: it is kept when that returns. */
void pg_disk_commit(struct pg_disk *disk, struct pg_disk_request *list);
/* Give the answers, and pages, and free the list. */
void pg_disk_answer(struct pg_disk *disk, struct pg_disk_request *list);
/* When records that nobody waits for are to be written, by pg_now_ms(); PG_NEVER: there are
 * none. */
int64_t pg_disk_deferred_until(const struct pg_disk *disk);
void pg_disk_write_deferred(struct pg_disk *disk);
/* What is due with time: whether a disk that failed works again, lines of the log, sums. */
void pg_disk_tick(struct pg_disk *disk);
void pg_disk_measure(struct pg_disk *disk); /* the size of its files, into its numbers */
/* A step of expiry and of giving back segments, bounded so that requests do not wait longer than
 * for one another. true: there is more to do. */
bool pg_disk_maintain(struct pg_disk *disk);
void pg_disk_close(struct pg_disk **disk);

/* A message out of the log, with one reference; NULL: a negative errno in *error, else 0. */
struct pg_msg *pg_disk_read_msg(struct pg_disk *disk, struct pg_disk_place place, int *error);
void pg_disk_fetch(struct pg_disk *disk, struct pg_disk_request *request);
/* Remember that `msg` is the one of this receipt. false: no memory. */
bool pg_disk_unrouted_add(struct pg_disk *disk, const struct pg_msg *msg, uint32_t session,
                          const struct pg_disk_receipt *receipt);

/* Append what is owed and disk->batch, and apply the latter. 0, or a negative errno and nothing was
 * kept. */
int pg_disk_append(struct pg_disk *disk);
/* The same; where the body of the batch is. */
int pg_disk_append_at(struct pg_disk *disk, struct pg_log_position *position);
void pg_disk_begin_batch(struct pg_disk *disk);
/* Where the next record of the batch goes, from the start of its body: what is owed, or the
 * version, is in front of the records. */
uint32_t pg_disk_batch_offset(const struct pg_disk *disk);
/* A MESSAGE record into the batch. */
struct pg_disk_place pg_disk_put_message(struct pg_disk *disk, const struct pg_msg *msg);
/* How a part of the store does: 0, or why not. Speaks when all begins to fail or works again. */
enum pg_disk_part { PG_DISK_LOG = 1, PG_DISK_MAPS = 2 };
void pg_disk_health(struct pg_disk *disk, enum pg_disk_part part, int error, const char *what);

/* ---- reclaim (store_disk_reclaim.c) --------------------------------------------------------- */

/* Count an entry that is given up. The line in the log comes with the next tick, one for all of a
 * session. */
void pg_disk_drop_noted(struct pg_disk *disk, struct pg_store_session *session,
                        enum pg_reason reason, uint64_t number);
void pg_disk_write_notes(struct pg_disk *disk);
/* A step; true: there is more to do. */
bool pg_disk_sweep(struct pg_disk *disk);
bool pg_disk_reclaim(struct pg_disk *disk);
void pg_disk_copying_end(struct pg_disk *disk);

#endif
