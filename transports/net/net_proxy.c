/* SPDX-License-Identifier: Apache-2.0 */

/* The parser of the PROXY protocol; see net_proxy.h.
 *
 * Version 1 is one line of text (section 2.1), version 2 a fixed part, addresses, and a list of
 * type-length-values (2.2). Both are taken strictly: a header that is only nearly right comes from
 * somebody who is no proxy, and what stands in it decides who somebody is. Types that are not
 * understood are passed over, as the standard demands; those that are must be well formed. Bytes
 * behind the header are never looked at. */

#include <arpa/inet.h>
#include <string.h>

#include "crc32c.h"
#include "net_proxy.h"

/* ---- version 1 ------------------------------------------------------------------------------- */

#define V1_MAX 107u /* the longest line, its end included */

static enum net_proxy_result bad(struct net_proxy *out, const char *why)
{
    out->why = why;
    return NET_PROXY_BAD;
}

/* Take the text up to the next `end` out of the line, as a C string. */
static bool take_word(struct pg_bytes *line, char end, char *word, size_t room)
{
    const uint8_t *at = line->len > 0 ? memchr(line->data, end, line->len) : NULL;
    size_t len = at ? (size_t)(at - line->data) : 0;
    if (len == 0 || len >= room)
        return false;
    memcpy(word, line->data, len);
    word[len] = '\0';
    line->data += len + 1;
    line->len -= len + 1;
    return !memchr(word, '\0', len);
}

