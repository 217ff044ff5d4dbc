/* SPDX-License-Identifier: Apache-2.0 */

/* Checking and repairing a segment log that no process uses. The caller's thread; blocks.
 *
 * Both go through all segments in the same way; a repair also collects, for each segment that has
 * damage, what it must look like: every sound batch where it was, fillers over the damaged ranges,
 * a header made from what is known. That file is written beside the old one and renamed over it.
 * A hole in the row of segments is closed by a segment with a filler alone. Salt and sequence
 * numbers that a lost header had come from its neighbours; without any sound header in the log the
 * batches cannot be told from bytes that only look like some, and are lost. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "segment_file.h"

/* More missing segments in a row than that (4 TiB of 64 MiB each) are a file that was misnamed. */
#define BRIDGE_MAX 65536u

struct job {
    int dir_fd;
    bool repair;
    pg_seglog_finding_fn *report;
    void *context;
    struct pg_seglog_summary *summary;
    struct pg_error *error;
    const char *dir;
    char name[PG_SEGMENT_NAME_MAX];
    bool salted;
    uint32_t salt; /* of the log */
    /* the segment that is looked at */
    struct pg_segment segment;
    bool dirty; /* must be written anew */
    bool first_known;
    uint64_t first; /* the sequence of its first batch or filler */
    /* damaged ranges that wait for the sequence of the batch behind them */
    size_t hole, hole_bytes;
};

static void find(struct job *job, bool damage, uint64_t offset, uint64_t bytes, const char *text)
{
    struct pg_seglog_finding finding = {
        .file = job->name, .offset = offset, .bytes = bytes, .damage = damage, .text = text};
    if (damage) {
        job->summary->damages++;
        job->summary->lost_bytes += bytes;
    }
    if (job->report)
        job->report(job->context, &finding);
}

static int failed(struct job *job, const char *what, int code)
{
    pg_error_set(job->error, "%s/%s: cannot %s: %s", job->dir, job->name, what, strerror(-code));
    return code;
}

/* Cover the damaged range in front of the batch with this sequence by a filler. */
static void fill_hole(struct job *job, uint64_t sequence)
{
    if (job->hole_bytes == 0)
        return;
    uint8_t *head = job->segment.data + job->hole;
    memset(head, 0, job->hole_bytes);
    struct iovec body = {.iov_base = head + PG_SEGMENT_BATCH_HEAD,
                         .iov_len = job->hole_bytes - PG_SEGMENT_BATCH_HEAD};
    pg_segment_put_batch(head, true, &job->segment.header, (uint32_t)job->hole, sequence, &body, 1);
    job->hole_bytes = 0;
}

static int look(void *context, const struct pg_segment_event *event)
{
    struct job *job = context;
    switch (event->kind) {
    case PG_SEGMENT_BATCH:
        job->summary->batches++;
        job->summary->body_bytes += event->body.len;
        /* fall through */
    case PG_SEGMENT_FILLER:
        if (!job->first_known)
            job->first = event->sequence;
        job->first_known = true;
        if (job->repair)
            fill_hole(job, event->sequence);
        break;
    case PG_SEGMENT_DAMAGE:
        find(job, true, event->offset, event->bytes, "damaged: what was here is lost");
        job->dirty = true;
        if (event->offset + event->bytes < job->segment.size) {
            job->hole = event->offset;
            job->hole_bytes = event->bytes;
        }
        break;
    case PG_SEGMENT_TAIL:
        find(job, false, event->offset, event->bytes,
             "a torn tail: the last batch was not finished; it is cut off when the log is opened");
        break;
    }
    return 0;
}

/* Write the segment of this header: `size` bytes behind the header, then a filler if the next
 * segment goes on with another sequence than this one ends with. */
