/* SPDX-License-Identifier: Apache-2.0 */

/* The scenarios that carry messages.
 *
 * A message holds its publisher, its number and when it was sent. Subscribers enter it in a ledger,
 * and it counts for its publisher, who may have so many outstanding: sent, and not yet at every
 * subscriber and acknowledged. What one turn of the loop has completed is sent anew at its end, in
 * writes of `burst` messages. With a rate, messages are sent at their times whatever is
 * outstanding, one a write, the time that they carry is the one at which they were due, and the
 * loop never sleeps: that is exact, and costs a CPU.
 *
 *   opening: fillers, subscribers, publishers connect
 *   warm-up -> measured (processor time, delivered messages, latency) -> draining until everything
 *   has come, or nothing comes for `patience`. One thread. */

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "shape.h"

#define FILLERS_PER_CLIENT 1000u
#define BURST_BYTES        (1u << 20)

/* What a message starts with, in the byte order of this machine; the rest is the same in all. */
struct stamp {
    uint32_t publisher;
    uint32_t number;
    uint64_t sent_ns;
};

/* A PUBLISH of one topic, ready but for packet identifier and stamp. */
struct outlet {
    uint8_t *packet;
    size_t len, id_at, payload_at;
};

struct publisher {
    struct peer peer;
    struct outlet *outlets;
    uint32_t sent;
    uint64_t delivered; /* to all subscribers together, or known to be lost */
    uint64_t complete;  /* acknowledged; with QoS 0 not used */
    bool waits;         /* on the list of those that may have something to send */
};

struct subscriber {
    struct peer peer;
    struct shape_range range;
    unsigned topic;            /* of `topics`: numbers are topic, topic + topics, ... */
    struct ledger_flow *flows; /* of each publisher in range; not with a shared subscription */
    uint32_t *member_next;     /* with a shared one */
    uint64_t received;
};

enum phase { OPENING, WARMING, MEASURING, DRAINING, DONE };

static const struct shape *shape;
static enum phase phase;
static unsigned copies;
static struct publisher *publishers;
static struct subscriber *subscribers;
static struct peer *fillers;
static unsigned filler_clients;
static struct ledger_share *shares; /* of each publisher, with a shared subscription */
static struct peer_crowd crowd;
static struct ledger_sums sums;
static struct histogram latency;
static uint8_t fill[BENCH_PAYLOAD_MAX];
static uint8_t scratch[BURST_BYTES];

static struct publisher **waiting;
static unsigned waiting_count;

static uint64_t delivered, delivered_start, delivered_end;
static uint64_t start_ns, end_ns;
static struct measure_cpu cpu_start, cpu_end;
static double own_start, own_end;
static struct measure_trace trace;
static bool tracing;
static uint64_t progress_seen, progress_ns;
static uint64_t due_count, due_start_ns; /* with a rate: messages sent so far, since when */
static uint64_t late;                    /* of them sent more than 1 ms after their time */

static ev_timer timer, watchdog;
static ev_prepare turn_end;

/* ---- sending --------------------------------------------------------------------------------- */

static uint8_t *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);
    if (!p)
        abort();
    return p;
}

static void make_outlet(unsigned publisher, unsigned topic, struct outlet *out)
{
    char name[PEER_FILTER_MAX];
    enum mqtt_version version = (enum mqtt_version)bench_options.version;
    struct mqtt_publish packet = {
        .qos = (uint8_t)bench_options.qos,
        .packet_id = bench_options.qos > 0 ? 1 : 0,
        .payload = {.data = fill, .len = bench_options.payload},
    };

    shape->topic(publisher, topic, name);
    packet.topic = (struct pg_bytes){.data = (const uint8_t *)name, .len = strlen(name)};
    out->len = mqtt_encode_publish(&packet, version, NULL, 0);
    out->packet = must_alloc(1, out->len);
    mqtt_encode_publish(&packet, version, out->packet, out->len);
    out->payload_at = out->len - bench_options.payload;
    out->id_at = out->payload_at - (version == MQTT_V5 ? 3 : 2); /* one byte: no properties */
}

