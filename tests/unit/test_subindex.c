/* SPDX-License-Identifier: Apache-2.0 */

/* The subscription index: nodes come and go as their workers do, matches agree with a naive matcher
 * through growth and shrinkage, shared subscriptions take fair turns, and readers beside writers
 * see what they must. Run under ThreadSanitizer with ./dev tsan. */

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <urcu-qsbr.h>

#include "subindex.h"
#include "suite.h"

static struct pg_filter parsed(const char *text)
{
    struct pg_filter filter;

    if (pg_topic_filter_check(pg_bytes_str(text), &filter) != PG_TOPIC_NONE)
        abort();
    return filter;
}

static pg_node_ref acquire(struct pg_subindex *index, const char *text, unsigned worker)
{
    struct pg_filter filter = parsed(text);

    return pg_subindex_acquire(index, &filter, worker);
}

static size_t match(struct pg_subindex *index, const char *topic, struct pg_match *out)
{
    return pg_subindex_match(index, pg_bytes_str(topic), out);
}

static bool has(const struct pg_match *match, pg_node_ref ref)
{
    for (size_t i = 0; i < match->count; i++) {
        if (match->hits[i].ref == ref)
            return true;
    }
    return false;
}

static uint64_t seed = 11;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % bound;
}

static void a_node_lives_as_long_as_it_has_workers(void)
{
    struct pg_subindex *index = pg_subindex_new(64);
    struct pg_match found = {0};
    pg_node_ref ref = acquire(index, "a/b", 3);

    CU_ASSERT_NOT_EQUAL_FATAL(ref, PG_NODE_NONE);
    CU_ASSERT_EQUAL(acquire(index, "a/b", 3), ref); /* twice is the same as once */
    CU_ASSERT_EQUAL(acquire(index, "a/b", 63), ref);
    CU_ASSERT_EQUAL(match(index, "a/b", &found), 1);
    CU_ASSERT_EQUAL(found.hits[0].ref, ref);
    CU_ASSERT_EQUAL(found.hits[0].workers, UINT64_C(1) << 63 | 1u << 3);
    CU_ASSERT_EQUAL(found.workers, found.hits[0].workers);
    CU_ASSERT_FALSE(found.hits[0].shared);

    pg_subindex_release(index, ref, 5); /* was never there */
    pg_subindex_release(index, ref, 3);
    pg_subindex_release(index, ref, 3);
    CU_ASSERT_EQUAL(match(index, "a/b", &found), 1);
    CU_ASSERT_EQUAL(found.workers, UINT64_C(1) << 63);
    pg_subindex_release(index, ref, 63);
    CU_ASSERT_EQUAL(match(index, "a/b", &found), 0);
    CU_ASSERT_EQUAL(found.workers, 0);

    pg_match_release(&found);
    pg_subindex_free(&index);
    CU_ASSERT_PTR_NULL(index);
}

static void a_late_reference_is_told_from_the_new_owner_of_its_id(void)
{
    struct pg_subindex *index = pg_subindex_new(2);
    struct pg_match found = {0};
    pg_node_ref old = acquire(index, "$share/g/old", 0), fresh = PG_NODE_NONE;
    unsigned tries = 0;

    pg_subindex_release(index, old, 0);
    CU_ASSERT_EQUAL(pg_subindex_pick(index, old), PG_SUBINDEX_NO_WORKER);
    do { /* until the id has come back */
        if (fresh != PG_NODE_NONE)
            pg_subindex_release(index, fresh, 1);
        rcu_barrier();
        fresh = acquire(index, "$share/g/new", 1);
    } while (pg_node_id(fresh) != pg_node_id(old) && ++tries < 100);
    CU_ASSERT_EQUAL_FATAL(pg_node_id(fresh), pg_node_id(old));
    CU_ASSERT_NOT_EQUAL(pg_node_generation(fresh), pg_node_generation(old));
    pg_subindex_members(index, fresh, 1, 1);

    pg_subindex_release(index, old, 1); /* nothing may come of these */
    pg_subindex_members(index, old, 1, 5);
    CU_ASSERT_EQUAL(pg_subindex_pick(index, old), PG_SUBINDEX_NO_WORKER);
    CU_ASSERT_EQUAL(pg_subindex_pick(index, fresh), 1);
    CU_ASSERT_EQUAL(match(index, "new", &found), 1);
    CU_ASSERT(has(&found, fresh));
    CU_ASSERT_EQUAL(pg_subindex_pick(index, UINT64_MAX), PG_SUBINDEX_NO_WORKER);
    CU_ASSERT_EQUAL(pg_subindex_pick(index, PG_NODE_NONE), PG_SUBINDEX_NO_WORKER);

    pg_match_release(&found);
    pg_subindex_free(&index);
}

