/* SPDX-License-Identifier: Apache-2.0 */

/* Blocks of a configuration, parsed by libconfuse and checked by rows.
 *
 * The words come from conf_scan.c, one token each with its place. They are handed to libconfuse as
 * a text with one token a line, so that its line numbers are indices into our tokens: that gives
 * each value and each error its true file and line, across comments and includes. libconfuse knows
 * the grammar (key = value, key = {a, b}, kind "title" { }) and the schema, which is made from the
 * rows; every value comes back through one callback as text, and is given its type by option.c
 * when a struct is filled.
 *
 * libconfuse's callbacks have no argument of ours, and its reader is one per process, so the parse
 * that is under way is a static. Main thread only. */

#include <confuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "conf_scan.h"
#include "option.h"
#include "pool.h"

/* A key that was given. */
struct pg_conf_key {
    struct pg_conf_key *next;
    const char *name;
    const char **values;
    size_t count;
    const struct pg_conf_token *where; /* the key's own word */
};

/* A block with what the parse needs to know of it. */
struct entry {
    struct pg_conf_block block; /* first: entries are handed out as blocks */
    struct entry *next;
    size_t index;         /* among the blocks of its kind */
    const cfg_t *section; /* while parsing */
};

struct pg_conf {
    struct pg_conf_pool *pool;
    struct pg_conf_scan scan;
    const char *name;      /* of the source, for errors about the whole of it */
    struct entry *entries; /* in the order of the file */
    const struct pg_conf_kind *kinds;
    size_t kind_count;
    struct pg_error *error; /* while parsing */
    bool failed;            /* error is set */
};

static struct pg_conf *parsing;

/* ---- reading --------------------------------------------------------------------------------- */

static struct pg_conf *conf_new(const char *name, struct pg_error *error)
{
    struct pg_conf *conf = calloc(1, sizeof(*conf));
    if (conf)
        conf->pool = pg_conf_pool_new();
    if (conf && conf->pool)
        conf->name = pg_conf_pool_text(conf->pool, name, strlen(name));
    if (conf && conf->name) {
        conf->scan.pool = conf->pool;
        return conf;
    }
    pg_error_set(error, "%s: out of memory", name);
    pg_conf_free(&conf);
    return NULL;
}

struct pg_conf *pg_conf_read(const char *path, struct pg_error *error)
{
    struct pg_conf *conf = conf_new(path, error);
    if (conf && !pg_conf_scan_file(&conf->scan, path, error))
        pg_conf_free(&conf);
    return conf;
}

struct pg_conf *pg_conf_read_text(const char *name, const char *text, struct pg_error *error)
{
    struct pg_conf *conf = conf_new(name, error);
    if (conf && !pg_conf_scan_text(&conf->scan, conf->name, text, error))
        pg_conf_free(&conf);
    return conf;
}

void pg_conf_free(struct pg_conf **conf)
{
    if (!*conf)
        return;
    pg_conf_scan_free(&(*conf)->scan);
    pg_conf_pool_free(&(*conf)->pool);
    free(*conf);
    *conf = NULL;
}

