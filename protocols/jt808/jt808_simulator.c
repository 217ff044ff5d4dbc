/* SPDX-License-Identifier: Apache-2.0 */

/* A simulated terminal.
 *
 *   DOWN --- connected, no code ---> REGISTERING --- 0x8100 with a code ---> AUTHENTICATING
 *    |                                    ^                                   |        |
 *    +--- connected, with a code ---------|----------------------------------->        | 0x8001
 *                                         +-------- 0x8001 result 1 ----------+        v
 *                                                                                   ONLINE
 *
 * Everything that wants an answer is kept until it has one, and repeated after T1, 2 T1, 6 T1; when
 * that did not help the terminal hangs up. Locations that fall due while it is not online, or while
 * too much is unanswered, are stored and sent as 0x0704 (blind area) afterwards. Commands are
 * executed once, and answered as often as they come.
 *
 * The track: a random walk of speed and heading with stops, along which position and odometer are
 * consistent. Sines are approximated to a third of a percent, which no map shows.
 *
 * threads   one at a time for one object
 * standard  JT/T 808: 0x0001, 0x0002, 0x0100, 0x0102, 0x0104, 0x0107, 0x0200, 0x0201, 0x0500,
 *           0x0704, 0x0801, 0x0805 and the commands that they answer
 */

#include "jt808_simulator.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jt808_codec.h"
#include "jt808_reassembly.h"
#include "wire/cursor.h"
#include "wire/out.h"

#define ANSWER_MS    10000
#define REPETITIONS  3u
#define UNANSWERED   16u /* frames that may wait for an answer */
#define STORED       64u /* locations kept for later */
#define BATCH        16u /* locations in one 0x0704 */
#define EXECUTED     8u  /* commands that are remembered */
#define PARAMETERS   24u
#define RETRY_MS     5000 /* after a refusal */
#define LOCATION_MAX 80u
#define PHOTO_BYTES  2600u

enum state { DOWN, REGISTERING, AUTHENTICATING, ONLINE };

struct unanswered {
    uint8_t *wire; /* NULL: the place is free */
    size_t len;
    uint16_t msg_id, serial;
    unsigned sent;
    int64_t wait_ms, deadline_ms;
};

struct location {
    uint8_t bytes[LOCATION_MAX];
    uint8_t len;
};

struct parameter {
    uint32_t id;
    uint8_t len;
    uint8_t value[32];
};

struct jt808_simulator {
    struct wire_simulator base;
    struct jt808_simulator_options options;
    char phone[JT808_PHONE_DIGITS_2019 + 1];
    enum state state;
    uint16_t serial;
    uint8_t code[64];
    size_t code_len; /* 0: it must register */
    struct jt808_stream stream;
    uint8_t kept[2 * JT808_WIRE_MAX];
    size_t kept_len;
    struct jt808_reassembly *reassembly;
    struct unanswered unanswered[UNANSWERED];
    struct location stored[STORED];
    unsigned stored_count;
    struct {
        uint16_t msg_id, serial;
    } executed[EXECUTED];
    unsigned executed_next;
    struct parameter parameters[PARAMETERS];
    unsigned parameter_count;
    int64_t next_location_ms, next_heartbeat_ms, retry_ms;
    int64_t tracking_until_ms, tracking_interval_ms;
    int64_t started_ms, moved_ms;
    uint16_t photo_first_serial; /* of the last photo, for 0x8800 */
    uint32_t photo_id;
    /* the drive */
    uint32_t random;
    double latitude, longitude, speed_kmh, target_kmh, heading, odometer_m;
    bool locked;
    struct jt808_simulator_counts counts;
};

/* ---- track ---------------------------------------------------------------------------------- */

static uint32_t random_below(struct jt808_simulator *s, uint32_t n)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return s->random % n;
}

/* Bhaskara's approximation; degrees. */
static double sine(double degrees)
{
    while (degrees < 0) {
        degrees += 360;
    }
    while (degrees >= 360) {
        degrees -= 360;
    }
    double x = degrees >= 180 ? degrees - 180 : degrees;
    double y = 4 * x * (180 - x) / (40500 - x * (180 - x));
    return degrees >= 180 ? -y : y;
}

