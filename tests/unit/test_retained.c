/* SPDX-License-Identifier: Apache-2.0 */

/* Retained messages: set, replaced, cleared, expired; limits; walks that agree with a naive
 * matcher, also while others set and clear; nothing left behind. */

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "retained.h"
#include "suite.h"
#include "topic.h"

static const struct pg_retained_limits plenty = {.messages = SIZE_MAX, .bytes = SIZE_MAX};

static uint64_t seed = 13;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % bound;
}

static struct pg_msg *message(const char *topic, const char *payload)
{
    struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic), .payload = pg_bytes_str(payload), .retain = true};
    struct pg_msg *msg = pg_msg_new(&spec);

    if (msg == NULL)
        abort();
    return msg;
}

/* expires_ms: PG_NEVER or a time of pg_now_ms(). */
static enum pg_reason set_expiring(struct pg_retained *r, const char *topic, const char *payload,
                                   int64_t expires_ms)
{
    struct pg_msg *msg = message(topic, payload);
    enum pg_reason reason;

    msg->expires_ms = expires_ms;
    reason = pg_retained_set(r, msg);
    pg_msg_unref(&msg);
    return reason;
}

static enum pg_reason set(struct pg_retained *r, const char *topic, const char *payload)
{
    return set_expiring(r, topic, payload, PG_NEVER);
}

static bool holds(struct pg_retained *r, const char *topic, const char *payload)
{
    struct pg_msg *msg = pg_retained_get(r, pg_bytes_str(topic));
    bool same;

    if (msg == NULL)
        return payload == NULL;
    same = payload != NULL && pg_bytes_equal(msg->payload, pg_bytes_str(payload)) &&
           pg_bytes_equal(msg->topic, pg_bytes_str(topic));
    pg_msg_unref(&msg);
    return same;
}

static struct pg_retained_stats stats_of(struct pg_retained *r)
{
    struct pg_retained_stats stats;

    pg_retained_count(r, &stats);
    return stats;
}

static bool nothing_is_left(struct pg_retained *r)
{
    struct pg_retained_stats stats = stats_of(r);

    return stats.messages == 0 && stats.bytes == 0 && stats.nodes == 0;
}

static void the_last_message_of_a_topic_is_kept(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT(holds(r, "a/b", NULL));
    CU_ASSERT_EQUAL(set(r, "a/b", "one"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "a/b", "two"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "a", "parent"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "a/b/", "deeper"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "/", "slash"), PG_OK);
    CU_ASSERT(holds(r, "a/b", "two"));
    CU_ASSERT(holds(r, "a", "parent"));
    CU_ASSERT(holds(r, "a/b/", "deeper"));
    CU_ASSERT(holds(r, "/", "slash"));
    CU_ASSERT(holds(r, "", NULL));
    CU_ASSERT_EQUAL(stats_of(r).messages, 4);
    CU_ASSERT_EQUAL(stats_of(r).nodes, 5);

    CU_ASSERT_FALSE(pg_retained_clear(r, PG_BYTES_OF("a/b/c")));
    CU_ASSERT_FALSE(pg_retained_clear(r, PG_BYTES_OF("b")));
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("a/b")));
    CU_ASSERT_FALSE(pg_retained_clear(r, PG_BYTES_OF("a/b")));
    CU_ASSERT(holds(r, "a/b", NULL));
    CU_ASSERT(holds(r, "a/b/", "deeper"));
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("a/b/")));
    CU_ASSERT_EQUAL(stats_of(r).nodes, 3); /* "a", and the two of "/" */
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("a")));
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("/")));
    CU_ASSERT(nothing_is_left(r));
    pg_retained_free(&r);
    CU_ASSERT_PTR_NULL(r);
}

static void the_deepest_topic_is_kept_and_leaves_nothing_behind(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);
    char topic[PG_TOPIC_LEVELS_MAX];

    memset(topic, '/', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    CU_ASSERT_EQUAL(set(r, topic, "deep"), PG_OK);
    CU_ASSERT_EQUAL(stats_of(r).nodes, PG_TOPIC_LEVELS_MAX);
    CU_ASSERT(holds(r, topic, "deep"));
    CU_ASSERT(pg_retained_clear(r, pg_bytes_str(topic)));
    CU_ASSERT(nothing_is_left(r));
    CU_ASSERT_EQUAL(set(r, topic, "left for free"), PG_OK);
    pg_retained_free(&r);
}

