/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_WRITER_H
#define MQTT_WRITER_H

/* Writes the elements of packets, or only counts them: the length of a packet and its bytes come
 * out of the same walk, made twice. Private to the codec. */

#include <string.h>

#include "mqtt_codec.h"

struct mqtt_writer {
    uint8_t *data; /* NULL: a dry run that counts */
    size_t len;
    bool failed; /* something that cannot be encoded */
};

static inline void mqtt_put_u8(struct mqtt_writer *w, unsigned value)
{
    if (w->data != NULL) {
        w->data[w->len] = (uint8_t)value;
    }
    w->len++;
}

static inline void mqtt_put_u16(struct mqtt_writer *w, unsigned value)
{
    mqtt_put_u8(w, value >> 8);
    mqtt_put_u8(w, value & 0xFF);
}

static inline void mqtt_put_u32(struct mqtt_writer *w, uint32_t value)
{
    mqtt_put_u16(w, value >> 16);
    mqtt_put_u16(w, value & 0xFFFF);
}

static inline void mqtt_put_raw(struct mqtt_writer *w, struct pg_bytes bytes)
{
    if (w->data != NULL && bytes.len > 0) {
        memcpy(w->data + w->len, bytes.data, bytes.len);
    }
    w->len += bytes.len;
}

/* A string or binary data: two bytes of length, then the bytes. */
static inline void mqtt_put_bytes(struct mqtt_writer *w, struct pg_bytes bytes)
{
    if (bytes.len > UINT16_MAX) {
        w->failed = true;
        return;
    }
    mqtt_put_u16(w, (unsigned)bytes.len);
    mqtt_put_raw(w, bytes);
}

static inline void mqtt_put_varint(struct mqtt_writer *w, size_t value)
{
    if (value > MQTT_LENGTH_MAX) {
        w->failed = true;
        return;
    }
    while (value >= 0x80) {
        mqtt_put_u8(w, (unsigned)(value & 0x7F) | 0x80u);
        value >>= 7;
    }
    mqtt_put_u8(w, (unsigned)value);
}

static inline size_t mqtt_varint_size(size_t value)
{
    return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

#endif
