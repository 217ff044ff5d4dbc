/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_API_PARTS_H
#define PG_API_PARTS_H

/* Between the machinery of API calls (api.c) and the commands (api_commands.c).
 *
 * A command has one of three shapes: it visits every worker and puts the parts together, it visits
 * one worker, or it visits the owner of one session. Everything that a command reads of a worker is
 * read on that worker. */

#include <jansson.h>

#include "polygate.h"
#include "session.h"
#include "worker.h"

struct api_call;
struct pg_server;

/* An argument of a command, in the JSON object of the request. */
struct api_argument {
    const char *name;
    enum { API_TEXT, API_NUMBER, API_FLAG } type;
    bool required;
    int64_t min, max; /* API_NUMBER */
};

struct api_command {
    struct pg_command row;
    const struct api_argument *arguments; /* rows up to name == NULL; NULL: none */
    /* One of these three. */
    void (*every)(struct api_call *call, struct pg_worker *worker, json_t *part);
    void (*once)(struct api_call *call, struct pg_worker *worker);
    void (*session)(struct api_call *call, struct pg_session *session);
    /* With `every`, when all parts are there; any worker. */
    void (*merge)(struct api_call *call);
};

/* api_commands.c; up to row.name == NULL. */
extern const struct api_command api_commands[];
/* api_bans.c: parts of those rows. */
extern const struct api_argument api_ban_arguments[], api_unban_arguments[], api_bans_arguments[];
void api_run_ban(struct api_call *call, struct pg_worker *worker, json_t *part);
void api_merge_ban(struct api_call *call);
void api_run_unban(struct api_call *call, struct pg_worker *worker);
void api_run_bans(struct api_call *call, struct pg_worker *worker);
/* api_calls.c: likewise. */
void api_run_upstreams(struct api_call *call, struct pg_worker *worker, json_t *part);
void api_merge_upstreams(struct api_call *call);

struct pg_server *api_server(const struct api_call *call);
/* The argument's value; the fallback when it is not given. Its type was checked. */
struct pg_bytes api_text(const struct api_call *call, const char *name);
int64_t api_number(const struct api_call *call, const char *name, int64_t fallback);
bool api_flag(const struct api_call *call, const char *name);

/* The parts of `every`: JSON objects, lent. */
size_t api_part_count(const struct api_call *call);
json_t *api_part(const struct api_call *call, size_t index);
/* The rows of the array "list" of every part, as qsort() orders them by `compare`, at most `limit`:
 * a new array. NULL: memory ran out. */
json_t *api_merged_rows(const struct api_call *call, int (*compare)(const void *a, const void *b),
                        size_t limit);

/* Answer, exactly once. `result` is given; NULL means that memory ran out. */
void api_answer(struct api_call *call, json_t *result);
void api_refuse(struct api_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes of peers as JSON: text, or {"hex": "..."} when they are not UTF-8. NULL: memory ran out. */
json_t *api_bytes(struct pg_bytes bytes);
/* Set a member; `value` is given and may be NULL. false when memory ran out. */
bool api_set(json_t *object, const char *key, json_t *value);

#endif
