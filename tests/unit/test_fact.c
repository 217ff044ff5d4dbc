/* SPDX-License-Identifier: Apache-2.0 */

/* Facts: set, replaced, forgotten, expired, bounded; safe when that is said, and there again after
 * a restart. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fact.h"
#include "fake_store.h"
#include "store_bed.h"
#include "suite.h"
#include "testbed.h"

#define SPACE PG_BYTES_OF("test")

static enum pg_reason set(const char *key, const char *value, uint32_t expiry_s)
{
    return pg_fact_set(SPACE, pg_bytes_str(key), pg_bytes_str(value), expiry_s, NULL, 0);
}

/* Its value; "" if there is none. Lent until the next call. */
static const char *get(const char *key)
{
    static char value[PG_FACT_VALUE_MAX + 1];
    value[pg_fact_get(SPACE, pg_bytes_str(key), (uint8_t *)value, PG_FACT_VALUE_MAX)] = '\0';
    return value;
}

static void facts_are_set_replaced_and_forgotten(void)
{
    CU_ASSERT_STRING_EQUAL(get("a"), "");
    CU_ASSERT_EQUAL(set("a", "1", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(set("b", "2", PG_FOREVER), PG_OK);
    CU_ASSERT_STRING_EQUAL(get("a"), "1");
    CU_ASSERT_EQUAL(set("a", "another", 3600), PG_OK);
    CU_ASSERT_STRING_EQUAL(get("a"), "another");
    CU_ASSERT_STRING_EQUAL(get("b"), "2");
    CU_ASSERT_EQUAL(set("a", "", 0), PG_OK);
    CU_ASSERT_STRING_EQUAL(get("a"), "");
    CU_ASSERT_EQUAL(set("never", "", 0), PG_OK);
    /* A key belongs to its space. */
    CU_ASSERT_EQUAL(pg_fact_get(PG_BYTES_OF("tes"), PG_BYTES_OF("tb"), NULL, 0), 0);
    CU_ASSERT_EQUAL(pg_fact_get(PG_BYTES_OF("other"), PG_BYTES_OF("b"), NULL, 0), 0);
    uint8_t room[1];
    CU_ASSERT_EQUAL(set("long", "value", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(pg_fact_get(SPACE, PG_BYTES_OF("long"), room, 1), 5);
    CU_ASSERT_EQUAL(room[0], 'v');
    pg_facts_free();
    CU_ASSERT_STRING_EQUAL(get("b"), "");
}

static void lengths_are_bounded(void)
{
    static char text[PG_FACT_VALUE_MAX + 2];
    memset(text, 'x', PG_FACT_VALUE_MAX + 1);
    CU_ASSERT_EQUAL(set("v", text, PG_FOREVER), PG_TOO_LARGE);
    text[PG_FACT_VALUE_MAX] = '\0';
    CU_ASSERT_EQUAL(set("v", text, PG_FOREVER), PG_OK);
    CU_ASSERT_STRING_EQUAL(get("v"), text);
    text[PG_FACT_KEY_MAX + 1] = '\0';
    CU_ASSERT_EQUAL(set(text, "v", PG_FOREVER), PG_TOO_LARGE);
    text[PG_FACT_KEY_MAX] = '\0';
    CU_ASSERT_EQUAL(set(text, "v", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(set("", "v", PG_FOREVER), PG_TOO_LARGE);
    text[PG_FACT_SPACE_MAX + 1] = '\0';
    struct pg_bytes key = PG_BYTES_OF("k"), value = PG_BYTES_OF("v");
    CU_ASSERT_EQUAL(pg_fact_set(pg_bytes_str(text), key, value, 1, NULL, 0), PG_TOO_LARGE);
    CU_ASSERT_EQUAL(pg_fact_set(PG_BYTES_OF(""), key, value, 1, NULL, 0), PG_TOO_LARGE);
    /* The gateway's own. */
    CU_ASSERT_EQUAL(pg_fact_set(PG_BYTES_OF("bans"), key, value, 1, NULL, 0), PG_TOO_LARGE);
    pg_facts_free();
}

/* Up to the bound; what has expired makes room, and what is there can always be changed. */
static void their_number_is_bounded(void)
{
    char key[32];
    CU_ASSERT_TRUE(pg_fact_restore(SPACE, PG_BYTES_OF("old"), PG_BYTES_OF("x"), 1)); /* in 1970 */
    for (unsigned i = 0; i < PG_FACTS_MAX - 1; i++) {
        snprintf(key, sizeof(key), "%u", i);
        if (set(key, "x", PG_FOREVER) != PG_OK)
            CU_FAIL_FATAL("there is room");
    }
    CU_ASSERT_EQUAL(set("last", "x", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(set("one more", "x", PG_FOREVER), PG_QUOTA_EXCEEDED);
    CU_ASSERT_EQUAL(set("last", "y", PG_FOREVER), PG_OK);
    CU_ASSERT_STRING_EQUAL(get("last"), "y");
    CU_ASSERT_STRING_EQUAL(get("777777"), "x");
    CU_ASSERT_EQUAL(set("0", "", 0), PG_OK);
    CU_ASSERT_EQUAL(set("one more", "x", PG_FOREVER), PG_OK);
    pg_facts_free();
}

static void what_has_expired_is_not_there(void)
{
    uint32_t now_s = (uint32_t)(pg_wall_ms() / 1000);
    CU_ASSERT_TRUE(pg_fact_restore(SPACE, PG_BYTES_OF("a"), PG_BYTES_OF("1"), now_s - 1));
    CU_ASSERT_TRUE(pg_fact_restore(SPACE, PG_BYTES_OF("b"), PG_BYTES_OF("2"), now_s + 3600));
    CU_ASSERT_TRUE(pg_fact_restore(SPACE, PG_BYTES_OF("c"), PG_BYTES_OF("3"), 0));
    CU_ASSERT_STRING_EQUAL(get("a"), "");
    CU_ASSERT_STRING_EQUAL(get("b"), "2");
    CU_ASSERT_STRING_EQUAL(get("c"), "3");
    pg_facts_free();
}

static void facts_are_in_the_store(void)
{
    begin();
    pg_facts_use_store(store);
    CU_ASSERT_EQUAL(set("forever", "1", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(set("gone", "2", PG_FOREVER), PG_OK);
    CU_ASSERT_EQUAL(set("gone", "", 0), PG_OK);
    uint32_t before_s = (uint32_t)(pg_wall_ms() / 1000);
    CU_ASSERT_EQUAL(set("hour", "3", 3600), PG_OK);
    reopen();
    CU_ASSERT_EQUAL(restored.facts, 2);
    CU_ASSERT_STRING_EQUAL(restored.names, "fact:forever=1 fact:hour=3 ");
    CU_ASSERT(restored.fact_expires_wall_s >= before_s + 3600 &&
              restored.fact_expires_wall_s < before_s + 3700);
    pg_facts_free();
    finish();
}

/* ---- with a client that waits ---------------------------------------------------------------- */

static struct testbed bed;

struct setting {
    struct probe *probe;
    const char *value;
    enum pg_reason result;
};

static void do_set(void *arg)
{
    struct setting *s = arg;
    s->result = pg_fact_set(SPACE, PG_BYTES_OF("key"), pg_bytes_str(s->value), PG_FOREVER,
                            s->probe->client, 42);
}

static enum pg_reason set_of(struct probe *probe, const char *value)
{
    struct setting s = {.probe = probe, .value = value};
    testbed_run(&bed, probe->worker, do_set, &s);
    return s.result;
}

static bool has_heard(void *arg)
{
    return ((struct probe *)arg)->published_count > 0;
}

static void a_client_hears_of_it_when_it_is_safe(void)
{
    struct pg_store *fake = fake_store_new(false);
    testbed_start(&bed, 1, fake);
    struct probe p = {0};
    struct pg_login login = {.client_id = PG_BYTES_OF("p"), .clean_start = true, .window = 1};
    probe_connect(&bed, &p, 0, &login);
    CU_ASSERT_EQUAL(set_of(&p, "no store"), PG_OK); /* nobody is told of one */
    pg_facts_use_store(fake);
    fake_store_hold(fake, true);
    CU_ASSERT_EQUAL(set_of(&p, "one"), PG_PENDING);
    testbed_settle(&bed);
    CU_ASSERT_FALSE(testbed_wait(has_heard, &p, 0));
    CU_ASSERT_STRING_EQUAL(get("key"), "one");
    (void)fake_store_complete(fake, PG_OK);
    CU_ASSERT_TRUE(testbed_wait(has_heard, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_OK);
    CU_ASSERT_EQUAL(p.published_token, 42);
    p.published_count = 0;
    CU_ASSERT_EQUAL(set_of(&p, "two"), PG_PENDING);
    (void)fake_store_complete(fake, PG_STORE_FAILED);
    CU_ASSERT_TRUE(testbed_wait(has_heard, &p, PATIENCE_S));
    CU_ASSERT_EQUAL(p.published_reason, PG_STORE_FAILED);
    CU_ASSERT_STRING_EQUAL(get("key"), "two");
    /* One that goes meanwhile is not told. */
    CU_ASSERT_EQUAL(set_of(&p, "three"), PG_PENDING);
    probe_close(&bed, &p, PG_PEER_CLOSED);
    (void)fake_store_complete(fake, PG_OK);
    testbed_stop(&bed);
    pg_facts_free();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(facts_are_set_replaced_and_forgotten),
        TEST(lengths_are_bounded),
        TEST(their_number_is_bounded),
        TEST(what_has_expired_is_not_there),
        TEST(facts_are_in_the_store),
        TEST(a_client_hears_of_it_when_it_is_safe),
        CU_TEST_INFO_NULL,
    };
    return run_suite("fact", tests);
}
