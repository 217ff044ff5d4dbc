/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_TABLE_H
#define WIRE_TABLE_H

/* Binary protocols as tables of rows.
 *
 * A message body is an array of rows that ends with WIRE_END_OF_ROWS. A row says what the
 * standard's table says: name, width, kind, scale, unit, marker values, edition, clause. Decoding,
 * JSON out, JSON in, the annotated dump, the lookup of one field and the catalogue all walk the
 * same rows.
 *
 * What depends on an earlier field goes through registers: the earlier row keeps its integer in
 * register `keep`; a later row may exist only if that register has certain bits (`when`), take its
 * number of entries or bytes from it (`count`), or its sign (`sign`). Registers belong to one body;
 * a nested list may use further ones.
 *
 * The tables are constant; the bytes are lent; nothing is allocated by a walk.
 * threads   any
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "polygate.h"

#define WIRE_REGISTERS 8

enum wire_kind {
    WIRE_END = 0, /* ends an array of rows */
    WIRE_UINT,    /* unsigned integer of `width` bytes, 1..8 */
    WIRE_BITS,    /* the same, its bits have names (`bits`) */
    WIRE_SIGNMAG, /* integer of `width` bytes, the top bit says negative */
    WIRE_COUNT,  /* unsigned integer: number of entries or bytes of the row that `count`s from it */
    WIRE_DIGITS, /* `width` bytes of BCD digits, shown as text */
    WIRE_TIME,   /* BCD[6] YYMMDDhhmmss in GMT+8; or six plain numbers (WIRE_BINARY_TIME) */
    WIRE_TEXT,   /* text; its extent is said by width, prefix or count, else it is the rest */
    WIRE_HEX,    /* bytes shown as hexadecimal digits; extent as for text */
    WIRE_PACK,   /* integer of `width` bytes, divided into parts (`rows` of WIRE_PART) */
    WIRE_PART,   /* bits `shift`.. of a pack, as many as `width` says */
    WIRE_STRUCT, /* the fields of `rows` as an object of their own; boxed if it has a prefix */
    WIRE_LIST,   /* `rows` again and again: as often as `count` says, or to the end. A single row
                  * without a name makes a list of plain values, whose sum `keep` keeps. With a
                  * prefix each is boxed */
    WIRE_ITEMS,  /* id, length, value: to the end, or as many as `count` says (`items`). Without a
                  * length each ends where its rows end, and what is unknown ends the list */
    WIRE_FACT,   /* no bytes: a number that is true of this layout (`value`); wire shape only */
};

enum wire_flag {
    WIRE_OPTIONAL = 1 << 0, /* not there, with all after it, if no bytes are left */
    WIRE_UNLESS = 1 << 1,   /* `when` is negated */
    WIRE_AS_HEX = 1 << 2,   /* an integer that people write in hexadecimal (identifiers) */
    WIRE_UTC = 1 << 3,      /* this time is in UTC */
    WIRE_DAILY = 1 << 4,    /* a time whose date digits may be zero: every day at that time */
    WIRE_BLANKS =
        1 << 5, /* fixed-width text filled with blanks, which the native shape leaves out */
    WIRE_DEFAULTS = 1 << 6,     /* zeros, or the integer `value`, if the JSON does not give it */
    WIRE_INVALID = 1 << 7,      /* all ones means invalid */
    WIRE_ABNORMAL = 1 << 8,     /* all ones but the last bit means abnormal */
    WIRE_LISTED = 1 << 9,       /* `names` are all the values there are; another one is a doubt */
    WIRE_SHOW_RAW = 1 << 10,    /* the wire shape shows the number under "raw" */
    WIRE_SHOW_LENGTH = 1 << 11, /* the wire shape shows the number of bytes as "<name>_length" */
    WIRE_SIGNED_TOO = 1 << 12,  /* the wire shape shows "<name>_signed" beside the number */
    WIRE_PRINTABLE = 1 << 13,   /* text with control characters (but NULs around it) is a doubt */
    WIRE_IGNORED = 1 << 14,     /* the JSON may give it to an edition that has no such field, and it
                                 * is left out: where a device without it does the same anyway */
    WIRE_BINARY_TIME = 1 << 15, /* year - 2000, month, day, hour, minute, second as plain numbers */
    WIRE_BOOL = 1 << 16,        /* the `names` are "true" and "false", shown as such */
    WIRE_QUIET = 1 << 17,       /* a part that is not shown, and need not be given, if it is zero */
    WIRE_RANGE = 1 << 18,       /* what has no name and is not in low..high (if high is not 0) is
                                 * told under "out_of_range" */
    WIRE_TRIM = 1 << 19,        /* text that is filled with NULs or blanks at its end */
    WIRE_SECRET = 1 << 21,      /* left out where others may read it (struct wire_json) */
    WIRE_EXACT = 1 << 20,       /* the extent is what `count` says, although nothing follows */
    /* Of the alias shape only: */
    WIRE_ALIAS_DIGITS = 1 << 22, /* bytes are shown as hexadecimal digits in capitals */
    WIRE_ALIAS_SHORT = 1 << 23,  /* the same, without zeros in front of the last four digits */
    WIRE_ALIAS_WHOLE = 1 << 24,  /* a part stands for the whole number that it is of */
    WIRE_ALIAS_GROUPS = 1 << 25, /* the values say how the texts of the list with this flag that
                                  * comes next are divided: a list for each */
};

