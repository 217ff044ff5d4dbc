/* SPDX-License-Identifier: Apache-2.0 */

/* Bind values and peers: text to socket address and back. */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "../../transports/net/net_address.h"
#include "suite.h"

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
        {"unix:/run/gateway/mqtt.sock", 1, "unix:/run/gateway/mqtt.sock", NULL},
        {"unix:/a:0", 1, "unix:/a:0", NULL},
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
        {"unix:", "no path from /"},
        {"unix:gateway.sock", "no path from /"},
        {"unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
         "2345678901234567890123456",
         "fewer than 108 bytes"},
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
    CU_ASSERT_STRING_EQUAL(text, "unix");
    other.sa.any.sa_family = AF_UNSPEC;
    net_address_text(&other, text);
    CU_ASSERT_STRING_EQUAL(text, "unknown");
}

/* "192.0.2.7", "2001:db8::7" or "unix". */
static struct net_address address_of(const char *text)
{
    struct net_address address = {.sa.any.sa_family = AF_UNIX};
    if (inet_pton(AF_INET, text, &address.sa.v4.sin_addr) == 1)
        address.sa.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &address.sa.v6.sin6_addr) == 1)
        address.sa.any.sa_family = AF_INET6;
    return address;
}

static void ranges_have_what_is_in_them(void)
{
    static const struct {
        const char *range, *inside, *outside;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"},
        {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
        {"192.0.2.7", "192.0.2.7", "192.0.2.6"},
        {"192.0.2.7/32", "192.0.2.7", "193.0.2.7"},
        {"0.0.0.0/0", "203.0.113.9", "::1"},
        {"fd00::/8", "fdff::1", "fe00::"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"::/0", "2001:db8::7", "192.0.2.7"},
        {"::/0", "::", "::ffff:192.0.2.7"},
        {"::1", "::1", "::2"},
        {"unix", "unix", "127.0.0.1"},
        {"127.0.0.1", "127.0.0.1", "unix"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_range range;
        struct pg_error error = {.text = ""};
        struct net_address in = address_of(cases[i].inside), out = address_of(cases[i].outside);
        CU_ASSERT_TRUE_FATAL(net_range_parse(cases[i].range, &range, &error));
        CU_ASSERT_TRUE(net_range_has(&range, &in));
        CU_ASSERT_FALSE(net_range_has(&range, &out));
    }
}

static void bad_ranges_say_what_was_expected(void)
{
    static const char *const cases[] = {
        "",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/x",
        "10.0.0.0/08 ",
        "10.0.0.0/0008",
        "10.0.0/8",
        "10.0.0.1/8",
        "10.0.0.0/-1",
        "fd00::/129",
        "fd00::1/64",
        "localhost",
        "unix:/a",
        "[::1]",
        "10.0.0.1:80",
        "*",
        "10.0.0.0//8",
        "/8",
        "10.128.0.0/8",
        "fd00::%lo/10",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_range range;
        struct pg_error error = {.text = ""};
        CU_ASSERT_FALSE(net_range_parse(cases[i], &range, &error));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "expected an address or a range"));
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(bind_values_are_read),
        TEST(bad_bind_values_say_what_was_expected),
        TEST(peers_are_shown),
        TEST(ranges_have_what_is_in_them),
        TEST(bad_ranges_say_what_was_expected),
        CU_TEST_INFO_NULL,
    };
    return run_suite("net_address", tests);
}
