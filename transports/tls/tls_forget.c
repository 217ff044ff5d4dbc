/* SPDX-License-Identifier: Apache-2.0 */

/* What OpenSSL keeps of a handshake for as long as the connection lives, though nobody asks for it any
 * more: the client's certificates, decoded, which are 40 % of what an idle connection holds, and both
 * keys of the key exchange of TLS 1.3, of which one is secret and better gone (RFC 8446, E.1).
 *
 * OpenSSL has no call for that. These ways are of its public interface, and sound in what 3.0 does; how
 * sessions are decoded has not changed since. The tests show it of the version that is built with:
 *
 * - The chains, of which it lends the stacks, are emptied; the stacks stay its own. Certificates of our
 *   authorities, which stand in them too, only lose a reference.
 * - The session is the connection's own: no cache has it, and a ticket, which is sent by then, is a copy
 *   of it. It lets its certificate go when it is decoded anew, in place, out of a session that has only
 *   the same version and suite. All that it had for resumption goes with it, the master secret of TLS 1.2
 *   too, which nothing uses any more: renegotiation is refused, and nobody exports keys. Records, alerts
 *   and key updates (RFC 8446, 4.6.3) have what they need in the SSL, except for the length of fragments
 *   that a client with little memory has asked for (RFC 6066, 4). Such a client's session stays whole.
 * - A key that is given another type is emptied.
 *
 * SSL_set_session() with a new session is no way: of a context for several versions it begins the
 * protocol's state anew, keys of the connection included.
 *
 * Runs on the connection's worker; no state. Short of memory, more stays. */

#include <openssl/err.h>
#include <openssl/evp.h>

#include "tls_parts.h"

#define SESSION_ROOM 256 /* five times of what an empty one takes */

static void drop_chain(STACK_OF(X509) * chain)
{
    while (sk_X509_num(chain) > 0)
        X509_free(sk_X509_pop(chain));
}

static void blank_session(SSL *ssl)
{
    unsigned char room[SESSION_ROOM], *end = room;
    const unsigned char *at = room;
    SSL_SESSION *session = SSL_get_session(ssl), *blank = SSL_SESSION_new();
    if (blank && SSL_SESSION_set_protocol_version(blank, SSL_version(ssl)) == 1 &&
        SSL_SESSION_set_cipher(blank, SSL_get_current_cipher(ssl)) == 1 &&
        i2d_SSL_SESSION(blank, NULL) <= SESSION_ROOM && i2d_SSL_SESSION(blank, &end) > 0)
        d2i_SSL_SESSION(&session, &at, end - room);
    SSL_SESSION_free(blank);
}

/* `key` is our reference to it, which goes too. */
static void drop_key(EVP_PKEY *key)
{
    EVP_PKEY_set_type(key, EVP_PKEY_X25519);
    EVP_PKEY_free(key);
}

void tls_forget_handshake(SSL *ssl)
{
    EVP_PKEY *key;
    if (SSL_get_tmp_key(ssl, &key) == 1)
        drop_key(key);
    if (SSL_get_peer_tmp_key(ssl, &key) == 1)
        drop_key(key);
    if (SSL_get0_peer_certificate(ssl)) {
        drop_chain(SSL_get0_verified_chain(ssl));
        drop_chain(SSL_get_peer_cert_chain(ssl));
        if (SSL_SESSION_get_max_fragment_length(SSL_get0_session(ssl)) ==
            TLSEXT_max_fragment_length_DISABLED)
            blank_session(ssl);
    }
    ERR_clear_error();
}
