/* SPDX-License-Identifier: Apache-2.0 */

/* Listener blocks, and blocks that call out (struct pg_protocol, `calls`): their rows, the words in
 * them looked up and checked against each other and against what is compiled in; one struct
 * pg_listener_conf for each address. Part of loading a configuration; see config.c. Main thread. */

#include <stdio.h>
#include <string.h>

#include "config_load.h"
#include "pool.h"
#include "server.h"
#include "transport.h"

#define PREFIX_MAX 64 /* bytes of topic_prefix, client_id_prefix, assigned_id_prefix */

/* What a listener block says before its words are looked up. */
struct listener_values {
    struct pg_strings bind;
    const char *transport;
    const char *protocol;
    int allow_anonymous;
    const char *topic_prefix, *client_id_prefix, *assigned_id_prefix;
    struct pg_guard_conf guard;
};

const struct pg_protocol pg_any_protocol = {.abi = PG_ABI, .name = "auto"};

/* A limit of a listener; 0 is none. */
#define GUARD_ROW(key, text)                                                                       \
    {                                                                                              \
        .name = #key, .type = PG_OPT_INT, .offset = offsetof(struct listener_values, guard.key),   \
        .fallback = "0", .min = 0, .max = 1000000000, .reloadable = true, .sentence = (text)       \
    }
#define GUARD_SIZE_ROW(key, text)                                                                  \
    {                                                                                              \
        .name = #key, .type = PG_OPT_SIZE, .offset = offsetof(struct listener_values, guard.key),  \
        .fallback = "0", .min = 0, .max = INT64_C(1) << 40, .reloadable = true, .sentence = (text) \
    }

static const char *const anonymous_words[] = {"as_access", "yes", "no", NULL};

const struct pg_option pg_listener_rows[] = {
    {.name = "bind",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct listener_values, bind),
     .fallback = "",
     .reloadable = true,
     .sentence = "Addresses with ports to listen on, as \"127.0.0.1:1883\", \"[::1]:1883\", or "
                 "\"*:1883\" for every address of the machine; port 0 picks a free one. "
                 "\"unix:/PATH\" is a socket of the file system. Required. "
                 "An address that other machines can reach needs an authenticator, or "
                 "access.allow_anonymous = yes."},
    {.name = "transport",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct listener_values, transport),
     .fallback = "",
     .reloadable = true,
     .sentence = "How bytes are carried. Not given: tcp, since it needs no certificate; or auto, "
                 "which finds it out, if the protocol is to be found out, too."},
    {.name = "protocol",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct listener_values, protocol),
     .fallback = "",
     .reloadable = true,
     .sentence = "The frontend that serves what connects here; auto is the one whose protocol the "
                 "first bytes are of, or, over HTTP, the one that the path names. Required."},
    {.name = "allow_anonymous",
     .type = PG_OPT_CHOICE,
     .offset = offsetof(struct listener_values, allow_anonymous),
     .fallback = "as_access",
     .choices = anonymous_words,
     .reloadable = true,
     .sentence = "Whether a client may come in through this listener that no authenticator has "
                 "judged; as_access leaves it to access.allow_anonymous. yes or no is for a "
                 "listener on another network than the rest."},
    {.name = "topic_prefix",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct listener_values, topic_prefix),
     .fallback = "",
     .reloadable = true,
     .sentence = "What is put in front of every topic and filter of the clients of this listener, "
                 "and taken away again from what they are sent, as in \"tenant7/\": they live in "
                 "a tree of their own and see nothing outside it. Whole levels, with '/' at the "
                 "end; access rules see topics with it. Each delivery costs a copy."},
    {.name = "client_id_prefix",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct listener_values, client_id_prefix),
     .fallback = "",
     .reloadable = true,
     .sentence = "What the identifiers of the clients of this listener must begin with; others are "
                 "refused (client_id_invalid), so that nobody takes over a client of another "
                 "listener. Not given: anything."},
    {.name = "assigned_id_prefix",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct listener_values, assigned_id_prefix),
     .fallback = "",
     .reloadable = true,
     .sentence = "What identifiers begin with that the frontend makes up for clients of this "
                 "listener that come without one. Not given: client_id_prefix, or else as the "
                 "frontend's own option says."},
    GUARD_ROW(connections, "Most connections of this listener; a further one is closed, after "
                           "place_wait (connection_limit). 0: as limits.connections allows."),
    GUARD_ROW(connects_per_second,
              "Connections that this listener accepts in a second, and as many at once; more are "
              "closed (connection_rate). A fleet that comes back at once tries again. 0: any "
              "number."),
    GUARD_SIZE_ROW(bytes_per_second,
                   "Bytes that are read in a second of all connections of this listener; who sends "
                   "more is not read for a while, so that it waits, and loses nothing. 0: any "
                   "number."),
    GUARD_ROW(messages_per_second,
              "Messages that all connections of this listener may publish in a second; beyond it "
              "they are not read for a while. 0: any number."),
    GUARD_ROW(address_connections,
              "Most connections that one address has on this listener; a /64 of IPv6 is one "
              "address. Mind that many may be behind one. 0: any number."),
    GUARD_ROW(address_connects_per_minute,
              "Connections of one address that this listener accepts in a minute, and as many at "
              "once; more are closed (connection_rate). 0: any number."),
    GUARD_SIZE_ROW(address_bytes_per_second,
                   "As bytes_per_second, of all connections of one address."),
    GUARD_ROW(address_messages_per_second,
              "As messages_per_second, of all connections of one address."),
    GUARD_SIZE_ROW(connection_bytes_per_second, "As bytes_per_second, of a single connection."),
    GUARD_ROW(connection_messages_per_second,
              "As messages_per_second, of a single connection. The bound that hurts nobody else."),
    {.name = NULL},
};

