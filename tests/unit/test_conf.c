/* SPDX-License-Identifier: Apache-2.0 */

/* The configuration: what may be written, what comes out, and what each mistake is answered with.
 * Errors are compared as whole texts, since their wording is what a user has. */

#include <CUnit/Basic.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "escape.h"
#include "option.h"
#include "pool.h"
#include "server.h"
#include "suite.h"
#include "transport.h"

/* ---- what is "compiled in" ------------------------------------------------------------------- */

struct pipe_conf {
    int64_t backlog;
};
static const struct pg_option pipe_options[] = {
    {.name = "backlog",
     .type = PG_OPT_INT,
     .offset = offsetof(struct pipe_conf, backlog),
     .fallback = "5",
     .min = 1,
     .max = 9,
     .sentence = "How many may wait."},
    {.name = NULL},
};
static const struct pg_option ring_options[] = {
    {.name = "seats",
     .type = PG_OPT_INT,
     .offset = 0,
     .fallback = "0",
     .sentence = "How many may sit."},
    {.name = NULL},
};
static const struct pg_transport pipe_transport = {
    .name = "tcp", .options = pipe_options, .conf_size = sizeof(struct pipe_conf)};
static const struct pg_transport ring_transport = {
    .name = "ring", .options = ring_options, .conf_size = sizeof(int64_t)};

static const char *const colours[] = {"red", "green", "blue", NULL};
struct talk_conf {
    const char *greeting;
    const char *password;
    struct pg_strings names;
    int64_t count, size, wait, any;
    bool loud;
    int colour;
};
static const struct pg_option talk_options[] = {
    {.name = "greeting",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct talk_conf, greeting),
     .fallback = "hello",
     .sentence = "What is said."},
    {.name = "password",
     .type = PG_OPT_SECRET,
     .offset = offsetof(struct talk_conf, password),
     .fallback = "",
     .sentence = "What nobody else hears."},
    {.name = "names",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct talk_conf, names),
     .fallback = "ann bob",
     .sentence = "To whom."},
    {.name = "count",
     .type = PG_OPT_INT,
     .offset = offsetof(struct talk_conf, count),
     .fallback = "3",
     .min = -5,
     .max = 10,
     .sentence = "How often."},
    {.name = "any",
     .type = PG_OPT_INT,
     .offset = offsetof(struct talk_conf, any),
     .fallback = "-1",
     .sentence = "No bounds."},
    {.name = "size",
     .type = PG_OPT_SIZE,
     .offset = offsetof(struct talk_conf, size),
     .fallback = "64k",
     .min = 1024,
     .max = 1 << 30,
     .sentence = "How long."},
    {.name = "wait",
     .type = PG_OPT_DURATION,
     .offset = offsetof(struct talk_conf, wait),
     .fallback = "1500ms",
     .min = 0,
     .max = 7 * 86400000LL,
     .sentence = "How late."},
    {.name = "loud",
     .type = PG_OPT_BOOL,
     .offset = offsetof(struct talk_conf, loud),
     .fallback = "no",
     .reloadable = true,
     .sentence = "How loud."},
    {.name = "colour",
     .type = PG_OPT_CHOICE,
     .offset = offsetof(struct talk_conf, colour),
     .fallback = "green",
     .choices = colours,
     .sentence = "How it looks."},
    {.name = NULL},
};

static bool talk_check(const void *conf, struct pg_error *error)
{
    const struct talk_conf *t = conf;
    if (t->count != 7)
        return true;
    pg_error_set(error, "count is 7, which nobody wants");
    return false;
}

static const struct pg_protocol talk = {.abi = PG_ABI,
                                        .name = "talk",
                                        .options = talk_options,
                                        .conf_size = sizeof(struct talk_conf),
                                        .check = talk_check};
static const struct pg_protocol mute = {.abi = PG_ABI, .name = "mute"};