static void filters_of_one_topic_are_nodes_of_their_own(void)
{
    static const char *const all[] = {
        "a/b",          "a/+",          "+/b",          "a/#",           "#", "+/+", "a/b/#", "+/#",
        "$share/g/a/b", "$share/h/a/b", "$share/g/a/+", "$share/g/a/b/#"};
    static const char *const none[] = {"a", "a/b/c",      "a/b/+", "b",
                                       "+", "$share/g/a", "/a/b",  "a/b/"};
    struct pg_subindex *index = pg_subindex_new(2);
    struct pg_match found = {0};
    pg_node_ref refs[12];

    for (size_t i = 0; i < 12; i++)
        refs[i] = acquire(index, all[i], 0);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        (void)!acquire(index, none[i], 1);
    CU_ASSERT_EQUAL(match(index, "a/b", &found), 12);
    CU_ASSERT_EQUAL(found.shared_count, 4);
    CU_ASSERT_EQUAL(found.workers, 1);
    for (size_t i = 0; i < 12; i++)
        CU_ASSERT(has(&found, refs[i]));

    /* One goes, the others stay (a client that leaves `a/b` and stays in `$share/g/a/b`). */
    for (size_t i = 0; i < 12; i++) {
        pg_subindex_release(index, refs[i], 0);
        CU_ASSERT_EQUAL(match(index, "a/b", &found), 11 - i);
        CU_ASSERT_FALSE(has(&found, refs[i]));
    }
    pg_match_release(&found);
    pg_subindex_free(&index);
}

static void dollar_topics_are_hidden_from_leading_wildcards(void)
{
    struct pg_subindex *index = pg_subindex_new(1);
    struct pg_match found = {0};
    pg_node_ref exact = acquire(index, "$SYS/a", 0);
    pg_node_ref below = acquire(index, "$SYS/#", 0);
    pg_node_ref plus = acquire(index, "$SYS/+", 0);
    pg_node_ref shared = acquire(index, "$share/g/$SYS/a", 0);

    (void)!acquire(index, "#", 0);
    (void)!acquire(index, "+/a", 0);
    (void)!acquire(index, "+/#", 0);
    (void)!acquire(index, "$share/g/#", 0);
    CU_ASSERT_EQUAL(match(index, "$SYS/a", &found), 4);
    CU_ASSERT(has(&found, exact) && has(&found, below) && has(&found, plus) && has(&found, shared));
    CU_ASSERT_EQUAL(match(index, "S/$a", &found), 3);
    pg_match_release(&found);
    pg_subindex_free(&index);
}

static void the_deepest_filters_are_found_and_leave_nothing_behind(void)
{
    struct pg_subindex *index = pg_subindex_new(1);
    struct pg_subindex_stats before, after;
    struct pg_match found = {0};
    char plus[2 * PG_TOPIC_LEVELS_MAX + 2], slashes[PG_TOPIC_LEVELS_MAX + 1], big[60000];
    pg_node_ref refs[3];

    pg_subindex_count(index, &before);
    for (size_t i = 0; i < PG_TOPIC_LEVELS_MAX; i++)
        memcpy(plus + 2 * i, "+/", 2);
    plus[2 * PG_TOPIC_LEVELS_MAX - 1] = '\0';
    memset(slashes, '/', PG_TOPIC_LEVELS_MAX - 1);
    slashes[PG_TOPIC_LEVELS_MAX - 1] = '\0';
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    memcpy(big + sizeof(big) - 3, "/#", 2);

    refs[0] = acquire(index, plus, 0);
    refs[1] = acquire(index, slashes, 0);
    refs[2] = acquire(index, big, 0); /* one level too large for the slabs */
    CU_ASSERT_EQUAL(match(index, slashes, &found), 2);
    CU_ASSERT(has(&found, refs[0]) && has(&found, refs[1]));
    big[sizeof(big) - 3] = '\0';
    CU_ASSERT_EQUAL(match(index, big, &found), 1);
    CU_ASSERT(has(&found, refs[2]));
    for (size_t i = 0; i < 3; i++)
        pg_subindex_release(index, refs[i], 0);
    pg_subindex_count(index, &after);
    CU_ASSERT_EQUAL(after.tree_nodes, 0);
    CU_ASSERT_EQUAL(after.exact + after.wildcard + after.shared, 0);
    CU_ASSERT_EQUAL(match(index, big, &found), 0);
    pg_match_release(&found);
    pg_subindex_free(&index);
}

