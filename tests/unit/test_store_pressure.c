/* SPDX-License-Identifier: Apache-2.0 */

/* The core with the embedded store on a disk that stands still: publishers whose messages the store
 * keeps are not read on before it gives up on any of them, others are, nobody is taken for silent
 * because he was not listened to, and all goes on when the disk does. */

#include <dlfcn.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "counter.h"
#include "scratch.h"
#include "store_disk.h"
#include "suite.h"
#include "testbed.h"

#define BACKLOG_BYTES (256 * 1024)
#define IDLE_MS       150
/* Far more than half of the backlog takes. */
#define MANY 1000u

static struct {
    _Atomic bool on;
    sem_t go;
} standstill;

/* In front of the C library's. */
__attribute__((visibility("default"))) int fdatasync(int fd)
{
    if (standstill.on)
        sem_wait(&standstill.go);
    return ((__typeof__(fdatasync) *)dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

static struct testbed bed;
static char dir[SCRATCH_PATH_MAX];

static void start(void)
{
    struct pg_error error;
    scratch_make(dir);
    const struct pg_store_disk_options options = {
        .dir = dir,
        .fsync = PG_SEGLOG_ALWAYS,
        .segment_bytes = 1024 * 1024,
        .map_bytes = 64u << 20,
        .retention_s = 3600,
        .backlog_bytes = BACKLOG_BYTES,
    };
    struct pg_store *store = pg_store_disk_open(&options, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(store);
    sem_init(&standstill.go, 0, 0);
    testbed_start(&bed, 2, store);
}

static void stop(void)
{
    testbed_stop(&bed);
    sem_destroy(&standstill.go);
    scratch_remove(dir);
}

/* And everybody knows what came of it. */
static void disk_goes_on(void)
{
    standstill.on = false;
    sem_post(&standstill.go);
    bed.server.store->ops->drain(bed.server.store);
    testbed_settle(&bed);
}

struct asking {
    struct probe *probe;
    bool reads;
};

static void do_ask(void *arg)
{
    struct asking *asking = arg;
    asking->reads = pg_conn_wants_bytes(asking->probe->conn);
}

static bool is_read(struct probe *probe)
{
    struct asking asking = {.probe = probe};
    testbed_run(&bed, probe->worker, do_ask, &asking);
    return asking.reads;
}

static void do_set_idle(void *arg)
{
    pg_conn_set_idle(((struct probe *)arg)->conn, IDLE_MS, PG_KEEPALIVE_TIMEOUT);
}

static void set_idle(struct probe *probe)
{
    testbed_run(&bed, probe->worker, do_set_idle, probe);
}

static struct pg_store_stats stats(void)
{
    struct pg_store_stats now;
    bed.server.store->ops->stats(bed.server.store, &now);
    return now;
}

static uint64_t publishers_held(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 2; i++)
        sum += pg_counter_get(pg_worker_counters(bed.server.workers[i]), PG_COUNT_PUBLISHERS_HELD);
    return sum;
}

static void client(struct probe *probe, unsigned worker, const char *id)
{
    probe_come(&bed, probe, worker, id);
    CU_ASSERT_EQUAL(probe->admission, PG_OK);
}

/* Publish until its connection is not read any more; how many. */
static unsigned fill(struct probe *probe, bool retain)
{
    char payload[1001];
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    unsigned n = 0;
    while (n < MANY && is_read(probe)) {
        n++;
        (void)probe_publish(&bed, probe, "t", payload, retain ? 0 : 1, retain);
    }
    return n;
}

/* A session that is away, to which "t" goes. */
static void absent_subscriber(void)
{
    struct probe sub = {0};
    probe_come_durable(&bed, &sub, 0, "away");
    CU_ASSERT_EQUAL(sub.admission, PG_OK);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &sub, "t", 1), PG_PENDING);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &sub, PATIENCE_S));
    probe_close(&bed, &sub, PG_PEER_CLOSED);
    probe_free(&sub);
}

static void publishers_are_held_off_before_the_store_refuses_anything(void)
{
    start();
    absent_subscriber();
    struct probe near = {0}, far = {0}, live = {0}, lazy = {0};
    client(&near, 0, "near");
    client(&far, 1, "far"); /* on another worker than the session */
    client(&live, 1, "live");
    standstill.on = true;
    unsigned sent = fill(&near, false);
    CU_ASSERT(sent > 50 && sent < MANY);
    CU_ASSERT_EQUAL(near.published_count, 0); /* neither acknowledged nor refused */
    CU_ASSERT_EQUAL(stats().refused, 0);
    CU_ASSERT_EQUAL(stats().health, PG_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(stats().detail, "publishers are held off"));
    CU_ASSERT_EQUAL(fill(&far, false), 1);
    CU_ASSERT_EQUAL(publishers_held(), 2);
    CU_ASSERT_EQUAL(fill(&live, true), 1); /* a retained one is kept as well */
    /* What the store has no part in goes on. */
    client(&lazy, 0, "lazy");
    for (unsigned i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(probe_publish(&bed, &lazy, "u", "x", 0, false), PG_NO_SUBSCRIBERS);
    for (unsigned i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(probe_publish(&bed, &lazy, "u", "x", 1, false), PG_PENDING);
    CU_ASSERT_TRUE(is_read(&lazy));
    /* Who is not listened to is not silent; the other one, whose time began later, is. */
    set_idle(&near);
    set_idle(&far);
    set_idle(&lazy);
    CU_ASSERT_TRUE(testbed_wait(probe_is_closed, &lazy, PATIENCE_S));
    CU_ASSERT_FALSE(near.is_closed);
    CU_ASSERT_FALSE(far.is_closed);

    disk_goes_on();
    CU_ASSERT_TRUE(is_read(&near));
    CU_ASSERT_TRUE(is_read(&far));
    CU_ASSERT_TRUE(is_read(&live));
    CU_ASSERT_EQUAL(near.published_count, sent);
    CU_ASSERT_EQUAL(near.published_reason, PG_OK);
    CU_ASSERT_EQUAL(far.published_reason, PG_OK);
    CU_ASSERT_EQUAL(stats().queued, sent + 1);
    CU_ASSERT_EQUAL(stats().health, PG_OK);
    CU_ASSERT_EQUAL(stats().refused, 0);
    stop();
}

/* One that goes while it is held off leaves nothing behind. */
static void publisher_that_goes_while_it_is_held_off(void)
{
    start();
    absent_subscriber();
    struct probe first = {0}, second = {0};
    client(&first, 0, "first");
    client(&second, 0, "second");
    standstill.on = true;
    (void)fill(&first, false);
    (void)fill(&second, false);
    probe_close(&bed, &first, PG_PEER_CLOSED);
    disk_goes_on();
    CU_ASSERT_TRUE(is_read(&second));
    stop();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(publishers_are_held_off_before_the_store_refuses_anything),
        TEST(publisher_that_goes_while_it_is_held_off),
        CU_TEST_INFO_NULL,
    };
    return run_suite("store_pressure", tests);
}
