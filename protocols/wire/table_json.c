/* SPDX-License-Identifier: Apache-2.0 */

/* JSON of a body: a visitor of the walk that writes straight into a buffer.
 *
 * Each value is written as the shape wants it. Where the encoder would make other bytes from it, a
 * note is kept; the notes of an object are written when it closes ("exact", "invalid",
 * "abnormal"). A count is only said where a list disagrees with it, and the list comes later: so
 * counts are kept until then.
 *
 * Nothing is allocated here. Depth and number of notes have limits; a body that passes them is
 * thrown away by the caller and given in hexadecimal, which is always right.
 */

#include "wire/table_json.h"

#include <stdio.h>

#include "wire/base64.h"

/* Longest text with other characters than ASCII that is converted; longer ones stay bytes. The
 * longest text of any standard served has 1024 bytes. */
#define TEXT_MAX 1024

void wire_json_begin(struct wire_json *json, struct json_out *out, enum wire_shape shape,
                     enum wire_charset charset)
{
    json->out = out;
    json->shape = shape;
    json->charset = charset;
    json->note_count = 0;
    json->count_count = 0;
    json->depth = 0;
    json->overflow = false;
    json->hide_secrets = false;
    json->list_notes = 0;
    json->range_count = 0;
    json->groups = PG_BYTES_NONE;
    json->grouped = false;
    json->aside = false;
    json->vendor_count = 0;
    json->level[0].first_note = 0;
    json->level[0].first_count = 0;
    json->level[0].flat = false;
    json->level[0].has_object = true;
}

/* ---- notes ---------------------------------------------------------------------------------- */

static void note(struct wire_json *json, enum wire_note_kind kind, const char *name,
                 const char *reason, struct pg_bytes bytes)
{
    if (json->shape == WIRE_SHAPE_ALIAS) {
        return;
    }
    if (json->note_count == WIRE_JSON_NOTES) {
        json->overflow = true;
        return;
    }
    json->notes[json->note_count++] =
        (struct wire_note){.kind = kind, .name = name, .reason = reason, .bytes = bytes};
}

/* Whether a value of a list is what a kind of note tells. */
static bool value_is(const struct wire_row *row, enum wire_note_kind kind, uint64_t raw)
{
    enum wire_marker marker = wire_marker_of(row, raw);
    switch (kind) {
    case WIRE_NOTE_INVALID:
        return marker == WIRE_MARKER_INVALID;
    case WIRE_NOTE_ABNORMAL:
        return marker == WIRE_MARKER_ABNORMAL;
    default:
        return marker == WIRE_MARKER_NONE && !wire_in_range(row, raw);
    }
}

/* The places of those values of a list that a note is about: numbers from 0, or "name[0]". */
static void write_places(struct json_out *out, const struct wire_note *n)
{
    size_t width = n->values->width;
    for (size_t at = 0; at + width <= n->bytes.len; at += width) {
        char text[96];
        uint64_t raw = 0;
        for (size_t i = 0; i < width; i++) {
            raw = raw << 8 | n->bytes.data[at + i];
        }
        if (!value_is(n->values, n->kind, raw)) {
            continue;
        }
        if (n->kind == WIRE_NOTE_RANGE) {
            (void)snprintf(text, sizeof(text), "%s[%zu]", n->name, at / width);
            json_out_word(out, text);
        } else {
            json_out_u64(out, at / width);
        }
    }
}

static void write_note(struct json_out *out, const struct wire_note *n)
{
    if (n->kind == WIRE_NOTE_RANGE) {
        if (n->values != NULL) {
            write_places(out, n);
        } else {
            json_out_word(out, n->name);
        }
        return;
    }
    json_out_key(out, n->name);
    if (n->values != NULL) {
        json_out_open(out, '[');
        write_places(out, n);
        json_out_close(out, ']');
    } else if (n->reason == NULL) {
        json_out_hex(out, n->bytes);
    } else {
        json_out_open(out, '{');
        json_out_key(out, "reason");
        json_out_word(out, n->reason);
        json_out_key(out, "raw");
        json_out_hex(out, n->bytes);
        json_out_close(out, '}');
    }
}

