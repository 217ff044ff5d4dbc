/* SPDX-License-Identifier: Apache-2.0 */

/* What the core allocates for each client that is there and silent: a connection, a client, a
 * session and one exact subscription, as the slope between two numbers of clients. It must not depend
 * on how many workers there are. */

#include <CUnit/CUnit.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "suite.h"
#include "testbed.h"

#define FEW  500u
#define MANY 12500u

/* Bytes of each client without the frontend's and the transport's own state. */
#define BYTES_MAX 470u

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OTHER_MALLOC 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_MALLOC 1
#endif

static struct testbed bed;
static struct probe probes[MANY];

static void come(unsigned from, unsigned to, unsigned workers)
{
    for (unsigned i = from; i < to; i++) {
        char id[32], filter[32];
        snprintf(id, sizeof(id), "bench-client-%05u", i);
        snprintf(filter, sizeof(filter), "bench/idle/%05u", i);
        const struct pg_login login = {
            .client_id = pg_bytes_str(id),
            .clean_start = true,
            .trusted = true,
        };
        probe_connect(&bed, &probes[i], i % workers, &login);
        if (!probes[i].client || probe_subscribe(&bed, &probes[i], filter, 0) != PG_OK) {
            CU_FAIL_FATAL("a client could not come");
        }
    }
    testbed_settle(&bed);
}

/* In bytes. */
static size_t silent_client(unsigned workers)
{
    testbed_start(&bed, workers, NULL);
    come(0, FEW, workers);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    come(FEW, MANY, workers);
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    testbed_stop(&bed);
    return (after - before) / (MANY - FEW);
}

static void silent_client_is_small(void)
{
    size_t each = silent_client(1);
    printf("%zu bytes ", each);
#ifndef OTHER_MALLOC
    CU_ASSERT_TRUE(each > 200); /* or it was not measured */
    CU_ASSERT_TRUE(each <= BYTES_MAX);
#endif
}

static void as_small_with_more_workers(void)
{
    size_t with_4 = silent_client(4), with_8 = silent_client(8);
    printf("%zu bytes with 4, %zu with 8 ", with_4, with_8);
#ifndef OTHER_MALLOC
    CU_ASSERT_TRUE(with_4 <= BYTES_MAX);
    CU_ASSERT_TRUE(with_8 <= BYTES_MAX);
#endif
}

int main(void)
{
    mallopt(M_ARENA_MAX, 1); /* mallinfo2() tells of the main arena alone */
    CU_TestInfo tests[] = {
        TEST(silent_client_is_small),
        TEST(as_small_with_more_workers),
        CU_TEST_INFO_NULL,
    };
    return run_suite("idle", tests);
}
