/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_BAN_H
#define PG_BAN_H

/* Bans: addresses, ranges and client identifiers that are refused until they expire. One list for
 * the process; with a store on disk it outlives it. Any thread.
 *
 * The text of a ban is "10.1.2.3", "10.0.0.0/8", "2001:db8::/32", or "client:ID". */

#include "address.h"
#include "polygate.h"

struct pg_store;

#define PG_BAN_WHO_MAX    1024u /* bytes of a ban's text */
#define PG_BAN_DETAIL_MAX 127u  /* bytes of what it is for */
#define PG_BANS_MAX       100000u
/* Where the store has bans, among the facts (store.h, fact_put). */
#define PG_BANS_SPACE PG_BYTES_OF("bans")

struct pg_ban {
    char who[PG_BAN_WHO_MAX + 1];
    char detail[PG_BAN_DETAIL_MAX + 1];
    int64_t since_wall_ms;
    int64_t until_wall_ms; /* PG_NEVER: until it is lifted */
    uint64_t hits;         /* connections and logins that it refused */
};

/* The identifier in a ban's text "client:ID", lent with it; data == NULL: it is not about a
 * client. */
struct pg_bytes pg_ban_client(struct pg_bytes who);
/* Where bans are kept over a restart; NULL: nowhere. At start and at the very end. */
void pg_bans_use_store(struct pg_store *store);
/* Ban for `seconds` (PG_FOREVER: until it is lifted), or renew; `detail` is lent and cut. false
 * with error->text: `who` is none of the texts above, or there are PG_BANS_MAX. */
bool pg_ban_add(struct pg_bytes who, uint32_t seconds, const char *detail,
                struct pg_error *error) PG_CHECKED;
/* One that the store had; given back at start. */
bool pg_ban_restore(struct pg_bytes who, struct pg_bytes detail, uint32_t until_wall_s) PG_CHECKED;
/* false: there is none. */
bool pg_ban_lift(struct pg_bytes who);

/* Whether the address, or one of its ranges, is banned; counts as a hit. Costs a load while there
 * are no bans. */
bool pg_ban_has_address(const struct pg_address *address);
bool pg_ban_has_client(struct pg_bytes client_id);

/* Copies of up to `room` bans, in the order of their texts; how many there are in all. */
size_t pg_bans_list(struct pg_ban *out, size_t room);
/* At the very end. */
void pg_bans_free(void);

#endif
