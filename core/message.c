/* SPDX-License-Identifier: Apache-2.0 */

/* Messages: immutable, reference-counted, one allocation each.
 *
 * The allocation holds, in this order, struct pg_msg, then (only if there are any) struct
 * pg_msg_props with its array of user properties, then every byte string. Any thread may hold a
 * reference; the last one to let go frees. Encodings that frontends leave with a message are the
 * only thing added after it was made: a list that is pushed to with compare-and-swap and freed
 * with the message.
 *
 * A worker makes and ends messages all the time, many at once and of few sizes: so threads like it
 * keep the blocks of those that end on them for the next ones (pg_messages_keep). */

#include "message.h"

#include <stdlib.h>
#include <string.h>

#include "poison.h"

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

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Sizes go by steps, and longer blocks than these are not kept. */
#define SPARE_STEP  32u
#define SPARE_SIZES 32u
/* What a thread keeps of all sizes together: what some ten busy publishers have under way. */
#define SPARE_BYTES_MAX (1024u * 1024)

struct spare_block {
    struct spare_block *next;
};

static _Thread_local struct {
    bool on;
    size_t bytes;
    struct spare_block *of_size[SPARE_SIZES]; /* [n]: of n + 1 steps */
} spare;

static size_t steps_of(size_t bytes)
{
    return (bytes + SPARE_STEP - 1) / SPARE_STEP;
}

static void *take_spare(size_t steps)
{
    struct spare_block *block = spare.of_size[steps - 1];
    if (block) {
        PG_UNPOISON(block, steps * SPARE_STEP);
        spare.of_size[steps - 1] = block->next;
        spare.bytes -= steps * SPARE_STEP;
    }
    return block;
}

static void *new_block(size_t bytes)
{
    size_t steps = steps_of(bytes);
    if (steps > SPARE_SIZES)
        return malloc(bytes);
    void *block = take_spare(steps);
    return block ? block : malloc(steps * SPARE_STEP);
}

static void free_block(void *memory, size_t bytes)
{
    size_t steps = steps_of(bytes);
    if (!spare.on || steps > SPARE_SIZES || spare.bytes + steps * SPARE_STEP > SPARE_BYTES_MAX) {
        free(memory);
        return;
    }
    struct spare_block *block = memory;
    block->next = spare.of_size[steps - 1];
    spare.of_size[steps - 1] = block;
    spare.bytes += steps * SPARE_STEP;
    PG_POISON(block, steps * SPARE_STEP);
}

void pg_messages_keep(bool on)
{
    spare.on = on;
    for (size_t steps = 1; !on && steps <= SPARE_SIZES; steps++) {
        void *block;
        while ((block = take_spare(steps)))
            free(block);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

struct pg_msg *pg_msg_new(const struct pg_msg_spec *spec)
{
    bool with_props = has_props(&spec->props);
    size_t props_size = 0, text_size = spec->topic.len + spec->payload.len + spec->publisher.len;
    if (with_props) {
        props_size =
            sizeof(struct pg_msg_props) + spec->props.user_count * sizeof(struct pg_property);
        text_size += props_text_size(&spec->props);
    }
    struct pg_msg *msg = new_block(sizeof(*msg) + props_size + text_size);
    if (!msg)
        return NULL;

    void *props_room = msg + 1;
    struct packer p = {.at = (uint8_t *)props_room + props_size};
    int64_t now = pg_now_ms();
    atomic_init(&msg->refs, 1);
    msg->qos = spec->qos;
    msg->retain = spec->retain;
    msg->id = make_id();
    msg->created_ms = now;
    msg->expires_ms = spec->expires ? now + (int64_t)spec->expiry_s * 1000 : PG_NEVER;
    msg->topic = pack(&p, spec->topic);
    msg->topic_valid = spec->topic_valid;
    msg->payload = pack(&p, spec->payload);
    msg->publisher = pack(&p, spec->publisher);
    msg->protocol = spec->protocol ? spec->protocol : "";
    msg->props = with_props ? pack_props(&p, props_room, &spec->props) : NULL;
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
    if (!msg)
        return;
    /* Who holds the only reference has nobody to agree with. */
    if (atomic_load_explicit(&msg->refs, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct pg_encoding *e = atomic_load_explicit(&msg->encodings, memory_order_relaxed);
    while (e) {
        struct pg_encoding *next = e->next;
        free(e);
        e = next;
    }
    free_block(msg, pg_msg_size(msg));
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
