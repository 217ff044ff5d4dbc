/* SPDX-License-Identifier: Apache-2.0 */

/* From a JSON object to the bytes of a body: the walk of the rows with JSON as its source.
 *
 * Counts and lengths are written as zeros first and set when their list or text has been written,
 * so that there is no second formula for a length. Words whose bits tell which fields exist may be
 * left out: they are derived from the fields that are there. A member that nothing asked for is an
 * error, because it is a typing mistake nearly always; but one document may serve devices of
 * several editions where a row says that its field may be left out.
 *
 * Several items may share a name with different layouts; the first one that takes the members is
 * written ("layout" or "length" tells which, where the reader said so).
 */

#include "wire/encode.h"

#include <stdio.h>

/* Counts written in one object that wait for their list. */
#define PENDING_MAX 8

struct pending {
    const struct wire_row *row;
    size_t at;
    json_t *given; /* null: derived */
    bool exact;    /* given as bytes: kept even if wrong */
};

struct object {
    const struct wire_row *rows;
    const struct wire_row *end; /* rows from here on were left out (optional) */
    json_t *json;
    json_t *exact;
    struct pending pending[PENDING_MAX];
    unsigned pending_count;
    bool item; /* also has id, length, name, layout */
};

static bool encode_object(struct encoder *e, const struct wire_row *rows, json_t *json, bool item);
static bool encode_entries(struct encoder *e, const struct wire_row *row, json_t *list,
                           uint64_t *count);

/* ---- which rows exist ----------------------------------------------------------------------- */

static bool edition_has(const struct encoder *e, const struct wire_row *row)
{
    return (row->since == 0 || e->edition >= row->since) &&
           (row->until == 0 || e->edition <= row->until);
}

static bool row_exists(const struct encoder *e, const struct wire_row *row)
{
    if (!edition_has(e, row) || row->when == 0) {
        return edition_has(e, row);
    }
    bool holds = (e->reg[row->when] & row->when_mask) == row->when_value;
    return holds != ((row->flags & WIRE_UNLESS) != 0);
}

/* The row that counts from this count. */
static const struct wire_row *counted_row(const struct wire_row *count)
{
    for (const struct wire_row *row = count + 1; row->kind != WIRE_END; row++) {
        if (row->kind != WIRE_COUNT && row->count == count->keep) {
            return row;
        }
    }
    return NULL;
}

static const char *json_name(const struct encoder *e, const struct wire_row *row)
{
    bool raw = e->shape == WIRE_SHAPE_WIRE && (row->flags & WIRE_SHOW_RAW) != 0;
    return raw ? "raw" : wire_row_name(row, e->shape);
}

/* What the object has for a row; null if nothing. */
static json_t *member_of(const struct encoder *e, const struct object *o,
                         const struct wire_row *row)
{
    return json_object_get(o->json, json_name(e, row));
}

static bool row_is_given(const struct encoder *e, const struct object *o,
                         const struct wire_row *row)
{
    if (member_of(e, o, row) != NULL || json_object_get(o->exact, row->name) != NULL) {
        return true;
    }
    const struct wire_row *list = row->kind == WIRE_COUNT ? counted_row(row) : NULL;
    return list != NULL && member_of(e, o, list) != NULL;
}

/* ---- members that nothing asked for --------------------------------------------------------- */

/* `member` is `name`, without "_hex" if it has that, and `suffix`. */
static bool is_name_with(const char *member, const char *name, const char *suffix)
{
    size_t n = strlen(name);
    if (strncmp(member, name, n) == 0 && strcmp(member + n, suffix) == 0) {
        return true;
    }
    return n > 4 && strcmp(name + n - 4, "_hex") == 0 && strncmp(member, name, n - 4) == 0 &&
           strcmp(member + n - 4, suffix) == 0;
}

static bool row_takes(const struct encoder *e, const struct wire_row *row, const char *member)
{
    if (strcmp(row->name, member) == 0) {
        return true;
    }
    if (row->kind == WIRE_BITS && row->bits != NULL && row->bits->list != NULL &&
        strcmp(row->bits->list, member) == 0) {
        return true;
    }
    if (row->kind == WIRE_BITS &&
        (is_name_with(member, row->name, "_flags") ||
         (strcmp(row->name, "value") == 0 && strcmp(member, "flags") == 0))) {
        return true;
    }
    if (row->kind == WIRE_PACK) {
        for (const struct wire_row *part = row->rows; part->kind != WIRE_END; part++) {
            if (edition_has(e, part) && strcmp(part->name, member) == 0) {
                return true;
            }
        }
    }
    return ((row->flags & WIRE_SHOW_RAW) != 0 && strcmp(member, "raw") == 0) ||
           ((row->flags & WIRE_SIGNED_TOO) != 0 && is_name_with(member, row->name, "_signed")) ||
           ((row->flags & WIRE_SHOW_LENGTH) != 0 && is_name_with(member, row->name, "_length"));
}

