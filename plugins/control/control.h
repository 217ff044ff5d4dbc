/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_H
#define CONTROL_H

#include "polygate.h"

/* The management API on a Unix socket, for polygatectl. Built in. */
extern const struct pg_plugin control_plugin;

#endif