/* Filters of "+/..." over every combination: as many hits as there are ways, and no more steps. */
static void many_wildcard_ways_are_each_taken_once(void)
{
    struct pg_subindex *index = pg_subindex_new(1);
    struct pg_match found = {0};

    for (unsigned ways = 0; ways < 1u << 10; ways++) {
        char text[32];

        for (unsigned i = 0; i < 10; i++)
            memcpy(text + 2 * i, (ways >> i & 1) != 0 ? "+/" : "a/", 2);
        text[19] = '\0';
        CU_ASSERT_NOT_EQUAL_FATAL(acquire(index, text, 0), PG_NODE_NONE);
    }
    CU_ASSERT_EQUAL(match(index, "a/a/a/a/a/a/a/a/a/a", &found), 1u << 10);
    CU_ASSERT_EQUAL(match(index, "a/a/a/a/a/a/a/a/a/b", &found), 1u << 9);
    CU_ASSERT_EQUAL(match(index, "a/a/a/a/a/a/a/a/a", &found), 0);
    CU_ASSERT_FALSE(found.out_of_memory);
    pg_match_release(&found);
    pg_subindex_free(&index);
}

/* Filters that begin alike, more than are kept in one place; some end there, some have groups. They
 * come and go in every order of a few. */
static void filters_that_crowd_a_place_are_each_found(void)
{
    enum { COUNT = 14 };
    static const char *const texts[COUNT] = {
        "dev/1/+/door",
        "dev/1/events/+",
        "dev/1/#",
        "dev/1/+",
        "dev/+/events/#",
        "$share/g/dev/1/events/door",
        "dev/1/+/+",
        "$share/h/dev/1/events/door",
        "dev/1/events/#",
        "$share/g/dev/1/#",
        "+/1/events/door",
        "$share/i/dev/1/events/door",
        "dev/1/events/door/#",
        "dev/1/window/+",
    };
    static const char topic[] = "dev/1/events/door";
    struct pg_subindex *index = pg_subindex_new(1);
    struct pg_match found = {0};
    struct pg_subindex_stats stats;
    unsigned wrong = 0;

    for (unsigned first = 0; first < COUNT; first++) {
        for (unsigned step = 1; step < COUNT; step += 2) { /* odd, and not 7: it visits all */
            pg_node_ref refs[COUNT];
            size_t expected = 0;

            if (step == 7)
                continue;
            for (unsigned i = 0; i < 2 * COUNT; i++) {
                unsigned at = (first + i * step) % COUNT;
                bool matches = pg_topic_matches(parsed(texts[at]).plain, pg_bytes_str(topic));

                if (i < COUNT)
                    refs[at] = acquire(index, texts[at], 0);
                else
                    pg_subindex_release(index, refs[at], 0);
                if (matches)
                    expected += i < COUNT ? 1 : (size_t)-1;
                wrong += match(index, topic, &found) != expected;
                wrong += has(&found, refs[at]) != (matches && i < COUNT);
                wrong += i < COUNT && acquire(index, texts[at], 0) != refs[at];
                rcu_quiescent_state();
            }
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    pg_subindex_count(index, &stats);
    CU_ASSERT_EQUAL(stats.wildcard + stats.shared + stats.tree_nodes, 0);
    pg_match_release(&found);
    pg_subindex_free(&index);
}

/* A device's few filters need no branch of their own (but where tags happen to be the same); what
 * all devices have in common does. */
static void few_filters_of_many_devices_need_few_branches(void)
{
    static const char *const forms[] = {"dev/%u/+/door", "dev/%u/events/+", "one/%u/events/#"};
    struct pg_subindex *index = pg_subindex_new(1);
    struct pg_match found = {0};
    struct pg_subindex_stats stats;
    unsigned missing = 0;
    char text[32];

    for (unsigned i = 0; i < 3000; i++) {
        if (i ==
            24) { /* eight of one kind are too many for `one` alone, though all are different */
            pg_subindex_count(index, &stats);
            CU_ASSERT(stats.tree_nodes >= 3);
        }
        snprintf(text, sizeof(text), forms[i % 3], i / 3);
        CU_ASSERT_NOT_EQUAL_FATAL(acquire(index, text, 0), PG_NODE_NONE);
        rcu_quiescent_state();
    }
    pg_subindex_count(index, &stats);
    CU_ASSERT_EQUAL(stats.wildcard, 3000);
    CU_ASSERT(stats.tree_nodes >= 3); /* of nothing, `dev`, and `one` */
    CU_ASSERT(stats.tree_nodes < 10);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "dev/%u/events/door", i);
        missing += match(index, text, &found) != 2;
        memcpy(text, "one", 3);
        missing += match(index, text, &found) != 1;
    }
    CU_ASSERT_EQUAL(missing, 0);
    pg_match_release(&found);
    pg_subindex_free(&index);
}

