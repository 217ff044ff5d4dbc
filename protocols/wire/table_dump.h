/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TABLE_DUMP_H
#define WIRE_TABLE_DUMP_H

/* The annotated dump of a body, for people: one line for each field with its offset, bytes, name,
 * value, unit and clause. */

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

#endif
