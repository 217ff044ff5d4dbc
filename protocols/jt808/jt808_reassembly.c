/* SPDX-License-Identifier: Apache-2.0 */

/* Reassembly of sub-packaged messages, for one terminal.
 *
 * A pending message holds its packages in a sorted array that grows by what arrives. By the
 * standard the packages of a message carry consecutive serials, so serial - index + 1 names the
 * message; real terminals send other frames between and break the sequence. A package therefore
 * joins the pending message with the same id, total and first serial; else the only pending one
 * with the same id and total that lacks this index; else it opens a new one.
 *
 * A message that is complete leaves behind a record (id, total, and a serial and a hash of the
 * bytes for each package) for some minutes: when our answer was lost the terminal sends packages
 * again, which must be answered but not delivered twice. The hash keeps a terminal that starts its
 * serials anew from losing a message for it.
 *
 * Limits: bytes of one message, bytes and number of all pending ones, age. A message that passes
 * one is given up as a whole; its place stays taken while packages of it come, so that they do
 * not start it anew. Nothing is kept over the loss of the connection: terminals then
 * start again with new serials, and those that go on are asked for what is missing.
 *
 * threads   one at a time for one object
 */

#include "jt808_reassembly.h"

#include <stdlib.h>
#include <string.h>

/* Completed messages that are remembered, and for how long: longer than a terminal goes on with
 * its retransmissions (T1 of some 10 s, then twice, six times as long). */
#define REMEMBERED  8u
#define REMEMBER_MS INT64_C(180000)

struct package {
    uint16_t index;
    uint16_t serial;
    uint32_t hash;
    uint8_t *bytes; /* NULL if the package is empty */
    size_t len;
};

struct pending {
    struct pending *next;
    struct jt808_frame header; /* of the package that came first */
    uint16_t first_serial;     /* as that one had it */
    struct package *packages;  /* ascending by index */
    size_t count, room;
    size_t bytes;
    bool refused; /* a limit was passed: nothing is kept, what still comes of it is refused too */
    int64_t progress_ms; /* when the latest new package came */
    int64_t asked_ms;    /* when missing ones were asked for; from then the next wait counts */
    unsigned asks;
};

struct trace {
    uint16_t serial;
    uint32_t hash;
};

struct completed {
    uint16_t msg_id;
    uint16_t total;
    int64_t at_ms;
    struct trace *traces; /* `total` of them, by index; NULL: the place is free */
};

struct jt808_reassembly {
    struct jt808_reassembly_limits limits;
    struct pending *pending;
    unsigned pending_count;
    size_t bytes;
    struct completed completed[REMEMBERED];
    unsigned next_completed;
    uint8_t *delivered; /* the body of the message given out last */
};

struct jt808_reassembly *jt808_reassembly_open(const struct jt808_reassembly_limits *limits)
{
    struct jt808_reassembly *r = calloc(1, sizeof(*r));

    if (r) {
        r->limits = *limits;
    }
    return r;
}

/* What a message costs: its bytes and the bookkeeping, so that empty packages are not free. */
static size_t cost_of(const struct pending *p)
{
    return p->bytes + p->count * sizeof(struct package);
}

static void packages_free(struct jt808_reassembly *r, struct pending *p)
{
    r->bytes -= cost_of(p);
    for (size_t i = 0; i < p->count; i++) {
        free(p->packages[i].bytes);
    }
    free(p->packages);
    p->packages = NULL;
    p->count = p->room = p->bytes = 0;
}

static void give_up(struct jt808_reassembly *r, struct pending *p)
{
    for (struct pending **link = &r->pending; *link; link = &(*link)->next) {
        if (*link == p) {
            *link = p->next;
            break;
        }
    }
    r->pending_count--;
    packages_free(r, p);
    free(p);
}

void jt808_reassembly_close(struct jt808_reassembly **reassembly)
{
    struct jt808_reassembly *r = *reassembly;

    if (!r) {
        return;
    }
    while (r->pending) {
        give_up(r, r->pending);
    }
    for (unsigned i = 0; i < REMEMBERED; i++) {
        free(r->completed[i].traces);
    }
    free(r->delivered);
    free(r);
    *reassembly = NULL;
}

/* FNV-1a: told apart must be the packages of one terminal, not those of an adversary, who gains
 * nothing but the loss of his own message. */
static uint32_t hash_of(struct pg_bytes bytes)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ bytes.data[i]) * 16777619u;
    }
    return hash;
}

