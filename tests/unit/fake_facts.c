/* SPDX-License-Identifier: Apache-2.0 */

/* Facts in the test double of the core (fake_core.h), over all tests of a program: the last few. */

#include "fake_core.h"

#include <assert.h>
#include <string.h>

#define FACTS 32u

enum pg_reason fake_fact_result = PG_OK;

static struct fact {
    char name[128]; /* space and key; empty: free */
    uint8_t value[64];
    size_t len;
} facts[FACTS];

static void name_of(struct pg_bytes space, struct pg_bytes key, char name[128])
{
    assert(space.len + key.len + 2 <= 128);
    memset(name, 0, 128);
    memcpy(name, space.data, space.len);
    name[space.len] = '/';
    memcpy(name + space.len + 1, key.data, key.len);
}

/* The fact of this name, or NULL. */
static struct fact *find(const char *name)
{
    for (struct fact *fact = facts; fact < facts + FACTS; fact++)
        if (strcmp(fact->name, name) == 0)
            return fact;
    return NULL;
}

enum pg_reason pg_fact_set(struct pg_bytes space, struct pg_bytes key, struct pg_bytes value,
                           uint32_t expiry_s, struct pg_client *client, uint64_t token)
{
    (void)expiry_s, (void)client, (void)token;
    if (fake_fact_result != PG_OK && fake_fact_result != PG_PENDING)
        return fake_fact_result;
    static size_t next;
    char name[128];
    name_of(space, key, name);
    struct fact *fact = find(name);
    if (!fact)
        fact = &facts[next++ % FACTS];
    assert(value.len <= sizeof(fact->value));
    memcpy(fact->name, name, sizeof(name));
    memcpy(fact->value, value.data, value.len);
    fact->len = value.len;
    return fake_fact_result;
}

size_t pg_fact_get(struct pg_bytes space, struct pg_bytes key, uint8_t *value, size_t room)
{
    char name[128];
    name_of(space, key, name);
    const struct fact *fact = find(name);
    if (!fact)
        return 0;
    memcpy(value, fact->value, fact->len < room ? fact->len : room);
    return fact->len;
}
