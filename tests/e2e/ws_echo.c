/* SPDX-License-Identifier: Apache-2.0 */

/* A plugin for tests: a frontend that sends every message back, with its type and in its fragments, as
 * fuzzing clients for WebSocket want it of their peer.
 *
 * Its stream is data frames (PG_MEDIA_FRAMES). A frame goes back when it is whole: one that is broken off
 * would leave the gateway no place for its close frame. Who connects is logged in at once, since frames
 * may be long only then. Runs on the connection's worker. */

#include <inttypes.h>
#include <stdio.h>

#include "polygate.h"

#define IDLE_MS 600000

struct echo_conf {
    int none;
};

static const struct pg_option echo_options[] = {{.name = NULL}};
static const struct pg_counter echo_counters[] = {{.name = NULL}};

/* Bytes of the frame at the head of `in`, header and all; 0: they are not known yet. */
static size_t frame_size(struct pg_bytes in)
{
    size_t width = in.len < 2 || in.data[1] < 126 ? 0 : (in.data[1] == 126 ? 2 : 8);
    if (in.len < 2 + width)
        return 0;
    uint64_t payload = width == 0 ? in.data[1] : 0;
    for (size_t i = 0; i < width; i++)
        payload = payload << 8 | in.data[2 + i];
    return payload > SIZE_MAX / 2 ? SIZE_MAX : 2 + width + (size_t)payload;
}

static void echo_open(struct pg_conn *conn)
{
    char id[32];
    snprintf(id, sizeof(id), "echo-%" PRIu64, pg_conn_id(conn));
    struct pg_login login = {.client_id = pg_bytes_str(id), .clean_start = true, .window = 1};
    pg_conn_pause(conn);
    pg_client_admit(conn, &login, NULL);
}

static void echo_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    (void)cookie;
    if (admission->reason != PG_OK) {
        pg_conn_close(conn, admission->reason, NULL);
        return;
    }
    pg_conn_set_frame_limit(conn, pg_conn_frame_limit_max(conn));
    pg_conn_set_idle(conn, IDLE_MS, PG_KEEPALIVE_TIMEOUT);
    pg_conn_resume(conn);
}

static size_t echo_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    size_t used = 0;
    pg_conn_alive(conn);
    while (!pg_conn_closing(conn)) {
        struct pg_bytes rest = {.data = in.data + used, .len = in.len - used};
        size_t size = frame_size(rest);
        if (size == 0 || size > rest.len) {
            if (size > 0)
                pg_conn_expect(conn, size);
            break;
        }
        pg_conn_append(conn, (struct pg_bytes){.data = rest.data, .len = size});
        used += size;
    }
    return used;
}

/* ---- what no client of this protocol leads to --------------------------------------------------- */

static void echo_result(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)client;
    (void)token;
    (void)reason;
}

static void echo_deliver(struct pg_client *client)
{
    (void)client;
}

static void echo_client_ended(struct pg_client *client, enum pg_reason reason)
{
    (void)client;
    (void)reason;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static const struct pg_protocol echo_protocol = {
    .abi = PG_ABI,
    .name = "ws_echo",
    .options = echo_options,
    .conf_size = sizeof(struct echo_conf),
    .counters = echo_counters,
    .media = PG_MEDIA_FRAMES,
    .open = echo_open,
    .bytes = echo_bytes,
    .admitted = echo_admitted,
    .published = echo_result,
    .subscribed = echo_result,
    .deliver = echo_deliver,
    .client_ended = echo_client_ended,
};

PG_API const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI,
    .name = "ws_echo",
    .protocol = &echo_protocol,
};
