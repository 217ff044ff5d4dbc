/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_STORE_JSON_H
#define CTL_STORE_JSON_H

/* A store as lines of JSON (polygate-store(5), THE LINES OF AN EXPORT), both ways. */

#include <jansson.h>
#include <stdio.h>

#include "store_disk_copy.h"

/* Write the store of the folder. false with error->text. */
bool ctl_store_write(const char *dir, FILE *to, struct pg_error *error);
/* Make a new one of what is read. false with error->text, which names the line; what was made then
 * is removed. `counts` says what was read. */
struct ctl_store_counts {
    uint64_t sessions, retained, wills, facts, messages, entries;
};
bool ctl_store_read(const char *dir, FILE *from, struct ctl_store_counts *counts,
                    struct pg_error *error);

#endif
