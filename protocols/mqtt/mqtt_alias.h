/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_ALIAS_H
#define MQTT_ALIAS_H

/* Topic aliases of one direction of one connection (MQTT 5.0, 3.3.2.3.4): numbers that stand for
 * topics. They end with the network connection. */

#include "polygate.h"

struct mqtt_aliases;

/* Room for the aliases 1..max. NULL: out of memory. */
struct mqtt_aliases *mqtt_aliases_new(uint16_t max);
void mqtt_aliases_free(struct mqtt_aliases **aliases);

/* Let `alias` (1..max) stand for this topic from now on; the topic is copied. false: no memory. */
bool mqtt_alias_set(struct mqtt_aliases *aliases, uint16_t alias, struct pg_bytes topic);
/* The topic that the alias stands for, lent until it is set again; data == NULL if it was never
 * set. An alias outside 1..max is never set. */
struct pg_bytes mqtt_alias_topic(const struct mqtt_aliases *aliases, uint16_t alias);
/* The alias for this topic, a new one while there are any; whether it stands for the topic already
 * is put into *known. If not, it is to be set by the caller once the packet with both is really
 * queued. Not for a table whose aliases the peer chooses. */
uint16_t mqtt_alias_of(struct mqtt_aliases *aliases, struct pg_bytes topic, bool *known);

#endif