static int started, stopped;
static char order[16];
static void *gate_start(const void *conf, struct pg_error *error)
{
    int64_t fail = *(const int64_t *)conf;
    if (fail) {
        pg_error_set(error, "told to fail");
        return NULL;
    }
    order[started++] = 'g';
    return &started;
}
static void *other_start(const void *conf, struct pg_error *error)
{
    (void)conf;
    (void)error;
    order[started++] = 'o';
    return &started;
}
static void gate_stop(void *self)
{
    CU_ASSERT_PTR_EQUAL(self, &started);
    stopped++;
}
static const struct pg_option gate_options[] = {
    {.name = "fail", .type = PG_OPT_INT, .offset = 0, .fallback = "0", .sentence = "Fail."},
    {.name = NULL},
};
static enum pg_verdict gate_login(void *self, const struct pg_identity *who,
                                  struct pg_access_request *request)
{
    (void)self;
    (void)who;
    (void)request;
    return PG_NEXT;
}
static const struct pg_authenticator gate_authenticator = {.authenticate = gate_login};
static const struct pg_plugin gate = {.abi = PG_ABI,
                                      .name = "gate",
                                      .options = gate_options,
                                      .conf_size = sizeof(int64_t),
                                      .authenticator = &gate_authenticator,
                                      .start = gate_start,
                                      .stop = gate_stop};
static const struct pg_plugin other = {
    .abi = PG_ABI, .name = "other", .start = other_start, .stop = gate_stop};

static struct pg_assembly assembly = {
    .transports = (const struct pg_transport *const[]){&pipe_transport, &ring_transport, NULL},
    .protocols = (const struct pg_protocol *const[]){&talk, &mute, NULL},
    .plugins = (const struct pg_plugin *const[]){&gate, &other, NULL},
};

#define LISTENER "listener \"a\" { bind = \"127.0.0.1:0\" protocol = talk }\n"

static struct pg_error error;

/* The configuration of a text; NULL with `error`. */
static struct pg_config *load(const char *text)
{
    assembly.config = text;
    error.text[0] = '\0';
    return pg_config_load(&assembly, NULL, &error);
}

static const struct talk_conf *talk_of(const struct pg_config *config)
{
    return config->protocols[0].conf;
}

/* The text, with a listener in front on the same line, is refused with exactly this error. */
static void refused(const char *text, const char *expected)
{
    struct pg_config *config = load(text);
    CU_ASSERT_PTR_NULL(config);
    if (config)
        pg_config_unref(&config);
    char whole[sizeof(error.text)];
    snprintf(whole, sizeof(whole), "built-in configuration%s", expected);
    if (strcmp(error.text, whole) != 0)
        fprintf(stderr, "\ntext:     %s\nexpected: %s\nfound:    %s\n", text, whole, error.text);
    CU_ASSERT_STRING_EQUAL(error.text, whole);
}

