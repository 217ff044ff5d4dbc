/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_MESSAGE_H
#define PG_MESSAGE_H

#include "polygate.h"

/* What a message costs a queue that holds it, in bytes: header, topic, payload, properties. Any
 * thread. */
size_t pg_msg_size(const struct pg_msg *msg);

/* Names for the fields that stores and indexes read. */
static inline struct pg_bytes pg_msg_topic(const struct pg_msg *msg)
{
    return msg->topic;
}
static inline struct pg_bytes pg_msg_payload(const struct pg_msg *msg)
{
    return msg->payload;
}
static inline int64_t pg_msg_expires_ms(const struct pg_msg *msg)
{
    return msg->expires_ms;
}

#endif
