/* SPDX-License-Identifier: Apache-2.0 */

/* A store for tests; see fake_store.h. Completions run on the thread that asks for them, which is
 * no worker when a test does. */

#include "fake_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

struct kept_entry {
    struct kept_entry *next;
    struct pg_store_entry entry; /* share and ids in `text` and `ids` */
    uint32_t ids[16];
    size_t share_len;
    uint8_t share[128];
};

struct pg_store_session {
    struct pg_store_session *next, **link;
    struct kept_entry *first, **end;
};

struct waiting {
    struct waiting *next;
    struct pg_store_done *done;
    struct pg_store_fetch *fetch;
    struct pg_store_page *page;
};

struct fake_store {
    struct pg_store store; /* first */
    pthread_mutex_t lock;
    bool holds, holds_pages;
    struct pg_restored_session had;
    struct pg_store_out had_outs[64];
    struct pg_msg *had_unrouted, *had_will;
    char had_will_of[32];
    uint32_t had_will_delay_s;
    struct pg_store_session *sessions;
    struct waiting *waiting, **waiting_end;
    size_t waiting_count, queued, largest_page, requests[FAKE_REQUESTS];
};

static struct fake_store *lock(struct pg_store *store)
{
    struct fake_store *fake = (struct fake_store *)store;
    pthread_mutex_lock(&fake->lock);
    return fake;
}

