/* SPDX-License-Identifier: Apache-2.0 */

/* Topic names and filters: the rules as a table, UTF-8 at its borders, and matching against a naive
 * matcher (MQTT 5.0: 1.5.4, 4.7, 4.8.2). */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "topic.h"

#define TEXT(literal)                                                                              \
    {                                                                                              \
        .data = (const uint8_t *)(literal), .len = sizeof(literal) - 1                             \
    }

static const struct rule {
    struct pg_bytes text;
    enum pg_topic_fault name;
    enum pg_topic_fault filter;
    const char *plain; /* of a valid filter; NULL: the text itself */
    const char *group;
    unsigned levels;
    bool wildcard;
} rules[] = {
    /* text, as a name, as a filter, plain, group, levels, wildcard */
    {TEXT(""), PG_TOPIC_EMPTY, PG_TOPIC_EMPTY, NULL, NULL, 0, false},
    {TEXT("a"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 1, false},
    {TEXT(" "), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 1, false},
    {TEXT("/"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 2, false},
    {TEXT("//"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 3, false},
    {TEXT("a//b"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 3, false},
    {TEXT("a/b/"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 3, false},
    {TEXT("\x01\x7f\n"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 1, false},
    {TEXT("#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 1, true},
    {TEXT("+"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 1, true},
    {TEXT("+/+"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 2, true},
    {TEXT("/+"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 2, true},
    {TEXT("+/"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 2, true},
    {TEXT("a/+/b"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 3, true},
    {TEXT("a/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 2, true},
    {TEXT("/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 2, true},
    {TEXT("+/a/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, NULL, NULL, 3, true},
    {TEXT("a/#/b"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_HASH_NOT_LAST, NULL, NULL, 0, false},
    {TEXT("#/"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_HASH_NOT_LAST, NULL, NULL, 0, false},
    {TEXT("a+"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("+a"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("a#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("#a"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("##"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("++"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0, false},
    {TEXT("+\xc3\xa9"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0,
     false},
    {TEXT("a\0b"), PG_TOPIC_NUL, PG_TOPIC_NUL, NULL, NULL, 0, false},
    {TEXT("+\0"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NUL, NULL, NULL, 0, false},
    /* shared subscriptions; as names they are ordinary */
    {TEXT("$share"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 1, false},
    {TEXT("$shared/g/t"), PG_TOPIC_NONE, PG_TOPIC_NONE, NULL, NULL, 3, false},
    {TEXT("$share/"), PG_TOPIC_NONE, PG_TOPIC_SHARE_GROUP, NULL, NULL, 0, false},
    {TEXT("$share//t"), PG_TOPIC_NONE, PG_TOPIC_SHARE_GROUP, NULL, NULL, 0, false},
    {TEXT("$share/g"), PG_TOPIC_NONE, PG_TOPIC_SHARE_NO_FILTER, NULL, NULL, 0, false},
    {TEXT("$share/g/"), PG_TOPIC_NONE, PG_TOPIC_SHARE_NO_FILTER, NULL, NULL, 0, false},
    {TEXT("$share/g/t"), PG_TOPIC_NONE, PG_TOPIC_NONE, "t", "g", 1, false},
    {TEXT("$share/g//"), PG_TOPIC_NONE, PG_TOPIC_NONE, "/", "g", 2, false},
    {TEXT("$share/group/a/+/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, "a/+/#", "group", 3,
     true},
    {TEXT("$share/\xe4\xb8\xad/a"), PG_TOPIC_NONE, PG_TOPIC_NONE, "a", "\xe4\xb8\xad", 1, false},
    {TEXT("$share/g/$SYS/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_NONE, "$SYS/#", "g", 2, true},
    {TEXT("$share/g+/t"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_SHARE_GROUP, NULL, NULL, 0, false},
    {TEXT("$share/+/t"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_SHARE_GROUP, NULL, NULL, 0, false},
    {TEXT("$share/#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_SHARE_GROUP, NULL, NULL, 0, false},
    {TEXT("$share/g/a#"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_WILDCARD_NOT_ALONE, NULL, NULL, 0,
     false},
    {TEXT("$share/g/#/a"), PG_TOPIC_WILDCARD_IN_NAME, PG_TOPIC_HASH_NOT_LAST, NULL, NULL, 0, false},
    {TEXT("$share/g\0/t"), PG_TOPIC_NUL, PG_TOPIC_NUL, NULL, NULL, 0, false},
    {TEXT("$share/g/t\0"), PG_TOPIC_NUL, PG_TOPIC_NUL, NULL, NULL, 0, false},
    {TEXT("$share/\xff/t"), PG_TOPIC_BAD_UTF8, PG_TOPIC_BAD_UTF8, NULL, NULL, 0, false},
    {TEXT("$share/\xc3"), PG_TOPIC_BAD_UTF8, PG_TOPIC_BAD_UTF8, NULL, NULL, 0, false},
};

static bool same(struct pg_bytes bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static void names_and_filters_follow_the_table(void)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];
        struct pg_filter filter = {.levels = 99};
        enum pg_topic_fault name = pg_topic_name_check(rule->text);
        enum pg_topic_fault fault = pg_topic_filter_check(rule->text, &filter);

        if (name != rule->name || fault != rule->filter)
            printf("\n    row %zu: %.*s: name %s, filter %s\n", i, (int)rule->text.len,
                   (const char *)rule->text.data, pg_topic_fault_text(name),
                   pg_topic_fault_text(fault));
        CU_ASSERT_EQUAL(name, rule->name);
        CU_ASSERT_EQUAL(fault, rule->filter);
        CU_ASSERT_EQUAL(pg_topic_name_valid(rule->text),
                        rule->name == PG_TOPIC_NONE ? PG_OK : PG_TOPIC_INVALID);
        CU_ASSERT_EQUAL(pg_topic_filter_valid(rule->text),
                        rule->filter == PG_TOPIC_NONE ? PG_OK : PG_FILTER_INVALID);
        if (fault != PG_TOPIC_NONE) {
            CU_ASSERT_EQUAL(filter.levels, 99); /* not written */
            continue;
        }
        CU_ASSERT_EQUAL(filter.levels, rule->levels);
        CU_ASSERT_EQUAL(filter.levels, pg_topic_levels(filter.plain));
        CU_ASSERT_EQUAL(filter.wildcard, rule->wildcard);
        if (rule->group != NULL) {
            CU_ASSERT(same(filter.group, rule->group));
            CU_ASSERT(same(filter.plain, rule->plain));
        } else {
            CU_ASSERT_PTR_NULL(filter.group.data);
            CU_ASSERT(pg_bytes_equal(filter.plain, rule->text));
        }
    }
}

static void every_fault_has_a_sentence(void)
{
    for (int i = 0; i < PG_TOPIC_FAULT_COUNT; i++) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(pg_topic_fault_text((enum pg_topic_fault)i));
        CU_ASSERT(strlen(pg_topic_fault_text((enum pg_topic_fault)i)) > 0);
    }
}

static struct pg_bytes repeated(const char *piece, size_t count, const char *end)
{
    static uint8_t buffer[PG_TOPIC_BYTES_MAX + 64];
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        memcpy(buffer + len, piece, strlen(piece));
        len += strlen(piece);
    }
    memcpy(buffer + len, end, strlen(end));
    return (struct pg_bytes){.data = buffer, .len = len + strlen(end)};
}

static void length_and_levels_are_capped_exactly(void)
{
    struct pg_filter filter;

    CU_ASSERT_EQUAL(pg_topic_name_check(repeated("x", PG_TOPIC_BYTES_MAX, "")), PG_TOPIC_NONE);
    CU_ASSERT_EQUAL(pg_topic_name_check(repeated("x", PG_TOPIC_BYTES_MAX, "x")), PG_TOPIC_TOO_LONG);
    CU_ASSERT_EQUAL(pg_topic_filter_check(repeated("x", PG_TOPIC_BYTES_MAX, ""), &filter),
                    PG_TOPIC_NONE);
    CU_ASSERT_EQUAL(pg_topic_filter_check(repeated("x", PG_TOPIC_BYTES_MAX, "x"), &filter),
                    PG_TOPIC_TOO_LONG);

    CU_ASSERT_EQUAL(pg_topic_name_check(repeated("/", PG_TOPIC_LEVELS_MAX - 1, "")), PG_TOPIC_NONE);
    CU_ASSERT_EQUAL(pg_topic_name_check(repeated("/", PG_TOPIC_LEVELS_MAX, "")), PG_TOPIC_TOO_DEEP);
    CU_ASSERT_EQUAL(pg_topic_name_check(repeated("/", 65000, "")), PG_TOPIC_TOO_DEEP);
    CU_ASSERT_EQUAL(pg_topic_filter_check(repeated("+/", PG_TOPIC_LEVELS_MAX - 1, "#"), &filter),
                    PG_TOPIC_NONE);
    CU_ASSERT_EQUAL(filter.levels, PG_TOPIC_LEVELS_MAX);
    CU_ASSERT_EQUAL(pg_topic_filter_check(repeated("+/", PG_TOPIC_LEVELS_MAX, "#"), &filter),
                    PG_TOPIC_TOO_DEEP);
    CU_ASSERT_EQUAL(pg_topic_filter_check(repeated("$share/g/", 1, "a/b"), &filter), PG_TOPIC_NONE);
    CU_ASSERT_EQUAL(filter.levels, 2); /* the group is not counted */
}

/* What RFC 3629 says of one code point, worked out from its value. */
static size_t encode(uint32_t c, unsigned bytes, uint8_t *out)
{
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    if (bytes == 1) {
        out[0] = (uint8_t)c;
        return 1;
    }
    for (unsigned i = bytes - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (uint8_t)(lead[bytes] | c);
    return bytes;
}

static void utf8_is_strict_at_every_code_point(void)
{
    static const uint32_t limit[] = {0, 0x80, 0x800, 0x10000, 0x200000};
    unsigned wrong = 0;

    for (unsigned bytes = 1; bytes <= 4; bytes++) {
        uint32_t step = bytes == 4 ? 7 : 1;

        for (uint32_t c = 0; c < limit[bytes]; c += step) {
            uint8_t text[4];
            struct pg_bytes all = {.data = text, .len = encode(c, bytes, text)};
            bool shortest = bytes == 1 || c >= limit[bytes - 1];
            bool valid = c != 0 && shortest && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
            bool literal = valid && c != '+' && c != '#';

            wrong += pg_utf8_valid(all) != valid;
            wrong += (pg_topic_name_check(all) == PG_TOPIC_NONE) != literal;
            for (size_t cut = 1; cut < all.len; cut++)
                wrong += pg_utf8_valid((struct pg_bytes){.data = text, .len = cut});
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(pg_utf8_valid(PG_BYTES_NONE));
    CU_ASSERT(pg_utf8_valid(PG_BYTES_OF("+/# \xe4\xb8\xad")));
    CU_ASSERT_FALSE(pg_utf8_valid(PG_BYTES_OF("\x80")));
    CU_ASSERT_FALSE(pg_utf8_valid(PG_BYTES_OF("\xc3(")));
    CU_ASSERT_FALSE(pg_utf8_valid(PG_BYTES_OF("\xfe")));
}

static void matching_follows_the_standard(void)
{
    static const struct {
        const char *filter, *topic;
        bool matches;
    } rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player10", false},
        {"#", "a", true},
        {"#", "/", true},
        {"#", "$SYS/a", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/+", "a/$b", true},
        {"a/#", "a/$b", true},
        {"a/b", "a/b", true},
        {"a/b", "a/b/", false},
        {"a/b/", "a/b", false},
        {"a", "A", false},
        {"/", "/", true},
        {"//", "/", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool matches = pg_topic_matches(pg_bytes_str(rows[i].filter), pg_bytes_str(rows[i].topic));

        if (matches != rows[i].matches)
            printf("\n    %s and %s\n", rows[i].filter, rows[i].topic);
        CU_ASSERT_EQUAL(matches, rows[i].matches);
        CU_ASSERT_EQUAL(
            pg_topic_filter_matches(pg_bytes_str(rows[i].filter), pg_bytes_str(rows[i].topic)),
            rows[i].matches);
    }
}

/* A matcher as one writes it down from the standard: a character at a time, by recursion. */
static bool naive(const char *filter, const char *topic, bool first)
{
    if (first && *topic == '$' && (*filter == '+' || *filter == '#'))
        return false;
    if (*filter == '#')
        return true;
    if (*filter == '+') {
        while (*topic != '/' && *topic != '\0')
            topic++;
        return naive(filter + 1, topic, false);
    }
    if (*topic == '\0')
        return *filter == '\0' || strcmp(filter, "/#") == 0;
    return *filter == *topic && naive(filter + 1, topic + 1, false);
}

static uint64_t seed = 7;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % bound;
}

static void random_text(char *out, bool filter)
{
    static const char *const levels[] = {"", "a", "b", "ab", "$S"};
    unsigned count = 1 + random_below(4);

    *out = '\0';
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            *out++ = '/';
        if (filter && random_below(3) == 0) {
            *out++ = i + 1 == count && random_below(2) == 0 ? '#' : '+';
            *out = '\0';
        } else {
            out = stpcpy(out, levels[random_below(5)]);
        }
    }
}

static void matching_agrees_with_a_naive_matcher(void)
{
    unsigned compared = 0, matched = 0, wrong = 0;

    while (compared < 100000) {
        char filter[64], topic[64];
        bool expected;

        random_text(filter, true);
        random_text(topic, false);
        if (*filter == '\0' || *topic == '\0')
            continue;
        expected = naive(filter, topic, true);
        wrong += pg_topic_matches(pg_bytes_str(filter), pg_bytes_str(topic)) != expected;
        matched += expected;
        compared++;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(matched > 5000);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(names_and_filters_follow_the_table),
        TEST(every_fault_has_a_sentence),
        TEST(length_and_levels_are_capped_exactly),
        TEST(utf8_is_strict_at_every_code_point),
        TEST(matching_follows_the_standard),
        TEST(matching_agrees_with_a_naive_matcher),
        CU_TEST_INFO_NULL,
    };
    return run_suite("topic", tests);
}
