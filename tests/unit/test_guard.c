/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses as keys, bans, and the limits of listeners and addresses. Rates are tested with numbers
 * for which it does not matter how slow the machine is. */

#include <stdio.h>
#include <string.h>

#include "address.h"
#include "ban.h"
#include "config.h"
#include "guard.h"
#include "suite.h"

#define TEXT(s) pg_bytes_str(s)

/* ---- addresses ------------------------------------------------------------------------------- */

/* The peer's address as it is written; "" if it has none. */
static const char *address_of(const char *peer, bool as_peer)
{
    static char text[PG_ADDRESS_TEXT];
    struct pg_address address;
    text[0] = '\0';
    if (pg_address_of_peer(peer, &address)) {
        struct pg_range range =
            as_peer ? pg_address_peer(&address) : pg_range_of(&address, PG_ADDRESS_BITS);
        pg_range_text(&range, text);
    }
    return text;
}

static void a_peer_has_the_address_in_its_text(void)
{
    CU_ASSERT_STRING_EQUAL(address_of("127.0.0.1:40112", false), "127.0.0.1");
    CU_ASSERT_STRING_EQUAL(address_of("[::1]:40112", false), "::1");
    CU_ASSERT_STRING_EQUAL(address_of("[2001:db8::5]:1", false), "2001:db8::5");
    CU_ASSERT_STRING_EQUAL(address_of("[fe80::1%eth0]:1", false), "fe80::1");
    CU_ASSERT_STRING_EQUAL(address_of("[::ffff:192.0.2.1]:1", false), "192.0.2.1");
    CU_ASSERT_STRING_EQUAL(address_of("unix:/run/x", false), "");
    CU_ASSERT_STRING_EQUAL(address_of("", false), "");
    CU_ASSERT_STRING_EQUAL(address_of(":", false), "");
}

static void a_network_of_ipv6_is_one_peer(void)
{
    CU_ASSERT_STRING_EQUAL(address_of("192.0.2.1:7", true), "192.0.2.1");
    CU_ASSERT_STRING_EQUAL(address_of("[2001:db8:1:2:3:4:5:6]:7", true), "2001:db8:1:2::/64");
}

/* The range as it is written; NULL if it is none. */
static const char *range_of(const char *text)
{
    static char out[PG_ADDRESS_TEXT];
    struct pg_range range;
    if (!pg_range_parse(TEXT(text), &range))
        return NULL;
    pg_range_text(&range, out);
    return out;
}

