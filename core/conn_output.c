/* SPDX-License-Identifier: Apache-2.0 */

/* The output of a connection: a list of chunks, each bytes of our own or a range of a message that
 * is referenced, flushed in gathered writes at the end of the loop turn; see conn.c. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "conn_state.h"

/* An own chunk of output. Messages up to COPY_MAX are copied into it: for the kernel, one longer
 * range is cheaper than two, and for us a copy is cheaper than a reference. */
#define LONG_SIZE    4096u
#define COPY_MAX     512u
#define SPARE_CHUNKS 256u
#define IOV_BATCH    256

/* What begins with an answer of up to ANSWER_MAX bytes mostly ends with it: a short chunk takes it, so
 * that what thousands of peers are answered in one turn lies together. When more comes, a long one takes
 * its place. */
#define SHORT_SIZE 248u
#define ANSWER_MAX 64u

#define LONG_ROOM  ((uint32_t)(LONG_SIZE - sizeof(struct out_chunk)))
#define SHORT_ROOM ((uint32_t)(SHORT_SIZE - sizeof(struct out_chunk)))
_Static_assert(PG_RESERVE_MAX + SHORT_ROOM <= LONG_ROOM,
               "a reservation fits an empty chunk, also with what a short one held");

static uint32_t room_of(bool is_long)
{
    return is_long ? LONG_ROOM : SHORT_ROOM;
}

/* Of an own one. */
static bool is_long(const struct out_chunk *chunk)
{
    return (size_t)(chunk->data - chunk->bytes) + chunk->len + chunk->room == LONG_ROOM;
}

static struct out_chunk *new_chunk(struct pg_conn *conn, bool as_long)
{
    struct pg_conn_part *part = &conn->worker->conns;
    struct out_chunk *chunk = part->spare[as_long].first;
    if (chunk) {
        part->spare[as_long].first = chunk->next;
        part->spare[as_long].count--;
    } else {
        chunk = malloc(as_long ? LONG_SIZE : SHORT_SIZE);
        if (!chunk)
            return NULL;
    }
    *chunk = (struct out_chunk){.data = chunk->bytes, .room = room_of(as_long)};
    return chunk;
}

static void free_chunk(struct pg_conn *conn, struct out_chunk *chunk)
{
    struct pg_conn_part *part = &conn->worker->conns;
    bool as_long = !chunk->msg && is_long(chunk);
    if (chunk->msg) {
        pg_msg_unref(&chunk->msg);
        free(chunk);
    } else if (part->spare[as_long].count < SPARE_CHUNKS) {
        chunk->next = part->spare[as_long].first;
        part->spare[as_long].first = chunk;
        part->spare[as_long].count++;
    } else {
        free(chunk);
    }
}

void pg_conns_free_spare(struct pg_conn_part *part)
{
    for (int as_long = 0; as_long < 2; as_long++) {
        while (part->spare[as_long].first) {
            struct out_chunk *chunk = part->spare[as_long].first;
            part->spare[as_long].first = chunk->next;
            free(chunk);
        }
        part->spare[as_long].count = 0;
    }
}

static void link_chunk(struct pg_conn *conn, struct out_chunk *chunk)
{
    struct out_chunk *last = conn->last;
    if (last) {
        chunk->next = last->next;
        chunk->total = last->total;
        last->next = chunk;
    } else {
        chunk->next = chunk;
        chunk->total = 0;
    }
    conn->last = chunk;
}

static struct out_chunk *first_chunk(const struct pg_conn *conn)
{
    return conn->last ? conn->last->next : NULL;
}

static void drop_first_chunk(struct pg_conn *conn)
{
    struct out_chunk *first = conn->last->next;
    if (first == conn->last)
        conn->last = NULL;
    else
        conn->last->next = first->next;
    free_chunk(conn, first);
}

void pg_conn_drop_output(struct pg_conn *conn)
{
    while (conn->last)
        drop_first_chunk(conn);
}

/* Whether output may still be queued: goodbyes are written while closing. */
static bool takes_output(const struct pg_conn *conn)
{
    return conn->state == CONN_OPEN || conn->state == CONN_CLOSING;
}

static void queued(struct pg_conn *conn, size_t n)
{
    conn->last->total += n;
    mark_dirty(conn);
}

/* Somewhere to write to when there is no memory left: the connection is being closed, and what is
 * written here goes nowhere. */
static _Thread_local uint8_t nowhere[PG_RESERVE_MAX];

/* The only chunk is a short one without room: a long one with its bytes. NULL: out of memory. */
static struct out_chunk *lengthen(struct pg_conn *conn)
{
    struct out_chunk *old = conn->last, *chunk = new_chunk(conn, true);
    if (!chunk)
        return NULL;
    memcpy(chunk->bytes, old->data, old->len);
    chunk->len = old->len;
    chunk->room -= old->len;
    chunk->total = old->total;
    chunk->next = chunk;
    conn->last = chunk;
    free_chunk(conn, old);
    return chunk;
}