/* One write of `count` messages. */
static void send_burst(struct publisher *p, unsigned count, uint64_t now_ns)
{
    uint8_t *at = scratch;
    struct stamp stamp = {.publisher = p->peer.index, .sent_ns = now_ns};

    for (unsigned i = 0; i < count; i++) {
        const struct outlet *outlet = &p->outlets[p->sent % shape->topics];
        memcpy(at, outlet->packet, outlet->len);
        if (bench_options.qos > 0) {
            uint16_t id = peer_next_id(&p->peer);
            at[outlet->id_at] = (uint8_t)(id >> 8);
            at[outlet->id_at + 1] = (uint8_t)(id & 0xFF);
        }
        stamp.number = p->sent++;
        memcpy(at + outlet->payload_at, &stamp, sizeof(stamp));
        at += outlet->len;
    }
    peer_send(&p->peer, scratch, (size_t)(at - scratch));
}

static unsigned outstanding(const struct publisher *p)
{
    uint64_t done = copies == 1 ? p->delivered : p->delivered / copies;

    if (bench_options.qos > 0 && p->complete < done)
        done = p->complete;
    return (unsigned)(p->sent - done);
}

static void wait_turn(struct publisher *p)
{
    if (p->waits)
        return;
    p->waits = true;
    waiting[waiting_count++] = p;
}

static void send_what_may(struct publisher *p)
{
    unsigned most = bench_options.outstanding;

    if (bench_options.qos > 0 && p->peer.receive_maximum < most)
        most = p->peer.receive_maximum;
    p->waits = false;
    while (!peer_blocked(&p->peer) && outstanding(p) + bench_options.burst <= most)
        send_burst(p, bench_options.burst, measure_now_ns());
}

/* With a rate: send everything that is due. */
static void send_due(void)
{
    uint64_t now_ns = measure_now_ns();

    for (;;) {
        uint64_t due_ns = due_start_ns + (uint64_t)((double)due_count * 1e9 / bench_options.rate);
        if (due_ns > now_ns)
            return;
        struct publisher *p = &publishers[due_count++ % bench_options.publishers];
        if (outstanding(p) >= bench_options.outstanding) {
            bench_fail("publisher %u has %u messages outstanding: the broker does not keep up",
                       p->peer.index, outstanding(p));
            phase = DONE;
            return;
        }
        if (now_ns - due_ns > 1000000)
            late++;
        send_burst(p, 1, due_ns);
    }
}

static void on_turn_end(struct ev_loop *loop, ev_prepare *w, int events)
{
    unsigned count = waiting_count;

    (void)loop, (void)w, (void)events;
    if (phase != WARMING && phase != MEASURING)
        return;
    if (bench_options.rate > 0) {
        send_due();
        return;
    }
    waiting_count = 0; /* nothing is added while these are sent */
    for (unsigned i = 0; i < count; i++)
        send_what_may(waiting[i]);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* The ledger's entry of a message. Returns how many messages are settled by it. */
static uint32_t enter(struct subscriber *s, const struct stamp *stamp)
{
    if (shape->shared)
        return ledger_share_take(&shares[stamp->publisher], &s->member_next[stamp->publisher],
                                 stamp->number, &sums);
    uint32_t number = stamp->number / shape->topics;
    return ledger_flow_take(&s->flows[stamp->publisher - s->range.first], number, &sums);
}

static void on_message(struct peer *peer, struct pg_bytes payload, uint64_t now_ns)
{
    struct subscriber *s = (struct subscriber *)peer;
    struct stamp stamp;

    if (payload.len != bench_options.payload) {
        sums.damaged++;
        return;
    }
    memcpy(&stamp, payload.data, sizeof(stamp));
    if (stamp.publisher - s->range.first >= s->range.count ||
        stamp.number >= publishers[stamp.publisher].sent ||
        (!shape->shared && stamp.number % shape->topics != s->topic) ||
        memcmp(payload.data + sizeof(stamp), fill + sizeof(stamp), payload.len - sizeof(stamp)) !=
            0) {
        sums.damaged++;
        return;
    }
    s->received++;
    delivered++;
    if (phase == MEASURING)
        histogram_add(&latency, now_ns - stamp.sent_ns);

    struct publisher *p = &publishers[stamp.publisher];
    p->delivered += enter(s, &stamp);
    wait_turn(p);
}

static void on_complete(struct peer *peer, unsigned count)
{
    struct publisher *p = (struct publisher *)peer;

    p->complete += count;
    wait_turn(p);
}

/* ---- phases ---------------------------------------------------------------------------------- */

static bool everything_came(void)
{
    for (unsigned i = 0; i < bench_options.publishers; i++) {
        if (outstanding(&publishers[i]) > 0)
            return false;
    }
    return true;
}

static void next_phase(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)events;
    ev_timer_stop(loop, w);
    switch (phase) {
    case WARMING:
        phase = MEASURING;
        cpu_start = bench_broker_cpu();
        own_start = bench_own_cpu();
        start_ns = measure_now_ns();
        delivered_start = delivered;
        ev_timer_set(w, bench_options.measure_ms / 1e3, 0.);
        ev_timer_start(loop, w);
        break;
    case MEASURING:
        end_ns = measure_now_ns();
        delivered_end = delivered;
        cpu_end = bench_broker_cpu();
        own_end = bench_own_cpu();
        phase = DRAINING;
        break;
    default:
        break;
    }
}

