/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_ENCODE_H
#define WIRE_ENCODE_H

/* Private to the two files of the encoder: table_encode.c (structs, lists, items) and
 * table_value.c (single values). */

#include "wire/table_json.h"

#define WIRE_PATH_DEPTH 16

struct encoder {
    struct wire_out *out;
    unsigned edition;
    enum wire_shape shape;
    enum wire_charset charset;
    struct wire_error *error;
    const char *root; /* path of the outermost object */
    struct {
        const char *name; /* null: the entry `index` of a list */
        size_t index;
    } path[WIRE_PATH_DEPTH];
    unsigned depth;
    const char *id_key; /* member with the id of the item that is being written */
    uint64_t reg[WIRE_REGISTERS + 1];
    size_t reg_at[WIRE_REGISTERS + 1]; /* where the kept integer was written, and its row */
    const struct wire_row *reg_row[WIRE_REGISTERS + 1];
};

/* Go into and out of a member or, with a null name, an entry of a list. */
void wire_enc_enter(struct encoder *e, const char *name, size_t index);
void wire_enc_leave(struct encoder *e);

/* Set the error: `value` is what was found at the current path (null: nothing). Always false. */
bool wire_enc_fail(struct encoder *e, const json_t *value, const char *expected, ...)
    __attribute__((format(printf, 3, 4)));

/* Encode one value of a row with a width, prefix or rest of its own: the current path is the
 * value's. Keeps registers. */
bool wire_enc_value(struct encoder *e, const struct wire_row *row, json_t *value);

/* Write the bytes given as hexadecimal digits in place of a value. */
bool wire_enc_exact(struct encoder *e, const struct wire_row *row, json_t *hex);

/* Put an integer and keep its register. */
void wire_enc_put_integer(struct encoder *e, const struct wire_row *row, uint64_t raw);

/* The integer of a JSON value by the row's names, scale and shape, checked against its width. */
bool wire_enc_integer(struct encoder *e, const struct wire_row *row, json_t *value, uint64_t *raw);

/* The word of a list of names of bits. */
bool wire_enc_flags(struct encoder *e, const struct wire_row *row, json_t *names, uint64_t *word);

/* Append bytes given as hexadecimal digits. */
bool wire_enc_hex(struct encoder *e, json_t *hex);

#endif
