/* SPDX-License-Identifier: Apache-2.0 */

/* Values of options: numbers with units, bounds, choices, and how to say what was expected.
 *
 * Sizes count in 1024 (k, m, g); durations need a unit (ms, s, m, h, d) since a bare number would
 * be taken for seconds by one reader and milliseconds by the next. 0 needs none. Any thread. */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "option.h"
#include "pool.h"

struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit size_units[] = {{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}};
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- how values are written ------------------------------------------------------------------ */

static void add_number(struct pg_text *out, int64_t value, const struct unit *units, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count;
        if (last || (value != 0 && value % units[i].factor == 0)) {
            pg_text_addf(out, "%" PRId64 "%s", value / units[i].factor,
                         value == 0 ? "" : units[i].name);
            return;
        }
    }
}

static void add_value(struct pg_text *out, enum pg_option_type type, int64_t value)
{
    if (type == PG_OPT_SIZE)
        add_number(out, value, size_units, COUNT_OF(size_units));
    else if (type == PG_OPT_DURATION)
        add_number(out, value, duration_units, COUNT_OF(duration_units));
    else
        pg_text_addf(out, "%" PRId64, value);
}

static bool is_bounded(const struct pg_option *row)
{
    return row->min != 0 || row->max != 0;
}

static void add_bounds(const struct pg_option *row, struct pg_text *out)
{
    if (!is_bounded(row))
        return;
    pg_text_addf(out, " from ");
    add_value(out, row->type, row->min);
    pg_text_addf(out, " to ");
    add_value(out, row->type, row->max);
}

const char *pg_option_type_name(enum pg_option_type type)
{
    static const char *const names[] = {
        [PG_OPT_STRING] = "text",    [PG_OPT_SECRET] = "secret text",
        [PG_OPT_LIST] = "list",      [PG_OPT_INT] = "number",
        [PG_OPT_SIZE] = "size",      [PG_OPT_DURATION] = "duration",
        [PG_OPT_BOOL] = "yes or no", [PG_OPT_CHOICE] = "choice",
    };
    return names[type];
}

void pg_option_expected(const struct pg_option *row, struct pg_text *out)
{
    switch (row->type) {
    case PG_OPT_STRING:
    case PG_OPT_SECRET:
        pg_text_addf(out, "one text");
        break;
    case PG_OPT_LIST:
        pg_text_addf(out, "one text, or a list as in {\"a\", \"b\"}");
        break;
    case PG_OPT_INT:
        pg_text_addf(out, "a whole number");
        add_bounds(row, out);
        break;
    case PG_OPT_SIZE:
        pg_text_addf(out, "a size (bytes, or with k, m, g)");
        add_bounds(row, out);
        break;
    case PG_OPT_DURATION:
        pg_text_addf(out, "a duration (with ms, s, m, h, d)");
        add_bounds(row, out);
        break;
    case PG_OPT_BOOL:
        pg_text_addf(out, "yes or no");
        break;
    case PG_OPT_CHOICE:
        for (size_t i = 0; row->choices[i]; i++)
            pg_text_addf(out, "%s%s",
                         i == 0                ? ""
                         : row->choices[i + 1] ? ", "
                                               : " or ",
                         row->choices[i]);
        break;
    }
}

void pg_option_json(const struct pg_option *row, const void *conf, struct pg_text *out)
{
    const uint8_t *at = (const uint8_t *)conf + row->offset;
    switch (row->type) {
    case PG_OPT_SECRET:
        pg_text_addf(out, "\"(not shown)\"");
        break;
    case PG_OPT_STRING:
        pg_text_add_quoted(out, pg_bytes_str(*(const char *const *)at), PG_QUOTE_JSON);
        break;
    case PG_OPT_LIST: {
        const struct pg_strings *list = (const void *)at;
        pg_text_addf(out, "[");
        for (size_t i = 0; i < list->count; i++) {
            pg_text_addf(out, i ? "," : "");
            pg_text_add_quoted(out, pg_bytes_str(list->items[i]), PG_QUOTE_JSON);
        }
        pg_text_addf(out, "]");
        break;
    }
    case PG_OPT_INT:
        add_value(out, row->type, *(const int64_t *)at);
        break;
    case PG_OPT_SIZE:
    case PG_OPT_DURATION:
        pg_text_addf(out, "\"");
        add_value(out, row->type, *(const int64_t *)at);
        pg_text_addf(out, "\"");
        break;
    case PG_OPT_BOOL:
        pg_text_addf(out, *(const bool *)at ? "true" : "false");
        break;
    case PG_OPT_CHOICE:
        pg_text_add_quoted(out, pg_bytes_str(row->choices[*(const int *)at]), PG_QUOTE_JSON);
        break;
    }
}

/* ---- how they are read ----------------------------------------------------------------------- */

