/* SPDX-License-Identifier: Apache-2.0 */

/* The decision point with authenticators that answer at once, later, from another thread, or after
 * the asker has gone; and what silence means. The worker and the configuration are fakes that
 * count. */

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "suite.h"

/* ---- fakes ----------------------------------------------------------------------------------- */

struct pg_worker {
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct pg_task *tasks;
};

static struct pg_worker worker = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                  .posted = PTHREAD_COND_INITIALIZER};

void pg_worker_post(struct pg_worker *to, struct pg_task *task)
{
    pthread_mutex_lock(&to->lock);
    task->next = to->tasks;
    to->tasks = task;
    pthread_cond_signal(&to->posted);
    pthread_mutex_unlock(&to->lock);
}

/* Run what was posted; how many tasks. With `wait`, for one task at least. */
static unsigned run_tasks(bool wait)
{
    unsigned count = 0;
    pthread_mutex_lock(&worker.lock);
    while (wait && !worker.tasks)
        pthread_cond_wait(&worker.posted, &worker.lock);
    while (worker.tasks) {
        struct pg_task *task = worker.tasks;
        worker.tasks = task->next;
        pthread_mutex_unlock(&worker.lock);
        task->run(task, &worker);
        count++;
        pthread_mutex_lock(&worker.lock);
    }
    pthread_mutex_unlock(&worker.lock);
    return count;
}

struct pg_config *pg_config_ref(struct pg_config *config)
{
    atomic_fetch_add(&config->refs, 1);
    return config;
}

void pg_config_unref(struct pg_config **config)
{
    atomic_fetch_sub(&(*config)->refs, 1);
    *config = NULL;
}

/* An authenticator that says what it is told, and remembers what it was asked. */
struct voice {
    enum pg_verdict verdict;
    unsigned asked;
    struct pg_access_request *held; /* of PG_LATER */
    struct pg_identity who;
    char topic[32];
};

static enum pg_verdict speak(struct voice *voice, const struct pg_identity *who,
                             struct pg_access_request *request)
{
    voice->asked++;
    voice->who = *who;
    if (voice->verdict == PG_LATER)
        voice->held = request;
    return voice->verdict;
}

static enum pg_verdict voice_authenticate(void *self, const struct pg_identity *who,
                                          struct pg_access_request *request)
{
    return speak(self, who, request);
}

static enum pg_verdict voice_authorize(void *self, const struct pg_identity *who,
                                       enum pg_action action, struct pg_bytes topic,
                                       struct pg_access_request *request)
{
    struct voice *voice = self;
    snprintf(voice->topic, sizeof(voice->topic), "%d %.*s", (int)action, (int)topic.len,
             (const char *)topic.data);
    return speak(self, who, request);
}

static const struct pg_authenticator authenticator = {.authenticate = voice_authenticate,
                                                      .authorize = voice_authorize};
static const struct pg_authenticator only_actions = {.authorize = voice_authorize};
static const struct pg_plugin voice_plugin = {.name = "voice", .authenticator = &authenticator};
static const struct pg_plugin action_plugin = {.name = "act", .authenticator = &only_actions};
static const struct pg_plugin other_plugin = {.name = "other"};

#define VOICES 3
static struct voice voices[VOICES];
static struct pg_plugin_conf plugins[VOICES + 1];
static struct pg_config config;

static void set_up(size_t count, enum pg_verdict a, enum pg_verdict b, enum pg_verdict c)
{
    enum pg_verdict verdicts[VOICES] = {a, b, c};
    memset(voices, 0, sizeof(voices));
    memset(&config, 0, sizeof(config));
    plugins[0] = (struct pg_plugin_conf){.plugin = &other_plugin};
    for (size_t i = 0; i < VOICES; i++) {
        voices[i].verdict = verdicts[i];
        plugins[i + 1] =
            (struct pg_plugin_conf){.plugin = &voice_plugin, .self = &voices[i], .judges = true};
    }
    config.plugins = plugins;
    config.plugin_count = count + 1;
    config.refs = 1;
}

static unsigned done_count;
static enum pg_reason done_reason;
static int done_arg;

static void done(void *arg, enum pg_reason reason)
{
    CU_ASSERT_PTR_EQUAL(arg, &done_arg);
    done_count++;
    done_reason = reason;
}

static struct pg_access_request *pending;

static enum pg_reason login_as(struct pg_bytes user, struct pg_bytes password)
{
    struct pg_identity who = {.client_id = PG_BYTES_OF("c1"),
                              .username = user,
                              .password = password,
                              .peer = "peer",
                              .listener = "main",
                              .protocol = "test"};
    done_count = 0;
    return pg_access_login(&worker, &config, &who, done, &done_arg, &pending);
}

