/* SPDX-License-Identifier: Apache-2.0 */

/* Frames as JSON documents and documents as frames.
 *
 * Out: the head is written from the header, the body by the walk of its rows. A unit that cannot be
 * read, or whose JSON would not be whole, is given in hexadecimal and marked. In: the same members,
 * of which only the message (or id) is needed; the rest comes from the vehicle's session.
 *
 * standard  GB/T 32960.3-2016, -2025: 6.2 (header), chapter 7 and Annex B (units)
 */

#include "gbt32960_json.h"

#include <stdio.h>
#include <time.h>

#include "gbt32960_codec.h"
#include "gbt32960_emqx.h"

/* ---- time ----------------------------------------------------------------------------------- */

/* The clock of UTC+8, computed directly: no zone data, no locale. */
static void beijing(int64_t wall_ms, struct tm *tm)
{
    time_t seconds = (time_t)(wall_ms / 1000 + 8 * 3600);

    if (gmtime_r(&seconds, tm) == NULL) {
        *tm = (struct tm){.tm_year = 100, .tm_mday = 1};
    }
}

/* `n` decimal digits of value. */
static void put_digits(char *at, unsigned n, unsigned value)
{
    while (n-- > 0) {
        at[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

void gbt_time_text(int64_t wall_ms, bool milliseconds, char text[GBT_TIME_TEXT])
{
    struct tm tm;
    size_t at = 19;

    beijing(wall_ms, &tm);
    memcpy(text, "0000-00-00T00:00:00.000+08:00", 30);
    put_digits(text, 4, (unsigned)tm.tm_year + 1900);
    put_digits(text + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(text + 8, 2, (unsigned)tm.tm_mday);
    put_digits(text + 11, 2, (unsigned)tm.tm_hour);
    put_digits(text + 14, 2, (unsigned)tm.tm_min);
    put_digits(text + 17, 2, (unsigned)tm.tm_sec % 60);
    if (milliseconds) {
        put_digits(text + 20, 3, (unsigned)(wall_ms % 1000));
        at = 23;
    }
    memcpy(text + at, "+08:00", 7);
}

void gbt_time_bytes(int64_t wall_ms, uint8_t bytes[6])
{
    struct tm tm;

    beijing(wall_ms, &tm);
    const int parts[6] = {tm.tm_year % 100, tm.tm_mon + 1, tm.tm_mday,
                          tm.tm_hour,       tm.tm_min,     tm.tm_sec % 60};
    for (size_t i = 0; i < 6; i++) {
        bytes[i] = (uint8_t)parts[i];
    }
}

/* ---- out ------------------------------------------------------------------------------------ */

static void put_number(struct json_out *out, const char *key, uint64_t value)
{
    json_out_key(out, key);
    json_out_u64(out, value);
}

static void put_word(struct json_out *out, const char *key, const char *value)
{
    json_out_key(out, key);
    json_out_word(out, value);
}

/* The name of a flag, or its number. */
static void put_flag(struct json_out *out, const char *key, const char *name, unsigned value)
{
    if (name != NULL) {
        put_word(out, key, name);
    } else {
        put_number(out, key, value);
    }
}

/* The id, and its bytes where the text would not give them back. */
static void put_id(struct json_out *out, const struct gbt_frame *frame)
{
    char text[GBT_ID_TEXT];
    struct pg_bytes id = {.data = frame->id, .len = GBT_ID_LEN};

    gbt_id_text(frame->id, text);
    size_t len = strlen(text);
    bool ascii = wire_text_is_ascii((struct pg_bytes){.data = frame->id, .len = len});
    json_out_key(out, "vin");
    if (ascii) {
        json_out_text(out, text, len);
    } else {
        json_out_hex(out, id);
    }
    if (!ascii || len != GBT_ID_LEN) {
        json_out_key(out, "vin_raw");
        json_out_hex(out, id);
    }
}

static void put_native_head(struct json_out *out, const struct gbt_frame *frame, bool answer_layout)
{
    json_out_key(out, "id");
    json_out_hexnum(out, frame->command, 2);
    if (gbt_frame_is_answer(frame)) {
        put_flag(out, "response", gbt_response_name(frame->response), frame->response);
    }
    put_id(out, frame);
    if (frame->encryption != GBT_PLAIN) {
        put_flag(out, "encryption", gbt_encryption_name(frame->encryption, frame->edition),
                 frame->encryption);
    }
    if (frame->decrypted) {
        json_out_key(out, "decrypted");
        json_out_bool(out, true);
    }
    if (answer_layout) {
        put_word(out, "layout", "answer");
    }
}

static void put_wire_head(struct json_out *out, const struct gbt_frame *frame, bool answer_layout)
{
    put_number(out, "command", frame->command);
    put_number(out, "response_flag", frame->response);
    put_id(out, frame);
    put_number(out, "encryption_flag", frame->encryption);
    if (frame->decrypted) {
        json_out_key(out, "decrypted");
        json_out_bool(out, true);
    }
    put_number(out, "unit_length", frame->unit.len);
    if (answer_layout) {
        put_word(out, "layout", "answer");
    }
}

static void put_faults(struct json_out *out, unsigned faults)
{
    if (faults == 0) {
        return;
    }
    json_out_key(out, "faults");
    json_out_open(out, '[');
    for (unsigned i = 0; i < WIRE_FAULTS; i++) {
        if ((faults & 1u << i) != 0) {
            json_out_word(out, wire_fault_names[i]);
        }
    }
    json_out_close(out, ']');
}

/* Write, and look for cell voltages in passing. */
struct both {
    struct wire_json json;
    struct gbt_cells *cells;
};

static void visit_both(void *context, const struct wire_event *event)
{
    struct both *both = context;

    wire_json_visit(&both->json, event);
    gbt_cells_visit(both->cells, event);
}

static bool put_fields(struct json_out *out, const struct gbt_frame *frame,
                       const struct wire_row *rows, const struct gbt_json_options *options,
                       struct gbt_json_judgement *judgement)
{
    struct both both; /* wire_json_begin() sets what is read of it */
    struct wire_walked walked;

    both.cells = options->cells;
    wire_json_begin(&both.json, out, options->shape, WIRE_GBK);
    both.json.hide_secrets = options->hide_secrets;
    bool fine = wire_walk(rows, frame->unit, frame->edition,
                          options->cells != NULL ? visit_both : wire_json_visit, &both, &walked);
    judgement->faults = walked.faults;
    judgement->out_of_range = both.json.range_count;
    return fine && wire_json_end(&both.json);
}

static void put_body(struct json_out *out, const struct gbt_frame *frame,
                     const struct gbt_json_options *options, struct gbt_json_judgement *judgement)
{
    const struct wire_row *rows = gbt_rows_of(frame, options->uplink);
    bool opaque = gbt_frame_is_opaque(frame);
    json_out_key(out, "body");
    size_t start = out->len;
    json_out_open(out, '{');
    if (rows != NULL && !opaque) {
        if (put_fields(out, frame, rows, options, judgement)) {
            json_out_close(out, '}');
            return;
        }
        out->len = start;
        judgement->faults |= WIRE_FAULT_BODY;
        json_out_open(out, '{');
    }
    json_out_key(out, opaque ? "ciphertext_hex" : "unknown_hex");
    json_out_hex(out, frame->unit);
    json_out_close(out, '}');
}

bool gbt_json_write(struct json_out *out, const struct gbt_frame *frame,
                    const struct gbt_json_options *options, struct gbt_json_judgement *judgement)
{
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);
    struct gbt_json_judgement found = {0};
    char time[GBT_TIME_TEXT];
    size_t start = out->len;
    bool answer_layout = !gbt_frame_is_answer(frame) &&
                         gbt_rows_of(frame, options->uplink) != gbt_rows_of(frame, false);

    if (options->shape == WIRE_SHAPE_ALIAS) {
        return gbt_emqx_write(out, frame, options, judgement);
    }
    json_out_open(out, '{');
    put_word(out, "protocol", "gbt32960");
    if (options->shape == WIRE_SHAPE_WIRE) {
        put_word(out, "shape", "wire");
    }
    put_word(out, "edition", frame->edition == GBT_2025 ? "2025" : "2016");
    if (message != NULL) {
        put_word(out, "message", message->name);
    }
    if (options->shape == WIRE_SHAPE_WIRE) {
        put_wire_head(out, frame, answer_layout);
    } else {
        put_native_head(out, frame, answer_layout);
    }
    if (options->received_ms > 0) {
        gbt_time_text(options->received_ms, true, time);
        put_word(out, "time", time);
    }
    put_body(out, frame, options, &found);
    if (options->signature != NULL) {
        put_word(out, "signature", options->signature);
    }
    put_faults(out, found.faults);
    if (options->raw && frame->wire.len > 0) {
        json_out_key(out, "raw");
        json_out_hex(out, frame->wire);
    }
    json_out_close(out, '}');
    if (judgement != NULL) {
        *judgement = found;
    }
    if (out->failed) {
        out->len = start;
    }
    return !out->failed;
}