static bool refuse(const struct pg_option *row, const char *found, struct pg_error *error)
{
    char buffer[sizeof(error->text)];
    struct pg_text text = {.data = buffer, .room = sizeof(buffer) - 1};
    pg_text_addf(&text, "found ");
    text.room = 160; /* a value of kilobytes must not push out what is expected */
    pg_text_add_quoted(&text, pg_bytes_str(found), PG_QUOTE_JSON);
    text.room = sizeof(buffer) - 1;
    pg_text_addf(&text, ", expected ");
    pg_option_expected(row, &text);
    if (row->type == PG_OPT_CHOICE) {
        size_t count = 0;
        while (row->choices[count])
            count++;
        const char *near = pg_option_nearest(found, row->choices, count);
        if (near)
            pg_text_addf(&text, "; did you mean \"%s\"?", near);
    }
    buffer[text.len] = '\0';
    pg_error_set(error, "%s", buffer);
    return false;
}

/* A number in front and a unit behind it; false if it is not one, or does not fit. */
static bool parse_number(const char *text, const struct unit *units, size_t unit_count,
                         bool needs_unit, int64_t *out)
{
    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && unit_count == 0))
        return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text)
        return false;
    *out = value;
    if (*end == '\0' && (!needs_unit || value == 0))
        return true;
    for (size_t i = 0; i < unit_count; i++)
        if (units[i].name[0] != '\0' && strcasecmp(end, units[i].name) == 0)
            return !__builtin_mul_overflow(value, units[i].factor, out);
    return false;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    return false;
}

static bool parse_scalar(const struct pg_option *row, const char *text, uint8_t *at)
{
    int64_t number = 0;
    bool ok = false;
    switch (row->type) {
    case PG_OPT_INT:
        ok = parse_number(text, NULL, 0, false, &number);
        break;
    case PG_OPT_SIZE:
        ok = parse_number(text, size_units, COUNT_OF(size_units), false, &number);
        break;
    case PG_OPT_DURATION:
        ok = parse_number(text, duration_units, COUNT_OF(duration_units), true, &number);
        break;
    case PG_OPT_BOOL:
        return parse_bool(text, (bool *)at);
    case PG_OPT_CHOICE:
        for (int i = 0; row->choices[i]; i++)
            if (strcasecmp(text, row->choices[i]) == 0) {
                *(int *)(void *)at = i;
                return true;
            }
        return false;
    case PG_OPT_STRING:
    case PG_OPT_SECRET:
    case PG_OPT_LIST:
        return false; /* store_texts() has these */
    }
    if (!ok || (is_bounded(row) && (number < row->min || number > row->max)))
        return false;
    *(int64_t *)(void *)at = number;
    return true;
}

static bool store_texts(const struct pg_option *row, const char *const *values, size_t count,
                        uint8_t *at, struct pg_conf_pool *pool)
{
    const char **items = pg_conf_pool_alloc(pool, (count ? count : 1) * sizeof(*items));
    if (!items)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!(items[i] = pg_conf_pool_text(pool, values[i], strlen(values[i]))))
            return false;
    if (row->type == PG_OPT_LIST)
        *(struct pg_strings *)(void *)at = (struct pg_strings){.items = items, .count = count};
    else
        *(const char **)(void *)at = items[0];
    return true;
}

bool pg_option_parse(const struct pg_option *row, const char *const *values, size_t count,
                     void *into, struct pg_conf_pool *pool, struct pg_error *error)
{
    uint8_t *at = (uint8_t *)into + row->offset;
    assert(row->type == PG_OPT_LIST || count == 1);
    if (row->type == PG_OPT_LIST || row->type == PG_OPT_STRING || row->type == PG_OPT_SECRET) {
        if (store_texts(row, values, count, at, pool))
            return true;
        pg_error_set(error, "out of memory");
        return false;
    }
    return parse_scalar(row, values[0], at) || refuse(row, values[0], error);
}

bool pg_option_default(const struct pg_option *row, void *into, struct pg_conf_pool *pool,
                       struct pg_error *error)
{
    const char *value = row->fallback ? row->fallback : "";
    /* A list's default is its items with blanks between them. */
    if (row->type == PG_OPT_LIST) {
        const char *items[16];
        size_t count = 0;
        char *copy = pg_conf_pool_text(pool, value, strlen(value));
        char *rest = copy;
        for (char *item; copy && (item = strsep(&rest, " ")) != NULL && count < COUNT_OF(items);)
            if (*item != '\0')
                items[count++] = item;
        if (copy)
            return pg_option_parse(row, items, count, into, pool, error);
        pg_error_set(error, "out of memory");
        return false;
    }
    return pg_option_parse(row, &value, 1, into, pool, error);
}

/* ---- did you mean ---------------------------------------------------------------------------- */

#define NEAR_MAX 40 /* no name is longer; a longer word is not a slip of the finger */

/* Edits (insert, delete, replace, swap of neighbours) between two words. */
static size_t edits(const char *a, const char *b)
{
    size_t rows[3][NEAR_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > NEAR_MAX || lb > NEAR_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            size_t best = before[j - 1] + (ca != cb);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]) && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *pg_option_nearest(const char *found, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t n = edits(found, names[i]);
        if (n < least) {
            least = n;
            nearest = names[i];
        }
    }
    /* A third of the word may be wrong, and one letter always. */
    size_t allowed = strlen(found) / 3 > 1 ? strlen(found) / 3 : 1;
    return least <= allowed ? nearest : NULL;
}
