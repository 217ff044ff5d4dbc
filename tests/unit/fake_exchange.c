/* SPDX-License-Identifier: Apache-2.0 */

/* The double's part in authentication exchanges, and limits of connections: it remembers what the
 * frontend asked, and tests answer in the authenticator's place. */

#include <stdio.h>
#include <string.h>

#include "fake_core.h"

size_t fake_frame_limit_max;

static struct fake_rounds rounds;

enum pg_reason fake_may_publish_result;

void fake_exchange_begin(void)
{
    memset(&rounds, 0, sizeof(rounds));
    fake_frame_limit_max = SIZE_MAX;
    fake_may_publish_result = PG_OK;
}

struct fake_rounds fake_rounds(void)
{
    return rounds;
}

static void note(struct pg_bytes data)
{
    (void)snprintf(rounds.data, sizeof(rounds.data), "none");
    if (data.data) {
        rounds.data[0] = '\0';
    }
    for (size_t i = 0; i < data.len && 2 * i + 3 < sizeof(rounds.data); i++) {
        (void)snprintf(rounds.data + 2 * i, 3, "%02x", data.data[i]);
    }
}

bool pg_client_answer(struct pg_conn *conn, void *cookie, struct pg_bytes data)
{
    (void)conn;
    (void)cookie;
    rounds.answers++;
    note(data);
    return true;
}

bool pg_client_reauthenticate(struct pg_client *client, struct pg_bytes method,
                              struct pg_bytes data)
{
    (void)client;
    (void)method;
    rounds.reauthentications++;
    note(data);
    return true;
}

enum pg_reason pg_may_publish(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    (void)client;
    (void)msg;
    (void)token;
    return fake_may_publish_result;
}

enum pg_reason pg_publish_allowed(struct pg_client *client, struct pg_msg *msg, uint64_t token)
{
    return pg_publish(client, msg, token);
}

size_t pg_conn_frame_limit_max(const struct pg_conn *conn)
{
    (void)conn;
    return fake_frame_limit_max;
}
