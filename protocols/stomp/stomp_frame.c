/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of STOMP: the head through the machine of stomp_head.rl, the body by its length or up to
 * the first NUL; values of headers; writing of heads.
 *
 * A frame that comes in pieces is read on where the last piece ended. Limits are looked at before
 * anything is kept for what they limit: the number of headers as each ends, the head as it grows, a
 * content-length before its body is waited for.
 *
 * No state but the caller's; any thread. Standard: stomp_frame.h. */

#include "stomp_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stomp_head.h"

/* ---- names ----------------------------------------------------------------------------------- */

const char *stomp_command_name(enum stomp_command command)
{
    static const char *const names[] = {[STOMP_NO_COMMAND] = "",
#define NAME_OF(NAME, text) [STOMP_##NAME] = (text),
                                        STOMP_COMMANDS(NAME_OF)
#undef NAME_OF
    };
    return names[command];
}

const char *stomp_header_name(enum stomp_header header)
{
    static const char *const names[] = {[STOMP_H_OTHER] = "",
#define NAME_OF(NAME, text) [STOMP_H_##NAME] = (text),
                                        STOMP_HEADERS(NAME_OF)
#undef NAME_OF
    };
    return names[header];
}

static const struct {
    const char *sentence, *clause;
} faults[] = {
#define FAULT_ROW(NAME, text, where) [STOMP_F_##NAME] = {(text), (where)},
    STOMP_FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

const char *stomp_fault_sentence(enum stomp_fault fault)
{
    return faults[fault].sentence;
}

const char *stomp_fault_clause(enum stomp_fault fault)
{
    return faults[fault].clause;
}

const char *stomp_version_name(enum stomp_version version)
{
    static const char *const names[] = {
        [STOMP_V_UNKNOWN] = "", [STOMP_V10] = "1.0", [STOMP_V11] = "1.1", [STOMP_V12] = "1.2"};
    return names[version];
}

/* ---- reading --------------------------------------------------------------------------------- */

void stomp_frame_begin(struct stomp_frame *frame)
{
    memset(frame, 0, offsetof(struct stomp_frame, fields));
    stomp_head_begin(frame);
}

size_t stomp_skip_eols(struct pg_bytes in)
{
    size_t at = 0;
    for (;;) {
        if (at < in.len && in.data[at] == '\n') {
            at++;
        } else if (at + 1 < in.len && in.data[at] == '\r' && in.data[at + 1] == '\n') {
            at += 2;
        } else {
            return at;
        }
    }
}

static enum stomp_result malformed(struct stomp_frame *frame, enum stomp_fault fault)
{
    frame->fault = (uint8_t)fault;
    return STOMP_MALFORMED;
}

bool stomp_head_field(struct stomp_frame *frame, uint32_t end, const struct stomp_limits *limits)
{
    if (frame->count >= limits->header_count || frame->count >= STOMP_HEADERS_MAX) {
        frame->fault = STOMP_F_HEADER_COUNT;
        return false;
    }
    uint32_t value_end = end;
    if (frame->data[end - 1] == '\r') { /* part of the line's end */
        value_end--;
        frame->returns--;
    }
    frame->fields[frame->count++] = (struct stomp_field){
        .name_at = frame->mark,
        .name_len = frame->value_mark - 1 - frame->mark,
        .value_at = frame->value_mark,
        .value_len = value_end - frame->value_mark,
        .header = frame->header,
        .escaped = frame->escaped,
        .stray_cr = frame->returns > 0,
    };
    if (frame->header != STOMP_H_OTHER && frame->first[frame->header] == 0) {
        frame->first[frame->header] = frame->count;
    }
    return true;
}

/* Why the machine does not go on at a byte. */
static enum stomp_fault fault_at(const struct stomp_frame *frame)
{
    if (frame->command == STOMP_NO_COMMAND) {
        return STOMP_F_COMMAND;
    }
    return frame->data[frame->at] == 0 ? STOMP_F_NUL : STOMP_F_HEADER;
}

static enum stomp_result read_head(struct stomp_frame *frame, struct pg_bytes in,
                                   const struct stomp_limits *limits)
{
    struct pg_bytes head = in;
    if (head.len > limits->header_size) {
        head.len = limits->header_size;
    }
    enum stomp_result result = stomp_head_run(frame, head, limits);
    if (result == STOMP_MALFORMED) {
        enum stomp_fault fault = (enum stomp_fault)frame->fault;
        return malformed(frame, fault != STOMP_F_OK ? fault : fault_at(frame));
    }
    if (result == STOMP_MORE) {
        return in.len >= limits->header_size ? malformed(frame, STOMP_F_HEADER_SIZE) : STOMP_MORE;
    }
    frame->stage = STOMP_IN_BODY;
    frame->body_at = frame->at;
    const struct stomp_field *length = stomp_frame_field(frame, STOMP_H_CONTENT_LENGTH);
    uint64_t octets = 0;
    if (length != NULL) {
        if (!stomp_number(stomp_field_value(frame, length), UINT32_MAX, &octets)) {
            return malformed(frame, STOMP_F_CONTENT_LENGTH);
        }
        if (octets > limits->body_size) {
            return malformed(frame, STOMP_F_BODY_SIZE);
        }
        frame->sized = true;
        frame->body_len = (uint32_t)octets;
        frame->total = frame->body_at + frame->body_len + 1;
    }
    return STOMP_WHOLE;
}

static enum stomp_result read_body(struct stomp_frame *frame, struct pg_bytes in,
                                   const struct stomp_limits *limits)
{
    if (frame->sized) {
        if (in.len < frame->total) {
            return STOMP_MORE;
        }
        return in.data[frame->total - 1] == 0 ? STOMP_WHOLE : malformed(frame, STOMP_F_NO_NUL);
    }
    const uint8_t *nul =
        in.len > frame->at ? memchr(in.data + frame->at, 0, in.len - frame->at) : NULL;
    size_t end = nul != NULL ? (size_t)(nul - in.data) : in.len;
    if (end - frame->body_at > limits->body_size) {
        return malformed(frame, STOMP_F_BODY_SIZE);
    }
    frame->at = (uint32_t)end;
    if (nul == NULL) {
        return STOMP_MORE;
    }
    frame->body_len = frame->at - frame->body_at;
    frame->total = frame->at + 1;
    return STOMP_WHOLE;
}

enum stomp_result stomp_frame_read(struct stomp_frame *frame, struct pg_bytes in,
                                   const struct stomp_limits *limits)
{
    frame->data = in.data;
    if (frame->stage == STOMP_IN_HEAD) {
        enum stomp_result result = read_head(frame, in, limits);
        if (result != STOMP_WHOLE) {
            return result;
        }
    }
    return read_body(frame, in, limits);
}

/* ---- headers --------------------------------------------------------------------------------- */

static bool has_escapes(const struct stomp_frame *frame, enum stomp_version version)
{
    return version >= STOMP_V11 && frame->command != STOMP_CONNECT &&
           frame->command != STOMP_STOMP && frame->command != STOMP_CONNECTED;
}

/* What stands for the octet behind a backslash; 0: it is not defined. */
static uint8_t meaning(uint8_t octet, enum stomp_version version)
{
    switch (octet) {
    case 'n':
        return '\n';
    case 'c':
        return ':';
    case '\\':
        return '\\';
    case 'r':
        return version == STOMP_V12 ? '\r' : 0;
    default:
        return 0;
    }
}

static bool escapes_hold(struct pg_bytes text, enum stomp_version version)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\\') {
            continue;
        }
        i++;
        if (i == text.len || meaning(text.data[i], version) == 0) {
            return false;
        }
    }
    return true;
}