static int write_segment(struct job *job, const struct pg_segment_header *header,
                         const uint8_t *data, size_t size, bool filler, uint64_t next)
{
    uint8_t *copy = malloc(size + PG_SEGMENT_BATCH_HEAD);
    if (!copy)
        return failed(job, "write it", -ENOMEM);
    if (size > 0)
        memcpy(copy, data, size);
    if (filler) {
        pg_segment_put_batch(copy + size, true, header, PG_SEGLOG_HEADER_BYTES + (uint32_t)size,
                             next, NULL, 0);
        size += PG_SEGMENT_BATCH_HEAD;
    }
    int fd = pg_segment_create(job->dir_fd, header, 0, copy, size, true);
    free(copy);
    if (fd < 0)
        return failed(job, "write it", fd);
    close(fd);
    return 0;
}

/* The sequence that a segment begins with by its header; false: unknown. */
static bool first_of(struct job *job, uint32_t number, uint64_t *sequence)
{
    struct pg_segment segment = {.data = NULL};
    bool known = pg_segment_load(job->dir_fd, number, &segment) == 0 && segment.known;
    *sequence = segment.header.first_sequence;
    pg_segment_unload(&segment);
    return known;
}

/* Look at one segment. `next` is the number of the segment behind it, 0: this is the last one. */
static int look_at(struct job *job, uint32_t number, uint32_t next, struct pg_segment_walk *walk)
{
    struct pg_segment *segment = &job->segment;
    bool lost = !segment->known;
    uint64_t goes_on = 0;

    job->dirty = job->first_known = false;
    job->hole_bytes = 0;
    if (!segment->whole) {
        find(job, true, 0, lost && !job->salted ? segment->size : PG_SEGLOG_HEADER_BYTES,
             lost && !job->salted ? "the header is damaged, and no other segment helps: all is lost"
                                  : "the header is damaged");
        job->dirty = true;
    }
    if (lost)
        segment->header = (struct pg_segment_header){
            .version = PG_SEGMENT_VERSION, .number = number, .salt = job->salt};
    if (!lost && walk->begun && segment->header.first_sequence != walk->sequence) {
        find(job, true, 0, 0, "the segment before this one does not end where this one begins");
        job->dirty = true;
    }
    if (!lost && (!walk->begun || segment->header.first_sequence > walk->sequence))
        walk->sequence = segment->header.first_sequence;
    walk->begun = walk->begun || !lost;
    uint64_t began = walk->sequence;
    bool had = walk->begun && !lost;
    walk->end = PG_SEGLOG_HEADER_BYTES;
    struct pg_segment_walk from = *walk;
    if (lost)
        from.begun = false; /* whatever comes first, comes first */
    if (!lost || job->salted) {
        int code = pg_segment_walk(segment, next == 0, &from, look, job);
        if (code != 0)
            return code;
    }
    if (lost && job->first_known && walk->begun && job->first < walk->sequence) {
        find(job, true, 0, segment->size, "its batches are older than those before it");
        from = *walk;
        from.end = PG_SEGLOG_HEADER_BYTES;
    }
    if (lost && !from.begun)
        from = (struct pg_segment_walk){
            .begun = walk->begun, .sequence = walk->sequence, .end = PG_SEGLOG_HEADER_BYTES};
    if (lost && !had)
        began = walk->begun ? walk->sequence : job->first_known ? job->first : 1;
    if (!from.begun) {
        from.begun = true;
        from.sequence = began;
    }
    *walk = from;

    /* What follows must begin where this one ends; if that is not so, a filler says it. */
    bool filler = next != 0 && first_of(job, next, &goes_on) && goes_on > walk->sequence;
    if (filler && !job->dirty)
        find(job, true, walk->end, 0, "batches are missing at the end of this segment");
    if (filler)
        walk->sequence = goes_on;
    if (!job->repair || !(job->dirty || filler))
        return 0;
    segment->header.first_sequence = began;
    size_t used = walk->end > PG_SEGLOG_HEADER_BYTES ? walk->end - PG_SEGLOG_HEADER_BYTES : 0;
    return write_segment(job, &segment->header, segment->data + (used ? PG_SEGLOG_HEADER_BYTES : 0),
                         used, filler, goes_on);
}

