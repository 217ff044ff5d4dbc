/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_TWO_PEERS_H
#define FUZZ_TWO_PEERS_H

/* For targets that drive a frontend by a script on two connections, of which one is the current one:
 * what is the same for each protocol. A program includes it once. */

#include "../unit/fake_core.h"
#include "script.h"

static struct pg_conn *conns[2];
static unsigned current;

size_t fake_live_messages(void)
{
    return 0; /* leaks are the sanitizer's matter */
}

int64_t pg_wall_ms(void)
{
    return INT64_C(1800000000000) + pg_now_ms();
}

static inline void open_current(void)
{
    if (conns[current] == NULL || fake_is_closed(conns[current], NULL)) {
        conns[current] = fake_connect();
    }
}

/* What the core is to say from now on. */
static inline void result_step(struct script *s)
{
    static const enum pg_reason results[] = {PG_OK, PG_PENDING, PG_NO_SUBSCRIBERS,
                                             PG_NOT_AUTHORIZED, PG_STORE_FAILED};
    fake_publish_result = results[next_byte(s) % 5];
    fake_subscribe_result = results[next_byte(s) % 2];
}

/* A byte for `configure`, then steps, on a fresh double; after each, what every connection has
 * written is checked. */
static inline void run_script(const struct pg_protocol *protocol, const uint8_t *data, size_t size,
                              void (*configure)(uint8_t byte), void (*step)(struct script *s),
                              void (*check_output)(struct pg_conn *conn))
{
    struct script script = script_of(data, size);
    conns[0] = conns[1] = NULL;
    current = 0;
    fake_begin(protocol);
    fake_exchange_begin();
    configure(next_byte(&script));
    for (unsigned steps = 0; script.at < script.end && steps < 200; steps++) {
        open_current();
        step(&script);
        for (size_t i = 0; i < 2; i++) {
            if (conns[i] != NULL) {
                check_output(conns[i]);
            }
        }
    }
    fake_end();
}

#endif
