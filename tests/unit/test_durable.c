/* SPDX-License-Identifier: Apache-2.0 */

/* Sessions in a store that completes late, fails, or has more than memory should: nothing is
 * acknowledged before it is safe, and queues come back in pages. A test's name says what must
 * hold. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fake_store.h"
#include "suite.h"
#include "testbed.h"

static struct testbed bed;
static struct pg_store *store;

static void start(unsigned workers, bool holds)
{
    store = fake_store_new(holds);
    testbed_start(&bed, workers, store);
}

/* A client with a durable session and a subscription, while completions come at once. */
static void subscriber(struct probe *p, unsigned worker, const char *id, const char *filter,
                       uint8_t qos)
{
    probe_come_durable(&bed, p, worker, id);
    CU_ASSERT_EQUAL(p->admission, PG_OK);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, p, filter, qos), PG_PENDING);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, p, PATIENCE_S));
    CU_ASSERT_EQUAL(p->published_reason, PG_OK);
    p->published_count = 0;
}

/* ---- nothing is acknowledged before it is safe ----------------------------------------------- */

static void admission_waits_for_the_session(void)
{
    start(1, true);
    struct probe a = {0};
    struct pg_login l = probe_login_durable("a");
    probe_begin(&bed, &a, 0, &l);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_waiting(store), 1);
    CU_ASSERT_FALSE(testbed_wait(probe_is_answered, &a, 0));
    CU_ASSERT_EQUAL(fake_store_complete(store, PG_OK), 1);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &a, PATIENCE_S));
    CU_ASSERT_EQUAL(a.admission, PG_OK);
    testbed_stop(&bed);
}

static void admission_is_refused_when_the_session_cannot_be_kept(void)
{
    start(1, true);
    struct probe a = {0};
    struct pg_login l = probe_login_durable("a");
    probe_begin(&bed, &a, 0, &l);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_complete(store, PG_STORE_FAILED), 1);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &a, PATIENCE_S));
    CU_ASSERT_EQUAL(a.admission, PG_STORE_FAILED);
    testbed_stop(&bed);
}

static void clean_start_waits_until_the_old_session_is_dropped(void)
{
    start(2, false);
    struct probe a = {0}, b = {0};
    subscriber(&a, 0, "a", "t", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    fake_store_hold(store, true);
    struct pg_login l = probe_login("a");
    probe_begin(&bed, &b, 1, &l);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SESSION_DROP), 1);
    CU_ASSERT_FALSE(testbed_wait(probe_is_answered, &b, 0));
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &b, PATIENCE_S));
    CU_ASSERT_EQUAL(b.admission, PG_OK);
    CU_ASSERT_FALSE(b.session_present);
    testbed_stop(&bed);
}

static void subscription_waits_and_fails_with_the_store(void)
{
    start(1, false);
    struct probe a = {0};
    probe_come_durable(&bed, &a, 0, "a");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t", 1), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_FALSE(testbed_wait(probe_has_published, &a, 0));
    (void)fake_store_complete(store, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &a, PATIENCE_S));
    CU_ASSERT_EQUAL(a.published_reason, PG_STORE_FAILED);
    CU_ASSERT_EQUAL(a.published_token, 7);
    testbed_stop(&bed);
}

static void publication_waits_for_every_session_and_tells_the_worst(void)
{
    start(2, false);
    struct probe a = {0}, b = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 1);
    subscriber(&b, 1, "b", "t", 1);
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, true), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_ENQUEUE), 2);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_RETAIN), 1);
    CU_ASSERT_EQUAL(fake_store_waiting(store), 3);
    CU_ASSERT_FALSE(testbed_wait(probe_has_published, &p, 0));
    (void)fake_store_complete(store, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_STORE_FAILED);
    CU_ASSERT_EQUAL(p.published_token, 42);
    /* An answer for a publisher that has gone finds nobody and frees everything. */
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "y", 1, false), PG_PENDING);
    testbed_settle(&bed);
    probe_close(&bed, &p, PG_PEER_CLOSED);
    (void)fake_store_complete(store, PG_OK);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(p.published_count, 1);
    testbed_stop(&bed);
}

