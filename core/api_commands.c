/* SPDX-License-Identifier: Apache-2.0 */

/* The commands of the management API, as rows (at the end of the file).
 *
 * Everything that belongs to a worker is read in a task on that worker. Lists are bounded by the
 * argument `limit`, since a worker that writes JSON serves nobody meanwhile. Times are
 * milliseconds since 1970. */

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "api_parts.h"
#include "build.h"
#include "client.h"
#include "conn_client.h"
#include "counter.h"
#include "escape.h"
#include "listener.h"
#include "registry.h"
#include "retained.h"
#include "server.h"
#include "store.h"
#include "subscription.h"
#include "why.h"
#include "worker_parts.h"

/* A builder that remembers that memory ran out: the result is then NULL, and says so. */
struct build {
    json_t *object;
};

static struct build build_object(void)
{
    return (struct build){.object = json_object()};
}

static void build_set(struct build *b, const char *key, json_t *value)
{
    if (!b->object) {
        json_decref(value);
    } else if (!api_set(b->object, key, value)) {
        json_decref(b->object);
        b->object = NULL;
    }
}

static void build_text(struct build *b, const char *key, const char *text)
{
    build_set(b, key, text ? api_bytes(pg_bytes_str(text)) : json_null());
}

static void build_bytes(struct build *b, const char *key, struct pg_bytes bytes)
{
    build_set(b, key, bytes.data ? api_bytes(bytes) : json_null());
}

static void build_number(struct build *b, const char *key, int64_t value)
{
    build_set(b, key, json_integer(value));
}

static void build_size(struct build *b, const char *key, uint64_t value)
{
    build_number(b, key, value <= INT64_MAX ? (int64_t)value : INT64_MAX);
}

static void build_flag(struct build *b, const char *key, bool value)
{
    build_set(b, key, json_boolean(value));
}

/* Append to a list; `item` is given and may be NULL. The list is given up when memory runs out. */
static void append(json_t **list, json_t *item)
{
    if (!*list) {
        json_decref(item);
    } else if (json_array_append_new(*list, item) != 0) {
        json_decref(*list);
        *list = NULL;
    }
}

/* ---- counters -------------------------------------------------------------------------------- */

static uint64_t counter_sum(const struct pg_server *server, size_t index)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < server->worker_count; i++)
        sum += pg_counter_get(pg_worker_counters(server->workers[i]), index);
    return sum;
}

#define COUNTER_NAME_ROOM 160

static const char *counter_name(const struct pg_counter_row *row, char room[COUNTER_NAME_ROOM])
{
    struct pg_text text = {.data = room, .room = COUNTER_NAME_ROOM - 1};
    pg_text_addf(&text, "%s.%s", row->prefix, row->name);
    room[text.len] = '\0';
    return room;
}

static json_t *moved_counters(const struct pg_server *server)
{
    struct build b = build_object();
    for (size_t i = 0; i < pg_counter_total(); i++) {
        char name[COUNTER_NAME_ROOM];
        struct pg_counter_row row = pg_counter_row(i);
        uint64_t sum = counter_sum(server, i);
        if (sum > 0)
            build_size(&b, counter_name(&row, name), sum);
    }
    return b.object;
}

static const struct api_argument counters_arguments[] = {
    {.name = "all", .type = API_FLAG},
    {.name = NULL},
};

static void run_counters(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    const struct pg_server *server = api_server(call);
    json_t *list = json_array();
    bool all = api_flag(call, "all");
    for (size_t i = 0; i < pg_counter_total(); i++) {
        char name[COUNTER_NAME_ROOM];
        struct pg_counter_row row = pg_counter_row(i);
        uint64_t sum = counter_sum(server, i);
        if (sum == 0 && !all)
            continue;
        struct build b = build_object();
        build_text(&b, "name", counter_name(&row, name));
        build_size(&b, "value", sum);
        build_text(&b, "sentence", row.sentence);
        append(&list, b.object);
    }
    struct build b = build_object();
    build_set(&b, "counters", list);
    api_answer(call, b.object);
}

/* ---- status ---------------------------------------------------------------------------------- */

