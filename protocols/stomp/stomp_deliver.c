/* SPDX-License-Identifier: Apache-2.0 */

/* Messages to the client: MESSAGE out of deliveries, and ACK and NACK.
 *
 * Delivery is a pull: the core says that there is something, and as many deliveries are taken as
 * the connection has room for and the client's unacknowledged messages leave. A delivery names the
 * filters that it came by; each is one MESSAGE for every subscription with that destination, or for
 * one of them, whose turn it is, if it is a queue. It is settled when all of those are
 * acknowledged: at once, where all have ack:auto.
 *
 * What a subscription's own prefetch leaves no room for is put aside with it. What a durable
 * session kept is put aside with the connection, until the client has made that subscription again.
 *
 * NACK hands a delivery back to the core, for another consumer of a queue, or to come again; after
 * stomp.tries it is published as a dead letter. So is what has been with that many consumers that
 * left without an answer. In ack:client both are about all messages of the subscription up to the
 * one that is named.
 *
 * Worker of the connection. Standard: STOMP 1.2, MESSAGE, ACK, NACK, SUBSCRIBE ack Header; 1.1 and
 * 1.0, the same. */

#include <stdlib.h>
#include <string.h>

#include "stomp_conn.h"

/* ---- what is unacknowledged ------------------------------------------------------------------ */

