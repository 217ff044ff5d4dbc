/* SPDX-License-Identifier: Apache-2.0 */

/* The password file and the plugin around it: every kind of hash, odd passwords, unknown users,
 * errors with file and line, a full queue, and stopping with questions out. */

#include <crypt.h>
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../plugins/authfile/authfile.h"
#include "../../plugins/authfile/passwords.h"
#include "../../plugins/authfile/verified.h"
#include "suite.h"

/* ---- fakes ----------------------------------------------------------------------------------- */

/* What is asked: the answers are collected. */
struct pg_access_request {
    enum pg_verdict verdict; /* PG_LATER until it is there */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

void pg_access_answer(struct pg_access_request *request, enum pg_verdict verdict)
{
    pthread_mutex_lock(&lock);
    CU_ASSERT_EQUAL(request->verdict, PG_LATER); /* exactly once */
    request->verdict = verdict;
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&lock);
}

int64_t pg_now_ms(void)
{
    return 1000;
}

static enum pg_verdict wait_for(struct pg_access_request *request)
{
    pthread_mutex_lock(&lock);
    while (request->verdict == PG_LATER)
        pthread_cond_wait(&answered, &lock);
    enum pg_verdict verdict = request->verdict;
    pthread_mutex_unlock(&lock);
    return verdict;
}

/* ---- files ----------------------------------------------------------------------------------- */

static char path[] = "/tmp/test_authfile_XXXXXX";

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static const char *hash_of(const char *password, const char *prefix, unsigned long cost)
{
    static struct crypt_data data;
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    CU_ASSERT_PTR_NOT_NULL_FATAL(
        crypt_gensalt_rn(prefix, cost, NULL, 0, setting, (int)sizeof(setting)));
    const char *hash = crypt_rn(password, setting, &data, (int)sizeof(data));
    CU_ASSERT_PTR_NOT_NULL_FATAL(hash);
    return hash;
}

static int64_t remember_ms; /* what start_with() gives to `remember` */
static int64_t remember_max = 100;

static void *start_with(const char *passwords, const char *rules, int64_t pending,
                        struct pg_error *error)
{
    /* The plugin's own rows say where its values go. */
    static uint8_t conf[256];
    memset(conf, 0, sizeof(conf));
    for (const struct pg_option *o = authfile_plugin.options; o->name; o++) {
        void *at = conf + o->offset;
        if (strcmp(o->name, "password_file") == 0)
            *(const char **)at = passwords;
        else if (strcmp(o->name, "rules_file") == 0)
            *(const char **)at = rules;
        else if (strcmp(o->name, "threads") == 0)
            *(int64_t *)at = 1;
        else if (strcmp(o->name, "pending") == 0)
            *(int64_t *)at = pending;
        else if (strcmp(o->name, "remember") == 0)
            *(int64_t *)at = remember_ms;
        else if (strcmp(o->name, "remember_max") == 0)
            *(int64_t *)at = remember_max;
    }
    error->text[0] = '\0';
    return authfile_plugin.start(conf, error);
}

/* What authenticate() says at once, and in *later what comes in the end. */
static enum pg_verdict login_by_steps(void *self, struct pg_bytes user, struct pg_bytes password,
                                      enum pg_verdict *later)
{
    struct pg_access_request request = {.verdict = PG_LATER};
    struct pg_identity who = {
        .client_id = PG_BYTES_OF("c"), .username = user, .password = password, .peer = "peer"};
    enum pg_verdict verdict = authfile_plugin.authenticator->authenticate(self, &who, &request);
    *later = verdict == PG_LATER ? wait_for(&request) : verdict;
    return verdict;
}

