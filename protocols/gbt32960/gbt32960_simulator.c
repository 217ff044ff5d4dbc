/* SPDX-License-Identifier: Apache-2.0 */

/* A simulated vehicle.
 *
 *   OFFLINE --connected--> LOGGING_IN --answer 01--> ONLINE --disconnected, hang up--> OFFLINE
 *                             |  no answer in time, or an error: the login again; after three, hang up
 *
 * The vehicle lives whether it is connected or not: it drives in a circle around its start with a
 * speed that comes and goes, stands and charges when its battery is low, and now and then its cells
 * get too hot: then there is a level-3 alarm for a while, and reports come each second from then
 * until 30 seconds after it. The samples of the 30 seconds before it, one a second, are stored when
 * it begins, out of the moments that the vehicle remembers. Reports that are stored, these and
 * those that could not be sent, are re-issued, one for each real-time report, while it is online.
 *
 * standard  GB/T 32960.3-2016, -2025: Annex B
 */

#include "gbt32960_simulator.h"

#include <stdlib.h>
#include <string.h>

#include "gbt32960_codec.h"
#include "wire/out.h"

#define ANSWER_MS     60000 /* the wait for a login's answer */
#define LOGIN_TRIES   3u
#define STORE_MAX     2000u /* reports; a real terminal keeps seven days */
#define STORE_BYTES   (4u << 20)
#define ALARM_MS      20000 /* how long a level-3 alarm lasts */
#define AFTER_MS      30000 /* and the time of reports each second behind it */
#define BEFORE        30u   /* samples from before it, one a second */
#define CELLS_A_FRAME 200u
#define UNIT_ROOM     8192u

enum state { OFFLINE, LOGGING_IN, ONLINE };

struct stored {
    struct stored *next;
    size_t len;
    uint8_t unit[];
};

/* What changes as the vehicle moves. */
struct moment {
    uint32_t speed;    /* 0.1 km/h */
    uint32_t odometer; /* 0.1 km */
    uint64_t metres;   /* in millimetres, of the circle */
    int32_t charge;    /* of 100000 */
    bool charging;
};

struct gbt_simulator {
    struct wire_simulator base;
    struct gbt_simulator_options o;
    char vin[GBT_ID_TEXT];
    enum state state;
    int64_t opened_ms, now_ms;
    int64_t report_ms, beat_ms, login_ms;
    unsigned login_tries;
    uint16_t serial;
    uint32_t random;
    /* the vehicle */
    int64_t lived_ms; /* up to when it has been moved */
    int64_t alarm_until_ms, alarm_next_ms;
    struct moment is;
    struct moment was[BEFORE]; /* at the seconds before `lived_ms`, by second */
    unsigned remembered;
    bool sampling; /* reports are of the past, and stored */
    /* what could not be sent */
    struct stored *stored, **stored_end;
    unsigned stored_count;
    size_t stored_bytes;
    uint8_t buffer[4096];
    size_t buffered;
    struct gbt_simulator_counts counts;
};

/* ---- the vehicle ---------------------------------------------------------------------------- */

static uint32_t random_next(struct gbt_simulator *s, uint32_t below)
{
    s->random = s->random * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)s->random * below) >> 32);
}

static bool in_alarm(const struct gbt_simulator *s)
{
    return s->now_ms < s->alarm_until_ms;
}

static void live_a_second(struct gbt_simulator *s)
{
    if (s->is.charging) {
        s->is.speed = 0;
        s->is.charge += 60;
        s->is.charging = s->is.charge < 90000;
        return;
    }
    uint32_t wanted = random_next(s, 10) == 0 ? random_next(s, 1200) : s->is.speed;
    s->is.speed = wanted > s->is.speed ? s->is.speed + (wanted - s->is.speed) / 3
                                       : wanted + (s->is.speed - wanted) / 3;
    s->is.metres += s->is.speed * 1000u / 36u;
    s->is.charge -= 2 + (int32_t)s->is.speed / 60;
    s->is.charging = s->is.charge < 20000;
    s->is.odometer = (uint32_t)(120000 + s->is.metres / 100000);
}

static struct moment *moment_at(struct gbt_simulator *s, int64_t ms)
{
    return &s->was[(uint64_t)(ms / 1000) % BEFORE];
}

static void sample_the_past(struct gbt_simulator *s);

