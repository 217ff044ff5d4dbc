/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store: what was answered is there again, in order, once; what was settled is not. */

#include <CUnit/CUnit.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store_bed.h"
#include "suite.h"

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_queue_comes_back_in_order(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    static const uint32_t ids[] = {7, 0x01020304};
    struct pg_msg *msg = message("t/x", "full");
    struct pg_store_entry entry = {.number = 5,
                                   .msg = msg,
                                   .qos = 2,
                                   .share = PG_BYTES_OF("$share/g/t/+"),
                                   .ids = ids,
                                   .id_count = 2,
                                   .retain = true};
    store->ops->enqueue(store, session, &entry, NULL);
    pg_msg_unref(&msg);
    CU_ASSERT_EQUAL(enqueue(session, 6, "two"), PG_OK);
    CU_ASSERT_EQUAL(enqueue(session, 9, "three"), PG_OK);
    store->ops->settle(store, session, 6);
    reopen();
    CU_ASSERT_EQUAL(restored.sessions, 1);
    CU_ASSERT_EQUAL(restored.first, 5);
    CU_ASSERT_EQUAL(restored.next, 10);
    struct pg_store_page *page = fetch(restored.handle, 0, 10);
    CU_ASSERT_EQUAL_FATAL(page->count, 2);
    CU_ASSERT(page->at_end);
    struct pg_store_entry *e = page->entries;
    CU_ASSERT_EQUAL(e[0].number, 5);
    CU_ASSERT_EQUAL(e[0].qos, 2);
    CU_ASSERT(e[0].retain && !e[0].direct);
    CU_ASSERT(pg_bytes_equal(e[0].share, PG_BYTES_OF("$share/g/t/+")));
    CU_ASSERT_EQUAL_FATAL(e[0].id_count, 2);
    CU_ASSERT(e[0].ids[0] == 7 && e[0].ids[1] == 0x01020304);
    CU_ASSERT(pg_bytes_equal(e[0].msg->payload, PG_BYTES_OF("full")));
    CU_ASSERT(pg_bytes_equal(e[0].msg->topic, PG_BYTES_OF("t/x")));
    CU_ASSERT(pg_bytes_equal(e[0].msg->publisher, PG_BYTES_OF("me")));
    CU_ASSERT_STRING_EQUAL(e[0].msg->protocol, "mqtt");
    CU_ASSERT(pg_bytes_equal(e[0].msg->props->content_type, PG_BYTES_OF("text")));
    CU_ASSERT(pg_bytes_equal(e[0].msg->props->user[0].value, PG_BYTES_OF("v")));
    CU_ASSERT_EQUAL(e[1].number, 9);
    pg_store_page_free(&page);
    page = fetch(restored.handle, 0, 1);
    CU_ASSERT_EQUAL(page->count, 1);
    CU_ASSERT(!page->at_end);
    CU_ASSERT_EQUAL(page->next, 9);
    pg_store_page_free(&page);
    finish();
}

