/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_ESCAPE_H
#define PG_ESCAPE_H

/* Text for people and machines, built into a buffer of fixed size: log lines and the dump of the
 * configuration. Nothing is allocated; what does not fit is left out and remembered. */

#include "polygate.h"

struct pg_text {
    char *data;
    size_t len;
    size_t room; /* bytes that may be used in all; len <= room always */
    bool cut;    /* something did not fit */
};

/* How a value is quoted. */
enum pg_quoting {
    PG_QUOTE_LOG,  /* bare if it is one plain word, else "..." with \" \\ \n \r \t \xHH */
    PG_QUOTE_JSON, /* a JSON string; a byte that is not UTF-8 is shown as the text \xHH */
};

/* Append as a whole or not at all (then `cut` is set). */
void pg_text_add(struct pg_text *text, struct pg_bytes bytes);
void pg_text_addf(struct pg_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Append a value with its quotes. Control characters (those of Unicode's C1 block too) and bytes
 * that are not UTF-8 are escaped. A value longer than the room is cut at a character, with its
 * closing quote still there and `cut` set. */
void pg_text_add_quoted(struct pg_text *text, struct pg_bytes value, enum pg_quoting quoting);
/* Append bytes as hexadecimal digits, without quotes; those that do not fit are left out, and `cut`
 * is set. */
void pg_text_add_hex(struct pg_text *text, struct pg_bytes value);

#endif
