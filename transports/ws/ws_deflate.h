/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_DEFLATE_H
#define PG_WS_DEFLATE_H

/* permessage-deflate (RFC 7692): negotiation, and the two halves of one connection. */

#include <sys/types.h>
#include <sys/uio.h>

#include "polygate.h"

/* What a listener is ready for. */
struct ws_deflate_conf {
    bool on;
    bool takeover;  /* keep the contexts between messages */
    uint8_t window; /* bits of the largest window, each way: 9 to 15 */
};

/* What was agreed on; `on` false: nothing. */
struct ws_deflate_terms {
    bool on;
    bool takeover;       /* both ways or neither */
    uint8_t server_bits; /* of what we send */
    uint8_t
        client_bits; /* of what we get, from 8 on: 15 if the client did not offer to keep to less */
    bool names_client_bits;
};

/* Choose from the offers in the value of one Sec-WebSocket-Extensions header the first that we can
 * keep; false: there is none. Any thread. */
bool ws_deflate_choose(struct pg_bytes offers, const struct ws_deflate_conf *conf,
                       struct ws_deflate_terms *terms);
/* The header line that says so, up to `room` bytes with its NUL. */
#define WS_DEFLATE_LINE_MAX 192u
void ws_deflate_line(const struct ws_deflate_terms *terms, char line[WS_DEFLATE_LINE_MAX]);

struct ws_deflate;

/* NULL if there are `most` of them in the process already, or memory is out. */
struct ws_deflate *ws_deflate_new(const struct ws_deflate_terms *terms, int64_t most);
void ws_deflate_free(struct ws_deflate **deflate);

#define WS_DEFLATE_BROKEN    (-1) /* not what RFC 1951 describes */
#define WS_DEFLATE_NO_MEMORY (-2)

/* Decompress: use up to `len` bytes of a message at `in` (lent), *used of them, and put what comes
 * out at `out`. How many bytes that is, at most `room`, or one of those above. With `ends` these are
 * the last bytes of the message: it is over once *used is `len` and less than `room` came out. */
ssize_t ws_inflate(struct ws_deflate *deflate, const uint8_t *in, size_t len, bool ends,
                   size_t *used, uint8_t *out, size_t room);

/* Compress the next `len` bytes of a message, at most WS_DEFLATE_PIECE, given as iovecs of which the
 * first `skip` bytes were compressed before; `ends`: they are its last. How many bytes were put at
 * `out`, or one of those above. */
#define WS_DEFLATE_PIECE (16u * 1024)
#define WS_DEFLATE_ROOM  (WS_DEFLATE_PIECE + 1024u)
ssize_t ws_deflate(struct ws_deflate *deflate, const struct iovec *iov, size_t skip, size_t len,
                   bool ends, uint8_t out[WS_DEFLATE_ROOM]);

#endif
