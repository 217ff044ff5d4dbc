/* SPDX-License-Identifier: Apache-2.0 */

/* The identity that a handshake has proven: a name in the peer's certificate (RFC 5280), the
 * certificate's fingerprint, or the identity of a pre-shared key (RFC 4279).
 *
 * Names are taken as they were signed: one with a NUL, which C would cut to somebody else's name,
 * or one that is not UTF-8 is no name. Runs on the connection's worker; no state. */

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls_parts.h"

static bool put(const ASN1_STRING *name, char out[TLS_IDENTITY_MAX + 1])
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, name);
    bool ok = len > 0 && (unsigned)len <= TLS_IDENTITY_MAX && !memchr(utf8, '\0', (size_t)len) &&
              pg_utf8_valid((struct pg_bytes){.data = utf8, .len = (size_t)len});
    if (ok) {
        memcpy(out, utf8, (size_t)len);
        out[len] = '\0';
    }
    if (len >= 0)
        OPENSSL_free(utf8);
    return ok;
}

static bool put_cn(const X509 *certificate, char out[TLS_IDENTITY_MAX + 1])
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    return at >= 0 && put(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), out);
}

/* The first name of a host. */
static bool put_san_dns(const X509 *certificate, char out[TLS_IDENTITY_MAX + 1])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false, ok = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        found = name->type == GEN_DNS;
        if (found)
            ok = put(name->d.dNSName, out);
    }
    GENERAL_NAMES_free(names);
    return ok;
}

/* As RFC 2253 writes it: CN=...,OU=...,O=... */
static bool put_subject(const X509 *certificate, char out[TLS_IDENTITY_MAX + 1])
{
    BIO *text = BIO_new(BIO_s_mem());
    char *data;
    bool ok =
        text && X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0,
                                   XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) > 0;
    long len = ok ? BIO_get_mem_data(text, &data) : 0;
    ok = len > 0 && len <= (long)TLS_IDENTITY_MAX && !memchr(data, '\0', (size_t)len) &&
         pg_utf8_valid((struct pg_bytes){.data = (const uint8_t *)data, .len = (size_t)len});
    if (ok) {
        memcpy(out, data, (size_t)len);
        out[len] = '\0';
    }
    BIO_free(text);
    return ok;
}

static bool put_fingerprint(const X509 *certificate, char out[TLS_IDENTITY_MAX + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
        return false;
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return true;
}

/* Only after the handshake: before that, the peer has claimed an identity and proven nothing. */
static bool put_psk(const SSL *ssl, char out[TLS_IDENTITY_MAX + 1])
{
    const char *identity = SSL_get_psk_identity(ssl);
    if (!identity || strlen(identity) > TLS_IDENTITY_MAX)
        return false;
    snprintf(out, TLS_IDENTITY_MAX + 1, "%s", identity);
    return true;
}

bool tls_identity_of(const SSL *ssl, const struct tls_conf *conf, char out[TLS_IDENTITY_MAX + 1])
{
    out[0] = '\0';
    if (conf->psk_file[0] != '\0')
        return put_psk(ssl, out);
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (!certificate)
        return true;
    switch ((enum tls_identity)conf->identity) {
    case TLS_IDENTITY_CN:
        return put_cn(certificate, out);
    case TLS_IDENTITY_SAN_DNS:
        return put_san_dns(certificate, out);
    case TLS_IDENTITY_FINGERPRINT:
        return put_fingerprint(certificate, out);
    case TLS_IDENTITY_SUBJECT:
        return put_subject(certificate, out);
    case TLS_IDENTITY_NONE:
        break;
    }
    return true;
}

/* Of the certificate that was found bad last. A handshake verifies in the call that then fails, so
 * that nobody else's comes between. */
static _Thread_local char refused[TLS_IDENTITY_MAX + 1];

int tls_on_verify(int ok, X509_STORE_CTX *store)
{
    const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!ok && (!certificate || !put_subject(certificate, refused)))
        refused[0] = '\0';
    return ok;
}

const char *tls_claim_of(const SSL *ssl)
{
    const char *identity = SSL_get_psk_identity(ssl);
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return refused;
    return identity && strlen(identity) <= TLS_IDENTITY_MAX ? identity : "";
}
