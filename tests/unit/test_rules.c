/* SPDX-License-Identifier: Apache-2.0 */

/* Access rules: what applies to whom, placeholders that cannot become wildcards (pitfall M18),
 * subscriptions judged by what they can match, and the text of each error. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../plugins/authfile/rules.h"
#include "suite.h"

static struct pg_identity who(const char *client, const char *user)
{
    return (struct pg_identity){
        .client_id = client ? pg_bytes_str(client) : PG_BYTES_NONE,
        .username = user ? pg_bytes_str(user) : PG_BYTES_NONE,
        .peer = "127.0.0.1:1",
        .listener = "main",
        .protocol = "mqtt",
    };
}

static struct auth_rules *parse(const char *text)
{
    struct pg_error error = {.text = ""};
    struct auth_rules *rules = auth_rules_parse(pg_bytes_str(text), "rules", &error);
    if (!rules)
        fprintf(stderr, "%s\n", error.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rules);
    return rules;
}

static enum pg_verdict ask_as(const char *text, struct pg_identity id, enum pg_action action,
                              struct pg_bytes topic)
{
    struct auth_rules *rules = parse(text);
    enum pg_verdict verdict = auth_rules_check(rules, &id, action, topic);
    auth_rules_free(&rules);
    return verdict;
}

static enum pg_verdict publish(const char *text, const char *topic)
{
    return ask_as(text, who("c1", "alice"), PG_ACTION_PUBLISH, pg_bytes_str(topic));
}

static enum pg_verdict subscribe(const char *text, const char *filter)
{
    return ask_as(text, who("c1", "alice"), PG_ACTION_SUBSCRIBE, pg_bytes_str(filter));
}

static void the_first_rule_that_applies_decides(void)
{
    const char *rules = "# comment\n\n"
                        "deny all * secret/#\r\n"
                        "allow publish * a/+\n"
                        "deny publish * a/b\n";
    CU_ASSERT_EQUAL(publish(rules, "a/b"), PG_ALLOW);
    CU_ASSERT_EQUAL(publish(rules, "secret/x"), PG_DENY);
    CU_ASSERT_EQUAL(publish(rules, "secret"), PG_DENY);
    CU_ASSERT_EQUAL(publish(rules, "a/b/c"), PG_NEXT);
    CU_ASSERT_EQUAL(subscribe(rules, "a/b"), PG_NEXT);
    CU_ASSERT_EQUAL(publish("", "a"), PG_NEXT);
    CU_ASSERT_EQUAL(publish("allow all * #", ""), PG_DENY);
    CU_ASSERT_EQUAL(publish("allow all * a//b", "a//b"), PG_ALLOW);
    CU_ASSERT_EQUAL(publish("allow all * a//b", "a/x/b"), PG_NEXT);
    CU_ASSERT_EQUAL(publish("allow all * a/+/", "a/b"), PG_NEXT);
    CU_ASSERT_EQUAL(publish("allow all * \"a b/\\\"c\\\\\"", "a b/\"c\\"), PG_ALLOW);
}

static void conditions_must_all_hold(void)
{
    struct pg_identity alice = who("c1", "alice"), nobody = who("c1", NULL), bob = who("c2", "bob");
    struct pg_identity empty = who("c1", "");
    struct pg_bytes t = PG_BYTES_OF("t");
    const char *users = "allow all user:alice #";
    CU_ASSERT_EQUAL(ask_as(users, alice, PG_ACTION_PUBLISH, t), PG_ALLOW);
    CU_ASSERT_EQUAL(ask_as(users, bob, PG_ACTION_PUBLISH, t), PG_NEXT);
    CU_ASSERT_EQUAL(ask_as(users, nobody, PG_ACTION_PUBLISH, t), PG_NEXT);
    const char *anonymous = "allow all anonymous #";
    CU_ASSERT_EQUAL(ask_as(anonymous, nobody, PG_ACTION_PUBLISH, t), PG_ALLOW);
    CU_ASSERT_EQUAL(ask_as(anonymous, alice, PG_ACTION_PUBLISH, t), PG_NEXT);
    CU_ASSERT_EQUAL(ask_as(anonymous, empty, PG_ACTION_PUBLISH, t), PG_NEXT);
    const char *both = "allow all user:alice client:c1 listener:main protocol:mqtt #";
    CU_ASSERT_EQUAL(ask_as(both, alice, PG_ACTION_PUBLISH, t), PG_ALLOW);
    struct pg_identity elsewhere = alice;
    elsewhere.listener = "other";
    CU_ASSERT_EQUAL(ask_as(both, elsewhere, PG_ACTION_PUBLISH, t), PG_NEXT);
    elsewhere = alice;
    elsewhere.protocol = "stomp";
    CU_ASSERT_EQUAL(ask_as(both, elsewhere, PG_ACTION_PUBLISH, t), PG_NEXT);
    elsewhere = alice;
    elsewhere.client_id = pg_bytes_str("c10");
    CU_ASSERT_EQUAL(ask_as(both, elsewhere, PG_ACTION_PUBLISH, t), PG_NEXT);
    CU_ASSERT_EQUAL(ask_as("allow all user:\"al ice\" #", who("c", "al ice"), PG_ACTION_PUBLISH, t),
                    PG_ALLOW);
}

/* `+/#` would in truth cover `#`; judged level by level it does not, which is the safe side. */
static enum pg_verdict from(const char *text, const char *peer)
{
    struct pg_identity id = who("c1", "alice");
    id.peer = peer;
    return ask_as(text, id, PG_ACTION_PUBLISH, pg_bytes_str("a"));
}

