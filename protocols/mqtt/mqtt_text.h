/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_TEXT_H
#define MQTT_TEXT_H

/* UTF-8 encoded strings as MQTT wants them. */

#include "polygate.h"

/* What mqtt_text_check() found; 0 is a plain well-formed string. */
#define MQTT_TEXT_WILDCARD 1u /* a '+' or '#' is in it: cannot be a topic name */
#define MQTT_TEXT_CONTROL  4u /* control characters or non-characters: see mqtt_read_name() */
#define MQTT_TEXT_INVALID  2u /* not well-formed UTF-8, or U+0000; other bits mean nothing then */

/* One pass over a string.
 *
 * text      lent
 * returns   MQTT_TEXT_* bits
 * threads   any
 * standard  MQTT 5.0, 1.5.4 [MQTT-1.5.4-1, -2]; 3.1.1, 1.5.3. Surrogates, overlong forms and
 *           values above U+10FFFF are invalid; control characters and non-characters are well
 *           formed, and told; U+FEFF is kept [MQTT-1.5.4-3].
 */
unsigned mqtt_text_check(struct pg_bytes text);

#endif
