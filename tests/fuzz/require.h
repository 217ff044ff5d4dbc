/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_REQUIRE_H
#define FUZZ_REQUIRE_H

/* What a fuzz target is, and what it does when something does not hold. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

#endif
