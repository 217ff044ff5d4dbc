/* SPDX-License-Identifier: Apache-2.0 */

/* SUBSCRIBE and UNSUBSCRIBE: the client's subscriptions, and the core's that they stand on.
 *
 * Several subscriptions of one connection may have the same destination; the core has one for them,
 * with a number of ours. The number comes from the text of the filter, so that what a durable
 * session kept for it is known again by the connection that comes back; a bit of it says whether
 * the subscription was durable.
 *
 * /queue/NAME is a shared subscription of the core: its consumers, on this connection or elsewhere,
 * STOMP or MQTT, compete. A destination /p2p/ with the client's own identifier names what is sent
 * to the client itself, which arrives in any case.
 *
 * A subscription with durable:true outlives the connection, with what comes for it; it ends with an
 * UNSUBSCRIBE that also says durable:true. Without that, UNSUBSCRIBE only ends its delivery here.
 *
 * Worker of the connection. Standard: STOMP 1.2, SUBSCRIBE, UNSUBSCRIBE; 1.1 and 1.0, the same. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

/* Subscription identifiers have 28 bits: MQTT 5.0, 3.8.2.1.2. Two of them tell what it was. */
#define NUMBER_MASK (STOMP_QUEUE_BIT - 1)
#define SHARED      "$share/"

/* ---- filters --------------------------------------------------------------------------------- */

static struct stomp_filter **place_of(struct stomp_conn *m, uint32_t number)
{
    return &m->filters[number % STOMP_FILTER_PLACES];
}

struct stomp_filter *stomp_filter_find(const struct stomp_conn *m, uint32_t number)
{
    struct stomp_filter *filter = m->filters[number % STOMP_FILTER_PLACES];
    while (filter != NULL && filter->number != number) {
        filter = filter->next;
    }
    return filter;
}

static struct pg_bytes text_of(const struct stomp_filter *filter)
{
    return (struct pg_bytes){.data = filter->text, .len = filter->len};
}

static struct stomp_filter *find_text(const struct stomp_conn *m, struct pg_bytes text)
{
    for (size_t i = 0; i < STOMP_FILTER_PLACES; i++) {
        for (struct stomp_filter *f = m->filters[i]; f != NULL; f = f->next) {
            if (!f->p2p && pg_bytes_equal(text_of(f), text)) {
                return f;
            }
        }
    }
    return NULL;
}

/* FNV-1a, in the bits that there are. */
static uint32_t number_of(struct pg_bytes text)
{
    uint32_t hash = UINT32_C(2166136261);
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ text.data[i]) * UINT32_C(16777619);
    }
    return (hash ^ hash >> 26) & NUMBER_MASK;
}

/* A number that no other filter of this connection has. */
static uint32_t free_number(const struct stomp_conn *m, const struct stomp_filter *filter,
                            bool durable)
{
    uint32_t number = number_of(text_of(filter));
    uint32_t bit = (durable ? STOMP_DURABLE_BIT : 0) | (filter->queue ? STOMP_QUEUE_BIT : 0);
    while (number == STOMP_P2P_NUMBER || stomp_filter_find(m, number | bit) != NULL) {
        number = (number + 1) & NUMBER_MASK;
    }
    return number | bit;
}

static void enter(struct stomp_conn *m, struct stomp_filter *filter)
{
    struct stomp_filter **place = place_of(m, filter->number);
    filter->next = *place;
    *place = filter;
}

static void take_out(struct stomp_conn *m, struct stomp_filter *filter)
{
    struct stomp_filter **at = place_of(m, filter->number);
    while (*at != filter) {
        at = &(*at)->next;
    }
    *at = filter->next;
}

static bool is_shared(struct pg_bytes text)
{
    const size_t len = sizeof(SHARED) - 1;
    return text.len >= len && memcmp(text.data, SHARED, len) == 0;
}