static uint16_t first_serial_of(const struct jt808_frame *frame)
{
    return (uint16_t)(frame->serial - frame->package_index + 1);
}

/* The place of `index`: where it is, or where it would have to be put in. */
static size_t place_of(const struct pending *p, unsigned index, bool *present)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->packages[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *present = low < p->count && p->packages[low].index == index;
    return low;
}

static bool was_completed(const struct jt808_reassembly *r, const struct jt808_frame *frame,
                          uint32_t hash, int64_t now_ms)
{
    for (unsigned i = 0; i < REMEMBERED; i++) {
        const struct completed *c = &r->completed[i];
        if (c->traces && c->msg_id == frame->msg_id && c->total == frame->package_total &&
            now_ms - c->at_ms < REMEMBER_MS) {
            const struct trace *t = &c->traces[frame->package_index - 1];
            if (t->serial == frame->serial && t->hash == hash) {
                return true;
            }
        }
    }
    return false;
}

/* The pending message that this package belongs to, or NULL for a new one. */
static struct pending *owner_of(const struct jt808_reassembly *r, const struct jt808_frame *frame)
{
    struct pending *lacking = NULL;
    unsigned lacking_count = 0;

    for (struct pending *p = r->pending; p; p = p->next) {
        if (p->header.msg_id != frame->msg_id || p->header.package_total != frame->package_total) {
            continue;
        }
        bool present;
        size_t at = place_of(p, frame->package_index, &present);
        if (p->first_serial == first_serial_of(frame) ||
            (present && p->packages[at].serial == frame->serial)) {
            return p;
        }
        if (!present) {
            lacking = p;
            lacking_count++;
        }
    }
    return lacking_count == 1 ? lacking : NULL;
}

static struct pending *pending_new(struct jt808_reassembly *r, const struct jt808_frame *frame)
{
    struct pending *p = calloc(1, sizeof(*p));

    if (p) {
        p->header = *frame;
        p->header.body = PG_BYTES_NONE;
        p->header.content = PG_BYTES_NONE;
        p->first_serial = first_serial_of(frame);
        p->next = r->pending;
        r->pending = p;
        r->pending_count++;
    }
    return p;
}

static bool store(struct jt808_reassembly *r, struct pending *p, size_t at,
                  const struct jt808_frame *frame, uint32_t hash)
{
    if (p->count == p->room) {
        size_t room = p->room ? p->room * 2 : 8;
        struct package *grown = realloc(p->packages, room * sizeof(*grown));
        if (!grown) {
            return false;
        }
        p->packages = grown;
        p->room = room;
    }
    uint8_t *copy = NULL;
    if (frame->body.len > 0) {
        copy = malloc(frame->body.len);
        if (!copy) {
            return false;
        }
        memcpy(copy, frame->body.data, frame->body.len);
    }
    memmove(p->packages + at + 1, p->packages + at, (p->count - at) * sizeof(*p->packages));
    p->packages[at] = (struct package){.index = frame->package_index,
                                       .serial = frame->serial,
                                       .hash = hash,
                                       .bytes = copy,
                                       .len = frame->body.len};
    p->count++;
    p->bytes += frame->body.len;
    r->bytes += frame->body.len + sizeof(struct package);
    return true;
}

/* Leave a record of the completed message. Without memory there is none, and a repetition would
 * be delivered a second time: at least once is what is promised. */
static void remember(struct jt808_reassembly *r, const struct pending *p, int64_t now_ms)
{
    struct completed *c = &r->completed[r->next_completed];

    r->next_completed = (r->next_completed + 1) % REMEMBERED;
    free(c->traces);
    *c = (struct completed){.msg_id = p->header.msg_id,
                            .total = p->header.package_total,
                            .at_ms = now_ms,
                            .traces = calloc(p->count, sizeof(struct trace))};
    for (size_t i = 0; c->traces && i < p->count; i++) {
        c->traces[i].serial = p->packages[i].serial;
        c->traces[i].hash = p->packages[i].hash;
    }
}

static enum jt808_part_result deliver(struct jt808_reassembly *r, struct pending *p, int64_t now_ms,
                                      struct jt808_frame *message)
{
    uint8_t *body = malloc(p->bytes ? p->bytes : 1);
    size_t len = 0;

    if (!body) {
        give_up(r, p);
        return JT808_PART_NO_MEMORY;
    }
    for (size_t i = 0; i < p->count; i++) {
        if (p->packages[i].len > 0) {
            memcpy(body + len, p->packages[i].bytes, p->packages[i].len);
            len += p->packages[i].len;
        }
    }
    r->delivered = body;
    *message = p->header;
    message->serial = p->packages[0].serial;
    message->package_index = 1;
    message->body = (struct pg_bytes){.data = body, .len = len};
    remember(r, p, now_ms);
    give_up(r, p);
    return JT808_PART_COMPLETE;
}

