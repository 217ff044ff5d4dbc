/* SPDX-License-Identifier: Apache-2.0 */

/* The life of the process, on the main thread and its own libev loop.
 *
 *   load --> make ready --> CHANGING --> RUNNING --SIGHUP--> CHANGING --> RUNNING --SIGTERM-->
 *        CHANGING --> DRAINING --> end
 *
 *   RUNNING   workers serve; the main thread waits for signals
 *   CHANGING  every worker has a task that changes what it listens on (listener.c); a signal that
 *             comes meanwhile is kept until that is done
 *   DRAINING  nobody accepts; workers close their connections, with goodbyes, and leave their loops
 *             when all are gone or the time is up
 *
 * SIGTERM, SIGINT  stop: exit code 0; a second one does not wait for the peers any longer
 * SIGHUP           reload: load, start plugins, open what is new; if any of that fails, nothing has
 *                  changed and the log says why; else the new configuration is published, and every
 *                  worker changes over
 *
 * The published configuration is read by workers without a reference, within a turn of their loops.
 * The old one is therefore given up only when each worker has done its task of the change. Its last
 * reference may be dropped by a worker, when the last connection of that time ends; freeing it
 * stops plugins, so it comes back to this thread (the reaper). */

#include "build.h"

#include <errno.h>
#include <ev.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "api.h"
#include "ban.h"
#include "counter.h"
#include "escape.h"
#include "fact.h"
#include "guard.h"
#include "listener.h"
#include "log.h"
#include "option.h"
#include "registry.h"
#include "restore.h"
#include "retained.h"
#include "server.h"
#include "store.h"
#include "store_open.h"
#include "subindex.h"
#include "transport.h"

/* How often it is looked whether the connections are gone. */
#define DRAIN_LOOK_S 0.02
/* Retained messages whose expiry has passed are forgotten this often, and at most so many at a
 * time; they are not delivered in any case. */
#define SWEEP_S    1.
#define SWEEP_MOST 10000
/* Descriptors that are not connections: standard streams, loops, listeners, plugins. */
#define DESCRIPTORS_OF_OURS 64

enum phase { RUNNING, CHANGING, DRAINING };

struct life {
    struct pg_server server;
    const char *config_path;
    enum phase phase;
    bool stop_wanted, reload_wanted; /* signals kept in CHANGING */
    bool hurry;                      /* a second SIGTERM */

    struct pg_listeners *listeners;
    struct pg_change *change;     /* in CHANGING */
    _Atomic bool change_done;     /* by the last worker */
    struct pg_config *old_config; /* in a reload: to be given up after the change */

    struct ev_loop *loop;
    struct ev_signal on_term, on_int, on_hup;
    struct ev_async wake;
    struct ev_timer look; /* in DRAINING */
    struct ev_timer sweep;
    ev_tstamp drain_end;

    _Atomic(struct pg_config *) retired; /* a stack; freed by the main thread */
};

/* The reaper has no argument. */
static struct life *the_life;

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

/* ---- configurations that nobody uses --------------------------------------------------------- */

/* Any thread. */
static void reap(struct pg_config *config)
{
    struct life *life = the_life;
    config->next_retired = atomic_load_explicit(&life->retired, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&life->retired, &config->next_retired, config,
                                                  memory_order_release, memory_order_relaxed))
        continue;
    ev_async_send(life->loop, &life->wake);
}

static void free_retired(struct life *life)
{
    struct pg_config *config = atomic_exchange_explicit(&life->retired, NULL, memory_order_acquire);
    while (config) {
        struct pg_config *next = config->next_retired;
        pg_config_free(config);
        config = next;
    }
}

/* ---- what a configuration sets at once ------------------------------------------------------- */

static void apply_settings(struct life *life, const struct pg_settings *settings)
{
    struct rlimit files;
    pg_log_configure((enum pg_log_format)settings->log.format, (enum pg_level)settings->log.level);
    if (life->server.retained) {
        const struct pg_retained_limits limits = {.messages = (size_t)settings->retained.messages,
                                                  .bytes = (size_t)settings->retained.bytes};
        pg_retained_set_limits(life->server.retained, &limits);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
        settings->limits.connections > (int64_t)files.rlim_cur - DESCRIPTORS_OF_OURS)
        PG_LOG(PG_WARN, "descriptors_short", PG_F_INT("connections", settings->limits.connections),
               PG_F_INT("descriptors", files.rlim_cur),
               PG_F_TEXT("detail", "limits.connections is more than there are descriptors: raise "
                                   "LimitNOFILE (systemd) or ulimit -n, or lower it"));
}

