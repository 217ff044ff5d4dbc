/* SPDX-License-Identifier: Apache-2.0 */

/* The store interface's common part, and the store in memory: what sessions hold in memory is all
 * that there is, so that every request is answered at once and is as safe as the process. */

#include "store.h"

#include <stdlib.h>

static void run_completion(struct pg_task *task, struct pg_worker *worker)
{
    (void)worker;
    struct pg_store_done *done = (struct pg_store_done *)task;
    done->fn(done, done->result);
}

void pg_store_complete(struct pg_store_done *done, enum pg_reason result)
{
    done->result = result;
    done->task.run = run_completion;
    pg_worker_post(done->worker, &done->task);
}

void pg_store_free(struct pg_store **store)
{
    if (*store)
        (*store)->ops->free(*store);
    *store = NULL;
}

static enum pg_reason memory_session_put(struct pg_store *store,
                                         const struct pg_session_record *record,
                                         struct pg_store_done *done)
{
    (void)store, (void)record, (void)done;
    return PG_OK;
}

static enum pg_reason memory_session_drop(struct pg_store *store, struct pg_bytes client_id,
                                          struct pg_store_done *done)
{
    (void)store, (void)client_id, (void)done;
    return PG_OK;
}

static enum pg_reason memory_subscription_put(struct pg_store *store, struct pg_bytes client_id,
                                              const struct pg_subscription *sub,
                                              struct pg_store_done *done)
{
    (void)store, (void)client_id, (void)sub, (void)done;
    return PG_OK;
}

static enum pg_reason memory_subscription_drop(struct pg_store *store, struct pg_bytes client_id,
                                               struct pg_bytes filter, struct pg_store_done *done)
{
    (void)store, (void)client_id, (void)filter, (void)done;
    return PG_OK;
}

static enum pg_reason memory_enqueue(struct pg_store *store, struct pg_bytes client_id,
                                     struct pg_msg *msg, struct pg_store_done *done)
{
    (void)store, (void)client_id, (void)msg, (void)done;
    return PG_OK;
}

static void memory_settle(struct pg_store *store, struct pg_bytes client_id, uint64_t msg_id)
{
    (void)store, (void)client_id, (void)msg_id;
}

static enum pg_reason memory_retain(struct pg_store *store, struct pg_msg *msg,
                                    struct pg_store_done *done)
{
    (void)store, (void)msg, (void)done;
    return PG_OK;
}

static void memory_free(struct pg_store *store)
{
    free(store);
}

static const struct pg_store_ops memory_ops = {
    .name = "memory",
    .session_put = memory_session_put,
    .session_drop = memory_session_drop,
    .subscription_put = memory_subscription_put,
    .subscription_drop = memory_subscription_drop,
    .enqueue = memory_enqueue,
    .settle = memory_settle,
    .retain = memory_retain,
    .free = memory_free,
};

struct pg_store *pg_store_memory_new(void)
{
    struct pg_store *store = malloc(sizeof(*store));
    if (store)
        store->ops = &memory_ops;
    return store;
}
