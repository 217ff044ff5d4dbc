/* SPDX-License-Identifier: Apache-2.0 */

/* The segment log: what was appended is there after any cut of its tail; damage elsewhere is
 * refused and repaired without touching the rest; an append that fails leaves no trace. */

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crc32c.h"
#include "scratch.h"
#include "segment_log.h"
#include "suite.h"

#define SEGMENT 4096u

static char dir[SCRATCH_PATH_MAX];
static struct pg_error error;

/* A log of its own for each test. */
static void fresh(void)
{
    scratch_make(dir);
}

static void clear(void)
{
    DIR *d = opendir(dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

static void gone(void)
{
    clear();
    rmdir(dir);
}

static const char *path_of(uint32_t number)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%016u.seg", dir, (unsigned)number);
    return path;
}

/* What a recovery says: batches are "number, length" by their first four bytes. */
struct seen {
    unsigned count;
    uint32_t ids[512];
    struct pg_log_position at[512];
    uint64_t cut;
    bool wrong; /* a body is not what was appended */
};

static uint8_t byte_of(uint32_t id, size_t i)
{
    return (uint8_t)(id * 31 + i * 7);
}

static int on_batch(void *context, struct pg_log_position position, uint64_t sequence,
                    struct pg_bytes body)
{
    struct seen *seen = context;
    uint32_t id;
    (void)sequence;
    if (body.len < sizeof(id) || seen->count == 512) {
        seen->wrong = true;
        return 0;
    }
    memcpy(&id, body.data, sizeof(id));
    for (size_t i = sizeof(id); i < body.len; i++)
        seen->wrong = seen->wrong || body.data[i] != byte_of(id, i);
    seen->at[seen->count] = position;
    seen->ids[seen->count++] = id;
    return 0;
}

static void on_note(void *context, const char *file, uint64_t bytes, const char *text)
{
    (void)file;
    (void)text;
    ((struct seen *)context)->cut += bytes;
}

static int open_log(struct pg_seglog **log, struct seen *seen)
{
    memset(seen, 0, sizeof(*seen));
    struct pg_seglog_options options = {.segment_bytes = SEGMENT,
                                        .fsync = PG_SEGLOG_NEVER,
                                        .batch = on_batch,
                                        .note = on_note,
                                        .context = seen};
    return pg_seglog_open(dir, &options, log, &error);
}

static int append(struct pg_seglog *log, uint32_t id, size_t len, struct pg_log_position *at)
{
    uint8_t *body = malloc(len);
    memcpy(body, &id, sizeof(id));
    for (size_t i = sizeof(id); i < len; i++)
        body[i] = byte_of(id, i);
    struct iovec parts[] = {{.iov_base = body, .iov_len = len / 3},
                            {.iov_base = body + len / 3, .iov_len = len - len / 3}};
    int code = pg_seglog_append(log, parts, 2, at);
    free(body);
    return code;
}

/* Batches 0 to count - 1 of 100 + id bytes. */
static void fill(uint32_t count, struct pg_log_position *at)
{
    struct pg_seglog *log;
    struct seen seen;
    struct pg_log_position position;
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    for (uint32_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL_FATAL(append(log, i, 100 + i, at ? &at[i] : &position), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
}

static bool reopens(struct seen *seen)
{
    struct pg_seglog *log;
    if (open_log(&log, seen) != 0)
        return false;
    return pg_seglog_close(&log) == 0 && !seen->wrong;
}

static uint8_t *load(uint32_t number, size_t *size)
{
    struct stat st;
    int fd = open(path_of(number), O_RDONLY);
    CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
    *size = (size_t)st.st_size;
    uint8_t *data = malloc(*size + 1);
    CU_ASSERT_EQUAL_FATAL(read(fd, data, *size), (ssize_t)*size);
    close(fd);
    return data;
}

static void save(uint32_t number, const uint8_t *data, size_t size)
{
    int fd = open(path_of(number), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(write(fd, data, size), (ssize_t)size);
    close(fd);
}

static uint32_t damages(bool repair)
{
    struct pg_seglog_summary summary;
    CU_ASSERT_EQUAL_FATAL(
        (repair ? pg_seglog_repair : pg_seglog_check)(dir, NULL, NULL, &summary, &error), 0);
    return summary.damages;
}

/* ---- check sums ------------------------------------------------------------------------------ */

static void test_crc32c_is_that_of_the_standard(void)
{
    uint8_t data[100], zeros[32] = {0};
    CU_ASSERT_EQUAL(pg_crc32c(0, PG_BYTES_OF("123456789")), 0xe3069283u);
    /* RFC 3720, B.4 */
    CU_ASSERT_EQUAL(pg_crc32c(0, (struct pg_bytes){.data = zeros, .len = 32}), 0x8a9136aau);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i <= sizeof(data); i++) {
        struct pg_bytes head = {.data = data, .len = i},
                        tail = {.data = data + i, .len = sizeof(data) - i},
                        all = {.data = data, .len = sizeof(data)};
        CU_ASSERT_EQUAL(pg_crc32c(pg_crc32c_by_table(0, head), tail), pg_crc32c(0, all));
        CU_ASSERT_EQUAL(pg_crc32c(0, head), pg_crc32c_by_table(0, head));
    }
}

/* ---- appending and recovery ------------------------------------------------------------------ */

static void test_what_was_appended_is_there_and_can_be_read(void)
{
    struct pg_log_position at[120];
    struct seen seen;
    struct pg_seglog *log, *second;
    uint8_t body[256];

    fresh();
    fill(120, at);
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL(seen.count, 120);
    CU_ASSERT_FALSE(seen.wrong);
    CU_ASSERT_TRUE(pg_seglog_segment_count(log) > 3);
    for (uint32_t i = 0; i < 120; i++) {
        uint32_t id;
        CU_ASSERT_EQUAL(seen.ids[i], i);
        CU_ASSERT_EQUAL(memcmp(&seen.at[i], &at[i], sizeof(at[i])), 0);
        CU_ASSERT_EQUAL(pg_seglog_read(log, at[i], body, 100 + i), 0);
        memcpy(&id, body, sizeof(id));
        CU_ASSERT_EQUAL(id, i);
        CU_ASSERT_EQUAL(body[99 + i], byte_of(i, 99 + i));
    }
    CU_ASSERT_EQUAL(open_log(&second, &seen), -EBUSY);
    struct pg_log_position end = pg_seglog_end(log);
    CU_ASSERT_EQUAL(pg_seglog_read(log, end, body, 1), -ERANGE);
    end.segment++;
    CU_ASSERT_EQUAL(pg_seglog_read(log, end, body, 1), -ENOENT);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    gone();
}

static void test_a_tail_cut_at_any_byte_is_cut_off(void)
{
    struct pg_log_position at[6];
    struct seen seen;
    size_t size;

    fresh();
    fill(6, at);
    uint8_t *data = load(1, &size);
    for (size_t cut = PG_SEGLOG_HEADER_BYTES; cut <= at[5].offset + 105; cut++) {
        unsigned whole = 0;
        while (whole < 6 && (at[whole].offset + 100 + whole + 7) / 8 * 8 <= cut)
            whole++;
        /* the file ends there, or the disk has zeros from there on */
        for (int zeros = 0; zeros < 2; zeros++) {
            uint8_t *copy = calloc(1, size);
            memcpy(copy, data, cut);
            save(1, copy, zeros ? size : cut);
            free(copy);
            CU_ASSERT_TRUE(reopens(&seen));
            /* Of the last batch, only zeros of its padding may be missing. */
            if (zeros && seen.count == whole + 1)
                continue;
            CU_ASSERT_EQUAL(seen.count, whole);
            CU_ASSERT_TRUE(reopens(&seen) && seen.count == whole && seen.cut == 0);
        }
    }
    free(data);
    gone();
}

static void test_the_log_goes_on_behind_a_torn_tail(void)
{
    struct pg_log_position at[3];
    struct seen seen;
    struct pg_seglog *log;

    fresh();
    fill(3, at);
    CU_ASSERT_EQUAL(truncate(path_of(1), (off_t)at[2].offset + 50), 0);
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL(seen.cut, 24 + 50);
    CU_ASSERT_EQUAL(append(log, 7, 40, &at[2]), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 3);
    CU_ASSERT_EQUAL(seen.ids[2], 7);
    gone();
}

static void test_any_flipped_bit_of_an_old_segment_is_refused_and_the_rest_saved(void)
{
    struct pg_log_position at[60];
    struct seen seen;
    size_t size, last_size;

    fresh();
    fill(60, at);
    uint8_t *data = load(1, &size);
    uint32_t last = at[59].segment;
    CU_ASSERT_TRUE(last >= 2);
    uint8_t *second = load(2, &last_size);
    for (size_t i = 0; i < size; i += i < 500 ? 1 : 17) {
        data[i] = (uint8_t)(data[i] ^ (1u << (i & 7)));
        save(1, data, size);
        CU_ASSERT_FALSE(reopens(&seen));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "0000000000000001.seg"));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "polygatectl store repair"));
        CU_ASSERT_EQUAL(damages(false), 1);
        CU_ASSERT_FALSE(reopens(&seen)); /* looking changes nothing */
        CU_ASSERT_EQUAL(damages(true), 1);
        CU_ASSERT_EQUAL(damages(false), 0);
        CU_ASSERT_TRUE(reopens(&seen));
        CU_ASSERT_EQUAL(seen.count, i < PG_SEGLOG_HEADER_BYTES ? 60 : 59);
        for (unsigned k = 0; k < seen.count; k++)
            CU_ASSERT_EQUAL(seen.at[k].offset, at[seen.ids[k]].offset);
        data[i] = (uint8_t)(data[i] ^ (1u << (i & 7)));
    }
    free(data);
    free(second);
    gone();
}

