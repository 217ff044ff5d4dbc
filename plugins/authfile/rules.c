/* SPDX-License-Identifier: Apache-2.0 */

/* Access rules, compiled and checked.
 *
 * Compiling copies the text once; every literal of a rule is a range of that copy. Rules, their
 * conditions and the levels of their filters are three flat arrays, so a check walks memory in
 * order and allocates nothing.
 *
 * A placeholder stands for one literal topic level, or a part of one. The value comes from the
 * peer; one that is empty or holds '+', '#', '/' or NUL is no such level, and the rule does not
 * apply. Values are never pasted into a filter and parsed: they are compared as bytes, so they
 * cannot become wildcards.
 *
 * Subscriptions are judged by the set of topics that their filter can match. Allowing demands that
 * the rule's set contains all of it; denying, that the two sets meet at all. Judging the filter as
 * if it were a topic name would let `#` through next to `deny ... secret/#`. A filter written
 * behind
 * '=' gives that up knowingly: the rule is for this one text, its wildcards compared as bytes.
 *
 * Topics that begin with '$' are not matched by wildcards at the first level (MQTT 5.0, 4.7.2).
 * Allow rules follow that; deny rules cover them too, since a deny must not be narrower than it
 * reads. */

#include "rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum placeholder { P_NONE, P_CLIENT, P_USER, P_GROUP, P_DEVICE, P_PHONE, P_VIN, P_COUNT };

static const struct {
    const char *text;
    const char *protocol; /* the client identifier has that meaning in this protocol only */
} placeholders[P_COUNT] = {
    [P_CLIENT] = {.text = "${client}"},
    [P_USER] = {.text = "${user}"},
    [P_GROUP] = {.text = "${group}"},
    [P_DEVICE] = {.text = "${device}"},
    [P_PHONE] = {.text = "${phone}", .protocol = "jt808"},
    [P_VIN] = {.text = "${vin}", .protocol = "gbt32960"},
};

struct level {
    bool plus;                    /* any one level; else: */
    enum placeholder placeholder; /* stands between `before` and `after` */
    struct pg_bytes before;       /* the whole level when there is no placeholder */
    struct pg_bytes after;
};

enum condition_kind {
    COND_USER,
    COND_CLIENT,
    COND_LISTENER,
    COND_PROTOCOL,
    COND_ADDRESS,
    COND_ANONYMOUS
};

struct condition {
    enum condition_kind kind;
    struct pg_bytes value;
    struct pg_range range; /* of COND_ADDRESS */
};

struct rule {
    bool allow;
    bool publish, subscribe;
    bool
        exact; /* only what is asked for in these very words: `before` of each level, and '#' too */
    bool hash; /* the filter ends with '#', which is not counted as a level */
    size_t first_condition, condition_count;
    size_t first_level, level_count;
};

struct auth_rules {
    uint8_t *text;
    struct rule *rules;
    size_t rule_count, rule_room;
    struct condition *conditions;
    size_t condition_count, condition_room;
    struct level *levels;
    size_t level_count, level_room;
};

/* ---- checking -------------------------------------------------------------------------------- */

/* Values of placeholders for one question, found when first needed. */
struct values {
    const struct pg_identity *who;
    bool known[P_COUNT];
    struct pg_bytes value[P_COUNT]; /* data == NULL: matches nothing */
};

static bool is_one_level(struct pg_bytes value)
{
    if (!value.data || value.len == 0)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c == '+' || c == '#' || c == '/' || c == 0)
            return false;
    }
    return true;
}

/* The halves of GroupID@@@DeviceID, the client identifiers of those who come from LMQ. With more
 * than one separator it is not certain where the group ends, and neither half means anything. */
static struct pg_bytes half_of_id(struct pg_bytes id, bool second)
{
    static const char separator[] = "@@@";
    const size_t width = sizeof(separator) - 1;
    if (!id.data)
        return PG_BYTES_NONE;
    const uint8_t *at = memmem(id.data, id.len, separator, width);
    if (!at)
        return PG_BYTES_NONE;
    size_t head = (size_t)(at - id.data);
    struct pg_bytes tail = {.data = at + width, .len = id.len - head - width};
    /* "@@@@" holds the separator twice, one byte apart. */
    if (memmem(at + 1, id.len - head - 1, separator, width))
        return PG_BYTES_NONE;
    return second ? tail : (struct pg_bytes){.data = id.data, .len = head};
}