static void overlapping_subscriptions_are_one_entry(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    subscriber(&a, 0, "a", "t/+", 0);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t/#", 1), PG_PENDING);
    probe_come(&bed, &p, 0, "p");
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t/x", "x", 1, false), PG_PENDING);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count, 1);
    CU_ASSERT_EQUAL(a.messages[0].qos, 1);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_ENQUEUE), 1);
    testbed_stop(&bed);
}

static void new_session_that_cannot_be_kept_is_gone(void)
{
    start(1, true);
    struct probe a = {0}, b = {0};
    struct pg_login l = probe_login_durable("a");
    probe_begin(&bed, &a, 0, &l);
    testbed_settle(&bed);
    (void)fake_store_complete(store, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &a, PATIENCE_S));
    fake_store_hold(store, false);
    probe_connect(&bed, &b, 0, &l);
    CU_ASSERT_EQUAL(b.admission, PG_OK);
    CU_ASSERT_FALSE(b.session_present);
    testbed_stop(&bed);
}

static void refused_subscription_is_gone(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    probe_come_durable(&bed, &a, 0, "a");
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t", 1), PG_PENDING);
    testbed_settle(&bed);
    fake_store_hold(store, false);
    (void)fake_store_complete(store, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &a, PATIENCE_S));
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, false), PG_PENDING);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_NO_SUBSCRIBERS);
    testbed_stop(&bed);
}

static void unsubscribing_waits(void)
{
    start(1, false);
    struct probe a = {0};
    subscriber(&a, 0, "a", "t", 1);
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_unsubscribe(&bed, &a, "t"), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_FALSE(testbed_wait(probe_has_published, &a, 0));
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &a, PATIENCE_S));
    CU_ASSERT_EQUAL(a.published_token, 3);
    CU_ASSERT_EQUAL(probe_unsubscribe(&bed, &a, "t"), PG_NO_SUBSCRIPTION);
    testbed_stop(&bed);
}

static void retained_message_is_there_when_it_is_safe_and_follows_the_answer(void)
{
    start(1, false);
    struct probe a = {0}, b = {0}, p = {0};
    probe_come_durable(&bed, &a, 0, "a");
    probe_come(&bed, &b, 0, "b");
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, true), PG_PENDING);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &b, "t", 1), PG_OK);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(b.message_count, 0);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_NO_SUBSCRIBERS); /* `b` came later */
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t", 1), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count, 0);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    CU_ASSERT_TRUE(a.messages[0].retain);
    testbed_stop(&bed);
}

/* ---- QoS 2 ----------------------------------------------------------------------------------- */

static void delivery_is_recorded_before_it_is_sent_and_before_it_is_released(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 2);
    probe_takes(&bed, &a, true, false);
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "1", 2, false), PG_PENDING);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "2", 2, false), PG_PENDING);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "3", 1, false), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SEND), 2);
    CU_ASSERT_EQUAL(a.message_count, 0); /* QoS 1 keeps its place behind them */
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&a, 3));
    CU_ASSERT_STRING_EQUAL(a.messages[0].payload, "1");
    CU_ASSERT_STRING_EQUAL(a.messages[2].payload, "3");
    CU_ASSERT_FALSE(a.messages[0].redelivered);
    CU_ASSERT_TRUE(probe_received(&bed, &a, a.messages[0].id));
    CU_ASSERT_TRUE(a.later);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count, 3);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&a, 4));
    CU_ASSERT_TRUE(a.messages[3].received);
    CU_ASSERT_EQUAL(a.messages[3].id, a.messages[0].id);
    CU_ASSERT_TRUE(probe_settle(&bed, &a, a.messages[0].id));
    CU_ASSERT_EQUAL(fake_store_queued(store), 2);
    testbed_stop(&bed);
}

static void step_that_was_out_when_the_client_went_is_taken_again(void)
{
    start(1, false);
    struct probe a = {0}, b = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 2);
    probe_takes(&bed, &a, true, false);
    struct pg_login la = probe_login_durable("a");
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "1", 2, false), PG_PENDING);
    testbed_settle(&bed);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    b.holds = true;
    probe_begin(&bed, &b, 0, &la);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SEND), 2);
    fake_store_hold(store, false);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&b, 1));
    CU_ASSERT_EQUAL(a.message_count, 0);
    testbed_stop(&bed);
}

