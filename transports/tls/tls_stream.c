/* SPDX-License-Identifier: Apache-2.0 */

/* TLS as the security layer of a stream: OpenSSL on the stream's socket.
 *
 * A step of a handshake may cost a private-key operation, which is the longest that a worker ever
 * computes. There is one per turn of the loop: the first stream with something to do for its
 * handshake is served at once, and others stand in a line; everybody else's bytes are served
 * between two of them.
 *
 * Writes gather small chunks into records of RECORD_MAX bytes, and are repeated from the same byte
 * when the kernel is full, as OpenSSL demands. Ending sends close_notify (RFC 8446, 6.1), unless
 * OpenSSL has failed: then not even that may be sent.
 *
 * Thread: the stream's worker, or, after all threads have ended, the one that joined them. */

#include "tls_stream.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <openssl/err.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../net/net_stream.h"
#include "tls_call.h"
#include "tls_parts.h"
#include "worker.h"

#define RECORD_MAX SSL3_RT_MAX_PLAIN_LENGTH

/* The layer's state of one stream. */
struct tls_layer {
    struct net_security security; /* first */
    SSL *ssl;
    const struct tls_conf *conf;   /* shared with the owner's configuration; NULL: we called */
    bool shaking;                  /* counted among its worker's handshakes */
    bool broken;                   /* OpenSSL has failed */
    bool in_line;                  /* waits for its turn to go on with the handshake */
    struct tls_layer *next, *prev; /* in line */
};

/* A worker's part; only its own thread touches it. */
struct tls_worker {
    alignas(64) struct tls_layer *first; /* the line; NULL if nobody waits, as the next */
    struct tls_layer *last;
    size_t handshakes;    /* under way */
    struct ev_check step; /* active while somebody is in the line, as the next */
    struct ev_idle stay;  /* keeps the loop from sleeping */
    struct ev_loop *loop;
    unsigned stepped; /* the turn in which a step was made last */
};
static struct tls_worker workers[PG_WORKERS_MAX];

static struct tls_worker *worker_of(const struct tls_layer *tls)
{
    return &workers[tls->security.stream->worker];
}

/* For a trouble's text. */
static const char *say(const char *what, const char *more)
{
    static _Thread_local char text[256];
    snprintf(text, sizeof(text), "%s: %s", what, more);
    return text;
}

/* The same, of somebody who claims to be `who`; "" is nobody. */
static const char *say_of(const char *what, const char *who)
{
    static _Thread_local char text[TLS_IDENTITY_MAX + 256];
    if (who[0] == '\0')
        return what;
    snprintf(text, sizeof(text), "%s (of %s)", what, who);
    return text;
}

/* ---- handshakes ------------------------------------------------------------------------------ */

static void step_next(struct ev_loop *loop, struct ev_check *watcher, int events);

