/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store's maps, in one LMDB database without a name. Keys and values, numbers in keys
 * big-endian and in values little-endian:
 *
 *   "m" "version"                the format's version, u32
 *   "m" "session"                the next session number, u32; numbers are never used again
 *   "m" "log"                    the salt of the log that belongs to it, u32; 0: not known yet
 *   's' <session u32> ...        a session: expiry u32, when its last client ended u32
 *   'f' <session u32> <filter>   a subscription: options (below), identifier u32
 *   'r' 0 <topic>                a retained message
 *   'w' 0 <client id>            a will: expiry, delay, due u32 each, expires u8, user name, message
 *   'k' 0 <space, key>           a fact: expires u32, value
 *
 * After its letter and session a key has a byte, 0, and the name; or, when that is longer than LMDB
 * allows, 1, the name's first KEY_NAME_MAX bytes and a number u32 that tells apart those that begin
 * alike. A value begins with length u32 and the whole name. A session's name is its client
 * identifier.
 *
 * A database of an older version is brought up to this one when it is opened, by one step for each
 * version, in one transaction; one that is newer is refused. Version 1 had no "m" "log". */

#include "store_disk_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define MAP_VERSION  2u
#define KEY_MAX      511u
#define KEY_NAME_MAX 480u

struct key {
    uint8_t bytes[KEY_MAX];
    size_t len;
};

/* Errors of LMDB itself are negative, and stay what they are. */
static int as_errno(int rc)
{
    return rc > 0 ? -rc : rc;
}

static void key_start(struct key *key, enum pg_disk_kind kind, uint32_t session)
{
    key->bytes[0] = (uint8_t)kind;
    for (int i = 0; i < 4; i++)
        key->bytes[1 + i] = (uint8_t)(session >> (24 - 8 * i));
    key->len = 5;
}

static bool has_prefix(const MDB_val *key, const struct key *prefix)
{
    return key->mv_size >= prefix->len && memcmp(key->mv_data, prefix->bytes, prefix->len) == 0;
}

static bool value_has_name(const MDB_val *value, struct pg_bytes name)
{
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = value->mv_data, .len = value->mv_size});
    return pg_bytes_equal(pg_disk_get_bytes(&reader), name);
}

/* The key of a long name: that under which it is, or the next free one. */
static int find_long(MDB_txn *txn, MDB_dbi dbi, struct key *key, struct pg_bytes name)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    struct key prefix = *key;
    MDB_val at = {.mv_data = key->bytes, .mv_size = key->len}, value;
    uint32_t next = 0;
    for (rc = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);
         rc == 0 && has_prefix(&at, &prefix) && at.mv_size == prefix.len + 4;
         rc = mdb_cursor_get(cursor, &at, &value, MDB_NEXT)) {
        const uint8_t *number = (const uint8_t *)at.mv_data + prefix.len;
        next = (uint32_t)number[0] << 24 | (uint32_t)number[1] << 16 | (uint32_t)number[2] << 8 |
               number[3];
        if (value_has_name(&value, name))
            break;
        next++;
    }
    mdb_cursor_close(cursor);
    for (int i = 0; i < 4; i++)
        key->bytes[key->len++] = (uint8_t)(next >> (24 - 8 * i));
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int find_key(MDB_txn *txn, MDB_dbi dbi, enum pg_disk_kind kind, uint32_t session,
                    struct pg_bytes name, struct key *key)
{
    key_start(key, kind, session);
    bool whole = name.len <= KEY_NAME_MAX;
    key->bytes[key->len++] = whole ? 0 : 1;
    size_t n = whole ? name.len : KEY_NAME_MAX;
    if (n > 0)
        memcpy(key->bytes + key->len, name.data, n);
    key->len += n;
    return whole ? 0 : find_long(txn, dbi, key, name);
}