static json_t *retained_numbers(const struct pg_server *server)
{
    struct pg_retained_stats stats;
    struct build b = build_object();
    pg_retained_count(server->retained, &stats);
    build_size(&b, "messages", stats.messages);
    build_size(&b, "bytes", stats.bytes);
    return b.object;
}

static json_t *store_numbers(const struct pg_server *server)
{
    struct build b = build_object();
    build_text(&b, "kind", server->store ? server->store->ops->name : "memory");
    if (!server->store)
        return b.object;
    struct pg_store_stats stats;
    server->store->ops->stats(server->store, &stats);
    build_text(&b, "path", atomic_load(&server->config)->settings.store.path);
    build_flag(&b, "healthy", stats.health == PG_OK);
    build_text(&b, "detail", stats.detail);
    build_size(&b, "sessions", stats.sessions);
    build_size(&b, "queued", stats.queued);
    build_size(&b, "queued_bytes", stats.queued_bytes);
    build_size(&b, "retained", stats.retained);
    build_size(&b, "disk_bytes", stats.disk_bytes);
    build_size(&b, "index_bytes", stats.index_bytes);
    build_size(&b, "commits", stats.commits);
    build_size(&b, "written_bytes", stats.written_bytes);
    build_size(&b, "message_bytes", stats.message_bytes);
    build_size(&b, "dropped", stats.dropped);
    build_size(&b, "expired", stats.expired);
    build_size(&b, "unreadable", stats.unreadable);
    build_size(&b, "backlog", stats.backlog);
    build_size(&b, "backlog_bytes", stats.backlog_bytes);
    build_size(&b, "refused", stats.refused);
    build_size(&b, "stalls", stats.stalls);
    build_size(&b, "slowest_ms", stats.slowest_ms);
    return b.object;
}

static json_t *listener_list(void)
{
    static const size_t room = PG_LISTENER_ROWS_MAX;
    struct pg_listener_row *rows = calloc(room, sizeof(*rows));
    if (!rows)
        return NULL;
    json_t *list = json_array();
    size_t count = pg_listener_rows_now(rows, room);
    for (size_t i = 0; i < count; i++) {
        struct build b = build_object();
        build_text(&b, "name", rows[i].name);
        build_text(&b, "address", rows[i].address);
        build_text(&b, "transport", rows[i].transport);
        build_text(&b, "protocol", rows[i].protocol);
        append(&list, b.object);
    }
    free(rows);
    return list;
}

static void run_status(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    struct pg_server *server = api_server(call);
    const struct pg_config *config = atomic_load(&server->config);
    uint64_t admitted = counter_sum(server, PG_COUNT_CLIENTS_ADMITTED);
    uint64_t ended = counter_sum(server, PG_COUNT_CLIENTS_ENDED);
    struct build b = build_object();
    build_text(&b, "version", PACKAGE_VERSION);
    build_number(&b, "pid", getpid());
    build_number(&b, "uptime_ms", pg_now_ms() - server->started_ms);
    build_number(&b, "workers", server->worker_count);
    build_flag(&b, "draining", atomic_load(&server->draining));
    build_text(&b, "config", config->path);
    build_number(&b, "connections", atomic_load(&server->connections));
    build_size(&b, "clients", admitted > ended ? admitted - ended : 0);
    build_size(&b, "sessions", pg_registry_count(server->registry));
    build_set(&b, "retained", retained_numbers(server));
    build_set(&b, "store", store_numbers(server));
    build_set(&b, "listeners", listener_list());
    build_set(&b, "counters", moved_counters(server));
    api_answer(call, b.object);
}

static void run_retained(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    api_answer(call, retained_numbers(api_server(call)));
}

/* Not a part of the status, which is asked for often: the allocator walks its free lists for it. */
static void run_memory(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    uint64_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (!statm || fscanf(statm, "%*u %" SCNu64, &pages) != 1)
        pages = 0;
    if (statm)
        fclose(statm);
    const struct mallinfo2 heap = mallinfo2();
    struct build b = build_object();
    build_size(&b, "resident_bytes", pages * (uint64_t)sysconf(_SC_PAGESIZE));
    build_size(&b, "heap_bytes", heap.arena + heap.hblkhd);
    build_size(&b, "heap_used_bytes", heap.uordblks + heap.hblkhd);
    api_answer(call, b.object);
}

/* ---- clients --------------------------------------------------------------------------------- */

