/* SPDX-License-Identifier: Apache-2.0 */

/* The way in of polygatectl store import: lines of JSON, each checked before the store sees any of
 * it. A member that is not known is refused, for it may be what somebody relies on. The first line
 * says the version, the last one that nothing is missing. */

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_store_json.h"
#include "ctl_store_text.h"
#include "wire/base64.h"

/* Longest line: one message, which a frontend does not take if it is longer than 256 MiB, in
 * base64, and its entries. */
#define LINE_MAX_BYTES ((size_t)1024 * 1024 * 1024)

/* One line while it is read. What its values point to lives in the JSON, or in `held`. */
struct reading {
    struct pg_store_import *import;
    struct pg_error *error;
    struct ctl_store_counts counts;
    uint64_t line;
    json_t *object;
    uint8_t **held;
    size_t held_count, held_cap;
    bool failed; /* error->text says why */
};

static void refuse(struct reading *r, const char *what, const char *key)
{
    if (!r->failed)
        pg_error_set(r->error, "line %llu: %s%s%s", (unsigned long long)r->line, what,
                     key[0] ? ": " : "", key);
    r->failed = true;
}

/* Memory that lives as long as the line. NULL with r->failed. */
static void *hold(struct reading *r, size_t size)
{
    if (r->held_count == r->held_cap) {
        size_t cap = r->held_cap * 2 + 16;
        uint8_t **held = realloc(r->held, cap * sizeof(*held));
        if (!held) {
            refuse(r, "out of memory", "");
            return NULL;
        }
        r->held = held;
        r->held_cap = cap;
    }
    uint8_t *data = calloc(1, size > 0 ? size : 1);
    if (!data)
        refuse(r, "out of memory", "");
    else
        r->held[r->held_count++] = data;
    return data;
}

/* ---- members -------------------------------------------------------------------------------- */

/* Every member must have one of these names, which end with NULL. */
static void expect_only(struct reading *r, json_t *object, const char *const *names)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        refuse(r, "an object is missing", "");
        return;
    }
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            refuse(r, "a member that this program does not know", key);
    }
}

static struct pg_bytes bytes_of(struct reading *r, json_t *value, const char *key)
{
    if (json_is_string(value))
        return (struct pg_bytes){.data = (const uint8_t *)json_string_value(value),
                                 .len = json_string_length(value)};
    json_t *base64 = json_object_get(value, "base64");
    if (!json_is_string(base64) || json_object_size(value) != 1) {
        refuse(r, "neither text nor base64", key);
        return PG_BYTES_NONE;
    }
    size_t len = json_string_length(base64);
    struct pg_bytes out = {.data = hold(r, len / 4 * 3)};
    if (out.data && !wire_base64_decode(json_string_value(base64), len,
                                        (uint8_t *)(uintptr_t)out.data, &out.len))
        refuse(r, "not base64", key);
    return out;
}

/* Absent: PG_BYTES_NONE. */
static struct pg_bytes get_bytes(struct reading *r, json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return value ? bytes_of(r, value, key) : PG_BYTES_NONE;
}

static struct pg_bytes need_bytes(struct reading *r, json_t *object, const char *key)
{
    if (!json_object_get(object, key))
        refuse(r, "a member is missing", key);
    return get_bytes(r, object, key);
}

static uint64_t number_of(struct reading *r, json_t *value, const char *key, uint64_t max)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max) {
        refuse(r, "not a number that it may be", key);
        return 0;
    }
    return (uint64_t)number;
}

static uint64_t get_number(struct reading *r, json_t *object, const char *key, uint64_t max,
                           uint64_t fallback)
{
    json_t *value = json_object_get(object, key);
    return value ? number_of(r, value, key, max) : fallback;
}

static bool get_flag(struct reading *r, json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        refuse(r, "neither true nor false", key);
    return json_is_true(value);
}

/* The length of a list, which may be absent; at most `max`. */
static size_t list_of(struct reading *r, json_t *object, const char *key, size_t max, json_t **list)
{
    *list = json_object_get(object, key);
    if (*list && (!json_is_array(*list) || json_array_size(*list) > max)) {
        refuse(r, "not a list, or too long", key);
        *list = NULL;
    }
    return json_array_size(*list);
}

/* ---- things --------------------------------------------------------------------------------- */

