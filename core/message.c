/* SPDX-License-Identifier: Apache-2.0 */

/* Messages: immutable, reference-counted, one allocation each.
 *
 * The allocation holds, in this order, struct pg_msg, then (only if there are any) struct
 * pg_msg_props with its array of user properties, then every byte string. Any thread may hold a
 * reference; the last one to let go frees. Encodings that frontends leave with a message are the
 * only thing added after it was made: a list that is pushed to with compare-and-swap and freed
 * with the message. */

#include "message.h"

#include <stdlib.h>
#include <string.h>

/* Message numbers grow per thread; the thread's own number sits in the top bits. */
#define ID_THREAD_SHIFT 48

static _Atomic uint32_t next_thread = 1;
static _Thread_local uint64_t next_id;

static uint64_t make_id(void)
{
    if (next_id == 0)
        next_id = (uint64_t)atomic_fetch_add(&next_thread, 1) << ID_THREAD_SHIFT;
    return ++next_id;
}

/* Copies byte strings behind each other. */
struct packer {
    uint8_t *at;
};

static struct pg_bytes pack(struct packer *p, struct pg_bytes in)
{
    if (!in.data)
        return PG_BYTES_NONE;
    struct pg_bytes out = {.data = p->at, .len = in.len};
    if (in.len > 0)
        memcpy(p->at, in.data, in.len);
    p->at += in.len;
    return out;
}

static bool has_props(const struct pg_msg_props *p)
{
    return p->payload_is_utf8 || p->payload_is_bytes || p->content_type.data ||
           p->response_topic.data || p->correlation_data.data || p->user_count > 0;
}

static size_t props_text_size(const struct pg_msg_props *p)
{
    size_t n = p->content_type.len + p->response_topic.len + p->correlation_data.len;
    for (size_t i = 0; i < p->user_count; i++)
        n += p->user[i].name.len + p->user[i].value.len;
    return n;
}

static const struct pg_msg_props *pack_props(struct packer *p, void *room,
                                             const struct pg_msg_props *in)
{
    struct pg_msg_props *out = room;
    struct pg_property *user = (struct pg_property *)(out + 1);
    *out = (struct pg_msg_props){
        .payload_is_utf8 = in->payload_is_utf8,
        .payload_is_bytes = in->payload_is_bytes,
        .content_type = pack(p, in->content_type),
        .response_topic = pack(p, in->response_topic),
        .correlation_data = pack(p, in->correlation_data),
        .user = in->user_count > 0 ? user : NULL,
        .user_count = in->user_count,
    };
    for (size_t i = 0; i < in->user_count; i++)
        user[i] = (struct pg_property){
            .name = pack(p, in->user[i].name),
            .value = pack(p, in->user[i].value),
        };
    return out;
}

struct pg_msg *pg_msg_new(const struct pg_msg_spec *spec)
{
    bool with_props = has_props(&spec->props);
    size_t props_size = 0, text_size = spec->topic.len + spec->payload.len + spec->publisher.len;
    if (with_props) {
        props_size =
            sizeof(struct pg_msg_props) + spec->props.user_count * sizeof(struct pg_property);
        text_size += props_text_size(&spec->props);
    }
    struct pg_msg *msg = malloc(sizeof(*msg) + props_size + text_size);
    if (!msg)
        return NULL;

    void *props_room = msg + 1;
    struct packer p = {.at = (uint8_t *)props_room + props_size};
    int64_t now = pg_now_ms();
    *msg = (struct pg_msg){
        .qos = spec->qos,
        .retain = spec->retain,
        .topic_valid = spec->topic_valid,
        .id = make_id(),
        .created_ms = now,
        .expires_ms = spec->expires ? now + (int64_t)spec->expiry_s * 1000 : PG_NEVER,
        .topic = pack(&p, spec->topic),
        .payload = pack(&p, spec->payload),
        .publisher = pack(&p, spec->publisher),
        .protocol = spec->protocol ? spec->protocol : "",
    };
    if (with_props)
        msg->props = pack_props(&p, props_room, &spec->props);
    atomic_init(&msg->refs, 1);
    atomic_init(&msg->encodings, NULL);
    return msg;
}

struct pg_msg *pg_msg_ref(struct pg_msg *msg)
{
    atomic_fetch_add_explicit(&msg->refs, 1, memory_order_relaxed);
    return msg;
}

void pg_msg_unref(struct pg_msg **where)
{
    struct pg_msg *msg = *where;
    *where = NULL;
    if (!msg || atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct pg_encoding *e = atomic_load_explicit(&msg->encodings, memory_order_relaxed);
    while (e) {
        struct pg_encoding *next = e->next;
        free(e);
        e = next;
    }
    free(msg);
}

bool pg_msg_expired(const struct pg_msg *msg)
{
    return msg->expires_ms != PG_NEVER && pg_now_ms() >= msg->expires_ms;
}

uint32_t pg_msg_expiry_left_s(const struct pg_msg *msg)
{
    if (msg->expires_ms == PG_NEVER)
        return PG_FOREVER;
    int64_t left_ms = msg->expires_ms - pg_now_ms();
    return left_ms <= 0 ? 0 : (uint32_t)((left_ms + 999) / 1000);
}

static const struct pg_encoding *find_encoding(const struct pg_encoding *list, const void *owner,
                                               uint32_t variant)
{
    while (list && (list->owner != owner || list->variant != variant))
        list = list->next;
    return list;
}

const struct pg_encoding *pg_msg_encoding(const struct pg_msg *msg, const void *owner,
                                          uint32_t variant)
{
    return find_encoding(atomic_load_explicit(&msg->encodings, memory_order_acquire), owner,
                         variant);
}

const struct pg_encoding *pg_msg_encoding_add(struct pg_msg *msg, const void *owner,
                                              uint32_t variant, struct pg_bytes bytes)
{
    if (bytes.len > UINT32_MAX)
        return NULL;
    struct pg_encoding *e = malloc(sizeof(*e) + bytes.len);
    if (!e)
        return NULL;
    e->owner = owner;
    e->variant = variant;
    e->len = (uint32_t)bytes.len;
    if (bytes.len > 0)
        memcpy(e->bytes, bytes.data, bytes.len);
    e->next = atomic_load_explicit(&msg->encodings, memory_order_acquire);
    do {
        const struct pg_encoding *theirs = find_encoding(e->next, owner, variant);
        if (theirs) {
            free(e);
            return theirs;
        }
    } while (!atomic_compare_exchange_weak_explicit(&msg->encodings, &e->next, e,
                                                    memory_order_acq_rel, memory_order_acquire));
    return e;
}

size_t pg_msg_props_size(const struct pg_msg_props *props)
{
    return sizeof(*props) + props->user_count * sizeof(struct pg_property) + props_text_size(props);
}
