/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_PARTS_H
#define PG_TLS_PARTS_H

/* What the files of the TLS transport share: tls_context.c makes contexts out of configuration and
 * files, tls_stream.c runs streams with them. */

#include <openssl/ssl.h>

#include "tls_conf.h"

/* The context with which a handshake begins on that worker. Lent. */
SSL_CTX *tls_context(const struct tls_set *set, unsigned worker);

#define TLS_NO_SM "OpenSSL has no TLS suites with SM2, SM3 or SM4 (GB/T 38636, RFC 8998)"

/* ---- files (tls_files.c) ---- */

/* The last error of OpenSSL on this thread, for people; empties the queue. */
const char *tls_why(void);
/* Why a block cannot be served, and what of it that is about: a file, or an option. Lent. */
struct tls_trouble {
    const char *what;
    const char *why;
};
/* Always false. */
bool tls_fails(struct tls_trouble *trouble, const char *what, const char *why);
/* Read PEM files into a context; false with *trouble. `chain` is a certificate and what stands
 * behind it, `key` its private key; authorities and lists of revoked certificates are what peers
 * are verified by. Main thread. */
bool tls_file_opens(const char *path, struct tls_trouble *trouble) PG_CHECKED;
bool tls_load_certificate(SSL_CTX *ctx, const char *chain, const char *key,
                          struct tls_trouble *trouble) PG_CHECKED;
bool tls_load_authorities(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble) PG_CHECKED;
bool tls_load_folder(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble) PG_CHECKED;
bool tls_load_revoked(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble) PG_CHECKED;

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

/* ---- what a handshake leaves behind (tls_forget.c) ---- */

/* Free what OpenSSL keeps of a server's handshake that has succeeded and of which everything has
 * been read. The connection goes on; but for OpenSSL its peer has no certificate any more. */
void tls_forget_handshake(SSL *ssl);

/* For the log of a handshake that has just failed on this thread: who the peer said it was, which
 * it has not proven. The subject of a bad certificate, or the identity of a pre-shared key; "" if
 * neither. Lent until the next. */
const char *tls_claim_of(const SSL *ssl);
/* The callback of contexts that verify, which makes a note for that. */
int tls_on_verify(int ok, X509_STORE_CTX *store);

#endif
