/* SPDX-License-Identifier: Apache-2.0 */

/* The log: one line per event to standard error, as key=value text or as a JSON object.
 *
 *   2026-11-25T02:03:04.123Z info event=listening address=127.0.0.1:1883
 *   {"time":"2026-11-25T02:03:04.123Z","level":"info","event":"listening","address":"..."}
 *
 * A line is built in a buffer on the stack and leaves in one write(2), so that lines of several
 * threads do not mix; there is no lock and no allocation. Values are escaped (escape.h), and those
 * from peers are bounded, so that none of them crowds out the other fields. Each call
 * site may write PG_LOG_SITE_LIMIT lines a second; the first line of a later second tells how many
 * were left out (suppressed=N). A line that standard error refuses is lost; a pipe that is full and
 * not read makes the writer wait, so whoever collects the log must read it. Any thread. */

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"
#include "log.h"

/* Kept free while fields are added: for suppressed=N, cut=yes, the brace and the line break. */
#define TAIL_ROOM 64

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic int log_level = PG_INFO;
static _Atomic int log_format = PG_LOG_TEXT;
static _Atomic int log_fd = STDERR_FILENO;

void pg_log_configure(enum pg_log_format format, enum pg_level level)
{
    atomic_store_explicit(&log_format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void pg_log_to(int fd)
{
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

/* Whether this site may write now, and how many of its lines were left out before this one. */
static bool site_admits(struct pg_log_site *site, uint32_t *suppressed)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    /* + 1: a site that never wrote has second 0, which must not be the present one. */
    int64_t now = (int64_t)ts.tv_sec + 1;
    int64_t seen = atomic_load_explicit(&site->second, memory_order_relaxed);
    if (seen != now && atomic_compare_exchange_strong_explicit(
                           &site->second, &seen, now, memory_order_relaxed, memory_order_relaxed))
        atomic_store_explicit(&site->written, 0, memory_order_relaxed);
    uint32_t most = site->limit > 0 ? site->limit : PG_LOG_SITE_LIMIT;
    if (atomic_fetch_add_explicit(&site->written, 1, memory_order_relaxed) >= most) {
        atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
    return true;
}

static void add_key(struct pg_text *line, bool json, const char *key)
{
    pg_text_addf(line, json ? ",\"%s\":" : " %s=", key);
}

static void add_hex(struct pg_text *line, struct pg_bytes bytes)
{
    if (line->room - line->len < 2) {
        line->cut = true;
        return;
    }
    line->room -= 1; /* for the closing quote */
    pg_text_add(line, PG_BYTES_OF("\""));
    pg_text_add_hex(line, bytes);
    line->room += 1;
    pg_text_add(line, PG_BYTES_OF("\""));
}

#define VALUE_MARK "..."

/* A value from a peer: at most PG_LOG_VALUE_MAX bytes, whose end shows whether there was more. True
 * if it was cut and the line goes on. */
static bool add_bounded(struct pg_text *line, const struct pg_field *field, enum pg_quoting quoting)
{
    size_t room = line->room;
    size_t bound = line->len + PG_LOG_VALUE_MAX - (sizeof(VALUE_MARK) - 1);
    bool bounded = bound + sizeof(VALUE_MARK) - 1 <= room;
    if (bounded)
        line->room = bound;
    if (field->kind == PG_FIELD_HEX)
        add_hex(line, field->v.bytes);
    else
        pg_text_add_quoted(line, field->v.bytes, quoting);
    line->room = room;
    if (!bounded || !line->cut)
        return false;
    line->cut = false;
    line->len--; /* the closing quote comes behind the mark */
    pg_text_add(line, PG_BYTES_OF(VALUE_MARK "\""));
    return true;
}

/* True if a value was cut and the line goes on; line->cut if the line is full. */
static bool add_field(struct pg_text *line, bool json, const struct pg_field *field)
{
    enum pg_quoting quoting = json ? PG_QUOTE_JSON : PG_QUOTE_LOG;
    size_t start = line->len;
    add_key(line, json, field->key);
    if (line->cut)
        return false;
    bool cut = false;
    switch (field->kind) {
    case PG_FIELD_TEXT:
        pg_text_add_quoted(line, pg_bytes_str(field->v.text ? field->v.text : ""), quoting);
        break;
    case PG_FIELD_BYTES:
    case PG_FIELD_HEX:
        cut = add_bounded(line, field, quoting);
        break;
    case PG_FIELD_INT:
        pg_text_addf(line, "%lld", (long long)field->v.number);
        break;
    }
    if (line->cut && line->data[line->len - 1] == (json ? ':' : '='))
        line->len = start; /* nothing of the value fits: no key without one */
    return cut;
}

static void add_head(struct pg_text *line, bool json, enum pg_level level, const char *event)
{
    struct timespec ts;
    struct tm tm;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    pg_text_addf(line,
                 json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"event\":\"%s\""
                      : "%s.%03ldZ %s event=%s",
                 stamp, ts.tv_nsec / 1000000, level_names[level], event);
}

static void write_line(const char *data, size_t len)
{
    int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
    int saved_errno = errno;
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        data += n;
        len -= (size_t)n;
    }
    errno = saved_errno;
}

void pg_log_write(struct pg_log_site *site, enum pg_level level, const char *event,
                  const struct pg_field *fields, size_t count)
{
    uint32_t suppressed;
    if ((int)level < atomic_load_explicit(&log_level, memory_order_relaxed) ||
        !site_admits(site, &suppressed))
        return;

    char buffer[PG_LOG_LINE_MAX];
    struct pg_text line = {.data = buffer, .room = sizeof(buffer) - TAIL_ROOM};
    bool json = atomic_load_explicit(&log_format, memory_order_relaxed) == PG_LOG_JSON;
    add_head(&line, json, level, event);
    bool cut = false;
    for (size_t i = 0; i < count && !line.cut; i++)
        cut = add_field(&line, json, &fields[i]) || cut;

    line.room = sizeof(buffer);
    cut = cut || line.cut;
    if (suppressed > 0) {
        add_key(&line, json, "suppressed");
        pg_text_addf(&line, "%u", (unsigned)suppressed);
    }
    if (cut) {
        add_key(&line, json, "cut");
        pg_text_addf(&line, json ? "true" : "yes");
    }
    pg_text_add(&line, json ? PG_BYTES_OF("}\n") : PG_BYTES_OF("\n"));
    write_line(line.data, line.len);
}
