/* SPDX-License-Identifier: Apache-2.0 */

/* The annotated dump: a visitor that writes a line for each field.
 *
 *   0x0010  00 01 e2 40              speed            60.5 km/h          0x0200 base
 *
 * Values are written by the JSON visitor in its native shape, so that both say the same.
 */

#include "wire/table_dump.h"

#include <stdio.h>

#include "wire/table_json.h"

#define BYTES_SHOWN  12 /* of a field */
#define BYTES_A_LINE 32 /* of what has no table */

struct dump {
    struct json_out *out;
    const uint8_t *body;
    size_t base;
    enum wire_charset charset;
    unsigned depth;
    struct wire_json json; /* renders one value at a time */
};

static void put_line(struct dump *d, const struct wire_event *event, const char *name,
                     const char *value, size_t value_len, const char *unit, const char *clause)
{
    char bytes[3 * BYTES_SHOWN + 4] = "";
    char head[160];
    size_t used = 0;
    size_t shown = event->bytes.len < BYTES_SHOWN ? event->bytes.len : BYTES_SHOWN;
    for (size_t i = 0; i < shown; i++) {
        used += (size_t)snprintf(bytes + used, sizeof(bytes) - used, "%02x ", event->bytes.data[i]);
    }
    if (event->bytes.len > BYTES_SHOWN) {
        snprintf(bytes + used, sizeof(bytes) - used, "..");
    }
    char place[16] = "";
    if (event->bytes.len > 0 && event->bytes.data >= d->body) {
        snprintf(place, sizeof(place), "0x%04zx", d->base + (size_t)(event->bytes.data - d->body));
    }
    int n = snprintf(head, sizeof(head), "%-8s%-38s %*s%-*s ", place, bytes, (int)(2 * d->depth),
                     "", 24 - (int)(2 * d->depth), name);
    json_out_put(d->out, head, (size_t)n < sizeof(head) ? (size_t)n : sizeof(head) - 1);
    json_out_put(d->out, value, value_len);
    if (unit != NULL) {
        json_out_put(d->out, " ", 1);
        json_out_put(d->out, unit, strlen(unit));
    }
    if (clause != NULL) {
        json_out_put(d->out, "  (", 3);
        json_out_put(d->out, clause, strlen(clause));
        json_out_put(d->out, ")", 1);
    }
    json_out_put(d->out, "\n", 1);
}

static void put_field(struct dump *d, const struct wire_event *event)
{
    char text[1024] = "";
    struct json_out value = json_out_over(text, sizeof(text));
    struct wire_event alone = *event;
    struct wire_row row = *event->row;
    row.count = 0;
    row.keep = 0;
    row.name = NULL;
    alone.row = &row;
    if (row.kind == WIRE_COUNT || row.kind == WIRE_FACT) {
        row.kind = WIRE_UINT;
    }
    if (row.kind == WIRE_BITS) {
        /* As an item's value: number and names. */
        row.name = "value";
        row.name_len = 5;
    }
    wire_json_begin(&d->json, &value, WIRE_SHAPE_NATIVE, d->charset);
    wire_json_visit(&d->json, &alone);
    size_t skip = row.kind == WIRE_BITS && value.len > 8 ? 8 : 0; /* the key "value": */
    if (value.failed) {
        value.len = 0;
    }
    const char *clause = event->row->clause;
    if (wire_kind_is_integer(event->row->kind)) {
        enum wire_marker marker = wire_marker_of(event->row, event->raw);
        bool fine = marker != WIRE_MARKER_NONE || wire_in_range(event->row, event->raw);
        clause = marker == WIRE_MARKER_INVALID    ? "invalid"
                 : marker == WIRE_MARKER_ABNORMAL ? "abnormal"
                 : fine                           ? clause
                                                  : "out of range";
    }
    put_line(d, event, event->row->name != NULL ? event->row->name : "-", text + skip,
             value.len > skip ? value.len - skip : 0, event->row->unit, clause);
}

static void put_item(struct dump *d, const struct wire_event *event)
{
    char name[80];
    snprintf(name, sizeof(name), "[0x%02llx] %s", (unsigned long long)event->raw,
             event->item != NULL ? event->item->name : "unknown");
    put_line(d, event, name, "", 0, NULL, event->kind == WIRE_EV_ITEM ? NULL : "as bytes");
}

static void put_rest(struct dump *d, const struct wire_event *event)
{
    char name[80];
    if (event->has_id) {
        snprintf(name, sizeof(name), "[0x%02llx] %s", (unsigned long long)event->raw,
                 event->item != NULL ? event->item->name : "unknown");
    } else {
        snprintf(name, sizeof(name), "%s", event->reason);
    }
    put_line(d, event, name, "", 0, NULL, event->has_id ? event->reason : "not read");
}

static void visit(void *context, const struct wire_event *event)
{
    struct dump *d = context;
    const struct wire_event no_bytes = {.kind = event->kind};
    switch (event->kind) {
    case WIRE_EV_FIELD:
        put_field(d, event);
        break;
    case WIRE_EV_STRUCT:
    case WIRE_EV_LIST:
        put_line(d, &no_bytes, event->row->name, "", 0, NULL, NULL);
        d->depth++;
        break;
    case WIRE_EV_ENTRY:
        put_line(d, &no_bytes, "-", "", 0, NULL, NULL);
        d->depth++;
        break;
    case WIRE_EV_ITEM:
        put_item(d, event);
        d->depth++;
        break;
    case WIRE_EV_STRUCT_END:
    case WIRE_EV_LIST_END:
    case WIRE_EV_ENTRY_END:
    case WIRE_EV_ITEM_END:
        d->depth--;
        break;
    case WIRE_EV_ITEM_HEX:
        put_item(d, event);
        break;
    case WIRE_EV_BROKEN:
        put_line(d, event, "-", "", 0, NULL, "does not fit its layout");
        break;
    case WIRE_EV_TRUNCATED:
        put_line(d, event, "truncated", "", 0, NULL, "claims more bytes than there are");
        break;
    case WIRE_EV_SURPLUS:
        put_line(d, event, "surplus", "", 0, NULL, "left over");
        break;
    case WIRE_EV_REST:
        put_rest(d, event);
        break;
    }
}

unsigned wire_dump(struct json_out *out, const struct wire_row *rows, struct pg_bytes body,
                   size_t base, unsigned edition, enum wire_charset charset)
{
    struct dump d = {.out = out, .body = body.data, .base = base, .charset = charset};
    struct wire_walked walked;
    wire_walk(rows, body, edition, visit, &d, &walked);
    return walked.faults;
}

static void put_text(struct json_out *out, const char *text)
{
    json_out_put(out, text, strlen(text));
}

void wire_dump_faults(struct json_out *out, unsigned faults)
{
    for (unsigned i = 0; i < WIRE_FAULTS; i++) {
        if ((faults & 1u << i) != 0) {
            put_text(out, "fault: ");
            put_text(out, wire_fault_names[i]);
            put_text(out, "\n");
        }
    }
}

void wire_dump_bytes(struct json_out *out, struct pg_bytes bytes)
{
    char digits[4];

    for (size_t i = 0; i < bytes.len; i++) {
        snprintf(digits, sizeof(digits), "%02x%s", bytes.data[i],
                 i % BYTES_A_LINE == BYTES_A_LINE - 1 ? "\n" : " ");
        put_text(out, digits);
    }
    put_text(out, "\n");
}
