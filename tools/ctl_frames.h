/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_FRAMES_H
#define CTL_FRAMES_H

/* decode and encode, whatever the protocol: where the digits and documents come from, and what is
 * said of bad ones. */

#include <jansson.h>

#include "ctl.h"
#include "wire/table_json.h"

/* Hand the bytes of hexadecimal digits to `decode`: those of all arguments together, or, without
 * arguments, of each line of the standard input. false: some were no digits (said on stderr), or
 * memory is out. */
bool ctl_each_hex(const struct ctl_run *run, void (*decode)(void *arg, struct pg_bytes bytes),
                  void *arg);

/* Hand each JSON document to `encode` (lent), with its number from 0: the arguments, or, without
 * arguments, those of the standard input, one behind the other on one line each or on several.
 * false: `encode` has returned false, or something was no JSON (said on stderr). */
bool ctl_each_json(const struct ctl_run *run,
                   bool (*encode)(void *arg, json_t *document, int index), void *arg);

/* What --json prints: --wire, --emqx, or neither. false: they are given without --json, or both
 * (said on stderr). */
bool ctl_shape(const struct ctl_run *run, enum wire_shape *shape);

/* The rows of the options that it reads. */
#define CTL_SHAPE_OPTIONS                                                                          \
    {.letter = 'w', .name = "wire", .help = "with --json: the integers as they are on the wire"},  \
    {                                                                                              \
        .name = "emqx", .help = "with --json: as EMQX's gateway has it"                            \
    }

/* What was wrong with a document, on stderr. Returns false. */
bool ctl_document_error(const struct ctl_run *run, const struct wire_error *error);

#endif
