/* SPDX-License-Identifier: Apache-2.0 */

/* permessage-deflate (RFC 7692), with zlib.
 *
 * A context costs memory as long as it lives: with windows of 2^12 bytes about 11 KiB to decompress
 * and 32 KiB to compress, with 2^15 about 40 and 150. Without takeover it lives from the first to
 * the last byte of one message, so idle connections have none; with it, as long as the connection.
 * How many connections have compression is bounded in any case.
 *
 * A message ends with an empty block of which the last four bytes are not sent (7.2.1), and are put
 * back before what has come is decompressed (7.2.2).
 *
 * Thread: the connection's worker. */

#include "ws_deflate.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <zlib.h>

#include "ws_text.h"

#define BITS_MIN  9u /* zlib cannot compress with a window of 2^8 bytes */
#define BITS_MAX  15u
#define MEM_LEVEL 5 /* of 9: 16 KiB for the compressor besides its window */

static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};

struct ws_deflate {
    struct ws_deflate_terms terms;
    bool can_inflate, can_deflate; /* the streams below are initialised */
    uint8_t tail_used;             /* of the message that is decompressed */
    z_stream in, out;
};

static _Atomic int64_t live; /* in the process */

/* ---- negotiation ----------------------------------------------------------------------------- */

/* A window's bits, perhaps in quotes; 0: not such a number. */
static uint8_t bits_of(struct pg_bytes value)
{
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"') {
        value.data++;
        value.len -= 2;
    }
    unsigned bits = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || i > 1 || value.data[0] == '0')
            return 0;
        bits = bits * 10 + (unsigned)(value.data[i] - '0');
    }
    return bits >= 8 && bits <= BITS_MAX ? (uint8_t)bits : 0;
}

/* The parameters of one offer, as bits for what it named. */
enum { SERVER_BITS = 1, CLIENT_BITS = 2, SERVER_FRESH = 4, CLIENT_FRESH = 8 };

/* Take one parameter into account; false: it is wrong, or not known. */
static bool take_parameter(struct pg_bytes text, unsigned *seen, struct ws_deflate_terms *terms)
{
    struct pg_bytes value = text, name = ws_trim(ws_cut(&value, '='));
    bool has_value = memchr(text.data, '=', text.len) != NULL;
    uint8_t bits = bits_of(ws_trim(value));
    unsigned which;
    if (ws_is_name(name, "server_no_context_takeover") && !has_value) {
        which = SERVER_FRESH;
    } else if (ws_is_name(name, "client_no_context_takeover") && !has_value) {
        which = CLIENT_FRESH;
    } else if (ws_is_name(name, "server_max_window_bits") && bits >= BITS_MIN) {
        which = SERVER_BITS;
        if (bits < terms->server_bits)
            terms->server_bits = bits;
    } else if (ws_is_name(name, "client_max_window_bits") && (!has_value || bits != 0)) {
        which = CLIENT_BITS;
        if (has_value && bits < terms->client_bits)
            terms->client_bits = bits;
    } else {
        return false;
    }
    bool is_new = (*seen & which) == 0;
    *seen |= which;
    return is_new;
}

static bool take_offer(struct pg_bytes offer, const struct ws_deflate_conf *conf,
                       struct ws_deflate_terms *terms)
{
    unsigned seen = 0;
    *terms = (struct ws_deflate_terms){
        .on = true,
        .takeover = conf->takeover,
        .server_bits = conf->window,
        .client_bits = conf->window,
    };
    if (!ws_is_name(ws_trim(ws_cut(&offer, ';')), "permessage-deflate"))
        return false;
    while (offer.len > 0)
        if (!take_parameter(ws_trim(ws_cut(&offer, ';')), &seen, terms))
            return false;
    if (seen & (SERVER_FRESH | CLIENT_FRESH))
        terms->takeover = false;
    terms->names_client_bits = (seen & CLIENT_BITS) != 0;
    /* A client that did not offer to keep to less may use the largest window (7.1.2.2). */
    return terms->names_client_bits || conf->window == BITS_MAX;
}

bool ws_deflate_choose(struct pg_bytes offers, const struct ws_deflate_conf *conf,
                       struct ws_deflate_terms *terms)
{
    while (conf->on && offers.len > 0)
        if (take_offer(ws_cut(&offers, ','), conf, terms))
            return true;
    *terms = (struct ws_deflate_terms){.on = false};
    return false;
}

void ws_deflate_line(const struct ws_deflate_terms *terms, char line[WS_DEFLATE_LINE_MAX])
{
    char client_bits[40] = "";
    if (terms->names_client_bits)
        snprintf(client_bits, sizeof(client_bits), "; client_max_window_bits=%u",
                 terms->client_bits);
    int n =
        snprintf(line, WS_DEFLATE_LINE_MAX,
                 "Sec-WebSocket-Extensions: permessage-deflate%s; server_max_window_bits=%u%s\r\n",
                 terms->takeover ? "" : "; server_no_context_takeover; client_no_context_takeover",
                 terms->server_bits, client_bits);
    assert(n > 0 && (size_t)n < WS_DEFLATE_LINE_MAX);
}

