/* SPDX-License-Identifier: Apache-2.0 */

/* Destinations and topics; the table is in stomp_destination.h and in polygate-stomp(7). */

#include "stomp_destination.h"

#include <string.h>

static const struct {
    struct pg_bytes text;
    enum stomp_form form;
} prefixes[] = {
    {PG_BYTES_OF("/topic/"), STOMP_TOPIC},
    {PG_BYTES_OF("/queue/"), STOMP_QUEUE},
    {PG_BYTES_OF("/p2p/"), STOMP_P2P},
};
#define PREFIXES (sizeof(prefixes) / sizeof(prefixes[0]))
static const struct pg_bytes p2p_mark = PG_BYTES_OF("/p2p/");

static bool begins(struct pg_bytes text, struct pg_bytes with)
{
    return text.len >= with.len && memcmp(text.data, with.data, with.len) == 0;
}

static struct pg_bytes behind(struct pg_bytes text, size_t n)
{
    return (struct pg_bytes){.data = text.data + n, .len = text.len - n};
}

struct stomp_destination stomp_destination_read(struct pg_bytes text)
{
    for (size_t i = 0; i < PREFIXES; i++) {
        if (begins(text, prefixes[i].text)) {
            return (struct stomp_destination){.form = prefixes[i].form,
                                              .rest = behind(text, prefixes[i].text.len)};
        }
    }
    return (struct stomp_destination){.form = STOMP_PLAIN, .rest = text};
}

struct pg_bytes stomp_topic_of(const struct stomp_destination *destination, const char *parent,
                               uint8_t *room)
{
    if (destination->form != STOMP_P2P) {
        return destination->rest;
    }
    const struct pg_bytes parts[] = {pg_bytes_str(parent), p2p_mark, destination->rest};
    size_t len = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].len > STOMP_TOPIC_ROOM - len) {
            return PG_BYTES_NONE;
        }
        memcpy(room + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    return (struct pg_bytes){.data = room, .len = len};
}

bool stomp_p2p_client(struct pg_bytes topic, const char *parent, struct pg_bytes *client)
{
    struct pg_bytes head = pg_bytes_str(parent);
    if (!begins(topic, head)) {
        return false;
    }
    struct pg_bytes rest = behind(topic, head.len);
    if (!begins(rest, p2p_mark)) {
        return false;
    }
    *client = behind(rest, p2p_mark.len);
    return client->len > 0;
}

void stomp_put_destination(struct stomp_writer *w, enum stomp_form form, struct pg_bytes topic,
                           const char *parent)
{
    struct pg_bytes client;
    if (form == STOMP_P2P) {
        bool said = stomp_p2p_client(topic, parent, &client);
        stomp_put(w, said ? p2p_mark : prefixes[0].text);
        stomp_put_text(w, said ? client : topic);
        return;
    }
    if (form == STOMP_QUEUE) {
        stomp_put(w, prefixes[1].text);
    } else if (form == STOMP_TOPIC || (topic.len > 0 && topic.data[0] == '/')) {
        stomp_put(w, prefixes[0].text);
    }
    stomp_put_text(w, topic);
}

void stomp_filter_copy(struct pg_bytes rest, bool also_star, uint8_t *out)
{
    for (size_t i = 0; i < rest.len; i++) {
        uint8_t octet = rest.data[i];
        bool starts = i == 0 || rest.data[i - 1] == '/';
        bool last = i + 1 == rest.len;
        bool ends = last || rest.data[i + 1] == '/';
        if (also_star && starts && ends && octet == '*') {
            octet = '+';
        } else if (also_star && starts && last && octet == '>') {
            octet = '#';
        }
        out[i] = octet;
    }
}
