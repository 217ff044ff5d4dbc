/* SPDX-License-Identifier: Apache-2.0 */

/* What the embedded store makes of the files that it finds: a log that ends at any byte, one that
 * is damaged, formats of other versions, files that do not belong together. */

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "store_bed.h"
#include "store_disk_copy.h"
#include "suite.h"

static char path[160];

static const char *log_path(unsigned segment)
{
    snprintf(path, sizeof(path), "%s/log/%016u.seg", dir, segment);
    return path;
}

static uint8_t *load(const char *file, size_t *size)
{
    struct stat st;
    int fd = open(file, O_RDONLY);
    CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    CU_ASSERT_EQUAL_FATAL(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return data;
}

static void save(const char *file, const uint8_t *data, size_t size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, data, size), (ssize_t)size);
    close(fd);
}

/* ---- a log that ends at any byte ------------------------------------------------------------ */

/* Everything of the one session that was given back. */
static void describe(char *to, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < restored.out_count; i++)
        used += (size_t)snprintf(to + used, size - used, "out %u/%u%s ",
                                 (unsigned)restored.outs[i].number, restored.outs[i].packet_id,
                                 restored.outs[i].received ? "+" : "");
    for (size_t i = 0; i < restored.receipt_count; i++)
        used += (size_t)snprintf(to + used, size - used, "in %u ", restored.receipts[i]);
    snprintf(to + used, size - used, "unrouted %u: %s", restored.unrouted,
             queue_of(restored.handle));
}

/* Wait for all before it. */
static void barrier(void)
{
    struct waiting *w = waiter();
    store->ops->fact_put(store, PG_BYTES_OF("a"), PG_BYTES_OF("b"), PG_BYTES_NONE, 0, &w->done);
    CU_ASSERT_EQUAL_FATAL(await(w), PG_OK);
}

/* One record of each kind after the other, each in a batch of its own. */
static void do_step(unsigned step, struct pg_store_session *session, struct pg_msg *exactly)
{
    static const uint32_t ids[] = {7, 8};
    struct pg_msg *msg = message("t", "shared");
    switch (step) {
    case 0:
        enqueue(session, 1, "one");
        break;
    case 1:
        enqueue(session, 2, "two");
        break;
    case 2: {
        struct pg_store_entry entry = {.number = 3,
                                       .msg = msg,
                                       .qos = 2,
                                       .share = PG_BYTES_OF("$share/g/t"),
                                       .ids = ids,
                                       .id_count = 2};
        store->ops->enqueue(store, session, &entry, NULL);
        break;
    }
    case 3:
        store->ops->send(store, session, 2, 20, NULL);
        break;
    case 4:
        store->ops->received(store, session, 2, NULL);
        break;
    case 5:
        store->ops->settle(store, session, 1);
        break;
    case 6:
        store->ops->receive(store, session, 77, exactly, NULL);
        break;
    case 7:
        enqueue_only(session, 4, exactly, NULL);
        break;
    case 8:
        store->ops->routed(store, exactly);
        break;
    case 9:
        store->ops->release(store, session, 77, NULL);
        break;
    default:
        store->ops->settle(store, session, 2);
        break;
    }
    pg_msg_unref(&msg);
    barrier();
}
#define STEPS 11u

