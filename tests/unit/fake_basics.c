/* SPDX-License-Identifier: Apache-2.0 */

/* The parts of the test double of the core that need no connection: bytes, reasons, log, topics,
 * messages (fake_core.h). */

#include "fake_core.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t live;

size_t fake_live_messages(void)
{
    return live;
}

/* ---- small parts of the ABI ----------------------------------------------------------------- */

struct pg_bytes pg_bytes_str(const char *text)
{
    return (struct pg_bytes){.data = (const uint8_t *)text, .len = strlen(text)};
}

bool pg_bytes_equal(struct pg_bytes a, struct pg_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool pg_bytes_equal_secret(struct pg_bytes a, struct pg_bytes b)
{
    return pg_bytes_equal(a, b);
}

/* 2026-03-01T00:00:00Z at the beginning. */
int64_t pg_wall_ms(void)
{
    return INT64_C(1772323200000) + pg_now_ms();
}

const char *pg_reason_name(enum pg_reason reason)
{
    static char names[PG_REASON_COUNT][32];
    static const char *const upper[] = {
#define NAME_OF(NAME, error, sentence) #NAME,
        PG_REASONS(NAME_OF)
#undef NAME_OF
    };
    for (size_t i = 0; upper[reason][i]; i++) {
        char c = upper[reason][i];
        names[reason][i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    return names[reason];
}

const char *pg_reason_sentence(enum pg_reason reason)
{
    return pg_reason_name(reason);
}

bool pg_reason_is_error(enum pg_reason reason)
{
    return reason != PG_OK;
}

void pg_log_write(struct pg_log_site *site, enum pg_level level, const char *event,
                  const struct pg_field *fields, size_t count)
{
    (void)site;
    if (!getenv("FAKE_LOG")) {
        return;
    }
    fprintf(stderr, "[%d] %s", level, event);
    for (size_t i = 0; i < count; i++) {
        const struct pg_field *f = &fields[i];
        if (f->kind == PG_FIELD_TEXT) {
            fprintf(stderr, " %s=%s", f->key, f->v.text);
        } else if (f->kind == PG_FIELD_INT) {
            fprintf(stderr, " %s=%lld", f->key, (long long)f->v.number);
        } else {
            fprintf(stderr, " %s=%.*s", f->key, f->kind == PG_FIELD_BYTES ? (int)f->v.bytes.len : 0,
                    f->v.bytes.data ? (const char *)f->v.bytes.data : "");
        }
    }
    fprintf(stderr, "\n");
}

void pg_error_set(struct pg_error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}

/* ---- topics --------------------------------------------------------------------------------- */

static bool topic_plain(struct pg_bytes topic, bool wildcards)
{
    if (topic.len == 0 || topic.len > 65535) {
        return false;
    }
    for (size_t i = 0; i < topic.len; i++) {
        if (topic.data[i] == 0 || (!wildcards && (topic.data[i] == '+' || topic.data[i] == '#'))) {
            return false;
        }
    }
    return true;
}

enum pg_reason pg_topic_name_valid(struct pg_bytes topic)
{
    return topic_plain(topic, false) ? PG_OK : PG_TOPIC_INVALID;
}

enum pg_reason pg_topic_filter_valid(struct pg_bytes filter)
{
    return topic_plain(filter, true) ? PG_OK : PG_FILTER_INVALID;
}

bool pg_topic_filter_matches(struct pg_bytes filter, struct pg_bytes topic)
{
    size_t t = 0;

    for (size_t f = 0; f < filter.len; f++) {
        if (filter.data[f] == '#') {
            return true;
        }
        if (filter.data[f] == '+') {
            while (t < topic.len && topic.data[t] != '/') {
                t++;
            }
        } else if (t >= topic.len || topic.data[t++] != filter.data[f]) {
            return false;
        }
    }
    return t == topic.len;
}

bool pg_utf8_valid(struct pg_bytes text)
{
    return topic_plain(text, true);
}

/* ---- messages ------------------------------------------------------------------------------- */

struct whole_msg {
    struct pg_msg msg; /* first: a pointer to it is one to this */
    struct pg_msg_props props;
    uint8_t bytes[];
};

static struct pg_bytes put(struct whole_msg *w, size_t *at, struct pg_bytes in)
{
    if (!in.data) {
        return PG_BYTES_NONE;
    }
    struct pg_bytes out = {.data = w->bytes + *at, .len = in.len};
    memcpy(w->bytes + *at, in.data, in.len);
    *at += in.len;
    return out;
}

struct pg_msg *pg_msg_new(const struct pg_msg_spec *spec)
{
    const struct pg_msg_props *p = &spec->props;
    size_t at = 0;
    struct whole_msg *w =
        calloc(1, sizeof(*w) + spec->topic.len + spec->payload.len + spec->publisher.len +
                      p->content_type.len + p->response_topic.len + p->correlation_data.len);
    assert(w && p->user_count == 0);
    w->msg.refs = 1;
    w->msg.qos = spec->qos;
    w->msg.retain = spec->retain;
    w->msg.topic_valid = spec->topic_valid;
    w->msg.created_ms = pg_now_ms();
    w->msg.expires_ms = spec->expires ? pg_now_ms() + (int64_t)spec->expiry_s * 1000 : PG_NEVER;
    w->msg.topic = put(w, &at, spec->topic);
    w->msg.payload = put(w, &at, spec->payload);
    w->msg.publisher = put(w, &at, spec->publisher);
    w->msg.protocol = spec->protocol;
    w->props.payload_is_utf8 = p->payload_is_utf8;
    w->props.payload_is_bytes = p->payload_is_bytes;
    w->props.content_type = put(w, &at, p->content_type);
    w->props.response_topic = put(w, &at, p->response_topic);
    w->props.correlation_data = put(w, &at, p->correlation_data);
    w->msg.props = &w->props;
    live++;
    return &w->msg;
}

struct pg_msg *pg_msg_ref(struct pg_msg *msg)
{
    msg->refs++;
    return msg;
}

void pg_msg_unref(struct pg_msg **msg)
{
    if (*msg && --(*msg)->refs == 0) {
        while ((*msg)->encodings) {
            struct pg_encoding *e = (*msg)->encodings;
            (*msg)->encodings = e->next;
            free(e);
        }
        live--;
        free(*msg);
    }
    *msg = NULL;
}

bool pg_msg_expired(const struct pg_msg *msg)
{
    return msg->expires_ms <= pg_now_ms();
}

uint32_t pg_msg_expiry_left_s(const struct pg_msg *msg)
{
    return msg->expires_ms == PG_NEVER ? PG_FOREVER
                                       : (uint32_t)((msg->expires_ms - pg_now_ms() + 999) / 1000);
}

const struct pg_encoding *pg_msg_encoding(const struct pg_msg *msg, const void *owner,
                                          uint32_t variant)
{
    const struct pg_encoding *e = msg->encodings;

    while (e && (e->owner != owner || e->variant != variant)) {
        e = e->next;
    }
    return e;
}

const struct pg_encoding *pg_msg_encoding_add(struct pg_msg *msg, const void *owner,
                                              uint32_t variant, struct pg_bytes bytes)
{
    struct pg_encoding *e = malloc(sizeof(*e) + bytes.len);

    assert(e);
    e->next = msg->encodings;
    e->owner = owner;
    e->variant = variant;
    e->len = (uint32_t)bytes.len;
    memcpy(e->bytes, bytes.data, bytes.len);
    msg->encodings = e;
    return e;
}