static void test_damage_in_front_of_a_sound_batch_is_refused_in_the_last_segment_too(void)
{
    struct pg_log_position at[4];
    struct seen seen;
    size_t size;

    fresh();
    fill(4, at);
    uint8_t *data = load(1, &size);
    data[at[1].offset + 3] ^= 4;
    save(1, data, size);
    free(data);
    CU_ASSERT_FALSE(reopens(&seen));
    CU_ASSERT_EQUAL(damages(true), 1);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 3);
    CU_ASSERT_EQUAL(seen.ids[1], 2);
    gone();
}

static void test_a_missing_segment_or_a_shortened_one_is_noticed_and_repaired(void)
{
    struct pg_log_position at[100];
    struct seen seen;

    fresh();
    fill(100, at);
    CU_ASSERT_TRUE(at[99].segment >= 4);
    CU_ASSERT_EQUAL(unlink(path_of(2)), 0);
    CU_ASSERT_FALSE(reopens(&seen));
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "in front of this one is missing"));
    CU_ASSERT_TRUE(damages(true) > 0);
    CU_ASSERT_TRUE(reopens(&seen));
    /* at the boundary of a batch, where no check sum can tell */
    unsigned in_third = 0, before = seen.count;
    for (unsigned i = 0; i < 100; i++)
        in_third += at[i].segment == 3;
    CU_ASSERT_EQUAL(truncate(path_of(3), PG_SEGLOG_HEADER_BYTES), 0);
    CU_ASSERT_FALSE(reopens(&seen));
    CU_ASSERT_EQUAL(damages(false), 1);
    CU_ASSERT_EQUAL(damages(true), 1);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, before - in_third);
    /* both copies of a header */
    size_t size;
    uint8_t *data = load(1, &size);
    memset(data, 0x5a, PG_SEGLOG_HEADER_BYTES);
    save(1, data, size);
    free(data);
    CU_ASSERT_FALSE(reopens(&seen));
    CU_ASSERT_EQUAL(damages(true), 1);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, before - in_third);
    gone();
}

