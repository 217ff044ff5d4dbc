/* SPDX-License-Identifier: Apache-2.0 */

/* The opening handshake of RFC 6455, 4.2: an HTTP/1.1 GET with the headers that make it an upgrade.
 * Everything else is answered with a status and a line that says what was expected, for people who
 * come with a browser.
 *
 * http-parser reads the request, in whatever pieces it comes, and finds out at the first wrong byte
 * what is no HTTP. What it finds are places in the request: the buffer grows meanwhile and moves.
 *
 * Sub-protocols (4.2.2): the first name of the client's list that the frontend of the path has is
 * selected and echoed; several header lines are one list. A list without any such name is refused
 * with 400, as is one for a frontend that has no names. Without a list the connection is
 * taken, and the response names none: many embedded clients leave it out.
 *
 * No I/O, no allocation, any thread. */

#include "ws_upgrade.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "ws_text.h"

static const char key_suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* 1.3 */

/* ---- headers --------------------------------------------------------------------------------- */

static void select_subprotocol(struct ws_request *request, struct pg_bytes list)
{
    const struct ws_service *service = request->service;
    const char *const *names =
        request->route < service->route_count ? service->routes[request->route].subprotocols : NULL;
    request->offered = true;
    while (list.len > 0 && !request->subprotocol) {
        struct pg_bytes name = ws_trim(ws_cut(&list, ','));
        for (const char *const *n = names; n && *n; n++)
            if (ws_is_text(name, *n))
                request->subprotocol = *n;
    }
}

/* Sixteen bytes in base64 (4.1, 7). */
static bool is_key(struct pg_bytes key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.len != WS_KEY_LEN || memcmp(key.data + 22, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 22; i++)
        if (key.data[i] == '\0' || !strchr(digits, key.data[i]))
            return false;
    return true;
}

static bool origin_allowed(struct pg_bytes origin, const struct pg_strings *origins)
{
    for (size_t i = 0; i < origins->count; i++)
        if (ws_is_name(origin, origins->items[i]))
            return true;
    return origins->count == 0;
}

static struct pg_bytes at(const struct ws_request *request, struct ws_span span)
{
    return (struct pg_bytes){.data = (const uint8_t *)request->base + span.at, .len = span.len};
}

/* One extension with its parameters, or nothing (RFC 6455, 9.1): in quotes, too, a value is a token. */
static bool is_extension(struct pg_bytes text)
{
    bool is_right = text.len == 0 || ws_is_token(ws_trim(ws_cut(&text, ';')));
    while (is_right && text.len > 0) {
        struct pg_bytes value = ws_trim(ws_cut(&text, ';'));
        bool has_value = value.len > 0 && memchr(value.data, '=', value.len);
        is_right = ws_is_token(ws_trim(ws_cut(&value, '=')));
        value = ws_trim(value);
        if (value.len > 1 && value.data[0] == '"' && value.data[value.len - 1] == '"')
            value = (struct pg_bytes){.data = value.data + 1, .len = value.len - 2};
        is_right = is_right && (!has_value || ws_is_token(value));
    }
    return is_right;
}

static void take_extensions(struct ws_request *request, struct pg_bytes list)
{
    if (!request->deflate.on)
        (void)ws_deflate_choose(list, &request->service->deflate, &request->deflate);
    while (list.len > 0)
        if (!is_extension(ws_trim(ws_cut(&list, ','))))
            request->extensions_are_bad = true;
}