/* How far two names are apart, for suggestions: 0 equal, small for a slip of the fingers. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[40];
    size_t n = strlen(b);
    if (n >= sizeof(row) / sizeof(row[0]) || strlen(a) > 60) {
        return 99;
    }
    for (unsigned j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n];
}

static bool fail_unknown(struct encoder *e, const struct object *o, const char *member)
{
    const char *nearest = NULL;
    unsigned best = 4;
    for (const struct wire_row *row = o->rows; row->kind != WIRE_END; row++) {
        unsigned d = row->name != NULL ? distance(member, row->name) : 99;
        if (d < best) {
            best = d;
            nearest = row->name;
        }
    }
    wire_enc_enter(e, member, 0);
    if (nearest != NULL) {
        wire_enc_fail(e, json_object_get(o->json, member),
                      "a field of this object (did you mean \"%s\"?)", nearest);
    } else {
        wire_enc_fail(e, json_object_get(o->json, member), "a field of this object");
    }
    wire_enc_leave(e);
    return false;
}

/* A field is given that does not exist under these conditions. */
static bool fail_absent(struct encoder *e, const struct object *o, const struct wire_row *row)
{
    const struct wire_row *word = row->when != 0 ? e->reg_row[row->when] : NULL;
    wire_enc_enter(e, row->name, 0);
    json_t *value = json_object_get(o->json, row->name);
    if (!edition_has(e, row)) {
        wire_enc_fail(e, value, "no such field in edition %u", e->edition);
    } else if (word != NULL) {
        wire_enc_fail(e, value, "no such field unless %s %s 0x%x", word->name,
                      (row->flags & WIRE_UNLESS) != 0 ? "is not" : "has", row->when_value);
    } else {
        wire_enc_fail(e, value, "no field after \"%s\", which is not given", o->end->name);
    }
    wire_enc_leave(e);
    return false;
}

static bool check_members(struct encoder *e, const struct object *o)
{
    static const char *const common[] = {"exact", "invalid", "abnormal", "out_of_range",
                                         "extra_hex"};
    const char *member;
    json_t *value;
    json_object_foreach(o->json, member, value)
    {
        const struct wire_row *known = NULL;
        bool exists = false;
        for (const struct wire_row *row = o->rows; row->kind != WIRE_END; row++) {
            if (row->name != NULL && row_takes(e, row, member)) {
                known = row;
                exists = exists || (row_exists(e, row) && (o->end == NULL || row < o->end));
            }
        }
        bool fine = exists ||
                    (known != NULL && (known->flags & WIRE_IGNORED) != 0 && !edition_has(e, known));
        for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
            fine = fine || strcmp(common[i], member) == 0;
        }
        if (o->item) {
            fine = fine || strcmp(member, e->id_key != NULL ? e->id_key : "id") == 0 ||
                   strcmp(member, "length") == 0 || strcmp(member, "name") == 0 ||
                   strcmp(member, "layout") == 0;
        }
        if (!fine) {
            return known != NULL ? fail_absent(e, o, known) : fail_unknown(e, o, member);
        }
    }
    return true;
}

/* "exact", "invalid" and "abnormal" are objects with names of fields. */
static bool check_notes(struct encoder *e, const struct object *o)
{
    static const char *const notes[] = {"exact", "invalid", "abnormal"};
    for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
        const char *name;
        json_t *entry;
        json_t *of = json_object_get(o->json, notes[i]);
        if (of != NULL && !json_is_object(of)) {
            wire_enc_enter(e, notes[i], 0);
            wire_enc_fail(e, of, "an object with names of fields");
            wire_enc_leave(e);
            return false;
        }
        json_object_foreach(of, name, entry)
        {
            const struct wire_row *row = o->rows;
            while (row->kind != WIRE_END && (row->name == NULL || strcmp(row->name, name) != 0)) {
                row++;
            }
            if (row->kind == WIRE_END) {
                wire_enc_enter(e, notes[i], 0);
                wire_enc_fail(e, entry, "names of fields of this object, not \"%.40s\"", name);
                wire_enc_leave(e);
                return false;
            }
        }
    }
    return true;
}

