/* SPDX-License-Identifier: Apache-2.0 */

/* The plugin `sys`: the gateway's own numbers as retained messages below $SYS/broker, for clients
 * and dashboards that know them from other brokers. Names and meanings are those of mosquitto
 * where it has the same number; there is none of another meaning.
 *
 * One thread sleeps from one time to the next and asks the management API for `status`. The answer
 * comes on a worker, and is published there at once. A number is published when it has changed, so
 * that a quiet gateway says nothing but its uptime.
 *
 * What a minute brings is told as averages over 1, 5 and 15 minutes, in which the past fades away
 * exponentially: they begin with 0, as those of the system's load do.
 *
 * Topics that begin with `$` do not match wildcards at the first level, so nobody gets these who
 * did not ask for them (MQTT 5.0, 4.7.2). Who may is the matter of the access rules. */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "polygate.h"

/* The first numbers come soon after start, whatever the interval. */
#define FIRST_MS  1000
#define TEXT_ROOM 128

struct sys_conf {
    int64_t interval;
};

static const struct pg_option sys_options[] = {
    {.name = "interval",
     .type = PG_OPT_DURATION,
     .offset = offsetof(struct sys_conf, interval),
     .fallback = "10s",
     .min = 1000,
     .max = 86400000,
     .reloadable = true,
     .sentence = "Time from one look at the numbers to the next. Each costs some microseconds, and "
                 "a message for each number that has changed to each client that asked for it."},
    {.name = NULL},
};

/* ---- the numbers ----------------------------------------------------------------------------- */

/* What a number is made from: members of the answer, or counters of it. */
enum source { MEMBER, COUNTER };

struct number {
    const char *topic; /* below $SYS/broker/; NULL: only its average is told */
    const char *load;  /* of the averages of what a minute brings; NULL: none */
    enum source source;
    const char *plus, *plus_too, *minus; /* NULL: none */
    const char *unit;                    /* behind the number */
    int64_t divide;
};

