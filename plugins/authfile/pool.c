/* SPDX-License-Identifier: Apache-2.0 */

/* A bounded queue of logins and the threads that take from it.
 *
 * Verifying one yescrypt hash takes some ten milliseconds and 16 MiB by design, so the number of
 * threads bounds both. What arrives while the queue is full is refused at once, as busy: whoever
 * floods the gateway with logins must not make it keep them all. */

#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct job *next;
    struct pg_access_request *request;
    size_t user_len, password_len;
    bool has_password;
    uint8_t bytes[]; /* user, then password */
};

struct auth_pool {
    const struct auth_passwords *passwords;
    struct auth_verified *verified; /* or NULL */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *head, **tail; /* under lock, with the next three */
    size_t waiting;
    size_t limit;
    bool stopping;
    unsigned thread_count; /* those that run */
    struct member {
        pthread_t thread;
        struct auth_pool *pool;
        struct auth_verifier *verifier;
    } members[];
};

static void free_job(struct job *job)
{
    explicit_bzero(job->bytes, job->user_len + job->password_len);
    free(job);
}

static enum pg_verdict verify(const struct auth_pool *pool, struct auth_verifier *verifier,
                              const struct job *job)
{
    struct pg_bytes user = {.data = job->bytes, .len = job->user_len};
    struct pg_bytes password = {.data = job->bytes + job->user_len, .len = job->password_len};
    bool known;
    const char *hash = auth_passwords_find(pool->passwords, user, &known);
    bool right = auth_verify(verifier, hash, password);
    if (!known)
        return PG_NEXT;
    if (!right || !job->has_password)
        return PG_DENY;
    if (pool->verified)
        auth_verified_add(pool->verified, user, password, hash, pg_now_ms());
    return PG_ALLOW;
}

static void *run_member(void *arg)
{
    struct member *member = arg;
    struct auth_pool *pool = member->pool;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        struct job *job = pool->head;
        if (!job) {
            pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        pool->head = job->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->waiting--;
        pthread_mutex_unlock(&pool->lock);
        pg_access_answer(job->request, verify(pool, member->verifier, job));
        free_job(job);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static bool start_member(struct auth_pool *pool)
{
    struct member *member = &pool->members[pool->thread_count];
    *member = (struct member){.pool = pool, .verifier = auth_verifier_new()};
    if (!member->verifier)
        return false;
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&member->thread, NULL, run_member, member);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        auth_verifier_free(&member->verifier);
        return false;
    }
    pool->thread_count++;
    return true;
}

struct auth_pool *auth_pool_start(const struct auth_passwords *passwords,
                                  struct auth_verified *verified, unsigned threads, size_t pending,
                                  struct pg_error *error)
{
    struct auth_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(struct member));
    if (!pool) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    pool->passwords = passwords;
    pool->verified = verified;
    pool->tail = &pool->head;
    pool->limit = pending;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    while (pool->thread_count < threads) {
        if (!start_member(pool)) {
            pg_error_set(error, "cannot start %u threads; lower the option threads", threads);
            auth_pool_stop(&pool);
            return NULL;
        }
    }
    return pool;
}

bool auth_pool_ask(struct auth_pool *pool, struct pg_bytes user, struct pg_bytes password,
                   struct pg_access_request *request)
{
    /* A password that is too long is wrong whatever it is; its length is kept, not its bytes. */
    size_t kept = password.len <= AUTH_PASSWORD_MAX ? password.len : 0;
    struct job *job = malloc(sizeof(*job) + user.len + kept);
    if (!job)
        return false;
    *job = (struct job){.request = request,
                        .user_len = user.len,
                        .password_len = kept,
                        .has_password = password.data && kept == password.len};
    if (user.len > 0)
        memcpy(job->bytes, user.data, user.len);
    if (kept > 0)
        memcpy(job->bytes + user.len, password.data, kept);

    pthread_mutex_lock(&pool->lock);
    bool taken = pool->waiting < pool->limit;
    if (taken) {
        *pool->tail = job;
        pool->tail = &job->next;
        pool->waiting++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!taken)
        free_job(job);
    return taken;
}

void auth_pool_stop(struct auth_pool **pool)
{
    struct auth_pool *old = *pool;
    *pool = NULL;
    if (!old)
        return;
    pthread_mutex_lock(&old->lock);
    old->stopping = true;
    pthread_cond_broadcast(&old->wake);
    pthread_mutex_unlock(&old->lock);
    for (unsigned i = 0; i < old->thread_count; i++) {
        pthread_join(old->members[i].thread, NULL);
        auth_verifier_free(&old->members[i].verifier);
    }
    while (old->head) {
        struct job *job = old->head;
        old->head = job->next;
        pg_access_answer(job->request, PG_UNAVAILABLE);
        free_job(job);
    }
    pthread_cond_destroy(&old->wake);
    pthread_mutex_destroy(&old->lock);
    free(old);
}