/* Before anything is changed: nothing may be newer, and one salt must be known. */
static int survey(struct job *job, const struct pg_segment_list *list)
{
    struct pg_segment segment = {.data = NULL};
    int code = 0;
    for (size_t i = 0; code == 0 && i < list->count; i++) {
        pg_segment_name(list->numbers[i], job->name);
        code = pg_segment_load(job->dir_fd, list->numbers[i], &segment);
        if (code != 0)
            failed(job, "read it", code);
        else if (segment.known && segment.header.version > PG_SEGMENT_VERSION) {
            pg_error_set(job->error, "%s/%s: of format version %u, and this program knows %u",
                         job->dir, job->name, (unsigned)segment.header.version, PG_SEGMENT_VERSION);
            code = -ENOTSUP;
        }
        if (code == 0 && segment.known) {
            job->salt = segment.header.salt;
            job->salted = true;
        }
    }
    pg_segment_unload(&segment);
    if (code != 0)
        return code;
    /* No header at all is known: a salt for what is begun anew. */
    if (!job->salted && getrandom(&job->salt, sizeof(job->salt), 0) < 0)
        return failed(job, "draw a random number", -errno);
    return 0;
}

/* Segments from `number` up to `next` are not there. */
static int bridge(struct job *job, uint32_t number, uint32_t next,
                  const struct pg_segment_walk *walk)
{
    if (next - number > BRIDGE_MAX) {
        pg_error_set(job->error, "%s: segments %u to %u are missing: these are not of one log",
                     job->dir, (unsigned)number, (unsigned)next - 1);
        return -EINVAL;
    }
    for (; number < next; number++) {
        struct pg_segment_header header = {.version = PG_SEGMENT_VERSION,
                                           .number = number,
                                           .first_sequence = walk->sequence,
                                           .salt = job->salt};
        pg_segment_name(number, job->name);
        find(job, true, 0, 0, "the segment is missing: its batches are lost");
        int code = job->repair ? write_segment(job, &header, NULL, 0, false, 0) : 0;
        if (code != 0)
            return code;
    }
    return 0;
}

static int run(struct job *job)
{
    struct pg_segment_list list;
    struct pg_segment_walk walk = {.begun = false};
    int code = pg_segment_list(job->dir_fd, job->repair, &list);
    if (code != 0) {
        pg_error_set(job->error, "cannot list %s: %s", job->dir, strerror(-code));
        return code;
    }
    code = survey(job, &list);
    for (size_t i = 0; code == 0 && i < list.count; i++) {
        uint32_t number = list.numbers[i], next = i + 1 < list.count ? list.numbers[i + 1] : 0;
        if (i > 0)
            code = bridge(job, list.numbers[i - 1] + 1, number, &walk);
        if (code != 0)
            break;
        pg_segment_name(number, job->name);
        code = pg_segment_load(job->dir_fd, number, &job->segment);
        if (code != 0) {
            failed(job, "read it", code);
            break;
        }
        job->summary->segments++;
        if (next == 0 && job->segment.blank)
            find(job, false, 0, job->segment.size, "never begun; removed when the log is opened");
        else
            code = look_at(job, number, next, &walk);
    }
    pg_segment_unload(&job->segment);
    free(list.numbers);
    return code;
}

static int start(const char *dir, bool repair, pg_seglog_finding_fn *report, void *context,
                 struct pg_seglog_summary *summary, struct pg_error *error)
{
    struct job job = {.repair = repair,
                      .report = report,
                      .context = context,
                      .summary = summary,
                      .error = error,
                      .dir = dir};
    *summary = (struct pg_seglog_summary){.segments = 0};
    job.dir_fd = pg_segment_open_dir(dir, false, error);
    if (job.dir_fd < 0)
        return job.dir_fd;
    int code = run(&job);
    close(job.dir_fd);
    return code;
}

int pg_seglog_check(const char *dir, pg_seglog_finding_fn *report, void *context,
                    struct pg_seglog_summary *summary, struct pg_error *error)
{
    return start(dir, false, report, context, summary, error);
}

int pg_seglog_repair(const char *dir, pg_seglog_finding_fn *report, void *context,
                     struct pg_seglog_summary *summary, struct pg_error *error)
{
    return start(dir, true, report, context, summary, error);
}