static void limits_refuse_what_is_new_and_keep_what_is_there(void)
{
    struct pg_retained_limits limits = {.messages = 2, .bytes = SIZE_MAX};
    struct pg_retained *r = pg_retained_new(&limits);
    struct pg_retained_stats before;
    struct pg_msg *deep;

    CU_ASSERT_EQUAL(set(r, "a", "1"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "b", "1"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "c/d", "1"), PG_QUOTA_EXCEEDED);
    CU_ASSERT_EQUAL(set(r, "a", "2"), PG_OK); /* replacing adds none */
    CU_ASSERT_EQUAL(stats_of(r).nodes, 2);

    before = stats_of(r);
    limits = (struct pg_retained_limits){.messages = 100, .bytes = before.bytes + 50};
    pg_retained_set_limits(r, &limits);
    CU_ASSERT_EQUAL(set(r, "a",
                        "a payload that is much longer than those fifty bytes that are "
                        "left under the limit, to be sure"),
                    PG_QUOTA_EXCEEDED);
    CU_ASSERT(holds(r, "a", "2"));
    CU_ASSERT_EQUAL(set(r, "b", "22"), PG_OK);
    /* Levels cost, not only bytes of text: there is room for the message, not for its way. */
    deep = message("/////////////////////", "1");
    limits.bytes = stats_of(r).bytes + pg_msg_size(deep) + 100;
    pg_retained_set_limits(r, &limits);
    CU_ASSERT_EQUAL(pg_retained_set(r, deep), PG_QUOTA_EXCEEDED);
    pg_msg_unref(&deep);
    CU_ASSERT_EQUAL(stats_of(r).messages, 2);
    CU_ASSERT_EQUAL(stats_of(r).nodes, 2);

    /* Lowered below what is there: what does not grow is still taken. */
    limits = (struct pg_retained_limits){.messages = 1, .bytes = 1};
    pg_retained_set_limits(r, &limits);
    CU_ASSERT_EQUAL(set(r, "b", "33"), PG_OK);
    CU_ASSERT_EQUAL(set(r, "b", "333"), PG_QUOTA_EXCEEDED);
    CU_ASSERT(holds(r, "b", "33"));
    pg_retained_free(&r);
}

static void expired_messages_are_not_given_and_are_swept(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);
    int64_t now = pg_now_ms();
    char topic[32];

    CU_ASSERT_EQUAL(set_expiring(r, "gone", "x", now - 1), PG_OK);
    CU_ASSERT(holds(r, "gone", NULL));
    CU_ASSERT_EQUAL(pg_retained_sweep(r, now - 2, 10), 0);
    CU_ASSERT_EQUAL(pg_retained_sweep(r, now, 10), 1);
    CU_ASSERT(nothing_is_left(r));

    /* Many deadlines in no order, some replaced, some cleared. */
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(topic, sizeof(topic), "t/%u", i);
        CU_ASSERT_EQUAL(set_expiring(r, topic, "x", now + 1 + (int64_t)(i * 7919 % 1000)), PG_OK);
    }
    CU_ASSERT_EQUAL(set(r, "t/0", "for ever"), PG_OK); /* was due at now + 1 */
    CU_ASSERT_EQUAL(set_expiring(r, "t/1", "later", now + 5000), PG_OK);
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("t/2")));
    for (unsigned due = 100; due <= 1000; due += 100)
        (void)pg_retained_sweep(r, now + due, 30);
    CU_ASSERT_EQUAL(stats_of(r).messages, 999 - 300); /* the limit held */
    for (unsigned i = 3; i < 1000; i++) {
        struct pg_msg *msg;

        snprintf(topic, sizeof(topic), "t/%u", i);
        msg = pg_retained_get(r, pg_bytes_str(topic));
        if (msg != NULL) /* those that went were the ones due first */
            CU_ASSERT(msg->expires_ms > now + 290);
        pg_msg_unref(&msg);
    }
    CU_ASSERT_EQUAL(pg_retained_sweep(r, now + 1000, SIZE_MAX), 697);
    CU_ASSERT(holds(r, "t/0", "for ever"));
    CU_ASSERT(holds(r, "t/1", "later"));
    CU_ASSERT_EQUAL(pg_retained_sweep(r, now + 5000, SIZE_MAX), 1);
    CU_ASSERT_EQUAL(stats_of(r).messages, 1);
    pg_retained_free(&r);
}

/* ---- walks ----------------------------------------------------------------------------------- */

#define TOPICS 400

struct known {
    char text[64];
    bool set;
    unsigned seen;
};

static void random_text(char *out, bool filter)
{
    static const char *const levels[] = {"", "a", "b", "c", "$S", "long-level"};
    unsigned count = 1 + random_below(5);

    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            out = stpcpy(out, "/");
        if (filter && random_below(3) == 0)
            out = stpcpy(out, i + 1 == count && random_below(2) == 0 ? "#" : "+");
        else
            out = stpcpy(out, levels[random_below(6)]);
    }
}

