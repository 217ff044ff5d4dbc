/* SPDX-License-Identifier: Apache-2.0 */

/* TLS where the gateway calls: contexts of clients.
 *
 * The certificate of who answers has to come from an authority that is trusted, and to have the name, or
 * the numeric address, that was called (RFC 6125; RFC 9110, 4.3.4): a link that tells passwords to whoever
 * answers would be no better than a plain one.
 *
 * Threads: tls_prepare_call() and tls_release_call() are the main thread's; the rest is the worker's of the
 * connection. */

#include "tls_call.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls_parts.h"

#define HOST_ROOM 256u

#define AT(member) .offset = offsetof(struct tls_call_conf, member)

const struct pg_option tls_call_options[] = {
    {.name = "ca_file",
     .type = PG_OPT_STRING,
     AT(ca_file),
     .fallback = "",
     .reloadable = true,
     .sentence = "PEM file with the authorities that the certificate of who is called must come "
                 "from. Not given: those that this machine trusts."},
    {.name = "verify",
     .type = PG_OPT_BOOL,
     AT(verify),
     .fallback = "yes",
     .reloadable = true,
     .sentence = "Whether that certificate has to be valid and have the name that was called. no "
                 "lets anybody answer who can get between, passwords included: for trials."},
    {.name = "server_name",
     .type = PG_OPT_STRING,
     AT(server_name),
     .fallback = "",
     .reloadable = true,
     .sentence = "The name that the certificate must have, and that is asked for (SNI). Not given: "
                 "the host of to."},
    {.name = "certificate",
     .type = PG_OPT_STRING,
     AT(certificate),
     .fallback = "",
     .reloadable = true,
     .sentence =
         "PEM file with a certificate of this gateway, and its chain behind it, for who asks "
         "for one."},
    {.name = "key",
     .type = PG_OPT_STRING,
     AT(key),
     .fallback = "",
     .reloadable = true,
     .sentence =
         "PEM file with its private key, without a password. Not given: it is in the file of "
         "the certificate."},
    {.name = "min_version",
     .type = PG_OPT_CHOICE,
     AT(min_version),
     .fallback = "1.2",
     .choices = tls_version_words,
     .reloadable = true,
     .sentence = "Oldest version of TLS that is spoken."},
    {.name = NULL},
};

static bool load_trust(SSL_CTX *ctx, const struct tls_call_conf *c, struct tls_trouble *trouble)
{
    if (!c->verify)
        return true;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_on_verify);
    if (c->ca_file[0] != '\0')
        return tls_load_authorities(ctx, c->ca_file, trouble);
    return SSL_CTX_set_default_verify_paths(ctx) == 1 ||
           tls_fails(trouble, "the authorities of this machine", tls_why());
}

static bool load_certificate(SSL_CTX *ctx, const struct tls_call_conf *c,
                             struct tls_trouble *trouble)
{
    const char *key = c->key[0] != '\0' ? c->key : c->certificate;
    return c->certificate[0] == '\0' || tls_load_certificate(ctx, c->certificate, key, trouble);
}

static bool fill_context(SSL_CTX *ctx, const struct tls_call_conf *c, struct tls_trouble *trouble)
{
    int oldest = c->min_version > 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, oldest) != 1)
        return tls_fails(trouble, "TLS", tls_why());
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return load_trust(ctx, c, trouble) && load_certificate(ctx, c, trouble);
}

bool tls_prepare_call(const struct pg_listener_conf *conf, struct pg_error *error)
{
    struct tls_call_conf *c = conf->transport_conf;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct tls_trouble trouble;
    if (!fill_context(ctx, c, &trouble)) {
        pg_error_set(error, "%s:%u: %s \"%.64s\": %.200s: %.400s", conf->file, conf->line,
                     conf->protocol->name, conf->name, trouble.what, trouble.why);
        SSL_CTX_free(ctx);
        return false;
    }
    SSL_CTX_free(c->ctx);
    c->ctx = ctx;
    return true;
}

void tls_release_call(void *transport_conf)
{
    struct tls_call_conf *c = transport_conf;
    SSL_CTX_free(c->ctx);
    c->ctx = NULL;
}

/* The name that was called, without brackets and port; "" if it is none. */
static void host_of(const struct pg_listener_conf *conf, char host[HOST_ROOM])
{
    const struct tls_call_conf *c = conf->transport_conf;
    const char *name = c->server_name[0] != '\0' ? c->server_name : conf->call->to;
    size_t len = strlen(name);
    const char *colon = strrchr(name, ':');
    if (name == conf->call->to && colon)
        len = (size_t)(colon - name);
    if (len > 1 && name[0] == '[') {
        name++;
        len -= 2;
    }
    if (len >= HOST_ROOM || strncmp(name, "unix:", 5) == 0)
        len = 0;
    memcpy(host, name, len);
    host[len] = '\0';
}

static bool is_address(const char *host)
{
    struct in6_addr any;
    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

SSL *tls_call_new(const struct pg_listener_conf *conf)
{
    const struct tls_call_conf *c = conf->transport_conf;
    char host[HOST_ROOM];
    SSL *ssl = SSL_new(c->ctx);
    bool ok = ssl != NULL;
    host_of(conf, host);
    if (ok && host[0] != '\0' && is_address(host))
        ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    else if (ok && host[0] != '\0')
        ok = SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
    if (ok) {
        SSL_set_connect_state(ssl);
        return ssl;
    }
    ERR_clear_error();
    SSL_free(ssl);
    return NULL;
}
