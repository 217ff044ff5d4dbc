/* SPDX-License-Identifier: Apache-2.0 */

/* The first bytes on a port that serves everything, as the real frontends and the transports look
 * at them.
 *
 * What must hold: each beginning says that it cannot be told yet, until one says what it is; from
 * then on all say the same. Nobody looks behind the bytes that he is shown. */

#include <stdlib.h>
#include <string.h>

#include "../../transports/auto/auto_sniff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct pg_protocol mqtt_protocol;
extern const struct pg_protocol jt808_protocol;
extern const struct pg_protocol stomp_protocol;
extern const struct pg_protocol gbt32960_protocol;

static const struct pg_listener_conf frontends[] = {
    {.protocol = &mqtt_protocol},
    {.protocol = &jt808_protocol},
    {.protocol = &stomp_protocol},
    {.protocol = &gbt32960_protocol},
};
#define COUNT (sizeof(frontends) / sizeof(frontends[0]))

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole_frontend = SIZE_MAX;
    enum auto_kind whole =
        auto_sniff(frontends, COUNT, (struct pg_bytes){.data = data, .len = size}, &whole_frontend);
    must(whole != AUTO_FRONTEND || whole_frontend < COUNT);
    bool known = false;
    for (size_t n = 0; n <= size && n <= 2 * AUTO_SNIFF_MAX; n++) {
        uint8_t *copy = malloc(n > 0 ? n : 1);
        size_t frontend = SIZE_MAX;
        must(copy != NULL);
        if (n > 0)
            memcpy(copy, data, n);
        enum auto_kind now =
            auto_sniff(frontends, COUNT, (struct pg_bytes){.data = copy, .len = n}, &frontend);
        must(now != AUTO_MORE || !known);
        known = now != AUTO_MORE;
        must(!known || (now == whole && frontend == whole_frontend));
        must(known || n < AUTO_SNIFF_MAX);
        free(copy);
    }
    return 0;
}