static void drive(struct jt808_simulator *s, int64_t now_ms)
{
    int64_t seconds = (now_ms - s->moved_ms) / 1000;

    s->moved_ms += seconds * 1000;
    for (int64_t i = 0; i < seconds && i < 3600; i++) {
        if (random_below(s, 40) == 0) {
            s->target_kmh = random_below(s, 5) == 0 ? 0 : 20 + random_below(s, 75);
        }
        double change = s->target_kmh - s->speed_kmh;
        s->speed_kmh += change > 6 ? 6 : change < -9 ? -9 : change;
        if (s->speed_kmh > 5) {
            s->heading += random_below(s, 30) == 0 ? (double)random_below(s, 181) - 90
                                                   : (double)random_below(s, 7) - 3;
        }
        if (s->latitude > 60 || s->latitude < -60) {
            s->heading = s->latitude > 0 ? 180 : 0; /* the approximation below is for these */
        }
        double metres = s->speed_kmh / 3.6;
        s->odometer_m += metres;
        s->latitude += metres * sine(s->heading + 90) / 111320;
        s->longitude += metres * sine(s->heading) / (111320 * sine(s->latitude + 90));
        while (s->heading < 0) {
            s->heading += 360;
        }
        while (s->heading >= 360) {
            s->heading -= 360;
        }
        if (s->longitude > 180) {
            s->longitude -= 360;
        } else if (s->longitude < -180) {
            s->longitude += 360;
        }
    }
}

static void put_time(struct wire_out *out, const struct jt808_simulator *s, int64_t now_ms)
{
    time_t local = (time_t)((s->options.wall_ms + now_ms - s->started_ms) / 1000) + 8 * 3600;
    struct tm tm;

    (void)gmtime_r(&local, &tm);
    const int parts[6] = {tm.tm_year % 100, tm.tm_mon + 1, tm.tm_mday,
                          tm.tm_hour,       tm.tm_min,     tm.tm_sec % 60};
    for (size_t i = 0; i < 6; i++) {
        wire_out_uint(out, (uint64_t)(parts[i] / 10 << 4 | parts[i] % 10), 1);
    }
}

/* The body of 0x0200: base and the items that nearly every terminal sends. */
static void put_location(struct wire_out *out, struct jt808_simulator *s, int64_t now_ms)
{
    drive(s, now_ms);
    bool south = s->latitude < 0, west = s->longitude < 0;
    uint32_t status = 3u | (south ? 4u : 0) | (west ? 8u : 0) | (s->locked ? 1u << 12 : 0) |
                      1u << 18 | 1u << 19 | (s->speed_kmh > 1 ? 1u << 22 : 0);
    if (s->options.edition != JT808_2019) {
        status &= ~(1u << 22);
    }
    wire_out_uint(out, s->speed_kmh > 90 ? 2 : 0, 4); /* bit 1: overspeed */
    wire_out_uint(out, status, 4);
    wire_out_uint(out, (uint64_t)((south ? -s->latitude : s->latitude) * 1e6 + 0.5), 4);
    wire_out_uint(out, (uint64_t)((west ? -s->longitude : s->longitude) * 1e6 + 0.5), 4);
    wire_out_uint(out, 40 + random_below(s, 5), 2);
    wire_out_uint(out, (uint64_t)(s->speed_kmh * 10), 2);
    wire_out_uint(out, (uint64_t)s->heading, 2);
    put_time(out, s, now_ms);
    const struct {
        uint8_t id, len;
        uint64_t value;
    } items[] = {
        {0x01, 4, (uint64_t)(s->odometer_m / 100)},
        {0x02, 2, 520 - (uint64_t)(s->odometer_m / 1000) % 500},
        {0x03, 2, (uint64_t)(s->speed_kmh * 10)},
        {0x25, 4, s->speed_kmh < 1 ? 1u << 4 : 0},
        {0x30, 1, 18 + random_below(s, 12)},
        {0x31, 1, 9 + random_below(s, 8)},
    };
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        wire_out_uint(out, items[i].id, 1);
        wire_out_uint(out, items[i].len, 1);
        wire_out_uint(out, items[i].value, items[i].len);
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

static struct jt808_frame header(const struct jt808_simulator *s, uint16_t msg_id)
{
    bool form_2019 = s->options.edition == JT808_2019;
    struct jt808_frame frame = {
        .msg_id = msg_id,
        .attributes = form_2019 ? JT808_ATTR_VERSION : 0,
        .header_2019 = form_2019,
        .protocol_version = form_2019 ? 1 : 0,
        .serial = s->serial,
    };

    memcpy(frame.phone, s->phone, sizeof(frame.phone));
    return frame;
}

static void event(struct jt808_simulator *s, enum jt808_simulator_event what,
                  const struct jt808_frame *frame)
{
    if (s->options.event) {
        s->options.event(s->options.arg, what, frame);
    }
}

static struct unanswered *free_place(struct jt808_simulator *s)
{
    for (unsigned i = 0; i < UNANSWERED; i++) {
        if (!s->unanswered[i].wire) {
            return &s->unanswered[i];
        }
    }
    return NULL;
}

/* Remember a frame until it is answered; without a place or memory it is sent all the same. */
static void expect_answer(struct jt808_simulator *s, const struct jt808_frame *frame,
                          struct pg_bytes wire, int64_t now_ms)
{
    struct unanswered *u = free_place(s);

    if (u && (u->wire = malloc(wire.len))) {
        memcpy(u->wire, wire.data, wire.len);
        u->len = wire.len;
        u->msg_id = frame->msg_id;
        u->serial = frame->serial;
        u->sent = 1;
        u->wait_ms = ANSWER_MS;
        u->deadline_ms = now_ms + u->wait_ms;
    }
}

static void send_frame(struct jt808_simulator *s, const struct jt808_frame *frame, bool wanted,
                       int64_t now_ms)
{
    uint8_t bytes[JT808_WIRE_MAX];
    struct pg_bytes wire = {.data = bytes, .len = jt808_frame_encode(frame, bytes, sizeof(bytes))};

    s->counts.frames_sent++;
    s->next_heartbeat_ms = now_ms + s->options.heartbeat_ms;
    if (wanted) {
        expect_answer(s, frame, wire, now_ms);
    }
    s->options.send(s->options.arg, wire);
}

/* Send a body, in packages if it is long; `wanted`: an answer is expected. */
static void send_body(struct jt808_simulator *s, uint16_t msg_id, struct pg_bytes body, bool wanted,
                      int64_t now_ms)
{
    struct jt808_frame message = header(s, msg_id);
    message.body = body;
    unsigned parts = jt808_part_count(body.len);

    for (unsigned i = 1; i <= parts; i++) {
        struct jt808_frame part = jt808_part(&message, i);
        send_frame(s, &part, wanted, now_ms);
    }
    s->serial = (uint16_t)(s->serial + parts);
}

static void send_out(struct jt808_simulator *s, uint16_t msg_id, const struct wire_out *out,
                     bool wanted, int64_t now_ms)
{
    send_body(s, msg_id, wire_out_bytes(out), wanted, now_ms);
}

static void general_answer(struct jt808_simulator *s, const struct jt808_frame *command,
                           unsigned result, int64_t now_ms)
{
    uint8_t body[5];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, command->serial, 2);
    wire_out_uint(&out, command->msg_id, 2);
    wire_out_uint(&out, result, 1);
    send_out(s, 0x0001, &out, false, now_ms);
}