/* A header is whole. */
static void take_header(struct ws_request *request)
{
    struct pg_bytes name = at(request, request->name), value = ws_trim(at(request, request->value));
    request->malformed = request->malformed || !ws_is_token(name);
    if (ws_is_name(name, "host")) {
        request->hosts++;
    } else if (ws_is_name(name, "transfer-encoding")) {
        request->has_body = true;
    } else if (ws_is_name(name, "upgrade")) {
        request->websocket = request->websocket || ws_has_token(value, "websocket");
    } else if (ws_is_name(name, "sec-websocket-version")) {
        request->versions++;
        request->version_13 = ws_is_text(value, "13");
    } else if (ws_is_name(name, "sec-websocket-key")) {
        request->keys++;
        request->key_is_good = is_key(value);
        if (request->key_is_good)
            memcpy(request->key, value.data, WS_KEY_LEN);
    } else if (ws_is_name(name, "origin")) {
        request->origins++;
        request->origin_is_good = origin_allowed(value, &request->service->origins);
    } else if (ws_is_name(name, "sec-websocket-extensions")) {
        take_extensions(request, value);
    } else if (ws_is_name(name, "sec-websocket-protocol")) {
        select_subprotocol(request, value);
    }
}

/* The target is whole: find the route. In the absolute form (RFC 9112, 3.2.2), too, its path counts
 * alone. */
static void take_target(struct ws_request *request)
{
    const struct ws_service *service = request->service;
    struct pg_bytes target = at(request, request->target);
    struct http_parser_url url;
    http_parser_url_init(&url);
    request->has_route = true;
    request->route = service->route_count;
    if (target.len > UINT16_MAX ||
        http_parser_parse_url((const char *)target.data, target.len, 0, &url) != 0 ||
        !(url.field_set & (1u << UF_PATH)))
        return;
    struct pg_bytes path = {.data = target.data + url.field_data[UF_PATH].off,
                            .len = url.field_data[UF_PATH].len};
    request->route = 0;
    while (request->route < service->route_count &&
           !ws_is_text(path, service->routes[request->route].path))
        request->route++;
}

/* ---- what the parser finds ------------------------------------------------------------------- */

/* `len` more bytes at `text` belong to a span. */
static void extend(struct ws_request *request, struct ws_span *span, const char *text, size_t len)
{
    uint32_t place = (uint32_t)(text - request->base);
    if (span->len == 0)
        span->at = place;
    request->malformed = request->malformed || place != span->at + span->len;
    span->len += (uint32_t)len;
}

static int on_url(http_parser *parser, const char *text, size_t len)
{
    struct ws_request *request = parser->data;
    extend(request, &request->target, text, len);
    return 0;
}

static void end_header(struct ws_request *request)
{
    if (!request->has_route)
        take_target(request);
    if (request->in_value)
        take_header(request);
    request->in_value = false;
    request->name.len = 0;
    request->value.len = 0;
}

static int on_name(http_parser *parser, const char *text, size_t len)
{
    struct ws_request *request = parser->data;
    if (request->in_value || !request->has_route)
        end_header(request);
    extend(request, &request->name, text, len);
    return 0;
}

static int on_value(http_parser *parser, const char *text, size_t len)
{
    struct ws_request *request = parser->data;
    request->in_value = true;
    extend(request, &request->value, text, len);
    return 0;
}

static int on_headers(http_parser *parser)
{
    end_header(parser->data);
    return 1; /* whatever they say of a body, it is not read */
}

static int on_whole(http_parser *parser)
{
    struct ws_request *request = parser->data;
    request->is_whole = true;
    http_parser_pause(parser, 1); /* what comes behind it is none of the parser's business */
    return 0;
}

static const struct http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_headers,
    .on_message_complete = on_whole,
};

/* ---- answers --------------------------------------------------------------------------------- */

void ws_refuse(struct ws_answer *out, unsigned status, const char *extra, const char *why)
{
    out->granted = false;
    out->status = status;
    out->why = why;
    int n =
        snprintf(out->response, sizeof(out->response),
                 "HTTP/1.1 %u %s\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
                 "Cache-Control: no-store\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n"
                 "%s\n",
                 status, http_status_str((enum http_status)status), extra, strlen(why) + 1, why);
    out->response_len = (size_t)n;
}