/* ---- against a naive matcher ----------------------------------------------------------------- */

#define FILTERS 600

static void random_text(char *out, bool filter)
{
    static const char *const levels[] = {"", "a", "b", "c", "$S", "a-longer-level-of-the-topic"};
    unsigned count = 1 + random_below(4);

    if (filter && random_below(6) == 0)
        out = stpcpy(out, random_below(2) == 0 ? "$share/g/" : "$share/h/");
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            out = stpcpy(out, "/");
        if (filter && random_below(3) == 0)
            out = stpcpy(out, i + 1 == count && random_below(2) == 0 ? "#" : "+");
        else
            out = stpcpy(out, levels[random_below(6)]);
    }
}

struct known {
    char text[160];
    struct pg_filter filter;
    pg_node_ref ref;
    uint64_t workers;
};

/* Whether the hits are exactly the filters that match, with their workers. */
static bool agrees(const struct known *known, const char *topic, const struct pg_match *found)
{
    size_t expected = 0;
    uint64_t workers = 0;

    for (size_t i = 0; i < FILTERS; i++) {
        if (known[i].workers == 0 || !pg_topic_matches(known[i].filter.plain, pg_bytes_str(topic)))
            continue;
        expected++;
        if (known[i].filter.group.data == NULL)
            workers |= known[i].workers;
        if (!has(found, known[i].ref))
            return false;
    }
    for (size_t i = 0; i < found->count; i++) {
        size_t k = 0;

        while (k < FILTERS && (known[k].workers == 0 || known[k].ref != found->hits[i].ref))
            k++;
        if (k == FILTERS || known[k].workers != found->hits[i].workers ||
            (known[k].filter.group.data != NULL) != found->hits[i].shared)
            return false;
    }
    return expected == found->count && workers == found->workers;
}

static void known_init(struct known *known)
{
    for (size_t i = 0; i < FILTERS; i++) {
        bool fresh;

        do {
            random_text(known[i].text, true);
            fresh = pg_topic_filter_check(pg_bytes_str(known[i].text), &known[i].filter) ==
                    PG_TOPIC_NONE;
            for (size_t k = 0; fresh && k < i; k++)
                fresh = strcmp(known[k].text, known[i].text) != 0;
        } while (!fresh);
    }
}

