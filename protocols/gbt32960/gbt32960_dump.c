/* SPDX-License-Identifier: Apache-2.0 */

/* Frames and tables for people: the annotated dump of a frame (the header by hand, for it is no
 * table, the unit by its rows), and the catalogue of all tables.
 *
 * standard  GB/T 32960.3-2016, -2025: 6.2 (header)
 */

#include <stdarg.h>
#include <stdio.h>

#include "gbt32960_json.h"
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

static const char *or_unknown(const char *name)
{
    return name != NULL ? name : "(unknown)";
}

static void put_head(struct json_out *out, const struct gbt_frame *frame,
                     const struct gbt_message *message)
{
    char id[GBT_ID_TEXT];

    gbt_id_text(frame->id, id);
    for (char *at = id; *at != '\0'; at++) {
        *at = *at >= ' ' && *at < 0x7f ? *at : '.';
    }
    put(out, "0x0000  %s      start            edition %u\n",
        frame->edition == GBT_2025 ? "2424" : "2323", frame->edition);
    put(out, "0x0002  %02x        command          0x%02x %s\n", frame->command, frame->command,
        message != NULL ? message->name : "(unknown)");
    put(out, "0x0003  %02x        response         %s\n", frame->response,
        or_unknown(gbt_response_name(frame->response)));
    put(out, "0x0004            id               %s\n", id);
    put(out, "0x0015  %02x        encryption       %s\n", frame->encryption,
        or_unknown(gbt_encryption_name(frame->encryption, frame->edition)));
    put(out, "0x0016  %04zx      unit length      %zu\n", frame->unit.len, frame->unit.len);
}

void gbt_dump(struct json_out *out, const struct gbt_frame *frame, bool uplink)
{
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);
    const struct wire_row *rows = gbt_rows_of(frame, uplink);

    put_head(out, frame, message);
    if (rows == NULL || gbt_frame_is_opaque(frame)) {
        put(out, "unit (%s, %zu bytes):\n", rows == NULL ? "unknown command" : "encrypted",
            frame->unit.len);
        wire_dump_bytes(out, frame->unit);
        return;
    }
    put(out, "unit:\n");
    unsigned faults = wire_dump(out, rows, frame->unit, GBT_HEAD_LEN, frame->edition, WIRE_GBK);
    wire_dump_faults(out, faults);
}

void gbt_catalogue(struct json_out *out)
{
    for (size_t i = 0; i < gbt_message_count; i++) {
        const struct gbt_message *m = &gbt_messages[i];
        put(out, "0x%02x %s (%s%s%s%s)\n", m->command, m->name, m->what, m->up ? ", up" : "",
            m->down ? ", down" : "", m->since != 0 ? ", since 2025" : "");
        wire_list_rows(out, m->rows);
        put(out, "\n");
    }
    put(out, "Information types of 0x02 and 0x03\n\n");
    wire_list_items(out, &gbt_items);
    put(out, "\nParameters of 0x80 and 0x81\n\n");
    wire_list_items(out, &gbt_parameters);
}
