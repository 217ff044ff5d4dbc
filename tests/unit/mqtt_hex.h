/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_HEX_H
#define MQTT_HEX_H

/* Packets as a test writes them down. */

#include <stdio.h>

#include "polygate.h"

/* Hex with spaces and 'text' in quotes into bytes; ".." is one byte: how many come behind it. */
static inline struct pg_bytes mqtt_hex(const char *text, uint8_t *buffer, size_t size)
{
    size_t len = 0;
    size_t count_at = SIZE_MAX;
    while (*text != '\0' && len < size) {
        if (*text == ' ') {
            text++;
        } else if (*text == '.') {
            count_at = len++;
            text += 2;
        } else if (*text == '\'') {
            for (text++; *text != '\'' && len < size; text++) {
                buffer[len++] = (uint8_t)*text;
            }
            text++;
        } else {
            unsigned value = 0;
            (void)sscanf(text, "%2x", &value);
            buffer[len++] = (uint8_t)value;
            text += 2;
        }
    }
    if (count_at != SIZE_MAX) {
        buffer[count_at] = (uint8_t)(len - count_at - 1);
    }
    return (struct pg_bytes){.data = buffer, .len = len};
}

#endif
