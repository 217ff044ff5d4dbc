/* SPDX-License-Identifier: Apache-2.0 */

/* The plugin `control`: the management API on a Unix socket.
 *
 * One thread with a loop of its own. A client sends one JSON object a line and gets one JSON object
 * a line back (pg_api_call); the next line is looked at when the answer has been written, so a
 * client costs one line and one answer at most.
 *
 *   CLIENT_READING --line--> CLIENT_ASKING --answer--> CLIENT_WRITING --written--> CLIENT_READING
 *
 * An answer comes on any thread and is handed to the loop through a list under a lock. The call
 * object outlives its client: one that hangs up meanwhile is crossed out of it. Stopping hangs up
 * on all who wait for nothing, and waits for the answers that are out. */

#include "control.h"

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listening.h"

/* Longest request; a client identifier of 65535 bytes fits with every byte escaped. */
#define LINE_MAX_BYTES (512u * 1024)
#define LINE_FIRST     1024u
/* Who neither asks nor reads for so long is hung up on. */
#define IDLE_S 300.0
/* Accepting is tried again after so long when descriptors or memory are out. */
#define RETRY_S 1.0

struct control_conf {
    const char *socket;
    int64_t clients;
};

#define OPTION(member) .name = #member, .offset = offsetof(struct control_conf, member)

static const struct pg_option control_options[] = {
    {OPTION(socket), .type = PG_OPT_STRING, .fallback = "", .reloadable = true,
     .sentence = "Path of the Unix socket that polygatectl uses. Not set: control.sock in "
                 "$RUNTIME_DIRECTORY, which systemd sets to /run/polygate, else "
                 "/tmp/polygate-<uid>/control.sock; polygatectl looks in both places."},
    {OPTION(clients), .type = PG_OPT_INT, .fallback = "32", .min = 1, .max = 1024,
     .reloadable = true,
     .sentence = "Connections to the socket at a time; one more is told so and closed. People and "
                 "scripts need few, and each costs a descriptor that a client could have."},
    {.name = NULL},
};

enum client_state { CLIENT_READING, CLIENT_ASKING, CLIENT_WRITING };

struct control;

struct client {
    struct client *next, **link;
    struct control *self;
    struct ev_io io;
    struct ev_timer idle;
    enum client_state state;
    struct call *call; /* CLIENT_ASKING */
    char *in;          /* the line so far, and what came behind it */
    size_t in_len, in_room;
    char *out; /* CLIENT_WRITING */
    size_t out_len, out_at;
    bool eof; /* the last line has come */
};

struct call {
    struct call *next; /* in `answered` */
    struct control *self;
    struct client *client; /* the loop's thread; NULL: it has gone */
    char *json;            /* the answer with a line break; NULL: memory ran out */
    size_t len;
};

struct control {
    struct listening *listening;
    pthread_t thread;
    struct ev_loop *loop;
    struct ev_io accept;
    struct ev_timer retry;
    struct ev_async wake;
    size_t client_limit;

    struct client *clients; /* the loop's thread, with the next two */
    size_t client_count;
    size_t calls_out;

    pthread_mutex_t lock;
    struct call *answered; /* under lock, with the next */
    bool stopping;
};

static const char out_of_memory[] = "{\"ok\":false,\"error\":\"out of memory\"}\n";

/* ---- clients --------------------------------------------------------------------------------- */

static void hang_up(struct client *client)
{
    struct control *self = client->self;
    if (client->call)
        client->call->client = NULL;
    ev_io_stop(self->loop, &client->io);
    ev_timer_stop(self->loop, &client->idle);
    close(client->io.fd);
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    self->client_count--;
    free(client->in);
    free(client->out);
    free(client);
}

static void wait_for(struct client *client, int events)
{
    ev_io_stop(client->self->loop, &client->io);
    ev_io_modify(&client->io, events);
    if (events)
        ev_io_start(client->self->loop, &client->io);
    ev_timer_again(client->self->loop, &client->idle);
}

static void answer(struct client *client, char *text, size_t len);
static bool ask(struct client *client);