static void known_init(struct known *known)
{
    for (size_t i = 0; i < TOPICS; i++) {
        bool fresh;

        do {
            random_text(known[i].text, false);
            fresh = *known[i].text != '\0';
            for (size_t k = 0; fresh && k < i; k++)
                fresh = strcmp(known[k].text, known[i].text) != 0;
        } while (!fresh);
    }
}

static unsigned note(struct known *known, struct pg_msg **found, size_t count)
{
    unsigned strangers = 0;

    for (size_t i = 0; i < count; i++) {
        size_t k = 0;

        while (k < TOPICS && !pg_bytes_equal(found[i]->topic, pg_bytes_str(known[k].text)))
            k++;
        if (k < TOPICS)
            known[k].seen++;
        else
            strangers++;
        pg_msg_unref(&found[i]);
    }
    return strangers;
}

static void flip(struct pg_retained *r, struct known *one)
{
    bool done =
        one->set ? pg_retained_clear(r, pg_bytes_str(one->text)) : set(r, one->text, "x") == PG_OK;

    CU_ASSERT(done);
    one->set = !one->set;
}

static void walks_agree_with_a_naive_matcher(void)
{
    struct known *known = calloc(TOPICS, sizeof(*known));
    struct pg_retained *r = pg_retained_new(&plenty);
    unsigned wrong = 0, total = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(known);
    known_init(known);
    for (unsigned round = 0; round < 3000; round++) {
        struct pg_retained_walk *walk;
        struct pg_msg *found[7];
        char filter[64];
        bool more = true;

        flip(r, &known[random_below(TOPICS)]);
        do
            random_text(filter, true);
        while (*filter == '\0');
        for (size_t i = 0; i < TOPICS; i++)
            known[i].seen = 0;
        walk = pg_retained_walk_open(r, pg_bytes_str(filter));
        CU_ASSERT_PTR_NOT_NULL_FATAL(walk);
        while (more)
            wrong += note(known, found, pg_retained_walk_next(walk, found, 1 + round % 7, &more));
        CU_ASSERT_EQUAL(pg_retained_walk_next(walk, found, 7, &more), 0);
        CU_ASSERT_FALSE(more);
        pg_retained_walk_close(&walk);
        CU_ASSERT_PTR_NULL(walk);
        for (size_t i = 0; i < TOPICS; i++) {
            bool expected =
                known[i].set && pg_topic_matches(pg_bytes_str(filter), pg_bytes_str(known[i].text));

            wrong += known[i].seen != expected;
            total += expected;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(total > 10000);
    for (size_t i = 0; i < TOPICS; i++) {
        if (known[i].set)
            flip(r, &known[i]);
    }
    CU_ASSERT(nothing_is_left(r));
    pg_retained_free(&r);
    free(known);
}

/* What stays is seen once, whatever comes and goes under the walk's feet. */
static void a_walk_keeps_its_place_while_others_set_and_clear(void)
{
    struct known *known = calloc(TOPICS, sizeof(*known));
    struct pg_retained *r = pg_retained_new(&plenty);
    unsigned wrong = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(known);
    known_init(known);
    for (size_t i = 0; i < TOPICS; i++)
        flip(r, &known[i]);
    for (unsigned round = 0; round < 300; round++) {
        bool touched[TOPICS] = {false};
        struct pg_retained_walk *walk = pg_retained_walk_open(r, PG_BYTES_OF("#"));
        struct pg_msg *found[1];
        bool more = true;

        CU_ASSERT_PTR_NOT_NULL_FATAL(walk);
        for (size_t i = 0; i < TOPICS; i++) {
            known[i].seen = 0;
            touched[i] = !known[i].set;
        }
        while (more) {
            size_t one = random_below(TOPICS);

            wrong += note(known, found, pg_retained_walk_next(walk, found, 1, &more));
            touched[one] = true;
            flip(r, &known[one]);
            if (round % 5 == 0 && random_below(100) == 0)
                break; /* given up in the middle */
        }
        for (size_t i = 0; !more && i < TOPICS; i++)
            wrong += !touched[i] && known[i].seen != (known[i].text[0] != '$');
        pg_retained_walk_close(&walk);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    for (size_t i = 0; i < TOPICS; i++) {
        if (known[i].set)
            flip(r, &known[i]);
    }
    CU_ASSERT(nothing_is_left(r)); /* no pin was forgotten */
    pg_retained_free(&r);
    free(known);
}

static void a_pinned_place_goes_with_the_walk(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);
    struct pg_retained_walk *walk;
    struct pg_msg *found[1];
    bool more;

    CU_ASSERT_EQUAL(set(r, "a/b/c", "x"), PG_OK);
    walk = pg_retained_walk_open(r, PG_BYTES_OF("a/#"));
    CU_ASSERT_EQUAL_FATAL(pg_retained_walk_next(walk, found, 1, &more), 1);
    pg_msg_unref(&found[0]);
    CU_ASSERT(more);
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("a/b/c")));
    CU_ASSERT_EQUAL(stats_of(r).nodes, 3);
    CU_ASSERT_EQUAL(pg_retained_walk_next(walk, found, 1, &more), 0);
    CU_ASSERT_FALSE(more);
    CU_ASSERT(nothing_is_left(r));
    pg_retained_walk_close(&walk);
    pg_retained_free(&r);
}

