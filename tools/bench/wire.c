/* SPDX-License-Identifier: Apache-2.0 */

/* TLS (by OpenSSL) and WebSocket (RFC 6455) as a client of load needs them: see wire.h. What a
 * broker may not send, or does not, is an error. */

#include "wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RESPONSE_MAX 1024

static SSL_CTX *context;
static bool has_websocket;
static SSL_SESSION *kept; /* to be resumed */
static bool resumes;
static unsigned resumed;

/* Every certificate will do, and nobody looks for a chain: the load should cost less than the broker. */
static int trust_all(X509_STORE_CTX *verification, void *argument)
{
    (void)verification, (void)argument;
    return 1;
}

/* 1: the session is ours. With a cache, even one that holds nothing, OpenSSL would have it resumed once. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    if (kept)
        return 0;
    kept = session;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return 1;
}

static bool fill_context(const struct wire_setup *setup)
{
    int version = setup->tls_version == 12   ? TLS1_2_VERSION
                  : setup->tls_version == 13 ? TLS1_3_VERSION
                                             : 0;
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(context, trust_all, NULL);
    SSL_CTX_set_read_ahead(context, 1);
    resumes = setup->resume;
    if (resumes) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    }
    return SSL_CTX_set_max_proto_version(context, version) == 1 &&
           (!setup->certificate ||
            (SSL_CTX_use_certificate_chain_file(context, setup->certificate) == 1 &&
             SSL_CTX_use_PrivateKey_file(context, setup->certificate, SSL_FILETYPE_PEM) == 1));
}

void wire_setup(const struct wire_setup *setup)
{
    has_websocket = setup->websocket;
    if (!setup->tls)
        return;
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !fill_context(setup)) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        fprintf(stderr, "polygate-bench: TLS%s%s: %s\n", setup->certificate ? ", " : "",
                setup->certificate ? setup->certificate : "", why ? why : "unknown error");
        exit(2);
    }
}

bool wire_can_resume(void)
{
    return kept && SSL_SESSION_is_resumable(kept) == 1;
}

unsigned wire_resumed(void)
{
    return resumed;
}

void wire_close(struct wire *wire)
{
    SSL_free(wire->ssl);
    wire->ssl = NULL;
}

/* ---- bytes below WebSocket ------------------------------------------------------------------- */

/* The result of SSL_read or SSL_write as that of a system call. */
static ssize_t judged(SSL *ssl, int n)
{
    if (n > 0)
        return n;
    int error = SSL_get_error(ssl, n);
    ERR_clear_error();
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
}

static ssize_t raw_recv(struct wire *wire, int fd, uint8_t *buffer, size_t room)
{
    if (!wire->ssl)
        return recv(fd, buffer, room, 0);
    size_t total = 0;
    ssize_t n = 0;
    while (total < room &&
           (n = judged(wire->ssl, SSL_read(wire->ssl, buffer + total, (int)(room - total)))) > 0)
        total += (size_t)n;
    wire->full = total == room;
    return total > 0 ? (ssize_t)total : n;
}

ssize_t wire_send(struct wire *wire, int fd, const uint8_t *data, size_t len)
{
    if (!wire->ssl)
        return send(fd, data, len, MSG_NOSIGNAL);
    size_t total = 0;
    ssize_t n = 0;
    while (total < len &&
           (n = judged(wire->ssl, SSL_write(wire->ssl, data + total, (int)(len - total)))) > 0)
        total += (size_t)n;
    return total > 0 ? (ssize_t)total : n;
}