enum jt808_part_result jt808_reassembly_add(struct jt808_reassembly *r,
                                            const struct jt808_frame *frame, int64_t now_ms,
                                            struct jt808_frame *message)
{
    free(r->delivered);
    r->delivered = NULL;
    if (!jt808_frame_is_subpackage(frame) || frame->package_index == 0 ||
        frame->package_index > frame->package_total) {
        return JT808_PART_INVALID;
    }
    uint32_t hash = hash_of(frame->body);
    struct pending *p = owner_of(r, frame);
    bool present = false;
    size_t at = p ? place_of(p, frame->package_index, &present) : 0;

    if (present) {
        return JT808_PART_DUPLICATE;
    }
    if (was_completed(r, frame, hash, now_ms)) {
        return JT808_PART_REPEATED;
    }
    if (!p) {
        if (r->pending_count >= r->limits.pending) {
            return JT808_PART_REFUSED;
        }
        p = pending_new(r, frame);
        if (!p) {
            return JT808_PART_NO_MEMORY;
        }
    }
    p->progress_ms = now_ms;
    p->asked_ms = now_ms;
    if (p->refused) {
        return JT808_PART_REFUSED;
    }
    size_t cost = frame->body.len + sizeof(struct package);
    bool fits =
        cost_of(p) + cost <= r->limits.message_bytes && r->bytes + cost <= r->limits.total_bytes;
    if (!fits || !store(r, p, at, frame, hash)) {
        packages_free(r, p);
        p->refused = true;
        return fits ? JT808_PART_NO_MEMORY : JT808_PART_REFUSED;
    }
    if (p->count == p->header.package_total) {
        return deliver(r, p, now_ms, message);
    }
    return JT808_PART_STORED;
}

/* ---- what is missing, and when -------------------------------------------------------------- */

static int64_t due_at(const struct jt808_reassembly *r, const struct pending *p)
{
    int64_t drop = p->progress_ms + r->limits.age_ms;
    int64_t ask =
        !p->refused && p->asks < r->limits.asks ? p->asked_ms + r->limits.ask_ms : PG_NEVER;

    return ask < drop ? ask : drop;
}

int64_t jt808_reassembly_deadline(const struct jt808_reassembly *r)
{
    int64_t earliest = PG_NEVER;

    for (const struct pending *p = r->pending; p; p = p->next) {
        int64_t at = due_at(r, p);
        earliest = at < earliest ? at : earliest;
    }
    return earliest;
}

static void list_missing(const struct pending *p, struct jt808_missing *out)
{
    size_t at = 0;

    memset(out, 0, sizeof(*out));
    out->header = p->header;
    out->received = (uint16_t)p->count;
    out->first_serial = p->packages[0].index == 1 ? p->packages[0].serial : p->first_serial;
    for (unsigned index = 1; index <= p->header.package_total; index++) {
        if (at < p->count && p->packages[at].index == index) {
            at++;
        } else if (out->count < JT808_MISSING_MAX) {
            out->ids[out->count++] = (uint16_t)index;
        } else {
            break;
        }
    }
}

enum jt808_due jt808_reassembly_due(struct jt808_reassembly *r, int64_t now_ms,
                                    struct jt808_missing *missing)
{
    for (struct pending *p = r->pending, *next; p; p = next) {
        next = p->next;
        if (due_at(r, p) > now_ms) {
            continue;
        }
        bool refused = p->refused;
        if (!refused) {
            list_missing(p, missing);
        }
        if (now_ms - p->progress_ms >= r->limits.age_ms) {
            give_up(r, p);
            if (refused) {
                continue; /* told when it was refused */
            }
            return JT808_DUE_DROP;
        }
        p->asks++;
        p->asked_ms = now_ms;
        if (p->packages[0].index == 1) {
            missing->first_body =
                (struct pg_bytes){.data = p->packages[0].bytes, .len = p->packages[0].len};
        }
        return JT808_DUE_ASK;
    }
    return JT808_DUE_NOTHING;
}

unsigned jt808_reassembly_pending(const struct jt808_reassembly *r)
{
    return r->pending_count;
}

size_t jt808_reassembly_bytes(const struct jt808_reassembly *r)
{
    return r->bytes;
}
