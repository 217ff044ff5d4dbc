/* SPDX-License-Identifier: Apache-2.0 */

/* The way out of polygatectl store export: each thing of the store as one line. Bytes that are text
 * are a string, others {"base64": ...}; what is absent or false is left out. */

#include <stdlib.h>
#include <string.h>

#include "ctl_store_json.h"
#include "ctl_store_text.h"
#include "wire/base64.h"

struct writing {
    struct pg_store_exporter base; /* first */
    FILE *to;
    struct pg_error *error;
    struct ctl_store_counts counts;
};

static struct writing *of(struct pg_store_restorer *restorer)
{
    return (struct writing *)restorer;
}

/* ---- values --------------------------------------------------------------------------------- */

static json_t *bytes(struct pg_bytes value)
{
    json_t *text =
        value.len == 0 ? json_string("") : json_stringn((const char *)value.data, value.len);
    if (text)
        return text;
    size_t len = wire_base64_len(value.len);
    char *base64 = malloc(len);
    if (base64) {
        wire_base64_encode(value, base64);
        text = json_pack("{s:s%}", "base64", base64, len);
    }
    free(base64);
    return text;
}

/* Take the reference; a line that is not whole is found by its last member, see write_line(). */
static void put(json_t *to, const char *key, json_t *value)
{
    if (json_object_set_new(to, key, value) != 0)
        (void)json_object_set_new(to, "failed", json_true());
}

static void put_bytes(json_t *to, const char *key, struct pg_bytes value)
{
    if (value.data)
        put(to, key, bytes(value));
}

static void put_number(json_t *to, const char *key, uint64_t value)
{
    if (value != 0)
        put(to, key, json_integer((json_int_t)value));
}

static void put_flag(json_t *to, const char *key, bool value)
{
    if (value)
        put(to, key, json_true());
}

static json_t *line(const char *kind)
{
    return json_pack("{s:s}", "kind", kind);
}

/* Takes the reference. */
static bool write_line(struct writing *w, json_t *object)
{
    bool whole = object && !json_object_get(object, "failed");
    bool ok = whole && json_dumpf(object, w->to, JSON_COMPACT) == 0 && fputc('\n', w->to) != EOF;
    json_decref(object);
    if (!ok)
        pg_error_set(w->error, "%s", whole ? "the output cannot be written" : "out of memory");
    return ok;
}

/* ---- things --------------------------------------------------------------------------------- */

static json_t *message(const struct pg_msg *msg)
{
    json_t *m = json_object();
    put_bytes(m, "topic", msg->topic);
    put_bytes(m, "payload", msg->payload);
    put_number(m, "qos", msg->qos);
    put_flag(m, "retain", msg->retain);
    put_flag(m, "topic_valid", msg->topic_valid);
    uint32_t left_s = pg_msg_expiry_left_s(msg);
    if (left_s != PG_FOREVER)
        put(m, "expires", json_integer((json_int_t)(pg_wall_ms() / 1000 + left_s)));
    put_bytes(m, "publisher", msg->publisher);
    if (msg->protocol[0] != '\0')
        put_bytes(m, "protocol", pg_bytes_str(msg->protocol));
    const struct pg_msg_props *props = msg->props;
    if (!props)
        return m;
    put_flag(m, "utf8", props->payload_is_utf8);
    put_flag(m, "bytes", props->payload_is_bytes);
    put_bytes(m, "content_type", props->content_type);
    put_bytes(m, "response_topic", props->response_topic);
    put_bytes(m, "correlation_data", props->correlation_data);
    json_t *list = json_array();
    for (size_t i = 0; i < props->user_count; i++) {
        json_t *pair = json_array();
        if (json_array_append_new(pair, bytes(props->user[i].name)) != 0 ||
            json_array_append_new(pair, bytes(props->user[i].value)) != 0 ||
            json_array_append(list, pair) != 0)
            put_flag(m, "failed", true);
        json_decref(pair);
    }
    if (props->user_count > 0)
        put(m, "properties", list);
    else
        json_decref(list);
    return m;
}

static json_t *subscription(const struct pg_subscription *sub)
{
    json_t *s = json_object();
    put_bytes(s, "filter", sub->filter);
    put_number(s, "qos", sub->qos);
    put_number(s, "retain_handling", sub->retain_handling);
    put_flag(s, "no_local", sub->no_local);
    put_flag(s, "retain_as_published", sub->retain_as_published);
    put_flag(s, "internal", sub->internal);
    put_number(s, "id", sub->id);
    return s;
}

