/* SPDX-License-Identifier: Apache-2.0 */

/* What somebody speaks, by his first bytes: after how many it is known, and that neither those
 * behind them nor the way they come changes it. */

#include <string.h>

#include "../../transports/auto/auto_sniff.h"
#include "suite.h"

extern const struct pg_protocol mqtt_protocol;
extern const struct pg_protocol jt808_protocol;
extern const struct pg_protocol stomp_protocol;
extern const struct pg_protocol gbt32960_protocol;

/* One that needs a whole line, as text protocols do. */
static enum pg_sniff line_sniff(struct pg_bytes head)
{
    static const char word[] = "HELLO";
    size_t n = head.len < sizeof(word) - 1 ? head.len : sizeof(word) - 1;
    if (memcmp(head.data, word, n) != 0)
        return PG_SNIFF_NO;
    return memchr(head.data, '\n', head.len) ? PG_SNIFF_YES : PG_SNIFF_MORE;
}
static const struct pg_protocol line_protocol = {
    .abi = PG_ABI, .name = "line", .sniff = line_sniff};

/* One that changes its mind: what it has said first holds. */
static enum pg_sniff fickle_sniff(struct pg_bytes head)
{
    return head.data[0] == 0xf1 && head.len < 3 ? (head.len == 2 ? PG_SNIFF_YES : PG_SNIFF_MORE)
                                                : PG_SNIFF_NO;
}
static const struct pg_protocol fickle_protocol = {
    .abi = PG_ABI, .name = "fickle", .sniff = fickle_sniff};

enum { MQTT, JT808, GBT32960, STOMP, LINE, FICKLE, FRONTENDS };
static const struct pg_listener_conf frontends[FRONTENDS] = {
    [MQTT] = {.protocol = &mqtt_protocol},         [JT808] = {.protocol = &jt808_protocol},
    [GBT32960] = {.protocol = &gbt32960_protocol}, [STOMP] = {.protocol = &stomp_protocol},
    [LINE] = {.protocol = &line_protocol},         [FICKLE] = {.protocol = &fickle_protocol},
};

static enum auto_kind sniff(const void *data, size_t len, size_t *frontend)
{
    return auto_sniff(frontends, FRONTENDS, (struct pg_bytes){.data = data, .len = len}, frontend);
}

/* `bytes` are `kind`, which is known with the first `at` of them and not before. */
static void is_known(const void *bytes, size_t len, size_t at, enum auto_kind kind, size_t frontend)
{
    uint8_t more[1000];
    CU_ASSERT_FATAL(len < sizeof(more));
    for (size_t n = 0; n <= len; n++) {
        size_t found = SIZE_MAX;
        enum auto_kind got = sniff(bytes, n, &found);
        CU_ASSERT_EQUAL(got, n < at ? AUTO_MORE : kind);
        if (got == AUTO_FRONTEND)
            CU_ASSERT_EQUAL(found, frontend);
    }
    static const uint8_t behind[] = {0x00, 0x16, 0x7e, 'G', '\n', 0xff};
    for (size_t i = 0; i < sizeof(behind); i++) {
        size_t found = SIZE_MAX;
        memcpy(more, bytes, len);
        memset(more + len, behind[i], sizeof(more) - len);
        CU_ASSERT_EQUAL(sniff(more, sizeof(more), &found), kind);
        if (kind == AUTO_FRONTEND)
            CU_ASSERT_EQUAL(found, frontend);
    }
}

static void frontends_are_told(void)
{
    is_known("\x10\x11\0\4MQTT\4\2\0\x3c\0\5probe", 19, 5, AUTO_FRONTEND, MQTT);
    is_known("\x10\x13\0\6MQIsdp\3\2\0\x3c\0\5probe", 21, 5, AUTO_FRONTEND, MQTT);
    is_known("\x10\x91\x01\0\4MQTT\5", 10, 6, AUTO_FRONTEND, MQTT);
    is_known("\x7e\x01\0\0\1\2\3\4\5\6\7\0\1\x7e", 14, 1, AUTO_FRONTEND, JT808);
    is_known("##\x01\xfeLPGATE00000000017\x01\0\x06", 24, 2, AUTO_FRONTEND, GBT32960);
    is_known("$$\x01\xfeLPGATE00000000017\x01\0\x06", 24, 2, AUTO_FRONTEND, GBT32960);
    is_known("CONNECT\naccept-version:1.2\n\n\0", 29, 8, AUTO_FRONTEND, STOMP);
    is_known("CONNECT\r\naccept-version:1.2\r\n\r\n\0", 32, 9, AUTO_FRONTEND, STOMP);
    is_known("STOMP\nhost:x\n\n\0", 16, 6, AUTO_FRONTEND, STOMP);
    is_known("\r\n\n\nSTOMP\n", 10, 10, AUTO_FRONTEND, STOMP);
    is_known("HELLO you\nmore", 14, 10, AUTO_FRONTEND, LINE);
}