/* Write what is left; go on with the next line when all has gone. Hangs up on errors. */
static void write_out(struct client *client)
{
    while (client->out_at < client->out_len) {
        ssize_t n = send(client->io.fd, client->out + client->out_at,
                         client->out_len - client->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            wait_for(client, EV_WRITE);
            return;
        }
        if (n < 0) {
            hang_up(client);
            return;
        }
        client->out_at += (size_t)n;
    }
    free(client->out);
    client->out = NULL;
    client->out_len = client->out_at = 0;
    client->state = CLIENT_READING;
    if (ask(client))
        return;
    if (client->eof)
        hang_up(client);
    else
        wait_for(client, EV_READ);
}

/* `text` is given; NULL means that memory ran out. */
static void answer(struct client *client, char *text, size_t len)
{
    client->state = CLIENT_WRITING;
    client->out = text ? text : strdup(out_of_memory);
    if (!client->out) {
        hang_up(client);
        return;
    }
    client->out_len = text ? len : sizeof(out_of_memory) - 1;
    client->out_at = 0;
    write_out(client);
}

static void answer_error(struct client *client, const char *json)
{
    char *text = NULL;
    int len = asprintf(&text, "{\"ok\":false,\"error\":\"%s\"}\n", json);
    client->eof = true; /* nothing that follows would be understood */
    client->in_len = 0;
    answer(client, len < 0 ? NULL : text, len < 0 ? 0 : (size_t)len);
}

/* Any thread: the API has answered. */
static void api_done(void *arg, const char *json)
{
    struct call *call = arg;
    struct control *self = call->self;
    size_t len = strlen(json);
    call->json = malloc(len + 1);
    if (call->json) {
        memcpy(call->json, json, len);
        call->json[len] = '\n'; /* in the place of the NUL */
        call->len = len + 1;
    }
    pthread_mutex_lock(&self->lock);
    call->next = self->answered;
    self->answered = call;
    ev_async_send(self->loop, &self->wake);
    pthread_mutex_unlock(&self->lock);
}

/* Ask the first whole line that is there; false if there is none. */
static bool ask(struct client *client)
{
    struct control *self = client->self;
    char *end = client->in_len > 0 ? memchr(client->in, '\n', client->in_len) : NULL;
    if (!end)
        return false;
    *end = '\0';
    struct call *call = calloc(1, sizeof(*call));
    if (!call) {
        hang_up(client);
        return true;
    }
    call->self = self;
    call->client = client;
    client->call = call;
    client->state = CLIENT_ASKING;
    wait_for(client, 0);
    ev_timer_stop(self->loop, &client->idle); /* the gateway's own time does not count */
    self->calls_out++;
    pg_api_call(client->in, api_done, call);
    /* It took what it needs; the next line moves to the front. */
    size_t used = (size_t)(end - client->in) + 1;
    client->in_len -= used;
    memmove(client->in, end + 1, client->in_len);
    return true;
}

/* Room for more input; false: hung up, or told that the line is too long. */
static bool make_room(struct client *client)
{
    if (client->in_len < client->in_room)
        return true;
    if (client->in_room >= LINE_MAX_BYTES) {
        answer_error(client, "the line is longer than 512 KiB; one request is one line of JSON");
        return false;
    }
    size_t room = client->in_room ? 2 * client->in_room : LINE_FIRST;
    char *in = realloc(client->in, room);
    if (!in) {
        hang_up(client);
        return false;
    }
    client->in = in;
    client->in_room = room;
    return true;
}

static void read_in(struct client *client)
{
    if (!make_room(client))
        return;
    ssize_t n =
        recv(client->io.fd, client->in + client->in_len, client->in_room - client->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0) {
        hang_up(client);
        return;
    }
    client->eof = n == 0;
    client->in_len += (size_t)n;
    if (ask(client))
        return;
    if (client->eof)
        hang_up(client);
    else
        ev_timer_again(client->self->loop, &client->idle);
}

static void client_ready(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct client *client = io->data;
    (void)loop;
    (void)events;
    if (client->state == CLIENT_READING)
        read_in(client);
    else
        write_out(client);
}

static void client_idle(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    hang_up(timer->data);
}