static void delivery_that_cannot_be_recorded_ends_the_connection(void)
{
    start(1, false);
    struct probe a = {0}, b = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 2);
    probe_come(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "1", 2, false), PG_PENDING);
    testbed_settle(&bed);
    fake_store_hold(store, false);
    (void)fake_store_complete(store, PG_STORE_FAILED);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.closed_for, PG_STORE_FAILED);
    CU_ASSERT_EQUAL(a.message_count, 0);
    probe_come_durable(&bed, &b, 0, "a");
    CU_ASSERT_TRUE(probe_got(&b, 1));
    testbed_stop(&bed);
}

static void publication_is_in_the_store_before_anybody_gets_it(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    probe_come(&bed, &a, 0, "a");
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t", 2), PG_OK);
    probe_come_durable(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count, 0);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_DUPLICATE);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_RECEIVE), 1);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_token, 7);
    CU_ASSERT_EQUAL(p.published_reason, PG_OK);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_ROUTED), 1);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_DUPLICATE);
    p.published_count = 0;
    CU_ASSERT_EQUAL(probe_release(&bed, &p, 7), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_FALSE(testbed_wait(probe_has_published, &p, 0));
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(probe_release(&bed, &p, 7), PG_DUPLICATE);
    testbed_stop(&bed);
}

static void refused_publication_gives_its_identifier_back(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 2);
    probe_come_durable(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_PENDING);
    testbed_settle(&bed);
    (void)fake_store_complete(store, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(probe_has_published, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_STORE_FAILED);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_ENQUEUE), 0);
    fake_store_hold(store, false);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_PENDING);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    testbed_stop(&bed);
}

/* The publisher goes while its message is on the way into the store, and sends it again from
 * another worker: once it is in, it goes to everybody, and if not, it is a new one. */
static void publisher_that_goes_in_between(enum pg_reason result, enum pg_reason again)
{
    start(2, false);
    struct probe a = {0}, p = {0}, q = {0};
    probe_come(&bed, &a, 0, "a");
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &a, "t", 2), PG_OK);
    probe_come_durable(&bed, &p, 0, "p");
    fake_store_hold(store, true);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &p, 7, "t", "x"), PG_PENDING);
    testbed_settle(&bed);
    probe_close(&bed, &p, PG_PEER_CLOSED);
    fake_store_hold(store, false);
    (void)fake_store_complete(store, result);
    testbed_settle(&bed);
    probe_come_durable(&bed, &q, 1, "p");
    CU_ASSERT_TRUE(q.session_present);
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &q, 7, "t", "x"), again);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count, 1);
    testbed_stop(&bed);
}

static void message_of_a_publisher_that_went_reaches_everybody_once(void)
{
    publisher_that_goes_in_between(PG_OK, PG_DUPLICATE);
}

static void message_that_was_not_received_is_taken_when_it_comes_again(void)
{
    publisher_that_goes_in_between(PG_STORE_FAILED, PG_PENDING);
}

/* ---- wills ----------------------------------------------------------------------------------- */

static void will_is_kept_from_admission_until_it_is_sent_or_dropped(void)
{
    start(1, true);
    struct probe a = {0}, b = {0};
    const struct pg_msg_spec will = {
        .topic = PG_BYTES_OF("will"), .payload = PG_BYTES_OF("gone"), .qos = 1};
    struct pg_login l = probe_login("a");
    l.will = &will;
    probe_begin(&bed, &a, 0, &l);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_PUT), 1);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SESSION_PUT), 0);
    CU_ASSERT_FALSE(testbed_wait(probe_is_answered, &a, 0));
    fake_store_hold(store, false);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &a, PATIENCE_S));
    subscriber(&b, 0, "b", "will", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    CU_ASSERT_TRUE(probe_got(&b, 1));
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_DROP), 1);
    testbed_stop(&bed);
}