static struct pg_config *accepted(const char *text)
{
    struct pg_config *config = load(text);
    if (!config)
        fprintf(stderr, "\ntext:  %s\nerror: %s\n", text, error.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    return config;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void what_is_not_given_has_its_default(void)
{
    struct pg_config *c = accepted(LISTENER);
    const struct talk_conf *t = talk_of(c);
    CU_ASSERT_STRING_EQUAL(t->greeting, "hello");
    CU_ASSERT_EQUAL_FATAL(t->names.count, 2);
    CU_ASSERT_STRING_EQUAL(t->names.items[1], "bob");
    CU_ASSERT_EQUAL(t->count, 3);
    CU_ASSERT_EQUAL(t->any, -1);
    CU_ASSERT_EQUAL(t->size, 65536);
    CU_ASSERT_EQUAL(t->wait, 1500);
    CU_ASSERT_FALSE(t->loud);
    CU_ASSERT_EQUAL(t->colour, 1);
    CU_ASSERT_EQUAL(c->settings.limits.login_frame_size, 16384);
    CU_ASSERT_EQUAL(c->settings.session.expiry_max, 7 * 86400000LL);
    CU_ASSERT_EQUAL(c->settings.access.allow_anonymous, PG_ANONYMOUS_AUTO);
    CU_ASSERT_EQUAL(c->settings.log.level, PG_INFO);
    CU_ASSERT_EQUAL(c->plugin_count, 0);
    pg_config_unref(&c);
}

static void every_kind_of_value_is_read(void)
{
    struct pg_config *c =
        accepted(LISTENER "# a comment\n"
                          "workers = 2; drain_timeout = 3s\n"
                          "log { level = debug format = JSON }\n"
                          "talk {\n"
                          "    greeting = \"a \\\"b\\\" \\\\ \\$ # no comment\" # a comment\n"
                          "    names = { one, 'two \"2\" \\n', \"three/#\" }\n"
                          "    count = -5  size = 1G  wait = 2d\n"
                          "    loud = Yes  colour = blue\n"
                          "}\n");
    const struct talk_conf *t = talk_of(c);
    CU_ASSERT_EQUAL(c->settings.workers, 2);
    CU_ASSERT_EQUAL(c->settings.drain_timeout, 3000);
    CU_ASSERT_EQUAL(c->settings.log.level, PG_DEBUG);
    CU_ASSERT_EQUAL(c->settings.log.format, PG_LOG_JSON);
    CU_ASSERT_STRING_EQUAL(t->greeting, "a \"b\" \\ $ # no comment");
    CU_ASSERT_EQUAL_FATAL(t->names.count, 3);
    CU_ASSERT_STRING_EQUAL(t->names.items[0], "one");
    CU_ASSERT_STRING_EQUAL(t->names.items[1], "two \"2\" \\n");
    CU_ASSERT_STRING_EQUAL(t->names.items[2], "three/#");
    CU_ASSERT_EQUAL(t->count, -5);
    CU_ASSERT_EQUAL(t->size, 1 << 30);
    CU_ASSERT_EQUAL(t->wait, 2 * 86400000LL);
    CU_ASSERT_TRUE(t->loud);
    CU_ASSERT_EQUAL(t->colour, 2);
    pg_config_unref(&c);
}

static void units_of_sizes_and_durations(void)
{
    static const struct {
        const char *text;
        bool is_size;
        int64_t value; /* -1: refused */
    } cases[] = {
        {"0", false, 0},
        {"0s", false, 0},
        {"1ms", false, 1},
        {"30s", false, 30000},
        {"5m", false, 300000},
        {"2h", false, 7200000},
        {"7d", false, 604800000},
        {"30", false, -1},
        {"8d", false, -1},
        {"1.5s", false, -1},
        {"-1s", false, -1},
        {"s", false, -1},
        {"1 s", false, -1},
        {"1w", false, -1},
        {"9223372036854775807d", false, -1},
        {"99999999999999999999s", false, -1},
        {"1024", true, 1024},
        {"1k", true, 1024},
        {"3m", true, 3 << 20},
        {"1g", true, 1 << 30},
        {"1023", true, -1},
        {"2g", true, -1},
        {"10q", true, -1},
        {"k", true, -1},
        {"1kb", true, -1},
        {"0x400", true, -1},
        {"9223372036854775807g", true, -1},
        {"18014398509481985k", true, -1}, /* 1k beyond 2^64 */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[160];
        snprintf(text, sizeof(text), LISTENER "talk { %s = \"%s\" }",
                 cases[i].is_size ? "size" : "wait", cases[i].text);
        struct pg_config *c = load(text);
        CU_ASSERT_EQUAL(c != NULL, cases[i].value >= 0);
        if (c) {
            CU_ASSERT_EQUAL(cases[i].is_size ? talk_of(c)->size : talk_of(c)->wait, cases[i].value);
            pg_config_unref(&c);
        }
    }
}

static void a_value_may_come_from_the_environment(void)
{
    setenv("PG_TEST_WORD", "from \"env\" { } #", 1);
    unsetenv("PG_TEST_NONE");
    struct pg_config *c = accepted(LISTENER "talk { greeting = ${PG_TEST_WORD}\n"
                                            "names = {\"<${PG_TEST_WORD}>\", '${PG_TEST_WORD}'}\n"
                                            "size = ${PG_TEST_NONE:-4}k\n"
                                            "wait = \"${PG_TEST_NONE:-1}s\" }");
    const struct talk_conf *t = talk_of(c);
    CU_ASSERT_STRING_EQUAL(t->greeting, "from \"env\" { } #");
    CU_ASSERT_STRING_EQUAL(t->names.items[0], "<from \"env\" { } #>");
    CU_ASSERT_STRING_EQUAL(t->names.items[1], "${PG_TEST_WORD}");
    CU_ASSERT_EQUAL(t->size, 4096);
    CU_ASSERT_EQUAL(t->wait, 1000);
    pg_config_unref(&c);
    refused("\n\ntalk { greeting = ${PG_TEST_NONE} }",
            ":3: the environment variable PG_TEST_NONE is not set; set it, write "
            "${PG_TEST_NONE:-default}, or put the value in '...' if it is meant as it stands");
    refused("talk { greeting = ${PG TEST} }",
            ":1: found \"${PG TEST}\", expected ${NAME} or ${NAME:-default}");
    refused("talk { greeting = \"${PG_TEST\" \n}",
            ":1: \"${\" is not closed on its line, expected ${NAME} or ${NAME:-default}");
}

/* ---- mistakes -------------------------------------------------------------------------------- */

static void a_wrong_value_says_what_is_expected(void)
{
    refused("# one\n# two\n\ntalk {\n  # three\n  size = 10q\n}\n",
            ":6: talk.size: found \"10q\", expected a size (bytes, or with k, m, g) from 1k to 1g");
    refused("talk { wait = 30 }",
            ":1: talk.wait: found \"30\", expected a duration (with ms, s, m, "
            "h, d) from 0 to 7d");
    refused("talk { count = 11 }",
            ":1: talk.count: found \"11\", expected a whole number from -5 to 10");
    refused("talk { any = x }", ":1: talk.any: found \"x\", expected a whole number");
    refused("talk {\nloud = maybe }", ":2: talk.loud: found \"maybe\", expected yes or no");
    refused("talk { colour = gren }", ":1: talk.colour: found \"gren\", expected red, green or "
                                      "blue; did you mean \"green\"?");
    refused("talk { colour = zebra }",
            ":1: talk.colour: found \"zebra\", expected red, green or blue");
    refused("workers = 65", ":1: workers: found \"65\", expected a whole number from 0 to 64");
    refused("talk { count = 7 }", ":1: talk: count is 7, which nobody wants");
    refused("talk { greeting = {a, b} }", ":1: greeting: found a list, expected one value");
}

static void an_unknown_key_is_refused_with_a_suggestion(void)
{
    refused("session {\n    queue_mesages = 10\n}",
            ":2: unknown key \"queue_mesages\" in session; did you mean \"queue_messages\"?");
    refused("wrokers = 3", ":1: unknown key \"wrokers\"; did you mean \"workers\"?");
    refused("sesion { }", ":1: unknown key \"sesion\"; did you mean \"session\"?");
    refused("bananas = 3", ":1: unknown key or block \"bananas\"");
    refused("log { bananas = 3 }", ":1: unknown key \"bananas\" in log");
    refused("listener \"x\" { bnid = 1 }",
            ":1: unknown key \"bnid\" in listener \"x\"; did you mean \"bind\"?");
    refused("mute { loud = yes }", ":1: unknown key \"loud\" in mute");
    refused("\n// hello", ":2: found \"//\"; a comment starts with #");
    refused(
        "listener \"x\" { transport = ring backlog = 3 protocol = mute bind = \"127.0.0.1:1\" }",
        ":1: listener \"x\": backlog: this key does not belong to transport \"ring\"");
}

static void bad_grammar_says_where(void)
{
    refused("log {\n  level = info\n\nsession { }\n",
            ":1: this \"{\" is never closed, expected a \"}\" before the end of the file");
    refused("log { }\n}\n", ":2: found \"}\" without a \"{\" in this file");
    refused("log level = info", ":1: found \"level\", expected \"{\" behind the name of the block");
    refused("log { level info }", ":1: level: found \"info\", expected \"=\" and a value");
    refused("log { level = }", ":1: found \"}\", expected a key, a value or a block");
    refused("log { level =\n= info }", ":2: found \"=\", expected a key, a value or a block");
    refused("listener { bind = \"127.0.0.1:1\" }",
            ":1: found \"{\", expected a name, as in listener \"name\" { ... }");
    refused("workers = ", ":1: the file ends behind \"=\", expected a value");
    refused("log { level = \"info\n }", ":1: a value starts with \" and does not end on its line");
    refused("log { level = 'info\n }", ":1: a value starts with ' and does not end on its line");
    refused("talk { greeting = \"\\q\" }",
            ":1: found \"\\q\", expected one of \\\" \\\\ \\$ \\n \\t");
    refused("log { ; }", ":1: found \";\", expected a value or a key");
    refused("include\n", ":1: include: expected the path of a file on the same line");
    refused("", ": there is no listener, expected at least one, as in listener \"name\" { bind = "
                "\"127.0.0.1:1883\"  protocol = ... }");
}

static void what_is_given_twice_is_refused(void)
{
    refused("log { level = info }\nlog {\n level = warn }",
            ":3: level is given twice, first at built-in configuration:1");
    refused("workers = 1\nworkers = 1",
            ":2: workers is given twice, first at built-in configuration:1");
    refused("talk { names = {a}\n names = b }",
            ":2: names is given twice, first at built-in configuration:1");
    refused(LISTENER "listener \"a\" { }",
            ":2: there is a block with the name 'a' before this one");
    refused("listener \"a\" { protocol = mute bind = \"127.0.0.1:5\" }\n"
            "listener \"b\" { protocol = mute\nbind = {\"127.0.0.1:4\", \"127.0.0.1:5\"} }",
            ":3: listener \"b\": bind: 127.0.0.1:5 is the address of listener \"a\" (built-in "
            "configuration:1) already");
    /* A block in two pieces is one block. */
    struct pg_config *c = accepted(LISTENER "log { level = warn } log { format = json }");
    CU_ASSERT_EQUAL(c->settings.log.level, PG_WARN);
    CU_ASSERT_EQUAL(c->settings.log.format, PG_LOG_JSON);
    pg_config_unref(&c);
}

static void limits_must_agree(void)
{
    refused("limits { login_frame_size = 2m }",
            ": limits.login_frame_size is above limits.frame_size: a login would be allowed more "
            "than what follows it; lower the first or raise the second");
    refused("limits { frame_size = 8m }",
            ": limits.output_max is below limits.output_high and limits.frame_size together: one "
            "long delivery would cut its reader off; raise limits.output_max");
    refused("limits { first_byte_timeout = 1m }",
            ": limits.first_byte_timeout is above limits.login_timeout, which ends first; lower "
            "the first or raise the second");
}

/* ---- listeners ------------------------------------------------------------------------------- */

static void each_address_is_a_listener(void)
{
    struct pg_config *c = accepted("\nlistener \"cars\" {\n"
                                   "  bind = {\"127.0.0.1:1\", \"localhost:2\"}\n"
                                   "  protocol = mute  backlog = 9 }\n"
                                   "listener \"b\" { bind = 127.0.0.1:3 transport = ring\n"
                                   "  protocol = talk seats = 4 }\n");
    CU_ASSERT_EQUAL_FATAL(c->listener_count, 3);
    const struct pg_listener_conf *l = c->listeners;
    CU_ASSERT_STRING_EQUAL(l[0].name, "cars");
    CU_ASSERT_STRING_EQUAL(l[1].name, "cars");
    CU_ASSERT_EQUAL(l[1].bind.count, 1);
    CU_ASSERT_STRING_EQUAL(l[1].bind.items[0], "localhost:2");
    CU_ASSERT_PTR_EQUAL(l[0].protocol, &mute);
    CU_ASSERT_EQUAL(l[0].protocol_index, 1);
    CU_ASSERT_EQUAL(((const struct pipe_conf *)l[0].transport_conf)->backlog, 9);
    CU_ASSERT_PTR_EQUAL(l[2].transport, &ring_transport);
    CU_ASSERT_EQUAL(*(const int64_t *)l[2].transport_conf, 4);
    CU_ASSERT_EQUAL(l[0].line, 2);
    CU_ASSERT_EQUAL(l[2].line, 5);
    pg_config_unref(&c);

    refused(
        "listener \"x\" { bind = 127.0.0.1:1 }",
        ":1: listener \"x\": protocol is not given, expected one of \"auto\", \"talk\", \"mute\"");
    refused("listener \"x\" { bind = 127.0.0.1:1\n protocol = tlak }",
            ":2: listener \"x\": protocol: found \"tlak\", expected one of \"auto\", \"talk\", "
            "\"mute\"");
    refused("listener \"x\" { transport = udp protocol = talk }",
            ":1: listener \"x\": transport: found \"udp\", expected one of \"tcp\", \"ring\"");
    char text[256], long_name[65];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[64] = '\0';
    snprintf(text, sizeof(text), "listener \"%s\" { bind = 127.0.0.1:1 protocol = talk }",
             long_name);
    CU_ASSERT_PTR_NULL(load(text));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "the name is longer than 63 bytes"));
    refused("listener \"x\" { protocol = talk }",
            ":1: listener \"x\": bind is not given, expected at least one address, as in bind = "
            "\"127.0.0.1:1883\"");
}

