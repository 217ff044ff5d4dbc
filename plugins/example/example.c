/* SPDX-License-Identifier: Apache-2.0 */

/* A protocol of one's own, as a loadable plugin: the place to start when you write one.
 *
 * It is built against polygate.h alone, as every frontend is, and loaded by the configuration:
 *
 *     plugin "example" { path = "/usr/lib/polygate/plugins/example.so" }
 *     example { greeting = "hello" }
 *     listener "lines" { bind = "127.0.0.1:7777"  protocol = example }
 *
 * The protocol is made of lines, so that it can be tried by hand with nc or telnet:
 *
 *     the client says          the gateway says
 *     HELLO id [password]      OK hello                     login; the password belongs to user
 * `id` SUB filter               OK                           or ERR not_authorized: ... PUB topic
 * text           OK                           or ERR ... BYE                      (closes) MSG
 * topic text               a message; \ and line breaks in it are written \\ and \n BYE reason:
 * sentence         the gateway closes
 *
 * How a frontend works, in the order in which it happens:
 *
 *  1. A connection opens: the core calls `open`. The state of the connection is a struct of our own
 *     (struct example), which the core allocates zeroed and frees.
 *  2. Bytes come: `bytes` takes whole frames (here: lines) off their head and says how many bytes
 * it used. The rest comes again with more behind it; we never buffer.
 *  3. The client tells its name: pg_client_admit(). The answer comes by `admitted`.
 *  4. The client publishes and subscribes. A result is known at once or comes later by `published`
 *     or `subscribed` (an access plugin asks somebody, a store commits). Nothing may be answered
 *     before. While an answer is out we stop reading, so that answers keep the order of questions.
 *  5. Messages wait for the client: `deliver` takes them from its session, as long as the
 * connection has room. What is not taken waits in the session, within the limits of the
 * configuration.
 *  6. It ends: `client_ended` for the client, `goodbye` to write last words, `closed` when the link
 *     is gone.
 *
 * All of this happens on one thread, the worker of the connection; there is nothing to lock. */

#include <stdlib.h>
#include <string.h>

#include "polygate.h"

/* ---- configuration --------------------------------------------------------------------------- */

/* The values of the block `example { }`. The rows below fill it in. */
struct example_conf {
    const char *greeting;
    int64_t line_max;
    int64_t idle;
};

#define OPTION(member) .name = #member, .offset = offsetof(struct example_conf, member)

/* From these rows the configuration is checked and shown. A good sentence says what the option does
 * and why its default is what it is. */
static const struct pg_option example_options[] = {
    {OPTION(greeting), .type = PG_OPT_STRING, .fallback = "welcome", .reloadable = true,
     .sentence = "What follows OK after a login."},
    {OPTION(line_max), .type = PG_OPT_SIZE, .fallback = "4k", .min = 64, .max = 1024 * 1024,
     .reloadable = true,
     .sentence = "Longest line of a client that has logged in; people type less than 4k."},
    {OPTION(idle), .type = PG_OPT_DURATION, .fallback = "10m", .min = 1000, .max = 86400000,
     .reloadable = true,
     .sentence = "Silence after which a client is closed; 10m is long enough to think."},
    {.name = NULL},
};

/* Counters of our own, shown as example.lines and example.bad_lines. */
enum { COUNT_LINES, COUNT_BAD_LINES };
static const struct pg_counter example_counters[] = {
    [COUNT_LINES] = {.name = "lines", .sentence = "a line came"},
    [COUNT_BAD_LINES] = {.name = "bad_lines", .sentence = "a line was not understood"},
    {.name = NULL},
};

/* ---- state ----------------------------------------------------------------------------------- */

/* What is true of a connection. */
enum example_state {
    EXAMPLE_FRESH,   /* no client; only HELLO and BYE are allowed */
    EXAMPLE_WAITING, /* an answer of the core is out; reading is paused */
    EXAMPLE_READY,   /* `client` is admitted; every command is allowed */
};

