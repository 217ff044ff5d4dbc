/* SPDX-License-Identifier: Apache-2.0 */

/* The bytes of the embedded store: messages, and the records of its log. No state, no I/O.
 *
 * All numbers are little-endian. A batch is a byte with its version (1), then records, each of
 * which begins with a byte for its type; the log's checksum covers all of it. Fields in order:
 *
 *   1 MESSAGE   length u32 of the whole record, message
 *   2 ENTRY     session u32, number u64, flags u8, segment u32, offset u32, size u32, expires u32;
 *               with flag VIA: length u16 and share, count u16 and identifiers u32 each
 *   3 SETTLE    session u32, number u64
 *   4 SEND      session u32, number u64, packet identifier u16, order u64
 *   5 RECEIVED  session u32, number u64
 *   6 RECEIVE   session u32, packet identifier u16, segment u32, offset u32, size u32 (size 0: the
 *               message is with everybody already)
 *   7 ROUTED    session u32, packet identifier u16
 *   8 RELEASE   session u32, packet identifier u16
 *   9 NOTE      nothing: tries whether the disk works
 *  10 DROP      as SETTLE: given up because of a quota
 *
 * segment, offset and size are the place of a MESSAGE record; segment 0 means the batch itself,
 * with an offset from its start. Flags: bits 0-1 QoS, 2 retain, 3 direct, 4 VIA. `order` rises with
 * each SEND, so that copies do not change the order of sending. Records of a session that is not in
 * the maps are dead: session numbers are never used again.
 *
 * A message: created u64 (Unix time, ms), deadline u32 (Unix time, s; UINT32_MAX: never), flags u8
 * (bits 0-1 QoS, 2 retain, 3 topic valid, 4 UTF-8, 5 bytes), topic, payload, publisher, protocol,
 * content type, response topic, correlation data, count u32 of user properties with name and value.
 * Texts have a length u32 in front, UINT32_MAX when absent. */

#include "store_disk_copy.h"
#include "store_disk_parts.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *room(struct pg_disk_buffer *to, size_t n)
{
    if (to->failed)
        return NULL;
    if (to->cap - to->len < n) {
        size_t cap = to->cap ? to->cap : 4096;
        while (cap - to->len < n)
            cap *= 2;
        uint8_t *data = realloc(to->data, cap);
        if (!data) {
            to->failed = true;
            return NULL;
        }
        to->data = data;
        to->cap = cap;
    }
    uint8_t *at = to->data + to->len;
    to->len += n;
    return at;
}