/* A text of fixed width, filled behind. */
static void put_fixed(struct wire_out *out, const char *text, size_t width)
{
    size_t len = strlen(text);

    wire_out_put(out, (struct pg_bytes){.data = (const uint8_t *)text, .len = len});
    wire_out_fill(out, 0, width - len);
}

static void put_identity(struct wire_out *out, const struct jt808_simulator *s, bool attributes)
{
    bool form_2019 = s->options.edition == JT808_2019;
    size_t model = s->options.edition == JT808_2011 ? 8 : form_2019 ? 30 : 20;
    const char *last = s->phone + strlen(s->phone) - 7;

    put_fixed(out, "PGSIM", form_2019 && !attributes ? 11 : 5);
    put_fixed(out, "PG-1", model);
    put_fixed(out, last, form_2019 ? 30 : 7);
}

static void register_now(struct jt808_simulator *s, int64_t now_ms)
{
    uint8_t body[128];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, 31, 2);  /* province: Shanghai */
    wire_out_uint(&out, 115, 2); /* district: Pudong */
    put_identity(&out, s, false);
    wire_out_uint(&out, 2, 1); /* yellow plate */
    wire_out_put(&out, PG_BYTES_OF("\xbb\xa6"
                                   "A")); /* GBK: Hu, for Shanghai */
    const char *last = s->phone + strlen(s->phone) - 5;
    wire_out_put(&out, (struct pg_bytes){.data = (const uint8_t *)last, .len = 5});
    s->state = REGISTERING;
    send_out(s, 0x0100, &out, true, now_ms);
}

static void authenticate_now(struct jt808_simulator *s, int64_t now_ms)
{
    uint8_t body[128];
    struct wire_out out = wire_out_over(body, sizeof(body));
    struct pg_bytes code = {.data = s->code, .len = s->code_len};

    if (s->options.edition == JT808_2019) {
        wire_out_uint(&out, code.len, 1);
        wire_out_put(&out, code);
        put_fixed(&out, "867395030000000", 15);
        put_fixed(&out, "1.0", 20);
    } else {
        wire_out_put(&out, code);
    }
    s->state = AUTHENTICATING;
    send_out(s, 0x0102, &out, true, now_ms);
}

static void log_in(struct jt808_simulator *s, int64_t now_ms)
{
    s->retry_ms = PG_NEVER;
    if (s->code_len > 0) {
        authenticate_now(s, now_ms);
    } else {
        register_now(s, now_ms);
    }
}

/* ---- locations ------------------------------------------------------------------------------ */

static void store_location(struct jt808_simulator *s, int64_t now_ms)
{
    if (s->stored_count == STORED) {
        memmove(s->stored, s->stored + 1, (STORED - 1) * sizeof(s->stored[0]));
        s->stored_count--;
    }
    struct location *l = &s->stored[s->stored_count++];
    struct wire_out out = wire_out_over(l->bytes, sizeof(l->bytes));
    put_location(&out, s, now_ms);
    l->len = (uint8_t)out.len;
    s->counts.locations_stored++;
}

