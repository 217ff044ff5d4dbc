/* SPDX-License-Identifier: Apache-2.0 */

/* Looking up names; see net_lookup.h.
 *
 * The thread is detached and owns the look-up until it has posted the result to the worker, whose it is
 * then. One that is cancelled is freed by whichever of the two has it at that moment. The thread posts
 * under a lock, so that a worker which has cancelled may end; it is one lock for all, since a look-up that
 * has been posted may be gone before the lock is released. The address family is left to the resolver's
 * configuration, and so is the order (RFC 6724). */

#include "net_lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

#define HOST_MAX 255u /* RFC 1035, 2.3.4 */

struct net_lookup {
    struct pg_task task; /* first */
    struct pg_worker *worker;
    void (*done)(void *arg, const struct net_address *found, size_t count, const char *why);
    void *arg;
    bool cancelled; /* under the lock until it is posted */
    const char *why;
    struct net_address found[NET_LOOKUP_MAX];
    size_t count;
    uint16_t port;
    char host[HOST_MAX + 1];
};

static pthread_mutex_t posting = PTHREAD_MUTEX_INITIALIZER;

static void tell(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct net_lookup *lookup = (struct net_lookup *)task;
    if (!lookup->cancelled)
        lookup->done(lookup->arg, lookup->found, lookup->count, lookup->why);
    free(lookup);
}

static void keep(struct net_lookup *lookup, const struct addrinfo *found)
{
    for (; found && lookup->count < NET_LOOKUP_MAX; found = found->ai_next) {
        struct net_address *address = &lookup->found[lookup->count];
        if (found->ai_addrlen > sizeof(address->sa))
            continue;
        memcpy(&address->sa, found->ai_addr, found->ai_addrlen);
        address->len = found->ai_addrlen;
        net_address_set_port(address, lookup->port);
        lookup->count++;
    }
}

static void *look_up(void *arg)
{
    struct net_lookup *lookup = arg;
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(lookup->host, NULL, &wanted, &found);
    if (error == 0) {
        keep(lookup, found);
        freeaddrinfo(found);
    }
    lookup->why = error ? gai_strerror(error) : "the name has no address";
    pthread_mutex_lock(&posting);
    bool cancelled = lookup->cancelled;
    if (!cancelled)
        pg_worker_post(lookup->worker, &lookup->task);
    pthread_mutex_unlock(&posting);
    if (cancelled)
        free(lookup);
    return NULL;
}

struct net_lookup *net_lookup_begin(struct pg_worker *worker, struct pg_bytes host, uint16_t port,
                                    void (*done)(void *arg, const struct net_address *found,
                                                 size_t count, const char *why),
                                    void *arg)
{
    pthread_attr_t detached;
    pthread_t thread;
    struct net_lookup *lookup = host.len <= HOST_MAX ? calloc(1, sizeof(*lookup)) : NULL;
    if (!lookup)
        return NULL;
    *lookup = (struct net_lookup){
        .task.run = tell, .worker = worker, .done = done, .arg = arg, .port = port};
    memcpy(lookup->host, host.data, host.len);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &detached, look_up, lookup);
    pthread_attr_destroy(&detached);
    if (error == 0)
        return lookup;
    free(lookup);
    return NULL;
}

void net_lookup_cancel(struct net_lookup **lookup)
{
    struct net_lookup *l = *lookup;
    *lookup = NULL;
    pthread_mutex_lock(&posting);
    l->cancelled = true;
    pthread_mutex_unlock(&posting);
}
