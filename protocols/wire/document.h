/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_DOCUMENT_H
#define WIRE_DOCUMENT_H

/* What the JSON documents of applications have in common, whatever the protocol that their bodies are
 * encoded for: they are read, have only members that are known, and may have a body in hexadecimal
 * digits. All arguments are lent. Any thread; no state. */

#include <jansson.h>

#include "wire/out.h"
#include "wire/table_json.h"

/* Say what was found (NULL: nothing) in place of what is expected. Returns false. */
bool wire_refuse(struct wire_error *error, const char *path, const json_t *found,
                 const char *expected);
/* The document of a text, without members twice; the caller gives it up. NULL: *error says where. */
json_t *wire_document(const char *text, size_t len, struct wire_error *error);
/* Whether an object has only members that are among `known`; another one is a typing mistake, and
 * *error expects `expected` ("only members of ..."). */
bool wire_has_only(json_t *object, const char *const *known, size_t count, const char *expected,
                   struct wire_error *error);
/* Append the bytes of hexadecimal digits; `path` is theirs. false: *error says why, and `out` is as
 * long as before. */
bool wire_take_hex(const json_t *hex, const char *path, struct wire_out *out,
                   struct wire_error *error);

#endif
