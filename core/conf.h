/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CONF_H
#define PG_CONF_H

/* A configuration file and the rows of options that say what may stand in it.
 *
 * Reading takes three steps, since some rows are known only from the file itself (a plugin's, after
 * it was loaded): read the words, parse them into blocks by the kinds of block that there are, then
 * fill structs from blocks by rows. Every error names file, line, block and key, what was found and
 * what was expected. Main thread only: libconfuse's reader is one per process. */

#include "polygate.h"

struct pg_conf;
struct pg_conf_pool;

/* A kind of block. */
struct pg_conf_kind {
    const char *name;                    /* "" is the top level of the file */
    bool titled;                         /* kind "title" { }, any number; else kind { }, once */
    const struct pg_option *const *rows; /* NULL-terminated: every key that may stand in it */
};

/* A block as it stands in the file; lent by the struct pg_conf. */
struct pg_conf_block {
    const char *kind, *title; /* title NULL: the kind has none */
    const char *file;
    unsigned line;
    size_t order;             /* grows along the files: of two blocks, which stands first */
    struct pg_conf_key *keys; /* defined in conf.c */
};

/* Read the words of a file with its includes, or of a text that errors call `name`. NULL with
 * error->text. */
struct pg_conf *pg_conf_read(const char *path, struct pg_error *error) PG_CHECKED;
struct pg_conf *pg_conf_read_text(const char *name, const char *text,
                                  struct pg_error *error) PG_CHECKED;
void pg_conf_free(struct pg_conf **conf);

/* Before parsing: the value of `key` in the block number `index` of the titled `kind`, to find out
 * which rows the block has. false: no such block. *title and *value (NULL: not given) are lent. */
bool pg_conf_peek(const struct pg_conf *conf, const char *kind, size_t index, const char *key,
                  const char **title, const char **value);

/* Find the blocks: unknown keys and blocks, keys and titles given twice, and bad grammar are
 * errors. Once. */
bool pg_conf_parse(struct pg_conf *conf, const struct pg_conf_kind *kinds, size_t count,
                   struct pg_error *error) PG_CHECKED;
/* Block number `index` of a kind, in the order of the file; NULL when there are no more. The top
 * level is always there. */
const struct pg_conf_block *pg_conf_block(const struct pg_conf *conf, const char *kind,
                                          size_t index);

/* Set every row's field of `into`: to the block's value, else to the default. `block` NULL: to the
 * defaults. Strings are copied into `pool`. */
bool pg_conf_fill(const struct pg_conf_block *block, const struct pg_option *rows, void *into,
                  struct pg_conf_pool *pool, struct pg_error *error) PG_CHECKED;
/* Whether the block has only keys of `rows` (NULL-terminated); if not, the error says that the key
 * is not one of `whose` ("transport tcp"). */
bool pg_conf_only(const struct pg_conf_block *block, const struct pg_option *const *rows,
                  const char *whose, struct pg_error *error) PG_CHECKED;
/* Whether the block gives the key. */
bool pg_conf_gives(const struct pg_conf_block *block, const char *key);

/* Write an error about a key of a block (or the whole block: `key` NULL) with its place in front;
 * returns false. */
bool pg_conf_refuse(const struct pg_conf_block *block, const char *key, struct pg_error *error,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
