/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_SEGMENT_FILE_H
#define PG_SEGMENT_FILE_H

/* The format of segment files, and walking through one: for segment_log.c and segment_check.c.
 * Segments are those of one directory, given by a descriptor of it. */

#include "segment_log.h"

#define PG_SEGMENT_VERSION    1u
#define PG_SEGMENT_BATCH_HEAD 24u
#define PG_SEGMENT_NAME_MAX   32

/* What a header says. */
struct pg_segment_header {
    uint32_t version, number;
    uint64_t first_sequence; /* of its first batch */
    uint32_t salt;           /* drawn at random once per log; in every batch's check sum */
};

/* A segment file in memory. */
struct pg_segment {
    struct pg_segment_header header; /* if `known` */
    bool known;                      /* at least one copy of the header is sound */
    bool whole;                      /* both are, and agree, and name this file's number */
    bool blank;                      /* nothing but zeros, or nothing */
    uint8_t *data;
    size_t size, room; /* of data: what is in the file, and what it can hold */
};

struct pg_segment_list {
    uint32_t *numbers; /* ascending */
    size_t count;
    size_t unfinished; /* files that were never renamed to a segment's name */
};

enum pg_segment_event_kind {
    PG_SEGMENT_BATCH,  /* a sound batch with a body */
    PG_SEGMENT_FILLER, /* a sound filler: what a repair put where something was lost */
    PG_SEGMENT_DAMAGE, /* a range that is neither */
    PG_SEGMENT_TAIL,   /* of the last segment: a bad batch with nothing sound behind it */
};

struct pg_segment_event {
    enum pg_segment_event_kind kind;
    size_t offset, bytes; /* the whole range, a batch's header included */
    uint64_t sequence;    /* of a batch; of a filler: that of the batch behind it */
    struct pg_bytes body; /* of a batch */
};

/* Nonzero ends the walk. */
typedef int pg_segment_event_fn(void *context, const struct pg_segment_event *event);

/* Where a walk is in the log: across segments. */
struct pg_segment_walk {
    bool begun;        /* `sequence` is known */
    uint64_t sequence; /* what the next batch must have */
    size_t end;        /* where the last segment walked ends: behind its last sound batch */
};

/* Open and lock the directory; the descriptor, or a negative errno with the error set. */
int pg_segment_open_dir(const char *dir, bool create, struct pg_error *error);
void pg_segment_name(uint32_t number, char name[PG_SEGMENT_NAME_MAX]);
/* The segments that are there. `remove`: unlink unfinished files. */
int pg_segment_list(int dir_fd, bool remove, struct pg_segment_list *list);
/* Read a segment into one that is all zeros, or in place of what was read before, the memory of
 * which is used again; free with pg_segment_unload(), also after an error. It is read, not mapped:
 * a bad sector is then an error and not a signal, and nobody can shorten it while it is looked
 * at. */
int pg_segment_load(int dir_fd, uint32_t number, struct pg_segment *segment);
void pg_segment_unload(struct pg_segment *segment);
/* Walk through the batches of a segment whose header is known. The sequence goes on from `walk`. */
int pg_segment_walk(const struct pg_segment *segment, bool last, struct pg_segment_walk *walk,
                    pg_segment_event_fn *event, void *context);

void pg_segment_put_header(uint8_t to[PG_SEGLOG_HEADER_BYTES],
                           const struct pg_segment_header *header);
/* A batch's header; the body is the ranges, and behind it come zeros up to a multiple of eight
 * bytes. With filler: `sequence` as in struct pg_segment_event. */
void pg_segment_put_batch(uint8_t to[PG_SEGMENT_BATCH_HEAD], bool filler,
                          const struct pg_segment_header *header, uint32_t offset,
                          uint64_t sequence, const struct iovec *ranges, int count);

/* Write all of the ranges (which are used up). */
int pg_segment_write(int fd, struct iovec *ranges, int count, uint64_t offset);
/* A new segment under its final name, synced if asked, with `bytes` of disk behind it; returns a
 * descriptor for reading and writing. Nothing is left behind on error. */
int pg_segment_create(int dir_fd, const struct pg_segment_header *header, uint64_t bytes,
                      const uint8_t *data, size_t size, bool sync);

#endif
