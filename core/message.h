/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_MESSAGE_H
#define PG_MESSAGE_H

#include "polygate.h"

/* Bytes that the properties of a message take, with their texts. */
size_t pg_msg_props_size(const struct pg_msg_props *props);

/* Whether this thread keeps the memory of messages that end on it, up to a bound, for those that it
 * makes; off, which it is at first, frees what there is. For threads that make and end many, before
 * the first and behind the last. */
void pg_messages_keep(bool on);

/* What a message costs a queue that holds it, in bytes: header, topic, payload, properties. Any
 * thread. */
static inline size_t pg_msg_size(const struct pg_msg *msg)
{
    size_t n = sizeof(*msg) + msg->topic.len + msg->payload.len + msg->publisher.len;
    return msg->props ? n + pg_msg_props_size(msg->props) : n;
}

/* So many references at once, for a fan-out, and back what it did not need of them. The caller has
 * one of its own. Any thread. */
static inline void pg_msg_ref_many(struct pg_msg *msg, uint32_t n)
{
    atomic_fetch_add_explicit(&msg->refs, n, memory_order_relaxed);
}
static inline void pg_msg_unref_many(struct pg_msg *msg, uint32_t n)
{
    if (n > 0)
        atomic_fetch_sub_explicit(&msg->refs, n, memory_order_release);
}

#endif
