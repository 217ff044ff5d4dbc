/* SPDX-License-Identifier: Apache-2.0 */

/* Telling protocols apart; see auto_sniff.h.
 *
 * Each candidate looks at a beginning and says yes, no, or that it needs more. They are shown one
 * byte, then two, and so on until one says yes or all say no: a peer that sends much at once is
 * judged by the same bytes as one that sends them singly. A frontend says so by itself, through the
 * public interface; what is below frontends is known here: requests of HTTP (RFC 9110, 9.3), and of
 * socket-policy files, which are 23 bytes that end with a zero byte. */

#include "auto_sniff.h"

#include <string.h>

static enum pg_sniff begins(struct pg_bytes head, const char *mark, size_t len)
{
    size_t n = head.len < len ? head.len : len;
    if (memcmp(head.data, mark, n) != 0)
        return PG_SNIFF_NO;
    return n == len ? PG_SNIFF_YES : PG_SNIFF_MORE;
}

/* Only methods that there are: a frontend may begin with a word in capitals, too. */
static enum pg_sniff sniff_http(struct pg_bytes head)
{
    static const char *const methods[] = {"GET ",     "HEAD ",  "POST ",  "PUT ",   "DELETE ",
                                          "CONNECT ", "TRACE ", "PATCH ", "PRI * ", "OPTIONS "};
    enum pg_sniff verdict = PG_SNIFF_NO;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        enum pg_sniff one = begins(head, methods[i], strlen(methods[i]));
        if (one > verdict)
            verdict = one;
    }
    return verdict;
}

static enum pg_sniff sniff_policy(struct pg_bytes head)
{
    static const char request[] = "<policy-file-request/>";
    return begins(head, request, sizeof(request));
}

/* What can be said about exactly these bytes. */
static enum auto_kind look(const struct pg_listener_conf *list, size_t count, struct pg_bytes head,
                           size_t *frontend)
{
    enum pg_sniff http = sniff_http(head), policy = sniff_policy(head);
    if (http == PG_SNIFF_YES)
        return AUTO_HTTP;
    if (policy == PG_SNIFF_YES)
        return AUTO_POLICY;
    bool more = http == PG_SNIFF_MORE || policy == PG_SNIFF_MORE;
    for (size_t i = 0; i < count; i++) {
        enum pg_sniff verdict = list[i].protocol->sniff(head);
        if (verdict == PG_SNIFF_YES) {
            *frontend = i;
            return AUTO_FRONTEND;
        }
        more = more || verdict == PG_SNIFF_MORE;
    }
    return more ? AUTO_MORE : AUTO_NOTHING;
}

enum auto_kind auto_sniff(const struct pg_listener_conf *list, size_t count, struct pg_bytes head,
                          size_t *frontend)
{
    for (size_t n = 1; n <= head.len && n <= AUTO_SNIFF_MAX; n++) {
        struct pg_bytes beginning = {.data = head.data, .len = n};
        enum auto_kind kind = look(list, count, beginning, frontend);
        if (kind != AUTO_MORE)
            return kind;
    }
    return head.len < AUTO_SNIFF_MAX ? AUTO_MORE : AUTO_NOTHING;
}

bool auto_is_tls(uint8_t first)
{
    return first == 22;
}
