/* SPDX-License-Identifier: Apache-2.0 */

/* Commands of the management API: one request line to the control socket, one answer line back,
 * shown as a table for people or as it is with --json. */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"

/* The gateway answers at once; this bounds waiting for one that hangs. */
#define ANSWER_MS (30 * 1000)

/* ---- the socket ------------------------------------------------------------------------------ */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Connect to the socket that was named, or to the first of the usual places that answers. */
static int dial(const struct ctl_run *run)
{
    char own[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    const char *named = run->socket ? run->socket : getenv("POLYGATE_SOCKET");
    snprintf(own, sizeof(own), "/tmp/polygate-%u/control.sock", (unsigned)geteuid());
    const char *const places[] = {named ? named : "/run/polygate/control.sock", named ? NULL : own};
    for (size_t i = 0; i < 2 && places[i]; i++) {
        int fd = connect_to(places[i]);
        if (fd >= 0)
            return fd;
        if (errno == EACCES) {
            ctl_error(run, "%s: only the gateway's own user and root may use it", places[i]);
            return -1;
        }
    }
    if (named)
        ctl_error(run, "no gateway at %s: %s", named, strerror(errno));
    else
        ctl_error(run,
                  "no gateway at %s or %s; start one, or name its socket with -s (control { "
                  "socket } in its configuration)",
                  places[0], own);
    return -1;
}

static bool send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* One line, malloc'ed, without its line break. NULL with *code set. */
static char *receive_line(const struct ctl_run *run, int fd, int *code)
{
    char *line = NULL;
    size_t len = 0, room = 0;
    int64_t deadline = ctl_now_ms() + ANSWER_MS;
    *code = CTL_UNREACHABLE;
    for (;;) {
        if (len == room) {
            room = room ? 2 * room : 65536;
            char *more = realloc(line, room);
            if (!more) {
                ctl_error(run, "out of memory");
                break;
            }
            line = more;
        }
        int64_t left = deadline - ctl_now_ms();
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&wait, 1, (int)left) : 0;
        if (ready == 0) {
            ctl_error(run, "the gateway did not answer within %d s", ANSWER_MS / 1000);
            *code = CTL_TIMED_OUT;
            break;
        }
        ssize_t n = ready < 0 ? -1 : recv(fd, line + len, room - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            ctl_error(run, "the gateway hung up%s%s", n < 0 ? ": " : "",
                      n < 0 ? strerror(errno) : "");
            break;
        }
        char *end = memchr(line + len, '\n', (size_t)n);
        len += (size_t)n;
        if (end) {
            *end = '\0';
            return line;
        }
    }
    free(line);
    return NULL;
}

/* Send the request (given), get "result" of the answer. NULL with *code set and the error told. */
static json_t *call(const struct ctl_run *run, json_t *request, int *code)
{
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!text) {
        ctl_error(run, "an argument is not UTF-8, or memory is out");
        *code = CTL_USAGE;
        return NULL;
    }
    int fd = dial(run);
    *code = CTL_UNREACHABLE;
    char *line = NULL;
    if (fd >= 0 && (!send_all(fd, text, strlen(text)) || !send_all(fd, "\n", 1)))
        ctl_error(run, "cannot write to the control socket: %s", strerror(errno));
    else if (fd >= 0)
        line = receive_line(run, fd, code);
    free(text);
    if (fd >= 0)
        close(fd);
    if (!line)
        return NULL;
    json_t *answer = json_loads(line, JSON_ALLOW_NUL, NULL), *result = NULL;
    free(line);
    *code = CTL_FAILED;
    if (json_is_true(json_object_get(answer, "ok"))) {
        result = json_incref(json_object_get(answer, "result"));
        *code = CTL_OK;
    } else {
        const char *error = json_string_value(json_object_get(answer, "error"));
        ctl_error(run, "%s",
                  error ? error
                        : "the gateway's answer is not understood; is it of the "
                          "same version?");
    }
    json_decref(answer);
    return result;
}

/* ---- output ---------------------------------------------------------------------------------- */

