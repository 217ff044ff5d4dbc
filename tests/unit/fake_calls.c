/* SPDX-License-Identifier: Apache-2.0 */

/* The part of the test double that is about connections which the gateway makes (fake_calls.h). */

#include "fake_calls.h"

#include <assert.h>
#include <string.h>

#define BLOCKS_MAX 4u

struct fake_block {
    const char *client_id;
    const void *conf;
};
static struct fake_block blocks[BLOCKS_MAX];
static size_t block_count;
static uint64_t state[32]; /* of the only block that is called for */
static struct fake_call view;
static char target[64];

void fake_calls_begin(void)
{
    memset(state, 0, sizeof(state));
    view = (struct fake_call){.rest_ms = -1};
    block_count = 0;
    target[0] = '\0';
}

void fake_block(const char *client_id, const void *conf)
{
    assert(block_count < BLOCKS_MAX);
    blocks[block_count++] = (struct fake_block){client_id, conf};
}

struct fake_call fake_call(void)
{
    return view;
}

const char *fake_handed_to(void)
{
    return target;
}

void *pg_call_state(struct pg_conn *conn)
{
    (void)conn;
    return state;
}

void pg_call_welcomed(struct pg_conn *conn)
{
    (void)conn;
    view = (struct fake_call){.welcomed = true, .rest_ms = -1};
}

void pg_call_rest(struct pg_conn *conn, int64_t ms)
{
    (void)conn;
    view.rest_ms = ms;
}

const void *pg_call_conf(const struct pg_protocol *protocol, size_t index, const char **client_id)
{
    assert(protocol->calls);
    if (index >= block_count) {
        return NULL;
    }
    *client_id = blocks[index].client_id;
    return blocks[index].conf;
}

enum pg_reason pg_hand_on(struct pg_client *client, struct pg_bytes to, struct pg_msg *msg,
                          uint64_t token)
{
    assert(to.len < sizeof(target));
    memcpy(target, to.data, to.len);
    target[to.len] = '\0';
    return pg_publish(client, msg, token);
}
