/* SPDX-License-Identifier: Apache-2.0 */

/* The defaults of a frontend's options, for the test double of the core (fake_core.h). */

#include "fake_core.h"

#include <stdlib.h>
#include <string.h>

static int64_t number_of(const char *text)
{
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    int64_t value = strtoll(text, &end, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            return value * units[i].factor;
        }
    }
    abort();
}

static int64_t size_of(const char *text)
{
    char *end;
    int64_t value = strtoll(text, &end, 10);

    return value << (*end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0);
}

void fake_set_default(const struct pg_option *row, char *conf)
{
    char *at = conf + row->offset;

    switch (row->type) {
    case PG_OPT_STRING:
    case PG_OPT_SECRET:
        *(const char **)(void *)at = row->fallback;
        break;
    case PG_OPT_LIST:
        break;
    case PG_OPT_INT:
    case PG_OPT_DURATION:
        *(int64_t *)(void *)at = number_of(row->fallback);
        break;
    case PG_OPT_SIZE:
        *(int64_t *)(void *)at = size_of(row->fallback);
        break;
    case PG_OPT_BOOL:
        *(bool *)at = strcmp(row->fallback, "true") == 0;
        break;
    case PG_OPT_CHOICE:
        for (int i = 0; row->choices[i]; i++) {
            if (strcmp(row->choices[i], row->fallback) == 0) {
                *(int *)(void *)at = i;
                return;
            }
        }
        abort();
    }
}
