/* SPDX-License-Identifier: Apache-2.0 */

/* JT/T 808 framing.
 *
 * A frame is 7e, header, body, check code, 7e; inside, 7e is sent as 7d 02 and 7d as 7d 01. The
 * stream is cut at every 7e and each non-empty run between two of them is tried as a frame: this
 * needs one bit of state (was the last consumed byte a delimiter?), survives shared, doubled and
 * lost delimiters, and lets no bad frame take its neighbour along.
 *
 * A frame without a 7d is decoded where it lies; otherwise it is unescaped into the caller's
 * scratch. Then the check code is verified before anything is read, and the two forms of the
 * header (12 bytes up to 2013, 17 bytes in 2019, each 4 more with the package item) are told apart
 * by arithmetic with bit 14 of the attributes as first guess. What terminals are known to get
 * wrong is tolerated by name and only where the caller allows it.
 *
 * threads   any; no shared state, no allocation, no clock, no I/O
 * standard  JT/T 808-2011, 2013, 2019: 4.4
 */

#include "jt808_codec.h"

#include <string.h>

#include "wire/cursor.h"

#define DELIMITER 0x7eu
#define ESCAPE    0x7du

#define HEADER_2013  12u
#define HEADER_2019  17u
#define PACKAGE_ITEM 4u

const char *jt808_quirk_name(enum jt808_quirk quirk)
{
    static const char *const names[] = {
#define QUIRK_NAME(NAME, name) name,
        JT808_QUIRKS(QUIRK_NAME)
#undef QUIRK_NAME
    };
    return names[quirk];
}

const char *jt808_error_name(enum jt808_error error)
{
    static const char *const names[] = {
#define ERROR_NAME(NAME, name) name,
        JT808_ERRORS(ERROR_NAME)
#undef ERROR_NAME
    };
    return names[error];
}

/* ---- phones --------------------------------------------------------------------------------- */

static char nibble_text(unsigned nibble)
{
    return "0123456789abcdef"[nibble & 0x0fu];
}

/* 0..15, or 16 for what is no digit. */
static unsigned nibble_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned)c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return (unsigned)c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return (unsigned)c - 'A' + 10;
    }
    return 16;
}

static size_t phone_width(const struct jt808_frame *frame)
{
    return frame->header_2019 ? JT808_PHONE_DIGITS_2019 : JT808_PHONE_DIGITS;
}

bool jt808_frame_set_phone(struct jt808_frame *frame, struct pg_bytes digits)
{
    size_t width = phone_width(frame);

    if (digits.len == 0) {
        return false;
    }
    size_t skip = digits.len > width ? digits.len - width : 0;
    for (size_t i = 0; i < digits.len; i++) {
        unsigned value = nibble_value(digits.data[i]);
        if (value > 15 || (i < skip && value != 0)) {
            return false;
        }
    }
    size_t kept = digits.len - skip;
    memset(frame->phone, 0, sizeof(frame->phone));
    memset(frame->phone, '0', width - kept);
    for (size_t i = 0; i < kept; i++) {
        frame->phone[width - kept + i] = nibble_text(nibble_value(digits.data[skip + i]));
    }
    return true;
}

struct pg_bytes jt808_phone_trimmed(const char *phone)
{
    struct pg_bytes digits = {.data = (const uint8_t *)phone, .len = strlen(phone)};

    while (digits.len > 11 && digits.data[0] == '0') {
        digits.data++;
        digits.len--;
    }
    return digits;
}

