/* SPDX-License-Identifier: Apache-2.0 */

/* The log: what a line looks like, what cannot get into one, and who may write how much. Lines go
 * into a memory file and are read back. */

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"
#include "log.h"
#include "polygate.h"
#include "suite.h"

static int file;
static char text[1 << 20];

/* What has been written since the last call. */
static const char *written(void)
{
    ssize_t n = pread(file, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    if (ftruncate(file, 0) != 0 || lseek(file, 0, SEEK_SET) != 0)
        abort();
    return text;
}

/* The line without its time, which must have the form of one. */
static const char *after_time(const char *line)
{
    int year, month, day, hour, minute, second, ms, used = 0;
    int n = sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute,
                   &second, &ms, &used);
    CU_ASSERT_EQUAL(n, 7);
    CU_ASSERT_EQUAL(used, 24);
    CU_ASSERT(year >= 2025 && month >= 1 && month <= 12 && day >= 1 && hour < 24);
    return line + used;
}

static void one_event_is_one_line_of_keys_and_values(void)
{
    pg_log_configure(PG_LOG_TEXT, PG_INFO);
    PG_LOG(PG_INFO, "listening", PG_F_TEXT("address", "127.0.0.1:1883"), PG_F_INT("workers", -2),
           PG_F_REASON(PG_TAKEN_OVER), PG_F_HEX("head", PG_BYTES_OF("\x7e\x01\xff")),
           PG_F_TEXT("none", NULL));
    CU_ASSERT_STRING_EQUAL(after_time(written()),
                           " info event=listening address=127.0.0.1:1883 workers=-2 "
                           "reason=taken_over head=\"7e01ff\" none=\"\"\n");
}

static void json_has_the_same_fields(void)
{
    pg_log_configure(PG_LOG_JSON, PG_INFO);
    PG_LOG(PG_WARN, "refused", PG_F_TEXT("client", "a \"b\"\n\\"), PG_F_INT("n", 7),
           PG_F_HEX("head", PG_BYTES_OF("\x10")));
    const char *line = written();
    CU_ASSERT_NSTRING_EQUAL(line, "{\"time\":\"", 9);
    CU_ASSERT_STRING_EQUAL(after_time(line + 9),
                           "\",\"level\":\"warn\",\"event\":\"refused\","
                           "\"client\":\"a \\\"b\\\"\\n\\\\\",\"n\":7,\"head\":\"10\"}\n");
}

