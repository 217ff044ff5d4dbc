/* SPDX-License-Identifier: Apache-2.0 */

/* Walking a body along its rows: the one reader of the wire for JSON, dump, lookup and judging.
 *
 * The walk reads through a cursor and reports each field, struct, list and item as an event. Counts
 * are never trusted for bounds: a list ends with its bytes, and a disagreement is a fault that is
 * reported. Items and boxed entries stand alone: each has a cursor of its own, is judged first by
 * a walk without a visitor, and is given as bytes if it does not fit, so that one broken entry
 * never costs its neighbours. Items without a length end where their rows end, so that counts do
 * bound their lists; the first one that is unknown or does not fit ends the reading.
 *
 * No allocation, no state; the depth of recursion is the depth of the tables.
 */

#include "wire/table.h"

#include "wire/cursor.h"
#include "wire/text.h"

const char *const wire_fault_names[WIRE_FAULTS] = {"count", "truncated", "surplus", "entry",
                                                   "body"};

struct walk {
    wire_visit *visit; /* null: judge only */
    void *context;
    unsigned edition;
    unsigned faults;
    unsigned doubts;
    unsigned kept;                    /* bit for each register that was kept */
    bool exact;                       /* inside items without a length: counts decide */
    uint64_t reg[WIRE_REGISTERS + 1]; /* reg[0] is never used */
};

static bool walk_rows(struct walk *w, const struct wire_row *rows, struct cursor *c);

static void emit(const struct walk *w, const struct wire_event *event)
{
    if (w->visit != NULL) {
        w->visit(w->context, event);
    }
}

static uint64_t take_uint(struct cursor *c, unsigned width)
{
    struct pg_bytes b = cursor_take(c, width);
    uint64_t value = 0;
    for (size_t i = 0; i < b.len; i++) {
        value = value << 8 | b.data[i];
    }
    return value;
}

bool wire_kind_is_integer(unsigned kind)
{
    return kind == WIRE_UINT || kind == WIRE_BITS || kind == WIRE_SIGNMAG || kind == WIRE_COUNT ||
           kind == WIRE_PART || kind == WIRE_FACT;
}

enum wire_marker wire_marker_of(const struct wire_row *row, uint64_t raw)
{
    uint64_t ones = row->width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * row->width)) - 1;
    if ((row->flags & WIRE_INVALID) != 0 && raw == ones) {
        return WIRE_MARKER_INVALID;
    }
    return (row->flags & WIRE_ABNORMAL) != 0 && raw == ones - 1 ? WIRE_MARKER_ABNORMAL
                                                                : WIRE_MARKER_NONE;
}

bool wire_in_range(const struct wire_row *row, uint64_t raw)
{
    if ((row->flags & WIRE_RANGE) == 0 || (row->high != 0 && raw >= row->low && raw <= row->high)) {
        return true;
    }
    for (const struct wire_name *n = row->names; n != NULL && n->name != NULL; n++) {
        if (n->value == raw) {
            return true;
        }
    }
    return false;
}

const char *wire_time_parse(const uint8_t bytes[6], bool binary, struct wire_time *time)
{
    static const uint8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned value[6];
    unsigned any = 0;
    bool decimal = true;
    for (unsigned i = 0; i < 6; i++) {
        unsigned high = bytes[i] >> 4;
        unsigned low = bytes[i] & 15u;
        decimal = decimal && (binary || (high < 10 && low < 10));
        any |= bytes[i];
        value[i] = binary ? bytes[i] : high * 10 + low;
    }
    if (any == 0) {
        return "not_set";
    }
    if (!decimal) {
        return "not_decimal";
    }
    *time = (struct wire_time){value[0] + 2000, value[1], value[2], value[3], value[4], value[5]};
    if (value[0] > 99 || time->month < 1 || time->month > 12 || time->day < 1 ||
        time->day > days[time->month - 1] ||
        (time->month == 2 && time->day == 29 && time->year % 4 != 0) || time->hour > 23 ||
        time->minute > 59 || time->second > 59) {
        return "no_date";
    }
    return NULL;
}

