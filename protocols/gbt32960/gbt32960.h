/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_H
#define GBT32960_H

/* The GB/T 32960 frontend, and the one that forwards its vehicles to other platforms. */

#include "polygate.h"

extern const struct pg_protocol gbt32960_protocol;
extern const struct pg_protocol forward_protocol;

#endif