static void a_value_cannot_forge_a_line_or_reach_a_terminal(void)
{
    static const struct {
        struct pg_bytes value;
        const char *log, *json;
    } cases[] = {
        {PG_BYTES_OF("plain-1.2/3:4"), "plain-1.2/3:4", "\"plain-1.2/3:4\""},
        {PG_BYTES_OF(""), "\"\"", "\"\""},
        {PG_BYTES_OF("a b"), "\"a b\"", "\"a b\""},
        {PG_BYTES_OF("x=1"), "\"x=1\"", "\"x=1\""},
        {PG_BYTES_OF("a\r\nevent=x"), "\"a\\r\\nevent=x\"", "\"a\\r\\nevent=x\""},
        {PG_BYTES_OF("\0\x1b[2J\x7f"), "\"\\x00\\x1b[2J\\x7f\"", "\"\\u0000\\u001b[2J\\u007f\""},
        {PG_BYTES_OF("\xe8\xbd\xa6"), "\"\xe8\xbd\xa6\"", "\"\xe8\xbd\xa6\""},
        {PG_BYTES_OF("\xff"), "\"\\xff\"", "\"\\\\xff\""},
        {PG_BYTES_OF("\xe8\xbd"), "\"\\xe8\\xbd\"", "\"\\\\xe8\\\\xbd\""},
        {PG_BYTES_OF("\xc0\x80"), "\"\\xc0\\x80\"", "\"\\\\xc0\\\\x80\""},
        {PG_BYTES_OF("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\"", "\"\\\\xed\\\\xa0\\\\x80\""},
        {PG_BYTES_OF("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"",
         "\"\\\\xf4\\\\x90\\\\x80\\\\x80\""},
        {PG_BYTES_OF("\xc2\x9b\x31m"), "\"\\xc2\\x9b1m\"", "\"\\u009b1m\""},
        {PG_BYTES_OF("a\xe2\x80\xae\x62"), "\"a\\u202eb\"", "\"a\\u202eb\""},
        {PG_BYTES_OF("\xf0\x9f\x9a\x97"), "\"\xf0\x9f\x9a\x97\"", "\"\xf0\x9f\x9a\x97\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buffer[128];
        struct pg_text t = {.data = buffer, .room = sizeof(buffer) - 1};
        pg_text_add_quoted(&t, cases[i].value, PG_QUOTE_LOG);
        buffer[t.len] = '\0';
        CU_ASSERT_STRING_EQUAL(buffer, cases[i].log);
        t.len = 0;
        pg_text_add_quoted(&t, cases[i].value, PG_QUOTE_JSON);
        buffer[t.len] = '\0';
        CU_ASSERT_STRING_EQUAL(buffer, cases[i].json);
        CU_ASSERT_FALSE(t.cut);
    }
}

/* Every room from none to enough: never past the end, and the quotes always pair. */
static void a_value_is_cut_inside_its_room(void)
{
    struct pg_bytes value = PG_BYTES_OF("a\n\xff\xe8\xbd\xa6 \x01 end");
    for (size_t room = 0; room < 64; room++) {
        for (int quoting = PG_QUOTE_LOG; quoting <= PG_QUOTE_JSON; quoting++) {
            char *buffer = malloc(room ? room : 1);
            struct pg_text t = {.data = buffer, .room = room};
            pg_text_add_quoted(&t, value, (enum pg_quoting)quoting);
            CU_ASSERT(t.len <= room);
            if (t.len > 0) {
                CU_ASSERT(t.len >= 2 && buffer[0] == '"' && buffer[t.len - 1] == '"');
            }
            CU_ASSERT(t.cut || t.len > value.len);
            free(buffer);
        }
    }
}

static void a_long_value_pushes_no_field_out(void)
{
    uint8_t big[3 * PG_LOG_LINE_MAX];
    for (int c = 0; c < 2; c++) { /* one that is quoted and one that need not be */
        memset(big, c ? 'a' : '\n', sizeof(big));
        for (int format = PG_LOG_TEXT; format <= PG_LOG_JSON; format++) {
            pg_log_configure((enum pg_log_format)format, PG_INFO);
            for (int hex = 0; hex < 2; hex++) {
                struct pg_bytes value = {big, sizeof(big)};
                PG_LOG(PG_INFO, "long", hex ? PG_F_HEX("v", value) : PG_F_BYTES("v", value),
                       PG_F_BYTES("w", value), PG_F_INT("after", 1));
                const char *line = written();
                const char *end = format == PG_LOG_JSON ? "...\",\"after\":1,\"cut\":true}\n"
                                                        : "...\" after=1 cut=yes\n";
                CU_ASSERT_STRING_EQUAL(line + strlen(line) - strlen(end), end);
                const char *v = strstr(line, format == PG_LOG_JSON ? "\"v\":\"" : " v=\"") +
                                (format == PG_LOG_JSON ? 4 : 3);
                const char *behind = strstr(v, format == PG_LOG_JSON ? ",\"w\":" : " w=");
                CU_ASSERT_PTR_NOT_NULL_FATAL(behind);
                CU_ASSERT(behind - v <= PG_LOG_VALUE_MAX && behind - v >= PG_LOG_VALUE_MAX - 4);
                CU_ASSERT_NSTRING_EQUAL(behind - 4, "...\"", 4);
            }
        }
    }
    /* The longest word that is shown whole. */
    pg_log_configure(PG_LOG_TEXT, PG_INFO);
    PG_LOG(PG_INFO, "fits", PG_F_BYTES("v", ((struct pg_bytes){big, PG_LOG_VALUE_MAX - 3})));
    CU_ASSERT_PTR_NULL(strstr(written(), "cut"));
    PG_LOG(PG_INFO, "fits", PG_F_BYTES("v", ((struct pg_bytes){big, PG_LOG_VALUE_MAX - 2})));
    CU_ASSERT_PTR_NOT_NULL(strstr(written(), "aaa...\" cut=yes\n"));
}

/* The end of the line comes where it will: in front of a value, inside its quotes, behind it. */
static void a_long_line_is_cut_and_says_so(void)
{
    char big[3 * PG_LOG_LINE_MAX];
    uint8_t bytes[2 * PG_LOG_VALUE_MAX];
    memset(bytes, '"', sizeof(bytes));
    for (size_t len = PG_LOG_LINE_MAX - 700; len < PG_LOG_LINE_MAX + 10; len++) {
        memset(big, 'a', len);
        big[len] = '\0';
        for (int format = PG_LOG_TEXT; format <= PG_LOG_JSON; format++) {
            pg_log_configure((enum pg_log_format)format, PG_INFO);
            for (int hex = 0; hex < 2; hex++) {
                struct pg_bytes value = {bytes, sizeof(bytes)};
                const struct pg_field fields[] = {
                    PG_F_TEXT("t", big), hex ? PG_F_HEX("v", value) : PG_F_BYTES("v", value),
                    PG_F_INT("n", 12345), PG_F_TEXT("w", "x")};
                struct pg_log_site site = {0}; /* without the limit of a call's own site */
                pg_log_write(&site, PG_INFO, "long", fields, 4);
                const char *line = written();
                size_t got = strlen(line), quotes = 0;
                CU_ASSERT(got <= PG_LOG_LINE_MAX && got > PG_LOG_LINE_MAX - 700);
                const char *end = format == PG_LOG_JSON ? ",\"cut\":true}\n" : " cut=yes\n";
                CU_ASSERT_STRING_EQUAL(line + got - strlen(end), end);
                CU_ASSERT_PTR_NULL(strstr(line, "= "));
                CU_ASSERT_PTR_NULL(strstr(line, ":,"));
                for (const char *c = line; *c; c++)
                    quotes += *c == '"' && c[-1] != '\\';
                CU_ASSERT_EQUAL(quotes % 2, 0);
            }
        }
    }
}

static void lines_below_the_level_are_not_written(void)
{
    pg_log_configure(PG_LOG_TEXT, PG_WARN);
    PG_LOG(PG_DEBUG, "a", PG_F_INT("n", 1));
    PG_LOG(PG_INFO, "b", PG_F_INT("n", 1));
    CU_ASSERT_STRING_EQUAL(written(), "");
    PG_LOG(PG_WARN, "c", PG_F_INT("n", 1));
    CU_ASSERT_PTR_NOT_NULL(strstr(written(), " warn event=c n=1\n"));
    PG_LOG(PG_ERROR, "d", PG_F_INT("n", 1));
    CU_ASSERT_PTR_NOT_NULL(strstr(written(), " error event=d n=1\n"));
}

static size_t lines_in(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static void repeat(void)
{
    PG_LOG(PG_INFO, "repeat", PG_F_INT("n", 1));
}

static void one_site_cannot_fill_the_log(void)
{
    pg_log_configure(PG_LOG_TEXT, PG_INFO);
    for (int i = 0; i < 1000; i++)
        repeat();
    size_t n = lines_in(written());
    CU_ASSERT(n >= PG_LOG_SITE_LIMIT &&
              n <= 2 * PG_LOG_SITE_LIMIT); /* a second may end meanwhile */

    /* In a later second the site writes again, and tells once what was left out. */
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &start);
    do
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    while (now.tv_sec <= start.tv_sec + 1);
    repeat();
    const char *told = strstr(written(), " suppressed=");
    CU_ASSERT_PTR_NOT_NULL_FATAL(told);
    CU_ASSERT_EQUAL((size_t)atoi(told + strlen(" suppressed=")), 1000 - n);
    repeat();
    CU_ASSERT_PTR_NULL(strstr(written(), "suppressed"));
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        struct pg_log_site site = {0};
        const struct pg_field fields[] = {PG_F_TEXT("who", arg), PG_F_INT("n", i)};
        pg_log_write(&site, PG_INFO, "line", fields, 2);
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void)
{
    char *names[] = {"first", "second", "third"};
    pthread_t threads[3];
    pg_log_configure(PG_LOG_TEXT, PG_INFO);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    int last[3] = {-1, -1, -1};
    size_t bad = 0, good = 0;
    const char *all = written();
    for (const char *line = all; *line; line = strchr(line, '\n') + 1) {
        char who[16];
        int n;
        if (sscanf(line, "%*24s info event=line who=%15s n=%d", who, &n) != 2) {
            bad++;
            continue;
        }
        size_t k = who[0] == 'f' ? 0 : who[0] == 's' ? 1 : 2;
        bad += n != last[k] + 1;
        last[k] = n;
        good++;
    }
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT_EQUAL(good, 6000);
}

static void reasons_have_names_and_sentences(void)
{
    CU_ASSERT_STRING_EQUAL(pg_reason_name(PG_OK), "ok");
    CU_ASSERT_STRING_EQUAL(pg_reason_name(PG_SESSION_EXPIRED), "session_expired");
    CU_ASSERT_STRING_EQUAL(pg_reason_sentence(PG_KICKED), "closed by an administrator");
    CU_ASSERT_TRUE(pg_reason_is_error(PG_MALFORMED));
    CU_ASSERT_FALSE(pg_reason_is_error(PG_TAKEN_OVER));
    for (int r = 0; r < PG_REASON_COUNT; r++) {
        const char *name = pg_reason_name((enum pg_reason)r);
        CU_ASSERT_EQUAL(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        CU_ASSERT(strlen(name) > 0 && strlen(pg_reason_sentence((enum pg_reason)r)) > 0);
    }
}

static void secrets_are_compared_whole(void)
{
    CU_ASSERT_TRUE(pg_bytes_equal_secret(PG_BYTES_OF("abc"), PG_BYTES_OF("abc")));
    CU_ASSERT_FALSE(pg_bytes_equal_secret(PG_BYTES_OF("abc"), PG_BYTES_OF("abd")));
    CU_ASSERT_FALSE(pg_bytes_equal_secret(PG_BYTES_OF("abc"), PG_BYTES_OF("xbc")));
    CU_ASSERT_FALSE(pg_bytes_equal_secret(PG_BYTES_OF("abc"), PG_BYTES_OF("ab")));
    CU_ASSERT_TRUE(pg_bytes_equal_secret(PG_BYTES_NONE, PG_BYTES_OF("")));
    CU_ASSERT_TRUE(pg_bytes_equal(PG_BYTES_NONE, PG_BYTES_OF("")));
    CU_ASSERT_FALSE(pg_bytes_equal(PG_BYTES_OF("a"), PG_BYTES_OF("b")));
    CU_ASSERT_TRUE(pg_bytes_equal(pg_bytes_str("ab"), PG_BYTES_OF("ab")));
}

int main(void)
{
    file = memfd_create("log", 0);
    /* Append, as a log file is opened: otherwise threads share one position without a lock. */
    if (file < 0 || fcntl(file, F_SETFL, O_APPEND) != 0)
        return 1;
    pg_log_to(file);
    CU_TestInfo tests[] = {
        TEST(one_event_is_one_line_of_keys_and_values),
        TEST(json_has_the_same_fields),
        TEST(a_value_cannot_forge_a_line_or_reach_a_terminal),
        TEST(a_value_is_cut_inside_its_room),
        TEST(a_long_value_pushes_no_field_out),
        TEST(a_long_line_is_cut_and_says_so),
        TEST(lines_below_the_level_are_not_written),
        TEST(one_site_cannot_fill_the_log),
        TEST(lines_of_threads_do_not_mix),
        TEST(reasons_have_names_and_sentences),
        TEST(secrets_are_compared_whole),
        CU_TEST_INFO_NULL,
    };
    return run_suite("log", tests);
}
