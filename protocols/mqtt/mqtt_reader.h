/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_READER_H
#define MQTT_READER_H

/* Reads the elements of packets: a cursor that remembers the first rule that was broken. Getters
 * behind an error return zero or an empty range. Private to the codec. */

#include "mqtt_codec.h"
#include "mqtt_text.h"
#include "wire/cursor.h"

struct mqtt_reader {
    struct cursor c;
    enum mqtt_error error; /* of a rule; shortage is in c.failed until mqtt_reader_end() */
};

static inline struct mqtt_reader mqtt_reader_of(struct pg_bytes in)
{
    return (struct mqtt_reader){.c = cursor_of(in), .error = MQTT_E_OK};
}

/* Keep the first rule that was broken. A shortage before it came first. */
static inline void mqtt_reader_fail(struct mqtt_reader *r, enum mqtt_error error)
{
    if (r->error == MQTT_E_OK) {
        r->error = r->c.failed ? MQTT_E_TRUNCATED : error;
    }
    r->c.failed = true;
    r->c.at = r->c.end;
}

static inline uint16_t mqtt_read_packet_id(struct mqtt_reader *r)
{
    uint16_t id = cursor_u16(&r->c);
    if (id == 0) {
        mqtt_reader_fail(r, MQTT_E_PACKET_ID);
    }
    return id;
}

static inline struct pg_bytes mqtt_read_binary(struct mqtt_reader *r)
{
    return cursor_take(&r->c, cursor_u16(&r->c));
}

/* A UTF-8 encoded string; `flags` gets MQTT_TEXT_* if it is not NULL. */
static inline struct pg_bytes mqtt_read_text(struct mqtt_reader *r, unsigned *flags)
{
    struct pg_bytes text = mqtt_read_binary(r);
    unsigned found = mqtt_text_check(text);
    if ((found & MQTT_TEXT_INVALID) != 0) {
        mqtt_reader_fail(r, MQTT_E_TEXT);
    }
    if (flags != NULL) {
        *flags = found;
    }
    return text;
}

/* A string that names something (client, user, topic, filter): it becomes part of logs, rules and
 * topics, so what a receiver may refuse is refused: control characters and non-characters
 * (1.5.4.1). */
static inline struct pg_bytes mqtt_read_name(struct mqtt_reader *r, unsigned *flags)
{
    unsigned found;
    struct pg_bytes text = mqtt_read_text(r, &found);
    if ((found & MQTT_TEXT_CONTROL) != 0) {
        mqtt_reader_fail(r, MQTT_E_CONTROL);
    }
    if (flags != NULL) {
        *flags = found;
    }
    return text;
}

/* A variable byte integer (1.5.5): one to four bytes, as few as the value needs. */
static inline uint32_t mqtt_read_varint(struct mqtt_reader *r)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte = cursor_u8(&r->c);
        value |= (uint32_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            if (i > 0 && byte == 0) {
                mqtt_reader_fail(r, MQTT_E_LENGTH_NOT_MINIMAL);
            }
            return value;
        }
    }
    mqtt_reader_fail(r, MQTT_E_INTEGER);
    return 0;
}

/* The verdict at the end of a packet: every byte must have been read. */
static inline enum mqtt_error mqtt_reader_end(struct mqtt_reader *r)
{
    if (r->error == MQTT_E_OK && r->c.failed) {
        r->error = MQTT_E_TRUNCATED;
    }
    if (r->error == MQTT_E_OK && cursor_left(&r->c) > 0) {
        r->error = MQTT_E_TRAILING;
    }
    return r->error;
}

#endif
