/* SPDX-License-Identifier: Apache-2.0 */

/* From one client to another through the real core: delivery, sessions, take-over within a worker
 * and between workers, wills, retained messages, shared subscriptions, P2P. A test's name says what
 * must hold. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "suite.h"
#include "testbed.h"

#define TEXT(s) pg_bytes_str(s)

static struct testbed bed;

/* ---- delivery -------------------------------------------------------------------------------- */

static void message_reaches_subscribers_on_every_worker(void)
{
    testbed_start(&bed, 3, NULL);
    struct probe subs[3] = {0}, pub = {0};
    const char *names[] = {"s0", "s1", "s2"};
    for (unsigned i = 0; i < 3; i++) {
        struct pg_login l = probe_login(names[i]);
        probe_connect(&bed, &subs[i], i, &l);
        CU_ASSERT_EQUAL(subs[i].admission, PG_OK);
        CU_ASSERT_EQUAL(probe_subscribe(&bed, &subs[i], i == 1 ? "a/+" : "a/b", 1), PG_OK);
    }
    struct pg_login l = probe_login("p");
    probe_connect(&bed, &pub, 1, &l);
    CU_ASSERT_EQUAL(probe_publish(&bed, &pub, "a/b", "hello", 1, false), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &pub, "a/b/c", "nobody", 1, false), PG_NO_SUBSCRIBERS);
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(probe_got(&subs[i], 1));
        CU_ASSERT_STRING_EQUAL(subs[i].messages[0].payload, "hello");
        CU_ASSERT_STRING_EQUAL(subs[i].messages[0].publisher, "p");
        CU_ASSERT_EQUAL(subs[i].messages[0].qos, 1);
    }
    testbed_settle(&bed);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(subs[i].message_count, 1);
    testbed_stop(&bed);
}

static void overlapping_subscriptions_are_one_delivery_with_all_identifiers(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe sub = {0}, pub = {0};
    probe_come(&bed, &sub, 0, "s");
    probe_come(&bed, &pub, 1, "p");
    struct pg_subscription a = {.filter = TEXT("x/y"), .qos = 0, .id = 5};
    struct pg_subscription b = {.filter = TEXT("x/#"), .qos = 2, .id = 9};
    struct pg_subscription c = {.filter = TEXT("+/y"), .qos = 1};
    probe_subscribe_with(&bed, &sub, &a);
    probe_subscribe_with(&bed, &sub, &b);
    probe_subscribe_with(&bed, &sub, &c);
    probe_publish(&bed, &pub, "x/y", "1", 2, false);
    CU_ASSERT_TRUE(probe_got(&sub, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(sub.message_count, 1);
    CU_ASSERT_EQUAL(sub.messages[0].qos, 2);
    CU_ASSERT_EQUAL(sub.messages[0].id_count, 2);
    CU_ASSERT_EQUAL(sub.messages[0].ids[0] + sub.messages[0].ids[1], 14);
    testbed_stop(&bed);
}

static void no_local_keeps_a_clients_own_messages_from_it(void)
{
    testbed_start(&bed, 1, NULL);
    struct probe p = {0}, q = {0};
    probe_come(&bed, &p, 0, "p");
    probe_come(&bed, &q, 0, "q");
    struct pg_subscription sub = {.filter = TEXT("t"), .qos = 1, .no_local = true};
    probe_subscribe_with(&bed, &p, &sub);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "own", 1, false), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &q, "t", "other", 1, false), PG_OK);
    CU_ASSERT_TRUE(probe_got(&p, 1));
    CU_ASSERT_STRING_EQUAL(p.messages[0].payload, "other");
    testbed_stop(&bed);
}