static enum pg_verdict login(void *self, struct pg_bytes user, struct pg_bytes password)
{
    enum pg_verdict later;
    login_by_steps(self, user, password, &later);
    return later;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void right_and_wrong_passwords(void)
{
    char text[1024];
    struct pg_error error;
    snprintf(text, sizeof(text), "# users\nalice:%s\r\n\n", hash_of("secret", "$y$", 1));
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "empty:%s\n",
             hash_of("", "$6$", 1000));
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "bob:%s", hash_of("b", "$2b$", 4));
    write_file(text);
    void *self = start_with(path, "", 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    struct pg_bytes alice = PG_BYTES_OF("alice");
    CU_ASSERT_EQUAL(login(self, alice, PG_BYTES_OF("secret")), PG_ALLOW);
    CU_ASSERT_EQUAL(login(self, alice, PG_BYTES_OF("Secret")), PG_DENY);
    CU_ASSERT_EQUAL(login(self, alice, PG_BYTES_OF("")), PG_DENY);
    CU_ASSERT_EQUAL(login(self, alice, PG_BYTES_NONE), PG_DENY);
    CU_ASSERT_EQUAL(login(self, alice, PG_BYTES_OF("secret\0x")), PG_DENY);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("bob"), PG_BYTES_OF("b")), PG_ALLOW);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("empty"), PG_BYTES_OF("")), PG_ALLOW);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("empty"), PG_BYTES_NONE), PG_DENY);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("empty"), PG_BYTES_OF("\0")), PG_DENY);
    uint8_t *longest = malloc(70000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(longest);
    memset(longest, 'x', 70000);
    CU_ASSERT_EQUAL(
        login(self, PG_BYTES_OF("empty"), (struct pg_bytes){.data = longest, .len = 70000}),
        PG_DENY);
    CU_ASSERT_EQUAL(login(self, (struct pg_bytes){.data = longest, .len = 65535}, PG_BYTES_OF("x")),
                    PG_NEXT);
    free(longest);
    /* Not in the file: the next in the chain may know them. */
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("carol"), PG_BYTES_OF("x")), PG_NEXT);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("alice\0"), PG_BYTES_OF("secret")), PG_NEXT);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("# users"), PG_BYTES_OF("x")), PG_NEXT);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF(""), PG_BYTES_OF("x")), PG_NEXT);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_NONE, PG_BYTES_NONE), PG_NEXT);
    authfile_plugin.stop(self);
}

static double cpu_of_login(void *self, struct pg_bytes user)
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (int i = 0; i < 3; i++)
        login(self, user, PG_BYTES_OF("wrong"));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
}

