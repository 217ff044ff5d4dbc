/* SPDX-License-Identifier: Apache-2.0 */

/* What the segment log costs: batches of 64 messages of 340 bytes, each synced, until there are
 * 400 MB; then the recovery. Arguments: the folder to work in (default /tmp), batches. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "segment_log.h"

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "bench_segment_log: %s\n", what);
    exit(1);
}

static int count(void *context, struct pg_log_position position, uint64_t sequence,
                 struct pg_bytes body)
{
    (void)position;
    (void)sequence;
    *(uint64_t *)context += body.len;
    return 0;
}

int main(int argc, char **argv)
{
    static char message[64][340];
    char dir[512];
    struct iovec ranges[64];
    struct pg_seglog *log;
    struct pg_error error;
    uint64_t found = 0;
    struct pg_seglog_options options = {.batch = count, .context = &found};
    long batches = argc > 2 ? atol(argv[2]) : 18400;
    struct pg_log_position at;

    snprintf(dir, sizeof(dir), "%s/bench-seglog-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    must(mkdtemp(dir) != NULL, "cannot make a folder");
    must(pg_seglog_open(dir, &options, &log, &error) == 0, error.text);
    for (int i = 0; i < 64; i++) {
        memset(message[i], i, sizeof(message[i]));
        ranges[i] = (struct iovec){.iov_base = message[i], .iov_len = sizeof(message[i])};
    }
    double began = now_s();
    for (long i = 0; i < batches; i++) {
        must(pg_seglog_append(log, ranges, 64, &at) == 0, "an append failed");
        must(pg_seglog_sync(log) == 0, "a sync failed");
    }
    double took = now_s() - began;
    printf("append and fdatasync: %.0f batches/s, %.0f messages/s, %.0f MB/s\n",
           (double)batches / took, (double)batches * 64 / took, (double)batches * 0.02176 / took);
    must(pg_seglog_close(&log) == 0, "closing failed");
    began = now_s();
    must(pg_seglog_open(dir, &options, &log, &error) == 0, error.text);
    printf("recovery: %.0f MB in %.3f s\n", (double)found / 1e6, now_s() - began);
    for (uint32_t i = 0; i < pg_seglog_segment_count(log); i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%016u.seg", dir,
                 (unsigned)pg_seglog_segment_at(log, i).number);
        unlink(path);
    }
    must(pg_seglog_close(&log) == 0, "closing failed");
    return rmdir(dir);
}
