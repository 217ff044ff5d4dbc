/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_STORE_OPEN_H
#define PG_STORE_OPEN_H

#include "settings.h"
#include "store.h"

/* The store that the settings ask for: *store is NULL when they ask for none. false with
 * error->text, which names the option. Main thread. */
bool pg_store_open(const struct pg_settings *settings, struct pg_store **store,
                   struct pg_error *error) PG_CHECKED;

#endif