/* What was stored, oldest first; 2011 has no 0x0704 and sends them one by one. */
static void send_stored(struct jt808_simulator *s, int64_t now_ms)
{
    unsigned most = s->options.edition == JT808_2011 ? 1 : BATCH;

    while (s->state == ONLINE && s->stored_count > 0 && free_place(s)) {
        unsigned count = s->stored_count < most ? s->stored_count : most;
        uint8_t body[3 + BATCH * (2 + LOCATION_MAX)];
        struct wire_out out = wire_out_over(body, sizeof(body));
        if (most > 1) {
            wire_out_uint(&out, count, 2);
            wire_out_uint(&out, 1, 1);
        }
        for (unsigned i = 0; i < count; i++) {
            if (most > 1) {
                wire_out_uint(&out, s->stored[i].len, 2);
            }
            wire_out_put(&out,
                         (struct pg_bytes){.data = s->stored[i].bytes, .len = s->stored[i].len});
        }
        s->stored_count -= count;
        memmove(s->stored, s->stored + count, s->stored_count * sizeof(s->stored[0]));
        s->counts.locations += count;
        send_out(s, most > 1 ? 0x0704 : 0x0200, &out, true, now_ms);
    }
}

static void location_due(struct jt808_simulator *s, int64_t now_ms)
{
    int64_t interval = s->options.interval_ms;

    if (now_ms < s->tracking_until_ms && s->tracking_interval_ms > 0) {
        interval = s->tracking_interval_ms;
    }
    s->next_location_ms = now_ms + interval;
    if (s->state != ONLINE || !free_place(s)) {
        store_location(s, now_ms);
        return;
    }
    uint8_t body[LOCATION_MAX];
    struct wire_out out = wire_out_over(body, sizeof(body));
    put_location(&out, s, now_ms);
    s->counts.locations++;
    send_out(s, 0x0200, &out, true, now_ms);
}

/* ---- parameters ----------------------------------------------------------------------------- */

static struct parameter *parameter_of(struct jt808_simulator *s, uint32_t id)
{
    for (unsigned i = 0; i < s->parameter_count; i++) {
        if (s->parameters[i].id == id) {
            return &s->parameters[i];
        }
    }
    return NULL;
}

/* false: too long, or too many. */
static bool set_parameter(struct jt808_simulator *s, uint32_t id, struct pg_bytes value)
{
    struct parameter *p = parameter_of(s, id);

    if (value.len > sizeof(p->value) || (!p && s->parameter_count == PARAMETERS)) {
        return false;
    }
    if (!p) {
        p = &s->parameters[s->parameter_count++];
        p->id = id;
    }
    p->len = (uint8_t)value.len;
    memcpy(p->value, value.data, value.len);
    return true;
}

static void set_number(struct jt808_simulator *s, uint32_t id, uint32_t number)
{
    uint8_t bytes[4];
    struct wire_out out = wire_out_over(bytes, sizeof(bytes));

    wire_out_uint(&out, number, 4);
    (void)set_parameter(s, id, wire_out_bytes(&out)); /* there is room: this is the beginning */
}

static void default_parameters(struct jt808_simulator *s)
{
    set_number(s, 0x0001, (uint32_t)(s->options.heartbeat_ms / 1000));
    set_number(s, 0x0002, ANSWER_MS / 1000);
    set_number(s, 0x0003, REPETITIONS);
    (void)set_parameter(s, 0x0013, PG_BYTES_OF("127.0.0.1"));
    set_number(s, 0x0018, 6808);
    set_number(s, 0x0020, 0);
    set_number(s, 0x0029, (uint32_t)(s->options.interval_ms / 1000));
    set_number(s, 0x0055, 90);
    set_number(s, 0x0056, 10);
    set_number(s, 0x0080, 0);
    (void)set_parameter(s, 0x0083,
                        PG_BYTES_OF("\xbb\xa6"
                                    "A00001"));
}

/* Those that change what it does: the heartbeat and the default interval, in seconds. */
static void obey_parameter(struct jt808_simulator *s, uint32_t id, struct pg_bytes value)
{
    struct cursor c = cursor_of(value);
    uint32_t number = cursor_u32(&c);

    if (c.failed || number == 0) {
        return;
    }
    if (id == 0x0001) {
        s->options.heartbeat_ms = (int64_t)number * 1000;
    } else if (id == 0x0029) {
        s->options.interval_ms = (int64_t)number * 1000;
    }
}

/* 0x8103. 2: it cannot be read; 3: something in it is not supported. */
static unsigned take_parameters(struct jt808_simulator *s, struct pg_bytes body)
{
    struct cursor c = cursor_of(body);
    unsigned result = 0;

    (void)cursor_u8(&c);
    if (s->options.edition == JT808_2011) {
        (void)cursor_u8(&c);
    }
    while (!c.failed && cursor_left(&c) > 0) {
        uint32_t id = cursor_u32(&c);
        struct pg_bytes value = cursor_take(&c, cursor_u8(&c));
        if (c.failed) {
            return 2;
        }
        if (set_parameter(s, id, value)) {
            obey_parameter(s, id, value);
        } else {
            result = 3;
        }
    }
    return c.failed ? 2 : result;
}

