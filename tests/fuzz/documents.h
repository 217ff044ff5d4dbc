/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_DOCUMENTS_H
#define FUZZ_DOCUMENTS_H

/* For targets that write JSON and read it again. */

#include <jansson.h>
#include <stdio.h>

#include "require.h"
#include "wire/json_out.h"
#include "wire/table_json.h"

/* What was written, with a sentence; then the end. */
static inline void abort_over(const struct json_out *out, const char *sentence)
{
    fprintf(stderr, "%s\n%.*s\n", sentence, (int)out->len, out->data);
    abort();
}

/* What was written, as JSON without members twice; the caller gives it up. */
static inline json_t *document_of(const struct json_out *out)
{
    json_error_t syntax;
    json_t *document =
        json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &syntax);

    if (document == NULL) {
        abort_over(out, syntax.text);
    }
    return document;
}

/* What was written could not be encoded. */
static inline void abort_for(const struct json_out *out, const struct wire_error *error)
{
    char sentence[400];

    wire_error_sentence(error, sentence, sizeof(sentence));
    abort_over(out, sentence);
}

#endif