static bool take_port(struct pg_bytes *line, char end, uint16_t *port)
{
    char word[6];
    uint32_t value = 0;
    if (!take_word(line, end, word, sizeof(word)) || (word[0] == '0' && word[1] != '\0'))
        return false;
    for (const char *digit = word; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        value = value * 10 + (uint32_t)(*digit - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

static bool take_host(struct pg_bytes *line, int family, struct net_address *out)
{
    char word[INET6_ADDRSTRLEN];
    *out = (struct net_address){.sa.any.sa_family = (sa_family_t)family};
    out->len = family == AF_INET ? sizeof(out->sa.v4) : sizeof(out->sa.v6);
    void *host = family == AF_INET ? (void *)&out->sa.v4.sin_addr : (void *)&out->sa.v6.sin6_addr;
    return take_word(line, ' ', word, sizeof(word)) && inet_pton(family, word, host) == 1;
}

/* `line` is what stands between "PROXY " and its end. */
static enum net_proxy_result read_line(struct pg_bytes line, struct net_proxy *out)
{
    static const char unknown[] = "UNKNOWN";
    size_t len = sizeof(unknown) - 1;
    if (line.len >= len && memcmp(line.data, unknown, len) == 0 &&
        (line.len == len || line.data[len] == ' ')) {
        out->own = true; /* what else stands there is to be ignored */
        return NET_PROXY_WHOLE;
    }
    char family[5];
    struct net_address target;
    uint16_t from, to;
    if (!take_word(&line, ' ', family, sizeof(family)) ||
        (strcmp(family, "TCP4") != 0 && strcmp(family, "TCP6") != 0))
        return bad(out, "the family is none of TCP4, TCP6 and UNKNOWN");
    int number = family[3] == '4' ? AF_INET : AF_INET6;
    if (!take_host(&line, number, &out->source) || !take_host(&line, number, &target))
        return bad(out, "an address is not one of its family");
    /* The last word ends where the line does. */
    if (!take_port(&line, ' ', &from) || !take_port(&line, '\r', &to) || line.len != 0)
        return bad(out, "a port is no number from 0 to 65535");
    net_address_set_port(&out->source, from);
    return NET_PROXY_WHOLE;
}

static enum net_proxy_result parse_v1(struct pg_bytes head, size_t begin, struct net_proxy *out)
{
    size_t most = head.len < V1_MAX ? head.len : V1_MAX;
    const uint8_t *end = memchr(head.data, '\n', most);
    if (!end)
        return head.len < V1_MAX ? NET_PROXY_MORE : bad(out, "the line does not end");
    size_t len = (size_t)(end - head.data);
    if (len <= begin || head.data[len - 1] != '\r')
        return bad(out, "the line does not end with CR LF");
    out->used = len + 1;
    /* The word UNKNOWN is the only one that may end the line itself: it is read without the CR. */
    struct pg_bytes line = {.data = head.data + begin, .len = len - begin};
    struct pg_bytes without_cr = {.data = line.data, .len = line.len - 1};
    if (without_cr.len > 0 && without_cr.data[0] == 'U')
        return read_line(without_cr, out);
    return read_line(line, out);
}

/* ---- version 2 ------------------------------------------------------------------------------- */

#define V2_FIXED 16u

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX = 0x31 };
enum {
    TLV_CRC32C = 0x03,
    TLV_SSL = 0x20,
    TLV_SSL_VERSION = 0x21,
    TLV_SSL_CN = 0x22,
    TLV_SSL_CIPHER = 0x23,
};
/* Bits of the first byte of TLV_SSL (2.2.6). */
enum { SSL_USED = 0x01, SSL_CERT_CONN = 0x02, SSL_CERT_SESS = 0x04 };
#define SSL_FIXED 5u /* bits, and the result of the verification */

static size_t get16(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The next of a list; false at its end, or if it is longer than the list, which is not empty
 * then. */
static bool next_tlv(struct pg_bytes *list, uint8_t *type, struct pg_bytes *value)
{
    if (list->len < 3)
        return false;
    size_t len = get16(list->data + 1);
    if (len > list->len - 3)
        return false;
    *type = list->data[0];
    *value = (struct pg_bytes){.data = list->data + 3, .len = len};
    list->data += 3 + len;
    list->len -= 3 + len;
    return true;
}

static bool is_printable(struct pg_bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return pg_utf8_valid(text);
}

/* The certificate's name is looked for only if the proxy has found it valid. */
static bool read_ssl(struct pg_bytes value, struct net_proxy *out)
{
    if (value.len < SSL_FIXED)
        return false;
    bool shown = (value.data[0] & (SSL_CERT_CONN | SSL_CERT_SESS)) != 0;
    out->tls = (value.data[0] & SSL_USED) != 0;
    out->verified = shown && get32(value.data + 1) == 0;
    struct pg_bytes list = {.data = value.data + SSL_FIXED, .len = value.len - SSL_FIXED};
    struct pg_bytes part, cn = PG_BYTES_NONE;
    uint8_t type;
    while (next_tlv(&list, &type, &part)) {
        if (type == TLV_SSL_CN && cn.data)
            return false;
        if (type == TLV_SSL_CN)
            cn = part;
        else if (type == TLV_SSL_VERSION)
            out->tls_version = part;
        else if (type == TLV_SSL_CIPHER)
            out->cipher = part;
    }
    if (out->verified && cn.len > 0 && cn.len <= NET_PROXY_CN_MAX && is_printable(cn))
        out->cn = cn;
    return list.len == 0;
}

/* The sum over the header with the sum's own bytes as zero (2.2.3). */
static bool sum_is_right(struct pg_bytes header, struct pg_bytes sum)
{
    static const uint8_t zero[4];
    struct pg_bytes before = {.data = header.data, .len = (size_t)(sum.data - header.data)};
    struct pg_bytes after = {.data = sum.data + 4, .len = header.len - before.len - 4};
    uint32_t crc = pg_crc32c(0, before);
    crc = pg_crc32c(crc, (struct pg_bytes){.data = zero, .len = sizeof(zero)});
    return pg_crc32c(crc, after) == get32(sum.data);
}

static enum net_proxy_result read_tlvs(struct pg_bytes header, struct pg_bytes list,
                                       struct net_proxy *out)
{
    struct pg_bytes value;
    uint8_t type;
    bool has_ssl = false, has_sum = false;
    while (next_tlv(&list, &type, &value)) {
        if (type == TLV_SSL) {
            if (has_ssl || !read_ssl(value, out))
                return bad(out, "what it says of TLS is not well formed");
            has_ssl = true;
        } else if (type == TLV_CRC32C) {
            if (has_sum || value.len != 4 || !sum_is_right(header, value))
                return bad(out, "the checksum is wrong");
            has_sum = true;
        }
    }
    return list.len == 0 ? NET_PROXY_WHOLE : bad(out, "a value is longer than the header");
}

/* Bytes of the addresses of a family; SIZE_MAX for those that are not served. */
static size_t addresses_len(uint8_t family)
{
    switch (family) {
    case V2_UNSPEC:
        return 0;
    case V2_TCP4:
        return 12;
    case V2_TCP6:
        return 36;
    case V2_UNIX:
        return 216;
    default:
        return SIZE_MAX;
    }
}

static void read_source(const uint8_t *at, uint8_t family, struct net_proxy *out)
{
    struct net_address *source = &out->source;
    if (family == V2_TCP4) {
        source->len = sizeof(source->sa.v4);
        source->sa.v4.sin_family = AF_INET;
        memcpy(&source->sa.v4.sin_addr, at, 4);
        net_address_set_port(source, (uint16_t)get16(at + 8));
    } else if (family == V2_TCP6) {
        source->len = sizeof(source->sa.v6);
        source->sa.v6.sin6_family = AF_INET6;
        memcpy(&source->sa.v6.sin6_addr, at, 16);
        net_address_set_port(source, (uint16_t)get16(at + 32));
    }
}

static enum net_proxy_result parse_v2(struct pg_bytes head, struct net_proxy *out)
{
    if (head.len > 12 && head.data[12] != V2_LOCAL && head.data[12] != V2_PROXY)
        return bad(out, "the version is not 2, or the command none that is known");
    bool local = head.len > 12 && head.data[12] == V2_LOCAL;
    size_t addresses = head.len > 13 && !local ? addresses_len(head.data[13]) : 0;
    if (addresses == SIZE_MAX)
        return bad(out, "the family is none of TCP over IPv4, over IPv6, and Unix-domain streams");
    if (head.len < V2_FIXED)
        return NET_PROXY_MORE;
    size_t len = get16(head.data + 14);
    if (len > NET_PROXY_MAX - V2_FIXED)
        return bad(out, "longer than 16384 bytes");
    if (len < addresses)
        return bad(out, "too short for the addresses of its family");
    if (head.len < V2_FIXED + len)
        return NET_PROXY_MORE;
    out->used = V2_FIXED + len;
    out->own = local || head.data[13] == V2_UNSPEC;
    out->local = local;
    if (local) /* a family and addresses may stand there, and mean nothing (2.2) */
        return NET_PROXY_WHOLE;
    read_source(head.data + V2_FIXED, head.data[13], out);
    struct pg_bytes header = {.data = head.data, .len = out->used};
    struct pg_bytes list = {.data = head.data + V2_FIXED + addresses, .len = len - addresses};
    return read_tlvs(header, list, out);
}

/* ---- both ------------------------------------------------------------------------------------ */

/* Whether the bytes are `mark`, or as far as they go its beginning. */
static bool begins(struct pg_bytes head, const char *mark, size_t len)
{
    return memcmp(head.data, mark, head.len < len ? head.len : len) == 0;
}

enum net_proxy_result net_proxy_parse(struct pg_bytes head, enum net_proxy_accept accept,
                                      struct net_proxy *out)
{
    static const char line[] = "PROXY ", block[] = "\r\n\r\n\0\r\nQUIT\n";
    *out = (struct net_proxy){.source.sa.any.sa_family = AF_UNSPEC};
    if (head.len == 0)
        return NET_PROXY_MORE;
    enum net_proxy_result result = NET_PROXY_BAD;
    if (begins(head, line, sizeof(line) - 1))
        result = accept == NET_PROXY_V2 ? bad(out, "version 1, and only 2 is accepted")
                                        : parse_v1(head, sizeof(line) - 1, out);
    else if (begins(head, block, sizeof(block) - 1))
        result = accept == NET_PROXY_V1 ? bad(out, "version 2, and only 1 is accepted")
                                        : parse_v2(head, out);
    else
        result = bad(out, "the connection does not begin with one");
    if (result == NET_PROXY_BAD) /* nothing of it is to be believed */
        *out = (struct net_proxy){.source.sa.any.sa_family = AF_UNSPEC, .why = out->why};
    return result;
}
