/* SPDX-License-Identifier: Apache-2.0 */

/* Topics and filters of the scenarios that carry messages. Every message reaches a fixed number of
 * subscribers, so that a publisher knows from counting when a message is complete. */

#include "shape.h"

#include <stdio.h>
#include <string.h>

#include "bench.h"

/* The wildcard scenario: a message to topic k reaches the subscribers whose number modulo this is
 * k, which is 3 of 30. */
#define WILDCARD_TOPICS 10u

static void text(char *out, const char *format, unsigned a, unsigned b)
    __attribute__((format(printf, 2, 0)));
static void text(char *out, const char *format, unsigned a, unsigned b)
{
    snprintf(out, PEER_FILTER_MAX, format, a, b);
}

static void common_filler(unsigned n, char out[PEER_FILTER_MAX])
{
    text(out, n % 2 ? "bench/fill/+/%06u" : "bench/fill/%06u/state", n, 0);
}

/* ---- one to one ------------------------------------------------------------------------------ */

static void pair_topic(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX])
{
    text(out, "bench/pair/%06u", publisher, topic);
}

static void pair_filter(unsigned subscriber, char out[PEER_FILTER_MAX])
{
    pair_topic(subscriber, 0, out);
}

static struct shape_range pair_range(unsigned subscriber)
{
    return (struct shape_range){.first = subscriber, .count = 1};
}

/* ---- many to few: each subscriber has its part of the publishers ----------------------------- */

/* The first publisher of a subscriber's part. */
static unsigned part_start(unsigned subscriber)
{
    return (unsigned)((uint64_t)bench_options.publishers * subscriber / bench_options.subscribers);
}

static struct shape_range fan_in_range(unsigned subscriber)
{
    unsigned first = part_start(subscriber);
    return (struct shape_range){.first = first, .count = part_start(subscriber + 1) - first};
}

static void fan_in_topic(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX])
{
    unsigned subscriber = 0;

    (void)topic;
    while (part_start(subscriber + 1) <= publisher)
        subscriber++;
    text(out, "bench/in/%u/%06u", subscriber, publisher);
}

static void fan_in_filter(unsigned subscriber, char out[PEER_FILTER_MAX])
{
    text(out, "bench/in/%u/+", subscriber, 0);
}

/* ---- one to many ----------------------------------------------------------------------------- */

static void fan_out_topic(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX])
{
    text(out, "bench/out/%u", publisher, topic);
}

static void fan_out_filter(unsigned subscriber, char out[PEER_FILTER_MAX])
{
    (void)subscriber;
    text(out, bench_options.publishers == 1 ? "bench/out/0" : "bench/out/+", 0, 0);
}

static struct shape_range everybody(unsigned subscriber)
{
    (void)subscriber;
    return (struct shape_range){.first = 0, .count = bench_options.publishers};
}

/* ---- wildcards ------------------------------------------------------------------------------- */

static void wildcard_topic(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX])
{
    text(out, "bench/site/%u/%u/state", topic, publisher);
}

static void wildcard_filter(unsigned subscriber, char out[PEER_FILTER_MAX])
{
    static const char *const forms[] = {"bench/site/%u/+/state", "bench/site/%u/#",
                                        "bench/+/%u/+/state"};

    text(out, forms[subscriber / WILDCARD_TOPICS % 3], subscriber % WILDCARD_TOPICS, 0);
}

static void wildcard_filler(unsigned n, char out[PEER_FILTER_MAX])
{
    static const char *const forms[] = {"bench/site/%u/%06u/state", "bench/site/%u/+/event%06u",
                                        "bench/site/%u/%06u/#", "bench/+/%u/%06u/event"};

    text(out, forms[n % 4], n / 4 % WILDCARD_TOPICS, n + 1000);
}

/* ---- shared ---------------------------------------------------------------------------------- */

static void shared_topic(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX])
{
    text(out, "bench/shared/%06u", publisher, topic);
}

static void shared_filter(unsigned subscriber, char out[PEER_FILTER_MAX])
{
    (void)subscriber;
    text(out, "$share/group/bench/shared/+", 0, 0);
}

static const struct shape shapes[] = {
    {.name = "pairs",
     .help = "each publisher to one subscriber of its own",
     .topics = 1,
     .topic = pair_topic,
     .filter = pair_filter,
     .filler = common_filler,
     .range = pair_range,
     .publishers = 10,
     .burst = 16,
     .outstanding = 256},
    {.name = "fan-in",
     .help = "many publishers to few subscribers, each of which gets a part of them",
     .topics = 1,
     .topic = fan_in_topic,
     .filter = fan_in_filter,
     .filler = common_filler,
     .range = fan_in_range,
     .publishers = 500,
     .subscribers = 2,
     .burst = 1,
     .outstanding = 2},
    {.name = "fan-out",
     .help = "each message of the publishers to all subscribers",
     .topics = 1,
     .topic = fan_out_topic,
     .filter = fan_out_filter,
     .filler = common_filler,
     .range = everybody,
     .publishers = 1,
     .subscribers = 1000,
     .burst = 1,
     .outstanding = 1},
    {.name = "wildcard",
     .help = "wildcard subscribers, a tenth of which gets each message, among many subscriptions",
     .topics = WILDCARD_TOPICS,
     .topic = wildcard_topic,
     .filter = wildcard_filter,
     .filler = wildcard_filler,
     .range = everybody,
     .publishers = 20,
     .subscribers = 30,
     .burst = 16,
     .outstanding = 256,
     .fillers = 10000},
    {.name = "shared",
     .help = "publishers to one group of subscribers, one of which gets each message",
     .topics = 1,
     .shared = true,
     .topic = shared_topic,
     .filter = shared_filter,
     .filler = common_filler,
     .range = everybody,
     .publishers = 10,
     .subscribers = 10,
     .burst = 16,
     .outstanding = 256},
    {.name = "latency",
     .help = "pairs at a fixed rate",
     .topics = 1,
     .topic = pair_topic,
     .filter = pair_filter,
     .filler = common_filler,
     .range = pair_range,
     .publishers = 100,
     .burst = 1,
     .outstanding = 60000,
     .rate = 20000},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

const struct shape *shape_at(unsigned n)
{
    return n < SHAPES ? &shapes[n] : NULL;
}

const struct shape *shape_find(const char *name)
{
    for (unsigned i = 0; i < SHAPES; i++) {
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    }
    return NULL;
}

const char *shape_refuses(const struct shape *shape)
{
    const struct bench_options *o = &bench_options;

    if (o->publishers == 0 || o->subscribers == 0)
        return "there must be a publisher and a subscriber";
    if (shape->range == pair_range && o->publishers != o->subscribers)
        return "pairs need as many subscribers as publishers";
    if (shape->range == fan_in_range && o->publishers < o->subscribers)
        return "there must be a publisher for each subscriber";
    if (shape->topics > 1 && o->subscribers % shape->topics != 0)
        return "subscribers must be a multiple of 10";
    if ((uint64_t)o->publishers * o->subscribers > 10000000u && shape->range == everybody)
        return "publishers times subscribers must be at most 10000000";
    if (o->burst == 0 || o->outstanding < o->burst || o->outstanding > 60000)
        return "burst must be at least 1, and outstanding from burst to 60000";
    return NULL;
}

unsigned shape_copies(const struct shape *shape)
{
    if (shape->shared || shape->range != everybody)
        return 1;
    return bench_options.subscribers / shape->topics;
}