/* Names of the bits of a word. */
struct wire_bits {
    const char *names[32]; /* of single bits, bit 0 first; null where there is none */
    const char *list;      /* member with the names; null: the row's name and "_flags" */
    /* Bits that make a number together: this name if (word & mask) == value. Ends with mask 0. */
    const struct wire_bit_field {
        uint32_t mask;
        uint32_t value;
        const char *name;
    } * fields;
};

/* Names of the values of a number; ends with a null name. */
struct wire_name {
    uint32_t value;
    const char *name;
};

struct wire_row {
    const char *name;  /* as the standard has it, in snake case; null in a list of plain values */
    const char *alias; /* of the alias shape; null: the name; "": not there, and the members of such
                         * a struct stand in the object around it */
    uint8_t name_len;  /* of the name; 0: not counted yet (it is only a matter of speed) */
    const char *unit;  /* of the shown value; null if it has none */
    const char *clause; /* where in the standard, or what it means */
    uint8_t kind;       /* enum wire_kind */
    uint8_t width;      /* bytes; for WIRE_PART bits */
    uint8_t prefix;     /* bytes of a length right in front of text, hex, or a boxed struct */
    uint8_t shift;      /* WIRE_PART: lowest bit */
    uint8_t decimals;   /* shown value = (raw * factor + offset) / 10^decimals */
    uint8_t keep;       /* register that keeps the raw integer, 1.. ; 0 none */
    uint8_t count;      /* register with the number of entries (lists, items) or bytes; 0 none */
    uint8_t when;       /* register of the condition; 0 none */
    uint8_t sign;       /* register whose bits sign_mask say that the value is negative; 0 none */
    uint16_t since;     /* first edition (year), 0 any */
    uint16_t until;     /* last edition, 0 any */
    uint32_t flags;     /* enum wire_flag */
    uint32_t when_mask; /* the row exists if (register & when_mask) == when_value */
    uint32_t when_value;
    uint32_t sign_mask;
    uint32_t factor; /* 0 stands for 1 */
    int32_t offset;
    uint32_t value;     /* WIRE_FACT, WIRE_DEFAULTS */
    uint32_t low, high; /* WIRE_RANGE: raw values, both included */
    const struct wire_bits *bits;
    const struct wire_name *names;
    const struct wire_row *rows;
    const struct wire_items *items;
};

#define WIRE_END_OF_ROWS                                                                           \
    {                                                                                              \
        .kind = WIRE_END                                                                           \
    }

/* One kind of item. Several entries may have the same id: the first whose length is right and whose
 * rows fit exactly is taken; if none does, the value is shown as hexadecimal digits. */
struct wire_item {
    uint32_t id;
    uint32_t last_id; /* a range of ids; 0 stands for id alone */
    const char *name;
    const char *alias;                 /* of the alias shape, which has bytes if this is null */
    const struct wire_row *alias_rows; /* of the alias shape; null: `rows` */
    const char *layout; /* said beside the fields, if they do not tell it from the first layout */
    uint16_t length;    /* exact number of bytes, if `any_length` is false */
    bool any_length;
    uint16_t since;
    uint16_t until;
    const struct wire_row *rows; /* a single row "value" is shown without an object around it */
    /* Of items without a length: */
    uint8_t needs;    /* it can only be read if this register was kept before; 0 none */
    bool guessed;     /* what does not fit is something unknown rather than a damaged item */
    const char *then; /* the name of whatever follows it, which is not read; null: more items */
};

struct wire_items {
    uint8_t id_width;
    uint8_t length_width; /* 0: the items have no length */
    const char *id_key;   /* member with the id; null: "id" */
    bool by_name; /* shown as an object with the names as keys (one-byte ids); else as a list */
    enum wire_alias_items {
        WIRE_ALIAS_VALUES,  /* {"id": number, "value": ...} */
        WIRE_ALIAS_PAIRS,   /* {"0x0A": value} */
        WIRE_ALIAS_RECORDS, /* {"Type": alias, ...fields} */
    } alias_items;          /* how the alias shape shows a list of them */
    struct {
        uint32_t from;
        const char *list;
    } alias_vendor; /* unknown ones by name with such an id are in an object of their own */
    const struct wire_item *item; /* sorted by id; `n` of them */
    size_t n;
};

/* ---- walking -------------------------------------------------------------------------------- */