static void window_bounds_what_is_out_and_queue_what_waits(void)
{
    testbed_settings()->session.queue_messages = 5;
    testbed_start(&bed, 1, NULL);
    struct probe s = {0}, p = {0};
    struct pg_login ls = probe_login("s");
    ls.window = 2;
    probe_connect(&bed, &s, 0, &ls);
    probe_takes(&bed, &s, true, false);
    probe_come(&bed, &p, 0, "p");
    probe_subscribe(&bed, &s, "t", 1);
    char text[16];
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "%d", i);
        CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", text, 1, false), PG_OK);
    }
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 2);
    /* 0 and 1 are out, 2..9 were queued in room for 5: the oldest three went. */
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT_TRUE(probe_settle(&bed, &s, s.messages[i].id));
        CU_ASSERT_FALSE(probe_settle(&bed, &s, s.messages[i].id));
        testbed_settle(&bed);
    }
    CU_ASSERT_EQUAL(s.message_count, 7);
    CU_ASSERT_STRING_EQUAL(s.messages[2].payload, "5");
    CU_ASSERT_STRING_EQUAL(s.messages[6].payload, "9");
    testbed_stop(&bed);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void window_in_bytes_lets_one_out_and_no_more_than_fit(void)
{
    testbed_settings()->session.inflight_bytes = 10;
    testbed_start(&bed, 1, NULL);
    struct probe s = {.holds = true}, p = {0};
    probe_come(&bed, &s, 0, "s");
    probe_come(&bed, &p, 0, "p");
    probe_subscribe(&bed, &s, "t", 2);
    const char *payloads[] = {"longer than ten", "12345", "67890", "1"};
    for (int i = 0; i < 4; i++)
        probe_publish(&bed, &p, "t", payloads[i], i == 1 ? 2 : 1, false);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 1); /* one is always let out */
    CU_ASSERT_TRUE(probe_settle(&bed, &s, s.messages[0].id));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 3);                        /* exactly ten bytes */
    CU_ASSERT_TRUE(probe_received(&bed, &s, s.messages[1].id)); /* its bytes count no more */
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 4);
    CU_ASSERT_TRUE(probe_settle(&bed, &s, s.messages[1].id));
    probe_publish(&bed, &p, "t", "1234", 1, false);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 5);
    probe_publish(&bed, &p, "t", "x", 1, false);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 5);
    testbed_stop(&bed);
}

static void subscriptions_raise_the_qos_where_that_is_asked_for(void)
{
    testbed_settings()->session.upgrade_qos = true;
    testbed_start(&bed, 1, NULL);
    struct probe s = {0}, p = {0};
    probe_come_durable(&bed, &s, 0, "s");
    probe_come(&bed, &p, 0, "p");
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "kept", "0", 0, true), PG_NO_SUBSCRIBERS);
    probe_subscribe(&bed, &s, "#", 1);
    CU_ASSERT_TRUE(probe_got(&s, 1));
    CU_ASSERT_EQUAL(s.messages[0].qos, 1);
    probe_publish(&bed, &p, "t", "2", 2, false);
    CU_ASSERT_TRUE(probe_got(&s, 2));
    CU_ASSERT_EQUAL(s.messages[1].qos, 1);
    probe_close(&bed, &s, PG_PEER_CLOSED);
    probe_publish(&bed, &p, "t", "while away", 0, false);
    probe_come_durable(&bed, &s, 0, "s");
    CU_ASSERT_TRUE(probe_got(&s, 3));
    CU_ASSERT_EQUAL(s.messages[2].qos, 1);
    testbed_stop(&bed);
}

static void durable_session_keeps_qos_1_and_2_but_not_qos_0(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe s = {0}, p = {0};
    probe_come_durable(&bed, &s, 0, "s");
    CU_ASSERT_FALSE(s.session_present);
    probe_come(&bed, &p, 1, "p");
    probe_subscribe(&bed, &s, "t", 2);
    probe_close(&bed, &s, PG_CLIENT_CLOSED);
    CU_ASSERT_EQUAL(s.ended, PG_CLIENT_CLOSED);
    probe_publish(&bed, &p, "t", "zero", 0, false);
    probe_publish(&bed, &p, "t", "one", 1, false);
    probe_publish(&bed, &p, "t", "two", 2, false);
    testbed_settle(&bed);
    probe_come_durable(&bed, &s, 0, "s");
    CU_ASSERT_TRUE(s.session_present);
    CU_ASSERT_TRUE(probe_got(&s, 2));
    CU_ASSERT_STRING_EQUAL(s.messages[0].payload, "one");
    CU_ASSERT_STRING_EQUAL(s.messages[1].payload, "two");
    CU_ASSERT_FALSE(s.messages[0].redelivered);
    testbed_stop(&bed);
}

