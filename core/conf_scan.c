/* SPDX-License-Identifier: Apache-2.0 */

/* The words of a configuration file.
 *
 *   # a comment, to the end of the line
 *   workers = 4
 *   listener "cars" { bind = {"127.0.0.1:1883", "[::1]:1883"}  backlog = ${BACKLOG:-4096} }
 *   include "conf.d/ *.conf"        (without the blank)
 *
 * A word ends at a blank, a quote or one of { } = , ; and a # inside a word is part of it. Double
 * quotes know \" \\ \$ \n \t and variables; single quotes take everything as it stands; neither
 * spans lines. ${NAME} must be set in the environment, ${NAME:-x} stands for x if it is not. A ';'
 * behind a value or a block is allowed and means nothing. Included files are found from the folder
 * of the file that names them, and must have their braces in pairs themselves.
 *
 * The words are then given to libconfuse, whose own reader (3.3) counts a comment as three lines,
 * loses the place behind an include, accepts an unclosed brace, and keeps the state of a text that
 * did not end for the next load; what it gets from here has none of these. */

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf_scan.h"
#include "pool.h"

#define FILE_MAX_SIZE  (1u << 20) /* a file of options is not longer: this is another file */
#define INCLUDE_DEPTH  8          /* a file that includes itself ends here */
#define NESTING_MAX    16
#define VALUE_MAX_SIZE 4096u

/* One file being read. */
struct reader {
    struct pg_conf_scan *scan;
    struct pg_error *error;
    const char *file;
    const char *p, *end;
    unsigned line;
    unsigned depth; /* of includes */
    unsigned open_lines[NESTING_MAX];
    unsigned open_count;
};

/* The text of one word while its quotes and variables are resolved. */
struct word {
    char text[VALUE_MAX_SIZE];
    size_t len;
};

static bool fail(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct reader *r, const char *format, ...)
{
    char text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    pg_error_set(r->error, "%s:%u: %s", r->file, r->line, text);
    return false;
}

static bool add_token(struct reader *r, enum pg_conf_token_kind kind, const char *text, size_t len)
{
    struct pg_conf_scan *scan = r->scan;
    if (scan->count == scan->room) {
        size_t room = scan->room ? scan->room * 2 : 128;
        struct pg_conf_token *grown = realloc(scan->tokens, room * sizeof(*grown));
        if (!grown)
            return fail(r, "out of memory");
        scan->tokens = grown;
        scan->room = room;
    }
    const char *copy = pg_conf_pool_text(scan->pool, text, len);
    if (!copy)
        return fail(r, "out of memory");
    scan->tokens[scan->count++] =
        (struct pg_conf_token){.kind = kind, .text = copy, .file = r->file, .line = r->line};
    return true;
}

/* ---- one word -------------------------------------------------------------------------------- */

static bool put(struct reader *r, struct word *w, char c)
{
    if (w->len + 1 >= sizeof(w->text))
        return fail(r, "a value of more than %u bytes", VALUE_MAX_SIZE - 1);
    w->text[w->len++] = c;
    return true;
}

/* At "${": put in the variable's value. */
static bool variable(struct reader *r, struct word *w)
{
    const char *name = r->p + 2;
    const char *line_end = memchr(name, '\n', (size_t)(r->end - name));
    const char *close = memchr(name, '}', (size_t)((line_end ? line_end : r->end) - name));
    if (!close)
        return fail(r, "\"${\" is not closed on its line, expected ${NAME} or ${NAME:-default}");
    const char *name_end = name;
    while (name_end < close && (isalnum((unsigned char)*name_end) || *name_end == '_'))
        name_end++;
    bool has_default = close - name_end >= 2 && name_end[0] == ':' && name_end[1] == '-';
    if (name_end == name || (name_end != close && !has_default))
        return fail(r, "found \"%.*s\", expected ${NAME} or ${NAME:-default}",
                    (int)(close + 1 - r->p), r->p);

    char key[128];
    if ((size_t)snprintf(key, sizeof(key), "%.*s", (int)(name_end - name), name) >= sizeof(key))
        return fail(r, "the name of an environment variable is too long");
    const char *value = getenv(key);
    const char *from = value ? value : name_end + 2;
    const char *to = value ? value + strlen(value) : close;
    if (strcmp(key, "HERE") == 0) { /* no variable: the folder of this file */
        const char *slash = strrchr(r->file, '/');
        from = slash ? r->file : ".";
        to = slash ? slash + (slash == r->file) : from + 1;
    } else if (!value && !has_default)
        return fail(r,
                    "the environment variable %s is not set; set it, write ${%s:-default}, or put "
                    "the value in '...' if it is meant as it stands",
                    key, key);
    for (; from < to; from++)
        if (!put(r, w, *from))
            return false;
    r->p = close + 1;
    return true;
}

