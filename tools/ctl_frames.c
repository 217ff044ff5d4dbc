/* SPDX-License-Identifier: Apache-2.0 */

/* Input of decode and encode; see ctl_frames.h. */

#include "ctl_frames.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- hexadecimal digits ---------------------------------------------------------------------- */

struct reader {
    const struct ctl_run *run;
    void (*decode)(void *arg, struct pg_bytes bytes);
    void *arg;
};

static bool read_text(const struct reader *r, const char *text)
{
    uint8_t *bytes = NULL;
    size_t len = 0, bad;
    bool good = ctl_parse_hex(text, &bytes, &len, &bad);
    if (good)
        r->decode(r->arg, (struct pg_bytes){.data = bytes, .len = len});
    else
        ctl_error(r->run, "expected pairs of hexadecimal digits, found \"%.20s\" at character %zu",
                  text + bad, bad + 1);
    free(bytes);
    return good;
}

static bool read_lines(const struct reader *r)
{
    bool good = true;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0)
        good = read_text(r, line) && good;
    free(line);
    return good;
}

bool ctl_each_hex(const struct ctl_run *run, void (*decode)(void *arg, struct pg_bytes bytes),
                  void *arg)
{
    const struct reader r = {.run = run, .decode = decode, .arg = arg};
    if (run->argument_count == 0)
        return read_lines(&r);
    char *text = NULL;
    bool good = ctl_join_arguments(run, &text) && read_text(&r, text);
    free(text);
    return good;
}

/* ---- JSON documents -------------------------------------------------------------------------- */

static bool told_syntax(const struct ctl_run *run, const json_error_t *where)
{
    ctl_error(run, "not JSON: %s (line %d, column %d)", where->text, where->line, where->column);
    return false;
}

static bool encode_stream(const struct ctl_run *run,
                          bool (*encode)(void *arg, json_t *document, int index), void *arg)
{
    bool good = true;
    json_error_t where;
    for (int index = 0;; index++) {
        int c;
        while ((c = getc(stdin)) == ' ' || c == '\n' || c == '\r' || c == '\t')
            ;
        if (c == EOF)
            return good;
        ungetc(c, stdin);
        json_t *document = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &where);
        if (!document)
            return told_syntax(run, &where); /* where the next one begins is not known */
        good = encode(arg, document, index) && good;
        json_decref(document);
    }
}

bool ctl_each_json(const struct ctl_run *run,
                   bool (*encode)(void *arg, json_t *document, int index), void *arg)
{
    if (run->argument_count == 0)
        return encode_stream(run, encode, arg);
    bool good = true;
    json_error_t where;
    for (int i = 0; i < run->argument_count; i++) {
        json_t *document = json_loads(run->arguments[i], JSON_ALLOW_NUL, &where);
        good = (document ? encode(arg, document, i) : told_syntax(run, &where)) && good;
        json_decref(document);
    }
    return good;
}

bool ctl_document_error(const struct ctl_run *run, const struct wire_error *error)
{
    char sentence[512];
    wire_error_sentence(error, sentence, sizeof(sentence));
    ctl_error(run, "%s", sentence);
    return false;
}

bool ctl_shape(const struct ctl_run *run, enum wire_shape *shape)
{
    bool wire = ctl_flag(run, "wire"), emqx = ctl_flag(run, "emqx");

    *shape = wire ? WIRE_SHAPE_WIRE : emqx ? WIRE_SHAPE_ALIAS : WIRE_SHAPE_NATIVE;
    if (wire && emqx) {
        ctl_error(run, "--wire and --emqx exclude each other");
        return false;
    }
    if (!ctl_flag(run, "json") && (wire || emqx || ctl_flag(run, "raw"))) {
        ctl_error(run, "--wire, --emqx and --raw say what --json prints; give --json too");
        return false;
    }
    return true;
}
