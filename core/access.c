/* SPDX-License-Identifier: Apache-2.0 */

/* The one decision point: asks the chain of authenticators and draws the conclusion.
 *
 * A question is a walk along config->plugins. As long as every authenticator answers at once, it
 * lives on the stack and nothing is allocated: the request that authenticators are shown is one
 * per thread, kept and shown again. When one says PG_LATER, that request becomes the question: it
 * takes copies of what was lent and a reference on the configuration, and the answer comes back to
 * the worker as a task, which goes on along the chain.
 *
 *                    authenticator says PG_LATER
 *   (on the stack) ------------------------------> OUT -- pg_access_answer --> ANSWERED --> task
 *                                                   |                            |
 *                                            pg_access_cancel             pg_access_cancel
 *                                                   v                            v
 *                                               CANCELLED                    FORGOTTEN
 *                                      freed by pg_access_answer          freed by the task
 *
 * An exchange in rounds is always a request of its own, and every verdict, early or late, comes
 * through pg_access_answer(). PG_CONTINUE makes it WAITING: it is the asker's alone until the peer
 * has answered, and OUT again then.
 *
 * Cancelling gives up the worker and the configuration at once, so a plugin may answer at any
 * later time, even from its `stop`. The states change under one lock, which also covers the
 * posting: after pg_access_cancel() has returned, no thread is still about to touch the worker.
 * The lock is taken for pending questions only. */

#include "access.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum question_kind { LOGIN, ACTION, EXCHANGE };

struct question {
    enum question_kind kind;
    enum pg_action action; /* ACTION */
    const struct pg_identity *who;
    struct pg_bytes topic; /* ACTION: without $share; EXCHANGE: the method */
    bool allowed;          /* an action that somebody allowed and nobody denied yet */
    size_t next;           /* index of the plugin to be asked next */
};

enum request_state {
    IDLE,      /* the thread's spare one */
    OUT,       /* shown to an authenticator, which may answer at any moment */
    ANSWERED,  /* `verdict` is set, the task is posted */
    WAITING,   /* an exchange: it is the peer's turn */
    CANCELLED, /* the asker has gone before the answer: whoever answers frees it */
    FORGOTTEN, /* the asker has gone after the answer: the task frees it */
};

#define REQUEST_MAGIC 0x7067ac01u

struct pg_access_request {
    struct pg_task task; /* first: the task is the request */
    uint32_t magic;
    enum request_state state; /* under `lock`, except in IDLE */
    enum pg_verdict verdict;  /* in ANSWERED */
    struct pg_worker *worker;
    struct pg_config *config; /* a reference, while the asker waits */
    pg_access_done_fn done;
    void *arg;
    struct question question;
    struct pg_identity who; /* what question.who points to; its strings are in `copy` */
    uint8_t *copy;
    size_t copy_len;
    struct rounds *rounds; /* EXCHANGE */
};

