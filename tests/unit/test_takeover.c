/* SPDX-License-Identifier: Apache-2.0 */

/* One identity that moves between workers while others publish to it without pause: nothing is
 * lost, nothing comes twice, order holds per publisher; and many connections that fight for one
 * identity: one has it in the end, all others are told. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry.h"
#include "suite.h"
#include "testbed.h"

#define WORKERS    4
#define PUBLISHERS 4

static struct testbed bed;
static _Atomic bool stop;

struct publisher {
    pthread_t thread;
    struct probe probe;
    unsigned number;
    size_t sent;
    size_t most;
};

static void *publish_on(void *arg)
{
    struct publisher *p = arg;
    char text[32];
    while (!atomic_load(&stop) && p->sent < p->most) {
        snprintf(text, sizeof(text), "%zu", p->sent);
        enum pg_reason r = probe_publish(&bed, &p->probe, "fleet/x", text, 2, false);
        if (r != PG_OK)
            break;
        p->sent++;
    }
    return NULL;
}

static void session_that_moves_loses_nothing_and_repeats_nothing(void)
{
    static const char *names[] = {"p0", "p1", "p2", "p3"};
    testbed_start(&bed, WORKERS, NULL);
    atomic_store(&stop, false);
    struct pg_login mover = {
        .client_id = pg_bytes_str("mover"), .session_expiry_s = PG_FOREVER, .window = 50};
    struct probe *at = calloc(1, sizeof(*at));
    probe_connect(&bed, at, 0, &mover);
    struct pg_subscription one = {.filter = pg_bytes_str("fleet/+"), .qos = 2, .id = 1};
    struct pg_subscription two = {.filter = pg_bytes_str("fleet/x"), .qos = 1, .id = 2};
    probe_subscribe_with(&bed, at, &one);
    probe_subscribe_with(&bed, at, &two);

    struct publisher pubs[PUBLISHERS] = {0};
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        struct pg_login l = {
            .client_id = pg_bytes_str(names[i]), .clean_start = true, .window = 10};
        pubs[i].number = i;
        pubs[i].most = 1000000;
        probe_connect(&bed, &pubs[i].probe, i % WORKERS, &l);
        pthread_create(&pubs[i].thread, NULL, publish_on, &pubs[i]);
    }
    /* Each connection of the mover notes down what it got; all stay for the check. */
    enum { MOVES = 1000 };
    struct probe *all[MOVES + 1] = {at};
    for (int i = 1; i <= MOVES; i++) {
        all[i] = calloc(1, sizeof(*all[i]));
        if (i % 3 == 0) /* sometimes it was away in between */
            probe_close(&bed, all[i - 1], PG_PEER_CLOSED);
        probe_connect(&bed, all[i], (unsigned)(i * 7) % WORKERS, &mover);
        CU_ASSERT_EQUAL(all[i]->admission, PG_OK);
        CU_ASSERT_TRUE(all[i]->session_present);
    }
    atomic_store(&stop, true);
    size_t total = 0;
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        pthread_join(pubs[i].thread, NULL);
        total += pubs[i].sent;
    }
    for (int i = 0; i < 5; i++)
        testbed_settle(&bed);

    size_t next[PUBLISHERS] = {0}, got = 0, faults = 0;
    for (int i = 0; i <= MOVES; i++)
        for (size_t m = 0; m < all[i]->message_count; m++) {
            struct probe_message *msg = &all[i]->messages[m];
            unsigned from = (unsigned)(msg->publisher[1] - '0');
            bool wrong =
                (size_t)atol(msg->payload) != next[from] || msg->qos != 2 || msg->id_count != 2;
            if (wrong && faults++ < 5)
                printf("\n  connection %d: p%u sent %s, expected %zu (qos %u, %zu identifiers)", i,
                       from, msg->payload, next[from], msg->qos, msg->id_count);
            next[from] = (size_t)atol(msg->payload) + 1;
            got++;
        }
    printf(" (%zu messages, %d moves) ", total, MOVES);
    CU_ASSERT_EQUAL(faults, 0);
    CU_ASSERT_EQUAL(got, total);
    testbed_stop(&bed);
    for (int i = 0; i <= MOVES; i++)
        free(all[i]);
}

