/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CALLS_H
#define FAKE_CALLS_H

/* The test double of the core, for frontends that call out and those that hand on to them. The
 * connection of fake_connect() is the one that the gateway makes; tell the frontend when it is
 * connected. */

#include "polygate.h"

/* Forget everything; with fake_begin(). */
void fake_calls_begin(void);
/* What pg_call_conf() says: one block more, of any frontend. Lent. */
void fake_block(const char *client_id, const void *conf);
/* What the frontend said of its call. */
struct fake_call {
    bool welcomed;
    int64_t rest_ms; /* -1: nothing since then */
};
struct fake_call fake_call(void);
/* The client of the last pg_hand_on(), whose message is one of those that were published. */
const char *fake_handed_to(void);

#endif