/* The filter of the core for a destination; NULL: out of memory. */
static struct stomp_filter *new_filter(const struct stomp_conf *conf,
                                       const struct stomp_destination *destination)
{
    bool queue = destination->form == STOMP_QUEUE;
    struct pg_bytes group = pg_bytes_str(conf->queue_group);
    size_t head = queue ? sizeof(SHARED) + group.len : 0; /* with the slash behind the group */
    struct pg_bytes rest = destination->rest;
    if (head + rest.len > UINT16_MAX) {
        rest.len = 0; /* the core refuses an empty one as it would one that long */
    }
    struct stomp_filter *filter = calloc(1, sizeof(*filter) + head + rest.len);
    if (filter == NULL) {
        return NULL;
    }
    if (queue) {
        memcpy(filter->text, SHARED, sizeof(SHARED) - 1);
        memcpy(filter->text + sizeof(SHARED) - 1, group.data, group.len);
        filter->text[head - 1] = '/';
    }
    stomp_filter_copy(rest, conf->wildcards == STOMP_WILDCARDS_BOTH, filter->text + head);
    filter->len = (uint16_t)(head + rest.len);
    filter->queue = is_shared(text_of(filter));
    return filter;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

struct stomp_sub *stomp_sub_find(const struct stomp_conn *m, struct pg_bytes id)
{
    struct stomp_sub *sub = m->subs;
    while (sub != NULL &&
           !pg_bytes_equal((struct pg_bytes){.data = sub->id, .len = sub->id_len}, id)) {
        sub = sub->next;
    }
    return sub;
}

/* With the head of its messages behind the identifier; `id` is told to the client if `named`. */
static struct stomp_sub *new_sub(const struct stomp_conn *m, struct pg_bytes id, bool named)
{
    struct stomp_writer w = {.version = (enum stomp_version)m->version};
    stomp_put_message_head(&w, named ? id : PG_BYTES_NONE);
    struct stomp_sub *sub = calloc(1, sizeof(*sub) + id.len + w.len);
    if (sub == NULL) {
        return NULL;
    }
    sub->aside_end = &sub->aside;
    sub->id_len = (uint16_t)id.len;
    memcpy(sub->id, id.data, id.len);
    sub->head_len = (uint16_t)w.len;
    w = (struct stomp_writer){.data = sub->id + id.len, .room = w.len, .version = w.version};
    stomp_put_message_head(&w, named ? id : PG_BYTES_NONE);
    return sub;
}

static void unlink_sub(struct stomp_conn *m, struct stomp_sub *sub)
{
    struct stomp_sub **at = &m->subs;
    while (*at != sub) {
        at = &(*at)->next;
    }
    *at = sub->next;
    m->sub_count--;
    at = &sub->filter->subs;
    while (*at != sub) {
        at = &(*at)->next_of_same;
    }
    *at = sub->next_of_same;
    sub->filter->turn = NULL;
}

/* The core may have so many deliveries out as the subscriptions take together. */
static void set_window(struct pg_conn *conn, struct stomp_conn *m)
{
    uint64_t most = (uint64_t)stomp_conf_of(conn)->prefetch, sum = 0;
    for (const struct stomp_sub *sub = m->subs; sub != NULL; sub = sub->next) {
        sum += sub->prefetch > 0 ? sub->prefetch : most;
    }
    pg_client_set_window(m->client, (uint32_t)(sum == 0 || sum > most ? most : sum));
}

/* The core is to know a filter no more; PG_PENDING: the store has not forgotten it yet. */
static enum pg_reason drop_filter(struct stomp_conn *m, struct stomp_filter *filter)
{
    enum pg_reason reason = PG_OK;
    if (!filter->p2p && m->client != NULL) {
        reason = pg_unsubscribe(m->client, text_of(filter), stomp_next_token(m));
    }
    take_out(m, filter);
    return reason;
}

/* End a subscription; its filter too, unless others have it or it is kept for a durable one. What
 * is returned is as of pg_unsubscribe(), with the token of the next answer. */
static enum pg_reason end_sub(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub,
                              bool give_up)
{
    struct stomp_filter *filter = sub->filter;
    enum pg_reason reason = PG_OK;
    unlink_sub(m, sub);
    bool ends = filter->subs == NULL && (give_up || !filter->durable);
    if (ends) {
        /* Before its deliveries go back, so that they do not come again. */
        reason = drop_filter(m, filter);
    }
    stomp_forget_sub(conn, m, sub);
    if (ends) {
        free(filter);
    }
    free(sub);
    return reason;
}

void stomp_subs_leave(struct stomp_conn *m)
{
    struct pg_conn *conn = pg_conn_of_state(m);
    if (m->client == NULL || pg_client_session_expiry(m->client) == 0) {
        return; /* the session ends with its client, and everything in it */
    }
    for (struct stomp_sub *sub = m->subs, *next; sub != NULL; sub = next) {
        next = sub->next;
        if (!sub->filter->durable && !sub->filter->p2p) {
            (void)end_sub(conn, m, sub, false); /* the client is leaving: nobody is told */
        }
    }
}

void stomp_subs_free(struct stomp_conn *m)
{
    while (m->subs != NULL) {
        struct stomp_sub *sub = m->subs;
        m->subs = sub->next;
        free(sub);
    }
    for (size_t i = 0; i < STOMP_FILTER_PLACES; i++) {
        while (m->filters[i] != NULL) {
            struct stomp_filter *filter = m->filters[i];
            m->filters[i] = filter->next;
            free(filter);
        }
    }
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------------- */

/* What a SUBSCRIBE asks for. */
struct wanted {
    struct pg_bytes id;
    bool named; /* it has an id */
    struct stomp_destination destination;
    enum stomp_ack_mode ack;
    uint32_t prefetch;
    bool durable, no_local;
};

static bool read_ack(struct pg_conn *conn, const struct stomp_request *request,
                     enum stomp_ack_mode *out)
{
    static const struct {
        struct pg_bytes word;
        enum stomp_ack_mode mode;
    } words[] = {
        {PG_BYTES_OF("auto"), STOMP_ACK_AUTO},
        {PG_BYTES_OF("client"), STOMP_ACK_CLIENT},
        {PG_BYTES_OF("client-individual"), STOMP_ACK_INDIVIDUAL},
    };
    struct pg_bytes value = stomp_value(request->frame, STOMP_H_ACK, request->texts);
    *out = STOMP_ACK_AUTO;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (pg_bytes_equal(value, words[i].word)) {
            *out = words[i].mode;
            return true;
        }
    }
    if (value.data == NULL) {
        return true;
    }
    stomp_fail(conn, request, PG_PROTOCOL_ERROR,
               "ack is none of auto, client and client-individual (STOMP, SUBSCRIBE ack Header)");
    return false;
}

static bool read_prefetch(struct pg_conn *conn, const struct stomp_request *request, uint32_t *out)
{
    uint64_t count = 0;
    struct pg_bytes value = stomp_value(request->frame, STOMP_H_PREFETCH_COUNT, request->texts);
    if (value.data != NULL && !stomp_number(value, UINT16_MAX, &count)) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "prefetch-count is not a number up to 65535");
        return false;
    }
    *out = (uint32_t)count;
    return true;
}