static void *must_have(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static void finish(struct waiting *w, enum pg_reason result)
{
    if (w->done)
        w->done->fn(w->done, result);
    if (w->fetch && result != PG_OK)
        pg_store_page_free(&w->page);
    if (w->fetch)
        w->fetch->fn(w->fetch, w->page, result);
    free(w);
}

/* Unlocks: what was asked for is done, and is completed now or later. */
static void answer(struct fake_store *fake, enum fake_request kind, struct pg_store_done *done,
                   struct pg_store_fetch *fetch, struct pg_store_page *page)
{
    fake->requests[kind]++;
    struct waiting *w = NULL;
    if (done || fetch) {
        w = must_have(calloc(1, sizeof(*w)));
        w->done = done;
        w->fetch = fetch;
        w->page = page;
    }
    if (w && (fake->holds || (fetch && fake->holds_pages))) {
        *fake->waiting_end = w;
        fake->waiting_end = &w->next;
        fake->waiting_count++;
        w = NULL;
    }
    pthread_mutex_unlock(&fake->lock);
    if (w)
        finish(w, PG_OK);
}

size_t fake_store_complete(struct pg_store *store, enum pg_reason result)
{
    struct fake_store *fake = lock(store);
    struct waiting *all = fake->waiting;
    size_t count = fake->waiting_count;
    fake->waiting = NULL;
    fake->waiting_end = &fake->waiting;
    fake->waiting_count = 0;
    pthread_mutex_unlock(&fake->lock);
    while (all) {
        struct waiting *w = all;
        all = w->next;
        finish(w, result);
    }
    return count;
}

static struct pg_store_session *session_open(struct pg_store *store, struct pg_bytes client_id)
{
    (void)client_id;
    struct pg_store_session *session = must_have(calloc(1, sizeof(*session)));
    session->end = &session->first;
    struct fake_store *fake = lock(store);
    session->next = fake->sessions;
    session->link = &fake->sessions;
    if (session->next)
        session->next->link = &session->next;
    fake->sessions = session;
    pthread_mutex_unlock(&fake->lock);
    return session;
}

static void session_put(struct pg_store *store, struct pg_store_session *session,
                        const struct pg_session_record *record, struct pg_store_done *done)
{
    (void)session, (void)record;
    answer(lock(store), FAKE_SESSION_PUT, done, NULL, NULL);
}

static void free_entry(struct fake_store *fake, struct kept_entry *e)
{
    pg_msg_unref(&e->entry.msg);
    free(e);
    fake->queued--;
}

static void forget(struct fake_store *fake, struct pg_store_session *session)
{
    while (session->first) {
        struct kept_entry *e = session->first;
        session->first = e->next;
        free_entry(fake, e);
    }
    *session->link = session->next;
    if (session->next)
        session->next->link = session->link;
    free(session);
}

static void session_drop(struct pg_store *store, struct pg_store_session *session,
                         struct pg_store_done *done)
{
    struct fake_store *fake = lock(store);
    forget(fake, session);
    answer(fake, FAKE_SESSION_DROP, done, NULL, NULL);
}

static void subscription_put(struct pg_store *store, struct pg_store_session *session,
                             const struct pg_subscription *sub, struct pg_store_done *done)
{
    (void)session, (void)sub;
    answer(lock(store), FAKE_SUBSCRIPTION_PUT, done, NULL, NULL);
}

static void subscription_drop(struct pg_store *store, struct pg_store_session *session,
                              struct pg_bytes filter, struct pg_store_done *done)
{
    (void)session, (void)filter;
    answer(lock(store), FAKE_OTHER, done, NULL, NULL);
}

static void copy_entry(struct kept_entry *to, const struct pg_store_entry *from)
{
    to->entry = *from;
    pg_msg_ref(from->msg);
    for (size_t i = 0; i < from->id_count && i < 16; i++)
        to->ids[i] = from->ids[i];
    to->share_len = from->share.len < sizeof(to->share) ? from->share.len : sizeof(to->share);
    if (to->share_len > 0)
        memcpy(to->share, from->share.data, to->share_len);
}

static void enqueue(struct pg_store *store, struct pg_store_session *session,
                    const struct pg_store_entry *entry, struct pg_store_done *done)
{
    struct fake_store *fake = lock(store);
    struct kept_entry *e = must_have(calloc(1, sizeof(*e)));
    copy_entry(e, entry);
    *session->end = e;
    session->end = &e->next;
    fake->queued++;
    answer(fake, FAKE_ENQUEUE, done, NULL, NULL);
}

static void settle(struct pg_store *store, struct pg_store_session *session, uint64_t number)
{
    struct fake_store *fake = lock(store);
    for (struct kept_entry **at = &session->first; *at; at = &(*at)->next) {
        struct kept_entry *e = *at;
        if (e->entry.number != number)
            continue;
        *at = e->next;
        if (session->end == &e->next)
            session->end = at;
        free_entry(fake, e);
        break;
    }
    pthread_mutex_unlock(&fake->lock);
}

/* A page in one allocation: entries, then copies of what they lend. */
static struct pg_store_page *make_page(struct kept_entry *e, uint32_t count)
{
    size_t size = sizeof(struct pg_store_page) + count * sizeof(struct pg_store_entry) +
                  count * sizeof(struct kept_entry);
    struct pg_store_page *page = must_have(calloc(1, size));
    page->entries = (struct pg_store_entry *)(void *)(page + 1);
    struct kept_entry *copies = (struct kept_entry *)(void *)(page->entries + count);
    for (; e && page->count < count; e = e->next) {
        struct kept_entry *copy = &copies[page->count];
        *copy = *e;
        pg_msg_ref(copy->entry.msg);
        page->entries[page->count] = copy->entry;
        page->entries[page->count].ids = copy->ids;
        page->entries[page->count].share =
            (struct pg_bytes){.data = copy->share, .len = copy->share_len};
        page->next = e->entry.number + 1;
        page->count++;
    }
    page->at_end = !e;
    return page;
}

static void fetch(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                  uint32_t count, size_t bytes, struct pg_store_fetch *fetch_)
{
    (void)bytes;
    struct fake_store *fake = lock(store);
    struct kept_entry *e = session->first;
    while (e && e->entry.number < number)
        e = e->next;
    struct pg_store_page *page = make_page(e, count);
    if (page->count > fake->largest_page)
        fake->largest_page = page->count;
    answer(fake, FAKE_FETCH, NULL, fetch_, page);
}

static void fake_send(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                      uint16_t packet_id, struct pg_store_done *done)
{
    (void)session, (void)number, (void)packet_id;
    answer(lock(store), FAKE_SEND, done, NULL, NULL);
}

static void received(struct pg_store *store, struct pg_store_session *session, uint64_t number,
                     struct pg_store_done *done)
{
    (void)session, (void)number;
    answer(lock(store), FAKE_RECEIVED, done, NULL, NULL);
}

static void receive(struct pg_store *store, struct pg_store_session *session, uint16_t packet_id,
                    struct pg_msg *msg, struct pg_store_done *done)
{
    (void)session, (void)packet_id, (void)msg;
    answer(lock(store), FAKE_RECEIVE, done, NULL, NULL);
}

static void routed(struct pg_store *store, struct pg_msg *msg)
{
    (void)msg;
    answer(lock(store), FAKE_ROUTED, NULL, NULL, NULL);
}

static void release(struct pg_store *store, struct pg_store_session *session, uint16_t packet_id,
                    struct pg_store_done *done)
{
    (void)session, (void)packet_id;
    answer(lock(store), FAKE_RELEASE, done, NULL, NULL);
}

static void will_put(struct pg_store *store, const struct pg_will_record *will,
                     struct pg_store_done *done)
{
    (void)will;
    answer(lock(store), FAKE_WILL_PUT, done, NULL, NULL);
}

static void will_drop(struct pg_store *store, struct pg_bytes client_id)
{
    (void)client_id;
    answer(lock(store), FAKE_WILL_DROP, NULL, NULL, NULL);
}

static void fact_put(struct pg_store *store, struct pg_bytes space, struct pg_bytes key,
                     struct pg_bytes value, uint32_t expires_wall_s, struct pg_store_done *done)
{
    (void)space, (void)key, (void)value, (void)expires_wall_s;
    answer(lock(store), FAKE_OTHER, done, NULL, NULL);
}

static void retain(struct pg_store *store, struct pg_msg *msg, struct pg_store_done *done)
{
    (void)msg;
    answer(lock(store), FAKE_RETAIN, done, NULL, NULL);
}

void fake_store_had(struct pg_store *store, const char *client_id, uint32_t expiry_s,
                    uint32_t detached_wall_s, unsigned count)
{
    struct fake_store *fake = (struct fake_store *)store;
    struct pg_session_record record = {
        .client_id = pg_bytes_str(client_id),
        .expiry_s = expiry_s,
        .detached_wall_s = detached_wall_s,
    };
    fake->had = (struct pg_restored_session){.record = record, .first_number = 1};
    fake->had.handle = session_open(store, record.client_id);
    fake->had.next_number = count + 1;
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", i);
        struct pg_msg_spec spec = {
            .topic = pg_bytes_str("t"), .payload = pg_bytes_str(text), .qos = 1};
        struct pg_msg *msg = must_have(pg_msg_new(&spec));
        struct pg_store_entry entry = {.number = i + 1, .msg = msg, .qos = 1};
        enqueue(store, fake->had.handle, &entry, NULL);
        pg_msg_unref(&msg);
    }
}