static void maps_come_back(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    struct waiting *w = waiter();
    char filter[1024];
    memset(filter, 'f', sizeof(filter) - 1);
    filter[sizeof(filter) - 1] = '\0';
    struct pg_subscription sub = {.filter = pg_bytes_str(filter), .qos = 1};
    store->ops->subscription_put(store, session, &sub, NULL);
    filter[1000] = 'g'; /* another one with the same beginning */
    store->ops->subscription_put(store, session, &sub, NULL);
    filter[1000] = 'f';
    store->ops->subscription_drop(store, session, sub.filter, NULL);
    filter[1000] = 'g';
    store->ops->subscription_drop(store, session, sub.filter, NULL);
    sub = (struct pg_subscription){.filter = PG_BYTES_OF("a/#"), .qos = 2, .id = 300};
    store->ops->subscription_put(store, session, &sub, NULL);
    struct pg_msg *msg = message("r/1", "kept");
    store->ops->retain(store, msg, NULL);
    pg_msg_unref(&msg);
    msg = message("r/2", "gone");
    store->ops->retain(store, msg, NULL);
    pg_msg_unref(&msg);
    msg = message("r/2", "");
    store->ops->retain(store, msg, NULL);
    pg_msg_unref(&msg);
    msg = message("w", "bye");
    struct pg_will_record will = {.client_id = PG_BYTES_OF("c1"), .msg = msg, .delay_s = 7};
    store->ops->will_put(store, &will, NULL);
    will.client_id = PG_BYTES_OF("c2");
    store->ops->will_put(store, &will, NULL);
    store->ops->will_drop(store, PG_BYTES_OF("c2"));
    pg_msg_unref(&msg);
    store->ops->fact_put(store, PG_BYTES_OF("abc"), PG_BYTES_OF("keys"), PG_BYTES_OF("value"), 0,
                         NULL);
    store->ops->fact_put(store, PG_BYTES_OF("abc"), PG_BYTES_OF("old"), PG_BYTES_OF("value"), 1,
                         &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    struct pg_store_session *other = make_session("c2");
    w = waiter();
    store->ops->session_drop(store, other, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    reopen();
    CU_ASSERT_EQUAL(restored.sessions, 1);
    CU_ASSERT_EQUAL(restored.subs, 1);
    CU_ASSERT_STRING_EQUAL(restored.text, "a/# 2 300");
    CU_ASSERT_EQUAL(restored.retained, 1);
    CU_ASSERT_EQUAL(restored.will_delay_s, 7);
    CU_ASSERT_STRING_EQUAL(restored.names,
                           "session:c1= retained:r/1=kept will:c1=bye fact:keys=value ");
    CU_ASSERT_EQUAL(restored.fact_expires_wall_s, 0);
    finish();
}

static void what_was_under_way_comes_back(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    struct waiting *w = waiter();
    enqueue(session, 1, "one");
    enqueue(session, 2, "two");
    enqueue(session, 3, "three");
    store->ops->send(store, session, 2, 20, NULL);
    store->ops->send(store, session, 1, 10, NULL);
    store->ops->send(store, session, 3, 30, NULL);
    store->ops->received(store, session, 1, NULL);
    store->ops->settle(store, session, 3);
    struct pg_msg *msg = message("q/2", "exactly");
    w = waiter();
    store->ops->receive(store, session, 77, msg, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    enqueue_only(session, 4, msg, NULL);
    store->ops->settle(store, session, 4);
    pg_msg_unref(&msg);
    msg = message("q/2", "routed");
    w = waiter();
    store->ops->receive(store, session, 78, msg, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    store->ops->routed(store, msg);
    w = waiter();
    store->ops->receive(store, session, 79, msg, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    store->ops->routed(store, msg);
    store->ops->release(store, session, 79, NULL);
    pg_msg_unref(&msg);
    reopen();
    CU_ASSERT_EQUAL_FATAL(restored.out_count, 2);
    CU_ASSERT(restored.outs[0].number == 2 && restored.outs[0].packet_id == 20);
    CU_ASSERT(!restored.outs[0].received && restored.outs[1].received);
    CU_ASSERT_EQUAL(restored.receipt_count, 2);
    CU_ASSERT_EQUAL_FATAL(restored.unrouted, 1);
    CU_ASSERT_EQUAL(restored.unrouted_clients, 1);
    CU_ASSERT(pg_bytes_equal(restored.unrouted_msg->payload, PG_BYTES_OF("exactly")));
    store->ops->routed(store, restored.unrouted_msg);
    pg_msg_unref(&restored.unrouted_msg);
    reopen();
    CU_ASSERT_EQUAL(restored.unrouted, 0);
    CU_ASSERT_EQUAL(restored.receipt_count, 2);
    finish();
}

/* A process that ends without a word between two answers. */
static void a_dead_process_loses_nothing_that_was_answered(void)
{
    begin();
    pg_store_free(&store);
    int pipes[2];
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        if (!open_store())
            _exit(1);
        struct pg_store_session *session = make_session("c1");
        for (uint64_t n = 1; n <= 200; n++)
            enqueue(session, n, "payload");
        for (uint64_t n = 1; n <= 50; n++)
            store->ops->settle(store, session, n);
        struct waiting *w = waiter(); /* what was before it is kept */
        store->ops->fact_put(store, PG_BYTES_OF("a"), PG_BYTES_OF("b"), PG_BYTES_NONE, 0, &w->done);
        _exit(await(w) == PG_OK ? 0 : 2);
    }
    int status;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_EQUAL(restored.first, 51);
    CU_ASSERT_EQUAL(restored.next, 201);
    struct pg_store_page *page = fetch(restored.handle, 0, 1000);
    CU_ASSERT_EQUAL(page->count, 150);
    pg_store_page_free(&page);
    finish();
}

static void segments_are_given_back(void)
{
    begin();
    struct pg_store_session *slow = make_session("slow"), *fast = make_session("fast");
    char payload[1001];
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    for (uint64_t n = 1; n <= 2000; n++) {
        struct pg_msg *msg = message("a/b", payload);
        if (n % 50 == 1)
            enqueue_only(slow, n, msg, NULL);
        enqueue_only(fast, n, msg, NULL);
        pg_msg_unref(&msg);
        if (n == 1)
            store->ops->send(store, slow, 1, 11, NULL);
        if (n > 10)
            store->ops->settle(store, fast, n - 10);
        if (n % 16 == 0) {
            struct pg_store_page *page = fetch(fast, n, 1);
            pg_store_page_free(&page);
        }
    }
    struct pg_store_page *page = fetch(slow, 0, 100);
    CU_ASSERT_EQUAL(page->count, 40);
    pg_store_page_free(&page);
    pg_store_free(&store);
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_EQUAL(restored.sessions, 2);
    CU_ASSERT_EQUAL(stats().queued, 50);
    pg_store_free(&store);
    char command[128];
    snprintf(command, sizeof(command), "test $(ls %s/log | wc -l) -lt 8", dir);
    CU_ASSERT_EQUAL(system(command), 0);
    CU_ASSERT_FATAL(open_store());
    struct pg_store_session *handle = restored.handle;
    page = fetch(handle, 0, 100);
    for (uint32_t i = 1; i < page->count; i++)
        CU_ASSERT(page->entries[i - 1].number < page->entries[i].number);
    pg_store_page_free(&page);
    finish();
}

static void quotas_hold(void)
{
    begin();
    struct pg_store_session *session;
    pg_store_free(&store);
    options.session_count = 3;
    options.policy = PG_DISK_REJECT;
    CU_ASSERT_FATAL(open_store());
    session = make_session("c1");
    for (uint64_t n = 1; n <= 3; n++)
        CU_ASSERT_EQUAL(enqueue(session, n, "x"), PG_OK);
    CU_ASSERT_EQUAL(enqueue(session, 4, "x"), PG_QUEUE_FULL);
    pg_store_free(&store);
    options.policy = PG_DISK_DROP_NEWEST;
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT_EQUAL(enqueue(restored.handle, 5, "x"), PG_OK);
    pg_store_free(&store);
    options.policy = PG_DISK_DROP_OLDEST;
    CU_ASSERT_FATAL(open_store());
    CU_ASSERT(restored.first == 1 && restored.next == 4);
    CU_ASSERT_EQUAL(enqueue(restored.handle, 6, "x"), PG_OK);
    reopen();
    CU_ASSERT(restored.first == 2 && restored.next == 7);
    finish();
}

/* A limit on the length of files stands for a full disk. */
static void a_full_disk_refuses_and_then_works_again(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "before"), PG_OK);
    struct rlimit all, little;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &all);
    little = all;
    little.rlim_cur = 256;
    setrlimit(RLIMIT_FSIZE, &little);
    CU_ASSERT_EQUAL(enqueue(session, 2, "refused"), PG_STORE_FAILED);
    struct pg_msg *msg = message("r/1", "retained");
    struct waiting *w = waiter();
    store->ops->retain(store, msg, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_STORE_FAILED);
    pg_msg_unref(&msg);
    store->ops->settle(store, session, 1);
    struct pg_store_page *page = fetch(session, 0, 10);
    CU_ASSERT_EQUAL(page->count, 0);
    pg_store_page_free(&page);
    setrlimit(RLIMIT_FSIZE, &all);
    CU_ASSERT_EQUAL(enqueue(session, 3, "after"), PG_OK);
    reopen();
    CU_ASSERT_EQUAL(stats().health, PG_OK);
    page = fetch(restored.handle, 0, 10);
    CU_ASSERT_EQUAL_FATAL(page->count, 1);
    CU_ASSERT_EQUAL(page->entries[0].number, 3);
    pg_store_page_free(&page);
    finish();
}

/* A message with an expiry is not fetched after it, and the retention holds for all others. */
static void what_expired_is_not_fetched(void)
{
    begin();
    pg_store_free(&store);
    options.retention_s = 0;
    CU_ASSERT_FATAL(open_store());
    struct pg_store_session *session = make_session("c1");
    CU_ASSERT_EQUAL(enqueue(session, 1, "x"), PG_OK);
    struct pg_store_page *page = fetch(session, 0, 10);
    CU_ASSERT_EQUAL(page->count, 0);
    CU_ASSERT(page->at_end);
    pg_store_page_free(&page);
    finish();
}

/* A message for many sessions is in the log once, also when they come in later groups. */
static void a_message_is_kept_once(void)
{
    begin();
    char payload[5001];
    memset(payload, 'p', 5000);
    payload[5000] = '\0';
    struct pg_msg *msg = message("a/b", payload);
    for (unsigned i = 0; i < 20; i++) {
        char id[8];
        snprintf(id, sizeof(id), "c%u", i);
        struct pg_store_session *session = make_session(id);
        struct waiting *w = waiter();
        enqueue_only(session, 1, msg, &w->done);
        CU_ASSERT_EQUAL(await(w), PG_OK);
    }
    pg_msg_unref(&msg);
    reopen();
    CU_ASSERT_EQUAL(restored.sessions, 20);
    struct pg_store_page *page = fetch(restored.handle, 0, 10);
    CU_ASSERT_EQUAL_FATAL(page->count, 1);
    CU_ASSERT_EQUAL(page->entries[0].msg->payload.len, 5000);
    pg_store_page_free(&page);
    struct pg_store_session *last = restored.handle;
    CU_ASSERT_EQUAL(enqueue(last, 2, "y"), PG_OK);
    store->ops->settle(store, last, 1);
    page = fetch(last, 0, 10); /* the log's first segment has room for thirteen of them */
    CU_ASSERT_EQUAL(page->count, 1);
    pg_store_page_free(&page);
    char command[128];
    snprintf(command, sizeof(command), "test $(ls %s/log/*.seg | wc -l) -eq 1", dir);
    CU_ASSERT_EQUAL(system(command), 0);
    finish();
}

/* One that is larger than all that a session may have leaves what it has alone. */
static void a_message_that_never_fits_drops_nothing_else(void)
{
    begin();
    pg_store_free(&store);
    options.session_bytes = 2000;
    options.policy = PG_DISK_DROP_OLDEST;
    CU_ASSERT_FATAL(open_store());
    struct pg_store_session *session = make_session("c1");
    char payload[3001];
    memset(payload, 'p', 3000);
    payload[3000] = '\0';
    CU_ASSERT_EQUAL(enqueue(session, 1, "small"), PG_OK);
    CU_ASSERT_EQUAL(enqueue(session, 2, payload), PG_OK);
    CU_ASSERT_EQUAL(stats().dropped, 1);
    CU_ASSERT_STRING_EQUAL(queue_of(session), "1=small ");
    finish();
}

static enum pg_reason retain(const char *topic, const char *payload)
{
    struct waiting *w = waiter();
    struct pg_msg *msg = message(topic, payload);
    store->ops->retain(store, msg, &w->done);
    pg_msg_unref(&msg);
    return await(w);
}

static void retained_messages_are_replaced_and_erased(void)
{
    begin();
    char topic[1200];
    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    CU_ASSERT_EQUAL(retain("a", "1"), PG_OK);
    CU_ASSERT_EQUAL(retain("a", "2"), PG_OK);
    CU_ASSERT_EQUAL(retain("b", "1"), PG_OK);
    CU_ASSERT_EQUAL(retain("c", ""), PG_OK); /* there was none */
    CU_ASSERT_EQUAL(retain(topic, "1"), PG_OK);
    CU_ASSERT_EQUAL(retain(topic, "2"), PG_OK);
    CU_ASSERT_EQUAL(stats().retained, 3);
    CU_ASSERT_EQUAL(retain("b", ""), PG_OK);
    CU_ASSERT_EQUAL(retain(topic, ""), PG_OK);
    CU_ASSERT_EQUAL(stats().retained, 1);
    reopen();
    CU_ASSERT_EQUAL(stats().retained, 1);
    CU_ASSERT_STRING_EQUAL(restored.names, "retained:a=2 ");
    finish();
}

/* Only what does not fit is refused, and what gives room back is taken. */
static void maps_that_are_full_refuse_only_what_does_not_fit(void)
{
    begin();
    pg_store_free(&store);
    options.map_bytes = 256 * 1024;
    CU_ASSERT_FATAL(open_store());
    char payload[10001], topic[8];
    memset(payload, 'p', 10000);
    payload[10000] = '\0';
    struct pg_msg *msg = message("w", "bye");
    struct pg_will_record will = {.client_id = PG_BYTES_OF("c1"), .msg = msg};
    store->ops->will_put(store, &will, NULL);
    pg_msg_unref(&msg);
    struct pg_store_session *session = make_session("c1");
    unsigned count = 0;
    do
        snprintf(topic, sizeof(topic), "r%u", count++);
    while (count < 100 && retain(topic, payload) == PG_OK);
    CU_ASSERT(count > 5 && count < 100);
    CU_ASSERT_EQUAL(stats().retained, count - 1);
    CU_ASSERT_EQUAL(stats().health, PG_STORE_FAILED);
    CU_ASSERT_EQUAL(enqueue(session, 1, "queues are no maps"), PG_OK);
    store->ops->will_drop(store, PG_BYTES_OF("c1"));
    CU_ASSERT_EQUAL(retain("one more", payload), PG_STORE_FAILED);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(topic, sizeof(topic), "r%u", i);
        CU_ASSERT_EQUAL(retain(topic, ""), PG_OK);
    }
    CU_ASSERT_EQUAL(retain("one more", payload), PG_OK);
    CU_ASSERT_EQUAL(stats().health, PG_OK);
    reopen();
    CU_ASSERT_EQUAL(restored.wills, 0);
    CU_ASSERT_EQUAL(restored.retained, count - 3);
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "1=queues are no maps ");
    finish();
}