static void write_notes(struct wire_json *json, unsigned first)
{
    static const char *const members[] = {"exact", "invalid", "abnormal", "out_of_range"};
    for (unsigned m = 0; m < 4 && json->note_count > first; m++) {
        bool range = m == WIRE_NOTE_RANGE;
        bool open = false;
        for (unsigned i = first; i < json->note_count; i++) {
            if ((unsigned)json->notes[i].kind != m) {
                continue;
            }
            if (!open) {
                json_out_key(json->out, members[m]);
                json_out_open(json->out, range ? '[' : '{');
                open = true;
            }
            write_note(json->out, &json->notes[i]);
        }
        if (open) {
            json_out_close(json->out, range ? ']' : '}');
        }
    }
    json->note_count = first;
}

static void push(struct wire_json *json, bool has_object, bool flat)
{
    if (json->depth + 1 == WIRE_JSON_DEPTH) {
        json->overflow = true;
        return;
    }
    json->depth++;
    json->level[json->depth].first_note = json->note_count;
    json->level[json->depth].first_count = json->count_count;
    json->level[json->depth].flat = flat;
    json->level[json->depth].has_object = has_object;
    if (has_object) {
        json_out_open(json->out, '{');
    }
}

static void pop(struct wire_json *json)
{
    write_notes(json, json->level[json->depth].first_note);
    json->count_count = json->level[json->depth].first_count;
    if (json->level[json->depth].has_object) {
        json_out_close(json->out, '}');
    }
    json->depth--;
}

bool wire_json_end(struct wire_json *json)
{
    if (!json->overflow) {
        write_notes(json, 0);
    }
    return !json->overflow;
}

/* A list or text tells how long it is: counts of it that say otherwise are noted. */
static void settle_counts(struct wire_json *json, unsigned reg, uint64_t actual)
{
    for (unsigned i = json->level[json->depth].first_count; i < json->count_count; i++) {
        const struct wire_counted *c = &json->counts[i];
        if (c->row->keep == reg && c->value != actual) {
            note(json, WIRE_NOTE_EXACT, c->row->name, NULL, c->bytes);
        }
    }
}

static void remember_count(struct wire_json *json, const struct wire_event *event)
{
    if (json->shape == WIRE_SHAPE_ALIAS) {
        return; /* it is shown, and says nothing else */
    }
    if (json->count_count == WIRE_JSON_COUNTS) {
        json->overflow = true;
        return;
    }
    json->counts[json->count_count++] =
        (struct wire_counted){.row = event->row, .bytes = event->bytes, .value = event->raw};
}

/* ---- values --------------------------------------------------------------------------------- */

static void key_with_suffix(struct json_out *out, const char *name, size_t len, const char *suffix)
{
    size_t more = strlen(suffix);
    json_out_sep(out);
    json_out_put(out, "\"", 1);
    json_out_put(out, name, len);
    json_out_put(out, suffix, more);
    json_out_put(out, "\":", 2);
}

/* Null for a marker value, with the reason noted; false if the value is none. A value that is not
 * in its range is noted too. Values of a list are noted when it ends. */
static bool write_marker(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    enum wire_marker marker = wire_marker_of(row, event->raw);
    enum wire_note_kind kind = marker == WIRE_MARKER_INVALID    ? WIRE_NOTE_INVALID
                               : marker == WIRE_MARKER_ABNORMAL ? WIRE_NOTE_ABNORMAL
                                                                : WIRE_NOTE_RANGE;
    if (marker == WIRE_MARKER_NONE) {
        if (wire_in_range(row, event->raw)) {
            return false;
        }
        json->range_count++;
    } else {
        json_out_null(json->out);
    }
    if (row->name != NULL) {
        note(json, kind, row->name, "marker", event->bytes);
    } else if (kind != WIRE_NOTE_INVALID || (row->flags & WIRE_ABNORMAL) != 0) {
        json->list_notes |= 1u << kind; /* with one kind of null there is nothing to tell apart */
    }
    return marker != WIRE_MARKER_NONE;
}

/* What the values of a list that ends have to be noted for. */
static void note_list(struct wire_json *json, const struct wire_event *event)
{
    unsigned kinds = json->list_notes;
    json->list_notes = 0;
    for (unsigned kind = WIRE_NOTE_INVALID; kind <= WIRE_NOTE_RANGE && kinds != 0; kind++) {
        if ((kinds & 1u << kind) != 0) {
            note(json, (enum wire_note_kind)kind, event->row->name, NULL, event->bytes);
            json->notes[json->note_count - 1].values = event->row->rows;
        }
    }
}

static const char *name_of(const struct wire_name *names, uint64_t value)
{
    for (; names->name != NULL; names++) {
        if (names->value == value) {
            return names->name;
        }
    }
    return NULL;
}

