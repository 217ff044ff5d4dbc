/* SPDX-License-Identifier: Apache-2.0 */

/* Requests of the embedded store: what store.h asks, as one allocation each, with the values of the
 * maps in the form in which they are kept (store_disk_map.c has the formats). No state; any
 * thread. */

#include "store_disk_parts.h"

#include <stdlib.h>
#include <string.h>

struct pg_disk_request *pg_disk_request_new(enum pg_disk_ask ask, struct pg_bytes name,
                                            struct pg_bytes value)
{
    struct pg_disk_request *request = malloc(sizeof(*request) + name.len + value.len);
    if (!request)
        return NULL;
    *request = (struct pg_disk_request){
        .ask = ask,
        .name = {.data = request->data, .len = name.len},
        .value = {.data = request->data + name.len, .len = value.len},
    };
    if (name.len > 0)
        memcpy(request->data, name.data, name.len);
    if (value.len > 0)
        memcpy(request->data + name.len, value.data, value.len);
    return request;
}

void pg_disk_request_free(struct pg_disk_request **where)
{
    struct pg_disk_request *request = *where;
    *where = NULL;
    if (!request)
        return;
    pg_msg_unref(&request->msg);
    free(request);
}

struct pg_disk_request *pg_disk_ask(enum pg_disk_ask ask, struct pg_store_session *session,
                                    struct pg_bytes name, struct pg_bytes value)
{
    struct pg_disk_request *request = pg_disk_request_new(ask, name, value);
    if (request)
        request->session = session;
    return request;
}

struct pg_disk_request *pg_disk_ask_session(struct pg_store_session *session,
                                            const struct pg_session_record *record)
{
    struct pg_disk_request *request =
        pg_disk_ask(PG_ASK_SESSION_PUT, session, record->client_id, PG_BYTES_NONE);
    if (request) {
        request->expiry_s = record->expiry_s;
        request->detached_wall_s = record->detached_wall_s;
    }
    return request;
}

struct pg_disk_request *pg_disk_ask_subscription(struct pg_store_session *session,
                                                 const struct pg_subscription *sub)
{
    uint8_t value[7] = {sub->qos, sub->retain_handling,
                        (uint8_t)((sub->no_local ? 1 : 0) | (sub->retain_as_published ? 2 : 0) |
                                  (sub->internal ? 4 : 0))};
    for (int i = 0; i < 4; i++)
        value[3 + i] = (uint8_t)(sub->id >> (8 * i));
    return pg_disk_ask(PG_ASK_SUB_PUT, session, sub->filter,
                       (struct pg_bytes){.data = value, .len = sizeof(value)});
}

struct pg_disk_request *pg_disk_ask_enqueue(struct pg_store_session *session,
                                            const struct pg_store_entry *entry)
{
    struct pg_disk_request *request = pg_disk_ask(
        PG_ASK_ENQUEUE, session, entry->share,
        (struct pg_bytes){.data = (const uint8_t *)entry->ids, .len = 4u * entry->id_count});
    if (!request)
        return NULL;
    request->msg = pg_msg_ref(entry->msg);
    request->number = entry->number;
    request->id_count = entry->id_count;
    request->flags = pg_disk_entry_flags(entry);
    uint8_t *ids = request->data + request->name.len;
    for (uint16_t i = 0; i < entry->id_count; i++) {
        for (int k = 0; k < 4; k++)
            *ids++ = (uint8_t)(entry->ids[i] >> (8 * k));
    }
    return request;
}

uint8_t pg_disk_entry_flags(const struct pg_store_entry *entry)
{
    bool via = entry->share.len > 0 || entry->id_count > 0;
    return (uint8_t)((entry->qos & PG_DISK_QOS) | (entry->retain ? PG_DISK_RETAIN : 0) |
                     (entry->direct ? PG_DISK_DIRECT : 0) | (via ? PG_DISK_VIA : 0));
}

/* A request of which the value was gathered in a buffer, which is freed. */
static struct pg_disk_request *gathered(enum pg_disk_ask ask, struct pg_bytes name,
                                        struct pg_disk_buffer *value)
{
    struct pg_disk_request *request = NULL;
    if (!value->failed)
        request = pg_disk_request_new(ask, name,
                                      (struct pg_bytes){.data = value->data, .len = value->len});
    free(value->data);
    return request;
}

struct pg_disk_request *pg_disk_ask_will(const struct pg_will_record *will)
{
    struct pg_disk_buffer value = {0};
    pg_disk_put_u32(&value, will->expiry_s);
    pg_disk_put_u32(&value, will->delay_s);
    pg_disk_put_u32(&value, will->due_wall_s);
    pg_disk_put_u8(&value, will->expires);
    pg_disk_put_bytes(&value, will->username);
    pg_disk_put_msg(&value, will->msg, PG_DISK_NEVER);
    return gathered(PG_ASK_WILL_PUT, will->client_id, &value);
}

struct pg_disk_request *pg_disk_ask_fact(struct pg_bytes space, struct pg_bytes key,
                                         struct pg_bytes value, uint32_t expires_wall_s)
{
    struct pg_disk_buffer name = {0}, kept = {0};
    pg_disk_put_bytes(&name, space);
    pg_disk_put_raw(&name, key);
    if (value.len > 0) {
        pg_disk_put_u32(&kept, expires_wall_s);
        pg_disk_put_raw(&kept, value);
    }
    kept.failed |= name.failed;
    struct pg_disk_request *request =
        gathered(PG_ASK_FACT_PUT, (struct pg_bytes){.data = name.data, .len = name.len}, &kept);
    free(name.data);
    return request;
}