/* What a body that could be read has wrong with it; bits. */
enum wire_fault {
    WIRE_FAULT_COUNT = 1 << 0,     /* a count disagrees with what is there */
    WIRE_FAULT_TRUNCATED = 1 << 1, /* the last item or entry claims more bytes than there are */
    WIRE_FAULT_SURPLUS = 1 << 2,   /* bytes are left over at the end */
    WIRE_FAULT_ENTRY = 1 << 3,     /* a boxed entry does not fit its own layout */
    WIRE_FAULT_BODY = 1 << 4,      /* the body fits no layout; nothing was read */
};
#define WIRE_FAULTS 5

/* "count", "truncated", "surplus", "entry", "body" for bit 0, 1, 2 ... */
extern const char *const wire_fault_names[WIRE_FAULTS];

enum wire_event_kind {
    WIRE_EV_FIELD,      /* one value */
    WIRE_EV_STRUCT,     /* fields of a struct follow, until */
    WIRE_EV_STRUCT_END, /* here */
    WIRE_EV_LIST,       /* entries, values or items follow, until */
    WIRE_EV_LIST_END,   /* here */
    WIRE_EV_ENTRY,      /* fields of one entry follow, until */
    WIRE_EV_ENTRY_END,  /* here */
    WIRE_EV_ITEM,       /* fields of one known item follow, until */
    WIRE_EV_ITEM_END,   /* here */
    WIRE_EV_ITEM_HEX,   /* an item that is unknown or does not fit */
    WIRE_EV_BROKEN,     /* a boxed struct or entry that does not fit its layout */
    WIRE_EV_TRUNCATED,  /* all that is left, in a list: the start of an item or boxed entry */
    WIRE_EV_SURPLUS,    /* all that is left, at the end of a body or of a boxed struct */
    WIRE_EV_REST, /* all that is left of items without a length; `reason` says why. `raw` is the
                         * id and `bytes` what follows it, unless `has_id` is false */
};

struct wire_event {
    enum wire_event_kind kind;
    const struct wire_row *row;   /* the field, struct or list; null for surplus */
    const struct wire_item *item; /* a known item; null for WIRE_EV_ITEM_HEX of an unknown id */
    const struct wire_row *rows;  /* the rows of the struct, entry or item that begins */
    struct pg_bytes bytes;        /* the value, without length in front; whole item for items; at a
                            * list's end all its entries */
    uint64_t raw;  /* the integer of an integer kind; the id of an item; entries of a list's end */
    size_t length; /* declared length of an item */
    bool negative; /* the `sign` register says so */
    const char *reason; /* WIRE_EV_REST: "unparsable" (unknown), "truncated" (a fault), or `then` */
    bool has_id;        /* WIRE_EV_REST */
};

/* Called for each event, in the order of the wire. The event and its bytes are lent. */
typedef void wire_visit(void *context, const struct wire_event *event);

struct wire_walked {
    unsigned faults; /* enum wire_fault */
    unsigned doubts; /* values that the layout does not expect; for choosing between layouts */
};

/* Walk a body along its rows.
 *
 * visit     may be null: the body is only judged
 * returns   true if the body fits, perhaps with faults; false if a field that must be there is not
 *           (the visitor has then seen a part, which is to be thrown away)
 */
bool wire_walk(const struct wire_row *rows, struct pg_bytes body, unsigned edition,
               wire_visit *visit, void *context, struct wire_walked *walked);

/* Find one field by its name, or by names with dots for a field inside structs
 * ("location.status"). Lists and items are not searched.
 *
 * returns   true and the event of the field; its bytes point into body
 */
bool wire_find(const struct wire_row *rows, struct pg_bytes body, unsigned edition,
               const char *name, struct wire_event *found);

/* The item of an id by its rows, ignoring lengths; null if unknown. */
const struct wire_item *wire_item_by_id(const struct wire_items *items, uint32_t id,
                                        unsigned edition);

/* True if the item is a plain number that may as well be sent in this other width: terminals send
 * 2 bytes where the table says 4, and the reverse. */
bool wire_item_has_other_width(const struct wire_item *item, size_t length);

/* True if `kind` is one of those whose event has the integer in `raw`. */
bool wire_kind_is_integer(unsigned kind);

/* Whether an integer of this row means that there is no value. */
enum wire_marker { WIRE_MARKER_NONE, WIRE_MARKER_INVALID, WIRE_MARKER_ABNORMAL };
enum wire_marker wire_marker_of(const struct wire_row *row, uint64_t raw);

/* Whether an integer is what the row says is valid; true if it says nothing (WIRE_RANGE). */
bool wire_in_range(const struct wire_row *row, uint64_t raw);

/* A time in BCD, or in plain numbers, as numbers.
 *
 * returns   null if it is a date, else why not: "not_set" (all zeros), "not_decimal", "no_date"
 */
struct wire_time {
    unsigned year, month, day, hour, minute, second;
};
const char *wire_time_parse(const uint8_t bytes[6], bool binary, struct wire_time *time);

#endif
