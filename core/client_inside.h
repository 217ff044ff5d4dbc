/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_CLIENT_INSIDE_H
#define PG_CLIENT_INSIDE_H

/* The inside of a client, for client.c (admission and end) and client_requests.c (what it asks for
 * in between). On the client's worker. */

#include <string.h>

#include "access.h"
#include "client.h"
#include "conn_client.h"
#include "server.h"
#include "topic.h"
#include "worker_parts.h"

struct pg_ticket;

enum client_state {
    CLIENT_ASKING,   /* an access decision is out */
    CLIENT_JOINING,  /* allowed; its session is being fetched */
    CLIENT_ADMITTED, /* attached to its session */
    CLIENT_ENDED,    /* detached; `client_ended` is due if it was ever announced */
};

/* What a client has only while it logs in, or has a question out. */
struct pg_client_pending {
    bool login; /* until the frontend was told of the admission, with what is needed for it: */
    bool clean_start;
    bool session_present;
    uint32_t window;
    struct pg_will *will; /* until it is handed to the session */
    uint8_t *method_data; /* last words of an exchange */
    size_t method_data_len;

    struct pg_access_request *request; /* login, will or exchange that is out */
    struct pg_question *questions;     /* of publications and subscriptions */
    struct pg_ticket *tickets;
    uint32_t rechecks; /* subscriptions of a resumed session that are being looked at again */
};

/* Its size matters: it exists once per connection, also of those that are silent. */
struct pg_client {
    uint32_t magic;
    uint8_t state;      /* enum client_state */
    uint8_t reason;     /* enum pg_reason: of the refusal or the end */
    bool announced : 1; /* the frontend was told of the admission */
    bool due : 1;       /* on the worker's list of those to be told of */
    bool unlinked : 1;  /* no longer on its connection's list: freed when it comes to its turn */
    bool has_username : 1;
    bool has_cookie : 1; /* in `text`; else it is the frontend's state of the connection */
    uint32_t expiry_s;
    uint32_t since_wall_s;
    struct pg_conn *conn;
    struct pg_client *next, **link;    /* on the connection */
    struct pg_session *session;        /* attached, or the joining one */
    struct pg_client_pending *pending; /* NULL: nothing */
    struct pg_client *next_due;
    uint16_t id_len, username_len;
    uint8_t text[]; /* identifier, user name, cookie */
};
_Static_assert(offsetof(struct pg_client, text) <= 68, "a client is small");

/* An access decision on a publication or subscription that is out. */
struct pg_question {
    struct pg_question *next, **link;
    struct pg_client *client;
    struct pg_access_request *request;
    enum { ASK_PUBLISH, ASK_SEND, ASK_WHETHER, ASK_SUBSCRIBE, ASK_RESUME } kind;
    uint64_t token;
    struct pg_msg *msg;         /* publish, send */
    uint16_t receipt;           /* publish: of QoS 2; 0: none */
    struct pg_subscription sub; /* subscribe; filter in `text` */
    size_t text_len;
    uint8_t text[]; /* filter, or target of send */
};

static inline struct pg_worker *client_worker(const struct pg_client *client)
{
    return pg_conn_worker(client->conn);
}

static inline struct pg_config *client_config(const struct pg_worker *worker)
{
    return atomic_load_explicit(&worker->server->config, memory_order_acquire);
}

static inline const struct pg_protocol *client_protocol(const struct pg_client *client)
{
    return pg_conn_protocol(client->conn);
}

static inline void client_count(const struct pg_client *client, size_t counter)
{
    pg_worker_count(client_worker(client), counter, 1);
}

/* Whether the frontend wants to know what became of its requests. */
static inline bool client_listens(const struct pg_client *client)
{
    return client->state == CLIENT_ADMITTED && client->announced && !pg_conn_closing(client->conn);
}

static inline struct pg_identity client_identity(const struct pg_client *client)
{
    return (struct pg_identity){
        .client_id = pg_client_id(client),
        .username = pg_client_username(client),
        .peer = pg_conn_peer(client->conn),
        .listener = pg_conn_listener(client->conn),
        .protocol = client_protocol(client)->name,
    };
}

/* A name or filter that is valid but for its levels: whether it has more than may be. What has
 * fewer bytes than that has not. */
static inline bool client_too_deep(const struct pg_config *config, struct pg_bytes topic)
{
    int64_t most = config->settings.limits.topic_levels;
    if (most > (int64_t)PG_TOPIC_LEVELS_MAX)
        most = PG_TOPIC_LEVELS_MAX;
    return topic.len >= (size_t)most && pg_topic_levels(topic) > (unsigned)most;
}

/* Topics below $SYS are the gateway's own. */
static inline bool client_reserved_topic(struct pg_bytes topic)
{
    static const char reserved[] = "$SYS/";
    return topic.len >= sizeof(reserved) - 1 &&
           memcmp(topic.data, reserved, sizeof(reserved) - 1) == 0;
}

/* The client's, made if it has none; NULL: out of memory. */
struct pg_client_pending *pg_client_pending(struct pg_client *client);
/* Let go of it, if nothing is left in it. */
void pg_client_settle_pending(struct pg_client *client);
/* Let go of everything that could still answer. */
void pg_client_cancel_requests(struct pg_client *client);
/* Permissions may have changed while the client was away: look at every subscription again. */
void pg_client_recheck(struct pg_client *client);

#endif