/* 0x0104 with all parameters, or those of 0x8106. */
static void report_parameters(struct jt808_simulator *s, const struct jt808_frame *command,
                              int64_t now_ms)
{
    uint8_t body[4 + PARAMETERS * (5 + 32)];
    struct wire_out out = wire_out_over(body, sizeof(body));
    struct cursor c = cursor_of(command->body);
    unsigned wanted = command->msg_id == 0x8106 ? cursor_u8(&c) : s->parameter_count;
    unsigned count = 0;

    wire_out_uint(&out, command->serial, 2);
    size_t count_at = out.len;
    wire_out_uint(&out, 0, s->options.edition == JT808_2011 ? 2 : 1);
    for (unsigned i = 0; i < wanted && count < PARAMETERS; i++) {
        const struct parameter *p =
            command->msg_id == 0x8106 ? parameter_of(s, cursor_u32(&c)) : &s->parameters[i];
        if (p) {
            wire_out_uint(&out, p->id, 4);
            wire_out_uint(&out, p->len, 1);
            wire_out_put(&out, (struct pg_bytes){.data = p->value, .len = p->len});
            count++;
        }
    }
    wire_out_patch(&out, count_at, count, 1);
    if (s->options.edition == JT808_2011) {
        wire_out_patch(&out, count_at + 1, count, 1);
    }
    send_out(s, 0x0104, &out, false, now_ms);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void report_attributes(struct jt808_simulator *s, int64_t now_ms)
{
    uint8_t body[160];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, 0x0004, 2); /* ordinary freight, one piece */
    put_identity(&out, s, true);
    wire_out_put(&out, PG_BYTES_OF("\x89\x86\x00\x00\x00\x00\x00\x00\x00\x01"));
    wire_out_put(&out, PG_BYTES_OF("\x03"
                                   "1.0"
                                   "\x03"
                                   "1.0"));
    wire_out_uint(&out, 0x03, 1); /* GPS, BeiDou */
    wire_out_uint(&out, 0x20, 1); /* TD-LTE */
    send_out(s, 0x0107, &out, false, now_ms);
}

/* 0x0201 and 0x0500: the command's serial and where it is. */
static void report_location(struct jt808_simulator *s, const struct jt808_frame *command,
                            uint16_t msg_id, int64_t now_ms)
{
    uint8_t body[2 + LOCATION_MAX];
    struct wire_out out = wire_out_over(body, sizeof(body));

    wire_out_uint(&out, command->serial, 2);
    put_location(&out, s, now_ms);
    send_out(s, msg_id, &out, false, now_ms);
}

static void track(struct jt808_simulator *s, struct pg_bytes body, int64_t now_ms)
{
    struct cursor c = cursor_of(body);
    uint16_t interval = cursor_u16(&c);
    uint32_t validity = cursor_left(&c) >= 4 ? cursor_u32(&c) : 0;

    s->tracking_interval_ms = (int64_t)interval * 1000;
    s->tracking_until_ms = interval ? now_ms + (int64_t)validity * 1000 : 0;
    if (interval && s->next_location_ms > now_ms + s->tracking_interval_ms) {
        s->next_location_ms = now_ms + s->tracking_interval_ms;
    }
}

static void control_vehicle(struct jt808_simulator *s, struct pg_bytes body)
{
    struct cursor c = cursor_of(body);

    if (s->options.edition != JT808_2019) {
        s->locked = (cursor_u8(&c) & 1) != 0;
    } else if (cursor_u16(&c) > 0 && cursor_u16(&c) == 0x0001) {
        s->locked = cursor_u8(&c) == 0; /* the opposite sense in 2019 */
    }
}

/* The body of 0x0801: a JPEG's marks around numbers. */
static void put_photo(struct wire_out *out, struct jt808_simulator *s, int64_t now_ms)
{
    bool old = s->options.edition == JT808_2011;

    wire_out_uint(out, s->photo_id, 4);
    wire_out_put(out, PG_BYTES_OF("\x00\x00\x00\x01")); /* picture, JPEG, by command, channel 1 */
    if (old) {
        wire_out_put(out, PG_BYTES_OF("\x00\x00\x00\x01\x00\x00\x00\x01"));
    } else {
        uint8_t location[LOCATION_MAX];
        struct wire_out base = wire_out_over(location, sizeof(location));
        put_location(&base, s, now_ms);
        wire_out_put(out, (struct pg_bytes){.data = location, .len = 28});
    }
    wire_out_put(out, PG_BYTES_OF("\xff\xd8"));
    for (size_t i = 4; i < PHOTO_BYTES; i++) {
        wire_out_uint(out, (i * 31 + s->photo_id) & 0xff, 1);
    }
    wire_out_put(out, PG_BYTES_OF("\xff\xd9"));
}