static bool encode_null(struct encoder *e, const struct object *o, const struct wire_row *row,
                        json_t *value)
{
    static const char *const why[] = {"invalid", "abnormal"};
    for (unsigned i = 0; i < 2; i++) {
        json_t *entry = json_object_get(json_object_get(o->json, why[i]), row->name);
        json_t *raw = json_object_get(entry, "raw");
        if (raw != NULL) {
            return wire_enc_exact(e, row, raw);
        }
    }
    if ((row->flags & WIRE_INVALID) != 0) {
        wire_enc_put_integer(e, row, (UINT64_C(1) << (8u * row->width)) - 1);
        return true;
    }
    return wire_enc_fail(e, value, "a value, or the bytes under \"invalid\"");
}

/* ---- counts --------------------------------------------------------------------------------- */

static bool encode_count(struct encoder *e, struct object *o, const struct wire_row *row)
{
    json_t *exact = json_object_get(o->exact, row->name);
    if (o->pending_count == PENDING_MAX) {
        return wire_enc_fail(e, NULL, "a table with at most %u counts", PENDING_MAX);
    }
    struct pending *p = &o->pending[o->pending_count];
    *p = (struct pending){.row = row, .at = e->out->len, .exact = exact != NULL};
    p->given = e->shape == WIRE_SHAPE_ALIAS ? NULL : json_object_get(o->json, row->name);
    o->pending_count++;
    if (exact != NULL) {
        return wire_enc_exact(e, row, exact);
    }
    if (json_is_null(p->given)) { /* a marker, which counts nothing */
        p->exact = true;
        wire_enc_enter(e, row->name, 0);
        bool fine = encode_null(e, o, row, p->given);
        wire_enc_leave(e);
        return fine;
    }
    wire_enc_put_integer(e, row, 0);
    return true;
}

static bool settle_counts(struct encoder *e, struct object *o, const struct wire_row *list,
                          uint64_t actual)
{
    for (unsigned i = 0; i < o->pending_count; i++) {
        const struct pending *p = &o->pending[i];
        if (p->row->keep != list->count || p->exact) {
            continue;
        }
        wire_enc_enter(e, p->row->name, 0);
        uint64_t given = actual;
        bool fine = p->given == NULL || wire_enc_integer(e, p->row, p->given, &given);
        if (fine && actual == 0 && wire_marker_of(p->row, given) != WIRE_MARKER_NONE) {
            wire_out_patch(e->out, p->at, given, p->row->width); /* it counts nothing */
            wire_enc_leave(e);
            continue;
        }
        if (fine && given != actual) {
            fine = wire_enc_fail(e, p->given, "%llu, the size of %s (or leave it out)",
                                 (unsigned long long)actual, list->name);
        }
        if (fine && p->row->width < 8 && actual >> (8u * p->row->width) != 0) {
            fine = wire_enc_fail(e, NULL, "at most %llu in %s, there are %llu",
                                 (unsigned long long)(UINT64_C(1) << (8u * p->row->width)) - 1,
                                 list->name, (unsigned long long)actual);
        }
        wire_enc_leave(e);
        if (!fine) {
            return false;
        }
        wire_out_patch(e->out, p->at, actual, p->row->width);
        e->reg[p->row->keep] = actual;
    }
    return true;
}

/* ---- fields --------------------------------------------------------------------------------- */

/* The bits that the given conditional fields need. */
static uint64_t derived_bits(const struct encoder *e, const struct object *o,
                             const struct wire_row *word)
{
    uint64_t bits = 0;
    for (const struct wire_row *row = word + 1; row->kind != WIRE_END; row++) {
        if (row->when == word->keep && (row->flags & WIRE_UNLESS) == 0 && edition_has(e, row) &&
            member_of(e, o, row) != NULL) {
            bits |= row->when_value;
        }
    }
    return bits;
}

static json_t *flags_of(const struct object *o, const struct wire_row *row)
{
    char name[64];
    if (row->kind != WIRE_BITS || row->bits == NULL) {
        return NULL;
    }
    if (row->bits->list != NULL) {
        return json_object_get(o->json, row->bits->list);
    }
    if (strcmp(row->name, "value") == 0) {
        return json_object_get(o->json, "flags");
    }
    snprintf(name, sizeof(name), "%s_flags", row->name);
    return json_object_get(o->json, name);
}