static bool double_quoted(struct reader *r, struct word *w)
{
    for (r->p++; r->p < r->end && *r->p != '\n';) {
        char c = *r->p;
        if (c == '"') {
            r->p++;
            return true;
        }
        if (c == '$' && r->end - r->p > 1 && r->p[1] == '{') {
            if (!variable(r, w))
                return false;
            continue;
        }
        if (c == '\\' && r->end - r->p > 1) {
            static const char escapes[] = "\"\\$nt", meant[] = "\"\\$\n\t";
            const char *e = strchr(escapes, r->p[1]);
            if (!e || *e == '\0')
                return fail(r, "found \"\\%c\", expected one of \\\" \\\\ \\$ \\n \\t", r->p[1]);
            c = meant[e - escapes];
            r->p++;
        }
        if (!put(r, w, c))
            return false;
        r->p++;
    }
    return fail(r, "a value starts with \" and does not end on its line");
}

static bool single_quoted(struct reader *r, struct word *w)
{
    for (r->p++; r->p < r->end && *r->p != '\n'; r->p++) {
        if (*r->p == '\'') {
            r->p++;
            return true;
        }
        if (!put(r, w, *r->p))
            return false;
    }
    return fail(r, "a value starts with ' and does not end on its line");
}

static bool ends_word(char c)
{
    return isspace((unsigned char)c) || (c != '\0' && strchr("{}=,;\"'", c));
}

static bool bare(struct reader *r, struct word *w)
{
    while (r->p < r->end) {
        if (*r->p == '$' && r->end - r->p > 1 && r->p[1] == '{') {
            if (!variable(r, w))
                return false;
        } else if (ends_word(*r->p)) {
            break;
        } else {
            if (!put(r, w, *r->p))
                return false;
            r->p++;
        }
    }
    return true;
}

/* ---- include --------------------------------------------------------------------------------- */

static bool scan_path(struct pg_conf_scan *scan, const char *path, unsigned depth,
                      struct pg_error *error, struct reader *from);

static bool is_value_place(const struct pg_conf_scan *scan)
{
    if (scan->count == 0)
        return false;
    const struct pg_conf_token *last = &scan->tokens[scan->count - 1];
    return last->kind == PG_TOKEN_EQUAL || last->kind == PG_TOKEN_COMMA ||
           (last->kind == PG_TOKEN_OPEN && scan->count > 1 && last[-1].kind == PG_TOKEN_EQUAL);
}

static bool include(struct reader *r, const char *name)
{
    char path[VALUE_MAX_SIZE * 2];
    const char *slash = strrchr(r->file, '/');
    int folder = name[0] == '/' || !slash ? 0 : (int)(slash + 1 - r->file);
    if ((size_t)snprintf(path, sizeof(path), "%.*s%s", folder, r->file, name) >= sizeof(path))
        return fail(r, "include: the path is too long");
    if (r->depth + 1 >= INCLUDE_DEPTH)
        return fail(r, "include: \"%s\" is nested deeper than %d files; does it include itself?",
                    path, INCLUDE_DEPTH);
    if (!strpbrk(path, "*?["))
        return scan_path(r->scan, path, r->depth + 1, r->error, r);

    glob_t found;
    int rc = glob(path, GLOB_ERR, NULL, &found);
    if (rc == GLOB_NOMATCH)
        return true;
    if (rc != 0)
        return fail(r, "include: \"%s\": the folder cannot be read", path);
    bool ok = true;
    for (size_t i = 0; i < found.gl_pathc && ok; i++)
        ok = scan_path(r->scan, found.gl_pathv[i], r->depth + 1, r->error, r);
    globfree(&found);
    return ok;
}

/* ---- a file ---------------------------------------------------------------------------------- */

static bool open_brace(struct reader *r)
{
    if (r->open_count == NESTING_MAX)
        return fail(r, "\"{\" is nested deeper than %d", NESTING_MAX);
    r->open_lines[r->open_count++] = r->line;
    r->p++;
    return add_token(r, PG_TOKEN_OPEN, "{", 1);
}

static bool close_brace(struct reader *r)
{
    if (r->open_count == 0)
        return fail(r, "found \"}\" without a \"{\" in this file");
    r->open_count--;
    r->p++;
    return add_token(r, PG_TOKEN_CLOSE, "}", 1);
}

static bool semicolon(struct reader *r)
{
    const struct pg_conf_scan *scan = r->scan;
    enum pg_conf_token_kind last =
        scan->count ? scan->tokens[scan->count - 1].kind : PG_TOKEN_COMMA;
    if (last != PG_TOKEN_TEXT && last != PG_TOKEN_CLOSE)
        return fail(r, "found \";\", expected a value or a key");
    r->p++;
    return true;
}