static void test_a_newer_version_is_refused_and_left_alone(void)
{
    struct pg_seglog_summary summary;
    struct seen seen;
    struct pg_seglog *log;
    size_t size, same;

    fresh();
    fill(2, NULL);
    uint8_t *data = load(1, &size);
    for (int copy = 0; copy < 2; copy++) {
        uint8_t *h = data + 32 * copy;
        h[8] = 2;
        uint32_t sum = pg_crc32c(0, (struct pg_bytes){.data = h, .len = 28});
        for (int i = 0; i < 4; i++)
            h[28 + i] = (uint8_t)(sum >> (8 * i));
    }
    save(1, data, size);
    CU_ASSERT_EQUAL(open_log(&log, &seen), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "version 2"));
    CU_ASSERT_EQUAL(pg_seglog_repair(dir, NULL, NULL, &summary, &error), -ENOTSUP);
    uint8_t *after = load(1, &same);
    CU_ASSERT_TRUE(same == size && memcmp(after, data, size) == 0);
    free(after);
    free(data);
    gone();
}

static void test_the_oldest_segment_can_be_dropped_but_not_the_last(void)
{
    struct pg_log_position at[100];
    struct seen seen;
    struct pg_seglog *log;
    uint8_t byte;

    fresh();
    fill(100, at);
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL(pg_seglog_read(log, at[0], &byte, 1), 0);
    CU_ASSERT_EQUAL(pg_seglog_drop_oldest(log), 0);
    CU_ASSERT_EQUAL(pg_seglog_segment_at(log, 0).number, 2);
    CU_ASSERT_EQUAL(pg_seglog_read(log, at[0], &byte, 1), -ENOENT);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.at[0].segment, 2);
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    while (pg_seglog_segment_count(log) > 1)
        CU_ASSERT_EQUAL_FATAL(pg_seglog_drop_oldest(log), 0);
    CU_ASSERT_EQUAL(pg_seglog_drop_oldest(log), -ENOENT);
    CU_ASSERT_EQUAL(append(log, 100, 20, &at[0]), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.ids[seen.count - 1], 100);
    gone();
}