/* The names beside a number must be those of its bits. */
static bool check_flags(struct encoder *e, const struct wire_row *row, json_t *number,
                        json_t *flags)
{
    uint64_t word;
    uint64_t named;
    uint64_t all = 0;
    if (!wire_enc_integer(e, row, number, &word) || !wire_enc_flags(e, row, flags, &named)) {
        return false;
    }
    for (unsigned b = 0; b < 32; b++) {
        all |= row->bits->names[b] != NULL ? UINT64_C(1) << b : 0;
    }
    for (const struct wire_bit_field *f = row->bits->fields; f != NULL && f->mask != 0; f++) {
        all |= f->mask;
    }
    /* Values of these bits without a name cannot be told by names. */
    for (const struct wire_bit_field *f = row->bits->fields; f != NULL && f->mask != 0; f++) {
        bool is_named = false;
        for (const struct wire_bit_field *g = row->bits->fields; g->mask != 0; g++) {
            is_named = is_named || (g->mask == f->mask && g->value == (word & f->mask));
        }
        all &= is_named ? ~(uint64_t)0 : ~(uint64_t)f->mask;
    }
    if ((word & all) != (named & all)) {
        return wire_enc_fail(e, flags, "the names of the bits of %s, or only one of both",
                             row->name);
    }
    return true;
}

static bool encode_missing(struct encoder *e, const struct object *o, const struct wire_row *row)
{
    /* Applications of an older edition do not know what a newer one added. */
    bool added = e->shape == WIRE_SHAPE_ALIAS && row->since != 0;
    if ((row->flags & WIRE_DEFAULTS) == 0 && !added) {
        return wire_enc_fail(e, NULL, "this field%s%s", row->unit != NULL ? " in " : "",
                             row->unit != NULL ? row->unit : "");
    }
    if (wire_kind_is_integer(row->kind)) {
        wire_enc_put_integer(e, row, row->keep != 0 ? derived_bits(e, o, row) : row->value);
    } else {
        wire_out_fill(e->out, 0,
                      row->kind == WIRE_TIME ? 6u
                      : row->width != 0      ? row->width
                                             : row->prefix);
    }
    return true;
}

/* A single value: from its exact bytes, its names, its value or its default. */
static bool encode_leaf(struct encoder *e, struct object *o, const struct wire_row *row)
{
    json_t *exact = json_object_get(o->exact, row->name);
    json_t *value = member_of(e, o, row);
    json_t *flags = flags_of(o, row);
    wire_enc_enter(e, row->name, 0);
    bool fine;
    size_t before = e->out->len;
    uint64_t word;
    if (exact != NULL) {
        fine = wire_enc_exact(e, row, exact);
    } else if (value == NULL && flags != NULL) {
        fine = wire_enc_flags(e, row, flags, &word);
        if (fine) {
            wire_enc_put_integer(e, row, word);
        }
    } else if (value == NULL) {
        fine = encode_missing(e, o, row);
    } else if (json_is_null(value)) {
        fine = encode_null(e, o, row, value);
    } else {
        fine =
            (flags == NULL || check_flags(e, row, value, flags)) && wire_enc_value(e, row, value);
    }
    wire_enc_leave(e);
    if (fine && row->count != 0) {
        fine = settle_counts(e, o, row, e->out->len - before);
    }
    return fine;
}