/* A last chunk with room for `n` bytes, for want of one. NULL: out of memory. */
static struct out_chunk *add_chunk(struct pg_conn *conn, size_t n)
{
    struct out_chunk *last = conn->last;
    if (last && last->next == last && !last->msg && !is_long(last))
        return lengthen(conn);
    struct out_chunk *chunk = new_chunk(conn, last || n > ANSWER_MAX);
    if (chunk)
        link_chunk(conn, chunk);
    return chunk;
}

uint8_t *pg_conn_reserve(struct pg_conn *conn, size_t n)
{
    if (!takes_output(conn) || n > PG_RESERVE_MAX)
        return nowhere;
    struct out_chunk *last = conn->last;
    if (!last || last->room < n) {
        last = add_chunk(conn, n);
        if (!last) {
            pg_conn_close(conn, PG_NO_MEMORY, "while queueing output");
            return nowhere;
        }
    }
    return (uint8_t *)last->data + last->len;
}

void pg_conn_commit(struct pg_conn *conn, size_t used)
{
    struct out_chunk *last = conn->last;
    if (!takes_output(conn) || !last || last->room < used)
        return;
    last->len += (uint32_t)used;
    last->room -= (uint32_t)used;
    queued(conn, used);
}

void pg_conn_append(struct pg_conn *conn, struct pg_bytes bytes)
{
    struct out_chunk *last = conn->last;
    if (last && last->room >= bytes.len && takes_output(conn)) {
        memcpy((uint8_t *)last->data + last->len, bytes.data, bytes.len);
        pg_conn_commit(conn, bytes.len);
        return;
    }
    while (bytes.len > 0 && takes_output(conn)) {
        last = conn->last;
        size_t n = last && last->room > 0 ? last->room : PG_RESERVE_MAX;
        if (n > bytes.len)
            n = bytes.len;
        if (n > PG_RESERVE_MAX)
            n = PG_RESERVE_MAX;
        memcpy(pg_conn_reserve(conn, n), bytes.data, n);
        pg_conn_commit(conn, n);
        bytes.data += n;
        bytes.len -= n;
    }
}

void pg_conn_append_msg(struct pg_conn *conn, struct pg_msg *msg, struct pg_bytes bytes)
{
    if (bytes.len <= COPY_MAX) {
        pg_conn_append(conn, bytes);
        return;
    }
    if (!takes_output(conn))
        return;
    struct out_chunk *chunk = bytes.len <= UINT32_MAX ? malloc(sizeof(*chunk)) : NULL;
    if (!chunk) {
        pg_conn_close(conn, PG_NO_MEMORY, "while queueing output");
        return;
    }
    *chunk = (struct out_chunk){
        .msg = pg_msg_ref(msg),
        .data = bytes.data,
        .len = (uint32_t)bytes.len,
    };
    link_chunk(conn, chunk);
    queued(conn, bytes.len);
}

bool pg_conn_has_room(const struct pg_conn *conn)
{
    if (conn->state != CONN_OPEN)
        return false;
    if (out_bytes(conn) < (size_t)settings_of(conn)->limits.output_high)
        return true;
    ((struct pg_conn *)conn)->starved = true; /* remembered so that deliveries resume */
    return false;
}

size_t pg_conn_queued_bytes(const struct pg_conn *conn)
{
    return out_bytes(conn);
}

/* Gather up to IOV_BATCH chunks; the number of bytes is put in *bytes. */
static int gather(const struct pg_conn *conn, struct iovec *iov, size_t *bytes)
{
    int n = 0;
    *bytes = 0;
    const struct out_chunk *c = first_chunk(conn);
    for (bool more = c != NULL; more && n < IOV_BATCH; c = c->next) {
        more = c != conn->last;
        if (c->len == 0)
            continue;
        iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)c->data, .iov_len = c->len};
        *bytes += c->len;
    }
    return n;
}

/* Forget the first `n` bytes of output. */
static void sent(struct pg_conn *conn, size_t n)
{
    conn->last->total -= n;
    while (conn->last && n >= first_chunk(conn)->len) {
        n -= first_chunk(conn)->len;
        drop_first_chunk(conn);
    }
    if (n > 0) {
        struct out_chunk *first = first_chunk(conn);
        first->data += n;
        first->len -= (uint32_t)n;
    }
}

void pg_conn_write_out(struct pg_conn *conn)
{
    struct iovec iov[IOV_BATCH];
    while (out_bytes(conn) > 0 && !conn->blocked) {
        size_t offered;
        int n = gather(conn, iov, &offered);
        ssize_t taken = transport_of(conn)->writev(link_of(conn), iov, n);
        if (taken < 0) {
            pg_conn_broken(conn, errno);
            return;
        }
        count(conn, PG_COUNT_WRITES, 1);
        count(conn, PG_COUNT_BYTES_SENT, (uint64_t)taken);
        if (taken > 0 && !pg_conn_wants_bytes(conn))
            pg_conn_alive(conn); /* the only sign of life that is looked for meanwhile */
        sent(conn, (size_t)taken);
        conn->blocked = (size_t)taken < offered;
    }
    transport_of(conn)->want_write(link_of(conn), conn->blocked);
}
