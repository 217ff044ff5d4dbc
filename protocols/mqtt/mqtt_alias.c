/* SPDX-License-Identifier: Apache-2.0 */

/* Topic aliases: a table from number to topic, used in both directions.
 *
 * For what the client assigns it is a plain array. For what we assign, numbers are given in order,
 * and found again through an index by the topic's hash, kept in the same rows: place h of the index
 * is in row h. A topic stands at the place of its hash or in one of the next PROBES - 1; when all of
 * these are other topics' it takes the alias of the first, which costs one full topic on the wire.
 * So there is little to search and nothing to age, and no alias is taken from a topic while others
 * are free near it. A topic's memory is kept when its alias is given to another that fits.
 *
 * Worker of the connection. Standard: MQTT 5.0, 3.3.2.3.4 [MQTT-3.3.2-7 .. -12]. */

#include "mqtt_alias.h"

#include <stdlib.h>
#include <string.h>

struct alias {
    uint8_t *topic; /* NULL: never set */
    uint16_t len;
    uint16_t room;
    uint16_t at; /* the alias that stands at this place of the index; 0: none */
};

/* Places in which a topic may stand: all of a table of the usual size. */
#define PROBES 32u

struct mqtt_aliases {
    uint16_t max;
    uint16_t used;        /* numbers that the index has given */
    struct alias table[]; /* alias n is at n - 1 */
};

struct mqtt_aliases *mqtt_aliases_new(uint16_t max)
{
    struct mqtt_aliases *aliases = calloc(1, sizeof(*aliases) + max * sizeof(struct alias));
    if (aliases != NULL) {
        aliases->max = max;
    }
    return aliases;
}

void mqtt_aliases_free(struct mqtt_aliases **aliases)
{
    if (*aliases == NULL) {
        return;
    }
    for (uint16_t i = 0; i < (*aliases)->max; i++) {
        free((*aliases)->table[i].topic);
    }
    free(*aliases);
    *aliases = NULL;
}

bool mqtt_alias_set(struct mqtt_aliases *aliases, uint16_t alias, struct pg_bytes topic)
{
    if (alias == 0 || alias > aliases->max || topic.len > UINT16_MAX) {
        return false;
    }
    struct alias *a = &aliases->table[alias - 1];
    if (a->topic == NULL || topic.len > a->room) {
        uint8_t *grown = realloc(a->topic, topic.len > 0 ? topic.len : 1);
        if (grown == NULL) {
            return false;
        }
        a->topic = grown;
        a->room = (uint16_t)topic.len;
    }
    memcpy(a->topic, topic.data, topic.len);
    a->len = (uint16_t)topic.len;
    return true;
}

struct pg_bytes mqtt_alias_topic(const struct mqtt_aliases *aliases, uint16_t alias)
{
    if (aliases == NULL || alias == 0 || alias > aliases->max) {
        return PG_BYTES_NONE;
    }
    const struct alias *a = &aliases->table[alias - 1];
    return (struct pg_bytes){.data = a->topic, .len = a->len};
}

/* FNV-1a, enough to spread topics over a small table; it is the receiver's own table, so that
 * nobody gains from making them collide. */
static uint32_t hash(struct pg_bytes topic)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < topic.len; i++) {
        h = (h ^ topic.data[i]) * 16777619u;
    }
    return h ^ h >> 16;
}

uint16_t mqtt_alias_of(struct mqtt_aliases *aliases, struct pg_bytes topic, bool *known)
{
    uint32_t home = hash(topic) % aliases->max;
    *known = false;
    for (uint32_t step = 0; step < PROBES && step < aliases->max; step++) {
        uint16_t *at = &aliases->table[(home + step) % aliases->max].at;
        if (*at == 0) {
            *at = ++aliases->used;
            return *at;
        }
        const struct alias *a = &aliases->table[*at - 1];
        if (a->topic == NULL) {
            return *at; /* given, and never set */
        }
        if (a->len == topic.len && memcmp(a->topic, topic.data, topic.len) == 0) {
            *known = true;
            return *at;
        }
    }
    return aliases->table[home].at;
}
