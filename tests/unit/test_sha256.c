/* SPDX-License-Identifier: Apache-2.0 */

/* SHA-256 and HMAC-SHA-256 against the examples of FIPS 180 and RFC 4231. */

#include <stdio.h>
#include <string.h>

#include "suite.h"
#include "wire/sha256.h"

static bool is(const uint8_t digest[SHA256_BYTES], const char *hex)
{
    char text[2 * SHA256_BYTES + 1];

    for (size_t i = 0; i < SHA256_BYTES; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
    return strcmp(text, hex) == 0;
}

static void digests_are_those_of_the_standard(void)
{
    uint8_t digest[SHA256_BYTES];
    static const uint8_t million[1000000];

    sha256(PG_BYTES_NONE, digest);
    CU_ASSERT(is(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    sha256(PG_BYTES_OF("abc"), digest);
    CU_ASSERT(is(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    sha256(PG_BYTES_OF("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    CU_ASSERT(is(digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
    sha256((struct pg_bytes){.data = million, .len = sizeof(million)}, digest);
    CU_ASSERT(is(digest, "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025"));
}

static void macs_are_those_of_rfc_4231(void)
{
    uint8_t mac[SHA256_BYTES], long_key[131];
    struct pg_bytes parts[] = {PG_BYTES_OF("what do ya want "), PG_BYTES_OF("for nothing?")};
    struct pg_bytes larger = PG_BYTES_OF("Test Using Larger Than Block-Size Key - Hash Key First");

    sha256_hmac(PG_BYTES_OF("Jefe"), parts, 2, mac);
    CU_ASSERT(is(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    memset(long_key, 0xaa, sizeof(long_key));
    sha256_hmac((struct pg_bytes){.data = long_key, .len = sizeof(long_key)}, &larger, 1, mac);
    CU_ASSERT(is(mac, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(digests_are_those_of_the_standard),
        TEST(macs_are_those_of_rfc_4231),
        CU_TEST_INFO_NULL,
    };
    return run_suite("sha256", tests);
}
