/* SPDX-License-Identifier: Apache-2.0 */

/* The opening handshake of RFC 6455, 4.2: an HTTP/1.1 GET with the headers that make it an upgrade.
 * Everything else is answered with a status and a line that says what was expected, for people who
 * come with a browser.
 *
 * Sub-protocols (4.2.2): the first name of the client's list that the frontend of the path has is
 * selected and echoed; several header lines are one list. A list without any such name is refused
 * with 400, as is one for a frontend that has no names. Without a list the connection is
 * taken, and the response names none: many embedded clients leave it out.
 *
 * No I/O, no allocation, any thread. */

#include "ws_upgrade.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY_LEN 24u
static const char key_suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* 1.3 */

/* What the headers said. */
struct request {
    struct pg_bytes method, target, version;
    struct pg_bytes key, origin;
    unsigned hosts, keys, versions, origins;
    bool upgrade, connection, version_13, chunk_or_body, malformed;
    bool offered; /* a list of sub-protocols */
    const char *subprotocol;
    const char *const *names; /* that may be selected */
};

static bool is_text(struct pg_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static bool is_name(struct pg_bytes b, const char *text)
{
    return b.len == strlen(text) && strncasecmp((const char *)b.data, text, b.len) == 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct pg_bytes trim(struct pg_bytes b)
{
    while (b.len > 0 && is_blank(b.data[0])) {
        b.data++;
        b.len--;
    }
    while (b.len > 0 && is_blank(b.data[b.len - 1]))
        b.len--;
    return b;
}

/* Cut off what stands before `separator` (all, if there is none). */
static struct pg_bytes cut(struct pg_bytes *rest, uint8_t separator)
{
    struct pg_bytes first = *rest;
    const uint8_t *at = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    size_t skip = at ? len + 1 : len;
    first.len = len;
    rest->data += skip;
    rest->len -= skip;
    return first;
}

static bool has_token(struct pg_bytes list, const char *token)
{
    while (list.len > 0)
        if (is_name(trim(cut(&list, ',')), token))
            return true;
    return false;
}

static void select_subprotocol(struct request *request, struct pg_bytes list)
{
    request->offered = true;
    while (list.len > 0 && !request->subprotocol) {
        struct pg_bytes name = trim(cut(&list, ','));
        for (const char *const *n = request->names; n && *n; n++)
            if (is_text(name, *n))
                request->subprotocol = *n;
    }
}

static void take_header(struct request *request, struct pg_bytes line)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    struct pg_bytes value = line, name = cut(&value, ':');
    if (!colon || name.len == 0 || is_blank(name.data[0]) || is_blank(name.data[name.len - 1])) {
        request->malformed = true; /* also a folded line (RFC 9112, 5.2) */
        return;
    }
    value = trim(value);
    if (is_name(name, "host")) {
        request->hosts++;
    } else if (is_name(name, "upgrade")) {
        request->upgrade = request->upgrade || has_token(value, "websocket");
    } else if (is_name(name, "connection")) {
        request->connection = request->connection || has_token(value, "upgrade");
    } else if (is_name(name, "sec-websocket-version")) {
        request->versions++;
        request->version_13 = is_text(value, "13");
    } else if (is_name(name, "sec-websocket-key")) {
        request->keys++;
        request->key = value;
    } else if (is_name(name, "origin")) {
        request->origins++;
        request->origin = value;
    } else if (is_name(name, "sec-websocket-protocol")) {
        select_subprotocol(request, value);
    } else if (is_name(name, "transfer-encoding") ||
               (is_name(name, "content-length") && !is_text(value, "0"))) {
        request->chunk_or_body = true;
    }
}

/* Sixteen bytes in base64 (4.1, 7). */
static bool is_key(struct pg_bytes key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.len != KEY_LEN || memcmp(key.data + 22, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 22; i++)
        if (key.data[i] == '\0' || !strchr(digits, key.data[i]))
            return false;
    return true;
}

static bool origin_allowed(struct pg_bytes origin, const struct pg_strings *origins)
{
    for (size_t i = 0; i < origins->count; i++)
        if (is_name(origin, origins->items[i]))
            return true;
    return origins->count == 0;
}

void ws_refuse(struct ws_upgrade *out, unsigned status, const char *phrase, const char *extra,
               const char *why)
{
    out->granted = false;
    out->status = status;
    out->why = why;
    int n = snprintf(out->response, sizeof(out->response),
                     "HTTP/1.1 %u %s\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
                     "Cache-Control: no-store\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n"
                     "%s\n",
                     status, phrase, extra, strlen(why) + 1, why);
    out->response_len = n > 0 && (size_t)n < sizeof(out->response) ? (size_t)n : 0;
}

static void grant(struct ws_upgrade *out, const struct request *request)
{
    uint8_t text[KEY_LEN + sizeof(key_suffix)], digest[20];
    char accept[32];
    memcpy(text, request->key.data, KEY_LEN);
    memcpy(text + KEY_LEN, key_suffix, sizeof(key_suffix));
    lws_SHA1(text, KEY_LEN + sizeof(key_suffix) - 1, digest);
    lws_b64_encode_string((const char *)digest, sizeof(digest), accept, sizeof(accept));
    bool named = request->subprotocol != NULL;
    int n = snprintf(out->response, sizeof(out->response),
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                     accept, named ? "Sec-WebSocket-Protocol: " : "",
                     named ? request->subprotocol : "", named ? "\r\n" : "");
    out->granted = true;
    out->status = 101;
    out->response_len = (size_t)n;
}

static void judge(struct ws_upgrade *out, const struct request *r, bool found,
                  const struct pg_strings *origins)
{
    if (r->malformed || r->hosts != 1 || !is_text(r->version, "HTTP/1.1"))
        ws_refuse(out, 400, "Bad Request", "", "This is not a request of HTTP/1.1.");
    else if (!is_text(r->method, "GET"))
        ws_refuse(out, 405, "Method Not Allowed", "Allow: GET\r\n", "Only GET is served here.");
    else if (!found)
        ws_refuse(out, 404, "Not Found", "", "No WebSocket endpoint has this path.");
    else if (!r->upgrade || !r->connection)
        ws_refuse(out, 426, "Upgrade Required", "Upgrade: websocket\r\n",
                  "This is a WebSocket endpoint: connect to it with a WebSocket client.");
    else if (r->versions != 1 || !r->version_13)
        ws_refuse(out, 426, "Upgrade Required", "Sec-WebSocket-Version: 13\r\n",
                  "Only version 13 of the WebSocket protocol is served.");
    else if (r->keys != 1 || !is_key(r->key) || r->chunk_or_body || r->origins > 1)
        ws_refuse(out, 400, "Bad Request", "", "A header of the WebSocket handshake is wrong.");
    else if (r->origins == 1 && !origin_allowed(r->origin, origins))
        ws_refuse(out, 403, "Forbidden", "", "This origin is not allowed.");
    else if (r->offered && !r->subprotocol)
        ws_refuse(out, 400, "Bad Request", "", "None of the sub-protocols offered is served here.");
    else
        grant(out, r);
}

/* Bytes up to and including the empty line; 0: it has not come. */
static size_t request_size(struct pg_bytes in)
{
    const uint8_t *end = in.len > 0 ? memmem(in.data, in.len, "\r\n\r\n", 4) : NULL;
    return end ? (size_t)(end - in.data) + 4 : 0;
}

void ws_upgrade(struct pg_bytes in, size_t size_max, const struct ws_route *routes,
                size_t route_count, const struct pg_strings *origins, struct ws_upgrade *out)
{
    out->used = request_size(in);
    if (out->used == 0) {
        if (in.len >= size_max)
            ws_refuse(out, 431, "Request Header Fields Too Large", "", "The request is too long.");
        out->used = in.len >= size_max ? in.len : 0;
        return;
    }
    struct request request = {0};
    struct pg_bytes rest = {.data = in.data, .len = out->used - 2};
    struct pg_bytes line = cut(&rest, '\n');
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    request.method = cut(&line, ' ');
    request.target = cut(&line, ' ');
    request.version = line;
    struct pg_bytes target = request.target, path = cut(&target, '?');
    size_t route = 0;
    while (route < route_count && !is_text(path, routes[route].path))
        route++;
    if (route < route_count)
        request.names = routes[route].subprotocols;
    while (rest.len > 0) {
        line = cut(&rest, '\n');
        if (line.len == 0 || line.data[line.len - 1] != '\r') {
            request.malformed = true;
            break;
        }
        line.len--;
        take_header(&request, line);
    }
    out->route = route;
    judge(out, &request, route < route_count, origins);
}