bool pg_conf_peek(const struct pg_conf *conf, const char *kind, size_t index, const char *key,
                  const char **title, const char **value)
{
    bool inside = false;
    unsigned depth = 0;
    *title = *value = NULL;
    for (size_t i = 0; i < conf->scan.count; i++) {
        const struct pg_conf_token *t = &conf->scan.tokens[i];
        size_t left = conf->scan.count - i;
        if (t->kind == PG_TOKEN_OPEN)
            depth++;
        else if (t->kind == PG_TOKEN_CLOSE && --depth == 0 && inside)
            return true;
        else if (inside && depth == 1 && left > 2 && t->kind == PG_TOKEN_TEXT &&
                 t[1].kind == PG_TOKEN_EQUAL && t[2].kind == PG_TOKEN_TEXT &&
                 strcmp(t->text, key) == 0)
            *value = t[2].text;
        else if (depth == 0 && left > 2 && t->kind == PG_TOKEN_TEXT && t[1].kind == PG_TOKEN_TEXT &&
                 t[2].kind == PG_TOKEN_OPEN && strcmp(t->text, kind) == 0 && index-- == 0) {
            inside = true;
            *title = t[1].text;
        }
    }
    return false;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* "limits.frame_size", "listener \"a\": bind", "workers" */
static void name_key(const struct pg_conf_block *block, const char *key, char *out, size_t room)
{
    if (block->title)
        snprintf(out, room, "%s \"%.64s\"%s%s", block->kind, block->title, key ? ": " : "",
                 key ? key : "");
    else
        snprintf(out, room, "%s%s%s", block->kind, key && block->kind[0] ? "." : "",
                 key ? key : "");
}

static struct pg_conf_key *find_key(const struct pg_conf_block *block, const char *name)
{
    struct pg_conf_key *k = block ? block->keys : NULL;
    while (k && strcmp(k->name, name) != 0)
        k = k->next;
    return k;
}

bool pg_conf_refuse(const struct pg_conf_block *block, const char *key, struct pg_error *error,
                    const char *format, ...)
{
    char text[400], name[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    name_key(block, key, name, sizeof(name));
    const struct pg_conf_key *k = key ? find_key(block, key) : NULL;
    pg_error_set(error, "%s:%u: %s%s%s", k ? k->where->file : block->file,
                 k ? k->where->line : block->line, name, name[0] ? ": " : "", text);
    return false;
}

/* The token that libconfuse is at; the last one stands for the end of the text. */
static const struct pg_conf_token *token_at(const struct pg_conf *conf, const cfg_t *cfg)
{
    size_t line = cfg->line > 0 ? (size_t)cfg->line : 1;
    if (conf->scan.count == 0)
        return NULL;
    return &conf->scan.tokens[(line <= conf->scan.count ? line : conf->scan.count) - 1];
}

static bool parse_error(struct pg_conf *conf, const struct pg_conf_token *at, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

static bool parse_error(struct pg_conf *conf, const struct pg_conf_token *at, const char *format,
                        ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (conf->failed)
        return false; /* the first one is the cause */
    conf->failed = true;
    if (at)
        pg_error_set(conf->error, "%s:%u: %s", at->file, at->line, text);
    else
        pg_error_set(conf->error, "%s: %s", conf->name, text);
    return false;
}

static const struct pg_conf_kind *find_kind(const struct pg_conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->kind_count; i++)
        if (strcmp(conf->kinds[i].name, name) == 0)
            return &conf->kinds[i];
    return NULL;
}

/* ---- unknown names --------------------------------------------------------------------------- */

/* The keys of a kind, and for the top level also the kinds, as a list of names. */
static size_t known_names(const struct pg_conf *conf, const struct pg_conf_kind *kind,
                          const char **names, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; kind->rows && kind->rows[i]; i++)
        for (const struct pg_option *row = kind->rows[i]; row->name && n < room; row++)
            names[n++] = row->name;
    if (kind->name[0] == '\0')
        for (size_t i = 0; i < conf->kind_count && n < room; i++)
            if (conf->kinds[i].name[0] != '\0')
                names[n++] = conf->kinds[i].name;
    return n;
}

static void unknown_name(struct pg_conf *conf, const cfg_t *cfg, const struct pg_conf_token *at)
{
    const char *names[256];
    bool top = strcmp(cfg->name, "root") == 0;
    const struct pg_conf_kind *kind = find_kind(conf, top ? "" : cfg->name);
    size_t count = known_names(conf, kind, names, sizeof(names) / sizeof(names[0]));
    const char *near = pg_option_nearest(at->text, names, count);
    char where[160] = "";
    if (cfg->title)
        snprintf(where, sizeof(where), " in %s \"%.64s\"", cfg->name, cfg->title);
    else if (!top)
        snprintf(where, sizeof(where), " in %s", cfg->name);

    if (strncmp(at->text, "//", 2) == 0 || strncmp(at->text, "/*", 2) == 0)
        parse_error(conf, at, "found \"%.2s\"; a comment starts with #", at->text);
    else if (near)
        parse_error(conf, at, "unknown key \"%.64s\"%s; did you mean \"%s\"?", at->text, where,
                    near);
    else if (top)
        parse_error(conf, at, "unknown key or block \"%.64s\"", at->text);
    else
        parse_error(conf, at, "unknown key \"%.64s\"%s", at->text, where);
}

/* libconfuse found something: say it in our words. Its own words are the ones that it has in the
 * C locale; a sentence that is not in this list is shown as it is. */
static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    struct pg_conf *conf = parsing;
    const struct pg_conf_token *at = token_at(conf, cfg);
    char own[256];
    vsnprintf(own, sizeof(own), format, args);

    if (strncmp(own, "no such option", 14) == 0)
        unknown_name(conf, cfg, at);
    else if (strncmp(own, "missing equal sign", 18) == 0)
        parse_error(conf, at, "%s: found \"%.64s\", expected \"=\" and a value",
                    at > conf->scan.tokens ? at[-1].text : "", at->text);
    else if (strncmp(own, "missing opening brace", 21) == 0)
        parse_error(conf, at, "found \"%.64s\", expected \"{\" behind the name of the block",
                    at->text);
    else if (strncmp(own, "missing title", 13) == 0)
        parse_error(conf, at, "found \"%.64s\", expected a name, as in %s \"name\" { ... }",
                    at->text, at > conf->scan.tokens ? at[-1].text : "block");
    else if (strncmp(own, "found duplicate title", 21) == 0)
        parse_error(conf, at, "there is a block with the name %s before this one",
                    own + strlen("found duplicate title "));
    else if (at->kind == PG_TOKEN_OPEN && at > conf->scan.tokens + 1 &&
             at[-1].kind == PG_TOKEN_EQUAL)
        parse_error(conf, at, "%s: found a list, expected one value", at[-2].text);
    else if (strncmp(own, "unexpected token", 16) == 0)
        parse_error(conf, at, "found \"%.64s\", expected a key, a value or a block", at->text);
    else if (strncmp(own, "premature end of file", 21) == 0)
        parse_error(conf, at, "the file ends behind \"%.64s\", expected a value", at->text);
    else
        parse_error(conf, at, "%s", own);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* The word of the key whose value is at `value`: the one in front of its '='. */
static const struct pg_conf_token *key_of(const struct pg_conf_token *value)
{
    while (value->kind != PG_TOKEN_EQUAL)
        value--;
    return value - 1;
}

/* The entry of a section, made when it is first met. */
static struct entry *entry_of(struct pg_conf *conf, const cfg_t *section)
{
    struct entry **tail = &conf->entries;
    for (; *tail; tail = &(*tail)->next)
        if ((*tail)->section == section)
            return *tail;
    struct entry *e = pg_conf_pool_alloc(conf->pool, sizeof(*e));
    if (e)
        e->section = section;
    return *tail = e;
}

/* libconfuse met a value. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct pg_conf *conf = parsing;
    const struct pg_conf_token *at = token_at(conf, cfg), *where = key_of(at);
    struct entry *e = entry_of(conf, cfg);
    struct pg_conf_key *k = e ? find_key(&e->block, opt->name) : NULL;
    if (k && k->where != where) {
        parse_error(conf, where, "%s is given twice, first at %s:%u", where->text, k->where->file,
                    k->where->line);
        return -1;
    }
    if (e && !k && (k = pg_conf_pool_alloc(conf->pool, sizeof(*k))) != NULL) {
        *k = (struct pg_conf_key){.next = e->block.keys, .name = where->text, .where = where};
        e->block.keys = k;
    }
    const char **grown =
        k ? pg_conf_pool_grow(conf->pool, k->values, k->count, sizeof(*grown)) : NULL;
    if (!grown) {
        parse_error(conf, where, "out of memory");
        return -1;
    }
    grown[k->count++] = at->text;
    k->values = grown;
    *(const char **)result = value;
    return 0;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static bool has_name(const cfg_opt_t *opts, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(opts[i].name, name) == 0)
            return true;
    return false;
}

/* The keys of a kind as libconfuse wants them, with `room` more places behind; *count of them. */
static cfg_opt_t *make_opts(struct pg_conf *conf, const struct pg_conf_kind *kind, size_t room,
                            size_t *count)
{
    size_t most = room + 1;
    for (size_t i = 0; kind->rows && kind->rows[i]; i++)
        for (const struct pg_option *row = kind->rows[i]; row->name; row++)
            most++;
    cfg_opt_t *opts = pg_conf_pool_alloc(conf->pool, most * sizeof(*opts));
    *count = 0;
    if (!opts)
        return NULL;
    for (size_t i = 0; kind->rows && kind->rows[i]; i++)
        for (const struct pg_option *row = kind->rows[i]; row->name; row++)
            if (!has_name(opts, *count, row->name)) /* two transports may share a key */
                opts[(*count)++] = (cfg_opt_t){
                    .name = row->name,
                    .type = CFGT_STR,
                    .flags = CFGF_NODEFAULT | (row->type == PG_OPT_LIST ? CFGF_LIST : CFGF_NONE),
                    .parsecb = on_value,
                };
    return opts;
}

static cfg_opt_t *make_schema(struct pg_conf *conf)
{
    size_t count = 0;
    cfg_opt_t *root = make_opts(conf, find_kind(conf, ""), conf->kind_count, &count);
    for (size_t i = 0; root && i < conf->kind_count; i++) {
        const struct pg_conf_kind *kind = &conf->kinds[i];
        size_t sub_count;
        if (kind->name[0] == '\0')
            continue;
        cfg_opt_t *sub = make_opts(conf, kind, 0, &sub_count);
        if (!sub)
            return NULL;
        root[count++] = (cfg_opt_t){
            .name = kind->name,
            .type = CFGT_SEC,
            .flags = CFGF_NODEFAULT |
                     (kind->titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE),
            .subopts = sub,
        };
    }
    return root;
}

/* The tokens as libconfuse reads them: one a line, texts in quotes. */
static char *make_text(const struct pg_conf *conf)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    for (size_t i = 0; i < conf->scan.count; i++) {
        const struct pg_conf_token *t = &conf->scan.tokens[i];
        if (t->kind != PG_TOKEN_TEXT) {
            fprintf(f, "%s\n", t->text);
            continue;
        }
        fputc('"', f);
        for (const char *p = t->text; *p; p++) {
            if (*p == '\n') {
                fputs("\\n", f);
                continue;
            }
            if (*p == '"' || *p == '\\' || *p == '$')
                fputc('\\', f);
            fputc(*p, f);
        }
        fputs("\"\n", f);
    }
    fputc('\n', f); /* a text is never empty */
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) {
        free(text);
        text = NULL;
    }
    return text;
}