struct fighter {
    pthread_t thread;
    unsigned number;
    int rounds;
    size_t refused;
    bool clean;
    struct probe last;
};

static bool was_refused(void *arg)
{
    struct probe *p = arg;
    return !p->is_closed && p->answered && p->admission != PG_OK;
}

static void *fight(void *arg)
{
    struct fighter *f = arg;
    struct pg_login l = {.client_id = pg_bytes_str("champion"),
                         .session_expiry_s = f->clean ? 0 : 600,
                         .clean_start = f->clean,
                         .window = 10};
    struct probe *before = NULL;
    for (int i = 0; i < f->rounds; i++) {
        struct probe *p = calloc(1, sizeof(*p));
        probe_connect(&bed, p, (f->number + (unsigned)i) % WORKERS, &l);
        if (testbed_wait(was_refused, p, 0))
            f->refused++;
        (void)probe_subscribe(&bed, p, i % 2 ? "a/b" : "a/+", 1);
        if (before) {
            probe_close(&bed, before, PG_PEER_CLOSED);
            probe_free(before);
            free(before);
        }
        before = p;
    }
    probe_close(&bed, before, PG_PEER_CLOSED);
    probe_free(before);
    free(before);
    return NULL;
}

static void fight_for_one_identity(bool mixed)
{
    testbed_start(&bed, WORKERS, NULL);
    struct fighter fighters[6] = {0};
    for (unsigned i = 0; i < 6; i++) {
        fighters[i].number = i;
        fighters[i].rounds = 100;
        fighters[i].clean = mixed && i % 2;
        pthread_create(&fighters[i].thread, NULL, fight, &fighters[i]);
    }
    for (unsigned i = 0; i < 6; i++) {
        pthread_join(fighters[i].thread, NULL);
        CU_ASSERT_EQUAL(fighters[i].refused, 0);
    }
    testbed_settle(&bed);
    CU_ASSERT_TRUE(pg_registry_count(bed.server.registry) <= 1);
    testbed_stop(&bed);
}

static void many_connections_that_fight_for_one_durable_identity_leave_one_session(void)
{
    fight_for_one_identity(false);
}

static void clean_and_durable_fighters_mixed_leave_at_most_one_session(void)
{
    fight_for_one_identity(true);
}

/* A reload would change the limit; here it is one for the whole test. */
static void no_more_sessions_than_the_limit_and_those_that_are_there_go_on(void)
{
    testbed_settings()->limits.sessions = 2;
    testbed_start(&bed, WORKERS, NULL);
    struct probe probes[6] = {0};
    struct pg_login login = {.session_expiry_s = PG_FOREVER, .window = 10};
    static const struct {
        const char *id;
        enum pg_reason answer;
    } steps[] = {{"a", PG_OK}, {"b", PG_OK}, {"c", PG_QUOTA_EXCEEDED}, {"a", PG_OK}};
    for (unsigned i = 0; i < 4; i++) {
        login.client_id = pg_bytes_str(steps[i].id);
        probe_connect(&bed, &probes[i], i, &login);
        CU_ASSERT_EQUAL(probes[i].admission, steps[i].answer);
    }
    CU_ASSERT_TRUE(probes[3].session_present);
    CU_ASSERT_EQUAL(pg_registry_count(bed.server.registry), 2);
    /* A session that ends makes room. */
    login = (struct pg_login){
        .client_id = pg_bytes_str("b"), .clean_start = true, .session_expiry_s = 0, .window = 10};
    probe_connect(&bed, &probes[4], 0, &login);
    CU_ASSERT_EQUAL(probes[4].admission, PG_OK);
    probe_close(&bed, &probes[4], PG_CLIENT_CLOSED);
    testbed_settle(&bed);
    login.client_id = pg_bytes_str("c");
    probe_connect(&bed, &probes[5], 1, &login);
    CU_ASSERT_EQUAL(probes[5].admission, PG_OK);
    testbed_stop(&bed);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(session_that_moves_loses_nothing_and_repeats_nothing),
        TEST(many_connections_that_fight_for_one_durable_identity_leave_one_session),
        TEST(clean_and_durable_fighters_mixed_leave_at_most_one_session),
        TEST(no_more_sessions_than_the_limit_and_those_that_are_there_go_on),
        CU_TEST_INFO_NULL,
    };
    return run_suite("takeover", tests);
}
