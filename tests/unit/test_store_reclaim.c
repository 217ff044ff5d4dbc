/* SPDX-License-Identifier: Apache-2.0 */

/* How the embedded store gives space back: the engine by itself, without its thread, so that each
 * step of expiry and of copying is one call. Nothing that lives is lost or changed by any step, at
 * which a process may also die; each step is short; and in the end the segments are gone. */

#include <CUnit/CUnit.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scratch.h"
#include "store_disk_parts.h"
#include "suite.h"

/* The longest step that is allowed: what it writes. */
#define STEP_BYTES (256u * 1024 + 4096)

static char dir[SCRATCH_PATH_MAX], copy[SCRATCH_PATH_MAX + 16];
static struct pg_store_disk_options options;
static struct pg_disk *disk;

/* ---- what comes back ------------------------------------------------------------------------ */

struct seen {
    struct pg_store_restorer base; /* first */
    struct pg_store_session *handles[8];
    char text[8192]; /* all of it, sorted by what it is about */
    unsigned unrouted, unrouted_clients;
};
static struct seen seen;

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *format, ...)
{
    size_t used = strlen(seen.text);
    va_list args;
    va_start(args, format);
    vsnprintf(seen.text + used, sizeof(seen.text) - used, format, args);
    va_end(args);
}

/* Sessions are called "0" to "7". */
static bool on_session(struct pg_store_restorer *base, const struct pg_restored_session *s)
{
    (void)base;
    unsigned who = s->record.client_id.data[0] - '0';
    seen.handles[who] = s->handle;
    if (s->out_count + s->receipt_count == 0)
        return true;
    add("%u:", who);
    for (size_t i = 0; i < s->out_count; i++)
        add(" out %u/%u%s", (unsigned)s->outs[i].number, s->outs[i].packet_id,
            s->outs[i].received ? "+" : "");
    for (size_t i = 0; i < s->receipt_count; i++)
        add(" in %u", s->receipts[i]);
    add("\n");
    return true;
}

static bool on_unrouted(struct pg_store_restorer *base, struct pg_msg *msg,
                        const struct pg_bytes *clients, size_t count, const struct pg_bytes *shares,
                        size_t share_count)
{
    (void)base, (void)msg, (void)clients, (void)shares, (void)share_count;
    seen.unrouted++;
    seen.unrouted_clients = (unsigned)count;
    return true;
}

static bool open_disk(const char *where)
{
    struct pg_error error;
    options.dir = where;
    seen = (struct seen){.base = {.session = on_session, .unrouted = on_unrouted}};
    disk = pg_disk_open(&options, &error);
    if (disk && pg_disk_restore(disk, &seen.base, &error))
        return true;
    printf("%s\n", error.text);
    pg_disk_close(&disk);
    return false;
}

static void begin(void)
{
    scratch_make(dir);
    snprintf(copy, sizeof(copy), "%s.copy", dir);
    options = (struct pg_store_disk_options){
        .fsync = PG_SEGLOG_ALWAYS,
        .segment_bytes = 64 * 1024,
        .map_bytes = 64u << 20,
        .retention_s = 3 * 86400,
    };
    CU_ASSERT_FATAL(open_disk(dir));
}

static void finish(void)
{
    pg_disk_close(&disk);
    scratch_remove(dir);
    scratch_remove(copy);
}

/* ---- requests ------------------------------------------------------------------------------- */

struct answer {
    struct pg_store_done done; /* first */
    struct pg_store_fetch fetch;
    struct pg_store_page *page;
    enum pg_reason result;
};

static void on_done(struct pg_store_done *done, enum pg_reason result)
{
    ((struct answer *)done)->result = result;
}

static void on_page(struct pg_store_fetch *fetch, struct pg_store_page *page, enum pg_reason result)
{
    struct answer *answer = (struct answer *)((char *)fetch - offsetof(struct answer, fetch));
    answer->page = page;
    answer->result = result;
}