static bool print_json(const struct ctl_run *run, const json_t *result)
{
    if (!ctl_flag(run, "json"))
        return false;
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    putchar('\n');
    return true;
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static struct pg_bytes text_bytes(const json_t *value)
{
    if (json_is_object(value)) /* bytes that are no text */
        value = json_object_get(value, "hex");
    if (!json_is_string(value))
        return PG_BYTES_OF("-");
    return (struct pg_bytes){.data = (const uint8_t *)json_string_value(value),
                             .len = json_string_length(value)};
}

/* Print in a column; the last column of a line has width 0. */
static void print_cell(struct pg_bytes text, size_t width)
{
    size_t used = ctl_print_safe(text);
    for (; used < width; used++)
        putchar(' ');
    if (width > 0)
        putchar(' ');
}

static void print_member(const json_t *object, const char *key, size_t width)
{
    print_cell(text_bytes(json_object_get(object, key)), width);
}

static void print_text(const char *text, size_t width)
{
    print_cell(pg_bytes_str(text), width);
}

static const char *local_time(int64_t ms, char room[32])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (ms <= 0 || !localtime_r(&s, &tm) || strftime(room, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        return "-";
    return room;
}

static const char *span(int64_t ms, char room[48])
{
    int64_t s = ms / 1000;
    if (s >= 86400)
        snprintf(room, 48, "%" PRId64 "d %" PRId64 "h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(room, 48, "%" PRId64 "h %" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(room, 48, "%" PRId64 "m %" PRId64 "s", s / 60, s % 60);
    return room;
}

/* Widest text of a column, at most `most`. */
static size_t widest(const json_t *rows, const char *key, const char *title, size_t most)
{
    size_t i, width = strlen(title);
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        size_t len = text_bytes(json_object_get(row, key)).len;
        if (len > width)
            width = len;
    }
    return width < most ? width : most;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void print_listeners(const json_t *listeners)
{
    size_t i;
    json_t *listener;
    if (json_array_size(listeners) > 0)
        puts("listeners");
    size_t name = widest(listeners, "name", "", 24);
    size_t address = widest(listeners, "address", "", 48);
    json_array_foreach(listeners, i, listener)
    {
        fputs("  ", stdout);
        print_member(listener, "name", name);
        print_member(listener, "address", address);
        print_member(listener, "transport", 4);
        print_member(listener, "protocol", 0);
        putchar('\n');
    }
}

/* Nothing for sessions that are in memory alone. */
static void print_store(const json_t *store)
{
    const json_t *healthy = json_object_get(store, "healthy");
    if (!healthy)
        return;
    fputs("store ", stdout);
    print_member(store, "path", 0);
    printf(": %" PRId64 " sessions, %" PRId64 " messages wait (%" PRId64 " bytes), %" PRId64
           " dropped, %" PRId64 " expired; %" PRId64 " bytes on the disk\n",
           number_of(store, "sessions"), number_of(store, "queued"),
           number_of(store, "queued_bytes"), number_of(store, "dropped"),
           number_of(store, "expired"), number_of(store, "disk_bytes"));
    if (json_is_true(healthy))
        return;
    fputs("STORE NOT HEALTHY: ", stdout); /* it failed, or the disk is slow: the detail tells */
    print_member(store, "detail", 0);
    putchar('\n');
}

static int run_status(struct ctl_run *run)
{
    int code;
    char room[48];
    const char *name;
    json_t *value;
    json_t *result = call(run, json_pack("{s:s}", "command", "status"), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        json_t *retained = json_object_get(result, "retained");
        printf("polygate ");
        print_member(result, "version", 0);
        printf(", process %" PRId64 ", up %s, %" PRId64 " workers%s\nconfiguration: ",
               number_of(result, "pid"), span(number_of(result, "uptime_ms"), room),
               number_of(result, "workers"),
               json_is_true(json_object_get(result, "draining")) ? ", shutting down" : "");
        if (json_is_null(json_object_get(result, "config")))
            fputs("built-in defaults", stdout);
        else
            print_member(result, "config", 0);
        printf("\n%" PRId64 " connections, %" PRId64 " clients, %" PRId64 " sessions, %" PRId64
               " retained messages (%" PRId64 " bytes)\n",
               number_of(result, "connections"), number_of(result, "clients"),
               number_of(result, "sessions"), number_of(retained, "messages"),
               number_of(retained, "bytes"));
        print_store(json_object_get(result, "store"));
        print_listeners(json_object_get(result, "listeners"));
        puts("counters");
        json_object_foreach(json_object_get(result, "counters"), name, value)
            printf("  %-36s %12" PRId64 "\n", name, (int64_t)json_integer_value(value));
    }
    if (json_is_false(json_object_get(json_object_get(result, "store"), "healthy")))
        code = CTL_FAILED;
    json_decref(result);
    return code;
}

int ctl_store_status(struct ctl_run *run)
{
    int code;
    const char *name;
    json_t *value;
    json_t *result = call(run, json_pack("{s:s}", "command", "status"), &code);
    json_t *store = json_object_get(result, "store");
    if (!result)
        return code;
    if (!print_json(run, store)) {
        json_object_foreach(store, name, value)
        {
            if (json_is_integer(value)) {
                printf("%-14s %20" PRId64 "\n", name, (int64_t)json_integer_value(value));
            } else if (!json_is_string(value) || json_string_length(value) > 0) {
                printf("%-14s ", name);
                print_cell(json_is_string(value) ? text_bytes(value)
                                                 : pg_bytes_str(json_is_true(value) ? "yes" : "no"),
                           0);
                putchar('\n');
            }
        }
    }
    if (json_is_false(json_object_get(store, "healthy")))
        code = CTL_FAILED;
    json_decref(result);
    return code;
}

static int run_counters(struct ctl_run *run)
{
    int code;
    size_t i;
    json_t *row;
    json_t *result = call(
        run, json_pack("{s:s s:b}", "command", "counters", "all", ctl_flag(run, "all")), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        json_t *counters = json_object_get(result, "counters");
        size_t width = widest(counters, "name", "", 60);
        json_array_foreach(counters, i, row)
        {
            print_member(row, "name", width);
            printf("%12" PRId64 "  ", number_of(row, "value"));
            print_member(row, "sentence", 0);
            putchar('\n');
        }
    }
    json_decref(result);
    return CTL_OK;
}

static void print_clients(const json_t *clients)
{
    size_t i;
    json_t *row;
    char room[32];
    size_t id = widest(clients, "client", "CLIENT", 40), peer = widest(clients, "peer", "PEER", 46);
    size_t listener = widest(clients, "listener", "LISTENER", 24);
    print_text("CLIENT", id);
    print_text("PROTOCOL", 9);
    print_text("PEER", peer);
    print_text("LISTENER", listener);
    print_text("SINCE", 19);
    puts(" QUEUED INFLIGHT SUBS");
    json_array_foreach(clients, i, row)
    {
        print_member(row, "client", id);
        if (json_is_true(json_object_get(row, "online")))
            print_member(row, "protocol", 9);
        else
            print_text("(offline)", 9);
        print_member(row, "peer", peer);
        print_member(row, "listener", listener);
        print_text(local_time(number_of(row, "since_ms"), room), 19);
        printf("%7" PRId64 " %8" PRId64 " %4" PRId64 "\n", number_of(row, "queued"),
               number_of(row, "inflight"), number_of(row, "subscriptions"));
    }
}

static int run_clients(struct ctl_run *run)
{
    int code;
    int64_t limit;
    const char *filter = ctl_value(run, "filter");
    if (!ctl_number(run, "limit", 1, 20000, 1000, &limit))
        return CTL_USAGE;
    json_t *request = json_pack("{s:s s:I s:b}", "command", "clients", "limit", (json_int_t)limit,
                                "offline", ctl_flag(run, "all"));
    if (request && filter && filter[0] &&
        json_object_set_new(request, "filter", json_string(filter)) != 0) {
        json_decref(request);
        request = NULL;
    }
    json_t *result = call(run, request, &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        json_t *clients = json_object_get(result, "clients");
        int64_t total = number_of(result, "total");
        print_clients(clients);
        if (total > (int64_t)json_array_size(clients))
            printf("%zu of %" PRId64 " (--limit, --filter)\n", json_array_size(clients), total);
    }
    json_decref(result);
    return CTL_OK;
}

static void print_notes(const json_t *notes)
{
    size_t i;
    json_t *note;
    char room[32];
    json_array_foreach(notes, i, note)
    {
        int64_t count = number_of(note, "count");
        struct pg_bytes detail = text_bytes(json_object_get(note, "detail"));
        print_text(local_time(number_of(note, "last_ms"), room), 19);
        print_member(note, "kind", 8);
        print_member(note, "reason", 0);
        fputs(": ", stdout);
        print_member(note, "sentence", 0);
        if (detail.len > 0) {
            fputs(" (", stdout);
            print_cell(detail, 0);
            putchar(')');
        }
        if (count > 1)
            printf(", %" PRId64 " times since %s", count,
                   local_time(number_of(note, "first_ms"), room));
        putchar('\n');
    }
}

static json_t *client_request(const struct ctl_run *run, const char *command)
{
    return json_pack("{s:s s:s}", "command", command, "client", run->arguments[0]);
}

/* Members shown by `client` one a line, in this order. */
static const char *const client_members[] = {
    "protocol", "user", "peer", "listener", NULL,
};
static const char *const client_numbers[] = {
    "worker", "queued",   "queued_bytes",  "unsent_bytes",     "inflight",
    "window", "receipts", "subscriptions", "session_expiry_s", NULL,
};

static int run_client(struct ctl_run *run)
{
    int code;
    size_t i;
    json_t *sub;
    char room[32];
    json_t *result = call(run, client_request(run, "client"), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        print_member(result, "client", 0);
        printf(": %s since %s\n",
               json_is_true(json_object_get(result, "online")) ? "online" : "offline",
               local_time(number_of(result, "since_ms"), room));
        for (const char *const *m = client_members; *m; m++) {
            if (json_is_null(json_object_get(result, *m)) || !json_object_get(result, *m))
                continue;
            printf("  %-18s ", *m);
            print_member(result, *m, 0);
            putchar('\n');
        }
        for (const char *const *m = client_numbers; *m; m++) {
            if (json_object_get(result, *m))
                printf("  %-18s %" PRId64 "\n", *m, number_of(result, *m));
        }
        json_array_foreach(json_object_get(result, "subscription_list"), i, sub)
        {
            printf("  subscription       qos %" PRId64 " ", number_of(sub, "qos"));
            print_member(sub, "filter", 0);
            putchar('\n');
        }
        print_notes(json_object_get(result, "why"));
    }
    json_decref(result);
    return CTL_OK;
}

static int run_why(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, client_request(run, "why"), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        json_t *notes = json_object_get(result, "notes");
        bool session = json_is_true(json_object_get(result, "session"));
        if (json_array_size(notes) == 0)
            printf("nothing was refused, dropped or closed lately%s\n",
                   session ? "; it has a session" : ", and there is no session of that name");
        print_notes(notes);
    }
    json_decref(result);
    return CTL_OK;
}

static int run_kick(struct ctl_run *run)
{
    int code;
    json_t *result = call(run,
                          json_pack("{s:s s:s s:b}", "command", "kick", "client", run->arguments[0],
                                    "discard", ctl_flag(run, "discard")),
                          &code);
    if (!result)
        return code;
    if (!print_json(run, result))
        printf("%s%s\n", json_is_true(json_object_get(result, "was_online")) ? "kicked" : "done",
               json_is_true(json_object_get(result, "session_ends")) ? ", its session ended" : "");
    json_decref(result);
    return CTL_OK;
}

static int run_ban(struct ctl_run *run)
{
    int code;
    int64_t ms = 0;
    const char *time = ctl_value(run, "for"), *detail = ctl_value(run, "reason");
    bool ever = time && strcmp(time, "ever") == 0;
    if (!ever && !ctl_duration_ms(run, "for", 1000, INT64_C(1000) * INT32_MAX, 3600 * 1000, &ms))
        return CTL_USAGE;
    json_t *request = json_pack("{s:s s:s s:I}", "command", "ban", "who", run->arguments[0],
                                "seconds", (json_int_t)(ms / 1000));
    if (detail && detail[0] != '\0' && request)
        (void)json_object_set_new(request, "detail", json_string(detail));
    json_t *result = call(run, request, &code);
    if (!result)
        return code;
    if (!print_json(run, result))
        printf("banned; %" PRId64 " closed\n", number_of(result, "closed"));
    json_decref(result);
    return CTL_OK;
}

static int run_unban(struct ctl_run *run)
{
    int code;
    json_t *result =
        call(run, json_pack("{s:s s:s}", "command", "unban", "who", run->arguments[0]), &code);
    if (!result)
        return code;
    if (!print_json(run, result))
        puts("lifted");
    json_decref(result);
    return CTL_OK;
}

static int run_bans(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, json_pack("{s:s s:i}", "command", "bans", "limit", 20000), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        size_t i;
        json_t *row, *bans = json_object_get(result, "bans");
        size_t who = widest(bans, "who", "WHO", 48);
        print_text("WHO", who);
        puts("UNTIL               REFUSED  WHAT FOR");
        json_array_foreach(bans, i, row)
        {
            char room[32];
            bool ends = json_is_integer(json_object_get(row, "until_ms"));
            print_member(row, "who", who);
            printf("%-19s %7" PRId64 "  ",
                   ends ? local_time(number_of(row, "until_ms"), room) : "lifted",
                   number_of(row, "hits"));
            print_member(row, "detail", 0);
            putchar('\n');
        }
    }
    json_decref(result);
    return CTL_OK;
}

/* Counters that have moved, below the line of their upstream. */
static void print_moved(const json_t *counters)
{
    const char *name;
    json_t *value;
    bool any = false;
    json_object_foreach((json_t *)(uintptr_t)counters, name, value)
    {
        if (json_integer_value(value) == 0)
            continue;
        printf("%s%s %" PRId64, any ? ", " : "  ", name, (int64_t)json_integer_value(value));
        any = true;
    }
    if (any)
        putchar('\n');
}

static void print_count(const json_t *row, const char *key, int width)
{
    if (json_object_get(row, key))
        printf("%*" PRId64 "  ", width, number_of(row, key));
    else
        printf("%*s  ", width, "-");
}

static void print_upstream(const json_t *row, size_t name)
{
    char since[32], age[48] = "-";
    if (json_object_get(row, "oldest_ms"))
        span(number_of(row, "oldest_ms"), age);
    print_member(row, "name", name);
    print_member(row, "state", 9);
    printf("%-19s  ", local_time(number_of(row, "since_ms"), since));
    print_count(row, "waiting", 9);
    print_count(row, "out", 5);
    printf("%-10s  ", age);
    print_member(row, "to", 0);
    if (strcmp(json_string_value(json_object_get(row, "state")), "waiting") == 0 &&
        json_object_get(row, "reason")) {
        fputs(": ", stdout);
        print_member(row, "reason", 0);
        printf(", next call %s", local_time(number_of(row, "next_ms"), since));
    }
    putchar('\n');
    print_moved(json_object_get(row, "counters"));
}

static int run_upstreams(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, json_pack("{s:s}", "command", "upstreams"), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        size_t i;
        json_t *row, *upstreams = json_object_get(result, "upstreams");
        size_t name = widest(upstreams, "name", "NAME", 32);
        print_text("NAME", name);
        puts("STATE     SINCE                  WAITING    OUT  OLDEST      TO");
        json_array_foreach(upstreams, i, row) print_upstream(row, name);
    }
    json_decref(result);
    return CTL_OK;
}