/* It is sent after the next start, unless its client has come back. */
static void delayed_will_stays_in_the_store_when_the_gateway_stops(void)
{
    start(1, false);
    struct probe a = {0}, b = {0};
    const struct pg_msg_spec will = {
        .topic = PG_BYTES_OF("will"), .payload = PG_BYTES_OF("gone"), .qos = 1};
    struct pg_login l = probe_login_durable("a");
    l.will = &will;
    l.will_delay_s = 600;
    subscriber(&b, 0, "b", "will", 1);
    probe_connect(&bed, &a, 0, &l);
    probe_close(&bed, &a, PG_DRAINING);
    testbed_run(&bed, 0, (void (*)(void *))pg_wills_drain, bed.server.workers[0]);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(b.message_count, 0);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_PUT), 2); /* the second with its time */
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_DROP), 0);
    testbed_stop(&bed);
}

/* ---- queues that are larger than memory should ----------------------------------------------- */

static void publish_many(struct probe *p, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", i);
        CU_ASSERT_EQUAL(probe_publish(&bed, p, "t", text, 1, false), PG_PENDING);
    }
}

static void check_order(const struct probe *a, unsigned from, unsigned to)
{
    bool right = a->message_count == to - from;
    for (unsigned i = from; right && i < to; i++)
        right = (unsigned)atoi(a->messages[i - from].payload) == i;
    CU_ASSERT_TRUE(right);
}

static void queue_comes_back_in_pages_and_in_order(void)
{
    enum { COUNT = 3000 };
    start(1, false);
    struct probe a = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    probe_come(&bed, &p, 0, "p");
    publish_many(&p, 0, COUNT);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_queued(store), COUNT);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_FETCH), 0);
    probe_come_durable(&bed, &a, 0, "a");
    CU_ASSERT_TRUE(a.session_present);
    publish_many(&p, COUNT, COUNT + 100);
    CU_ASSERT_TRUE(probe_got(&a, COUNT + 100));
    testbed_settle(&bed);
    check_order(&a, 0, COUNT + 100);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    CU_ASSERT_EQUAL(fake_store_largest_page(store), 64);
    testbed_stop(&bed);
}

static void page_that_is_out_does_not_follow_a_session_to_another_worker(void)
{
    enum { COUNT = 200 };
    start(2, false);
    struct probe a = {0}, b = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    struct pg_login la = probe_login_durable("a");
    probe_come(&bed, &p, 0, "p");
    publish_many(&p, 0, COUNT);
    testbed_settle(&bed);
    probe_connect(&bed, &a, 0, &la);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    unsigned had = (unsigned)a.message_count;
    CU_ASSERT_TRUE(had <= COUNT);
    fake_store_hold(store, true);
    probe_begin(&bed, &a, 0, &la);
    testbed_settle(&bed);
    probe_begin(&bed, &b, 1, &la);
    testbed_settle(&bed);
    fake_store_hold(store, false);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(probe_is_answered, &b, PATIENCE_S));
    publish_many(&p, COUNT, COUNT + 10);
    CU_ASSERT_TRUE(probe_got(&b, COUNT + 10 - had));
    testbed_settle(&bed);
    check_order(&b, had, COUNT + 10);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

static void what_waits_in_memory_is_read_again_after_the_client_has_gone(void)
{
    start(1, false);
    struct probe a = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 1);
    probe_takes(&bed, &a, false, false);
    probe_come(&bed, &p, 0, "p");
    publish_many(&p, 0, 100);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    CU_ASSERT_EQUAL(a.message_count, 0);
    struct probe b = {0};
    probe_come_durable(&bed, &b, 0, "a");
    CU_ASSERT_TRUE(probe_got(&b, 100));
    testbed_settle(&bed);
    check_order(&b, 0, 100);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

/* ---- restoring ------------------------------------------------------------------------------- */