static void live(struct gbt_simulator *s)
{
    while (s->lived_ms + 1000 <= s->now_ms) {
        *moment_at(s, s->lived_ms) = s->is;
        s->remembered += s->remembered < BEFORE;
        s->lived_ms += 1000;
        live_a_second(s);
    }
    if (s->now_ms >= s->alarm_next_ms) {
        sample_the_past(s);
        s->alarm_until_ms = s->now_ms + ALARM_MS;
        s->alarm_next_ms = s->now_ms + 300000 + random_next(s, 300000);
        s->counts.alarms++;
        if (s->o.event) {
            s->o.event(s->o.arg, GBT_SIM_ALARM, NULL);
        }
    }
}

/* ---- units ---------------------------------------------------------------------------------- */

static void put(struct wire_out *out, unsigned width, uint32_t value)
{
    wire_out_uint(out, value, width);
}

/* Six plain numbers of UTC+8; days are counted from 2000-03-01. */
static void put_time(struct wire_out *out, int64_t wall_ms)
{
    int64_t seconds = wall_ms / 1000 + 8 * 3600;
    unsigned day = (unsigned)(seconds / 86400 - 11017);
    unsigned of_day = (unsigned)(seconds % 86400);
    unsigned year = (4 * day + 3) / 1461;
    day -= 365 * year + year / 4;
    unsigned month = (5 * day + 2) / 153;
    day -= (month * 306 + 5) / 10;
    month += 3;
    year += month > 12;
    put(out, 1, year);
    put(out, 1, month > 12 ? month - 12 : month);
    put(out, 1, day + 1);
    put(out, 1, of_day / 3600);
    put(out, 1, of_day / 60 % 60);
    put(out, 1, of_day % 60);
}

static int64_t wall_of(const struct gbt_simulator *s)
{
    return s->o.wall_ms + (s->now_ms - s->opened_ms);
}

static bool later(const struct gbt_simulator *s)
{
    return s->o.edition == GBT_2025;
}

/* 0.1 V of the whole battery, 0.1 A with the offset of the edition. */
static uint32_t battery_voltage(const struct gbt_simulator *s)
{
    return s->o.cells * (320u + (uint32_t)s->is.charge / 1250u) / 10u;
}

static uint32_t battery_current(const struct gbt_simulator *s)
{
    int32_t tenths = s->is.charging ? -600 : (int32_t)s->is.speed * 2;
    return (uint32_t)((later(s) ? 30000 : 10000) + tenths);
}

static void put_vehicle(const struct gbt_simulator *s, struct wire_out *out)
{
    put(out, 1, 0x01);
    put(out, 1, s->is.charging ? 2 : 1);
    put(out, 1, s->is.charging ? 1 : 3);
    put(out, 1, 1);
    put(out, 2, s->is.speed);
    put(out, 4, s->is.odometer);
    put(out, 2, battery_voltage(s));
    put(out, 2, battery_current(s));
    put(out, 1, (uint32_t)s->is.charge / 1000);
    put(out, 1, 1);
    put(out, 1, s->is.charging ? 0x0f : 0x2e);
    put(out, 2, 3000);
    if (!later(s)) {
        put(out, 1, s->is.speed / 20);
        put(out, 1, s->is.speed == 0 ? 101 : 0);
    }
}

static void put_motor(const struct gbt_simulator *s, struct wire_out *out)
{
    put(out, 1, 0x02);
    put(out, 1, 1);
    put(out, 1, 1);
    put(out, 1, s->is.speed == 0 ? 4 : 1);
    put(out, 1, 40 + 45);
    put(out, 2, (later(s) ? 32000u : 20000u) + s->is.speed * 7u);
    if (later(s)) {
        put(out, 4, 200000u + s->is.speed);
    } else {
        put(out, 2, 20000u + s->is.speed);
    }
    put(out, 1, 40 + 50);
    if (!later(s)) {
        put(out, 2, battery_voltage(s));
        put(out, 2, battery_current(s));
    }
}

/* Sixteen points of the unit circle, in thousandths: enough for a track. */
static void put_position(const struct gbt_simulator *s, struct wire_out *out)
{
    static const int16_t circle[17] = {0,    383,  707,  924,   1000, 924,  707,  383, 0,
                                       -383, -707, -924, -1000, -924, -707, -383, 0};
    unsigned step = (unsigned)(s->is.metres / 1000 % 16000);
    unsigned at = step / 1000;
    int part = (int)(step % 1000);
    int sine = circle[at] + (circle[at + 1] - circle[at]) * part / 1000;
    int cosine =
        circle[(at + 4) % 16] + (circle[(at + 4) % 16 + 1] - circle[(at + 4) % 16]) * part / 1000;
    double latitude = s->o.latitude + 0.00002 * sine;
    double longitude = s->o.longitude + 0.00002 * cosine;
    put(out, 1, 0x05);
    put(out, 1, (latitude < 0 ? 2u : 0u) | (longitude < 0 ? 4u : 0u));
    if (later(s)) {
        put(out, 1, 1);
    }
    put(out, 4, (uint32_t)((longitude < 0 ? -longitude : longitude) * 1e6));
    put(out, 4, (uint32_t)((latitude < 0 ? -latitude : latitude) * 1e6));
}

