/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_TABLE_H
#define JT808_TABLE_H

/* The messages of JT/T 808 as tables: which there are, which layouts each has, and the choice of
 * the layout that a body fits.
 *
 * standard  JT/T 808-2011, its revision of 2013, JT/T 808-2019 (bodies); JT/T 1078-2016 signalling;
 *           T/JSATL 12-2017 active safety
 * threads   any; the tables are constant
 */

#include "jt808_frame.h"
#include "wire/table.h"
#include "wire/text.h"

/* One layout of a body. The first layout of a message that covers an edition is that edition's own;
 * the others are tried when it does not fit. */
struct jt808_layout {
    const char *name; /* "2013", "2019", "2019-maker-11"; unique in its message */
    uint16_t since;   /* editions that it covers, years, both included */
    uint16_t until;
    uint16_t edition;                  /* that its rows are walked with; 0: that of the frame */
    const struct wire_row *rows;       /* null ends the list */
    const struct wire_row *alias_rows; /* of the alias shape, which is EMQX's; null: `rows` */
};

struct jt808_message {
    uint16_t id;
    bool up;            /* from the terminal to the platform */
    const char *name;   /* "location_report" */
    const char *clause; /* which standard, which table */
    const struct jt808_layout *layouts;
};

/* All messages that have rows, sorted by id. */
extern const struct jt808_message jt808_messages[];
extern const size_t jt808_message_count;

/* Null: no rows; the body is passed on as it is. */
const struct jt808_message *jt808_message_by_id(unsigned id);
const struct jt808_message *jt808_message_by_name(const char *name);
/* The layout of an edition that is encoded unless another one is named. Never null. */
const struct jt808_layout *jt808_default_layout(const struct jt808_message *message,
                                                unsigned edition);
const struct jt808_layout *jt808_layout_by_name(const struct jt808_message *message,
                                                const char *name);

/* Why a body is passed on as bytes. */
enum jt808_opaque {
    JT808_READABLE,
    JT808_UNKNOWN,   /* no rows for this id */
    JT808_ENCRYPTED, /* encryption bits are set */
    JT808_PARTIAL,   /* one package of several */
    JT808_UNFIT,     /* fits no layout: fault "body" */
};

/* A body with the layout that it fits. */
struct jt808_body {
    const struct jt808_message *message; /* null if unknown */
    const struct jt808_layout *layout;   /* null unless readable */
    unsigned edition;                    /* that the rows are walked with */
    unsigned frame_edition;              /* that the layouts were tried for */
    unsigned faults;                     /* enum wire_fault */
    enum jt808_opaque opaque;
    struct pg_bytes bytes; /* lent, of the frame */
};

/* Choose the layout of a body.
 *
 * frame     lent; with the package item the body is taken for a part, so clear
 *           JT808_ATTR_SUBPACKAGE in a message that was put together
 * edition   that the session is known to have, or 0: by the header
 * out       its bytes live as long as the frame's
 * returns   true if the body can be read
 */
bool jt808_body_open(const struct jt808_frame *frame, unsigned edition, struct jt808_body *out);

/* One integer of a readable body by name ("ack_serial", "location.status"); false if it is not
 * there. */
bool jt808_body_uint(const struct jt808_body *body, const char *name, uint64_t *value);
/* The bytes of one field, without NULs on both sides if it is a text. */
bool jt808_body_bytes(const struct jt808_body *body, const char *name, struct pg_bytes *bytes);

/* Rows shared between the files of the table; for the tests and the catalogue. */
extern const struct wire_row jt808_rows_location[];      /* base and items */
extern const struct wire_row jt808_rows_location_base[]; /* 28 bytes */
extern const struct wire_items jt808_location_items;
extern const struct wire_items jt808_parameters;

#endif
