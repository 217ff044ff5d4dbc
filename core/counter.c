/* SPDX-License-Identifier: Apache-2.0 */

/* The table of counters: what each index means, and the arrays of values.
 *
 * The layout is core, closes by reason, refusals and drops by reason, then one section for each
 * set of rows that was registered. It grows while the process assembles itself on the main thread
 * and is closed by the first array that is made, since all arrays have one length; from then on
 * any thread may read it. */

#include <assert.h>
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>

#include "counter.h"

#define CORE_TOTAL ((size_t)PG_COUNT_CORE + 2 * (size_t)PG_REASON_COUNT)
/* More frontends than anybody will ever load into one process. */
#define SECTIONS_MAX 64

struct section {
    const char *prefix;
    const struct pg_counter *rows;
    size_t base, count;
};

static const struct pg_counter core_rows[PG_COUNT_CORE] = {
#define PG_COUNTER_ROW(NAME, text) [PG_COUNT_##NAME] = {.name = #NAME, .sentence = (text)},
    PG_COUNTERS(PG_COUNTER_ROW)
#undef PG_COUNTER_ROW
};

/* The core's names in lower case, made once: the preprocessor cannot. */
#define NAME_ROOM 32
#define PG_COUNTER_FITS(NAME, text)                                                                \
    static_assert(sizeof(#NAME) <= NAME_ROOM, "the name " #NAME " is too long");
PG_COUNTERS(PG_COUNTER_FITS)
#undef PG_COUNTER_FITS

static char names[PG_COUNT_CORE][NAME_ROOM];
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static struct section sections[SECTIONS_MAX];
static size_t section_count;
static size_t total = CORE_TOTAL;
static bool closed;

static void make_names(void)
{
    for (size_t i = 0; i < PG_COUNT_CORE; i++)
        for (size_t k = 0; core_rows[i].name[k] != '\0'; k++)
            names[i][k] = (char)tolower((unsigned char)core_rows[i].name[k]);
}

size_t pg_counter_register(const char *prefix, const struct pg_counter *rows)
{
    if (!rows || !rows[0].name)
        return 0;
    for (size_t i = 0; i < section_count; i++)
        if (sections[i].rows == rows)
            return sections[i].base;
    if (closed || section_count == SECTIONS_MAX)
        return SIZE_MAX;

    struct section *s = &sections[section_count++];
    *s = (struct section){.prefix = prefix, .rows = rows, .base = total};
    while (rows[s->count].name)
        s->count++;
    total += s->count;
    return s->base;
}

size_t pg_counter_total(void)
{
    return total;
}

struct pg_counter_row pg_counter_row(size_t index)
{
    assert(index < total);
    if (index < PG_COUNT_CORE) {
        pthread_once(&names_once, make_names);
        return (struct pg_counter_row){"core", names[index], core_rows[index].sentence};
    }
    if (index < CORE_TOTAL) {
        size_t reason = (index - PG_COUNT_CORE) % PG_REASON_COUNT;
        bool is_close = index < PG_COUNTER_REFUSE(0);
        return (struct pg_counter_row){is_close ? "close" : "refuse",
                                       pg_reason_name((enum pg_reason)reason),
                                       pg_reason_sentence((enum pg_reason)reason)};
    }
    const struct section *s = sections;
    while (index >= s->base + s->count)
        s++;
    const struct pg_counter *row = &s->rows[index - s->base];
    return (struct pg_counter_row){s->prefix, row->name, row->sentence};
}

bool pg_counter_set_init(struct pg_counter_set *set)
{
    closed = true;
    set->values = calloc(total, sizeof(*set->values));
    return set->values != NULL;
}

void pg_counter_set_free(struct pg_counter_set *set)
{
    free(set->values);
    set->values = NULL;
}