static void a_listener_on_the_network_is_guarded(void)
{
    static const char *const open[] = {"0.0.0.0:1", "*:1",          "[::]:1", "192.168.0.1:1",
                                       ":1",        "127.0.0.1x:1", "[::2]:1"};
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        char text[256], expected[256];
        snprintf(text, sizeof(text), "listener \"x\" { bind = \"%s\" protocol = talk }", open[i]);
        snprintf(
            expected, sizeof(expected),
            ":1: listener \"x\": bind: other machines can reach %s, and nobody is asked who he "
            "is; add an authenticator (gate { ... }), or write access { allow_anonymous = yes "
            "}",
            open[i]);
        refused(text, expected);
        strncat(text, " access { allow_anonymous = no }", sizeof(text) - strlen(text) - 1);
        refused(text, expected);
    }
    struct pg_config *c = accepted("listener \"x\" { bind = \"*:1\" protocol = talk }\n"
                                   "access { allow_anonymous = yes }");
    pg_config_unref(&c);
    c = accepted("listener \"x\" { bind = \"*:1\" protocol = talk allow_anonymous = yes }");
    CU_ASSERT_EQUAL(c->listeners[0].allow_anonymous, PG_LISTENER_ANONYMOUS_YES);
    pg_config_unref(&c);
    c = accepted("listener \"x\" { bind = \"*:1\" protocol = talk }\n gate { }");
    CU_ASSERT_EQUAL(c->listeners[0].allow_anonymous, PG_LISTENER_ANONYMOUS_AS_ACCESS);
    pg_config_unref(&c);
}