bool wire_pending(const struct wire *wire)
{
    return wire->full;
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum wire_step secure(struct wire *wire, int fd)
{
    if (!wire->ssl) {
        wire->ssl = SSL_new(context);
        if (!wire->ssl || SSL_set_fd(wire->ssl, fd) != 1 ||
            (resumes && kept && SSL_set_session(wire->ssl, kept) != 1))
            return WIRE_FAILED;
    }
    int result = SSL_connect(wire->ssl);
    if (result == 1) {
        resumed += SSL_session_reused(wire->ssl) ? 1 : 0;
        return WIRE_OPEN;
    }
    int error = SSL_get_error(wire->ssl, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ)
        return WIRE_READ;
    return error == SSL_ERROR_WANT_WRITE ? WIRE_WRITE : WIRE_FAILED;
}

/* The broker says nothing behind its response before it is asked, so the response is all there
 * is. */
static enum wire_step upgrade(struct wire *wire, int fd)
{
    static const char request[] =
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: cG9seWdhdGUtYmVuY2ggMA==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    uint8_t response[RESPONSE_MAX];
    if (!wire->asked) {
        wire->asked = wire_send(wire, fd, (const uint8_t *)request, sizeof(request) - 1) ==
                      (ssize_t)sizeof(request) - 1;
        return wire->asked ? WIRE_READ : WIRE_FAILED;
    }
    ssize_t n = raw_recv(wire, fd, response, sizeof(response));
    if (n < 0 && errno == EAGAIN)
        return WIRE_READ;
    bool granted = n > 16 && memcmp(response, "HTTP/1.1 101 ", 13) == 0 &&
                   memcmp(response + n - 4, "\r\n\r\n", 4) == 0;
    return granted ? WIRE_OPEN : WIRE_FAILED;
}

enum wire_step wire_open(struct wire *wire, int fd)
{
    if (context && !wire->secured) {
        enum wire_step step = secure(wire, fd);
        wire->secured = step == WIRE_OPEN;
        if (!wire->secured)
            return step;
    }
    return has_websocket ? upgrade(wire, fd) : WIRE_OPEN;
}

/* ---- frames ---------------------------------------------------------------------------------- */

size_t wire_head(uint8_t out[WIRE_HEAD_MAX], size_t len)
{
    if (!has_websocket)
        return 0;
    size_t width = len < 126 ? 0 : (len <= UINT16_MAX ? 2 : 8);
    out[0] = 0x82;
    out[1] = (uint8_t)(0x80u | (width == 0 ? len : (width == 2 ? 126u : 127u)));
    for (size_t i = 0; i < width; i++)
        out[2 + i] = (uint8_t)(len >> (8 * (width - 1 - i)));
    memset(out + 2 + width, 0, 4); /* the mask */
    return 6 + width;
}

/* One more byte of a header; false: it is not that of a whole binary message. */
static bool take_head(struct wire *wire, uint8_t byte)
{
    wire->head[wire->head_len++] = byte;
    if (wire->head_len < 2)
        return byte == 0x82;
    size_t width = wire->head[1] < 126 ? 0 : (wire->head[1] == 126 ? 2 : 8);
    if (wire->head_len < 2 + width)
        return wire->head[1] < 0x80;
    wire->left = width == 0 ? wire->head[1] : 0;
    for (size_t i = 0; i < width; i++)
        wire->left = wire->left << 8 | wire->head[2 + i];
    wire->head_len = 0;
    return true;
}

/* Take the headers off in place: the bytes of payload, or -1. */
static ssize_t take_frames(struct wire *wire, uint8_t *buffer, size_t len)
{
    size_t payload = 0;
    for (size_t at = 0; at < len;) {
        if (wire->left == 0) {
            if (!take_head(wire, buffer[at++])) {
                errno = EPROTO;
                return -1;
            }
            continue;
        }
        size_t n = len - at < wire->left ? len - at : wire->left;
        memmove(buffer + payload, buffer + at, n);
        payload += n;
        at += n;
        wire->left -= n;
    }
    if (payload == 0)
        errno = EAGAIN;
    return payload > 0 ? (ssize_t)payload : -1;
}

ssize_t wire_recv(struct wire *wire, int fd, uint8_t *buffer, size_t room)
{
    ssize_t n = raw_recv(wire, fd, buffer, room);
    return n > 0 && has_websocket ? take_frames(wire, buffer, (size_t)n) : n;
}
