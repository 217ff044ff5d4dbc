/* SPDX-License-Identifier: Apache-2.0 */

/* Headers of the PROXY protocol: those that are right in every way to be cut, those that are not
 * quite right, and what is taken from them. */

#include <stdio.h>
#include <string.h>

#include "../../transports/net/net_proxy.h"
#include "crc32c.h"
#include "suite.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* A header of version 2 under construction. */
struct header {
    uint8_t bytes[600];
    size_t len;
};

static void put(struct header *h, const void *bytes, size_t len)
{
    CU_ASSERT_FATAL(h->len + len <= sizeof(h->bytes));
    memcpy(h->bytes + h->len, bytes, len);
    h->len += len;
}

static void set_len(struct header *h)
{
    h->bytes[14] = (uint8_t)((h->len - 16) >> 8);
    h->bytes[15] = (uint8_t)(h->len - 16);
}

static struct header begin(uint8_t command, uint8_t family)
{
    struct header h = {.len = 0};
    put(&h, SIGNATURE, 12);
    put(&h, (uint8_t[]){command, family, 0, 0}, 4);
    return h;
}

static struct header ipv4(void)
{
    struct header h = begin(0x21, 0x11);
    put(&h, (uint8_t[]){192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x07, 0x5b}, 12);
    set_len(&h);
    return h;
}

static void tlv(struct header *h, uint8_t type, const void *value, size_t len)
{
    put(h, (uint8_t[]){type, (uint8_t)(len >> 8), (uint8_t)len}, 3);
    put(h, value, len);
    set_len(h);
}

/* What a proxy says of a client's certificate. */
static void tls(struct header *h, uint8_t bits, uint32_t verify, const char *cn, size_t cn_len)
{
    struct header value = {.len = 0};
    put(&value, (uint8_t[]){bits, (uint8_t)(verify >> 24), 0, 0, (uint8_t)verify}, 5);
    put(&value, "\x21\0\x07TLSv1.3", 10);
    if (cn) {
        put(&value, (uint8_t[]){0x22, (uint8_t)(cn_len >> 8), (uint8_t)cn_len}, 3);
        put(&value, cn, cn_len);
    }
    tlv(h, 0x20, value.bytes, value.len);
}

static enum net_proxy_result parse(const void *bytes, size_t len, enum net_proxy_accept accept,
                                   struct net_proxy *out)
{
    return net_proxy_parse((struct pg_bytes){.data = bytes, .len = len}, accept, out);
}

/* Right whole, with more behind it, and cut anywhere; `out` is what it says. */
static void is_right(const void *bytes, size_t len, struct net_proxy *out)
{
    uint8_t longer[700];
    for (size_t n = 0; n < len; n++)
        CU_ASSERT_EQUAL(parse(bytes, n, NET_PROXY_ANY, out), NET_PROXY_MORE);
    memcpy(longer, bytes, len);
    memset(longer + len, 0x10, sizeof(longer) - len);
    CU_ASSERT_EQUAL(parse(longer, sizeof(longer), NET_PROXY_ANY, out), NET_PROXY_WHOLE);
    CU_ASSERT_EQUAL(out->used, len);
    CU_ASSERT_EQUAL(parse(bytes, len, NET_PROXY_ANY, out), NET_PROXY_WHOLE);
    CU_ASSERT_EQUAL(out->used, len);
}

/* Wrong as soon as that can be told, and it never becomes right on the way. */
static void is_wrong(const void *bytes, size_t len, const char *why)
{
    struct net_proxy out;
    enum net_proxy_result last = NET_PROXY_MORE;
    for (size_t n = 0; n <= len; n++) {
        enum net_proxy_result now = parse(bytes, n, NET_PROXY_ANY, &out);
        CU_ASSERT_NOT_EQUAL(now, NET_PROXY_WHOLE);
        CU_ASSERT(last != NET_PROXY_BAD || now == NET_PROXY_BAD);
        last = now;
    }
    CU_ASSERT_EQUAL_FATAL(last, NET_PROXY_BAD);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.why, why));
}

