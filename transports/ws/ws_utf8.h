/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_UTF8_H
#define PG_WS_UTF8_H

/* UTF-8 (RFC 3629) in pieces, cut anywhere. */

#include <stddef.h>
#include <stdint.h>

/* Where a text stands; all zero at its start. */
struct ws_utf8 {
    uint8_t left;      /* bytes of the present character still to come; 0: none has begun */
    uint8_t low, high; /* between which the next of them must be */
};

/* Go on with `n` bytes at `text` (lent). How many of them are right: `n`, or else the next one cannot
 * be, and the state is of no use any more. Any thread. */
size_t ws_utf8_take(struct ws_utf8 *utf8, const uint8_t *text, size_t n);

#endif