/* Index of the first with a number not below `number`. */
static uint32_t search(const struct stomp_unacked_list *list, uint64_t number)
{
    uint32_t low = list->at, high = list->end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (list->items[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct stomp_unacked *find_unacked(const struct stomp_conn *m, uint64_t number)
{
    const struct stomp_unacked_list *list = &m->unacked;
    uint32_t at = search(list, number);
    bool found = at < list->end && list->items[at].number == number && list->items[at].out != NULL;
    return found ? &list->items[at] : NULL;
}

/* Close the holes. */
static void compact(struct stomp_unacked_list *list)
{
    uint32_t to = 0;
    for (uint32_t i = list->at; i < list->end; i++) {
        if (list->items[i].out != NULL) {
            list->items[to++] = list->items[i];
        }
    }
    list->at = 0;
    list->end = to;
}

static bool add_unacked(struct stomp_unacked_list *list, const struct stomp_unacked *one)
{
    if (list->end == list->size && list->count * 2 < list->size) {
        compact(list);
    }
    if (list->end == list->size) {
        uint32_t size = list->size == 0 ? 8 : list->size * 2;
        struct stomp_unacked *items = realloc(list->items, size * sizeof(*items));
        if (items == NULL) {
            return false;
        }
        list->items = items;
        list->size = size;
    }
    list->items[list->end++] = *one;
    list->count++;
    return true;
}

/* One is no longer waited for; the place becomes a hole. */
static struct stomp_out *clear_unacked(struct stomp_conn *m, struct stomp_unacked *one)
{
    struct stomp_unacked_list *list = &m->unacked;
    struct stomp_out *out = one->out;
    if (one->sub != NULL) {
        one->sub->unacked--;
    }
    one->out = NULL;
    one->sub = NULL;
    list->count--;
    while (list->at < list->end && list->items[list->at].out == NULL) {
        list->at++;
    }
    if (list->count == 0) {
        list->at = list->end = 0;
    }
    return out;
}

/* ---- the end of a delivery ------------------------------------------------------------------- */

/* Publish what nobody took below stomp.dead_letter, with its properties and who had it last. */
static void dead_letter(struct pg_conn *conn, const struct stomp_conn *m, struct pg_msg *msg)
{
    struct pg_bytes prefix = pg_bytes_str(stomp_conf_of(conn)->dead_letter);
    bool again =
        msg->topic.len >= prefix.len && memcmp(msg->topic.data, prefix.data, prefix.len) == 0;
    size_t topic_len = prefix.len + msg->topic.len;
    pg_conn_count(conn, STOMP_COUNT_DEAD_LETTERS, 1);
    PG_LOG(PG_WARN, "dead_letter", PG_F_BYTES("client", pg_client_id(m->client)),
           PG_F_BYTES("topic", msg->topic),
           PG_F_TEXT("detail",
                     again ? "dropped: it is one already, or stomp.dead_letter is empty" : ""));
    if (again || topic_len > UINT16_MAX) {
        return;
    }
    size_t count = msg->props != NULL ? msg->props->user_count : 0;
    struct pg_property *user = calloc(count + 1, sizeof(*user));
    uint8_t *topic = malloc(topic_len);
    struct pg_msg *letter = NULL;
    if (user != NULL && topic != NULL) {
        memcpy(topic, prefix.data, prefix.len);
        memcpy(topic + prefix.len, msg->topic.data, msg->topic.len);
        struct pg_msg_spec spec = {
            .topic = {.data = topic, .len = topic_len},
            .payload = msg->payload,
            .qos = 1,
            .publisher = msg->publisher,
            .protocol = msg->protocol,
        };
        if (msg->props != NULL) {
            spec.props = *msg->props;
            for (size_t i = 0; i < count; i++) {
                user[i] = msg->props->user[i];
            }
        }
        user[count] = (struct pg_property){.name = PG_BYTES_OF("dead-letter-client"),
                                           .value = pg_client_id(m->client)};
        spec.props.user = user;
        spec.props.user_count = count + 1;
        letter = pg_msg_new(&spec);
    }
    free(user);
    free(topic);
    if (letter != NULL) {
        pg_announce(letter);
    }
}

/* Nobody on this connection has it any more. */
static void finish(struct pg_conn *conn, struct stomp_conn *m, struct stomp_out *out)
{
    bool last = out->id == 0 || out->tries + 1 >= stomp_conf_of(conn)->tries;
    if (out->refused && last) {
        dead_letter(conn, m, out->msg);
    }
    if (out->id != 0 && out->refused && !last) {
        (void)pg_delivery_return(m->client, out->id);
    } else if (out->id != 0) {
        (void)pg_delivery_settle(m->client, out->id, out->refused ? PG_REJECTED : PG_OK);
    }
    pg_msg_unref(&out->msg);
    free(out);
}

static void let_go(struct pg_conn *conn, struct stomp_conn *m, struct stomp_out *out, bool refused)
{
    out->refused = out->refused || refused;
    if (--out->holders == 0) {
        finish(conn, m, out);
    }
}

/* A holder ends with the connection: the core settles it as the session's life says. */
static void free_holder(struct stomp_out *out)
{
    if (--out->holders == 0) {
        pg_msg_unref(&out->msg);
        free(out);
    }
}

/* Who held it on its way has passed it on, or could not because the connection closes. */
static void leave(struct pg_conn *conn, struct stomp_conn *m, struct stomp_out *out)
{
    if (pg_conn_closing(conn)) {
        free_holder(out);
    } else {
        let_go(conn, m, out, false);
    }
}

/* ---- MESSAGE --------------------------------------------------------------------------------- */

static struct stomp_out *new_out(const struct pg_delivery *d)
{
    struct stomp_out *out = calloc(1, sizeof(*out));
    if (out != NULL) {
        out->msg = pg_msg_ref(d->msg);
        out->id = d->id;
        out->tries = d->tries;
        out->retain = d->retain;
        out->redelivered = d->redelivered;
    }
    return out;
}

static struct stomp_message message_for(struct stomp_conn *m, const struct stomp_sub *sub)
{
    return (struct stomp_message){
        .head = {.data = sub->id + sub->id_len, .len = sub->head_len},
        .form = (enum stomp_form)sub->form,
        .number = ++m->last_number,
        .ack = sub->ack != STOMP_ACK_AUTO,
    };
}

/* Send to a subscription that acknowledges. false: closed. */
static bool send_held(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub,
                      struct stomp_out *out)
{
    struct stomp_message message = message_for(m, sub);
    message.msg = out->msg;
    message.retain = out->retain;
    message.redelivered = out->redelivered;
    const struct stomp_unacked one = {.number = message.number, .sub = sub, .out = out};
    if (!add_unacked(&m->unacked, &one)) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a message that is not acknowledged");
        return false;
    }
    out->holders++;
    sub->unacked++;
    if (stomp_write_message(conn, m, &message) != PG_OK && !pg_conn_closing(conn)) {
        let_go(conn, m, clear_unacked(m, find_unacked(m, message.number)), false);
    }
    return !pg_conn_closing(conn);
}

static struct stomp_aside *new_aside(struct stomp_out *out)
{
    struct stomp_aside *aside = malloc(sizeof(*aside));
    if (aside != NULL) {
        *aside = (struct stomp_aside){.out = out};
        out->holders++;
    }
    return aside;
}

static bool has_prefetch(const struct stomp_sub *sub)
{
    return sub->prefetch == 0 || sub->unacked < sub->prefetch;
}

/* Send now, or when the subscription has room again. false: closed. */
static bool send_or_wait(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub,
                         struct stomp_out *out)
{
    if (has_prefetch(sub) && sub->aside == NULL) {
        return send_held(conn, m, sub, out);
    }
    struct stomp_aside *aside = new_aside(out);
    if (aside == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a message that waits");
        return false;
    }
    *sub->aside_end = aside;
    sub->aside_end = &aside->next;
    return true;
}

/* What a delivery is on its way through its subscriptions. */
struct passing {
    const struct pg_delivery *d;
    struct stomp_out *out; /* made when somebody is to acknowledge it; then it has a holder, us */
};

static bool hold(struct pg_conn *conn, struct passing *p)
{
    if (p->out == NULL) {
        p->out = new_out(p->d);
        if (p->out == NULL) {
            pg_conn_close(conn, PG_NO_MEMORY, "for a message that is not acknowledged");
            return false;
        }
        p->out->holders = 1;
    }
    return true;
}

static void pass_to(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub,
                    struct passing *p)
{
    if (sub->ack != STOMP_ACK_AUTO) {
        (void)(hold(conn, p) && send_or_wait(conn, m, sub, p->out));
        return;
    }
    struct stomp_message message = message_for(m, sub);
    message.msg = p->d->msg;
    message.retain = p->d->retain;
    message.redelivered = p->d->redelivered;
    (void)stomp_write_message(conn, m, &message);
}

/* Of a queue's subscriptions on this connection: the next one in turn that has room. */
static struct stomp_sub *next_in_turn(struct stomp_filter *filter)
{
    struct stomp_sub *first = filter->turn != NULL ? filter->turn : filter->subs;
    struct stomp_sub *sub = first;
    while (!has_prefetch(sub)) {
        sub = sub->next_of_same != NULL ? sub->next_of_same : filter->subs;
        if (sub == first) {
            break;
        }
    }
    filter->turn = sub->next_of_same;
    return sub;
}

/* Retained messages are for whoever has subscribed since the last of them came: the others with
 * this destination have had them. */
static bool has_fresh(const struct stomp_filter *filter)
{
    const struct stomp_sub *sub = filter->subs;
    while (sub != NULL && !sub->fresh) {
        sub = sub->next_of_same;
    }
    return sub != NULL;
}

/* Nothing is left of what was there when they were made. */
static void end_fresh(struct stomp_conn *m)
{
    for (struct stomp_sub *sub = m->subs; sub != NULL; sub = sub->next) {
        sub->fresh = false;
    }
    m->fresh = false;
}

static void pass_by(struct pg_conn *conn, struct stomp_conn *m, struct stomp_filter *filter,
                    struct passing *p)
{
    if (filter->queue) {
        pass_to(conn, m, next_in_turn(filter), p);
        return;
    }
    bool fresh_alone = p->d->retain && has_fresh(filter);
    for (struct stomp_sub *sub = filter->subs; sub != NULL && !pg_conn_closing(conn);
         sub = sub->next_of_same) {
        if (sub->fresh || !fresh_alone) {
            pass_to(conn, m, sub, p);
        }
    }
}

/* The filter whose number this is; if none is, since the numbers of two filters fell together or
 * one has become durable, one that matches. */
static struct stomp_filter *filter_of(const struct stomp_conn *m, uint32_t number,
                                      struct pg_bytes topic)
{
    struct stomp_filter *filter = stomp_filter_find(m, number);
    for (size_t i = 0; filter == NULL && i < STOMP_FILTER_PLACES; i++) {
        for (struct stomp_filter *f = m->filters[i]; f != NULL && filter == NULL; f = f->next) {
            const struct pg_bytes text = {.data = f->text, .len = f->len};
            if (!f->p2p && !f->queue && pg_topic_filter_matches(text, topic)) {
                filter = f;
            }
        }
    }
    return filter;
}

/* It was sent to the client itself: for the subscription to /p2p/, or one that matches, or none. */
static void pass_p2p(struct pg_conn *conn, struct stomp_conn *m, struct passing *p)
{
    struct stomp_filter *filter = filter_of(m, STOMP_P2P_NUMBER, p->d->msg->topic);
    if (filter != NULL && filter->subs != NULL) {
        pass_by(conn, m, filter, p);
        return;
    }
    uint8_t head[160];
    struct stomp_writer w = {
        .data = head, .room = sizeof(head), .version = (enum stomp_version)m->version};
    stomp_put_message_head(&w, pg_bytes_str(stomp_conf_of(conn)->p2p_subscription));
    const struct stomp_message message = {
        .msg = p->d->msg,
        .head = {.data = head, .len = w.len},
        .form = STOMP_P2P,
        .number = ++m->last_number,
        .retain = p->d->retain,
        .redelivered = p->d->redelivered,
    };
    (void)stomp_write_message(conn, m, &message);
}

/* Nobody here has the filter: kept for a durable subscription that is to be made again, or handed
 * on. */
static void pass_stray(struct pg_conn *conn, struct stomp_conn *m, uint32_t number,
                       struct passing *p)
{
    if ((number & STOMP_DURABLE_BIT) == 0 || p->d->id == 0) {
        pg_conn_count(conn, STOMP_COUNT_STRAY, 1);
        return;
    }
    if (!hold(conn, p)) {
        return;
    }
    struct stomp_aside *aside = new_aside(p->out);
    if (aside == NULL) {
        pg_conn_close(conn, PG_NO_MEMORY, "for a message that waits");
        return;
    }
    p->out->filter = number;
    struct stomp_aside **end = &m->aside;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = aside;
}

/* Whether it came for anybody, or waits for one. */
static bool pass_all(struct pg_conn *conn, struct stomp_conn *m, struct passing *p)
{
    const struct pg_delivery *d = p->d;
    bool any = false;
    for (size_t i = 0; i < d->subscription_id_count && !pg_conn_closing(conn); i++) {
        uint32_t number = d->subscription_ids[i];
        struct stomp_filter *filter = filter_of(m, number, d->msg->topic);
        if (filter != NULL && filter->subs != NULL) {
            pass_by(conn, m, filter, p);
            any = true;
        } else {
            pass_stray(conn, m, number, p);
        }
    }
    return any || p->out != NULL;
}

static void pass(struct pg_conn *conn, struct stomp_conn *m, const struct pg_delivery *d)
{
    struct passing p = {.d = d};
    bool given_up = d->id != 0 && d->tries >= stomp_conf_of(conn)->tries;
    if (d->msg == NULL || given_up) {
        if (given_up && d->msg != NULL) {
            dead_letter(conn, m, d->msg);
        }
        (void)pg_delivery_settle(m->client, d->id, given_up ? PG_REJECTED : PG_OK);
        return;
    }
    bool any = true;
    if (d->subscription_id_count == 0) {
        pass_p2p(conn, m, &p);
    } else {
        any = pass_all(conn, m, &p);
    }
    if (p.out != NULL) {
        leave(conn, m, p.out);
    } else if (d->id != 0 && !pg_conn_closing(conn)) {
        if (!any && (d->subscription_ids[0] & STOMP_QUEUE_BIT) != 0) {
            (void)pg_delivery_return(m->client, d->id); /* to another consumer */
        } else {
            (void)pg_delivery_settle(m->client, d->id, any ? PG_OK : PG_NO_SUBSCRIPTION);
        }
    }
}

/* Whether the next delivery may be taken. */
static bool takes(const struct pg_conn *conn, const struct stomp_conn *m)
{
    bool online =
        m->state == STOMP_ONLINE || m->state == STOMP_SUBSCRIBING || m->state == STOMP_COMMITTING;
    return online && m->client != NULL &&
           m->unacked.count < (size_t)stomp_conf_of(conn)->prefetch && pg_conn_has_room(conn);
}

void stomp_take(struct pg_conn *conn, struct stomp_conn *m)
{
    struct pg_delivery d;
    while (takes(conn, m)) {
        if (!pg_delivery_next(m->client, &d)) {
            /* With messages unacknowledged there may be more, which the window keeps back. */
            if (m->fresh && m->state == STOMP_ONLINE && m->unacked.count == 0) {
                end_fresh(m);
            }
            return;
        }
        pass(conn, m, &d);
    }
}

void stomp_deliver(struct pg_client *client)
{
    stomp_take(pg_client_conn(client), pg_client_cookie(client));
}

/* ---- what was put aside ---------------------------------------------------------------------- */

/* As much as the subscription has room for. */
static void send_waiting(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub)
{
    while (sub->aside != NULL && has_prefetch(sub) && !pg_conn_closing(conn)) {
        struct stomp_aside *aside = sub->aside;
        struct stomp_out *out = aside->out;
        sub->aside = aside->next;
        if (sub->aside == NULL) {
            sub->aside_end = &sub->aside;
        }
        free(aside);
        (void)send_held(conn, m, sub, out);
        leave(conn, m, out); /* the place that it had aside */
    }
}

void stomp_send_aside(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub)
{
    for (struct stomp_aside **at = &m->aside; *at != NULL && !pg_conn_closing(conn);) {
        struct stomp_aside *aside = *at;
        struct stomp_out *out = aside->out;
        if (filter_of(m, out->filter, out->msg->topic) != sub->filter) {
            at = &aside->next;
            continue;
        }
        *at = aside->next;
        free(aside);
        const struct pg_delivery d = {.msg = out->msg,
                                      .id = out->id,
                                      .retain = out->retain,
                                      .redelivered = out->redelivered,
                                      .tries = out->tries};
        struct passing p = {.d = &d, .out = out};
        pass_to(conn, m, sub, &p);
        leave(conn, m, out);
    }
}

/* ---- the end of a subscription --------------------------------------------------------------- */

/* It is nobody's here any more: back to the core if it is a queue's, kept for a durable
 * subscription, or done with. */
static void orphan(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_filter *filter,
                   struct stomp_out *out)
{
    bool kept = filter->durable && out->id != 0 && stomp_filter_find(m, filter->number) == filter;
    struct stomp_aside *aside = kept && out->holders == 1 ? new_aside(out) : NULL;
    if (aside != NULL) {
        out->filter = filter->number;
        aside->next = m->aside;
        m->aside = aside;
        out->holders--;
        return;
    }
    if (filter->queue && out->holders == 1 && out->id != 0) {
        (void)pg_delivery_return(m->client, out->id);
        out->id = 0;
    }
    let_go(conn, m, out, false);
}

void stomp_forget_sub(struct pg_conn *conn, struct stomp_conn *m, struct stomp_sub *sub)
{
    for (uint32_t i = m->unacked.end; i > m->unacked.at; i--) {
        struct stomp_unacked *one = &m->unacked.items[i - 1];
        if (one->out != NULL && one->sub == sub) {
            orphan(conn, m, sub->filter, clear_unacked(m, one));
        }
    }
    while (sub->aside != NULL) {
        struct stomp_aside *aside = sub->aside;
        sub->aside = aside->next;
        orphan(conn, m, sub->filter, aside->out);
        free(aside);
    }
}

static void free_asides(struct stomp_aside *aside)
{
    while (aside != NULL) {
        struct stomp_aside *next = aside->next;
        free_holder(aside->out);
        free(aside);
        aside = next;
    }
}

void stomp_deliveries_free(struct stomp_conn *m)
{
    for (uint32_t i = m->unacked.at; i < m->unacked.end; i++) {
        if (m->unacked.items[i].out != NULL) {
            free_holder(m->unacked.items[i].out);
        }
    }
    free(m->unacked.items);
    m->unacked = (struct stomp_unacked_list){.items = NULL};
    free_asides(m->aside);
    m->aside = NULL;
    for (struct stomp_sub *sub = m->subs; sub != NULL; sub = sub->next) {
        free_asides(sub->aside);
        sub->aside = NULL;
    }
}

/* ---- ACK and NACK ---------------------------------------------------------------------------- */

bool stomp_is_unacked(const struct stomp_conn *m, uint64_t number, const struct stomp_sub *sub)
{
    const struct stomp_unacked *one = find_unacked(m, number);
    return one != NULL && (sub == NULL || one->sub == sub);
}

bool stomp_acknowledge(struct pg_conn *conn, struct stomp_conn *m, uint64_t number,
                       const struct stomp_sub *sub, bool refused)
{
    struct stomp_unacked *one = find_unacked(m, number);
    if (one == NULL || (sub != NULL && one->sub != sub)) {
        return false;
    }
    struct stomp_sub *of = one->sub;
    uint64_t from = of->ack == STOMP_ACK_CLIENT ? 0 : number;
    /* By number: the list may be moved, and emptied, while it is gone through. */
    for (uint64_t at = from; at <= number;) {
        uint32_t i = search(&m->unacked, at);
        if (i == m->unacked.end || m->unacked.items[i].number > number) {
            break;
        }
        one = &m->unacked.items[i];
        at = one->number + 1;
        if (one->out != NULL && one->sub == of) {
            let_go(conn, m, clear_unacked(m, one), refused);
            pg_conn_count(conn, STOMP_COUNT_NACKED, refused);
        }
    }
    send_waiting(conn, m, of);
    return true;
}

bool stomp_ack_target(struct pg_conn *conn, struct stomp_conn *m,
                      const struct stomp_request *request, uint64_t *number, struct stomp_sub **sub)
{
    *sub = NULL;
    if (m->version == STOMP_V11 ||
        (m->version == STOMP_V10 && stomp_frame_has(request->frame, STOMP_H_SUBSCRIPTION))) {
        struct pg_bytes id = stomp_required(conn, request, STOMP_H_SUBSCRIPTION);
        if (id.data == NULL) {
            return false;
        }
        *sub = stomp_sub_find(m, id);
        if (*sub == NULL) {
            stomp_fail(conn, request, PG_NO_SUBSCRIPTION, "no subscription with this id is active");
            return false;
        }
    }
    struct pg_bytes text =
        stomp_required(conn, request, m->version == STOMP_V12 ? STOMP_H_ID : STOMP_H_MESSAGE_ID);
    if (text.data == NULL) {
        return false;
    }
    if (!stomp_number(text, UINT64_MAX, number) || !stomp_is_unacked(m, *number, *sub)) {
        stomp_fail(conn, request, PG_PROTOCOL_ERROR,
                   "no message of this number waits for it (STOMP, ACK)");
        return false;
    }
    return true;
}

static void on_answer(struct pg_conn *conn, struct stomp_conn *m,
                      const struct stomp_request *request, bool refused)
{
    uint64_t number;
    struct stomp_sub *sub;
    if (stomp_transact(conn, m, request) || !stomp_ack_target(conn, m, request, &number, &sub)) {
        return;
    }
    (void)stomp_acknowledge(conn, m, number, sub, refused);
    stomp_done(conn, m, request);
    stomp_take(conn, m);
}

void stomp_on_ack(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    on_answer(conn, m, request, false);
}

void stomp_on_nack(struct pg_conn *conn, struct stomp_conn *m, const struct stomp_request *request)
{
    on_answer(conn, m, request, true);
}