static void write_signmag(struct wire_json *json, const struct wire_event *event)
{
    uint64_t top = UINT64_C(1) << (8 * event->row->width - 1);
    uint64_t magnitude = event->raw & (top - 1);
    int64_t value = (int64_t)magnitude;
    bool exact = true;
    if ((event->raw & top) != 0) {
        /* Two's complement by its size: nothing is that cold by sign and magnitude. */
        bool complement = (event->raw & top >> 1) != 0;
        value = complement ? (int64_t)magnitude - (int64_t)top : -(int64_t)magnitude;
        exact = !complement && magnitude != 0;
    }
    json_out_fixed(json->out, value, event->row->decimals);
    if (!exact) {
        note(json, WIRE_NOTE_EXACT, event->row->name, NULL, event->bytes);
    }
}

static void write_native_integer(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    if (write_marker(json, event)) {
        return;
    }
    if (row->kind == WIRE_SIGNMAG) {
        write_signmag(json, event);
        return;
    }
    const char *name = row->names != NULL ? name_of(row->names, event->raw) : NULL;
    if (name != NULL && (row->flags & WIRE_BOOL) != 0) {
        json_out_bool(json->out, name[0] == 't');
    } else if (name != NULL) {
        json_out_word(json->out, name);
    } else if ((row->flags & WIRE_AS_HEX) != 0) {
        json_out_hexnum(json->out, event->raw, row->width * 2u);
    } else if (row->decimals == 0 && row->factor == 0 && row->offset == 0 && row->sign == 0) {
        json_out_u64(json->out, event->raw);
    } else {
        int64_t value = (int64_t)event->raw * (row->factor != 0 ? row->factor : 1) + row->offset;
        if (row->sign != 0 && event->raw > INT32_MAX) {
            /* Negative in two's complement, as some terminals send coordinates. */
            value = (int32_t)(uint32_t)event->raw;
            note(json, WIRE_NOTE_EXACT, row->name, NULL, event->bytes);
        } else if (event->negative) {
            value = -value;
        }
        json_out_fixed(json->out, value, row->decimals);
    }
}

static void write_flags(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_bits *bits = event->row->bits;
    if (bits->list != NULL) {
        json_out_key(json->out, bits->list);
    } else if (strcmp(event->row->name, "value") == 0) {
        json_out_key(json->out, "flags");
    } else {
        key_with_suffix(json->out, event->row->name, strlen(event->row->name), "_flags");
    }
    json_out_open(json->out, '[');
    uint32_t left = (uint32_t)event->raw;
    while (left != 0) {
        unsigned bit = (unsigned)__builtin_ctz(left);
        left &= left - 1;
        if (bits->names[bit] != NULL) {
            json_out_word(json->out, bits->names[bit]);
        }
    }
    for (const struct wire_bit_field *f = bits->fields; f != NULL && f->mask != 0; f++) {
        if ((event->raw & f->mask) == f->value) {
            json_out_word(json->out, f->name);
        }
    }
    json_out_close(json->out, ']');
}

