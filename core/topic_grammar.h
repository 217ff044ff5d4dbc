/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TOPIC_GRAMMAR_H
#define PG_TOPIC_GRAMMAR_H

/* What topic.c and the machine in topic_grammar.rl say to each other. */

#include "polygate.h"
#include "topic.h"

enum pg_grammar {
    PG_GRAMMAR_TEXT,   /* well-formed UTF-8 without U+0000; may be empty */
    PG_GRAMMAR_NAME,   /* a topic name */
    PG_GRAMMAR_FILTER, /* a filter without `$share/` */
    PG_GRAMMAR_SHARED, /* what follows `$share/`: group, '/', filter */
};

struct pg_grammar_result {
    unsigned levels; /* of the name or filter */
    bool wildcard;
    size_t plain_at; /* PG_GRAMMAR_SHARED: where the filter begins */
};

/* Read `text` from left to right; stops at the first fault. EMPTY and TOO_LONG are not its
 * business. `out` is written whatever the answer. */
enum pg_topic_fault pg_grammar_run(enum pg_grammar grammar, struct pg_bytes text,
                                   struct pg_grammar_result *out);

#endif
