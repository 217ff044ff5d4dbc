/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store on a log of any bytes. In one half of the inputs the log holds batches that
 * are sound and say anything: reading them does not crash, and what is taken can be read, settled
 * and read again. In the other half the store made the log, in which the input then damages what it
 * likes: it opens, or is refused and opens after a repair, and every message that it has is one
 * that was asked to be kept, as it was. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_disk_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SESSIONS 3u

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* ---- input ---------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t input_left;

static uint8_t next_byte(void)
{
    if (input_left == 0)
        return 0;
    input_left--;
    return *input++;
}

static uint16_t next_u16(void)
{
    uint8_t high = next_byte();
    return (uint16_t)(high << 8 | next_byte());
}

/* ---- a store -------------------------------------------------------------------------------- */

static char dir[64];
static struct pg_disk *disk;
static struct pg_store_session *handles[SESSIONS];

static bool on_session(struct pg_store_restorer *restorer, const struct pg_restored_session *s)
{
    (void)restorer;
    must(s->first_number <= s->next_number);
    must(s->record.client_id.len == 1);
    handles[(s->record.client_id.data[0] - '0') % SESSIONS] = s->handle;
    return true;
}

static bool on_unrouted(struct pg_store_restorer *restorer, struct pg_msg *msg,
                        const struct pg_bytes *clients, size_t count, const struct pg_bytes *shares,
                        size_t share_count)
{
    (void)restorer, (void)clients, (void)count, (void)shares, (void)share_count;
    must(msg != NULL);
    return true;
}

static bool open_disk(void)
{
    const struct pg_store_disk_options options = {.dir = dir,
                                                  .fsync = PG_SEGLOG_NEVER,
                                                  .segment_bytes = 4096,
                                                  .map_bytes = 1u << 20,
                                                  .retention_s = PG_DISK_NEVER};
    struct pg_store_restorer restorer = {.session = on_session, .unrouted = on_unrouted};
    struct pg_error error = {.text = ""};
    memset(handles, 0, sizeof(handles));
    disk = pg_disk_open(&options, &error);
    if (disk && pg_disk_restore(disk, &restorer, &error))
        return true;
    must(error.text[0] != '\0');
    pg_disk_close(&disk);
    return false;
}

static void ask(enum pg_disk_ask what, unsigned who, uint64_t number, uint16_t packet_id,
                struct pg_msg *msg)
{
    char name[2] = {(char)('0' + who), '\0'};
    struct pg_disk_request *request =
        pg_disk_ask(what, handles[who],
                    what == PG_ASK_SESSION_PUT ? pg_bytes_str(name) : PG_BYTES_NONE, PG_BYTES_NONE);
    must(request != NULL);
    request->number = number;
    request->packet_id = packet_id;
    request->flags = 1;
    request->msg = msg ? pg_msg_ref(msg) : NULL;
    pg_disk_commit(disk, request);
    pg_disk_answer(disk, request);
}

struct fetched {
    struct pg_store_fetch fetch; /* first */
    struct pg_store_page *page;
};

static void on_page(struct pg_store_fetch *fetch, struct pg_store_page *page, enum pg_reason result)
{
    must((page != NULL) == (result == PG_OK));
    ((struct fetched *)fetch)->page = page;
}

/* The number in the payload of a message that the store was given: it is in there again, so that no
 * other one passes. */
static struct pg_msg *message(uint64_t number)
{
    char payload[32];
    snprintf(payload, sizeof(payload), "%u %u", (unsigned)number, (unsigned)number * 7);
    struct pg_msg_spec spec = {.topic = PG_BYTES_OF("t"), .payload = pg_bytes_str(payload)};
    struct pg_msg *msg = pg_msg_new(&spec);
    must(msg != NULL);
    return msg;
}

static void check_message(const struct pg_store_entry *entry)
{
    struct pg_msg *wanted = message(entry->number);
    must(pg_bytes_equal(entry->msg->payload, wanted->payload));
    pg_msg_unref(&wanted);
}

/* Read a queue to its end. */
static void read_queue(unsigned who, bool check, bool settle)
{
    uint64_t next = 0, before = 0;
    for (bool end = false; !end;) {
        struct fetched f = {.fetch.fn = on_page};
        struct pg_disk_request *request =
            pg_disk_ask(PG_ASK_FETCH, handles[who], PG_BYTES_NONE, PG_BYTES_NONE);
        must(request != NULL);
        request->number = next;
        request->count = 7;
        request->bytes = 4096;
        request->fetch = &f.fetch;
        pg_disk_commit(disk, request);
        pg_disk_answer(disk, request);
        must(f.page != NULL);
        for (uint32_t i = 0; i < f.page->count; i++) {
            must(f.page->entries[i].number >= next || before == 0);
            before = f.page->entries[i].number;
            if (check)
                check_message(&f.page->entries[i]);
            if (settle)
                ask(PG_ASK_SETTLE, who, f.page->entries[i].number, 0, NULL);
        }
        must(f.page->next > next || f.page->at_end);
        next = f.page->next;
        end = f.page->at_end;
        pg_store_page_free(&f.page);
    }
}

