/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_OPTION_H
#define PG_OPTION_H

/* The value of one option: from the words of a file into its place in a struct, and back. */

#include "polygate.h"

struct pg_conf_pool;
struct pg_text;

/* Read `values` (one, unless the row is a list) as the row says and store the result at
 * row->offset of `into`; strings are copied into `pool`. On failure error->text says what was
 * found and what is expected, with no place in front. */
bool pg_option_parse(const struct pg_option *row, const char *const *values, size_t count,
                     void *into, struct pg_conf_pool *pool, struct pg_error *error) PG_CHECKED;
/* Store the row's default. It fails only for a row whose default breaks its own rules. */
bool pg_option_default(const struct pg_option *row, void *into, struct pg_conf_pool *pool,
                       struct pg_error *error) PG_CHECKED;

/* The value in `conf` as JSON: sizes and durations as a user would write them. */
void pg_option_json(const struct pg_option *row, const void *conf, struct pg_text *out);
/* What may be written for it: "a duration from 1s to 1h", "text or json". */
void pg_option_expected(const struct pg_option *row, struct pg_text *out);
const char *pg_option_type_name(enum pg_option_type type); /* "size" */

/* The entry of `names` (count of them) that was most likely meant by `found`; NULL if none is
 * near. */
const char *pg_option_nearest(const char *found, const char *const *names, size_t count);

#endif
