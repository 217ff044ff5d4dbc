/* SPDX-License-Identifier: Apache-2.0 */

/* The format of segment files.
 *
 * All numbers are little-endian. A file begins with its header, twice, so that one flipped bit does
 * not hide everything behind it:
 *
 *     0  "PGSEGLOG"   8  u32 version    12  u32 segment number
 *    16  u64 sequence of the first batch    24  u32 salt    28  u32 CRC-32C of the 28 before
 *
 * A later version keeps these 32 bytes, so that it is recognised. Then come batches, each at a
 * multiple of eight:
 *
 *     0  u32 marker   4  u32 length of the body   8  u64 sequence
 *    16  u32 CRC-32C of the body and the zeros behind it
 *    20  u32 CRC-32C of salt, segment number, offset and the 20 before
 *    24  body, then zeros up to a multiple of eight
 *
 * The salt, which no peer knows, and the place are in the second sum so that a body which looks
 * like a batch is not taken for one when sound batches are searched behind damage. That sum also
 * keeps the search linear: only a true header makes it look at a body. Behind the last batch there
 * are zeros (preallocated) or the file ends.
 *
 * A filler is a batch with another marker and a body of zeros; its sequence is that of the batch
 * behind it. A repair writes fillers over what was lost, so that all else keeps its position. */

#include "segment_file.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"

#define MARK_BATCH  0x48434250u /* "PBCH" */
#define MARK_FILLER 0x4c494650u /* "PFIL" */
#define COPY_BYTES  (PG_SEGLOG_HEADER_BYTES / 2)

static const uint8_t magic[8] = {'P', 'G', 'S', 'E', 'G', 'L', 'O', 'G'};

static void put32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
}

static void put64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

static uint32_t sum_of(uint32_t crc, const void *data, size_t len)
{
    return pg_crc32c(crc, (struct pg_bytes){.data = data, .len = len});
}