static struct pg_msg *make_msg(const char *topic, const char *payload, uint8_t qos)
{
    struct pg_msg_spec spec = {
        .topic = pg_bytes_str(topic), .payload = pg_bytes_str(payload), .qos = qos};
    return must_have(pg_msg_new(&spec));
}

void fake_store_had_out(struct pg_store *store, unsigned first, unsigned count, unsigned received)
{
    static const uint16_t receipts[] = {5};
    struct fake_store *fake = (struct fake_store *)store;
    for (unsigned i = 0; i < count; i++)
        fake->had_outs[i] = (struct pg_store_out){
            .number = first + i, .packet_id = (uint16_t)(11 + i), .received = i < received};
    fake->had.outs = fake->had_outs;
    fake->had.out_count = count;
    fake->had.receipts = receipts;
    fake->had.receipt_count = 1;
}

void fake_store_had_unrouted(struct pg_store *store, const char *payload)
{
    ((struct fake_store *)store)->had_unrouted = make_msg("t", payload, 2);
}

void fake_store_had_will(struct pg_store *store, const char *client_id, uint32_t delay_s)
{
    struct fake_store *fake = (struct fake_store *)store;
    fake->had_will = make_msg("will", "gone", 1);
    fake->had_will_delay_s = delay_s;
    snprintf(fake->had_will_of, sizeof(fake->had_will_of), "%s", client_id);
}

