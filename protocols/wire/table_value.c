/* SPDX-License-Identifier: Apache-2.0 */

/* From JSON values to bytes: integers with names and scales, bit words, times, texts, digits.
 *
 * Every error says where (the encoder's path), what was found and what was expected.
 */

#include "wire/document.h"
#include "wire/encode.h"

#include <stdarg.h>
#include <stdio.h>

#include "wire/base64.h"

/* ---- errors --------------------------------------------------------------------------------- */

void wire_enc_enter(struct encoder *e, const char *name, size_t index)
{
    if (e->depth < WIRE_PATH_DEPTH) {
        e->path[e->depth].name = name;
        e->path[e->depth].index = index;
    }
    e->depth++;
}

void wire_enc_leave(struct encoder *e)
{
    e->depth--;
}

static void write_path(const struct encoder *e, char *text, size_t size)
{
    int used = snprintf(text, size, "%s", e->root);
    for (unsigned i = 0; i < e->depth && i < WIRE_PATH_DEPTH; i++) {
        if (used < 0 || (size_t)used >= size) {
            return;
        }
        char *at = text + used;
        size_t room = size - (size_t)used;
        used += e->path[i].name != NULL ? snprintf(at, room, ".%s", e->path[i].name)
                                        : snprintf(at, room, "[%zu]", e->path[i].index);
    }
}

bool wire_enc_fail(struct encoder *e, const json_t *value, const char *expected, ...)
{
    char path[sizeof(e->error->path)], text[sizeof(e->error->expected)];
    va_list args;
    write_path(e, path, sizeof(path));
    va_start(args, expected);
    vsnprintf(text, sizeof(text), expected, args);
    va_end(args);
    return wire_refuse(e->error, path, value, text);
}

bool wire_fails(struct wire_error *error, const char *path, const char *found, const char *expected)
{
    (void)snprintf(error->path, sizeof(error->path), "%s", path);
    (void)snprintf(error->found, sizeof(error->found), "%s", found);
    (void)snprintf(error->expected, sizeof(error->expected), "%s", expected);
    return false;
}

void wire_error_sentence(const struct wire_error *error, char *text, size_t size)
{
    snprintf(text, size, "%s: expected %s, found %s", error->path, error->expected, error->found);
}

/* ---- integers ------------------------------------------------------------------------------- */

static double power_of_ten(unsigned n)
{
    double power = 1;
    while (n-- > 0) {
        power *= 10;
    }
    return power;
}