static void write_two_digits(char *at, unsigned value)
{
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

static void write_clock(char at[8], const struct wire_time *t)
{
    write_two_digits(at, t->hour);
    at[2] = ':';
    write_two_digits(at + 3, t->minute);
    at[5] = ':';
    write_two_digits(at + 6, t->second);
}

static void write_native_time(struct wire_json *json, const struct wire_event *event)
{
    struct wire_time t;
    char text[26] = "2000-00-00T00:00:00+08:00";
    const uint8_t *b = event->bytes.data;
    if ((event->row->flags & WIRE_DAILY) != 0 && (b[0] | b[1] | b[2]) == 0) {
        uint8_t any_day[6] = {0x24, 0x01, 0x01, b[3], b[4], b[5]};
        if (wire_time_parse(any_day, false, &t) == NULL) {
            write_clock(text, &t);
            text[8] = '\0';
            json_out_word(json->out, text);
            return;
        }
    }
    const char *reason = wire_time_parse(b, (event->row->flags & WIRE_BINARY_TIME) != 0, &t);
    if (reason != NULL) {
        json_out_null(json->out);
        note(json, WIRE_NOTE_INVALID, event->row->name, reason, event->bytes);
        return;
    }
    write_two_digits(text + 2, t.year - 2000);
    write_two_digits(text + 5, t.month);
    write_two_digits(text + 8, t.day);
    write_clock(text + 11, &t);
    if ((event->row->flags & WIRE_UTC) != 0) {
        memcpy(text + 19, "Z", 2);
    }
    json_out_word(json->out, text);
}

static bool all_bytes_are(const uint8_t *at, size_t n, uint8_t value)
{
    while (n > 0 && at[n - 1] == value) {
        n--;
    }
    return n == 0;
}

static void write_hex_object(struct json_out *out, struct pg_bytes bytes)
{
    json_out_open(out, '{');
    json_out_key(out, "hex");
    json_out_hex(out, bytes);
    json_out_close(out, '}');
}

static void write_text(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    struct pg_bytes text = wire_text_strip(event->bytes);
    uint8_t fill = 0;
    size_t start = json->out->len;
    if ((row->flags & WIRE_TRIM) != 0) {
        while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == 0)) {
            text.len--;
        }
    }
    if ((row->flags & WIRE_BLANKS) != 0 && json->shape == WIRE_SHAPE_NATIVE) {
        fill = ' ';
        while (text.len > 0 && text.data[text.len - 1] == ' ') {
            text.len--;
        }
    }
    bool exact = text.len == event->bytes.len ||
                 ((row->width != 0 || (row->flags & WIRE_EXACT) != 0) &&
                  (text.len == 0 || text.data == event->bytes.data) &&
                  all_bytes_are(event->bytes.data + text.len, event->bytes.len - text.len, fill));
    if (wire_text_is_ascii(text)) {
        json_out_text(json->out, (const char *)text.data, text.len);
    } else {
        char utf8[TEXT_MAX * WIRE_TEXT_GROWTH];
        uint8_t again[TEXT_MAX];
        ssize_t n =
            text.len > TEXT_MAX ? -1 : wire_text_decode(json->charset, text, utf8, sizeof(utf8));
        if (n < 0) {
            write_hex_object(json->out, event->bytes);
            return;
        }
        json_out_text(json->out, utf8, (size_t)n);
        ssize_t m = wire_text_encode(json->charset, utf8, (size_t)n, again, sizeof(again));
        exact = exact && m == (ssize_t)text.len && memcmp(again, text.data, text.len) == 0;
    }
    if (!exact && row->name == NULL && json->shape != WIRE_SHAPE_ALIAS) {
        json->out->len = start; /* an entry of a list has no place for notes */
        write_hex_object(json->out, event->bytes);
    } else if (!exact) {
        note(json, WIRE_NOTE_EXACT, row->name, NULL, event->bytes);
    }
}

/* ---- values of the alias shape -------------------------------------------------------------- */

void wire_json_base64(struct json_out *out, struct pg_bytes bytes)
{
    size_t len = wire_base64_len(bytes.len);
    json_out_sep(out);
    if (json_out_room(out, len + 2)) {
        char *at = out->data + out->len;
        *at = '"';
        wire_base64_encode(bytes, at + 1);
        at[len + 1] = '"';
        out->len += len + 2;
    }
}

/* A plain time as an object of its six numbers. */
static void write_alias_time(struct json_out *out, struct pg_bytes bytes)
{
    static const char *const names[] = {"Year", "Month", "Day", "Hour", "Minute", "Second"};
    json_out_open(out, '{');
    for (size_t i = 0; i < bytes.len; i++) {
        json_out_key(out, names[i]);
        json_out_u64(out, bytes.data[i]);
    }
    json_out_close(out, '}');
}

static void write_alias_bytes(struct json_out *out, const struct wire_row *row,
                              struct pg_bytes bytes)
{
    if ((row->flags & (WIRE_ALIAS_DIGITS | WIRE_ALIAS_SHORT)) == 0) {
        wire_json_base64(out, bytes);
        return;
    }
    while ((row->flags & WIRE_ALIAS_SHORT) != 0 && bytes.len > 2 && bytes.data[0] == 0) {
        bytes.data++;
        bytes.len--;
    }
    size_t start = out->len;
    json_out_hex(out, bytes);
    for (size_t i = start; i < out->len; i++) {
        char *digit = &out->data[i];
        *digit = *digit >= 'a' && *digit <= 'f' ? (char)(*digit - 'a' + 'A') : *digit;
    }
}

