/* SPDX-License-Identifier: Apache-2.0 */

/* An example of a protocol that is not built in: lines of text, for telnet and for reading.
 *
 *   peer                          gateway
 *   HELLO <client id>             OK, or NO <reason>        once, first
 *   PUB <topic> <payload>         OK, or NO <reason>
 *   SUB <filter>                  OK, or NO <reason>
 *   BYE                           closes
 *                                 MSG <topic> <payload>     a message that a subscription matched
 *                                 BYE <reason>              before the gateway closes
 *
 * A line ends with LF. Within a word, a byte up to 0x20, 0x7f and '%' are written %XX; in a
 * payload, which is the rest of its line, blanks stand for themselves.
 *
 *   LINES_FRESH --HELLO--> LINES_ASKING --admitted--> LINES_ONLINE
 *        ^                      |
 *        +------refused---------+
 *
 * Commands are answered in their order: while the answer to one is not known, reading is paused.
 * Deliveries are QoS 0, settled by being taken.
 *
 * It is built as a shared object against polygate.h and the C library alone, as somebody else's
 * would be. Everything runs on the worker of the connection. */

#include <stdlib.h>
#include <string.h>

#include "polygate.h"

/* Longest client identifier, in bytes: it stands in every log line of the client. */
#define CLIENT_ID_MAX 256u

enum lines_state {
    LINES_FRESH,  /* identity unknown; only HELLO is allowed; the core's login deadline runs */
    LINES_ASKING, /* admission is asked for; reading is paused */
    LINES_ONLINE, /* `client` is set; every command is allowed */
};

struct lines_conn {
    enum lines_state state;
    struct pg_client *client; /* while ONLINE */
    bool waiting;             /* for the result of a PUB or SUB; reading is paused */
};

struct lines_conf {
    int64_t line_size;
};

static const struct pg_option lines_options[] = {
    {.name = "line_size",
     .type = PG_OPT_SIZE,
     .offset = offsetof(struct lines_conf, line_size),
     .fallback = "64k",
     .min = 256,
     .max = 1 << 20,
     .reloadable = true,
     .sentence = "Longest line after HELLO; one that is longer closes the connection, so that a "
                 "peer cannot make the gateway keep more."},
    {.name = NULL},
};

enum { COUNT_COMMANDS, COUNT_MESSAGES };
static const struct pg_counter lines_counters[] = {
    [COUNT_COMMANDS] = {.name = "commands", .sentence = "a line was taken from a peer"},
    [COUNT_MESSAGES] = {.name = "messages", .sentence = "a MSG was written to a peer"},
    {.name = NULL},
};

/* ---- writing -------------------------------------------------------------------------------- */

static void write_text(struct pg_conn *conn, const char *text)
{
    pg_conn_append(conn, pg_bytes_str(text));
}

static void write_result(struct pg_conn *conn, enum pg_reason reason)
{
    if (!pg_reason_is_error(reason)) {
        write_text(conn, "OK\n");
        return;
    }
    write_text(conn, "NO ");
    write_text(conn, pg_reason_name(reason));
    write_text(conn, "\n");
}

/* Write a word or a payload, with what may not stand in it as %XX. */
static void write_escaped(struct pg_conn *conn, struct pg_bytes bytes, bool blanks)
{
    static const char digits[] = "0123456789abcdef";
    size_t plain = 0; /* where the bytes begin that need no change */
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t b = bytes.data[i];
        if ((b > 0x20 && b != 0x7f && b != '%') || (b == ' ' && blanks))
            continue;
        pg_conn_append(conn, (struct pg_bytes){.data = bytes.data + plain, .len = i - plain});
        const uint8_t escape[] = {'%', (uint8_t)digits[b >> 4], (uint8_t)digits[b & 15]};
        pg_conn_append(conn, (struct pg_bytes){.data = escape, .len = sizeof(escape)});
        plain = i + 1;
    }
    if (plain < bytes.len)
        pg_conn_append(conn,
                       (struct pg_bytes){.data = bytes.data + plain, .len = bytes.len - plain});
}

/* ---- reading -------------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Take the %XX out of `bytes` into `room`, which has bytes.len bytes. false: a bad escape. */
static bool unescape(struct pg_bytes bytes, uint8_t *room, struct pg_bytes *out)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] != '%') {
            room[n++] = bytes.data[i];
            continue;
        }
        if (bytes.len - i < 3)
            return false;
        int high = hex_value(bytes.data[i + 1]);
        int low = hex_value(bytes.data[i + 2]);
        if (high < 0 || low < 0)
            return false;
        room[n++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *out = (struct pg_bytes){.data = room, .len = n};
    return true;
}

/* Cut the first word off `line`, which then begins behind the blank that ended it. */
static struct pg_bytes take_word(struct pg_bytes *line)
{
    const uint8_t *blank = line->len > 0 ? memchr(line->data, ' ', line->len) : NULL;
    size_t len = blank ? (size_t)(blank - line->data) : line->len;
    struct pg_bytes word = {.data = line->data, .len = len};
    size_t used = blank ? len + 1 : len;
    *line = used < line->len ? (struct pg_bytes){.data = line->data + used, .len = line->len - used}
                             : PG_BYTES_NONE;
    return word;
}

/* ---- commands ------------------------------------------------------------------------------- */

static void answer(struct pg_conn *conn, struct lines_conn *c, enum pg_reason reason)
{
    if (reason == PG_PENDING) {
        c->waiting = true;
        pg_conn_pause(conn);
    } else {
        write_result(conn, reason);
    }
}