static size_t padded(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

static bool all_zero(const uint8_t *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* ---- headers --------------------------------------------------------------------------------- */

void pg_segment_put_header(uint8_t to[PG_SEGLOG_HEADER_BYTES],
                           const struct pg_segment_header *header)
{
    memcpy(to, magic, sizeof(magic));
    put32(to + 8, header->version);
    put32(to + 12, header->number);
    put64(to + 16, header->first_sequence);
    put32(to + 24, header->salt);
    put32(to + 28, sum_of(0, to, 28));
    memcpy(to + COPY_BYTES, to, COPY_BYTES);
}

static bool get_header(const uint8_t *from, struct pg_segment_header *header)
{
    if (memcmp(from, magic, sizeof(magic)) != 0 || get32(from + 28) != sum_of(0, from, 28))
        return false;
    header->version = get32(from + 8);
    header->number = get32(from + 12);
    header->first_sequence = get64(from + 16);
    header->salt = get32(from + 24);
    return true;
}

static uint32_t head_sum(const struct pg_segment_header *header, uint32_t offset,
                         const uint8_t *head)
{
    uint8_t place[12];
    put32(place, header->salt);
    put32(place + 4, header->number);
    put32(place + 8, offset);
    return sum_of(sum_of(0, place, sizeof(place)), head, 20);
}

void pg_segment_put_batch(uint8_t to[PG_SEGMENT_BATCH_HEAD], bool filler,
                          const struct pg_segment_header *header, uint32_t offset,
                          uint64_t sequence, const struct iovec *ranges, int count)
{
    static const uint8_t zeros[8];
    size_t len = 0;
    uint32_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum = sum_of(sum, ranges[i].iov_base, ranges[i].iov_len);
        len += ranges[i].iov_len;
    }
    put32(to, filler ? MARK_FILLER : MARK_BATCH);
    put32(to + 4, (uint32_t)len);
    put64(to + 8, sequence);
    put32(to + 16, sum_of(sum, zeros, padded(len) - len));
    put32(to + 20, head_sum(header, offset, to));
}

/* ---- walking --------------------------------------------------------------------------------- */

/* A sound batch or filler at `at`? */
static bool sound_at(const struct pg_segment *segment, size_t at, struct pg_segment_event *event)
{
    if (at > segment->size || segment->size - at < PG_SEGMENT_BATCH_HEAD)
        return false;
    const uint8_t *head = segment->data + at;
    uint32_t mark = get32(head), len = get32(head + 4);
    if ((mark != MARK_BATCH && mark != MARK_FILLER) ||
        get32(head + 20) != head_sum(&segment->header, (uint32_t)at, head))
        return false;
    size_t room = segment->size - at - PG_SEGMENT_BATCH_HEAD;
    if (padded(len) > room ||
        get32(head + 16) != sum_of(0, head + PG_SEGMENT_BATCH_HEAD, padded(len)))
        return false;
    *event = (struct pg_segment_event){
        .kind = mark == MARK_BATCH ? PG_SEGMENT_BATCH : PG_SEGMENT_FILLER,
        .offset = at,
        .bytes = PG_SEGMENT_BATCH_HEAD + padded(len),
        .sequence = get64(head + 8),
        .body = {.data = head + PG_SEGMENT_BATCH_HEAD, .len = len},
    };
    return true;
}

/* Is it the one that must come next? Behind damage (`gap`), some may be missing. */
static bool in_order(const struct pg_segment_walk *walk, const struct pg_segment_event *event,
                     bool gap)
{
    if (!walk->begun)
        return true;
    if (gap || event->kind == PG_SEGMENT_FILLER)
        return event->sequence >= walk->sequence;
    return event->sequence == walk->sequence;
}

int pg_segment_walk(const struct pg_segment *segment, bool last, struct pg_segment_walk *walk,
                    pg_segment_event_fn *event, void *context)
{
    size_t at = PG_SEGLOG_HEADER_BYTES;
    bool gap = false;
    for (;;) {
        struct pg_segment_event found;
        walk->end = at;
        if (sound_at(segment, at, &found) && in_order(walk, &found, gap)) {
            walk->begun = true;
            walk->sequence = found.sequence + (found.kind == PG_SEGMENT_BATCH);
            gap = false;
        } else {
            size_t rest = at < segment->size ? segment->size - at : 0;
            if (all_zero(segment->data + (rest > 0 ? at : 0), rest))
                return 0;
            size_t next = at + PG_SEGMENT_BATCH_HEAD;
            while (next < segment->size &&
                   !(sound_at(segment, next, &found) && in_order(walk, &found, true)))
                next += 8;
            bool to_end = next >= segment->size;
            found = (struct pg_segment_event){
                .kind = to_end && last ? PG_SEGMENT_TAIL : PG_SEGMENT_DAMAGE,
                .offset = at,
                .bytes = (to_end ? segment->size : next) - at,
            };
            gap = true;
        }
        int result = event(context, &found);
        if (result != 0)
            return result;
        if (gap && found.offset + found.bytes == segment->size)
            return 0;
        at = found.offset + found.bytes;
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

int pg_segment_open_dir(const char *dir, bool create, struct pg_error *error)
{
    if (create && mkdir(dir, 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES) {
        int code = -errno;
        pg_error_set(error, "cannot make %s: %s", dir, strerror(-code));
        return code;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int code = -errno;
        pg_error_set(error, "cannot open %s: %s", dir, strerror(-code));
        return code;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno == EWOULDBLOCK ? -EBUSY : -errno;
        pg_error_set(error, "%s is %s", dir,
                     code == -EBUSY ? "in use by another process" : strerror(-code));
        close(fd);
        return code;
    }
    return fd;
}

void pg_segment_name(uint32_t number, char name[PG_SEGMENT_NAME_MAX])
{
    snprintf(name, PG_SEGMENT_NAME_MAX, "%016u.seg", (unsigned)number);
}

/* The number in a segment's name; 0: it is none. *unfinished: with ".new" behind it. */
static uint32_t number_of(const char *name, bool *unfinished)
{
    char *end, again[PG_SEGMENT_NAME_MAX];
    unsigned long long value = strtoull(name, &end, 10);
    if (value == 0 || value > UINT32_MAX)
        return 0;
    pg_segment_name((uint32_t)value, again);
    size_t len = strlen(again);
    if (strncmp(name, again, len) != 0)
        return 0;
    *unfinished = strcmp(name + len, ".new") == 0;
    return name[len] == '\0' || *unfinished ? (uint32_t)value : 0;
}

static int ascending(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

int pg_segment_list(int dir_fd, bool remove, struct pg_segment_list *list)
{
    *list = (struct pg_segment_list){.numbers = NULL};
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int code = -errno;
        if (fd >= 0)
            close(fd);
        return code;
    }
    int code = 0;
    size_t room = 0;
    for (struct dirent *entry; errno = 0, (entry = readdir(dir)) != NULL;) {
        bool unfinished = false;
        uint32_t number = number_of(entry->d_name, &unfinished);
        if (number == 0)
            continue;
        if (unfinished) {
            list->unfinished++;
            if (remove && unlinkat(dir_fd, entry->d_name, 0) != 0 && errno != ENOENT) {
                code = -errno;
                break;
            }
            continue;
        }
        if (list->count == room) {
            room = room ? room * 2 : 64;
            uint32_t *more = realloc(list->numbers, room * sizeof(*more));
            if (!more) {
                code = -ENOMEM;
                break;
            }
            list->numbers = more;
        }
        list->numbers[list->count++] = number;
    }
    if (code == 0 && errno != 0)
        code = -errno;
    closedir(dir);
    if (code != 0) {
        free(list->numbers);
        list->numbers = NULL;
        list->count = 0;
        return code;
    }
    if (list->count > 1)
        qsort(list->numbers, list->count, sizeof(*list->numbers), ascending);
    return 0;
}

static int read_all(int fd, uint8_t *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, to + done, size - done, (off_t)done);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO; /* somebody has shortened it */
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int make_room(struct pg_segment *segment, size_t size)
{
    if (segment->data && size <= segment->room)
        return 0;
    free(segment->data);
    segment->room = size ? size : 1;
    segment->data = malloc(segment->room);
    return segment->data ? 0 : -ENOMEM;
}

int pg_segment_load(int dir_fd, uint32_t number, struct pg_segment *segment)
{
    char name[PG_SEGMENT_NAME_MAX];
    struct stat st;
    *segment = (struct pg_segment){.data = segment->data, .room = segment->room};
    pg_segment_name(number, name);
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int code = fstat(fd, &st) != 0 ? -errno : 0;
    /* Longer than any segment that is written here: not one of ours. */
    if (code == 0 &&
        (!S_ISREG(st.st_mode) || st.st_size > (off_t)PG_SEGLOG_BODY_MAX + PG_SEGLOG_HEADER_BYTES +
                                                  PG_SEGLOG_BATCH_OVERHEAD))
        code = -EINVAL;
    if (code == 0) {
        code = make_room(segment, (size_t)st.st_size);
        segment->size = code == 0 ? (size_t)st.st_size : 0;
        if (code == 0)
            code = read_all(fd, segment->data, segment->size);
    }
    close(fd);
    if (code != 0)
        return code;
    segment->blank = all_zero(segment->data, segment->size);
    if (segment->size >= PG_SEGLOG_HEADER_BYTES) {
        struct pg_segment_header second;
        bool first = get_header(segment->data, &segment->header);
        bool other = get_header(segment->data + COPY_BYTES, &second);
        if (!first && other)
            segment->header = second;
        segment->known = (first || other) && segment->header.number == number;
        segment->whole = segment->known && first && other &&
                         memcmp(segment->data, segment->data + COPY_BYTES, COPY_BYTES) == 0;
    }
    return 0;
}

void pg_segment_unload(struct pg_segment *segment)
{
    free(segment->data);
    *segment = (struct pg_segment){.data = NULL};
}

int pg_segment_write(int fd, struct iovec *ranges, int count, uint64_t offset)
{
    while (count > 0) {
        ssize_t n = pwritev(fd, ranges, count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        offset += (uint64_t)n;
        size_t left = (size_t)n;
        while (count > 0 && left >= ranges->iov_len) {
            left -= ranges->iov_len;
            ranges++;
            count--;
        }
        if (count > 0) {
            if (n == 0)
                return -EIO;
            ranges->iov_base = (uint8_t *)ranges->iov_base + left;
            ranges->iov_len -= left;
        }
    }
    return 0;
}

int pg_segment_create(int dir_fd, const struct pg_segment_header *header, uint64_t bytes,
                      const uint8_t *data, size_t size, bool sync)
{
    char name[PG_SEGMENT_NAME_MAX], unfinished[PG_SEGMENT_NAME_MAX + 4];
    uint8_t head[PG_SEGLOG_HEADER_BYTES];
    struct iovec ranges[] = {{.iov_base = head, .iov_len = sizeof(head)},
                             {.iov_base = (void *)(uintptr_t)data, .iov_len = size}};
    pg_segment_name(header->number, name);
    snprintf(unfinished, sizeof(unfinished), "%s.new", name);
    pg_segment_put_header(head, header);
    int fd = openat(dir_fd, unfinished, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    /* Space is taken now, so that a full disk is met here and a sync has no metadata to write. */
    int code = bytes > 0 ? -posix_fallocate(fd, 0, (off_t)bytes) : 0;
    if (code == 0)
        code = pg_segment_write(fd, ranges, size > 0 ? 2 : 1, 0);
    if (code == 0 && sync && fdatasync(fd) != 0)
        code = -errno;
    if (code == 0 && renameat(dir_fd, unfinished, dir_fd, name) != 0)
        code = -errno;
    if (code != 0) {
        unlinkat(dir_fd, unfinished, 0);
    } else if (sync && fsync(dir_fd) != 0) {
        code = -errno;
        unlinkat(dir_fd, name, 0);
    }
    if (code == 0)
        return fd;
    close(fd);
    return code;
}
