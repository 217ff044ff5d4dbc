/* SPDX-License-Identifier: Apache-2.0 */

/* The catalogue: tables as text, one line for each row, for manual pages and `polygatectl`.
 *
 *   speed                    2 bytes, 0.1 km/h                      0x0200 base
 */

#include "wire/table_dump.h"

#include <stdarg.h>
#include <stdio.h>

struct line {
    char text[1536];
    size_t len;
};

static void add(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, format, args);
    va_end(args);
    if (n > 0) {
        l->len += (size_t)n;
    }
    if (l->len >= sizeof(l->text)) {
        l->len = sizeof(l->text) - 1;
    }
}

static void add_extent(struct line *l, const struct wire_row *row, const char *what)
{
    if (row->width != 0) {
        add(l, "%s of %u bytes", what, row->width);
    } else if (row->prefix != 0) {
        add(l, "%s, length in %u byte%s in front", what, row->prefix, row->prefix > 1 ? "s" : "");
    } else {
        add(l, "%s, %s", what, row->count != 0 ? "counted" : "the rest");
    }
}

static void add_bits(struct line *l, const struct wire_row *row)
{
    const char *mark = ":";
    add(l, "%u bits", row->width * 8u);
    for (unsigned b = 0; b < 32; b++) {
        if (row->bits->names[b] != NULL) {
            add(l, "%s %u %s", mark, b, row->bits->names[b]);
            mark = ",";
        }
    }
    for (const struct wire_bit_field *f = row->bits->fields; f != NULL && f->mask != 0; f++) {
        add(l, "%s 0x%x of 0x%x %s", mark, f->value, f->mask, f->name);
        mark = ",";
    }
}

static void add_kind(struct line *l, const struct wire_row *row)
{
    switch (row->kind) {
    case WIRE_TEXT:
        add_extent(l, row, "text");
        break;
    case WIRE_HEX:
        add_extent(l, row, "bytes");
        break;
    case WIRE_TIME:
        add(l, "time");
        break;
    case WIRE_DIGITS:
        add(l, "%u digits", row->width * 2u);
        break;
    case WIRE_STRUCT:
        add(l, "object");
        break;
    case WIRE_LIST:
        add(l, row->count != 0 ? "list, counted" : "list, to the end");
        break;
    case WIRE_ITEMS:
        add(l, "items");
        break;
    case WIRE_PART:
        add(l, "%u bit%s", row->width, row->width > 1 ? "s" : "");
        break;
    case WIRE_BITS:
        add_bits(l, row);
        break;
    default:
        add(l, "%u byte%s", row->width, row->width > 1 ? "s" : "");
        break;
    }
    if (row->decimals != 0 || row->unit != NULL) {
        add(l, ", %.*s%s%s", row->decimals != 0 ? row->decimals + 1 : 0, "0.00000000",
            row->decimals != 0 ? "1 " : "", row->unit != NULL ? row->unit : "");
    }
    for (const struct wire_name *n = row->names; n != NULL && n->name != NULL; n++) {
        add(l, "%s%u %s", n == row->names ? ": " : ", ", n->value, n->name);
    }
}

static void list_rows(struct json_out *out, const struct wire_row *rows, unsigned depth)
{
    for (const struct wire_row *row = rows; row->kind != WIRE_END; row++) {
        struct line l = {.len = 0};
        if (row->kind == WIRE_PACK) {
            list_rows(out, row->rows, depth);
            continue;
        }
        add(&l, "%*s%-*s ", (int)(2 * depth), "", 26 - (int)(2 * depth),
            row->name != NULL ? row->name : "-");
        add_kind(&l, row);
        if (row->since != 0) {
            add(&l, "; since %u", row->since);
        }
        if ((row->flags & WIRE_OPTIONAL) != 0 || row->when != 0) {
            add(&l, "; optional");
        }
        if (row->clause != NULL) {
            add(&l, "  (%s)", row->clause);
        }
        json_out_put(out, l.text, l.len);
        json_out_put(out, "\n", 1);
        if (row->kind == WIRE_STRUCT || (row->kind == WIRE_LIST && row->rows[0].name != NULL)) {
            list_rows(out, row->rows, depth + 1);
        }
    }
}

void wire_list_rows(struct json_out *out, const struct wire_row *rows)
{
    list_rows(out, rows, 1);
}

void wire_list_items(struct json_out *out, const struct wire_items *items)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct wire_item *item = &items->item[i];
        struct line l = {.len = 0};
        if (item->last_id != 0) {
            add(&l, "0x%0*x to 0x%0*x ", items->id_width * 2, item->id, items->id_width * 2,
                item->last_id);
        } else {
            add(&l, "0x%0*x ", items->id_width * 2, item->id);
        }
        add(&l, "%s", item->name);
        if (item->layout != NULL) {
            add(&l, ", layout %s", item->layout);
        }
        if (!item->any_length && item->rows != NULL) {
            add(&l, ", %u byte%s", item->length, item->length > 1 ? "s" : "");
        }
        add(&l, "%s\n", item->rows == NULL ? ", as bytes" : "");
        json_out_put(out, l.text, l.len);
        if (item->rows != NULL) {
            list_rows(out, item->rows, 1);
        }
    }
}
