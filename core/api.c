/* SPDX-License-Identifier: Apache-2.0 */

/* The machinery of the management API: calls, argument checks, visits to workers.
 *
 *   pg_api_call --checks--> call --tasks--> workers: every / once / session --> answer --> freed
 *
 * A call is one object that travels: posted to one worker or to all, each writes its own part, and
 * whoever comes last answers. A session may move to another worker while the call is on its way;
 * then the call follows, a bounded number of times.
 *
 * Calls that are out are counted, and pg_api_stop() waits for them: a task in the mailbox of a
 * worker must not outlive it. */

#include "api.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_parts.h"
#include "escape.h"
#include "registry.h"
#include "server.h"

/* Longest request that is parsed; a bound for those who pass on what they read from a socket. */
#define REQUEST_MAX (512u * 1024)
/* A session that changes hands faster than this is fought for. */
#define FOLLOW_MAX 16u

struct api_visit {
    struct pg_task task; /* first */
    struct api_call *call;
    json_t *part;
};

struct api_call {
    const struct api_command *command;
    json_t *request;
    struct pg_server *server;
    void (*done)(void *arg, const char *json);
    void *arg;
    unsigned followed;        /* how often a session was found to have moved */
    _Atomic unsigned waiting; /* visits that are not over */
    size_t visit_count;
    struct api_visit visits[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_answered = PTHREAD_COND_INITIALIZER;
static struct pg_server *open_for; /* under lock, with the next; NULL: closed */
static size_t calls_out;

static const char out_of_memory[] = "{\"ok\":false,\"error\":\"out of memory\"}";

/* ---- life of a call -------------------------------------------------------------------------- */

void pg_api_start(struct pg_server *server)
{
    pthread_mutex_lock(&lock);
    open_for = server;
    pthread_mutex_unlock(&lock);
}

void pg_api_stop(void)
{
    pthread_mutex_lock(&lock);
    open_for = NULL;
    while (calls_out > 0)
        pthread_cond_wait(&all_answered, &lock);
    pthread_mutex_unlock(&lock);
}

static struct pg_server *enter(void)
{
    pthread_mutex_lock(&lock);
    struct pg_server *server = open_for;
    if (server)
        calls_out++;
    pthread_mutex_unlock(&lock);
    return server;
}

static void leave(void)
{
    pthread_mutex_lock(&lock);
    if (--calls_out == 0)
        pthread_cond_broadcast(&all_answered);
    pthread_mutex_unlock(&lock);
}

static void answer_text(void (*done)(void *arg, const char *json), void *arg, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);
    done(arg, text ? text : out_of_memory);
    free(text);
}

static json_t *error_answer(const char *text)
{
    json_t *answer = json_object();
    if (!answer || !api_set(answer, "ok", json_false()) ||
        !api_set(answer, "error", json_string(text))) {
        json_decref(answer);
        return NULL;
    }
    return answer;
}

static void finish(struct api_call *call, json_t *answer)
{
    for (size_t i = 0; i < call->visit_count; i++)
        json_decref(call->visits[i].part);
    json_decref(call->request);
    answer_text(call->done, call->arg, answer);
    free(call);
    leave();
}

void api_answer(struct api_call *call, json_t *result)
{
    json_t *answer = result ? json_object() : NULL;
    if (!answer || !api_set(answer, "ok", json_true())) {
        json_decref(result);
        json_decref(answer);
        finish(call, NULL);
        return;
    }
    if (!api_set(answer, "result", result)) {
        json_decref(answer);
        answer = NULL;
    }
    finish(call, answer);
}

void api_refuse(struct api_call *call, const char *format, ...)
{
    struct pg_error error;
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    finish(call, error_answer(error.text));
}

/* ---- what commands use ----------------------------------------------------------------------- */

struct pg_server *api_server(const struct api_call *call)
{
    return call->server;
}

struct pg_bytes api_text(const struct api_call *call, const char *name)
{
    json_t *value = json_object_get(call->request, name);
    if (!value)
        return PG_BYTES_NONE;
    return (struct pg_bytes){.data = (const uint8_t *)json_string_value(value),
                             .len = json_string_length(value)};
}

int64_t api_number(const struct api_call *call, const char *name, int64_t fallback)
{
    json_t *value = json_object_get(call->request, name);
    return value ? json_integer_value(value) : fallback;
}

bool api_flag(const struct api_call *call, const char *name)
{
    return json_is_true(json_object_get(call->request, name));
}

size_t api_part_count(const struct api_call *call)
{
    return call->visit_count;
}

json_t *api_part(const struct api_call *call, size_t index)
{
    return call->visits[index].part;
}

json_t *api_merged_rows(const struct api_call *call, int (*compare)(const void *a, const void *b),
                        size_t limit)
{
    size_t count = 0, at = 0, k;
    json_t *row, *list = json_array();
    for (size_t i = 0; i < call->visit_count; i++)
        count += json_array_size(json_object_get(call->visits[i].part, "list"));
    json_t **rows = calloc(count + 1, sizeof(*rows));
    bool ok = list && rows;
    for (size_t i = 0; ok && i < call->visit_count; i++)
        json_array_foreach(json_object_get(call->visits[i].part, "list"), k, row) rows[at++] = row;
    if (ok)
        qsort(rows, count, sizeof(*rows), compare);
    for (size_t i = 0; ok && i < count && i < limit; i++)
        ok = json_array_append(list, rows[i]) == 0;
    free(rows);
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

bool api_set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

json_t *api_bytes(struct pg_bytes bytes)
{
    if (bytes.len == 0)
        return json_string("");
    json_t *text = json_stringn((const char *)bytes.data, bytes.len);
    if (text)
        return text;
    char *hex = malloc(2 * bytes.len);
    if (!hex)
        return NULL;
    struct pg_text digits = {.data = hex, .room = 2 * bytes.len};
    pg_text_add_hex(&digits, bytes);
    json_t *object = json_object();
    if (!object || !api_set(object, "hex", json_stringn(hex, digits.len))) {
        json_decref(object);
        object = NULL;
    }
    free(hex);
    return object;
}

/* ---- visits ---------------------------------------------------------------------------------- */

static struct api_call *call_of(struct pg_task *task)
{
    return ((struct api_visit *)task)->call;
}

static void run_every(struct pg_task *task, struct pg_worker *worker)
{
    struct api_visit *visit = (struct api_visit *)task;
    struct api_call *call = visit->call;
    call->command->every(call, worker, visit->part);
    if (atomic_fetch_sub(&call->waiting, 1) == 1)
        call->command->merge(call);
}

static void run_once(struct pg_task *task, struct pg_worker *worker)
{
    struct api_call *call = call_of(task);
    call->command->once(call, worker);
}

static void run_session(struct pg_task *task, struct pg_worker *worker);

static void refuse_unknown(struct api_call *call)
{
    struct pg_bytes id = api_text(call, "client");
    api_refuse(call, "no client and no session has the identifier \"%.*s\"",
               id.len < 200 ? (int)id.len : 200, (const char *)id.data);
}

static void visit_owner(struct api_call *call)
{
    struct pg_registered found = pg_registry_find(call->server->registry, api_text(call, "client"));
    if (found.owner == PG_NO_OWNER) {
        refuse_unknown(call);
    } else if (call->followed++ == FOLLOW_MAX) {
        api_refuse(call, "the session moves between workers too fast: several clients fight for "
                         "its identifier; try again");
    } else {
        call->visits[0].task.run = run_session;
        pg_worker_post(call->server->workers[found.owner], &call->visits[0].task);
    }
}

static void run_session(struct pg_task *task, struct pg_worker *worker)
{
    struct api_call *call = call_of(task);
    struct pg_registered found = pg_registry_find(call->server->registry, api_text(call, "client"));
    if (found.owner != pg_worker_index(worker))
        visit_owner(call); /* it moved, or it ended */
    else
        call->command->session(call, found.session);
}

static void visit_every(struct api_call *call)
{
    for (size_t i = 0; i < call->visit_count; i++) {
        call->visits[i].task.run = run_every;
        call->visits[i].part = json_object();
        if (!call->visits[i].part) {
            finish(call, NULL);
            return;
        }
    }
    /* The last visit may free the call while this loop still runs: keep what the loop needs. */
    size_t count = call->visit_count;
    struct pg_server *server = call->server;
    atomic_store(&call->waiting, (unsigned)count);
    for (size_t i = 0; i < count; i++)
        pg_worker_post(server->workers[i], &call->visits[i].task);
}

static void start(struct api_call *call)
{
    if (call->command->every) {
        visit_every(call);
    } else if (call->command->session) {
        visit_owner(call);
    } else {
        call->visits[0].task.run = run_once;
        pg_worker_post(call->server->workers[0], &call->visits[0].task);
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

static const struct api_command *find_command(const char *name)
{
    for (const struct api_command *c = api_commands; c->row.name; c++) {
        if (strcmp(c->row.name, name) == 0)
            return c;
    }
    return NULL;
}

static const struct api_argument *find_argument(const struct api_command *command, const char *name)
{
    for (const struct api_argument *a = command->arguments; a && a->name; a++) {
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

static bool check_value(const struct api_command *command, const struct api_argument *argument,
                        const json_t *value, struct pg_error *error)
{
    const char *name = command->row.name;
    switch (argument->type) {
    case API_TEXT:
        if (json_is_string(value) && json_string_length(value) > 0)
            return true;
        pg_error_set(error, "%s: \"%s\" must be a text that is not empty", name, argument->name);
        return false;
    case API_FLAG:
        if (json_is_boolean(value))
            return true;
        pg_error_set(error, "%s: \"%s\" must be true or false", name, argument->name);
        return false;
    default:
        if (json_is_integer(value) && json_integer_value(value) >= argument->min &&
            json_integer_value(value) <= argument->max)
            return true;
        pg_error_set(error, "%s: \"%s\" must be a whole number from %" PRId64 " to %" PRId64, name,
                     argument->name, argument->min, argument->max);
        return false;
    }
}

static bool check_arguments(const struct api_command *command, json_t *request,
                            struct pg_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(request, key, value)
    {
        if (strcmp(key, "command") == 0)
            continue;
        const struct api_argument *argument = find_argument(command, key);
        if (!argument) {
            pg_error_set(error, "%s: there is no argument \"%.60s\"; usage: %s %s",
                         command->row.name, key, command->row.name, command->row.arguments);
            return false;
        }
        if (!check_value(command, argument, value, error))
            return false;
    }
    for (const struct api_argument *a = command->arguments; a && a->name; a++) {
        if (a->required && !json_object_get(request, a->name)) {
            pg_error_set(error, "%s: the argument \"%s\" is missing; usage: %s %s",
                         command->row.name, a->name, command->row.name, command->row.arguments);
            return false;
        }
    }
    return true;
}

/* The request as a JSON object with a known command and checked arguments; NULL with the error. */
static json_t *parse(const char *text, const struct api_command **command, struct pg_error *error)
{
    size_t len = strnlen(text, REQUEST_MAX + 1);
    if (len > REQUEST_MAX) {
        pg_error_set(error, "the request is longer than %u bytes", REQUEST_MAX);
        return NULL;
    }
    json_error_t where;
    json_t *request = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!request) {
        pg_error_set(error, "the request is not JSON: %s at byte %d", where.text, where.position);
        return NULL;
    }
    const char *name = json_string_value(json_object_get(request, "command"));
    if (!name) {
        pg_error_set(error, "expected a JSON object with a text \"command\", for instance "
                            "{\"command\":\"status\"}");
    } else if (!(*command = find_command(name))) {
        pg_error_set(error, "there is no command \"%.60s\"; {\"command\":\"help\"} lists them all",
                     name);
    } else if (check_arguments(*command, request, error)) {
        return request;
    }
    json_decref(request);
    return NULL;
}

void pg_api_call(const char *text, void (*done)(void *arg, const char *json), void *arg)
{
    struct pg_error error;
    const struct api_command *command = NULL;
    struct pg_server *server = enter();
    if (!server) {
        done(arg, "{\"ok\":false,\"error\":\"the gateway is starting or shutting down\"}");
        return;
    }
    json_t *request = parse(text, &command, &error);
    if (!request) {
        answer_text(done, arg, error_answer(error.text));
        leave();
        return;
    }
    size_t visits = command->every ? server->worker_count : 1;
    struct api_call *call = calloc(1, sizeof(*call) + visits * sizeof(struct api_visit));
    if (!call) {
        json_decref(request);
        done(arg, out_of_memory);
        leave();
        return;
    }
    *call = (struct api_call){.command = command,
                              .request = request,
                              .server = server,
                              .done = done,
                              .arg = arg,
                              .visit_count = visits};
    for (size_t i = 0; i < visits; i++)
        call->visits[i].call = call;
    start(call);
}
