/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

/* What is measured: time, the processor time and memory of a process as the kernel counts them, its
 * system calls by strace, and histograms. One thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t measure_now_ns(void);

/* ---- processes ------------------------------------------------------------------------------- */

struct measure_cpu {
    double total_s;          /* on the processor, all threads that live, to the nanosecond */
    double user_s, system_s; /* the same by the clock tick, threads that ended included */
    unsigned threads;
};

/* false: there is no such process, or /proc does not tell. Values grow from call to call; their
 * differences count, as long as no thread ends in between. */
bool measure_cpu_read(pid_t pid, struct measure_cpu *out);

/* Bytes of anonymous resident memory (heap, stacks; not the code, not what the kernel holds for
 * sockets). false as above. */
bool measure_memory_read(pid_t pid, uint64_t *out);

/* ---- system calls ---------------------------------------------------------------------------- */

/* strace -c on all threads of a process. It slows the process down by far, so processor time and
 * latency mean nothing meanwhile. */
struct measure_trace {
    pid_t strace;
    char file[64];
};

/* Returns once every thread of `pid` is traced. false after the reason was printed. */
bool measure_trace_start(struct measure_trace *trace, pid_t pid);
/* Stop, and tell how many calls there were. false after the reason was printed. */
bool measure_trace_stop(struct measure_trace *trace, uint64_t *calls);

/* ---- histogram ------------------------------------------------------------------------------- */

/* Of nanoseconds, to 1.6 percent: each power of two has 64 steps. */
#define HISTOGRAM_STEPS   64u
#define HISTOGRAM_BUCKETS (59u * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned bucket = (unsigned)value;
    if (value >= HISTOGRAM_STEPS) {
        unsigned shift = 57u - (unsigned)__builtin_clzll(value);
        bucket = (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value >> shift) - HISTOGRAM_STEPS;
    }
    h->buckets[bucket]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

void histogram_clear(struct histogram *h);
/* The value that a part of all (0.99) does not exceed; 0 of an empty histogram. */
uint64_t histogram_at(const struct histogram *h, double part);

#endif
