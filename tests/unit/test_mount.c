/* SPDX-License-Identifier: Apache-2.0 */

/* Listeners with a prefix of topics: what their clients publish and subscribe to is below it, and
 * they do not see it; clients of other listeners see it whole. */

#include <stdlib.h>

#include "mount.h"
#include "suite.h"
#include "testbed.h"

#define PREFIX PG_BYTES_OF("tenant/")

static struct testbed bed;
static struct probe inside, outside;

/* A client behind the prefix, and one that is not, on another worker. */
static void begin(void)
{
    testbed_start(&bed, 2, NULL);
    struct pg_login in = probe_login("inside");
    in.session_expiry_s = 100;
    testbed_set_prefixes("tenant/", "");
    probe_connect(&bed, &inside, 0, &in);
    testbed_set_prefixes("", "");
    probe_come(&bed, &outside, 1, "outside");
}

static void both_ways_the_prefix_is_not_seen(void)
{
    begin();
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &inside, "#", 1), PG_OK);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &outside, "#", 1), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &inside, "a/b", "up", 1, false), PG_OK);
    CU_ASSERT_TRUE(probe_got(&outside, 1)); /* it is on another worker: its own would be first */
    CU_ASSERT_EQUAL(probe_publish(&bed, &outside, "tenant/c", "down", 0, false), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &outside, "elsewhere", "no", 1, false), PG_OK);
    CU_ASSERT_TRUE(probe_got(&outside, 3));
    CU_ASSERT_TRUE(probe_got(&inside, 2));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(inside.message_count, 2);
    CU_ASSERT_STRING_EQUAL(inside.messages[0].topic, "a/b");
    CU_ASSERT_STRING_EQUAL(inside.messages[1].topic, "c");
    CU_ASSERT_STRING_EQUAL(outside.messages[0].topic, "tenant/a/b");
    CU_ASSERT_STRING_EQUAL(outside.messages[0].publisher, "inside");
    testbed_stop(&bed);
}

static void an_unsettled_delivery_comes_again_without_it(void)
{
    begin();
    probe_takes(&bed, &inside, true, false);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &inside, "a", 1), PG_OK);
    CU_ASSERT_EQUAL(probe_publish(&bed, &outside, "tenant/a", "x", 1, false), PG_OK);
    CU_ASSERT_TRUE(probe_got(&inside, 1));
    struct pg_login again = probe_login("inside");
    again.clean_start = false;
    again.session_expiry_s = 100;
    testbed_set_prefixes("tenant/", "");
    struct probe second = {.worker = 0};
    probe_connect(&bed, &second, 0, &again);
    CU_ASSERT_TRUE(second.session_present);
    CU_ASSERT_TRUE(probe_got(&second, 1));
    CU_ASSERT_TRUE(second.messages[0].redelivered);
    CU_ASSERT_STRING_EQUAL(second.messages[0].topic, "a");
    testbed_set_prefixes("", "");
    testbed_stop(&bed);
}

static void retained_and_wills_are_below_it(void)
{
    begin();
    CU_ASSERT_EQUAL(probe_publish(&bed, &inside, "kept", "1", 0, true), PG_NO_SUBSCRIBERS);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &inside, "+", 0), PG_OK);
    CU_ASSERT_TRUE(probe_got(&inside, 1));
    CU_ASSERT_STRING_EQUAL(inside.messages[0].topic, "kept");
    CU_ASSERT_TRUE(inside.messages[0].retain);
    CU_ASSERT_EQUAL(probe_subscribe(&bed, &outside, "tenant/#", 0), PG_OK);
    CU_ASSERT_TRUE(probe_got(&outside, 1));
    CU_ASSERT_STRING_EQUAL(outside.messages[0].topic, "tenant/kept");

    struct pg_msg_spec will = {.topic = PG_BYTES_OF("gone"), .payload = PG_BYTES_OF("w")};
    struct pg_login l = probe_login("mortal");
    l.will = &will;
    struct probe mortal = {.worker = 1};
    testbed_set_prefixes("tenant/", "");
    probe_connect(&bed, &mortal, 1, &l);
    testbed_set_prefixes("", "");
    probe_close(&bed, &mortal, PG_PEER_CLOSED);
    CU_ASSERT_TRUE(probe_got(&outside, 2));
    CU_ASSERT_TRUE(probe_got(&inside, 2));
    CU_ASSERT_STRING_EQUAL(outside.messages[1].topic, "tenant/gone");
    CU_ASSERT_STRING_EQUAL(inside.messages[1].topic, "gone");
    testbed_stop(&bed);
}

static void no_address_of_a_client_leads_out_of_it(void)
{
    begin();
    CU_ASSERT_EQUAL(probe_publish(&bed, &inside, "x/p2p/outside", "psst", 0, false),
                    PG_NO_SUBSCRIBERS);
    CU_ASSERT_EQUAL(probe_publish(&bed, &outside, "x/p2p/inside", "hello", 0, false), PG_OK);
    CU_ASSERT_TRUE(probe_got(&inside, 1));
    testbed_settle(&bed);
    CU_ASSERT_EQUAL(outside.message_count, 0);
    CU_ASSERT_STRING_EQUAL(inside.messages[0].topic, "x/p2p/inside"); /* not below it: as it is */
    testbed_stop(&bed);
}