static int run_retained(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, json_pack("{s:s}", "command", "retained"), &code);
    if (!result)
        return code;
    if (!print_json(run, result))
        printf("%" PRId64 " messages, %" PRId64 " bytes\n", number_of(result, "messages"),
               number_of(result, "bytes"));
    json_decref(result);
    return CTL_OK;
}

static int run_memory(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, json_pack("{s:s}", "command", "memory"), &code);
    if (!result)
        return code;
    if (!print_json(run, result))
        printf("%" PRId64 " bytes resident, heap of %" PRId64 " bytes, %" PRId64 " of it in use\n",
               number_of(result, "resident_bytes"), number_of(result, "heap_bytes"),
               number_of(result, "heap_used_bytes"));
    json_decref(result);
    return CTL_OK;
}

#define COMMENT_COLUMNS 96

/* A sentence as comment lines. */
static void print_comment(const char *text, const char *indent)
{
    size_t width = COMMENT_COLUMNS - strlen(indent);
    while (*text) {
        size_t len = strlen(text);
        if (len > width) {
            len = width;
            while (len > 0 && text[len] != ' ')
                len--;
            if (len == 0)
                len = width; /* one word that is longer than a line */
        }
        printf("%s# ", indent);
        print_cell((struct pg_bytes){.data = (const uint8_t *)text, .len = len}, 0);
        putchar('\n');
        text += len;
        text += strspn(text, " ");
    }
}