/* What only an exchange has. */
struct rounds {
    pg_access_round_fn done;
    bool taken;    /* an authenticator knows the method: it is asked until the end */
    uint8_t *data; /* from the peer, of this round */
    size_t data_len;
    uint8_t *reply; /* for the peer */
    size_t reply_len;
    void *state; /* the authenticator's */
    void (*free_state)(void *state);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the thread's spare request -------------------------------------------------------------- */

static _Thread_local struct pg_access_request *spare;
static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;
static bool spare_key_made;

static void make_spare_key(void)
{
    spare_key_made = pthread_key_create(&spare_key, free) == 0;
}

/* The request to show to authenticators; NULL when memory is out. */
static struct pg_access_request *take_spare(void)
{
    if (spare)
        return spare;
    pthread_once(&spare_once, make_spare_key);
    if (!spare_key_made)
        return NULL;
    struct pg_access_request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    if (pthread_setspecific(spare_key, request) != 0) { /* frees it when the thread ends */
        free(request);
        return NULL;
    }
    request->magic = REQUEST_MAGIC;
    spare = request;
    return request;
}

/* It has become a pending question and belongs to that now. */
static void detach_spare(void)
{
    spare = NULL;
    /* Setting NULL where a value is set already allocates nothing and cannot fail. */
    (void)pthread_setspecific(spare_key, NULL);
}

static void free_secret(uint8_t *data, size_t len)
{
    if (data)
        explicit_bzero(data, len);
    free(data);
}

static void free_rounds(struct rounds *rounds)
{
    if (!rounds)
        return;
    if (rounds->free_state)
        rounds->free_state(rounds->state);
    free_secret(rounds->data, rounds->data_len);
    free_secret(rounds->reply, rounds->reply_len);
    free(rounds);
}

static void free_request(struct pg_access_request *request)
{
    assert(request->magic == REQUEST_MAGIC);
    request->magic = 0;
    free_rounds(request->rounds);
    free_secret(request->copy, request->copy_len); /* it may hold a password */
    free(request);
}

/* ---- the chain ------------------------------------------------------------------------------- */

static bool has_function(const struct pg_plugin_conf *plugin, enum question_kind kind)
{
    const struct pg_authenticator *chain = plugin->plugin->authenticator;
    switch (kind) {
    case LOGIN:
        return chain && chain->authenticate;
    case EXCHANGE:
        return chain && chain->exchange;
    default:
        return plugin->judges;
    }
}

static bool any_function(const struct pg_config *config, enum question_kind kind)
{
    for (size_t i = 0; i < config->plugin_count; i++) {
        if (has_function(&config->plugins[i], kind))
            return true;
    }
    return false;
}

/* What the listener says of clients that nobody judged, by its name. */
static int listener_anonymous(const struct pg_config *config, const char *name)
{
    for (size_t i = 0; name && i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name, name) == 0)
            return config->listeners[i].allow_anonymous;
    }
    return PG_LISTENER_ANONYMOUS_AS_ACCESS;
}

/* Nobody in the chain had an opinion on this login. */
static enum pg_reason judge_silent_login(const struct pg_config *config,
                                         const struct pg_identity *who)
{
    bool guarded = any_function(config, LOGIN) || any_function(config, ACTION) ||
                   any_function(config, EXCHANGE);
    if (guarded && (who->username.data || who->password.data))
        return PG_BAD_CREDENTIAL;
    int own = listener_anonymous(config, who->listener);
    if (own != PG_LISTENER_ANONYMOUS_AS_ACCESS)
        return own == PG_LISTENER_ANONYMOUS_YES ? PG_OK : PG_NOT_AUTHORIZED;
    switch (config->settings.access.allow_anonymous) {
    case PG_ANONYMOUS_YES:
        return PG_OK;
    case PG_ANONYMOUS_AUTO:
        return guarded ? PG_NOT_AUTHORIZED : PG_OK;
    default:
        return PG_NOT_AUTHORIZED;
    }
}

/* Whether an action on which nobody had an opinion is allowed. */
static bool silence_allows(const struct pg_config *config)
{
    switch (config->settings.access.otherwise) {
    case PG_OTHERWISE_ALLOW:
        return true;
    case PG_OTHERWISE_AUTO: /* where somebody judges, what he does not mention is not allowed */
        return !any_function(config, ACTION);
    default:
        return false;
    }
}

static enum pg_reason conclude(const struct pg_config *config, const struct question *question)
{
    if (question->kind == LOGIN)
        return judge_silent_login(config, question->who);
    return question->allowed || silence_allows(config) ? PG_OK : PG_NOT_AUTHORIZED;
}

/* Take one opinion into account: PG_PENDING when the chain goes on. */
static enum pg_reason weigh(struct question *question, enum pg_verdict verdict)
{
    switch (verdict) {
    case PG_NEXT:
        return PG_PENDING;
    case PG_ALLOW:
        if (question->kind == LOGIN)
            return PG_OK;
        question->allowed = true;
        return PG_PENDING;
    case PG_UNAVAILABLE:
        return PG_BUSY;
    default: /* PG_DENY, and whatever a faulty plugin invents */
        return question->kind == LOGIN ? PG_BAD_CREDENTIAL : PG_NOT_AUTHORIZED;
    }
}