/* Every connection is a descriptor: as many as we may have. */
static void raise_descriptors(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max)
        return;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        PG_LOG(PG_WARN, "descriptors_short", PG_F_TEXT("error", strerror(errno)));
}

static unsigned count_workers(const struct pg_settings *settings)
{
    cpu_set_t cpus;
    int64_t count = settings->workers;
    if (count == 0)
        count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus)
                                                               : sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        return 1;
    return count < (int64_t)PG_WORKERS_MAX ? (unsigned)count : PG_WORKERS_MAX;
}

/* ---- changing -------------------------------------------------------------------------------- */

static void stop(struct life *life);
static void reload(struct life *life);

/* On a worker: the last one has done its part. */
static void change_done(void *arg)
{
    struct life *life = arg;
    atomic_store_explicit(&life->change_done, true, memory_order_release);
    ev_async_send(life->loop, &life->wake);
}

static void begin_change(struct life *life, struct pg_change *change)
{
    life->phase = CHANGING;
    life->change = change;
    pg_change_begin(change, change_done, life);
}

struct tally {
    struct pg_task task;
    size_t counter;
};

static void add_tally(struct pg_task *task, struct pg_worker *worker)
{
    struct tally *tally = (struct tally *)task;
    pg_counter_add(pg_worker_counters(worker), tally->counter, 1);
    free(tally);
}

/* Counters belong to workers; what the main thread counts is added by the first one. */
static void count(struct life *life, size_t counter)
{
    struct tally *tally = malloc(sizeof(*tally));
    if (!tally)
        return;
    *tally = (struct tally){.task.run = add_tally, .counter = counter};
    pg_worker_post(life->server.workers[0], &tally->task);
}

static void reload_failed(struct life *life, const struct pg_error *error)
{
    count(life, PG_COUNT_RELOADS_FAILED);
    PG_LOG(PG_ERROR, "reload_failed", PG_F_TEXT("error", error->text));
    notify("READY=1");
}

/* A row that a reload does not change has the same value in both. */
static bool same_value(const struct pg_option *row, const struct pg_settings *now,
                       const struct pg_settings *next)
{
    char texts[2][4200];
    struct pg_text a = {.data = texts[0], .room = sizeof(texts[0])};
    struct pg_text b = {.data = texts[1], .room = sizeof(texts[1])};
    pg_option_json(row, now, &a);
    pg_option_json(row, next, &b);
    return a.len == b.len && memcmp(texts[0], texts[1], a.len) == 0;
}

static bool needs_no_restart(const struct life *life, const struct pg_config *config,
                             struct pg_error *error)
{
    unsigned workers = count_workers(&config->settings);
    if (workers != life->server.worker_count) {
        pg_error_set(error, "workers: %u now and %u in the file, which only a restart can change",
                     life->server.worker_count, workers);
        return false;
    }
    const struct pg_settings *now = &atomic_load(&life->server.config)->settings;
    for (const struct pg_settings_block *block = pg_settings_blocks(); block->name; block++) {
        for (const struct pg_option *row = block->rows; block->name[0] && row->name; row++) {
            if (row->reloadable || same_value(row, now, &config->settings))
                continue;
            pg_error_set(error, "%s.%s is another one in the file, which only a restart can change",
                         block->name, row->name);
            return false;
        }
    }
    return true;
}

/* Log that it begins, and change over, or log why not. */
static void reload(struct life *life)
{
    struct pg_error error;
    life->reload_wanted = false;
    PG_LOG(PG_INFO, "reloading",
           PG_F_TEXT("file", life->config_path ? life->config_path : "built-in configuration"));
    notify("RELOADING=1");
    struct pg_server *server = &life->server;
    struct pg_config *config = pg_config_load(server->assembly, life->config_path, &error);
    if (!config) {
        reload_failed(life, &error);
        return;
    }
    struct pg_change *change = NULL;
    if (needs_no_restart(life, config, &error) && pg_config_start_plugins(config, &error))
        change = pg_change_prepare(server, life->listeners, config, &error);
    if (!change) {
        pg_config_unref(&config);
        reload_failed(life, &error);
        return;
    }
    /* Nothing can fail from here on. */
    life->old_config = atomic_exchange(&server->config, config);
    apply_settings(life, &config->settings);
    begin_change(life, change);
}

static void look(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)events;
    struct life *life = watcher->data;
    if (life->hurry || atomic_load(&life->server.connections) == 0 ||
        ev_now(loop) >= life->drain_end)
        ev_break(loop, EVBREAK_ALL);
}

