/* SPDX-License-Identifier: Apache-2.0 */

/* What the subscription index costs at 1,000,000 subscriptions: bytes for each exact and each
 * wildcard filter, microseconds for a match.
 *
 *     bench_subindex [COUNT]
 *
 * Exact filters are 23 bytes long; wildcard ones have four levels on average, in three forms. Bytes
 * are the growth of the allocator's count (mallinfo2), so they hold everything; next to them stands
 * what the index itself counts. Budgets: 80 bytes exact, 180 wildcard, 0.7 us a match.
 *
 * Matches are of topics chosen at random, so that nearly nothing of what a match looks at is in the
 * processor's caches; each line is a table of its own. A topic's three hits may be filters that no
 * other topic has, or such that all topics share: the first are what costs. */

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "subindex.h"

static uint64_t seed = 3;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % bound;
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static int exact_text(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "dv/%010u/telemetry", n);
}

static int wildcard_text(char *out, size_t room, unsigned n)
{
    switch (n % 3) {
    case 0:
        return snprintf(out, room, "fleet/%07u/+/status", n);
    case 1:
        return snprintf(out, room, "site/+/device/%07u", n);
    default:
        return snprintf(out, room, "fleet/%07u/events/#", n);
    }
}

static int door_text(char *out, size_t room, unsigned device)
{
    return snprintf(out, room, "fleet/%07u/events/door", device);
}

static int three_near_text(char *out, size_t room, unsigned n)
{
    static const char *const forms[] = {"fleet/%07u/+/door", "fleet/%07u/events/#", "fleet/%07u/#"};

    return snprintf(out, room, forms[n % 3], n / 3);
}

static int three_apart_text(char *out, size_t room, unsigned n)
{
    static const char *const forms[] = {"fleet/%07u/+/door", "fleet/%07u/events/+",
                                        "+/%07u/events/door"};

    return snprintf(out, room, forms[n % 3], n / 3);
}

static int two_text(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, n % 2 == 0 ? "fleet/%07u/+/door" : "fleet/%07u/events/#", n / 2);
}

static int one_text(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "fleet/%07u/+/door", n);
}

/* Of which two are for all devices. */
static int one_and_all_text(char *out, size_t room, unsigned n)
{
    static const char *const all[] = {"fleet/+/events/#", "+/+/+/door"};

    return n < 2 ? snprintf(out, room, "%s", all[n]) : one_text(out, room, n - 2);
}

static int others_and_all_text(char *out, size_t room, unsigned n)
{
    return n < 2 ? one_and_all_text(out, room, n) : snprintf(out, room, "fleet/%07u/+/window", n);
}

static int nobody_text(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "nobody/%07u/listens", n);
}

static int site_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "site/a/device/%07u", n * 3 + 1);
}

/* Filters beside each other in one table, and the topics that are matched. */
static const struct reading {
    const char *name;
    int (*exact)(char *, size_t, unsigned);
    int (*wildcard)(char *, size_t, unsigned);
    int (*topic)(char *, size_t, unsigned);
    unsigned own_exact,
        own_wildcard; /* filters of each kind for one topic: how many topics are there */
} readings[] = {
    {"nobody", exact_text, wildcard_text, nobody_text, 0, 1},
    {"1 exact", exact_text, wildcard_text, exact_text, 1, 0},
    {"1 wildcard of its own", exact_text, wildcard_text, site_topic, 0, 3},
    {"3 wildcard of its own, near", exact_text, three_near_text, door_text, 0, 3},
    {"3 wildcard of its own, apart", exact_text, three_apart_text, door_text, 0, 3},
    {"1 exact, 2 wildcard of its own", door_text, two_text, door_text, 1, 2},
    {"1 wildcard of its own, 2 of all", exact_text, one_and_all_text, door_text, 0, 1},
    {"1 exact, 2 wildcard of all", door_text, others_and_all_text, door_text, 1, 0},
};