struct example {
    enum example_state state;
    struct pg_client *client; /* from `admitted` to `client_ended` */
};

/* ---- output ---------------------------------------------------------------------------------- */

/* pg_conn_append() copies; it leaves with everything else in one write at the end of the turn. */
static void say(struct pg_conn *conn, const char *text)
{
    pg_conn_append(conn, pg_bytes_str(text));
}

/* Every refusal has one reason out of one list; a frontend only has to write it down. */
static void say_reason(struct pg_conn *conn, const char *word, enum pg_reason reason)
{
    say(conn, word);
    say(conn, " ");
    say(conn, pg_reason_name(reason));
    say(conn, ": ");
    say(conn, pg_reason_sentence(reason));
    say(conn, "\n");
}

/* The answer to PUB and SUB. Nobody being there to receive it is no failure. */
static void say_result(struct pg_conn *conn, enum pg_reason reason)
{
    if (reason == PG_OK || reason == PG_NO_SUBSCRIBERS)
        say(conn, "OK\n");
    else
        say_reason(conn, "ERR", reason);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Take the next word off the line. Ranges of bytes are passed around with their length; they are
 * not C strings. */
static struct pg_bytes next_word(struct pg_bytes *line)
{
    const uint8_t *blank = line->len > 0 ? memchr(line->data, ' ', line->len) : NULL;
    struct pg_bytes word = {.data = line->data,
                            .len = blank ? (size_t)(blank - line->data) : line->len};
    size_t used = blank ? word.len + 1 : word.len;
    line->data += used;
    line->len -= used;
    return word;
}

/* A question is out: no further line is looked at until its answer has come. pg_conn_pause() makes
 * the core keep what the client sends meanwhile in the kernel, where flow control works. */
static void wait_for_answer(struct pg_conn *conn, struct example *example)
{
    example->state = EXAMPLE_WAITING;
    pg_conn_pause(conn);
}

static void answer_came(struct pg_conn *conn, struct example *example)
{
    example->state = EXAMPLE_READY;
    pg_conn_resume(conn);
}

static void hello(struct pg_conn *conn, struct example *example, struct pg_bytes rest)
{
    struct pg_bytes id = next_word(&rest);
    if (example->state != EXAMPLE_FRESH || id.len == 0) {
        say(conn, "ERR usage: HELLO id [password], once\n");
        return;
    }
    struct pg_login login = {
        .client_id = id,
        /* No password: no user name either, and the client is anonymous. */
        .username = rest.len > 0 ? id : PG_BYTES_NONE,
        .password = rest.len > 0 ? rest : PG_BYTES_NONE,
        .clean_start = true,
        .session_expiry_s = 0, /* the session ends with the client */
        .window = 16,
    };
    wait_for_answer(conn, example);
    pg_client_admit(conn, &login, NULL);
}

static void publish(struct pg_conn *conn, struct example *example, struct pg_bytes rest)
{
    struct pg_bytes topic = next_word(&rest);
    struct pg_msg_spec spec = {
        .topic = topic,
        .payload = rest,
        .qos = 1, /* acknowledged by OK */
        .publisher = pg_client_id(example->client),
        .protocol = "example",
    };
    struct pg_msg *msg = pg_msg_new(&spec); /* copies; messages never change afterwards */
    if (!msg) {
        say_result(conn, PG_NO_MEMORY);
        return;
    }
    /* pg_publish() checks the topic and the access rules; `msg` is given away. */
    enum pg_reason reason = pg_publish(example->client, msg, 0);
    if (reason == PG_PENDING)
        wait_for_answer(conn, example);
    else
        say_result(conn, reason);
}

static void subscribe(struct pg_conn *conn, struct example *example, struct pg_bytes rest)
{
    struct pg_subscription sub = {.filter = rest, .qos = 1};
    enum pg_reason reason = pg_subscribe(example->client, &sub, 0);
    if (reason == PG_PENDING)
        wait_for_answer(conn, example);
    else
        say_result(conn, reason);
}

static bool is(struct pg_bytes word, const char *text)
{
    return pg_bytes_equal(word, pg_bytes_str(text));
}

static void take_line(struct pg_conn *conn, struct pg_bytes line)
{
    struct example *example = pg_conn_state(conn);
    struct pg_bytes rest = line;
    struct pg_bytes word = next_word(&rest);
    pg_conn_count(conn, COUNT_LINES, 1);
    pg_conn_alive(conn); /* restarts the idle time */
    if (is(word, "BYE")) {
        pg_conn_close(conn, PG_CLIENT_CLOSED, NULL);
    } else if (is(word, "HELLO")) {
        hello(conn, example, rest);
    } else if (example->state == EXAMPLE_READY && is(word, "PUB")) {
        publish(conn, example, rest);
    } else if (example->state == EXAMPLE_READY && is(word, "SUB")) {
        subscribe(conn, example, rest);
    } else {
        pg_conn_count(conn, COUNT_BAD_LINES, 1);
        say(conn, example->state == EXAMPLE_READY
                      ? "ERR expected PUB topic text, SUB filter or BYE\n"
                      : "ERR expected HELLO id [password]\n");
    }
}

/* Lines end with a line feed; a carriage return in front of it, as telnet sends, is taken off. */
static size_t example_bytes(struct pg_conn *conn, struct pg_bytes in)
{
    const struct example *example = pg_conn_state(conn);
    size_t used = 0;
    /* After each line look again: it may have closed the connection, or asked a question. */
    while (used < in.len && !pg_conn_closing(conn) && example->state != EXAMPLE_WAITING) {
        const uint8_t *start = in.data + used;
        const uint8_t *end = memchr(start, '\n', in.len - used);
        if (!end)
            break;
        struct pg_bytes line = {.data = start, .len = (size_t)(end - start)};
        used += line.len + 1;
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        take_line(conn, line);
    }
    return used;
}

/* ---- answers of the core --------------------------------------------------------------------- */

static void example_open(struct pg_conn *conn)
{
    /* Nothing to prepare: the state is zeroed, which is EXAMPLE_FRESH, and until a client is
     * admitted the core's own limits hold (limits.login_frame_size, limits.login_timeout). */
    (void)conn;
}

static void example_admitted(struct pg_conn *conn, const struct pg_admission *admission,
                             void *cookie)
{
    struct example *example = pg_conn_state(conn);
    const struct example_conf *conf = pg_conn_conf(conn);
    (void)cookie; /* what we gave to pg_client_admit(): useful with several clients */
    if (admission->reason != PG_OK) {
        say_reason(conn, "ERR", admission->reason);
        pg_conn_close(conn, admission->reason, NULL);
        return;
    }
    example->client = admission->client;
    pg_conn_set_frame_limit(conn, (size_t)conf->line_max);
    pg_conn_set_idle(conn, conf->idle, PG_KEEPALIVE_TIMEOUT);
    say(conn, "OK ");
    say(conn, conf->greeting);
    say(conn, "\n");
    answer_came(conn, example);
}

static void example_result(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct pg_conn *conn = pg_client_conn(client);
    (void)token; /* tells questions apart where several may be out */
    say_result(conn, reason);
    answer_came(conn, pg_conn_state(conn));
}

/* ---- deliveries ------------------------------------------------------------------------------ */

extern const struct pg_protocol example_protocol;

/* Escape into `out` (NULL: only count); the length. A dry run by the same code that writes: there
 * is no second formula that could disagree. */
static size_t put_message(const struct pg_msg *msg, uint8_t *out)
{
    size_t n = 0;
    const struct pg_bytes parts[] = {PG_BYTES_OF("MSG "), msg->topic, PG_BYTES_OF(" "),
                                     msg->payload};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (size_t k = 0; k < parts[i].len; k++) {
            uint8_t c = parts[i].data[k];
            bool escape = c == '\\' || c == '\n' || c == '\r';
            if (escape) {
                if (out)
                    out[n] = '\\';
                n++;
                c = c == '\n' ? 'n' : c == '\r' ? 'r' : c;
            }
            if (out)
                out[n] = c;
            n++;
        }
    }
    if (out)
        out[n] = '\n';
    return n + 1;
}