static void test_segments_that_were_never_begun_do_no_harm(void)
{
    struct pg_log_position at[60];
    struct seen seen;
    uint8_t zeros[SEGMENT] = {0};
    char unfinished[160];

    fresh();
    fill(60, at);
    uint32_t next = at[59].segment + 1;
    save(next, zeros, sizeof(zeros)); /* no header reached the disk */
    snprintf(unfinished, sizeof(unfinished), "%s.new", path_of(next + 1));
    int fd = open(unfinished, O_WRONLY | O_CREAT, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    CU_ASSERT_EQUAL(damages(false), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 60);
    CU_ASSERT_NOT_EQUAL(access(unfinished, F_OK), 0);
    CU_ASSERT_NOT_EQUAL(access(path_of(next), F_OK), 0);
    gone();
    /* a header and nothing behind it */
    fresh();
    fill(0, NULL);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 0);
    fill(2, NULL);
    CU_ASSERT_TRUE(reopens(&seen) && seen.count == 2);
    gone();
}

static void test_a_big_batch_has_a_segment_of_its_own(void)
{
    struct pg_log_position at;
    struct seen seen;
    struct pg_seglog *log;

    fresh();
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL(append(log, 1, 100, &at), 0);
    CU_ASSERT_EQUAL(append(log, 2, 3 * SEGMENT + 5, &at), 0);
    CU_ASSERT_EQUAL(at.segment, 2);
    CU_ASSERT_EQUAL(append(log, 3, 100, &at), 0);
    CU_ASSERT_EQUAL(at.segment, 3);
    struct iovec none = {.iov_base = &at, .iov_len = 0};
    CU_ASSERT_EQUAL(pg_seglog_append(log, &none, 1, &at), -EMSGSIZE);
    struct iovec much[2] = {{.iov_base = &at, .iov_len = PG_SEGLOG_BODY_MAX},
                            {.iov_base = &at, .iov_len = 1}};
    CU_ASSERT_EQUAL(pg_seglog_append(log, much, 2, &at), -EMSGSIZE);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 3);
    gone();
}

/* ---- a disk that fails: these two stand in front of the C library's -------------------------- */

static bool sync_fails, truncate_fails;

int fdatasync(int fd)
{
    if (sync_fails) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}