static void take_photo(struct jt808_simulator *s, const struct jt808_frame *command, int64_t now_ms)
{
    uint8_t body[9], photo[PHOTO_BYTES + 64];
    struct wire_out answer = wire_out_over(body, sizeof(body));
    struct wire_out out = wire_out_over(photo, sizeof(photo));

    s->photo_id++;
    if (s->options.edition == JT808_2011) {
        general_answer(s, command, 0, now_ms);
    } else {
        wire_out_uint(&answer, command->serial, 2);
        wire_out_uint(&answer, 0, 1);
        wire_out_uint(&answer, 1, 2);
        wire_out_uint(&answer, s->photo_id, 4);
        send_out(s, 0x0805, &answer, false, now_ms);
    }
    put_photo(&out, s, now_ms);
    s->photo_first_serial = s->serial;
    send_out(s, 0x0801, &out, true, now_ms);
}

/* The packages asked for, as they were, if they are still unanswered. */
static void send_packages(struct jt808_simulator *s, uint16_t first, unsigned count,
                          struct cursor *ids)
{
    for (; count > 0; count--) {
        uint16_t serial = (uint16_t)(first + cursor_u16(ids) - 1);
        for (unsigned i = 0; i < UNANSWERED && !ids->failed; i++) {
            struct unanswered *u = &s->unanswered[i];
            if (u->wire && u->serial == serial) {
                s->counts.frames_sent++;
                s->options.send(s->options.arg, (struct pg_bytes){.data = u->wire, .len = u->len});
            }
        }
    }
}

/* 0x8003 */
static void packages_wanted(struct jt808_simulator *s, struct pg_bytes body)
{
    struct cursor c = cursor_of(body);
    uint16_t first = cursor_u16(&c);
    unsigned count = s->options.edition == JT808_2019 ? cursor_u16(&c) : cursor_u8(&c);

    send_packages(s, first, count, &c);
}

/* 0x8800: the photo is complete, or packages of it are wanted. */
static void photo_answered(struct jt808_simulator *s, struct pg_bytes body)
{
    struct cursor c = cursor_of(body);

    if (s->options.edition == JT808_2011) {
        (void)cursor_u16(&c);
    }
    uint32_t id = cursor_u32(&c);
    if (!c.failed && id == s->photo_id && cursor_left(&c) > 0) {
        unsigned count = cursor_u8(&c);
        send_packages(s, s->photo_first_serial, count, &c);
    }
}

/* Whether it was executed before; else it is remembered. */
static bool executed_before(struct jt808_simulator *s, const struct jt808_frame *command)
{
    for (unsigned i = 0; i < EXECUTED; i++) {
        if (s->executed[i].msg_id == command->msg_id && s->executed[i].serial == command->serial) {
            return true;
        }
    }
    s->executed[s->executed_next].msg_id = command->msg_id;
    s->executed[s->executed_next].serial = command->serial;
    s->executed_next = (s->executed_next + 1) % EXECUTED;
    return false;
}

static void restart(struct jt808_simulator *s, const struct jt808_frame *command, int64_t now_ms)
{
    struct cursor c = cursor_of(command->body);
    uint8_t what = cursor_u8(&c);

    general_answer(s, command, what == 4 || what == 5 ? 0 : 3, now_ms);
    if (what == 4 || what == 5) {
        event(s, JT808_SIM_HANG_UP, NULL);
    }
}

static void execute(struct jt808_simulator *s, const struct jt808_frame *command, int64_t now_ms)
{
    bool again = executed_before(s, command);

    if (!again) {
        s->counts.commands++;
        event(s, JT808_SIM_COMMAND, command);
    }
    switch (command->msg_id) {
    case 0x8003:
        packages_wanted(s, command->body);
        break;
    case 0x8103:
        general_answer(s, command, take_parameters(s, command->body), now_ms);
        break;
    case 0x8104:
    case 0x8106:
        report_parameters(s, command, now_ms);
        break;
    case 0x8105:
        if (again) {
            general_answer(s, command, 0, now_ms);
        } else {
            restart(s, command, now_ms);
        }
        break;
    case 0x8107:
        report_attributes(s, now_ms);
        break;
    case 0x8201:
        report_location(s, command, 0x0201, now_ms);
        break;
    case 0x8202:
        track(s, command->body, now_ms);
        general_answer(s, command, 0, now_ms);
        break;
    case 0x8500:
        control_vehicle(s, command->body);
        general_answer(s, command, 0, now_ms);
        report_location(s, command, 0x0500, now_ms);
        break;
    case 0x8801:
        if (again) {
            general_answer(s, command, 0, now_ms);
        } else {
            take_photo(s, command, now_ms);
        }
        break;
    case 0x8203:
    case 0x8204:
    case 0x8300:
    case 0x8400:
    case 0x8401:
        general_answer(s, command, 0, now_ms);
        break;
    default:
        general_answer(s, command, 3, now_ms);
        break;
    }
}

