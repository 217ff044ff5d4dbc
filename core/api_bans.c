/* SPDX-License-Identifier: Apache-2.0 */

/* The commands of the management API about bans: made and lifted by hand, and listed. A ban also
 * closes what it is about: each worker looks through its own connections and clients. */

#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "api_parts.h"
#include "ban.h"
#include "client.h"
#include "conn_client.h"
#include "server.h"
#include "worker_parts.h"

#define SECONDS_DEFAULT 3600
#define BANS_LIMIT      1000
#define BANS_LIMIT_MAX  20000

const struct api_argument api_ban_arguments[] = {
    {.name = "who", .type = API_TEXT, .required = true},
    {.name = "seconds", .type = API_NUMBER, .min = 0, .max = PG_FOREVER - 1},
    {.name = "detail", .type = API_TEXT},
    {.name = NULL},
};
const struct api_argument api_unban_arguments[] = {
    {.name = "who", .type = API_TEXT, .required = true},
    {.name = NULL},
};
const struct api_argument api_bans_arguments[] = {
    {.name = "limit", .type = API_NUMBER, .min = 1, .max = BANS_LIMIT_MAX},
    {.name = NULL},
};

/* How many clients of that identifier this worker had: one, or another that is just coming. */
static unsigned evict(struct pg_worker *worker, struct pg_bytes id)
{
    unsigned evicted = 0;
    for (struct pg_conn *conn = worker->conns.all; conn; conn = pg_conn_next(conn)) {
        struct pg_client *client = pg_conn_closing(conn) ? NULL : *pg_conn_clients(conn);
        while (client) {
            struct pg_client *one = client;
            client = pg_client_next(client);
            if (pg_bytes_equal(pg_client_id(one), id)) {
                pg_client_evict(one, PG_BANNED);
                evicted++;
            }
        }
    }
    return evicted;
}

static unsigned close_from(struct pg_worker *worker, const struct pg_range *range)
{
    unsigned closed = 0;
    struct pg_address address;
    for (struct pg_conn *conn = worker->conns.all; conn; conn = pg_conn_next(conn))
        if (!pg_conn_closing(conn) && pg_address_of_peer(pg_conn_peer(conn), &address) &&
            pg_range_has(range, &address)) {
            pg_conn_close(conn, PG_BANNED, "see polygatectl bans");
            closed++;
        }
    return closed;
}

void api_run_ban(struct api_call *call, struct pg_worker *worker, json_t *part)
{
    struct pg_bytes who = api_text(call, "who"), detail = api_text(call, "detail");
    int64_t seconds = api_number(call, "seconds", SECONDS_DEFAULT);
    char text[PG_BAN_DETAIL_MAX + 1] = "";
    struct pg_error error;
    if (detail.len > 0)
        snprintf(text, sizeof(text), "%.*s",
                 (int)(detail.len < PG_BAN_DETAIL_MAX ? detail.len : PG_BAN_DETAIL_MAX),
                 (const char *)detail.data);
    /* Each worker makes it anew, which changes nothing: none must look before it is made. */
    if (!pg_ban_add(who, seconds == 0 ? PG_FOREVER : (uint32_t)seconds, text, &error)) {
        (void)api_set(part, "error", json_string(error.text));
        return;
    }
    struct pg_bytes id = pg_ban_client(who);
    struct pg_range range;
    unsigned closed = 0;
    if (id.data)
        closed = evict(worker, id);
    else if (pg_range_parse(who, &range))
        closed = close_from(worker, &range);
    (void)api_set(part, "closed", json_integer(closed));
}

void api_merge_ban(struct api_call *call)
{
    json_int_t closed = 0;
    for (size_t i = 0; i < api_part_count(call); i++) {
        const char *error = json_string_value(json_object_get(api_part(call, i), "error"));
        if (error) {
            api_refuse(call, "%s", error);
            return;
        }
        closed += json_integer_value(json_object_get(api_part(call, i), "closed"));
    }
    PG_LOG(PG_INFO, "ban", PG_F_BYTES("who", api_text(call, "who")),
           PG_F_INT("seconds", api_number(call, "seconds", SECONDS_DEFAULT)),
           PG_F_INT("closed", closed));
    api_answer(call, json_pack("{s:I}", "closed", closed));
}

void api_run_unban(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    struct pg_bytes who = api_text(call, "who");
    if (!pg_ban_lift(who)) {
        api_refuse(call, "there is no such ban; polygatectl bans shows them as they are written");
        return;
    }
    PG_LOG(PG_INFO, "unban", PG_F_BYTES("who", who));
    api_answer(call, json_object());
}

static json_t *ban_row(const struct pg_ban *ban)
{
    json_t *until = ban->until_wall_ms == PG_NEVER ? json_null() : json_integer(ban->until_wall_ms);
    return json_pack("{s:o s:o s:I s:o s:I}", "who", api_bytes(pg_bytes_str(ban->who)), "detail",
                     api_bytes(pg_bytes_str(ban->detail)), "since_ms",
                     (json_int_t)ban->since_wall_ms, "until_ms", until, "hits",
                     (json_int_t)ban->hits);
}

void api_run_bans(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    size_t limit = (size_t)api_number(call, "limit", BANS_LIMIT);
    struct pg_ban *bans = calloc(limit, sizeof(*bans));
    json_t *list = bans ? json_array() : NULL;
    size_t total = bans ? pg_bans_list(bans, limit) : 0;
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < total && i < limit; i++)
        ok = json_array_append_new(list, ban_row(&bans[i])) == 0;
    free(bans);
    if (ok) {
        api_answer(call, json_pack("{s:I s:o}", "total", (json_int_t)total, "bans", list));
        return;
    }
    json_decref(list);
    api_answer(call, NULL);
}
