/* SPDX-License-Identifier: Apache-2.0 */

/* A WebSocket client whose WebSocket is libwebsockets', and so is neither the gateway's nor that of a
 * browser. The tests say over a pipe what it sends, and read what came.
 *
 *   lws_client [--ca FILE] [--deflate] [--protocol NAME] ws|wss PORT PATH
 *
 * Standard input, a line for each frame, its bytes in hexadecimal digits:
 *
 *   text HEX          a message of text            text+ HEX     the first fragment of one
 *   binary HEX        a binary message             binary+ HEX   likewise
 *   more HEX          the last fragment            more+ HEX     one in between
 *   ping HEX          a ping                       close CODE HEX   a close frame, with a text
 *
 * Standard output, a line for each thing that happens:
 *
 *   open PROTOCOL DEFLATE   the connection is open; "-" and "-" where there is none
 *   text HEX                a message, and so on: binary, pong
 *   close CODE HEX          the peer's close frame; 1005: it has no code
 *   closed                  the end of it
 *   failed WHY              it did not come about
 *
 * libwebsockets' rules: a write only when it says that there is room, one at a time, with LWS_PRE bytes
 * free in front. Standard input is one more descriptor of its loop. One thread. */

#include <libwebsockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libwebsockets has a call of its own for that. */
#define CLOSE (-1)

/* A frame that waits to be sent. */
struct order {
    struct order *next;
    int kind; /* enum lws_write_protocol, or CLOSE */
    enum lws_close_status close_code;
    size_t len;
    unsigned char room[]; /* LWS_PRE bytes, then the payload */
};

static struct lws *peer; /* NULL: not open */
static struct order *first, **last = &first;
static bool over;

/* Bytes that are not whole yet. */
struct buffer {
    char *data;
    size_t len, size;
};
static struct buffer commands, message;

static _Noreturn void die(const char *why)
{
    fprintf(stderr, "lws_client: %s\n", why);
    exit(2);
}

static void append(struct buffer *buffer, const void *data, size_t len)
{
    if (buffer->len + len > buffer->size) {
        buffer->size = 2 * (buffer->len + len) + 1024;
        buffer->data = realloc(buffer->data, buffer->size);
        if (!buffer->data)
            die("out of memory");
    }
    if (len > 0)
        memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void say(const char *what, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    printf("%s ", what);
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
    printf("\n");
    fflush(stdout);
}

static void say_open(struct lws *wsi)
{
    char name[64] = "", extensions[256] = "";
    lws_hdr_copy(wsi, name, sizeof(name), WSI_TOKEN_PROTOCOL);
    lws_hdr_copy(wsi, extensions, sizeof(extensions), WSI_TOKEN_EXTENSIONS);
    printf("open %s %s\n", name[0] != '\0' ? name : "-",
           strstr(extensions, "deflate") ? "deflate" : "-");
    fflush(stdout);
}

static void take_message(struct lws *wsi, const void *data, size_t len)
{
    if (lws_is_first_fragment(wsi))
        message.len = 0;
    append(&message, data, len);
    if (lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0)
        say(lws_frame_is_binary(wsi) ? "binary" : "text", message.data, message.len);
}

static void say_close(const unsigned char *data, size_t len)
{
    char what[32];
    snprintf(what, sizeof(what), "close %u", len >= 2 ? (unsigned)data[0] << 8 | data[1] : 1005u);
    say(what, len >= 2 ? data + 2 : data, len >= 2 ? len - 2 : 0);
}

/* ---- what is to be sent ---------------------------------------------------------------------- */

static const struct {
    const char *word;
    int kind;
} kinds[] = {
    {"text", LWS_WRITE_TEXT},
    {"text+", LWS_WRITE_TEXT | LWS_WRITE_NO_FIN},
    {"binary", LWS_WRITE_BINARY},
    {"binary+", LWS_WRITE_BINARY | LWS_WRITE_NO_FIN},
    {"ping", LWS_WRITE_PING},
    {"more+", LWS_WRITE_CONTINUATION | LWS_WRITE_NO_FIN},
    {"close", CLOSE},
    {"more", LWS_WRITE_CONTINUATION},
};

static int kind_of(const char *word)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].word, word) == 0)
            return kinds[i].kind;
    die("a command that is none");
}