static void write_alias_value(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    uint64_t raw = 0;
    if (row->kind == WIRE_TIME && (row->flags & WIRE_BINARY_TIME) != 0) {
        write_alias_time(json->out, event->bytes);
    } else if (row->kind == WIRE_TIME || row->kind == WIRE_DIGITS) {
        json_out_hex(json->out, event->bytes);
    } else if (row->kind == WIRE_HEX) {
        write_alias_bytes(json->out, row, event->bytes);
    } else if (row->kind == WIRE_TEXT) {
        write_text(json, event);
    } else if (row->kind == WIRE_SIGNMAG) {
        write_signmag(json, event);
    } else if (row->kind == WIRE_FACT && row->names != NULL) {
        json_out_word(json->out, name_of(row->names, event->raw));
    } else if ((row->flags & WIRE_ALIAS_WHOLE) != 0) {
        for (size_t i = 0; i < event->bytes.len; i++) {
            raw = raw << 8 | event->bytes.data[i];
        }
        json_out_u64(json->out, raw);
    } else {
        json_out_u64(json->out, event->raw);
    }
}

static void write_alias_field(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    bool shown = row->alias == NULL || row->alias[0] != '\0';
    if (!shown || json->grouped || (row->kind == WIRE_FACT && row->names == NULL) ||
        (json->hide_secrets && (row->flags & WIRE_SECRET) != 0)) {
        return;
    }
    if (row->name != NULL && !json->level[json->depth].flat) {
        json_out_key(json->out, wire_row_name(row, json->shape));
    }
    write_alias_value(json, event);
}

/* The texts of a list, a list for each value of the one that divides them. */
static void write_groups(struct wire_json *json, const struct wire_event *event)
{
    struct pg_bytes left = event->bytes;
    struct wire_event text = {.kind = WIRE_EV_FIELD, .row = event->row->rows};
    for (size_t i = 0; i < json->groups.len; i++) {
        json_out_open(json->out, '[');
        for (unsigned n = json->groups.data[i]; n > 0 && left.len >= text.row->width; n--) {
            text.bytes = (struct pg_bytes){left.data, text.row->width};
            write_text(json, &text);
            left.data += text.row->width;
            left.len -= text.row->width;
        }
        json_out_close(json->out, ']');
    }
    json->grouped = false;
    json->groups = PG_BYTES_NONE;
}

static void write_value(struct wire_json *json, const struct wire_event *event)
{
    switch (event->row->kind) {
    case WIRE_TIME:
        if (json->shape == WIRE_SHAPE_NATIVE) {
            write_native_time(json, event);
            break;
        }
        json_out_hex(json->out, event->bytes);
        break;
    case WIRE_TEXT:
        write_text(json, event);
        break;
    case WIRE_DIGITS:
    case WIRE_HEX:
        json_out_hex(json->out, event->bytes);
        break;
    default:
        if (json->shape == WIRE_SHAPE_NATIVE) {
            write_native_integer(json, event);
        } else {
            json_out_u64(json->out, event->raw);
        }
        break;
    }
}

/* What the wire shape says besides. */
static void write_wire_extras(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    if ((row->flags & WIRE_SIGNED_TOO) != 0) {
        key_with_suffix(json->out, row->name, strlen(row->name), "_signed");
        json_out_i64(json->out, event->negative ? -(int64_t)event->raw : (int64_t)event->raw);
    }
    if ((row->flags & WIRE_SHOW_LENGTH) != 0) {
        size_t stem = strlen(row->name);
        stem -= stem > 4 && strcmp(row->name + stem - 4, "_hex") == 0 ? 4 : 0;
        key_with_suffix(json->out, row->name, stem, "_length");
        json_out_u64(json->out, event->bytes.len);
    }
}

static void write_field(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_row *row = event->row;
    bool native = json->shape == WIRE_SHAPE_NATIVE;
    if (json->shape == WIRE_SHAPE_ALIAS) {
        write_alias_field(json, event);
        return;
    }
    /* A count that is a marker has no list to be told by, so it is told like any other value. */
    bool counts = row->kind == WIRE_COUNT && wire_marker_of(row, event->raw) == WIRE_MARKER_NONE;
    if (counts) {
        remember_count(json, event);
    }
    if (native && (counts || row->kind == WIRE_FACT)) {
        if (counts && !wire_in_range(row, event->raw)) {
            json->range_count++;
            note(json, WIRE_NOTE_RANGE, row->name, NULL, event->bytes);
        }
        return;
    }
    if (json->hide_secrets && (row->flags & WIRE_SECRET) != 0) {
        return;
    }
    if (native && (row->flags & WIRE_QUIET) != 0 && event->raw == 0) {
        return;
    }
    if (row->name == NULL) {
        write_value(json, event);
        return;
    }
    bool flat = json->level[json->depth].flat;
    size_t start = json->out->len;
    unsigned notes = json->note_count;
    if (!flat) {
        if (json->shape == WIRE_SHAPE_WIRE && (row->flags & WIRE_SHOW_RAW) != 0) {
            json_out_key(json->out, "raw");
        } else {
            json_out_key_of(json->out, row->name,
                            row->name_len != 0 ? row->name_len : strlen(row->name));
        }
    }
    write_value(json, event);
    if (flat && json->note_count > notes) {
        /* The note needs an object to stand in after all. */
        json->out->len = start;
        json->level[json->depth].flat = false;
        json->level[json->depth].has_object = true;
        json->note_count = notes;
        json_out_open(json->out, '{');
        json_out_key(json->out, row->name);
        write_value(json, event);
    }
    if (json->shape == WIRE_SHAPE_WIRE) {
        write_wire_extras(json, event);
    } else if (row->kind == WIRE_BITS && row->bits != NULL) {
        write_flags(json, event);
    }
    if (row->count != 0 && (row->kind == WIRE_TEXT || row->kind == WIRE_HEX)) {
        settle_counts(json, row->count, event->bytes.len);
    }
}