static void matches_agree_with_a_naive_matcher_through_churn(void)
{
    struct known *known = calloc(FILTERS, sizeof(*known));
    struct pg_subindex *index = pg_subindex_new(8);
    struct pg_match found = {0};
    struct pg_subindex_stats stats;
    unsigned wrong = 0, matched = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(known);
    known_init(known);
    for (unsigned round = 0; round < 20000; round++) {
        struct known *one = &known[random_below(FILTERS)];
        unsigned worker = random_below(8);
        char topic[160];

        if (random_below(2) == 0) {
            pg_node_ref ref = pg_subindex_acquire(index, &one->filter, worker);

            wrong += one->workers != 0 && ref != one->ref;
            one->ref = ref;
            one->workers |= 1u << worker;
        } else {
            pg_subindex_release(index, one->ref, worker);
            one->workers &= ~(UINT64_C(1) << worker);
        }
        do
            random_text(topic, false);
        while (*topic == '\0');
        matched += match(index, topic, &found) > 0;
        wrong += !agrees(known, topic, &found);
        rcu_quiescent_state();
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(matched > 10000);

    for (size_t i = 0; i < FILTERS; i++) {
        for (unsigned worker = 0; worker < 8; worker++)
            pg_subindex_release(index, known[i].ref, worker);
    }
    pg_subindex_count(index, &stats);
    CU_ASSERT_EQUAL(stats.exact + stats.wildcard + stats.shared + stats.tree_nodes, 0);
    pg_match_release(&found);
    pg_subindex_free(&index);
    free(known);
}

static void growth_keeps_every_filter_and_shrinkage_gives_memory_back(void)
{
    enum { COUNT = 60000 };
    struct pg_subindex *index = pg_subindex_new(1);
    pg_node_ref *refs = calloc(COUNT, sizeof(*refs));
    struct pg_subindex_stats empty, full, after;
    struct pg_match found = {0};
    unsigned missing = 0;
    char text[64];

    CU_ASSERT_PTR_NOT_NULL_FATAL(refs);
    pg_subindex_count(index, &empty);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), i % 2 == 0 ? "fleet/%u/x" : "fleet/%u/+/x", i);
        refs[i] = acquire(index, text, 0);
        rcu_quiescent_state();
    }
    pg_subindex_count(index, &full);
    CU_ASSERT_EQUAL(full.exact, COUNT / 2);
    CU_ASSERT_EQUAL(full.wildcard, COUNT / 2);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), i % 2 == 0 ? "fleet/%u/x" : "fleet/%u/y/x", i);
        missing += match(index, text, &found) != 1 || found.hits[0].ref != refs[i];
    }
    CU_ASSERT_EQUAL(missing, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        pg_subindex_release(index, refs[i], 0);
        if (i % 64 == 0)
            rcu_quiescent_state();
    }
    rcu_barrier();
    rcu_barrier(); /* the first may have begun one more grace period */
    pg_subindex_count(index, &after);
    CU_ASSERT_EQUAL(after.exact + after.wildcard + after.tree_nodes, 0);
    CU_ASSERT(after.bytes < empty.bytes + (full.bytes - empty.bytes) / 4); /* ids and kept pages */
    pg_match_release(&found);
    pg_subindex_free(&index);
    free(refs);
}

/* ---- shared subscriptions -------------------------------------------------------------------- */

static void turns_go_round_in_proportion_to_members(void)
{
    struct pg_subindex *index = pg_subindex_new(4);
    pg_node_ref ref = acquire(index, "$share/g/jobs/#", 0);
    unsigned taken[4] = {0};

    CU_ASSERT_EQUAL(pg_subindex_pick(index, ref), 0); /* none has a client */
    CU_ASSERT_EQUAL(acquire(index, "$share/g/jobs/#", 1), ref);
    CU_ASSERT_EQUAL(acquire(index, "$share/g/jobs/#", 3), ref);
    pg_subindex_members(index, ref, 0, 1);
    pg_subindex_members(index, ref, 1, 2);
    pg_subindex_members(index, ref, 3, 5);
    for (unsigned i = 0; i < 8000; i++) {
        unsigned worker = pg_subindex_pick(index, ref);

        CU_ASSERT_FATAL(worker < 4);
        taken[worker]++;
    }
    CU_ASSERT_EQUAL(taken[0], 1000);
    CU_ASSERT_EQUAL(taken[1], 2000);
    CU_ASSERT_EQUAL(taken[2], 0);
    CU_ASSERT_EQUAL(taken[3], 5000);

    pg_subindex_members(index, ref, 1, -1);
    pg_subindex_release(index, ref, 3); /* its members go with it */
    memset(taken, 0, sizeof(taken));
    for (unsigned i = 0; i < 1000; i++)
        taken[pg_subindex_pick(index, ref)]++;
    CU_ASSERT_EQUAL(taken[0], 500);
    CU_ASSERT_EQUAL(taken[1], 500);
    pg_subindex_free(&index);
}

