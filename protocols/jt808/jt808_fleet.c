/* SPDX-License-Identifier: Apache-2.0 */

/* The terminals of one connection: a list, newest first, and a table by phone.
 *
 * A terminal has a connection of its own, as a rule, and then there is no table. A forwarding
 * platform brings thousands of phones on one connection and mixes their frames, so that every frame
 * has to find its terminal at once. Phones are compared without their leading zeros.
 *
 * threads   the worker of the connection
 */

#include <stdlib.h>

#include "jt808_parts.h"

/* From this many terminals on there is a table; it is at most full. */
#define TABLE_FROM 8u

static uint32_t hash_of(const char *phone)
{
    struct pg_bytes digits = jt808_phone_trimmed(phone);
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < digits.len; i++) {
        hash = (hash ^ digits.data[i]) * 16777619u;
    }
    return hash;
}

static void put_in_table(struct jt808_conn *c, struct jt808_terminal *t)
{
    struct jt808_terminal **bucket = &c->table[hash_of(t->phone) & (c->table_size - 1)];

    t->table_next = *bucket;
    *bucket = t;
}

/* A table twice as large, if there is memory for one; the old one still works if not. */
static bool grow_table(struct jt808_conn *c)
{
    unsigned size = c->table_size ? c->table_size * 2 : 2 * TABLE_FROM;
    struct jt808_terminal **table = calloc(size, sizeof(struct jt808_terminal *));

    if (!table) {
        return false;
    }
    free(c->table);
    c->table = table;
    c->table_size = size;
    for (struct jt808_terminal *t = c->terminals; t; t = t->next) {
        put_in_table(c, t);
    }
    return true;
}

void jt808_fleet_add(struct jt808_conn *c, struct jt808_terminal *t)
{
    t->next = c->terminals;
    if (t->next) {
        t->next->link = &t->next;
    }
    t->link = &c->terminals;
    c->terminals = t;
    c->terminal_count++;
    bool full = c->terminal_count >= TABLE_FROM && c->terminal_count > c->table_size;
    if (!(full && grow_table(c)) && c->table) {
        put_in_table(c, t);
    }
}

void jt808_fleet_remove(struct jt808_conn *c, struct jt808_terminal *t)
{
    *t->link = t->next;
    if (t->next) {
        t->next->link = t->link;
    }
    c->terminal_count--;
    if (c->table) {
        struct jt808_terminal **at = &c->table[hash_of(t->phone) & (c->table_size - 1)];
        while (*at != t) {
            at = &(*at)->table_next;
        }
        *at = t->table_next;
    }
}

struct jt808_terminal *jt808_fleet_find(const struct jt808_conn *c, const char *phone)
{
    struct jt808_terminal *t;

    if (!c->table) {
        for (t = c->terminals; t && !jt808_phone_equal(t->phone, phone); t = t->next) {
        }
        return t;
    }
    t = c->table[hash_of(phone) & (c->table_size - 1)];
    while (t && !jt808_phone_equal(t->phone, phone)) {
        t = t->table_next;
    }
    return t;
}
