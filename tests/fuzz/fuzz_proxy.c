/* SPDX-License-Identifier: Apache-2.0 */

/* What stands in front of a connection that comes from a proxy. The first byte says which versions
 * are accepted.
 *
 * What must hold: what is said about a beginning is not taken back by more bytes; a whole header is
 * whole with its last byte and not before, and nothing behind it changes what it says. */

#include <stdlib.h>
#include <string.h>

#include "../../transports/net/net_proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void same_name(const struct net_proxy *a, const struct net_proxy *b)
{
    must((a->cn.data != NULL) == (b->cn.data != NULL));
    must(!a->cn.data || pg_bytes_equal(a->cn, b->cn));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum net_proxy_accept accept = (enum net_proxy_accept)(data[0] % 3 + 1);
    data++;
    size--;
    struct net_proxy whole, cut;
    enum net_proxy_result end =
        net_proxy_parse((struct pg_bytes){.data = data, .len = size}, accept, &whole);
    must(end != NET_PROXY_BAD || (whole.why && !whole.verified));
    must(end != NET_PROXY_WHOLE || (whole.used > 0 && whole.used <= size));
    must(!whole.cn.data || (whole.verified && whole.cn.len <= NET_PROXY_CN_MAX));
    /* Every beginning of short inputs; of long ones those around the steps of the parser. */
    for (size_t n = 0; n < size; n += n < 600 ? 1 : 97) {
        /* A copy of its own, so that a byte too many is seen by the sanitizer. */
        uint8_t *copy = malloc(n + 1);
        must(copy != NULL);
        memcpy(copy, data, n);
        enum net_proxy_result now =
            net_proxy_parse((struct pg_bytes){.data = copy, .len = n}, accept, &cut);
        must(now != NET_PROXY_BAD || end == NET_PROXY_BAD);
        must(now != NET_PROXY_WHOLE || (end == NET_PROXY_WHOLE && cut.used == whole.used));
        must(end != NET_PROXY_WHOLE || (now == NET_PROXY_WHOLE) == (n >= whole.used));
        if (now == NET_PROXY_WHOLE)
            same_name(&whole, &cut);
        free(copy);
    }
    return 0;
}