static void unsettled_deliveries_come_again_in_order_with_their_identifiers(void)
{
    testbed_start(&bed, 1, NULL);
    struct probe s = {0}, p = {0};
    struct pg_login ls = probe_login_durable("s");
    s.holds = true;
    probe_connect(&bed, &s, 0, &ls);
    probe_come(&bed, &p, 0, "p");
    probe_subscribe(&bed, &s, "t", 2);
    probe_publish(&bed, &p, "t", "a", 2, false);
    probe_publish(&bed, &p, "t", "b", 1, false);
    probe_publish(&bed, &p, "t", "c", 2, false);
    CU_ASSERT_TRUE(probe_got(&s, 3));
    CU_ASSERT_TRUE(probe_received(&bed, &s, s.messages[0].id));
    CU_ASSERT_FALSE(probe_received(&bed, &s, s.messages[1].id)); /* QoS 1 has no such step */
    CU_ASSERT_TRUE(probe_settle(&bed, &s, s.messages[1].id));
    for (int again = 0; again < 3; again++) { /* through any number of connections */
        probe_close(&bed, &s, PG_PEER_CLOSED);
        s.message_count = 3;
        probe_begin(&bed, &s, 0, &ls);
        CU_ASSERT_TRUE(probe_got(&s, 5));
        CU_ASSERT_EQUAL(s.messages[3].id, s.messages[0].id);
        CU_ASSERT_TRUE(s.messages[3].received && s.messages[3].redelivered);
        CU_ASSERT_EQUAL(s.messages[4].id, s.messages[2].id);
        CU_ASSERT_STRING_EQUAL(s.messages[4].payload, "c");
        CU_ASSERT_TRUE(s.messages[4].redelivered);
    }
    testbed_stop(&bed);
}

static void clean_start_discards_the_session(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe s = {0}, p = {0};
    struct pg_login ls = probe_login_durable("s");
    probe_connect(&bed, &s, 0, &ls);
    probe_subscribe(&bed, &s, "t", 1);
    probe_close(&bed, &s, PG_CLIENT_CLOSED);
    ls.clean_start = true;
    probe_come(&bed, &s, 1, "s"); /* on another worker, too */
    CU_ASSERT_FALSE(s.session_present);
    probe_come(&bed, &p, 0, "p");
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, false), PG_NO_SUBSCRIBERS);
    testbed_stop(&bed);
}

static void session_ends_when_its_expiry_passes(void)
{
    testbed_start(&bed, 1, NULL);
    struct probe s = {0}, p = {0};
    struct pg_login ls = probe_login_durable("s");
    ls.session_expiry_s = 1;
    probe_connect(&bed, &s, 0, &ls);
    probe_subscribe(&bed, &s, "t", 1);
    struct pg_msg_spec will = {.topic = TEXT("will"), .payload = TEXT("gone"), .qos = 1};
    struct pg_login lw = probe_login_durable("w");
    lw.session_expiry_s = 1;
    lw.will = &will;
    lw.will_delay_s = 600; /* the session's end comes first */
    struct probe w = {0};
    probe_connect(&bed, &w, 0, &lw);
    probe_come(&bed, &p, 0, "p");
    probe_subscribe(&bed, &p, "will", 1);
    probe_close(&bed, &s, PG_CLIENT_CLOSED);
    probe_close(&bed, &w, PG_PEER_CLOSED);
    CU_ASSERT_TRUE(probe_got(&p, 1));
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "late", 1, false), PG_NO_SUBSCRIBERS);
    testbed_stop(&bed);
}

/* ---- wills ----------------------------------------------------------------------------------- */

