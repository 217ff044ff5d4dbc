/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_NET_PROXY_H
#define PG_NET_PROXY_H

/* The header with which a proxy says whose connection it hands on: the PROXY protocol, versions 1
 * and 2 (haproxy.org, proxy-protocol.txt). A pure function of bytes; any thread. */

#include "net_address.h"

/* Longest header: one of version 2 with every TLV that proxies send and a chain of certificates.
 * Whoever may send one can make the gateway keep this much until it is whole. */
#define NET_PROXY_MAX 16384u
/* Longest common name of a certificate that is taken; RFC 5280 has an upper bound of 64 letters. */
#define NET_PROXY_CN_MAX 256u

enum net_proxy_accept { /* words of the option `proxy` */
                        NET_PROXY_OFF,
                        NET_PROXY_V1,
                        NET_PROXY_V2,
                        NET_PROXY_ANY,
};

enum net_proxy_result {
    NET_PROXY_MORE,  /* so far it is the beginning of a header */
    NET_PROXY_WHOLE, /* the header ends after `used` bytes */
    NET_PROXY_BAD,   /* it is none, or one that is not accepted: `why` */
};

struct net_proxy {
    size_t used;
    bool own;   /* the proxy's own connection, or one whose origin it does not know: the socket's
                 address is the client's */
    bool local; /* the proxy's own (version 2 alone says so): it asks whether we are there */
    struct net_address source; /* of the client, unless `own`; of no family if it came to the proxy
                                  through a Unix-domain socket */
    bool tls;                  /* the client has come to the proxy by TLS */
    struct pg_bytes tls_version, cipher; /* tls: in the proxy's words; data == NULL: it does not
                                            say. Lent from `head`, and anything may stand in them */
    bool verified;      /* the client has shown the proxy a certificate that is valid */
    struct pg_bytes cn; /* verified: its common name, in UTF-8 without control characters; data ==
                           NULL: it has none that can be used. Lent from `head` */
    const char *why;
};

/* Look at the first bytes of a connection. `accept` is not NET_PROXY_OFF. */
enum net_proxy_result net_proxy_parse(struct pg_bytes head, enum net_proxy_accept accept,
                                      struct net_proxy *out);

#endif