static struct pg_bytes find_value(const struct pg_identity *who, enum placeholder placeholder)
{
    const char *protocol = placeholders[placeholder].protocol;
    if (protocol && (!who->protocol || strcmp(protocol, who->protocol) != 0))
        return PG_BYTES_NONE;
    switch (placeholder) {
    case P_USER:
        return who->username;
    case P_GROUP:
        return half_of_id(who->client_id, false);
    case P_DEVICE:
        return half_of_id(who->client_id, true);
    default:
        return who->client_id;
    }
}

static struct pg_bytes value_of(struct values *values, enum placeholder placeholder)
{
    if (!values->known[placeholder]) {
        struct pg_bytes value = find_value(values->who, placeholder);
        values->value[placeholder] = is_one_level(value) ? value : PG_BYTES_NONE;
        values->known[placeholder] = true;
    }
    return values->value[placeholder];
}

/* The levels of a topic or filter, one by one. */
struct walk {
    const uint8_t *at, *end;
    bool done; /* no level is left */
};

static struct walk walk_of(struct pg_bytes topic)
{
    return (struct walk){.at = topic.data, .end = topic.data + topic.len, .done = false};
}

static bool walk_next(struct walk *walk, struct pg_bytes *level)
{
    if (walk->done)
        return false;
    const uint8_t *start = walk->at;
    const uint8_t *slash = start;
    while (slash < walk->end && *slash != '/')
        slash++;
    *level = (struct pg_bytes){.data = start, .len = (size_t)(slash - start)};
    walk->done = slash == walk->end;
    walk->at = walk->done ? walk->end : slash + 1;
    return true;
}

static bool is_char(struct pg_bytes level, char c)
{
    return level.len == 1 && level.data[0] == (uint8_t)c;
}

static bool same(const uint8_t *data, struct pg_bytes literal)
{
    return literal.len == 0 || memcmp(data, literal.data, literal.len) == 0;
}

/* Whether a level without wildcards is the literal that the rule's level stands for. */
static bool level_equals(const struct level *level, struct pg_bytes asked, struct values *values)
{
    if (level->placeholder == P_NONE)
        return asked.len == level->before.len && same(asked.data, level->before);
    struct pg_bytes value = value_of(values, level->placeholder);
    return value.data && asked.len == level->before.len + value.len + level->after.len &&
           same(asked.data, level->before) && same(asked.data + level->before.len, value) &&
           same(asked.data + level->before.len + value.len, level->after);
}

/* Whether the rule's first level would match a topic that begins with '$' only as a wildcard. */
static bool first_is_open(const struct rule *rule, const struct level *levels)
{
    if (rule->level_count == 0)
        return true; /* # */
    return levels[0].plus || (levels[0].placeholder != P_NONE && levels[0].before.len == 0);
}

/* Whether `asked` is what the rule says, in these words. */
static bool is_exactly(const struct rule *rule, const struct level *levels, struct pg_bytes asked,
                       struct values *values)
{
    struct walk walk = walk_of(asked);
    struct pg_bytes level;
    for (size_t i = 0; i < rule->level_count; i++) {
        if (!walk_next(&walk, &level) || !level_equals(&levels[i], level, values))
            return false;
    }
    return walk.done;
}

/* Whether everything that `asked` can match is matched by the rule. */
static bool covers(const struct rule *rule, const struct level *levels, struct pg_bytes asked,
                   struct values *values)
{
    struct walk walk = walk_of(asked);
    struct pg_bytes level;
    if (asked.data[0] == '$' && first_is_open(rule, levels))
        return false;
    if (rule->exact)
        return is_exactly(rule, levels, asked, values);
    for (size_t i = 0; i < rule->level_count; i++) {
        if (!walk_next(&walk, &level) || is_char(level, '#'))
            return false;
        if (levels[i].plus)
            continue;
        if (is_char(level, '+') || !level_equals(&levels[i], level, values))
            return false;
    }
    return rule->hash || walk.done;
}

/* Whether there is any topic that both match. */
static bool meets(const struct rule *rule, const struct level *levels, struct pg_bytes asked,
                  struct values *values)
{
    if (rule->exact)
        return is_exactly(rule, levels, asked, values);
    struct walk walk = walk_of(asked);
    struct pg_bytes level;
    for (size_t i = 0; i < rule->level_count; i++) {
        if (!walk_next(&walk, &level))
            return false;
        if (is_char(level, '#'))
            return true;
        if (levels[i].plus)
            continue;
        if (levels[i].placeholder != P_NONE && !value_of(values, levels[i].placeholder).data)
            return false;
        if (!is_char(level, '+') && !level_equals(&levels[i], level, values))
            return false;
    }
    if (rule->hash || walk.done)
        return true;
    return walk_next(&walk, &level) && is_char(level, '#'); /* a/# matches a */
}

