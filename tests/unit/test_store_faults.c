/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store on a disk that fails: at each write, sync, allocation and cut, once or for
 * good, with and without a part of the bytes written. What was answered with success is there
 * afterwards, what was refused is not, what nobody waits for is made up for, and the store works
 * again by itself. And on what a crash leaves: a log that ends at any byte. */

#include <CUnit/CUnit.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store_bed.h"
#include "suite.h"

/* ---- a disk that fails: these stand in front of the C library's ----------------------------- */

static struct {
    _Atomic int calls; /* so far */
    int from, count;   /* those that fail; from 0: none */
    int error;
    bool partly; /* writes bring half of their bytes, before they fail */
} fault;

/* A disk that does not answer: syncs wait here. */
static struct {
    _Atomic bool on;
    sem_t reached, go;
} standstill;

static void disk_works(void)
{
    fault.from = 0;
}

static void disk_fails(int from, int count, int code, bool partly)
{
    fault.calls = 0;
    fault.from = 0;
    fault.count = count;
    fault.error = code;
    fault.partly = partly;
    fault.from = from;
}

static bool fails(void)
{
    int call = ++fault.calls;
    if (fault.from == 0 || call < fault.from || call - fault.from >= fault.count)
        return false;
    errno = fault.error;
    return true;
}

/* Seen by LMDB as well, which is a library of its own. */
#define DISK       __attribute__((visibility("default")))
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

DISK ssize_t pwritev(int fd, const struct iovec *ranges, int count, off_t offset)
{
    bool bad = fails();
    if (bad && fault.partly && ranges[0].iov_len > 1) {
        (void)!REAL(pwrite)(fd, ranges[0].iov_base, ranges[0].iov_len / 2, offset);
        errno = fault.error;
    }
    return bad ? -1 : REAL(pwritev)(fd, ranges, count, offset);
}

DISK ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    bool bad = fails();
    if (bad && fault.partly && size > 1) {
        (void)!REAL(pwrite)(fd, data, size / 2, offset);
        errno = fault.error;
    }
    return bad ? -1 : REAL(pwrite)(fd, data, size, offset);
}

DISK ssize_t writev(int fd, const struct iovec *ranges, int count)
{
    return fails() ? -1 : REAL(writev)(fd, ranges, count);
}

static _Atomic unsigned syncs;

DISK int fdatasync(int fd)
{
    syncs++;
    if (standstill.on) {
        sem_post(&standstill.reached);
        sem_wait(&standstill.go);
    }
    return fails() ? -1 : REAL(fdatasync)(fd);
}

DISK int fsync(int fd)
{
    return fails() ? -1 : REAL(fsync)(fd);
}

DISK int ftruncate(int fd, off_t length)
{
    return fails() ? -1 : REAL(ftruncate)(fd, length);
}

DISK int posix_fallocate(int fd, off_t offset, off_t length)
{
    return fails() ? fault.error : REAL(posix_fallocate)(fd, offset, length);
}

/* ---- one of everything ---------------------------------------------------------------------- */

/* What was asked and how it was answered; one letter each, upper case for PG_OK. */
struct answers {
    char text[64];
    size_t count;
};

static bool answered_ok(struct answers *answers, char letter, enum pg_reason result)
{
    CU_ASSERT(result == PG_OK || result == PG_STORE_FAILED);
    answers->text[answers->count++] = (char)(result == PG_OK ? letter - 'a' + 'A' : letter);
    return result == PG_OK;
}

static bool kept(const struct answers *answers, char letter)
{
    return strchr(answers->text, letter - 'a' + 'A') != NULL;
}

static void put_record(struct pg_store_session *session, const char *id, struct answers *answers,
                       char letter)
{
    struct waiting *w = waiter();
    struct pg_session_record record = {.client_id = pg_bytes_str(id), .expiry_s = 60};
    store->ops->session_put(store, session, &record, &w->done);
    answered_ok(answers, letter, await(w));
}

