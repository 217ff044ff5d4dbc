/* SPDX-License-Identifier: Apache-2.0 */

/* The segment log: recovery, appending, reading, dropping. The format is in segment_file.c.
 *
 * Appending. A batch is written at the end of the last segment by one pwritev(); if it does not
 * fit, a new segment is begun, and the old one is synced before that and cut behind its last
 * batch, so that only the last segment can have a torn tail. When a write fails, the file is cut
 * back to the last good end. Until that has worked nothing more is appended; a crash meanwhile
 * leaves a prefix of the batch, which fails its check sum and is cut off by the recovery.
 *
 * A failed sync. The kernel may mark pages clean that it could not write and report that once, so
 * that a second fdatasync() would succeed and prove nothing. Batches cannot move to a new segment,
 * for their positions have been handed out. Therefore the log fails until it is mended or opened
 * again, and both write the used part of the last segment anew over itself (the same bytes, so that
 * a crash in between does no harm) before they sync. Earlier segments were synced when they ended.
 *
 * Threads: the caller's, one at a time. Invariant: all bytes in front of `end` are sound batches,
 * and nothing behind it will be taken for one. */

#include "segment_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "segment_file.h"

#define READERS 8 /* descriptors kept open for reading older segments */

struct reader {
    uint32_t number; /* 0: free */
    int fd;
};