/* ---- plugins --------------------------------------------------------------------------------- */

static void plugins_start_in_the_order_of_their_blocks(void)
{
    struct pg_config *c = accepted(LISTENER "other { }\ngate { fail = 0 }");
    CU_ASSERT_EQUAL_FATAL(c->plugin_count, 2);
    started = stopped = 0;
    CU_ASSERT_TRUE(pg_config_start_plugins(c, &error));
    CU_ASSERT_NSTRING_EQUAL(order, "og", 2);
    struct pg_config *second = pg_config_ref(c);
    pg_config_unref(&c);
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_EQUAL(stopped, 0);
    pg_config_unref(&second);
    CU_ASSERT_EQUAL(stopped, 2);
}

static void a_plugin_that_fails_stops_those_before_it(void)
{
    struct pg_config *c = accepted(LISTENER "other { }\ngate { fail = 1 }");
    started = stopped = 0;
    CU_ASSERT_FALSE(pg_config_start_plugins(c, &error));
    CU_ASSERT_STRING_EQUAL(error.text, "built-in configuration: gate: told to fail");
    CU_ASSERT_EQUAL(started, 1);
    CU_ASSERT_EQUAL(stopped, 1);
    pg_config_unref(&c);
    CU_ASSERT_EQUAL(stopped, 1);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char folder[] = "/tmp/polygate-conf-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static struct pg_config *load_file(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return pg_config_load(&assembly, path, &error);
}