static void addresses_are_those_of_the_peer(void)
{
    const char *rules = "deny all address:10.9.0.0/16 #\n"
                        "allow all user:alice address:10.0.0.0/8 #\n"
                        "allow all address:2001:db8::/32 #\n"
                        "allow all address:192.0.2.7 #\n";
    CU_ASSERT_EQUAL(from(rules, "10.1.2.3:40000"), PG_ALLOW);
    CU_ASSERT_EQUAL(from(rules, "10.9.2.3:40000"), PG_DENY);
    CU_ASSERT_EQUAL(from(rules, "11.1.2.3:40000"), PG_NEXT);
    CU_ASSERT_EQUAL(from(rules, "[::ffff:10.1.2.3]:40000"), PG_ALLOW);
    CU_ASSERT_EQUAL(from(rules, "[2001:db8::7]:40000"), PG_ALLOW);
    CU_ASSERT_EQUAL(from(rules, "[2001:db9::7]:40000"), PG_NEXT);
    CU_ASSERT_EQUAL(from(rules, "192.0.2.7:1"), PG_ALLOW);
    CU_ASSERT_EQUAL(from(rules, "192.0.2.8:1"), PG_NEXT);
    CU_ASSERT_EQUAL(from(rules, "unix:pid=10,uid=0"), PG_NEXT);
    CU_ASSERT_EQUAL(from(rules, NULL), PG_NEXT);
    struct pg_identity bob = who("c1", "bob");
    bob.peer = "10.1.2.3:40000";
    CU_ASSERT_EQUAL(ask_as(rules, bob, PG_ACTION_PUBLISH, pg_bytes_str("a")), PG_NEXT);
}

static void allowing_a_subscription_takes_all_that_it_matches(void)
{
    static const struct {
        const char *rule, *asked;
        bool allowed;
    } rows[] = {
        {"a/+", "#", false},        {"a/+", "a/#", false},    {"a/+", "a/+", true},
        {"a/+", "a/b", true},       {"a/+", "+/b", false},    {"a/+", "+/+", false},
        {"a/+", "a", false},        {"a/+", "a/b/c", false},  {"a/#", "a/#", true},
        {"a/#", "a", true},         {"a/#", "a/+/c/#", true}, {"a/#", "+/#", false},
        {"a/+/#", "a/#", false},    {"a/+/#", "a/b", true},   {"a/+/#", "a/+", true},
        {"#", "#", true},           {"#", "+", true},         {"+", "#", false},
        {"+/#", "#", false},        {"a/b", "a/b", true},     {"a/b", "a/+", false},
        {"a/b", "a/b/#", false},    {"#", "$SYS/#", false},   {"+/x", "$SYS/x", false},
        {"$SYS/#", "$SYS/+", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "allow subscribe * %s", rows[i].rule);
        enum pg_verdict verdict = subscribe(text, rows[i].asked);
        bool expected = rows[i].allowed;
        if (verdict != (expected ? PG_ALLOW : PG_NEXT))
            fprintf(stderr, "rule %s asked %s\n", rows[i].rule, rows[i].asked);
        CU_ASSERT_EQUAL(verdict, expected ? PG_ALLOW : PG_NEXT);
    }
}