static void take_client(struct control *self, int fd)
{
    struct client *client = calloc(1, sizeof(*client));
    if (!client) {
        close(fd);
        return;
    }
    client->self = self;
    client->next = self->clients;
    client->link = &self->clients;
    if (client->next)
        client->next->link = &client->next;
    self->clients = client;
    ev_io_init(&client->io, client_ready, fd, EV_READ);
    client->io.data = client;
    ev_init(&client->idle, client_idle);
    client->idle.repeat = IDLE_S;
    client->idle.data = client;
    wait_for(client, EV_READ);
    if (self->client_count++ >= self->client_limit)
        answer_error(client, "too many connections to the control socket (control.clients)");
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void retry_accept(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct control *self = timer->data;
    (void)events;
    ev_io_start(loop, &self->accept);
}

static void accept_later(struct control *self)
{
    ev_io_stop(self->loop, &self->accept);
    ev_timer_set(&self->retry, RETRY_S, 0.0);
    ev_timer_start(self->loop, &self->retry);
}

static void accept_clients(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct control *self = io->data;
    (void)loop, (void)events;
    int fd = listening_accept(self->listening);
    if (fd >= 0) {
        take_client(self, fd);
    } else if (errno == EBUSY) {
        /* A newer instance accepts; should its reload fail, it goes, and this one accepts again. */
        accept_later(self);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        /* The connection stays in the kernel's queue and would wake the loop at once. */
        PG_LOG(PG_WARN, "control_accept_failed", PG_F_TEXT("error", strerror(errno)));
        accept_later(self);
    }
}

static struct call *take_answered(struct control *self, bool *stopping)
{
    pthread_mutex_lock(&self->lock);
    struct call *answered = self->answered;
    self->answered = NULL;
    *stopping = self->stopping;
    pthread_mutex_unlock(&self->lock);
    return answered;
}

/* Hang up on those who wait for nothing. */
static void hang_up_idle(struct control *self)
{
    for (struct client *client = self->clients, *next; client; client = next) {
        next = client->next;
        client->eof = true;
        if (client->state != CLIENT_ASKING)
            hang_up(client);
    }
}

static void woken(struct ev_loop *loop, struct ev_async *wake, int events)
{
    struct control *self = wake->data;
    bool stopping;
    (void)events;
    for (struct call *call = take_answered(self, &stopping), *next; call; call = next) {
        next = call->next;
        self->calls_out--;
        if (call->client) {
            call->client->call = NULL;
            answer(call->client, call->json, call->len);
        } else {
            free(call->json);
        }
        free(call);
    }
    if (!stopping)
        return;
    ev_io_stop(loop, &self->accept);
    ev_timer_stop(loop, &self->retry);
    hang_up_idle(self);
    if (self->calls_out == 0)
        ev_break(loop, EVBREAK_ALL);
}

static void *run(void *arg)
{
    struct control *self = arg;
    ev_run(self->loop, 0);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool start_thread(struct control *self)
{
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are the main thread's business */
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

static void free_control(struct control *self)
{
    if (self->loop)
        ev_loop_destroy(self->loop);
    listening_close(&self->listening);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static bool control_check(const void *arg, struct pg_error *error)
{
    const struct control_conf *conf = arg;
    char path[LISTENING_PATH_ROOM];
    return listening_path(conf->socket, path, error);
}

static void *control_start(const void *arg, struct pg_error *error)
{
    const struct control_conf *conf = arg;
    char path[LISTENING_PATH_ROOM];
    if (!listening_path(conf->socket, path, error))
        return NULL;
    struct control *self = calloc(1, sizeof(*self));
    if (!self) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&self->lock, NULL);
    self->client_limit = (size_t)conf->clients;
    self->listening = listening_open(path, error);
    if (!self->listening) {
        free_control(self);
        return NULL;
    }
    self->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    if (!self->loop) {
        pg_error_set(error, "cannot make an event loop");
        free_control(self);
        return NULL;
    }
    ev_io_init(&self->accept, accept_clients, listening_fd(self->listening), EV_READ);
    ev_init(&self->retry, retry_accept);
    ev_async_init(&self->wake, woken);
    self->accept.data = self->retry.data = self->wake.data = self;
    ev_io_start(self->loop, &self->accept);
    ev_async_start(self->loop, &self->wake);
    if (!start_thread(self)) {
        pg_error_set(error, "cannot start a thread");
        free_control(self);
        return NULL;
    }
    PG_LOG(PG_INFO, "control_listening", PG_F_TEXT("socket", path));
    return self;
}

static void control_stop(void *arg)
{
    struct control *self = arg;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    ev_async_send(self->loop, &self->wake);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    free_control(self);
}

const struct pg_plugin control_plugin = {
    .abi = PG_ABI,
    .name = "control",
    .options = control_options,
    .conf_size = sizeof(struct control_conf),
    .start = control_start,
    .stop = control_stop,
    .check = control_check,
};