static void grant(struct ws_answer *out, const struct ws_request *request)
{
    uint8_t text[WS_KEY_LEN + sizeof(key_suffix)], digest[SHA_DIGEST_LENGTH];
    char accept[4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1];
    memcpy(text, request->key, WS_KEY_LEN);
    memcpy(text + WS_KEY_LEN, key_suffix, sizeof(key_suffix));
    SHA1(text, sizeof(text) - 1, digest);
    EVP_EncodeBlock((uint8_t *)accept, digest, sizeof(digest));
    bool named = request->subprotocol != NULL;
    int n = snprintf(out->response, sizeof(out->response),
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                     accept, named ? "Sec-WebSocket-Protocol: " : "",
                     named ? request->subprotocol : "", named ? "\r\n" : "");
    out->granted = true;
    out->status = 101;
    out->route = request->route;
    out->deflate = request->deflate;
    out->response_len = (size_t)n;
}

void ws_answer_deflate(struct ws_answer *answer)
{
    char line[WS_DEFLATE_LINE_MAX];
    ws_deflate_line(&answer->deflate, line);
    size_t head = answer->response_len - 2; /* without the empty line */
    int n = snprintf(answer->response + head, sizeof(answer->response) - head, "%s\r\n", line);
    answer->response_len = head + (size_t)n;
}

static void judge(struct ws_answer *out, const struct ws_request *r)
{
    const struct http_parser *parser = &r->parser;
    bool has_body =
        r->has_body || ((parser->flags & F_CONTENTLENGTH) && parser->content_length > 0);
    if (r->malformed || r->hosts != 1 || parser->http_major != 1 || parser->http_minor < 1)
        ws_refuse(out, 400, "", "This is not a request of HTTP/1.1.");
    else if (parser->method != HTTP_GET)
        ws_refuse(out, 405, "Allow: GET\r\n", "Only GET is served here.");
    else if (r->route == r->service->route_count)
        ws_refuse(out, 404, "", "No WebSocket endpoint has this path.");
    else if (!r->websocket || !parser->upgrade)
        ws_refuse(out, 426, "Upgrade: websocket\r\nConnection: Upgrade\r\n",
                  "This is a WebSocket endpoint: connect to it with a WebSocket client.");
    else if (r->versions != 1 || !r->version_13)
        ws_refuse(out, 426, "Sec-WebSocket-Version: 13\r\n",
                  "Only version 13 of the WebSocket protocol is served.");
    else if (r->keys != 1 || !r->key_is_good || has_body || r->origins > 1 || r->extensions_are_bad)
        ws_refuse(out, 400, "", "A header of the WebSocket handshake is wrong.");
    else if (r->origins == 1 && !r->origin_is_good)
        ws_refuse(out, 403, "", "This origin is not allowed.");
    else if (r->offered && !r->subprotocol)
        ws_refuse(out, 400, "", "None of the sub-protocols offered is served here.");
    else
        grant(out, r);
}

bool ws_request_read(struct ws_request *request, const struct ws_service *service,
                     struct pg_bytes in, struct ws_answer *answer)
{
    if (!request->has_begun)
        http_parser_init(&request->parser, HTTP_REQUEST);
    request->has_begun = true;
    request->parser.data = request;
    request->service = service;
    request->base = (const char *)in.data;
    size_t len = in.len < service->size_max ? in.len : service->size_max;
    request->parsed += http_parser_execute(&request->parser, &settings,
                                           request->base + request->parsed, len - request->parsed);
    bool broken = !request->is_whole && HTTP_PARSER_ERRNO(&request->parser) != HPE_OK;
    bool too_long = !request->is_whole && !broken && len == service->size_max;
    if (request->is_whole)
        judge(answer, request);
    else if (broken)
        ws_refuse(answer, 400, "", "This is not a request of HTTP/1.1.");
    else if (too_long)
        ws_refuse(answer, 431, "", "The request is too long.");
    answer->used = request->parsed;
    return request->is_whole || broken || too_long;
}
