/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_SHAPE_H
#define BENCH_SHAPE_H

/* Who publishes to whom: the scenarios that carry messages, as data. */

#include <stdbool.h>

#include "peer.h"

/* Subscribers of a shape get the messages of the publishers from `first` on, `count` of them. */
struct shape_range {
    unsigned first, count;
};

struct shape {
    const char *name;
    const char *help;
    /* Each publisher has so many topics and uses them in turn. */
    unsigned topics;
    /* One subscriber of the group gets each message, instead of all that match. */
    bool shared;
    void (*topic)(unsigned publisher, unsigned topic, char out[PEER_FILTER_MAX]);
    void (*filter)(unsigned subscriber, char out[PEER_FILTER_MAX]);
    /* A subscription that matches nothing but lies next to those that do. */
    void (*filler)(unsigned n, char out[PEER_FILTER_MAX]);
    struct shape_range (*range)(unsigned subscriber);
    /* Defaults of the options. */
    unsigned publishers, subscribers, burst, outstanding, rate, fillers;
};

/* NULL if there is no shape of this name. */
const struct shape *shape_find(const char *name);
/* The n-th; NULL behind the last. */
const struct shape *shape_at(unsigned n);

/* Whether the numbers of clients fit the shape; otherwise why not. */
const char *shape_refuses(const struct shape *shape);
/* Subscribers that get one message. */
unsigned shape_copies(const struct shape *shape);

#endif
