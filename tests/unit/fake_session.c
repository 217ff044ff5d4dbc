/* SPDX-License-Identifier: Apache-2.0 */

/* The double's sessions (fake_core.h): what a client has subscribed to, what is queued for it and
 * out, and the identifiers of what it publishes once. */

#include "fake_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_session *fake_session_of(const char *id)
{
    struct fake_session *s = fake.sessions;

    while (s && strcmp(s->id, id) != 0) {
        s = s->next;
    }
    if (!s) {
        s = calloc(1, sizeof(*s));
        assert(s);
        (void)snprintf(s->id, sizeof(s->id), "%s", id);
        s->next = fake.sessions;
        fake.sessions = s;
    }
    return s;
}

void fake_session_clear(struct fake_session *s)
{
    while (s->deliveries) {
        struct fake_delivery *d = s->deliveries;
        s->deliveries = d->next;
        pg_msg_unref(&d->msg);
        free(d);
    }
    memset(s->receipts, 0, sizeof(s->receipts));
    s->receipt_count = 0;
    s->filter_count = 0;
}

/* ---- subscriptions -------------------------------------------------------------------------- */

enum pg_reason pg_subscribe(struct pg_client *client, const struct pg_subscription *sub,
                            uint64_t token)
{
    struct fake_session *s = client->session;
    struct pg_subscription copy = *sub;

    (void)token;
    assert(!client->ended);
    copy.filter = fake_keep(sub->filter);
    fake.subscriptions =
        realloc(fake.subscriptions, (fake.subscription_count + 1) * sizeof(*fake.subscriptions));
    assert(fake.subscriptions);
    fake.subscriptions[fake.subscription_count++] = copy;
    if (fake_subscribe_result != PG_OK) {
        return fake_subscribe_result;
    }
    if (sub->filter.len >= sizeof(s->filters[0])) {
        return PG_QUOTA_EXCEEDED;
    }
    for (unsigned i = 0; i < s->filter_count; i++) {
        if (pg_bytes_equal(pg_bytes_str(s->filters[i]), sub->filter)) {
            return PG_OK;
        }
    }
    if (s->filter_count == sizeof(s->filters) / sizeof(s->filters[0])) {
        return PG_QUOTA_EXCEEDED;
    }
    memcpy(s->filters[s->filter_count], sub->filter.data, sub->filter.len);
    s->filters[s->filter_count++][sub->filter.len] = '\0';
    return PG_OK;
}

enum pg_reason pg_unsubscribe(struct pg_client *client, struct pg_bytes filter, uint64_t token)
{
    (void)token;
    struct fake_session *s = client->session;

    for (unsigned i = 0; i < s->filter_count; i++) {
        if (pg_bytes_equal(pg_bytes_str(s->filters[i]), filter)) {
            memcpy(s->filters[i], s->filters[--s->filter_count], sizeof(s->filters[i]));
            return fake_unsubscribe_result;
        }
    }
    return PG_NO_SUBSCRIPTION;
}

const struct pg_subscription *fake_subscription(size_t index)
{
    return index < fake.subscription_count ? &fake.subscriptions[index] : NULL;
}