static bool condition_holds(const struct condition *condition, const struct pg_identity *who)
{
    struct pg_bytes found;
    struct pg_address address;
    switch (condition->kind) {
    case COND_ANONYMOUS:
        return !who->username.data;
    case COND_ADDRESS:
        return who->peer && pg_address_of_peer(who->peer, &address) &&
               pg_range_has(&condition->range, &address);
    case COND_USER:
        found = who->username;
        break;
    case COND_CLIENT:
        found = who->client_id;
        break;
    case COND_LISTENER:
        found = pg_bytes_str(who->listener ? who->listener : "");
        break;
    default:
        found = pg_bytes_str(who->protocol ? who->protocol : "");
        break;
    }
    return found.data && found.len == condition->value.len && same(found.data, condition->value);
}

static bool applies_to(const struct auth_rules *rules, const struct rule *rule,
                       const struct pg_identity *who)
{
    /* Without any condition in the file there is no array to point into. */
    for (size_t i = 0; i < rule->condition_count; i++) {
        if (!condition_holds(&rules->conditions[rule->first_condition + i], who))
            return false;
    }
    return true;
}

enum pg_verdict auth_rules_check(const struct auth_rules *rules, const struct pg_identity *who,
                                 enum pg_action action, struct pg_bytes topic)
{
    if (topic.len == 0)
        return PG_DENY;
    struct values values = {.who = who};
    for (size_t i = 0; i < rules->rule_count; i++) {
        const struct rule *rule = &rules->rules[i];
        if (action == PG_ACTION_PUBLISH ? !rule->publish : !rule->subscribe)
            continue;
        if (!applies_to(rules, rule, who))
            continue;
        /* A file whose filters are all "#" has no levels to point to. */
        const struct level *levels = rules->levels ? &rules->levels[rule->first_level] : NULL;
        if (rule->allow ? covers(rule, levels, topic, &values)
                        : meets(rule, levels, topic, &values))
            return rule->allow ? PG_ALLOW : PG_DENY;
    }
    return PG_NEXT;
}

/* ---- compiling ------------------------------------------------------------------------------- */

struct parser {
    struct auth_rules *rules;
    const char *name;
    unsigned line;
    uint8_t *at, *end; /* the rest of the line */
    bool quoted;       /* the word last taken begins with a quote */
    struct pg_error *error;
};

/* Room for one more entry in an array that doubles; false when memory is out. */
static bool grow(void **array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return true;
    size_t wanted = *room ? *room * 2 : 16;
    void *bigger = reallocarray(*array, wanted, size);
    if (!bigger)
        return false;
    *array = bigger;
    *room = wanted;
    return true;
}

static bool no_memory(struct parser *p)
{
    pg_error_set(p->error, "%s: out of memory", p->name);
    return false;
}

#define SHOWN 80 /* bytes of a word that an error shows */

/* Set the error "NAME:LINE: found WORD; EXPECTED"; returns false. */
static bool fail_at(struct parser *p, struct pg_bytes word, const char *expected)
{
    char shown[SHOWN + 1];
    size_t len = word.len < SHOWN ? word.len : SHOWN;
    for (size_t i = 0; i < len; i++)
        shown[i] = word.data[i] < ' ' || word.data[i] == 0x7f ? '?' : (char)word.data[i];
    shown[len] = '\0';
    if (word.data)
        pg_error_set(p->error, "%s:%u: found \"%s\"; %s", p->name, p->line, shown, expected);
    else
        pg_error_set(p->error, "%s:%u: the line ends here; %s", p->name, p->line, expected);
    return false;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

enum word_result { WORD, WORD_NONE, WORD_BAD };

/* The next word of the line; quotes and escapes are resolved in place, which only shortens it. */
static enum word_result next_word(struct parser *p, struct pg_bytes *word)
{
    while (p->at < p->end && is_blank(*p->at))
        p->at++;
    *word = PG_BYTES_NONE;
    if (p->at == p->end)
        return WORD_NONE;
    uint8_t *start = p->at, *to = p->at;
    bool quoted = false;
    p->quoted = *start == '"';
    for (; p->at < p->end && (quoted || !is_blank(*p->at)); p->at++) {
        uint8_t c = *p->at;
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && c == '\\') {
            if (p->at + 1 == p->end || (p->at[1] != '"' && p->at[1] != '\\')) {
                fail_at(p, (struct pg_bytes){.data = start, .len = (size_t)(to - start)},
                        "a backslash in quotes must be followed by \" or another backslash");
                return WORD_BAD;
            }
            c = *++p->at;
        }
        *to++ = c;
    }
    *word = (struct pg_bytes){.data = start, .len = (size_t)(to - start)};
    if (quoted) {
        fail_at(p, *word, "expected a closing \" on the same line");
        return WORD_BAD;
    }
    return WORD;
}

