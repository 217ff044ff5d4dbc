/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGES_H
#define PAGES_H

/* Rows of the table engine as mdoc on standard output, for the pages that are made at build time. */

#include "wire/table.h"

/* How a field that holds items is called: "the additional items below, by name". Must be set before
 * rows with items are printed. */
void page_tell_items(const char *(*told)(const struct wire_items *items));

/* A list of fields, or the sentence that there are none. */
void page_rows(const struct wire_row *rows);

/* A section with every item and its fields. */
void page_items(const char *head, const struct wire_items *items);

#endif