/* ---- contexts -------------------------------------------------------------------------------- */

struct ws_deflate *ws_deflate_new(const struct ws_deflate_terms *terms, int64_t most)
{
    struct ws_deflate *made = NULL;
    if (atomic_fetch_add(&live, 1) < most)
        made = calloc(1, sizeof(*made));
    if (made)
        made->terms = *terms;
    else
        atomic_fetch_sub(&live, 1);
    return made;
}

static void end_inflate(struct ws_deflate *deflate)
{
    if (deflate->can_inflate)
        inflateEnd(&deflate->in);
    deflate->can_inflate = false;
}

static void end_deflate(struct ws_deflate *deflate)
{
    if (deflate->can_deflate)
        deflateEnd(&deflate->out);
    deflate->can_deflate = false;
}

void ws_deflate_free(struct ws_deflate **pointer)
{
    if (!*pointer)
        return;
    end_inflate(*pointer);
    end_deflate(*pointer);
    free(*pointer);
    *pointer = NULL;
    atomic_fetch_sub(&live, 1);
}

/* ---- decompressing --------------------------------------------------------------------------- */

/* Run zlib over `len` bytes at `in`; false: they are broken. */
static bool run_inflate(z_stream *z, const uint8_t *in, size_t len, size_t *used)
{
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)len;
    int result = Z_OK;
    while (result == Z_OK && z->avail_in > 0 && z->avail_out > 0) {
        result = inflate(z, Z_SYNC_FLUSH);
        if (result == Z_STREAM_END) /* a final block, which may stand within a message (7.2.3.4) */
            result = inflateReset(z);
    }
    *used = len - z->avail_in;
    return result == Z_OK || result == Z_BUF_ERROR;
}

ssize_t ws_inflate(struct ws_deflate *deflate, const uint8_t *in, size_t len, bool ends,
                   size_t *used, uint8_t *out, size_t room)
{
    z_stream *z = &deflate->in;
    *used = 0;
    /* Who keeps to 2^8 bytes with an older zlib has a window of 2^9. */
    unsigned bits = deflate->terms.client_bits < BITS_MIN ? BITS_MIN : deflate->terms.client_bits;
    if (!deflate->can_inflate && inflateInit2(z, -(int)bits) != Z_OK)
        return WS_DEFLATE_NO_MEMORY;
    deflate->can_inflate = true;
    z->next_out = out;
    z->avail_out = (uInt)room;
    if (!run_inflate(z, in, len, used))
        return WS_DEFLATE_BROKEN;
    if (ends && *used == len) {
        size_t of_tail;
        if (!run_inflate(z, tail + deflate->tail_used, sizeof(tail) - deflate->tail_used, &of_tail))
            return WS_DEFLATE_BROKEN;
        deflate->tail_used = (uint8_t)(deflate->tail_used + of_tail);
        /* What zlib still holds for want of room. */
        if (z->avail_out > 0 && inflate(z, Z_SYNC_FLUSH) == Z_DATA_ERROR)
            return WS_DEFLATE_BROKEN;
        if (z->avail_out > 0) {
            deflate->tail_used = 0;
            if (!deflate->terms.takeover)
                end_inflate(deflate);
        }
    }
    return (ssize_t)(room - z->avail_out);
}

/* ---- compressing ----------------------------------------------------------------------------- */

ssize_t ws_deflate(struct ws_deflate *deflate_state, const struct iovec *iov, size_t skip,
                   size_t len, bool ends, uint8_t out[WS_DEFLATE_ROOM])
{
    z_stream *z = &deflate_state->out;
    assert(len > 0 && len <= WS_DEFLATE_PIECE);
    if (!deflate_state->can_deflate &&
        deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -(int)deflate_state->terms.server_bits,
                     MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return WS_DEFLATE_NO_MEMORY;
    deflate_state->can_deflate = true;
    z->next_out = out;
    z->avail_out = WS_DEFLATE_ROOM;
    for (; len > 0; iov++) {
        if (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            continue;
        }
        size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
        len -= n;
        z->next_in = (Bytef *)iov->iov_base + skip;
        z->avail_in = (uInt)n;
        skip = 0;
        (void)deflate(z, len == 0 ? Z_SYNC_FLUSH : Z_NO_FLUSH);
        assert(z->avail_in == 0 && z->avail_out > 0); /* WS_DEFLATE_ROOM holds the worst case */
    }
    size_t made = WS_DEFLATE_ROOM - z->avail_out;
    if (!ends)
        return (ssize_t)made;
    assert(made > sizeof(tail) && memcmp(out + made - sizeof(tail), tail, sizeof(tail)) == 0);
    if (!deflate_state->terms.takeover)
        end_deflate(deflate_state);
    return (ssize_t)(made - sizeof(tail));
}