/* ---- items ---------------------------------------------------------------------------------- */

/* Items under their names: "mileage", the second one "mileage#2"; without a name "0xe1". */
static void write_item_key(struct wire_json *json, const struct wire_event *event, const char *name)
{
    char hex[24] = "0x00";
    static const char digits[] = "0123456789abcdef";
    unsigned id = (unsigned)event->raw & 0xffu;
    if (name == NULL) {
        hex[2] = digits[id >> 4];
        hex[3] = digits[id & 15];
        name = hex;
    }
    unsigned times = ++json->seen[id];
    if (times == 1) {
        json_out_key(json->out, name);
        return;
    }
    char suffix[8] = "#";
    unsigned at = sizeof(suffix) - 1;
    for (; times > 0; times /= 10) {
        suffix[--at] = (char)('0' + times % 10);
    }
    suffix[--at] = '#';
    key_with_suffix(json->out, name, strlen(name), suffix + at);
}

/* A single "value": one number or text, or a list of them. */
static bool is_flat(const struct wire_row *rows)
{
    const struct wire_row *row = &rows[0];
    return row->kind != WIRE_END && rows[1].kind == WIRE_END && row->name != NULL &&
           strcmp(row->name, "value") == 0 && row->kind != WIRE_BITS &&
           (row->rows == NULL || (row->kind == WIRE_LIST && row->rows[0].name == NULL));
}

static void write_item_head(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_items *items = event->row->items;
    json_out_key(json->out, items->id_key != NULL ? items->id_key : "id");
    if (items->length_width == 0) {
        json_out_u64(json->out, event->raw);
    } else if (json->shape == WIRE_SHAPE_WIRE) {
        json_out_u64(json->out, event->raw);
        json_out_key(json->out, "length");
        json_out_u64(json->out, event->length);
    } else {
        json_out_hexnum(json->out, event->raw, 4);
    }
    if (event->item != NULL && (event->kind == WIRE_EV_ITEM || !event->row->items->by_name)) {
        json_out_key(json->out, "name");
        json_out_word(json->out, event->item->name);
    }
}

/* ---- items of the alias shape --------------------------------------------------------------- */

/* The item with its id in front. */
static struct pg_bytes whole_item(const struct wire_event *event)
{
    size_t id = event->kind == WIRE_EV_REST && !event->has_id ? 0 : event->row->items->id_width;
    return (struct pg_bytes){event->bytes.data - id, event->bytes.len + id};
}

static void keep_vendor_item(struct wire_json *json, const struct wire_event *event)
{
    unsigned i = 0;
    while (i < json->vendor_count && json->vendor[i].id != event->raw) {
        i++;
    }
    if (i == WIRE_JSON_VENDOR) {
        json->overflow = true;
        return;
    }
    json->vendor[i] = (struct wire_vendor){.id = (uint32_t)event->raw, .bytes = event->bytes};
    json->vendor_count += i == json->vendor_count;
}

static void write_vendor_items(struct wire_json *json, const struct wire_event *event)
{
    if (json->vendor_count == 0 || event->row->kind != WIRE_ITEMS) {
        return;
    }
    json_out_key(json->out, event->row->items->alias_vendor.list);
    json_out_open(json->out, '{');
    for (unsigned i = 0; i < json->vendor_count; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "%u", json->vendor[i].id);
        json_out_key(json->out, id);
        wire_json_base64(json->out, json->vendor[i].bytes);
    }
    json_out_close(json->out, '}');
    json->vendor_count = 0;
}