bool jt808_phone_equal(const char *a, const char *b)
{
    struct pg_bytes x = jt808_phone_trimmed(a);
    struct pg_bytes y = jt808_phone_trimmed(b);

    return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

static void phone_from_bcd(char *phone, struct pg_bytes bcd)
{
    for (size_t i = 0; i < bcd.len; i++) {
        phone[2 * i] = nibble_text(bcd.data[i] >> 4);
        phone[2 * i + 1] = nibble_text(bcd.data[i]);
    }
    phone[2 * bcd.len] = '\0';
}

/* ---- decoding ------------------------------------------------------------------------------- */

static uint8_t xor_of(struct pg_bytes bytes)
{
    uint64_t words = 0;
    size_t i = 0;

    for (; i + 8 <= bytes.len; i += 8) {
        uint64_t word;
        memcpy(&word, bytes.data + i, 8);
        words ^= word;
    }
    words ^= words >> 32;
    words ^= words >> 16;
    words ^= words >> 8;
    uint8_t result = (uint8_t)words;
    for (; i < bytes.len; i++) {
        result = (uint8_t)(result ^ bytes.data[i]);
    }
    return result;
}

/* Undo the escaping of a run of at most JT808_RUN_MAX bytes. A 7d that opens no escape is kept as
 * it is and sets *lone. */
static struct pg_bytes unescape(struct pg_bytes run, struct jt808_scratch *scratch, bool *lone)
{
    const uint8_t *first = run.len ? memchr(run.data, ESCAPE, run.len) : NULL;

    *lone = false;
    if (!first) {
        return run;
    }
    size_t in = (size_t)(first - run.data);
    size_t out = in;
    memcpy(scratch->bytes, run.data, in);
    while (in < run.len) {
        uint8_t byte = run.data[in++];
        if (byte == ESCAPE) {
            uint8_t next = in < run.len ? run.data[in] : 0;
            if (next == 0x01 || next == 0x02) {
                byte = next == 0x01 ? ESCAPE : DELIMITER;
                in++;
            } else {
                *lone = true;
            }
        }
        scratch->bytes[out++] = byte;
    }
    return (struct pg_bytes){.data = scratch->bytes, .len = out};
}

static void read_header(struct cursor *c, bool form_2019, struct jt808_frame *out)
{
    out->msg_id = cursor_u16(c);
    out->attributes = cursor_u16(c);
    out->header_2019 = form_2019;
    out->protocol_version = form_2019 ? cursor_u8(c) : 0;
    phone_from_bcd(out->phone, cursor_take(c, form_2019 ? 10 : 6));
    out->serial = cursor_u16(c);
    bool package = jt808_frame_is_subpackage(out);
    out->package_total = package ? cursor_u16(c) : 0;
    out->package_index = package ? cursor_u16(c) : 0;
}

/* Header and body from what is left when the check code (the last byte) is taken off. `checked`
 * tells whether the check code holds; if not, only an exact length lets the frame pass. */
static enum jt808_error decode_checked(struct pg_bytes content, bool checked, uint32_t tolerated,
                                       struct jt808_frame *out)
{
    struct pg_bytes message = {.data = content.data, .len = content.len - 1};
    struct cursor look = cursor_of(message);

    (void)cursor_u16(&look);
    unsigned attributes = cursor_u16(&look);
    size_t item = (attributes & JT808_ATTR_SUBPACKAGE) ? PACKAGE_ITEM : 0;
    size_t declared = attributes & JT808_ATTR_LENGTH;
    bool fits_2013 = message.len == HEADER_2013 + item + declared;
    bool fits_2019 = message.len == HEADER_2019 + item + declared;
    bool form_2019 = (attributes & JT808_ATTR_VERSION) != 0;
    uint32_t quirk = 0;

    if (!(form_2019 ? fits_2019 : fits_2013)) {
        if (fits_2013 || fits_2019) {
            quirk = form_2019 ? JT808_QUIRK_BIT(JT808_QUIRK_VERSION_BIT_WITHOUT_2019_HEADER)
                              : JT808_QUIRK_BIT(JT808_QUIRK_HEADER_WITHOUT_VERSION_BIT);
            form_2019 = !form_2019;
        } else if (message.len < (form_2019 ? HEADER_2019 : HEADER_2013) + item) {
            return JT808_ERROR_SHORT;
        } else {
            quirk = JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH);
        }
    }
    if (!checked) {
        /* Without a check code the length is the only witness left. */
        if (quirk || !(tolerated & JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM))) {
            return JT808_ERROR_CHECKSUM;
        }
        quirk = JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM);
    }

    struct cursor c = cursor_of(message);
    read_header(&c, form_2019, out);
    out->body = cursor_rest(&c);
    out->content = content;
    out->quirks = quirk;
    if (c.failed) {
        return JT808_ERROR_SHORT;
    }
    return (quirk & ~tolerated) ? JT808_ERROR_LENGTH : JT808_ERROR_NONE;
}

enum jt808_error jt808_content_decode(struct pg_bytes content, uint32_t tolerated,
                                      struct jt808_frame *out)
{
    memset(out, 0, sizeof(*out));
    if (content.len < HEADER_2013 + 1) {
        return JT808_ERROR_SHORT;
    }
    return decode_checked(content, xor_of(content) == 0, tolerated, out);
}

/* One run between delimiters; longer than JT808_RUN_MAX is no frame. */
static enum jt808_error decode_run(struct pg_bytes run, uint32_t tolerated,
                                   struct jt808_scratch *scratch, struct jt808_frame *out)
{
    const uint32_t unescaped_7d = JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7D);
    bool lone;

    if (run.len > JT808_RUN_MAX) {
        return JT808_ERROR_TOO_LONG;
    }
    struct pg_bytes content = unescape(run, scratch, &lone);
    if (!lone) {
        return jt808_content_decode(content, tolerated, out);
    }
    /* The repair is a guess: only a check code and a length that hold make it one to believe. */
    const uint32_t guesses =
        JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM) | JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH);
    if (!(tolerated & unescaped_7d) ||
        jt808_content_decode(content, tolerated & ~guesses, out) != JT808_ERROR_NONE) {
        return JT808_ERROR_ESCAPE;
    }
    out->quirks |= unescaped_7d;
    return JT808_ERROR_NONE;
}