/* To the nearest whole number; numbers too large for that stay as they are. */
static double rounded(double x)
{
    if (!(x > -9e15 && x < 9e15)) {
        return x;
    }
    return (double)(int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

static double magnitude(double x)
{
    return x < 0 ? -x : x;
}

static uint64_t largest(const struct wire_row *row)
{
    unsigned bits = row->kind == WIRE_PART ? row->width : 8u * row->width;
    return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

void wire_enc_put_integer(struct encoder *e, const struct wire_row *row, uint64_t raw)
{
    if (row->keep != 0) {
        e->reg[row->keep] = raw;
        e->reg_at[row->keep] = e->out->len;
        e->reg_row[row->keep] = row;
    }
    wire_out_uint(e->out, raw, row->width);
}

/* A list of names that breaks off before it is too long for an error. */
struct name_list {
    char text[96];
    size_t len;
    bool full;
};

static void add_name(struct name_list *l, const char *name)
{
    int n = l->full ? 0 : snprintf(l->text + l->len, sizeof(l->text) - l->len, ", \"%s\"", name);
    if (n < 0 || l->len + (size_t)n >= sizeof(l->text) - 4) {
        snprintf(l->text + l->len, sizeof(l->text) - l->len, ", ..");
        l->full = true;
    } else {
        l->len += (size_t)n;
    }
}

/* What may stand here: the names of values or of bits. */
static void add_names(struct name_list *l, const struct wire_row *row)
{
    for (const struct wire_name *n = row->names; n != NULL && n->name != NULL; n++) {
        add_name(l, n->name);
    }
    for (unsigned b = 0; row->bits != NULL && b < 32; b++) {
        if (row->bits->names[b] != NULL) {
            add_name(l, row->bits->names[b]);
        }
    }
    for (const struct wire_bit_field *f = row->bits != NULL ? row->bits->fields : NULL;
         f != NULL && f->mask != 0; f++) {
        add_name(l, f->name);
    }
}

static bool fail_integer(struct encoder *e, const struct wire_row *row, const json_t *value)
{
    struct name_list names = {.text = ""};
    add_names(&names, row);
    bool scaled = e->shape == WIRE_SHAPE_NATIVE &&
                  (row->decimals != 0 || row->factor != 0 || row->offset != 0);
    if (scaled) {
        double step = 1 / power_of_ten(row->decimals);
        double low = (double)row->offset * step;
        double high =
            ((double)largest(row) * (row->factor != 0 ? row->factor : 1) + row->offset) * step;
        return wire_enc_fail(e, value, "a number %.*f..%.*f%s%s", row->decimals,
                             row->sign != 0 ? -high : low, row->decimals, high,
                             row->unit != NULL ? " " : "", row->unit != NULL ? row->unit : "");
    }
    return wire_enc_fail(e, value, "a number 0..%llu%s%s", (unsigned long long)largest(row),
                         row->kind == WIRE_BITS ? " or a list of names" : "", names.text);
}

static bool integer_from_names(struct encoder *e, const struct wire_row *row, const json_t *value,
                               const char *text, uint64_t *raw)
{
    for (const struct wire_name *n = row->names; n != NULL && n->name != NULL; n++) {
        if (strcmp(n->name, text) == 0) {
            *raw = n->value;
            return true;
        }
    }
    return fail_integer(e, row, value);
}

static bool integer_from_text(struct encoder *e, const struct wire_row *row, const json_t *value,
                              uint64_t *raw)
{
    const char *text = json_string_value(value);
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X') && text[2] != '\0' &&
        strspn(text + 2, "0123456789abcdefABCDEF") == strlen(text + 2) && strlen(text) <= 18) {
        *raw = strtoull(text + 2, NULL, 16);
        return *raw <= largest(row) || fail_integer(e, row, value);
    }
    return integer_from_names(e, row, value, text, raw);
}

/* The sign of a coordinate goes into the bits of an earlier word. */
static bool settle_sign(struct encoder *e, const struct wire_row *row, const json_t *value,
                        bool negative, bool zero)
{
    const struct wire_row *word = e->reg_row[row->sign];
    bool set = (e->reg[row->sign] & row->sign_mask) != 0;
    if (zero || negative == set) {
        return true;
    }
    if (!negative) {
        return wire_enc_fail(e, value, "a negative number, as the bits of %s say so", word->name);
    }
    e->reg[row->sign] |= row->sign_mask;
    wire_out_patch(e->out, e->reg_at[row->sign], e->reg[row->sign], word->width);
    return true;
}

static bool integer_from_signed(struct encoder *e, const struct wire_row *row, json_t *value,
                                uint64_t *raw)
{
    double number = json_number_value(value);
    uint64_t top = UINT64_C(1) << (8u * row->width - 1);
    double scaled = rounded(number * power_of_ten(row->decimals));
    if (!json_is_number(value) || !(magnitude(scaled) < (double)top)) {
        return wire_enc_fail(e, value, "a number -%llu..%llu", (unsigned long long)top - 1,
                             (unsigned long long)top - 1);
    }
    *raw = (uint64_t)magnitude(scaled) | (scaled < 0 ? top : 0);
    return true;
}

static bool integer_from_scaled(struct encoder *e, const struct wire_row *row, const json_t *value,
                                uint64_t *raw)
{
    double shown = rounded(json_number_value(value) * power_of_ten(row->decimals));
    bool negative = shown < 0;
    double scaled = (row->sign != 0 ? magnitude(shown) : shown) - row->offset;
    scaled = rounded(scaled / (row->factor != 0 ? row->factor : 1));
    if (!(scaled >= 0 && scaled <= (double)largest(row))) {
        return fail_integer(e, row, value);
    }
    *raw = (uint64_t)scaled;
    return row->sign == 0 || settle_sign(e, row, value, negative, *raw == 0);
}

bool wire_enc_integer(struct encoder *e, const struct wire_row *row, json_t *value, uint64_t *raw)
{
    bool native = e->shape == WIRE_SHAPE_NATIVE;
    if (json_is_boolean(value) && (row->flags & WIRE_BOOL) != 0) {
        return integer_from_names(e, row, value, json_is_true(value) ? "true" : "false", raw);
    }
    if (json_is_string(value)) {
        return integer_from_text(e, row, value, raw);
    }
    if (native && row->kind == WIRE_BITS && json_is_array(value)) {
        return wire_enc_flags(e, row, value, raw);
    }
    if (native && row->kind == WIRE_SIGNMAG) {
        return integer_from_signed(e, row, value, raw);
    }
    if (!json_is_number(value)) {
        return fail_integer(e, row, value);
    }
    if (native && (row->decimals != 0 || row->factor != 0 || row->offset != 0 || row->sign != 0)) {
        return integer_from_scaled(e, row, value, raw);
    }
    json_int_t number = json_integer_value(value);
    if (json_is_real(value)) {
        /* Some writers of JSON say 5.0 for 5. */
        double real = json_real_value(value);
        number = real >= 0 && real <= 4294967295.0 ? (json_int_t)real : -1;
        if ((double)number != real) {
            return fail_integer(e, row, value);
        }
    }
    if (number < 0 || (uint64_t)number > largest(row)) {
        return fail_integer(e, row, value);
    }
    *raw = (uint64_t)number;
    return true;
}

bool wire_enc_flags(struct encoder *e, const struct wire_row *row, json_t *names, uint64_t *word)
{
    size_t i;
    json_t *name;
    *word = 0;
    if (!json_is_array(names)) {
        return wire_enc_fail(e, names, "a list of names of bits");
    }
    json_array_foreach(names, i, name)
    {
        const char *text = json_is_string(name) ? json_string_value(name) : "";
        uint64_t bits = 0;
        bool known = false;
        for (unsigned b = 0; b < 32; b++) {
            if (row->bits->names[b] != NULL && strcmp(row->bits->names[b], text) == 0) {
                bits = UINT64_C(1) << b;
                known = true;
            }
        }
        for (const struct wire_bit_field *f = row->bits->fields; f != NULL && f->mask != 0; f++) {
            if (strcmp(f->name, text) == 0) {
                bits = f->value;
                known = true;
            }
        }
        if (!known || bits > largest(row)) {
            wire_enc_enter(e, NULL, i);
            struct name_list list = {.text = ""};
            add_names(&list, row);
            wire_enc_fail(e, name, "the name of a bit of %s%s", row->name, list.text);
            wire_enc_leave(e);
            return false;
        }
        *word |= bits;
    }
    return true;
}

/* ---- times ---------------------------------------------------------------------------------- */

/* Days since 2000-03-01 of a date in 2000..2099, and back. */
static int days_of(const struct wire_time *t)
{
    unsigned m = (t->month + 9) % 12;
    unsigned y = t->year - 2000 + (t->month < 3 ? 399 : 400);
    return (int)(365 * y + y / 4 + (m * 306 + 5) / 10 + t->day - 1);
}

static void date_of(int days, struct wire_time *t)
{
    unsigned d = (unsigned)days;
    unsigned y = (4 * d + 3) / 1461;
    d -= 365 * y + y / 4;
    unsigned m = (5 * d + 2) / 153;
    t->day = d - (m * 306 + 5) / 10 + 1;
    t->month = (m + 2) % 12 + 1;
    t->year = y + 1600 + (t->month < 3);
}

/* "2026-03-01T08:00:00" with an optional fraction and zone; shifted to `zone_minutes`. */
static bool parse_iso(const char *text, int zone_minutes, struct wire_time *t)
{
    unsigned v[6];
    int used = 0;
    char mark;
    if (sscanf(text, "%4u-%2u-%2u%c%2u:%2u:%2u%n", &v[0], &v[1], &v[2], &mark, &v[3], &v[4], &v[5],
               &used) != 7 ||
        (mark != 'T' && mark != ' ') || v[0] < 1999 || v[0] > 2100 || v[1] < 1 || v[1] > 12 ||
        v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 59) {
        return false;
    }
    text += used;
    if (*text == '.') {
        text += 1 + strspn(text + 1, "0123456789");
    }
    int minutes = zone_minutes;
    unsigned zone_h;
    unsigned zone_m;
    if (text[0] == 'Z' && text[1] == '\0') {
        minutes = 0;
    } else if ((text[0] == '+' || text[0] == '-') && strlen(text) == 6 &&
               sscanf(text + 1, "%2u:%2u", &zone_h, &zone_m) == 2 && zone_h < 24 && zone_m < 60) {
        minutes = (int)(zone_h * 60 + zone_m) * (text[0] == '-' ? -1 : 1);
    } else if (text[0] != '\0') {
        return false;
    }
    *t = (struct wire_time){v[0], v[1], v[2], v[3], v[4], v[5]};
    int total = days_of(t) * 1440 + (int)(v[3] * 60 + v[4]) + zone_minutes - minutes;
    date_of(total / 1440, t);
    t->hour = (unsigned)(total % 1440) / 60;
    t->minute = (unsigned)(total % 1440) % 60;
    return t->year >= 2000 && t->year <= 2099;
}

static uint8_t bcd(unsigned value)
{
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static void put_date(uint8_t bytes[6], const struct wire_time *t, bool binary)
{
    const unsigned parts[6] = {t->year - 2000, t->month, t->day, t->hour, t->minute, t->second};
    for (unsigned i = 0; i < 6; i++) {
        bytes[i] = binary ? (uint8_t)parts[i] : bcd(parts[i]);
    }
}

static bool encode_time(struct encoder *e, const struct wire_row *row, const json_t *value)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    bool native = e->shape == WIRE_SHAPE_NATIVE;
    bool utc = (row->flags & WIRE_UTC) != 0;
    bool daily = (row->flags & WIRE_DAILY) != 0;
    uint8_t bytes[6] = {0};
    size_t used = 0;
    struct wire_time t;
    unsigned h;
    unsigned m;
    unsigned s;
    int end = 0;
    if (strlen(text) == 12 && wire_hex_decode(text, 12, bytes, sizeof(bytes), &used)) {
        wire_out_put(e->out, (struct pg_bytes){bytes, sizeof(bytes)});
        return true;
    }
    if (native && daily && sscanf(text, "%2u:%2u:%2u%n", &h, &m, &s, &end) == 3 &&
        text[end] == '\0' && h < 24 && m < 60 && s < 60) {
        bytes[3] = bcd(h);
        bytes[4] = bcd(m);
        bytes[5] = bcd(s);
    } else if (native && parse_iso(text, utc ? 0 : 480, &t)) {
        put_date(bytes, &t, (row->flags & WIRE_BINARY_TIME) != 0);
    } else if (!native) {
        return wire_enc_fail(e, value, "12 digits YYMMDDhhmmss");
    } else {
        return wire_enc_fail(e, value, "a time such as \"2026-03-01T08:00:00%s\"%s",
                             utc ? "Z" : "+08:00", daily ? " or \"08:00:00\" for every day" : "");
    }
    wire_out_put(e->out, (struct pg_bytes){bytes, sizeof(bytes)});
    return true;
}

/* ---- texts and bytes ------------------------------------------------------------------------ */

/* Bytes of a text or hex field go out with their length in front or their filling behind. */
static bool put_extent(struct encoder *e, const struct wire_row *row, const json_t *value,
                       struct pg_bytes bytes)
{
    if (row->prefix != 0) {
        uint64_t most = (UINT64_C(1) << (8u * row->prefix)) - 1;
        if (bytes.len > most) {
            return wire_enc_fail(e, value, "at most %llu bytes, there are %zu",
                                 (unsigned long long)most, bytes.len);
        }
        wire_out_uint(e->out, bytes.len, row->prefix);
    }
    if (row->width != 0 && bytes.len > row->width) {
        return wire_enc_fail(e, value, "at most %u bytes, there are %zu", row->width, bytes.len);
    }
    size_t want = row->width;
    if (row->width == 0 && (row->flags & WIRE_EXACT) != 0) {
        want = (size_t)e->reg[row->count];
        if (bytes.len > want) {
            return wire_enc_fail(e, value, "at most %zu bytes, there are %zu", want, bytes.len);
        }
    }
    wire_out_put(e->out, bytes);
    if (want != 0) {
        bool blanks = (row->flags & WIRE_BLANKS) != 0 && e->shape == WIRE_SHAPE_NATIVE;
        wire_out_fill(e->out, blanks ? ' ' : 0, want - bytes.len);
    }
    return true;
}

/* Room for a conversion on the heap; freed by the caller. */
static bool hex_value(struct encoder *e, const json_t *hex, uint8_t **bytes, size_t *len)
{
    size_t digits = json_is_string(hex) ? json_string_length(hex) : 1;
    *bytes = malloc(digits / 2 + 1);
    if (*bytes == NULL) {
        return wire_enc_fail(e, hex, "less (out of memory)");
    }
    if (!json_is_string(hex) ||
        !wire_hex_decode(json_string_value(hex), digits, *bytes, digits / 2, len)) {
        free(*bytes);
        *bytes = NULL;
        return wire_enc_fail(e, hex, "an even number of hexadecimal digits");
    }
    return true;
}

bool wire_enc_hex(struct encoder *e, json_t *hex)
{
    uint8_t *bytes;
    size_t len;
    if (!hex_value(e, hex, &bytes, &len)) {
        return false;
    }
    wire_out_put(e->out, (struct pg_bytes){bytes, len});
    free(bytes);
    return true;
}

/* Bytes in base64; the same way. */
static bool base64_value(struct encoder *e, const json_t *value, uint8_t **bytes, size_t *len)
{
    size_t letters = json_is_string(value) ? json_string_length(value) : 1;
    *bytes = malloc(letters / 4 * 3 + 1);
    if (*bytes == NULL) {
        return wire_enc_fail(e, value, "less (out of memory)");
    }
    if (!json_is_string(value) ||
        !wire_base64_decode(json_string_value(value), letters, *bytes, len)) {
        free(*bytes);
        *bytes = NULL;
        return wire_enc_fail(e, value, "bytes in base64");
    }
    return true;
}

static bool encode_hex(struct encoder *e, const struct wire_row *row, const json_t *value)
{
    uint8_t *bytes;
    size_t len;
    bool base64 = e->shape == WIRE_SHAPE_ALIAS && row->kind == WIRE_HEX &&
                  (row->flags & (WIRE_ALIAS_DIGITS | WIRE_ALIAS_SHORT)) == 0;
    if (!(base64 ? base64_value(e, value, &bytes, &len) : hex_value(e, value, &bytes, &len))) {
        return false;
    }
    bool fine = row->width == 0 || len == row->width
                    ? put_extent(e, row, value, (struct pg_bytes){bytes, len})
                    : wire_enc_fail(e, value, "%u hexadecimal digits", row->width * 2u);
    free(bytes);
    return fine;
}

static bool encode_text(struct encoder *e, const struct wire_row *row, json_t *value)
{
    json_t *hex = json_object_get(value, "hex");
    if (hex != NULL) {
        wire_enc_enter(e, "hex", 0);
        bool fine = encode_hex(e, row, hex);
        wire_enc_leave(e);
        return fine;
    }
    if (!json_is_string(value)) {
        return wire_enc_fail(e, value, "a text, or {\"hex\": ...}");
    }
    size_t len = json_string_length(value);
    size_t room = len * 2 + 4;
    uint8_t *bytes = malloc(room);
    if (bytes == NULL) {
        return wire_enc_fail(e, value, "less (out of memory)");
    }
    ssize_t n = wire_text_encode(e->charset, json_string_value(value), len, bytes, room);
    bool fine = n >= 0 ? put_extent(e, row, value, (struct pg_bytes){bytes, (size_t)n})
                       : wire_enc_fail(e, value, "characters that the character set has");
    free(bytes);
    return fine;
}

static bool encode_digits(struct encoder *e, const struct wire_row *row, const json_t *value)
{
    if (!json_is_string(value) || json_string_length(value) != row->width * 2u) {
        return wire_enc_fail(e, value, "a text of %u digits", row->width * 2u);
    }
    return encode_hex(e, row, value);
}

bool wire_enc_value(struct encoder *e, const struct wire_row *row, json_t *value)
{
    uint64_t raw;
    switch (row->kind) {
    case WIRE_TIME:
        return encode_time(e, row, value);
    case WIRE_DIGITS:
        return encode_digits(e, row, value);
    case WIRE_TEXT:
        return encode_text(e, row, value);
    case WIRE_HEX:
        return encode_hex(e, row, value);
    default:
        if (!wire_enc_integer(e, row, value, &raw)) {
            return false;
        }
        wire_enc_put_integer(e, row, raw);
        return true;
    }
}

bool wire_enc_exact(struct encoder *e, const struct wire_row *row, json_t *hex)
{
    uint8_t *bytes;
    size_t len;
    if (!hex_value(e, hex, &bytes, &len)) {
        return false;
    }
    size_t width = row->kind == WIRE_TIME ? 6 : row->width;
    bool fine = true;
    if (width != 0 && len != width) {
        fine = wire_enc_fail(e, hex, "%zu hexadecimal digits", width * 2);
    } else if (wire_kind_is_integer(row->kind)) {
        uint64_t raw = 0;
        for (size_t i = 0; i < len; i++) {
            raw = raw << 8 | bytes[i];
        }
        wire_enc_put_integer(e, row, raw);
    } else {
        fine = put_extent(e, row, hex, (struct pg_bytes){bytes, len});
    }
    free(bytes);
    return fine;
}