static enum pg_reason login(void)
{
    return login_as(PG_BYTES_OF("alice"), PG_BYTES_OF("secret"));
}

static enum pg_reason act(enum pg_action action, const char *topic)
{
    struct pg_identity who = {.client_id = PG_BYTES_OF("c1"), .peer = "peer"};
    done_count = 0;
    return pg_access_check(&worker, &config, &who, action, pg_bytes_str(topic), done, &done_arg,
                           &pending);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void the_first_opinion_on_a_login_decides(void)
{
    set_up(3, PG_NEXT, PG_ALLOW, PG_DENY);
    CU_ASSERT_EQUAL(login(), PG_OK);
    CU_ASSERT_EQUAL(voices[2].asked, 0);
    set_up(3, PG_NEXT, PG_DENY, PG_ALLOW);
    CU_ASSERT_EQUAL(login(), PG_BAD_CREDENTIAL);
    CU_ASSERT_EQUAL(voices[2].asked, 0);
    CU_ASSERT_PTR_NULL(pending);
    CU_ASSERT_EQUAL(config.refs, 1);
}

static void whoever_cannot_tell_is_busy(void)
{
    set_up(3, PG_NEXT, PG_UNAVAILABLE, PG_ALLOW);
    config.settings.access.allow_anonymous = PG_ANONYMOUS_YES;
    CU_ASSERT_EQUAL(login(), PG_BUSY);
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_BUSY);
    CU_ASSERT_EQUAL(voices[2].asked, 0);
    set_up(1, PG_LATER, PG_NEXT, PG_NEXT);
    CU_ASSERT_EQUAL(login(), PG_PENDING);
    pg_access_answer(voices[0].held, PG_UNAVAILABLE);
    run_tasks(false);
    CU_ASSERT_EQUAL(done_reason, PG_BUSY);
}

static void names_that_nobody_vouches_for_are_refused(void)
{
    for (int anonymous = PG_ANONYMOUS_AUTO; anonymous <= PG_ANONYMOUS_NO; anonymous++) {
        set_up(2, PG_NEXT, PG_NEXT, PG_NEXT);
        config.settings.access.allow_anonymous = anonymous;
        CU_ASSERT_EQUAL(login(), PG_BAD_CREDENTIAL);
        CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_OF("x")), PG_BAD_CREDENTIAL);
        CU_ASSERT_EQUAL(login_as(PG_BYTES_OF(""), PG_BYTES_NONE), PG_BAD_CREDENTIAL);
        /* A plugin that only judges actions relies on names just the same. */
        set_up(1, PG_NEXT, PG_NEXT, PG_NEXT);
        plugins[1].plugin = &action_plugin;
        config.settings.access.allow_anonymous = anonymous;
        CU_ASSERT_EQUAL(login(), PG_BAD_CREDENTIAL);
    }
}

static void anonymous_clients_are_the_settings_business(void)
{
    static const struct {
        int setting;
        enum pg_reason guarded, open;
    } rows[] = {
        {PG_ANONYMOUS_YES, PG_OK, PG_OK},
        {PG_ANONYMOUS_AUTO, PG_NOT_AUTHORIZED, PG_OK},
        {PG_ANONYMOUS_NO, PG_NOT_AUTHORIZED, PG_NOT_AUTHORIZED},
    };
    for (size_t i = 0; i < 3; i++) {
        set_up(1, PG_NEXT, PG_NEXT, PG_NEXT);
        config.settings.access.allow_anonymous = rows[i].setting;
        CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_NONE), rows[i].guarded);
        set_up(0, PG_NEXT, PG_NEXT, PG_NEXT);
        config.settings.access.allow_anonymous = rows[i].setting;
        CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_NONE), rows[i].open);
        CU_ASSERT_EQUAL(login(), rows[i].open); /* the name means nothing */
    }
}

static void a_listener_may_have_its_own_say_on_anonymous_clients(void)
{
    struct pg_listener_conf listeners[] = {
        {.name = "other", .allow_anonymous = PG_LISTENER_ANONYMOUS_AS_ACCESS},
        {.name = "main", .allow_anonymous = PG_LISTENER_ANONYMOUS_NO},
    };
    set_up(1, PG_NEXT, PG_NEXT, PG_NEXT);
    config.listeners = listeners;
    config.listener_count = 2;
    config.settings.access.allow_anonymous = PG_ANONYMOUS_YES;
    CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_NONE), PG_NOT_AUTHORIZED);
    config.settings.access.allow_anonymous = PG_ANONYMOUS_NO;
    listeners[1].allow_anonymous = PG_LISTENER_ANONYMOUS_YES;
    CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_NONE), PG_OK);
    CU_ASSERT_EQUAL(login(), PG_BAD_CREDENTIAL); /* whoever shows a name must be known by it */
    listeners[1].allow_anonymous = PG_LISTENER_ANONYMOUS_AS_ACCESS;
    CU_ASSERT_EQUAL(login_as(PG_BYTES_NONE, PG_BYTES_NONE), PG_NOT_AUTHORIZED);
    config.listeners = NULL;
    config.listener_count = 0;
}