static void ranges_are_read_and_written(void)
{
    static const char *const good[] = {"10.0.0.0/8",    "192.0.2.1", "0.0.0.0/0",
                                       "2001:db8::/32", "::/0",      "::1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CU_ASSERT_STRING_EQUAL(range_of(good[i]), good[i]);
    CU_ASSERT_STRING_EQUAL(range_of("192.0.2.1/32"), "192.0.2.1");
    static const char *const bad[] = {
        "",       "10.0.0.1/8",  "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129",
        "::1/64", "10.0.0.0/-1", "10.0.0.0/8x", "host",      "/8",       "10.0.0.0/0008"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_PTR_NULL(range_of(bad[i]));
    CU_ASSERT_FALSE(
        pg_range_parse((struct pg_bytes){.data = NULL, .len = 0}, &(struct pg_range){.bits = 0}));
}

/* ---- bans ------------------------------------------------------------------------------------ */

static bool ban(const char *who, uint32_t seconds)
{
    struct pg_error error;
    return pg_ban_add(TEXT(who), seconds, "test", &error);
}

static bool is_banned(const char *peer)
{
    struct pg_address address;
    return pg_address_of_peer(peer, &address) && pg_ban_has_address(&address);
}

static void bans_are_found_by_address_range_and_client(void)
{
    CU_ASSERT_FALSE(is_banned("192.0.2.1:1"));
    CU_ASSERT_TRUE(ban("192.0.2.1", 60));
    CU_ASSERT_TRUE(ban("10.0.0.0/8", PG_FOREVER));
    CU_ASSERT_TRUE(ban("2001:db8::/32", 60));
    CU_ASSERT_TRUE(ban("client:truck-1", 60));
    CU_ASSERT_FALSE(ban("nobody", 60));
    CU_ASSERT_FALSE(ban("client:", 60));
    CU_ASSERT_FALSE(ban("10.0.0.1/8", 60));
    CU_ASSERT_TRUE(is_banned("192.0.2.1:1"));
    CU_ASSERT_FALSE(is_banned("192.0.2.2:1"));
    CU_ASSERT_TRUE(is_banned("10.255.0.1:1"));
    CU_ASSERT_FALSE(is_banned("11.0.0.1:1"));
    CU_ASSERT_TRUE(is_banned("[2001:db8:ffff::1]:1"));
    CU_ASSERT_FALSE(is_banned("[2001:db9::1]:1"));
    CU_ASSERT_TRUE(pg_ban_has_client(TEXT("truck-1")));
    CU_ASSERT_FALSE(pg_ban_has_client(TEXT("truck-10")));
    CU_ASSERT_TRUE(ban("192.0.2.1", 120)); /* renewed, not twice */
    struct pg_ban list[8];
    CU_ASSERT_EQUAL(pg_bans_list(list, 8), 4);
    CU_ASSERT_STRING_EQUAL(list[0].who, "10.0.0.0/8");
    CU_ASSERT_EQUAL(list[0].hits, 1);
    CU_ASSERT_EQUAL(list[0].until_wall_ms, PG_NEVER);
    CU_ASSERT_STRING_EQUAL(list[1].who, "192.0.2.1");
    CU_ASSERT_EQUAL(pg_bans_list(list, 1), 4);
    CU_ASSERT_TRUE(pg_ban_lift(TEXT("10.0.0.0/8")));
    CU_ASSERT_FALSE(pg_ban_lift(TEXT("10.0.0.0/8")));
    CU_ASSERT_FALSE(is_banned("10.255.0.1:1"));
    CU_ASSERT_TRUE(pg_ban_lift(TEXT("client:truck-1")));
    CU_ASSERT_FALSE(pg_ban_has_client(TEXT("truck-1")));
    pg_bans_free();
    CU_ASSERT_FALSE(is_banned("192.0.2.1:1"));
}

static void an_expired_ban_is_none(void)
{
    CU_ASSERT_TRUE(pg_ban_restore(TEXT("192.0.2.1"), TEXT("old"), 1));
    CU_ASSERT_TRUE(pg_ban_restore(TEXT("192.0.2.2"), TEXT("kept"), 0));
    CU_ASSERT_TRUE(pg_ban_restore(TEXT("nonsense"), TEXT("skipped"), 0));
    CU_ASSERT_FALSE(is_banned("192.0.2.1:1"));
    CU_ASSERT_TRUE(is_banned("192.0.2.2:1"));
    struct pg_ban list[2];
    CU_ASSERT_EQUAL(pg_bans_list(list, 2), 1);
    CU_ASSERT_STRING_EQUAL(list[0].detail, "kept");
    pg_bans_free();
}

/* ---- limits ---------------------------------------------------------------------------------- */

static struct pg_listener_conf listener = {.name = "guarded"};
static struct pg_meter *meters[64];
static size_t meter_count;

static enum pg_reason admit(const char *peer)
{
    struct pg_meter *meter;
    enum pg_reason reason = pg_guard_admit(&listener, peer, &meter);
    if (meter)
        meters[meter_count++] = meter;
    return reason;
}

static void leave(void)
{
    pg_guard_leave(&meters[--meter_count]);
}

static void all_leave(void)
{
    while (meter_count > 0)
        leave();
    pg_guard_free();
    listener.guard = (struct pg_guard_conf){.connections = 0};
}

static void without_limits_nothing_is_counted(void)
{
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(meter_count, 0);
    CU_ASSERT_TRUE(ban("192.0.2.1", 60));
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_BANNED);
    pg_bans_free();
}

static void connections_are_bounded_by_listener_and_by_address(void)
{
    listener.guard = (struct pg_guard_conf){.connections = 4, .address_connections = 2};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(admit("192.0.2.1:2"), PG_OK);
    CU_ASSERT_EQUAL(admit("192.0.2.1:3"), PG_CONNECTION_LIMIT);
    CU_ASSERT_EQUAL(admit("[2001:db8::1]:1"), PG_OK);
    CU_ASSERT_FALSE(pg_guard_full(&listener));
    CU_ASSERT_EQUAL(admit("[2001:db8::2]:1"), PG_OK); /* the same network: two of it */
    CU_ASSERT_TRUE(pg_guard_full(&listener));
    CU_ASSERT_EQUAL(admit("198.51.100.1:1"), PG_CONNECTION_LIMIT);
    leave();
    CU_ASSERT_FALSE(pg_guard_full(&listener));
    CU_ASSERT_EQUAL(admit("unix:/run/x"), PG_OK); /* counts for the listener alone */
    CU_ASSERT_EQUAL(admit("198.51.100.1:1"), PG_CONNECTION_LIMIT);
    struct pg_listener_conf other = {.name = "other", .guard = listener.guard};
    struct pg_meter *meter;
    CU_ASSERT_EQUAL(pg_guard_admit(&other, "192.0.2.1:4", &meter), PG_OK);
    pg_guard_leave(&meter);
    CU_ASSERT_PTR_NULL(meter);
    all_leave();
}

static void connections_of_an_address_come_at_a_rate(void)
{
    listener.guard = (struct pg_guard_conf){.address_connects_per_minute = 3};
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
        leave(); /* leaving gives nothing back */
    }
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_CONNECTION_RATE);
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_CONNECTION_RATE);
    CU_ASSERT_EQUAL(admit("192.0.2.2:1"), PG_OK);
    all_leave();
}