static enum pg_reason ask(enum pg_disk_ask what, struct pg_store_session *session, uint64_t number,
                          uint16_t packet_id, struct pg_msg *msg, const char *share)
{
    struct answer answer = {.done.fn = on_done, .result = PG_PENDING};
    struct pg_disk_request *request = pg_disk_request_new(what, pg_bytes_str(share), PG_BYTES_NONE);
    request->session = session;
    request->number = number;
    request->packet_id = packet_id;
    request->msg = msg ? pg_msg_ref(msg) : NULL;
    request->expiry_s = 60;
    request->flags = share[0] == '$' ? 1 | PG_DISK_VIA : 1;
    request->done = &answer.done;
    pg_disk_commit(disk, request);
    pg_disk_answer(disk, request);
    return answer.result;
}

static struct pg_store_session *make_session(unsigned who)
{
    char name[2] = {(char)('0' + who), '\0'};
    struct pg_store_session *session = pg_disk_session_new(pg_bytes_str(name));
    CU_ASSERT_EQUAL_FATAL(ask(PG_ASK_SESSION_PUT, session, 0, 0, NULL, name), PG_OK);
    return session;
}

static struct pg_msg *message(const char *payload, uint32_t expiry_s)
{
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("t"),
                               .payload = pg_bytes_str(payload),
                               .protocol = "",
                               .qos = 1,
                               .expires = expiry_s > 0,
                               .expiry_s = expiry_s};
    return pg_msg_new(&spec);
}

