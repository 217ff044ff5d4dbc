/* SPDX-License-Identifier: Apache-2.0 */

/* What the embedded store costs: messages of 340 bytes for offline sessions, 64 at a time with each
 * group synced; memory for each entry; the time that a start with a million of them takes; and
 * reading them all. The numbers have budgets, and the exit status is 1 when one is missed; how fast
 * the disk syncs, which some of them depend on, is measured beside them. Arguments: the folder to
 * work in (default /tmp), messages (default 1000000). */

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_disk.h"

#define SESSIONS 100u
#define GROUP    64u

static char dir[512];
static struct pg_store *store;
static struct pg_store_disk_options options;
static struct pg_store_session *sessions[SESSIONS];
static bool missed;
static double disk_limit; /* messages a second, if there were nothing but syncs of groups */

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
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static void budget(const char *what, double value, const char *unit, double limit, bool at_most)
{
    bool ok = at_most ? value <= limit : value >= limit;
    printf("%-44s %12.2f %-10s %s %.0f: %s\n", what, value, unit, at_most ? "at most" : "at least",
           limit, ok ? "ok" : "MISSED");
    missed = missed || !ok;
}

/* ---- requests ------------------------------------------------------------------------------- */

struct waiting {
    struct pg_store_done done; /* first */
    struct pg_store_fetch fetch;
    _Atomic unsigned left;
    sem_t reached;
    struct pg_store_page *page;
};

static void answered(struct pg_store_done *done, enum pg_reason result)
{
    struct waiting *w = (struct waiting *)done;
    must(result == PG_OK, "a request failed");
    if (--w->left == 0)
        sem_post(&w->reached);
}

static void fetched(struct pg_store_fetch *fetch, struct pg_store_page *page, enum pg_reason result)
{
    struct waiting *w = (struct waiting *)((char *)fetch - offsetof(struct waiting, fetch));
    must(result == PG_OK, "a fetch failed");
    w->page = page;
    sem_post(&w->reached);
}

static bool got_session(struct pg_store_restorer *restorer, const struct pg_restored_session *s)
{
    (void)restorer;
    sessions[strtoul((const char *)s->record.client_id.data, NULL, 10)] = s->handle;
    return true;
}

static void open_store(void)
{
    struct pg_error error;
    struct pg_store_restorer restorer = {.session = got_session};
    store = pg_store_disk_open(&options, &error);
    must(store != NULL, "cannot open");
    must(store->ops->restore(store, &restorer, &error), error.text);
}

static struct pg_msg *message(void)
{
    char payload[300];
    memset(payload, 'p', sizeof(payload));
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("fleet/vehicle/12345678"),
                               .payload = {.data = (uint8_t *)payload, .len = sizeof(payload)},
                               .publisher = PG_BYTES_OF("publisher"),
                               .protocol = "mqtt",
                               .qos = 1};
    return pg_msg_new(&spec);
}

static void make_sessions(struct waiting *w)
{
    w->left = SESSIONS;
    for (unsigned i = 0; i < SESSIONS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%u", i);
        struct pg_session_record record = {.client_id = pg_bytes_str(name), .expiry_s = 3600};
        sessions[i] = store->ops->session_open(store, record.client_id);
        store->ops->session_put(store, sessions[i], &record, &w->done);
    }
    sem_wait(&w->reached);
}

/* Message `n` is for one session: a group of publishers waits for 64 answers, then goes on. */
static void enqueue_group(struct waiting *w, uint64_t first, unsigned count)
{
    w->left = count;
    for (uint64_t n = first; n < first + count; n++) {
        struct pg_msg *msg = message();
        struct pg_store_entry entry = {.number = n / SESSIONS + 1, .msg = msg, .qos = 1};
        store->ops->enqueue(store, sessions[n % SESSIONS], &entry, &w->done);
        pg_msg_unref(&msg);
    }
    sem_wait(&w->reached);
}

static double fill(uint64_t from, uint64_t to)
{
    struct waiting w = {.done.fn = answered};
    sem_init(&w.reached, 0, 0);
    double began = now_s();
    for (uint64_t n = from; n < to; n += GROUP)
        enqueue_group(&w, n, (unsigned)(to - n < GROUP ? to - n : GROUP));
    return now_s() - began;
}

static uint64_t written_to_files(void)
{
    char line[128];
    uint64_t bytes = 0;
    FILE *io = fopen("/proc/self/io", "re");
    while (io && fgets(line, sizeof(line), io)) {
        if (strncmp(line, "write_bytes: ", 13) == 0)
            bytes = strtoull(line + 13, NULL, 10);
    }
    if (io)
        fclose(io);
    return bytes;
}

/* ---- what is measured ----------------------------------------------------------------------- */