/* What stands in front of the value of a listed item, in its object. */
static void write_alias_head(struct wire_json *json, const struct wire_event *event,
                             const char *type)
{
    char id[16];
    switch (event->row->items->alias_items) {
    case WIRE_ALIAS_RECORDS:
        json_out_key(json->out, "Type");
        json_out_word(json->out, type);
        break;
    case WIRE_ALIAS_PAIRS:
        (void)snprintf(id, sizeof(id), "0x%02X", (unsigned)event->raw);
        json_out_key(json->out, id);
        break;
    case WIRE_ALIAS_VALUES:
        json_out_key(json->out, "id");
        json_out_u64(json->out, event->raw);
        break;
    }
}

/* An item that has no alias, or that cannot be read: its bytes. */
static void write_alias_opaque(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_items *items = event->row->items;
    char id[16];
    if (items->by_name && items->alias_vendor.list != NULL &&
        event->raw >= items->alias_vendor.from) {
        keep_vendor_item(json, event);
        return;
    }
    if (items->by_name) {
        (void)snprintf(id, sizeof(id), "%u", (unsigned)event->raw);
        write_item_key(json, event, id);
        wire_json_base64(json->out, event->bytes);
        return;
    }
    json_out_open(json->out, '{');
    write_alias_head(json, event, "CustomData");
    if (items->alias_items == WIRE_ALIAS_RECORDS) {
        json_out_key(json->out, "Data");
        wire_json_base64(json->out, whole_item(event));
    } else if (items->alias_items == WIRE_ALIAS_PAIRS) {
        wire_json_base64(json->out, event->bytes);
    } else {
        json_out_key(json->out, "value");
        wire_json_base64(json->out, event->bytes);
    }
    json_out_close(json->out, '}');
}

/* An item begins: in its own rows, in the rows of this shape, or as bytes. */
static void write_alias_item(struct wire_json *json, const struct wire_event *event)
{
    const struct wire_item *item = event->item;
    const struct wire_items *items = event->row->items;
    const struct wire_row *rows = item->alias_rows != NULL ? item->alias_rows : event->rows;
    if (item->alias == NULL) {
        write_alias_opaque(json, event);
        json->aside = true;
        return;
    }
    if (items->by_name) {
        write_item_key(json, event, item->alias);
        push(json, !is_flat(rows), is_flat(rows));
    } else {
        push(json, true, items->alias_items == WIRE_ALIAS_PAIRS);
        write_alias_head(json, event, item->alias);
    }
    if (item->alias_rows != NULL) {
        struct wire_walked walked;
        (void)wire_walk(rows, event->bytes, 0, wire_json_visit, json, &walked);
        pop(json);
        json->aside = true;
    }
}

static void write_item_start(struct wire_json *json, const struct wire_event *event)
{
    if (json->shape == WIRE_SHAPE_ALIAS) {
        write_alias_item(json, event);
        return;
    }
    if (json->shape == WIRE_SHAPE_NATIVE && event->row->items->by_name) {
        bool flat = is_flat(event->item->rows);
        write_item_key(json, event, event->item->name);
        push(json, !flat, flat);
    } else {
        push(json, true, false);
        write_item_head(json, event);
    }
    if (event->item->layout != NULL) {
        json_out_key(json->out, "layout");
        json_out_word(json->out, event->item->layout);
    }
}

/* A listed number of another width than the table's: still a number, with its length beside it. */
static bool write_other_width(struct wire_json *json, const struct wire_event *event)
{
    if (!wire_item_has_other_width(event->item, event->length)) {
        return false;
    }
    struct wire_row row = event->item->rows[0];
    row.width = (uint8_t)event->length;
    struct wire_event value = {.kind = WIRE_EV_FIELD, .row = &row, .bytes = event->bytes};
    for (size_t i = 0; i < event->bytes.len; i++) {
        value.raw = value.raw << 8 | event->bytes.data[i];
    }
    json_out_key(json->out, "length");
    json_out_u64(json->out, event->length);
    json_out_key(json->out, "value");
    write_native_integer(json, &value);
    return true;
}

static void write_item_hex(struct wire_json *json, const struct wire_event *event)
{
    if (json->shape == WIRE_SHAPE_ALIAS) {
        write_alias_opaque(json, event);
        return;
    }
    if (json->shape == WIRE_SHAPE_NATIVE && event->row->items->by_name) {
        write_item_key(json, event, NULL);
        write_hex_object(json->out, event->bytes);
        return;
    }
    json_out_open(json->out, '{');
    write_item_head(json, event);
    if (event->row->items->by_name) {
        json_out_key(json->out, "hex");
        json_out_hex(json->out, event->bytes);
    } else if (json->shape != WIRE_SHAPE_NATIVE || !write_other_width(json, event)) {
        json_out_key(json->out, "value");
        write_hex_object(json->out, event->bytes);
    }
    json_out_close(json->out, '}');
}

