/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CLIENT_PARTS_H
#define PG_CLIENT_PARTS_H

/* A worker's clients of which the frontend is to be told; client.c owns all of it. */

#include "worker.h"

struct pg_client;

struct pg_client_part {
    struct pg_task task;
    struct pg_client *due, **due_end;
};

void pg_clients_init(struct pg_client_part *part);

#endif