static void will_comes_after_a_broken_link_and_not_after_a_goodbye(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe w = {0}, s = {0};
    struct pg_msg_spec will = {.topic = TEXT("will"), .payload = TEXT("gone"), .qos = 1};
    struct pg_login lw = probe_login("w");
    lw.will = &will;
    probe_come(&bed, &s, 1, "s");
    probe_subscribe(&bed, &s, "will", 1);
    probe_connect(&bed, &w, 0, &lw);
    void (*drop)(struct pg_client *) = pg_client_drop_will;
    testbed_run(&bed, 0, (void (*)(void *))drop, w.client);
    probe_close(&bed, &w, PG_CLIENT_CLOSED);
    probe_connect(&bed, &w, 0, &lw);
    probe_close(&bed, &w, PG_PEER_CLOSED);
    CU_ASSERT_TRUE(probe_got(&s, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 1);
    CU_ASSERT_STRING_EQUAL(s.messages[0].publisher, "w");
    testbed_stop(&bed);
}

static void take_over_publishes_a_will_once_unless_it_is_delayed_and_resumed(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe w1 = {0}, w2 = {0}, w3 = {0}, s = {0};
    struct pg_msg_spec will = {.topic = TEXT("will"), .payload = TEXT("1"), .qos = 1};
    struct pg_login lw = probe_login_durable("w");
    lw.will = &will;
    probe_come(&bed, &s, 1, "s");
    probe_subscribe(&bed, &s, "will", 1);
    probe_connect(&bed, &w1, 0, &lw);
    will.payload = TEXT("2");
    lw.will_delay_s = 600;
    probe_connect(&bed, &w2, 1, &lw); /* takes over; will 1 has no delay */
    CU_ASSERT_TRUE(testbed_wait(probe_has_ended, &w1, PATIENCE_S));
    CU_ASSERT_EQUAL(w1.ended, PG_TAKEN_OVER);
    CU_ASSERT_EQUAL(w1.closed_for, PG_TAKEN_OVER);
    CU_ASSERT_TRUE(w2.session_present);
    CU_ASSERT_TRUE(probe_got(&s, 1));
    lw.will = NULL;
    probe_connect(&bed, &w3, 0, &lw); /* resumes in time: will 2 is not sent */
    CU_ASSERT_TRUE(w3.session_present);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 1);
    CU_ASSERT_STRING_EQUAL(s.messages[0].payload, "1");
    testbed_stop(&bed);
}

/* Without a store nothing comes after it, so that no delay is waited for, also of those that are away. */
static void stop_publishes_every_will(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe w = {0}, away = {0}, s = {0};
    struct pg_msg_spec will = {.topic = TEXT("will"), .payload = TEXT("w"), .qos = 1};
    struct pg_login lw = probe_login_durable("w"), la = probe_login_durable("away");
    lw.will = la.will = &will;
    lw.will_delay_s = la.will_delay_s = 600;
    probe_come(&bed, &s, 1, "s");
    probe_subscribe(&bed, &s, "will", 1);
    probe_connect(&bed, &away, 0, &la);
    probe_close(&bed, &away, PG_PEER_CLOSED);
    probe_connect(&bed, &w, 0, &lw);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 0);
    testbed_run(&bed, 0, (void (*)(void *))pg_wills_drain, bed.server.workers[0]);
    CU_ASSERT_TRUE(probe_got(&s, 1));
    CU_ASSERT_STRING_EQUAL(s.messages[0].publisher, "away");
    probe_close(&bed, &w, PG_DRAINING);
    CU_ASSERT_TRUE(probe_got(&s, 2));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 2);
    CU_ASSERT_STRING_EQUAL(s.messages[1].publisher, "w");
    testbed_stop(&bed);
}

/* ---- retained -------------------------------------------------------------------------------- */

static void retained_messages_come_with_the_lower_qos_and_not_to_shared_subscriptions(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe s = {0}, p = {0};
    probe_come(&bed, &p, 0, "p");
    probe_publish(&bed, &p, "r/1", "one", 2, true);
    probe_publish(&bed, &p, "r/2", "two", 1, true);
    probe_publish(&bed, &p, "r/3", "three", 1, true);
    probe_publish(&bed, &p, "r/3", "", 1, true);
    probe_come(&bed, &s, 1, "s");
    probe_subscribe(&bed, &s, "$share/g/r/+", 2);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 0);
    probe_subscribe(&bed, &s, "r/+", 1);
    CU_ASSERT_TRUE(probe_got(&s, 2));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 2);
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(s.messages[i].retain);
        CU_ASSERT_EQUAL(s.messages[i].qos, 1);
    }
    struct pg_subscription again = {.filter = TEXT("r/+"), .qos = 1, .retain_handling = 1};
    probe_subscribe_with(&bed, &s, &again);
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(s.message_count, 2);
    testbed_stop(&bed);
}

/* ---- shared ---------------------------------------------------------------------------------- */

