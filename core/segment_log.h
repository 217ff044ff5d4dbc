/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SEGMENT_LOG_H
#define PG_SEGMENT_LOG_H

/* An append-only log in a directory of segment files. It knows batches of bytes, not what they
 * mean: a batch is in the log as a whole or not at all after a crash.
 *
 * Threads: none of its own, no lock; one log is used by one thread at a time. Calls block on the
 * disk. Two logs, checks or repairs of one directory exclude each other, also across processes, by
 * flock(2).
 *
 * Errors: 0, or a negative errno. Those that an operator must read also fill in `error` with a
 * sentence that names file, offset and remedy. */

#include <sys/uio.h>

#include "polygate.h"

/* A byte of a batch's body. Stays the same for as long as the segment is there, also through a
 * repair. Segment numbers begin with 1, so that {0, 0} is free to mean none. */
struct pg_log_position {
    uint32_t segment;
    uint32_t offset; /* from the start of the file */
};

#define PG_SEGLOG_SEGMENT_BYTES (64u * 1024 * 1024) /* the usual size of a segment */
#define PG_SEGLOG_SEGMENT_MIN   4096u
#define PG_SEGLOG_SEGMENT_MAX   (1024u * 1024 * 1024)
/* The longest body, which fits an offset of 32 bits with much to spare: a body longer than a
 * segment gets one of its own. */
#define PG_SEGLOG_BODY_MAX (1024u * 1024 * 1024)
/* What a batch takes beside its body, at most; a segment begins with PG_SEGLOG_HEADER_BYTES. */
#define PG_SEGLOG_BATCH_OVERHEAD 31u
#define PG_SEGLOG_HEADER_BYTES   64u
#define PG_SEGLOG_IOV_MAX        1000 /* ranges of one append */

/* When pg_seglog_sync() really waits for the disk. */
enum pg_seglog_fsync {
    PG_SEGLOG_ALWAYS,   /* each time: what was appended before is durable when it returns 0 */
    PG_SEGLOG_INTERVAL, /* when interval_ms have passed since the last time */
    PG_SEGLOG_NEVER,    /* not at all: the kernel writes when it likes */
};

/* A sound batch at recovery, oldest first. `body` is lent; position is that of its first byte; the
 * sequence numbers of batches rise by one, with a gap where a repair left something out. Nonzero
 * (a negative errno) ends the recovery with that error. The log may not be used from inside. */
typedef int pg_seglog_batch_fn(void *context, struct pg_log_position position, uint64_t sequence,
                               struct pg_bytes body);
/* Something worth a line in the log that did not stop the recovery: `text` (lent) says what was
 * done, `bytes` how many bytes of the file it concerned. */
typedef void pg_seglog_note_fn(void *context, const char *file, uint64_t bytes, const char *text);

struct pg_seglog_options {
    uint32_t segment_bytes; /* 0: PG_SEGLOG_SEGMENT_BYTES; else _MIN to _MAX */
    enum pg_seglog_fsync fsync;
    int64_t interval_ms;       /* for PG_SEGLOG_INTERVAL */
    pg_seglog_batch_fn *batch; /* NULL: nobody wants to know */
    pg_seglog_note_fn *note;   /* NULL: likewise */
    void *context;             /* of both */
};

struct pg_seglog;

/* Open the log in `dir`, which is made if its parent exists, and recover what is in it.
 * A torn tail of the last segment (a bad last batch with nothing sound behind it) is cut off and
 * noted. The last segment is written and synced anew, because the page cache may show what a
 * failed sync never brought to the disk.
 * -EBUSY    in use by another process, or by this one
 * -EUCLEAN  damaged anywhere else: refused, nothing was changed; see pg_seglog_repair()
 * -ENOTSUP  written by a newer version: refused, nothing was changed
 * -EINVAL   an option out of its bounds; others: as the system says (-EACCES, -EROFS, -EIO) */
PG_CHECKED int pg_seglog_open(const char *dir, const struct pg_seglog_options *options,
                              struct pg_seglog **log, struct pg_error *error);
/* Sync (but with PG_SEGLOG_NEVER) and free; *log becomes NULL. Returns the result of that sync. */
int pg_seglog_close(struct pg_seglog **log);