static bool text(struct reader *r, bool *include_next)
{
    struct word w = {.len = 0};
    bool is_bare = *r->p != '"' && *r->p != '\'';
    bool ok = *r->p == '"'    ? double_quoted(r, &w)
              : *r->p == '\'' ? single_quoted(r, &w)
                              : bare(r, &w);
    if (!ok)
        return false;
    w.text[w.len] = '\0';
    if (memchr(w.text, '\0', w.len))
        return fail(r, "found a NUL byte");
    if (*include_next) {
        *include_next = false;
        return include(r, w.text);
    }
    if (is_bare && strcmp(w.text, "include") == 0 && !is_value_place(r->scan)) {
        *include_next = true;
        return true;
    }
    return add_token(r, PG_TOKEN_TEXT, w.text, w.len);
}

static bool punctuation(struct reader *r, enum pg_conf_token_kind kind, const char *text)
{
    r->p++;
    return add_token(r, kind, text, 1);
}

static bool step(struct reader *r, bool *include_next)
{
    static const char ends_statement[] = "\n{}=,;#";
    if (*include_next && memchr(ends_statement, *r->p, sizeof(ends_statement)))
        return fail(r, "include: expected the path of a file on the same line");
    switch (*r->p) {
    case '\n':
        r->p++;
        r->line++;
        return true;
    case ' ':
    case '\t':
    case '\r':
    case '\v':
    case '\f':
        r->p++;
        return true;
    case '#': {
        const char *line_end = memchr(r->p, '\n', (size_t)(r->end - r->p));
        r->p = line_end ? line_end : r->end;
        return true;
    }
    case '{':
        return open_brace(r);
    case '}':
        return close_brace(r);
    case '=':
        return punctuation(r, PG_TOKEN_EQUAL, "=");
    case ',':
        return punctuation(r, PG_TOKEN_COMMA, ",");
    case ';':
        return semicolon(r);
    default:
        return text(r, include_next);
    }
}

static bool scan_all(struct reader *r)
{
    bool include_next = false;
    if (r->end - r->p >= 3 && memcmp(r->p, "\xEF\xBB\xBF", 3) == 0)
        r->p += 3; /* the mark that some editors put in front of UTF-8 */
    while (r->p < r->end)
        if (!step(r, &include_next))
            return false;
    if (include_next)
        return fail(r, "include: expected the path of a file");
    if (r->open_count > 0) {
        r->line = r->open_lines[r->open_count - 1];
        return fail(r, "this \"{\" is never closed, expected a \"}\" before the end of the file");
    }
    return true;
}

/* The whole file in memory of malloc; NULL with errno, or 0 in errno if it is too long. */
static char *read_whole(const char *path, size_t *size)
{
    char *data = NULL;
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    data = malloc(FILE_MAX_SIZE + 1);
    if (!data)
        goto out;
    errno = 0;
    *size = fread(data, 1, FILE_MAX_SIZE + 1, f);
    if (ferror(f) || *size > FILE_MAX_SIZE) {
        free(data);
        data = NULL;
    }
out:;
    int saved_errno = errno;
    fclose(f);
    errno = saved_errno;
    return data;
}

/* `from` is the reader whose include names this file, for the place in errors; or NULL. */
static bool scan_path(struct pg_conf_scan *scan, const char *path, unsigned depth,
                      struct pg_error *error, struct reader *from)
{
    size_t size = 0;
    char *data = read_whole(path, &size);
    if (!data) {
        const char *why = errno ? strerror(errno) : "longer than a configuration may be (1m)";
        if (from)
            return fail(from, "include: cannot read \"%s\": %s", path, why);
        pg_error_set(error, "cannot read the configuration file %s: %s", path, why);
        return false;
    }
    struct reader r = {.scan = scan,
                       .error = error,
                       .file = pg_conf_pool_text(scan->pool, path, strlen(path)),
                       .p = data,
                       .end = data + size,
                       .line = 1,
                       .depth = depth};
    bool ok = r.file != NULL;
    if (ok)
        ok = scan_all(&r);
    else
        pg_error_set(error, "%s: out of memory", path);
    free(data);
    return ok;
}

bool pg_conf_scan_file(struct pg_conf_scan *scan, const char *path, struct pg_error *error)
{
    return scan_path(scan, path, 0, error, NULL);
}

bool pg_conf_scan_text(struct pg_conf_scan *scan, const char *name, const char *source,
                       struct pg_error *error)
{
    struct reader r = {.scan = scan,
                       .error = error,
                       .file = name,
                       .p = source,
                       .end = source + strlen(source),
                       .line = 1};
    return scan_all(&r);
}

void pg_conf_scan_free(struct pg_conf_scan *scan)
{
    free(scan->tokens);
    scan->tokens = NULL;
    scan->count = scan->room = 0;
}