static void hello(struct pg_conn *conn, struct lines_conn *c, struct pg_bytes id)
{
    if (id.len == 0 || id.len > CLIENT_ID_MAX || !pg_utf8_valid(id)) {
        write_result(conn, PG_CLIENT_ID_INVALID);
        return;
    }
    struct pg_login login = {.client_id = id, .clean_start = true, .window = 1};
    c->state = LINES_ASKING;
    pg_conn_pause(conn);
    pg_client_admit(conn, &login, NULL);
}

static void publish(struct pg_conn *conn, struct lines_conn *c, struct pg_bytes topic,
                    struct pg_bytes payload)
{
    struct pg_msg_spec spec = {
        .topic = topic,
        .payload = payload,
        .qos = 1,
        .publisher = pg_client_id(c->client),
        .protocol = "lines",
    };
    struct pg_msg *msg = pg_msg_new(&spec);
    answer(conn, c, msg ? pg_publish(c->client, msg, 0) : PG_NO_MEMORY);
}

static void subscribe(struct pg_conn *conn, struct lines_conn *c, struct pg_bytes filter)
{
    struct pg_subscription sub = {.filter = filter};
    answer(conn, c, pg_subscribe(c->client, &sub, 0));
}

/* One line, without its LF. `room` has as many bytes as the line. */
static void command(struct pg_conn *conn, struct lines_conn *c, struct pg_bytes line, uint8_t *room)
{
    struct pg_bytes verb = take_word(&line);
    struct pg_bytes word, rest;
    pg_conn_count(conn, COUNT_COMMANDS, 1);
    pg_conn_alive(conn);
    if (!unescape(take_word(&line), room, &word) || !unescape(line, room + word.len, &rest))
        pg_conn_close(conn, PG_MALFORMED, "a %% without two hexadecimal digits");
    else if (pg_bytes_equal(verb, PG_BYTES_OF("BYE")))
        pg_conn_close(conn, PG_CLIENT_CLOSED, NULL);
    else if (c->state == LINES_FRESH && pg_bytes_equal(verb, PG_BYTES_OF("HELLO")))
        hello(conn, c, word);
    else if (c->state == LINES_ONLINE && pg_bytes_equal(verb, PG_BYTES_OF("PUB")))
        publish(conn, c, word, rest);
    else if (c->state == LINES_ONLINE && pg_bytes_equal(verb, PG_BYTES_OF("SUB")))
        subscribe(conn, c, word);
    else
        pg_conn_close(conn, PG_PROTOCOL_ERROR, "not a command that is allowed now");
}

/* ---- what the core calls -------------------------------------------------------------------- */

static void lines_open(struct pg_conn *conn)
{
    (void)conn; /* the state is zeroed: LINES_FRESH */
}

static size_t lines_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    struct lines_conn *c = pg_conn_state(conn);
    size_t used = 0;
    while (used < in.len && !pg_conn_closing(conn) && !c->waiting && c->state != LINES_ASKING) {
        const uint8_t *start = in.data + used;
        const uint8_t *end = memchr(start, '\n', in.len - used);
        if (!end)
            break;
        struct pg_bytes line = {.data = start, .len = (size_t)(end - start)};
        used += line.len + 1;
        uint8_t *room = malloc(line.len + 1);
        if (!room) {
            pg_conn_close(conn, PG_NO_MEMORY, NULL);
            break;
        }
        command(conn, c, line, room);
        free(room);
    }
    return used;
}

static void lines_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    (void)cookie;
    struct lines_conn *c = pg_conn_state(conn);
    const struct lines_conf *conf = pg_conn_conf(conn);
    c->client = admission->client;
    c->state = admission->client ? LINES_ONLINE : LINES_FRESH;
    if (admission->client) {
        pg_conn_set_frame_limit(conn, (size_t)conf->line_size);
        pg_conn_set_idle(conn, 0, PG_KEEPALIVE_TIMEOUT);
    }
    write_result(conn, admission->reason);
    pg_conn_resume(conn);
}

static void lines_result(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    (void)token;
    struct pg_conn *conn = pg_client_conn(client);
    struct lines_conn *c = pg_conn_state(conn);
    c->waiting = false;
    write_result(conn, reason);
    pg_conn_resume(conn);
}

static void lines_deliver(struct pg_client *client)
{
    struct pg_conn *conn = pg_client_conn(client);
    struct pg_delivery delivery;
    while (pg_conn_has_room(conn) && pg_delivery_next(client, &delivery)) {
        write_text(conn, "MSG ");
        write_escaped(conn, delivery.msg->topic, false);
        write_text(conn, " ");
        write_escaped(conn, delivery.msg->payload, true);
        write_text(conn, "\n");
        pg_conn_count(conn, COUNT_MESSAGES, 1);
    }
}

static void lines_client_ended(struct pg_client *client, enum pg_reason reason)
{
    (void)reason; /* the connection closes, with this reason or its own */
    struct lines_conn *c = pg_conn_state(pg_client_conn(client));
    c->client = NULL;
}

static void lines_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    write_text(conn, "BYE ");
    write_text(conn, pg_reason_name(reason));
    write_text(conn, "\n");
}

static const struct pg_protocol lines_protocol = {
    .abi = PG_ABI,
    .name = "lines",
    .options = lines_options,
    .conf_size = sizeof(struct lines_conf),
    .counters = lines_counters,
    .conn_size = sizeof(struct lines_conn),
    .open = lines_open,
    .bytes = lines_bytes,
    .admitted = lines_admitted,
    .published = lines_result,
    .subscribed = lines_result,
    .deliver = lines_deliver,
    .client_ended = lines_client_ended,
    .goodbye = lines_goodbye,
};

PG_API extern const struct pg_plugin pg_plugin_descriptor;
const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI,
    .name = "lines",
    .protocol = &lines_protocol,
};
