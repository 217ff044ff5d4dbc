/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_FRAME_H
#define JT808_FRAME_H

/* One JT/T 808 frame with its header parsed: what the codec gives and what the tables take.
 *
 * The struct holds everything that the header says, also what has no meaning (reserved bits, a
 * protocol version of 0), so that the frame can be built again byte for byte.
 *
 * standard  JT/T 808-2011/2013/2019, 4.4.3 (message header)
 */

#include <stdbool.h>
#include <stdint.h>

#include "polygate.h"

/* Digits of the widest phone field (BCD[10], 2019) and a NUL. */
#define JT808_PHONE_SIZE 21

/* Editions of the standard by year. The header tells 2019 from the others; 2011 and 2013 share one
 * header form, and only a body can tell them apart. */
enum jt808_edition {
    JT808_2011 = 11,
    JT808_2013 = 13,
    JT808_2019 = 19,
};

/* Deviations that were tolerated; bits of jt808_frame.quirks. Their names (jt808_quirk_name()) are
 * used in logs, counters and JSON. */
enum jt808_quirk {
    JT808_QUIRK_UNESCAPED_7D = 1u << 0,   /* a lone 7d was taken literally */
    JT808_QUIRK_UNESCAPED_7E = 1u << 1,   /* pieces were joined over a raw 7e */
    JT808_QUIRK_WRONG_LENGTH = 1u << 2,   /* the declared length is wrong, the check code holds */
    JT808_QUIRK_NO_VERSION_BIT = 1u << 3, /* 2019 header form with bit 14 clear */
    JT808_QUIRK_FALSE_VERSION_BIT = 1u << 4, /* old header form with bit 14 set */
    JT808_QUIRK_BAD_CHECK_CODE = 1u << 5,    /* accepted in spite of its check code (an option) */
};

struct jt808_frame {
    uint16_t msg_id;
    uint16_t attributes;      /* the attribute word as carried: length, encryption, bits 13 to 15 */
    uint16_t serial;          /* of this frame */
    uint16_t package_total;   /* 0 unless subpackage */
    uint16_t package_index;   /* from 1 as printed; 0 unless subpackage */
    uint8_t encryption;       /* bits 10 to 12 of the attributes: 0 plain, 1 RSA, others reserved */
    uint8_t protocol_version; /* 2019 form only, else 0 */
    bool subpackage;          /* bit 13: the package item is there */
    bool long_header;    /* the 2019 form: version byte and BCD[10] phone, whatever bit 14 says */
    bool version_flag;   /* bit 14 as carried */
    bool reserved_bit15; /* bit 15 as carried */
    unsigned quirks;     /* enum jt808_quirk bits */
    char phone[JT808_PHONE_SIZE]; /* all digits of the field (12 or 20), a nibble above 9 as a..f */
    struct pg_bytes body;         /* as carried, without package item and check code; lent */
};

#endif