/* A message of about a kilobyte that begins with its number. */
static struct pg_msg *numbered(uint64_t number)
{
    char payload[1001];
    memset(payload, '.', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = '\0';
    int n = snprintf(payload, sizeof(payload), "%u", (unsigned)number);
    payload[n] = ' ';
    return message(payload, 0);
}

/* The queue, as runs of numbers; each message must be the one that it was. */
static void describe_queue(struct pg_store_session *session, unsigned who)
{
    uint64_t next = 0;
    bool end = false;
    add("%u:", who);
    while (!end) {
        struct answer answer = {.fetch.fn = on_page};
        struct pg_disk_request *request =
            pg_disk_request_new(PG_ASK_FETCH, PG_BYTES_NONE, PG_BYTES_NONE);
        request->session = session;
        request->number = next;
        request->count = 50;
        request->bytes = 1 << 20;
        request->fetch = &answer.fetch;
        pg_disk_commit(disk, request);
        pg_disk_answer(disk, request);
        CU_ASSERT_EQUAL_FATAL(answer.result, PG_OK);
        for (uint32_t i = 0; i < answer.page->count; i++) {
            const struct pg_store_entry *e = &answer.page->entries[i];
            CU_ASSERT_EQUAL(strtoull((const char *)e->msg->payload.data, NULL, 10), e->number);
            add(" %u%s", (unsigned)e->number, e->share.len > 0 ? "s" : "");
        }
        next = answer.page->next;
        end = answer.page->at_end;
        pg_store_page_free(&answer.page);
    }
    add("\n");
}

/* Everything that the store would give back, and every queue. */
static void describe(char *to, size_t size, struct pg_store_session *const *sessions)
{
    for (unsigned who = 0; who < 8; who++) {
        if (sessions[who])
            describe_queue(sessions[who], who);
    }
    snprintf(to, size, "%s", seen.text);
}

/* What another process would find if this one died now. */
static void describe_crash(char *to, size_t size)
{
    char command[256];
    struct pg_disk *here = disk;
    snprintf(command, sizeof(command), "rm -rf '%s' && cp -r '%s' '%s'", copy, dir, copy);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    CU_ASSERT_FATAL(open_disk(copy));
    describe(to, size, seen.handles);
    pg_disk_close(&disk);
    disk = here;
}

/* ---- copying -------------------------------------------------------------------------------- */

/* Session 0 takes all but one of 16; 1 has every 16th, and two of its deliveries under way; 2 has
 * messages through a share; 3 has received with QoS 2 long ago, and has not been released. */
static void fill(struct pg_store_session **sessions)
{
    for (unsigned who = 0; who < 4; who++)
        sessions[who] = make_session(who);
    struct pg_msg *msg = message("0 in", 0);
    ask(PG_ASK_RECEIVE, sessions[3], 0, 7, msg, "");
    ask(PG_ASK_ROUTED, NULL, 0, 0, msg, "");
    pg_msg_unref(&msg);
    for (uint64_t n = 1; n <= 400; n++) {
        msg = numbered(n);
        ask(PG_ASK_ENQUEUE, sessions[0], n, 0, msg, "");
        if (n % 16 == 0)
            ask(PG_ASK_ENQUEUE, sessions[1], n, 0, msg, "");
        if (n % 40 == 0)
            ask(PG_ASK_ENQUEUE, sessions[2], n, 0, msg, "$share/g/t");
        if (n % 16 != 0)
            ask(PG_ASK_SETTLE, sessions[0], n, 0, NULL, "");
        pg_msg_unref(&msg);
    }
    ask(PG_ASK_SEND, sessions[1], 16, 160, NULL, "");
    ask(PG_ASK_SEND, sessions[1], 32, 320, NULL, "");
    ask(PG_ASK_RECEIVED, sessions[1], 16, 0, NULL, "");
}

static void what_lives_is_copied_in_steps_and_nothing_changes(void)
{
    static char before[8192], now[8192];
    struct pg_store_session *sessions[8] = {NULL};
    begin();
    fill(sessions);
    uint32_t segments = pg_seglog_segment_count(disk->log), steps = 0;
    CU_ASSERT(segments >= 6);
    describe_crash(before, sizeof(before));
    CU_ASSERT_PTR_NOT_NULL(strstr(before, "out 16/160+ out 32/320\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(before, "3: in 7\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(before, "2: 40s 80s 120s 160s"));
    for (bool more = true; more && steps < 1000; steps++) {
        uint64_t written = disk->stats.written_bytes;
        more = pg_disk_maintain(disk);
        CU_ASSERT(disk->stats.written_bytes - written <= STEP_BYTES);
        describe_crash(now, sizeof(now));
        CU_ASSERT_STRING_EQUAL(now, before);
    }
    CU_ASSERT(steps > 4 && steps < 1000);
    CU_ASSERT(pg_seglog_segment_count(disk->log) <= 2);
    /* and what is delivered now settles the copies */
    for (uint64_t n = 16; n <= 400; n += 16) {
        CU_ASSERT_EQUAL(ask(PG_ASK_SETTLE, sessions[0], n, 0, NULL, ""), PG_OK);
        CU_ASSERT_EQUAL(ask(PG_ASK_SETTLE, sessions[1], n, 0, NULL, ""), PG_OK);
    }
    ask(PG_ASK_RELEASE, sessions[3], 0, 7, NULL, "");
    describe_crash(now, sizeof(now));
    CU_ASSERT_PTR_NOT_NULL(strstr(now, "0:\n1:\n2: 40s"));
    CU_ASSERT_PTR_NULL(strstr(now, "out"));
    CU_ASSERT_PTR_NULL(strstr(now, "in 7"));
    finish();
}

/* Deliveries, new messages and a session that goes, between the steps. */
static void copying_goes_on_while_messages_come_and_go(void)
{
    static char left[8192], now[8192];
    struct pg_store_session *sessions[8] = {NULL};
    begin();
    fill(sessions);
    uint64_t settled = 0, added = 400;
    for (unsigned step = 0; step < 200; step++) {
        (void)pg_disk_maintain(disk);
        if (settled + 16 <= added && step % 2 == 0) {
            settled += 16;
            ask(PG_ASK_SETTLE, sessions[1], settled, 0, NULL, "");
        }
        added += 16;
        struct pg_msg *msg = numbered(added);
        ask(PG_ASK_ENQUEUE, sessions[1], added, 0, msg, "");
        pg_msg_unref(&msg);
        if (step == 3) {
            ask(PG_ASK_SESSION_DROP, sessions[0], 0, 0, NULL, "");
            sessions[0] = NULL;
        }
        if (step % 20 == 0) {
            seen.text[0] = '\0';
            describe(left, sizeof(left), sessions);
            describe_crash(now, sizeof(now));
            CU_ASSERT_PTR_NOT_NULL(strstr(now, left));
        }
    }
    CU_ASSERT_EQUAL(disk->stuck_segment, 0);
    finish();
}

/* A message for many sessions is copied once. */
static void a_message_is_copied_once_for_all(void)
{
    struct pg_store_session *sessions[8];
    begin();
    for (unsigned who = 0; who < 8; who++)
        sessions[who] = make_session(who);
    struct pg_msg *shared = numbered(1);
    for (unsigned who = 0; who < 8; who++)
        ask(PG_ASK_ENQUEUE, sessions[who], 1, 0, shared, "");
    pg_msg_unref(&shared);
    for (uint64_t n = 2; n <= 130; n++) {
        struct pg_msg *msg = numbered(n);
        ask(PG_ASK_ENQUEUE, sessions[0], n, 0, msg, "");
        ask(PG_ASK_SETTLE, sessions[0], n, 0, NULL, "");
        pg_msg_unref(&msg);
    }
    uint64_t written = disk->stats.written_bytes;
    while (pg_disk_maintain(disk))
        ;
    CU_ASSERT(pg_seglog_segment_at(disk->log, 0).number > 1);
    written = disk->stats.written_bytes - written;
    CU_ASSERT(written > 1000 && written < 2000);
    for (unsigned who = 1; who < 8; who++)
        CU_ASSERT_EQUAL(sessions[who]->entries[0].offset, sessions[0]->entries[0].offset);
    finish();
}

/* ---- QoS 2 over copies ---------------------------------------------------------------------- */

/* The record that a message is with everybody outlives the one that it was received: that must not
 * be taken for news of another message. */
static void who_got_an_unrouted_message_is_known_after_segments_have_gone(void)
{
    struct pg_store_session *a, *b;
    begin();
    a = make_session(0);
    b = make_session(1);
    struct pg_msg *first = message("1 first", 0), *second = message("2 second", 0);
    ask(PG_ASK_RECEIVE, a, 0, 1, first, "");
    for (uint64_t n = 1; n <= 60; n++) { /* into the second segment */
        struct pg_msg *msg = numbered(n);
        ask(PG_ASK_ENQUEUE, b, n, 0, msg, "");
        ask(PG_ASK_SETTLE, b, n, 0, NULL, "");
        pg_msg_unref(&msg);
    }
    CU_ASSERT_EQUAL_FATAL(pg_seglog_segment_count(disk->log), 2);
    ask(PG_ASK_RECEIVE, a, 0, 2, second, "");
    ask(PG_ASK_ENQUEUE, b, 61, 0, second, "");
    ask(PG_ASK_ROUTED, NULL, 0, 0, first, "");
    while (pg_disk_maintain(disk))
        ;
    CU_ASSERT_EQUAL(pg_seglog_segment_at(disk->log, 0).number, 2);
    pg_disk_close(&disk);
    CU_ASSERT_FATAL(open_disk(dir));
    CU_ASSERT_EQUAL(seen.unrouted, 1);
    CU_ASSERT_EQUAL(seen.unrouted_clients, 1); /* b has it */
    CU_ASSERT_PTR_NOT_NULL(strstr(seen.text, "in 2"));
    CU_ASSERT_PTR_NOT_NULL(strstr(seen.text, "in 1"));
    pg_msg_unref(&first);
    pg_msg_unref(&second);
    finish();
}

/* An identifier that was released and is used anew, before its first message was with everybody. */
static void an_identifier_used_anew_has_a_message_of_its_own(void)
{
    struct pg_store_session *a;
    begin();
    a = make_session(0);
    struct pg_msg *first = message("1", 0), *second = message("2", 0);
    ask(PG_ASK_RECEIVE, a, 0, 1, first, "");
    ask(PG_ASK_RELEASE, a, 0, 1, NULL, "");
    ask(PG_ASK_RECEIVE, a, 0, 1, second, "");
    ask(PG_ASK_ROUTED, NULL, 0, 0, first, "");
    pg_disk_close(&disk);
    CU_ASSERT_FATAL(open_disk(dir));
    CU_ASSERT_EQUAL(seen.unrouted, 1);
    pg_msg_unref(&first);
    pg_msg_unref(&second);
    finish();
}

/* ---- expiry --------------------------------------------------------------------------------- */

static void wait_until(uint32_t wall_s)
{
    while (pg_disk_now_s() < wall_s) {
        struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        nanosleep(&pause, NULL); /* the clock itself is what is waited for */
    }
}

static void what_expired_is_deleted_and_its_segments_go(void)
{
    struct pg_store_session *a, *b;
    begin();
    a = make_session(0);
    b = make_session(1);
    struct pg_msg *msg = numbered(1);
    ask(PG_ASK_ENQUEUE, b, 1, 0, msg, "");
    pg_msg_unref(&msg);
    uint32_t began = pg_disk_now_s();
    char payload[1001];
    memset(payload, 'p', 1000);
    payload[1000] = '\0';
    for (uint64_t n = 1; n <= 300; n++) {
        msg = message(payload, 1);
        ask(PG_ASK_ENQUEUE, a, n, 0, msg, "");
        pg_msg_unref(&msg);
    }
    msg = message("kept for a second", 1);
    CU_ASSERT_EQUAL(ask(PG_ASK_RETAIN, NULL, 0, 0, msg, ""), PG_OK);
    pg_msg_unref(&msg);
    CU_ASSERT_EQUAL(disk->stats.retained, 1);
    struct pg_disk_buffer name = {0}, value = {0};
    pg_disk_put_bytes(&name, PG_BYTES_OF("ban"));
    pg_disk_put_u32(&value, began + 1);
    struct pg_disk_request *fact =
        pg_disk_request_new(PG_ASK_FACT_PUT, (struct pg_bytes){.data = name.data, .len = name.len},
                            (struct pg_bytes){.data = value.data, .len = value.len});
    pg_disk_commit(disk, fact);
    pg_disk_answer(disk, fact);
    free(name.data);
    free(value.data);
    CU_ASSERT(pg_seglog_segment_count(disk->log) >= 5);
    wait_until(pg_disk_now_s() + 3);
    for (unsigned i = 0; i < 100; i++) {
        disk->swept_s = 0; /* now, and not when ten seconds have passed */
        pg_disk_tick(disk);
        while (pg_disk_maintain(disk))
            ;
    }
    CU_ASSERT_EQUAL(disk->stats.expired, 300);
    CU_ASSERT_EQUAL(disk->stats.queued, 1);
    CU_ASSERT_EQUAL(a->live, 0);
    CU_ASSERT(pg_seglog_segment_count(disk->log) <= 2);
    CU_ASSERT_EQUAL(disk->stats.retained, 0);
    MDB_txn *txn;
    MDB_stat stat;
    CU_ASSERT_EQUAL_FATAL(mdb_txn_begin(disk->env, NULL, MDB_RDONLY, &txn), 0);
    CU_ASSERT_EQUAL(mdb_stat(txn, disk->dbi, &stat), 0);
    mdb_txn_abort(txn);
    CU_ASSERT_EQUAL(stat.ms_entries, 3 + 2); /* three numbers, two sessions */
    finish();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(what_lives_is_copied_in_steps_and_nothing_changes),
        TEST(copying_goes_on_while_messages_come_and_go),
        TEST(a_message_is_copied_once_for_all),
        TEST(who_got_an_unrouted_message_is_known_after_segments_have_gone),
        TEST(an_identifier_used_anew_has_a_message_of_its_own),
        TEST(what_expired_is_deleted_and_its_segments_go),
        CU_TEST_INFO_NULL,
    };
    return run_suite("store, giving space back", tests);
}
