/* SPDX-License-Identifier: Apache-2.0 */

/* What the kernel tells about a process, and histograms.
 *
 * Processor time comes from /proc/PID/task/TID/schedstat, which counts nanoseconds on the processor
 * for each thread; /proc/PID/stat divides it into user and system time by the clock tick (10 ms).
 * Memory is RssAnon of /proc/PID/status. System calls are counted by strace, started as a child and
 * ended by SIGINT, upon which it detaches and writes its summary. One thread. */

#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRACE_PATIENCE_NS 10000000000u /* how long strace may take to attach */

extern char **environ;

uint64_t measure_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- processes ------------------------------------------------------------------------------- */

/* A file of /proc as text. false if it cannot be read. */
static bool read_text(const char *path, char *out, size_t room)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(out, 1, room - 1, file);
    out[len] = '\0';
    fclose(file);
    return len > 0;
}

static bool add_thread(pid_t pid, const char *thread, struct measure_cpu *out)
{
    char path[320], text[256];
    unsigned long long on_cpu_ns;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, thread);
    if (!read_text(path, text, sizeof(text)) || sscanf(text, "%llu", &on_cpu_ns) != 1)
        return false;
    out->total_s += (double)on_cpu_ns / 1e9;
    out->threads++;
    return true;
}

bool measure_cpu_read(pid_t pid, struct measure_cpu *out)
{
    char path[64], text[1024];
    unsigned long user, system;

    memset(out, 0, sizeof(*out));
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return false;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] != '.')
            add_thread(pid, entry->d_name, out); /* one that just ended is not counted */
    }
    closedir(tasks);

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof(text)))
        return false;
    const char *fields = strrchr(text, ')'); /* the name before it may hold anything */
    if (!fields || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                          &system) != 2)
        return false;
    out->user_s = (double)user / (double)sysconf(_SC_CLK_TCK);
    out->system_s = (double)system / (double)sysconf(_SC_CLK_TCK);
    return out->threads > 0;
}

bool measure_memory_read(pid_t pid, uint64_t *out)
{
    char path[64], text[4096];
    unsigned long long kib;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (!read_text(path, text, sizeof(text)))
        return false;
    const char *row = strstr(text, "\nRssAnon:");
    if (!row || sscanf(row, "\nRssAnon: %llu kB", &kib) != 1)
        return false;
    *out = kib * 1024;
    return true;
}

/* ---- system calls ---------------------------------------------------------------------------- */

static bool is_traced(pid_t pid, const char *thread)
{
    char path[320], text[4096];
    long tracer;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, thread);
    if (!read_text(path, text, sizeof(text)))
        return true; /* it ended */
    const char *row = strstr(text, "\nTracerPid:");
    return row && sscanf(row, "\nTracerPid: %ld", &tracer) == 1 && tracer != 0;
}

static bool all_traced(pid_t pid)
{
    char path[64];
    bool all = true;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return false;
    for (struct dirent *entry; all && (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] != '.')
            all = is_traced(pid, entry->d_name);
    }
    closedir(tasks);
    return all;
}

bool measure_trace_start(struct measure_trace *trace, pid_t pid)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", (int)pid);
    snprintf(trace->file, sizeof(trace->file), "/tmp/polygate-bench-%d-XXXXXX", (int)getpid());
    int fd = mkstemp(trace->file);
    if (fd < 0) {
        fprintf(stderr, "polygate-bench: %s: %s\n", trace->file, strerror(errno));
        return false;
    }
    close(fd);

    char *words[] = {(char[]){"strace"}, (char[]){"-c"}, (char[]){"-f"},
                     (char[]){"-q"},     (char[]){"-o"}, trace->file,
                     (char[]){"-p"},     number,         NULL};
    int error = posix_spawnp(&trace->strace, "strace", NULL, NULL, words, environ);
    if (error != 0) {
        fprintf(stderr, "polygate-bench: cannot start strace: %s\n", strerror(error));
        unlink(trace->file);
        return false;
    }
    for (uint64_t start = measure_now_ns(); !all_traced(pid);) {
        struct timespec pause = {.tv_nsec = 10000000};
        if (waitpid(trace->strace, NULL, WNOHANG) != 0 ||
            measure_now_ns() - start > TRACE_PATIENCE_NS) {
            fprintf(stderr, "polygate-bench: strace cannot trace process %d\n", (int)pid);
            kill(trace->strace, SIGTERM);
            unlink(trace->file);
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

bool measure_trace_stop(struct measure_trace *trace, uint64_t *calls)
{
    char line[256];
    bool found = false;

    kill(trace->strace, SIGINT);
    while (waitpid(trace->strace, NULL, 0) < 0 && errno == EINTR)
        continue;
    FILE *file = fopen(trace->file, "re");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long long count;
        /* % time, seconds, usecs/call, calls, errors (may be empty), "total" */
        if (strstr(line, " total") && sscanf(line, "%*f %*f %*u %llu", &count) == 1) {
            *calls = count;
            found = true;
        }
    }
    if (file)
        fclose(file);
    unlink(trace->file);
    if (!found)
        fprintf(stderr, "polygate-bench: strace wrote no summary\n");
    return found;
}

/* ---- histogram ------------------------------------------------------------------------------- */

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

/* The highest value that falls into a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    return ((uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << shift) - 1;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)((double)h->count * part + 0.5), seen = 0;

    if (h->count == 0)
        return 0;
    if (wanted < 1)
        wanted = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted)
            return bucket_top(i) < h->max ? bucket_top(i) : h->max;
    }
    return h->max;
}
