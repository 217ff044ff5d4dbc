/* SPDX-License-Identifier: Apache-2.0 */

/* The core with memory for sockets; see testbed.h. */

#include "testbed.h"

#include "restore.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "conn.h"
#include "counter.h"
#include "log.h"
#include "registry.h"
#include "retained.h"
#include "subindex.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t happened = PTHREAD_COND_INITIALIZER;

static struct pg_settings settings;
static bool settings_made;
static struct pg_plugin_conf plugin_conf;
static struct pg_plugin plugin;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "testbed: %s\n", what);
    abort();
}

/* ---- transport ------------------------------------------------------------------------------- */

static ssize_t mem_writev(void *link, const struct iovec *iov, int count)
{
    (void)link;
    ssize_t n = 0;
    for (int i = 0; i < count; i++)
        n += (ssize_t)iov[i].iov_len;
    return n;
}

static void mem_want(void *link, bool on)
{
    (void)link, (void)on;
}

static void mem_nothing(void *link)
{
    (void)link;
}

/* The peer closes as soon as we do. The link is a pointer to its connection. */
static void mem_shutdown(void *link)
{
    pg_conn_eof(*(struct pg_conn **)link);
}

static const struct pg_transport mem_transport = {
    .name = "memory",
    .link_size = sizeof(struct pg_conn *),
    .writev = mem_writev,
    .want_write = mem_want,
    .want_read = mem_want,
    .shutdown = mem_shutdown,
    .close = mem_nothing,
};

/* ---- frontend -------------------------------------------------------------------------------- */

static struct probe *probe_of(struct pg_conn *conn)
{
    return *(struct probe **)pg_conn_state(conn);
}

static void open_conn(struct pg_conn *conn)
{
    (void)conn;
}

static size_t bytes(struct pg_conn *conn, struct pg_bytes in)
{
    (void)conn;
    return in.len;
}

static void admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    (void)conn;
    struct probe *p = cookie;
    pthread_mutex_lock(&lock);
    p->answered = true;
    p->admission = admission->reason;
    p->client = admission->client;
    p->session_present = admission->session_present;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static void published(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    struct probe *p = pg_client_cookie(client);
    pthread_mutex_lock(&lock);
    p->published_token = token;
    p->published_reason = reason;
    p->published_count++;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static void subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason)
{
    published(client, token, reason);
}

static void copy_text(char *to, size_t room, struct pg_bytes from)
{
    size_t n = from.len < room - 1 ? from.len : room - 1;
    if (from.len > 0)
        memcpy(to, from.data, n);
    to[n] = '\0';
}

static void write_down(struct probe *p, const struct pg_delivery *d)
{
    if (p->message_count == p->message_size) {
        p->message_size = p->message_size ? p->message_size * 2 : 16;
        p->messages = realloc(p->messages, p->message_size * sizeof(*p->messages));
        must(p->messages != NULL, "out of memory");
    }
    struct probe_message *m = &p->messages[p->message_count++];
    *m = (struct probe_message){
        .id = d->id,
        .qos = d->qos,
        .retain = d->retain,
        .redelivered = d->redelivered,
        .tries = d->tries,
        .received = d->received,
        .id_count = d->subscription_id_count,
    };
    for (size_t i = 0; i < d->subscription_id_count && i < 4; i++)
        m->ids[i] = d->subscription_ids[i];
    if (!d->msg)
        return;
    copy_text(m->topic, sizeof(m->topic), d->msg->topic);
    copy_text(m->payload, sizeof(m->payload), d->msg->payload);
    copy_text(m->publisher, sizeof(m->publisher), d->msg->publisher);
}

static void deliver(struct pg_client *client)
{
    struct probe *p = pg_client_cookie(client);
    struct pg_delivery d;
    pthread_mutex_lock(&lock);
    bool collect = p->collect;
    pthread_mutex_unlock(&lock);
    while (collect && pg_delivery_next(client, &d)) {
        pthread_mutex_lock(&lock);
        write_down(p, &d);
        bool settle = p->settle;
        pthread_cond_broadcast(&happened);
        pthread_mutex_unlock(&lock);
        if (settle && d.id != 0)
            pg_delivery_settle(client, d.id, PG_OK);
    }
}

static void client_ended(struct pg_client *client, enum pg_reason reason)
{
    struct probe *p = pg_client_cookie(client);
    pthread_mutex_lock(&lock);
    p->client = NULL;
    p->has_ended = true;
    p->ended = reason;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static void goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    struct probe *p = probe_of(conn);
    pthread_mutex_lock(&lock);
    p->closed_for = reason;
    pthread_mutex_unlock(&lock);
    pg_conn_append(conn, PG_BYTES_OF("bye"));
}