static void stay_awake(struct ev_loop *loop, struct ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void stand_in_line(struct tls_layer *tls)
{
    struct net_stream *stream = tls->security.stream;
    struct tls_worker *w = worker_of(tls);
    if (tls->in_line)
        return;
    tls->in_line = true;
    tls->prev = w->last;
    tls->next = NULL;
    if (w->last) {
        w->last->next = tls;
    } else {
        w->first = tls;
        ev_check_init(&w->step, step_next);
        ev_idle_init(&w->stay, stay_awake);
        ev_check_start(w->loop, &w->step);
        ev_idle_start(w->loop, &w->stay);
    }
    w->last = tls;
    stream->waits = true;
    net_stream_watch(stream);
}

static void leave_line(struct tls_layer *tls)
{
    struct tls_worker *w = worker_of(tls);
    if (!tls->in_line)
        return;
    tls->in_line = false;
    tls->security.stream->waits = false;
    *(tls->prev ? &tls->prev->next : &w->first) = tls->next;
    *(tls->next ? &tls->next->prev : &w->last) = tls->prev;
    if (!w->first) {
        ev_check_stop(w->loop, &w->step);
        ev_idle_stop(w->loop, &w->stay);
    }
}

/* No handshake is under way any more. */
static void end_handshake(struct tls_layer *tls)
{
    leave_line(tls);
    if (tls->shaking)
        worker_of(tls)->handshakes--;
    tls->shaking = false;
}

static void succeed(struct tls_layer *tls)
{
    struct net_stream *stream = tls->security.stream;
    char name[TLS_IDENTITY_MAX + 1];
    end_handshake(tls);
    net_stream_handshake_ends(stream);
    name[0] = '\0';
    if (tls->conf && !tls_identity_of(tls->ssl, tls->conf, name)) {
        const struct net_trouble trouble = {
            .text = "the certificate has no usable name; see identity of the listener"};
        net_stream_owner(stream)->failed(stream, &trouble);
        return;
    }
    if (tls->conf)
        tls_forget_handshake(tls->ssl);
    net_stream_owner(stream)->secured(stream, name[0] != '\0' ? pg_bytes_str(name) : PG_BYTES_NONE);
}

/* What OpenSSL did not like. */
static void fail(struct tls_layer *tls, int error, int error_number)
{
    struct net_stream *stream = tls->security.stream;
    struct net_trouble trouble = {0};
    long verdict = SSL_get_verify_result(tls->ssl);
    if (error == SSL_ERROR_SSL && verdict != X509_V_OK)
        trouble.text =
            say_of(say(tls_why(), X509_verify_cert_error_string(verdict)), tls_claim_of(tls->ssl));
    else if (error == SSL_ERROR_SSL)
        trouble.text = say_of(tls_why(), tls_claim_of(tls->ssl));
    else if (error != SSL_ERROR_ZERO_RETURN)
        trouble.error_number = error_number != 0 ? error_number : ECONNRESET;
    net_stream_owner(stream)->failed(stream, &trouble);
}

static void step(struct tls_layer *tls)
{
    struct net_stream *stream = tls->security.stream;
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(tls->ssl);
    int error_number = errno;
    int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_NONE) {
        succeed(tls);
    } else if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        stream->stalled = error == SSL_ERROR_WANT_WRITE;
        net_stream_watch(stream);
    } else {
        tls->broken = true;
        fail(tls, error, error_number);
    }
}

static void step_next(struct ev_loop *loop, struct ev_check *watcher, int events)
{
    (void)events;
    struct tls_worker *w =
        (struct tls_worker *)(void *)((char *)watcher - offsetof(struct tls_worker, step));
    struct tls_layer *tls = w->first;
    leave_line(tls);
    w->stepped = ev_iteration(loop);
    step(tls);
}

/* The socket is ready for a step. */
static void go_on(struct net_security *security)
{
    struct tls_layer *tls = (struct tls_layer *)security;
    struct tls_worker *w = worker_of(tls);
    w->loop = pg_worker_loop(net_stream_worker(security->stream));
    unsigned turn = ev_iteration(w->loop);
    if (w->first || w->stepped == turn) {
        stand_in_line(tls);
        return;
    }
    w->stepped = turn;
    step(tls);
}

/* ---- reading --------------------------------------------------------------------------------- */

