/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_AUTO_H
#define PG_AUTO_H

#include "transport.h"

extern const struct pg_transport auto_transport;

#endif
