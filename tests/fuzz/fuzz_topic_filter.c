/* SPDX-License-Identifier: Apache-2.0 */

/* The ragel machine of topic names and filters against a checker written down by hand: the same
 * verdict, the same first fault, the same parts. The input is the text. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The length of the well-formed sequence at `at`; 0: there is none. RFC 3629, section 3: decode,
 * then ask whether it was the shortest form of a Unicode scalar value. */
static size_t sequence(struct pg_bytes text, size_t at)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = text.data[at];
    size_t len = lead < 0x80 ? 1 : lead >= 0xf8 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t value;

    if (len < 2 || (lead & 0xc0) == 0x80)
        return len == 1 ? 1 : 0;
    if (text.len - at < len)
        return 0;
    value = lead & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.data[at + i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (text.data[at + i] & 0x3fu);
    }
    if (value < least[len] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    return len;
}

enum kind { TEXT, NAME, FILTER, GROUP };

/* The first fault from `at` on; a group ends at '/', whose place is left in *end. */
static enum pg_topic_fault scan(enum kind kind, struct pg_bytes text, size_t at, size_t *end,
                                unsigned *levels, bool *wildcard)
{
    size_t begin = at, level = at;

    *levels = 1;
    *wildcard = false;
    while (at < text.len) {
        uint8_t c = text.data[at];
        uint8_t before = at > level ? text.data[at - 1] : 0;
        size_t len = sequence(text, at);

        if (c == 0)
            return PG_TOPIC_NUL;
        if (kind == FILTER && (before == '+' || before == '#') && !(before == '+' && c == '/'))
            return before == '#' && c == '/' ? PG_TOPIC_HASH_NOT_LAST : PG_TOPIC_WILDCARD_NOT_ALONE;
        if (len == 0)
            return PG_TOPIC_BAD_UTF8;
        if ((c == '+' || c == '#') && kind == NAME)
            return PG_TOPIC_WILDCARD_IN_NAME;
        if ((c == '+' || c == '#') && kind == GROUP)
            return PG_TOPIC_SHARE_GROUP;
        if ((c == '+' || c == '#') && kind == FILTER) {
            if (at > level)
                return PG_TOPIC_WILDCARD_NOT_ALONE;
            *wildcard = true;
        }
        if (c == '/' && kind == GROUP) {
            *end = at;
            return at == begin ? PG_TOPIC_SHARE_GROUP : PG_TOPIC_NONE;
        }
        if (c == '/' && kind != TEXT) {
            if (++*levels > PG_TOPIC_LEVELS_MAX)
                return PG_TOPIC_TOO_DEEP;
            level = at + 1;
        }
        at += len;
    }
    if (kind == GROUP)
        return at == begin ? PG_TOPIC_SHARE_GROUP : PG_TOPIC_SHARE_NO_FILTER;
    return PG_TOPIC_NONE;
}

static enum pg_topic_fault by_hand(struct pg_bytes text, struct pg_filter *out)
{
    static const char share[] = "$share/";
    size_t at = 0, slash = 0, prefix = sizeof(share) - 1;
    enum pg_topic_fault fault;

    *out = (struct pg_filter){.group = PG_BYTES_NONE};
    if (text.len == 0)
        return PG_TOPIC_EMPTY;
    if (text.len > PG_TOPIC_BYTES_MAX)
        return PG_TOPIC_TOO_LONG;
    if (text.len >= prefix && memcmp(text.data, share, prefix) == 0) {
        fault = scan(GROUP, text, prefix, &slash, &out->levels, &out->wildcard);
        if (fault != PG_TOPIC_NONE)
            return fault;
        out->group = (struct pg_bytes){.data = text.data + prefix, .len = slash - prefix};
        at = slash + 1;
        if (at == text.len)
            return PG_TOPIC_SHARE_NO_FILTER;
    }
    out->plain = (struct pg_bytes){.data = text.data + at, .len = text.len - at};
    return scan(FILTER, text, at, &slash, &out->levels, &out->wildcard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pg_bytes text = {.data = data, .len = size};
    struct pg_filter machine, hand;
    enum pg_topic_fault fault = pg_topic_filter_check(text, &machine);
    enum pg_topic_fault name = pg_topic_name_check(text);
    size_t end;
    unsigned levels;
    bool wildcard;

    must(fault == by_hand(text, &hand));
    if (fault == PG_TOPIC_NONE) {
        must(machine.levels == hand.levels && machine.wildcard == hand.wildcard);
        must(machine.group.data == hand.group.data && machine.group.len == hand.group.len);
        must(machine.plain.data == hand.plain.data && machine.plain.len == hand.plain.len);
        must(machine.levels == pg_topic_levels(machine.plain));
        /* A filter without wildcards matches itself, and itself alone of the two. */
        if (!machine.wildcard)
            must(pg_topic_matches(machine.plain, machine.plain));
    }
    if (size > 0 && size <= PG_TOPIC_BYTES_MAX)
        must(name == scan(NAME, text, 0, &end, &levels, &wildcard));
    else
        must(name != PG_TOPIC_NONE);
    must(pg_utf8_valid(text) == (scan(TEXT, text, 0, &end, &levels, &wildcard) == PG_TOPIC_NONE));
    return 0;
}
