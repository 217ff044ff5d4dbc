/* SPDX-License-Identifier: Apache-2.0 */

/* Peers: what their texts are kept as, and their identities. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "peer.h"
#include "suite.h"

static const char *const in_place[] = {"0.0.0.0:0", "127.0.0.1:1883", "192.0.2.17:40112",
                                       "255.255.255.255:65535"};
static const char *const apart[] = {"",
                                    "1.2.3.4",
                                    "1.2.3.4:",
                                    "1.2.3:4",
                                    "1.2.3.4.5:6",
                                    "1.2.3.256:4",
                                    "1.2.3.4:65536",
                                    "99999999999999999999.2.3.4:5",
                                    "01.2.3.4:5",
                                    "1.2.3.4:05",
                                    "1.2.3.4:5 ",
                                    " 1.2.3.4:5",
                                    "1.2.3.-4:5",
                                    "[::1]:40112",
                                    "unix:pid=1,uid=0"};

static void a_text_comes_back(const char *const *texts, size_t count, bool in_struct)
{
    for (size_t i = 0; i < count; i++) {
        struct pg_peer peer = {0};
        CU_ASSERT_TRUE_FATAL(pg_peer_set(&peer, texts[i]));
        CU_ASSERT_EQUAL(peer.bits & 1, in_struct);
        CU_ASSERT_STRING_EQUAL(pg_peer_text(&peer), texts[i]);
        CU_ASSERT_PTR_NULL(pg_peer_identity(&peer).data);
        pg_peer_clear(&peer);
    }
}

static void ipv4_addresses_are_kept_in_place(void)
{
    a_text_comes_back(in_place, sizeof(in_place) / sizeof(in_place[0]), true);
}

static void any_other_text_is_kept_as_it_is(void)
{
    a_text_comes_back(apart, sizeof(apart) / sizeof(apart[0]), false);
}

static void texts_are_lent_for_a_while(void)
{
    struct pg_peer peers[PG_PEERS_LENT];
    const char *texts[PG_PEERS_LENT];
    char wanted[32];
    for (unsigned i = 0; i < PG_PEERS_LENT; i++) {
        snprintf(wanted, sizeof(wanted), "192.0.2.1:%u", i);
        CU_ASSERT_TRUE_FATAL(pg_peer_set(&peers[i], wanted));
        texts[i] = pg_peer_text(&peers[i]);
    }
    for (unsigned i = 0; i < PG_PEERS_LENT; i++) {
        snprintf(wanted, sizeof(wanted), "192.0.2.1:%u", i);
        CU_ASSERT_STRING_EQUAL(texts[i], wanted);
    }
}

static void an_identity_replaces_an_earlier_one(void)
{
    struct pg_peer peer = {0};
    CU_ASSERT_TRUE_FATAL(pg_peer_set(&peer, "192.0.2.1:40112"));
    CU_ASSERT_TRUE(pg_peer_identify(&peer, PG_BYTES_OF("first")));
    CU_ASSERT_TRUE(pg_peer_identify(&peer, PG_BYTES_OF("second")));
    CU_ASSERT_TRUE(pg_bytes_equal(pg_peer_identity(&peer), PG_BYTES_OF("second")));
    CU_ASSERT_STRING_EQUAL(pg_peer_text(&peer), "192.0.2.1:40112");
    CU_ASSERT_TRUE(pg_peer_identify(&peer, PG_BYTES_OF("")));
    CU_ASSERT_PTR_NOT_NULL(pg_peer_identity(&peer).data);
    pg_peer_clear(&peer);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(ipv4_addresses_are_kept_in_place),
        TEST(any_other_text_is_kept_as_it_is),
        TEST(texts_are_lent_for_a_while),
        TEST(an_identity_replaces_an_earlier_one),
        CU_TEST_INFO_NULL,
    };
    return run_suite("peer", tests);
}