/* Whether there is anything but ASCII. */
static bool has_high_bits(struct pg_bytes text)
{
    uint64_t all = 0;
    size_t at = 0;
    for (; at + sizeof(all) <= text.len; at += sizeof(all)) {
        uint64_t eight;
        memcpy(&eight, text.data + at, sizeof(eight));
        all |= eight;
    }
    for (; at < text.len; at++) {
        all |= text.data[at];
    }
    return (all & UINT64_C(0x8080808080808080)) != 0;
}

enum stomp_fault stomp_frame_check(const struct stomp_frame *frame, enum stomp_version version)
{
    const struct pg_bytes head = {.data = frame->data, .len = frame->body_at};
    if (has_high_bits(head) && !pg_utf8_valid(head)) {
        return STOMP_F_UTF8;
    }
    bool escapes = has_escapes(frame, version);
    for (size_t i = 0; i < frame->count; i++) {
        const struct stomp_field *field = &frame->fields[i];
        if (field->stray_cr && version == STOMP_V12) {
            return STOMP_F_CARRIAGE_RETURN;
        }
        if (field->escaped && escapes &&
            !(escapes_hold(stomp_field_name(frame, field), version) &&
              escapes_hold(stomp_field_value(frame, field), version))) {
            return STOMP_F_ESCAPE;
        }
    }
    return STOMP_F_OK;
}

struct pg_bytes stomp_unescape(const struct stomp_frame *frame, const struct stomp_field *field,
                               struct pg_bytes raw, struct stomp_texts *texts)
{
    if (!field->escaped || !has_escapes(frame, texts->version)) {
        return raw;
    }
    if (texts->room == NULL) {
        /* All headers together are shorter without their escapes; each is asked for a few times at
         * most, see the bound below. */
        texts->room = malloc(2 * (size_t)frame->body_at);
        texts->failed = texts->room == NULL;
    }
    if (texts->failed || raw.len > 2 * (size_t)frame->body_at - texts->used) {
        texts->failed = true;
        return PG_BYTES_NONE;
    }
    uint8_t *out = texts->room + texts->used;
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t octet = raw.data[i];
        if (octet == '\\') {
            octet = meaning(raw.data[++i], texts->version);
        }
        out[n++] = octet;
    }
    texts->used += n;
    return (struct pg_bytes){.data = out, .len = n};
}

