/* SPDX-License-Identifier: Apache-2.0 */

/* The grammar of topic names and filters, one byte at a time.
 *
 * MQTT 5.0: 1.5.4 (UTF-8 without U+0000 and surrogates), 4.7.1 (wildcards), 4.7.3 (names), 4.8.2
 * (`$share/group/filter`); the well-formed sequences are those of RFC 3629, section 4. Four machines
 * share the alphabet; which one runs is the start state. Levels are counted, and the cap on levels is
 * enforced, on the way. Any thread. */

#include "topic_grammar.h"

%%{
    machine topic;
    alphtype unsigned char;

    action bad_sequence { fault = PG_TOPIC_BAD_UTF8; fbreak; }
    action wildcard     { out->wildcard = true; }
    action group_done   { out->plain_at = (size_t)(p - text.data) + 1; fnext filter; }
    action level {
        if (++out->levels > PG_TOPIC_LEVELS_MAX) {
            fault = PG_TOPIC_TOO_DEEP;
            fbreak;
        }
    }

    tail = 0x80..0xbf;
    sequence = ( 0xc2..0xdf tail
               | 0xe0 0xa0..0xbf tail
               | (0xe1..0xec | 0xee..0xef) tail tail
               | 0xed 0x80..0x9f tail               # not the surrogates U+D800..U+DFFF
               | 0xf0 0x90..0xbf tail tail
               | 0xf1..0xf3 tail tail tail
               | 0xf4 0x80..0x8f tail tail ) <>err(bad_sequence);
    literal = (0x01..0x7f - [/+#]) | sequence;

    name_level = literal*;
    any_level  = literal* | '+' @wildcard;
    slash      = '/' @level;

    text   := ((0x01..0x7f) | sequence)*;
    name   := name_level (slash name_level)*;
    filter := (any_level slash)* (any_level | '#' @wildcard);
    shared := literal+ '/' @group_done;

}%%

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-const-variable" /* ragel names a start state for all four */
%% write data noerror nofinal;
#pragma GCC diagnostic pop

/* The machine has no way to go on at this byte: which rule says so? */
static enum pg_topic_fault fault_at(enum pg_grammar grammar, struct pg_bytes text, size_t at)
{
    uint8_t byte = text.data[at];
    uint8_t before = at > 0 ? text.data[at - 1] : '/';

    if (byte == 0)
        return PG_TOPIC_NUL;
    if (grammar == PG_GRAMMAR_FILTER && (before == '#' || before == '+'))
        return before == '#' && byte == '/' ? PG_TOPIC_HASH_NOT_LAST : PG_TOPIC_WILDCARD_NOT_ALONE;
    if (byte >= 0x80)
        return PG_TOPIC_BAD_UTF8;
    if (grammar == PG_GRAMMAR_NAME)
        return PG_TOPIC_WILDCARD_IN_NAME;
    if (grammar == PG_GRAMMAR_SHARED)
        return PG_TOPIC_SHARE_GROUP; /* an empty group, or a wildcard in it */
    return PG_TOPIC_WILDCARD_NOT_ALONE;
}

enum pg_topic_fault pg_grammar_run(enum pg_grammar grammar, struct pg_bytes text,
                                   struct pg_grammar_result *out)
{
    static const int start[] = {
        [PG_GRAMMAR_TEXT] = topic_en_text,
        [PG_GRAMMAR_NAME] = topic_en_name,
        [PG_GRAMMAR_FILTER] = topic_en_filter,
        [PG_GRAMMAR_SHARED] = topic_en_shared,
    };
    enum pg_topic_fault fault = PG_TOPIC_NONE;
    int cs = start[grammar];
    const uint8_t *p = text.data;
    const uint8_t *pe = p + text.len;
    const uint8_t *eof = pe;

    *out = (struct pg_grammar_result){.levels = 1};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough" /* the state labels of -G2 do so by design */
    %% write exec;
#pragma GCC diagnostic pop

    if (fault != PG_TOPIC_NONE)
        return fault;
    if (p != pe) {
        if (grammar == PG_GRAMMAR_SHARED && out->plain_at != 0)
            grammar = PG_GRAMMAR_FILTER;
        return fault_at(grammar, text, (size_t)(p - text.data));
    }
    if (grammar != PG_GRAMMAR_SHARED)
        return PG_TOPIC_NONE;
    if (text.len == 0)
        return PG_TOPIC_SHARE_GROUP;
    /* Only the end of the text is left to judge: inside the group, or right behind its '/'. */
    return out->plain_at == 0 || out->plain_at == text.len ? PG_TOPIC_SHARE_NO_FILTER
                                                           : PG_TOPIC_NONE;
}
