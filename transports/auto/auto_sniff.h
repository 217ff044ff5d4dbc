/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_AUTO_SNIFF_H
#define PG_AUTO_SNIFF_H

/* What somebody speaks, by the first bytes that he sends. Pure functions; any thread. */

#include "config.h"

/* By then it is known, or it is nothing that is served: every frontend and every method of HTTP can
 * be told in a dozen bytes, and who sends more must not make the gateway look at them again and
 * again. */
#define AUTO_SNIFF_MAX 256u

enum auto_kind {
    AUTO_MORE,     /* it cannot be told yet */
    AUTO_FRONTEND, /* a frontend's protocol */
    AUTO_HTTP,     /* a request of HTTP, which may ask for an upgrade */
    AUTO_POLICY,   /* the whole request for a socket-policy file */
    AUTO_NOTHING,  /* nothing of these */
};

/* Look at the beginning of a stream. The frontends of `list`, which all can tell their own, are
 * asked in their order, after the others; *frontend is the place of the one that says yes. Once
 * there is an answer other than AUTO_MORE, no bytes behind it change it. */
enum auto_kind auto_sniff(const struct pg_listener_conf *list, size_t count, struct pg_bytes head,
                          size_t *frontend);

/* Whether this can be the first byte of TLS (RFC 8446, 5.1): a record of the handshake. */
bool auto_is_tls(uint8_t first);

#endif
