/* SPDX-License-Identifier: Apache-2.0 */

/* Messages: they hold what they were made of, whichever memory they are made in; and a thread that
 * keeps the memory of those that end uses it again, and holds no more of it than its bound. */

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "suite.h"

#define LONGEST 1300u /* beyond the longest block that is kept */

static uint8_t bytes[LONGEST];

/* With a payload of `len` bytes that begin with `mark`. */
static struct pg_msg *make(size_t len, uint8_t mark)
{
    if (len > 0)
        bytes[0] = mark;
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("a/b"),
        .topic_valid = true,
        .payload = {.data = bytes, .len = len},
        .publisher = PG_BYTES_OF("me"),
        .qos = 1,
        .retain = true,
    };
    return pg_msg_new(&spec);
}

static bool is_whole(const struct pg_msg *msg, size_t len, uint8_t mark)
{
    bytes[0] = mark;
    return msg && pg_bytes_equal(msg->topic, PG_BYTES_OF("a/b")) &&
           pg_bytes_equal(msg->publisher, PG_BYTES_OF("me")) && msg->payload.len == len &&
           (len == 0 || memcmp(msg->payload.data, bytes, len) == 0) && msg->qos == 1 &&
           msg->retain && msg->topic_valid && msg->expires_ms == PG_NEVER && !msg->props &&
           atomic_load(&msg->refs) == 1 && !pg_msg_encoding(msg, bytes, 1);
}

/* Two messages of each length at a time, in memory that the lengths before have left. */
static void every_length(void)
{
    for (size_t len = 0; len <= LONGEST; len++) {
        struct pg_msg *one = make(len, 'x'), *other = make(len, 'y');
        CU_ASSERT(is_whole(one, len, 'x'));
        CU_ASSERT(is_whole(other, len, 'y'));
        CU_ASSERT_PTR_NOT_NULL(pg_msg_encoding_add(one, bytes, 1, PG_BYTES_OF("left")));
        pg_msg_unref(&one);
        CU_ASSERT(is_whole(other, len, 'y'));
        pg_msg_unref(&other);
    }
}

static void messages_of_every_length_are_whole(void)
{
    every_length();
    pg_messages_keep(true);
    every_length();
    every_length();
    pg_messages_keep(false);
    every_length();
}

/* Properties count in the length of a block, too. */
static void messages_with_properties_are_whole(void)
{
    const struct pg_property user[] = {{PG_BYTES_OF("name"), PG_BYTES_OF("value")},
                                       {PG_BYTES_OF("n"), PG_BYTES_OF("")}};
    const struct pg_msg_spec spec = {
        .topic = PG_BYTES_OF("t"),
        .props = {.content_type = PG_BYTES_OF("text/plain"), .user = user, .user_count = 2},
    };
    pg_messages_keep(true);
    for (int i = 0; i < 3; i++) {
        struct pg_msg *msg = pg_msg_new(&spec), *plain = make(10, 'x');
        CU_ASSERT_PTR_NOT_NULL_FATAL(msg);
        CU_ASSERT(pg_bytes_equal(msg->props->content_type, PG_BYTES_OF("text/plain")));
        CU_ASSERT(pg_bytes_equal(msg->props->user[0].value, PG_BYTES_OF("value")));
        CU_ASSERT(pg_bytes_equal(msg->props->user[1].name, PG_BYTES_OF("n")));
        pg_msg_unref(&msg);
        CU_ASSERT(is_whole(plain, 10, 'x'));
        pg_msg_unref(&plain);
    }
    pg_messages_keep(false);
}

static void a_message_ends_with_its_last_reference(void)
{
    struct pg_msg *msg = make(10, 'x'), *second = pg_msg_ref(msg), *third = msg;
    pg_msg_ref_many(msg, 1);
    pg_msg_unref(&msg);
    CU_ASSERT_PTR_NULL(msg);
    pg_msg_unref(&second);
    CU_ASSERT(is_whole(third, 10, 'x'));
    pg_msg_unref(&third);
}

static void what_has_ended_is_used_again(void)
{
    pg_messages_keep(true);
    struct pg_msg *first = make(500, 'x');
    const uintptr_t place = (uintptr_t)first;
    pg_msg_unref(&first);
    struct pg_msg *shorter = make(300, 'x'), *same = make(510, 'x');
    CU_ASSERT((uintptr_t)shorter != place);
    CU_ASSERT_EQUAL((uintptr_t)same, place);
    pg_msg_unref(&shorter);
    pg_msg_unref(&same);
    pg_messages_keep(false);
}

static size_t allocated(void)
{
    return mallinfo2().uordblks; /* 0 under sanitizers */
}

static void what_is_kept_has_a_bound(void)
{
    enum { COUNT = 4000, LEN = 800 };
    static struct pg_msg *messages[COUNT];
    const size_t bound = 1024 * 1024;
    pg_messages_keep(true);
    size_t before = allocated();
    for (size_t i = 0; i < COUNT; i++)
        messages[i] = make(LEN, 'x');
    CU_ASSERT(allocated() == 0 || allocated() > before + COUNT * LEN);
    for (size_t i = 0; i < COUNT; i++)
        pg_msg_unref(&messages[i]);
    CU_ASSERT(allocated() <= before + bound + bound / 8);
    CU_ASSERT(allocated() == 0 || allocated() > before + bound / 2);
    pg_messages_keep(false);
    CU_ASSERT(allocated() <= before + bound / 8); /* the allocator has a cache, too */
}

static void *end_there(void *arg)
{
    struct pg_msg *msg = arg;
    pg_messages_keep(true);
    pg_msg_unref(&msg);
    msg = make(100, 'y');
    CU_ASSERT(is_whole(msg, 100, 'y'));
    pg_messages_keep(false);
    return msg;
}

static void a_message_ends_on_any_thread(void)
{
    pthread_t thread;
    void *theirs;
    pg_messages_keep(true);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, end_there, make(100, 'x')), 0);
    pthread_join(thread, &theirs);
    struct pg_msg *msg = theirs;
    CU_ASSERT(is_whole(msg, 100, 'y'));
    pg_msg_unref(&msg);
    pg_messages_keep(false);
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(messages_of_every_length_are_whole),
        TEST(messages_with_properties_are_whole),
        TEST(a_message_ends_with_its_last_reference),
        TEST(what_has_ended_is_used_again),
        TEST(what_is_kept_has_a_bound),
        TEST(a_message_ends_on_any_thread),
        CU_TEST_INFO_NULL,
    };
    memset(bytes, 'p', sizeof(bytes));
    return run_suite("message", tests);
}