static bool row_exists(const struct walk *w, const struct wire_row *row)
{
    if ((row->since != 0 && w->edition < row->since) ||
        (row->until != 0 && w->edition > row->until)) {
        return false;
    }
    if (row->when == 0) {
        return true;
    }
    bool holds = (w->reg[row->when] & row->when_mask) == row->when_value;
    return holds != ((row->flags & WIRE_UNLESS) != 0);
}

static void judge_integer(struct walk *w, const struct wire_row *row, uint64_t value)
{
    if ((row->flags & WIRE_LISTED) != 0) {
        const struct wire_name *n = row->names;
        while (n->name != NULL && n->value != value) {
            n++;
        }
        w->doubts += n->name == NULL;
    }
}

static void judge_text(struct walk *w, const struct wire_row *row, struct pg_bytes text)
{
    if ((row->flags & WIRE_PRINTABLE) != 0) {
        text = wire_text_strip(text);
        for (size_t i = 0; i < text.len; i++) {
            if (text.data[i] < 0x20 || text.data[i] == 0x7f) {
                w->doubts++;
                return;
            }
        }
    }
}

/* The bytes of a text or hex field: fixed, counted in front, counted by a register, or the rest. */
static struct pg_bytes take_extent(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    if (row->width != 0) {
        return cursor_take(c, row->width);
    }
    if (row->prefix != 0) {
        uint64_t n = take_uint(c, row->prefix);
        return n > cursor_left(c) ? cursor_take(c, SIZE_MAX) : cursor_take(c, (size_t)n);
    }
    if (row->count != 0 &&
        (w->exact || (row->flags & WIRE_EXACT) != 0 || row[1].kind != WIRE_END)) {
        uint64_t n = w->reg[row->count];
        return n > cursor_left(c) ? cursor_take(c, SIZE_MAX) : cursor_take(c, (size_t)n);
    }
    struct pg_bytes rest = cursor_rest(c);
    if (row->count != 0 && rest.len != w->reg[row->count]) {
        w->faults |= WIRE_FAULT_COUNT;
    }
    return rest;
}

/* Keep an integer for later rows; a marker counts nothing. */
static void keep(struct walk *w, const struct wire_row *row, uint64_t raw)
{
    if (row->keep != 0) {
        w->reg[row->keep] = wire_marker_of(row, raw) == WIRE_MARKER_NONE ? raw : 0;
        w->kept |= 1u << row->keep;
    }
}

static void walk_pack(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct pg_bytes bytes = cursor_take(c, row->width);
    uint64_t word = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        word = word << 8 | bytes.data[i];
    }
    keep(w, row, word);
    for (const struct wire_row *part = row->rows; part->kind != WIRE_END && !c->failed; part++) {
        if (!row_exists(w, part)) {
            continue;
        }
        struct wire_event event = {.kind = WIRE_EV_FIELD, .row = part, .bytes = bytes};
        event.raw = word >> part->shift & ((UINT64_C(1) << part->width) - 1);
        emit(w, &event);
    }
}

static void walk_field(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct wire_event event = {.kind = WIRE_EV_FIELD, .row = row};
    switch (row->kind) {
    case WIRE_UINT:
    case WIRE_BITS:
    case WIRE_SIGNMAG:
    case WIRE_COUNT:
        event.bytes = cursor_take(c, row->width);
        for (size_t i = 0; i < event.bytes.len; i++) {
            event.raw = event.raw << 8 | event.bytes.data[i];
        }
        keep(w, row, event.raw);
        judge_integer(w, row, event.raw);
        if (row->sign != 0) {
            event.negative = (w->reg[row->sign] & row->sign_mask) != 0;
        }
        break;
    case WIRE_TIME:
    case WIRE_DIGITS:
        event.bytes = cursor_take(c, row->kind == WIRE_TIME ? 6 : row->width);
        break;
    case WIRE_TEXT:
        event.bytes = take_extent(w, row, c);
        judge_text(w, row, event.bytes);
        break;
    case WIRE_FACT:
        event.raw = row->value;
        break;
    default:
        event.bytes = take_extent(w, row, c);
        break;
    }
    if (!c->failed) {
        emit(w, &event);
    }
}