static bool encode_pack(struct encoder *e, const struct object *o, const struct wire_row *row)
{
    uint64_t word = 0;
    for (const struct wire_row *part = row->rows; part->kind != WIRE_END; part++) {
        json_t *value = member_of(e, o, part);
        uint64_t raw = 0;
        if (!edition_has(e, part)) {
            continue;
        }
        wire_enc_enter(e, part->name, 0);
        bool fine = value != NULL ? wire_enc_integer(e, part, value, &raw)
                                  : (part->flags & (WIRE_DEFAULTS | WIRE_QUIET)) != 0 ||
                                        wire_enc_fail(e, NULL, "this field");
        wire_enc_leave(e);
        if (!fine) {
            return false;
        }
        word |= raw << part->shift;
    }
    wire_enc_put_integer(e, row, word);
    return true;
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* An object with this one member alone. */
static json_t *only_member(json_t *value, const char *name)
{
    return json_object_size(value) == 1 ? json_object_get(value, name) : NULL;
}

static bool encode_boxed(struct encoder *e, const struct wire_row *row, json_t *value)
{
    size_t at = e->out->len;
    wire_out_uint(e->out, 0, row->prefix);
    json_t *hex = only_member(value, "hex");
    bool fine = hex != NULL ? wire_enc_hex(e, hex) : encode_object(e, row->rows, value, false);
    uint64_t n = e->out->len - at - row->prefix;
    if (fine && row->prefix < 8 && n >> (8u * row->prefix) != 0 && !e->out->failed) {
        fine = wire_enc_fail(e, value, "an entry of less than %llu bytes",
                             (unsigned long long)(UINT64_C(1) << (8u * row->prefix)));
    }
    wire_out_patch(e->out, at, n, row->prefix);
    return fine;
}

static bool encode_entry(struct encoder *e, const struct wire_row *row, json_t *value)
{
    if (row->prefix != 0) {
        return encode_boxed(e, row, value);
    }
    if (row->rows[0].name != NULL) {
        return encode_object(e, row->rows, value, false);
    }
    if (json_is_null(value) && (row->rows[0].flags & WIRE_INVALID) != 0) {
        wire_out_fill(e->out, 0xff, row->rows[0].width);
        return true;
    }
    return wire_enc_value(e, &row->rows[0], value);
}

static const struct wire_item *find_item(const struct encoder *e, const struct wire_items *items,
                                         const char *name, size_t len)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct wire_item *item = &items->item[i];
        if (strlen(item->name) == len && memcmp(item->name, name, len) == 0 &&
            (item->since == 0 || e->edition >= item->since) &&
            (item->until == 0 || e->edition <= item->until)) {
            return item;
        }
    }
    return NULL;
}

static bool put_item_head(struct encoder *e, const struct wire_items *items, uint64_t id)
{
    if (items->id_width < 8 && id >> (8u * items->id_width) != 0) {
        return wire_enc_fail(e, NULL, "an id of %u bytes", items->id_width);
    }
    wire_out_uint(e->out, id, items->id_width);
    wire_out_uint(e->out, 0, items->length_width);
    return true;
}

static bool end_item(struct encoder *e, const struct wire_items *items, size_t start)
{
    size_t n = e->out->len - start;
    if (!e->out->failed && n >> (8u * items->length_width) != 0) {
        return wire_enc_fail(e, NULL, "a value of less than %llu bytes, there are %zu",
                             (unsigned long long)(UINT64_C(1) << (8u * items->length_width)), n);
    }
    wire_out_patch(e->out, start - items->length_width, n, items->length_width);
    return true;
}

/* One item by one layout. `value` is the object with its fields, or the single value itself. */
static bool encode_item_rows(struct encoder *e, const struct wire_item *item, json_t *value,
                             bool flat, size_t length)
{
    size_t start = e->out->len;
    bool fine;
    if (flat && item->rows[0].kind == WIRE_LIST) {
        uint64_t n;
        fine = encode_entries(e, &item->rows[0], value, &n);
    } else if (flat) {
        fine = wire_enc_value(e, &item->rows[0], value);
    } else {
        fine = encode_object(e, item->rows, value, true);
    }
    size_t n = e->out->len - start;
    if (fine && ((!item->any_length && n != item->length) || (length != SIZE_MAX && n != length)) &&
        !e->out->failed) {
        size_t want = length != SIZE_MAX ? length : item->length;
        fine = wire_enc_fail(e, value, "a value of %zu bytes, this has %zu", want, n);
    }
    return fine;
}

static bool layout_is(const struct wire_item *item, const json_t *name)
{
    return item->layout != NULL && json_is_string(name) &&
           strcmp(item->layout, json_string_value(name)) == 0;
}

/* An item with an id that is known: the first layout that takes the members. */
static bool encode_item_value(struct encoder *e, const struct wire_items *items, uint64_t id,
                              json_t *value, bool flat)
{
    json_t *given = flat ? NULL : json_object_get(value, "length");
    json_t *layout = flat ? NULL : json_object_get(value, "layout");
    size_t length = SIZE_MAX;
    if (given != NULL && (!json_is_integer(given) || json_integer_value(given) < 0)) {
        return wire_enc_fail(e, given, "a number of bytes under \"length\"");
    }
    if (given != NULL) {
        length = (size_t)json_integer_value(given);
    }
    bool tried = false;
    struct encoder start = *e;
    size_t at = e->out->len;
    for (size_t i = 0; i < items->n; i++) {
        const struct wire_item *item = &items->item[i];
        uint32_t last = item->last_id != 0 ? item->last_id : item->id;
        if (id < item->id || id > last || item->rows == NULL ||
            (item->since != 0 && e->edition < item->since) ||
            (item->until != 0 && e->edition > item->until) ||
            (length != SIZE_MAX && !item->any_length && item->length != length) ||
            (layout != NULL && !layout_is(item, layout))) {
            continue;
        }
        struct encoder attempt = start;
        e->out->len = at;
        tried = true;
        if (encode_item_rows(&attempt, item, value, flat, length)) {
            *e = attempt;
            return true;
        }
    }
    return tried ? false
                 : wire_enc_fail(e, value, "{\"hex\": ...}, as the id or length is not known");
}