/* Whether a run with delimiters inside is one frame whose 7e were sent without escaping. Both the
 * check code and the length must hold. */
static bool decode_joined(struct pg_bytes run, uint32_t tolerated, struct jt808_scratch *scratch,
                          struct jt808_frame *out)
{
    const uint32_t guesses =
        JT808_QUIRK_BIT(JT808_QUIRK_WRONG_CHECKSUM) | JT808_QUIRK_BIT(JT808_QUIRK_WRONG_LENGTH);

    if (decode_run(run, tolerated & ~guesses, scratch, out) != JT808_ERROR_NONE) {
        return false;
    }
    out->quirks |= JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7E);
    return true;
}

enum jt808_error jt808_frame_decode(struct pg_bytes wire, uint32_t tolerated,
                                    struct jt808_scratch *scratch, struct jt808_frame *out)
{
    memset(out, 0, sizeof(*out));
    if (wire.len < 3 || wire.data[0] != DELIMITER || wire.data[wire.len - 1] != DELIMITER) {
        return JT808_ERROR_DELIMITER;
    }
    struct pg_bytes run = {.data = wire.data + 1, .len = wire.len - 2};
    if (memchr(run.data, DELIMITER, run.len)) {
        if ((tolerated & JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7E)) &&
            decode_joined(run, tolerated, scratch, out)) {
            return JT808_ERROR_NONE;
        }
        return JT808_ERROR_DELIMITER;
    }
    return decode_run(run, tolerated, scratch, out);
}

/* The length of the run at the head of `in` up to the next delimiter; in.len if there is none. */
static size_t run_length(struct pg_bytes in)
{
    const uint8_t *end = in.len ? memchr(in.data, DELIMITER, in.len) : NULL;
    return end ? (size_t)(end - in.data) : in.len;
}

static struct pg_bytes tail_of(struct pg_bytes in, size_t from)
{
    return (struct pg_bytes){.data = in.data + from, .len = in.len - from};
}

/* A failed run of `len` bytes heads `in`. Try it together with the runs that follow, as one frame
 * whose 7e were not escaped, up to the first run that is a sound frame by itself.
 * WHOLE: *used bytes, closing delimiter included. MORE: undecided. MALFORMED: no such frame. */
static enum jt808_result join_runs(struct pg_bytes in, size_t len, uint32_t tolerated,
                                   struct jt808_scratch *scratch, size_t *used,
                                   struct jt808_frame *out)
{
    for (size_t joined = len; joined < JT808_RUN_MAX;) {
        struct pg_bytes next = tail_of(in, joined + 1);
        size_t next_len = run_length(next);
        if (next_len == next.len) {
            return in.len > JT808_RUN_MAX ? JT808_FRAME_MALFORMED : JT808_FRAME_MORE;
        }
        if (decode_run((struct pg_bytes){.data = next.data, .len = next_len}, tolerated, scratch,
                       out) == JT808_ERROR_NONE) {
            return JT808_FRAME_MALFORMED;
        }
        joined += 1 + next_len;
        if (decode_joined((struct pg_bytes){.data = in.data, .len = joined}, tolerated, scratch,
                          out)) {
            *used = joined + 1;
            return JT808_FRAME_WHOLE;
        }
    }
    return JT808_FRAME_MALFORMED;
}

static enum jt808_result malformed(enum jt808_error why, enum jt808_error *error)
{
    *error = why;
    return JT808_FRAME_MALFORMED;
}

enum jt808_result jt808_frame_next(struct jt808_stream *stream, struct pg_bytes in,
                                   struct jt808_scratch *scratch, size_t *used,
                                   struct jt808_frame *out, enum jt808_error *error)
{
    size_t skipped = 0;

    *error = JT808_ERROR_NONE;
    *used = 0;
    if (in.len == 0) {
        return JT808_FRAME_MORE;
    }
    if (!stream->open) {
        size_t noise = run_length(in);
        if (noise > 0) {
            *used = noise;
            return malformed(JT808_ERROR_NOISE, error);
        }
        stream->open = true;
        skipped = 1;
    }
    while (skipped < in.len && in.data[skipped] == DELIMITER) {
        skipped++;
    }
    struct pg_bytes head = tail_of(in, skipped);
    size_t len = run_length(head);
    *used = skipped;
    if (len > JT808_RUN_MAX) {
        /* Decided by this many bytes alone, so that every cut of the stream gives the same. */
        *used = skipped + JT808_RUN_MAX + 1;
        stream->open = false;
        return malformed(JT808_ERROR_TOO_LONG, error);
    }
    if (len == head.len) {
        return JT808_FRAME_MORE;
    }