static void on_watchdog(struct ev_loop *loop, ev_timer *w, int events)
{
    uint64_t now_ns = measure_now_ns();
    uint64_t progress = delivered + crowd.ready;

    (void)loop, (void)w, (void)events;
    if (progress != progress_seen) {
        progress_seen = progress;
        progress_ns = now_ns;
    } else if (now_ns - progress_ns > (uint64_t)bench_options.patience_ms * 1000000u) {
        if (phase == OPENING)
            bench_fail("%u of %u clients are ready, and nothing moves", crowd.ready, crowd.total);
        else if (phase != DRAINING)
            bench_fail("stalled: nothing came for %u ms", bench_options.patience_ms);
        phase = DONE; /* what has not come by now is lost */
    }
}

static void begin(void)
{
    if (bench_options.syscalls &&
        !(tracing = measure_trace_start(&trace, (pid_t)bench_options.pid))) {
        bench_fail("system calls cannot be counted");
        phase = DONE;
        return;
    }
    phase = WARMING;
    due_start_ns = measure_now_ns();
    ev_now_update(bench_loop);
    ev_timer_set(&timer, bench_options.warmup_ms / 1e3, 0.);
    ev_timer_start(bench_loop, &timer);
    for (unsigned i = 0; i < bench_options.publishers; i++)
        wait_turn(&publishers[i]);
}

/* ---- opening --------------------------------------------------------------------------------- */

static struct peer *peer_at(unsigned n)
{
    if (n < filler_clients)
        return &fillers[n];
    n -= filler_clients;
    if (n < bench_options.subscribers)
        return &subscribers[n].peer;
    return &publishers[n - bench_options.subscribers].peer;
}

static void on_ready(struct peer *peer)
{
    if (bench_options.qos > 0 && peer->receive_maximum < bench_options.burst)
        bench_fail("client %u: the broker takes %u messages at a time, less than --burst",
                   peer->index, peer->receive_maximum);
    if (peer_crowd_ready(&crowd))
        begin();
}

static void on_closed(struct peer *peer, const char *why)
{
    if (phase == DONE)
        return;
    bench_fail("client %u: %s", peer->index, why);
    phase = DONE;
}

static void subscriber_filter(const struct peer *peer, unsigned n, char out[PEER_FILTER_MAX])
{
    (void)n;
    shape->filter((unsigned)((const struct subscriber *)peer - subscribers), out);
}

static void filler_filter(const struct peer *peer, unsigned n, char out[PEER_FILTER_MAX])
{
    shape->filler((unsigned)(peer - fillers) * FILLERS_PER_CLIENT + n, out);
}

static void filler_message(struct peer *peer, struct pg_bytes payload, uint64_t now_ns)
{
    (void)peer, (void)payload, (void)now_ns;
    sums.damaged++;
}

