/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_GUARD_H
#define PG_GUARD_H

/* Limits of listeners, and of peers' addresses on them: who may connect, and how fast what is sent
 * is read. Too many connections are refused; too many bytes or messages are not: the connection is
 * not read for a while, so that the peer waits.
 *
 * A rate is a bucket that holds one period's worth and fills as time goes by. Where no limit of a
 * listener is set, its connections have no meter, and nothing is counted. */

#include "polygate.h"

struct pg_listener_conf;
struct pg_worker;

/* Keys of a listener block; 0 is no limit. */
struct pg_guard_conf {
    int64_t connections;
    int64_t connects_per_second;
    int64_t bytes_per_second;
    int64_t messages_per_second;
    int64_t address_connections;
    int64_t address_connects_per_minute;
    int64_t address_bytes_per_second;
    int64_t address_messages_per_second;
    int64_t connection_bytes_per_second;
    int64_t connection_messages_per_second;
};

/* What is counted of one connection; belongs to its worker. */
struct pg_guard_entry;
struct pg_meter {
    struct pg_timer timer;                     /* the connection's: until it is read on; first */
    struct pg_conn *conn;                      /* for the timer; set by the connection */
    struct pg_guard_entry *listener, *address; /* guard.c's, with what follows */
    const struct pg_guard_conf *limits; /* of the configuration that the connection refers to */
    int64_t bytes_full_ns, messages_full_ns; /* of this connection alone */
};

/* A peer has connected. PG_OK, and *meter for pg_guard_leave() or NULL where nothing is counted; or
 * why it is refused: PG_BANNED, PG_CONNECTION_LIMIT, PG_CONNECTION_RATE, PG_NO_MEMORY. Any thread. */
enum pg_reason pg_guard_admit(const struct pg_listener_conf *listener, const char *peer,
                              struct pg_meter **meter) PG_CHECKED;
/* The connection is closed. Nulls the pointer; NULL is fine. */
void pg_guard_leave(struct pg_meter **meter);
/* Whether the listener has no place left, so that accepting can wait for one. Any thread. */
bool pg_guard_full(const struct pg_listener_conf *listener);

/* So many bytes or messages came: the milliseconds for which it should not be read on; 0: none. On
 * the worker of the connection. */
int64_t pg_meter_bytes(struct pg_meter *meter, size_t n);
int64_t pg_meter_message(struct pg_meter *meter);
/* Most bytes to read at a time, so that what is read costs no more than a moment's pause. */
size_t pg_meter_read_max(const struct pg_meter *meter, size_t room);

/* The peer has done what peers do not do (`reason` is why it was refused or closed): when that
 * happens bans.after times within bans.within, its address is banned. Any thread. */
void pg_guard_offence(struct pg_worker *worker, const char *peer, enum pg_reason reason);

/* At the very end, when no worker runs. */
void pg_guard_free(void);

#endif