static json_t *client_row(const struct pg_session *session)
{
    struct build b = build_object();
    const struct pg_client *client = session->client;
    build_bytes(&b, "client", pg_session_id(session));
    build_flag(&b, "online", client != NULL);
    if (client) {
        struct pg_conn *conn = pg_client_conn(client);
        build_text(&b, "protocol", pg_conn_protocol(conn)->name);
        build_bytes(&b, "user", pg_client_username(client));
        build_text(&b, "peer", pg_conn_peer(conn));
        build_text(&b, "listener", pg_conn_listener(conn));
        build_number(&b, "since_ms", pg_client_since_wall_ms(client));
    } else if (session->state == SESSION_LIVE && session->absence) {
        build_number(&b, "since_ms", session->absence->since_wall_ms);
    }
    build_number(&b, "queued", pg_session_queued(session));
    build_size(&b, "queued_bytes", session->traffic ? session->traffic->queue_bytes : 0);
    build_number(&b, "inflight", pg_session_outstanding(session));
    build_number(&b, "subscriptions", pg_subscription_count(session));
    return b.object;
}

#define CLIENTS_LIMIT_DEFAULT 1000
#define CLIENTS_LIMIT_MAX     20000

static const struct api_argument clients_arguments[] = {
    {.name = "filter", .type = API_TEXT},
    {.name = "offline", .type = API_FLAG},
    {.name = "limit", .type = API_NUMBER, .min = 1, .max = CLIENTS_LIMIT_MAX},
    {.name = NULL},
};

static bool id_contains(const struct pg_session *session, struct pg_bytes text)
{
    struct pg_bytes id = pg_session_id(session);
    return !text.data || (id.len > 0 && memmem(id.data, id.len, text.data, text.len));
}

/* The sessions with the smallest identifiers among those seen: a heap with the largest of them on
 * top, so that a list costs memory by its limit and not by the number of sessions. */
struct smallest {
    const struct pg_session **heap;
    size_t count, limit, seen;
};

static bool id_below(const struct pg_session *a, const struct pg_session *b)
{
    size_t len = a->id_len < b->id_len ? a->id_len : b->id_len;
    int order = memcmp(a->id, b->id, len);
    return order != 0 ? order < 0 : a->id_len < b->id_len;
}

static void sift_up(struct smallest *s, size_t at)
{
    const struct pg_session *moved = s->heap[at];
    for (; at > 0 && id_below(s->heap[(at - 1) / 2], moved); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = moved;
}

static void sift_down(struct smallest *s)
{
    const struct pg_session *moved = s->heap[0];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < s->count; at = child) {
        if (child + 1 < s->count && id_below(s->heap[child], s->heap[child + 1]))
            child++;
        if (!id_below(moved, s->heap[child]))
            break;
        s->heap[at] = s->heap[child];
    }
    s->heap[at] = moved;
}

static void offer(struct smallest *s, const struct pg_session *session)
{
    s->seen++;
    if (s->count < s->limit) {
        s->heap[s->count++] = session;
        sift_up(s, s->count - 1);
    } else if (id_below(session, s->heap[0])) {
        s->heap[0] = session;
        sift_down(s);
    }
}

struct client_search {
    struct pg_bytes filter;
    bool offline;
    struct smallest found;
};

static void look_at(void *arg, struct pg_session *session)
{
    struct client_search *search = arg;
    /* One that is joining is not admitted yet; one that is leaving is its next owner's. */
    if (session->state == SESSION_LIVE && (session->client || search->offline) &&
        id_contains(session, search->filter))
        offer(&search->found, session);
}

static void run_clients(struct api_call *call, struct pg_worker *worker, json_t *part)
{
    struct client_search search = {
        .filter = api_text(call, "filter"),
        .offline = api_flag(call, "offline"),
        .found.limit = (size_t)api_number(call, "limit", CLIENTS_LIMIT_DEFAULT),
    };
    struct smallest *s = &search.found;
    s->heap = calloc(s->limit, sizeof(*s->heap));
    json_t *list = s->heap ? json_array() : NULL;
    if (list)
        pg_registry_each(worker->server->registry, worker->index, look_at, &search);
    for (size_t i = 0; i < s->count; i++)
        append(&list, client_row(s->heap[i]));
    free(s->heap);
    /* A list that is missing tells merge_clients() that memory ran out. */
    if (!list || !api_set(part, "list", list) ||
        !api_set(part, "total", json_integer((json_int_t)s->seen)))
        json_object_clear(part);
}

