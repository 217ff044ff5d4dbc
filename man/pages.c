/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the table engine as mdoc, from the very rows that the codecs walk. Only what JSON shows is
 * told: counts and lengths are derived. */

#include "pages.h"

#include <stdio.h>
#include <string.h>

static const char *(*told_items)(const struct wire_items *items);

static void print_rows(const struct wire_row *rows);

/* ---- one field ------------------------------------------------------------------------------- */

static void print_names(const struct wire_row *row)
{
    const char *before = ": ";
    for (const struct wire_name *n = row->names; n && n->name; n++, before = ", ")
        printf("%s%s (%u)", before, n->name, (unsigned)n->value);
}

static void print_bits(const struct wire_bits *bits)
{
    const char *before = ": ";
    for (unsigned i = 0; i < 32; i++) {
        if (!bits->names[i])
            continue;
        printf("%s%s (%u)", before, bits->names[i], i);
        before = ", ";
    }
    for (const struct wire_bit_field *f = bits->fields; f && f->mask != 0; f++, before = ", ")
        printf("%s%s (0x%x of 0x%x)", before, f->name, (unsigned)f->value, (unsigned)f->mask);
}

static void print_extent(const char *what, const struct wire_row *row)
{
    if (row->width != 0)
        printf("%s of %u byte%s", what, row->width, row->width == 1 ? "" : "s");
    else
        printf("%s", what);
}

/* The valid values as they are shown. */
static void print_range(const struct wire_row *row)
{
    double step = 1;
    double factor = row->factor != 0 ? row->factor : 1;
    for (unsigned i = 0; i < row->decimals; i++)
        step /= 10;
    double high = (row->high * factor + row->offset) * step;
    double low = (row->low * factor + row->offset) * step;
    printf(", from %.*f to %.*f", row->decimals, row->sign != 0 ? -high : low, row->decimals, high);
}

static void print_number(const struct wire_row *row)
{
    if (row->flags & WIRE_BOOL) {
        printf("true or false");
        return;
    }
    if (row->flags & WIRE_AS_HEX)
        printf("number in hexadecimal, as \"0x%0*x\"", row->width * 2, 0x10);
    else
        printf("number");
    if (row->decimals != 0)
        printf(" with %u decimal%s", row->decimals, row->decimals == 1 ? "" : "s");
    if (row->sign != 0 || row->kind == WIRE_SIGNMAG)
        printf(", may be negative");
    if (row->kind == WIRE_PART)
        printf(", %u bits", row->width);
    else
        printf(", %u byte%s", row->width, row->width == 1 ? "" : "s");
    if (row->unit)
        printf(", in %s", row->unit);
    if (row->flags & WIRE_RANGE && row->high != 0)
        print_range(row);
    print_names(row);
}

static void print_kind(const struct wire_row *row)
{
    switch (row->kind) {
    case WIRE_BITS:
        printf("number, or list of the names of bits%s; shown as both",
               row->width > 1 ? "" : " of one byte");
        if (row->bits)
            print_bits(row->bits);
        break;
    case WIRE_DIGITS:
        printf("text of %u digits", row->width * 2);
        break;
    case WIRE_TIME:
        printf("time%s%s", row->flags & WIRE_UTC ? " in UTC" : "",
               row->flags & WIRE_DAILY ? ", or an hour of every day" : "");
        break;
    case WIRE_TEXT:
        print_extent("text", row);
        break;
    case WIRE_HEX:
        print_extent("bytes in hexadecimal", row);
        break;
    case WIRE_STRUCT:
        printf("object");
        break;
    case WIRE_LIST:
        printf("list");
        break;
    case WIRE_ITEMS:
        printf("%s", told_items(row->items));
        break;
    default:
        print_number(row);
        break;
    }
}

/* The field that a condition looks at, if it stands in front among the same rows. */
static const char *condition_of(const struct wire_row *rows, const struct wire_row *row)
{
    const char *name = NULL;
    for (; rows != row; rows++)
        if (rows->keep == row->when && rows->name)
            name = rows->name;
    return name;
}

