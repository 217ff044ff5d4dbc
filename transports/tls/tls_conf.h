/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_CONF_H
#define PG_TLS_CONF_H

/* What a listener block of a transport with TLS says, and the contexts that are made of it. */

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

/* Entries of the transport's table; see transport.h. Every worker has contexts of its own, one per
 * certificate: OpenSSL's locks on a shared one cost more than the memory. */
bool tls_prepare(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error);
void tls_release(void *transport_conf);

extern const char *const tls_verify_words[], *const tls_identity_words[],
                                                 *const tls_version_words[];

/* The rows, those of struct net_conf among them, for a transport whose struct begins with a struct
 * tls_conf; `alpn_fallback` is the default of `alpn`. */
/* clang-format off */
#define TLS_OPTION_ROWS(alpn_fallback) \
    NET_OPTION_ROWS, \
    {.name = "certificates", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct tls_conf, certificates), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "PEM files, each with the certificate of this server and its chain behind it. The " \
                 "one that has the name that the client asks for is shown, else the first. " \
                 "Required, unless psk_file is given."}, \
    {.name = "keys", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct tls_conf, keys), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "PEM files with the private keys, one for each file of certificates, without a " \
                 "password. Not given: each file of certificates has its key in it."}, \
    {.name = "verify", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct tls_conf, verify), \
     .fallback = "none", \
     .choices = tls_verify_words, \
     .reloadable = true, \
     .sentence = "Whether clients are asked for a certificate. optional lets those without one in, " \
                 "but never one with a bad certificate; require refuses both."}, \
    {.name = "ca_file", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, ca_file), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "PEM file with the authorities that clients' certificates must come from."}, \
    {.name = "ca_dir", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, ca_dir), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "Folder of such authorities, named as openssl rehash does; read when needed."}, \
    {.name = "crl_file", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, crl_file), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "PEM file with lists of revoked certificates. Given, a client is refused if its " \
                 "authority has no valid list in it."}, \
    {.name = "identity", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct tls_conf, identity), \
     .fallback = "none", \
     .choices = tls_identity_words, \
     .reloadable = true, \
     .sentence = \
         "What of a client's certificate is its user name, in place of one that it sends; " \
         "no password is asked for then. cn is the subject's common name, san_dns the first " \
         "DNS name, fingerprint the SHA-256 of the certificate in hexadecimal digits, subject " \
         "the whole name as RFC 2253 writes it."}, \
    {.name = "psk_file", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, psk_file), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "File of pre-shared keys, a line identity:hexkey each. The listener then has no " \
                 "certificate and speaks TLS 1.2; the identity is the client's user name."}, \
    {.name = "psk_key_min", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct tls_conf, psk_key_min), \
     .fallback = "16", \
     .min = 4, \
     .max = 64, \
     .reloadable = true, \
     .sentence = "Shortest key that psk_file may have, in bytes; who can listen to a handshake can " \
                 "try out keys that are shorter than the default (RFC 9257, 6)."}, \
    {.name = "verify_dates", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct tls_conf, verify_dates), \
     .fallback = "yes", \
     .reloadable = true, \
     .sentence = "Whether a client's certificate must be within its dates. no is for devices that " \
                 "outlive theirs; everything else is verified all the same."}, \
    {.name = "keylog_file", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, keylog_file), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "File to which the secrets of every connection are added, with which a capture " \
                 "can be read (SSLKEYLOGFILE of Wireshark). To look for a fault, not to keep: who " \
                 "has it reads everything."}, \
    {.name = "min_version", \
     .type = PG_OPT_CHOICE, \
     .offset = offsetof(struct tls_conf, min_version), \
     .fallback = "1.2", \
     .choices = tls_version_words, \
     .reloadable = true, \
     .sentence = "Oldest version of TLS that is spoken; RFC 8996 retires those before 1.2."}, \
    {.name = "ciphers", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, ciphers), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "Cipher suites of TLS 1.2 as openssl-ciphers(1) writes them, best first; those of " \
                 "OpenSSL if not given, AES with 128 bits first."}, \
    {.name = "ciphersuites", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, ciphersuites), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "Cipher suites of TLS 1.3, best first, with colons between them; those of OpenSSL if " \
                 "not given, AES with 128 bits first. A client that would rather have ChaCha20 than " \
                 "all others gets it, if it is one of them."}, \
    {.name = "curves", \
     .type = PG_OPT_STRING, \
     .offset = offsetof(struct tls_conf, curves), \
     .fallback = "", \
     .reloadable = true, \
     .sentence = "Groups of the key exchange, best first, with colons between them (X25519:P-256); " \
                 "those of OpenSSL if not given."}, \
    {.name = "alpn", \
     .type = PG_OPT_LIST, \
     .offset = offsetof(struct tls_conf, alpn), \
     .fallback = (alpn_fallback), \
     .reloadable = true, \
     .sentence = \
         "Names of application protocols (RFC 7301) that are accepted, best first. Given, a " \
         "client that offers only others is refused; one that offers none is not."}, \
    {.name = "session_tickets", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct tls_conf, tickets), \
     .fallback = "yes", \
     .reloadable = true, \
     .sentence = "Whether clients may resume sessions, which makes reconnecting cheaper. The keys " \
                 "change every hour and are never stored."}, \
    {.name = "ktls", \
     .type = PG_OPT_BOOL, \
     .offset = offsetof(struct tls_conf, ktls), \
     .fallback = "no", \
     .reloadable = true, \
     .sentence = "Have the kernel encrypt where it can. Off, since few kernels have it loaded."}, \
    {.name = "handshake_timeout", \
     .type = PG_OPT_DURATION, \
     .offset = offsetof(struct tls_conf, handshake_timeout_ms), \
     .fallback = "10s", \
     .min = 100, \
     .max = 600000, \
     .reloadable = true, \
     .sentence = "Longest time from connecting to the end of the handshake."}, \
    {.name = "handshakes", \
     .type = PG_OPT_INT, \
     .offset = offsetof(struct tls_conf, handshakes), \
     .fallback = "1000", \
     .min = 1, \
     .max = 1000000, \
     .reloadable = true, \
     .sentence = \
         "Most handshakes under way at a time, per worker; a connection above it is closed. " \
         "One holds up to 50 KiB, and who connects needs to prove nothing for that."}
/* clang-format on */

#endif