#define CALL_ROW(key, member) .name = key, .offset = offsetof(struct pg_call_conf, member)

const struct pg_option pg_call_rows[] = {
    {CALL_ROW("to", to), .type = PG_OPT_STRING, .fallback = "", .reloadable = true,
     .sentence = "Whom the gateway calls, as \"192.0.2.7:32960\", \"[2001:db8::7]:32960\", "
                 "\"platform.example.org:32960\" or \"unix:/PATH\". A name is looked up anew for "
                 "each call, and its addresses are tried in turn. Required."},
    {CALL_ROW("transport", transport), .type = PG_OPT_STRING, .fallback = "tcp", .reloadable = true,
     .sentence = "How bytes are carried there."},
    {CALL_ROW("connect_timeout", connect_timeout_ms), .type = PG_OPT_DURATION, .fallback = "10s",
     .min = 100, .max = 600000, .reloadable = true,
     .sentence = "Longest time from the call until bytes can flow: the look-up of a name, "
                 "connecting, and the transport's handshake."},
    {CALL_ROW("retry", retry_ms), .type = PG_OPT_DURATION, .fallback = "1s", .min = 100,
     .max = 3600000, .reloadable = true,
     .sentence =
         "Wait before the next call. It doubles with each call in vain, and a part of it is "
         "left to chance, so that many gateways do not call at one moment."},
    {CALL_ROW("retry_max", retry_max_ms), .type = PG_OPT_DURATION, .fallback = "1m", .min = 100,
     .max = 86400000, .reloadable = true, .sentence = "What that wait grows to at most."},
    {.name = NULL},
};

/* ---- listeners ------------------------------------------------------------------------------- */

/* One more name of those that an error lists: "a", "b", "c". */
static void add_name(char *out, size_t room, const char *name)
{
    size_t len = strlen(out);
    snprintf(out + len, room - len, "%s\"%s\"", len ? ", " : "", name);
}

/* The transport of that name, for a listener or for a block that calls out. */
static bool find_transport(struct pg_load *load, const struct pg_conf_block *block,
                           const char *name, bool calls, struct pg_listener_conf *conf)
{
    char known[128] = "";
    for (const struct pg_transport *const *t = load->assembly->transports; *t; t++) {
        if (calls && !(*t)->dial)
            continue;
        if (strcmp((*t)->name, name) == 0) {
            conf->transport = *t;
            return true;
        }
        add_name(known, sizeof(known), (*t)->name);
    }
    return pg_conf_refuse(block, "transport", load->error, "found \"%.64s\", expected one of %s",
                          name, known);
}

