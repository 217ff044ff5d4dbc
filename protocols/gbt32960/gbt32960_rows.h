/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_ROWS_H
#define GBT32960_ROWS_H

/* Private to the gbt32960_table files: short forms of rows. */

#include "gbt32960_table.h"

#define ROW(name_, kind_, ...)                                                                     \
    {                                                                                              \
        .name = (name_), .name_len = sizeof(name_) - 1, .kind = (kind_), __VA_ARGS__               \
    }
#define END_OF_ROWS WIRE_END_OF_ROWS

/* The two topmost codes of every number are no values: FE abnormal, FF invalid. */
#define MARKERS (WIRE_INVALID | WIRE_ABNORMAL)

/* A number: width, valid raw values, and then scale, offset, unit. */
#define NUMBER(name, w, low_, high_, ...)                                                          \
    ROW(name, WIRE_UINT, .width = (w), .flags = MARKERS | WIRE_RANGE, .low = (low_),               \
        .high = (high_), __VA_ARGS__)
/* A byte whose valid values have names. */
#define STATE(name, list, ...)                                                                     \
    ROW(name, WIRE_UINT, .width = 1, .flags = MARKERS | WIRE_RANGE, .names = (list), __VA_ARGS__)
/* How many entries follow. */
#define COUNT(name, w, reg, low_, high_, ...)                                                      \
    ROW(name, WIRE_COUNT, .width = (w), .keep = (reg), .flags = MARKERS | WIRE_RANGE,              \
        .low = (low_), .high = (high_), __VA_ARGS__)
#define LIST(name, entry, reg, ...)                                                                \
    ROW(name, WIRE_LIST, .rows = (entry), .count = (reg), __VA_ARGS__)
#define PLAIN(name, w, ...) ROW(name, WIRE_UINT, .width = (w), __VA_ARGS__)
#define TIME(name, ...)     ROW(name, WIRE_TIME, .width = 6, .flags = WIRE_BINARY_TIME, __VA_ARGS__)
#define TEXT(name, w, ...)  ROW(name, WIRE_TEXT, .width = (w), .flags = WIRE_TRIM, __VA_ARGS__)
#define HEX_COUNTED(name)   ROW(name, WIRE_HEX, .prefix = 2)
/* An entry of a list of plain values. */
#define VALUE(w, low_, high_, ...)                                                                 \
    {                                                                                              \
        .kind = WIRE_UINT, .width = (w), .flags = MARKERS | WIRE_RANGE, .low = (low_),             \
        .high = (high_), __VA_ARGS__                                                               \
    }
/* Bits of a byte that are yes or no. */
#define BIT(name, bit, list, more, ...)                                                            \
    ROW(name, WIRE_PART, .width = 1, .shift = (bit), .names = (list),                              \
        .flags = WIRE_BOOL | WIRE_DEFAULTS | (more), __VA_ARGS__)

#define EMQX(text) .alias = (text) /* the name in EMQX's GB/T 32960 gateway */

#define ONLY_2016 .until = GBT_2016
#define ONLY_2025 .since = GBT_2025

/* Scales: shown = (raw + offset) in the last decimal. */
#define TENTHS(unit_, offset_) .decimals = 1, .unit = (unit_), .offset = (offset_)
#define HUNDREDTHS(unit_)      .decimals = 2, .unit = (unit_)
#define THOUSANDTHS(unit_)     .decimals = 3, .unit = (unit_)
#define WHOLE(unit_, offset_)  .unit = (unit_), .offset = (offset_)
#define CELSIUS                .unit = "C", .offset = -40

#endif