/* The id, or what stands for it in 1.0. */
static bool read_id(struct pg_conn *conn, const struct stomp_conn *m,
                    const struct stomp_request *request, struct pg_bytes destination,
                    struct pg_bytes *id, bool *named)
{
    *named = m->version != STOMP_V10 || stomp_frame_has(request->frame, STOMP_H_ID);
    *id = *named ? stomp_required(conn, request, STOMP_H_ID) : destination;
    return id->data != NULL;
}

static bool read_wanted(struct pg_conn *conn, const struct stomp_conn *m,
                        const struct stomp_request *request, struct wanted *out)
{
    struct pg_bytes text = stomp_required(conn, request, STOMP_H_DESTINATION);
    if (text.data == NULL || !read_id(conn, m, request, text, &out->id, &out->named) ||
        !read_ack(conn, request, &out->ack) || !read_prefetch(conn, request, &out->prefetch) ||
        !stomp_flag(conn, request, STOMP_H_DURABLE, false, &out->durable) ||
        !stomp_flag(conn, request, STOMP_H_NO_LOCAL, false, &out->no_local)) {
        return false;
    }
    out->destination = stomp_destination_read(text);
    return true;
}

/* Whether it can be had, before the core is asked. */
static bool allowed(struct pg_conn *conn, const struct stomp_conn *m,
                    const struct stomp_request *request, const struct wanted *wanted)
{
    if (stomp_sub_find(m, wanted->id) != NULL) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR, "a subscription with this id is active");
    } else if (m->sub_count >= (size_t)stomp_conf_of(conn)->subscriptions_max) {
        stomp_fail(conn, request, PG_QUOTA_EXCEEDED,
                   "as many subscriptions are active as stomp.subscriptions_max allows");
    } else if (stomp_frame_has(request->frame, STOMP_H_SELECTOR)) {
        stomp_fail(conn, request, PG_UNSUPPORTED,
                   "there are no selectors; subscribe to a destination of its own");
    } else if (wanted->durable && !m->named) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR,
                   "a durable subscription needs the header client-id in CONNECT");
    } else if (wanted->destination.form == STOMP_P2P &&
               !pg_bytes_equal(wanted->destination.rest, pg_client_id(m->client))) {
        stomp_fail(conn, request, PG_NOT_AUTHORIZED,
                   "what is sent to another client is not to be had");
    } else if (wanted->id.len > UINT16_MAX / 4) {
        stomp_fail(conn, request, PG_TOO_LARGE, "the id is longer than %u bytes", UINT16_MAX / 4);
    } else {
        return true;
    }
    return false;
}

