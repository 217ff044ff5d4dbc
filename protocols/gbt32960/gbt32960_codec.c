/* SPDX-License-Identifier: Apache-2.0 */

/* Frames of GB/T 32960.3: 23 23 or 24 24, command, response flag, 17 bytes of id, encryption flag,
 * length of the data unit, the unit, and the exclusive or of everything behind the start mark.
 *
 * The start marks may stand anywhere inside a frame (a VIN, temperatures of -5 and -4 degrees), so
 * they are looked for only where no frame is known to be: before the first one, behind a header
 * that cannot be one, and inside the extent of a frame whose check code is wrong.
 *
 * threads   any
 * standard  GB/T 32960.3-2016, -2025: 6.2
 */

#include "gbt32960_codec.h"

#include <string.h>

#define MARK_2016 0x23u
#define MARK_2025 0x24u

/* Offsets in a frame. */
enum { AT_COMMAND = 2, AT_RESPONSE = 3, AT_ID = 4, AT_ENCRYPTION = 21, AT_LENGTH = 22 };

const char *gbt_error_name(enum gbt_error error)
{
    static const char *const names[GBT_ERROR_COUNT] = {
#define GBT_ERROR_NAME(NAME, name) [GBT_ERROR_##NAME] = (name),
        GBT_ERRORS(GBT_ERROR_NAME)
#undef GBT_ERROR_NAME
    };
    return names[error];
}

static bool is_mark(uint8_t byte)
{
    return byte == MARK_2016 || byte == MARK_2025;
}

static size_t declared_length(struct pg_bytes in)
{
    return (size_t)in.data[AT_LENGTH] << 8 | in.data[AT_LENGTH + 1];
}

static uint8_t check_code(const uint8_t *from, size_t len)
{
    /* Eight bytes at a time: this touches every byte that comes in. */
    uint64_t wide = 0;
    uint8_t check = 0;
    for (; len >= 8; from += 8, len -= 8) {
        uint64_t eight;
        memcpy(&eight, from, 8);
        wide ^= eight;
    }
    wide ^= wide >> 32;
    wide ^= wide >> 16;
    wide ^= wide >> 8;
    check = (uint8_t)wide;
    while (len > 0) {
        check ^= from[--len];
    }
    return check;
}

static bool check_holds(struct pg_bytes frame)
{
    return check_code(frame.data + AT_COMMAND, frame.len - AT_COMMAND) == 0;
}

static bool response_defined(uint8_t flag)
{
    return (flag >= GBT_SUCCESS && flag <= GBT_DECRYPTION_ERROR) || flag == GBT_COMMAND;
}

static bool encryption_plausible(uint8_t flag)
{
    return (flag >= GBT_PLAIN && flag <= GBT_SM4) || flag >= 0xfe;
}

static bool encryption_defined(const struct gbt_frame *frame)
{
    return encryption_plausible(frame->encryption) &&
           (frame->edition == GBT_2025 ||
            (frame->encryption != GBT_SM2 && frame->encryption != GBT_SM4));
}

/* Whether these bytes may be the start of a frame, as far as they go. */
static bool may_begin(struct pg_bytes in)
{
    return (in.len < 1 || is_mark(in.data[0])) && (in.len < 2 || in.data[1] == in.data[0]) &&
           (in.len <= AT_RESPONSE || response_defined(in.data[AT_RESPONSE])) &&
           (in.len <= AT_ENCRYPTION || encryption_plausible(in.data[AT_ENCRYPTION])) &&
           (in.len < GBT_HEAD_LEN || declared_length(in) <= GBT_UNIT_MAX);
}

static struct pg_bytes tail_of(struct pg_bytes in, size_t from)
{
    return (struct pg_bytes){.data = in.data + from, .len = in.len - from};
}

/* The distance from offset `from` on to the next place where a frame may begin; in.len: nowhere. */
static size_t next_start(struct pg_bytes in, size_t from)
{
    while (from < in.len && !(is_mark(in.data[from]) && may_begin(tail_of(in, from)))) {
        from++;
    }
    return from;
}

static void read_frame(struct pg_bytes wire, struct gbt_frame *out)
{
    *out = (struct gbt_frame){
        .edition = wire.data[0] == MARK_2025 ? GBT_2025 : GBT_2016,
        .command = wire.data[AT_COMMAND],
        .response = wire.data[AT_RESPONSE],
        .encryption = wire.data[AT_ENCRYPTION],
        .unit = {.data = wire.data + GBT_HEAD_LEN, .len = wire.len - GBT_HEAD_LEN - 1},
        .wire = wire,
    };
    memcpy(out->id, wire.data + AT_ID, GBT_ID_LEN);
}

