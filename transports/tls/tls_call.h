/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_CALL_H
#define PG_TLS_CALL_H

/* What a block that calls over TLS says, and the context that is made of it. */

#include <openssl/ssl.h>

#include "transport.h"

/* Values of the transport's keys in one block. */
struct tls_call_conf {
    const char *ca_file;
    bool verify;
    const char *server_name;
    const char *certificate, *key;
    int min_version; /* 0: TLS 1.2, 1: TLS 1.3 */
    SSL_CTX *ctx;    /* made by tls_prepare_call(); NULL before */
};

extern const struct pg_option tls_call_options[];

/* Entries of the transport's table; see transport.h. */
bool tls_prepare_call(const struct pg_listener_conf *conf, struct pg_error *error);
void tls_release_call(void *transport_conf);

/* A client's end for one connection, which sends the name of the server that it calls and accepts no
 * other one. NULL: out of memory. */
SSL *tls_call_new(const struct pg_listener_conf *conf);

#endif
