/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses and ranges, from text and back; see address.h. */

#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IPV4_AT 12 /* where the four bytes of an IPv4 address stand */

static const uint8_t ipv4_prefix[IPV4_AT] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static bool is_ipv4(const struct pg_address *address)
{
    return memcmp(address->bytes, ipv4_prefix, sizeof(ipv4_prefix)) == 0;
}

static bool parse(const char *text, struct pg_address *out)
{
    if (inet_pton(AF_INET, text, out->bytes + IPV4_AT) == 1) {
        memcpy(out->bytes, ipv4_prefix, sizeof(ipv4_prefix));
        return true;
    }
    return inet_pton(AF_INET6, text, out->bytes) == 1;
}

/* A decimal number; returns what follows it. */
static char *put_number(char *at, unsigned number)
{
    char digits[5];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

void pg_ipv4_text(const uint8_t address[4], uint16_t port, char out[PG_IPV4_TEXT])
{
    char *at = out;
    for (unsigned i = 0; i < 4; i++) {
        at = put_number(at, address[i]);
        *at++ = i < 3 ? '.' : ':';
    }
    at = put_number(at, port);
    *at = '\0';
}

/* As a text with an end; false if it does not fit. */
static bool copy(char *out, size_t room, const char *from, size_t len)
{
    if (len >= room || memchr(from, '\0', len))
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

bool pg_address_of_peer(const char *peer, struct pg_address *out)
{
    char host[PG_ADDRESS_TEXT];
    const char *colon = strrchr(peer, ':');
    size_t len = colon ? (size_t)(colon - peer) : strlen(peer);
    if (len > 2 && peer[0] == '[' && peer[len - 1] == ']') {
        peer++;
        len -= 2;
    }
    const char *scope = memchr(peer, '%', len);
    if (scope)
        len = (size_t)(scope - peer);
    return copy(host, sizeof(host), peer, len) && parse(host, out);
}

bool pg_range_parse(struct pg_bytes text, struct pg_range *out)
{
    char host[PG_ADDRESS_TEXT];
    const char *start = (const char *)text.data;
    const char *slash = text.len > 0 ? memchr(start, '/', text.len) : NULL;
    size_t len = slash ? (size_t)(slash - start) : text.len;
    struct pg_address address;
    if (text.len == 0 || !copy(host, sizeof(host), start, len) || !parse(host, &address))
        return false;
    unsigned bits = PG_ADDRESS_BITS;
    if (slash) {
        char digits[4], *end;
        if (!copy(digits, sizeof(digits), slash + 1, text.len - len - 1) || digits[0] < '0' ||
            digits[0] > '9')
            return false;
        unsigned long n = strtoul(digits, &end, 10);
        unsigned most = strchr(host, ':') ? PG_ADDRESS_BITS : 32;
        if (*end != '\0' || n > most)
            return false;
        bits = (unsigned)n + (PG_ADDRESS_BITS - most);
    }
    *out = pg_range_of(&address, bits);
    return memcmp(&out->address, &address, sizeof(address)) == 0;
}

void pg_range_text(const struct pg_range *range, char out[PG_ADDRESS_TEXT])
{
    bool ipv4 = is_ipv4(&range->address) && range->bits >= PG_ADDRESS_BITS - 32;
    char host[INET6_ADDRSTRLEN] = "";
    if (ipv4)
        inet_ntop(AF_INET, range->address.bytes + IPV4_AT, host, sizeof(host));
    else
        inet_ntop(AF_INET6, range->address.bytes, host, sizeof(host));
    if (range->bits == PG_ADDRESS_BITS)
        snprintf(out, PG_ADDRESS_TEXT, "%s", host);
    else
        snprintf(out, PG_ADDRESS_TEXT, "%s/%u", host,
                 range->bits - (ipv4 ? PG_ADDRESS_BITS - 32 : 0));
}

struct pg_range pg_range_of(const struct pg_address *address, unsigned bits)
{
    struct pg_range range = {.address = *address, .bits = (uint8_t)bits};
    for (unsigned i = 0; i < sizeof(address->bytes); i++) {
        unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
        if (kept < 8)
            range.address.bytes[i] &= (uint8_t)(0xFF00u >> kept);
    }
    return range;
}

bool pg_range_has(const struct pg_range *range, const struct pg_address *address)
{
    struct pg_range other = pg_range_of(address, range->bits);
    return memcmp(&other.address, &range->address, sizeof(other.address)) == 0;
}

struct pg_range pg_address_peer(const struct pg_address *address)
{
    return pg_range_of(address, is_ipv4(address) ? PG_ADDRESS_BITS : 64);
}
