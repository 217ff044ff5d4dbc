/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TOPIC_H
#define PG_TOPIC_H

/* Topic names and topic filters: what is valid, and what matches what.
 *
 * The rules are those of MQTT 5.0, 1.5.4 (UTF-8 strings), 4.7 (names and filters) and 4.8.2 (shared
 * subscriptions); every other protocol maps its own addresses on to this form at its edge.
 *
 * pg_utf8_valid(), pg_topic_name_valid(), pg_topic_filter_valid() and pg_topic_filter_matches() of
 * polygate.h are implemented here as well. Everything here is free of state: any thread. */

#include "polygate.h"

/* The longest name or filter, with its `$share/group/`: the standard's strings have 16-bit
 * lengths. */
#define PG_TOPIC_BYTES_MAX 65535u

/* The most levels of a name or of a filter (without `$share/group/`). A topic of 65,000 slashes is
 * valid by the standard, and each level is a node of a tree: without a cap one SUBSCRIBE or one
 * retained PUBLISH of 64 KiB makes megabytes of nodes, and trees that are walked by recursion fall
 * over. Real topics have fewer than 20 levels. */
#define PG_TOPIC_LEVELS_MAX 256u

/* X(NAME, "sentence"): the first fault of a name or filter, in the order of reading. */
#define PG_TOPIC_FAULTS(X)                                                                         \
    X(NONE, "valid")                                                                               \
    X(EMPTY, "it is empty")                                                                        \
    X(TOO_LONG, "it is longer than 65535 bytes")                                                   \
    X(TOO_DEEP, "it has more than 256 levels")                                                     \
    X(BAD_UTF8, "it is not well-formed UTF-8")                                                     \
    X(NUL, "it holds the character U+0000")                                                        \
    X(WILDCARD_IN_NAME, "a topic name must not hold '+' or '#'")                                   \
    X(WILDCARD_NOT_ALONE, "'+' and '#' must fill a whole level")                                   \
    X(HASH_NOT_LAST, "'#' must be the last level")                                                 \
    X(SHARE_GROUP, "the group of $share/group/filter must be one or more characters without '+' "  \
                   "or '#'")                                                                       \
    X(SHARE_NO_FILTER, "$share/group must be followed by '/' and a filter")

enum pg_topic_fault {
#define PG_TOPIC_FAULT_ENUM(NAME, sentence) PG_TOPIC_##NAME,
    PG_TOPIC_FAULTS(PG_TOPIC_FAULT_ENUM)
#undef PG_TOPIC_FAULT_ENUM
        PG_TOPIC_FAULT_COUNT
};

/* A filter, taken apart. The ranges lie in the bytes that were checked and live as long as they. */
struct pg_filter {
    struct pg_bytes group; /* of `$share/group/...`; data is NULL when the filter is not shared */
    struct pg_bytes plain; /* the filter without `$share/group/` */
    unsigned levels;       /* of `plain`: 1 to PG_TOPIC_LEVELS_MAX */
    bool wildcard;         /* `plain` holds '+' or '#' */
};

/* Whether a message may be published under this name. */
enum pg_topic_fault pg_topic_name_check(struct pg_bytes topic) PG_CHECKED;

/* Whether this can be subscribed to, or unsubscribed from. `out` is written only when the answer is
 * PG_TOPIC_NONE. `$share` without a '/' behind it is an ordinary filter. */
enum pg_topic_fault pg_topic_filter_check(struct pg_bytes filter, struct pg_filter *out) PG_CHECKED;

/* Whether a valid plain filter (without `$share/group/`) matches a valid topic name. `a/#` matches
 * `a`; a wildcard in the first level does not match a name that starts with '$' (4.7.2). Takes time
 * in proportion to the shorter of the two. */
bool pg_topic_matches(struct pg_bytes plain_filter, struct pg_bytes topic);

/* How many levels a valid name or plain filter has, for limits lower than PG_TOPIC_LEVELS_MAX. */
unsigned pg_topic_levels(struct pg_bytes topic);

/* The sentence of a fault; static. */
const char *pg_topic_fault_text(enum pg_topic_fault fault);

/* Walk the levels of a valid name or plain filter:
 *     struct pg_bytes level, rest = topic;
 *     while (pg_topic_level_next(&rest, &level)) ...
 * `rest` starts as the whole text and is used up; an empty level is a level ("/" has two). */
bool pg_topic_level_next(struct pg_bytes *rest, struct pg_bytes *level);

#endif
