/* SPDX-License-Identifier: Apache-2.0 */

/* What the subscription index costs at 1,000,000 subscriptions: bytes for each exact and each
 * wildcard filter, microseconds for a match.
 *
 *     bench_subindex [COUNT]
 *
 * Exact filters are 23 bytes long; wildcard ones have four levels on average, in three forms. Bytes
 * are the growth of the allocator's count (mallinfo2), so they hold everything; next to them stands
 * what the index itself counts. Budgets: 80 bytes exact, 180 wildcard, 0.7 us a match. */

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

/* Three for each device, which all match door_topic() of it: one exact, two with wildcards. */
static int device_text(char *out, size_t room, unsigned n)
{
    switch (n % 3) {
    case 0:
        return snprintf(out, room, "fleet/%07u/events/door", n / 3);
    case 1:
        return snprintf(out, room, "fleet/%07u/+/door", n / 3);
    default:
        return snprintf(out, room, "fleet/%07u/events/#", n / 3);
    }
}

/* Half of them exact, the others with wildcards; two of these are for all devices. */
static int crowd_text(char *out, size_t room, unsigned n)
{
    switch (n) {
    case 0:
        return snprintf(out, room, "fleet/+/events/#");
    case 1:
        return snprintf(out, room, "+/+/+/door");
    default:
        return n % 2 == 0 ? snprintf(out, room, "fleet/%07u/events/door", n)
                          : snprintf(out, room, "fleet/%07u/+/status", n);
    }
}

static void fill(struct pg_subindex *index, const char *name, unsigned count,
                 int (*text_of)(char *, size_t, unsigned))
{
    size_t heap = heap_bytes();
    struct pg_subindex_stats before, after;
    double begin, us;

    pg_subindex_count(index, &before);
    begin = now_us();
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
    us = (now_us() - begin) / count;
    rcu_barrier();
    rcu_barrier();
    pg_subindex_count(index, &after);
    printf("%-9s %9u filters  %6.1f bytes each by the allocator, %6.1f by its own count, %.2f us "
           "to add\n",
           name, count, (double)(heap_bytes() - heap) / count,
           (double)(after.bytes - before.bytes) / count, us);
}

static void measure(struct pg_subindex *index, const char *name, unsigned count,
                    int (*topic_of)(char *, size_t, unsigned))
{
    enum { TOPICS = 200000, ROUNDS = 3 };
    char(*topics)[48] = malloc(TOPICS * sizeof(*topics));
    struct pg_match found = {0};
    double best = 1e9;
    size_t hits = 0;

    if (topics == NULL)
        abort();
    for (unsigned i = 0; i < TOPICS; i++)
        topic_of(topics[i], sizeof(topics[i]), random_below(count));
    for (unsigned round = 0; round < ROUNDS; round++) {
        double begin = now_us(), us;

        for (unsigned i = 0; i < TOPICS; i++) {
            hits += pg_subindex_match(index, pg_bytes_str(topics[i]), &found);
            if (i % 64 == 0)
                rcu_quiescent_state();
        }
        us = (now_us() - begin) / TOPICS;
        best = us < best ? us : best;
    }
    printf("match     %-32s %.2f hits, %.3f us\n", name, (double)hits / TOPICS / ROUNDS, best);
    pg_match_release(&found);
    free(topics);
}

static int unknown_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "nobody/%07u/listens", n);
}

static int fleet_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "fleet/%07u/engine/status", n / 3 * 3);
}

static int events_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "fleet/%07u/events/door", n / 3 * 3 + 2);
}

static int site_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "site/a/device/%07u", n / 3 * 3 + 1);
}

static int door_topic(char *out, size_t room, unsigned n)
{
    return snprintf(out, room, "fleet/%07u/events/door", n);
}

/* Of one that has an exact filter. */
static int crowd_topic(char *out, size_t room, unsigned n)
{
    return door_topic(out, room, n < 2 ? 2 : n / 2 * 2);
}

/* An index of its own for one pair of filters and topics. */
static bool measure_alone(const char *title, unsigned filters, unsigned topics,
                          int (*text_of)(char *, size_t, unsigned),
                          int (*topic_of)(char *, size_t, unsigned))
{
    struct pg_subindex *index = pg_subindex_new(4);

    if (index == NULL)
        return false;
    puts(title);
    fill(index, "mixed", filters, text_of);
    measure(index, "3 filters, random", topics, topic_of);
    pg_subindex_free(&index);
    return true;
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000000;
    struct pg_subindex *exact, *index;

    rcu_register_thread();
    exact = pg_subindex_new(4);
    index = pg_subindex_new(4);
    if (exact == NULL || index == NULL)
        return 1;
    fill(exact, "exact", count, exact_text);
    measure(exact, "exact, random", count, exact_text);
    fill(index, "wildcard", count, wildcard_text);
    measure(index, "+ in the middle, random", count, fleet_topic);
    measure(index, "+ before, random", count, site_topic);
    measure(index, "# at the end, random", count, events_topic);
    pg_subindex_free(&exact);
    pg_subindex_free(&index);

    index = pg_subindex_new(4);
    if (index == NULL)
        return 1;
    puts("nine of ten exact, one of ten wildcard:");
    fill(index, "exact", count / 10 * 9, exact_text);
    fill(index, "wildcard", count / 10, wildcard_text);
    measure(index, "exact, random", count / 10 * 9, exact_text);
    measure(index, "+ in the middle, random", count / 10, fleet_topic);
    measure(index, "nobody", count, unknown_topic);
    pg_subindex_free(&index);

    if (!measure_alone("three filters of its own for each topic, two with wildcards:", count,
                       count / 3, device_text, door_topic) ||
        !measure_alone("one of its own for each topic, and two with wildcards for all:", count,
                       count, crowd_text, crowd_topic))
        return 1;
    rcu_unregister_thread();
    return 0;
}
