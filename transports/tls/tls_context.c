/* SPDX-License-Identifier: Apache-2.0 */

/* Contexts of TLS listeners, made out of configuration and files.
 *
 * Each load of the configuration makes a new set: everything is read, checked and ready before the
 * configuration that carries it is published, so a bad file leaves the old set at work, and no
 * configuration has a listener that verifies less than it says. The set lives as long as its
 * configuration, which every connection of its time refers to.
 *
 * A session that is resumed is not verified again. Its context therefore names what it was verified
 * by: the listener's mode and a digest of the CA and CRL files. With another CRL every client is
 * verified again.
 *
 * A listener with pre-shared keys has no certificate and speaks TLS 1.2 alone. In TLS 1.3 a key is
 * bound to one digest; where another suite is chosen the handshake falls back to the certificate
 * and succeeds with a wrong key.
 *
 * tls_prepare() and tls_release() are the main thread's; a set never changes. */

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "tls_parts.h"

#define ALPN_MAX 256u
/* OpenSSL's own choice, but AES with 128 bits and SHA-256 first: no attack is known that the longer key
 * would stop, and handshakes and bytes cost less. */
#define SUITES_12 "ECDHE+AESGCM+AES128:ALL:!COMPLEMENTOFDEFAULT:!eNULL"
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define PSK_SUITES                                                                                 \
    "ECDHE+PSK+AESGCM:ECDHE+PSK+CHACHA20:ECDHE-PSK-AES128-CBC-SHA256:PSK+AESGCM:PSK+CHACHA20"
#define SESSION_LIFE_S 7200 /* no longer than the keys of tickets are kept */

const char *const tls_verify_words[] = {"none", "optional", "require", NULL};
const char *const tls_identity_words[] = {"none", "cn", "san_dns", "fingerprint", "subject", NULL};
const char *const tls_version_words[] = {"1.2", "1.3", NULL};

struct tls_set {
    unsigned workers;
    size_t certificates; /* contexts per worker */
    SSL_CTX **contexts;  /* workers * certificates; that of a worker's first certificate leads */
    struct tls_psks *psks;
    FILE *keylog;                 /* for the secrets of connections; NULL: none */
    unsigned char alpn[ALPN_MAX]; /* as on the wire */
    unsigned alpn_len;
    struct server_names { /* one per worker, for the callback */
        SSL_CTX **contexts;
        size_t count;
    } * names;
};

SSL_CTX *tls_context(const struct tls_set *set, unsigned worker)
{
    return set->contexts[worker * set->certificates];
}

/* ---- values against each other --------------------------------------------------------------- */

/* OpenSSL has the algorithms of GB/T 32907 and its relatives, but no suite of TLS with them. */
static bool names_sm(const char *list)
{
    return strstr(list, "SM2") || strstr(list, "SM3") || strstr(list, "SM4") ||
           strstr(list, "sm2") || strstr(list, "sm3") || strstr(list, "sm4");
}

static const char *contradiction(const struct tls_conf *c)
{
    bool has_psk = c->psk_file[0] != '\0';
    bool has_ca = c->ca_file[0] != '\0' || c->ca_dir[0] != '\0';
    if (names_sm(c->ciphers))
        return "ciphers: " TLS_NO_SM "; choose others";
    if (names_sm(c->ciphersuites))
        return "ciphersuites: " TLS_NO_SM "; choose others";
    if (names_sm(c->curves))
        return "curves: " TLS_NO_SM "; choose others";
    if (has_psk && (c->certificates.count > 0 || c->verify != TLS_VERIFY_NONE))
        return "psk_file: a listener with pre-shared keys has no certificates and verifies none; "
               "make two listeners";
    if (has_psk && c->min_version > 0)
        return "min_version: a listener with pre-shared keys speaks TLS 1.2 alone";
    if (!has_psk && c->certificates.count == 0)
        return "certificates is not given, expected at least one file, or psk_file";
    if (c->keys.count > 0 && c->keys.count != c->certificates.count)
        return "keys: expected one file for each of certificates, or none at all";
    if (c->verify != TLS_VERIFY_NONE && !has_ca)
        return "verify: clients' certificates cannot be verified without ca_file or ca_dir";
    if (c->verify == TLS_VERIFY_NONE && (has_ca || c->crl_file[0] != '\0'))
        return "verify: ca_file, ca_dir and crl_file are of no use with none; expected optional or "
               "require";
    if (c->verify == TLS_VERIFY_NONE && c->identity != TLS_IDENTITY_NONE)
        return "identity: clients are not asked for a certificate; set verify";
    return NULL;
}