/* The filter of the connection for what is wanted; made if there is none. */
static struct stomp_filter *filter_for(struct pg_conn *conn, struct stomp_conn *m,
                                       const struct wanted *wanted)
{
    bool p2p = wanted->destination.form == STOMP_P2P;
    struct stomp_filter *filter = p2p ? stomp_filter_find(m, STOMP_P2P_NUMBER)
                                      : new_filter(stomp_conf_of(conn), &wanted->destination);
    if (p2p && filter == NULL) {
        filter = calloc(1, sizeof(*filter));
        if (filter != NULL) {
            filter->p2p = true;
            filter->number = STOMP_P2P_NUMBER;
            enter(m, filter);
        }
    }
    if (p2p || filter == NULL) {
        return filter;
    }
    struct stomp_filter *known = find_text(m, text_of(filter));
    if (known != NULL) {
        free(filter);
        if (wanted->durable && !known->durable) { /* it changes its number for the durable one */
            take_out(m, known);
            known->number = free_number(m, known, true);
            enter(m, known);
        }
        return known;
    }
    filter->number = free_number(m, filter, wanted->durable);
    enter(m, filter);
    return filter;
}

static struct stomp_sub *add_sub(struct pg_conn *conn, struct stomp_conn *m,
                                 const struct wanted *wanted)
{
    struct stomp_sub *sub = new_sub(m, wanted->id, wanted->named);
    struct stomp_filter *filter = sub != NULL ? filter_for(conn, m, wanted) : NULL;
    if (filter == NULL) {
        free(sub);
        return NULL;
    }
    sub->filter = filter;
    sub->ack = (uint8_t)wanted->ack;
    sub->form = (uint8_t)wanted->destination.form;
    sub->prefetch = wanted->ack == STOMP_ACK_AUTO ? 0 : wanted->prefetch;
    sub->durable = wanted->durable;
    sub->fresh = m->fresh = true;
    filter->durable = filter->durable || wanted->durable;
    if (wanted->ack != STOMP_ACK_AUTO || wanted->durable) {
        filter->qos = 1;
    }
    struct stomp_sub **end = &filter->subs;
    while (*end != NULL) {
        end = &(*end)->next_of_same;
    }
    *end = sub;
    sub->next = m->subs;
    m->subs = sub;
    m->sub_count++;
    return sub;
}

