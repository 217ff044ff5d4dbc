/* SPDX-License-Identifier: Apache-2.0 */

/* A configuration shown: as JSON with every value in effect, and the options themselves as the body
 * of the manual page polygate.conf(5). Both walk the rows that the checker walks, so that they
 * cannot tell anything else. */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "escape.h"
#include "option.h"
#include "server.h"
#include "transport.h"

/* ---- JSON ------------------------------------------------------------------------------------ */

static void add_json(struct pg_text *out, const char *text)
{
    pg_text_add_quoted(out, pg_bytes_str(text), PG_QUOTE_JSON);
}

static void add_option(struct pg_text *out, const char *block, const struct pg_option *row,
                       const void *values, bool *first)
{
    pg_text_addf(out, *first ? "" : ",");
    *first = false;
    pg_text_addf(out, "{\"block\":");
    add_json(out, block);
    pg_text_addf(out, ",\"name\":");
    add_json(out, row->name);
    pg_text_addf(out, ",\"value\":");
    pg_option_json(row, values, out);
    pg_text_addf(out, ",\"default\":");
    add_json(out, row->fallback ? row->fallback : "");
    pg_text_addf(out, ",\"type\":");
    add_json(out, pg_option_type_name(row->type));
    char expected[256];
    struct pg_text text = {.data = expected, .room = sizeof(expected) - 1};
    pg_option_expected(row, &text);
    expected[text.len] = '\0';
    pg_text_addf(out, ",\"expected\":");
    add_json(out, expected);
    pg_text_addf(out, ",\"reloadable\":%s,\"sentence\":", row->reloadable ? "true" : "false");
    add_json(out, row->sentence ? row->sentence : "");
    pg_text_addf(out, "}");
}

static void add_rows(struct pg_text *out, const char *block, const struct pg_option *rows,
                     const void *values, bool *first)
{
    for (const struct pg_option *row = rows; row && row->name; row++)
        add_option(out, block, row, values, first);
}

static void add_listener(struct pg_text *out, const struct pg_listener_conf *l)
{
    bool first = true;
    pg_text_addf(out, "{\"name\":");
    add_json(out, l->name);
    pg_text_addf(out, ",\"bind\":");
    add_json(out, l->bind.items[0]);
    pg_text_addf(out, ",\"transport\":");
    add_json(out, l->transport->name);
    pg_text_addf(out, ",\"protocol\":");
    add_json(out, l->protocol->name);
    pg_text_addf(out, ",\"options\":[");
    add_rows(out, "listener", l->transport->options, l->transport_conf, &first);
    pg_text_addf(out, "]}");
}

static void add_call(struct pg_text *out, const struct pg_listener_conf *c)
{
    bool first = true;
    pg_text_addf(out, "{\"name\":");
    add_json(out, c->name);
    pg_text_addf(out, ",\"protocol\":");
    add_json(out, c->protocol->name);
    pg_text_addf(out, ",\"options\":[");
    add_rows(out, c->protocol->name, pg_call_rows, c->call, &first);
    add_rows(out, c->protocol->name, c->protocol->options, c->protocol_conf, &first);
    add_rows(out, c->protocol->name, c->transport->call_options, c->transport_conf, &first);
    pg_text_addf(out, "]}");
}

static void add_config(struct pg_text *out, const struct pg_config *config)
{
    bool first = true;
    pg_text_addf(out, "{\"file\":");
    add_json(out, config->path ? config->path : "");
    pg_text_addf(out, ",\"options\":[");
    for (const struct pg_settings_block *b = pg_settings_blocks(); b->name; b++)
        add_rows(out, b->name, b->rows, &config->settings, &first);
    for (size_t i = 0; i < config->protocol_count; i++) {
        const struct pg_protocol *protocol = config->protocols[i].protocol;
        if (!protocol->calls)
            add_rows(out, protocol->name, protocol->options, config->protocols[i].conf, &first);
    }
    for (size_t i = 0; i < config->plugin_count; i++)
        add_rows(out, config->plugins[i].plugin->name, config->plugins[i].plugin->options,
                 config->plugins[i].conf, &first);
    pg_text_addf(out, "],\"listeners\":[");
    for (size_t i = 0; i < config->listener_count; i++) {
        pg_text_addf(out, i ? "," : "");
        add_listener(out, &config->listeners[i]);
    }
    pg_text_addf(out, "],\"calls\":[");
    for (size_t i = 0; i < config->call_count; i++) {
        pg_text_addf(out, i ? "," : "");
        add_call(out, &config->calls[i]);
    }
    pg_text_addf(out, "]}");
}

char *pg_config_json(const struct pg_config *config)
{
    for (size_t size = 64u << 10;; size *= 2) {
        char *data = malloc(size);
        if (!data)
            return NULL;
        struct pg_text out = {.data = data, .room = size - 1};
        add_config(&out, config);
        data[out.len] = '\0';
        if (!out.cut)
            return data;
        free(data);
    }
}

/* ---- the manual ------------------------------------------------------------------------------ */

/* Text in mdoc: a backslash is one, no line starts with a control character, and a sentence starts
 * a line. */
