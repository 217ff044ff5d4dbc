/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WS_UPGRADE_H
#define PG_WS_UPGRADE_H

/* The opening handshake (RFC 6455, 4.2): a request in, a response out. */

#include <http_parser.h>

#include "polygate.h"
#include "ws_deflate.h"

#define WS_RESPONSE_MAX 1024u
#define WS_KEY_LEN      24u /* of Sec-WebSocket-Key: 16 bytes in base64 */

/* What is served below one path. */
struct ws_route {
    const char *path;
    const char *const *subprotocols; /* up to NULL; a list of NULL: it has none */
};

/* What a request is judged by; the same for the whole of it. */
struct ws_service {
    const struct ws_route *routes;
    size_t route_count;
    struct pg_strings origins; /* that may connect; empty: all */
    size_t size_max;           /* bytes of the longest request */
    struct ws_deflate_conf deflate;
};

struct ws_answer {
    size_t used;                     /* bytes of the request */
    bool granted;                    /* the response is a 101 */
    size_t route;                    /* granted: which */
    struct ws_deflate_terms deflate; /* granted: what can be agreed on */
    unsigned status;
    const char *why; /* refused: for people */
    size_t response_len;
    char response[WS_RESPONSE_MAX];
};

/* A request as far as it has come; all zero at its start. */
struct ws_request {
    struct http_parser parser;
    const struct ws_service *service;
    const char *base; /* during a call: where the request begins */
    struct ws_span {
        uint32_t at, len;
    } target, name, value; /* the present ones, as places in the request */
    size_t parsed;         /* bytes that the parser has seen */
    size_t route;          /* route_count: there is none */
    const char *subprotocol;
    struct ws_deflate_terms deflate;
    char key[WS_KEY_LEN];
    unsigned hosts, keys, versions, origins;
    bool has_begun, has_route, in_value, is_whole;
    bool
        malformed; /* a header over several lines (RFC 9112, 5.2), or a blank in front of a colon (5.1) */
    bool has_body; /* of a length that is told as it comes */
    bool websocket, version_13, key_is_good, origin_is_good, extensions_are_bad;
    bool offered; /* a list of sub-protocols */
};

/* Read on in the request at `in` (lent), which is all of it that has come, and what is behind it. The
 * bytes may be elsewhere at each call. false: more is needed. The origin must be among the service's if
 * there are any; a request without one comes from no browser and passes. Any thread. */
bool ws_request_read(struct ws_request *request, const struct ws_service *service,
                     struct pg_bytes in, struct ws_answer *answer);
/* Make it a refusal, with this status and a line for people. `extra` is a whole header line, or "". */
void ws_refuse(struct ws_answer *out, unsigned status, const char *extra, const char *why);
/* Have a granted answer say that its terms of compression are agreed on. */
void ws_answer_deflate(struct ws_answer *answer);

#endif