static void requests_of_http_are_told_by_their_method(void)
{
    static const char *const methods[] = {"GET",     "HEAD",  "POST",  "PUT",    "DELETE",
                                          "CONNECT", "TRACE", "PATCH", "OPTIONS"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        char request[64];
        size_t at = strlen(methods[i]) + 1;
        memcpy(request, methods[i], at - 1);
        memcpy(request + at - 1, " /mqtt HTTP/1.1\r\n", 17);
        is_known(request, at - 1 + 17, at, AUTO_HTTP, 0);
    }
    is_known("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, 6, AUTO_HTTP, 0);
    /* Words that only begin like a method, or are none. */
    is_known("GETTING /", 9, 4, AUTO_NOTHING, 0);
    is_known("CONNECTED\n", 10, 8, AUTO_NOTHING, 0);
    is_known("get / HTTP/1.1\r\n", 16, 1, AUTO_NOTHING, 0);
    is_known("PR1", 3, 3, AUTO_NOTHING, 0);
}

static void the_question_for_a_policy_is_whole(void)
{
    is_known("<policy-file-request/>", 23, 23, AUTO_POLICY, 0);
    is_known("<policy-file-request/>\n", 23, 23, AUTO_NOTHING, 0);
    is_known("<policy-file-Request/>", 23, 14, AUTO_NOTHING, 0);
}

static void the_rest_is_nothing(void)
{
    size_t frontend;
    for (unsigned first = 0; first < 256; first++) {
        static const char begins[] = {0x10, 0x7e, 'H', 'G', 'P', 'D',  'C',  'T',
                                      'O',  '<',  'S', '#', '$', '\r', '\n', (char)0xf1};
        uint8_t bytes[4] = {(uint8_t)first, 0, 0xee, 0xee};
        bool may = memchr(begins, (int)first, sizeof(begins)) != NULL;
        CU_ASSERT_EQUAL(sniff(bytes, 1, &frontend) == AUTO_NOTHING, !may);
        if (first != 0x7e && first != 0xf1)
            CU_ASSERT_EQUAL(sniff(bytes, 4, &frontend), AUTO_NOTHING);
    }
    /* MQTT, but not as it begins. */
    is_known("\x30\x05\0\3a/bx", 8, 1, AUTO_NOTHING, 0);
    is_known("\x10\xff\xff\xff\xff", 5, 5, AUTO_NOTHING, 0);
    is_known("#$", 2, 2, AUTO_NOTHING, 0);
}

static void what_was_said_first_holds(void)
{
    is_known("\xf1\0\0\0", 4, 2, AUTO_FRONTEND, FICKLE);
}

static void looking_has_an_end(void)
{
    char line[AUTO_SNIFF_MAX + 10];
    size_t frontend;
    memset(line, 'x', sizeof(line));
    memcpy(line, "HELLO", 5);
    CU_ASSERT_EQUAL(sniff(line, AUTO_SNIFF_MAX - 1, &frontend), AUTO_MORE);
    CU_ASSERT_EQUAL(sniff(line, AUTO_SNIFF_MAX, &frontend), AUTO_NOTHING);
    line[AUTO_SNIFF_MAX - 1] = '\n';
    CU_ASSERT_EQUAL(sniff(line, AUTO_SNIFF_MAX, &frontend), AUTO_FRONTEND);
}

static void tls_is_told_by_its_first_byte(void)
{
    for (unsigned first = 0; first < 256; first++)
        CU_ASSERT_EQUAL(auto_is_tls((uint8_t)first), first == 0x16);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(frontends_are_told),
        TEST(requests_of_http_are_told_by_their_method),
        TEST(the_question_for_a_policy_is_whole),
        TEST(the_rest_is_nothing),
        TEST(what_was_said_first_holds),
        TEST(looking_has_an_end),
        TEST(tls_is_told_by_its_first_byte),
        CU_TEST_INFO_NULL,
    };
    return run_suite("auto_sniff", tests);
}