size_t gbt_frame_need(struct pg_bytes in)
{
    return in.len >= GBT_HEAD_LEN && may_begin(in) ? GBT_HEAD_LEN + declared_length(in) + 1 : 0;
}

/* The check code of the frame over `extent` bytes is wrong: where does reading go on? A place
 * where a frame begins that has not come whole leaves that open (false). */
static bool resume_at(struct pg_bytes in, size_t extent, size_t *at)
{
    for (size_t from = next_start(in, 1); from < extent; from = next_start(in, from + 1)) {
        struct pg_bytes inner = tail_of(in, from);
        size_t need = gbt_frame_need(inner);
        if (need == 0 || need > inner.len) {
            return false;
        }
        inner.len = need;
        if (check_holds(inner)) {
            *at = from;
            return true;
        }
    }
    *at = extent;
    return true;
}

enum gbt_result gbt_frame_next(struct pg_bytes in, size_t *used, struct gbt_frame *out,
                               enum gbt_error *error)
{
    *used = 0;
    *error = GBT_ERROR_NONE;
    if (!may_begin(in)) {
        *used = next_start(in, 1);
        *error = GBT_ERROR_NOISE;
        return GBT_FRAME_MALFORMED;
    }
    size_t need = gbt_frame_need(in);
    if (need == 0 || need > in.len) {
        return GBT_FRAME_MORE;
    }
    struct pg_bytes wire = {.data = in.data, .len = need};
    bool holds = check_holds(wire);
    if (!holds && !resume_at(in, need, used)) {
        *used = 0;
        return GBT_FRAME_MORE;
    }
    read_frame(wire, out);
    if (!holds) {
        *error = GBT_ERROR_BCC;
        return GBT_FRAME_MALFORMED;
    }
    *used = need;
    if (!encryption_defined(out)) {
        *error = GBT_ERROR_ENCRYPTION;
        return GBT_FRAME_MALFORMED;
    }
    return GBT_FRAME_WHOLE;
}

enum gbt_error gbt_frame_decode(struct pg_bytes wire, struct gbt_frame *out)
{
    *out = (struct gbt_frame){.edition = GBT_2016};
    if ((wire.len >= 1 && !is_mark(wire.data[0])) ||
        (wire.len >= 2 && wire.data[1] != wire.data[0])) {
        return GBT_ERROR_START;
    }
    if (wire.len >= GBT_HEAD_LEN && declared_length(wire) > GBT_UNIT_MAX) {
        return GBT_ERROR_LENGTH;
    }
    size_t need = wire.len >= GBT_HEAD_LEN ? GBT_HEAD_LEN + declared_length(wire) + 1 : 0;
    if (need == 0 || need > wire.len) {
        return GBT_ERROR_INCOMPLETE;
    }
    if (need < wire.len) {
        return GBT_ERROR_TRAILING;
    }
    read_frame(wire, out);
    if (!check_holds(wire)) {
        return GBT_ERROR_BCC;
    }
    return encryption_defined(out) ? GBT_ERROR_NONE : GBT_ERROR_ENCRYPTION;
}

size_t gbt_frame_encode(const struct gbt_frame *frame, uint8_t *out, size_t room)
{
    size_t len = frame->unit.len;
    size_t total = GBT_HEAD_LEN + len + 1;

    if (len > GBT_UNIT_MAX) {
        return 0;
    }
    if (room < total) {
        return total;
    }
    out[0] = out[1] = frame->edition == GBT_2025 ? MARK_2025 : MARK_2016;
    out[AT_COMMAND] = frame->command;
    out[AT_RESPONSE] = frame->response;
    memcpy(out + AT_ID, frame->id, GBT_ID_LEN);
    out[AT_ENCRYPTION] = frame->encryption;
    out[AT_LENGTH] = (uint8_t)(len >> 8);
    out[AT_LENGTH + 1] = (uint8_t)len;
    if (len > 0) {
        memcpy(out + GBT_HEAD_LEN, frame->unit.data, len);
    }
    out[total - 1] = check_code(out + AT_COMMAND, total - 1 - AT_COMMAND);
    return total;
}