static void shared_subscription_gives_each_message_to_one_member_in_fair_shares(void)
{
    testbed_start(&bed, 3, NULL);
    struct probe m[4] = {0}, p = {0};
    const char *names[] = {"m0", "m1", "m2", "m3"};
    for (unsigned i = 0; i < 4; i++) {
        probe_come(&bed, &m[i], i % 3, names[i]);
        probe_subscribe(&bed, &m[i], "$share/g/t", 1);
    }
    probe_come(&bed, &p, 2, "p");
    for (int i = 0; i < 400; i++)
        probe_publish(&bed, &p, "t", "x", 1, false);
    testbed_settle(&bed);
    size_t total = 0;
    for (unsigned i = 0; i < 4; i++) {
        total += m[i].message_count;
        CU_ASSERT_TRUE(m[i].message_count >= 60 && m[i].message_count <= 140);
    }
    CU_ASSERT_EQUAL(total, 400);
    testbed_stop(&bed);
}

static void members_that_are_away_get_nothing_while_another_is_there(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe a = {0}, b = {0}, p = {0};
    probe_come_durable(&bed, &a, 0, "a");
    probe_subscribe(&bed, &a, "$share/g/t", 1);
    probe_come_durable(&bed, &b, 1, "b");
    probe_subscribe(&bed, &b, "$share/g/t", 1);
    probe_come(&bed, &p, 0, "p");
    probe_close(&bed, &a, PG_PEER_CLOSED);
    for (int i = 0; i < 20; i++)
        probe_publish(&bed, &p, "t", "x", 1, false);
    CU_ASSERT_TRUE(probe_got(&b, 20));
    probe_close(&bed, &b, PG_PEER_CLOSED);
    for (int i = 0; i < 20; i++) /* nobody is there: it waits with either */
        CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, false), PG_OK);
    size_t before = b.message_count;
    probe_come_durable(&bed, &a, 1, "a");
    probe_come_durable(&bed, &b, 0, "b");
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(a.message_count + b.message_count - before, 20);
    CU_ASSERT_TRUE(a.message_count > 0);
    testbed_stop(&bed);
}

static void what_is_returned_goes_to_another_member_wherever_it_is(void)
{
    for (unsigned other = 0; other < 2; other++) {
        testbed_start(&bed, 2, NULL);
        struct probe a = {.holds = true}, b = {.holds = true}, p = {0};
        probe_come(&bed, &a, 0, "a");
        probe_subscribe(&bed, &a, "$share/g/t", 1);
        probe_come(&bed, &p, 0, "p");
        CU_ASSERT_EQUAL(probe_publish(&bed, &p, "t", "x", 1, false), PG_OK);
        CU_ASSERT_TRUE(probe_got(&a, 1));
        CU_ASSERT_EQUAL(a.messages[0].tries, 0);
        /* Nobody else is there. */
        CU_ASSERT_TRUE(probe_return(&bed, &a, a.messages[0].id));
        CU_ASSERT_TRUE(probe_got(&a, 2));
        CU_ASSERT_EQUAL(a.messages[1].tries, 1);
        CU_ASSERT_TRUE(a.messages[1].redelivered);
        probe_come(&bed, &b, other, "b");
        probe_subscribe(&bed, &b, "$share/g/t", 1);
        CU_ASSERT_TRUE(probe_return(&bed, &a, a.messages[1].id));
        CU_ASSERT_FALSE(probe_return(&bed, &a, a.messages[1].id));
        CU_ASSERT_TRUE(probe_got(&b, 1));
        CU_ASSERT_STRING_EQUAL(b.messages[0].payload, "x");
        CU_ASSERT_EQUAL(b.messages[0].tries, 2);
        /* A holder that leaves has tried, too. */
        probe_close(&bed, &b, PG_PEER_CLOSED);
        CU_ASSERT_TRUE(probe_got(&a, 3));
        CU_ASSERT_EQUAL(a.messages[2].tries, 3);
        CU_ASSERT_TRUE(probe_settle(&bed, &a, a.messages[2].id));
        testbed_settle(&bed);
        CU_ASSERT_EQUAL(a.message_count, 3);
        testbed_stop(&bed);
    }
}

