/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_KEYS_H
#define GBT32960_KEYS_H

/* The keys of vehicles, from a file.
 *
 * One key a line; # begins a comment:
 *
 *   VIN  aes   ecb|cbc|cbc:IV  KEY          hexadecimal; cbc: the IV stands in front of each unit
 *   VIN  sm4   ecb|cbc|cbc:IV  KEY
 *   VIN  rsa   FILE                         PEM: the platform's private key
 *   VIN  sm2   FILE
 *   VIN  sign  FILE                         PEM: the vehicle's public key, for signatures
 *   VIN  rsa-out FILE                       PEM: the vehicle's public key, for what is sent to it
 *   VIN  sm2-out FILE
 *
 * VIN may be *: for all that have no key of their own. A file name is relative to the key file.
 *
 * threads   loading: the main thread; the rest: any
 */

#include "gbt32960_cipher.h"

struct gbt_keyring;

/* Load the keys that belong to a configuration, which is known by its address; replaces what was
 * loaded for that address. "" loads none. A file that others may read is told in the log. false:
 * error->text says which line, and nothing has changed. */
bool gbt_keys_load(const void *conf, const char *path, struct pg_error *error) PG_CHECKED;

/* The keys of a configuration, shared; NULL: there are none. */
struct gbt_keyring *gbt_keys_of(const void *conf);
void gbt_keys_unref(struct gbt_keyring **ring);

/* The key of a vehicle for a use, or that of all; NULL: none. `ring` may be NULL. */
const struct gbt_key *gbt_key_find(const struct gbt_keyring *ring, const char *vin,
                                   enum gbt_key_use use);

#endif