/* A value as it would be written in the file. */
static void print_value(const json_t *value)
{
    const char *text = json_string_value(value);
    bool plain = text && text[0] &&
                 strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
                     strlen(text);
    size_t i;
    json_t *item;
    if (plain) {
        fputs(text, stdout);
    } else if (text && strchr(text, '$') && !strpbrk(text, "'\\\n")) {
        printf("'%s'", text); /* in double quotes it would be an environment variable */
    } else if (json_is_array(value)) {
        putchar('{');
        json_array_foreach(value, i, item)
        {
            fputs(i ? ", " : "", stdout);
            print_value(item);
        }
        putchar('}');
    } else {
        json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    }
}

static void print_option(const json_t *option, const char *indent)
{
    const char *sentence = json_string_value(json_object_get(option, "sentence"));
    print_comment(sentence ? sentence : "", indent);
    fputs(indent, stdout);
    print_member(option, "name", 0);
    fputs(" = ", stdout);
    print_value(json_object_get(option, "value"));
    puts("\n");
}

/* Options come in order of their blocks. */
static void print_blocks(const json_t *options)
{
    size_t i;
    json_t *option;
    const char *open = "";
    json_array_foreach(options, i, option)
    {
        const char *block = json_string_value(json_object_get(option, "block"));
        if (block && strcmp(block, open) != 0) {
            if (open[0])
                puts("}\n");
            open = block;
            if (open[0])
                printf("%s {\n", open);
        }
        print_option(option, open[0] ? "    " : "");
    }
    if (open[0])
        puts("}\n");
}