static void lines_are_read(void)
{
    static const struct {
        const char *line, *source; /* NULL: the socket's own */
    } cases[] = {
        {"PROXY TCP4 192.0.2.7 10.0.0.1 40000 1883\r\n", "192.0.2.7:40000"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
        {"PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n", "1.2.3.4:0"},
        {"PROXY TCP6 2001:db8::7 ::1 40000 1883\r\n", "[2001:db8::7]:40000"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1"},
        {"PROXY UNKNOWN\r\n", NULL},
        {"PROXY UNKNOWN ffff::1 \t x 65535 65535\r\n", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_proxy out;
        char text[NET_ADDRESS_TEXT];
        is_right(cases[i].line, strlen(cases[i].line), &out);
        CU_ASSERT_EQUAL(out.own, cases[i].source == NULL);
        CU_ASSERT_FALSE(out.verified);
        if (!cases[i].source)
            continue;
        net_address_text(&out.source, text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].source);
    }
}

static void lines_that_are_not_quite_right(void)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"PROXX", "does not begin with one"},
        {"\x10", "does not begin with one"},
        {"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n", "does not begin with one"},
        {"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n", "family"},
        {"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n", "family"},
        {"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n", "family"},
        {"PROXY UNKNOWNS\r\n", "family"},
        {"PROXY \r\n", "family"},
        {"PROXY \n", "CR LF"},
        {"PROXY TCP4\r\n", "family"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n", "CR LF"},
        {"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n", "address"},
        {"PROXY TCP4 192.0.2.7  10.0.0.1 1 2\r\n", "address"},
        {"PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n", "address"},
        {"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n", "address"},
        {"PROXY TCP4 ::1 ::1 1 2\r\n", "address"},
        {"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n", "address"},
        {"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", "address"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 \r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n", "port"},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\r\n", "port"},
        {"PROXY UNKNOWN 11111111111111111111111111111111111111111111111111111111111111111111111111"
         "1111111111111111111111111111111111111",
         "does not end"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        is_wrong(cases[i].line, strlen(cases[i].line), cases[i].why);
    is_wrong("PROXY TCP4 192.0.2.7\0 10.0.0.1 1 2\r\n", 37, "address");
}

static void blocks_are_read(void)
{
    struct net_proxy out;
    char text[NET_ADDRESS_TEXT];
    struct header h = ipv4();
    is_right(h.bytes, h.len, &out);
    net_address_text(&out.source, text);
    CU_ASSERT_STRING_EQUAL(text, "192.0.2.7:40000");
    CU_ASSERT_FALSE(out.own);

    h = begin(0x21, 0x21);
    put(&h, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
    put(&h, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x9c\x40\x07\x5b", 20);
    set_len(&h);
    is_right(h.bytes, h.len, &out);
    net_address_text(&out.source, text);
    CU_ASSERT_STRING_EQUAL(text, "[2001:db8::7]:40000");

    h = begin(0x21, 0x31);
    for (int i = 0; i < 216; i++)
        put(&h, "/", 1);
    set_len(&h);
    is_right(h.bytes, h.len, &out);
    CU_ASSERT_FALSE(out.own);
    CU_ASSERT_EQUAL(out.source.sa.any.sa_family, AF_UNSPEC);
}

/* Health checks, and proxies that do not know. What stands behind the fixed part of a LOCAL header
 * is nothing to us, even if it could be read. */
static void connections_of_the_proxy_itself(void)
{
    struct net_proxy out;
    struct header h = begin(0x20, 0x00);
    is_right(h.bytes, h.len, &out);
    CU_ASSERT_TRUE(out.own);

    h = begin(0x20, 0xff);
    put(&h, "\x20\xff\xff\xff", 4);
    set_len(&h);
    is_right(h.bytes, h.len, &out);
    CU_ASSERT_TRUE(out.own);

    h = begin(0x21, 0x00);
    tlv(&h, 0x02, "gw.example", 10);
    is_right(h.bytes, h.len, &out);
    CU_ASSERT_TRUE(out.own);
}

static void values_that_mean_nothing_here_are_passed_over(void)
{
    struct net_proxy out;
    struct header h = ipv4();
    tlv(&h, 0x01, "h2\0x", 4);
    tlv(&h, 0x02, "gw.example\r\nevent=forged", 24);
    tlv(&h, 0x04, "", 0);
    tlv(&h, 0x05, "unique", 6);
    tlv(&h, 0x30, "netns", 5);
    tlv(&h, 0xea, "\x01vpce-1", 7);
    is_right(h.bytes, h.len, &out);
    CU_ASSERT_FALSE(out.verified || out.tls || out.local);
}

static void blocks_that_are_not_quite_right(void)
{
    struct header h = begin(0x11, 0x11);
    is_wrong(h.bytes, h.len, "version is not 2");
    h = begin(0x22, 0x11);
    is_wrong(h.bytes, h.len, "command");
    static const uint8_t families[] = {0x01, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x32, 0x41, 0xff};
    for (size_t i = 0; i < sizeof(families); i++) {
        h = begin(0x21, families[i]);
        is_wrong(h.bytes, h.len, "family");
    }
    h = begin(0x21, 0x11);
    put(&h, "\1\2\3\4\1\2\3\4\0\1\0", 11);
    set_len(&h);
    is_wrong(h.bytes, h.len, "too short");
    h = begin(0x21, 0x21);
    put(&h, "\1\2\3\4\1\2\3\4\0\1\0\2", 12);
    set_len(&h);
    is_wrong(h.bytes, h.len, "too short");
    h = ipv4();
    h.bytes[14] = 0xff;
    is_wrong(h.bytes, h.len, "longer than");
    h = ipv4();
    put(&h, "\x01\0", 2); /* not even the head of a value */
    set_len(&h);
    is_wrong(h.bytes, h.len, "longer than the header");
    h = ipv4();
    put(&h, "\x01\0\x02x", 4);
    set_len(&h);
    is_wrong(h.bytes, h.len, "longer than the header");
    h = ipv4();
    h.bytes[4] = 1; /* of the signature */
    is_wrong(h.bytes, h.len, "does not begin with one");
}

static void only_the_versions_asked_for(void)
{
    struct net_proxy out;
    static const char line[] = "PROXY UNKNOWN\r\n";
    struct header h = ipv4();
    CU_ASSERT_EQUAL(parse(line, sizeof(line) - 1, NET_PROXY_V1, &out), NET_PROXY_WHOLE);
    CU_ASSERT_EQUAL(parse(line, 1, NET_PROXY_V2, &out), NET_PROXY_BAD);
    CU_ASSERT_EQUAL(parse(h.bytes, h.len, NET_PROXY_V2, &out), NET_PROXY_WHOLE);
    CU_ASSERT_EQUAL(parse(h.bytes, 1, NET_PROXY_V1, &out), NET_PROXY_BAD);
}

static void the_name_of_a_certificate(void)
{
    enum { TLS = 1, CERT_CONN = 2, CERT_SESS = 4 };
    static const struct {
        uint8_t bits;
        uint32_t verify;
        const char *cn;
        size_t len;
        bool verified, has_name;
    } cases[] = {
        {TLS | CERT_CONN, 0, "device-7", 8, true, true},
        {TLS | CERT_SESS, 0, "device-7", 8, true, true},
        {TLS, 0, "device-7", 8, false, false}, /* it showed no certificate */
        {TLS | CERT_CONN, 20, "device-7", 8, false, false},
        {TLS | CERT_CONN, 0x01000000, "device-7", 8, false, false},
        {TLS | CERT_CONN, 0, NULL, 0, true, false},
        {TLS | CERT_CONN, 0, "", 0, true, false},
        {TLS | CERT_CONN, 0, "a\0b", 3, true, false},
        {TLS | CERT_CONN, 0, "a\nb", 3, true, false},
        {TLS | CERT_CONN, 0, "a\xff", 2, true, false},
        {TLS | CERT_CONN, 0, "\xe8\xbd\xa6", 3, true, true},
    };
    struct net_proxy out;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct header h = ipv4();
        tls(&h, cases[i].bits, cases[i].verify, cases[i].cn, cases[i].len);
        is_right(h.bytes, h.len, &out);
        CU_ASSERT_TRUE(out.tls);
        CU_ASSERT_TRUE(pg_bytes_equal(out.tls_version, PG_BYTES_OF("TLSv1.3")));
        CU_ASSERT_PTR_NULL(out.cipher.data);
        CU_ASSERT_EQUAL(out.verified, cases[i].verified);
        CU_ASSERT_EQUAL(out.cn.data != NULL, cases[i].has_name);
        CU_ASSERT(!cases[i].has_name || (out.cn.len == cases[i].len &&
                                         memcmp(out.cn.data, cases[i].cn, out.cn.len) == 0));
    }
    char name[NET_PROXY_CN_MAX + 1];
    memset(name, 'n', sizeof(name));
    for (size_t len = NET_PROXY_CN_MAX; len <= NET_PROXY_CN_MAX + 1; len++) {
        struct header h = ipv4();
        tls(&h, TLS | CERT_CONN, 0, name, len);
        is_right(h.bytes, h.len, &out);
        CU_ASSERT_EQUAL(out.cn.data != NULL, len == NET_PROXY_CN_MAX);
    }
}

static void damaged_words_about_tls(void)
{
    struct header h = ipv4();
    tlv(&h, 0x20, "\3\0\0\0", 4);
    is_wrong(h.bytes, h.len, "TLS");
    h = ipv4();
    tlv(&h, 0x20,
        "\3\0\0\0\0\x22\0\x09"
        "device-7",
        16); /* one byte more than there is */
    is_wrong(h.bytes, h.len, "TLS");
    h = ipv4();
    tlv(&h, 0x20, "\3\0\0\0\0\x22\0\1a\x22\0\1b", 13); /* two names */
    is_wrong(h.bytes, h.len, "TLS");
    h = ipv4();
    tls(&h, 3, 0, "a", 1);
    tls(&h, 3, 0, "b", 1);
    is_wrong(h.bytes, h.len, "TLS");
}

static void the_checksum(void)
{
    struct net_proxy out;
    struct header h = ipv4();
    tlv(&h, 0x02, "gw.example", 10);
    tlv(&h, 0x03, "\0\0\0\0", 4);
    size_t at = h.len - 4;
    tlv(&h, 0x05, "unique", 6);
    uint32_t crc = pg_crc32c(0, (struct pg_bytes){.data = h.bytes, .len = h.len});
    for (size_t i = 0; i < 4; i++)
        h.bytes[at + i] = (uint8_t)(crc >> (24 - 8 * i));
    is_right(h.bytes, h.len, &out);
    for (size_t i = 16; i < h.len; i++) {
        struct header damaged = h;
        damaged.bytes[i] ^= 0x40;
        bool is_sum = i != at - 3; /* with another type it is no sum any more */
        CU_ASSERT_EQUAL(parse(damaged.bytes, damaged.len, NET_PROXY_ANY, &out),
                        is_sum ? NET_PROXY_BAD : NET_PROXY_WHOLE);
    }
    h = ipv4();
    tlv(&h, 0x03, "\0\0\0", 3);
    is_wrong(h.bytes, h.len, "checksum");
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(lines_are_read),
        TEST(lines_that_are_not_quite_right),
        TEST(blocks_are_read),
        TEST(connections_of_the_proxy_itself),
        TEST(values_that_mean_nothing_here_are_passed_over),
        TEST(blocks_that_are_not_quite_right),
        TEST(only_the_versions_asked_for),
        TEST(the_name_of_a_certificate),
        TEST(damaged_words_about_tls),
        TEST(the_checksum),
        CU_TEST_INFO_NULL,
    };
    return run_suite("net_proxy", tests);
}