struct pg_bytes stomp_text(const struct stomp_frame *frame, const struct stomp_field *field,
                           struct stomp_texts *texts)
{
    struct pg_bytes raw = stomp_field_value(frame, field);
    /* 1.0 is written with a blank behind the colon, as its own examples are. */
    while (texts->version == STOMP_V10 && raw.len > 0 && raw.data[0] == ' ') {
        raw.data++;
        raw.len--;
    }
    return stomp_unescape(frame, field, raw, texts);
}

struct pg_bytes stomp_value(const struct stomp_frame *frame, enum stomp_header header,
                            struct stomp_texts *texts)
{
    const struct stomp_field *field = stomp_frame_field(frame, header);
    return field == NULL ? PG_BYTES_NONE : stomp_text(frame, field, texts);
}

void stomp_texts_free(struct stomp_texts *texts)
{
    free(texts->room);
    texts->room = NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

bool stomp_number(struct pg_bytes text, uint64_t most, uint64_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || number > (most - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *out = number;
    return text.len > 0;
}

bool stomp_heart_beat(struct pg_bytes text, uint32_t *sends_ms, uint32_t *wants_ms)
{
    uint64_t sends, wants;
    const uint8_t *comma = text.len > 0 ? memchr(text.data, ',', text.len) : NULL;
    if (comma == NULL) {
        return false;
    }
    size_t at = (size_t)(comma - text.data);
    const struct pg_bytes second = {.data = comma + 1, .len = text.len - at - 1};
    if (!stomp_number((struct pg_bytes){.data = text.data, .len = at}, UINT32_MAX, &sends) ||
        !stomp_number(second, UINT32_MAX, &wants)) {
        return false;
    }
    *sends_ms = (uint32_t)sends;
    *wants_ms = (uint32_t)wants;
    return true;
}

enum stomp_version stomp_negotiate(struct pg_bytes accept, unsigned served)
{
    enum stomp_version best = STOMP_V_UNKNOWN;
    for (size_t at = 0; at < accept.len; at++) {
        size_t end = at;
        while (end < accept.len && accept.data[end] != ',') {
            end++;
        }
        while (at < end && accept.data[at] == ' ') {
            at++;
        }
        const struct pg_bytes one = {.data = accept.data + at, .len = end - at};
        for (enum stomp_version v = STOMP_V10; v <= STOMP_V12; v++) {
            if (v > best && (served & 1u << v) != 0 &&
                pg_bytes_equal(one, pg_bytes_str(stomp_version_name(v)))) {
                best = v;
            }
        }
        at = end;
    }
    return best;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The letter that an octet is written as, behind a backslash, by 1.2; 1.1 has none for the carriage
 * return. 0: it stands for itself. */
static const uint8_t letters[256] = {['\n'] = 'n', [':'] = 'c', ['\\'] = '\\', ['\r'] = 'r'};

void stomp_put_text(struct stomp_writer *w, struct pg_bytes text)
{
    if (w->version < STOMP_V11) {
        stomp_put(w, text);
        return;
    }
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t letter = letters[text.data[i]];
        if (letter == 0 || (letter == 'r' && w->version != STOMP_V12)) {
            continue;
        }
        const uint8_t pair[] = {'\\', letter};
        stomp_put(w, (struct pg_bytes){.data = text.data + from, .len = i - from});
        stomp_put(w, (struct pg_bytes){.data = pair, .len = 2});
        from = i + 1;
    }
    stomp_put(w, (struct pg_bytes){.data = text.data + from, .len = text.len - from});
}

void stomp_put_number(struct stomp_writer *w, uint64_t number)
{
    uint8_t digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    stomp_put(w, (struct pg_bytes){.data = digits + at, .len = sizeof(digits) - at});
}

static bool has_octet(struct pg_bytes text, int octet)
{
    return text.len > 0 && memchr(text.data, octet, text.len) != NULL;
}

bool stomp_writable(enum stomp_version version, struct pg_bytes text, bool name)
{
    if (has_octet(text, 0)) {
        return false;
    }
    if (version == STOMP_V12) {
        return true;
    }
    if (has_octet(text, '\r')) {
        return false;
    }
    return version == STOMP_V11 || !(has_octet(text, '\n') || (name && has_octet(text, ':')));
}

bool stomp_put_header(struct stomp_writer *w, struct pg_bytes name, struct pg_bytes value)
{
    if (name.len == 0 || !stomp_writable(w->version, name, true) ||
        !stomp_writable(w->version, value, false)) {
        return false;
    }
    stomp_put_text(w, name);
    stomp_put(w, PG_BYTES_OF(":"));
    stomp_put_text(w, value);
    stomp_put(w, PG_BYTES_OF("\n"));
    return true;
}
