/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_PARTS_H
#define PG_TLS_PARTS_H

/* What the files of the TLS transport share: tls_context.c makes contexts out of configuration and
 * files, tls.c runs connections with them. */

#include <openssl/ssl.h>

#include "../net/net.h"

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRE };
enum tls_identity {
    TLS_IDENTITY_NONE,
    TLS_IDENTITY_CN,
    TLS_IDENTITY_SAN_DNS,
    TLS_IDENTITY_FINGERPRINT,
    TLS_IDENTITY_SUBJECT,
};

struct tls_set;

/* Values of the transport's keys in one listener block. */
struct tls_conf {
    struct net_conf net; /* first */
    struct pg_strings certificates, keys, alpn;
    const char *ca_file, *ca_dir, *crl_file, *psk_file, *keylog_file;
    const char *ciphers, *ciphersuites, *curves;
    int verify;      /* enum tls_verify */
    int identity;    /* enum tls_identity */
    int min_version; /* 0: TLS 1.2, 1: TLS 1.3 */
    bool tickets, ktls, verify_dates;
    int64_t psk_key_min; /* bytes */
    int64_t handshake_timeout_ms, handshakes;
    struct tls_set *set; /* made by tls_prepare(); NULL before */
};
extern const struct pg_option tls_options[];

/* Entries of the transport's table; see transport.h. Every worker has contexts of its own, one per
 * certificate: OpenSSL's locks on a shared one cost more than the memory. */
bool tls_prepare(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error);
void tls_release(void *transport_conf);
/* The context with which a handshake begins on that worker. Lent. */
SSL_CTX *tls_context(const struct tls_set *set, unsigned worker);

/* The last error of OpenSSL on this thread, for people; empties the queue. */
const char *tls_why(void);

/* ---- pre-shared keys (tls_psk.c) ---- */

struct tls_psks;
/* Read lines of identity:hexkey, with keys of at least `key_min` bytes. NULL with error->text. Main
 * thread. */
struct tls_psks *tls_psks_read(const char *path, size_t key_min, struct pg_error *error);
void tls_psks_free(struct tls_psks **psks);
/* The key of an identity (lent); its length, 0 if there is none. Any thread. */
size_t tls_psks_find(const struct tls_psks *psks, const char *identity, const uint8_t **key);

/* ---- session tickets (tls_ticket.c) ---- */

/* Have the context seal its tickets with the keys of this process, which outlive reloads, are
 * shared by all workers, and change with time. false: OpenSSL refused. */
bool tls_tickets_use(SSL_CTX *ctx);

/* ---- who is there (tls_identity.c) ---- */

#define TLS_IDENTITY_MAX 256u /* bytes; longer names are refused, not cut */

/* The peer's identity after a handshake that succeeded, into `out`: empty if it has none, because
 * none is asked for or it showed no certificate. false: its certificate has no such name, or one
 * that cannot be used. */
bool tls_identity_of(const SSL *ssl, const struct tls_conf *conf, char out[TLS_IDENTITY_MAX + 1]);

#endif