static bool on_session(struct pg_store_restorer *restorer, const struct pg_restored_session *s)
{
    struct writing *w = of(restorer);
    json_t *object = line("session"), *subs = json_array(), *receipts = json_array();
    put_bytes(object, "client", s->record.client_id);
    put(object, "expiry_s", json_integer(s->record.expiry_s));
    put_number(object, "detached", s->record.detached_wall_s);
    bool ok = true;
    for (size_t i = 0; i < s->sub_count; i++)
        ok = json_array_append_new(subs, subscription(&s->subs[i])) == 0 && ok;
    for (size_t i = 0; i < s->receipt_count; i++)
        ok = json_array_append_new(receipts, json_integer(s->receipts[i])) == 0 && ok;
    put(object, "subscriptions", subs);
    put(object, "receipts", receipts);
    put_flag(object, "failed", !ok);
    w->counts.sessions++;
    return write_line(w, object);
}

static bool on_retained(struct pg_store_restorer *restorer, struct pg_msg *msg)
{
    struct writing *w = of(restorer);
    json_t *object = line("retained");
    put(object, "message", message(msg));
    w->counts.retained++;
    return write_line(w, object);
}

static bool on_will(struct pg_store_restorer *restorer, const struct pg_will_record *will)
{
    struct writing *w = of(restorer);
    json_t *object = line("will");
    put_bytes(object, "client", will->client_id);
    put_bytes(object, "username", will->username);
    put_number(object, "delay_s", will->delay_s);
    put_number(object, "due", will->due_wall_s);
    if (will->expires)
        put(object, "expiry_s", json_integer(will->expiry_s));
    put(object, "message", message(will->msg));
    w->counts.wills++;
    return write_line(w, object);
}

static bool on_fact(struct pg_store_restorer *restorer, struct pg_bytes space, struct pg_bytes key,
                    struct pg_bytes value, uint32_t expires_wall_s)
{
    struct writing *w = of(restorer);
    json_t *object = line("fact");
    put(object, "space", bytes(space));
    put(object, "key", bytes(key));
    put(object, "value", bytes(value));
    put_number(object, "expires", expires_wall_s);
    w->counts.facts++;
    return write_line(w, object);
}

static json_t *entry(const struct pg_store_queued *queued)
{
    const struct pg_store_entry *e = &queued->entry;
    json_t *o = json_object();
    put_bytes(o, "client", queued->client_id);
    put(o, "number", json_integer((json_int_t)e->number));
    put_number(o, "qos", e->qos);
    put_flag(o, "retain", e->retain);
    put_flag(o, "direct", e->direct);
    put(o, "expires", json_integer(queued->expires_wall_s));
    if (e->share.len > 0)
        put_bytes(o, "share", e->share);
    if (e->id_count > 0) {
        json_t *ids = json_array();
        for (uint16_t i = 0; i < e->id_count; i++)
            put_flag(o, "failed", json_array_append_new(ids, json_integer(e->ids[i])) != 0);
        put(o, "ids", ids);
    }
    if (queued->sent) {
        put(o, "packet_id", json_integer(queued->packet_id));
        put(o, "order", json_integer((json_int_t)queued->order));
        put_flag(o, "received", queued->received);
    }
    return o;
}

static bool on_message(struct pg_store_exporter *exporter, const struct pg_store_message *m)
{
    struct writing *w = (struct writing *)exporter;
    json_t *object = line("message"), *queues = json_array();
    put(object, "message", message(m->msg));
    put_bytes(object, "receiver", m->receiver);
    if (m->receiver.data)
        put(object, "packet_id", json_integer(m->packet_id));
    bool ok = true;
    for (size_t i = 0; i < m->count; i++)
        ok = json_array_append_new(queues, entry(&m->entries[i])) == 0 && ok;
    put(object, "queues", queues);
    put_flag(object, "failed", !ok);
    w->counts.messages++;
    w->counts.entries += m->count;
    return write_line(w, object);
}

bool ctl_store_write(const char *dir, FILE *to, struct pg_error *error)
{
    struct writing w = {.base = {.base = {.session = on_session,
                                          .retained = on_retained,
                                          .will = on_will,
                                          .fact = on_fact},
                                 .message = on_message},
                        .to = to,
                        .error = error};
    json_t *head = line("store");
    put(head, "version", json_integer(CTL_STORE_VERSION));
    error->text[0] = '\0';
    struct pg_error why;
    if (!write_line(&w, head))
        return false;
    if (!pg_store_disk_export(dir, &w.base, NULL, &why)) {
        if (error->text[0] == '\0')
            *error = why;
        return false;
    }
    json_t *end = line("end");
    put(end, "sessions", json_integer((json_int_t)w.counts.sessions));
    put(end, "messages", json_integer((json_int_t)w.counts.messages));
    if (!write_line(&w, end))
        return false;
    if (fflush(to) == 0)
        return true;
    pg_error_set(error, "the output cannot be written");
    return false;
}
