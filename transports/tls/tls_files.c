/* SPDX-License-Identifier: Apache-2.0 */

/* The PEM files that blocks name: certificates with their keys, authorities, lists of revoked
 * certificates. What is wrong with one is said so that whoever wrote the block can mend it; OpenSSL
 * knows, at best, a word for it.
 *
 * Main thread; no state but that of OpenSSL's error queue. */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pemerr.h>
#include <openssl/sslerr.h>
#include <openssl/x509err.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tls_parts.h"

const char *tls_why(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        text = strerrordesc_np(ERR_GET_REASON(code));
    ERR_clear_error();
    return text ? text : "unknown error";
}

bool tls_fails(struct tls_trouble *trouble, const char *what, const char *why)
{
    *trouble = (struct tls_trouble){.what = what, .why = why};
    return false;
}

/* Whether that is what went wrong last, or on the way to it. */
static bool has_failed_by(int library, int reason)
{
    unsigned long code = ERR_peek_error();
    if (ERR_GET_LIB(code) == library && ERR_GET_REASON(code) == reason)
        return true;
    code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == library && ERR_GET_REASON(code) == reason;
}

/* Of a file that can be opened. */
static const char *why_not_pem(const char *expected)
{
    if (!has_failed_by(ERR_LIB_PEM, PEM_R_NO_START_LINE))
        return tls_why();
    ERR_clear_error();
    return expected;
}

bool tls_file_opens(const char *path, struct tls_trouble *trouble)
{
    struct stat status;
    FILE *file = fopen(path, "re");
    bool is_file = file && fstat(fileno(file), &status) == 0 && !S_ISDIR(status.st_mode);
    int error_number = errno;
    if (file)
        fclose(file);
    if (is_file)
        return true;
    if (file)
        return tls_fails(trouble, path, "it is a folder, expected a file");
    return tls_fails(trouble, path,
                     error_number == EACCES
                         ? "permission denied: the user that the gateway runs as has to be able to "
                           "read it"
                         : strerrordesc_np(error_number));
}

/* A key with a password would have OpenSSL ask on the terminal. */
static int no_password(char *buffer, int size, int writing, void *asked)
{
    (void)buffer;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static const char *why_not_certificate(void)
{
    if (has_failed_by(ERR_LIB_SSL, SSL_R_UNKNOWN_CERTIFICATE_TYPE))
        return "a key of a kind that TLS has no use for; " TLS_NO_SM;
    if (has_failed_by(ERR_LIB_SSL, SSL_R_EE_KEY_TOO_SMALL))
        return "its key is too short to be safe; make one of 2048 bits (RSA) or 256 (EC) at least";
    return why_not_pem("there is no certificate in it, expected one that begins with "
                       "-----BEGIN CERTIFICATE-----");
}

static const char *why_not_key(bool has_password)
{
    if (has_password)
        return "the key has a password, and nobody is there to type it: write it without one "
               "(openssl pkey -in ... -out ...), for the gateway's user alone to read";
    if (has_failed_by(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH) ||
        has_failed_by(ERR_LIB_X509, X509_R_KEY_TYPE_MISMATCH))
        return "the key is not that of the certificate: openssl pkey -pubout of the one and "
               "openssl "
               "x509 -pubkey of the other must print the same";
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) != ERR_LIB_PEM && !has_failed_by(ERR_LIB_OSSL_DECODER, ERR_R_UNSUPPORTED))
        return tls_why();
    return "there is no private key in it that can be read, expected one that begins with "
           "-----BEGIN PRIVATE KEY-----";
}

bool tls_load_certificate(SSL_CTX *ctx, const char *chain, const char *key,
                          struct tls_trouble *trouble)
{
    bool asked = false;
    ERR_clear_error();
    if (!tls_file_opens(chain, trouble) || !tls_file_opens(key, trouble))
        return false;
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    bool ok = SSL_CTX_use_certificate_chain_file(ctx, chain) == 1;
    if (!ok)
        tls_fails(trouble, chain, why_not_certificate());
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(ctx) != 1)
        ok = tls_fails(trouble, key, why_not_key(asked));
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    ERR_clear_error();
    return ok;
}

bool tls_load_authorities(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble)
{
    ERR_clear_error();
    if (!tls_file_opens(path, trouble))
        return false;
    if (X509_STORE_load_file(SSL_CTX_get_cert_store(ctx), path) == 1)
        return true;
    return tls_fails(trouble, path,
                     why_not_pem("there is no certificate of an authority in it, expected one that "
                                 "begins with -----BEGIN CERTIFICATE-----"));
}

bool tls_load_folder(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble)
{
    struct stat status;
    ERR_clear_error();
    if (stat(path, &status) != 0)
        return tls_fails(trouble, path, strerrordesc_np(errno));
    if (!S_ISDIR(status.st_mode))
        return tls_fails(trouble, path, "it is no folder; a file of authorities is for ca_file");
    return X509_STORE_load_path(SSL_CTX_get_cert_store(ctx), path) == 1 ||
           tls_fails(trouble, path, tls_why());
}

bool tls_load_revoked(SSL_CTX *ctx, const char *path, struct tls_trouble *trouble)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    ERR_clear_error();
    if (!tls_file_opens(path, trouble))
        return false;
    if (!lookup || X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) < 1)
        return tls_fails(
            trouble, path,
            has_failed_by(ERR_LIB_X509, X509_R_NO_CRL_FOUND)
                ? "there is no list of revoked certificates in it, expected one that "
                  "begins with -----BEGIN X509 CRL-----"
                : why_not_pem("there is no list of revoked certificates in it, "
                              "expected one that begins with -----BEGIN X509 CRL-----"));
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    return true;
}