static bool is_word(struct pg_bytes word, const char *text)
{
    return pg_bytes_equal(word, pg_bytes_str(text));
}

static bool starts_with(struct pg_bytes word, const char *text)
{
    size_t len = strlen(text);
    return word.len >= len && memcmp(word.data, text, len) == 0;
}

static struct pg_bytes skip(struct pg_bytes word, size_t n)
{
    return (struct pg_bytes){.data = word.data + n, .len = word.len - n};
}

static bool add_condition(struct parser *p, struct rule *rule, enum condition_kind kind,
                          struct pg_bytes value)
{
    struct auth_rules *rules = p->rules;
    if (!grow((void **)&rules->conditions, rules->condition_count, &rules->condition_room,
              sizeof(*rules->conditions)))
        return no_memory(p);
    struct condition *added = &rules->conditions[rules->condition_count++];
    *added = (struct condition){.kind = kind, .value = value};
    rule->condition_count++;
    return kind != COND_ADDRESS || pg_range_parse(value, &added->range) ||
           fail_at(p, value,
                   "expected an address or a range of them: 192.0.2.7 10.0.0.0/8 "
                   "2001:db8::/32");
}

static const struct {
    const char *prefix;
    enum condition_kind kind;
} condition_words[] = {
    {.prefix = "user:", .kind = COND_USER},         {.prefix = "client:", .kind = COND_CLIENT},
    {.prefix = "listener:", .kind = COND_LISTENER}, {.prefix = "protocol:", .kind = COND_PROTOCOL},
    {.prefix = "address:", .kind = COND_ADDRESS},
};
#define CONDITION_WORDS (sizeof(condition_words) / sizeof(condition_words[0]))

/* Whether the word is a condition; its index in condition_words. */
static bool find_condition(struct pg_bytes word, size_t *index)
{
    for (*index = 0; *index < CONDITION_WORDS; ++*index) {
        if (starts_with(word, condition_words[*index].prefix))
            return true;
    }
    return false;
}

/* WHO: leaves the first word behind it in *word. */
static bool parse_who(struct parser *p, struct rule *rule, struct pg_bytes *word)
{
    static const char expected[] = "expected who the rule is for: * anonymous user:NAME client:ID "
                                   "listener:NAME protocol:NAME address:RANGE";
    enum word_result result = next_word(p, word);
    if (result == WORD_BAD)
        return false;
    size_t index;
    if (result == WORD && is_word(*word, "*")) {
        return next_word(p, word) != WORD_BAD;
    } else if (result == WORD && is_word(*word, "anonymous")) {
        if (!add_condition(p, rule, COND_ANONYMOUS, PG_BYTES_NONE))
            return false;
        return next_word(p, word) != WORD_BAD;
    } else if (result != WORD || !find_condition(*word, &index)) {
        return fail_at(p, *word, expected);
    }
    do {
        struct pg_bytes value = skip(*word, strlen(condition_words[index].prefix));
        if (value.len == 0)
            return fail_at(p, *word, "expected a name behind the colon");
        if (!add_condition(p, rule, condition_words[index].kind, value))
            return false;
        result = next_word(p, word);
        if (result == WORD_BAD)
            return false;
    } while (result == WORD && find_condition(*word, &index));
    return true;
}

/* The placeholder at the head of `text`. */
static enum placeholder find_placeholder(struct pg_bytes text)
{
    for (enum placeholder i = P_NONE + 1; i < P_COUNT; i++) {
        if (starts_with(text, placeholders[i].text))
            return i;
    }
    return P_NONE;
}

static bool parse_level(struct parser *p, struct pg_bytes text, struct level *out)
{
    *out = (struct level){.before = text};
    if (is_char(text, '+')) {
        out->plus = true;
        return true;
    }
    const uint8_t *dollar = text.len ? memmem(text.data, text.len, "${", 2) : NULL;
    if (dollar) {
        size_t before = (size_t)(dollar - text.data);
        struct pg_bytes rest = skip(text, before);
        out->placeholder = find_placeholder(rest);
        if (out->placeholder == P_NONE)
            return fail_at(p, rest,
                           "the placeholders are ${client} ${user} ${group} ${device} "
                           "${phone} ${vin}");
        out->before.len = before;
        out->after = skip(rest, strlen(placeholders[out->placeholder].text));
        if (out->after.len && memmem(out->after.data, out->after.len, "${", 2))
            return fail_at(p, text,
                           "one level can hold only one placeholder: with two it would "
                           "not be certain where the first value ends");
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '+')
            return fail_at(p, text, "+ must be a whole level");
        if (text.data[i] == '#')
            return fail_at(p, text, "# must be the last level, and nothing else in it");
    }
    return true;
}