static const struct pg_property *read_properties(struct reading *r, json_t *object, size_t *count)
{
    json_t *list;
    *count = list_of(r, object, "properties", 65536, &list);
    struct pg_property *user = hold(r, *count * sizeof(*user));
    for (size_t i = 0; user && i < *count; i++) {
        json_t *pair = json_array_get(list, i);
        if (json_array_size(pair) != 2) {
            refuse(r, "not a list of pairs", "properties");
            break;
        }
        user[i].name = bytes_of(r, json_array_get(pair, 0), "properties");
        user[i].value = bytes_of(r, json_array_get(pair, 1), "properties");
    }
    return user;
}

/* With one reference; NULL with r->failed. */
static struct pg_msg *read_message(struct reading *r, bool retained)
{
    static const char *const names[] = {"topic",
                                        "payload",
                                        "qos",
                                        "retain",
                                        "topic_valid",
                                        "expires",
                                        "publisher",
                                        "protocol",
                                        "utf8",
                                        "bytes",
                                        "content_type",
                                        "response_topic",
                                        "correlation_data",
                                        "properties",
                                        NULL};
    json_t *m = json_object_get(r->object, "message");
    expect_only(r, m, names);
    struct pg_msg_spec spec = {
        .topic = need_bytes(r, m, "topic"),
        .payload = need_bytes(r, m, "payload"),
        .qos = (uint8_t)get_number(r, m, "qos", 2, 0),
        .retain = get_flag(r, m, "retain"),
        .topic_valid = get_flag(r, m, "topic_valid"),
        .expires = json_object_get(m, "expires") != NULL,
        .publisher = get_bytes(r, m, "publisher"),
        .props = {.payload_is_utf8 = get_flag(r, m, "utf8"),
                  .payload_is_bytes = get_flag(r, m, "bytes"),
                  .content_type = get_bytes(r, m, "content_type"),
                  .response_topic = get_bytes(r, m, "response_topic"),
                  .correlation_data = get_bytes(r, m, "correlation_data")},
    };
    uint64_t expires = get_number(r, m, "expires", UINT32_MAX, 0);
    uint64_t now = (uint64_t)(pg_wall_ms() / 1000);
    spec.expiry_s = expires > now ? (uint32_t)(expires - now) : 0;
    spec.props.user = read_properties(r, m, &spec.props.user_count);
    spec.protocol = pg_store_protocol_name(get_bytes(r, m, "protocol"));
    if (!r->failed && (retained || spec.topic_valid) && pg_topic_name_valid(spec.topic) != PG_OK)
        refuse(r, "not the name of a topic", "topic");
    if (r->failed)
        return NULL;
    struct pg_msg *msg = pg_msg_new(&spec);
    if (!msg)
        refuse(r, "out of memory", "");
    return msg;
}

static void read_subscription(struct reading *r, json_t *object, struct pg_subscription *sub)
{
    static const char *const names[] = {"filter",   "qos", "retain_handling",
                                        "no_local", "id",  "retain_as_published",
                                        "internal", NULL};
    expect_only(r, object, names);
    *sub = (struct pg_subscription){
        .filter = need_bytes(r, object, "filter"),
        .qos = (uint8_t)get_number(r, object, "qos", 2, 0),
        .retain_handling = (uint8_t)get_number(r, object, "retain_handling", 2, 0),
        .no_local = get_flag(r, object, "no_local"),
        .retain_as_published = get_flag(r, object, "retain_as_published"),
        .internal = get_flag(r, object, "internal"),
        .id = (uint32_t)get_number(r, object, "id", UINT32_MAX, 0),
    };
}

static void read_session(struct reading *r)
{
    static const char *const names[] = {"kind",          "client",   "expiry_s", "detached",
                                        "subscriptions", "receipts", NULL};
    json_t *list, *receipts;
    expect_only(r, r->object, names);
    struct pg_restored_session session = {
        .record = {.client_id = need_bytes(r, r->object, "client"),
                   .expiry_s = (uint32_t)get_number(r, r->object, "expiry_s", UINT32_MAX, 0),
                   .detached_wall_s =
                       (uint32_t)get_number(r, r->object, "detached", UINT32_MAX, 0)},
    };
    session.sub_count = list_of(r, r->object, "subscriptions", 1u << 24, &list);
    session.receipt_count = list_of(r, r->object, "receipts", UINT16_MAX, &receipts);
    struct pg_subscription *subs = hold(r, session.sub_count * sizeof(*subs));
    uint16_t *ids = hold(r, session.receipt_count * sizeof(*ids));
    for (size_t i = 0; subs && i < session.sub_count; i++)
        read_subscription(r, json_array_get(list, i), &subs[i]);
    for (size_t i = 0; ids && i < session.receipt_count; i++)
        ids[i] = (uint16_t)number_of(r, json_array_get(receipts, i), "receipts", UINT16_MAX);
    session.subs = subs;
    session.receipts = ids;
    struct pg_error why;
    if (!r->failed && !pg_store_import_session(r->import, &session, &why))
        refuse(r, why.text, "");
    r->counts.sessions++;
}

