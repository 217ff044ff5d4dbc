/* SPDX-License-Identifier: Apache-2.0 */

/* The vehicles of one connection: a list, newest first, and a table by VIN; and the VINs that are
 * online anywhere in this process.
 *
 * A vehicle has a connection of its own, as a rule, and then there is no table. A platform brings
 * thousands of VINs on one connection and mixes their frames, so that every frame has to find its
 * vehicle at once.
 *
 * The process-wide set is only for `duplicate_vin = refuse`: it tells whether somebody is there,
 * and says nothing about who.
 *
 * threads   the worker of the connection; the set: any
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"

/* From this many vehicles on there is a table; it is at most full. */
#define TABLE_FROM 8u

static uint32_t hash_of(const char *vin)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *vin != '\0'; vin++) {
        hash = (hash ^ (uint8_t)*vin) * 16777619u;
    }
    return hash;
}

/* ---- of a connection ------------------------------------------------------------------------ */

static void put_in_table(struct gbt_conn *c, struct gbt_vehicle *v)
{
    struct gbt_vehicle **bucket = &c->table[hash_of(v->vin) & (c->table_size - 1)];

    v->table_next = *bucket;
    *bucket = v;
}

/* A table twice as large, if there is memory for one; the old one still works if not. */
static bool grow_table(struct gbt_conn *c)
{
    unsigned size = c->table_size ? c->table_size * 2 : 2 * TABLE_FROM;
    struct gbt_vehicle **table = calloc(size, sizeof(struct gbt_vehicle *));

    if (!table) {
        return false;
    }
    free(c->table);
    c->table = table;
    c->table_size = size;
    for (struct gbt_vehicle *v = c->vehicles; v; v = v->next) {
        put_in_table(c, v);
    }
    return true;
}

void gbt_fleet_add(struct gbt_conn *c, struct gbt_vehicle *v)
{
    v->next = c->vehicles;
    if (v->next) {
        v->next->link = &v->next;
    }
    v->link = &c->vehicles;
    c->vehicles = v;
    c->vehicle_count++;
    bool full = c->vehicle_count >= TABLE_FROM && c->vehicle_count > c->table_size;
    if (!(full && grow_table(c)) && c->table) {
        put_in_table(c, v);
    }
}

void gbt_fleet_remove(struct gbt_conn *c, struct gbt_vehicle *v)
{
    *v->link = v->next;
    if (v->next) {
        v->next->link = v->link;
    }
    c->vehicle_count--;
    if (c->table) {
        struct gbt_vehicle **at = &c->table[hash_of(v->vin) & (c->table_size - 1)];
        while (*at != v) {
            at = &(*at)->table_next;
        }
        *at = v->table_next;
    }
}

struct gbt_vehicle *gbt_fleet_find(const struct gbt_conn *c, const char *vin)
{
    struct gbt_vehicle *v;

    if (!c->table) {
        for (v = c->vehicles; v && strcmp(v->vin, vin) != 0; v = v->next) {
        }
        return v;
    }
    v = c->table[hash_of(vin) & (c->table_size - 1)];
    while (v && strcmp(v->vin, vin) != 0) {
        v = v->table_next;
    }
    return v;
}

/* ---- of the process ------------------------------------------------------------------------- */

struct online {
    struct online *next;
    unsigned count; /* while one takes over from another both are entered */
    char vin[GBT_ID_TEXT];
};

#define ONLINE_BUCKETS 16384u

static struct online *online[ONLINE_BUCKETS];
static pthread_mutex_t online_lock = PTHREAD_MUTEX_INITIALIZER;

static struct online **place_of(const char *vin)
{
    struct online **at = &online[hash_of(vin) % ONLINE_BUCKETS];

    while (*at && strcmp((*at)->vin, vin) != 0) {
        at = &(*at)->next;
    }
    return at;
}

bool gbt_online_is(const char *vin)
{
    (void)pthread_mutex_lock(&online_lock);
    bool is = *place_of(vin) != NULL;
    (void)pthread_mutex_unlock(&online_lock);
    return is;
}

void gbt_online_enter(const char *vin)
{
    (void)pthread_mutex_lock(&online_lock);
    struct online **at = place_of(vin);
    if (!*at) {
        *at = calloc(1, sizeof(**at)); /* without memory it is only not refused elsewhere */
        if (*at) {
            memcpy((*at)->vin, vin, strlen(vin) + 1);
        }
    }
    if (*at) {
        (*at)->count++;
    }
    (void)pthread_mutex_unlock(&online_lock);
}

void gbt_online_leave(const char *vin)
{
    (void)pthread_mutex_lock(&online_lock);
    struct online **at = place_of(vin);
    if (*at && --(*at)->count == 0) {
        struct online *gone = *at;
        *at = gone->next;
        free(gone);
    }
    (void)pthread_mutex_unlock(&online_lock);
}
