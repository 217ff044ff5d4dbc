/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_UPGRADE_H
#define PG_WS_UPGRADE_H

/* The opening handshake (RFC 6455, 4.2): a request in, a response out. */

#include "polygate.h"

#define WS_RESPONSE_MAX 1024u

/* What is served below one path. */
struct ws_route {
    const char *path;
    const char *const *subprotocols; /* up to NULL; a list of NULL: it has none */
};

struct ws_upgrade {
    size_t used;  /* bytes of the request; 0: it is not whole */
    bool granted; /* the response is a 101 */
    size_t route; /* granted: which */
    unsigned status;
    const char *why; /* refused: for people */
    size_t response_len;
    char response[WS_RESPONSE_MAX];
};

/* Judge the request at `in` (lent), which may be `size_max` bytes long. The origin must be among
 * `origins` if there are any; a request without one comes from no browser and passes. Any thread. */
void ws_upgrade(struct pg_bytes in, size_t size_max, const struct ws_route *routes,
                size_t route_count, const struct pg_strings *origins, struct ws_upgrade *out);

/* Make `out` a refusal. `extra` is a whole header line, or "". */
void ws_refuse(struct ws_upgrade *out, unsigned status, const char *phrase, const char *extra,
               const char *why);

#endif