/* One block for the addresses that follow each other under one name; returns the index behind. */
static size_t print_listener_block(const json_t *listeners, size_t first)
{
    size_t i, at = first;
    json_t *option, *listener = json_array_get(listeners, first);
    struct pg_bytes name = text_bytes(json_object_get(listener, "name"));
    fputs("listener \"", stdout);
    print_cell(name, 0);
    fputs("\" {\n    bind = {", stdout);
    do {
        fputs(at > first ? ", " : "", stdout);
        print_value(json_object_get(json_array_get(listeners, at), "bind"));
    } while (
        ++at < json_array_size(listeners) &&
        pg_bytes_equal(name, text_bytes(json_object_get(json_array_get(listeners, at), "name"))));
    fputs("}\n    transport = ", stdout);
    print_member(listener, "transport", 0);
    fputs("\n    protocol = ", stdout);
    print_member(listener, "protocol", 0);
    puts("\n");
    json_array_foreach(json_object_get(listener, "options"), i, option)
        print_option(option, "    ");
    puts("}\n");
    return at;
}

/* A connection that the gateway makes. */
static void print_call_block(const json_t *made)
{
    size_t i;
    json_t *option;
    print_member(made, "protocol", 0);
    fputs(" \"", stdout);
    print_cell(text_bytes(json_object_get(made, "name")), 0);
    puts("\" {");
    json_array_foreach(json_object_get(made, "options"), i, option) print_option(option, "    ");
    puts("}\n");
}