static void a_denial_of_an_action_wins_over_an_earlier_yes(void)
{
    set_up(3, PG_ALLOW, PG_NEXT, PG_DENY);
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_NOT_AUTHORIZED);
    set_up(3, PG_DENY, PG_ALLOW, PG_ALLOW);
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(voices[1].asked, 0);
    set_up(3, PG_NEXT, PG_ALLOW, PG_NEXT);
    config.settings.access.otherwise = PG_OTHERWISE_DENY;
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_OK);
}

static void silence_on_an_action_is_the_settings_business(void)
{
    static const struct {
        int setting;
        enum pg_reason judged, not_judged;
    } rows[] = {
        {PG_OTHERWISE_AUTO, PG_NOT_AUTHORIZED, PG_OK},
        {PG_OTHERWISE_ALLOW, PG_OK, PG_OK},
        {PG_OTHERWISE_DENY, PG_NOT_AUTHORIZED, PG_NOT_AUTHORIZED},
    };
    for (size_t i = 0; i < 3; i++) {
        set_up(2, PG_NEXT, PG_NEXT, PG_NEXT);
        config.settings.access.otherwise = rows[i].setting;
        CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), rows[i].judged);
        CU_ASSERT(pg_access_checks_actions(&config));
        plugins[2].judges = false; /* one who judges is enough */
        CU_ASSERT_EQUAL(act(PG_ACTION_SUBSCRIBE, "a"), rows[i].judged);
        CU_ASSERT_EQUAL(voices[1].asked, 1);
        plugins[1].judges = false;
        CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), rows[i].not_judged);
        CU_ASSERT_EQUAL(voices[0].asked, 2); /* not again */
        CU_ASSERT_EQUAL(pg_access_checks_actions(&config), rows[i].not_judged != PG_OK);
        set_up(0, PG_NEXT, PG_NEXT, PG_NEXT);
        config.settings.access.otherwise = rows[i].setting;
        CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), rows[i].not_judged);
    }
}

