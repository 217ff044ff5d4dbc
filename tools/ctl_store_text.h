/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_STORE_TEXT_H
#define CTL_STORE_TEXT_H

/* What both ways of an export share. */

#include "polygate.h"

#define CTL_STORE_VERSION 1 /* of the lines */

/* Standard base64 with padding (RFC 4648, 4); malloc'ed. NULL: no memory. */
char *ctl_to_base64(struct pg_bytes bytes);
/* The bytes into `to`, which has room for 3 for each 4 letters. false: not base64. */
bool ctl_from_base64(const char *text, size_t len, uint8_t *to, size_t *bytes);

#endif
