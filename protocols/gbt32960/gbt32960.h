/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_H
#define GBT32960_H

/* The GB/T 32960 frontend. */

#include "polygate.h"

extern const struct pg_protocol gbt32960_protocol;

#endif