/* Millivolts of a cell, counted from 0. */
static uint32_t cell_voltage(const struct gbt_simulator *s, unsigned cell)
{
    return 3200u + (uint32_t)s->is.charge / 125u + cell * 7u % 12u;
}

static void put_extremes(const struct gbt_simulator *s, struct wire_out *out)
{
    put(out, 1, 0x06);
    put(out, 1, 1);
    put(out, 1, s->o.cells > 5 ? 6 : 1);
    put(out, 2, cell_voltage(s, 5));
    put(out, 1, 1);
    put(out, 1, 1);
    put(out, 2, cell_voltage(s, 0));
    put(out, 1, 1);
    put(out, 1, 3);
    put(out, 1, in_alarm(s) ? 40 + 72 : 40 + 33);
    put(out, 1, 1);
    put(out, 1, 1);
    put(out, 1, 40 + 28);
}

static void put_alarm(const struct gbt_simulator *s, struct wire_out *out)
{
    bool low = s->is.charge < 25000;
    uint32_t flags = (in_alarm(s) ? 1u << 1 : 0) | (low ? 1u << 4 : 0);
    put(out, 1, later(s) ? 0x06 : 0x07);
    put(out, 1, in_alarm(s) ? 3 : low ? 1 : 0);
    put(out, 4, flags);
    put(out, 4, 0); /* no fault codes of four kinds */
    if (later(s)) {
        put(out, 1, (in_alarm(s) ? 1u : 0u) + (low ? 1u : 0u));
        if (in_alarm(s)) {
            put(out, 1, 1);
            put(out, 1, 3);
        }
        if (low) {
            put(out, 1, 4);
            put(out, 1, 1);
        }
    }
}

static void put_cells(const struct gbt_simulator *s, struct wire_out *out, unsigned first,
                      unsigned count)
{
    put(out, 1, later(s) ? 0x07 : 0x08);
    put(out, 1, 1);
    put(out, 1, 1);
    put(out, 2, battery_voltage(s));
    put(out, 2, battery_current(s));
    put(out, 2, s->o.cells);
    if (!later(s)) {
        put(out, 2, first + 1);
        put(out, 1, count);
    }
    for (unsigned i = first; i < first + count; i++) {
        put(out, 2, cell_voltage(s, i));
    }
}