static void refused_file(const char *name, const char *where, const char *expected)
{
    struct pg_config *c = load_file(name);
    CU_ASSERT_PTR_NULL(c);
    char whole[PATH_MAX];
    snprintf(whole, sizeof(whole), "%s/%s%s", folder, where, expected);
    if (strcmp(error.text, whole) != 0)
        fprintf(stderr, "\nexpected: %s\nfound:    %s\n", whole, error.text);
    CU_ASSERT_STRING_EQUAL(error.text, whole);
}

static void files_include_files(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/d", folder);
    mkdir(path, 0700);
    write_file("a.conf", "# comment\ninclude \"d/*.conf\"\ninclude d/none*.conf\n"
                         "talk { include 'talk.inc'\n greeting = include }\nworkers = 2\n");
    write_file("d/1.conf", "\xef\xbb\xbf" LISTENER);
    write_file("d/2.conf", "log { level = warn }\r\n");
    write_file("talk.inc", "count = 5");
    struct pg_config *c = load_file("a.conf");
    if (!c)
        fprintf(stderr, "\n%s\n", error.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT_EQUAL(c->listener_count, 1);
    CU_ASSERT_EQUAL(c->settings.workers, 2);
    CU_ASSERT_EQUAL(c->settings.log.level, PG_WARN);
    CU_ASSERT_EQUAL(talk_of(c)->count, 5);
    CU_ASSERT_STRING_EQUAL(talk_of(c)->greeting, "include");
    CU_ASSERT_STRING_EQUAL(strrchr(c->listeners[0].file, '/'), "/1.conf");
    pg_config_unref(&c);

    /* A place inside an included file, and one behind it. */
    write_file("talk.inc", "\n\n  count = 50");
    refused_file("a.conf", "talk.inc",
                 ":3: talk.count: found \"50\", expected a whole number from -5 to 10");
    write_file("talk.inc", "\n\n\n");
    write_file("a.conf", "# c\ninclude talk.inc\n\nwrokers = 2\n");
    refused_file("a.conf", "a.conf", ":4: unknown key \"wrokers\"; did you mean \"workers\"?");
    write_file("talk.inc", "log {");
    refused_file("a.conf", "talk.inc",
                 ":1: this \"{\" is never closed, expected a \"}\" before the end of the file");
    write_file("talk.inc", "}");
    write_file("a.conf", "log {\ninclude talk.inc\n");
    refused_file("a.conf", "talk.inc", ":1: found \"}\" without a \"{\" in this file");
}

static void here_is_the_folder_of_the_file_that_says_it(void)
{
    char expected[PATH_MAX];
    write_file("a.conf", LISTENER "include d/here.inc\n");
    write_file("d/here.inc", "talk { greeting = \"<${HERE}/x>\" }");
    struct pg_config *c = load_file("a.conf");
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    snprintf(expected, sizeof(expected), "<%s/d/x>", folder);
    CU_ASSERT_STRING_EQUAL(talk_of(c)->greeting, expected);
    pg_config_unref(&c);
}

static void bad_includes_say_why(void)
{
    char expected[PATH_MAX];
    write_file("a.conf", "\ninclude nowhere.conf\n");
    snprintf(expected, sizeof(expected),
             ":2: include: cannot read \"%s/nowhere.conf\": No such file or directory", folder);
    refused_file("a.conf", "a.conf", expected);
    write_file("a.conf", "include a.conf\n");
    snprintf(expected, sizeof(expected),
             ":1: include: \"%s/a.conf\" is nested deeper than 8 files; does it include itself?",
             folder);
    refused_file("a.conf", "a.conf", expected);

    struct pg_config *c = pg_config_load(&assembly, "/nowhere/polygate.conf", &error);
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_STRING_EQUAL(error.text, "cannot read the configuration file /nowhere/polygate.conf: "
                                       "No such file or directory");
    c = pg_config_load(&assembly, folder, &error);
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "Is a directory"));
}