static void unknown_users_cost_as_much_as_known_ones(void)
{
    char text[512];
    struct pg_error error;
    snprintf(text, sizeof(text), "alice:%s\n", hash_of("secret", "$6$", 200000));
    write_file(text);
    void *self = start_with(path, "", 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    double known = cpu_of_login(self, PG_BYTES_OF("alice"));
    double unknown = cpu_of_login(self, PG_BYTES_OF("nobody"));
    printf("(known %.1f ms, unknown %.1f ms) ", known, unknown);
    CU_ASSERT(unknown > known / 2 && unknown < known * 2);
    authfile_plugin.stop(self);
    write_file("");
    self = start_with(path, "", 10, &error); /* nobody is in it, but it costs something */
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    CU_ASSERT(cpu_of_login(self, PG_BYTES_OF("nobody")) > 1.0);
    authfile_plugin.stop(self);
}

static void a_full_queue_refuses_and_stopping_answers_all(void)
{
    enum { ASKED = 8 };
    char text[512];
    struct pg_error error;
    struct pg_access_request requests[ASKED];
    unsigned refused = 0, later = 0;
    snprintf(text, sizeof(text), "alice:%s\n", hash_of("secret", "$6$", 300000));
    write_file(text);
    void *self = start_with(path, "", 2, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    for (size_t i = 0; i < ASKED; i++) {
        struct pg_identity who = {
            .username = PG_BYTES_OF("alice"), .password = PG_BYTES_OF("secret"), .peer = "peer"};
        requests[i].verdict = PG_LATER;
        enum pg_verdict verdict =
            authfile_plugin.authenticator->authenticate(self, &who, &requests[i]);
        if (verdict == PG_LATER) {
            later++;
        } else {
            requests[i].verdict = verdict;
            refused += verdict == PG_UNAVAILABLE;
        }
    }
    CU_ASSERT(later >= 2 && later <= 4); /* two wait, and what the thread took meanwhile */
    CU_ASSERT_EQUAL(refused, ASKED - later);
    authfile_plugin.stop(self);
    for (size_t i = 0; i < ASKED; i++)
        CU_ASSERT_NOT_EQUAL(requests[i].verdict, PG_LATER);
}

static void errors_say_where_and_what_to_do(void)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"\nalice", "%s:2: expected USER:HASH; add users with: polygatectl passwd %s USER"},
        {":x", "%s:1: expected USER:HASH; add users with: polygatectl passwd %s USER"},
        {"alice:secret", "%s:1: what follows \"alice:\" is not a hash of crypt(5) such as $y$...; "
                         "set the password with: polygatectl passwd %s alice"},
        {"alice:$y$x", "%s:1: what follows \"alice:\" is not a hash of crypt(5) such as $y$...; "
                       "set the password with: polygatectl passwd %s alice"},
        {"alice:thirteenchars", "%s:1: what follows \"alice:\" is not a hash of crypt(5) such as "
                                "$y$...; set the password with: polygatectl passwd %s alice"},
        {"a:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/\na:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
         "%s:2: user \"a\" stands in the file twice; remove one line"},
        {"\xff:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "%s:1: the user name is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pg_error error, expected;
        char format[256];
        snprintf(format, sizeof(format), "%s", rows[i].error);
        /* Each %s of the row is the path. */
        expected.text[0] = '\0';
        for (char *at = format; at;) {
            char *mark = strstr(at, "%s");
            size_t used = strlen(expected.text);
            snprintf(expected.text + used, sizeof(expected.text) - used, "%.*s%s",
                     mark ? (int)(mark - at) : (int)strlen(at), at, mark ? path : "");
            at = mark ? mark + 2 : NULL;
        }
        write_file(rows[i].text);
        void *self = start_with(path, "", 10, &error);
        CU_ASSERT_PTR_NULL(self);
        CU_ASSERT_STRING_EQUAL(error.text, expected.text);
        if (strcmp(error.text, expected.text) != 0)
            fprintf(stderr, "wanted: %s\nfound:  %s\n", expected.text, error.text);
    }
    struct pg_error error;
    CU_ASSERT_PTR_NULL(start_with("", "", 10, &error));
    CU_ASSERT_STRING_EQUAL(error.text, "neither password_file nor rules_file is set; set "
                                       "one, or leave the block out");
    CU_ASSERT_PTR_NULL(start_with("/nonexistent/x", "", 10, &error));
    CU_ASSERT_STRING_EQUAL(error.text, "password_file: cannot open /nonexistent/x: No "
                                       "such file or directory");
    CU_ASSERT_PTR_NULL(start_with("", "/dev/zero", 10, &error));
    CU_ASSERT_STRING_EQUAL(error.text, "rules_file: /dev/zero is not a regular file of "
                                       "at most 64 MiB");
    write_file("allow everything");
    CU_ASSERT_PTR_NULL(start_with("", path, 10, &error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, ":1: found \"everything\""));
}

