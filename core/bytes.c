/* SPDX-License-Identifier: Apache-2.0 */

/* Ranges of bytes: from C strings, and compared. Any thread, no state. */

#include <string.h>

#include "polygate.h"

struct pg_bytes pg_bytes_str(const char *text)
{
    return (struct pg_bytes){.data = (const uint8_t *)text, .len = strlen(text)};
}

bool pg_bytes_equal(struct pg_bytes a, struct pg_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool pg_bytes_equal_secret(struct pg_bytes a, struct pg_bytes b)
{
    if (a.len != b.len)
        return false;
    /* volatile: the compiler must not leave the loop at the first difference. */
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < a.len; i++)
        difference = (uint8_t)(difference | (a.data[i] ^ b.data[i]));
    return difference == 0;
}
