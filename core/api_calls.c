/* SPDX-License-Identifier: Apache-2.0 */

/* The command of the management API about the connections that the gateway makes: how each block
 * stands, and how far its client lags behind. Each worker tells of its own. */

#include <stdlib.h>
#include <string.h>

#include "api_parts.h"
#include "call.h"
#include "registry.h"
#include "server.h"
#include "session_flow.h"
#include "transport.h"

static int64_t wall_of(int64_t now_ms)
{
    return pg_wall_ms() - (pg_now_ms() - now_ms);
}

static bool set_number(json_t *row, const char *key, int64_t value)
{
    return api_set(row, key, json_integer(value));
}

static bool set_text(json_t *row, const char *key, const char *text)
{
    return api_set(row, key, api_bytes(pg_bytes_str(text)));
}

/* When the oldest message was made that is in memory and not settled; PG_NEVER: there is none. */
static int64_t oldest_ms(const struct pg_session *session)
{
    const struct pg_traffic *t = session->traffic;
    int64_t oldest = PG_NEVER;
    for (uint32_t i = 0; t && i < t->out_size; i++) {
        const struct pg_out *out = &t->outs[i];
        if (out->state != OUT_FREE && out->entry.msg && out->entry.msg->created_ms < oldest)
            oldest = out->entry.msg->created_ms;
    }
    const struct pg_entry *front = t ? pg_session_front(session) : NULL;
    return oldest == PG_NEVER && front ? front->msg->created_ms : oldest;
}

/* What its client has before it, if its session is on this worker: from its first admission on. */
static bool set_lag(json_t *row, struct pg_worker *worker, const char *client_id)
{
    struct pg_registered found =
        pg_registry_find(worker->server->registry, pg_bytes_str(client_id));
    if (found.owner != pg_worker_index(worker))
        return true;
    const struct pg_session *session = found.session;
    int64_t waiting = pg_session_queued(session), oldest = oldest_ms(session);
    if (session->kept)
        waiting += (int64_t)(session->kept->next_number - session->kept->read_number) -
                   session->kept->settled_count;
    return set_number(row, "waiting", waiting) &&
           set_number(row, "out", pg_session_outstanding(session)) &&
           (oldest == PG_NEVER || set_number(row, "oldest_ms", pg_now_ms() - oldest));
}

static json_t *counted(const struct pg_call_view *view)
{
    json_t *object = json_object();
    const struct pg_counter *rows = view->conf->protocol->counters;
    bool ok = object != NULL;
    for (size_t i = 0; ok && rows && rows[i].name; i++)
        ok = set_number(object, rows[i].name, (int64_t)view->counted[i]);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *row_of(const struct pg_call *call, struct pg_worker *worker)
{
    static const char *const states[] = {"waiting", "calling", "connected", "welcomed"};
    struct pg_call_view view;
    pg_call_look(call, &view);
    const struct pg_listener_conf *conf = view.conf;
    json_t *row = json_object();
    if (row && set_text(row, "name", conf->name) &&
        set_text(row, "client", conf->assigned_id_prefix) &&
        set_text(row, "protocol", conf->protocol->name) &&
        set_text(row, "transport", conf->transport->name) && set_text(row, "to", conf->call->to) &&
        set_text(row, "state", states[view.state]) &&
        set_number(row, "since_ms", wall_of(view.since_ms)) &&
        (view.state != PG_CALL_WAITING || set_number(row, "next_ms", wall_of(view.next_ms))) &&
        set_number(row, "tries", (int64_t)view.tries) &&
        (view.reason == PG_OK || set_text(row, "reason", pg_reason_name(view.reason))) &&
        set_lag(row, worker, conf->assigned_id_prefix) && api_set(row, "counters", counted(&view)))
        return row;
    json_decref(row);
    return NULL;
}

void api_run_upstreams(struct api_call *call, struct pg_worker *worker, json_t *part)
{
    (void)call;
    json_t *list = json_array();
    for (const struct pg_call *c = pg_call_next(worker, NULL); c && list;
         c = pg_call_next(worker, c)) {
        if (json_array_append_new(list, row_of(c, worker)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    if (!api_set(part, "list", list)) /* what is missing tells the merger that memory ran out */
        json_object_clear(part);
}

static int by_name(const void *a, const void *b)
{
    const json_t *rows[] = {*(json_t *const *)a, *(json_t *const *)b};
    const char *names[2];
    for (size_t i = 0; i < 2; i++)
        names[i] = json_string_value(json_object_get(rows[i], "client"));
    return strcmp(names[0], names[1]);
}

void api_merge_upstreams(struct api_call *call)
{
    bool whole = true;
    for (size_t i = 0; i < api_part_count(call); i++)
        whole = whole && json_object_get(api_part(call, i), "list");
    json_t *result = whole ? json_object() : NULL;
    if (result && !api_set(result, "upstreams", api_merged_rows(call, by_name, SIZE_MAX))) {
        json_decref(result);
        result = NULL;
    }
    api_answer(call, result);
}