/* clients/active and clients/inactive are older names, which many dashboards look at. */
static const struct number numbers[] = {
    {"uptime", NULL, MEMBER, "uptime_ms", NULL, NULL, " seconds", 1000},
    {"clients/total", NULL, MEMBER, "sessions", NULL, NULL, "", 1},
    {"clients/connected", NULL, MEMBER, "clients", NULL, NULL, "", 1},
    {"clients/active", NULL, MEMBER, "clients", NULL, NULL, "", 1},
    {"clients/disconnected", NULL, MEMBER, "sessions", NULL, "clients", "", 1},
    {"clients/inactive", NULL, MEMBER, "sessions", NULL, "clients", "", 1},
    {"connections/socket/count", NULL, MEMBER, "connections", NULL, NULL, "", 1},
    {NULL, "sockets", COUNTER, "core.connections_opened", NULL, NULL, "", 1},
    {NULL, "connections", COUNTER, "core.clients_admitted", "core.clients_refused", NULL, "", 1},
    {"bytes/received", "bytes/received", COUNTER, "core.bytes_received", NULL, NULL, "", 1},
    {"bytes/sent", "bytes/sent", COUNTER, "core.bytes_sent", NULL, NULL, "", 1},
    {"publish/messages/received", "publish/received", COUNTER, "core.messages_published",
     "core.messages_refused", NULL, "", 1},
    {"publish/messages/sent", "publish/sent", COUNTER, "core.messages_delivered",
     "core.messages_redelivered", NULL, "", 1},
    {"publish/messages/dropped", "publish/dropped", COUNTER, "core.messages_dropped", NULL, NULL,
     "", 1},
    {"subscriptions/count", NULL, COUNTER, "core.subscriptions_added", NULL,
     "core.subscriptions_removed", "", 1},
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

/* The averages: of how long, and the factor by which they fade in a second, e^(-1/seconds). */
#define PERIODS 3
static const struct period {
    const char *name;
    double fades;
} periods[PERIODS] = {
    {"1min", 0.98347145382161749},
    {"5min", 0.99667221605452332},
    {"15min", 0.99888950594427927},
};

/* Texts that were published last, to publish what changed: the numbers, their averages, and these. */
enum { LOADS = NUMBERS, VERSION = LOADS + NUMBERS * PERIODS, RETAINED, MAXIMUM, TEXTS };

struct sys {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `stopping`, or an answer came */
    bool stopping;
    bool asking; /* an answer is out */
    int64_t interval_ms;
    /* One answer at a time touches these. */
    char last[TEXTS][TEXT_ROOM];
    int64_t values[NUMBERS];        /* as they were ... */
    int64_t uptime_ms;              /* ... then */
    double loads[NUMBERS][PERIODS]; /* a minute */
    int64_t most_clients;
};

static int64_t member(const json_t *object, const char *name)
{
    return name ? json_integer_value(json_object_get(object, name)) : 0;
}

static void announce(char last[TEXT_ROOM], const char *topic, const char *text)
{
    char whole[TEXT_ROOM];
    if (strcmp(last, text) == 0)
        return;
    snprintf(last, TEXT_ROOM, "%s", text);
    snprintf(whole, sizeof(whole), "$SYS/broker/%s", topic);
    const struct pg_msg_spec spec = {
        .topic = pg_bytes_str(whole),
        .payload = pg_bytes_str(text),
        .retain = true,
        .protocol = "sys",
    };
    struct pg_msg *msg = pg_msg_new(&spec);
    if (msg)
        pg_announce(msg);
}

/* Averages over the minute and longer, `seconds` after the last ones, in which `more` came. */
static void announce_loads(struct sys *self, size_t i, int64_t more, int64_t seconds)
{
    double a_minute = (double)more * 60 / (double)seconds;
    for (size_t k = 0; k < PERIODS; k++) {
        double *load = &self->loads[i][k];
        double stays = 1;
        for (int64_t n = 0; n < seconds; n++)
            stays *= periods[k].fades;
        *load = a_minute + stays * (*load - a_minute);
        char topic[TEXT_ROOM], text[TEXT_ROOM];
        snprintf(topic, sizeof(topic), "load/%s/%s", numbers[i].load, periods[k].name);
        snprintf(text, sizeof(text), "%.2f", *load);
        announce(self->last[LOADS + i * PERIODS + k], topic, text);
    }
}

/* `seconds`: since the last time; 0: there was none, or it is too short ago for averages. */
static void announce_number(struct sys *self, size_t i, const json_t *status, int64_t seconds)
{
    const struct number *n = &numbers[i];
    const json_t *from = n->source == MEMBER ? status : json_object_get(status, "counters");
    int64_t value =
        (member(from, n->plus) + member(from, n->plus_too) - member(from, n->minus)) / n->divide;
    char text[TEXT_ROOM];
    /* Counters of several workers are not read at one moment. */
    snprintf(text, sizeof(text), "%" PRId64 "%s", value > 0 ? value : 0, n->unit);
    if (n->topic)
        announce(self->last[i], n->topic, text);
    if (n->load && seconds > 0) {
        announce_loads(self, i, value - self->values[i], seconds);
        self->values[i] = value;
    }
}

static void announce_all(struct sys *self, const json_t *status)
{
    char text[TEXT_ROOM];
    const char *version = json_string_value(json_object_get(status, "version"));
    snprintf(text, sizeof(text), "polygate version %s", version ? version : "unknown");
    announce(self->last[VERSION], "version", text);
    int64_t seconds = (member(status, "uptime_ms") - self->uptime_ms + 500) / 1000;
    for (size_t i = 0; i < NUMBERS; i++)
        announce_number(self, i, status, seconds);
    if (seconds > 0)
        self->uptime_ms = member(status, "uptime_ms");
    if (member(status, "clients") > self->most_clients)
        self->most_clients = member(status, "clients");
    snprintf(text, sizeof(text), "%" PRId64, self->most_clients);
    announce(self->last[MAXIMUM], "clients/maximum", text);
    snprintf(text, sizeof(text), "%" PRId64,
             member(json_object_get(status, "retained"), "messages"));
    announce(self->last[RETAINED], "retained messages/count", text);
}

/* The answer: on a worker, or on our thread if the gateway is only starting or stopping. */
static void answered(void *arg, const char *json)
{
    struct sys *self = arg;
    json_t *answer = json_loads(json, 0, NULL);
    const json_t *status = json_object_get(answer, "result");
    if (status)
        announce_all(self, status);
    json_decref(answer);
    pthread_mutex_lock(&self->lock);
    self->asking = false;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct timespec from_now(int64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + ms % 1000 * 1000000;
    at.tv_sec += (time_t)(ms / 1000 + ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

static void *run(void *arg)
{
    struct sys *self = arg;
    int64_t wait_ms = FIRST_MS < self->interval_ms ? FIRST_MS : self->interval_ms;
    pthread_mutex_lock(&self->lock);
    while (!self->stopping) {
        struct timespec at = from_now(wait_ms);
        while (!self->stopping &&
               pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT) {
        }
        wait_ms = self->interval_ms;
        if (self->stopping || self->asking)
            continue;
        self->asking = true;
        pthread_mutex_unlock(&self->lock);
        pg_api_call("{\"command\":\"status\"}", answered, self);
        pthread_mutex_lock(&self->lock);
    }
    while (self->asking)
        pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool start_thread(struct sys *self)
{
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are the main thread's business */
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

static void free_sys(struct sys *self)
{
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static void *sys_start(const void *arg, struct pg_error *error)
{
    const struct sys_conf *conf = arg;
    pthread_condattr_t monotonic;
    struct sys *self = calloc(1, sizeof(*self));
    if (!self) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    self->interval_ms = conf->interval;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!start_thread(self)) {
        pg_error_set(error, "cannot start a thread");
        free_sys(self);
        return NULL;
    }
    return self;
}

static void sys_stop(void *arg)
{
    struct sys *self = arg;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    free_sys(self);
}

const struct pg_plugin sys_plugin = {
    .abi = PG_ABI,
    .name = "sys",
    .options = sys_options,
    .conf_size = sizeof(struct sys_conf),
    .start = sys_start,
    .stop = sys_stop,
};
