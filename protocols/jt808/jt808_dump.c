/* SPDX-License-Identifier: Apache-2.0 */

/* Frames and tables for people: the annotated dump of a frame (the header by hand, for it is no
 * table, the body by its rows), and the catalogue of all tables.
 *
 * standard  JT/T 808-2011/2013/2019, 4.4.3 (header)
 */

#include <stdarg.h>
#include <stdio.h>

#include "jt808_json.h"
#include "wire/table_dump.h"

static void put(struct json_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct json_out *out, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    json_out_put(out, line, n < 0 ? 0 : (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void put_head(struct json_out *out, const struct jt808_frame *frame,
                     const struct jt808_body *body)
{
    unsigned at = frame->header_2019 ? 15 : 10;
    put(out, "0x0000  %04x      id               0x%04x %s\n", frame->msg_id, frame->msg_id,
        body->message != NULL ? body->message->name : "(unknown)");
    put(out, "0x0002  %04x      attributes       length %u, encryption %u%s%s%s\n",
        frame->attributes, jt808_frame_declared_length(frame), jt808_frame_encryption(frame),
        jt808_frame_is_subpackage(frame) ? ", sub-package" : "",
        (frame->attributes & JT808_ATTR_VERSION) != 0 ? ", version flag" : "",
        (frame->attributes & JT808_ATTR_RESERVED) != 0 ? ", reserved bit 15" : "");
    if (frame->header_2019) {
        put(out, "0x0004  %02x        protocol_version %u\n", frame->protocol_version,
            frame->protocol_version);
    }
    put(out, "0x%04x            phone            %s\n", frame->header_2019 ? 5 : 4, frame->phone);
    put(out, "0x%04x  %04x      serial           %u\n", at, frame->serial, frame->serial);
    if (jt808_frame_is_subpackage(frame)) {
        put(out, "0x%04x            package          %u of %u\n", at + 2, frame->package_index,
            frame->package_total);
    }
    for (unsigned i = 0; i < JT808_QUIRK_COUNT; i++) {
        if ((frame->quirks & JT808_QUIRK_BIT(i)) != 0) {
            put(out, "quirk: %s\n", jt808_quirk_name((enum jt808_quirk)i));
        }
    }
}

void jt808_dump(struct json_out *out, const struct jt808_frame *frame, unsigned edition,
                enum wire_charset charset)
{
    static const char *const why[] = {NULL, "unknown message", "encrypted",
                                      "one package of several", "fits no layout"};
    struct jt808_body body;
    size_t base = (frame->header_2019 ? 17u : 12u) + (jt808_frame_is_subpackage(frame) ? 4u : 0u);
    jt808_body_open(frame, edition, &body);
    put_head(out, frame, &body);
    if (body.layout == NULL) {
        put(out, "body (%s, %zu bytes):\n", why[body.opaque], body.bytes.len);
        wire_dump_bytes(out, body.bytes);
        return;
    }
    put(out, "body (%s, layout %s, %s):\n", body.message->clause, body.layout->name,
        body.faults == 0 ? "sound" : "with faults");
    unsigned faults = wire_dump(out, body.layout->rows, body.bytes, base, body.edition, charset);
    wire_dump_faults(out, faults);
}

void jt808_catalogue(struct json_out *out)
{
    for (size_t i = 0; i < jt808_message_count; i++) {
        const struct jt808_message *m = &jt808_messages[i];
        put(out, "0x%04x %s (%s, %s)\n", m->id, m->name, m->up ? "up" : "down", m->clause);
        for (const struct jt808_layout *l = m->layouts; l->rows != NULL; l++) {
            bool only = l == m->layouts && l[1].rows == NULL;
            if (!only) {
                put(out, " layout %s\n", l->name);
            }
            wire_list_rows(out, l->rows);
        }
        put(out, "\n");
    }
    put(out, "Additional items of locations\n\n");
    wire_list_items(out, &jt808_location_items);
    put(out, "\nParameters\n\n");
    wire_list_items(out, &jt808_parameters);
}