static int run_config_show(struct ctl_run *run)
{
    int code;
    json_t *result = call(run, json_pack("{s:s}", "command", "config"), &code);
    if (!result)
        return code;
    if (!print_json(run, result)) {
        size_t i;
        json_t *made, *listeners = json_object_get(result, "listeners");
        print_blocks(json_object_get(result, "options"));
        for (size_t at = 0; at < json_array_size(listeners);)
            at = print_listener_block(listeners, at);
        json_array_foreach(json_object_get(result, "calls"), i, made) print_call_block(made);
    }
    json_decref(result);
    return CTL_OK;
}

/* ---- the rows -------------------------------------------------------------------------------- */

#define JSON_OPTION                                                                                \
    {                                                                                              \
        .letter = 'j', .name = "json", .help = "print the answer as JSON"                          \
    }

static const struct ctl_option plain_options[] = {JSON_OPTION, {.name = NULL}};
static const struct ctl_option counters_options[] = {
    {.letter = 'a', .name = "all", .help = "those that are zero too"},
    JSON_OPTION,
    {.name = NULL},
};
static const struct ctl_option clients_options[] = {
    {.letter = 'f',
     .name = "filter",
     .argument = "TEXT",
     .help = "only identifiers that contain this text"},
    {.letter = 'a', .name = "all", .help = "sessions that wait for their client too"},
    {.letter = 'n', .name = "limit", .argument = "N", .help = "at most so many (1000)"},
    JSON_OPTION,
    {.name = NULL},
};
static const struct ctl_option kick_options[] = {
    {.name = "discard", .help = "end its session too, with all that is queued"},
    JSON_OPTION,
    {.name = NULL},
};