int pg_disk_map_put(struct pg_disk *disk, MDB_txn *txn, enum pg_disk_kind kind, uint32_t session,
                    struct pg_bytes name, struct pg_bytes value)
{
    struct key key;
    int rc = find_key(txn, disk->dbi, kind, session, name, &key);
    if (rc != 0)
        return as_errno(rc);
    MDB_val k = {.mv_data = key.bytes, .mv_size = key.len}, v;
    if (value.len == 0) {
        rc = mdb_del(txn, disk->dbi, &k, NULL);
        disk->retained_change -= kind == PG_DISK_RETAINED && rc == 0;
        return rc == MDB_NOTFOUND ? 0 : as_errno(rc);
    }
    disk->scratch.len = 0;
    pg_disk_put_u32(&disk->scratch, (uint32_t)name.len);
    pg_disk_put_raw(&disk->scratch, name);
    pg_disk_put_raw(&disk->scratch, value);
    if (disk->scratch.failed) {
        disk->scratch.failed = false;
        return -ENOMEM;
    }
    v = (MDB_val){.mv_data = disk->scratch.data, .mv_size = disk->scratch.len};
    if (kind != PG_DISK_RETAINED)
        return as_errno(mdb_put(txn, disk->dbi, &k, &v, 0));
    MDB_val wanted = v; /* LMDB puts what it found there */
    rc = mdb_put(txn, disk->dbi, &k, &v, MDB_NOOVERWRITE);
    disk->retained_change += rc == 0;
    return as_errno(rc == MDB_KEYEXIST ? mdb_put(txn, disk->dbi, &k, &wanted, 0) : rc);
}

static int drop_prefix(struct pg_disk *disk, MDB_txn *txn, enum pg_disk_kind kind, uint32_t session)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, disk->dbi, &cursor);
    if (rc != 0)
        return as_errno(rc);
    struct key prefix;
    key_start(&prefix, kind, session);
    MDB_val key = {.mv_data = prefix.bytes, .mv_size = prefix.len}, value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && has_prefix(&key, &prefix)) {
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0) /* which goes to the one behind what was deleted */
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : as_errno(rc);
}

int pg_disk_map_drop_session(struct pg_disk *disk, MDB_txn *txn, uint32_t session)
{
    int rc = drop_prefix(disk, txn, PG_DISK_SUBS, session);
    return rc != 0 ? rc : drop_prefix(disk, txn, PG_DISK_SESSIONS, session);
}

static int get_number(struct pg_disk *disk, MDB_txn *txn, const char *name, uint32_t *number)
{
    char text[16] = "m";
    strcat(text, name);
    MDB_val key = {.mv_data = text, .mv_size = strlen(text)}, value;
    int rc = mdb_get(txn, disk->dbi, &key, &value);
    if (rc != 0)
        return rc;
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = value.mv_data, .len = value.mv_size});
    *number = pg_disk_get_u32(&reader);
    return reader.failed ? MDB_CORRUPTED : 0;
}

static int put_number(struct pg_disk *disk, MDB_txn *txn, const char *name, uint32_t number)
{
    char text[16] = "m";
    strcat(text, name);
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    MDB_val key = {.mv_data = text, .mv_size = strlen(text)};
    MDB_val value = {.mv_data = bytes, .mv_size = sizeof(bytes)};
    return as_errno(mdb_put(txn, disk->dbi, &key, &value, 0));
}

int pg_disk_map_put_next_session(struct pg_disk *disk, MDB_txn *txn, uint32_t next)
{
    return put_number(disk, txn, "session", next);
}

