/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_MOUNT_H
#define PG_MOUNT_H

/* The prefix of a listener's topics (topic_prefix of its block): put in front of what its clients
 * publish and subscribe to, and taken away again from what they are sent. An empty prefix is none;
 * callers look at its length first, so that listeners without one pay nothing. */

#include "polygate.h"

/* The message under the prefix, its response topic too. `msg` is given; NULL with *reason when
 * memory is out, or the topic would be longer than any client can be sent. */
struct pg_msg *pg_mount_enter(struct pg_bytes prefix, struct pg_msg *msg,
                              enum pg_reason *reason) PG_CHECKED;
/* The message as a client behind the prefix sees it, which the caller owns; NULL when memory is
 * out. One that is not below the prefix (sent to the client directly, or subscribed to through
 * another listener) is returned as it is, with a reference. */
struct pg_msg *pg_mount_leave(struct pg_bytes prefix, struct pg_msg *msg) PG_CHECKED;
/* A valid filter under the prefix: "p/" makes a/+ to p/a/+, and $share/g/a to $share/g/p/a. Memory
 * of malloc, which the caller frees, with its length in *len. NULL with *reason as above, then
 * PG_FILTER_INVALID. */
uint8_t *pg_mount_filter(struct pg_bytes prefix, struct pg_bytes filter, size_t *len,
                         enum pg_reason *reason) PG_CHECKED;

#endif
