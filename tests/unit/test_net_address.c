/* SPDX-License-Identifier: Apache-2.0 */

/* Bind values and peers: text to socket address and back. */

#include <arpa/inet.h>
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "../../transports/net/net_address.h"

static void bind_values_are_read(void)
{
    static const struct {
        const char *text;
        size_t count;
        const char *first, *second;
    } cases[] = {
        {"127.0.0.1:1883", 1, "127.0.0.1:1883", NULL},
        {"10.1.2.3:0", 1, "10.1.2.3:0", NULL},
        {"0.0.0.0:65535", 1, "0.0.0.0:65535", NULL},
        {"[::1]:1883", 1, "[::1]:1883", NULL},
        {"[::]:8883", 1, "[::]:8883", NULL},
        {"[2001:DB8::7]:80", 1, "[2001:db8::7]:80", NULL},
        {"*:1883", 2, "0.0.0.0:1883", "[::]:1883"},
        {":1883", 2, "0.0.0.0:1883", "[::]:1883"},
        {":0", 2, "0.0.0.0:0", "[::]:0"},
        {"[fe80::1%lo]:9", 1, "[fe80::1%1]:9", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_address out[NET_ADDRESS_MAX];
        struct pg_error error = {.text = ""};
        char text[NET_ADDRESS_TEXT];
        CU_ASSERT_EQUAL_FATAL(net_address_parse(cases[i].text, out, &error), cases[i].count);
        net_address_text(&out[0], text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].first);
        if (cases[i].count == 2) {
            net_address_text(&out[1], text);
            CU_ASSERT_STRING_EQUAL(text, cases[i].second);
        }
    }
}

static void bad_bind_values_say_what_was_expected(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no port"},
        {"1883", "no port"},
        {"127.0.0.1", "no port"},
        {"127.0.0.1:", "no port"},
        {"127.0.0.1:x", "no port"},
        {"127.0.0.1:65536", "no port"},
        {"127.0.0.1:000001", "no port"},
        {"127.0.0.1:-1", "no port"},
        {"127.0.0.1: 1883", "no port"},
        {"127.0.0.1:1883 ", "no port"},
        {"127.0.0:1883", "no numeric address"},
        {"127.0.0.256:1883", "no numeric address"},
        {"localhost:1883", "names are not looked up"},
        {"a-name-that-is-much-longer-than-any-address-of-four-numbers:1", "not looked up"},
        {"::1:1883", "written in brackets"},
        {"[]:1883", "no IPv6 address"},
        {"[:1883", "no numeric address"},
        {"[::1:1883", "written in brackets"},
        {"[127.0.0.1]:1883", "no IPv6 address"},
        {"[fe80::1%nosuchif]:1883", "no IPv6 address"},
        {"[0000000000000000000000000000000000000000000000000000000000000000000::1]:1", "no IPv6"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_address out[NET_ADDRESS_MAX];
        struct pg_error error = {.text = ""};
        CU_ASSERT_EQUAL(net_address_parse(cases[i].text, out, &error), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, cases[i].says));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "expected ADDRESS:PORT"));
    }
}

static void peers_are_shown(void)
{
    char text[NET_ADDRESS_TEXT];
    struct net_address mapped = {.len = sizeof(mapped.sa.v6)};
    mapped.sa.v6.sin6_family = AF_INET6;
    CU_ASSERT_EQUAL(inet_pton(AF_INET6, "::ffff:192.0.2.7", &mapped.sa.v6.sin6_addr), 1);
    net_address_set_port(&mapped, 40112);
    net_address_text(&mapped, text);
    CU_ASSERT_STRING_EQUAL(text, "192.0.2.7:40112");
    CU_ASSERT_EQUAL(net_address_port(&mapped), 40112);

    struct net_address longest = {.len = sizeof(longest.sa.v6)};
    longest.sa.v6.sin6_family = AF_INET6;
    longest.sa.v6.sin6_scope_id = UINT32_MAX;
    memset(&longest.sa.v6.sin6_addr, 0xfe, sizeof(longest.sa.v6.sin6_addr));
    net_address_set_port(&longest, UINT16_MAX);
    net_address_text(&longest, text);
    CU_ASSERT_STRING_EQUAL(text, "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe%4294967295]:65535");

    struct net_address other = {.len = sizeof(sa_family_t)};
    other.sa.any.sa_family = AF_UNIX;
    net_address_set_port(&other, 1);
    CU_ASSERT_EQUAL(net_address_port(&other), 0);
    net_address_text(&other, text);
    CU_ASSERT_STRING_EQUAL(text, "unknown");
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite("net_address", NULL, NULL);
    CU_ADD_TEST(suite, bind_values_are_read);
    CU_ADD_TEST(suite, bad_bind_values_say_what_was_expected);
    CU_ADD_TEST(suite, peers_are_shown);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