static void print_notes(const struct wire_row *rows, const struct wire_row *row)
{
    const char *name = row->when != 0 ? condition_of(rows, row) : NULL;
    if (name)
        printf("; there if %s says so", name);
    else if (row->when != 0)
        printf("; not always there");
    if (row->flags & (WIRE_OPTIONAL | WIRE_DEFAULTS | WIRE_QUIET))
        printf("; may be left out");
    if (row->flags & WIRE_QUIET)
        printf(" and is shown only if it is not zero");
    if (row->flags & WIRE_SECRET)
        printf("; not published");
    if ((row->flags & WIRE_DEFAULTS) && row->value != 0)
        printf(" and is %u then", (unsigned)row->value);
    if (row->flags & WIRE_INVALID)
        printf("; null if invalid%s", row->flags & WIRE_ABNORMAL ? " or abnormal" : "");
    if (row->since != 0)
        printf("; since %u", row->since);
    if (row->until != 0)
        printf("; until %u", row->until);
    if (row->flags & WIRE_IGNORED)
        printf(", and ignored in other editions");
}

static void print_row(const struct wire_row *rows, const struct wire_row *row)
{
    if (row->kind == WIRE_COUNT || row->kind == WIRE_FACT)
        return;
    if (row->kind == WIRE_PACK) {
        print_rows(row->rows);
        return;
    }
    printf(".It %s\n", row->name ? row->name : "(each)");
    print_kind(row);
    print_notes(rows, row);
    printf(".\n");
    if ((row->kind == WIRE_STRUCT || row->kind == WIRE_LIST) && row->rows) {
        printf(".Bl -tag -width Ds -compact\n");
        print_rows(row->rows);
        printf(".El\n");
    }
}

static void print_rows(const struct wire_row *rows)
{
    for (const struct wire_row *row = rows; row->kind != WIRE_END; row++)
        print_row(rows, row);
}

/* A message without a body has a row for bytes that should not be there. */
static bool shows_anything(const struct wire_row *rows)
{
    for (; rows->kind != WIRE_END; rows++)
        if (rows->kind != WIRE_COUNT && rows->kind != WIRE_FACT &&
            !(rows->name && strcmp(rows->name, "extra_hex") == 0))
            return true;
    return false;
}

void page_rows(const struct wire_row *rows)
{
    if (!shows_anything(rows)) {
        printf("No fields.\n");
        return;
    }
    printf(".Bl -tag -width Ds -compact\n");
    print_rows(rows);
    printf(".El\n");
}

/* ---- items ----------------------------------------------------------------------------------- */

static void print_item(const struct wire_item *item, int digits)
{
    printf(".It 0x%0*x", digits, (unsigned)item->id);
    if (item->last_id != 0)
        printf(" to 0x%0*x", digits, (unsigned)item->last_id);
    printf(" %s\n", item->name);
    if (item->since != 0)
        printf("Since %u.\n", item->since);
    if (item->until != 0)
        printf("Until %u.\n", item->until);
    if (item->layout)
        printf("Layout %s.\n", item->layout);
    if (item->then)
        printf("Ends the items; what follows is given as bytes.\n");
    const struct wire_row *rows = item->rows;
    if (!rows) {
        printf("Bytes: the value is {\\(dqhex\\(dq:\\(dq...\\(dq}.\n");
        return;
    }
    bool single = rows[0].kind != WIRE_END && rows[1].kind == WIRE_END && rows[0].name &&
                  strcmp(rows[0].name, "value") == 0 && !rows[0].rows;
    if (single) {
        print_kind(&rows[0]);
        print_notes(rows, &rows[0]);
        printf(".\n");
    } else {
        page_rows(rows);
    }
}

void page_items(const char *head, const struct wire_items *items)
{
    printf(".Sh %s\n.Bl -tag -width Ds -compact\n", head);
    for (size_t i = 0; i < items->n; i++)
        print_item(&items->item[i], items->id_width == 1 ? 2 : 4);
    printf(".El\n");
}

void page_tell_items(const char *(*told)(const struct wire_items *items))
{
    told_items = told;
}