static void share_is_taken_off_a_subscription_only(void)
{
    set_up(1, PG_ALLOW, PG_NEXT, PG_NEXT);
    CU_ASSERT_EQUAL(act(PG_ACTION_SUBSCRIBE, "$share/g/a/#"), PG_OK);
    CU_ASSERT_STRING_EQUAL(voices[0].topic, "1 a/#");
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "$share/g/a"), PG_OK);
    CU_ASSERT_STRING_EQUAL(voices[0].topic, "0 $share/g/a");
    CU_ASSERT_EQUAL(act(PG_ACTION_SUBSCRIBE, "$share/g"), PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(act(PG_ACTION_SUBSCRIBE, "$share/g/"), PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(act(PG_ACTION_SUBSCRIBE, "$shared/g/a"), PG_OK);
    CU_ASSERT_STRING_EQUAL(voices[0].topic, "1 $shared/g/a");
}

static void an_answer_that_comes_later_goes_on_along_the_chain(void)
{
    char user[] = "alice", password[] = "secret";
    set_up(3, PG_NEXT, PG_LATER, PG_NEXT);
    CU_ASSERT_EQUAL(login_as((struct pg_bytes){.data = (uint8_t *)user, .len = 5},
                             (struct pg_bytes){.data = (uint8_t *)password, .len = 6}),
                    PG_PENDING);
    memset(user, 'x', 5); /* what was lent may go */
    memset(password, 'x', 6);
    CU_ASSERT_PTR_NOT_NULL(pending);
    CU_ASSERT_EQUAL(config.refs, 2);
    voices[2].verdict = PG_LATER;
    pg_access_answer(voices[1].held, PG_NEXT);
    CU_ASSERT_EQUAL(done_count, 0);
    CU_ASSERT_EQUAL(run_tasks(false), 1);
    CU_ASSERT_EQUAL(done_count, 0); /* the third thinks about it */
    CU_ASSERT_EQUAL(voices[2].asked, 1);
    CU_ASSERT(pg_bytes_equal(voices[2].who.username, PG_BYTES_OF("alice")));
    CU_ASSERT(pg_bytes_equal(voices[2].who.password, PG_BYTES_OF("secret")));
    CU_ASSERT_STRING_EQUAL(voices[2].who.protocol, "test");
    pg_access_answer(voices[2].held, PG_ALLOW);
    CU_ASSERT_EQUAL(run_tasks(false), 1);
    CU_ASSERT_EQUAL(done_count, 1);
    CU_ASSERT_EQUAL(done_reason, PG_OK);
    CU_ASSERT_EQUAL(config.refs, 1);

    set_up(2, PG_LATER, PG_ALLOW, PG_NEXT);
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_PENDING);
    pg_access_answer(voices[0].held, PG_DENY);
    run_tasks(false);
    CU_ASSERT_EQUAL(done_reason, PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(voices[1].asked, 0);

    set_up(2, PG_LATER, PG_DENY, PG_NEXT);
    CU_ASSERT_EQUAL(act(PG_ACTION_PUBLISH, "a"), PG_PENDING);
    pg_access_answer(voices[0].held, PG_ALLOW); /* does not save it from the next */
    run_tasks(false);
    CU_ASSERT_EQUAL(done_reason, PG_NOT_AUTHORIZED);
    CU_ASSERT_EQUAL(config.refs, 1);
}

static void several_questions_may_be_out_at_once(void)
{
    struct pg_access_request *held[10];
    set_up(1, PG_LATER, PG_NEXT, PG_NEXT);
    for (size_t i = 0; i < 10; i++) {
        CU_ASSERT_EQUAL(login(), PG_PENDING);
        held[i] = voices[0].held;
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_PTR_NOT_EQUAL(held[i], held[k]);
    }
    CU_ASSERT_EQUAL(config.refs, 11);
    for (size_t i = 0; i < 10; i++)
        pg_access_answer(held[i], PG_ALLOW);
    CU_ASSERT_EQUAL(run_tasks(false), 10);
    CU_ASSERT_EQUAL(done_count, 10);
    CU_ASSERT_EQUAL(config.refs, 1);
}

static void whoever_has_gone_hears_nothing(void)
{
    set_up(1, PG_LATER, PG_NEXT, PG_NEXT);
    CU_ASSERT_EQUAL(login(), PG_PENDING); /* cancelled before the answer */
    pg_access_cancel(&pending);
    CU_ASSERT_PTR_NULL(pending);
    CU_ASSERT_EQUAL(config.refs, 1);
    pg_access_answer(voices[0].held, PG_ALLOW);
    CU_ASSERT_EQUAL(run_tasks(false), 0); /* the worker may be gone */
    CU_ASSERT_EQUAL(done_count, 0);

    CU_ASSERT_EQUAL(login(), PG_PENDING); /* cancelled after it, before the task */
    pg_access_answer(voices[0].held, PG_ALLOW);
    pg_access_cancel(&pending);
    CU_ASSERT_EQUAL(config.refs, 1);
    CU_ASSERT_EQUAL(run_tasks(false), 1);
    CU_ASSERT_EQUAL(done_count, 0);
    pg_access_cancel(&pending); /* NULL is fine */
}

/* ---- answers from another thread, in a race with cancelling ---------------------------------- */

static void *answer_from_elsewhere(void *request)
{
    pg_access_answer(request, PG_ALLOW);
    return NULL;
}

static void answers_race_with_cancelling(void)
{
    unsigned heard = 0, cancelled = 0;
    for (unsigned i = 0; i < 500; i++) {
        pthread_t thread;
        set_up(1, PG_LATER, PG_NEXT, PG_NEXT);
        CU_ASSERT_EQUAL_FATAL(login(), PG_PENDING);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, answer_from_elsewhere, voices[0].held),
                              0);
        if (i % 2) {
            pg_access_cancel(&pending);
            cancelled++;
        } else {
            run_tasks(true);
            heard += done_count;
        }
        pthread_join(thread, NULL);
        run_tasks(false);
        CU_ASSERT_EQUAL(done_count, i % 2 ? 0 : 1);
        CU_ASSERT_EQUAL(config.refs, 1);
    }
    CU_ASSERT_EQUAL(heard + cancelled, 500);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(the_first_opinion_on_a_login_decides),
        TEST(whoever_cannot_tell_is_busy),
        TEST(names_that_nobody_vouches_for_are_refused),
        TEST(anonymous_clients_are_the_settings_business),
        TEST(a_listener_may_have_its_own_say_on_anonymous_clients),
        TEST(a_denial_of_an_action_wins_over_an_earlier_yes),
        TEST(silence_on_an_action_is_the_settings_business),
        TEST(share_is_taken_off_a_subscription_only),
        TEST(an_answer_that_comes_later_goes_on_along_the_chain),
        TEST(several_questions_may_be_out_at_once),
        TEST(whoever_has_gone_hears_nothing),
        TEST(answers_race_with_cancelling),
        CU_TEST_INFO_NULL,
    };
    return run_suite("access", tests);
}