/* Ask from question->next on. PG_PENDING: an authenticator keeps `request` and will answer. */
static enum pg_reason walk(const struct pg_config *config, struct question *question,
                           struct pg_access_request *request)
{
    while (question->next < config->plugin_count) {
        const struct pg_plugin_conf *plugin = &config->plugins[question->next++];
        if (!has_function(plugin, question->kind))
            continue;
        const struct pg_authenticator *chain = plugin->plugin->authenticator;
        enum pg_verdict verdict =
            question->kind == LOGIN ? chain->authenticate(plugin->self, question->who, request)
                                    : chain->authorize(plugin->self, question->who,
                                                       question->action, question->topic, request);
        if (verdict == PG_LATER)
            return PG_PENDING;
        enum pg_reason reason = weigh(question, verdict);
        if (reason != PG_PENDING)
            return reason;
    }
    return conclude(config, question);
}

/* ---- pending --------------------------------------------------------------------------------- */

/* Whether the asker still waits, and if so the request is the worker's alone again. */
static bool reclaim(struct pg_access_request *request)
{
    pthread_mutex_lock(&lock);
    bool wanted = request->state == ANSWERED;
    if (wanted)
        request->state = OUT; /* it is shown on along the chain */
    pthread_mutex_unlock(&lock);
    return wanted;
}

/* ---- rounds of an exchange ------------------------------------------------------------------- */

/* Ask the authenticator whose turn it is; its verdict comes back through pg_access_answer(). */
static void ask_round(struct pg_access_request *request)
{
    const struct pg_plugin_conf *plugin = &request->config->plugins[request->question.next - 1];
    const struct rounds *rounds = request->rounds;
    const struct pg_bytes data = {.data = rounds->data, .len = rounds->data_len};
    enum pg_verdict verdict = plugin->plugin->authenticator->exchange(
        plugin->self, &request->who, request->question.topic, data, request);
    if (verdict != PG_LATER)
        pg_access_answer(request, verdict);
}

/* The first round, of the next one that knows methods. false: there is none. */
static bool ask_next(struct pg_access_request *request)
{
    const struct pg_config *config = request->config;
    struct question *question = &request->question;
    while (question->next < config->plugin_count) {
        if (has_function(&config->plugins[question->next++], EXCHANGE)) {
            ask_round(request);
            return true;
        }
    }
    return false;
}

static enum pg_reason judge_round(const struct rounds *rounds, enum pg_verdict verdict)
{
    switch (verdict) {
    case PG_CONTINUE:
        return PG_PENDING;
    case PG_ALLOW:
        return PG_OK;
    case PG_UNAVAILABLE:
        return PG_BUSY;
    case PG_NEXT:
        return rounds->taken ? PG_BAD_CREDENTIAL : PG_UNSUPPORTED;
    default:
        return PG_BAD_CREDENTIAL;
    }
}

static void round_answered(struct pg_access_request *request)
{
    struct rounds *rounds = request->rounds;
    if (request->verdict == PG_NEXT && !rounds->taken && ask_next(request))
        return;
    enum pg_reason reason = judge_round(rounds, request->verdict);
    pg_access_round_fn done = rounds->done;
    void *arg = request->arg;
    uint8_t *reply = rounds->reply;
    const struct pg_bytes data = {.data = reply, .len = rounds->reply_len};
    rounds->reply = NULL;
    if (reason == PG_PENDING) {
        rounds->taken = true;
        pthread_mutex_lock(&lock);
        request->state = WAITING;
        pthread_mutex_unlock(&lock);
    } else {
        struct pg_config *config = request->config;
        free_request(request);
        pg_config_unref(&config);
    }
    done(arg, reason, data); /* may end the asker, and with it the request */
    free_secret(reply, data.len);
}

static void answered(struct pg_task *task, struct pg_worker *worker)
{
    struct pg_access_request *request = (struct pg_access_request *)task;
    assert(request->magic == REQUEST_MAGIC);
    (void)worker;
    if (!reclaim(request)) {
        free_request(request);
        return;
    }
    if (request->rounds) {
        round_answered(request);
        return;
    }
    enum pg_reason reason = weigh(&request->question, request->verdict);
    if (reason == PG_PENDING)
        reason = walk(request->config, &request->question, request);
    if (reason == PG_PENDING)
        return; /* the next one thinks about it too */
    pg_access_done_fn done = request->done;
    void *arg = request->arg;
    pg_config_unref(&request->config);
    free_request(request);
    done(arg, reason);
}

static struct pg_bytes copy_bytes(uint8_t **at, struct pg_bytes in)
{
    if (!in.data)
        return PG_BYTES_NONE;
    struct pg_bytes out = {.data = *at, .len = in.len};
    if (in.len > 0)
        memcpy(*at, in.data, in.len);
    *at += in.len;
    return out;
}

