/* SPDX-License-Identifier: Apache-2.0 */

/* Forwarding, the frames of vehicles: out of the session, on the link, and settled when the
 * platform has taken them.
 *
 * Each is sent as it came. But a report (02) that the platform can no longer have in real time,
 * because it was made before the login of this link or was sent on an earlier one, is sent as a
 * re-issued report (03): its command and its check code are other ones, and nothing else. Whether
 * the platform had it already when a link broke cannot be known; it tells a record by VIN and time,
 * and has it marked.
 *
 * An answer has command, VIN and message time of the frame that it is for (6.3.2). A platform that
 * gives its own time instead is understood as well: frames of one VIN are then answered in their
 * order. The time of an encrypted unit cannot be read here, so that those are matched in the same
 * way.
 *
 * A frame that was answered with an error, or not at all, is sent again each minute, three times,
 * and then given up; other frames are not held up by it. If nothing at all has come since the first
 * of them was sent, it is the link that is dead.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: chapter 5, 6.3.2
 */

#include <stdlib.h>
#include <string.h>

#include "gbt32960_forward.h"

/* What a frame costs of the credit. */
#define FRAME_CREDIT 1000

void fwd_window_init(struct fwd_conn *c)
{
    c->end = &c->first;
}

static void free_sent(struct fwd_sent *sent)
{
    pg_msg_unref(&sent->msg);
    free(sent);
}

void fwd_window_free(struct fwd_conn *c)
{
    while (c->first) {
        struct fwd_sent *sent = c->first;
        c->first = sent->next;
        free_sent(sent);
    }
    c->end = &c->first;
    pg_timer_stop(&c->answer_timer);
    pg_timer_stop(&c->rate_timer);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Out of the list; `at` is where it hangs. */
static struct fwd_sent *unlink_sent(struct fwd_conn *c, struct fwd_sent **at)
{
    struct fwd_sent *sent = *at;

    *at = sent->next;
    if (!sent->next) {
        c->end = at;
    }
    return sent;
}

static void settle(struct fwd_conn *c, struct fwd_sent *sent, enum pg_reason reason)
{
    (void)pg_delivery_settle(c->client, sent->id, reason);
    free_sent(sent);
}

static void on_answer_timer(struct pg_timer *timer);

static void watch_answers(struct fwd_conn *c)
{
    if (!c->first) {
        pg_timer_stop(&c->answer_timer);
        return;
    }
    int64_t left = c->first->sent_ms + fwd_conf_of(c)->answer_ms - pg_now_ms();
    pg_timer_start(&c->answer_timer, left > 0 ? left : 0, on_answer_timer);
}

static void transmit(struct fwd_conn *c, struct fwd_sent *sent)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    struct pg_bytes wire = sent->msg->payload;
    uint8_t came_as = wire.data[2];

    if (sent->command == came_as) {
        pg_conn_append_msg(conn, sent->msg, wire);
    } else {
        const uint8_t head[3] = {wire.data[0], wire.data[1], sent->command};
        uint8_t check = (uint8_t)(wire.data[wire.len - 1] ^ came_as ^ sent->command);
        struct pg_bytes rest = {.data = wire.data + sizeof(head),
                                .len = wire.len - sizeof(head) - 1};
        pg_conn_append(conn, (struct pg_bytes){.data = head, .len = sizeof(head)});
        pg_conn_append_msg(conn, sent->msg, rest);
        pg_conn_append(conn, (struct pg_bytes){.data = &check, .len = 1});
    }
    sent->sent_ms = c->spoken_ms = pg_now_ms();
    sent->refused = false;
    sent->next = NULL;
    *c->end = sent;
    c->end = &sent->next;
}

/* What is needed of a delivery; NULL: it is none of a vehicle's frames, or memory is out. What was
 * sent to this client by anybody but a vehicle is none, whatever it looks like. */
static struct fwd_sent *new_sent(const struct fwd_conn *c, const struct pg_delivery *delivery)
{
    struct gbt_frame frame;
    struct fwd_sent *sent = NULL;

    if (strcmp(delivery->msg->protocol, "gbt32960") == 0 &&
        gbt_frame_decode(delivery->msg->payload, &frame) == GBT_ERROR_NONE &&
        frame.command >= GBT_VEHICLE_LOGIN && frame.command <= GBT_VEHICLE_LOGOUT) {
        sent = calloc(1, sizeof(*sent));
    }
    if (!sent) {
        return NULL;
    }
    bool late = delivery->redelivered || delivery->msg->created_ms < c->ready_ms;
    sent->msg = pg_msg_ref(delivery->msg);
    sent->id = delivery->id;
    sent->command =
        late && frame.command == GBT_REALTIME_REPORT ? GBT_REISSUE_REPORT : frame.command;
    memcpy(sent->vin, frame.id, sizeof(sent->vin));
    sent->has_time = frame.encryption == GBT_PLAIN && frame.unit.len >= sizeof(sent->time);
    if (sent->has_time) {
        memcpy(sent->time, frame.unit.data, sizeof(sent->time));
    }
    return sent;
}

static void on_rate_timer(struct pg_timer *timer)
{
    fwd_window_fill((struct fwd_conn *)((char *)timer - offsetof(struct fwd_conn, rate_timer)));
}