/* ---- answers of the platform ---------------------------------------------------------------- */

static void forget_answered(struct jt808_simulator *s, uint16_t msg_id, uint16_t serial)
{
    for (unsigned i = 0; i < UNANSWERED; i++) {
        struct unanswered *u = &s->unanswered[i];
        if (u->wire && u->msg_id == msg_id && u->serial == serial) {
            free(u->wire);
            u->wire = NULL;
            s->counts.answered++;
        }
    }
}

static void refused(struct jt808_simulator *s, int64_t now_ms)
{
    s->code_len = 0; /* a code that is not taken is worth nothing: register */
    s->retry_ms = now_ms + RETRY_MS;
    event(s, JT808_SIM_REFUSED, NULL);
}

static void registered(struct jt808_simulator *s, const struct jt808_frame *frame, int64_t now_ms)
{
    struct cursor c = cursor_of(frame->body);
    uint16_t serial = cursor_u16(&c);
    uint8_t result = cursor_u8(&c);
    struct pg_bytes code = cursor_rest(&c);

    forget_answered(s, 0x0100, serial);
    if (c.failed || s->state != REGISTERING) {
        return;
    }
    if (result != 0 || code.len == 0 || code.len > sizeof(s->code)) {
        refused(s, now_ms);
        return;
    }
    memcpy(s->code, code.data, code.len);
    s->code_len = code.len;
    event(s, JT808_SIM_REGISTERED, NULL);
    authenticate_now(s, now_ms);
}

static void answered(struct jt808_simulator *s, const struct jt808_frame *frame, int64_t now_ms)
{
    struct cursor c = cursor_of(frame->body);
    uint16_t serial = cursor_u16(&c);
    uint16_t msg_id = cursor_u16(&c);
    uint8_t result = cursor_u8(&c);

    if (c.failed) {
        return;
    }
    forget_answered(s, msg_id, serial);
    if (msg_id == 0x0102 && s->state == AUTHENTICATING) {
        if (result != 0) {
            refused(s, now_ms);
            return;
        }
        s->state = ONLINE;
        event(s, JT808_SIM_ONLINE, NULL);
    }
    send_stored(s, now_ms);
}

static void take_frame(struct jt808_simulator *s, const struct jt808_frame *frame, int64_t now_ms)
{
    struct jt808_frame whole;

    s->counts.frames_received++;
    if (jt808_frame_is_subpackage(frame)) {
        if (jt808_reassembly_add(s->reassembly, frame, now_ms, &whole) != JT808_PART_COMPLETE) {
            general_answer(s, frame, 0, now_ms);
            return;
        }
        whole.serial = frame->serial; /* answered is the package that completed it */
        frame = &whole;
    }
    switch (frame->msg_id) {
    case 0x8001:
        answered(s, frame, now_ms);
        break;
    case 0x8100:
        registered(s, frame, now_ms);
        break;
    case 0x8800:
        photo_answered(s, frame->body);
        break;
    case 0x8004:
        break;
    default:
        execute(s, frame, now_ms);
        break;
    }
}