static const struct peer_events publisher_events = {
    .ready = on_ready, .complete = on_complete, .message = filler_message, .closed = on_closed};
static const struct peer_events subscriber_events = {
    .ready = on_ready, .filter = subscriber_filter, .message = on_message, .closed = on_closed};
static const struct peer_events filler_events = {
    .ready = on_ready, .filter = filler_filter, .message = filler_message, .closed = on_closed};

static void make_subscriber(unsigned n)
{
    struct subscriber *s = &subscribers[n];

    peer_init(&s->peer, &subscriber_events, bench_options.publishers + n, 1,
              (uint8_t)bench_options.qos);
    s->range = shape->range(n);
    s->topic = n % shape->topics;
    if (shape->shared)
        s->member_next = (uint32_t *)(void *)must_alloc(s->range.count, sizeof(uint32_t));
    else
        s->flows = (struct ledger_flow *)(void *)must_alloc(s->range.count, sizeof(*s->flows));
}

static void make_clients(void)
{
    const struct bench_options *o = &bench_options;

    filler_clients = (o->fillers + FILLERS_PER_CLIENT - 1) / FILLERS_PER_CLIENT;
    publishers = (void *)must_alloc(o->publishers, sizeof(*publishers));
    subscribers = (void *)must_alloc(o->subscribers, sizeof(*subscribers));
    fillers = (void *)must_alloc(filler_clients, sizeof(*fillers));
    waiting = (void *)must_alloc(o->publishers, sizeof(*waiting));
    if (shape->shared)
        shares = (void *)must_alloc(o->publishers, sizeof(*shares));
    for (unsigned i = 0; i < sizeof(fill); i++)
        fill[i] = (uint8_t)('a' + i % 26);

    for (unsigned i = 0; i < o->publishers; i++) {
        struct publisher *p = &publishers[i];
        peer_init(&p->peer, &publisher_events, i, 0, 0);
        p->outlets = (void *)must_alloc(shape->topics, sizeof(*p->outlets));
        for (unsigned k = 0; k < shape->topics; k++)
            make_outlet(i, k, &p->outlets[k]);
    }
    for (unsigned i = 0; i < o->subscribers; i++)
        make_subscriber(i);
    for (unsigned i = 0; i < filler_clients; i++) {
        unsigned left = o->fillers - i * FILLERS_PER_CLIENT;
        peer_init(&fillers[i], &filler_events, o->publishers + o->subscribers + i,
                  left < FILLERS_PER_CLIENT ? left : FILLERS_PER_CLIENT, 0);
    }
    crowd = (struct peer_crowd){.at = peer_at,
                                .total = filler_clients + o->subscribers + o->publishers,
                                .parallel = o->parallel};
}

/* ---- result ---------------------------------------------------------------------------------- */

/* How many of a publisher's first `sent` messages went to one of its topics. */
static uint32_t sent_to_topic(uint32_t sent, unsigned topic)
{
    return (sent + shape->topics - 1 - topic) / shape->topics;
}

static void close_ledgers(void)
{
    for (unsigned i = 0; i < bench_options.subscribers && !shape->shared; i++) {
        const struct subscriber *s = &subscribers[i];
        for (unsigned k = 0; k < s->range.count; k++)
            ledger_flow_close(&s->flows[k],
                              sent_to_topic(publishers[s->range.first + k].sent, s->topic), &sums);
    }
    for (unsigned i = 0; i < bench_options.publishers && shape->shared; i++)
        ledger_share_close(&shares[i], publishers[i].sent, &sums);
}

static void judge(void)
{
    uint64_t incomplete = 0;

    close_ledgers();
    if (sums.lost > 0)
        bench_fail("%llu messages are lost", (unsigned long long)sums.lost);
    if (sums.duplicates > 0)
        bench_fail("%llu messages came twice", (unsigned long long)sums.duplicates);
    if (sums.misordered > 0)
        bench_fail("%llu messages came out of order", (unsigned long long)sums.misordered);
    if (sums.damaged > 0)
        bench_fail("%llu messages are damaged or went astray", (unsigned long long)sums.damaged);
    for (unsigned i = 0; i < bench_options.publishers && bench_options.qos > 0; i++)
        incomplete += publishers[i].sent - publishers[i].complete;
    if (incomplete > 0)
        bench_fail("%llu messages were not acknowledged", (unsigned long long)incomplete);
}