/* Where the block number `index` of a kind opens. */
static const struct pg_conf_token *opening(const struct pg_conf *conf,
                                           const struct pg_conf_kind *kind, size_t index)
{
    const size_t brace_after = kind->titled ? 2 : 1;
    unsigned depth = 0;
    for (size_t i = 0; i < conf->scan.count; i++) {
        const struct pg_conf_token *t = &conf->scan.tokens[i];
        if (t->kind == PG_TOKEN_OPEN)
            depth++;
        else if (t->kind == PG_TOKEN_CLOSE)
            depth--;
        else if (depth == 0 && i + brace_after < conf->scan.count &&
                 t[brace_after].kind == PG_TOKEN_OPEN && t->kind == PG_TOKEN_TEXT &&
                 strcmp(t->text, kind->name) == 0 && index-- == 0)
            return t;
    }
    return NULL;
}

/* Make of each section a block with its name and place. */
static bool name_blocks(struct pg_conf *conf, cfg_t *root)
{
    for (size_t i = 0; i < conf->kind_count; i++) {
        const struct pg_conf_kind *kind = &conf->kinds[i];
        bool top = kind->name[0] == '\0';
        unsigned count = top ? 1 : cfg_size(root, kind->name);
        for (unsigned n = 0; n < count; n++) {
            const cfg_t *section = top ? root : cfg_getnsec(root, kind->name, n);
            const struct pg_conf_token *at = top ? NULL : opening(conf, kind, n);
            struct entry *e = entry_of(conf, section);
            if (!e)
                return parse_error(conf, at, "out of memory");
            e->index = n;
            e->block.kind = kind->name;
            e->block.title = kind->titled && at ? at[1].text : NULL;
            e->block.file = at ? at->file : conf->name;
            e->block.line = at ? at->line : 1;
            e->block.order = at ? (size_t)(at - conf->scan.tokens) : 0;
        }
    }
    return true;
}