static void put_number(struct pg_disk_buffer *to, uint64_t value, unsigned bytes)
{
    uint8_t *at = room(to, bytes);
    for (unsigned i = 0; at && i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void pg_disk_put_u8(struct pg_disk_buffer *to, uint8_t value)
{
    put_number(to, value, 1);
}

void pg_disk_put_u16(struct pg_disk_buffer *to, uint16_t value)
{
    put_number(to, value, 2);
}

void pg_disk_put_u32(struct pg_disk_buffer *to, uint32_t value)
{
    put_number(to, value, 4);
}

void pg_disk_put_u64(struct pg_disk_buffer *to, uint64_t value)
{
    put_number(to, value, 8);
}

void pg_disk_put_raw(struct pg_disk_buffer *to, struct pg_bytes bytes)
{
    if (bytes.len == 0)
        return;
    uint8_t *at = room(to, bytes.len);
    if (at)
        memcpy(at, bytes.data, bytes.len);
}

void pg_disk_put_bytes(struct pg_disk_buffer *to, struct pg_bytes bytes)
{
    pg_disk_put_u32(to, bytes.data ? (uint32_t)bytes.len : UINT32_MAX);
    if (bytes.data)
        pg_disk_put_raw(to, bytes);
}

struct pg_disk_reader pg_disk_reader(struct pg_bytes bytes)
{
    return (struct pg_disk_reader){.at = bytes.data, .end = bytes.data + bytes.len};
}

struct pg_bytes pg_disk_get_raw(struct pg_disk_reader *from, size_t length)
{
    if ((size_t)(from->end - from->at) < length) {
        from->failed = true;
        from->at = from->end;
        return PG_BYTES_NONE;
    }
    struct pg_bytes out = {.data = from->at, .len = length};
    from->at += length;
    return out;
}

static uint64_t get_number(struct pg_disk_reader *from, unsigned bytes)
{
    struct pg_bytes raw = pg_disk_get_raw(from, bytes);
    uint64_t value = 0;
    for (size_t i = 0; i < raw.len; i++)
        value |= (uint64_t)raw.data[i] << (8 * i);
    return value;
}

uint8_t pg_disk_get_u8(struct pg_disk_reader *from)
{
    return (uint8_t)get_number(from, 1);
}

uint16_t pg_disk_get_u16(struct pg_disk_reader *from)
{
    return (uint16_t)get_number(from, 2);
}

uint32_t pg_disk_get_u32(struct pg_disk_reader *from)
{
    return (uint32_t)get_number(from, 4);
}

uint64_t pg_disk_get_u64(struct pg_disk_reader *from)
{
    return get_number(from, 8);
}

struct pg_bytes pg_disk_get_bytes(struct pg_disk_reader *from)
{
    uint32_t length = pg_disk_get_u32(from);
    return length == UINT32_MAX ? PG_BYTES_NONE : pg_disk_get_raw(from, length);
}

/* ---- messages ------------------------------------------------------------------------------- */

enum { MSG_RETAIN = 4, MSG_TOPIC_VALID = 8, MSG_UTF8 = 16, MSG_BINARY = 32 };

uint32_t pg_disk_now_s(void)
{
    return (uint32_t)(pg_wall_ms() / 1000);
}

uint32_t pg_disk_msg_deadline(const struct pg_msg *msg)
{
    uint32_t left_s = pg_msg_expiry_left_s(msg), now = pg_disk_now_s();
    return left_s >= PG_DISK_NEVER - now ? PG_DISK_NEVER : now + left_s;
}

void pg_disk_put_msg(struct pg_disk_buffer *to, const struct pg_msg *msg, uint32_t deadline)
{
    static const struct pg_msg_props none;
    const struct pg_msg_props *props = msg->props ? msg->props : &none;
    pg_disk_put_u64(to, (uint64_t)(pg_wall_ms() - (pg_now_ms() - msg->created_ms)));
    pg_disk_put_u32(to, deadline);
    pg_disk_put_u8(to, (uint8_t)((msg->qos & PG_DISK_QOS) | (msg->retain ? MSG_RETAIN : 0) |
                                 (msg->topic_valid ? MSG_TOPIC_VALID : 0) |
                                 (props->payload_is_utf8 ? MSG_UTF8 : 0) |
                                 (props->payload_is_bytes ? MSG_BINARY : 0)));
    pg_disk_put_bytes(to, msg->topic);
    pg_disk_put_bytes(to, msg->payload);
    pg_disk_put_bytes(to, msg->publisher);
    pg_disk_put_bytes(to, pg_bytes_str(msg->protocol));
    pg_disk_put_bytes(to, props->content_type);
    pg_disk_put_bytes(to, props->response_topic);
    pg_disk_put_bytes(to, props->correlation_data);
    pg_disk_put_u32(to, (uint32_t)props->user_count);
    for (size_t i = 0; i < props->user_count; i++) {
        pg_disk_put_bytes(to, props->user[i].name);
        pg_disk_put_bytes(to, props->user[i].value);
    }
}

/* A message points to its protocol's name for as long as the process lives: one copy of each. What
 * is beyond the table, which holds more than there are frontends, becomes nameless. */
const char *pg_store_protocol_name(struct pg_bytes name)
{
    static _Thread_local char names[32][24];
    if (name.len == 0 || name.len >= sizeof(names[0]))
        return "";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i][0] == '\0')
            memcpy(names[i], name.data, name.len);
        if (strlen(names[i]) == name.len && memcmp(names[i], name.data, name.len) == 0)
            return names[i];
    }
    return "";
}

struct pg_msg *pg_disk_get_msg(struct pg_disk_reader *from)
{
    uint64_t made_ms = pg_disk_get_u64(from), now_ms = (uint64_t)pg_wall_ms();
    uint32_t deadline = pg_disk_get_u32(from), now = pg_disk_now_s();
    uint8_t flags = pg_disk_get_u8(from);
    struct pg_msg_spec spec = {
        .qos = flags & PG_DISK_QOS,
        .retain = (flags & MSG_RETAIN) != 0,
        .topic_valid = (flags & MSG_TOPIC_VALID) != 0,
        .expires = deadline != PG_DISK_NEVER,
        .expiry_s = deadline > now ? deadline - now : 0,
        .props.payload_is_utf8 = (flags & MSG_UTF8) != 0,
        .props.payload_is_bytes = (flags & MSG_BINARY) != 0,
    };
    spec.topic = pg_disk_get_bytes(from);
    spec.payload = pg_disk_get_bytes(from);
    spec.publisher = pg_disk_get_bytes(from);
    spec.protocol = pg_store_protocol_name(pg_disk_get_bytes(from));
    spec.props.content_type = pg_disk_get_bytes(from);
    spec.props.response_topic = pg_disk_get_bytes(from);
    spec.props.correlation_data = pg_disk_get_bytes(from);
    uint32_t count = pg_disk_get_u32(from);
    if (count > (size_t)(from->end - from->at) / 8)
        from->failed = true;
    if (from->failed)
        return NULL;
    struct pg_property *user = NULL;
    if (count > 0) {
        user = calloc(count, sizeof(*user));
        if (!user)
            return NULL;
        for (uint32_t i = 0; i < count; i++) {
            user[i].name = pg_disk_get_bytes(from);
            user[i].value = pg_disk_get_bytes(from);
        }
        spec.props.user = user;
        spec.props.user_count = count;
    }
    struct pg_msg *msg = from->failed ? NULL : pg_msg_new(&spec);
    free(user);
    if (msg && made_ms < now_ms) /* else the clock was set back meanwhile */
        msg->created_ms -= (int64_t)(now_ms - made_ms);
    return msg;
}