/* Append one batch whose body is the `count` ranges (lent, 1 to PG_SEGLOG_IOV_MAX; together 1 to
 * PG_SEGLOG_BODY_MAX bytes), with one system call. It is durable after the next pg_seglog_sync().
 * An error leaves the log as it was: a later append may succeed, and neither a reader nor a later
 * recovery sees anything of this batch.
 * -EMSGSIZE  too long, or empty
 * -ENOSPC, -EDQUOT, -EFBIG, -EIO  as the system says
 * -ENOTRECOVERABLE  a sync has failed, see there; or the segment numbers are used up
 * A new segment whose usual size the disk has no room for is made smaller, as long as the batch
 * fits. */
PG_CHECKED int pg_seglog_append(struct pg_seglog *log, const struct iovec *ranges, int count,
                                struct pg_log_position *position);
/* Make durable what was appended, as the policy says. After an error nobody can know which bytes
 * reached the disk: every append and sync answers -ENOTRECOVERABLE until pg_seglog_mend(), or until
 * the log is closed and opened again; reads still work, and what was appended since the last good
 * sync must be taken as not kept (though it may be there after recovery).
 * Call it after each append with PG_SEGLOG_ALWAYS if a power failure is not to leave a hole in
 * front of a sound batch, which needs a repair. */
PG_CHECKED int pg_seglog_sync(struct pg_seglog *log);

/* Whether a sync has failed, so that it must be mended. */
bool pg_seglog_failed(const struct pg_seglog *log);
/* After a failed sync: write the used part of the last segment anew over itself (the same bytes, so
 * that a crash in between does no harm), sync it, and go on. `undo`: without the batch that was
 * appended last, whose owner was told that it is not kept. -EIO: the bytes are not what was
 * appended any more; others as the system says. The log still fails then, and this can be
 * repeated. */
PG_CHECKED int pg_seglog_mend(struct pg_seglog *log, bool undo);

/* Copy `length` bytes from `position` into the caller's buffer. The range must lie between the
 * header and the end of its segment; that it lies in one body is the caller's affair.
 * -ENOENT  no such segment (it was dropped)  -ERANGE  beyond its end  -EIO, ... */
PG_CHECKED int pg_seglog_read(struct pg_seglog *log, struct pg_log_position position, void *to,
                              size_t length);

/* Whether pg_seglog_read() would find that range inside a segment. */
bool pg_seglog_holds(const struct pg_seglog *log, struct pg_log_position position, size_t length);

/* Unlink the oldest segment. -ENOENT: there is only the one that is being written. */
PG_CHECKED int pg_seglog_drop_oldest(struct pg_seglog *log);

struct pg_seglog_segment {
    uint32_t number;
    uint32_t bytes_used; /* header and batches */
    uint32_t bytes_file; /* of the file, with what is preallocated */
    uint64_t first_sequence;
};

/* The segments from the oldest on, the last being the one that is written. index < count. */
uint32_t pg_seglog_segment_count(const struct pg_seglog *log);
struct pg_seglog_segment pg_seglog_segment_at(const struct pg_seglog *log, uint32_t index);
/* Where the next batch's body will not be before: everything appended so far is in front of it. */
struct pg_log_position pg_seglog_end(const struct pg_seglog *log);

/* A random number that was drawn when the log was made: tells logs apart. */
uint32_t pg_seglog_salt(const struct pg_seglog *log);

/* ---- offline: check and repair -------------------------------------------------------------- */

/* One thing found. The texts are lent. */
struct pg_seglog_finding {
    const char *file;
    uint64_t offset, bytes; /* the range of the file that is concerned */
    bool damage;            /* false: harmless, pg_seglog_open() deals with it */
    const char *text;
};
typedef void pg_seglog_finding_fn(void *context, const struct pg_seglog_finding *finding);

struct pg_seglog_summary {
    uint32_t segments;
    uint64_t batches, body_bytes; /* sound */
    uint32_t damages;             /* findings that keep pg_seglog_open() from opening */
    uint64_t lost_bytes;          /* in the ranges of damage */
};

/* Look at everything and change nothing; goes on past damage. 0 also when there is damage: the
 * summary says. Works on a read-only directory. */
PG_CHECKED int pg_seglog_check(const char *dir, pg_seglog_finding_fn *report, void *context,
                               struct pg_seglog_summary *summary, struct pg_error *error);
/* Make the log one that opens. Each sound batch stays at its position; a damaged range is covered
 * by a filler, a missing segment in the middle by an empty one. A segment is written anew beside
 * the old one, synced and renamed over it, so that an interrupted repair can be repeated. Reports
 * what is lost. -ENOTSUP: something is of a newer version; nothing was changed. */
PG_CHECKED int pg_seglog_repair(const char *dir, pg_seglog_finding_fn *report, void *context,
                                struct pg_seglog_summary *summary, struct pg_error *error);

#endif