static void plugin_files_are_found_and_checked(void)
{
    write_file("junk.so", "this is not a library");
    write_file("a.conf", LISTENER "plugin \"x\" { path = junk.so }\n");
    struct pg_config *c = load_file("a.conf");
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "a.conf: plugin \"x\": cannot load the plugin: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "/junk.so: "));

    write_file("a.conf", LISTENER "plugin \"x\" { path = nowhere.so }\n");
    CU_ASSERT_PTR_NULL(load_file("a.conf"));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "plugin \"x\": cannot find the plugin "));
    write_file("a.conf", LISTENER "plugin \"x\" { }\n");
    CU_ASSERT_PTR_NULL(load_file("a.conf"));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "path is not given"));
    write_file("a.conf", LISTENER "plugin \"x\" { path = \"/lib/x86_64-linux-gnu/libc.so.6\" }\n");
    if (access("/lib/x86_64-linux-gnu/libc.so.6", R_OK) == 0) {
        CU_ASSERT_PTR_NULL(load_file("a.conf"));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "it has no symbol pg_plugin_descriptor"));
    }
}

/* An error must leave nothing behind for the next load: a reload is one. */
static void a_failed_load_does_not_disturb_the_next(void)
{
    static const char *const bad[] = {"log { level = \"x",
                                      "log {",
                                      "log { level = {",
                                      "a { b { c {",
                                      "log { level = {a, b",
                                      "listener \"a\" { bind = {",
                                      "include \"",
                                      "= = =",
                                      "{{{{",
                                      "log { level ${",
                                      "\\"};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            CU_ASSERT_PTR_NULL(load(bad[i]));
            CU_ASSERT(strlen(error.text) > 0);
            struct pg_config *c = accepted(LISTENER "workers = 3");
            CU_ASSERT_EQUAL(c->settings.workers, 3);
            pg_config_unref(&c);
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* What the manual is made from: each row has a sentence and a default within its own bounds. */
static void check_rows(const char *owner, const struct pg_option *rows)
{
    struct pg_conf_pool *pool = pg_conf_pool_new();
    for (const struct pg_option *row = rows; row && row->name; row++) {
        char into[4096];
        struct pg_error why = {.text = ""};
        bool ok = pg_option_default(row, into, pool, &why);
        if (!ok)
            fprintf(stderr, "\n%s.%s: %s\n", owner, row->name, why.text);
        CU_ASSERT_TRUE(ok);
        CU_ASSERT_EQUAL(strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
                        strlen(row->name));
        CU_ASSERT(row->sentence && row->sentence[strlen(row->sentence) - 1] == '.');
        for (const struct pg_option *o = rows; o != row; o++)
            CU_ASSERT_STRING_NOT_EQUAL(o->name, row->name);
    }
    pg_conf_pool_free(&pool);
}

static void the_cores_own_rows_are_complete(void)
{
    for (const struct pg_settings_block *b = pg_settings_blocks(); b->name; b++)
        check_rows(b->name, b->rows);
    check_rows("listener", pg_listener_rows);
    check_rows("plugin", pg_plugin_rows);
}

static void a_secret_is_read_and_never_shown(void)
{
    struct pg_config *c = accepted(LISTENER "talk { greeting = seen  password = hunter2 }");
    CU_ASSERT_STRING_EQUAL(((const struct talk_conf *)c->protocols[0].conf)->password, "hunter2");
    char *shown = pg_config_json(c);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "\"seen\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "(not shown)"));
    CU_ASSERT_PTR_NULL(strstr(shown, "hunter2"));
    free(shown);
    pg_config_unref(&c);
}

static void near_names_are_found(void)
{
    static const char *const names[] = {"bind", "level", "queue_messages"};
    CU_ASSERT_PTR_EQUAL(pg_option_nearest("bnid", names, 3), names[0]);
    CU_ASSERT_PTR_EQUAL(pg_option_nearest("LEVEL", names, 3), names[1]);
    CU_ASSERT_PTR_EQUAL(pg_option_nearest("queuemesages", names, 3), names[2]);
    CU_ASSERT_PTR_NULL(pg_option_nearest("port", names, 3));
    CU_ASSERT_PTR_NULL(pg_option_nearest("", names, 3));
    CU_ASSERT_PTR_NULL(pg_option_nearest("x", names, 0));
    char longest[200];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CU_ASSERT_PTR_NULL(pg_option_nearest(longest, names, 3));
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    CU_TestInfo tests[] = {
        TEST(what_is_not_given_has_its_default),
        TEST(every_kind_of_value_is_read),
        TEST(units_of_sizes_and_durations),
        TEST(a_value_may_come_from_the_environment),
        TEST(a_wrong_value_says_what_is_expected),
        TEST(an_unknown_key_is_refused_with_a_suggestion),
        TEST(bad_grammar_says_where),
        TEST(what_is_given_twice_is_refused),
        TEST(limits_must_agree),
        TEST(each_address_is_a_listener),
        TEST(a_listener_on_the_network_is_guarded),
        TEST(plugins_start_in_the_order_of_their_blocks),
        TEST(a_plugin_that_fails_stops_those_before_it),
        TEST(files_include_files),
        TEST(here_is_the_folder_of_the_file_that_says_it),
        TEST(bad_includes_say_why),
        TEST(plugin_files_are_found_and_checked),
        TEST(a_failed_load_does_not_disturb_the_next),
        TEST(the_cores_own_rows_are_complete),
        TEST(a_secret_is_read_and_never_shown),
        TEST(near_names_are_found),
        CU_TEST_INFO_NULL,
    };
    int status = run_suite("conf", tests);
    char command[PATH_MAX];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return status || system(command) != 0 ? 1 : 0;
}