static bool fill_alpn(struct tls_set *set, const struct pg_strings *names)
{
    for (size_t i = 0; i < names->count; i++) {
        size_t len = strlen(names->items[i]);
        if (len == 0 || len > 255 || set->alpn_len + len + 1 > ALPN_MAX)
            return false;
        set->alpn[set->alpn_len++] = (unsigned char)len;
        memcpy(set->alpn + set->alpn_len, names->items[i], len);
        set->alpn_len += (unsigned)len;
    }
    return true;
}

/* ---- callbacks of handshakes ----------------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    (void)ssl;
    const struct tls_set *set = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, set->alpn, set->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const struct server_names *names = arg;
    const char *wanted = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (size_t i = 0; wanted && i < names->count; i++) {
        X509 *certificate = SSL_CTX_get0_certificate(names->contexts[i]);
        if (X509_check_host(certificate, wanted, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, names->contexts[i]);
            break;
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

static unsigned on_psk(SSL *ssl, const char *identity, unsigned char *out, unsigned room)
{
    const struct tls_set *set = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const uint8_t *key;
    size_t len = identity ? tls_psks_find(set->psks, identity, &key) : 0;
    if (len == 0 || len > room)
        return 0;
    memcpy(out, key, len);
    return (unsigned)len;
}

/* One line in one write, so that those of several workers do not mix. */
static void on_secret(const SSL *ssl, const char *line)
{
    const struct tls_set *set = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    flockfile(set->keylog);
    fputs(line, set->keylog);
    putc('\n', set->keylog);
    fflush(set->keylog);
    funlockfile(set->keylog);
}

