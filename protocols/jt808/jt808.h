/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_H
#define JT808_H

#include "polygate.h"

/* The JT/T 808 frontend, for the table of built-in ones. */
extern const struct pg_protocol jt808_protocol;

#endif