int ftruncate(int fd, off_t length)
{
    if (truncate_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}

static off_t size_of(uint32_t number)
{
    struct stat st;
    return stat(path_of(number), &st) == 0 ? st.st_size : -1;
}

/* ---- failures -------------------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_write_that_stops_at_any_byte_leaves_no_trace(void)
{
    struct seen seen;
    struct pg_seglog *log;
    struct pg_log_position at;

    fresh();
    /* The batch would lie in bytes 192 to 352 of the file; the segment is cut so that it grows. */
    for (rlim_t stop = 192; stop < 352; stop++) {
        clear();
        CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
        CU_ASSERT_EQUAL_FATAL(append(log, 1, 100, &at), 0);
        limit_files(stop);
        CU_ASSERT_EQUAL(append(log, 2, 130, &at), -EFBIG);
        CU_ASSERT_EQUAL(append(log, 2, 130, &at), -EFBIG);
        CU_ASSERT_EQUAL(pg_seglog_end(log).offset, 192);
        CU_ASSERT_EQUAL(size_of(1), 192); /* at once: a crash may come before the next append */
        limit_files(RLIM_INFINITY);
        if (stop % 2 == 0) /* space returns */
            CU_ASSERT_EQUAL(append(log, 3, 50, &at), 0);
        CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
        CU_ASSERT_TRUE(reopens(&seen));
        CU_ASSERT_EQUAL(seen.cut, 0);
        CU_ASSERT_EQUAL(seen.count, stop % 2 == 0 ? 2 : 1);
        CU_ASSERT_EQUAL(seen.ids[seen.count - 1], stop % 2 == 0 ? 3 : 1);
    }
    gone();
}

static void test_a_write_whose_rest_cannot_be_cut_off_is_not_recovered(void)
{
    struct seen seen;
    struct pg_seglog *log;
    struct pg_log_position at;

    fresh();
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL_FATAL(append(log, 1, 100, &at), 0);
    limit_files(300);
    truncate_fails = true;
    CU_ASSERT_EQUAL(append(log, 2, 130, &at), -EFBIG);
    limit_files(RLIM_INFINITY);
    CU_ASSERT_EQUAL(append(log, 3, 20, &at), -EIO); /* nothing is written over the rest */
    CU_ASSERT_EQUAL(pg_seglog_close(&log), -EIO);
    truncate_fails = false;
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.count, 1);
    CU_ASSERT_TRUE(seen.cut > 0);
    gone();
}

static void test_after_a_failed_sync_nothing_is_taken_until_reopened(void)
{
    struct pg_seglog_options options = {.segment_bytes = SEGMENT, .fsync = PG_SEGLOG_ALWAYS};
    struct seen seen;
    struct pg_seglog *log;
    struct pg_log_position at, none;
    uint8_t byte;

    fresh();
    CU_ASSERT_EQUAL_FATAL(pg_seglog_open(dir, &options, &log, &error), 0);
    CU_ASSERT_EQUAL(append(log, 1, 100, &at), 0);
    CU_ASSERT_EQUAL(pg_seglog_sync(log), 0);
    CU_ASSERT_EQUAL(append(log, 2, 100, &none), 0);
    sync_fails = true;
    CU_ASSERT_EQUAL(pg_seglog_sync(log), -EIO);
    sync_fails = false; /* the second one would succeed and prove nothing */
    CU_ASSERT_EQUAL(pg_seglog_sync(log), -ENOTRECOVERABLE);
    CU_ASSERT_EQUAL(append(log, 3, 100, &none), -ENOTRECOVERABLE);
    CU_ASSERT_EQUAL(pg_seglog_read(log, at, &byte, 1), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), -ENOTRECOVERABLE);
    sync_fails = true;
    CU_ASSERT_EQUAL(pg_seglog_open(dir, &options, &log, &error), -EIO);
    sync_fails = false;
    CU_ASSERT_EQUAL_FATAL(pg_seglog_open(dir, &options, &log, &error), 0);
    CU_ASSERT_EQUAL(append(log, 4, 100, &none), 0);
    CU_ASSERT_EQUAL(pg_seglog_sync(log), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.ids[0], 1);
    CU_ASSERT_EQUAL(seen.ids[seen.count - 1], 4);
    gone();
}