static const struct ctl_option ban_options[] = {
    {.name = "for",
     .argument = "TIME",
     .help = "as in 30s, 10m, 2h, 7d (1h), or ever: until it is lifted"},
    {.name = "reason", .argument = "TEXT", .help = "what for, for the list"},
    JSON_OPTION,
    {.name = NULL},
};

const struct ctl_command ctl_control_commands[] = {
    {.name = "status",
     .arguments = "",
     .help = "What the gateway is and does.",
     .options = plain_options,
     .run = run_status},
    {.name = "counters",
     .arguments = "",
     .help = "Counters that have moved, explained.",
     .options = counters_options,
     .run = run_counters},
    {.name = "clients",
     .arguments = "",
     .help = "Who is connected.",
     .options = clients_options,
     .run = run_clients},
    {.name = "client",
     .arguments = "CLIENT",
     .help = "All about one client: connection, queue, subscriptions.",
     .options = plain_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_client},
    {.name = "why",
     .arguments = "CLIENT",
     .help = "Why a client was refused or closed, or its messages were dropped.",
     .options = plain_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_why},
    {.name = "kick",
     .arguments = "CLIENT",
     .help = "Close a client's connection.",
     .options = kick_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_kick},
    {.name = "ban",
     .arguments = "ADDRESS|RANGE|client:ID",
     .help = "Refuse an address, a range or a client, and close what is there of it.",
     .options = ban_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_ban},
    {.name = "unban",
     .arguments = "ADDRESS|RANGE|client:ID",
     .help = "Lift a ban.",
     .options = plain_options,
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_unban},
    {.name = "bans",
     .arguments = "",
     .help = "Who is banned, until when, and what for.",
     .options = plain_options,
     .run = run_bans},
    {.name = "upstreams",
     .arguments = "",
     .help = "Whom the gateway calls: how each link stands, and how far it lags.",
     .options = plain_options,
     .run = run_upstreams},
    {.name = "retained",
     .arguments = "",
     .help = "How many retained messages there are.",
     .options = plain_options,
     .run = run_retained},
    {.name = "memory",
     .arguments = "",
     .help = "How much memory the gateway has, and how much of it is in use.",
     .options = plain_options,
     .run = run_memory},
    {.name = "config show",
     .arguments = "",
     .help = "Every option with its value, explained.",
     .options = plain_options,
     .run = run_config_show},
    {.name = NULL},
};