static void session_comes_back_with_its_subscriptions_and_its_queue(void)
{
    enum { COUNT = 100000 };
    store = fake_store_new(false);
    fake_store_had(store, "a", 3600, 0, COUNT);
    testbed_start(&bed, 2, store);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SESSION_PUT), 1); /* its expiry begins */
    struct probe a = {0}, p = {0};
    struct pg_login la = probe_login_durable("a");
    probe_come(&bed, &p, 0, "p");
    la.window = 10;
    publish_many(&p, COUNT, COUNT + 10);
    probe_connect(&bed, &a, 1, &la);
    CU_ASSERT_TRUE(a.session_present);
    CU_ASSERT_TRUE(probe_got(&a, COUNT + 10));
    testbed_settle(&bed);
    check_order(&a, 0, COUNT + 10);
    CU_ASSERT_EQUAL(fake_store_largest_page(store), 64);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

static void session_whose_time_has_passed_does_not_come_back(void)
{
    store = fake_store_new(false);
    fake_store_had(store, "a", 10, 1000, 3);
    testbed_start(&bed, 1, store);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_SESSION_DROP), 1);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    struct probe a = {0};
    probe_come_durable(&bed, &a, 0, "a");
    CU_ASSERT_FALSE(a.session_present);
    testbed_stop(&bed);
}

static void what_was_out_comes_again_under_its_identifier(void)
{
    store = fake_store_new(false);
    fake_store_had(store, "a", 3600, 0, 10);
    fake_store_had_out(store, 1, 4, 2);
    testbed_start(&bed, 1, store);
    struct probe a = {.holds = true};
    probe_come_durable(&bed, &a, 0, "a");
    probe_takes(&bed, &a, true, false);
    CU_ASSERT_TRUE(probe_got(&a, 10));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL_FATAL(a.message_count, 10);
    for (unsigned i = 0; i < 10; i++) {
        const struct probe_message *m = &a.messages[i];
        CU_ASSERT_EQUAL(m->redelivered, i < 4);
        CU_ASSERT_EQUAL(m->received, i < 2);
        CU_ASSERT_TRUE(i < 4 ? m->id == 11 + i : m->id > 14);
        CU_ASSERT_TRUE(i < 2 || atoi(m->payload) == (int)i);
    }
    CU_ASSERT_EQUAL(probe_publish_once(&bed, &a, 5, "x", "x"), PG_DUPLICATE);
    for (unsigned i = 0; i < 10; i++)
        CU_ASSERT_TRUE(probe_settle(&bed, &a, a.messages[i].id));
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

static void what_was_settled_before_its_page_came_does_not_come_again(void)
{
    store = fake_store_new(false);
    fake_store_had(store, "a", 3600, 0, 3);
    fake_store_had_out(store, 1, 2, 2);
    testbed_start(&bed, 1, store);
    fake_store_hold_pages(store, true);
    struct probe a = {0};
    probe_come_durable(&bed, &a, 0, "a");
    CU_ASSERT_TRUE(probe_got(&a, 2)); /* two releases, which are settled */
    testbed_settle(&bed);
    fake_store_hold_pages(store, false);
    (void)fake_store_complete(store, PG_OK);
    CU_ASSERT_TRUE(probe_got(&a, 3));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL_FATAL(a.message_count, 3);
    CU_ASSERT_TRUE(a.messages[1].received);
    CU_ASSERT_STRING_EQUAL(a.messages[2].payload, "2");
    testbed_stop(&bed);
}

/* The store may not have been told that it was sent: it was full for a while. */
static void what_lies_before_something_that_was_out_is_not_lost(void)
{
    store = fake_store_new(false);
    fake_store_had(store, "a", 3600, 0, 4);
    fake_store_had_out(store, 3, 1, 0);
    testbed_start(&bed, 1, store);
    struct probe a = {0};
    probe_come_durable(&bed, &a, 0, "a");
    CU_ASSERT_TRUE(probe_got(&a, 4));
    testbed_settle(&bed);
    bool seen[4] = {false};
    for (unsigned i = 0; i < 4; i++) {
        int number = atoi(a.messages[i].payload);
        seen[number] = true;
        CU_ASSERT_EQUAL(a.messages[i].redelivered, number == 2);
        CU_ASSERT_EQUAL(a.messages[i].id == 11, number == 2);
    }
    CU_ASSERT_TRUE(seen[0] && seen[1] && seen[2] && seen[3]);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

static void message_that_had_reached_nobody_reaches_everybody(void)
{
    store = fake_store_new(false);
    fake_store_had(store, "a", 3600, 0, 2);
    fake_store_had_unrouted(store, "rest");
    testbed_start(&bed, 2, store);
    CU_ASSERT_EQUAL(fake_store_queued(store), 3);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_ROUTED), 1);
    struct probe a = {0};
    probe_come_durable(&bed, &a, 0, "a");
    probe_takes(&bed, &a, true, false);
    CU_ASSERT_TRUE(probe_got(&a, 3));
    CU_ASSERT_STRING_EQUAL(a.messages[2].payload, "rest");
    testbed_stop(&bed);
}