bool fake_has_subscription(const char *client_id, const char *filter)
{
    struct fake_session *s = fake_session_of(client_id);

    for (unsigned i = 0; i < s->filter_count; i++) {
        if (strcmp(s->filters[i], filter) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- deliveries ----------------------------------------------------------------------------- */

void fake_queue(const char *client_id, struct pg_msg *msg, uint8_t qos, bool retain,
                const uint32_t *subscription_ids, size_t id_count)
{
    struct fake_delivery *d = calloc(1, sizeof(*d));
    struct fake_delivery **end = &fake_session_of(client_id)->deliveries;

    assert(d && msg && id_count <= sizeof(d->subscription_ids) / sizeof(d->subscription_ids[0]));
    d->msg = msg;
    d->qos = qos;
    d->retain = retain;
    for (size_t i = 0; i < id_count; i++) {
        d->subscription_ids[i] = subscription_ids[i];
    }
    d->subscription_id_count = id_count;
    while (*end) {
        end = &(*end)->next;
    }
    *end = d;
}

void fake_send(const struct fake_send *send)
{
    struct pg_msg_spec spec = {
        .topic = pg_bytes_str(send->topic ? send->topic : "app/p2p/x"),
        .payload = send->payload,
        .qos = send->qos,
        .expires = send->expires,
        .expiry_s = send->expiry_s,
        .publisher = PG_BYTES_OF("app"),
        .protocol = "mqtt",
        .props = {.response_topic =
                      send->response_topic ? pg_bytes_str(send->response_topic) : PG_BYTES_NONE,
                  .correlation_data = send->correlation},
    };
    fake_queue(send->client_id, pg_msg_new(&spec), send->qos, false, NULL, 0);
    fake_turn();
}

size_t fake_session_out(const struct fake_session *s)
{
    size_t count = 0;

    for (const struct fake_delivery *d = s->deliveries; d; d = d->next) {
        count += d->out;
    }
    return count;
}

bool pg_delivery_next(struct pg_client *client, struct pg_delivery *out)
{
    struct fake_session *s = client->session;
    static struct pg_msg *lent;

    assert(!client->ended);
    pg_msg_unref(&lent);
    for (struct fake_delivery **link = &s->deliveries; *link; link = &(*link)->next) {
        struct fake_delivery *d = *link;
        if (d->out || (d->qos > 0 && fake_session_out(s) >= client->window)) {
            continue;
        }
        static uint32_t ids[4];
        memcpy(ids, d->subscription_ids, sizeof(ids));
        memset(out, 0, sizeof(*out));
        lent = d->received ? NULL : pg_msg_ref(d->msg);
        out->msg = lent;
        out->qos = d->qos;
        out->retain = d->retain;
        out->redelivered = d->redelivered || d->tries > 0;
        out->tries = d->tries;
        out->received = d->received;
        out->subscription_ids = ids;
        out->subscription_id_count = d->subscription_id_count;
        if (d->qos == 0) {
            *link = d->next;
            pg_msg_unref(&d->msg);
            free(d);
        } else {
            d->id = d->id ? d->id : ++s->last_id;
            d->out = true;
            out->id = d->id;
        }
        return true;
    }
    return false;
}

static struct fake_delivery *find_out(const struct pg_client *client, uint16_t id)
{
    struct fake_delivery *d = client->session->deliveries;

    while (d && !(d->out && d->id == id)) {
        d = d->next;
    }
    return d;
}

bool pg_delivery_received(struct pg_client *client, uint16_t id, bool *later)
{
    struct fake_delivery *d = find_out(client, id);

    *later = false;
    if (!d || d->qos != 2) {
        return false;
    }
    d->received = true;
    pg_msg_unref(&d->msg);
    return true;
}

bool pg_delivery_settle(struct pg_client *client, uint16_t id, enum pg_reason reason)
{
    struct fake_session *s = client->session;

    assert(!client->ended);
    for (struct fake_delivery **link = &s->deliveries; *link; link = &(*link)->next) {
        struct fake_delivery *d = *link;
        if (d->out && d->id == id) {
            *link = d->next;
            pg_msg_unref(&d->msg);
            free(d);
            fake.settled++;
            fake.settled_last = reason;
            return true;
        }
    }
    return false;
}

/* Another member's, if it is shared, is not here: it comes again to the same session. */
bool pg_delivery_return(struct pg_client *client, uint16_t id)
{
    struct fake_session *s = client->session;

    assert(!client->ended);
    for (struct fake_delivery **link = &s->deliveries; *link; link = &(*link)->next) {
        struct fake_delivery *d = *link;
        if (d->out && d->id == id && !d->received) {
            *link = d->next;
            d->next = NULL;
            d->out = false;
            d->id = 0;
            d->tries++;
            while (*link) {
                link = &(*link)->next;
            }
            *link = d;
            fake.returned++;
            return true;
        }
    }
    return false;
}

size_t fake_returned(void)
{
    return fake.returned;
}

bool pg_delivery_outstanding(const struct pg_client *client, uint16_t id,
                             struct pg_outstanding *out)
{
    const struct fake_delivery *d = find_out(client, id);

    if (d) {
        *out = (struct pg_outstanding){.qos = d->qos, .received = d->received};
    }
    return d != NULL;
}

/* Identifiers of the latest publications, for refusals that come later. */
#define ONCE_MAX 64u
static struct once {
    uint64_t token;
    uint16_t id;
} once[ONCE_MAX];
static unsigned once_count;

static bool flip_receipt(struct pg_client *client, uint16_t id, bool held)
{
    uint8_t *byte = &client->session->receipts[id / 8];
    uint8_t bit = (uint8_t)(1u << (id % 8));

    if (((*byte & bit) != 0) == held) {
        return false;
    }
    *byte ^= bit;
    client->session->receipt_count += held ? 1 : (size_t)-1;
    return true;
}

enum pg_reason pg_publish_once(struct pg_client *client, uint16_t id, struct pg_msg *msg,
                               uint64_t token)
{
    if (!flip_receipt(client, id, true)) {
        pg_msg_unref(&msg);
        return PG_DUPLICATE;
    }
    enum pg_reason reason = pg_publish(client, msg, token);
    if (pg_reason_is_error(reason)) {
        flip_receipt(client, id, false);
    }
    once[once_count++ % ONCE_MAX] = (struct once){.token = token, .id = id};
    return reason;
}

enum pg_reason pg_receipt_end(struct pg_client *client, uint16_t id, uint64_t token)
{
    (void)token;
    return flip_receipt(client, id, false) ? PG_OK : PG_DUPLICATE;
}

size_t pg_receipt_count(const struct pg_client *client)
{
    return client->session->receipt_count;
}

void fake_receipt_decided(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    for (unsigned i = 0; pg_reason_is_error(reason) && i < ONCE_MAX; i++) {
        if (once[i].id != 0 && once[i].token == token) {
            flip_receipt(client, once[i].id, false);
            once[i].id = 0;
        }
    }
}

size_t fake_settled(enum pg_reason *last)
{
    if (last) {
        *last = fake.settled_last;
    }
    return fake.settled;
}

size_t fake_waiting(const char *client_id)
{
    size_t count = 0;

    for (const struct fake_delivery *d = fake_session_of(client_id)->deliveries; d; d = d->next) {
        count++;
    }
    return count;
}