static const char *row_id(const json_t *row)
{
    const json_t *id = json_object_get(row, "client");
    return json_string_value(json_is_object(id) ? json_object_get(id, "hex") : id);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(row_id(*(json_t *const *)a), row_id(*(json_t *const *)b));
}

static void merge_clients(struct api_call *call)
{
    json_int_t total = 0;
    for (size_t i = 0; i < api_part_count(call); i++) {
        json_t *part = api_part(call, i);
        if (!json_object_get(part, "list")) {
            api_answer(call, NULL);
            return;
        }
        total += json_integer_value(json_object_get(part, "total"));
    }
    struct build b = build_object();
    build_number(&b, "total", total);
    build_set(
        &b, "clients",
        api_merged_rows(call, by_id, (size_t)api_number(call, "limit", CLIENTS_LIMIT_DEFAULT)));
    api_answer(call, b.object);
}

/* ---- one client ------------------------------------------------------------------------------ */

static const struct api_argument client_arguments[] = {
    {.name = "client", .type = API_TEXT, .required = true},
    {.name = NULL},
};

static json_t *why_notes(struct pg_bytes id)
{
    struct pg_why notes[PG_WHY_NOTES];
    size_t count = pg_why_list(id, notes);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        struct build b = build_object();
        build_text(&b, "kind", pg_why_kind_name(notes[i].kind));
        build_text(&b, "reason", pg_reason_name(notes[i].reason));
        build_text(&b, "sentence", pg_reason_sentence(notes[i].reason));
        build_flag(&b, "error", pg_reason_is_error(notes[i].reason));
        build_number(&b, "count", notes[i].count);
        build_number(&b, "first_ms", notes[i].first_ms);
        build_number(&b, "last_ms", notes[i].last_ms);
        build_text(&b, "detail", notes[i].detail);
        append(&list, b.object);
    }
    return list;
}

/* Subscriptions shown of one client. */
#define SUBSCRIPTIONS_SHOWN 1000u

struct sub_list {
    json_t *list;
    size_t count;
};

static void add_subscription(void *arg, struct pg_session *session, struct pg_sub *sub)
{
    struct sub_list *subs = arg;
    if (subs->count++ >= SUBSCRIPTIONS_SHOWN)
        return;
    struct build b = build_object();
    build_bytes(&b, "filter", pg_sub_filter(session, sub));
    build_number(&b, "qos", sub->qos);
    if (sub->id != 0)
        build_number(&b, "id", sub->id);
    if (sub->no_local)
        build_flag(&b, "no_local", true);
    if (sub->retain_as_published)
        build_flag(&b, "retain_as_published", true);
    if (sub->internal)
        build_flag(&b, "internal", true);
    append(&subs->list, b.object);
}

static void run_client(struct api_call *call, struct pg_session *session)
{
    struct build b = {.object = client_row(session)};
    struct sub_list subs = {.list = json_array()};
    build_number(&b, "worker", pg_worker_index(session->worker));
    build_number(&b, "window", session->window);
    build_number(&b, "receipts", session->traffic ? session->traffic->receipt_count : 0);
    build_number(&b, "session_expiry_s", session->expiry_s);
    build_flag(&b, "will", session->will != NULL);
    if (session->client)
        build_size(&b, "unsent_bytes", pg_conn_queued_bytes(pg_client_conn(session->client)));
    pg_subscriptions_each(session, add_subscription, &subs);
    build_set(&b, "subscription_list", subs.list);
    build_set(&b, "why", why_notes(pg_session_id(session)));
    api_answer(call, b.object);
}

static void run_why(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    struct pg_bytes id = api_text(call, "client");
    struct build b = build_object();
    build_bytes(&b, "client", id);
    build_flag(&b, "session",
               pg_registry_find(api_server(call)->registry, id).owner != PG_NO_OWNER);
    build_set(&b, "notes", why_notes(id));
    api_answer(call, b.object);
}

