/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ROUTER_PARTS_H
#define PG_ROUTER_PARTS_H

/* A worker's part of routing: who in this worker subscribes at which node, and the batches of
 * messages for other workers. router.c owns all of it. */

#include "match_cache.h"
#include "subindex.h"
#include "worker.h"

struct pg_sub;
struct pg_batch;

struct pg_member_list {
    uint32_t size, count;
    uint32_t turn; /* shared subscriptions: whose turn it is */
    struct pg_sub *subs[];
};

/* The members of one node in this worker, by their subscriptions: most nodes have one, and need no
 * list for it. */
union pg_members {
    struct pg_sub *one; /* the only one */
    uintptr_t many;     /* with the lowest bit set: the address of a list, plus 1 */
};

/* Those nodes out of PG_MEMBERS_CHUNK that have members in this worker, in the order of their ids and
 * without gaps: a node costs its place only in the workers where it has members, however many there
 * are. Its size matters all the same: it exists once per so many filters and worker. */
#define PG_MEMBERS_CHUNK 64u
struct pg_members_chunk {
    uint64_t present;         /* bit n: the nth node has a place */
    union pg_members *places; /* NULL: none has */
};

struct pg_router_part {
    struct pg_members_chunk *chunks; /* by node id */
    uint32_t chunk_count;
    struct pg_match match; /* of the message that is being published */
    struct pg_match_cache cache;
    struct pg_batch *batches[PG_WORKERS_MAX];
    uint64_t seq;                  /* messages published by this worker */
    uint64_t seen[PG_WORKERS_MAX]; /* the last of each worker that was delivered here */
    uint64_t stamp;                /* fan-outs done */
};

void pg_router_init(struct pg_router_part *part);
void pg_router_free(struct pg_router_part *part);
/* Send the batches off. */
void pg_router_flush(struct pg_worker *worker);

#endif
