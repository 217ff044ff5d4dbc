/* SPDX-License-Identifier: Apache-2.0 */

/* Access rules. The input is the client identifier, the user name, a filter and a topic, each ended
 * by a line break, and then the rules.
 *
 * What must hold: whoever may subscribe to a filter may subscribe to every topic that it matches.
 * If not, a wildcard has reached around a rule. Rules with exact filters ('=') promise no such
 * thing. */

#include <stdlib.h>
#include <string.h>

#include "../../plugins/authfile/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pg_bytes take_line(struct pg_bytes *in)
{
    const uint8_t *end = in->len > 0 ? memchr(in->data, '\n', in->len) : NULL;
    struct pg_bytes line = {.data = in->data, .len = end ? (size_t)(end - in->data) : in->len};
    size_t used = end ? line.len + 1 : line.len;
    in->data += used;
    in->len -= used;
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pg_bytes in = {.data = data, .len = size};
    if (size == 0)
        return 0;
    struct pg_identity who = {.peer = "192.0.2.7:40112", .listener = "main", .protocol = "jt808"};
    who.client_id = take_line(&in);
    who.username = take_line(&in);
    struct pg_bytes filter = take_line(&in), topic = take_line(&in);
    struct pg_error error = {.text = ""};
    struct auth_rules *rules = auth_rules_parse(in, "rules", &error);
    if (!rules) {
        if (error.text[0] == '\0')
            abort();
        return 0;
    }
    auth_rules_check(rules, &who, PG_ACTION_PUBLISH, topic);
    enum pg_verdict all = auth_rules_check(rules, &who, PG_ACTION_SUBSCRIBE, filter);
    enum pg_verdict one = auth_rules_check(rules, &who, PG_ACTION_SUBSCRIBE, topic);
    bool exact = in.len > 0 && memchr(in.data, '=', in.len);
    if (!exact && all == PG_ALLOW && one != PG_ALLOW && pg_topic_filter_valid(filter) == PG_OK &&
        pg_topic_name_valid(topic) == PG_OK && pg_topic_filter_matches(filter, topic))
        abort();
    auth_rules_free(&rules);
    return 0;
}
