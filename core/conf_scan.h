/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONF_SCAN_H
#define PG_CONF_SCAN_H

/* A configuration file as tokens, each with the place where it stands. */

#include "polygate.h"

enum pg_conf_token_kind {
    PG_TOKEN_TEXT,  /* a word or a quoted value */
    PG_TOKEN_OPEN,  /* { */
    PG_TOKEN_CLOSE, /* } */
    PG_TOKEN_EQUAL, /* = */
    PG_TOKEN_COMMA, /* , */
};

struct pg_conf_token {
    enum pg_conf_token_kind kind;
    const char *text; /* as meant: unquoted, variables put in */
    const char *file;
    unsigned line;
};

struct pg_conf_pool;

struct pg_conf_scan {
    struct pg_conf_pool *pool; /* lent by the caller; owns the texts and names of files */
    struct pg_conf_token *tokens;
    size_t count, room;
};

/* Read `path` and what it includes; or `text`, which errors call `name`. Appends to scan->tokens.
 * false with error->text ("file:line: ..."); the scan is to be freed then as well. One thread. */
bool pg_conf_scan_file(struct pg_conf_scan *scan, const char *path, struct pg_error *error);
bool pg_conf_scan_text(struct pg_conf_scan *scan, const char *name, const char *text,
                       struct pg_error *error);
void pg_conf_scan_free(struct pg_conf_scan *scan);

#endif