/* `is_given`: the transport, which has been found already, was named in the block. */
static bool find_protocol(struct pg_load *load, const struct pg_conf_block *block, const char *name,
                          bool is_given, struct pg_listener_conf *listener)
{
    const struct pg_config *config = load->config;
    char known[128] = "";
    if (strcmp(name, pg_any_protocol.name) == 0) {
        listener->protocol = &pg_any_protocol;
        listener->protocol_index = SIZE_MAX;
        return listener->transport->any_protocol ||
               pg_conf_refuse(block, "protocol", load->error,
                              "transport = %s serves one protocol, expected its name; leave the "
                              "transport out to have both found out",
                              listener->transport->name);
    }
    if (listener->transport->any_protocol || !is_given)
        add_name(known, sizeof(known), pg_any_protocol.name);
    for (size_t i = 0; i < config->protocol_count; i++) {
        if (config->protocols[i].protocol->calls)
            continue;
        if (strcmp(config->protocols[i].protocol->name, name) == 0) {
            listener->protocol = config->protocols[i].protocol;
            listener->protocol_index = i;
            return true;
        }
        add_name(known, sizeof(known), config->protocols[i].protocol->name);
    }
    if (name[0] == '\0')
        return pg_conf_refuse(block, NULL, load->error, "protocol is not given, expected one of %s",
                              known);
    return pg_conf_refuse(block, "protocol", load->error, "found \"%.64s\", expected one of %s",
                          name, known);
}