static const char *copy_text(uint8_t **at, const char *text)
{
    if (!text)
        return NULL;
    size_t len = strlen(text) + 1;
    char *out = (char *)*at;
    memcpy(out, text, len);
    *at += len;
    return out;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Take copies of everything lent, since the call returns before the answer is there. */
static bool keep_question(struct pg_access_request *request, const struct question *question)
{
    const struct pg_identity *who = question->who;
    /* At least one byte, so that an empty but present text keeps a pointer. */
    size_t len = who->client_id.len + who->username.len + who->password.len + question->topic.len +
                 text_size(who->peer) + text_size(who->listener) + text_size(who->protocol) + 1;
    request->copy = malloc(len);
    if (!request->copy)
        return false;
    request->copy_len = len;
    uint8_t *at = request->copy;
    request->question = *question;
    request->question.topic = copy_bytes(&at, question->topic);
    request->who = (struct pg_identity){
        .client_id = copy_bytes(&at, who->client_id),
        .username = copy_bytes(&at, who->username),
        .password = copy_bytes(&at, who->password),
        .peer = copy_text(&at, who->peer),
        .listener = copy_text(&at, who->listener),
        .protocol = copy_text(&at, who->protocol),
    };
    request->question.who = &request->who;
    return true;
}

/* The asker has no use for the answer any more. */
static void let_go(struct pg_access_request *request)
{
    pthread_mutex_lock(&lock);
    bool nobody_else = request->state == WAITING;
    request->state = request->state == ANSWERED ? FORGOTTEN : CANCELLED;
    pthread_mutex_unlock(&lock);
    if (nobody_else)
        free_request(request);
}

static enum pg_reason ask(struct pg_worker *worker, struct pg_config *config,
                          struct question *question, pg_access_done_fn done, void *arg,
                          struct pg_access_request **pending)
{
    *pending = NULL;
    if (!any_function(config, question->kind))
        return conclude(config, question);

    struct pg_access_request *request = take_spare();
    if (!request)
        return PG_NO_MEMORY;
    request->task.run = answered;
    request->worker = worker;
    request->state = OUT;
    enum pg_reason reason = walk(config, question, request);
    if (reason != PG_PENDING) {
        request->state = IDLE;
        return reason;
    }

    detach_spare();
    /* The answer may be on its way already, but its task cannot run before this returns. */
    if (!keep_question(request, question)) {
        let_go(request);
        return PG_NO_MEMORY;
    }
    request->config = pg_config_ref(config);
    request->done = done;
    request->arg = arg;
    *pending = request;
    return PG_PENDING;
}

/* ---- public ---------------------------------------------------------------------------------- */

enum pg_reason pg_access_login(struct pg_worker *worker, struct pg_config *config,
                               const struct pg_identity *who, pg_access_done_fn done, void *arg,
                               struct pg_access_request **pending)
{
    struct question question = {.kind = LOGIN, .who = who};
    return ask(worker, config, &question, done, arg, pending);
}

/* The filter behind $share/<group>/; nothing is left of one that has no filter. */
static struct pg_bytes without_share(struct pg_bytes filter)
{
    static const char prefix[] = "$share/";
    const size_t prefix_len = sizeof(prefix) - 1;
    if (filter.len < prefix_len || memcmp(filter.data, prefix, prefix_len) != 0)
        return filter;
    const uint8_t *group = filter.data + prefix_len;
    size_t left = filter.len - prefix_len;
    const uint8_t *slash = memchr(group, '/', left);
    if (!slash)
        return PG_BYTES_OF("");
    size_t skip = (size_t)(slash - group) + 1;
    return (struct pg_bytes){.data = group + skip, .len = left - skip};
}

enum pg_reason pg_access_check(struct pg_worker *worker, struct pg_config *config,
                               const struct pg_identity *who, enum pg_action action,
                               struct pg_bytes topic, pg_access_done_fn done, void *arg,
                               struct pg_access_request **pending)
{
    struct question question = {.kind = ACTION, .action = action, .who = who, .topic = topic};
    if (action == PG_ACTION_SUBSCRIBE)
        question.topic = without_share(topic);
    if (question.topic.len == 0) { /* no topic is empty; nobody can have allowed it */
        *pending = NULL;
        return PG_NOT_AUTHORIZED;
    }
    return ask(worker, config, &question, done, arg, pending);
}

bool pg_access_checks_actions(const struct pg_config *config)
{
    return any_function(config, ACTION) || !silence_allows(config);
}

void pg_access_cancel(struct pg_access_request **pending)
{
    struct pg_access_request *request = *pending;
    if (!request)
        return;
    *pending = NULL;
    assert(request->magic == REQUEST_MAGIC);
    struct pg_config *config = request->config;
    request->config = NULL;
    let_go(request); /* from here on another thread may free it */
    pg_config_unref(&config);
}

void pg_access_answer(struct pg_access_request *request, enum pg_verdict verdict)
{
    assert(request->magic == REQUEST_MAGIC);
    pthread_mutex_lock(&lock);
    bool wanted = request->state == OUT;
    if (wanted) {
        request->verdict = verdict;
        request->state = ANSWERED;
        pg_worker_post(request->worker, &request->task);
    }
    pthread_mutex_unlock(&lock);
    if (!wanted)
        free_request(request);
}

/* ---- public: exchanges ----------------------------------------------------------------------- */

/* Copy `in`, an empty but present one too. false: out of memory. */
static bool put_copy(uint8_t **to, size_t *len, struct pg_bytes in)
{
    free_secret(*to, *len);
    *to = NULL;
    *len = 0;
    if (!in.data)
        return true;
    *to = malloc(in.len > 0 ? in.len : 1);
    if (!*to)
        return false;
    if (in.len > 0)
        memcpy(*to, in.data, in.len);
    *len = in.len;
    return true;
}

enum pg_reason pg_access_exchange(struct pg_worker *worker, struct pg_config *config,
                                  const struct pg_identity *who, struct pg_bytes method,
                                  struct pg_bytes data, pg_access_round_fn done, void *arg,
                                  struct pg_access_request **pending)
{
    const struct question question = {.kind = EXCHANGE, .who = who, .topic = method};
    *pending = NULL;
    if (!any_function(config, EXCHANGE))
        return PG_UNSUPPORTED;
    struct pg_access_request *request = calloc(1, sizeof(*request));
    if (!request)
        return PG_NO_MEMORY;
    request->magic = REQUEST_MAGIC;
    request->task.run = answered;
    request->worker = worker;
    request->state = OUT;
    request->arg = arg;
    request->rounds = calloc(1, sizeof(*request->rounds));
    if (!request->rounds || !keep_question(request, &question) ||
        !put_copy(&request->rounds->data, &request->rounds->data_len, data)) {
        free_request(request);
        return PG_NO_MEMORY;
    }
    request->rounds->done = done;
    request->config = pg_config_ref(config);
    *pending = request;
    (void)ask_next(request); /* there is one */
    return PG_PENDING;
}

bool pg_access_waits(const struct pg_access_request *pending)
{
    /* The asker's own thread alone makes it WAITING and ends that. */
    return pending && pending->rounds && pending->state == WAITING;
}

bool pg_access_continue(struct pg_access_request *pending, struct pg_bytes data)
{
    assert(pending->magic == REQUEST_MAGIC && pending->state == WAITING);
    if (!put_copy(&pending->rounds->data, &pending->rounds->data_len, data))
        return false;
    pthread_mutex_lock(&lock);
    pending->state = OUT;
    pthread_mutex_unlock(&lock);
    ask_round(pending);
    return true;
}

bool pg_access_reply(struct pg_access_request *request, struct pg_bytes data)
{
    assert(request->magic == REQUEST_MAGIC && request->rounds);
    return data.len <= UINT16_MAX &&
           put_copy(&request->rounds->reply, &request->rounds->reply_len, data);
}

void *pg_access_state(const struct pg_access_request *request)
{
    assert(request->magic == REQUEST_MAGIC && request->rounds);
    return request->rounds->state;
}

void pg_access_set_state(struct pg_access_request *request, void *state,
                         void (*free_state)(void *state))
{
    assert(request->magic == REQUEST_MAGIC && request->rounds);
    struct rounds *rounds = request->rounds;
    if (rounds->free_state)
        rounds->free_state(rounds->state);
    rounds->state = state;
    rounds->free_state = free_state;
}