/* Would these rows take exactly these bytes? */
static bool fits_exactly(const struct walk *w, const struct wire_row *rows, struct pg_bytes bytes)
{
    struct walk trial = *w;
    trial.visit = NULL;
    trial.faults = 0;
    struct cursor c = cursor_of(bytes);
    return walk_rows(&trial, rows, &c) && cursor_left(&c) == 0 && trial.faults == 0;
}

/* A boxed struct may have faults of its own (a truncated item, surplus bytes), but must be
 * readable. */
static bool fits(const struct walk *w, const struct wire_row *rows, struct pg_bytes bytes)
{
    struct walk trial = *w;
    trial.visit = NULL;
    struct cursor c = cursor_of(bytes);
    return walk_rows(&trial, rows, &c);
}

static void walk_boxed_fields(struct walk *w, const struct wire_row *row, struct pg_bytes bytes)
{
    struct cursor inner = cursor_of(bytes);
    walk_rows(w, row->rows, &inner);
    if (cursor_left(&inner) > 0) {
        struct wire_event surplus = {.kind = WIRE_EV_SURPLUS, .bytes = cursor_rest(&inner)};
        w->faults |= WIRE_FAULT_SURPLUS;
        emit(w, &surplus);
    }
}

/* One boxed entry of a list; false if what is left is only the start of one. */
static bool walk_boxed_entry(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct cursor start = *c;
    uint64_t n = take_uint(c, row->prefix);
    if (c->failed || n > cursor_left(c)) {
        *c = start;
        struct wire_event event = {.kind = WIRE_EV_TRUNCATED, .row = row, .bytes = cursor_rest(c)};
        w->faults |= WIRE_FAULT_TRUNCATED;
        emit(w, &event);
        return false;
    }
    struct pg_bytes bytes = cursor_take(c, (size_t)n);
    if (!fits(w, row->rows, bytes)) {
        struct wire_event event = {.kind = WIRE_EV_BROKEN, .row = row, .bytes = bytes};
        w->faults |= WIRE_FAULT_ENTRY;
        emit(w, &event);
        return true;
    }
    struct wire_event event = {
        .kind = WIRE_EV_ENTRY, .row = row, .rows = row->rows, .bytes = bytes};
    emit(w, &event);
    walk_boxed_fields(w, row, bytes);
    event.kind = WIRE_EV_ENTRY_END;
    emit(w, &event);
    return true;
}

static bool walk_entry(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    if (row->prefix != 0) {
        return walk_boxed_entry(w, row, c);
    }
    if (row->rows[0].name == NULL) {
        walk_field(w, row->rows, c);
        return !c->failed;
    }
    struct wire_event event = {.kind = WIRE_EV_ENTRY, .row = row, .rows = row->rows};
    emit(w, &event);
    if (!walk_rows(w, row->rows, c)) {
        return false;
    }
    event.kind = WIRE_EV_ENTRY_END;
    emit(w, &event);
    return true;
}