static void report_shares(void)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (unsigned i = 0; i < bench_options.subscribers; i++) {
        least = subscribers[i].received < least ? subscribers[i].received : least;
        most = subscribers[i].received > most ? subscribers[i].received : most;
    }
    bench_report_count("share_least", least);
    bench_report_count("share_most", most);
}

static void report(void)
{
    uint64_t sent = 0, messages = delivered_end - delivered_start, calls;
    double seconds = (double)(end_ns - start_ns) / 1e9, millions = (double)messages / 1e6;

    for (unsigned i = 0; i < bench_options.publishers; i++)
        sent += publishers[i].sent;
    bench_report_count("sent", sent);
    bench_report_count("delivered", delivered);
    bench_report_count("lost", sums.lost);
    bench_report_count("duplicates", sums.duplicates);
    bench_report_count("misordered", sums.misordered);
    bench_report_count("damaged", sums.damaged);
    if (shape->shared)
        report_shares();
    if (tracing && measure_trace_stop(&trace, &calls) && delivered > 0) {
        bench_report_count("syscalls", calls);
        bench_report_number("syscalls_per_message", (double)calls / (double)delivered);
    }
    if (messages == 0 || bench_options.syscalls)
        return;
    bench_report_count("measured", messages);
    bench_report_number("seconds", seconds);
    bench_report_number("messages_per_second", (double)messages / seconds);
    if (bench_options.rate > 0)
        bench_report_count("sent_late", late);
    if (bench_options.pid != 0) {
        bench_report_number("broker_cpu_s", cpu_end.total_s - cpu_start.total_s);
        bench_report_number("broker_user_s", cpu_end.user_s - cpu_start.user_s);
        bench_report_number("broker_system_s", cpu_end.system_s - cpu_start.system_s);
        bench_report_number("broker_cpu_s_per_million",
                            (cpu_end.total_s - cpu_start.total_s) / millions);
    }
    bench_report_number("own_cpu_s", own_end - own_start);
    bench_report_latency("latency_us", &latency);
}

static void free_clients(void)
{
    for (unsigned i = 0; i < crowd.next; i++)
        peer_drop(peer_at(i));
    for (unsigned i = 0; i < bench_options.publishers; i++) {
        for (unsigned k = 0; k < shape->topics; k++)
            free(publishers[i].outlets[k].packet);
        free(publishers[i].outlets);
    }
    for (unsigned i = 0; i < bench_options.subscribers; i++) {
        free(subscribers[i].flows);
        free(subscribers[i].member_next);
    }
    free(publishers);
    free(subscribers);
    free(fillers);
    free(waiting);
    free(shares);
}

void bench_load(void)
{
    shape = shape_find(bench_options.scenario);
    copies = shape_copies(shape);
    make_clients();

    ev_timer_init(&timer, next_phase, 0., 0.);
    ev_timer_init(&watchdog, on_watchdog, 0.25, 0.25);
    ev_timer_start(bench_loop, &watchdog);
    ev_prepare_init(&turn_end, on_turn_end);
    ev_prepare_start(bench_loop, &turn_end);
    progress_ns = measure_now_ns();
    peer_crowd_open(&crowd);
    while (phase != DONE && !(phase == DRAINING && everything_came())) {
        bool busy = bench_options.rate > 0 && (phase == WARMING || phase == MEASURING);
        ev_run(bench_loop, busy ? EVRUN_NOWAIT : EVRUN_ONCE);
    }
    phase = DONE;
    ev_timer_stop(bench_loop, &timer);
    ev_timer_stop(bench_loop, &watchdog);
    ev_prepare_stop(bench_loop, &turn_end);
    judge();
    report();
    free_clients();
}