/* For its owner alone. */
static bool open_keylog(struct tls_set *set, const struct pg_listener_conf *conf)
{
    const struct tls_conf *c = conf->transport_conf;
    if (c->keylog_file[0] == '\0')
        return true;
    int fd = open(c->keylog_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    set->keylog = fd >= 0 ? fdopen(fd, "a") : NULL;
    if (!set->keylog) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    PG_LOG(PG_WARN, "tls_secrets_logged", PG_F_TEXT("listener", conf->name),
           PG_F_TEXT("file", c->keylog_file));
    return true;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool hash_file(EVP_MD_CTX *digest, const char *path)
{
    if (path[0] == '\0')
        return true;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char bytes[4096];
    size_t n;
    bool ok = true;
    while (ok && (n = fread(bytes, 1, sizeof(bytes), file)) > 0)
        ok = EVP_DigestUpdate(digest, bytes, n) == 1;
    ok = ok && !ferror(file);
    fclose(file);
    return ok;
}

/* What sessions are bound to: see the beginning of the file. */
static bool bind_sessions(SSL_CTX *ctx, const struct pg_listener_conf *conf)
{
    const struct tls_conf *c = conf->transport_conf;
    unsigned char id[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool ok = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(digest, conf->name, strlen(conf->name) + 1) == 1 &&
              EVP_DigestUpdate(digest, &c->verify, sizeof(c->verify)) == 1 &&
              EVP_DigestUpdate(digest, &c->verify_dates, sizeof(c->verify_dates)) == 1 &&
              EVP_DigestUpdate(digest, c->ca_dir, strlen(c->ca_dir)) == 1 &&
              hash_file(digest, c->ca_file) && hash_file(digest, c->crl_file) &&
              EVP_DigestFinal_ex(digest, id, NULL) == 1 &&
              SSL_CTX_set_session_id_context(ctx, id, SSL_MAX_SID_CTX_LENGTH) == 1;
    EVP_MD_CTX_free(digest);
    return ok;
}

static bool load_trust(SSL_CTX *ctx, const struct tls_conf *c, struct tls_trouble *trouble)
{
    if (c->ca_file[0] != '\0') {
        if (!tls_load_authorities(ctx, c->ca_file, trouble))
            return false;
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(c->ca_file);
        if (!names)
            return tls_fails(trouble, c->ca_file, tls_why());
        SSL_CTX_set_client_CA_list(ctx, names);
    }
    if (c->ca_dir[0] != '\0' && !tls_load_folder(ctx, c->ca_dir, trouble))
        return false;
    if (c->crl_file[0] != '\0' && !tls_load_revoked(ctx, c->crl_file, trouble))
        return false;
    if (!c->verify_dates)
        X509_STORE_set_flags(SSL_CTX_get_cert_store(ctx), X509_V_FLAG_NO_CHECK_TIME);
    int mode = SSL_VERIFY_PEER;
    if (c->verify == TLS_VERIFY_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, tls_on_verify);
    return true;
}

static bool load_certificate(SSL_CTX *ctx, const struct tls_conf *c, size_t i,
                             struct tls_trouble *trouble)
{
    const char *chain = c->certificates.items[i];
    return tls_load_certificate(ctx, chain, c->keys.count > 0 ? c->keys.items[i] : chain, trouble);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static bool set_algorithms(SSL_CTX *ctx, const struct tls_conf *c, struct tls_trouble *trouble)
{
    const char *ciphers = c->ciphers, *suites = c->ciphersuites;
    if (ciphers[0] == '\0')
        ciphers = c->psk_file[0] != '\0' ? PSK_SUITES : SUITES_12;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        return tls_fails(trouble, "ciphers", tls_why());
    if (SSL_CTX_set_ciphersuites(ctx, suites[0] != '\0' ? suites : SUITES_13) != 1)
        return tls_fails(trouble, "ciphersuites", tls_why());
    if (c->curves[0] != '\0' && SSL_CTX_set1_groups_list(ctx, c->curves) != 1)
        return tls_fails(trouble, "curves",
                         "expected groups that OpenSSL knows, with colons between them, as in "
                         "X25519:P-256");
    return true;
}

static void set_manners(SSL_CTX *ctx, const struct tls_conf *c)
{
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* One read takes what is there, not a record's head, and then its body. */
    SSL_CTX_set_read_ahead(ctx, 1);
    /* Our order of suites counts, except for who wants ChaCha20 most, as devices do that have no
     * instructions for AES. An end without close_notify is an end: frontends' frames have lengths of
     * their own. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (c->ktls)
        SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, SESSION_LIFE_S);
    SSL_CTX_set_num_tickets(ctx, c->tickets ? 1 : 0);
    if (!c->tickets || c->psk_file[0] != '\0')
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
}

/* A context without a certificate. */
static SSL_CTX *new_context(struct tls_set *set, const struct pg_listener_conf *conf,
                            struct tls_trouble *trouble)
{
    const struct tls_conf *c = conf->transport_conf;
    if ((c->ca_file[0] != '\0' && !tls_file_opens(c->ca_file, trouble)) ||
        (c->crl_file[0] != '\0' && !tls_file_opens(c->crl_file, trouble)))
        return NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int oldest = c->min_version > 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    int newest = c->psk_file[0] != '\0' ? TLS1_2_VERSION : 0;
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, oldest) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, newest) != 1 || !bind_sessions(ctx, conf) ||
        !tls_tickets_use(ctx)) {
        tls_fails(trouble, conf->name, tls_why());
        SSL_CTX_free(ctx);
        return NULL;
    }
    set_manners(ctx, c);
    SSL_CTX_set_app_data(ctx, set);
    if (set->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, set);
    if (set->keylog)
        SSL_CTX_set_keylog_callback(ctx, on_secret);
    if (set->psks)
        SSL_CTX_set_psk_server_callback(ctx, on_psk);
    if (set_algorithms(ctx, c, trouble))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* The contexts of the first worker are loaded; the others' are like them, without reading files
 * that may change meanwhile. */
static bool copy_files(SSL_CTX *to, const SSL_CTX *from, const struct tls_conf *c)
{
    STACK_OF(X509) *chain = NULL;
    X509 *certificate = SSL_CTX_get0_certificate(from);
    if (certificate &&
        (SSL_CTX_get0_chain_certs((SSL_CTX *)(uintptr_t)from, &chain) != 1 ||
         SSL_CTX_use_cert_and_key(to, certificate, SSL_CTX_get0_privatekey(from), chain, 1) != 1))
        return false;
    if (c->verify == TLS_VERIFY_NONE)
        return true;
    SSL_CTX_set1_cert_store(to, SSL_CTX_get_cert_store(from));
    SSL_CTX_set_client_CA_list(to, SSL_dup_CA_list(SSL_CTX_get_client_CA_list(from)));
    SSL_CTX_set_verify(to, SSL_CTX_get_verify_mode(from), tls_on_verify);
    return true;
}

static bool fill_context(struct tls_set *set, const struct pg_listener_conf *conf, size_t worker,
                         size_t i, struct tls_trouble *trouble)
{
    const struct tls_conf *c = conf->transport_conf;
    SSL_CTX *ctx = new_context(set, conf, trouble);
    if (!ctx)
        return false;
    set->contexts[worker * set->certificates + i] = ctx;
    if (worker > 0)
        return copy_files(ctx, set->contexts[i], c) || tls_fails(trouble, conf->name, tls_why());
    if (c->certificates.count > 0 && !load_certificate(ctx, c, i, trouble))
        return false;
    return c->verify == TLS_VERIFY_NONE || load_trust(ctx, c, trouble);
}

static bool fill_set(struct tls_set *set, const struct pg_listener_conf *conf,
                     struct tls_trouble *trouble)
{
    for (size_t worker = 0; worker < set->workers; worker++) {
        for (size_t i = 0; i < set->certificates; i++)
            if (!fill_context(set, conf, worker, i, trouble))
                return false;
        struct server_names *names = &set->names[worker];
        names->contexts = &set->contexts[worker * set->certificates];
        names->count = set->certificates;
        if (names->count > 1) {
            SSL_CTX_set_tlsext_servername_callback(names->contexts[0], on_server_name);
            SSL_CTX_set_tlsext_servername_arg(names->contexts[0], names);
        }
    }
    return true;
}

static void free_set(struct tls_set **pointer)
{
    struct tls_set *set = *pointer;
    *pointer = NULL;
    if (!set)
        return;
    for (size_t i = 0; set->contexts && i < set->workers * set->certificates; i++)
        SSL_CTX_free(set->contexts[i]);
    tls_psks_free(&set->psks);
    if (set->keylog)
        fclose(set->keylog);
    free(set->contexts);
    free(set->names);
    free(set);
}

static bool refuse(const struct pg_listener_conf *conf, struct pg_error *error, const char *file,
                   const char *why)
{
    pg_error_set(error, "%s:%u: listener \"%.64s\": %.200s%s%.400s",
                 conf->file ? conf->file : "built-in", conf->line, conf->name, file ? file : "",
                 file ? ": " : "", why);
    return false;
}

bool tls_prepare(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error)
{
    struct tls_conf *c = conf->transport_conf;
    if (c->set) /* by another address of the same block */
        return true;
    const char *wrong = contradiction(c);
    if (wrong)
        return refuse(conf, error, NULL, wrong);
    ERR_clear_error();
    size_t certificates = c->certificates.count > 0 ? c->certificates.count : 1;
    struct tls_set *set = calloc(1, sizeof(*set));
    struct tls_trouble trouble = {.what = conf->name, .why = "out of memory"};
    struct pg_error why;
    if (!set)
        return refuse(conf, error, trouble.what, trouble.why);
    set->workers = workers;
    set->certificates = certificates;
    set->contexts = calloc(workers * certificates, sizeof(*set->contexts));
    set->names = calloc(workers, sizeof(*set->names));
    if (!open_keylog(set, conf))
        trouble = (struct tls_trouble){.what = "keylog_file", .why = strerrordesc_np(errno)};
    else if (!fill_alpn(set, &c->alpn))
        trouble =
            (struct tls_trouble){.what = "alpn", .why = "names are 1 to 255 bytes, 256 in all"};
    else if (c->psk_file[0] != '\0' &&
             !(set->psks = tls_psks_read(c->psk_file, (size_t)c->psk_key_min, &why)))
        trouble = (struct tls_trouble){.what = "psk_file", .why = why.text};
    else if (set->contexts && set->names && fill_set(set, conf, &trouble)) {
        c->set = set;
        return true;
    }
    refuse(conf, error, trouble.what, trouble.why);
    free_set(&set);
    return false;
}

void tls_release(void *transport_conf)
{
    struct tls_conf *c = transport_conf;
    free_set(&c->set);
}
