/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_MESSAGE_H
#define PG_MESSAGE_H

#include "polygate.h"

/* What a message costs a queue that holds it, in bytes: header, topic, payload, properties. Any
 * thread. */
size_t pg_msg_size(const struct pg_msg *msg);

#endif
