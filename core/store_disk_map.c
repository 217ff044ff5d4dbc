/* SPDX-License-Identifier: Apache-2.0 */

/* The embedded store's maps, in one LMDB database without a name. Keys and values, numbers in keys
 * big-endian and in values little-endian:
 *
 *   "m" "version"                the format's version, u32
 *   "m" "session"                the next session number, u32; numbers are never used again
 *   's' <session u32> ...        a session: expiry u32, when its last client ended u32
 *   'f' <session u32> <filter>   a subscription: options (below), identifier u32
 *   'r' 0 <topic>                a retained message
 *   'w' 0 <client id>            a will: expiry, delay, due u32 each, expires u8, user name, message
 *   'k' 0 <space, key>           a fact: expires u32, value
 *
 * After its letter and session a key has a byte, 0, and the name; or, when that is longer than LMDB
 * allows, 1, the name's first KEY_NAME_MAX bytes and a number u32 that tells apart those that begin alike.
 * A value begins with length u32 and the whole name. A session's name is its client identifier.
 *
 * A version that is older is brought up to this one when the database is opened (there is none so
 * far); one that is newer is refused. */

#include "store_disk_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define MAP_VERSION  1u
#define KEY_MAX      511u
#define KEY_NAME_MAX 480u

struct key {
    uint8_t bytes[KEY_MAX];
    size_t len;
};

static int as_errno(int rc)
{
    if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
        return -ENOSPC;
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
    return as_errno(mdb_put(txn, disk->dbi, &k, &v, 0));
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

/* What a database of this version must have; made when there is none. */
static int check_version(struct pg_disk *disk, uint32_t *found)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(disk->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &disk->dbi);
    *found = MAP_VERSION;
    disk->next_session = 1;
    if (rc == 0)
        rc = get_number(disk, txn, "version", found);
    if (rc == MDB_NOTFOUND) {
        rc = put_number(disk, txn, "version", MAP_VERSION);
        if (rc == 0)
            rc = put_number(disk, txn, "session", 1);
    } else if (rc == 0 && *found == MAP_VERSION) {
        rc = get_number(disk, txn, "session", &disk->next_session);
    }
    if (rc != 0 || *found != MAP_VERSION) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

bool pg_disk_map_open(struct pg_disk *disk, struct pg_error *error)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (disk->options.fsync == PG_SEGLOG_NEVER)
        flags |= MDB_NOSYNC;
    else if (disk->options.fsync == PG_SEGLOG_INTERVAL)
        flags |= MDB_NOMETASYNC;
    int rc = mdb_env_create(&disk->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(disk->env, disk->options.map_bytes);
    if (rc == 0)
        rc = mdb_env_open(disk->env, disk->dir, flags, 0600);
    uint32_t found = MAP_VERSION;
    if (rc == 0)
        rc = check_version(disk, &found);
    if (rc != 0) {
        pg_error_set(error, "%s/data.mdb: %s", disk->dir,
                     mdb_strerror(rc < -1000 || rc > 0 ? rc : -rc));
        return false;
    }
    if (found != MAP_VERSION) {
        pg_error_set(error,
                     "%s/data.mdb: format version %u, this program knows %u; start the newer "
                     "version of the program that wrote it",
                     disk->dir, found, MAP_VERSION);
        return false;
    }
    return true;
}
