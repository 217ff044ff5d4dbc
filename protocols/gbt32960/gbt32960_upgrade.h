/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_UPGRADE_H
#define GBT32960_UPGRADE_H

/* The parameters of a remote upgrade (control command 01): ten values divided by semicolons.
 *
 * {"url":"ftp://192.0.2.1/f.bin","apn":"cmnet","username":"u","password":"p","address":"192.0.2.1",
 *  "port":21,"manufacturer":"ABCD","hardware_version":"1.0.0","firmware_version":"1.0.1",
 *  "timeout_min":10,"form":"binary"}
 *
 * What is left out is empty. "form", which may be left out, is one of
 *
 * binary   the order of the text of the standard, URL first; address, port and time are bytes
 * table    the order of its table and of EMQX: the URL in front of the time
 * text     as binary, with address, port and time as text
 *
 * threads   any
 * standard  GB/T 32960.3-2016, -2025: Annex B, remote upgrade
 */

#include "gbt32960_json.h"

/* Append the bytes of `upgrade` (lent). false: *error says where and why. */
bool gbt_upgrade_encode(json_t *upgrade, struct wire_out *out, struct wire_error *error);

/* Append the object of these bytes; false: they have no such form, and nothing was written. */
bool gbt_upgrade_write(struct json_out *out, struct pg_bytes bytes);

/* Param of EMQX's command as such an object; given. */
json_t *gbt_upgrade_of_emqx(json_t *param);

#endif