static void subscribed(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub,
                       struct pg_bytes receipt)
{
    set_window(conn, m);
    if (receipt.data != NULL) {
        stomp_write_receipt(conn, m, receipt, PG_OK);
    }
    stomp_send_aside(conn, m, sub);
}

void stomp_on_subscribe(struct pg_conn *conn, struct stomp_conn *m,
                        const struct stomp_request *request)
{
    struct wanted wanted;
    if (!read_wanted(conn, m, request, &wanted) || !allowed(conn, m, request, &wanted)) {
        return;
    }
    struct stomp_sub *sub = add_sub(conn, m, &wanted);
    if (sub == NULL) {
        stomp_fail(conn, request, PG_NO_MEMORY, "for a subscription");
        return;
    }
    if (wanted.durable) {
        /* Before the core has the subscription, so that it is stored. */
        pg_client_set_session_expiry(m->client,
                                     (uint32_t)(stomp_conf_of(conn)->durable_expiry / 1000));
    }
    if (sub->filter->p2p) {
        subscribed(conn, m, sub, request->receipt);
        return;
    }
    const struct pg_subscription core = {
        .filter = text_of(sub->filter),
        .qos = sub->filter->qos,
        .no_local = wanted.no_local,
        .id = sub->filter->number,
        /* A durable one that is made again has had them. */
        .retain_handling = wanted.durable ? 1 : 0,
    };
    enum pg_reason reason = pg_subscribe(m->client, &core, 0);
    if (reason == PG_PENDING) {
        m->subscribing = sub;
        (void)stomp_wait(conn, m, STOMP_SUBSCRIBING, request->receipt);
    } else if (reason != PG_OK) {
        stomp_fail(conn, request, reason, "%s", pg_reason_sentence(reason));
    } else {
        subscribed(conn, m, sub, request->receipt);
    }
}

void stomp_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct stomp_conn *m = pg_client_cookie(client);
    struct pg_conn *conn = pg_client_conn(client);
    struct pg_bytes receipt;
    (void)token; /* one at a time */
    if (m->state == STOMP_SUBSCRIBING && stomp_answered(conn, m, reason, &receipt)) {
        subscribed(conn, m, m->subscribing, receipt);
        stomp_waited(conn, m);
    }
}

/* ---- UNSUBSCRIBE ----------------------------------------------------------------------------- */

void stomp_on_unsubscribe(struct pg_conn *conn, struct stomp_conn *m,
                          const struct stomp_request *request)
{
    bool durable;
    bool by_id = m->version != STOMP_V10 || stomp_frame_has(request->frame, STOMP_H_ID);
    struct pg_bytes id = stomp_required(conn, request, by_id ? STOMP_H_ID : STOMP_H_DESTINATION);
    if (id.data == NULL || !stomp_flag(conn, request, STOMP_H_DURABLE, false, &durable)) {
        return;
    }
    struct stomp_sub *sub = stomp_sub_find(m, id);
    if (sub == NULL) {
        stomp_fail(conn, request, PG_NO_SUBSCRIPTION, "no subscription with this id is active");
        return;
    }
    enum pg_reason reason = end_sub(conn, m, sub, durable);
    if (m->subs != NULL) {
        set_window(conn, m);
    }
    /* That the core no longer had it, since a rule that came later forbids it, is no fault. */
    if (stomp_due(conn, m, STOMP_DUE_FRAME, request->receipt,
                  reason == PG_NO_SUBSCRIPTION ? PG_OK : reason)) {
        stomp_take(conn, m);
    }
}