bool pg_conf_parse(struct pg_conf *conf, const struct pg_conf_kind *kinds, size_t count,
                   struct pg_error *error)
{
    conf->kinds = kinds;
    conf->kind_count = count;
    conf->error = error;
    char *text = make_text(conf);
    cfg_opt_t *schema = make_schema(conf);
    cfg_t *root = text && schema ? cfg_init(schema, CFGF_NONE) : NULL;
    if (root) {
        cfg_set_error_function(root, on_error);
        parsing = conf;
        if (cfg_parse_buf(root, text) != CFG_SUCCESS)
            parse_error(conf, NULL, "cannot be parsed");
        parsing = NULL;
        if (!conf->failed)
            name_blocks(conf, root);
        cfg_free(root);
    } else {
        parse_error(conf, NULL, "out of memory");
    }
    free(text);
    return !conf->failed;
}

const struct pg_conf_block *pg_conf_block(const struct pg_conf *conf, const char *kind,
                                          size_t index)
{
    for (const struct entry *e = conf->entries; e; e = e->next)
        if (e->index == index && strcmp(e->block.kind, kind) == 0)
            return &e->block;
    return NULL;
}

/* ---- filling --------------------------------------------------------------------------------- */

bool pg_conf_fill(const struct pg_conf_block *block, const struct pg_option *rows, void *into,
                  struct pg_conf_pool *pool, struct pg_error *error)
{
    struct pg_error why;
    for (const struct pg_option *row = rows; row && row->name; row++) {
        const struct pg_conf_key *k = find_key(block, row->name);
        if (!k) {
            if (!pg_option_default(row, into, pool, &why)) {
                pg_error_set(error, "the default of %s: %s", row->name, why.text);
                return false;
            }
        } else if (!pg_option_parse(row, k->values, k->count, into, pool, &why)) {
            return pg_conf_refuse(block, row->name, error, "%s", why.text);
        }
    }
    return true;
}

bool pg_conf_only(const struct pg_conf_block *block, const struct pg_option *const *rows,
                  const char *whose, struct pg_error *error)
{
    for (const struct pg_conf_key *k = block->keys; k; k = k->next) {
        bool known = false;
        for (size_t i = 0; rows[i] && !known; i++)
            for (const struct pg_option *row = rows[i]; row->name && !known; row++)
                known = strcmp(row->name, k->name) == 0;
        if (!known)
            return pg_conf_refuse(block, k->name, error, "this key does not belong to %s", whose);
    }
    return true;
}

bool pg_conf_gives(const struct pg_conf_block *block, const char *key)
{
    return find_key(block, key) != NULL;
}