static void measure_sync(void)
{
    char path[600];
    static char block[GROUP * 400];
    snprintf(path, sizeof(path), "%s/sync", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && posix_fallocate(fd, 0, 64 * 1024 * 1024) == 0, "cannot make a file");
    must(fsync(fd) == 0, "cannot sync");
    double began = now_s();
    for (off_t i = 0; i < 500; i++)
        must(pwrite(fd, block, sizeof(block), i * (off_t)sizeof(block)) > 0 && fdatasync(fd) == 0,
             "cannot write");
    double each = (now_s() - began) / 500;
    printf("%-44s %12.2f us, %.0f groups of %u a second at most\n",
           "the disk: write 25 KB and sync", each * 1e6, 1 / each, GROUP);
    disk_limit = GROUP / each;
    close(fd);
    unlink(path);
}

static void measure_memory(uint64_t entries)
{
    struct pg_store_stats stats;
    store->ops->stats(store, &stats);
    must(stats.queued == entries, "entries are missing");
    char what[64];
    snprintf(what, sizeof(what), "index for each of %llu entries", (unsigned long long)entries);
    budget(what, (double)stats.index_bytes / (double)entries, "bytes", 32, true);
}

static void measure_queueing(uint64_t count)
{
    struct waiting w = {.done.fn = answered};
    struct pg_store_stats stats;
    sem_init(&w.reached, 0, 0);
    open_store();
    make_sessions(&w);
    fill(0, 10000);
    measure_memory(10000);
    uint64_t written = written_to_files();
    double took = fill(10000, count);
    written = written_to_files() - written;
    measure_memory(count);
    store->ops->stats(store, &stats);
    double rate = (double)(count - 10000) / took;
    if (disk_limit > 150000)
        budget("queued for offline sessions, 64 at a time", rate, "a second", 150000, false);
    else
        printf("%-44s %12.2f a second (the disk is too slow for a budget)\n",
               "queued for offline sessions, 64 at a time", rate);
    printf("%-44s %12.2f %%\n", "of what the disk's syncs would allow", 100 * rate / disk_limit);
    budget("write amplification, of the log",
           (double)stats.written_bytes / (double)stats.message_bytes, "times", 2, true);
    if (written > 0)
        printf("%-44s %12.2f times the payload of 300 bytes\n",
               "bytes to the device, as the system counts",
               (double)written / (double)(count - 10000) / 300);
    printf("%-44s %12.2f\n", "messages in a group", (double)count / (double)stats.commits);
    pg_store_free(&store);
}

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure_start(uint64_t count)
{
    struct mallinfo2 before = mallinfo2();
    double began = now_s(), cpu = cpu_s();
    open_store();
    budget("start with all of them queued", now_s() - began, "s", 1, true);
    printf("%-44s %12.2f s\n", "of which computing", cpu_s() - cpu);
    struct mallinfo2 after = mallinfo2();
    size_t bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    printf("%-44s %12.2f bytes\n", "memory after it, for each entry",
           (double)bytes / (double)count);
}

static void measure_reading(uint64_t count)
{
    struct waiting w = {.fetch.fn = fetched};
    sem_init(&w.reached, 0, 0);
    uint64_t read = 0;
    double began = now_s();
    for (unsigned i = 0; i < SESSIONS; i++) {
        uint64_t next = 0;
        for (bool end = false; !end;) {
            store->ops->fetch(store, sessions[i], next, 64, 256 * 1024, &w.fetch);
            sem_wait(&w.reached);
            for (uint32_t k = 0; k < w.page->count; k++)
                store->ops->settle(store, sessions[i], w.page->entries[k].number);
            read += w.page->count;
            next = w.page->next;
            end = w.page->at_end;
            pg_store_page_free(&w.page);
        }
    }
    must(read == count, "messages are missing");
    printf("%-44s %12.0f a second\n", "read and settled, 64 at a time",
           (double)count / (now_s() - began));
    pg_store_free(&store);
}

static void clean(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder)) != NULL;)
        unlinkat(dirfd(folder), e->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

int main(int argc, char **argv)
{
    char log[600];
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    snprintf(dir, sizeof(dir), "%s/bench-store-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    must(mkdtemp(dir) != NULL, "cannot make a folder");
    must(count > 20000, "too few messages");
    options = (struct pg_store_disk_options){
        .dir = dir, .fsync = PG_SEGLOG_ALWAYS, .map_bytes = (size_t)1 << 30, .retention_s = 86400};
    measure_sync();
    measure_queueing(count);
    measure_start(count);
    measure_reading(count);
    snprintf(log, sizeof(log), "%s/log", dir);
    clean(log);
    clean(dir);
    return missed;
}
