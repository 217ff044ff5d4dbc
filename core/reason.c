/* SPDX-License-Identifier: Apache-2.0 */

/* The one list of reasons as a table, and the error text for people. Any thread. */

#include <assert.h>
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>

#include "polygate.h"

static const struct {
    const char *upper;
    const char *sentence;
    bool is_error;
} reasons[PG_REASON_COUNT] = {
#define PG_REASON_ROW(NAME, error, text)                                                           \
    [PG_##NAME] = {.upper = #NAME, .sentence = (text), .is_error = (error)},
    PG_REASONS(PG_REASON_ROW)
#undef PG_REASON_ROW
};

/* The names in lower case, made once: the preprocessor cannot. */
#define NAME_ROOM 32
#define PG_REASON_FITS(NAME, error, text)                                                          \
    static_assert(sizeof(#NAME) <= NAME_ROOM, "the name " #NAME " is too long");
PG_REASONS(PG_REASON_FITS)
#undef PG_REASON_FITS

static char names[PG_REASON_COUNT][NAME_ROOM];
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static void make_names(void)
{
    for (size_t i = 0; i < PG_REASON_COUNT; i++)
        for (size_t k = 0; reasons[i].upper[k] != '\0'; k++)
            names[i][k] = (char)tolower((unsigned char)reasons[i].upper[k]);
}

const char *pg_reason_name(enum pg_reason reason)
{
    assert((size_t)reason < PG_REASON_COUNT);
    pthread_once(&names_once, make_names);
    return names[reason];
}

const char *pg_reason_sentence(enum pg_reason reason)
{
    assert((size_t)reason < PG_REASON_COUNT);
    return reasons[reason].sentence;
}

bool pg_reason_is_error(enum pg_reason reason)
{
    assert((size_t)reason < PG_REASON_COUNT);
    return reasons[reason].is_error;
}

void pg_error_set(struct pg_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}
