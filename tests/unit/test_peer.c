/* SPDX-License-Identifier: Apache-2.0 */

/* The text of IPv4 peers in six bytes and back, and what is left to others. */

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <string.h>

#include "peer.h"

static void every_text_that_is_read_is_written_again(void)
{
    static const char *const texts[] = {"0.0.0.0:0", "127.0.0.1:1883", "192.0.2.17:40112",
                                        "255.255.255.255:65535"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct pg_peer_ipv4 peer;
        char text[PG_PEER_IPV4_TEXT];
        CU_ASSERT_TRUE_FATAL(pg_peer_ipv4_read(texts[i], &peer));
        pg_peer_ipv4_text(&peer, text);
        CU_ASSERT_STRING_EQUAL(text, texts[i]);
    }
}

static void anything_else_is_not_read(void)
{
    static const char *const texts[] = {"",
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
                                        "unix:/run/x",
                                        "memory"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct pg_peer_ipv4 peer;
        CU_ASSERT_FALSE(pg_peer_ipv4_read(texts[i], &peer));
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peer", NULL, NULL);
    CU_add_test(suite, "every_text_that_is_read_is_written_again",
                every_text_that_is_read_is_written_again);
    CU_add_test(suite, "anything_else_is_not_read", anything_else_is_not_read);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
