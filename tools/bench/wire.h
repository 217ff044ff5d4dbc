/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

/* What is between a peer and its socket: nothing, TLS, WebSocket, or the one on the other. For
 * load, not for trust: no certificate is verified, and frames are masked with zeros. One thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All zero at first. */
struct wire {
    void *ssl;    /* SSL *, with TLS */
    bool secured; /* the TLS handshake is done */
    bool asked;   /* the upgrade is asked for */
    bool full;    /* the last read ended for want of room, not of bytes; with TLS */
    size_t left;  /* of the present frame's payload */
    uint8_t head[10], head_len;
};

/* What all peers have. */
struct wire_setup {
    bool tls, websocket;
    unsigned tls_version; /* 12 or 13; 0: the newest that the broker has */
    const char
        *certificate; /* PEM file with the peers' certificate, its chain and its key; NULL: none */
    bool resume;      /* all but the first peer resume the first one's session */
};

/* Before the first peer is opened; ends the program if something cannot be had. */
void wire_setup(const struct wire_setup *setup);
/* Whether a session is there to be resumed. */
bool wire_can_resume(void);
/* How many handshakes have resumed it. */
unsigned wire_resumed(void);

enum wire_step { WIRE_OPEN, WIRE_READ, WIRE_WRITE, WIRE_FAILED };
/* The socket is connected, or is as was asked for: go on. WIRE_READ, WIRE_WRITE: call again when it
 * is readable or writable. */
enum wire_step wire_open(struct wire *wire, int fd);
void wire_close(struct wire *wire);

/* As recv(2) and send(2). What is sent has been framed; bytes that were not taken are to be sent
 * again. */
ssize_t wire_recv(struct wire *wire, int fd, uint8_t *buffer, size_t room);
ssize_t wire_send(struct wire *wire, int fd, const uint8_t *data, size_t len);
/* Whether there are bytes to receive of which the socket knows nothing. */
bool wire_pending(const struct wire *wire);
/* Put the header of a frame of `len` bytes at `out`: how many bytes that is, 0 without
 * WebSocket. */
#define WIRE_HEAD_MAX 14u
size_t wire_head(uint8_t out[WIRE_HEAD_MAX], size_t len);

#endif