static void closed(struct pg_conn *conn)
{
    struct probe *p = probe_of(conn);
    pthread_mutex_lock(&lock);
    p->is_closed = true;
    p->conn = NULL;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static const struct pg_counter no_counters[] = {{.name = NULL}};
static const struct pg_option no_options[] = {{.name = NULL}};

static const struct pg_protocol probe_protocol = {
    .abi = PG_ABI,
    .name = "probe",
    .options = no_options,
    .counters = no_counters,
    .conn_size = sizeof(struct probe *),
    .open = open_conn,
    .bytes = bytes,
    .admitted = admitted,
    .published = published,
    .remembered = published,
    .subscribed = subscribed,
    .unsubscribed = subscribed,
    .released = subscribed,
    .deliver = deliver,
    .client_ended = client_ended,
    .goodbye = goodbye,
    .closed = closed,
};

/* ---- the bed --------------------------------------------------------------------------------- */

struct pg_settings *testbed_settings(void)
{
    if (settings_made)
        return &settings;
    settings_made = true;
    settings = (struct pg_settings){
        .log = {.level = PG_ERROR},
        .limits =
            {
                .login_frame_size = 1024,
                .frame_size = 1 << 20,
                .first_byte_timeout = 60000,
                .login_timeout = 60000,
                .output_high = 65536,
                .output_max = 1 << 20,
                .linger = 1000,
                .clients_per_connection = 100,
                .topic_levels = 128,
                .mailbox_batches = 64,
            },
        .session =
            {
                .queue_messages = 1000000,
                .queue_bytes = INT64_C(1) << 30,
                .queue_policy = PG_QUEUE_DROP_OLDEST,
                .expiry_max = INT64_MAX / 2,
                .inflight = 65535,
                .receipts = 65535,
                .subscriptions = 1000,
            },
        .retained = {.messages = 1000000, .bytes = INT64_C(1) << 30},
        .drain_timeout = 5000,
    };
    return &settings;
}

void testbed_set_authenticator(const struct pg_authenticator *authenticator, void *self)
{
    plugin = (struct pg_plugin){.abi = PG_ABI, .name = "test", .authenticator = authenticator};
    plugin_conf = (struct pg_plugin_conf){.plugin = &plugin, .self = self};
}

static struct pg_protocol_conf protocol_conf = {.protocol = &probe_protocol};
static struct pg_config bed_config;
static struct pg_listener_conf listener_conf = {
    .config = &bed_config, .name = "bed", .transport = &mem_transport, .protocol = &probe_protocol};

/* Two listeners, so that connections which are there keep theirs. */
static struct pg_listener_conf prefixed_conf[2];
static struct pg_listener_conf *listener_now = &listener_conf;

void testbed_set_prefixes(const char *topic_prefix, const char *client_id_prefix)
{
    bool is_topic = topic_prefix[0] != '\0', is_id = client_id_prefix[0] != '\0';
    listener_now = is_topic ? &prefixed_conf[0] : is_id ? &prefixed_conf[1] : &listener_conf;
    if (!is_topic && !is_id)
        return;
    *listener_now = listener_conf;
    listener_now->topic_prefix = pg_bytes_str(topic_prefix);
    listener_now->client_id_prefix = pg_bytes_str(client_id_prefix);
}

void testbed_start(struct testbed *bed, unsigned workers, struct pg_store *store)
{
    static bool registered;
    pg_log_configure(PG_LOG_TEXT, PG_ERROR);
    if (!registered)
        protocol_conf.counter_base = pg_counter_register("probe", no_counters);
    registered = true;
    bed_config = (struct pg_config){
        .settings = *testbed_settings(),
        .listeners = &listener_conf,
        .listener_count = 1,
        .protocols = &protocol_conf,
        .protocol_count = 1,
        .plugins = &plugin_conf,
        .plugin_count = plugin_conf.plugin ? 1 : 0,
    };
    atomic_init(&bed_config.refs, 1000000); /* never freed */
    bed->config = &bed_config;
    memset(&bed->server, 0, sizeof(bed->server));
    struct pg_server *s = &bed->server;
    atomic_init(&s->config, bed->config);
    s->worker_count = workers;
    s->subindex = pg_subindex_new(workers);
    struct pg_retained_limits limits = {
        .messages = (size_t)bed->config->settings.retained.messages,
        .bytes = (size_t)bed->config->settings.retained.bytes,
    };
    s->retained = pg_retained_new(&limits);
    s->registry = pg_registry_new();
    s->store = store;
    must(s->subindex && s->retained && s->registry, "out of memory");
    for (unsigned i = 0; i < workers; i++) {
        s->workers[i] = pg_worker_new(s, i);
        must(s->workers[i] != NULL, "no worker");
    }
    for (unsigned i = 0; i < workers; i++)
        must(pg_worker_start(s->workers[i]), "no thread");
    struct pg_error error;
    struct pg_unfinished *unfinished = NULL;
    must(!store ||
             (pg_restore(s, &unfinished, &error) && pg_restore_finish(s, &unfinished, &error)),
         "cannot restore");
}

void testbed_stop(struct testbed *bed)
{
    struct pg_server *s = &bed->server;
    for (unsigned i = 0; i < s->worker_count; i++)
        pg_worker_drain(s->workers[i], 5000);
    pg_workers_join(s);
    must(atomic_load(&s->connections) == 0, "connections are left");
    struct pg_subindex_stats left;
    pg_subindex_count(s->subindex, &left);
    must(left.exact + left.wildcard + left.shared == 0, "subscriptions are left in the index");
    pg_subindex_free(&s->subindex);
    pg_retained_free(&s->retained);
    pg_registry_free(&s->registry);
    pg_store_free(&s->store);
    while (bed->probes)
        probe_free(bed->probes);
    settings_made = false;
    plugin_conf = (struct pg_plugin_conf){.plugin = NULL};
}

/* ---- doing things on a worker ---------------------------------------------------------------- */

struct job {
    struct pg_task task;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void run_job(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct job *job = (struct job *)task;
    job->fn(job->arg);
    pthread_mutex_lock(&lock);
    job->done = true;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static bool job_done(void *arg)
{
    return ((struct job *)arg)->done;
}

void testbed_run(struct testbed *bed, unsigned worker, void (*fn)(void *arg), void *arg)
{
    struct job job = {.task.run = run_job, .fn = fn, .arg = arg};
    pg_worker_post(bed->server.workers[worker], &job.task);
    must(testbed_wait(job_done, &job, PATIENCE_S), "a worker does not answer");
}

bool testbed_wait(bool (*fn)(void *arg), void *arg, int seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    bool ok;
    pthread_mutex_lock(&lock);
    while (!(ok = fn(arg)))
        if (pthread_cond_timedwait(&happened, &lock, &until) != 0) {
            ok = fn(arg);
            break;
        }
    pthread_mutex_unlock(&lock);
    return ok;
}

/* A job that is done when the turn in which it runs is over: the core's end of turn runs before the
 * loop looks at its timers. A task alone would not do: several of them may share a turn. */
static void turn_is_over(int events, void *arg)
{
    (void)events;
    struct job *job = arg;
    pthread_mutex_lock(&lock);
    job->done = true;
    pthread_cond_broadcast(&happened);
    pthread_mutex_unlock(&lock);
}

static void run_turn(struct pg_task *task, struct pg_worker *worker)
{
    ev_once(pg_worker_loop(worker), -1, 0, 0.0, turn_is_over, task);
}

void testbed_settle(struct testbed *bed)
{
    /* Round and round: what a first turn sent to another worker is taken in its next one, and what
     * that answered in the one after. */
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < bed->server.worker_count; i++) {
            struct job turn = {.task.run = run_turn};
            pg_worker_post(bed->server.workers[i], &turn.task);
            must(testbed_wait(job_done, &turn, PATIENCE_S), "a worker does not answer");
        }
}

/* ---- probes ---------------------------------------------------------------------------------- */

struct connecting {
    struct testbed *bed;
    struct probe *probe;
    const struct pg_login *login;
};

static void do_connect(void *arg)
{
    struct connecting *c = arg;
    struct pg_worker *worker = c->bed->server.workers[c->probe->worker];
    struct pg_conn *conn = pg_conn_open(worker, listener_now, "192.0.2.1:40112");
    must(conn != NULL, "no connection");
    c->probe->conn = conn;
    *(struct pg_conn **)pg_conn_link(conn) = conn;
    *(struct probe **)pg_conn_state(conn) = c->probe;
    pg_client_admit(conn, c->login, c->probe);
}

bool probe_is_answered(void *probe)
{
    return ((struct probe *)probe)->answered;
}

bool probe_has_published(void *probe)
{
    return ((struct probe *)probe)->published_count > 0;
}

bool probe_has_ended(void *probe)
{
    return ((struct probe *)probe)->has_ended;
}

bool probe_is_closed(void *probe)
{
    return ((struct probe *)probe)->is_closed;
}

static bool is_answered_or_closed(void *probe)
{
    return probe_is_answered(probe) || probe_is_closed(probe);
}

struct pg_login probe_login(const char *id)
{
    return (struct pg_login){.client_id = pg_bytes_str(id), .clean_start = true, .window = 100};
}

struct pg_login probe_login_durable(const char *id)
{
    return (struct pg_login){
        .client_id = pg_bytes_str(id), .session_expiry_s = 3600, .window = 100};
}

void probe_begin(struct testbed *bed, struct probe *probe, unsigned worker,
                 const struct pg_login *login)
{
    pthread_mutex_lock(&lock);
    if (!probe->bed) {
        probe->next = bed->probes;
        bed->probes = probe;
    }
    *probe = (struct probe){
        .bed = bed,
        .next = probe->next,
        .worker = worker,
        .settle = !probe->holds,
        .collect = true,
        .holds = probe->holds,
        .messages = probe->messages,
        .message_count = probe->message_count,
        .message_size = probe->message_size,
    };
    pthread_mutex_unlock(&lock);
    struct connecting c = {.bed = bed, .probe = probe, .login = login};
    testbed_run(bed, worker, do_connect, &c);
}

void probe_connect(struct testbed *bed, struct probe *probe, unsigned worker,
                   const struct pg_login *login)
{
    probe_begin(bed, probe, worker, login);
    must(testbed_wait(is_answered_or_closed, probe, PATIENCE_S), "no answer to an admission");
}

void probe_come(struct testbed *bed, struct probe *probe, unsigned worker, const char *id)
{
    const struct pg_login login = probe_login(id);
    probe_connect(bed, probe, worker, &login);
}

void probe_come_durable(struct testbed *bed, struct probe *probe, unsigned worker, const char *id)
{
    const struct pg_login login = probe_login_durable(id);
    probe_connect(bed, probe, worker, &login);
}

struct closing {
    struct probe *probe;
    enum pg_reason reason;
};

static void do_close(void *arg)
{
    struct closing *c = arg;
    if (c->probe->conn)
        pg_conn_close(c->probe->conn, c->reason, NULL);
}

void probe_close(struct testbed *bed, struct probe *probe, enum pg_reason reason)
{
    struct closing c = {.probe = probe, .reason = reason};
    testbed_run(bed, probe->worker, do_close, &c);
    must(testbed_wait(probe_is_closed, probe, PATIENCE_S), "a connection does not close");
}

struct subscribing {
    struct probe *probe;
    const struct pg_subscription *sub;
    enum pg_reason result;
};

static void do_subscribe(void *arg)
{
    struct subscribing *s = arg;
    s->result = s->probe->client ? pg_subscribe(s->probe->client, s->sub, 7) : PG_INTERNAL;
}

enum pg_reason probe_subscribe_with(struct testbed *bed, struct probe *probe,
                                    const struct pg_subscription *sub)
{
    struct subscribing s = {.probe = probe, .sub = sub};
    testbed_run(bed, probe->worker, do_subscribe, &s);
    return s.result;
}

enum pg_reason probe_subscribe(struct testbed *bed, struct probe *probe, const char *filter,
                               uint8_t qos)
{
    struct pg_subscription sub = {.filter = pg_bytes_str(filter), .qos = qos};
    return probe_subscribe_with(bed, probe, &sub);
}

struct publishing {
    struct probe *probe;
    struct pg_msg_spec spec;
    struct pg_bytes target;
    enum pg_reason result;
};

static void do_publish(void *arg)
{
    struct publishing *p = arg;
    if (!p->probe->client) {
        p->result = PG_INTERNAL;
        return;
    }
    p->spec.publisher = pg_client_id(p->probe->client);
    struct pg_msg *msg = pg_msg_new(&p->spec);
    must(msg != NULL, "out of memory");
    p->result = pg_publish(p->probe->client, msg, 42);
}

enum pg_reason probe_publish(struct testbed *bed, struct probe *probe, const char *topic,
                             const char *payload, uint8_t qos, bool retain)
{
    struct publishing p = {
        .probe = probe,
        .spec = {.topic = pg_bytes_str(topic),
                 .payload = pg_bytes_str(payload),
                 .qos = qos,
                 .retain = retain,
                 .protocol = "probe"},
    };
    testbed_run(bed, probe->worker, do_publish, &p);
    return p.result;
}

static void do_send(void *arg)
{
    struct publishing *p = arg;
    p->spec.publisher = pg_client_id(p->probe->client);
    struct pg_msg *msg = pg_msg_new(&p->spec);
    must(msg != NULL, "out of memory");
    p->result = pg_send(p->probe->client, p->target, msg, 42);
}

enum pg_reason probe_send(struct testbed *bed, struct probe *probe, const char *target,
                          const char *payload, uint8_t qos)
{
    struct publishing p = {
        .probe = probe,
        .spec = {.topic = PG_BYTES_OF("direct"),
                 .payload = pg_bytes_str(payload),
                 .qos = qos,
                 .protocol = "probe"},
        .target = pg_bytes_str(target),
    };
    testbed_run(bed, probe->worker, do_send, &p);
    return p.result;
}

struct settling {
    struct probe *probe;
    uint16_t id;
    bool received, returned, found;
};

static void do_settle(void *arg)
{
    struct settling *s = arg;
    if (s->returned)
        s->found = pg_delivery_return(s->probe->client, s->id);
    else
        s->found = s->received ? pg_delivery_received(s->probe->client, s->id, &s->probe->later)
                               : pg_delivery_settle(s->probe->client, s->id, PG_OK);
}

struct receipt {
    struct probe *probe;
    uint16_t id;
    const char *topic, *payload;
    enum pg_reason result;
};

static void do_publish_once(void *arg)
{
    struct receipt *r = arg;
    struct pg_msg_spec spec = {
        .topic = pg_bytes_str(r->topic),
        .payload = pg_bytes_str(r->payload),
        .qos = 2,
        .publisher = pg_client_id(r->probe->client),
        .protocol = "probe",
    };
    r->result = pg_publish_once(r->probe->client, r->id, pg_msg_new(&spec), r->id);
}

enum pg_reason probe_publish_once(struct testbed *bed, struct probe *probe, uint16_t id,
                                  const char *topic, const char *payload)
{
    struct receipt r = {.probe = probe, .id = id, .topic = topic, .payload = payload};
    testbed_run(bed, probe->worker, do_publish_once, &r);
    return r.result;
}

static void do_release(void *arg)
{
    struct receipt *r = arg;
    r->result = pg_receipt_end(r->probe->client, r->id, r->id);
}

enum pg_reason probe_release(struct testbed *bed, struct probe *probe, uint16_t id)
{
    struct receipt r = {.probe = probe, .id = id};
    testbed_run(bed, probe->worker, do_release, &r);
    return r.result;
}

static void do_unsubscribe(void *arg)
{
    struct receipt *r = arg;
    r->result = pg_unsubscribe(r->probe->client, pg_bytes_str(r->topic), 3);
}

enum pg_reason probe_unsubscribe(struct testbed *bed, struct probe *probe, const char *filter)
{
    struct receipt r = {.probe = probe, .topic = filter};
    testbed_run(bed, probe->worker, do_unsubscribe, &r);
    return r.result;
}

bool probe_settle(struct testbed *bed, struct probe *probe, uint16_t id)
{
    struct settling s = {.probe = probe, .id = id};
    testbed_run(bed, probe->worker, do_settle, &s);
    return s.found;
}

bool probe_received(struct testbed *bed, struct probe *probe, uint16_t id)
{
    struct settling s = {.probe = probe, .id = id, .received = true};
    testbed_run(bed, probe->worker, do_settle, &s);
    return s.found;
}

bool probe_return(struct testbed *bed, struct probe *probe, uint16_t id)
{
    struct settling s = {.probe = probe, .id = id, .returned = true};
    testbed_run(bed, probe->worker, do_settle, &s);
    return s.found;
}

struct taking {
    struct probe *probe;
    bool collect, settle;
};

static void do_take(void *arg)
{
    struct taking *t = arg;
    pthread_mutex_lock(&lock);
    t->probe->collect = t->collect;
    t->probe->settle = t->settle;
    pthread_mutex_unlock(&lock);
    if (t->probe->client && t->collect)
        deliver(t->probe->client);
}

void probe_takes(struct testbed *bed, struct probe *probe, bool collect, bool settle)
{
    struct taking t = {.probe = probe, .collect = collect, .settle = settle};
    testbed_run(bed, probe->worker, do_take, &t);
}

struct counted {
    struct probe *probe;
    size_t count;
};

static bool has_count(void *arg)
{
    struct counted *c = arg;
    return c->probe->message_count >= c->count;
}

bool probe_got(struct probe *probe, size_t count)
{
    struct counted c = {.probe = probe, .count = count};
    return testbed_wait(has_count, &c, PATIENCE_S);
}

void probe_free(struct probe *probe)
{
    pthread_mutex_lock(&lock);
    struct probe **at = &probe->bed->probes;
    while (*at != probe)
        at = &(*at)->next;
    *at = probe->next;
    pthread_mutex_unlock(&lock);
    free(probe->messages);
    *probe = (struct probe){.messages = NULL};
}