/* ---- records -------------------------------------------------------------------------------- */

static void put_place(struct pg_disk_buffer *to, struct pg_disk_place place)
{
    pg_disk_put_u32(to, place.segment);
    pg_disk_put_u32(to, place.offset);
    pg_disk_put_u32(to, place.size);
}

static struct pg_disk_place get_place(struct pg_disk_reader *from)
{
    struct pg_disk_place place = {.segment = pg_disk_get_u32(from)};
    place.offset = pg_disk_get_u32(from);
    place.size = pg_disk_get_u32(from);
    return place;
}

void pg_disk_put_step(struct pg_disk_buffer *to, const struct pg_disk_step *step)
{
    pg_disk_put_u8(to, (uint8_t)step->type);
    if (step->type == PG_DISK_NOTE)
        return;
    pg_disk_put_u32(to, step->session);
    if (step->type == PG_DISK_RECEIVE || step->type == PG_DISK_ROUTED ||
        step->type == PG_DISK_RELEASE)
        pg_disk_put_u16(to, step->packet_id);
    else
        pg_disk_put_u64(to, step->number);
    if (step->type == PG_DISK_SEND) {
        pg_disk_put_u16(to, step->packet_id);
        pg_disk_put_u64(to, step->order);
    } else if (step->type == PG_DISK_RECEIVE) {
        put_place(to, step->place);
    } else if (step->type == PG_DISK_ENTRY) {
        pg_disk_put_u8(to, step->flags);
        put_place(to, step->place);
        pg_disk_put_u32(to, step->expires);
        if (step->flags & PG_DISK_VIA) {
            pg_disk_put_u16(to, (uint16_t)step->share.len);
            pg_disk_put_raw(to, step->share);
            pg_disk_put_u16(to, step->id_count);
            pg_disk_put_raw(to, step->ids);
        }
    }
}

bool pg_disk_get_step(struct pg_disk_reader *from, const uint8_t *start, struct pg_disk_step *step)
{
    if (from->at == from->end)
        return false;
    const uint8_t *record = from->at;
    *step = (struct pg_disk_step){.type = pg_disk_get_u8(from)};
    switch (step->type) {
    case PG_DISK_MESSAGE:
        step->place.offset = (uint32_t)(record - start);
        step->place.size = pg_disk_get_u32(from);
        if (step->place.size < PG_DISK_RECORD_MSG_HEAD)
            from->failed = true;
        else
            (void)pg_disk_get_raw(from, step->place.size - PG_DISK_RECORD_MSG_HEAD);
        break;
    case PG_DISK_ENTRY:
        step->session = pg_disk_get_u32(from);
        step->number = pg_disk_get_u64(from);
        step->flags = pg_disk_get_u8(from);
        step->place = get_place(from);
        step->expires = pg_disk_get_u32(from);
        if (step->flags & PG_DISK_VIA) {
            step->share = pg_disk_get_raw(from, pg_disk_get_u16(from));
            step->id_count = pg_disk_get_u16(from);
            step->ids = pg_disk_get_raw(from, 4u * step->id_count);
        }
        break;
    case PG_DISK_SETTLE:
    case PG_DISK_DROP:
    case PG_DISK_RECEIVED:
    case PG_DISK_SEND:
        step->session = pg_disk_get_u32(from);
        step->number = pg_disk_get_u64(from);
        if (step->type == PG_DISK_SEND) {
            step->packet_id = pg_disk_get_u16(from);
            step->order = pg_disk_get_u64(from);
        }
        break;
    case PG_DISK_RECEIVE:
    case PG_DISK_ROUTED:
    case PG_DISK_RELEASE:
        step->session = pg_disk_get_u32(from);
        step->packet_id = pg_disk_get_u16(from);
        if (step->type == PG_DISK_RECEIVE)
            step->place = get_place(from);
        break;
    case PG_DISK_NOTE:
        break;
    default:
        from->failed = true;
    }
    step->whole = (struct pg_bytes){.data = record, .len = (size_t)(from->at - record)};
    return !from->failed;
}
