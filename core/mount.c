/* SPDX-License-Identifier: Apache-2.0 */

/* Topics of listeners with a prefix. Messages are immutable, so the prefix makes a copy of each:
 * one on the way in, and one for each delivery on the way out. That is the price of a listener that
 * has one, and nobody else's.
 *
 * The prefix ends with '/', so it is whole levels: no wildcard of a client's filter reaches out of
 * it, and a topic of the form <parent>/p2p/<client> is nobody's address behind it.
 *
 * Worker threads; no state. */

#include "mount.h"

#include <stdlib.h>
#include <string.h>

#include "topic.h"

static bool is_below(struct pg_bytes prefix, struct pg_bytes topic)
{
    return topic.len > prefix.len && memcmp(topic.data, prefix.data, prefix.len) == 0;
}

static struct pg_bytes without(struct pg_bytes prefix, struct pg_bytes topic)
{
    return (struct pg_bytes){.data = topic.data + prefix.len, .len = topic.len - prefix.len};
}

/* Another message with these topics; everything else is that of `from`. */
static struct pg_msg *copy(const struct pg_msg *from, struct pg_bytes topic,
                           struct pg_bytes response_topic)
{
    struct pg_msg_spec spec = {
        .topic = topic,
        .payload = from->payload,
        .qos = from->qos,
        .retain = from->retain,
        .topic_valid = from->topic_valid,
        .publisher = from->publisher,
        .protocol = from->protocol,
    };
    if (from->props)
        spec.props = *from->props;
    spec.props.response_topic = response_topic;
    struct pg_msg *msg = pg_msg_new(&spec);
    if (msg) {
        msg->created_ms = from->created_ms;
        msg->expires_ms = from->expires_ms;
    }
    return msg;
}

static uint8_t *joined(struct pg_bytes head, struct pg_bytes prefix, struct pg_bytes rest)
{
    uint8_t *out = malloc(head.len + prefix.len + rest.len);
    if (!out)
        return NULL;
    memcpy(out, head.data, head.len);
    memcpy(out + head.len, prefix.data, prefix.len);
    memcpy(out + head.len + prefix.len, rest.data, rest.len);
    return out;
}

struct pg_msg *pg_mount_enter(struct pg_bytes prefix, struct pg_msg *msg, enum pg_reason *reason)
{
    static const struct pg_bytes nothing = {.data = (const uint8_t *)"", .len = 0};
    struct pg_bytes answer = msg->props ? msg->props->response_topic : PG_BYTES_NONE;
    struct pg_msg *under = NULL;
    *reason = PG_TOPIC_INVALID;
    if (prefix.len + msg->topic.len <= PG_TOPIC_BYTES_MAX &&
        prefix.len + answer.len <= PG_TOPIC_BYTES_MAX) {
        *reason = PG_NO_MEMORY;
        uint8_t *topic = joined(nothing, prefix, msg->topic);
        uint8_t *response = answer.data ? joined(nothing, prefix, answer) : NULL;
        if (topic && (response || !answer.data)) {
            struct pg_bytes t = {.data = topic, .len = prefix.len + msg->topic.len};
            struct pg_bytes r = {.data = response, .len = response ? prefix.len + answer.len : 0};
            under = copy(msg, t, r);
        }
        free(topic);
        free(response);
    }
    pg_msg_unref(&msg);
    return under;
}

struct pg_msg *pg_mount_leave(struct pg_bytes prefix, struct pg_msg *msg)
{
    if (!is_below(prefix, msg->topic))
        return pg_msg_ref(msg);
    struct pg_bytes answer = msg->props ? msg->props->response_topic : PG_BYTES_NONE;
    if (answer.data && is_below(prefix, answer))
        answer = without(prefix, answer);
    return copy(msg, without(prefix, msg->topic), answer);
}

uint8_t *pg_mount_filter(struct pg_bytes prefix, struct pg_bytes filter, size_t *len,
                         enum pg_reason *reason)
{
    struct pg_filter parts;
    *reason = PG_FILTER_INVALID;
    if (pg_topic_filter_check(filter, &parts) != PG_TOPIC_NONE ||
        prefix.len + filter.len > PG_TOPIC_BYTES_MAX)
        return NULL;
    struct pg_bytes head = {.data = filter.data, .len = filter.len - parts.plain.len};
    *reason = PG_NO_MEMORY;
    *len = prefix.len + filter.len;
    return joined(head, prefix, parts.plain);
}