    enum jt808_error why = decode_run((struct pg_bytes){.data = head.data, .len = len},
                                      stream->tolerated, scratch, out);
    if (why != JT808_ERROR_NONE &&
        (stream->tolerated & JT808_QUIRK_BIT(JT808_QUIRK_UNESCAPED_7E))) {
        enum jt808_result joined = join_runs(head, len, stream->tolerated, scratch, used, out);
        if (joined == JT808_FRAME_MORE) {
            return JT808_FRAME_MORE; /* the failed run stays at the head of what remains */
        }
        if (joined == JT808_FRAME_WHOLE) {
            *used += skipped;
            return JT808_FRAME_WHOLE;
        }
        why = decode_run((struct pg_bytes){.data = head.data, .len = len}, stream->tolerated,
                         scratch, out);
    }
    *used = skipped + len + 1;
    return why == JT808_ERROR_NONE ? JT808_FRAME_WHOLE : malformed(why, error);
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* The one walk that writes and measures: what does not fit is counted, not written. */
struct escaper {
    uint8_t *out;
    size_t room;
    size_t len;
    uint8_t check;
};

static void put_plain(struct escaper *e, uint8_t byte)
{
    if (e->len < e->room) {
        e->out[e->len] = byte;
    }
    e->len++;
}

static void put(struct escaper *e, uint8_t byte)
{
    e->check = (uint8_t)(e->check ^ byte);
    if (byte == DELIMITER || byte == ESCAPE) {
        put_plain(e, ESCAPE);
        byte = byte == DELIMITER ? 0x02 : 0x01;
    }
    put_plain(e, byte);
}

static void put_u16(struct escaper *e, unsigned value)
{
    put(e, (uint8_t)(value >> 8));
    put(e, (uint8_t)value);
}

size_t jt808_frame_encode(const struct jt808_frame *frame, uint8_t *out, size_t room)
{
    struct escaper e = {.out = out, .room = out ? room : 0};
    size_t digits = phone_width(frame);

    if (frame->body.len > JT808_BODY_MAX || strnlen(frame->phone, sizeof(frame->phone)) != digits) {
        return 0;
    }
    put_plain(&e, DELIMITER);
    put_u16(&e, frame->msg_id);
    put_u16(&e, (frame->attributes & ~JT808_ATTR_LENGTH) | (unsigned)frame->body.len);
    if (frame->header_2019) {
        put(&e, frame->protocol_version);
    }
    for (size_t i = 0; i < digits; i += 2) {
        unsigned high = nibble_value((uint8_t)frame->phone[i]);
        unsigned low = nibble_value((uint8_t)frame->phone[i + 1]);
        if (high > 15 || low > 15) {
            return 0;
        }
        put(&e, (uint8_t)(high << 4 | low));
    }
    put_u16(&e, frame->serial);
    if (jt808_frame_is_subpackage(frame)) {
        put_u16(&e, frame->package_total);
        put_u16(&e, frame->package_index);
    }
    for (size_t i = 0; i < frame->body.len; i++) {
        put(&e, frame->body.data[i]);
    }
    put(&e, e.check);
    put_plain(&e, DELIMITER);
    return e.len;
}

unsigned jt808_part_count(size_t body_len)
{
    if (body_len <= JT808_BODY_MAX) {
        return 1;
    }
    size_t parts = (body_len + JT808_BODY_MAX - 1) / JT808_BODY_MAX;
    return parts <= UINT16_MAX ? (unsigned)parts : 0;
}

struct jt808_frame jt808_part(const struct jt808_frame *message, unsigned index)
{
    struct jt808_frame part = *message;
    unsigned total = jt808_part_count(message->body.len);

    if (total > 1 && index >= 1 && index <= total) {
        size_t from = (size_t)(index - 1) * JT808_BODY_MAX;
        size_t left = message->body.len - from;
        part.attributes |= JT808_ATTR_SUBPACKAGE;
        part.serial = (uint16_t)(message->serial + index - 1);
        part.package_total = (uint16_t)total;
        part.package_index = (uint16_t)index;
        part.body.data = message->body.data + from;
        part.body.len = left < JT808_BODY_MAX ? left : JT808_BODY_MAX;
    }
    return part;
}
