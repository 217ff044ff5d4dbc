/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_ROWS_H
#define JT808_ROWS_H

/* Private to the jt808_table files and jt808_json.c: short forms of rows, and what they share. */

#include "jt808_table.h"

/* As jt808_body_open(), but a message that has only one layout is not judged: the caller is about
 * to walk it. `faults` is then not set, and the layout may not fit. */
bool jt808_body_pick(const struct jt808_frame *frame, unsigned edition, struct jt808_body *out);

#define ROW(name_, kind_, ...)                                                                     \
    {                                                                                              \
        .name = (name_), .name_len = sizeof(name_) - 1, .kind = (kind_), __VA_ARGS__               \
    }
#define END_OF_ROWS WIRE_END_OF_ROWS

#define U8(name, ...)            ROW(name, WIRE_UINT, .width = 1, __VA_ARGS__)
#define U16(name, ...)           ROW(name, WIRE_UINT, .width = 2, __VA_ARGS__)
#define U32(name, ...)           ROW(name, WIRE_UINT, .width = 4, __VA_ARGS__)
#define BITS(name, w, b, ...)    ROW(name, WIRE_BITS, .width = (w), .bits = &(b), __VA_ARGS__)
#define TIME(name, ...)          ROW(name, WIRE_TIME, .width = 6, __VA_ARGS__)
#define DIGITS(name, w, ...)     ROW(name, WIRE_DIGITS, .width = (w), __VA_ARGS__)
#define COUNT(name, w, reg, ...) ROW(name, WIRE_COUNT, .width = (w), .keep = (reg), __VA_ARGS__)
#define LIST(name, entry, reg, ...)                                                                \
    ROW(name, WIRE_LIST, .rows = (entry), .count = (reg), __VA_ARGS__)
#define STRUCT(name, fields, ...)  ROW(name, WIRE_STRUCT, .rows = (fields), __VA_ARGS__)
#define TEXT_FIXED(name, w, ...)   ROW(name, WIRE_TEXT, .width = (w), __VA_ARGS__)
#define TEXT_COUNTED(name, p, ...) ROW(name, WIRE_TEXT, .prefix = (p), __VA_ARGS__)
#define TEXT_REST(name, ...)       ROW(name, WIRE_TEXT, __VA_ARGS__)
#define HEX_FIXED(name, w, ...)    ROW(name, WIRE_HEX, .width = (w), __VA_ARGS__)
#define HEX_REST(name, ...)        ROW(name, WIRE_HEX, __VA_ARGS__)

#define NAMES(list)           .names = (list)
#define EMQX(text)            .alias = (text) /* the name in EMQX's JT/T 808 gateway */
#define FLAGS(set)            .flags = (set)
#define CLAUSE(text)          .clause = (text)
#define UNIT(text)            .unit = (text)
#define IF(reg, mask, value_) .when = (reg), .when_mask = (mask), .when_value = (value_)
#define COORDINATE            .decimals = 6, .unit = "deg"
#define SPEED_KMH             .unit = "km/h"

/* Layouts of a message. */
#define EVERY_EDITION 2011, 2999
#define LAYOUT(...)   LAYOUT_(__VA_ARGS__)
#define LAYOUT_(label, from, to, as, table)                                                        \
    {                                                                                              \
        .name = (label), .since = (from), .until = (to), .edition = (as), .rows = (table)          \
    }
/* With rows of its own for the alias shape. */
#define LAYOUT_EMQX(...) LAYOUT_EMQX_(__VA_ARGS__)
#define LAYOUT_EMQX_(label, from, to, as, table, alias)                                            \
    {                                                                                              \
        .name = (label), .since = (from), .until = (to), .edition = (as), .rows = (table),         \
        .alias_rows = (alias)                                                                      \
    }
#define END_OF_LAYOUTS                                                                             \
    {                                                                                              \
        .rows = NULL                                                                               \
    }

#endif