/* Items under their names. */
static bool encode_named_item(struct encoder *e, const struct wire_items *items, const char *key,
                              json_t *value)
{
    if (strcmp(key, "truncated_hex") == 0) {
        return wire_enc_hex(e, value);
    }
    size_t len = strcspn(key, "#");
    const struct wire_item *item = find_item(e, items, key, len);
    char *end = NULL;
    unsigned long id = item != NULL ? item->id : 0;
    if (item == NULL && strncmp(key, "0x", 2) == 0) {
        id = strtoul(key + 2, &end, 16);
        if (end == key + 2 || end != key + len) {
            end = NULL;
        }
    }
    if (item == NULL && end == NULL) {
        return wire_enc_fail(e, value, "the name of an item, or its id such as \"0xe1\"");
    }
    if (!put_item_head(e, items, id)) {
        return false;
    }
    size_t start = e->out->len;
    json_t *hex = only_member(value, "hex");
    bool fine;
    if (hex != NULL) {
        fine = wire_enc_hex(e, hex);
    } else {
        fine = encode_item_value(e, items, id, value, !json_is_object(value));
    }
    return fine && end_item(e, items, start);
}

static bool item_id(struct encoder *e, const struct wire_items *items, json_t *value, uint64_t *id)
{
    const char *key = items->id_key != NULL ? items->id_key : "id";
    json_t *given = json_object_get(value, key);
    json_t *name = json_object_get(value, "name");
    const struct wire_row any = {.name = key, .kind = WIRE_UINT, .width = items->id_width};
    if (given != NULL) {
        wire_enc_enter(e, key, 0);
        bool fine = wire_enc_integer(e, &any, given, id);
        wire_enc_leave(e);
        return fine;
    }
    const struct wire_item *item =
        json_is_string(name)
            ? find_item(e, items, json_string_value(name), json_string_length(name))
            : NULL;
    if (item == NULL) {
        return wire_enc_fail(e, name, "an object with \"%s\" or a known \"name\"", key);
    }
    *id = item->id;
    return true;
}

/* A number in the width that "length" says instead of the table's. */
static bool encode_other_width(struct encoder *e, const struct wire_item *item, json_t *value)
{
    struct wire_row rows[] = {item->rows[0], WIRE_END_OF_ROWS};
    rows[0].width = (uint8_t)json_integer_value(json_object_get(value, "length"));
    return encode_object(e, rows, value, true);
}

/* What a reader could not read: "unparsable", "truncated", or what follows the last item. */
static bool encode_rest(struct encoder *e, const struct wire_items *items, json_t *value,
                        json_t *hex)
{
    uint64_t id = 0;
    wire_enc_enter(e, "hex", 0);
    json_t *given = json_object_get(value, items->id_key != NULL ? items->id_key : "id");
    bool fine = true;
    if (!json_is_null(given) && given != NULL) {
        fine = item_id(e, items, value, &id);
        wire_out_uint(e->out, id, items->id_width);
    }
    fine = fine && wire_enc_hex(e, hex);
    wire_enc_leave(e);
    return fine;
}

/* One item without a length. */
static bool encode_bare_item(struct encoder *e, const struct wire_items *items, json_t *value)
{
    uint64_t id = 0;
    json_t *hex = json_object_get(value, "hex");
    json_t *name = json_object_get(value, "name");
    if (hex != NULL && json_is_string(name) &&
        find_item(e, items, json_string_value(name), json_string_length(name)) == NULL) {
        return encode_rest(e, items, value, hex);
    }
    if (!item_id(e, items, value, &id)) {
        return false;
    }
    const struct wire_item *item = wire_item_by_id(items, (uint32_t)id, e->edition);
    if (item == NULL || item->rows == NULL) {
        return wire_enc_fail(e, value, "an item that edition %u has, or one with \"hex\"",
                             e->edition);
    }
    if (name != NULL &&
        (!json_is_string(name) || strcmp(json_string_value(name), item->name) != 0)) {
        return wire_enc_fail(e, name, "\"%s\", the name of item %llu, or only one of both",
                             item->name, (unsigned long long)id);
    }
    wire_out_uint(e->out, id, items->id_width);
    return encode_object(e, item->rows, value, true);
}