static void retain(const char *topic, const char *payload, struct answers *answers, char letter)
{
    struct waiting *w = waiter();
    struct pg_msg *msg = message(topic, payload);
    store->ops->retain(store, msg, &w->done);
    answered_ok(answers, letter, await(w));
    pg_msg_unref(&msg);
}

/* On a session "c1", which has number 1 in its queue, is sent number 2, and has a will. */
static void do_everything(struct pg_store_session *session, struct answers *answers)
{
    *answers = (struct answers){.count = 0};
    struct waiting *w = waiter();
    struct pg_msg *msg = message("q", "exactly");
    store->ops->receive(store, session, 77, msg, &w->done);
    if (answered_ok(answers, 'a', await(w)))
        store->ops->routed(store, msg);
    pg_msg_unref(&msg);
    answered_ok(answers, 'b', enqueue(session, 3, "three"));
    store->ops->settle(store, session, 1);
    w = waiter();
    store->ops->received(store, session, 2, &w->done);
    answered_ok(answers, 'c', await(w));
    answered_ok(answers, 'd', enqueue(session, 4, "four"));
    retain("r/1", "new", answers, 'e');
    retain("r/2", "", answers, 'f');
    store->ops->will_drop(store, PG_BYTES_OF("c1"));
    struct pg_store_session *other = store->ops->session_open(store, PG_BYTES_OF("c2"));
    put_record(other, "c2", answers, 'g');
    w = waiter();
    struct pg_subscription sub = {.filter = PG_BYTES_OF("a/#"), .qos = 1};
    store->ops->subscription_put(store, other, &sub, &w->done);
    answered_ok(answers, 'h', await(w));
    answered_ok(answers, 'i', enqueue(other, 1, "other"));
    w = waiter();
    store->ops->fact_put(store, PG_BYTES_OF("ban"), PG_BYTES_OF("c9"), PG_BYTES_OF("yes"), 0,
                         &w->done);
    answered_ok(answers, 'j', await(w));
    w = waiter();
    store->ops->send(store, session, 4, 40, &w->done);
    answered_ok(answers, 'k', await(w));
    store->ops->session_drop(store, restored.handle, NULL);
    if (!kept(answers, 'g'))
        store->ops->session_drop(store, other, NULL); /* gives the handle back */
}

/* "c0" is restored, so that its handle is known; it is dropped at the end of everything. */
static struct pg_store_session *prepare(void)
{
    begin();
    (void)make_session("c0");
    reopen();
    struct answers answers = {.count = 0};
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "one"), PG_OK);
    CU_ASSERT_EQUAL(enqueue(session, 2, "two"), PG_OK);
    retain("r/1", "old", &answers, 'a');
    retain("r/2", "old", &answers, 'a');
    struct pg_msg *msg = message("w", "bye");
    struct pg_will_record will = {.client_id = PG_BYTES_OF("c1"), .msg = msg};
    store->ops->will_put(store, &will, NULL);
    pg_msg_unref(&msg);
    struct waiting *w = waiter();
    store->ops->send(store, session, 2, 20, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    return session;
}