static void put_record(struct pg_store_session *session, uint32_t expiry_s,
                       uint32_t detached_wall_s, struct pg_store_done *done)
{
    struct pg_session_record record = {
        .client_id = PG_BYTES_OF("c1"), .expiry_s = expiry_s, .detached_wall_s = detached_wall_s};
    store->ops->session_put(store, session, &record, done);
}

/* Of a session that is dropped and one of the same name that begins, in one group: whenever a
 * process dies there is the old one with all it had, or the new one. */
static void a_clean_start_is_one_step(void)
{
    begin();
    struct pg_store_session *old = make_session("c1"), *new;
    struct pg_subscription sub = {.filter = PG_BYTES_OF("old/#"), .qos = 1};
    store->ops->subscription_put(store, old, &sub, NULL);
    CU_ASSERT_EQUAL(enqueue(old, 1, "old"), PG_OK);
    struct waiting *w = waiter();
    store->ops->session_drop(store, old, NULL);
    new = store->ops->session_open(store, PG_BYTES_OF("c1"));
    put_record(new, 77, 0, NULL);
    sub.filter = PG_BYTES_OF("new/#");
    store->ops->subscription_put(store, new, &sub, NULL);
    struct pg_msg *msg = message("t", "new");
    enqueue_only(new, 1, msg, &w->done);
    pg_msg_unref(&msg);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    reopen();
    CU_ASSERT_EQUAL(restored.sessions, 1);
    CU_ASSERT_EQUAL(restored.subs, 1);
    CU_ASSERT_EQUAL(restored.expiry_s, 77);
    CU_ASSERT_STRING_EQUAL(restored.text, "new/# 1 0");
    CU_ASSERT_STRING_EQUAL(queue_of(restored.handle), "1=new ");
    finish();
}