/* Nobody accepts any more: end the connections. */
static void drain(struct life *life)
{
    struct pg_server *server = &life->server;
    int64_t timeout = life->hurry ? 0 : atomic_load(&server->config)->settings.drain_timeout;
    life->phase = DRAINING;
    pg_api_stop(); /* while every worker still answers: one that has drained leaves its loop */
    for (unsigned i = 0; i < server->worker_count; i++)
        pg_worker_drain(server->workers[i], timeout);
    ev_now_update(life->loop);
    life->drain_end = ev_now(life->loop) + (double)timeout / 1000.;
    ev_timer_init(&life->look, look, 0., DRAIN_LOOK_S);
    life->look.data = life;
    ev_timer_start(life->loop, &life->look);
}

static void finish_change(struct life *life)
{
    bool stopping = atomic_load(&life->server.draining);
    atomic_store(&life->change_done, false);
    pg_change_complete(&life->change);
    life->phase = RUNNING;
    if (stopping) {
        drain(life);
        return;
    }
    if (life->old_config) {
        pg_config_unref(&life->old_config);
        count(life, PG_COUNT_RELOADS_DONE);
        PG_LOG(PG_INFO, "reloaded",
               PG_F_TEXT("file", life->config_path ? life->config_path : "built-in configuration"));
    } else {
        PG_LOG(PG_INFO, "ready", PG_F_INT("workers", life->server.worker_count));
    }
    notify("READY=1");
    if (life->stop_wanted)
        stop(life);
    else if (life->reload_wanted)
        reload(life);
}

static void on_wake(struct ev_loop *loop, struct ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct life *life = watcher->data;
    if (life->change && atomic_load_explicit(&life->change_done, memory_order_acquire))
        finish_change(life);
    free_retired(life);
}

/* ---- signals --------------------------------------------------------------------------------- */

static void stop(struct life *life)
{
    struct pg_error error;
    notify("STOPPING=1");
    atomic_store(&life->server.draining, true);
    struct pg_change *change = pg_change_prepare(&life->server, life->listeners, NULL, &error);
    if (change)
        begin_change(life, change);
    else
        drain(life); /* memory is out: connections that still come are closed as draining */
}

static void on_stop_signal(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    (void)events;
    struct life *life = watcher->data;
    const char *name = watcher->signum == SIGINT ? "SIGINT" : "SIGTERM";
    if (life->stop_wanted) {
        PG_LOG(PG_WARN, "stopping_at_once", PG_F_TEXT("signal", name));
        life->hurry = true;
        if (life->phase == DRAINING) {
            for (unsigned i = 0; i < life->server.worker_count; i++)
                pg_worker_drain(life->server.workers[i], 0);
            ev_break(loop, EVBREAK_ALL);
        }
        return;
    }
    PG_LOG(PG_INFO, "stopping", PG_F_TEXT("signal", name));
    life->stop_wanted = true;
    if (life->phase == RUNNING)
        stop(life);
}

static void on_reload_signal(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct life *life = watcher->data;
    if (life->stop_wanted)
        return;
    life->reload_wanted = true;
    if (life->phase == RUNNING)
        reload(life);
}

static void watch_signal(struct life *life, struct ev_signal *watcher, int number,
                         void (*fn)(struct ev_loop *, struct ev_signal *, int))
{
    ev_signal_init(watcher, fn, number);
    watcher->data = life;
    ev_signal_start(life->loop, watcher);
}

static void sweep(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct life *life = watcher->data;
    pg_retained_sweep(life->server.retained, pg_now_ms(), SWEEP_MOST);
}

static bool make_loop(struct life *life, struct pg_error *error)
{
    life->loop = ev_default_loop(EVFLAG_AUTO);
    if (!life->loop) {
        pg_error_set(error, "the main loop cannot be made: %s", strerror(errno));
        return false;
    }
    signal(SIGPIPE, SIG_IGN); /* a peer that has gone is told by EPIPE, where it can be handled */
    signal(SIGXFSZ, SIG_IGN); /* and a file that may not grow by EFBIG */
    watch_signal(life, &life->on_term, SIGTERM, on_stop_signal);
    watch_signal(life, &life->on_int, SIGINT, on_stop_signal);
    watch_signal(life, &life->on_hup, SIGHUP, on_reload_signal);
    ev_async_init(&life->wake, on_wake);
    life->wake.data = life;
    ev_async_start(life->loop, &life->wake);
    return true;
}

/* ---- start and end --------------------------------------------------------------------------- */