static void a_log_that_ends_at_any_byte_is_a_moment_of_what_was_asked(void)
{
    static char moments[STEPS + 1][512], now[512];
    begin();
    struct pg_store_session *session = make_session("c1");
    struct pg_msg *exactly = message("q", "exactly");
    for (unsigned step = 0; step < STEPS; step++)
        do_step(step, session, exactly);
    pg_msg_unref(&exactly);
    pg_store_free(&store);
    size_t size, used;
    uint8_t *data = load(log_path(1), &size);
    for (used = size; used > 0 && data[used - 1] == 0; used--)
        ;
    options.fsync = PG_SEGLOG_NEVER;
    unsigned moment = 0;
    bool begun = false;
    for (size_t cut = 64; cut <= used + 24 && cut <= size; cut++) {
        save(log_path(1), data, cut);
        CU_ASSERT_FATAL(open_store());
        describe(now, sizeof(now));
        pg_msg_unref(&restored.unrouted_msg);
        pg_store_free(&store);
        if (!begun || strcmp(now, moments[moment]) != 0)
            snprintf(moments[moment += begun], sizeof(moments[0]), "%s", now);
        begun = true;
        CU_ASSERT_FATAL(moment <= STEPS);
    }
    free(data);
    static const char *const wanted[STEPS + 1] = {
        "unrouted 0: ",
        "unrouted 0: 1=one ",
        "unrouted 0: 1=one 2=two ",
        "unrouted 0: 1=one 2=two 3=shared ",
        "out 2/20 unrouted 0: 1=one 2=two 3=shared ",
        "out 2/20+ unrouted 0: 1=one 2=two 3=shared ",
        "out 2/20+ unrouted 0: 2=two 3=shared ",
        "out 2/20+ in 77 unrouted 1: 2=two 3=shared ",
        "out 2/20+ in 77 unrouted 1: 2=two 3=shared 4=exactly ",
        "out 2/20+ in 77 unrouted 0: 2=two 3=shared 4=exactly ",
        "out 2/20+ unrouted 0: 2=two 3=shared 4=exactly ",
        "unrouted 0: 3=shared 4=exactly ",
    };
    CU_ASSERT_EQUAL(moment, STEPS);
    for (unsigned i = 0; i <= STEPS; i++)
        CU_ASSERT_STRING_EQUAL(moments[i], wanted[i]);
    finish();
}

/* ---- damage --------------------------------------------------------------------------------- */

static void damage_in_an_old_segment_is_refused_and_the_rest_saved(void)
{
    char payload[1001];
    begin();
    struct pg_store_session *session = make_session("c1");
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    for (uint64_t n = 1; n <= 60; n++)
        CU_ASSERT_EQUAL(enqueue(session, n, payload), PG_OK);
    CU_ASSERT_EQUAL(stats().queued, 60);
    pg_store_free(&store);
    size_t size;
    uint8_t *data = load(log_path(1), &size);
    data[5000] ^= 1;
    save(log_path(1), data, size);
    free(data);
    CU_ASSERT_FALSE_FATAL(open_store());
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "polygatectl store repair"));
    char log[96];
    struct pg_seglog_summary summary;
    snprintf(log, sizeof(log), "%s/log", dir);
    CU_ASSERT_EQUAL(pg_seglog_repair(log, NULL, NULL, &summary, &error), 0);
    CU_ASSERT_EQUAL(summary.damages, 1);
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_EQUAL(stats().queued, 59);
    struct pg_store_page *page = fetch(restored.handle, 0, 100);
    CU_ASSERT_EQUAL(page->count, 59);
    pg_store_page_free(&page);
    finish();
}

/* A batch that the disk gives back as zeros: a bad sector, found when a client comes for it. */
static void what_cannot_be_read_does_not_hold_up_the_rest(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    for (uint64_t n = 1; n <= 3; n++)
        CU_ASSERT_EQUAL(enqueue(session, n, "payload"), PG_OK);
    size_t size;
    uint8_t *data = load(log_path(1), &size);
    uint8_t *second = memmem(data, size, "payload", 7);
    second = memmem(second + 1, size - (size_t)(second + 1 - data), "payload", 7);
    int fd = open(log_path(1), O_WRONLY);
    uint8_t zeros[100] = {0};
    CU_ASSERT_EQUAL(pwrite(fd, zeros, 60, second - data - 50), 60);
    close(fd);
    free(data);
    CU_ASSERT_STRING_EQUAL(queue_of(session), "1=payload 3=payload ");
    store->ops->settle(store, session, 1);
    barrier();
    CU_ASSERT_EQUAL(stats().unreadable, 1);
    CU_ASSERT_EQUAL(stats().queued, 2);
    finish();
}

/* ---- versions, and files that do not belong together ---------------------------------------- */