int pg_disk_map_each(struct pg_disk *disk, enum pg_disk_kind kind, uint32_t session,
                     int (*fn)(void *arg, uint32_t session, struct pg_bytes name,
                               struct pg_bytes value),
                     void *arg)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int rc = mdb_txn_begin(disk->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return as_errno(rc);
    rc = mdb_cursor_open(txn, disk->dbi, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return as_errno(rc);
    }
    struct key prefix;
    key_start(&prefix, kind, session);
    if (kind == PG_DISK_SESSIONS)
        prefix.len = 1;
    MDB_val key = {.mv_data = prefix.bytes, .mv_size = prefix.len}, value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    int result = 0;
    while (rc == 0 && result == 0 && has_prefix(&key, &prefix) && key.mv_size > 5) {
        const uint8_t *k = key.mv_data;
        uint32_t id = (uint32_t)k[1] << 24 | (uint32_t)k[2] << 16 | (uint32_t)k[3] << 8 | k[4];
        struct pg_disk_reader reader =
            pg_disk_reader((struct pg_bytes){.data = value.mv_data, .len = value.mv_size});
        struct pg_bytes name = pg_disk_get_bytes(&reader);
        struct pg_bytes rest = {.data = reader.at, .len = (size_t)(reader.end - reader.at)};
        result = reader.failed ? MDB_CORRUPTED : fn(arg, id, name, rest);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return result != 0 ? result : rc == MDB_NOTFOUND ? 0 : as_errno(rc);
}

/* ---- expiry --------------------------------------------------------------------------------- */

#define SWEEP_KEYS 2048u /* looked at in one step */
#define SWEEP_DROP 64u   /* deleted in one step */

/* The Unix time at which it is over, or PG_DISK_NEVER. */
static uint32_t deadline_in(enum pg_disk_kind kind, const MDB_val *value)
{
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = value->mv_data, .len = value->mv_size});
    (void)pg_disk_get_bytes(&reader); /* the name */
    if (kind == PG_DISK_RETAINED)
        (void)pg_disk_get_u64(&reader); /* when the message was made */
    uint32_t deadline = pg_disk_get_u32(&reader);
    return reader.failed || deadline == 0 ? PG_DISK_NEVER : deadline;
}

/* Look at the keys of one kind from disk->sweep_key on, and collect what is over. false: there are
 * more. */