static bool fake_restore(struct pg_store *store, struct pg_store_restorer *restorer,
                         struct pg_error *error)
{
    (void)error;
    struct fake_store *fake = (struct fake_store *)store;
    struct pg_subscription sub = {.filter = pg_bytes_str("t"), .qos = 2};
    fake->had.subs = &sub;
    fake->had.sub_count = 1;
    bool ok = !fake->had.handle || restorer->session(restorer, &fake->had);
    struct pg_will_record will = {
        .client_id = pg_bytes_str(fake->had_will_of),
        .msg = fake->had_will,
        .delay_s = fake->had_will_delay_s,
    };
    ok = ok && (!fake->had_will || restorer->will(restorer, &will));
    return ok && (!fake->had_unrouted ||
                  restorer->unrouted(restorer, fake->had_unrouted, NULL, 0, NULL, 0));
}

static void stats(struct pg_store *store, struct pg_store_stats *out)
{
    *out = (struct pg_store_stats){.queued = fake_store_queued(store)};
}

static void drain(struct pg_store *store)
{
    (void)fake_store_complete(store, PG_OK);
}

static void fake_free(struct pg_store *store)
{
    struct fake_store *fake = (struct fake_store *)store;
    while (fake->sessions)
        forget(fake, fake->sessions);
    pg_msg_unref(&fake->had_unrouted);
    pg_msg_unref(&fake->had_will);
    free(fake);
}

static const struct pg_store_ops fake_ops = {
    .name = "fake",
    .restore = fake_restore,
    .session_open = session_open,
    .session_put = session_put,
    .session_drop = session_drop,
    .subscription_put = subscription_put,
    .subscription_drop = subscription_drop,
    .enqueue = enqueue,
    .settle = settle,
    .fetch = fetch,
    .send = fake_send,
    .received = received,
    .receive = receive,
    .routed = routed,
    .release = release,
    .will_put = will_put,
    .will_drop = will_drop,
    .retain = retain,
    .fact_put = fact_put,
    .stats = stats,
    .drain = drain,
    .free = fake_free,
};

struct pg_store *fake_store_new(bool holds)
{
    struct fake_store *fake = must_have(calloc(1, sizeof(*fake)));
    fake->store.ops = &fake_ops;
    pthread_mutex_init(&fake->lock, NULL);
    fake->holds = holds;
    fake->waiting_end = &fake->waiting;
    return &fake->store;
}

void fake_store_hold(struct pg_store *store, bool holds)
{
    struct fake_store *fake = lock(store);
    fake->holds = holds;
    pthread_mutex_unlock(&fake->lock);
}

void fake_store_hold_pages(struct pg_store *store, bool holds)
{
    struct fake_store *fake = lock(store);
    fake->holds_pages = holds;
    pthread_mutex_unlock(&fake->lock);
}

size_t fake_store_requests(struct pg_store *store, enum fake_request kind)
{
    struct fake_store *fake = lock(store);
    size_t n = fake->requests[kind];
    pthread_mutex_unlock(&fake->lock);
    return n;
}

size_t fake_store_waiting(struct pg_store *store)
{
    struct fake_store *fake = lock(store);
    size_t n = fake->waiting_count;
    pthread_mutex_unlock(&fake->lock);
    return n;
}

size_t fake_store_queued(struct pg_store *store)
{
    struct fake_store *fake = lock(store);
    size_t n = fake->queued;
    pthread_mutex_unlock(&fake->lock);
    return n;
}

size_t fake_store_largest_page(struct pg_store *store)
{
    struct fake_store *fake = lock(store);
    size_t n = fake->largest_page;
    pthread_mutex_unlock(&fake->lock);
    return n;
}