/* The line of a message is the same for every subscriber, so it is made once and left with the
 * message: a fan-out to a thousand clients encodes once. NULL when memory is out. */
static const struct pg_encoding *make_line(struct pg_msg *msg)
{
    size_t len = put_message(msg, NULL);
    uint8_t *room = malloc(len);
    if (!room)
        return NULL;
    put_message(msg, room);
    const struct pg_encoding *line =
        pg_msg_encoding_add(msg, &example_protocol, 0, (struct pg_bytes){.data = room, .len = len});
    free(room);
    return line;
}

static void say_message(struct pg_conn *conn, struct pg_msg *msg)
{
    const struct pg_encoding *line = pg_msg_encoding(msg, &example_protocol, 0);
    if (!line)
        line = make_line(msg);
    if (line) /* sent from where it is; the connection keeps a reference on the message */
        pg_conn_append_msg(conn, msg, (struct pg_bytes){.data = line->bytes, .len = line->len});
    else
        pg_conn_close(conn, PG_NO_MEMORY, NULL);
}

/* Called whenever there may be something. When the connection has no room it is called again as
 * soon as the peer has read. */
static void example_deliver(struct pg_client *client)
{
    struct pg_conn *conn = pg_client_conn(client);
    struct pg_delivery delivery;
    while (pg_conn_has_room(conn) && !pg_conn_closing(conn) &&
           pg_delivery_next(client, &delivery)) {
        if (delivery.msg)
            say_message(conn, delivery.msg);
        /* This protocol has no acknowledgement; what was written counts as received. One that has
         * keeps delivery.id, and settles when the client confirms it. */
        if (delivery.qos > 0)
            pg_delivery_settle(client, delivery.id, PG_OK);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void example_client_ended(struct pg_client *client, enum pg_reason reason)
{
    struct example *example = pg_conn_state(pg_client_conn(client));
    (void)reason;
    example->client = NULL; /* it must not be used any more */
}

static void example_goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    say_reason(conn, "BYE", reason);
}

/* ---- recognising ----------------------------------------------------------------------------- */

/* For listeners that serve several protocols on one port: is this ours? With fewer bytes than it
 * takes to say no, the answer is "more". */
static enum pg_sniff example_sniff(struct pg_bytes head)
{
    static const char begin[] = "HELLO ";
    size_t len = head.len < sizeof(begin) - 1 ? head.len : sizeof(begin) - 1;
    if (len > 0 && memcmp(head.data, begin, len) != 0)
        return PG_SNIFF_NO;
    return len == sizeof(begin) - 1 ? PG_SNIFF_YES : PG_SNIFF_MORE;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

const struct pg_protocol example_protocol = {
    .abi = PG_ABI,
    .name = "example",
    .options = example_options,
    .conf_size = sizeof(struct example_conf),
    .counters = example_counters,
    .conn_size = sizeof(struct example),
    .sniff = example_sniff,
    .media = PG_MEDIA_BOTH, /* lines can be typed into the console of a browser */
    .open = example_open,
    .bytes = example_bytes,
    .admitted = example_admitted,
    .published = example_result,
    .subscribed = example_result,
    .deliver = example_deliver,
    .client_ended = example_client_ended,
    .goodbye = example_goodbye,
};

/* The one symbol that the loader looks for. It compares `abi` before it looks at anything else. */
PG_API const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI,
    .name = "example",
    .protocol = &example_protocol,
};
