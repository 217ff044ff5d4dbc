/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_STREAM_H
#define PG_NET_STREAM_H

/* Byte streams over sockets: what is below every link, and below the handshakes that come before
 * there is a connection. A stream is plain or has a security layer on it (TLS), and whoever reads
 * and writes it need not know which.
 *
 * A stream belongs to the worker on which it began; every function here is called there, or, after
 * all threads have ended, on the one that joined them. */

#include <ev.h>
#include <sys/uio.h>

#include "polygate.h"

struct net_stream;
struct pg_worker;

/* Why a stream is of no use any more. Neither set: the peer has ended it. */
struct net_trouble {
    int error_number; /* of the call that failed, or 0 */
    const char *text; /* of the security layer, or NULL; lent until the next call */
};

/* What a stream tells its owner, in whose struct it is, at the end of a loop turn, before anything is
 * written. The owner may close the stream, move it and free its memory in any of them. */
struct net_owner {
    /* Bytes can be read (EV_READ), or written (EV_WRITE) after that was asked for. */
    void (*ready)(struct net_stream *stream, int events);
    /* The handshake of the security layer is done. `identity` (lent; data == NULL: none) is the name
     * that the peer has proven. (needed by streams that are secured) */
    void (*secured)(struct net_stream *stream, struct pg_bytes identity);
    /* It failed; the owner closes the stream. (likewise) */
    void (*failed)(struct net_stream *stream, const struct net_trouble *trouble);
    /* After net_stream_finish(): the peer has ended, too, or goes on sending without end. */
    void (*drained)(struct net_stream *stream);
};

/* A security layer on one stream; first in the layer's own struct. */
struct net_security {
    const struct net_layer *layer;
    struct net_stream *stream;       /* that it is on; kept right by the stream */
    struct net_security *next_ready; /* likewise: of a list of streams that are ready */
};

/* Its functions. read and write return as net_stream_read() and net_stream_write() do; a layer that
 * has to write before it can go on reading sets `stalled`. */
struct net_layer {
    /* Something to do for the handshake: the socket is as `stalled` asked for. */
    void (*handshake)(struct net_security *security);
    ssize_t (*read)(struct net_security *security, uint8_t *buffer, size_t room,
                    struct net_trouble *trouble);
    ssize_t (*write)(struct net_security *security, const struct iovec *iov, int count);
    /* Whether there are bytes to read of which the socket knows nothing any more. */
    bool (*pending)(const struct net_security *security);
    /* Tell the peer that this is the end; false: there is no room for that, try later. Only of
     * streams whose handshake is done. */
    bool (*finish)(struct net_security *security);
    void (*free)(struct net_security **security);
};

enum net_stream_state {
    NET_STREAM_NEW,     /* zeroed; no socket yet; what is wanted is remembered */
    NET_STREAM_DIALING, /* net_dial.c is about to connect its socket; what is wanted is remembered */
    NET_STREAM_SECURING, /* the security layer's handshake is under way */
    NET_STREAM_OPEN,     /* bytes go both ways */
    NET_STREAM_PARTING,  /* the layer's goodbye waits for room */
    NET_STREAM_DRAIN,    /* our side is shut; what comes is thrown away, up to a bound */
    NET_STREAM_LOST,     /* it could not begin: only net_stream_close() is left */
    NET_STREAM_CLOSED,   /* nothing is waited for, no socket */
};

/* All zero is NET_STREAM_NEW. Its size matters: it exists once per connection. */
struct net_stream {
    union {
        struct net_security *security; /* NULL: plain. Up to NET_STREAM_PARTING */
        uint64_t thrown_away;          /* bytes discarded in NET_STREAM_DRAIN */
    };
    int fd;
    uint8_t worker;      /* its index */
    uint8_t state : 4;   /* enum net_stream_state */
    uint8_t watched : 2; /* EV_READ and EV_WRITE, as far as the socket is waited for */
    bool held : 1;       /* the owner does not want bytes now */
    bool blocked : 1;    /* the owner waits for room to write */
    bool at_eof : 1;     /* the peer's last byte has been read */
    bool stalled : 1;    /* the layer waits for room to write */
    bool waits : 1;      /* the layer waits for something else than the socket */
    bool is_ready : 1;   /* among those whose layer holds bytes that are wanted now */
    uint8_t owner;       /* its number; see net_stream_owner() */
};
_Static_assert(sizeof(struct net_stream) <= 16, "a silent stream is small");
_Static_assert(EV_READ <= 3 && EV_WRITE <= 3, "events fit");

/* Begin on a connected, non-blocking socket (given). false with errno: descriptors or memory are out,
 * and all that is left is to close the stream. */
bool net_stream_begin(struct net_stream *stream, struct pg_worker *worker, int fd,
                      const struct net_owner *owner) PG_CHECKED;
struct pg_worker *net_stream_worker(const struct net_stream *stream);
/* Put a layer (given) on a plain stream, before anything is read: its handshake begins. */
void net_stream_secure(struct net_stream *stream, struct net_security *security);
/* Go on as `to`, which is NET_STREAM_NEW, with another owner; `from` is all zero then. */
void net_stream_move(struct net_stream *to, struct net_stream *from, const struct net_owner *owner);

/* Not to be told of bytes for now, or to be told again. Idempotent, as the next. */
void net_stream_hold(struct net_stream *stream, bool on);
/* To be told when there is room to write. */
void net_stream_block(struct net_stream *stream, bool on);

#define NET_END    (-1) /* the peer's last byte has been read */
#define NET_BROKEN (-2) /* *trouble tells why */
/* Bytes read, 0 if there are none now, or one of those above. */
ssize_t net_stream_read(struct net_stream *stream, uint8_t *buffer, size_t room,
                        struct net_trouble *trouble);
/* After a read that gave `n` of `room` bytes, `total` in this turn: whether to go on now. If not, the
 * owner is told when there is more. One busy peer must not starve the others. */
bool net_stream_reads_on(struct net_stream *stream, size_t n, size_t room, size_t total);
/* Bytes written, 0 if there is no room, or -1 with errno. No signal is raised. */
ssize_t net_stream_write(struct net_stream *stream, const struct iovec *iov, int count);

/* A peer that goes on sending this many bytes after our goodbye is reset: the goodbye has had its
 * chance, and throwing bytes away is work. No option: it is what can be under way on the fastest
 * links, and who is slow is bounded by limits.linger. */
#define NET_THROW_AWAY_MAX (1024u * 1024)

/* No more output: tell the peer, shut our side, give the layer's memory back, and throw away what
 * still comes. A socket that is closed with unread bytes sends a reset, and a reset can overtake our
 * last words (RFC 1122, 4.2.2.13). Once NET_STREAM_SECURING, or NET_STREAM_OPEN; else nothing. */
void net_stream_finish(struct net_stream *stream);
/* Close at once; idempotent. Not of NET_STREAM_NEW or NET_STREAM_DIALING. */
void net_stream_close(struct net_stream *stream);

/* ---- for security layers ---- */

/* The handshake is over, well or not: the next call is one of the owner. */
void net_stream_handshake_ends(struct net_stream *stream);
/* Who is told of it. */
const struct net_owner *net_stream_owner(const struct net_stream *stream);
/* As net_stream_write(), past the layer. */
ssize_t net_stream_write_plain(const struct net_stream *stream, const struct iovec *iov, int count);
/* Wait for the socket as the state and the bits above say. */
void net_stream_watch(struct net_stream *stream);

#endif