static void a_plain_node_has_no_turns(void)
{
    struct pg_subindex *index = pg_subindex_new(1);
    pg_node_ref ref = acquire(index, "a/+", 0);

    pg_subindex_members(index, ref, 0, 1);
    CU_ASSERT_EQUAL(pg_subindex_pick(index, ref), PG_SUBINDEX_NO_WORKER);
    pg_subindex_free(&index);
}

/* ---- walk ------------------------------------------------------------------------------------ */

struct seen {
    const char *const *texts;
    size_t count;
    unsigned found[16], strangers;
};

static void see(void *arg, struct pg_bytes filter, pg_node_ref ref, uint64_t workers)
{
    struct seen *seen = arg;

    for (size_t i = 0; i < seen->count; i++) {
        if (pg_bytes_equal(filter, pg_bytes_str(seen->texts[i]))) {
            seen->found[i] += ref != PG_NODE_NONE && workers == 2;
            return;
        }
    }
    seen->strangers++;
}

static void filters_are_shown_as_they_were_written(void)
{
    static const char *const texts[] = {"a",  "/",    "//",      "#",           "+",
                                        "/#", "a//#", "+/a/+/#", "$share/g/#",  "$share/g//",
                                        "a/", "+/",   "/+",      "$share/h/+/", "$share/h/a/b"};
    struct seen seen = {.texts = texts, .count = sizeof(texts) / sizeof(texts[0])};
    struct pg_subindex *index = pg_subindex_new(2);
    uint32_t cursor = 0;
    pg_node_ref gone;

    for (size_t i = 0; i < seen.count; i++) {
        pg_node_ref ref = acquire(index, texts[i], 1);

        CU_ASSERT_NOT_EQUAL_FATAL(ref, PG_NODE_NONE);
        CU_ASSERT(pg_bytes_equal(pg_subindex_filter(index, ref), pg_bytes_str(texts[i])));
        if (i == 4) {
            gone = acquire(index, "gone/+", 1);
            pg_subindex_release(index, gone, 1);
            CU_ASSERT_PTR_NULL(pg_subindex_filter(index, gone).data);
        }
    }
    while (pg_subindex_walk(index, &cursor, 2, see, &seen))
        ;
    CU_ASSERT_EQUAL(seen.strangers, 0);
    for (size_t i = 0; i < seen.count; i++)
        CU_ASSERT_EQUAL(seen.found[i], 1);
    pg_subindex_free(&index);
}

/* ---- threads --------------------------------------------------------------------------------- */

#define CHURNED 64
#define READERS 2
#define WRITERS 2

struct together {
    struct pg_subindex *index;
    pg_node_ref fixed[3]; /* "fixed/a", "fixed/+", "$share/g/fixed/#" */
    _Atomic bool stop;
    _Atomic unsigned wrong;
    _Atomic unsigned long matches;
};

/* What is always there is always found, and nothing that cannot match is. */
static void *reader(void *arg)
{
    struct together *t = arg;
    struct pg_match found = {0};
    unsigned turn = 0;

    rcu_register_thread();
    while (!atomic_load(&t->stop)) {
        char topic[32];

        match(t->index, "fixed/a", &found);
        for (size_t i = 0; i < 3; i++) {
            if (!has(&found, t->fixed[i]))
                atomic_fetch_add(&t->wrong, 1);
        }
        if (pg_subindex_pick(t->index, t->fixed[2]) != 0)
            atomic_fetch_add(&t->wrong, 1);
        snprintf(topic, sizeof(topic), "churn/%u/x", turn++ % CHURNED);
        match(t->index, topic, &found);
        for (size_t i = 0; i < found.count; i++) {
            if ((found.hits[i].workers & ~UINT64_C(6)) != 0)
                atomic_fetch_add(&t->wrong, 1);
            if (found.hits[i].shared)
                (void)pg_subindex_pick(t->index, found.hits[i].ref);
        }
        if (found.count > 3)
            atomic_fetch_add(&t->wrong, 1);
        atomic_fetch_add_explicit(&t->matches, 1, memory_order_relaxed);
        rcu_quiescent_state();
    }
    pg_match_release(&found);
    rcu_unregister_thread();
    return NULL;
}