/* Whether a frame may be sent now; if not, it is looked at again. A tenth of a second's frames may
 * go at once, since that is how fine the timers are. */
static bool take_credit(struct fwd_conn *c)
{
    int64_t rate = fwd_conf_of(c)->rate, now = pg_now_ms();
    int64_t most = rate * 100 > FRAME_CREDIT ? rate * 100 : FRAME_CREDIT;

    if (rate == 0) {
        return true;
    }
    int64_t elapsed = now - c->credited_ms;
    c->credit += (elapsed < 1000 ? elapsed : 1000) * rate;
    c->credit = c->credit < most ? c->credit : most;
    c->credited_ms = now;
    if (c->credit < FRAME_CREDIT) {
        pg_timer_start(&c->rate_timer, (FRAME_CREDIT - c->credit + rate - 1) / rate, on_rate_timer);
        return false;
    }
    return true;
}

void fwd_window_fill(struct fwd_conn *c)
{
    struct pg_conn *conn = pg_conn_of_state(c);
    struct pg_delivery delivery;

    while (c->state == FWD_READY && !pg_conn_closing(conn) && pg_conn_has_room(conn) &&
           take_credit(c) && pg_delivery_next(c->client, &delivery)) {
        struct fwd_sent *sent = new_sent(c, &delivery);
        if (!sent) {
            fwd_count(c, FWD_COUNT_INVALID);
            (void)pg_delivery_settle(c->client, delivery.id, PG_PAYLOAD_INVALID);
            continue;
        }
        c->credit -= FRAME_CREDIT;
        fwd_count(c, FWD_COUNT_SENT);
        if (sent->command != sent->msg->payload.data[2]) {
            fwd_count(c, FWD_COUNT_REISSUED);
        }
        transmit(c, sent);
        if (!fwd_conf_of(c)->answers) {
            settle(c, unlink_sent(c, &c->first), PG_OK);
        }
    }
    if (c->first && !c->answer_timer.link) {
        watch_answers(c);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static struct fwd_sent **find(struct fwd_conn *c, const struct gbt_frame *answer, bool by_time)
{
    struct fwd_sent **at = &c->first;

    for (; *at; at = &(*at)->next) {
        const struct fwd_sent *sent = *at;
        if (sent->command == answer->command &&
            memcmp(sent->vin, answer->id, sizeof(sent->vin)) == 0 &&
            (!by_time || (sent->has_time && answer->unit.len >= sizeof(sent->time) &&
                          memcmp(sent->time, answer->unit.data, sizeof(sent->time)) == 0))) {
            break;
        }
    }
    return at;
}

static void give_up(struct fwd_conn *c, struct fwd_sent *sent, enum pg_reason reason)
{
    char vin[GBT_ID_TEXT];

    gbt_id_text(sent->vin, vin);
    fwd_count(c, FWD_COUNT_GIVEN_UP);
    PG_LOG(PG_WARN, "forward_given_up",
           PG_F_TEXT("upstream", pg_conn_listener(pg_conn_of_state(c))), PG_F_REASON(reason),
           PG_F_TEXT("vin", vin), PG_F_INT("command", sent->command),
           PG_F_INT("repetitions", sent->repeats));
    settle(c, sent, reason);
}

void fwd_window_answered(struct fwd_conn *c, const struct gbt_frame *answer)
{
    struct fwd_sent **at = find(c, answer, true);

    if (!*at) {
        at = find(c, answer, false);
    }
    if (!*at) {
        fwd_count(c, FWD_COUNT_UNMATCHED);
        return;
    }
    struct fwd_sent *sent = *at;
    if (answer->response == GBT_SUCCESS) {
        fwd_count(c, FWD_COUNT_ACKNOWLEDGED);
        settle(c, unlink_sent(c, at), PG_OK);
    } else {
        fwd_count(c, FWD_COUNT_REFUSED);
        sent->refused = true; /* it is sent again when it is due */
        if (sent->repeats >= fwd_conf_of(c)->repetitions) {
            give_up(c, unlink_sent(c, at), PG_REJECTED);
        }
    }
    fwd_window_fill(c);
}

static void on_answer_timer(struct pg_timer *timer)
{
    struct fwd_conn *c =
        (struct fwd_conn *)((char *)timer - offsetof(struct fwd_conn, answer_timer));
    const struct fwd_conf *conf = fwd_conf_of(c);
    int64_t now = pg_now_ms();

    while (c->first && c->first->sent_ms + conf->answer_ms <= now) {
        if (!c->first->refused && c->heard_ms < c->first->sent_ms) {
            pg_conn_close(pg_conn_of_state(c), PG_KEEPALIVE_TIMEOUT,
                          "no answer to anything for %lld ms",
                          (long long)(now - c->first->sent_ms));
            return;
        }
        struct fwd_sent *sent = unlink_sent(c, &c->first);
        if (sent->repeats >= conf->repetitions) {
            give_up(c, sent, PG_TIMED_OUT);
            continue;
        }
        sent->repeats++;
        fwd_count(c, FWD_COUNT_REPEATED);
        transmit(c, sent);
    }
    watch_answers(c);
    fwd_window_fill(c);
}