static void a_walk_gives_no_expired_message(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);
    struct pg_retained_walk *walk;
    struct pg_msg *found[4];
    bool more = true;
    size_t count = 0;

    CU_ASSERT_EQUAL(set_expiring(r, "a/old", "x", pg_now_ms() - 1), PG_OK);
    CU_ASSERT_EQUAL(set_expiring(r, "a/new", "x", pg_now_ms() + 3600000), PG_OK);
    walk = pg_retained_walk_open(r, PG_BYTES_OF("a/+"));
    while (more) {
        size_t got = pg_retained_walk_next(walk, found, 4, &more);

        for (size_t i = 0; i < got; i++) {
            CU_ASSERT(pg_bytes_equal(found[i]->topic, PG_BYTES_OF("a/new")));
            pg_msg_unref(&found[i]);
        }
        count += got;
    }
    CU_ASSERT_EQUAL(count, 1);
    pg_retained_walk_close(&walk);
    pg_retained_free(&r);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct together {
    struct pg_retained *retained;
    unsigned number;
    _Atomic unsigned *wrong;
};

static void *set_clear_and_walk(void *arg)
{
    struct together *t = arg;
    char topic[32];

    for (unsigned i = 0; i < 3000; i++) {
        snprintf(topic, sizeof(topic), "t/%u/%u", t->number, i % 50);
        if (set_expiring(t->retained, topic, "x", i % 3 == 0 ? pg_now_ms() + 60000 : PG_NEVER) !=
            PG_OK)
            atomic_fetch_add(t->wrong, 1);
        if (!holds(t->retained, topic, "x"))
            atomic_fetch_add(t->wrong, 1);
        if (i % 10 == 0) {
            struct pg_retained_walk *walk =
                pg_retained_walk_open(t->retained, PG_BYTES_OF("t/+/#"));
            struct pg_msg *found[16];
            bool more = true;
            unsigned fixed = 0;

            while (more) {
                size_t count = pg_retained_walk_next(walk, found, 16, &more);

                for (size_t k = 0; k < count; k++) {
                    fixed += pg_bytes_equal(found[k]->topic, PG_BYTES_OF("t/fixed/x"));
                    pg_msg_unref(&found[k]);
                }
            }
            if (fixed != 1)
                atomic_fetch_add(t->wrong, 1);
            pg_retained_walk_close(&walk);
        }
        if (!pg_retained_clear(t->retained, pg_bytes_str(topic)))
            atomic_fetch_add(t->wrong, 1);
    }
    return NULL;
}

static void threads_do_not_disturb_each_other(void)
{
    struct pg_retained *r = pg_retained_new(&plenty);
    _Atomic unsigned wrong = 0;
    struct together parts[3];
    pthread_t threads[3];

    CU_ASSERT_EQUAL(set(r, "t/fixed/x", "x"), PG_OK);
    for (unsigned i = 0; i < 3; i++) {
        parts[i] = (struct together){r, i, &wrong};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, set_clear_and_walk, &parts[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
    CU_ASSERT(pg_retained_clear(r, PG_BYTES_OF("t/fixed/x")));
    CU_ASSERT(nothing_is_left(r));
    pg_retained_free(&r);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(the_last_message_of_a_topic_is_kept),
        TEST(the_deepest_topic_is_kept_and_leaves_nothing_behind),
        TEST(limits_refuse_what_is_new_and_keep_what_is_there),
        TEST(expired_messages_are_not_given_and_are_swept),
        TEST(walks_agree_with_a_naive_matcher),
        TEST(a_walk_keeps_its_place_while_others_set_and_clear),
        TEST(a_pinned_place_goes_with_the_walk),
        TEST(a_walk_gives_no_expired_message),
        TEST(threads_do_not_disturb_each_other),
        CU_TEST_INFO_NULL,
    };
    return run_suite("retained", tests);
}