static void identifiers_must_begin_as_the_listener_says(void)
{
    begin();
    struct probe wrong = {.worker = 0}, right = {.worker = 0};
    testbed_set_prefixes("", "truck-");
    probe_come(&bed, &wrong, 0, "car-");
    CU_ASSERT_EQUAL(wrong.admission, PG_CLIENT_ID_INVALID);
    probe_come(&bed, &right, 0, "truck-1");
    CU_ASSERT_EQUAL(right.admission, PG_OK);
    testbed_set_prefixes("", "");
    testbed_stop(&bed);
}

static bool filter_becomes(const char *filter, const char *expected)
{
    enum pg_reason reason;
    size_t len;
    uint8_t *got = pg_mount_filter(PREFIX, pg_bytes_str(filter), &len, &reason);
    bool equal =
        got ? pg_bytes_equal((struct pg_bytes){.data = got, .len = len}, pg_bytes_str(expected))
            : expected == NULL && reason == PG_FILTER_INVALID;
    free(got);
    return equal;
}

static void filters_keep_their_group_in_front(void)
{
    CU_ASSERT_TRUE(filter_becomes("#", "tenant/#"));
    CU_ASSERT_TRUE(filter_becomes("a/+/b", "tenant/a/+/b"));
    CU_ASSERT_TRUE(filter_becomes("$share/g/a", "$share/g/tenant/a"));
    CU_ASSERT_TRUE(filter_becomes("$SYS/#", "tenant/$SYS/#"));
    CU_ASSERT_TRUE(filter_becomes("a#", NULL));
    static uint8_t longest[65535 + 1];
    struct pg_bytes filter = {.data = longest, .len = 65535 - PREFIX.len};
    for (size_t i = 0; i < sizeof(longest); i++)
        longest[i] = 'x';
    enum pg_reason reason;
    size_t len;
    uint8_t *got = pg_mount_filter(PREFIX, filter, &len, &reason);
    CU_ASSERT_PTR_NOT_NULL(got);
    CU_ASSERT_EQUAL(len, 65535);
    free(got);
    filter.len++;
    CU_ASSERT_PTR_NULL(pg_mount_filter(PREFIX, filter, &len, &reason));
    CU_ASSERT_EQUAL(reason, PG_FILTER_INVALID);
}

static void the_response_topic_goes_with_the_topic(void)
{
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("ask"),
                               .payload = PG_BYTES_OF("?"),
                               .qos = 2,
                               .retain = true,
                               .expires = true,
                               .expiry_s = 60,
                               .publisher = PG_BYTES_OF("me"),
                               .protocol = "probe"};
    spec.props.response_topic = PG_BYTES_OF("answer");
    spec.props.correlation_data = PG_BYTES_OF("7");
    struct pg_msg *msg = pg_msg_new(&spec);
    int64_t expires_ms = msg->expires_ms;
    enum pg_reason reason;
    struct pg_msg *under = pg_mount_enter(PREFIX, msg, &reason);
    CU_ASSERT_TRUE(pg_bytes_equal(under->topic, PG_BYTES_OF("tenant/ask")));
    CU_ASSERT_TRUE(pg_bytes_equal(under->props->response_topic, PG_BYTES_OF("tenant/answer")));
    CU_ASSERT_TRUE(pg_bytes_equal(under->props->correlation_data, PG_BYTES_OF("7")));
    CU_ASSERT_EQUAL(under->expires_ms, expires_ms);
    CU_ASSERT_EQUAL(under->qos, 2);
    CU_ASSERT_TRUE(under->retain);
    struct pg_msg *seen = pg_mount_leave(PREFIX, under);
    CU_ASSERT_TRUE(pg_bytes_equal(seen->topic, PG_BYTES_OF("ask")));
    CU_ASSERT_TRUE(pg_bytes_equal(seen->props->response_topic, PG_BYTES_OF("answer")));
    CU_ASSERT_TRUE(pg_bytes_equal(seen->publisher, PG_BYTES_OF("me")));
    CU_ASSERT_EQUAL(seen->expires_ms, expires_ms);
    pg_msg_unref(&seen);
    seen = pg_mount_leave(PG_BYTES_OF("tenant/ask/"), under);
    CU_ASSERT_PTR_EQUAL(seen, under);
    pg_msg_unref(&seen);
    pg_msg_unref(&under);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(both_ways_the_prefix_is_not_seen),
        TEST(an_unsettled_delivery_comes_again_without_it),
        TEST(retained_and_wills_are_below_it),
        TEST(no_address_of_a_client_leads_out_of_it),
        TEST(identifiers_must_begin_as_the_listener_says),
        TEST(filters_keep_their_group_in_front),
        TEST(the_response_topic_goes_with_the_topic),
        CU_TEST_INFO_NULL,
    };
    return run_suite("mount", tests);
}