static void what_is_returned_of_an_ordinary_subscription_comes_again(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe s = {.holds = true}, p = {0};
    struct pg_login ls = probe_login("s");
    ls.window = 2;
    probe_connect(&bed, &s, 0, &ls);
    probe_subscribe(&bed, &s, "t", 1);
    probe_come(&bed, &p, 1, "p");
    for (int i = 0; i < 3; i++)
        probe_publish(&bed, &p, "t", i == 0 ? "0" : i == 1 ? "1" : "2", 1, false);
    CU_ASSERT_TRUE(probe_got(&s, 2));
    testbed_settle(&bed); /* the third waits */
    CU_ASSERT_TRUE(probe_return(&bed, &s, s.messages[0].id));
    CU_ASSERT_TRUE(probe_got(&s, 3));
    CU_ASSERT_STRING_EQUAL(s.messages[2].payload, "2"); /* it has waited longer */
    CU_ASSERT_TRUE(probe_settle(&bed, &s, s.messages[1].id));
    CU_ASSERT_TRUE(probe_got(&s, 4));
    CU_ASSERT_STRING_EQUAL(s.messages[3].payload, "0");
    CU_ASSERT_EQUAL(s.messages[3].tries, 1);
    testbed_stop(&bed);
}

static void what_a_leaving_member_had_not_settled_goes_to_another(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe a = {0}, b = {0}, p = {0};
    probe_come(&bed, &a, 0, "a");
    probe_subscribe(&bed, &a, "$share/g/t", 1);
    probe_takes(&bed, &a, true, false);
    probe_come(&bed, &p, 0, "p");
    for (int i = 0; i < 20; i++)
        probe_publish(&bed, &p, "t", "x", 1, false);
    CU_ASSERT_TRUE(probe_got(&a, 20));
    probe_come(&bed, &b, 1, "b");
    probe_subscribe(&bed, &b, "$share/g/t", 1);
    probe_close(&bed, &a, PG_PEER_CLOSED);
    CU_ASSERT_TRUE(probe_got(&b, 20));
    testbed_stop(&bed);
}

/* ---- P2P ------------------------------------------------------------------------------------- */

static void p2p_reaches_one_client_wherever_it_is_without_subscription(void)
{
    testbed_start(&bed, 2, NULL);
    struct probe a = {0}, p = {0};
    probe_come_durable(&bed, &a, 0, "dev/1");
    probe_come(&bed, &p, 1, "p");
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "parent/p2p/dev/1", "hi", 1, false), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &p, "parent/p2p/nobody", "hi", 1, false),
                    PG_NO_SUCH_CLIENT);
    CU_ASSERT_TRUE(probe_got(&a, 1));
    CU_ASSERT_STRING_EQUAL(a.messages[0].topic, "parent/p2p/dev/1");
    probe_close(&bed, &a, PG_PEER_CLOSED);
    CU_ASSERT_EQUAL(probe_send(&bed, &p, "dev/1", "kept", 1), PG_OK);
    probe_come_durable(&bed, &a, 1, "dev/1");
    CU_ASSERT_TRUE(probe_got(&a, 2));
    CU_ASSERT_STRING_EQUAL(a.messages[1].payload, "kept");
    CU_ASSERT_EQUAL(probe_send(&bed, &p, "ghost", "x", 1), PG_NO_SUCH_CLIENT);
    testbed_stop(&bed);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(message_reaches_subscribers_on_every_worker),
        TEST(overlapping_subscriptions_are_one_delivery_with_all_identifiers),
        TEST(no_local_keeps_a_clients_own_messages_from_it),
        TEST(window_bounds_what_is_out_and_queue_what_waits),
        TEST(window_in_bytes_lets_one_out_and_no_more_than_fit),
        TEST(subscriptions_raise_the_qos_where_that_is_asked_for),
        TEST(durable_session_keeps_qos_1_and_2_but_not_qos_0),
        TEST(unsettled_deliveries_come_again_in_order_with_their_identifiers),
        TEST(clean_start_discards_the_session),
        TEST(session_ends_when_its_expiry_passes),
        TEST(will_comes_after_a_broken_link_and_not_after_a_goodbye),
        TEST(take_over_publishes_a_will_once_unless_it_is_delayed_and_resumed),
        TEST(stop_publishes_every_will),
        TEST(retained_messages_come_with_the_lower_qos_and_not_to_shared_subscriptions),
        TEST(shared_subscription_gives_each_message_to_one_member_in_fair_shares),
        TEST(members_that_are_away_get_nothing_while_another_is_there),
        TEST(what_a_leaving_member_had_not_settled_goes_to_another),
        TEST(what_is_returned_goes_to_another_member_wherever_it_is),
        TEST(what_is_returned_of_an_ordinary_subscription_comes_again),
        TEST(p2p_reaches_one_client_wherever_it_is_without_subscription),
        CU_TEST_INFO_NULL,
    };
    return run_suite("flow", tests);
}