static void a_wildcard_does_not_reach_around_a_deny(void)
{
    static const struct {
        const char *rule, *asked;
        bool denied;
    } rows[] = {
        {"secret/#", "#", true},      {"secret/#", "+/x", true},      {"secret/#", "secret", true},
        {"secret/#", "+", true},      {"secret/#", "other/#", false}, {"a/b", "a/+", true},
        {"a/b", "a/b/#", true},       {"a/b", "a/b/+", false},        {"a/b/c", "a/#", true},
        {"a/b/c", "a/+/d", false},    {"a/+/c", "a/b/+", true},       {"a/+/c", "a/b", false},
        {"#", "anything/+", true},    {"#", "$SYS/#", true},          {"+/x", "$SYS/x", true},
        {"${client}/x", "+/x", true}, {"${client}/x", "c2/x", false}, {"a/b/#", "a", false},
        {"a/#", "a/+", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[96];
        snprintf(text, sizeof(text),
                 "deny subscribe * %s\nallow subscribe * #\n"
                 "allow subscribe * $SYS/#",
                 rows[i].rule);
        enum pg_verdict verdict = subscribe(text, rows[i].asked);
        if (verdict != (rows[i].denied ? PG_DENY : PG_ALLOW))
            fprintf(stderr, "deny %s asked %s\n", rows[i].rule, rows[i].asked);
        CU_ASSERT_EQUAL(verdict, rows[i].denied ? PG_DENY : PG_ALLOW);
    }
}

/* A filter behind '=' is for what is asked in these words: it takes nothing from what overlaps. */
static void an_exact_filter_is_for_that_text_only(void)
{
    static const struct {
        const char *rule, *asked;
        bool applies;
    } rows[] = {
        {"=a/b", "a/b", true},
        {"=a/b", "a/+", false},
        {"=a/b", "a/#", false},
        {"=a/b", "#", false},
        {"=a/b", "a/b/c", false},
        {"=a/b", "a", false},
        {"=a/b", "$share/g/a/b", false}, /* the core has taken $share off before */
        {"=a/+", "a/+", true},
        {"=a/+", "a/b", false},
        {"=a/#", "a/#", true},
        {"=a/#", "a/b", false},
        {"=a/#", "a", false},
        {"=#", "#", true},
        {"=#", "a", false},
        {"=+/#", "+/#", true},
        {"=$SYS/#", "$SYS/#", true},
        {"=a/", "a/", true},
        {"=a/", "a", false},
        {"=/", "/", true},
        {"=x/${client}/#", "x/c1/#", true},
        {"=x/${client}/#", "x/c2/#", false},
        {"=x/${client}/#", "x/c1/y", false},
        {"=\"b c\"", "b c", true},
        {"==a", "=a", true},
        {"==a", "a", false},
        {"\"=a/#\"", "=a/b", true},
        {"\"=a/#\"", "a/#", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[96];
        snprintf(text, sizeof(text), "deny subscribe * %s", rows[i].rule);
        enum pg_verdict denied = subscribe(text, rows[i].asked);
        snprintf(text, sizeof(text), "allow subscribe * %s", rows[i].rule);
        enum pg_verdict allowed = subscribe(text, rows[i].asked);
        if ((denied == PG_DENY) != rows[i].applies || (allowed == PG_ALLOW) != rows[i].applies)
            fprintf(stderr, "rule %s asked %s\n", rows[i].rule, rows[i].asked);
        CU_ASSERT_EQUAL(denied, rows[i].applies ? PG_DENY : PG_NEXT);
        CU_ASSERT_EQUAL(allowed, rows[i].applies ? PG_ALLOW : PG_NEXT);
    }
    CU_ASSERT_EQUAL(publish("deny publish * =a/b\nallow publish * #", "a/b"), PG_DENY);
    CU_ASSERT_EQUAL(publish("deny publish * =a/b\nallow publish * #", "a/b/c"), PG_ALLOW);
    CU_ASSERT_EQUAL(publish("deny publish * =a/+\nallow publish * #", "a/b"), PG_ALLOW);
    /* A name that begins with $ does not open the broker's own topics here either. */
    CU_ASSERT_EQUAL(ask_as("allow all * =${client}/#", who("$SYS", NULL), PG_ACTION_SUBSCRIBE,
                           PG_BYTES_OF("$SYS/#")),
                    PG_NEXT);
}

/* Pitfall M18. */
static void values_of_placeholders_are_one_literal_level(void)
{
    const char *rules = "allow all * u/${user}/#\nallow all * c/${client}/x";
    static const char *const bad[] = {"+", "#", "a/b", "a+", "a#", "", "/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char topic[64];
        struct pg_identity id = who(bad[i], bad[i]);
        static const char *const asked[] = {"u/alice/x", "u/+/x",   "u/#",
                                            "u/a/b",     "c/any/x", "c/+/x"};
        for (size_t k = 0; k < sizeof(asked) / sizeof(asked[0]); k++) {
            CU_ASSERT_EQUAL(ask_as(rules, id, PG_ACTION_PUBLISH, pg_bytes_str(asked[k])), PG_NEXT);
            CU_ASSERT_EQUAL(ask_as(rules, id, PG_ACTION_SUBSCRIBE, pg_bytes_str(asked[k])),
                            PG_NEXT);
        }
        snprintf(topic, sizeof(topic), "u/%s/x", bad[i]);
        CU_ASSERT_EQUAL(ask_as(rules, id, PG_ACTION_SUBSCRIBE, pg_bytes_str(topic)), PG_NEXT);
    }
    struct pg_identity nul = who("c", NULL);
    nul.username = PG_BYTES_OF("a\0b");
    CU_ASSERT_EQUAL(ask_as(rules, nul, PG_ACTION_PUBLISH, PG_BYTES_OF("u/a\0b/x")), PG_NEXT);

    struct pg_identity nobody = who("c1", NULL);
    CU_ASSERT_EQUAL(ask_as("allow all * ${user}", nobody, PG_ACTION_PUBLISH, PG_BYTES_OF("a")),
                    PG_NEXT);
    CU_ASSERT_EQUAL(publish(rules, "u/alice/x/y"), PG_ALLOW);
    CU_ASSERT_EQUAL(publish(rules, "u/bob/x"), PG_NEXT);
    CU_ASSERT_EQUAL(subscribe(rules, "u/alice/#"), PG_ALLOW);
    CU_ASSERT_EQUAL(subscribe(rules, "u/+/x"), PG_NEXT);
    CU_ASSERT_EQUAL(publish(rules, "c/c1/x"), PG_ALLOW);
    /* A name that begins with $ must not open the broker's own topics. */
    CU_ASSERT_EQUAL(ask_as("allow all * ${client}/#", who("$SYS", NULL), PG_ACTION_SUBSCRIBE,
                           PG_BYTES_OF("$SYS/#")),
                    PG_NEXT);
    /* Regular expressions and the like mean nothing. */
    CU_ASSERT_EQUAL(ask_as(rules, who(".*", "a"), PG_ACTION_PUBLISH, PG_BYTES_OF("c/.*/x")),
                    PG_ALLOW);
    CU_ASSERT_EQUAL(ask_as(rules, who("${user}", "a"), PG_ACTION_PUBLISH, PG_BYTES_OF("c/a/x")),
                    PG_NEXT);
}

static void parts_of_levels_and_of_identifiers(void)
{
    const char *part = "allow all * a/dev-${client}.x";
    CU_ASSERT_EQUAL(publish(part, "a/dev-c1.x"), PG_ALLOW);
    CU_ASSERT_EQUAL(publish(part, "a/dev-c2.x"), PG_NEXT);
    CU_ASSERT_EQUAL(publish(part, "a/dev-c1.y"), PG_NEXT);
    CU_ASSERT_EQUAL(publish(part, "a/dev-c1.xx"), PG_NEXT);
    CU_ASSERT_EQUAL(publish(part, "a/de"), PG_NEXT);

    const char *lmq = "allow all * g/${group}/${device}";
    struct pg_bytes topic = PG_BYTES_OF("g/GID_a/d1");
    CU_ASSERT_EQUAL(ask_as(lmq, who("GID_a@@@d1", NULL), PG_ACTION_PUBLISH, topic), PG_ALLOW);
    CU_ASSERT_EQUAL(ask_as(lmq, who("GID_b@@@d1", NULL), PG_ACTION_PUBLISH, topic), PG_NEXT);
    static const char *const bad[] = {"GID_a",       "GID_a@@@",        "@@@d1",
                                      "GID_a@@@@d1", "GID_a@@@d1@@@d1", "GID_a@@d1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(ask_as(lmq, who(bad[i], NULL), PG_ACTION_PUBLISH, topic), PG_NEXT);

    /* Neither the first nor the last separator is more right than the other. */
    CU_ASSERT_EQUAL(ask_as("allow all * ${device}", who("a@@@b@@@c", NULL), PG_ACTION_PUBLISH,
                           PG_BYTES_OF("b@@@c")),
                    PG_NEXT);

    struct pg_identity terminal = who("013912345678", NULL);
    topic = PG_BYTES_OF("v/013912345678");
    CU_ASSERT_EQUAL(ask_as("allow all * v/${phone}", terminal, PG_ACTION_PUBLISH, topic), PG_NEXT);
    terminal.protocol = "jt808";
    CU_ASSERT_EQUAL(ask_as("allow all * v/${phone}", terminal, PG_ACTION_PUBLISH, topic), PG_ALLOW);
    CU_ASSERT_EQUAL(ask_as("allow all * v/${vin}", terminal, PG_ACTION_PUBLISH, topic), PG_NEXT);
    terminal.protocol = "gbt32960";
    CU_ASSERT_EQUAL(ask_as("allow all * v/${vin}", terminal, PG_ACTION_PUBLISH, topic), PG_ALLOW);
}

static void errors_say_where_and_what_was_expected(void)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"\n#x\nalow all * #\n", "rules:3: found \"alow\"; expected allow or deny"},
        {"allow", "rules:1: the line ends here; expected publish, subscribe or all"},
        {"allow read * #", "rules:1: found \"read\"; expected publish, subscribe or all"},
        {"allow all", "rules:1: the line ends here; expected who the rule is for: * anonymous "
                      "user:NAME client:ID listener:NAME protocol:NAME address:RANGE"},
        {"allow all bob #", "rules:1: found \"bob\"; expected who the rule is for: * anonymous "
                            "user:NAME client:ID listener:NAME protocol:NAME address:RANGE"},
        {"allow all address:10.0.0.1/8 #",
         "rules:1: found \"10.0.0.1/8\"; expected an address or a range of them: 192.0.2.7 "
         "10.0.0.0/8 2001:db8::/32"},
        {"allow all address: #", "rules:1: found \"address:\"; expected a name behind the colon"},
        {"allow all user: #", "rules:1: found \"user:\"; expected a name behind the colon"},
        {"allow all *", "rules:1: the line ends here; expected a topic filter, for instance "
                        "devices/${client}/#"},
        {"allow all * \"\"", "rules:1: found \"\"; expected a topic filter, for instance "
                             "devices/${client}/#"},
        {"allow all * =", "rules:1: found \"\"; expected a topic filter, for instance "
                          "devices/${client}/#"},
        {"allow all * =a+", "rules:1: found \"a+\"; + must be a whole level"},
        {"allow all * =#/a", "rules:1: found \"#\"; # must be the last level, and nothing else in "
                             "it"},
        {"allow all * =$share/g/a", "rules:1: found \"$share/g/a\"; write the filter without "
                                    "$share/<group>/: it is taken off before rules are looked at"},
        {"allow all * a b", "rules:1: found \"b\"; expected the end of the line behind the topic "
                            "filter; put words with blanks in double quotes"},
        {"allow all * a+/b", "rules:1: found \"a+\"; + must be a whole level"},
        {"allow all * a/#/b", "rules:1: found \"#\"; # must be the last level, and nothing else "
                              "in it"},
        {"allow all * a#", "rules:1: found \"a#\"; # must be the last level, and nothing else in "
                           "it"},
        {"allow all * ${clientid}", "rules:1: found \"${clientid}\"; the placeholders are "
                                    "${client} ${user} ${group} ${device} ${phone} ${vin}"},
        {"allow all * ${group}${device}", "rules:1: found \"${group}${device}\"; one level can "
                                          "hold only one placeholder: with two it would not be "
                                          "certain where the first value ends"},
        {"allow all * +${user}", "rules:1: found \"+${user}\"; + must be a whole level"},
        {"allow all * $share/g/a", "rules:1: found \"$share/g/a\"; write the filter without "
                                   "$share/<group>/: it is taken off before rules are looked at"},
        {"allow all * \"a", "rules:1: found \"a\"; expected a closing \" on the same line"},
        {"allow all * \"a\\n\"", "rules:1: found \"a\"; a backslash in quotes must be followed by "
                                 "\" or another backslash"},
        {"allow all * \xff", "rules:1: found \"allow all * \xff\"; expected text in UTF-8 without "
                             "NUL"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pg_error error = {.text = ""};
        struct auth_rules *rules = auth_rules_parse(pg_bytes_str(rows[i].text), "rules", &error);
        CU_ASSERT_PTR_NULL(rules);
        CU_ASSERT_STRING_EQUAL(error.text, rows[i].error);
        if (strcmp(error.text, rows[i].error) != 0)
            fprintf(stderr, "wanted: %s\nfound:  %s\n", rows[i].error, error.text);
        auth_rules_free(&rules);
    }
}

/* Every pair of small filters, against brute force over small topics: an allow rule that covers
 * never lets a topic through that it does not match, and a deny rule meets exactly those filters
 * that share a topic with it. */
static void covering_and_meeting_agree_with_matching(void)
{
    static const char *const filters[] = {"#",     "+",     "a",     "b",     "a/#",   "+/#",
                                          "a/+",   "+/a",   "a/b",   "+/+",   "a/b/#", "a/+/#",
                                          "+/b/#", "a/+/b", "+/+/+", "a/b/a", "+/b/a"};
    static const char *const topics[] = {"a",     "b",     "a/a",     "a/b",     "b/a",    "b/b",
                                         "a/a/a", "a/a/b", "a/b/a",   "a/b/b",   "b/a/a",  "b/a/b",
                                         "b/b/a", "b/b/b", "a/b/a/b", "b/b/b/b", "a/a/a/a"};
    const size_t n = sizeof(filters) / sizeof(filters[0]), m = sizeof(topics) / sizeof(topics[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            bool inside = true, common = false;
            for (size_t t = 0; t < m; t++) {
                struct pg_bytes topic = pg_bytes_str(topics[t]);
                bool rule = pg_topic_filter_matches(pg_bytes_str(filters[i]), topic);
                bool asked = pg_topic_filter_matches(pg_bytes_str(filters[k]), topic);
                inside = inside && (!asked || rule);
                common = common || (asked && rule);
            }
            char text[64];
            snprintf(text, sizeof(text), "allow subscribe * %s", filters[i]);
            if (subscribe(text, filters[k]) == PG_ALLOW)
                CU_ASSERT(inside);
            snprintf(text, sizeof(text), "deny subscribe * %s", filters[i]);
            CU_ASSERT_EQUAL(subscribe(text, filters[k]) == PG_DENY, common);
            if ((subscribe(text, filters[k]) == PG_DENY) != common)
                fprintf(stderr, "deny %s asked %s\n", filters[i], filters[k]);
        }
    }
}

static void twenty_rules_cost_little(void)
{
    char text[4096] = "";
    size_t len = 0;
    for (int i = 0; i < 19; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "allow all * fleet/depot%d/${client}/+/up\n", i);
    snprintf(text + len, sizeof(text) - len, "allow all * fleet/${client}/telemetry/#\n");
    struct auth_rules *rules = parse(text);
    CU_ASSERT_EQUAL(auth_rules_count(rules), 20);
    struct pg_identity id = who("device-0001", "alice");
    struct pg_bytes topic = PG_BYTES_OF("fleet/device-0001/telemetry/engine/temperature");
    struct timespec a, b;
    enum { ROUNDS = 100000 };
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    for (int i = 0; i < ROUNDS; i++)
        CU_ASSERT_FATAL(auth_rules_check(rules, &id, PG_ACTION_PUBLISH, topic) == PG_ALLOW);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    double ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / ROUNDS;
    printf("(%.0f ns a check) ", ns);
    auth_rules_free(&rules);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(the_first_rule_that_applies_decides),
        TEST(conditions_must_all_hold),
        TEST(addresses_are_those_of_the_peer),
        TEST(allowing_a_subscription_takes_all_that_it_matches),
        TEST(a_wildcard_does_not_reach_around_a_deny),
        TEST(an_exact_filter_is_for_that_text_only),
        TEST(values_of_placeholders_are_one_literal_level),
        TEST(parts_of_levels_and_of_identifiers),
        TEST(errors_say_where_and_what_was_expected),
        TEST(covering_and_meeting_agree_with_matching),
        TEST(twenty_rules_cost_little),
        CU_TEST_INFO_NULL,
    };
    return run_suite("rules", tests);
}
