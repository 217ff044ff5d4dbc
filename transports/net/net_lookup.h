/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_LOOKUP_H
#define PG_NET_LOOKUP_H

/* Names to addresses, without anybody waiting for it: the resolver of the C library blocks, so that each
 * look-up has a thread of its own while it lasts. On the worker that asks. */

#include "net_address.h"

struct net_lookup;
struct pg_worker;

/* Most addresses of one name that are told. */
#define NET_LOOKUP_MAX 8u

/* Look up a host name of at most 255 bytes; `done` is called on this worker, later, with its addresses
 * (lent), that port in each, or with none and why not (lent). NULL: memory or threads are out. */
struct net_lookup *net_lookup_begin(struct pg_worker *worker, struct pg_bytes host, uint16_t port,
                                    void (*done)(void *arg, const struct net_address *found,
                                                 size_t count, const char *why),
                                    void *arg) PG_CHECKED;
/* Nobody waits for it any more: `done` is not called. Until it was; nulls the pointer. */
void net_lookup_cancel(struct net_lookup **lookup);

#endif