static void print_text(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (char before = '\0'; *text; before = *text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else
            putchar(*text == ' ' && before == '.' ? '\n' : *text);
    }
}

/* The sentence of a row, as a sentence. */
static void print_sentence(const char *text)
{
    size_t len = strlen(text);
    if (len == 0)
        return;
    putchar(toupper((unsigned char)text[0]));
    print_text(text + 1);
    puts(text[len - 1] == '.' ? "" : ".");
}

static void print_row(const struct pg_option *row)
{
    char expected[256];
    struct pg_text text = {.data = expected, .room = sizeof(expected) - 1};
    pg_option_expected(row, &text);
    expected[text.len] = '\0';
    printf(".It Ic %s\n", row->name);
    print_sentence(row->sentence ? row->sentence : "");
    printf(".br\nValue: ");
    print_text(expected);
    putchar('\n');
    if (row->fallback && row->fallback[0])
        printf(".br\nDefault:\n.Cm %s\n", row->fallback);
    if (!row->reloadable)
        printf(".br\nA reload does not change it.\n");
}

static void print_block(const char *head, const struct pg_option *rows)
{
    if (!rows || !rows[0].name)
        return;
    printf(".Ss %s\n.Bl -tag -width Ds\n", head);
    for (const struct pg_option *row = rows; row->name; row++)
        print_row(row);
    printf(".El\n");
}

/* NAME after */
static void print_named(const char *name, const char *after, const struct pg_option *rows)
{
    char head[128];
    snprintf(head, sizeof(head), "%s%s", name, after);
    print_block(head, rows);
}

static bool is_row(const struct pg_option *a, const struct pg_option *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->fallback, b->fallback) == 0 &&
           strcmp(a->sentence, b->sentence) == 0;
}

/* The first transport before `end` that has this very row; `end` itself: none. */
static const struct pg_transport *const *owner_of(const struct pg_option *row,
                                                  const struct pg_transport *const *first,
                                                  const struct pg_transport *const *end)
{
    for (; first < end; first++)
        for (const struct pg_option *r = (*first)->options; r && r->name; r++)
            if (is_row(r, row))
                return first;
    return end;
}

/* Which rows transport `t` has from the earlier one, by name. */
static void print_shared(const struct pg_transport *const *first,
                         const struct pg_transport *const *t,
                         const struct pg_transport *const *owner)
{
    bool any = false;
    for (const struct pg_option *row = (*t)->options; row->name; row++) {
        if (owner_of(row, first, t) != owner)
            continue;
        if (any)
            printf(" ,\n");
        else
            printf(".Pp\nAs with\n.Ic transport\n.Li = %s :\n", (*owner)->name);
        printf(".Ic %s", row->name);
        any = true;
    }
    if (any)
        printf(" .\n");
}

/* What it shares with those before it is explained there. */
static void print_transport(const struct pg_transport *const *first,
                            const struct pg_transport *const *t)
{
    bool any = false;
    if (!(*t)->options)
        return;
    printf(".Ss listener \"name\" { transport = %s }\n", (*t)->name);
    for (const struct pg_option *row = (*t)->options; row->name; row++) {
        if (owner_of(row, first, t) != t)
            continue;
        if (!any)
            printf(".Bl -tag -width Ds\n");
        print_row(row);
        any = true;
    }
    if (any)
        printf(".El\n");
    for (const struct pg_transport *const *owner = first; owner < t; owner++)
        print_shared(first, t, owner);
}

/* One that calls has the keys of every such block in front of its own. */
static void print_protocol(const struct pg_assembly *assembly, const struct pg_protocol *protocol)
{
    char head[128];
    if (!protocol->calls) {
        print_named(protocol->name, " { }", protocol->options);
        return;
    }
    printf(".Ss %s \"name\" { }\n.Bl -tag -width Ds\n", protocol->name);
    for (const struct pg_option *row = pg_call_rows; row->name; row++)
        print_row(row);
    for (const struct pg_option *row = protocol->options; row && row->name; row++)
        print_row(row);
    printf(".El\n");
    for (const struct pg_transport *const *t = assembly->transports; *t; t++) {
        snprintf(head, sizeof(head), " \"name\" { transport = %s }", (*t)->name);
        print_named(protocol->name, head, (*t)->call_options);
    }
}

void pg_config_print_options(const struct pg_assembly *assembly)
{
    for (const struct pg_settings_block *b = pg_settings_blocks(); b->name; b++)
        print_named(b->name[0] ? b->name : "Top level", b->name[0] ? " { }" : "", b->rows);
    print_block("listener \"name\" { }", pg_listener_rows);
    for (const struct pg_transport *const *t = assembly->transports; *t; t++)
        print_transport(assembly->transports, t);
    print_block("plugin \"name\" { }", pg_plugin_rows);
    for (const struct pg_protocol *const *p = assembly->protocols; *p; p++)
        print_protocol(assembly, *p);
    for (const struct pg_plugin *const *p = assembly->plugins; *p; p++)
        print_named((*p)->name, " { }", (*p)->options);
}
