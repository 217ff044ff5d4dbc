/* SPDX-License-Identifier: Apache-2.0 */

/* Topic names and filters: validity and matching (topic.h; the topic functions of polygate.h).
 *
 * Validity is one run of a ragel machine (topic_grammar.rl), which also counts levels; here are the
 * rules on length and the split of `$share/group/filter`. Matching walks both texts side by side, a
 * level at a time; '#' is last in a valid filter, so nothing ever has to be tried twice. No state,
 * no allocation, no recursion; any thread.
 *
 * MQTT 5.0: 4.7.1, 4.7.2, 4.7.3, 4.8.2, and 1.5.4. */

#include "topic.h"

#include <string.h>

#include "topic_grammar.h"

static bool has_prefix(struct pg_bytes text, struct pg_bytes prefix)
{
    return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

static enum pg_topic_fault length_check(struct pg_bytes text)
{
    if (text.len == 0)
        return PG_TOPIC_EMPTY;
    return text.len > PG_TOPIC_BYTES_MAX ? PG_TOPIC_TOO_LONG : PG_TOPIC_NONE;
}

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (uint8_t)(b))

/* Not 0 if a byte of `word` is `byte`. */
static uint64_t has_byte(uint64_t word, uint8_t byte)
{
    uint64_t x = word ^ EACH_BYTE(byte);
    return (x - EACH_BYTE(0x01)) & ~x & EACH_BYTE(0x80);
}

/* Whether a name is valid at first sight: ASCII without U+0000 and wildcards, and too short to be
 * too deep. Eight bytes at a time, since this is asked for every message; what is not plain is for
 * the grammar. */
static bool plain_name(struct pg_bytes topic)
{
    uint64_t bad = 0;
    if (topic.len >= PG_TOPIC_LEVELS_MAX)
        return false;
    for (size_t at = 0; at < topic.len; at += 8) {
        uint64_t word = EACH_BYTE('a');
        if (topic.len - at >= 8)
            memcpy(&word, topic.data + at, 8);
        else
            memcpy(&word, topic.data + at, topic.len - at);
        bad |= (word & EACH_BYTE(0x80)) | has_byte(word, 0) | has_byte(word, '+') |
               has_byte(word, '#');
    }
    return bad == 0;
}

enum pg_topic_fault pg_topic_name_check(struct pg_bytes topic)
{
    struct pg_grammar_result result;
    enum pg_topic_fault fault = length_check(topic);

    if (fault == PG_TOPIC_NONE && plain_name(topic))
        return PG_TOPIC_NONE;
    return fault != PG_TOPIC_NONE ? fault : pg_grammar_run(PG_GRAMMAR_NAME, topic, &result);
}

enum pg_topic_fault pg_topic_filter_check(struct pg_bytes filter, struct pg_filter *out)
{
    static const char share[] = "$share/";
    struct pg_grammar_result result;
    struct pg_bytes text = filter;
    enum pg_grammar grammar = PG_GRAMMAR_FILTER;
    enum pg_topic_fault fault = length_check(filter);

    if (fault != PG_TOPIC_NONE)
        return fault;
    if (has_prefix(filter, PG_BYTES_OF(share))) {
        grammar = PG_GRAMMAR_SHARED;
        text.data += sizeof(share) - 1;
        text.len -= sizeof(share) - 1;
    }
    fault = pg_grammar_run(grammar, text, &result);
    if (fault != PG_TOPIC_NONE)
        return fault;

    *out = (struct pg_filter){
        .group = PG_BYTES_NONE,
        .plain = {.data = text.data + result.plain_at, .len = text.len - result.plain_at},
        .levels = result.levels,
        .wildcard = result.wildcard,
    };
    if (grammar == PG_GRAMMAR_SHARED)
        out->group = (struct pg_bytes){.data = text.data, .len = result.plain_at - 1};
    return PG_TOPIC_NONE;
}

bool pg_topic_level_next(struct pg_bytes *rest, struct pg_bytes *level)
{
    const uint8_t *slash;

    if (rest->data == NULL)
        return false;
    slash = rest->len > 0 ? memchr(rest->data, '/', rest->len) : NULL;
    if (slash == NULL) {
        *level = *rest;
        *rest = PG_BYTES_NONE;
        return true;
    }
    level->data = rest->data;
    level->len = (size_t)(slash - rest->data);
    rest->data = slash + 1;
    rest->len -= level->len + 1;
    return true;
}

unsigned pg_topic_levels(struct pg_bytes topic)
{
    struct pg_bytes level;
    unsigned levels = 0;

    while (pg_topic_level_next(&topic, &level))
        levels++;
    return levels;
}

bool pg_topic_matches(struct pg_bytes plain_filter, struct pg_bytes topic)
{
    const uint8_t *wanted = plain_filter.data, *wanted_end = wanted + plain_filter.len;
    const uint8_t *at = topic.data, *end = at + topic.len;

    if (plain_filter.len == 0 || topic.len == 0)
        return false;
    if (*at == '$' && (*wanted == '+' || *wanted == '#'))
        return false;
    for (; wanted < wanted_end; wanted++) {
        if (*wanted == '#')
            return true;
        if (*wanted == '+') {
            while (at < end && *at != '/')
                at++;
        } else if (at == end) { /* `a/#` matches `a` */
            return wanted_end - wanted == 2 && wanted[0] == '/' && wanted[1] == '#';
        } else if (*wanted != *at++) {
            return false;
        }
    }
    return at == end;
}

const char *pg_topic_fault_text(enum pg_topic_fault fault)
{
    static const char *const texts[] = {
#define PG_TOPIC_FAULT_TEXT(NAME, sentence) [PG_TOPIC_##NAME] = sentence,
        PG_TOPIC_FAULTS(PG_TOPIC_FAULT_TEXT)
#undef PG_TOPIC_FAULT_TEXT
    };

    return texts[fault];
}

enum pg_reason pg_topic_name_valid(struct pg_bytes topic)
{
    return pg_topic_name_check(topic) == PG_TOPIC_NONE ? PG_OK : PG_TOPIC_INVALID;
}

enum pg_reason pg_topic_filter_valid(struct pg_bytes filter)
{
    struct pg_filter parts;

    return pg_topic_filter_check(filter, &parts) == PG_TOPIC_NONE ? PG_OK : PG_FILTER_INVALID;
}

bool pg_topic_filter_matches(struct pg_bytes filter, struct pg_bytes topic)
{
    return pg_topic_matches(filter, topic);
}

bool pg_utf8_valid(struct pg_bytes text)
{
    struct pg_grammar_result result;

    return text.len == 0 || pg_grammar_run(PG_GRAMMAR_TEXT, text, &result) == PG_TOPIC_NONE;
}