static void connections_of_a_listener_come_at_a_rate(void)
{
    listener.guard = (struct pg_guard_conf){.connects_per_second = 1};
    int64_t started = pg_now_ms();
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    leave();
    enum pg_reason second = admit("192.0.2.2:1");
    if (pg_now_ms() < started + 1000) /* else it came a second later, indeed */
        CU_ASSERT_EQUAL(second, PG_CONNECTION_RATE);
    struct pg_listener_conf other = {.name = "other", .guard = listener.guard};
    struct pg_meter *meter;
    CU_ASSERT_EQUAL(pg_guard_admit(&other, "192.0.2.2:1", &meter), PG_OK);
    pg_guard_leave(&meter);
    all_leave();
}

static void one_that_knocks_all_the_time_does_not_use_up_the_rate_of_all(void)
{
    listener.guard =
        (struct pg_guard_conf){.connects_per_second = 2, .address_connects_per_minute = 1};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_CONNECTION_RATE);
    CU_ASSERT_EQUAL(admit("192.0.2.2:1"), PG_OK);
    all_leave();
}

static void what_comes_too_fast_has_to_wait(void)
{
    listener.guard = (struct pg_guard_conf){.connection_bytes_per_second = 1000,
                                            .address_messages_per_second = 10};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(admit("192.0.2.1:2"), PG_OK);
    CU_ASSERT_EQUAL(pg_meter_bytes(meters[0], 1000), 0);
    int64_t ms = pg_meter_bytes(meters[0], 100000);
    CU_ASSERT_TRUE(ms > 50000 && ms <= 100000);
    CU_ASSERT_EQUAL(pg_meter_bytes(meters[1], 1000), 0); /* each connection has its own */
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(pg_meter_message(meters[0]), 0);
    for (int i = 0; i < 1000; i++)
        ms = pg_meter_message(meters[1]); /* these share the address's */
    CU_ASSERT_TRUE(ms > 50000 && ms <= 100000);
    CU_ASSERT_TRUE(pg_meter_message(meters[0]) > 50000);
    all_leave();
}

static void little_is_read_at_a_time_where_little_may_come(void)
{
    listener.guard = (struct pg_guard_conf){.bytes_per_second = 40000};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(pg_meter_read_max(meters[0], 65536), 10000);
    CU_ASSERT_EQUAL(pg_meter_read_max(meters[0], 4096), 4096);
    all_leave();
    listener.guard = (struct pg_guard_conf){.connection_bytes_per_second = 1, .connections = 5};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(pg_meter_read_max(meters[0], 65536), 1024);
    all_leave();
    listener.guard = (struct pg_guard_conf){.messages_per_second = 1};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(pg_meter_read_max(meters[0], 65536), 4096);
    all_leave();
    listener.guard = (struct pg_guard_conf){.connections = 1};
    CU_ASSERT_EQUAL(admit("192.0.2.1:1"), PG_OK);
    CU_ASSERT_EQUAL(pg_meter_read_max(meters[0], 65536), 65536);
    all_leave();
}

static void a_flood_of_addresses_is_remembered_within_bounds(void)
{
    listener.guard = (struct pg_guard_conf){.address_connects_per_minute = 1};
    char peer[64];
    unsigned refused = 0;
    for (unsigned i = 0; i < 300000; i++) {
        struct pg_meter *meter;
        snprintf(peer, sizeof(peer), "%u.%u.%u.1:1", 1 + (i >> 16 & 63), i >> 8 & 255, i & 255);
        refused += pg_guard_admit(&listener, peer, &meter) != PG_OK;
        pg_guard_leave(&meter);
    }
    CU_ASSERT_EQUAL(refused, 0); /* each was a new one, or forgotten */
    CU_ASSERT_EQUAL(admit("198.51.100.1:1"), PG_OK);
    CU_ASSERT_EQUAL(admit("198.51.100.1:1"), PG_CONNECTION_RATE);
    all_leave();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(a_peer_has_the_address_in_its_text),
        TEST(a_network_of_ipv6_is_one_peer),
        TEST(ranges_are_read_and_written),
        TEST(bans_are_found_by_address_range_and_client),
        TEST(an_expired_ban_is_none),
        TEST(without_limits_nothing_is_counted),
        TEST(connections_are_bounded_by_listener_and_by_address),
        TEST(connections_of_an_address_come_at_a_rate),
        TEST(connections_of_a_listener_come_at_a_rate),
        TEST(one_that_knocks_all_the_time_does_not_use_up_the_rate_of_all),
        TEST(what_comes_too_fast_has_to_wait),
        TEST(little_is_read_at_a_time_where_little_may_come),
        TEST(a_flood_of_addresses_is_remembered_within_bounds),
        CU_TEST_INFO_NULL,
    };
    return run_suite("guard", tests);
}