/* Items as a list of objects with an id. */
static bool encode_listed_item(struct encoder *e, const struct wire_items *items, json_t *value)
{
    uint64_t id = 0;
    json_t *truncated = only_member(value, "truncated_hex");
    if (truncated != NULL) {
        return wire_enc_hex(e, truncated);
    }
    if (!item_id(e, items, value, &id) || !put_item_head(e, items, id)) {
        return false;
    }
    size_t start = e->out->len;
    json_t *hex = items->by_name ? json_object_get(value, "hex")
                                 : json_object_get(json_object_get(value, "value"), "hex");
    const struct wire_item *known = wire_item_by_id(items, (uint32_t)id, e->edition);
    bool is_text = known != NULL && known->rows != NULL && known->rows[0].kind == WIRE_TEXT;
    json_t *length = json_object_get(value, "length");
    bool bytes = known == NULL || known->alias == NULL;
    bool fine;
    if (e->shape == WIRE_SHAPE_ALIAS && bytes) {
        static const struct wire_row rest = {.kind = WIRE_HEX};
        fine = wire_enc_value(e, &rest, json_object_get(value, "value"));
    } else if (hex != NULL && !is_text) {
        fine = wire_enc_hex(e, hex);
    } else if (json_is_integer(length) && json_integer_value(length) > 0 && !items->by_name &&
               wire_item_has_other_width(known, (size_t)json_integer_value(length))) {
        fine = encode_other_width(e, known, value);
    } else {
        fine = encode_item_value(e, items, id, value, false);
    }
    return fine && end_item(e, items, start);
}

static bool encode_items(struct encoder *e, const struct wire_row *row, json_t *list,
                         uint64_t *count)
{
    const char *key;
    json_t *value;
    size_t i;
    *count = 0;
    if (json_is_object(list) && row->items->by_name) {
        json_object_foreach(list, key, value)
        {
            wire_enc_enter(e, key, 0);
            if (!encode_named_item(e, row->items, key, value)) {
                return false;
            }
            wire_enc_leave(e);
            *count += strcmp(key, "truncated_hex") != 0;
        }
        return true;
    }
    if (!json_is_array(list)) {
        return wire_enc_fail(
            e, list, row->items->by_name ? "an object of items by their names" : "a list of items");
    }
    json_array_foreach(list, i, value)
    {
        wire_enc_enter(e, NULL, i);
        const char *outer = e->id_key;
        e->id_key = row->items->id_key;
        if (!(row->items->length_width == 0 ? encode_bare_item(e, row->items, value)
                                            : encode_listed_item(e, row->items, value))) {
            return false;
        }
        e->id_key = outer;
        wire_enc_leave(e);
        *count += only_member(value, "truncated_hex") == NULL;
    }
    return true;
}

static bool encode_entries(struct encoder *e, const struct wire_row *row, json_t *list,
                           uint64_t *count)
{
    size_t i;
    json_t *value;
    *count = 0;
    if (!json_is_array(list)) {
        return wire_enc_fail(e, list, "a list");
    }
    json_array_foreach(list, i, value)
    {
        json_t *truncated = only_member(value, "truncated_hex");
        wire_enc_enter(e, NULL, i);
        if (!(truncated != NULL ? wire_enc_hex(e, truncated) : encode_entry(e, row, value))) {
            return false;
        }
        wire_enc_leave(e);
        *count += truncated == NULL;
    }
    return true;
}

/* Values of a list that are null are invalid ones, but for those that "abnormal" tells. The sum is
 * kept, if the row wants that. */