struct writer {
    struct together *together;
    unsigned worker;
};

/* Subscribe to and leave every churned filter, over and over, growing and shrinking the index. */
static void *writer(void *arg)
{
    static const char *const forms[] = {"churn/%u/x", "churn/%u/+", "$share/g/churn/%u/#"};
    struct writer *w = arg;
    struct pg_subindex *index = w->together->index;
    pg_node_ref refs[CHURNED][3];

    rcu_register_thread();
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < CHURNED * 3; i++) {
            char text[48];

            snprintf(text, sizeof(text), forms[i % 3], i / 3);
            refs[i / 3][i % 3] = acquire(index, text, w->worker);
            if (i % 3 == 2)
                pg_subindex_members(index, refs[i / 3][2], w->worker, 1);
            rcu_quiescent_state();
        }
        for (unsigned i = 0; i < CHURNED * 3; i++) {
            pg_subindex_release(index, refs[i / 3][i % 3], w->worker);
            rcu_quiescent_state();
        }
    }
    rcu_unregister_thread();
    return NULL;
}

static void readers_beside_writers_see_what_they_must(void)
{
    struct together t = {.index = pg_subindex_new(3)};
    struct writer writers[WRITERS] = {{&t, 1}, {&t, 2}};
    pthread_t threads[READERS + WRITERS];
    struct pg_subindex_stats stats;

    t.fixed[0] = acquire(t.index, "fixed/a", 0);
    t.fixed[1] = acquire(t.index, "fixed/+", 0);
    t.fixed[2] = acquire(t.index, "$share/g/fixed/#", 0);
    pg_subindex_members(t.index, t.fixed[2], 0, 1);
    for (unsigned i = 0; i < READERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, reader, &t), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[READERS + i], NULL, writer, &writers[i]), 0);
    rcu_thread_offline(); /* this thread waits in join */
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[READERS + i], NULL);
    atomic_store(&t.stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    CU_ASSERT_EQUAL(atomic_load(&t.wrong), 0);
    CU_ASSERT(atomic_load(&t.matches) > 0);
    pg_subindex_count(t.index, &stats);
    CU_ASSERT_EQUAL(stats.exact, 1);
    CU_ASSERT_EQUAL(stats.wildcard, 1);
    CU_ASSERT_EQUAL(stats.shared, 1);
    CU_ASSERT_EQUAL(stats.tree_nodes, 1);
    pg_subindex_free(&t.index);
}

int main(void)
{
    rcu_register_thread();
    CU_TestInfo tests[] = {
        TEST(a_node_lives_as_long_as_it_has_workers),
        TEST(a_late_reference_is_told_from_the_new_owner_of_its_id),
        TEST(filters_of_one_topic_are_nodes_of_their_own),
        TEST(dollar_topics_are_hidden_from_leading_wildcards),
        TEST(the_deepest_filters_are_found_and_leave_nothing_behind),
        TEST(many_wildcard_ways_are_each_taken_once),
        TEST(filters_that_crowd_a_place_are_each_found),
        TEST(few_filters_of_many_devices_need_few_branches),
        TEST(matches_agree_with_a_naive_matcher_through_churn),
        TEST(growth_keeps_every_filter_and_shrinkage_gives_memory_back),
        TEST(turns_go_round_in_proportion_to_members),
        TEST(a_plain_node_has_no_turns),
        TEST(filters_are_shown_as_they_were_written),
        TEST(readers_beside_writers_see_what_they_must),
        CU_TEST_INFO_NULL,
    };
    int status = run_suite("subindex", tests);
    rcu_unregister_thread();
    return status;
}
