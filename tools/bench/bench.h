/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_H
#define BENCH_H

/* What the scenarios of polygate-bench share: options, the result, and how a run fails. One thread,
 * one loop. */

#include <ev.h>
#include <jansson.h>
#include <sys/types.h>

#include "measure.h"
#include "peer.h"

#define BENCH_PAYLOAD_MIN 16u
#define BENCH_PAYLOAD_MAX 65536u
#define BENCH_CLIENTS_MAX 60000u

struct bench_options {
    const char *scenario;
    const char *host;
    unsigned port;
    unsigned pid; /* of the broker; 0: not measured */
    unsigned version;
    unsigned qos;
    unsigned publishers, subscribers;
    unsigned burst;       /* messages in one write */
    unsigned outstanding; /* of one publisher: sent and not complete at every subscriber */
    unsigned payload;     /* bytes */
    unsigned rate;        /* messages a second of all publishers; 0: as fast as they complete */
    unsigned fillers;     /* subscriptions that nothing matches */
    unsigned clients;     /* of storm and idle */
    unsigned base;        /* clients of the first measurement of idle */
    unsigned parallel;    /* connections that may be opening at a time; 0: all */
    unsigned warmup_ms, measure_ms, patience_ms;
    unsigned tls, websocket; /* bool */
    unsigned tls_version;    /* 12 or 13; 0: any */
    unsigned resume;         /* bool: TLS sessions, in storm */
    const char *certificate; /* of the clients; NULL: none */
    unsigned syscalls;       /* bool: trace instead of measuring processor time */
};

extern struct bench_options bench_options;
extern struct ev_loop *bench_loop;
/* The line that is printed: scenarios add to it. */
extern json_t *bench_result;

/* The run has failed, for a reason that goes to standard error and into the result. It goes on:
 * several reasons may be found. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool bench_failed(void);

/* Add a number to the result, in whole or with 6 digits that count. */
void bench_report_count(const char *name, uint64_t value);
void bench_report_number(const char *name, double value);
/* {"p50":..., "p90", "p99", "p99.9", "max"} in microseconds. */
void bench_report_latency(const char *name, const struct histogram *histogram);

/* The broker's processor time; ends the program if it cannot be read. Zero without --pid. */
struct measure_cpu bench_broker_cpu(void);
/* Processor time of this process in seconds. */
double bench_own_cpu(void);

/* The scenarios. Each returns when it is done; failures were told by bench_fail(). */
void bench_load(void);
void bench_storm(void);
void bench_idle(void);

#endif
