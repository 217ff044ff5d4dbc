/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_TABLE_H
#define GBT32960_TABLE_H

/* The commands and information types of GB/T 32960.3 as tables, both editions in one: rows and
 * items say from and until which edition they exist.
 *
 * standard  GB/T 32960.3-2016, -2025: chapters 6 and 7, Annex B
 * threads   any; the tables are constant
 */

#include "gbt32960_frame.h"
#include "wire/table.h"

struct gbt_message {
    uint8_t command;
    bool up, down; /* which way it is sent as a command */
    uint16_t since;
    const char *name; /* "realtime_report" */
    const char *what;
    const struct wire_row *rows;   /* of the command */
    const struct wire_row *answer; /* of what answers it; null: the same */
    const char *alias; /* the end of EMQX's topic for it; null: that of what EMQX does not know */
    const struct wire_row *alias_rows; /* of the command in EMQX's shape; null: `rows` */
};

/* All commands that have rows, sorted by code. */
extern const struct gbt_message gbt_messages[];
extern const size_t gbt_message_count;

/* Null: not in the table for this edition; the unit is passed on as it is. */
const struct gbt_message *gbt_message_by_command(uint8_t command, unsigned edition);
const struct gbt_message *gbt_message_by_name(const char *name);

/* "success", "command" ...; null for a flag that is not defined. */
const char *gbt_response_name(uint8_t response);
/* The flag of a name; 0 if there is no such name. */
uint8_t gbt_response_by_name(const char *name);
/* "none", "rsa", "aes128" (2025: "aes"), ...; null for a flag that the edition does not have. */
const char *gbt_encryption_name(uint8_t encryption, unsigned edition);
/* The flag of a name, of either edition; 0 if there is no such name. */
uint8_t gbt_encryption_by_name(const char *name);

/* The rows for the unit of a frame. Frames of terminals with commands 80 to bf are answers whatever
 * their response flag says; `uplink` is true for those. Null: unknown command. */
const struct wire_row *gbt_rows_of(const struct gbt_frame *frame, bool uplink);

/* Walk the unit of a frame and judge it. Faults of WIRE_FAULT_* but for SURPLUS mean that the
 * structure is wrong (response flag 06, or 02 in 2016). */
unsigned gbt_frame_faults(const struct gbt_frame *frame, bool uplink);

/* One field of the unit by name ("time", "serial_number"); false if it is not there or the unit
 * cannot be read. */
bool gbt_field(const struct gbt_frame *frame, bool uplink, const char *name,
               struct wire_event *found);

extern const struct wire_items gbt_items;      /* of reports */
extern const struct wire_items gbt_parameters; /* of 80 and 81 */
extern const struct wire_row gbt_rows_report[];
extern const struct wire_row gbt_rows_joined_cells[]; /* time, number, cell_count, cells */
extern const struct wire_row gbt_rows_signature[];
extern const struct wire_row gbt_rows_control[]; /* of 82 */

/* The cell voltages of a report of 2016 that are a part of their subsystem's (at most 200 of them
 * go into one frame). */
#define GBT_CELL_PARTS 8u
struct gbt_cells {
    unsigned count;
    struct gbt_cell_part {
        uint8_t number;           /* of the subsystem */
        uint16_t total, start;    /* cells of the subsystem; the first one here, from 1 */
        struct pg_bytes voltages; /* lent, of the unit; two bytes each */
    } part[GBT_CELL_PARTS + 1];
};
/* A visitor of a walk of a report (wire_visit) that fills a zeroed struct gbt_cells. */
void gbt_cells_visit(void *cells, const struct wire_event *event);

#endif