/* Right once is right at once, until the user's line says otherwise; wrong is never cheap. */
static void a_right_password_is_remembered(void)
{
    char text[512], other[512];
    struct pg_error error;
    enum pg_verdict later;
    struct pg_bytes alice = PG_BYTES_OF("alice"), secret = PG_BYTES_OF("secret");
    snprintf(text, sizeof(text), "alice:%s\n", hash_of("secret", "$6$", 1000));
    snprintf(other, sizeof(other), "alice:%s\n", hash_of("secret", "$6$", 1000)); /* new salt */
    write_file(text);
    remember_ms = 60000;
    void *self = start_with(path, "", 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    CU_ASSERT_EQUAL(login_by_steps(self, alice, secret, &later), PG_LATER);
    CU_ASSERT_EQUAL(later, PG_ALLOW);
    CU_ASSERT_EQUAL(login_by_steps(self, alice, secret, &later), PG_ALLOW);
    static const char *const wrong[] = {"Secret", "secret ", "", "alice"};
    for (size_t i = 0; i < 2 * sizeof(wrong) / sizeof(wrong[0]); i++) { /* the second time, too */
        struct pg_bytes password = pg_bytes_str(wrong[i / 2]);
        CU_ASSERT_EQUAL(login_by_steps(self, alice, password, &later), PG_LATER);
        CU_ASSERT_EQUAL(later, PG_DENY);
    }
    CU_ASSERT_EQUAL(login_by_steps(self, alice, PG_BYTES_NONE, &later), PG_LATER);
    CU_ASSERT_EQUAL(later, PG_DENY);
    CU_ASSERT_EQUAL(login_by_steps(self, PG_BYTES_OF("bob"), secret, &later), PG_LATER);
    CU_ASSERT_EQUAL(later, PG_NEXT);
    CU_ASSERT_EQUAL(login_by_steps(self, PG_BYTES_OF("al"), PG_BYTES_OF("icesecret"), &later),
                    PG_LATER);

    /* A reload starts the new one before it stops the old one. */
    void *reloaded = start_with(path, "", 10, &error);
    authfile_plugin.stop(self);
    CU_ASSERT_EQUAL(login_by_steps(reloaded, alice, secret, &later), PG_ALLOW);
    write_file(other);
    self = start_with(path, "", 10, &error);
    authfile_plugin.stop(reloaded);
    CU_ASSERT_EQUAL(login_by_steps(self, alice, secret, &later), PG_LATER);
    CU_ASSERT_EQUAL(later, PG_ALLOW);
    /* Not in the file any more, although somebody else there has the same hash. */
    other[0] = 'b';
    write_file(other);
    reloaded = start_with(path, "", 10, &error);
    authfile_plugin.stop(self);
    CU_ASSERT_EQUAL(login_by_steps(reloaded, alice, secret, &later), PG_LATER);
    CU_ASSERT_EQUAL(later, PG_NEXT);
    authfile_plugin.stop(reloaded);

    write_file(text);
    self = start_with(path, "", 10, &error); /* what was remembered went with the last one */
    CU_ASSERT_EQUAL(login_by_steps(self, alice, secret, &later), PG_LATER);
    remember_max++;
    reloaded = start_with(path, "", 10, &error); /* other room: another memory */
    authfile_plugin.stop(self);
    CU_ASSERT_EQUAL(login_by_steps(reloaded, alice, secret, &later), PG_LATER);
    CU_ASSERT_EQUAL(login_by_steps(reloaded, alice, secret, &later), PG_ALLOW);
    authfile_plugin.stop(reloaded);

    remember_ms = 0;
    self = start_with(path, "", 10, &error);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(login_by_steps(self, alice, secret, &later), PG_LATER);
    authfile_plugin.stop(self);
}

static struct pg_bytes number_text(char text[16], int i)
{
    snprintf(text, 16, "%d", i);
    return pg_bytes_str(text);
}

static void what_is_remembered_is_bounded_and_ends(void)
{
    enum { ROOM = 1000, LIFE = 100 };
    struct pg_error error;
    char name[16];
    struct pg_bytes x = PG_BYTES_OF("x");
    struct auth_verified *verified = auth_verified_open(ROOM, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(verified);
    auth_verified_add(verified, x, x, "h", 0);
    CU_ASSERT(auth_verified_knows(verified, x, x, "h", LIFE - 1, LIFE));
    CU_ASSERT(auth_verified_knows(verified, x, x, "h", 2 * LIFE - 2, LIFE)); /* seen since */
    CU_ASSERT_FALSE(auth_verified_knows(verified, x, x, "h", 3 * LIFE - 2, LIFE));
    CU_ASSERT_FALSE(auth_verified_knows(verified, x, x, "i", LIFE, LIFE));
    auth_verified_add(verified, PG_BYTES_OF("ab"), PG_BYTES_OF("c"), "h", 0);
    CU_ASSERT_FALSE(
        auth_verified_knows(verified, PG_BYTES_OF("a"), PG_BYTES_OF("bc"), "h", 0, LIFE));
    CU_ASSERT_FALSE(
        auth_verified_knows(verified, PG_BYTES_OF("ab"), PG_BYTES_OF("ch"), "", 0, LIFE));
    auth_verified_add(verified, x, x, "h", 5 * LIFE);
    CU_ASSERT(auth_verified_knows(verified, x, x, "h", 5 * LIFE, LIFE));

    /* Ten times as many as there is room for; of the last ones most are there, of the first none
     * but those in sets that few have met. */
    for (int i = 0; i < 10 * ROOM; i++)
        auth_verified_add(verified, number_text(name, i), x, "h", 1000 + i);
    unsigned first = 0, last = 0;
    for (int i = 0; i < ROOM / 2; i++) {
        first += auth_verified_knows(verified, number_text(name, i), x, "h", 20000, 100000);
        last += auth_verified_knows(verified, number_text(name, 10 * ROOM - 1 - i), x, "h", 20000,
                                    100000);
    }
    printf("(%u of the first, %u of the last %d) ", first, last, ROOM / 2);
    CU_ASSERT(first <= ROOM / 100 && last >= ROOM / 2 * 95 / 100);
    auth_verified_close(&verified);
    CU_ASSERT_PTR_NULL(verified);
}

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A crowd that comes back: the time on the worker that asks. */
static void ten_thousand_come_back_in_a_moment(void)
{
    enum { USERS = 10000 };
    struct pg_error error;
    char name[16];
    static const char hash[] =
        "$y$j9T$YXBvbG9nZXRpY3NhbHQ$N3YJtCmEoF4RDX1uOk7hTgjPzr5sLwq2dxK8fV0bGi/";
    struct auth_verified *verified = auth_verified_open(100000, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(verified);
    struct pg_bytes password = PG_BYTES_OF("3f1c9a5e77d24b60a8e1c2d4f5b60718");
    for (int i = 0; i < USERS; i++)
        auth_verified_add(verified, number_text(name, i), password, hash, 0);
    int64_t start = now_us();
    unsigned known = 0;
    for (int i = 0; i < USERS; i++)
        known += auth_verified_knows(verified, number_text(name, i), password, hash, 1, 10);
    int64_t took = now_us() - start;
    printf("(%u of %d known in %.1f ms) ", known, USERS, (double)took / 1e3);
    CU_ASSERT(known >= USERS * 99 / 100);
    auth_verified_close(&verified);
}

static void rules_answer_at_once(void)
{
    struct pg_error error;
    write_file("allow publish * a/#\n");
    void *self = start_with("", path, 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    struct pg_identity who = {.client_id = PG_BYTES_OF("c")};
    const struct pg_authenticator *a = authfile_plugin.authenticator;
    CU_ASSERT_EQUAL(a->authorize(self, &who, PG_ACTION_PUBLISH, PG_BYTES_OF("a/b"), NULL),
                    PG_ALLOW);
    CU_ASSERT_EQUAL(a->authorize(self, &who, PG_ACTION_SUBSCRIBE, PG_BYTES_OF("a/b"), NULL),
                    PG_NEXT);
    CU_ASSERT_EQUAL(login(self, PG_BYTES_OF("alice"), PG_BYTES_OF("x")), PG_NEXT);
    CU_ASSERT(a->judges(self));
    authfile_plugin.stop(self);

    write_file("");
    self = start_with("", path, 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    CU_ASSERT(a->judges(self)); /* an empty file is rules, too */
    authfile_plugin.stop(self);
    self = start_with(path, "", 10, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(self);
    CU_ASSERT(!a->judges(self));
    authfile_plugin.stop(self);
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    CU_TestInfo tests[] = {
        TEST(right_and_wrong_passwords),
        TEST(unknown_users_cost_as_much_as_known_ones),
        TEST(a_full_queue_refuses_and_stopping_answers_all),
        TEST(errors_say_where_and_what_to_do),
        TEST(a_right_password_is_remembered),
        TEST(what_is_remembered_is_bounded_and_ends),
        TEST(ten_thousand_come_back_in_a_moment),
        TEST(rules_answer_at_once),
        CU_TEST_INFO_NULL,
    };
    int status = run_suite("authfile", tests);
    unlink(path);
    return status;
}
