/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_BED_H
#define STORE_BED_H

/* The embedded store in a directory of its own, for tests: what it gives back at start, and
 * requests whose answer is waited for. One store at a time. */

#include <semaphore.h>

#include "scratch.h"
#include "store_disk.h"

extern char dir[SCRATCH_PATH_MAX];
extern struct pg_store_disk_options options; /* from begin() on; for the next open_store() */
extern struct pg_store *store;
extern struct pg_error error;

/* What the last start gave back; counts, and the last of each kind. */
struct restored {
    struct pg_store_restorer base; /* first */
    unsigned sessions, retained, wills, facts, unrouted, subs;
    struct pg_store_session *handle;
    uint64_t first, next;
    struct pg_store_out outs[8];
    size_t out_count;
    uint16_t receipts[8];
    size_t receipt_count;
    struct pg_msg *unrouted_msg;
    size_t unrouted_clients;
    uint32_t expiry_s, detached_wall_s;
    uint32_t will_due_wall_s, will_delay_s, fact_expires_wall_s;
    char text[256];   /* of the last subscription: filter, QoS, identifier */
    char names[1024]; /* of sessions, retained topics, wills, facts: "session:c1= " */
};
extern struct restored restored;

/* Make the directory, with small segments, and open. Aborts the test when that fails. */
void begin(void);
/* false: error says why, also on stdout. */
bool open_store(void);
void reopen(void);
/* Free and remove. */
void finish(void);

struct waiting {
    struct pg_store_done done; /* first */
    struct pg_store_fetch fetch;
    sem_t sem;
    enum pg_reason result;
    struct pg_store_page *page;
};
/* The one that there is, anew. */
struct waiting *waiter(void);
enum pg_reason await(struct waiting *w);

/* A page, to be freed by the test. */
struct pg_store_page *fetch(struct pg_store_session *session, uint64_t number, uint32_t count);
/* Numbers and payloads of up to 64 entries, such as "1=one 2=two "; as fetched from 0 on. */
const char *queue_of(struct pg_store_session *session);
/* Put: kept when it returns. */
struct pg_store_session *make_session(const char *id);
/* QoS 1, with properties. */
struct pg_msg *message(const char *topic, const char *payload);
void enqueue_only(struct pg_store_session *session, uint64_t number, struct pg_msg *msg,
                  struct pg_store_done *done);
enum pg_reason enqueue(struct pg_store_session *session, uint64_t number, const char *payload);
struct pg_store_stats stats(void);

#endif