static bool settle_values(struct encoder *e, const struct object *o, const struct wire_row *row,
                          size_t start)
{
    const struct wire_row *value = &row->rows[0];
    json_t *places = json_object_get(json_object_get(o->json, "abnormal"), row->name);
    size_t i;
    json_t *place;
    if (value->name != NULL || value->width == 0 || value->width > 8 || e->out->failed) {
        return true;
    }
    size_t count = (e->out->len - start) / value->width;
    uint64_t ones = value->width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8u * value->width)) - 1;
    json_array_foreach(places, i, place)
    {
        if ((value->flags & WIRE_ABNORMAL) == 0 || !json_is_integer(place) ||
            json_integer_value(place) < 0 || (uint64_t)json_integer_value(place) >= count) {
            return wire_enc_fail(e, place, "under \"abnormal\", the place of a value of the list");
        }
        wire_out_patch(e->out, start + (size_t)json_integer_value(place) * value->width, ones - 1,
                       value->width);
    }
    if (row->keep != 0) {
        e->reg[row->keep] = 0;
        for (size_t at = start; at < e->out->len; at++) {
            size_t below = (e->out->len - 1 - at) % value->width;
            e->reg[row->keep] += (uint64_t)e->out->data[at] << (8 * below);
        }
    }
    return true;
}

static bool encode_list(struct encoder *e, struct object *o, const struct wire_row *row)
{
    json_t *list = member_of(e, o, row);
    uint64_t count = 0;
    unsigned depth = e->depth;
    size_t start = e->out->len;
    wire_enc_enter(e, row->name, 0);
    bool fine;
    if (list == NULL) {
        fine = (row->flags & WIRE_DEFAULTS) != 0 || wire_enc_fail(e, NULL, "a list");
    } else if (row->kind == WIRE_ITEMS) {
        fine = encode_items(e, row, list, &count);
    } else {
        fine = encode_entries(e, row, list, &count) && settle_values(e, o, row, start);
    }
    e->depth = depth;
    return fine && (row->count == 0 || settle_counts(e, o, row, count));
}

/* ---- objects -------------------------------------------------------------------------------- */

static bool encode_row(struct encoder *e, struct object *o, const struct wire_row *row)
{
    bool fine;
    switch (row->kind) {
    case WIRE_FACT:
        return true;
    case WIRE_COUNT:
        return encode_count(e, o, row);
    case WIRE_PACK:
        return encode_pack(e, o, row);
    case WIRE_LIST:
    case WIRE_ITEMS:
        return encode_list(e, o, row);
    case WIRE_STRUCT:
        if (json_name(e, row)[0] == '\0') { /* its members stand in this object */
            return encode_object(e, row->rows, o->json, false);
        }
        wire_enc_enter(e, row->name, 0);
        fine = encode_object(e, row->rows, member_of(e, o, row), false);
        wire_enc_leave(e);
        return fine;
    default:
        return encode_leaf(e, o, row);
    }
}

static bool encode_object(struct encoder *e, const struct wire_row *rows, json_t *json, bool item)
{
    struct object o = {.rows = rows, .json = json, .item = item};
    if (!json_is_object(json)) {
        return wire_enc_fail(e, json, "an object");
    }
    bool alias = e->shape == WIRE_SHAPE_ALIAS; /* it has no notes */
    o.exact = alias ? NULL : json_object_get(json, "exact");
    if (!alias && !check_notes(e, &o)) {
        return false;
    }
    for (const struct wire_row *row = rows; row->kind != WIRE_END; row++) {
        if (!row_exists(e, row)) {
            continue;
        }
        if ((row->flags & WIRE_OPTIONAL) != 0 && !row_is_given(e, &o, row)) {
            o.end = row;
            break;
        }
        if (!encode_row(e, &o, row)) {
            return false;
        }
    }
    if (alias) {
        return true;
    }
    json_t *extra = json_object_get(json, "extra_hex");
    bool own_row =
        rows[0].kind != WIRE_END && rows[0].name != NULL && strcmp(rows[0].name, "extra_hex") == 0;
    if (extra != NULL && !own_row) {
        wire_enc_enter(e, "extra_hex", 0);
        bool fine = wire_enc_hex(e, extra);
        wire_enc_leave(e);
        if (!fine) {
            return false;
        }
    }
    return check_members(e, &o);
}

bool wire_encode(const struct wire_row *rows, json_t *object, const char *path, unsigned edition,
                 enum wire_shape shape, enum wire_charset charset, struct wire_out *out,
                 struct wire_error *error)
{
    struct encoder e = {.out = out,
                        .edition = edition,
                        .shape = shape,
                        .charset = charset,
                        .error = error,
                        .root = path};
    if (!encode_object(&e, rows, object, false)) {
        return false;
    }
    return !out->failed || wire_enc_fail(&e, object, "a body of at most %zu bytes", out->limit);
}