/* A number of the maps; 'mversion', 'mlog'. NULL: delete it. */
static void put_number(const char *name, const uint32_t *number)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    uint8_t bytes[4] = {0};
    for (int i = 0; number && i < 4; i++)
        bytes[i] = (uint8_t)(*number >> (8 * i));
    MDB_val key = {.mv_data = (void *)(uintptr_t)name, .mv_size = strlen(name)};
    MDB_val value = {.mv_data = bytes, .mv_size = 4};
    CU_ASSERT_EQUAL_FATAL(mdb_env_create(&env), 0);
    CU_ASSERT_EQUAL_FATAL(mdb_env_open(env, dir, 0, 0600), 0);
    CU_ASSERT_EQUAL_FATAL(mdb_txn_begin(env, NULL, 0, &txn), 0);
    CU_ASSERT_EQUAL_FATAL(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    if (number)
        CU_ASSERT_EQUAL_FATAL(mdb_put(txn, dbi, &key, &value, 0), 0);
    if (!number)
        CU_ASSERT_EQUAL_FATAL(mdb_del(txn, dbi, &key, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void an_older_format_is_upgraded_and_a_newer_one_refused(void)
{
    const uint32_t one = 1, two = 2, three = 3;
    begin();
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "one"), PG_OK);
    pg_store_free(&store);
    put_number("mversion", &one);
    put_number("mlog", NULL); /* version 1 had none */
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "1=one ");
    pg_store_free(&store);
    put_number("mversion", &three);
    CU_ASSERT_FALSE_FATAL(open_store());
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "format version 3, this program knows 2"));
    put_number("mversion", &two);
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "1=one ");
    finish();
}

/* A batch of a version to come, in a segment that says nothing of it. */
static void a_batch_of_a_newer_format_is_refused(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    pg_store_free(&store);
    char log[96];
    struct pg_seglog *seglog;
    struct pg_seglog_options plain = {.segment_bytes = 0};
    struct pg_log_position at;
    uint8_t body[2] = {2, 9};
    struct iovec range = {.iov_base = body, .iov_len = 2};
    snprintf(log, sizeof(log), "%s/log", dir);
    (void)session;
    CU_ASSERT_EQUAL_FATAL(pg_seglog_open(log, &plain, &seglog, &error), 0);
    CU_ASSERT_EQUAL(pg_seglog_append(seglog, &range, 1, &at), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&seglog), 0);
    CU_ASSERT_FALSE_FATAL(open_store());
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "format that this program does not know"));
    finish();
}

static void run_in_dir(const char *command)
{
    char text[256];
    snprintf(text, sizeof(text), "cd '%s' && %s", dir, command);
    CU_ASSERT_EQUAL_FATAL(system(text), 0);
}

static void a_log_of_another_store_is_refused(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "one"), PG_OK);
    pg_store_free(&store);
    run_in_dir("mv log mine");
    CU_ASSERT_FALSE_FATAL(open_store()); /* it was taken away */
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "not the one that belongs to data.mdb"));
    run_in_dir("rm -r log && mv mine log && mv data.mdb mine.mdb");
    CU_ASSERT_FALSE_FATAL(open_store());
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "no data.mdb"));
    run_in_dir("mv mine.mdb data.mdb");
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "1=one ");
    pg_store_free(&store);
    run_in_dir("mv log mine");
    bool differs;
    CU_ASSERT(pg_store_disk_pair(dir, false, &differs, &error) && differs);
    CU_ASSERT(pg_store_disk_pair(dir, true, &differs, &error)); /* the queues are given up */
    CU_ASSERT(pg_store_disk_pair(dir, false, &differs, &error) && !differs);
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "");
    finish();
}

static void two_processes_exclude_each_other(void)
{
    begin();
    struct pg_store *other = pg_store_disk_open(&options, &error);
    struct pg_store_restorer nothing = {.session = NULL};
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_FALSE(other->ops->restore(other, &nothing, &error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "in use"));
    pg_store_free(&other);
    finish();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_log_that_ends_at_any_byte_is_a_moment_of_what_was_asked),
        TEST(damage_in_an_old_segment_is_refused_and_the_rest_saved),
        TEST(what_cannot_be_read_does_not_hold_up_the_rest),
        TEST(an_older_format_is_upgraded_and_a_newer_one_refused),
        TEST(a_batch_of_a_newer_format_is_refused),
        TEST(a_log_of_another_store_is_refused),
        TEST(two_processes_exclude_each_other),
        CU_TEST_INFO_NULL,
    };
    return run_suite("store, files as they are found", tests);
}
