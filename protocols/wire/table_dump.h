/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TABLE_DUMP_H
#define WIRE_TABLE_DUMP_H

/* Tables for people: the annotated dump of a body (one line for each field with its offset, bytes,
 * name, value, unit and clause), and the catalogue of the rows themselves. */

#include "wire/json_out.h"
#include "wire/table.h"
#include "wire/text.h"

/* Append the lines to `out`, which is used as a plain text buffer.
 *
 * base      added to the printed offsets (where the body stands in its frame)
 * returns   the faults (enum wire_fault); after WIRE_FAULT_BODY the lines show how far it went
 */
unsigned wire_dump(struct json_out *out, const struct wire_row *rows, struct pg_bytes body,
                   size_t base, unsigned edition, enum wire_charset charset);

/* A line for each of the faults (enum wire_fault), and the bytes of what has no table. */
void wire_dump_faults(struct json_out *out, unsigned faults);
void wire_dump_bytes(struct json_out *out, struct pg_bytes bytes);

/* The catalogue: one line for each row, or for each item and its rows, as plain text. */
void wire_list_rows(struct json_out *out, const struct wire_row *rows);
void wire_list_items(struct json_out *out, const struct wire_items *items);

#endif