/* How many topics have all filters of their own. */
static unsigned topics_of(const struct reading *reading, unsigned exact, unsigned wildcard)
{
    unsigned most = UINT_MAX;

    if (reading->own_exact > 0)
        most = exact / reading->own_exact;
    if (reading->own_wildcard > 0 && (wildcard - 2) / reading->own_wildcard < most)
        most = (wildcard - 2) / reading->own_wildcard;
    return most;
}

static void fill(struct pg_subindex *index, unsigned count,
                 int (*text_of)(char *, size_t, unsigned))
{
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        struct pg_filter filter;

        text_of(text, sizeof(text), i);
        if (pg_topic_filter_check(pg_bytes_str(text), &filter) != PG_TOPIC_NONE ||
            pg_subindex_acquire(index, &filter, i % 4) == PG_NODE_NONE)
            abort();
        if (i % 64 == 0)
            rcu_quiescent_state();
    }
    rcu_barrier();
    rcu_barrier();
}

static struct pg_subindex *index_new(void)
{
    struct pg_subindex *index = pg_subindex_new(4);

    if (index == NULL)
        abort();
    return index;
}

static void measure_bytes(const char *name, unsigned count,
                          int (*text_of)(char *, size_t, unsigned))
{
    struct pg_subindex *index = index_new();
    struct pg_subindex_stats before, after;
    size_t heap = heap_bytes();
    double begin, us;

    pg_subindex_count(index, &before);
    begin = now_us();
    fill(index, count, text_of);
    us = (now_us() - begin) / count;
    pg_subindex_count(index, &after);
    printf("%-9s %9u filters  %6.1f bytes each by the allocator, %6.1f by its own count, %.2f us "
           "to add\n",
           name, count, (double)(heap_bytes() - heap) / count,
           (double)(after.bytes - before.bytes) / count, us);
    pg_subindex_free(&index);
}

/* The least time for a match on average over so many topics. */
static void measure_match(const struct reading *reading, unsigned exact, unsigned wildcard)
{
    enum { TOPICS = 200000, PART = 20000, ROUNDS = 5 };
    struct pg_subindex *index = index_new();
    unsigned known = topics_of(reading, exact, wildcard);
    char(*topics)[48] = malloc(TOPICS * sizeof(*topics));
    struct pg_match found = {0};
    double best = 1e9;
    size_t hits = 0;

    if (topics == NULL)
        abort();
    fill(index, exact, reading->exact);
    fill(index, wildcard, reading->wildcard);
    for (unsigned i = 0; i < TOPICS; i++)
        reading->topic(topics[i], sizeof(topics[i]), random_below(known));
    for (unsigned part = 0; part < TOPICS / PART * ROUNDS; part++) {
        unsigned first = part * PART % TOPICS;
        double begin = now_us(), us;

        for (unsigned i = first; i < first + PART; i++) {
            hits += pg_subindex_match(index, pg_bytes_str(topics[i]), &found);
            if (i % 64 == 0)
                rcu_quiescent_state();
        }
        us = (now_us() - begin) / PART;
        best = us < best ? us : best;
    }
    printf("match     %-32s %.2f hits, %.3f us\n", reading->name, (double)hits / TOPICS / ROUNDS,
           best);
    pg_match_release(&found);
    free(topics);
    pg_subindex_free(&index);
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000000;
    const unsigned exact_tenths[] = {9, 5, 1};

    if (count < 100)
        return 2;
    rcu_register_thread();
    measure_bytes("exact", count, exact_text);
    measure_bytes("wildcard", count, wildcard_text);
    for (size_t i = 0; i < sizeof(exact_tenths) / sizeof(exact_tenths[0]); i++) {
        unsigned exact = count / 10 * exact_tenths[i];

        printf("%u exact and %u wildcard filters:\n", exact, count - exact);
        for (size_t k = 0; k < sizeof(readings) / sizeof(readings[0]); k++)
            measure_match(&readings[k], exact, count - exact);
    }
    rcu_unregister_thread();
    return 0;
}