static bool add_level(struct parser *p, struct rule *rule, const struct level *level)
{
    struct auth_rules *rules = p->rules;
    if (!grow((void **)&rules->levels, rules->level_count, &rules->level_room,
              sizeof(*rules->levels)))
        return no_memory(p);
    rules->levels[rules->level_count++] = *level;
    rule->level_count++;
    return true;
}

static bool parse_filter(struct parser *p, struct rule *rule, struct pg_bytes filter)
{
    rule->exact = !p->quoted && starts_with(filter, "=");
    if (rule->exact)
        filter = skip(filter, 1);
    if (!filter.data || filter.len == 0)
        return fail_at(p, filter, "expected a topic filter, for instance devices/${client}/#");
    if (starts_with(filter, "$share/"))
        return fail_at(p, filter,
                       "write the filter without $share/<group>/: it is taken off "
                       "before rules are looked at");
    struct walk walk = walk_of(filter);
    struct pg_bytes text;
    while (walk_next(&walk, &text)) {
        struct level level = {.before = text};
        bool hash = walk.done && is_char(text, '#');
        if (hash && !rule->exact) {
            rule->hash = true;
            break;
        }
        if (!hash && !parse_level(p, text, &level))
            return false;
        if (!add_level(p, rule, &level))
            return false;
    }
    return true;
}

static bool parse_rule(struct parser *p, struct pg_bytes word)
{
    struct auth_rules *rules = p->rules;
    struct rule rule = {.first_condition = rules->condition_count,
                        .first_level = rules->level_count};
    if (is_word(word, "allow"))
        rule.allow = true;
    else if (!is_word(word, "deny"))
        return fail_at(p, word, "expected allow or deny");

    if (next_word(p, &word) == WORD_BAD)
        return false;
    rule.publish = is_word(word, "publish") || is_word(word, "all");
    rule.subscribe = is_word(word, "subscribe") || is_word(word, "all");
    if (!rule.publish && !rule.subscribe)
        return fail_at(p, word, "expected publish, subscribe or all");

    if (!parse_who(p, &rule, &word) || !parse_filter(p, &rule, word))
        return false;
    switch (next_word(p, &word)) {
    case WORD:
        return fail_at(p, word,
                       "expected the end of the line behind the topic filter; put words "
                       "with blanks in double quotes");
    case WORD_BAD:
        return false;
    case WORD_NONE:
        break;
    }
    if (!grow((void **)&rules->rules, rules->rule_count, &rules->rule_room, sizeof(rule)))
        return no_memory(p);
    rules->rules[rules->rule_count++] = rule;
    return true;
}

static bool parse_line(struct parser *p)
{
    while (p->at < p->end && is_blank(*p->at))
        p->at++;
    if (p->at == p->end || *p->at == '#')
        return true;
    struct pg_bytes line = {.data = p->at, .len = (size_t)(p->end - p->at)};
    if (!pg_utf8_valid(line))
        return fail_at(p, line, "expected text in UTF-8 without NUL");
    struct pg_bytes word;
    return next_word(p, &word) == WORD && parse_rule(p, word);
}

struct auth_rules *auth_rules_parse(struct pg_bytes text, const char *name, struct pg_error *error)
{
    struct auth_rules *rules = calloc(1, sizeof(*rules));
    struct parser p = {.rules = rules, .name = name, .error = error};
    if (!rules || !(rules->text = malloc(text.len + 1))) {
        no_memory(&p);
        auth_rules_free(&rules);
        return NULL;
    }
    if (text.len > 0)
        memcpy(rules->text, text.data, text.len);
    uint8_t *at = rules->text, *end = rules->text + text.len;
    while (at < end) {
        uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        p.line++;
        p.at = at;
        p.end = newline ? newline : end;
        at = newline ? newline + 1 : end;
        if (!parse_line(&p)) {
            auth_rules_free(&rules);
            return NULL;
        }
    }
    return rules;
}

void auth_rules_free(struct auth_rules **rules)
{
    struct auth_rules *old = *rules;
    *rules = NULL;
    if (!old)
        return;
    free(old->text);
    free(old->rules);
    free(old->conditions);
    free(old->levels);
    free(old);
}

size_t auth_rules_count(const struct auth_rules *rules)
{
    return rules->rule_count;
}