static ssize_t layer_read(struct net_security *security, uint8_t *buffer, size_t room,
                          struct net_trouble *trouble)
{
    struct tls_layer *tls = (struct tls_layer *)security;
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(tls->ssl, buffer, (int)(room < INT32_MAX ? room : INT32_MAX));
    int error_number = errno;
    if (n > 0)
        return n;
    switch (SSL_get_error(tls->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        security->stream->stalled = true;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return NET_END;
    case SSL_ERROR_SYSCALL:
        trouble->error_number = error_number != 0 ? error_number : ECONNRESET;
        break;
    default:
        trouble->text = say("TLS", tls_why());
        break;
    }
    tls->broken = true;
    return NET_BROKEN;
}

static bool layer_pending(const struct net_security *security)
{
    return SSL_has_pending(((const struct tls_layer *)security)->ssl) == 1;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Where to read on in an iovec array. */
struct place {
    const struct iovec *iov;
    int left;
    size_t offset;
};

/* The next record's bytes: in place if the chunk is large enough, else gathered in `room`. They are
 * the same, or more, when the same output is offered again. */
static const uint8_t *next_record(struct place place, uint8_t room[RECORD_MAX], size_t *len)
{
    const uint8_t *first = (const uint8_t *)place.iov->iov_base + place.offset;
    size_t first_len = place.iov->iov_len - place.offset;
    if (first_len >= RECORD_MAX || place.left == 1) {
        *len = first_len < RECORD_MAX ? first_len : RECORD_MAX;
        return first;
    }
    *len = 0;
    while (place.left > 0 && *len < RECORD_MAX) {
        size_t n = place.iov->iov_len - place.offset;
        if (n > RECORD_MAX - *len)
            n = RECORD_MAX - *len;
        memcpy(room + *len, (const uint8_t *)place.iov->iov_base + place.offset, n);
        *len += n;
        place.iov++;
        place.left--;
        place.offset = 0;
    }
    return room;
}

static void advance(struct place *place, size_t n)
{
    while (place->left > 0 && n >= place->iov->iov_len - place->offset) {
        n -= place->iov->iov_len - place->offset;
        place->iov++;
        place->left--;
        place->offset = 0;
    }
    place->offset += n;
}

static ssize_t layer_write(struct net_security *security, const struct iovec *iov, int count)
{
    static _Thread_local uint8_t room[RECORD_MAX];
    struct tls_layer *tls = (struct tls_layer *)security;
    struct place place = {.iov = iov, .left = count};
    size_t total = 0;
    while (place.left > 0) {
        size_t len;
        const uint8_t *record = next_record(place, room, &len);
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(tls->ssl, record, (int)len);
        if (n > 0) {
            total += (size_t)n;
            advance(&place, (size_t)n);
            continue;
        }
        int error_number = errno;
        int error = SSL_get_error(tls->ssl, n);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
            break;
        ERR_clear_error();
        tls->broken = true;
        errno = error == SSL_ERROR_SYSCALL && error_number != 0 ? error_number : EPROTO;
        return -1;
    }
    return (ssize_t)total;
}

/* ---- beginning and ending -------------------------------------------------------------------- */

static bool layer_finish(struct net_security *security)
{
    struct tls_layer *tls = (struct tls_layer *)security;
    ERR_clear_error();
    int result = tls->broken ? 0 : SSL_shutdown(tls->ssl);
    bool later = result < 0 && SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    return !later;
}

static void layer_free(struct net_security **security)
{
    struct tls_layer *tls = (struct tls_layer *)*security;
    *security = NULL;
    end_handshake(tls);
    SSL_free(tls->ssl);
    free(tls);
}

static const struct net_layer tls_stream_layer = {
    .handshake = go_on,
    .read = layer_read,
    .write = layer_write,
    .pending = layer_pending,
    .finish = layer_finish,
    .free = layer_free,
};

bool tls_has_room(const struct pg_worker *worker, const struct tls_conf *conf)
{
    return workers[pg_worker_index(worker)].handshakes < (size_t)conf->handshakes;
}

/* Put the layer on the stream. `ssl` is given, and may be NULL: then memory is out, as if this
 * returns NULL. */
static struct tls_layer *put_on(struct net_stream *stream, SSL *ssl, const struct tls_conf *conf)
{
    struct tls_layer *tls = calloc(1, sizeof(*tls));
    if (!tls || !ssl || SSL_set_fd(ssl, stream->fd) != 1) {
        ERR_clear_error();
        SSL_free(ssl);
        free(tls);
        return NULL;
    }
    *tls = (struct tls_layer){.security.layer = &tls_stream_layer, .ssl = ssl, .conf = conf};
    net_stream_secure(stream, &tls->security);
    return tls;
}

bool tls_begin(struct net_stream *stream, const struct tls_conf *conf)
{
    SSL *ssl = SSL_new(tls_context(conf->set, stream->worker));
    if (ssl)
        SSL_set_accept_state(ssl);
    struct tls_layer *tls = put_on(stream, ssl, conf);
    if (!tls)
        return false;
    tls->shaking = true;
    worker_of(tls)->handshakes++;
    return true;
}

bool tls_begin_call(struct net_stream *stream, const struct pg_listener_conf *conf)
{
    if (!put_on(stream, tls_call_new(conf), NULL))
        return false;
    stream->stalled = true; /* the first word is ours */
    net_stream_watch(stream);
    return true;
}