static const struct api_argument kick_arguments[] = {
    {.name = "client", .type = API_TEXT, .required = true},
    {.name = "discard", .type = API_FLAG},
    {.name = NULL},
};

static void run_kick(struct api_call *call, struct pg_session *session)
{
    bool discard = api_flag(call, "discard"), online = session->client != NULL;
    if (!online && !discard) {
        api_refuse(call, "the client is not online; its session waits for it (\"discard\": true "
                         "ends the session)");
        return;
    }
    if (online) {
        if (discard) /* the session then ends with its client */
            pg_client_set_session_expiry(session->client, 0);
        pg_client_evict(session->client, PG_KICKED);
    } else if (session->state != SESSION_LIVE) {
        api_refuse(call, "the session is just being fetched by another connection; try again");
        return;
    } else {
        pg_session_destroy(session, PG_KICKED);
    }
    struct build b = build_object();
    build_flag(&b, "was_online", online);
    build_flag(&b, "session_ends", discard);
    api_answer(call, b.object);
}

/* ---- configuration --------------------------------------------------------------------------- */

static void run_config(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    char *text = pg_config_json(atomic_load(&api_server(call)->config));
    api_answer(call, text ? json_loads(text, 0, NULL) : NULL);
    free(text);
}

/* ---- help ------------------------------------------------------------------------------------ */

static void run_help(struct api_call *call, struct pg_worker *worker)
{
    (void)worker;
    json_t *list = json_array();
    for (const struct api_command *c = api_commands; c->row.name; c++) {
        struct build b = build_object();
        build_text(&b, "command", c->row.name);
        build_text(&b, "arguments", c->row.arguments);
        build_text(&b, "help", c->row.help);
        append(&list, b.object);
    }
    struct build b = build_object();
    build_set(&b, "commands", list);
    api_answer(call, b.object);
}

/* ---- the rows -------------------------------------------------------------------------------- */

const struct api_command api_commands[] = {
    {
        .row = {"status", "", "Version, uptime, listeners, how many of what, and what has moved."},
        .once = run_status,
    },
    {
        .row = {"counters", "[all]", "Every counter that is not zero (all: every one), explained."},
        .arguments = counters_arguments,
        .once = run_counters,
    },
    {
        .row = {"clients", "[filter] [offline] [limit]",
                "Clients whose identifier contains the filter, sorted; offline: sessions without a "
                "client too."},
        .arguments = clients_arguments,
        .every = run_clients,
        .merge = merge_clients,
    },
    {
        .row = {"client", "client", "All about one session: connection, queue, subscriptions."},
        .arguments = client_arguments,
        .session = run_client,
    },
    {
        .row = {"why", "client",
                "The latest refusals, drops and closes of a client, the newest first."},
        .arguments = client_arguments,
        .once = run_why,
    },
    {
        .row = {"kick", "client [discard]",
                "Close a client's connection; discard: end its session too."},
        .arguments = kick_arguments,
        .session = run_kick,
    },
    {
        .row =
            {"ban", "who [seconds] [detail]",
             "Refuse an address, a range (10.0.0.0/8) or client:ID, for 3600 seconds if not told "
             "otherwise (0: until it is lifted), and close what is there of it."},
        .arguments = api_ban_arguments,
        .every = api_run_ban,
        .merge = api_merge_ban,
    },
    {
        .row = {"unban", "who", "Lift a ban."},
        .arguments = api_unban_arguments,
        .once = api_run_unban,
    },
    {
        .row = {"bans", "[limit]", "Who is banned, what for, until when, and how often refused."},
        .arguments = api_bans_arguments,
        .once = api_run_bans,
    },
    {
        .row = {"upstreams", "",
                "Whom the gateway calls: how each link stands, and how far it lags."},
        .every = api_run_upstreams,
        .merge = api_merge_upstreams,
    },
    {
        .row = {"retained", "", "How many retained messages there are, and their bytes."},
        .once = run_retained,
    },
    {
        .row = {"memory", "", "How much memory the process has, and how much of it is in use."},
        .once = run_memory,
    },
    {
        .row = {"config", "", "Every option with its value, its default and what it does."},
        .once = run_config,
    },
    {
        .row = {"help", "", "The commands of this API."},
        .once = run_help,
    },
    {.row = {.name = NULL}},
};