static bool sweep_scan(struct pg_disk *disk, MDB_txn *txn, enum pg_disk_kind kind, struct key *over,
                       uint32_t *count)
{
    MDB_cursor *cursor;
    if (mdb_cursor_open(txn, disk->dbi, &cursor) != 0)
        return true;
    MDB_val key = {.mv_data = disk->sweep_key, .mv_size = disk->sweep_key_len}, value;
    uint32_t looked = 0, now = pg_disk_now_s();
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    bool more = false;
    while (rc == 0 && ((const uint8_t *)key.mv_data)[0] == (uint8_t)kind) {
        more = looked++ == SWEEP_KEYS || *count == SWEEP_DROP;
        if (more) {
            disk->sweep_key_len = key.mv_size;
            memcpy(disk->sweep_key, key.mv_data, key.mv_size);
            break;
        }
        if (deadline_in(kind, &value) <= now) {
            over[*count].len = key.mv_size;
            memcpy(over[(*count)++].bytes, key.mv_data, key.mv_size);
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return !more;
}

int pg_disk_map_sweep(struct pg_disk *disk)
{
    static const enum pg_disk_kind kinds[] = {PG_DISK_RETAINED, PG_DISK_FACTS};
    struct key over[SWEEP_DROP];
    uint32_t count = 0;
    enum pg_disk_kind kind = kinds[disk->sweep_kind];
    MDB_txn *txn;
    if (disk->sweep_key_len == 0) {
        disk->sweep_key[0] = (uint8_t)kind;
        disk->sweep_key_len = 1;
    }
    int rc = mdb_txn_begin(disk->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return as_errno(rc);
    if (sweep_scan(disk, txn, kind, over, &count)) {
        disk->sweep_key_len = 0;
        disk->sweep_kind = !disk->sweep_kind;
    }
    mdb_txn_abort(txn);
    if (count == 0)
        return 0;
    rc = mdb_txn_begin(disk->env, NULL, 0, &txn);
    if (rc != 0)
        return as_errno(rc);
    uint32_t gone = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        MDB_val key = {.mv_data = over[i].bytes, .mv_size = over[i].len};
        rc = mdb_del(txn, disk->dbi, &key, NULL);
        gone += kind == PG_DISK_RETAINED;
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return as_errno(rc);
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        disk->stats.retained -= gone;
    return as_errno(rc);
}

/* ---- versions and files --------------------------------------------------------------------- */

/* Version 2 says which log belongs to the database. It is that which is found beside it next. */
static int bind_later(struct pg_disk *disk, MDB_txn *txn)
{
    return put_number(disk, txn, "log", 0);
}

/* From version i to i + 1; there was no version 0. */
static int (*const upgrades[MAP_VERSION])(struct pg_disk *, MDB_txn *) = {NULL, bind_later};

static int make_new(struct pg_disk *disk, MDB_txn *txn)
{
    int rc = put_number(disk, txn, "version", MAP_VERSION);
    if (rc == 0)
        rc = put_number(disk, txn, "session", 1);
    return rc == 0 ? put_number(disk, txn, "log", 0) : rc;
}

static int upgrade(struct pg_disk *disk, MDB_txn *txn, uint32_t found)
{
    int rc = found == 0 ? MDB_VERSION_MISMATCH : 0;
    PG_LOG(PG_INFO, "store_upgraded", PG_F_TEXT("dir", disk->dir), PG_F_INT("from", found),
           PG_F_INT("to", MAP_VERSION));
    for (uint32_t version = found; rc == 0 && version < MAP_VERSION; version++)
        rc = upgrades[version](disk, txn);
    return rc == 0 ? put_number(disk, txn, "version", MAP_VERSION) : rc;
}

/* Bring the database to this version, and read its numbers. *found is the version that it had. */
static int check_version(struct pg_disk *disk, uint32_t *found)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(disk->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &disk->dbi);
    *found = MAP_VERSION;
    if (rc == 0)
        rc = get_number(disk, txn, "version", found);
    disk->fresh = rc == MDB_NOTFOUND;
    if (rc == MDB_NOTFOUND)
        rc = make_new(disk, txn);
    else if (rc == 0 && *found < MAP_VERSION)
        rc = upgrade(disk, txn, *found);
    if (rc == 0 && *found <= MAP_VERSION)
        rc = get_number(disk, txn, "session", &disk->next_session);
    if (rc == 0 && *found <= MAP_VERSION)
        rc = get_number(disk, txn, "log", &disk->bound_to);
    if (rc != 0 || *found > MAP_VERSION) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

int pg_disk_map_bind(struct pg_disk *disk, uint32_t salt)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(disk->env, NULL, 0, &txn);
    if (rc != 0)
        return as_errno(rc);
    rc = put_number(disk, txn, "log", salt);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        disk->bound_to = salt;
    return as_errno(rc);
}

static int open_env(struct pg_disk *disk)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (disk->options.fsync == PG_SEGLOG_NEVER)
        flags |= MDB_NOSYNC;
    else if (disk->options.fsync == PG_SEGLOG_INTERVAL)
        flags |= MDB_NOMETASYNC;
    int rc = mdb_env_create(&disk->env);
    if (rc == 0 && disk->options.map_bytes > 0)
        rc = mdb_env_set_mapsize(disk->env, disk->options.map_bytes);
    if (rc == 0)
        rc = mdb_env_open(disk->env, disk->dir, flags, 0600);
    return rc;
}

bool pg_disk_map_open(struct pg_disk *disk, struct pg_error *error)
{
    int rc = open_env(disk);
    uint32_t found = MAP_VERSION;
    if (rc == 0)
        rc = check_version(disk, &found);
    if (rc != 0) {
        pg_error_set(error, "%s/data.mdb: %s", disk->dir,
                     mdb_strerror(rc < -1000 || rc > 0 ? rc : -rc));
        return false;
    }
    if (found > MAP_VERSION) {
        pg_error_set(error,
                     "%s/data.mdb: format version %u, this program knows %u; start the newer "
                     "version of the program that wrote it",
                     disk->dir, found, MAP_VERSION);
        return false;
    }
    return true;
}

int pg_disk_map_reopen(struct pg_disk *disk)
{
    MDB_txn *txn;
    mdb_env_close(disk->env);
    disk->env = NULL;
    int rc = open_env(disk);
    if (rc == 0)
        rc = mdb_txn_begin(disk->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &disk->dbi);
        mdb_txn_abort(txn);
    }
    if (rc != 0 && disk->env) {
        mdb_env_close(disk->env);
        disk->env = NULL;
    }
    return as_errno(rc);
}

uint64_t pg_disk_map_bytes(struct pg_disk *disk)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (!disk->env || mdb_env_info(disk->env, &info) != 0 || mdb_env_stat(disk->env, &stat) != 0)
        return 0;
    return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}
