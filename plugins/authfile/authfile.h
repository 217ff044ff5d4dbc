/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTHFILE_H
#define AUTHFILE_H

#include "polygate.h"

/* Users from a password file, permissions from a rules file. Built in. */
extern const struct pg_plugin authfile_plugin;

#endif
