/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_OPTION_ROWS_H
#define WIRE_OPTION_ROWS_H

/* Rows of struct pg_option by the type of their value, each with what that type needs. All of them
 * can be changed by a reload. The file that has the rows says first where their values lie:
 *
 *     #define AT(member) offsetof(struct jt808_conf, member)
 */

#include "polygate.h"

#define TEXT(option, member, value, what)                                                          \
    {                                                                                              \
        .name = option, .type = PG_OPT_STRING, .offset = AT(member), .fallback = value,            \
        .reloadable = true, .sentence = what                                                       \
    }
#define CHOICE(option, member, value, words, what)                                                 \
    {                                                                                              \
        .name = option, .type = PG_OPT_CHOICE, .offset = AT(member), .fallback = value,            \
        .choices = words, .reloadable = true, .sentence = what                                     \
    }
/* `kind`: PG_OPT_INT, PG_OPT_SIZE or PG_OPT_DURATION; the bounds are in its unit. */
#define NUMBER(option, kind, member, value, low, high, what)                                       \
    {                                                                                              \
        .name = option, .type = kind, .offset = AT(member), .fallback = value, .min = low,         \
        .max = high, .reloadable = true, .sentence = what                                          \
    }
#define YES_NO(option, member, value, what)                                                        \
    {                                                                                              \
        .name = option, .type = PG_OPT_BOOL, .offset = AT(member), .fallback = value,              \
        .reloadable = true, .sentence = what                                                       \
    }

/* In milliseconds, as bounds of a duration. */
#define HOURS(n) (INT64_C(3600000) * (n))

#endif