/* One line, which is cut at its spaces. */
static void take_command(char *line)
{
    char *save = NULL;
    const char *word = strtok_r(line, " ", &save);
    int kind = kind_of(word ? word : "");
    const char *code = kind == CLOSE ? strtok_r(NULL, " ", &save) : NULL;
    const char *hex = strtok_r(NULL, " ", &save);
    size_t len = hex ? strlen(hex) / 2 : 0;
    struct order *order = malloc(sizeof(*order) + LWS_PRE + len);
    if (!order)
        die("out of memory");
    *order = (struct order){.kind = kind, .len = len};
    if (code)
        order->close_code = (enum lws_close_status)strtoul(code, NULL, 10);
    for (size_t i = 0; i < len; i++) {
        const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};
        order->room[LWS_PRE + i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    *last = order;
    last = &order->next;
    if (peer)
        lws_callback_on_writable(peer);
}

/* false: no more will come. */
static bool read_commands(void)
{
    char some[65536];
    ssize_t n = read(STDIN_FILENO, some, sizeof(some));
    if (n <= 0)
        return false;
    append(&commands, some, (size_t)n);
    char *line = commands.data, *end;
    while ((end = memchr(line, '\n', commands.len - (size_t)(line - commands.data)))) {
        *end = '\0';
        take_command(line);
        line = end + 1;
    }
    commands.len -= (size_t)(line - commands.data);
    memmove(commands.data, line, commands.len);
    return true;
}

/* Send the first of what waits; not 0: the connection is to be closed. */
static int send_next(struct lws *wsi)
{
    struct order *order = first;
    if (!order)
        return 0;
    first = order->next;
    if (!first)
        last = &first;
    int result = 0;
    if (order->kind == CLOSE) {
        lws_close_reason(wsi, order->close_code, order->room + LWS_PRE, order->len);
        result = -1;
    } else if (lws_write(wsi, order->room + LWS_PRE, order->len,
                         (enum lws_write_protocol)order->kind) < (int)order->len) {
        die("a write failed");
    }
    free(order);
    if (first && result == 0)
        lws_callback_on_writable(wsi);
    return result;
}

/* ---- libwebsockets --------------------------------------------------------------------------- */

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_RAW_RX_FILE:
        return read_commands() ? 0 : -1;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        printf("failed %s\n", in ? (const char *)in : "");
        over = true;
        break;
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        say_open(wsi); /* the answer's headers are gone when it is established */
        break;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        peer = wsi;
        lws_callback_on_writable(wsi);
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        take_message(wsi, in, len);
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
        say("pong", in, len);
        break;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        say_close(in, len);
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return send_next(wsi);
    case LWS_CALLBACK_CLIENT_CLOSED:
        peer = NULL;
        over = true;
        printf("closed\n");
        break;
    default:
        break;
    }
    return 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "client", .callback = on_event, .rx_buffer_size = 65536},
    {.name = NULL},
};
static const struct lws_extension deflate[] = {
    {"permessage-deflate", lws_extension_callback_pm_deflate,
     "permessage-deflate; client_no_context_takeover; client_max_window_bits"},
    {NULL, NULL, NULL},
};

struct arguments {
    const char *ca, *protocol, *scheme, *path;
    bool deflate;
    int port;
};

static struct arguments read_arguments(char **words)
{
    struct arguments a = {0};
    for (; *words && strncmp(*words, "--", 2) == 0; words++) {
        if (strcmp(*words, "--deflate") == 0)
            a.deflate = true;
        else if (strcmp(*words, "--ca") == 0 && words[1])
            a.ca = *++words;
        else if (strcmp(*words, "--protocol") == 0 && words[1])
            a.protocol = *++words;
        else
            die("an option that is none");
    }
    if (!words[0] || !words[1] || !words[2])
        die("arguments: ws|wss PORT PATH");
    a.scheme = words[0];
    a.port = atoi(words[1]);
    a.path = words[2];
    return a;
}

static struct lws_context *start(const struct arguments *a)
{
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .extensions = a->deflate ? deflate : NULL,
        .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_VALIDATE_UTF8 |
                   LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .client_ssl_ca_filepath = a->ca,
        .gid = -1,
        .uid = -1,
    };
    struct lws_context *context = lws_create_context(&info);
    struct lws_vhost *host = context ? lws_create_vhost(context, &info) : NULL;
    if (!host)
        die("no context");
    if (!lws_adopt_descriptor_vhost(host, LWS_ADOPT_RAW_FILE_DESC,
                                    (lws_sock_file_fd_type){.filefd = STDIN_FILENO},
                                    protocols[0].name, NULL))
        die("standard input is of no use");
    const struct lws_client_connect_info to = {
        .context = context,
        .vhost = host,
        .address = "127.0.0.1",
        .host = "localhost",
        .origin = "localhost",
        .port = a->port,
        .path = a->path,
        .protocol = a->protocol,
        .local_protocol_name = protocols[0].name,
        .ssl_connection = strcmp(a->scheme, "wss") == 0 ? LCCSCF_USE_SSL : 0,
        .alpn = "http/1.1",
    };
    /* If it fails at once, the callback has been told. */
    (void)lws_client_connect_via_info(&to);
    return context;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("arguments: [--ca FILE] [--deflate] [--protocol NAME] ws|wss PORT PATH");
    struct arguments arguments = read_arguments(argv + 1);
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = start(&arguments);
    while (!over && lws_service(context, 0) >= 0)
        ;
    lws_context_destroy(context);
    while (first) {
        struct order *next = first->next;
        free(first);
        first = next;
    }
    free(commands.data);
    free(message.data);
    return 0;
}
