/* SPDX-License-Identifier: Apache-2.0 */

/* What topics matched lately: it is what the index would say now, whatever changed, and the index is
 * not asked again while nothing did. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <urcu-qsbr.h>

#include "match_cache.h"
#include "suite.h"

#define WORKERS 2u

static struct pg_subindex *index_;
static struct pg_match_changes changes;
static struct pg_match_cache cache;
static struct pg_match found, asked;

static void start(void)
{
    index_ = pg_subindex_new(WORKERS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(index_);
    changes = (struct pg_match_changes){.wide = 0};
}

static void stop(void)
{
    pg_match_cache_free(&cache);
    pg_match_release(&found);
    pg_match_release(&asked);
    pg_subindex_free(&index_);
}

static pg_node_ref acquire(const char *text, unsigned worker, bool tell)
{
    struct pg_filter filter;
    CU_ASSERT_EQUAL_FATAL(pg_topic_filter_check(pg_bytes_str(text), &filter), PG_TOPIC_NONE);
    pg_node_ref node = pg_subindex_acquire(index_, &filter, worker);
    CU_ASSERT_NOT_EQUAL_FATAL(node, PG_NODE_NONE);
    if (tell)
        pg_match_changed(&changes, pg_match_part(index_, node));
    return node;
}

static void release(pg_node_ref node, unsigned worker)
{
    unsigned part = pg_match_part(index_, node);
    pg_subindex_release(index_, node, worker);
    pg_match_changed(&changes, part);
}

static void find(const char *topic)
{
    pg_match_find(&cache, &changes, index_, pg_bytes_str(topic), &found);
}

/* Whether the cache says what the index says, hit by hit. */
static bool is_true(const char *topic)
{
    find(topic);
    pg_subindex_match(index_, pg_bytes_str(topic), &asked);
    bool same = found.count == asked.count && found.workers == asked.workers &&
                found.shared_count == asked.shared_count && !found.out_of_memory;
    for (size_t i = 0; same && i < found.count; i++)
        same = found.hits[i].ref == asked.hits[i].ref &&
               found.hits[i].workers == asked.hits[i].workers &&
               found.hits[i].shared == asked.hits[i].shared;
    return same;
}

static void nothing_is_asked_twice(void)
{
    start();
    pg_node_ref node = acquire("a/b", 0, true);
    find("a/b");
    CU_ASSERT_EQUAL(found.count, 1);
    /* The index is changed behind its back: what is remembered is what was. */
    acquire("a/b", 1, false);
    acquire("a/+", 0, false);
    find("a/b");
    CU_ASSERT_EQUAL(found.count, 1);
    CU_ASSERT_EQUAL(found.hits[0].ref, node);
    CU_ASSERT_EQUAL(found.workers, 1);
    stop();
}

static void callers_may_change_what_they_get(void)
{
    start();
    acquire("$share/g/a/b", 1, true);
    acquire("a/b", 0, true);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(is_true("a/b"));
        CU_ASSERT_EQUAL(found.count, 2);
        memset(found.hits, 0xff, found.count * sizeof(found.hits[0]));
    }
    stop();
}

static void each_change_is_seen(void)
{
    static const char *const filters[] = {"a/b",          "a/+",          "a/#", "#",
                                          "$share/g/a/b", "$share/h/+/b", "a/c"};
    start();
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        for (unsigned w = 0; w < WORKERS; w++) {
            CU_ASSERT_TRUE(is_true("a/b"));
            acquire(filters[i], w, true);
            CU_ASSERT_TRUE(is_true("a/b"));
        }
    }
    CU_ASSERT_EQUAL(found.count, 6);
    stop();
}

static void exact_filters_matter_to_their_topics_alone(void)
{
    start();
    acquire("a/b", 0, true);
    unsigned part = pg_match_part(index_, acquire("a/b", 1, true));
    find("a/b");
    acquire("a/+", 0, false);
    /* Others come and go. */
    for (unsigned i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof(text), "others/%u", i);
        pg_node_ref node = acquire(text, 0, false);
        if (pg_match_part(index_, node) == part)
            continue;
        pg_match_changed(&changes, pg_match_part(index_, node));
        release(node, 0);
    }
    find("a/b");
    CU_ASSERT_EQUAL(found.count, 1); /* remembered still */
    acquire("b/+", 0, true);
    find("a/b");
    CU_ASSERT_EQUAL(found.count, 2);
    stop();
}

/* More topics than there is room for, long ones, and more hits than are remembered, with filters that
 * come and go. */
static void it_is_true_at_any_time(void)
{
    static const char *const forms[] = {"t/%u", "t/+/%u", "+/%u/#", "$share/g/t/%u", "t/%u/u", "#"};
    static pg_node_ref nodes[400];
    static unsigned workers[400];
    char text[700], longest[600];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    srand(7);
    start();
    for (unsigned round = 0; round < 60000; round++) {
        unsigned n = (unsigned)rand() % 400;
        if (round % 50 == 0) {
            if (nodes[n] == PG_NODE_NONE) {
                workers[n] = (unsigned)rand() % WORKERS;
                snprintf(text, sizeof(text), forms[n % 6], n / 6);
                nodes[n] = acquire(text, workers[n], true);
            } else {
                /* Another may have acquired the same; releasing it twice changes nothing. */
                release(nodes[n], workers[n]);
                nodes[n] = PG_NODE_NONE;
            }
        }
        n = (unsigned)rand() % (round % 3 == 0 ? 20000u : 100u);
        snprintf(text, sizeof(text), n % 2 ? "t/%u%s" : "t/%u/u%s", n, n % 7 == 0 ? longest : "");
        if (!is_true(text)) {
            CU_FAIL_FATAL("it is not what the index says");
        }
        if (round % 1000 == 0)
            rcu_quiescent_state();
    }
    for (unsigned i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "$share/g%u/t/1", i);
        acquire(text, 0, true);
    }
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(is_true("t/1"));
    CU_ASSERT_TRUE(found.count >= 40);
    stop();
}

int main(void)
{
    rcu_register_thread();
    CU_TestInfo tests[] = {
        TEST(nothing_is_asked_twice), TEST(callers_may_change_what_they_get),
        TEST(each_change_is_seen),    TEST(exact_filters_matter_to_their_topics_alone),
        TEST(it_is_true_at_any_time), CU_TEST_INFO_NULL,
    };
    int status = run_suite("match_cache", tests);
    rcu_unregister_thread();
    return status;
}