static void put_temperatures(const struct gbt_simulator *s, struct wire_out *out)
{
    put(out, 1, later(s) ? 0x08 : 0x09);
    put(out, 1, 1);
    put(out, 1, 1);
    put(out, 2, 4);
    for (unsigned i = 0; i < 4; i++) {
        put(out, 1, in_alarm(s) && i == 2 ? 40 + 72 : 40 + 28 + i);
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

static void send_frame(struct gbt_simulator *s, uint8_t command, uint8_t response,
                       struct pg_bytes unit)
{
    uint8_t wire[UNIT_ROOM + GBT_HEAD_LEN + 1];
    struct gbt_frame frame = {.edition = (uint16_t)s->o.edition,
                              .command = command,
                              .response = response,
                              .encryption = GBT_PLAIN,
                              .unit = unit};
    memcpy(frame.id, s->vin, strlen(s->vin));
    size_t len = gbt_frame_encode(&frame, wire, sizeof(wire));
    if (len > 0 && len <= sizeof(wire)) {
        s->counts.frames_sent++;
        s->o.send(s->o.arg, (struct pg_bytes){.data = wire, .len = len});
        s->beat_ms = s->now_ms + s->o.heartbeat_ms;
    }
}

static void store(struct gbt_simulator *s, struct pg_bytes unit)
{
    struct stored *stored = malloc(sizeof(*stored) + unit.len);
    if (!stored) {
        return;
    }
    stored->next = NULL;
    stored->len = unit.len;
    memcpy(stored->unit, unit.data, unit.len);
    *s->stored_end = stored;
    s->stored_end = &stored->next;
    s->stored_count++;
    s->stored_bytes += unit.len;
    s->counts.reports_stored++;
    while (s->stored_count > STORE_MAX || s->stored_bytes > STORE_BYTES) {
        struct stored *oldest = s->stored;
        s->stored = oldest->next;
        s->stored_count--;
        s->stored_bytes -= oldest->len;
        free(oldest);
    }
}

static void deliver(struct gbt_simulator *s, struct wire_out *out)
{
    if (out->failed) {
        return;
    }
    s->counts.reports++;
    if (s->state == ONLINE && !s->sampling) {
        send_frame(s, GBT_REALTIME_REPORT, GBT_COMMAND, wire_out_bytes(out));
    } else {
        store(s, wire_out_bytes(out));
    }
}

/* One record: all that the vehicle has; cells that do not fit go in further frames of that time. */
static void report(struct gbt_simulator *s)
{
    uint8_t room[UNIT_ROOM];
    struct wire_out out = wire_out_over(room, sizeof(room));
    unsigned most = later(s) ? s->o.cells : CELLS_A_FRAME;
    unsigned count = s->o.cells < most ? s->o.cells : most;
    put_time(&out, wall_of(s));
    put_vehicle(s, &out);
    if (!s->is.charging) {
        put_motor(s, &out);
    }
    put_position(s, &out);
    if (!later(s)) {
        put_extremes(s, &out);
    }
    put_alarm(s, &out);
    put_cells(s, &out, 0, count);
    put_temperatures(s, &out);
    deliver(s, &out);
    for (unsigned first = count; first < s->o.cells; first += count) {
        out = wire_out_over(room, sizeof(room));
        count = s->o.cells - first < most ? s->o.cells - first : most;
        put_time(&out, wall_of(s));
        put_cells(s, &out, first, count);
        deliver(s, &out);
    }
}

/* The records of the seconds before this one, as far as the vehicle remembers them. */
static void sample_the_past(struct gbt_simulator *s)
{
    struct moment is = s->is;
    int64_t now_ms = s->now_ms;

    s->sampling = true;
    for (unsigned ago = s->remembered; ago > 0; ago--) {
        s->now_ms = s->lived_ms - 1000 * (int64_t)ago;
        s->is = *moment_at(s, s->now_ms);
        report(s);
    }
    s->sampling = false;
    s->now_ms = now_ms;
    s->is = is;
}

static void reissue_one(struct gbt_simulator *s)
{
    struct stored *oldest = s->stored;
    if (!oldest || s->state != ONLINE) {
        return;
    }
    send_frame(s, GBT_REISSUE_REPORT, GBT_COMMAND,
               (struct pg_bytes){.data = oldest->unit, .len = oldest->len});
    s->counts.reissued++;
    s->stored = oldest->next;
    if (!s->stored) {
        s->stored_end = &s->stored;
    }
    s->stored_count--;
    s->stored_bytes -= oldest->len;
    free(oldest);
}

static void login(struct gbt_simulator *s)
{
    uint8_t room[64];
    struct wire_out out = wire_out_over(room, sizeof(room));
    char iccid[21] = "89860000000000000000";
    uint32_t number = s->o.seed;
    for (unsigned i = 19; number > 0 && i > 4; i--, number /= 10) {
        iccid[i] = (char)('0' + number % 10);
    }
    put_time(&out, wall_of(s));
    put(&out, 2, s->serial);
    wire_out_put(&out, (struct pg_bytes){.data = (const uint8_t *)iccid, .len = 20});
    put(&out, 1, later(s) ? 0 : 1);
    if (!later(s)) {
        put(&out, 1, 0);
    }
    s->login_tries++;
    s->login_ms = s->now_ms + ANSWER_MS;
    send_frame(s, GBT_VEHICLE_LOGIN, GBT_COMMAND, wire_out_bytes(&out));
}

/* ---- what comes ----------------------------------------------------------------------------- */

static void tell(struct gbt_simulator *s, enum gbt_simulator_event event,
                 const struct gbt_frame *frame)
{
    if (s->o.event) {
        s->o.event(s->o.arg, event, frame);
    }
}

/* The values of those parameters that are asked for; an id that is not known gives no answer, as
 * the standard has it. */
static void answer_query(struct gbt_simulator *s, const struct gbt_frame *frame)
{
    uint8_t room[256];
    struct wire_out out = wire_out_over(room, sizeof(room));
    size_t count = frame->unit.len >= 7 ? frame->unit.data[6] : 0;
    if (frame->unit.len != 7 + count) {
        return;
    }
    put_time(&out, wall_of(s));
    put(&out, 1, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        uint8_t id = frame->unit.data[7 + i];
        put(&out, 1, id);
        switch (id) {
        case 0x02:
            put(&out, later(s) ? 1 : 2, (uint32_t)(s->o.interval_ms / 1000));
            break;
        case 0x07:
        case 0x08:
            wire_out_put(&out, PG_BYTES_OF("SIM.1"));
            break;
        case 0x09:
            put(&out, 1, (uint32_t)(s->o.heartbeat_ms / 1000));
            break;
        case 0x10:
            put(&out, 1, 2);
            break;
        default:
            return;
        }
    }
    if (!out.failed) {
        send_frame(s, frame->command, GBT_SUCCESS, wire_out_bytes(&out));
    }
}

/* 02 is obeyed; the rest is accepted. */
static void obey_set(struct gbt_simulator *s, const struct gbt_frame *frame)
{
    const uint8_t *u = frame->unit.data;
    if (frame->unit.len >= 9 && u[7] == 0x02) {
        uint32_t seconds = later(s) ? u[8] : frame->unit.len >= 10 ? u[8] * 256u + u[9] : 0;
        if (seconds > 0 && seconds <= 600) {
            s->o.interval_ms = (int64_t)seconds * 1000;
            s->report_ms = s->now_ms + s->o.interval_ms;
        }
    }
}

static void take_command(struct gbt_simulator *s, const struct gbt_frame *frame)
{
    s->counts.commands++;
    tell(s, GBT_SIM_COMMAND, frame);
    if (frame->unit.len < 6) {
        return;
    }
    struct pg_bytes time = {.data = frame->unit.data, .len = 6};
    switch (frame->command) {
    case GBT_PARAMETER_QUERY:
        answer_query(s, frame);
        break;
    case GBT_PARAMETER_SET:
        obey_set(s, frame);
        send_frame(s, frame->command, GBT_SUCCESS, time);
        break;
    case GBT_TERMINAL_CONTROL:
        send_frame(s, frame->command, GBT_SUCCESS, time);
        if (frame->unit.len >= 7 &&
            (frame->unit.data[6] == 2 || frame->unit.data[6] == 3 || frame->unit.data[6] == 5)) {
            tell(s, GBT_SIM_HANG_UP, NULL);
        }
        break;
    default:
        break;
    }
}

static void take_login_answer(struct gbt_simulator *s, const struct gbt_frame *frame)
{
    if (s->state != LOGGING_IN) {
        return;
    }
    if (frame->response == GBT_SUCCESS) {
        s->state = ONLINE;
        s->login_tries = 0;
        s->login_ms = PG_NEVER;
        s->beat_ms = s->now_ms + s->o.heartbeat_ms;
        tell(s, GBT_SIM_ONLINE, NULL);
        report(s);
        s->report_ms = s->now_ms + s->o.interval_ms;
    } else {
        tell(s, GBT_SIM_REFUSED, NULL);
    }
}

static void take_frame(struct gbt_simulator *s, const struct gbt_frame *frame)
{
    s->counts.frames_received++;
    if (!gbt_frame_is_answer(frame)) {
        take_command(s, frame);
    } else if (frame->command == GBT_VEHICLE_LOGIN) {
        take_login_answer(s, frame);
    } else {
        s->counts.answered++;
    }
}

static void sim_bytes(struct wire_simulator *base, struct pg_bytes in, int64_t now_ms)
{
    struct gbt_simulator *s = (struct gbt_simulator *)base;
    s->now_ms = now_ms;
    while (in.len > 0) {
        size_t n = sizeof(s->buffer) - s->buffered;
        n = n < in.len ? n : in.len;
        memcpy(s->buffer + s->buffered, in.data, n);
        s->buffered += n;
        in.data += n;
        in.len -= n;
        size_t total = 0;
        for (;;) {
            struct gbt_frame frame;
            enum gbt_error error;
            size_t used;
            enum gbt_result result = gbt_frame_next(
                (struct pg_bytes){.data = s->buffer + total, .len = s->buffered - total}, &used,
                &frame, &error);
            if (result == GBT_FRAME_MORE) {
                break;
            }
            if (result == GBT_FRAME_WHOLE) {
                take_frame(s, &frame);
            } else {
                s->counts.bad_frames++;
            }
            total += used;
        }
        s->buffered -= total;
        memmove(s->buffer, s->buffer + total, s->buffered);
        if (s->buffered == sizeof(s->buffer)) {
            s->buffered = 0; /* longer than any command: not for us */
            s->counts.bad_frames++;
        }
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static void sim_close(struct wire_simulator *base)
{
    struct gbt_simulator *s = (struct gbt_simulator *)base;
    while (s->stored) {
        struct stored *gone = s->stored;
        s->stored = gone->next;
        free(gone);
    }
    free(s);
}

static void sim_connected(struct wire_simulator *base, int64_t now_ms)
{
    struct gbt_simulator *s = (struct gbt_simulator *)base;
    s->now_ms = now_ms;
    s->state = LOGGING_IN;
    s->buffered = 0;
    s->login_tries = 0;
    s->serial = s->serial < 65531 ? (uint16_t)(s->serial + 1) : 1;
    login(s);
}

static void sim_disconnected(struct wire_simulator *base)
{
    struct gbt_simulator *s = (struct gbt_simulator *)base;
    s->state = OFFLINE;
    s->beat_ms = s->login_ms = PG_NEVER;
}

static void report_due(struct gbt_simulator *s)
{
    report(s);
    reissue_one(s);
    bool dense = s->alarm_until_ms != 0 && s->now_ms < s->alarm_until_ms + AFTER_MS;
    int64_t wait = dense && s->o.interval_ms > 1000 ? 1000 : s->o.interval_ms;
    s->report_ms = s->report_ms + wait > s->now_ms ? s->report_ms + wait : s->now_ms + wait;
}

static void sim_due(struct wire_simulator *base, int64_t now_ms)
{
    struct gbt_simulator *s = (struct gbt_simulator *)base;
    s->now_ms = now_ms;
    uint64_t alarms = s->counts.alarms;
    live(s);
    if (s->counts.alarms != alarms) {
        s->report_ms = now_ms;
    }
    if (s->report_ms <= now_ms) {
        report_due(s);
    }
    if (s->login_ms <= now_ms) {
        if (s->login_tries < LOGIN_TRIES) {
            login(s);
        } else {
            s->login_ms = PG_NEVER;
            tell(s, GBT_SIM_HANG_UP, NULL);
        }
    }
    if (s->state == ONLINE && s->beat_ms <= now_ms) {
        send_frame(s, GBT_HEARTBEAT, GBT_COMMAND, PG_BYTES_NONE);
    }
}

static int64_t sim_deadline(const struct wire_simulator *base)
{
    const struct gbt_simulator *s = (const struct gbt_simulator *)base;
    int64_t deadline = s->report_ms < s->login_ms ? s->report_ms : s->login_ms;

    deadline = s->alarm_next_ms < deadline ? s->alarm_next_ms : deadline;
    return s->state == ONLINE && s->beat_ms < deadline ? s->beat_ms : deadline;
}

static bool sim_online(const struct wire_simulator *base)
{
    const struct gbt_simulator *s = (const struct gbt_simulator *)base;
    return s->state == ONLINE;
}

static const struct wire_simulator_ops ops = {
    .close = sim_close,
    .connected = sim_connected,
    .disconnected = sim_disconnected,
    .bytes = sim_bytes,
    .due = sim_due,
    .deadline = sim_deadline,
    .online = sim_online,
};

struct wire_simulator *gbt_simulator_open(const struct gbt_simulator_options *options,
                                          int64_t now_ms)
{
    size_t len = strlen(options->vin);
    struct gbt_simulator *s = calloc(1, sizeof(*s));
    if (!s || len == 0 || len > GBT_ID_LEN || options->cells < 1 || options->cells > 2000 ||
        (options->edition != GBT_2016 && options->edition != GBT_2025)) {
        free(s);
        return NULL;
    }
    s->base.ops = &ops;
    s->o = *options;
    memcpy(s->vin, options->vin, len + 1);
    s->o.vin = s->vin;
    s->random = options->seed;
    s->opened_ms = s->now_ms = s->lived_ms = now_ms;
    s->is.charge = 30000 + (int32_t)random_next(s, 60000);
    s->is.odometer = 120000;
    s->alarm_next_ms = now_ms + 60000 + random_next(s, 240000);
    s->report_ms = now_ms + s->o.interval_ms;
    s->beat_ms = s->login_ms = PG_NEVER;
    s->stored_end = &s->stored;
    return &s->base;
}

const struct gbt_simulator_counts *gbt_simulator_counts(const struct wire_simulator *simulator)
{
    return &((const struct gbt_simulator *)simulator)->counts;
}