/* Until the store takes something again; the disk does. */
static void recover(struct pg_store_session *session)
{
    int64_t until_ms = pg_now_ms() + 10000;
    while (enqueue(session, 5000, "after") != PG_OK && pg_now_ms() < until_ms)
        ;
    struct waiting *w = waiter();
    store->ops->fact_put(store, PG_BYTES_OF("ban"), PG_BYTES_OF("c8"), PG_BYTES_OF("yes"), 0,
                         &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    CU_ASSERT_EQUAL(stats().health, PG_OK);
}

static bool has(const char *name)
{
    return strstr(restored.names, name) != NULL;
}

/* After a restart, which must find what was answered, and no more. */
static void verify(const struct answers *answers)
{
    CU_ASSERT(has("session:c1= ") && !has("session:c0= ") && !has("will:"));
    CU_ASSERT_EQUAL(has("session:c2= "), kept(answers, 'g'));
    CU_ASSERT_EQUAL(restored.subs, kept(answers, 'h'));
    CU_ASSERT(has(kept(answers, 'e') ? "retained:r/1=new " : "retained:r/1=old "));
    CU_ASSERT_EQUAL(has("retained:r/2="), !kept(answers, 'f'));
    CU_ASSERT_EQUAL(has("fact:c9=yes "), kept(answers, 'j'));
    CU_ASSERT_EQUAL(restored.unrouted, 0);
}

static void verify_session(const struct pg_restored_session *s, const struct answers *answers)
{
    CU_ASSERT_EQUAL(s->receipt_count, kept(answers, 'a'));
    CU_ASSERT_EQUAL_FATAL(s->out_count, kept(answers, 'd') && kept(answers, 'k') ? 2 : 1);
    CU_ASSERT(s->outs[0].number == 2 && s->outs[0].packet_id == 20);
    CU_ASSERT(s->outs[0].received); /* a fact, whether it was kept at once or is made up for */
}

struct c1_restorer {
    struct pg_store_restorer base; /* first */
    const struct answers *answers;
    struct pg_store_session *c1, *c2;
};

static bool got_one(struct pg_store_restorer *base, const struct pg_restored_session *s)
{
    struct c1_restorer *r = (struct c1_restorer *)base;
    if (pg_bytes_equal(s->record.client_id, PG_BYTES_OF("c2")))
        r->c2 = s->handle;
    if (!pg_bytes_equal(s->record.client_id, PG_BYTES_OF("c1")))
        return true;
    r->c1 = s->handle;
    verify_session(s, r->answers);
    return true;
}

static void verify_queues(const struct answers *answers)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "2=two %s%s", kept(answers, 'b') ? "3=three " : "",
             kept(answers, 'd') ? "4=four " : "");
    struct c1_restorer restorer = {.base.session = got_one, .answers = answers};
    pg_store_free(&store);
    store = pg_store_disk_open(&options, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(store);
    CU_ASSERT_FATAL(store->ops->restore(store, &restorer.base, &error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(restorer.c1);
    const char *queue = queue_of(restorer.c1);
    CU_ASSERT(strncmp(queue, wanted, strlen(wanted)) == 0);
    CU_ASSERT(strstr(queue, "=after ") == strchr(queue + strlen(wanted), '='));
    if (restorer.c2)
        CU_ASSERT_STRING_EQUAL(queue_of(restorer.c2), kept(answers, 'i') ? "1=other " : "");
}

/* false: the fault was behind the last call. */
static bool one_fault(int from, int count, int code, bool partly)
{
    struct answers answers;
    struct pg_store_session *session = prepare();
    disk_fails(from, count, code, partly);
    do_everything(session, &answers);
    struct pg_store_page *page = fetch(session, 0, 1); /* the last drop is through */
    pg_store_page_free(&page);
    bool met = fault.calls >= from;
    disk_works();
    recover(session);
    reopen();
    verify(&answers);
    verify_queues(&answers);
    finish();
    return met;
}

static void at_each_call(int count, int code, bool partly)
{
    int from = 1;
    while (one_fault(from, count, code, partly) && from < 300)
        from++;
    CU_ASSERT(from > 30 && from < 300);
}

static void a_full_disk_at_each_write(void)
{
    at_each_call(INT_MAX / 2, ENOSPC, true);
}

static void a_disk_that_is_full_for_one_write(void)
{
    at_each_call(1, ENOSPC, false);
    at_each_call(1, ENOSPC, true);
}

static void a_disk_that_breaks_at_each_call_and_is_mended(void)
{
    at_each_call(INT_MAX / 2, EIO, false);
    at_each_call(1, EIO, true);
}

static void a_disk_that_becomes_read_only(void)
{
    at_each_call(INT_MAX / 2, EROFS, false);
}

static void received(struct pg_store_session *session, uint16_t packet_id, struct pg_msg *msg)
{
    struct waiting *w = waiter();
    store->ops->receive(store, session, packet_id, msg, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
}

static enum pg_reason enqueue_msg(struct pg_store_session *session, uint64_t number,
                                  struct pg_msg *msg)
{
    struct waiting *w = waiter();
    enqueue_only(session, number, msg, &w->done);
    return await(w);
}

/* A message of QoS 2 is received, and the disk goes away when one of two sessions has it: the other
 * one gets it all the same, whatever becomes of the process. Else its publisher would send it anew,
 * and the first one had it twice. */
static void a_message_that_was_received_is_not_refused_half_way(bool crash)
{
    begin();
    struct pg_store_session *sender = make_session("sender"), *a = make_session("a");
    struct pg_store_session *b = make_session("b");
    struct pg_msg *msg = message("t", "once"), *other = message("t", "other");
    received(sender, 7, msg);
    CU_ASSERT_EQUAL(enqueue_msg(a, 1, msg), PG_OK);
    disk_fails(1, INT_MAX / 2, ENOSPC, false);
    CU_ASSERT_EQUAL(enqueue_msg(a, 2, other), PG_STORE_FAILED); /* it is nowhere */
    CU_ASSERT_EQUAL(enqueue_msg(b, 1, msg), PG_OK);
    store->ops->routed(store, msg);
    CU_ASSERT_STRING_EQUAL(queue_of(b), "1=once ");
    if (!crash)
        disk_works();
    pg_store_free(&store);
    disk_works();
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_EQUAL(restored.unrouted, crash ? 1 : 0);
    CU_ASSERT_EQUAL(restored.unrouted_clients, crash ? 1 : 0); /* a */
    CU_ASSERT_EQUAL(stats().queued, crash ? 1 : 2);
    pg_msg_unref(&msg);
    pg_msg_unref(&other);
    finish();
}

static void a_message_that_was_received_reaches_all_when_the_disk_works_again(void)
{
    a_message_that_was_received_is_not_refused_half_way(false);
}

static void a_message_that_was_received_reaches_all_after_a_crash(void)
{
    a_message_that_was_received_is_not_refused_half_way(true);
}

/* A client that comes back for what waited: each page is settled before the next is asked for, and
 * nobody waits for that. */
static void reading_a_queue_does_not_cost_a_sync_for_each_page(void)
{
    enum { PAGES = 200, PAGE = 10 };
    begin();
    struct pg_store_session *session = make_session("c1");
    for (uint64_t n = 1; n <= PAGES * PAGE; n++) {
        struct pg_msg *msg = message("t", "x");
        enqueue_only(session, n, msg, NULL);
        pg_msg_unref(&msg);
    }
    store->ops->drain(store);
    unsigned before = syncs;
    int64_t began_ms = pg_now_ms();
    uint64_t next = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        struct pg_store_page *page = fetch(session, next, PAGE);
        CU_ASSERT_EQUAL(page->count, PAGE);
        for (uint32_t k = 0; k < page->count; k++) {
            store->ops->send(store, session, page->entries[k].number, (uint16_t)(k + 1), NULL);
            store->ops->settle(store, session, page->entries[k].number);
        }
        next = page->next;
        pg_store_page_free(&page);
    }
    struct pg_store_page *page = fetch(session, 0, PAGE);
    CU_ASSERT(page->count == 0 && page->at_end); /* what was settled is gone at once */
    pg_store_page_free(&page);
    int64_t took_ms = pg_now_ms() - began_ms;
    /* One for 20 ms, and those of segments that begin and are given back meanwhile. */
    CU_ASSERT(syncs - before <= took_ms / 20 + PAGES / 2);
    reopen();
    CU_ASSERT_EQUAL(stats().queued, 0);
    finish();
}

/* They are written by themselves, when nothing else comes. */
static void what_was_deferred_is_written_soon(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "x"), PG_OK);
    uint64_t commits = stats().commits;
    store->ops->settle(store, session, 1);
    int64_t began_ms = pg_now_ms();
    while (stats().commits == commits && pg_now_ms() - began_ms < 20000)
        usleep(1000); /* between two looks, not instead of one */
    CU_ASSERT_EQUAL(stats().commits, commits + 1);
    CU_ASSERT_EQUAL(stats().queued, 0);
    finish();
}