/* Whether only this machine can reach the address; one that is not understood counts as open. */
static bool is_loopback(const char *address)
{
    static const char *const prefixes[] = {"[::1]:", "localhost:", "unix:"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(address, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    const char *colon = strrchr(address, ':');
    return colon && strncmp(address, "127.", 4) == 0 &&
           strspn(address, "0123456789.") == (size_t)(colon - address);
}

/* Whether somebody on another machine can become a client of the listener. A proxy on this machine
 * brings others. */
static bool is_open(const struct pg_listener_conf *listener)
{
    const struct pg_transport *transport = listener->transport;
    return !is_loopback(listener->bind.items[0]) ||
           (transport->hands_on && transport->hands_on(listener));
}

/* The built-in text names addresses of IPv6, which a machine need not have. */
static bool has_ipv6_loopback(void)
{
    char line[128];
    bool found = false;
    FILE *f = fopen("/proc/net/if_inet6", "re");
    while (f && !found && fgets(line, sizeof(line), f))
        found = strncmp(line, "00000000000000000000000000000001 ", 33) == 0;
    if (f)
        fclose(f);
    return found;
}

/* Two listeners of one load on one address: the second would never be served, or half. */
static bool is_taken(struct pg_load *load, const struct pg_conf_block *block, const char *address)
{
    const struct pg_config *config = load->config;
    const char *colon = strrchr(address, ':');
    if (colon && strcmp(colon, ":0") == 0)
        return false;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct pg_listener_conf *other = &config->listeners[i];
        if (strcmp(other->bind.items[0], address) == 0)
            return !pg_conf_refuse(block, "bind", load->error,
                                   "%s is the address of listener \"%s\" (%s:%u) already", address,
                                   other->name, other->file, other->line);
    }
    return false;
}

/* One struct pg_listener_conf for each address. */
static bool add_addresses(struct pg_load *load, const struct pg_conf_block *block,
                          const struct pg_listener_conf *listener, const struct pg_strings *bind)
{
    struct pg_config *config = load->config;
    bool skip_ipv6 = !config->path && !has_ipv6_loopback();
    for (size_t i = 0; i < bind->count; i++) {
        const char *address = bind->items[i];
        if (skip_ipv6 && strncmp(address, "[::1]:", 6) == 0)
            continue;
        if (is_taken(load, block, address))
            return false;
        struct pg_listener_conf *grown = pg_conf_pool_grow(
            config->pool, config->listeners, config->listener_count, sizeof(*config->listeners));
        if (!grown)
            return pg_load_no_memory(load);
        config->listeners = grown;
        grown[config->listener_count] = *listener;
        grown[config->listener_count].bind =
            (struct pg_strings){.items = &bind->items[i], .count = 1};
        config->listener_count++;

        struct pg_error why;
        const struct pg_listener_conf *added = &grown[config->listener_count - 1];
        if (added->transport->check && !added->transport->check(added, &why))
            return pg_conf_refuse(block, "bind", load->error, "%.400s", why.text);
    }
    return true;
}

static bool set_prefixes(struct pg_load *load, const struct pg_conf_block *block,
                         const struct listener_values *values, struct pg_listener_conf *listener)
{
    struct pg_bytes topic = pg_bytes_str(values->topic_prefix);
    struct pg_bytes id = pg_bytes_str(values->client_id_prefix);
    struct pg_bytes assigned = pg_bytes_str(values->assigned_id_prefix);
    if (topic.len > 0 && (topic.data[topic.len - 1] != '/' || topic.len > PREFIX_MAX ||
                          pg_topic_name_valid(topic) != PG_OK))
        return pg_conf_refuse(block, "topic_prefix", load->error,
                              "found \"%.64s\", expected a topic name without wildcards that ends "
                              "with '/', of at most %d bytes",
                              values->topic_prefix, PREFIX_MAX);
    if (id.len > PREFIX_MAX || !pg_utf8_valid(id))
        return pg_conf_refuse(block, "client_id_prefix", load->error,
                              "expected UTF-8 of at most %d bytes", PREFIX_MAX);
    if (assigned.len > PREFIX_MAX || !pg_utf8_valid(assigned))
        return pg_conf_refuse(block, "assigned_id_prefix", load->error,
                              "expected UTF-8 of at most %d bytes", PREFIX_MAX);
    if (assigned.len > 0 &&
        strncmp(values->assigned_id_prefix, values->client_id_prefix, id.len) != 0)
        return pg_conf_refuse(block, "assigned_id_prefix", load->error,
                              "it does not begin with client_id_prefix, so who is given such an "
                              "identifier would be refused");
    listener->topic_prefix = topic;
    listener->client_id_prefix = id;
    listener->assigned_id_prefix =
        assigned.len > 0 ? values->assigned_id_prefix : values->client_id_prefix;
    return true;
}

static bool add_listener(struct pg_load *load, const struct pg_conf_block *block)
{
    struct pg_conf_pool *pool = load->config->pool;
    struct listener_values values = {0};
    struct pg_listener_conf listener = {.config = load->config, .line = block->line};
    if (strlen(block->title) > PG_LISTENER_NAME_MAX)
        return pg_conf_refuse(block, NULL, load->error,
                              "the name is longer than %d bytes; logs and tables show it whole",
                              PG_LISTENER_NAME_MAX);
    if (!pg_conf_fill(block, pg_listener_rows, &values, pool, load->error))
        return false;
    bool is_given = values.transport[0] != '\0';
    if (!is_given)
        values.transport = strcmp(values.protocol, pg_any_protocol.name) == 0 ? "auto" : "tcp";
    if (!find_transport(load, block, values.transport, false, &listener) ||
        !find_protocol(load, block, values.protocol, is_given, &listener))
        return false;
    listener.allow_anonymous = values.allow_anonymous;
    listener.guard = values.guard;
    if (!set_prefixes(load, block, &values, &listener))
        return false;
    if (values.bind.count == 0)
        return pg_conf_refuse(block, NULL, load->error,
                              "bind is not given, expected at least one address, as in bind = "
                              "\"127.0.0.1:1883\"");

    char whose[80];
    const struct pg_option *rows[] = {pg_listener_rows, listener.transport->options, NULL};
    snprintf(whose, sizeof(whose), "transport \"%s\"", listener.transport->name);
    if (!pg_conf_only(block, rows, whose, load->error))
        return false;
    if (listener.transport->conf_size > 0) {
        listener.transport_conf =
            pg_load_fill(load, block, listener.transport->options, listener.transport->conf_size);
        if (!listener.transport_conf)
            return false;
    }
    listener.name = pg_conf_pool_text(pool, block->title, strlen(block->title));
    listener.file = pg_conf_pool_text(pool, block->file, strlen(block->file));
    if (!listener.name || !listener.file)
        return pg_load_no_memory(load);
    return add_addresses(load, block, &listener, &values.bind);
}

/* Who has an authenticator, for the advice of the error below. */
static const char *advice(const struct pg_assembly *assembly)
{
    for (const struct pg_plugin *const *p = assembly->plugins; *p; p++)
        if ((*p)->authenticator)
            return (*p)->name;
    return "plugin \"...\"";
}

/* A gateway that the network can reach asks who is there, unless it was told in so many words that
 * anybody may come. */
static bool is_guarded(struct pg_load *load)
{
    const struct pg_config *config = load->config;
    if (config->settings.access.allow_anonymous == PG_ANONYMOUS_YES)
        return true;
    for (size_t i = 0; i < config->plugin_count; i++)
        if (config->plugins[i].plugin->authenticator &&
            config->plugins[i].plugin->authenticator->authenticate)
            return true;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct pg_listener_conf *l = &config->listeners[i];
        if (!is_open(l) || l->allow_anonymous == PG_LISTENER_ANONYMOUS_YES)
            continue;
        pg_error_set(load->error,
                     "%s:%u: listener \"%.64s\": bind: other machines can reach %.80s, and nobody "
                     "is asked who he is; add an authenticator (%s { ... }), or write access { "
                     "allow_anonymous = yes }",
                     l->file, l->line, l->name, l->bind.items[0], advice(load->assembly));
        return false;
    }
    return true;
}