static bool make_shared(struct life *life, struct pg_error *error)
{
    struct pg_server *server = &life->server;
    const struct pg_settings *settings = &atomic_load(&server->config)->settings;
    const struct pg_retained_limits limits = {.messages = (size_t)settings->retained.messages,
                                              .bytes = (size_t)settings->retained.bytes};
    server->worker_count = count_workers(settings);
    server->subindex = pg_subindex_new(server->worker_count);
    server->retained = pg_retained_new(&limits);
    server->registry = pg_registry_new();
    life->listeners = pg_listeners_new();
    if (!server->subindex || !server->retained || !server->registry || !life->listeners) {
        pg_error_set(error, "out of memory");
        return false;
    }
    return pg_store_open(settings, &server->store, error);
}

static void free_shared(struct life *life)
{
    struct pg_server *server = &life->server;
    if (life->listeners)
        pg_listeners_free(&life->listeners);
    pg_bans_free();
    pg_facts_free();
    pg_guard_free();
    if (server->store)
        pg_store_free(&server->store);
    if (server->registry)
        pg_registry_free(&server->registry);
    if (server->retained)
        pg_retained_free(&server->retained);
    if (server->subindex)
        pg_subindex_free(&server->subindex);
}

/* All workers, running; if one cannot be had, server->worker_count says how many do. */
static bool start_workers(struct pg_server *server, struct pg_error *error)
{
    unsigned wanted = server->worker_count;
    for (unsigned i = 0; i < wanted; i++) {
        server->workers[i] = pg_worker_new(server, i);
        if (server->workers[i] && pg_worker_start(server->workers[i]))
            continue;
        pg_error_set(error, "worker %u of %u cannot be started: %s", i + 1, wanted,
                     server->workers[i] ? strerror(errno) : "memory or descriptors are out");
        server->worker_count = i;
        return false;
    }
    pg_bans_use_store(server->store);
    pg_facts_use_store(server->store);
    return true;
}

static void end_workers(struct pg_server *server, int64_t timeout_ms)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        pg_worker_drain(server->workers[i], timeout_ms);
    pg_workers_join(server);
}

static void serve(struct life *life, struct pg_change *change)
{
    begin_change(life, change);
    ev_timer_init(&life->sweep, sweep, SWEEP_S, SWEEP_S);
    life->sweep.data = life;
    ev_timer_start(life->loop, &life->sweep);
    ev_run(life->loop, 0);
    pg_workers_join(&life->server);
}

/* From a loaded configuration to the end; the exit code. */
static int run(struct life *life, struct pg_error *error)
{
    struct pg_server *server = &life->server;
    struct pg_config *config = atomic_load(&server->config);
    struct pg_change *change = NULL;
    struct pg_unfinished *unfinished = NULL;
    bool served = false;
    if (!make_shared(life, error))
        goto out;
    /* Bind before anything else can be seen from outside: two gateways must not both start. */
    change = pg_change_prepare(server, life->listeners, config, error);
    if (!change)
        goto out;
    if (!start_workers(server, error) ||
        (server->store && !pg_restore(server, &unfinished, error))) {
        pg_change_abandon(&change);
        end_workers(server, 0);
        goto out;
    }
    pg_api_start(server);
    if (!pg_config_start_plugins(config, error) ||
        (unfinished && !pg_restore_finish(server, &unfinished, error))) {
        pg_change_abandon(&change);
        pg_api_stop();
        end_workers(server, 0);
        goto out;
    }
    serve(life, change);
    served = true;
out:
    pg_unfinished_free(&unfinished);
    pg_config_set_reaper(NULL);
    free_retired(life);
    config = atomic_exchange(&server->config, NULL);
    pg_config_unref(&config);
    free_shared(life);
    return served ? 0 : 1;
}

int pg_server_run(const struct pg_assembly *assembly, const char *config_path)
{
    struct pg_error error;
    struct life life = {
        .server = {.assembly = assembly, .started_ms = pg_now_ms()},
        .config_path = config_path,
    };
    struct pg_config *config = pg_config_load(assembly, config_path, &error);
    int code = 1;
    if (config && make_loop(&life, &error)) {
        the_life = &life;
        pg_config_set_reaper(reap);
        atomic_store(&life.server.config, config);
        config = NULL;
        raise_descriptors();
        apply_settings(&life, &atomic_load(&life.server.config)->settings);
        PG_LOG(PG_INFO, "starting", PG_F_TEXT("version", PACKAGE_VERSION),
               PG_F_TEXT("file", config_path ? config_path : "built-in configuration"),
               PG_F_INT("pid", getpid()));
        code = run(&life, &error);
        ev_loop_destroy(life.loop);
        the_life = NULL;
    }
    pg_config_unref(&config);
    if (code == 0)
        PG_LOG(PG_INFO, "stopped", PG_F_INT("pid", getpid()));
    else
        PG_LOG(PG_ERROR, "start_failed", PG_F_TEXT("error", error.text));
    return code;
}