struct pg_seglog {
    struct pg_seglog_options options;
    int dir_fd; /* carries the lock */
    int fd;     /* of the last segment */
    struct pg_seglog_segment *segments;
    uint32_t count, room;
    struct pg_segment_header header; /* of the last segment */
    uint64_t sequence;               /* of the next batch */
    bool ragged;                     /* a failed write may have left bytes behind the end */
    bool unsynced;                   /* something was written since the last sync */
    bool failed;                     /* a sync has failed */
    struct undo {                    /* where the log ended before the last append */
        uint32_t number, bytes_used;
        uint64_t sequence;
    } undo;
    int64_t synced_ms;
    struct reader readers[READERS];
    unsigned next_reader;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct pg_seglog_segment *last_of(struct pg_seglog *log)
{
    return &log->segments[log->count - 1];
}

static int add_segment(struct pg_seglog *log, const struct pg_seglog_segment *segment)
{
    if (log->count == log->room) {
        uint32_t room = log->room ? log->room * 2 : 64;
        struct pg_seglog_segment *more = realloc(log->segments, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        log->segments = more;
        log->room = room;
    }
    log->segments[log->count++] = *segment;
    return 0;
}

static void note(const struct pg_seglog *log, const char *file, uint64_t bytes, const char *text)
{
    if (log->options.note)
        log->options.note(log->options.context, file, bytes, text);
}

/* ---- recovery -------------------------------------------------------------------------------- */

struct recovery {
    struct pg_seglog *log;
    const char *dir;
    uint32_t number;
    size_t torn;
    struct pg_error *error;
};

static int damaged(const struct recovery *r, uint64_t offset, const char *what)
{
    pg_error_set(r->error,
                 "%s/%016u.seg: offset %llu: %s; `polygatectl store check %s` shows what is "
                 "concerned, and `polygatectl store repair %s` saves the rest",
                 r->dir, (unsigned)r->number, (unsigned long long)offset, what, r->dir, r->dir);
    return -EUCLEAN;
}

static int failed(const struct recovery *r, const char *what, int code)
{
    pg_error_set(r->error, "%s/%016u.seg: cannot %s: %s", r->dir, (unsigned)r->number, what,
                 strerror(-code));
    return code;
}

static int recover_event(void *context, const struct pg_segment_event *event)
{
    struct recovery *r = context;
    const struct pg_seglog_options *options = &r->log->options;
    switch (event->kind) {
    case PG_SEGMENT_BATCH:
        if (!options->batch)
            return 0;
        return options->batch(
            options->context,
            (struct pg_log_position){.segment = r->number,
                                     .offset = (uint32_t)event->offset + PG_SEGMENT_BATCH_HEAD},
            event->sequence, event->body);
    case PG_SEGMENT_FILLER:
        return 0;
    case PG_SEGMENT_DAMAGE:
        return damaged(r, event->offset, "the batch here is damaged");
    case PG_SEGMENT_TAIL:
        r->torn = event->bytes;
        return 0;
    }
    return -EINVAL;
}

/* The last segment becomes the one that is written. */
static int take_last(struct recovery *r, const struct pg_segment *segment, size_t end)
{
    struct pg_seglog *log = r->log;
    char name[PG_SEGMENT_NAME_MAX];
    pg_segment_name(r->number, name);
    log->fd = openat(log->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (log->fd < 0)
        return failed(r, "open it for writing", -errno);
    if (r->torn > 0) {
        if (ftruncate(log->fd, (off_t)end) != 0)
            return failed(r, "cut off its torn tail", -errno);
        note(log, name, r->torn, "a torn tail was cut off: the last batch had not been finished");
    }
    if (log->options.fsync == PG_SEGLOG_NEVER)
        return 0;
    struct iovec all = {.iov_base = segment->data, .iov_len = end};
    int code = pg_segment_write(log->fd, &all, 1, 0);
    if (code == 0 && fdatasync(log->fd) != 0)
        code = -errno;
    return code == 0 ? 0 : failed(r, "write it anew", code);
}

static int recover_segment(struct recovery *r, const struct pg_segment *segment, bool last,
                           struct pg_segment_walk *walk)
{
    struct pg_seglog *log = r->log;
    if (segment->known && segment->header.version > PG_SEGMENT_VERSION) {
        pg_error_set(r->error,
                     "%s/%016u.seg: of format version %u, and this program knows %u; use the newer "
                     "version of Polygate that wrote it",
                     r->dir, (unsigned)r->number, (unsigned)segment->header.version,
                     PG_SEGMENT_VERSION);
        return -ENOTSUP;
    }
    if (!segment->whole)
        return damaged(r, 0, "the segment's header is damaged");
    if (walk->begun && segment->header.first_sequence != walk->sequence)
        return damaged(r, 0, "batches are missing at the end of the segment before this one");
    walk->begun = true;
    walk->sequence = segment->header.first_sequence;
    r->torn = 0;
    int code = pg_segment_walk(segment, last, walk, recover_event, r);
    if (code == 0)
        code = add_segment(log, &(struct pg_seglog_segment){
                                    .number = r->number,
                                    .bytes_used = (uint32_t)walk->end,
                                    .bytes_file = (uint32_t)(segment->size - r->torn),
                                    .first_sequence = segment->header.first_sequence,
                                });
    if (code == 0 && last) {
        log->header = segment->header;
        code = take_last(r, segment, walk->end);
    }
    log->sequence = walk->sequence;
    return code;
}

/* A last segment that is all zeros was begun, and its header never reached the disk. */
static int leave_out_blank(struct recovery *r, struct pg_segment_list *list,
                           struct pg_segment *segment)
{
    char name[PG_SEGMENT_NAME_MAX];
    if (list->count == 0)
        return 0;
    r->number = list->numbers[list->count - 1];
    int code = pg_segment_load(r->log->dir_fd, r->number, segment);
    if (code != 0)
        return failed(r, "read it", code);
    if (!segment->blank)
        return 0;
    pg_segment_name(r->number, name);
    if (unlinkat(r->log->dir_fd, name, 0) != 0)
        return failed(r, "remove it", -errno);
    note(r->log, name, segment->size, "a segment that was never begun was removed");
    list->count--;
    return 0;
}

static int begin_with_room(struct pg_seglog *log, uint32_t number, uint64_t needs);

static int recover(struct recovery *r)
{
    struct pg_seglog *log = r->log;
    struct pg_segment_list list;
    struct pg_segment segment = {.data = NULL}; /* its memory serves for all of them */
    struct pg_segment_walk walk = {.begun = false};
    int code = pg_segment_list(log->dir_fd, true, &list);
    if (code != 0) {
        pg_error_set(r->error, "cannot list %s: %s", r->dir, strerror(-code));
        return code;
    }
    if (list.unfinished > 0)
        note(log, r->dir, list.unfinished, "segments whose creation was interrupted were removed");
    code = leave_out_blank(r, &list, &segment);
    for (size_t i = 0; code == 0 && i < list.count; i++) {
        r->number = list.numbers[i];
        if (i > 0 && r->number != list.numbers[i - 1] + 1) {
            code = damaged(r, 0, "the segment in front of this one is missing");
            break;
        }
        code = pg_segment_load(log->dir_fd, r->number, &segment);
        if (code != 0) {
            failed(r, "read it", code);
            break;
        }
        code = recover_segment(r, &segment, i + 1 == list.count, &walk);
    }
    pg_segment_unload(&segment);
    if (code == 0 && list.count == 0) {
        r->number = 1;
        if (getrandom(&log->header.salt, sizeof(log->header.salt), 0) < 0)
            code = -errno;
        log->sequence = 1;
        if (code == 0)
            code = begin_with_room(log, 1, 0);
        if (code != 0)
            failed(r, "make it", code);
    }
    free(list.numbers);
    return code;
}

static void log_free(struct pg_seglog *log)
{
    for (unsigned i = 0; i < READERS; i++) {
        if (log->readers[i].number != 0)
            close(log->readers[i].fd);
    }
    if (log->fd >= 0)
        close(log->fd);
    if (log->dir_fd >= 0)
        close(log->dir_fd);
    free(log->segments);
    free(log);
}

int pg_seglog_open(const char *dir, const struct pg_seglog_options *options, struct pg_seglog **out,
                   struct pg_error *error)
{
    *out = NULL;
    error->text[0] = '\0';
    struct pg_seglog *log = calloc(1, sizeof(*log));
    if (!log) {
        pg_error_set(error, "cannot open %s: out of memory", dir);
        return -ENOMEM;
    }
    log->fd = -1;
    log->options = *options;
    if (log->options.segment_bytes == 0)
        log->options.segment_bytes = PG_SEGLOG_SEGMENT_BYTES;
    log->dir_fd = -EINVAL;
    if (log->options.segment_bytes < PG_SEGLOG_SEGMENT_MIN ||
        log->options.segment_bytes > PG_SEGLOG_SEGMENT_MAX)
        pg_error_set(error, "the size of a segment must be from %u to %u bytes",
                     PG_SEGLOG_SEGMENT_MIN, PG_SEGLOG_SEGMENT_MAX);
    else
        log->dir_fd = pg_segment_open_dir(dir, true, error);
    struct recovery r = {.log = log, .dir = dir, .error = error};
    int code = log->dir_fd < 0 ? log->dir_fd : recover(&r);
    if (code != 0) {
        if (error->text[0] == '\0')
            pg_error_set(error, "cannot open %s: %s", dir, strerror(-code));
        log_free(log);
        return code;
    }
    log->synced_ms = now_ms();
    *out = log;
    return 0;
}

/* ---- appending ------------------------------------------------------------------------------- */

static int sync_now(struct pg_seglog *log)
{
    if (log->failed)
        return -ENOTRECOVERABLE;
    if (!log->unsynced)
        return 0;
    if (fdatasync(log->fd) != 0) {
        log->failed = true;
        return -errno;
    }
    log->unsynced = false;
    log->synced_ms = now_ms();
    return 0;
}

int pg_seglog_sync(struct pg_seglog *log)
{
    if (log->failed)
        return -ENOTRECOVERABLE;
    if (log->options.fsync == PG_SEGLOG_NEVER)
        return 0;
    if (log->options.fsync == PG_SEGLOG_INTERVAL &&
        now_ms() - log->synced_ms < log->options.interval_ms)
        return 0;
    return sync_now(log);
}

/* Cut what a failed write has left. */
static int cut_to_end(struct pg_seglog *log)
{
    struct pg_seglog_segment *last = last_of(log);
    if (ftruncate(log->fd, (off_t)last->bytes_used) != 0)
        return -errno;
    last->bytes_file = last->bytes_used;
    log->ragged = false;
    log->unsynced = true;
    return 0;
}

/* On error all is as it was. */
static int begin_segment(struct pg_seglog *log, uint32_t number, uint64_t bytes)
{
    struct pg_segment_header header = {
        .version = PG_SEGMENT_VERSION,
        .number = number,
        .first_sequence = log->sequence,
        .salt = log->header.salt,
    };
    int code = add_segment(log, &(struct pg_seglog_segment){
                                    .number = number,
                                    .bytes_used = PG_SEGLOG_HEADER_BYTES,
                                    .bytes_file = (uint32_t)bytes,
                                    .first_sequence = header.first_sequence,
                                });
    if (code != 0)
        return code;
    int fd = pg_segment_create(log->dir_fd, &header, bytes, NULL, 0,
                               log->options.fsync != PG_SEGLOG_NEVER);
    if (fd < 0) {
        log->count--;
        return fd;
    }
    if (log->fd >= 0) {
        struct pg_seglog_segment *before = &log->segments[log->count - 2];
        /* Gives the unused space back; the zeros may as well stay. */
        if (ftruncate(log->fd, (off_t)before->bytes_used) == 0)
            before->bytes_file = before->bytes_used;
        close(log->fd);
    }
    log->fd = fd;
    log->header = header;
    return 0;
}

/* A segment that has room for a batch of `needs` bytes: of the usual size if the disk has that. */
static int begin_with_room(struct pg_seglog *log, uint32_t number, uint64_t needs)
{
    uint64_t least = needs + PG_SEGLOG_HEADER_BYTES, bytes = log->options.segment_bytes;
    if (least < PG_SEGLOG_SEGMENT_MIN)
        least = PG_SEGLOG_SEGMENT_MIN;
    if (bytes < least)
        bytes = least;
    int code = begin_segment(log, number, bytes);
    while ((code == -ENOSPC || code == -EDQUOT) && bytes > least) {
        bytes = bytes / 4 > least ? bytes / 4 : least;
        code = begin_segment(log, number, bytes);
    }
    return code;
}

static int rotate(struct pg_seglog *log, uint64_t needs)
{
    if (last_of(log)->number == UINT32_MAX)
        return -ENOTRECOVERABLE;
    /* Whatever the policy but NEVER: damage in it would be refused from now on. */
    int code = log->options.fsync == PG_SEGLOG_NEVER ? 0 : sync_now(log);
    return code != 0 ? code : begin_with_room(log, last_of(log)->number + 1, needs);
}

int pg_seglog_append(struct pg_seglog *log, const struct iovec *ranges, int count,
                     struct pg_log_position *position)
{
    static const uint8_t zeros[8];
    uint8_t head[PG_SEGMENT_BATCH_HEAD];
    struct iovec all[PG_SEGLOG_IOV_MAX + 2];
    size_t len = 0;
    if (log->failed)
        return -ENOTRECOVERABLE;
    if (count < 1 || count > PG_SEGLOG_IOV_MAX)
        return -EMSGSIZE;
    for (int i = 0; i < count; i++) {
        if (ranges[i].iov_len > PG_SEGLOG_BODY_MAX - len)
            return -EMSGSIZE;
        len += ranges[i].iov_len;
    }
    if (len == 0)
        return -EMSGSIZE;
    size_t pad = -len & 7, needs = sizeof(head) + len + pad;
    struct undo before = {.number = last_of(log)->number,
                          .bytes_used = last_of(log)->bytes_used,
                          .sequence = log->sequence};
    int code = log->ragged ? cut_to_end(log) : 0;
    if (code == 0 && last_of(log)->bytes_used + needs > log->options.segment_bytes)
        code = rotate(log, needs);
    if (code != 0)
        return code;

    struct pg_seglog_segment *last = last_of(log);
    all[0] = (struct iovec){.iov_base = head, .iov_len = sizeof(head)};
    memcpy(all + 1, ranges, (size_t)count * sizeof(*ranges));
    all[count + 1] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = pad};
    pg_segment_put_batch(head, false, &log->header, last->bytes_used, log->sequence, ranges, count);
    log->unsynced = true;
    code = pg_segment_write(log->fd, all, pad > 0 ? count + 2 : count + 1, last->bytes_used);
    if (code != 0) {
        log->ragged = true;
        cut_to_end(log); /* if not now, in front of the next append */
        return code;
    }
    *position = (struct pg_log_position){.segment = last->number,
                                         .offset = last->bytes_used + PG_SEGMENT_BATCH_HEAD};
    last->bytes_used += (uint32_t)needs;
    if (last->bytes_file < last->bytes_used)
        last->bytes_file = last->bytes_used;
    log->sequence++;
    log->undo = before;
    return 0;
}

bool pg_seglog_failed(const struct pg_seglog *log)
{
    return log->failed;
}

static int mend_event(void *context, const struct pg_segment_event *event)
{
    (void)context, (void)event;
    return 0; /* the walk itself finds the end of what is sound */
}

int pg_seglog_mend(struct pg_seglog *log, bool undo)
{
    struct pg_seglog_segment *last = last_of(log);
    struct pg_segment segment = {.data = NULL};
    struct pg_segment_walk walk = {.begun = true, .sequence = last->first_sequence};
    uint32_t end = last->bytes_used;
    uint64_t sequence = log->sequence;
    if (undo && log->undo.number != 0) {
        end = log->undo.number == last->number ? log->undo.bytes_used : PG_SEGLOG_HEADER_BYTES;
        sequence = log->undo.sequence;
    }
    int code = pg_segment_load(log->dir_fd, last->number, &segment);
    if (code == 0 &&
        (!segment.whole || pg_segment_walk(&segment, true, &walk, mend_event, NULL) != 0 ||
         walk.end < end))
        code = -EIO;
    struct iovec all = {.iov_base = segment.data, .iov_len = end};
    if (code == 0 && ftruncate(log->fd, (off_t)end) != 0)
        code = -errno;
    if (code == 0) {
        last->bytes_used = last->bytes_file = end;
        log->sequence = sequence;
        log->undo.number = 0;
        log->ragged = false;
        code = pg_segment_write(log->fd, &all, 1, 0);
    }
    pg_segment_unload(&segment);
    if (code == 0 && fdatasync(log->fd) != 0)
        code = -errno;
    if (code != 0)
        return code;
    log->failed = log->unsynced = false;
    log->synced_ms = now_ms();
    return 0;
}

int pg_seglog_close(struct pg_seglog **log)
{
    int code = 0;
    if (!*log)
        return 0;
    if ((*log)->ragged)
        code = cut_to_end(*log);
    if ((*log)->options.fsync != PG_SEGLOG_NEVER) {
        int synced = sync_now(*log);
        code = code != 0 ? code : synced;
    }
    log_free(*log);
    *log = NULL;
    return code;
}

/* ---- reading, dropping ----------------------------------------------------------------------- */

static int reader_of(struct pg_seglog *log, uint32_t number)
{
    char name[PG_SEGMENT_NAME_MAX];
    if (number == last_of(log)->number)
        return log->fd;
    for (unsigned i = 0; i < READERS; i++) {
        if (log->readers[i].number == number)
            return log->readers[i].fd;
    }
    pg_segment_name(number, name);
    int fd = openat(log->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    struct reader *r = &log->readers[log->next_reader++ % READERS];
    if (r->number != 0)
        close(r->fd);
    *r = (struct reader){.number = number, .fd = fd};
    return fd;
}

bool pg_seglog_holds(const struct pg_seglog *log, struct pg_log_position position, size_t length)
{
    uint32_t first = log->segments[0].number;
    if (position.segment < first || position.segment - first >= log->count)
        return false;
    uint32_t used = log->segments[position.segment - first].bytes_used;
    return position.offset >= PG_SEGLOG_HEADER_BYTES && position.offset <= used &&
           length <= used - position.offset;
}

int pg_seglog_read(struct pg_seglog *log, struct pg_log_position position, void *to, size_t length)
{
    uint32_t first = log->segments[0].number;
    if (position.segment < first || position.segment - first >= log->count)
        return -ENOENT;
    if (!pg_seglog_holds(log, position, length))
        return -ERANGE;
    int fd = reader_of(log, position.segment);
    if (fd < 0)
        return fd;
    for (size_t done = 0; done < length;) {
        ssize_t n =
            pread(fd, (uint8_t *)to + done, length - done, (off_t)position.offset + (off_t)done);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int pg_seglog_drop_oldest(struct pg_seglog *log)
{
    char name[PG_SEGMENT_NAME_MAX];
    uint32_t number = log->segments[0].number;
    if (log->count < 2)
        return -ENOENT;
    pg_segment_name(number, name);
    if (unlinkat(log->dir_fd, name, 0) != 0 && errno != ENOENT)
        return -errno;
    for (unsigned i = 0; i < READERS; i++) {
        if (log->readers[i].number == number) {
            close(log->readers[i].fd);
            log->readers[i].number = 0;
        }
    }
    log->count--;
    memmove(log->segments, log->segments + 1, log->count * sizeof(*log->segments));
    /* In this order on the disk: an older segment that came back in front of a dropped one would
     * be taken for a hole. */
    if (log->options.fsync != PG_SEGLOG_NEVER && fsync(log->dir_fd) != 0)
        return -errno;
    return 0;
}

uint32_t pg_seglog_segment_count(const struct pg_seglog *log)
{
    return log->count;
}

struct pg_seglog_segment pg_seglog_segment_at(const struct pg_seglog *log, uint32_t index)
{
    return log->segments[index];
}

uint32_t pg_seglog_salt(const struct pg_seglog *log)
{
    return log->header.salt;
}

struct pg_log_position pg_seglog_end(const struct pg_seglog *log)
{
    const struct pg_seglog_segment *last = &log->segments[log->count - 1];
    return (struct pg_log_position){.segment = last->number, .offset = last->bytes_used};
}