bool pg_load_listeners(struct pg_load *load)
{
    const struct pg_conf_block *block;
    for (size_t i = 0; (block = pg_conf_block(load->conf, "listener", i)) != NULL; i++)
        if (!add_listener(load, block))
            return false;
    if (load->config->listener_count > 0)
        return is_guarded(load);
    pg_error_set(load->error,
                 "%s: there is no listener, expected at least one, as in listener "
                 "\"name\" { bind = \"127.0.0.1:1883\"  protocol = ... }",
                 load->config->path ? load->config->path : PG_CONFIG_BUILT_IN);
    return false;
}

/* ---- blocks that call out -------------------------------------------------------------------- */

/* The values of the block: its own, its transport's, its frontend's. */
static bool fill_call(struct pg_load *load, const struct pg_conf_block *block,
                      struct pg_listener_conf *call)
{
    struct pg_call_conf *values = pg_load_fill(load, block, pg_call_rows, sizeof(*values));
    if (!values)
        return false;
    call->call = values;
    if (values->to[0] == '\0')
        return pg_conf_refuse(
            block, NULL, load->error,
            "to is not given, expected an address, as in to = \"192.0.2.7:32960\"");
    if (values->retry_max_ms < values->retry_ms)
        return pg_conf_refuse(block, "retry_max", load->error, "it is below retry");
    if (!find_transport(load, block, values->transport, true, call))
        return false;
    char whose[80];
    const struct pg_transport *transport = call->transport;
    const struct pg_option *rows[4] = {pg_call_rows};
    size_t n = 1;
    if (call->protocol->options)
        rows[n++] = call->protocol->options;
    rows[n] = transport->call_options;
    snprintf(whose, sizeof(whose), "transport \"%s\"", transport->name);
    if (!pg_conf_only(block, rows, whose, load->error))
        return false;
    if (transport->call_conf_size > 0) {
        call->transport_conf =
            pg_load_fill(load, block, transport->call_options, transport->call_conf_size);
        if (!call->transport_conf)
            return false;
    }
    call->protocol_conf = pg_load_protocol_values(load, call->protocol, block);
    return call->protocol_conf != NULL;
}

/* The name of its client, which tells what the gateway is to the other side. */
static bool name_call(struct pg_load *load, const struct pg_conf_block *block,
                      struct pg_listener_conf *call)
{
    char id[PREFIX_MAX + 1];
    int len = snprintf(id, sizeof(id), "%s/%s", call->protocol->name, block->title);
    if (block->title[0] == '\0' || len < 0 || (size_t)len >= sizeof(id) ||
        !pg_utf8_valid(pg_bytes_str(block->title)))
        return pg_conf_refuse(block, NULL, load->error,
                              "its name is part of a client identifier, \"%.32s/NAME\", expected "
                              "UTF-8 that makes it at most %d bytes",
                              call->protocol->name, PREFIX_MAX);
    struct pg_conf_pool *pool = load->config->pool;
    call->name = pg_conf_pool_text(pool, block->title, strlen(block->title));
    call->file = pg_conf_pool_text(pool, block->file, strlen(block->file));
    call->assigned_id_prefix = pg_conf_pool_text(pool, id, (size_t)len);
    return (call->name && call->file && call->assigned_id_prefix) || pg_load_no_memory(load);
}

static bool add_call(struct pg_load *load, const struct pg_conf_block *block, size_t protocol_index)
{
    struct pg_config *config = load->config;
    struct pg_error why;
    struct pg_listener_conf call = {.config = config,
                                    .protocol = config->protocols[protocol_index].protocol,
                                    .protocol_index = protocol_index,
                                    .line = block->line};
    if (!name_call(load, block, &call) || !fill_call(load, block, &call))
        return false;
    if (call.transport->check_call && !call.transport->check_call(&call, &why))
        return pg_conf_refuse(block, "to", load->error, "%.400s", why.text);
    struct pg_listener_conf *grown =
        pg_conf_pool_grow(config->pool, config->calls, config->call_count, sizeof(*config->calls));
    if (!grown)
        return pg_load_no_memory(load);
    config->calls = grown;
    grown[config->call_count++] = call;
    return true;
}

bool pg_load_calls(struct pg_load *load)
{
    const struct pg_config *config = load->config;
    for (size_t i = 0; i < config->protocol_count; i++) {
        const struct pg_protocol *protocol = config->protocols[i].protocol;
        const struct pg_conf_block *block;
        for (size_t k = 0;
             protocol->calls && (block = pg_conf_block(load->conf, protocol->name, k)); k++)
            if (!add_call(load, block, i))
                return false;
    }
    return true;
}
