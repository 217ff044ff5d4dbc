/* SPDX-License-Identifier: Apache-2.0 */

#include "store_bed.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a store in a directory of its own, and what it gives back ------------------------------ */

char dir[SCRATCH_PATH_MAX];
struct pg_store_disk_options options;
struct pg_store *store;
struct pg_error error;

struct restored restored;

static void name(struct restored *r, const char *kind, struct pg_bytes text, struct pg_bytes value)
{
    size_t used = strlen(r->names);
    snprintf(r->names + used, sizeof(r->names) - used, "%s:%.*s=%.*s ", kind, (int)text.len,
             (const char *)text.data, (int)value.len, value.data ? (const char *)value.data : "");
}

static bool got_session(struct pg_store_restorer *base, const struct pg_restored_session *s)
{
    struct restored *r = (struct restored *)base;
    r->sessions++;
    name(r, "session", s->record.client_id, PG_BYTES_OF(""));
    r->handle = s->handle;
    r->expiry_s = s->record.expiry_s;
    r->detached_wall_s = s->record.detached_wall_s;
    r->first = s->first_number;
    r->next = s->next_number;
    r->out_count = s->out_count;
    memcpy(r->outs, s->outs, sizeof(*s->outs) * (s->out_count < 8 ? s->out_count : 8));
    r->receipt_count = s->receipt_count;
    memcpy(r->receipts, s->receipts, 2 * (s->receipt_count < 8 ? s->receipt_count : 8));
    for (size_t i = 0; i < s->sub_count; i++) {
        r->subs++;
        snprintf(r->text, sizeof(r->text), "%.*s %d %u", (int)s->subs[i].filter.len,
                 (const char *)s->subs[i].filter.data, s->subs[i].qos, s->subs[i].id);
    }
    return true;
}

static bool got_retained(struct pg_store_restorer *base, struct pg_msg *msg)
{
    struct restored *r = (struct restored *)base;
    r->retained++;
    name(r, "retained", msg->topic, msg->payload);
    return true;
}

static bool got_will(struct pg_store_restorer *base, const struct pg_will_record *will)
{
    struct restored *r = (struct restored *)base;
    r->wills++;
    r->will_due_wall_s = will->due_wall_s;
    r->will_delay_s = will->delay_s;
    name(r, "will", will->client_id, will->msg->payload);
    return true;
}

static bool got_fact(struct pg_store_restorer *base, struct pg_bytes space, struct pg_bytes key,
                     struct pg_bytes value, uint32_t expires)
{
    struct restored *r = (struct restored *)base;
    r->facts++;
    r->fact_expires_wall_s = expires;
    (void)space;
    name(r, "fact", key, value);
    return true;
}

static bool got_unrouted(struct pg_store_restorer *base, struct pg_msg *msg,
                         const struct pg_bytes *clients, size_t count,
                         const struct pg_bytes *shares, size_t share_count)
{
    (void)clients, (void)shares, (void)share_count;
    struct restored *r = (struct restored *)base;
    r->unrouted++;
    r->unrouted_msg = pg_msg_ref(msg);
    r->unrouted_clients = count;
    return true;
}

bool open_store(void)
{
    restored =
        (struct restored){.base = {got_session, got_retained, got_will, got_fact, got_unrouted}};
    store = pg_store_disk_open(&options, &error);
    if (store && store->ops->restore(store, &restored.base, &error))
        return true;
    pg_store_free(&store);
    printf("%s\n", error.text);
    return false;
}

void begin(void)
{
    scratch_make(dir);
    options = (struct pg_store_disk_options){
        .dir = dir,
        .fsync = PG_SEGLOG_ALWAYS,
        .segment_bytes = 64 * 1024,
        .map_bytes = 64u << 20,
        .retention_s = 3 * 86400,
    };
    CU_ASSERT_FATAL(open_store());
}

void reopen(void)
{
    pg_store_free(&store);
    CU_ASSERT_FATAL(open_store());
}

void finish(void)
{
    pg_store_free(&store);
    pg_msg_unref(&restored.unrouted_msg);
    scratch_remove(dir);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void answered(struct pg_store_done *done, enum pg_reason result)
{
    struct waiting *w = (struct waiting *)done;
    w->result = result;
    sem_post(&w->sem);
}

static void fetched(struct pg_store_fetch *fetch, struct pg_store_page *page, enum pg_reason result)
{
    struct waiting *w = (struct waiting *)((char *)fetch - offsetof(struct waiting, fetch));
    w->result = result;
    w->page = page;
    sem_post(&w->sem);
}

struct waiting *waiter(void)
{
    static struct waiting w;
    w = (struct waiting){.done.fn = answered, .fetch.fn = fetched};
    sem_init(&w.sem, 0, 0);
    return &w;
}

enum pg_reason await(struct waiting *w)
{
    sem_wait(&w->sem);
    return w->result;
}

struct pg_store_page *fetch(struct pg_store_session *session, uint64_t number, uint32_t count)
{
    struct waiting *w = waiter();
    store->ops->fetch(store, session, number, count, 1 << 20, &w->fetch);
    CU_ASSERT_EQUAL_FATAL(await(w), PG_OK);
    return w->page;
}

const char *queue_of(struct pg_store_session *session)
{
    static char text[2048];
    text[0] = '\0';
    struct pg_store_page *page = fetch(session, 0, 64);
    for (uint32_t i = 0; i < page->count; i++) {
        struct pg_bytes payload = page->entries[i].msg->payload;
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%u=%.*s ", (unsigned)page->entries[i].number,
                 (int)payload.len, (const char *)payload.data);
    }
    pg_store_page_free(&page);
    return text;
}

struct pg_store_session *make_session(const char *id)
{
    struct waiting *w = waiter();
    struct pg_store_session *session = store->ops->session_open(store, pg_bytes_str(id));
    struct pg_session_record record = {.client_id = pg_bytes_str(id), .expiry_s = 60};
    store->ops->session_put(store, session, &record, &w->done);
    CU_ASSERT_EQUAL_FATAL(await(w), PG_OK);
    return session;
}

struct pg_msg *message(const char *topic, const char *payload)
{
    struct pg_property user = {PG_BYTES_OF("n"), PG_BYTES_OF("v")};
    struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic),
        .payload = pg_bytes_str(payload),
        .publisher = PG_BYTES_OF("me"),
        .protocol = "mqtt",
        .qos = 1,
        .props = {.user = &user, .user_count = 1, .content_type = PG_BYTES_OF("text")}};
    return pg_msg_new(&spec);
}

void enqueue_only(struct pg_store_session *session, uint64_t number, struct pg_msg *msg,
                  struct pg_store_done *done)
{
    struct pg_store_entry entry = {.number = number, .msg = msg, .qos = 1};
    store->ops->enqueue(store, session, &entry, done);
}

enum pg_reason enqueue(struct pg_store_session *session, uint64_t number, const char *payload)
{
    struct waiting *w = waiter();
    struct pg_msg *msg = message("a/b", payload);
    enqueue_only(session, number, msg, &w->done);
    pg_msg_unref(&msg);
    return await(w);
}

struct pg_store_stats stats(void)
{
    struct pg_store_stats now;
    store->ops->stats(store, &now);
    return now;
}
