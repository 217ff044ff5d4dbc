/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_LINK_H
#define PG_WS_LINK_H

/* The link of a WebSocket connection, on its connection's worker. */

#include "../net/net_stream.h"
#include "transport.h"
#include "ws_conf.h"
#include "ws_deflate.h"
#include "ws_frame.h"

/* The transport's state of one connection; all zero is WS_LINK_NEW. */
struct ws_link {
    struct net_stream stream; /* first */
    uint8_t state;            /* enum ws_link_state */
    bool held : 1;            /* the core does not want bytes now */
    bool blocked : 1;         /* the core waits for room to write */
    bool at_eof : 1;          /* nothing more is to be read */
    bool close_made : 1;      /* our close frame is queued or sent: nothing may follow */
    bool failed : 1;          /* the frames are broken: what comes is thrown away */
    bool frames : 1;          /* the core's bytes are frames: PG_MEDIA_FRAMES */
    uint16_t fail_code;       /* failed: the status to close with */
    uint32_t thrown_away;     /* bytes discarded in WS_LINK_CLOSING */
    size_t frame_left;        /* of the message begun: bytes that the core has still to give */
    uint8_t out_at, out_len, control_len;
    /* A header or control frame that is leaving; of a header of the core's, what has left. */
    uint8_t out[2 + WS_CONTROL_MAX];
    uint8_t control[2 + WS_CONTROL_MAX]; /* a control frame that waits for its turn */
    struct ws_reader in;
    struct ws_zip *zip;     /* compression was negotiated; else NULL */
    struct pg_timer pinger; /* runs if ping_interval is given */
    uint32_t ping_interval_ms;
    bool heard; /* since the last ping */
};

/* The opening handshake of `from` has been granted: it becomes the link of `conn`, which is new and
 * of that configuration. `deflate` (given) is NULL if no compression was agreed on. `rest` (lent) is what
 * came behind the request. Afterwards the connection may be
 * closing. */
void ws_link_begin(struct pg_conn *conn, const struct ws_conf *conf, struct net_stream *from,
                   struct ws_deflate *deflate, struct pg_bytes rest);

/* The operations of a transport's table; see transport.h. */
ssize_t ws_link_writev(void *link, const struct iovec *iov, int count);
void ws_link_want_write(void *link, bool on);
void ws_link_want_read(void *link, bool on);
void ws_link_shutdown(void *link);
bool ws_link_owes(const void *link);
void ws_link_close(void *link);

#endif