static void sim_bytes(struct wire_simulator *base, struct pg_bytes in, int64_t now_ms)
{
    struct jt808_simulator *s = (struct jt808_simulator *)base;
    while (in.len > 0 && s->state != DOWN) {
        size_t room = sizeof(s->kept) - s->kept_len;
        size_t n = in.len < room ? in.len : room;
        memcpy(s->kept + s->kept_len, in.data, n);
        s->kept_len += n;
        in.data += n;
        in.len -= n;
        struct pg_bytes rest = {.data = s->kept, .len = s->kept_len};
        for (;;) {
            struct jt808_scratch scratch;
            struct jt808_frame frame;
            enum jt808_error error;
            size_t used;
            enum jt808_result r =
                jt808_frame_next(&s->stream, rest, &scratch, &used, &frame, &error);
            if (r == JT808_FRAME_WHOLE) {
                take_frame(s, &frame, now_ms);
            }
            s->counts.bad_frames += r == JT808_FRAME_MALFORMED;
            rest.data += used;
            rest.len -= used;
            if (r == JT808_FRAME_MORE) {
                break;
            }
        }
        memmove(s->kept, rest.data, rest.len);
        s->kept_len = rest.len;
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static void forget_all(struct jt808_simulator *s)
{
    for (unsigned i = 0; i < UNANSWERED; i++) {
        free(s->unanswered[i].wire);
        s->unanswered[i].wire = NULL;
    }
}

static void sim_close(struct wire_simulator *base)
{
    struct jt808_simulator *s = (struct jt808_simulator *)base;

    forget_all(s);
    jt808_reassembly_close(&s->reassembly);
    free(s);
}

static void sim_connected(struct wire_simulator *base, int64_t now_ms)
{
    struct jt808_simulator *s = (struct jt808_simulator *)base;
    s->kept_len = 0;
    s->stream.open = false;
    memset(s->executed, 0, sizeof(s->executed)); /* the platform counts anew */
    log_in(s, now_ms);
}

static void sim_disconnected(struct wire_simulator *base)
{
    struct jt808_simulator *s = (struct jt808_simulator *)base;
    s->state = DOWN;
    s->next_heartbeat_ms = s->retry_ms = PG_NEVER;
    forget_all(s);
}

/* Repeat, or hang up when that did not help. */
static void repeat_due(struct jt808_simulator *s, struct unanswered *u, int64_t now_ms)
{
    if (u->sent > REPETITIONS) {
        event(s, JT808_SIM_HANG_UP, NULL);
        u->deadline_ms = now_ms + ANSWER_MS;
        return;
    }
    u->sent++;
    u->wait_ms *= (int64_t)u->sent;
    u->deadline_ms = now_ms + u->wait_ms;
    s->counts.repeated++;
    s->counts.frames_sent++;
    s->options.send(s->options.arg, (struct pg_bytes){.data = u->wire, .len = u->len});
}

static void sim_due(struct wire_simulator *base, int64_t now_ms)
{
    struct jt808_simulator *s = (struct jt808_simulator *)base;
    struct jt808_missing incomplete;

    while (jt808_reassembly_due(s->reassembly, now_ms, &incomplete) != JT808_DUE_NOTHING) {
        continue; /* a command whose packages did not come is given up */
    }
    if (s->retry_ms <= now_ms) {
        log_in(s, now_ms);
    }
    if (s->next_location_ms <= now_ms) {
        location_due(s, now_ms);
    }
    for (unsigned i = 0; i < UNANSWERED && s->state != DOWN; i++) {
        if (s->unanswered[i].wire && s->unanswered[i].deadline_ms <= now_ms) {
            repeat_due(s, &s->unanswered[i], now_ms);
        }
    }
    if (s->state == ONLINE && s->next_heartbeat_ms <= now_ms) {
        send_body(s, 0x0002, PG_BYTES_NONE, true, now_ms);
    }
}

static int64_t sim_deadline(const struct wire_simulator *base)
{
    const struct jt808_simulator *s = (const struct jt808_simulator *)base;
    int64_t earliest = s->next_location_ms < s->retry_ms ? s->next_location_ms : s->retry_ms;

    if (s->state == ONLINE && s->next_heartbeat_ms < earliest) {
        earliest = s->next_heartbeat_ms;
    }
    for (unsigned i = 0; i < UNANSWERED && s->state != DOWN; i++) {
        if (s->unanswered[i].wire && s->unanswered[i].deadline_ms < earliest) {
            earliest = s->unanswered[i].deadline_ms;
        }
    }
    return earliest;
}

static bool sim_online(const struct wire_simulator *base)
{
    const struct jt808_simulator *s = (const struct jt808_simulator *)base;
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

struct wire_simulator *jt808_simulator_open(const struct jt808_simulator_options *options,
                                            int64_t now_ms)
{
    static const struct jt808_reassembly_limits limits = {.message_bytes = 1 << 20,
                                                          .total_bytes = 2 << 20,
                                                          .pending = 4,
                                                          .ask_ms = 60000,
                                                          .asks = 0,
                                                          .age_ms = 60000};
    struct jt808_simulator *s = calloc(1, sizeof(*s));
    struct jt808_frame frame = {.header_2019 = options->edition == JT808_2019};

    if (!s || !jt808_frame_set_phone(&frame, pg_bytes_str(options->phone)) ||
        !(s->reassembly = jt808_reassembly_open(&limits))) {
        free(s);
        return NULL;
    }
    s->base.ops = &ops;
    s->options = *options;
    memcpy(s->phone, frame.phone, sizeof(s->phone));
    s->stream.tolerated = JT808_TOLERATE_NONE;
    s->started_ms = s->moved_ms = now_ms;
    s->random = (options->seed + 1) * 2654435761u | 1; /* so that 1, 2, 3 differ from the start */
    s->latitude = options->latitude;
    s->longitude = options->longitude;
    s->heading = random_below(s, 360);
    s->target_kmh = 40;
    s->odometer_m = 1000.0 * random_below(s, 100000);
    s->next_location_ms = now_ms + random_below(s, 1000) * options->interval_ms / 1000;
    s->next_heartbeat_ms = s->retry_ms = PG_NEVER;
    default_parameters(s);
    return &s->base;
}

const struct jt808_simulator_counts *jt808_simulator_counts(const struct wire_simulator *simulator)
{
    return &((const struct jt808_simulator *)simulator)->counts;
}