static void read_all(bool check)
{
    for (unsigned who = 0; who < SESSIONS; who++) {
        if (handles[who])
            read_queue(who, check, false);
    }
    for (int i = 0; i < 20 && pg_disk_maintain(disk); i++)
        ;
    for (unsigned who = 0; who < SESSIONS; who++) {
        if (handles[who])
            read_queue(who, check, true);
    }
}

/* ---- the two halves ------------------------------------------------------------------------- */

static void append_anything(void)
{
    struct pg_seglog_options options = {.segment_bytes = 4096, .fsync = PG_SEGLOG_NEVER};
    struct pg_seglog *log;
    struct pg_error error;
    char path[80];
    snprintf(path, sizeof(path), "%s/log", dir);
    must(pg_seglog_open(path, &options, &log, &error) == 0);
    while (input_left > 0) {
        uint8_t version = PG_DISK_BATCH_VERSION;
        size_t len = next_byte();
        if (len > input_left)
            len = input_left;
        struct iovec ranges[] = {
            {.iov_base = &version, .iov_len = 1},
            {.iov_base = (void *)(uintptr_t)input, .iov_len = len},
        };
        struct pg_log_position at;
        must(pg_seglog_append(log, ranges, len > 0 ? 2 : 1, &at) == 0);
        input += len;
        input_left -= len;
    }
    must(pg_seglog_close(&log) == 0);
}

static void do_what_it_says(void)
{
    uint64_t numbers[SESSIONS] = {0};
    for (unsigned steps = next_byte(); steps > 0 && input_left > 0; steps--) {
        uint8_t what = next_byte();
        unsigned who = what % SESSIONS;
        uint64_t number = numbers[who] > 0 ? 1 + next_byte() % numbers[who] : 1;
        struct pg_msg *msg = NULL;
        switch (what / 4 % 8) {
        case 0:
        case 1:
        case 2:
            msg = message(++numbers[who]);
            ask(PG_ASK_ENQUEUE, who, numbers[who], 0, msg);
            break;
        case 3:
            ask(PG_ASK_SETTLE, who, number, 0, NULL);
            break;
        case 4:
            ask(PG_ASK_SEND, who, number, (uint16_t)number, NULL);
            break;
        case 5:
            ask(PG_ASK_RECEIVED, who, number, 0, NULL);
            break;
        case 6:
            msg = message(1);
            ask(PG_ASK_RECEIVE, who, 0, (uint16_t)number, msg);
            if (number & 1)
                ask(PG_ASK_ROUTED, who, 0, 0, msg);
            break;
        default:
            ask(PG_ASK_RELEASE, who, 0, (uint16_t)number, NULL);
        }
        pg_msg_unref(&msg);
        if (what & 128)
            (void)pg_disk_maintain(disk);
    }
}

static void damage_what_it_says(void)
{
    for (unsigned i = 0; i < 8 && input_left >= 4; i++) {
        char path[128];
        uint8_t byte;
        snprintf(path, sizeof(path), "%s/log/%016u.seg", dir, 1u + next_byte() % 4u);
        off_t at = next_u16() % 4200;
        uint8_t bits = next_byte();
        int fd = open(path, O_RDWR);
        if (fd < 0)
            continue;
        if (bits == 0)
            must(ftruncate(fd, at) == 0);
        else if (pread(fd, &byte, 1, at) == 1) {
            byte ^= bits;
            must(pwrite(fd, &byte, 1, at) == 1);
        }
        close(fd);
    }
}

static void remove_all(void)
{
    char path[128];
    for (unsigned i = 1; i <= 4096; i++) {
        snprintf(path, sizeof(path), "%s/log/%016u.seg", dir, i);
        if (unlink(path) != 0 && i > 64)
            break;
    }
    static const char *const names[] = {"log", "data.mdb", "lock.mdb"};
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    must(rmdir(dir) == 0);
}

static void make_store(void)
{
    strcpy(dir, "/dev/shm/pg-fuzz-XXXXXX");
    if (!mkdtemp(dir)) {
        strcpy(dir, "/tmp/pg-fuzz-XXXXXX");
        must(mkdtemp(dir) != NULL);
    }
    must(open_disk());
    for (unsigned who = 0; who < SESSIONS; who++) {
        char name[2] = {(char)('0' + who), '\0'};
        handles[who] = pg_disk_session_new(pg_bytes_str(name));
        must(handles[who] != NULL);
        ask(PG_ASK_SESSION_PUT, who, 0, 0, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pg_seglog_summary summary;
    struct pg_error error;
    char log[80];
    input = data;
    input_left = size;
    make_store();
    bool any = next_byte() & 1;
    if (!any)
        do_what_it_says();
    pg_disk_close(&disk);
    if (any)
        append_anything();
    else
        damage_what_it_says();
    snprintf(log, sizeof(log), "%s/log", dir);
    bool open = open_disk();
    if (!open && !any) {
        must(pg_seglog_repair(log, NULL, NULL, &summary, &error) == 0);
        open = open_disk(); /* unless its header, and with it its identity, is lost */
    }
    if (open) {
        read_all(!any);
        pg_disk_close(&disk);
        must(open_disk());
        read_all(!any);
        pg_disk_close(&disk);
    }
    remove_all();
    return 0;
}