static size_t first_item(const struct wire_items *items, uint32_t id)
{
    size_t low = 0;
    size_t high = items->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct wire_item *item = &items->item[middle];
        if ((item->last_id != 0 ? item->last_id : item->id) < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool item_has_id(const struct wire_item *item, uint32_t id, unsigned edition)
{
    return (item->since == 0 || edition >= item->since) &&
           (item->until == 0 || edition <= item->until) &&
           (item->id == id || (item->last_id != 0 && item->id < id && id <= item->last_id));
}

const struct wire_item *wire_item_by_id(const struct wire_items *items, uint32_t id,
                                        unsigned edition)
{
    for (size_t i = first_item(items, id); i < items->n && items->item[i].id <= id; i++) {
        if (item_has_id(&items->item[i], id, edition)) {
            return &items->item[i];
        }
    }
    return NULL;
}

bool wire_item_has_other_width(const struct wire_item *item, size_t length)
{
    return item != NULL && item->rows != NULL && item->rows[0].kind == WIRE_UINT &&
           item->rows[1].kind == WIRE_END && item->length != length &&
           (length == 1 || length == 2 || length == 4);
}

static const struct wire_item *fitting_item(const struct walk *w, const struct wire_items *items,
                                            uint32_t id, struct pg_bytes value)
{
    for (size_t i = first_item(items, id); i < items->n && items->item[i].id <= id; i++) {
        const struct wire_item *item = &items->item[i];
        if (!item_has_id(item, id, w->edition) || item->rows == NULL ||
            (!item->any_length && item->length != value.len)) {
            continue;
        }
        if (fits_exactly(w, item->rows, value)) {
            return item;
        }
    }
    return NULL;
}

static void emit_rest(struct walk *w, const struct wire_row *row, struct cursor *c,
                      const struct wire_event *id, const char *reason)
{
    struct wire_event event = {.kind = WIRE_EV_REST, .row = row, .reason = reason};
    if (id != NULL) {
        event.raw = id->raw;
        event.item = id->item;
        event.has_id = true;
    }
    event.bytes = cursor_rest(c);
    emit(w, &event);
}

/* The bytes of the item at the head, whose id was taken; false if its rows do not fit. */
static bool measure_item(const struct walk *w, const struct wire_item *item, struct cursor c,
                         struct pg_bytes *bytes)
{
    struct walk trial = *w;
    size_t before = cursor_left(&c);
    bytes->data = c.at;
    trial.visit = NULL;
    bool fits = (item->needs == 0 || (w->kept >> item->needs & 1u) != 0) &&
                walk_rows(&trial, item->rows, &c);
    bytes->len = before - cursor_left(&c);
    return fits;
}

/* One item without a length; false if nothing more can be read. */
static bool walk_bare_item(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct wire_event event = {.kind = WIRE_EV_ITEM, .row = row};
    event.raw = take_uint(c, row->items->id_width);
    event.item = wire_item_by_id(row->items, (uint32_t)event.raw, w->edition);
    if (c->failed || event.item == NULL || event.item->rows == NULL ||
        !measure_item(w, event.item, *c, &event.bytes)) {
        bool damaged = event.item != NULL && event.item->rows != NULL && !event.item->guessed;
        w->faults |= damaged ? WIRE_FAULT_TRUNCATED : 0u;
        emit_rest(w, row, c, &event, damaged ? "truncated" : "unparsable");
        return false;
    }
    event.rows = event.item->rows;
    event.length = event.bytes.len;
    emit(w, &event);
    walk_rows(w, event.item->rows, c);
    event.kind = WIRE_EV_ITEM_END;
    emit(w, &event);
    if (event.item->then != NULL) {
        if (cursor_left(c) > 0) {
            emit_rest(w, row, c, NULL, event.item->then);
        }
        return false;
    }
    return true;
}

/* Items without a length. An item that cannot be read is one of those that were counted. */
static bool walk_bare_items(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct wire_event event = {.kind = WIRE_EV_LIST, .row = row, .bytes.data = c->at};
    bool outer = w->exact;
    uint64_t want = row->count != 0 ? w->reg[row->count] : UINT64_MAX;
    uint64_t n = 0;
    bool going = true;
    emit(w, &event);
    w->exact = true;
    while (going && n < want && cursor_left(c) > 0) {
        going = walk_bare_item(w, row, c);
        n++;
    }
    w->exact = outer;
    if (going && row->count != 0 && n != want) {
        w->faults |= WIRE_FAULT_COUNT;
    }
    event.kind = WIRE_EV_LIST_END;
    event.bytes.len = (size_t)(c->at - event.bytes.data);
    event.raw = n;
    emit(w, &event);
    return true;
}

/* One item of an items field; false if what is left is only the start of one. */
static bool walk_item(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct cursor start = *c;
    struct wire_event event = {.row = row};
    event.raw = take_uint(c, row->items->id_width);
    event.length = (size_t)take_uint(c, row->items->length_width);
    if (c->failed || event.length > cursor_left(c)) {
        *c = start;
        event.kind = WIRE_EV_TRUNCATED;
        event.bytes = cursor_rest(c);
        w->faults |= WIRE_FAULT_TRUNCATED;
        emit(w, &event);
        return false;
    }
    event.bytes = cursor_take(c, event.length);
    if (w->visit == NULL) {
        return true;
    }
    event.item = fitting_item(w, row->items, (uint32_t)event.raw, event.bytes);
    if (event.item == NULL) {
        event.kind = WIRE_EV_ITEM_HEX;
        event.item = wire_item_by_id(row->items, (uint32_t)event.raw, w->edition);
        emit(w, &event);
        return true;
    }
    event.kind = WIRE_EV_ITEM;
    event.rows = event.item->rows;
    emit(w, &event);
    struct cursor inner = cursor_of(event.bytes);
    walk_rows(w, event.item->rows, &inner);
    event.kind = WIRE_EV_ITEM_END;
    emit(w, &event);
    return true;
}

/* Pass over plain values that nobody looks at; how many. */
static uint64_t skip_values(const struct walk *w, const struct wire_row *row, struct cursor *c,
                            uint64_t want)
{
    const struct wire_row *value = row->rows;
    bool plain = row->kind == WIRE_LIST && row->prefix == 0 && row->keep == 0 &&
                 value->name == NULL && value->width != 0 && (value->flags & WIRE_LISTED) == 0 &&
                 (value->kind == WIRE_UINT || value->kind == WIRE_HEX);
    if (w->visit != NULL || !plain) {
        return 0;
    }
    uint64_t there = cursor_left(c) / value->width;
    uint64_t n = want < there ? want : there;
    (void)cursor_take(c, (size_t)n * value->width);
    return n;
}

static uint64_t sum_of(const struct wire_row *value, struct pg_bytes bytes)
{
    struct cursor c = cursor_of(bytes);
    uint64_t sum = 0;
    while (cursor_left(&c) >= value->width && value->width > 0) {
        sum += take_uint(&c, value->width);
    }
    return sum;
}

static bool walk_list(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct wire_event event = {.kind = WIRE_EV_LIST, .row = row};
    struct pg_bytes entries = {.data = c->at};
    emit(w, &event);
    bool counted = row->count != 0;
    /* If nothing follows the bytes decide, not the count. */
    bool last = row[1].kind == WIRE_END && !w->exact;
    uint64_t want = counted ? w->reg[row->count] : UINT64_MAX;
    uint64_t n = skip_values(w, row, c, want);
    bool going = true;
    while (going && (n < want || last)) {
        if (cursor_left(c) == 0) {
            break;
        }
        /* Bytes after the counted entries may be one more entry, or something else altogether. */
        if (n >= want && row->kind == WIRE_LIST && row->prefix == 0) {
            break;
        }
        going = row->kind == WIRE_ITEMS ? walk_item(w, row, c) : walk_entry(w, row, c);
        n += going;
        if (c->failed) {
            return false;
        }
    }
    if (counted && n != want) {
        w->faults |= WIRE_FAULT_COUNT;
        if (!last) {
            return false;
        }
    }
    entries.len = (size_t)(c->at - entries.data);
    if (row->keep != 0) {
        w->reg[row->keep] = sum_of(row->rows, entries);
        w->kept |= 1u << row->keep;
    }
    event.kind = WIRE_EV_LIST_END;
    event.bytes = entries;
    event.raw = n;
    emit(w, &event);
    return true;
}

static bool walk_struct(struct walk *w, const struct wire_row *row, struct cursor *c)
{
    struct wire_event event = {.kind = WIRE_EV_STRUCT, .row = row, .rows = row->rows};
    emit(w, &event);
    if (!walk_rows(w, row->rows, c)) {
        return false;
    }
    event.kind = WIRE_EV_STRUCT_END;
    emit(w, &event);
    return true;
}

static bool walk_rows(struct walk *w, const struct wire_row *rows, struct cursor *c)
{
    for (const struct wire_row *row = rows; row->kind != WIRE_END; row++) {
        if (!row_exists(w, row)) {
            continue;
        }
        if ((row->flags & WIRE_OPTIONAL) != 0 && cursor_left(c) == 0) {
            return !c->failed;
        }
        bool fine = true;
        if (row->kind == WIRE_STRUCT) {
            fine = walk_struct(w, row, c);
        } else if (row->kind == WIRE_ITEMS && row->items->length_width == 0) {
            fine = walk_bare_items(w, row, c);
        } else if (row->kind == WIRE_LIST || row->kind == WIRE_ITEMS) {
            fine = walk_list(w, row, c);
        } else if (row->kind == WIRE_PACK) {
            walk_pack(w, row, c);
        } else {
            walk_field(w, row, c);
        }
        if (!fine || c->failed) {
            return false;
        }
    }
    return true;
}

bool wire_walk(const struct wire_row *rows, struct pg_bytes body, unsigned edition,
               wire_visit *visit, void *context, struct wire_walked *walked)
{
    struct walk w = {.visit = visit, .context = context, .edition = edition};
    struct cursor c = cursor_of(body);
    bool fine = walk_rows(&w, rows, &c);
    if (fine && cursor_left(&c) > 0) {
        struct wire_event event = {.kind = WIRE_EV_SURPLUS, .bytes = cursor_rest(&c)};
        w.faults |= WIRE_FAULT_SURPLUS;
        emit(&w, &event);
    }
    *walked = (struct wire_walked){.faults = fine ? w.faults : WIRE_FAULT_BODY, .doubts = w.doubts};
    return fine;
}

/* ---- lookup of one field -------------------------------------------------------------------- */

struct finder {
    const char *want; /* what is left of the dotted name at this depth */
    unsigned aside;   /* structs, lists and items entered that do not */
    bool found;
    struct wire_event *event;
};

static void find_visit(void *context, const struct wire_event *event)
{
    struct finder *f = context;
    size_t head = strcspn(f->want, ".");
    switch (event->kind) {
    case WIRE_EV_STRUCT:
        if (f->aside == 0 && f->want[head] == '.' && strlen(event->row->name) == head &&
            memcmp(event->row->name, f->want, head) == 0) {
            f->want += head + 1;
        } else {
            f->aside++;
        }
        break;
    case WIRE_EV_LIST:
    case WIRE_EV_ENTRY:
    case WIRE_EV_ITEM:
        f->aside++;
        break;
    case WIRE_EV_STRUCT_END:
    case WIRE_EV_LIST_END:
    case WIRE_EV_ENTRY_END:
    case WIRE_EV_ITEM_END:
        f->aside -= f->aside > 0;
        break;
    case WIRE_EV_FIELD:
        if (!f->found && f->aside == 0 && event->row->name != NULL &&
            strcmp(event->row->name, f->want) == 0) {
            f->found = true;
            *f->event = *event;
        }
        break;
    default:
        break;
    }
}

bool wire_find(const struct wire_row *rows, struct pg_bytes body, unsigned edition,
               const char *name, struct wire_event *found)
{
    struct finder f = {.want = name, .event = found};
    struct wire_walked walked;
    return wire_walk(rows, body, edition, find_visit, &f, &walked) && f.found;
}