static void read_retained(struct reading *r)
{
    static const char *const names[] = {"kind", "message", NULL};
    struct pg_error why;
    expect_only(r, r->object, names);
    struct pg_msg *msg = read_message(r, true);
    if (msg && !pg_store_import_retained(r->import, msg, &why))
        refuse(r, why.text, "");
    pg_msg_unref(&msg);
    r->counts.retained++;
}

static void read_will(struct reading *r)
{
    static const char *const names[] = {"kind", "client",   "username", "delay_s",
                                        "due",  "expiry_s", "message",  NULL};
    struct pg_error why;
    expect_only(r, r->object, names);
    struct pg_will_record will = {
        .client_id = need_bytes(r, r->object, "client"),
        .username = get_bytes(r, r->object, "username"),
        .delay_s = (uint32_t)get_number(r, r->object, "delay_s", UINT32_MAX, 0),
        .due_wall_s = (uint32_t)get_number(r, r->object, "due", UINT32_MAX, 0),
        .expires = json_object_get(r->object, "expiry_s") != NULL,
        .expiry_s = (uint32_t)get_number(r, r->object, "expiry_s", UINT32_MAX, 0),
        .msg = read_message(r, true),
    };
    if (!r->failed && !pg_store_import_will(r->import, &will, &why))
        refuse(r, why.text, "");
    pg_msg_unref(&will.msg);
    r->counts.wills++;
}

static void read_fact(struct reading *r)
{
    static const char *const names[] = {"kind", "space", "key", "value", "expires", NULL};
    struct pg_error why;
    expect_only(r, r->object, names);
    struct pg_bytes space = need_bytes(r, r->object, "space");
    struct pg_bytes key = need_bytes(r, r->object, "key");
    struct pg_bytes value = need_bytes(r, r->object, "value");
    uint32_t expires = (uint32_t)get_number(r, r->object, "expires", UINT32_MAX, 0);
    if (!r->failed && !pg_store_import_fact(r->import, space, key, value, expires, &why))
        refuse(r, why.text, "");
    r->counts.facts++;
}

static void read_entry(struct reading *r, json_t *o, struct pg_store_queued *to)
{
    static const char *const names[] = {"client",    "number",  "qos",      "retain",
                                        "direct",    "expires", "share",    "ids",
                                        "packet_id", "order",   "received", NULL};
    json_t *list;
    expect_only(r, o, names);
    size_t count = list_of(r, o, "ids", UINT16_MAX, &list);
    uint32_t *ids = hold(r, count * sizeof(*ids));
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = (uint32_t)number_of(r, json_array_get(list, i), "ids", UINT32_MAX);
    *to = (struct pg_store_queued){
        .client_id = need_bytes(r, o, "client"),
        .entry = {.number = get_number(r, o, "number", INT64_MAX - 1, 0),
                  .qos = (uint8_t)get_number(r, o, "qos", 2, 0),
                  .retain = get_flag(r, o, "retain"),
                  .direct = get_flag(r, o, "direct"),
                  .share = get_bytes(r, o, "share"),
                  .ids = ids,
                  .id_count = (uint16_t)count},
        .expires_wall_s = (uint32_t)get_number(r, o, "expires", UINT32_MAX, UINT32_MAX),
        .sent = json_object_get(o, "packet_id") != NULL,
        .received = get_flag(r, o, "received"),
        .packet_id = (uint16_t)get_number(r, o, "packet_id", UINT16_MAX, 0),
        .order = get_number(r, o, "order", INT64_MAX, 0),
    };
    if (to->entry.number == 0)
        refuse(r, "not a number that it may be", "number");
    if (to->entry.share.len > UINT16_MAX)
        refuse(r, "too long", "share");
}

