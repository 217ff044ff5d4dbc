/* SPDX-License-Identifier: Apache-2.0 */

/* What frontends of devices have in common: topics from templates, and answers to requesters. No
 * state; threads as in device.h. */

#include "wire/device.h"

#include <string.h>

#include "wire/json_out.h"
#include "wire/table_json.h"

/* ---- topics --------------------------------------------------------------------------------- */

static bool put(char *room, size_t size, size_t *len, const char *text, size_t text_len)
{
    if (text_len > size - *len) {
        return false;
    }
    memcpy(room + *len, text, text_len);
    *len += text_len;
    return true;
}

struct pg_bytes wire_topic(const char *pattern, const struct wire_fill *fills, size_t count,
                           char *room, size_t size)
{
    size_t len = 0;

    while (*pattern != '\0') {
        const char *value = NULL;
        for (size_t i = 0; i < count && !value; i++) {
            size_t name_len = strlen(fills[i].name);
            if (strncmp(pattern, fills[i].name, name_len) == 0) {
                value = fills[i].value;
                pattern += name_len;
            }
        }
        bool fits = value ? put(room, size, &len, value, strlen(value))
                          : put(room, size, &len, pattern++, 1);
        if (!fits) {
            return PG_BYTES_NONE;
        }
    }
    return (struct pg_bytes){.data = (const uint8_t *)room, .len = len};
}

bool wire_topic_check(const char *option, const char *pattern, struct pg_bytes topic,
                      const char *device, bool shared, struct pg_error *error)
{
    if (topic.len == 0 || pg_topic_name_valid(topic) != PG_OK ||
        memchr(topic.data, '$', topic.len)) {
        pg_error_set(error,
                     "%s = \"%s\" is no topic name; expected levels without + # $, with %s and, "
                     "for uplink_topic, ${message} or ${id} filled in",
                     option, pattern, device);
        return false;
    }
    if (!shared && !strstr(pattern, device)) {
        pg_error_set(error, "%s = \"%s\" lacks %s: all devices would share it", option, pattern,
                     device);
        return false;
    }
    return true;
}

/* ---- responses ------------------------------------------------------------------------------ */

bool wire_response_wanted(const struct pg_msg *request)
{
    return request->props && request->props->response_topic.data;
}

/* Whether a topic <parent>/p2p/<client> names another client than this one. */
static bool is_p2p_of_another(struct pg_bytes topic, struct pg_bytes client)
{
    static const struct pg_bytes mark = PG_BYTES_OF("/p2p/");

    if (!pg_topic_filter_matches(PG_BYTES_OF("+/p2p/#"), topic)) {
        return false;
    }
    const uint8_t *slash = memchr(topic.data, '/', topic.len);
    size_t head = (size_t)(slash - topic.data) + mark.len;
    if (topic.len <= head) {
        return false; /* it names nobody */
    }
    const struct pg_bytes named = {.data = topic.data + head, .len = topic.len - head};
    return !pg_bytes_equal(named, client);
}

bool wire_response_allowed(const struct pg_msg *request, struct pg_bytes commands)
{
    struct pg_bytes topic = request->props->response_topic;

    return topic.len > 0 && pg_topic_name_valid(topic) == PG_OK && topic.data[0] != '$' &&
           !pg_topic_filter_matches(commands, topic) &&
           !is_p2p_of_another(topic, request->publisher);
}

bool wire_response_publish(const struct pg_msg *request, const char *protocol,
                           struct pg_bytes device, const struct json_out *response)
{
    struct pg_msg_spec spec = {
        .topic = request->props->response_topic,
        .payload = {.data = (const uint8_t *)response->data, .len = response->len},
        .qos = 1,
        .publisher = device,
        .protocol = protocol,
        .props = {.payload_is_utf8 = true,
                  .content_type = PG_BYTES_OF("application/json"),
                  .correlation_data = request->props->correlation_data},
    };
    struct pg_msg *msg = response->failed ? NULL : pg_msg_new(&spec);

    if (msg) {
        pg_announce(msg);
    }
    return msg != NULL;
}

void wire_response_error(struct json_out *out, const struct wire_error *error)
{
    char sentence[sizeof(*error) + 64];

    wire_error_sentence(error, sentence, sizeof(sentence));
    json_out_key(out, "error");
    json_out_open(out, '{');
    json_out_key(out, "field");
    json_out_text(out, error->path, strlen(error->path));
    json_out_key(out, "sentence");
    json_out_text(out, sentence, strlen(sentence));
    json_out_close(out, '}');
}