/* What follows the items that could be read. */
static void write_rest(struct wire_json *json, const struct wire_event *event)
{
    if (json->shape == WIRE_SHAPE_ALIAS) {
        write_alias_opaque(json, event);
        return;
    }
    json_out_open(json->out, '{');
    if (event->has_id) {
        const char *key = event->row->items->id_key;
        json_out_key(json->out, key != NULL ? key : "id");
        json_out_u64(json->out, event->raw);
    }
    json_out_key(json->out, "name");
    json_out_word(json->out, event->reason);
    json_out_key(json->out, "hex");
    json_out_hex(json->out, event->bytes);
    json_out_close(json->out, '}');
}

static bool list_is_object(const struct wire_json *json, const struct wire_row *row)
{
    return json->shape != WIRE_SHAPE_WIRE && row->kind == WIRE_ITEMS && row->items->by_name;
}

static void write_truncated(struct wire_json *json, const struct wire_event *event)
{
    bool own_object = !list_is_object(json, event->row);
    if (own_object) {
        json_out_open(json->out, '{');
    }
    json_out_key(json->out, "truncated_hex");
    json_out_hex(json->out, event->bytes);
    if (own_object) {
        json_out_close(json->out, '}');
    }
}

static void write_struct_start(struct wire_json *json, const char *name)
{
    bool has_object = name[0] != '\0';
    if (has_object) {
        json_out_key(json->out, name);
    }
    push(json, has_object, false);
}

/* What a list that ends leaves to be written, or to be known by a later one. */
static void write_alias_list_end(struct wire_json *json, const struct wire_event *event)
{
    if (json->grouped) {
        write_groups(json, event);
    } else if ((event->row->flags & WIRE_ALIAS_GROUPS) != 0) {
        json->groups = event->bytes;
    }
    write_vendor_items(json, event);
}

void wire_json_visit(void *context, const struct wire_event *event)
{
    struct wire_json *json = context;
    if (json->overflow || (json->aside && event->kind != WIRE_EV_ITEM_END)) {
        return;
    }
    switch (event->kind) {
    case WIRE_EV_FIELD:
        write_field(json, event);
        break;
    case WIRE_EV_STRUCT:
        write_struct_start(json, wire_row_name(event->row, json->shape));
        break;
    case WIRE_EV_ENTRY:
        push(json, true, false);
        break;
    case WIRE_EV_ITEM_END:
        if (json->aside) {
            json->aside = false;
            break;
        }
        pop(json);
        break;
    case WIRE_EV_STRUCT_END:
    case WIRE_EV_ENTRY_END:
        pop(json);
        break;
    case WIRE_EV_LIST:
        if (!json->level[json->depth].flat) {
            json_out_key(json->out, wire_row_name(event->row, json->shape));
        }
        json->grouped = json->shape == WIRE_SHAPE_ALIAS && json->groups.len > 0 &&
                        (event->row->flags & WIRE_ALIAS_GROUPS) != 0;
        json_out_open(json->out, list_is_object(json, event->row) ? '{' : '[');
        if (list_is_object(json, event->row)) {
            memset(json->seen, 0, sizeof(json->seen));
        }
        break;
    case WIRE_EV_LIST_END:
        if (json->shape == WIRE_SHAPE_ALIAS) {
            write_alias_list_end(json, event);
        }
        json_out_close(json->out, list_is_object(json, event->row) ? '}' : ']');
        if (json->list_notes != 0) {
            note_list(json, event);
        }
        if (event->row->count != 0) {
            settle_counts(json, event->row->count, event->raw);
        }
        break;
    case WIRE_EV_ITEM:
        write_item_start(json, event);
        break;
    case WIRE_EV_ITEM_HEX:
        write_item_hex(json, event);
        break;
    case WIRE_EV_BROKEN:
        write_hex_object(json->out, event->bytes);
        break;
    case WIRE_EV_TRUNCATED:
        write_truncated(json, event);
        break;
    case WIRE_EV_REST:
        write_rest(json, event);
        break;
    case WIRE_EV_SURPLUS:
        json_out_key(json->out, "extra_hex");
        json_out_hex(json->out, event->bytes);
        break;
    }
}