/* Expiry, and since when nobody is there, as a take-over and a goodbye leave them. */
static void a_session_has_its_last_record(void)
{
    begin();
    struct pg_store_session *session = make_session("c1");
    struct waiting *w = waiter();
    put_record(session, 100, 0, NULL);
    put_record(session, 200, 1234567, &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    reopen();
    CU_ASSERT_EQUAL(restored.expiry_s, 200);
    CU_ASSERT_EQUAL(restored.detached_wall_s, 1234567);
    finish();
}

static void a_will_has_its_delay_and_when_it_is_due(void)
{
    begin();
    struct pg_msg *msg = message("w", "bye");
    struct pg_will_record will = {
        .client_id = PG_BYTES_OF("c1"), .username = PG_BYTES_OF("u"), .msg = msg, .delay_s = 30};
    struct waiting *w = waiter();
    store->ops->will_put(store, &will, NULL);
    will.due_wall_s = 2000000000;
    store->ops->will_put(store, &will, NULL);
    store->ops->fact_put(store, PG_BYTES_OF("tok"), PG_BYTES_OF("k"), PG_BYTES_OF("v"), 2000000001,
                         &w->done);
    CU_ASSERT_EQUAL(await(w), PG_OK);
    pg_msg_unref(&msg);
    reopen();
    CU_ASSERT_EQUAL(restored.wills, 1);
    CU_ASSERT_EQUAL(restored.will_delay_s, 30);
    CU_ASSERT_EQUAL(restored.will_due_wall_s, 2000000000);
    CU_ASSERT_EQUAL(restored.fact_expires_wall_s, 2000000001);
    finish();
}

/* Not a measurement for the books: that a million is fast and small enough in principle. */
static void many_entries_are_small(void)
{
    begin();
    pg_store_free(&store);
    options.segment_bytes = 0;
    options.fsync = PG_SEGLOG_NEVER;
    CU_ASSERT_FATAL(open_store());
    struct pg_store_session *session = make_session("c1");
    enum { COUNT = 100000 };
    for (uint64_t n = 1; n <= COUNT; n++) {
        struct pg_msg *msg = message("a/b", "some payload");
        enqueue_only(session, n, msg, NULL);
        pg_msg_unref(&msg);
    }
    struct pg_store_page *page = fetch(session, COUNT, 1);
    CU_ASSERT_EQUAL(page->count, 1);
    pg_store_page_free(&page);
    reopen();
    CU_ASSERT_EQUAL(stats().queued, COUNT);
    CU_ASSERT(stats().index_bytes <= 32 * COUNT);
    finish();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_queue_comes_back_in_order),
        TEST(maps_come_back),
        TEST(what_was_under_way_comes_back),
        TEST(a_dead_process_loses_nothing_that_was_answered),
        TEST(segments_are_given_back),
        TEST(quotas_hold),
        TEST(a_full_disk_refuses_and_then_works_again),
        TEST(what_expired_is_not_fetched),
        TEST(a_message_is_kept_once),
        TEST(a_message_that_never_fits_drops_nothing_else),
        TEST(retained_messages_are_replaced_and_erased),
        TEST(maps_that_are_full_refuse_only_what_does_not_fit),
        TEST(a_clean_start_is_one_step),
        TEST(a_session_has_its_last_record),
        TEST(a_will_has_its_delay_and_when_it_is_due),
        TEST(many_entries_are_small),
        CU_TEST_INFO_NULL,
    };
    return run_suite("store", tests);
}