static void test_a_segment_that_cannot_be_made_leaves_the_log_as_it_was(void)
{
    struct seen seen;
    struct pg_seglog *log;
    struct pg_log_position at;

    fresh();
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    CU_ASSERT_EQUAL_FATAL(append(log, 1, 3000, &at), 0);
    limit_files(3500);
    CU_ASSERT_EQUAL(append(log, 2, 3000, &at), -EFBIG);
    limit_files(RLIM_INFINITY);
    CU_ASSERT_EQUAL(pg_seglog_segment_count(log), 1);
    CU_ASSERT_EQUAL(append(log, 3, 3000, &at), 0);
    CU_ASSERT_EQUAL(at.segment, 2);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_TRUE(seen.count == 2 && seen.ids[1] == 3);
    gone();
}

static void test_a_full_disk_is_an_error_until_a_segment_is_dropped(void)
{
    struct seen seen;
    struct pg_seglog *log;
    struct pg_log_position at;
    uint32_t id = 0;

    fresh();
    if (mount("pg-seglog", dir, "tmpfs", 0, "size=64k") != 0) {
        rmdir(dir); /* not root, or in a container without the right: the tests above remain */
        return;
    }
    CU_ASSERT_EQUAL_FATAL(open_log(&log, &seen), 0);
    while (id < 400 && append(log, id, 200, &at) == 0)
        id++;
    CU_ASSERT_TRUE(id > 100 && id < 400);
    CU_ASSERT_EQUAL(append(log, id, 200, &at), -ENOSPC);
    CU_ASSERT_EQUAL(pg_seglog_drop_oldest(log), 0);
    CU_ASSERT_EQUAL(append(log, id, 200, &at), 0);
    CU_ASSERT_EQUAL(pg_seglog_close(&log), 0);
    CU_ASSERT_TRUE(reopens(&seen));
    CU_ASSERT_EQUAL(seen.ids[seen.count - 1], id);
    CU_ASSERT_EQUAL(umount(dir), 0);
    rmdir(dir);
}

static void test_a_directory_that_cannot_be_written_is_refused(void)
{
    struct seen seen;
    struct pg_seglog *log;

    fresh();
    fill(3, NULL);
    CU_ASSERT_EQUAL(chmod(path_of(1), 0444), 0);
    CU_ASSERT_EQUAL(chmod(dir, 0555), 0);
    bool root = geteuid() == 0;
    if (root)
        CU_ASSERT_EQUAL_FATAL(seteuid(65534), 0);
    CU_ASSERT_EQUAL(open_log(&log, &seen), -EACCES);
    CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "ermission denied"));
    CU_ASSERT_EQUAL(damages(false), 0); /* checking needs no right to write */
    if (root)
        CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
    CU_ASSERT_EQUAL(chmod(dir, 0700), 0);
    gone();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(test_crc32c_is_that_of_the_standard),
        TEST(test_what_was_appended_is_there_and_can_be_read),
        TEST(test_a_tail_cut_at_any_byte_is_cut_off),
        TEST(test_the_log_goes_on_behind_a_torn_tail),
        TEST(test_any_flipped_bit_of_an_old_segment_is_refused_and_the_rest_saved),
        TEST(test_damage_in_front_of_a_sound_batch_is_refused_in_the_last_segment_too),
        TEST(test_a_missing_segment_or_a_shortened_one_is_noticed_and_repaired),
        TEST(test_a_newer_version_is_refused_and_left_alone),
        TEST(test_the_oldest_segment_can_be_dropped_but_not_the_last),
        TEST(test_segments_that_were_never_begun_do_no_harm),
        TEST(test_a_big_batch_has_a_segment_of_its_own),
        TEST(test_a_write_that_stops_at_any_byte_leaves_no_trace),
        TEST(test_a_write_whose_rest_cannot_be_cut_off_is_not_recovered),
        TEST(test_after_a_failed_sync_nothing_is_taken_until_reopened),
        TEST(test_a_segment_that_cannot_be_made_leaves_the_log_as_it_was),
        TEST(test_a_full_disk_is_an_error_until_a_segment_is_dropped),
        TEST(test_a_directory_that_cannot_be_written_is_refused),
        CU_TEST_INFO_NULL,
    };
    signal(SIGXFSZ, SIG_IGN);
    return run_suite("segment log", tests);
}