static void read_queued(struct reading *r)
{
    static const char *const names[] = {"kind", "message", "receiver", "packet_id", "queues", NULL};
    struct pg_error why;
    json_t *list;
    expect_only(r, r->object, names);
    size_t count = list_of(r, r->object, "queues", 1u << 28, &list);
    struct pg_store_queued *entries = hold(r, count * sizeof(*entries));
    for (size_t i = 0; entries && i < count; i++)
        read_entry(r, json_array_get(list, i), &entries[i]);
    struct pg_store_message message = {
        .msg = read_message(r, false),
        .entries = entries,
        .count = count,
        .receiver = get_bytes(r, r->object, "receiver"),
        .packet_id = (uint16_t)get_number(r, r->object, "packet_id", UINT16_MAX, 0),
    };
    if (!r->failed && !pg_store_import_message(r->import, &message, &why))
        refuse(r, why.text, "");
    pg_msg_unref(&message.msg);
    r->counts.messages++;
    r->counts.entries += count;
}

static void read_head(struct reading *r)
{
    static const char *const names[] = {"kind", "version", NULL};
    expect_only(r, r->object, names);
    if (get_number(r, r->object, "version", INT64_MAX, 0) != CTL_STORE_VERSION)
        refuse(r, "of a version that this program does not know", "version");
}

static void read_end(struct reading *r)
{
    static const char *const names[] = {"kind", "sessions", "messages", NULL};
    expect_only(r, r->object, names);
    if (get_number(r, r->object, "sessions", INT64_MAX, 0) != r->counts.sessions ||
        get_number(r, r->object, "messages", INT64_MAX, 0) != r->counts.messages)
        refuse(r, "lines are missing: there are not as many as the last one says", "");
}

/* ---- lines ---------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    void (*read)(struct reading *r);
} kinds[] = {
    {"store", read_head}, {"session", read_session}, {"retained", read_retained},
    {"will", read_will},  {"fact", read_fact},       {"message", read_queued},
    {"end", read_end},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* *ended: it was the last line that there may be. */
static void read_line(struct reading *r, const char *text, size_t len, bool *ended)
{
    json_error_t why;
    r->object = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    const char *name = json_string_value(json_object_get(r->object, "kind"));
    size_t i = 0;
    while (name && i < KINDS && strcmp(kinds[i].name, name) != 0)
        i++;
    if (!r->object)
        refuse(r, "not JSON", why.text);
    else if (!name || i == KINDS)
        refuse(r, "not a kind of line that this program knows", name ? name : "");
    else if (*ended || (r->line == 1) != (i == 0))
        refuse(r, *ended ? "something comes after the end" : "the first line must be of the store",
               "");
    else
        kinds[i].read(r);
    *ended = !r->failed && i == KINDS - 1;
    json_decref(r->object);
    while (r->held_count > 0)
        free(r->held[--r->held_count]);
}

static void read_lines(struct reading *r, FILE *from)
{
    char *text = NULL;
    size_t cap = 0;
    bool ended = false;
    ssize_t len;
    while (!r->failed && (len = getline(&text, &cap, from)) > 0) {
        r->line++;
        if ((size_t)len > LINE_MAX_BYTES)
            refuse(r, "too long", "");
        else
            read_line(r, text, (size_t)len, &ended);
    }
    if (!r->failed && !ended)
        refuse(r, "the end is missing", "");
    free(text);
    free(r->held);
}

/* What an import made that failed. */
static void remove_store(const char *dir)
{
    static const char *const parts[] = {"log", "."};
    for (size_t i = 0; i < 2; i++) {
        char path[4096], file[4400];
        snprintf(path, sizeof(path), "%s/%s", dir, parts[i]);
        DIR *folder = opendir(path);
        for (struct dirent *e; folder && (e = readdir(folder)) != NULL;) {
            size_t len = strlen(e->d_name);
            snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
            if ((i == 0 && len > 4 && strcmp(e->d_name + len - 4, ".seg") == 0) ||
                strcmp(e->d_name, "data.mdb") == 0 || strcmp(e->d_name, "lock.mdb") == 0)
                unlink(file);
        }
        if (folder)
            closedir(folder);
        if (i == 0)
            rmdir(path);
    }
}

bool ctl_store_read(const char *dir, FILE *from, struct ctl_store_counts *counts,
                    struct pg_error *error)
{
    bool began;
    struct reading r = {.error = error};
    r.import = pg_store_disk_import(dir, &began, error);
    if (!r.import) {
        if (began)
            remove_store(dir);
        return false;
    }
    read_lines(&r, from);
    *counts = r.counts;
    struct pg_error why;
    if (!pg_store_import_end(&r.import, !r.failed, &why) && !r.failed)
        refuse(&r, why.text, "");
    if (r.failed)
        remove_store(dir);
    return !r.failed;
}
