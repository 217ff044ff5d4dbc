/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TABLE_JSON_H
#define WIRE_TABLE_JSON_H

/* JSON of a body by its rows, both ways, in three shapes.
 *
 * native   physical values (degrees, km/h), ISO times, names for values that have one; items under
 *          their names; null for a value that says "invalid", with the reason beside it
 * wire     the integers, digits and texts as they stand on the wire
 * alias    the wire shape under other names, as applications of another gateway know it (`alias` of
 *          rows and items). Bytes are in base64, plain times are objects of six numbers, bits of a
 *          word are shown only as the word. Nothing is noted beside the values, so that this shape
 *          does not always give the bytes back; members that nothing asks for are ignored, and so
 *          are counts: lists and texts say how long they are
 *
 * What is decoded encodes to the same bytes. Where the shown value alone would give other bytes,
 * the object has one more member, which the clean case lacks: "exact"     {"model": "00004d31"} the
 * bytes of that field (a text filled on the other side) "invalid"   {"time": {"reason": "not_set",
 * "raw": "000000000000"}}    why it is null "abnormal"  the same, for values that mean "abnormal"
 *   "extra_hex", "truncated_hex"   bytes that are left over, or the start of an item
 * A text that is not of its character set is {"hex": "..."}; an unknown item keeps its digits.
 *
 * Objects made by people need none of these: counts and lengths are derived, condition bits are
 * derived from the fields that are there, names are taken for numbers.
 */

#include <jansson.h>

#include "wire/json_out.h"
#include "wire/out.h"
#include "wire/table.h"
#include "wire/text.h"

enum wire_shape {
    WIRE_SHAPE_NATIVE,
    WIRE_SHAPE_WIRE,
    WIRE_SHAPE_ALIAS,
};

/* ---- out ------------------------------------------------------------------------------------ */

#define WIRE_JSON_NOTES  64
#define WIRE_JSON_DEPTH  12
#define WIRE_JSON_COUNTS 16
#define WIRE_JSON_VENDOR 32

/* A visitor (wire_visit) that writes the members of an object. Initialise with wire_json_begin();
 * between that and wire_json_end() the object of `out` is open. */
struct wire_json {
    struct json_out *out;
    enum wire_shape shape;
    enum wire_charset charset;
    /* What the open objects must say at their end. */
    struct wire_note {
        enum wire_note_kind {
            WIRE_NOTE_EXACT,
            WIRE_NOTE_INVALID,
            WIRE_NOTE_ABNORMAL,
            WIRE_NOTE_RANGE
        } kind;
        const char *name;
        const char *reason;
        struct pg_bytes bytes;
        const struct wire_row *values; /* of a list of plain values: bytes are all of them */
    } notes[WIRE_JSON_NOTES];
    unsigned note_count;
    /* Counts met so far, until their list tells whether they are right. */
    struct wire_counted {
        const struct wire_row *row;
        struct pg_bytes bytes;
        uint64_t value;
    } counts[WIRE_JSON_COUNTS];
    unsigned count_count;
    struct {
        unsigned first_note;  /* of this object */
        unsigned first_count; /* of this object */
        bool flat;            /* an item whose single value has no object around it */
        bool has_object;      /* a bracket is to be closed */
    } level[WIRE_JSON_DEPTH];
    unsigned depth;
    bool hide_secrets;    /* set after wire_json_begin(): leave WIRE_SECRET fields out */
    unsigned list_notes;  /* bits of the kinds of notes that the open list of values needs */
    unsigned range_count; /* values that were not in their range */
    bool overflow;        /* deeper or more notes than there is room for: throw the body away */
    uint16_t seen[256];   /* items by name: how often each id was there */
    /* The alias shape: */
    struct pg_bytes groups; /* values of the latest list with WIRE_ALIAS_GROUPS */
    bool grouped;           /* in the list that is divided by them, which is written at its end */
    bool aside;             /* in an item that was written as a whole when it began */
    struct wire_vendor {
        uint32_t id;
        struct pg_bytes bytes;
    } vendor[WIRE_JSON_VENDOR]; /* items that are written at the end of their list */
    unsigned vendor_count;
};

/* The name of a row in a shape. */
static inline const char *wire_row_name(const struct wire_row *row, enum wire_shape shape)
{
    return shape == WIRE_SHAPE_ALIAS && row->alias != NULL ? row->alias : row->name;
}

/* Bytes as the alias shape has them: a text in base64. */
void wire_json_base64(struct json_out *out, struct pg_bytes bytes);

void wire_json_begin(struct wire_json *json, struct json_out *out, enum wire_shape shape,
                     enum wire_charset charset);
void wire_json_visit(void *json, const struct wire_event *event); /* a wire_visit */
/* The notes of the outermost object. false: the text is of no use (overflow). */
bool wire_json_end(struct wire_json *json);

/* ---- in ------------------------------------------------------------------------------------- */

/* What is wrong with a JSON document: where, what was found, what was expected. */
struct wire_error {
    char path[96];      /* "body.areas[2].start_time" */
    char found[64];     /* "\"abc\"", "a list", "nothing" */
    char expected[160]; /* "a number 0..255 or one of ..." */
};

/* Say what was wrong, each text cut if it does not fit. Returns false. */
bool wire_fails(struct wire_error *error, const char *path, const char *found,
                const char *expected);

/* One sentence: "body.flag: expected ..., found ...". Cut if it does not fit. */
void wire_error_sentence(const struct wire_error *error, char *text, size_t size);

/* Encode the members of `object` by the rows.
 *
 * object    lent; a JSON object
 * path      of the object, for errors; "body"
 * out       appended to
 * returns   false: *error says where and why; `out` holds a part
 */
bool wire_encode(const struct wire_row *rows, json_t *object, const char *path, unsigned edition,
                 enum wire_shape shape, enum wire_charset charset, struct wire_out *out,
                 struct wire_error *error);

#endif