static void will_of_a_client_that_was_there_is_sent_unless_it_waits(void)
{
    for (unsigned delay_s = 0; delay_s <= 100; delay_s += 100) {
        store = fake_store_new(false);
        fake_store_had(store, "a", 3600, 0, 0);
        fake_store_had_will(store, delay_s > 0 ? "a" : "b", delay_s);
        testbed_start(&bed, 2, store);
        testbed_settle(&bed);
        CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_DROP), delay_s == 0);
        CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_PUT), delay_s > 0);
        struct probe a = {0};
        probe_come_durable(&bed, &a, 0, "a");
        testbed_settle(&bed);
        CU_ASSERT_EQUAL(fake_store_requests(store, FAKE_WILL_DROP), 1);
        testbed_stop(&bed);
    }
}

static void qos_0_waits_if_it_is_to(void)
{
    testbed_settings()->session.queue_qos_0 = true;
    start(1, false);
    struct probe a = {0}, b = {0}, p = {0};
    subscriber(&a, 0, "a", "t", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    probe_come(&bed, &p, 0, "p");
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "0", 0, false), PG_OK);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(fake_store_queued(store), 1);
    probe_come_durable(&bed, &b, 0, "a");
    CU_ASSERT_TRUE(probe_got(&b, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(b.messages[0].qos, 0);
    CU_ASSERT_EQUAL(fake_store_queued(store), 0);
    testbed_stop(&bed);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(admission_waits_for_the_session),
        TEST(admission_is_refused_when_the_session_cannot_be_kept),
        TEST(clean_start_waits_until_the_old_session_is_dropped),
        TEST(subscription_waits_and_fails_with_the_store),
        TEST(publication_waits_for_every_session_and_tells_the_worst),
        TEST(overlapping_subscriptions_are_one_entry),
        TEST(queue_comes_back_in_pages_and_in_order),
        TEST(page_that_is_out_does_not_follow_a_session_to_another_worker),
        TEST(what_waits_in_memory_is_read_again_after_the_client_has_gone),
        TEST(session_comes_back_with_its_subscriptions_and_its_queue),
        TEST(session_whose_time_has_passed_does_not_come_back),
        TEST(new_session_that_cannot_be_kept_is_gone),
        TEST(refused_subscription_is_gone),
        TEST(unsubscribing_waits),
        TEST(retained_message_is_there_when_it_is_safe_and_follows_the_answer),
        TEST(delivery_is_recorded_before_it_is_sent_and_before_it_is_released),
        TEST(step_that_was_out_when_the_client_went_is_taken_again),
        TEST(delivery_that_cannot_be_recorded_ends_the_connection),
        TEST(publication_is_in_the_store_before_anybody_gets_it),
        TEST(refused_publication_gives_its_identifier_back),
        TEST(message_of_a_publisher_that_went_reaches_everybody_once),
        TEST(message_that_was_not_received_is_taken_when_it_comes_again),
        TEST(will_is_kept_from_admission_until_it_is_sent_or_dropped),
        TEST(delayed_will_stays_in_the_store_when_the_gateway_stops),
        TEST(what_was_out_comes_again_under_its_identifier),
        TEST(what_was_settled_before_its_page_came_does_not_come_again),
        TEST(what_lies_before_something_that_was_out_is_not_lost),
        TEST(message_that_had_reached_nobody_reaches_everybody),
        TEST(will_of_a_client_that_was_there_is_sent_unless_it_waits),
        TEST(qos_0_waits_if_it_is_to),
        CU_TEST_INFO_NULL,
    };
    return run_suite("durable", tests);
}