struct counting {
    struct pg_store_done done; /* first */
    _Atomic unsigned kept, refused;
};

static void counted(struct pg_store_done *done, enum pg_reason result)
{
    struct counting *counting = (struct counting *)done;
    if (result == PG_OK)
        counting->kept++;
    else
        counting->refused++;
}

static void noticed(void *arg)
{
    ++*(_Atomic unsigned *)arg;
}

/* What waits for a disk that stands still is bounded: the store says that it is busy, then messages
 * are refused at once, and nothing that was refused is kept. What makes the store smaller is still
 * taken. When enough is through it says so, once. */
static void a_disk_that_stands_still(void)
{
    struct counting counting = {.done.fn = counted};
    char payload[1001];
    begin();
    pg_store_free(&store);
    options.backlog_bytes = 100 * 1024;
    CU_ASSERT_FATAL(open_store());
    struct pg_store_session *session = make_session("c1");
    sem_init(&standstill.reached, 0, 0);
    sem_init(&standstill.go, 0, 0);
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    _Atomic unsigned eased = 0;
    store->eased = noticed;
    store->eased_arg = &eased;
    standstill.on = true;
    struct pg_msg *first = message("t", payload);
    enqueue_only(session, 1, first, &counting.done);
    pg_msg_unref(&first);
    sem_wait(&standstill.reached);
    CU_ASSERT_FALSE(pg_store_busy(store));
    CU_ASSERT_EQUAL(stats().health, PG_OK);
    for (uint64_t n = 2; n <= 1000; n++) {
        struct pg_msg *msg = message("t", payload);
        enqueue_only(session, n, msg, &counting.done);
        pg_msg_unref(&msg);
    }
    CU_ASSERT_EQUAL(counting.kept, 0);
    CU_ASSERT(counting.refused > 700 && counting.refused < 990);
    CU_ASSERT(stats().backlog_bytes <= 100 * 1024);
    CU_ASSERT_EQUAL(stats().backlog, 1000 - counting.refused);
    CU_ASSERT_EQUAL(stats().refused, counting.refused);
    CU_ASSERT_TRUE(pg_store_busy(store));
    CU_ASSERT_EQUAL(stats().health, PG_BUSY);
    CU_ASSERT_EQUAL(eased, 0);
    store->ops->settle(store, session, 1);
    standstill.on = false;
    sem_post(&standstill.go);
    struct waiting *w = waiter();
    store->ops->fact_put(store, PG_BYTES_OF("a"), PG_BYTES_OF("b"), PG_BYTES_NONE, 0, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    CU_ASSERT_EQUAL(counting.kept + counting.refused, 1000);
    CU_ASSERT_FALSE(pg_store_busy(store));
    CU_ASSERT_EQUAL(stats().health, PG_OK);
    CU_ASSERT_EQUAL(eased, 1);
    recover(session);
    CU_ASSERT_EQUAL(stats().queued, counting.kept); /* one was settled, one came */
    finish();
    sem_destroy(&standstill.reached);
    sem_destroy(&standstill.go);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_full_disk_at_each_write),
        TEST(a_disk_that_is_full_for_one_write),
        TEST(a_disk_that_breaks_at_each_call_and_is_mended),
        TEST(a_disk_that_becomes_read_only),
        TEST(reading_a_queue_does_not_cost_a_sync_for_each_page),
        TEST(what_was_deferred_is_written_soon),
        TEST(a_disk_that_stands_still),
        TEST(a_message_that_was_received_reaches_all_when_the_disk_works_again),
        TEST(a_message_that_was_received_reaches_all_after_a_crash),
        CU_TEST_INFO_NULL,
    };
    return run_suite("store, on a disk that fails", tests);
}
